"""Files of any kind: how a path is shown, and that a file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from pictures import SMOOTH

from pynst.errors import ImageError
from pynst.files import shown
from pynst.images import load_image, save_image


def test_paths_are_shown_without_control_characters():
    assert shown(Path("photo é.jpg")) == "photo é.jpg"
    assert shown("a\nb\x1b[31m") == r"'a\nb\x1b[31m'"
    assert shown("\udcff") == r"'\udcff'"
    assert shown("") == "''"


@pytest.fixture
def old(tmp_path):
    """A result of an earlier run."""
    path = tmp_path / "result.png"
    save_image(SMOOTH, path)
    return path


def assert_untouched(old, before):
    assert old.read_bytes() == before
    assert [path.name for path in old.parent.iterdir()] == [old.name]


@pytest.mark.parametrize("function", ["fsync", "realpath"])
def test_a_failure_while_writing_leaves_the_old_file(old, monkeypatch, function):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = old.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os if function == "fsync" else os.path, function, fail)
        with pytest.raises(ImageError, match=r"output: cannot write .*: No space left on device"):
            save_image(SMOOTH[::-1], old)
    assert_untouched(old, before)


def test_a_failure_of_the_last_step_leaves_the_old_file(old, monkeypatch):
    def fail(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    before = old.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(ImageError, match=r"Operation not permitted"):
            save_image(SMOOTH[::-1], old)
    assert_untouched(old, before)


def test_an_interruption_leaves_the_old_file(old, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    before = old.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save_image(SMOOTH[::-1], old)
    assert_untouched(old, before)


def test_a_write_that_the_system_cuts_off_leaves_the_old_file(old):
    # The limit of file size fails like a full disk: some bytes are written, then an error.
    before = old.read_bytes()
    noise = np.random.default_rng(0).random((64, 64, 3))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(ImageError, match=r"output: cannot write .*: File too large"):
            save_image(noise, old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_untouched(old, before)


def test_readers_see_the_old_file_or_the_new_one_and_nothing_else(old):
    new = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    done = threading.Event()

    def write():
        for i in range(20):
            save_image(new if i % 2 else SMOOTH, old)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    shapes = set()
    while not done.is_set():
        shapes.add(load_image(old).shape)
    writer.join()
    assert shapes <= {(11, 14, 3), (200, 300, 3)}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027])
def test_permissions_are_those_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        path = save_image(SMOOTH, tmp_path / "result.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path, old):
    link = tmp_path / "link.png"
    link.symlink_to(old)
    assert save_image(SMOOTH[::-1], link) == link
    assert link.is_symlink()
    np.testing.assert_array_equal(load_image(old), SMOOTH[::-1] / 255)


def test_an_existing_file_is_kept_if_so_wished(old):
    before = old.read_bytes()
    with pytest.raises(ImageError, match=r"output: exists already: "):
        save_image(SMOOTH[::-1], old, overwrite=False)
    assert_untouched(old, before)
    save_image(SMOOTH, old.with_name("new.png"), overwrite=False)
    assert old.with_name("new.png").exists()


def test_a_file_that_appears_during_the_work_is_kept_too(tmp_path, monkeypatch):
    path = tmp_path / "result.png"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: path.write_bytes(b"mine"))
        with pytest.raises(ImageError, match=r"output: exists already: "):
            save_image(SMOOTH, path, overwrite=False)
    assert_untouched(path, b"mine")
