"""Losses put together from traced operations, for derivatives that no instruction has.

These are second derivatives, and those with respect to targets. The twins in
`gdcore.reference.losses` serve, but where they look at numbers. Class numbers become one-hot rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gdcore import _core
from gdcore.autodiff import _primitives as p
from gdcore.reference import losses as twins

__all__ = ["composed", "composed_gradient", "of_traced_labels"]

Function = Callable[..., Any]
_ACTIVATIONS = {row["name"]: number for number, row in enumerate(_core.ACTIVATIONS)}
_LOSSES = {row["name"]: number for number, row in enumerate(_core.LOSSES)}


def _rowwise(name: str, z: Any) -> Any:
    return z.tape.emit("activation", z.shape, z.dtype, (z,), (float(_ACTIVATIONS[name]),))


def _log_softmax(z: Any) -> Any:
    return _rowwise("log_softmax", z)


# ---- Values --------------------------------------------------------------------------------------


def _crossentropy(t: Any, z: Any, label_smoothing: float = 0) -> Any:
    t = t * (1 - label_smoothing) + label_smoothing / z.shape[-1]
    return -np.sum(t * _log_softmax(z), axis=-1)


def _kl_divergence(t: Any, z: Any) -> Any:
    log_t = np.log(np.where(t == 0, 1.0, t))
    return np.sum(t * (log_t - _log_softmax(z)), axis=-1)


def _focal(t: Any, z: Any, gamma: float, alpha: float) -> Any:
    log_p = _log_softmax(z)
    q = -np.expm1(log_p)
    return -np.sum(t * (alpha * q**gamma * log_p), axis=-1)


def _unit(x: Any) -> Any:
    """Return x / |x| along the last axis, and 0 where x is 0."""
    square = np.sum(x * x, axis=-1, keepdims=True)
    return x / np.sqrt(np.where(square == 0, 1.0, square))


def _cosine_similarity(t: Any, y: Any) -> Any:
    return -np.sum(_unit(t) * _unit(y), axis=-1)


def _positive(x: Any) -> Any:
    return np.where(x <= 0, 0.0, x)


def _categorical_hinge(t: Any, y: Any) -> Any:
    others = np.max((1 - t) * y, axis=-1)
    return _positive(1 + others - np.sum(t * y, axis=-1))


def _multiclass_hinge(t: Any, y: Any) -> Any:
    own = np.sum(t * y, axis=-1)
    return _positive(1 + np.max(np.where(t == 0, y, -np.inf), axis=-1) - own)


def _multi_margin(t: Any, y: Any) -> Any:
    own = np.sum(t * y, axis=-1, keepdims=True)
    gaps = np.where(t == 0, _positive(1 + y - own), 0.0)
    return np.sum(gaps, axis=-1) * (1 / y.shape[-1])


_VALUES: dict[str, Function] = {
    "categorical_crossentropy_from_logits": _crossentropy,
    "kl_divergence_from_logits": _kl_divergence,
    "categorical_focal_crossentropy_from_logits": _focal,
    "cosine_similarity": _cosine_similarity,
    "categorical_hinge": _categorical_hinge,
    "multiclass_hinge": _multiclass_hinge,
    "multi_margin": _multi_margin,
}


# ---- Gradients -----------------------------------------------------------------------------------


def _crossentropy_grad(t: Any, z: Any, label_smoothing: float = 0) -> Any:
    t = t * (1 - label_smoothing) + label_smoothing / z.shape[-1]
    return _rowwise("softmax", z) * np.sum(t, axis=-1, keepdims=True) - t


def _focal_grad(t: Any, z: Any, gamma: float, alpha: float) -> Any:
    p_, log_p = _rowwise("softmax", z), _log_softmax(z)
    q = -np.expm1(log_p)
    certain = q == 0
    steep = np.where(certain, -1.0, p_ * log_p / np.where(certain, 1.0, q))
    a = t * (alpha * q**gamma * (gamma * steep - 1))
    return a - p_ * np.sum(a, axis=-1, keepdims=True)


def _cosine_grad(t: Any, y: Any) -> Any:
    square = np.sum(y * y, axis=-1, keepdims=True)
    norm = np.sqrt(np.where(square == 0, 1.0, square))
    t, y = _unit(t), y / norm
    slope = (np.sum(t * y, axis=-1, keepdims=True) * y - t) / norm
    return np.where(square == 0, 0.0, slope)


def _categorical_hinge_grad(t: Any, y: Any) -> Any:
    others = (1 - t) * y
    top = np.max(others, axis=-1, keepdims=True)
    active = 1 + top - np.sum(t * y, axis=-1, keepdims=True) >= 0
    first = (others == top).astype(y.dtype)
    return np.where(active, first * (1 - t) / np.sum(first, axis=-1, keepdims=True) - t, 0.0)


def _flat(t: Any, y: Any) -> Any:
    """Return the gradient of straight pieces, as far as its own derivative goes: 0."""
    return p.filled(y, 0.0)


_GRADIENTS: dict[str, Function] = {
    "categorical_crossentropy_from_logits": _crossentropy_grad,
    "kl_divergence_from_logits": _crossentropy_grad,
    "categorical_focal_crossentropy_from_logits": _focal_grad,
    "cosine_similarity": _cosine_grad,
    "categorical_hinge": _categorical_hinge_grad,
    "multiclass_hinge": _flat,
    "multi_margin": _flat,
}


# ---- By instruction ------------------------------------------------------------------------------


def _by_row(params: Any, t: Any, y: Any) -> tuple[str, Any, dict[str, float]]:
    """Return the row whose function is to be taken, its targets in y's shape, its parameters."""
    row = _core.LOSSES[int(params[0])]
    name, given = row["name"], dict(zip(row["params"], params[1:], strict=True))
    if row["kind"] == "sparse":
        eye = y.tape.input(np.eye(y.shape[-1], dtype=y.dtype))
        return name.removeprefix("sparse_"), p.reshape(p.gather(eye, t, 0), y.shape), given
    shape = y.shape[:-1] if row["kind"] == "paired" else y.shape
    return name, p.reshape(t, shape), given


def composed(params: Any, t: Any, y: Any) -> Any:
    """Return what the instruction `loss` does, in other instructions."""
    name, t, given = _by_row(params, t, y)
    return (_VALUES.get(name) or twins.LOSSES[name][0])(t, y, **given)


def composed_gradient(params: Any, t: Any, y: Any) -> Any:
    """Return what the instruction `loss_grad` does, in other instructions."""
    name, t, given = _by_row(params, t, y)
    return (_GRADIENTS.get(name) or twins.LOSSES[name][1])(t, y, **given)


def of_traced_labels(name: str, labels: Any, y: Any, params: tuple[float, ...]) -> Any:
    """Return the losses of rows of class numbers that are traced; NaN for one that is none."""
    classes = np.arange(y.shape[-1], dtype=y.dtype)
    t = np.equal(np.expand_dims(p.as_type(labels, y.dtype), -1), classes).astype(y.dtype)
    other = name.removeprefix("sparse_")
    if other == name:
        losses = _VALUES[name](t, y)
    else:
        row = (float(_LOSSES[other]), *params)
        losses = y.tape.emit("loss", y.shape[:-1], y.dtype, (t, y), row)
    return np.where(np.sum(t, axis=-1) == 1, losses, np.nan)
