"""Ctrl-C in the middle of a pass leaves a completed step; signals' own code; forks."""

import contextlib
import functools
import os
import signal
import threading
import time

import numpy as np
import pytest
from entries import run
from network_cases import Fit, Net, data, given, mlp, objective

import gdcore as gd
from gdcore import _core

# Seconds from a signal to its exception; sanitizers make everything some ten times slower.
PROMISED = 2.0 if "libasan" in os.environ.get("LD_PRELOAD", "") else 0.1
INTERRUPT = 1


@contextlib.contextmanager
def alarm(seconds, act):
    """Let the signal's handler act once after so many seconds; yields the time it comes."""
    before = signal.signal(signal.SIGALRM, lambda *_: act())
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield time.monotonic() + seconds
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def interrupt():
    raise KeyboardInterrupt


def latency(prepared, after=0.04):
    """Seconds from a signal in the midst of what is prepared to its exception; best of three."""
    found = []
    for _ in range(3):
        call = prepared()
        with alarm(after, interrupt) as due, pytest.raises(KeyboardInterrupt):
            call()
        found.append(time.monotonic() - due)
        if found[-1] < PROMISED:
            break
    return min(found)


def same_row(net, rows, loss="mse"):
    """Data of one row, so that many take no memory."""
    X, y = data(net, 1, loss)
    return np.broadcast_to(X, (rows, X.shape[1])), np.broadcast_to(y, (rows, *y.shape[1:]))


def normed():
    net = Net(500)
    for _ in range(3):
        net.dense(500).batch_norm().act("tanh")
    return net.dense(3)


# A network, rows, rows of a batch, batches: seconds of work where nothing interrupts it.
LONG = {
    "small batches": (lambda: mlp(20, 30, 3), 6400, 32, 2_000_000),
    "one batch of many chunks": (lambda: mlp(200, 300, 300, 10), 200_000, 200_000, 1),
    "one slice": (lambda: mlp(400, 600, 600, 10), 150_000, 150_000, 1),
    "all rows at once": (normed, 20_000, 20_000, 1),
    "batches of all rows at once": (normed, 8000, 800, 1000),
}


@pytest.mark.parametrize("case", LONG)
def test_a_training_is_interrupted(case):
    """Within the time that is promised; the weights are those of the batches that are done."""
    make, rows, batch, count = LONG[case]
    net = make()
    start, other = net.copy(), net.copy()
    X, y = same_row(net, rows) if batch > 1000 else data(net, rows)
    fits = []

    def prepared():
        fits.append(Fit(start.copy(), X, y, gd.Adam(1e-3), batch=batch))
        arguments = fits[-1].arguments(count)
        return lambda: fits[-1].core.run(*arguments)

    assert latency(prepared) < PROMISED
    fit = fits[-1]
    out = fit.outcome()
    assert out.end == INTERRUPT
    assert out.done < count
    assert fit.core.place()[2] == out.done == fit.optimizer.t
    assert np.isfinite(out.losses).all()
    if out.done:
        Fit(other, X, y, gd.Adam(1e-3), batch=batch).run(out.done)
    assert fit.net.state() == other.state()


def test_a_training_goes_on_after_an_interrupt():
    """What was not counted is done again: the same bits as without the signal."""
    start = mlp(60, 80, 3)
    X, y = data(start, 3000)
    alone = Fit(start.copy(), X, y, gd.Adam(), batch=300, shuffle=True)
    alone.run(500)
    fit = Fit(start.copy(), X, y, gd.Adam(), batch=300, shuffle=True)
    left, interrupts = 500, 0
    while left:
        arguments = fit.arguments(left)
        try:
            with alarm(0.002, interrupt):
                fit.core.run(*arguments)
        except KeyboardInterrupt:
            interrupts += 1
        left -= fit.outcome().done
    assert interrupts > 0
    assert fit.net.state() == alone.net.state()
    assert fit.core.place() == alone.core.place()


@pytest.mark.parametrize("whole", [False, True])
def test_an_evaluation_is_interrupted(whole):
    net = mlp(784, 1024, 10, dtype=np.float32)
    X, y = same_row(net, 60_000 if whole else 400_000)
    goals = (objective(10), None) if not whole else (None,)
    core = net.core()
    for goal in goals:
        arguments = given(net, X, y if goal else None, goal=goal, whole=whole)
        call = functools.partial(core.evaluate, arguments, 0, len(X), None, False)
        assert latency(lambda call=call: call) < PROMISED


@pytest.mark.parametrize("threads", [1, 2])
def test_trainers_side_by_side_are_interrupted(threads):
    """Also where the caller's own share ended long before."""
    before = gd.get_num_threads()
    gd.set_num_threads(threads)
    try:
        nets = [mlp(20, 30, 3), mlp(20, 30, 3, seed=1), mlp(20, 30, 3, seed=2)]
        X, y = data(nets[0], 6400)
        fits = []

        def prepared():
            fits[:] = [Fit(net.copy(), X, y, gd.SGD(1e-3), batch=32) for net in nets]
            counts = (5, 2_000_000, 3)
            jobs = [(f.core, f.arguments(n)) for f, n in zip(fits, counts, strict=True)]
            return lambda: _core.run_trainers(tuple(jobs))

        assert latency(prepared) < PROMISED
    finally:
        gd.set_num_threads(before)
    assert fits[1].outcome().end == INTERRUPT
    for fit, net in zip(fits, nets, strict=True):
        done = fit.outcome().done
        there = net.copy()
        if done:
            Fit(there, X, y, gd.SGD(1e-3), batch=32).run(done)
        assert fit.net.state() == there.state()
        assert fit.core.place()[2] == done


def test_code_of_signals_finds_everything_in_use():
    """It may look, and predict; it may not step, move or run what is in the middle of a run."""
    start = mlp(20, 30, 3)
    X, y = data(start, 6400)
    net, opt = start.copy(), gd.SGD(1e-3)
    fit = Fit(net, X, y, opt, batch=32)
    count, found = 40_000, []

    def refused(call):
        try:
            call()
        except (RuntimeError, ValueError) as error:
            return str(error)
        return None

    def act():
        found.extend(
            [
                refused(lambda: fit.core.run(*fit.arguments_again)),
                refused(lambda: fit.core.move((0, 0, 0, 0.0, 0.0, 0.0, 0))),
                refused(lambda: opt.step(net.params, fit.grads)),
                refused(lambda: opt.set_params(lr=3.0)),
                refused(lambda: Fit(net, X, y, opt, batch=32).run(1)),
                fit.core.place()[2],
                net.core().evaluate(given(net, X), 0, 10, np.empty((10, 3)), False),
                gd.Adam().step([np.ones(3)], [np.ones(3)]),
            ]
        )

    arguments = fit.arguments(count)
    fit.arguments_again = arguments
    with alarm(0.01, act):
        fit.core.run(*arguments)
    assert fit.outcome().done == count
    assert "in the middle of a run" in found[0]
    assert "no such place" in found[1]
    assert all("step" in message for message in found[2:5])
    assert 0 < found[5] < count
    there = start.copy()
    Fit(there, X, y, gd.SGD(1e-3), batch=32).run(count)
    assert net.state() == there.state()


def test_an_exception_of_a_signal_comes_through():
    net = mlp(20, 30, 3)
    fit = Fit(net, *data(net, 6400), gd.SGD(1e-3), batch=32)

    def act():
        raise ZeroDivisionError("mine")

    arguments = fit.arguments(2_000_000)
    with alarm(0.01, act), pytest.raises(ZeroDivisionError, match="mine"):
        fit.core.run(*arguments)
    assert fit.outcome().end == INTERRUPT
    assert fit.run(3).done == 3


# ---- Forks ---------------------------------------------------------------------------------------

FORKS = """
    import faulthandler, os, sys, threading, time
    faulthandler.dump_traceback_later(60, exit=True)
    sys.path.insert(0, sys.argv[1])
    import numpy as np
    from network_cases import Fit, data, mlp
    import gdcore as gd
    from gdcore import _core

    gd.set_num_threads(2)
    start = mlp(100, 200, 5)
    X, y = data(start, 2000)

    def trained(net=None, batches=6):
        net = start.copy() if net is None else net
        fit = Fit(net, X, y, gd.Adam(), batch=1000, shuffle=True)
        fit.run(batches)
        return net.state()

    def in_child(function):
        pid = os.fork()
        if pid == 0:
            try:
                os._exit(0 if function() else 1)
            finally:
                os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0

    expected = trained()
    {body}
    print("done")
"""

BETWEEN = """
    fit = Fit(start.copy(), X, y, gd.Adam(), batch=1000, shuffle=True)
    fit.run(3)
    def child():
        fit.run(3)
        return fit.net.state() == expected and trained() == expected
    in_child(child)
    fit.run(3)
    assert fit.net.state() == expected
"""

MEANWHILE = """
    jobs = [Fit(start.copy(), X, y, gd.Adam(), batch=1000) for _ in range({count})]
    alone = [Fit(start.copy(), X, y, gd.Adam(), batch=1000) for _ in jobs]
    def train():
        arguments = [(fit.core, fit.arguments(150)) for fit in jobs]
        if len(jobs) == 1:
            jobs[0].core.run(*arguments[0][1])
        else:
            _core.run_trainers(tuple(arguments))
    thread = threading.Thread(target=train)
    thread.start()
    time.sleep(0.01)
    forks = 0
    while thread.is_alive() and forks < 4:
        in_child(lambda: trained() == expected)
        forks += 1
    thread.join()
    assert forks > 1
    for fit, other in zip(jobs, alone):
        other.run(150)
        assert fit.net.state() == other.net.state()
"""


@pytest.mark.parametrize("body", [BETWEEN, MEANWHILE.replace("{count}", "1")])
def test_a_child_trains_as_its_parent(body, root):
    script = FORKS.replace("{body}", body.strip())
    assert run(script, str(root / "tests"), timeout=100) == "done\n"


def test_a_fork_beside_trainers_side_by_side(root):
    """It waits for a round of theirs, not for their end, and not for the GIL that it has itself."""
    script = FORKS.replace("{body}", MEANWHILE.replace("{count}", "3").strip())
    assert run(script, str(root / "tests"), timeout=100) == "done\n"


def test_the_gil_is_free_meanwhile():
    """Another thread of Python's gets on while one trains."""
    net = mlp(50, 100, 3)
    fit = Fit(net, *data(net, 5000), gd.SGD(1e-3), batch=500)
    arguments = fit.arguments(100_000, deadline=time.monotonic() + 0.3)
    thread = threading.Thread(target=fit.core.run, args=arguments)
    thread.start()
    turns = 0
    while thread.is_alive():
        turns += 1
        time.sleep(0.001)
    thread.join()
    assert turns > 20
