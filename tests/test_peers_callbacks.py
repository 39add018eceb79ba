"""Early stopping and falling rates decide as Keras's do, epoch by epoch."""

import numpy as np
import pytest
from callback_cases import Model

from gdcore import callbacks as module


class Rate:
    """An optimizer that has its rate under both libraries' names."""

    lr = 1.0
    learning_rate = property(lambda self: self.lr, lambda self, value: setattr(self, "lr", value))


def test_decisions_are_those_of_keras():
    keras = pytest.importorskip("keras", exc_type=ImportError)
    rng = np.random.default_rng(5)
    for _ in range(60):
        values = np.round(rng.uniform(0, 2, 25), 1).tolist()
        mode = str(rng.choice(["min", "max"]))
        patience, delta = int(rng.integers(0, 5)), float(rng.choice([0.0, 0.3]))
        baseline = [None, 0.5][rng.integers(2)]
        start = int(rng.choice([0, 3]))
        stops, rates = [], []
        for library, extra in ((module, {}), (keras.callbacks, {"verbose": 0})):
            stop = library.EarlyStopping(
                monitor="loss",
                min_delta=delta,
                patience=patience,
                mode=mode,
                baseline=baseline,
                restore_best_weights=True,
                start_from_epoch=start,
                **extra,
            )
            reduce = library.ReduceLROnPlateau(
                monitor="loss",
                factor=0.5,
                patience=patience,
                mode=mode,
                min_delta=delta,
                cooldown=start,
                min_lr=0.01,
            )
            model = Model()
            model.optimizer = Rate()
            for callback in (stop, reduce):
                callback.set_model(model)
                callback.on_train_begin()
            seen = []
            for epoch, value in enumerate(values):
                model.w[...] = epoch
                stop.on_epoch_end(epoch, {"loss": value})
                reduce.on_epoch_end(epoch, {"loss": value})
                seen.append(float(model.optimizer.lr))
                if model.stop_training:
                    break
            stop.on_train_end()
            stops.append((epoch, stop.best, stop.best_epoch, stop.wait, float(model.w[0])))
            rates.append(seen)
        assert stops[0] == stops[1]
        assert rates[0] == rates[1]
