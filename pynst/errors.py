"""The errors PyNST raises; each names the option or file, what was given and what was wanted.

::

    Exception
    └── PyNSTError                      catches all of them
        ├── OptionError (ValueError)    a setting is unknown or out of range
        ├── ImageError (ValueError)     an image cannot be read, or has a wrong shape, type or range
        ├── WeightsError                the VGG-19 weights are missing, damaged or of another layout
        ├── BackendError (RuntimeError) a backend is not available, or one of its ops failed
        └── DivergedError (ArithmeticError)  the loss became NaN or infinite
    KeyboardInterrupt
    └── Interrupted                     Ctrl-C during a run; carries the best image so far
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pynst.transfer import TransferResult

__all__ = [
    "BackendError",
    "DivergedError",
    "ImageError",
    "Interrupted",
    "OptionError",
    "PyNSTError",
    "WeightsError",
]


class PyNSTError(Exception):
    """Base class of every error that PyNST raises on purpose."""


class OptionError(PyNSTError, ValueError):
    """A setting is unknown, of a wrong type or out of range."""


class ImageError(PyNSTError, ValueError):
    """An image cannot be read or written, or an array has a wrong shape, type or range."""


class WeightsError(PyNSTError):
    """The VGG-19 weights are missing, damaged or of another layout."""


class BackendError(PyNSTError, RuntimeError):
    """A backend is not available, or one of its operations failed."""


class DivergedError(PyNSTError, ArithmeticError):
    """The loss became NaN or infinite.

    Attributes
    ----------
    result : TransferResult or None
        The best image before that happened, where there was one.
    """

    def __init__(self, message: str, result: TransferResult | None = None) -> None:
        super().__init__(message)
        self.result = result


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
