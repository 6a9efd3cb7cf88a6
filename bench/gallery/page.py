"""A page to compare pictures blindly: one HTML file that needs no network and no other file."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pynst.images import to_png

__all__ = ["Shown", "blind_page"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown of one pair.

    Attributes
    ----------
    name : str
    content, painting : ndarray (H, W, 3), uint8
    pictures : mapping of str to ndarray
        The pictures to compare, by the name of their setting or program.
    """

    name: str
    content: Pixels
    painting: Pixels
    pictures: Mapping[str, Pixels]


def blind_page(title: str, pairs: Sequence[Shown]) -> str:
    """Write the page.

    Parameters
    ----------
    title : str
    pairs : sequence of Shown
        Every two pictures of a pair are one question.

    Returns
    -------
    str
        HTML. The order of the questions and the side of each picture are drawn anew whenever the
        page is loaded; the names are told at the end. Answers are kept in the browser's own store
        and leave it only when they are saved as a file.
    """
    questions = [
        {"pair": each.name, "content": _uri(each.content), "painting": _uri(each.painting),
         "names": two, "pictures": [_uri(each.pictures[name]) for name in two]}
        for each in pairs
        for two in combinations(each.pictures, 2)
    ]  # fmt: skip
    data = json.dumps({"title": title, "questions": questions}).replace("<", "\\u003c")
    return _PAGE.replace("TITLE", escape(title)).replace("DATA", data)


def _uri(picture: Pixels) -> str:
    return "data:image/png;base64," + base64.b64encode(to_png(picture / 255)).decode("ascii")


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>TITLE</title>
<style>
body { margin: 1em; font: 15px/1.4 sans-serif; background: #777; color: #fff; text-align: center }
img { image-rendering: pixelated }
figure { display: inline-block; margin: 4px; vertical-align: top }
#asked img { height: 120px; image-rendering: auto }
#answers img { cursor: pointer; outline: 1px solid #555 }
#answers img:hover { outline: 3px solid #fff }
button { font: inherit; margin: 4px; padding: 4px 12px }
table { margin: 1em auto; border-collapse: collapse } td, th { padding: 2px 12px }
tbody th { text-align: left; font-weight: normal }
</style>
<h1 style="font-size: 18px">TITLE</h1>
<main id="asked"></main>
<p id="prompt">Which is the better picture? <kbd>&larr;</kbd> left, <kbd>&rarr;</kbd> right,
<kbd>space</kbd> no difference, <kbd>backspace</kbd> one back.</p>
<div id="answers"></div>
<p id="progress"></p>
<div id="end" hidden>
<table><thead><tr><th></th><th>better</th><th>no difference</th><th>worse</th></tr></thead>
<tbody></tbody></table>
<button id="save">Save the answers</button><button id="again">Start again</button>
</div>
<script type="application/json" id="data">DATA</script>
<script>
"use strict";
const { title, questions } = JSON.parse(document.getElementById("data").textContent);
const key = "pynst blind: " + title + " " + questions.map(q => q.pair + q.names).join("|");
const element = id => document.getElementById(id);
let state;

function drawn() {
  const order = questions.map((_, i) => i);
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return { order, swapped: order.map(() => Math.random() < 0.5), answers: [] };
}
function load() {
  try { state = JSON.parse(localStorage.getItem(key)); } catch { state = null; }
  if (!state || state.order.length !== questions.length) state = drawn();
}
function keep() {
  try { localStorage.setItem(key, JSON.stringify(state)); } catch { /* the browser has no store */ }
}

function picture(source, caption, click) {
  const figure = document.createElement("figure"), image = new Image();
  image.src = source;
  image.alt = caption;
  if (click) image.onclick = click;
  figure.append(image);
  return figure;
}
function show() {
  const done = state.answers.length, over = done === questions.length;
  element("end").hidden = !over;
  element("prompt").hidden = element("asked").hidden = element("answers").hidden = over;
  element("progress").textContent = over ? "" : (done + 1) + " of " + questions.length;
  if (over) return result();
  const q = questions[state.order[done]], sides = state.swapped[done] ? [1, 0] : [0, 1];
  element("asked").replaceChildren(picture(q.content, "photograph"),
                                   picture(q.painting, "painting"));
  element("answers").replaceChildren(
    picture(q.pictures[sides[0]], "left", () => answer(sides[0])),
    picture(q.pictures[sides[1]], "right", () => answer(sides[1])));
}
function answer(chosen) { state.answers.push(chosen); keep(); show(); }

function told() {
  return state.answers.map((chosen, i) => {
    const q = questions[state.order[i]];
    return { pair: q.pair, names: q.names, better: chosen === null ? null : q.names[chosen],
             left: q.names[state.swapped[i] ? 1 : 0] };
  });
}
function result() {
  const counts = new Map();
  for (const { names, better } of told())
    for (const name of names) {
      if (!counts.has(name)) counts.set(name, [0, 0, 0]);
      counts.get(name)[better === null ? 1 : better === name ? 0 : 2]++;
    }
  element("end").querySelector("tbody").replaceChildren(...[...counts].map(([name, row]) => {
    const line = document.createElement("tr"), head = document.createElement("th");
    head.textContent = name;
    line.append(head, ...row.map(count => {
      const cell = document.createElement("td");
      cell.textContent = count;
      return cell;
    }));
    return line;
  }));
}
element("save").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify({ title, answers: told() }, null, 1)]));
  link.download = "answers.json";
  link.click();
};
element("again").onclick = () => { state = drawn(); keep(); show(); };
document.addEventListener("keydown", event => {
  const done = state.answers.length;
  if (event.key === "Backspace" && done) { state.answers.pop(); keep(); show(); }
  else if (done < questions.length) {
    const swapped = state.swapped[done] ? 1 : 0;
    if (event.key === "ArrowLeft") answer(swapped);
    else if (event.key === "ArrowRight") answer(1 - swapped);
    else if (event.key === " ") answer(null);
    else return;
  } else return;
  event.preventDefault();
});
load();
show();
</script>
</html>
"""
