"""The last program of a gradient: a trace that records the same instructions runs it again.

The function is traced anew at each call all the same. What is saved is the backward sweep and the
building of the program, which are most of the time of a small function.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gdcore import _core
from gdcore.autodiff._tape import Instruction
from gdcore.autodiff._traced import as_numpy

if TYPE_CHECKING:
    from gdcore.autodiff._api import Trace


class Recipe(NamedTuple):
    """A program, the trace for which it was built, and what it returns."""

    instructions: list[Instruction]  # of the function
    asked: list[int]  # its results and parameters
    program: Any
    results: list[Any]  # (place among the outputs, NumPy's type), in order


class Recall:
    """What one derivative remembers; threads may share it."""

    def __init__(self) -> None:
        self.last: Recipe | None = None

    def results(self, trace: Trace, value: Any, others: Sequence[Any]) -> list[Any]:
        """Return a function's value, the gradients and other results, as `Trace.delivered` does."""
        tape = trace.tape
        if trace.nested or tape.known or tape.foreign:
            return trace.delivered([value, *trace.gradients(value), *others])
        asked = [value.id, *[x.id for x in trace.wrt], *[x.id for x in others]]
        last = self.last
        if last is None or last.asked != asked or last.instructions != tape.instructions:
            read = len(tape.arrays)
            last = _recipe(trace, asked, value, others)
            self.last = last if len(tape.arrays) == read else None  # no arrays beside f's
        found = last.program.run(tape.arrays)
        return [as_numpy(found[place], dtype) for place, dtype in last.results]


# By code and parameters, so that a derivative that is made anew in a loop has it too. What a code
# finds outside may differ: the recorded instructions are compared, and arrays are read at each run.
_RECALLS: OrderedDict[Any, Recall] = OrderedDict()
_MOST = 64
_LOCK = threading.Lock()


def recalled(f: Any, numbers: tuple[int, ...], has_aux: bool) -> Recall:
    """Return what derivatives of functions with this code remember; at most 64 codes are kept."""
    code = getattr(f, "__code__", None)
    if code is None:
        return Recall()
    key = (code, numbers, has_aux)
    with _LOCK:
        found = _RECALLS.setdefault(key, Recall())
        _RECALLS.move_to_end(key)
        if len(_RECALLS) > _MOST:
            _RECALLS.popitem(last=False)
    return found


def _recipe(trace: Trace, asked: list[int], value: Any, others: Sequence[Any]) -> Recipe:
    """Sweep back over a trace and build its program."""
    tape = trace.tape
    forward = list(tape.instructions)
    results = [value, *trace.gradients(value), *others]
    ids = [x.id for x in results]
    program = _core.Program(tape.instructions, ids)
    placed = [(place, x.dtype) for place, x in enumerate(results)]
    return Recipe(forward, asked, program, placed)
