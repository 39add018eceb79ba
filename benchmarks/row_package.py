"""P7: import time beyond NumPy in fresh processes, and installed size on disk."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from contest import Contest, Options, fair_environment
from report import Report, Verdict

PEERS = {
    "gdcore": ("gdcore", ("gdcore",)),
    "torch": ("torch", ("torch",)),
    "JAX": ("jax, jax.numpy", ("jax", "jaxlib")),
    "scikit-learn": ("sklearn.linear_model, sklearn.neural_network", ("scikit-learn",)),
    "scikit-learn with SciPy": (None, ("scikit-learn", "scipy")),
}
IMPORT = "import numpy, time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def import_seconds(modules: str) -> float | None:
    """Return the seconds of one import in a fresh process, None where it is not installed."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.format(modules)],
        capture_output=True,
        text=True,
        check=False,
        env=fair_environment(),
    )
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def installed_bytes(distributions: tuple[str, ...]) -> int | None:
    """Return the size of all files of these distributions, None where one is not installed."""
    total = 0
    for name in distributions:
        try:
            files = importlib.metadata.distribution(name).files or []
        except importlib.metadata.PackageNotFoundError:
            return None
        paths = [Path(str(file.locate())) for file in files]
        total += sum(path.stat().st_size for path in paths if path.is_file())
    return total


def p7(contest: Contest, options: Options) -> list[Report]:
    seconds: dict[str, list[float]] = {name: [] for name in PEERS}
    for _ in range(2 if options.quick else 6):
        for name, (modules, _distributions) in PEERS.items():
            found = import_seconds(modules) if modules else None
            if found is not None:
                seconds[name].append(found)
    sizes = {name: installed_bytes(distributions) for name, (_, distributions) in PEERS.items()}
    lines = []
    for name in PEERS:
        best = f"{min(seconds[name]) * 1e3:.1f} ms" if seconds[name] else ""
        size = sizes[name]
        lines.append([name, best, f"{size / 1e6:.2f} MB" if size is not None else "not installed"])
    best, size = min(seconds["gdcore"], default=None), sizes["gdcore"]
    verdicts = [
        Verdict("import <= 10 ms beyond NumPy", f"{best * 1e3:.1f} ms", best <= 0.010)
        if best is not None
        else Verdict("import <= 10 ms beyond NumPy", "", None),
        Verdict("installed <= 1.5 MB", f"{size / 1e6:.2f} MB", size <= 1.5e6)
        if size is not None
        else Verdict("installed <= 1.5 MB", "", None),
    ]
    return [
        Report(
            "P7",
            "import beyond NumPy (least of several fresh processes), installed size",
            ["", "import", "on disk"],
            lines,
            verdicts,
            data={"import_seconds": seconds, "bytes": sizes},
        )
    ]
