"""Schedules that rise and fall: restarts, waves, and one cycle with its momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdcore.schedules._base import (
    SHARES,
    Float64Array,
    Momentum,
    Schedule,
    along,
    between,
    cosine_shares,
    times,
)
from gdcore.schedules._decays import RANGE_ALIASES


@dataclass(frozen=True)
class cosine_restarts(Schedule):
    r"""Cosine decays in a row, cycle i of length ``steps * growth ** i``; it has no end.

    Within a cycle of length T, k steps from its start:
    ``stop + (start - stop) * (1 + cos(pi * k / T)) / 2``; `stop` itself is not reached, the next
    cycle begins instead. torch's ``CosineAnnealingWarmRestarts``, whose ``T_mult`` is `growth`;
    Keras's ``CosineDecayRestarts`` with ``m_mul=1``; optax's ``sgdr_schedule`` of such cycles.

    Parameters
    ----------
    start : float
        The rate at which each cycle begins, finite and >= 0.
    stop : float
        The rate towards which each cycle falls, finite and >= 0.
    steps : int
        Length of the first cycle in steps, >= 1.
    growth : float, default 1.0
        Factor from the length of a cycle to that of the next, >= 1.

    References
    ----------
    I. Loshchilov, F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017,
    arXiv:1608.03983.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.cosine_restarts(0.4, 0.0, steps=3, growth=2)([0, 1, 2, 3, 5, 7, 9])
    array([0.4, 0.3, 0.1, 0.4, 0.3, 0.1, 0.4])
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        **RANGE_ALIASES,
        "T_mult": "growth",
        "t_mul": "growth",
        "alpha": "stop",
    }

    start: float
    stop: float
    steps: int
    growth: float = 1.0

    def __post_init__(self) -> None:
        self._set(
            start=self._check_lr("start"),
            stop=self._check_lr("stop"),
            steps=self._count("steps"),
            growth=self._number("growth", 1.0),
        )

    def _begin(self, cycle: Float64Array) -> Float64Array:
        """Return the first step of the cycles of these numbers: ``steps * (1 + g + g^2 + ...)``."""
        if self.growth == 1:
            return cycle * self.steps
        return self.steps * (np.power(self.growth, cycle) - 1.0) / (self.growth - 1.0)

    def _rate(self, t: Float64Array) -> Float64Array:
        lengths = t / self.steps
        if self.growth == 1:
            cycle = np.floor(lengths)
        else:
            by_log = np.log1p(lengths * (self.growth - 1.0)) / np.log(self.growth)
            cycle = np.floor(by_log)
            # rounding of the logarithm puts the first step of a cycle into the one before
            cycle += self._begin(cycle + 1.0) <= t
            cycle -= self._begin(cycle) > t
        gone = (t - self._begin(cycle)) / (self.steps * np.power(self.growth, cycle))
        return between(self.start, self.stop, cosine_shares(np.clip(gone, 0.0, 1.0)))


MODES = ("triangular", "triangular2", "exp_range")


@dataclass(frozen=True)
class cyclic(Schedule):
    r"""Straight up and down between two rates, again and again; it has no end.

    ``start + (peak - start) * height(t) * scale``: height goes from 0 to 1 in `steps_up` steps and
    back to 0 in `steps_down`; scale is 1 (``"triangular"``), ``0.5 ** cycle`` with cycles counted
    from 0 (``"triangular2"``) or ``gamma ** t`` (``"exp_range"``). torch's ``CyclicLR`` with
    ``cycle_momentum=False``.

    Parameters
    ----------
    start : float
        The rate at the ends of a cycle, finite and >= 0.
    peak : float
        The rate in the middle of the first cycle, finite and >= `start`.
    steps_up : int, default 2000
        Steps from `start` to `peak`, >= 1.
    steps_down : int, optional
        Steps back, >= 1; `steps_up` where not given.
    mode : {'triangular', 'triangular2', 'exp_range'}, default 'triangular'
        How the height of the cycles changes.
    gamma : float, default 1.0
        Factor per step in mode "exp_range", finite and >= 0.

    References
    ----------
    L. N. Smith, "Cyclical learning rates for training neural networks", WACV 2017,
    arXiv:1506.01186.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.cyclic(0.1, 0.5, steps_up=2)([0, 1, 2, 3, 4, 5])
    array([0.1, 0.3, 0.5, 0.3, 0.1, 0.3])
    >>> gd.schedules.cyclic(0.1, 0.5, steps_up=2, mode="triangular2")([2, 6, 10])
    array([0.5, 0.3, 0.2])
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        "base_lr": "start",
        "lr": "start",
        "learning_rate": "start",
        "max_lr": "peak",
        "step_size_up": "steps_up",
        "step_size_down": "steps_down",
        "steps": "steps_up",
    }

    start: float
    peak: float
    steps_up: int = 2000
    steps_down: int | None = None
    mode: str = "triangular"
    gamma: float = 1.0

    def __post_init__(self) -> None:
        start, up = self._check_lr("start"), self._count("steps_up")
        self._set(
            start=start,
            peak=self._number("peak", start),
            steps_up=up,
            steps_down=up if self.steps_down is None else self._count("steps_down"),
            mode=self._word("mode", MODES),
            gamma=self._number("gamma", 0.0),
        )

    def _rate(self, t: Float64Array) -> Float64Array:
        up = float(self.steps_up)
        length = up + float(self.steps_down or up)
        at = t % length
        height = np.where(at <= up, at / up, (length - at) / (length - up))
        if self.mode == "triangular2":
            height = height * np.power(0.5, t // length)
        elif self.mode == "exp_range":
            height = times(height, np.power(self.gamma, t))
        return self.start + times(self.peak - self.start, height)


@dataclass(frozen=True)
class one_cycle(Schedule):
    r"""One rise to a peak and one long fall far below the start, with momentum going the other way.

    From ``peak / div_factor`` to `peak` in the first ``pct_start * steps - 1`` steps, and down to
    ``peak / div_factor / final_div_factor`` at step ``steps - 1``, the last one; meanwhile momentum
    goes from `max_momentum` to `base_momentum` and back. With `three_phase` the fall back to the
    first rate mirrors the rise, and a third phase goes down to the last rate.

    torch's ``OneCycleLR`` step by step; after the last step, where torch raises, the rate stays.
    optax's ``cosine_onecycle_schedule`` puts the peak at ``int(pct_start * steps)`` and the end at
    `steps`: ``piecewise_interpolated([int(pct_start * steps), steps], [first, peak, last],
    "cosine")``.

    Parameters
    ----------
    peak : float
        The largest rate, finite and >= 0.
    steps : int
        Number of steps of the whole run, >= 1.
    pct_start : float, default 0.3
        Part of the steps that rises, 0 to 1; to 0.5 with `three_phase`.
    anneal : {'cosine', 'linear'}, default 'cosine'
        The form of the ways between these rates.
    cycle_momentum : bool, default True
        Whether ``.momentum(t)`` exists. An optimizer with ``momentum`` or ``betas`` takes its
        momentum or betas[0] from it; one without has none to set.
    base_momentum, max_momentum : float, default 0.85 and 0.95
        Momentum at the peak and at both ends, in [0, 1).
    div_factor : float, default 25.0
        The peak over the first rate, > 0.
    final_div_factor : float, default 1e4
        The first rate over the last, > 0.
    three_phase : bool, default False
        Whether the fall has two parts.

    References
    ----------
    L. N. Smith, N. Topin, "Super-convergence: very fast training of neural networks using large
    learning rates", 2018, arXiv:1708.07120.

    Examples
    --------
    >>> import gdcore as gd
    >>> cycle = gd.schedules.one_cycle(0.5, steps=10, div_factor=5)
    >>> cycle([0, 1, 2, 9, 10])
    array([1.e-01, 3.e-01, 5.e-01, 1.e-05, 1.e-05])
    >>> cycle.momentum([0, 2, 9])
    array([0.95, 0.85, 0.95])
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        "max_lr": "peak",
        "lr": "peak",
        "learning_rate": "peak",
        "peak_value": "peak",
        "total_steps": "steps",
        "transition_steps": "steps",
        "anneal_strategy": "anneal",
    }

    peak: float
    steps: int
    pct_start: float = 0.3
    anneal: str = "cosine"
    cycle_momentum: bool = True
    base_momentum: float = 0.85
    max_momentum: float = 0.95
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False

    def __post_init__(self) -> None:
        self._set(
            peak=self._check_lr("peak"),
            steps=self._count("steps"),
            anneal=self._word("anneal", tuple(SHARES)),
            cycle_momentum=self._flag("cycle_momentum"),
            base_momentum=self._momentum_number("base_momentum"),
            max_momentum=self._momentum_number("max_momentum"),
            div_factor=self._positive("div_factor"),
            final_div_factor=self._positive("final_div_factor"),
            three_phase=self._flag("three_phase"),
        )
        most = 0.5 if self.three_phase else 1.0
        accepted = f"is a number from 0 to {most:g}" + " with three_phase" * self.three_phase
        self._set(pct_start=self._real("pct_start", lambda x: 0 <= x <= most, accepted))

    def _momentum_number(self, name: str) -> float:
        return self._real(name, lambda x: 0 <= x < 1, "is a number in [0, 1)")

    def _cycle(self, t: Float64Array, first: float, top: float, last: float) -> Float64Array:
        """Return what goes from `first` to `top`, back (to `first` in three phases), to `last`."""
        rise, end = self.pct_start * self.steps - 1.0, self.steps - 1.0
        if self.three_phase:
            knots, values = [0.0, rise, 2.0 * rise, end], [first, top, first, last]
        else:
            knots, values = [0.0, rise, end], [first, top, last]
        return along(t, knots, values, self.anneal)

    def _rate(self, t: Float64Array) -> Float64Array:
        first = self.peak / self.div_factor
        return self._cycle(t, first, self.peak, first / self.final_div_factor)

    @property
    def momentum(self) -> Momentum | None:
        """The momentum after t steps as a callable of t; None with ``cycle_momentum=False``."""
        return self._momentum_by(self._momentum) if self.cycle_momentum else None

    def _momentum(self, t: Float64Array) -> Float64Array:
        return self._cycle(t, self.max_momentum, self.base_momentum, self.max_momentum)
