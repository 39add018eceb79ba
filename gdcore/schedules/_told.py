"""Rates that depend on the run: on the gradient's norm, and on the loss (or another value told).

They are descriptions without state, as schedules are: what an optimizer has been told is part of
its own state, so two optimizers can share one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from gdcore._settings import Settings
from gdcore.schedules._base import Float64Array


@dataclass(frozen=True)
class Told(Settings):
    """Base of the two: from values told, in any array, to a rate for each."""

    _what: ClassVar[str] = ""

    def _told(self, values: Any) -> Float64Array:
        """Return the values as a float64 array after a check."""
        array = np.asarray(values)
        if array.dtype.kind not in "iuf" and array.size:
            raise TypeError(
                f"{type(self).__name__}: {self._what} is {values!r:.80}; accepted are real numbers"
            )
        return array.astype(np.float64)


@dataclass(frozen=True)
class by_gradient(Told):
    r"""A rate that grows with the gradient: ``min(max, scale * norm)``.

    As ``lr=`` of an optimizer, norm is the global norm of the step's gradients before clipping
    (over all parameters that are not frozen; then also ``opt.grad_norm``), and ``opt.lr`` is the
    last rate used; before the first step it is `max`. Large steps far from a minimum, small ones
    near it.

    Parameters
    ----------
    scale : float
        Rate per unit of the norm, > 0.
    max : float
        The largest rate, finite and >= 0.

    Notes
    -----
    An infinite norm gives `max`, a NaN norm a NaN rate, which makes all parameters NaN:
    ``on_nonfinite="raise"`` or ``"skip"`` refuses such a step first.

    Examples
    --------
    >>> import gdcore as gd
    >>> rate = gd.schedules.by_gradient(scale=0.1, max=0.5)
    >>> rate([0.0, 2.0, 100.0])
    array([0. , 0.2, 0.5])
    >>> opt = gd.SGD(lr=rate)
    >>> opt.step(np.zeros(2), np.array([0.6, 0.8]))
    >>> opt.lr
    0.1
    """

    _usage: ClassVar[str] = ", called as by_gradient(scale, max)(norm)"
    _what: ClassVar[str] = "norm"
    _aliases: ClassVar[Mapping[str, str]] = {"max_lr": "max", "lr": "scale", "factor": "scale"}

    scale: float
    max: float

    def __post_init__(self) -> None:
        self._set(scale=self._positive("scale"), max=self._number("max", 0.0))

    @overload
    def __call__(self, norm: float) -> float: ...
    @overload
    def __call__(self, norm: NDArray[Any] | Sequence[float]) -> Float64Array: ...
    def __call__(self, norm: float | NDArray[Any] | Sequence[float]) -> float | Float64Array:
        """Return the rate at a gradient's norm, or at each of an array of norms.

        Raises
        ------
        TypeError, ValueError
            If norm is not made of real numbers >= 0 (or NaN).
        """
        norms = self._told(norm)
        if np.any(norms < 0):
            raise ValueError(f"by_gradient: norm is {norm!r:.80}; accepted are numbers >= 0")
        with np.errstate(all="ignore"):
            rates: Float64Array = np.minimum(self.max, self.scale * norms)
        return rates if norms.ndim else float(rates)


class PlateauState(NamedTuple):
    """Where a `plateau` stands: the rate, and what it has been told so far."""

    lr: float
    best: float
    bad: int
    cooldown: int


@dataclass(frozen=True)
class plateau(Told):
    r"""A rate that falls by `factor` where a loss has stopped getting better.

    torch's ``ReduceLROnPlateau``, comparison for comparison. A value is better if it is below
    ``best * (1 - threshold)`` (``"rel"``) or ``best - threshold`` (``"abs"``), with mode "max"
    above ``best * (1 + threshold)`` or ``best + threshold``; NaN never is. After more than
    `patience` values in a row that are not, ``lr = max(lr * factor, min_lr)``.

    As ``lr=`` of an optimizer it is told ``loss=`` of each step, and that step already uses the new
    rate, which then is ``opt.lr``. The optimizer keeps the state (saved, copied and reset with its
    own); a step that is refused or skipped has told nothing.

    By hand: ``state = p.start()``, then ``state = p.told(state, loss)`` gives ``state.lr``; or
    ``p(losses)`` for the rates after each of them.

    Parameters
    ----------
    lr : float
        The first rate, finite and >= 0.
    mode : {'min', 'max'}, default 'min'
        Whether smaller or larger values are better.
    factor : float, default 0.1
        In [0, 1).
    patience : int, default 10
        Values that are not better and change nothing, >= 0.
    threshold : float, default 1e-4
        How much better counts, finite and >= 0.
    threshold_mode : {'rel', 'abs'}, default 'rel'
        Whether threshold is a part of the best value or a difference.
    cooldown : int, default 0
        Values after a fall that are not counted, >= 0.
    min_lr : float, default 0.0
        The smallest rate, finite and >= 0.
    eps : float, default 1e-8
        A fall by no more than this is left out, finite and >= 0.

    Examples
    --------
    >>> import gdcore as gd
    >>> p = gd.schedules.plateau(0.5, factor=0.5, patience=1)
    >>> p([3.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    array([0.5  , 0.5  , 0.5  , 0.25 , 0.25 , 0.125])
    >>> opt, w = gd.SGD(lr=p), np.zeros(1)
    >>> for loss in [3.0, 2.0, 2.0, 2.0]:
    ...     opt.step(w, np.ones(1), loss=loss)
    >>> opt.lr
    0.25
    """

    _usage: ClassVar[str] = ", called as plateau(lr)(losses)"
    _what: ClassVar[str] = "losses"
    _aliases: ClassVar[Mapping[str, str]] = {
        "learning_rate": "lr",
        "gamma": "factor",
        "min_delta": "threshold",
        "rtol": "threshold",
    }

    lr: float
    mode: str = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    eps: float = 1e-8

    def __post_init__(self) -> None:
        self._set(
            lr=self._number("lr", 0.0),
            mode=self._word("mode", ("min", "max")),
            factor=self._real("factor", lambda x: 0 <= x < 1, "is a number in [0, 1)"),
            patience=self._count("patience", low=0),
            threshold=self._number("threshold", 0.0),
            threshold_mode=self._word("threshold_mode", ("rel", "abs")),
            cooldown=self._count("cooldown", low=0),
            min_lr=self._number("min_lr", 0.0),
            eps=self._number("eps", 0.0),
        )

    def start(self) -> PlateauState:
        """Return the state before any value."""
        return PlateauState(self.lr, math.inf if self.mode == "min" else -math.inf, 0, 0)

    def told(self, state: PlateauState, value: float) -> PlateauState:
        """Return the state after one more value."""
        lr, best, bad, cooldown = state
        value = float(value)
        best, bad = (value, 0) if self._is_better(value, best) else (best, bad + 1)
        if cooldown > 0:
            cooldown, bad = cooldown - 1, 0
        if bad > self.patience:
            lower = max(lr * self.factor, self.min_lr)
            if lr - lower > self.eps:
                lr = lower
            cooldown, bad = self.cooldown, 0
        return PlateauState(lr, best, bad, cooldown)

    def _is_better(self, value: float, best: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "rel":
            best *= 1.0 + sign * self.threshold
        else:
            best += sign * self.threshold
        return value > best if self.mode == "max" else value < best

    @overload
    def __call__(self, losses: float) -> float: ...
    @overload
    def __call__(self, losses: NDArray[Any] | Sequence[float]) -> Float64Array: ...
    def __call__(self, losses: float | NDArray[Any] | Sequence[float]) -> float | Float64Array:
        """Return the rate after each of these losses, told one by one from the start.

        Raises
        ------
        TypeError
            If losses is not made of real numbers.
        """
        values = self._told(losses)
        rates = np.empty_like(values)
        state = self.start()
        for i, value in enumerate(values.flat):
            state = self.told(state, float(value))
            rates.flat[i] = state.lr
        return rates if values.ndim else float(rates)
