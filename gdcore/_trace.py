"""One optimizer step with every intermediate quantity shown: ``opt.step(..., trace=True)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gdcore._optimizer import Optimizer

ROWS_SHOWN = 12


class Trace(dict[str, Any]):
    """Intermediates of one step by name, in the order in which the rule computes them.

    Each value has the structure of the parameters: an array for an array, a list, tuple or dict of
    arrays for such a container. It prints as a table with a line per element.
    """

    def __repr__(self) -> str:
        leaves = {name: _leaves(value, "params") for name, value in self.items()}
        longest = max(leaves.values(), key=len, default=[])
        lines = [" ".join(["element".ljust(16), *(name.rjust(12) for name in leaves)])]
        for where, array in longest:
            for index in np.ndindex(array.shape):
                if len(lines) > ROWS_SHOWN:
                    return "\n".join([*lines, "..."])
                label = where + (str(list(map(int, index))) if index else "")
                cells = [_cell(dict(column).get(where), index) for column in leaves.values()]
                lines.append(" ".join([label.ljust(16), *cells]))
        return "\n".join(lines)


def _cell(array: Any, index: tuple[int, ...]) -> str:
    if array is None:
        return "".rjust(12)
    value = np.asarray(array)
    return f"{float(value[index] if value.ndim else value):12.6g}"


def _leaves(value: Any, where: str) -> list[tuple[str, Any]]:
    """Return (place, array) of every array in a container."""
    if isinstance(value, Mapping):
        return [leaf for key in value for leaf in _leaves(value[key], f"{where}[{key!r}]")]
    if isinstance(value, list | tuple):
        return [leaf for i, v in enumerate(value) for leaf in _leaves(v, f"{where}[{i}]")]
    return [] if value is None else [(where, value)]


def _rebuilt(like: Any, values: Any) -> Any:
    """Return the next values of an iterator in the structure of `like`."""
    if isinstance(like, Mapping):
        return {key: _rebuilt(like[key], values) for key in like}
    if isinstance(like, list | tuple):
        items = [_rebuilt(item, values) for item in like]
        return items if isinstance(like, list) else tuple(items)
    return next(values)


def _flat(params: Any, grads: Any) -> list[tuple[tuple[Any, ...], Any, Any]]:
    """Return (path, parameter, gradient) of every array, in the order of the core."""
    if isinstance(params, Mapping):
        pairs = [(key, params[key], grads[key]) for key in params]
    elif isinstance(params, list | tuple):
        pairs = [(i, p, g) for i, (p, g) in enumerate(zip(params, grads, strict=True))]
    else:
        return [((), params, grads)]
    return [((key, *path), p, g) for key, a, b in pairs for path, p, g in _flat(a, b)]


def traced_step(optimizer: Optimizer, params: Any, grads: Any) -> Trace:
    """Step in C, and compute the table of intermediates from what stood before by the NumPy twin.

    The twin computes in the parameters' own type; entries that the core writes too (parameters,
    state) are the core's.
    """
    from gdcore.reference import optimizers as reference

    state_before = optimizer._state()
    before = [
        tuple(a.copy("K") for a in row) for row in state_before
    ] if state_before is not None else None
    t_before, lr_before = optimizer.t, [s["lr"] for s in (optimizer._settings, *optimizer._groups)]
    rates = [float(lr(t_before)) if callable(lr) else lr for lr in lr_before]
    # A refused step must leave everything as it was: look at params only after C has accepted them.
    copies = _copies(params)
    optimizer.step(params, grads)
    if optimizer.t == t_before:
        return Trace()
    flat = _flat(copies, grads)
    numbers = optimizer._group_numbers([path for path, _, _ in flat])
    tables = []
    gradients = [np.broadcast_to(np.asarray(g, dtype=p.dtype), p.shape) for _, p, g in flat]
    frozen = [bool(n and optimizer._groups[n - 1]["frozen"]) for n in numbers]
    prepared = reference.clipped(optimizer, gradients, numbers, frozen)
    state_now = optimizer._state()
    assert state_now is not None
    live = [p for _, p, _ in _flat(params, grads)]
    for i, (_, p, _) in enumerate(flat):
        n = numbers[i]
        settings = {**optimizer._settings, **(optimizer._groups[n - 1]._own if n else {})}
        settings["lr"] = rates[n]
        if frozen[i]:
            tables.append({"p_before": p, "g": prepared[i], "update": np.zeros_like(p), "p": p})
            continue
        names = optimizer._state_names(n)
        state = None if before is None else dict(zip(names, before[i], strict=True))
        table = reference.step(
            optimizer._row["name"], p, prepared[i], state, settings, optimizer.t,
            optimizer._settings["dialect"],
        )
        table.update(zip(names, (a.copy("K") for a in state_now[i]), strict=True))
        table["p"] = live[i].copy("K")
        tables.append({"p_before": p, **table})
    names_in_order = list(dict.fromkeys(name for table in tables for name in table))
    return Trace(
        {name: _rebuilt(copies, iter([t.get(name) for t in tables])) for name in names_in_order}
    )


def _copies(params: Any) -> Any:
    """Return a copy of a container of arrays; what is no array is kept for C to refuse."""
    if isinstance(params, Mapping):
        return {key: _copies(value) for key, value in params.items()}
    if isinstance(params, tuple):
        return tuple(_copies(value) for value in params)
    if isinstance(params, list) and not all(np.isscalar(value) for value in params):
        return [_copies(value) for value in params]
    return params.copy("K") if isinstance(params, np.ndarray) else params
