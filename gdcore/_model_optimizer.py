"""The optimizer of a model: from a name or settings, with what layers ask for as its groups."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from gdcore import optimizers
from gdcore._composed import fresh
from gdcore._ema import EMA
from gdcore._layer import Layer
from gdcore._names import did_you_mean
from gdcore._optimizer import Optimizer
from gdcore._rate_state import scaled
from gdcore.layers import Dense

_NO_RULE = ("EMA", "Group", "Optimizer", "clip_by_global_norm")
_BY_NAME = {name.lower(): name for name in optimizers.__all__ if name not in _NO_RULE}


def settings_of(value: Any) -> Optimizer:
    """Return an optimizer without state, for its settings, from a name or another optimizer.

    Raises
    ------
    TypeError, ValueError
        For what is neither, with the nearest name.
    """
    if isinstance(value, str):
        return _named(value)
    if isinstance(value, Optimizer):
        return fresh(value)
    if isinstance(value, type) and issubclass(value, Optimizer):
        raise TypeError(
            f"optimizer is the class {value.__name__}; an optimizer is accepted:"
            f" gd.{value.__name__}(...), or the name {value.__name__.lower()!r}"
        )
    raise TypeError(
        f"optimizer is {value!r:.80}; accepted is an optimizer such as gd.Adam(1e-3), or a name"
    )


@functools.cache
def _named(name: str) -> Optimizer:
    """Return the optimizer of a name with its defaults; nobody steps it."""
    lowered = name.lower()
    if lowered not in _BY_NAME:
        hint = did_you_mean(lowered, _BY_NAME)
        raise ValueError(
            f"optimizer {name!r} is unknown; accepted: {', '.join(sorted(_BY_NAME))}{hint}"
        )
    made: Optimizer = getattr(optimizers, _BY_NAME[lowered])()
    return made


# ---- Groups --------------------------------------------------------------------------------------


def asked_for(parts: Sequence[Layer]) -> list[dict[str, Any]]:
    """Return, for each parameter in order, what its layer asks of the optimizer."""
    wishes: list[dict[str, Any]] = []
    for layer in parts:
        for position in range(layer._parameter_count()):
            wish: dict[str, Any] = {}
            if isinstance(layer, Dense):
                if not layer.trainable:
                    wish["frozen"] = True
                if layer.lr_scale != 1.0:
                    wish["scale"] = layer.lr_scale
                if layer.kernel_constraint is not None and position == 0:
                    wish["constraint"] = layer.kernel_constraint
            wishes.append(wish)
    return wishes


def grouped(settings: Optimizer, wishes: Sequence[dict[str, Any]]) -> Optimizer:
    """Return a live optimizer of these settings whose groups hold what layers ask for.

    Raises
    ------
    ValueError
        Where a group of the user's names no position of ``model.params``, or says another thing
        than a layer; where the optimizer cannot do what a layer asks for.
    """
    if isinstance(settings, EMA):
        return EMA(grouped(settings.optimizer, wishes), settings.decay)
    own = _own_groups(settings, len(wishes))
    if not any(wishes):
        return fresh(settings)
    title = type(settings).__name__
    merged: list[tuple[dict[str, Any], list[int]]] = []
    for position, (wish, group) in enumerate(zip(wishes, own, strict=True)):
        asked = _merged(title, settings, wish, group)
        if not asked:
            continue
        for other, positions in merged:
            if other == asked:
                positions.append(position)
                break
        else:
            merged.append((asked, [position]))
    params = settings.get_params()
    params["groups"] = [{"params": positions, **asked} for asked, positions in merged]
    return type(settings)(**params)


def _own_groups(settings: Optimizer, count: int) -> list[dict[str, Any]]:
    """Return, for each parameter, the settings of the user's group that names it."""
    own: list[dict[str, Any]] = [{} for _ in range(count)]
    taken = set()
    for number, group in enumerate(settings.groups):
        for wanted in group["params"]:
            position = wanted[0] if isinstance(wanted, tuple) and len(wanted) == 1 else wanted
            if isinstance(position, bool) or not isinstance(position, int):
                raise ValueError(
                    f"optimizer: groups[{number}] names {wanted!r}; accepted are positions in"
                    f" model.params, 0 to {count - 1}"
                )
            if not 0 <= position < count:
                raise ValueError(
                    f"optimizer: groups[{number}] names position {position}, but the model has"
                    f" {count} parameters, 0 to {count - 1}"
                )
            if position in taken:
                raise ValueError(f"optimizer: position {position} is in two groups")
            taken.add(position)
            own[position] = {k: v for k, v in group._own.items() if k != "params"}
    return own


def _merged(
    title: str, settings: Optimizer, wish: dict[str, Any], group: dict[str, Any]
) -> dict[str, Any]:
    """Return the settings of one parameter's group."""
    known = settings._group_names()
    asked = dict(group)
    if wish.get("frozen"):
        asked["frozen"] = True
    if "scale" in wish:
        if "lr" not in known:
            raise ValueError(
                f"a layer has lr_scale={wish['scale']!r}, but {title} has one step length for all"
                " parameters; accepted there is 1.0"
            )
        if "lr" in group:
            asked["lr"] = scaled(group["lr"], wish["scale"])
        else:
            asked["lr_scale"] = group.get("lr_scale", 1.0) * wish["scale"]
    if "constraint" in wish:
        if "constraint" not in known:
            raise ValueError(
                f"a layer has kernel_constraint={wish['constraint']!r}, but {title} keeps none;"
                " take another optimizer, or leave it out"
            )
        if group.get("constraint") not in (None, wish["constraint"]):
            raise ValueError(
                f"a layer has kernel_constraint={wish['constraint']!r} but the optimizer's group of"
                f" its kernel has {group['constraint']!r}; give one of them"
            )
        asked["constraint"] = wish["constraint"]
    return asked
