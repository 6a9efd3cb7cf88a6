"""The errors PyNST raises; each names the option or file, what was given and what was wanted.

::

    Exception
    └── PyNSTError                      catches all of them
        ├── OptionError (ValueError)    a setting is unknown or out of range
        ├── ImageError (ValueError)     an image cannot be read, or has a wrong shape, type or range
        ├── WeightsError                the VGG-19 weights are missing, damaged or of another layout
        ├── BackendError (RuntimeError) a backend is not available, or one of its ops failed
        ├── RecordError                 a checkpoint or a picture's record is damaged or unfit
        └── DivergedError (ArithmeticError)  the loss became NaN or infinite
    KeyboardInterrupt
    └── Interrupted                     Ctrl-C during a run; carries the best image so far

Every exception that leaves `pynst.stylize` once there is an image, PyNST's own or one that a
callback raised, has the best image so far as its attribute ``result``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for types alone: nothing here needs what stands above when it runs
    from pynst.result import TransferResult

__all__ = [
    "BackendError",
    "DivergedError",
    "ImageError",
    "Interrupted",
    "OptionError",
    "PyNSTError",
    "RecordError",
    "WeightsError",
]


class PyNSTError(Exception):
    """Base class of every error that PyNST raises on purpose.

    Attributes
    ----------
    result : TransferResult or None
        The best image before it happened, where a run had one.
    """

    result: TransferResult | None = None


class OptionError(PyNSTError, ValueError):
    """A setting is unknown, of a wrong type or out of range."""


class ImageError(PyNSTError, ValueError):
    """An image cannot be read or written, or an array has a wrong shape, type or range."""


class WeightsError(PyNSTError):
    """The VGG-19 weights are missing, damaged or of another layout."""


class BackendError(PyNSTError, RuntimeError):
    """A backend is not available, or one of its operations failed."""


class RecordError(PyNSTError):
    """A checkpoint, or the record in a picture, is missing, damaged or of another run."""


class DivergedError(PyNSTError, ArithmeticError):
    """The loss became NaN or infinite; ``result`` is the best image before that happened."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `stylize`: a `KeyboardInterrupt` that carries what was reached.

    Attributes
    ----------
    result : TransferResult
        The best image so far, its history and its options.
    """

    def __init__(self, result: TransferResult) -> None:
        super().__init__("interrupted")
        self.result = result
