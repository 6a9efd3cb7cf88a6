#!/usr/bin/env bash
# Compiles the CPU core for systems that this machine is not: objects only, nothing is linked or run.
#
#   tools/compile_elsewhere.sh                    every target
#   tools/compile_elsewhere.sh aarch64-macos      some of them
#
# The compiler is the one of the package `ziglang`, which brings the headers of all these systems. The
# flags are those of csrc/cpu/CMakeLists.txt, with warnings as errors, but without optimisation: the
# question is whether the sources compile. Read from the environment: PYTHON (default python3), which
# must have `ziglang`, and JOBS (default: all processors).
set -euo pipefail
cd "$(dirname "$0")/.."

targets=("$@")
if [ $# -eq 0 ]; then
    targets=(aarch64-macos x86_64-macos x86_64-windows-gnu aarch64-windows-gnu x86_64-linux-musl
        aarch64-linux-gnu)
fi
zig=$("${PYTHON:-python3}" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))')
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT

AVX512="-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512"

# One line for each object: the target, the source and the source's own flags.
list() {
    local target source name
    for target in "${targets[@]}"; do
        for source in csrc/cpu/*.cpp; do
            name=$(basename "$source" .cpp)
            case $target:$name in
                *:bindings*) ;;  # they need the headers of that system's Python
                x86_64*:inner_avx2) echo "$target $source -DPYNST_X86=1 -mavx2 -mfma" ;;
                x86_64*:inner_avx512) echo "$target $source -DPYNST_X86=1 $AVX512" ;;
                x86_64-linux*:inner_amx)
                    echo "$target $source -DPYNST_X86=1 -DPYNST_AMX=1 $AVX512 -mamx-tile -mamx-bf16"
                    ;;
                *:inner_avx2 | *:inner_avx512 | *:inner_amx) ;;  # another processor's, or Linux's alone
                x86_64-linux*) echo "$target $source -DPYNST_X86=1 -DPYNST_AMX=1" ;;
                x86_64*) echo "$target $source -DPYNST_X86=1" ;;
                *) echo "$target $source" ;;
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
