"""Tables as Markdown and as plain data; the verdict on each goal."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from contest import Contest, Entry, Goal, Table

UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1, "ns"))


@dataclass
class Verdict:
    """One goal: what was measured, and whether that reaches it (None: not measured)."""

    text: str
    measured: str
    reached: bool | None

    @property
    def word(self) -> str:
        return {True: "yes", False: "**no**", None: "not measured"}[self.reached]


@dataclass
class Report:
    """One table of the report."""

    row: str
    title: str
    header: list[str]
    lines: list[list[str]]
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: Any = None

    def markdown(self) -> str:
        parts = [f"### {self.row}: {self.title}\n", table(self.header, self.lines)]
        if self.verdicts:
            lines = [[v.text, v.measured, v.word] for v in self.verdicts]
            parts.append(table(["target", "measured", "reached"], lines))
        parts += [f"{note}\n" for note in self.notes]
        return "\n".join(parts)

    def as_data(self) -> dict[str, Any]:
        return {
            "row": self.row,
            "title": self.title,
            "verdicts": [asdict(v) for v in self.verdicts],
            "notes": self.notes,
            "data": self.data if self.data is not None else [self.header, *self.lines],
        }


def table(header: list[str], lines: Iterable[list[str]]) -> str:
    """Return a Markdown table: the first column to the left, figures to the right."""
    rows = [header, ["---", *["---:"] * (len(header) - 1)], *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def duration(ns: float | None) -> str:
    """Return a time with three significant digits and its unit."""
    if ns is None:
        return ""
    size, unit = next(((s, u) for s, u in UNITS if ns >= s), (1, "ns"))
    return f"{significant(ns / size)} {unit}"


def significant(x: float) -> str:
    """Return three significant digits without an exponent."""
    digits = 2 if abs(x) < 10 else 1 if abs(x) < 100 else 0
    return f"{x:.{max(digits, 3) if abs(x) < 1 else digits}f}"


def summary(reports: Iterable[Report]) -> str:
    """Return all goals in one table."""
    lines = [
        [report.row, report.title, v.text, v.measured, v.word]
        for report in reports
        for v in report.verdicts
    ]
    return table(["row", "work", "target", "measured", "reached"], lines)


# ---- Tables of timed entries ------------------------------------------------------------


def judge(table: Table, goal: Goal) -> Verdict:
    """Return the ratio of the bests, and of the medians behind it."""
    ours, theirs = table.best(goal.ours), table.best(goal.theirs)
    if ours is None or theirs is None:
        return Verdict(goal.text, "", None)
    ratio = min(ours.samples) / min(theirs.samples)
    medians = statistics.median(ours.samples) / statistics.median(theirs.samples)
    said = [f"{1 / r:.0%}" if goal.as_share else against(r) for r in (ratio, medians)]
    return Verdict(goal.text, f"{said[0]} (medians {said[1]})", ratio <= goal.limit)


def against(ratio: float) -> str:
    """Return a ratio of times as readers say it: 1/8.2 below a half, else a decimal."""
    return f"1/{1 / ratio:.1f}" if ratio < 0.5 else f"{ratio:.2f}"


def timed_report(contest: Contest, table: Table) -> Report:
    """Run a table and return its report."""
    contest.run(table)
    header = ["", "best", "median", f"{table.base} / this"]
    header += ["peak memory +"] * table.memory
    notes = list(table.notes)
    compiled = [e for e in table.entries if e.compiled and e.first_call_ns is not None]
    if compiled:
        longest = max(e.first_call_ns or 0 for e in compiled)
        notes.append(f"Compiling (the first call, not counted) took up to {duration(longest)}.")
    notes += [f"{e.label}: {e.problem}." for e in table.entries if e.problem]
    return Report(
        table.row,
        table.title,
        header,
        [line(table, entry) for entry in table.entries],
        [judge(table, goal) for goal in table.goals],
        notes,
        [entry_data(entry) for entry in table.entries],
    )


def line(table: Table, entry: Entry) -> list[str]:
    base = table.best(table.base)
    ratio = against(base.best / entry.best) if base and base.best and entry.best else ""
    cells = [entry.label, duration(entry.best), duration(entry.median), ratio]
    if table.memory:
        cells.append("" if entry.memory is None else f"{entry.memory / 1e6:.1f} MB")
    return cells


def entry_data(entry: Entry) -> dict[str, Any]:
    names = ("label", "library", "threads", "best", "median", "samples", "first_call_ns", "memory")
    return {name: getattr(entry, name) for name in (*names, "problem")}
