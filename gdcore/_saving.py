"""Models in files: ``model.save(path)`` and `load_model`, and many models in one file.

A file holds all that a model is: layers, weights, the settings of compile, the state of optimizer
and generator, the history, and where the last fit stood, so that ``fit(..., resume=True)`` goes on
with the same bits. See `gdcore._saving_file` for the file and `gdcore._saving_objects` for values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

import gdcore
from gdcore._build import Plan
from gdcore._fit_settings import FitState
from gdcore._last_layer import as_loss, head_of
from gdcore._model import _metrics_of
from gdcore._optimizer import Optimizer
from gdcore._run import metrics_of
from gdcore._saving_file import (
    Array,
    Problem,
    damaged,
    explained,
    path_of,
    path_to_write,
    read,
    write,
)
from gdcore._saving_objects import Decoder, Encoder
from gdcore.history import History
from gdcore.models import Sequential

if TYPE_CHECKING:
    from gdcore._model import Model

# NumPy's, and where what they hold as a position must lie: they do not look at it themselves.
_GENERATORS: dict[str, dict[str, int]] = {
    "PCG64": {},
    "PCG64DXSM": {},
    "SFC64": {},
    "Philox": {"buffer_pos": 4},
    "MT19937": {"pos": 624},
}
_WORD = (1 << 64) - 1
_MOST = 1 << 53  # steps, epochs, rows
_PLACE = (int, int, int, float, float, float, int)


# ---- What is called ------------------------------------------------------------------------------


def save(model: Model, path: str | PathLike[str]) -> None:
    """Write a model to a file; see `gdcore.models.Sequential.save`."""
    _write(path_to_write(path), [model], {})


def load_model(
    path: str | PathLike[str], custom_objects: Mapping[str, Any] | None = None
) -> Sequential:
    """Read a model that ``model.save`` wrote, as it was: the next fit has the same bits.

    Parameters
    ----------
    path : str or path
    custom_objects : dict of str to callable, optional
        Functions and classes of your own, by their names: a file holds names, not code. An error
        lists those that a file needs.

    Returns
    -------
    Sequential
        Compiled, if the saved one was; ``fit(..., resume=True)`` goes on with its last fit.

    Raises
    ------
    ValueError
        Where the file is no such file, is damaged or of a later gdcore, or where `custom_objects`
        lacks something.
    TypeError
        Where `custom_objects` is no dict of callables.
    OSError
        Where the file cannot be read.

    See Also
    --------
    gdcore.models.Sequential.save : Writes it.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> def swish(z):
    ...     return z / (1 + np.exp(-z))
    >>> model = gd.Sequential([gd.Input(2), gd.Dense(3, activation=swish), gd.Dense(1)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "m.npz"
    ...     model.save(path)
    ...     again = gd.load_model(path, custom_objects={"swish": swish})
    >>> X = np.ones((1, 2))
    >>> bool((again.predict(X) == model.predict(X)).all())
    True
    """
    found = path_of(path, "path")
    own = _checked_objects(custom_objects)
    content, entries = read(found)
    with explained(found):
        keys = content["keys"]
        if keys is not None:
            raise Problem(f"holds {len(keys)} models; gd.load_many reads it")
        models, _ = _read(content, entries, own)
        (model,) = models
        return model


def write_models(path: str | PathLike[str], models: Mapping[Any, Model], extra: Any = None) -> None:
    """Write models to one file, which holds what several have in common once.

    Parameters
    ----------
    path : str or path
        Ending with ``.npz``.
    models : dict of key to model
        Keys are texts, numbers, None, and tuples of these.
    extra : object
        Numbers, texts, arrays, and lists, tuples and dicts of these, to be kept beside them.

    Raises
    ------
    TypeError, ValueError, OSError
        As ``model.save``, and for a key that is not accepted.
    """
    found = path_to_write(path)
    for key in models:
        _check_key(key)
    _write(found, list(models.values()), {"keys": list(models), "extra": extra})


def read_models(
    path: str | PathLike[str], custom_objects: Mapping[str, Any] | None = None
) -> tuple[dict[Any, Sequential], Any]:
    """Return the models of a file of `write_models` by their keys, and what was kept beside them.

    Raises
    ------
    TypeError, ValueError, OSError
        As `load_model`.
    """
    found = path_of(path, "path")
    own = _checked_objects(custom_objects)
    content, entries = read(found)
    with explained(found):
        if content["keys"] is None:
            raise Problem("holds one model; gd.load_model reads it")
        models, kept = _read(content, entries, own)
        keys = kept["keys"]
        if len(set(keys)) != len(models) or len(keys) != len(models):
            raise damaged("its keys are not as many as its models")
        return dict(zip(keys, models, strict=True)), kept["extra"]


def _check_key(key: Any) -> None:
    if isinstance(key, tuple):
        for part in key:
            _check_key(part)
    elif not isinstance(key, str | int | float | np.number | np.bool_ | None):
        raise TypeError(
            f"the key {key!r:.80} cannot be saved; texts, numbers, None, and tuples of these are"
            " accepted"
        )


def _checked_objects(custom_objects: Any) -> Mapping[str, Any]:
    """Return the user's functions by name."""
    if custom_objects is None:
        return {}
    if not isinstance(custom_objects, Mapping):
        raise TypeError(
            f"custom_objects is {custom_objects!r:.80}; a dict of names to functions is accepted"
        )
    for name, value in custom_objects.items():
        if not callable(value):
            raise TypeError(
                f"custom_objects[{name!r}] is {value!r:.80}; a function or a class is accepted"
            )
    return custom_objects


# ---- Models as JSON and arrays -------------------------------------------------------------------


def _write(path: str, models: list[Model], beside: dict[str, Any]) -> None:
    encoder = Encoder()
    numbers: dict[str, int] = {}
    descriptions: list[Any] = []
    states: list[Any] = []
    for model in models:
        description = _description_of(encoder, model)
        number = numbers.setdefault(json.dumps(description), len(descriptions))
        if number == len(descriptions):
            descriptions.append(description)
        states.append([number, _state_of(encoder, model)])
    kept = {name: encoder.encode(beside.get(name), name) for name in ("keys", "extra")}
    content = {
        "gdcore": gdcore.__version__,
        "functions": encoder.functions,
        **kept,
        "descriptions": descriptions,
        "models": states,
    }
    write(path, content, encoder.arrays)


def _description_of(encoder: Encoder, model: Model) -> dict[str, Any]:
    """Return what many models may have in common: layers, width, type, settings."""
    encode, store = encoder.encode, model._store
    layers = [*([] if model._input is None else [model._input]), *model._layers]
    compiled = None
    if model._settings is not None and model._compiled_layers == model._layers:
        compiled = {
            "settings": encode(model._settings, "optimizer"),
            "optimizer": encode(model._optimizer, "optimizer"),
            "loss": encode(model._loss, "loss"),
            "metrics": [encode(one, f"metric {one.name!r}") for one in model._metrics],
            "wishes": encode(model._wishes, "layers"),
        }
    return {
        "layers": encode(layers, "layers"),
        "inputs": None if store.plan is None else store.plan.inputs,
        "dtype": None if store.dtype is None else store.dtype.name,
        "compiled": compiled,
    }


def _state_of(encoder: Encoder, model: Model) -> dict[str, Any]:
    """Return what is a model's own: weights, and the state of everything that has one."""
    bits = model._generator.bit_generator
    if type(bits).__name__ not in _GENERATORS or type(bits).__module__.split(".")[0] != "numpy":
        raise ValueError(
            f"the model's generator is made of {bits!r:.80}, which cannot be saved; accepted are"
            f" numpy.random's {', '.join(_GENERATORS)}: fit(seed=0) takes another"
        )
    optimizer, history = model._optimizer, model.history
    parts = {
        "weights": dict(model._weights()) if model._store.drawn else None,
        "generator": bits.state,
        "optimizer": None if optimizer is None else optimizer.state_dict(),
        "fit": None if model._fit_state is None else _parts_of_fit(model._fit_state),
        "history": _parts_of_history(history) if isinstance(history, History) else None,
        "steps": model._own_steps,
        "outside_at": model._outside_at,
    }
    return {name: encoder.encode(part, name) for name, part in parts.items()}


def _parts_of_fit(state: FitState) -> dict[str, Any]:
    settled = state.settled()
    parts = {field.name: getattr(settled, field.name) for field in fields(settled)}
    del parts["live"]
    parts["streams"] = [(stream._sums, stream._width) for stream in settled.streams]
    return parts


def _parts_of_history(history: History) -> dict[str, Any]:
    return {
        "param_names": history.param_names,
        "unit_names": history.unit_names,
        "epoch": np.array(history.epoch, np.int64),
        "lrs": np.array(history.lrs, np.float64),
        "columns": {name: np.array(values) for name, values in history.history.items()},
        "losses": history.batch_losses,
        "grad_norms": history.batch_grad_norms,
        "skipped": history.skipped,
        "statistics": history.statistics,
        "steps": history.statistics_steps,
    }


# ---- And back ------------------------------------------------------------------------------------


def _read(
    content: dict[str, Any], entries: dict[str, Array], own: Mapping[str, Any]
) -> tuple[list[Sequential], dict[str, Any]]:
    """Return the models of a file, and what was kept beside them."""
    decoder = Decoder(entries, content["functions"], own)
    models = []
    for number, state in content["models"]:
        if type(number) is not int or number < 0:
            raise damaged(f"its models have no description {number!r:.20}")
        parts = {name: decoder.decode(part) for name, part in state.items()}
        models.append(_model_of(decoder, content["descriptions"][number], parts))
    kept = {name: decoder.decode(content[name]) for name in ("keys", "extra")}
    decoder.finish()
    return models, kept


def _model_of(decoder: Decoder, description: dict[str, Any], parts: dict[str, Any]) -> Sequential:
    """Return a model that nobody has seen yet, so that an error leaves none half made."""
    layers, dtype = decoder.decode(description["layers"]), description["dtype"]
    model = Sequential(layers, dtype=dtype)
    if description["compiled"] is not None:
        _compile(model, decoder, description["compiled"])
    if description["inputs"] is not None:
        _build(model, _integer("inputs", description["inputs"], 1), parts["weights"])
    model._generator = _generator_of(parts["generator"])
    if model._optimizer is not None:
        _restore_optimizer(model, model._optimizer, parts["optimizer"])
    if parts["history"] is not None:
        model.history = _history_of(parts["history"])
    if parts["fit"] is not None:
        model._fit_state = _fit_of(model, parts["fit"])
    if parts["steps"] is not None:
        key, count = parts["steps"]
        model._own_steps = _key_of(key), _integer("steps", count, 0)
    outside = parts["outside_at"]
    model._outside_at = None if outside is None else _integer("outside_at", outside, 0)
    return model


def _compile(model: Sequential, decoder: Decoder, saved: dict[str, Any]) -> None:
    """Give a model the settings of compile, and its live optimizer, whose own may be others now."""
    settings, live = decoder.decode(saved["settings"]), decoder.decode(saved["optimizer"])
    loss = as_loss(decoder.decode(saved["loss"]))
    wishes = decoder.decode(saved["wishes"])
    if not isinstance(settings, Optimizer) or type(live) is not type(settings):
        raise damaged("its optimizer is none")
    if not isinstance(wishes, list) or not all(isinstance(wish, dict) for wish in wishes):
        raise damaged("what its layers ask of the optimizer is missing")
    model._head = head_of(loss, model._layers)
    model._metrics = _metrics_of(decoder.decode(saved["metrics"]))
    model._settings, model._optimizer, model._wishes = settings, live, wishes
    model._loss, model._compiled_layers = loss, model.layers


def _build(model: Sequential, inputs: int, weights: Any) -> None:
    """Make the arrays of a model and write its weights into them, if they were drawn.

    Nothing is made before all shapes are known to be those of the file.
    """
    plan = model._plan_for(inputs) if model._layers else None
    if plan is None or weights is None:
        model._store.plan = plan or model._store.plan
        return
    _check_weights(model, plan, list(weights.items()))
    model.build(inputs)
    model.set_weights(list(weights.values()))


def _check_weights(model: Sequential, plan: Plan, found: list[tuple[str, Any]]) -> None:
    """Refuse weights that are not those of the layers by name, shape and type."""
    wanted = model._weight_shapes(plan)
    shapes = {name: np.shape(array) for name, array in found}
    if list(shapes.items()) != list(wanted.items()):
        raise damaged(f"its weights are {shapes!r:.200}; its layers want {wanted!r:.200}")
    if model.dtype is None:
        raise damaged("it has weights but no type")
    for name, array in found:
        if not isinstance(array, np.ndarray) or array.dtype != model.dtype:
            raise damaged(f"{name} is not of the model's type, {model.dtype}")


def _restore_optimizer(model: Sequential, live: Optimizer, state: Any) -> None:
    """Give the optimizer its state; arrays that are not for these parameters are refused."""
    if not isinstance(state, dict):
        raise damaged("the state of its optimizer is missing")
    rows = state.get("state")
    if rows is not None:
        if not model._store.drawn or len(rows) != len(model._store.arrays):
            raise damaged(f"the state of its optimizer is for {len(rows)} parameters")
        for row, param in zip(rows, model._store.arrays, strict=True):
            for name, array in row.items():
                own = array.ndim == 0 or array.shape[-param.ndim :] == param.shape
                if not own or (array.ndim and array.dtype != param.dtype):
                    raise damaged(
                        f"{name} of its optimizer is {array.dtype} of shape {array.shape} for a"
                        f" parameter of shape {param.shape}"
                    )
    live.load_state_dict(state)


def _generator_of(state: Any) -> np.random.Generator:
    name = state["bit_generator"]
    if name not in _GENERATORS:
        raise damaged(f"its generator is {name!r:.80}")
    for part, most in _GENERATORS[name].items():
        _integer(part, state["state"].get(part, state.get(part)), 0, most)
    bits = getattr(np.random, name)(0)
    bits.state = state
    return np.random.Generator(bits)


def _history_of(parts: dict[str, Any]) -> History:
    history = History(parts["param_names"], parts["unit_names"])
    columns = {name: values.tolist() for name, values in parts["columns"].items()}
    history.append_epochs(parts["epoch"].tolist(), columns, parts["lrs"].tolist())
    skipped = _integer("skipped", parts["skipped"], 0)
    history.append_batches(parts["losses"], parts["grad_norms"], skipped)
    history.append_statistics(parts["steps"], parts["statistics"])
    return history


def _fit_of(model: Sequential, parts: dict[str, Any]) -> FitState:
    """Return where the last fit stood, with everything looked at that the core relies on."""
    place = parts["place"]
    if not isinstance(place, tuple) or tuple(map(type, place)) != _PLACE:
        raise damaged(f"its fit stood at {place!r:.80}")
    for number in place:
        if isinstance(number, int):
            _integer("place", number, 0)
    counts = {name: _integer(name, parts[name], 1) for name in ("rows", "batch", "batches")}
    if place[1] >= counts["batches"] or counts["batch"] > counts["rows"]:
        raise damaged(f"its fit stood at {place!r:.80} of {counts}")
    for entry in parts["callbacks"]:
        if not isinstance(entry["class"], str) or not isinstance(entry["state"], dict):
            raise damaged(f"it has {entry!r:.80} as the state of a callback")
    if parts["weights"] is not None:
        names = [name for name, _ in model._weights()]
        saved = list(zip(names, parts["weights"], strict=True))
        _check_weights(model, model._known_plan(), saved)
    own = {
        "key": _key_of(parts["key"]),
        "initial_epoch": _integer("initial_epoch", parts["initial_epoch"], 0),
        **_cut_off(model, parts),
    }
    return FitState(**{**parts, **own})


def _cut_off(model: Sequential, parts: dict[str, Any]) -> dict[str, Any]:
    """Return what there is of an epoch that was cut off: its metrics, or how it ended."""
    pending, seen, streams = parts["pending"], parts["seen"], parts["streams"]
    if pending is not None and tuple(map(type, pending)) != (int, float, float):
        raise damaged(f"the end of its epoch is {pending!r:.80}")
    if seen is not None and (
        not isinstance(seen, np.ndarray)
        or seen.dtype != model.dtype
        or seen.shape[1:] != (model._known_plan().width,)
    ):
        raise damaged(f"its fit has predictions of another kind: {seen!r:.80}")
    return {
        "streams": _streams_of(model, streams),
        "judged": _integer("judged", parts["judged"], 0, len(model._metrics)),
        "seen_from": _integer("seen_from", parts["seen_from"], 0),
    }


def _streams_of(model: Sequential, saved: list[Any]) -> list[Any]:
    """Return the metrics of an epoch that was cut off, as far as they had come."""
    streams = [judge.stream() for judge in metrics_of(model)] if saved else []
    for stream, (sums, width) in zip(streams, saved, strict=True):
        if sums is not None and (type(sums) is not tuple or width != (model._known_plan().width,)):
            raise damaged("a metric of an epoch that was cut off is none")
        stream._sums, stream._width = sums, width
    return streams


def _key_of(key: Any) -> tuple[int, int]:
    first, second = key
    return _integer("key", first, 0, _WORD), _integer("key", second, 0, _WORD)


def _integer(name: str, value: Any, low: int, high: int = _MOST) -> int:
    if type(value) is not int or not low <= value <= high:
        raise damaged(f"{name} is {value!r:.80}")
    return value
