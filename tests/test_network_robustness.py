"""Networks beside threads and code that mean them no good: no crash, no memory that is not theirs.

Most of these end the process where they fail; `make asan` sees the rest.
"""

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from core_twin import compare
from network_cases import CROSSENTROPY, Fit, Net, data, given, gradient, mlp, objective

import gdcore as gd
from gdcore import _core

DONE, INTERRUPT, NONFINITE, DEADLINE, FAILED = range(5)


class Writer:
    """A thread that calls a function again and again."""

    def __init__(self, act):
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.work, args=(act,))

    def work(self, act):
        while not self.ended.is_set():
            act()

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


# ---- Memory that a batch needs -------------------------------------------------------------------


@pytest.mark.parametrize("rows", [2048 + 300, 2048 + 512, 2048 + 700])
def test_a_last_batch_that_has_more_slices(rows):
    """Eight slices of so many parameters are too many, and there is one; of two there are two."""
    net = mlp(400, 500, 3)
    X, y = data(net, rows)
    fit = Fit(net, X, y, gd.SGD(0.01), batch=2048, threads=2)
    assert np.isfinite(fit.run(2).losses).all()
    alone = mlp(400, 500, 3)
    Fit(alone, X, y, gd.SGD(0.01), batch=2048).run(1)
    other = Fit(alone, X[2048:].copy(), y[2048:].copy(), gd.SGD(0.01))
    other.run(1)
    assert net.state() == alone.state()


@pytest.mark.parametrize("pieces", [1, 2, 3, 5, 7, 8, 9])
def test_any_number_of_slices(pieces):
    """Sizes on both sides of what eight slices, or as many as there are pieces, may take."""
    rows = 256 * pieces
    for units in (327, 328, 2621, 5242):
        net = Net(50, np.float32).dense(units, bias=False).dense(2, bias=False)
        X, y = data(net, rows)
        fit = Fit(net, X, y, gd.SGD(1e-3), batch=max(rows - 200, 1))
        fit.run()
        assert np.isfinite(fit.outcome().losses).all()


def test_more_rows_than_can_be_numbered():
    """Rows of one number take no memory; the predictions of all of them would."""
    X, y = np.broadcast_to(np.int8(1), (2**62, 1)), np.broadcast_to(np.int8(1), 2**62)
    net = mlp(1, 4)
    with pytest.raises(ValueError, match="more rows than"):
        Fit(net, X, y, gd.SGD(0.1), loss=CROSSENTROPY)
    with pytest.raises(ValueError, match="more rows than"):
        net.core().evaluate(given(net, X), 0, 2**62, np.empty(0), False)
    few = X[: 2**40], y[: 2**40]
    fit = Fit(net, *few, gd.SGD(0.1), loss=CROSSENTROPY, batch=1000, batches=2**30)
    with pytest.raises(ValueError, match="seen is no"):
        fit.run(1000, seen=np.empty(0))
    assert fit.run(3).done == 3


def test_no_parameters_and_one_that_is_not_used():
    net = Net(3).act("tanh").dropout(0.5)
    X, y = data(net, 300)
    fit = Fit(net, X, y, None)
    assert np.isfinite(fit.run(1).losses[0])
    assert fit.outcome().norms[0] == 0
    net = mlp(3, 4, 2)
    net.params.append(np.ones(5))
    X, y = data(net, 300)
    _, grads = gradient(net, X, y)
    assert (grads[-1] == 0).all()


def test_networks_of_thousands_of_stages():
    """Their records have numbers, too."""
    net = Net(3)
    for _ in range(600):
        net.join(net.fork())
        net.act("linear").dropout(0.0)
    net.dense(2)
    X, y = data(net, 20)
    X *= 0
    assert len(net.stages) > 2000
    assert gradient(net, X, y)[0] == gradient(Net(3).dense(2), X, y)[0]
    out = Fit(net, X, y, gd.SGD(0.1), statistics=True).run(1)
    fractions = out.records[0, 3 * len(net.params) :]
    np.testing.assert_array_equal(fractions[:600], 1)
    np.testing.assert_array_equal(fractions[600:], 0)


# ---- Arrays that live and change -----------------------------------------------------------------


def test_arrays_live_as_long_as_their_trainer():
    net = mlp(50, 60, 3)
    X, y = data(net, 700)
    weights, index = np.ones(700), np.arange(700)
    penalties = np.zeros((len(net.params), 2))
    other = {"weights": weights, "index": index, "penalties": penalties, "threads": 1}
    fit = Fit(net, X, y, gd.SGD(0.01), batch=100, **other)
    arrays = [X, y, weights, penalties, *net.params, *fit.grads]
    alive = [weakref.ref(a) for a in arrays]
    core, arguments = fit.core, fit.arguments(7)
    fit.given[0].clear()
    fit.grads.clear()
    net.params.clear()
    del fit, net, X, y, weights, index, penalties, other, arrays
    gc.collect()
    assert all(reference() is not None for reference in alive)
    with pytest.raises(ValueError, match="other arrays"):
        core.run(*arguments)  # the list of parameters that the optimizer is to bind is empty
    del core, arguments
    gc.collect()
    assert all(reference() is None for reference in alive)


def test_gradients_are_kept_before_code_of_the_users_runs():
    """A truth value that empties the list of gradients does not free them."""
    net = mlp(4, 5000, 2)
    X, y = data(net, 10)
    grads = [np.zeros_like(p) for p in net.params]
    alive = [weakref.ref(grad) for grad in grads]

    class Truth:
        def __bool__(self):
            grads.clear()
            gc.collect()
            return False

    arguments = given(net, X, y, goal=objective(2))
    settings = (10, 1, Truth(), False, False, False, 1, 2, 0)
    core = _core.Trainer(net.core(), arguments, None, net.params, grads, settings)
    assert all(reference() is not None for reference in alive)
    results = (*np.empty((3, 1)), np.empty(1), np.empty(0), np.empty(0, int), np.zeros(5, int))
    core.run(1, None, np.inf, None, None, *results)


def test_lists_may_be_emptied_meanwhile():
    net = mlp(50, 60, 3)
    X, y = data(net, 6400)
    start = net.copy()
    fit = Fit(net, X, y, gd.SGD(0.01), batch=32)
    params, grads = list(net.params), list(fit.grads)
    arguments = fit.arguments(20_000)

    def clear():
        net.params.clear()
        fit.grads.clear()
        gc.collect()

    thread = threading.Thread(target=fit.core.run, args=arguments)
    thread.start()
    while fit.core.place()[2] == 0:
        time.sleep(0.0001)
    clear()
    assert fit.core.place()[2] < 20_000
    thread.join()
    Fit(start, X, y, gd.SGD(0.01), batch=32).run(20_000)
    assert [p.tobytes() for p in params] == start.state()
    assert np.isfinite(grads[0]).all()


def test_orders_and_rows_are_copied():
    """What is written to them while a run lasts moves nothing."""
    net = mlp(20, 400, 2)
    start = net.copy()
    X, y = data(net, 64_000)
    order, index = np.arange(64_000)[::-1].copy(), np.arange(64_000)
    fit = Fit(net, X, y, gd.SGD(0.01), batch=32, index=index)
    arguments = fit.arguments(2000, order=order)
    thread = threading.Thread(target=fit.core.run, args=arguments)
    thread.start()
    while fit.core.place()[2] == 0:
        time.sleep(0.0001)
    order[:] = 2**40
    index[:] = -(2**63)
    assert fit.core.place()[2] < 2000
    thread.join()
    there = Fit(start, X, y, gd.SGD(0.01), batch=32)
    there.run(order=np.arange(64_000)[::-1].copy())
    assert net.state() == start.state()


def spoils(call, *arguments):
    """Whether a call ends by an IndexError for a class number."""
    try:
        call(*arguments)
    except IndexError as error:
        return "class number outside" in str(error)
    return False


@pytest.mark.parametrize("threads", [1, 3])
def test_labels_that_another_thread_spoils(threads):
    """An IndexError, no crash; the weights are those of the batches before."""
    before = gd.get_num_threads()
    gd.set_num_threads(threads)
    net = Net(5, np.float32).dense(300).act("relu").dense(7)
    X, y = data(net, 30_000, CROSSENTROPY)
    good, start, failures = y.copy(), net.copy(), 0

    def spoil():
        for bad in (7, -1, 2**40, -(2**63)):
            y[::7] = bad
            time.sleep(0.0005)
            y[:] = good
            time.sleep(0.003)

    try:
        with Writer(spoil):
            for _ in range(15):
                here = start.copy()
                fit = Fit(here, X, y, gd.SGD(0.1), batch=6000, loss=CROSSENTROPY)
                failures += spoils(fit.run, 20)
                assert fit.outcome().end in (DONE, FAILED)
                done = fit.outcome().done
                assert fit.core.place()[2] == done
                there = start.copy()
                if done:
                    Fit(there, X, good, gd.SGD(0.1), batch=6000, loss=CROSSENTROPY).run(done)
                assert here.state() == there.state()
                arguments = given(here, X, y, goal=objective(7, CROSSENTROPY))
                failures += spoils(here.core().evaluate, arguments, 0, 30_000, None, True)
    finally:
        gd.set_num_threads(before)
    assert failures > 0


def test_fit_says_what_the_core_said():
    """An IndexError in the middle of a fit is not hidden by the way it comes."""
    X, y = data(Net(4, np.float32).dense(3), 60, CROSSENTROPY)
    model = gd.models.Sequential([gd.layers.Dense(3)])
    model.compile(gd.SGD(0.1), gd.losses.get("sparse_categorical_crossentropy", from_logits=True))

    class Spoiler(gd.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            y[7] = 99

    with pytest.raises(IndexError, match="class number outside"):
        model.fit(X, y, epochs=5, batch_size=10, shuffle=False, callbacks=[Spoiler()], verbose=0)
    assert model.optimizer.t == 6
    assert len(model.history.epoch) == 1


def test_data_that_another_thread_writes():
    """Whatever is read, it ends as any training may."""
    net = mlp(20, 30, 3)
    X, y = data(net, 6400)
    weights = np.ones(6400)
    params = net.copy()

    def write():
        X[::3] = np.nan
        y[::5] = np.inf
        weights[::2] = -1e300
        X[...] = 0
        y[...] = 1
        weights[...] = 1
        for p, q in zip(net.params, params.params, strict=True):
            np.copyto(p, q)

    with Writer(write):
        for _ in range(30):
            fit = Fit(net, X, y, gd.SGD(0.01), batch=64, weights=weights, statistics=True)
            assert fit.run(200).end in (DONE, NONFINITE)


def test_threads_that_set_their_number_meanwhile():
    before = gd.get_num_threads()
    net = mlp(60, 90, 5)
    start = net.copy()
    X, y = data(net, 3000)
    counts = iter(lambda: 0, 1)

    def change():
        gd.set_num_threads(1 + time.perf_counter_ns() % 9)
        next(counts)

    fit = Fit(net, X, y, gd.Adam(), batch=1500)
    try:
        with Writer(change):
            fit.run(200)
            found = [np.asarray(part) for part in gradient(start, X, y)[1]]
    finally:
        gd.set_num_threads(before)
    for a, b in zip(found, gradient(start, X, y)[1], strict=True):
        np.testing.assert_array_equal(a, b)
    Fit(start, X, y, gd.Adam(), batch=1500).run(200)
    assert net.state() == start.state()


# ---- One at a time -------------------------------------------------------------------------------


def test_a_trainer_serves_one_thread_at_a_time():
    net = mlp(20, 30, 3)
    fit = Fit(net, *data(net, 6400), gd.SGD(1e-3), batch=32)
    other = Fit(net, *data(net, 6400), fit.optimizer, batch=32)
    first, second = fit.arguments(100_000), fit.arguments(3)
    thread = threading.Thread(target=fit.core.run, args=first)
    thread.start()
    while fit.core.place()[2] == 0:
        time.sleep(0.0005)
    with pytest.raises(RuntimeError, match="in the middle of a run"):
        fit.core.run(*second)
    with pytest.raises(RuntimeError, match="in the middle of a run"):
        _core.run_trainers(((fit.core, second),))
    with pytest.raises(RuntimeError, match="step"):
        other.run(1)
    with pytest.raises(ValueError, match="no such place"):
        fit.core.move((0, 0, 0, 0.0, 0.0, 0.0, 0))
    thread.join()
    assert fit.core.place()[2] == 100_000
    fit.core.run(*second)
    other.run(1)


def test_an_optimizer_asked_for_its_groups_may_do_anything():
    """It is Python code in the midst of the first run."""
    found = []

    class Odd(gd.SGD):
        def _group_numbers(self, paths):
            for call in (
                lambda: fit.core.run(*fit.arguments(1)),
                lambda: fit.core.move((0, 0, 0, 0.0, 0.0, 0.0, 0)),
                lambda: self.set_params(lr=7.0, groups=None),
                lambda: self.step(net.params, fit.grads),
            ):
                try:
                    call()
                except (RuntimeError, ValueError) as error:
                    found.append(str(error))
            net.params.clear()
            fit.grads.clear()
            gc.collect()
            return super()._group_numbers(paths)

    net = mlp(20, 3000, 3)
    params = list(net.params)
    groups = [{"params": 0, "lr": 0.5}]
    fit = Fit(net, *data(net, 64), Odd(0.1, groups=groups), batch=32)
    arguments = fit.arguments(2)
    results = fit.results
    fit.core.run(*arguments)
    assert results.progress[1] == 2
    assert len(found) == 4
    assert np.isfinite(params[0]).all()


def test_two_trainers_of_one_network_and_optimizer():
    """Side by side an optimizer is in use; one after the other they go on with its state."""
    net = mlp(5, 6, 2)
    opt = gd.Adam()
    fits = [Fit(net, *data(net, 64, seed=i), opt, batch=32) for i in range(2)]
    with pytest.raises(RuntimeError, match="step"):
        _core.run_trainers(tuple((fit.core, fit.arguments(2)) for fit in fits))
    assert opt.t == 0
    for fit in fits:
        fit.run(2)
    assert opt.t == 4


def test_an_optimizer_that_was_at_work_elsewhere_meanwhile():
    """Steps of its own between two runs count, and its state is one."""
    start = mlp(5, 6, 2)
    X, y = data(start, 64)
    net, opt = start.copy(), gd.Adam(0.01)
    fit = Fit(net, X, y, opt, batch=32)
    fit.run(2)
    opt.step(net.params, [np.ones_like(p) for p in net.params])
    fit.run(2)
    there, other = start.copy(), gd.Adam(0.01)
    alone = Fit(there, X, y, None, batch=32)
    for k in range(4):
        if k == 2:
            other.step(there.params, [np.ones_like(p) for p in there.params])
        alone.run(1)
        other.step(there.params, alone.grads)
    assert net.state() == there.state()
    assert opt.t == 5
    assert opt.grad_norm == pytest.approx(fit.outcome().norms[-1])


def test_weights_that_were_written_between_runs():
    """Each run looks at the parameters as they are."""
    net = mlp(5, 40, 2)
    X, y = data(net, 64)
    fit = Fit(net, X, y, gd.SGD(0.1), batch=32)
    fit.run(2)
    for p in net.params:
        p *= -0.5
    other = net.copy()
    fit.run(2)
    Fit(other, X, y, gd.SGD(0.1), batch=32).run(2)
    assert net.state() == other.state()


@pytest.mark.parametrize("rows", [1, 256, 513])
def test_memory_that_was_used_before_does_not_show(rows):
    """Desks are not cleared: a batch of NaN leaves nothing to the next."""
    net = Net(4).dense(6).batch_norm().act("relu").dropout(0.5).layer_norm().dense(3)
    X, y = data(net, rows)
    spoilt = np.full_like(X, np.nan)
    both = Fit(
        net, np.concatenate([spoilt, X]), np.concatenate([y, y]), None, batch=rows, skip=True
    )
    both.run(1)
    both.core.move((0, 1, 0, 0.0, 0.0, np.inf, 0))
    loss = both.run(1).losses[0]
    plain = Fit(net, np.concatenate([X, X]), np.concatenate([y, y]), None, batch=rows)
    plain.core.move((0, 1, 0, 0.0, 0.0, np.inf, 0))
    assert plain.run(1).losses[0] == loss
    for a, b in zip(both.grads, plain.grads, strict=True):
        np.testing.assert_array_equal(a, b)
    compare(Net(4).dense(3), X, y)
