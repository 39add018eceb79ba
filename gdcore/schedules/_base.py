"""The base class of all schedules, and the formulas that several of them share.

A schedule is a frozen dataclass with one method, ``_rate``: the closed form over a float64 array of
t. The base class does the rest: numbers in, a float out; arrays in, an array out; checks; products;
pictures. None keeps state or reads a clock.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard, overload

import numpy as np
from numpy.typing import NDArray

from gdcore._settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gdcore.plot import Display

Float64Array = NDArray[np.float64]
Momentum = Callable[[Any], Any]  # of t as a schedule takes it


@dataclass(frozen=True)
class Schedule(Settings, ABC):
    """Base of all schedules; to add one, derive a frozen dataclass and write ``_rate(t)``.

    t counts finished steps, so the first step of a run uses ``schedule(0)``. ``a * b`` of schedules
    and numbers is a schedule too, see `product`.
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
    __array_ufunc__ = None  # np.float64(2.0) * schedule is ours to answer

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
        rates: float | Float64Array = self._evaluate(self._rate, t)
        return rates

    def _evaluate(self, formula: Callable[[Float64Array], Float64Array], t: Any) -> Any:
        """Return a formula's values at `t` after a check: a float for a number, else an array."""
        steps = np.asarray(t)
        message = f"{type(self).__name__}: t is {t!r:.80}; accepted are steps done, finite and >= 0"
        if steps.dtype.kind not in "iuf" and steps.size:
            raise TypeError(message)
        if not np.all((steps >= 0) & (steps < np.inf)):
            raise ValueError(message)
        with np.errstate(all="ignore"):
            values = formula(np.atleast_1d(steps.astype(np.float64)))
        return values if steps.ndim else float(values[0])

    @property
    def momentum(self) -> Momentum | None:
        """The momentum after t steps as a callable of t; None where the schedule sets rates only.

        An optimizer whose ``lr`` is the schedule takes it for its momentum or betas[0].
        """
        return None

    def _momentum_by(self, formula: Callable[[Float64Array], Float64Array]) -> Momentum:
        return partial(self._evaluate, formula)

    def plot(self, steps: int, ax: Axes | None = None) -> Display:
        """Draw the rates of the first `steps` steps, see `gdcore.plot.schedule`."""
        from gdcore import plot

        return plot.schedule(self, steps, ax=ax)

    def __mul__(self, other: object) -> Schedule:
        from gdcore.schedules._composed import product

        return product(self, other) if is_part(other) else NotImplemented

    def __rmul__(self, other: object) -> Schedule:
        from gdcore.schedules._composed import product

        return product(other, self) if is_part(other) else NotImplemented

    def _check_lr(self, name: str = "lr") -> float:
        return self._number(name, 0.0, "; to climb, give the optimizer maximize=True")

    def _increasing(self, name: str) -> tuple[int, ...]:
        """Return argument `name`, step numbers >= 1 that increase, as a tuple of Python ints."""
        message = self._message(name, "are step numbers, integers >= 1 that increase")
        items = self._items(name, message)
        if any(isinstance(item, bool) or not isinstance(item, Integral) for item in items):
            raise TypeError(message)
        steps = tuple(int(item) for item in items)
        if any(b <= a for a, b in zip((0, *steps), steps, strict=False)):
            raise ValueError(message)
        return steps

    def _rates(self, name: str, count: int) -> tuple[float, ...]:
        """Return argument `name`, a sequence of `count` rates, as a tuple of Python floats."""
        message = self._message(name, f"are {count} finite numbers >= 0")
        items = self._items(name, message)
        if any(isinstance(item, bool) or not isinstance(item, Real) for item in items):
            raise TypeError(message)
        rates = tuple(float(item) for item in items)
        if len(rates) != count or not all(0 <= rate < math.inf for rate in rates):
            raise ValueError(message)
        return rates

    def _items(self, name: str, message: str) -> tuple[Any, ...]:
        """Return argument `name`, a sequence or an array of one axis, as a tuple."""
        value = getattr(self, name)
        if isinstance(value, np.ndarray) and value.ndim == 1:
            value = value.tolist()
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise TypeError(message)
        return tuple(value)


def is_part(value: object) -> TypeGuard[Schedule | float]:
    """Return whether a value can be part of a schedule: a schedule, or a number as a constant."""
    return isinstance(value, Schedule | Real) and not isinstance(value, bool)


def times(a: float | Float64Array, b: Float64Array) -> Float64Array:
    """Return ``a * b`` with 0 * inf = 0: a rate of zero stays zero where a growth overflows."""
    return np.where((a == 0) | (b == 0), 0.0, a * b)


# ---- From one value to another -------------------------------------------------------------------

Shares = tuple[Float64Array, Float64Array]


def linear_shares(gone: Float64Array) -> Shares:
    """Return how much of a way is done and left where the part `gone`, 0 to 1, of its time is."""
    return gone, 1.0 - gone


def cosine_shares(gone: Float64Array) -> Shares:
    """Return the same for half a cosine wave, slow at both ends."""
    wave = np.cos(np.pi * gone)
    return (1.0 - wave) / 2.0, (1.0 + wave) / 2.0


SHARES: Mapping[str, Callable[[Float64Array], Shares]] = {
    "linear": linear_shares,
    "cosine": cosine_shares,
}


def between(
    start: float | Float64Array, stop: float | Float64Array, shares: Shares
) -> Float64Array:
    """Return where between two values, exact at both ends, one is after a share of the way."""
    done, left = shares
    way = np.subtract(start, stop)
    return np.where(left < 0.5, stop + way * left, start - way * done)


def along(
    t: Float64Array, knots: Sequence[float], values: Sequence[float], anneal: str
) -> Float64Array:
    """Return the values at `t` of a curve through (knot, value), constant after the last knot."""
    at, value = np.array(knots, np.float64), np.array(values, np.float64)
    t = np.minimum(t, at[-1])
    i = np.searchsorted(at[1:-1], t)
    length = at[i + 1] - at[i]
    gone = np.where(length > 0, (t - at[i]) / length, 1.0)
    return between(value[i], value[i + 1], SHARES[anneal](gone))
