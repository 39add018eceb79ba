"""P5, P6: descents. Thousands of short ones on a polynomial, and document 004's neuron.

P5: x^6 - 5x^4 + 4x^2 from 400 starts in [-2, 2] with 100 rates up to 0.02, which all settle (at its
outer minima descent is stable below 0.024), 500 steps each. Peers take the steps and give the end
points. `gd.sweep` also evaluates f at each step, and gathers what its verdicts need: seven extremes
and counts of the losses and gradient norms of each run, when it met the tolerance, and whether all
was finite; JAX does that too in the entry "and what a sweep gathers".

P6: the sigmoid neuron with two points, from w = b = -2 by eta = 1 for 1,000 epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from contest import Contest, Entry, Goal, Options, Table
from contestant import Case
from report import Report, timed_report

STARTS, RATES, STEPS = 400, 100, 500
TOP_RATE = 0.02
NUMPY_BLOCK = 4000  # runs; measured: the best of 1,000 to 40,000


# ---- P5: the polynomial ------------------------------------------------------------


def f(x: Any) -> Any:
    return x**6 - 5 * x**4 + 4 * x**2


def starts_and_rates(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    starts = np.linspace(-2, 2, STARTS).astype(dtype)
    return starts, np.linspace(TOP_RATE / RATES, TOP_RATE, RATES)


def runs(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the start and the rate of every run, in C order of starts and rates."""
    starts, rates = starts_and_rates(dtype)
    return np.repeat(starts, RATES), np.tile(rates.astype(dtype), STARTS)


def ends(x: Any) -> np.ndarray:
    """Return some end points, moved by 3: what is compared is their absolute difference."""
    return 3 + np.asarray(x, np.float64)[:: 401 * 7]


def gdcore_sweep(dtype: str, steps: int) -> Case:
    import gdcore as gd

    starts, rates = starts_and_rates(dtype)

    def call() -> Any:
        return gd.sweep(f, starts, lr=rates, steps=steps, gtol=0.0)

    return Case(call, lambda: ends(call().columns["x"]))


def steps_done(dtype: str, steps: int) -> float:
    """Return the share of the steps that the sweep takes: runs end where a gradient is 0."""
    import gdcore as gd

    starts, rates = starts_and_rates(dtype)
    done = gd.sweep(f, starts, lr=rates, steps=steps, gtol=0.0).columns["nit"]
    return float(done.mean()) / steps


def numpy_case(dtype: str, advance: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Case:
    x, rates = runs(dtype)
    return Case(lambda: advance(x, rates), lambda: ends(advance(x, rates)))


def numpy_written(dtype: str, steps: int) -> Case:
    """The derivative as one writes it, on all runs at once."""

    def advance(x: np.ndarray, rates: np.ndarray) -> np.ndarray:
        for _ in range(steps):
            x = x - rates * (6 * x**5 - 20 * x**3 + 8 * x)
        return x

    return numpy_case(dtype, advance)


def numpy_in_place(dtype: str, steps: int) -> Case:
    """By products (Horner), without temporaries, block by block."""
    multiply, add, subtract = np.multiply, np.add, np.subtract

    def advance(x: np.ndarray, rates: np.ndarray) -> np.ndarray:
        out = x.copy()
        square, slope = np.empty((2, NUMPY_BLOCK), dtype)
        for i in range(0, len(x), NUMPY_BLOCK):
            p, rate = out[i : i + NUMPY_BLOCK], rates[i : i + NUMPY_BLOCK]
            for _ in range(steps):
                multiply(p, p, square)
                multiply(square, 6, slope)
                subtract(slope, 20, slope)
                multiply(slope, square, slope)
                add(slope, 8, slope)
                multiply(slope, p, slope)
                multiply(slope, rate, slope)
                subtract(p, slope, p)
        return out

    return numpy_case(dtype, advance)


def jax_loop(dtype: str, steps: int, form: str) -> Case:
    """All steps of all runs in one jitted fori_loop, a step or five a turn.

    The derivative is JAX's own, or by hand as in `by_horner`; with "gathering" the steps also note
    what a sweep notes.
    """
    import jax

    jax.config.update("jax_enable_x64", dtype == "float64")
    slope = by_horner if form == "by hand" else jax.vmap(jax.grad(f))
    unroll = 5 if form == "unrolled" else 1

    def advance(x: Any, rates: Any) -> Any:
        if form == "gathering":
            return jax_gathering(steps, x, rates)
        step = lambda i, x: x - rates * slope(x)  # noqa: E731
        return (jax.lax.fori_loop(0, steps, step, x, unroll=unroll),)

    fast = jax.jit(advance)
    x, rates = map(jax.numpy.array, runs(dtype))
    return Case(lambda: jax.block_until_ready(fast(x, rates)), lambda: ends(fast(x, rates)[0]))


def by_horner(x: Any) -> Any:
    square = x * x
    return x * (8 + square * (6 * square - 20))


def jax_gathering(steps: int, x: Any, rates: Any) -> Any:
    """Return end points and what a sweep notes of the losses and norms of each run."""
    import jax

    jnp, both = jax.numpy, jax.vmap(jax.value_and_grad(f))
    half, three = steps // 2, 3 * steps // 4

    def step(i: Any, state: Any) -> Any:
        x, before, met, finite, best, rises, *largest = state
        loss, slope = both(x)
        norm = jnp.abs(slope)
        finite = finite & jnp.isfinite(loss) & jnp.isfinite(norm)
        met = jnp.where((met < 0) & (norm <= 0), i, met)
        rises = rises + ((i > half) & ~(loss < before))
        quarters = ((i >= half) & (i <= three), i >= three)
        largest = [
            jnp.where(quarter, jnp.maximum(old, new), old)
            for old, (new, quarter) in zip(
                largest, [(new, q) for new in (loss, norm) for q in quarters], strict=True
            )
        ]
        x = jnp.where(finite & (met < 0), x - rates * slope, x)
        return x, loss, met, finite, jnp.minimum(best, loss), rises, *largest

    infinite, none = jnp.full_like(x, jnp.inf), jnp.full_like(x, -1, jnp.int32)
    start = (x, infinite, none, jnp.ones_like(x, bool), infinite, none + 1, *[-infinite] * 4)
    return jax.lax.fori_loop(0, steps, step, start)


def sweep_table(dtype: str, threads: int, steps: int) -> Table:
    def entry(label: str, library: str, factory: str, **more: Any) -> Entry:
        arguments = {"dtype": dtype, "steps": steps, **more}
        return Entry(label, library, threads, __name__, factory, arguments)

    found = [entry("gdcore, sweep", "gdcore", "gdcore_sweep")]
    if threads == 1:  # NumPy takes no second one
        found.append(entry("NumPy, as written", "numpy", "numpy_written"))
        found.append(entry("NumPy, in place, by blocks", "numpy", "numpy_in_place"))
    for label, form in (
        ("fori_loop", ""),
        ("fori_loop, unrolled", "unrolled"),
        ("fori_loop, derivative by hand", "by hand"),
        ("fori_loop, and what a sweep gathers", "gathering"),
    ):
        found.append(entry(f"JAX {label}", "jax", "jax_loop", form=form))
        found[-1].compiled, found[-1].process = True, dtype
        found[-1].judged = form in ("", "unrolled")  # the others compute something else
    goals = [
        Goal("<= JAX", "gdcore", "jax", 1.0),
        Goal("<= JAX that gathers the same", "gdcore", found[-1].label, 1.0),
    ]
    if threads == 1:
        goals.append(Goal("NumPy not ahead", "gdcore", "numpy", 1.0))
    title = (
        f"x^6 - 5x^4 + 4x^2, {STARTS * RATES:,} runs of {steps} steps, {dtype},"
        f" {threads} thread{'s' * (threads > 1)}"
    )
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    return Table("P5", title, found, goals, tolerance=tolerance)


def p5(contest: Contest, options: Options) -> list[Report]:
    steps = STEPS // 10 if options.quick else STEPS
    reports = []
    for dtype in ("float64", "float32"):
        for threads in (1, 2):
            table = sweep_table(dtype, threads, steps)
            share = contest.ask("gdcore", threads, __name__, "steps_done", dtype=dtype, steps=steps)
            table.notes.append(
                f"gdcore took {share:.1%} of the steps, for a run ends where the gradient is"
                " exactly 0; the peers took all."
            )
            reports.append(timed_report(contest, table))
    return reports


# ---- P6: the neuron ------------------------------------------------------------

INPUTS, TARGETS = [0.5, 2.5], [0.2, 0.9]
FIRST, ETA, EPOCHS = -2.0, 1.0, 1000


def gdcore_neuron(compiled: bool, record: int) -> Case:
    """Descend by `gd.minimize` on half the sum of the squared errors.

    It returns error, norm of the gradient and rate of each epoch, and with record=1 the path.
    """
    import gdcore as gd

    x, y = np.array(INPUTS), np.array(TARGETS)

    def error(w: Any, b: Any) -> Any:
        return 0.5 * np.sum((1 / (1 + np.exp(-(w * x + b))) - y) ** 2)

    function: Any = gd.compile(error) if compiled else error
    opt = gd.SGD(ETA)

    def call() -> Any:
        start = (FIRST, FIRST)
        return gd.minimize(function, start, optimizer=opt, steps=EPOCHS, record=record).x

    return Case(call, call)


def document_loops(module: str) -> Case:
    """Two loops, a derivative for w and one for b: each output is computed twice, as there.

    The document takes NumPy's exp, also of single numbers; math.exp is several times as fast.
    """
    exp: Any = {"math": math.exp, "NumPy": np.exp}[module]

    def output(w: Any, b: Any, x: float) -> Any:
        return 1.0 / (1.0 + exp(-(w * x + b)))

    def slope_w(w: Any, b: Any, x: float, y: float) -> Any:
        fx = output(w, b, x)
        return (fx - y) * fx * (1 - fx) * x

    def slope_b(w: Any, b: Any, x: float, y: float) -> Any:
        fx = output(w, b, x)
        return (fx - y) * fx * (1 - fx)

    def call() -> Any:
        w, b = FIRST, FIRST
        for _ in range(EPOCHS):
            dw = db = 0.0
            for x, y in zip(INPUTS, TARGETS, strict=True):
                dw += slope_w(w, b, x, y)
                db += slope_b(w, b, x, y)
            w = w - ETA * dw
            b = b - ETA * db
        return w, b

    return Case(call, call)


def python_once() -> Case:
    """The same epochs written out in Python: each output is computed once, no calls but exp."""
    exp, pairs = math.exp, list(zip(INPUTS, TARGETS, strict=True))

    def call() -> Any:
        w, b = FIRST, FIRST
        for _ in range(EPOCHS):
            dw = db = 0.0
            for x, y in pairs:
                fx = 1.0 / (1.0 + exp(-(w * x + b)))
                d = (fx - y) * fx * (1 - fx)
                dw += d * x
                db += d
            w -= ETA * dw
            b -= ETA * db
        return w, b

    return Case(call, call)


def numpy_neuron() -> Case:
    """Both points in an array."""
    x, y = np.array(INPUTS), np.array(TARGETS)

    def call() -> Any:
        w, b = FIRST, FIRST
        for _ in range(EPOCHS):
            fx = 1 / (1 + np.exp(-(w * x + b)))
            d = (fx - y) * fx * (1 - fx)
            w -= ETA * (d @ x)
            b -= ETA * d.sum()
        return w, b

    return Case(call, call)


def p6(options: Options) -> list[Table]:
    def entry(label: str, library: str, factory: str, **arguments: Any) -> Entry:
        return Entry(label, library, 1, __name__, factory, arguments)

    ours, document = "gdcore, minimize of a compiled error", "the document's loops"
    found = [
        entry(ours, "gdcore", "gdcore_neuron", compiled=True, record=1),
        entry("the same without the path", "gdcore", "gdcore_neuron", compiled=True, record=0),
        entry("and compiled at each call", "gdcore", "gdcore_neuron", compiled=False, record=1),
        entry(document, "python", "document_loops", module="NumPy"),
        entry("the same with math.exp", "python", "document_loops", module="math"),
        entry("each output once, math.exp", "python", "python_once"),
        entry("NumPy, both points at once", "numpy", "numpy_neuron"),
    ]
    goals = [
        Goal("<= 1/10 of the document's loops", ours, document, 1 / 10),
        Goal("NumPy not ahead", ours, "numpy", 1.0),
    ]
    title = f"document 004's neuron, {EPOCHS:,} epochs"
    return [Table("P6", title, found, goals, base=ours, tolerance=1e-9)]
