"""Metrics of predictions, by name or as objects: ``gd.metrics.get("f1")(y_true, y_pred)``.

``compile(metrics=[...])`` takes names, these objects, and callables. They see probabilities (or the
values of a regression), never change what they are given, and are plain numbers: nothing here has a
gradient. ``metric.stream()`` takes a set block by block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gdcore import losses
from gdcore._metric import Metric, Stream
from gdcore._metric_accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from gdcore._metric_counts import AVERAGES, F1Score, Precision, Recall
from gdcore._metric_regression import (
    MeanAbsoluteError,
    MeanSquaredError,
    R2Score,
    RootMeanSquaredError,
)
from gdcore._metric_whole import AUC, Function
from gdcore._names import did_you_mean, no_attribute

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "F1Score",
    "Function",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "Stream",
    "TopKCategoricalAccuracy",
    "get",
    "names",
]

_KINDS: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "precision": Precision,
    "recall": Recall,
    "f1": F1Score,
    "auc": AUC,
    "mae": MeanAbsoluteError,
    "mse": MeanSquaredError,
    "rmse": RootMeanSquaredError,
    "r2": R2Score,
}

# Keras's and scikit-learn's other names of the same.
_OTHER_NAMES = {
    "acc": "accuracy",
    "accuracy_score": "accuracy",
    "precision_score": "precision",
    "recall_score": "recall",
    "f1_score": "f1",
    "F1": "f1",
    "roc_auc": "auc",
    "roc_auc_score": "auc",
    "mean_absolute_error": "mae",
    "MAE": "mae",
    "mean_squared_error": "mse",
    "MSE": "mse",
    "root_mean_squared_error": "rmse",
    "RMSE": "rmse",
    "r2_score": "r2",
    "R2": "r2",
}

_NAMES: dict[str, tuple[type[Metric], dict[str, Any]]] = {
    **{name: (kind, {}) for name, kind in _KINDS.items()},
    **{name: (_KINDS[ours], {}) for name, ours in _OTHER_NAMES.items()},
    **{kind.__name__: (kind, {}) for kind in _KINDS.values()},
    **{
        f"{name}_{average}": (_KINDS[name], {"average": average})
        for name in ("precision", "recall", "f1")
        for average in AVERAGES
    },
}
_ATTRIBUTES = [name for name in _NAMES if name.islower()]


def names() -> list[str]:
    """Return the names of all metrics.

    Examples
    --------
    >>> "f1" in gd.metrics.names()
    True
    """
    return list(_KINDS)


def get(identifier: str | type[Metric] | Metric | Callable[..., Any], **settings: Any) -> Metric:
    """Return a metric by name, or the metric of a callable.

    Parameters
    ----------
    identifier : str, Metric, its class, or callable
        A name, short or long, as in Keras or scikit-learn: "acc", "mse", "mean_squared_error",
        "MeanSquaredError", "f1_macro", "roc_auc"; the metric is then called what it was asked for.
        A metric is returned as it is; a callable ``f(y_true, y_pred)`` becomes a `Function`.
    **settings
        Of the metric: ``threshold=``, ``average=``, ``k=``; ``name=`` for all.

    Returns
    -------
    Metric

    Raises
    ------
    ValueError
        For an unknown name, the nearest one being suggested, or a value that is not accepted.
    TypeError
        For a setting that the metric does not have, and for something else as `identifier`.

    Examples
    --------
    >>> gd.metrics.get("BinaryAccuracy", threshold=0.3, name="lenient")
    BinaryAccuracy(threshold=0.3, name='lenient')
    >>> gd.metrics.get("f1_micro").average
    'micro'
    """
    if isinstance(identifier, str):
        kind, own = _named(identifier)
        return kind(**{"name": identifier, **own, **settings})
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier(**settings)
    if isinstance(identifier, Metric):
        if settings:
            raise TypeError(
                f"{identifier!r} has its settings; for others make another one: "
                f"{type(identifier).__name__}({', '.join(settings)}=...)"
            )
        return identifier
    if not callable(identifier):
        raise TypeError(
            f"metric is {identifier!r:.80}; accepted is one of {', '.join(_KINDS)}, a metric of "
            "gd.metrics, or a callable f(y_true, y_pred)"
        )
    return Function(identifier, **settings)


def _named(name: str) -> tuple[type[Metric], dict[str, Any]]:
    """Return the class and the settings of a name, or raise with the nearest one."""
    if name in _NAMES:
        return _NAMES[name]
    if name in losses._NAMES:
        hint = f"; it is a loss, which is a metric too: give gd.losses.get({name!r}) itself"
    else:
        hint = did_you_mean(name, _NAMES)
    raise ValueError(f"metric {name!r} is unknown; accepted: {', '.join(_KINDS)}{hint}")


def __getattr__(name: str) -> Metric:
    """``gd.metrics.mse``: each metric by its names, with its defaults."""
    if name in _ATTRIBUTES:
        return globals().setdefault(name, get(name))  # type: ignore[no-any-return]
    raise no_attribute(__name__, name, [*__all__, *_ATTRIBUTES])


def __dir__() -> list[str]:
    return [*globals(), *_ATTRIBUTES]
