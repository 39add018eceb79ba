"""Sweeps in the core: all runs of a function side by side, each with the bits that it has alone.

Runs of the same settings stand together, so that one call steps them; the core takes them in blocks
of lanes, and comes back to Python often enough for Ctrl-C.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdcore import _core
from gdcore._native import is_told, rates_ahead
from gdcore._verdicts import RunStatistics
from gdcore.autodiff._compile import Compiled, ImpureError
from gdcore.autodiff._errors import UntraceableError
from gdcore.autodiff._lanes import side_by_side as widened

if TYPE_CHECKING:
    from gdcore._optimizer import Optimizer
    from gdcore._sweep import Outcome, Plan

__all__ = ["side_by_side"]

LANES = 512  # a block of a chain: what stays in L1
LANES_ELEMENTS = 65536  # of the largest value of a program with its lanes
PAUSE = 0.03  # seconds in the core between two looks at signals
FACTS = ("fun", "nit", "met", "finite", "infinite", "moved", *RunStatistics._fields[4:])


def side_by_side(plan: Plan, fast: Compiled) -> Outcome | None:
    """Return the outcome of all runs, or None where they cannot go side by side.

    Raises
    ------
    ValueError
        Where f branches on values, or is not the same function at each call.
    """
    arguments = plan.arguments()
    numbers: Any = tuple(range(len(plan.starts))) if plan.apart else 0
    try:
        with np.errstate(all="ignore"):
            entry = fast._derivative(numbers, False)._entry_for(arguments)
    except (UntraceableError, ImpureError) as error:
        raise ValueError(
            f"sweep: f cannot be compiled, and sweeps run compiled functions only: {error}"
        ) from error
    if not _may_run(plan.optimizer):
        return None
    runs = _Runs(plan)
    return runs.outcome() if runs.build(entry) else None


def _may_run(optimizer: Optimizer) -> bool:
    """Whether steps treat each number by itself, and the end of a run is where its steps led."""
    from gdcore.reference.optimizer_rules import AVERAGED

    return (
        _core.may_sweep(optimizer)
        and not optimizer.groups
        and not is_told(optimizer._lrs()[0])
        and optimizer._row["name"] not in AVERAGED
    )


class _Runs:
    """The runs of a sweep in the order in which the core takes them: settings, then starts."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        starts, lrs, momenta, steps = plan.lengths
        numbers = np.arange(starts * lrs * momenta * steps).reshape(plan.lengths)
        self.order = np.moveaxis(numbers, 0, -1).ravel()  # the table's number of each run
        s, r, m, k = (axis.ravel()[self.order] for axis in np.indices(plan.lengths))
        own = np.full(len(s), np.nan)
        self.start = s.astype(np.int64)
        self.steps = plan.steps[k]
        self.lr = own if plan.lrs is None else plan.lrs[r]
        self.momentum = own if plan.momenta is None else plan.momenta[m]

    def build(self, entry: Any) -> bool:
        """Build the program of the lanes; False where there is none."""
        arrays = self.plan.arrays
        slots = [*range(len(arrays))]  # of the first arguments
        largest = max((math.prod(row[2]) for row in entry.instructions), default=1)
        self.lanes = max(16, min(LANES, LANES_ELEMENTS // max(largest, 1), len(self.start)))
        made = widened(entry.instructions, [x.id for x in entry.outputs], {*slots}, self.lanes)
        if made is None or any(math.prod(x.shape) > 4096 for x in arrays):
            return False
        self.program = _core.Program(*made)
        self.inputs = list(entry.arrays)
        for slot, x in zip(slots, arrays, strict=True):
            self.inputs[slot] = np.zeros((*x.shape, self.lanes), x.dtype)
        self.slots = slots
        self.value_type = entry.outputs[0].dtype
        return True

    def outcome(self) -> Outcome:
        """Run them all."""
        plan, n = self.plan, len(self.start)
        ends = [np.empty((n, *x.shape[1:]), x.dtype) for x in plan.starts]
        facts = np.empty((n, len(FACTS)))
        optimizer = plan.optimizer
        rates = rates_ahead(optimizer, 0, int(plan.steps.max())) if plan.lrs is None else None
        done, count = 0, self.lanes * 8
        while done < n:
            part = slice(done, min(done + count, n))
            begun = time.perf_counter()
            self._run(part, ends, rates, facts[part])
            done = part.stop
            pace = max(time.perf_counter() - begun, 1e-6) / (part.stop - part.start)
            count = max(self.lanes * 2, int(PAUSE / pace) // self.lanes * self.lanes)
        back = np.empty(n, np.intp)
        back[self.order] = np.arange(n)
        return self._in_order(back, ends, facts)

    def _run(self, part: slice, ends: list[Any], rates: Any, facts: NDArray[np.float64]) -> None:
        """Run some of the runs; `facts` gets what became of them, a row each."""
        plan = self.plan
        swept = tuple(
            (slot, starts, end[part])
            for slot, starts, end in zip(self.slots, plan.starts, ends, strict=True)
        )
        _core.sweep(
            plan.optimizer,
            self.program,
            tuple(self.inputs),
            swept,
            self.lanes,
            len(plan.starts[0]),
            self.start[part],
            self.steps[part],
            self.lr[part],
            self.momentum[part],
            None if rates is None else np.ascontiguousarray(rates[:, 0]),
            plan.gtol,
            facts,
        )

    def _in_order(self, back: Any, ends: list[Any], facts: Any) -> Outcome:
        """Return the outcome in the order of the table."""
        from gdcore._sweep import Outcome

        column = dict(zip(FACTS, facts[back].T, strict=True))
        statistics = RunStatistics(
            nit=column["nit"].astype(np.int64),
            finite=column["finite"] != 0,
            infinite=column["infinite"] != 0,
            moved=column["moved"] != 0,
            **{name: column[name] for name in RunStatistics._fields[4:]},
        )
        return Outcome(
            x=tuple(end[back] for end in ends),
            fun=column["fun"].astype(self.value_type),
            steps_to_tol=column["met"].astype(np.int64),
            statistics=statistics,
        )
