"""Downloading from a local server that behaves in every way a host can."""

from __future__ import annotations

import hashlib
import socket
import time

import pytest
from weights_files import assert_tiny, tiny_table
from weights_hosts import cache_holds_nothing_else, host, manifest, network, no_proxy

from pynst.errors import WeightsError
from pynst.weights import download as fetch
from pynst.weights import fetch_weights, list_sources, load_weights

__all__ = ["host", "manifest", "no_proxy", "tiny_table"]

pytestmark = pytest.mark.usefixtures("tiny_table", "no_proxy")


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("none", "127.0.0.1: the host answers 404"),
        ("page", "does not match the checksum md5:"),
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
    with pytest.raises(WeightsError, match="does not match the checksum sha256-prefix:"):
        fetch_weights(manifest=manifest("weights", checksum=f"sha256-prefix:{digest[:7]}{wrong}"))
    fetch_weights(manifest=manifest("weights", checksum=f"sha256-prefix:{digest[:8]}"))


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


def test_the_proxy_of_the_environment_is_used(manifest, host, monkeypatch):
    # The proxy is asked for a host that does not exist: it serves the page all the same.
    monkeypatch.setenv("http_proxy", host.url)
    fetch_weights(manifest=manifest("http://weights.invalid/weights"))
    assert host.asked == ["http://weights.invalid/weights"]


def test_a_proxy_that_is_not_there_is_told(manifest, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(WeightsError, match="proxy cannot be reached"):
        fetch_weights(manifest=manifest("http://weights.invalid/weights"))


@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        ("socks5://127.0.0.1:1", "a SOCKS proxy .*ALL_PROXY.* needs the package PySocks|proxy"),
        ("socks5h://127.0.0.1:1", "a SOCKS proxy .*ALL_PROXY.* needs the package PySocks|proxy"),
        ("socks4://127.0.0.1:1", "a SOCKS proxy .*ALL_PROXY.* needs the package PySocks|proxy"),
        ("http://", "the address of the proxy is not understood"),
        ("nonsense://127.0.0.1:1", "proxy"),
    ],
)
def test_a_proxy_of_another_kind_is_a_sentence(manifest, monkeypatch, proxy, told):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(WeightsError, match=told) as caught:
        fetch_weights(manifest=manifest("http://weights.invalid/weights"))
    for insides in ("InvalidSchema", "InvalidProxyURL", "Error", "<"):
        assert insides not in str(caught.value)


def test_the_manifest_of_the_package_is_complete():
    sources = list_sources()
    automatic = [source.name for source in sources if source.automatic]
    assert automatic == ["keras", "matconvnet", "registry"]
    for source in sources:
        kind, _, digest = source.checksum.partition(":")
        assert len(digest) == {"md5": 32, "sha256": 64, "sha256-prefix": 8}[kind]
        assert int(digest, 16) > 0
        assert source.training in ("oxford", "torchvision")
        # What is known by 32 bits only, and another training, are taken only when asked for.
        by_name = kind == "sha256-prefix" or source.training == "torchvision"
        assert source.automatic != by_name
        assert 10 < source.megabytes < 1000
        assert bool(source.urls) != bool(source.package)
        for url in source.urls:
            assert url.startswith("https://")
            assert "s3" not in url
        assert source.licence
        assert source.convention
