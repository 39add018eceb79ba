"""minimize and maximize: the paths they take, from what they start, what they record."""

import copy
import itertools
import math

import numpy as np
import pytest
from descents import (
    OPTIMIZERS,
    ROTATION,
    SPECTRUM,
    START,
    quadric,
    quadric_grad,
    rosenbrock,
    rosenbrock_grad,
    sextic,
)

import gdcore as gd
from gdcore.descent import maximize, minimize

# ---- Paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("grad", [None, quadric_grad], ids=["gdcore's", "own"])
@pytest.mark.parametrize("part", [0.1, 0.9, 0.999, 1.001, 1.1])
def test_the_iterates_on_a_quadratic_are_the_closed_form(part, grad):
    """x_k = (I - lr A)^k x_0; it converges for lr < 2 / lambda_max and diverges beyond."""
    lr = part * 2 / SPECTRUM[-1]
    r = minimize(quadric, START, optimizer=gd.SGD(lr), steps=60, grad=grad)
    powers = (1 - lr * SPECTRUM) ** np.arange(61)[:, None]
    expected = (powers * (ROTATION.T @ START)) @ ROTATION.T
    np.testing.assert_allclose(r.path, expected, rtol=0, atol=1e-13 * powers.max() * 60)
    heights = 0.5 * np.sum(SPECTRUM * (expected @ ROTATION) ** 2, axis=1)
    np.testing.assert_allclose(r.losses, heights, rtol=1e-11, atol=1e-13)
    slopes = np.linalg.norm(SPECTRUM * (expected @ ROTATION), axis=1)
    np.testing.assert_allclose(r.grad_norms, slopes, rtol=1e-11, atol=1e-13)
    falls = np.diff(np.abs(r.path @ ROTATION[:, -1]))
    assert np.all(falls < 0) if part < 1 else np.all(falls > 0)


def by_hand(opt, steps):
    """The path, losses and rates of a loop that a user would write."""
    x, path, losses, lrs = START.copy(), [START.copy()], [quadric(START)], []
    for _ in range(steps):
        if isinstance(opt, gd.LBFGS | gd.Armijo):
            lrs.append(opt.lr)
            opt.step(x, closure=lambda: (quadric(x), quadric_grad(x)))
        else:
            opt.step(x, quadric_grad(x), loss=quadric(x))
            lrs.append(opt._rates()[0])
        path.append(x.copy())
        losses.append(quadric(x))
    return np.array(path), np.array(losses), np.array(lrs)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_path_is_that_of_a_loop_by_hand(make):
    path, losses, lrs = by_hand(make(), 12)
    r = minimize(quadric, START, optimizer=make(), steps=12, grad=quadric_grad)
    np.testing.assert_array_equal(r.path, path)
    np.testing.assert_array_equal(r.losses, losses)
    np.testing.assert_array_equal(r.lrs, lrs)
    assert r.optimizer.t == r.nit == 12


@pytest.mark.parametrize("name", ["SGD", "Adam", "LBFGS", "by_gradient"])
def test_gdcore_s_gradient_and_the_caller_s_lead_to_the_same_place(name):
    runs = [
        minimize(rosenbrock, [-1.2, 1.0], optimizer=OPTIMIZERS[name](), steps=20, grad=grad)
        for grad in (None, rosenbrock_grad)
    ]
    np.testing.assert_allclose(runs[0].path, runs[1].path, rtol=1e-8)
    assert [r.nfev for r in runs] == [runs[0].nfev] * 2


@pytest.mark.parametrize("start", [-1.9, -0.5, 0.3, 1.2])
def test_the_sextic_s_minima_are_found_from_several_starts(start):
    r = minimize(sextic, start, optimizer=gd.SGD(0.01), gtol=1e-8)
    known = np.array([extremum.point[0] for extremum in gd.datasets.sextic.minima])
    assert np.abs(known - r.x).min() < 1e-8
    assert r.success


def test_the_settings_are_copied_and_the_state_is_fresh():
    opt = gd.Adam(0.1)
    opt.step(np.ones(2), np.ones(2))
    before = opt.state_dict()
    r = minimize(quadric, START, optimizer=opt, steps=5)
    np.testing.assert_equal(opt.state_dict(), before)
    assert r.optimizer is not opt
    assert r.optimizer == opt
    assert r.optimizer.t == 5
    again = minimize(quadric, START, optimizer=opt, steps=5)
    np.testing.assert_array_equal(again.path, r.path)


def test_the_live_optimizer_goes_on_from_x():
    whole = minimize(quadric, START, optimizer=gd.Adam(0.1), steps=8)
    r = minimize(quadric, START, optimizer=gd.Adam(0.1), steps=5)
    for _ in range(3):
        r.optimizer.step(r.x, gd.grad(quadric)(r.x))
    np.testing.assert_array_equal(r.x, whole.x)


def test_document_003_in_float32():
    """8 -> 7.38, 6.8240666, 6.3255796 ... 2.0256863 and the losses, to the last digit printed."""
    xs = np.array([-1, 0, 1, 2, 3, 4], np.float32)
    ys = np.array([-3, -1, 1, 3, 5, 7], np.float32)

    def loss(W, b):
        return np.sum((xs * W + b - ys) ** 2) / 6

    b = np.array(-1, np.float32)
    r = minimize(loss, np.array(8, np.float32), args=(b,), optimizer=gd.SGD(0.01), steps=50)
    assert r.path.dtype == r.losses.dtype == r.x.dtype == np.float32
    ulp = np.spacing(np.float32(1))
    for values, printed in (
        (r.path[[1, 2, 3]], [7.38, 6.8240666, 6.3255796]),
        (r.losses[:3], [186.0, 149.54607, 120.236694]),
        (r.path[-3:], [2.0319479, 2.0286465, 2.0256863]),
        (r.losses[[-4, -3, -2]], [0.0065588956, 0.005273429, 0.004239871]),
    ):
        np.testing.assert_allclose(values, np.array(printed, np.float32), rtol=2 * ulp, atol=0)


# ---- Starting points -----------------------------------------------------------------------------


def test_a_number_gives_numbers():
    r = minimize(sextic, -1.5, steps=3)
    assert type(r.x) is type(r.jac) is type(r.fun) is np.float64
    assert r.path.shape == (4,)
    r = minimize(sextic, np.float32(-1.5), steps=3)
    assert type(r.x) is type(r.jac) is type(r.fun) is np.float32
    assert (r.path.dtype, r.losses.dtype) == (np.float32, np.float32)
    assert minimize(sextic, 1, steps=1).path.dtype == np.float64


def test_a_zero_dimensional_array_gives_such_arrays():
    r = minimize(sextic, np.array(-1.5), steps=3)
    assert isinstance(r.x, np.ndarray)
    assert isinstance(r.jac, np.ndarray)
    assert (r.x.shape, r.jac.shape, r.path.shape) == ((), (), (4,))


def test_a_list_of_numbers_is_an_array():
    r = minimize(lambda x: np.sum(sextic(x)), x0=[-1.5], optimizer=gd.SGD(0.01), gtol=1e-8)
    assert (r.x.shape, r.path.shape) == ((1,), (r.nit + 1, 1))
    one = minimize(lambda x: sextic(x), x0=[-1.5], optimizer=gd.SGD(0.01), gtol=1e-8)
    np.testing.assert_array_equal(one.path, r.path)
    assert np.ndim(one.fun) == 0


def test_a_tuple_is_one_argument_for_each_entry():
    def error(w, b, scale):
        return scale * (np.sum((w - 3) ** 2) + (b + 1) ** 2)

    r = minimize(error, (np.zeros((2, 2)), 4.0), args=(0.5,), optimizer=gd.SGD(0.5), steps=40)
    assert isinstance(r.x, tuple)
    w, b = r.x
    np.testing.assert_allclose(w, np.full((2, 2), 3.0))
    assert type(b) is np.float64
    assert b == pytest.approx(-1)
    assert [part.shape for part in r.path] == [(41, 2, 2), (41,)]
    assert [part.shape for part in r.jac] == [(2, 2), ()]
    alone = minimize(lambda w: np.sum(w**2), (np.ones(2),), grad=lambda w: 2 * w, steps=1)
    assert isinstance(alone.x, tuple)


def test_dicts_and_lists_of_arrays_are_a_single_argument():
    def f(p):
        return np.sum((p["W"] - 1) ** 2) + np.sum((p["b"][0] + 2) ** 2) + p["b"][1] ** 2

    x0 = {"W": np.zeros((2, 3)), "b": [np.zeros(2), 5.0]}
    kept = copy.deepcopy(x0)
    r = minimize(f, x0, optimizer=gd.SGD(0.4), steps=30)
    np.testing.assert_equal(x0, kept)
    np.testing.assert_allclose(r.x["W"], np.ones((2, 3)), atol=1e-9)
    assert isinstance(r.x["b"], list)
    np.testing.assert_allclose(r.x["b"][0], [-2, -2], atol=1e-9)
    assert r.path["W"].shape == (31, 2, 3)
    assert r.path["b"][1].shape == (31,)


def test_groups_freeze_parameters_which_then_do_not_count_in_the_norm():
    f = lambda p: np.sum(p["a"] ** 2) + 100 * p["b"] ** 2  # noqa: E731
    opt = gd.SGD(0.1, groups=[{"params": ["b"], "frozen": True}])
    r = minimize(f, {"a": np.ones(3), "b": 1.0}, optimizer=opt, gtol=1e-6)
    assert r.x["b"] == 1.0
    assert r.success
    assert r.grad_norms[0] == pytest.approx(2 * math.sqrt(3))
    assert r.jac["b"] == 200.0


@pytest.mark.parametrize(
    ("x0", "error", "text"),
    [
        ("one", TypeError, "x0 is "),
        (np.array([1j]), TypeError, "complex128"),
        (np.zeros(2, np.float16), TypeError, "float16"),
        ([], ValueError, "x0 is "),
        ({}, ValueError, "x0 is {}; at least one number"),
        ((), ValueError, "at least one number"),
        ((START, START), ValueError, "the same array"),
    ],
)
def test_what_cannot_be_a_start_is_refused(x0, error, text):
    with pytest.raises(error, match=text):
        minimize(lambda *x: 0.0, x0)


# ---- What is recorded ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "numbers"), [(1, range(8)), (3, [0, 3, 6, 7]), (7, [0, 7]), (50, [0, 7])]
)
def test_the_path_holds_the_start_every_record_th_point_and_the_last(record, numbers):
    whole = minimize(quadric, START, steps=7).path
    r = minimize(quadric, START, steps=7, record=record)
    np.testing.assert_array_equal(r.path, whole[list(numbers)])


def test_record_0_keeps_no_path():
    r = minimize(quadric, START, steps=7, record=0)
    assert r.path is None
    assert len(r.losses) == len(r.grad_norms) == len(r.lrs) + 1 == 8


def test_the_points_of_the_path_do_not_change_later():
    seen = []

    def f(x):
        seen.append(x)
        return quadric(x)

    r = minimize(f, START, grad=quadric_grad, steps=5)
    np.testing.assert_array_equal(seen, r.path)
    x = r.path[-1].copy()
    r.x[:] = 99
    np.testing.assert_array_equal(r.path[-1], x)


def test_no_steps_are_an_evaluation():
    r = minimize(quadric, START, steps=0)
    assert (r.nit, r.nfev, r.success) == (0, 1, True)
    assert r.fun == quadric(START)
    assert r.path.shape == (1, 3)
    assert r.lrs.shape == (0,)


@pytest.mark.parametrize("make", [gd.LBFGS, gd.Armijo])
def test_a_line_search_evaluates_no_point_twice(make):
    points = []

    def f(x):
        points.append(x.tobytes())
        return rosenbrock(x), rosenbrock_grad(x)

    r = minimize(f, [-1.2, 1.0], grad=True, optimizer=make(), steps=6)
    assert r.nfev == len(points)
    assert all(a != b for a, b in itertools.pairwise(points))
    assert rosenbrock(r.x) == r.fun == r.losses[-1]
    np.testing.assert_array_equal(r.jac, rosenbrock_grad(r.x))


@pytest.mark.parametrize(
    "make",
    [lambda: gd.EMA(gd.SGD(0.1), decay=0.5), lambda: gd.ASGD(0.1, t0=0.0), gd.ScheduleFreeSGD],
    ids=["EMA", "ASGD", "ScheduleFreeSGD"],
)
def test_where_a_rule_averages_x_is_the_average(make):
    opt, x = make(), START.copy()
    for _ in range(9):
        opt.step(x, quadric_grad(x))
    r = minimize(quadric, START, optimizer=make(), steps=9, grad=quadric_grad)
    np.testing.assert_array_equal(r.path[-1], x)
    np.testing.assert_array_equal(r.x, opt.averaged(x))
    assert r.fun == quadric(r.x) != r.losses[-1]
    np.testing.assert_array_equal(r.jac, quadric_grad(r.x))
    assert r.nfev == r.nit + 2


# ---- Ascent --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SGD", "Adam", "LBFGS", "plateau", "by_gradient"])
def test_maximize_is_minimize_of_the_negative(name):
    down = minimize(quadric, START, optimizer=OPTIMIZERS[name](), steps=9, gtol=1e-9)
    up = maximize(lambda x: -quadric(x), START, optimizer=OPTIMIZERS[name](), steps=9, gtol=1e-9)
    np.testing.assert_array_equal(up.path, down.path)
    np.testing.assert_array_equal(up.losses, -down.losses)
    np.testing.assert_array_equal(up.jac, -down.jac)
    np.testing.assert_array_equal(up.grad_norms, down.grad_norms)
    assert (up.fun, up.nfev, up.success) == (-down.fun, down.nfev, down.success)


@pytest.mark.parametrize("climb", [minimize, maximize])
@pytest.mark.parametrize("make", [gd.SGD, gd.LBFGS, lambda **k: gd.EMA(gd.SGD(**k))])
def test_an_optimizer_that_climbs_itself_is_refused(climb, make):
    with pytest.raises(ValueError, match=r"maximize=True; leave it out and call gd\.maximize"):
        climb(quadric, START, optimizer=make(maximize=True))


# ---- The loop in the core ------------------------------------------------------------------------


def nothing(x):
    """A callback: with one the loop goes step by step in Python."""


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("climb", [False, True])
@pytest.mark.parametrize(
    "limits",
    [
        {"steps": 25},
        {"steps": 25, "record": 4},
        {"steps": 25, "record": 0},
        {"steps": 400, "gtol": 0.3},
        {"steps": 400, "ftol": 1e-3},
        {"steps": 0},
    ],
    ids=str,
)
def test_the_core_s_loop_gives_the_bits_of_python_s(make, climb, limits):
    f, run = (quadric, minimize) if not climb else (lambda x: -quadric(x), maximize)
    fast = run(f, START, optimizer=make(), **limits)
    slow = run(f, START, optimizer=make(), callback=nothing, **limits)
    assert_same_result(fast, slow)


def assert_same_result(one, other):
    for name in ("x", "fun", "jac", "path", "losses", "grad_norms", "lrs"):
        np.testing.assert_equal(getattr(one, name), getattr(other, name))
    for name in ("nit", "nfev", "success", "message", "_ending"):
        assert getattr(one, name) == getattr(other, name)
    assert type(one.fun) is type(other.fun)
    np.testing.assert_equal(one.optimizer.state_dict(), other.optimizer.state_dict())
    assert one.optimizer.grad_norm == other.optimizer.grad_norm
    assert one.optimizer.lr == other.optimizer.lr


CONTAINERS = {
    "a number": (sextic, 1.2),
    "float32": (sextic, np.float32(1.2)),
    "two arguments": (lambda x, y: np.sum(x**2) * y**2 + np.sum(x), (np.ones(3), 0.5)),
    "a dict": (
        lambda p: np.sum(np.tanh(p["W"] @ p["b"][0]) ** 2) + p["b"][1] ** 2,
        {"W": np.linspace(-1, 1, 6).reshape(2, 3), "b": [np.arange(3.0), np.array(0.5)]},
    ),
    "both types": (
        lambda p: np.sum(p["a"] ** 2) + np.sum(p["b"] ** 4),
        {"a": np.ones(2, np.float32), "b": np.ones(3)},
    ),
    "an explosion": (lambda x: np.sum(sextic(x)), np.array([5.0, 0.1])),
    "outside f": (lambda x: np.sum(np.log(x)), np.array([0.3, 2.0])),
}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("make", [lambda: gd.SGD(0.05, momentum=0.5), lambda: gd.Adam(0.05)])
def test_the_core_s_loop_on_containers(name, make):
    f, x0 = CONTAINERS[name]
    fast = minimize(f, x0, optimizer=make(), steps=30, record=3)
    slow = minimize(f, x0, optimizer=make(), steps=30, record=3, callback=nothing)
    assert_same_result(fast, slow)


def test_the_core_s_loop_with_groups():
    def make():
        groups = [{"params": "a", "lr": 0.2}, {"params": "b", "frozen": True}]
        return gd.SGD(gd.schedules.exponential(0.1, 0.9), groups=groups)

    x0 = {"a": np.ones(2), "b": np.ones(2), "c": 3.0}
    f = lambda p: np.sum(p["a"] ** 2 * p["b"]) + p["c"] ** 2  # noqa: E731
    fast = minimize(f, x0, optimizer=make(), steps=20, gtol=1e-3)
    slow = minimize(f, x0, optimizer=make(), steps=20, gtol=1e-3, callback=nothing)
    assert_same_result(fast, slow)
    np.testing.assert_array_equal(fast.x["b"], [1, 1])


def test_the_core_s_loop_over_many_steps():
    """More than it takes in one call, and a record that does not divide them."""
    make = lambda: gd.SGD(gd.schedules.cosine(1e-4, 1e-6, 40_000))  # noqa: E731
    fast = minimize(sextic, 1.2, optimizer=make(), steps=40_001, record=777)
    slow = minimize(sextic, 1.2, optimizer=make(), steps=40_001, record=777, callback=nothing)
    assert_same_result(fast, slow)
