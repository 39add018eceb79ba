"""The derivatives of the instructions, written with traced operations: vjp and jvp of each.

`VJP[name](ct, out, operands, params, needed)` returns one cotangent (or None for 0) per operand;
those whose `needed` is false may be None. `JVP[name](tangents, out, operands, params)` takes one
tangent (or None for 0) per operand, and returns the tangent of the result or None. Both record on
the tape of their arguments, which are values of the real types, whatever NumPy says of them (a mask
is 1.0 and 0.0), except for the int64 positions of gather and scatter. A cotangent has the shape and
type of its operand, a tangent those of the result.

Elementwise instructions have one list for both, `PARTIALS[name]`: for each operand a function
`f(t, out, *operands, *params)` that returns t times the partial derivative (t is a cotangent or a
tangent, of the shape of all), or None where the derivative is 0 everywhere.

The rules stand in `_rules_elementwise` (MAP), `_rules_arrays` (VIEW, MOVE, REDUCE, PRODUCT) and
`_rules_functions` (FUNCTION).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gdcore.autodiff import _rules_arrays, _rules_functions
from gdcore.autodiff._rules_elementwise import PARTIALS

__all__ = ["JVP", "PARTIALS", "VJP"]

Vjp = Callable[..., Sequence[Any]]
Jvp = Callable[..., Any]


def _vjp_of(partials: Sequence[Any]) -> Vjp:
    """Return the vjp of an elementwise instruction."""

    def vjp(ct: Any, out: Any, operands: Any, params: Any, needed: Any) -> list[Any]:
        return [
            f(ct, out, *operands, *params) if f is not None and wanted else None
            for f, wanted in zip(partials, needed, strict=True)
        ]

    return vjp


def _jvp_of(partials: Sequence[Any]) -> Jvp:
    """Return the jvp of an elementwise instruction."""

    def jvp(tangents: Any, out: Any, operands: Any, params: Any) -> Any:
        total = None
        for f, t in zip(partials, tangents, strict=True):
            if f is not None and t is not None:
                term = f(t, out, *operands, *params)
                total = term if total is None else total + term
        return total

    return jvp


VJP: dict[str, Vjp] = {name: _vjp_of(partials) for name, partials in PARTIALS.items()}
JVP: dict[str, Jvp] = {name: _jvp_of(partials) for name, partials in PARTIALS.items()}
VJP.update(_rules_arrays.VJP)
JVP.update(_rules_arrays.JVP)
VJP.update(_rules_functions.VJP)
JVP.update(_rules_functions.JVP)
