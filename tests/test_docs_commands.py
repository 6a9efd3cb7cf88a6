"""Every command and every block of Python that the pages show runs, on small pictures.

`shown.py` says what is replaced. What needs machines of one's own runs on this one: a cluster of
Dask, where the package is installed.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import weights_files as files
from cli_runs import run_until, start
from conftest import picture
from shown import DOCS, PAGES, QUICK, SETTINGS, blocks, commands, options, words_of
from weights_files import tiny_table  # noqa: F401
from weights_hosts import host, manifest, no_proxy  # noqa: F401

import pynst
from pynst.cli import live, main
from pynst.cli.parser import COMMANDS, parse
from pynst.cli.single import given_settings
from pynst.options import TransferOptions, with_changes

pytest_plugins = ("experiments",)

TEXTS = {page.relative_to(DOCS.parent).as_posix(): page.read_text("utf-8") for page in PAGES}
ON_A_CLUSTER = "--scheduler"


def with_any(find) -> list[str]:
    """The pages on which something is found."""
    return [name for name, text in TEXTS.items() if find(text)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with all files that the pages name; pictures are small, maps have flat colours."""
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "art"):
        (tmp_path / folder).mkdir()
    names = "photo painting art other portrait pebbles a b astronaut face"
    inside = "photos/cat photos/dog art/wave art/night"
    for seed, name in enumerate(f"{names} {inside}".split()):
        pynst.save_image(picture(seed, 36, 48), f"{name}.jpg")
    for seed, name in enumerate(["mask", "background", "sky", "face", "inside"]):
        pynst.save_image(picture(20 + seed, 36, 48), f"{name}.png")
    halves = picture(0, 36, 48) * 0
    halves[:, 24:] = 1
    for name in ("map", "painting-map"):
        pynst.save_image(halves, f"{name}.png")
    (table,) = blocks((DOCS / "batch.md").read_text(encoding="utf-8"), "")
    (tmp_path / "jobs.csv").write_text(table)
    return tmp_path


@pytest.fixture
def run_shown(request, place, monkeypatch, capsys):
    """Run one command of a page, where it paints quickly; it has to end without an error."""

    def run(command: str) -> None:
        words = words_of(command)
        name = parse(words).command[0]
        if name == "weights":
            request.getfixturevalue("tiny_hosts")
        if "--size" in words:
            words[words.index("--size") + 1] = "64x48"
        if "--resume" not in words:
            words += QUICK[name]
        run_one = serve if name == "serve" else main
        assert run_one(words) == 0, (command, capsys.readouterr().err)

    monkeypatch.setattr(live, "open_browser", visit)
    return run


def visit(address: str) -> None:
    """Ask for a page as a browser does."""
    with urllib.request.urlopen(address) as answer:
        assert b"<title>PyNST" in answer.read()


def serve(words: list[str]) -> int:
    """Start the page, ask for it as a browser does, and end it with Ctrl-C."""
    process = start(*words, DISPLAY=":0", BROWSER="touch opened %s")
    try:
        address = process.stdout.readline().strip()
        visit(address)
        run_until(lambda: Path("opened").exists() or "--open" not in words, process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert Path("opened").exists() == ("--open" in words)
    Path("opened").unlink(missing_ok=True)
    return process.returncode


@pytest.fixture
def tiny_hosts(place, manifest, no_proxy, tiny_table, monkeypatch):  # noqa: F811
    """A file of weights, and a host on this machine in place of the public ones."""
    (place / "caffe.npz").write_bytes(files.npz(files.caffe_arrays()))
    fetch_weights, local = pynst.weights.fetch_weights, manifest("weights")

    def fetch(**settings):
        with monkeypatch.context() as online:
            online.delenv("PYNST_OFFLINE")
            return fetch_weights(manifest=local, **settings)

    monkeypatch.setattr(pynst.weights, "fetch_weights", fetch)
    monkeypatch.setenv("PYNST_OFFLINE", "1")  # for everything else


# --- commands ------------------------------------------------------------------------------------


def test_every_command_of_the_program_is_shown_somewhere():
    shown = [each for text in TEXTS.values() for each in commands(text)]
    assert {parse(shlex.split(each)[1:]).command[0] for each in shown} == set(COMMANDS)


@pytest.mark.usefixtures("tiny_weights")
@pytest.mark.parametrize("page", with_any(commands))
def test_the_commands_of_a_page_run_one_after_the_other(page, run_shown):
    for command in commands(TEXTS[page]):
        if ON_A_CLUSTER not in command:
            run_shown(command)


@pytest.mark.parametrize("page", with_any(options))
def test_the_options_that_a_page_names_are_some_of_a_command(page):
    starts = (
        ["a.jpg", "b.jpg"], ["batch", "a", "b", "-o", "c"], ["sweep", "a.jpg", "b.jpg"],
        ["figure", "3"], ["texture", "a.jpg"], ["weights", "fetch"], ["weights", "import", "FILE"],
    )  # fmt: skip
    for each in options(TEXTS[page]):
        assert any(is_taken([*start, *shlex.split(each)]) for start in starts), each


def is_taken(words: list[str]) -> bool:
    try:
        return bool(parse(words))
    except SystemExit:
        return False


# --- Python --------------------------------------------------------------------------------------

NEEDS = {"axes": "matplotlib", "SSHCluster": "distributed"}
"""What some blocks take for granted, and the package that has it."""

BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page, text in TEXTS.items()
    for number, block in enumerate(blocks(text, "python"), 1)
]


@pytest.fixture
def names(place, monkeypatch):
    """What a block may take as known; the functions that paint do it quickly."""
    for name in ("stylize", "batch"):
        monkeypatch.setattr(pynst, name, quick(getattr(pynst, name)), raising=False)
    return {"pynst": pynst, "result": pynst.stylize("photo.jpg", "painting.jpg")}


def quick(function):
    return lambda *pictures, **settings: function(*pictures, **{**settings, **SETTINGS})


@pytest.mark.usefixtures("tiny_weights")
@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_of_python_runs(block, names, monkeypatch):
    for name, package in NEEDS.items():
        if name in block:
            pytest.importorskip(package, reason=f"{package} is not installed")
    if "axes" in block:
        from matplotlib.figure import Figure

        names["axes"] = Figure().subplots()
    if "SSHCluster" in block:
        import distributed

        monkeypatch.setattr(distributed, "SSHCluster", cluster_on_this_machine)
    exec(compile(block.replace('"/shared', '"shared'), "a block", "exec"), names)


def cluster_on_this_machine(hosts, worker_options):
    from distributed import LocalCluster

    assert hosts
    return LocalCluster(
        n_workers=1, threads_per_worker=worker_options["nthreads"], dashboard_address=None
    )


def test_every_setting_that_a_page_names_with_a_value_is_one():
    functions = (pynst.texture, pynst.reconstruct, pynst.sweep, pynst.figure, pynst.batch)
    known = set(TransferOptions.__dataclass_fields__)
    known.update(*(inspect.signature(each).parameters for each in functions), {"callback"})
    for page, text in TEXTS.items():
        for each in re.findall(r"(?<!`)`([a-z_]+=[^`\n]+)`(?!`)", text):
            with contextlib.suppress(SyntaxError):  # a word of a sentence, such as init=noise
                call = ast.parse(f"f({each})", mode="eval").body
                unknown = {keyword.arg for keyword in call.keywords} - known
                assert not unknown, (page, each)


def test_python_and_the_command_line_say_the_same_of_masks(place, run_shown):
    rows = re.findall(r"^\| [^|]+ \| `([^`]+)` \| `(--[^`]+)` \|$", TEXTS["docs/masks.md"], re.M)
    assert len(rows) == 7
    for python, words in rows:
        changes = eval(f"dict({python})")
        command = f"pynst photo.jpg painting.jpg {words}"
        if any(len(value) == 2 for value in changes.values() if isinstance(value, list | tuple)):
            command = command.replace(" painting.jpg", " painting.jpg other.jpg")
        given = given_settings(parse(shlex.split(command)[1:]))
        assert with_changes(None, given) == with_changes(None, changes)
        run_shown(f"{command} --network builtin")


# --- a cluster -----------------------------------------------------------------------------------


def test_the_commands_of_a_cluster_run(place, run_shown):
    """As shown, but for the host, the port and the page of Dask's own that nobody opens."""
    pytest.importorskip("distributed", reason="the package distributed (extra batch) is missing")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shown = re.findall(r"^\$ ((?:dask|pynst batch).*)$", TEXTS["docs/batch.md"], re.M)
    there = [each.replace("host:8786", f"127.0.0.1:{port}") for each in shown]
    programs = [shlex.split(each, comments=True)[1:] for each in there if each.startswith("dask")]
    assert [each[0] for each in programs] == ["scheduler", "worker"]
    programs[0] += ["--host", "127.0.0.1", "--port", str(port)]
    with contextlib.ExitStack() as stack:
        for words in programs:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words, "--no-dashboard"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.terminate)
        run_until(lambda: answers(port), process)
        (command,) = (each for each in there if ON_A_CLUSTER in each)
        run_shown(command)
    assert len(list((place / "shared" / "out").glob("*.png"))) == 4


def answers(port: int) -> bool:
    """Whether a program listens there."""
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
