"""Ctrl-C during a fit: it comes while the core runs, and waits while the books are kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Held:
    """While it is entered, SIGINT waits for the next `call`, so that nothing is left half done.

    A second one does not wait: somebody's own callback may not come to an end. Other threads than
    the main one, to which Python gives no signals, and handlers that are not Python's are left
    alone.
    """

    def __init__(self) -> None:
        self._handler: Any = None  # that of before; None where nothing is held
        self._waiting: tuple[Any, ...] | None = None
        self._free = False

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                signal.signal(signal.SIGINT, self._arrived)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            self._let_through()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that may be interrupted, as a run of the core."""
        self._let_through()
        self._free = True
        try:
            return function(*args, **kwargs)
        finally:
            self._free = False

    def _arrived(self, *found: Any) -> None:
        if self._free or self._waiting is not None:
            self._waiting = None
            self._handler(*found)
        else:
            self._waiting = found

    def _let_through(self) -> None:
        """Let a signal that has waited do what it does."""
        if self._waiting is not None:
            found, self._waiting = self._waiting, None
            self._handler(*found)
