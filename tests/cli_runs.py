"""What the tests of the command line share: a quick run, and processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time

FAST = ["--network", "builtin", "--image-size", "72", "--iterations", "3"]


def start(*words, **environment):
    """The command in a process of its own, with the buffers that Python has by default."""
    inherited = {name: each for name, each in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        [sys.executable, "-m", "pynst", *words],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**inherited, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def run_until(ready, process):
    """Wait until a run is under way."""
    end = time.monotonic() + 60
    while not ready() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)


def shell(script, *words, cwd, **environment):
    """The command as ``"$@"`` in a line of the shell: with closed or redirected streams."""
    return subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-m", "pynst", *words],
        capture_output=True, cwd=cwd, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
