"""Document 003's printed digits beside those of its notebook, and what the rest must obey.

The document prints the shortest decimals that tell its float32 numbers apart, so each stands for
one float32 exactly. Ours may be that one or its neighbour: in which order JAX adds up the six
squares is not known. What it does not print is held against closed forms and plain NumPy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures import Array, Row, compare_all
from figures_000 import Plane

import gdcore as gd

NEIGHBOURS = 1  # float32 steps that a figure may be off by
TOLERANCE = 1e-5  # of a float32 path beside one in float64
AT_REST = 1e-3  # distance to least squares of a run that has come to rest

Figures = Mapping[str, Any]


def read_document() -> Figures:
    """The digits that the document prints, as text."""
    found: Figures = json.loads(Path(__file__).with_name("document_003.json").read_text())
    return found


def plane_of(x: Array, y: Array) -> Plane:
    """The closed form of descent on half the mean square; the mean square takes twice the rate."""
    return Plane(x.astype(float), y.astype(float))


def float32_steps(text: str, number: float) -> int:
    """How many float32 lie between a printed number and ours, both positive, counting one end."""
    ours, theirs = (int(np.float32(value).view(np.int32)) for value in (number, text))
    return abs(ours - theirs)


def compare_printed(loop: Figures, iterations: Figures) -> Iterator[Row]:
    """Every number of the first and last three iterations."""
    weights, losses = loop["weights"], loop["losses"]
    for iteration, told in iterations.items():
        k = int(iteration) - 1
        ours = {"W_old": weights[k], "W_new": weights[k + 1], "loss": losses[k]}
        for name, text in told.items():
            steps = float32_steps(text, ours[name])
            complaint = "" if steps <= NEIGHBOURS else f"{steps} float32 steps apart"
            remark = "agrees, the neighbouring float32" if steps else "agrees to the last digit"
            shown = str(np.float32(ours[name]))
            yield Row(f"iteration {iteration}: {name}", text, shown, complaint, remark)


def compare_loop(figures: Figures) -> Iterator[Row]:
    """The loop beside the closed form, and `gd.minimize` beside the loop."""
    loop, lr, mean_square = figures["loop"], 0.01, 31 / 6
    k = np.arange(len(loop["weights"]))
    paper = 2 + 6 * (1 - 2 * lr * mean_square) ** k
    yield compare_all("weights, closed form", "step", loop["weights"], paper, TOLERANCE)
    same = figures["minimize"] == loop
    complaint = "" if same else "not the same bits"
    yield Row("gd.minimize: weights and losses", "the loop's", "the same bits", complaint)
    third = mean_square * (paper[3] - 2) ** 2
    ours = figures["after three steps"]
    complaint = "" if abs(ours - third) < 1e-4 else f"the closed form is {third:.7g}"
    remark = "the document's is that of the weight before"
    yield Row("loss after three steps", "120.23", f"{ours:.2f}", complaint, remark)


def compare_points(found: Figures, said: Figures) -> Iterator[Row]:
    """The point that the document writes, and the one that it must mean."""
    written = said["written"]
    for name, expected in (("(2, -1)", 0.0), ("(2, 1)", 4.0), ("(8, -1)", 186.0)):
        ours = found[name]
        told = said["loss"] if name == written else f"{expected:g}"
        complaint = "" if ours == expected else f"it is {expected:g}"
        remark = "the point does not hold" if name == written else "agrees"
        yield Row(f"loss at {name}", told, f"{ours:g}", complaint, remark)


def compare_both(figures: Figures, plane: Plane) -> Iterator[Row]:
    """Weight and bias together, beside the closed form."""
    curvature = 2 * (plane.eigenvectors * plane.eigenvalues) @ plane.eigenvectors.T
    what = "second derivatives, closed form"
    yield compare_all(what, "entry", figures["curvature"], curvature, 1e-12)
    for lr, path in figures["runs"].items():
        start = np.array(path[0])
        paper = [plane.point(2 * float(lr), start, 20 * k) for k in range(len(path))]
        what = f"W and b at lr {lr}, closed form"
        yield compare_all(what, "coordinate", path, paper, TOLERANCE)


def batch_twin(x: Array, y: Array, run: Figures) -> Array:
    """Descent on random batches in plain NumPy, in float64."""
    rng, lr = np.random.default_rng(0), run["lr"]
    W, b = run["path"][0]
    points = [(W, b)]
    for _ in range(run["epochs"]):
        for rows in np.split(rng.permutation(len(x)), len(x) // run["size"]):
            error = W * x[rows] + b - y[rows]
            W, b = W - 2 * lr * np.mean(error * x[rows]), b - 2 * lr * np.mean(error)
            points.append((W, b))
    return np.array(points)


def compare_batches(figures: Figures, x: Array, y: Array) -> Iterator[Row]:
    """Batch, mini-batch and stochastic descent: steps per epoch, and every fourth point."""
    for name, run in figures.items():
        expected = len(x) // run["size"]
        per_epoch = run["steps"] / run["epochs"]
        complaint = "" if per_epoch == expected else "N / B is right"
        yield Row(f"{name}: steps per epoch", f"{expected}", f"{per_epoch:g}", complaint)
        twin = batch_twin(x, y, run)[::4]
        what = f"{name}: path, plain NumPy"
        yield compare_all(what, "coordinate", run["path"], twin, TOLERANCE)


def compare_noise(figures: Figures) -> Iterator[Row]:
    """The noisy line: what has come to rest stands at the least squares."""
    data = gd.datasets.noisy_line(n=60, noise=0.5, seed=1, dtype=np.float32)
    least_squares = plane_of(data.X, data.y).minimum
    at_rest = figures["batch, lr 0.1"]
    yield compare_all("noisy line, batch", "coordinate", at_rest, least_squares, AT_REST)
    distance = {name: np.linalg.norm(end - least_squares) for name, end in figures.items()}
    fixed, falling = (distance[f"stochastic, lr {rate}"] for rate in ("0.1", "falling from 0.1"))
    complaint = "" if falling < fixed / 10 else "not ten times nearer"
    shown = f"{falling:.1e} beside {fixed:.1e}"
    yield Row("noisy line, stochastic: falling rate", "nearer", shown, complaint)


def compare(figures: Figures) -> Sequence[Row]:
    """Compare what the notebook's cell tagged "figures" displays with the document."""
    said = read_document()
    X, y = gd.datasets.toy_line()
    plane = plane_of(X, y)
    return [
        *compare_printed(figures["loop"], said["iterations"]),
        *compare_loop(figures),
        *compare_points(figures["losses at"], said["point"]),
        *compare_both(figures["both"], plane),
        *compare_batches(figures["batches"], X[:, 0], y[:, 0]),
        *compare_noise(figures["noise"]),
    ]
