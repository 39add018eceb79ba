"""The NumPy twin of every loss of the core: specification, and oracle of the tests.

``LOSSES[name]`` is ``(value(y_true, y_pred), grad(y_true, y_pred))``, unweighted and not averaged:
a loss for each element, for cross-entropies over classes for each row (the last axis), and its
gradient with respect to y_pred. They take float32, float64, long double, and a complex y_pred, for
derivatives by a complex step. 0 times an infinite logarithm is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gdcore.reference.activations import sigmoid

Array = Any  # an ndarray; arithmetic on them is typed as Any by NumPy too
Twin = Callable[[Array, Array], Array]


def _product(t: Array, x: Array) -> Array:
    """Return t x, and 0 where t is 0 whatever x."""
    return np.where(t == 0, 0, t * x)


def _softmax(z: Array) -> tuple[Array, Array, Array]:
    """Return p = softmax(z), 1 - p and log(p), with sums that go around the largest element."""
    at = np.real(z).argmax(axis=-1, keepdims=True)
    far = z - np.take_along_axis(z, at, axis=-1)
    others = np.exp(far)
    np.put_along_axis(others, at, 0, axis=-1)
    rest = others.sum(axis=-1, keepdims=True)
    p = np.exp(far) / (1 + rest)
    q = 1 - p
    np.put_along_axis(q, at, rest / (1 + rest), axis=-1)
    return p, q, far - np.log1p(rest)


def _one_hot(labels: Array, like: Array) -> Array:
    return (labels[..., None] == np.arange(like.shape[-1])).astype(like.dtype)


def mse(t: Array, y: Array) -> Array:
    """Return (y - t)^2."""
    return (y - t) ** 2


def mse_grad(t: Array, y: Array) -> Array:
    """Return 2 (y - t)."""
    return 2 * (y - t)


def half_mse(t: Array, y: Array) -> Array:
    """Return (y - t)^2 / 2."""
    return (y - t) ** 2 / 2


def half_mse_grad(t: Array, y: Array) -> Array:
    """Return y - t."""
    return y - t


def binary_crossentropy(t: Array, y: Array) -> Array:
    """Return -t log(y) - (1 - t) log(1 - y)."""
    return -_product(t, np.log(y)) - _product(1 - t, np.log1p(-y))


def binary_crossentropy_grad(t: Array, y: Array) -> Array:
    """Return (1 - t) / (1 - y) - t / y."""
    return _product(1 - t, 1 / (1 - y)) - _product(t, 1 / y)


def binary_crossentropy_from_logits(t: Array, z: Array) -> Array:
    """Return log(1 + exp(z)) - t z, as log(1 + exp(-|z|)) + (1 - t or -t) z."""
    positive = np.real(z) > 0
    return _product(np.where(positive, 1 - t, -t), z) + np.log1p(np.exp(np.where(positive, -z, z)))


def binary_crossentropy_from_logits_grad(t: Array, z: Array) -> Array:
    """Return sigmoid(z) - t, as (1 - t) - sigmoid(-z) where z > 0."""
    return np.where(np.real(z) > 0, (1 - t) - sigmoid(-z), sigmoid(z) - t)


def categorical_crossentropy(t: Array, y: Array) -> Array:
    """Return -sum_j t_j log(y_j)."""
    return -_product(t, np.log(y)).sum(axis=-1)


def categorical_crossentropy_grad(t: Array, y: Array) -> Array:
    """Return -t_j / y_j."""
    return -_product(t, 1 / y)


def categorical_crossentropy_from_logits(t: Array, z: Array) -> Array:
    """Return -sum_j t_j log(softmax(z)_j)."""
    return -_product(t, _softmax(z)[2]).sum(axis=-1)


def categorical_crossentropy_from_logits_grad(t: Array, z: Array) -> Array:
    """Return p_j sum(t) - t_j with p = softmax(z), as p_j (sum(t) - t_j) - (1 - p_j) t_j."""
    p, q, _ = _softmax(z)
    return p * (t.sum(axis=-1, keepdims=True) - t) - q * t


def sparse_categorical_crossentropy(labels: Array, y: Array) -> Array:
    """Return -log(y_c)."""
    return categorical_crossentropy(_one_hot(labels, y.real), y)


def sparse_categorical_crossentropy_grad(labels: Array, y: Array) -> Array:
    """Return -1 / y_c at the class c, 0 elsewhere."""
    return categorical_crossentropy_grad(_one_hot(labels, y.real), y)


def sparse_categorical_crossentropy_from_logits(labels: Array, z: Array) -> Array:
    """Return -log(softmax(z)_c)."""
    return categorical_crossentropy_from_logits(_one_hot(labels, z.real), z)


def sparse_categorical_crossentropy_from_logits_grad(labels: Array, z: Array) -> Array:
    """Return softmax(z)_j - [j = c]."""
    return categorical_crossentropy_from_logits_grad(_one_hot(labels, z.real), z)


LOSSES: dict[str, tuple[Twin, Twin]] = {
    "mse": (mse, mse_grad),
    "half_mse": (half_mse, half_mse_grad),
    "binary_crossentropy": (binary_crossentropy, binary_crossentropy_grad),
    "binary_crossentropy_from_logits": (
        binary_crossentropy_from_logits,
        binary_crossentropy_from_logits_grad,
    ),
    "categorical_crossentropy": (categorical_crossentropy, categorical_crossentropy_grad),
    "categorical_crossentropy_from_logits": (
        categorical_crossentropy_from_logits,
        categorical_crossentropy_from_logits_grad,
    ),
    "sparse_categorical_crossentropy": (
        sparse_categorical_crossentropy,
        sparse_categorical_crossentropy_grad,
    ),
    "sparse_categorical_crossentropy_from_logits": (
        sparse_categorical_crossentropy_from_logits,
        sparse_categorical_crossentropy_from_logits_grad,
    ),
}
