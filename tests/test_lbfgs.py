"""LBFGS: where it gets to and in how many calls, its memory, and what is not finite."""

import copy
import itertools
import math

import numpy as np
import pytest
from closures import Problem, assert_same_bits, bowl, like, rosenbrock, tree, values

import gdcore as gd


def run(opt, params, f, steps=1):
    problem = Problem(params, f)
    for _ in range(steps):
        opt.step(params, closure=problem.closure)
    return problem


def distance(params, wanted=1.0):
    return np.abs(np.concatenate([a.ravel() for a in values(params)]) - wanted).max()


# ---- Where it gets to ----------------------------------------------------------------------------


def test_rosenbrock_within_the_documented_number_of_calls():
    for kind, most, tolerance in (({"tolerance_change": 0}, 50, 1e-6), ({}, 50, 1e-4)):
        p, calls = np.array([-1.2, 1.0]), None
        opt, problem = gd.LBFGS(**kind), Problem(p, rosenbrock)
        for _ in range(3):
            opt.step(p, closure=problem.closure)
            if calls is None and distance(p) <= tolerance:
                calls = problem.calls
        assert calls <= most
        assert f"within {most} calls" in gd.LBFGS.__doc__
    many = np.tile([-1.2, 1.0], 5)
    problem = run(gd.LBFGS(max_iter=200), many, rosenbrock)
    assert distance(many) <= 1e-6
    assert problem.calls <= 120


def test_a_quadratic_takes_about_as_many_iterations_as_it_has_dimensions():
    for n in (1, 2, 5, 20):
        p = np.zeros(n)
        problem = run(gd.LBFGS(max_iter=2 * n + 2, tolerance_change=0), p, bowl)
        np.testing.assert_allclose(p, np.arange(1, n + 1), rtol=1e-4)
        assert problem.calls <= 2 * n + 4


def test_every_container_and_type_gives_the_numbers_of_one_vector():
    flat = np.concatenate([a.ravel("K") for a in values(tree())])
    weights = np.arange(1.0, 12.0)

    def f(x):
        away = x - 1
        return weights @ away**4 + away @ away, 4 * weights * away**3 + 2 * away

    # W is Fortran-ordered: its elements in memory are those of the transposed matrix.
    order = np.concatenate([np.arange(6).reshape(2, 3).T.ravel(), np.arange(6, 11)])

    def in_memory(x):
        loss, slopes = f(x[np.argsort(order)])
        return loss, slopes[order]

    params, vector = tree(), flat.copy()
    run(gd.LBFGS(max_iter=6), params, in_memory, 3)
    run(gd.LBFGS(max_iter=6), vector, f, 3)
    np.testing.assert_array_equal(np.concatenate([a.ravel("K") for a in values(params)]), vector)
    assert distance(vector) < 1e-3
    small = tree(np.float32)
    run(gd.LBFGS(), small, f, 3)
    assert {a.dtype for a in values(small)} == {np.dtype(np.float32)}
    assert distance(small) < 1e-2
    mixed = [np.zeros(2, np.float32), np.zeros(3)]
    run(gd.LBFGS(), mixed, bowl, 2)
    assert [a.dtype for a in mixed] == [np.float32, np.float64]
    assert distance(mixed, np.arange(1, 6)) < 1e-5


def test_numbers_as_gradients_and_nothing_at_all():
    p, opt = np.array(8.0), gd.LBFGS()
    opt.step(p, closure=lambda: (np.array([(p - 3) ** 2]), 2 * (float(p) - 3)))
    assert p == pytest.approx(3, abs=1e-9)
    for empty in ([], {}, np.zeros((0, 3)), [np.zeros(0), {}]):
        opt = gd.LBFGS()
        opt.step(empty, closure=lambda empty=empty: (1.0, copy.deepcopy(empty)))
        assert (opt.t, opt.grad_norm) == (1, 0.0)
        assert copy.deepcopy(opt).t == 1


def test_maximize_climbs_and_frozen_arrays_stay():
    one, other = tree(), tree()
    run(gd.LBFGS(), one, bowl, 2)
    run(gd.LBFGS(maximize=True), other, lambda x: tuple(-v for v in bowl(x)), 2)
    assert_same_bits(one, other)
    params, before = tree(), tree()
    opt = gd.LBFGS(groups=[{"params": ["W", ("b", 1)], "frozen": True}])
    problem = Problem(params, bowl)
    opt.step(params, closure=problem.closure)
    assert_same_bits([params["W"], params["b"][1]], [before["W"], before["b"][1]])
    np.testing.assert_allclose(params["b"][0], [7, 8, 9], rtol=1e-6)
    gradient = bowl(np.concatenate([a.ravel() for a in values(before)]))[1][6:9]
    assert opt.grad_norm == pytest.approx(math.sqrt(gradient @ gradient), rel=1e-14)
    opt.groups[0]["frozen"] = False
    for _ in range(3):
        opt.step(params, closure=problem.closure)
    assert distance(params, np.arange(1, 12)) < 1e-5


def test_what_is_frozen_in_the_middle_of_a_run_stays():
    params = [np.full(2, 9.0), np.full(3, 9.0)]
    opt = gd.LBFGS(max_iter=3, groups=[{"params": [0]}])
    problem = Problem(params, bowl)
    opt.step(params, closure=problem.closure)
    opt.groups[0]["frozen"] = True
    before = params[0].copy()
    table = opt.step(params, closure=problem.closure, trace=True)
    np.testing.assert_array_equal(params[0], before)
    np.testing.assert_array_equal(table["direction_1"][0], [0.0, 0.0])
    assert_same_bits([row["best"] for row in opt.state_dict()["state"]], params)


def test_a_step_of_length_zero_changes_nothing():
    p = np.array([-1.2, 1.0])
    for lr in (0.0, lambda t: 0.0):
        problem = run(gd.LBFGS(lr=lr), p, rosenbrock)
        assert problem.calls == 1
        np.testing.assert_array_equal(p, [-1.2, 1.0])


def test_the_loss_never_rises_and_calls_are_limited():
    for max_iter, max_eval in itertools.product((1, 3, 20), (None, 1, 2, 7)):
        p = np.array([-1.2, 1.0])
        opt, problem = gd.LBFGS(max_iter=max_iter, max_eval=max_eval), Problem(p, rosenbrock)
        most = max_iter * 5 // 4 if max_eval is None else max_eval
        loss = rosenbrock(p)[0]
        for t in range(1, 9):
            problem.calls = 0
            opt.step(p, closure=problem.closure)
            assert problem.calls <= most + 1
            assert rosenbrock(p)[0] <= loss
            assert opt.t == t
            loss = rosenbrock(p)[0]
    assert loss < 1e-3


def test_history_size_limits_the_pairs():
    p, opt = np.tile([-1.2, 1.0], 3), gd.LBFGS(history_size=3)
    for most in (3, 3, 2):
        opt.history_size = most
        run(opt, p, rosenbrock)
        (row,) = opt.state_dict()["state"]
        assert [*row] == ["best", "best_loss", "s", "y"]
        assert row["s"].shape == row["y"].shape == (most, 6)
        assert all(y @ s > 1e-10 for s, y in zip(row["s"], row["y"], strict=True))


def test_a_noisy_loss_is_descended_all_the_same(rng):
    p, noise = np.full(4, 30.0), 1e-3

    def noisy(x):
        loss, slopes = bowl(x)
        return loss + noise * rng.normal(), slopes + noise * rng.normal(size=4)

    run(gd.LBFGS(), p, noisy, 30)
    assert distance(p, np.arange(1, 5)) < 0.1


def test_the_bits_do_not_depend_on_threads():
    results, before = [], gd.get_num_threads()
    try:
        for threads in (1, 2):
            gd.set_num_threads(threads)
            p = np.linspace(-1, 1, 20000).astype(np.float32)
            opt = gd.LBFGS(max_iter=4)
            run(opt, p, lambda x: (float(np.cosh(x).sum()), np.sinh(x).astype(np.float32)), 2)
            results.append((p, opt.grad_norm))
    finally:
        gd.set_num_threads(before)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


# ---- What is not finite --------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf])
def test_the_line_search_turns_back_from_what_is_not_finite(nothing):
    """A half plane where the loss, or the gradient alone, is not finite, near the minimum."""
    for spoiled in ("loss", "grads"):
        p = np.array([-1.2, 1.0])

        def f(x, spoiled=spoiled):
            loss, slopes = rosenbrock(x)
            if x[0] > 1.0 + 1e-9 or x[1] < 0:
                return (nothing, slopes) if spoiled == "loss" else (loss, slopes * nothing)
            return loss, slopes

        opt = gd.LBFGS(tolerance_change=0)
        for _ in range(12):
            run(opt, p, f)
            assert np.isfinite(f(p)[0])
            assert np.isfinite(f(p)[1]).all()
        assert distance(p) < 1e-3


def test_nothing_finite_around_leaves_the_start():
    p, start = np.array([3.0, 4.0]), np.array([3.0, 4.0])
    opt = gd.LBFGS()
    problem = Problem(p, lambda x: (1.0 if (x == start).all() else math.nan, x))
    for t in (1, 2):
        opt.step(p, closure=problem.closure)
        np.testing.assert_array_equal(p, start)
        assert (opt.t, opt.grad_norm) == (t, 5.0)
    assert problem.calls <= 52


def test_a_start_that_is_not_finite_goes_back_to_the_best_point():
    p, opt = np.array([-1.2, 1.0]), gd.LBFGS(max_iter=5, max_eval=25)
    run(opt, p, rosenbrock)
    best = p.copy()
    assert len(opt.state_dict()["state"][0]["s"]) == 5
    for loss, slope in ((math.nan, 1.0), (1.0, math.inf)):
        p[:] = 50.0
        run(opt, p, lambda x, loss=loss, slope=slope: (loss, np.array([slope, 0.0])))
        np.testing.assert_array_equal(p, best)
        assert len(opt.state_dict()["state"][0]["s"]) == 0
    assert opt.t == 3
    run(opt, p, rosenbrock, 12)
    assert distance(p) < 1e-3
    fresh, opt = np.array([2.0, math.nan]), gd.LBFGS()  # no better point is known
    run(opt, fresh, rosenbrock)
    np.testing.assert_array_equal(fresh, [2.0, math.nan])
    assert opt.t == 1


def test_raise_and_skip_change_nothing():
    for rule in ("raise", "skip"):
        params = {"a": [np.array([-1.2, 1.0])], "b": np.ones(2)}
        opt = gd.LBFGS(on_nonfinite=rule, groups=[{"params": ["b"], "frozen": True}])
        problem = Problem(params, lambda x: (bowl(x)[0], np.append(bowl(x)[1][:2], [math.nan] * 2)))
        opt.step(params, closure=problem.closure)  # NaN in what is frozen does not count
        before, state = copy.deepcopy(params), opt.state_dict()
        for name, f in (
            ("the loss is nan at step 2", lambda x: (math.nan, x)),
            (
                r"grads\['a'\]\[0\] holds a NaN or an infinity at step 2",
                lambda x: (0.0, x * math.inf),
            ),
        ):
            problem.f = f
            if rule == "raise":
                with pytest.raises(gd.NonFiniteError, match=name):
                    opt.step(params, closure=problem.closure)
            else:
                assert not opt.step(params, closure=problem.closure, trace=True)
            assert_same_bits(params, before)
            np.testing.assert_equal(opt.state_dict(), state)
    assert opt.t == 1


def test_large_numbers_overflow_quietly():
    p = np.full(2, 1e200)
    with np.errstate(all="raise"):
        run(gd.LBFGS(), p, lambda x: (1e300, np.full(2, 1e200)))
    assert np.isfinite(p).all()
    errors = []
    with np.errstate(divide="raise"):  # the closure runs under its caller's errstate
        gd.LBFGS().step(p, closure=lambda: (errors.append(np.geterr()["divide"]), (1.0, p * 0))[1])
    assert errors == ["raise"]


# ---- Closures that raise -------------------------------------------------------------------------


def test_a_closure_that_raises_leaves_the_last_accepted_point():
    reached = np.array([-1.2, 1.0])
    total = run(gd.LBFGS(), reached, rosenbrock).calls
    accepted = {(-1.2, 1.0)}
    p = np.array([-1.2, 1.0])
    for max_iter in range(1, 21):
        q = np.array([-1.2, 1.0])
        run(gd.LBFGS(max_iter=max_iter, max_eval=25), q, rosenbrock)
        accepted.add(tuple(q))
    for fails_at in range(1, total + 1):
        p = np.array([-1.2, 1.0])
        problem = Problem(p, rosenbrock)

        def closure(problem=problem, fails_at=fails_at):
            if problem.calls + 1 == fails_at:
                raise KeyboardInterrupt
            return problem.closure()

        opt = gd.LBFGS()
        with pytest.raises(KeyboardInterrupt):
            opt.step(p, closure=closure)
        assert tuple(p) in accepted
        assert opt.t == 0
        run(opt, p, rosenbrock, 4)
        assert distance(p) < 1e-3


def test_the_optimizer_is_busy_in_its_closure():
    p, opt = np.ones(2), gd.LBFGS(groups=[{"params": [0]}])
    for inside in (
        lambda: opt.step(p, closure=lambda: (p @ p, 2 * p)),
        lambda: opt.reset(),
        lambda: opt.load_state_dict({"rule": "LBFGS", "t": 0, "state": None}),
        lambda: opt.set_params(lr=0.5),
        lambda: setattr(opt.groups[0], "x", opt.groups[0].update(frozen=True)),
    ):
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            opt.step(p, closure=inside)
    assert opt == gd.LBFGS(groups=[{"params": [0]}])
    run(opt, p, bowl)
    assert opt.t == 1


def test_a_closure_that_resizes_a_parameter_is_an_error():
    for kind in (gd.LBFGS, gd.Armijo):
        for shape in (1, 5):
            p = np.array([-1.2, 1.0])
            problem = Problem([p], rosenbrock)

            def closure(p=p, problem=problem, shape=shape):
                answer = problem.closure()
                if problem.calls == 2:
                    p.resize(shape, refcheck=False)
                return answer

            with pytest.raises(ValueError, match=r"params\[0\] is another array|broadcast|shape"):
                kind().step([p], closure=closure)


# ---- The table of a step -------------------------------------------------------------------------


def test_trace_shows_each_iteration():
    params, plain = tree(), tree()
    before = tree()
    opt = gd.LBFGS(max_iter=3, max_eval=30)
    table = opt.step(params, closure=Problem(params, bowl).closure, trace=True)
    run(gd.LBFGS(max_iter=3, max_eval=30), plain, bowl)
    assert_same_bits(params, plain)
    iterations = [f"{name}_{k}" for k in (1, 2, 3) for name in ("direction", "step_length")]
    assert [*table] == ["p_before", "g", *iterations, "update", "p"]
    assert_same_bits(table["p_before"], before)
    assert_same_bits(table["p"], params)
    x = np.concatenate([a.ravel() for a in values(before)])
    gradient = like(params, bowl(x)[1])
    for g, direction, wanted in zip(
        *map(values, (table["g"], table["direction_1"], gradient)), strict=True
    ):
        np.testing.assert_array_equal(g, wanted)
        np.testing.assert_array_equal(direction, -wanted)
    parts = [values(table[name]) for name in iterations]
    ends = zip(values(before), *parts, values(params), values(table["update"]), strict=True)
    for start, d1, a1, d2, a2, d3, a3, end, update in ends:
        np.testing.assert_allclose(start + a1 * d1 + a2 * d2 + a3 * d3, end, atol=1e-13)
        np.testing.assert_array_equal(update, start - end)
    assert "direction_2" in repr(table)
