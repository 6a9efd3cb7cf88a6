"""A plugin of pytest: CuPy's compiler fails as it does on a machine that has a driver alone."""

from __future__ import annotations

import importlib


def pytest_configure():
    try:
        nvrtc = importlib.import_module("cupy_backends.cuda.libs.nvrtc")
    except ImportError:  # no CuPy: the tests say so themselves
        return

    def absent(*arguments, **settings):
        raise RuntimeError("NVRTC is hidden: PyNST must not need it")

    nvrtc.createProgram = absent
