// The form: pictures and settings. It asks only for what differs from the server's own settings.
import { $, ask, make, set, short } from "./dom.js";
import { makeBrush } from "./brush.js";

const SIZES = [256, 384, 512, 768, 1024, 1536, 2048];
const BIGGEST = 64 * 2 ** 20;
const COLOURS = {
  "the painting's": { preserve_color: false, match_color: "none" },
  "the photograph's": { preserve_color: true, match_color: "none" },
  "the painting's, matched to the photograph": { preserve_color: false, match_color: "symmetric" },
};
// Settings that have a place of their own above; all others are listed under "All other settings".
const OWN = ["content_weight", "style_scale", "quality", "image_size", "preserve_color", "match_color"];
const METHOD = ["formula", "style_loss"];
const WORDS = {
  content_weight: "Content weight", image_size: "Size", style_loss: "Style loss", tv_weight: "Total variation",
};

const named = (name) => WORDS[name] ?? (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");
const load = () => { try { return JSON.parse(sessionStorage.draft); } catch { return {}; } };

export async function makeForm({ onStart, onBrush }) {
  const known = await ask("form");
  const draft = { content: null, styles: [], mask: null, settings: {}, ...load() };
  const controls = {};
  let pictures = [];

  // ---- settings -------------------------------------------------------------------------------

  /** One setting as a label with its control; read() gives undefined where nothing is asked for. */
  function control({ name, kind, choices, help, min, max, whole, default: preset }) {
    const [isNumber, isList] = [kind.startsWith("number"), kind.endsWith("s")];
    let input;
    if (kind === "choice" || kind === "switch") {
      const values = kind === "switch" ? ["true", "false"] : choices;
      input = make("select", {}, new Option(preset === "" ? "automatic" : preset, ""));
      input.append(...values.filter((v) => v !== String(preset)).map((v) => new Option(v, v)));
    } else {
      input = make("input", { type: isNumber && !isList ? "number" : "text", placeholder: preset || "automatic" });
      Object.assign(input, { min: min ?? "", max: max ?? "", step: whole ? 1 : "any" });
    }
    input.name = name;
    input.title = help;
    const one = (text) => (isNumber ? Number(text) : kind === "switch" ? text === "true" : text);
    const parse = (text) => (isList ? text.split(/[\s,]+/).map(one) : one(text));
    controls[name] = {
      read: () => (input.value.trim() === "" ? undefined : parse(input.value.trim())),
      write: (value) => {
        input.value = value === undefined ? "" : Array.isArray(value) ? value.join(" ") : String(value);
      },
    };
    return make("label", { className: "field" }, `${named(name)} `, input, make("small", {}, help));
  }

  const settings = Object.fromEntries(known.settings.map((each) => [each.name, each]));
  const plain = (name) => { const label = control(settings[name]); label.querySelector("small").remove(); return label; };
  $("method").append(...METHOD.filter((name) => settings[name]).map(plain));
  let group = "";
  for (const each of known.settings.filter(({ name }) => ![...OWN, ...METHOD].includes(name))) {
    if (each.group !== group) $("more").append(make("h3", {}, group = each.group));
    $("more").append(control(each));
  }

  for (const choice of settings.quality.choices) {
    const radio = make("input", { type: "radio", name: "quality", value: choice });
    $("quality").append(make("label", {}, radio, choice));
  }
  $("sizes").append(...SIZES.map((size) => make("option", { value: size })));
  $("colours").append(...Object.keys(COLOURS).map((text) => new Option(text)));

  const formula = () => controls.formula.read() ?? settings.formula.default;
  const weight = () => Number(settings.content_weight.default) || known.content_weights[formula()];
  const preset = (name) => Number(settings[name].default);
  const rounded = (value) => Number(value.toPrecision(2));
  const strength = () => rounded(weight() * 10 ** (-$("strength").value / 100));
  const scale = () => rounded(preset("style_scale") * 2 ** ($("scale").value / 100));
  controls.content_weight = {
    read: () => (Number($("strength").value) ? strength() : undefined),
    write: (value) => { $("strength").value = value === undefined ? 0 : -100 * Math.log10(value / weight()); },
  };
  controls.style_scale = {
    read: () => (Number($("scale").value) ? scale() : undefined),
    write: (value) => { $("scale").value = value === undefined ? 0 : 100 * Math.log2(value / preset("style_scale")); },
  };
  controls.image_size = {
    read: () => (Number($("size").value) === preset("image_size") ? undefined : Number($("size").value)),
    write: (value) => { $("size").value = value ?? settings.image_size.default; },
  };
  controls.quality = {
    read: () => {
      const chosen = $("quality").querySelector(":checked").value;
      return chosen === settings.quality.default ? undefined : chosen;
    },
    write: (value) => {
      for (const radio of $("quality").querySelectorAll("input")) radio.checked = radio.value === (value ?? settings.quality.default);
    },
  };
  const setColours = (given) => {
    const asked = ([name, value]) => (given[name] ?? settings[name].default) === value;
    const texts = Object.keys(COLOURS);
    $("colours").value = texts.find((text) => Object.entries(COLOURS[text]).every(asked)) ?? texts[0];
  };

  function read() {
    const colours = Object.entries(COLOURS[$("colours").value]);
    const found = Object.fromEntries(colours.filter(([name, value]) => value !== settings[name].default));
    for (const [name, each] of Object.entries(controls)) {
      const value = each.read();
      if (value !== undefined) found[name] = value;
    }
    return found;
  }

  function write(given) {
    controls.formula.write(given.formula); // the strength is relative to the formula's weight
    for (const [name, each] of Object.entries(controls)) each.write(given[name]);
    setColours(given);
    show();
  }

  /** Say what the sliders stand for, keep the draft, and ask what it would take. */
  function show() {
    set($("strength-value"), "value", `content weight ${short(strength())}`);
    set($("scale-value"), "value", `× ${short(scale())}`);
    draft.settings = read();
    sessionStorage.draft = JSON.stringify(draft);
    showPictures();
    askForecast();
  }

  // ---- pictures -------------------------------------------------------------------------------

  const one = (id) => pictures.find((each) => each.id === id);

  function showPictures() {
    const slots = { content: draft.content ? [draft.content] : [], style: draft.styles };
    for (const [slot, ids] of Object.entries(slots)) {
      const found = ids.map(one).filter(Boolean);
      const [label, image] = [$(slot), $(slot).querySelector("img")];
      label.classList.toggle("full", found.length > 0);
      set(image, "hidden", !found.length);
      if (found.length && image.dataset.id !== found[0].id) image.src = `picture/${image.dataset.id = found[0].id}`;
      const names = found.map((each) => each.name).join(" + ");
      set(label.querySelector(".what"), "textContent", names || (slot === "content" ? "Photograph" : "Painting"));
      if (found.length) $(`welcome-${slot}`).setAttribute("href", `picture/${found[0].id}`);
    }
    set($("start"), "disabled", !(one(draft.content) && draft.styles.some(one)));
    set($("try"), "hidden", !$("start").disabled);
    set($("ready"), "hidden", $("start").disabled);
    if (!$("start").disabled) set($("welcome-text"), "textContent", "Ready to paint");
    if ($("start").disabled && !$("forecast").textContent) say("A photograph and a painting are needed.");
    set($("brush-box"), "hidden", !(known.masks && one(draft.content)));
  }

  let said = 0;
  function say(text, bad = false) {
    said += 1;
    set($("forecast"), "textContent", text);
    $("forecast").classList.toggle("bad", bad);
  }

  async function upload(file) {
    if (file.size > BIGGEST) throw new Error(`${file.name}: a file must have at most 64 MB`);
    const headers = { "Content-Type": "application/octet-stream", "X-Name": encodeURIComponent(file.name) };
    return ask("picture", file, headers);
  }

  /** Take files into a slot; without one, the first that is missing. */
  async function take(files, slot) {
    try {
      for (const file of files) {
        say(`Reading ${file.name} ...`);
        const picture = await upload(file);
        say("");
        put(picture, slot ?? (draft.content ? "style" : "content"), slot === "style" && file !== files[0]);
      }
    } catch (error) {
      say(error.message, true);
    }
  }

  function put(picture, slot, blend) {
    pictures = [...pictures.filter((each) => each.id !== picture.id), picture];
    if (slot === "content") [draft.content, draft.mask] = [picture.id, null];
    else draft.styles = blend ? [...new Set([...draft.styles, picture.id])] : [picture.id];
    if (slot === "content") brush?.reset(picture);
    show();
  }

  async function takeExamples() {
    say("Drawing two pictures ...");
    try {
      const [scene, painting] = await ask("demo", {});
      say("");
      put(scene, "content");
      put(painting, "style");
    } catch (error) {
      say(error.message, true);
    }
  }

  for (const slot of ["content", "style"]) {
    const input = $(slot).querySelector("input");
    input.onchange = () => { take([...input.files], slot); input.value = ""; };
    $(slot).ondragover = () => $(slot).classList.add("over");
    $(slot).ondragleave = () => $(slot).classList.remove("over");
  }
  document.ondragover = (event) => event.preventDefault();
  document.ondrop = (event) => {
    event.preventDefault();
    const slot = event.target.closest?.(".drop");
    slot?.classList.remove("over");
    take([...event.dataTransfer.files], slot?.id);
  };
  $("try").onclick = takeExamples;

  // ---- start ----------------------------------------------------------------------------------

  const request = () => ({
    content: draft.content, styles: draft.styles.filter(one), settings: read(),
    ...(draft.mask && known.masks ? { mask: draft.mask } : {}),
  });

  let timer, wanted = "";
  function askForecast() {
    if ($("start").disabled) return;
    const mine = JSON.stringify(request());
    if (mine === wanted) return;
    wanted = mine;
    const before = said;
    // What was said in the meantime, such as an error, is newer and stays.
    const tell = (text, bad) => { if (mine === wanted && before === said) say(text, bad); };
    clearTimeout(timer);
    timer = setTimeout(async () => {
      try {
        const { text, fits } = await ask("forecast", JSON.parse(mine));
        tell(text, !fits);
      } catch (error) {
        tell(error.message, true);
      }
    }, 350);
  }

  $("form").oninput = show;
  $("form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      await brush?.keep();
      onStart((await ask("start", request())).number);
    } catch (error) {
      say(error.message, true);
    }
  };

  const brush = !known.masks ? null : makeBrush({
    upload, onBrush, kept: draft.mask,
    onChange: (id) => { draft.mask = id; show(); },
  });

  write(draft.settings);
  return {
    use: (given) => {
      Object.assign(draft, { content: given.content, styles: given.styles, mask: given.mask ?? null });
      write(given.settings ?? {});
      $("form").scrollIntoView({ block: "start" });
    },
    render: (state) => {
      pictures = state.pictures;
      if (brush && !brush.ready && one(draft.content)) brush.reset(one(draft.content), draft.mask);
      showPictures();
      askForecast();
    },
  };
}
