"""The rounds: every contestant in a process of its own, one sample each in turn (A B C A B C ...).

A row's module describes its tables (`Table`) by entries to be timed and goals to be reached, and
holds the functions that build the cases; those run in the contestants (contestant.py).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).parent
SLOWED_DOWN = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they force slow kernels on the peers
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GDCORE_NUM_THREADS")


def fair_environment(threads: int | None = None) -> dict[str, str]:
    """Return this environment without what slows peers down, for a number of threads."""
    environment = {k: v for k, v in os.environ.items() if k not in SLOWED_DOWN}
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(HERE), os.environ.get("PYTHONPATH")])
    )
    environment["PYTHONSAFEPATH"] = (
        "1"  # the installed gdcore, not a folder that happens to be here
    )
    environment["JAX_PLATFORMS"] = "cpu"
    if threads is not None:
        environment.update(dict.fromkeys(THREADS, str(threads)))
        environment["NPROC"] = str(threads)  # JAX's thread pools
    return environment


@dataclass(frozen=True)
class Options:
    """How long to measure."""

    rounds: int = 9
    table_seconds: float = 40.0  # after these, no further round begins; but three there are
    sample_ms: float = 25.0
    largest: int = 10**8  # elements in the row of sizes
    quick: bool = False


@dataclass
class Entry:
    """One thing that is timed, and what came of it."""

    label: str
    library: str
    threads: int
    module: str
    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    compiled: bool = False  # the first call compiles; its time is reported apart
    judged: bool = True  # counts where a goal names its library
    process: str = ""  # which process of the library, where one setting holds for a process
    samples: list[float] = field(default_factory=list)
    first_call_ns: float | None = None
    values: list[float] | None = None
    memory: int | None = None
    problem: str | None = None

    @property
    def best(self) -> float | None:
        return min(self.samples, default=None)

    @property
    def median(self) -> float | None:
        return statistics.median(self.samples) if self.samples else None


@dataclass(frozen=True)
class Goal:
    """The best of `ours` over the best of `theirs`, labels or libraries, is at most `limit`."""

    text: str
    ours: str
    theirs: str
    limit: float
    as_share: bool = False  # say it as a share of their speed


@dataclass
class Table:
    """One table of the report."""

    row: str
    title: str
    entries: list[Entry]
    goals: list[Goal] = field(default_factory=list)
    base: str = "gdcore"  # each ratio is this one's best over the entry's
    tolerance: float | None = 1e-4  # by which the results of the entries may differ
    memory: bool = False
    notes: list[str] = field(default_factory=list)

    def named(self, name: str) -> list[Entry]:
        return [e for e in self.entries if name == e.label or (name == e.library and e.judged)]

    def best(self, name: str) -> Entry | None:
        timed = [e for e in self.named(name) if e.samples and not e.problem]
        return min(timed, key=lambda e: min(e.samples), default=None)


class Process:
    """A library in a process of its own."""

    def __init__(self, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "contestant.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=fair_environment(threads),
        )

    def request(self, do: str, **details: Any) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps({"do": do, **details}) + "\n")
            stdin.flush()
            answer = stdout.readline()
        except BrokenPipeError:
            answer = ""
        return json.loads(answer) if answer else {"error": "the process ended"}

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Contest:
    """All contestants; a context manager that ends them."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._processes: dict[tuple[str, int, str], Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes.values():
            process.close()

    def process(self, library: str, threads: int, name: str = "") -> Process:
        key = (library, threads, name)
        if key not in self._processes:
            self._processes[key] = Process(threads)
        return self._processes[key]

    def ask(self, library: str, threads: int, module: str, function: str, **arguments: Any) -> Any:
        """Return the result of a function in a contestant; raise where it does."""
        answer = self.process(library, threads).request(
            "ask", module=module, factory=function, arguments=arguments
        )
        if "error" in answer:
            raise RuntimeError(f"{library}: {answer['error']}")
        return answer["result"]

    def run(self, table: Table, options: Options | None = None) -> None:
        """Prepare every entry of the table, then sample them in rounds."""
        options = options or self.options
        ready = [(i, e) for i, e in enumerate(table.entries) if self._prepare(i, e, options)]
        start = time.monotonic()
        for done in range(options.rounds):
            if done >= 3 and time.monotonic() - start > options.table_seconds:
                break
            for number, entry in ready:
                time.sleep(0.002)  # the threads of the one before have gone to sleep
                answer = self._request(entry, "sample", case=number)
                if "error" in answer:
                    entry.problem = answer["error"]
                else:
                    entry.samples.append(answer["ns"])
        for number, entry in ready if table.memory else ():
            entry.memory = self._request(entry, "memory", case=number).get("bytes")
        check_agreement(table)
        for entry in table.entries:
            self._request(entry, "drop")

    def bests(self, table: Table) -> dict[str, float]:
        """Run a table whose entries are all needed, and return their best times by label."""
        self.run(table)
        problems = [f"{e.label}: {e.problem}" for e in table.entries if e.problem]
        if problems:
            raise RuntimeError("; ".join(problems))
        return {e.label: min(e.samples) for e in table.entries}

    def _request(self, entry: Entry, do: str, **details: Any) -> dict[str, Any]:
        process = self.process(entry.library, entry.threads, entry.process)
        return process.request(do, **details)

    def _prepare(self, number: int, entry: Entry, options: Options) -> bool:
        answer = self._request(
            entry,
            "prepare",
            case=number,
            module=entry.module,
            factory=entry.factory,
            arguments=dict(entry.arguments),
            sample_ms=options.sample_ms,
        )
        entry.problem = answer.get("error")
        entry.first_call_ns = answer.get("first_call_ns")
        entry.values = answer.get("values")
        return entry.problem is None


def check_agreement(table: Table) -> None:
    """Mark the entries whose results after the same calls are not those of the base."""
    base = next((e for e in table.named(table.base) if e.values is not None), None)
    if base is None or table.tolerance is None:
        return
    for entry in table.entries:
        if entry.values is None or base.values is None:
            continue
        if not all(close(a, b, table.tolerance) for a, b in pairs(entry.values, base.values)):
            entry.problem = f"other results than {base.label}: {entry.values} and {base.values}"


def pairs(a: list[float], b: list[float]) -> Iterable[tuple[float, float]]:
    return zip(a, b, strict=True)


def close(a: float, b: float, tolerance: float) -> bool:
    return abs(a - b) <= tolerance * max(abs(a), abs(b), 1e-30)
