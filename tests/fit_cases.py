"""Models, data and loops written by hand that the tests of fit share."""

import copy
import json

import numpy as np

import gdcore as gd

ROWS, WIDTH, CLASSES = 70, 3, 4

_DRAW = np.random.default_rng(7)
X = _DRAW.normal(size=(ROWS, WIDTH))
Y = _DRAW.normal(size=(ROWS, 2))
LABELS = _DRAW.integers(0, CLASSES, ROWS)


def net(optimizer="sgd", loss="mse", metrics=None, *, layers=None, dtype=None, seed=0):
    """A compiled model with drawn weights, the same for the same seed."""
    layers = layers or [gd.Dense(6, "tanh"), gd.Dense(2)]
    model = gd.Sequential([gd.Input(WIDTH), *layers], dtype=dtype).clone(seed=seed)
    model.compile(optimizer, loss, metrics)
    assert model.params
    return model


def classifier(optimizer="sgd", metrics=None, **settings):
    layers = [gd.Dense(6, "relu"), gd.Dense(CLASSES)]
    return net(optimizer, "sparse_categorical_crossentropy", metrics, layers=layers, **settings)


def train(model, *data, **settings):
    """Fit without a word, in the order of the rows unless another is asked for."""
    return model.fit(*data, **{"verbose": 0, "shuffle": False, **settings})


def bits(model):
    """Parameters and moving statistics, byte by byte."""
    return [array.tobytes() for array in model.get_weights()]


def optimizer_bits(optimizer):
    """The state of an optimizer, byte by byte."""
    state = optimizer.state_dict()
    return json.dumps(state, sort_keys=True, default=lambda a: np.asarray(a).tolist())


def loop(model, x, y, *, batch=None, epochs=1, weights=None):
    """Train by hand with value_and_grad and opt.step; return the losses and the rates."""
    opt, rows = model.optimizer, len(x)
    batch = batch or rows
    losses, rates = [], []
    for _ in range(epochs):
        for start in range(0, rows, batch):
            part = slice(start, start + batch)
            w = None if weights is None else weights[part]
            loss, grads = model.value_and_grad(x[part], y[part], w)
            arguments = {"loss": float(loss)} if needs_loss(opt) else {}
            rates.append(opt.lr)
            opt.step(model.params, grads, **arguments)
            losses.append(float(loss))
    return losses, rates


def needs_loss(optimizer):
    inner = getattr(optimizer, "optimizer", optimizer)
    return type(inner).__name__ == "PolyakSGD"


def picture(model):
    """Everything of a model that a refused call must leave as it was."""
    generator = copy.deepcopy(model._generator.bit_generator.state)
    opt = model.optimizer
    return {
        "weights": bits(model) if model.built and model._store.drawn else None,
        "drawn": model._store.drawn,
        "built": (model.built, model.dtype),
        "optimizer": None if opt is None else (opt.t, optimizer_bits(opt)),
        "history": (id(model.history), repr(model.history)),
        "generator": repr(generator),
        "stop": model.stop_training,
        "state": id(model._fit_state),
    }
