"""The figures of document 000 beside gdcore's, and beside the closed form of gradient descent.

The document's data are unseeded, so its losses cannot be met digit by digit. What must agree: the
ratio of each loss to the one before (3 %), and every loss with the closed form for the data that
were generated (1e-9): L* + n sum_i lambda_i c_i^2 (1 - lr lambda_i)^(2k) after k steps, with the
spectrum lambda of A^T A / n, A the inputs with a column of ones, and c = w0 - w* in its
eigenvectors.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import gdcore as gd

DOCUMENT = json.loads(Path(__file__).with_name("document_000.json").read_text())["runs"]
RATIO_TOLERANCE = 0.03
CLOSED_FORM_TOLERANCE = 1e-9
LARGEST = 1e300


@dataclass(frozen=True)
class Row:
    """One line of the printed table."""

    what: str
    document: str
    ours: str
    agrees: bool
    remark: str = ""

    @property
    def verdict(self):
        return (
            self.remark if self.agrees and self.remark else "agrees" if self.agrees else "DISAGREES"
        )


class Plane:
    """The quadratic that the notebook's data define, and gradient descent on it in closed form."""

    def __init__(self, X, y):
        self.n = len(X)
        A = np.column_stack([X, np.ones(self.n)])
        self.spectrum, self.vectors = np.linalg.eigh(A.T @ A / self.n)
        self.best = np.linalg.lstsq(A, y, rcond=None)[0].ravel()
        residual = y.ravel() - A @ self.best
        self.least = float(residual @ residual)

    def losses(self, lr, start, steps):
        """Sum of squares after 0, 1, ... steps - 1 steps."""
        c = self.vectors.T @ (start - self.best)
        k = np.arange(steps)[:, None]
        with np.errstate(over="ignore"):
            powers = (1 - lr * self.spectrum) ** (2 * k)
            return self.least + self.n * (self.spectrum * c**2 * powers).sum(axis=1)

    def point(self, lr, start, steps):
        """Weights and bias after so many steps."""
        c = self.vectors.T @ (start - self.best)
        return self.best + self.vectors @ (c * (1 - lr * self.spectrum) ** steps)


def first_overflow(losses):
    """Number of the first iteration, from 1, whose loss is not finite; 0 where all are."""
    bad = np.flatnonzero(~np.isfinite(losses))
    return int(bad[0]) + 1 if bad.size else 0


def compare_ratios(name, ours):
    """How the loss changes from iteration to iteration, where the document prints it."""
    printed = np.array(DOCUMENT[name]["losses"])
    theirs, mine = printed[1:] / printed[:-1], ours[1 : len(printed)] / ours[: len(printed) - 1]
    worst = float(np.abs(mine / theirs - 1).max())
    return Row(
        f"lr {name}: loss ratio at iteration {len(printed)}",
        f"{theirs[-1]:.6g}",
        f"{mine[-1]:.6g}",
        worst <= RATIO_TOLERANCE,
        f"agrees, all {len(theirs)} within {worst:.2%}",
    )


def compare_closed_form(name, plane, run, ours):
    """Every loss below 1e300, against the formula."""
    expected = plane.losses(run["lr"], np.array(run["start"]), len(ours))
    known = expected < LARGEST
    # A loss that is not finite where the formula is below 1e300 is infinitely wrong.
    error = np.abs(np.where(np.isfinite(ours), ours, np.inf)[known] / expected[known] - 1)
    worst = float(error.max())
    return Row(
        f"lr {name}: {known.sum()} losses against the closed form",
        "-",
        f"{worst:.2e} relative",
        worst <= CLOSED_FORM_TOLERANCE,
    )


def compare_overflow(name, plane, run, ours):
    """The iteration at which the loss leaves the range of a double."""
    expected = first_overflow(plane.losses(run["lr"], np.array(run["start"]), len(ours)))
    told = {0: "none in 100"}
    return Row(
        f"lr {name}: overflow at iteration, closed form",
        told.get(expected, str(expected)),
        told.get(first_overflow(ours), str(first_overflow(ours))),
        first_overflow(ours) == expected,
    )


def compare_bias(name, plane, run, ours):
    """Where the bias stands at the end of a run that does not explode."""
    expected = plane.point(run["lr"], np.array(run["start"]), len(ours))[-1]
    return Row(
        f"lr {name}: bias after {len(ours)} steps, closed form",
        f"{expected:.6g}",
        f"{run['bias']:.6g}",
        abs(run["bias"] - expected) <= 1e-9 * abs(plane.best[-1]),
        "agrees; the true bias is 6",
    )


def judge_label(name, plane, run, ours):
    """The document's word for the run, beside what the figures say."""
    label = DOCUMENT[name]["label"]
    if ours[20] > ours[0]:
        found = "exploding"
    elif (1 - run["lr"] * plane.spectrum[0]) ** len(ours) > 0.9:
        found = "too slow"
    else:
        found = "converging"
    remark = "holds" if found == label else "the label does not hold"
    return Row(f"lr {name}: label", label, found, True, remark)


def compare(figures):
    """All rows for the figures that the notebook hands over."""
    data = gd.datasets.noisy_plane(n=100_000, seed=figures["seed"])
    plane = Plane(data.X, data.y)
    missing = set(DOCUMENT) ^ set(figures["runs"])
    rows = (
        [Row(f"runs that only one side has: {sorted(missing)}", "", "", False)] if missing else []
    )
    for name in sorted(set(DOCUMENT) - missing, key=lambda name: -float(name)):
        run = figures["runs"][name]
        ours = np.array([float(value) for value in run["losses"]])
        with np.errstate(over="ignore", invalid="ignore"):
            rows.append(compare_ratios(name, ours))
        rows.append(compare_closed_form(name, plane, run, ours))
        rows.append(compare_overflow(name, plane, run, ours))
        if ours[-1] < ours[0]:
            rows.append(compare_bias(name, plane, run, ours))
        rows.append(judge_label(name, plane, run, ours))
    return rows
