"""Ctrl-C that waits until what must not be cut in two is done."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

__all__ = ["held_interrupts"]

PATIENCE = 1.0  # seconds

Waiting = Callable[[bool], AbstractContextManager[None]]


@contextmanager
def held_interrupts(hold: bool) -> Iterator[Waiting]:
    """Let Ctrl-C wait until the end, so that it does not come in the middle of a step.

    Another one, a second after the first, waits no more: a callback may never end. A handler that
    is not Python's, of a program that Python is embedded in, stays.

    Yields
    ------
    function
        ``with wait(False):`` lets Ctrl-C that comes within it through at once; one that came before
        waits on.
    """
    main = threading.current_thread() is threading.main_thread()
    if not hold or not main or signal.getsignal(signal.SIGINT) is None:
        yield lambda _: nullcontext()
        return
    caught: list[float] = []

    def note(number: int, frame: Any) -> None:
        caught.append(time.monotonic())
        if caught[-1] - caught[0] > PATIENCE and callable(before):
            before(number, frame)

    @contextmanager
    def wait(further: bool) -> Iterator[None]:
        if not further:
            signal.signal(signal.SIGINT, before)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, note)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield wait
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        signal.raise_signal(signal.SIGINT)
