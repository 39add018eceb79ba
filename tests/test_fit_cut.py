"""Ctrl-C between any two lines of a fit: resumed, it has the bits of one that went through."""

import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from fit_cases import X, Y, bits

import gdcore as gd

PACKAGE = str(Path(gd.__file__).parent)
VALIDATION = {"validation_data": (X[:20], Y[:20])}
PLACES = 150  # of each case; a line is missed that lies between two of them


class Own(gd.Callback):
    """A callback of the user's."""

    def on_epoch_end(self, epoch, logs=None):
        self.last = epoch


CASES = {
    "own callbacks": (
        lambda: gd.Adam(0.05),
        lambda: [gd.EarlyStopping(patience=2), gd.ReduceLROnPlateau(patience=1)],
        {"epochs": 3, "batch_size": 32, **VALIDATION},
    ),
    "a user's callback": (
        lambda: gd.Adam(0.05),
        lambda: [Own()],
        {"epochs": 3, "batch_size": 32, **VALIDATION},
    ),
    "a scheduler": (
        lambda: gd.SGD(0.1),
        lambda: [gd.LearningRateScheduler(lambda epoch, lr: lr * 0.7)],
        {"epochs": 3, "batch_size": 32},
    ),
    "epochs at once": (lambda: gd.EMA(gd.Adam(0.05), decay=0.9), list, {"epochs": 3}),
    "steps in Python": (
        lambda: gd.EMA(gd.EMA(gd.Adam(0.05), decay=0.9), decay=0.5),
        list,
        {"epochs": 2, "batch_size": 32},
    ),
    "a line search": (gd.LBFGS, list, {"epochs": 2, "batch_size": None}),
}


def fitted(case, at):
    """Fit, with SIGINT before the line of this number, and resume; (model, lines, was it cut)."""
    make, callbacks, settings = CASES[case]
    metrics = None if case == "epochs at once" else ["mae"]
    layers = [gd.Input(3), gd.Dense(4, "tanh"), gd.Dropout(0.2), gd.Dense(2)]
    model = gd.Sequential(layers)
    model.compile(make(), "mse", metrics)
    lines, cut = 0, False

    def trace(frame, event, argument):
        nonlocal lines
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            lines += 1
            if lines == at:
                signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        model.fit(X, Y, seed=1, verbose=0, callbacks=callbacks(), **settings)
    except KeyboardInterrupt:
        sys.settrace(before)
        cut = True
        again = {"seed": 1} if model._fit_state is None else {"resume": True}
        model.fit(X, Y, verbose=0, callbacks=callbacks(), **again, **settings)
    finally:
        sys.settrace(before)
    return model, lines, cut


def all_of(model):
    """Weights, history and the number of steps."""
    h = model.history
    curves = {name: np.array(values).tobytes() for name, values in h.history.items()}
    return bits(model), curves, h.epoch, h.lrs, h.batch_losses.tobytes(), model.optimizer.t


@pytest.mark.parametrize("case", CASES)
def test_ctrl_c_before_any_line(case):
    fitted(case, 0)  # imports what a fit imports late, whose lines would be counted
    whole, lines, _ = fitted(case, 0)
    assert lines > PLACES
    places = range(1, lines - 20, lines // PLACES)
    for at in places:
        model, _, cut = fitted(case, at)
        assert cut
        mine, its = all_of(model), all_of(whole)
        np.testing.assert_allclose(  # metrics are added up in other parts
            np.frombuffer(mine[1].pop("mae", b"")), np.frombuffer(its[1].pop("mae", b"")), 1e-12
        )
        mine[1].pop("val_mae", None), its[1].pop("val_mae", None)
        assert mine == its, f"before line {at} of {lines}"
