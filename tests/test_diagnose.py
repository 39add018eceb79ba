"""Verdicts: each word by functions and rates of which theory says what becomes of the descent."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gdcore as gd
from gdcore._diagnose import Diagnosis, diagnose
from gdcore._verdicts import WORDS, RunStatistics, statistics, verdicts
from gdcore.descent import maximize, minimize


def sextic(x):
    return x**6 - 5 * x**4 + 4 * x**2


def square(x):
    return x**2


def well(x):
    return 1 - np.exp(-(x**2))


def waves(x):
    return np.cos(2 * np.pi * x) + x**2


def of(f, x0, optimizer, **limits):
    return diagnose(minimize(f, x0, optimizer=optimizer, **limits))


# ---- The words -----------------------------------------------------------------------------------

# The limit of gradient descent on x^2 is rate 1; at 0.5 one step reaches the minimum.
CASES = {
    "sextic, rate too large": ("exploding", sextic, 2.0, gd.SGD(0.3)),
    "sextic, NaN from inf - inf": ("exploding", sextic, 5.0, gd.SGD(0.1)),
    "square, far beyond the limit": ("exploding", square, 1.0, gd.SGD(3.0)),
    "square, just beyond the limit": ("exploding", square, 1.0, gd.SGD(1.0001)),
    "square, beyond with momentum": ("exploding", square, 1.0, gd.SGD(2.0, momentum=0.9)),
    "no lower bound": ("exploding", lambda x: -(x**2), 1.0, gd.SGD(0.01)),
    "no lower bound, fast": ("exploding", lambda x: -(x**4), 1.0, gd.SGD(0.1)),
    "flat, far out": ("vanishing", well, 5.0, gd.SGD(0.01)),
    "flat, nearer": ("vanishing", well, 3.5, gd.SGD(0.01)),
    "flat, thrown there": ("vanishing", well, 0.5, gd.SGD(10.0)),
    "saturated": ("vanishing", lambda x: (gd.sigmoid(x) - 1) ** 2, -12.0, gd.SGD(0.1)),
    "square, on the limit": ("oscillating", square, 1.0, gd.SGD(1.0)),
    "a kink": ("oscillating", np.abs, 1.005, gd.SGD(0.01)),
    "a kink in two": ("oscillating", lambda p: np.sum(np.abs(p)), [1.003, 0.4], gd.SGD(0.01)),
    "signs": ("oscillating", square, 1.0, gd.SignSGD(0.03)),
    "bounded slopes": ("oscillating", lambda x: np.sqrt(1 + x**2), 1.0, gd.SGD(5.0)),
    "top of a wave": ("stuck", waves, 0.0, gd.SGD(0.01)),
    "rate 0": ("stuck", square, 1.0, gd.SGD(0.0)),
    "a rate lost in rounding": ("stuck", square, 1.0, gd.SGD(1e-20)),
    "a constraint": ("stuck", square, 1.0, gd.SGD(0.1, constraint=gd.constraints.box(1, 2))),
    "rate too small": ("too slow", sextic, 1.2, gd.SGD(1e-5)),
    "square, rate too small": ("too slow", square, 1.0, gd.SGD(0.0005)),
    "a line": ("too slow", lambda x: 0.1 * x, 1.0, gd.SGD(0.01)),
    "a logarithm's edge": ("non-finite", np.log, 2.0, gd.SGD(0.8)),
    "undefined at the start": ("non-finite", np.log, -2.0, gd.SGD(0.8)),
    "square": ("converged", square, 1.0, gd.SGD(0.1)),
    "square, in one step": ("converged", square, 1.0, gd.SGD(0.5)),
    "sextic": ("converged", sextic, -1.5, gd.SGD(0.01)),
    "float32": ("converged", lambda x: 100 + (x - 0.3) ** 2, np.float32(1), gd.SGD(0.1)),
    "with momentum": ("converged", square, 1.0, gd.SGD(0.1, momentum=0.9)),
    "on its way": ("healthy", square, 1.0, gd.SGD(0.01)),
}


@pytest.mark.parametrize("name", CASES)
def test_each_word(name):
    word, f, x0, optimizer = CASES[name]
    d = of(f, x0, optimizer, steps=400)
    assert d.verdict == word, d
    assert d.evidence
    assert d.remedy
    assert str(d) == f"{d.verdict}: {d.evidence}\n-> {d.remedy}"


def test_every_word_of_a_descent_has_a_case():
    of_models = {"dead units", "saturated units", "overfitting"}
    assert {case[0] for case in CASES.values()} == set(WORDS) - of_models


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n][0] not in ("stuck", "non-finite")])
def test_ascent_on_the_negative_has_the_same_verdict(name):
    word, f, x0, optimizer = CASES[name]
    r = maximize(lambda x: -f(x), x0, optimizer=optimizer, steps=400)
    assert diagnose(r).verdict == word


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("shift", [0.0, -7.0])
@pytest.mark.parametrize(
    ("rate", "word"), [(0.5, "converged"), (1.0, "oscillating"), (1.2, "exploding")]
)
def test_units_and_constants_change_no_verdict(rate, word, scale, shift):
    """scale x^2 + shift has its limit at rate 1 / scale."""
    d = of(
        lambda x: scale * x**2 + shift,
        30.0,
        gd.SGD(0.999 * rate / scale if rate < 1 else rate / scale),
        steps=300,
    )
    assert d.verdict == word, d


def test_the_rates_of_a_descent_on_a_quadratic_meet_theory():
    """Converged below 2 / lambda_max, exploding beyond, too slow far below."""
    spectrum = np.array([1.0, 10.0])
    f = lambda x: 0.5 * np.sum(spectrum * x**2)  # noqa: E731
    for part, word in (
        (0.9, "converged"),
        (1.05, "exploding"),
        (3.0, "exploding"),
        (1e-4, "too slow"),
    ):
        assert of(f, [1.0, 1.0], gd.SGD(part * 0.2), steps=500).verdict == word


def test_the_tolerance_is_the_one_asked_for():
    r = minimize(square, 1.0, optimizer=gd.SGD(0.1), gtol=0.1)
    assert diagnose(r).verdict == "converged"
    r = minimize(square, 1.0, optimizer=gd.SGD(0.1), steps=12)
    assert diagnose(r).verdict == "healthy"


def test_few_steps_are_not_judged_by_their_pace():
    for steps in (1, 2, 3):
        assert of(square, 1.0, gd.SGD(1e-4), steps=steps).verdict == "healthy"
    assert of(square, 1.0, gd.SGD(1e-4), steps=4).verdict == "too slow"
    d = of(square, 1.0, gd.SGD(0.1), steps=0)
    assert (d.verdict, d.evidence) == ("healthy", "no step was taken")


def test_the_evidence_holds_the_numbers():
    r = minimize(sextic, 2.0, optimizer=gd.SGD(0.3))
    d = diagnose(r)
    assert f"not finite after {r.nit} steps; it rose from {r.losses[0]:.6g} to" in d.evidence
    assert "divide the learning rate" in d.remedy
    r = minimize(square, 1.0, optimizer=gd.SGD(1.0), steps=100)
    assert diagnose(r).evidence.startswith("50 of the last 50 steps did not lower the loss")
    held = of(square, 1.0, gd.SGD(0.0), steps=5)
    assert held.evidence == "x never changed in 5 steps although the gradient norm is 2"
    assert "larger learning rate" in held.remedy
    thrown = of(well, 0.5, gd.SGD(10.0), steps=5)
    assert "threw it onto a flat place: the gradient norm fell from 0.779 to" in thrown.evidence
    assert "fell by 2.8" in of(well, 3.5, gd.SGD(0.01), steps=250).evidence


def test_what_one_would_do_about_it_helps():
    """The remedies, tried."""
    assert of(sextic, 2.0, gd.SGD(0.03), steps=400).verdict != "converged"
    assert of(sextic, 2.0, gd.SGD(0.003), steps=400).verdict == "converged"
    assert of(sextic, 2.0, gd.SGD(0.01, global_clip_norm=1.0), steps=400).verdict == "converged"
    assert of(waves, 1e-3, gd.SGD(0.01), steps=400).verdict == "converged"
    assert of(well, 3.5, gd.Adam(0.05), steps=1000).verdict == "converged"
    assert of(square, 1.0, gd.SGD(0.0005, momentum=0.99), steps=4000).verdict == "converged"


# ---- Sequences of losses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "losses"),
    [
        ("exploding", [1.0, 3.0, 40.0, 5000.0, math.inf]),
        ("exploding", [1.0, 0.5, 8.0, math.nan]),
        ("exploding", [1.0, 2.0, 4.0, 8.0]),
        ("non-finite", [1.0, 0.5, math.nan, 0.1]),
        ("non-finite", [math.nan, 0.5]),
        ("stuck", [2.0] * 10),
        ("healthy", [2.0]),
        ("too slow", list(np.linspace(1, 0.9, 50))),
        ("healthy", list(0.9 ** np.arange(50))),
        ("converged", list(1 + 0.5 ** np.arange(80))),
        ("oscillating", [3.0, 1.0, 2.0, 1.2, 1.9, 1.1, 2.0, 1.2, 1.9, 1.2]),
        ("oscillating", list(1 + 0.5 * (-1.0) ** np.arange(40))),
    ],
)
def test_losses_alone(word, losses):
    d = diagnose(losses)
    assert d.verdict == word, d
    assert diagnose(np.array(losses)) == d
    assert "gradient" not in d.evidence or word == "non-finite"


@pytest.mark.parametrize("x", ["abc", 3.0, None, [[1.0, 2.0]], [1j], [[1.0], [2.0, 3.0]], object()])
def test_what_cannot_be_diagnosed_is_refused(x):
    with pytest.raises(TypeError, match="accepted are the result of minimize, maximize or sweep"):
        diagnose(x)


def test_no_losses_are_refused():
    with pytest.raises(ValueError, match="x is empty"):
        diagnose([])


# ---- The statistics ------------------------------------------------------------------------------


def gathered(losses, norms, tolerance):
    """The statistics of a run as a loop gathers them that knows the number of steps."""
    n = len(losses) - 1
    half, three = n // 2, 3 * n // 4
    s = {
        "nit": n, "finite": True, "infinite": False, "moved": False,
        "first_loss": losses[0], "first_norm": norms[0], "best_loss": losses[0],
        "third_loss": -math.inf, "fourth_loss": -math.inf,
        "third_norm": -math.inf, "fourth_norm": -math.inf,
        "not_lower": 0, "norm_before": math.nan,
    }  # fmt: skip
    met = False
    for k, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
        s["last_loss"], s["last_norm"] = loss, norm
        s["best_loss"] = min(s["best_loss"], loss)
        if half <= k <= three:
            s["third_loss"] = max(s["third_loss"], loss)
            s["third_norm"] = max(s["third_norm"], norm)
        if k >= three:
            s["fourth_loss"] = max(s["fourth_loss"], loss)
            s["fourth_norm"] = max(s["fourth_norm"], norm)
        if k > half and loss >= losses[k - 1]:
            s["not_lower"] += 1
        if norm <= tolerance and not met:
            met = True
            s["norm_before"] = norms[k - 1] if k else math.nan
        s["moved"] = s["moved"] or loss != losses[0] or norm != norms[0]
    return RunStatistics(**s)


NUMBERS = st.sampled_from([0.0, 1e-9, 1e-6, 0.5, 1.0, 2.0, 1e3, 1e9]) | st.floats(0, 1e6)
RUNS = st.lists(st.tuples(NUMBERS | NUMBERS.map(lambda x: -x), NUMBERS), min_size=1, max_size=30)


@given(RUNS)
def test_the_statistics_are_those_of_a_loop(run):
    losses, norms = map(list, zip(*run, strict=True))
    s = statistics(losses, norms, 1e-6)
    for name, one, other in zip(s._fields, s, gathered(losses, norms, 1e-6), strict=True):
        assert one == other or (math.isnan(one) and math.isnan(other)), name


@given(st.lists(RUNS, min_size=1, max_size=10))
def test_verdicts_of_many_are_those_of_each(runs):
    stats = [statistics(*map(list, zip(*run, strict=True))) for run in runs]
    together = verdicts(RunStatistics(*map(np.array, zip(*stats, strict=True))))
    assert together.tolist() == [str(verdicts(s)) for s in stats]
    assert set(together.tolist()) <= set(WORDS)


@given(RUNS, st.sampled_from([math.inf, -math.inf, math.nan]), st.booleans(), st.integers(0, 29))
def test_what_is_not_finite_ends_the_run(run, value, is_norm, where):
    losses, norms = map(list, zip(*run, strict=True))
    where = where % len(losses)
    (norms if is_norm else losses)[where] = value
    s = statistics(losses, norms)
    assert not s.finite
    assert s.nit == where
    assert s.infinite == math.isinf(value)
    assert str(verdicts(s)) in ("exploding", "non-finite")
    if where:
        whole = statistics(losses[:where], norms[:where])
        assert (s.first_loss, s.last_loss, s.best_loss) == (
            whole.first_loss,
            whole.last_loss,
            whole.best_loss,
        )


def test_a_diagnosis_is_a_value():
    d = diagnose([1.0, 2.0])
    assert d == Diagnosis(d.verdict, d.evidence, d.remedy)
    assert Counter([d, d])[d] == 2


def test_a_cycle_of_two_points_is_no_explosion():
    """Losses that stay the same high up neither rise nor fall: the run jumps to and fro."""
    f = lambda x: x**6 - 5 * x**4 + 4 * x**2  # noqa: E731
    r = gd.minimize(f, 0.2, optimizer=gd.SGD(0.3), steps=1000)
    assert diagnose(r).verdict == "oscillating"
    g = gd.sweep(f, [0.2, 0.1], optimizer=gd.SGD(0.3), steps=1000)
    assert set(g.columns["verdict"]) == {"oscillating"}
