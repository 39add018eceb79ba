"""What descents of document 001's kind must obey, beside the figures of its notebook.

The document prints neither figures of its descents nor most of its functions, so the notebook's are
held against closed forms (roots of derivatives, powers, the bound 2 / f'') and against descents in
plain NumPy. Where the document says in words what comes out, the words stand in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from figures import Array, Row, compare_all

import gdcore as gd

TOLERANCE = 1e-9
LOOSE = 1e-6  # of an end where a slope of 1e-6 was asked for
SIGMAS = 4.5  # that the share of a random experiment may be off by

INNER, OUTER = (np.sqrt((5 + sign * np.sqrt(13)) / 3) for sign in (-1, 1))

Figures = Mapping[str, Any]
Slope = Callable[[Any], Any]


# ---- The functions -------------------------------------------------------------------------------


def parabola_slope(x: Array) -> Array:
    """The derivative of 3 x^2 - 3 x + 4."""
    return 6 * x - 3


def sextic(x: Array) -> Array:
    """The document's polynomial."""
    return x**6 - 5 * x**4 + 4 * x**2


def sextic_slope(x: Array) -> Array:
    """Its derivative, 2 x (3 x^4 - 10 x^2 + 4)."""
    return 6 * x**5 - 20 * x**3 + 8 * x


def sextic_curvature(x: float) -> float:
    """Its second derivative."""
    return 30 * x**4 - 60 * x**2 + 8


def valleys_slope(x: Array) -> Array:
    """The derivative of cos(2 pi x) + x^2."""
    return 2 * x - 2 * np.pi * np.sin(2 * np.pi * x)


# ---- Descents in plain NumPy ---------------------------------------------------------------------


def descended(slope: Slope, start: Any, lr: float, steps: int) -> Array:
    """The points of x <- x - lr slope(x)."""
    points = [np.array(start, dtype=float)]
    for _ in range(steps):
        points.append(points[-1] - lr * slope(points[-1]))
    return np.array(points)


def settled(slope: Slope, starts: Array, lr: float, steps: int, gtol: float) -> tuple[Array, Array]:
    """End points, and steps done until the slope is at most gtol."""
    x, done = starts.copy(), np.zeros(len(starts))
    for _ in range(steps):
        moving = np.abs(slope(x)) > gtol
        x[moving] -= lr * slope(x[moving])
        done += moving
    return x, done


def bisected(slope: Slope, low: float, high: float) -> float:
    """The root of a slope that is negative at `low` and positive at `high`."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2


# ---- One dimension -------------------------------------------------------------------------------


def compare_parabola(parabola: Figures, rates: Figures) -> Iterator[Row]:
    """The first descent, and the rates on both sides of 2 / f''."""
    path, lr = parabola["path"], parabola["lr"]
    steps = np.arange(len(path))
    paper = 0.5 + (1 - 6 * lr) ** steps * (path[0] - 0.5)
    yield compare_all("parabola: path, closed form", "step", path, paper, TOLERANCE)
    twin = descended(parabola_slope, path[0], lr, len(path) - 1)
    yield compare_all("parabola: path, plain NumPy", "step", path, twin, TOLERANCE)
    lrs, count = np.array(rates["lr"]), rates["steps"]
    left = np.abs(np.array(rates["x"]) - 0.5)
    first = abs(rates["start"] - 0.5)
    paper = first * np.abs(1 - 6 * lrs) ** count
    yield compare_all(f"parabola: distance after {count}", "rate", left, paper, TOLERANCE)
    grew = left > first
    complaint = "" if np.array_equal(grew, lrs > 2 / 6) else "not the rates above 2 / f''"
    shown = f"{lrs[~grew].max():.4g} shrinks, {lrs[grew].min():.4g} grows" if grew.any() else "none"
    yield Row("parabola: 2 / f'' between", f"{2 / 6:.4g}", shown, complaint)


def compare_sextic(figures: Figures) -> Iterator[Row]:
    """The descents from several starts, and what x = 0 is."""
    runs = figures["runs"]
    for run in runs:
        path = run["path"]
        twin = descended(sextic_slope, path[0], figures["lr"], 4 * (len(path) - 1))[::4]
        what = f"sextic from {path[0]:g}: path, plain NumPy"
        yield compare_all(what, "point", path, twin, TOLERANCE)
    ends = np.array([sextic_end(run["path"][0]) for run in runs])
    ours = [run["end"] for run in runs]
    yield compare_all("sextic: ends, roots of f'", "run", ours, ends, TOLERANCE)
    ours = [run["fun"] for run in runs]
    yield compare_all("sextic: f at the ends", "run", ours, sextic(ends), TOLERANCE)
    second = figures["second derivative at 0"]
    yield Row(
        "sextic: what x = 0 is",
        "a maximum",
        f"a minimum, f'' = {second:g}" if second > 0 else f"no minimum, f'' = {second:g}",
        "" if second == sextic_curvature(0.0) else "f'' is 8 there",
        "the name does not hold",
    )


def sextic_end(start: float) -> float:
    """The minimum to which a small rate leads: the maxima are the borders."""
    return float(np.sign(start)) * OUTER if abs(start) > INNER else 0.0


def compare_valleys(figures: Figures) -> Iterator[Row]:
    """The start on the maximum, and the random ones."""
    still = figures["still"]
    moved = "stays" if still["x"] == 0 else f"leaves for {still['x']:g}"
    complaint = "" if still["x"] == 0 else "the slope at 0 is 0"
    yield Row("valleys: descent from x = 0", "stays", f"{moved}, {still['steps']} steps", complaint)
    far = bisected(lambda x: -valleys_slope(x), 0.8, 1.2)  # the maximum beside the inner valley
    inner, outer = bisected(valleys_slope, 0.2, 0.8), bisected(valleys_slope, 1.2, 1.7)
    starts = np.array(figures["random"]["starts"])
    ends = np.sign(starts) * np.where(np.abs(starts) < far, inner, outer)
    what = f"valleys: ends of {len(starts)} random starts, roots of f'"
    yield compare_all(what, "start", figures["random"]["ends"], ends, TOLERANCE)


# ---- Two dimensions ------------------------------------------------------------------------------


def compare_peaks(figures: Figures) -> Iterator[Row]:
    """The paths on the peaks, and the minima that they reach."""
    minima = np.array([minimum.point for minimum in gd.datasets.peaks.minima])
    ends, reached = [], []
    for run in figures["runs"]:
        path = np.array(run["path"])
        steps = 20 * (len(path) - 1)
        twin = descended(gd.datasets.peaks.grad, path[0], figures["lr"], steps)[::20]
        what = f"peaks from ({path[0, 0]:g}, {path[0, 1]:g}): path, plain NumPy"
        yield compare_all(what, "coordinate", path, twin, TOLERANCE)
        apart = np.abs(minima - twin[-1]).max(axis=1)
        if apart.min() < 1e-3:
            ends.append(run["end"])
            reached.append(minima[np.argmin(apart)])
    what = f"peaks: ends of {len(ends)} of {len(figures['runs'])}, the minima"
    yield compare_all(what, "coordinate", ends, reached, TOLERANCE)


def compare_ascent(figures: Figures) -> Iterator[Row]:
    """The ways to climb: the same bits, and those of plain NumPy but for rounding."""
    (first, known), *others = figures["paths"].items()
    for name, path in others:
        complaint = "" if path == known else "not the same bits"
        yield Row(f"ascent: {name}", first, "the same bits", complaint)
    steps = 20 * (len(known) - 1)
    twin = descended(gd.datasets.peaks.grad, known[0], -figures["lr"], steps)[::20]
    yield compare_all("ascent: path, plain NumPy", "coordinate", known, twin, TOLERANCE)
    tops = np.array([top.point for top in gd.datasets.peaks.maxima])
    nearest = tops[np.argmin(np.abs(tops - known[-1]).max(axis=1))]
    yield compare_all("ascent: end, a maximum", "coordinate", known[-1], nearest, LOOSE)


# ---- Experiments ---------------------------------------------------------------------------------


def compare_experiments(figures: Figures) -> Iterator[Row]:
    """The three sweeps of the sextic."""
    start, rate, both = figures["start"], figures["rate"], figures["both"]
    starts = np.array(start["start"])
    x, steps = settled(sextic_slope, starts, start["lr"], 500, gtol=1e-6)
    yield compare_all("experiment 1: end points, plain NumPy", "run", start["x"], x, TOLERANCE)
    yield compare_all("experiment 1: steps, plain NumPy", "run", start["nit"], steps, 1)
    ends = [sextic_end(place) for place in starts]
    yield compare_all("experiment 1: end points, closed form", "run", start["x"], ends, LOOSE)
    yield from compare_rates(rate)
    lrs = np.array(both["lr"])
    stable = lrs < 2 / sextic_curvature(OUTER)
    paths = [descended(sextic_slope, both["start"], lr, max(both["steps"])) for lr in lrs[stable]]
    theirs = [sextic(path[both["steps"]]) for path in paths]
    ours = np.array(both["fun"], dtype=float)[stable]
    yield compare_all("experiment 3: f, plain NumPy", "run", ours, theirs, TOLERANCE)


def compare_rates(figures: Figures) -> Iterator[Row]:
    """Experiment 2: the rates that a minimum can hold end at its 2 / f''."""
    lrs, x = np.array(figures["lr"]), np.array(figures["x"], dtype=float)
    rests = np.array(figures["verdict"]) == "converged"
    for name, place in (("deep minimum", OUTER), ("x = 0", 0.0)):
        limit = 2 / sextic_curvature(place)
        held = lrs[rests & (np.abs(x - place) < 1e-3)]
        shown = f"at rest up to {held.max():.4g}" if held.size else "never at rest"
        complaint = "" if held.size and held.max() < limit else "2 / f'' is the bound"
        yield Row(f"experiment 2: {name}", f"2 / f'' = {limit:.4g}", shown, complaint)
    limit = 2 / sextic_curvature(OUTER)
    arrive = (lrs > 1e-3) & (lrs < limit * lrs[0] / lrs[1])
    what = f"experiment 2: ends of {arrive.sum()} rates below"
    yield compare_all(what, "rate", x[arrive], np.full(arrive.sum(), OUTER), LOOSE)


def compare_dynamic(figures: Figures) -> Iterator[Row]:
    """Fixed and dynamic rates on the parabola."""
    rules: dict[str, Callable[[int, float], float]] = {
        "fixed": lambda t, slope: 0.05,
        "gradient-based": lambda t, slope: min(0.15, 0.02 * abs(slope)),
        "time-based": lambda t, slope: 0.15 * (1 - t / 100),
        "time-based, too short": lambda t, slope: 0.15 * max(0.0, 1 - t / 10),
    }
    for name, rule in rules.items():
        x, points, rates = figures[name]["path"][0], [], []
        for t in range(101):
            points.append(x)
            rates.append(rule(t, 6 * x - 3))
            x = x - rates[-1] * (6 * x - 3)
        ours = figures[name]
        yield compare_all(f"{name}: rates", "point", ours["lrs"], rates[:100:5], TOLERANCE)
        yield compare_all(f"{name}: path", "point", ours["path"], points[::5], TOLERANCE)


def compare_verdicts(figures: Figures) -> Iterator[Row]:
    """What the document calls a flat function, a steep one, and one that overshoots."""
    called = {"flat": "vanishing", "steep": "exploding", "bowl": "oscillating"}
    for name, found in figures.items():
        expected = called[name.split(",")[0]]
        complaint = "" if found == expected else f"it is {expected}"
        yield Row(f"{name}: what it is", expected, found, complaint, "the name holds")


# ---- Saddles -------------------------------------------------------------------------------------


def compare_saddles(figures: Figures) -> Iterator[Row]:
    """Shares of minima: exact ones of random matrices, and what topology says of waves."""
    exact = (1 / 2, 1 / 2 - np.sqrt(2) / 4, 1 / 4 - np.sqrt(2) / (2 * np.pi))
    for n, (share, paper) in enumerate(zip(figures["matrices"], exact, strict=False), 1):
        sigma = np.sqrt(paper * (1 - paper) / figures["draws"])
        off = abs(share - paper) / sigma
        complaint = "" if off < SIGMAS else f"{off:.3g} standard deviations apart"
        what = f"random matrices, n = {n}: share of minima"
        remark = f"agrees, {off:.1f} standard deviations apart"
        yield Row(what, f"{paper:.6f}", f"{share:.6f}", complaint, remark)
    for d in ("1", "2"):
        kinds = figures["waves"][d]  # how many have 0, 1, ... negative eigenvalues
        total = sum((-1) ** index * count for index, count in enumerate(kinds))
        what = f"waves, d = {d}: points with an even number of directions down, less the others"
        yield Row(what, "0", str(total), "" if total == 0 else "not all have been found")


def compare(figures: Figures) -> Sequence[Row]:
    """Compare what the notebook's cell tagged "figures" displays with all of these."""
    return [
        *compare_parabola(figures["parabola"], figures["rates"]),
        *compare_sextic(figures["sextic"]),
        *compare_valleys(figures["valleys"]),
        *compare_peaks(figures["peaks"]),
        *compare_ascent(figures["ascent"]),
        *compare_experiments(figures["experiments"]),
        *compare_dynamic(figures["dynamic"]),
        *compare_verdicts(figures["verdicts"]),
        *compare_saddles(figures["saddles"]),
    ]
