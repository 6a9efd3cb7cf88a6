"""Divisions of convolutions that are chosen by measurement on the device itself.

At the first evaluation of a size, each convolution is tried with the divisions that the model finds
promising. The fastest one is kept in a file of the cache for this device, driver and version, and
in the record of the run, as the bits of a result depend on it: a run that is repeated takes what
its record says. PYNST_TUNE=0 leaves the choice to the model.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pynst.backends.divisions import Division, Divisions, Product
from pynst.errors import PyNSTError
from pynst.files import write_whole

__all__ = ["FILE", "Tuning", "measured_devices", "tuning_is_on"]

FILE = "cuda-divisions.json"
"""Name of the file in the cache: device, then precision, then sizes, then the division."""

_LOG = logging.getLogger("pynst")
_SECONDS = 2.0  # for all measurements of a process
_PROMISING = 2.0  # times as long as the model's choice is expected to take
_FASTER = 0.97  # a division has to take less than this share of the time of the model's choice
_SAMPLES, _REPEATS = 3, 8
_LARGEST_FILE = 2**20  # bytes
_KEY = re.compile(r"(\d{1,9}) to (\d{1,9}) over (\d{1,9}) x (\d{1,9})")
_VALUE = re.compile(r"([a-z]{1,16}) x (\d{1,3})")


def tuning_is_on() -> bool:
    """Whether PYNST_TUNE lets divisions be measured."""
    return os.environ.get("PYNST_TUNE", "1") != "0"


class Tuning:
    """The division of each convolution: as a record says, from the cache, measured, or the model's.

    Parameters
    ----------
    divisions : Divisions
        What a kernel allows, and the model's choice.
    kind : str
        The kernel: ``"fast"``, ``"tensor"`` or ``"simt"``.
    device : str
        Device, driver and versions, by which the cache keeps what was measured.
    seconds : callable
        Measures: (work, repeats) to the time of one repetition on the device, in seconds.
    cache : callable, optional
        Returns the folder of the cache; it is asked for when it is needed. Without one, what was
        measured is forgotten with the process.
    """

    def __init__(
        self,
        divisions: Divisions,
        kind: str,
        device: str,
        seconds: Callable[[Callable[[], None], int], float],
        cache: Callable[[], Path] | None = None,
    ) -> None:
        self._divisions, self._kind, self._device = divisions, kind, device
        self._seconds, self._cache = seconds, cache
        self._known: dict[Product, Division] | None = None
        self._new: dict[Product, Division] = {}
        self._spent = 0.0
        self._measures = tuning_is_on()
        self.used: dict[Product, Division] = {}

    @property
    def tuned(self) -> dict[str, str]:
        """The divisions that were measured, once or now, as text for a record."""
        return {_key(product): _value(division) for product, division in self.used.items()}

    def choose_as(self, tuned: Mapping[str, str], *, measure: bool) -> None:
        """Take the divisions of a record; measure what it has not, or leave it to the model.

        Raises
        ------
        ValueError
            The record has something else where divisions belong.
        """
        self.used.update(self._parsed(tuned))
        self._measures = self._measures and measure

    def division(self, product: Product, run: Callable[[Division], None]) -> Division:
        """The division of a convolution, which `run` does with the division that it is given."""
        if product in self.used:
            return self.used[product]
        if not self._measures:
            return self._divisions.usual(product)
        if self._known is None:
            self._known = self._read()
        found = self._known.get(product)
        if found is None:
            found = self._new[product] = self._measure(product, run)
        self.used[product] = found
        return found

    def keep(self) -> None:
        """Write to the cache what was measured since the last time."""
        if not self._new or self._cache is None:
            return
        mine = {_key(product): _value(division) for product, division in self._new.items()}
        try:
            path = self._cache() / FILE
            stored = _stored(path)
            kept = stored.setdefault(self._device, {}).setdefault(self._kind, {})
            kept.update(mine)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(json.dumps(stored, indent=1, sort_keys=True).encode(), path)
        except (OSError, PyNSTError, AttributeError, TypeError) as error:
            _LOG.debug("what was measured is not kept: %s", error)
        self._new.clear()

    def _measure(self, product: Product, run: Callable[[Division], None]) -> Division:
        """Try the promising divisions; the model's choice stays unless one is clearly faster."""
        usual = self._divisions.usual(product)
        limit = _PROMISING * self._divisions.seconds(product, usual)
        others = [
            each
            for each in self._divisions.candidates(product)
            if each != usual and self._divisions.seconds(product, each) <= limit
        ]
        started = time.monotonic()
        best, best_time = usual, _FASTER * self._sample(usual, run)
        for each in others:
            if self._spent + time.monotonic() - started > _SECONDS:
                break
            taken = self._sample(each, run)
            if taken < best_time:
                best, best_time = each, taken
        self._spent += time.monotonic() - started
        return best

    def _sample(self, division: Division, run: Callable[[Division], None]) -> float:
        if self._spent > _SECONDS:
            return 0.0  # nothing is faster: the model's choice stays
        return min(self._seconds(lambda: run(division), _REPEATS) for _ in range(_SAMPLES))

    def _read(self) -> dict[Product, Division]:
        """What the cache has for this device; a damaged file is as good as none."""
        if self._cache is None:
            return {}
        try:
            return self._parsed(_stored(self._cache() / FILE)[self._device][self._kind])
        except (OSError, PyNSTError, KeyError, TypeError, AttributeError, ValueError) as error:
            _LOG.debug("no measured divisions in the cache: %r", error)
            return {}

    def _parsed(self, tuned: Mapping[str, str]) -> dict[Product, Division]:
        """Divisions from text; each has to be one that the kernel allows."""
        found = {}
        for key, value in tuned.items():
            sizes, division = _KEY.fullmatch(key), _VALUE.fullmatch(value)
            if sizes is None or division is None:
                raise ValueError(f"{key!r}: {value!r} is no division of a convolution")
            product = Product(*(int(number) for number in sizes.groups()))
            tile, parts = division.groups()
            self._divisions.check(product, Division(tile, int(parts)))
            found[product] = Division(tile, int(parts))
        return found


def measured_devices(folder: Path) -> dict[str, str]:
    """What the cache has measured: for each device, how many convolutions."""
    try:
        return {
            device: f"{sum(len(sizes) for sizes in kinds.values())} convolutions measured"
            for device, kinds in _stored(folder / FILE).items()
        }
    except (OSError, TypeError, AttributeError):
        return {}


def _stored(path: Path) -> dict[str, Any]:
    """The file of the cache; anybody may have written to it, and it may be missing."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return {}
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _key(product: Product) -> str:
    return f"{product.C} to {product.N} over {product.H} x {product.W}"


def _value(division: Division) -> str:
    return f"{division.tile} x {division.parts}"
