"""Document 001 on networks: its table of errors, and what the notebook's networks must give.

The document prints four predictions with their errors and two formulas, whose values are held here.
Of its networks it prints nothing: the notebook's are held against closed forms, least squares, and
the same networks in plain NumPy, from the same seeds (`network_twin`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
from figures import Array, Row, compare_all
from network_twin import Layer, Network, activated, adam, first_weights, sgd, slope
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

TOLERANCE = 1e-9
FAR = 1e-6  # after thousands of steps, each of which makes a rounding error larger
LEAST_SQUARES = 1e-6  # distance of Adam's end from the minimum

Figures = Mapping[str, Any]
Pair = tuple[Array, Array]

EXAM = np.array([[5.0, 6.0], [10.0, 7.0], [7.0, 5.0]])
PASSED = np.array([[1.0], [1.0], [0.0]])


def same(what: str, ours: Sequence[Any], theirs: Sequence[Any]) -> Row:
    """Compare figures that must be equal."""
    complaint = "" if list(ours) == list(theirs) else "not equal"
    return Row(what, str(list(theirs)), str(list(ours)), complaint)


# ---- The table of errors -------------------------------------------------------------------------


def compare_table(table: Figures) -> Iterator[Row]:
    """What the document prints, and the two cross-entropies."""
    q, p = np.array([0.9, 0.2, 0.1, 0.51]), np.array([1.0, 0.0, 1.0, 0.0])
    printed = [-0.1, 0.2, -0.9, 0.51]
    yield compare_all("table: error", "sample", table["error"], printed, 1e-12)
    yield same("table: binarised error", table["binarised"], [0, 0, 1, 1])
    yield compare_all("table: MSE", "value", [table["mse"]], [0.280025], 1e-12)
    half, whole = -np.mean(p * np.log(q)), -np.mean(p * np.log(q) + (1 - p) * np.log(1 - q))
    row = compare_all("table: −(1/n) Σ p log q", "value", [table["as printed"]], [half], 1e-12)
    yield row._replace(remark="the formula has half of the loss")
    for name in ("binary", "two classes"):
        what = f"table: cross-entropy, {name}"
        yield compare_all(what, "value", [table[name]], [whole], 1e-12)


# ---- Three students, and a class of them ---------------------------------------------------------


@cache
def exam_run(bias: bool) -> list[float]:
    """Losses of the full batch before every 250th step, and the weights at the end."""
    network = Network(2, [Layer(1, "sigmoid", bias)], "cross_entropy", seed=0)
    losses = list(network.fit(EXAM, PASSED, sgd(0.1), epochs=5000, batch=None))
    return [*losses[::250], *(number for p in network.params for number in p.ravel())]


def compare_exam(exam: Figures) -> Iterator[Row]:
    """The document's three students."""
    yield compare_all("three students: z", "student", exam["z"], [4, 1, 0], 0)
    for name, run in exam["runs"].items():
        what = f"three students, {name}: losses, weights"
        yield compare_all(what, "figure", run, exam_run(name == "with bias"), TOLERANCE)
    # Without a bias the minimum is where the gradient is zero: a point that Newton's method finds.
    w = np.zeros((2, 1))
    for _ in range(30):
        q = 1 / (1 + np.exp(-EXAM @ w))
        w -= np.linalg.solve(EXAM.T @ (EXAM * q * (1 - q)), EXAM.T @ (q - PASSED))
    ours = np.reshape(exam["runs"]["without bias"][-2:], (2, 1))
    yield compare_all("three students, without bias: minimum", "weight", ours, w, 1e-4)


def students(n: int, seed: int) -> Pair:
    """Hours and scores of the notebook's class."""
    rng = np.random.default_rng(seed)
    hours = np.column_stack([rng.uniform(0, 12, n), rng.uniform(3, 11, n)])
    noise = rng.normal(0, 5, n)
    return hours, 30 + 5 * hours[:, 0] - 3 * (hours[:, 1] - 7.5) ** 2 + noise


@cache
def classes() -> tuple[Array, ...]:
    """Hours, in deviations, and scores: 300 students, 1,000 for the test, 200 for validation."""
    groups = [students(300, 0), students(1000, 1), students(200, 2)]
    middle, width = groups[0][0].mean(axis=0), groups[0][0].std(axis=0)
    return tuple(
        part for hours, score in groups for part in ((hours - middle) / width, score[:, None])
    )


def passes(score: Array) -> Array:
    """1 for a score of 50 and more."""
    return np.asarray(score >= 50, dtype=float)


def p_log_q(y: Array, a: Array) -> tuple[float, Array]:
    """The document's formula for the chance of class 1, and its gradient before the sigmoid."""
    return float(-np.mean(y * np.log(a))), -y * (1 - a) / len(y)


@cache
def class_run(name: str) -> list[float]:
    """Loss of every 30th epoch, then loss and accuracy or R² on the test."""
    X, score, X_new, score_new, *_ = classes()
    hidden = [Layer(8, "tanh")] if name in ("curve", "surface") else []
    discrete = name not in ("plane", "surface")
    last = Layer(1, "sigmoid") if discrete else Layer(1)
    network = Network(2, [*hidden, last], "cross_entropy" if discrete else "mse", seed=0)
    if name == "blind":
        network.loss = p_log_q
    y, y_new = (passes(score), passes(score_new)) if discrete else (score, score_new)
    losses = list(network.fit(X, y, adam(0.01 if discrete else 0.1), epochs=300))
    predicted = network.predict(X_new)
    judged = np.mean((predicted > 0.5) == (y_new == 1)) if discrete else r2(y_new, predicted)
    return [*losses[::30], network.value(X_new, y_new), float(judged)]


def r2(y: Array, predicted: Array) -> float:
    """Share of the variance."""
    return float(1 - np.mean((y - predicted) ** 2) / np.var(y))


def compare_class(figures: Figures) -> Iterator[Row]:
    """The perceptrons and the networks of the class."""
    for name, run in figures.items():
        yield compare_all(f"class, {name}: losses, test", "figure", run, class_run(name), FAR)


# ---- Slopes and backpropagation ------------------------------------------------------------------


def compare_slopes(figures: Figures) -> Iterator[Row]:
    """Derivatives of the activations, on paper, where z = -4, -3, ..., 4."""
    z = np.arange(-4.0, 5.0)
    s, right = 1 / (1 + np.exp(-z)), z > 0
    paper = {
        "sigmoid": s * (1 - s),
        "tanh": 1 / np.cosh(z) ** 2,
        "softsign": 1 / (1 + np.abs(z)) ** 2,
        "softplus": s,
        "relu": 1.0 * right,
        "leaky_relu": np.where(right, 1, 0.01),
        "elu": np.where(right, 1, np.exp(z)),
        "silu": s * (1 + z * (1 - s)),
    }
    for name, slopes in figures.items():
        yield compare_all(f"{name}: derivative", "point", slopes, paper[name], 1e-12)


def compare_backpropagation(figures: Figures) -> Iterator[Row]:
    """The pass by hand, and the loop."""
    X = (EXAM - EXAM.mean(axis=0)) / EXAM.std(axis=0)
    layers = [Layer(2, "tanh"), Layer(1, "sigmoid")]
    network = Network(2, layers, "cross_entropy", seed=0)
    W1, b1 = np.array([[0.5, -1.0], [1.0, 0.5]]), np.array([0.1, -0.2])
    W2, b2 = np.array([[1.0], [-1.5]]), np.array([0.3])
    network.params = [W1, b1, W2, b2]
    z1 = X @ W1 + b1
    z2 = np.tanh(z1) @ W2 + b2
    delta2 = (activated("sigmoid", z2) - PASSED) / 3
    delta1 = delta2 @ W2.T * slope("tanh", np.tanh(z1))
    gradient = network.value_and_grad(X, PASSED)[1]
    moves = [array for g in gradient for array in (g, -0.5 * g)]
    dy = delta2 / slope("sigmoid", activated("sigmoid", z2))
    told = (z1, np.tanh(z1), z2, activated("sigmoid", z2), dy, delta2, delta1, *moves)
    known = {
        "forward": (z1, z2),
        "delta": (delta1, delta2),
        "gradient": gradient,
        "explained": told,
    }
    for name, arrays in known.items():
        theirs = np.concatenate([a.ravel() for a in arrays])
        yield compare_all(f"backpropagation: {name}", "number", figures[name], theirs, 1e-12)
    rule, costs = sgd(0.5), []
    for step in range(60):
        rule(network.params, network.value_and_grad(X, PASSED)[1], step)
        costs.append(network.value(X, PASSED))
    yield compare_all("backpropagation: costs", "cost", figures["costs"], costs[::10], 1e-12)
    end = np.concatenate([p.ravel() for p in network.params])
    yield compare_all("backpropagation: end", "parameter", figures["end"], end, 1e-12)


# ---- Patients and digits -------------------------------------------------------------------------


def three_parts(X: Array, y: Array, test: int, validation: int, by_class: bool) -> dict[str, Pair]:
    """Rows of training, validation and test, as the notebook splits them."""
    found, left = {}, np.arange(len(y))
    for name, size in (("test", test), ("validation", validation)):
        evenly = y[left] if by_class else None
        left, own = train_test_split(left, test_size=size, random_state=0, stratify=evenly)
        found[name] = X[own], y[own]
    return {"train": (X[left], y[left]), **found}


@cache
def patients() -> dict[str, Pair]:
    """The diabetes data, in the deviations of what is not the test; y as a column."""
    data = load_diabetes(scaled=False)
    parts = three_parts(data.data, data.target[:, None], 142, 75, by_class=False)
    parts["known"] = tuple(  # type: ignore[assignment]
        np.concatenate([parts[name][k] for name in ("train", "validation")]) for k in (0, 1)
    )
    (middle, level), (scale, spread) = (
        [measure(array, axis=0) for array in parts["known"]] for measure in (np.mean, np.std)
    )
    return {name: ((X - middle) / scale, (y - level) / spread) for name, (X, y) in parts.items()}


@cache
def digits() -> dict[str, Pair]:
    """The digits; y as one-hot rows."""
    data = load_digits()
    parts = three_parts(data.data / 16, data.target, 450, 300, by_class=True)
    return {name: (X, np.eye(10)[y]) for name, (X, y) in parts.items()}


def stopped_early(
    network: Network, parts: Mapping[str, Pair], lr: float, patience: int, epochs: int
) -> tuple[list[float], int]:
    """Fit with Adam until the validation loss has not got better; losses, and the best epoch."""
    losses: list[float] = []
    best, kept = 0, [p.copy() for p in network.params]
    for _ in islice(network.fit(*parts["train"], adam(lr), epochs), epochs):
        losses.append(network.value(*parts["validation"]))
        if losses[-1] < losses[best] or len(losses) == 1:
            best, kept = len(losses) - 1, [p.copy() for p in network.params]
        if len(losses) - 1 - best >= patience:
            break
    network.params = kept
    return losses, best


@cache
def patients_run() -> list[float]:
    """Validation losses, the best epoch, R² on the test."""
    parts = patients()
    network = Network(10, [Layer(16, "relu"), Layer(1)], "mse", seed=0)
    losses, best = stopped_early(network, parts, 1e-3, patience=20, epochs=300)
    return [*losses[::10], best, r2(parts["test"][1], network.predict(parts["test"][0]))]


def compare_patients(figures: Figures) -> Iterator[Row]:
    """Linear models are those of least squares; the network, that of plain NumPy."""
    X, y = patients()["known"]
    columns = {"bmi alone": [2], "bmi, s5, bp": [2, 8, 3], "all ten": [*range(10)]}
    for name, ours in figures["linear"].items():
        A = np.column_stack([X[:, columns[name]], np.ones(len(X))])
        theirs = np.linalg.lstsq(A, y, rcond=None)[0]
        what = f"diabetes, {name}: least squares"
        yield compare_all(what, "weight", ours, theirs[:, 0], LEAST_SQUARES)
    what = "diabetes, network: validation losses, best epoch, R²"
    yield compare_all(what, "figure", figures["network"], patients_run(), FAR)


@cache
def digits_run(units: tuple[int, ...], seed: int) -> tuple[list[float], list[float], list[float]]:
    """Validation losses; loss and accuracy of validation and of test."""
    parts = digits()
    layers = [*(Layer(n, "relu") for n in units), Layer(10, "softmax")]
    network = Network(64, layers, "cross_entropy", seed)
    losses, _ = stopped_early(network, parts, 3e-3, patience=10, epochs=100)
    judged = []
    for name in ("validation", "test"):
        X, y = parts[name]
        right = network.predict(X).argmax(axis=1) == y.argmax(axis=1)
        judged.append([network.value(X, y), float(np.mean(right))])
    return losses, *judged


def compare_digits(figures: Figures, by_seed: Sequence[Sequence[float]]) -> Iterator[Row]:
    """The three networks, and seeds of one of them."""
    nets = {"ten perceptrons": (), "one hidden layer of 64": (64,), "two of 64": (64, 64)}
    for name, ours in figures.items():
        losses, _, test = digits_run(nets[name], 0)
        what = f"digits, {name}: validation losses, test"
        yield compare_all(what, "figure", ours, [*losses[::5], *test], FAR)
    for seed, ours in enumerate(by_seed):
        _, validation, test = digits_run((64,), seed)
        what = f"digits, seed {seed}: validation and test"
        yield compare_all(what, "figure", ours, [*validation, *test], FAR)


# ---- Many seeds ----------------------------------------------------------------------------------


@cache
def xor_losses(units: int, seeds: int) -> Array:
    """The loss before the last of 1,000 steps of Adam, for all seeds at once."""
    X, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
    layers = [Layer(units, "tanh"), Layer(1, "sigmoid")]
    drawn = [first_weights(2, layers, np.random.default_rng(seed)) for seed in range(seeds)]
    W1, b1, W2, b2 = params = [np.stack(arrays) for arrays in zip(*drawn, strict=True)]
    rule = adam(0.05)
    for step in range(1000):
        a = np.tanh(X @ W1 + b1[:, None])
        q = activated("sigmoid", a @ W2 + b2[:, None])
        delta2 = (q - y) / 4
        delta1 = delta2 @ W2.swapaxes(1, 2) * (1 - a**2)
        grads = [X.T @ delta1, delta1.sum(axis=1), a.swapaxes(1, 2) @ delta2, delta2.sum(axis=1)]
        rule(params, grads, step)
    return np.asarray(-np.mean(np.log(np.where(y == 1, q, 1 - q)), axis=(1, 2)))


def compare_xor(losses: Figures, solved: Figures) -> Iterator[Row]:
    """Ends of the first seeds, the share of all that solve it, the levels where others stay."""
    levels = np.array([np.log(2) / 2, 0.75 * np.log(3) - np.log(2) / 2])
    for units, ours in losses.items():
        theirs = xor_losses(int(units), 200)
        what = f"XOR, {units} units: losses at the end"
        yield compare_all(what, "seed", ours, theirs[: len(ours)], FAR)
        what = f"XOR, {units} units: share that solves it"
        yield compare_all(what, "share", [solved[units]], [np.mean(theirs < 0.05)], 1e-12)
        stuck = np.array([loss for loss in ours if loss > 0.05])
        if stuck.size:
            nearest = levels[np.abs(stuck[:, None] - levels).argmin(axis=1)]
            what = f"XOR, {units} units: levels, on paper"
            yield compare_all(what, "stuck seed", stuck, nearest, 5e-3)


@cache
def two_units(seed: int) -> tuple[float, float]:
    """Validation loss and test accuracy of the class's network with two relu units."""
    X, score, X_new, score_new, X_val, score_val = classes()
    network = Network(2, [Layer(2, "relu"), Layer(1, "sigmoid")], "cross_entropy", seed)
    list(network.fit(X, passes(score), adam(0.01), epochs=200))
    right = (network.predict(X_new) > 0.5) == (passes(score_new) == 1)
    return network.value(X_val, passes(score_val)), float(np.mean(right))


def compare_seeds(figures: Figures) -> Iterator[Row]:
    """The first tries of the class with two units."""
    theirs = np.array([two_units(seed) for seed in range(len(figures["test"]))])
    for name, column in zip(("validation", "test"), theirs.T, strict=True):
        yield compare_all(f"two relu units: {name}", "seed", figures[name], column, FAR)


def compare(figures: Figures) -> Sequence[Row]:
    """Compare what the notebook's cell tagged "figures" displays with all of these."""
    with threadpool_limits(1):  # products this small are slower on two threads
        return [
            *compare_table(figures["table"]),
            *compare_exam(figures["exam"]),
            *compare_class(figures["class"]),
            *compare_slopes(figures["slopes"]),
            *compare_backpropagation(figures["backpropagation"]),
            *compare_patients(figures["diabetes"]),
            *compare_digits(figures["digits"], figures["digit seeds"]),
            *compare_xor(figures["xor"], figures["xor solved"]),
            *compare_seeds(figures["seeds"]),
        ]
