"""Fits that are interrupted, refused, cut or resumed: nothing is lost, nothing half done."""

import contextlib
import itertools
import os
import signal
import threading
import time

import numpy as np
import pytest
from fit_cases import LABELS, ROWS, X, Y, bits, classifier, loop, net, train
from test_fit_failures import refused, spoiled
from test_fit_interrupted import interrupted, together

import gdcore as gd
from gdcore.autodiff._errors import UntraceableError

S = gd.schedules
PARTS = [slice(0, 20), slice(20, 50), slice(50, ROWS)]
BATCHES = [(X[p], Y[p]) for p in PARTS]


# ---- Interrupted fits ----------------------------------------------------------------------------


def test_epochs_that_ended_before_ctrl_c_are_in_the_history():
    late, done, per_epoch, same, epochs = interrupted(rows=3000, epochs=100_000)
    assert late < 0.1
    assert same
    assert epochs == done // per_epoch > 0


def test_batches_before_ctrl_c_are_in_the_history_where_steps_are_taken_in_python():
    _, done, _, same, _ = interrupted(optimizer="gd.EMA(gd.EMA(gd.Adam()))")
    assert done > 0
    assert same


@pytest.mark.parametrize("delay", [0.3, 0.5, 0.7, 0.9])
def test_ctrl_c_in_a_line_search_leaves_a_completed_step(delay):
    _, _, _, same, _ = interrupted(optimizer="gd.LBFGS()", batch_size=None, delay=delay)
    assert same


@pytest.mark.parametrize("at", [9, 18, 36])
def test_ctrl_c_at_the_end_of_an_epoch_loses_nothing_of_it(at):
    """Between the last batch and on_epoch_end: metrics, validation, callbacks are still to come."""

    class Cut(gd.callbacks.Callback):
        def __init__(self, left):
            self.left = left

        def on_train_batch_end(self, batch, logs=None):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    settings = {"batch_size": 8, "epochs": 4, "shuffle": True}
    whole, cut = net("adam", metrics=["mae"]), net("adam", metrics=["mae"])
    told = []
    note = gd.LambdaCallback(on_epoch_end=lambda epoch, logs: told.append(epoch))
    train(whole, X, Y, **settings, seed=0)
    with pytest.raises(KeyboardInterrupt):
        train(cut, X, Y, **settings, seed=0, callbacks=[Cut(at), note])
    train(cut, X, Y, **settings, resume=True, callbacks=[Cut(0), note])
    assert bits(cut) == bits(whole)
    assert cut.history.epoch == whole.history.epoch == told
    for name, values in whole.history.history.items():
        np.testing.assert_allclose(cut.history.history[name], values, rtol=1e-13)


def interrupt_after(seconds):
    """A callback that has SIGINT sent so many seconds after training began."""
    timer = threading.Timer(seconds, os.kill, [os.getpid(), signal.SIGINT])
    timer.daemon = True
    return gd.LambdaCallback(on_train_begin=lambda logs: timer.start())


def interrupt_in(model):
    """A thread that sends SIGINT once the model's fit has taken a step."""

    def wait():
        while not (model.optimizer.t and model.history is not None):
            time.sleep(0.0001)
        os.kill(os.getpid(), signal.SIGINT)

    return threading.Thread(target=wait, daemon=True)


@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (gd.Adam, 960_000),
        (lambda: gd.EMA(gd.Adam()), 960_000),
        (lambda: gd.EMA(gd.EMA(gd.Adam())), 60_000),
    ],
    ids=["native", "EMA", "in Python"],
)
@pytest.mark.parametrize("metrics", [None, ["mae"]])
def test_a_fit_goes_on_after_sigint_in_an_epoch(make, rows, metrics):
    """Metrics of the epoch that was cut off count the rows of the batches that were done."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2))
    whole, cut = (net(make(), metrics=metrics) for _ in range(2))
    settings = {"batch_size": 8, "shuffle": True, "epochs": 2}
    train(whole, x, y, seed=0, **settings)
    interrupt_in(cut).start()
    with pytest.raises(KeyboardInterrupt):
        train(cut, x, y, seed=0, **settings)
    assert 0 < len(cut.history.batch_losses) < rows // 4
    train(cut, x, y, resume=True, **settings)
    assert cut.optimizer.t == rows // 4
    assert bits(cut) == bits(whole)
    assert cut.history.epoch == [0, 1]
    for name, values in whole.history.history.items():
        np.testing.assert_allclose(cut.history.history[name], values, rtol=1e-10)


@pytest.mark.parametrize("metrics", [None, ["mae"]])
@pytest.mark.parametrize("validated", [False, True])
def test_no_epoch_is_lost_to_ctrl_c_between_epochs(metrics, validated):
    """Where an epoch is short the signal is seen at its end: it is noted, now or by resume."""
    given = {"validation_data": (X, Y)} if validated else {}
    settings = {"batch_size": 4, "shuffle": True, **given}
    told = []
    note = gd.LambdaCallback(on_epoch_end=lambda epoch, logs: told.append(epoch))
    cut, whole = net("adam", metrics=metrics), net("adam", metrics=metrics)
    with pytest.raises(KeyboardInterrupt):
        train(cut, X, Y, seed=0, epochs=10**6, **settings, callbacks=[interrupt_after(0.02), note])
    epochs = cut._fit_state.place[0] + 1
    train(cut, X, Y, resume=True, epochs=epochs, **settings,
          callbacks=[gd.LambdaCallback(), note])  # fmt: skip
    train(whole, X, Y, seed=0, epochs=epochs, **settings)
    assert bits(cut) == bits(whole)
    assert cut.history.epoch == told == [*range(epochs)]
    for name, values in whole.history.history.items():
        np.testing.assert_allclose(cut.history.history[name], values, rtol=1e-13)


@pytest.mark.parametrize("at", [3, 5, 7])
def test_metrics_do_not_depend_on_how_an_epoch_was_cut(at):
    """Nor on the pace of a bar, which cuts epochs by the clock."""

    def cut(batch, logs):
        if batch == at:
            raise KeyboardInterrupt

    whole, parts = net("adam", metrics=["mae"]), net("adam", metrics=["mae"])
    train(whole, X, Y, batch_size=8, shuffle=True, seed=0)
    with pytest.raises(KeyboardInterrupt):
        train(parts, X, Y, batch_size=8, shuffle=True, seed=0,
              callbacks=[gd.LambdaCallback(on_train_batch_end=cut)])  # fmt: skip
    train(parts, X, Y, batch_size=8, shuffle=True, resume=True)
    assert parts.history.history == whole.history.history


# ---- Weights with a loss that is one number ------------------------------------------------------


def scalar(y_true, y_pred):
    return np.mean((y_pred - y_true) ** 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, w: train(m, X, Y, sample_weight=w),
        lambda m, w: train(m, X, Y, validation_data=(X, Y, w)),
        lambda m, w: m.evaluate(X, Y, sample_weight=w),
        lambda m, w: m.value_and_grad(X, Y, w),
        lambda m, w: m.train_on_batch(X, Y, w),
    ],
    ids=["fit", "validation", "evaluate", "value_and_grad", "train_on_batch"],
)
def test_a_loss_that_is_one_number_takes_no_weights(call):
    model = net(loss=scalar)
    weights = np.arange(ROWS) + 1.0
    refused(model, lambda m: call(m, weights), ValueError, "weight.*one number for|scalar")


# ---- Batches that come one by one ----------------------------------------------------------------


@pytest.mark.parametrize("metrics", [None, ["mae"]])
@pytest.mark.parametrize("callbacks", [None, [gd.LambdaCallback()]])
def test_stop_ends_a_fit_on_batches(metrics, callbacks):
    model = net(layers=[gd.Dense(2)], metrics=metrics)
    bad = [*BATCHES[:2], (X[:4] * 1e200, Y[:4])]
    h = train(model, bad, epochs=3, on_nonfinite="stop", callbacks=callbacks)
    assert h is model.history
    assert len(h.batch_losses) == 2
    assert model.stop_training


def test_line_searches_take_no_batches():
    model = net(gd.LBFGS())
    refused(model, lambda m: m.fit(BATCHES, verbose=0), ValueError, "looks at the loss of all rows")


def test_per_epoch_counts_epochs_of_batches():
    rate = S.per_epoch(S.step(0.1, 1, 0.5))
    h = train(net(gd.SGD(rate)), BATCHES, epochs=3)
    assert h.lrs == [0.1, 0.05, 0.025]


@pytest.mark.parametrize(
    "settings", [{"sample_weight": np.ones(ROWS)}, {"validation_split": np.array([0.1, 0.2])}]
)
def test_arrays_among_the_arguments_beside_batches(settings):
    name = next(iter(settings))
    model = net()
    refused(model, lambda m: m.fit(BATCHES, **settings), ValueError, f"{name} is given, but X")


def test_a_time_limit_ends_a_fit_on_batches():
    model = net()
    began = time.monotonic()
    endless = itertools.islice(itertools.cycle(BATCHES), 200_000)
    train(model, endless, callbacks=[gd.TimeLimit(0.1)])
    assert time.monotonic() - began < 0.5


def test_a_fit_on_batches_is_not_what_resume_goes_on_with():
    model = net()
    train(model, X, Y, epochs=2)
    train(model, BATCHES)
    with pytest.raises(ValueError, match="resume=True, but"):
        train(model, X, Y, epochs=4, resume=True)


def test_the_error_of_a_fit_on_batches_says_which_weights_are_kept():
    bad = [*BATCHES[:2], (X[:4] * 1e200, Y[:4])]
    model, twin = net(layers=[gd.Dense(2)]), net(layers=[gd.Dense(2)])
    with pytest.raises(gd.NonFiniteError) as caught:
        train(model, bad)
    start = bits(twin) == bits(model)
    assert start == ("start of the epoch" in str(caught.value))


# ---- Rates ---------------------------------------------------------------------------------------


def test_a_rate_that_is_no_rate_is_named():
    model = net(gd.SGD(lambda t: -1.0))
    before = bits(model)
    with pytest.raises(ValueError, match="gave a rate or a momentum outside its domain"):
        train(model, X, Y)
    assert bits(model) == before


def test_an_error_of_a_schedule_goes_through_and_enters_no_batch_twice():
    def rate(t):
        if t >= 6:
            raise RuntimeError("mine")
        return 0.1

    told = gd.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    model = net(gd.SGD(rate))
    with pytest.raises(RuntimeError, match="mine"):
        train(model, X, Y, epochs=5, callbacks=[told])
    assert len(model.history.batch_losses) == model.optimizer.t == 6


def test_a_plateau_inside_an_ema_is_told_epochs():
    def rate():
        return S.plateau(0.5, patience=0, factor=0.5, threshold=0.05)

    plain, inner = net(gd.SGD(rate())), net(gd.EMA(gd.SGD(rate())))
    a, b = (train(model, X, Y, batch_size=16, epochs=6) for model in (plain, inner))
    assert a.lrs == b.lrs
    assert bits(plain) == bits(inner)


def test_per_epoch_inside_an_ema():
    rate = S.per_epoch(S.step(0.1, 1, 0.5))
    h = train(net(gd.EMA(gd.SGD(rate))), X, Y, batch_size=16, epochs=3)
    assert h.lrs == [0.1, 0.05, 0.025]


# ---- Averages, and optimizers that are stepped in Python -----------------------------------------


def nested(optimizer):
    """An average of which the core takes no steps."""
    return gd.EMA(gd.EMA(optimizer))


@pytest.mark.parametrize("wrap", [gd.EMA, nested])
def test_skip_inside_an_ema(wrap):
    y = Y.copy()
    y[40:44] = 1e200
    model = net(wrap(gd.SGD(0.01, on_nonfinite="skip")), layers=[gd.Dense(2)])
    h = train(model, X, y, batch_size=16, epochs=2)
    assert (h.skipped, model.optimizer.t) == (2, 8)


@pytest.mark.parametrize("wrap", [gd.EMA, nested])
def test_weights_that_are_not_finite_after_the_step_of_an_ema(wrap):
    model = net(wrap(gd.SGD(1e308)), layers=[gd.Dense(2)])
    with pytest.raises(gd.NonFiniteError):
        train(model, X * 1e6, Y, batch_size=None)
    assert all(np.isfinite(p).all() for p in model.params)


def test_a_line_search_moves_statistics_once():
    layers = [gd.BatchNorm(0.5), gd.Dense(2)]
    model = net(gd.LBFGS(), layers=layers)
    train(model, X, Y, batch_size=None)
    np.testing.assert_allclose(model._buffers[0], 0.5 * X.mean(0), rtol=1e-12)


# ---- Nothing changes before all is known to be sound ---------------------------------------------


def picked(y_true, y_pred):
    return np.sum(y_pred) if float(y_pred[0, 0]) > 0 else np.sum(y_true)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"steps_per_epoch": 100}, ValueError),
        ({"drop_last": True, "batch_size": 100}, ValueError),
        ({"seed": "a"}, TypeError),
        ({"batch_order": lambda epoch: [1, 2]}, ValueError),
        ({"callbacks": [gd.EarlyStopping(monitor="val_los")]}, ValueError),
    ],
    ids=["steps", "drop_last", "seed", "batch_order", "monitor"],
)
@pytest.mark.parametrize("untouched", [True, False])
def test_refused_arguments_change_nothing(settings, error, untouched):
    model = net("adam")
    if untouched:
        model = gd.Sequential([gd.Dense(2)])
        model.compile("sgd", "mse")
    else:
        train(model, X, Y)
    refused(model, lambda m: m.fit(X, Y, **{"verbose": 0, **settings}), error)


@pytest.mark.parametrize("untouched", [True, False])
def test_a_loss_that_cannot_be_traced_changes_nothing(untouched):
    model = net(loss=picked)
    if untouched:
        model = gd.Sequential([gd.Dense(2)])
        model.compile("sgd", picked)
    error = UntraceableError
    refused(model, lambda m: m.fit(X, Y, verbose=0), error, "loss picked")


@pytest.mark.parametrize("name", ["LBFGS", "Armijo"])
def test_a_line_search_that_is_refused_does_not_build(name):
    model = gd.Sequential([gd.Dense(2)])
    model.compile(getattr(gd, name)(), "mse")
    refused(model, lambda m: m.fit(X, Y, verbose=0), ValueError, "all rows")


def test_batches_that_are_refused_do_not_build():
    model = gd.Sequential([gd.Dense(2)])
    model.compile("sgd", "mse")
    given = {"validation_data": (spoiled(X), Y), "verbose": 0}
    refused(model, lambda m: m.fit(BATCHES, **given), ValueError, "validation_data")


def test_rows_of_validation_data_are_counted_by_their_own_X():
    with pytest.raises(ValueError, match=r"4 rows but validation_data\[0\]"):
        train(net(), X, Y, validation_data=(X, Y[:4]))


@pytest.mark.parametrize("value", [np.array([0.1, 0.2]), [0.1]])
def test_a_split_that_is_no_number(value):
    refused(net(), lambda m: m.fit(X, Y, validation_split=value), TypeError, "validation_split is")


def test_no_rows_in_a_list():
    refused(net(), lambda m: m.fit([], [], verbose=0), ValueError, "X is empty")


# ---- A loss that leaves over many epochs ---------------------------------------------------------


def test_the_last_good_weights_are_not_those_just_before_the_overflow():
    model = net(gd.SGD(5.0), layers=[gd.Dense(2)])
    with pytest.raises(gd.NonFiniteError) as caught:
        train(model, X, Y, batch_size=16, epochs=2000)
    losses = caught.value.history.batch_losses
    assert losses.max() > 1e100
    assert model.evaluate(X, Y) < 1e3 * losses.min()


# ---- Threads of Python ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", [gd.Adam, lambda: gd.EMA(gd.Adam())])
def test_a_model_is_fitted_by_one_thread_at_a_time(make):
    """The second is refused, and the first has its history and can be resumed."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 2))
    model, twin = net(make()), net(make())
    fit = lambda: train(model, x, y, epochs=10, batch_size=8)  # noqa: E731
    found = together(fit, fit)
    refusals = [one for one in found if isinstance(one, RuntimeError)]
    assert len(refusals) == 1
    done = next(one for one in found if not isinstance(one, Exception))
    train(twin, x, y, epochs=10, batch_size=8)
    assert bits(model) == bits(twin)
    assert model.history is done


# ---- Stress --------------------------------------------------------------------------------------


def test_ctrl_c_at_any_moment_keeps_history_and_parameters_together():
    wrong = []
    for number in range(100):
        model = net("adam")
        timer = threading.Timer(0.002 + 0.0003 * number, os.kill, [os.getpid(), signal.SIGINT])
        each = gd.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
        with contextlib.suppress(KeyboardInterrupt):
            timer.daemon = True
            begin = gd.LambdaCallback(on_train_begin=lambda logs, timer=timer: timer.start())
            train(model, X, Y, batch_size=4, epochs=10**6, callbacks=[begin, each])
        seen = len(model.history.batch_losses)
        state = model._fit_state
        place = 0 if state is None else state.place[2]
        if not seen == model.optimizer.t == place:
            wrong.append((number, seen, model.optimizer.t, place))
    assert not wrong


def test_classes_are_balanced_over_the_rows_that_train():
    model, twin = classifier(), classifier()
    labels = np.sort(LABELS)
    train(model, X, labels, class_weight="balanced", validation_split=0.3)
    train(twin, X[:49], labels[:49], class_weight="balanced")
    assert bits(model) == bits(twin)


# ---- Averages of the parameters ------------------------------------------------------------------


def test_an_average_predicts_again_after_the_next_step_of_a_loop():
    model, plain = net(gd.EMA(gd.SGD(0.5), decay=0.9)), net()
    train(model, X, Y, epochs=3)
    model.set_weights(model.get_weights())
    loop(model, X, Y, epochs=5)
    plain.set_weights(model.optimizer.averaged(model.params))
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))


def test_an_average_predicts_again_after_the_next_step_of_fit():
    model, plain = net(gd.EMA(gd.SGD(0.5), decay=0.9)), net()
    same = gd.LambdaCallback(on_epoch_begin=lambda e, logs: model.set_weights(model.get_weights()))
    h = train(model, X, Y, epochs=3, validation_data=(X, Y), callbacks=[same])
    plain.set_weights(model.optimizer.averaged(model.params))
    assert h.history["val_loss"][-1] == plain.evaluate(X, Y)


@pytest.mark.parametrize("name", ["EMA", "ScheduleFreeSGD"])
def test_good_weights_that_are_restored_are_what_predicts(name):
    optimizer = gd.EMA(gd.SGD(0.01)) if name == "EMA" else gd.ScheduleFreeSGD(0.01)
    x = X.copy()
    x[40] = 1e200
    model = net(optimizer, layers=[gd.Dense(2)])
    before = model.predict(X)
    with pytest.raises(gd.NonFiniteError, match="start of the epoch"):
        train(model, x, Y, batch_size=8)
    np.testing.assert_allclose(model.predict(X), before, rtol=1e-12)


def test_programs_are_made_for_batches_that_occur(monkeypatch):
    from gdcore import _own_functions

    sizes = []
    made = _own_functions.sizes_of
    monkeypatch.setattr(
        _own_functions, "sizes_of", lambda b, whole: sizes.append([*b]) or made(b, whole)
    )

    def centred(y_true, y_pred):
        return np.mean((y_pred - y_true - np.mean(y_pred - y_true, axis=0)) ** 2, axis=1)

    train(net(loss=centred), X, Y, batch_size=8, steps_per_epoch=2)
    assert max(sizes[0]) == 8


def test_ctrl_c_in_on_train_begin_carries_the_history():
    def cut(logs):
        raise KeyboardInterrupt

    model = net()
    with pytest.raises(KeyboardInterrupt) as caught:
        train(model, X, Y, callbacks=[gd.LambdaCallback(on_train_begin=cut)])
    assert caught.value.history is model.history
