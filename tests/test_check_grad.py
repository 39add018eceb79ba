"""check_grad: right gradients pass, wrong ones are found, and doubt is not called either."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gdcore as gd
from gdcore.autodiff._check import check_grad

RIGHT = {
    "cubes": (lambda x: np.sum(x**3), lambda x: 3 * x**2, np.linspace(-2, 2, 7)),
    "exp": (np.exp, np.exp, 20.0),
    "log near its edge": (np.log, lambda x: 1 / x, 1e-4),
    "root near its edge": (np.sqrt, lambda x: 0.5 / np.sqrt(x), 1e-9),
    "fast waves": (lambda x: np.sin(1e4 * x), lambda x: 1e4 * np.cos(1e4 * x), 0.3),
    "period of the steps": (
        lambda x: np.sin(2000 * np.pi * x),
        lambda x: 2000 * np.pi * np.cos(2000 * np.pi * x),
        0.3,
    ),
    "a minimum": (lambda x: x**2, lambda x: 2 * x, 0.0),
    "far away": (lambda x: (x - 1e6) ** 2, lambda x: 2 * (x - 1e6), 1e6 + 3),
    "many scales": (lambda x: x @ x, lambda x: 2 * x, np.array([1e-6, 1.0, 1e6])),
    "a constant": (lambda x: 3.0, lambda x: 0.0 * x, np.ones(3)),
    "in two arguments": (lambda x, y: x**2 * y, lambda x, y: (2 * x * y, x**2), (1.5, 2.0)),
    "a dict": (
        lambda p: p["a"] @ p["a"] + 3 * p["b"],
        lambda p: {"a": 2 * p["a"], "b": 3.0},
        {"a": np.ones(2), "b": 1.0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_pass(name):
    f, grad, x = RIGHT[name]
    check = check_grad(f, grad, x)
    assert check, check.message
    assert check.ok is True
    assert check.message.startswith("right")


@pytest.mark.parametrize("name", [n for n in RIGHT if n not in ("a constant",)])
def test_the_same_gradients_a_little_wrong_do_not(name):
    f, grad, x = RIGHT[name]

    def wrong(*point):
        return scaled(grad(*point))

    def scaled(g):
        if isinstance(g, tuple | dict):
            entries = g.items() if isinstance(g, dict) else enumerate(g)
            changed = {key: scaled(value) for key, value in entries}
            return changed if isinstance(g, dict) else tuple(changed.values())
        return 1.01 * g + 1e-3 * (name == "a minimum")

    check = check_grad(f, wrong, x)
    assert not check
    assert check.message.startswith("wrong at ")
    assert check.max_error > 0


@pytest.mark.parametrize("surface", ["peaks", "rosenbrock", "himmelblau", "beale", "ackley"])
def test_the_surfaces_have_right_gradients(surface, rng):
    f = getattr(gd.datasets, surface)
    for point in rng.uniform(-2, 2, (20, 2)):
        check = check_grad(f, f.grad, point)
        assert check, check.message
        assert check.max_error <= 1e-6 * max(1, np.abs(f.grad(point)).max())


def test_gdcore_s_own_gradient_is_checked_without_one():
    W = np.linspace(-1, 1, 6).reshape(2, 3)
    f = lambda p: np.sum(np.tanh(p["W"] @ np.arange(3.0) + p["b"]) ** 2)  # noqa: E731
    assert check_grad(f, None, {"W": W, "b": 0.5})
    assert check_grad(lambda x: (x**2, 2 * x), True, 3.0)
    assert not check_grad(lambda x: (x**2, 3 * x), True, 3.0)


def test_the_message_names_the_worst_coordinates():
    def grad(p):
        g = 2 * p["W"]
        g[1, 2] += 0.5
        g[0, 0] += 0.1
        return {"W": g, "b": (np.ones(1),)}

    x = {"W": np.ones((2, 3)), "b": (np.zeros(1),)}
    check = check_grad(lambda p: np.sum(p["W"] ** 2) + p["b"][0][0], grad, x)
    assert check.where == "x['W'][1, 2]"
    assert check.max_error == pytest.approx(0.5)
    assert check.message.startswith(
        "wrong at 2 of 7 coordinates: x['W'][1, 2]: 2.5 where differences give 2 +- "
    )
    assert "; x['W'][0, 0]: 2.1 where differences give 2 +- " in check.message
    many = check_grad(lambda x: np.sum(x), lambda x: 2 + 0 * x, np.zeros(9))
    assert many.message.endswith("; ...")
    assert check_grad(lambda x: x, lambda x: 2.0, 1.0).message.startswith(
        "wrong at 1 of 1 coordinates: x: 2 where differences give 1 +- "
    )


# ---- float32 -------------------------------------------------------------------------------------


def test_float32_gradients_pass_and_wrong_ones_do_not(rng):
    X = rng.normal(size=(20, 3)).astype(np.float32)
    y = rng.normal(size=20).astype(np.float32)
    w = rng.normal(size=3).astype(np.float32)
    f = lambda w: np.mean((X @ w - y) ** 2)  # noqa: E731
    grad = lambda w: 2 * X.T @ (X @ w - y) / np.float32(20)  # noqa: E731
    assert check_grad(f, grad, w)
    assert check_grad(f, None, w)
    assert not check_grad(f, lambda w: grad(w) * np.float32(1.05), w)


def test_float32_that_cannot_tell_says_so():
    """Paddle's and chainer's users took this for a wrong gradient."""
    x = np.float32([0.5, 1.0, 1.5])
    for grad in (lambda x: 2 * x, lambda x: 2.1 * x):
        check = check_grad(lambda x: np.float32(1e6) + x @ x, grad, x)
        assert check
        assert "cannot tell at " in check.message
        assert "the step is too small for float32, in which f = 1e+06 is known to 0.1 only" in (
            check.message
        )
        assert check.message.endswith("check in float64")
    assert check_grad(lambda x: 1e6 + x @ x, lambda x: 2 * x, x.astype(np.float64)).message == (
        "right at all 3 coordinates"
    )
    assert not check_grad(lambda x: 1e6 + x @ x, lambda x: 2.1 * x, x.astype(np.float64))


def test_float64_can_be_too_coarse_as_well():
    check = check_grad(lambda x: 1e18 + x, lambda x: 1.0, 0.5)
    assert check
    assert "too small for float64" in check.message
    assert "take away what f has as a large constant" in check.message


# ---- Kinks and edges -----------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [-1.0, 0.0, 0.3, 1.0])
def test_any_slope_between_the_sides_of_a_kink_is_right(slope):
    check = check_grad(np.abs, lambda x: slope, 0.0)
    assert check
    told = " (f has a kink at x; any slope between is right)"
    assert check.message == "right" + told * (slope != 0)  # differences give 0 there
    assert not check_grad(np.abs, lambda x: 1.5, 0.0)


@pytest.mark.parametrize("distance", [1e-5, 1e-3, 0.1])
def test_beside_a_kink_there_is_one_slope(distance):
    relu = lambda x: np.maximum(x, 0)  # noqa: E731
    assert check_grad(relu, lambda x: 1.0, distance).message == "right"
    assert not check_grad(relu, lambda x: 0.5, distance)
    assert check_grad(relu, lambda x: 0.0, -distance).message == "right"


def test_where_f_ends_nothing_can_be_told():
    check = check_grad(np.sqrt, lambda x: math.inf, 0.0)
    assert check
    assert check.message == "cannot tell at x: f is not finite beside it"
    assert not check_grad(np.sqrt, lambda x: math.nan, 1.0)
    with pytest.raises(ValueError, match="f is nan at x; a point where it is finite is wanted"):
        check_grad(np.log, lambda x: 1 / x, -1.0)


@pytest.mark.parametrize(
    ("f", "grad", "x", "error", "text"),
    [
        (3, None, 1.0, TypeError, r"f is 3; a function to call as f\(x\)"),
        (np.sum, lambda x: x[:1], np.ones(2), ValueError, r"has shape \(1,\) but x has \(2,\)"),
        (np.sum, "mine", np.ones(2), TypeError, "grad is 'mine'"),
        (lambda x: x, lambda x: x, np.ones(2), TypeError, r"shape \(2,\); a single number"),
    ],
)
def test_what_cannot_be_checked_is_refused(f, grad, x, error, text):
    with pytest.raises(error, match=text):
        check_grad(f, grad, x)


def test_the_point_is_left_alone():
    x = np.array([1.0, 2.0])
    check_grad(lambda x: np.sum(x**3), lambda x: 3 * x**2, x)
    np.testing.assert_array_equal(x, [1.0, 2.0])


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=4),
    st.floats(-1e3, 1e3),
    st.integers(0, 3),
    st.sampled_from([0.0, 1e-3, 0.1]),
)
def test_polynomials(coefficients, constant, place, wrong):
    """Right ones pass, whatever their size; an error of 1e-3 of max(1, |f'|) is found."""
    p = np.polynomial.Polynomial([constant, *coefficients])
    slope = p.deriv()
    x = 0.37 * (place + 1)
    check = check_grad(p, lambda x: slope(x) + wrong * max(1, abs(slope(x))), x)
    assert check.ok == (wrong == 0), check.message
