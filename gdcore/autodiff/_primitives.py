"""The instructions as functions of traced values: types and shapes are worked out here.

Everything that records goes through these: NumPy's functions (`_ufuncs`, `_functions`) and the
derivatives (`_rules`). Shapes are those of the instruction; what NumPy allows beside them (negative
axes, keepdims, one number for a tuple) has been dealt with before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gdcore.autodiff._execute import OPS
from gdcore.autodiff._tape import BOOL, F32, F64, I64

_EXPAND = OPS["expand"]

Shape = tuple[int, ...]


def common_shape(shapes: Sequence[Shape]) -> Shape:
    """Return the shape to which all broadcast."""
    common = shapes[0]
    for shape in shapes:
        if shape == common or not shape:
            continue
        common = np.broadcast_shapes(common, shape) if common else shape
    return common


def held_in(x: Any, real: int) -> Any:
    """Return the value held in reals of that size."""
    if x.held == real:
        return x
    kept = x.dtype if x.dtype is BOOL or x.dtype is I64 else (F32 if real == 4 else F64)
    return x.tape.emit("cast", x.shape, kept, (x,), (), real)


def as_type(x: Any, dtype: np.dtype[Any]) -> Any:
    """Return the value as NumPy's dtype: float32, float64, and what is held in their reals."""
    x = held_in(x, 4 if dtype is F32 else 8)
    if x.dtype is dtype:
        return x
    return x.tape.kind(x.tape, x.id, x.shape, dtype)


def mapped(
    op: str, operands: Sequence[Any], dtype: np.dtype[Any], params: tuple[float, ...] = ()
) -> Any:
    """Record an elementwise instruction on values held in reals of the one size.

    `dtype` is NumPy's of the result, which is held like the operands: 1 and 0 for booleans.
    """
    shape = common_shape([x.shape for x in operands])
    full = [expand(x, shape) for x in operands]
    return full[0].tape.emit(op, shape, dtype, full, params, full[0].held)


def fresh(x: Any) -> Any:
    """Return the same value as another object, as NumPy copies."""
    return x.tape.kind(x.tape, x.id, x.shape, x.dtype)


def expand(x: Any, shape: Shape) -> Any:
    """Return x broadcast to the shape."""
    return x if x.shape == shape else x.tape.push(_EXPAND, x.held, shape, x.dtype, (x.id,))


def reshape(x: Any, shape: Shape) -> Any:
    """Return the elements in C order in another shape of the same size."""
    return x if x.shape == shape else x.tape.emit("reshape", shape, x.dtype, (x,), (), x.held)


def transpose(x: Any, axes: Sequence[int]) -> Any:
    """Return y whose axis i is x's axis axes[i]."""
    if list(axes) == list(range(len(x.shape))):
        return x
    shape = tuple(x.shape[axis] for axis in axes)
    return x.tape.emit("transpose", shape, x.dtype, (x,), tuple(axes), x.held)


def window(x: Any, starts: Sequence[int], steps: Sequence[int], shape: Shape) -> Any:
    """Return x[start + step i] along each axis, i < shape; steps may be negative."""
    if shape == x.shape and not any(starts) and all(s == 1 for s in steps):
        return x
    return x.tape.emit("slice", shape, x.dtype, (x,), (*starts, *steps), x.held)


def embed(x: Any, starts: Sequence[int], steps: Sequence[int], shape: Shape) -> Any:
    """Return zeros of the shape but for y[start + step i] = x[i]: what undoes `window`."""
    if shape == x.shape and not any(starts) and all(s == 1 for s in steps):
        return x
    return x.tape.emit("embed", shape, x.dtype, (x,), (*starts, *steps), x.held)


def concatenate(parts: Sequence[Any], axis: int) -> Any:
    """Return values of one type one behind the other along an axis."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    length = sum(x.shape[axis] for x in parts)
    shape = (*first.shape[:axis], length, *first.shape[axis + 1 :])
    return first.tape.emit("concatenate", shape, first.dtype, parts, (axis,), first.held)


def gather(x: Any, indices: Any, axis: int) -> Any:
    """Return y[..., i, ...] = x[..., indices[i], ...] for 1-D int64 positions >= 0."""
    shape = (*x.shape[:axis], indices.shape[0], *x.shape[axis + 1 :])
    return x.tape.emit("gather", shape, x.dtype, (x, indices), (axis,), x.held)


def scatter(x: Any, indices: Any, axis: int, length: int) -> Any:
    """Return zeros, `length` long on that axis, then y[..., indices[i], ...] += x[..., i, ...]."""
    shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
    return x.tape.emit("scatter", shape, x.dtype, (x, indices), (axis,), x.held)


def reduced(op: str, x: Any, axes: Sequence[int]) -> Any:
    """Return sum, prod, max or min over the axes, which the result does not have."""
    axes = tuple(sorted(axes))
    if not axes:
        return x
    full = len(axes) == len(x.shape)
    shape = () if full else tuple([n for axis, n in enumerate(x.shape) if axis not in axes])
    return x.tape.push(OPS[op], x.held, shape, x.dtype, (x.id,), axes)


def matmul(a: Any, b: Any) -> Any:
    """Return a (..., n, k) times b (..., k, m), with the same leading axes."""
    shape = (*a.shape[:-1], b.shape[-1])
    return a.tape.emit("matmul", shape, a.dtype, (a, b), (), a.held)


def unexpand(x: Any, shape: Shape) -> Any:
    """Return the sum of x over what `expand` from the shape repeats: what undoes broadcasting."""
    if x.shape == shape:
        return x
    if not shape:
        return reduced("sum", x, range(len(x.shape)))
    ahead = len(x.shape) - len(shape)
    axes = [i for i, n in enumerate(x.shape) if i < ahead or (shape[i - ahead] == 1 and n != 1)]
    return reshape(reduced("sum", x, axes), shape)


def filled(like: Any, value: float, shape: Shape | None = None) -> Any:
    """Return a number in the type of `like`, in its shape or another."""
    tape, held = like.tape, like.held
    if shape is None:
        shape = like.shape
    number = tape.constant(value, like.dtype, held)
    return number if not shape else tape.push(_EXPAND, held, shape, like.dtype, (number.id,))


def size(x: Any) -> int:
    """Return the number of elements."""
    return math.prod(x.shape)
