"""Schedules: values by hand, t in every form, the settings of each kind, and bad arguments.

What every schedule keeps is tested over all public kinds, drawn at random by the names of their
fields; torch, optax and Keras are in test_peers_schedules.py, plateau in test_told_rates.py.
"""

import copy
import dataclasses
import inspect
import math
import operator
import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import gdcore as gd
from gdcore import schedules
from gdcore._settings import Settings
from gdcore.schedules import (
    Schedule,
    by_gradient,
    constant,
    cosine,
    cosine_restarts,
    cyclic,
    exponential,
    inverse_sqrt,
    inverse_time,
    linear,
    multistep,
    one_cycle,
    per_epoch,
    piecewise_constant,
    piecewise_interpolated,
    plateau,
    polynomial,
    product,
    sequential,
    step,
    warmup,
    wsd,
)

SETTINGS = [
    kind
    for kind in map(vars(schedules).get, schedules.__all__)
    if issubclass(kind, Settings) and kind is not Schedule
]
KINDS = [kind for kind in SETTINGS if issubclass(kind, Schedule)]
ENDLESS = (step, exponential, inverse_time, inverse_sqrt, cosine_restarts, cyclic)

# ---- Any schedule --------------------------------------------------------------------------------

rates = st.floats(0, 1).map(lambda x: round(x, 9))
lengths = st.integers(1, 40)
parts = st.sampled_from(
    [0.3, constant(2), linear(0.5, 0.1, 9), multistep(0.8, [4, 6]), wsd(1, 2, 3, 4)]
)
FIELDS = {
    **dict.fromkeys(("lr", "value", "start", "stop"), rates),
    **dict.fromkeys(("min_lr", "threshold", "eps", "max"), rates),
    **dict.fromkeys(("max_momentum", "base_momentum"), st.floats(0, 0.99)),
    **dict.fromkeys(("steps", "step_size", "steps_up", "steps_down", "steps_per_epoch"), lengths),
    **dict.fromkeys(("warmup_steps", "stable_steps", "decay_steps"), lengths),
    **dict.fromkeys(("patience", "cooldown"), lengths),
    **dict.fromkeys(("schedule", "first", "second"), parts),
    **dict.fromkeys(("three_phase", "cycle_momentum"), st.booleans()),
    **dict.fromkeys(("power", "div_factor", "final_div_factor", "scale"), st.floats(0.1, 50)),
    "peak": st.floats(1, 2),
    "gamma": st.floats(0, 1.1),
    "decay_rate": st.floats(0, 10),
    "growth": st.sampled_from([1, 1.5, 2, 3]),
    "factor": st.floats(0, 0.9),
    "pct_start": st.floats(0, 0.5),
    "anneal": st.sampled_from(["linear", "cosine"]),
    "mode": st.sampled_from(["triangular", "triangular2", "exp_range"]),
    "threshold_mode": st.sampled_from(["rel", "abs"]),
}


@st.composite
def drawn(draw, kind):
    """A schedule of the kind; sequences that belong together have lengths that do."""
    steps = draw(st.lists(lengths, unique=True, max_size=5).map(sorted))
    own = {
        **dict.fromkeys(("milestones", "boundaries"), st.just(steps)),
        "values": st.lists(rates, min_size=len(steps) + 1, max_size=len(steps) + 1),
        "schedules": st.lists(parts, min_size=len(steps) + 1, max_size=len(steps) + 1),
    }
    if kind is plateau:
        own["mode"] = st.sampled_from(["min", "max"])
    return kind(**{f.name: draw({**FIELDS, **own}[f.name]) for f in dataclasses.fields(kind)})


def over_kinds(kinds):
    """Run a test of (kind, schedule) for each kind with schedules drawn at random."""

    def decorate(test):
        def one_kind(kind):
            @settings(max_examples=settings().max_examples // 10)
            @given(drawn(kind))
            def run(schedule):
                test(schedule)

            run()

        one_kind.__name__ = test.__name__
        return pytest.mark.parametrize("kind", kinds, ids=lambda kind: kind.__name__)(one_kind)

    return decorate


def callables(schedule):
    """The schedule and, where it has one, its momentum."""
    return [schedule] if schedule.momentum is None else [schedule, schedule.momentum]


@over_kinds(KINDS)
def test_arrays_and_numbers_give_the_same_bits(schedule):
    t = np.arange(180)
    for function in callables(schedule):
        values = function(t)
        assert values.dtype == np.float64
        assert (values >= 0).all()
        np.testing.assert_array_equal(values, [function(int(k)) for k in t])
        np.testing.assert_array_equal(values[::3], function(t[::3]))
        np.testing.assert_array_equal(values.reshape(60, 3).T, function(t.reshape(60, 3).T))
        np.testing.assert_array_equal(values[5:9], function([5.0, 6.0, 7.0, 8.0]))
        np.testing.assert_array_equal(values, function(t.astype(np.uint16)))
        np.testing.assert_array_equal(t, np.arange(180))
        for number in (3, 3.0, np.int32(3), np.float32(3), np.array(3)):
            assert type(function(number)) is float
            assert function(number) == values[3]
        for empty in ([], np.arange(0), np.empty((0, 2))):
            assert function(empty).shape == np.shape(empty)
            assert function(empty).dtype == np.float64


@over_kinds(KINDS)
def test_copies_and_repr_are_equal(schedule):
    copies = [
        pickle.loads(pickle.dumps(schedule)),
        copy.copy(schedule),
        copy.deepcopy(schedule),
        eval(repr(schedule), vars(schedules)),
    ]
    for twin in copies:
        assert twin is not schedule
        assert type(twin) is type(schedule)
        assert twin == schedule
        assert hash(twin) == hash(schedule)
        assert repr(twin) == repr(schedule)
        assert twin(11) == schedule(11)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, dataclasses.fields(schedule)[0].name, 1.0)


@over_kinds([kind for kind in KINDS if kind not in ENDLESS])
def test_after_its_end_a_schedule_stays(schedule):
    for function in callables(schedule):
        ends = function([2000, 2001, 10**6, 10**9, 10**15])
        assert math.isfinite(ends[0])
        np.testing.assert_array_equal(ends, ends[0])


@over_kinds(ENDLESS)
def test_any_step_has_a_rate(schedule):
    at_huge_steps = schedule([10**6, 10**12, 10**15, 2**60])
    assert not np.isnan(at_huge_steps).any()
    assert (at_huge_steps >= 0).all()


@over_kinds(KINDS)
def test_bad_t_is_refused(schedule):
    for t in (-1, [0, 1, -1], math.nan, math.inf, "3", None, True, [1j], 10**400):
        for function in callables(schedule):
            with pytest.raises((TypeError, ValueError), match=r"t is .*; accepted are steps done"):
                function(t)


@over_kinds(KINDS)
def test_a_product_with_a_number(schedule):
    t = np.arange(50)
    if schedule.momentum is not None:
        with pytest.raises(ValueError, match=r"whose momentum would not be used"):
            2 * schedule
        return
    for twice in (2 * schedule, schedule * 2.0, np.float64(2) * schedule, schedule * np.int64(2)):
        assert type(twice) is product
        np.testing.assert_array_equal(twice(t), 2 * schedule(t))
    np.testing.assert_array_equal((schedule * schedule)(t), schedule(t) ** 2)
    for other in ("2", None, True, [2], np.ones(2), math.sqrt):
        with pytest.raises(TypeError):
            operator.mul(schedule, other)
        with pytest.raises(TypeError):
            operator.mul(other, schedule)
    with pytest.raises(ValueError, match=r"value is -1"):
        -1 * schedule


# ---- Values by hand ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "t", "wanted"),
    [
        (constant(0.25), [0, 1, 10**9], [0.25, 0.25, 0.25]),
        (step(0.5, 3, gamma=0.5), [0, 2, 3, 5, 6, 9], [0.5, 0.5, 0.25, 0.25, 0.125, 0.0625]),
        (step(2.0, 1, gamma=0), [0, 1, 2], [2.0, 0.0, 0.0]),
        (multistep(8, [2, 3, 7], 0.5), [0, 1, 2, 3, 6, 7, 1e15], [8, 8, 4, 2, 2, 1, 1]),
        (multistep(8, []), [0, 9], [8, 8]),
        (exponential(8, 0.5), [0, 1, 2, 5], [8.0, 4.0, 2.0, 0.25]),
        (exponential(8, 0.25, decay_steps=100), [0, 50, 100, 200], [8.0, 4.0, 2.0, 0.5]),
        (exponential(3, 2), [0, 1, 10], [3.0, 6.0, 3072.0]),
        (inverse_time(0.75, 0.5), [0, 1, 2, 4], [0.75, 0.5, 0.375, 0.25]),
        (inverse_time(0.75, 1, decay_steps=10), [0, 10, 20, 90], [0.75, 0.375, 0.25, 0.075]),
        (inverse_sqrt(0.5, 4), [0, 12, 60], [0.5, 0.25, 0.125]),
        (linear(0.5, 0.1, 4), [0, 1, 2, 3, 3.5, 4, 5], [0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.1]),
        (linear(0, 1, 1), [0, 1, 2], [0, 1, 1]),
        (polynomial(0.5, 0.1, 4, 2), [0, 1, 2, 3, 4, 5], [0.5, 0.325, 0.2, 0.125, 0.1, 0.1]),
        (cosine(0.5, 0.1, 6), [0, 2, 3, 4, 6, 7, 12], [0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1]),
        (cosine_restarts(0.5, 0.1, 6), [0, 3, 6, 8, 12], [0.5, 0.3, 0.5, 0.4, 0.5]),
        (cosine_restarts(0.5, 0.1, 2, 3), [0, 1, 2, 5, 8, 17], [0.5, 0.3, 0.5, 0.3, 0.5, 0.3]),
        (cyclic(0.1, 0.5, 2, 4), [0, 1, 2, 3, 4, 5, 6], [0.1, 0.3, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (cyclic(0.1, 0.5, 2, mode="triangular2"), [2, 6, 10, 12], [0.5, 0.3, 0.2, 0.1]),
        (
            cyclic(0, 1, 2, mode="exp_range", gamma=0.5),
            [1, 2, 3, 6],
            [1 / 4, 1 / 4, 1 / 16, 1 / 64],
        ),
        (one_cycle(2, 10, div_factor=10), [0, 1, 2, 9, 99], [0.2, 1.1, 2, 2e-5, 2e-5]),
        (
            one_cycle(2, 14, 0.5, "linear", div_factor=10, final_div_factor=2, three_phase=True),
            [0, 3, 6, 9, 12, 13, 14],
            [0.2, 1.1, 2, 1.1, 0.2, 0.1, 0.1],
        ),
        (one_cycle(2, 1), [0, 1], [8e-6, 8e-6]),
        (warmup(linear(0.4, 0, 4), 2, 0.2), [0, 1, 2, 3, 6, 7], [0.2, 0.3, 0.4, 0.3, 0, 0]),
        (warmup(0.5, 5), [0, 1, 4, 5, 6], [0, 0.1, 0.4, 0.5, 0.5]),
        (warmup(inverse_sqrt(1, 4), 4), [2, 4, 16, 64], [0.5, 1, 0.5, 0.25]),
        (piecewise_constant([2, 4], [1, 3, 2]), [0, 1, 2, 3, 4, 1e15], [1, 1, 3, 3, 2, 2]),
        (piecewise_constant([], [3]), [0, 9], [3, 3]),
        (piecewise_interpolated([2, 6], [1, 3, 2]), [0, 1, 2, 4, 6, 7], [1, 2, 3, 2.5, 2, 2]),
        (piecewise_interpolated([6], [1, 3], "cosine"), [0, 2, 3, 4, 6, 7], [1, 1.5, 2, 2.5, 3, 3]),
        (piecewise_interpolated([], [3]), [0, 9], [3, 3]),
        (wsd(4, 2, 2, 4, 1, 2), [0, 1, 2, 4, 5, 6, 8, 9], [1, 2.5, 4, 4, 3.5, 3, 2, 2]),
        (wsd(4, 0, 0, 2, anneal="cosine"), [0, 1, 2, 3], [4, 2, 0, 0]),
        (
            sequential([0.5, linear(4, 0, 2), step(8, 1, 0.5)], [3, 5]),
            [0, 2, 3, 4, 5, 6, 7],
            [0.5, 0.5, 4, 2, 8, 4, 2],
        ),
        (sequential([step(8, 1, 0.5)], []), [0, 1], [8, 4]),
        (linear(1, 0, 4) * linear(0, 8, 4), [0, 1, 2, 4], [0, 1.5, 2, 0]),
        (per_epoch(step(8, 2, 0.5), 3), [0, 5, 6, 11, 12], [8, 8, 4, 4, 2]),
    ],
    ids=repr,
)
def test_values_by_hand(schedule, t, wanted):
    np.testing.assert_allclose(schedule(t), wanted, rtol=1e-15, atol=2e-16)


@pytest.mark.parametrize("growth", [1, 1.1, 1.5, 2, 3, 10])
def test_each_restart_is_at_the_start_of_its_cycle(growth):
    """The number of a cycle is a logarithm, which must not be rounded to the one before."""
    whole = cosine_restarts(0.5, 0.1, 7, growth)
    begin, length = 0.0, 7.0
    for _ in range(40):
        if begin > 2**50:
            break
        first = math.ceil(begin - 1e-6 * (growth % 1 > 0))
        gone = (first - begin) / length
        wanted = 0.3 + 0.2 * math.cos(math.pi * gone)
        assert whole(first) == pytest.approx(wanted, abs=1e-9)
        begin, length = begin + length, length * growth


def test_momentum_goes_the_other_way():
    cycle = one_cycle(2, 10, base_momentum=0.5, max_momentum=0.9)
    np.testing.assert_allclose(cycle.momentum([0, 1, 2, 9, 99]), [0.9, 0.7, 0.5, 0.9, 0.9])
    mirrored = one_cycle(2, 14, 0.5, "linear", three_phase=True)
    np.testing.assert_allclose(mirrored.momentum([0, 6, 9, 12, 13]), [0.95, 0.85, 0.9, 0.95, 0.95])
    assert pickle.loads(pickle.dumps(cycle.momentum))(1) == cycle.momentum(1)
    assert one_cycle(2, 10, cycle_momentum=False).momentum is None
    by_epoch = per_epoch(cycle, 4).momentum
    np.testing.assert_array_equal(by_epoch([0, 3, 4, 8]), cycle.momentum([0, 0, 1, 2]))
    assert per_epoch(linear(1, 0, 3), 4).momentum is None


def test_per_epoch_without_steps_needs_fit():
    epochs = per_epoch(linear(1, 0, 3))
    with pytest.raises(ValueError, match=r"only fit can fill in.*steps_per_epoch=\.\.\."):
        epochs(3)
    with pytest.raises(ValueError, match="only fit"):
        (2 * epochs)(3)
    with pytest.raises(ValueError, match="only fit"):
        gd.SGD(lr=epochs).step(np.ones(2), np.ones(2))
    assert dataclasses.replace(epochs, steps_per_epoch=2)(3) == pytest.approx(2 / 3)


def test_overflow_is_infinite_and_silent():
    assert exponential(1.0, 10.0)(400) == math.inf
    assert exponential(1.0, 0.1)(400) == 0.0
    np.testing.assert_array_equal(exponential(0.0, 10.0)([0, 400]), [0.0, 0.0])
    np.testing.assert_array_equal(step(0.0, 1, 10.0)([0, 400]), [0.0, 0.0])
    np.testing.assert_array_equal((0 * exponential(1.0, 10.0))([0, 400]), [0.0, 0.0])
    np.testing.assert_array_equal(cyclic(0, 1, 1, 1, "exp_range", 10)([400, 401]), [0.0, math.inf])
    assert inverse_time(1.0, 1e308)(1000) == 0.0


# ---- Settings ------------------------------------------------------------------------------------


def test_equality_looks_at_the_kind_and_every_setting():
    assert step(0.1, 30) == step(lr=0.1, step_size=30, gamma=0.1)
    assert step(0.1, 30) == step(np.float64(0.1), np.int64(30))
    assert step(0.1, 30) != step(0.1, 31)
    assert linear(0.1, 0.5, 3) != polynomial(0.1, 0.5, 3)
    assert constant(0.1) != 0.1
    assert multistep(1, [2, 3]) == multistep(1, (2, 3)) == multistep(1, np.array([2, 3]))
    assert cyclic(0, 1, 5) == cyclic(0, 1, 5, 5)
    assert warmup(0.1, 3) == warmup(constant(0.1), 3)
    assert repr(multistep(1, np.array([2, 3]))) == "multistep(lr=1.0, milestones=(2, 3), gamma=0.1)"


BAD_BY_TYPE = {
    float: [-0.1, math.nan, math.inf, 10**400, True, "0.1", None, np.array([0.1]), 1j],
    int: [-1, 1.5, math.nan, True, "3", np.array([3])],
    bool: [1, "True", None],
    str: ["cos", "", 1, None, True],
    tuple: [0.1, "0.1", None, [True], ["1"], [-1], [math.nan], [[1]], np.ones((2, 2))],
    Schedule: [-0.1, math.nan, math.inf, 10**400, True, "0.1", None, math.sqrt, plateau(0.1)],
}


@over_kinds(SETTINGS)
def test_bad_settings_are_refused(example):
    """Each field by itself: whatever is no number, flag, word or sequence, and numbers outside."""
    for field in dataclasses.fields(example):
        value = getattr(example, field.name)
        kind = Schedule if isinstance(value, Schedule) else type(value)
        for wrong in BAD_BY_TYPE[kind]:
            with pytest.raises((TypeError, ValueError)) as caught:
                dataclasses.replace(example, **{field.name: wrong})
            start = f"{type(example).__name__}: {field.name}"
            assert str(caught.value).startswith(start)
            assert "accepted" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: step(0.1, 0), r"step_size is 0; accepted is an integer >= 1"),
        (lambda: exponential(0.1, 0.5, 0.5), r"decay_steps is 0.5; .*number >= 1"),
        (lambda: linear(-0.1, 0, 3), r"start is -0.1; accepted .* maximize=True"),
        (lambda: multistep(0.1, [0, 3]), r"milestones is \[0, 3\]; .*>= 1 that increase"),
        (lambda: multistep(0.1, [3, 3]), r"milestones is \[3, 3\]"),
        (lambda: polynomial(1, 0, 3, 0), r"power is 0; accepted is a finite number > 0"),
        (lambda: cosine_restarts(1, 0, 3, 0.9), r"growth is 0.9; .*>= 1"),
        (lambda: cyclic(0.5, 0.1), r"peak is 0.1; accepted is a finite number >= 0.5"),
        (lambda: cyclic(0.1, 0.5, mode="sawtooth"), r"mode is 'sawtooth'; .*'triangular2'"),
        (lambda: one_cycle(1, 9, 1.1), r"pct_start is 1.1; accepted is a number from 0 to 1$"),
        (lambda: one_cycle(1, 9, 0.6, three_phase=True), r"from 0 to 0.5 with three_phase"),
        (lambda: one_cycle(1, 9, max_momentum=1), r"max_momentum is 1; .*\[0, 1\)"),
        (lambda: piecewise_constant([2], [0.1]), r"values is \[0.1\]; accepted are 2 finite"),
        (lambda: sequential([0.1], [2]), r"schedules is \[0.1\]; accepted are 2 schedules"),
        (lambda: sequential([0.1, one_cycle(1, 9)], [2]), r"schedules\[1\] .*momentum would not"),
        (lambda: warmup(one_cycle(1, 9), 3), r"schedule is one_cycle.*cycle_momentum=False"),
        (lambda: warmup(math.sqrt, 3), r"schedule is <built-in.*derive .* from gd.schedules.Sch"),
        (lambda: wsd(1, -1, 0, 1), r"warmup_steps is -1; accepted is an integer >= 0"),
        (lambda: by_gradient(0, 1), r"scale is 0; accepted is a finite number > 0"),
        (lambda: plateau(0.1, factor=1), r"factor is 1; accepted is a number in \[0, 1\)"),
    ],
)
def test_an_error_says_what_is_accepted(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_an_unknown_argument_names_ours(kind):
    """Every name of another library that stands for one of this kind's arguments, and typos."""
    known = [field.name for field in dataclasses.fields(kind)]
    foreign = {name: ours for name, ours in kind._aliases.items() if ours in known}
    assert not foreign.keys() & set(known)
    for name, ours in {**foreign, known[0] + "s": known[0]}.items():
        with pytest.raises(TypeError, match=rf"unknown argument {name}=.*did you mean {ours}=\?"):
            kind(**{name: 1})
    too_many = range(len(known) + 1)
    with pytest.raises(TypeError, match=rf"positional .* {kind.__name__}\({', '.join(known)}\)"):
        kind(*too_many)
    assert [*inspect.signature(kind).parameters] == known


def test_a_missing_argument_is_named():
    with pytest.raises(TypeError, match="step_size"):
        step(0.1)


# ---- Schedules of one's own, and pictures --------------------------------------------------------


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
    assert (2 * halving(8.0))(1) == 8.0
    assert warmup(halving(8.0), 2)([1, 2, 3]).tolist() == [4.0, 8.0, 4.0]
    with pytest.raises(ValueError, match=r"t is -1"):
        halving(8.0)(-1)


def test_a_schedule_plots_itself():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    ax = figure.subplots()
    display = step(0.1, 2, 0.5).plot(4, ax=ax)
    assert display.ax is ax
    np.testing.assert_array_equal(display.artists["rate"].get_xdata(), [0, 1, 2, 3])
    np.testing.assert_array_equal(display.artists["rate"].get_ydata(), [0.1, 0.1, 0.05, 0.05])
