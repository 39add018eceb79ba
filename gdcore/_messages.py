"""Why a descent ended, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gdcore._result import Reason

if TYPE_CHECKING:
    from gdcore.descent import Descent


def message_of(descent: Descent, reason: Reason) -> str:
    """Return the message of a result."""
    if reason is Reason.NONFINITE:
        return _not_finite(descent)
    return _ending(descent, reason) + descent.objective.remark


def _ending(descent: Descent, reason: Reason) -> str:
    """Return the message of a descent that is finite."""
    limits, nit, done = descent.limits, descent.nit, after(descent.nit)
    norm = descent.log[-1][1]
    if reason is Reason.GTOL and not nit:
        return (
            f"gradient norm {norm:.6g} at x0 is at most gtol = {limits.gtol:g}: no step was taken"
            " (x0 is a minimum, a maximum or a saddle, or f is flat there)"
        )
    if reason is Reason.GTOL:
        return f"gradient norm {norm:.6g} is at most gtol = {limits.gtol:g} {done}"
    if reason is Reason.FTOL:
        change = abs(descent.log[-1][0] - descent.log[-2][0])
        return (
            f"f changed by {change:.6g} in step {nit}, at most ftol = {limits.ftol:g} times"
            " max(abs(f), 1)"
        )
    if reason is Reason.SECONDS:
        return f"max_seconds = {limits.seconds:g} were over {done}{_not_met(descent)}"
    if reason is Reason.CALLBACK:
        return f"the callback stopped it {done}{_not_met(descent)}"
    if reason is Reason.INTERRUPT:
        return f"interrupted {done}{_not_met(descent)}"
    asked = " as asked" if limits.gtol is None and limits.ftol is None else ""
    return f"stopped {done}{asked}{_not_met(descent)}{_risen(descent)}"


def after(steps: int) -> str:
    """Return "after 3 steps"."""
    return f"after {steps} step{'s' * (steps != 1)}"


def _not_met(descent: Descent) -> str:
    """Return what is known of tolerances that were asked for and not met."""
    limits, log = descent.limits, descent.log
    missed = []
    if limits.gtol is not None:
        missed.append(f"the gradient norm {log[-1][1]:.6g} is still above gtol = {limits.gtol:g}")
    if limits.ftol is not None and len(log) > 1:
        change = abs(log[-1][0] - log[-2][0])
        missed.append(f"f still changes by {change:.6g} a step, ftol = {limits.ftol:g}")
    return ": " + ", and ".join(missed) if missed else ""


def _risen(descent: Descent) -> str:
    """Return a hint where f ended on the wrong side of where it began."""
    first, last, sign = descent.log[0][0], descent.log[-1][0], descent.objective.sign
    if not last > first:
        return ""
    rose = "rose" if sign > 0 else "fell"
    return f"; f {rose} from {sign * first:.6g} to {sign * last:.6g}: the rate may be too large"


def _not_finite(descent: Descent) -> str:
    """Return where f or the gradient is not finite, and what may have led there."""
    sign, nit = descent.objective.sign, descent.nit
    value, norm = descent.log[-1][:2]
    place = descent.variables.text()
    if not math.isfinite(value):
        what = f"f is {sign * value:g}"
    elif not math.isfinite(norm):
        what = f"the gradient is not finite, while f = {sign * value:.6g},"
    else:
        what = f"x is not finite, while f = {sign * value:.6g},"
    what += descent.objective.remark
    if not nit:
        return f"{what} at x0 = {place}: start where f and its gradient are finite"
    before = descent.log[-2][0]
    rising = before > descent.log[0][0]
    cause = "the rate is too large" if rising else "the rate is too large, or f is undefined there"
    return f"{what} {after(nit)}, at x = {place} (f before it: {sign * before:.6g}); {cause}"
