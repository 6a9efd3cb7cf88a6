#!/usr/bin/env bash
# A whole visit to a machine with a CUDA device, in one command and within ten minutes: builds PyNST
# for that device alone, then runs every check and measurement that needs one. No network is needed.
#
#   tests/gpu.sh                    all steps
#   tests/gpu.sh build benchmark    some of them
#   tests/gpu.sh --dry-run          what can be done without a device; says what the rest would do
#
# Each step is a program in tests/gpu/ with its own time limit, and a failing step does not stop the
# later ones. Results go to $OUT (default gpu-results), few files: log.txt with the log of every step,
# summary.txt with one line for each, the benchmarks' closure.json, visit.json and report.md, profile.txt
# with the time of each kernel, and the pictures. The
# exit status is 0 if no step failed.
#
# From the environment: OUT, PYTHON (default python3), PYNST_TEST_WEIGHTS (VGG-19, for the second
# picture and the tests that want it), PYNST_BENCH_COMMIT (where the sources have no .git beside
# them), PYNST_GPU_SECONDS (the whole budget, default 590), PYNST_GPU_BUILD (default build/gpu).
set -u
shopt -s extglob
cd "$(dirname "$0")/.." || exit 2

# Name, limit in seconds. What a visit is for comes first: the limits up to `closure` add up to less
# than the budget, so that no slow build or checker can take its time. The others share what is left.
STEPS="device:15 build:200 conformance:30 closure:220 tests:110 profile:60 picture:45 no_nvrtc:45 sanitizer:100 benchmark:330"

export DRY="" OUT=${OUT:-gpu-results} PYTHON=${PYTHON:-python3} PYTHONUNBUFFERED=1
export BUILD=${PYNST_GPU_BUILD:-build/gpu}
PYTHON=$(command -v "$PYTHON") || { echo "there is no ${PYTHON:-python3}" >&2; exit 2; }
if [ -n "${PYNST_TEST_WEIGHTS:-}" ]; then
    PYNST_TEST_WEIGHTS=$(realpath "$PYNST_TEST_WEIGHTS")  # steps run in other folders
    export PYNST_TEST_WEIGHTS
fi
wanted=" "
for word in "$@"; do
    case $word in
        --dry-run) DRY=1 ;;
        *)
            case " $STEPS" in
                *" $word:"*) wanted="$wanted$word " ;;
                *)
                    echo "usage: tests/gpu.sh [--dry-run] [STEP...]; steps: ${STEPS//:+([0-9])/}" >&2
                    exit 2
                    ;;
            esac
            ;;
    esac
done

mkdir -p "$OUT" "$BUILD/logs" || exit 2
rm -rf "$BUILD/bench"
OUT=$(cd "$OUT" && pwd)
BUILD=$(cd "$BUILD" && pwd)
export TREE=$BUILD/tree  # a copy of the sources with the compiled modules inside; steps run there
budget=${PYNST_GPU_SECONDS:-590}
[ -n "$DRY" ] && budget=86400
: > "$OUT/log.txt"
: > "$OUT/summary.txt"
rm -f "$OUT/report.md" "$OUT/closure.json" "$OUT/visit.json"

# Compute capability, "90" for 9.0: of the first device, or as PYNST_GPU_ARCHITECTURE says.
found=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. ')
export ARCHITECTURE=${PYNST_GPU_ARCHITECTURE:-$found}
if [ -z "$ARCHITECTURE" ]; then
    if [ -z "$DRY" ]; then
        echo "no CUDA device: nvidia-smi names none. Try tests/gpu.sh --dry-run" >&2
        exit 2
    fi
    ARCHITECTURE=90
fi

say() { printf '%s\n' "$*" | tee -a "$OUT/summary.txt"; }

failures=0
for step in $STEPS; do
    name=${step%:*} limit=${step#*:}
    case $wanted in " " | *" $name "*) ;; *) continue ;; esac
    left=$((budget - SECONDS))
    [ -n "$DRY" ] && limit=3600
    [ "$left" -lt "$limit" ] && limit=$left
    log=$BUILD/logs/$name.txt
    since=$SECONDS
    if [ "$limit" -lt 5 ]; then
        echo "no time is left" > "$log"
        status=124
    else
        timeout -k 5 "$limit" "tests/gpu/$name" > "$log" 2>&1
        status=$?
    fi
    # What a benchmark measured before it ended, or was ended, is there after each of its rows.
    for run in closure visit; do
        [ -f "$BUILD/bench/$run.json" ] && cp "$BUILD/bench/$run.json" "$OUT/"
    done
    case $status in
        0) verdict=ok ;;
        77) verdict=skipped ;;  # the log's last line says why
        124 | 137) verdict="TIMED OUT" ;;
        *) verdict=FAILED ;;
    esac
    case $status in 0 | 77) ;; *) failures=$((failures + 1)) ;; esac
    { printf '\n======== %s: %s\n' "$name" "$verdict"; cat "$log"; } >> "$OUT/log.txt"
    say "$(printf '%-12s %-9s %4d s  %s' "$name" "$verdict" $((SECONDS - since)) \
        "$(grep -v '^ *$' "$log" | tail -n 1 | cut -c 1-110)")"
    case $status in 0 | 77) ;; *) tail -n 25 "$log" ;; esac
done

for run in closure visit; do
    [ -f "$OUT/$run.json" ] || continue
    (cd "$TREE" && "$PYTHON" -m bench show "$OUT/$run.json") >> "$OUT/report.md" 2>&1
done
[ -f "$OUT/report.md" ] && cat "$OUT/report.md"
say "$failures failed, $SECONDS s in all; logs in $OUT/log.txt"
printf '\n'
cat "$OUT/summary.txt"
[ "$failures" -eq 0 ]
