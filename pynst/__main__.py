"""``python -m pynst``, and the command ``pynst``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line, if the package is still the one that it belongs to.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    SystemExit
        Another distribution has replaced or removed ``pynst/__init__.py`` (status 1); or as
        `pynst.cli.main`.
    """
    import pynst

    if "stylize" not in getattr(pynst, "__all__", ()):
        from pynst.namesake import REMEDY

        sys.exit(
            f"pynst: error: the package in {pynst.__path__[0]} is not that of pynst-stylize,"
            f" another distribution called pynst has replaced its files: {REMEDY}"
        )
    from pynst.cli import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
