"""Learning rates that are no numbers: what the core is handed for them, and which part is state.

That state is a list with an entry per group: a `PlateauState`, the last rate of a `by_gradient`, or
None for numbers and for schedules, which have no state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

MOMENTUM_TO_COME = 0.5  # where it is 0: by it a rule chooses its state arrays, before the schedule


def scaled(lr: Any, factor: float) -> Any:
    """Return a rate times a factor."""
    if not callable(lr):
        return lr * factor
    from gdcore._scaled import scaled  # with the schedules, which take 14 ms to import

    return scaled(lr, factor)


def counts_epochs(lr: Any) -> bool:
    """Whether a rate is a `per_epoch` that knows of no steps: fit tells it the epoch."""
    if getattr(lr, "steps_per_epoch", 0) is not None:
        return False
    from gdcore.schedules import per_epoch

    return isinstance(lr, per_epoch)


def momentum_of(lr: Any) -> Any:
    """Return the callable t -> momentum of a schedule that has one, else None."""
    momentum = getattr(lr, "momentum", None) if callable(lr) else None
    return momentum if callable(momentum) else None


def momentum_settings(lr: Any, settings: Mapping[str, Any], t: int) -> dict[str, Any]:
    """Return the settings in whose place the momentum of a schedule stands at step t + 1."""
    momentum = momentum_of(lr)
    if momentum is None or not {"momentum", "betas"} & {*settings}:
        return {}
    value = float(momentum(t))
    if "momentum" in settings:
        return {"momentum": value}
    return {"betas": (value, *settings["betas"][1:])}


def entries(lrs: Sequence[Any], told: Sequence[Any], has_momentum: bool) -> list[tuple[Any, float]]:
    """Return, per group, what `_core.Optimizer._configure` takes and the rate before the next step.

    Groups that share a schedule share its entry, by which the core knows to ask it once.
    """
    shared: dict[tuple[int, Any], tuple[Any, float]] = {}
    found = []
    for lr, state in zip(lrs, told, strict=True):
        key = (id(lr), state)
        if key not in shared:
            shared[key] = _entry(lr, state, has_momentum) if callable(lr) else (None, float(lr))
        found.append(shared[key])
    return found


def _entry(lr: Any, state: Any, has_momentum: bool) -> tuple[Any, float]:
    from gdcore.schedules import by_gradient, plateau

    if isinstance(lr, by_gradient):
        return (lr, None), lr.max if state is None else state
    if isinstance(lr, plateau):
        state = lr.start() if state is None else state
        return (lr, state), state.lr
    momentum = momentum_of(lr)
    return (lr if momentum is None or not has_momentum else (lr, momentum)), 0.0


def present(schedules: Sequence[Any], rates: Sequence[float]) -> list[tuple[Any, Any]]:
    """Return (description, state) per group from what the core holds; a pair of None for others."""
    found: list[tuple[Any, Any]] = []
    for entry, rate in zip(schedules, rates, strict=True):
        if not isinstance(entry, tuple) or callable(entry[1]):
            found.append((None, None))
        else:
            found.append((entry[0], rate if entry[1] is None else entry[1]))
    return found


def kept(lrs: Sequence[Any], before: Sequence[tuple[Any, Any]]) -> list[Any]:
    """Return the state of each group's rate, kept where it is the one of before, else new."""
    if len(before) != len(lrs):
        return [None] * len(lrs)
    return [state if lr is own else None for lr, (own, state) in zip(lrs, before, strict=True)]


def saved(told: Sequence[Any]) -> list[dict[str, Any] | None]:
    """Return the state as plain dicts, for a state dict."""
    return [
        None if state is None else {"lr": state} if isinstance(state, float) else state._asdict()
        for state in told
    ]


def loaded(owner: str, lrs: Sequence[Any], rows: Any) -> list[Any]:
    """Return the state of each group's rate from saved dicts, new where none was saved for it."""
    from gdcore.schedules import PlateauState, by_gradient, plateau

    message = f"{owner}: the state's rates are {rows!r:.200}; those of state_dict() are wanted"
    told: list[Any] = [None] * len(lrs)
    if rows is None:
        return told
    if not isinstance(rows, Sequence) or len(rows) != len(lrs):
        raise ValueError(message)
    for i, (lr, row) in enumerate(zip(lrs, rows, strict=True)):
        if row is None or not isinstance(lr, by_gradient | plateau):
            continue
        try:
            if isinstance(lr, by_gradient):
                told[i] = float(row["lr"])
            else:
                kinds = zip(PlateauState._fields, (float, float, int, int), strict=True)
                told[i] = PlateauState(*(kind(row[name]) for name, kind in kinds))
            sound = 0 <= row["lr"] < math.inf or isinstance(lr, by_gradient)
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise ValueError(message)
    return told
