"""A small model that keeps the protocol of callbacks, and a loop that calls them as `fit` does."""

import json
import os
import time

import numpy as np

import gdcore as gd
from gdcore.callbacks import CallbackList


class Model:
    """One weight, which each epoch makes the epoch's number; what is saved is written as text."""

    def __init__(self, lr=0.1, metrics=()):
        self.w = np.array([-1.0])
        self.optimizer = gd.SGD(lr)
        self.metrics = list(metrics)
        self.stop_training = False
        self.callbacks = None
        self.saved = []

    def get_weights(self):
        return [self.w.copy()]

    def set_weights(self, weights):
        self.w[...] = weights[0]

    def save(self, path):
        self.saved.append(str(path))
        with open(f"{path}.part", "w") as file:
            file.write(json.dumps({"w": self.w.tolist(), "callbacks": plain(self.callbacks)}))
        os.replace(f"{path}.part", path)


def plain(callbacks):
    """What a file holds of the callbacks: their state dicts through JSON, arrays as lists."""
    return json.loads(json.dumps(callbacks.state_dict(), default=np.ndarray.tolist))


def fit(
    model, rows, callbacks, verbose=0, start=0, states=None, epochs=None, names=True, raises=()
):
    """Run epochs as `fit` does; `rows` maps names to the values of all epochs from number 0 on.

    Returns the number of epochs that ended.
    """
    length = len(next(iter(rows.values())))
    kit = CallbackList(callbacks, verbose)
    model.stop_training, model.callbacks = False, kit
    kit.set_model(model)
    metrics = {"metrics": list(rows)} if names else {}
    kit.set_params({"epochs": epochs or length, "steps": 1, "verbose": verbose, **metrics})
    kit.on_train_begin()
    if states is not None:
        kit.load_state_dict(states)
    done = start
    try:
        for epoch in range(start, length):
            kit.on_epoch_begin(epoch)
            model.w[...] = epoch
            if epoch in raises:
                raise KeyboardInterrupt
            kit.on_epoch_end(epoch, {name: values[epoch] for name, values in rows.items()})
            done = epoch + 1
            if model.stop_training:
                break
    finally:
        kit.on_train_end()
    return done


class Clock:
    def __init__(self):
        self.now = 1000.0

    def advance(self, seconds):
        self.now += seconds


def stopped_clock(monkeypatch):
    """Put a clock in the place of ``time.monotonic()``, which stands still by itself."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock
