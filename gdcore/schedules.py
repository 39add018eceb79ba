"""Learning-rate schedules: small callables ``schedule(t)`` with t = steps done, 0 at the first.

A schedule is a frozen dataclass with one method, ``_rate``: the closed form over a float64 array of
t. The base class does the rest: numbers in, a float out; arrays in, an array out; checks; pictures.
So each schedule pickles, deep-copies, hashes, compares with ``==`` and prints as its constructor
call. None keeps state or reads a clock: a resumed run sees the rates that it would have seen.
"""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gdcore.plot import Display

__all__ = ["Schedule", "constant", "exponential", "inverse_time", "step"]

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """Base of named settings: an argument that does not exist is an error that names the right one.

    ``_aliases`` maps other libraries' names of arguments to ours; ``_usage`` says how to call the
    finished object, for whoever passes it the arguments of that call.
    """

    _aliases: ClassVar[Mapping[str, str]] = {}
    _usage: ClassVar[str] = ""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        known = [field.name for field in fields(cls)]
        accepted = f"accepted: {cls.__name__}({', '.join(known)}){cls._usage}"
        if len(args) > len(known):
            raise TypeError(f"{cls.__name__}: {len(args)} positional arguments found; {accepted}")
        for name in kwargs:
            if name not in known:
                ours = cls._aliases.get(name, name)
                near = difflib.get_close_matches(ours, known, n=1)
                hint = f"; did you mean {near[0]}=?" if near else ""
                raise TypeError(f"{cls.__name__}: unknown argument {name}=; {accepted}{hint}")
        return super().__new__(cls)

    def _set(self, **values: float) -> None:
        """Store checked values; for ``__post_init__`` alone, while the object is being made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _number(self, name: str, low: float = -math.inf, way_out: str = "") -> float:
        """Return argument `name` as a Python float; refuse all but finite real numbers >= `low`."""
        value = getattr(self, name)
        accepted = "a finite number" + (f" >= {low:g}" if low > -math.inf else "")
        message = f"{type(self).__name__}: {name} is {value!r}; accepted is {accepted}{way_out}"
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(message)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not low <= number < math.inf:
            raise ValueError(message)
        return number

    def _count(self, name: str, way_out: str = "") -> int:
        """Return argument `name` as a Python int; refuse all but integers >= 1."""
        value = getattr(self, name)
        message = (
            f"{type(self).__name__}: {name} is {value!r}; accepted is an integer >= 1{way_out}"
        )
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(message)
        if value < 1:
            raise ValueError(message)
        return int(value)


@dataclass(frozen=True)
class Schedule(Settings, ABC):
    """Base of all schedules; to add one, derive a frozen dataclass and write ``_rate(t)``.

    t counts finished steps, so the first step of a run uses ``schedule(0)``.
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        "learning_rate": "lr",
        "initial_learning_rate": "lr",
        "init_value": "lr",
        "base_lr": "lr",
        "eta0": "lr",
        "transition_steps": "decay_steps",
    }
    _usage: ClassVar[str] = ", called as schedule(t)"

    @abstractmethod
    def _rate(self, t: Float64Array) -> Float64Array:
        """Return the rates at `t`, a float64 array of one or more axes, finite and >= 0."""

    @overload
    def __call__(self, t: float) -> float: ...
    @overload
    def __call__(self, t: NDArray[Any] | Sequence[float]) -> Float64Array: ...
    def __call__(self, t: float | NDArray[Any] | Sequence[float]) -> float | Float64Array:
        """Return the rate after `t` steps.

        Parameters
        ----------
        t : int, or array-like of any shape
            Steps done, finite and >= 0.

        Returns
        -------
        float, or ndarray of float64 of the shape of `t`

        Raises
        ------
        TypeError, ValueError
            If t is not made of finite numbers >= 0.
        """
        steps = np.asarray(t)
        message = f"{type(self).__name__}: t is {t!r:.80}; accepted are steps done, finite and >= 0"
        if steps.dtype.kind not in "iuf" and steps.size:
            raise TypeError(message)
        if not np.all((steps >= 0) & (steps < np.inf)):
            raise ValueError(message)
        with np.errstate(all="ignore"):
            rates = self._rate(np.atleast_1d(steps.astype(np.float64)))
        return rates if steps.ndim else float(rates[0])

    def plot(self, steps: int, ax: Axes | None = None) -> Display:
        """Draw the rates of the first `steps` steps, see `gdcore.plot.schedule`."""
        from gdcore import plot

        return plot.schedule(self, steps, ax=ax)

    def _check_lr(self, name: str = "lr") -> float:
        return self._number(name, 0.0, "; to climb, give the optimizer maximize=True")


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
        return _scaled(self.lr, np.power(self.gamma, t // self.step_size))


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
        return _scaled(self.lr, np.power(self.gamma, t / self.decay_steps))


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


def _scaled(lr: float, factor: Float64Array) -> Float64Array:
    """Return ``lr * factor``, with 0 * inf = 0: a rate of zero stays zero where gamma overflows."""
    return lr * factor if lr else np.zeros_like(factor)
