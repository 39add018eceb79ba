"""Ctrl-C that waits until what must not be cut in two is done."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

__all__ = ["held_interrupts"]

PATIENCE = 1.0  # seconds


class held_interrupts:
    """Let Ctrl-C wait until the end, so that it does not come in the middle of a step.

    Another one, a second after the first, waits no more: a callback may never end. A handler that
    is not Python's, of a program that Python is embedded in, stays. Within it `wait` may let Ctrl-C
    through for a while. A class, for a generator takes twice its 4 us.

    Parameters
    ----------
    hold : bool
        False: nothing is done.
    """

    def __init__(self, hold: bool) -> None:
        main = hold and threading.current_thread() is threading.main_thread()
        self._before = signal.getsignal(signal.SIGINT) if main else None
        self._caught: list[float] = []

    def __enter__(self) -> held_interrupts:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *found: object) -> None:
        if self._before is None:
            return
        signal.signal(signal.SIGINT, self._before)
        if self._caught and found[0] is None:
            signal.raise_signal(signal.SIGINT)

    def wait(self, further: bool) -> _Through:
        """Return a context in which Ctrl-C waits further, or not; one that came before waits on."""
        return _Through(None if further else self._before, self._note)

    def _note(self, number: int, frame: Any) -> None:
        self._caught.append(time.monotonic())
        late = self._caught[-1] - self._caught[0] > PATIENCE
        if late and callable(self._before):
            self._before(number, frame)


class _Through:
    """Let Ctrl-C come to its handler of before."""

    def __init__(self, handler: Any, later: Any) -> None:
        self._handler, self._later = handler, later

    def __enter__(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)

    def __exit__(self, *found: object) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._later)
