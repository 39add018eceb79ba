"""The machine: what it is, and what it can do in the same run (limits.c, NumPy's product)."""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import os
import platform
import shutil
import subprocess
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from contest import HERE, Contest, Entry, Options, Table
from contestant import Case
from report import Report, Verdict, significant

BUILD = HERE.parent / "build" / "bench"
TILES = [(32, 64, 64), (32, 784, 128), (256, 256, 256)]
PACKAGES = ("numpy", "torch", "jax", "jaxlib", "optax", "autograd", "scikit-learn", "scipy")


# ---- limits.c ------------------------------------------------------------


@cache
def limits() -> ctypes.CDLL:
    """Compile limits.c for this processor, once, and return it."""
    source, target = HERE / "limits.c", BUILD / "limits.so"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        compiler = os.environ.get("CC") or shutil.which("cc") or "cc"
        flags = ["-std=c11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-march=native"]
        flags += ["-shared", "-fPIC"]
        fresh = target.with_suffix(f".{os.getpid()}.so")
        subprocess.run([compiler, *flags, "-pthread", "-o", fresh, source], check=True)
        fresh.replace(target)
    library = ctypes.CDLL(str(target))
    size = ctypes.c_size_t
    library.triad.argtypes = [size, *[ctypes.c_void_p] * 4, size, size]
    library.bare.argtypes = [size, *[ctypes.c_void_p] * 2, size, size, size]
    library.multiply_add.argtypes = [size, size]
    library.operations.restype = size
    return library


def multiply_add(threads: int) -> Case:
    rounds = 100_000
    return Case(partial(limits().multiply_add, threads, rounds), repeats=rounds)


def operations() -> int:
    return int(limits().operations())


# ---- Products ------------------------------------------------------------


def operands(shape: tuple[int, int, int]) -> tuple[np.ndarray, ...]:
    n, k, m = shape
    rng = np.random.default_rng(3)
    x, w = (rng.standard_normal(s, dtype=np.float32) for s in ((n, k), (k, m)))
    return x, w, np.empty((n, m), np.float32)


def gdcore_dense(shape: tuple[int, int, int]) -> Case:
    import gdcore as gd

    x, w, y = operands(shape)
    return Case(partial(gd.dense, x, w, out=y), lambda: y[0, :4])


def numpy_matmul(shape: tuple[int, int, int]) -> Case:
    x, w, y = operands(shape)
    return Case(partial(np.matmul, x, w, out=y), lambda: y[0, :4])


# ---- What it is ------------------------------------------------------------


def processor() -> str:
    """Return the processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(s.split(":")[1].strip() for s in lines if s.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def allowed_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def caches() -> str:
    """Return the sizes of the first processor's caches, or nothing off Linux."""
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    found = []
    for index in sorted(folder.glob("index*")):
        kind, level, size = ((index / f).read_text().strip() for f in ("type", "level", "size"))
        if kind != "Instruction":
            found.append(f"L{level} {size}")
    return ", ".join(found)


def level() -> str:
    """Return the instruction-set level that gdcore picked."""
    import contextlib
    import io

    import gdcore as gd

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        shown = gd.show_config()
    return str(shown or printed.getvalue()).strip()


def compiler_version() -> str:
    compiler = os.environ.get("CC") or shutil.which("cc") or "cc"
    found = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return next(iter(found.stdout.splitlines()), compiler)


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), "C compiler": compiler_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


# ---- The report ------------------------------------------------------------


def measure(contest: Contest, options: Options) -> list[Report]:
    facts = {
        "processor": f"{processor()}, {allowed_processors()} in use; {caches()}",
        "system": platform.platform(),
        "gdcore": " ".join(contest.ask("gdcore", 2, __name__, "level").replace("\n", "; ").split()),
        **versions(),
    }
    return [
        Report("machine", "what it is", ["", ""], [[k, v] for k, v in facts.items()], data=facts),
        limits_report(contest),
        tile_report(contest),
    ]


def limits_report(contest: Contest) -> Report:
    size = 10**7
    operations = contest.ask("limit", 1, __name__, "operations")
    lines = []
    for text, module, factory, arguments, work in (
        (
            f"in-place triad, {size:,} elements, GB/s",
            "row_adam",
            "triad",
            {"size": size},
            28 * size,
        ),
        ("fused multiply-adds, float32, GF/s", __name__, "multiply_add", {}, operations),
    ):
        entries = [
            Entry(str(n), "limit", n, module, factory, {**arguments, "threads": n}) for n in (1, 2)
        ]
        best = contest.bests(Table("machine", text, entries))
        one, two = work / best["1"], work / best["2"] * (2 if factory == "multiply_add" else 1)
        lines.append([text, significant(one), significant(two), f"{two / one:.2f}"])
    return Report("machine", "limits", ["", "1 thread", "2 threads", "speed-up"], lines)


def tile_report(contest: Contest) -> Report:
    lines, verdicts = [], []
    operations = contest.ask("limit", 1, __name__, "operations")
    for shape in TILES:
        arguments: dict[str, Any] = {"shape": shape}
        entries = [
            Entry("gdcore", "gdcore", 1, __name__, "gdcore_dense", arguments),
            Entry("NumPy", "numpy", 1, __name__, "numpy_matmul", arguments),
            Entry("fma", "limit", 1, __name__, "multiply_add", {"threads": 1}),
        ]
        best = contest.bests(Table("machine", "products", entries))
        work = 2 * math.prod(shape)
        speed = [work / best["gdcore"], work / best["NumPy"], operations / best["fma"]]
        name = " x ".join(map(str, shape))
        lines.append([name, *map(significant, speed)])
        measured = f"{speed[0] / speed[1]:.2f} x NumPy, {speed[0] / speed[2]:.0%} of the peak"
        verdicts.append(Verdict(f"{name}: NumPy not ahead", measured, speed[0] >= speed[1]))
    return Report(
        "machine",
        "matrix products, float32, one thread, GF/s",
        ["rows x inputs x outputs", "gd.dense", "NumPy matmul", "fma peak"],
        lines,
        verdicts,
    )
