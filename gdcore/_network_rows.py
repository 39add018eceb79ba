"""Whether a function of rows may be run in chunks of rows, read off its instructions.

A value is per-row, with its rows along one axis, or whole: it knows nothing of rows. The rules
follow both through the instructions, which were recorded at a number of rows that divides no other
axis; what they do not know counts as mixing rows. Along the axis of rows each row may have a block
of several entries, as after (n, a, b) has been reshaped to (n a, b).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from typing import Any

import numpy as np

from gdcore import _core
from gdcore.autodiff._tape import Instruction

__all__ = ["is_alike", "is_rowwise", "row_counts"]

_NAMES = [row["name"] for row in _core.INSTRUCTIONS]
_KINDS = [row["kind"] for row in _core.INSTRUCTIONS]
_FIRST_COUNT = 1009  # rows of a first trial: a prime beyond most widths, and of no cost

Shape = tuple[int, ...]


class _MixedError(Exception):
    """An instruction puts rows together, or may."""


def row_counts(lengths: Set[int]) -> tuple[int, int]:
    """Return two primes that divide none of these lengths, as numbers of rows for trials."""
    found: list[int] = []
    n = _FIRST_COUNT
    while len(found) < 2:
        if all(n % k for k in range(3, math.isqrt(n) + 1, 2)) and all(m % n for m in lengths if m):
            found.append(n)
        n += 2
    return found[0], found[1]


# ---- One instruction: the axis of rows of its result, from those of its operands -----------------

_Shapes = Sequence[Shape]
_Axes = Sequence[int | None]
_Params = tuple[float, ...]


def _only(axes: _Axes) -> int:
    """Return the axis of rows that all operands have."""
    first = axes[0]
    if first is None or any(axis != first for axis in axes):
        raise _MixedError
    return first


def _aligned(shape: Shape, params: _Params, shapes: _Shapes, axes: _Axes, rows: int) -> int:
    """Follow what goes element by element: operands have the shape of the result."""
    return _only(axes)


def _reshape(shape: Shape, params: _Params, shapes: _Shapes, axes: _Axes, rows: int) -> int:
    """Find the axis with as many elements ahead: in C order rows stay blocks there."""
    ahead = math.prod(shapes[0][: _only(axes)])
    for axis, n in enumerate(shape):
        if n and n % rows == 0 and math.prod(shape[:axis]) == ahead:
            return axis
    raise _MixedError


def _transpose(shape: Shape, params: _Params, shapes: _Shapes, axes: _Axes, rows: int) -> int:
    return params.index(_only(axes))


def _expand(shape: Shape, params: _Params, shapes: _Shapes, axes: _Axes, rows: int) -> int:
    return _only(axes) + len(shape) - len(shapes[0])


def _window(shape: Shape, params: _Params, shapes: _Shapes, axes: _Axes, rows: int) -> int:
    """Follow a slice, or what undoes one: all rows in their order."""
    axis = _only(axes)
    if params[axis] != 0 or params[len(shape) + axis] != 1 or shape[axis] != shapes[0][axis]:
        raise _MixedError
    return axis


def _beside(shape: Shape, params: _Params, shapes: _Shapes, axes: _Axes, rows: int) -> int:
    """Follow what joins along another axis."""
    axis = _only(axes)
    if params[0] == axis:
        raise _MixedError
    return axis


def _picked(shape: Shape, params: _Params, shapes: _Shapes, axes: _Axes, rows: int) -> int:
    """Follow gather and scatter along another axis, at positions that know nothing of rows."""
    if axes[1] is not None:
        raise _MixedError
    return _beside(shape, params, shapes, axes[:1], rows)


def _reduce(shape: Shape, params: _Params, shapes: _Shapes, axes: _Axes, rows: int) -> int:
    axis = _only(axes)
    if axis in params:
        raise _MixedError
    return axis - sum(n < axis for n in params)


def _activation(shape: Shape, params: _Params, shapes: _Shapes, axes: _Axes, rows: int) -> int:
    axis = _only(axes)
    if _core.ACTIVATIONS[int(params[0])]["kind"] == "rowwise" and axis == len(shape) - 1:
        raise _MixedError
    return axis


def _loss(shape: Shape, params: _Params, shapes: _Shapes, axes: _Axes, rows: int) -> int:
    """Follow losses of rows or elements: operands may differ by axes of length 1."""
    axis = _only(axes)
    if axis != 0 or len(shapes[1]) < 2:
        raise _MixedError
    return axis


def _matmul(shape: Shape, params: _Params, shapes: _Shapes, axes: _Axes, rows: int) -> int:
    """Follow rows of the first operand, columns of the second, or a leading axis of both."""
    first, second, n = axes[0], axes[1], len(shape)
    if first == n - 2 and second is None:
        return n - 2
    if second == n - 1 and first is None:
        return n - 1
    if first is not None and first < n - 2 and first == second:
        return first
    raise _MixedError


_Rule = Callable[[Shape, _Params, _Shapes, _Axes, int], int]
_RULES: dict[str, _Rule] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "expand": _expand,
    "slice": _window,
    "embed": _window,
    "concatenate": _beside,
    "gather": _picked,
    "scatter": _picked,
    "activation": _activation,
    "activation_grad": _activation,
    "loss": _loss,
    "loss_grad": _loss,
    "matmul": _matmul,
}
_RULES_BY_KIND: dict[str, _Rule] = {"map": _aligned, "reduce": _reduce}


def _axis_of(op: int, shape: Shape, params: Any, shapes: _Shapes, axes: _Axes, rows: int) -> Any:
    """Return the axis of rows of a result, None for a whole one."""
    name = _NAMES[op]
    long = [axis for axis, n in enumerate(shape) if n and n % rows == 0]
    if any(axis is not None for axis in axes):
        rule = _RULES.get(name) or _RULES_BY_KIND[_KINDS[op]]
        axis: int | None = rule(shape, params, shapes, axes, rows)
    else:  # the same for all rows
        axis = long[0] if name == "expand" and long else None
    if long != ([] if axis is None else [axis]):
        raise _MixedError
    return axis


# ---- Whole functions -----------------------------------------------------------------------------


def _needed(instructions: Sequence[Instruction], result: int) -> list[int]:
    """Return, in order, the instructions that a result is made of."""
    found, todo = {result}, [result]
    while todo:
        for i in instructions[todo.pop()][3]:
            if i not in found:
                found.add(i)
                todo.append(i)
    return sorted(found)


def is_rowwise(
    instructions: Sequence[Instruction], given: Set[int], result: int, rows: int
) -> bool:
    """Whether row i of a result depends on row i of the inputs alone.

    Parameters
    ----------
    instructions : sequence of tuple
        Of a tape. `rows` divides the length of no axis but that of rows, see `row_counts`.
    given : set of int
        The slots of the inputs whose axis 0 is the rows; all others are whole.
    result : int
        The number of the instruction in question; its axis 0 must be the rows.
    rows : int
        Number of rows.

    Returns
    -------
    bool
        False in case of doubt.
    """
    axes: dict[int, int | None] = {}
    for i in _needed(instructions, result):
        op, _, shape, operands, params = instructions[i]
        if _NAMES[op] == "input" and int(params[0]) in given:
            axes[i] = 0
            continue
        shapes = [instructions[j][2] for j in operands]
        try:
            axes[i] = _axis_of(op, shape, params, shapes, [axes[j] for j in operands], rows)
        except _MixedError:
            return False
    return axes[result] == 0 and instructions[result][2][0] == rows


def is_alike(
    first: Sequence[Instruction], second: Sequence[Instruction], rows: tuple[int, int]
) -> bool:
    """Whether two traces, with these numbers of rows, differ in that number alone.

    A function that divides by the number of rows, say, does different things at each.
    """
    return len(first) == len(second) and all(
        a[:2] == b[:2]
        and a[3] == b[3]
        and len(a[2]) == len(b[2])
        and all(_scaled(n, *rows) == m for n, m in zip(a[2], b[2], strict=True))
        and np.array_equal(a[4], b[4], equal_nan=True)
        for a, b in zip(first, second, strict=True)
    )


def _scaled(n: int, rows: int, others: int) -> int:
    """Return the length of an axis at another number of rows."""
    return n // rows * others if n % rows == 0 else n
