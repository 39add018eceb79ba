"""Functions that NumPy computes while the function is traced.

The operands are evaluated, and the result enters the tape as an input, with its derivatives beside
it in `tape.foreign`. These are written in traced operations, so that further derivatives come by
themselves. A compiled function cannot do this: its values are not known when it is traced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gdcore.autodiff import _primitives as p
from gdcore.autodiff._errors import untraceable
from gdcore.autodiff._operands import lift, refuse
from gdcore.autodiff._tape import I64, Foreign

__all__ = ["cumsum", "foreign"]


def foreign(
    name: str,
    operands: Sequence[Any],
    compute: Callable[..., Any],
    vjp: Callable[[Any, Any], Sequence[Any]],
    jvp: Callable[[Sequence[Any], Any], Any],
) -> Any:
    """Return the value of compute(*arrays), of the real type of the operands.

    ``vjp(ct, y)`` returns a cotangent (or None for 0) for each operand, ``jvp(tangents, y)`` the
    tangent for one tangent (or None for 0) of each operand; y is the result.
    """
    tape = operands[0].tape
    if tape.compiling:
        raise untraceable(
            f"np.{name} is computed by NumPy while the function is traced, and is not part of "
            "compiled functions",
            "Do without gd.compile: each call is traced anew then",
        )
    arrays = tape.evaluate(operands)
    with np.errstate(all="ignore"):
        y = tape.input(np.array(compute(*arrays), arrays[0].dtype))
    tape.shared.update([y.id, *[x.id for x in operands]])  # the rules hold on to these
    tape.foreign[y.id] = Foreign(operands, lambda ct: vjp(ct, y), lambda ts: jvp(ts, y))
    return y


def _backwards(x: Any, axis: int) -> Any:
    return np.flip(cumsum(np.flip(x, axis), axis), axis)


def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    """Return the sums of the elements up to each."""
    refuse("cumsum", dtype=dtype, out=out)
    x = lift(a)
    whole = x.dtype.kind in "bi"
    x = p.as_type(x, I64) if whole else x
    x, along = (np.ravel(x), 0) if axis is None else (x, axis)
    y = foreign(
        "cumsum",
        (x,),
        lambda array: np.cumsum(array, axis=along),
        lambda ct, y: [_backwards(ct, along)],
        lambda tangents, y: cumsum(tangents[0], along),
    )
    return p.as_type(y, I64) if whole else y
