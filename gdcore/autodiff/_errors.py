"""Errors about what cannot be traced: they show the user's line and name the way out."""

from __future__ import annotations

import ast
import dis
import linecache
import sys
from types import FrameType
from typing import NamedTuple

__all__ = ["Place", "UntraceableError", "called", "untraceable", "user_place", "user_stacklevel"]

_OWN = ("gdcore", "numpy")


class UntraceableError(TypeError):
    """A function does what gdcore cannot differentiate; the message shows where and the way out."""


class MissingAttributeError(UntraceableError, AttributeError):
    """An attribute of NumPy's arrays that a traced value does not have."""


class Place(NamedTuple):
    """A line of the user's code, what stands there, and the expression that was being worked out.

    `expression` is the line where that is not known; `assigns` says that an item is assigned to.
    """

    file: str
    line: int
    text: str
    expression: str
    assigns: bool

    def __str__(self) -> str:
        shown = f": {self.text}" if self.text else ""
        return f"{self.file}:{self.line}{shown}"


def _user_frame() -> FrameType | None:
    """Return the innermost frame that is neither ours nor NumPy's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _OWN:
            return frame
        frame = frame.f_back
    return None


def user_stacklevel() -> int:
    """Return the `stacklevel` with which the caller warns at the user's line."""
    frame, level = sys._getframe(1), 1
    found = _user_frame()
    while frame is not found and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    return level


def user_place() -> Place:
    """Return the line of the user's code from which gdcore has been called."""
    frame = _user_frame()
    if frame is None:
        return Place("<unknown>", 0, "", "", False)
    code, step = frame.f_code, frame.f_lasti // 2
    file, line = code.co_filename, frame.f_lineno
    text = linecache.getline(file, line, frame.f_globals)
    expression = text
    first, last, start, stop = list(code.co_positions())[step]
    if text and first == last == line and start is not None and stop is not None:
        expression = text.encode()[start:stop].decode(errors="replace")
    assigns = dis.opname[code.co_code[frame.f_lasti]] == "STORE_SUBSCR"
    return Place(file, line, text.strip(), expression.strip(), assigns)


def called(place: Place) -> str:
    """Return the name of the function that a place calls, as it is written there, or nothing."""
    try:
        tree = ast.parse(place.expression, mode="eval").body
    except SyntaxError:
        return ""
    return ast.unparse(tree.func) if isinstance(tree, ast.Call) else ""


def untraceable(
    what: str, way_out: str, kind: type[UntraceableError] = UntraceableError
) -> UntraceableError:
    """Return the error: what was found (a sentence without its full stop), where, the way out."""
    return kind(f"{what}. {way_out}.\n  at {user_place()}")
