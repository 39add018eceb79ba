"""Models, functions and settings that tests of saving share."""

import json

import numpy as np

import gdcore as gd
from gdcore import _saving_objects
from gdcore.callbacks import EarlyStopping, ReduceLROnPlateau
from gdcore.layers import Residual

ROWS, WIDTH, CLASSES = 50, 4, 3


def swish(z):
    return z / (1 + np.exp(-z))


def squares(y_true, y_pred):
    return ((y_true - y_pred) ** 2).mean(axis=-1)


def largest_error(y_true, y_pred):
    return np.abs(y_true - y_pred).max()


def sevenths(shape, rng, dtype):
    return rng.normal(0.0, 1.0 / 7.0, shape).astype(dtype)


def falling(t):
    return 0.1 / (1 + t)


OWN = {f.__name__: f for f in (swish, squares, largest_error, sevenths, falling)}


def data(rows=ROWS, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, WIDTH)).astype(dtype)
    return X, (X[:, 0] * X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 1)


def classifier(optimizer=None, metrics=(), dtype=None, **dense):
    """A net with everything that has a state, and rates that layers scale."""
    model = gd.Sequential(
        [
            gd.Dense(6, "tanh", **dense),
            gd.BatchNorm(momentum=0.9),
            gd.Dropout(0.25),
            Residual([gd.Dense(6, "relu", kernel_initializer="he_normal"), gd.LayerNorm()]),
            gd.Dense(CLASSES, kernel_regularizer="l2"),
        ],
        dtype=dtype,
    )
    optimizer = gd.Adam(0.01) if optimizer is None else optimizer
    model.compile(optimizer, "sparse_categorical_crossentropy", list(metrics))
    return model


def with_own_functions():
    model = gd.Sequential(
        [
            gd.Dense(5, swish, kernel_initializer=sevenths),
            gd.layers.Activation(swish),
            gd.Dense(1),
        ]
    )
    model.compile(gd.SGD(falling), squares, [largest_error, "mae"])
    return model


def fitted(kind="classifier"):
    """A model in the middle of its life."""
    if kind == "own":
        model, (X, _) = with_own_functions(), data()
        model.fit(X, X[:, :1] ** 2, epochs=2, verbose=0, seed=1)
        return model
    model = classifier(metrics=["accuracy"], lr_scale=0.5)
    model.fit(
        *data(),
        batch_size=8,
        epochs=3,
        verbose=0,
        seed=1,
        validation_split=0.2,
        callbacks=[EarlyStopping(patience=2), ReduceLROnPlateau(patience=1)]
        if kind == "callbacks"
        else None,
    )
    return model


def bits(value):
    """A value of arrays, numbers and containers as something that == compares bit by bit."""
    if isinstance(value, np.ndarray | np.generic):
        return type(value).__name__, value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: bits(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [bits(one) for one in value]
    return value.hex() if isinstance(value, float) else (type(value).__name__, value)


def portrait(model):
    """Everything that a model is, as something that == compares."""
    store, state = model._store, model._fit_state
    optimizer, history = model.optimizer, model.history
    layers = [repr(layer) for layer in ([model._input] if model._input else []) + model.layers]
    return {
        "layers": layers,
        "names": [part.name for part in model._parts()],
        "dtype": store.dtype,
        "drawn": store.drawn,
        "weights": bits([a for _, a in model._weights()] if store.drawn else None),
        "generator": bits(model._generator.bit_generator.state),
        "settings": repr(model._settings),
        "optimizer": repr(optimizer),
        "state": None if optimizer is None else bits(optimizer.state_dict()),
        "loss": model.loss,
        "head": model._head,
        "metrics": [repr(metric) for metric in model.metrics],
        "wishes": model._wishes,
        "history": None if history is None else bits(history_parts(history)),
        "fit": None if state is None else bits(fit_parts(state)),
        "steps": model._own_steps,
    }


def history_parts(history):
    return {
        "history": history.history,
        "epoch": history.epoch,
        "lrs": history.lrs,
        "losses": history.batch_losses,
        "norms": history.batch_grad_norms,
        "skipped": history.skipped,
        "statistics": history.statistics,
        "steps": history.statistics_steps,
        "names": [history.param_names, history.unit_names],
    }


def fit_parts(state):
    parts = vars(state.settled()).copy()
    parts["streams"] = [(tuple(s._sums or ()), s._width) for s in state.streams]
    return parts


def through_json(value, custom_objects=()):
    """Write a value as a file would hold it, and read it."""
    encoder = _saving_objects.Encoder()
    text = json.dumps(encoder.encode(value, "value"), allow_nan=False)
    entries = {}
    for name, parts in encoder.arrays.items():
        entries[name] = np.concatenate([part.reshape(-1) for part in parts])
    decoder = _saving_objects.Decoder(entries, encoder.functions, dict(custom_objects))
    found = decoder.decode(json.loads(text))
    decoder.finish()
    return found
