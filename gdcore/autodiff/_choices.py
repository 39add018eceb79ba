"""NumPy's functions of traced values that choose, round, pad and take differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from gdcore.autodiff import _primitives as p
from gdcore.autodiff._errors import untraceable
from gdcore.autodiff._indexing import take_along_axis, take_at
from gdcore.autodiff._operands import as_real, concrete, first_traced, is_traced, lift, refuse
from gdcore.autodiff._reductions import axes_of, with_axes
from gdcore.autodiff._shapes import concatenate, part
from gdcore.autodiff._tape import BOOL
from gdcore.autodiff._ufuncs import promoted

# ---- Choosing ------------------------------------------------------------------------------------


def where(condition: Any, *choices: Any) -> Any:
    """Return x where the condition holds, else y."""
    if len(choices) != 2:
        raise untraceable(
            "np.where(condition) asks for positions, whose number depends on traced numbers",
            "Write np.where(condition, x, y)",
        )
    like = first_traced(condition, *choices)
    x, y = promoted(*choices) if any(map(is_traced, choices)) else _lifted(like, choices)
    test = lift(condition, like)
    if test.held != x.held:
        test = p.held_in(test, x.held)
    return p.mapped("where", (test, x, y), x.dtype)


def _lifted(like: Any, choices: Sequence[Any]) -> list[Any]:
    """Return plain operands as values of their common type."""
    dtype = np.result_type(*choices)
    return promoted(*[lift(np.asarray(x, dtype), like) for x in choices])


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """Return the choice of the first condition that holds."""
    if len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions")
    y = default
    for condition, choice in zip(condlist[::-1], choicelist[::-1], strict=True):
        y = np.where(condition, choice, y)
    return y


def clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, **settings: Any) -> Any:
    """Return values between bounds; the derivative is 1 on a bound too."""
    low, high = settings.pop("min", a_min), settings.pop("max", a_max)
    refuse("clip", out=out, **settings)
    y = a
    if low is not None:
        y = _bounded("less", y, low)
    return y if high is None else _bounded("greater", y, high)


def _bounded(test: str, y: Any, bound: Any) -> Any:
    """Return y, and the bound where y is beyond it."""
    y, bound = promoted(y, bound)
    order = (y, bound) if test == "less" else (bound, y)
    beyond = p.mapped("less", order, BOOL)
    return p.mapped("where", (beyond, bound, y), y.dtype)


def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """Return finite numbers in the place of NaN and the infinities."""
    x = lift(x)
    if x.dtype.kind in "bi":
        return x
    limits = np.finfo(x.dtype)
    y = where(np.isnan(x), nan, x)
    y = where(x == np.inf, float(limits.max) if posinf is None else posinf, y)
    return where(x == -np.inf, float(limits.min) if neginf is None else neginf, y)


def round_(a: Any, decimals: int = 0, out: Any = None) -> Any:
    """Return values rounded to even; the derivative is 0."""
    refuse("round", out=out)
    x = lift(a)
    if x.dtype.kind in "bi" and decimals >= 0:
        return x
    if decimals == 0:
        return np.rint(x)
    scale = 10.0 ** abs(decimals)
    return np.rint(x * scale) / scale if decimals > 0 else np.rint(x / scale) * scale


def fix(x: Any, out: Any = None) -> Any:
    """Return values rounded towards 0; the derivative is 0."""
    refuse("fix", out=out)
    return np.trunc(x)


# ---- Orders --------------------------------------------------------------------------------------


def sort(
    a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    """Return the elements in order along an axis; they are looked at."""
    refuse("sort", order=order)
    x = lift(a)
    if axis is None:
        x, axis = np.ravel(x), 0
    at = np.argsort(concrete(x, "sort"), axis=axis, kind="stable")
    return take_along_axis(x, at, axis)


def median(
    a: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    keepdims: Any = False,
) -> Any:
    """Return the middle element, or the mean of the middle two; they are looked at."""
    refuse("median", out=out)
    x = as_real(lift(a))
    axes = axes_of(x, axis)
    rest = [i for i in range(len(x.shape)) if i not in axes]
    rows = p.transpose(x, [*rest, *axes])
    n = math.prod(x.shape[i] for i in axes)
    if n == 0:
        return np.mean(x, axes, keepdims=keepdims)  # NaN, as NumPy
    ordered = sort(p.reshape(rows, (*rows.shape[: len(rest)], n)))
    middle = take_at(ordered, np.array([(n - 1) // 2, n // 2]), len(rest))
    last = part(ordered, len(rest), n - 1, n)
    y = np.where(np.isnan(last), np.nan, np.mean(middle, axis=-1, keepdims=True))
    return with_axes(y, x, axes) if keepdims else p.reshape(y, rows.shape[: len(rest)])


# ---- Differences and sums of neighbours ----------------------------------------------------------


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Return the differences of neighbours, n times over."""
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n}")
    like = first_traced(a, prepend, append)
    x = lift(a, like)
    axis = normalize_axis_index(axis, len(x.shape))
    ends = [_end(prepend, x, axis), [x], _end(append, x, axis)]
    parts = [one for end in ends for one in end]
    x = concatenate(parts, axis) if len(parts) > 1 else x
    for _ in range(n):
        length = x.shape[axis]
        if length == 0:
            return x
        later, former = part(x, axis, 1, length), part(x, axis, 0, length - 1)
        x = np.not_equal(later, former) if x.dtype is BOOL else later - former
    return x


def _end(end: Any, x: Any, axis: int) -> list[Any]:
    """Return what diff puts before or behind x."""
    if end is None or end is np._NoValue:
        return []
    value = lift(end, x)
    if len(value.shape) == 0:
        value = p.expand(value, tuple(1 if i == axis else n for i, n in enumerate(x.shape)))
    return [value]


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Return the integral of samples by the trapezoidal rule."""
    like = first_traced(y, x, dx)
    y = lift(y, like)
    axis = normalize_axis_index(axis, len(y.shape))
    if x is not None:
        x = lift(x, like)
        dx = diff(x, axis=-1 if len(x.shape) == 1 else axis)
        if len(x.shape) == 1:
            length = dx.shape[0]
            dx = p.reshape(dx, tuple(length if i == axis else 1 for i in range(len(y.shape))))
    n = y.shape[axis]
    middle = (part(y, axis, 1, n) + part(y, axis, 0, n - 1)) / 2.0
    return np.sum(dx * middle, axis=axis)


def polyval(p_: Any, x: Any) -> Any:
    """Return a polynomial, its coefficients from the highest power on, by Horner's rule."""
    like = first_traced(p_, x)
    coefficients, x = lift(p_, like), lift(x, like)
    if coefficients.shape[0] == 0:
        return np.zeros_like(x)
    y = np.broadcast_to(coefficients[0], x.shape)
    for i in range(1, coefficients.shape[0]):
        y = y * x + coefficients[i]
    return y


def sinc(x: Any) -> Any:
    """Return sin(pi x) / (pi x), and 1 at 0, with its derivatives there."""
    x = as_real(lift(x))
    y = np.pi * x
    near = np.abs(y) < 0.05
    square = np.where(near, y * y, 0.0)
    series = 1 + square * (-1 / 6 + square * (1 / 120 + square * (-1 / 5040 + square / 362880)))
    far = np.where(near, 1.0, y)
    return np.where(near, series, np.sin(far) / far)


# ---- Padding -------------------------------------------------------------------------------------


def pad(array: Any, pad_width: Any, mode: Any = "constant", **settings: Any) -> Any:
    """Return x with elements before and behind along each axis: a constant, or x's own."""
    x = lift(array)
    ndim = len(x.shape)
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(i, pad_width.get(i - ndim, (0, 0))) for i in range(ndim)]
    widths = np.broadcast_to(np.asarray(pad_width, np.int64), (ndim, 2)).tolist()
    if min((n for pair in widths for n in pair), default=0) < 0:
        raise ValueError("index can't contain negative values")
    if mode == "constant":
        return _framed(x, widths, settings.pop("constant_values", 0), settings)
    if mode not in ("edge", "reflect", "symmetric", "wrap") or settings:
        raise untraceable(
            f"np.pad(mode={mode!r}) with {sorted(settings)} is not followed",
            "'constant', 'edge', 'reflect', 'symmetric' and 'wrap' are, without further settings",
        )
    for axis, pair in enumerate(widths):
        if any(pair):
            x = take_at(x, np.pad(np.arange(x.shape[axis]), pair, mode), axis)
    return x


def _framed(x: Any, widths: Sequence[Sequence[int]], constants: Any, more: dict[str, Any]) -> Any:
    """Return x within constants: one, or for each axis one before and one behind."""
    refuse("pad", **more)
    ndim = len(x.shape)
    starts, ones = [before for before, _ in widths], [1] * ndim
    shape = tuple(n + sum(pair) for n, pair in zip(x.shape, widths, strict=True))
    if not is_traced(constants) and not np.any(constants):
        return p.embed(x, starts, ones, shape)
    pairs = np.broadcast_to(np.asarray(constants), (ndim, 2)).tolist()
    for axis, (pair, (before, behind)) in enumerate(zip(pairs, widths, strict=True)):
        ends = [
            np.full((*x.shape[:axis], n, *x.shape[axis + 1 :]), value, x.dtype)
            for n, value in zip((before, behind), pair, strict=True)
        ]
        x = concatenate((ends[0], x, ends[1]), axis)
    return x
