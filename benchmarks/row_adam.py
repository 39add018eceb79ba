"""P1, P1b, P1c: one Adam step in float32, one call from Python.

Every contestant starts from the same parameters and gradients and is compared after three steps.
Each library has several forms; the best of them counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from contest import Entry, Goal, Options, Table
from contestant import Case

LR, B1, B2, EPS = 1e-3, 0.9, 0.999, 1e-8
SIX_SHAPES = [(4, 16), (16,), (16, 16), (16,), (16, 2), (2,)]
NUMPY_BLOCK = 32768  # elements; measured: the best of 1,024 to 131,072
Arrays = list[np.ndarray]


# ---- The data, the same in every process ----------------------------------------------------


def arrays(shapes: list[tuple[int, ...]]) -> tuple[Arrays, Arrays]:
    """Return parameters and gradients: normal numbers, a million of them repeated."""
    rng = np.random.default_rng(1)

    def one(shape: tuple[int, ...]) -> np.ndarray:
        size = math.prod(shape)
        some = rng.standard_normal(min(size, 10**6), dtype=np.float32)
        return np.resize(some, shape)

    return [one(s) for s in shapes], [one(s) for s in shapes]


def first_values(params: Arrays) -> Callable[[], np.ndarray]:
    return lambda: np.asarray(params[0]).reshape(-1)[:8]


def alone(some: list[Any]) -> Any:
    """Return a single array bare, several as a list."""
    return some[0] if len(some) == 1 else some


# ---- gdcore and the limit ------------------------------------------------------------


def gdcore_step(shapes: list[tuple[int, ...]]) -> Case:
    import gdcore as gd

    params, grads = arrays(shapes)
    opt = gd.Adam(LR, betas=(B1, B2), eps=EPS)
    return Case(partial(opt.step, alone(params), alone(grads)), first_values(params))


def triad(size: int, threads: int) -> Case:
    """Read four arrays, write three of them: the step's memory traffic without its arithmetic."""
    from machine import limits

    four = [np.full(size, 1e-8, np.float32) for _ in range(4)]
    passes = max(1, 2 * 10**7 // size)
    addresses = [a.ctypes.data for a in four]
    call = partial(limits().triad, size, *addresses, threads, passes)
    return Case(call, repeats=passes, keep=four)


# ---- NumPy ------------------------------------------------------------


def bias_corrections() -> Iterator[tuple[float, float]]:
    """Yield the step's factor and the root's, step by step."""
    t = 0
    while True:
        t += 1
        yield LR / (1 - B1**t), 1 / math.sqrt(1 - B2**t)


def numpy_natural(shapes: list[tuple[int, ...]]) -> Case:
    """As the paper's lines are written."""
    params, grads = arrays(shapes)
    ms, vs = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    corrections = bias_corrections()

    def call() -> None:
        step, root = next(corrections)
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            ms[i] = B1 * ms[i] + (1 - B1) * g
            vs[i] = B2 * vs[i] + (1 - B2) * g**2
            p -= step * ms[i] / (np.sqrt(vs[i]) * root + EPS)

    return Case(call, first_values(params))


def numpy_in_place(shapes: list[tuple[int, ...]]) -> Case:
    """Without a temporary, and block by block, so that a block stays in cache."""
    params, grads = arrays(shapes)
    scratch = np.empty(min(NUMPY_BLOCK, max(p.size for p in params)), np.float32)
    blocks = []
    for p, g in zip(params, grads, strict=True):
        four = [p.reshape(-1), np.zeros(p.size, np.float32), np.zeros(p.size, np.float32)]
        four.append(g.reshape(-1))
        for i in range(0, p.size, NUMPY_BLOCK):
            parts = [a[i : i + NUMPY_BLOCK] for a in four]
            blocks.append((*parts, scratch[: parts[0].size]))
    corrections = bias_corrections()
    multiply, add, divide, sqrt = np.multiply, np.add, np.divide, np.sqrt

    def call() -> None:
        step, root = next(corrections)
        for p, m, v, g, a in blocks:
            multiply(m, B1, m)
            multiply(g, 1 - B1, a)
            add(m, a, m)
            multiply(g, g, a)
            multiply(a, 1 - B2, a)
            multiply(v, B2, v)
            add(v, a, v)
            sqrt(v, a)
            multiply(a, root / step, a)
            add(a, EPS / step, a)
            divide(m, a, a)
            np.subtract(p, a, p)

    return Case(call, first_values(params))


# ---- torch ------------------------------------------------------------


def torch_step(shapes: list[tuple[int, ...]], threads: int, form: str) -> Case:
    """torch.optim.Adam(fused=True or foreach=True) on tensors that share NumPy's memory."""
    import torch

    torch.set_num_threads(threads)
    params, grads = arrays(shapes)
    tensors = [torch.from_numpy(p).requires_grad_() for p in params]
    for tensor, g in zip(tensors, grads, strict=True):
        tensor.grad = torch.from_numpy(g)
    opt = torch.optim.Adam(tensors, LR, betas=(B1, B2), eps=EPS, **{form: True})
    return Case(opt.step, first_values(params))


def torch_function(shapes: list[tuple[int, ...]], threads: int, private: bool) -> Case:
    """torch.optim's function, or the private kernel below it, without the optimizer object."""
    import torch
    from torch.optim.adam import adam

    torch.set_num_threads(threads)
    params, grads = arrays(shapes)
    tensors, gradients = ([torch.from_numpy(a) for a in some] for some in (params, grads))
    ms, vs = ([torch.zeros_like(p) for p in tensors] for _ in range(2))
    counts = [torch.zeros(()) for _ in tensors]
    settings = {"lr": LR, "beta1": B1, "beta2": B2, "weight_decay": 0.0, "eps": EPS}
    settings |= {"amsgrad": False, "maximize": False}

    def kernel() -> None:
        torch._foreach_add_(counts, 1)
        torch._fused_adam_(tensors, gradients, ms, vs, [], counts, **settings)

    function = partial(adam, tensors, gradients, ms, vs, [], counts, fused=True, **settings)
    return Case(kernel if private else function, first_values(params))


# ---- JAX ------------------------------------------------------------


def start_jax(inline: bool) -> Any:
    """Import JAX; inline runs a function on Python's thread, for the whole process."""
    import jax

    jax.config.update("jax_enable_x64", False)
    jax.config.update("jax_cpu_enable_async_dispatch", not inline)
    return jax


def jax_optax(shapes: list[tuple[int, ...]], wait: bool, inline: bool) -> Case:
    """The update and its application in one jitted function, parameters and state donated."""
    jax = start_jax(inline)
    import optax

    rule = optax.adam(LR, b1=B1, b2=B2, eps=EPS)

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = rule.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params, grads = (alone([jax.numpy.array(a) for a in some]) for some in arrays(shapes))
    return jax_case(step, params, rule.init(params), grads, wait)


def jax_by_hand(shapes: list[tuple[int, ...]], wait: bool, inline: bool) -> Case:
    """The same without optax: nothing but the arrays and the step's number."""
    jax = start_jax(inline)

    def step(params: Any, state: Any, grads: Any) -> Any:
        t, ms, vs = state
        t = t + 1.0
        rate, root = LR / (1 - B1**t), 1 / jax.numpy.sqrt(1 - B2**t)
        ms = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, ms, grads)
        vs = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, vs, grads)
        params = jax.tree.map(
            lambda p, m, v: p - rate * m / (jax.numpy.sqrt(v) * root + EPS), params, ms, vs
        )
        return params, (t, ms, vs)

    params, grads = (alone([jax.numpy.array(a) for a in some]) for some in arrays(shapes))
    zeros = [jax.tree.map(jax.numpy.zeros_like, params) for _ in range(2)]
    return jax_case(step, params, (jax.numpy.float32(0), *zeros), grads, wait)


def jax_case(step: Any, params: Any, state: Any, grads: Any, wait: bool) -> Case:
    """Jit with donated buffers; wait for each step, or only for the last of a sample."""
    import jax

    fast = jax.jit(step, donate_argnums=(0, 1))
    now = [params, state]

    def call() -> None:
        now[0], now[1] = fast(now[0], now[1], grads)
        if wait:
            jax.block_until_ready(now[0])

    def values() -> np.ndarray:
        return first_values(jax.tree.leaves(now[0]))()

    return Case(call, values, finish=lambda: jax.block_until_ready(now[0]))


# ---- The tables ------------------------------------------------------------


def entries(shapes: list[tuple[int, ...]], threads: int) -> list[Entry]:
    """Return all contestants for these shapes."""

    def entry(label: str, library: str, factory: str, **more: Any) -> Entry:
        arguments = {"shapes": shapes, **more}
        return Entry(label, library, threads, __name__, factory, arguments)

    found = [
        entry("gdcore", "gdcore", "gdcore_step"),
        entry("NumPy, as written", "numpy", "numpy_natural"),
        entry("NumPy, in place, by blocks", "numpy", "numpy_in_place"),
    ]
    for form in ("fused", "foreach"):
        label = f"torch.optim.Adam({form}=True)"
        found.append(entry(label, "torch", "torch_step", threads=threads, form=form))
    for label, private in (("torch's function, fused", False), ("torch's private kernel", True)):
        found.append(entry(label, "torch", "torch_function", threads=threads, private=private))
        found[-1].judged = not private
    for name, factory in (("JAX + optax", "jax_optax"), ("JAX by hand", "jax_by_hand")):
        for form, wait, inline in JAX_FORMS:
            found.append(entry(f"{name}, {form}", "jax", factory, wait=wait, inline=inline))
            found[-1].compiled, found[-1].process = True, "inline" if inline else ""
    return found


JAX_FORMS = (("waited for", True, False), ("inline", True, True), ("running ahead", False, False))


def small_table(title: str, shapes: list[tuple[int, ...]]) -> Table:
    goals = [
        Goal("<= 1/10 of torch", "gdcore", "torch", 1 / 10),
        Goal("<= 1/4 of JAX", "gdcore", "jax", 1 / 4),
    ]
    return Table("P1", f"Adam step, {title}", entries(shapes, 1), goals)


def p1(options: Options) -> list[Table]:
    return [
        small_table("10 parameters", [(10,)]),
        small_table("1,000 parameters", [(1000,)]),
        small_table("six small arrays in one call", SIX_SHAPES),
    ]


def p1b(options: Options) -> list[Table]:
    goals = [
        Goal("<= 1/3 of torch", "gdcore", "torch", 1 / 3),
        Goal("<= 1/3 of JAX", "gdcore", "jax", 1 / 3),
    ]
    shapes, title = [(100_000,)], "Adam step, 100,000 parameters"
    return [
        Table("P1b", f"{title}, 1 thread", entries(shapes, 1)),
        Table("P1b", f"{title}, 2 threads", entries(shapes, 2), goals),
    ]


def p1c(options: Options) -> list[Table]:
    size = 10**6 if options.quick else 10**7
    goals = [
        Goal(">= 85 % of the triad", "gdcore", "limit", 1 / 0.85, as_share=True),
        Goal("torch not ahead", "gdcore", "torch", 1.0),
        Goal("JAX not ahead", "gdcore", "jax", 1.0),
    ]
    tables = []
    for threads in (1, 2):
        arguments = {"size": size, "threads": threads}
        limit = Entry("in-place triad", "limit", threads, __name__, "triad", arguments)
        title = f"Adam step, {size:,} parameters, {threads} thread{'s' * (threads > 1)}"
        tables.append(
            Table("P1c", title, [limit, *entries([(size,)], threads)], goals, memory=True)
        )
    return tables
