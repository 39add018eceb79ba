"""Document 002's optimizers and learning rates: what the notebook's fits must give.

The document prints neither data nor results. Full-batch descent on the linear model and the
schedules have closed forms; everything else is held against the same networks in plain NumPy, from
the same seeds (`network_twin`), with the formulas of Keras where the notebook takes its dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from figures import Array, Row, compare_all
from network_twin import Layer, Network, Rate, Rule, adagrad, adam, epoch_order, rmsprop, sgd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import StratifiedKFold, train_test_split
from threadpoolctl import threadpool_limits

TOLERANCE = 1e-9
FAR = 1e-6  # after thousands of steps, each of which makes a rounding error larger
STEPS = 45  # of an epoch of the digits

Figures = Mapping[str, Any]
Pair = tuple[Array, Array]
Data = tuple[Pair, Pair]  # to train on, and for validation

RULES: dict[str, Callable[[Rate], Rule]] = {
    "SGD": sgd,
    "momentum 0.9": lambda lr: sgd(lr, 0.9),
    "Adagrad": adagrad,
    "RMSprop": rmsprop,
    "Adam": lambda lr: adam(lr, keras=True),
}


# ---- Data ----------------------------------------------------------------------------------------


def split(X: Array, y: Array, classes: Array | None = None) -> Data:
    """Four fifths to train on, one for validation, as the notebook splits them."""
    parts = train_test_split(np.arange(len(y)), test_size=0.2, random_state=0, stratify=classes)
    return (X[parts[0]], y[parts[0]]), (X[parts[1]], y[parts[1]])


def standardised(data: Data) -> Data:
    """Columns of X in deviations of the rows that are trained on."""
    middle, width = data[0][0].mean(axis=0), data[0][0].std(axis=0)
    return tuple(((X - middle) / width, y) for X, y in data)  # type: ignore[return-value]


@cache
def data_of(name: str) -> Data:
    """The data sets of the notebook; y with two axes."""
    if name == "tumours":
        X, y = load_breast_cancer(return_X_y=True)
        return standardised(split(X, y[:, None].astype(float), y))
    if name == "patients":
        X, y = load_diabetes(return_X_y=True, scaled=False)
        data = standardised(split(X, y[:, None]))
        middle, width = data[0][1].mean(), data[0][1].std()
        return tuple((X, (y - middle) / width) for X, y in data)  # type: ignore[return-value]
    digits = load_digits()
    classes, hot = digits.target, np.eye(10)[digits.target]
    if name == "texts":
        words = (digits.data[:, :, None] == np.arange(17)).reshape(len(hot), -1)
        return split(words[:, words.any(axis=0)].astype(float), hot, classes)
    data = split(digits.data / 16, hot, classes)
    return data if name == "digits" else (sequences(data[0][0]), sequences(data[1][0]))


def sequences(X: Array) -> Pair:
    """Three rows of a picture, and the row after them."""
    frames = X.reshape(-1, 8, 8)
    three = [frames[:, k : k + 3].reshape(-1, 24) for k in range(5)]
    return np.concatenate(three), np.concatenate([frames[:, k + 3] for k in range(5)])


# ---- Fits ----------------------------------------------------------------------------------------


class Told:
    """What a fit in plain NumPy brings, epoch by epoch."""

    def __init__(self, network: Network, data: Data, rule: Rule, epochs: int, batch: int = 32):
        self.network, self.first = network, [p.copy() for p in network.params]
        self.curves: dict[str, list[float]] = {"loss": [], "val_loss": [], "val_accuracy": []}
        for loss in network.fit(*data[0], rule, epochs, batch):
            self.curves["loss"].append(loss)
            self.curves["val_loss"].append(network.value(*data[1]))
            self.curves["val_accuracy"].append(accuracy(network, data[1]))


def accuracy(network: Network, data: Pair) -> float:
    """Share of rows whose class is predicted."""
    predicted, y = network.predict(data[0]), data[1]
    if y.shape[1] == 1:
        return float(np.mean((predicted > 0.5) == (y == 1)))
    return float(np.mean(predicted.argmax(axis=1) == y.argmax(axis=1)))


def network_for(name: str) -> Network:
    """The notebook's network for a data set, with the weights of seed 0."""
    (X, y), _ = data_of(name)
    units = {"tumours": 16, "patients": 16, "sequences": 64}.get(name, 32)
    last, loss = {
        "tumours": ("sigmoid", "cross_entropy"),
        "patients": ("linear", "mse"),
        "sequences": ("linear", "mse"),
    }.get(name, ("softmax", "cross_entropy"))
    layers = [Layer(units, "relu"), Layer(y.shape[1], last)]
    return Network(X.shape[1], layers, loss, seed=0)


@cache
def told(name: str, rule: str, lr: float, epochs: int = 10) -> Told:
    """Such a fit at a fixed rate."""
    with np.errstate(all="ignore"):  # rates that are far too high are among them
        return Told(network_for(name), data_of(name), RULES[rule](lr), epochs)


# ---- Linear regression ---------------------------------------------------------------------------


@cache
def line(schedule: str, epochs: int, batch: int | None) -> tuple[list[float], float]:
    """Losses of a linear model's epochs at a rate of at most 0.01, and its loss at the end."""
    X, y = data_of("patients")[0]
    network = Network(10, [Layer(1)], "mse", seed=0)
    rule = sgd(rates_of(schedule, 0.01, len(X)))
    losses = list(network.fit(X, y, rule, epochs, batch))
    return losses, network.value(X, y)


def compare_linear(figures: Figures) -> Iterator[Row]:
    """The closed form of full-batch descent, and mini-batches."""
    X, y = data_of("patients")[0]
    A = np.column_stack([X, np.ones(len(X))])
    minimum = np.linalg.lstsq(A, y, rcond=None)[0]
    least = float(np.mean((A @ minimum - y) ** 2))
    curvatures, directions = np.linalg.eigh(2 * A.T @ A / len(A))
    limit = 2 / curvatures[-1]
    yield compare_all("linear: least squares", "loss", [figures["least"]], [least], 1e-12)
    yield compare_all("linear: 2 / lambda_max", "rate", [figures["limit"]], [limit], 1e-12)
    start = np.vstack([Network(10, [Layer(1)], "mse", seed=0).params[0], [[0.0]]])
    parts = (directions.T @ (start - minimum))[:, 0]
    for share, ours in figures["full batch"].items():
        shrunk = 1 - float(share) * limit * curvatures
        steps = np.arange(0, 300, 30)[:, None]
        paper = least + 0.5 * np.sum(curvatures * parts**2 * shrunk ** (2 * steps), axis=1)
        far = paper.max() * TOLERANCE
        yield compare_all(f"linear, {share} of it: loss, closed form", "step", ours, paper, far)
        grew = paper[-1] > paper[0]
        verdict = figures["verdicts"][share]
        complaint = "" if (verdict == "exploding") == grew else "the loss says otherwise"
        expected = "exploding" if grew else "not exploding"
        yield Row(f"linear, {share} of it: verdict", expected, verdict, complaint)
    for size, ours in figures["batches"].items():
        losses, end = line("fixed", 100, None if size == "None" else int(size))
        theirs = [*losses[:10], end - least]
        yield compare_all(f"linear, batch {size}: losses", "figure", ours, theirs, TOLERANCE)


# ---- The examples --------------------------------------------------------------------------------

EXAMPLES = {
    "SGD 0.01": ("digits", "SGD", 0.01),
    "momentum 0.9": ("tumours", "momentum 0.9", 0.01),
    "Adagrad": ("texts", "Adagrad", 0.001),
    "Adagrad 0.1": ("texts", "Adagrad", 0.1),
    "SGD 0.1": ("texts", "SGD", 0.1),
    "RMSprop 0.001": ("sequences", "RMSprop", 0.001),
    "Adam": ("digits", "Adam", 0.001),
}
AS_GIVEN = {"SGD": 0.01, "momentum": 0.01, "Adagrad": 0.001, "RMSprop": 0.001, "Adam": 0.001}


def compare_curves(what: str, ours: Figures, theirs: Told) -> Row:
    """All curves of a fit."""
    names = list(ours)
    mine = [number for name in names for number in ours[name]]
    known = [number for name in names for number in theirs.curves[name]]
    return compare_all(f"{what}: {', '.join(names)}", "number", mine, known, FAR)


def compare_examples(figures: Figures, regressions: Figures) -> Iterator[Row]:
    """Both lists of the document."""
    for name, ours in figures.items():
        yield compare_curves(f"{name}, {EXAMPLES[name][0]}", ours, told(*EXAMPLES[name]))
    for name, ours in regressions.items():
        rule = "momentum 0.9" if name == "momentum" else name
        theirs = told("patients", rule, AS_GIVEN[name])
        yield compare_curves(f"{name}, patients", ours, theirs)


def compare_moved(figures: Figures) -> Iterator[Row]:
    """How far the weights of rare and of frequent words have moved."""
    frequency = data_of("texts")[0][0].sum(axis=0)
    groups = ((1, 5), (6, 50), (51, 500), (501, 1500))
    means = {}
    for name, ours in figures.items():
        run = told(*EXAMPLES[name])
        moved = np.abs(run.network.params[0] - run.first[0]).mean(axis=1)
        means[name] = [moved[(frequency >= a) & (frequency <= b)].mean() for a, b in groups]
        yield compare_all(f"words, {name}: moved", "group", ours, means[name], FAR)
    ratios = np.divide(figures["Adagrad 0.1"], figures["SGD 0.1"])
    complaint = "" if np.all(np.diff(ratios) < 0) else "the ratios do not fall with frequency"
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    yield Row("words: Adagrad beside SGD, rare to frequent", "more for rare", shown, complaint)


# ---- Rates ---------------------------------------------------------------------------------------


def grid_ends(rule: str, lr: float) -> list[float]:
    """Validation loss and accuracy of the digits after ten epochs."""
    curves = told("digits", rule, lr).curves
    return [curves["val_loss"][-1], curves["val_accuracy"][-1]]


def compare_rates(figures: Figures) -> Iterator[Row]:
    """Validation losses of the five rules: curves of ten epochs, the grid, many rates.

    Rates above the best one are left out: there a run may make any rounding error large.
    """
    for key, ours in figures["compared"].items():
        name, lr = key.rsplit(", ", 1)
        theirs = told("digits", name, float(lr)).curves["val_loss"]
        yield compare_all(f"digits, {key}: validation loss", "epoch", ours, theirs, FAR)
    for name in RULES:
        row = {float(lr): figures["grid"][f"{name}, {lr}"] for lr in (0.1, 0.01, 0.001, 0.0001)}
        best = min(row, key=lambda lr: row[lr][0])
        own = {lr: ends for lr, ends in row.items() if lr <= best}
        theirs = [grid_ends(name, lr) for lr in own]
        what = f"grid, {name}: {len(own)} rates, validation"
        yield compare_all(what, "figure", list(own.values()), theirs, FAR)
    for name, curve in figures["curve"].items():
        losses = {float(lr): loss for lr, loss in curve["losses"].items()}
        own = {lr: loss for lr, loss in losses.items() if lr <= curve["best"]}
        theirs = [grid_ends(name, lr)[0] for lr in own]
        what = f"validation loss against rate, {name}: {len(own)} rates"
        yield compare_all(what, "rate", list(own.values()), theirs, FAR)


# ---- The rate finder -----------------------------------------------------------------------------


@cache
def swept(name: str) -> tuple[Array, Array, Array]:
    """Rates from 1e-7 to 10, a step each; losses before the steps; the same with first weights."""
    X, y = data_of("digits")[0]
    network, first = network_for("digits"), network_for("digits")
    key = network.rng.integers(0, 1 << 64, 2, np.uint64).tolist()
    orders = np.concatenate([epoch_order(len(X), key, epoch) for epoch in range(3)])
    lrs = 1e-7 * 10 ** (8 * np.arange(100) / 99)
    rule, losses, before = RULES[name](lambda t: float(lrs[t])), [], []
    with np.errstate(all="ignore"):
        for step in range(100):
            start = step // STEPS * len(X) + step % STEPS * 32
            rows = orders[start : min(start + 32, (step // STEPS + 1) * len(X))]
            value, grads = network.value_and_grad(X[rows], y[rows])
            losses.append(value)
            before.append(first.value(X[rows], y[rows]))
            rule(network.params, grads, step)
    return lrs, np.array(losses), np.array(before)


def suggested(lrs: Array, losses: Array, before: Array) -> dict[str, float]:
    """The three rules, on the average of what steps have changed, with 0.8 of the past.

    They look no farther than the lowest loss. Behind it log(0) may stand in `losses`, where gdcore
    takes the cross-entropy from what softmax is given and has a number.
    """
    level, place = before.mean(), np.log10(lrs)
    changed = np.nan_to_num(losses - before, nan=1e6, posinf=1e6)
    weights = np.tril(0.8 ** np.maximum(np.subtract.outer(np.arange(len(lrs)), range(len(lrs))), 0))
    smoothed = level + weights @ changed / weights.sum(axis=1)
    lowest = int(np.argmin(smoothed))
    near = [np.abs(place - place[k]) <= 0.5 for k in range(lowest + 1)]
    slopes = [np.polyfit(place[own], smoothed[own], 1)[0] for own in near]
    begun = np.flatnonzero(smoothed[:lowest] >= level - 0.1 * (level - smoothed[lowest]))[-1]
    return {
        "steepest": float(lrs[np.argmin(slopes)]),
        "valley": float(np.sqrt(lrs[begun] * lrs[lowest])),
        "minimum_tenth": float(lrs[lowest] / 10),
    }


def compare_finder(figures: Figures) -> Iterator[Row]:
    """Losses of the sweeps as far as they fall, and what the rules say of them."""
    for name, ours in figures.items():
        count, losses = ours["count"], ours["losses"]
        lrs, *theirs = (column[:count] for column in swept(name))
        known = theirs[0][: 6 * len(losses) : 6]
        yield compare_all(f"rate finder, {name}: losses", "loss", losses, known, FAR)
        for rule, rate in suggested(lrs, *theirs).items():
            what, told = f"rate finder, {name}: {rule}", ours["suggestions"][rule]
            yield compare_all(what, "rate", [told], [rate], FAR * rate)


@cache
def folded(lr: float) -> Array:
    """Loss and accuracy of the five folds with momentum 0.9."""
    X, y = data_of("digits")[0]
    found = []
    for train, held_out in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y.argmax(1)):
        network = network_for("digits")
        list(network.fit(X[train], y[train], sgd(lr, 0.9), 10))
        own = X[held_out], y[held_out]
        found.append([network.value(*own), accuracy(network, own)])
    return np.array(found)


def compare_folds(figures: Figures) -> Iterator[Row]:
    """Five folds at the best rate."""
    what = "five folds, 0.03: loss and accuracy"
    yield compare_all(what, "figure", figures["0.03"], folded(0.03), FAR)


# ---- Rates that change ---------------------------------------------------------------------------


def cyclic(low: float, high: float, up: int) -> Callable[[int], float]:
    """Straight up in so many steps, and down in as many."""
    return lambda t: low + (high - low) * (1 - abs(t % (2 * up) / up - 1))


def rates_of(kind: str, first: float, steps: int) -> Callable[[int], float]:
    """The rate after t steps; `first` is the highest."""
    slower = 0.5 if first == 0.1 else 1.0
    low, high = (0.001, 0.2) if first == 0.1 else (1e-4, 0.01)
    kinds: dict[str, Callable[[int], float]] = {
        "fixed": lambda t: first,
        "step": lambda t: first * 0.1 ** (t // steps // 10),
        "exponential": lambda t: first * 0.9 ** (t // steps),
        "1/t": lambda t: first / (1 + slower * (t // steps)),
        "cyclical": cyclic(low, high, 2 * steps),
    }
    return kinds[kind]


@cache
def changing_digits(kind: str) -> dict[str, list[float]]:
    """Curves of thirty epochs with momentum 0.9."""
    rate = rates_of(kind, 0.1, STEPS)
    return Told(network_for("digits"), data_of("digits"), sgd(rate, 0.9), 30).curves


def kind_of(name: str) -> str:
    """The first word of a schedule's name."""
    return name.split(":")[0].split(" ")[0]


def compare_schedules(figures: Figures, on_digits: Figures) -> Iterator[Row]:
    """Rates by their formulas, and the losses that they lead to."""
    rows = len(data_of("patients")[0][0])
    for name, ours in figures.items():
        rate = rates_of(kind_of(name), 0.01, rows)
        formula = [rate((epoch + 1) * rows - 1) for epoch in range(50)]
        yield compare_all(f"{name}: rates", "epoch", ours["rates"], formula, 1e-12)
        theirs = line(kind_of(name), 10, 1)[0]
        yield compare_all(f"{name}: losses", "epoch", ours["losses"], theirs, TOLERANCE)
    for name, ours in on_digits.items():
        if kind_of(name) not in ("exponential", "1/t", "cyclical"):
            continue
        curves = changing_digits(kind_of(name))
        keys = ("loss", "val_loss", "val_accuracy")
        mine, known = [ours[key] for key in keys], [curves[key][-1] for key in keys]
        yield compare_all(f"digits, {name}: end", "figure", mine, known, FAR)


@cache
def escaped(peak: str) -> float:
    """Share of 1,000 random starts that end in a lowest valley of cos(2 pi x) + x^2."""
    x = np.random.default_rng(0).uniform(-2, 2, 1000)
    cycle = cyclic(0.01, 0.0 if peak == "once" else float(peak), 25)
    for t in range(500):
        lr = 0.2 * 0.98**t if peak == "once" else cycle(t)
        x = x - lr * (2 * x - 2 * np.pi * np.sin(2 * np.pi * x))
    return float(np.mean(np.abs(x) < 1))


def compare_escapes(figures: Figures) -> Iterator[Row]:
    """Descents from random starts; high peaks make rounding decide where some of them land."""
    for peak, ours in figures.items():
        what = "valleys, exponential from 0.2" if peak == "once" else f"valleys, up to {peak}"
        yield compare_all(f"{what}: lowest", "share", [ours], [escaped(peak)], 0.01)


def compare_callbacks(figures: Figures) -> Iterator[Row]:
    """Rates that callbacks set: halved every fifth epoch, and when nothing has got better twice."""
    halved = [0.2 / 2 ** (epoch // 5) for epoch in range(15)]
    ours = figures["LearningRateScheduler"]["rates"]
    yield compare_all("LearningRateScheduler: rates", "epoch", ours, halved, 1e-15)
    plateau = figures["ReduceLROnPlateau"]
    rate, best, wait, known = 0.2, np.inf, 0, []
    for loss in plateau["val_loss"]:
        known.append(rate)
        better = loss < best - 1e-4
        best, wait = (loss, 0) if better else (best, wait + 1)
        if wait == 2:
            rate, wait = rate / 2, 0
    yield compare_all("ReduceLROnPlateau: rates", "epoch", plateau["rates"], known, 1e-15)


# ---- Early stopping ------------------------------------------------------------------------------


@cache
def wide(lr: float, epochs: int) -> list[float]:
    """Validation losses of the network with 64 units."""
    data = data_of("patients")
    network = Network(10, [Layer(64, "relu"), Layer(1)], "mse", seed=0)
    return Told(network, data, adam(lr), epochs).curves["val_loss"]


def compare_early(figures: Figures) -> Iterator[Row]:
    """Validation losses, and where ten epochs in a row have not been better than the best."""
    for lr, ours in figures.items():
        epochs = len(ours["val_loss"])
        losses = wide(float(lr), epochs)
        yield compare_all(f"early, {lr}: validation loss", "epoch", ours["val_loss"], losses, FAR)
        last = next(k for k in range(epochs) if int(np.argmin(losses[: k + 1])) <= k - 10)
        theirs = [last + 1, min(losses[: last + 1])]
        what = f"early, {lr}: stopped after, kept"
        yield compare_all(what, "figure", ours["stopped"], theirs, FAR)


def compare(figures: Figures) -> Sequence[Row]:
    """Compare what the notebook's cell tagged "figures" displays with all of these."""
    with threadpool_limits(1):  # products this small are slower on two threads
        return [
            *compare_linear(figures["linear"]),
            *compare_examples(figures["examples"], figures["mean squared error"]),
            *compare_moved(figures["moved"]),
            *compare_rates(figures),
            *compare_finder(figures["finder"]),
            *compare_folds(figures["folds"]),
            *compare_schedules(figures["schedules"], figures["digit schedules"]),
            *compare_escapes(figures["escaped"]),
            *compare_callbacks(figures["callbacks"]),
            *compare_early(figures["early"]),
        ]
