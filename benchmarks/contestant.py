"""One library in a process of its own: prepares cases, and times them when told.

Reads one JSON object a line from standard input and answers with one on the descriptor that was
standard output; whatever the libraries print goes to standard error.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WARM_UP_CALLS = 3  # the values are compared after these, so the number is part of the work


@dataclass
class Case:
    """What is timed: `call()` does the work `repeats` times; `values()` shows its result.

    `finish()` waits for work still under way and is part of the time, once a sample.
    """

    call: Callable[[], object]
    values: Callable[[], Any] | None = None
    repeats: int = 1
    finish: Callable[[], object] = lambda: None
    keep: object = None  # what the call reads through addresses only


def timed(case: Case, count: int) -> int:
    """Return the nanoseconds of `count` calls, without collections of garbage between them."""
    call, finish = case.call, case.finish
    gc.disable()
    try:
        start = time.perf_counter_ns()
        for _ in itertools.repeat(None, count):
            call()
        finish()
        return time.perf_counter_ns() - start
    finally:
        gc.enable()


def calls_for(case: Case, wanted_ns: int) -> int:
    """Return how many calls take at least the wanted time."""
    count = 1
    while (spent := timed(case, count)) < wanted_ns:
        count = max(count + 1, min(64 * count, int(1.1 * count * wanted_ns / max(spent, 1))))
    return count


class Prepared:
    """A case with its number of calls a sample."""

    def __init__(self, case: Case, sample_ms: float) -> None:
        self.case = case
        start = time.perf_counter_ns()
        case.call()
        case.finish()
        self.first_call_ns = time.perf_counter_ns() - start
        for _ in range(WARM_UP_CALLS - 1):
            case.call()
        self.values = None if case.values is None else [float(v) for v in case.values()]
        self.calls = calls_for(case, int(sample_ms * 1e6))

    def sample(self) -> float:
        """Return the nanoseconds of one repeat; an untimed call first brings the data back."""
        self.case.call()
        self.case.finish()
        return timed(self.case, self.calls) / (self.calls * self.case.repeats)


def peak_growth(call: Callable[[], object]) -> int | None:
    """Return the bytes by which a call raises the peak of resident memory; None off Linux."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak starts anew at what is resident now
        before = peak_bytes()
        call()
        return peak_bytes() - before
    except OSError:
        return None


def peak_bytes() -> int:
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))


class Contestant:
    """Answers the requests of contest.Process."""

    def __init__(self) -> None:
        self.prepared: dict[int, Prepared] = {}

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        factory = getattr(importlib.import_module(request["module"]), request["factory"])
        prepared = Prepared(factory(**request["arguments"]), request["sample_ms"])
        self.prepared[request["case"]] = prepared
        return {"first_call_ns": prepared.first_call_ns, "values": prepared.values}

    def sample(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"ns": self.prepared[request["case"]].sample()}

    def memory(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"bytes": peak_growth(self.prepared[request["case"]].case.call)}

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the result of any function of a module, which no clock is on."""
        function = getattr(importlib.import_module(request["module"]), request["factory"])
        return {"result": function(**request["arguments"])}

    def drop(self, request: dict[str, Any]) -> dict[str, Any]:
        self.prepared.clear()
        gc.collect()
        return {}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contestant = Contestant()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(contestant, request["do"])(request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
