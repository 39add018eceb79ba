"""Why did it explode or vanish? A verdict on a descent or a sweep, with evidence and remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdcore._result import DescentResult
from gdcore._sweep import Sweep
from gdcore._verdicts import ABRUPT, TOLERANCE, WORDS, RunStatistics, statistics, verdicts

__all__ = ["WORDS", "Diagnosis", "diagnose"]


@dataclass(frozen=True)
class Diagnosis:
    """What happened, how one sees it, and what to do.

    Attributes
    ----------
    verdict : str
        One of `WORDS`.
    evidence : str
        The numbers on which it stands.
    remedy : str
    """

    verdict: str
    evidence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.verdict}: {self.evidence}\n-> {self.remedy}"


def diagnose(x: Any) -> Diagnosis:
    """Tell what became of a run, why one thinks so, and what to do about it.

    The first of these rules that holds gives the verdict of a descent. L are its losses (negated
    for `maximize`), G its gradient norms, tol its `gtol` or 1e-6, scale = max(1, abs(L at first)).

    "exploding"
        L or G became infinite, or NaN after L had risen above the first.
    "non-finite"
        L or G became NaN otherwise, or were not finite at the start.
    "stuck"
        The variables never moved: the first G is 0 (at most 1e-15 scale), or it is above tol and
        steps were taken, but rate 0, rounding or a constraint held them.
    "vanishing"
        G was at most tol from the start to the end; or it fell to that from 1000 times more within
        a single step, and L ended above the first: thrown onto a flat place.
    "converged"
        The last G is at most tol; or L fell, moved by less than 1e-6 of its fall (and of the best L
        where that is larger than 1) over the second half, and G there is at most a hundredth of the
        first.
    "vanishing"
        G was at most 1e-3 scale at the start and over the second half.
    "exploding"
        Still finite, but: L rose at each step of the second half and ended above the first; or
        ended above it and was, over the best, ten times higher in the last quarter than in the one
        before; or L fell by more than 1000 scale while G rose between these quarters, to more than
        ten times the first: f seems to have no lower bound.
    "oscillating"
        At least every fifth step of the second half did not lower L, and the highest L of the last
        quarter, over the best, is at least half of that of the quarter before.
    "too slow"
        If G goes on to fall as from the third quarter to the last, ten times as many steps again do
        not bring it to tol. For losses alone: L fell in the last quarter by half of what it did in
        the third or more, in both together by a tenth of its whole fall or more.
    "healthy"
        None of these: it is on its way. Nor is a run of fewer than four steps said to oscillate or
        to be too slow.

    Parameters
    ----------
    x : DescentResult, Sweep, or sequence of float
        What `minimize`, `maximize` or `sweep` returned, or losses in the order of the steps.

    Returns
    -------
    Diagnosis
        With ``verdict``, ``evidence`` and ``remedy``. Of a sweep the verdict is its most frequent
        one, and the evidence counts them all.

    Raises
    ------
    TypeError, ValueError
        If `x` is none of these, or empty.

    Examples
    --------
    >>> import gdcore as gd
    >>> d = gd.diagnose([1.0, 3.0, 40.0, 5000.0, float("inf")])
    >>> d.verdict
    'exploding'
    >>> print(d.evidence)
    the loss is not finite after 4 steps; it rose from 1 to 5000 before
    """
    if isinstance(x, DescentResult):
        return _of_descent(x)
    if isinstance(x, Sweep):
        return _of_sweep(x)
    return _of_losses(x)


def _of_descent(r: DescentResult) -> Diagnosis:
    ending = r._ending
    tolerance = TOLERANCE if ending.gtol is None else ending.gtol
    stats = statistics(ending.sign * r.losses, r.grad_norms, tolerance, ending.moved)
    return _judged(stats, tolerance)


def _of_losses(x: Any) -> Diagnosis:
    try:
        losses = np.asarray(x)
    except ValueError:
        losses = np.empty(0, object)
    if losses.dtype.kind not in "iuf" or losses.ndim != 1:
        raise TypeError(
            f"x is {type(x).__name__}; accepted are the result of minimize, maximize or sweep, and"
            " a sequence of losses"
        )
    if not losses.size:
        raise ValueError("x is empty; at least one loss is accepted")
    return _judged(statistics(losses), TOLERANCE)


def _judged(stats: RunStatistics, tolerance: float) -> Diagnosis:
    word = str(verdicts(stats, tolerance))
    return Diagnosis(word, _EVIDENCE[word](stats, tolerance), _remedy(word, stats))


# ---- Evidence ------------------------------------------------------------------------------------


def _fall(s: RunStatistics) -> str:
    """Return how the loss and the gradient norm went, as a text."""
    text = f"the loss {_change(s)} in {s.nit} step{'s' * (s.nit != 1)}"
    if np.isnan(s.first_norm):
        return text
    return f"{text}, the gradient norm went from {s.first_norm:.3g} to {s.last_norm:.3g}"


def _change(s: RunStatistics) -> str:
    """Return how the loss changed, as a text with as many digits as it takes."""
    first, last = f"{s.first_loss:.6g}", f"{s.last_loss:.6g}"
    if s.last_loss == s.first_loss:
        return f"is {last} at the start and at the end"
    way = "fell" if s.last_loss < s.first_loss else "rose"
    if first == last:
        return f"{way} by {abs(s.last_loss - s.first_loss):.3g} from {first}"
    return f"{way} from {first} to {last}"


def _exploding(s: RunStatistics, tolerance: float) -> str:
    if s.finite:
        return f"{_fall(s)}; the best loss was {s.best_loss:.6g}"
    rose = f"; it rose from {s.first_loss:.6g} to {s.last_loss:.6g} before"
    return (
        f"the loss is not finite after {s.nit} step{'s' * (s.nit != 1)}"
        f"{rose if s.last_loss > s.first_loss else ''}"
    )


def _non_finite(s: RunStatistics, tolerance: float) -> str:
    if not s.nit:
        return "the loss or its gradient is not finite at the start"
    return (
        f"the loss or its gradient is NaN after {s.nit} step{'s' * (s.nit != 1)}, though the loss"
        f" had not risen: it went from {s.first_loss:.6g} to {s.last_loss:.6g}"
    )


def _stuck(s: RunStatistics, tolerance: float) -> str:
    if np.isnan(s.first_norm):
        return f"the loss is {s.first_loss:.6g} at every step"
    if s.first_norm > tolerance:
        return (
            f"x never changed in {s.nit} step{'s' * (s.nit != 1)} although the gradient norm is"
            f" {s.first_norm:.3g}"
        )
    return (
        f"the gradient norm at the start is {s.first_norm:.3g}: a minimum, a maximum or a saddle,"
        " where gradient descent stands still"
    )


def _vanishing(s: RunStatistics, tolerance: float) -> str:
    if s.norm_before > ABRUPT * s.last_norm and s.last_norm <= tolerance:
        return (
            f"a step threw it onto a flat place: the gradient norm fell from {s.norm_before:.3g} to"
            f" {s.last_norm:.3g} and the loss ended at {s.last_loss:.6g}, above its first"
            f" {s.first_loss:.6g}"
        )
    return f"{_fall(s)}: almost nothing to follow (a flat place, unless x0 is a minimum already)"


def _oscillating(s: RunStatistics, tolerance: float) -> str:
    late = s.nit - s.nit // 2
    return (
        f"{s.not_lower} of the last {late} steps did not lower the loss, and its peaks stay at"
        f" {s.fourth_loss:.6g} over a best of {s.best_loss:.6g}; {_fall(s)}"
    )


def _converged(s: RunStatistics, tolerance: float) -> str:
    if s.last_norm <= tolerance:
        return f"{_fall(s)}, at most {tolerance:g}"
    return f"{_fall(s)}, and the loss rests"


def _too_slow(s: RunStatistics, tolerance: float) -> str:
    if np.isnan(s.first_norm):
        return f"{_fall(s)}, and still falls at the same pace"
    return (
        f"{_fall(s)}; at this pace ten times as many steps again do not bring it to {tolerance:g}"
    )


def _healthy(s: RunStatistics, tolerance: float) -> str:
    return _fall(s) if s.nit else "no step was taken"


_EVIDENCE: dict[str, Callable[[RunStatistics, float], str]] = {
    "exploding": _exploding,
    "vanishing": _vanishing,
    "oscillating": _oscillating,
    "stuck": _stuck,
    "too slow": _too_slow,
    "non-finite": _non_finite,
    "converged": _converged,
    "healthy": _healthy,
}


# ---- Remedies ------------------------------------------------------------------------------------

_REMEDIES = {
    "exploding": "divide the learning rate by ten, or limit the steps (global_clip_norm=1.0); f may"
    " also have no lower bound",
    "vanishing": "start elsewhere, scale the variables, or take an optimizer whose steps do not"
    " shrink with the gradient, such as gd.Adam, gd.Rprop or gd.SignSGD",
    "oscillating": "divide the learning rate by two to ten, or let it fall with the steps"
    " (gd.schedules)",
    "stuck": "start a little elsewhere: from beside a minimum it comes back, from beside a maximum"
    " or a saddle it leaves",
    "too slow": "a larger learning rate, momentum (gd.SGD(lr, momentum=0.9)), gd.Adam, or more"
    " steps",
    "non-finite": "start where f is defined; keep x there by a smaller rate or"
    " constraint=gd.constraints.box(low, high)",
    "converged": "nothing to do; other starts tell whether there are lower minima",
    "healthy": "nothing to mend; more steps bring it further",
}
_HELD = "a larger learning rate; look at frozen groups and constraints too"


def _remedy(word: str, s: RunStatistics) -> str:
    if word == "stuck" and not s.first_norm <= TOLERANCE:
        return _HELD
    return _REMEDIES[word]


# ---- Sweeps --------------------------------------------------------------------------------------


def _of_sweep(g: Sweep) -> Diagnosis:
    """Return the most frequent verdict of a sweep, ties going to the one that comes first in it."""
    counts = Counter(g.columns["verdict"].tolist())
    word, _ = counts.most_common(1)[0]
    parts = [f"{count} {name}{_rates_of(g, name)}" for name, count in counts.most_common()]
    ends = int(g.columns["basin"].max()) + 1
    found = f"; {ends} distinct end point{'s' * (ends != 1)}" if ends else ""
    total = sum(counts.values())
    return Diagnosis(word, f"of {total} runs {', '.join(parts)}{found}", _REMEDIES[word])


def _rates_of(g: Sweep, word: str) -> str:
    """Return the range of rates that runs of a verdict have, where the sweep is over rates."""
    rates = g.columns["lr"]
    own = rates[g.columns["verdict"] == word]
    if (rates == rates[0]).all():
        return ""
    if own.min() == own.max():
        return f" (lr {own.min():.3g})"
    return f" (lr {own.min():.3g} to {own.max():.3g})"
