"""The version of PyNST; pyproject.toml has the same one."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
