"""Schedules made of schedules: after a warm-up, one after another, multiplied, counted in epochs.

Parts are schedules or numbers, which are constant rates. `by_gradient` and `plateau` are no
functions of t and cannot be parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from gdcore.schedules._base import Float64Array, Momentum, Schedule, is_part, times
from gdcore.schedules._decays import constant


def part(owner: str, name: str, value: object) -> Schedule:
    """Return a part of a composed schedule: a schedule as it is, a number as a constant one."""
    if not is_part(value):
        raise TypeError(
            f"{owner}: {name} is {value!r:.80}; accepted is a schedule or a number (for a function"
            " of your own derive a frozen dataclass from gd.schedules.Schedule and write _rate)"
        )
    if isinstance(value, Schedule):
        return value
    try:
        return constant(value)
    except ValueError as error:
        raise ValueError(f"{owner}: {name} is no rate; {error}") from None


def part_of_rates(owner: str, name: str, value: object) -> Schedule:
    """Return a part whose momentum would be lost, and which therefore has none."""
    schedule = part(owner, name, value)
    if schedule.momentum is not None:
        raise ValueError(
            f"{owner}: {name} is {schedule!r:.80}, whose momentum would not be used; accepted is a"
            " schedule of rates: cycle_momentum=False"
        )
    return schedule


@dataclass(frozen=True)
class warmup(Schedule):
    r"""A straight rise to a schedule's first rate, then the schedule, counted from there.

    ``start + (schedule(0) - start) * t / steps`` before `steps`, then ``schedule(t - steps)``.
    torch's ``SequentialLR`` of ``LinearLR`` and the schedule; with ``cosine(peak, stop, n)`` it is
    optax's ``warmup_cosine_decay_schedule``, whose ``decay_steps`` is ``steps + n``.

    Parameters
    ----------
    schedule : schedule or float
        What comes after the rise; a number is a constant rate.
    steps : int
        Length of the rise in steps, >= 1.
    start : float, default 0.0
        The rate of the first step, finite and >= 0. With 0 the first step changes nothing.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.warmup(gd.schedules.linear(0.4, 0.0, 4), steps=2)([0, 1, 2, 3, 4, 5, 6])
    array([0. , 0.2, 0.4, 0.3, 0.2, 0.1, 0. ])
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        "warmup_steps": "steps",
        "total_iters": "steps",
        "init_value": "start",
        "warmup_init_lr": "start",
        "lr": "schedule",
        "after": "schedule",
    }

    schedule: Schedule | float
    steps: int
    start: float = 0.0

    def __post_init__(self) -> None:
        self._set(
            schedule=part_of_rates("warmup", "schedule", self.schedule),
            steps=self._count("steps"),
            start=self._check_lr("start"),
        )

    def _rate(self, t: Float64Array) -> Float64Array:
        after = cast(Schedule, self.schedule)._rate(np.maximum(t - self.steps, 0.0))
        return np.where(t < self.steps, self.start + (after - self.start) * (t / self.steps), after)


@dataclass(frozen=True)
class sequential(Schedule):
    r"""Schedules one after another: ``schedules[i](t - milestones[i - 1])``, each counted anew.

    torch's ``SequentialLR`` and optax's ``join_schedules``.

    Parameters
    ----------
    schedules : sequence of schedule or float
        At least one; a number is a constant rate.
    milestones : sequence of int
        Steps done from which the next schedule holds, >= 1 and increasing, one fewer than
        schedules.

    Examples
    --------
    >>> import gdcore as gd
    >>> s = gd.schedules
    >>> s.sequential([0.5, s.linear(0.4, 0.0, 2)], milestones=[3])([0, 2, 3, 4, 5, 6])
    array([0.5, 0.5, 0.4, 0.2, 0. , 0. ])
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        "boundaries": "milestones",
        "schedulers": "schedules",
        "parts": "schedules",
    }

    schedules: Sequence[Schedule | float]
    milestones: Sequence[int]

    def __post_init__(self) -> None:
        milestones = self._increasing("milestones")
        message = self._message(
            "schedules", f"are {len(milestones) + 1} schedules, one more than milestones"
        )
        items = self._items("schedules", message)
        if len(items) != len(milestones) + 1:
            raise ValueError(message)
        parts = [
            part_of_rates("sequential", f"schedules[{i}]", item) for i, item in enumerate(items)
        ]
        self._set(schedules=tuple(parts), milestones=milestones)

    def _rate(self, t: Float64Array) -> Float64Array:
        rates = np.empty_like(t)
        number = np.searchsorted(np.array(self.milestones, np.float64), t, side="right")
        for i, begin in enumerate((0, *self.milestones)):
            here = number == i
            rates[here] = cast(Schedule, self.schedules[i])._rate(t[here] - begin)
        return rates


@dataclass(frozen=True)
class product(Schedule):
    r"""Two schedules multiplied: ``first(t) * second(t)``; written ``first * second``.

    Parameters
    ----------
    first, second : schedule or float
        A number is a constant factor, finite and >= 0.

    Examples
    --------
    >>> import gdcore as gd
    >>> s = gd.schedules
    >>> (0.5 * s.step(0.8, 2, 0.5))([0, 1, 2])
    array([0.4, 0.4, 0.2])
    >>> s.linear(1.0, 0.0, 4) * s.constant(2)
    product(first=linear(start=1.0, stop=0.0, steps=4), second=constant(value=2.0))
    """

    first: Schedule | float
    second: Schedule | float

    def __post_init__(self) -> None:
        for name in ("first", "second"):
            self._set(**{name: part_of_rates("product", name, getattr(self, name))})

    def _rate(self, t: Float64Array) -> Float64Array:
        first, second = cast(Schedule, self.first), cast(Schedule, self.second)
        return times(first._rate(t), second._rate(t))


@dataclass(frozen=True)
class per_epoch(Schedule):
    r"""A schedule of epochs: ``schedule(floor(t / steps_per_epoch))``.

    fit knows the number of steps of an epoch, and counts epochs from its `initial_epoch` on;
    everywhere else it is to be given.

    Parameters
    ----------
    schedule : schedule or float
        Called with the number of epochs done; its momentum, if any, is taken over.
    steps_per_epoch : int, optional
        Steps of an epoch, >= 1.

    Raises
    ------
    ValueError
        When called without `steps_per_epoch` outside fit.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.per_epoch(gd.schedules.linear(0.4, 0.0, 4), 2)([0, 1, 2, 3, 4])
    array([0.4, 0.4, 0.3, 0.3, 0.2])
    """

    _aliases: ClassVar[Mapping[str, str]] = {"steps": "steps_per_epoch", "epoch": "steps_per_epoch"}

    schedule: Schedule | float
    steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        self._set(schedule=part("per_epoch", "schedule", self.schedule))
        if self.steps_per_epoch is not None:
            self._set(steps_per_epoch=self._count("steps_per_epoch"))

    def _epoch(self, t: Float64Array) -> Float64Array:
        if self.steps_per_epoch is None:
            raise ValueError(
                "per_epoch: steps_per_epoch is None, which only fit can fill in; here the number of"
                " steps of an epoch is wanted: per_epoch(schedule, steps_per_epoch=...)"
            )
        return t // self.steps_per_epoch

    def _rate(self, t: Float64Array) -> Float64Array:
        return cast(Schedule, self.schedule)._rate(self._epoch(t))

    @property
    def momentum(self) -> Momentum | None:
        """The schedule's momentum after t steps as a callable of t; None where it has none."""
        momentum = cast(Schedule, self.schedule).momentum
        return None if momentum is None else self._momentum_by(lambda t: momentum(self._epoch(t)))
