"""Metrics by loops over rows as lists, what they are tried on, and callables of a user's."""

import math

import numpy as np
import pytest


def pairs(a, b):
    return zip(a, b, strict=True)


def mean(values, weights):
    total = sum(weights)
    return sum(v * w for v, w in pairs(values, weights)) / total if total else 0.0


def place_of_largest(row):
    return row.index(max(row))


def class_of(target, columns):
    """Class of a target row: of its number, or of the largest of a one-hot row."""
    return int(target[0]) if len(target) < columns else place_of_largest(target)


def binary_accuracy(y, p, w, threshold=0.5):
    rows = [[(b > threshold) == (a > 0) for a, b in zip(*r, strict=True)] for r in pairs(y, p)]
    return mean([sum(row) / len(row) for row in rows], w)


def categorical_accuracy(y, p, w):
    return mean([class_of(t, len(r)) == place_of_largest(r) for t, r in pairs(y, p)], w)


def top_k(y, p, w, k=5):
    def found(target, row):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c))
        return class_of(target, len(row)) in order[:k]

    return mean([found(t, r) for t, r in pairs(y, p)], w)


def counts(y, p, w, threshold):
    """Sums of weights of right, predicted, actual for each class or label."""
    columns = len(p[0])
    sums = [[0.0, 0.0, 0.0] for _ in range(columns)]
    for target, row, weight in zip(y, p, w, strict=True):
        if columns == 1 or threshold is not None:
            center = 0.5 if threshold is None else threshold
            actual, predicted = [a > 0 for a in target], [b > center for b in row]
        else:
            actual = [class_of(target, columns) == c for c in range(columns)]
            predicted = [place_of_largest(row) == c for c in range(columns)]
        for c in range(columns):
            hits = (actual[c] and predicted[c], predicted[c], actual[c])
            sums[c] = [s + weight * hit for s, hit in zip(sums[c], hits, strict=True)]
    return sums


def ratio_of(top, bottom):
    def metric(y, p, w, threshold=None, average="macro"):
        sums = counts(y, p, w, threshold)
        if average == "micro":
            sums = [[sum(column) for column in zip(*sums, strict=True)]]
        scores = [top(s) / bottom(s) if bottom(s) else 0.0 for s in sums]
        if average == "weighted":
            return mean(scores, [s[2] for s in sums])
        several = threshold is None and len(sums) > 1
        return mean(scores, [float(not several or s[1] + s[2] > 0) for s in sums])

    return metric


def auc(y, p, w):
    """By all pairs of a yes and a no."""
    columns = len(p[0])
    answers = [class_of(t, 2) == 1 if columns == 2 else t[0] > 0 for t in y]
    wins = total = 0.0
    for a, p_a, w_a in zip(answers, p, w, strict=True):
        for b, p_b, w_b in zip(answers, p, w, strict=True):
            if a and not b:
                total += w_a * w_b
                wins += w_a * w_b * ((p_a[-1] > p_b[-1]) + (p_a[-1] == p_b[-1]) / 2)
    return wins / total if total else math.nan


def by_output(one):
    """The mean over outputs of a metric of one output."""

    def metric(y, p, w):
        outputs = [one(a, b, w) for a, b in pairs(zip(*y, strict=True), zip(*p, strict=True))]
        return sum(outputs) / len(outputs)

    return metric


def r2(y, p, w):
    if len(y) < 2 or not sum(w):
        return math.nan
    middle = mean([t - y[0] for t in y], w)
    spread = sum(v * (t - y[0] - middle) ** 2 for t, v in zip(y, w, strict=True))
    left = sum(v * (a - b) ** 2 for a, b, v in zip(y, p, w, strict=True))
    return 1 - left / spread if spread else float(left == 0)


def error(cost, end=float):
    return by_output(lambda y, p, w: end(mean([cost(b - a) for a, b in pairs(y, p)], w)))


def largest_error(y_true, y_pred):
    """A callable of the user's: one number."""
    return np.abs(np.subtract(y_true, y_pred)).max()


def errors_of_rows(y_true, y_pred):
    """A callable of the user's: a value a row."""
    errors = np.subtract(y_true, y_pred, dtype=np.float64)
    return np.abs(errors).reshape(len(y_pred), -1).mean(axis=1)


def weighted_error(y_true, y_pred, sample_weight=None):
    """A callable of the user's that takes the weights."""
    return np.average(errors_of_rows(y_true, y_pred), weights=sample_weight)


precision = ratio_of(lambda s: s[0], lambda s: s[1])
recall = ratio_of(lambda s: s[0], lambda s: s[2])
f1 = ratio_of(lambda s: 2 * s[0], lambda s: s[1] + s[2])
mae = error(abs)

# Each kind with its settings, the forms of its data, and its oracle.
CASES = [
    ("accuracy", {}, "flat column", binary_accuracy),
    ("accuracy", {}, "sparse onehot", categorical_accuracy),
    ("binary_accuracy", {}, "flat column labels signs", binary_accuracy),
    ("binary_accuracy", {"threshold": 0.25}, "flat column labels", binary_accuracy),
    ("categorical_accuracy", {}, "onehot", categorical_accuracy),
    ("sparse_categorical_accuracy", {}, "sparse", categorical_accuracy),
    *(("top_k_categorical_accuracy", {"k": k}, "onehot", top_k) for k in (1, 2, 4)),
    *(("sparse_top_k_categorical_accuracy", {"k": k}, "sparse", top_k) for k in (1, 3)),
    *(
        (name, settings, forms, oracle)
        for name, oracle in (("precision", precision), ("recall", recall), ("f1", f1))
        for settings, forms in [
            ({}, "flat column signs sparse onehot"),
            ({"threshold": 0.25}, "flat labels"),
            ({"average": "micro"}, "sparse onehot"),
            ({"average": "weighted"}, "column sparse onehot"),
            ({"average": "weighted", "threshold": 0.5}, "labels"),
        ]
    ),
    ("auc", {}, "flat column signs two", auc),
    ("mae", {}, "values1 values3", mae),
    ("mse", {}, "values1 values3", error(lambda d: d * d)),
    ("rmse", {}, "values1 values3", error(lambda d: d * d, math.sqrt)),
    ("r2", {}, "values1 values3", by_output(r2)),
    (largest_error, {}, "values1", None),
    (errors_of_rows, {}, "values1 values3", mae),
    (weighted_error, {}, "values1 values3", mae),
]


def title(name, options, form):
    return "-".join([getattr(name, "__name__", name), *map(str, options.values()), form])


FORMS = [
    pytest.param(name, options, form, oracle, id=title(name, options, form))
    for name, options, forms, oracle in CASES
    for form in forms.split()
]


def draw(form, rng, rows, dtype=np.float64):
    """Targets and predictions of a form; scores are eighths, so that many are equal."""
    columns = {"labels": 3, "sparse": 4, "onehot": 4, "two": 2, "values3": 3}.get(form, 1)
    p = (rng.integers(0, 9, (rows, columns)) / 8).astype(dtype)
    if form in ("sparse", "two"):
        return rng.integers(0, columns, rows), p
    if form == "onehot":
        return np.eye(columns, dtype=dtype)[rng.integers(0, columns, rows)], p
    if form.startswith("values"):
        return (rng.integers(-8, 9, p.shape) / 4).astype(dtype), p
    y = rng.integers(0, 2, p.shape)
    if form == "signs":
        return (2 * y - 1).astype(dtype), p
    return (y, p) if form != "flat" else (y[:, 0], p[:, 0])


def lists(array):
    return np.asarray(array, np.float64).reshape(len(array), -1).tolist()
