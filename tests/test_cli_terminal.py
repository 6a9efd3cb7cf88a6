"""Standard streams that are closed, full, or unable to say a name; texts that a terminal obeys."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys

import pytest
from cli_runs import FAST, shell, start

import pynst
from pynst.cli import main
from pynst.cli.terminal import printable

# Buffered output fails when Python ends, unbuffered output at once.
each_buffering = pytest.mark.parametrize("unbuffered", ["", "1"])


@each_buffering
def test_a_reader_that_goes_away_ends_a_command_quietly(unbuffered):
    listing = start("weights", "list", PYTHONUNBUFFERED=unbuffered)
    listing.stdout.close()
    assert listing.wait(timeout=60) == 1
    assert listing.stderr.read() == ""
    listing.stderr.close()


@each_buffering
def test_a_run_whose_progress_nobody_reads_goes_on(unbuffered, pictures, tmp_path):
    output = tmp_path / "r.png"
    painting = start(*pictures, "-o", str(output), *FAST, PYTHONUNBUFFERED=unbuffered)
    painting.stderr.close()
    assert painting.stdout.read().strip() == str(output)
    painting.stdout.close()
    assert painting.wait(timeout=60) == 0
    assert pynst.load_image(output).shape == (54, 72, 3)


# ---- streams that are not there ------------------------------------------------------------------

PAINT = ["content.png", "style.jpg", "-o", "r.png", *FAST]


def check(run, tmp_path, code):
    assert run.returncode == code, run.stderr
    assert b"Traceback" not in run.stderr
    assert b"Exception ignored" not in run.stderr
    assert pynst.load_image(tmp_path / "r.png").shape == (54, 72, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["content.png", "r.png", "style.jpg"]


@pytest.mark.parametrize(
    ("redirection", "code", "unbuffered"),
    [
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, "1"),
        (">/dev/full", 1, ""),
        (">/dev/full", 1, "1"),
        ("2>/dev/full", 0, ""),
        ("2>/dev/full", 0, "1"),
        (">/dev/full 2>&1", 1, ""),
        (">&- 2>/dev/full", 0, ""),
    ],
)
def test_a_picture_is_saved_whatever_the_standard_streams_are(
    redirection, code, unbuffered, pictures, tmp_path
):
    run = shell(f'"$@" {redirection}', *PAINT, cwd=tmp_path, PYTHONUNBUFFERED=unbuffered)
    check(run, tmp_path, code)
    if redirection == ">/dev/full":
        last = b"pynst: error: standard output cannot be written: No space left on device"
        assert run.stderr.splitlines()[-1] == last


@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [("--help", ""), ("--help", "1"), ("info", ""), ("weights list", "1"), ("--version", "")],
)
@pytest.mark.parametrize(("redirection", "code"), [(">/dev/full", 1), (">&-", 0)])
def test_other_commands_end_properly_too(redirection, code, words, unbuffered, tmp_path):
    run = shell(f'"$@" {redirection}', *words.split(), cwd=tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert run.returncode == code, run.stderr
    assert len(run.stderr.splitlines()) == code
    assert b"Traceback" not in run.stderr


def test_nothing_that_a_library_writes_lands_in_a_picture(tmp_path):
    """With standard error closed, the next file to be opened would become it."""
    script = (
        "import os, sys; sys.argv = ['pynst']; import pynst.cli;"
        "from pynst.cli.terminal import Streams\n"
        "with Streams():\n"
        "    file = open('file.bin', 'wb')\n"
        "    os.write(2, b'from a library')\n"
        "    os.write(1, b'from a library')\n"
        "    file.close()\n"
    )
    shell(f'"{sys.executable}" -c "{script}" <&- >&- 2>&-', cwd=tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == b""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("kind", ["none", "closed"])
def test_a_program_without_standard_streams_can_call_the_command(
    kind, stream, pictures, tmp_path, monkeypatch
):
    closed = io.StringIO()
    closed.close()
    replacement = None if kind == "none" else closed
    monkeypatch.setattr(sys, stream, replacement)
    output = tmp_path / "r.png"
    code = main([*pictures, "-o", str(output), *FAST])
    assert getattr(sys, stream) is replacement, "it is put back"
    monkeypatch.undo()
    assert code == (1 if (kind, stream) == ("closed", "stdout") else 0)
    assert output.exists()


# ---- names that cannot be encoded ----------------------------------------------------------------

ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize(
    "environment",
    [{}, ASCII, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1:strict"}],
    ids=["utf-8", "C locale", "ascii", "latin-1"],
)
@pytest.mark.parametrize("name", ["Ä\u2003日本.png".encode(), b"broken-\xff\xfe.png"])
def test_a_name_that_the_output_cannot_encode_is_written_as_its_bytes(
    name, environment, pictures, tmp_path
):
    run = subprocess.run(
        [sys.executable, "-m", "pynst", *pictures, "-o", name, *FAST],
        capture_output=True, cwd=tmp_path, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout == name + b"\n"
    assert b"Traceback" not in run.stderr
    assert (os.fsencode(tmp_path) + b"/" + name) in [
        os.fsencode(path) for path in tmp_path.iterdir()
    ]


def test_a_terminal_gets_a_hostile_name_escaped(pictures, tmp_path):
    import pty

    output = "evil\x1b[31m\u202e.png"
    ours, theirs = pty.openpty()
    run = subprocess.run(
        [sys.executable, "-m", "pynst", *pictures, "-o", output, "--quiet", *FAST],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 10000)
    os.close(ours)
    assert run.returncode == 0
    assert shown.split() == [rb"evil\x1b[31m\u202e.png"]


# ---- foreign texts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain, Ä and 日本", "plain, Ä and 日本"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\u202e\u2028\ufeff", r"\u202e\u2028\ufeff"),
        ("\udcff", r"\udcff"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, wanted):
    assert printable(text) == wanted


@pytest.mark.parametrize("words", [["info"], ["weights", "list"], ["weights", "verify"]])
def test_foreign_texts_on_standard_output_and_in_errors_are_escaped(words, capsys, monkeypatch):
    monkeypatch.setenv("PYNST_WEIGHTS", "/no/\x1b[31m\nfile")
    monkeypatch.setenv("PYNST_STRANGE", "\x1b]0;title\x07")
    main(words)
    captured = capsys.readouterr()
    assert captured.out + captured.err
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", captured.out + captured.err)
    assert not any(each.startswith("file") for each in captured.out.splitlines())


def test_what_the_package_logs_is_escaped_and_cut(capsys, monkeypatch):
    import pynst.info

    def logging_info():
        logging.getLogger("pynst").warning("a text %s", "\x1b[31m\n" + "x" * 10**6)
        return {}

    monkeypatch.setattr(pynst.info, "system_info", logging_info)
    assert main(["info"]) == 0
    error = capsys.readouterr().err
    assert error.startswith(r"pynst: a text \x1b[31m\n")
    assert len(error) < 2100
    assert len(error.splitlines()) == 1


def test_a_text_from_a_file_is_cut_on_standard_output_too(capsys, monkeypatch):
    import pynst.info

    monkeypatch.setattr(pynst.info, "system_info", lambda: {"weights": "x" * 10**6})
    assert main(["info"]) == 0
    assert len(capsys.readouterr().out) < 2100
