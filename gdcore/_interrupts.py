"""Ctrl-C that waits until what must not be cut in two is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["held_interrupts"]


@contextmanager
def held_interrupts(hold: bool) -> Iterator[None]:
    """Let Ctrl-C wait until the end, so that it does not come in the middle of a step."""
    if not hold or threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *found: caught.append(found))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught and callable(before):
        before(*caught[0])
