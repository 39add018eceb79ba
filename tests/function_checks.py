"""A function of arrays beside NumPy and differences: values, types, derivatives, compiled bits."""

import gradcheck
import numpy as np

import gdcore as gd


def arrays(shapes, dtype=np.float64, seed=0):
    """Random arrays without ties, away from 0 where functions have kinks."""
    rng = np.random.default_rng(seed)
    found = []
    for shape in shapes:
        x = rng.normal(size=shape)
        found.append(np.asarray(np.where(np.abs(x) < 0.05, x + 0.2, x), dtype))
    return found


def weighted(f, xs):
    """The sum of a function's results times fixed weights."""
    weights = np.cos(1.0 + np.arange(np.size(f(*xs)))).reshape(np.shape(f(*xs)))
    return lambda *xs: np.sum(f(*xs) * weights)


def same_values(f, xs):
    """What f gives where it is traced, beside what NumPy gives: shape, type, numbers."""
    seen = []

    def traced(*given):
        y = f(*given)
        seen.append(np.array(numbers_of(y)))
        seen.append(y.dtype)
        return np.sum(y)

    gd.value_and_grad(traced, argnums=tuple(range(len(xs))))(*xs)
    expected = f(*xs)
    assert seen[1] == expected.dtype
    assert seen[0].shape == expected.shape
    tolerance = 1e-13 if expected.dtype != np.float32 else 1e-5
    np.testing.assert_allclose(seen[0], expected, rtol=tolerance, atol=tolerance)


def numbers_of(y):
    """The numbers of a traced value or an array."""
    return y._now() if hasattr(y, "_now") else y


def compare(f, xs, second=True, compiled=True, rtol=1e-7):
    """Everything about f at float64 arrays."""
    same_values(f, xs)
    loss = weighted(f, xs)
    numbers = tuple(range(len(xs)))
    value, found = gd.value_and_grad(loss, argnums=numbers)(*xs)
    np.testing.assert_allclose(value, loss(*xs), rtol=1e-12, atol=1e-12)
    for n, x in enumerate(xs):

        def of_one(x, n=n):
            return loss(*xs[:n], x, *xs[n + 1 :])

        assert found[n].shape == x.shape
        assert found[n].dtype == x.dtype
        np.testing.assert_allclose(
            found[n], gradcheck.gradient(of_one, x, step=3e-5), rtol=rtol, atol=1e-8
        )
        if second:
            check_second(lambda x, of_one=of_one: np.sin(of_one(x)), x)
    if compiled:
        value_c, found_c = gd.value_and_grad(gd.compile(loss), argnums=numbers)(*xs)
        assert value_c == value
        for a, b in zip(found, found_c, strict=True):
            np.testing.assert_array_equal(a, b)


def check_second(f, x):
    """hvp beside differences of gradients, and beside the gradient of the gradient."""
    v = np.sin(1.0 + np.arange(x.size)).reshape(x.shape)
    product = gd.hvp(f, x, v)
    differences = gradcheck.directional(gd.grad(f), x, v)
    np.testing.assert_allclose(product, differences, rtol=1e-5, atol=1e-6)
    nested = gd.grad(lambda x: np.sum(gd.grad(f)(x) * v))(x)
    np.testing.assert_allclose(nested, product, rtol=1e-9, atol=1e-10)


def compare_float32(f, xs):
    """float32 in, float32 out, near the float64 numbers."""
    xs = [x.astype(np.float32) for x in xs]
    same_values(f, xs)
    _, found = gd.value_and_grad(lambda *xs: np.sum(f(*xs)), argnums=tuple(range(len(xs))))(*xs)
    wide = [x.astype(np.float64) for x in xs]
    _, exact = gd.value_and_grad(lambda *xs: np.sum(f(*xs)), argnums=tuple(range(len(xs))))(*wide)
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)
