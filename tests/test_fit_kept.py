"""What a fit keeps where it is refused, left or interrupted: weights, losses, signals' handlers."""

import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from fit_cases import ROWS, X, Y, bits, net, train

import gdcore as gd

BATCHES = [(X[p], Y[p]) for p in (slice(0, 20), slice(20, 50), slice(50, ROWS))]


# ---- Refused and embedded ------------------------------------------------------------------------


class Refusing(gd.Callback):
    """Refuses the fit; notes who was ended."""

    def __init__(self, log):
        self.log = log

    def on_train_begin(self, logs=None):
        self.log.append("begin")

    def on_train_end(self, logs=None):
        self.log.append("end")


def test_a_resume_that_is_refused_changes_nothing():
    """The weights are those that early stopping put back, not those of the fit's last step."""
    model = net(gd.Adam(0.5))
    val = {"validation_data": (X[:20] + 1, Y[:20])}
    train(model, X, Y, epochs=30, seed=0, callbacks=[gd.EarlyStopping(patience=3)], **val)
    best, history, log = bits(model), model.history, []
    failing = gd.LambdaCallback(on_train_begin=lambda logs: 1 / 0)
    for others in ([Refusing(log)], [gd.EarlyStopping(), Refusing(log), failing]):
        with pytest.raises((ValueError, ZeroDivisionError)):
            train(model, X, Y, epochs=40, resume=True, callbacks=others, **val)
        assert bits(model) == best
        assert model.history is history
    assert log == 2 * ["begin", "end"]
    train(model, X, Y, epochs=40, resume=True, callbacks=[gd.EarlyStopping(patience=3)], **val)
    assert model.history is history


def test_an_epoch_of_which_every_batch_was_left_out_has_no_loss():
    """NaN: 0 would be the best loss of all, for early stopping and for those who read it."""
    model = net(gd.SGD(0.1, on_nonfinite="skip"), layers=[gd.Dense(2)])
    bad = gd.LambdaCallback(
        on_epoch_end=lambda epoch, logs: model.params[0].fill(1e200) if epoch == 2 else None
    )
    stop = gd.EarlyStopping("loss", patience=10)
    for data in ((X, Y), (BATCHES,)):
        model.set_weights([np.zeros_like(w) for w in model.get_weights()])
        h = train(model, *data, epochs=5, callbacks=[stop, bad])
        losses = h.history["loss"]
        assert np.isfinite(losses[:3]).all()
        assert np.isnan(losses[3:]).all()
        assert np.isfinite(model.params[0]).all()
        assert abs(model.params[0]).max() < 10
        assert h.skipped > 0
        assert pickle.loads(pickle.dumps(h)).history["loss"][:3] == losses[:3]


def test_weights_of_noisy_batches_are_good_at_an_epoch_s_end():
    """Losses of single rows are often a tenth of others; the epoch has not left for that."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = x @ [1.0, 2.0, 3.0] + 0.3 * rng.normal(size=200)
    ends = []
    rates = lambda t: 0.02 if t < 4000 else 1e200  # noqa: E731
    model = net(gd.SGD(rates), layers=[gd.Dense(1)])
    note = gd.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(bits(model)))
    with pytest.raises(gd.NonFiniteError):
        train(model, x, y, batch_size=1, epochs=100, callbacks=[note])
    assert len(ends) == 20
    assert bits(model) == ends[-1]


@pytest.mark.parametrize("source", ["arrays", "batches"])
def test_a_penalty_is_once_in_a_sum(source):
    regular = gd.regularizers.l2(1.0)
    layers = [gd.Dense(2, kernel_regularizer=regular)]
    model = net(gd.SGD(0.0), gd.losses.get("mse", reduction="sum"), layers=layers)
    data = (X, Y) if source == "arrays" else (BATCHES,)
    h = train(model, *data, epochs=2)
    assert h.history["loss"] == pytest.approx([model.evaluate(X, Y)] * 2, rel=1e-12)


ENDED = """
import os, signal
import numpy as np
import gdcore as gd

signal.signal(signal.SIGINT, signal.{handler})
X = np.eye(3)
model = gd.Sequential([gd.Dense(1)])
model.compile(gd.EMA(gd.SGD(0.1)), "mse", ["mae"])
send = gd.LambdaCallback(on_epoch_end=lambda epoch, logs: os.kill(os.getpid(), signal.SIGINT))
h = model.fit(X, X[:, 0], epochs=3, verbose=0, callbacks=[send])
print(len(h.epoch))
"""


@pytest.mark.parametrize(
    ("handler", "printed", "code"), [("SIG_DFL", "", -signal.SIGINT), ("SIG_IGN", "3\n", 0)]
)
def test_sigint_that_raises_nothing(handler, printed, code):
    text = ENDED.format(handler=handler)
    ran = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=100, check=False
    )
    assert (ran.stdout, ran.returncode) == (printed, code), ran.stderr


def test_a_handler_that_is_not_python_s_stays(monkeypatch):
    """signal.signal could not put it back: it takes no None."""
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", lambda number, handler: 1 / 0)
    assert train(net(metrics=["mae"]), X, Y, epochs=2).epoch == [0, 1]


def test_a_second_ctrl_c_does_not_wait_for_a_callback_that_hangs():
    def hang(epoch, logs):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    model = net()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as caught:
        train(model, X, Y, epochs=3, callbacks=[gd.LambdaCallback(on_epoch_end=hang)])
    assert time.monotonic() - begun < 30
    assert caught.value.history.epoch == [0]


# ---- Functions of the user's that change meanwhile -----------------------------------------------


@pytest.mark.parametrize("kind", [float, int])
def test_what_a_loss_captured_may_change_between_epochs(kind):
    """The loss that trains sees it as that of the validation data does, in integers too."""
    scale = np.array([1], kind)

    def scaled(y_true, y_pred):
        return ((y_true - y_pred) ** 2).mean(axis=1) * scale

    model = net(gd.SGD(0.0), scaled)
    note = gd.LambdaCallback(on_epoch_end=lambda epoch, logs: scale.fill(100))
    h = train(model, X, Y, epochs=3, validation_data=(X, Y), callbacks=[note]).history
    np.testing.assert_allclose(h["loss"], h["val_loss"])
    np.testing.assert_allclose(np.divide(h["loss"], h["loss"][0]), [1, 100, 100])
