#!/usr/bin/env bash
# Paints and tests with the installed package instead of the sources.
#
#   PYTHON=venv/bin/python tools/try_wheel.sh            every test
#   PYTHON=venv/bin/python tools/try_wheel.sh -k image   as pytest is told
#
# Read from the environment: PYTHON (default python3), where a wheel is installed with its extra `test`.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(command -v "${PYTHON:-python3}")

# The tests want the files beside them, but pynst/ must not be there: it would be imported.
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
git ls-files -z --cached --others --exclude-standard | grep -zv '^pynst/' | xargs -0 cp --parents -t "$place"
cd "$place"
"$python" -c 'import pynst, sys; print(pynst.__file__); sys.exit("site-packages" not in pynst.__file__)'
"$python" -m pynst demo
"$python" -m pytest -q -p no:cacheprovider "$@"
