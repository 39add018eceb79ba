"""The derivatives of views, moves, reductions and products, see `_rules`.

Equal largest (smallest) elements share the derivative of max (min) equally. The derivative of prod
is the product of the other elements, without division: zeros are no matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gdcore.autodiff._primitives import (
    concatenate,
    embed,
    expand,
    filled,
    gather,
    mapped,
    matmul,
    reduced,
    reshape,
    scatter,
    transpose,
    unexpand,
    window,
)

Params = tuple[float, ...]


def _ints(params: Params) -> list[int]:
    return [int(p) for p in params]


def _halves(params: Params) -> tuple[list[int], list[int]]:
    """Return the starts and the steps of a window."""
    numbers = _ints(params)
    return numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]


# ---- Views and moves: linear, and what undoes one is another -------------------------------------


def _reshape_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Any) -> list[Any]:
    return [reshape(ct, x[0].shape)]


def _reshape_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    return reshape(t[0], out.shape)


def _transpose_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Any) -> list[Any]:
    axes = _ints(params)
    return [transpose(ct, sorted(range(len(axes)), key=axes.__getitem__))]


def _transpose_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    return transpose(t[0], _ints(params))


def _slice_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Any) -> list[Any]:
    return [embed(ct, *_halves(params), x[0].shape)]


def _slice_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    return window(t[0], *_halves(params), out.shape)


def _embed_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Any) -> list[Any]:
    return [window(ct, *_halves(params), x[0].shape)]


def _embed_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    return embed(t[0], *_halves(params), out.shape)


def _expand_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Any) -> list[Any]:
    return [unexpand(ct, x[0].shape)]


def _expand_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    return expand(t[0], out.shape)


def _concatenate_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Any) -> list[Any]:
    axis, steps = int(params[0]), [1] * len(out.shape)
    parts, start = [], 0
    for part, wanted in zip(x, needed, strict=True):
        starts = [start if i == axis else 0 for i in range(len(steps))]
        parts.append(window(ct, starts, steps, part.shape) if wanted else None)
        start += part.shape[axis]
    return parts


def _concatenate_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    parts = [filled(part, 0.0) if s is None else s for s, part in zip(t, x, strict=True)]
    return concatenate(parts, int(params[0]))


def _gather_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Any) -> list[Any]:
    axis = int(params[0])
    return [scatter(ct, x[1], axis, x[0].shape[axis]), None]


def _gather_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    return gather(t[0], x[1], int(params[0]))


def _scatter_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Any) -> list[Any]:
    return [gather(ct, x[1], int(params[0])), None]


def _scatter_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    axis = int(params[0])
    return scatter(t[0], x[1], axis, out.shape[axis])


# ---- Reductions ----------------------------------------------------------------------------------


def _spread(y: Any, x: Any, params: Params) -> Any:
    """Return a reduction of x repeated over the axes that it does not have."""
    if not y.shape:
        return expand(y, x.shape)
    axes = set(_ints(params))
    return expand(reshape(y, tuple(1 if i in axes else n for i, n in enumerate(x.shape))), x.shape)


def _sum_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Any) -> list[Any]:
    return [_spread(ct, x[0], params)]


def _sum_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    return reduced("sum", t[0], _ints(params))


def _shares(out: Any, x: Any, params: Params) -> Any:
    """Return 1 / n where x is one of n largest (or smallest), else 0."""
    found = mapped("equal", (x, _spread(out, x, params)), x.dtype)
    return found / _spread(reduced("sum", found, _ints(params)), x, params)


def _extreme_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Any) -> list[Any]:
    return [_spread(ct, x[0], params) * _shares(out, x[0], params)]


def _extreme_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    return reduced("sum", t[0] * _shares(out, x[0], params), _ints(params))


def _others(x: Any) -> Any:
    """Return, for a matrix, the product of the other elements of each row: a tree of products.

    Element i of the first half goes with element i of the second; what the two have in common is
    the product of all other pairs.
    """
    rows, n = x.shape
    if n <= 1:
        return filled(x, 1.0)
    half, rest = (n + 1) // 2, n // 2
    first = window(x, (0, 0), (1, 1), (rows, half))
    second = window(x, (0, half), (1, 1), (rows, rest))
    if rest < half:
        second = concatenate([second, filled(x, 1.0, (rows, 1))], 1)
    above = _others(first * second)
    return concatenate([above * second, window(above * first, (0, 0), (1, 1), (rows, rest))], 1)


def _product_of_others(x: Any, params: Params) -> Any:
    """Return what x's product over axes is but for each element itself."""
    axes = _ints(params)
    order = [i for i in range(len(x.shape)) if i not in axes] + axes
    moved = transpose(x, order)
    length = 1
    for axis in axes:
        length *= x.shape[axis]
    kept = 1
    for axis in order[: len(order) - len(axes)]:
        kept *= x.shape[axis]
    others = reshape(_others(reshape(moved, (kept, length))), moved.shape)
    return transpose(others, sorted(range(len(order)), key=order.__getitem__))


def _prod_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Any) -> list[Any]:
    return [_spread(ct, x[0], params) * _product_of_others(x[0], params)]


def _prod_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    return reduced("sum", t[0] * _product_of_others(x[0], params), _ints(params))


# ---- The matrix product --------------------------------------------------------------------------


def _turned(x: Any) -> Any:
    """Return x with its last two axes exchanged."""
    n = len(x.shape)
    return transpose(x, [*range(n - 2), n - 1, n - 2])


def _matmul_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Sequence[bool]) -> list[Any]:
    a, b = x
    return [
        matmul(ct, _turned(b)) if needed[0] else None,
        matmul(_turned(a), ct) if needed[1] else None,
    ]


def _matmul_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    if t[1] is None:
        return matmul(t[0], x[1])
    if t[0] is None:
        return matmul(x[0], t[1])
    return matmul(t[0], x[1]) + matmul(x[0], t[1])


VJP: dict[str, Any] = {
    "reshape": _reshape_vjp,
    "transpose": _transpose_vjp,
    "slice": _slice_vjp,
    "expand": _expand_vjp,
    "embed": _embed_vjp,
    "concatenate": _concatenate_vjp,
    "gather": _gather_vjp,
    "scatter": _scatter_vjp,
    "sum": _sum_vjp,
    "prod": _prod_vjp,
    "max": _extreme_vjp,
    "min": _extreme_vjp,
    "matmul": _matmul_vjp,
}
JVP: dict[str, Any] = {
    "reshape": _reshape_jvp,
    "transpose": _transpose_jvp,
    "slice": _slice_jvp,
    "expand": _expand_jvp,
    "embed": _embed_jvp,
    "concatenate": _concatenate_jvp,
    "gather": _gather_jvp,
    "scatter": _scatter_jvp,
    "sum": _sum_jvp,
    "prod": _prod_jvp,
    "max": _extreme_jvp,
    "min": _extreme_jvp,
    "matmul": _matmul_jvp,
}
