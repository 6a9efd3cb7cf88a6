"""The page in a real browser: Chromium, headless. Skipped where none is installed."""

from __future__ import annotations

import io
import json
import threading
import urllib.request

import numpy as np
import pytest
from chromium import chromium, find_chromium
from conftest import picture
from PIL import Image

from pynst import TransferOptions, stylize
from pynst.images import to_png
from pynst.serve import Board, Job, Server, Visit
from pynst.serve.request import takes_masks

BASE = TransferOptions(network="builtin", image_size=72, iterations=4, threads=1)
LONG = TransferOptions(network="builtin", image_size=72, iterations=200_000, threads=1)
STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    find_chromium()
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "photo.png", tmp_path / "art.png"]
    for seed, path in enumerate(paths):
        path.write_bytes(to_png(picture(seed, 60, 80)))
    return paths


def visit_page(browser, board, **window):
    """Serve a board and open its page, with nothing left of an earlier one."""
    server = Server(board)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    browser.requests.clear()
    browser.errors.clear()
    browser.open(server.address, **window)
    ready = "document.getElementById('size').value" if board.interactive else "true"
    browser.wait(ready)
    return server


@pytest.fixture
def page(browser, tmp_path, files):
    """The page of a visit, with both pictures chosen."""
    opened = []

    def open_page(base=BASE, **window):
        visit = Visit(base, tmp_path / "results")
        server = visit_page(browser, visit, **window)
        opened.append((visit, server))
        browser.choose("#content input", files[0])
        browser.wait("document.querySelector('#content.full')")
        browser.choose("#style input", files[1])
        browser.wait("!document.getElementById('start').disabled")
        return browser

    yield open_page
    browser.open("about:blank")
    for visit, server in opened:
        visit.close()
        server.shutdown()
        server.server_close()
    assert browser.errors == []


def click(tab, name):
    tab.run(f"document.getElementById('{name}').click()")


def test_what_is_shown_in_the_end_is_what_stylize_gives_and_nothing_leaves_the_machine(
    page, files, tmp_path
):
    tab = page()
    tab.run("document.getElementById('strength').value = 48")
    tab.run("document.getElementById('form').dispatchEvent(new Event('input'))")
    tab.wait("/Needs about/.test(document.getElementById('forecast').textContent)")
    click(tab, "start")
    tab.wait(f"/^Finished after 4 evaluations/.test({STATUS})")
    with urllib.request.urlopen(tab.run("document.getElementById('download').href")) as answer:
        png = answer.read()
    weight = float(tab.run("document.getElementById('strength-value').value").split()[-1])
    expected = stylize(*files, BASE, content_weight=weight)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), expected.image)
    assert f"--content-weight {weight}" in tab.run("document.getElementById('command').textContent")
    tab.wait("document.getElementById('picture').naturalWidth == 72")
    assert len(tab.run("[...document.querySelectorAll('#curve path')].map(e => e.className)")) == 3
    assert {address.split("/")[2].split(":")[0] for address in tab.requests} == {"127.0.0.1"}


def test_the_picture_changes_while_it_is_painted_and_a_reload_shows_where_it_stands(page):
    tab = page(LONG)
    click(tab, "start")
    shown = set()
    source = "document.getElementById('picture').src"
    while len(shown) < 4:
        tab.wait(f"/frame/.test({source}) && !{json.dumps(sorted(shown))}.includes({source})")
        shown.add(tab.run(source))
    tab.call("Page.reload")
    tab.wait("document.getElementById('stage') && document.readyState === 'complete'")
    tab.wait(f"/evaluation \\d+ of 200000/.test({STATUS}) && /frame/.test({source})")
    tab.wait("document.querySelector('#content.full') && document.querySelectorAll('.card').length")
    assert tab.run("document.getElementById('bar').value") > 0
    click(tab, "stop")
    tab.wait(f"/^Stopped after/.test({STATUS})")
    assert not tab.run("document.getElementById('go-on').hidden")
    assert not tab.run("document.getElementById('download').hidden")


def test_the_keyboard_alone_is_enough(page):
    tab = page()
    tab.run("document.body.tabIndex = -1, document.body.focus()")
    seen = []
    for _ in range(40):
        tab.press("Tab")
        seen.append(tab.run("document.activeElement.id || document.activeElement.name"))
        if seen[-1] == "start":
            break
    assert {"strength", "scale", "quality", "colours", "size", "formula", "start"} <= set(seen)
    assert tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.press("Enter")
    tab.wait(f"/^Finished/.test({STATUS})")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_overflows_and_every_text_has_contrast(page, width, scheme):
    tab = page(width=width, scheme=scheme)
    click(tab, "start")
    tab.wait(f"/^Finished/.test({STATUS}) && document.querySelectorAll('.card').length")
    tab.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert tab.run("document.documentElement.scrollWidth") == width
    assert tab.run(CONTRASTS) == []


# Texts whose contrast with the nearest ground behind them is below 4.5 : 1.
CONTRASTS = """
(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const wrong = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(".drop, svg, .unseen")) continue;
    let behind = element;
    while (behind && (channels(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0)
      behind = behind.parentElement;
    const style = (e) => channels(getComputedStyle(e).backgroundColor);
    const ink = light(channels(getComputedStyle(element).color));
    const [a, b] = [ink, light(style(behind ?? document.body))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) wrong.push(`${element.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return wrong;
})()
"""


def test_results_stand_side_by_side_with_the_settings_that_differ(page):
    tab = page()
    for scale in (0, 50):
        tab.run(f"document.getElementById('scale').value = {scale}")
        tab.run("document.getElementById('form').dispatchEvent(new Event('input'))")
        click(tab, "start")
        tab.wait(
            f"document.querySelectorAll('.card .plain:not([hidden])').length == {1 + scale // 50}"
        )
    names = tab.run("[...document.querySelectorAll('.card dt')].map((e) => e.textContent)")
    values = tab.run("[...document.querySelectorAll('.card dd')].map((e) => e.textContent)")
    assert names == ["style scale"] * 2
    assert values == ["1.4", "default"]
    tab.run("document.querySelectorAll('.card .show')[1].click()")
    assert tab.run("document.querySelectorAll('.card')[1].classList.contains('shown')")
    tab.run("document.querySelector('.card .plain').click()")
    tab.wait("document.querySelectorAll('.card').length == 1")


def test_a_wrong_picture_is_said_in_the_page(page, tmp_path):
    tab = page()
    wrong = tmp_path / "notes.txt"
    wrong.write_text("no picture")
    tab.choose("#style input", wrong)
    tab.wait("/^notes.txt: /.test(document.getElementById('forecast').textContent)")
    tab.errors.clear()  # the refusal itself, as the browser logs it


def test_a_forecast_that_comes_late_does_not_hide_what_is_wrong(page, tmp_path):
    tab = page()
    tab.wait("/^Needs about/.test(document.getElementById('forecast').textContent)")
    tab.run(HOLD_FORECASTS)
    tab.run("document.getElementById('strength').value = 48")
    tab.run("document.getElementById('form').dispatchEvent(new Event('input'))")
    tab.wait("window.held")
    wrong = tmp_path / "notes.txt"
    wrong.write_text("no picture")
    tab.choose("#style input", wrong)
    tab.wait("/^notes.txt: /.test(document.getElementById('forecast').textContent)")
    tab.run("new Promise((done) => { window.held(); setTimeout(done, 200); })")
    assert tab.run("document.getElementById('forecast').textContent").startswith("notes.txt: ")
    tab.errors.clear()  # the refusal itself, as the browser logs it


# The next answer to a forecast waits until window.held is called.
HOLD_FORECASTS = """
(() => {
  const real = window.fetch;
  window.fetch = async (address, ...rest) => {
    const answer = await real(address, ...rest);
    if (/forecast$/.test(address)) await new Promise((release) => { window.held = release; });
    return answer;
  };
})()
"""


def test_a_page_of_the_command_line_only_shows(browser):
    board = Board()
    board.jobs[1] = Job(1, "out.png", (), BASE, state="running")
    server = visit_page(browser, board)
    try:
        browser.wait(f"{STATUS} === 'Opening the network ...'")
        assert browser.run("document.getElementById('form').hidden")
        assert browser.run("document.getElementById('stop').hidden")
        with board.changing():
            board.jobs[1].state = "done"
            board.jobs[1].finish(stylize(picture(0, 40, 60), picture(1, 40, 60), BASE))
        board.end()
        browser.wait("document.getElementById('picture').naturalWidth == 72")
        browser.wait("/ended/.test(document.getElementById('connection').textContent)")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(not takes_masks(), reason="this version of PyNST has no style masks")
def test_a_mask_that_is_brushed_changes_its_own_part_alone(page, files):
    tab = page(TransferOptions(network="builtin", image_size=96, iterations=6, threads=1))
    tab.run("document.getElementById('brush-box').open = true")
    tab.wait("!document.getElementById('brush').hidden && document.getElementById('brush').width")
    box = tab.run("(({x, y, width, height}) => [x, y, width, height])"
                  "(document.getElementById('brush').getBoundingClientRect())")  # fmt: skip
    x, y, width, height = box
    tab.drag([(x + width * 0.2, y + height * part / 8) for part in range(1, 8)])
    tab.wait("JSON.parse(sessionStorage.draft).mask")
    tab.run("document.getElementById('brush-box').open = false")
    click(tab, "start")
    tab.wait(f"/^Finished/.test({STATUS})")
    with urllib.request.urlopen(tab.run("document.getElementById('download').href")) as answer:
        image = np.asarray(Image.open(io.BytesIO(answer.read())), float)
    content = np.asarray(Image.open(files[0]).resize((96, 72)), float)
    change = np.abs(image - content).mean(axis=2)
    assert change[:, :30].mean() > 4 * change[:, 60:].mean()
    assert "--style-masks mask.png" in tab.run("document.getElementById('command').textContent")


def test_every_setting_of_the_form_reaches_the_run(page):
    tab = page(TransferOptions(network="builtin", image_size=72, preserve_color=True, threads=1))
    assert tab.run("document.getElementById('colours').value") == "the photograph's"
    typed = {"tv_weight": "0.5", "style_layers": "level1 level2=0.5", "iterations": "3",
             "init": "noise", "keep_alpha": "false", "seed": "7"}  # fmt: skip
    for name, value in typed.items():
        tab.run(f"document.querySelector('[name={name}]').value = {json.dumps(value)}")
    tab.run("document.getElementById('colours').selectedIndex = 0")
    tab.run("document.getElementById('form').dispatchEvent(new Event('input'))")
    click(tab, "start")
    tab.wait(f"/^Finished after 3 /.test({STATUS})")
    command = tab.run("document.getElementById('command').textContent")
    for words in ("--tv-weight 0.5", "--style-layers level1 level2=0.5", "--iterations 3",
                  "--init noise", "--no-keep-alpha", "--seed 7"):  # fmt: skip
        assert words in command
    assert "--preserve-color" not in command
    tab.run("document.querySelector('[name=seed]').value = ''")
    click(tab, "reuse")
    assert tab.run("document.querySelector('[name=seed]').value") == "7"
