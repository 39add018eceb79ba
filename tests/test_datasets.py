"""Data sets: their law, their seed, and the figures that the document's regression has."""

import math

import numpy as np
import pytest

import gdcore as gd
from gdcore.datasets import noisy_plane


def test_shapes_and_types(dtype):
    data = noisy_plane(n=500, dtype=dtype)
    assert data.X.shape == (500, 2)
    assert data.y.shape == (500, 1)
    assert data.X.dtype == data.y.dtype == dtype
    assert data.X.flags.c_contiguous
    assert data.y.flags.c_contiguous
    assert data.weights == (15.0, -13.0)
    assert data.bias == 6.0
    assert noisy_plane().X.shape == (100_000, 2)
    assert noisy_plane().X.dtype == np.float64


def test_the_draws_are_those_of_the_document():
    rng = np.random.default_rng(3)
    xs = rng.uniform(low=-100, high=100, size=(1000, 1))
    zs = rng.uniform(low=-100, high=100, size=(1000, 1))
    error = rng.uniform(low=-100, high=100, size=(1000, 1))
    data = noisy_plane(1000, seed=3)
    np.testing.assert_array_equal(data.X, np.column_stack((xs, zs)))
    np.testing.assert_array_equal(data.y, 15 * xs - 13 * zs + 6 + error)


def test_noise_is_uniform_within_100():
    X, y, weights, bias = noisy_plane(seed=1)
    noise = y[:, 0] - X @ weights - bias
    n = len(noise)
    # y is at most 2906: its four roundings are below 2e-12.
    assert np.abs(noise).max() <= 100 + 2e-12
    assert np.abs(noise).max() > 100 * (1 - 20 / n)
    std = 100 / math.sqrt(3)
    assert abs(noise.mean()) < 6 * std / math.sqrt(n)
    assert abs(noise.var() - std**2) < 6 * std**2 * math.sqrt(0.8 / n)
    assert abs(np.corrcoef(np.c_[X, noise].T) - np.eye(3)).max() < 6 / math.sqrt(n)


def test_inputs_are_uniform_within_100():
    X = noisy_plane(seed=2).X
    assert np.abs(X).max() <= 100
    assert (np.abs(X).max(axis=0) > 100 * (1 - 20 / len(X))).all()
    assert abs(X.mean()) < 6 * 100 / math.sqrt(3 * X.size)
    # The fourth moment of a uniform variable is 9/5 of the squared second.
    assert abs((X**2).mean() - 1e4 / 3) < 6 * 1e4 / 3 * math.sqrt(0.8 / X.size)


def test_a_seed_repeats_and_a_generator_moves_on():
    one, two = noisy_plane(50, seed=4), noisy_plane(50, seed=np.int64(4))
    np.testing.assert_array_equal(one.X, two.X)
    np.testing.assert_array_equal(one.y, two.y)
    rng = np.random.default_rng(4)
    first, second = noisy_plane(50, rng), noisy_plane(50, rng)
    np.testing.assert_array_equal(one.y, first.y)
    assert not np.isin(first.X, second.X).any()
    assert not np.isin(one.X, noisy_plane(50, seed=5).X).any()


def test_float32_is_float64_rounded():
    wide, narrow = noisy_plane(50), noisy_plane(50, dtype=np.float32)
    np.testing.assert_array_equal(narrow.X, wide.X.astype(np.float32))
    np.testing.assert_array_equal(narrow.y, wide.y.astype(np.float32))


def test_figures_of_the_document():
    """First loss 1.315e11, largest stable rate 6.0e-4, condition number about 3,300."""
    rng = np.random.default_rng(0)
    X, y, _, _ = noisy_plane(seed=rng)
    init = gd.initializers.uniform(-0.002, 0.002)
    W, b = init((2, 1), rng), init(1, rng)
    assert np.sum((X @ W + b - y) ** 2) == pytest.approx(1.315e11, rel=0.01)
    A = np.column_stack((X, np.ones(len(X))))
    eigenvalues = np.linalg.eigvalsh(A.T @ A / len(X))
    assert 2 / eigenvalues[-1] == pytest.approx(6.0e-4, rel=0.01)
    assert eigenvalues[-1] / eigenvalues[0] == pytest.approx(3333, rel=0.02)


def test_no_observations():
    data = noisy_plane(0)
    assert data.X.shape == (0, 2)
    assert data.y.shape == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": -1}, ValueError, "n is -1; accepted is an integer >= 0"),
        ({"n": 10.0}, TypeError, "n is 10.0; accepted is an integer >= 0"),
        ({"n": True}, TypeError, "n is True"),
        ({"seed": None}, TypeError, "seed is None; accepted is a numpy.random.Generator"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"dtype": np.float16}, TypeError, "dtype is float16; accepted are float32 and float64"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        noisy_plane(**arguments)
