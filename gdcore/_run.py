"""What a model gives for data: predictions, losses and metrics, gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdcore import _core
from gdcore._data import check_X
from gdcore._fit_data import checked
from gdcore._networks import (
    Data,
    functions_of,
    given,
    network_of,
    objective_of,
)
from gdcore._trainer import draw_key

if TYPE_CHECKING:
    from gdcore._model import Model

Array = NDArray[Any]
BLOCK = 1 << 16  # rows that are judged together


def resolve(model: Model, outputs: int) -> list[Any]:
    """Return the metrics of a compiled model as they are beside its loss."""
    from gdcore._metric import context

    kind, meaning = context(model.loss)
    if meaning == "value" and model._gives_probabilities():
        meaning = "probability"  # of a regression loss after sigmoid or softmax
    return [metric.resolve(kind, outputs, meaning) for metric in model._metrics]


def metrics_of(model: Model) -> list[Any]:
    """Return the metrics of a built model, found once."""
    if not model._metrics:
        return []
    found: list[Any] | None = model._cache.get("metrics")
    if found is None:
        found = model._cache["metrics"] = resolve(model, model._known_plan().width)
    return found


# ---- Predictions ---------------------------------------------------------------------------------


def predict(model: Model, X: Any) -> Array:
    """Return the outputs of the last layer; see `gdcore.models.Sequential.predict`."""
    X = check_X(X, model._width, other="")
    if not model.built:
        model._plan_for(X.shape[1])
        model._build_for(X)
    own = functions_of(model, None, (len(X),), False)
    out = np.empty((len(X), model._known_plan().width), model.dtype)
    arguments = given(model, model._point(), Data(X), None, own)
    network_of(model, False).evaluate(arguments, 0, len(X), out, False)
    return out


# ---- Losses and metrics --------------------------------------------------------------------------


def evaluate(
    model: Model,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    return_dict: bool = False,
) -> Any:
    """Return loss and metrics; see `gdcore.models.Sequential.evaluate`."""
    model._compiled()
    data = checked(model, X, y, sample_weight)
    model._build_for(data.X)
    model._store.ready()
    return as_asked(evaluate_rows(model, data, metrics_of(model)), return_dict)


def as_asked(values: dict[str, float], return_dict: bool) -> Any:
    """Return loss and metrics by name, or as a list, or the loss alone where there is no other."""
    if return_dict:
        return values
    found = list(values.values())
    return found if len(found) > 1 else found[0]


def evaluate_rows(model: Model, data: Data, judges: Sequence[Any]) -> dict[str, float]:
    """Return loss and metrics of checked data by name."""
    assert data.y is not None
    own = functions_of(model, data.y, (data.rows,), False)
    arguments = given(model, model._point(), data, objective_of(model, data.y, own), own)
    network = network_of(model, model._fused_loss()[1])
    if not judges:
        return {"loss": network.evaluate(arguments, 0, data.rows, None, True)}
    width = model._known_plan().width
    if data.rows <= BLOCK or own.whole:
        seen = np.empty((data.rows, width), model.dtype)
        loss = network.evaluate(arguments, 0, data.rows, seen, True)
        return {"loss": loss, **judged(judges, data, seen)}
    loss = network.evaluate(arguments, 0, data.rows, None, True)
    return {"loss": loss, **_by_blocks(model, network, arguments, judges, data)}


def judged(judges: Sequence[Any], data: Data, seen: Array) -> dict[str, float]:
    """Return the metrics of predictions that are all there."""
    assert data.y is not None
    y = data.y if data.chosen is None else data.y[data.chosen]
    weights = data.own
    if weights is not None and data.chosen is not None:
        weights = weights[data.chosen]
    values = {}
    for judge in judges:
        stream = judge.stream()
        stream.update(y, seen, weights)
        values[judge.name] = stream.result()
    return values


def _by_blocks(
    model: Model, network: Any, arguments: Any, judges: Sequence[Any], data: Data
) -> dict[str, float]:
    """Return the metrics of many rows: predictions are held for one block of them at a time."""
    assert data.y is not None
    streams = [judge.stream() for judge in judges]
    room = np.empty((BLOCK, model._known_plan().width), model.dtype)
    for first in range(0, data.rows, BLOCK):
        count = min(BLOCK, data.rows - first)
        network.evaluate(arguments, first, count, room, True)
        rows: Any = slice(first, first + count)
        if data.chosen is not None:
            rows = data.chosen[rows]
        weights = None if data.own is None else data.own[rows]
        for stream in streams:
            stream.update(data.y[rows], room[:count], weights)
    return {judge.name: s.result() for judge, s in zip(judges, streams, strict=True)}


def epoch_logs(
    model: Model, loss: float, judges: Sequence[Any], streams: Sequence[Any], val: Data | None
) -> dict[str, float]:
    """Return what an epoch brought, by name: loss, metrics, those of the validation data."""
    logs = {"loss": loss}
    logs.update({j.name: s.result() for j, s in zip(judges, streams, strict=True)})
    if val is not None:
        values = evaluate_rows(model, val, judges)
        logs.update({f"val_{name}": value for name, value in values.items()})
    return logs


# ---- Gradients -----------------------------------------------------------------------------------


def value_and_grad(
    model: Model, X: Any, y: Any, sample_weight: Any = None
) -> tuple[Any, list[Array]]:
    """Return loss and gradients; see `gdcore.models.Sequential.value_and_grad`."""
    model._compiled()
    data = checked(model, X, y, sample_weight, metrics=False)
    model._build_for(data.X)
    assert data.y is not None
    params = model.params
    own = functions_of(model, data.y, (data.rows,), True)
    grads = [np.empty_like(p) for p in params]
    key = (0, 0)
    if any(stage[0] == "dropout" for stage in model._stages()):
        key = draw_key(model._generator)
    core = _core.Trainer(
        network_of(model, model._fused_loss()[1]),
        given(model, params, data, objective_of(model, data.y, own), own),
        None,
        params,
        grads,
        (data.rows, 1, False, True, False, False, *key, 0),
    )
    numbers, ends, progress = np.empty((3, 1)), np.empty(1), np.zeros(5, np.int64)
    losses, norms, lrs = numbers
    records, steps = np.empty(0), np.empty(0, np.int64)
    core.run(1, None, math.inf, None, None, losses, norms, lrs, ends, records, steps, progress)
    assert model.dtype is not None
    return model.dtype.type(numbers[0, 0]), grads
