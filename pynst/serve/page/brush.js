// The brush: a mask painted over the photograph, white where the painting shall go.
import { $, make, set } from "./dom.js";

const LONG_SIDE = 768;
const INK = [242, 193, 78]; // a gold that is seen on a bright sky and on dark trees

export function makeBrush({ upload, onBrush, onChange }) {
  const canvas = $("brush");
  const mask = canvas.getContext("2d");
  let picture = null, erasing = false, changed = false, timer = 0, last = null;
  const brush = { ready: false, reset, keep };
  const cursor = { x: 0.5, y: 0.5 };

  function reset(shown, kept = null) {
    [picture, brush.ready, changed] = [shown, true, false];
    const scale = LONG_SIDE / Math.max(shown.width, shown.height);
    canvas.width = Math.max(1, Math.round(shown.width * scale));
    canvas.height = Math.max(1, Math.round(shown.height * scale));
    if (kept) load(kept);
    if ($("brush-box").open) onBrush(picture);
  }

  async function load(kept) {
    const image = new Image();
    image.src = `picture/${kept}`;
    try { await image.decode(); } catch { return; }
    mask.drawImage(image, 0, 0, canvas.width, canvas.height);
    const pixels = mask.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < pixels.data.length; i += 4) {
      pixels.data[i + 3] = pixels.data[i]; // white becomes opaque, black transparent
      pixels.data.set(INK, i);
    }
    mask.putImageData(pixels, 0, 0);
  }

  const radius = () => $("brush-size").value / 200 * Math.max(canvas.width, canvas.height);

  /** A soft dab: full in the middle, nothing at the rim. */
  function dab(x, y) {
    const r = radius();
    const ink = mask.createRadialGradient(x, y, r * 0.4, x, y, r);
    ink.addColorStop(0, `rgb(${INK})`);
    ink.addColorStop(1, `rgba(${INK}, 0)`);
    mask.globalCompositeOperation = erasing ? "destination-out" : "source-over";
    mask.fillStyle = ink;
    mask.fillRect(x - r, y - r, 2 * r, 2 * r);
    mask.globalCompositeOperation = "source-over";
  }

  function stroke(x, y) {
    const from = last ?? { x, y };
    const steps = Math.max(1, Math.ceil(Math.hypot(x - from.x, y - from.y) / (radius() / 4)));
    for (let i = 1; i <= steps; i++) dab(from.x + (x - from.x) * i / steps, from.y + (y - from.y) * i / steps);
    last = { x, y };
  }

  /** The mask has changed: it is kept a moment after the last stroke. */
  function touched() {
    changed = true;
    clearTimeout(timer);
    timer = setTimeout(keep, 600);
  }

  /** Send the mask to the server; nothing painted is no mask. */
  async function keep() {
    clearTimeout(timer);
    if (!changed) return;
    changed = false;
    const { data } = mask.getImageData(0, 0, canvas.width, canvas.height);
    if (!data.some((value, i) => i % 4 === 3 && value)) return onChange(null);
    const flat = make("canvas", { width: canvas.width, height: canvas.height });
    const context = flat.getContext("2d");
    context.drawImage(canvas, 0, 0);
    for (const [how, colour] of [["source-in", "#fff"], ["destination-over", "#000"]]) {
      context.globalCompositeOperation = how;
      context.fillStyle = colour;
      context.fillRect(0, 0, flat.width, flat.height);
    }
    const blob = await new Promise((done) => flat.toBlob(done, "image/png"));
    onChange((await upload(new File([blob], "mask.png"))).id);
  }

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * canvas.width, (event.clientY - box.top) / box.height * canvas.height];
  };
  canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); last = null; stroke(...place(event)); };
  canvas.onpointermove = (event) => { if (event.buttons) stroke(...place(event)); };
  canvas.onpointerup = canvas.onpointercancel = touched;

  /** Where the brush is that the keyboard moves. */
  function showCursor() {
    canvas.style.setProperty("--x", `${100 * cursor.x}%`);
    canvas.style.setProperty("--y", `${100 * cursor.y}%`);
    canvas.style.setProperty("--r", `${radius() * canvas.clientWidth / canvas.width}px`);
  }
  canvas.onfocus = showCursor;

  canvas.onkeydown = (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key !== " " && !moves[event.key]) return;
    event.preventDefault();
    const [dx, dy] = moves[event.key] ?? [0, 0];
    const within = (value) => Math.min(1, Math.max(0, value));
    cursor.x = within(cursor.x + dx * radius() / 2 / canvas.width);
    cursor.y = within(cursor.y + dy * radius() / 2 / canvas.height);
    showCursor();
    if (event.key !== " ") return;
    dab(cursor.x * canvas.width, cursor.y * canvas.height);
    touched();
  };

  $("brush-erase").onclick = () => {
    erasing = !erasing;
    $("brush-erase").setAttribute("aria-pressed", erasing);
  };
  $("brush-clear").onclick = () => { mask.clearRect(0, 0, canvas.width, canvas.height); touched(); };
  $("brush-invert").onclick = () => {
    mask.globalCompositeOperation = "source-out";
    mask.fillStyle = `rgb(${INK})`;
    mask.fillRect(0, 0, canvas.width, canvas.height);
    mask.globalCompositeOperation = "source-over";
    touched();
  };
  $("brush-box").ontoggle = () => {
    set(canvas, "hidden", !$("brush-box").open);
    onBrush($("brush-box").open ? picture : null);
    if ($("brush-box").open) $("brush-box").scrollIntoView({ block: "center" });
  };
  return brush;
}
