"""Schedules times a factor: the rates of layers that have ``lr_scale``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gdcore.schedules import Schedule, by_gradient, per_epoch, plateau
from gdcore.schedules._base import Float64Array, Momentum, times


def scaled(lr: Any, factor: float) -> Any:
    """Return a schedule or callable of t times a factor, of the kind it was.

    One that is told something (`by_gradient`, `plateau`), and one that counts epochs, stays one of
    these, with the factor in its arguments.
    """
    if isinstance(lr, by_gradient):
        return by_gradient(lr.scale * factor, lr.max * factor) if factor else 0.0
    if isinstance(lr, plateau):
        least, eps = lr.min_lr * factor, lr.eps * factor
        return dataclasses.replace(lr, lr=lr.lr * factor, min_lr=least, eps=eps)
    if isinstance(lr, per_epoch):
        return dataclasses.replace(lr, schedule=scaled(lr.schedule, factor))
    return Scaled(lr, factor) if isinstance(lr, Schedule) else ScaledFunction(lr, factor)


@dataclass(frozen=True)
class Scaled(Schedule):
    """A schedule times a factor, with the schedule's momentum."""

    schedule: Schedule
    factor: float

    def _rate(self, t: Float64Array) -> Float64Array:
        return times(self.factor, self.schedule._rate(t))

    @property
    def momentum(self) -> Momentum | None:
        """The schedule's."""
        return self.schedule.momentum


@dataclass(frozen=True)
class ScaledFunction:
    """A function of t times a factor."""

    function: Callable[[int], float]
    factor: float

    def __call__(self, t: int) -> float:
        """Return the rate after t steps."""
        return self.factor * float(self.function(t))
