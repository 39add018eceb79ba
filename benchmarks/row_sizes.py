"""P9: cost against size. Nanoseconds an element, from a thousand to a hundred million elements."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from contest import Contest, Entry, Options, Table
from contestant import Case
from report import Report, Verdict, significant

SPEED_UP = 1.7
FLAT = 1.25  # growth beyond the triad's own
BYTES_AN_ELEMENT = 32
LIMITED_BY_CORES = (10**5, 10**6)  # long enough for threads, and not in the main memory


def gdcore_step(size: int) -> Case:
    import row_adam

    return row_adam.gdcore_step([(size,)])


def gdcore_linear(size: int) -> Case:
    """One fused pass over size / 2 rows of two columns, float64."""
    import gdcore as gd

    rows = size // 2
    rng = np.random.default_rng(2)
    x = np.resize(rng.standard_normal(10**6), (rows, 2))
    y = np.resize(rng.standard_normal(10**6), (rows,))
    weights, loss = np.zeros(2), gd.losses.half_mse
    return Case(lambda: gd.linear_value_and_grad(x, y, weights, 0.0, loss))


def sizes(options: Options) -> list[int]:
    """Return the powers of ten up to the largest that takes a quarter of the memory at most."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    largest = min(options.largest, memory // 4 // BYTES_AN_ELEMENT)
    return [10**k for k in range(3, 9) if 10**k <= largest]


def costs(contest: Contest, size: int, module: str, factory: str) -> dict[str, float]:
    """Return ns an element of ours with one and two threads, and of the triad."""
    entries = []
    for threads in (1, 2):
        triad = {"size": size, "threads": threads}
        entries += [
            Entry(f"ours{threads}", "gdcore", threads, module, factory, {"size": size}),
            Entry(f"triad{threads}", "limit", threads, "row_adam", "triad", triad),
        ]
    best = contest.bests(Table("P9", "", entries))
    return {label: ns / size for label, ns in best.items()}


def size_report(contest: Contest, options: Options, title: str, factory: str) -> Report:
    table = {size: costs(contest, size, __name__, factory) for size in sizes(options)}
    lines = []
    for size, cost in table.items():
        speed_ups = [cost[f"{who}1"] / cost[f"{who}2"] for who in ("ours", "triad")]
        figures = [cost[k] for k in ("ours1", "ours2", "triad1", "triad2")]
        lines.append([f"{size:,}", *map(significant, figures), *(f"{s:.2f}" for s in speed_ups)])
    verdicts = [flatness(table), speed_up(table, machine_speed_up(contest))]
    header = ["elements", "1 thread", "2 threads", "triad, 1", "triad, 2"]
    header += ["speed-up", "the triad's"]
    return Report("P9", title, header, lines, verdicts, data=table)


def flatness(table: dict[int, dict[str, float]]) -> Verdict:
    """Judge the growth from the cheapest size to the dearest larger one against the triad's."""

    def growth(who: str) -> float:
        figures = [cost[who] for cost in table.values()]
        return max(max(figures[i:]) / figures[i] for i in range(len(figures)))

    ours, memory = growth("ours1"), growth("triad1")
    return Verdict(
        "flat but for the caches: grows no more than the triad",
        f"{ours:.2f} x, the triad {memory:.2f} x",
        ours <= FLAT * max(memory, 1.0),
    )


def speed_up(table: dict[int, dict[str, float]], machine: float) -> Verdict:
    found = [
        cost["ours1"] / cost["ours2"] for size, cost in table.items() if size in LIMITED_BY_CORES
    ]
    return Verdict(
        f"2 threads >= {SPEED_UP} x where cores limit",
        f"{max(found):.2f} x (the machine's multiply-adds {machine:.2f} x)",
        max(found) >= SPEED_UP,
    )


def machine_speed_up(contest: Contest) -> float:
    """Return what a second thread brings to arithmetic in registers, now."""
    entries = [Entry(str(n), "limit", n, "machine", "multiply_add", {"threads": n}) for n in (1, 2)]
    best = contest.bests(Table("P9", "", entries))
    return 2 * best["1"] / best["2"]


def p9(contest: Contest, options: Options) -> list[Report]:
    rows: list[tuple[str, Callable[[int], Case]]] = [
        ("Adam step, float32: ns a parameter", gdcore_step),
        ("linear_value_and_grad, rows of two float64: ns an element of X", gdcore_linear),
    ]
    return [size_report(contest, options, title, f.__name__) for title, f in rows]
