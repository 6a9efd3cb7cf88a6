"""Notices the other distribution that owns a package called `pynst`.

The package index has a distribution `pynst` (parameter sweeps) that installs a package of the same
name. This one is therefore distributed as `pynst-stylize`. Where both are installed in one folder,
each overwrites the other's `pynst/__init__.py`, and removing one removes files of the other.
"""

# `import pynst` must not have to load pathlib.
# ruff: noqa: PTH120, PTH122, PTH208

from __future__ import annotations

import os

__all__ = ["REMEDY", "find_namesake", "warn_of_namesake"]

REMEDY = (
    "run `pip uninstall pynst pynst-stylize`, then `pip install` the one of the two that is wanted"
)


def find_namesake(package: str) -> str | None:
    """Name and version of the other distribution, if it is installed beside the package.

    One listing of the folder: `importlib.metadata` would take longer than the rest of the import.

    Parameters
    ----------
    package
        The package's folder, for example ``"/usr/lib/python3/site-packages/pynst"``.

    Returns
    -------
    str or None
        For example ``"pynst-0.4.2"``.
    """
    try:
        names = os.listdir(os.path.dirname(package))
    except OSError:  # imported from an archive
        return None
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix == ".dist-info" and stem.lower().startswith("pynst-"):
            return stem
    return None


def warn_of_namesake(package: str) -> None:
    """Issue a `RuntimeWarning` if the other distribution is installed beside the package."""
    other = find_namesake(package)
    if other is not None:
        import warnings

        warnings.warn(
            f"the distribution {other} is installed in the same folder as pynst-stylize and owns a"
            f" package 'pynst' too: {REMEDY}",
            RuntimeWarning,
            stacklevel=3,
        )
