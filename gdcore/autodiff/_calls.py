"""How NumPy calls: a ufunc with keywords, its methods, a ufunc that is not known."""

from __future__ import annotations

from typing import Any

import numpy as np

from gdcore import _core
from gdcore.autodiff._errors import called, untraceable, user_place
from gdcore.autodiff._tape import F32, F64
from gdcore.autodiff._ufuncs import TABLE, as_value, first_value, functions

__all__ = ["name_of", "ufunc"]


def name_of(function: Any) -> str:
    """Return the name of a function of NumPy or another module as users write it."""
    module: str = getattr(function, "__module__", None) or ""
    name: str = getattr(function, "__qualname__", "") or getattr(function, "__name__", "")
    if isinstance(function, np.ufunc):
        if getattr(np, name, None) is function:
            return f"np.{name}"
        return f"gd.{name}" if getattr(_core, name, None) is function else name
    package, _, rest = module.partition(".")
    if package == "numpy":
        inner = rest.split(".")[0]
        prefix = f"np.{inner}." if inner and not inner.startswith("_") else "np."
        return prefix + name if inner != "lib" else f"np.{name}"
    return f"{module}.{name}" if module else name


def ufunc(function: np.ufunc, method: str, inputs: tuple[Any, ...], given: dict[str, Any]) -> Any:
    """Return what a ufunc does to traced operands, called as NumPy calls `__array_ufunc__`."""
    if method != "__call__":
        return _by_method(function, method, inputs, given)
    known = TABLE.get(function) or functions().TABLE.get(function)
    if known is None:
        raise untraceable(f"{name_of(function)} is not known to gdcore", _near(function))
    if given:
        inputs = _with_keywords(function, inputs, given)
    return known(*inputs)


def _near(function: np.ufunc) -> str:
    """Return the way out for a ufunc of another library."""
    way_out = "Write it with NumPy's elementwise functions, or give its gradient yourself (grad=)"
    return {"expit": "Write gd.sigmoid(x)"}.get(function.__name__, way_out)


def _with_keywords(
    function: np.ufunc, inputs: tuple[Any, ...], given: dict[str, Any]
) -> tuple[Any, ...]:
    """Return the operands as a ufunc's keywords want them: only dtype= can be followed."""
    name = name_of(function)
    for keyword in given:
        if keyword == "out":
            target = _in_place(function)
            raise untraceable(
                f"{target or name + '(..., out=)'} writes a traced value into an array",
                "Write y = y + x, which makes a new value",
            )
        if keyword == "where":
            raise untraceable(
                f"{name}(..., where=) leaves elements as they were",
                "Write np.where(condition, y, other)",
            )
        if keyword != "dtype":
            raise untraceable(f"{name}(..., {keyword}=) is not followed", "Leave it out")
    dtype = np.dtype(given["dtype"])
    if dtype not in (F32, F64):
        raise untraceable(
            f"{name}(..., dtype={dtype})", "float32 and float64 are accepted; then use x.astype"
        )
    like = first_value(inputs)
    return tuple([as_value(like, x, F32 if dtype == F32 else F64) for x in inputs])


def _in_place(function: np.ufunc) -> str:
    """Return the statement of the user if it is one like x += y."""
    place = user_place()
    return "" if called(place) else place.expression


_REDUCERS: dict[np.ufunc, Any] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
}
_RUNNING: dict[np.ufunc, Any] = {np.add: np.cumsum, np.multiply: np.cumprod}


def _by_method(
    function: np.ufunc, method: str, inputs: tuple[Any, ...], given: dict[str, Any]
) -> Any:
    """Return reduce, accumulate and outer of a ufunc, by other functions."""
    by = {"reduce": _REDUCERS, "accumulate": _RUNNING}.get(method, {}).get(function)
    if by is not None:
        settings = {"axis": 0, **given}
        return by(inputs[0], *inputs[1:], **({} if len(inputs) > 1 else settings))
    if method == "outer" and not given and len(inputs) == 2:
        a, b = inputs
        return function(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b)
    raise untraceable(
        f"{name_of(function)}.{method} is not followed",
        "Write it with np.sum, np.cumsum or np.concatenate",
    )
