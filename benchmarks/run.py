"""Run the benchmarks: `python benchmarks/run.py [--rows P1,P2] [--quick] [--write-readme]`.

Prints each table when it is measured; all of them go to build/bench/ as Markdown and JSON, and
with --write-readme into README.md beside this file.
"""

# ruff: noqa: E402 (this folder goes on sys.path first: make keeps Python from doing that)

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import machine
import row_adam
import row_catalogue
import row_descent
import row_engine
import row_fits
import row_linear
import row_memory
import row_networks
import row_package
import row_sizes
from contest import SLOWED_DOWN, Contest, Options, Table
from report import Report, summary, timed_report

Row = Callable[[Contest, Options], list[Report]]
BEGIN, END = "<!-- figures of a run -->\n", "<!-- end of the figures -->\n"


def timed(
    tables: Callable[[Options], list[Table]], contest: Contest, options: Options
) -> list[Report]:
    return [timed_report(contest, table) for table in tables(options)]


ROWS: dict[str, Row] = {
    "machine": machine.measure,
    "P1": partial(timed, row_adam.p1),
    "P1b": partial(timed, row_adam.p1b),
    "P1c": partial(timed, row_adam.p1c),
    "P2": partial(timed, row_linear.p2),
    "P3a": partial(timed, row_networks.p3a),
    "P3b": partial(timed, row_networks.p3b),
    "P3c": partial(timed, row_networks.p3c),
    "P3d": partial(timed, row_networks.p3d),
    "P4a": partial(timed, row_engine.p4a),
    "P4b": partial(timed, row_engine.p4b),
    "P5": row_descent.p5,
    "P6": partial(timed, row_descent.p6),
    "P6b": partial(timed, row_fits.p6b),
    "P7": row_package.p7,
    "P8": row_memory.p8,
    "P8b": row_fits.p8b,
    "P9": row_sizes.p9,
    "P9b": row_fits.p9b,
    "P10": row_catalogue.p10,
    "P10b": row_fits.p10b,
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=",".join(ROWS), help="the rows, by commas")
    parser.add_argument("--quick", action="store_true", help="few short samples, for debugging")
    parser.add_argument("--write-readme", action="store_true", help="put the tables in README.md")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows.split(",")
    unknown = [row for row in arguments.rows if row not in ROWS]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if arguments.write_readme and (arguments.quick or arguments.rows != list(ROWS)):
        parser.error("the README takes a whole run: all rows, and not --quick")
    return arguments


def measure(rows: list[str], options: Options) -> list[Report]:
    reports = []
    with Contest(options) as contest:
        for row in rows:
            start = time.perf_counter()
            for report in ROWS[row](contest, options):
                print(report.markdown(), flush=True)
                reports.append(report)
            print(f"({row}: {time.perf_counter() - start:.0f} s)\n", file=sys.stderr)
    return reports


def write(reports: list[Report], into_readme: bool) -> None:
    """Write Markdown and JSON to build/bench/, and the tables into the README where asked."""
    now = datetime.datetime.now(datetime.UTC)
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    name = f"Run of {now:%Y-%m-%d %H:%M} UTC, {machine.processor()}, load at its end {load}"
    text = f"{name}.\n\n{summary(reports)}\n" + "\n".join(r.markdown() for r in reports)
    machine.BUILD.mkdir(parents=True, exist_ok=True)
    (machine.BUILD / "results.md").write_text(text)
    data = {"run": name, "reports": [r.as_data() for r in reports]}
    (machine.BUILD / "results.json").write_text(json.dumps(data, indent=1))
    if into_readme:
        readme = HERE / "README.md"
        before, _, rest = readme.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        readme.write_text(before + BEGIN + text + END + after)
    print(summary(reports))


def main() -> None:
    arguments = parse()
    for name in SLOWED_DOWN:
        os.environ.pop(name, None)
    options = (
        Options(rounds=3, sample_ms=5, largest=10**6, quick=True) if arguments.quick else Options()
    )
    write(measure(arguments.rows, options), arguments.write_readme)


if __name__ == "__main__":
    main()
