"""Errors about what cannot be traced: they show the user's line and name the way out."""

from __future__ import annotations

import ast
import dis
import linecache
import sys
from types import FrameType
from typing import NamedTuple

__all__ = [
    "MissingAttributeError",
    "Place",
    "UntraceableError",
    "called",
    "indexes",
    "is_own",
    "original",
    "untraceable",
    "user_frame",
    "user_place",
    "user_stacklevel",
]


class UntraceableError(TypeError):
    """A function does what gdcore cannot differentiate; the message shows where and the way out."""


class MissingAttributeError(UntraceableError, AttributeError):
    """An attribute of NumPy's arrays that a traced value does not have."""


class Place(NamedTuple):
    """A line of the user's code, what stands there, and the expression that was being worked out.

    `expression` is the line where that is not known; `assigns` says that an item is assigned to;
    `through` is the function of NumPy's, written in Python, that is called there.
    """

    file: str
    line: int
    text: str
    expression: str
    assigns: bool
    through: str

    def __str__(self) -> str:
        shown = f": {self.text}" if self.text else ""
        return f"{self.file}:{self.line}{shown}"


def is_own(frame: FrameType) -> bool:
    """Whether a frame runs our code or NumPy's."""
    return frame.f_globals.get("__name__", "").partition(".")[0] in ("gdcore", "numpy")


def user_frame() -> tuple[FrameType | None, FrameType | None]:
    """Return the innermost frame that is neither ours nor NumPy's, and the one that it called."""
    inner, frame = None, sys._getframe(1)
    while frame is not None and is_own(frame):
        inner, frame = frame, frame.f_back  # type: ignore[assignment]
    return frame, inner


def user_stacklevel() -> int:
    """Return the `stacklevel` with which the caller warns at the user's line."""
    frame, level = sys._getframe(1), 1
    found, _ = user_frame()
    while frame is not found and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    return level


def user_place() -> Place:
    """Return the line of the user's code from which gdcore has been called."""
    frame, inner = user_frame()
    if frame is None:
        return Place("<unknown>", 0, "", "", False, "")
    code, step = frame.f_code, frame.f_lasti // 2
    file, line = code.co_filename, frame.f_lineno
    text = linecache.getline(file, line, frame.f_globals)
    expression = text
    first, last, start, stop = list(code.co_positions())[step]
    if text and first == last == line and start is not None and stop is not None:
        expression = text.encode()[start:stop].decode(errors="replace")
    assigns = dis.opname[code.co_code[frame.f_lasti]].startswith("STORE_S")
    numpys = inner is not None and inner.f_globals.get("__name__", "").startswith("numpy")
    through = inner.f_code.co_qualname if inner is not None and numpys else ""
    return Place(file, line, text.strip(), expression.strip(), assigns, through)


def _tree(place: Place) -> ast.expr | None:
    try:
        return ast.parse(place.expression, mode="eval").body
    except SyntaxError:
        return None


def called(place: Place) -> str:
    """Return the name of the function that a place calls, as it is written there, or nothing."""
    tree = _tree(place)
    return ast.unparse(tree.func) if isinstance(tree, ast.Call) else ""


def indexes(place: Place) -> bool:
    """Whether a place takes an item of something."""
    return not place.assigns and isinstance(_tree(place), ast.Subscript)


def original(error: BaseException) -> BaseException:
    """Return our error where NumPy has put one of its own in front of it."""
    cause = error.__cause__
    return cause if isinstance(cause, UntraceableError) else error


def untraceable(
    what: str, way_out: str, kind: type[UntraceableError] = UntraceableError
) -> UntraceableError:
    """Return the error: what was found (a sentence without its full stop), where, the way out."""
    return kind(f"{what}. {way_out}.\n  at {user_place()}")
