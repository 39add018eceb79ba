"""gdcore's own activations and losses of traced values, see `gdcore._hooks`.

What they check, they check as the functions of arrays do, in the same words: where something does
not fit, the core is called with zeros in the place of traced values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from gdcore import _core
from gdcore.autodiff import _primitives as p
from gdcore.autodiff._composed_losses import of_traced_labels
from gdcore.autodiff._errors import untraceable
from gdcore.autodiff._operands import as_real, first_traced, is_traced, lift
from gdcore.autodiff._ufuncs import promoted

__all__ = ["activate", "activate_along", "activation", "dense", "loss"]

Spec = tuple[float, ...]
_ROWS = {row["name"]: number for number, row in enumerate(_core.ACTIVATIONS)}
# Rows that are elementwise instructions themselves.
_INSTRUCTIONS = {_ROWS["sigmoid"]: "sigmoid", _ROWS["tanh"]: "tanh"}
_MEAN, _NONE = 0, 2  # positions in gdcore.losses.REDUCTIONS


# ---- Activations ---------------------------------------------------------------------------------


def activation(name: str, z: Any, alpha: Any = None) -> Any:
    """Return one of gdcore's ufuncs: an activation with its default parameters, or prelu."""
    if name == "prelu":
        return _prelu(z, alpha)
    return activate((_ROWS[name], *_core.ACTIVATIONS[_ROWS[name]]["params"].values()), z)


def activate(spec: Spec, z: Any, out: Any = None) -> Any:
    """Return a row of the activations with its parameters, rowwise ones along the last axis."""
    if out is not None:
        raise untraceable("An activation with out= of a traced value", "Use the result: y = act(z)")
    z = as_real(lift(z))
    row = int(spec[0])
    if row == _ROWS["linear"]:
        return z
    if row in _INSTRUCTIONS:
        return p.mapped(_INSTRUCTIONS[row], (z,), z.dtype)
    return z.tape.emit("activation", z.shape, z.dtype, (z,), tuple(map(float, spec)))


def activate_along(spec: Spec, name: str, z: Any, axis: int) -> Any:
    """Return a rowwise activation along an axis."""
    z = lift(z)
    if axis == -1 and not z.shape:
        raise ValueError(f"z is a number; {name} needs at least one axis: an array of logits")
    axis = normalize_axis_index(axis, len(z.shape), f"{name}'s z")
    return np.moveaxis(activate(spec, np.moveaxis(z, axis, -1)), -1, axis)


def dense(X: Any, W: Any, b: Any, act: Any, out: Any, z_out: Any) -> Any:
    """Return act(X @ W + b), as `gdcore.dense`."""
    if out is not None or z_out is not None:
        raise untraceable("gd.dense with out= or z_out= of traced values", "Use the result")
    z = np.matmul(X, W)
    z = z if b is None else z + b
    return z if act is None else act(z)


def _prelu(z: Any, alpha: Any) -> Any:
    """Return z where z > 0, else alpha z; both may be traced."""
    z, alpha = (as_real(x) for x in promoted(z, alpha))
    low = np.less_equal(z, 0)
    return np.where(low, alpha * np.where(low, z, 0.0), z)


# ---- Losses --------------------------------------------------------------------------------------


def _complain(spec: Spec, *operands: Any) -> None:
    """Raise what the core says of operands of these shapes and types, if it does."""
    y_true, y_pred, weights = (np.zeros(x.shape, x.dtype) if is_traced(x) else x for x in operands)
    _core.loss(spec, y_true, y_pred, weights, _NONE, False)


def _agree(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether shapes differ by axes of length 1 only."""
    return [n for n in shape if n != 1] == [n for n in wanted if n != 1]


def _operand(x: Any, like: Any, wanted: Sequence[int]) -> Any:
    """Return targets or weights in y_pred's type and in a shape, or None where they do not fit."""
    if not is_traced(x):
        x = np.asarray(x)
        x = x.astype(like.dtype) if x.dtype.kind in "biu" else x
        x = x if x.dtype.kind == "f" and isinstance(x, np.ndarray) else np.asarray(x)
    x = lift(x, like)
    x = p.as_type(x, like.dtype) if x.dtype.kind in "bi" else x
    if x.dtype != like.dtype or not _agree(x.shape, wanted):
        return None
    return p.reshape(x, tuple(wanted))


def _labels(x: Any, classes: int, wanted: Sequence[int]) -> Any:
    """Return plain class numbers in a row, or None where they do not fit."""
    array = np.asarray(x)
    if array.dtype.kind not in "biuf" or not _agree(array.shape, wanted):
        return None
    with np.errstate(invalid="ignore"):
        whole = array.astype(np.int64, copy=False)
    if array.size and (whole.min() < 0 or whole.max() >= classes or (whole != array).any()):
        return None
    return whole if whole.ndim == 1 else whole.reshape(-1)


def _each(spec: Spec, y_true: Any, y: Any) -> Any:
    """Return the losses of elements or rows, or None where targets do not fit."""
    row = _core.LOSSES[int(spec[0])]
    kind, params = row["kind"], tuple(map(float, spec))
    per_row = y.shape[:-1]
    if kind == "paired" and y.shape[-1] != 2:
        return None
    if kind == "sparse" and is_traced(y_true):
        if not _agree(y_true.shape, per_row):
            return None
        return of_traced_labels(row["name"], p.reshape(y_true, per_row), y, params[1:])
    if kind == "sparse":
        labels = _labels(y_true, y.shape[-1], per_row)
        target = None if labels is None else _indices(y.tape, labels)
    else:
        target = _operand(y_true, y, per_row if kind == "paired" else y.shape)
    if target is None:
        return None
    shape = y.shape if kind == "pointwise" else per_row
    if p.size(y) == 0:
        return p.filled(y, 0.0, shape)
    return y.tape.emit("loss", shape, y.dtype, (target, y), params)


def _indices(tape: Any, labels: Any) -> Any:
    """Return the value of class numbers; a compiled function reads them anew at each run."""
    return tape.indices(labels if tape.compiling else labels.copy())


def _weighted_mean(losses: Any, weights: Any, rows: int) -> Any:
    """Return the mean of weighted losses; 0 where the weights' sum is."""
    total, per_row = np.sum(losses), p.size(losses) // rows if rows else 0
    if weights is None:
        count = rows * per_row
        return total * (1 / count) if count else total
    count = np.sum(weights) * float(per_row)
    none = np.equal(count, 0)
    return np.where(none, 0.0, total / np.where(none, 1.0, count))


def loss(spec: Spec, y_true: Any, y_pred: Any, sample_weight: Any, reduction: int) -> Any:
    """Return a row of the losses, weighted and reduced, as `gdcore.losses.Loss` calls it."""
    like = first_traced(y_true, y_pred, sample_weight)
    pointwise = _core.LOSSES[int(spec[0])]["kind"] == "pointwise"
    y = as_real(lift(y_pred, like))
    y = y if y.shape or pointwise else p.reshape(y, (1,))
    losses = _each(spec, y_true, y)
    axes = min(len(y.shape), 1) if pointwise else len(y.shape) - 1
    rows, weights = math.prod(y.shape[:axes]), None
    if losses is not None and sample_weight is not None:
        count = p.size(sample_weight) if is_traced(sample_weight) else np.size(sample_weight)
        weights = _operand(np.reshape(sample_weight, -1), y, (rows,)) if count == rows else None
    if losses is None or (sample_weight is not None and weights is None):
        _complain(spec, y_true, y_pred, sample_weight)
        raise ValueError("y_true, y_pred and sample_weight do not fit")
    if weights is not None:
        shape = (*y.shape[:axes], *[1] * (len(losses.shape) - axes))
        losses = losses * p.reshape(weights, shape)
    if reduction == _NONE:
        return losses
    return _weighted_mean(losses, weights, rows) if reduction == _MEAN else np.sum(losses)
