"""Backends: where the arithmetic happens. They differ in ops and precision, never in algorithm."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path

from pynst.backends.base import Backend, Precision
from pynst.errors import BackendError

__all__ = ["available_backends", "open_backend"]

_LOG = logging.getLogger("pynst")


def open_backend(
    name: str = "auto",
    *,
    threads: int | None = None,
    precision: Precision = "fast",
    cache: Callable[[], Path] | None = None,
) -> Backend:
    """Open a backend by name.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda", "reference"}
        ``"auto"`` takes CUDA where it can be used, else the CPU.
    threads : int, optional
        CPU threads; default: ``OMP_NUM_THREADS``, then every processor this process may use.
    precision : {"fast", "accurate"}
        Arithmetic on CUDA: in 16-bit or in 32-bit numbers.
    cache : callable, optional
        Returns the folder in which CUDA keeps what it has measured on the device.

    Raises
    ------
    BackendError
        The backend is not available; the message tells why.
    """
    if name == "reference":
        from pynst.backends.reference import ReferenceBackend

        return ReferenceBackend()
    if name in ("auto", "cuda"):
        from pynst.backends.cuda import CudaBackend
        from pynst.backends.device import DeviceError

        try:
            return CudaBackend(precision, cache=cache)
        except BackendError as error:
            if name == "cuda":
                raise
            if isinstance(error, DeviceError):
                _warn_once(f"computing on the CPU: {error}")
            else:
                _LOG.debug("computing on the CPU: %s", error)
    from pynst.backends.cpu import CpuBackend

    return CpuBackend(threads)


@functools.cache
def _warn_once(message: str) -> None:
    _LOG.warning("%s", message)


def available_backends() -> dict[str, str]:
    """Say of each backend what it would run on, or why it cannot.

    Returns
    -------
    dict of str to str
        ``{"cpu": "cpu (avx512, 2 threads)", "cuda": "not available: ...", ...}``
    """
    found = {}
    for name in ("cpu", "cuda", "reference"):
        try:
            found[name] = open_backend(name).name
        except BackendError as error:
            reason = str(error).removeprefix(f"backend {name!r} is not available: ")
            found[name] = f"not available: {reason}"
    return found
