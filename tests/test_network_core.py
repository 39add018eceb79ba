"""Losses, gradients and predictions of networks: against the twin, whatever the data look like."""

import numpy as np
import pytest
from core_twin import compare, twin
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import ROWS
from network_cases import LINEAR, LOSSES, Fit, Net, data, evaluate, gradient, mlp, objective
from network_cases import given as given_of
from test_gather import LAYOUTS

import gdcore as gd
from gdcore import _core
from gdcore._network_functions import activation_programs, loss_programs
from gdcore.reference.network import Drawn, Objective
from gdcore.reference.random import epoch_order

pytestmark = pytest.mark.levels

ACTIVATIONS = gd.activations.names()
SIZES = [1, 2, 255, 256, 257, 700]
# What a network's last stage must be for a loss that is of probabilities, rates or pairs.
PROBABLE = {name for name in LOSSES if name + "_from_logits" in LOSSES}
POSITIVE = {"poisson", "gamma", "tweedie", "kl_divergence"}


def of_everything(width, outputs, dtype, rate=0.3, seed=0):
    """A network with a stage of each kind, a residual of two levels among them."""
    net = Net(width, dtype, seed).dense(width + 3).act("gelu").layer_norm()
    outer = net.fork()
    net.dense(width + 2, bias=False).batch_norm().act("relu")
    inner = net.fork()
    net.act("sigmoid").dropout(rate).dense(width + 2).join(inner)
    return net.dense(width + 3).join(outer).act("tanh").dense(outputs)


def finished(net, loss):
    """The network with the last stage that its loss needs."""
    kind = LOSSES[loss][1]["kind"]
    if kind == "paired" and net.width != 2:
        net.dense(2)
    if loss in PROBABLE:
        net.act("sigmoid" if kind == "pointwise" else "softmax")
    elif loss in POSITIVE:
        net.act("softplus" if kind == "pointwise" else "softmax")
    return net


def fitting(net, loss, rows, rng):
    """X and y of the loss's kind, soft targets among them."""
    X, y = data(net, rows, loss, seed=int(rng.integers(1 << 30)))
    kind = LOSSES[loss][1]["kind"]
    if kind == "rowwise":
        soft = rng.random(y.shape) + 0.1
        y = (soft / soft.sum(axis=1, keepdims=True)).astype(net.dtype)
    elif kind == "pointwise" and loss not in PROBABLE and "hinge" not in loss:
        y = (0.1 + 0.8 * rng.random(y.shape)).astype(net.dtype)
    return X, y


# ---- Gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("outputs", [1, 2, 3, 4, 5, 19])
def test_a_network_of_everything(dtype, rows, outputs, rng):
    net = of_everything(int(rng.integers(1, 24)), outputs, dtype)
    relative = compare(net, *data(net, rows), rng=rng)
    assert np.median(relative) < (1e-3 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation(dtype, name, rng):
    for last in (False, True):
        net = Net(7, dtype, seed=3).dense(9).act(name).dense(5)
        net = net.act(name) if last else net
        compare(net, *data(net, 300), "mse", rng=rng)
    first = Net(6, dtype).act(name).act(name).dense(6)
    compare(first, *data(first, 17), "mse", rng=rng)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_each_loss(dtype, loss, rng):
    for outputs, total in ((3, False), (6, True)):
        net = finished(Net(5, dtype, seed=4).dense(8).act("tanh").dense(outputs), loss)
        X, y = fitting(net, loss, 270, rng)
        weights = rng.random(270) * rng.integers(0, 2, 270)
        params = ROWS[loss]["params"]
        compare(net, X, y, loss, weights=weights, total=total, rng=rng, **params)


@pytest.mark.parametrize("total", [False, True])
def test_penalties(dtype, total, rng):
    net = of_everything(5, 3, dtype)
    net.params[0][0] = 0  # where the slope of l1 is 0
    penalties = rng.random((len(net.params), 2)) * rng.integers(0, 2, (len(net.params), 2))
    compare(net, *data(net, 300), penalties=penalties, total=total, rng=rng)


def test_weights_of_nothing(dtype):
    """No row counts: the loss is that of the penalties, the gradient 0 or theirs."""
    net = mlp(4, 6, 3, dtype=dtype)
    X, y = data(net, 300)
    loss, grads = gradient(net, X, y, weights=np.zeros(300))
    assert loss == 0
    assert all((grad == 0).all() for grad in grads)
    penalties = np.tile([0.0, 1.0], (len(net.params), 1))
    loss, grads = gradient(net, X, y, weights=np.zeros(300), penalties=penalties)
    np.testing.assert_allclose(loss, sum((p.astype(float) ** 2).sum() for p in net.params))
    for grad, p in zip(grads, net.params, strict=True):
        np.testing.assert_array_equal(grad, 2 * p)


@st.composite
def blocks(draw, net, depth, name):
    """Add a few random parts to a network."""
    width = st.one_of(st.integers(1, 4), st.integers(1, 40))
    for _ in range(draw(st.integers(2, 5))):
        kinds = ["dense", "activation", "dropout", "layer_norm", "batch_norm", "residual"]
        kind = draw(st.sampled_from(kinds[: None if depth else -1]))
        if kind == "dense":
            net.dense(draw(width), bias=draw(st.booleans()))
        elif kind == "activation":
            net.act(draw(st.sampled_from(name)))
        elif kind == "dropout":
            net.dropout(draw(st.sampled_from([0.0, 0.1, 0.5, 0.97])))
        elif kind == "residual":
            before, fork = net.width, net.fork()
            draw(blocks(net, depth - 1, name))
            if net.width != before:
                net.dense(before)
            net.join(fork)
        else:
            getattr(net, kind)()
    return net


@st.composite
def cases(draw):
    """A network, rows, a loss, weights, penalties."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    smooth = [name for name in ACTIVATIONS if name not in ("hard_sigmoid", "hard_tanh", "relu6")]
    net = Net(draw(st.integers(1, 40)), dtype, seed=draw(st.integers(0, 1 << 20)))
    net = draw(blocks(net, 2, smooth))
    loss = draw(st.sampled_from(sorted(set(LOSSES) - POSITIVE - PROBABLE)))
    net = finished(net.dense(draw(st.integers(2, 9))), loss)
    rows = draw(st.sampled_from([*SIZES, 3, 40]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    weights = penalties = None
    if draw(st.booleans()):
        weights = rng.random(rows) * rng.integers(0, 2, rows)
    if draw(st.booleans()):
        penalties = rng.random((len(net.params), 2))
    return net, rows, loss, weights, penalties, draw(st.booleans()), rng


@settings(max_examples=150)
@given(cases())
def test_random_networks(case):
    net, rows, loss, weights, penalties, total, rng = case
    X, y = fitting(net, loss, rows, rng)
    other = {"penalties": penalties, "total": total, **ROWS[loss]["params"]}
    compare(net, X, y, loss, weights=weights, rng=rng, **other)


def test_the_twin_by_differences(rng):
    """The twin's own gradients, which the core's are measured by, in long double."""
    net = of_everything(4, 3, np.float64)
    X, y = data(net, 23)
    goal = Objective(*objective(3, penalties=rng.random((len(net.params), 2))))
    weights, drawn = rng.random(23), Drawn((3, 4), 0, range(23))
    exact = twin(net)
    value, grads, _ = exact.value_and_grad(X, y, goal, weights, drawn)
    h = np.longdouble(1e-6)
    for p, grad in zip(exact.params, grads, strict=True):
        at = tuple(rng.integers(0, p.shape))
        kept, sides = p[at], []
        for sign in (1, -1):
            p[at] = kept + sign * h
            sides.append(exact.value_and_grad(X, y, goal, weights, drawn)[0])
        p[at] = kept
        assert abs((sides[0] - sides[1]) / (2 * h) - grad[at]) < 1e-9 * (1 + abs(grad[at]))
    assert np.isfinite(value)


def test_bounds_are_narrow(rng):
    """A weight that is off by a billionth, or a float by ten of its epsilons, is seen."""
    for dtype, off in ((np.float64, 1e-9), (np.float32, 1e-6)):
        net = of_everything(5, 3, dtype)
        X, y = data(net, 300)
        other = net.copy()
        for p in other.params:
            p *= 1 + off
        compare(net, X, y, rng=rng)
        with pytest.raises(AssertionError, match="off by"):
            compare(net, X, y, rng=rng, like=other)


# ---- Predictions and evaluations -----------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, *SIZES, 3000])
def test_predictions_and_losses(dtype, rows, rng):
    net = of_everything(6, 4, dtype)
    X, y = data(net, rows)
    weights = rng.random(rows) * rng.integers(0, 2, rows)
    penalties = rng.random((len(net.params), 2))
    for total in (False, True):
        goal = {"total": total, "penalties": penalties}
        out, loss = evaluate(net, X, y, weights=weights, **goal)
        exact = twin(net).evaluate(X, y, Objective(*objective(4, **goal)), weights)
        close = 1e-4 if dtype == np.float32 else 1e-12
        scale = np.abs(exact[0]).max(initial=1)
        np.testing.assert_allclose(out, exact[0].astype(float), rtol=0, atol=close * float(scale))
        assert loss == pytest.approx(float(exact[1]), rel=close)
        plain, nothing = evaluate(net, X)
        assert nothing is None
        np.testing.assert_array_equal(plain, out)


def test_a_loss_in_training_is_that_of_an_evaluation(dtype, rng):
    net = Net(5, dtype).dense(9).layer_norm().act("elu").dense(3)
    X, y = data(net, 1000)
    weights, penalties = rng.random(1000), rng.random((len(net.params), 2))
    for total in (False, True):
        goal = {"weights": weights, "penalties": penalties, "total": total}
        trained, _ = gradient(net, X, y, **goal)
        _, loss = evaluate(net, X, y, **goal)
        close = 1e-6 if dtype == np.float32 else 1e-13
        assert trained == pytest.approx(loss, rel=close)


def test_rows_are_predicted_alone_as_together(dtype):
    """Also with everything in one chunk, which functions of the user's may need."""
    net = of_everything(7, 3, dtype)
    X, y = data(net, 1200)
    out, _ = evaluate(net, X)
    for first, rows in ((0, 1), (1, 300), (255, 2), (700, 500), (1199, 1), (5, 0)):
        part, _ = evaluate(net, X, first=first, rows=rows)
        np.testing.assert_array_equal(part, out[first : first + rows])
    whole, loss = evaluate(net, X, y, whole=True)
    np.testing.assert_array_equal(whole, out)
    assert loss == pytest.approx(evaluate(net, X, y)[1], rel=1e-6)


def test_what_metrics_see(dtype):
    net = mlp(5, 8, 4, dtype=dtype)
    X, y = data(net, 600, loss := "sparse_categorical_crossentropy_from_logits")
    goal = {"loss": loss, "probability": gd.activations.softmax._spec}
    plain, _ = evaluate(net, X, y, loss=loss)
    seen, _ = evaluate(net, X, y, seen=True, **goal)
    np.testing.assert_array_equal(seen, gd.softmax(plain))
    unseen, _ = evaluate(net, X, y, seen=False, **goal)
    np.testing.assert_array_equal(unseen, plain)
    fit = Fit(net, X, y, gd.SGD(0.0), batch=250, **goal)
    room = np.full((600, 4), np.nan, dtype)
    fit.run(3, seen=room)
    np.testing.assert_array_equal(room, seen)
    room[...] = np.nan
    fit.core.move((0, 1, 1, 0.0, 0.0, np.inf, 0))  # from the second batch on
    fit.run(2, seen=room[:350])
    np.testing.assert_array_equal(room[:350], seen[250:])


def test_dropout_and_statistics_in_predictions(dtype):
    """Predictions drop nothing and normalise by the moving statistics, which stay."""
    net = Net(6, dtype).dropout(0.5).dense(8).batch_norm().dropout(0.5).dense(3)
    X, _ = data(net, 400)
    before = net.state()
    out, _ = evaluate(net, X)
    mean, variance = net.buffers
    scale, shift = net.params[2:4]
    hidden = (X @ net.params[0] + net.params[1] - mean) / np.sqrt(variance + 1e-3) * scale + shift
    close = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(out, hidden @ net.params[4] + net.params[5], rtol=close, atol=close)
    assert net.state() == before


# ---- Functions of the user's ---------------------------------------------------------------------


def parts_of(net, sizes, act, loss=None):
    """Programs of a network's functions, all the same one, and of its loss, for chunks of rows."""
    parts = []
    for rows in sizes:
        for i, stage in enumerate(net.stages):
            if stage[0] == "function":
                made = activation_programs(act, rows, stage[1], net.dtype)
                parts.append((i, rows, made.forward, made.backward, tuple(made.arrays())))
        if loss is not None:
            made = loss_programs(loss, rows, (net.width,), net.width, net.dtype, net.dtype)
            parts.append((-1, rows, made.program, None, tuple(made.arrays())))
    return tuple(parts)


def gate(z):
    return z * np.tanh(z)


def deviation(y, p):
    return np.mean((p - y) ** 2, axis=-1)


@pytest.mark.parametrize("rows", [1, 256, 300, 2100])
def test_functions_of_the_users(dtype, rows, rng):
    """As stages and as the loss, in chunks and all at once, for any number of threads."""
    net = Net(90, dtype).dense(70).add("function").dropout(0.2).dense(50).add("function").dense(3)
    X, y = data(net, rows)
    weights = rng.random(rows)
    sizes = {min(rows, 256), rows % 256 or 256}
    own = (True, False, (0,), False, False, 3, 1, LINEAR, None)
    found, before = [], gd.get_num_threads()
    for threads, whole in ((1, False), (8, False), (1, True)):
        gd.set_num_threads(threads)
        parts = parts_of(net, [rows] if whole else sorted(sizes), gate, deviation)
        fit = Fit(net, X, y, goal=own, weights=weights, parts=parts, whole=whole)
        loss = fit.run(1).losses[0]
        arguments = given_of(net, X, y, weights, None, own, parts, whole)
        found.append((loss, fit.grads, net.core().evaluate(arguments, 0, rows, None, False)))
    gd.set_num_threads(before)
    assert found[0][0] == found[1][0] == pytest.approx(found[2][0], rel=1e-6)
    for a, b, c in zip(*[grads for _, grads, _ in found], strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    table = Fit(net, X, y, weights=weights, parts=parts_of(net, sorted(sizes), gate))
    loss = table.run(1).losses[0]
    close = 1e-4 if dtype == np.float32 else 1e-12
    assert found[0][0] == pytest.approx(loss, rel=close)
    for a, b in zip(found[0][1], table.grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=close * np.abs(b).max())


# ---- What X and y may be -------------------------------------------------------------------------


def results(net, X, y, **other):
    """Loss, gradients, predictions as bytes."""
    loss, grads = gradient(net, X, y, **other)
    out, _ = evaluate(net, X, weights=other.get("weights"), index=other.get("index"))
    return [loss.tobytes(), *[grad.tobytes() for grad in grads], out.tobytes()]


FIRST = {
    "dense": lambda width, dtype: mlp(width, 7, 3, dtype=dtype),
    "narrow": lambda width, dtype: mlp(width, 2, dtype=dtype),
    "norm": lambda width, dtype: Net(width, dtype).layer_norm().dense(5),
    "fork": lambda width, dtype: Net(width, dtype).add("fork").dense(width).join(0),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["f4", "f8", "?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("first", FIRST)
def test_x_of_any_type_and_strides(layout, kind, first, dtype, rng):
    plain = 4 * rng.normal(size=(300, 6))
    plain = (np.abs(plain) if kind[0] == "u" else plain).astype(np.dtype(kind))
    X = LAYOUTS[layout](plain)
    net = FIRST[first](X.shape[1], dtype)
    y = rng.normal(size=(len(X), net.width)).astype(dtype)
    copy = np.ascontiguousarray(X).astype(dtype)
    assert results(net, X, y) == results(net, copy, y)
    rows = rng.integers(0, len(X), 280)
    assert results(net, X, y, index=rows) == results(net, copy[rows], y[rows])


def test_x_on_disk(tmp_path, dtype, rng):
    net = mlp(6, 9, 2, dtype=dtype)
    X, y = data(net, 700)
    for kind in ("f4", "f8", "i2"):
        path = tmp_path / f"X-{kind}"
        (10 * X).astype(kind).tofile(path)
        mapped = np.memmap(path, kind, "r", shape=X.shape)
        copy = np.array(mapped, dtype)
        assert results(net, mapped, y) == results(net, copy, y)
        with pytest.raises(ValueError, match="read-only"):
            mapped[0] = 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_targets_of_any_type_and_strides(layout, dtype, rng):
    net = mlp(4, 5, 3, dtype=dtype)
    for kind in ("f4", "f8", "?", "i1", "u8"):
        y = LAYOUTS[layout](rng.integers(0, 2, (300, 3)).astype(kind))
        if y.shape[1] == 3:
            X, _ = data(net, len(y))
            assert results(net, X, y) == results(net, X, np.ascontiguousarray(y).astype(dtype))


@pytest.mark.parametrize("kind", ["f4", "f8", "?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_labels_of_any_type(kind, dtype, rng):
    loss = "sparse_categorical_crossentropy_from_logits"
    net = mlp(4, 5, 3, dtype=dtype)
    X, y = data(net, 600, loss)
    y = y % 2 if kind == "?" else y
    wanted = results(net, X, y, loss=loss)
    for labels in (y.astype(kind), y.astype(kind)[:, None], np.repeat(y.astype(kind), 3)[::3]):
        assert results(net, X, labels, loss=loss) == wanted
        backwards = labels[::-1]
        assert results(net, X[::-1], backwards, loss=loss) == results(
            net, X[::-1].copy(), y[::-1].copy(), loss=loss
        )


def test_rows_by_index(dtype, rng):
    net = mlp(5, 8, 2, dtype=dtype)
    X, y = data(net, 1000)
    weights = rng.random(1000)
    for index in (rng.permutation(1000), np.array([7]), rng.integers(0, 1000, 3000)):
        copies = {"weights": weights[index]}
        wanted = results(net, X[index], y[index], **copies)
        assert results(net, X, y, index=index, weights=weights) == wanted
    out, _ = evaluate(net, X, index=np.zeros(0, int))
    assert out.shape == (0, 2)


def epochs(net, X, y, count, optimizer=None, orders=(None,), **other):
    """Losses of some epochs and the weights after them."""
    fit = Fit(net, X, y, optimizer or gd.SGD(0.05), batch=64, **other)
    losses = [fit.run(order=orders[k % len(orders)]).losses for k in range(count)]
    return np.concatenate(losses), net.state()


@pytest.mark.parametrize("rows", [100, 700, 70_000])
def test_orders(rows, rng):
    """Shuffled, given, or the rows themselves in another order: the same, dropout or not."""
    narrow = rows > 1000
    start = Net(3).dense(1) if narrow else of_everything(3, 2, np.float64, rate=0.0)
    X, y = data(start, rows)
    count = 1 if narrow else 3
    orders = [_core.epoch_order(rows, 3, 4, epoch) for epoch in range(count)]
    shuffled = epochs(start.copy(), X, y, count, shuffle=True)
    told = epochs(start.copy(), X, y, count, orders=orders)
    np.testing.assert_array_equal(shuffled[0], told[0])
    assert shuffled[1] == told[1]
    if not narrow:
        np.testing.assert_array_equal(orders[1], epoch_order(rows, (3, 4), 1))
    index = rng.permutation(rows)
    chosen = epochs(start.copy(), X[index], y[index], count, shuffle=True)
    there = epochs(start.copy(), X, y, count, shuffle=True, index=index)
    np.testing.assert_array_equal(chosen[0], there[0])
    assert chosen[1] == there[1]


def test_masks_belong_to_rows(dtype):
    """A row's mask is a function of its number in the data, whatever the order and the chunk."""
    net = Net(4, dtype).dropout(0.5)
    net.dense(4, bias=False)
    net.params[0][...] = np.eye(4)
    X = np.ones((600, 4), dtype)
    y = np.zeros((600, 4), dtype)
    fit = Fit(net, X, y, batch=300)
    seen = np.empty((600, 4), dtype)
    fit.run(2, seen=seen)
    first = twin(net, dtype).forward(X[:300], Drawn((3, 4), 0, range(300))).outputs[0]
    second = twin(net, dtype).forward(X[300:], Drawn((3, 4), 1, range(300, 600))).outputs[0]
    np.testing.assert_array_equal(seen, np.concatenate([first, second]))
    order = np.arange(600)[::-1].copy()
    fit = Fit(net, X, y, batch=600)
    fit.run(1, seen=seen, order=order)
    mirrored = twin(net, dtype).forward(X, Drawn((3, 4), 0, order)).outputs[0]
    np.testing.assert_array_equal(seen, mirrored)
    assert 0.4 < (seen == 0).mean() < 0.6


def test_the_linear_probability_is_the_default():
    net = mlp(3, 2)
    X, y = data(net, 5)
    arguments = given_of(net, X, y, goal=objective(2, probability=LINEAR))
    out, seen = np.empty((5, 2)), np.empty((5, 2))
    net.core().evaluate(arguments, 0, 5, out, False)
    net.core().evaluate(arguments, 0, 5, seen, True)
    np.testing.assert_array_equal(out, seen)
