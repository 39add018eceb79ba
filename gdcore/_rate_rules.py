"""What a sweep over learning rates says: the smoothed loss, the rates that rules suggest, words."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gdcore.plot import Display

Float64Array = NDArray[np.float64]

REACH = 0.5  # decades to both sides of a rate over which its slope is taken
BEGUN = 0.1  # of the fall, from where on "valley" counts it
RISE = 3.0  # times the first loss, or the fall: a loss so far above the lowest ends a sweep


# ---- Curves --------------------------------------------------------------------------------------


def smoothed_by(weight: float, values: Float64Array) -> Float64Array:
    """Return the exponential moving average, bias-corrected: the first values are no more zero."""
    out = np.empty(len(values))
    total = count = 0.0
    for i, value in enumerate(values.tolist()):
        total, count = weight * total + value, weight * count + 1.0
        out[i] = total / count
    return out


def end_of(losses: Float64Array, baseline: Float64Array, weight: float) -> int | None:
    """Return where the sweep is to end: a loss that is not finite, or far above the lowest."""
    finite = np.isfinite(losses) & np.isfinite(baseline)
    n = len(finite) if finite.all() else int(np.argmin(finite))
    if n:
        level = np.add.accumulate(baseline[:n]) / np.arange(1, n + 1)
        rise = smoothed_by(weight, losses[:n] - baseline[:n])
        lowest = np.minimum(np.minimum.accumulate(rise), 0.0)
        above = rise - lowest > RISE * np.maximum(np.abs(level), -lowest)
        if above.any():
            return int(np.argmax(above))
    return n if n < len(finite) else None


# ---- Rules ---------------------------------------------------------------------------------------


def steepest(places: Float64Array, smoothed: Float64Array, level: float) -> float:
    """Return where a line through half a decade to both sides falls most, before the lowest.

    Sums over a window are differences of sums from the start: 100,000 rates would take seconds.
    """
    k = np.arange(int(np.argmin(smoothed)) + 1)
    near = places[k]
    low = np.minimum(np.searchsorted(places, near - REACH), np.maximum(k - 1, 0))
    high = np.maximum(np.searchsorted(places, near + REACH, "right"), k + 2)
    high = np.minimum(high, len(places))
    x, y = places - places.mean(), smoothed - smoothed.mean()
    table = np.zeros((4, len(x) + 1))
    np.cumsum([x, y, x * x, x * y], axis=1, out=table[:, 1:])
    sx, sy, sxx, sxy = (table[:, high] - table[:, low]) / (high - low)
    return float(near[int(np.argmin((sxy - sx * sy) / (sxx - sx * sx)))])


def valley(places: Float64Array, smoothed: Float64Array, level: float) -> float:
    """Return the middle between the first tenth of the fall and the lowest loss."""
    lowest = int(np.argmin(smoothed))
    before = smoothed[: lowest + 1] >= level - BEGUN * (level - smoothed[lowest])
    begun = int(np.flatnonzero(before)[-1]) if before.any() else 0
    return float(places[begun] + places[lowest]) / 2


def minimum_tenth(places: Float64Array, smoothed: Float64Array, level: float) -> float:
    """Return a tenth of the rate of the lowest loss."""
    return float(places[int(np.argmin(smoothed))]) - 1.0


RULES: Mapping[str, Callable[[Float64Array, Float64Array, float], float]] = {
    "steepest": steepest,
    "valley": valley,
    "minimum_tenth": minimum_tenth,
}


# ---- The result ----------------------------------------------------------------------------------


class LRFinder:
    """What `gdcore.find_lr` found: a curve of losses over rates, and the rates that it suggests.

    Attributes
    ----------
    lrs : ndarray of float64
        The rates, from `start` on, as far as the sweep came.
    losses : ndarray of float64
        The loss before the step of each rate; the last one may be not finite.
    baseline : ndarray of float64
        The loss of the same rows, with the same Dropout, where nothing has moved yet.
    smoothed : ndarray of float64
        Bias-corrected exponential average of ``losses - baseline + baseline.mean()``: what batches
        differ in by themselves is taken out.
    suggestion : float or None
        The rate of `rule`; None where the loss did not fall.
    suggestions : dict of str to float or None
        The rate of each rule: "steepest", "valley", "minimum_tenth".
    rule : str
    message : str
        What happened, in words.

    Examples
    --------
    >>> found = gd.find_lr(lambda x: x**2, 1.0)
    >>> list(found.suggestions)
    ['steepest', 'valley', 'minimum_tenth']
    >>> 0.01 < found.suggestion < 0.5
    True
    """

    def __init__(
        self,
        lrs: Float64Array,
        losses: Float64Array,
        baseline: Float64Array,
        smoothing: float,
        rule: str,
        eps: float,
        ended: str,
    ) -> None:
        self.lrs, self.losses, self.baseline = lrs, losses, baseline
        self.rule = rule
        sound = np.isfinite(losses) & np.isfinite(baseline)
        n = len(sound) if sound.all() else int(np.argmin(sound))
        level = float(baseline[:n].mean()) if n else math.nan
        self.smoothed = np.full(len(losses), math.nan)
        self.smoothed[:n] = smoothed_by(smoothing, losses[:n] - baseline[:n] + level)
        fell = n > 2 and level - float(self.smoothed[:n].min()) > 1e3 * eps * abs(level)
        self.suggestions: dict[str, float | None] = dict.fromkeys(RULES)
        if fell:
            places = np.log10(lrs[:n])
            for name, find in RULES.items():
                self.suggestions[name] = float(10 ** find(places, self.smoothed[:n], level))
        self.message = self._course(n, level, ended) if fell else self._no_fall(n)

    @property
    def suggestion(self) -> float | None:
        """The rate that the chosen rule suggests; None where the loss did not fall."""
        return self.suggestions[self.rule]

    def plot(self, ax: Axes | None = None) -> Display:
        """Draw the losses against the rates, with the suggestion marked.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        Display
            See `gdcore.plot.lr_finder`.
        """
        from gdcore._pictures_training import lr_finder

        return lr_finder(self, ax)

    # ---- In words ----

    def _course(self, n: int, level: float, ended: str) -> str:
        lowest = int(np.argmin(self.smoothed[:n]))
        text = (
            f"the smoothed loss fell from {level:.4g} to {self.smoothed[lowest]:.4g} at a rate of"
            f" {self.lrs[lowest]:.3g}"
        )
        last = self.lrs[-1]
        if ended == "failed" or n < len(self.losses):
            return f"{text}; loss or gradient was not finite at {last:.3g}, where the sweep ended"
        if ended:
            return f"{text}; at {last:.3g} it had risen so far that the sweep ended"
        if lowest == n - 1:
            return f"{text}, the largest one, and may fall further: try a larger stop"
        return text

    def _no_fall(self, n: int) -> str:
        if not len(self.losses):
            return "no suggestion: nothing was swept"
        if not n:
            return "no suggestion: the loss is not finite before the first step"
        if n < 3:
            return (
                f"no suggestion: at {self.lrs[-1]:.3g} the loss had risen far, or was not finite,"
                " already; try a smaller start"
            )
        return (
            f"no suggestion: the loss never fell below {self.baseline[:n].mean():.4g}, where it"
            " began; a smaller start helps where it rises at once, a larger stop where nothing"
            " moves, and a gradient that is 0 or wrong gives no rate at all"
        )

    def _title(self) -> str:
        if self.suggestion is None:
            return "LRFinder: no suggestion"
        return f"LRFinder: suggestion {self.suggestion:.3g} ({self.rule})"

    def _others(self) -> str:
        return ", ".join(
            f"{name} {rate:.3g}"
            for name, rate in self.suggestions.items()
            if rate is not None and name != self.rule
        )

    def _swept(self) -> str:
        if len(self.lrs) < 2:
            return "1 rate" if len(self.lrs) else "no rate"
        return f"{len(self.lrs)} rates from {self.lrs[0]:.3g} to {self.lrs[-1]:.3g}"

    def __repr__(self) -> str:
        others = self._others()
        return "\n".join(
            [
                self._title(),
                f"  swept   {self._swept()}",
                *([f"  others  {others}"] if others else []),
                f"  course  {self.message.removeprefix('no suggestion: ')}",
            ]
        )

    def _repr_html_(self) -> str:
        rows = [("swept", self._swept()), ("others", self._others()), ("course", self.message)]
        body = "".join(
            f"<tr><th>{name}</th><td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in rows
            if text
        )
        return f"<div>{html.escape(self._title())}<table><tbody>{body}</tbody></table></div>"
