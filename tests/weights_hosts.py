"""A local server that behaves in every way a host can, and manifests that name it."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import weights_files as files


class Host(ThreadingHTTPServer):
    """A server of `pages` (path to bytes) that can misbehave; `asked` lists the requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Host

    def do_GET(self):
        self.server.asked.append(self.path)
        behaviour, _, path = self.path.rpartition("/")
        data = self.server.pages.get(path, b"")
        behaviour = behaviour.rpartition("/")[2]
        if behaviour == "silent":
            self.server.closing.wait(20)
            return
        if behaviour == "moved":
            self.send_response(302)
            self.send_header("Location", f"{self.server.url}/{path}")
            self.end_headers()
            return
        if not data:
            self.send_error(404)
            return
        self.send_response(200)
        if behaviour != "unannounced":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        half = len(data) // 2
        if behaviour == "breaks":
            self.wfile.write(data[:half])
        elif behaviour == "stalls":
            self.wfile.write(data[:half])
            self.server.closing.wait(20)
        elif behaviour == "trickles":
            for at in range(half):
                self.wfile.write(data[at : at + 1])
                if self.server.closing.wait(0.02):
                    return
        else:
            self.wfile.write(data)

    def handle(self):
        try:
            super().handle()
        except ConnectionError:  # the client has had enough
            self.close_connection = True

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("PYNST_OFFLINE", raising=False)


@pytest.fixture
def host():
    server = Host()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


def network() -> bytes:
    return files.npz(files.keras_arrays())


@pytest.fixture
def manifest(tmp_path, host):
    """Write a manifest of one source per list of URLs; the pages hold the tiny network."""
    host.pages["weights"] = network()
    host.pages["page"] = b"<!DOCTYPE html><html>Please log in</html>"
    md5 = "md5:" + hashlib.md5(network()).hexdigest()

    def write(*urls, **changes):
        entry = {
            "name": "keras",
            "title": "Keras applications VGG-19 (ImageNet)",
            "urls": [url if ":" in url else f"{host.url}/{url}" for url in urls],
            "checksum": md5,
            "megabytes": 1,
            "training": "oxford",
            "convention": "Keras'",
            "licence": "CC BY 4.0",
            "automatic": True,
            "canonical_sha256": None,
            **changes,
        }
        path = tmp_path / "manifest.json"
        entries = [entry, {**entry, "name": "other", "title": "other", "automatic": False}]
        path.write_text(json.dumps({"format": 1, "sources": entries}))
        return path

    return write


def cache_holds_nothing_else(tmp_path: Path) -> bool:
    return [path.name for path in (tmp_path / "cache").iterdir()] in ([], ["vgg19.npz"])
