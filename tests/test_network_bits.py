"""The same bits: for any number of threads, in chunks or all at once, from day to day.

Golden weights stand in golden_networks.json, one set for AVX2 and AVX-512 and one for base;
golden_networks.py writes them.
"""

import json
import platform
import threading

import golden_networks
import numpy as np
import pytest
from network_cases import Fit, Net, data, evaluate, gradient, mlp

import gdcore as gd

pytestmark = pytest.mark.levels

THREADS = [1, 2, 3, 8]
PAYING = 1 << 20  # multiply-adds from which threads share the work, see csrc/gradient.c


@pytest.fixture(autouse=True)
def threads_as_before():
    before = gd.get_num_threads()
    yield
    gd.set_num_threads(before)


def residual(dtype):
    net = Net(60, dtype).dense(70).layer_norm().act("gelu")
    fork = net.fork()
    net.dense(70).act("tanh").dropout(0.3).dense(70).join(fork)
    return net.dense(3)


def normed(dtype):
    return Net(30, dtype).dense(50).batch_norm().act("relu").dropout(0.2).dense(40).dense(2)


def stepped(widths, dtype, *kinds):
    """Stages of each kind at many widths: threads that share rows are at different ones."""
    net = Net(widths[0], dtype)
    for width in widths:
        net.dense(width)
        for kind in kinds:
            net.dropout(0.5) if kind == "dropout" else getattr(net, kind)()
        net.act("tanh")
    return net.dense(3)


WIDTHS = (400, 1, 300, 2, 500, 3, 350)
STEPPED = {
    "dropouts": (lambda t: stepped(WIDTHS, t, "dropout"), 256),
    "norms of rows": (lambda t: stepped(WIDTHS, t, "layer_norm"), 256),
    "norms of columns": (lambda t: stepped((200, 1, 150, 2, 100), t, "batch_norm"), 2048),
    "both": (lambda t: stepped((90, 1, 200, 2), t, "layer_norm", "batch_norm", "dropout"), 1100),
}


@pytest.mark.parametrize("case", STEPPED)
def test_stages_of_many_widths(case, dtype):
    make, rows = STEPPED[case]
    net = make(dtype)
    X, y = data(net, rows)
    gd.set_num_threads(1)
    alone = [grad.tobytes() for grad in gradient(net, X, y)[1]]
    for _ in range(15):
        for count in THREADS[1:]:
            gd.set_num_threads(count)
            assert [grad.tobytes() for grad in gradient(net, X, y)[1]] == alone


# Network, rows of a batch, rows of all: what threads share differs.
SHARED = {
    "rows of one piece, then its outputs": (lambda t: mlp(300, 203, 17, dtype=t), 256, 500),
    "a piece that is not whole": (lambda t: mlp(300, 203, 2, dtype=t), 251, 251),
    "two slices": (lambda t: mlp(90, 61, 3, dtype=t), 300, 1000),
    "eight slices, unevenly": (residual, 2400, 2400),
    "one slice of many pieces": (lambda t: mlp(350, 600, 4, dtype=t), 1500, 1500),
    "narrow outputs alone": (lambda t: mlp(200, 4, 3, 1, dtype=t), 3000, 3000),
    "no hidden layer": (lambda t: mlp(500, 1, dtype=t), 4000, 4000),
    "all rows at once": (normed, 1300, 2600),
    "many chunks of tiny rows": (lambda t: mlp(2, 3, 1, dtype=t), 30_000, 30_000),
}
shared = pytest.mark.parametrize("case", SHARED)


def work_of(net):
    return sum(s[1] * s[2] if s[0] == "dense" else 4 * s[2] for s in net.stages)


def bytes_of(net, X, y, batch, **other):
    """Everything that two epochs bring, as bytes."""
    net = net.copy()
    fit = Fit(net, X, y, gd.Adam(0.01), batch=batch, shuffle=True, statistics=True, **other)
    seen = np.empty((len(X), net.width), net.dtype)
    first = fit.run(fit.batches, seen=seen)
    parts = [first.losses, first.norms, first.ends, first.records, first.steps, seen]
    second = fit.run(fit.batches)
    parts += [second.losses, second.norms, second.ends, second.records, *fit.grads]
    return [np.ascontiguousarray(part).tobytes() for part in parts] + net.state()


@shared
def test_any_number_of_threads(case, dtype):
    make, batch, rows = SHARED[case]
    net = make(dtype)
    assert batch * (work_of(net) + 64) >= PAYING
    X, y = data(net, rows)
    weights = np.random.default_rng(2).random(rows)
    gd.set_num_threads(1)
    alone = bytes_of(net, X, y, batch, weights=weights)
    out = [part.tobytes() for part in map(np.asarray, evaluate(net, X, y, weights=weights))]
    for count in THREADS[1:]:
        gd.set_num_threads(count)
        assert bytes_of(net, X, y, batch, weights=weights) == alone
        found = [part.tobytes() for part in map(np.asarray, evaluate(net, X, y, weights=weights))]
        assert found == out
        gd.set_num_threads(8)
        assert bytes_of(net, X, y, batch, weights=weights, threads=count) == alone


def test_threads_that_come_and_go(dtype):
    """Their number changes while a trainer lives."""
    net = residual(dtype)
    X, y = data(net, 2400)
    states = []
    for counts in ([1] * 6, [8, 1, 3, 2, 8, 1], [2, 8, 2, 8, 2, 8]):
        gd.set_num_threads(8)
        here = net.copy()
        fit = Fit(here, X, y, gd.SGD(0.01), batch=800)
        for count in counts:
            gd.set_num_threads(count)
            fit.run(1)
        states.append(here.state())
    assert states[0] == states[1] == states[2]


def test_callers_side_by_side(dtype):
    """The pool serves one at a time; the others run alone."""
    gd.set_num_threads(3)
    net = mlp(200, 100, 5, dtype=dtype)
    X, y = data(net, 1000)
    alone = bytes_of(net, X, y, 500)
    found = [None] * 4

    def work(i):
        found[i] = bytes_of(net, X, y, 500)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 4


@pytest.mark.parametrize("rows", [1, 255, 256, 257, 700, 2100])
def test_whole_batches_and_chunks(dtype, rows):
    """Where all rows go through together their gradient is added piece by piece all the same."""
    net = residual(dtype)
    X, y = data(net, rows)
    weights = np.random.default_rng(2).random(rows)
    loss, grads = gradient(net, X, y, weights=weights)
    whole, also = gradient(net, X, y, weights=weights, whole=True)
    assert [grad.tobytes() for grad in grads] == [grad.tobytes() for grad in also]
    assert whole == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("rows", [3, 300, 2100])
@pytest.mark.parametrize("outputs", [1, 3, 5, 32])
def test_the_rule_is_that_of_dense_grad(dtype, rows, outputs):
    """A network of one layer adds its gradient as gd.dense_grad does."""
    net = Net(37, dtype).dense(outputs)
    X, y = data(net, rows)
    _, (dW, db) = gradient(net, X, y, loss="half_mse", total=True)
    d = gd.dense(X, *net.params) - y
    _, wanted_dW, wanted_db = gd.dense_grad(d, X, net.params[0], need_dX=False)
    np.testing.assert_array_equal(dW, wanted_dW)
    np.testing.assert_array_equal(db, wanted_db)


def test_batches_of_any_cut_predict_the_same(dtype):
    """What is seen of a row does not depend on the batch it comes in."""
    net = residual(dtype)
    net.stages = [stage for stage in net.stages if stage[0] != "dropout"]
    fork = next(i for i, stage in enumerate(net.stages) if stage[0] == "fork")
    net.stages = [
        (*stage[:5], (float(fork),)) if stage[0] == "join" else stage for stage in net.stages
    ]
    X, y = data(net, 1000)
    out, _ = evaluate(net, X)
    for batch in (1000, 512, 300, 256, 7):
        seen = np.full_like(out, np.nan)
        fit = Fit(net, X, y, gd.SGD(0.0), batch=batch)
        fit.run(seen=seen)
        np.testing.assert_array_equal(seen, out)


# ---- From day to day -----------------------------------------------------------------------------


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="bits of x86-64")
@pytest.mark.parametrize("name", golden_networks.NETS)
def test_golden_weights(name, isa):
    known = json.loads(golden_networks.FILE.read_text())["base" if isa == "base" else "avx"]
    gd.set_num_threads(2)
    assert golden_networks.trained(name) == known[name]
    if name in ("small", "everything"):
        assert golden_networks.trained(name, threads=1) == known[name]
