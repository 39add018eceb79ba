"""NumPy's functions for diagonals and triangles of traced values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import NDArray

from gdcore.autodiff import _primitives as p
from gdcore.autodiff._operands import lift, refuse
from gdcore.autodiff._reductions import sum_

__all__ = ["diag", "diagflat", "diagonal", "trace", "tril", "triu"]


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return x[..., i, i + offset] of two axes, as the last axis: every (n + 1)th of n columns."""
    x = lift(a)
    ndim = len(x.shape)
    if ndim < 2:
        raise ValueError("diag requires an array of at least two dimensions")
    i, j = normalize_axis_index(axis1, ndim), normalize_axis_index(axis2, ndim)
    if i == j:
        raise ValueError("axis1 and axis2 cannot be the same")
    x = p.transpose(x, [k for k in range(ndim) if k not in (i, j)] + [i, j])
    *ahead, rows, columns = x.shape
    start = offset if offset >= 0 else -offset * columns
    count = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    x = p.reshape(x, (*ahead, rows * columns))
    starts, steps = [0] * len(ahead), [1] * len(ahead)
    starts, steps = [*starts, start if count else 0], [*steps, columns + 1]
    return p.window(x, starts, steps, (*ahead, count))


def diag(v: Any, k: int = 0) -> Any:
    """Return the diagonal of a matrix, or the matrix with a diagonal."""
    x = lift(v)
    if len(x.shape) == 2:
        return diagonal(x, k)
    if len(x.shape) != 1:
        raise ValueError("Input must be 1- or 2-d.")
    n = x.shape[0] + abs(k)
    start = k if k >= 0 else -k * n
    return p.reshape(p.embed(x, (start if x.shape[0] else 0,), (n + 1,), (n * n,)), (n, n))


def diagflat(v: Any, k: int = 0) -> Any:
    """Return the matrix with the flattened value as a diagonal."""
    return diag(np.ravel(v), k)


def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    """Return the sum of a diagonal."""
    refuse("trace", dtype=dtype, out=out)
    return sum_(diagonal(a, offset, axis1, axis2), -1)


def _kept(x: Any, mask: Any) -> Any:
    """Return x where the mask of its last two axes holds, else 0."""
    held = p.held_in(lift(mask, x), x.held)
    return p.mapped("where", (held, x, p.filled(x, 0.0, ())), x.dtype)


def _matrix(m: Any) -> Any:
    x = lift(m)
    return p.expand(x, x.shape * 2) if len(x.shape) == 1 else x


def _triangle(x: Any, k: int) -> NDArray[np.bool_]:
    """Return where matrices are on or below the k-th diagonal."""
    rows, columns = x.shape[-2:]
    return np.tri(rows, columns, k, dtype=np.bool_)


def tril(m: Any, k: int = 0) -> Any:
    """Return x with zeros above the k-th diagonal."""
    x = _matrix(m)
    return _kept(x, _triangle(x, k))


def triu(m: Any, k: int = 0) -> Any:
    """Return x with zeros below the k-th diagonal."""
    x = _matrix(m)
    return _kept(x, ~_triangle(x, k - 1))
