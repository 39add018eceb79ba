"""minimize and maximize: when they end and what they say, whose gradients they take, refusals."""

import copy
import math
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest
from descents import MATRIX, START, quadric, quadric_grad, rosenbrock, sextic, sextic_slope

import gdcore as gd
from gdcore._result import Reason
from gdcore.descent import maximize, minimize

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
