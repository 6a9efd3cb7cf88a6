"""``--live``: a page that shows a run of the command line; ``pynst serve`` shares what it can."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING

from pynst.cli.terminal import say
from pynst.options import TransferOptions

if TYPE_CHECKING:
    from pynst.result import Progress, TransferResult
    from pynst.serve import Server

__all__ = ["LivePage", "open_browser", "serve_in_background"]

_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")
_GRACE = 3.0  # seconds that a page gets at the end to fetch the last picture


class LivePage:
    """Shows one run; it takes no orders, and is gone when the command has ended.

    Parameters
    ----------
    name : str
        What is made, as the page calls it.
    options : TransferOptions
    """

    def __init__(self, name: str, options: TransferOptions) -> None:
        from pynst.serve import Board, Job, Server

        self._job = Job(1, name, (), options, state="running")
        self._board = Board()
        self._board.jobs[1] = self._job
        self._server = Server(self._board)
        serve_in_background(self._server)
        say(f"watch it at {self._server.address}")
        open_browser(self._server.address)

    def show(self, progress: Progress) -> None:
        """Show where the run stands."""
        with self._board.changing():
            self._job.show(progress)

    def finish(self, outcome: TransferResult | BaseException) -> None:
        """Show what the run came to, wait until a page that is open has it, and end."""
        error = outcome if isinstance(outcome, BaseException) else None
        result = getattr(error, "result", None) if isinstance(outcome, BaseException) else outcome
        with self._board.changing():
            stopped = isinstance(error, KeyboardInterrupt)
            self._job.state = "stopped" if stopped else "done" if error is None else "failed"
            self._job.message = "" if error is None or stopped else str(error)
            if result is not None:
                self._job.finish(result)
        watched = self._board.watchers > 0
        self._board.end()
        if watched:
            with self._board.lock:
                self._board.lock.wait_for(lambda: self._job.fetched == self._job.frame, _GRACE)
        self._server.shutdown()
        self._server.server_close()


def serve_in_background(server: Server) -> None:
    """Answer pages in other threads until the server is shut down."""
    threading.Thread(target=server.serve_forever, name="pynst-page", daemon=True).start()


def open_browser(address: str) -> None:
    """Open a page, where there is a screen: a browser of the terminal would take that over."""
    screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, _SCREENS))
    if not screen or not webbrowser.open(address):
        say("no browser could be opened: open the address yourself")
