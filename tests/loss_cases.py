"""Losses to test, drawn from the core's table: settings, targets, predictions, twins, tolerances.

What a row's predictions and targets may be is asked of its twin. A loss of pairs has rows of two.
"""

import numpy as np
from test_math import WIDE, bits

import gdcore as gd
from gdcore import _core
from gdcore.reference.losses import LOSSES

ROWS = {row["name"]: row for row in _core.LOSSES}
LOGITS = "_from_logits"
CHANGED = {
    "positive": 0.7,
    "open unit": 0.8,
    "non-negative": 0.35,
    "unit": 0.15,
    "at least one": 2.0,
    "boolean": True,
}


def kind_of(row):
    return ROWS[row]["kind"]


def settings_of(row):
    """The default parameters, and others."""
    others = {name: CHANGED[domain] for name, domain in ROWS[row]["domains"].items()}
    return [{}, others] if others else [{}]


def loss_of(row, reduction="mean", **params):
    name = row.removesuffix(LOGITS)
    return gd.losses.Loss(name, reduction=reduction, from_logits=name != row, **params)


def twin(row, target, pred, **params):
    """(losses, gradient) of the twin in the wide type."""
    params = {**ROWS[row]["params"], **params}
    with np.errstate(all="ignore"):
        return tuple(each(wide(target), wide(pred), **params) for each in LOSSES[row])


def wide(array):
    return array.astype(WIDE[array.dtype]) if array.dtype.kind == "f" else array


def one_row(row, prediction, target=1.0):
    """The twin's loss of a prediction for a target, or for the first class of two."""
    if kind_of(row) == "pointwise":
        return twin(row, np.array([target]), np.array([prediction]))[0]
    targets = {"rowwise": np.eye(1, 2), "sparse": np.zeros(1, int), "paired": np.ones(1)}
    return twin(row, targets[kind_of(row)], np.array([[prediction, -prediction]]))[0]


# Rows that take any real prediction, not probabilities or rates, and those whose targets are not 0.
REAL = {row for row in ROWS if np.isfinite(one_row(row, 1.5)) and np.isfinite(one_row(row, -1.5))}
NOT_ZERO = {row for row in ROWS if np.isinf(one_row(row, 0.5, target=0.0))}


def shaped(row, shape):
    """The shape, with a last axis of two for rows of pairs."""
    return (*shape[: max(len(shape) - 1, 1)], 2) if kind_of(row) == "paired" else shape


def case(row, shape, dtype, rng, soft=False):
    """(y_true, y_pred): hard targets (0, 1, a class), or soft ones (but for class numbers)."""
    shape, kind = shaped(row, shape), kind_of(row)
    pred = 3 * rng.normal(size=shape)
    classes = shape[-1] if shape else 1
    if row not in REAL:
        pred = gd.sigmoid(pred) if kind == "pointwise" else gd.softmax(pred)
    if kind == "pointwise":
        target = rng.random(shape) if soft else rng.integers(0, 2, shape) + (row in NOT_ZERO)
    elif kind == "rowwise" and soft:
        target = gd.softmax(rng.normal(size=shape))
    elif kind == "paired":
        target = rng.normal(size=shape[:-1]) if soft else rng.integers(0, 2, shape[:-1])
    else:
        target = rng.integers(0, classes, shape[:-1])
        target = np.eye(classes)[target] if kind == "rowwise" else target
    target = np.asarray(target)
    return target if kind == "sparse" else target.astype(dtype), np.asarray(pred).astype(dtype)


# Rotations: what an element of a row loses is measured by the row's largest.
BY_THE_ROW = {"cosine_similarity"}


def slack(row, target, pred, rng, **params):
    """By how much loss and gradient change where arguments are off by an epsilon of their type.

    What an algorithm that rounds may lose; each argument and each element by itself. Draws that
    leave the domain of a loss count for nothing.
    """
    eps = np.finfo(pred.dtype).eps
    params = {**ROWS[row]["params"], **params}
    exact = twin(row, target, pred, **params)
    total = [np.zeros(np.shape(part)) for part in exact]

    def off(x):
        size = np.abs(wide(x)).max(axis=-1, keepdims=True) if row in BY_THE_ROW else wide(x)
        return wide(x) + eps * size * rng.choice([-1, 1], np.shape(x))

    def add(draws):
        with np.errstate(invalid="ignore"):
            for i, part in enumerate(exact):
                total[i] = total[i] + np.nansum([abs(draw[i] - part) for draw in draws], axis=0)

    with np.errstate(all="ignore"):
        add([[f(wide(target), off(pred), **params) for f in LOSSES[row]] for _ in range(6)])
        if kind_of(row) != "sparse":
            add([[f(off(target), wide(pred), **params) for f in LOSSES[row]] for _ in range(6)])
        for name, value in params.items():
            if not isinstance(value, bool):
                add([twin(row, target, pred, **params | {name: value * (1 + eps)})])
    return total


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(bits(a), bits(b))


def rows_of(row, shape):
    """How many rows have a weight."""
    return shape[0] if kind_of(row) == "pointwise" else int(np.prod(shape[:-1]))
