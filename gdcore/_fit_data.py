"""The rows that a fit trains on and validates with: looked at before anything changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gdcore._data import check_weights, check_X, check_y, split_validation, way_out_of
from gdcore._networks import Data

if TYPE_CHECKING:
    from gdcore._fit_settings import FitSettings, FitState
    from gdcore._model import Model


class Prepared(NamedTuple):
    """The data of a fit; `val` is None where nothing is validated."""

    train: Data
    val: Data | None


def prepare(
    model: Model, X: Any, y: Any, settings: FitSettings, state: FitState | None = None
) -> Prepared:
    """Return the data of a fit, and build the model for them once all of them are sound."""
    X = check_X(X, model._width)
    plan = model._plan_for(X.shape[1])
    kind, outputs = model._loss_kind(), plan.width
    if y is None:
        raise TypeError("y is None; one target for each row of X is accepted")
    y = check_y(y, kind, outputs, len(X))
    stratify = settings.stratify and bool(settings.validation_split)
    _check_classes(model, class_weight=settings.class_weight, stratify=stratify)
    _check_metrics(model, y, outputs)
    held = given_validation(settings.validation_data, X.shape[1], kind, outputs)
    own = check_weights(settings.sample_weight, None, y, len(X), kind, outputs, np.dtype(float))
    train = _weighted(X, y, own)
    if settings.validation_split or settings.stratify:
        train, held = _split(settings, train, kind)
    train = _weigh_classes(settings.class_weight, train, kind, outputs)
    settings.check_rows(model, train.rows, state)
    model._build_for(X)
    return Prepared(train, held)


def checked(
    model: Model,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    class_weight: Any = None,
    metrics: bool = True,
) -> Data:
    """Return rows, targets and weights, found sound for the loss and, if asked, the metrics."""
    X = check_X(X, model._width)
    outputs, kind = model._plan_for(X.shape[1]).width, model._loss_kind()
    y = check_y(y, kind, outputs, len(X))
    _check_classes(model, class_weight=class_weight)
    own = check_weights(sample_weight, None, y, len(X), kind, outputs, np.dtype(float))
    if metrics:
        _check_metrics(model, y, outputs)
    return _weigh_classes(class_weight, _weighted(X, y, own), kind, outputs)


def _check_classes(model: Model, **asked: Any) -> None:
    """Refuse what goes by the classes of the targets, where the loss has none."""
    if model._loss_kind() not in ("values", "paired", "function"):
        return
    loss = getattr(model.loss, "name", None)
    found = f"the model's is {loss!r}, for which y is numbers"
    if not isinstance(loss, str):
        found = "the model's is a function of yours, for which y may be anything"
    for name, value in asked.items():
        if value is not None and value is not False:
            what = "stratify=True" if name == "stratify" else name
            raise ValueError(
                f"{what} needs a loss of classes, but {found}; compile with a cross-entropy or a"
                f" hinge, or {way_out_of(what)}"
            )


def _weigh_classes(class_weight: Any, train: Data, kind: str, outputs: int) -> Data:
    """Return the data with the weights of classes, which are counted over the rows that train."""
    if class_weight is None:
        return train
    assert train.y is not None
    y = train.y if train.chosen is None else train.y[train.chosen]
    weights = check_weights(None, class_weight, y, len(y), kind, outputs, np.dtype(np.float64))
    assert weights is not None
    if train.chosen is not None:
        full = np.zeros(len(train.X))
        full[train.chosen] = weights
        weights = full
    if train.weights is not None:
        weights = weights * train.weights
    if not weights.any():
        raise ValueError("class_weight: all rows weigh 0; one or more above 0 are accepted")
    return train._replace(weights=as_weights(weights))


def _weighted(X: Any, y: Any, weights: Any) -> Data:
    """Return data with weights of their rows."""
    own = as_weights(weights)
    return Data(X, y, own, own=own)


def as_weights(weights: Any) -> NDArray[np.float64] | None:
    """Return weights as the core reads them."""
    if weights is None:
        return None
    return np.require(weights, np.float64, ["C", "A", "W"])


def _check_metrics(model: Model, y: Any, outputs: int) -> None:
    """Refuse targets that the metrics cannot be computed of."""
    if model._metrics:
        from gdcore._run import resolve

        for metric in resolve(model, outputs):
            metric.check(y, outputs)


def given_validation(pair: Any, width: int, kind: str, outputs: int) -> Data | None:
    """Return validation data that were given."""
    if pair is None:
        return None
    if not isinstance(pair, tuple | list) or len(pair) not in (2, 3):
        length = f" of {len(pair)}" if isinstance(pair, tuple | list) else ""
        raise TypeError(
            f"validation_data is {type(pair).__name__}{length}; a tuple (X, y) or (X, y,"
            " sample_weight) is accepted"
        )
    X = check_X(pair[0], width, "validation_data[0]", "validation_data[1]")
    y = check_y(pair[1], kind, outputs, len(X), "validation_data[1]", "validation_data[0]")
    weights = None
    if len(pair) == 3:
        weights = check_weights(
            pair[2], None, y, len(X), kind, outputs, np.dtype(float), "validation_data[2]"
        )
    return _weighted(X, y, weights)


def _split(settings: FitSettings, data: Data, kind: str) -> tuple[Data, Data]:
    """Return the rows to train on and those to validate with, without copying them."""
    assert data.y is not None
    train, held = split_validation(
        len(data.X), settings.validation_split, data.y, kind, settings.stratify
    )
    assert held is not None
    if isinstance(train, slice):
        assert isinstance(held, slice)
        return _rows(data, train), _rows(data, held)
    assert not isinstance(held, slice)
    return (
        data._replace(chosen=np.ascontiguousarray(train, np.int64)),
        data._replace(chosen=np.ascontiguousarray(held, np.int64)),
    )


def _rows(data: Data, rows: slice) -> Data:
    assert data.y is not None
    return _weighted(data.X[rows], data.y[rows], None if data.own is None else data.own[rows])
