"""Traces of a user's activation or loss, for a number of rows; see `_network_functions`.

Slots of a trace: the inputs that the function is given, then one for the cotangent of its result,
then the arrays that it finds outside or makes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, MethodType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gdcore._network_labels import Labelled
from gdcore.autodiff import _api
from gdcore.autodiff._compile import ImpureError, _compare
from gdcore.autodiff._errors import UntraceableError, original
from gdcore.autodiff._execute import OPS
from gdcore.autodiff._guards import Guard, arrays_in, guards
from gdcore.autodiff._primitives import as_type, expand
from gdcore.autodiff._tape import BOOL, I64, Tape
from gdcore.autodiff._ufuncs import as_value

__all__ = ["Given", "Kind", "Settled", "Trace", "found_by", "settled", "traced_twice"]

Array = NDArray[Any]
Shape = tuple[int, ...]
_NOTHING = np.empty(0)  # stands in the slot of the cotangent, which no function reads


# ---- What a function is given --------------------------------------------------------------------


class Given(NamedTuple):
    """An input: its shape behind the rows, and its type as the function sees it."""

    tail: Shape
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Kind:
    """A use of a function: "activation" or "loss", its inputs, and the reals of the network."""

    role: str
    inputs: tuple[Given, ...]
    dtype: np.dtype[Any]

    @property
    def seed(self) -> int:
        """The slot of the cotangent."""
        return len(self.inputs)

    def arrays(self, rows: int) -> list[Array]:
        """Return arrays to trace with."""
        return [np.zeros((rows, *given.tail), self.dtype) for given in self.inputs]

    def name_of(self, f: Any) -> str:
        """Return what errors call a function."""
        return f"{self.role} {getattr(f, '__name__', None) or repr(f)}"


# ---- What a function finds outside ---------------------------------------------------------------


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names of attributes and globals in a function, and in those within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _of_object(method: MethodType) -> Iterator[Guard]:
    """Yield the attributes of its own that an object's method names."""
    places = getattr(method.__self__, "__dict__", {})
    code = getattr(method.__func__, "__code__", None)
    for name in dict.fromkeys(_names(code)) if code is not None else ():
        if name in places:
            yield places, name, places[name]


def found_by(f: Any) -> tuple[Guard, ...]:
    """Return what must stay where it is for a trace of f to hold.

    Beside closure cells and globals these are the attributes that a method, or ``__call__`` of an
    object, names, and the arguments that functools.partial has.
    """
    if isinstance(f, functools.partial):
        places: tuple[dict[Any, Any], ...] = (dict(enumerate(f.args)), f.keywords)
        held = [(place, name, x) for place in places for name, x in place.items()]
        return (*found_by(f.func), *held)
    if not hasattr(f, "__wrapped__") and not hasattr(f, "__code__"):
        f = getattr(f, "__call__", f)  # noqa: B004 - of an object
    return (*guards(f), *(_of_object(f) if isinstance(f, MethodType) else ()))


# ---- One trace -----------------------------------------------------------------------------------

# What errors of `gd.compile` say, and what they say here.
_INSTEAD = (
    (", or do without gd.compile", ""),
    (
        "Do without gd.compile: each call is traced anew then",
        "Write it with arithmetic, np.where, np.sum and other functions that do not look at values",
    ),
    (
        "a compiled function gives the same for the same arguments: draw random numbers outside "
        "and pass them",
        "a network traces it once and runs it on every batch: noise is the work of a layer, "
        "gd.Dropout for instance",
    ),
)


def _here(text: str) -> str:
    for found, instead in _INSTEAD:
        text = text.replace(found, instead)
    return text


class Trace:
    """A function traced on arrays; `out` is its result, `given` are its inputs.

    A quiet one does not warn of float64 among float32.
    """

    def __init__(self, f: Any, kind: Kind, arrays: Sequence[Array], quiet: bool = True) -> None:
        self.tape = Tape(Labelled, compiling=True)
        self.tape.warned = quiet
        pairs = zip(arrays, kind.inputs, strict=True)
        self.given = [self._enter(array, given.dtype) for array, given in pairs]
        self.tape.arrays.append(_NOTHING)
        token = _api.activate(self.tape)
        try:
            self.out = self._value(f(*self.given), kind.name_of(f))
        except (UntraceableError, ValueError) as error:
            found = original(error)
            if not isinstance(found, UntraceableError):
                raise
            text = f"{kind.name_of(f)} is traced, as by gd.grad, and compiled. {_here(str(found))}"
            raise type(found)(text) from None
        finally:
            _api.deactivate(token)

    def _enter(self, array: Array, dtype: np.dtype[Any]) -> Any:
        """Return an input as the function sees it; whole numbers and truths are held in reals."""
        value = self.tape.input(array)
        self.tape.shared.add(value.id)
        if dtype is I64:
            value = as_type(value, I64)
        elif dtype is BOOL:
            value = self.tape.kind(self.tape, value.id, value.shape, BOOL)
        self.tape.shared.add(value.id)
        return value

    def _value(self, out: Any, name: str) -> Any:
        if out is None or isinstance(out, (tuple, list, dict)):
            what = "nothing; is there a return?" if out is None else f"a {type(out).__name__}"
            raise TypeError(f"{name} returned {what}; an array is accepted")
        return as_value(self.given[-1], out)


# ---- Two traces made one -------------------------------------------------------------------------


class Settled(NamedTuple):
    """A trace whose arrays are those that stay: what it made of one number is that number.

    `out` and `given` are the result and the last input on the tape; `watched` are arrays whose
    contents are part of the trace.
    """

    tape: Tape
    out: Any
    last: Any
    watched: list[Array]


def settled(first: Trace, second: Trace, kind: Kind, found: tuple[Guard, ...]) -> Settled:
    """Return the first of two traces, with constants for the arrays full of one that it made.

    Arrays that the two do not share the function made, maybe of numbers in arrays outside.
    """
    pairs = list(zip(first.tape.arrays, second.tape.arrays, strict=False))
    own = [slot for slot, (a, b) in enumerate(pairs) if slot > kind.seed and a is not b]
    outside = {id(value) for _, _, value in found}
    numbers = any(id(x) not in outside for x in first.tape.scalars)
    watched = arrays_in(found) if own or numbers else []
    places = [int(row[4][0]) for row in first.tape.instructions if row[0] == OPS["indices"]]
    full = {slot for slot in own if slot not in places and _is_full(*pairs[slot])}
    tape, moves = _with_constants(first.tape, full) if full else (first.tape, None)

    def moved(x: Any) -> Any:
        return x if moves is None else tape.kind(tape, moves[x.id], x.shape, x.dtype)

    return Settled(tape, moved(first.out), moved(first.given[-1]), watched)


def _is_full(a: Array, b: Array) -> bool:
    """Whether an array that the function makes is full of one number: no view of another."""
    same = a.base is None and b.base is None and a.size > 0
    return same and a.tobytes() == a.reshape(-1)[:1].tobytes() * a.size


def _with_constants(tape: Tape, full: set[int]) -> tuple[Tape, list[int]]:
    """Return a tape with numbers in place of these arrays, and where each instruction stands."""
    made = Tape(tape.kind, tape.compiling)
    slots = {s: i for i, s in enumerate(s for s in range(len(tape.arrays)) if s not in full)}
    made.arrays = [array for slot, array in enumerate(tape.arrays) if slot not in full]
    places: list[int] = []
    for i, (op, held, shape, operands, params) in enumerate(tape.instructions):
        dtype, slot = tape.dtypes[i], int(params[0]) if op in _READ else -1
        if slot in full:
            number = made.constant(float(tape.arrays[slot].flat[0]), dtype, held)
            places.append(expand(number, shape).id)
            continue
        params = (slots[slot], *params[1:]) if slot >= 0 else params
        operands = tuple([places[j] for j in operands])
        places.append(made.push(op, held, shape, dtype, operands, params).id)
    return made, places


_READ = (OPS["input"], OPS["indices"])


def traced_twice(f: Any, kind: Kind, rows: int, found: tuple[Guard, ...]) -> Settled:
    """Trace a function twice, compare, and return the trace.

    Raises
    ------
    ImpureError
        Where the two differ.
    UntraceableError
        Where the function does what a program cannot.
    """
    arrays = kind.arrays(rows)
    first, second = Trace(f, kind, arrays, quiet=False), Trace(f, kind, arrays)
    try:
        _compare(kind.name_of(f), first.tape, second.tape)
    except ImpureError as error:
        raise ImpureError(_here(str(error))) from None
    return settled(first, second, kind, found)
