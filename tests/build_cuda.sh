#!/usr/bin/env bash
# Builds the CUDA core as an installation does, by CMake and with nvcc from wheels, and imports it.
#
#   PYTHON=venv/bin/python tests/build_cuda.sh
#
# The other checks of the kernels (check_registers.py, ptx, cuda_on_cpu) compile them with flags of
# their own, and the bindings against a runtime of their own. Only this one sees a fault of
# CMakeLists.txt, a call that NVIDIA's headers do not have, and a symbol that is missing in the link.
# It compiles for one architecture and does not optimise: the question is whether the core builds.
# Needs no GPU and no driver. Read from the environment: PYTHON (default python3), which must have
# `pybind11` and what pyproject.toml asks for with PYNST_NVCC=wheel, and JOBS (default: all
# processors).
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(command -v "${PYTHON:-python3}")
build=build/cuda
mkdir -p "$build"
rm -f "$build"/_cuda*.so
{
    PYNST_NVCC=wheel CUDAFLAGS=--Ofast-compile=max cmake --fresh -S . -B "$build" \
        -DPYNST_CUDA=ON -DPYNST_CUDA_ARCHITECTURES=75-real -DPYNST_WERROR=ON \
        -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE= -DCMAKE_INTERPROCEDURAL_OPTIMIZATION=OFF \
        "-DPython_EXECUTABLE=$python" "-Dpybind11_DIR=$("$python" -m pybind11 --cmakedir)"
    cmake --build "$build" --target _cuda --parallel "${JOBS:-$(nproc)}"
} > "$build/log" 2>&1 || { cat "$build/log"; exit 1; }
grep 'CUDA core ON' "$build/log"
PYTHONPATH=$build "$python" -c 'import _cuda; print("imported, for", _cuda.architectures)'
