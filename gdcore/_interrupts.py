"""Ctrl-C that waits until what must not be cut in two is done."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

__all__ = ["Interrupts", "held_interrupts"]

PATIENCE = 1.0  # seconds


class Interrupts:
    """Ctrl-C while this context lasts: it comes as ever, but waits where `held` says so.

    Another one, a second after the first, waits no more: a callback may never end. A handler that
    is not Python's, of a program that Python is embedded in, stays, and so does one that somebody
    sets within. To put a handler in place and back takes 9 us, to hold 0.3.
    """

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._caught: list[float] = []
        self._before: Any = None
        self._own: Any = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
        if self._before is not None:
            self._own = self._handle
            signal.signal(signal.SIGINT, self._own)
        return self

    def __exit__(self, *found: object) -> None:
        if self._own is not None and signal.getsignal(signal.SIGINT) is self._own:
            signal.signal(signal.SIGINT, self._before)
        self._own = None
        if self._caught and found[0] is None:
            signal.raise_signal(signal.SIGINT)

    def held(self, hold: bool) -> _Held:
        """Return a context in which Ctrl-C waits for its end, if asked."""
        return _Held(self, self._depth + hold)

    def wait(self, further: bool) -> _Held:
        """Return a context within a held one in which Ctrl-C waits further, or comes at once.

        One that came before waits on.
        """
        return _Held(self, self._depth * further)

    def _handle(self, number: int, frame: Any) -> None:
        if self._depth:
            self._caught.append(time.monotonic())
            if self._caught[-1] - self._caught[0] <= PATIENCE:
                return
        if callable(self._before):
            self._before(number, frame)
            return
        signal.signal(signal.SIGINT, self._before)  # the system's, or none
        signal.raise_signal(signal.SIGINT)
        signal.signal(signal.SIGINT, self._own)

    def _release(self) -> None:
        """Let what has waited come."""
        if self._caught and not self._depth:
            self._caught.clear()
            signal.raise_signal(signal.SIGINT)


class _Held:
    """Some depth of holding; what is deeper than 0 waits."""

    def __init__(self, interrupts: Interrupts, depth: int) -> None:
        self._interrupts, self._depth, self._before = interrupts, depth, 0

    def __enter__(self) -> Interrupts:
        self._before, self._interrupts._depth = self._interrupts._depth, self._depth
        return self._interrupts

    def __exit__(self, *found: object) -> None:
        self._interrupts._depth = self._before
        if found[0] is None:
            self._interrupts._release()


def held_interrupts(hold: bool) -> Interrupts | _Held:
    """Return a context in which Ctrl-C waits for its end, if asked."""
    return Interrupts(1) if hold else Interrupts().held(False)
