"""The NumPy twin of every activation of the core: specification, and oracle of the tests.

``ACTIVATIONS[name]`` is ``(forward(z), grad(dy, z, y))``, each with the parameters of the table as
keywords. They take float32, float64 and long double, and complex numbers where the function is
analytic, for derivatives by a complex step: what decides (a sign, the largest element) is read off
the real part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any  # an ndarray; arithmetic on them is typed as Any by NumPy too
Forward = Callable[..., Array]
Grad = Callable[..., Array]


def _like(z: Array, value: float) -> Array:
    """Return a number in the real type of z."""
    return np.real(z).dtype.type(value)


def _size(z: Array) -> Array:
    """Return z or -z, whichever has no negative real part."""
    return np.where(np.real(z) < 0, -z, z)


def linear(z: Array) -> Array:
    """Return z."""
    return z.copy()


def linear_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy."""
    return dy.copy()


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z)), with the exponential of the negative one of z and -z."""
    e = np.exp(np.where(np.real(z) < 0, z, -z))
    return np.where(np.real(z) < 0, e, 1) / (1 + e)


def sigmoid_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy y (1 - y)."""
    return dy * y * (1 - y)


def tanh(z: Array) -> Array:
    """Return tanh(z)."""
    return np.tanh(z)


def tanh_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy (1 - y^2)."""
    return dy * (1 - y) * (1 + y)


def relu(z: Array) -> Array:
    """Return max(z, 0)."""
    return np.where(np.real(z) <= 0, 0, z)


def relu_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy where y > 0, else 0: at the kink too."""
    return np.where(np.real(y) <= 0, 0, dy)


def softmax(z: Array) -> Array:
    """Return exp(z) / sum(exp(z)) along the last axis."""
    e = np.exp(z - np.real(z).max(axis=-1, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return y (dy - sum_j dy_j y_j)."""
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def log_softmax(z: Array) -> Array:
    """Return z - log(sum(exp(z))) along the last axis, around the largest element."""
    shifted = z - np.real(z).max(axis=-1, keepdims=True, initial=-np.inf)
    largest = np.real(shifted) == 0
    first = largest & (largest.cumsum(axis=-1) == 1)
    rest = (np.exp(shifted) - first).sum(axis=-1, keepdims=True)
    return shifted - np.log1p(rest)


def log_softmax_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy - exp(y) sum_j dy_j."""
    return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)


# ---- Straight pieces -----------------------------------------------------------------------------


def leaky_relu(z: Array, slope: float = 0.01) -> Array:
    """Return z where z > 0, else slope z."""
    return np.where(np.real(z) <= 0, _like(z, slope) * z, z)


def leaky_relu_grad(dy: Array, z: Array, y: Array, slope: float = 0.01) -> Array:
    """Return dy where y > 0, else slope dy: at the kink too."""
    return np.where(np.real(y) <= 0, _like(y, slope) * dy, dy)


def prelu(z: Array, alpha: float = 0.25) -> Array:
    """Return z where z > 0, else alpha z."""
    return np.where(np.real(z) <= 0, _like(z, alpha) * z, z)


def prelu_grad(dy: Array, z: Array, y: Array, alpha: float = 0.25) -> Array:
    """Return dy where z > 0, else alpha dy: at the kink too. Alpha may be negative, hence z."""
    return np.where(np.real(z) <= 0, _like(z, alpha) * dy, dy)


def hard_tanh(z: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """Return min(max(z, min_val), max_val)."""
    low = np.where(np.real(z) < min_val, _like(z, min_val), z)
    return np.where(np.real(z) > max_val, _like(z, max_val), low)


def hard_tanh_grad(
    dy: Array, z: Array, y: Array, min_val: float = -1.0, max_val: float = 1.0
) -> Array:
    """Return dy where min_val < y < max_val, else 0."""
    least, most = _like(y, min_val), _like(y, max_val)
    return np.where((np.real(y) <= least) | (np.real(y) >= most), 0, dy)


def relu6(z: Array) -> Array:
    """Return min(max(z, 0), 6)."""
    return np.where(np.real(z) > 6, 6, relu(z))


def relu6_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy where 0 < y < 6, else 0."""
    return hard_tanh_grad(dy, z, y, 0, 6)


def hard_sigmoid(z: Array) -> Array:
    """Return min(max(z + 3, 0), 6) / 6."""
    return relu6(z + 3) / 6


def hard_sigmoid_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy / 6 where 0 < y < 1, else 0."""
    return hard_tanh_grad(dy / 6, z, y, 0, 1)


def hard_swish(z: Array) -> Array:
    """Return z min(max(z + 3, 0), 6) / 6; -0 from -3 down."""
    low = np.where(np.real(z) < -3, -3, z)
    return low * relu6(low + 3) / 6


def hard_swish_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy (z / 3 + 1 / 2) where -3 < z < 3, 0 below and dy above."""
    inside = np.where(np.abs(np.real(z)) >= 3, 0, z) / 3 + _like(z, 0.5)
    return np.where(np.real(z) <= -3, 0, np.where(np.real(z) >= 3, dy, dy * inside))


# ---- One exponential -----------------------------------------------------------------------------


def elu(z: Array, alpha: float = 1.0) -> Array:
    """Return z where z > 0, else alpha (exp(z) - 1)."""
    return np.where(np.real(z) < 0, _like(z, alpha) * np.expm1(-_size(z)), z)


def elu_grad(dy: Array, z: Array, y: Array, alpha: float = 1.0) -> Array:
    """Return dy where y > 0, else dy (y + alpha): alpha at the kink."""
    return np.where(np.real(y) <= 0, dy * (y + _like(y, alpha)), dy)


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def selu(z: Array) -> Array:
    """Return scale z where z > 0, else scale alpha (exp(z) - 1)."""
    return _like(z, SELU_SCALE) * elu(z, SELU_ALPHA)


def selu_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return scale dy where y > 0, else dy (y + scale alpha): that at the kink."""
    scale = _like(y, SELU_SCALE)
    return np.where(np.real(y) <= 0, dy * (y + scale * _like(y, SELU_ALPHA)), scale * dy)


def celu(z: Array, alpha: float = 1.0) -> Array:
    """Return z where z > 0, else alpha (exp(z / alpha) - 1)."""
    a = _like(z, alpha)
    return np.where(np.real(z) < 0, a * np.expm1(-_size(z) / a), z)


def celu_grad(dy: Array, z: Array, y: Array, alpha: float = 1.0) -> Array:
    """Return dy where y > 0, else dy (y / alpha + 1): 1 at the kink."""
    return np.where(np.real(y) <= 0, dy * (y / _like(y, alpha) + 1), dy)


def softplus(z: Array, beta: float = 1.0) -> Array:
    """Return log(1 + exp(beta z)) / beta, with the exponential of -beta |z|."""
    b = _like(z, beta)
    return np.where(np.real(z) < 0, 0, z) + np.log1p(np.exp(-b * _size(z))) / b


def softplus_grad(dy: Array, z: Array, y: Array, beta: float = 1.0) -> Array:
    """Return dy (1 - exp(-beta y))."""
    return dy * -np.expm1(-_like(y, beta) * y)


def softsign(z: Array) -> Array:
    """Return z / (1 + |z|), and its limit 1 or -1 at an infinity."""
    endless = np.isinf(z)
    inside = np.where(endless, 0, z)
    return np.where(endless, np.sign(np.real(z)), inside / (1 + _size(inside)))


def softsign_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy (1 - |y|)^2."""
    return dy * (1 - _size(y)) ** 2


# ---- z gate(z) -----------------------------------------------------------------------------------
# The gate falls faster than z grows: beyond FAR, where it is 0, z is taken as FAR, so that
# -infinity gives -0 and nothing is infinity times 0.

FAR = 2.0**14


def _near(z: Array) -> Array:
    """Return z, but a real part beyond FAR as FAR."""
    return np.where(np.abs(np.real(z)) > FAR, np.copysign(FAR, np.real(z)), z)


def _gated(z: Array, gate: Array) -> Array:
    """Return z gate."""
    return np.where(np.real(z) > FAR, z, _near(z) * gate)


def silu(z: Array) -> Array:
    """Return z / (1 + exp(-z))."""
    return _gated(z, sigmoid(_near(z)))


def silu_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy (s + z s (1 - s)), s = 1 / (1 + exp(-z))."""
    z = _near(z)
    return dy * sigmoid(z) * (1 + z * sigmoid(-z))


def _mills(t: Array) -> Array:
    """Return Phi(-t) exp(t^2 / 2) for t >= 0, Phi the normal distribution.

    The integral (1 / pi) x exp(-k^2) / (x^2 + k^2) dk, x = t / sqrt(2), by the midpoint rule, whose
    error is below exp(-(pi / h)^2) once the pole at k = i x is accounted for (Hunter & Regan 1972,
    Mathematics of Computation 26).
    """
    one = _like(t, 1)
    pi, h = 4 * np.arctan(one), one * 3 / 8
    x = t / np.sqrt(2 * one)
    nodes = h * (np.arange(20, 0, -1) - one / 2)
    total = sum(x * np.exp(-(k**2)) / (x**2 + k**2) for k in nodes) * h / pi
    close = np.where(np.real(x) < pi / h, x, 0)
    pole = np.exp(close**2) / (1 + np.exp(2 * pi * close / h))
    return total + np.where(np.real(x) < pi / h, pole, 0)


def _bell(t: Array) -> Array:
    """Return exp(-t^2 / 2), from a head whose square is exact and the rest."""
    head = np.round(np.real(t) * 64) / 64
    return np.exp(-head * head / 2) * np.exp(-(t - head) * (t + head) / 2)


def normal_distribution(z: Array) -> Array:
    """Return Phi(z) = (1 + erf(z / sqrt(2))) / 2, its negative tail to the last digits."""
    t = _size(np.where(np.abs(np.real(z)) > 200, np.copysign(200, np.real(z)), z))
    tail = _bell(t) * _mills(t)
    return np.where(np.real(z) < 0, tail, 1 - tail)


def gelu(z: Array) -> Array:
    """Return z Phi(z)."""
    return _gated(z, normal_distribution(_near(z)))


def gelu_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy (Phi(z) + z exp(-z^2 / 2) / sqrt(2 pi))."""
    z = _near(z)
    density = _bell(z) / np.sqrt(8 * np.arctan(_like(z, 1)))
    return dy * (normal_distribution(z) + z * density)


def _tanh_form(z: Array) -> Array:
    """Return sqrt(8 / pi) (z + 0.044715 z^3)."""
    pi = 4 * np.arctan(_like(z, 1))
    return np.sqrt(8 / pi) * (z + _like(z, 0.044715) * z**3)


def gelu_tanh(z: Array) -> Array:
    """Return z (1 + tanh(w / 2)) / 2 = z / (1 + exp(-w)), w = sqrt(8 / pi) (z + 0.044715 z^3)."""
    return _gated(z, sigmoid(_tanh_form(_near(z))))


def gelu_tanh_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy (s + z w' s (1 - s)), s = 1 / (1 + exp(-w))."""
    z = _near(z)
    w, pi = _tanh_form(z), 4 * np.arctan(_like(z, 1))
    slope = np.sqrt(8 / pi) * (1 + 3 * _like(z, 0.044715) * z**2)
    return dy * sigmoid(w) * (1 + z * slope * sigmoid(-w))


def mish(z: Array) -> Array:
    """Return z tanh(log(1 + exp(z)))."""
    return _gated(z, np.tanh(softplus(_near(z))))


def mish_grad(dy: Array, z: Array, y: Array) -> Array:
    """Return dy (g + z (1 - g^2) s), g = tanh(log(1 + exp(z))), s = 1 / (1 + exp(-z))."""
    z = _near(z)
    p = softplus(z)
    return dy * (np.tanh(p) + z * sigmoid(z) / np.cosh(np.minimum(p, FAR)) ** 2)


ACTIVATIONS: dict[str, tuple[Forward, Grad]] = {
    "linear": (linear, linear_grad),
    "sigmoid": (sigmoid, sigmoid_grad),
    "tanh": (tanh, tanh_grad),
    "relu": (relu, relu_grad),
    "leaky_relu": (leaky_relu, leaky_relu_grad),
    "prelu": (prelu, prelu_grad),
    "relu6": (relu6, relu6_grad),
    "hard_tanh": (hard_tanh, hard_tanh_grad),
    "hard_sigmoid": (hard_sigmoid, hard_sigmoid_grad),
    "hard_swish": (hard_swish, hard_swish_grad),
    "elu": (elu, elu_grad),
    "selu": (selu, selu_grad),
    "celu": (celu, celu_grad),
    "softplus": (softplus, softplus_grad),
    "softsign": (softsign, softsign_grad),
    "silu": (silu, silu_grad),
    "gelu": (gelu, gelu_grad),
    "gelu_tanh": (gelu_tanh, gelu_tanh_grad),
    "mish": (mish, mish_grad),
    "softmax": (softmax, softmax_grad),
    "log_softmax": (log_softmax, log_softmax_grad),
}
