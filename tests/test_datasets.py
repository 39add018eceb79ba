"""Data sets: their law and geometry, their seed, and the tables and figures of the documents."""

import inspect
import math
import pickle

import numpy as np
import pytest

import gdcore as gd
from gdcore.datasets import blobs, circles, moons, noisy_line, noisy_plane, spirals, xor

FUNCTIONS = [f for f in map(vars(gd.datasets).get, gd.datasets.__all__) if inspect.isfunction(f)]
RANDOM = [f for f in FUNCTIONS if "seed" in inspect.signature(f).parameters]
CLASSES = [blobs, circles, moons, spirals, xor]
TABLES = [f for f in FUNCTIONS if f not in RANDOM]


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


def test_every_data_set(dtype):
    """Shapes, types and layout, by size; X and y come first."""
    assert {"blobs", "moons", "circles", "spirals", "xor", "noisy_line"} < {
        f.__name__ for f in RANDOM
    }
    for f in RANDOM:
        for n in (0, 1, 2, 7, 50):
            data = f(n, seed=1, dtype=dtype)
            X, y = data[:2]
            assert X is data.X
            assert y is data.y
            assert X.shape == (n, X.shape[1])
            assert X.dtype == dtype
            assert X.flags.c_contiguous
            assert np.isfinite(X).all()
            if f in CLASSES:
                assert y.shape == (n,)
                assert y.dtype == np.int64
            else:
                assert y.shape == (n, 1)
                assert y.dtype == dtype
        assert type(pickle.loads(pickle.dumps(data))) is type(data)


def test_a_seed_repeats_and_a_generator_moves_on():
    for f in RANDOM:
        one, two = f(50, seed=4), f(50, seed=np.int64(4))
        np.testing.assert_array_equal(one.X, two.X)
        np.testing.assert_array_equal(one.y, two.y)
        rng = np.random.default_rng(4)
        first, second = f(50, seed=rng), f(50, seed=rng)
        np.testing.assert_array_equal(one.X, first.X)
        np.testing.assert_array_equal(one.y, first.y)
        assert not np.isin(first.X, second.X).any()
        assert not np.isin(one.X, f(50, seed=5).X).any()


def test_float32_is_float64_rounded():
    for f in FUNCTIONS:
        wide, narrow = f(dtype=np.float64), f(dtype=np.float32)
        for one, other in zip(wide[:2], narrow[:2], strict=True):
            np.testing.assert_array_equal(other, one.astype(other.dtype), strict=True)


def test_bad_sizes_seeds_and_types_are_refused():
    for f in RANDOM:
        for arguments, error, message in [
            ({"n": -1}, ValueError, "n is -1; accepted is an integer >= 0, the number of obs"),
            ({"n": 10.0}, TypeError, "n is 10.0; accepted is an integer >= 0"),
            ({"n": True}, TypeError, "n is True"),
            ({"seed": None}, TypeError, "seed is None; accepted is a numpy.random.Generator"),
            ({"seed": -1}, ValueError, "seed is -1"),
        ]:
            with pytest.raises(error, match=message):
                f(**arguments)
        if "noise" in inspect.signature(f).parameters:
            for noise in (-0.1, math.nan, math.inf, 10**400):
                with pytest.raises(
                    ValueError, match=r"noise is .*; accepted is a finite number >= 0"
                ):
                    f(noise=noise)
            with pytest.raises(TypeError, match="noise is '1'; accepted is a finite number >= 0"):
                f(noise="1")
    for f in FUNCTIONS:
        with pytest.raises(TypeError, match="dtype is float16; accepted are float32 and float64"):
            f(dtype=np.float16)


# ---- Classes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", CLASSES, ids=lambda f: f.__name__)
def test_classes_are_balanced_and_shuffled(f):
    for n in (1, 2, 3, 10, 101, 1000):
        y = f(n).y
        sizes = np.bincount(y)
        assert sizes.max() - sizes.min() <= 1
        assert (np.diff(sizes) <= 0).all()
    # In random order a neighbour is of one's own class as often as any other is.
    share = np.sum((sizes / 1000) ** 2)
    assert abs(np.mean(y[1:] == y[:-1]) - share) < 6 * math.sqrt(share * (1 - share) / 1000)


@pytest.mark.parametrize("f", [f for f in CLASSES if f is not blobs], ids=lambda f: f.__name__)
def test_noise_is_normal_and_of_the_points(f):
    """The same seed without noise has the same points in the same order."""
    n, deviation = 4000, 0.3
    blurred, plain = f(n, noise=deviation, seed=6), f(n, noise=0.0, seed=6)
    np.testing.assert_array_equal(blurred.y, plain.y)
    noise = blurred.X - plain.X
    assert abs(noise.mean()) < 6 * deviation / math.sqrt(2 * n)
    assert abs(noise.var() / deviation**2 - 1) < 6 * math.sqrt(2 / (2 * n))
    assert abs(np.mean(np.abs(noise) < deviation) - 0.6827) < 6 * math.sqrt(0.217 / (2 * n))
    assert abs(np.corrcoef(noise.T)[0, 1]) < 6 / math.sqrt(n)


def test_moons_are_half_circles():
    X, y = moons(201, noise=0.0)
    for c, center, side in [(0, (0.0, 0.0), 1), (1, (1.0, 0.5), -1)]:
        arc = X[y == c] - center
        np.testing.assert_allclose(np.hypot(*arc.T), 1, rtol=1e-15)
        assert (side * arc[:, 1] > -1e-15).all()
        angles = np.sort(np.arctan2(np.abs(arc[:, 1]), arc[:, 0]))
        np.testing.assert_allclose(angles, np.linspace(0, np.pi, len(arc)), atol=1e-14)


def test_circles_are_circles():
    X, y = circles(202, noise=0.0, factor=0.25)
    for c, radius in [(0, 1.0), (1, 0.25)]:
        ring = X[y == c]
        np.testing.assert_allclose(np.hypot(*ring.T), radius, rtol=1e-15)
        angles = np.sort(np.arctan2(ring[:, 1], ring[:, 0]))
        np.testing.assert_allclose(np.diff(angles), 2 * np.pi / len(ring), rtol=1e-12)
    assert not circles(20, noise=0.0, factor=0).X[circles(20, noise=0.0, factor=0).y == 1].any()


def test_spirals_wind():
    for arms, turns in [(1, 2.0), (2, 1.5), (3, -1.0)]:
        X, y = spirals(300, arms=arms, turns=turns, noise=0.0)
        assert set(y) == set(range(arms))
        for arm in range(arms):
            points = X[y == arm]
            radius = np.hypot(*points.T)
            shares = np.arange(1, len(points) + 1) / len(points)
            np.testing.assert_allclose(np.sort(radius), shares, rtol=1e-13)
            angle = 2 * np.pi * (turns * radius + arm / arms)
            np.testing.assert_allclose(points[:, 0], radius * np.cos(angle), atol=1e-14)
            np.testing.assert_allclose(points[:, 1], radius * np.sin(angle), atol=1e-14)


def test_xor_is_the_sign_of_the_product():
    X, y = xor(1000, noise=0.0)
    np.testing.assert_array_equal(y, X[:, 0] * X[:, 1] < 0)
    assert np.abs(X).max() <= 1
    for x_sign in (-1, 1):
        for y_sign in (-1, 1):
            quadrant = X[(X[:, 0] * x_sign > 0) & (X[:, 1] * y_sign > 0)]
            assert len(quadrant) == 250
            distances = np.abs(quadrant)
            assert abs(distances.mean() - 0.5) < 6 / math.sqrt(12 * 500)
            assert abs((distances**2).mean() - 1 / 3) < 6 * math.sqrt(4 / 45 / 500)
    # Along no direction do the classes differ in mean.
    assert np.abs(X[y == 0].mean(axis=0) - X[y == 1].mean(axis=0)).max() < 6 / math.sqrt(3 * 250)


def test_blobs_lie_around_their_centers():
    centers = np.array([[0.0, 5.0, 1.0], [-4.0, 2.0, 0.0]])
    for std in (0.5, [0.5, 2.0], 0):
        X, y = blobs(4000, centers=centers, std=std)
        for c, deviation in enumerate(np.broadcast_to(std, 2)):
            around = X[y == c] - centers[c]
            assert len(around) == 2000
            assert np.abs(around.mean(axis=0)).max() <= 6 * deviation / math.sqrt(2000)
            room = 6 * deviation**2 * math.sqrt(2 / 2000)
            assert np.abs(np.cov(around.T) - deviation**2 * np.eye(3)).max() <= room


def test_centers_of_blobs_are_drawn_by_the_seed():
    for inputs in (1, 2, 5):
        X, y = blobs(40, centers=4, std=0.0, inputs=inputs, seed=3)
        assert X.shape == (40, inputs)
        assert len(np.unique(X, axis=0)) == 4
        expected = np.random.default_rng(3).uniform(-10.0, 10.0, (4, inputs))
        np.testing.assert_array_equal(X, expected[y])


def test_bad_settings_of_classes_are_refused():
    for make, error, message in [
        (lambda: blobs(centers=0), ValueError, "centers is 0; accepted is an integer >= 1"),
        (lambda: blobs(centers=2.0), ValueError, "centers is 2.0; accepted are finite numbers, an"),
        (
            lambda: blobs(centers=[1, 2]),
            ValueError,
            r"centers is \[1, 2\]; accepted are finite num",
        ),
        (lambda: blobs(centers=[[1, 2], [3]]), ValueError, "an array of 2 axes"),
        (lambda: blobs(centers=[[1, math.nan]]), ValueError, "accepted are finite numbers"),
        (lambda: blobs(centers="3"), TypeError, "centers is '3'"),
        (
            lambda: blobs(std=-1),
            ValueError,
            "std is -1; accepted is a number >= 0, or one for each",
        ),
        (lambda: blobs(std=[1, 2]), ValueError, r"std is \[1, 2\]; .* each of the 3 centers"),
        (lambda: blobs(std=math.nan), ValueError, "std is nan; accepted are finite numbers"),
        (lambda: blobs(inputs=0), ValueError, "inputs is 0; accepted is an integer >= 1"),
        (
            lambda: circles(factor=1.5),
            ValueError,
            "factor is 1.5; accepted is a number from 0 to 1",
        ),
        (lambda: circles(factor=-1), ValueError, "factor is -1; accepted is a finite number >= 0"),
        (lambda: spirals(arms=0), ValueError, "arms is 0; accepted is an integer >= 1"),
        (lambda: spirals(turns=math.inf), ValueError, "turns is inf; accepted is a finite number$"),
        (lambda: noisy_line(slope=None), TypeError, "slope is None; accepted is a finite number$"),
        (lambda: noisy_line(intercept=-math.inf), ValueError, "intercept is -inf; accepted is"),
    ]:
        with pytest.raises(error, match=message):
            make()


# ---- Lines and tables ----------------------------------------------------------------------------


def test_noisy_line():
    X, y = noisy_line(5000, slope=-3.0, intercept=0.5, noise=0.2, seed=2)
    assert np.abs(X).max() <= 1
    assert abs(X.mean()) < 6 / math.sqrt(3 * 5000)
    assert abs((X**2).mean() - 1 / 3) < 6 * math.sqrt(4 / 45 / 5000)
    noise = y + 3.0 * X - 0.5
    assert abs(noise.mean()) < 6 * 0.2 / math.sqrt(5000)
    assert abs(noise.var() / 0.04 - 1) < 6 * math.sqrt(2 / 5000)
    assert abs(np.corrcoef(X[:, 0], noise[:, 0])[0, 1]) < 6 / math.sqrt(5000)
    X, y = noisy_line(noise=0.0)
    np.testing.assert_array_equal(y, 2 * X - 1)


def test_tables_are_made_anew_and_are_the_documents():
    for f in TABLES:
        first, second = f(), f()
        first[0][...] = 99
        assert not (second[0] == 99).any()
    assert {f.__name__ for f in TABLES} == {"exam", "four_predictions", "toy_line", "two_points"}


def test_loss_of_document_003():
    """W = 8, b = -1: the losses and weights of the first and last steps that it prints."""
    X, y = gd.datasets.toy_line()
    W, losses = 8.0, []
    for _ in range(50):
        off = X * W - 1 - y
        losses.append(np.sum(off**2) / 6)
        W -= 0.01 * np.sum(2 * off * X) / 6
        if len(losses) == 3:
            assert pytest.approx(6.3255796, abs=1e-6) == W
    assert losses[:3] == pytest.approx([186.0, 149.54607, 120.236694], rel=1e-6)
    assert losses[-1] == pytest.approx(0.004239871, rel=1e-4)
    assert pytest.approx(2.0256863, abs=1e-6) == W


def test_fit_of_document_004():
    X, y = gd.datasets.two_points()
    w = b = -2.0
    for _ in range(1000):
        f = 1 / (1 + np.exp(-(w * X + b)))
        slope = (f - y) * f * (1 - f)
        w, b = w - np.sum(slope * X), b - np.sum(slope)
    f = 1 / (1 + np.exp(-(w * X + b)))
    assert np.sum(0.5 * (f - y) ** 2) < 1e-4
    assert w == pytest.approx(math.log(36) / 2, abs=0.1)


def test_errors_of_document_001():
    y_true, y_pred = gd.datasets.four_predictions()
    np.testing.assert_allclose(y_pred - y_true, [-0.1, 0.2, -0.9, 0.51], rtol=1e-15)
    np.testing.assert_array_equal((y_pred > 0.5) != y_true, [False, False, True, True])
    X, y = gd.datasets.exam()
    np.testing.assert_array_equal(X, [[5, 6], [10, 7], [7, 5]])
    np.testing.assert_array_equal(y, [1, 1, 0])


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
