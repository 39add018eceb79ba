"""Initializers: moments, bounds and shape of the law, seeds, types, names and bad arguments.

A mean of n draws of deviation s has deviation s / sqrt(n), a sample variance at most
s^2 sqrt(2 / n) (kurtosis at most the normal's); six of these are allowed, one failure in 10^9.
"""

import copy
import dataclasses
import math
import pickle
from typing import NamedTuple

import numpy as np
import pytest

import gdcore as gd
from gdcore.initializers import (
    Initializer,
    constant,
    gain,
    get,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    identity,
    lecun_normal,
    lecun_uniform,
    normal,
    ones,
    orthogonal,
    sparse,
    truncated_normal,
    uniform,
    variance_scaling,
    zeros,
)

# Standard deviation of a standard normal variable cut at -2 and 2, from Keras's source.
KERAS_CUT = 0.87962566103423978
SHAPE = (400, 250)


class Law(NamedTuple):
    """Independent draws: an initializer, the shape of its law, mean, and variance by the fans."""

    init: Initializer
    shape: str
    mean: float
    variance: object

    def __repr__(self):
        return repr(self.init)


LAWS = [
    Law(uniform(), "uniform", 0.0, lambda i, o: 0.1**2 / 12),
    Law(uniform(low=-2, high=5), "uniform", 1.5, lambda i, o: 7**2 / 12),
    Law(normal(), "normal", 0.0, lambda i, o: 0.05**2),
    Law(normal(mean=3.0, std=0.5), "normal", 3.0, lambda i, o: 0.25),
    Law(truncated_normal(), "cut", 0.0, lambda i, o: (KERAS_CUT * 0.05) ** 2),
    Law(truncated_normal(mean=-2, std=0.5), "cut", -2.0, lambda i, o: (KERAS_CUT * 0.5) ** 2),
    Law(glorot_uniform(), "uniform", 0.0, lambda i, o: 2 / (i + o)),
    Law(glorot_normal(), "cut", 0.0, lambda i, o: 2 / (i + o)),
    Law(he_uniform(), "uniform", 0.0, lambda i, o: 2 / i),
    Law(he_normal(), "cut", 0.0, lambda i, o: 2 / i),
    Law(lecun_uniform(), "uniform", 0.0, lambda i, o: 1 / i),
    Law(lecun_normal(), "cut", 0.0, lambda i, o: 1 / i),
    Law(variance_scaling(), "cut", 0.0, lambda i, o: 1 / i),
    Law(variance_scaling(3, "fan_out", "uniform"), "uniform", 0.0, lambda i, o: 3 / o),
    Law(
        variance_scaling(0.5, "fan_avg", "untruncated_normal"),
        "normal",
        0.0,
        lambda i, o: 1 / (i + o),
    ),
]
DRAWING = [law.init for law in LAWS] + [orthogonal(), orthogonal(gain=-3), sparse(0.2, std=2.0)]
FIXED = [zeros(), ones(), constant(), constant(-0.5), identity(), identity(gain=2.5)]
EXAMPLES = FIXED + DRAWING
each = pytest.mark.parametrize("init", EXAMPLES, ids=repr)
NAMES = [
    name
    for name in gd.initializers.__all__
    if isinstance(getattr(gd.initializers, name), type) and name != "Initializer"
]


def test_every_rule_has_an_example():
    assert {type(init).__name__ for init in EXAMPLES} == set(NAMES)


def check_moments(weights, mean, variance):
    n, std = weights.size, math.sqrt(variance)
    assert abs(weights.mean() - mean) < 6 * std / math.sqrt(n)
    assert abs(((weights - mean) ** 2).mean() - variance) < 6 * variance * math.sqrt(2 / n)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_mean_and_variance(law):
    """A vector counts as a column."""
    for shape, fans in {
        SHAPE: SHAPE,
        (3, 70000): (3, 70000),
        (70000, 3): (70000, 3),
        (200000,): (200000, 1),
        200000: (200000, 1),
    }.items():
        check_moments(law.init(shape, rng=1), law.mean, law.variance(*fans))


@pytest.mark.parametrize("law", [law for law in LAWS if law.shape == "uniform"], ids=repr)
def test_a_uniform_law_fills_its_bounds(law):
    weights, half = law.init(SHAPE, rng=2), math.sqrt(3 * law.variance(*SHAPE))
    low, high = law.mean - half, law.mean + half
    assert low * (1 + 1e-15) <= weights.min()
    assert weights.max() <= high * (1 + 1e-15)
    # No draw within the last 20/n of the interval: probability e^-20.
    edge = 20 / weights.size * (high - low)
    assert weights.min() < low + edge
    assert weights.max() > high - edge
    # A tenth of the interval holds a tenth of the draws.
    share = np.mean(weights < low + 0.1 * (high - low))
    assert abs(share - 0.1) < 6 * math.sqrt(0.09 / weights.size)


@pytest.mark.parametrize("law", [law for law in LAWS if law.shape == "cut"], ids=repr)
def test_a_truncated_normal_is_cut_at_two_of_its_own_deviations(law):
    std = math.sqrt(law.variance(*SHAPE)) / KERAS_CUT
    away = np.abs(law.init(SHAPE, rng=3) - law.mean)
    assert away.max() <= 2 * std * (1 + 1e-15)
    # Density at the cut: 0.0566 a side; the largest of n falls short of 2 by about 1 / (0.11 n).
    assert away.max() > (2 - 20 / (0.11 * away.size)) * std
    for inside in (0.5, 1.0, 1.5):
        share = math.erf(inside / math.sqrt(2)) / math.erf(2 / math.sqrt(2))
        found = np.mean(away < inside * std)
        assert abs(found - share) < 6 * math.sqrt(share * (1 - share) / away.size)


@pytest.mark.parametrize("law", [law for law in LAWS if law.shape == "normal"], ids=repr)
def test_a_plain_normal_is_not_cut(law):
    away = np.abs(law.init(SHAPE, rng=4) - law.mean) / math.sqrt(law.variance(*SHAPE))
    assert abs(np.mean(away > 2) - 0.0455) < 6 * math.sqrt(0.0455 / away.size)
    assert away.max() > 3.5


@pytest.mark.parametrize(
    ("named", "scaling"),
    [
        (glorot_uniform(), variance_scaling(1, "fan_avg", "uniform")),
        (glorot_normal(), variance_scaling(1, "fan_avg")),
        (he_uniform(), variance_scaling(2, distribution="uniform")),
        (he_normal(), variance_scaling(2)),
        (lecun_uniform(), variance_scaling(distribution="uniform")),
        (lecun_normal(), variance_scaling()),
    ],
    ids=repr,
)
def test_the_named_rules_are_scalings(named, scaling):
    np.testing.assert_array_equal(named((7, 5), 0), scaling((7, 5), 0))


def test_orthogonal_columns_or_rows():
    for shape, matrix in {
        (40, 40): (40, 40),
        (40, 15): (40, 15),
        (15, 40): (15, 40),
        (30,): (30, 1),
        (): (1, 1),
        (3, 4, 5): (12, 5),
        (2, 2, 9): (4, 9),
    }.items():
        W = orthogonal(gain=1.5)(shape, 0).reshape(matrix)
        inner = W.T @ W if matrix[0] >= matrix[1] else W @ W.T
        np.testing.assert_allclose(inner, 2.25 * np.eye(len(inner)), atol=1e-14)


def test_orthogonal_matrices_are_uniform():
    """Rotations by any angle, and as many reflections; QR alone has signs of its own."""
    rng = np.random.default_rng(1)
    W = np.array([orthogonal()((2, 2), rng) for _ in range(4000)])
    reflections = np.mean(np.linalg.det(W) < 0)
    assert abs(reflections - 0.5) < 6 * 0.5 / math.sqrt(len(W))
    angles = np.arctan2(W[:, 1, 0], W[:, 0, 0])
    shares = np.histogram(angles, bins=8, range=(-np.pi, np.pi))[0] / len(W)
    assert np.abs(shares - 1 / 8).max() < 6 * math.sqrt(1 / 8 * 7 / 8 / len(W))
    # Every entry of a uniform one has mean 0 and variance 1/2.
    assert np.abs(W.mean(axis=0)).max() < 6 * math.sqrt(0.5 / len(W))


def test_identity():
    for shape in [(3, 3), (2, 4), (4, 2)]:
        np.testing.assert_array_equal(identity(0.5)(shape, 0), 0.5 * np.eye(*shape))


def test_sparse_has_the_same_zeros_in_every_column():
    for sparsity, n, zero in [(0.9, 50, 45), (0.07, 100, 7), (0.1, 55, 6), (0, 9, 0), (1, 9, 9)]:
        W = sparse(sparsity, std=2.0)((n, 3000), 0)
        np.testing.assert_array_equal((W == 0).sum(axis=0), zero)
        if 0 < zero < n:
            check_moments(W[W != 0], 0.0, 4.0)
            # Each place of a column is zero equally often.
            share = zero / n
            spread = math.sqrt(share * (1 - share) / W.shape[1])
            assert np.abs((W == 0).mean(axis=1) - share).max() < 6 * spread


@each
def test_a_vector_is_a_column(init):
    np.testing.assert_array_equal(init(50, 0), init((50, 1), 0)[:, 0])


def test_constants(dtype):
    for init, value in [(zeros(), 0), (ones(), 1), (constant(), 0), (constant(0.3), 0.3)]:
        weights = init((3, 2), 0, dtype)
        np.testing.assert_array_equal(weights, np.full((3, 2), value, dtype), strict=True)


@each
def test_shape_type_and_layout(init, dtype):
    for shape in [(), (1,), (7,), (4, 3), (0, 5), (5, 0), (0,), [2, 3]]:
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


@pytest.mark.parametrize("init", DRAWING, ids=repr)
def test_a_seed_repeats_and_a_generator_moves_on(init):
    rng = np.random.default_rng(7)
    first, second = init((20, 10), rng), init((20, 10), rng)
    np.testing.assert_array_equal(first, init((20, 10), 7))
    np.testing.assert_array_equal(first, init((20, 10), np.int64(7)))
    for other in (second, init((20, 10), 8)):
        assert not np.isin(first[first != 0], other).any()


def test_uniform_draws_what_numpy_draws():
    rng = np.random.default_rng(9)
    expected = np.random.default_rng(9).uniform(low=-0.002, high=0.002, size=(2, 1))
    np.testing.assert_array_equal(uniform(-0.002, 0.002)((2, 1), rng), expected)


def test_equal_bounds_and_zero_deviation_are_constants():
    np.testing.assert_array_equal(uniform(0.5, 0.5)((2, 2), 0), np.full((2, 2), 0.5))
    np.testing.assert_array_equal(normal(0.5, 0)((2, 2), 0), np.full((2, 2), 0.5))


def test_fixed_rules_draw_nothing():
    for init in FIXED:
        rng = np.random.default_rng(7)
        init((20, 10), rng)
        assert rng.random() == np.random.default_rng(7).random()


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


@pytest.mark.parametrize("init", [init for init in EXAMPLES if dataclasses.fields(init)], ids=repr)
def test_settings_cannot_change(init):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(init, dataclasses.fields(init)[0].name, 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_get_by_name(name):
    rule = getattr(gd.initializers, name)
    fields = dataclasses.fields(rule)
    needed = {field.name: 0.5 for field in fields if field.default is dataclasses.MISSING}
    assert get(name, **needed) == get(rule, **needed) == rule(**needed)


def test_names_of_keras():
    assert get("random_normal", std=0.1) == normal(std=0.1)
    assert get("random_uniform") == uniform()


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
        ("trunc_normal_", "truncated_normal"),
        ("eye_", "identity"),
        ("LecunUniform", "lecun_uniform"),
        ("he", "he_uniform' or 'he_normal"),
        ("xavier", "glorot_normal"),
    ],
)
def test_get_suggests_the_nearest_name(name, nearest):
    with pytest.raises(ValueError, match=rf"{name!r} is unknown.*did you mean '{nearest}'\?"):
        get(name)


def test_get_refuses_the_rest():
    with pytest.raises(ValueError, match=r"'qqq' is unknown; accepted are zeros, ones, [^?]*$"):
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
        (lambda: constant("1"), TypeError, "value is '1'; accepted is a finite number$"),
        (lambda: orthogonal(math.inf), ValueError, "gain is inf; accepted is a finite number$"),
        (lambda: identity(scale=2), TypeError, r"unknown argument scale=.*did you mean gain=\?"),
        (lambda: truncated_normal(std=-1), ValueError, "std is -1; accepted is a finite number >="),
        (
            lambda: sparse(1.5),
            ValueError,
            "sparsity is 1.5; accepted is the share of zeros, 0 to 1",
        ),
        (lambda: sparse(0.5, std=-1), ValueError, "std is -1"),
        (lambda: sparse(), TypeError, "missing 1 required positional argument: 'sparsity'"),
        (lambda: variance_scaling(-1), ValueError, "scale is -1; accepted is a finite number >= 0"),
        (
            lambda: variance_scaling(mode="fan"),
            ValueError,
            "mode is 'fan'; accepted is one of 'fan_in', 'fan_out', 'fan_avg'$",
        ),
        (lambda: variance_scaling(1, 2), TypeError, "mode is 2; accepted is one of 'fan_in'"),
        (
            lambda: variance_scaling(distribution="normal"),
            ValueError,
            "'uniform'; \"normal\" is truncated in Keras and not in JAX, so say which$",
        ),
    ],
)
def test_bad_settings_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@each
def test_bad_shapes_are_refused(init):
    for shape in [-1, (2, -1), 2.5, "ab", None]:
        error = ValueError if shape in (-1, (2, -1)) else TypeError
        with pytest.raises(error, match=r"shape is .*; accepted is an integer >= 0 or a tuple"):
            init(shape, 0)


def test_more_than_two_axes_where_inputs_and_outputs_count():
    """Only the rules that do not look at the shape, and orthogonal, take them."""
    free = (zeros, ones, constant, uniform, normal, truncated_normal, orthogonal)
    for init in EXAMPLES:
        if isinstance(init, free):
            assert init((2, 3, 4), 0).shape == (2, 3, 4)
        else:
            with pytest.raises(
                ValueError, match=r"shape is \(2, 3, 4\); accepted are \(inputs, ou"
            ):
                init((2, 3, 4), 0)


@each
def test_bad_generators_are_refused(init):
    for rng in (None, True, 1.0, "0", -1):
        error = ValueError if rng == -1 else TypeError
        with pytest.raises(error, match=r"rng is .*; accepted is a numpy.random.Generator or an"):
            init(3, rng)


@each
def test_other_types_are_refused(init):
    for wrong in (np.float16, np.longdouble, complex, int, object, ">f8", ">f4"):
        with pytest.raises(TypeError, match=r"dtype is .*; accepted are float32 and float64"):
            init(3, 0, wrong)


@pytest.mark.parametrize(
    ("activation", "factor"),
    [
        ("linear", 1.0),
        ("relu", math.sqrt(2)),
        ("sigmoid", 1.0),
        ("tanh", 5 / 3),
        (gd.activations.sigmoid, 1.0),
        (gd.tanh, 5 / 3),
        (np.tanh, 5 / 3),
    ],
    ids=repr,
)
def test_gain_by_name(activation, factor):
    assert gain(activation) == factor


def test_gain_by_moments():
    """E[f(z)^2] in closed form; kinks at 0, 1/2, 1 and 6."""

    def within(a):  # E[z^2; 0 < z < a]
        return math.erf(a / math.sqrt(2)) / 2 - a * math.exp(-a * a / 2) / math.sqrt(2 * math.pi)

    def beyond(a):  # P(z > a)
        return math.erfc(a / math.sqrt(2)) / 2

    for function, moment in [
        (lambda z: np.where(z < 0, 0.2 * z, z), (1 + 0.2**2) / 2),
        (np.cos, (1 + math.exp(-2)) / 2),
        (np.exp, math.exp(2)),
        (lambda z: 3 * z**3, 9 * 15),
        (lambda z: np.clip(z, -1, 1), 2 * (within(1) + beyond(1))),
        (lambda z: np.clip(z, 0, 6), within(6) + 36 * beyond(6)),
        (lambda z: np.where(np.abs(z) > 0.5, 1.0, 0.0), 2 * beyond(0.5)),
        (lambda z: np.maximum(z, 0), 0.5),
    ]:
        assert gain(function) == pytest.approx(1 / math.sqrt(moment), rel=1e-13)


def test_every_activation_has_a_gain_or_is_not_elementwise():
    softmaxes = []
    for name in gd.activations.names():
        try:
            factor = gain(name)
        except ValueError:
            softmaxes.append(name)
        else:
            assert 0.5 < factor < 4
    assert softmaxes == [name for name in gd.activations.names() if "softmax" in name]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("rleu",), ValueError, "'rleu' is unknown.*did you mean 'relu'"),
        (("softmax",), ValueError, "is not elementwise"),
        ((np.sum,), ValueError, "is not elementwise"),
        ((np.cumsum,), ValueError, "is not elementwise"),
        ((np.zeros_like,), ValueError, "mean of f.z..2 over standard normal z is 0.0; accepted"),
        ((np.log,), ValueError, "not elementwise|is nan"),
        ((3,), TypeError, "activation is 3; accepted is a name"),
    ],
)
def test_gain_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        gain(*arguments)


def test_gain_refuses_settings_that_do_not_exist():
    with pytest.raises(TypeError, match="slope="):
        gain("relu", slope=0.1)
    with pytest.raises(TypeError, match="slope found; accepted with a name only"):
        gain(np.cos, slope=0.1)


def test_gains_keep_a_signal():
    """Through 10 layers a moment gain keeps the variance of z; gain 1 loses half in each."""
    rng = np.random.default_rng(2)

    def leaky(z):
        return np.where(z < 0, 0.2 * z, z)

    for factor, low, high in [(gain(leaky), 0.5, 2.0), (1.0, 7e-4, 3e-3)]:
        z = rng.standard_normal((100, 100))
        for _ in range(10):
            z = leaky(z) @ orthogonal(factor)((100, 100), rng)
        assert low < z.var() < high
