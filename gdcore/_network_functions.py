"""A user's activation or loss, written in NumPy, as programs for a fixed number of rows.

The function is traced as `gd.compile` traces one: twice, to see that it is pure; what it finds
outside is guarded by identity, and arrays there are read anew at each run. Before that it is tried
at two numbers of rows that no other axis has. Only where the two trials differ in that number
alone, and no instruction mixes rows, may it be run in chunks of rows (`rowwise`).

What a program reads has fixed slots. ``Program.run(arrays)`` takes arrays by slot. The core's
gd_run_once takes them in the order of gd_program_input_at(program, i), whose `slot` says which;
an input on which no output depends is not among these. Inputs that are not captured are
C-contiguous reals of the network's type, outputs too.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gdcore import _core
from gdcore._network_rows import is_alike, is_rowwise, row_counts
from gdcore._network_traces import Given, Kind, Trace, found_by, settled, traced_twice
from gdcore.autodiff._differentiate import backward
from gdcore.autodiff._execute import OPS
from gdcore.autodiff._guards import Guard, arrays_in, hold
from gdcore.autodiff._pieces import is_same
from gdcore.autodiff._primitives import as_type, filled, reshape
from gdcore.autodiff._tape import BOOL, F32, F64, I64, Instruction, Tape

__all__ = ["ActivationPrograms", "LossPrograms", "activation_programs", "loss_programs"]

MOST_KEPT = 128  # programs and trials of all functions; what was not used for longest goes

Array = NDArray[Any]
Shape = tuple[int, ...]


# ---- Results -------------------------------------------------------------------------------------


class _Read(NamedTuple):
    """How a program reads an array; strides in bytes."""

    dtype: np.dtype[Any]
    shape: Shape
    strides: Shape


@dataclass(frozen=True, eq=False)
class _Programs:
    """What the programs of activations and losses have in common.

    Attributes
    ----------
    captured : tuple of ndarray
        What the function found outside or made, by reference: the last slots, in order.
    rowwise : bool
        Whether chunks of rows give what all rows give. If not, a batch is one chunk.
    """

    captured: tuple[Array, ...]
    rowwise: bool
    _reads: tuple[_Read, ...]

    def arrays(self) -> list[Array]:
        """Return the captured arrays as the programs read them, to be handed over for a run.

        Those that can be read where they are come as they are, with the strides that the programs
        know; others (integers, for instance) are converted now.

        Raises
        ------
        ValueError
            If one has got another shape or other strides since the function was traced.
        """
        return [_as_read(*pair) for pair in zip(self.captured, self._reads, strict=True)]


@dataclass(frozen=True, eq=False)
class ActivationPrograms(_Programs):
    """The programs of an activation; see `activation_programs`.

    Attributes
    ----------
    forward : _core.Program
        Output: y. Slots: 0 z, then the captured arrays.
    backward : _core.Program
        Output: dz. Slots: 0 z, 1 dy, then the captured arrays.
    """

    forward: _core.Program
    backward: _core.Program


@dataclass(frozen=True, eq=False)
class LossPrograms(_Programs):
    """The program of a loss; see `loss_programs`.

    Attributes
    ----------
    program : _core.Program
        Outputs: the losses, of shape (rows,) or (), and d_pred. Slots: 0 y_true, 1 y_pred, 2 the
        cotangent of the losses, in their shape, then the captured arrays.
    scalar : bool
        Whether there is one loss for all rows.
    """

    program: _core.Program
    scalar: bool


def _as_read(array: Array, read: _Read) -> Array:
    in_place = array.dtype == read.dtype and array.flags.aligned
    ready = array if in_place else np.array(array, read.dtype, order="C")
    steps = zip(ready.shape, ready.strides, read.strides, strict=False)
    if ready.shape != read.shape or any(n > 1 and s != t for n, s, t in steps):
        raise ValueError(
            f"an array that the function captured had shape {read.shape} when it was traced, and "
            f"has {array.shape} now: call fit anew, which traces it again"
        )
    return ready


def _reads(instructions: Sequence[Instruction], slots: range) -> tuple[_Read, ...]:
    """Return how the arrays in these slots are read."""
    found: dict[int, _Read] = {}
    for op, held, shape, _, params in instructions:
        if op == OPS["indices"]:
            found[int(params[0])] = _Read(I64, shape, (8,))
        elif op == OPS["input"]:
            strides = tuple([int(s) * held for s in params[1:]])
            found[int(params[0])] = _Read(F32 if held == 4 else F64, shape, strides)
    return tuple([found[slot] for slot in slots])


# ---- What is kept --------------------------------------------------------------------------------


class _Made(NamedTuple):
    """What was made of a function; the arrays that it reads, and whose contents are part of it."""

    what: Any
    arrays: Sequence[Array]
    watched: Sequence[Array]


class _Kept(NamedTuple):
    """What was made of a function, and what must still hold for it."""

    what: Any
    function: Callable[[], Any]
    found: tuple[Guard, ...]
    states: list[tuple[Array, tuple[Any, ...]]]
    copies: list[tuple[Array, Array]]

    def holds(self, f: Any) -> bool:
        """Whether it was made of f as f is now."""
        return (
            self.function() is f
            and hold(self.found)
            and all(_state(array) == state for array, state in self.states)
            and all(is_same(array, copy) for array, copy in self.copies)
        )


def _state(array: Array) -> tuple[Any, ...]:
    return array.shape, array.strides, array.dtype


_KEPT: OrderedDict[Any, _Kept] = OrderedDict()
_LOCK = threading.Lock()


def _reference(f: Any) -> Callable[[], Any]:
    """Return what gives the function while it lives; what is kept of it goes with it."""
    number = id(f)

    def forget(_: Any) -> None:
        for key in [key for key in list(_KEPT) if key[0] == number]:
            _KEPT.pop(key, None)

    try:
        return weakref.ref(f, forget)
    except TypeError:  # ufuncs, and objects with __slots__, have no weak references
        return lambda: f


def _recalled(
    f: Any, kind: Kind, rows: int, make: Callable[[Any, Kind, int, tuple[Guard, ...]], _Made]
) -> Any:
    """Return what `make` makes of a function, made before if that still holds."""
    key = (id(f), kind, rows)
    kept = _KEPT.get(key)
    if kept is None or not kept.holds(f):
        found = found_by(f)
        what, arrays, watched = make(f, kind, rows, found)
        states = [(array, _state(array)) for array in arrays]
        copies = [(array, array.copy()) for array in watched]
        kept = _Kept(what, _reference(f), found, states, copies)
    with _LOCK:
        _KEPT[key] = kept
        _KEPT.move_to_end(key)
        while len(_KEPT) > MOST_KEPT:
            _KEPT.popitem(last=False)
    return kept.what


# ---- Trials --------------------------------------------------------------------------------------


class _Trial(NamedTuple):
    """What is seen at numbers of rows that no other axis has.

    `scalar` is None where the function fails there, as with an array of the batch's own length;
    `wrong` says what is wrong with the shape of its result.
    """

    rowwise: bool = False
    scalar: bool | None = None
    wrong: str = ""


def _tried(f: Any, kind: Kind, rows: int, found: tuple[Guard, ...]) -> _Made:
    """Trace a function at two such numbers."""
    lengths = {n for given in kind.inputs for n in given.tail}
    counts = row_counts(lengths.union(*[array.shape for array in arrays_in(found)]))
    try:
        one, other = [Trace(f, kind, kind.arrays(n)) for n in counts]
    except Exception:  # the trace at the rows that are wanted says what is wrong, if it is
        return _Made(_Trial(), (), ())
    first, second = settled(one, other, kind, found), settled(other, one, kind, found)
    shape = first.out.shape
    scalar = kind.role == "loss" and math.prod(shape) == 1
    wrong = "" if scalar else _wrong_shape(f, kind, shape, counts[0])
    read, also_read = (tape.arrays[kind.seed :] for tape in (first.tape, second.tape))
    rowwise = (
        not (scalar or wrong)
        and is_rowwise(first.tape.instructions, set(range(kind.seed)), first.out.id, counts[0])
        and is_alike(first.tape.instructions, second.tape.instructions, counts)
        and all(is_same(a, b) for a, b in zip(read, also_read, strict=True))
    )
    return _Made(_Trial(rowwise, scalar, wrong), read, first.watched)


def _wrong_shape(f: Any, kind: Kind, shape: Shape, rows: int) -> str:
    """Return what is wrong with the shape of a result, or nothing; () is not looked at here."""
    if kind.role == "activation":
        wanted = (rows, *kind.inputs[0].tail)
        if shape == wanted:
            return ""
        return (
            f"{kind.name_of(f)} returned shape {shape} for z of shape {wanted}; an activation "
            "returns an array of z's shape"
        )
    if shape in ((rows,), (rows, 1)):
        return ""
    text = (
        f"{kind.name_of(f)} returned shape {shape} for {rows} rows; accepted are ({rows},) and "
        f"({rows}, 1), a loss for each row, and (), one loss for all: reduce over the outputs, as "
        "np.mean(..., axis=-1) does"
    )
    return text + ("; (n,) and (n, 1) broadcast to (n, n)" if shape == (rows, rows) else "")


# ---- Programs ------------------------------------------------------------------------------------


def _cotangent(tape: Tape, kind: Kind, shape: Shape) -> Any:
    """Return the input that holds the cotangent of a result."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return tape.emit("input", shape, kind.dtype, (), (kind.seed, *strides))


def _without_slot(instructions: Sequence[Instruction], gone: int) -> list[Instruction]:
    """Return instructions that read nothing in a slot, with the slots behind it moved up."""
    reads = (OPS["input"], OPS["indices"])
    return [
        (*row[:4], (row[4][0] - 1, *row[4][1:])) if row[0] in reads and row[4][0] > gone else row
        for row in instructions
    ]


def _activation_made(f: Any, kind: Kind, rows: int, found: tuple[Guard, ...]) -> _Made:
    trial: _Trial = _recalled(f, kind, 0, _tried)
    tape, out, z, watched = traced_twice(f, kind, rows, found)
    wrong = _wrong_shape(f, kind, out.shape, rows) or trial.wrong
    if wrong:
        raise ValueError(wrong)
    y = as_type(out, kind.dtype)
    forward = _core.Program(_without_slot(tape.instructions, kind.seed), [y.id])
    (dz,) = backward(y, [z], _cotangent(tape, kind, y.shape))
    dz = filled(z, 0.0) if dz is None else dz
    captured = tuple(tape.arrays[kind.seed + 1 :])
    made = ActivationPrograms(
        captured=captured,
        rowwise=trial.rowwise,
        _reads=_reads(tape.instructions, range(kind.seed + 1, len(tape.arrays))),
        forward=forward,
        backward=_core.Program(tape.instructions, [dz.id]),
    )
    return _Made(made, captured, watched)


def activation_programs(f: Any, rows: int, width: int, dtype: DTypeLike) -> ActivationPrograms:
    """Return a user's activation y = f(z), and its vjp, as programs.

    Parameters
    ----------
    f : callable
        Written with NumPy: z of shape (rows, width) to y of the same shape.
    rows, width : int
        Number of rows of a run, and of units.
    dtype : float32 or float64
        Of z, y, dy and dz. What f computes in another type is converted.

    Returns
    -------
    ActivationPrograms
        With ``forward`` (slot 0 z, then captured arrays; output y), ``backward`` (slot 0 z, slot 1
        dy, then captured arrays; output dz = dy' df/dz), ``captured`` and ``rowwise``. Kept while f
        lives and what it finds outside stays what it was.

    Raises
    ------
    ValueError
        If y has another shape, or two traces differ: f is not pure.
    UntraceableError
        If f branches on a value, or does what a program cannot (np.sort, np.cumsum, ...).

    Examples
    --------
    >>> import numpy as np
    >>> from gdcore._network_functions import activation_programs
    >>> made = activation_programs(lambda z: z * z, 2, 3, np.float64)
    >>> made.forward.run([np.full((2, 3), 3.0)])[0].tolist()
    [[9.0, 9.0, 9.0], [9.0, 9.0, 9.0]]
    >>> made.rowwise
    True
    """
    real = np.dtype(dtype)
    kind = Kind("activation", (Given((int(width),), real),), real)
    made: ActivationPrograms = _recalled(f, kind, int(rows), _activation_made)
    return made


def _losses(f: Any, kind: Kind, out: Any, rows: int, trial: _Trial) -> Any:
    """Return a loss's result as (rows,) or () reals of the network's type."""
    size, name = math.prod(out.shape), kind.name_of(f)
    wrong = _wrong_shape(f, kind, out.shape, rows)
    scalar = trial.scalar if trial.scalar is not None else bool(wrong)
    if size == 1 and (scalar or rows == 1):
        wrong = ""
    if wrong or trial.wrong:
        raise ValueError(wrong or trial.wrong)
    if out.dtype is BOOL or out.dtype is I64:
        what = "truths" if out.dtype is BOOL else "integers"
        raise TypeError(
            f"{name} returned {what}, which have no derivative; a loss is real numbers: what is "
            "only to be counted is a metric"
        )
    return as_type(reshape(out, () if scalar else (rows,)), kind.dtype)


def _loss_made(f: Any, kind: Kind, rows: int, found: tuple[Guard, ...]) -> _Made:
    trial: _Trial = _recalled(f, kind, 0, _tried)
    tape, out, y_pred, watched = traced_twice(f, kind, rows, found)
    losses = _losses(f, kind, out, rows, trial)
    (d_pred,) = backward(losses, [y_pred], _cotangent(tape, kind, losses.shape))
    d_pred = filled(y_pred, 0.0) if d_pred is None else d_pred
    captured = tuple(tape.arrays[kind.seed + 1 :])
    made = LossPrograms(
        captured=captured,
        rowwise=trial.rowwise,
        _reads=_reads(tape.instructions, range(kind.seed + 1, len(tape.arrays))),
        program=_core.Program(tape.instructions, [losses.id, d_pred.id]),
        scalar=not losses.shape,
    )
    return _Made(made, captured, watched)


def _target(tail: Sequence[int], outputs: int, target_dtype: DTypeLike, real: Any) -> Given:
    """Return y_true as a loss sees it."""
    found = np.dtype(target_dtype)
    if found.kind not in "biuf":
        raise TypeError(f"y is {found}; a loss takes real numbers, integers or booleans")
    dtype = {"b": BOOL, "f": real}.get(found.kind, I64)
    alike = [n for n in tail if n != 1] == [n for n in (outputs,) if n != 1]
    return Given((outputs,) if alike else tuple([int(n) for n in tail]), dtype)


def loss_programs(
    f: Any,
    rows: int,
    target_shape_tail: Sequence[int],
    outputs: int,
    target_dtype: DTypeLike,
    dtype: DTypeLike,
) -> LossPrograms:
    """Return a user's loss f(y_true, y_pred), and its vjp, as one program.

    Parameters
    ----------
    f : callable
        Written with NumPy. It returns a loss for each row, (rows,) or (rows, 1), or one loss, ().
    rows : int
        Number of rows of a run.
    target_shape_tail : tuple of int
        Shape of y behind the rows. Where it differs from (outputs,) by axes of length 1 alone, f
        gets y_true of y_pred's shape, else as it is.
    outputs : int
        y_pred has the shape (rows, outputs).
    target_dtype : dtype
        Of y. Reals come to f as `dtype`, integers as int64, booleans as booleans; for the program
        all are reals of type `dtype`. Integers may be indices in ``np.take_along_axis(y_pred,
        y_true[:, None], 1)``, ``y_pred[np.arange(rows), y_true]`` and ``np.take(table, y_true,
        axis=0)``; one that is no position gives NaN.
    dtype : float32 or float64
        Of y_pred, the losses and d_pred. What f computes in another type is converted.

    Returns
    -------
    LossPrograms
        With ``program`` (slot 0 y_true, slot 1 y_pred, slot 2 the cotangent of the losses, then
        captured arrays; outputs: losses, d_pred), ``scalar``, ``captured`` and ``rowwise``. Kept
        while f lives and what it finds outside stays what it was.

    Raises
    ------
    ValueError
        If the result has another shape, or two traces differ: f is not pure.
    TypeError
        If the result is integers or booleans, or y is of no such type.
    UntraceableError
        If f branches on a value, or does what a program cannot (np.sort, np.cumsum, ...).

    Examples
    --------
    >>> import numpy as np
    >>> from gdcore._network_functions import loss_programs
    >>> def f(y_true, y_pred):
    ...     return np.mean((y_pred - y_true) ** 2, axis=1)
    >>> made = loss_programs(f, 2, (), 1, np.float64, np.float64)
    >>> y, prediction, weights = np.array([1.0, 2.0]), np.array([[3.0], [2.0]]), np.full(2, 0.5)
    >>> losses, d_pred = made.program.run([y[:, None], prediction, weights])
    >>> losses.tolist(), d_pred.tolist(), made.scalar, made.rowwise
    ([4.0, 0.0], [[2.0], [0.0]], False, True)
    """
    real = np.dtype(dtype)
    target = _target(target_shape_tail, int(outputs), target_dtype, real)
    kind = Kind("loss", (target, Given((int(outputs),), real)), real)
    made: LossPrograms = _recalled(f, kind, int(rows), _loss_made)
    return made
