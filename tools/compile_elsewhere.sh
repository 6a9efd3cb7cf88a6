#!/usr/bin/env bash
# Compiles the CPU core with Clang for other systems, and for this one with its bindings: objects
# only, nothing is linked or run.
#
#   tools/compile_elsewhere.sh                    every target
#   tools/compile_elsewhere.sh aarch64-macos      some of them; "native" is this system
#
# The compiler is the one of the package `ziglang`, which brings the headers of all these systems. The
# flags are those of csrc/cpu/CMakeLists.txt, with warnings as errors, but without optimisation: the
# question is whether the sources compile. Read from the environment: PYTHON (default python3), which
# must have `ziglang` and `pybind11`, and JOBS (default: all processors).
set -euo pipefail
cd "$(dirname "$0")/.."

targets=("$@")
if [ $# -eq 0 ]; then
    targets=(aarch64-macos x86_64-macos x86_64-windows-gnu aarch64-windows-gnu x86_64-linux-musl
        aarch64-linux-gnu native)
fi
python=${PYTHON:-python3}
zig=$("$python" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))')
headers=$("$python" -m pybind11 --includes | sed 's/-I/-isystem /g')  # others' warnings do not count
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT

AVX512="-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512"

# One line for each object: the target, the source and the flags that are its alone.
list() {
    local target system source x86
    for target in "${targets[@]}"; do
        system=$target x86=""
        if [ "$target" = native ]; then system=$(uname -m)-linux-gnu; fi
        case $system in
            x86_64-linux*) x86="-DPYNST_X86=1 -DPYNST_AMX=1" ;;
            x86_64*) x86="-DPYNST_X86=1" ;;
        esac
        for source in csrc/cpu/*.cpp csrc/cpu/inner/*.cpp; do
            case $system:$source in
                *:*/bindings*)  # they need the headers of that system's Python
                    if [ "$target" = native ]; then echo "$target $source $headers"; fi ;;
                x86_64*:*/avx2.cpp) echo "$target $source $x86 -mavx2 -mfma" ;;
                x86_64*:*/avx512.cpp) echo "$target $source $x86 $AVX512" ;;
                x86_64-linux*:*/amx.cpp) echo "$target $source $x86 $AVX512 -mamx-tile -mamx-bf16" ;;
                *:*/avx2.cpp | *:*/avx512.cpp | *:*/amx.cpp) ;;  # another processor, or not Linux
                *) echo "$target $source $x86" ;;
            esac
        done
    done
}

compile() {
    local target=$1 source=$2
    shift 2
    "$zig" c++ -target "$target" -std=c++17 -Icsrc/cpu -fvisibility=hidden -Wall -Wextra -Werror "$@" \
        -c "$source" -o "$objects/$target-$(basename "$source" .cpp).o" ||
        { echo "$source does not compile for $target" >&2; return 1; }
}
export -f compile
export zig objects

list | xargs -P "${JOBS:-$(nproc)}" -I{} bash -c 'compile {}'
for target in "${targets[@]}"; do
    printf '%-22s %2d objects\n' "$target" "$(find "$objects" -name "$target-*.o" | wc -l)"
done
