"""The preview of a run: in a notebook one picture that is updated, elsewhere lines."""

from __future__ import annotations

import base64
import io
import re
import sys
import types

import pytest
from conftest import picture
from PIL import Image

import pynst
from pynst import OptionError, notebook

CONTENT, STYLE = picture(0, 40, 60), picture(1, 50, 40)
FAST = {"network": "builtin", "image_size": 128, "levels": 2, "iterations": 6}


@pytest.fixture
def displayed(monkeypatch):
    """IPython as far as the preview needs it; what has been displayed, in order."""
    shown = []

    class Handle:
        def update(self, html):
            shown.append(("update", html.data))

    def display(html, display_id):
        assert display_id
        shown.append(("display", html.data))
        return Handle()

    kernel = types.SimpleNamespace(kernel=object())
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: kernel
    of_display = types.ModuleType("IPython.display")
    of_display.display = display
    of_display.HTML = lambda data: types.SimpleNamespace(data=data)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", of_display)
    return shown


def test_one_picture_is_updated_and_the_last_evaluation_is_shown(displayed, monkeypatch):
    monkeypatch.setattr(notebook, "_FASTEST", 0.0)
    pynst.stylize(CONTENT, STYLE, callback=pynst.notebook.preview(), **FAST)
    assert [how for how, _ in displayed] == ["display"] + ["update"] * 11
    assert "level 1/2  iter 1/6" in displayed[0][1]
    assert "level 2/2  iter 6/6" in displayed[-1][1]
    assert 'value="1.000"' in displayed[-1][1]


def test_pictures_come_at_most_twice_a_second(displayed, monkeypatch):
    clock = iter(range(1000))
    tenths = types.SimpleNamespace(monotonic=lambda: next(clock) / 10)
    monkeypatch.setattr(notebook, "time", tenths)
    show = notebook.preview()
    for iteration in range(1, 41):
        show(progress(iteration, 1000))
    assert 3 <= len(displayed) <= 10


def progress(iteration, iterations, side=40):
    terms = pynst.LossTerms(1.0, 0.5, 0.5, 0.0)
    image = picture(iteration, side, side)
    return pynst.Progress(
        1, 1, iteration, iterations, iteration / iterations, terms, 1.0, 2.0,
        lambda: (image * 255).astype("uint8"),
    )  # fmt: skip


def test_the_picture_is_reduced_to_the_side_that_is_asked_for(displayed):
    notebook.preview(side=32)(progress(1, 9, side=100))
    data = base64.b64decode(re.search(r"base64,([^\"]+)", displayed[0][1])[1])
    assert Image.open(io.BytesIO(data)).size == (32, 32)


def test_elsewhere_it_writes_lines(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", None)  # is not installed
    pynst.stylize(CONTENT, STYLE, callback=notebook.preview(), **FAST)
    assert "level 2/2  iter 6/6" in capsys.readouterr().err


def test_ipython_in_a_terminal_gets_lines(capsys, displayed):
    sys.modules["IPython"].get_ipython = lambda: types.SimpleNamespace()
    pynst.stylize(CONTENT, STYLE, callback=notebook.preview(), **FAST)
    assert displayed == []
    assert "iter 6/6" in capsys.readouterr().err


@pytest.mark.parametrize("side", [0, 15, 1.5, "512", None])
def test_a_wrong_side_is_refused(side):
    with pytest.raises(OptionError, match="side must be a whole number of at least 16, got"):
        notebook.preview(side)


@pytest.mark.filterwarnings("ignore")
def test_in_a_real_kernel_the_output_holds_one_picture_and_the_result_shows_itself(tmp_path):
    nbclient, nbformat, _ = (
        pytest.importorskip(name, reason=f"{name} is not installed")
        for name in ("nbclient", "nbformat", "ipykernel")
    )
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "import numpy as np, pynst\n"
        "rng = np.random.default_rng(0)\n"
        "pynst.stylize(rng.random((60, 80, 3)), rng.random((60, 60, 3)), network='builtin',\n"
        "    image_size=96, iterations=9, callback=pynst.notebook.preview())"
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    here = {"metadata": {"path": tmp_path}}
    nbclient.NotebookClient(book, timeout=120, resources=here).execute()
    preview, result = book.cells[0].outputs
    assert (preview.output_type, result.output_type) == ("display_data", "execute_result")
    # The later pictures have taken the place of the first one, which stood at iteration 1.
    assert "iter 9/9" in preview.data["text/html"]
    assert {"text/html", "image/png", "text/plain"} <= set(result.data)
    assert "image_size" in result.data["text/html"]
    assert "<polyline" in result.data["text/html"]
    assert result.data["text/plain"].startswith("<TransferResult 96 x 72, builtin")
