"""Arguments and results of a call as the core compares and makes them: trees of tuples.

``(kind, slot, object)`` for numbers and other objects, ``(kind, slot, dtype, shape, strides)`` for
arrays, ``(kind, 0, type or keys, children)`` for containers; csrc/module_call.c reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gdcore.autodiff._parameters import is_container
from gdcore.autodiff._tape import Value

__all__ = [
    "ARRAY",
    "NUMBER",
    "OBJECT",
    "Piece",
    "argument_pieces",
    "is_same",
    "pair",
    "replaced",
    "result_pieces",
    "slots",
    "with_types",
]

ARRAY, NUMBER, OBJECT, _SEQUENCE, _DICT = range(5)

Piece = tuple[Any, ...]


def _parts(x: Any) -> tuple[Piece, list[Any]]:
    """Return the head of a container's piece, and its items."""
    if isinstance(x, dict):
        return (_DICT, 0, tuple(x)), list(x.values())
    return (_SEQUENCE, 0, type(x)), list(x)


def argument_pieces(x: Any, enter: Callable[[Any], tuple[Any, Piece]]) -> tuple[Any, Piece]:
    """Return arguments with each leaf as `enter` gives it to the trace, and the pieces of all."""
    if not is_container(x):
        return enter(x)
    head, items = _parts(x)
    pairs = [argument_pieces(item, enter) for item in items]
    values = [value for value, _ in pairs]
    return _like(x, values), (*head, tuple([piece for _, piece in pairs]))


def _like(x: Any, items: list[Any]) -> Any:
    """Return items in the container that x is."""
    if isinstance(x, dict):
        return dict(zip(x, items, strict=True))
    if isinstance(x, list):
        return items
    return type(x)(*items) if hasattr(x, "_fields") else tuple(items)


def result_pieces(x: Any, outputs: list[Value], arrays: Iterator[bool] | None = None) -> Piece:
    """Return the pieces of results; traced values are appended to `outputs`.

    Values without axes are NumPy scalars; where `arrays` is given its next says, for each value,
    whether that is an array.
    """
    if isinstance(x, Value):
        outputs.append(x)
        is_array = bool(x.shape) if arrays is None else next(arrays)
        return (ARRAY if is_array else NUMBER, len(outputs) - 1, x.dtype)
    if isinstance(x, (tuple, list, dict)):
        head, items = _parts(x)
        if head[0] == _SEQUENCE:
            head = (_SEQUENCE, 0, list if isinstance(x, list) else tuple)
        return (*head, tuple([result_pieces(item, outputs, arrays) for item in items]))
    return (OBJECT, 0, x)


def _has_named(x: Any) -> bool:
    if isinstance(x, dict):
        return any(map(_has_named, x.values()))
    if isinstance(x, (tuple, list)):
        return hasattr(x, "_fields") or any(map(_has_named, x))
    return False


def with_types(x: Any) -> Callable[[Any], Any] | None:
    """Return what gives results the named tuples that x has; None where it has none."""
    if not _has_named(x):
        return None
    like = _without_values(x)
    return lambda result: _renamed(like, result)


def _without_values(x: Any) -> Any:
    """Return the containers of x, which hold nothing alive."""
    if isinstance(x, (tuple, list, dict)):
        return _like(x, [_without_values(item) for item in _parts(x)[1]])
    return None


def _renamed(like: Any, result: Any) -> Any:
    if isinstance(like, (tuple, list, dict)):
        pairs = zip(_parts(like)[1], _parts(result)[1], strict=True)
        return _like(like, [_renamed(a, b) for a, b in pairs])
    return result


def is_same(a: Any, b: Any) -> bool:
    """Whether two objects of the traces are alike: arrays by their contents."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        alike = a.shape == b.shape and a.dtype == b.dtype
        return a is b or (alike and a.tobytes() == b.tobytes())
    return type(a) is type(b) and (a is b or bool(np.all(a == b)) or a != a)


def pair(first: Piece, second: Piece) -> Piece:
    """Return the pieces of a tuple of two."""
    return (_SEQUENCE, 0, tuple, (first, second))


def slots(pieces: Piece) -> set[int]:
    """Return the slots of arrays and numbers."""
    if len(pieces) == 4:
        return set().union(*map(slots, pieces[3]))
    return {pieces[1]} if pieces[0] in (ARRAY, NUMBER) else set()


def replaced(pieces: Piece, exchange: Callable[[Piece], Piece]) -> Piece:
    """Return pieces with each that is no container exchanged."""
    if len(pieces) == 4:
        return (*pieces[:3], tuple([replaced(piece, exchange) for piece in pieces[3]]))
    return exchange(pieces)
