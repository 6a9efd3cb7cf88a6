#!/bin/sh
# Runs every op of the CPU core under sanitizers, on odd sizes, with 1 and 3 threads, once for each
# instruction set of this processor, and compares the results with plain loops.
#
#   tests/sanitize/run.sh             AddressSanitizer and UndefinedBehaviorSanitizer
#   tests/sanitize/run.sh thread      ThreadSanitizer
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
checks=${1:-address,undefined}
build=$root/build/sanitize-$checks
mkdir -p "$root/build"
cmake -S "$root/tests/sanitize" -B "$build" -DCMAKE_BUILD_TYPE=Release "-DPYNST_SANITIZE=$checks" \
    > "$build.log" 2>&1 || { cat "$build.log"; exit 1; }
cmake --build "$build" --parallel 2 >> "$build.log" 2>&1 || { cat "$build.log"; exit 1; }
for isa in generic avx2 avx512 amx neon; do
    PYNST_CPU_ISA=$isa "$build/sanitize"
done
