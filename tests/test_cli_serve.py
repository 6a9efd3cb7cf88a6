"""``pynst serve`` as a process: its address, its end, and what it leaves."""

from __future__ import annotations

import http.client
import io
import json
import signal
import time
from contextlib import closing
from urllib.parse import urlsplit

from cli_runs import start
from conftest import picture
from PIL import Image

from pynst.cli import main
from pynst.images import to_png
from pynst.replay import read_record


def ask(address, method, path, body=None):
    """The JSON that the server answers."""
    parts = urlsplit(address)
    kind = {} if isinstance(body, bytes) else {"Content-Type": "application/json"}
    body = body if isinstance(body, bytes | None) else json.dumps(body)
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)) as connection:
        connection.request(method, f"{parts.path}{path}", body, kind)
        answer = connection.getresponse()
        data = answer.read()
    assert answer.status == 200, data
    return json.loads(data)


def test_it_serves_until_a_signal_and_writes_what_was_under_way(tmp_path):
    folder = tmp_path / "results"
    process = start(
        "serve", "-o", str(folder), "--network", "builtin", "--image-size", "72", "--threads", "1"
    )
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        assert ask(address, "GET", "form")["settings"]
        content, style = (
            ask(address, "POST", "picture", to_png(picture(seed, 60, 80))) for seed in (0, 1)
        )
        settings = {"iterations": 100_000}
        request = {"content": content["id"], "styles": [style["id"]], "settings": settings}
        ask(address, "POST", "start", request)
        while not ask(address, "GET", "job/1/losses/0"):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    (saved,) = folder.iterdir()
    assert out.strip() == str(saved)
    assert read_record(saved).stopped_early == "interrupted"
    assert Image.open(io.BytesIO(saved.read_bytes())).size == (72, 54)


def test_a_folder_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["serve", "-o", str(tmp_path / "file")]) == 1
    assert "output: is no folder" in capsys.readouterr().err


def test_a_port_that_cannot_be_had_is_refused(tmp_path, capsys):
    assert main(["serve", "-o", str(tmp_path / "results"), "--port", "70000"]) == 1
    assert "port: cannot listen on 127.0.0.1:70000" in capsys.readouterr().err
