"""Initializers: moments, bounds and shape of the law, seeds, types, names and bad arguments.

A mean of n draws of deviation s has deviation s / sqrt(n), a sample variance at most
s^2 sqrt(2 / n) (kurtosis at most the normal's); six of these are allowed, one failure in 10^9.
"""

import copy
import dataclasses
import math
import pickle

import numpy as np
import pytest

import gdcore as gd
from gdcore.initializers import (
    Initializer,
    get,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    normal,
    uniform,
    zeros,
)

EXAMPLES = [
    zeros(),
    uniform(),
    uniform(low=-2, high=5),
    normal(),
    normal(mean=3.0, std=0.5),
    glorot_uniform(),
    glorot_normal(),
    he_uniform(),
    he_normal(),
]
each = pytest.mark.parametrize("init", EXAMPLES, ids=repr)
drawing = pytest.mark.parametrize("init", EXAMPLES[1:], ids=repr)

# Standard deviation of a standard normal variable cut at -2 and 2, from Keras's source.
KERAS_CUT = 0.87962566103423978
SHAPE = (400, 250)


def check_moments(weights, mean, variance):
    n, std = weights.size, math.sqrt(variance)
    assert abs(weights.mean() - mean) < 6 * std / math.sqrt(n)
    assert abs(((weights - mean) ** 2).mean() - variance) < 6 * variance * math.sqrt(2 / n)


@pytest.mark.parametrize(
    ("init", "mean", "variance"),
    [
        (uniform(), 0.0, 0.1**2 / 12),
        (uniform(-2, 5), 1.5, 7**2 / 12),
        (normal(), 0.0, 0.05**2),
        (normal(3.0, 0.5), 3.0, 0.25),
        (glorot_uniform(), 0.0, 2 / 650),
        (glorot_normal(), 0.0, 2 / 650),
        (he_uniform(), 0.0, 2 / 400),
        (he_normal(), 0.0, 2 / 400),
    ],
    ids=repr,
)
def test_mean_and_variance(init, mean, variance):
    check_moments(init(SHAPE, rng=1), mean, variance)


@pytest.mark.parametrize(
    ("init", "low", "high"),
    [
        (uniform(), -0.05, 0.05),
        (uniform(-2, 5), -2.0, 5.0),
        (glorot_uniform(), -math.sqrt(6 / 650), math.sqrt(6 / 650)),
        (he_uniform(), -math.sqrt(6 / 400), math.sqrt(6 / 400)),
    ],
    ids=repr,
)
def test_a_uniform_law_fills_its_bounds(init, low, high):
    weights = init(SHAPE, rng=2)
    assert low <= weights.min()
    assert weights.max() <= high
    # No draw within the last 20/n of the interval: probability e^-20.
    edge = 20 / weights.size * (high - low)
    assert weights.min() < low + edge
    assert weights.max() > high - edge
    # A tenth of the interval holds a tenth of the draws.
    share = np.mean(weights < low + 0.1 * (high - low))
    assert abs(share - 0.1) < 6 * math.sqrt(0.09 / weights.size)


@pytest.mark.parametrize(
    ("init", "variance"), [(glorot_normal(), 2 / 650), (he_normal(), 2 / 400)], ids=repr
)
def test_a_truncated_normal_is_cut_at_two_of_its_own_deviations(init, variance):
    weights = init(SHAPE, rng=3)
    std = math.sqrt(variance) / KERAS_CUT
    assert np.abs(weights).max() <= 2 * std * (1 + 1e-15)
    # Density at the cut: 0.0566 a side; the largest of n falls short of 2 by about 1 / (0.11 n).
    assert np.abs(weights).max() > (2 - 20 / (0.11 * weights.size)) * std
    for inside in (0.5, 1.0, 1.5):
        share = math.erf(inside / math.sqrt(2)) / math.erf(2 / math.sqrt(2))
        found = np.mean(np.abs(weights) < inside * std)
        assert abs(found - share) < 6 * math.sqrt(share * (1 - share) / weights.size)


def test_a_plain_normal_is_not_cut():
    weights = normal(std=1.0)(SHAPE, rng=4)
    assert abs(np.mean(np.abs(weights) > 2) - 0.0455) < 6 * math.sqrt(0.0455 / weights.size)
    assert np.abs(weights).max() > 3.5


@pytest.mark.parametrize(
    ("shape", "fan_in", "fan_out"),
    [((3, 70000), 3, 70000), ((70000, 3), 70000, 3), ((200000,), 200000, 1), (200000, 200000, 1)],
    ids=repr,
)
def test_fans(shape, fan_in, fan_out):
    check_moments(glorot_uniform()(shape, 5), 0.0, 2 / (fan_in + fan_out))
    check_moments(glorot_normal()(shape, 5), 0.0, 2 / (fan_in + fan_out))
    check_moments(he_uniform()(shape, 5), 0.0, 2 / fan_in)
    check_moments(he_normal()(shape, 5), 0.0, 2 / fan_in)


@each
def test_a_vector_is_a_column(init):
    np.testing.assert_array_equal(init(50, 0), init((50, 1), 0)[:, 0])


def test_zeros_are_zeros(dtype):
    weights = zeros()((3, 2), 0, dtype)
    np.testing.assert_array_equal(weights, np.zeros((3, 2)))
    assert weights.dtype == dtype


@each
@pytest.mark.parametrize("shape", [(), (1,), (7,), (4, 3), (0, 5), (5, 0), (0,), [2, 3]], ids=repr)
def test_shape_type_and_layout(init, shape, dtype):
    weights = init(shape, 0, dtype)
    assert isinstance(weights, np.ndarray)
    assert weights.shape == tuple(shape)
    assert weights.dtype == dtype
    assert weights.flags.c_contiguous
    assert weights.flags.writeable
    assert np.isfinite(weights).all()


@each
def test_float32_is_float64_rounded(init):
    wide, narrow = init((50, 40), 6), init((50, 40), 6, np.float32)
    assert wide.dtype == np.float64
    np.testing.assert_array_equal(narrow, wide.astype(np.float32))


@drawing
def test_a_seed_repeats_and_a_generator_moves_on(init):
    rng = np.random.default_rng(7)
    first, second = init((20, 10), rng), init((20, 10), rng)
    np.testing.assert_array_equal(first, init((20, 10), 7))
    np.testing.assert_array_equal(first, init((20, 10), np.int64(7)))
    assert not np.isin(first, second).any()
    assert not np.isin(first, init((20, 10), 8)).any()


def test_uniform_draws_what_numpy_draws():
    rng = np.random.default_rng(9)
    expected = np.random.default_rng(9).uniform(low=-0.002, high=0.002, size=(2, 1))
    np.testing.assert_array_equal(uniform(-0.002, 0.002)((2, 1), rng), expected)


def test_equal_bounds_and_zero_deviation_are_constants():
    np.testing.assert_array_equal(uniform(0.5, 0.5)((2, 2), 0), np.full((2, 2), 0.5))
    np.testing.assert_array_equal(normal(0.5, 0)((2, 2), 0), np.full((2, 2), 0.5))


def test_a_value_beyond_float32_is_infinite_and_silent():
    assert np.isinf(uniform(1e39, 1e39)(3, 0, np.float32)).all()


@each
def test_copies_and_repr_are_equal(init):
    for twin in (
        pickle.loads(pickle.dumps(init)),
        copy.copy(init),
        copy.deepcopy(init),
        eval(repr(init), vars(gd.initializers)),
    ):
        assert twin is not init
        assert type(twin) is type(init)
        assert twin == init
        assert hash(twin) == hash(init)
        np.testing.assert_array_equal(twin((5, 4), 0), init((5, 4), 0))


def test_equality_looks_at_the_rule_and_its_settings():
    assert len(set(EXAMPLES)) == len(EXAMPLES)
    assert uniform() == uniform(-0.05, 0.05)
    assert repr(normal(std=np.float64(0.5))) == "normal(mean=0.0, std=0.5)"


@pytest.mark.parametrize("init", EXAMPLES[1:5], ids=repr)
def test_settings_cannot_change(init):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(init, dataclasses.fields(init)[0].name, 1.0)


NAMES = ["zeros", "uniform", "normal", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal"]


@pytest.mark.parametrize("name", NAMES)
def test_get_by_name(name):
    rule = getattr(gd.initializers, name)
    assert get(name) == rule()
    assert get(rule) == rule()


def test_get_passes_settings_and_callables():
    assert get("uniform", low=-1, high=1) == uniform(-1.0, 1.0)
    assert get(normal, std=2.0) == normal(std=2.0)
    init = he_normal()
    assert get(init) is init

    def ones(shape, rng, dtype=np.float64):
        return np.ones(shape, dtype)

    assert get(ones) is ones


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("he_norml", "he_normal"),
        ("HeNormal", "he_normal"),
        ("kaiming_uniform_", "he_uniform"),
        ("xavier_normal", "glorot_normal"),
        ("zero", "zeros"),
    ],
)
def test_get_suggests_the_nearest_name(name, nearest):
    with pytest.raises(ValueError, match=rf"{name!r} is unknown.*did you mean '{nearest}'\?"):
        get(name)


def test_get_refuses_the_rest():
    with pytest.raises(ValueError, match=r"'qqq' is unknown; accepted are zeros, uniform, [^?]*$"):
        get("qqq")
    with pytest.raises(TypeError, match="initializer is 3; accepted is one of zeros"):
        get(3)
    with pytest.raises(TypeError, match="already made; std would not be used"):
        get(normal(), std=1.0)
    with pytest.raises(TypeError, match=r"unknown argument stddev=.*did you mean std=\?"):
        get("normal", stddev=1.0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: normal(std=-1), ValueError, "std is -1; accepted is a finite number >= 0"),
        (lambda: normal(std=math.nan), ValueError, "std is nan"),
        (lambda: normal(mean="0"), TypeError, "mean is '0'; accepted is a finite number$"),
        (
            lambda: uniform(1, -1),
            ValueError,
            "low is 1.0 and high is -1.0; accepted is low <= high",
        ),
        (lambda: uniform(-1e308, 1e308), ValueError, "finite difference"),
        (lambda: uniform(-math.inf, 1), ValueError, "low is -inf"),
        (lambda: uniform(minval=0), TypeError, r"unknown argument minval=.*did you mean low=\?"),
        (lambda: he_normal(seed=0), TypeError, r"unknown argument seed=.*init\(shape, rng\)"),
        (lambda: he_normal((3, 4), 0), TypeError, r"2 positional .*called as init\(shape, rng\)"),
        (lambda: Initializer(), TypeError, "abstract"),
    ],
)
def test_bad_settings_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@each
@pytest.mark.parametrize(
    ("shape", "error"),
    [
        (-1, ValueError),
        ((2, -1), ValueError),
        (2.5, TypeError),
        ("ab", TypeError),
        (None, TypeError),
    ],
    ids=repr,
)
def test_bad_shapes_are_refused(init, shape, error):
    with pytest.raises(error, match=r"shape is .*; accepted is an integer >= 0 or a tuple"):
        init(shape, 0)


def test_fans_of_more_than_two_axes_are_refused():
    for init in EXAMPLES[5:]:
        with pytest.raises(ValueError, match=r"shape is \(2, 3, 4\); accepted are \(inputs, outp"):
            init((2, 3, 4), 0)
    assert normal()((2, 3, 4), 0).shape == (2, 3, 4)


@each
@pytest.mark.parametrize(
    ("rng", "error"),
    [(None, TypeError), (True, TypeError), (1.0, TypeError), ("0", TypeError), (-1, ValueError)],
    ids=repr,
)
def test_bad_generators_are_refused(init, rng, error):
    with pytest.raises(error, match=r"rng is .*; accepted is a numpy.random.Generator or an"):
        init(3, rng)


@each
@pytest.mark.parametrize("wrong", [np.float16, np.longdouble, complex, int, object, ">f8", ">f4"])
def test_other_types_are_refused(init, wrong):
    with pytest.raises(TypeError, match=r"dtype is .*; accepted are float32 and float64"):
        init(3, 0, wrong)
