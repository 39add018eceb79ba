"""What the functions of the table share: operands read as values, settings refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdcore.autodiff import _primitives as p
from gdcore.autodiff._errors import untraceable
from gdcore.autodiff._tape import F32, F64, Value
from gdcore.autodiff._ufuncs import as_value

__all__ = ["as_real", "concrete", "first_traced", "is_traced", "lift", "refuse"]


def is_traced(x: Any) -> bool:
    """Whether an operand is a traced value."""
    return isinstance(x, Value)


def _leaves(operands: Iterable[Any]) -> Iterable[Value]:
    for x in operands:
        if isinstance(x, Value):
            yield x
        elif isinstance(x, (list, tuple)):
            yield from _leaves(x)


def first_traced(*operands: Any) -> Any:
    """Return the first traced value among operands and lists of them; there is one."""
    return next(iter(_leaves(operands)))


def lift(x: Any, like: Any = None) -> Any:
    """Return an operand as a value on the tape of `like`, or of its own."""
    if like is None or isinstance(x, (list, tuple)):
        like = first_traced(x, like)
    if isinstance(x, (list, tuple)) and any(True for _ in _leaves(x)):
        return np.stack([lift(one, like) for one in x])
    return as_value(like, x)


def as_real(x: Any) -> Any:
    """Return a value as NumPy's functions of real numbers read it: integers as float64."""
    return x if x.dtype is F32 or x.dtype is F64 else p.as_type(x, F64)


def concrete(x: Any, name: str) -> NDArray[Any]:
    """Return what a value is now: from here on the trace holds for these numbers alone."""
    if not isinstance(x, Value):
        return np.asarray(x)
    if x.tape.compiling:
        raise untraceable(
            f"np.{name} looks at the numbers of a traced value, which are not known when a "
            "function is compiled",
            "Do without gd.compile: each call is traced anew then",
        )
    return x.tape.evaluate([x])[0].astype(x.dtype)


_WAYS = {
    "out": "Leave it out and use the result",
    "dtype": "Leave it out and write .astype(dtype) behind the operand",
    "where": "Leave it out and select with np.where(condition, x, 0)",
}


def refuse(name: str, **settings: Any) -> None:
    """Raise for the first setting that is given: traced values do not take it."""
    for setting, value in settings.items():
        if value is not None:
            way = _WAYS.get(setting, "Leave it out")
            raise untraceable(f"np.{name}(..., {setting}=) is not followed", way)
