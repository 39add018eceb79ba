"""One optimizer step in plain NumPy: clipping, weight decay, the rule, and what follows it.

The rules stand in `optimizer_rules`, the proximal step and the constraints in `constraints`.
These functions specify the C core, are the oracle of its tests and fill the table of
``opt.step(..., trace=True)``. They compute in the type of their arrays: float32, float64, or any
number type in arrays of objects that has the methods ``sqrt`` and ``sign``. Constants of a step are
computed in double, as in C; the state arrays have the same bits as the kernels', parameters may
differ in the last ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gdcore import _core
from gdcore.reference._arithmetic import Array, Settings, State, Table
from gdcore.reference.constraints import adaptive, project, shrink
from gdcore.reference.optimizer_rules import INITIAL, RULES, SUMS

__all__ = ["INITIAL", "ROWS", "RULES", "InitialState", "clipped", "norm", "step", "summed"]

# ---- What comes before a rule --------------------------------------------------------------------

ROWS: dict[str, Any] = {row["name"]: row for row in _core.OPTIMIZERS}


class InitialState(dict[str, Any]):
    """The state of `p` before the first step: whatever a rule asks for."""

    def __init__(self, name: str, p: Array, settings: Settings) -> None:
        self._makers = INITIAL.get(name, {})
        self._of = p, settings

    def __missing__(self, state: str) -> Any:
        p, settings = self._of
        return self._makers[state](p, settings) if state in self._makers else np.zeros_like(p)


def step(
    name: str,
    p: Array,
    g: Array,
    state: State | None,
    settings: Settings,
    t: int,
    dialect: str = "torch",
) -> Table:
    """Return every quantity of step `t` of one array: weight decay, the rule, what follows it.

    Parameters
    ----------
    name : str
        Row of the table, for example ``"adam"``.
    p, g : ndarray
        The parameter and its gradient after `clipped`; nothing is changed.
    state : mapping of str to ndarray, or None
        State before the step; None before the first.
    settings : mapping
        Hyper-parameters by the constructor's names; lr is a number. With ``loss`` and
        ``grad_norm`` for a rule that reads them, and ``sums`` over all arrays for one that adds
        over them (else those over `p` alone).
    t : int
        Number of the step, from 1.
    dialect : {'torch', 'keras', 'optax'}
        Whose formula.

    Returns
    -------
    dict of str to ndarray
        With ``"p"``, the new parameter, last. Weight decay has entered ``"g"``, or stands beside
        the rule as ``"p_decayed"``: ``(1 - lr weight_decay) p``. What the rule alone gives is
        ``"p_rule"`` where the proximal step of ``l1`` (``"p_proximal"``) or a constraint follows.

    Examples
    --------
    >>> from gdcore.reference import optimizers as reference
    >>> h = gd.SGD(lr=0.1, momentum=0.9).get_params()
    >>> table = reference.step("sgd", np.array([1.0]), np.array([2.0]), None, h, t=1)
    >>> table["b"], table["p"]
    (array([2.]), array([0.8]))
    """
    if state is None:
        state = InitialState(name, p, settings)
    with np.errstate(all="ignore"):
        before, p, g = _decayed(name, p, g, settings, dialect)
        return _finished({**before, **RULES[name](p, g, state, settings, t, dialect)}, settings)


def _finished(table: Table, settings: Settings) -> Table:
    """Return the table with what follows the rule, where something does."""
    l1, constraint = settings.get("l1", 0), settings.get("constraint")
    if not l1 and constraint is None:
        return table
    p = table.pop("p")
    table["p_rule"] = p
    if l1:
        p = table["p_proximal"] = shrink(p, settings["lr"] * l1)
    return {**table, "p": p if constraint is None else project(constraint, p)}


def summed(
    name: str,
    params: Sequence[Array],
    grads: Sequence[Array],
    states: Sequence[State],
    settings: Sequence[Settings],
    t: int,
    dialect: str = "torch",
) -> tuple[Any, Any] | None:
    """Return the two sums over all arrays that are not frozen, or None where the rule adds none up.

    The arguments are those of `step`, of each array.

    Examples
    --------
    >>> from gdcore.reference import optimizers as reference
    >>> reference.summed("sgd", [], [], [], [], t=1) is None
    True
    """
    if name not in SUMS:
        return None
    sums = [0.0, 0.0]
    with np.errstate(all="ignore"):
        for p, g, state, h in zip(params, grads, states, settings, strict=True):
            if not h.get("frozen", False):
                _, p, g = _decayed(name, p, g, h, dialect)
                parts = SUMS[name](p, g, state, h, t, dialect)
                sums = [total + part for total, part in zip(sums, parts, strict=True)]
    return sums[0], sums[1]


def _decayed(
    name: str, p: Array, g: Array, settings: Settings, dialect: str
) -> tuple[Table, Array, Array]:
    """Return weight decay's own quantity by name, the parameter and the gradient after it."""
    decay, kind = settings.get("weight_decay", 0), ROWS[name]["decay"]
    if decay != 0 and kind == "coupled" and dialect != "keras":
        return {}, p, g + decay * p
    if decay != 0 and (kind == "decoupled" or dialect == "keras"):
        p = (1 - settings["lr"] * decay) * p
        return {"p_decayed": p}, p, g
    return {}, p, g


def norm(arrays: Sequence[Array]) -> Any:
    """Return the root of the sum of all squares, in double; scaled, so that it cannot overflow."""
    wide = [a if a.dtype == object else np.asarray(a, np.float64) for a in arrays if a.size]
    top = np.max([np.max(np.abs(a)) for a in wide], initial=0)
    if 0 < top < np.inf:
        top = top * sum(np.sum((a / top) ** 2) for a in wide) ** 0.5
    return float(top) if isinstance(top, np.floating) else top  # a scalar of no type of its own


def clipped(
    grads: Sequence[Array],
    settings: Sequence[Settings],
    *,
    maximize: bool = False,
    global_clip_norm: float | None = None,
    params: Sequence[Array] | None = None,
) -> list[Array]:
    """Return the gradients as the rule gets them: maximize, then clipping.

    A norm above its limit scales by ``limit / norm``; ``clip_value`` limits each element,
    ``clip_adaptive`` the norm of each unit.

    Parameters
    ----------
    grads : sequence of ndarray
        Gradients of all arrays.
    settings : sequence of mapping
        Of each array: ``clip_value``, ``clip_norm``, ``clip_adaptive`` (None: no limit) and
        ``frozen``; frozen arrays do not count in the global norm.
    maximize : bool
        Climb: the gradients change sign.
    global_clip_norm : float, optional
        Limit of the norm of all arrays together.
    params : sequence of ndarray, optional
        The parameters, for ``clip_adaptive``.

    Returns
    -------
    list of ndarray

    Examples
    --------
    >>> from gdcore.reference import optimizers as reference
    >>> reference.clipped([np.array([3.0, 4.0])], [{"clip_norm": 1.0}])
    [array([0.6, 0.8])]
    """
    moving = [g for g, h in zip(grads, settings, strict=True) if not h.get("frozen", False)]
    result = []
    with np.errstate(all="ignore"):
        factor = _factor(moving, global_clip_norm)
        for i, (g, h) in enumerate(zip(grads, settings, strict=True)):
            scale = (-1 if maximize else 1) * factor * _factor([g], h.get("clip_norm"))
            limit = h.get("clip_value")
            scaled = g if scale == 1 else scale * g
            if params is not None and h.get("clip_adaptive") is not None:
                scaled = adaptive(params[i], scaled, h["clip_adaptive"])
            result.append(scaled if limit is None else np.clip(scaled, -limit, limit))
    return result


def _factor(grads: Sequence[Array], limit: float | None) -> Any:
    """Return ``limit / norm`` where the norm is larger, else 1; a NaN norm clips nothing."""
    if limit is None:
        return 1
    size = norm(grads)
    return limit / size if size > limit else 1
