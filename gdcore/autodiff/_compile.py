"""`compile`: a function traced once for each set of shapes and types, then run natively.

A `Compiled` keeps one program for each kind of arguments that it has met, up to a limit. A call
first asks the program that served last; the core compares the arguments with those of its trace,
and what the function found outside with what stood there then, and runs it.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gdcore import _core
from gdcore.autodiff import _api
from gdcore.autodiff._errors import original
from gdcore.autodiff._guards import Guard, arrays_in, guards, hold
from gdcore.autodiff._listing import listed
from gdcore.autodiff._parameters import is_container, leaves, read, rebuilt
from gdcore.autodiff._pieces import (
    ARRAY,
    NUMBER,
    OBJECT,
    Piece,
    argument_pieces,
    is_same,
    pair,
    replaced,
    result_pieces,
    slots,
    with_types,
)
from gdcore.autodiff._tape import Instruction, Tape, Value
from gdcore.autodiff._traced import Traced

__all__ = ["Compiled", "ImpureError", "compile"]

MOST_PROGRAMS = 64  # of one function; the one that was not used for longest goes

Function = Callable[..., Any]
Array = NDArray[Any]


class ImpureError(ValueError):
    """Two traces of a function at the same arguments differ."""


class _Traced:
    """One trace of a function: the tape, what of the arguments are inputs, and the results.

    Arrays of reals and floats become inputs; integer arrays are read where they stand; all else is
    part of the trace, and another value of it means another trace. `numbers` are the positions of
    arguments whose integers are parameters too.
    """

    def __init__(
        self, f: Function, args: tuple[Any, ...], given: dict[str, Any], numbers: Sequence[int]
    ) -> None:
        self.tape = Tape(Traced, compiling=True)
        self.integers: list[Array] = []
        parameters = {id(x) for n in numbers if n < len(args) for _, x in leaves(args[n])}
        whole = (args, given)
        found = [x for _, x in leaves(whole) if _is_input(x, id(x) in parameters)]
        self._inputs = iter(zip(found, read(found, _argument_name), strict=True))
        self._parameters = parameters
        (args, given), self.pieces = argument_pieces(whole, self._enter)
        token = _api.activate(self.tape)
        try:
            self.out = _entered(self.tape, f(*args, **given))
        except ValueError as error:
            raise original(error) from None
        finally:
            _api.deactivate(token)

    def _enter(self, x: Any) -> tuple[Any, Piece]:
        """Return an argument as the trace sees it, and its piece."""
        if _is_input(x, id(x) in self._parameters):
            _, leaf = next(self._inputs)
            slot = len(self.tape.arrays)
            kind: Piece = (
                (ARRAY, slot, x.dtype, x.shape, x.strides)
                if isinstance(x, np.ndarray)
                else (NUMBER, slot, type(x))
            )
            value = self.tape.input(leaf.value)
            if not leaf.number:
                self.tape.shared.add(value.id)
            return value, kind
        if isinstance(x, np.ndarray):
            self.integers.append(x)
        return x, (OBJECT, 0, x)


def _argument_name(i: int) -> str:
    return f"argument {i} (in the order of arrays and numbers)"


def _is_input(x: Any, is_parameter: bool) -> bool:
    """Whether an argument is read anew at each call."""
    if isinstance(x, np.ndarray):
        return x.dtype.kind == "f" or is_parameter
    if isinstance(x, bool):
        return False
    return isinstance(x, (float, np.floating)) or (
        is_parameter and isinstance(x, (int, np.generic))
    )


class Entry(NamedTuple):
    """A program, how it is called, and what must not change beside what the call compares."""

    program: _core.Program
    call: _core.Call
    instructions: list[Instruction]
    arrays: list[Array]  # of the trace, by slot
    found: tuple[Guard, ...]
    copies: list[tuple[Array, Array]]  # arrays of which the trace made numbers, as they were
    renamed: Callable[[Any], Any] | None
    outputs: list[Value]

    def _holds(self) -> bool:
        """Whether arrays of which the trace made numbers hold what they held."""
        return all(is_same(a, b) for a, b in self.copies)

    def fits(self, args: tuple[Any, ...], given: dict[str, Any]) -> bool:
        """Whether this program is for these arguments."""
        return self._holds() and self.call.fits((args, given))

    def run(self, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """Return the results, or NotImplemented where this program is not for these arguments."""
        if self.copies and not self._holds():
            return NotImplemented
        result = self.call.call((args, given))
        if self.renamed is not None and result is not NotImplemented:
            return self.renamed(result)
        return result


class Compiled:
    """A compiled function; made by `gd.compile`.

    Calling it gives what the function gives. `gd.value_and_grad`, `gd.grad`, `gd.minimize` and
    `gd.sweep` of it run natively too. `program` shows what runs.
    """

    _gd_compiled = True

    def __init__(
        self, function: Function, argnums: Any = None, has_aux: bool = False, of: Any = None
    ) -> None:
        functools.update_wrapper(self, function)
        self._name: str = getattr(function, "__name__", None) or repr(function)
        self.function = function
        self._of = function if of is None else of
        self._argnums = argnums
        self._has_aux = has_aux
        self._entries: list[Entry] = []  # replaced as a whole; the one that served last is last
        self._lock = threading.Lock()
        self._derivatives: dict[Any, Compiled] = {}

    def __call__(self, *args: Any, **given: Any) -> Any:
        """Return what the function returns."""
        entries = self._entries
        if entries:
            result = entries[-1].run(args, given)
            if result is not NotImplemented:
                return result
        if _api.is_tracing(args, given):
            return self.function(*args, **given)
        entry = self._entry_for(args, given)
        return entry.run(_plain(args, self._numbers(args)), _plain(given, ()))

    def _entry_for(self, args: tuple[Any, ...], given: dict[str, Any] | None = None) -> Entry:
        """Return the program for these arguments, made where there is none.

        It stands last from then on. Other threads may be in here too: each goes on with the entry
        that it has found.
        """
        args, given = _plain(args, self._numbers(args)), _plain(given or {}, ())
        known = (entry for entry in reversed(self._entries.copy()) if entry.fits(args, given))
        entry = next(known, None) or self._made(args, given)
        if not self._entries or self._entries[-1] is not entry:
            self._keep(entry)
        return entry

    def _numbers(self, args: tuple[Any, ...]) -> tuple[int, ...]:
        """Return the positions of the arguments by which is differentiated."""
        if self._argnums is None:
            return ()
        numbers = self._argnums if isinstance(self._argnums, tuple) else (self._argnums,)
        return tuple([n % len(args) for n in numbers if -len(args) <= n < len(args)])

    def _keep(self, entry: Entry) -> None:
        """Put an entry last; what no longer holds, and the first of too many, go."""
        with self._lock:
            others = [e for e in self._entries if e is not entry and hold(e.found)]
            self._entries = [*others[-(MOST_PROGRAMS - 1) :], entry]

    def _made(self, args: tuple[Any, ...], given: dict[str, Any]) -> Entry:
        """Trace twice, compare, and build the program."""
        numbers = self._numbers(args)
        found = guards(self._of)
        first = _Traced(self.function, args, given, numbers)
        second = _Traced(self.function, args, given, numbers)
        _compare(self._name, first.tape, second.tape)
        outputs: list[Value] = []
        out = first.out
        results = self._results(args, out, outputs)
        program = _core.Program(first.tape.instructions, [x.id for x in outputs])
        arguments, watched = _settled(first, second, found)
        inputs = slots(arguments)
        arrays = enumerate(first.tape.arrays)
        captured = tuple([(slot, array) for slot, array in arrays if slot not in inputs])
        call = _core.Call(program, arguments, captured, found, results)
        copies = [(a, a.copy()) for a in watched]
        instructions = first.tape.instructions
        return Entry(
            program, call, instructions, first.tape.arrays, found, copies, with_types(out), outputs
        )

    def _results(self, args: tuple[Any, ...], out: Any, outputs: list[Value]) -> Piece:
        """Return the pieces of the results; a gradient is an array or a number as its parameter."""
        if self._argnums is None:
            return result_pieces(out, outputs)
        value, gradients = out
        like = tuple([args[n] for n in self._numbers(args)])
        arrays = iter([isinstance(x, np.ndarray) for _, x in leaves(like)])
        first = result_pieces(value, outputs)
        return pair(first, result_pieces(gradients, outputs, arrays))

    def _derivative(self, argnums: Any, has_aux: bool) -> Compiled:
        """Return the compiled value and gradient."""
        key = (argnums, has_aux)
        if key not in self._derivatives:
            both = _api.value_and_grad(self.function, argnums, has_aux)
            self._derivatives[key] = Compiled(both, argnums, has_aux, of=self._of)
        return self._derivatives[key]

    def _value_and_grad(
        self, argnums: Any, has_aux: bool, args: tuple[Any, ...], given: dict[str, Any]
    ) -> Any:
        return self._derivative(argnums, has_aux)(*args, **given)

    def program(self, *args: Any, grad: bool = False, **given: Any) -> str:
        """Return what runs, an instruction a line.

        Parameters
        ----------
        *args, **given
            Arguments, for the program of their shapes and types; without them it is the one that
            ran last, that of a gradient where the function itself has not been called.
        grad : bool, default False
            The program of ``gd.value_and_grad`` instead.

        Returns
        -------
        str
            A line for each instruction: number, name, operands, type and shape, and the step in
            which it runs; instructions of one step go through blocks of elements together.

        Raises
        ------
        ValueError
            Without arguments, where nothing has been compiled yet.

        Examples
        --------
        >>> import gdcore as gd
        >>> fast = gd.compile(lambda x: x * x + 1.0)
        >>> print(fast.program(2.0))
        %0 = input          float64 ()
        %1 = multiply       float64 ()            %0, %0                  step 0
        %2 = constant       float64 ()            1
        %3 = add            float64 ()            %1, %2                  step 0 -> output 0
        1 step, 64 bytes of memory
        """
        compiled = self
        if grad and self._argnums is None:
            compiled = self._derivative(0, False)
        if args or given:
            return listed(compiled._entry_for(args, given).program)
        ran = [c for c in (compiled, *compiled._derivatives.values()) if c._entries]
        if not ran:
            raise ValueError(
                f"{self._name} has no program yet: call it, or say with which arguments, as in"
                " fast.program(x)"
            )
        return listed(ran[0]._entries[-1].program)

    def __repr__(self) -> str:
        return f"gd.compile({self._name})"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __reduce__(self) -> Any:
        return compile, (self.function,)


def compile(f: Function) -> Compiled:
    """Return f compiled: traced once for each set of shapes and types, then run natively.

    ``fast(x)`` gives what ``f(x)`` gives, and ``gd.value_and_grad(fast)`` the bits that
    ``gd.value_and_grad(f)`` gives, in one call into C.

    Parameters
    ----------
    f : callable
        A function written with NumPy. Arrays and floats among its arguments may differ from call to
        call; anything else (integers, words, None) is part of the trace, and another value means
        another trace. Arrays that f finds outside are held by reference: changed contents are
        seen; a changed shape or type, or another object under the name, means another trace.

    Returns
    -------
    Compiled
        The function. At most 64 programs are kept.

    Raises
    ------
    UntraceableError
        At the call, where f branches on a value, or does what only a trace can follow
        (``np.linalg.solve``, ``np.sort``, ...).
    ValueError
        At the call, where two traces differ: f is not pure (a random generator inside, say).

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> x = np.array([0.0, 1.0, 2.0])
    >>> fast = gd.compile(lambda w: np.sum((w * x - 1.0) ** 2))
    >>> value, slope = gd.value_and_grad(fast)(1.0)
    >>> float(value), float(slope)
    (2.0, 4.0)
    """
    if isinstance(f, Compiled):
        return f
    if not callable(f):
        raise TypeError(f"f is {type(f).__name__}; a function is accepted")
    return Compiled(f)


# ---- Comparing two traces ------------------------------------------------------------------------


def _compare(name: str, first: Tape, second: Tape) -> None:
    """Raise where two traces of one function at one point differ."""
    where = next(
        (
            i
            for i, (a, b) in enumerate(zip(first.instructions, second.instructions, strict=False))
            if not _same(a, b)
        ),
        None,
    )
    if where is None and len(first.instructions) == len(second.instructions):
        arrays = zip(first.arrays, second.arrays, strict=True)
        if all(is_same(a, b) for a, b in arrays):
            return
        what = "an array that it makes differs"
    elif where is None:
        what = f"it did {len(first.instructions)} and then {len(second.instructions)} things"
    else:
        a, b = (_core.INSTRUCTIONS[t.instructions[where][0]]["name"] for t in (first, second))
        what = f"{a} and then {b}" if a != b else f"{a} with other numbers"
    raise ImpureError(
        f"{name}: your function is not pure: traced twice at the same arguments it did different "
        f"things ({what}); a compiled function gives the same for the same arguments: draw random "
        "numbers outside and pass them, or do without gd.compile"
    )


def _same(a: Instruction, b: Instruction) -> bool:
    """Whether two instructions are equal, NaN being equal to itself."""
    return a == b or (a[:4] == b[:4] and np.array_equal(a[4], b[4], equal_nan=True))


def _made_of_numbers(tape: Tape, found: tuple[Guard, ...]) -> bool:
    """Whether NumPy scalars went into a trace that the function has worked out itself.

    What it works out may come of arrays that it finds outside: NumPy's scalars stand for such
    numbers, Python's for what is written in the code.
    """
    outside = {id(value) for _, _, value in found}
    return any(id(x) not in outside for x in tape.scalars)


def _settled(
    first: _Traced, second: _Traced, found: tuple[Guard, ...]
) -> tuple[Piece, list[Array]]:
    """Return the pieces of the arguments, and the arrays whose contents are part of the trace.

    An integer array that the program reads where it stands may be another at each call. Where the
    function made numbers or arrays by itself, they may come of any array that it found.
    """
    inputs = slots(first.pieces)
    pairs = enumerate(zip(first.tape.arrays, second.tape.arrays, strict=True))
    own = any(slot not in inputs and a is not b for slot, (a, b) in pairs)
    if own or _made_of_numbers(first.tape, found):
        return first.pieces, [*arrays_in(found), *first.integers]
    places = {id(x): [s for s, a in enumerate(first.tape.arrays) if a is x] for x in first.integers}

    def exchange(piece: Piece) -> Piece:
        x = piece[2]
        read_at = places.get(id(x), []) if piece[0] == OBJECT else []
        return (ARRAY, read_at[0], x.dtype, x.shape, x.strides) if len(read_at) == 1 else piece

    return replaced(first.pieces, exchange), []


# ---- Arguments and results -----------------------------------------------------------------------


def _plain(x: Any, numbers: Sequence[int]) -> Any:
    """Return arguments as the core compares them: lists and what NumPy reads as plain arrays.

    `numbers` are positions in the tuple of arguments whose lists of numbers are parameters.
    """
    if isinstance(x, dict):
        return {key: _plain_leaves(item) for key, item in x.items()}
    return tuple([_plain_leaves(item, i in numbers) for i, item in enumerate(x)])


def _plain_leaves(x: Any, is_parameter: bool = False) -> Any:
    if is_container(x):
        return rebuilt(x, iter([_plain_leaves(leaf, is_parameter) for _, leaf in leaves(x)]))
    if isinstance(x, np.ndarray):
        return x if type(x) is np.ndarray and x.dtype.isnative else np.asarray(x, x.dtype.type)
    if isinstance(x, list) or (hasattr(x, "__array__") and not isinstance(x, np.generic)):
        return np.asarray(x, np.float64) if isinstance(x, list) else np.asarray(x)
    return x


def _entered(tape: Tape, out: Any) -> Any:
    """Return results with arrays that do not depend on the arguments on the tape."""
    if isinstance(out, (tuple, list, dict)):
        items = out.values() if isinstance(out, dict) else out
        made = [_entered(tape, item) for item in items]
        if isinstance(out, dict):
            return dict(zip(out, made, strict=True))
        if isinstance(out, list):
            return made
        return type(out)(*made) if hasattr(out, "_fields") else tuple(made)
    if isinstance(out, np.ndarray):
        return tape.captured(out)
    return out
