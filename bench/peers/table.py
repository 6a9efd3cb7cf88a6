"""The rows of the closure's table: which class computes each, and in which environment.

A row's module is imported when its closure is made, so that a process holds no more than its own
stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from bench.problem import Closure, Problem

__all__ = ["CLOSURES", "Row", "on_device"]

_HUGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
_PYNST_AVX2 = {"PYNST_CPU_ISA": "avx2"}
_TORCH_AVX2 = {  # PyTorch's own kernels, oneDNN's, MKL's
    "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """How one closure is made.

    Attributes
    ----------
    place : str
        Module below `bench.peers`, and class: ``"ours:PyNST"``.
    form : str
        Third argument of the class, if it has several forms.
    needs : str
        Optional package without which the row is left out; its name in `bench.machine.PEERS`.
    environment : mapping of str to str
        Variables of its process, besides those for the number of threads.
    """

    place: str
    form: str = ""
    needs: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, problem: Problem, threads: int) -> Closure:
        """Make the closure, targets included."""
        module, name = self.place.split(":")
        made = getattr(import_module(f"bench.peers.{module}"), name)
        closure: Closure = made(problem, threads, *[self.form] * bool(self.form))
        return closure


def _torch(form: str, **environment: str) -> Row:
    return Row("torch_cpu:Torch", form, "torch", environment)


CLOSURES = {
    "pynst": Row("ours:PyNST"),
    "pynst-objective": Row("ours:PyNSTObjective"),
    "pynst-avx512": Row("ours:PyNST", environment={"PYNST_CPU_ISA": "avx512"}),
    "pynst-avx2": Row("ours:PyNST", environment=_PYNST_AVX2),
    "pynst-max": Row("ours:PyNST", needs="torch"),  # its result is compared with that of torch-max
    "torch-usual": _torch("usual"),
    "torch-best": _torch("best", **_HUGE_PAGES),
    "torch-compile": _torch("compile", **_HUGE_PAGES),
    # with PyNST's variable too: it is measured where "pynst-avx2" is
    "torch-avx2": _torch("best", **_HUGE_PAGES, **_TORCH_AVX2, **_PYNST_AVX2),
    "torch-max": _torch("best", **_HUGE_PAGES),
    "jax": Row("jax_jit:Jax", needs="jax"),
    "numpy": Row("numpy_blas:NumPyBlas"),
}
"""By name; the rows that end in ``-max`` are given a problem with maximum pooling."""


def on_device(name: str, problem: Problem, precision: Any) -> Any:
    """Make a row of the CUDA device's table: a closure with `step`, `gradient` and `peak_mb`."""
    if name.startswith("pynst"):
        from bench.peers.ours import PyNSTOnDevice
        from pynst.backends import open_backend

        return PyNSTOnDevice(problem, 1, open_backend("cuda", precision=precision))
    from bench.peers.torch_cuda import TorchOnDevice

    return TorchOnDevice(problem, name.removeprefix("torch-"))
