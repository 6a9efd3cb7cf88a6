"""PyNST: neural style transfer with hand-written C++ and CUDA cores, without a framework.

>>> import pynst
>>> result = pynst.stylize("photo.jpg", "painting.jpg")  # doctest: +SKIP
>>> result.save("result.png")                            # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pynst.namesake import warn_of_namesake
from pynst.version import __version__ as __version__

if TYPE_CHECKING:
    from pynst import notebook
    from pynst.backends import available_backends
    from pynst.errors import (
        BackendError,
        DivergedError,
        ImageError,
        Interrupted,
        OptionError,
        PyNSTError,
        RecordError,
        WeightsError,
    )
    from pynst.experiments.figures import figure
    from pynst.experiments.reconstruction import reconstruct
    from pynst.experiments.sheets import Sheet
    from pynst.experiments.sweeps import sweep
    from pynst.experiments.textures import texture
    from pynst.images import load_image, save_image
    from pynst.jobs.batches import BatchJob, BatchProgress, batch
    from pynst.losses.terms import LossTerms
    from pynst.objective import Objective
    from pynst.options import TransferOptions
    from pynst.result import Progress, TransferResult
    from pynst.transfer import stylize
    from pynst.weights import load_weights

__all__ = [
    "BackendError",
    "BatchJob",
    "BatchProgress",
    "DivergedError",
    "ImageError",
    "Interrupted",
    "LossTerms",
    "Objective",
    "OptionError",
    "Progress",
    "PyNSTError",
    "RecordError",
    "Sheet",
    "TransferOptions",
    "TransferResult",
    "WeightsError",
    "available_backends",
    "batch",
    "figure",
    "load_image",
    "load_weights",
    "notebook",
    "reconstruct",
    "save_image",
    "stylize",
    "sweep",
    "texture",
]

_HOME = {
    "available_backends": "backends",
    "batch": "jobs.batches",
    "BatchJob": "jobs.batches",
    "BatchProgress": "jobs.batches",
    "figure": "experiments.figures",
    "load_image": "images",
    "save_image": "images",
    "LossTerms": "losses.terms",
    "Objective": "objective",
    "TransferOptions": "options",
    "Progress": "result",
    "TransferResult": "result",
    "reconstruct": "experiments.reconstruction",
    "Sheet": "experiments.sheets",
    "stylize": "transfer",
    "sweep": "experiments.sweeps",
    "texture": "experiments.textures",
    "load_weights": "weights",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import pynst` itself loads nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'pynst' has no attribute {name!r}")
    import importlib

    if name == "notebook":
        return importlib.import_module("pynst.notebook")
    return getattr(importlib.import_module(f"pynst.{_HOME.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


warn_of_namesake(__path__[0])
