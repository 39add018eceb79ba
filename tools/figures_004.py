"""What the descents of document 004's neuron must obey, beside the figures of its notebook.

The document prints where it starts, its rate, its number of epochs, and how many steps an epoch
has; it prints nothing that comes out. So the notebook's descents are held against the document's
loops, with what is wrong in them set right, in plain NumPy; where the notebook shows what a slip
does, against the loop with that slip. The minimum and the plateaus are known on paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from figures import Array, Row, compare_all

TOLERANCE = 1e-9
LOOSE = 1e-6  # of an end that a descent comes near, and of minima found by other rules
FLIPS = 2 / 41**2  # starts of 41 x 41 that rounding may carry over the border of having arrived

START, ETA, EPOCHS, GAMMA = np.array([-2.0, -2.0]), 1.0, 1000, 0.9
X, Y = np.array([0.5, 2.5]), np.array([0.2, 0.9])
BEST = np.array([np.log(6), -np.log(4) - np.log(6) / 2])
KEPT = [10, 40, 100, -1]  # the points of a path that the notebook hands over

Figures = Mapping[str, Any]
Slope = Callable[[Array], Array]
Rule = Callable[[Array, Slope], Array]  # from a point to the next; it keeps its own memory


# ---- The neuron ----------------------------------------------------------------------------------


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), by the exponential that does not overflow."""
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, small) / (1 + small)


def residuals(p: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """What the neuron outputs and what is too much of it; p is (w, b), or (2, n) of n neurons."""
    f = sigmoid(np.multiply.outer(x, p[0]) + p[1])
    return f, f - y.reshape(-1, *[1] * (p.ndim - 1))


def error(p: Array, x: Array = X, y: Array = Y) -> Array:
    """Half the sum of squares."""
    return 0.5 * np.sum(residuals(p, x, y)[1] ** 2, axis=0)


def slope_on(x: Array, y: Array, weights: Array | float = 1.0) -> Slope:
    """The document's grad_w and grad_b, added up over these points."""

    def slope(p: Array) -> Array:
        f, far = residuals(p, x, y)
        each = far * f * (1 - f)
        return np.stack([np.tensordot(x * weights, each, 1), (weights * each.T).T.sum(axis=0)])

    return slope


# ---- Rules in plain NumPy ------------------------------------------------------------------------


def momentum(lr: float, gamma: float = 0.0) -> Rule:
    """v <- gamma v + lr slope;  p <- p - v."""
    v = np.zeros(())

    def step(p: Array, slope: Slope) -> Array:
        nonlocal v
        v = gamma * v + lr * slope(p)
        return p - v

    return step


def as_printed(lr: float, gamma: float) -> Rule:
    """Momentum with the document's v_b, which takes dw."""
    v = np.zeros(2)

    def step(p: Array, slope: Slope) -> Array:
        dw, _ = slope(p)
        v[:] = gamma * v + lr * dw
        return p - v

    return step


def document_nesterov(lr: float, gamma: float) -> Rule:
    """The document's loop line by line: look ahead, step there, remember."""
    v = np.zeros(())

    def step(p: Array, slope: Slope) -> Array:
        nonlocal v
        p = p - gamma * v
        g = slope(p)
        p = p - lr * g
        v = gamma * v + lr * g
        return p

    return step


def look_ahead(lr: float, gamma: float) -> Rule:
    """The same where p is the look-ahead point: p <- p - lr (slope + gamma buffer)."""
    buffer = np.zeros(())

    def step(p: Array, slope: Slope) -> Array:
        nonlocal buffer
        g = slope(p)
        buffer = gamma * buffer + g
        return p - lr * (g + gamma * buffer)

    return step


def adagrad(lr: float, eps: float = 1e-10) -> Rule:
    """a <- a + slope^2;  p <- p - lr slope / (sqrt(a) + eps)."""
    a = np.zeros(())

    def step(p: Array, slope: Slope) -> Array:
        nonlocal a
        g = slope(p)
        a = a + g**2
        return p - lr * g / (np.sqrt(a) + eps)

    return step


def rmsprop(lr: float, alpha: float, eps: float = 1e-8) -> Rule:
    """v <- alpha v + (1 - alpha) slope^2;  p <- p - lr slope / (sqrt(v) + eps)."""
    v = np.zeros(())

    def step(p: Array, slope: Slope) -> Array:
        nonlocal v
        g = slope(p)
        v = alpha * v + (1 - alpha) * g**2
        return p - lr * g / (np.sqrt(v) + eps)

    return step


def adam(lr: float, second: float = 0.999, eps: float = 1e-8) -> Rule:
    """Decaying means of slope and its square, both divided by what is missing of them at first."""
    m, v, t = np.zeros(()), np.zeros(()), 0

    def step(p: Array, slope: Slope) -> Array:
        nonlocal m, v, t
        g, t = slope(p), t + 1
        m, v = 0.9 * m + 0.1 * g, second * v + (1 - second) * g**2
        return p - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - second**t)) + eps)

    return step


RULES: dict[str, Callable[[], Rule]] = {
    "η = 1": lambda: momentum(1.0),
    "η = 3": lambda: momentum(3.0),
    "η = 10": lambda: momentum(10.0),
    "η = 20": lambda: momentum(20.0),
    "η = 30": lambda: momentum(30.0),
    "η = 1, momentum 0.9": lambda: momentum(ETA, GAMMA),
    "η = 1, Nesterov 0.9": lambda: look_ahead(ETA, GAMMA),
    "AdaGrad, η = 0.1": lambda: adagrad(0.1),
    "RMSprop, η = 0.1": lambda: rmsprop(0.1, 0.9),
    "Adam, η = 0.1": lambda: adam(0.1),
    "AdaGrad, η = 1": lambda: adagrad(1.0),
    "Adam, η = 0.1, β₂ = 0.9": lambda: adam(0.1, second=0.9),
}


# ---- Descents ------------------------------------------------------------------------------------


def descended(rule: Rule, slope: Slope, start: Array = START, steps: int = EPOCHS) -> Array:
    """The points of a descent on all data at once."""
    points = [start]
    for _ in range(steps):
        points.append(rule(points[-1], slope))
    return np.array(points)


class Way(NamedTuple):
    """How a descent on batches goes."""

    size: int  # points of a step
    rule: Callable[[], Rule]
    epochs: int = EPOCHS
    seed: int | None = None  # None: in the order of the data
    keep: bool = False  # the sums of the epoch so far, as the document does


def in_batches(way: Way, x: Array, y: Array) -> Array:
    """The points after each epoch."""
    rng, rule, p = np.random.default_rng(way.seed), way.rule(), START
    points = [p]
    for _ in range(way.epochs):
        order = np.arange(len(x)) if way.seed is None else rng.permutation(len(x))
        sums = np.zeros(2)
        for rows in np.split(order, range(way.size, len(x), way.size)):
            own = slope_on(x[rows], y[rows])(p)
            sums = sums + own if way.keep else own
            p = rule(p, lambda _, g=sums: g)
        points.append(p)
    return np.array(points)


def arrival(errors: Array, level: float = 1e-4) -> int | str:
    """The epoch from which on the error stays at or below a level."""
    above = np.flatnonzero(~(errors <= level))
    first = int(above[-1]) + 1 if above.size else 0
    return first if first < len(errors) else "never"


def points_of(text: str) -> Array:
    """The numbers of a line, which the notebook hands over; w and b in turn."""
    return np.array(text.split(), dtype=float)


def compare_path(what: str, ours: str, theirs: Array, count: int = len(KEPT)) -> Row:
    """Compare the points that the notebook kept of a path, or the first of them."""
    known = theirs[KEPT[:count]].ravel()
    return compare_all(f"{what}: path", "number", points_of(ours)[: 2 * count], known, TOLERANCE)


# ---- All points at once --------------------------------------------------------------------------


def compare_settings(figures: Figures) -> Iterator[Row]:
    """What the document prints: where it starts, its rate, its epochs; gamma of its Nesterov."""
    known = {"start": START.tolist(), "eta": ETA, "epochs": EPOCHS, "gamma": GAMMA}
    for name, told in known.items():
        found = figures["settings"][name]
        complaint = "" if found == told else "not the document's"
        yield Row(f"setting: {name}", str(told), str(found), complaint)
    value = [error(START), *slope_on(X, Y)(START)]
    yield compare_all("start: error, gradient", "number", figures["first"], value, TOLERANCE)


@cache
def run_of(name: str) -> Array:
    """The path of a rule from the document's start."""
    return descended(RULES[name](), slope_on(X, Y))


@cache
def end_from(w: float, b: float) -> Array:
    """Where plain descent from another start ends."""
    end: Array = descended(momentum(ETA), slope_on(X, Y), np.array([w, b]))[-1]
    return end


def compare_runs(figures: Figures) -> Iterator[Row]:
    """The rules, from the document's start: where they pass, and when they have arrived.

    RMSprop comes so near to the minimum, before it starts to jump, that rounding decides when it
    jumps which way: of its later points only the largest error is compared.
    """
    for name, ours in figures["runs"].items():
        path = run_of(name)
        yield compare_path(name, ours, path, 2 if name.startswith("RMSprop") else len(KEPT))
        if name in figures["largest"]:
            most, what = error(path[-100:].T).max(), f"{name}: largest error, last 100"
            yield compare_all(what, "error", [figures["largest"][name]], [most], TOLERANCE)
        theirs, found = arrival(error(path.T)), figures["arrived"][name]
        complaint = "" if found == theirs else "not the same epoch"
        yield Row(f"{name}: error 0.0001 from", f"{theirs}", f"{found}", complaint)
    end = points_of(figures["runs"]["η = 10"])[-2:]
    yield compare_all("η = 10: end, on paper", "parameter", end, BEST, TOLERANCE)
    for name, end in figures["starts"].items():
        theirs = end_from(*map(float, name.strip("()").split(",")))
        yield compare_all(f"from {name}: end", "parameter", end, theirs, TOLERANCE)


@cache
def momenta() -> dict[str, Array]:
    """The document's loops of sections 4 and 5, and the look-ahead point."""
    rules = {"as printed": as_printed, "document": document_nesterov, "p": look_ahead}
    return {name: descended(rule(ETA, GAMMA), slope_on(X, Y)) for name, rule in rules.items()}


def compare_momentum(figures: Figures) -> Iterator[Row]:
    """The decaying sum; the look-ahead, seen from both points; and what the printed code does."""
    slope, fast = slope_on(X, Y), run_of("η = 1, momentum 0.9")
    parts = [GAMMA ** (19 - k) * ETA * slope(fast[k]) for k in range(20)]
    ours = figures["weighted sum"]
    yield compare_all("momentum: step 20 as a sum", "parameter", ours, sum(parts), TOLERANCE)
    for name, theirs in (("document", "document"), ("p", "p"), ("back", "document")):
        yield compare_path(f"Nesterov, {name}", figures["Nesterov"][name], momenta()[theirs])
    yield compare_path("as printed", figures["as printed"], momenta()["as printed"])
    w, b = points_of(figures["as printed"])[-2:]
    shown = f"({w:.4f}, {b:.4f}), error {error(np.array([w, b])):.4f}"
    beside = w == b and error(np.array([w, b])) > 0.1
    complaint = "" if beside else "b does not repeat w"
    yield Row("as printed: end", "the minimum", shown, complaint, "the slip: v_b takes dw")


@cache
def shares_of(name: str) -> tuple[float, float, float]:
    """Shares of a square of starts: error 1e-4 in 100 and in all epochs, 1e-3 in all epochs."""
    side, slope = np.linspace(-6, 6, 41), slope_on(X, Y)
    rule, p = RULES[name](), np.stack([axis.ravel() for axis in np.meshgrid(side, side)])
    early = 0.0
    for epoch in range(1, EPOCHS + 1):
        p = rule(p, slope)
        if epoch == 100:
            early = float(np.mean(error(p) <= 1e-4))
    return early, float(np.mean(error(p) <= 1e-4)), float(np.mean(error(p) <= 1e-3))


def compare_shares(figures: Figures) -> Iterator[Row]:
    """Shares of starts that arrive; section 10 hands over the last one, section 6 the others."""
    for name, ours in figures["shares"].items():
        theirs = shares_of(name)[2:] if len(ours) == 1 else shares_of(name)[:2]
        yield compare_all(f"{name}: starts arrived", "share", ours, theirs, FLIPS)


# ---- Batches -------------------------------------------------------------------------------------


@cache
def two_points() -> dict[str, Array]:
    """The ways on the document's points."""
    fast, ahead = (lambda: momentum(ETA, GAMMA)), (lambda: look_ahead(ETA, GAMMA))
    ways = {
        "stochastic": Way(1, lambda: momentum(ETA)),
        "stochastic, sums kept": Way(1, lambda: momentum(ETA), keep=True),
        "momentum, batch": Way(2, fast),
        "momentum, stochastic": Way(1, fast),
        "momentum, stochastic, sums kept": Way(1, fast, keep=True),
        "Nesterov, batch": Way(2, ahead),
        "Nesterov, stochastic": Way(1, ahead),
    }
    return {name: in_batches(way, X, Y) for name, way in ways.items()}


@cache
def around() -> tuple[Array, Array]:
    """Twenty-four points around the curve of the minimum."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 4, 24)
    return x, sigmoid(BEST[0] * (x + 0.35 * rng.normal(size=24)) + BEST[1])


@cache
def twenty_four() -> tuple[dict[str, Array], Array]:
    """The ways on 24 points, and two minima: of their error, and with weights 24, 23, ..., 1."""
    x, y = around()
    ways = {
        "batch": Way(24, lambda: momentum(0.3), 400, seed=0),
        "mini-batch of 6": Way(6, lambda: momentum(0.3), 400, seed=0),
        "stochastic": Way(1, lambda: momentum(0.3), 400, seed=0),
        "stochastic, sums kept": Way(1, lambda: momentum(0.3 / 12.5), 400, keep=True),
    }
    weighted = slope_on(x, y, np.arange(24.0, 0, -1))
    least = descended(momentum(0.3), slope_on(x, y), steps=4000)[-1]
    lopsided = descended(momentum(0.02), weighted, steps=4000)[-1]
    return {name: in_batches(way, x, y) for name, way in ways.items()}, np.array([least, lopsided])


def compare_steps(figures: Figures) -> Iterator[Row]:
    """The document's table: 1, N, N / B steps in an epoch."""
    sizes = {"batch": None, "mini-batch of 6": 6, "stochastic": 1, "stochastic, sums kept": 1}
    for n, ways in figures["steps"].items():
        for name, ours in ways.items():
            size = sizes[name]
            theirs = 1 if size is None else int(n) // size
            complaint = "" if ours == theirs else "not N / B"
            yield Row(f"{name}, N = {n}: steps per epoch", f"{theirs}", f"{ours:g}", complaint)


def compare_batches(figures: Figures) -> Iterator[Row]:
    """Descents on batches of the document's two points, and of twenty-four."""
    for name, path in two_points().items():
        yield compare_path(name, {**figures["stochastic"], **figures["both"]}[name], path)
    paths, minima = twenty_four()
    for name, path in paths.items():
        yield compare_path(f"24 points, {name}", figures["24 points"][name], path)
    yield compare_all("24 points: both minima", "number", figures["minima"], minima.ravel(), LOOSE)
    end = points_of(figures["24 points"]["stochastic, sums kept"])[-2:]
    least, lopsided = np.linalg.norm(minima - end, axis=1)
    complaint = "" if lopsided < least / 10 else "not at the weighted minimum"
    shown = f"{lopsided:.1g} from the weighted one"
    remark = "the slip: sums kept"
    yield Row("24 points, sums kept: end", "the minimum", shown, complaint, remark)


# ---- A network -----------------------------------------------------------------------------------

NETWORKS = {  # in the order of the data
    "2 points, batch": Way(2, lambda: momentum(ETA)),
    "2 points, stochastic": Way(1, lambda: momentum(ETA)),
    "2 points, momentum, stochastic": Way(1, lambda: momentum(ETA, GAMMA)),
    "2 points, Nesterov, batch": Way(2, lambda: look_ahead(ETA, GAMMA)),
    "24 points, batch": Way(24, lambda: momentum(0.3), 400),
    "24 points, mini-batch": Way(6, lambda: momentum(0.3), 400),
    "24 points, stochastic": Way(1, lambda: momentum(0.3), 400),
}


@cache
def network_path(name: str) -> Array:
    """The loop that a fit of the neuron as a network must repeat."""
    return in_batches(NETWORKS[name], *((X, Y) if name.startswith("2 ") else around()))


def compare_networks(paths: Figures, steps: Figures) -> Iterator[Row]:
    """The neuron as a network: points after its epochs, and batches of an epoch."""
    for name, way in NETWORKS.items():
        yield compare_path(f"network, {name}", paths[name], network_path(name))
        theirs = int(name.split()[0]) // way.size
        complaint = "" if steps[name] == theirs else "not N / B"
        what = f"network, {name}: steps per epoch"
        yield Row(what, f"{theirs}", f"{steps[name]:g}", complaint)


# ---- A sparse feature ----------------------------------------------------------------------------


@cache
def sparse_paths() -> tuple[dict[str, Array], Array]:
    """The rules on two weights without a bias, and AdaGrad's rates of step 60."""
    rng = np.random.default_rng(0)
    Z = np.zeros((200, 2))
    Z[:, 0] = rng.normal(size=200)
    Z[rng.choice(200, 4, replace=False), 1] = 1
    targets = sigmoid(Z @ [1.5, 1.5])

    def slope(p: Array) -> Array:
        f = sigmoid(Z @ p)
        return Z.T @ ((f - targets) * f * (1 - f))

    rules = {
        "gradient descent, η = 0.1": momentum(0.1),
        "gradient descent, η = 0.4": momentum(0.4),
        "AdaGrad, η = 1": adagrad(1.0),
    }
    start = np.array([-1.5, -1.5])
    paths = {name: descended(rule, slope, start, 500) for name, rule in rules.items()}
    squares = [slope(p) ** 2 for p in paths["AdaGrad, η = 1"][:60]]
    return paths, 1 / (np.sqrt(np.sum(squares, axis=0)) + 1e-10)


def compare_sparse(figures: Figures) -> Iterator[Row]:
    """Two weights, one of them for a feature that is nearly always 0."""
    paths, rates = sparse_paths()
    for name, path in paths.items():
        yield compare_path(f"sparse, {name}", figures["sparse"][name], path)
    ours = figures["rates"]
    yield compare_all("sparse, AdaGrad: rates at step 60", "weight", ours, rates, TOLERANCE)


def compare(figures: Figures) -> Sequence[Row]:
    """Compare what the notebook's cell tagged "figures" displays with all of these."""
    return [
        *compare_settings(figures),
        *compare_steps(figures),
        *compare_runs(figures),
        *compare_momentum(figures),
        *compare_shares(figures),
        *compare_batches(figures),
        *compare_networks(figures["network"], figures["network steps"]),
        *compare_sparse(figures),
    ]
