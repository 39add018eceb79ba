"""Metrics of regression: mae, mse, rmse and r2, in float64, the mean over the outputs."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gdcore._metric import Array, Metric, Sums
from gdcore._metric_labels import same_shapes


@dataclass(frozen=True, repr=False)
class Values(Metric):
    """Base of metrics of targets shaped like the predictions."""

    def _resolved(self, loss_kind: str, outputs: int, meaning: str) -> Metric:
        if loss_kind == "sparse":
            self._refuse(
                f"the loss compares class numbers with {outputs} columns, which have no difference;"
                ' accepted beside it are "accuracy", "precision", "recall", "f1" and any callable'
            )
        return self

    def _errors(self, y_true: Array, y_pred: Array) -> Array:
        """Return y_pred - y_true in float64, (outputs, rows): sums along rows are pairwise."""
        same_shapes(self, y_true, y_pred)
        errors: Array = np.subtract(_columns(y_pred), _columns(y_true), dtype=np.float64, order="C")
        return errors


def _columns(array: Array) -> Array:
    return array.reshape(len(array), -1).T


def _sums(columns: Array, weights: Array | None) -> Array:
    """Return the weighted sum of each column over the rows."""
    sums: Array = np.add.reduce(columns if weights is None else columns * weights, axis=1)
    return sums


@dataclass(frozen=True, repr=False)
class Errors(Values):
    """Base of means of a function of the error."""

    @abstractmethod
    def _costs(self, errors: Array) -> Array: ...

    @np.errstate(all="ignore")
    def _terms(self, y_true: Array, y_pred: Array, weights: Array | None) -> Sums:
        costs = self._costs(self._errors(y_true, y_pred))
        total = costs.shape[1] if weights is None else float(weights.sum())
        return _sums(costs, weights), total

    @np.errstate(all="ignore")
    def _value(self, sums: Sums) -> float:
        costs, total = sums
        return float(self._mean(costs / total)) if total else 0.0

    def _mean(self, columns: Array) -> float:
        return float(columns.mean())


@dataclass(frozen=True, repr=False)
class MeanAbsoluteError(Errors):
    """Mean of ``abs(y_pred - y_true)`` over rows and outputs.

    Examples
    --------
    >>> gd.metrics.get("mae")([1.0, 2.0], [1.5, 0.0])
    1.25
    """

    _default = "mean_absolute_error"

    def _costs(self, errors: Array) -> Array:
        return np.abs(errors, out=errors)


@dataclass(frozen=True, repr=False)
class MeanSquaredError(Errors):
    """Mean of ``(y_pred - y_true)^2`` over rows and outputs.

    Examples
    --------
    >>> gd.metrics.get("mse")([1.0, 2.0], [1.5, 0.0])
    2.125
    """

    _default = "mean_squared_error"

    def _costs(self, errors: Array) -> Array:
        return np.square(errors, out=errors)


@dataclass(frozen=True, repr=False)
class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean of ``(y_pred - y_true)^2`` over rows; its mean over the outputs.

    So it is in scikit-learn; Keras takes the root of the mean over rows and outputs, which is the
    same for one output and larger for others.

    Examples
    --------
    >>> gd.metrics.get("rmse")([1.0, 2.0], [1.5, 0.0])
    1.457737973711325
    >>> gd.metrics.get("rmse")([[0.0, 0.0]], [[3.0, 4.0]])
    3.5
    """

    _default = "root_mean_squared_error"

    def _mean(self, columns: Array) -> float:
        return float(np.sqrt(columns).mean())


class _Spread(NamedTuple):
    """Sums of r2 over rows, each of an array (outputs,) but for the first two.

    A mean is kept as `origin`, the first target of the rows, and what it is above that: a constant
    target has a spread of exactly 0, whatever its value.
    """

    rows: int
    weight: float
    origin: Array
    above: Array
    spread: Array  # of squared deviations of the targets from their mean
    left: Array  # of squared errors


@dataclass(frozen=True, repr=False)
class R2Score(Values):
    """Coefficient of determination, ``1 - sum((y_pred - y_true)^2) / sum((y_true - mean)^2)``.

    1 is perfect, 0 is as good as the mean of the targets, below 0 is worse than that. Several
    outputs are averaged [scikit-learn]. Where y_true is constant it is 1.0 if the predictions are
    perfect, else 0.0; of fewer than two rows, and where the weights sum to 0, nan.

    Notes
    -----
    Means and squared deviations are merged block by block, not found as a difference of sums of
    squares, which would lose the digits of targets far from 0.

    References
    ----------
    T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", COMPSTAT (1982).

    Examples
    --------
    >>> gd.metrics.get("r2")([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
    0.5
    """

    _default = "r2_score"
    _empty = math.nan

    @np.errstate(all="ignore")
    def _terms(self, y_true: Array, y_pred: Array, weights: Array | None) -> _Spread:
        errors = self._errors(y_true, y_pred)
        deviations = np.array(_columns(y_true), np.float64, order="C")
        origin = deviations[:, :1].copy()
        deviations -= origin
        rows = len(y_pred)
        weight = float(rows if weights is None else weights.sum())
        above = _sums(deviations, weights) / weight if weight else np.zeros(len(errors))
        deviations -= above[:, None]
        spread = _sums(np.square(deviations, out=deviations), weights)
        left = _sums(np.square(errors, out=errors), weights)
        return _Spread(rows, weight, origin[:, 0], above, spread, left)

    @np.errstate(all="ignore")
    def _merged(self, old: Sums, new: Sums) -> _Spread:
        a, b = _Spread(*old), _Spread(*new)
        weight = a.weight + b.weight
        share = b.weight / weight if weight else 0.0
        apart = (b.origin - a.origin) + (b.above - a.above)
        return _Spread(
            a.rows + b.rows,
            weight,
            a.origin,
            a.above + share * apart,
            a.spread + b.spread + a.weight * share * apart * apart,
            a.left + b.left,
        )

    @np.errstate(all="ignore")
    def _value(self, sums: Sums) -> float:
        total = _Spread(*sums)
        if total.rows < 2 or not total.weight:
            return math.nan
        constant = np.where(total.left == 0, 1.0, 0.0 * total.left)  # NaN goes through
        scores = np.where(total.spread == 0, constant, 1 - total.left / total.spread)
        return float(scores.mean())
