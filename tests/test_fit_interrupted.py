"""Ctrl-C, fork and threads beside a fit."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from fit_cases import CLASSES, WIDTH, X, Y, bits, net, train

import gdcore as gd

LONG = """
import os, signal, sys, threading, time
import numpy as np
import gdcore as gd

rng = np.random.default_rng(0)
rows, optimizer, settings = {rows}, {optimizer}, {settings}
x = np.broadcast_to(rng.normal(size=(1, 8)), (rows, 8))
y = np.broadcast_to(rng.normal(size=(1, 1)), (rows, 1))

def model():
    made = gd.Sequential([gd.Input(8), gd.Dense(256, "tanh"), gd.Dense(1)]).clone(seed=0)
    made.compile(optimizer, "mse")
    return made

one, sent = model(), []

def interrupt():
    time.sleep({delay})
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)

one.fit(x[:100], y[:100], batch_size=settings["batch_size"], verbose=0, epochs=0)
threading.Thread(target=interrupt).start()
try:
    one.fit(x, y, verbose=0, **settings)
except KeyboardInterrupt as error:
    late = time.perf_counter() - sent[0]
    h = error.history
    assert h is one.history
    done = len(h.batch_losses)
    assert done == one.optimizer.t == len(h.batch_grad_norms), (done, one.optimizer.t)
    twin, batch = model(), settings["batch_size"] or rows
    twin.fit(x[:100], y[:100], batch_size=settings["batch_size"], verbose=0, epochs=0)
    per_epoch = -(-rows // batch)
    left = []
    class Stop(gd.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            left.append(batch)
            if len(left) == done:
                raise StopIteration
    try:
        if done:
            twin.fit(x, y, verbose=0, callbacks=[Stop()], **settings)
    except StopIteration:
        pass
    same = all((a == b).all() for a, b in zip(one.get_weights(), twin.get_weights()))
    print(late, done, per_epoch, same, len(h.epoch))
else:
    print("not interrupted")
"""


def interrupted(rows=400_000, delay=0.2, optimizer="gd.Adam()", **settings):
    """Run a fit in a process of its own and interrupt it: (seconds, batches, same, epochs)."""
    settings = {"batch_size": 32, "epochs": 100, "seed": 0, **settings}
    code = LONG.format(rows=rows, delay=delay, optimizer=optimizer, settings=settings)
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stderr
    late, done, per_epoch, same, epochs = ran.stdout.split()
    return float(late), int(done), int(per_epoch), same == "True", int(epochs)


def test_ctrl_c_in_the_middle_of_an_epoch():
    """The epoch takes seconds, and begins well before the signal."""
    late, done, per_epoch, same, epochs = interrupted(rows=6_000_000, delay=0.4)
    assert late < 0.1
    assert 0 < done < per_epoch
    assert same
    assert epochs == 0


@pytest.mark.parametrize("batch", [1, None])
def test_ctrl_c_in_short_and_in_long_batches(batch):
    late, _, _, same, _ = interrupted(batch_size=batch)
    assert late < 0.1
    assert same


def test_a_fit_goes_on_after_ctrl_c_as_if_nothing_had_been():
    class Cut(gd.callbacks.Callback):
        def __init__(self, at):
            self.at = at

        def on_train_batch_end(self, batch, logs=None):
            self.at -= 1
            if self.at == 0:
                raise KeyboardInterrupt

    settings = {"batch_size": 8, "epochs": 4, "shuffle": True}
    whole = net("adam", metrics=["mae"])
    train(whole, X, Y, **settings, seed=0)
    for at in (1, 5, 10, 17, 35):
        cut = net("adam", metrics=["mae"])
        with pytest.raises(KeyboardInterrupt) as caught:
            train(cut, X, Y, **settings, seed=0, callbacks=[Cut(at)])
        assert caught.value.history is cut.history
        assert len(cut.history.batch_losses) == cut.optimizer.t == at
        train(cut, X, Y, **settings, resume=True)
        assert bits(cut) == bits(whole)
        np.testing.assert_array_equal(cut.history.batch_losses, whole.history.batch_losses)
        assert cut.history.history["loss"] == whole.history.history["loss"]
        np.testing.assert_allclose(
            cut.history.history["mae"], whole.history.history["mae"], rtol=1e-13
        )


def test_an_exception_of_a_signal_handler_goes_through():
    class Alarm(Exception):
        pass

    def ring(number, frame):
        raise Alarm

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100_000, 3)), rng.normal(size=(100_000, 2))
    model = net("adam")
    old = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Alarm):
            train(model, x, y, batch_size=1, epochs=1000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert 0 < len(model.history.batch_losses) == model.optimizer.t


# ---- Fork ----------------------------------------------------------------------------------------


def big():
    rng = np.random.default_rng(0)
    return rng.normal(size=(4000, WIDTH)), rng.integers(0, CLASSES, 4000)


def fitted(seed=0):
    layers = [gd.Dense(64, "relu"), gd.Dense(CLASSES)]
    model = net("adam", "sparse_categorical_crossentropy", layers=layers, seed=seed)
    train(model, *big(), batch_size=2000, epochs=2)
    return model


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_fits_after_its_parent_has_used_threads():
    before = gd.get_num_threads()
    gd.set_num_threads(2)
    try:
        wanted = fitted()
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, b"1" if bits(fitted()) == bits(wanted) else b"0")
            finally:
                os._exit(0)
        os.close(write)
        deadline = time.monotonic() + 30
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                pytest.fail("the child hangs")
            time.sleep(0.01)
        with os.fdopen(read, "rb") as pipe:
            assert pipe.read() == b"1"
        assert bits(fitted()) == bits(wanted)
    finally:
        gd.set_num_threads(before)


# ---- Threads of Python ---------------------------------------------------------------------------


def together(*calls):
    """Run calls at the same time; return what each returned or raised."""
    found = [None] * len(calls)
    gate = threading.Barrier(len(calls))

    def run(number, call):
        gate.wait()
        try:
            found[number] = call()
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return found


@pytest.mark.parametrize("threads", [1, 2])
def test_models_are_fitted_at_the_same_time(threads):
    before = gd.get_num_threads()
    gd.set_num_threads(threads)
    try:
        wanted = [bits(fitted(seed)) for seed in range(4)]
        models = together(*(lambda seed=seed: fitted(seed) for seed in range(4)))
        assert [bits(model) for model in models] == wanted
    finally:
        gd.set_num_threads(before)


def test_a_model_predicts_while_it_is_fitted():
    """Predictions of moving weights are finite, and the fit is that of a model left alone."""
    x, y = np.random.default_rng(0).normal(size=(2, 20_000, 1)).repeat(3, axis=2)
    model, twin = net("adam"), net("adam")
    outputs, _ = together(
        lambda: [model.predict(x[:50]) for _ in range(50)],
        lambda: train(model, x, y[:, :2], epochs=3),
    )
    assert np.isfinite(outputs).all()
    train(twin, x, y[:, :2], epochs=3)
    assert bits(model) == bits(twin)
