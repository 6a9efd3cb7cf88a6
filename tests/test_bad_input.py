"""Whatever a user passes: a picture, or one clear sentence before the long work."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from conftest import picture
from hypothesis import given, settings
from hypothesis import strategies as st

import pynst
import pynst.objective
from pynst import ImageError, OptionError, PyNSTError, TransferOptions, stylize
from pynst.cli import main

CONTENT, STYLE = picture(0, 40, 50), picture(1, 40, 50)
FAST = {"network": "builtin", "image_size": 48, "iterations": 2, "levels": 1}
WORDS = ["--network", "builtin", "--image-size", "48", "--iterations", "2", "--quiet"]


@pytest.fixture
def no_work(monkeypatch):
    """Fail if the long work is begun."""

    def evaluated(self, losses):
        raise AssertionError("the long work has begun")

    monkeypatch.setattr(pynst.objective.TotalLoss, "_walk", evaluated)


def bomb():
    """A PNG of 60000 x 60000 pixels in a few hundred bytes."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )  # fmt: skip


def sound_png(tmp_path):
    path = tmp_path / "sound.png"
    pynst.save_image(CONTENT, path)
    return path.read_bytes()


FILES = {
    "missing": (None, "no such file"),
    "empty": (lambda tmp_path: b"", "file is empty"),
    "truncated": (lambda tmp_path: sound_png(tmp_path)[:-3000], "cannot read"),
    "not an image": (lambda tmp_path: b"Dear Sir or Madam, " * 50, "not a readable JPEG, PNG"),
    "a script": (lambda tmp_path: b"#!/bin/sh\nrm -rf ~\n", "not a readable JPEG, PNG"),
    "bomb": (lambda tmp_path: bomb(), "more than 200000000 pixels, the limit"),
    "header only": (lambda tmp_path: b"\x89PNG\r\n\x1a\n", "not a readable"),
}


@pytest.mark.parametrize("which", ["content", "style", "init"])
@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_one_sentence(case, which, tmp_path, capsys, no_work):
    make, message = FILES[case]
    good, bad, out = tmp_path / "good.png", tmp_path / "bad.png", tmp_path / "out.png"
    pynst.save_image(CONTENT, good)
    if make is not None:
        bad.write_bytes(make(tmp_path))
    content, style = (bad if which == name else good for name in ("content", "style"))
    more = ["--init", str(bad)] if which == "init" else []
    assert main([str(content), str(style), "-o", str(out), *WORDS, *more]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"pynst: error: {which}: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


def test_a_directory_and_a_pipe_are_no_pictures(tmp_path, no_work):
    with pytest.raises(ImageError, match="content: is a directory"):
        stylize(tmp_path, STYLE, **FAST)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="style: is not a regular file"):
        stylize(CONTENT, tmp_path / "pipe", **FAST)


ARRAYS = {
    "integers": (np.zeros((20, 20, 3), np.int32), "must be uint8, uint16 or floating"),
    "booleans": (np.zeros((20, 20, 3), bool), "must be uint8, uint16 or floating"),
    "complex": (np.zeros((20, 20, 3), complex), "must be uint8, uint16 or floating"),
    "objects": (np.full((2, 2, 3), None), "must be uint8, uint16 or floating"),
    "two channels": (np.zeros((20, 20, 2)), r"got float64 of shape \(20, 20, 2\)"),
    "a batch": (np.zeros((1, 20, 20, 3)), r"got float64 of shape \(1, 20, 20, 3\)"),
    "no pixels": (np.zeros((0, 20, 3)), "must have at least one pixel"),
    "of 255": (np.full((20, 20, 3), 255.0), "is it on a scale of 255"),
    "below 0": (np.full((20, 20, 3), -1.0), r"must lie in \[0, 1\]"),
    "NaN": (np.full((20, 20, 3), np.nan), "must be finite"),
    "infinite": (np.full((20, 20, 3), np.inf), "must be finite"),
    "a list": ([[1, 2], [3, 4]], "must be a path, a PIL image or a NumPy array"),
    "a number": (7, "must be a path, a PIL image or a NumPy array, got int"),
    "bytes": (b"x.png", "must be a path, a PIL image or a NumPy array, got bytes"),
    "null in the path": ("a\0b.png", "content"),
    "empty path": ("", "content"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_a_bad_array_is_one_sentence(case, no_work):
    array, message = ARRAYS[case]
    with pytest.raises(ImageError, match=message) as caught:
        stylize(array, STYLE, **FAST)
    assert "content" in str(caught.value)
    assert "\n" not in str(caught.value)
    if not isinstance(array, list):
        with pytest.raises(ImageError, match=message.replace("content", "style")):
            stylize(CONTENT, array, **FAST)


@pytest.mark.parametrize("shape", [(1, 1), (2, 90), (300, 6000)])
def test_extreme_shapes_are_a_picture_or_one_sentence(shape):
    try:
        result = stylize(np.full((*shape, 3), 0.4), STYLE, **FAST)
    except ImageError as error:
        assert "pixels are too few for layer" in str(error)
    else:
        assert max(result.image.shape) == 48


def test_ten_by_twenty_thousand_is_one_sentence(tmp_path, no_work):
    path = tmp_path / "strip.png"
    pynst.save_image(np.zeros((10, 20000, 3), np.uint8), path)
    with pytest.raises(ImageError, match=r"content: 512 x 1 pixels are too few for layer level3"):
        stylize(path, STYLE, network="builtin", image_size=512)


def test_a_style_of_one_pixel_is_named(no_work):
    with pytest.raises(ImageError, match=r"style: 48 x 1 pixels are too few for layer"):
        stylize(CONTENT, np.zeros((1, 300, 3)), **FAST)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image-size", "7"], "image_size must be a whole number from 16 to 32768, got 7"),
        (["--content-weight", "-1"], "content_weight must be a number of at least 0"),
        (["--style-weight", "nan"], "style_weight must be a number"),
        (["--content-weight", "0", "--style-weight", "0"], "must not both be 0"),
        (["--style-layers", "relu9_9"], "unknown layer 'relu9_9'"),
        (["--style-layers", "level1=x"], "style_layers: weight of level1 must be a number"),
        (["--style-blend", "1", "2"], "style_blend must have one weight for each of the 1 style"),
        (["--iterations", "1", "2", "3"], "iterations must be one number or one for each"),
        (["--seed", "-1"], "seed must be a whole number"),
        (["--backend", "cuda"], "backend 'cuda' is not available"),
        (["--weights", "missing.npz", "--network", "auto"], "weights: there is no file"),
        (["--checkpoint", "/no/such/folder/run.npz"], "checkpoint /no/such/folder/run.npz: cannot"),
        (["--resume", "missing.npz"], "checkpoint missing.npz: cannot be read: No such file"),
        (["-o", "/no/such/folder/x.png"], "output: no such directory"),
        (["-o", "/proc/x.png"], "output: cannot write /proc/x.png: "),
        (["-o", "x.exe"], "output: must end in .png"),
        (["-o", "x.jpg", "--bits", "16"], "16 bits per channel need .png or .tif"),
        (["-o", "x.webp", "--image-size", "20000"], "WEBP holds at most 16383 pixels"),
        (["-o", "."], "output: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_setting_is_one_sentence(words, message, tmp_path, capsys, monkeypatch, no_work):
    monkeypatch.chdir(tmp_path)
    pynst.save_image(CONTENT, "good.png")
    base = ["--network", "builtin", "--quiet"]
    if "--image-size" not in words:
        base += ["--image-size", "48"]
    assert main(["good.png", "good.png", *base, *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pynst: error: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["good.png"]


@pytest.mark.parametrize(
    "words", [["--no-such-option"], ["--bits", "7"], ["--formula", "x"], ["--image-size", "big"]]
)
def test_wrong_usage_is_told_and_exits_with_2(words, tmp_path, capsys):
    pynst.save_image(CONTENT, tmp_path / "good.png")
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / "good.png"), str(tmp_path / "good.png"), *words])
    assert stop.value.code == 2
    assert "error: " in capsys.readouterr().err


WEIGHTS = {
    "empty": b"",
    "nonsense": b"nonsense" * 1000,
    "code": b"\x80\x02cposix\nsystem\nX\x07\x00\x00\x00touch x\x85R.",
    "a page": b"<!DOCTYPE html><html>Please log in</html>",
    "half a zip": b"PK\x03\x04" + bytes(300),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_a_bad_weights_file_is_one_sentence(case, tmp_path, capsys, no_work):
    path, good = tmp_path / "weights.npz", tmp_path / "good.png"
    path.write_bytes(WEIGHTS[case])
    pynst.save_image(CONTENT, good)
    words = [str(good), str(good), "-o", str(tmp_path / "out.png"), "--weights", str(path)]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"pynst: error: weights file {path}: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "x").exists()


# ---- full disk -----------------------------------------------------------------------------------


def tmpfs_command(folder, *words):
    """Run a command with a file system of 64 KB at a folder, which no other process sees."""
    script = f"mount -t tmpfs -o size=64k tmpfs '{folder}' && shift 0 && exec \"$@\""
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *words]


@pytest.fixture
def small_disk(tmp_path):
    """A folder on which a tmpfs of 64 KB can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare to mount a small file system with")
    probe = subprocess.run(tmpfs_command(folder, "true"), capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"no small file system can be mounted here: {probe.stderr.strip()[:80]}")
    return folder


def test_a_full_disk_costs_no_image(small_disk, tmp_path):
    rng = np.random.default_rng(0)
    good = tmp_path / "good.png"
    pynst.save_image(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8), good)
    words = [sys.executable, "-m", "pynst", str(good), str(good), "--network", "builtin",
             "--image-size", "200", "--iterations", "2", "--quiet", "-o",
             str(small_disk / "out.png")]  # fmt: skip
    run = subprocess.run(
        tmpfs_command(small_disk, *words), capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 1
    assert "No space left on device" in run.stderr
    assert "Traceback" not in run.stderr
    place = run.stdout.strip()
    assert f"is saved in {place} instead" in run.stderr
    assert pynst.load_image(place).shape == (200, 200, 3)


def test_no_room_anywhere_is_said(tmp_path):
    """No file may grow beyond 1000 bytes: neither the output nor its stand-ins can be written."""
    good = tmp_path / "good.png"
    pynst.save_image(picture(0, 60, 80), good)
    script = (
        "import resource, sys; from pynst.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); sys.exit(main(sys.argv[1:]))"
    )
    folder = tmp_path / "results"
    folder.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", script, str(good), str(good), *WORDS, "-o", str(folder / "o.png")],
        capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 1
    assert "File too large" in run.stderr
    assert "could not be saved in" in run.stderr
    assert not list(folder.iterdir()), "nothing half written is left"


# ---- signals at every stage ----------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.2, 0.3, 0.45, 0.7])
def test_ctrl_c_at_any_moment_leaves_a_picture_or_nothing(delay, tmp_path):
    good, out = tmp_path / "good.png", tmp_path / "out.png"
    pynst.save_image(picture(0, 120, 160), good)
    process = subprocess.Popen(
        [sys.executable, "-m", "pynst", str(good), str(good), "-o", str(out), "--network",
         "builtin", "--image-size", "160", "--iterations", "40"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    if out.exists():
        assert process.returncode in (0, 130)
        assert pynst.load_image(out).shape == (120, 160, 3)
    else:
        assert process.returncode != 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".pynst-")], error


# ---- every exception carries the image -----------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError(), KeyError("x"), SystemExit(3), pynst.OptionError("no"), MemoryError("no")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_leaves_the_run_carries_the_best_image(error):
    def callback(progress):
        if progress.iteration == 2:
            raise error

    with pytest.raises(BaseException) as caught:  # noqa: PT011
        stylize(CONTENT, STYLE, callback=callback, **{**FAST, "iterations": 5})
    assert caught.value.result.image.shape == (38, 48, 3)
    assert caught.value.result.stopped_early == "error"
    if isinstance(error, MemoryError):
        assert isinstance(caught.value, pynst.BackendError)
    else:
        assert caught.value is error


# ---- anything ------------------------------------------------------------------------------------

LAYERS = ["level1", "level2", "level3", "level4"]
PIXELS = np.ones((1, 1)), np.full((1, 1), 0.5)  # masks of one pixel fit every aspect
SOUND = {
    "network": st.just("builtin"),
    "image_size": st.integers(16, 48),
    "iterations": st.integers(1, 4),
    "levels": st.none() | st.integers(1, 3),
    "quality": st.sampled_from(["draft", "normal", "fine"]),
    "minutes": st.none() | st.floats(0, 0.001),
    "tolerance": st.floats(0, 1),
    "init": st.sampled_from(["content", "style", "noise", CONTENT]),
    "seed": st.integers(0, 2**63 - 1),
    "optimizer": st.sampled_from(["lbfgs", "adam", "scipy"]),
    "variables": st.sampled_from([None, "pyramid", "pixels"]),
    "content_weight": st.none() | st.floats(0, 1e12),
    "style_weight": st.none() | st.floats(1e-12, 1e12),
    "tv_weight": st.none() | st.floats(0, 1e12),
    "content_layers": st.none() | st.sampled_from(LAYERS),
    "style_layers": st.none() | st.sets(st.sampled_from(LAYERS), min_size=1).map(sorted),
    "style_loss": st.none()
    | st.sets(st.sampled_from(["gram", "wasserstein", "neighbours"]), min_size=1).map(sorted),
    "style_blend": st.none(),
    "aspect": st.none(),
    "style_scale": st.floats(0.3, 2),
    "preserve_color": st.booleans(),
    "match_color": st.sampled_from(["none", "cholesky", "symmetric"]),
    "keep_alpha": st.booleans(),
    "style_masks": st.sampled_from([None, "all", "rest"]),
    "style_source_masks": st.sampled_from([None, "all"]),
    "content_mask": st.sampled_from([None, *PIXELS]),
    "keep_mask": st.sampled_from([None, *PIXELS]),
    "regions": st.none(),
    "style_regions": st.none(),
    "content_mask_weight": st.floats(0, 1e6),
    "guidance": st.sampled_from(["area", "gatys"]),
    "pooling": st.none(),
    "formula": st.sampled_from(["balanced", "gentle", "strong"]),
    "precision": st.sampled_from(["fast", "accurate"]),
    "threads": st.just(1),
    "backend": st.sampled_from(["cpu", "auto", "reference"]),
    "memory": st.none() | st.just("100G"),
    "tile": st.sampled_from(["auto", None, 64]),
    "pairs": st.none() | st.integers(3, 10),
    "pair_precision": st.sampled_from([None, "full", "half"]),
}
UNSOUND = {
    "image_size": st.sampled_from([0, -1, 15, 1.5, "x", None, float("nan")]),
    "iterations": st.sampled_from([0, [], [1, 2, 3, 4, 5], [1, None], "many"]),
    "levels": st.sampled_from([0, 17, "x"]),
    "minutes": st.just(-1),
    "init": st.sampled_from(["missing.png", "", "a\0b", 5, np.zeros((3, 3))]),
    "optimizer": st.just("sgd"),
    "content_weight": st.sampled_from([-1, float("inf"), float("nan"), "1"]),
    "style_weight": st.just(0),
    "content_layers": st.sampled_from(["relu1_1", "level7", "", []]),
    "style_layers": st.sampled_from([["level9"], ["level1=0"], {"level1": -1}, 5]),
    "style_loss": st.sampled_from([["sliced"], ["gram=0"], {"gram": -1}, 5, []]),
    "style_blend": st.lists(st.floats(0, 2), max_size=3),
    "style_scale": st.sampled_from([0, 20, 100, (1, 2, 3)]),
    "style_masks": st.sampled_from(["missing.png", 5, [], np.ones((2, 50)), np.zeros((9, 9))]),
    "keep_mask": st.sampled_from(["missing.png", 5, np.ones((9, 9, 2)), np.full((9, 9), 7.0)]),
    "content_mask": st.sampled_from(["a\0b", CONTENT, True]),
    "regions": st.just(CONTENT),
    "aspect": st.sampled_from([(3, 4), (0, 1), 5, "wide", (1, 2, 3)]),
    "match_color": st.just("some"),
    "formula": st.just("paper"),
    "pooling": st.just("max"),
    "threads": st.just(0),
    "backend": st.sampled_from(["cuda", "tpu"]),
    "memory": st.sampled_from(["much", 0, -5, "1k"]),
    "tile": st.sampled_from(["some", 0, 63, 1.5]),
    "pairs": st.sampled_from([0, 2, 11, "all"]),
    "pair_precision": st.sampled_from([16, "fast", "double"]),
}


def some_of(settings, most):
    """Values for some of the settings."""
    names = st.sets(st.sampled_from(sorted(settings)), max_size=most)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({n: settings[n] for n in chosen}))


@st.composite
def pictures(draw):
    """Sound pictures, flat and extreme ones among them."""
    shape = [draw(st.integers(1, 60)), draw(st.integers(1, 60)), draw(st.sampled_from([3, 3, 4]))]
    values = np.random.default_rng(draw(st.integers(0, 9))).random(shape)
    kind = draw(st.sampled_from(["noise", "flat", "two tones", "nearly flat"]))
    if kind == "flat":
        values[:] = draw(st.sampled_from([0.0, 0.5, 1.0]))
    if kind == "two tones":
        values = np.round(values)
    if kind == "nearly flat":
        values = 0.5 + 1e-7 * values
    return (255 * values).astype(np.uint8) if draw(st.booleans()) else values


DTYPES = ["float64", "float32", "float16", "uint8", "uint16", "int64", "bool"]


@st.composite
def arrays(draw):
    """Pictures and what is nearly one."""
    shape = [draw(st.integers(1, 40)), draw(st.integers(1, 40))]
    shape += draw(st.sampled_from([[3], [3], [3], [4], [1], [], [2], [3, 3]]))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    values = np.random.default_rng(draw(st.integers(0, 9))).random(shape)
    kind = draw(st.sampled_from(["plain", "plain", "flat", "range", "nan"]))
    if kind == "flat":
        values[:] = draw(st.sampled_from([0.0, 0.5, 1.0]))
    if kind == "range":
        values = 300 * values - 5
    if kind == "nan":
        values.flat[0] = np.nan
    if dtype.kind != "f":
        values = np.nan_to_num(values) * (1 if kind == "range" else 255)
    with np.errstate(invalid="ignore", over="ignore"):
        array = values.astype(dtype)
    return draw(st.sampled_from([array, np.asfortranarray(array), array[::-1]]))


def test_every_option_is_driven():
    others = {"weights", "padding", "normalised", "calibration"}
    assert set(TransferOptions.__dataclass_fields__) == {*SOUND, *others}


def is_a_picture(result, image_size):
    assert max(result.image.shape[:2]) == image_size
    assert np.isfinite(result.pixels).all()
    assert 0 <= result.pixels.min() <= result.pixels.max() <= 1


def go_together(options, style):
    """Whether settings that are sound alone can be had together, with these style pictures."""
    formula = ["gram", "neighbours"] if options.get("formula") == "gentle" else ["gram"]
    losses = options.get("style_loss") or formula
    count = len(style) if isinstance(style, list) else 1
    guided = any(options.get(name) for name in ("style_masks", "style_source_masks"))
    return not guided or (count == 1 and "neighbours" not in losses)


@settings(max_examples=100)
@given(
    content=pictures(),
    style=pictures() | st.lists(pictures(), min_size=1, max_size=2),
    options=some_of(SOUND, 8),
)
def test_sound_input_is_a_picture_or_too_small_or_diverges(content, style, options):
    settings = {"network": "builtin", "image_size": 32, "iterations": 3, "threads": 1, **options}
    if not go_together(options, style):
        with pytest.raises((OptionError, ImageError)) as caught:
            stylize(content, style, **settings)
        assert "pixels are too few" in str(caught.value) or type(caught.value) is OptionError
        return
    try:
        result = stylize(content, style, **settings)
    except (ImageError, pynst.DivergedError) as error:
        assert "pixels are too few" in str(error) or "is not finite" in str(error)
    else:
        is_a_picture(result, settings["image_size"])


@settings(max_examples=150)
@given(
    content=pictures() | arrays(),
    style=pictures() | arrays() | st.lists(arrays(), max_size=2),
    options=some_of(SOUND, 5),
    more=some_of(UNSOUND, 2),
)
def test_anything_is_a_picture_or_a_pynst_error(content, style, options, more):
    settings = {"network": "builtin", "image_size": 24, "iterations": 2, "threads": 1}
    settings |= {**options, **more}
    with contextlib.suppress(PyNSTError):
        is_a_picture(stylize(content, style, **settings), settings["image_size"])
