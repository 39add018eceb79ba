"""Everything that a model holds, to be compared before and after what must not change it."""

import numpy as np


def everything_of(model):
    """A picture of a model: weights, statistics, optimizer, generator, history, the fit."""
    store, optimizer = model._store, model.optimizer
    arrays = [*store.arrays, *store.buffers] if store.drawn else []
    generator = store._generator
    return {
        "built": model.built,
        "dtype": model.dtype,
        "addresses": [array.ctypes.data for array in arrays],
        "bits": [array.tobytes() for array in arrays],
        "optimizer": (id(optimizer), repr(optimizer), str(optimizer.state_dict())),
        "generator": (id(generator), generator and str(generator.bit_generator.state)),
        "history": (id(model.history), repr(model.history)),
        "fit": (id(model._fit_state), repr(model._fit_state)),
        "metrics": [repr(metric) for metric in model.metrics],
        "stop": (model.stop_training, model._outside_at, model._own_steps),
        "settings": repr(model._settings),
    }


def spirals(rows=60, seed=0, dtype=np.float64):
    """A small problem of two classes and three columns."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 3))
    return X.astype(dtype), (X[:, 0] * X[:, 1] > 0).astype(np.int64)
