"""Armijo: its condition, the directions it takes, and what it never accepts."""

import copy
import math

import numpy as np
import pytest
from closures import Problem, assert_same_bits, bowl, rosenbrock, tree, values

import gdcore as gd


def run(opt, params, f, steps=1):
    problem = Problem(params, f)
    for _ in range(steps):
        opt.step(params, closure=problem.closure)
    return problem


def test_steps_are_the_rule_s():
    """Twin: shrink by 0.8 until f <= f - 1e-4 a |g|^2, grow by 1.5 after, never above lr."""
    x, longest, length = np.array([-1.2, 1.0]), 1.0, 1.0
    p, opt = x.copy(), gd.Armijo()
    problem = Problem(p, rosenbrock)
    for t in range(1, 200):
        f, g = rosenbrock(x)
        while rosenbrock(x - length * g)[0] > f - 1e-4 * length * (g @ g):
            length *= 0.8
        x, length = x - length * g, min(longest, 1.5 * length)
        opt.step(p, closure=problem.closure)
        np.testing.assert_allclose(p, x, rtol=1e-9)
        assert (opt.t, opt.grad_norm) == (t, pytest.approx(np.sqrt(g @ g), rel=1e-6))


def test_rosenbrock_within_the_documented_number_of_steps():
    for direction, most in ((gd.SGD(lr=0.01, momentum=0.9), 60), (None, 7600)):
        p, opt = np.array([-1.2, 1.0]), gd.Armijo(direction)
        while np.abs(p - 1).max() > 1e-2:
            opt.step(p, closure=lambda p=p: rosenbrock(p))
        assert 0.9 * most < opt.t + 5 <= most + 5
        assert f"within {most}" in " ".join(gd.Armijo.__doc__.split())


@pytest.mark.parametrize("row", gd._core.OPTIMIZERS, ids=lambda row: row["name"])
def test_any_optimizer_proposes_a_direction(row):
    """Its state advances once a step on the gradients of the points that were accepted."""
    kind = getattr(gd, row["class"])
    params, twin = tree(), tree()
    opt, proposer = gd.Armijo(kind(lr=0.05)), kind(lr=0.05)
    problem, copies = Problem(params, bowl), copy.deepcopy(twin)
    for t in range(1, 6):
        for one, other in zip(values(params), flat(copies), strict=True):
            other[...] = one
        start, f0 = values(params), problem.closure()
        proposer.step(copies, f0[1], loss=f0[0])
        table = opt.step(params, closure=problem.closure, trace=True)
        slope = sum(
            (g * (c - a)).sum()
            for g, c, a in zip(*map(values, (f0[1], copies)), start, strict=True)
        )
        for d, g, c, a, end in zip(
            *map(values, (table["direction"], f0[1], copies)), start, values(params), strict=True
        ):
            np.testing.assert_allclose(d, c - a if slope < 0 else -g, rtol=1e-12, atol=1e-15)
            step = float(values(table["step_length"])[1][0])
            np.testing.assert_allclose(end, a + step * d, rtol=1e-12, atol=1e-15)
        assert problem.f(problem.vector())[0] < f0[0]
        assert opt.t == t
    np.testing.assert_equal(opt.state_dict()["direction"], proposer.state_dict())


def flat(params):
    return [a for _, a in gd._containers.flat(params)]


def test_a_direction_that_leads_up_gives_way_to_the_gradient():
    p, plain = np.array([3.0, -2.0]), np.array([3.0, -2.0])
    climbing = gd.SGD(lr=0.1, weight_decay=0.0)
    opt = gd.Armijo(climbing)
    opt.direction.set_params(maximize=True)  # what the constructor refuses
    for _ in range(3):
        run(opt, p, bowl)
    for _ in range(3):  # each time from the longest step again
        run(gd.Armijo(), plain, bowl)
    np.testing.assert_array_equal(p, plain)
    assert opt.state_dict()["state"][0]["step_length"] == math.inf


def test_maximize_and_frozen():
    one, other = tree(), tree()
    for direction in (None, gd.Adam(lr=0.1), gd.PolyakSGD()):
        run(gd.Armijo(direction), one, bowl, 5)
        down = gd.Armijo(direction, maximize=True)
        run(down, other, lambda x: tuple(-v for v in bowl(x)), 5)
        assert_same_bits(one, other)
        before = copy.deepcopy(one)
        still = gd.Armijo(direction, groups=[{"params": ["W"], "frozen": True}])
        run(still, one, bowl, 2)
        assert_same_bits(one["W"], before["W"])
        assert not np.array_equal(one["b"][0], before["b"][0])
        other = copy.deepcopy(one)


def test_what_is_not_finite_is_never_accepted():
    for nothing in (math.nan, math.inf, -math.inf):
        for spoiled in ("loss", "grads"):
            p = np.array([-1.2, 1.0])

            def f(x, spoiled=spoiled, nothing=nothing):
                loss, slopes = rosenbrock(x)
                if x[0] > -0.9:
                    return (nothing, slopes) if spoiled == "loss" else (loss, slopes * nothing)
                return loss, slopes

            loss = rosenbrock(p)[0]
            for opt in (gd.Armijo(), gd.Armijo(gd.SGD(lr=0.01, momentum=0.9))):
                run(opt, p, f, 40)
                assert p[0] <= -0.9
                assert rosenbrock(p)[0] < loss
    start = p.copy()
    for opt in (gd.Armijo(max_backtracks=9), gd.Armijo(gd.Adam(), max_backtracks=9)):
        problem = Problem(p, lambda x: (0.0 if (x == start).all() else math.nan, x))
        opt.step(p, closure=problem.closure)
        np.testing.assert_array_equal(p, start)
        assert (problem.calls, opt.t) == (11, 1)


def test_a_start_that_is_not_finite():
    p = np.array([3.0, 4.0])
    for rule, t in (("ignore", 1), ("skip", 0), ("raise", 0)):
        opt = gd.Armijo(gd.Adam(), on_nonfinite=rule)
        for f in (lambda x: (math.nan, x), lambda x: (0.0, x * math.inf)):
            problem = Problem(p, f)
            if rule == "raise":
                with pytest.raises(gd.NonFiniteError, match="at step 1; nothing was changed"):
                    opt.step(p, closure=problem.closure)
            else:
                opt.step(p, closure=problem.closure)
            np.testing.assert_array_equal(p, [3.0, 4.0])
            assert problem.calls == 1
        assert opt.t == 2 * t
        assert opt.direction.t == 0


def test_at_a_minimum_nothing_is_tried():
    p = np.array([1.0, 2.0])
    problem = run(gd.Armijo(), p, bowl, 2)
    assert problem.calls == 2
    np.testing.assert_array_equal(p, [1.0, 2.0])


def test_a_closure_that_raises_undoes_the_step():
    for fails_at in (1, 2, 3):
        p, plain = np.array([-1.2, 1.0]), np.array([-1.2, 1.0])
        opt, other = gd.Armijo(gd.Adam(lr=5.0)), gd.Armijo(gd.Adam(lr=5.0))
        run(opt, p, rosenbrock, 2)
        run(other, plain, rosenbrock, 2)
        problem = Problem(p, rosenbrock)

        def closure(problem=problem, fails_at=fails_at):
            if problem.calls + 1 == fails_at:
                raise ZeroDivisionError
            return problem.closure()

        state = opt.state_dict()
        with pytest.raises(ZeroDivisionError):
            opt.step(p, closure=closure)
        np.testing.assert_array_equal(p, plain)
        np.testing.assert_equal(opt.state_dict(), state)
        run(opt, p, rosenbrock, 5)
        run(other, plain, rosenbrock, 5)
        np.testing.assert_array_equal(p, plain)


def test_settings_that_are_refused():
    for settings, kind, message in [
        ({"direction": 0.5}, TypeError, "direction is 0.5; None or an optimizer"),
        ({"direction": gd.LBFGS()}, TypeError, r"not LBFGS, Armijo or EMA"),
        ({"direction": gd.EMA(gd.SGD())}, TypeError, r"not LBFGS, Armijo or EMA"),
        ({"direction": gd.SGD(maximize=True)}, ValueError, "direction has maximize=True"),
        ({"shrink": 1.0}, ValueError, r"shrink is 1.0; a number in \(0, 1\) is accepted"),
        ({"shrink": 0.0}, ValueError, "shrink is 0.0"),
        ({"slope": 1.0}, ValueError, "slope is 1.0"),
        ({"grow": 0.5}, ValueError, "grow is 0.5; a finite number >= 1"),
        ({"max_backtracks": -1}, ValueError, "max_backtracks is -1; an integer >= 0"),
        ({"max_backtracks": 2.0}, TypeError, "max_backtracks is 2.0; an integer"),
    ]:
        with pytest.raises(kind, match=message):
            gd.Armijo(**settings)
        opt = gd.Armijo(gd.Adam(), 0.5)
        with pytest.raises(kind, match=message):
            opt.set_params(lr=2.0, **settings)
        assert opt == gd.Armijo(gd.Adam(), 0.5)


def test_the_direction_s_settings_are_copied():
    adam, p = gd.Adam(lr=0.5), np.ones(2)
    adam.step(p, p.copy())
    opt = gd.Armijo(adam)
    adam.lr = 0.25
    assert opt.direction.lr == 0.5
    assert opt.direction.t == 0
    q = np.zeros(2)
    run(opt, q, bowl, 2)
    assert (opt.t, opt.direction.t, adam.t) == (2, 2, 1)
    assert opt.get_params()["direction"] == opt.direction
    assert opt.get_params()["direction"].t == 0
    opt.direction.lr = 0.1
    assert opt.get_params()["direction"].lr == 0.1
