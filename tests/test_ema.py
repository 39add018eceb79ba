"""EMA: the average of the parameters around any optimizer."""

import copy
import math
from fractions import Fraction

import numpy as np
import pytest
from closures import Problem, assert_same_bits, bowl, like, tree, values
from entries import AVERAGES

import gdcore as gd
from gdcore import _core

EXTRA = [gd.LBFGS(max_iter=1, max_eval=5), gd.Armijo(gd.SGD(lr=0.1, momentum=0.5))]
ALL = [getattr(gd, row["class"])(lr=0.05) for row in gd._core.OPTIMIZERS] + EXTRA


@pytest.mark.parametrize("plain", ALL, ids=lambda opt: type(opt).__name__)
def test_steps_go_through_and_the_average_starts_after_the_first(plain):
    one, other = tree(), tree()
    opt, plain = gd.EMA(copy.deepcopy(plain), decay=0.75), copy.deepcopy(plain)
    mine, twin = Problem(one, bowl), Problem(other, bowl)
    assert opt.averaged(one) is one
    average = None
    for t in range(1, 6):
        assert opt.step(one, closure=mine.closure) is None
        plain.step(other, closure=twin.closure)
        assert_same_bits(one, other)
        assert (opt.t, opt.lr, opt.grad_norm) == (t, plain.lr, plain.grad_norm)
        now = values(one)
        average = (
            now
            if average is None
            else [0.75 * a + 0.25 * p for a, p in zip(average, now, strict=True)]
        )
        for a, wanted in zip(values(opt.averaged(one)), average, strict=True):
            np.testing.assert_allclose(a, wanted, rtol=1e-14, atol=1e-15)


def test_the_average_is_within_rounding_of_the_exact_one(dtype, rng):
    """Exact rational numbers; each step rounds three times, on the difference and on the sum."""
    eps = float(np.finfo(dtype).eps)
    for decay in (0.0, 0.5, 0.999, 1.0):
        p = rng.normal(size=5).astype(dtype)
        opt = gd.EMA(gd.SGD(lr=1.0), decay)
        exact, bound = None, 0.0
        for _ in range(20):
            opt.step(p, rng.normal(size=5).astype(dtype))
            now = [Fraction(float(x)) for x in p]
            if exact is None:
                exact = now
                continue
            rate = Fraction(1.0 - decay)
            moves = [rate * (x - a) for x, a in zip(now, exact, strict=True)]
            exact = [a + move for a, move in zip(exact, moves, strict=True)]
            largest = max(map(abs, map(float, exact)))
            bound += eps * (largest + 3 * max(map(abs, map(float, moves))))
            found = opt.averaged(p)
            assert found.dtype == dtype
            wrong = [abs(Fraction(float(x)) - a) for x, a in zip(found, exact, strict=True)]
            assert float(max(wrong)) <= bound


def test_an_average_of_what_rests_rests(dtype):
    """decay * p + (1 - decay) * p would not be p."""
    p = np.linspace(0.1, 3.0, 70000).astype(dtype)  # more than one block
    opt, before = gd.EMA(gd.SGD(lr=0.0)), p.copy()
    for _ in range(5):
        opt.step(p, np.ones_like(p))
    np.testing.assert_array_equal(opt.averaged(p), before)
    opt.lr = 1.0
    opt.step(p, np.ones_like(p))
    move = np.subtract(p, before) * (1 - opt.decay)
    np.testing.assert_array_equal(opt.averaged(p), before + move)


@pytest.mark.levels
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (300, 251), (0, 4)])
def test_an_average_moves_by_the_line_in_numpy(shape, threads, dtype, rng):
    """Bit for bit, whatever the order of the elements and the number of threads."""
    before = gd.get_num_threads()
    gd.set_num_threads(threads)
    for order in "CF":
        average, p = (np.array(rng.normal(size=shape), dtype=dtype, order=order) for _ in range(2))
        for share in (0.0, 1 - 0.999, 0.3, 1.0):
            wanted = average + (p - average) * share
            _core.average(average, p, share)
            assert average.dtype == wanted.dtype
            assert average.tobytes() == wanted.tobytes()
    gd.set_num_threads(before)


@pytest.mark.parametrize(("average", "p", "error", "message"), AVERAGES)
def test_what_the_core_does_not_average(average, p, error, message):
    with pytest.raises(error, match=message):
        _core.average(average, p, 0.5)


def test_averaged_gives_copies_or_fills_out():
    params, opt = tree(np.float32), gd.EMA(gd.SGD(lr=0.5), 0.5)
    for _ in range(2):
        opt.step(params, copy.deepcopy(params))
    average, before = opt.averaged(params), copy.deepcopy(params)
    assert_same_bits(params, before)
    assert [*average] == ["W", "b"]
    assert type(average["b"]) is list
    assert average["W"].flags.f_contiguous
    out = tree(np.float32)
    assert opt.averaged(params, out) is out
    assert_same_bits(out, average)
    average["W"][:] = 7.0
    assert_same_bits(opt.averaged(params), out)
    fresh = gd.EMA(gd.SGD())
    assert fresh.averaged(params, out) is out
    assert_same_bits(out, params)
    for other in (params["W"], {**params, "W": np.zeros((2, 3), np.float32)}, tree()):
        with pytest.raises(ValueError, match=r"params.* but the state is for"):
            opt.averaged(other)


def test_skipped_and_refused_steps_are_not_averaged():
    p = np.ones(3)
    opt = gd.EMA(gd.SGD(lr=1.0, on_nonfinite="skip"), 0.5)
    opt.step(p, np.ones(3))
    opt.step(p, np.ones(3))
    np.testing.assert_array_equal(opt.averaged(p), [-0.5] * 3)
    opt.step(p, np.full(3, math.nan))
    assert not opt.step(p, np.full(3, math.nan), trace=True)
    assert opt.t == 2
    for wrong, kind in ((np.ones(2), ValueError), (None, TypeError)):
        with pytest.raises(kind):
            opt.step(p, wrong)
    with pytest.raises(ValueError, match="params holds 2 arrays but the state is for 1"):
        opt.step([p, p.copy()], [p.copy(), p.copy()])
    with pytest.raises(ValueError, match="is another array"):
        opt.step(p.copy(), np.ones(3))
    np.testing.assert_array_equal(opt.averaged(p), [-0.5] * 3)
    assert opt.t == 2


def test_averaging_may_begin_in_the_middle_of_a_run():
    p, inner = np.zeros(2), gd.SGD(lr=1.0, momentum=0.5)
    inner.step(p, np.ones(2))
    opt = gd.EMA(inner, 0.5)
    assert opt.optimizer is inner
    opt.step(p, np.ones(2))
    assert opt.t == 2
    np.testing.assert_array_equal(opt.averaged(p), [-2.5] * 2)
    inner.lr = 0.25
    assert opt.lr == 0.25


def test_settings_of_both_are_set():
    opt = gd.EMA(gd.Adam(lr=0.1, groups=[{"params": [0], "lr": 0.5}]), decay=0.5)
    assert opt.groups is opt.optimizer.groups
    assert opt.set_params(decay=0.25, lr=0.5, eps=1e-3) is opt
    assert (opt.decay, opt.lr, opt.optimizer.eps) == (0.25, 0.5, 1e-3)
    for bad, kind in (
        ({"decay": 1.5, "lr": 9.0}, ValueError),
        ({"decay": 0.5, "lr": -1.0}, ValueError),
        ({"decay": 0.5, "rate": 1.0}, TypeError),
        ({"optimizer": "adam", "lr": 9.0}, TypeError),
    ):
        with pytest.raises(kind):
            opt.set_params(**bad)
        assert (opt.decay, opt.lr) == (0.25, 0.5)
    opt.decay = 0.125
    opt.optimizer = gd.SGD(lr=2.0)
    assert opt == gd.EMA(gd.SGD(lr=2.0), 0.125)
    for bad in ({"optimizer": 0.1}, {"optimizer": gd.SGD}, {"decay": "0.5", "optimizer": gd.SGD()}):
        with pytest.raises(TypeError, match=r"EMA: (optimizer|decay) is"):
            gd.EMA(**bad)


def test_the_table_has_the_average():
    params, opt = tree(), gd.EMA(gd.SGD(lr=0.5), 0.5)
    for _ in range(2):
        table = opt.step(params, like(params, np.ones(11)), trace=True)
    plain = gd.SGD(lr=0.5).step(tree(), like(params, np.ones(11)), trace=True)
    assert [*table] == [*[name for name in plain if name != "p"], "average", "p"]
    assert_same_bits(table["average"], opt.averaged(params))
    assert_same_bits(table["p"], params)


def test_a_loaded_average_of_other_arrays_changes_nothing():
    first, p = gd.EMA(gd.SGD(lr=0.5), 0.5), np.ones(3)
    first.step(p, np.ones(3))
    for other in (np.ones(2), np.ones(3, np.float32), [np.ones(3), np.ones(1)]):
        opt = gd.EMA(gd.SGD(lr=0.5), 0.5)
        opt.load_state_dict(first.state_dict())
        before = copy.deepcopy(other)
        with pytest.raises(ValueError, match=r"but the state is for"):
            opt.step(other, copy.deepcopy(other))
        assert_same_bits(other, before)
        assert opt.t == 1


def test_a_loaded_average_may_lie_in_another_order(dtype):
    one, other = np.ones((3, 2), dtype), np.ones((3, 2), dtype, order="F")
    gradient = np.arange(6, dtype=dtype).reshape(3, 2)
    first, second = gd.EMA(gd.SGD(lr=0.5), 0.5), gd.EMA(gd.SGD(lr=0.5), 0.5)
    first.step(one, gradient)
    other[...] = one
    second.load_state_dict(first.state_dict())
    first.step(one, gradient)
    second.step(other, np.asfortranarray(gradient))
    np.testing.assert_array_equal(second.averaged(other), first.averaged(one))
