"""Schedules: their closed forms, the recurrences of torch, t in every form, and bad arguments."""

import copy
import dataclasses
import math
import pickle

import numpy as np
import pytest

import gdcore as gd
from gdcore.schedules import Schedule, constant, exponential, inverse_time, step

EXAMPLES = [
    constant(0.3),
    constant(0),
    step(0.8, 7),
    step(lr=0.8, step_size=7, gamma=0.5),
    exponential(0.5, 0.93),
    exponential(1e-6, 1.3, decay_steps=12.5),
    inverse_time(0.1, 0.37),
    inverse_time(0.1, decay_rate=2.0, decay_steps=9),
]
each = pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)


@pytest.mark.parametrize(
    ("schedule", "t", "rates"),
    [
        (constant(0.25), [0, 1, 10**9], [0.25, 0.25, 0.25]),
        (step(0.5, 3, gamma=0.5), [0, 2, 3, 5, 6, 9], [0.5, 0.5, 0.25, 0.25, 0.125, 0.0625]),
        (step(2.0, 1, gamma=0), [0, 1, 2], [2.0, 0.0, 0.0]),
        (exponential(8, 0.5), [0, 1, 2, 5], [8.0, 4.0, 2.0, 0.25]),
        (exponential(8, 0.25, decay_steps=100), [0, 50, 100, 200], [8.0, 4.0, 2.0, 0.5]),
        (exponential(3, 2), [0, 1, 10], [3.0, 6.0, 3072.0]),
        (inverse_time(0.75, 0.5), [0, 1, 2, 4], [0.75, 0.5, 0.375, 0.25]),
        (inverse_time(0.75, 1, decay_steps=10), [0, 10, 20, 90], [0.75, 0.375, 0.25, 0.075]),
    ],
    ids=repr,
)
def test_values_by_hand(schedule, t, rates):
    np.testing.assert_allclose(schedule(t), rates, rtol=4e-16, atol=0)


def test_step_is_the_recurrence_of_torch():
    lr, rates = 0.1, []
    for epoch in range(200):
        if epoch and epoch % 30 == 0:
            lr *= 0.1
        rates.append(lr)
    np.testing.assert_allclose(step(0.1, 30)(np.arange(200)), rates, rtol=1e-14)


def test_exponential_is_the_recurrence_of_torch():
    rates = 0.1 * np.cumprod([1.0] + [0.97] * 499)
    np.testing.assert_allclose(exponential(0.1, 0.97)(np.arange(500)), rates, rtol=1e-12)


def test_a_staircase_is_a_step():
    t = np.arange(100)
    rates = [0.4 * 0.9 ** math.floor(k / 25) for k in t]
    np.testing.assert_allclose(step(0.4, 25, 0.9)(t), rates, rtol=1e-15)


@each
def test_arrays_and_numbers_give_the_same_bits(schedule):
    t = np.arange(3001)
    rates = schedule(t)
    assert rates.dtype == np.float64
    np.testing.assert_array_equal(rates, [schedule(int(k)) for k in t])
    np.testing.assert_array_equal(rates[::3], schedule(t[::3]))
    np.testing.assert_array_equal(rates[1:].reshape(60, 50).T, schedule(t[1:].reshape(60, 50).T))
    np.testing.assert_array_equal(rates[5:9], schedule([5.0, 6.0, 7.0, 8.0]))
    np.testing.assert_array_equal(rates, schedule(t.astype(np.uint16)))


@each
def test_numbers_give_python_floats(schedule):
    for t in (3, 3.0, np.int32(3), np.float32(3), np.array(3)):
        assert type(schedule(t)) is float
        assert schedule(t) == schedule(3)


@each
def test_no_steps_no_rates(schedule):
    rates = schedule(np.arange(0))
    assert rates.shape == (0,)
    assert rates.dtype == np.float64
    assert schedule([]).shape == (0,)


@each
def test_t_is_not_changed(schedule):
    t = np.arange(5.0)
    schedule(t)
    np.testing.assert_array_equal(t, [0, 1, 2, 3, 4])


@each
def test_copies_and_repr_are_equal(schedule):
    for twin in (
        pickle.loads(pickle.dumps(schedule)),
        copy.copy(schedule),
        copy.deepcopy(schedule),
        eval(repr(schedule), vars(gd.schedules)),
    ):
        assert twin is not schedule
        assert type(twin) is type(schedule)
        assert twin == schedule
        assert hash(twin) == hash(schedule)
        assert repr(twin) == repr(schedule)
        assert twin(11) == schedule(11)


def test_equality_looks_at_the_kind_and_every_setting():
    assert len(set(EXAMPLES)) == len(EXAMPLES)
    assert step(0.1, 30) == step(lr=0.1, step_size=30, gamma=0.1)
    assert step(0.1, 30) == step(np.float64(0.1), np.int64(30))
    assert exponential(0.1, 0.5) != inverse_time(0.1, 0.5)
    assert constant(0.1) != 0.1


def test_repr_names_every_setting():
    assert repr(step(np.float64(0.5), np.int64(30))) == "step(lr=0.5, step_size=30, gamma=0.1)"


@each
def test_settings_cannot_change(schedule):
    name = dataclasses.fields(schedule)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, name, 1.0)


def test_overflow_is_infinite_and_silent():
    assert exponential(1.0, 10.0)(400) == math.inf
    assert exponential(1.0, 0.1)(400) == 0.0
    np.testing.assert_array_equal(exponential(0.0, 10.0)([0, 400]), [0.0, 0.0])
    np.testing.assert_array_equal(step(0.0, 1, 10.0)([0, 400]), [0.0, 0.0])
    assert inverse_time(1.0, 1e308)(1000) == 0.0


BAD_NUMBERS = [(-0.1, ValueError), (math.nan, ValueError), (math.inf, ValueError)]
BAD_NUMBERS += [(10**400, ValueError), ("0.1", TypeError), (None, TypeError), (True, TypeError)]
BAD_NUMBERS += [(np.array([0.1]), TypeError), (1j, TypeError)]


@pytest.mark.parametrize(("value", "error"), BAD_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("value", constant),
        ("lr", lambda value: step(value, 30)),
        ("lr", lambda value: exponential(value, 0.9)),
        ("lr", lambda value: inverse_time(value, 0.9)),
        ("gamma", lambda value: step(0.1, 30, value)),
        ("gamma", lambda value: exponential(0.1, value)),
        ("decay_rate", lambda value: inverse_time(0.1, value)),
        ("decay_steps", lambda value: exponential(0.1, 0.9, value)),
        ("decay_steps", lambda value: inverse_time(0.1, 0.9, value)),
    ],
)
def test_bad_numbers_are_refused(name, make, value, error):
    with pytest.raises(error, match=rf"{name} is .*; accepted is a finite number >= [01]"):
        make(value)


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-3, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_a_stair_is_at_least_one_whole_step(value, error):
    with pytest.raises(error, match=r"step_size is .*; accepted is an integer >= 1"):
        step(0.1, value)


@each
@pytest.mark.parametrize(
    ("t", "error"),
    [
        (-1, ValueError),
        ([0, 1, -1], ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        ("3", TypeError),
        (None, TypeError),
        (True, TypeError),
        ([1j], TypeError),
        (10**400, TypeError),
    ],
    ids=repr,
)
def test_bad_t_is_refused(schedule, t, error):
    with pytest.raises(error, match=r"t is .*; accepted are steps done, finite and >= 0"):
        schedule(t)


@pytest.mark.parametrize(
    ("make", "named", "ours"),
    [
        (lambda: step(learning_rate=0.1, step_size=3), "learning_rate", "lr"),
        (lambda: step(0.1, 3, decay_rate=0.5), "decay_rate", "gamma"),
        (lambda: step(0.1, stepsize=3), "stepsize", "step_size"),
        (lambda: step(0.1, transition_steps=3), "transition_steps", "step_size"),
        (lambda: exponential(init_value=0.1, gamma=0.5), "init_value", "lr"),
        (lambda: exponential(0.1, decay_rate=0.5), "decay_rate", "gamma"),
        (lambda: exponential(0.1, 0.5, transition_steps=5), "transition_steps", "decay_steps"),
        (lambda: inverse_time(0.1, gamma=0.5), "gamma", "decay_rate"),
        (lambda: constant(lr=0.1), "lr", "value"),
    ],
)
def test_an_unknown_argument_names_ours(make, named, ours):
    with pytest.raises(TypeError, match=rf"unknown argument {named}=.*did you mean {ours}=\?"):
        make()


def test_too_many_arguments_are_listed():
    with pytest.raises(TypeError, match=r"4 positional .* step\(lr, step_size, gamma\)"):
        step(0.1, 30, 0.1, 5)
    with pytest.raises(TypeError, match="step_size"):
        step(0.1)


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Schedule()


def test_a_schedule_of_ones_own_needs_only_its_formula():
    @dataclasses.dataclass(frozen=True)
    class halving(Schedule):
        lr: float

        def _rate(self, t):
            return self.lr * 0.5**t

    assert halving(8.0)(3) == 1.0
    np.testing.assert_array_equal(halving(8.0)([0, 1]), [8.0, 4.0])
    assert halving(8.0) == halving(8.0)
    with pytest.raises(ValueError, match=r"t is -1"):
        halving(8.0)(-1)


def test_a_schedule_plots_itself():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    ax = figure.subplots()
    display = step(0.1, 2, 0.5).plot(4, ax=ax)
    assert display.ax is ax
    np.testing.assert_array_equal(display.artists["rate"].get_xdata(), [0, 1, 2, 3])
    np.testing.assert_array_equal(display.artists["rate"].get_ydata(), [0.1, 0.1, 0.05, 0.05])
