"""Rates that depend on the run: plateau and by_gradient, by themselves."""

import math

import numpy as np
import pytest

from gdcore.schedules import PlateauState, by_gradient, plateau


def test_a_plateau_by_hand():
    p = plateau(1, factor=0.5, patience=1, cooldown=2, min_lr=0.2)
    losses = [3, 2, 2, 2, 2, 2, 2, 2, 9, 9, 9, 9, 9, 9, 9]
    # the fourth is the second bad one; after each fall two are not counted
    wanted = [1, 1, 1, *[0.5] * 4, *[0.25] * 4, *[0.2] * 4]
    np.testing.assert_array_equal(p(losses), wanted)
    np.testing.assert_array_equal(p(np.reshape(losses, (5, 3))).ravel(), wanted)
    state = p.start()
    assert state == PlateauState(lr=1.0, best=math.inf, bad=0, cooldown=0)
    for loss, lr in zip(losses, wanted, strict=True):
        state = p.told(state, loss)
        assert state.lr == lr
    assert type(p(3)) is float
    assert p([]).shape == (0,)


@pytest.mark.parametrize(
    ("settings", "best", "better", "not_better"),
    [
        ({}, 1.0, 0.9998, 0.99995),
        ({"threshold_mode": "abs"}, 100.0, 99.9998, 99.99995),
        ({"mode": "max"}, 1.0, 1.0002, 1.00005),
        ({"mode": "max", "threshold_mode": "abs"}, 100.0, 100.0002, 100.00005),
        ({"threshold": 0}, 1.0, np.nextafter(1.0, 0), 1.0),
    ],
)
def test_what_is_better(settings, best, better, not_better):
    p = plateau(1, patience=0, factor=0.5, **settings)
    assert p([best, better])[-1] == 1
    assert p([best, not_better])[-1] == 0.5


def test_a_nan_is_not_better_and_a_small_fall_is_left_out():
    np.testing.assert_array_equal(plateau(1, patience=1)([math.nan] * 3), [1, 0.1, 0.1])
    assert plateau(1, patience=0, factor=0.5, eps=0.5)([1, 1])[-1] == 1
    assert plateau(1, patience=0, factor=0.5, eps=0.49)([1, 1])[-1] == 0.5
    assert plateau(0.1, patience=0, min_lr=0.2)([1, 1])[-1] == 0.1


def test_the_rate_by_a_norm():
    rate = by_gradient(0.5, 2)
    np.testing.assert_array_equal(rate([0, 1, 4, 5, math.inf]), [0, 0.5, 2, 2, 2])
    assert math.isnan(rate(math.nan))
    assert type(rate(1)) is float
    assert rate(np.ones((2, 3))).shape == (2, 3)


@pytest.mark.parametrize("values", ["1", None, True, [1j], ["1"]])
def test_what_is_told_is_numbers(values):
    with pytest.raises(TypeError, match=r"norm is .*; accepted are real numbers"):
        by_gradient(1, 1)(values)
    with pytest.raises(TypeError, match=r"losses is .*; accepted are real numbers"):
        plateau(1)(values)
    with pytest.raises(ValueError, match=r"norm is -1"):
        by_gradient(1, 1)(-1)
