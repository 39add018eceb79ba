"""np.linalg of traced values: norms, powers and products; solve, inv, det, slogdet by NumPy.

The gradient of a norm at 0 is 0. What NumPy computes is traced only, see `_foreign`; derivatives of
det and slogdet need the inverse, so that a singular matrix is NumPy's LinAlgError there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from gdcore.autodiff import _matrices as matrices
from gdcore.autodiff import _primitives as p
from gdcore.autodiff import _products as products
from gdcore.autodiff._errors import untraceable
from gdcore.autodiff._foreign import foreign
from gdcore.autodiff._operands import as_real, lift, refuse
from gdcore.autodiff._products import matmul
from gdcore.autodiff._reductions import max_, min_, sum_
from gdcore.autodiff._shapes import matrix_transpose
from gdcore.autodiff._ufuncs import promoted

__all__ = ["TABLE", "matmul", "norm"]

# ---- Norms ---------------------------------------------------------------------------------------


def _away_from_zero(root: Callable[[Any], Any], x: Any) -> Any:
    """Return root(x), and 0 with derivative 0 where x is 0."""
    zero = np.equal(x, 0)
    return np.where(zero, 0.0, root(np.where(zero, 1.0, x)))


def _euclidean(x: Any, axes: Any, keepdims: Any) -> Any:
    return _away_from_zero(np.sqrt, sum_(np.square(x), axes, keepdims=keepdims))


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: Any = False, ord: Any = 2) -> Any:
    """Return a norm over axes, all of them for None."""
    x = as_real(lift(x))
    if ord is None or ord == 2:
        return _euclidean(x, axis, keepdims)
    size = np.abs(x)
    if ord == np.inf:
        return max_(size, axis, keepdims=keepdims)
    if ord == -np.inf:
        return min_(size, axis, keepdims=keepdims)
    if ord == 0:
        return sum_(np.not_equal(x, 0).astype(x.dtype), axis, keepdims=keepdims)
    if ord == 1:
        return sum_(size, axis, keepdims=keepdims)
    if not isinstance(ord, (int, float, np.number)):
        raise ValueError(f"Invalid norm order {ord!r} for vectors")
    power = float(ord)
    total = sum_(size**power, axis, keepdims=keepdims)
    return _away_from_zero(lambda s: s ** (1 / power), total)


def matrix_norm(x: Any, /, *, keepdims: Any = False, ord: Any = "fro") -> Any:
    """Return a norm of the matrices of the last two axes."""
    return norm(x, ord, (-2, -1), keepdims)


def _of_matrix(x: Any, ord: Any, axes: Sequence[int], keepdims: Any) -> Any:
    """Return a norm of matrices that lie in two axes."""
    if ord in (2, -2, "nuc"):
        raise untraceable(
            f"np.linalg.norm(..., ord={ord!r}) of matrices needs singular values",
            "The Frobenius norm (ord=None) and ord 1, -1, inf, -inf are followed",
        )
    if ord in (1, -1, np.inf, -np.inf):
        row, column = axes if abs(ord) == 1 else axes[::-1]
        sums = sum_(np.abs(x), row, keepdims=True)
        y = (max_ if ord > 0 else min_)(sums, column, keepdims=True)
        return y if keepdims else np.squeeze(y, axis=tuple(axes))
    if ord not in ("fro", "f"):
        raise ValueError("Invalid norm order for matrices.")
    return _euclidean(x, axes, keepdims)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Any:
    """Return a norm of a vector or a matrix, or of those that lie in axes."""
    x = as_real(lift(x))
    ndim = len(x.shape)
    if ord is None and (axis is None or np.ndim(axis) == 0 or len(axis) <= 2):
        return _euclidean(x, axis, keepdims)
    if axis is None and ndim not in (1, 2):
        raise ValueError("Improper number of dimensions to norm.")
    axes = normalize_axis_tuple(range(ndim) if axis is None else axis, ndim)
    if len(axes) == 2:
        return _of_matrix(x, ord, axes, keepdims)
    if len(axes) != 1:
        raise ValueError("Improper number of dimensions to norm.")
    return vector_norm(x, axis=axes, keepdims=keepdims, ord=ord)


# ---- Powers of a matrix --------------------------------------------------------------------------


def _square(name: str, a: Any) -> Any:
    """Return matrices as real values; what is not square is NumPy's error."""
    x = as_real(lift(a))
    if len(x.shape) < 2 or x.shape[-1] != x.shape[-2]:
        raise np.linalg.LinAlgError(f"{name}: the last two axes of shape {x.shape} are not square")
    return x


def matrix_power(a: Any, n: int) -> Any:
    """Return a matrix times itself, n times; the inverse's power for n < 0."""
    x = _square("matrix_power", a)
    if n < 0:
        return matrix_power(inv(x), -n)
    result = np.broadcast_to(np.eye(x.shape[-1], dtype=x.dtype), x.shape) if n == 0 else None
    while n:
        if n % 2:
            result = x if result is None else matmul(result, x)
        n //= 2
        x = matmul(x, x) if n else x
    return result


# ---- Computed by NumPy ---------------------------------------------------------------------------


def _deep(x: Any) -> Any:
    """Return x with two axes of length 1 more, beside matrices."""
    return p.reshape(x, (*x.shape, 1, 1))


def inv(a: Any) -> Any:
    """Return the inverse."""
    x = _square("inv", a)

    def vjp(ct: Any, y: Any) -> list[Any]:
        turned = matrix_transpose(y)
        return [-matmul(turned, matmul(ct, turned))]

    def jvp(tangents: Sequence[Any], y: Any) -> Any:
        return -matmul(y, matmul(tangents[0], y))

    return foreign("linalg.inv", (x,), np.linalg.inv, vjp, jvp)


def solve(a: Any, b: Any) -> Any:
    """Return x with a x = b."""
    a, b = promoted(a, b)
    a, b = _square("solve", a), as_real(b)
    vector = len(b.shape) == 1
    right = p.reshape(b, (*b.shape, 1)) if vector else b
    if len(b.shape) == 0 or right.shape[-2] != a.shape[-1]:
        raise ValueError(f"solve: a has shape {a.shape}, b {b.shape}, which do not fit")
    ahead = p.common_shape([a.shape[:-2], right.shape[:-2]])
    left, right = p.expand(a, ahead + a.shape[-2:]), p.expand(right, ahead + right.shape[-2:])
    y = _solved(left, right)
    return p.reshape(y, y.shape[:-1]) if vector else y


def _solved(a: Any, b: Any) -> Any:
    """Return solve(a, b) of matrices with the same leading axes."""

    def vjp(ct: Any, y: Any) -> list[Any]:
        db = _solved(matrix_transpose(a), ct)
        return [-matmul(db, matrix_transpose(y)), db]

    def jvp(tangents: Sequence[Any], y: Any) -> Any:
        da, db = tangents
        if da is None:
            return _solved(a, db)
        product = matmul(da, y)
        return _solved(a, -product if db is None else db - product)

    return foreign("linalg.solve", (a, b), np.linalg.solve, vjp, jvp)


def det(a: Any) -> Any:
    """Return the determinant."""
    x = _square("det", a)

    def vjp(ct: Any, y: Any) -> list[Any]:
        return [_deep(ct * y) * matrix_transpose(inv(x))]

    def jvp(tangents: Sequence[Any], y: Any) -> Any:
        return y * _trace_of_product(inv(x), tangents[0])

    return foreign("linalg.det", (x,), np.linalg.det, vjp, jvp)


def _trace_of_product(a: Any, b: Any) -> Any:
    return sum_(a * matrix_transpose(b), (-2, -1))


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the absolute value of a determinant."""

    sign: Any
    logabsdet: Any


def slogdet(a: Any) -> SlogdetResult:
    """Return the sign of the determinant and the logarithm of its absolute value."""
    x = _square("slogdet", a)

    def vjp(ct: Any, y: Any) -> list[Any]:
        return [_deep(ct) * matrix_transpose(inv(x))]

    def jvp(tangents: Sequence[Any], y: Any) -> Any:
        return _trace_of_product(inv(x), tangents[0])

    log = foreign("linalg.slogdet", (x,), lambda array: np.linalg.slogdet(array)[1], vjp, jvp)
    sign = np.linalg.slogdet(x.tape.evaluate([x])[0])[0]
    return SlogdetResult(x.tape.input(np.array(sign, x.dtype)), log)


# ---- The table -----------------------------------------------------------------------------------


def _diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """Return the diagonals of the last two axes."""
    return matrices.diagonal(x, offset, -2, -1)


def _trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """Return the sums of the diagonals of the last two axes."""
    refuse("linalg.trace", dtype=dtype)
    return sum_(_diagonal(x, offset=offset), -1)


def _tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    return products.tensordot(x1, x2, axes)


TABLE: dict[Any, Callable[..., Any]] = {
    np.linalg.norm: norm,
    np.linalg.vector_norm: vector_norm,
    np.linalg.matrix_norm: matrix_norm,
    np.linalg.matrix_power: matrix_power,
    np.linalg.inv: inv,
    np.linalg.solve: solve,
    np.linalg.det: det,
    np.linalg.slogdet: slogdet,
    np.linalg.matmul: matmul,
    np.linalg.outer: products.outer,
    np.linalg.vecdot: products.vecdot,
    np.linalg.tensordot: _tensordot,
    np.linalg.diagonal: _diagonal,
    np.linalg.trace: _trace,
    np.linalg.matrix_transpose: matrix_transpose,
}
