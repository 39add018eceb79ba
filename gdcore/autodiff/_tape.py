"""The tape: the instructions of a trace in order, and the values that they stand for.

A trace only records. `Tape.evaluate` runs what has been recorded where a value is asked for (by a
branch, a print, the end of the trace), as one program of the core; so a traced and a compiled
function go through the same executor, and their results are the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gdcore.autodiff._execute import OPS, run

__all__ = ["BOOL", "F32", "F64", "I64", "Foreign", "Instruction", "Tape", "Value"]

F32: Final = np.dtype(np.float32)
F64: Final = np.dtype(np.float64)
I64: Final = np.dtype(np.int64)
BOOL: Final = np.dtype(np.bool_)

# (op, bytes of the real type, shape, operands, params), see INSTRUCTION in csrc/ops.def.
Instruction = tuple[int, int, tuple[int, ...], tuple[int, ...], tuple[float, ...]]

_LARGE = 1 << 24  # bytes: beyond, captured arrays are not copied
_SAMPLES = 4096
_SMALL = 1 << 16  # bytes: up to here copies are compared faster than elements
# What costs nothing to have again.
_FREE_OPS = ("input", "indices", "constant", "reshape", "transpose", "slice", "expand")
_FREE = {OPS[op] for op in _FREE_OPS}
_INPUT, _INDICES, _CONSTANT = OPS["input"], OPS["indices"], OPS["constant"]


class Foreign(NamedTuple):
    """How a value is differentiated that NumPy computed while the function was traced.

    ``vjp(ct)`` returns a cotangent or None for each operand, ``jvp(tangents)`` the tangent for one
    tangent or None of each operand.
    """

    operands: Sequence[Value]
    vjp: Callable[[Any], Sequence[Any]]
    jvp: Callable[[Sequence[Any]], Any]


class Value:
    """One value of a trace: where it stands on the tape, and what NumPy says of it.

    `dtype` is NumPy's: booleans and integers are held as whole-numbered reals.
    """

    __slots__ = ("dtype", "id", "shape", "tape")

    def __init__(self, tape: Tape, id: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.tape = tape
        self.id = id
        self.shape = shape
        self.dtype = dtype

    @property
    def held(self) -> int:
        """Bytes of the reals that hold it."""
        return self.tape.instructions[self.id][1]


class Tape:
    """Instructions, the arrays that they read, and results that have been asked for.

    `kind` makes the values: the class with NumPy's operators (`gdcore.autodiff.Traced`).
    """

    def __init__(self, kind: type[Value], compiling: bool = False) -> None:
        self.kind = kind
        self.compiling = compiling
        self.instructions: list[Instruction] = []
        self.arrays: list[NDArray[Any]] = []  # by slot
        self.dtypes: list[np.dtype[Any]] = []  # NumPy's, by instruction
        self.known: dict[int, NDArray[Any]] = {}  # results by instruction
        self.parameters: list[int] = []  # the instructions by which is differentiated
        self.foreign: dict[int, Foreign] = {}  # by instruction
        self.shared: set[int] = set()  # what changes with another: parameters, views
        self.scalars: list[Any] = []  # NumPy's, that met traced values
        self.warned = False  # of float64 among float32
        self._constants: dict[tuple[float, int], int] = {}
        self._captured: dict[tuple[int, int], int] = {}
        self._copied: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}
        self._watched: dict[int, tuple[NDArray[Any], bytes]] = {}

    def emit(
        self,
        op: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        operands: Sequence[Value] = (),
        params: tuple[float, ...] = (),
        real: int | None = None,
    ) -> Any:
        """Record an instruction and return its value; `real` is told by the dtype, or given."""
        if real is None:
            real = 4 if dtype is F32 else 8
        instructions = self.instructions
        instructions.append((OPS[op], real, shape, tuple([v.id for v in operands]), params))
        self.dtypes.append(dtype)
        return self.kind(self, len(instructions) - 1, shape, dtype)

    def push(
        self,
        number: int,
        held: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        operands: tuple[int, ...],
        params: tuple[float, ...] = (),
    ) -> Any:
        """Record an instruction by number, as `emit` does by name: the short way."""
        instructions = self.instructions
        instructions.append((number, held, shape, operands, params))
        self.dtypes.append(dtype)
        return self.kind(self, len(instructions) - 1, shape, dtype)

    def constant(self, value: float, dtype: np.dtype[Any], real: int | None = None) -> Any:
        """Return the value of a number; the same number stands on the tape once."""
        if real is None:
            real = 4 if dtype is F32 else 8
        value = float(value)
        if not value and math.copysign(1.0, value) < 0:  # -0.0 and 0.0 are equal
            return self.emit("negative", (), dtype, (self.constant(0.0, dtype, real),), (), real)
        key = (value, real)
        found = self._constants.get(key)
        if found is None:
            made = self.push(_CONSTANT, real, (), dtype, (), (value,))
            self._constants[key] = made.id
            return made
        return self.kind(self, found, (), dtype)

    def input(self, array: NDArray[Any], dtype: np.dtype[Any] | None = None) -> Any:
        """Return the value of an array, read anew at each run; its type is the array's.

        float32 and float64 arrays are read where they are, with their strides. Others are read as
        `dtype`, by default float64, in C order.
        """
        own = array.dtype
        slot = len(self.arrays)
        self.arrays.append(array)
        if own is F32 or own is F64 or own in (F32, F64):
            dtype = F32 if own == F32 else F64
            size = dtype.itemsize
            if own.isnative and all(s % size == 0 for s in array.strides):
                strides = tuple([s // size for s in array.strides])
                return self.emit("input", array.shape, dtype, (), (slot, *strides))
        wanted = F32 if dtype is F32 else F64
        steps = [1] * array.ndim
        for axis in range(array.ndim - 1, 0, -1):
            steps[axis - 1] = steps[axis] * max(array.shape[axis], 1)
        kept = own if own == BOOL or own.kind in "iu" else wanted
        kept = BOOL if kept == BOOL else I64 if kept.kind in "iu" else kept
        return self.emit("input", array.shape, kept, (), (slot, *steps), wanted.itemsize)

    def captured(self, array: NDArray[Any], dtype: np.dtype[Any] | None = None) -> Any:
        """Return the value of an array that the function found outside; each stands here once.

        A compiled function reads it anew at each run. Else it is what it is now: the function may
        write other values into it before the instructions are run. A large one is read where it
        is; see `is_unchanged`.
        """
        if not self.compiling and array.nbytes <= _LARGE:
            array = self._copy_of(array)
        elif not self.compiling and id(array) not in self._watched:
            self._watched[id(array)] = array, _sample(array)
        key = (id(array), 4 if dtype is F32 else 8)
        found = self._captured.get(key)
        if found is not None:
            return self.kind(self, found, self.instructions[found][2], self.dtypes[found])
        made = self.input(array, dtype)
        self._captured[key] = made.id
        return made

    def is_unchanged(self) -> bool:
        """Whether the large arrays that were captured hold, by samples, what they did then."""
        return all(_sample(array) == sample for array, sample in self._watched.values())

    def _copy_of(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a copy of an array, the last one if nothing has been written since."""
        kept = self._copied.get(id(array))
        if kept is not None and _same(kept[1], array):
            return kept[1]
        copy = array.copy("K")
        self._copied[id(array)] = (array, copy)
        return copy

    def indices(self, array: NDArray[Any]) -> Any:
        """Return the value of int64 positions."""
        slot = len(self.arrays)
        self.arrays.append(np.ascontiguousarray(array, np.int64))
        return self.emit("indices", array.shape, I64, (), (slot,))

    def evaluate(self, values: Iterable[Value], keep: bool = False) -> list[NDArray[Any]]:
        """Return what values are now, as arrays of the reals that hold them.

        They are kept, and are inputs of later evaluations; with `keep` all that is computed on the
        way is too, so that a loop that looks at a value at each turn runs each instruction once.
        """
        wanted = [value.id for value in values]
        missing = [i for i in dict.fromkeys(wanted) if i not in self.known]
        if missing and (keep or self.known):
            self._evaluate_from_known(missing, keep)
        elif missing:
            found = run(self.instructions, self.arrays, missing)
            self.known.update(zip(missing, found, strict=True))
        return [self.known[i] for i in wanted]

    def _evaluate_from_known(self, missing: Sequence[int], keep: bool) -> None:
        """Make values known, by a program of what has to be run for them."""
        needed = self._needed(missing)
        places = {i: place for place, i in enumerate(needed)}
        instructions: list[Instruction] = []
        arrays: list[NDArray[Any]] = []
        for i in needed:
            op, held, shape, operands, params = self.instructions[i]
            if i in self.known:
                arrays.append(self.known[i])
                strides = tuple([s // held for s in self.known[i].strides])
                op, operands, params = _INPUT, (), (len(arrays) - 1, *strides)
            elif op in (_INPUT, _INDICES):
                arrays.append(self.arrays[int(params[0])])
                params = (len(arrays) - 1, *params[1:])
            instructions.append((op, held, shape, tuple([places[j] for j in operands]), params))
        if keep:
            missing = list(dict.fromkeys([*missing, *filter(self._is_kept, needed)]))
        found = run(instructions, arrays, [places[i] for i in missing])
        self.known.update(zip(missing, found, strict=True))

    def _needed(self, wanted: Sequence[int]) -> list[int]:
        """Return, in order, the instructions to which values go back, as far as those known."""
        found, todo = set(wanted), list(wanted)
        while todo:
            for j in self.instructions[todo.pop()][3]:
                if j not in found:
                    found.add(j)
                    if j not in self.known:
                        todo.append(j)
        return sorted(found)

    def _is_kept(self, i: int) -> bool:
        return i not in self.known and self.instructions[i][0] not in _FREE


def _sample(array: NDArray[Any]) -> bytes:
    """Return some elements from all over an array."""
    return array.flat[:: max(array.size // _SAMPLES, 1)].tobytes()


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays of one shape and type hold the same."""
    return a.tobytes() == b.tobytes() if a.nbytes < _SMALL else bool(np.array_equal(a, b))
