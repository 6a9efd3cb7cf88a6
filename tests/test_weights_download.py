"""Downloading from a local server that behaves in every way a host can."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import weights_files as files
from weights_files import assert_tiny, tiny_table

from pynst.errors import WeightsError
from pynst.weights import download as fetch
from pynst.weights import fetch_weights, list_sources, load_weights, save_weights, verify_weights

__all__ = ["tiny_table"]

pytestmark = pytest.mark.usefixtures("tiny_table", "no_proxy")


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


def test_a_download_is_verified_imported_and_kept(manifest, host, tmp_path, capfd):
    seen = []
    path = fetch_weights(
        manifest=manifest("weights"), progress=lambda *arguments: seen.append(arguments)
    )
    assert path == tmp_path / "cache" / "vgg19.npz"
    assert_tiny(load_weights(path).convolutions)
    assert "Keras applications" in verify_weights(path)
    size = len(network())
    title, received, total = seen[-1]
    assert (title, received, total) == ("Keras applications VGG-19 (ImageNet)", size, size)
    assert [count for _, count, _ in seen] == sorted(count for _, count, _ in seen)
    assert cache_holds_nothing_else(tmp_path)
    assert host.asked == ["/weights"]
    assert capfd.readouterr() == ("", "")


def test_what_is_there_is_not_downloaded_again(manifest, host, tmp_path):
    source = manifest("weights")
    fetch_weights(manifest=source)
    fetch_weights(manifest=source)
    fetch_weights(manifest=source, source="keras")
    assert host.asked == ["/weights"]
    with pytest.raises(WeightsError):  # another source has other numbers: it is downloaded
        fetch_weights(manifest=manifest("none"), source="other")
    path = tmp_path / "cache" / "vgg19.npz"
    assert_tiny(load_weights(path).convolutions)  # and a failure leaves the old file
    path.write_bytes(path.read_bytes()[:1000])
    fetch_weights(manifest=manifest("weights"))
    assert_tiny(load_weights(path).convolutions)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("none", "127.0.0.1: the host answers 404"),
        ("page", "has not the checksum md5:"),
        ("breaks/weights", "the connection broke|the download broke off|cannot be reached"),
        ("http://127.0.0.1:1/weights", "127.0.0.1: the host cannot be reached"),
        ("ftp://127.0.0.1/weights", "the download broke off"),
    ],
)
def test_the_next_host_is_tried_and_all_reasons_are_told(manifest, host, first, reason):
    path = fetch_weights(manifest=manifest(first, "weights"))
    assert_tiny(load_weights(path).convolutions)
    path.unlink()
    with pytest.raises(WeightsError, match=f"could not be downloaded .*{reason}") as caught:
        fetch_weights(manifest=manifest(first, "missing"))
    assert "404" in str(caught.value)
    assert "pynst weights import FILE" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "/missing" in host.asked


@pytest.mark.parametrize("behaviour", ["silent", "stalls", "trickles"])
def test_a_host_that_stops_is_left(manifest, host, tmp_path, monkeypatch, behaviour):
    monkeypatch.setattr(fetch, "ANSWER_SECONDS", 0.4)
    monkeypatch.setattr(fetch, "STALL_SECONDS", 0.4)
    monkeypatch.setattr(fetch, "PATIENCE_SECONDS", 0.3)
    start = time.monotonic()
    wanted = "no answer within 0.4|nothing came for 0.4|less than 2048 bytes a second"
    with pytest.raises(WeightsError, match=wanted):
        fetch_weights(manifest=manifest(f"{behaviour}/weights"))
    assert time.monotonic() - start < 10
    assert cache_holds_nothing_else(tmp_path)
    assert len(host.asked) == 1


def test_a_host_that_never_accepts_is_left(manifest, monkeypatch):
    # A full backlog: the connection is neither made nor refused.
    monkeypatch.setattr(fetch, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(fetch, "ANSWER_SECONDS", 1.0)
    with socket.socket() as listening, socket.socket() as filler:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        filler.setblocking(False)
        address = listening.getsockname()
        filler.connect_ex(address)
        with pytest.raises(WeightsError, match=r"no connection within|no answer within"):
            fetch_weights(manifest=manifest(f"http://127.0.0.1:{address[1]}/weights"))


def test_redirects_and_unannounced_lengths_are_followed(manifest, tmp_path):
    totals = []
    urls = manifest("moved/weights")
    fetch_weights(manifest=urls, progress=lambda *arguments: totals.append(arguments[2]))
    assert totals[-1] == len(network())
    (tmp_path / "cache" / "vgg19.npz").unlink()
    fetch_weights(
        manifest=manifest("unannounced/weights"),
        progress=lambda *arguments: totals.append(arguments[2]),
    )
    assert totals[-1] is None


@pytest.mark.parametrize("behaviour", ["", "unannounced/"])
def test_a_file_that_is_too_large_is_refused(manifest, host, behaviour):
    host.pages["weights"] = bytes(3_000_000)
    with pytest.raises(WeightsError, match="the file is larger than 1000000 bytes"):
        fetch_weights(manifest=manifest(f"{behaviour}weights"))


def test_the_beginning_of_a_checksum_is_compared(manifest):
    digest = hashlib.sha256(network()).hexdigest()
    wrong = "0" if digest[7] != "0" else "1"
    with pytest.raises(WeightsError, match="has not the checksum sha256-prefix:"):
        fetch_weights(manifest=manifest("weights", checksum=f"sha256-prefix:{digest[:7]}{wrong}"))
    fetch_weights(manifest=manifest("weights", checksum=f"sha256-prefix:{digest[:8]}"))


def test_a_full_sha256_and_our_own_are_compared(manifest, tmp_path):
    digest = "sha256:" + hashlib.sha256(network()).hexdigest()
    with pytest.raises(WeightsError, match="numbers in the file have not the published checksum"):
        fetch_weights(manifest=manifest("weights", checksum=digest, canonical_sha256="0" * 64))
    own = load_weights_of(network(), tmp_path).sha256
    path = fetch_weights(manifest=manifest("weights", checksum=digest, canonical_sha256=own))
    assert load_weights(path).sha256 == own


def load_weights_of(data: bytes, directory: Path):
    path = directory / "given"
    path.write_bytes(data)
    return load_weights(path)


@pytest.mark.parametrize(
    "checksum",
    [
        "",
        "md5:",
        "crc32:00000000",
        "sha256-prefix",
        "sha256-prefix:",
        "sha256-prefix:dcbb",
        "sha256:1",
    ],
)
def test_a_manifest_without_a_real_checksum_downloads_nothing(manifest, host, checksum):
    with pytest.raises(WeightsError, match=r"checksum .* is of no use"):
        fetch_weights(manifest=manifest("weights", checksum=checksum))
    assert host.asked == []


def test_a_file_of_the_right_checksum_and_wrong_content_is_refused(manifest, host, tmp_path):
    for content, reason in (
        (files.pth(files.vgg16_arrays()), "it looks like VGG-16"),
        (b"x" * 100, "in no format"),
    ):
        host.pages["weights"] = content
        checksum = "md5:" + hashlib.md5(content).hexdigest()
        with pytest.raises(WeightsError, match=reason):
            fetch_weights(manifest=manifest("weights", checksum=checksum))
        assert cache_holds_nothing_else(tmp_path)


def test_the_manifest_says_whose_training_it_is(manifest, host):
    content = files.pth(files.torch_arrays())
    host.pages["weights"] = content
    checksum = "md5:" + hashlib.md5(content).hexdigest()
    path = fetch_weights(manifest=manifest("weights", checksum=checksum, training="torchvision"))
    assert load_weights(path).training == "torchvision"
    path.unlink()
    host.pages["weights"] = network()
    with pytest.raises(WeightsError, match="of the training oxford"):
        fetch_weights(manifest=manifest("weights", training="torchvision"))


def test_offline_means_offline(manifest, host, monkeypatch):
    monkeypatch.setenv("PYNST_OFFLINE", "1")
    with pytest.raises(WeightsError, match="PYNST_OFFLINE is set; put a VGG-19 file in place"):
        fetch_weights(manifest=manifest("weights"))
    assert host.asked == []
    monkeypatch.setenv("PYNST_OFFLINE", "0")
    fetch_weights(manifest=manifest("weights"))
    monkeypatch.setenv("PYNST_OFFLINE", "1")
    assert_tiny(load_weights(fetch_weights(manifest=manifest("weights"))).convolutions)


def test_an_unknown_source_is_named(manifest):
    with pytest.raises(WeightsError, match="source must be one of keras, other, got 'mine'"):
        fetch_weights(source="mine", manifest=manifest("weights"))


def test_the_proxy_of_the_environment_is_used(manifest, host, monkeypatch):
    # The proxy is asked for a host that does not exist: it serves the page all the same.
    monkeypatch.setenv("http_proxy", host.url)
    fetch_weights(manifest=manifest("http://weights.invalid/weights"))
    assert host.asked == ["http://weights.invalid/weights"]


def test_a_proxy_that_is_not_there_is_told(manifest, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(WeightsError, match="proxy cannot be reached"):
        fetch_weights(manifest=manifest("http://weights.invalid/weights"))


# ---- interruptions ------------------------------------------------------------------------------


def test_ctrl_c_leaves_nothing_and_the_next_try_works(manifest, tmp_path):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_weights(manifest=manifest("weights"), progress=interrupt)
    assert list((tmp_path / "cache").iterdir()) == []
    assert_tiny(load_weights(fetch_weights(manifest=manifest("weights"))).convolutions)


def process(source: Path) -> subprocess.Popen[str]:
    """Another process that downloads the tiny network."""
    script = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        import weights_files
        from pynst.weights import layouts
        from pynst.weights import fetch_weights
        layouts.VGG19_CONVOLUTIONS = weights_files.TINY_TABLE
        print("started", flush=True)
        print(fetch_weights(manifest={str(source)!r}), flush=True)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )


def finished(running: subprocess.Popen[str]) -> int:
    running.communicate(timeout=60)
    return running.returncode


def test_a_killed_download_does_not_hinder_the_next(manifest, host, tmp_path):
    cache = tmp_path / "cache"
    killed = process(manifest("stalls/weights"))
    while not host.asked and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    finished(killed)
    left = list(cache.iterdir())
    assert [path.name.startswith(".fetch-") for path in left] == [True]
    fetch_weights(manifest=manifest("weights"))
    assert_tiny(load_weights(cache / "vgg19.npz").convolutions)
    assert left[0].exists()  # another download might be at work there
    (cache / "vgg19.npz").unlink()
    yesterday = time.time() - 2 * 24 * 3600
    os.utime(left[0], (yesterday, yesterday))
    fetch_weights(manifest=manifest("weights"))
    assert cache_holds_nothing_else(tmp_path)


def test_two_processes_at_once_both_end_with_a_good_file(manifest, tmp_path):
    source = manifest("weights")
    both = [process(source), process(source)]
    assert [finished(running) for running in both] == [0, 0]
    assert_tiny(load_weights(tmp_path / "cache" / "vgg19.npz").convolutions)
    assert cache_holds_nothing_else(tmp_path)


def test_many_threads_at_once_all_end_with_a_good_file(manifest, tmp_path):
    source, failures = manifest("weights"), []

    def run():
        try:
            fetch_weights(manifest=source)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert_tiny(load_weights(tmp_path / "cache" / "vgg19.npz").convolutions)
    assert cache_holds_nothing_else(tmp_path)


# ---- places that cannot be written --------------------------------------------------------------


def test_a_cache_that_cannot_be_made_is_told(manifest, host, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"cache directory .* cannot be written: .*PYNST_CACHE"):
        fetch_weights(manifest=manifest("weights"), directory=tmp_path / "file" / "cache")
    assert host.asked == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_read_only_cache_is_told(manifest, host, tmp_path):
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(WeightsError, match="cannot be written: Permission denied"):
        fetch_weights(manifest=manifest("weights"))
    assert host.asked == []


def test_a_full_disk_is_told_and_no_other_host_is_tried(manifest, host, tmp_path, monkeypatch):
    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"vgg19.npz: cannot be written: No space left"):
        fetch_weights(manifest=manifest("weights", "weights"))
    assert host.asked == ["/weights"]
    assert cache_holds_nothing_else(tmp_path)


def test_a_disk_that_fills_while_downloading_is_told(manifest, monkeypatch, tmp_path):
    real = Path.open

    def limited(path, mode="r", *arguments, **settings):
        if "w" in mode and ".fetch-" in str(path):
            return real(Path("/dev/full"), mode, *arguments, **settings)
        return real(path, mode, *arguments, **settings)

    if not Path("/dev/full").exists():
        pytest.skip("this platform has no /dev/full")
    source = manifest("weights")
    monkeypatch.setattr(Path, "open", limited)
    with pytest.raises(WeightsError, match="cannot be written: No space left on device"):
        fetch_weights(manifest=source)
    assert cache_holds_nothing_else(tmp_path)


# ---- the package's own manifest -----------------------------------------------------------------


def test_the_manifest_of_the_package_is_complete():
    sources = list_sources()
    assert [source.name for source in sources if source.automatic] == [
        "keras",
        "caffe",
        "matconvnet",
    ]
    for source in sources:
        kind, _, digest = source.checksum.partition(":")
        assert len(digest) == {"md5": 32, "sha256": 64, "sha256-prefix": 8}[kind]
        assert int(digest, 16) > 0
        assert source.training in ("oxford", "torchvision")
        assert source.automatic == (source.training == "oxford")
        assert 80 < source.megabytes < 1000
        assert source.urls
        for url in source.urls:
            # The one host without TLS is the last resort, and its file has a checksum as well.
            assert url.startswith("https://") or source.name == "matconvnet"
        assert source.licence
        assert source.convention


def test_saving_what_was_fetched_again_gives_the_same_bytes(manifest, tmp_path):
    path = fetch_weights(manifest=manifest("weights"))
    save_weights(load_weights(path), tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
