"""Random functions: NumPy's values, gradients as differences, compiled as traced, exact Hessian."""

import numpy as np
import pytest
from expressions import random_function
from hypothesis import given, note
from hypothesis import strategies as st

import gdcore as gd

SHAPES = ((), (1,), (3,), (5,), (2, 3), (3, 1), (2, 1, 2))


def point(r, shape, dtype=np.float64):
    return np.asarray([r.uniform(-1.5, 1.5) for _ in range(int(np.prod(shape)))], dtype).reshape(
        shape
    )


def complex_steps(f, x):
    """The gradient by steps along the imaginary axis, where the function is analytic."""
    slopes = np.empty(x.size)
    for i in range(x.size):
        z = x.astype(complex).ravel()
        z[i] += 1e-30j
        slopes[i] = np.imag(f(z.reshape(x.shape))) / 1e-30
    return slopes.reshape(x.shape)


def differences(f, x, h=1e-5):
    slopes = np.empty((x.size, *np.shape(f(x))))
    for i in range(x.size):
        ends = []
        for sign in (1, -1):
            z = x.copy().ravel()
            z[i] += sign * h
            ends.append(f(z.reshape(x.shape)))
        slopes[i] = (ends[0] - ends[1]) / (2 * h)
    return slopes


@given(
    st.randoms(use_true_random=False), st.sampled_from(SHAPES), st.integers(1, 12), st.booleans()
)
def test_values_are_numpys(r, shape, length, bumpy):
    f, text = random_function(r, shape, length, bumpy)
    note(text)
    for dtype in (np.float64, np.float32):
        x = point(r, shape, dtype)
        value, gradient = gd.value_and_grad(f)(x)
        with np.errstate(all="ignore"):
            expected = f(x)
        assert np.asarray(expected).dtype == value.dtype
        assert gradient.dtype == dtype
        assert gradient.shape == shape
        tolerance = 2e-5 if dtype is np.float32 else 1e-13
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance * (length + 1))


@given(st.randoms(use_true_random=False), st.sampled_from(SHAPES), st.integers(1, 12))
def test_gradients_are_those_of_differences(r, shape, length):
    f, text = random_function(r, shape, length)
    note(text)
    x = point(r, shape)
    _, gradient = gd.value_and_grad(f)(x)
    expected = differences(f, x).reshape(shape)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8 * scale)


@given(
    st.randoms(use_true_random=False), st.sampled_from(SHAPES), st.integers(1, 12), st.booleans()
)
def test_compiled_and_traced_give_the_same_bits(r, shape, length, bumpy):
    f, text = random_function(r, shape, length, bumpy)
    note(text)
    fast = gd.compile(f)
    for dtype in (np.float64, np.float32):
        x = point(r, shape, dtype)
        traced, compiled = gd.value_and_grad(f)(x), gd.value_and_grad(fast)(x)
        assert traced[0].tobytes() == compiled[0].tobytes()
        assert traced[1].tobytes() == compiled[1].tobytes()
        assert traced[1].dtype == compiled[1].dtype
        assert traced[1].shape == compiled[1].shape
        again = point(r, shape, dtype)
        assert (
            gd.value_and_grad(f)(again)[1].tobytes() == gd.value_and_grad(fast)(again)[1].tobytes()
        )
        assert np.asarray(fast(x)).tobytes() == traced[0].tobytes()


@given(st.randoms(use_true_random=False), st.sampled_from(SHAPES), st.integers(1, 8))
def test_hessian_products_are_those_of_the_hessian_and_of_differences(r, shape, length):
    f, text = random_function(r, shape, length)
    note(text)
    x, v = point(r, shape), point(r, shape)
    product = gd.hvp(f, x, v)
    dense = gd.hessian(f)(x).reshape(x.size, x.size)
    scale = max(1.0, np.abs(dense).max())
    np.testing.assert_allclose(dense, dense.T, rtol=1e-9, atol=1e-11 * scale)
    np.testing.assert_allclose(
        np.ravel(product), dense @ np.ravel(v), rtol=1e-9, atol=1e-11 * scale
    )
    gradient = gd.grad(f)
    by_differences = differences(lambda z: np.asarray(gradient(z)).ravel(), x)
    np.testing.assert_allclose(dense, by_differences, rtol=1e-5, atol=1e-7 * scale)


@pytest.mark.parametrize("name", ["sin", "bell", "root", "rest", "logistic", "cube"])
def test_gradients_agree_with_complex_steps(name):
    from expressions import SMOOTH

    x = np.linspace(-1.4, 1.3, 7)
    f = SMOOTH[name]
    expected = complex_steps(lambda z: np.sum(f(z)), x)
    np.testing.assert_allclose(gd.grad(lambda z: np.sum(f(z)))(x), expected, rtol=1e-13, atol=1e-14)


# ---- A quadratic, whose descent has a closed form ------------------------------------------------

SPECTRA = {"even": [1.0, 2.0, 4.0], "steep": [0.01, 1.0, 25.0], "flat": [0.0, 0.5, 3.0]}


def quadratic(eigenvalues, seed=0):
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))
    return turned, turned @ np.diag(eigenvalues) @ turned.T


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("part", [0.1, 0.9, 1.1])
def test_iterates_on_a_quadratic_have_the_closed_form(spectrum, part):
    """x_k = (I - 2 lr A)^k x_0 for f = x' A x; rates below 2 / lambda_max converge, above diverge.

    The gradient is 2 A x, so that lambda_max of the Hessian is 2 max(eigenvalues).
    """
    eigenvalues = np.array(SPECTRA[spectrum])
    turned, A = quadratic(eigenvalues)
    lr = part * 2 / (2 * eigenvalues.max())
    x0 = np.array([1.0, -2.0, 0.5])
    r = gd.minimize(lambda x: x @ A @ x, x0, optimizer=gd.SGD(lr), steps=60)
    k = np.arange(61)[:, None]
    expected = ((1 - 2 * lr * eigenvalues) ** k * (turned.T @ x0)) @ turned.T
    np.testing.assert_allclose(r.path, expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max())
    along = np.abs(turned.T @ r.x)[np.argmax(eigenvalues)]
    start = np.abs(turned.T @ x0)[np.argmax(eigenvalues)]
    assert (along < start) == (part < 1)
    assert r.losses[-1] < r.losses[0] if part < 1 else r.losses[-1] > r.losses[0]
