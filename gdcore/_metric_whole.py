"""Metrics that need all rows at once: the area under the ROC curve, and callables."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdcore._metric import Array, Metric, Sums
from gdcore._metric_labels import class_numbers, one_hot, same_shapes, yes


@dataclass(frozen=True, repr=False)
class Whole(Metric):
    """Base of metrics whose sums are lists of arrays, an array for each block."""

    def _merged(self, old: Sums, new: Sums) -> Sums:
        for kept, more in zip(old, new, strict=True):
            kept.extend(more)
        return old


def _joined(blocks: list[Array]) -> Array:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _ones(rows: int) -> Array:
    """Return weights of 1 that take no memory."""
    return np.broadcast_to(1.0, rows)


@dataclass(frozen=True, repr=False)
class AUC(Whole):
    """Area under the ROC curve, exactly: how often a row of yes is above one of no.

    It is the probability that a row drawn from those of yes has the larger prediction than one
    drawn from those of no, equal predictions counting half [scikit-learn's ``roc_auc_score``;
    Keras's is an approximation by 200 thresholds]. Any growing function of the probabilities, such
    as logits, gives the same.

    y_pred is (rows,) or (rows, 1), and y_true holds 0 and 1, or -1 and 1. It may also be (rows, 2)
    with the probability of yes in column 1, and y_true class numbers or one-hot rows.

    Notes
    -----
    nan where all rows are of one class, since there is no pair to compare, and where a prediction
    is NaN. A stream keeps predictions, targets and weights of all its rows, and sorts them for the
    result.

    Examples
    --------
    >>> gd.metrics.get("auc")([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    >>> gd.metrics.get("auc")([1, 1], [0.3, 0.8])
    nan
    """

    _default = "auc"
    _empty = math.nan

    def _resolved(self, loss_kind: str, outputs: int, meaning: str) -> Metric:
        two = loss_kind != "pointwise" and meaning == "probability"
        if outputs > 1 + two or (loss_kind == "sparse" and outputs == 1):
            self._refuse(
                f"there are {outputs} outputs; accepted is 1, or 2 probabilities of a loss of "
                'classes (for several classes: "accuracy", "f1", or a callable)'
            )
        return self

    def _terms(self, y_true: Array, y_pred: Array, weights: Array | None) -> Sums:
        rows = len(y_pred)
        if y_pred.shape == (rows, 2):
            read = one_hot if y_true.shape == y_pred.shape else class_numbers
            answers, scores = read(self, y_true, y_pred) == 1, y_pred[:, 1]
        else:
            if y_pred.shape not in ((rows,), (rows, 1)):
                self._refuse_shapes(
                    y_true, y_pred, "; accepted as y_pred are (rows,), (rows, 1) and (rows, 2)"
                )
            same_shapes(self, y_true, y_pred)
            answers, scores = yes(self, y_true).reshape(rows), y_pred.reshape(rows)
        return [answers], [scores.copy()], [_ones(rows) if weights is None else weights.copy()]

    def _value(self, sums: Sums) -> float:
        answers, scores, weights = map(_joined, sums)
        order = np.argsort(scores)
        scores = scores[order]
        if np.isnan(scores[-1]):
            return math.nan
        # Equal scores share a place; sums go along the rows, in whatever order these were sorted.
        place = np.empty(len(order), np.intp)
        place[order] = np.cumsum(np.concatenate(([False], scores[1:] != scores[:-1])))
        of_yes = np.bincount(place, np.where(answers, weights, 0.0))
        of_no = np.bincount(place, np.where(answers, 0.0, weights))
        below = np.cumsum(of_no) - of_no
        pairs = float(of_yes.sum()) * float(of_no.sum())
        return float((of_yes * (below + of_no / 2)).sum()) / pairs if pairs else math.nan


@dataclass(frozen=True, repr=False)
class Function(Whole):
    """A callable of the user's, ``function(y_true, y_pred)``, of whole sets.

    y_true is reshaped to y_pred where only axes of length 1 differ. The result is a number, or a
    value for each row, (rows,) or (rows, 1), of which the weighted mean is taken [Keras]. Where the
    signature has a parameter ``sample_weight``, that is given too, (rows,) in float64 or None. The
    functions of ``sklearn.metrics`` and the losses of ``gd.losses`` are such callables.

    Parameters
    ----------
    function : callable
        Its ``__name__`` is the name of the metric. A stream keeps copies of all that it was given
        and calls it for each result.

    Raises
    ------
    TypeError
        If `function` is not callable, or returns something else.
    ValueError
        If there are weights, and the function returns a number without having taken them.

    Examples
    --------
    >>> def largest_error(y_true, y_pred):
    ...     return np.abs(y_true - y_pred).max()
    >>> metric = gd.metrics.get(largest_error)
    >>> metric
    Function(largest_error)
    >>> metric([1.0, 2.0], [1.5, 0.0])
    2.0
    """

    function: Callable[..., Any]

    def __post_init__(self) -> None:
        if not callable(self.function) or isinstance(self.function, type):
            raise TypeError(
                f"Function: function is {self.function!r:.80}; accepted is a callable "
                "function(y_true, y_pred) that is no class"
            )
        super().__post_init__()

    def _own_name(self) -> str:
        named = getattr(self.function, "__name__", None) or getattr(self.function, "name", None)
        return named if isinstance(named, str) else type(self.function).__name__

    def _shown(self) -> Iterator[str]:
        written = getattr(self.function, "__qualname__", None)
        yield written if isinstance(written, str) else repr(self.function)
        if self.name != self._own_name():
            yield f"name={self.name!r}"

    def check(self, y_true: Any, outputs: int) -> None:
        """Do nothing: what a callable accepts is its own."""

    def _terms(self, y_true: Array, y_pred: Array, weights: Array | None) -> Sums:
        return [y_true.copy()], [y_pred.copy()], [None if weights is None else weights.copy()]

    def _value(self, sums: Sums) -> float:
        y_true, y_pred = _joined(sums[0]), _joined(sums[1])
        weights = None
        if any(block is not None for block in sums[2]):
            given = zip(sums[1], sums[2], strict=True)
            weights = _joined([_ones(len(p)) if w is None else w for p, w in given])
        if _takes_weights(self.function):
            return self._number_of(self.function(y_true, y_pred, sample_weight=weights))
        result = self.function(y_true, y_pred)
        if np.shape(result) in ((len(y_pred),), (len(y_pred), 1)):
            return self._mean_of(result, weights)
        if weights is not None:
            self._refuse(
                "the function returned no value for each row, and so leaves the weights out; give "
                "it a parameter sample_weight, or return a value for each row"
            )
        return self._number_of(result)

    def _mean_of(self, result: Any, weights: Array | None) -> float:
        """Return the weighted mean of values of rows."""
        values = self._values_of(result).reshape(-1)
        if weights is None:
            return float(values.mean())
        total = float(weights.sum())
        return float((values * weights).sum()) / total if total else 0.0

    def _number_of(self, result: Any) -> float:
        """Return the number of a result of size 1."""
        values = self._values_of(result)
        if values.size != 1:
            self._refuse(
                f"the function returned an array of shape {values.shape}; accepted is a number, or "
                "from a function without sample_weight a value for each row"
            )
        return float(values.item())

    def _values_of(self, result: Any) -> Array:
        values: Array = np.asarray(result)
        if values.dtype.kind not in "biuf":
            raise TypeError(
                f"{self.name}: the function returned {result!r:.80}; accepted is a real number, or "
                "one for each row"
            )
        return values.astype(np.float64, copy=False)


def _takes_weights(function: Callable[..., Any]) -> bool:
    """Return whether a signature has ``sample_weight``; what has no signature does not."""
    try:
        return "sample_weight" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
