"""Regularizers: values, gradients by differentiation, names, settings and bad arguments."""

import copy
import pickle

import numpy as np
import pytest

import gdcore as gd
from gdcore import regularizers
from gdcore.regularizers import Regularizer, get, l1, l1_l2, l2

EXAMPLES = [l1(), l1(0.5), l2(), l2(1e-4), l1_l2(), l1_l2(l1=0.5), l1_l2(0.25, 0.75)]


@pytest.mark.parametrize("penalty", EXAMPLES, ids=repr)
def test_values_are_the_sums(penalty, dtype, rng):
    W = rng.normal(size=(7, 5)).astype(dtype)
    first, second = penalty._strengths()
    wanted = first * np.abs(W.astype(float)).sum() + second * (W.astype(float) ** 2).sum()
    found = penalty(W)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-6 if dtype == np.float32 else 1e-14)


def test_strengths_are_told_apart():
    assert l1(0.5)._strengths() == (0.5, 0.0)
    assert l2(0.5)._strengths() == (0.0, 0.5)
    assert l1_l2(0.5, 0.25)._strengths() == (0.5, 0.25)


@pytest.mark.parametrize("penalty", [l1(0.5), l2(0.25), l1_l2(0.5, 0.25)], ids=repr)
def test_gradients_by_differentiation(penalty, rng):
    W = rng.normal(size=(4, 3))
    first, second = penalty._strengths()
    np.testing.assert_allclose(gd.grad(penalty)(W), first * np.sign(W) + 2 * second * W, rtol=1e-14)


def test_numbers_and_integers_are_float64():
    assert l1(0.5)(np.int8(-128)) == 64.0
    assert l2(0.5)([[1, -2], [3, 0]]) == 7.0
    assert l1_l2(1.0, 1.0)(np.array([200, 200], np.uint8)) == 400.0 + 80_000.0
    assert l1()(np.zeros((0, 3))) == 0.0


@pytest.mark.parametrize("kind", [np.float16, np.longdouble, np.complex128, object, "U1"])
def test_other_types_are_refused(kind):
    with pytest.raises(TypeError, match=r"dtype.*float32, float64 and integers are accepted"):
        l2()(np.ones(3).astype(kind))


def test_infinities_go_through_without_a_warning():
    assert l1_l2(1.0, 1.0)(np.array([np.inf, 1.0])) == np.inf
    assert np.isnan(l2()(np.array([np.nan])))


@pytest.mark.parametrize("penalty", EXAMPLES, ids=repr)
def test_settings_print_pickle_copy_and_compare(penalty):
    assert eval(repr(penalty)) == penalty
    for twin in (pickle.loads(pickle.dumps(penalty)), copy.deepcopy(penalty)):
        assert twin == penalty
        assert hash(twin) == hash(penalty)
    assert l1(0.5) != l2(0.5)
    assert l1(0.5) != l1(0.25)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("l1", l1(0.01)),
        ("L1", l1(0.01)),
        ("l2", l2(0.01)),
        ("L2", l2(0.01)),
        ("l1_l2", l1_l2(0.01, 0.01)),
        ("L1L2", l1_l2(0.01, 0.01)),
    ],
)
def test_names_have_keras_defaults(name, wanted):
    assert get(name) == wanted


def test_get_takes_classes_settings_and_itself():
    assert get("l1_l2", l2=0.5) == l1_l2(0.0, 0.5)
    assert get(l2, l2=0.5) == l2(0.5)
    penalty = l1(0.5)
    assert get(penalty) is penalty
    assert get(None) is None
    assert isinstance(penalty, Regularizer)


def test_bad_identifiers_are_named():
    with pytest.raises(ValueError, match=r"'l2_' is unknown.*did you mean 'l2'"):
        get("l2_")
    with pytest.raises(TypeError, match=r"regularizer is 0\.01.*gd\.regularizers\.l2\(1e-4\)"):
        get(0.01)
    with pytest.raises(TypeError, match="l1 would not be used"):
        get(l1(0.5), l1=0.1)


@pytest.mark.parametrize("strength", [-0.1, np.nan, np.inf])
def test_strengths_outside_the_domain(strength):
    for kind, name in ((l1, "l1"), (l2, "l2"), (l1_l2, "l1"), (l1_l2, "l2")):
        with pytest.raises(ValueError, match=f"{kind.__name__}: {name} is .*finite number >= 0"):
            kind(**{name: strength})


def test_arguments_that_do_not_exist():
    with pytest.raises(TypeError, match=r"l2: unknown argument l=.*did you mean l2=\?"):
        l2(l=0.1)
    with pytest.raises(TypeError, match=r"l1: l1 is 'a'"):
        l1("a")
    with pytest.raises(AttributeError, match="did you mean 'l2'"):
        regularizers.l22  # noqa: B018
