"""Descents in the core: the loop of a compiled function, in one call for thousands of steps.

`descend` does what `gdcore.descent` does step by step, with the same bits, where the core can: for
a function that gdcore has compiled, an optimizer of the table, and no callback.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdcore import _core
from gdcore._composed import Composed
from gdcore._rate_state import momentum_of
from gdcore._result import Reason

if TYPE_CHECKING:
    from gdcore._optimizer import Optimizer
    from gdcore.descent import Descent

__all__ = ["History", "at_steps", "descend", "is_by_norm", "is_told", "rates_ahead"]

CHUNK = 16384  # steps of one call: schedules are evaluated and memory taken for so many

Float64Array = NDArray[np.float64]
Entry = tuple[float, float, float, int]


class History:
    """What a descent notes of each point: f, gradient norm, rate of the step, t; a list of tuples.

    Held in columns, because a thousand steps take less time than a thousand tuples.
    """

    def __init__(self, t: int) -> None:
        self.t = t
        self.values: list[Float64Array] = []
        self.norms: list[Float64Array] = []
        self.lrs: list[Float64Array] = [np.array([math.nan])]

    def add(self, values: Float64Array, norms: Float64Array, lrs: Float64Array) -> None:
        """Append points; `lrs` are those of the steps that led to points after the first."""
        self.values.append(values)
        self.norms.append(norms)
        self.lrs.append(lrs)

    def _columns(self) -> list[Float64Array]:
        columns = []
        for parts in (self.values, self.norms, self.lrs):
            if len(parts) > 1:
                parts[:] = [np.concatenate(parts)]
            columns.append(parts[0])
        return columns

    def __len__(self) -> int:
        return sum(map(len, self.values))

    def __getitem__(self, i: int) -> Entry:
        value, norm, lr = self._columns()
        number = i if i >= 0 else len(self) + i
        return float(value[i]), float(norm[i]), float(lr[i]), self.t + number

    def columns(self) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return all values, norms and rates; the first rate is NaN."""
        value, norm, lr = self._columns()
        return value, norm, lr


def at_steps(rate: Any, steps: NDArray[np.int64]) -> Float64Array:
    """Return a rate at each of these steps: a number, a schedule, or any callable of an int."""
    from gdcore.schedules import Schedule

    if not callable(rate):
        return np.full(len(steps), float(rate))
    if isinstance(rate, Schedule):
        return np.asarray(rate(steps), np.float64)
    return np.array([float(rate(int(step))) for step in steps], np.float64)


def rates_ahead(optimizer: Optimizer, t: int, n: int) -> Float64Array | None:
    """Return (n, groups, 2) learning rates and momenta of the steps after t; None for numbers.

    A momentum of NaN is the setting's own.
    """
    lrs = optimizer._lrs()
    if not any(callable(lr) for lr in lrs) or all(is_by_norm(lr) or not callable(lr) for lr in lrs):
        return None
    rates = np.full((n, len(lrs), 2), np.nan)
    has_momentum = bool({"momentum", "betas"} & {*optimizer._hypers})
    for i, lr in enumerate(lrs):
        rates[:, i, 0] = lr.max if is_by_norm(lr) else at_steps(lr, np.arange(t, t + n))
        momentum = momentum_of(lr)
        if momentum is not None and has_momentum:
            rates[:, i, 1] = [float(momentum(step)) for step in range(t, t + n)]
    return rates


def is_by_norm(lr: Any) -> bool:
    """Whether a rate follows the gradient's norm, which the core computes."""
    from gdcore.schedules import by_gradient

    return isinstance(lr, by_gradient)


def is_told(lr: Any) -> bool:
    """Whether a rate waits for the loss of each step."""
    from gdcore.schedules import plateau

    return callable(lr) and isinstance(lr, plateau)


def _may_run(descent: Descent) -> bool:
    """Whether the core has a loop for this descent."""
    optimizer = descent.optimizer
    return (
        descent.objective.compiled is not None
        and descent.callback is None
        and not isinstance(optimizer, Composed)
        and not any(map(is_told, optimizer._lrs()))
    )


def are_sound(optimizer: Optimizer, rates: Float64Array | None) -> bool:
    """Whether a step would take these rates and momenta."""
    if rates is None:
        return True
    lr, momentum = rates[..., 0], rates[..., 1]
    momentum = momentum[~np.isnan(momentum)]
    top = math.inf if "momentum" in optimizer._hypers else 1.0
    return bool(np.all((lr >= 0) & (lr < math.inf)) and np.all((momentum >= 0) & (momentum < top)))


def descend(descent: Descent) -> Reason | None:
    """Run a descent to its end in the core; None, and nothing is done, where it cannot."""
    if not _may_run(descent):
        return None
    objective, variables, limits = descent.objective, descent.variables, descent.limits
    optimizer, begun = descent.optimizer, time.perf_counter()
    arguments = objective.call_arguments()
    entry = objective.compiled._entry_for(arguments)
    value = np.zeros((), entry.outputs[0].dtype)
    history, points = History(optimizer.t), []
    descent.log = history
    done, reason = 0, Reason.STEPS
    while True:
        n = min(CHUNK, limits.steps - done)
        rates = rates_ahead(optimizer, optimizer.t, n)
        if not are_sound(optimizer, rates):
            if done:  # else the loop of Python says what is wrong with them
                raise ValueError(f"a schedule of {optimizer!r} gave a rate outside its domain")
            return None
        rows = n // limits.record + 1 if limits.record else 0
        path = [np.empty((rows, *a.shape), a.dtype) for a in variables.arrays]
        losses, norms, lrs = np.empty(n + 1), np.empty(n + 1), np.empty(n)
        progress = np.zeros(4, np.int64)
        left = math.nan
        if limits.seconds is not None:
            left = max(limits.seconds - (time.perf_counter() - begun), 0.0)
        bounds = (
            n,
            limits.record,
            done,
            math.nan if limits.gtol is None else limits.gtol,
            math.nan if limits.ftol is None else limits.ftol,
            left,
            history[-2][0] if done > 1 else math.nan,
        )
        known = False
        try:
            known = _core.descend(
                optimizer,
                entry.call,
                (arguments, {}),
                variables.params,
                [value, *objective.arrays],
                None if descent.moved else descent.start,
                bounds,
                rates,
                losses,
                norms,
                lrs,
                path,
                progress,
            )
        finally:
            end, taken, recorded, moved = map(int, progress)
            skip = int(done > 0)
            history.add(losses[skip : taken + 1], norms[skip : taken + 1], lrs[:taken])
            points.append([part[:recorded] for part in path])
            done += taken
            objective.value = float(value)
            objective.kind = value.dtype.type
            objective.nfev = done + 1
            descent.moved = descent.moved or bool(moved)
            descent.last = variables.copies()
            descent.stack = points
        if not known:
            raise RuntimeError("the program is not for these arguments")
        reason = Reason(end)
        if reason is not Reason.STEPS or done >= limits.steps:
            return reason
