"""Divisions that are chosen by measurement: with made-up times, on no device at all."""

from __future__ import annotations

import json

import pytest
from conftest import MEAN, picture, tiny_convolutions
from cuda_on_cpu.build import load
from cuda_on_cpu.host_device import HostDevice
from hypothesis import given
from hypothesis import strategies as st

import pynst
from pynst import RecordError, stylize
from pynst.backends.divisions import Division, Divisions, Product
from pynst.backends.tuning import FILE, Tuning, measured_devices
from pynst.replay import read_record, replay

HALVES = {"large": (16, 128, 8, 1), "narrow": (16, 64, 4, 2), "flat": (8, 128, 4, 2)}
DIVISIONS = Divisions(HALVES, 8)
LAYER = Product(512, 512, 32, 32)
USUAL = DIVISIONS.usual(LAYER)


@pytest.fixture(autouse=True)
def tuning_is_on(monkeypatch):
    monkeypatch.setenv("PYNST_TUNE", "1")


class Clock:
    """A device on which each division takes the time that is made up for it."""

    def __init__(self, times, default=1.0):
        self.times, self.default, self.tried = times, default, []

    def run(self, division):
        self.tried.append(division)

    def seconds(self, work, repeats):
        assert repeats > 1
        work()
        return self.times.get(self.tried[-1], self.default)


def tuning(clock, cache=None, device="X, driver 13.0", kind="fast"):
    return Tuning(DIVISIONS, kind, device, clock.seconds, cache and (lambda: cache))


def other_division():
    """The one that the model finds the second best."""
    candidates = [each for each in DIVISIONS.candidates(LAYER) if each != USUAL]
    return min(candidates, key=lambda each: DIVISIONS.seconds(LAYER, each))


def test_the_fastest_division_is_taken_and_told():
    fastest = other_division()
    clock = Clock({fastest: 0.5})
    tuned = tuning(clock)
    assert tuned.division(LAYER, clock.run) == fastest
    assert tuned.tuned == {"512 to 512 over 32 x 32": f"{fastest.tile} x {fastest.parts}"}
    assert {USUAL, fastest} < set(clock.tried)
    clock.tried.clear()
    assert tuned.division(LAYER, clock.run) == fastest
    assert not clock.tried, "what is known is not measured again"


def test_the_choice_of_the_model_stays_unless_another_one_is_clearly_faster():
    clock = Clock({USUAL: 1.0}, default=0.98)
    tuned = tuning(clock)
    assert tuned.division(LAYER, clock.run) == USUAL
    assert tuned.tuned, "it was measured all the same, and bits depend on it"


def test_what_the_model_finds_hopeless_is_not_tried():
    clock = Clock({})
    tuning(clock).division(Product(64, 64, 512, 512), clock.run)
    wasteful = Division("large", 1)  # half of its channels would be computed for nothing
    assert wasteful not in clock.tried


def test_the_cache_keeps_it_by_device_and_kind(tmp_path):
    fastest = other_division()
    folder = tmp_path / "not there yet"
    clock = Clock({fastest: 0.5})
    first = tuning(clock, folder)
    first.division(LAYER, clock.run)
    first.keep()
    assert measured_devices(folder) == {"X, driver 13.0": "1 convolutions measured"}
    none = Clock({})
    assert tuning(none, folder).division(LAYER, none.run) == fastest
    assert not none.tried
    for other in ({"device": "X, driver 13.1"}, {"kind": "tensor"}):
        again = Clock({})
        tuned = tuning(again, folder, **other)
        assert tuned.division(LAYER, again.run) == USUAL
        assert again.tried
        tuned.keep()
    assert len(measured_devices(folder)) == 2
    assert tuning(none, folder).division(LAYER, none.run) == fastest, "nothing else was lost"


@pytest.mark.parametrize(
    "damaged",
    ["", "[]", "[" * 10**5, '{"X, driver 13.0": 3}', '{"X, driver 13.0": {"fast": []}}',
     '{"X, driver 13.0": {"fast": {"512 to 512 over 32 x 32": "huge x 1"}}}',
     '{"X, driver 13.0": {"fast": {"512 to 512 over 32 x 32": "flat x 99"}}}',
     '{"X, driver 13.0": {"fast": {"512 to 512 over 32 x 32": 5}}}',
     " " * 2**21],
    ids=range(9),
)  # fmt: skip
def test_a_damaged_cache_is_as_good_as_none(tmp_path, damaged):
    (tmp_path / FILE).write_text(damaged)
    clock = Clock({})
    tuned = tuning(clock, tmp_path)
    assert tuned.division(LAYER, clock.run) == USUAL
    tuned.keep()
    assert isinstance(measured_devices(tmp_path), dict)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    clock = Clock({})
    tuned = tuning(clock, tmp_path / "file")
    tuned.division(LAYER, clock.run)
    tuned.keep()


def test_measuring_ends_when_its_time_is_over(monkeypatch):
    monkeypatch.setattr("pynst.backends.tuning._SECONDS", -1.0)
    clock = Clock({other_division(): 0.1})
    assert tuning(clock).division(LAYER, clock.run) == USUAL
    assert len(set(clock.tried)) <= 1


def test_it_can_be_switched_off(monkeypatch, tmp_path):
    monkeypatch.setenv("PYNST_TUNE", "0")
    clock = Clock({other_division(): 0.1})
    tuned = tuning(clock, tmp_path)
    assert tuned.division(LAYER, clock.run) == USUAL
    assert (clock.tried, tuned.tuned) == ([], {})


def test_a_record_is_followed_and_nothing_else_is_measured():
    recorded, clock = other_division(), Clock({})
    tuned = tuning(clock)
    tuned.choose_as({"512 to 512 over 32 x 32": f"{recorded.tile} x {recorded.parts}"},
                    measure=False)  # fmt: skip
    assert tuned.division(LAYER, clock.run) == recorded
    another = Product(512, 512, 16, 16)
    assert tuned.division(another, clock.run) == DIVISIONS.usual(another)
    assert not clock.tried


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=20), min_size=1))
def test_a_record_with_anything_else_is_refused(tuned):
    with pytest.raises(ValueError, match="is no division"):
        tuning(Clock({})).choose_as(tuned, measure=True)


@pytest.mark.parametrize("value", ["large x 0", "large x 9", "split x 1", "large x 1x"])
def test_a_record_of_divisions_that_the_kernel_does_not_have_is_refused(value):
    with pytest.raises(ValueError, match="no division of"):
        tuning(Clock({})).choose_as({"512 to 512 over 32 x 32": value}, measure=True)


# ---- in whole runs -------------------------------------------------------------------------------


class TimedDevice(HostDevice):
    """A stand-in on which one tile is made up to be the fastest."""

    identity = "CPU that is timed"

    def __init__(self, module, fastest):
        self.fastest, self.tiles, self.measured = fastest, [], 0
        super().__init__(module)

    def _run(self, function, arguments):
        self.tiles += [each for each in arguments if isinstance(each, str) and each in HALVES]
        super()._run(function, arguments)

    def seconds(self, work, repeats):
        self.measured += 1
        work()
        return 0.5 if self.tiles[-1] == self.fastest else 1.0


@pytest.fixture
def run_on(monkeypatch, tmp_path):
    """Give a function that makes a picture of the same settings on a device."""
    weights = pynst.weights.vgg19_file.VGG19Weights(convolutions=tiny_convolutions(), mean=MEAN)
    monkeypatch.setattr("pynst.networks.open.open_weights", lambda *_: weights)
    paths = [tmp_path / "content.png", tmp_path / "style.png"]
    for seed, path in enumerate(paths):
        pynst.save_image(picture(seed, 34, 36), path)

    def run(device):
        monkeypatch.setattr("pynst.backends.cuda.CupyDevice", lambda: device)
        return stylize(*paths, image_size=34, levels=1, iterations=1, backend="cuda",
                       network="vgg19")  # fmt: skip

    return run


def test_a_run_measures_records_and_is_repeated_as_it_was(run_on, tmp_path, monkeypatch):
    module = load()
    for name, value in (("_PROMISING", 10.0), ("_SECONDS", 1e9), ("_SAMPLES", 1)):
        monkeypatch.setattr(f"pynst.backends.tuning.{name}", value)  # the stand-in is slow
    device = TimedDevice(module, "flat")
    result = run_on(device)
    assert device.measured
    assert {value.split()[0] for value in result.record.tuned.values()} == {"flat"}
    saved = result.save(tmp_path / "result.png")
    assert read_record(saved).tuned == result.record.tuned

    (pynst.weights.cache_directory() / FILE).unlink()
    other = TimedDevice(module, "large")
    monkeypatch.setattr("pynst.backends.cuda.CupyDevice", lambda: other)
    again = replay(read_record(saved))
    assert again.same
    assert other.measured == 0
    assert again.result.record.tuned == result.record.tuned

    third = TimedDevice(module, "large")
    assert set(run_on(third).record.tuned.values()) == {"large x 1"}, "a new run measures anew"
    fourth = TimedDevice(module, "flat")
    assert set(run_on(fourth).record.tuned.values()) == {"large x 1"}, "or takes the cache's"
    assert fourth.measured == 0


def test_a_record_that_names_another_choice_is_refused_before_the_run(run_on, tmp_path):
    result = run_on(HostDevice(load()))
    record = json.loads(json.dumps(result.record.to_json()))
    record["tuned"] = {"4 to 4 over 34 x 32": "flat x 99"}
    with pytest.raises(RecordError, match="the record is damaged or of another version"):
        replay(pynst.record.Record.from_json(record))
