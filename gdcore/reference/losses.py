"""The NumPy twin of every loss of the core: specification, and oracle of the tests.

``LOSSES[name]`` is ``(value(y_true, y_pred), grad(y_true, y_pred))``, which take the row's
parameters by name. They are unweighted and not averaged: a loss for each element, or for each row
(the last axis), and its gradient with respect to y_pred. They take float32, float64, long double,
and a complex y_pred, for derivatives by a complex step. 0 times an infinite logarithm is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gdcore.reference.activations import sigmoid

Array = Any  # an ndarray; arithmetic on them is typed as Any by NumPy too
Twin = Callable[..., Array]


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


def _ratio(x: Array, y: Array, limit: float) -> Array:
    """Return x / y, and its limit where y is 0."""
    return np.where(y == 0, limit, x / np.where(y == 0, 1, y))


def _one_hot(labels: Array, like: Array) -> Array:
    return (labels[..., None] == np.arange(like.shape[-1])).astype(like.dtype)


def _absolute(x: Array) -> Array:
    """Return |x|, for complex numbers by the sign of the real part."""
    return np.where(np.real(x) < 0, -x, x)


def _positive(x: Array) -> Array:
    """Return max(x, 0), for complex numbers by the real part."""
    return np.where(np.real(x) <= 0, 0, x)


# ---- Differences ---------------------------------------------------------------------------------


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


def mae(t: Array, y: Array) -> Array:
    """Return |y - t|."""
    return _absolute(y - t)


def mae_grad(t: Array, y: Array) -> Array:
    """Return the sign of y - t, 0 where they are equal."""
    return np.sign(y - t)


def huber(t: Array, y: Array, delta: float) -> Array:
    """Return d^2 / 2 up to |d| = delta, then delta (|d| - delta / 2), with d = y - t."""
    d = _absolute(y - t)
    return np.where(np.real(d) <= delta, d**2 / 2, delta * (d - delta / 2))


def huber_grad(t: Array, y: Array, delta: float) -> Array:
    """Return d, but at most delta and at least -delta."""
    return np.clip(y - t, -delta, delta)


def log_cosh(t: Array, y: Array) -> Array:
    """Return log(cosh(d)), as log(1 + 2 sinh(d / 2)^2), and far out |d| - log(2)."""
    d = _absolute(y - t)
    near = np.log1p(2 * np.sinh(np.where(np.real(d) < 50, d, 0) / 2) ** 2)
    return np.where(np.real(d) < 50, near, d - np.log(np.ones_like(t) * 2))


def log_cosh_grad(t: Array, y: Array) -> Array:
    """Return tanh(d)."""
    return np.tanh(y - t)


def quantile(t: Array, y: Array, q: float) -> Array:
    """Return (1 - q) d above the target and -q d below it."""
    d = y - t
    return np.where(np.real(d) > 0, (1 - q) * d, -q * d)


def quantile_grad(t: Array, y: Array, q: float) -> Array:
    """Return 1 - q, -q, or 0 where d = 0."""
    d = y - t
    return np.where(d > 0, 1 - q, q) * np.sign(d)


def epsilon_insensitive(t: Array, y: Array, epsilon: float) -> Array:
    """Return max(|y - t| - epsilon, 0)."""
    return _positive(_absolute(y - t) - epsilon)


def epsilon_insensitive_grad(t: Array, y: Array, epsilon: float) -> Array:
    """Return the sign of y - t outside of epsilon, 0 within."""
    return np.sign(y - t) * (np.abs(y - t) > epsilon)


def squared_epsilon_insensitive(t: Array, y: Array, epsilon: float) -> Array:
    """Return max(|y - t| - epsilon, 0)^2."""
    return epsilon_insensitive(t, y, epsilon) ** 2


def squared_epsilon_insensitive_grad(t: Array, y: Array, epsilon: float) -> Array:
    """Return 2 max(|y - t| - epsilon, 0) with the sign of y - t."""
    return 2 * epsilon_insensitive(t, y, epsilon) * np.sign(y - t)


# ---- Likelihoods ---------------------------------------------------------------------------------


def poisson(t: Array, y: Array) -> Array:
    """Return y - t log(y)."""
    return y - _product(t, np.log(y))


def poisson_grad(t: Array, y: Array) -> Array:
    """Return 1 - t / y."""
    return (y - t) / y


def poisson_log_rate(t: Array, z: Array) -> Array:
    """Return exp(z) - t z."""
    return np.exp(z) - _product(t, z)


def poisson_log_rate_grad(t: Array, z: Array) -> Array:
    """Return exp(z) - t."""
    return np.exp(z) - t


def gamma(t: Array, y: Array) -> Array:
    """Return 2 (t / y - 1 - log(t / y))."""
    return 2 * ((t - y) / y - np.log(t / y))


def gamma_grad(t: Array, y: Array) -> Array:
    """Return 2 (y - t) / y^2."""
    return 2 * (y - t) / y**2


def _power_gap(a: float, t: Array, y: Array) -> Array:
    """Return (t^a - y^a) / a, which is log(t / y) for a = 0."""
    log_ratio = np.log(t / y)
    return log_ratio if a == 0 else y**a * np.expm1(a * log_ratio) / a


def tweedie(t: Array, y: Array, power: float) -> Array:
    """Return 2 (t (t^a - y^a) / a - (t^b - y^b) / b) with a = 1 - power and b = 2 - power."""
    first = _product(t, _power_gap(1 - power, t, y))
    return 2 * (first - _power_gap(2 - power, t, y))


def tweedie_grad(t: Array, y: Array, power: float) -> Array:
    """Return 2 (y - t) y^-power."""
    return 2 * (y - t) / y**power


def gaussian_nll(t: Array, y: Array) -> Array:
    """Return (s + (m - t)^2 exp(-s)) / 2 with m, s = y along the last axis."""
    m, s = y[..., 0], y[..., 1]
    return (s + _product(m - t, np.exp(-s / 2)) ** 2) / 2


def gaussian_nll_grad(t: Array, y: Array) -> Array:
    """Return (m - t) exp(-s) and (1 - (m - t)^2 exp(-s)) / 2."""
    m, s = y[..., 0], y[..., 1]
    x = _product(m - t, np.exp(-s / 2))
    return np.stack([_product(x, np.exp(-s / 2)), (1 - x) * (1 + x) / 2], axis=-1)


# ---- Two classes ---------------------------------------------------------------------------------


def _smoothed(t: Array, smoothing: float, classes: int) -> Array:
    return t * (1 - smoothing) + smoothing / classes


def binary_crossentropy(t: Array, y: Array, label_smoothing: float = 0) -> Array:
    """Return -t log(y) - (1 - t) log(1 - y)."""
    t = _smoothed(t, label_smoothing, 2)
    return -_product(t, np.log(y)) - _product(1 - t, np.log1p(-y))


def binary_crossentropy_grad(t: Array, y: Array, label_smoothing: float = 0) -> Array:
    """Return (1 - t) / (1 - y) - t / y."""
    t = _smoothed(t, label_smoothing, 2)
    return _product(1 - t, 1 / (1 - y)) - _product(t, 1 / y)


def binary_crossentropy_from_logits(t: Array, z: Array, label_smoothing: float = 0) -> Array:
    """Return log(1 + exp(z)) - t z, as log(1 + exp(-|z|)) + (1 - t or -t) z."""
    t, positive = _smoothed(t, label_smoothing, 2), np.real(z) > 0
    return _product(np.where(positive, 1 - t, -t), z) + np.log1p(np.exp(np.where(positive, -z, z)))


def binary_crossentropy_from_logits_grad(t: Array, z: Array, label_smoothing: float = 0) -> Array:
    """Return sigmoid(z) - t, as (1 - t) - sigmoid(-z) where z > 0."""
    t = _smoothed(t, label_smoothing, 2)
    return np.where(np.real(z) > 0, (1 - t) - sigmoid(-z), sigmoid(z) - t)


def _balance(t: Array, alpha: float, balanced: bool) -> Array:
    return t * alpha + (1 - t) * (1 - alpha) if balanced else np.ones_like(t)


def binary_focal_crossentropy(
    t: Array, y: Array, gamma: float, alpha: float, apply_class_balancing: bool
) -> Array:
    """Return w u^gamma c, with the cross-entropy c and u = t (1 - y) + (1 - t) y."""
    u = t * (1 - y) + (1 - t) * y
    return _balance(t, alpha, apply_class_balancing) * u**gamma * binary_crossentropy(t, y)


def binary_focal_crossentropy_grad(
    t: Array, y: Array, gamma: float, alpha: float, apply_class_balancing: bool
) -> Array:
    """Return w u^gamma (gamma (1 - 2 t) c / u + dc/dy)."""
    u = t * (1 - y) + (1 - t) * y
    steep = gamma * (1 - 2 * t) * _ratio(binary_crossentropy(t, y), u, 1)
    w = _balance(t, alpha, apply_class_balancing) * u**gamma
    return w * (steep + binary_crossentropy_grad(t, y))


def binary_focal_crossentropy_from_logits(
    t: Array, z: Array, gamma: float, alpha: float, apply_class_balancing: bool
) -> Array:
    """Return w u^gamma c, with u = t sigmoid(-z) + (1 - t) sigmoid(z)."""
    u = t * sigmoid(-z) + (1 - t) * sigmoid(z)
    w = _balance(t, alpha, apply_class_balancing)
    return w * u**gamma * binary_crossentropy_from_logits(t, z)


def binary_focal_crossentropy_from_logits_grad(
    t: Array, z: Array, gamma: float, alpha: float, apply_class_balancing: bool
) -> Array:
    """Return w u^gamma (gamma (1 - 2 t) c p (1 - p) / u + dc/dz) with p = sigmoid(z)."""
    p, q = sigmoid(z), sigmoid(-z)
    u = t * q + (1 - t) * p
    c, slope = binary_crossentropy_from_logits(t, z), binary_crossentropy_from_logits_grad(t, z)
    w = _balance(t, alpha, apply_class_balancing) * u**gamma
    return w * (gamma * (1 - 2 * t) * _product(_ratio(p * q, u, 1), c) + slope)


# ---- Rows ----------------------------------------------------------------------------------------


def categorical_crossentropy(t: Array, y: Array, label_smoothing: float = 0) -> Array:
    """Return -sum_j t_j log(y_j)."""
    return -_product(_smoothed(t, label_smoothing, y.shape[-1]), np.log(y)).sum(axis=-1)


def categorical_crossentropy_grad(t: Array, y: Array, label_smoothing: float = 0) -> Array:
    """Return -t_j / y_j."""
    return -_product(_smoothed(t, label_smoothing, y.shape[-1]), 1 / y)


def categorical_crossentropy_from_logits(t: Array, z: Array, label_smoothing: float = 0) -> Array:
    """Return -sum_j t_j log(softmax(z)_j)."""
    return -_product(_smoothed(t, label_smoothing, z.shape[-1]), _softmax(z)[2]).sum(axis=-1)


def categorical_crossentropy_from_logits_grad(
    t: Array, z: Array, label_smoothing: float = 0
) -> Array:
    """Return p_j sum(t) - t_j with p = softmax(z), as p_j (sum(t) - t_j) - (1 - p_j) t_j."""
    t = _smoothed(t, label_smoothing, z.shape[-1])
    p, q, _ = _softmax(z)
    return p * (t.sum(axis=-1, keepdims=True) - t) - q * t


def sparse_categorical_crossentropy(c: Array, y: Array, label_smoothing: float) -> Array:
    """Return -log(y_c), smoothed as for one-hot rows."""
    return categorical_crossentropy(_one_hot(c, y.real), y, label_smoothing)


def sparse_categorical_crossentropy_grad(c: Array, y: Array, label_smoothing: float) -> Array:
    """Return -1 / y_c at the class c, 0 elsewhere."""
    return categorical_crossentropy_grad(_one_hot(c, y.real), y, label_smoothing)


def sparse_categorical_crossentropy_from_logits(
    c: Array, z: Array, label_smoothing: float
) -> Array:
    """Return -log(softmax(z)_c)."""
    return categorical_crossentropy_from_logits(_one_hot(c, z.real), z, label_smoothing)


def sparse_categorical_crossentropy_from_logits_grad(
    c: Array, z: Array, label_smoothing: float
) -> Array:
    """Return softmax(z)_j - [j = c]."""
    return categorical_crossentropy_from_logits_grad(_one_hot(c, z.real), z, label_smoothing)


def kl_divergence(t: Array, y: Array) -> Array:
    """Return sum_j t_j log(t_j / y_j)."""
    return _product(t, np.log(t / y)).sum(axis=-1)


def kl_divergence_grad(t: Array, y: Array) -> Array:
    """Return -t_j / y_j."""
    return categorical_crossentropy_grad(t, y)


def kl_divergence_from_logits(t: Array, z: Array) -> Array:
    """Return sum_j t_j (log(t_j) - log(softmax(z)_j))."""
    return _product(t, np.log(t) - _softmax(z)[2]).sum(axis=-1)


def kl_divergence_from_logits_grad(t: Array, z: Array) -> Array:
    """Return softmax(z)_j sum(t) - t_j."""
    return categorical_crossentropy_from_logits_grad(t, z)


def categorical_focal_crossentropy(t: Array, y: Array, gamma: float, alpha: float) -> Array:
    """Return -sum_j alpha (1 - y_j)^gamma t_j log(y_j)."""
    return -_product(t, alpha * (1 - y) ** gamma * np.log(y)).sum(axis=-1)


def categorical_focal_crossentropy_grad(t: Array, y: Array, gamma: float, alpha: float) -> Array:
    """Return alpha t_j (1 - y_j)^gamma (gamma log(y_j) / (1 - y_j) - 1 / y_j)."""
    steep = gamma * _ratio(np.log(y), 1 - y, -1)
    return _product(t, alpha * (1 - y) ** gamma * (steep - 1 / y))


def categorical_focal_crossentropy_from_logits(
    t: Array, z: Array, gamma: float, alpha: float
) -> Array:
    """Return -sum_j alpha (1 - p_j)^gamma t_j log(p_j) with p = softmax(z)."""
    _, q, log_p = _softmax(z)
    return -_product(t, alpha * q**gamma * log_p).sum(axis=-1)


def categorical_focal_crossentropy_from_logits_grad(
    t: Array, z: Array, gamma: float, alpha: float
) -> Array:
    """Return p_j (g_j - sum_k g_k p_k) with the gradient g by p.

    With a_j = g_j p_j it is a_j (1 - p_j) - p_j (sum of the other a).
    """
    p, q, log_p = _softmax(z)
    a = _product(t, alpha * q**gamma * (gamma * _ratio(_product(p, log_p), q, -1) - 1))
    return a * q - p * (a.sum(axis=-1, keepdims=True) - a)


def _unit(x: Array) -> tuple[Array, Array]:
    """Return x / |x| along the last axis (0 where x is 0), and |x| (1 there)."""
    norm = np.sqrt((x**2).sum(axis=-1, keepdims=True))
    norm = np.where(norm == 0, 1, norm)
    return x / norm, norm


def cosine_similarity(t: Array, y: Array) -> Array:
    """Return -sum_j t_j y_j / (|t| |y|)."""
    return -(_unit(t)[0] * _unit(y)[0]).sum(axis=-1)


def cosine_similarity_grad(t: Array, y: Array) -> Array:
    """Return (c y_j / |y| - t_j / |t|) / |y| with c = sum_j t_j y_j / (|t| |y|)."""
    (t, _), (y, norm) = _unit(t), _unit(y)
    zero = ~(y.any(axis=-1, keepdims=True) & t.any(axis=-1, keepdims=True))
    return np.where(zero, 0, ((t * y).sum(axis=-1, keepdims=True) * y - t) / norm)


# ---- Margins -------------------------------------------------------------------------------------


def _side(t: Array) -> Array:
    return np.where(t > 0, np.ones_like(t), -np.ones_like(t))


def hinge(t: Array, y: Array) -> Array:
    """Return max(1 - s y, 0), with s = 1 where t > 0, else -1."""
    return _positive(1 - _side(t) * y)


def hinge_grad(t: Array, y: Array) -> Array:
    """Return -s where s y <= 1, else 0."""
    return np.where(_side(t) * y <= 1, -_side(t), 0)


def squared_hinge(t: Array, y: Array) -> Array:
    """Return max(1 - s y, 0)^2."""
    return hinge(t, y) ** 2


def squared_hinge_grad(t: Array, y: Array) -> Array:
    """Return -2 s max(1 - s y, 0)."""
    return -2 * _side(t) * hinge(t, y)


def perceptron(t: Array, y: Array) -> Array:
    """Return max(-s y, 0)."""
    return _positive(-_side(t) * y)


def perceptron_grad(t: Array, y: Array) -> Array:
    """Return -s where s y <= 0, else 0."""
    return np.where(_side(t) * y <= 0, -_side(t), 0)


def modified_huber(t: Array, y: Array) -> Array:
    """Return max(1 - s y, 0)^2, and -4 s y where s y < -1."""
    return np.where(np.real(_side(t) * y) < -1, -4 * _side(t) * y, squared_hinge(t, y))


def modified_huber_grad(t: Array, y: Array) -> Array:
    """Return -2 s max(1 - s y, 0), and -4 s where s y < -1."""
    return np.where(_side(t) * y < -1, -4 * _side(t), squared_hinge_grad(t, y))


def categorical_hinge(t: Array, y: Array) -> Array:
    """Return max(1 + max_j (1 - t_j) y_j - sum_j t_j y_j, 0)."""
    others = (1 - t) * y
    top = np.take_along_axis(others, np.real(others).argmax(axis=-1, keepdims=True), axis=-1)
    return _positive(1 + top[..., 0] - (t * y).sum(axis=-1))


def categorical_hinge_grad(t: Array, y: Array) -> Array:
    """Return -t_j, and 1 - t_j more at the first of the largest, where the loss is not below 0."""
    others = (1 - t) * y
    first = _one_hot(others.argmax(axis=-1), y)
    gap = 1 + others.max(axis=-1) - (t * y).sum(axis=-1)
    return np.where(gap[..., None] >= 0, first * (1 - t) - t, 0)


def _others(c: Array, y: Array) -> tuple[Array, Array]:
    """Return which scores are not those of the class c, and 1 + y_j - y_c."""
    own = np.take_along_axis(y, np.asarray(c)[..., None], axis=-1)
    return _one_hot(c, y.real) == 0, 1 + y - own


def multiclass_hinge(c: Array, y: Array) -> Array:
    """Return max(1 + max_{j != c} y_j - y_c, 0)."""
    other, gaps = _others(c, y)
    gaps = np.where(other, gaps, -np.inf)
    at = np.real(gaps).argmax(axis=-1, keepdims=True)
    return _positive(np.take_along_axis(gaps, at, axis=-1)[..., 0])


def multiclass_hinge_grad(c: Array, y: Array) -> Array:
    """Return -1 at c and 1 at the first of the largest others, where the loss is not below 0."""
    other, gaps = _others(c, y)
    gaps = np.where(other, gaps, -np.inf)
    first = _one_hot(gaps.argmax(axis=-1), y)
    return np.where(gaps.max(axis=-1, keepdims=True) >= 0, first - _one_hot(c, y), 0)


def multi_margin(c: Array, y: Array) -> Array:
    """Return sum_{j != c} max(1 - y_c + y_j, 0) / classes."""
    other, gaps = _others(c, y)
    return np.where(other, _positive(gaps), 0).sum(axis=-1) / y.shape[-1]


def multi_margin_grad(c: Array, y: Array) -> Array:
    """Return 1 / classes where a term is above 0, and minus their sum at c."""
    other, gaps = _others(c, y)
    share = (other & (gaps > 0)).astype(y.dtype) / y.shape[-1]
    return np.where(other, share, -share.sum(axis=-1, keepdims=True))


LOSSES: dict[str, tuple[Twin, Twin]] = {
    "mse": (mse, mse_grad),
    "half_mse": (half_mse, half_mse_grad),
    "mae": (mae, mae_grad),
    "huber": (huber, huber_grad),
    "log_cosh": (log_cosh, log_cosh_grad),
    "quantile": (quantile, quantile_grad),
    "epsilon_insensitive": (epsilon_insensitive, epsilon_insensitive_grad),
    "squared_epsilon_insensitive": (squared_epsilon_insensitive, squared_epsilon_insensitive_grad),
    "poisson": (poisson, poisson_grad),
    "poisson_log_rate": (poisson_log_rate, poisson_log_rate_grad),
    "gamma": (gamma, gamma_grad),
    "tweedie": (tweedie, tweedie_grad),
    "gaussian_nll": (gaussian_nll, gaussian_nll_grad),
    "binary_crossentropy": (binary_crossentropy, binary_crossentropy_grad),
    "binary_crossentropy_from_logits": (
        binary_crossentropy_from_logits,
        binary_crossentropy_from_logits_grad,
    ),
    "binary_focal_crossentropy": (binary_focal_crossentropy, binary_focal_crossentropy_grad),
    "binary_focal_crossentropy_from_logits": (
        binary_focal_crossentropy_from_logits,
        binary_focal_crossentropy_from_logits_grad,
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
    "kl_divergence": (kl_divergence, kl_divergence_grad),
    "kl_divergence_from_logits": (kl_divergence_from_logits, kl_divergence_from_logits_grad),
    "categorical_focal_crossentropy": (
        categorical_focal_crossentropy,
        categorical_focal_crossentropy_grad,
    ),
    "categorical_focal_crossentropy_from_logits": (
        categorical_focal_crossentropy_from_logits,
        categorical_focal_crossentropy_from_logits_grad,
    ),
    "cosine_similarity": (cosine_similarity, cosine_similarity_grad),
    "hinge": (hinge, hinge_grad),
    "squared_hinge": (squared_hinge, squared_hinge_grad),
    "perceptron": (perceptron, perceptron_grad),
    "modified_huber": (modified_huber, modified_huber_grad),
    "categorical_hinge": (categorical_hinge, categorical_hinge_grad),
    "multiclass_hinge": (multiclass_hinge, multiclass_hinge_grad),
    "multi_margin": (multi_margin, multi_margin_grad),
}
