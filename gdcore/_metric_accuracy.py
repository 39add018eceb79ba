"""Accuracies: the share of right answers, of two classes or several, and of the k likeliest."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from gdcore._metric import CENTERS, Array, Metric, Sums
from gdcore._metric_labels import class_numbers, classes_of, need_classes, one_hot, same_shapes, yes


@dataclass(frozen=True, repr=False)
class Share(Metric):
    """Base of accuracies: the weighted share of elements that are right."""

    @abstractmethod
    def _right(self, y_true: Array, y_pred: Array) -> Array:
        """Return whether each row, or each element, is right."""

    def _terms(self, y_true: Array, y_pred: Array, weights: Array | None) -> Sums:
        right = self._right(y_true, y_pred)
        if weights is None:
            return np.count_nonzero(right), right.size
        if right.ndim == 1:
            return float(weights[right].sum()), float(weights.sum())
        columns = right.reshape(len(right), -1)
        shares = columns.sum(axis=1) * weights
        return float(shares.sum()), float(weights.sum()) * columns.shape[1]

    def _value(self, sums: Sums) -> float:
        right, total = sums
        return right / total if total else 0.0


@dataclass(frozen=True, repr=False)
class Accuracy(Share):
    """Share of right answers, of the kind that fits: "accuracy", "acc".

    In a model the loss and the outputs decide which kind it is; called directly, shapes do:

    - y_pred (rows,) or (rows, 1): `BinaryAccuracy`;
    - y_pred (rows, classes), y_true (rows,) or (rows, 1): `SparseCategoricalAccuracy`;
    - y_pred and y_true (rows, classes): `CategoricalAccuracy`.

    Beside a loss of several elementwise outputs (binary cross-entropy) it is `BinaryAccuracy`,
    beside a hinge that with threshold 0; beside a loss of regression it is an error.

    Examples
    --------
    >>> gd.metrics.get("accuracy")([0, 1, 1], [0.2, 0.7, 0.4])
    0.6666666666666666
    >>> gd.metrics.get("accuracy")([0, 2], [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    1.0
    """

    _default = "accuracy"

    def _resolved(self, loss_kind: str, outputs: int, meaning: str) -> Metric:
        kind: Metric
        if loss_kind == "sparse":
            kind = SparseCategoricalAccuracy(name=self.name)
        elif meaning == "value":
            raise ValueError(
                f"{self.name}: the loss is one of regression, which has no classes; metrics that "
                'fit it are "mae", "mse", "rmse", "r2" and any callable; for targets of 0 and 1 '
                'give "binary_accuracy", for one-hot rows "categorical_accuracy"'
            )
        elif loss_kind == "pointwise" or (loss_kind == "other" and outputs == 1):
            kind = BinaryAccuracy(CENTERS[meaning], name=self.name)
        elif loss_kind == "rows":
            kind = CategoricalAccuracy(name=self.name)
        else:
            return self
        return kind._resolved(loss_kind, outputs, meaning)

    def _right(self, y_true: Array, y_pred: Array) -> Array:
        kind: Share
        if y_pred.ndim == 1 or y_pred.shape[1:] == (1,):
            kind = BinaryAccuracy(name=self.name)
        elif y_true.shape == y_pred.shape:
            kind = CategoricalAccuracy(name=self.name)
        else:
            kind = SparseCategoricalAccuracy(name=self.name)
        return kind._right(y_true, y_pred)


@dataclass(frozen=True, repr=False)
class BinaryAccuracy(Share):
    """Share of elements on the right side of a threshold: ``(y_pred > threshold) == (y_true > 0)``.

    y_true is shaped like y_pred and holds 0 and 1, or -1 and 1. Several columns are several
    questions of a row, each of which counts [Keras].

    Parameters
    ----------
    threshold : float, default 0.5
        Finite. At the threshold the answer is no; NaN is no.

    Examples
    --------
    >>> gd.metrics.get("binary_accuracy", threshold=0.3)([0, 1, 1], [0.2, 0.7, 0.4])
    1.0
    """

    _default = "binary_accuracy"

    threshold: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(threshold=self._number("threshold"))

    def _resolved(self, loss_kind: str, outputs: int, meaning: str) -> Metric:
        if loss_kind == "sparse":
            self._refuse(
                f"the loss compares class numbers with {outputs} columns; accepted beside it is "
                '"sparse_categorical_accuracy"'
            )
        return self

    def _right(self, y_true: Array, y_pred: Array) -> Array:
        same_shapes(self, y_true, y_pred)
        right: Array = (y_pred > self.threshold) == yes(self, y_true)
        return right


@dataclass(frozen=True, repr=False)
class _OneHot(Share):
    """Base of accuracies of one-hot targets."""

    _sparse_name = "sparse_categorical_accuracy"

    def _resolved(self, loss_kind: str, outputs: int, meaning: str) -> Metric:
        if loss_kind == "sparse":
            self._refuse(
                "the loss compares class numbers, not one-hot rows; accepted beside it is "
                f'"{self._sparse_name}"'
            )
        need_classes(self, outputs)
        return self


@dataclass(frozen=True, repr=False)
class _Sparse(Share):
    """Base of accuracies of class numbers."""

    _one_hot_name = "categorical_accuracy"

    def _resolved(self, loss_kind: str, outputs: int, meaning: str) -> Metric:
        if loss_kind in ("rows", "pointwise"):
            self._refuse(
                "the loss compares rows, not class numbers; accepted beside it is "
                f'"{self._one_hot_name}"'
            )
        need_classes(self, outputs)
        return self


@dataclass(frozen=True, repr=False)
class CategoricalAccuracy(_OneHot):
    """Share of rows whose largest prediction stands where the largest target does.

    y_true and y_pred are (rows, classes); rows of y_true sum to 1: one-hot, or probabilities. Of
    equally large predictions the first counts; NaN counts as the largest.

    Examples
    --------
    >>> gd.metrics.get("categorical_accuracy")([[1, 0], [0, 1]], [[0.6, 0.4], [0.7, 0.3]])
    0.5
    """

    _default = "categorical_accuracy"

    def _right(self, y_true: Array, y_pred: Array) -> Array:
        classes_of(self, y_pred)
        right: Array = one_hot(self, y_true, y_pred) == y_pred.argmax(axis=1)
        return right


@dataclass(frozen=True, repr=False)
class SparseCategoricalAccuracy(_Sparse):
    """Share of rows whose largest prediction is that of the class.

    y_true holds class numbers 0 to classes - 1, (rows,) or (rows, 1); y_pred is (rows, classes). Of
    equally large predictions the first counts; NaN counts as the largest.

    Examples
    --------
    >>> gd.metrics.get("sparse_categorical_accuracy")([0, 1], [[0.6, 0.4], [0.7, 0.3]])
    0.5
    """

    _default = "sparse_categorical_accuracy"

    def _right(self, y_true: Array, y_pred: Array) -> Array:
        right: Array = class_numbers(self, y_true, y_pred) == y_pred.argmax(axis=1)
        return right


@dataclass(frozen=True, repr=False)
class _TopK(Share):
    """Base of accuracies of the k likeliest classes."""

    k: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(k=self._count("k"))

    def _resolved(self, loss_kind: str, outputs: int, meaning: str) -> Metric:
        super()._resolved(loss_kind, outputs, meaning)
        self._check_k(outputs)
        return self

    def _check_k(self, classes: int) -> None:
        if self.k > classes:
            self._refuse(
                f"k is {self.k}, but there are {classes} classes; accepted is k <= {classes}, and "
                f"at k = {classes} every row is right"
            )

    def _among_first(self, labels: Array, y_pred: Array) -> Array:
        """Return for each row whether fewer than k classes come before that of the label."""
        columns = np.ascontiguousarray(y_pred.T)  # sums of columns are three times as fast
        self._check_k(len(columns))
        own = columns[labels, np.arange(len(labels))]
        before = ~(columns <= own)
        before |= (columns == own) & (np.arange(len(columns))[:, None] < labels)
        first: Array = before.sum(axis=0) < self.k
        return first


@dataclass(frozen=True, repr=False)
class TopKCategoricalAccuracy(_TopK, _OneHot):
    """Share of rows whose class is among the k largest predictions.

    y_true and y_pred are as in `CategoricalAccuracy`, which this is at k = 1: of equally large
    predictions those of lower class numbers come first. (Keras counts all of them in, so that a
    constant prediction is right for every k.) A class whose prediction is NaN is not among them.

    Parameters
    ----------
    k : int, default 5
        1 to the number of classes.

    Examples
    --------
    >>> p = [[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]]
    >>> gd.metrics.get("top_k_categorical_accuracy", k=2)([[1, 0, 0], [0, 1, 0]], p)
    0.5
    """

    _default = "top_k_categorical_accuracy"
    _sparse_name = "sparse_top_k_categorical_accuracy"

    def _right(self, y_true: Array, y_pred: Array) -> Array:
        classes_of(self, y_pred)
        return self._among_first(one_hot(self, y_true, y_pred), y_pred)


@dataclass(frozen=True, repr=False)
class SparseTopKCategoricalAccuracy(_TopK, _Sparse):
    """Share of rows whose class is among the k largest predictions, from class numbers.

    y_true and y_pred are as in `SparseCategoricalAccuracy`, k and the order of equally large
    predictions as in `TopKCategoricalAccuracy`.

    Parameters
    ----------
    k : int, default 5
        1 to the number of classes.

    Examples
    --------
    >>> p = [[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]]
    >>> gd.metrics.get("sparse_top_k_categorical_accuracy", k=2)([0, 1], p)
    0.5
    """

    _default = "sparse_top_k_categorical_accuracy"
    _one_hot_name = "top_k_categorical_accuracy"

    def _right(self, y_true: Array, y_pred: Array) -> Array:
        return self._among_first(class_numbers(self, y_true, y_pred), y_pred)
