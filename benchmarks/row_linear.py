"""P2: linear regression on 100,000 x (2 + bias) in float64, full batch, 100 iterations.

The data and the model are document 000's. Every contestant computes prediction, loss and gradient
in each iteration and descends by the same rate; all are compared after 300 iterations. Left out:
the 3 x 3 product of the inputs with themselves computed once, which is another algorithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from contest import Entry, Goal, Options, Table
from contestant import Case

ROWS, ITERATIONS, RATE = 100_000, 100, 1e-4
NUMPY_ROWS = 32768  # measured: the best of 512 to 32,768


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs (n, 2), targets (n, 1), weights (2, 1), bias (1,)."""
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-100, 100, (ROWS, 2))
    noise = rng.uniform(-100, 100, (ROWS, 1))
    targets = inputs @ [[15.0], [-13.0]] + 6 + noise
    return inputs, targets, rng.uniform(-0.002, 0.002, (2, 1)), rng.uniform(-0.002, 0.002, 1)


def with_ones() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs (n, 3) with a column of ones, targets (n,), weights and bias (3,)."""
    inputs, targets, weights, bias = data()
    ones = np.column_stack([inputs, np.ones(ROWS)])
    return ones, targets[:, 0].copy(), np.append(weights[:, 0], bias)


# ---- gdcore ------------------------------------------------------------


def gdcore_fused(order: str) -> Case:
    import gdcore as gd

    inputs, targets, weights, bias = data()
    inputs = np.asarray(inputs, order=order)
    opt = gd.SGD(RATE)
    params = [weights, bias]
    half_mse = gd.losses.half_mse

    def call() -> list[Any]:
        history = []
        for _ in range(ITERATIONS):
            loss, grads = gd.linear_value_and_grad(inputs, targets, weights, bias, loss=half_mse)
            opt.step(params, grads)
            history.append(loss)
        return history

    return Case(call, lambda: [*weights.flat, *bias])


def gdcore_pieces(order: str) -> Case:
    """Forward, loss, backward and step written out, as one learns them."""
    import gdcore as gd

    inputs, targets, weights, bias = data()
    inputs = np.asarray(inputs, order=order)
    opt = gd.SGD(RATE)
    outputs = np.empty_like(targets)

    def call() -> list[Any]:
        history = []
        for _ in range(ITERATIONS):
            gd.dense(inputs, weights, bias, out=outputs)
            loss, dy = gd.losses.half_mse.value_and_grad(targets, outputs)
            _, dw, db = gd.dense_grad(dy, inputs, weights, need_dX=False)
            opt.step([weights, bias], [dw, db])
            history.append(loss)
        return history

    return Case(call, lambda: [*weights.flat, *bias])


# ---- NumPy ------------------------------------------------------------


def numpy_document(order: str) -> Case:
    """The document's lines."""
    inputs, targets, weights, bias = data()
    inputs = np.asarray(inputs, order=order)
    now = [weights, bias]

    def call() -> list[Any]:
        weights, bias = now
        history = []
        for _ in range(ITERATIONS):
            outputs = np.dot(inputs, weights) + bias
            delta = outputs - targets
            history.append(np.sum(delta**2))
            delta_scaled = delta / ROWS
            weights = weights - RATE * np.dot(inputs.T, delta_scaled)
            bias = bias - RATE * np.sum(delta_scaled)
        now[:] = weights, bias
        return history

    return Case(call, lambda: [*now[0].flat, *now[1]])


def numpy_in_place(order: str) -> Case:
    """The bias apart, vectors instead of columns, no temporaries."""
    inputs, targets, weights, bias = data()
    inputs, targets = np.asarray(inputs, order=order), targets[:, 0].copy()
    weights = weights[:, 0].copy()
    delta = np.empty(ROWS)

    def call() -> list[Any]:
        history = []
        for _ in range(ITERATIONS):
            np.dot(inputs, weights, out=delta)
            np.add(delta, bias, out=delta)
            np.subtract(delta, targets, out=delta)
            history.append(delta @ delta)
            weights[:] -= RATE / ROWS * (delta @ inputs)
            bias[:] -= RATE / ROWS * delta.sum()
        return history

    return Case(call, lambda: [*weights, *bias])


def numpy_ones(order: str) -> Case:
    """The bias as the weight of a column of ones: everything but a subtraction is BLAS."""
    inputs, targets, weights = with_ones()
    inputs = np.asarray(inputs, order=order)
    delta = np.empty(ROWS)

    def call() -> list[Any]:
        history = []
        for _ in range(ITERATIONS):
            np.dot(inputs, weights, out=delta)
            np.subtract(delta, targets, out=delta)
            history.append(delta @ delta)
            weights[:] -= RATE / ROWS * (delta @ inputs)
        return history

    return Case(call, lambda: weights)


def numpy_blocks(order: str) -> Case:
    """The same block by block, so that a block is read from memory once."""
    inputs, targets, weights = with_ones()
    scratch = np.empty(NUMPY_ROWS)
    blocks = []
    for i in range(0, ROWS, NUMPY_ROWS):
        part = np.array(inputs[i : i + NUMPY_ROWS], order=order)
        blocks.append((part, targets[i : i + NUMPY_ROWS], scratch[: len(part)]))

    def call() -> list[Any]:
        history = []
        for _ in range(ITERATIONS):
            loss, gradient = 0.0, np.zeros(3)
            for x, t, delta in blocks:
                np.dot(x, weights, out=delta)
                np.subtract(delta, t, out=delta)
                loss += delta @ delta
                gradient += delta @ x
            history.append(loss)
            weights[:] -= RATE / ROWS * gradient
        return history

    return Case(call, lambda: weights)


# ---- torch ------------------------------------------------------------


def torch_autograd(order: str, threads: int) -> Case:
    """Gradients by backward(), torch.optim.SGD(fused=True), NumPy's memory."""
    import torch

    torch.set_num_threads(threads)
    inputs, targets, weights, bias = data()
    x, t = torch.from_numpy(np.asarray(inputs, order=order)), torch.from_numpy(targets)
    w, b = (torch.from_numpy(a).requires_grad_() for a in (weights, bias))
    opt = torch.optim.SGD([w, b], RATE, fused=True)

    def call() -> list[Any]:
        history = []
        for _ in range(ITERATIONS):
            loss = torch.nn.functional.mse_loss(torch.addmm(b, x, w), t) / 2
            opt.zero_grad()
            loss.backward()
            opt.step()
            history.append(loss.detach())
        return history

    return Case(call, lambda: [*weights.flat, *bias])


def torch_by_hand(order: str, threads: int) -> Case:
    """A column of ones, no temporaries, no autograd."""
    import torch

    torch.set_num_threads(threads)
    inputs, targets, weights = with_ones()
    x = torch.from_numpy(np.asarray(inputs, order=order))
    t, w = torch.from_numpy(targets), torch.from_numpy(weights)
    delta, transposed = torch.empty(ROWS, dtype=torch.float64), x.T

    def call() -> list[Any]:
        history = []
        with torch.inference_mode():
            for _ in range(ITERATIONS):
                torch.addmv(t, x, w, beta=-1, out=delta)
                history.append(torch.dot(delta, delta))
                w.addmv_(transposed, delta, alpha=-RATE / ROWS)
        return history

    return Case(call, lambda: weights)


# ---- JAX ------------------------------------------------------------


def jax_scan(form: str) -> Case:
    """All iterations in one jitted scan in float64, parameters donated.

    form: "rows" (x @ w + b), "column of ones" or "vectors" (x0 w0 + x1 w1 + b).
    """
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    inputs, targets, weights, bias = data()
    x, t = jnp.array(inputs), jnp.array(targets[:, 0])
    w = jnp.array(np.append(weights[:, 0], bias))
    if form == "column of ones":
        x = jnp.array(with_ones()[0])
    elif form == "vectors":
        x = jnp.array(np.ascontiguousarray(inputs.T))

    def error(w: Any, x: Any, t: Any) -> Any:
        if form == "column of ones":
            y = x @ w
        elif form == "rows":
            y = x @ w[:2] + w[2]
        else:
            y = x[0] * w[0] + x[1] * w[1] + w[2]
        return jnp.mean((y - t) ** 2) / 2

    def descend(w: Any, x: Any, t: Any) -> Any:
        def iteration(w: Any, _: None) -> Any:
            loss, gradient = jax.value_and_grad(error)(w, x, t)
            return w - RATE * gradient, loss

        return jax.lax.scan(iteration, w, None, length=ITERATIONS)

    fast = jax.jit(descend, donate_argnums=0)
    now = [w, None]

    def call() -> None:
        now[:] = fast(now[0], x, t)
        jax.block_until_ready(now)

    return Case(call, lambda: now[0])


# ---- The tables ------------------------------------------------------------


def entries(threads: int) -> list[Entry]:
    """Return all contestants: inputs in rows as in the document, and in columns."""

    def entry(label: str, library: str, factory: str, **arguments: Any) -> Entry:
        return Entry(label, library, threads, __name__, factory, arguments)

    found = []
    for order, name in (("C", "rows"), ("F", "columns")):
        found += [
            entry(f"gdcore, fused, {name}", "gdcore", "gdcore_fused", order=order),
            entry(f"gdcore, pieces, {name}", "gdcore", "gdcore_pieces", order=order),
            entry(f"NumPy, document, {name}", "numpy", "numpy_document", order=order),
            entry(f"NumPy, in place, {name}", "numpy", "numpy_in_place", order=order),
            entry(f"NumPy, column of ones, {name}", "numpy", "numpy_ones", order=order),
            entry(f"NumPy, by blocks, {name}", "numpy", "numpy_blocks", order=order),
        ]
        for label, factory in (("autograd", "torch_autograd"), ("by hand", "torch_by_hand")):
            arguments = {"order": order, "threads": threads}
            found.append(entry(f"torch, {label}, {name}", "torch", factory, **arguments))
    for form in ("rows", "column of ones", "vectors"):
        found.append(entry(f"JAX scan, {form}", "jax", "jax_scan", form=form))
        found[-1].compiled = True
    return found


def p2(options: Options) -> list[Table]:
    tables = []
    ours = "gdcore, fused, rows"
    for threads, share in ((1, 8), (2, 15)):
        goals = [
            Goal(f"<= 1/{share} of NumPy's best", ours, "numpy", 1 / share),
            Goal(f"<= 1/{share} of NumPy, same X and y", ours, "NumPy, in place, rows", 1 / share),
            Goal("torch not ahead", ours, "torch", 1.0),
            Goal("JAX not ahead", ours, "jax", 1.0),
        ]
        title = (
            f"linear regression, {ROWS:,} x (2 + bias), float64, {ITERATIONS} iterations,"
            f" {threads} thread{'s' * (threads > 1)}"
        )
        tables.append(Table("P2", title, entries(threads), goals, base=ours, tolerance=1e-9))
    return tables
