"""The paper's own experiments over `pynst.transfer`: reconstruction, texture, sweeps, figures.

`reconstruction` and `textures` are runs without a style or without a content; `sweeps` sets any
settings against each other on a contact sheet (`sheets`); `figures` are the paper's figures as
sweeps; `balance` says what alpha / beta mean.
"""

from __future__ import annotations
