"""Layer-sequential unit variance: orthonormal weights with one scale a layer, and its errors."""

from itertools import pairwise

import numpy as np
import pytest

import gdcore as gd
from gdcore.initializers import lsuv

SIZES = (12, 30, 30, 7)


def chain(rng, activation, dtype=np.float64, bias=0.0):
    layers = []
    for inputs, outputs in pairwise(SIZES):
        b = rng.normal(0.0, bias, outputs).astype(dtype) if bias else None
        layers.append((np.full((inputs, outputs), np.nan, dtype), b, activation))
    return layers


def outputs(X, layers, function):
    """Every layer's z = x W + b, in NumPy."""
    for W, b, _ in layers:
        z = X @ W + (0 if b is None else b)
        yield z
        X = function(z)


def leaky(z):
    return np.where(z < 0, 0.3 * z, z)


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        (None, lambda z: z),
        ("relu", lambda z: np.maximum(z, 0)),
        (gd.activations.tanh, np.tanh),
        (gd.sigmoid, lambda z: 1 / (1 + np.exp(-z))),
        (np.arctan, np.arctan),
        (leaky, leaky),
    ],
    ids=["linear", "name", "activation", "ufunc", "foreign ufunc", "function"],
)
def test_every_output_has_variance_1(activation, function, dtype, rng):
    X = rng.uniform(-20, 60, (200, SIZES[0])).astype(dtype)
    layers, tol = chain(rng, activation, dtype), 200 * float(np.finfo(dtype).eps)
    assert lsuv(X, layers, rng, tol=tol) is None
    for z in outputs(X, layers, function):
        assert z.var(dtype=np.float64) == pytest.approx(1, abs=2 * tol)
    for W, _, _ in layers:
        assert W.dtype == dtype
        inner = W.T @ W if W.shape[0] >= W.shape[1] else W @ W.T
        assert np.abs(inner / inner[0, 0] - np.eye(len(inner))).max() < 20 * np.finfo(dtype).eps


def test_a_bias_takes_some_divisions(rng):
    X = rng.normal(0, 5, (200, SIZES[0]))
    layers = chain(rng, "tanh", bias=0.5)
    biases = [b.copy() for _, b, _ in layers]
    for tol in (0.1, 1e-9):
        lsuv(X, layers, rng, tol=tol, max_iterations=60)
        variances = np.array([z.var() for z in outputs(X, layers, np.tanh)])
        assert np.abs(variances - 1).max() < tol
    assert np.abs(variances - 1).max() > 0
    for (_, b, _), before in zip(layers, biases, strict=True):
        np.testing.assert_array_equal(b, before)
    with pytest.raises(
        ValueError, match=r"layers\[0\]: z = .* after 1 divisions; accepted is 1 wi"
    ):
        lsuv(X, layers, rng, tol=1e-9, max_iterations=1)


def test_a_start_that_fits_is_left_alone(rng):
    """White data and orthonormal weights have variance 1: no division."""
    X = 20 * np.linalg.qr(rng.standard_normal((400, 6)))[0]
    W = np.empty((6, 6))
    lsuv(X, [(W, None, None)], 5, tol=0.01)
    np.testing.assert_array_equal(W, gd.initializers.orthogonal()((6, 6), 5))


def test_a_vector_as_the_last_layer(rng):
    X = rng.standard_normal((50, 3))
    W1, w2 = np.empty((3, 4)), np.empty(4)
    lsuv(X, [(W1, np.zeros(4), "relu"), (w2, 0.5, None)], 0)
    assert (np.maximum(X @ W1, 0) @ w2).var() == pytest.approx(1)


def test_strided_weights_and_lists_of_rows(rng):
    buffer = np.zeros((6, 8))
    layers = [(buffer[::2, :4], None, "tanh"), (buffer[1:5, 4:6], None, None)]
    lsuv([[1, 2, 3], [4, -5, 6], [0, 1, 0]], layers, 0)
    assert np.count_nonzero(buffer) == 12 + 8
    z = np.tanh(np.array([[1, 2, 3], [4, -5, 6], [0, 1, 0.0]]) @ layers[0][0]) @ layers[1][0]
    assert z.var() == pytest.approx(1)


def test_a_seed_repeats_and_a_generator_moves_on(rng):
    X = rng.standard_normal((50, SIZES[0]))
    first, second, third = (chain(rng, "tanh") for _ in range(3))
    generator = np.random.default_rng(3)
    lsuv(X, first, 3)
    lsuv(X, second, generator)
    lsuv(X, third, generator)
    for (one, _, _), (two, _, _), (three, _, _) in zip(first, second, third, strict=True):
        np.testing.assert_array_equal(one, two)
        assert not np.isin(one, three).any()


def test_errors_name_the_layer_and_change_nothing(rng):
    X = rng.standard_normal((20, 3))
    W, V = np.full((3, 4), 7.0), np.full((4, 2), 7.0)
    locked = np.full((4, 2), 7.0)
    locked.flags.writeable = False
    dead, narrow = (lambda z: np.zeros_like(z)), V.astype(np.float32)
    for layers, error, message in [
        ([(W, None, dead), (V, None, None)], ValueError, r"layers\[1\]: z .* variance 0 .*dead un"),
        ([(W, None, "tanh"), (W.copy(), None, None)], ValueError, r"layers\[1\]: W has shape \(3"),
        ([(W, None, "tanh"), (narrow, None, None)], TypeError, r"layers\[1\]: X is float64 but W"),
        ([(W, np.zeros(3), "tanh")], ValueError, r"layers\[0\]: b has shape \(3,\)"),
        (
            [(W, 50 * np.arange(4.0), None)],
            ValueError,
            r"layers\[0\]: .*after 10 divisions; accept",
        ),
        ([(W, None, "tanh"), (W.T, None, None)], ValueError, r"layers\[0\] and layers\[1\] share"),
        ([(W, None, "tanh"), (locked, None, None)], ValueError, r"layers\[1\]: W is read-only"),
        ([(W, None, "tnh")], ValueError, "'tnh' is unknown.*did you mean 'tanh'"),
        ([(W, None)], TypeError, r"layers\[0\] is a tuple of length 2; accepted is a triple \(W"),
        ([W], TypeError, r"layers\[0\] is a ndarray of length 3; accepted is a triple"),
        ([(W.tolist(), None, None)], TypeError, r"layers\[0\]: W is list; accepted is an array"),
        ([(W.astype(int), None, None)], TypeError, r"layers\[0\]: W.dtype is int64; accepted are"),
        ([(W[None], None, None)], ValueError, r"layers\[0\]: W has shape \(1, 3, 4\); accepted"),
    ]:
        with pytest.raises(error, match=message):
            lsuv(X, layers, 0)
    assert (W == 7).all()
    assert (V == 7).all()


def test_data_without_variance_are_refused():
    W = np.full((2, 1), 7.0)
    for X in [np.zeros((5, 2)), np.full((3, 2), 0.1), np.ones((1, 2)), np.full((2, 2), np.inf)]:
        with pytest.raises(ValueError, match=r"layers\[0\]: z = x W \+ b has variance .* above 0"):
            lsuv(X, [(W, None, None)], 0)
    equal = np.full((3, 1), 0.1)
    assert equal.var() > 0  # by rounding
    with pytest.raises(ValueError, match=r"variance 1\.93e-34 and mean square 0\.01; accepted is"):
        lsuv(equal, [(W[:1], None, None)], 0)
    with pytest.raises(ValueError, match=r"layers\[0\]: z = x W \+ b has shape \(0, 1\)"):
        lsuv(np.zeros((0, 2)), [(W, None, None)], 0)
    assert (W == 7).all()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rng": None}, TypeError, "rng is None; accepted is a numpy.random.Generator"),
        ({"tol": 0}, ValueError, "tol is 0; accepted is a number > 0"),
        ({"tol": float("nan")}, ValueError, "tol is nan"),
        ({"tol": "1"}, TypeError, "tol is '1'"),
        ({"max_iterations": 0}, ValueError, "max_iterations is 0; accepted is an integer >= 1"),
        ({"max_iterations": 2.0}, TypeError, "max_iterations is 2.0"),
    ],
)
def test_bad_settings_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        lsuv(np.eye(2), [(np.ones((2, 2)), None, None)], **{"rng": 0, **settings})
