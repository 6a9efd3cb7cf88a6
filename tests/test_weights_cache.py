"""Filling the cache: once, by one process at a time, and whole or not at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import weights_files as files
from weights_files import assert_tiny, tiny_table
from weights_hosts import cache_holds_nothing_else, host, manifest, network, no_proxy

from pynst.errors import WeightsError
from pynst.locks import try_lock
from pynst.weights import (
    fetch_weights,
    import_weights,
    list_sources,
    load_weights,
    open_weights,
    save_weights,
    verify_weights,
)

__all__ = ["host", "manifest", "no_proxy", "tiny_table"]

pytestmark = pytest.mark.usefixtures("tiny_table", "no_proxy")


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


def test_a_full_sha256_and_our_own_are_compared(manifest, tmp_path):
    digest = "sha256:" + hashlib.sha256(network()).hexdigest()
    with pytest.raises(WeightsError, match="the weights in the file do not match the published"):
        fetch_weights(manifest=manifest("weights", checksum=digest, canonical_sha256="0" * 64))
    own = load_weights_of(network(), tmp_path).sha256
    path = fetch_weights(manifest=manifest("weights", checksum=digest, canonical_sha256=own))
    assert load_weights(path).sha256 == own


def load_weights_of(data: bytes, directory: Path):
    path = directory / "given"
    path.write_bytes(data)
    return load_weights(path)


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


def test_what_a_killed_download_has_left_goes_at_the_next(manifest, host, tmp_path):
    cache = tmp_path / "cache"
    killed = process(manifest("stalls/weights"))
    while not host.asked and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    finished(killed)
    left = {path.name.rpartition("-")[0] or path.name for path in cache.iterdir()}
    assert left == {".fetch", ".fetch.lock"}
    (cache / ".pynst-0123456789ab.tmp").write_bytes(b"half of a file whose writer was killed")
    fetch_weights(manifest=manifest("weights"))
    assert_tiny(load_weights(cache / "vgg19.npz").convolutions)
    assert cache_holds_nothing_else(tmp_path)


def test_of_many_processes_one_downloads_and_the_others_wait(manifest, host, tmp_path):
    source = manifest("weights")
    running = [process(source) for _ in range(4)]
    assert [finished(each) for each in running] == [0] * 4
    assert_tiny(load_weights(tmp_path / "cache" / "vgg19.npz").convolutions)
    assert cache_holds_nothing_else(tmp_path)
    assert host.asked == ["/weights"]


def test_those_who_wait_are_told_what_failed_and_do_not_try_again(
    manifest, host, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("pynst.weights.download.STALL_SECONDS", 1.5)
    source, failures = manifest("stalls/weights"), []

    def run():
        try:
            fetch_weights(manifest=source)
        except WeightsError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 3
    assert len(set(failures)) == 1
    assert "nothing came for 1.5 seconds" in failures[0]
    assert host.asked == ["/stalls/weights"]
    assert cache_holds_nothing_else(tmp_path)
    waited = "another process is downloading VGG-19: waiting for it"
    assert [record.getMessage() for record in caplog.records] == [waited] * 2


def test_a_lock_that_nobody_gives_up_ends_in_a_sentence(manifest, host, tmp_path, monkeypatch):
    monkeypatch.setattr("pynst.weights.cache._LOCK_SECONDS", 0.2)
    lock = tmp_path / "cache" / ".fetch.lock"
    lock.parent.mkdir()
    with lock.open("wb") as file:
        assert try_lock(file)
        with pytest.raises(WeightsError, match="another process has been downloading VGG-19"):
            fetch_weights(manifest=manifest("weights"))
    assert host.asked == []
    assert_tiny(load_weights(fetch_weights(manifest=manifest("weights"))).convolutions)


def test_where_memory_is_short_nothing_is_called_damaged_or_fetched_again(
    manifest, host, monkeypatch
):
    source = manifest("weights")
    path = fetch_weights(manifest=source)

    def short(*_arguments):
        raise MemoryError

    monkeypatch.setattr("pynst.formats.zipped.Archive.read", short)
    for call in (
        lambda: load_weights(path),
        lambda: fetch_weights(manifest=source),
        lambda: open_weights(None, None),
    ):
        with pytest.raises(WeightsError, match="there is not enough memory to read it") as caught:
            call()
        assert "damaged" not in str(caught.value)
        assert "weights fetch" not in str(caught.value)
    assert host.asked == ["/weights"]


def test_a_damaged_cache_is_fetched_again_where_that_is_allowed(
    manifest, host, monkeypatch, caplog
):
    source = manifest("weights")
    path = fetch_weights(manifest=source)
    sound = path.read_bytes()
    monkeypatch.setattr("pynst.weights.cache.list_sources", lambda _: list_sources(source))
    for damaged in (sound[:1000], sound[:5000] + b"x" + sound[5001:], b""):
        path.write_bytes(damaged)
        assert_tiny(open_weights(None, None).convolutions)
        assert path.read_bytes() == sound
    assert host.asked == ["/weights"] * 4
    assert "it is fetched again" in caplog.records[0].getMessage()
    path.write_bytes(sound[:1000])
    monkeypatch.setenv("PYNST_OFFLINE", "1")
    for call in (lambda: open_weights(None, None), lambda: load_weights(path)):
        with pytest.raises(WeightsError, match='"pynst weights fetch" gets it again'):
            call()


def test_a_damaged_file_of_the_users_own_is_not_replaced(manifest, host, tmp_path, monkeypatch):
    path = tmp_path / "mine.npz"
    path.write_bytes(b"nonsense")
    monkeypatch.setattr(
        "pynst.weights.cache.list_sources", lambda _: list_sources(manifest("weights"))
    )
    with pytest.raises(WeightsError, match=r"mine\.npz: .*in no format") as caught:
        open_weights(path, None)
    assert "weights fetch" not in str(caught.value)
    monkeypatch.setenv("PYNST_WEIGHTS", str(path))
    with pytest.raises(WeightsError, match=r"mine\.npz: "):
        open_weights(None, None)
    assert host.asked == []
    assert path.read_bytes() == b"nonsense"


def test_dead_hosts_together_cost_no_more_than_one(manifest, host, monkeypatch):
    monkeypatch.setattr("pynst.weights.download.ANSWER_SECONDS", 1.0)
    monkeypatch.setattr("pynst.weights.cache._LEAST_SECONDS", 0.1)
    begin = time.monotonic()
    with pytest.raises(WeightsError, match=r"no answer within 1 seconds.*no answer within 0"):
        fetch_weights(manifest=manifest(*["silent/weights"] * 5))
    assert time.monotonic() - begin < 4
    assert len(host.asked) == 5


def test_a_file_is_imported_into_the_cache_or_where_it_is_told(tmp_path):
    given = tmp_path / "given"
    given.write_bytes(network())
    path = import_weights(given)
    assert path == tmp_path / "cache" / "vgg19.npz"
    other = import_weights(given, output=tmp_path / "other.npz")
    assert other.read_bytes() == path.read_bytes()
    with pytest.raises(WeightsError, match="of the training oxford"):
        import_weights(given, training="torchvision")


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


def test_saving_what_was_fetched_again_gives_the_same_bytes(manifest, tmp_path):
    path = fetch_weights(manifest=manifest("weights"))
    save_weights(load_weights(path), tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
