"""P10: a step of every optimizer of the table, beside its limits and its peers.

At 10^7 parameters the limit is the memory: each rule shall move bytes as fast as Adam does in the
same table. At 10^5 it is whatever takes longer of the same bytes moved by the triad, in arrays of
the same size, and the rule's roots and divisions done by a loop that does nothing else.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from contest import Contest, Entry, Options, Table
from contestant import Case
from report import Report, Verdict, against, significant

ROOT = Path(__file__).resolve().parents[1]
SHARE = 0.9  # of the limit at 10^5, of Adam's bandwidth at 10^7
SMALL, LARGE = 10**5, 10**7
ITEM = 4  # bytes of a float32
TRIAD_ARRAYS, TRIAD_STREAMS = 4, 7
BARE_SIZE = 2048  # elements: two arrays in any first-level cache

# Arrays read and written by rules that need sums: the first pass has the gradient and the state,
# the second the parameter and what of the state its formula names.
TWO_PASSES = {
    "lamb": 10,  # p g m v -> m v;  p m v -> p
    "lars": 7,  # p g -> ;  p g b -> p b
    "prodigy": 13,  # p g m v q p_first -> m v q;  p m v -> p
    "dadapt_adam": 11,  # g m v q -> m v q;  p m v -> p
}

# Functions of optax or optax.contrib that are not called as the row of the table is.
OPTAX_NAMES = {"dadapt_adam": "dadapt_adamw"}
TORCH_FORMS = ("fused", "foreach", "forloop")
JAX_FORMS = (("inline", True), ("running ahead", False))


KERNELS = "\n".join(path.read_text() for path in sorted((ROOT / "csrc").glob("optimizers*.inc")))


def counted(kernel: str) -> tuple[int, int]:
    """Return the square roots and divisions an element of a kernel and of the helpers it calls."""
    found = re.search(rf"FN\({kernel}\)\([^;{{]*\)\n\{{\n(.*?)\n\}}", KERNELS, re.DOTALL)
    if found is None:
        return 0, 0
    parts = [(found[1].count("R_SQRT("), found[1].count(" / "))]
    parts += [counted(helper) for helper in re.findall(r"FN\((\w+)\)\(", found[1])]
    return sum(roots for roots, _ in parts), sum(divisions for _, divisions in parts)


def roots_and_divisions(name: str) -> tuple[int, int]:
    """Return those of a rule at torch's defaults, in both passes where it needs sums."""
    kernel = {"adamw": "adam"}.get(name, name)
    both = counted(kernel), counted(f"{kernel}_terms")
    return both[0][0] + both[1][0], both[0][1] + both[1][1]


# ---- What is timed ------------------------------------------------------------


def data(size: int) -> tuple[np.ndarray, np.ndarray]:
    import row_adam

    (p,), (g,) = row_adam.arrays([(size,)])
    return p, g


def told(row: dict[str, Any]) -> dict[str, float]:
    """Return what a step takes beside parameters and gradients."""
    return {"loss": 1.0} if row["needs"] == "loss" else {}


def row_of(name: str) -> dict[str, Any]:
    from gdcore import _core

    return next(row for row in _core.OPTIMIZERS if row["name"] == name)


def gdcore_step(name: str, size: int) -> Case:
    import gdcore as gd

    row, (p, g) = row_of(name), data(size)
    opt = getattr(gd, row["class"])()
    return Case(partial(opt.step, p, g, **told(row)), lambda: p[:8])


def adam_step(size: int) -> Case:
    """Adam in a row of another rule: its results are not compared."""
    return replace(gdcore_step("adam", size), values=None)


def bare(roots: int, divisions: int) -> Case:
    """The roots and divisions of a rule, from one array into another, both in cache."""
    from machine import limits

    x, y = np.linspace(1, 2, BARE_SIZE, dtype=np.float32), np.empty(BARE_SIZE, np.float32)
    passes = 100
    addresses = (x.ctypes.data, y.ctypes.data)
    call = partial(limits().bare, BARE_SIZE, *addresses, roots, divisions, passes)
    if call() != 0:
        raise ValueError(f"limits.c has no loop of {roots} roots and {divisions} divisions")
    return Case(call, repeats=passes * BARE_SIZE, keep=(x, y))


def torch_step(kind: str, size: int, threads: int, form: str) -> Case:
    """torch's optimizer of the same class, with the same settings."""
    import torch

    import gdcore as gd

    torch.set_num_threads(threads)
    opt_class = getattr(torch.optim, kind)
    known = inspect.signature(opt_class).parameters
    settings = {k: v for k, v in getattr(gd, kind)().get_params().items() if k in known}
    settings.pop("maximize", None)
    p, g = data(size)
    tensor = torch.from_numpy(p).requires_grad_()
    tensor.grad = torch.from_numpy(g)
    choice = {"foreach": False} if form == "forloop" else {form: True}
    opt = opt_class([tensor], **settings, **choice)
    return Case(opt.step, lambda: p[:8])


def optax_step(name: str, size: int, inline: bool) -> Case:
    """optax's rule at its own defaults, which cost the same; so its results are not compared."""
    import row_adam

    jax = row_adam.start_jax(inline)
    import optax

    needs_loss = bool(told(row_of(name)))
    rule = optax_rule(optax, name)

    def step(params: Any, state: Any, grads: Any) -> Any:
        more = {"value": 1.0} if needs_loss else {}
        updates, state = rule.update(grads, state, params, **more)
        return optax.apply_updates(params, updates), state

    params, grads = (jax.numpy.array(a) for a in data(size))
    state = jax.tree.map(jax.numpy.array, rule.init(params))  # no array may be donated twice
    return replace(row_adam.jax_case(step, params, state, grads, False), values=None)


def optax_rule(optax: Any, name: str) -> Any:
    """Return optax's rule, with a rate where it has no default."""
    import optax.contrib

    found = OPTAX_NAMES.get(name, name)
    make = getattr(optax, found, None) or getattr(optax.contrib, found)
    first = next(iter(inspect.signature(make).parameters.values()))
    return make() if first.default is not first.empty and first.default else make(1e-3)


# ---- Which rules and peers there are ------------------------------------------------------------


@dataclass
class Rule:
    """A row of the table, and what its step costs at least."""

    name: str
    kind: str
    arrays: int  # the parameter, its gradient and its state
    streams: int  # arrays read and arrays written in a step
    torch_forms: list[str]
    optax: bool


def streams(name: str, needs: str, states: int) -> int:
    """Return how often an array is read or written in one step.

    The parameter and each state array are read and written, the gradient is read; once more for
    its norm where the rule needs the loss.
    """
    if needs.endswith("sums"):
        return TWO_PASSES[name]
    return 2 + 1 + 2 * states + (needs == "loss")


def rules() -> list[dict[str, Any]]:
    """Return the rows of the table, asked in gdcore's process."""
    import gdcore as gd
    from gdcore import _core

    found = []
    for row in _core.OPTIMIZERS:
        opt, p = getattr(gd, row["class"])(), np.ones(2, np.float32)
        opt.step(p, p.copy(), **told(row))
        states = sum(np.ndim(array) > 0 for array in opt.state_dict()["state"][0].values())
        count = streams(row["name"], row["needs"], states)
        one = {"name": row["name"], "kind": row["class"], "arrays": 2 + states, "streams": count}
        found.append(one)
    return found


def torch_forms(kinds: list[str]) -> dict[str, list[str]]:
    """Return, by class, the forms that torch has on this processor; asked in torch's process."""
    import torch

    found: dict[str, list[str]] = {}
    for kind in kinds:
        known = inspect.signature(getattr(torch.optim, kind, torch.optim.LBFGS)).parameters
        if "foreach" in known:
            found[kind] = [form for form in TORCH_FORMS if form in known or form == "forloop"]
    return found


def optax_names(names: list[str]) -> list[str]:
    """Return the rows that optax has too; asked in JAX's process."""
    import optax.contrib

    places = (optax, optax.contrib)
    return [n for n in names if any(hasattr(p, OPTAX_NAMES.get(n, n)) for p in places)]


def asked(contest: Contest, library: str, function: str, **arguments: Any) -> Any:
    """Return a peer's answer, or nothing where it is not installed."""
    try:
        return contest.ask(library, 1, __name__, function, **arguments)
    except RuntimeError:
        return {}


def all_rules(contest: Contest) -> list[Rule]:
    rows = contest.ask("gdcore", 1, __name__, "rules")
    kinds, names = [row["kind"] for row in rows], [row["name"] for row in rows]
    forms = asked(contest, "torch", "torch_forms", kinds=kinds)
    alike = asked(contest, "jax", "optax_names", names=names)
    return [
        Rule(**row, torch_forms=forms.get(row["kind"], []), optax=row["name"] in alike)
        for row in rows
    ]


# ---- The measurements ------------------------------------------------------------


def peers(rule: Rule, size: int, threads: int) -> Iterator[Entry]:
    """Yield the forms of torch and optax that are timed.

    Of a large step calling is no part that could be measured: where torch has a fused form, that is
    its best, and JAX is left to run ahead.
    """
    large = size > SMALL
    for form in rule.torch_forms[:1] if large and "fused" in rule.torch_forms else rule.torch_forms:
        arguments = {"kind": rule.kind, "size": size, "threads": threads, "form": form}
        yield Entry(f"torch, {form}", "torch", threads, __name__, "torch_step", arguments)
    for form, inline in JAX_FORMS[large:] if rule.optax else ():
        arguments = {"name": rule.name, "size": size, "inline": inline}
        entry = Entry(f"optax, {form}", "jax", threads, __name__, "optax_step", arguments)
        entry.process = "inline" if inline else ""
        yield entry


def triad_size(rule: Rule, size: int) -> int:
    """Return how many elements the triad's arrays have where they take the rule's bytes."""
    return size * rule.arrays // TRIAD_ARRAYS


def limits_of(rule: Rule, size: int) -> Iterator[Entry]:
    """Yield the triad over as many bytes of arrays, and the roots and divisions."""
    triad = {"size": triad_size(rule, size), "threads": 1}
    yield Entry("triad", "limit", 1, "row_adam", "triad", triad)
    roots, divisions = roots_and_divisions(rule.name)
    if roots + divisions > 0:
        arguments = {"roots": roots, "divisions": divisions}
        yield Entry("bare", "limit", 1, __name__, "bare", arguments)


@dataclass
class Cost:
    """The best times of one rule in one table, in nanoseconds an element."""

    rule: Rule
    ours: float
    memory: float  # the same bytes moved by the triad, or as Adam moves its own
    bare: float
    peer: str
    theirs: float | None
    problems: list[str]

    @property
    def share(self) -> float:
        """Return our speed as a share of the limit's."""
        return max(self.memory, self.bare) / self.ours

    @property
    def behind(self) -> float | None:
        """Return our time over the best peer's."""
        return self.ours / self.theirs if self.theirs else None


def cost(contest: Contest, rule: Rule, size: int, threads: int, options: Options) -> Cost:
    own = {"size": size, "name": rule.name}
    entries = [Entry("ours", "gdcore", threads, __name__, "gdcore_step", own)]
    if size > SMALL:
        entries.append(Entry("Adam", "gdcore", threads, __name__, "adam_step", {"size": size}))
    elif threads == 1:
        entries += limits_of(rule, size)
    entries += peers(rule, size, threads)
    contest.run(Table("P10", rule.name, entries, base="ours"), options)

    best = {e.label: min(e.samples) for e in entries if not e.problem}
    problems = [f"{rule.kind}, {e.label}: {e.problem}." for e in entries if e.problem]
    if missing := {"ours", "Adam", "triad", "bare"} & {e.label for e in entries} - {*best}:
        raise RuntimeError(f"without {', '.join(missing)}: {problems}")
    like, elements = ("Adam", size) if size > SMALL else ("triad", triad_size(rule, size))
    memory = best.get(like, 0) / elements * rule.streams / TRIAD_STREAMS
    others = {label: ns / size for label, ns in best.items() if "," in label}
    peer = min(others, key=others.__getitem__, default="")
    bare_ns = best.get("bare", 0.0)
    return Cost(rule, best["ours"] / size, memory, bare_ns, peer, others.get(peer), problems)


# ---- The reports ------------------------------------------------------------


def gigabytes(rule: Rule, ns: float) -> float:
    return ITEM * rule.streams / ns


def line(found: Cost, size: int, limited: bool) -> list[str]:
    cells = [found.rule.kind, significant(found.ours)]
    if size > SMALL:
        cells.append(significant(gigabytes(found.rule, found.ours)))
    elif limited:
        cells += [significant(found.memory), significant(found.bare) if found.bare else ""]
    if limited:
        cells.append(f"{found.share:.0%}")
    cells += [found.peer, significant(found.theirs) if found.theirs else ""]
    cells.append(against(found.behind) if found.behind else "")
    reached = (found.share >= SHARE or not limited) and (found.behind or 0) <= 1
    return [*cells, "yes" if reached else "**no**"]


def verdicts(costs: list[Cost], size: int, limited: bool) -> list[Verdict]:
    """Return the summary of a table: how many rules reach a goal, and which is the furthest off."""
    found = []
    if limited:
        limit = "Adam's bandwidth" if size > SMALL else "the limit"
        reached = [c for c in costs if c.share >= SHARE]
        least = min(costs, key=lambda c: c.share)
        measured = f"{len(reached)} of {len(costs)}, least {least.rule.kind} {least.share:.0%}"
        goal = f"every rule at least {SHARE:.0%} of {limit}"
        found.append(Verdict(goal, measured, len(reached) == len(costs)))
    ratios = [(c.behind, c.rule.kind) for c in costs if c.behind is not None]
    if not ratios:
        return [*found, Verdict("no peer ahead", "", None)]
    most, kind = max(ratios)
    alone = sum(ratio <= 1 for ratio, _ in ratios)
    measured = f"{alone} of {len(ratios)}, most {kind} {against(most)}"
    return [*found, Verdict("no peer ahead", measured, alone == len(ratios))]


def report(
    contest: Contest, table: list[Rule], size: int, threads: int, options: Options
) -> Report:
    limited = size > SMALL or threads == 1
    costs = [cost(contest, rule, size, threads, options) for rule in table]
    header = ["", "ns"]
    if limited:
        header += ["GB/s", "of Adam's"] if size > SMALL else ["triad", "roots, divisions", "share"]
    header += ["best peer", "ns", "gdcore / this", "reached"]
    return Report(
        "P10",
        f"every optimizer, {size:,} parameters, {threads} thread{'s' * (threads > 1)}, an element",
        header,
        [line(c, size, limited) for c in costs],
        verdicts(costs, size, limited),
        [problem for c in costs for problem in c.problems],
        [{"optimizer": c.rule.name, "streams": c.rule.streams, **figures(c)} for c in costs],
    )


def figures(found: Cost) -> dict[str, Any]:
    names = ("ours", "memory", "bare", "share", "peer", "theirs", "behind")
    return {name: getattr(found, name) for name in names}


def p10(contest: Contest, options: Options) -> list[Report]:
    short = replace(options, rounds=min(options.rounds, 5), sample_ms=min(options.sample_ms, 8.0))
    table = all_rules(contest)
    sizes = (SMALL, 10**6 if options.quick else LARGE)
    return [report(contest, table, n, threads, short) for n in sizes for threads in (1, 2)]
