"""minimize and maximize: the paths they take, when they end and what they say, what they accept."""

import copy
import itertools
import math
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest

import gdcore as gd
from gdcore._result import Reason
from gdcore.descent import maximize, minimize

SPECTRUM = np.array([0.5, 1.0, 4.0])
ROTATION = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
MATRIX = ROTATION @ np.diag(SPECTRUM) @ ROTATION.T
START = np.array([1.0, -2.0, 0.5])


def sextic(x):
    return x**6 - 5 * x**4 + 4 * x**2


def sextic_slope(x):
    return 6 * x**5 - 20 * x**3 + 8 * x


def quadric(x):
    return 0.5 * (x @ MATRIX @ x)


def quadric_grad(x):
    return MATRIX @ x


def rosenbrock(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def rosenbrock_grad(p):
    v = p[1] - p[0] ** 2
    return np.array([-2 * (1 - p[0]) - 400 * p[0] * v, 200 * v])


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


OPTIMIZERS = {
    **{row["class"]: lambda row=row: getattr(gd, row["class"])() for row in gd._core.OPTIMIZERS},
    "LBFGS": lambda: gd.LBFGS(max_iter=2),
    "Armijo": gd.Armijo,
    "cosine": lambda: gd.SGD(gd.schedules.cosine(0.1, 0.01, 30)),
    "one_cycle": lambda: gd.Adam(gd.schedules.one_cycle(0.1, 30)),
    "by_gradient": lambda: gd.SGD(gd.schedules.by_gradient(scale=0.1, max=0.3)),
    "plateau": lambda: gd.SGD(gd.schedules.plateau(0.6, patience=0, threshold=0.1)),
    "a function": lambda: gd.SGD(lambda t: 0.1 / (1 + t), momentum=0.5),
    "clipping": lambda: gd.SGD(0.1, global_clip_norm=0.5),
    "a box": lambda: gd.SGD(0.1, constraint=gd.constraints.box(-1.5, 0.7)),
}


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


# ---- Endings -------------------------------------------------------------------------------------


def test_it_ends_at_the_first_gradient_norm_within_gtol():
    r = minimize(quadric, START, optimizer=gd.SGD(0.3), gtol=1e-3)
    assert np.all(r.grad_norms[:-1] > 1e-3)
    assert r.grad_norms[-1] <= 1e-3
    assert r.success
    norm = f"{r.grad_norms[-1]:.6g}"
    assert r.message == f"gradient norm {norm} is at most gtol = 0.001 after {r.nit} steps"


def test_a_start_within_gtol_takes_no_step():
    r = minimize(lambda x: np.cos(2 * np.pi * x) + x**2, 0.0, gtol=1e-6)
    assert (r.nit, r.nfev, r.success) == (0, 1, True)
    assert "no step was taken (x0 is a minimum, a maximum or a saddle" in r.message


def test_it_ends_at_the_first_change_within_ftol():
    r = minimize(quadric, START, optimizer=gd.SGD(0.3), ftol=1e-6)
    changes = np.abs(np.diff(r.losses))
    allowed = 1e-6 * np.maximum(1, np.maximum(abs(r.losses[1:]), abs(r.losses[:-1])))
    assert np.all(changes[:-1] > allowed[:-1])
    assert changes[-1] <= allowed[-1]
    assert r.success
    assert f"in step {r.nit}, at most ftol = 1e-06" in r.message


def test_tolerances_that_are_not_met_are_named():
    r = minimize(quadric, START, steps=4, gtol=1e-9, ftol=1e-12)
    assert not r.success
    assert r.message.startswith("stopped after 4 steps: the gradient norm ")
    assert "still above gtol = 1e-09" in r.message
    assert "f still changes by" in r.message
    assert minimize(quadric, START, steps=4).success
    assert minimize(quadric, START, steps=1).message == "stopped after 1 step as asked"


def test_it_ends_when_the_time_is_over():
    begun = time.perf_counter()
    r = minimize(quadric, START, steps=10**9, max_seconds=0.05, record=0)
    assert 0.05 <= time.perf_counter() - begun < 5
    assert r.success
    assert r.message == f"max_seconds = 0.05 were over after {r.nit} steps"
    assert not minimize(quadric, START, steps=10**9, max_seconds=0.0, gtol=1e-12).success


@pytest.mark.parametrize("grad", [None, sextic_slope], ids=["gdcore's", "own"])
def test_an_explosion_ends_without_a_warning(grad):
    with np.errstate(all="raise"):
        r = minimize(sextic, 2.0, optimizer=gd.SGD(0.3), grad=grad)
    assert not r.success
    assert not np.isfinite(r.losses[-1])
    assert np.isfinite(r.losses[:-1]).all()
    assert len(r.path) == len(r.losses) == r.nit + 1
    assert f"after {r.nit} steps, at x = " in r.message
    assert r.message.endswith("the rate is too large")


def test_an_overflow_of_python_s_own_is_an_explosion():
    """math.exp raises where NumPy gives an infinity."""
    f, slope = (lambda x: math.exp(float(x) ** 2)), (lambda x: 2 * x * math.exp(float(x) ** 2))
    r = minimize(f, 1.5, grad=slope, optimizer=gd.SGD(10.0))
    assert not r.success
    assert "OverflowError in f: math range error" in r.message


def test_a_start_where_f_is_undefined_is_named():
    r = minimize(np.log, -2.0)
    assert (r.nit, r.success) == (0, False)
    assert r.message == "f is nan at x0 = -2: start where f and its gradient are finite"
    r = minimize(np.sqrt, 0.0)
    assert "the gradient is not finite, while f = 0, at x0 = 0" in r.message


def test_a_point_at_infinity_is_no_minimum():
    r = minimize(lambda x: x, 0.0, grad=lambda x: 1.0 + 0 * x, optimizer=gd.SGD(1e308), steps=10)
    assert not r.success
    r = minimize(lambda x: 0.0, 1e308, grad=lambda x: -1e308, optimizer=gd.SGD(1.0), steps=3)
    assert np.isinf(r.x)
    assert not r.success
    assert "x is not finite" in r.message


def test_a_rise_is_mentioned():
    r = minimize(quadric, START, optimizer=gd.SGD(0.51), steps=50)
    assert r.success
    assert "as asked; f rose from" in r.message
    up = maximize(lambda x: -quadric(x), START, optimizer=gd.SGD(0.51), steps=50)
    assert "; f fell from" in up.message


# ---- Callbacks -----------------------------------------------------------------------------------


def test_a_callback_gets_x_or_the_intermediate_result_as_scipy_has_it():
    points, states = [], []
    r = minimize(quadric, START, steps=4, callback=points.append)
    np.testing.assert_array_equal(points, r.path[1:])

    def watch(intermediate_result):
        states.append(intermediate_result)

    r = minimize(quadric, START, steps=4, callback=watch)
    assert [s.nit for s in states] == [1, 2, 3, 4]
    assert [s.fun for s in states] == list(r.losses[1:])
    assert [s.grad_norm for s in states] == list(r.grad_norms[1:])
    assert [s.lr for s in states] == list(r.lrs)
    np.testing.assert_array_equal([s.x for s in states], r.path[1:])
    assert states[0].optimizer is r.optimizer


@pytest.mark.parametrize("answer", [True, np.True_, StopIteration])
def test_a_callback_ends_the_descent(answer):
    def callback(x):
        if x[0] < 0.97:
            if answer is StopIteration:
                raise StopIteration
            return answer
        return 1  # no answer

    r = minimize(quadric, START, callback=callback)
    assert r.path[-1, 0] < 0.97 <= r.path[-2, 0]
    assert r.message == f"the callback stopped it after {r.nit} steps"
    assert r.success
    assert not minimize(quadric, START, callback=callback, gtol=1e-9).success


def test_a_callback_may_set_the_rate():
    def halve(intermediate_result):
        intermediate_result.optimizer.lr /= 2

    r = minimize(quadric, START, optimizer=gd.SGD(0.1), steps=4, callback=halve)
    np.testing.assert_array_equal(r.lrs, [0.1, 0.05, 0.025, 0.0125])


# ---- Interrupts ----------------------------------------------------------------------------------


class Interrupting:
    """quadric that raises KeyboardInterrupt in its n-th call, once."""

    def __init__(self, n):
        self.calls, self.n = 0, n

    def __call__(self, x):
        self.calls += 1
        if self.calls == self.n:
            raise KeyboardInterrupt
        return quadric(x), quadric_grad(x)


@pytest.mark.parametrize("make", [lambda: gd.Adam(0.1), gd.LBFGS, gd.Armijo])
@pytest.mark.parametrize("n", [1, 2, 4, 5, 6])
def test_an_interrupt_carries_the_result_up_to_a_completed_step(make, n):
    whole = minimize(lambda x: (quadric(x), quadric_grad(x)), START, grad=True, optimizer=make())
    with pytest.raises(KeyboardInterrupt) as caught:
        minimize(Interrupting(n), START, grad=True, optimizer=make())
    r = caught.value.result
    np.testing.assert_array_equal(r.path, whole.path[: r.nit + 1])
    np.testing.assert_array_equal(r.losses, whole.losses[: r.nit + 1])
    np.testing.assert_array_equal(r.x, whole.path[r.nit])
    assert r.optimizer.t == r.nit
    assert r.fun == r.losses[-1]
    np.testing.assert_array_equal(r.jac, quadric_grad(r.x))
    assert r.message == f"interrupted after {r.nit} step{'s' * (r.nit != 1)}"
    assert r._ending.reason is Reason.INTERRUPT


@pytest.mark.parametrize("grad", [None, quadric_grad], ids=["gdcore's", "own"])
@pytest.mark.parametrize("record", [0, 1000])
def test_ctrl_c_is_seen_at_once(grad, record):
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    begun = time.perf_counter()
    with pytest.raises(KeyboardInterrupt) as caught:
        minimize(quadric, START, optimizer=gd.Adam(1e-9), steps=10**9, grad=grad, record=record)
    assert time.perf_counter() - begun < 2
    timer.join()
    r = caught.value.result
    assert r.nit == r.optimizer.t > 0
    assert len(r.losses) == r.nit + 1
    assert r.fun == r.losses[-1]
    if record:
        assert len(r.path) == r.nit // 1000 + 1 + (r.nit % 1000 > 0)
        np.testing.assert_array_equal(r.path[-1], r.x)


# ---- Gradients of the caller's own ---------------------------------------------------------------


def test_jax_s_gradient():
    jax = pytest.importorskip("jax")
    A = jax.numpy.asarray(MATRIX.astype(np.float32))
    f = lambda x: 0.5 * jax.numpy.dot(x, A @ x)  # noqa: E731
    x0 = START.astype(np.float32)
    r = minimize(f, x0, grad=jax.grad(f), optimizer=gd.SGD(0.1), steps=20)
    own = minimize(quadric, x0, grad=quadric_grad, optimizer=gd.SGD(0.1), steps=20)
    np.testing.assert_allclose(r.path, own.path, rtol=1e-4, atol=1e-5)
    assert r.losses.dtype == r.path.dtype == np.float32
    both = minimize(jax.value_and_grad(f), x0, grad=True, optimizer=gd.SGD(0.1), steps=20)
    np.testing.assert_allclose(both.path, r.path, rtol=1e-5, atol=1e-6)
    double = minimize(f, START, grad=jax.grad(f), optimizer=gd.SGD(0.1), steps=2)
    assert double.path.dtype == np.float64
    assert "gradients came as float32, less precise than the variables" in double.message


def test_autograd_s_gradient():
    autograd = pytest.importorskip("autograd")
    f = lambda x: autograd.numpy.sum(autograd.numpy.tanh(x) ** 2)  # noqa: E731
    r = minimize(f, START, grad=autograd.grad(f), optimizer=gd.SGD(0.1), steps=20)
    own = minimize(lambda x: np.sum(np.tanh(x) ** 2), START, optimizer=gd.SGD(0.1), steps=20)
    np.testing.assert_allclose(r.path, own.path, rtol=1e-12)


def test_torch_s_gradient():
    torch = pytest.importorskip("torch")
    A = torch.tensor(MATRIX)

    def f(x, y):
        return 0.5 * torch.dot(x, A @ x) + torch.sin(y)

    grad = torch.func.grad(f, argnums=(0, 1))
    r = minimize(f, (START, 0.5), grad=grad, optimizer=gd.SGD(0.1), steps=20)
    own = minimize(
        lambda x, y: quadric(x) + np.sin(y), (START, 0.5), optimizer=gd.SGD(0.1), steps=20
    )
    for one, other in zip(r.path, own.path, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)

    def backward(x):
        x = torch.tensor(x, requires_grad=True)
        value = torch.dot(x, A @ x) / 2
        value.backward()
        return value, x.grad

    r = minimize(backward, START, grad=True, optimizer=gd.SGD(0.1), steps=20)
    np.testing.assert_allclose(r.path[:, 0], own.path[0][:, 0], rtol=1e-12)


def test_an_error_of_the_caller_s_function_comes_through():
    def broken(x):
        raise IndexError("mine")

    with pytest.raises(IndexError, match="mine"):
        minimize(broken, START, grad=quadric_grad)


@pytest.mark.parametrize(
    ("x0", "grad", "error", "text"),
    [
        (START, lambda x: x[:2], ValueError, r"the gradient has shape \(2,\) but x0 has \(3,\)"),
        (START, lambda x: None, TypeError, "the gradient is NoneType"),
        (START, lambda x: x + 1j, TypeError, "the gradient is complex128"),
        ((1.0, 2.0), lambda x, y: (x,), ValueError, "a tuple of 1; the structure of x0, a tuple"),
        ({"a": 1.0}, lambda p: {"b": 1.0}, ValueError, "a dict of 'b'"),
        ({"a": 1.0}, lambda p: {"a": 1.0, "b": 1.0}, ValueError, "a dict of 'a', 'b'"),
        (START, "2-point", TypeError, "grad is '2-point'; accepted are None"),
        (START, False, TypeError, "grad is False"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(x0, grad, error, text):
    with pytest.raises(error, match=text):
        minimize(lambda *x: 0.0, x0, grad=grad)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (np.ones(3), TypeError, r"f returned an array of shape \(3,\); a single number"),
        (1j, TypeError, "what f returned is complex128"),
        (None, TypeError, "what f returned is NoneType"),
    ],
)
def test_values_that_are_no_number_are_refused(value, error, text):
    with pytest.raises(error, match=text):
        minimize(lambda x: value, START, grad=quadric_grad)


def test_grad_true_wants_a_pair():
    with pytest.raises(TypeError, match=r"f returned one float64; with grad=True a tuple"):
        minimize(quadric, START, grad=True)


# ---- Arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"lr": 0.1}, TypeError, r"unknown argument lr=.*here it is optimizer=gd\.SGD\(lr\)"),
        ({"tol": 0.1}, TypeError, "here it is gtol"),
        ({"maxiter": 3}, TypeError, "here it is steps"),
        ({"jac": None}, TypeError, "here it is grad"),
        ({"recrod": 3}, TypeError, "here it is record"),
        ({"steps": -1}, ValueError, "steps is -1; an integer >= 0"),
        ({"steps": 2.0}, TypeError, "steps is 2.0; an integer >= 0"),
        ({"record": True}, TypeError, "record is True"),
        ({"gtol": -1.0}, ValueError, "gtol is -1.0; a finite number >= 0, or None"),
        ({"gtol": math.nan}, ValueError, "gtol is nan"),
        ({"ftol": "small"}, TypeError, "ftol is 'small'"),
        ({"max_seconds": math.inf}, ValueError, "max_seconds is inf"),
        ({"optimizer": gd.SGD}, TypeError, r"optimizer is the class SGD; .* such as gd\.SGD\(\)"),
        ({"optimizer": "adam"}, TypeError, r"optimizer is 'adam'; an optimizer is accepted"),
        ({"callback": 3}, TypeError, "callback is 3"),
        ({"f": 3.0}, TypeError, r"f is 3.0; a function to call as f\(x0\)"),
    ],
)
@pytest.mark.parametrize("call", [minimize, maximize])
def test_arguments_that_cannot_be_used_are_named(call, given, error, text):
    with pytest.raises(error, match=text):
        call(**{"f": quadric, "x0": START, **given})


def test_a_single_further_argument_needs_no_tuple():
    r = minimize(lambda x, c: (x - c) ** 2, 0.0, args=3.0, optimizer=gd.SGD(0.4), steps=50)
    assert r.x == pytest.approx(3.0)


# ---- Results -------------------------------------------------------------------------------------


def test_results_pickle_deepcopy_and_print():
    r = minimize(lambda x: quadric(x), START, optimizer=gd.Adam(0.1), steps=5)
    for other in (pickle.loads(pickle.dumps(r)), copy.deepcopy(r)):
        for name in ("x", "fun", "jac", "nit", "nfev", "path", "losses", "grad_norms", "lrs"):
            np.testing.assert_array_equal(getattr(other, name), getattr(r, name))
        assert other.optimizer == r.optimizer
        assert other.optimizer.t == 5
        assert other.optimizer is not r.optimizer
        assert repr(other) == repr(r)
    text = repr(r)
    assert text.startswith("message: stopped after 5 steps as asked\nsuccess: True\n    fun: ")
    assert f"losses: {r.losses[0]:.6g} ... {r.losses[-1]:.6g} (6 values)" in text
    assert "opt: Adam(lr=0.1)" in text


def test_large_results_print_short():
    r = minimize(lambda p: sum(np.sum(a**2) for a in p), [np.ones(99)] + [1.0] * 9, steps=1)
    assert len(repr(r).splitlines()) < 30
    assert "arrays more" in repr(r)


def test_a_result_draws_its_path_or_its_losses():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    def drawn(*args, **given):
        return list(minimize(*args, steps=5, **given).plot(Figure().subplots()).artists)

    assert drawn(sextic, 1.2) == ["function", "descent", "descent start", "descent end"]
    assert drawn(lambda x: np.sum(x**4), [1.2])[0] == "function"
    assert drawn(rosenbrock, [-0.2, 0.5], optimizer=gd.SGD(1e-3))[0] == "function"
    assert drawn(lambda x, y: x**2 + y**2, (1.0, 2.0))[0] == "function"
    assert drawn(lambda p: p["x"] ** 2 + p["y"][0] ** 2, {"x": 1.0, "y": np.ones(1)})[0] == (
        "function"
    )
    assert drawn(quadric, START) == ["loss"]
    assert drawn(sextic, 1.2, record=0) == ["loss"]
    r = pickle.loads(pickle.dumps(minimize(sextic, 1.2, steps=5)))
    assert "function" not in r.plot(Figure().subplots()).artists


def test_a_result_without_path_cannot_be_drawn_as_one():
    pytest.importorskip("matplotlib")
    r = minimize(sextic, 1.2, steps=5, record=0)
    with pytest.raises(ValueError, match="was run with record=0"):
        gd.plot.path(r)


def test_contours_take_results():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    runs = {
        "by two": minimize(lambda x, y: x**2 + y**2, (1.0, 0.5), steps=3),
        "by one": minimize(lambda p: np.sum(p**2), [-1.0, 0.5], steps=3),
    }
    display = gd.plot.contour(
        lambda x, y: x**2 + y**2, (-2, 2), (-2, 2), runs, ax=Figure().subplots(), points=20
    )
    for name, r in runs.items():
        x, y = display.artists[name].get_xdata(), display.artists[name].get_ydata()
        path = np.stack(r.path, axis=-1) if isinstance(r.path, tuple) else r.path
        np.testing.assert_array_equal(np.stack([x, y], axis=-1), path)


# ---- Functions that cannot be compiled -----------------------------------------------------------


def test_a_function_that_branches_on_values_is_traced_at_each_step():
    """Huber's, written with a branch."""
    huber = lambda x: 0.5 * x**2 if abs(x) <= 1 else abs(x) - 0.5  # noqa: E731
    r = minimize(huber, 3.0, optimizer=gd.SGD(0.5), steps=20)
    np.testing.assert_array_equal(r.path[:6], [3.0, 2.5, 2.0, 1.5, 1.0, 0.5])
    np.testing.assert_array_equal(r.losses[:6], [2.5, 2.0, 1.5, 1.0, 0.5, 0.125])


def test_what_cannot_be_differentiated_is_an_error_of_the_function_s_line():
    with pytest.raises(TypeError, match=r"float\(\.\.\.\) makes a plain number of a traced value"):
        minimize(lambda x: math.sin(float(x)), 1.0)


def test_compiled_functions_and_captured_arrays():
    target = np.array([1.0, 2.0, 3.0])
    f = gd.compile(lambda x: np.sum((x - target) ** 2))
    r = minimize(f, START, optimizer=gd.SGD(0.25), steps=40)
    np.testing.assert_allclose(r.x, target, atol=1e-9)
    target[:] = 0
    np.testing.assert_allclose(minimize(f, START, optimizer=gd.SGD(0.25), steps=40).x, 0, atol=1e-9)


def test_compiled_and_traced_take_the_same_path():
    f = lambda p: np.sum(np.tanh(p["W"] @ START + p["b"]) ** 2)  # noqa: E731
    x0 = {"W": np.linspace(-1, 1, 6).reshape(2, 3), "b": 0.5}
    compiled = minimize(f, x0, optimizer=gd.Adam(0.05), steps=30)
    traced = minimize(gd.value_and_grad(f), x0, grad=True, optimizer=gd.Adam(0.05), steps=30)
    for name in x0:
        np.testing.assert_array_equal(compiled.path[name], traced.path[name])


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
