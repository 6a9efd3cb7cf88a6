"""``pynst serve``: a page in the browser, for this machine alone."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from pynst.cli.live import open_browser, serve_in_background
from pynst.cli.parser import Parser
from pynst.cli.signals import Signals
from pynst.cli.single import add_settings, given_settings
from pynst.cli.terminal import path_line, say
from pynst.errors import PyNSTError
from pynst.files import shown
from pynst.options import TransferOptions

__all__ = ["add_arguments", "run"]

_FOLDER = "pynst-pictures"


def add_arguments(parser: Parser) -> None:
    """Fill in the command's parser."""
    parser.usage = "pynst serve [--port N] [--open] [-o FOLDER] [options]"
    parser.description = (
        "Serve a page on which pictures are dropped in, painted, watched and compared. It is for\n"
        "this machine alone: it listens on 127.0.0.1, and its address holds a random token. The\n"
        "settings given here are those that the page begins with."
    )
    parser.option(
        "--port", metavar="N", type=int, default=0, help="port; default: any that is free"
    )
    parser.option("--open", action="store_true", help="open the page in the browser")
    parser.option(
        "-o", "--output", metavar="FOLDER", default=_FOLDER,
        help="where every result is written, with its record; default: %(default)s",
    )  # fmt: skip
    add_settings(parser)


def run(given: argparse.Namespace, signals: Signals) -> int:
    """Serve until Ctrl-C; what is under way then is stopped and written."""
    from pynst.serve import Server, Visit

    folder = Path(given.output)
    if folder.exists() and not folder.is_dir():
        raise PyNSTError(f"output: is no folder: {shown(folder)}")
    options = TransferOptions(**given_settings(given))
    visit = Visit(options, folder)
    server = Server(visit, given.port)
    serve_in_background(server)
    say("the page is at the address below, for this machine alone; Ctrl-C ends it")
    path_line(server.address)
    try:
        if given.open:
            open_browser(server.address)
        threading.Event().wait()
    except KeyboardInterrupt:
        signals.ignore()
        say("the page ends; what was under way is written")
        visit.close()
    server.shutdown()
    server.server_close()
    for job in visit.jobs.values():
        if job.saved is not None:
            path_line(job.saved)
    return 0
