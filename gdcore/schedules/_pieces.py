"""Schedules through given points: stairs, curves, and warm-up, stable, decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdcore.schedules._base import SHARES, Float64Array, Schedule, along
from gdcore.schedules._decays import RANGE_ALIASES

POINT_ALIASES: Mapping[str, str] = {
    "milestones": "boundaries",
    "steps": "boundaries",
    "rates": "values",
    "lrs": "values",
    "interpolate_type": "anneal",
}


@dataclass(frozen=True)
class piecewise_constant(Schedule):
    r"""Stairs of any heights: ``values[number of boundaries <= t]``.

    optax's ``piecewise_constant_schedule``, whose scales multiply up to our values. Keras's
    ``PiecewiseConstantDecay`` changes one step later: its boundaries are the last steps of a stair,
    ours are the first steps of the next.

    Parameters
    ----------
    boundaries : sequence of int
        Steps done from which the next value holds, >= 1 and increasing.
    values : sequence of float
        The rates, finite and >= 0, one more than boundaries.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.piecewise_constant([2, 4], [0.1, 0.5, 0.2])([0, 1, 2, 3, 4, 5])
    array([0.1, 0.1, 0.5, 0.5, 0.2, 0.2])
    """

    _aliases: ClassVar[Mapping[str, str]] = POINT_ALIASES

    boundaries: Sequence[int]
    values: Sequence[float]

    def __post_init__(self) -> None:
        boundaries = self._increasing("boundaries")
        self._set(boundaries=boundaries, values=self._rates("values", len(boundaries) + 1))

    def _rate(self, t: Float64Array) -> Float64Array:
        at = np.searchsorted(np.array(self.boundaries, np.float64), t, side="right")
        return np.array(self.values)[at]


@dataclass(frozen=True)
class piecewise_interpolated(Schedule):
    r"""A curve through points: ``values[0]`` at step 0, ``values[i]`` at ``boundaries[i - 1]``.

    Between two points the rate goes straight or by half a cosine wave; after the last one it stays.
    optax's ``piecewise_interpolate_schedule``, whose scales multiply up to our values.

    Parameters
    ----------
    boundaries : sequence of int
        Steps done at the second and later points, >= 1 and increasing.
    values : sequence of float
        The rates at the points, finite and >= 0, one more than boundaries.
    anneal : {'linear', 'cosine'}, default 'linear'
        The form of the ways between the points.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.piecewise_interpolated([2, 4], [0.1, 0.5, 0.1])([0, 1, 2, 3, 4, 5])
    array([0.1, 0.3, 0.5, 0.3, 0.1, 0.1])
    """

    _aliases: ClassVar[Mapping[str, str]] = POINT_ALIASES

    boundaries: Sequence[int]
    values: Sequence[float]
    anneal: str = "linear"

    def __post_init__(self) -> None:
        boundaries = self._increasing("boundaries")
        self._set(
            boundaries=boundaries,
            values=self._rates("values", len(boundaries) + 1),
            anneal=self._word("anneal", tuple(SHARES)),
        )

    def _rate(self, t: Float64Array) -> Float64Array:
        if not self.boundaries:
            return np.full_like(t, self.values[0])
        return along(t, (0, *self.boundaries), self.values, self.anneal)


@dataclass(frozen=True)
class wsd(Schedule):
    r"""Warm-up, stable, decay: a straight rise, a long plateau, and a fall at the end.

    From `start` to `peak` in `warmup_steps`, `peak` for `stable_steps`, to `stop` in `decay_steps`,
    then `stop`. A run can be prolonged from its stable part without having known its length.

    Parameters
    ----------
    peak : float
        The rate of the stable part, finite and >= 0.
    warmup_steps, stable_steps : int
        Lengths of the rise and of the stable part in steps, >= 0.
    decay_steps : int
        Length of the fall in steps, >= 1.
    start, stop : float, default 0.0
        The first and the last rate, finite and >= 0.
    anneal : {'linear', 'cosine'}, default 'linear'
        The form of the fall.

    References
    ----------
    S. Hu et al., "MiniCPM: Unveiling the potential of small language models with scalable training
    strategies", 2024, arXiv:2404.06395.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.wsd(0.4, warmup_steps=2, stable_steps=2, decay_steps=4)(range(9))
    array([0. , 0.2, 0.4, 0.4, 0.4, 0.3, 0.2, 0.1, 0. ])
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        **{name: ours for name, ours in RANGE_ALIASES.items() if ours == "stop"},
        "lr": "peak",
        "learning_rate": "peak",
        "max_lr": "peak",
        "peak_value": "peak",
        "init_value": "start",
        "num_warmup_steps": "warmup_steps",
        "num_stable_steps": "stable_steps",
        "num_decay_steps": "decay_steps",
        "decay_type": "anneal",
    }

    peak: float
    warmup_steps: int
    stable_steps: int
    decay_steps: int
    start: float = 0.0
    stop: float = 0.0
    anneal: str = "linear"

    def __post_init__(self) -> None:
        self._set(
            peak=self._check_lr("peak"),
            warmup_steps=self._count("warmup_steps", low=0),
            stable_steps=self._count("stable_steps", low=0),
            decay_steps=self._count("decay_steps"),
            start=self._check_lr("start"),
            stop=self._check_lr("stop"),
            anneal=self._word("anneal", tuple(SHARES)),
        )

    def _rate(self, t: Float64Array) -> Float64Array:
        stable = self.warmup_steps + self.stable_steps
        rise = along(t, (0, self.warmup_steps), (self.start, self.peak), "linear")
        fall = along(t, (stable, stable + self.decay_steps), (self.peak, self.stop), self.anneal)
        return np.where(t < stable, rise, fall)
