"""Base of schedules and initializers: frozen dataclasses that check their arguments.

They pickle, deep-copy, hash, compare with ``==`` and print as their constructor call. A bad
argument is an error that names it, says what was found and what is accepted.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import ClassVar, Self

import numpy as np


def finite_number(value: object, holds: Callable[[float], bool], message: str) -> float:
    """Return `value` as a Python float; refuse all but finite numbers that hold, with `message`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(message)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and holds(number)):
        raise ValueError(message)
    return number


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

    def _set(self, **values: object) -> None:
        """Store checked values; for ``__post_init__`` alone, while the object is being made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _message(self, name: str, accepted: str) -> str:
        """Return the text of an error: the argument, what was found, what is accepted."""
        return f"{type(self).__name__}: {name} is {getattr(self, name)!r:.80}; accepted {accepted}"

    def _real(self, name: str, holds: Callable[[float], bool], accepted: str) -> float:
        """Return argument `name` as a Python float; refuse all but finite numbers that hold."""
        return finite_number(getattr(self, name), holds, self._message(name, accepted))

    def _number(self, name: str, low: float = -math.inf, way_out: str = "") -> float:
        """Return argument `name` as a Python float; refuse all but finite real numbers >= `low`."""
        bound = f" >= {low:g}" if low > -math.inf else ""
        return self._real(name, lambda x: x >= low, f"is a finite number{bound}{way_out}")

    def _positive(self, name: str) -> float:
        """Return argument `name` as a Python float; refuse all but finite real numbers > 0."""
        return self._real(name, lambda x: x > 0, "is a finite number > 0")

    def _count(self, name: str, way_out: str = "", low: int = 1) -> int:
        """Return argument `name` as a Python int; refuse all but integers >= `low`."""
        value = getattr(self, name)
        message = self._message(name, f"is an integer >= {low}{way_out}")
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(message)
        if value < low:
            raise ValueError(message)
        return int(value)

    def _flag(self, name: str) -> bool:
        """Return argument `name` as a Python bool; refuse all but True and False."""
        value = getattr(self, name)
        if not isinstance(value, bool | np.bool_):
            raise TypeError(self._message(name, "are True and False"))
        return bool(value)

    def _word(self, name: str, accepted: tuple[str, ...]) -> str:
        """Return argument `name`, one of the accepted words."""
        value = getattr(self, name)
        message = self._message(name, f"are {', '.join(map(repr, accepted))}")
        if not isinstance(value, str):
            raise TypeError(message)
        if value not in accepted:
            raise ValueError(message)
        return value
