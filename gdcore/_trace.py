"""One optimizer step with every intermediate quantity shown: ``opt.step(..., trace=True)``.

The step is taken by the core; the table is computed from what stood before it by the NumPy twin in
`gdcore.reference.optimizers`. Parameters and state, which the core writes too, are the core's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdcore._containers import copied, flat, paired, rebuilt, text_of
from gdcore._rate_state import momentum_settings

if TYPE_CHECKING:
    from gdcore._optimizer import Optimizer

ROWS_SHOWN = 12
LABEL_WIDTH = 16
CELL_WIDTH = 12

Array = NDArray[Any]


class Trace(dict[str, Any]):
    """Every quantity of one step by name, in the order in which the rule computes them.

    Each value has the structure of the parameters: an array for an array, a list, tuple or dict of
    arrays for such a container (None where an array has no such quantity: another group's rule, or
    a frozen one's). It prints as a table with a line per element, and is empty where
    ``on_nonfinite="skip"`` skipped the step.
    """

    def __repr__(self) -> str:
        if not self:
            return "Trace: no step was taken, a gradient holds a NaN or an infinity"
        columns = {name: dict(_leaves(value, "params")) for name, value in self.items()}
        widths = {name: max(len(name), CELL_WIDTH) for name in columns}
        heads = (name.rjust(width) for name, width in widths.items())
        lines = [" ".join(["element".ljust(LABEL_WIDTH), *heads])]
        for where, index in _elements(columns):
            if len(lines) > ROWS_SHOWN:
                return "\n".join([*lines, "..."])
            label = where + (str(list(index)) if index else "")
            cells = (_cell(columns[name].get(where), index, widths[name]) for name in columns)
            lines.append(" ".join([label.ljust(LABEL_WIDTH), *cells]))
        return "\n".join(lines)


def _elements(columns: Mapping[str, Mapping[str, Array]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield (place, index) of every element; each array has a new value, its "p"."""
    for where, array in columns["p"].items():
        for index in np.ndindex(array.shape):
            yield where, index


def _cell(array: Array | None, index: tuple[int, ...], width: int) -> str:
    return "".rjust(width) if array is None else f"{float(array[index]):{width}.6g}"


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Array]]:
    """Yield (place, array) of every array in a container."""
    for path, array in flat(value):
        if array is not None:
            yield text_of(where, path), array


def traced_step(optimizer: Optimizer, params: Any, grads: Any, loss: Any = None) -> Trace:
    """Take a step in the core and return the table of its quantities."""
    before, t_before = copied(params), optimizer.t
    state = [tuple(a.copy("K") for a in row) for row in optimizer._state() or ()]
    optimizer.step(params, grads, loss=loss)
    if optimizer.t == t_before:
        return Trace()
    flat = list(paired(before, grads))
    rates = optimizer._rates()
    groups = optimizer._group_numbers([path for path, _, _ in flat])
    own, lrs = optimizer.get_params(), optimizer._lrs()
    settings = [{**own, **(optimizer.groups[n - 1] if n else {}), "lr": rates[n]} for n in groups]
    told = {} if loss is None else {"loss": float(np.asarray(loss).item())}
    for n, h in zip(groups, settings, strict=True):
        h.update(momentum_settings(lrs[n], h, t_before), **told, grad_norm=optimizer.grad_norm)
    tables = _tables(optimizer, [p for _, p, _ in flat], [g for _, _, g in flat], state, settings)
    for table, (_, p, _) in zip(tables, paired(params, grads), strict=True):
        table["p"] = p.copy("K")
    names = dict.fromkeys(name for table in tables for name in table if name != "p")
    return Trace(
        {
            name: rebuilt(before, iter([table.get(name) for table in tables]))
            for name in (*names, "p")
        }
    )


def _tables(
    optimizer: Optimizer,
    params: list[Array],
    grads: list[Any],
    state: list[tuple[Array, ...]],
    settings: list[dict[str, Any]],
) -> list[dict[str, Array]]:
    """Return the quantities of each array by the twin; the state after the step is the core's."""
    from gdcore.reference import optimizers as reference

    own = optimizer.get_params()
    with np.errstate(all="ignore"):
        arrays = [np.full_like(p, g) for p, g in zip(params, grads, strict=True)]
    prepared = reference.clipped(
        arrays,
        settings,
        maximize=own["maximize"],
        global_clip_norm=own["global_clip_norm"],
        params=params,
    )
    name, t, dialect = optimizer._row["name"], optimizer.t, own["dialect"]
    before = [
        dict(zip(optimizer._names_of(i), state[i], strict=True))
        if state
        else reference.InitialState(name, p, settings[i])
        for i, p in enumerate(params)
    ]
    sums = reference.summed(name, params, prepared, before, settings, t, dialect)
    tables = []
    for i, (p, g, h) in enumerate(zip(params, prepared, settings, strict=True)):
        if h.get("frozen", False):
            tables.append({"p_before": p, "g": g, "update": np.zeros_like(p)})
            continue
        table = reference.step(name, p, g, before[i], {**h, "sums": sums}, t, dialect)
        live = optimizer._state()[i]
        table.update(zip(optimizer._names_of(i), (a.copy("K") for a in live), strict=True))
        # A number that the rule keeps stands beside every element.
        like = {
            n: value if np.ndim(value) else np.full(p.shape, value) for n, value in table.items()
        }
        tables.append({"p_before": p, **like})
    return tables
