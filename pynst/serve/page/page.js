// The page: listens to the server, and hands what it hears to the form, the stage and the cards.
import { $, set } from "./dom.js";
import { makeForm } from "./form.js";
import { makeStage } from "./stage.js";

let form = null;
const stage = makeStage({ useSettings: (asked) => form?.use(asked) });

async function render(state) {
  document.querySelector("main").classList.toggle("alone", !state.interactive);
  set($("form"), "hidden", !state.interactive);
  if (state.interactive && !form) {
    form = "coming";
    form = await makeForm({ onStart: stage.follow, onBrush: stage.showMask });
  }
  if (form?.render) form.render(state);
  stage.render(state);
}

const events = new EventSource("events");
events.onopen = () => set($("connection"), "textContent", "");
events.onmessage = (event) => {
  const state = JSON.parse(event.data);
  if (state.ended) {
    events.close();
    set($("connection"), "textContent", state.interactive
      ? "The program has ended; the pictures are in its folder." : "The run has ended.");
  }
  render(state);
};
events.onerror = () => set($("connection"), "textContent", "The program does not answer; trying again ...");
