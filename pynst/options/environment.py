"""The environment variables that PyNST reads; `pynst info`, its help and the README show them."""

from __future__ import annotations

__all__ = ["BUILD_VARIABLES", "VARIABLES"]

VARIABLES = {
    "PYNST_WEIGHTS": "path of the VGG-19 weights file, before the cache is looked at",
    "PYNST_CACHE_DIR": "folder for downloaded weights, instead of the user's cache",
    "PYNST_OFFLINE": "1: never download anything",
    "PYNST_MEMORY": "memory for the process, like 4G; larger runs take tiles or are refused",
    "PYNST_TUNE": "0: choose CUDA's kernels by a model of the device, do not measure them",
    "PYNST_CPU_ISA": "instruction set of the CPU core: amx, avx512, avx2, neon or generic",
    "CUDA_VISIBLE_DEVICES": "GPUs that may be used; pynst batch has one worker for each of them",
    "OMP_NUM_THREADS": "CPU threads where the setting threads is not given, 1 to 1024",
}
"""Read when PyNST runs: name and meaning."""

BUILD_VARIABLES = {
    "PYNST_CUDA": "AUTO, ON or OFF: build the CUDA core where nvcc is found, always or never",
    "PYNST_CUDA_ARCHITECTURES": "compute capabilities to build for, like 75;90",
    "PYNST_NVCC": "wheel: take nvcc from wheels instead of an installed CUDA toolkit",
    "PYNST_WERROR": "ON: warnings of the C++ compiler are errors",
}
"""Read when PyNST is built from source: name and meaning."""
