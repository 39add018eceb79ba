"""What the optimizers' rules share: their types, and arithmetic that takes objects too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Settings = Mapping[str, Any]
State = Mapping[str, Any]
Table = dict[str, Any]
Rule = Callable[[Array, Array, State, Settings, int, str], Table]


def number(value: Any) -> Any:
    """Return a kept number as a Python float, which takes the type of the arrays it meets."""
    return value.item() if isinstance(value, np.ndarray | np.generic) else value


def total(x: Array, y: Array | None = None) -> Any:
    """Return the sum of x, or of x y, in double."""
    if x.dtype == object:
        return np.sum(x if y is None else x * y)
    wide = x.astype(np.float64)
    return float(np.sum(wide if y is None else wide * y.astype(np.float64)))


def sign(x: Array) -> Array:
    """Return -1, 0 or 1; objects have a method for it."""
    if x.dtype == object:
        signs = [v.sign() if hasattr(v, "sign") else (v > 0) - (v < 0) for v in x.ravel()]
        return np.array(signs, dtype=object).reshape(x.shape)
    plain: Array = np.sign(x)
    return plain


def chosen(like: Array, condition: Array, yes: Any, no: Any) -> Array:
    """Return ``yes`` or ``no`` in the type of an array."""
    values: Array = np.where(condition, yes, no).astype(like.dtype)
    return values


def correction(beta: Any, t: int) -> Any:
    """Return ``1 - beta^t``; of a float in the form that keeps all digits at small t."""
    if isinstance(beta, float):
        return -math.expm1(t * math.log(beta)) if beta > 0 else 1.0
    return 1 - beta**t
