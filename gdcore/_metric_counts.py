"""Precision, recall and F1, from counts of right, predicted and actual answers of each class."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from gdcore._metric import CENTERS, Array, Metric, Sums
from gdcore._metric_labels import class_numbers, classes_of, need_classes, one_hot, same_shapes, yes

AVERAGES = ("macro", "micro", "weighted")


@dataclass(frozen=True, repr=False)
class Counts(Metric):
    """Base of ratios of counts: for each class rows that are right, predicted, and actual."""

    threshold: float | None = None
    average: str = "macro"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None:
            self._set(threshold=self._number("threshold"))
        self._word("average", AVERAGES)

    def _resolved(self, loss_kind: str, outputs: int, meaning: str) -> Metric:
        if loss_kind == "sparse":
            need_classes(self, outputs)
            if self.threshold is not None:
                self._refuse(
                    f"threshold is {self.threshold}, but the loss compares class numbers with "
                    f"{outputs} columns, the largest of which is the answer; accepted is None"
                )
        elif loss_kind == "pointwise" and self.threshold is None:
            return replace(self, threshold=CENTERS[meaning])
        return self

    def _terms(self, y_true: Array, y_pred: Array, weights: Array | None) -> Sums:
        rows = len(y_pred)
        if y_pred.shape in ((rows,), (rows, 1)) or self.threshold is not None:
            same_shapes(self, y_true, y_pred)
            actual = yes(self, y_true).reshape(rows, -1)
            center = CENTERS["probability"] if self.threshold is None else self.threshold
            predicted = (y_pred > center).reshape(rows, -1)
            parts = (actual & predicted, predicted, actual)
            return (np.array([_columns(part, weights) for part in parts]),)
        classes = classes_of(self, y_pred)
        read = one_hot if y_true.shape == y_pred.shape else class_numbers
        labels, answers = read(self, y_true, y_pred), y_pred.argmax(axis=1)
        right = labels == answers
        kept = None if weights is None else weights[right]
        return (
            np.array(
                [
                    np.bincount(labels[right], kept, classes),
                    np.bincount(answers, weights, classes),
                    np.bincount(labels, weights, classes),
                ]
            ),
        )

    @abstractmethod
    def _ratio(self, right: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        """Return what is divided by what."""

    def _value(self, sums: Sums) -> float:
        counts: Array = sums[0]
        if self.average == "micro":
            counts = counts.sum(axis=1, keepdims=True)
        top, bottom = self._ratio(*counts)
        scores = np.divide(top, bottom, out=np.zeros(len(top)), where=bottom != 0)
        share = np.ones(len(top))
        if self.average == "weighted":
            share = counts[2]
        elif self.threshold is None:  # classes that are nowhere have no score
            share = np.where(counts[1] + counts[2] > 0, 1.0, 0.0)
        total = share.sum()
        return float((scores * share).sum() / total) if total else 0.0


def _columns(hits: Array, weights: Array | None) -> Array:
    """Return the weights of the hits of each column; without weights their number."""
    sums: Array = (hits if weights is None else np.where(hits, weights[:, None], 0.0)).sum(axis=0)
    return sums


@dataclass(frozen=True, repr=False)
class Precision(Counts):
    """Share of right ones among those that were predicted to be of the class.

    What y_pred is decides what is counted:

    - (rows,) or (rows, 1): the class of yes; y_true holds 0 and 1, or -1 and 1, and a prediction
      above `threshold`, or above 0.5 where that is None, is a yes;
    - (rows, classes) and threshold None: the largest prediction is the answer; y_true holds class
      numbers (rows,) or (rows, 1), or rows that sum to 1;
    - (rows, labels) and a threshold: each column is a question of its own.

    In a model, beside an elementwise loss, None becomes 0.5, or 0 for a hinge.

    Parameters
    ----------
    threshold : float, optional
        Finite. At the threshold the answer is no.
    average : {"macro", "micro", "weighted"}, default "macro"
        Of the classes or labels: their mean, the ratio of their sums, or their mean weighted by how
        often y_true holds each. "macro" leaves classes out that neither y_true nor the predictions
        hold, but no labels [scikit-learn]. One column has nothing to average.

    Notes
    -----
    A ratio 0 / 0 is 0.0, without a warning [scikit-learn warns].

    Examples
    --------
    >>> gd.metrics.get("precision")([0, 1, 1, 0], [0.9, 0.8, 0.3, 0.1])
    0.5
    >>> p = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]
    >>> gd.metrics.get("precision", average="weighted")([0, 1, 2], p)
    0.5
    """

    _default = "precision"

    def _ratio(self, right: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return right, predicted


@dataclass(frozen=True, repr=False)
class Recall(Counts):
    """Share of those of the class that were found.

    Arguments, shapes and averages are those of `Precision`.

    Parameters
    ----------
    threshold : float, optional
        0.5 for one column; for several None takes the largest.
    average : {"macro", "micro", "weighted"}, default "macro"
        Of several columns.

    Examples
    --------
    >>> gd.metrics.get("recall")([0, 1, 1, 0], [0.9, 0.8, 0.3, 0.1])
    0.5
    """

    _default = "recall"

    def _ratio(self, right: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return right, actual


@dataclass(frozen=True, repr=False)
class F1Score(Counts):
    """Harmonic mean of precision and recall: ``2 right / (predicted + actual)``.

    Arguments, shapes and averages are those of `Precision`; an average is one of the scores of the
    classes (Keras's default is a score for each class, which is no single number).

    Parameters
    ----------
    threshold : float, optional
        0.5 for one column; for several None takes the largest.
    average : {"macro", "micro", "weighted"}, default "macro"
        Of several columns.

    Examples
    --------
    >>> gd.metrics.get("f1", threshold=0.2)([0, 1, 1, 0], [0.9, 0.8, 0.3, 0.1])
    0.8
    """

    _default = "f1_score"

    def _ratio(self, right: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return 2 * right, predicted + actual
