"""Locks between processes, and files whose writers were killed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from pynst.files import remove_leftovers, whole_file, write_whole
from pynst.locks import one_at_a_time, try_lock


def silent(*_arguments) -> None:
    pass


def process(code: str) -> subprocess.Popen[str]:
    script = f"import sys, time; sys.path[:0] = {sys.path!r}\n" + textwrap.dedent(code)
    running = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "there\n"
    return running


def ended(running: subprocess.Popen[str]) -> None:
    running.kill()
    running.communicate(timeout=30)


def test_a_turn_is_had_by_one_at_a_time_and_leaves_no_file(tmp_path):
    lock, inside, most, waited = tmp_path / "lock", [0], [0], []

    def run():
        with one_at_a_time(lock, 30, lambda: waited.append(1), silent) as turn:
            assert turn.alone
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.05)
            inside[0] -= 1

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(waited) >= 4
    assert not lock.exists()


def test_the_lock_of_a_killed_owner_is_free(tmp_path):
    lock = tmp_path / "lock"
    owner = process(f"""
        from pathlib import Path
        from pynst.locks import one_at_a_time
        with one_at_a_time(Path({str(lock)!r}), 5, print, print) as turn:
            turn.leave("of a process that was killed later")
            print("there", flush=True)
            time.sleep(60)
    """)
    with pytest.raises(TimeoutError), one_at_a_time(lock, 0.3, silent, silent):
        pass
    ended(owner)
    notes: list[str] = []
    with one_at_a_time(lock, 5, silent, notes.append) as turn:
        assert turn.alone
    assert notes == []  # it was not waited for
    assert not lock.exists()


def test_a_note_reaches_those_who_wait_and_nobody_later(tmp_path):
    lock, notes, entered = tmp_path / "lock", [], threading.Event()

    def wait():
        with one_at_a_time(lock, 30, entered.set, notes.append):
            pass

    waiting = threading.Thread(target=wait)
    with one_at_a_time(lock, 5, silent, silent) as turn:
        waiting.start()
        assert entered.wait(10)
        turn.leave("it failed")
    waiting.join()
    assert notes == ["it failed"]
    with one_at_a_time(lock, 5, silent, notes.append):
        pass
    assert notes == ["it failed"]


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed there")
def test_what_a_killed_writer_has_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    target = tmp_path / "picture.png"
    writer = process(f"""
        from pynst.files import whole_file
        with whole_file({str(target)!r}) as file:
            file.write(b"half")
            print("there", flush=True)
            time.sleep(60)
    """)
    (temporary,) = tmp_path.glob(".pynst-*.tmp")
    write_whole(b"another", tmp_path / "other.png")
    assert temporary.exists()
    ended(writer)
    assert temporary.exists()
    write_whole(b"another", tmp_path / "other.png")
    assert not temporary.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.png"]


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed there")
def test_a_file_that_is_being_written_survives_those_who_tidy_up(tmp_path):
    stop, failures = threading.Event(), []

    def tidy():
        while not stop.is_set():
            remove_leftovers(tmp_path)

    def write(name: str):
        try:
            for number in range(60):
                write_whole(str(number).encode(), tmp_path / name)
        except OSError as error:
            failures.append(error)

    tidying = threading.Thread(target=tidy)
    writing = [threading.Thread(target=write, args=(name,)) for name in ("a", "b")]
    for thread in (tidying, *writing):
        thread.start()
    for thread in writing:
        thread.join()
    stop.set()
    tidying.join()
    assert failures == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"59", "b": b"59"}


def test_names_of_others_are_left_alone(tmp_path):
    for name in (".pynst-x", "pynst-x.tmp", "x.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".pynst-folder.tmp").mkdir()
    with whole_file(tmp_path / "a") as file:
        file.write(b"a")
        assert try_lock(file)  # its own lock, again
    assert len(list(tmp_path.iterdir())) == 5
    remove_leftovers(Path(tmp_path / "missing"))
