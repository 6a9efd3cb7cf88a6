#!/bin/sh
# Runs every op of the CPU core as arm64 does, with its NEON kernels: compiled for it as for a
# release, run in an emulator. The same checks as run.sh, but without sanitizers.
#
#   tests/sanitize/neon.sh
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
compiler=aarch64-linux-gnu-g++
emulator=qemu-aarch64
if ! command -v $compiler > /dev/null || ! command -v $emulator > /dev/null; then
    echo "skipped: needs $compiler and $emulator"
    exit 0
fi
build=$root/build/sanitize-neon
mkdir -p "$root/build"
cmake -S "$root/tests/sanitize" -B "$build" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=$compiler \
    -DCMAKE_EXE_LINKER_FLAGS=-static -DPYNST_SANITIZE= -DPYNST_OPTIMIZE=-O3 \
    > "$build.log" 2>&1 || { cat "$build.log"; exit 1; }
cmake --build "$build" --parallel 2 >> "$build.log" 2>&1 || { cat "$build.log"; exit 1; }
output=$(PYNST_CPU_ISA=neon $emulator "$build/sanitize") || { echo "$output"; exit 1; }
echo "$output"
case $output in "neon: "*) ;; *) exit 1 ;; esac  # a core without its NEON kernels would be skipped
