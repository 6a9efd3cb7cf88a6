"""The loss as a list of terms.

`terms` says what a term is; `content`, `style` and `variation` are one each; `table` lists them and
says which of them a run has.
"""

from __future__ import annotations
