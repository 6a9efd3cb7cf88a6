"""The page: pictures dropped into a browser, a run that can be watched, results side by side.

`board` holds what a page shows, and tells when it changes; `visit` takes pictures and requests and
runs them one after the other; `request` turns what the page asks for into checked settings, and
back into words; `server` speaks HTTP, to this machine alone; `page` holds the files of the browser.
"""

from __future__ import annotations

from pynst.serve.board import Board, Job
from pynst.serve.server import Server
from pynst.serve.visit import Visit

__all__ = ["Board", "Job", "Server", "Visit"]
