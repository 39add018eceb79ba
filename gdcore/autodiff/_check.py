"""Is this gradient right? Central differences with an error bar, coordinate by coordinate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdcore.autodiff._parameters import text_of

if TYPE_CHECKING:
    from gdcore._objective import Objective
    from gdcore._variables import Variables

__all__ = ["GradientCheck", "check_grad"]

BARS = 3.0  # error bars that a right gradient may be away
CLOSE = {np.float32: 1e-3, np.float64: 1e-6}  # relative error that counts as none
SHARP = 1e-3  # of the derivative: for a larger error bar more steps are tried
BLUR = 0.1  # of the derivative: an error bar that is larger tells nothing
NOISE = 2.0  # roundings in a value of f
SHOWN = 3  # coordinates that a message names


@dataclass(frozen=True)
class GradientCheck:
    """The answer of `check_grad`; it is false where the gradient is wrong.

    Attributes
    ----------
    ok : bool
        Whether no coordinate is wrong. Where differences cannot tell, `message` says so.
    max_error : float
        The largest difference between the gradient and the differences.
    where : str
        The coordinate of it, such as ``x['W'][0, 2]``.
    message : str
    """

    ok: bool
    max_error: float
    where: str
    message: str

    def __bool__(self) -> bool:
        return self.ok


def check_grad(f: Callable[..., Any], grad: Any, x: Any) -> GradientCheck:
    """Compare a gradient with differences of f, coordinate by coordinate.

    Parameters
    ----------
    f : callable
        ``f(x)``, one number.
    grad : callable, None or True
        ``grad(x)``, the gradient in the structure of x. None checks gdcore's own; True says that f
        returns ``(value, gradient)``.
    x : number, array-like, or tuple, list or dict of them
        The point. A tuple is one argument of f for each entry, as in `minimize`.

    Returns
    -------
    GradientCheck
        With ``ok``, ``max_error``, ``where`` and ``message``.

    Raises
    ------
    TypeError, ValueError
        Where an argument cannot be used, f is not finite at x, or the gradient has another shape.

    Notes
    -----
    Along each coordinate ``(f(x + h) - f(x - h)) / 2 h`` is taken at h and h / 4 and extrapolated
    (Richardson); h is eps^(1/5) max(1, abs(x)), eps of the coarser of x and f. What the two
    disagree by, and eps abs(f) / h for rounding, are the error bar. Where the gradient is further
    away than three bars and a relative 1e-6 (float32: 1e-3), steps of many sizes are tried, and it
    is wrong if it disagrees with the best of them. Where the bar is more than a tenth of the
    derivative, differences cannot tell: the message says where the step is too small for float32.
    At a kink of f every slope between those of its two sides is right.

    f is called four times for each number in x, and up to 90 times where that does not settle it.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> f = lambda x: np.sum(x**3)
    >>> gd.check_grad(f, lambda x: 3 * x**2, [1.0, 2.0]).message
    'right at all 2 coordinates'
    >>> c = gd.check_grad(f, lambda x: 2 * x**2, [1.0, 2.0])
    >>> bool(c), c.where, round(c.max_error, 6)
    (False, 'x[1]', 4.0)
    >>> print(c.message)
    wrong at 2 of 2 coordinates: x[1]: 8 where differences give 12 +- 5e-10; x[0]: 2 where ...
    """
    from gdcore._objective import Objective
    from gdcore._variables import Variables

    variables = Variables(x, "x")
    objective = Objective(f, (), variables, grad)
    value = objective.evaluate()
    if not math.isfinite(value):
        raise ValueError(
            f"f is {value} at x{objective.remark}; a point where it is finite is wanted"
        )
    gradients = [array.copy() for array in objective.arrays]
    judged = [_judge(*entry) for entry in _coordinates(objective, variables, gradients)]
    return _summary(judged, value)


# ---- One coordinate ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A derivative by differences: the value, what it may be off by, and the part of rounding."""

    value: float
    bar: float
    rounding: float


@dataclass(frozen=True)
class Judgement:
    """What differences say of one coordinate of a gradient."""

    where: str
    eps: float  # of the coarser of x and f
    close: float  # the relative error that counts as none
    given: float
    estimate: Estimate
    is_wrong: bool
    is_unsure: bool
    at_kink: bool

    @property
    def error(self) -> float:
        """The difference between the gradient and the estimate."""
        error = abs(self.given - self.estimate.value)
        return math.inf if math.isnan(error) else error


class Line:
    """f along one coordinate, at distances from where it stands."""

    def __init__(
        self, objective: Objective, array: NDArray[Any], index: tuple[int, ...], eps: float
    ) -> None:
        self._objective, self._array, self._index = objective, array, index
        self._own = array[index]
        self.eps = eps
        self.middle = objective.sign * objective.value
        self.scale = _power_of_two(max(1.0, abs(float(self._own))))

    def steps(self) -> Iterator[float]:
        """Yield steps from large to small, then those that leave the sign of the number alone."""
        scales = [self.scale]
        if 0 < abs(float(self._own)) < 0.25 * self.scale:
            scales.append(_power_of_two(abs(float(self._own))))
        for scale in scales:
            h = scale / 2
            while h > 4 * self.eps**0.5 * scale:
                yield h
                h /= 4

    def at(self, distance: float) -> tuple[float, float]:
        """Return the distance that the type can hold, and f there."""
        array, index = self._array, self._index
        array[index] = self._own + array.dtype.type(distance)
        moved = float(array[index]) - float(self._own)
        try:
            return moved, self._objective.plain_value()
        finally:
            array[index] = self._own

    def slopes(self, h: float) -> tuple[float, float, float]:
        """Return the slope to the left, to the right and between, over h on either side."""
        (right, above), (left, below) = self.at(h), self.at(-h)
        with np.errstate(all="ignore"):
            middle = self.middle
            return (
                float(np.float64(below - middle) / left),
                float(np.float64(above - middle) / right),
                float(np.float64(above - below) / (right - left)),
            )


def _power_of_two(x: float) -> float:
    return 2.0 ** math.floor(math.log2(x))


def _coordinates(
    objective: Objective, variables: Variables, gradients: list[NDArray[Any]]
) -> Iterator[tuple[Line, float, str, float]]:
    """Yield (line, gradient, name, closeness) of each coordinate."""
    for path, array, gradient in zip(variables.paths, variables.arrays, gradients, strict=True):
        kind: Any = np.float32 if np.float32 in (array.dtype, objective.kind) else np.float64
        for index in np.ndindex(array.shape):
            name = text_of("x", path) + (str(list(index)) if index else "")
            line = Line(objective, array, index, float(np.finfo(kind).eps))
            yield line, float(gradient[index]), name, CLOSE[kind]


def _judge(line: Line, given: float, where: str, close: float) -> Judgement:
    """Compare a gradient with differences; take more of these where it disagrees."""
    best = _richardson(line, line.eps**0.2 * line.scale)
    enough = max(SHARP * max(abs(given), abs(best.value)), 0.1 * close)
    if not (_agrees(given, best, close) and BARS * best.bar <= enough):
        best = min([best, *_refined(line)], key=lambda estimate: estimate.bar)
    agrees = _agrees(given, best, close)
    at_kink = not agrees and _between_sides(line, given, close)
    return Judgement(
        where=where,
        eps=line.eps,
        close=close,
        given=given,
        estimate=best,
        is_wrong=not agrees and not at_kink,
        is_unsure=agrees and _is_blurred(given, best),
        at_kink=at_kink,
    )


def _refined(line: Line) -> list[Estimate]:
    """Return derivatives from many pairs of steps.

    The bar of each covers what the next, with smaller steps, says beyond its rounding: large steps
    can agree with each other on a periodic function and be wrong.
    """
    found = [_richardson(line, h) for h in line.steps()]
    for i, (one, other) in enumerate(pairwise(found)):
        gap = abs(one.value - other.value) - BARS * other.rounding
        if math.isfinite(gap):
            found[i] = replace(one, bar=max(one.bar, gap))
    return found


def _richardson(line: Line, h: float) -> Estimate:
    """Return (16 D(h / 4) - D(h)) / 15, which is off by terms of h^4."""
    coarse, fine = line.slopes(h)[2], line.slopes(h / 4)[2]
    value = (16 * fine - coarse) / 15
    rounding = NOISE * (line.eps * abs(line.middle) + _smallest(line.eps)) / (h / 4)
    bar = abs(value - fine) + rounding
    return Estimate(value, math.inf if math.isnan(bar) else bar, rounding)


def _smallest(eps: float) -> float:
    """Return the smallest normal number of a type: where values underflow it is lost."""
    return float(np.finfo(np.float64 if eps < 1e-10 else np.float32).tiny)


def _agrees(given: float, estimate: Estimate, close: float) -> bool:
    if math.isinf(estimate.bar):
        return not math.isnan(given)  # nothing else is known
    allowed = BARS * estimate.bar + close * max(abs(given), abs(estimate.value))
    return abs(given - estimate.value) <= allowed


def _is_blurred(given: float, estimate: Estimate) -> bool:
    """Whether the error bar is too large, beside the derivative, to tell right from wrong."""
    return math.isinf(estimate.bar) or estimate.bar > BLUR * max(abs(given), abs(estimate.value))


def _between_sides(line: Line, given: float, close: float) -> bool:
    """Whether f has a kink here, and the gradient lies between the slopes of its sides."""
    h = line.eps ** (1 / 3) * line.scale
    (left, right, _), (near_left, near_right, _) = line.slopes(h), line.slopes(h / 4)
    jump, near_jump = abs(right - left), abs(near_right - near_left)
    noise = NOISE * line.eps * abs(line.middle) / (h / 4)
    if not near_jump > 0.5 * jump or near_jump <= BARS * noise:
        return False
    slack = noise + close * max(abs(near_left), abs(near_right)) + near_jump * 1e-3
    return bool(min(near_left, near_right) - slack <= given <= max(near_left, near_right) + slack)


# ---- The answer ----------------------------------------------------------------------------------


def _summary(judged: list[Judgement], value: float) -> GradientCheck:
    judged = _without_zeros(judged)
    wrong = [j for j in judged if j.is_wrong]
    unsure = [j for j in judged if j.is_unsure]
    worst = max(wrong or judged, key=lambda j: j.error)
    count = len(judged)
    if wrong:
        ordered = sorted(wrong, key=lambda j: -j.error)
        told = "; ".join(map(_told, ordered[:SHOWN])) + "; ..." * (len(wrong) > SHOWN)
        message = f"wrong at {len(wrong)} of {count} coordinates: {told}"
    elif unsure:
        message = _doubt(unsure, count, value)
    else:
        message = f"right at all {count} coordinates" if count > 1 else "right"
    kinks = [j.where for j in judged if j.at_kink]
    if kinks:
        more = ", ..." * (len(kinks) > SHOWN)
        message += (
            f" (f has a kink at {', '.join(kinks[:SHOWN])}{more}; any slope between is right)"
        )
    return GradientCheck(not wrong, worst.error, worst.where, message)


def _without_zeros(judged: list[Judgement]) -> list[Judgement]:
    """Take doubt away where a derivative is 0, or 0 beside the others."""
    largest = max((abs(j.given) for j in judged if math.isfinite(j.given)), default=0.0)
    return [
        replace(j, is_unsure=j.is_unsure and j.estimate.bar > max(SHARP * largest, j.close))
        for j in judged
    ]


def _told(j: Judgement) -> str:
    e = j.estimate
    return f"{j.where}: {j.given:.6g} where differences give {e.value:.6g} +- {e.bar:.0g}"


def _doubt(unsure: list[Judgement], count: int, value: float) -> str:
    """Return what differences cannot tell, and why."""
    worst = max(unsure, key=lambda j: j.estimate.bar)
    e = worst.estimate
    place = f"{worst.where}: {worst.given:.6g}, differences give {e.value:.6g} +- {e.bar:.0g}"
    told = f"cannot tell at {len(unsure)} of {count} coordinates ({place})"
    if math.isinf(e.bar):
        return f"cannot tell at {worst.where}: f is not finite beside it"
    if e.rounding < e.bar / 2:
        return f"{told}: f is not smooth enough there"
    kind, way_out = "float64", "take away what f has as a large constant"
    if worst.eps > np.finfo(np.float64).eps:
        kind, way_out = "float32", "check in float64"
    return (
        f"{told}: the step is too small for {kind}, in which f = {value:.6g} is known to"
        f" {worst.eps * abs(value):.1g} only; {way_out}"
    )
