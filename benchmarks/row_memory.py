"""P8, for the step: what an optimizer's step allocates, and by how much it raises the peak."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from contest import Contest, Options
from contestant import peak_growth
from report import Report, Verdict

STEPS = 1000
SIZES = {"10 parameters": [(10,)], "six small arrays": None, "10,000,000 parameters": [(10**7,)]}


def traced_bytes(call: Callable[[], object], steps: int) -> int:
    """Return how far traced memory rises above its start at any time in these calls."""
    tracemalloc.start()
    try:
        call()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(steps):
            call()
        _, peak = tracemalloc.get_traced_memory()
        return peak - before
    finally:
        tracemalloc.stop()


def step_memory(name: str, form: str) -> dict[str, int | None]:
    """Return what steps of one form take, measured in the contestant's process."""
    import row_adam

    shapes: list[Any] = SIZES[name] or row_adam.SIX_SHAPES
    case = getattr(row_adam, form)(shapes)
    for _ in range(2):
        case.call()
    steps = 3 if np.prod(shapes[0]) > 10**6 else STEPS
    own = traced_bytes(lambda: None, steps)  # the counter and the figures themselves
    return {"traced": traced_bytes(case.call, steps) - own, "peak": peak_growth(case.call)}


def p8(contest: Contest, options: Options) -> list[Report]:
    lines, data, worst = [], {}, {"traced": 0, "peak": 0}
    for name in SIZES:
        for label, library, form in (
            ("gdcore", "gdcore", "gdcore_step"),
            ("NumPy, as written", "numpy", "numpy_natural"),
        ):
            found = contest.ask(library, 2, __name__, "step_memory", name=name, form=form)
            data[f"{label}, {name}"] = found
            cells = [f"{found[k]:,}" if found[k] is not None else "" for k in ("traced", "peak")]
            lines.append([f"{label}, {name}", *cells])
            for key in worst:
                if library == "gdcore":
                    worst[key] = max(worst[key], found[key] or 0)
    verdicts = [
        Verdict("a step allocates nothing", f"{worst['traced']} bytes", worst["traced"] <= 0),
        Verdict("and leaves the peak", f"{worst['peak']} bytes", worst["peak"] <= 65536),
    ]
    header = ["", "traced allocations, bytes", "peak of resident memory, bytes"]
    return [
        Report("P8", "memory beyond the data in Adam steps", header, lines, verdicts, data=data)
    ]
