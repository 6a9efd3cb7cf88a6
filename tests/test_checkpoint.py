"""Checkpoints: a run that is resumed ends with the same bits; a damaged file is refused."""

from __future__ import annotations

import contextlib
import io
import json
import math
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import MEAN, picture, tiny_convolutions
from hypothesis import given, settings
from hypothesis import strategies as st

import pynst
import pynst.checkpoint
from pynst import Interrupted, OptionError, PyNSTError, RecordError, stylize
from pynst.checkpoint import read_checkpoint, write_checkpoint
from pynst.replay import replay

CONTENT, STYLE = picture(0, 96, 144), picture(1, 80, 66)
FAST = {
    "network": "builtin", "image_size": 180, "iterations": (9, 7), "levels": 2,
    "optimizer": "lbfgs",
}  # fmt: skip


@pytest.fixture
def always(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setattr(pynst.checkpoint, "_SECONDS", 0.0)


class Break:
    """A callback that ends the run by an exception at one evaluation of one level."""

    def __init__(self, level, iteration, error=KeyboardInterrupt):
        self.at, self.error = (level, iteration), error

    def __call__(self, progress):
        if (progress.level, progress.iteration) == self.at:
            raise self.error


def broken_off(path, level, iteration, **options):
    with pytest.raises(Interrupted) as caught:
        stylize(CONTENT, STYLE, checkpoint=path, callback=Break(level, iteration), **options)
    return caught.value.result


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam", "scipy"])
@pytest.mark.parametrize("where", [(1, 1), (1, 6), (1, 9), (2, 1), (2, 5)], ids=str)
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, optimizer, where):
    options = {**FAST, "optimizer": optimizer, "init": "noise"}
    whole = stylize(CONTENT, STYLE, **options)
    broken_off(tmp_path / "run.npz", *where, **options)
    resumed = stylize(CONTENT, STYLE, resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)
    assert resumed.history == whole.history
    assert resumed.record.pixels_sha256 == whole.record.pixels_sha256


@pytest.mark.parametrize("loss", ["wasserstein", "neighbours"])
def test_a_run_with_another_style_loss_resumes_to_the_same_bits(tmp_path, loss):
    options = {**FAST, "style_loss": ["gram", f"{loss}=3"]}
    whole = stylize(CONTENT, STYLE, **options)
    broken_off(tmp_path / "run.npz", 2, 5, **options)
    resumed = stylize(CONTENT, STYLE, resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)


@pytest.mark.parametrize("precision", [None, "half"])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_pairs_in_half_precision_resume_to_the_same_bits(tmp_path, precision, backend):
    options = {**FAST, "pair_precision": precision, "backend": backend, "levels": 1}
    options |= {"iterations": 9, "image_size": 60}
    whole = stylize(CONTENT, STYLE, **options)
    broken_off(tmp_path / "run.npz", 1, 5, **options)
    state = read_checkpoint(tmp_path / "run.npz").snapshot.state
    assert state["pairs"].dtype == (np.float32 if precision is None else np.int16)
    assert ("factors" in state) == (precision == "half")
    resumed = stylize(CONTENT, STYLE, resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)
    assert resumed.options.pair_precision == precision or precision is None


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam", "scipy"])
def test_a_run_in_tiles_with_few_pairs_resumes_to_the_same_bits(tmp_path, optimizer):
    options = {**FAST, "optimizer": optimizer, "tile": 64, "pairs": 4, "pair_precision": "half"}
    options |= {"style_layers": ["level1", "level2"], "content_layers": ["level2"]}
    whole = stylize(CONTENT, STYLE, **options)
    broken_off(tmp_path / "run.npz", 2, 5, **options)
    kept = read_checkpoint(tmp_path / "run.npz")
    assert kept.snapshot.state["x"].dtype == (np.float64 if optimizer == "scipy" else np.float32)
    resumed = stylize(CONTENT, STYLE, resume=tmp_path / "run.npz", memory="100G")
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)
    assert resumed.options.tile == 64


def test_a_plain_run_goes_on_as_a_plain_one_where_it_would_not_fit_any_more(tmp_path):
    whole = stylize(CONTENT, STYLE, **FAST)
    broken_off(tmp_path / "run.npz", 2, 5, **FAST)
    with pytest.raises(pynst.BackendError, match="image_size=180 needs about"):
        stylize(CONTENT, STYLE, resume=tmp_path / "run.npz", memory="10M")
    resumed = stylize(CONTENT, STYLE, resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)


@pytest.mark.parametrize(("takes", "least", "most"), [(0.01, 1, 2), (2, 60, 63), (30, 600, 631)])
def test_checkpoints_that_take_longer_are_written_less_often(
    takes, least, most, tmp_path, monkeypatch
):
    now, written = [100.0], []

    def slow(checkpoint, path):
        written.append(now[0])
        now[0] += takes

    monkeypatch.setattr(pynst.checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pynst.checkpoint, "write_checkpoint", slow)
    checkpoints = pynst.checkpoint.Checkpoints(tmp_path / "run.npz")
    run = SimpleNamespace(snapshot=object(), history=[1], budget=100_000)
    for _ in range(4000):
        checkpoints.offer(run, lambda rest: rest)
        now[0] += 0.5
        run.history.append(1)
    pauses = np.diff(written)
    assert len(written) >= 3
    assert ((pauses >= least) & (pauses <= most)).all()


@pytest.mark.parametrize(("takes", "evaluations"), [(0.003, [0, 9, 18, 27]), (0.02, [0, 20])])
def test_a_short_level_has_four_checkpoints_if_they_take_a_tenth_of_the_time_at_most(
    takes, evaluations, tmp_path, monkeypatch
):
    now, written = [100.0], []

    def slow(checkpoint, path):
        written.append(len(run.history))
        now[0] += takes

    monkeypatch.setattr(pynst.checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pynst.checkpoint, "write_checkpoint", slow)
    checkpoints = pynst.checkpoint.Checkpoints(tmp_path / "run.npz")
    run = SimpleNamespace(snapshot=object(), history=[], budget=36)
    while len(run.history) < run.budget:
        checkpoints.offer(run, lambda rest: rest)
        now[0] += 0.01
        run.history.append(1)
    assert written == evaluations


def test_it_goes_on_where_it_was_and_not_from_the_start_of_the_level(tmp_path):
    options = {**FAST, "iterations": (4, 30)}
    broken_off(tmp_path / "run.npz", 2, 20, **options)
    seen = []
    stylize(CONTENT, STYLE, resume=tmp_path / "run.npz", callback=seen.append)
    assert seen[0].level == 2
    assert seen[0].iteration >= 18, "at most one line search is repeated"


def test_a_run_may_be_broken_off_again_and_again(tmp_path, always):
    options = {**FAST, "optimizer": "lbfgs", "iterations": (12, 12)}
    whole = stylize(CONTENT, STYLE, **options)
    path = tmp_path / "run.npz"
    broken_off(path, 1, 3, **options)
    for at in ((1, 8), (2, 2), (2, 9)):
        with pytest.raises(Interrupted):
            stylize(CONTENT, STYLE, resume=path, callback=Break(*at))
    resumed = stylize(CONTENT, STYLE, resume=path)
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)


def test_a_killed_run_goes_on_from_the_last_step_that_was_written(tmp_path, always, monkeypatch):
    """As after a power cut: nothing is written on the way out."""
    whole = stylize(CONTENT, STYLE, **FAST)
    monkeypatch.setattr(pynst.run.Run, "_keep_checkpoint", lambda self: None)
    broken_off(tmp_path / "run.npz", 2, 6, **FAST)
    resumed = stylize(CONTENT, STYLE, resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.npz"], "no temporary files"


def test_writing_checkpoints_changes_nothing(tmp_path, always):
    options = FAST
    plain = stylize(CONTENT, STYLE, **options)
    written = stylize(CONTENT, STYLE, checkpoint=tmp_path / "run.npz", **options)
    np.testing.assert_array_equal(plain.pixels, written.pixels)
    resumed = stylize(CONTENT, STYLE, resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(plain.pixels, resumed.pixels)


def test_the_tiny_vgg_resumes_too(tmp_path, monkeypatch):
    import pynst.networks.open
    from pynst.weights import VGG19Weights

    weights = VGG19Weights(convolutions=tiny_convolutions(), mean=MEAN, source="random")
    monkeypatch.setattr(pynst.networks.open, "open_weights", lambda *_: weights)
    options = {"network": "vgg19", "image_size": 64, "iterations": 8, "levels": 1}
    whole = stylize(CONTENT, STYLE, **options)
    broken_off(tmp_path / "run.npz", 1, 5, **options)
    other = VGG19Weights(convolutions=tiny_convolutions(1), mean=MEAN, source="random")
    monkeypatch.setattr(pynst.networks.open, "open_weights", lambda *_: other)
    with pytest.raises(RecordError, match="weights: the record has"):
        stylize(CONTENT, STYLE, resume=tmp_path / "run.npz")
    monkeypatch.setattr(pynst.networks.open, "open_weights", lambda *_: weights)
    resumed = stylize(CONTENT, STYLE, resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)


def test_the_start_picture_is_not_needed_again(tmp_path):
    options = {**FAST, "init": picture(5, 40, 60)}
    whole = stylize(CONTENT, STYLE, **options)
    broken_off(tmp_path / "run.npz", 1, 2, **options)
    with pytest.raises(Interrupted):  # it goes on, and is broken off once more
        stylize(CONTENT, STYLE, resume=tmp_path / "run.npz", callback=Break(2, 3))
    resumed = stylize(CONTENT, STYLE, resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)
    assert resumed.record.picture("init") == whole.record.picture("init") is not None
    assert replay(resumed.record, CONTENT, STYLE, options["init"]).same
    with pytest.raises(RecordError, match="init: array is not the picture of the record"):
        replay(resumed.record, CONTENT, STYLE, CONTENT)


def test_other_pictures_and_other_settings_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    broken_off(path, 1, 3, **FAST)
    with pytest.raises(RecordError, match="content: array is not the picture of the record"):
        stylize(CONTENT[::-1], STYLE, resume=path)
    with pytest.raises(RecordError, match="style: array is not the picture"):
        stylize(CONTENT, picture(9, 80, 66), resume=path)
    with pytest.raises(OptionError, match="style_weight cannot be given with resume"):
        stylize(CONTENT, STYLE, resume=path, style_weight=2)
    with pytest.raises(OptionError, match="options cannot be given with resume"):
        stylize(CONTENT, STYLE, pynst.TransferOptions(), resume=path)
    assert stylize(CONTENT, STYLE, resume=path, minutes=0).stopped_early == "minutes"


def test_a_place_that_cannot_be_written_is_refused_before_the_first_evaluation(tmp_path):
    seen = []
    with pytest.raises(RecordError, match=r"checkpoint .*cannot be written: No such file"):
        stylize(CONTENT, STYLE, checkpoint=tmp_path / "no" / "run.npz", callback=seen.append,
                **FAST)  # fmt: skip
    assert not seen


def test_a_disk_that_fills_up_later_does_not_end_the_run(tmp_path, always, monkeypatch, caplog):
    calls = []

    def full(checkpoint, path):
        calls.append(path)
        if len(calls) > 1:
            raise RecordError("checkpoint run.npz: cannot be written: No space left on device")
        write_checkpoint(checkpoint, path)

    monkeypatch.setattr(pynst.checkpoint, "write_checkpoint", full)
    result = stylize(CONTENT, STYLE, checkpoint=tmp_path / "r.npz", **FAST)
    assert not result.stopped_early
    assert len(calls) > 2
    assert "No space left on device; the run goes on" in caplog.text


# ---- hostile files -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A checkpoint as bytes."""
    path = tmp_path_factory.mktemp("checkpoint") / "run.npz"
    content, style = picture(0, 40, 48), picture(1, 40, 44)
    with contextlib.suppress(Interrupted):
        stylize(content, style, checkpoint=path, callback=Break(1, 5), network="builtin",
                image_size=48, iterations=9)  # fmt: skip
    return path.read_bytes()


def arrays_of(data):
    with np.load(io.BytesIO(data)) as found:
        return dict(found)


def packed(tmp_path, arrays, compression=zipfile.ZIP_STORED):
    path = tmp_path / "bad.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=True)
    return path


def edited(data, **changes):
    """The arrays with entries of the header replaced."""
    arrays = arrays_of(data)
    header = {**json.loads(arrays["pynst"].tobytes()), **changes}
    return {**arrays, "pynst": np.frombuffer(json.dumps(header).encode(), np.uint8)}


def record_with(data, **changes):
    record = json.loads(arrays_of(data)["pynst"].tobytes())["record"]
    return edited(data, record={**record, **changes})


TERMS = {"total": 1.0, "content": 1.0, "style": 0.0, "tv": 0.0, "layers": {}}

WRONG = {
    "no header": lambda d: {k: v for k, v in arrays_of(d).items() if k != "pynst"},
    "header of floats": lambda d: {**arrays_of(d), "pynst": np.zeros(3)},
    "header without JSON": lambda d: {**arrays_of(d), "pynst": np.frombuffer(b"{", np.uint8)},
    "header a list": lambda d: {**arrays_of(d), "pynst": np.frombuffer(b"[]", np.uint8)},
    "deep JSON": lambda d: {**arrays_of(d), "pynst": np.frombuffer(b"[" * 10**6, np.uint8)},
    "other format": lambda d: edited(d, format=1),
    "level": lambda d: edited(d, level=7),
    "negative level": lambda d: edited(d, level=-1),
    "history": lambda d: edited(d, histories=[[{"total": "x"}]]),
    "no history": lambda d: edited(d, histories=[]),
    "restarts": lambda d: edited(d, restarts=[1, 10**30]),
    "gradient scale": lambda d: edited(d, gradient_scale=3.0),
    "record": lambda d: edited(d, record=None),
    "record a list": lambda d: edited(d, record=[1, 2]),
    "layers a list": lambda d: edited(d, histories=[[{**TERMS, "layers": [1]}]]),
    "terms a number": lambda d: edited(d, histories=[[7]]),
    "a loss of 400 digits": lambda d: edited(d, histories=[[{**TERMS, "total": 10**400}]]),
    "a loss that is no number": lambda d: edited(d, histories=[[{**TERMS, "total": math.nan}]]),
    "seconds that are no number": lambda d: edited(d, seconds=math.nan),
    "seconds without end": lambda d: edited(d, seconds=math.inf),
    "seconds below zero": lambda d: edited(d, seconds=-1e9),
    "seconds a list": lambda d: edited(d, seconds=[]),
    "gradient scale a list": lambda d: edited(d, gradient_scale=[1]),
    "gradient scale of 400 digits": lambda d: edited(d, gradient_scale=10**400),
    "format a list": lambda d: edited(d, format=[]),
    "versions a list": lambda d: record_with(d, versions=[1]),
    "options a list": lambda d: record_with(d, options=["image_size"]),
    "a path of numbers": lambda d: record_with(
        d, pictures=[{"name": "content", "source": "", "sha256": "", "notes": [], "path": 3}]
    ),
    "options": lambda d: record_with(d, options={"image_size": -1}),
    "unknown option": lambda d: record_with(d, options={"nonsense": 1}),
    "pictures": lambda d: record_with(d, pictures=[{"name": 3}]),
    "picture of numbers": lambda d: record_with(
        d, pictures=[{"name": 1, "source": 2, "sha256": 3, "notes": []}]
    ),
    "evaluations": lambda d: record_with(d, evaluations=[-1]),
    "x missing": lambda d: {k: v for k, v in arrays_of(d).items() if k != "x"},
    "x flat": lambda d: {**arrays_of(d), "x": np.zeros(3)},
    "x empty": lambda d: {**arrays_of(d), "x": np.zeros((0, 4, 3))},
    "x of another type": lambda d: {**arrays_of(d), "x": np.zeros((40, 48, 3), np.float32)},
    "g of another shape": lambda d: {**arrays_of(d), "g": np.zeros((4, 4, 3))},
    "g missing": lambda d: {k: v for k, v in arrays_of(d).items() if k != "g"},
    "more arrays": lambda d: {**arrays_of(d), "extra": np.zeros(3)},
    "not finite": lambda d: {**arrays_of(d), "g": np.full_like(arrays_of(d)["g"], np.nan)},
    "pickled": lambda d: {**arrays_of(d), "x": np.array([{}], object)},
    "best missing": lambda d: {k: v for k, v in arrays_of(d).items() if k != "best"},
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_checkpoint_is_refused_in_one_sentence(case, sound, tmp_path):
    path = packed(tmp_path, WRONG[case](sound))
    with pytest.raises(RecordError, match="checkpoint ") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("t", [-1, 0, 10**15])
def test_steps_of_adam_that_its_history_does_not_have_are_refused(tmp_path, t):
    path = tmp_path / "run.npz"
    broken_off(path, 1, 4, **{**FAST, "optimizer": "adam"})
    sound = path.read_bytes()
    assert read_checkpoint(packed(tmp_path, arrays_of(sound))).snapshot.state["t"] == 3
    with pytest.raises(RecordError, match="the steps of Adam are not those of its history"):
        read_checkpoint(packed(tmp_path, {**arrays_of(sound), "t": np.int64(t)}))


def test_a_checkpoint_of_more_levels_than_its_settings_make_is_refused(sound, tmp_path):
    header = json.loads(arrays_of(sound)["pynst"].tobytes())
    histories = [header["histories"][0]] * 9
    path = packed(tmp_path, edited(sound, histories=histories, level=8))
    with pytest.raises(RecordError, match="the record is of 9 levels, its settings make 1"):
        stylize(picture(0, 40, 48), picture(1, 40, 44), resume=path)


def test_going_on_with_other_programs_is_said(sound, tmp_path, caplog):
    header = json.loads(arrays_of(sound)["pynst"].tobytes())
    versions = {**header["record"]["versions"], "numpy": "0.1"}
    path = packed(tmp_path, record_with(sound, versions=versions))
    stylize(picture(0, 40, 48), picture(1, 40, 44), resume=path)
    assert "numpy: the record has 0.1, this run" in caplog.text
    assert "the bits may differ" in caplog.text


def test_what_is_no_archive_is_refused(sound, tmp_path):
    path = tmp_path / "bad.npz"
    for data in (b"", b"PK", b"nonsense" * 100, sound[:-200], sound[: len(sound) // 2]):
        path.write_bytes(data)
        with pytest.raises(RecordError):
            read_checkpoint(path)
    with pytest.raises(RecordError, match="cannot be read: No such file"):
        read_checkpoint(tmp_path / "missing.npz")
    with pytest.raises(RecordError, match="cannot be read: Is a directory"):
        read_checkpoint(tmp_path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(sound, tmp_path):
    big = np.zeros((4000, 4000, 3))
    path = packed(tmp_path, {**arrays_of(sound), "x": big}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000_000
    with pytest.raises(RecordError, match="is compressed"):
        read_checkpoint(path)


@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_is_a_record_error_or_does_no_harm(data, sound, tmp_path):
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "bad.npz"
    path.write_bytes(damaged[: data.draw(st.integers(1, len(damaged)))] if data.draw(
        st.booleans()) else damaged)  # fmt: skip
    try:
        stylize(picture(0, 40, 48), picture(1, 40, 44), resume=path)
    except PyNSTError as error:
        assert isinstance(error, RecordError)


# ---- masks ---------------------------------------------------------------------------------------

SOFT = np.linspace(0, 1, 144) * np.ones((96, 1))


def test_a_run_with_masks_goes_on_to_the_same_bits(tmp_path):
    path = tmp_path / "soft.png"
    pynst.save_image(np.dstack([SOFT] * 3), path)
    options = {**FAST, "style_masks": path, "content_mask": path}
    whole = stylize(CONTENT, STYLE, **options)
    broken_off(tmp_path / "run.npz", 2, 3, **options)
    resumed = stylize(CONTENT, STYLE, resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)


def test_a_run_in_tiles_with_masks_goes_on_to_the_same_bits(tmp_path):
    path = tmp_path / "soft.png"
    pynst.save_image(np.dstack([SOFT] * 3), path)
    layers = {"style_layers": ["level1", "level2"], "content_layers": ["level2"]}
    masks = {"style_masks": path, "content_mask": path, "content_mask_weight": 3}
    options = {**FAST, **layers, **masks}
    whole, tiles = stylize(CONTENT, STYLE, **options), stylize(CONTENT, STYLE, tile=64, **options)
    for here, there in zip(tiles.history[0], whole.history[0], strict=True):
        assert here.total == pytest.approx(there.total, rel=1e-4)
    broken_off(tmp_path / "run.npz", 2, 3, tile=64, **options)
    resumed = stylize(CONTENT, STYLE, resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(resumed.pixels, tiles.pixels)


def test_masks_that_were_arrays_are_given_again_and_compared(tmp_path):
    run = tmp_path / "run.npz"
    whole = stylize(CONTENT, STYLE, keep_mask=SOFT, **FAST)
    broken_off(run, 2, 3, keep_mask=SOFT, **FAST)
    with pytest.raises(RecordError, match="keep_mask: the run had a mask that came from no path"):
        stylize(CONTENT, STYLE, resume=run)
    with pytest.raises(RecordError, match="keep mask: array is not the picture of the record"):
        stylize(CONTENT, STYLE, resume=run, keep_mask=1 - SOFT)
    with pytest.raises(RecordError, match="mask of content: the record has none, this run array"):
        stylize(CONTENT, STYLE, resume=run, keep_mask=SOFT, content_mask=SOFT)
    resumed = stylize(CONTENT, STYLE, resume=run, keep_mask=SOFT)
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)
