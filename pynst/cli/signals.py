"""Signals that end a run: the first one stops it, and what there is is saved."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Signals"]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # not every system has the last


class Signals:
    """During a ``with`` block the first Ctrl-C, SIGTERM or SIGHUP raises `KeyboardInterrupt`.

    Further ones are ignored, so that nothing disturbs the saving of what there is. A SIGHUP that
    is ignored at the start, as under nohup, stays ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for name in _NAMES:
            number = getattr(signal, name, None)
            ignored = name == "SIGHUP" and number and signal.getsignal(number) == signal.SIG_IGN
            if number is None or ignored:
                continue
            try:
                self._before[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread, which alone may do this
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ignore(self) -> None:
        """From now on a signal is too late: the work is done, and is being saved."""
        self.received = self.received or 0

    @property
    def exit_code(self) -> int:
        """As the shell has it: 128 plus the signal."""
        return 128 + (self.received or signal.SIGINT)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            raise KeyboardInterrupt
