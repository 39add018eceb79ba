"""The NumPy twin of the program executor: one line per instruction of ``csrc/ops.def``.

`run` takes the instructions that the core takes and gives what it gives: the specification, and
the oracle of its tests. Sums differ from the core's in their order, and so in the last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdcore import _core
from gdcore.reference import activations, losses

__all__ = ["MAPS", "run"]

Array = NDArray[Any]


def _erf(x: Array) -> Array:
    import math

    found: Array = np.vectorize(math.erf, otypes=[x.dtype])(x)
    return found


def _bits(test: Callable[[Array, Array], Any]) -> Callable[[Array, Array], Array]:
    """Return a comparison that gives 1 and 0 in the operands' type."""
    return lambda a, b: np.asarray(test(a, b), a.dtype)


# y = f(operands, *params), element by element.
MAPS: dict[str, Callable[..., Any]] = {
    "negative": np.negative,
    "absolute": np.absolute,
    "sign": np.sign,
    "square": np.square,
    "reciprocal": np.reciprocal,
    "integer_power": lambda x, n: x ** int(n),
    "sqrt": np.sqrt,
    "cbrt": np.cbrt,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "arcsin": np.arcsin,
    "arccos": np.arccos,
    "arctan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "arcsinh": np.arcsinh,
    "arccosh": np.arccosh,
    "arctanh": np.arctanh,
    "erf": _erf,
    "sigmoid": activations.sigmoid,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "rint": np.rint,
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "arctan2": np.arctan2,
    "hypot": np.hypot,
    "logaddexp": np.logaddexp,
    "less": _bits(np.less),
    "less_equal": _bits(np.less_equal),
    "equal": _bits(np.equal),
    "not_equal": _bits(np.not_equal),
    "where": lambda a, b, c: np.where(a != 0, b, c),
}


def _windows(params: Sequence[float], shape: Sequence[int]) -> tuple[Any, ...]:
    """Return the places start + step i, i < length, of each axis, for np.ix_."""
    n = len(shape)
    starts, steps = params[:n], params[n:]
    axes = zip(starts, steps, shape, strict=True)
    return np.ix_(*(int(start) + int(step) * np.arange(size) for start, step, size in axes))


def _slice(x: Array, params: Sequence[float], shape: Sequence[int]) -> Array:
    return x[_windows(params, shape)] if shape else x


def _embed(x: Array, params: Sequence[float], shape: Sequence[int]) -> Array:
    y = np.zeros(shape, x.dtype)
    y[_windows(params, x.shape) if x.ndim else ()] = x
    return y


def _scatter(x: Array, indices: Array, axis: int, shape: Sequence[int]) -> Array:
    y = np.zeros(shape, x.dtype)
    np.add.at(np.moveaxis(y, axis, 0), indices, np.moveaxis(x, axis, 0))
    return y


def _activation(params: Sequence[float]) -> tuple[Callable[..., Any], Callable[..., Any], Any]:
    """Return a row of the activations: function, gradient, parameters by name."""
    row = _core.ACTIVATIONS[int(params[0])]
    given = dict(zip(row["params"], params[1:], strict=True))
    return getattr(activations, row["name"]), getattr(activations, row["name"] + "_grad"), given


def _loss(params: Sequence[float], target: Array, y: Array, grad: bool) -> Any:
    """Return the losses of a row of the losses, or their gradient."""
    row = _core.LOSSES[int(params[0])]
    given = dict(zip(row["params"], params[1:], strict=True))
    per_row = row["kind"] in ("sparse", "paired")
    target = target.reshape(y.shape[:-1] if per_row else y.shape)
    return losses.LOSSES[row["name"]][int(grad)](target, y, **given)


def _one(name: str, x: Sequence[Array], params: Sequence[float], shape: tuple[int, ...]) -> Any:
    """Return the value of one instruction that is not a leaf."""
    axes = tuple(int(p) for p in params)
    simple: dict[str, Callable[[], Any]] = {
        "cast": lambda: x[0].astype(np.float64 if x[0].dtype == np.float32 else np.float32),
        "reshape": lambda: x[0].reshape(shape),
        "transpose": lambda: x[0].transpose(axes),
        "slice": lambda: _slice(x[0], params, shape),
        "expand": lambda: np.broadcast_to(x[0], shape),
        "activation": lambda: _activation(params)[0](x[0], **_activation(params)[2]),
        "activation_grad": lambda: _activation(params)[1](*x, **_activation(params)[2]),
        "loss": lambda: _loss(params, x[0], x[1], False).reshape(shape),
        "loss_grad": lambda: _loss(params, x[0], x[1], True).reshape(shape),
        "embed": lambda: _embed(x[0], params, shape),
        "concatenate": lambda: np.concatenate(x, axis=axes[0]),
        "gather": lambda: np.take(x[0], x[1], axis=axes[0]),
        "scatter": lambda: _scatter(x[0], x[1], axes[0], shape),
        "sum": lambda: x[0].sum(axis=axes, dtype=np.float64),
        "prod": lambda: x[0].prod(axis=axes),
        "max": lambda: x[0].max(axis=axes),
        "min": lambda: x[0].min(axis=axes),
        "matmul": lambda: np.matmul(x[0], x[1]),
    }
    return simple[name]() if name in simple else MAPS[name](*x, *params)


def run(
    instructions: Sequence[Any], arrays: Sequence[Array], outputs: Sequence[int]
) -> list[Array]:
    """Return the values of the instructions numbered `outputs`."""
    values: list[Array] = []
    with np.errstate(all="ignore"):
        for op, real, shape, operands, params in instructions:
            name = _core.INSTRUCTIONS[op]["name"]
            dtype = np.float32 if real == 4 else np.float64
            if name == "constant":
                value = np.array(params[0], dtype)
            elif name == "input":
                value = np.asarray(arrays[int(params[0])], dtype)
            elif name == "indices":
                value = arrays[int(params[0])]
            else:
                value = _one(name, [values[i] for i in operands], params, tuple(shape))
                value = np.asarray(value, dtype)
            if value.shape != tuple(shape):
                raise ValueError(f"{name}: shape {value.shape} where {shape} is declared")
            values.append(value)
    return [np.array(values[i]) for i in outputs]
