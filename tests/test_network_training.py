"""The training loop: its twin, step by step, statistics, what is not finite, going on."""

import math
import time

import numpy as np
import pytest
from core_twin import twin
from network_cases import Fit, Net, data, mlp, objective
from optimizer_cases import ROWS

import gdcore as gd
from gdcore import _core
from gdcore.reference.network import Objective, epoch_loss, train
from gdcore.reference.optimizers import norm

DONE, INTERRUPT, NONFINITE, DEADLINE = range(4)


def mixed(dtype, rate=0.25):
    """A network with what depends on the batch and on its number."""
    net = Net(5, dtype, seed=2).dense(9).batch_norm().act("tanh").dropout(rate)
    fork = net.fork()
    return net.layer_norm().dense(9, bias=False).join(fork).act("silu").dense(2)


# ---- Against the twin ----------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("total", [False, True])
def test_a_training_is_that_of_the_twin(shuffle, total, rng):
    """Four epochs in float64, whose errors stay small: losses, norms, weights, statistics."""
    net = mixed(np.float64)
    X, y = data(net, 500)
    weights, index = rng.random(500), rng.permutation(500)[:333]
    penalties = rng.random((len(net.params), 2)) * 0.01
    goal = objective(2, "huber", total=total, penalties=penalties)
    other = twin(net, np.float64)
    opt, theirs = (gd.SGD(0.001 if total else 0.05, momentum=0.9) for _ in range(2))
    fit = Fit(net, X, y, opt, batch=64, goal=goal, shuffle=shuffle, weights=weights, index=index)
    run = train(
        other, X, y, Objective(*goal), lambda grads: theirs.step(other.params, grads),
        batch=64, key=(3, 4), shuffle=shuffle, weights=weights, index=index,
    )  # fmt: skip
    found = fit.run(4 * fit.batches)
    wanted = [next(run) for _ in range(4 * fit.batches)]
    close = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(found.losses, [batch.loss for batch in wanted], **close)
    np.testing.assert_allclose(found.norms, [norm(batch.grads) for batch in wanted], **close)
    for k, end in enumerate(found.ends):
        epoch = wanted[k * fit.batches : (k + 1) * fit.batches]
        assert end == pytest.approx(epoch_loss(epoch, Objective(*goal)), rel=1e-9)
    for ours, right in zip(
        [*net.params, *net.buffers], [*other.params, *other.buffers], strict=True
    ):
        np.testing.assert_allclose(ours, right, **close)
    assert fit.core.place()[:3] == (4, 0, 4 * fit.batches)
    assert opt.t == theirs.t == 4 * fit.batches


def by_hand(net, X, y, opt, count, **other):
    """Batches whose gradient comes from the core and whose step is the optimizer's own."""
    fit = Fit(net, X, y, None, moves=True, **other)
    losses = []
    for _ in range(count):
        out = fit.run(1)
        losses.append(out.losses[0])
        told = {"loss": losses[-1]} if type(opt)._row["needs"] == "loss" else {}
        opt.step(net.params, fit.grads, **told)
    return losses


@pytest.mark.parametrize("name", ROWS)
def test_every_optimizer_steps_as_it_does_alone(name, dtype):
    """The same bits, for each row of the table, with several groups."""
    row = ROWS[name]
    groups = [{"params": [0, 3], "clip_norm": 0.5}, {"params": [1], "frozen": True}]
    start = mixed(dtype)
    X, y = data(start, 200)
    results = []
    for steps in (by_hand, None):
        net = start.copy()
        opt = getattr(gd, row["class"])(lr=0.003, groups=groups)
        other = {"batch": 64, "shuffle": True}
        if steps:
            losses = by_hand(net, X, y, opt, 10, **other)
        else:
            losses = Fit(net, X, y, opt, **other).run(10).losses
        results.append((np.asarray(losses).tobytes(), net.state(), opt.t))
    assert results[0] == results[1]
    assert results[0][1] != start.state()


@pytest.mark.parametrize("maker", [lambda: gd.SGD(momentum=0.5), gd.Adam])
def test_rates_and_momenta_of_each_batch(maker, dtype, rng):
    start = mixed(dtype)
    X, y = data(start, 300)
    lrs, momenta = 0.01 * rng.random(9), rng.random(9)
    net = start.copy()
    rates = np.stack([lrs, momenta], axis=1)[:, None]
    fit = Fit(net, X, y, maker(), batch=100)
    out = fit.run(9, rates=rates)
    np.testing.assert_array_equal(out.lrs, lrs)
    there, opt = start.copy(), maker()
    steps = Fit(there, X, y, None, batch=100, moves=True)
    for lr, momentum in zip(lrs, momenta, strict=True):
        name = {"momentum": momentum} if maker is not gd.Adam else {"betas": (momentum, 0.999)}
        opt.set_params(lr=lr, **name)
        steps.run(1)
        opt.step(there.params, steps.grads)
    assert net.state() == there.state()


def test_a_rate_that_follows_the_norm(dtype):
    start = mixed(dtype)
    X, y = data(start, 300)
    lr = gd.schedules.by_gradient(0.05, 0.1)
    net, there = start.copy(), start.copy()
    out = Fit(net, X, y, gd.SGD(lr), batch=100).run(6)
    by_hand(there, X, y, gd.SGD(lr), 6, batch=100)
    assert net.state() == there.state()
    assert len(set(out.lrs)) > 1


# ---- Statistics ----------------------------------------------------------------------------------


def test_records_are_those_of_the_weights(dtype):
    """Norms of weights, gradients and updates; units that are zero or saturated."""
    net = Net(6, dtype, seed=8).dense(40).act("relu").dense(30).act("tanh").dense(20)
    net.act("sigmoid").dense(10).act("hard_tanh").dense(3)
    stages = [list(stage) for stage in net.stages]
    stages[7][5] = (-1.0, 1.0)
    net.stages = list(map(tuple, stages))
    for p in net.params[2:6:2]:
        p *= 6
    X, y = data(net, 256)
    alone = net.copy()
    fit = Fit(net, X, y, gd.Adam(0.01), batch=100, statistics=True)
    often, count = fit.often, len(net.params)
    assert fit.width == 3 * count + 2 * 4
    out = fit.run(12 * often)
    assert out.steps.tolist() == [k * often for k in range(12)]
    other = Fit(alone, X, y, gd.Adam(0.01), batch=100)
    for record in out.records:
        batch = other.core.place()[1]
        before = [p.copy() for p in alone.params]
        trace = twin(alone, dtype).forward(X[100 * batch : 100 * batch + 100])
        other.run(1)
        wanted = [np.linalg.norm(p.astype(float)) for p in before]
        wanted += [np.linalg.norm(g.astype(float)) for g in other.grads]
        wanted += [
            np.linalg.norm((p - q).astype(float)) for p, q in zip(alone.params, before, strict=True)
        ]
        np.testing.assert_allclose(record[: 3 * count], wanted, rtol=1e-10)
        y = [trace.outputs[i] for i in (1, 3, 5, 7)]
        limits = ((-np.inf, np.inf), (-0.98, 0.98), (0.01, 0.99), (-1, 1))
        zero = [(units == 0).mean() for units in y]
        beyond = [
            ((units <= dtype.type(low)) | (units >= dtype.type(high))).mean()
            for units, (low, high) in zip(y, limits, strict=True)
        ]
        np.testing.assert_allclose(record[3 * count :], zero + beyond, atol=2e-3)
        assert 0.2 < zero[0] < 0.8
        assert min(beyond[1:]) > 0
        if often > 1:
            other.run(often - 1)
    assert net.state() == alone.state()


def test_records_begin_anew_with_each_call(dtype):
    """Where calls are cut, the same batches are noted."""
    start = mlp(5, 8, 2, dtype=dtype)
    X, y = data(start, 320)
    fits = [Fit(start.copy(), X, y, gd.Adam(), batch=32, statistics=True) for _ in range(2)]
    whole = fits[0].run(50)
    parts = [fits[1].run(count) for count in (1, 3, 7, 20, 19)]
    np.testing.assert_array_equal(whole.steps, np.concatenate([part.steps for part in parts]))
    np.testing.assert_array_equal(whole.records, np.concatenate([part.records for part in parts]))
    assert len(whole.steps) == -(-50 // fits[0].often)


def test_statistics_change_nothing(dtype):
    start = mixed(dtype)
    X, y = data(start, 320)
    states = []
    for statistics in (False, True):
        net = start.copy()
        Fit(net, X, y, gd.Adam(), batch=32, statistics=statistics).run(20)
        states.append(net.state())
    assert states[0] == states[1]


# ---- What is not finite --------------------------------------------------------------------------


def spoilt(net, rows, bad, value=np.nan):
    X, y = data(net, rows)
    X[bad] = value
    return X, y


def test_a_batch_that_is_not_finite_is_left_out(dtype):
    """It changes neither weights nor statistics, state or t; it counts as a batch."""
    start = mixed(dtype)
    X, y = spoilt(start, 320, 100)
    net, opt = start.copy(), gd.Adam(0.01)
    fit = Fit(net, X, y, opt, batch=32, skip=True)
    out = fit.run(10)
    assert (out.end, out.done) == (DONE, 10)
    assert np.isnan(out.losses[3])
    assert np.isfinite(np.delete(out.losses, 3)).all()
    assert not np.isfinite(out.norms[3])
    assert fit.core.place() == (1, 0, 10, 0.0, 0.0, np.delete(out.losses, 3).min(), 1)
    assert out.ends[0] == pytest.approx(np.delete(out.losses, 3).mean())
    assert opt.t == 9
    there, other = start.copy(), gd.Adam(0.01)
    again = Fit(there, X, y, other, batch=32)
    again.run(3)
    again.core.move((0, 4, 4, 0.0, 0.0, math.inf, 0))
    again.run(6)
    assert net.state() == there.state()


def test_a_rate_for_each_step_that_is_taken(dtype):
    """A run with rates ahead comes back after a batch that is left out: they are those of steps."""
    net = mixed(dtype)
    X, y = spoilt(net, 320, 100)
    fit = Fit(net, X, y, gd.SGD(0.01), batch=32, skip=True)
    rates = np.linspace(0.1, 0.2, 10).reshape(10, 1, 1).repeat(2, axis=2)
    out = fit.run(10, rates=rates)
    assert (out.end, out.done) == (DONE, 4)
    np.testing.assert_array_equal(out.lrs, rates[:4, 0, 0])
    assert fit.run(6, rates=rates[3:9]).lrs[0] == rates[3, 0, 0]
    assert fit.optimizer.t == 9


def test_good_weights_are_put_back_when_asked(dtype):
    """Those of the start of the epoch, moving statistics too; none before the first batch."""
    net = mixed(dtype)
    X, y = data(net, 320)
    fit = Fit(net, X, y, gd.SGD(0.1), batch=32)
    with pytest.raises(ValueError, match="no good weights"):
        fit.core.restore()
    fit.run(10)
    state = net.state()
    fit.run(3)
    assert net.state() != state
    fit.core.restore()
    assert net.state() == state


def test_records_leave_it_out_too(dtype):
    start = mlp(5, 8, 2, dtype=dtype)
    X, y = spoilt(start, 320, 0)
    fit = Fit(start, X, y, gd.Adam(0.01), batch=32, skip=True, statistics=True)
    out = fit.run(10 + fit.often)
    noted = [k * fit.often for k in range(-(-(10 + fit.often) // fit.often))]
    assert out.steps.tolist() == [k for k in noted if k % 10 != 0]
    assert np.isfinite(out.records).all()


def test_weights_go_back_to_the_start_of_the_epoch(dtype):
    """With the moving statistics; the place is that of the batch that failed."""
    start = mixed(dtype)
    X, y = spoilt(start, 320, 300)
    net, opt = start.copy(), gd.Adam(0.01)
    order = np.arange(320)
    order[[300, 319]] = order[[319, 300]]
    good = X.copy()
    good[300] = 0
    clean = Fit(net, good, y, opt, batch=32)
    clean.run(10)
    state = net.state()
    fit = Fit(net, X, y, opt, batch=32)
    fit.core.move((1, 0, 10, 0.0, 0.0, math.inf, 0))
    out = fit.run(25)
    assert (out.end, out.done) == (NONFINITE, 9)
    assert net.state() == state
    assert np.isnan(fit.results.numbers[0, 9])
    assert not fit.core.shadowed()
    assert fit.core.place()[:3] == (1, 9, 19)
    assert opt.t == 19


def test_which_array_is_not_finite(dtype):
    """The last gradient's number; -1 for the loss alone; -2 - i for weights after an epoch."""
    big = np.finfo(dtype).max
    net = Net(2, dtype).dense(2).act("relu").dense(1)
    for p in net.params:
        p[...] = 1
    X, y = np.ones((4, 2), dtype), np.zeros((4, 1), dtype)
    X[0] = np.nan
    assert Fit(net, X, y, gd.SGD(0.1)).run(1).array == 3
    X[0] = 1
    y[0] = 4 * np.sqrt(big)  # its square overflows, its slope does not
    out = Fit(net, X, y, gd.SGD(0.1), loss="mse").run(1)
    assert (out.end, out.array) == (NONFINITE, -1)
    y[0] = 0
    before = net.state()
    out = Fit(net, X, y, gd.SGD(float(big)), loss="mse").run(1)
    assert (out.end, out.done, out.array) == (NONFINITE, 0, -5)
    assert net.state() == before
    net.params[1][...] = big / 2  # units whose sum over the rows overflows, their weights small
    net.params[2][...] = 1e-30
    out = Fit(net, X, y, gd.SGD(0.1), loss="mae", total=True).run(1)
    assert (out.end, out.array) == (NONFINITE, 2)


def test_a_norm_that_overflows_is_not_finite():
    """Of doubles: that of floats is a double."""
    for dtype in (np.float32, np.float64):
        net = Net(9, dtype).dense(9, bias=False)
        net.params[0][...] = 0
        X, y = np.full((1, 9), np.finfo(dtype).max / 4), np.ones((1, 9), dtype)
        out = Fit(net, X.astype(dtype), y, gd.SGD(0.1), total=True).run(1)
        assert np.isfinite(out.losses).all()
        if dtype == np.float32:
            assert out.end == DONE
            assert out.norms[0] > np.finfo(dtype).max
        else:
            assert (out.end, out.array) == (NONFINITE, 0)


def test_a_shadow_is_kept_where_the_loss_leaves(dtype):
    """Beyond ten times its lowest value the weights before the step are kept, once an epoch."""
    start = Net(3, dtype).dense(1)
    X, y = data(start, 2000)
    y = (X @ np.array([[1.0], [2.0], [3.0]])).astype(dtype)
    alone, steps = start.copy(), gd.SGD(1.2)
    watched = Fit(alone, X, y, steps, batch=4)
    lowest, kept = math.inf, None
    for _ in range(500):
        before = alone.state()
        out = watched.run(1)
        if out.end != DONE:
            break
        loss = out.losses[0]
        if loss < lowest:
            lowest = loss
        elif kept is None and loss > lowest + 9 * abs(lowest):
            kept = before
            assert watched.core.shadowed()
    assert out.end == NONFINITE
    assert kept is not None
    assert kept != start.state()
    assert alone.state() == kept
    net = start.copy()
    fit = Fit(net, X, y, gd.SGD(1.2), batch=4)
    assert fit.run(500).end == NONFINITE
    assert net.state() == kept
    assert fit.core.place()[5] == lowest


def test_without_an_optimizer_nothing_is_stepped(dtype):
    net = mixed(dtype)
    X, y = data(net, 100)
    before = net.state()
    fit = Fit(net, X, y, None, batch=50)
    fit.run(2)
    assert net.state() == before
    with pytest.raises(ValueError, match="so many batches"):
        fit.run(3)  # one epoch at most
    moved = Fit(net, X, y, None, batch=50, moves=True)
    moved.run(2)
    assert net.state()[: len(net.params)] == before[: len(net.params)]
    assert net.state() != before


# ---- Where it stands -----------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 7, 10, 13, 29])
def test_a_training_goes_on_where_it_was_left(cut, dtype):
    """In the middle of an epoch, by another trainer, on copies: the same bits."""
    start = mixed(dtype)
    X, y = data(start, 320)
    net, opt = start.copy(), gd.Adam(0.01)
    fit = Fit(net, X, y, opt, batch=32, shuffle=True)
    out = fit.run(30)
    first, first_opt = start.copy(), gd.Adam(0.01)
    begun = Fit(first, X, y, first_opt, batch=32, shuffle=True)
    one = begun.run(cut)
    second, second_opt = first.copy(), gd.Adam(0.01)
    second_opt.load_state_dict(first_opt.state_dict())
    resumed = Fit(second, X, y, second_opt, batch=32, shuffle=True)
    resumed.core.move(begun.core.place())
    other = resumed.run(30 - cut)
    assert second.state() == net.state()
    np.testing.assert_array_equal(out.losses, np.concatenate([one.losses, other.losses]))
    np.testing.assert_array_equal(out.ends, np.concatenate([one.ends, other.ends]))
    assert resumed.core.place() == fit.core.place()


def test_one_call_or_many(dtype):
    start = mixed(dtype)
    X, y = data(start, 330)
    states = []
    for counts in ([44], [1] * 44, [11] * 4, [5, 30, 9]):
        net = start.copy()
        fit = Fit(net, X, y, gd.Adam(0.01), batch=32, shuffle=True)
        parts = [fit.run(count) for count in counts]
        ends = np.concatenate([part.ends for part in parts])
        assert len(ends) == 4
        states.append((net.state(), ends.tobytes(), fit.core.place()))
    assert all(state == states[0] for state in states)


def test_epochs_may_be_shorter_than_the_data(dtype):
    """Batches beyond those of an epoch are not read; others come with the next order."""
    start = mlp(4, 5, 2, dtype=dtype)
    X, y = data(start, 100)
    net, there = start.copy(), start.copy()
    fit = Fit(net, X, y, gd.SGD(0.1), batch=30, batches=2, shuffle=True)
    out = fit.run(6)
    assert len(out.ends) == 3
    opt = gd.SGD(0.1)
    for epoch in range(3):
        order = _core.epoch_order(100, 3, 4, epoch)
        other = Fit(there, X, y, opt, batch=30, batches=2)
        other.run(2, order=order)
    assert net.state() == there.state()


def test_a_last_batch_may_be_smaller(dtype):
    """Its loss counts by its rows."""
    net = mlp(4, 5, 2, dtype=dtype)
    X, y = data(net, 70)
    fit = Fit(net, X, y, gd.SGD(0.0), batch=64)
    out = fit.run()
    assert out.ends[0] == pytest.approx((64 * out.losses[0] + 6 * out.losses[1]) / 70)
    weights = np.r_[np.zeros(64), np.ones(6)]
    out = Fit(net, X, y, gd.SGD(0.0), batch=64, weights=weights).run()
    assert out.losses[0] == 0
    assert out.ends[0] == pytest.approx(out.losses[1])


def test_a_deadline_ends_a_run_between_batches(dtype):
    start = mlp(30, 60, 5, dtype=dtype)
    X, y = data(start, 6400)
    fit = Fit(start.copy(), X, y, gd.SGD(0.01), batch=64)
    out = fit.run(100_000, deadline=time.monotonic() - 1)
    assert out.end == DEADLINE
    assert 1 <= out.done <= 16
    begun = time.monotonic()
    out = fit.run(2_000_000, deadline=begun + 0.1)
    assert out.end == DEADLINE
    assert 0.1 <= time.monotonic() - begun < 0.5
    there = start.copy()
    Fit(there, X, y, gd.SGD(0.01), batch=64).run(fit.core.place()[2])
    assert there.state() == fit.net.state()
    assert fit.run(3, deadline=time.monotonic() + 1000).end == DONE


# ---- Side by side --------------------------------------------------------------------------------


def team(dtype):
    """Six fits of different sizes, with all that they may have."""
    fits = []
    for i in range(6):
        net = mixed(dtype) if i % 2 else mlp(5, 20 * i + 4, 2, dtype=dtype, seed=i)
        X, y = data(net, 300 + 50 * i, seed=i)
        opt = [gd.SGD, gd.Adam, gd.Lion][i % 3](0.01)
        other = {"shuffle": True, "statistics": i % 2 == 0, "key": (i, 9)}
        fits.append(Fit(net, X, y, opt, batch=32 + i, **other))
    return fits


def brought(fit):
    out = fit.outcome()
    arrays = (out.losses, out.norms, out.lrs, out.ends, out.records, out.steps)
    parts = [np.asarray(part).tobytes() for part in arrays]
    return out.end, out.done, parts, fit.net.state(), fit.core.place(), fit.optimizer.t


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_trainers_side_by_side(threads, dtype):
    """The same bits as one by one, whoever ends first."""
    before = gd.get_num_threads()
    alone = team(dtype)
    for i, fit in enumerate(alone):
        fit.run(20 + 60 * i)
    together = team(dtype)
    gd.set_num_threads(threads)
    try:
        jobs = [(fit.core, fit.arguments(20 + 60 * i)) for i, fit in enumerate(together)]
        assert _core.run_trainers(tuple(jobs)) is None
    finally:
        gd.set_num_threads(before)
    assert [brought(fit) for fit in together] == [brought(fit) for fit in alone]


def test_trainers_that_run_for_longer_than_a_round(dtype):
    """10 ms are a round; many of them are the same as one run."""
    before = gd.get_num_threads()
    results = []
    for count in (1, 2):
        fits = [
            Fit(net, *data(net, 2000), gd.Adam(), batch=100)
            for net in (mlp(20, 50, 3, dtype=dtype, seed=s) for s in range(4))
        ]
        gd.set_num_threads(count)
        try:
            _core.run_trainers(tuple((fit.core, fit.arguments(1500)) for fit in fits))
        finally:
            gd.set_num_threads(before)
        results.append([brought(fit) for fit in fits])
    assert results[0] == results[1]
    assert all(result[:2] == (DONE, 1500) for result in results[0])


def test_one_that_fails_does_not_stop_the_others(dtype):
    fits = team(dtype)
    fits[2].given[2][...] = np.nan
    _core.run_trainers(tuple((fit.core, fit.arguments(50)) for fit in fits))
    ends = [fit.outcome().end for fit in fits]
    assert ends == [DONE, DONE, NONFINITE, DONE, DONE, DONE]
    assert _core.run_trainers(()) is None
