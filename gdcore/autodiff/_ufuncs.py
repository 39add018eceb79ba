"""NumPy's elementwise functions on traced values: which instructions they become.

`TABLE` has a function for each ufunc, of its operands alone. At least one operand is a traced
value; others are numbers, arrays and what NumPy makes arrays of. Types follow NumPy's promotion.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from gdcore import _core
from gdcore.autodiff._errors import untraceable, user_frame, user_stacklevel
from gdcore.autodiff._execute import OPS
from gdcore.autodiff._primitives import (
    as_type,
    common_shape,
    expand,
    filled,
    fresh,
    held_in,
    mapped,
)
from gdcore.autodiff._tape import BOOL, F32, F64, I64, Value

__all__ = ["TABLE", "as_value", "common_dtype", "first_value", "integer_power", "promoted"]

MOST = 64  # the largest exponent that is repeated products, see integer_power in csrc/ops.def


# ---- Operands ------------------------------------------------------------------------------------


def as_value(like: Any, x: Any, dtype: np.dtype[Any] | None = None) -> Any:
    """Return x on the tape of `like`, as `dtype` or its own type; numbers become constants."""
    tape = like.tape
    if isinstance(x, Value):
        if x.tape is not tape:
            raise untraceable(
                "A traced value of another call of value_and_grad or grad is used",
                "It was kept from a call that has ended; return what is needed with has_aux=True",
            )
        return x if dtype is None else as_type(x, dtype)
    if isinstance(x, (int, float, np.generic)):
        if dtype is None:
            dtype = common_dtype([np.asarray(x)])
        if isinstance(x, np.generic):
            tape.scalars.append(x)
        return tape.constant(float(x), dtype)
    if isinstance(x, np.ma.MaskedArray):
        raise untraceable("An operand is a masked array", "Write np.ma.filled(a, 0), or np.where")
    array = x if type(x) is np.ndarray else np.asarray(x)
    own = common_dtype([array])
    if dtype is None:
        dtype = own
    if own is F64 and like.dtype is F32:
        _warn_of_float64(tape, array)
    return as_type(tape.captured(array, dtype), dtype)


def _warn_of_float64(tape: Any, array: Any) -> None:
    """Warn once in a trace that an array makes float64 of what is computed in float32."""
    if tape.warned or not array.ndim:
        return
    tape.warned = True
    warnings.warn(
        f"{_variable(array)}, a float64 array of shape {array.shape}, meets float32 parameters: "
        "results are float64; use .astype(np.float32) once, outside of the function",
        UserWarning,
        stacklevel=user_stacklevel(),
    )


def _variable(array: Any) -> str:
    """Return the name that the user's function has for an array."""
    frame, _ = user_frame()
    if frame is not None:
        for names in (frame.f_locals, frame.f_globals):
            for name, value in names.items():
                if value is array:
                    return name
    return "An operand"


def common_dtype(operands: Sequence[Any]) -> np.dtype[Any]:
    """Return the type of a result by NumPy's promotion: Python numbers are weak."""
    return _promotion(tuple([_kind(x) for x in operands]))


def _kind(x: Any) -> Any:
    if isinstance(x, (Value, np.ndarray, np.generic)):
        return x.dtype
    return type(x) if isinstance(x, (int, float, complex)) else np.asarray(x).dtype


@functools.lru_cache(1024)
def _promotion(kinds: tuple[Any, ...]) -> np.dtype[Any]:
    for kind in kinds:
        if not isinstance(kind, type) and (kind.kind not in "biuf" or kind.itemsize in (2, 16)):
            if kind.kind in "iu":
                continue
            raise _refused(kind)
        if kind is complex:
            raise _refused(kind)
    weak = {int: 1, float: 1.0, bool: True}
    found = np.result_type(*[weak.get(kind, kind) for kind in kinds])
    if found.kind == "f":
        return F32 if found.itemsize == 4 else F64
    return BOOL if found.kind == "b" else I64


def _refused(kind: Any) -> TypeError:
    return untraceable(
        f"An operand is {getattr(kind, '__name__', kind)}",
        "Accepted are numbers and arrays of float32, float64, integers and booleans",
    )


def first_value(operands: Sequence[Any]) -> Any:
    """Return the first traced operand."""
    for x in operands:
        if isinstance(x, Value):
            return x
    raise TypeError("no operand is a traced value")


def promoted(*operands: Any) -> list[Any]:
    """Return operands as values of their common type."""
    like, dtype = first_value(operands), common_dtype(operands)
    return [as_value(like, x, dtype) for x in operands]


def _floats(*operands: Any) -> list[Any]:
    """Return operands as values of their common type, which is float64 for integers."""
    like, dtype = first_value(operands), common_dtype(operands)
    dtype = dtype if dtype is F32 else F64
    return [as_value(like, x, dtype) for x in operands]


# ---- One operand ---------------------------------------------------------------------------------

Function = Callable[..., Any]


def _unary(op: str) -> Function:
    """Return a function of real values; integers and booleans are float64."""
    number = OPS[op]

    def apply(x: Any) -> Any:
        dtype = x.dtype
        if dtype is F64:
            return x.tape.push(number, 8, x.shape, F64, (x.id,))
        if dtype is F32:
            return x.tape.push(number, 4, x.shape, F32, (x.id,))
        return apply(as_type(x, F64))

    return apply


def _unary_of_all(op: str, of_bool: str = "") -> Function:
    """Return a function that keeps the type; for booleans an instruction, or none: an error."""

    def apply(x: Any) -> Any:
        if x.dtype is BOOL and not of_bool:
            raise untraceable(f"np.{op} of booleans", "Write np.where or x.astype(float)")
        return x.tape.emit(op, x.shape, x.dtype, (x,), (), x.held)

    return apply


def _rounding(op: str) -> Function:
    """Return a rounding: integers are whole."""
    real = _unary(op)
    return lambda x: fresh(x) if x.dtype is I64 or x.dtype is BOOL else real(x)


def _scaled(factor: float) -> Function:
    return lambda x: _binary_multiply(x, factor)


def _is_infinite(x: Any) -> Any:
    return _compare("equal", absolute(x), math.inf)


def _is_finite(x: Any) -> Any:
    return _compare("less", absolute(x), math.inf)


def _is_nan(x: Any) -> Any:
    return _compare("not_equal", x, x)


def _not(x: Any) -> Any:
    return _compare("equal", x, 0)


def _is_negative(x: Any) -> Any:
    """Return x < 0, where -0.0 counts as negative."""
    (x,) = _floats(x)
    infinite = mapped("divide", (filled(x, 1.0), x), x.dtype)
    return _or(_compare("less", x, 0), _and(_compare("equal", x, 0), _compare("less", infinite, 0)))


def _reciprocal(x: Any) -> Any:
    if x.dtype is I64 or x.dtype is BOOL:
        raise untraceable("np.reciprocal of integers is integer division", "Write 1 / x")
    return x.tape.emit("reciprocal", x.shape, x.dtype, (x,))


def integer_power(x: Any, n: int) -> Any:
    """Return x**n, by the cheapest instruction."""
    if n == 0:
        return filled(x, 1.0)
    if n == 1:
        return fresh(x)
    if n == 2:
        return x.tape.emit("square", x.shape, x.dtype, (x,), (), x.held)
    if n == -1:
        return x.tape.emit("reciprocal", x.shape, x.dtype, (x,))
    if abs(n) <= MOST:
        return x.tape.emit("integer_power", x.shape, x.dtype, (x,), (float(n),), x.held)
    return mapped("power", (x, filled(x, float(n))), x.dtype)


absolute = _unary_of_all("absolute", "absolute")
negative = _unary_of_all("negative")


# ---- Two operands --------------------------------------------------------------------------------


def _binary(op: str, general: Function) -> Function:
    """Return an operation of two operands, with a short way where both are floats of one type.

    Two operands of one class are traced values both: at least one is.
    """
    number = OPS[op]

    def apply(a: Any, b: Any) -> Any:
        like = a if isinstance(a, Value) else b
        dtype = like.dtype
        if dtype is F64:
            held = 8
        elif dtype is F32:
            held = 4
        else:
            return general(a, b)
        if type(a) is type(b):
            if b.dtype is not dtype or a.tape is not b.tape:
                return general(a, b)
        elif like is a:
            if type(b) is float or type(b) is int:
                b = filled(a, b)
            elif type(b) is np.ndarray and b.dtype is dtype:
                b = a.tape.captured(b)
            else:
                return general(a, b)
        elif type(a) is float or type(a) is int:
            a = filled(b, a)
        elif type(a) is np.ndarray and a.dtype is dtype:
            a = b.tape.captured(a)
        else:
            return general(a, b)
        shape = a.shape
        if shape != b.shape:
            shape = common_shape((shape, b.shape))
            a, b = expand(a, shape), expand(b, shape)
        return like.tape.push(number, held, shape, dtype, (a.id, b.id))

    return apply


def _in_reals(op: str) -> Function:
    """Return an operation on real values."""

    def apply(a: Any, b: Any) -> Any:
        a, b = _floats(a, b)
        return mapped(op, (a, b), a.dtype)

    return _binary(op, apply)


def _in_any(op: str, of_bool: str) -> Function:
    """Return an operation that keeps integers; for booleans an instruction, or none: an error."""

    def apply(a: Any, b: Any) -> Any:
        a, b = promoted(a, b)
        if a.dtype is BOOL and not of_bool:
            raise untraceable(f"np.{op} of booleans", "Write np.logical_xor, or x.astype(float)")
        return mapped(of_bool if a.dtype is BOOL else op, (a, b), a.dtype)

    return _binary(op, apply)


def _compare(op: str, a: Any, b: Any) -> Any:
    a, b = promoted(a, b)
    return mapped(op, (a, b), BOOL)


def _comparison(op: str) -> Function:
    return lambda a, b: _compare(op, a, b)


def _turned(op: str) -> Function:
    return lambda a, b: _compare(op, b, a)


def _and(a: Any, b: Any) -> Any:
    return _logic("multiply", a, b)


def _or(a: Any, b: Any) -> Any:
    return _logic("maximum", a, b)


def _xor(a: Any, b: Any) -> Any:
    return _logic("not_equal", a, b)


def _logic(op: str, a: Any, b: Any) -> Any:
    like = first_value((a, b))
    a, b = (_truth(as_value(like, x)) for x in (a, b))
    if a.held != b.held:
        a, b = held_in(a, 8), held_in(b, 8)
    return mapped(op, (a, b), BOOL)


def _truth(x: Any) -> Any:
    return x if x.dtype is BOOL else _compare("not_equal", x, 0)


def _bitwise(name: str, logical: Function) -> Function:
    """Return a bitwise operation, which booleans alone have here."""

    def apply(*operands: Any) -> Any:
        if common_dtype(operands) is not BOOL:
            raise untraceable(f"np.{name} of numbers", "Booleans are accepted: (x > 0) & (x < 1)")
        return logical(*operands)

    return apply


def _select(condition: Any, a: Any, b: Any) -> Any:
    """Return a where the condition holds, else b: both values of one real type."""
    return mapped("where", (held_in(condition, a.held), a, b), a.dtype)


def _ignoring_nan(op: Function) -> Function:
    """Return maximum or minimum of what is not NaN."""

    def apply(a: Any, b: Any) -> Any:
        a, b = promoted(a, b)
        shape = common_shape((a.shape, b.shape))
        a, b = expand(a, shape), expand(b, shape)
        return op(_select(_is_nan(a), b, a), _select(_is_nan(b), a, b))

    return apply


def _power(a: Any, b: Any) -> Any:
    if isinstance(b, (int, float, np.integer, np.floating)):
        return _power_of_number(a, b)
    a, b = promoted(a, b)
    if a.dtype is BOOL or a.dtype is I64:
        raise untraceable(
            "An integer is raised to an integer power that is an array",
            "Make one of the two a float: x.astype(float) ** n",
        )
    return mapped("power", (a, b), a.dtype)


def _power_of_number(a: Any, n: Any) -> Any:
    """Return a**n for a number n: repeated products, a root, or the general power."""
    dtype, n = common_dtype((a, n)), float(n)
    a = as_type(a, I64 if dtype is BOOL else dtype)
    if n.is_integer() and abs(n) <= MOST:
        if n < 0 and a.dtype is I64:
            raise ValueError("Integers to negative integer powers are not allowed.")
        return integer_power(a, int(n))
    if n == 0.5:
        return a.tape.emit("sqrt", a.shape, a.dtype, (a,))
    return mapped("power", (a, filled(a, n)), a.dtype)


def _float_power(a: Any, b: Any) -> Any:
    like = first_value((a, b))
    if not isinstance(b, (Value, np.ndarray)) and not isinstance(b, (list, tuple)):
        return _power_of_number(as_value(like, a, F64), float(b))
    a, b = (as_value(like, x, F64) for x in (a, b))
    return mapped("power", (a, b), F64)


def _logaddexp2(a: Any, b: Any) -> Any:
    ln2 = math.log(2)
    return _logaddexp(_binary_multiply(a, ln2), _binary_multiply(b, ln2)) / ln2


def _copysign(a: Any, b: Any) -> Any:
    a, b = _floats(a, b)
    size = absolute(a)
    return _select(_is_negative(b), *np.broadcast_arrays(negative(size), size))


def _heaviside(a: Any, b: Any) -> Any:
    a, b = _floats(a, b)
    zero, one = filled(a, 0.0), filled(a, 1.0)
    at_zero = _select(_compare("equal", a, zero), b, mapped("add", (a, one), a.dtype))
    inside = _select(_compare("less", zero, a), one, at_zero)
    return _select(_compare("less", a, zero), zero, inside)


_binary_multiply = _in_any("multiply", "multiply")
_logaddexp = _in_reals("logaddexp")
_maximum, _minimum = _in_any("maximum", "maximum"), _in_any("minimum", "minimum")


# ---- What has no instruction ---------------------------------------------------------------------


def _no(name: str, way_out: str) -> Function:
    def refuse(*operands: Any) -> Any:
        raise untraceable(f"np.{name} has no derivative here", way_out)

    return refuse


def _activation(name: str) -> Function:
    """Return one of gdcore's own ufuncs."""
    return lambda *operands: functions().activation(name, *operands)


@functools.cache
def functions() -> ModuleType:
    """Return the module with NumPy's other functions, which imports this one."""
    from gdcore.autodiff import _functions

    return _functions


@functools.cache
def _linalg() -> ModuleType:
    from gdcore.autodiff import _linalg

    return _linalg


_DIVISION = "Write x - y * np.floor(x / y), whose derivative with respect to x is 1"
_REALS = (
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sin",
    "cos",
    "tan",
    "arcsin",
    "arccos",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "arcsinh",
    "arccosh",
    "arctanh",
    "sqrt",
    "cbrt",
)

# NumPy's ufunc by what it does to its operands.
TABLE: dict[np.ufunc, Function] = {
    **{getattr(np, name): _unary(name) for name in _REALS},
    np.negative: negative,
    np.positive: fresh,
    np.conjugate: fresh,
    np.absolute: absolute,
    np.fabs: _unary("absolute"),
    np.sign: _unary_of_all("sign"),
    np.square: _unary_of_all("square", "square"),
    np.reciprocal: _reciprocal,
    np.floor: _rounding("floor"),
    np.ceil: _rounding("ceil"),
    np.trunc: _rounding("trunc"),
    np.rint: _unary("rint"),
    np.deg2rad: _scaled(math.pi / 180),
    np.radians: _scaled(math.pi / 180),
    np.rad2deg: _scaled(180 / math.pi),
    np.degrees: _scaled(180 / math.pi),
    np.isnan: _is_nan,
    np.isinf: _is_infinite,
    np.isfinite: _is_finite,
    np.signbit: _is_negative,
    np.add: _in_any("add", "maximum"),
    np.subtract: _in_any("subtract", ""),
    np.multiply: _binary_multiply,
    np.divide: _in_reals("divide"),
    np.power: _power,
    np.float_power: _float_power,
    np.maximum: _maximum,
    np.minimum: _minimum,
    np.fmax: _ignoring_nan(_maximum),
    np.fmin: _ignoring_nan(_minimum),
    np.arctan2: _in_reals("arctan2"),
    np.hypot: _in_reals("hypot"),
    np.logaddexp: _logaddexp,
    np.logaddexp2: _logaddexp2,
    np.copysign: _copysign,
    np.heaviside: _heaviside,
    np.less: _comparison("less"),
    np.less_equal: _comparison("less_equal"),
    np.greater: _turned("less"),
    np.greater_equal: _turned("less_equal"),
    np.equal: _comparison("equal"),
    np.not_equal: _comparison("not_equal"),
    np.logical_and: _and,
    np.logical_or: _or,
    np.logical_xor: _xor,
    np.logical_not: _not,
    np.bitwise_and: _bitwise("bitwise_and", _and),
    np.bitwise_or: _bitwise("bitwise_or", _or),
    np.bitwise_xor: _bitwise("bitwise_xor", _xor),
    np.invert: _bitwise("invert", _not),
    np.matmul: lambda a, b: _linalg().matmul(a, b),
    np.floor_divide: _no("floor_divide", "Write np.floor(x / y), whose derivative is 0"),
    np.remainder: _no("remainder", _DIVISION),
    np.fmod: _no("fmod", "Write x - y * np.trunc(x / y)"),
    np.divmod: _no("divmod", _DIVISION),
    np.modf: _no("modf", "Write x - np.trunc(x) and np.trunc(x)"),
    **{
        getattr(_core, row["name"]): _activation(row["name"])
        for row in _core.ACTIVATIONS
        if isinstance(getattr(_core, row["name"], None), np.ufunc)
    },
}
