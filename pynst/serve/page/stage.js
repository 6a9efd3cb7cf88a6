// The stage: the picture that grows, its loss and its actions; below it the results of the visit.
import { $, ask, clock, make, set, short } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const LINES = ["total", "content", "style"];
const ENDED = ["done", "stopped", "failed"];
const GOING = ["running", "stopping"];

export function makeStage({ useSettings }) {
  let state = { jobs: [], pictures: [] };
  let chosen = null; // the run that somebody wants to see; otherwise the newest one that has begun
  let masking = null;
  const losses = new Map(); // by run: what has been fetched so far
  const cards = new Map();

  const job = () => {
    const begun = state.jobs.filter((each) => each.state !== "waiting" || each.downloads);
    return state.jobs.find((each) => each.number === chosen) ?? begun.at(-1) ?? state.jobs.at(-1);
  };

  // ---- the picture ----------------------------------------------------------------------------

  /** Show a picture once it has come, so that the one before stays until then. */
  async function swap(image, address) {
    if (image.dataset.wanted === address) return;
    image.dataset.wanted = address;
    const next = new Image();
    next.src = address;
    try { await next.decode(); } catch { return; }
    if (image.dataset.wanted === address) image.src = address;
  }

  function showPicture(run) {
    const picture = state.pictures?.find((each) => each.id === run?.asked.content);
    const shape = masking ?? (run?.width ? run : picture);
    if (shape) $("frame").style.setProperty("--ratio", shape.width / shape.height);
    const most = Math.max(420, 1.5 * (run?.settings.image_size ?? 512)) * Math.min(1, shape ? shape.width / shape.height : 1);
    $("frame").style.setProperty("--most", `${most}px`);
    set($("picture"), "alt", run ? [run.content, run.styles.join(" and ")].filter(Boolean).join(" in the manner of ") : "");
    if (masking) swap($("picture"), `picture/${masking.id}`);
    else if (run?.frame) swap($("picture"), `job/${run.number}/frame?${run.frame}`);
    else if (picture) swap($("picture"), `picture/${picture.id}`);
    const comparable = !masking && run?.frame && picture;
    set($("compare-box"), "hidden", !comparable);
    set($("before"), "hidden", !comparable);
    if (comparable) swap($("before"), `picture/${picture.id}`);
  }

  $("compare").oninput = () => $("before").style.setProperty("--cut", `${$("compare").value}%`);

  // ---- where it stands ------------------------------------------------------------------------

  function status(run) {
    if (run.state === "waiting") return "Waiting for its turn.";
    if (run.state === "failed") return run.message;
    if (ENDED.includes(run.state)) {
      const verb = run.state === "done" ? "Finished" : "Stopped";
      const size = `${run.width} × ${run.height} pixels`;
      const network = run.network === "vgg19" ? "VGG-19" : "the built-in filters";
      return `${verb} after ${run.evaluations} evaluations in ${clock(run.seconds)} · ${size} · ${network}. ${run.message}`;
    }
    if (!run.level) return "Opening the network ...";
    const left = run.left === null ? "" : ` · ${clock(run.left)} left`;
    const verb = run.state === "stopping" ? "Stopping · " : "";
    return `${verb}${Math.round(100 * run.fraction)} % · level ${run.level} of ${run.levels},`
      + ` evaluation ${run.iteration} of ${run.iterations}${left}`;
  }

  function showStatus(run) {
    const going = GOING.includes(run.state) || run.state === "waiting";
    set($("status"), "textContent", status(run));
    $("status").classList.toggle("bad", run.state === "failed");
    set($("bar"), "value", run.state === "done" ? 1 : run.fraction ?? 0);
    set($("bar"), "hidden", run.state === "done");
    set($("said"), "textContent", `Run ${run.number} is ${run.state}.`);
    set($("stop"), "hidden", !going || !state.interactive);
    set($("stop"), "disabled", run.state === "stopping");
    set($("stop"), "textContent", run.state === "waiting" ? "Take out of the queue" : "Stop and keep");
    set($("go-on"), "hidden", run.state !== "stopped" || !state.interactive);
    set($("download"), "hidden", !run.downloads);
    set($("download"), "href", new URL(`job/${run.number}/result.png`, location).href);
    set($("reuse"), "hidden", !state.interactive);
    set($("line"), "hidden", !run.command);
    set($("command"), "textContent", run.command);
    if ($("notes").dataset.of !== String(run.notes)) {
      $("notes").dataset.of = String(run.notes);
      $("notes").replaceChildren(...run.notes.map((note) => make("li", {}, note)));
    }
    set(document, "title", going && run.fraction ? `${Math.round(100 * run.fraction)} % · PyNST` : "PyNST");
  }

  const act = (verb) => async () => {
    try { await ask(`job/${job().number}/${verb}`, {}); } catch (error) { set($("status"), "textContent", error.message); }
  };
  $("stop").onclick = act("stop");
  $("go-on").onclick = act("go-on");
  $("reuse").onclick = () => useSettings(job().asked);
  $("copy").onclick = async () => {
    await navigator.clipboard.writeText($("command").textContent);
    set($("copy"), "textContent", "Copied");
    setTimeout(() => set($("copy"), "textContent", "Copy"), 1500);
  };

  // ---- the loss -------------------------------------------------------------------------------

  async function showLoss(run) {
    const known = losses.get(run.number) ?? [];
    losses.set(run.number, known);
    known.length = Math.min(known.length, run.evaluations);
    if (known.length < run.evaluations && !known.fetching) {
      known.fetching = true;
      const from = known.length;
      try { known.splice(from, Infinity, ...(await ask(`job/${run.number}/losses/${from}`))); } catch { /* the next state asks again */ }
      known.fetching = false;
    }
    if (job()?.number === run.number) draw(known, run.borders);
  }

  function line(name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function draw(points, borders) {
    const values = points.flat().filter((value) => value > 0);
    set($("curve-box"), "hidden", points.length < 2 || !values.length);
    if ($("curve-box").hidden) return;
    const [width, height, left, right] = [$("curve").clientWidth, 150, 52, 104];
    const high = Math.ceil(Math.log10(Math.max(...values)));
    const low = Math.max(Math.min(Math.floor(Math.log10(Math.min(...values))), high - 1), high - 4);
    const x = (i) => left + (width - left - right) * i / (points.length - 1);
    const y = (value) => 8 + (height - 28) * (high - Math.max(Math.log10(value), low)) / (high - low);
    const parts = [];
    for (let power = low; power <= high; power++) {
      const level = y(10 ** power);
      parts.push(line("line", { x1: left, x2: width - right, y1: level, y2: level }));
      parts.push(line("text", { x: left - 8, y: level + 4, "text-anchor": "end" }, short(10 ** power)));
    }
    for (const border of borders) parts.push(line("line", { class: "level", x1: x(border), x2: x(border), y1: 8, y2: height - 20 }));
    let lowest = Infinity;
    const ends = LINES.map((name, k) => ({ name, k, at: y(points.at(-1)[k] || 10 ** low) })).sort((a, b) => b.at - a.at);
    for (const { name, k, at } of ends) {
      const path = points.map((point, i) => (point[k] > 0 ? `${i && points[i - 1][k] > 0 ? "L" : "M"}${x(i).toFixed(1)},${y(point[k]).toFixed(1)}` : ""));
      if (!path.some(Boolean)) continue;
      lowest = Math.min(at, lowest - 15);
      parts.push(line("path", { class: name, d: path.join("") }));
      parts.push(line("text", { class: name, x: width - right + 8, y: lowest + 4 }, `${name} ${short(points.at(-1)[k])}`));
    }
    parts.push(line("text", { x: left, y: height - 4 }, "evaluation 1"));
    parts.push(line("text", { x: width - right, y: height - 4, "text-anchor": "end" }, points.length));
    $("curve").setAttribute("viewBox", `0 0 ${width} ${height}`);
    $("curve").replaceChildren(...parts);
  }

  // ---- the visit ------------------------------------------------------------------------------

  /** The settings in which the runs of the visit differ; those of a single run that are not at their default. */
  function differing() {
    const names = [...new Set(state.jobs.flatMap((each) => Object.keys(each.settings)))];
    if (state.jobs.length === 1) return names;
    return names.filter((name) => new Set(state.jobs.map((each) => each.settings[name])).size > 1);
  }

  function makeCard(number) {
    const image = make("img", { alt: "" });
    const show = make("button", { type: "button", className: "show" }, image);
    const remove = make("button", { type: "button", className: "plain" }, "remove");
    const [title, list, text] = [make("span"), make("dl"), make("p")];
    const card = make("article", { className: "card" }, show, make("h3", {}, title), text, list, remove);
    show.onclick = () => { chosen = number; masking = null; render(state); $("stage").scrollIntoView({ block: "start" }); };
    remove.onclick = async () => { try { await ask(`job/${number}/remove`, {}); } catch (error) { set(text, "textContent", error.message); } };
    return { card, image, show, remove, title, list, text };
  }

  function showCards() {
    set($("visit"), "hidden", !state.interactive || !state.jobs.length);
    set($("folder"), "textContent", `Every result is written to ${state.folder}, with its record.`);
    const differ = differing();
    for (const [number, card] of cards) {
      if (!state.jobs.some((each) => each.number === number)) { card.card.remove(); cards.delete(number); losses.delete(number); }
    }
    for (const run of state.jobs) {
      if (!cards.has(run.number)) {
        cards.set(run.number, makeCard(run.number));
        $("cards").prepend(cards.get(run.number).card);
      }
      const card = cards.get(run.number);
      card.card.classList.toggle("shown", run === job());
      const names = [run.content, run.styles.join(" + ")].map((name) => name.replace(/\.\w+$/, ""));
      set(card.title, "textContent", `${run.number} · ${names.join(" × ")}`);
      set(card.show, "ariaLabel", `Show run ${run.number}, ${run.state}`);
      set(card.remove, "hidden", !ENDED.includes(run.state));
      set(card.remove, "ariaLabel", `Remove run ${run.number}`);
      set(card.text, "textContent", ENDED.includes(run.state) ? `${run.state === "done" ? "" : `${run.state} · `}${run.seconds ? clock(run.seconds) : ""}` : run.state);
      swap(card.image, run.frame ? `job/${run.number}/frame?${run.frame}` : `picture/${run.asked.content}`);
      const rows = differ.map((name) => `${name.replaceAll("_", " ")}\n${run.settings[name] ?? "default"}`);
      if (card.list.dataset.of !== rows.join()) {
        card.list.dataset.of = rows.join();
        card.list.replaceChildren(...rows.flatMap((row) => { const [dt, dd] = row.split("\n"); return [make("dt", {}, dt), make("dd", {}, dd)]; }));
      }
    }
  }

  function render(given) {
    state = given;
    const run = job();
    set($("welcome"), "hidden", Boolean(run || masking));
    set($("work"), "hidden", !run && !masking);
    for (const id of ["bar", "status", "actions", "curve-box", "line", "notes"]) set($(id), "hidden", !run || Boolean(masking));
    showPicture(run);
    if (run && !masking) { showStatus(run); showLoss(run); }
    showCards();
  }
  addEventListener("resize", () => { if (job()) showLoss(job()); });

  return {
    render,
    follow: (number) => { [chosen, masking] = [number, null]; render(state); $("stage").scrollIntoView({ block: "start" }); },
    showMask: (picture) => { masking = picture; render(state); },
  };
}
