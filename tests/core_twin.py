"""What the twin of a network says, and how far the core's results may lie from it.

A bound is not guessed. The twin is run with every intermediate result moved by the most that its
rounding may be off, up or down at random; what becomes of that is taken four times.
"""

import functools

import numpy as np
from network_cases import Fit, objective

from gdcore.reference import network as reference
from gdcore.reference.network import Drawn, Network, Objective

DRAWS, MARGIN = 3, 4
LARGER = 2.0**24  # a double's epsilons are seen in doubles as larger ones, and scaled back

# Bits of dropout, which the twin draws in Python, row by row, are the same in each run.
reference.random_bits = functools.cache(reference.random_bits)


def twin(net, real=np.longdouble, rounded=None):
    """The network in another type; numbers that the core takes as float32 are cut to that."""
    params, buffers = ([a.astype(real) for a in some] for some in (net.params, net.buffers))
    return Network([cut(stage, net.dtype) for stage in net.stages], params, buffers, rounded)


def cut(stage, dtype):
    """A stage whose activation's parameters are reals of that type."""
    spec = tuple(
        [number if k == 0 else float(dtype.type(number)) for k, number in enumerate(stage[4])]
    )
    return (*stage[:4], spec, stage[5])


def mover(rng, eps):
    """What moves a result by its bound."""

    def moved(result, bound):
        return result + eps * np.broadcast_to(bound, result.shape) * rng.choice(
            [-1, 1], result.shape
        )

    return moved


def results_of(net, X, y, goal, weights, drawn):
    """Loss, gradients, moved statistics, as arrays."""
    loss, grads, trace = net.value_and_grad(X, y, goal, weights, drawn)
    net.move_buffers(trace)
    return [np.asarray(loss), *grads, *net.buffers]


def compare(net, X, y, loss="mse", *, weights=None, rng=None, like=None, threads=0, **other):
    """Compare loss, gradients and moving statistics of one batch with the twin's.

    `like` is the network that the twin has in place of `net`. Returns the bounds over the largest
    element, by which a test may see that they are small.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    goal, like = objective(net.width, loss, **other), like or net
    wanted = Objective(*goal)
    drawn = Drawn((3, 4), 0, range(len(X)))
    args = (X, y, wanted, weights, drawn)
    fine = net.dtype == np.float64
    exact = results_of(twin(like, np.longdouble if fine else np.float64), *args)
    eps = float(np.finfo(net.dtype).eps) * (LARGER if fine else 1)
    plain = results_of(twin(like, np.float64), *args)
    bounds = [np.zeros(()) for _ in exact]
    for _ in range(DRAWS):
        moved = results_of(twin(like, np.float64, mover(rng, eps)), *args)
        for i, (a, b) in enumerate(zip(moved, plain, strict=True)):
            bounds[i] = np.maximum(bounds[i], np.abs(a - b).max(initial=0))
    fit = Fit(net, X, y, goal=goal, weights=weights, moves=True, threads=threads)
    out = fit.run(1)
    if not out.done:  # numbers too large for the type
        assert not all(np.isfinite(a).all() for a in results_of(twin(like, net.dtype), *args))
        return []
    loss = out.losses[0]
    found = [np.asarray(loss), *fit.grads, *net.buffers]
    relative = []
    for i, (ours, right, bound) in enumerate(zip(found, exact, bounds, strict=True)):
        size = float(np.abs(right).max(initial=0))
        tiny = 4 * float(np.finfo(net.dtype).eps) * size + float(np.finfo(net.dtype).tiny)
        bound = MARGIN * bound / (LARGER if fine else 1) + tiny
        off = np.abs(ours.astype(np.longdouble) - right).max(initial=0)
        assert off <= bound, f"result {i} of {net.stages}: off by {off}, allowed {bound}, of {size}"
        relative.append(float(bound / size) if size else 0.0)
    return relative
