"""NumPy's products of traced values: dot, matmul, inner, outer, tensordot, vecdot.

All are the instruction matmul, or for vectors and numbers a multiplication and a sum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from gdcore.autodiff import _primitives as p
from gdcore.autodiff._errors import untraceable
from gdcore.autodiff._operands import refuse
from gdcore.autodiff._tape import BOOL
from gdcore.autodiff._ufuncs import promoted

__all__ = ["dot", "inner", "matmul", "outer", "tensordot", "vdot", "vecdot"]


def operands(name: str, *given: Any) -> list[Any]:
    """Return operands of a product as values of their common type; booleans are refused."""
    values = promoted(*given)
    if values[0].dtype is BOOL:
        raise untraceable(f"np.{name} of booleans", "Write x.astype(float)")
    return values


def product(a: Any, b: Any) -> Any:
    """Return a (..., n, k) times b (..., k, m), leading axes broadcast."""
    ahead = p.common_shape([a.shape[:-2], b.shape[:-2]])
    return p.matmul(p.expand(a, ahead + a.shape[-2:]), p.expand(b, ahead + b.shape[-2:]))


def _mismatch(name: str, a: Any, b: Any, i: int, j: int) -> ValueError:
    return ValueError(
        f"{name}: shapes {a.shape} and {b.shape} do not fit: {a.shape[i]} (axis {i} of the first) "
        f"is not {b.shape[j]} (axis {j} of the second)"
    )


def matmul(a: Any, b: Any) -> Any:
    """Return a @ b."""
    a, b = operands("matmul", a, b)
    if not a.shape or not b.shape:
        raise ValueError("matmul: an operand has no axis; np.multiply takes numbers")
    inner_b = -2 if len(b.shape) > 1 else 0
    if a.shape[-1] != b.shape[inner_b]:
        raise _mismatch("matmul", a, b, -1, inner_b)
    left = p.reshape(a, (1, *a.shape)) if len(a.shape) == 1 else a
    right = p.reshape(b, (*b.shape, 1)) if len(b.shape) == 1 else b
    y = _folded(left, right) if len(right.shape) == 2 else product(left, right)
    shape = y.shape[:-2] + a.shape[-2:-1] + (b.shape[-1:] if len(b.shape) > 1 else ())
    return p.reshape(y, shape)


def _folded(a: Any, b: Any) -> Any:
    """Return a (..., n, k) times a matrix as one product of matrices."""
    rows = p.reshape(a, (math.prod(a.shape[:-1]), a.shape[-1]))
    return p.reshape(p.matmul(rows, b), (*a.shape[:-1], b.shape[-1]))


def dot(a: Any, b: Any, out: Any = None) -> Any:
    """Return NumPy's dot: the sum over the last axis of a and the last but one of b."""
    refuse("dot", out=out)
    a, b = operands("dot", a, b)
    if not a.shape or not b.shape:
        return np.multiply(a, b)
    if len(b.shape) <= 2:
        if a.shape[-1] != b.shape[max(len(b.shape) - 2, 0)]:
            raise _mismatch("dot", a, b, -1, -2 if len(b.shape) > 1 else 0)
        return matmul(a, b)
    return tensordot(a, b, ((-1,), (-2,)))


def inner(a: Any, b: Any, /) -> Any:
    """Return the sum over the last axes of both."""
    a, b = operands("inner", a, b)
    if not a.shape or not b.shape:
        return np.multiply(a, b)
    if a.shape[-1] != b.shape[-1]:
        raise _mismatch("inner", a, b, -1, -1)
    return tensordot(a, b, ((-1,), (-1,)))


def outer(a: Any, b: Any, out: Any = None) -> Any:
    """Return the products of each element of a with each of b."""
    refuse("outer", out=out)
    a, b = operands("outer", a, b)
    return np.multiply(p.reshape(a, (p.size(a), 1)), p.reshape(b, (1, p.size(b))))


def vdot(a: Any, b: Any, /) -> Any:
    """Return the sum of the products of all elements."""
    a, b = operands("vdot", a, b)
    if p.size(a) != p.size(b):
        raise ValueError(f"vdot: sizes {p.size(a)} and {p.size(b)} differ")
    return matmul(p.reshape(a, (p.size(a),)), p.reshape(b, (p.size(b),)))


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Return the sums of the products along an axis."""
    a, b = operands("vecdot", x1, x2)
    return np.sum(np.multiply(np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1)), axis=-1)


def _summed_axes(axes: Any, a: Any, b: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes of a and of b over which tensordot sums, in pairs."""
    if np.ndim(axes) == 0:
        n = int(axes)
        of_a: Any = tuple(range(len(a.shape) - n, len(a.shape)))
        of_b: Any = tuple(range(n))
    else:
        of_a, of_b = axes
    of_a = normalize_axis_tuple(of_a, len(a.shape))
    of_b = normalize_axis_tuple(of_b, len(b.shape))
    if [a.shape[i] for i in of_a] != [b.shape[j] for j in of_b]:
        raise ValueError(f"tensordot: shapes {a.shape} and {b.shape} do not fit for axes={axes}")
    return of_a, of_b


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Return the sum of products over pairs of axes."""
    a, b = operands("tensordot", a, b)
    of_a, of_b = _summed_axes(axes, a, b)
    kept_a = [i for i in range(len(a.shape)) if i not in of_a]
    kept_b = [j for j in range(len(b.shape)) if j not in of_b]
    left, right = p.transpose(a, [*kept_a, *of_a]), p.transpose(b, [*of_b, *kept_b])
    shape = tuple(a.shape[i] for i in kept_a) + tuple(b.shape[j] for j in kept_b)
    k = math.prod(a.shape[i] for i in of_a)
    rows = p.reshape(left, (math.prod(left.shape[: len(kept_a)]), k))
    columns = p.reshape(right, (k, math.prod(right.shape[len(of_b) :])))
    return p.reshape(p.matmul(rows, columns), shape)
