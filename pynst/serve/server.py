"""The page's server: the standard library's, for this machine alone.

It listens on 127.0.0.1. Every address begins with a random token, and the names of host and origin
must be this server's own, so that no other page in the same browser can reach it, whatever name it
has that address resolved to. Every file that it gives stands in a table; bodies are bounded.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, ClassVar
from urllib.parse import unquote

from pynst.errors import PyNSTError
from pynst.serve.board import Board
from pynst.serve.request import describe_form
from pynst.serve.visit import MOST_BYTES, Visit

__all__ = ["Server"]

_LOG = logging.getLogger("pynst")
_MOST_JSON = 1 << 16  # bytes of a request that is no picture
_MOST_CONNECTIONS = 64
_SILENCE = 10.0  # seconds after which a page that waits hears that the server is still there
_PAUSE = 0.25  # seconds between two messages to a page
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FILES = (
    "index.html", "style.css", "icon.svg",
    "page.js", "dom.js", "form.js", "stage.js", "brush.js",
)  # fmt: skip
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server(ThreadingHTTPServer):
    """Serves a board, or a visit with all that a page may ask of it.

    Parameters
    ----------
    board : Board or Visit
    port : int
        0 takes any that is free.

    Raises
    ------
    PyNSTError
        The port cannot be had.

    Attributes
    ----------
    address : str
        Where the page is, with its token.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, board: Board, port: int = 0) -> None:
        self.board = board
        self.token = secrets.token_urlsafe(18)
        self._connections = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self.files = {name: (files("pynst.serve") / "page" / name).read_bytes() for name in _FILES}
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PyNSTError(f"port: cannot listen on 127.0.0.1:{port}: {reason}") from error
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}
        self.address = f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, of which there are not too many."""
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, then make room for another connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a page that goes away in the middle of an answer is no error."""


class _Refused(Exception):
    """An answer that is no success: a status and one sentence."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "PyNST"
    sys_version = ""
    timeout = 30  # seconds that a silent connection stays open

    def do_GET(self) -> None:
        """Give a file, a picture or where things stand."""
        self._answer(self._GET)

    def do_POST(self) -> None:
        """Take a picture or a request."""
        self._answer(self._POST)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log: the standard error of the command line is for its user."""

    def _answer(self, routes: dict[str, Callable[..., None]]) -> None:
        """Check who asks, find what answers, and turn what is wrong into a status."""
        try:
            path = self._checked_path()
            for pattern, route in routes.items():
                if match := re.fullmatch(pattern, path):
                    route(self, *match.groups())
                    return
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        except _Refused as error:
            self._refuse(error.status, str(error))
        except PyNSTError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception:  # a defect: the visit goes on without this answer
            _LOG.exception("the page asked for %s", self.path.rpartition("/")[2][:40])
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the server has a defect here")

    def _checked_path(self) -> str:
        """The address behind the token, if host, origin and token are this server's own."""
        origin = self.headers.get("Origin")
        if self.headers.get("Host", "") not in self.server.hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, "the host is not this server")
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, "the origin is not this server")
        token, slash, path = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise _Refused(HTTPStatus.FORBIDDEN, "the address needs the token that was printed")
        if not slash:
            raise _Refused(HTTPStatus.NOT_FOUND, "the address ends with a slash")
        return path

    # ---- bodies ------------------------------------------------------------------------------

    def _send(self, data: bytes, kind: str, **headers: str) -> None:
        self.send_response(HTTPStatus.OK)
        self._end_headers(kind, len(data), headers)
        self.wfile.write(data)

    def _send_json(self, value: Any) -> None:
        self._send(_as_json(value), "application/json")

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer with one sentence; what was not read of a body is not read any more."""
        self.close_connection = True
        data = _as_json({"error": text})
        self.send_response(status)
        self._end_headers("application/json", len(data), {"Connection": "close"})
        self.wfile.write(data)

    def _end_headers(self, kind: str, length: int | None, headers: dict[str, str]) -> None:
        sizes = {} if length is None else {"Content-Length": str(length)}
        for name, value in {"Content-Type": kind, **sizes, **_HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, most: int) -> bytes:
        """The body of a request, if it says its length and that is not too much."""
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,18}", length, re.ASCII):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "a request must say its length")
        if int(length) > most:
            limit = f"{most >> 20} MB" if most >> 20 else f"{most >> 10} kB"
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a file must have at most {limit}")
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise ConnectionError
        return data

    def _json_body(self) -> Any:
        """The body as JSON; the type must say so, which no form of another page can."""
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a request must be JSON")
        try:
            return json.loads(self._body(_MOST_JSON))
        except (ValueError, RecursionError):
            raise _Refused(HTTPStatus.BAD_REQUEST, "a request must be JSON") from None

    # ---- what can be asked of a board ----------------------------------------------------------

    def _file(self, name: str) -> None:
        name = name or "index.html"
        self._send(self.server.files[name], _TYPES[name.rpartition(".")[2]])

    def _events(self) -> None:
        """Tell a page how things stand, as long as it listens."""
        board = self.server.board
        self.send_response(HTTPStatus.OK)
        self._end_headers("text/event-stream", None, {"Connection": "close"})
        self.close_connection = True
        with board.lock:
            board.watchers += 1
        try:
            self._tell(board)
        finally:
            with board.lock:
                board.watchers -= 1
                board.lock.notify_all()

    def _tell(self, board: Board) -> None:
        """Tell how things stand now, and whenever something has changed."""
        seen = -1
        while True:
            version = board.wait(seen, _SILENCE)
            if version == seen:
                self.wfile.write(b": still here\n\n")
                continue
            seen, state = version, board.to_json()
            self.wfile.write(b"data: " + _as_json(state) + b"\n\n")
            if state["ended"]:
                return
            time.sleep(_PAUSE)

    def _form(self) -> None:
        self._send_json(describe_form(self._visit().base))

    def _frame(self, number: str) -> None:
        with self.server.board.lock:
            job = self.server.board.jobs.get(int(number))
            frame = 0 if job is None else job.frame
        picture = b"" if job is None else job.picture()
        if job is None or not picture:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is no picture yet")
        self._send(picture, "image/jpeg")
        with self.server.board.lock:
            job.fetched = frame
            self.server.board.lock.notify_all()

    def _losses(self, number: str, first: str) -> None:
        with self.server.board.lock:
            job = self.server.board.jobs.get(int(number))
            losses = [] if job is None else job.losses[int(first) :]
        self._send_json(losses)

    def _result(self, number: str) -> None:
        with self.server.board.lock:
            job = self.server.board.jobs.get(int(number))
        if job is None or not job.png:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is no result")
        name = f'attachment; filename="pynst-{number}.png"'
        self._send(job.png, "image/png", **{"Content-Disposition": name})

    # ---- what can be asked of a visit ----------------------------------------------------------

    def _visit(self) -> Visit:
        board = self.server.board
        if not isinstance(board, Visit):
            raise _Refused(HTTPStatus.CONFLICT, "this page only shows a run of the command line")
        return board

    def _picture(self, key: str) -> None:
        visit = self._visit()
        with visit.lock:
            upload = visit.pictures.get(key)
        if upload is None:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is no such picture")
        self._send(upload.jpeg, "image/jpeg")

    def _add_picture(self) -> None:
        visit, name = self._visit(), unquote(self.headers.get("X-Name", ""))
        self._send_json(visit.add_picture(self._body(MOST_BYTES), name).to_json())

    def _add_demo(self) -> None:
        self._json_body()
        self._send_json([upload.to_json() for upload in self._visit().add_demo()])

    def _start(self) -> None:
        self._send_json({"number": self._visit().start(self._json_body()).number})

    def _forecast(self) -> None:
        self._send_json(self._visit().forecast(self._json_body()))

    def _change(self, number: str, verb: str) -> None:
        self._json_body()
        visit = self._visit()
        {"stop": visit.stop, "go-on": visit.go_on, "remove": visit.remove}[verb](int(number))
        self._send_json({})

    _GET: ClassVar[dict[str, Callable[..., None]]] = {
        f"({'|'.join(re.escape(name) for name in ('', *_FILES))})": _file,
        "events": _events,
        "form": _form,
        r"job/(\d{1,9})/frame": _frame,
        r"job/(\d{1,9})/losses/(\d{1,9})": _losses,
        r"job/(\d{1,9})/result\.png": _result,
        r"picture/([0-9a-f]{24})": _picture,
    }
    _POST: ClassVar[dict[str, Callable[..., None]]] = {
        "picture": _add_picture,
        "demo": _add_demo,
        "start": _start,
        "forecast": _forecast,
        r"job/(\d{1,9})/(stop|go-on|remove)": _change,
    }


def _as_json(value: Any) -> bytes:
    """JSON in one line; not finite numbers would be a defect, as no page reads them."""
    return json.dumps(value, allow_nan=False).encode()
