"""The optimizers' rules in plain NumPy, one short function per row of the core's table.

A rule takes a parameter, its gradient and its state arrays as they stood before step ``t`` (counted
from 1), the settings ``h`` by name and the dialect. It returns every intermediate quantity by name,
in the order in which they arise: the new state arrays are among them, the new parameter ``"p"``
comes last. Nothing is changed in place.

These functions specify the C kernels, are the oracle of their tests and fill the table of
``opt.step(..., trace=True)``. They compute in the type of their arrays: float32, float64, or any
number type in arrays of objects that has a method ``sqrt``. Constants of a step are computed in
double, as in C; the state arrays have the same bits as the kernels', parameters may differ in the
last ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdcore import _core

Array = NDArray[Any]
Settings = Mapping[str, Any]
State = Mapping[str, Array]
Table = dict[str, Array]
Rule = Callable[[Array, Array, State, Settings, int, str], Table]

# ---- The rules -----------------------------------------------------------------------------------


def sgd(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Robbins & Monro 1951; momentum of Polyak 1964; Nesterov's as in Sutskever et al. 2013.

    ``b = mu b + g``, ``p -= lr b``. Keras keeps the rate inside: ``b = mu b + lr g``, ``p -= b``.
    torch scales g by ``1 - dampening`` from the second step on. With ``nesterov`` the step goes
    along ``g + mu b`` (the stored p is the look-ahead point).
    """
    lr, mu = h["lr"], h["momentum"]
    table = {"g": g, "effective_lr": np.full_like(p, lr)}
    if mu == 0:
        table["update"] = lr * g
        return {**table, "p": p - table["update"]}
    inside = dialect == "keras"
    gain = lr if inside else 1 if t == 1 else 1 - h["dampening"]
    b = mu * state["b"] + gain * g
    direction = table["b"] = b
    if h["nesterov"]:
        direction = table["direction"] = (lr * g if inside else g) + mu * b
    update = direction if inside else lr * direction
    return {**table, "update": update, "p": p - update}


def adagrad(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Duchi, Hazan & Singer 2011.

    ``a += g^2``, ``p -= lr g / (sqrt(a) + eps)``, where torch lowers lr to
    ``lr / (1 + (t - 1) lr_decay)``; Keras and optax have eps in the root: ``sqrt(a + eps)``.
    """
    lr = h["lr"] / (1 + (t - 1) * h["lr_decay"])
    a = state["a"] + g * g
    denominator = _root(a, h["eps"], dialect)
    update = lr * g / denominator
    return {
        "g": g,
        "a": a,
        "denominator": denominator,
        "effective_lr": lr / denominator,
        "update": update,
        "p": p - update,
    }


def rmsprop(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Tieleman & Hinton 2012; centered, Graves 2013.

    ``v = alpha v + (1 - alpha) g^2``, ``p -= lr g / (sqrt(v) + eps)``; Keras and optax have eps in
    the root. Centered: ``v - m^2`` stands for v, never below 0, with
    ``m = alpha m + (1 - alpha) g``. With momentum ``b = mu b + g / (...)``, ``p -= lr b`` in torch,
    ``b = mu b + lr g / (...)``, ``p -= b`` in Keras and optax.
    """
    lr, alpha, mu = h["lr"], h["alpha"], h["momentum"]
    table = {"g": g, "v": alpha * state["v"] + (1 - alpha) * (g * g)}
    spread = table["v"]
    if h["centered"]:
        m = table["m"] = alpha * state["m"] + (1 - alpha) * g
        spread = table["v_centered"] = np.maximum(spread, m * m) - m * m
    denominator = table["denominator"] = _root(spread, h["eps"], dialect)
    table["effective_lr"] = lr / denominator
    if mu == 0:
        table["update"] = lr * g / denominator
    elif dialect == "torch":
        b = table["b"] = mu * state["b"] + g / denominator
        table["update"] = lr * b
    else:
        b = table["b"] = mu * state["b"] + lr * g / denominator
        table["update"] = b
    return {**table, "p": p - table["update"]}


def adam(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Kingma & Ba 2015; AMSGrad, Reddi et al. 2018; AdamW, Loshchilov & Hutter 2019.

    ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``, ``c1 = 1 - b1^t``, ``c2 = 1 - b2^t``,
    ``p -= lr (m / c1) / (sqrt(v / c2) + eps)``. Keras follows the remark below algorithm 1:
    ``p -= lr sqrt(c2) / c1 m / (sqrt(v) + eps)``. AMSGrad has the largest v so far in the root:
    of the raw ones in torch and Keras, of the corrected ones, ``v / c2``, in optax.
    """
    lr, eps, (b1, b2) = h["lr"], h["eps"], h["betas"]
    c1, c2 = _correction(b1, t), _correction(b2, t)
    m = b1 * state["m"] + (1 - b1) * g
    v = b2 * state["v"] + (1 - b2) * (g * g)
    table = {"g": g, "m": m, "v": v}
    corrects_first = h["amsgrad"] and dialect == "optax"
    if h["amsgrad"]:
        v = table["v_max"] = np.maximum(state["v_max"], (1 / c2) * v if corrects_first else v)
    if dialect == "keras":
        step, m_hat = lr * c2**0.5 / c1, m
        denominator = np.sqrt(v) + eps
    else:
        step, m_hat = lr, m / c1
        v_hat = v if corrects_first else v / c2
        denominator = np.sqrt(v_hat) + eps
        table.update(m_hat=m_hat, v_hat=v_hat)
    update = step * m_hat / denominator
    table.update(denominator=denominator, effective_lr=step / denominator, update=update)
    return {**table, "p": p - update}


def _correction(beta: Any, t: int) -> Any:
    """Return ``1 - beta^t``; of a float in the form that keeps all digits at small t."""
    if isinstance(beta, float):
        return -math.expm1(t * math.log(beta)) if beta > 0 else 1.0
    return 1 - beta**t


def _root(square: Array, eps: float, dialect: str) -> Array:
    """Return the root of a mean square, kept from 0 by eps beside it (torch) or inside it."""
    if dialect == "torch":
        beside: Array = np.sqrt(square) + eps
        return beside
    inside: Array = np.sqrt(square + eps)
    return inside


RULES: dict[str, Rule] = {
    "sgd": sgd,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adam,
}

# ---- What comes before a rule --------------------------------------------------------------------

ROWS: dict[str, Any] = {row["name"]: row for row in _core.OPTIMIZERS}

# Initial values of the state arrays that do not start at 0, by row: {state: name of the setting}.
INITIAL = {"adagrad": {"a": "initial_accumulator_value"}}


class InitialState(dict[str, Array]):
    """The state of `p` before the first step: whatever array a rule asks for, filled."""

    def __init__(self, name: str, p: Array, settings: Settings) -> None:
        self._values = {state: settings[own] for state, own in INITIAL.get(name, {}).items()}
        self._like = p

    def __missing__(self, state: str) -> Array:
        return np.full_like(self._like, self._values.get(state, 0))


def step(
    name: str,
    p: Array,
    g: Array,
    state: State | None,
    settings: Settings,
    t: int,
    dialect: str = "torch",
) -> Table:
    """Return every quantity of step `t` of one array, by name: weight decay, then the rule.

    Parameters
    ----------
    name : str
        Row of the table, for example ``"adam"``.
    p, g : ndarray
        The parameter and its gradient after `clipped`; nothing is changed.
    state : mapping of str to ndarray, or None
        State arrays before the step; None before the first.
    settings : mapping
        Hyper-parameters by the constructor's names; lr is a number.
    t : int
        Number of the step, from 1.
    dialect : {'torch', 'keras', 'optax'}
        Whose formula.

    Returns
    -------
    dict of str to ndarray
        With ``"p"``, the new parameter, last. Weight decay has entered ``"g"``, or stands beside
        the rule as ``"p_decayed"``: ``(1 - lr weight_decay) p``.

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
    decay = settings.get("weight_decay", 0)
    before: Table = {}
    with np.errstate(all="ignore"):
        if decay != 0 and ROWS[name]["coupled"] and dialect != "keras":
            g = g + decay * p
        elif decay != 0:
            p = before["p_decayed"] = (1 - settings["lr"] * decay) * p
        return {**before, **RULES[name](p, g, state, settings, t, dialect)}


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
) -> list[Array]:
    """Return the gradients as the rule gets them: maximize, then clipping.

    A norm above its limit scales by ``limit / norm``; ``clip_value`` limits each element.

    Parameters
    ----------
    grads : sequence of ndarray
        Gradients of all arrays.
    settings : sequence of mapping
        Of each array: ``clip_value``, ``clip_norm`` (None: no limit) and ``frozen``; frozen arrays
        do not count in the global norm.
    maximize : bool
        Climb: the gradients change sign.
    global_clip_norm : float, optional
        Limit of the norm of all arrays together.

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
        for g, h in zip(grads, settings, strict=True):
            scale = (-1 if maximize else 1) * factor * _factor([g], h.get("clip_norm"))
            limit = h.get("clip_value")
            scaled = g if scale == 1 else scale * g
            result.append(scaled if limit is None else np.clip(scaled, -limit, limit))
    return result


def _factor(grads: Sequence[Array], limit: float | None) -> Any:
    """Return ``limit / norm`` where the norm is larger, else 1; a NaN norm clips nothing."""
    if limit is None:
        return 1
    size = norm(grads)
    return limit / size if size > limit else 1
