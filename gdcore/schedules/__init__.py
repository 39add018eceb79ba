"""Schedules: small callables ``schedule(t)`` that give the learning rate, t = steps done.

The first step of a run uses ``schedule(0)``; after its end a schedule stays at its last value. Each
is a pure function of t: a resumed run sees the rates that it would have seen. Pass one as ``lr=``
of an optimizer, draw one with ``.plot(steps)``, combine them with `warmup`, `sequential`, ``*``.

`by_gradient` and `plateau` depend on what happens in the run; see there.
"""

from typing import NoReturn

from gdcore._names import no_attribute
from gdcore.schedules._base import Schedule
from gdcore.schedules._composed import per_epoch, product, sequential, warmup
from gdcore.schedules._cycles import cosine_restarts, cyclic, one_cycle
from gdcore.schedules._decays import (
    constant,
    cosine,
    exponential,
    inverse_sqrt,
    inverse_time,
    linear,
    multistep,
    polynomial,
    step,
)
from gdcore.schedules._pieces import piecewise_constant, piecewise_interpolated, wsd
from gdcore.schedules._told import PlateauState, by_gradient, plateau

__all__ = [
    "PlateauState",
    "Schedule",
    "by_gradient",
    "constant",
    "cosine",
    "cosine_restarts",
    "cyclic",
    "exponential",
    "inverse_sqrt",
    "inverse_time",
    "linear",
    "multistep",
    "one_cycle",
    "per_epoch",
    "piecewise_constant",
    "piecewise_interpolated",
    "plateau",
    "polynomial",
    "product",
    "sequential",
    "step",
    "warmup",
    "wsd",
]


def __getattr__(name: str) -> NoReturn:
    raise no_attribute(__name__, name, __all__)
