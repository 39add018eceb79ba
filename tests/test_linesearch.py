"""Line searches on functions of one number, checked against the conditions that they promise."""

import math

import numpy as np
import pytest

from gdcore._linesearch import Trial, armijo, backtracking, cubic_minimum, strong_wolfe


def exp(x):
    return math.exp(min(x, 700.0))


# name: function and derivative on step >= 0, all falling at 0.
FUNCTIONS = {
    "parabola": (lambda a: (a - 3.0) ** 2, lambda a: 2 * (a - 3.0)),
    "flat parabola": (lambda a: 1e-6 * (a - 1e3) ** 2, lambda a: 2e-6 * (a - 1e3)),
    "quartic": (lambda a: (a - 1.0) ** 4 - a, lambda a: 4 * (a - 1.0) ** 3 - 1),
    "steep wall": (lambda a: exp(9 * a) - 20 * a, lambda a: 9 * exp(9 * a) - 20),
    "waves": (lambda a: 0.1 * a - math.sin(a), lambda a: 0.1 - math.cos(a)),
    "ratio": (lambda a: -a / (a * a + 2), lambda a: (a * a - 2) / (a * a + 2) ** 2),
    "kink": (lambda a: math.hypot(a - 2.0, 1e-3), lambda a: (a - 2.0) / math.hypot(a - 2.0, 1e-3)),
}  # fmt: skip
FIRST_STEPS = (1e-6, 1e-3, 0.1, 1.0, 30.0, 1e4)


class Line:
    """A function along a line that counts its trials; outside `limit` it is not finite."""

    def __init__(self, f, slope, limit=math.inf, beyond=math.inf):
        self.f, self.slope, self.limit, self.beyond = f, slope, limit, beyond
        self.steps = []

    def __call__(self, step):
        self.steps.append(step)
        if step > self.limit:
            return Trial(step, self.beyond, math.nan, None)
        return Trial(step, self.f(step), self.slope(step), None)


def search(line, step, max_trials=60, **options):
    return strong_wolfe(line, line(0.0), step, narrowest=1e-12, max_trials=max_trials, **options)


def assert_wolfe(line, found, c1=1e-4, c2=0.9):
    f0, slope0 = line.f(0.0), line.slope(0.0)
    assert 0 < found.step < math.inf
    assert (found.loss, found.slope) == (line.f(found.step), line.slope(found.step))
    assert found.loss <= f0 + c1 * found.step * slope0
    assert abs(found.slope) <= c2 * abs(slope0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_strong_wolfe_conditions_hold(name):
    for step in FIRST_STEPS:
        line = Line(*FUNCTIONS[name])
        assert_wolfe(line, search(line, step))
        assert len(line.steps) <= 40
        sharp = Line(*FUNCTIONS[name])
        assert_wolfe(sharp, search(sharp, step, c2=0.1), c2=0.1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_turns_back_from_what_is_not_finite(name):
    f, slope = FUNCTIONS[name]
    for step in (1e-6, 1.0, 1e4):
        for limit in (0.01, 0.7, 2.5):
            line = Line(f, slope, limit)
            found = search(line, step)
            assert found.step <= limit
            assert armijo(line(0.0), found, 1e-4)
            assert len(line.steps) <= 63


def test_nothing_lower_is_the_start_itself():
    line = Line(lambda a: a, lambda a: -1.0)  # rises, whatever its slope says
    start = line(0.0)
    for beyond in (math.inf, math.nan):
        nowhere = Line(*FUNCTIONS["parabola"], 0.0, beyond)
        for one in (line, nowhere):
            one.steps.clear()
            assert strong_wolfe(one, start, 1.0, narrowest=0.0, max_trials=9) is start
            assert len(one.steps) == 10


def test_trials_are_limited_and_the_lowest_is_kept():
    for most in range(6):
        line = Line(*FUNCTIONS["flat parabola"])
        found = search(line, 1e-6, most)
        assert len(line.steps) == 2 + most  # 0, the first, and so many more
        assert found.loss == min(map(line.f, line.steps))
        assert found.step > 0
    wide = Line(lambda a: abs(a - 1e-9), lambda a: math.copysign(1.0, a - 1e-9))
    found = strong_wolfe(wide, wide(0.0), 1.0, narrowest=0.5, max_trials=60)
    assert found.step == 0
    assert len(wide.steps) <= 4


def test_the_cubic_is_interpolated_exactly(rng):
    for a, b, c in rng.uniform(0.5, 2.0, (50, 3)):
        # f = a t^3 / 3 - b t^2 / 2 - c t has its minimum at the larger root of f'.
        def trial(t, a=a, b=b, c=c):
            return Trial(t, a * t**3 / 3 - b * t * t / 2 - c * t, a * t * t - b * t - c, None)

        wanted = (b + math.sqrt(b * b + 4 * a * c)) / (2 * a)
        left, right = trial(0.25), trial(6.0)
        for one, other in ((left, right), (right, left)):
            assert cubic_minimum(one, other, 0.25, 6.0) == pytest.approx(wanted, rel=1e-12)
            assert cubic_minimum(one, other, 5.5, 6.0) == 5.5
            assert cubic_minimum(one, other, 0.0, 0.125) == 0.125


def test_the_middle_where_no_cubic_has_a_minimum():
    start = Trial(0.0, 1.0, -1.0, None)
    for other in (
        Trial(1.0, math.inf, math.nan, None),
        Trial(1.0, math.nan, 1.0, None),
        Trial(1.0, 1e300, 1e300, None),  # the discriminant overflows
        Trial(1.0, 0.0, -1.0, None),  # a straight line
        Trial(0.0, 1.0, -1.0, None),  # the same point
    ):
        assert cubic_minimum(start, other, 2.0, 5.0) == 3.5
        assert cubic_minimum(other, start, 2.0, 5.0) == 3.5
    # f = t^3 - t^2 / 2 + t never turns: 1.75 at 0.5 falls to no minimum.
    a, b = Trial(0.0, 0.0, 1.0, None), Trial(1.0, 1.5, 3.0, None)
    assert cubic_minimum(a, b, 0.0, 1.0) == 0.5


def test_backtracking_takes_the_first_step_that_is_low_enough():
    for shrink in (0.5, 0.8):
        for c1 in (1e-4, 0.5):
            line = Line(lambda a: a * a - a, lambda a: 2 * a - 1)
            start = line(0.0)
            options = {"shrink": shrink, "c1": c1}
            found = backtracking(line, start, 8.0, max_backtracks=99, **options)
            tried = line.steps[1:]
            np.testing.assert_allclose(tried, 8.0 * shrink ** np.arange(len(tried)), rtol=1e-14)
            accepted = [a * a - a <= -c1 * a for a in tried]
            assert accepted == [False] * (len(tried) - 1) + [True]
            assert (found.step, found.loss) == (tried[-1], line.f(tried[-1]))
            enough = len(tried) - 1
            assert backtracking(line, start, 8.0, max_backtracks=enough, **options) == found
            assert backtracking(line, start, 8.0, max_backtracks=enough - 1, **options) is None
    nowhere = Line(*FUNCTIONS["parabola"], 0.0, math.nan)
    options = {"shrink": 0.5, "c1": 1e-4, "max_backtracks": 7}
    assert backtracking(nowhere, start, 1.0, **options) is None
    assert len(nowhere.steps) == 8
    assert backtracking(lambda step: None, start, 1.0, **options) is None
