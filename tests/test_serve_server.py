"""The server of the page, asked as a browser asks, and as nobody should."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import socket
import threading
import time

import numpy as np
import pytest
from conftest import picture
from PIL import Image

import pynst
from pynst import PyNSTError, TransferOptions, stylize
from pynst.images import to_png
from pynst.replay import read_record
from pynst.serve import Board, Job, Server, Visit

BASE = TransferOptions(network="builtin", image_size=72, iterations=4, threads=1)
CONTENT, STYLE = to_png(picture(0, 60, 80)), to_png(picture(1, 80, 60))
PAGE = ["", "index.html", "style.css", "icon.svg", "page.js", "dom.js", "form.js", "stage.js",
        "brush.js"]  # fmt: skip


@contextlib.contextmanager
def running(board):
    """The server of a board, with `ask`."""
    server = Server(board)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        if isinstance(board, Visit) and not board.ended:
            board.close()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(tmp_path):
    with running(Visit(BASE, tmp_path / "results")) as server:
        yield server


def ask(server, method, path, body=None, token=None, **headers):
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    token = server.token if token is None else token
    with contextlib.closing(connection):
        connection.request(method, f"/{token}/{path}", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def post(server, path, value):
    """Send JSON, get JSON."""
    status, _, body = ask(
        server, "POST", path, json.dumps(value), **{"Content-Type": "application/json"}
    )
    return status, json.loads(body)


def upload(server, data, name="photo.png"):
    status, _, body = ask(server, "POST", "picture", data, **{"X-Name": name})
    return status, json.loads(body)


def request(server, **settings):
    return {
        "content": upload(server, CONTENT, "photo.png")[1]["id"],
        "styles": [upload(server, STYLE, "art.png")[1]["id"]],
        "settings": settings,
    }


def wait(server, number, *states):
    """Wait until a run is in one of these states; returns it as the page is told of it."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for job in server.board.to_json()["jobs"]:
            if job["number"] == number and job["state"] in states:
                return job
        time.sleep(0.02)
    raise AssertionError(server.board.to_json())


# ---- who may ask -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGE)
def test_the_files_of_the_page_are_given_and_nothing_else_may_be_loaded(server, name):
    status, headers, body = ask(server, "GET", name)
    assert (status, bool(body)) == (200, True)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "frame-ancestors 'none'" in policy
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_it_listens_to_this_machine_alone(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.address.startswith("http://127.0.0.1:")
    assert len(server.token) >= 24


@pytest.mark.parametrize("token", ["x", "", "..", "%00", "x" * 5000])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_wrong_token_is_refused(server, token, method):
    status, _, body = ask(server, method, "events", token=token)
    assert status == 403
    assert "token" in json.loads(body)["error"]


def test_tokens_are_random(tmp_path):
    with running(Board()) as one, running(Board()) as other:
        assert one.token != other.token


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", ""]
)
def test_another_host_is_refused(server, host):
    assert ask(server, "GET", "", Host=host)[0] == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", ""])
def test_another_origin_is_refused(server, origin):
    assert ask(server, "POST", "start", "{}", Origin=origin)[0] == 403


def test_its_own_names_are_taken(server):
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{server.server_port}"
        assert ask(server, "GET", "", Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    "path",
    ["../server.py", "page/index.html", "/etc/passwd", "..%2fserver.py", "picture/../form", "job/1",
     "picture/" + "0" * 24, "job/1/frame", "job/7/result.png", "job/99999999999/frame", "FORM"],
)  # fmt: skip
def test_what_is_in_no_table_is_not_there(server, path):
    assert ask(server, "GET", path)[0] == 404


def test_other_methods_are_refused(server):
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"):
        assert ask(server, method, "form")[0] == 501


# ---- what is sent ----------------------------------------------------------------------------


def test_a_picture_is_taken_and_shown(server):
    status, told = upload(server, CONTENT, "a%20b.png")
    assert (status, told["name"], told["width"], told["height"]) == (200, "a b.png", 80, 60)
    status, headers, body = ask(server, "GET", f"picture/{told['id']}")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(body)).size == (80, 60)


def test_a_large_picture_is_shown_reduced(server):
    _, told = upload(server, to_png(picture(0, 30, 1500)))
    _, _, body = ask(server, "GET", f"picture/{told['id']}")
    assert (told["width"], Image.open(io.BytesIO(body)).size) == (1500, (1024, 20))


@pytest.mark.parametrize(
    "name", ["../../x.png", "%2Fetc%2Fpasswd", "%00", "a\x1b[2J", "%ff", "<b>"]
)
def test_a_name_is_only_shown_and_never_a_path(server, name, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    status, told = upload(server, CONTENT, name)
    assert status == 200
    assert told["name"].isprintable()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("data", [b"", b"no picture", CONTENT[:200], b"<svg/>", b"\0" * 1000])
def test_what_is_no_picture_is_refused_in_one_sentence(server, data):
    status, told = upload(server, data, "holiday.png")
    assert status == 400
    assert told["error"].startswith("holiday.png: ")
    assert "\n" not in told["error"]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server):
    status, _, body = ask(server, "POST", "picture", b"x", **{"Content-Length": str(1 << 40)})
    assert (status, json.loads(body)["error"]) == (413, "a file must have at most 64 MB")


@pytest.mark.parametrize("length", ["-1", "x", "1_0", "", "\N{ARABIC-INDIC DIGIT ONE}"])
def test_a_length_that_is_none_is_refused(server, length):
    headers = {"Content-Length": length.encode().decode("latin-1")}
    assert ask(server, "POST", "picture", b"", **headers)[0] == 411


@pytest.mark.parametrize("body", ["", "{", "[" * 60000, "NaN,", "\xff"])
def test_what_is_no_json_is_refused(server, body):
    kind = {"Content-Type": "application/json"}
    assert ask(server, "POST", "start", body.encode("latin-1"), **kind)[0] == 400


def test_json_must_say_that_it_is_json(server):
    assert ask(server, "POST", "start", "{}", **{"Content-Type": "text/plain"})[0] == 415


def test_half_a_request_and_a_page_that_goes_away_do_no_harm(server):
    for data in (b"GET", b"POST /%b/picture HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 9\r\n"
                 b"\r\nabc" % (server.token.encode(), server.server_port)):  # fmt: skip
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.sendall(data)
    assert ask(server, "GET", "")[0] == 200


def test_there_are_not_more_connections_than_threads_for_them(server):
    with contextlib.ExitStack() as stack:
        for _ in range(80):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.server_port)))
        time.sleep(0.3)
        names = [thread.name for thread in threading.enumerate()]
        assert sum("process_request_thread" in name for name in names) <= 64
    end = time.monotonic() + 30
    while time.monotonic() < end:  # until the threads have seen that the others have gone
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            assert ask(server, "GET", "")[0] == 200
            break
        time.sleep(0.05)
    assert time.monotonic() < end


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"settings": {"image_size": 5}},
            "image_size must be a whole number from 16 to",
        ),
        ({"settings": {"weights": "/etc/passwd"}}, "'weights' cannot be set from the page"),
        ({"settings": {"calibration": "/"}}, "'calibration' cannot be set from the page"),
        ({"settings": {"init": "/etc/passwd"}}, "init must be one of content, style, noise, got"),
        ({"settings": {"nonsense": 1}}, "'nonsense' cannot be set from the page"),
        ({"settings": []}, "settings must be an object, got list"),
        ({"content": "0" * 24}, "content: there is no such picture"),
        ({"content": ["a"]}, "content: there is no such picture"),
        ({"styles": []}, "styles must be a list of 1 to 8 pictures"),
        ({"styles": None}, "styles must be a list of 1 to 8 pictures"),
        ({"styles": [None]}, "style: there is no such picture"),
    ],
)
@pytest.mark.parametrize("path", ["start", "forecast"])
def test_a_wrong_request_is_refused_in_one_sentence(server, change, sentence, path):
    status, told = post(server, path, {**request(server), **change})
    assert status == 400
    assert told["error"].startswith(sentence)
    assert server.board.jobs == {}


# ---- runs ------------------------------------------------------------------------------------


def test_a_result_is_what_stylize_gives_with_the_same_settings(server, tmp_path):
    _, told = post(server, "start", request(server, style_weight=2, preserve_color=True))
    job = wait(server, told["number"], "done", "failed")
    assert job["state"] == "done", job["message"]
    _, headers, png = ask(server, "GET", "job/1/result.png")
    assert headers["Content-Disposition"] == 'attachment; filename="pynst-1.png"'
    expected = stylize(
        io.BytesIO(CONTENT), io.BytesIO(STYLE), BASE, style_weight=2, preserve_color=True
    )
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), expected.image)
    (saved,) = (tmp_path / "results").iterdir()
    assert saved.read_bytes() == png
    assert read_record(saved).pixels_sha256 == expected.record.pixels_sha256
    assert job["command"] == (
        "pynst photo.png art.png -o result.png --image-size 72 --style-weight 2.0"
        " --network builtin --iterations 4 --preserve-color --threads 1"
    )
    assert job["settings"]["style_weight"] == "2.0"
    _, _, losses = ask(server, "GET", "job/1/losses/2")
    totals = [terms.total for level in expected.history for terms in level]
    assert [total for total, _, _ in json.loads(losses)] == totals[2:]


def test_a_run_that_is_stopped_keeps_its_best_and_goes_on_to_the_same_bits(server):
    asked = request(server, iterations=60, style_weight=3)
    post(server, "start", asked)
    wait(server, 1, "running")
    end = time.monotonic() + 30
    while len(server.board.jobs[1].losses) < 5 and time.monotonic() < end:
        time.sleep(0.005)
    assert post(server, "job/1/stop", {}) == (200, {})
    stopped = wait(server, 1, "stopped")
    assert 5 <= stopped["evaluations"] < 60
    _, _, png = ask(server, "GET", "job/1/result.png")
    assert read_record(io.BytesIO(png)).stopped_early == "interrupted"
    assert post(server, "job/1/go-on", {}) == (200, {})
    done = wait(server, 1, "done", "failed")
    assert (done["state"], done["evaluations"]) == ("done", 60), done["message"]
    _, _, png = ask(server, "GET", "job/1/result.png")
    expected = stylize(io.BytesIO(CONTENT), io.BytesIO(STYLE), BASE, iterations=60, style_weight=3)
    assert read_record(io.BytesIO(png)).pixels_sha256 == expected.record.pixels_sha256
    losses = server.board.jobs[1].losses
    assert [loss[0] for loss in losses] == [terms.total for terms in expected.history[0]]


def test_runs_wait_for_their_turn_and_one_that_waits_can_be_taken_back(server):
    long = request(server, iterations=100_000)
    for _ in range(3):
        post(server, "start", long)
    wait(server, 1, "running")
    assert wait(server, 2, "waiting")
    assert post(server, "job/2/stop", {}) == (200, {})
    assert [job["number"] for job in server.board.to_json()["jobs"]] == [1, 3]
    assert post(server, "job/1/remove", {})[1]["error"] == "run 1 is running: stop it first"
    assert post(server, "job/1/go-on", {})[1]["error"].startswith("run 1 is running")
    assert post(server, "job/2/stop", {})[1]["error"] == "there is no run 2"
    post(server, "job/1/stop", {})
    wait(server, 3, "running")
    assert post(server, "job/1/remove", {}) == (200, {})
    assert ask(server, "GET", "job/1/frame")[0] == 404


def test_the_end_of_the_program_writes_what_is_under_way(tmp_path):
    visit = Visit(BASE, tmp_path / "results")
    with running(visit) as server:
        post(server, "start", request(server, iterations=100_000))
        wait(server, 1, "running")
        while not visit.jobs[1].losses:
            time.sleep(0.01)
        messages = heard(server)
        assert not next(messages)["ended"]
        visit.close()
        assert list(messages)[-1]["ended"]
    (saved,) = (tmp_path / "results").iterdir()
    assert read_record(saved).stopped_early == "interrupted"
    assert visit.to_json()["ended"]


def test_a_run_that_fails_says_why_and_the_next_one_runs(server):
    post(server, "start", request(server, pooling="max"))
    failed = wait(server, 1, "failed")
    assert "belongs to VGG-19" in failed["message"]
    post(server, "start", request(server))
    assert wait(server, 2, "done")


def test_a_defect_ends_a_run_and_not_the_visit(server, monkeypatch, caplog):
    def broken(*arguments, **settings):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("pynst.serve.visit.stylize", broken)
    post(server, "start", request(server))
    assert wait(server, 1, "failed")["message"] == "ZeroDivisionError: a defect"
    monkeypatch.undo()
    post(server, "start", request(server))
    assert wait(server, 2, "done")


def test_a_folder_that_cannot_be_written_costs_no_picture(server, tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    post(server, "start", request(server))
    done = wait(server, 1, "done")
    assert done["message"].startswith("The picture could not be written: ")
    assert ask(server, "GET", "job/1/result.png")[2].startswith(b"\x89PNG")


def test_the_memory_is_said_before_the_start(server, monkeypatch):
    status, told = post(server, "forecast", request(server))
    assert (status, told["fits"]) == (200, True)
    assert re.fullmatch(r"Needs about \d+ MB of memory(; .* are free)?\.", told["text"])
    monkeypatch.setattr("pynst.forecast.available_memory", lambda limit: 1_000_000_000)
    _, told = post(server, "forecast", request(server, image_size=32768))
    assert not told["fits"]
    assert re.fullmatch("image_size=32768 needs about .* more memory, .* would fit.*", told["text"])


def test_what_fits_only_in_tiles_is_said_to_fit(server, monkeypatch):
    monkeypatch.setattr("pynst.forecast.available_memory", lambda limit: 2_000_000_000)
    _, told = post(server, "forecast", request(server, image_size=2048))
    assert told["fits"]
    assert "would not fit into 2.0 GB: tiles of" in told["text"]


def test_a_mask_takes_memory_too(server):
    asked = request(server, image_size=512)
    white = upload(server, to_png(np.ones((60, 80, 3))), "mask.png")[1]["id"]
    needs = [
        int(re.match(r"Needs about (\d+) MB", post(server, "forecast", each)[1]["text"])[1])
        for each in (asked, {**asked, "mask": white})
    ]
    assert needs[0] < needs[1] < 1.2 * needs[0]


def test_weights_that_would_have_to_be_fetched_are_announced_and_not_fetched(server):
    status, told = post(server, "forecast", request(server, network="auto"))
    assert status == 200
    assert "The first run fetches them" in told["text"]


# ---- what a page hears -------------------------------------------------------------------------


def heard(server):
    """The messages of the stream, as they come."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", f"/{server.token}/events")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/event-stream"
    with contextlib.closing(connection):
        while line := answer.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


def test_a_page_hears_how_things_stand_and_one_that_comes_later_hears_the_same(server):
    asked = request(server)
    messages = heard(server)
    first = next(messages)
    assert (first["interactive"], first["jobs"]) == (True, [])
    assert [each["name"] for each in first["pictures"]] == ["photo.png", "art.png"]
    post(server, "start", asked)
    last = next(
        state for state in messages if state["jobs"] and state["jobs"][0]["state"] == "done"
    )
    again = next(heard(server))
    assert again == last
    assert again["jobs"][0]["asked"] == asked
    assert (again["jobs"][0]["width"], again["jobs"][0]["height"]) == (72, 54)


def test_the_picture_grows_while_the_run_goes_on(server, monkeypatch):
    monkeypatch.setattr("pynst.serve.board._SECONDS_PER_FRAME", 0.05)
    post(server, "start", request(server, iterations=100_000))
    frames = set()
    for state in heard(server):
        if state["jobs"] and state["jobs"][0]["frame"]:
            frames.add(ask(server, "GET", "job/1/frame")[2])
        if len(frames) == 3:
            break
    assert all(frame.startswith(b"\xff\xd8") for frame in frames)


def test_a_page_that_only_shows_takes_no_orders():
    board = Board()
    board.jobs[1] = Job(1, "a.png", ("b.png",), TransferOptions(), state="running")
    with running(board) as server:
        assert next(heard(server))["interactive"] is False
        for path in ("start", "picture", "demo", "job/1/stop"):
            status, told = post(server, path, {})
            assert status == 409
            assert "only shows" in told["error"]
        assert ask(server, "GET", "form")[0] == 409


def test_a_port_that_is_taken_is_said():
    with running(Board()) as server, pytest.raises(PyNSTError, match="port: cannot listen on"):
        Server(Board(), server.server_port)
    for port in (-1, 70000):
        with pytest.raises(PyNSTError, match="port: cannot listen on"):
            Server(Board(), port)


def test_the_page_is_small():
    from importlib.resources import files

    sizes = {"css": 0, "js": 0}
    for file in (files(pynst) / "serve" / "page").iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in sizes:
            sizes[kind] += len(file.read_bytes())
    assert sizes["css"] < 15_000
    assert sizes["js"] < 32_000
