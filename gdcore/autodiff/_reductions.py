"""NumPy's reductions of traced values: sums, products, extremes, means and variances.

Arguments are NumPy's. `out`, `dtype` and `where` are refused: a traced value is written nowhere,
and has the type that NumPy would give it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from gdcore.autodiff import _primitives as p
from gdcore.autodiff._operands import as_real, first_traced, lift, refuse
from gdcore.autodiff._tape import I64

Axis = int | Sequence[int] | None
Shape = tuple[int, ...]


def axes_of(x: Any, axis: Axis) -> tuple[int, ...]:
    """Return NumPy's `axis` as the axes, from 0 and in order; all of them for None."""
    ndim = len(x.shape)
    return tuple(range(ndim)) if axis is None else tuple(sorted(normalize_axis_tuple(axis, ndim)))


def with_axes(y: Any, x: Any, axes: Sequence[int]) -> Any:
    """Return a reduction of x with its axes again, of length 1 (keepdims)."""
    return p.reshape(y, tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


def _finished(y: Any, x: Any, axes: Sequence[int], keepdims: Any) -> Any:
    return with_axes(y, x, axes) if keepdims else y


def _summable(x: Any) -> Any:
    """Return x as its sums and products count: booleans as integers."""
    return p.as_type(x, I64) if x.dtype.kind == "b" else x


# ---- Sums, products, extremes --------------------------------------------------------------------


def _reduction(op: str, join: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return NumPy's function for the sum or the product; `join` takes `initial` in."""

    def reduce(
        a: Any,
        axis: Axis = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        refuse(op, dtype=dtype, out=out, where=None if where is True else where)
        x = _summable(lift(a))
        axes = axes_of(x, axis)
        y = p.reduced(op, x, axes)
        y = y if initial is None else join(y, initial)
        return _finished(y, x, axes, keepdims)

    return reduce


sum_ = _reduction("sum", lambda y, initial: y + initial)
prod = _reduction("prod", lambda y, initial: y * initial)


def _extreme(op: str, join: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return NumPy's function for the largest or the smallest."""

    def reduce(
        a: Any,
        axis: Axis = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        refuse(op, out=out, where=None if where is True else where)
        x = lift(a)
        axes = axes_of(x, axis)
        if any(x.shape[i] == 0 for i in axes):
            if initial is None:
                name = f"{op}imum"
                raise ValueError(
                    f"zero-size array to reduction operation {name} which has no identity"
                )
            shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
            y = p.filled(x, initial, shape)
        else:
            y = p.reduced(op, x, axes)
            y = y if initial is None else join(y, initial)
        return _finished(y, x, axes, keepdims)

    return reduce


max_ = _extreme("max", np.maximum)
min_ = _extreme("min", np.minimum)


def ptp(a: Any, axis: Axis = None, out: Any = None, keepdims: Any = False) -> Any:
    """Return the largest minus the smallest."""
    refuse("ptp", out=out)
    return max_(a, axis, keepdims=keepdims) - min_(a, axis, keepdims=keepdims)


# ---- Means and variances -------------------------------------------------------------------------


def _count(x: Any, axes: Sequence[int]) -> int:
    return math.prod(x.shape[i] for i in axes)


def _quotient(total: Any, count: float) -> Any:
    """Return total / count, NaN or infinite for 0 as in IEEE 754."""
    return p.mapped("divide", (total, p.filled(total, count, ())), total.dtype)


def mean(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    *,
    where: Any = True,
) -> Any:
    """Return the sum divided by the number of elements."""
    refuse("mean", dtype=dtype, out=out, where=None if where is True else where)
    x = as_real(lift(a))
    axes = axes_of(x, axis)
    y = _quotient(p.reduced("sum", x, axes), _count(x, axes))
    return _finished(y, x, axes, keepdims)


def average(
    a: Any,
    axis: Axis = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: Any = False,
) -> Any:
    """Return the weighted mean, and the sum of the weights where it is asked for."""
    like = first_traced(a, weights)
    x = lift(a, like)
    if weights is None:
        value = mean(x, axis, keepdims=keepdims)
        total = np.full(value.shape, float(_count(x, axes_of(x, axis))), value.dtype)
        return (value, total) if returned else value
    w = _weights(x, lift(weights, like), axis)
    total = sum_(w, axis, keepdims=keepdims)
    value = sum_(x * w, axis, keepdims=keepdims) / total
    return (value, total) if returned else value


def _weights(x: Any, w: Any, axis: Axis) -> Any:
    """Return weights, given for all of x or for its axes `axis`, in x's shape."""
    if w.shape == x.shape:
        return w
    if axis is None:
        raise TypeError("axis must be specified when shapes of a and weights differ")
    axes = normalize_axis_tuple(axis, len(x.shape))
    if w.shape != tuple(x.shape[i] for i in axes):
        raise ValueError(f"weights have shape {w.shape}, which is not that of axis={axis}")
    w = p.transpose(w, sorted(range(len(axes)), key=axes.__getitem__))
    kept = tuple(n if i in axes else 1 for i, n in enumerate(x.shape))
    return p.expand(p.reshape(w, kept), x.shape)


def var(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Return the mean square of the differences from the mean; `ddof` are taken off the count."""
    refuse("var", dtype=dtype, out=out, where=None if where is True else where)
    if correction is not None:
        if ddof != 0:
            raise ValueError("ddof and correction can't be provided simultaneously.")
        ddof = correction
    x = as_real(lift(a, first_traced(a, mean)))
    axes = axes_of(x, axis)
    count = _count(x, axes)
    if mean is None:
        mean = with_axes(_quotient(p.reduced("sum", x, axes), count), x, axes)
    total = p.reduced("sum", np.square(x - mean), axes)
    return _finished(_quotient(total, max(count - ddof, 0)), x, axes, keepdims)


def std(a: Any, *args: Any, **settings: Any) -> Any:
    """Return the root of the variance, with its arguments."""
    return np.sqrt(var(a, *args, **settings))
