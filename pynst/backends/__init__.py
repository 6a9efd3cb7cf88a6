"""Backends: where the arithmetic happens. They differ in ops and precision, never in algorithm."""

from __future__ import annotations

from pynst.backends.base import Backend
from pynst.errors import BackendError

__all__ = ["available_backends", "open_backend"]


def open_backend(name: str = "auto", *, threads: int | None = None) -> Backend:
    """Open a backend by name.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda", "reference"}
        ``"auto"`` takes the fastest that is available.
    threads : int, optional
        CPU threads; default: ``OMP_NUM_THREADS``, then every processor this process may use.

    Raises
    ------
    BackendError
        The backend is not available; the message tells why.
    """
    if name == "reference":
        from pynst.backends.reference import ReferenceBackend

        return ReferenceBackend()
    if name == "cuda":
        raise BackendError(_NO_CUDA)
    from pynst.backends.cpu import CpuBackend

    return CpuBackend(threads)


_NO_CUDA = (
    "backend 'cuda' is not available: this version of PyNST has no CUDA core; use backend='cpu'"
)


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
            found[name] = f"not available: {error}"
    return found
