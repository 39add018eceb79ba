"""The derivatives of activations and losses: vjp and jvp as `_rules` says.

The gradient of an activation is dy g(y), or dy g(z) of those whose row reads z: `_SLOPES` has the
derivative of g. At a kink it is that of the side which g has there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gdcore import _core
from gdcore.autodiff import _primitives as p
from gdcore.autodiff._composed_losses import composed, composed_gradient

Params = tuple[float, ...]

_ROWS = _core.ACTIVATIONS
_FAR = 2.0**14  # beyond it the gates of silu, gelu, mish have come to their ends


# ---- Slopes of the gradients ---------------------------------------------------------------------


def _low(y: Any, slope: Any) -> Any:
    """Return a slope where y <= 0, else 0."""
    return np.where(y <= 0, slope, 0.0)


def _hard_swish(z: Any) -> Any:
    return np.where(np.abs(z) < 3, 1 / 3, 0.0 * z)


def _softsign(y: Any) -> Any:
    return -2 * (1 - np.abs(y)) * np.sign(y)


def _near(z: Any) -> Any:
    return np.where(np.abs(z) > _FAR, _FAR, z)


def _bend(s: Any) -> Any:
    """Return s (1 - s), the derivative of a sigmoid s."""
    return s * (1 - s)


def _sigmoid(z: Any) -> Any:
    return p.mapped("sigmoid", (z,), z.dtype)


def _silu(z: Any) -> Any:
    z = _near(z)
    s = _sigmoid(z)
    return _bend(s) * (2 + z * (1 - 2 * s))


def _gelu(z: Any) -> Any:
    z = np.where(np.abs(z) > 64, 64.0, z)
    return np.exp(-z * z / 2) * ((2 - z * z) / math.sqrt(2 * math.pi))


def _gelu_tanh(z: Any) -> Any:
    z = np.where(np.abs(z) > 64, 64.0, z)
    scale, cubic = math.sqrt(8 / math.pi), 0.044715
    s = _sigmoid(scale * (z + cubic * z**3))
    slope, bend = scale * (1 + 3 * cubic * z * z), scale * (6 * cubic) * z
    return _bend(s) * (2 * slope + z * bend + z * slope * slope * (1 - 2 * s))


def _mish(z: Any) -> Any:
    z = _near(z)
    t, s = np.tanh(np.logaddexp(0.0, z)), _sigmoid(z)
    first = (1 - t * t) * s
    return 2 * first + z * (first * (1 - s) - 2 * t * first * s)


# The derivative of g with respect to what the row reads, y or z; 0 for those that are not here.
_SLOPES: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda y: 1 - 2 * y,
    "tanh": lambda y: -2 * y,
    "hard_swish": _hard_swish,
    "elu": lambda y, alpha: _low(y, 1.0),
    "selu": lambda y: _low(y, 1.0),
    "celu": lambda y, alpha: _low(y, 1 / alpha),
    "softplus": lambda y, beta: beta * np.exp(-beta * y),
    "softsign": _softsign,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "mish": _mish,
}


# ---- Activations ---------------------------------------------------------------------------------


def _grad(dy: Any, z: Any, y: Any, params: Params) -> Any:
    return z.tape.emit("activation_grad", z.shape, z.dtype, (dy, z, y), params)


def _row_sum(x: Any) -> Any:
    return np.sum(x, axis=-1, keepdims=True) if x.shape else x


def _forward(t: Any, z: Any, y: Any, params: Params) -> Any:
    """Return the derivative along t: the gradient, but where the matrix is not symmetric."""
    if _ROWS[int(params[0])]["name"] == "log_softmax":
        return t - _row_sum(np.exp(y) * t)
    return _grad(t, z, y, params)


def _activation_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Any) -> list[Any]:
    return [_grad(ct, x[0], out, params)]


def _activation_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    return _forward(t[0], x[0], out, params)


def _activation_grad_vjp(
    ct: Any, out: Any, x: Any, params: Params, needed: Sequence[bool]
) -> list[Any]:
    dy, z, y = x
    row = _ROWS[int(params[0])]
    parts = [_forward(ct, z, y, params) if needed[0] else None, None, None]
    read = 1 if row["reads_z"] else 2
    if not needed[read]:
        return parts
    if row["name"] == "softmax":
        parts[2] = ct * (dy - _row_sum(dy * y)) - dy * _row_sum(ct * y)
    elif row["name"] == "log_softmax":
        parts[2] = -(np.exp(y) * ct * _row_sum(dy))
    elif row["name"] in _SLOPES:
        parts[read] = ct * dy * _SLOPES[row["name"]](x[read], *params[1:])
    return parts


def _activation_grad_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    dy, z, y = x
    row = _ROWS[int(params[0])]
    through = None if t[0] is None else _grad(t[0], z, y, params)
    read = t[1] if row["reads_z"] else t[2]
    bent = None
    if read is None:
        return through
    if row["name"] == "softmax":
        bent = read * (dy - _row_sum(dy * y)) - y * _row_sum(dy * read)
    elif row["name"] == "log_softmax":
        bent = -(np.exp(y) * read * _row_sum(dy))
    elif row["name"] in _SLOPES:
        bent = read * dy * _SLOPES[row["name"]](z if row["reads_z"] else y, *params[1:])
    return _sum(through, bent)


def _sum(a: Any, b: Any) -> Any:
    """Return the sum of two tangents, of which None is 0."""
    return b if a is None else a if b is None else a + b


# ---- Losses --------------------------------------------------------------------------------------


def _loss_grad(t: Any, y: Any, params: Params) -> Any:
    return y.tape.emit("loss_grad", y.shape, y.dtype, (t, y), params)


def _pointwise(params: Params) -> bool:
    return bool(_core.LOSSES[int(params[0])]["kind"] == "pointwise")


def _loss_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Sequence[bool]) -> list[Any]:
    t, y = x
    by_target = _backward(composed(params, t, y), [t], ct)[0] if needed[0] else None
    if not needed[1]:
        return [by_target, None]
    each = ct if _pointwise(params) else p.reshape(ct, (*y.shape[:-1], 1))
    return [by_target, each * _loss_grad(t, y, params)]


def _loss_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    target, y = x
    total = None
    if t[1] is not None:
        total = t[1] * _loss_grad(target, y, params)
        total = total if _pointwise(params) else p.reduced("sum", total, [len(y.shape) - 1])
    if t[0] is not None:
        total = _sum(total, _tangent(composed, params, x, (t[0], None)))
    return total


def _loss_grad_vjp(ct: Any, out: Any, x: Any, params: Params, needed: Sequence[bool]) -> list[Any]:
    wrt = [one for one, wanted in zip(x, needed, strict=True) if wanted]
    parts = iter(_backward(composed_gradient(params, *x), wrt, ct))
    return [next(parts) if wanted else None for wanted in needed]


def _loss_grad_jvp(t: Any, out: Any, x: Any, params: Params) -> Any:
    return _tangent(composed_gradient, params, x, t)


def _backward(out: Any, wrt: list[Any], ct: Any) -> list[Any]:
    from gdcore.autodiff._differentiate import backward

    return backward(out, wrt, ct)


def _tangent(function: Callable[..., Any], params: Params, x: Any, t: Sequence[Any]) -> Any:
    """Return the tangent of a loss, or its gradient, put together from other instructions.

    They are given operands of their own: a sweep forwards goes through all that depends on these.
    """
    from gdcore.autodiff._differentiate import tangents

    own = [one if s is None else _again(one) for one, s in zip(x, t, strict=True)]
    wrt = [one for one, s in zip(own, t, strict=True) if s is not None]
    return tangents([function(params, *own)], wrt, [s for s in t if s is not None])[0]


def _again(x: Any) -> Any:
    return x.tape.emit("reshape", x.shape, x.dtype, (x,), (), x.held)


VJP: dict[str, Any] = {
    "activation": _activation_vjp,
    "activation_grad": _activation_grad_vjp,
    "loss": _loss_vjp,
    "loss_grad": _loss_grad_vjp,
}
JVP: dict[str, Any] = {
    "activation": _activation_jvp,
    "activation_grad": _activation_grad_jvp,
    "loss": _loss_jvp,
    "loss_grad": _loss_grad_jvp,
}
