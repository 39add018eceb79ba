"""Write docs/optimizers.md from the core's table, the twins' docstrings and runs of each optimizer.

``python tools/make_optimizer_page.py`` rewrites the page. Its tests compare formulas, defaults and
memory with the table again, and take the steps that it documents.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import gdcore as gd
from gdcore import _core
from gdcore.reference import optimizer_rules

PAGE = Path(__file__).resolve().parents[1] / "docs" / "optimizers.md"
DIALECTS = ("torch", "keras", "optax")
RATES = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
FALLING = 0.999  # the factor of each step, where no constant rate gets there

HEAD = """\
# The optimizers

Made from the table `csrc/ops.def`, the NumPy twins in `gdcore/reference/` and runs of the
optimizers by `make generated`; do not edit by hand.

In the formulas g is the gradient, p the parameter, t the number of the step from 1,
`c1 = 1 - b1^t`, `c2 = 1 - b2^t`. Every step goes in this order: the sign of `maximize`, clipping,
weight decay in the gradient where it is coupled, weight decay beside it where it is decoupled, the
rule. In Keras's dialect weight decay is always decoupled: `p *= 1 - lr weight_decay`. Defaults are
those of the dialect; where a framework has no such rule they are the origin's, and so is the
formula.

**Steps to the minimum**: the first step within 0.01 of the minimum of the parabola
`(x - 3)^2 / 2 + 5 (y + 1)^2` from (0, 0), and within 0.05 of that of Rosenbrock's function from
(-1.2, 1), in float64 with torch's defaults and the best constant rate of 1, 0.3, 0.1, ... 0.0001;
where none gets there, with the best rate that falls to 0.999 of itself at each step.
**Memory** is what the optimizer keeps for each parameter, in numbers of the parameter's own type.

"""


@dataclass(frozen=True)
class Descent:
    """A function of two variables by its value and gradient, a start, and where the end is near."""

    start: tuple[float, float]
    minimum: tuple[float, float]
    near: float
    most: int
    value_and_grad: Callable[[np.ndarray], tuple[float, np.ndarray]]


def parabola(x: np.ndarray) -> tuple[float, np.ndarray]:
    away = x - np.array([3.0, -1.0])
    g = np.array([1.0, 10.0]) * away
    return 0.5 * float(away @ g), g


def rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
    away = x[1] - x[0] ** 2
    g = np.array([-2 * (1 - x[0]) - 400 * x[0] * away, 200 * away])
    return float((1 - x[0]) ** 2 + 100 * away**2), g


DESCENTS = {
    "parabola": Descent((0.0, 0.0), (3.0, -1.0), 0.01, 5_000, parabola),
    "Rosenbrock": Descent((-1.2, 1.0), (1.0, 1.0), 0.05, 40_000, rosenbrock),
}


def steps_to(descent: Descent, opt: gd.Optimizer, most: int) -> int | None:
    """Number of steps until the point to evaluate at is near the minimum, or None."""
    x, minimum = np.array(descent.start), np.array(descent.minimum)
    for t in range(1, most + 1):
        value, grad = descent.value_and_grad(x)
        if not np.isfinite(grad).all():
            return None
        opt.step(x, grad, loss=value)
        if np.abs(opt.averaged(x) - minimum).max() < descent.near:
            return t
    return None


def rate(lr: float, falling: bool) -> float | gd.schedules.Schedule:
    return gd.schedules.exponential(lr, FALLING) if falling else lr


def best_run(kind: type[gd.Optimizer], descent: Descent) -> tuple[float, bool, int]:
    """The rate, whether it falls, and the number of steps of the shortest run."""
    for falling in (False, True):
        best, most = None, descent.most
        for lr in RATES:
            steps = steps_to(descent, kind(lr=rate(lr, falling)), most)
            if steps is not None:
                best, most = (lr, falling, steps), steps - 1
        if best is not None:
            return best
    raise AssertionError(f"{kind.__name__} does not get there")


def documented_runs(text: str) -> list[tuple[str, str, float, bool, int]]:
    """(class, function, rate, whether it falls, steps) of every run on the page."""
    found = []
    for section in text.split("\n## `gd.")[1:]:
        name = re.match(r"\w+", section)[0]
        for run in re.findall(r"(\w+) (\d+) \(lr ([\d.e-]+)(, falling)?\)", section):
            found.append((name, run[0], float(run[2]), bool(run[3]), int(run[1])))
    return found


def twin_doc(name: str) -> tuple[str, str, str]:
    """The paper, the formula and the differences, from the twin's docstring."""
    paper, *formula, differences = inspect.getdoc(optimizer_rules.RULES[name]).split("\n\n")
    assert differences.startswith("Differences: "), name
    plain = "\n\n".join(formula).replace("``", "`")
    return paper, plain, differences.removeprefix("Differences: ").replace("``", "`")


def defaults_table(row: dict) -> str:
    lines = ["| setting | torch | Keras | optax |", "|---|---|---|---|"]
    for hyper in row["hypers"]:
        shown = ["required" if v is None else str(v) for v in hyper["defaults"]]
        lines.append(f"| `{hyper['name']}` | {' | '.join(shown)} |")
    return "\n".join(lines)


def memory(row: dict) -> str:
    """What is kept for a parameter, by variant of the rule."""
    told = {}
    flags = [h["name"] for h in row["hypers"] if h["domain"] == "boolean"]
    switches = [h["name"] for h in row["hypers"] if h["name"] == "momentum"]
    options = [{}, *({name: True} for name in flags), *({name: 0.5} for name in switches)]
    options += [{a: True, b: 0.5} for a in flags for b in switches]
    for settings in options:
        try:
            opt = getattr(gd, row["class"])(lr=0.1, **settings)
        except ValueError:
            continue
        p = np.ones(2)
        opt.step(p, np.ones(2), loss=1.0)
        state = opt.state_dict()["state"][0]
        arrays = [f"`{name}`" for name, a in state.items() if a.ndim]
        numbers = [f"`{name}`" for name, a in state.items() if not a.ndim]
        text = f"{len(arrays)}" + (f" ({', '.join(arrays)})" if arrays else "")
        if numbers:
            text += f", and an array's own {' and '.join(numbers)}"
        told.setdefault(text, " and ".join(settings))
    return "; ".join(text + (f" with {when}" if when else "") for text, when in told.items())


def runs(row: dict) -> str:
    """The shortest run on each function, as the page tells it."""
    parts = []
    with np.errstate(all="ignore"):
        for name, descent in DESCENTS.items():
            lr, falling, steps = best_run(getattr(gd, row["class"]), descent)
            parts.append(f"{name} {steps} (lr {lr:g}{', falling' if falling else ''})")
    return ", ".join(parts)


def section(row: dict, steps: str) -> str:
    _, formula, differences = twin_doc(row["name"])
    return f"""\
## `gd.{row["class"]}`

{row["help"]} {row["paper"]}.

{formula}

{defaults_table(row)}

Weight decay: {row["decay"]}. Memory: {memory(row)}. Steps to the minimum: {steps}.

What differs in torch, Keras and optax: {differences}
"""


def composed_section(kind: type) -> str:
    """The section of a class that is no row: what its docstring says but for the parameters."""
    parts = re.split(r"\n\n(?=[A-Z]\w+\n-+\n)", inspect.getdoc(kind))
    told = {part.split("\n")[0]: part.split("\n", 2)[2] for part in parts[1:]}
    text = [f"## `gd.{kind.__name__}`", parts[0], told["Notes"], told["References"]]
    settings = ", ".join(
        f"`{name}={value.default!r}`"
        for name, value in inspect.signature(kind).parameters.items()
        if value.default is not value.empty
    )
    return "\n\n".join([*text, f"Defaults: {settings}."]).replace("``", "`") + "\n"


def page(steps: Callable[[dict], str] = runs) -> str:
    """The text of the page; `steps` tells the runs of a row."""
    rows = [section(row, steps(row)) for row in _core.OPTIMIZERS]
    return HEAD + "\n".join([*rows, *map(composed_section, (gd.LBFGS, gd.Armijo, gd.EMA))])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
