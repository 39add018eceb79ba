"""Attributes of Keras's models and layers, and where the same thing is said here."""

from __future__ import annotations

from typing import Any

_PARAMS = "here it is model.params"
_WIDTHS = "here it is layer.inputs and layer.outputs, the columns of its rows"
_INSIDE = "training runs in C; a function f(z) in NumPy as activation, or a loss, may be your own"

MODEL = {
    "call": _INSIDE,
    "count_params": "sum(p.size for p in model.params), and model.summary() prints it",
    "fit_generator": "model.fit takes iterables of batches",
    "get_config": "repr(model) is the constructor call; model.save(path) keeps everything",
    "get_layer": "layers are model.layers[i], which have a .name",
    "input_shape": "here it is model.layers[0].inputs, the columns of X",
    "learning_rate": "here it is model.optimizer.lr",
    "load_weights": "gd.load_model(path) returns the model of model.save(path)",
    "lr": "here it is model.optimizer.lr",
    "metrics_names": "['loss', *(metric.name for metric in model.metrics)]",
    "output_shape": "here it is model.layers[-1].outputs, the columns of the predictions",
    "predict_classes": "model.predict(X).argmax(axis=1)",
    "reset_states": "no layer has a state between rows",
    "save_weights": "model.save(path) keeps them, and all else",
    "test_on_batch": "here it is model.evaluate(X, y)",
    "to_json": "model.save(path) writes layers as JSON, beside the weights",
    "trainable_variables": _PARAMS,
    "trainable_weights": _PARAMS,
    "train_step": _INSIDE,
    "variables": "here it is model.get_weights(), copies, or model.params, live",
    "weights": "here it is model.get_weights(), copies, or model.params, live",
}
LAYER = {
    "bias": "here it is layer.b",
    "build": "the model builds its layers: model.build(n)",
    "call": _INSIDE,
    "count_params": "model.summary() prints it",
    "get_config": "repr(layer) is the constructor call",
    "get_weights": "here they are layer.W and layer.b; model.get_weights() has those of all layers",
    "input_shape": _WIDTHS,
    "kernel": "here it is layer.W",
    "moving_var": "here it is layer.moving_variance",
    "output_shape": _WIDTHS,
    "set_weights": "write layer.W = ... and layer.b = ...; model.set_weights sets all layers'",
    "trainable_weights": "here they are layer.W and layer.b",
    "variables": "here they are layer.W and layer.b",
    "weights": "here they are layer.W and layer.b",
}


def attribute_of(owner: Any, name: str, known: dict[str, str]) -> Any:
    """Raise the error for an attribute that an object does not have, where it asks for it.

    What its class has has just failed by an error of its own, which is raised again.
    """
    if name not in known or hasattr(type(owner), name):
        return object.__getattribute__(owner, name)
    text = f"{type(owner).__name__!r} object has no attribute {name!r}; {known[name]}"
    raise AttributeError(text, name=name, obj=owner)
