// What every part of the page uses: elements, the server, figures in words.

export const $ = (id) => document.getElementById(id);

/** Make an element: make("p", {className: "hint"}, "text", child, ...). */
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Set a property only where it differs, so that focus, selection and readers are not disturbed. */
export function set(element, property, value) {
  if (element[property] !== value) element[property] = value;
}

/** Ask the server; a refusal is thrown as its one sentence. */
export async function ask(path, body, headers = { "Content-Type": "application/json" }) {
  let answer;
  try {
    const isFile = body instanceof Blob;
    answer = await fetch(path, body === undefined ? {} : {
      method: "POST", headers, body: isFile ? body : JSON.stringify(body),
    });
  } catch {
    throw new Error("The program behind this page does not answer.");
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

/** "3:07" */
export function clock(seconds) {
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [whole / 3600 | 0, (whole / 60 | 0) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** 0.0123 */
export const short = (value) => value === null ? "" : String(Number(value.toPrecision(3)));
