"""P4a, P4b: value and gradient of functions that are written in NumPy.

P4a is document 003's line: the mean of (W x + b - y)^2 over its six points in float32, W = 8 and
b = -1. P4b is Rosenbrock's function of 100,000 variables. Every contestant differentiates the same
lines, each with its own `numpy`. `value_and_grad(loss)` is made once, before any clock runs, but in
the entries "made in the loop": there it is part of the call, as in the document.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from contest import Entry, Goal, Options, Table
from contestant import Case

SIZE = 100_000
ARGNUMS: dict[str, Any] = {"W": 0, "W and b": (0, 1)}
Function = Callable[..., Any]


# ---- P4a: the document's line ------------------------------------------------------------


def points() -> tuple[np.ndarray, np.ndarray]:
    """Return the document's inputs and targets; JAX makes them float32."""
    return (
        np.array([-1.0, 0.0, 1.0, 2.0, 3.0, 4.0], np.float32),
        np.array([-3.0, -1.0, 1.0, 3.0, 5.0, 7.0], np.float32),
    )


def loss_in(numpy: Any, inputs: Any, targets: Any) -> Function:
    """Return the loss of W and b, in NumPy or in what stands for it."""

    def loss(w: Any, b: Any) -> Any:
        return numpy.mean((w * inputs + b - targets) ** 2)

    return loss


def parameters() -> tuple[np.ndarray, np.ndarray]:
    return np.array(8, np.float32), np.array(-1, np.float32)


def case(both: Function, params: Any, finish: Function = lambda result: result) -> Case:
    """Return the case of a function that gives (value, gradient or gradients)."""

    def call() -> Any:
        return finish(both(*params))

    return Case(call, lambda: numbers(call()))


def numbers(result: Any) -> list[float]:
    value, gradients = result
    gradients = gradients if isinstance(gradients, (tuple, list)) else [gradients]
    return [float(value), *map(float, gradients)]


def made_in_the_loop(value_and_grad: Function, loss: Function, by: str) -> Function:
    return lambda *params: value_and_grad(loss, ARGNUMS[by])(*params)


def gdcore_line(by: str, form: str) -> Case:
    import gdcore as gd

    loss: Any = loss_in(np, *points())
    if form == "made in the loop":
        return case(made_in_the_loop(gd.value_and_grad, loss, by), parameters())
    loss = gd.compile(loss) if form == "compiled" else loss
    return case(gd.value_and_grad(loss, ARGNUMS[by]), parameters())


def autograd_line(by: str, form: str) -> Case:
    """HIPS autograd; with 0-d arrays as in the document, or with NumPy's scalars."""
    import autograd

    loss = loss_in(autograd.numpy, *points())
    if form == "made in the loop":
        return case(made_in_the_loop(autograd.value_and_grad, loss, by), parameters())
    params = [p[()] for p in parameters()] if form == "scalars" else parameters()
    return case(autograd.value_and_grad(loss, ARGNUMS[by]), params)


def jax_line(by: str, jitted: bool, inline: bool) -> Case:
    """Wait for each result, as the document's loop does by looking at the value."""
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", not inline)
    loss = loss_in(jax.numpy, *map(jax.numpy.array, points()))
    both = jax.value_and_grad(loss, ARGNUMS[by])
    params = [jax.numpy.array(p) for p in parameters()]
    return case(jax.jit(both) if jitted else both, params, jax.block_until_ready)


def torch_line(by: str, threads: int, form: str) -> Case:
    import torch

    torch.set_num_threads(threads)
    inputs, targets = map(torch.from_numpy, points())
    w, b = map(torch.tensor, parameters())
    wrt = [w] if by == "W" else [w, b]
    for p in wrt:
        p.requires_grad_()

    def as_written() -> Any:
        loss = torch.mean((w * inputs + b - targets) ** 2)
        return loss.detach(), torch.autograd.grad(loss, wrt)

    def mse_loss() -> Any:
        loss = torch.nn.functional.mse_loss(torch.addcmul(b, inputs, w), targets)
        return loss.detach(), torch.autograd.grad(loss, wrt)

    return case({"as written": as_written, "mse_loss": mse_loss}[form], ())


def line_table(by: str) -> Table:
    """Return the table of the line, differentiated by W as in the document, or by W and b."""

    def entry(label: str, library: str, factory: str, **more: Any) -> Entry:
        arguments = {"by": by, **more}
        return Entry(label, library, 1, __name__, factory, arguments)

    ours, traced = "gdcore, compiled", "gdcore, traced anew"
    loop = ("gdcore, traced, made in the loop", "HIPS autograd, made in the loop")
    found = [
        entry(ours, "gdcore", "gdcore_line", form="compiled"),
        entry(traced, "gdcore", "gdcore_line", form="traced"),
        entry(loop[0], "gdcore", "gdcore_line", form="made in the loop"),
        entry("HIPS autograd", "autograd", "autograd_line", form="arrays"),
        entry("HIPS autograd, scalars", "autograd", "autograd_line", form="scalars"),
        entry(loop[1], "autograd", "autograd_line", form="made in the loop"),
    ]
    found[0].compiled = True
    for form in ("as written", "mse_loss"):
        found.append(entry(f"torch, {form}", "torch", "torch_line", threads=1, form=form))
    for label, jitted, inline in (
        ("JAX jit, waited for", True, False),
        ("JAX jit, inline", True, True),
        ("JAX, not jitted", False, False),
    ):
        found.append(entry(label, "jax", "jax_line", jitted=jitted, inline=inline))
        found[-1].compiled = found[-1].judged = jitted
        found[-1].process = "inline" if inline else ""
    goals = [
        Goal("traced anew: <= autograd", traced, "autograd", 1.0),
        Goal("made in the loop: <= autograd", *loop, 1.0),
        Goal("compiled: <= 1/5 of JAX", ours, "jax", 1 / 5),
        Goal("compiled: torch not ahead", ours, "torch", 1.0),
    ]
    title = f"mean((W x + b - y)^2), six points: value and gradient by {by}, one call"
    return Table("P4a", title, found, goals, base=ours)


def p4a(options: Options) -> list[Table]:
    return [line_table(by) for by in ARGNUMS]


# ---- P4b: Rosenbrock's function ------------------------------------------------------------


def start(dtype: str) -> np.ndarray:
    return np.random.default_rng(4).uniform(-1.5, 1.5, SIZE).astype(dtype)


def rosenbrock_in(numpy: Any) -> Function:
    """Return the function in NumPy or in what stands for it."""

    def rosenbrock(x: Any) -> Any:
        return numpy.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    return rosenbrock


def gradient(x: np.ndarray) -> np.ndarray:
    """Return the gradient of Rosenbrock's function, worked out by hand."""
    inner = 200.0 * (x[1:] - x[:-1] ** 2)
    g = np.zeros_like(x)
    g[:-1] = -2.0 * x[:-1] * inner - 2.0 * (1.0 - x[:-1])
    g[1:] += inner
    return g


def some(value: Any, g: Any) -> list[float]:
    """Return what is compared: the value, the ends of the gradient, and its size."""
    g = np.asarray(g, np.float64)
    return [float(value), *g[:4], *g[-2:], float(np.abs(g).sum())]


def gdcore_rosenbrock(dtype: str, compiled: bool) -> Case:
    import gdcore as gd

    x, f = start(dtype), rosenbrock_in(np)
    both = gd.value_and_grad(gd.compile(f) if compiled else f)
    return Case(lambda: both(x), lambda: some(*both(x)))


def numpy_value(dtype: str) -> Case:
    """The value alone; the gradient that is compared is the one by hand."""
    x, f = start(dtype), rosenbrock_in(np)
    return Case(lambda: f(x), lambda: some(f(x), gradient(x)))


def autograd_rosenbrock(dtype: str) -> Case:
    import autograd

    x, both = start(dtype), autograd.value_and_grad(rosenbrock_in(autograd.numpy))
    return Case(lambda: both(x), lambda: some(*both(x)))


def jax_rosenbrock(dtype: str, inline: bool) -> Case:
    import jax

    jax.config.update("jax_enable_x64", dtype == "float64")
    jax.config.update("jax_cpu_enable_async_dispatch", not inline)
    x = jax.numpy.array(start(dtype))
    both = jax.jit(jax.value_and_grad(rosenbrock_in(jax.numpy)))
    return Case(lambda: jax.block_until_ready(both(x)), lambda: some(*both(x)))


def rosenbrock_table(dtype: str, threads: int) -> Table:
    def entry(label: str, library: str, factory: str, **more: Any) -> Entry:
        arguments = {"dtype": dtype, **more}
        return Entry(label, library, threads, __name__, factory, arguments)

    ours = "gdcore, compiled"
    found = [
        entry(ours, "gdcore", "gdcore_rosenbrock", compiled=True),
        entry("gdcore, traced anew", "gdcore", "gdcore_rosenbrock", compiled=False),
        entry("NumPy, value only", "numpy", "numpy_value"),
        entry("HIPS autograd", "autograd", "autograd_rosenbrock"),
    ]
    found[0].compiled = True
    for label, inline in (("waited for", False), ("inline", True)):
        found.append(entry(f"JAX jit, {label}", "jax", "jax_rosenbrock", inline=inline))
        found[-1].compiled = True
        found[-1].process = f"{dtype} {'inline' if inline else ''}"
    goals = [
        Goal("<= JAX", ours, "jax", 1.0),
        Goal("traced anew: <= autograd", "gdcore, traced anew", "autograd", 1.0),
    ]
    title = (
        f"Rosenbrock of {SIZE:,} variables, value and gradient, {dtype},"
        f" {threads} thread{'s' * (threads > 1)}"
    )
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    return Table("P4b", title, found, goals, base=ours, tolerance=tolerance)


def p4b(options: Options) -> list[Table]:
    return [rosenbrock_table(d, threads) for d in ("float64", "float32") for threads in (1, 2)]
