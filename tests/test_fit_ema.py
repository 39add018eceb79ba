"""fit with an EMA: the core steps and averages, with the bits of a loop over EMA.step."""

import contextlib
import os
import signal
import threading
import time

import numpy as np
import pytest
from fit_cases import ROWS, X, Y, bits, loop, net, optimizer_bits, train
from test_fit_optimizers import NATIVE, native

import gdcore as gd
from gdcore import _trainer

S = gd.schedules


def averages(model):
    """The averages of a model's parameters, byte by byte."""
    return [a.tobytes() for a in model.optimizer.averaged(model.params)]


def same(model, twin):
    """Whether parameters, state, average and steps are the same bits."""
    return (
        bits(model) == bits(twin)
        and averages(model) == averages(twin)
        and optimizer_bits(model.optimizer) == optimizer_bits(twin.optimizer)
    )


@pytest.fixture
def runs(monkeypatch):
    """The batches of each call into the core, and whether the step was taken in Python."""
    calls = []
    run = _trainer.Trainer.run

    def counted(self, count, *rest):
        calls.append((count, self.stepped_here))
        return run(self, count, *rest)

    monkeypatch.setattr(_trainer.Trainer, "run", counted)
    return calls


@pytest.fixture(params=[1, 2], ids=["one thread", "threads"])
def threads(request):
    before = gd.get_num_threads()
    gd.set_num_threads(request.param)
    yield request.param
    gd.set_num_threads(before)


# ---- The steps of a loop -------------------------------------------------------------------------


def check(make, *, batch=16, epochs=3, x=X, layers=lambda: None, dtype=None):
    """Fit one model, train its twin by hand."""
    fitted, twin = (net(make(), layers=layers(), dtype=dtype) for _ in range(2))
    x, y = x.astype(fitted.dtype), Y.astype(fitted.dtype)
    h = train(fitted, x, y, batch_size=batch, epochs=epochs)
    loop(twin, x, y, batch=batch, epochs=epochs)
    assert same(fitted, twin)
    np.testing.assert_array_equal(fitted.predict(x), twin.predict(x))
    return h


@pytest.mark.parametrize("name", NATIVE)
def test_every_optimizer_of_the_table(name, dtype):
    if name == "PolyakSGD" and dtype == np.float32:
        pytest.skip("its step depends on the loss, of which a loop sees float32 only")
    check(lambda: gd.EMA(native(name), decay=0.9), dtype=dtype)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999, 1.0])
def test_every_decay(decay, dtype):
    check(lambda: gd.EMA(gd.Adam(0.1), decay), dtype=dtype)


def test_large_arrays(threads, dtype):
    def layers():
        return [gd.Dense(300, "relu"), gd.Dense(300, "relu"), gd.Dense(2)]

    check(lambda: gd.EMA(gd.AdamW(0.01), 0.9), layers=layers, dtype=dtype)


@pytest.mark.parametrize(
    "settings",
    [
        {"groups": [{"params": [1, 3], "lr": 0.3}, {"params": [2], "frozen": True}]},
        {"global_clip_norm": 0.05},
        {"clip_adaptive": 0.01},
        {"l1": 0.1, "weight_decay": 0.1},
        {"constraint": gd.constraints.max_norm(0.3)},
        {"maximize": True},
        {"lr": S.one_cycle(0.1, 15)},
        {"lr": lambda t: 0.1 / (1 + t)},
    ],
    ids=["groups", "clip", "units", "decay", "constraint", "maximize", "cycle", "own"],
)
def test_what_a_step_does_beside_its_rule(settings):
    """A constraint comes before the average, and frozen parameters are averaged too."""
    check(lambda: gd.EMA(gd.SGD(**{"lr": 0.1, "momentum": 0.5, **settings}), decay=0.8))


@pytest.mark.parametrize("first", [False, True])
def test_batches_that_are_left_out(first):
    """Also the first ones: the average begins with the first step that is taken."""
    x = X.copy()
    x[0 if first else 40] = 1e200

    def make():
        return gd.EMA(gd.SGD(0.01, momentum=0.5, on_nonfinite="skip"), 0.5)

    h = check(make, x=x, layers=lambda: [gd.Dense(2)])
    assert h.skipped == 3


def test_batches_that_come_one_by_one():
    parts = [slice(0, 20), slice(20, 50), slice(50, ROWS)]
    models = [net(gd.EMA(gd.Adam(0.1), 0.8)) for _ in range(3)]
    train(models[0], [(X[p], Y[p]) for p in parts], epochs=2)
    for part in parts * 2:
        loop(models[1], X[part], Y[part])
        models[2].train_on_batch(X[part], Y[part])
    assert same(models[0], models[1])
    assert same(models[2], models[1])


def test_steps_in_and_out_of_fit_go_on_with_one_average():
    model, twin = (net(gd.EMA(gd.Adam(0.1), 0.8)) for _ in range(2))
    loop(model, X[:20], Y[:20])
    train(model, X, Y, batch_size=16)
    model.train_on_batch(X, Y)
    loop(twin, X[:20], Y[:20])
    loop(twin, X, Y, batch=16)
    loop(twin, X, Y)
    assert same(model, twin)


def test_the_history_is_that_of_the_optimizer_alone(dtype):
    def rate():
        return S.by_gradient(0.05, 0.1)

    x, y = X.astype(dtype), Y.astype(dtype)
    one, other = (
        train(net(optimizer, dtype=dtype), x, y, batch_size=16, epochs=4)
        for optimizer in (gd.SGD(rate()), gd.EMA(gd.SGD(rate())))
    )
    assert one.history == other.history
    assert one.lrs == other.lrs
    for name in ("batch_losses", "batch_grad_norms", "statistics_steps"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert len(one.statistics_steps)
    for name, values in one.statistics.items():
        np.testing.assert_array_equal(values, other.statistics[name])


# ---- Calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, S.step(0.1, 4), S.per_epoch(S.step(0.1, 1))], ids=repr)
def test_all_epochs_are_one_call(runs, rate):
    train(net(gd.EMA(gd.SGD(rate))), X, Y, batch_size=16, epochs=7)
    assert runs == [(35, False)]


def test_an_epoch_is_one_call_where_something_is_asked_in_between(runs):
    train(net(gd.EMA(gd.Adam()), metrics=["mae"]), X, Y, batch_size=16, epochs=3,
          validation_data=(X, Y))  # fmt: skip
    train(net(gd.EMA(gd.SGD(S.plateau(0.1)))), X, Y, batch_size=16, epochs=2)
    assert runs == [(5, False)] * 5


class Mine(gd.SGD):
    def step(self, params, grads=None, **rest):
        return super().step(params, [2 * g for g in grads], **rest)


class Different(gd.EMA):
    def step(self, params, grads=None, **rest):
        return super().step(params, [2 * g for g in grads], **rest)


@pytest.mark.parametrize(
    "make",
    [
        lambda: gd.EMA(gd.EMA(gd.SGD(0.1), 0.5)),
        lambda: gd.EMA(Mine(0.1)),
        lambda: Different(Mine()),
    ],
    ids=["nested", "a step of one's own inside", "and outside"],
)
def test_other_steps_are_taken_in_python(runs, make):
    check(make, epochs=2)
    assert runs == [(1, True)] * 10


# ---- Between calls -------------------------------------------------------------------------------


def test_callbacks_see_the_average_and_change_the_optimizer():
    model, twin = (net(gd.EMA(gd.Adam(0.1), 0.8)) for _ in range(2))
    seen = []

    def change(epoch, opt):
        if epoch == 1:
            opt.decay = 0.5
        if epoch == 2:
            opt.load_state_dict(opt.state_dict())
        if epoch == 3:
            opt.optimizer = gd.SGD(0.1, momentum=0.5)
        if epoch == 4:
            opt.optimizer = gd.EMA(gd.SGD(0.1))
        if epoch == 5:
            opt.optimizer = gd.Adam(0.1)
            opt.reset()

    def end(epoch, logs):
        seen.append(averages(model))
        change(epoch, model.optimizer)

    train(model, X, Y, batch_size=16, epochs=7, callbacks=[gd.LambdaCallback(on_epoch_end=end)])
    for epoch in range(7):
        loop(twin, X, Y, batch=16)
        assert averages(twin) == seen[epoch]
        change(epoch, twin.optimizer)
    assert same(model, twin)


def test_an_average_of_other_parameters_is_refused():
    model, other = net(gd.EMA(gd.SGD(0.1))), net(gd.EMA(gd.SGD(0.1)), layers=[gd.Dense(2)])
    train(other, X, Y)
    model.optimizer.load_state_dict(other.optimizer.state_dict())
    before = bits(model)
    with pytest.raises(ValueError, match="params holds 4 arrays but the state is for 2"):
        train(model, X, Y)
    assert bits(model) == before


def test_weights_that_are_not_finite_after_the_step():
    """Good weights are restored, and predict: the average is not that of these."""
    model = net(gd.EMA(gd.SGD(1e308), 0.5), layers=[gd.Dense(2)])
    before = model.get_weights()
    with pytest.raises(gd.NonFiniteError, match="not finite after the step"):
        train(model, X * 1e6, Y, batch_size=None)
    assert bits(model) == [w.tobytes() for w in before]
    assert model.optimizer.t == 1
    assert np.isfinite(model.predict(X)).all()


# ---- Interrupts ----------------------------------------------------------------------------------


def stopped_after(model, x, y, batches, **settings):
    """Train for so many batches."""
    left = [batches]

    def count(batch, logs):
        left[0] -= 1
        if left[0] == 0:
            raise StopIteration

    with contextlib.suppress(StopIteration):
        train(model, x, y, **settings, callbacks=[gd.LambdaCallback(on_train_batch_end=count)])


@pytest.mark.parametrize("moment", [0.001, 0.003, 0.01, 0.02])
def test_ctrl_c_leaves_a_completed_step_and_its_average(moment):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 2))
    settings = {"batch_size": 8, "shuffle": True, "seed": 0}
    model, twin = (net(gd.EMA(gd.Adam(), 0.9)) for _ in range(2))
    timer = threading.Timer(moment, os.kill, [os.getpid(), signal.SIGINT])
    timer.daemon = True
    begin = gd.LambdaCallback(on_train_begin=lambda logs: timer.start())
    with pytest.raises(KeyboardInterrupt):
        train(model, x, y, epochs=10**6, callbacks=[begin], **settings)
    done = len(model.history.batch_losses)
    assert model.optimizer.t == done
    if done:  # else it came before the fit began
        stopped_after(twin, x, y, done, epochs=10**6, **settings)
    assert same(model, twin)
    for each in (model, twin) if done else ():
        train(each, x, y, epochs=done // 500 + 1, batch_size=8, shuffle=True, resume=True)
    assert same(model, twin)


def test_ctrl_c_within_the_first_step_leaves_no_average():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400_000, 3)), rng.normal(size=(400_000, 2))
    model = net(gd.EMA(gd.Adam()), layers=[gd.Dense(500, "tanh"), gd.Dense(2)])
    before = bits(model)
    timer = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT])
    timer.daemon = True
    begin = gd.LambdaCallback(on_train_begin=lambda logs: timer.start())
    with pytest.raises(KeyboardInterrupt):
        train(model, x, y, batch_size=None, callbacks=[begin])
    assert model.optimizer.t == 0
    assert bits(model) == before
    params = model.params
    assert model.optimizer.averaged(params) is params
    assert model.optimizer.state_dict()["state"] is None


def test_it_serves_one_caller_at_a_time():
    """Another thread can neither step, load nor forget meanwhile; then it can again."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20_000, 3)), rng.normal(size=(20_000, 2))
    model, twin = (net(gd.EMA(gd.Adam(), 0.9)) for _ in range(2))
    opt = model.optimizer
    state = opt.state_dict()
    training = threading.Thread(target=train, args=(model, x, y), kwargs={"epochs": 40})
    training.start()
    while not opt._busy and training.is_alive():
        time.sleep(0)
    refused = 0
    calls = [
        opt.reset,
        lambda: opt.load_state_dict(state),
        lambda: opt.set_params(decay=0.1),
        lambda: opt.step(model.params, model.params),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            call()
        refused += opt._busy
    training.join()
    assert refused == len(calls)
    assert not opt._busy
    train(twin, x, y, epochs=40)
    assert same(model, twin)
