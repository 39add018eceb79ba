"""Arguments by name: what is said of one that does not exist, or that is missing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, signature
from typing import ParamSpec, TypeVar

from gdcore._names import did_you_mean

P = ParamSpec("P")
R = TypeVar("R")


def refuse_unknown(
    what: str, unknown: Iterable[str], accepted: str, known: Mapping[str, str]
) -> None:
    """Raise for keywords that do not exist: the error says what is accepted, and the nearest."""
    for name in unknown:
        hint = f"; {known[name]}" if name in known else _nearest(name, accepted)
        raise TypeError(f"{what}: unknown argument {name}=; accepted: {accepted}{hint}")


def _nearest(name: str, accepted: str) -> str:
    return did_you_mean(name, accepted.split(", "), "{}=")


def named_arguments(known: Mapping[str, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a method say in our words which keyword it does not have, and what is missing.

    Parameters
    ----------
    known : mapping
        Of names that others have to what is said of them here; of an argument that is missing, to
        what it may be.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        own = [*signature(method).parameters.values()][1:]
        names = [p.name for p in own]
        required = [p.name for p in own if p.default is Parameter.empty]
        title, accepted, known_names = method.__name__, ", ".join(names), frozenset(names)

        @functools.wraps(method)
        def checked(*args: P.args, **given: P.kwargs) -> R:
            if not given and len(args) > len(required):  # predict of a row takes 3.3 us, not 4
                return method(*args, **given)
            if not given.keys() <= known_names:
                refuse_unknown(title, [n for n in given if n not in names], accepted, known)
            for name in required[len(args) - 1 :]:
                if name not in given:
                    hint = f"; {known[name]}" if name in known else ""
                    raise TypeError(f"{title}: {name} is missing; accepted: {accepted}{hint}")
            return method(*args, **given)

        return checked

    return decorate
