"""``--live``: a page shows a run of the command line while it goes on, and at its end."""

from __future__ import annotations

import http.client
import json
import re
import threading
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from cli_runs import FAST
from conftest import picture

import pynst
from pynst import TransferOptions
from pynst.cli import live, main


@pytest.fixture
def opened(monkeypatch):
    """The addresses that the browser would have been sent to."""
    addresses = []
    monkeypatch.setattr(live.webbrowser, "open", lambda address: addresses.append(address) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    return addresses


def states_of(address, first_heard):
    """Everything that a page hears, to the end; and the last picture, if there is one."""
    parts = urlsplit(address)
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)) as page:
        page.request("GET", f"{parts.path}events")
        answer, states = page.getresponse(), []
        while not states or not states[-1]["ended"]:
            line = answer.readline()
            if line.startswith(b"data: "):
                states.append(json.loads(line[6:]))
                first_heard.set()
        answer.close()
    if not states[-1]["jobs"][0]["frame"]:
        return states, b""
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)) as page:
        page.request("GET", f"{parts.path}job/1/frame")
        return states, page.getresponse().read()


def watch(address):
    """Watch a page from another thread; returns that thread, and where it puts what it hears."""
    first_heard, found = threading.Event(), []
    thread = threading.Thread(target=lambda: found.append(states_of(address, first_heard)))
    thread.start()
    assert first_heard.wait(30)
    return thread, found


def test_a_page_sees_the_run_and_gets_the_last_picture(opened, monkeypatch):
    page = live.LivePage("out.png", TransferOptions(image_size=72))
    thread, found = watch(opened[0])
    result = pynst.stylize(
        picture(0, 60, 80), picture(1, 60, 80), network="builtin", image_size=72, iterations=5,
        callback=page.show,
    )  # fmt: skip
    page.finish(result)
    thread.join(30)
    ((states, frame),) = found
    assert [state["interactive"] for state in states] == [False] * len(states)
    last = states[-1]["jobs"][0]
    assert (last["state"], last["evaluations"], last["width"]) == ("done", 5, 72)
    assert frame.startswith(b"\xff\xd8")


def test_a_run_that_failed_says_so(opened):
    page = live.LivePage("out.png", TransferOptions())
    thread, found = watch(opened[0])
    page.finish(pynst.WeightsError("there is no file"))
    thread.join(30)
    last = found[0][0][-1]["jobs"][0]
    assert (last["state"], last["message"]) == ("failed", "there is no file")


def test_the_command_line_tells_the_address_and_ends_by_itself(pictures, tmp_path, capsys, opened):
    path = tmp_path / "r.png"
    assert main([*pictures, "-o", str(path), "--live", *FAST]) == 0
    said = capsys.readouterr().err
    assert re.search(r"pynst: watch it at http://127\.0\.0\.1:\d+/\S+/\n", said)
    assert opened == re.findall(r"http://\S+", said)
    assert path.exists()


def test_without_a_screen_no_browser_is_opened(monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(live.sys, "platform", "linux")
    monkeypatch.setattr(live.webbrowser, "open", lambda address: pytest.fail("opened"))
    live.open_browser("http://127.0.0.1:1/x/")
    assert "open the address yourself" in capsys.readouterr().err
