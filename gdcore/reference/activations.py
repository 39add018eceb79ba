"""The NumPy twin of every activation of the core: specification, and oracle of the tests.

``ACTIVATIONS[name]`` is ``(forward(z), grad(dy, z, y))``. They take float32, float64 and long
double, and complex numbers where the function is analytic, for derivatives by a complex step: what
decides (a sign, the largest element) is read off the real part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any  # an ndarray; arithmetic on them is typed as Any by NumPy too
Forward = Callable[[Array], Array]
Grad = Callable[[Array, Array, Array], Array]


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


ACTIVATIONS: dict[str, tuple[Forward, Grad]] = {
    "linear": (linear, linear_grad),
    "sigmoid": (sigmoid, sigmoid_grad),
    "tanh": (tanh, tanh_grad),
    "relu": (relu, relu_grad),
    "softmax": (softmax, softmax_grad),
}
