"""Initializers, data sets and test functions beside torch, Keras, scikit-learn and SciPy."""

import inspect
import math

import numpy as np
import pytest

import gdcore as gd


def test_gains_are_torchs():
    init = pytest.importorskip("torch.nn.init")
    names = {"linear", "relu", "selu", "sigmoid", "tanh", "leaky_relu"} & {*gd.activations.names()}
    assert len(names) >= 4
    for name in names:
        assert gd.initializers.gain(name) == pytest.approx(init.calculate_gain(name), rel=1e-13)
    for slope in (0.0, 0.2, 3.0):
        ours = gd.initializers.gain(lambda z, slope=slope: np.where(z < 0, slope * z, z))
        assert ours == pytest.approx(init.calculate_gain("leaky_relu", slope), rel=1e-13)


def test_moments_are_keras():
    """Of 60,000 draws each, by the names that both have and Keras's own defaults."""
    keras = pytest.importorskip("keras")
    shape, compared = (300, 200), set()
    for name in [*gd.initializers.__all__, "random_normal", "random_uniform"]:
        rule = getattr(keras.initializers, name.title().replace("_", ""), None)
        if rule is None or name == "Initializer":
            continue
        seeded = "seed" in inspect.signature(rule.__init__).parameters
        theirs = rule(seed=0) if seeded else rule()
        ours = gd.initializers.get(name)
        drawn = np.asarray(theirs(shape)).astype(np.float64)
        weights = ours(shape, 0)
        n = weights.size
        spread = math.sqrt(2 / n) * 6 * math.sqrt(2)
        assert drawn.var() == pytest.approx(weights.var(), rel=spread, abs=1e-30), name
        assert abs(drawn.mean() - weights.mean()) <= 6 * math.sqrt(2 * weights.var() / n) + 1e-30
        assert np.abs(drawn).max() == pytest.approx(np.abs(weights).max(), rel=0.25, abs=1e-30)
        compared.add(name)
    assert len(compared) == 15


def test_points_without_noise_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    for ours, theirs in [
        (gd.datasets.moons(101, noise=0.0), datasets.make_moons((51, 50), shuffle=False)),
        (
            gd.datasets.circles(101, noise=0.0, factor=0.3),
            datasets.make_circles((51, 50), shuffle=False, factor=0.3),
        ),
    ]:
        for c in (0, 1):
            one, other = ours.X[ours.y == c], theirs[0][theirs[1] == c]
            distances = np.hypot(*(one[:, None] - other[None]).transpose(2, 0, 1))
            assert (distances.min(axis=0) < 1e-14).all()
            assert (distances.min(axis=1) < 1e-14).all()


def test_rosenbrock_is_scipys(rng):
    optimize = pytest.importorskip("scipy.optimize")
    for n in (2, 5, 40):
        p = rng.uniform(-2, 2, (n, 6))
        np.testing.assert_allclose(gd.datasets.rosenbrock(p), optimize.rosen(p), rtol=1e-13)
        for column in p.T:
            slopes = gd.datasets.rosenbrock.grad(column)
            np.testing.assert_allclose(slopes, optimize.rosen_der(column), rtol=1e-11, atol=1e-11)
