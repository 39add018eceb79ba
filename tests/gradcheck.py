"""Derivatives by differences, to compare with."""

import numpy as np


def gradient(f, x, step=None):
    """The gradient of a function of one array by central differences of fourth order."""
    x = np.asarray(x, np.float64)
    found = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        h = step or 1e-3 * max(0.1, abs(x[index]))

        def at(k, index=index, h=h):
            moved = x.copy()
            moved[index] += k * h
            return float(np.asarray(f(moved)).reshape(()))

        found[index] = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
    return found


def directional(f, x, v, step=1e-4):
    """The derivative of an array-valued function along v, by central differences."""
    return (np.asarray(f(x + step * v)) - np.asarray(f(x - step * v))) / (2 * step)


def check(gd, f, x, rtol=1e-7, atol=1e-9, second=True):
    """Compare gradient and Hessian product of a function of one array with differences."""
    x = np.asarray(x)
    value, found = gd.value_and_grad(f)(x)
    np.testing.assert_allclose(value, f(x), rtol=1e-12, atol=1e-12)
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    np.testing.assert_allclose(found, gradient(f, x), rtol=rtol, atol=atol)
    if second:
        v = np.cos(1 + np.arange(x.size, dtype=x.dtype)).reshape(x.shape)
        product = gd.hvp(f, x, v)
        np.testing.assert_allclose(
            product, directional(gd.grad(f), x, v), rtol=1e-5, atol=1e-6, equal_nan=False
        )
