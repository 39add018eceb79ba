"""What targets say of classes: yes and no, class numbers, one-hot rows; clear errors otherwise."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from gdcore._metric import Array, Metric

_SUM = 1e-3  # how far a row of probabilities may be from 1


def same_shapes(metric: Metric, y_true: Array, y_pred: Array) -> None:
    """Refuse shapes that differ; axes of length 1 are alike already."""
    if y_true.shape != y_pred.shape:
        metric._refuse_shapes(
            y_true, y_pred, "; accepted are shapes that differ only by axes of length 1"
        )


def classes_of(metric: Metric, y_pred: Array) -> int:
    """Return the number of classes of predictions (rows, classes)."""
    classes: int = y_pred.shape[1] if y_pred.ndim == 2 else 0
    if classes < 2:
        _refuse_columns(metric, f"y_pred has shape {y_pred.shape}")
    return classes


def need_classes(metric: Metric, outputs: int) -> None:
    """Refuse a model of one output."""
    if outputs < 2:
        _refuse_columns(metric, "there is 1 output")


def _refuse_columns(metric: Metric, found: str) -> NoReturn:
    metric._refuse(
        f"{found}; accepted is a column for each of two or more classes (for one column of yes or "
        'no: "binary_accuracy")'
    )


def yes(metric: Metric, y_true: Array) -> Array:
    """Return where targets say yes; they are 0 and 1, or -1 and 1."""
    answers: Array = y_true > 0
    good = y_true == answers
    if np.count_nonzero(good) != y_true.size and not (np.abs(y_true) == 1).all():
        strange = ~good & (y_true != -1)
        place = _first(strange if strange.any() else ~good)
        metric._refuse(
            f"y_true holds {y_true[place]} in row {place[0]}; accepted are 0 and 1, or -1 and 1"
        )
    return answers


def class_numbers(metric: Metric, y_true: Array, y_pred: Array) -> Array:
    """Return class numbers (rows,) that are columns of y_pred."""
    classes = classes_of(metric, y_pred)
    rows = len(y_pred)
    if y_true.shape not in ((rows,), (rows, 1)):
        metric._refuse_shapes(y_true, y_pred, f"; accepted are class numbers, ({rows},)")
    given = y_true.reshape(rows)
    if given.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            numbers = given.astype(np.intp)
        whole = np.count_nonzero(numbers == given) == rows
    else:
        numbers, whole = given.astype(np.intp, copy=False), True
    if not whole or np.maximum.reduce(numbers.view(np.uintp)) >= classes:
        wrong = (numbers != given) | (numbers < 0) | (numbers >= classes)
        place = _first(wrong)
        metric._refuse(
            f"y_true holds {given[place]} in row {place[0]}; accepted are the class numbers 0 to "
            f"{classes - 1}, as y_pred has {classes} columns"
        )
    return numbers


def one_hot(metric: Metric, y_true: Array, y_pred: Array) -> Array:
    """Return the class (rows,) of each one-hot row, or of the largest of its probabilities."""
    if y_true.shape != y_pred.shape:
        metric._refuse_shapes(y_true, y_pred, "; accepted are one-hot rows shaped like y_pred")
    far = np.abs(y_true.sum(axis=1, dtype=np.float64) - 1)
    if not np.maximum.reduce(far) <= _SUM:
        place = _first(~(far <= _SUM))
        metric._refuse(
            f"row {place[0]} of y_true is {y_true[place]}; accepted are rows that sum to 1 (for "
            "several labels a row: a threshold, as in binary_accuracy, precision, recall, f1)"
        )
    numbers: Array = y_true.argmax(axis=1)
    return numbers


def _first(wrong: Array) -> tuple[int, ...]:
    """Return the index of the first True."""
    return tuple(int(i) for i in np.unravel_index(wrong.argmax(), wrong.shape))
