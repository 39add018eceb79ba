"""Base of the metrics: reading of arrays, sums over blocks of rows, the loss beside a metric.

A metric is three functions: the sums of a block of rows (`_terms`), the sums of two blocks together
(`_merged`), and the value of such sums (`_value`). A whole set is read block by block too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gdcore import losses
from gdcore._settings import Settings

Array = NDArray[Any]
Sums = tuple[Any, ...]

BLOCK = 65_536
LOSS_KINDS = ("sparse", "rows", "pointwise", "other")
MEANINGS = ("probability", "margin", "value")
CENTERS = {"probability": 0.5, "margin": 0.0, "value": 0.5}  # between no and yes

_TYPES = frozenset("?bBhHiIlLqQfd")
_KINDS = {"sparse": "sparse", "rowwise": "rows", "pointwise": "pointwise"}
_MARGINS = frozenset(
    (
        "hinge",
        "squared_hinge",
        "perceptron",
        "modified_huber",
        "categorical_hinge",
        "multiclass_hinge",
        "multi_margin",
    )
)


def context(loss: Any) -> tuple[str, str]:
    """Return (loss_kind, meaning) of a loss, as `Metric.resolve` takes them.

    A callable of the user's may be anything: "other", "probability".
    """
    if not isinstance(loss, losses.Loss):
        return "other", "probability"
    kind = _KINDS.get(losses._ROWS[loss.name][1]["kind"], "other")
    if loss.name in _MARGINS:
        return kind, "margin"
    probable = loss.name.endswith("crossentropy") or loss.name == "kl_divergence"
    return kind, "probability" if probable else "value"


@dataclass(frozen=True, repr=False)
class Metric(Settings, ABC):
    """Base of all metrics: called with targets and predictions they return a float.

    They pickle, deep-copy, hash and compare with ``==``, which looks at the kind and its settings,
    not at the name.

    Parameters
    ----------
    name : str, keyword only
        What the metric is called in a history; by default the kind's own name. ``gd.metrics.get``
        puts the name that it was given.
    """

    _aliases: ClassVar[Mapping[str, str]] = {"thresholds": "threshold", "top_k": "k"}
    _usage: ClassVar[str] = ", called as metric(y_true, y_pred, sample_weight=None)"
    _default: ClassVar[str] = ""
    _empty: ClassVar[float] = 0.0

    name: str = field(default="", kw_only=True, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(self._message("name", "is a string"))
        self._set(name=self.name or self._own_name())

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the metric of a set.

        Parameters
        ----------
        y_true : array-like
            Targets: class numbers (rows,) or (rows, 1), a one-hot row for each, or targets shaped
            like `y_pred`, as the metric's page says.
        y_pred : array-like, (rows,) or (rows, outputs)
            Predictions: probabilities for metrics of classes, as ``model.predict_proba`` gives
            them. It and `y_true` may be of any real type to float64; sums are in float64. Shapes
            may differ by axes of length 1; nothing is broadcast.
        sample_weight : array-like, (rows,) or (rows, 1), optional
            An integer weight counts as that many equal rows.

        Returns
        -------
        float
            Means divide by the sum of the weights, and are 0.0 where that is 0 [Keras].

        Raises
        ------
        TypeError
            For values that are not real numbers.
        ValueError
            For shapes that do not agree, and labels outside of the classes.
        """
        y_true, y_pred, weights = self._read(y_true, y_pred, sample_weight)
        stream = self.stream()
        for rows in _blocks(len(y_pred)):
            stream.update(y_true[rows], y_pred[rows], None if weights is None else weights[rows])
        return stream.result()

    def stream(self) -> Stream:
        """Return a new `Stream`, which is given the rows of a set block by block.

        Examples
        --------
        >>> stream = gd.metrics.get("mae").stream()
        >>> stream.update([1.0, 2.0], [1.0, 4.0])
        >>> stream.update([0.0], [1.0])
        >>> stream.result()
        1.0
        """
        return Stream(self)

    def resolve(self, loss_kind: str, outputs: int, meaning: str) -> Metric:
        """Return the metric that this one is beside a loss: "accuracy" becomes one of its kinds.

        Parameters
        ----------
        loss_kind : {"sparse", "rows", "pointwise", "other"}
            What the loss compares: class numbers with a row of `outputs` columns, rows with rows,
            elements with elements, or something else.
        outputs : int
            Columns of y_pred.
        meaning : {"probability", "margin", "value"}
            What the metric will see as y_pred: probabilities (the loss is a cross-entropy), scores
            that are positive for yes (a hinge), or values (a loss of regression).

        Returns
        -------
        Metric
            Of the same name; often the metric itself.

        Raises
        ------
        ValueError
            Where the metric does not fit the loss or the outputs; the message names one that does.

        Examples
        --------
        >>> gd.metrics.get("accuracy").resolve("sparse", 3, "probability")
        SparseCategoricalAccuracy(name='accuracy')
        """
        for name, word, accepted in (
            ("loss_kind", loss_kind, LOSS_KINDS),
            ("meaning", meaning, MEANINGS),
        ):
            if word not in accepted:
                raise ValueError(f"{name} is {word!r}; accepted are {', '.join(accepted)}")
        if outputs < 1:
            raise ValueError(f"outputs is {outputs!r}; accepted is an integer >= 1")
        return self._resolved(loss_kind, int(outputs), meaning)

    def check(self, y_true: ArrayLike, outputs: int) -> None:
        """Raise now what updates would raise for these targets beside (rows, outputs) predictions.

        For a resolved metric, before a fit begins. Functions of the user's are not called.

        Examples
        --------
        >>> gd.metrics.get("binary_accuracy").check([0.0, 0.5], 1)
        Traceback (most recent call last):
            ...
        ValueError: binary_accuracy: y_true holds 0.5 in row 1; accepted are 0 and 1, or -1 and 1
        """
        targets = np.atleast_1d(self._real_array("y_true", y_true))
        blank = np.zeros((min(len(targets), BLOCK), outputs))
        for rows in _blocks(len(targets)):
            block = targets[rows]
            self._terms(*self._read(block, blank[: len(block)], None))

    def _read(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Array, Array, Any]:
        """Return arrays of one length, y_true shaped like y_pred where that only adds axes."""
        target, found = self._real_array("y_true", y_true), self._real_array("y_pred", y_pred)
        if not found.ndim:
            self._refuse(f"y_pred is the number {found}; accepted is an array with rows on axis 0")
        if target.shape != found.shape and _long_axes(target) == _long_axes(found):
            target = target.reshape(found.shape)
        rows = len(found)
        if not target.ndim or len(target) != rows:
            self._refuse_shapes(target, found, "; accepted are as many targets as rows")
        if sample_weight is None:
            return target, found, None
        weights = self._real_array("sample_weight", sample_weight)
        if weights.shape not in ((rows,), (rows, 1)):
            self._refuse(
                f"sample_weight has shape {weights.shape}; accepted is one weight a row: ({rows},)"
            )
        return target, found, weights.reshape(rows).astype(np.float64, copy=False)

    def _real_array(self, name: str, value: Any) -> Array:
        try:
            array: Array = np.asarray(value)
        except ValueError as found:  # rows of different lengths
            raise ValueError(f"{self.name}: {name} is no array: {found}") from None
        if array.dtype.char not in _TYPES:
            words = array.dtype.kind in "OSUT"
            way_out = "; np.unique(y, return_inverse=True)[1] makes class numbers" if words else ""
            raise TypeError(
                f"{self.name}: {name} is of type {array.dtype}; accepted are float32, float64, "
                f"integers and booleans{way_out}"
            )
        return array

    def _refuse(self, text: str) -> NoReturn:
        raise ValueError(f"{self.name}: {text}")

    def _refuse_shapes(self, y_true: Array, y_pred: Array, accepted: str) -> NoReturn:
        self._refuse(f"y_true has shape {y_true.shape} and y_pred {y_pred.shape}{accepted}")

    def _resolved(self, loss_kind: str, outputs: int, meaning: str) -> Metric:
        return self

    @abstractmethod
    def _terms(self, y_true: Array, y_pred: Array, weights: Array | None) -> Sums:
        """Return the sums of at least one row; the arrays are not kept."""

    def _merged(self, old: Sums, new: Sums) -> Sums:
        """Return the sums of both; `old` may be changed."""
        return tuple(a + b for a, b in zip(old, new, strict=True))

    @abstractmethod
    def _value(self, sums: Sums) -> float: ...

    def _shown(self) -> Iterator[str]:
        """Yield the settings, and the name where it is not the kind's own."""
        for setting in fields(self):
            if setting.name != "name":
                yield f"{setting.name}={getattr(self, setting.name)!r}"
        if self.name != self._own_name():
            yield f"name={self.name!r}"

    def _own_name(self) -> str:
        return self._default

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._shown())})"


class Stream:
    """A metric of rows that come block by block: the value of the whole set up to rounding.

    Made by ``metric.stream()``. Counts, sums and means are kept, not the rows, but for `AUC` and
    callables, which need them all. An update that raises changes nothing.
    """

    __slots__ = ("_metric", "_sums", "_width")

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._sums: Sums | None = None
        self._width: tuple[int, ...] = ()

    def update(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add a block of rows; arguments and errors are those of the metric's call."""
        metric = self._metric
        target, found, weights = metric._read(y_true, y_pred, sample_weight)
        if not len(found):
            return
        if self._sums is None:
            sums = metric._terms(target, found, weights)
            self._width = found.shape[1:]
        elif found.shape[1:] != self._width:
            raise ValueError(
                f"{metric.name}: y_pred has shape {found.shape}; accepted are the axes of the "
                f"blocks before: (rows, *{self._width})"
            )
        else:
            sums = metric._merged(self._sums, metric._terms(target, found, weights))
        self._sums = sums

    def result(self) -> float:
        """Return the metric of all rows so far; without rows what the metric says of no rows."""
        if self._sums is None:
            return self._metric._empty
        return float(self._metric._value(self._sums))


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, rows, BLOCK))


def _long_axes(array: Array) -> tuple[int, ...]:
    return tuple(n for n in array.shape if n != 1)
