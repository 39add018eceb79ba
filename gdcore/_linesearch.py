"""Searches along a line, for a function of the step length alone: strong Wolfe, backtracking.

A trial that is not finite counts as an infinite loss: the search turns back from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Trial(NamedTuple):
    """One point of the line: step length, loss and slope there, and what the caller adds."""

    step: float
    loss: float
    slope: float
    point: Any


def armijo(start: Trial, trial: Trial, c1: float) -> bool:
    """Whether the loss has fallen enough: ``f(step) <= f(0) + c1 * step * slope(0)``."""
    return trial.loss <= start.loss + c1 * trial.step * start.slope


def backtracking(
    evaluate: Callable[[float], Trial | None],
    start: Trial,
    step: float,
    *,
    shrink: float,
    c1: float,
    max_backtracks: int,
) -> Trial | None:
    """Return the first of ``step, step * shrink, ...`` whose loss has fallen enough, or None.

    Armijo 1966, Minimization of functions having Lipschitz continuous first partial derivatives.
    `evaluate` returns None for a step too short to change anything; the search ends there.
    """
    for _ in range(max_backtracks + 1):
        trial = evaluate(step)
        if trial is None:
            return None
        if armijo(start, trial, c1):
            return trial
        step *= shrink
    return None


def strong_wolfe(
    evaluate: Callable[[float], Trial],
    start: Trial,
    step: float,
    *,
    narrowest: float,
    max_trials: int,
    c1: float = 1e-4,
    c2: float = 0.9,
) -> Trial:
    """Return a trial that satisfies the strong Wolfe conditions, or the best of those made.

    ``f(step) <= f(0) + c1 * step * slope(0)`` and ``|slope(step)| <= c2 * |slope(0)|``: first go
    outward until a bracket holds such a step, then narrow it. Nocedal & Wright 2006, Numerical
    Optimization, algorithms 3.5 and 3.6, with the safeguards of minFunc that torch has too.

    Parameters
    ----------
    evaluate : callable
        Of a step length > 0.
    start : Trial
        That of step 0, with a finite loss and a slope < 0.
    step : float
        The first to try, > 0.
    narrowest : float
        Width of the bracket at which to give up.
    max_trials : int
        Calls of `evaluate` at most (but one is always made).

    Returns
    -------
    Trial
        With a loss of at most the start's; `start` itself where none was lower.
    """
    previous, trial, trials = start, evaluate(step), 1
    while trials <= max_trials:
        rises = trials > 2 and trial.loss >= previous.loss
        if rises or not armijo(start, trial, c1):
            break
        if abs(trial.slope) <= -c2 * start.slope:
            return trial
        if trial.slope >= 0:
            break
        least = trial.step + 0.01 * (trial.step - previous.step)
        further = cubic_minimum(previous, trial, least, 10 * trial.step)
        previous, trial, trials = trial, evaluate(further), trials + 1
    else:
        return min(start, previous, trial, key=_loss)
    # What is low enough for Armijo's condition stays so: `low` is always the lowest of these.
    low, high = previous, trial
    if armijo(start, trial, c1) and trial.loss < previous.loss:
        low, high = trial, previous
    stalled = False
    for _ in range(trials, max_trials + 1):
        lowest, highest = sorted((low.step, high.step))
        if highest - lowest <= narrowest:
            break
        inner = cubic_minimum(low, high, lowest, highest)
        inner, stalled = _kept_apart(inner, lowest, highest, stalled)
        trial = evaluate(inner)
        if trial.loss >= low.loss or not armijo(start, trial, c1):
            high = trial
            continue
        if abs(trial.slope) <= -c2 * start.slope:
            return trial
        low, high = trial, low if trial.slope * (high.step - low.step) >= 0 else high
    return low


def _loss(trial: Trial) -> float:
    return trial.loss


def cubic_minimum(a: Trial, b: Trial, lowest: float, highest: float) -> float:
    """Return where the cubic through two trials' losses and slopes is least, within the limits.

    Nocedal & Wright 2006, equation 3.59. The middle where the cubic has no minimum, or where one of
    the two was not finite.
    """
    middle = (lowest + highest) / 2
    if a.step > b.step:
        a, b = b, a
    width = b.step - a.step
    if width == 0:
        return middle
    d1 = a.slope + b.slope - 3 * ((b.loss - a.loss) / width)
    square = d1 * d1 - a.slope * b.slope
    if not 0 <= square < math.inf:
        return middle
    d2 = math.sqrt(square)
    bottom = b.slope - a.slope + 2 * d2
    if bottom == 0:
        return middle
    at = b.step - width * ((b.slope + d2 - d1) / bottom)
    return min(max(at, lowest), highest)


def _kept_apart(step: float, lowest: float, highest: float, stalled: bool) -> tuple[float, bool]:
    """Return the step, moved inward where the bracket would hardly narrow, and whether it stalls.

    A step within a tenth of the bracket's width of an end is let pass once.
    """
    margin = 0.1 * (highest - lowest)
    if min(highest - step, step - lowest) >= margin:
        return step, False
    if not stalled and lowest < step < highest:
        return step, True
    return (highest - margin if highest - step < step - lowest else lowest + margin), False
