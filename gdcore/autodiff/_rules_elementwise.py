"""The partial derivatives of the elementwise instructions, see `_rules`.

At kinks: |x| has 0 at 0, `sign` and the roundings 0 everywhere; where the two operands of maximum
or minimum are equal each has half; hypot and arctan2 have 0 at (0, 0). x**0 has derivative 0 at
x = 0 too, x**y has derivative 0 with respect to y where x = 0 and y > 0. What calculus calls
infinite is: sqrt and cbrt at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from gdcore.autodiff._execute import OPS
from gdcore.autodiff._primitives import filled
from gdcore.autodiff._tape import F32, F64
from gdcore.autodiff._ufuncs import integer_power

Partial = Callable[..., Any]


def _recorded(op: str) -> Partial:
    """Return the function that records an elementwise instruction on operands of one shape."""
    number = OPS[op]

    def record(*operands: Any) -> Any:
        x = operands[-1]
        ids = tuple([x.id for x in operands])
        return x.tape.push(number, 4 if x.dtype is F32 else 8, x.shape, x.dtype, ids)

    return record


sign, square, sqrt, exp, log = map(_recorded, ("sign", "square", "sqrt", "exp", "log"))
sin, cos, sinh, cosh = map(_recorded, ("sin", "cos", "sinh", "cosh"))
less, equal, where = map(_recorded, ("less", "equal", "where"))
power, hypot = map(_recorded, ("power", "hypot"))

LN2, LN10, ERF = math.log(2), math.log(10), 2 / math.sqrt(math.pi)


def _safe(x: Any) -> Any:
    """Return x with 1 in place of 0."""
    return where(equal(x, filled(x, 0.0)), filled(x, 1.0), x)


def _other_type(t: Any, *_: Any) -> Any:
    """Return t in the other real type: from the result's to the operand's, and back."""
    dtype = F64 if t.dtype is F32 else F32
    return t.tape.emit("cast", t.shape, dtype, (t,))


def _integer_power(t: Any, y: Any, x: Any, n: float) -> Any:
    return None if n == 0 else t * (n * integer_power(x, int(n) - 1))


def _power_base(t: Any, y: Any, a: Any, b: Any) -> Any:
    zero, one = filled(a, 0.0), filled(a, 1.0)
    both = equal(a, zero) * equal(b, zero)
    return t * (b * power(a, where(both, one, b) - one))


def _power_exponent(t: Any, y: Any, a: Any, b: Any) -> Any:
    zero, one = filled(a, 0.0), filled(a, 1.0)
    flat = equal(a, zero) * less(zero, b)
    return t * (y * log(where(flat, one, a)))


def _share_of_first(t: Any, y: Any, a: Any, b: Any) -> Any:
    first = equal(a, y)
    return t * (first / (first + equal(b, y)))


def _share_of_second(t: Any, y: Any, a: Any, b: Any) -> Any:
    return _share_of_first(t, y, b, a)


def _hypot(t: Any, y: Any, a: Any, b: Any) -> Any:
    return t * (a / _safe(y))


def _arctan2_first(t: Any, y: Any, a: Any, b: Any) -> Any:
    radius = _safe(hypot(a, b))
    return t * (b / radius) / radius


def _arctan2_second(t: Any, y: Any, a: Any, b: Any) -> Any:
    radius = _safe(hypot(a, b))
    return -(t * (a / radius) / radius)


def _logaddexp(t: Any, y: Any, a: Any, b: Any) -> Any:
    """Return t e^(a - y), where infinities do not become NaN."""
    return t * exp(where(equal(a, y), filled(a, 0.0), a - y))


def _where_true(t: Any, y: Any, c: Any, a: Any, b: Any) -> Any:
    return where(c, t, filled(t, 0.0))


def _where_false(t: Any, y: Any, c: Any, a: Any, b: Any) -> Any:
    return where(c, filled(t, 0.0), t)


# By instruction: for each operand t times the partial derivative, from t, the result y, the
# operands and the params; None: 0 everywhere.
PARTIALS: dict[str, Sequence[Partial | None]] = {
    "cast": (_other_type,),
    "negative": (lambda t, y, x: -t,),
    "absolute": (lambda t, y, x: t * sign(x),),
    "sign": (None,),
    "square": (lambda t, y, x: t * (x + x),),
    "reciprocal": (lambda t, y, x: -(t * square(y)),),
    "integer_power": (_integer_power,),
    "sqrt": (lambda t, y, x: t / (y + y),),
    "cbrt": (lambda t, y, x: t / (3.0 * square(y)),),
    "exp": (lambda t, y, x: t * y,),
    "exp2": (lambda t, y, x: t * (LN2 * y),),
    "expm1": (lambda t, y, x: t * exp(x),),
    "log": (lambda t, y, x: t / x,),
    "log2": (lambda t, y, x: t / (LN2 * x),),
    "log10": (lambda t, y, x: t / (LN10 * x),),
    "log1p": (lambda t, y, x: t / (1.0 + x),),
    "sin": (lambda t, y, x: t * cos(x),),
    "cos": (lambda t, y, x: -(t * sin(x)),),
    "tan": (lambda t, y, x: t * (1.0 + square(y)),),
    "arcsin": (lambda t, y, x: t / sqrt((1.0 - x) * (1.0 + x)),),
    "arccos": (lambda t, y, x: -(t / sqrt((1.0 - x) * (1.0 + x))),),
    "arctan": (lambda t, y, x: t / (1.0 + square(x)),),
    "sinh": (lambda t, y, x: t * cosh(x),),
    "cosh": (lambda t, y, x: t * sinh(x),),
    "tanh": (lambda t, y, x: t * (1.0 - square(y)),),
    "arcsinh": (lambda t, y, x: t / sqrt(1.0 + square(x)),),
    "arccosh": (lambda t, y, x: t / sqrt((x - 1.0) * (x + 1.0)),),
    "arctanh": (lambda t, y, x: t / ((1.0 - x) * (1.0 + x)),),
    "erf": (lambda t, y, x: t * (ERF * exp(-square(x))),),
    "sigmoid": (lambda t, y, x: t * (y * (1.0 - y)),),
    "floor": (None,),
    "ceil": (None,),
    "trunc": (None,),
    "rint": (None,),
    "add": (lambda t, y, a, b: t, lambda t, y, a, b: t),
    "subtract": (lambda t, y, a, b: t, lambda t, y, a, b: -t),
    "multiply": (lambda t, y, a, b: t * b, lambda t, y, a, b: t * a),
    "divide": (lambda t, y, a, b: t / b, lambda t, y, a, b: -(t / b * y)),
    "power": (_power_base, _power_exponent),
    "maximum": (_share_of_first, _share_of_second),
    "minimum": (_share_of_first, _share_of_second),
    "arctan2": (_arctan2_first, _arctan2_second),
    "hypot": (_hypot, lambda t, y, a, b: _hypot(t, y, b, a)),
    "logaddexp": (_logaddexp, lambda t, y, a, b: _logaddexp(t, y, b, a)),
    "less": (None, None),
    "less_equal": (None, None),
    "equal": (None, None),
    "not_equal": (None, None),
    "where": (None, _where_true, _where_false),
}
