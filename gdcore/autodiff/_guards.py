"""What a function finds outside of its arguments: closure cells and globals, by name.

A compiled function was traced with what stood there then. `guards` says what must still be there
for the trace to hold; `arrays_in` which arrays a trace may have read in ways that it does not show.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

__all__ = ["Guard", "arrays_in", "guards"]

# (cell, None, what it held) or (globals, name, what stood there).
Guard = tuple[Any, str | None, Any]


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code, and that of the functions written within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _plain(f: Any) -> FunctionType | None:
    """Return the Python function behind a function, a method or a decorator, or None."""
    if isinstance(f, MethodType):
        f = f.__func__
    if not callable(f) or isinstance(f, type):
        return None
    seen = 0
    while hasattr(f, "__wrapped__") and seen < 100:
        f, seen = f.__wrapped__, seen + 1
    return f if isinstance(f, FunctionType) else None


def _found_by(f: FunctionType) -> Iterator[Guard]:
    """Yield what f's own code names outside of it."""
    for cell in f.__closure__ or ():
        if isinstance(cell, CellType):
            try:
                yield cell, None, cell.cell_contents
            except ValueError:  # not bound yet
                continue
    names = dict.fromkeys(name for code in _codes(f.__code__) for name in code.co_names)
    for name in names:
        if name in f.__globals__:
            yield f.__globals__, name, f.__globals__[name]


def _is_users(f: FunctionType) -> bool:
    """Whether a function is written outside of NumPy and this package."""
    return f.__module__.partition(".")[0] not in ("gdcore", "numpy") if f.__module__ else True


def guards(f: Any) -> tuple[Guard, ...]:
    """Return what f, and the functions that it finds and may call, name outside of themselves."""
    found: list[Guard] = []
    todo, seen = [_plain(f)], set()
    while todo:
        function = todo.pop()
        if function is None or id(function) in seen:
            continue
        seen.add(id(function))
        for guard in _found_by(function):
            found.append(guard)
            inner = _plain(guard[2])
            if inner is not None and _is_users(inner):
                todo.append(inner)
    return tuple(found)


def arrays_in(found: tuple[Guard, ...]) -> list[np.ndarray[Any, Any]]:
    """Return the arrays that stand there, or in a tuple, list or dict that does."""
    arrays: list[np.ndarray[Any, Any]] = []
    todo = [value for _, _, value in found]
    while todo:
        value = todo.pop()
        if isinstance(value, np.ndarray):
            arrays.append(value)
        elif isinstance(value, (tuple, list)) and len(value) < 1000:
            todo.extend(value)
        elif isinstance(value, dict) and len(value) < 1000:
            todo.extend(value.values())
    return arrays


def hold(found: tuple[Guard, ...]) -> bool:
    """Whether all still stand where they were found."""
    for place, name, value in found:
        try:
            now = place.cell_contents if name is None else place.get(name, found)
        except ValueError:  # the cell is empty now
            return False
        if now is not value:
            return False
    return True
