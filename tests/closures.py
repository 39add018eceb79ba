"""Functions of parameters in any containers, as closures that count their calls."""

import numpy as np

from gdcore._containers import flat


class Problem:
    """f of all parameters as one vector; `call` may be set to run before each evaluation."""

    def __init__(self, params, f):
        self.params, self.f, self.calls = params, f, 0

    def vector(self):
        return np.concatenate([[], *(np.ravel(a) for _, a in flat(self.params))])

    def closure(self):
        self.calls += 1
        loss, slopes = self.f(self.vector())
        return loss, like(self.params, slopes)


def like(params, vector):
    """A vector in the structure, shapes, order and types of the parameters."""
    at = 0

    def part(p):
        nonlocal at
        if isinstance(p, dict):
            return {key: part(value) for key, value in p.items()}
        if isinstance(p, list | tuple):
            return [part(value) for value in p]
        at += p.size
        out = np.empty_like(p)
        out[...] = vector[at - p.size : at].reshape(p.shape)
        return out

    return part(params)


def rosenbrock(x):
    u, v = 1 - x[:-1], x[1:] - x[:-1] ** 2
    slopes = np.zeros_like(x)
    slopes[:-1] = -2 * u - 400 * x[:-1] * v
    slopes[1:] += 200 * v
    return u @ u + 100 * (v @ v), slopes


def bowl(x):
    """An ellipsoid with its minimum at 1, 2, 3, ..."""
    weights = np.arange(1.0, x.size + 1)
    away = x - weights
    return weights @ away**2 / 2, weights * away


def tree(dtype=np.float64):
    """Eleven parameters in containers, with every kind of array."""
    rng = np.random.default_rng(11)

    def draw(*shape):
        return rng.normal(size=shape).astype(dtype)

    return {
        "W": np.asfortranarray(draw(3, 2)),
        "b": [draw(3), (draw(), draw(0), {"c": draw(1, 1)})],
    }


def values(params):
    return [a.copy("K") for _, a in flat(params)]


def assert_same_bits(params, others):
    for one, other in zip(values(params), values(others), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(np.signbit(one), np.signbit(other))
