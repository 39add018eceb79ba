"""Document 000's figures beside those of its notebook, and what the notebook's must obey.

The document draws its data without a seed, so its digits cannot be had again. What can: the ratio
between the losses of neighbouring iterations, and where a run leaves float64. On data that are
known, gradient descent on a linear model has a closed form besides, which every loss must obey.
The printed losses stand in document_000.json, each line that the document shows whole.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from figures import Array, Row, farthest

import gdcore as gd

RATIO_TOLERANCE = 0.03
EXACT_TOLERANCE = 1e-9
EXACT_BELOW = 1e300  # beyond, the sum of squares is about to overflow


class Run(NamedTuple):
    """One run: the notebook's figures, what the document says, what must come out."""

    name: str
    lr: float
    losses: Array  # before each step; NaN or infinite once it has overflowed
    end: Array  # weights and bias after the last step
    printed: Array
    label: str
    exact: Array
    exact_end: Array
    left: float  # share of the first error that is left in the slowest direction


class Plane:
    """A linear model's data, solved in plain NumPy: all that its descent depends on."""

    def __init__(self, X: Array, y: Array) -> None:
        self.n = len(X)
        A = np.column_stack([X, np.ones(self.n)])
        self.eigenvalues, self.eigenvectors = np.linalg.eigh(A.T @ A / self.n)
        self.minimum = np.linalg.lstsq(A, y[:, 0], rcond=None)[0]
        self.least = float(np.sum((A @ self.minimum - y[:, 0]) ** 2))

    def losses(self, lr: float, start: Array, steps: int) -> Array:
        """L* + n sum_i lambda_i c_i^2 (1 - lr lambda_i)^(2k) for k = 0, 1, ... steps done."""
        c = self.eigenvectors.T @ (start - self.minimum)
        k = np.arange(steps)[:, None]
        with np.errstate(over="ignore"):
            parts = self.eigenvalues * c**2 * (1 - lr * self.eigenvalues) ** (2 * k)
            losses: Array = self.least + self.n * parts.sum(axis=1)
        return losses

    def point(self, lr: float, start: Array, steps: int) -> Array:
        """w* + V (1 - lr lambda)^k c: weights and bias after k steps."""
        c = self.eigenvectors.T @ (start - self.minimum)
        powers = (1 - lr * self.eigenvalues) ** steps
        point: Array = self.minimum + self.eigenvectors @ (c * powers)
        return point


def read_document() -> dict[float, Mapping[str, Any]]:
    """The document's runs by learning rate: its name for the run, and the losses it prints."""
    path = Path(__file__).with_name("document_000.json")
    return {float(lr): run for lr, run in json.loads(path.read_text())["runs"].items()}


def overflow_of(losses: Array) -> int | None:
    """Number (from 1) of the first iteration whose loss is not finite."""
    (lost,) = np.nonzero(~np.isfinite(losses))
    return int(lost[0]) + 1 if lost.size else None


def overflow_foretold(printed: Array, steps: int) -> int | None:
    """The iteration, if within `steps`, at which losses that grow on like the last one overflow."""
    growth = math.log(printed[-1] / printed[-2])
    if growth <= 0:
        return None
    left = math.log(sys.float_info.max) - math.log(printed[-1])
    number = len(printed) + math.floor(left / growth) + 1
    return number if number <= steps else None


def compare_ratios(run: Run) -> Row:
    """Growth of the loss, at each iteration that the document prints."""
    count = len(run.printed)
    theirs = run.printed[1:] / run.printed[:-1]
    with np.errstate(all="ignore"):  # a wrong loss may be anything
        ours = run.losses[1:count] / run.losses[: count - 1]
    shown = [f"{ratios.min():.5g} to {ratios.max():.5g}" for ratios in (theirs, ours)]
    told = farthest("iteration", 2, ours, theirs, RATIO_TOLERANCE)
    return Row(f"{run.name}: growth of the loss, {count - 1} iterations", *shown, *told)


def compare_overflow(run: Run) -> Row:
    """Where the loss overflows; the document's output is cut off before, but it grows evenly."""
    theirs, ours = overflow_foretold(run.printed, len(run.losses)), overflow_of(run.losses)
    shown = [f"iteration {k}" if k else f"none in {len(run.losses)}" for k in (theirs, ours)]
    complaint = "" if ours == theirs else "not the same iteration"
    return Row(f"{run.name}: loss overflows", *shown, complaint)


def compare_closed_form(run: Run) -> Row:
    """Each loss whose exact value is below 1e300."""
    known = run.exact < EXACT_BELOW
    told = farthest("iteration", 1, run.losses[known], run.exact[known], EXACT_TOLERANCE)
    last = np.flatnonzero(known)[-1]
    shown = f"{run.exact[last]:.8g}", f"{run.losses[last]:.8g}"
    return Row(f"{run.name}: loss {last + 1} of {known.sum()}, closed form", *shown, *told)


def compare_end(run: Run) -> Row:
    """Weights and bias after the last step of a run that does not explode; the bias is shown."""
    told = farthest("parameter", 0, run.end, run.exact_end, EXACT_TOLERANCE)
    shown = f"{run.exact_end[-1]:.8g}", f"{run.end[-1]:.8g}"
    return Row(f"{run.name}: bias after {len(run.losses)}, closed form", *shown, *told)


def judge_label(run: Run) -> Row:
    """The document's name for the run, beside what its figures say."""
    found = "converging"
    if not run.losses[-1] < run.losses[0]:
        found = "exploding"
    elif run.left > 0.9:
        found = "too slow"
    remark = "the name holds" if found == run.label else "the name does not hold"
    return Row(f"{run.name}: what it is", run.label, found, remark=remark)


def compare_run(run: Run) -> Iterator[Row]:
    """All rows of one run."""
    if len(run.losses) < len(run.printed):
        shown = f"{len(run.printed)} printed", f"{len(run.losses)}"
        yield Row(f"{run.name}: iterations", *shown, "too few to compare")
        return
    yield compare_ratios(run)
    yield compare_closed_form(run)
    yield compare_overflow(run)
    if run.exact[-1] < run.exact[0]:
        yield compare_end(run)
    yield judge_label(run)


def solved(figures: Mapping[str, Any], said: Mapping[str, Any], plane: Plane) -> Run:
    """A run of the notebook, joined with the document's and with its closed form."""
    lr, start = float(figures["lr"]), np.array(figures["start"], dtype=float)
    losses = np.array(figures["losses"], dtype=float)  # null, for not finite, is read as NaN
    end = np.array(figures["end"] or [np.nan] * start.size, dtype=float)
    steps = len(losses)
    return Run(
        name=f"lr {lr:g}",
        lr=lr,
        losses=losses,
        end=end,
        printed=np.array(said["losses"], dtype=float),
        label=said["label"],
        exact=plane.losses(lr, start, steps),
        exact_end=plane.point(lr, start, steps),
        left=float(np.abs(1 - lr * plane.eigenvalues[0]) ** steps),
    )


def compare(figures: Mapping[str, Any]) -> list[Row]:
    """Compare what the notebook's cell tagged "figures" displays with the document."""
    said = read_document()
    ran = {float(run["lr"]): run for run in figures["runs"]}
    rows = []
    if set(ran) != set(said):
        shown = [", ".join(f"{lr:g}" for lr in sorted(runs)) for runs in (said, ran)]
        rows.append(Row("learning rates", *shown, "not the same runs"))
    X, y, *_ = gd.datasets.noisy_plane(**figures["data"])
    plane = Plane(X, y)
    for lr, run in ran.items():
        if lr in said:
            rows += compare_run(solved(run, said[lr], plane))
    return rows
