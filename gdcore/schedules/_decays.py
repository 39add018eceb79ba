"""Schedules that go one way: constant, by stairs, by a power of the step, or between two rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdcore.schedules._base import (
    Float64Array,
    Schedule,
    between,
    cosine_shares,
    linear_shares,
    times,
)

# Names of the two rates and of the length in torch, Keras and optax.
RANGE_ALIASES: Mapping[str, str] = {
    **dict.fromkeys(
        ("lr", "learning_rate", "initial_learning_rate", "init_value", "base_lr", "eta0"), "start"
    ),
    **dict.fromkeys(("end_value", "end_learning_rate", "eta_min", "min_lr", "end"), "stop"),
    **dict.fromkeys(
        ("total_iters", "T_max", "T_0", "decay_steps", "transition_steps", "first_decay_steps"),
        "steps",
    ),
}


@dataclass(frozen=True)
class constant(Schedule):
    """The same rate at every step: ``value``.

    Parameters
    ----------
    value : float
        The rate, finite and >= 0.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.constant(0.1)(1000)
    0.1
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        **Schedule._aliases,
        "lr": "value",
        "learning_rate": "value",
    }

    value: float

    def __post_init__(self) -> None:
        self._set(value=self._check_lr("value"))

    def _rate(self, t: Float64Array) -> Float64Array:
        return np.full_like(t, self.value)


@dataclass(frozen=True)
class step(Schedule):
    r"""Stairs: ``lr * gamma ** floor(t / step_size)``.

    torch's ``StepLR``. Keras's and optax's exponential decay with ``staircase=True`` is
    ``step(lr, decay_steps, decay_rate)``.

    Parameters
    ----------
    lr : float
        The rate of the first `step_size` steps, finite and >= 0.
    step_size : int
        Length of a stair in steps, >= 1.
    gamma : float, default 0.1
        Factor from one stair to the next, finite and >= 0.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.step(0.8, step_size=2, gamma=0.5)([0, 1, 2, 3, 4])
    array([0.8, 0.8, 0.4, 0.4, 0.2])
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        **Schedule._aliases,
        "transition_steps": "step_size",
        "decay_steps": "step_size",
        "decay_rate": "gamma",
    }

    lr: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        self._set(
            lr=self._check_lr(),
            step_size=self._count("step_size"),
            gamma=self._number("gamma", 0.0),
        )

    def _rate(self, t: Float64Array) -> Float64Array:
        return times(self.lr, np.power(self.gamma, t // self.step_size))


@dataclass(frozen=True)
class multistep(Schedule):
    r"""Stairs at chosen steps: ``lr * gamma ** (number of milestones <= t)``.

    torch's ``MultiStepLR``.

    Parameters
    ----------
    lr : float
        The rate before the first milestone, finite and >= 0.
    milestones : sequence of int
        Steps done from which the next stair holds, >= 1 and increasing.
    gamma : float, default 0.1
        Factor from one stair to the next, finite and >= 0.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.multistep(0.8, milestones=[2, 3], gamma=0.5)([0, 1, 2, 3, 4])
    array([0.8, 0.8, 0.4, 0.2, 0.2])
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        **Schedule._aliases,
        "boundaries": "milestones",
        "decay_rate": "gamma",
        "factor": "gamma",
    }

    lr: float
    milestones: Sequence[int]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        self._set(
            lr=self._check_lr(),
            milestones=self._increasing("milestones"),
            gamma=self._number("gamma", 0.0),
        )

    def _rate(self, t: Float64Array) -> Float64Array:
        passed = np.searchsorted(np.array(self.milestones, np.float64), t, side="right")
        return times(self.lr, np.power(self.gamma, passed))


@dataclass(frozen=True)
class exponential(Schedule):
    r"""Geometric decay: ``lr * gamma ** (t / decay_steps)``.

    With ``decay_steps=1`` torch's ``ExponentialLR``; else Keras's ``ExponentialDecay`` and optax's
    ``exponential_decay``, whose ``decay_rate`` is `gamma`. For stairs use `step`.

    Parameters
    ----------
    lr : float
        The rate of the first step, finite and >= 0.
    gamma : float
        Factor over `decay_steps` steps, finite and >= 0. Above 1 the rate grows, as in a search for
        the largest rate that works.
    decay_steps : float, default 1.0
        Number of steps over which the rate changes by `gamma`, >= 1.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.exponential(0.8, gamma=0.5)([0, 1, 2])
    array([0.8, 0.4, 0.2])
    >>> gd.schedules.exponential(0.8, gamma=0.25, decay_steps=1000)(500)
    0.4
    """

    _aliases: ClassVar[Mapping[str, str]] = {**Schedule._aliases, "decay_rate": "gamma"}

    lr: float
    gamma: float
    decay_steps: float = 1.0

    def __post_init__(self) -> None:
        steps = self._number("decay_steps", 1.0, "; a smaller gamma decays faster")
        self._set(lr=self._check_lr(), gamma=self._number("gamma", 0.0), decay_steps=steps)

    def _rate(self, t: Float64Array) -> Float64Array:
        return times(self.lr, np.power(self.gamma, t / self.decay_steps))


@dataclass(frozen=True)
class inverse_time(Schedule):
    r"""Hyperbolic decay: ``lr / (1 + decay_rate * t / decay_steps)``.

    Keras's ``InverseTimeDecay``. The rates sum to infinity and their squares do not, as Robbins and
    Monro's proof of convergence for noisy gradients asks.

    Parameters
    ----------
    lr : float
        The rate of the first step, finite and >= 0.
    decay_rate : float
        Finite and >= 0; the rate is halved after ``decay_steps / decay_rate`` steps.
    decay_steps : float, default 1.0
        Unit in which `decay_rate` counts, in steps, >= 1.

    References
    ----------
    H. Robbins, S. Monro, "A stochastic approximation method", Ann. Math. Statist. 22 (1951).

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.inverse_time(0.6, decay_rate=0.5)([0, 2, 4])
    array([0.6, 0.3, 0.2])
    """

    _aliases: ClassVar[Mapping[str, str]] = {**Schedule._aliases, "gamma": "decay_rate"}

    lr: float
    decay_rate: float
    decay_steps: float = 1.0

    def __post_init__(self) -> None:
        steps = self._number("decay_steps", 1.0, "; a larger decay_rate decays faster")
        self._set(
            lr=self._check_lr(), decay_rate=self._number("decay_rate", 0.0), decay_steps=steps
        )

    def _rate(self, t: Float64Array) -> Float64Array:
        return self.lr / (1.0 + self.decay_rate * (t / self.decay_steps))


@dataclass(frozen=True)
class inverse_sqrt(Schedule):
    r"""Decay by the inverse root: ``lr / sqrt(1 + t / decay_steps)``.

    After a warm-up of the same length, ``warmup(inverse_sqrt(lr, n), n)``, it is the schedule of
    the Transformer: ``lr * min(t / n, sqrt(n / t))``.

    Parameters
    ----------
    lr : float
        The rate of the first step, finite and >= 0.
    decay_steps : float, default 1.0
        The rate is halved after ``3 * decay_steps`` steps; >= 1.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", NeurIPS 2017, arXiv:1706.03762.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.inverse_sqrt(0.6)([0, 3, 8])
    array([0.6, 0.3, 0.2])
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        **Schedule._aliases,
        "warmup_steps": "decay_steps",
        "timescale": "decay_steps",
    }

    lr: float
    decay_steps: float = 1.0

    def __post_init__(self) -> None:
        self._set(lr=self._check_lr(), decay_steps=self._number("decay_steps", 1.0))

    def _rate(self, t: Float64Array) -> Float64Array:
        return self.lr / np.sqrt(1.0 + t / self.decay_steps)


@dataclass(frozen=True)
class linear(Schedule):
    r"""A straight line: ``start + (stop - start) * t / steps``, then `stop`.

    torch's ``LinearLR`` (whose factors times its rate are `start` and `stop`) and optax's
    ``linear_schedule``.

    Parameters
    ----------
    start : float
        The rate of the first step, finite and >= 0.
    stop : float
        The rate after `steps` steps and from then on, finite and >= 0.
    steps : int
        Length of the way in steps, >= 1.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.linear(0.4, 0.0, steps=4)([0, 1, 2, 3, 4, 5])
    array([0.4, 0.3, 0.2, 0.1, 0. , 0. ])
    """

    _aliases: ClassVar[Mapping[str, str]] = RANGE_ALIASES

    start: float
    stop: float
    steps: int

    def __post_init__(self) -> None:
        self._set(
            start=self._check_lr("start"), stop=self._check_lr("stop"), steps=self._count("steps")
        )

    def _rate(self, t: Float64Array) -> Float64Array:
        return between(self.start, self.stop, linear_shares(np.minimum(t / self.steps, 1.0)))


@dataclass(frozen=True)
class polynomial(Schedule):
    r"""A power of what is left: ``stop + (start - stop) * (1 - t / steps) ** power``, then `stop`.

    optax's ``polynomial_schedule``, Keras's ``PolynomialDecay`` without ``cycle``, and with
    ``stop=0`` torch's ``PolynomialLR``.

    Parameters
    ----------
    start : float
        The rate of the first step, finite and >= 0.
    stop : float
        The rate after `steps` steps and from then on, finite and >= 0.
    steps : int
        Length of the way in steps, >= 1.
    power : float, default 1.0
        > 0; 1 is a straight line, 2 slows down towards the end.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.polynomial(0.4, 0.0, steps=4, power=2)([0, 2, 4, 5])
    array([0.4, 0.1, 0. , 0. ])
    """

    _aliases: ClassVar[Mapping[str, str]] = {**RANGE_ALIASES, "exponent": "power"}

    start: float
    stop: float
    steps: int
    power: float = 1.0

    def __post_init__(self) -> None:
        self._set(
            start=self._check_lr("start"),
            stop=self._check_lr("stop"),
            steps=self._count("steps"),
            power=self._positive("power"),
        )

    def _rate(self, t: Float64Array) -> Float64Array:
        left = np.power(1.0 - np.minimum(t / self.steps, 1.0), self.power)
        return between(self.start, self.stop, (1.0 - left, left))


@dataclass(frozen=True)
class cosine(Schedule):
    r"""Half a cosine wave: ``stop + (start - stop) * (1 + cos(pi * t / steps)) / 2``, then `stop`.

    optax's ``cosine_decay_schedule`` and Keras's ``CosineDecay``, whose ``alpha`` times `start` is
    `stop`. torch's ``CosineAnnealingLR`` has the same rates up to `steps` but climbs again after
    them.

    Parameters
    ----------
    start : float
        The rate of the first step, finite and >= 0.
    stop : float
        The rate after `steps` steps and from then on, finite and >= 0.
    steps : int
        Length of the way in steps, >= 1.

    References
    ----------
    I. Loshchilov, F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017,
    arXiv:1608.03983.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.schedules.cosine(0.4, 0.0, steps=6)([0, 2, 3, 4, 6, 7])
    array([0.4, 0.3, 0.2, 0.1, 0. , 0. ])
    """

    _aliases: ClassVar[Mapping[str, str]] = {**RANGE_ALIASES, "alpha": "stop"}

    start: float
    stop: float
    steps: int

    def __post_init__(self) -> None:
        self._set(
            start=self._check_lr("start"), stop=self._check_lr("stop"), steps=self._count("steps")
        )

    def _rate(self, t: Float64Array) -> Float64Array:
        return between(self.start, self.stop, cosine_shares(np.minimum(t / self.steps, 1.0)))
