"""The optimizers' rules in plain NumPy, one short function per row of the core's table.

A rule takes a parameter, its gradient and its state as it stood before step ``t`` (counted from 1),
the settings ``h`` by name (with what the step was told: ``loss``, ``grad_norm``, ``sums``) and the
dialect. It returns every intermediate quantity by name, in the order in which they arise: the new
state is among them, the new parameter ``"p"`` comes last. Nothing is changed in place.

Constants of a step are computed in double, as in C. Last in each docstring stands what differs from
one framework to the other; `docs/optimizers.md` is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gdcore.reference._arithmetic import (
    Array,
    Rule,
    Settings,
    State,
    Table,
    chosen,
    correction,
    number,
    sign,
    total,
)
from gdcore.reference.optimizer_moments import (
    adabelief,
    adadelta,
    adagrad,
    adam,
    adamax,
    adan,
    nadam,
    radam,
    rmsprop,
    sgd,
    yogi,
)


def rprop(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Riedmiller & Braun 1993, without backtracking as in Igel & Huesken 2000.

    With a step size d of each parameter, lr at first: d grows by etas[1] where g has the sign of
    before and shrinks by etas[0] where it turned, within step_sizes; where it turned g counts as 0;
    ``p -= sign(g) d``.

    Differences: optax 0.2.8 compares with the gradient before the last; its open pull request 1725
    mends that, and the rule here is the mended one. Keras does not have it.
    """
    shrink, grow = h["etas"]
    least, most = h["step_sizes"]
    agrees = sign(g) * sign(state["g_previous"])
    start = h["lr"] if t == 1 else 0.0
    scale = chosen(p, agrees > 0, grow, chosen(p, agrees < 0, shrink, 1.0))
    size = np.maximum(np.minimum((state["step_size"] + start) * scale, most), least)
    kept = np.where(agrees < 0, np.zeros_like(g), g)
    update = sign(kept) * size
    table = {"g": g, "g_previous": kept, "step_size": size, "effective_lr": size, "update": update}
    return {**table, "p": p - update}


def lion(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Chen et al. 2023.

    ``p -= lr (sign(b1 m + (1 - b1) g) + weight_decay p)``, then ``m = b2 m + (1 - b2) g``.

    Differences: none but the defaults. torch does not have it.
    """
    b1, b2 = h["betas"]
    ahead = b1 * state["m"] + (1 - b1) * g
    update = h["lr"] * sign(ahead)
    table = {"g": g, "ahead": ahead, "effective_lr": np.full_like(p, h["lr"]), "update": update}
    return {**table, "m": b2 * state["m"] + (1 - b2) * g, "p": p - update}


def sign_sgd(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Bernstein et al. 2018.

    ``p -= lr sign(g)``; with momentum (Signum) ``m = mu m + (1 - mu) g``, ``p -= lr sign(m)``.

    Differences: none; optax has the two as sign_sgd and signum, torch and Keras do not have them.
    """
    mu, table = h["momentum"], {"g": g, "effective_lr": np.full_like(p, h["lr"])}
    m = mu * state["m"] + (1 - mu) * g if mu else g
    if mu:
        table["m"] = m
    update = h["lr"] * sign(m)
    return {**table, "update": update, "p": p - update}


def asgd(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Polyak & Juditsky 1992 as in Bottou 2010.

    ``p = (1 - lambd eta) p - eta g``, ``average += (p - average) / max(1, t - 1 - t0)`` (p itself
    up to there); ``eta = lr`` at first, then ``lr / (1 + lambd lr t)^alpha``.

    Differences: torch has it, Keras and optax do not. torch keeps eta in its default dtype,
    float32, even for float64 parameters; here it is a double.
    """
    lr, lambd = h["lr"], h["lambd"]
    eta = lr if t == 1 else number(state["eta"])
    counted = t - 1 - h["t0"]
    update, decayed = eta * g, p * (1 - lambd * eta)
    new, before = decayed - update, state["average"]
    average = before + (1 / counted) * (new - before) if counted > 1 else new
    table = {"p_decayed": decayed, "g": g, "effective_lr": np.full_like(p, eta)}
    table.update(update=update, average=average)
    return {**table, "eta": lr / (1 + lambd * lr * t) ** h["alpha"], "p": new}


def schedule_free_sgd(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Defazio et al. 2024.

    p is y, where gradients are taken; z is the plain iterate. With
    ``lr_t = lr min(1, t / warmup)``, ``c = w_t / (w_1 + ... + w_t)`` for w the square of the
    largest lr_t, and ``u = g + decay y``: ``y = (1 - c) y + c z + lr_t (momentum (1 - c) - 1) u``,
    ``z -= lr_t u``. The point to evaluate at is the average ``x = y + (1 - 1 / momentum) (z - y)``:
    `averaged`.

    Differences: optax's warmup starts from a rate of 0 and counts from another step. torch and
    Keras do not have it; in Keras's dialect ``c = 1 / t`` as in its ScheduleFreeAdamW.
    """
    return _schedule_free(p, g, np.ones_like(p), state, h, t, dialect, h["momentum"])


def schedule_free_adamw(
    p: Array, g: Array, state: State, h: Settings, t: int, dialect: str
) -> Table:
    """Defazio et al. 2024.

    As ScheduleFreeSGD with b1 for momentum and ``u = g / (sqrt(v / c2) + eps) + decay y``, where
    ``v = b2 v + (1 - b2) g^2``.

    Differences: Keras has ``c = 1 / t`` whatever the rates. optax's warmup starts from a rate of 0
    and counts from another step. torch does not have it.
    """
    b1, b2 = h["betas"]
    v = b2 * state["v"] + (1 - b2) * (g * g)
    denominator = np.sqrt(v) * (1 / correction(b2, t) ** 0.5) + h["eps"]
    table = _schedule_free(p, g, denominator, state, h, t, dialect, b1)
    return {"g": g, "v": v, "denominator": denominator, **table}


def lamb(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """You et al. 2020.

    m, v, c1, c2 are Adam's; ``u = (m / c1) / (sqrt(v / c2) + eps) + weight_decay p``,
    ``p -= lr |p| / |u| u`` with the norms of the whole array, and 1 for their ratio where one is 0
    or not finite.

    Differences: Keras's weight decay is not in u. torch does not have it; jettify's version has no
    bias correction and takes |p| for at most 10.
    """
    b1, b2 = h["betas"]
    decay = 0.0 if dialect == "keras" else h["weight_decay"]
    m = b1 * state["m"] + (1 - b1) * g
    v = b2 * state["v"] + (1 - b2) * (g * g)
    denominator = np.sqrt(v) * (1 / correction(b2, t) ** 0.5) + h["eps"]
    u = (1 / correction(b1, t)) * m / denominator + decay * p
    step = h["lr"] * _trust_ratio(p, u, 1.0, 0.0)
    update = step * u
    table = {"g": g, "m": m, "v": v, "denominator": denominator, "u": u}
    return {**table, "effective_lr": step / denominator, "update": update, "p": p - update}


def lars(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """You, Gitman & Ginsburg 2017.

    ``u = g + weight_decay p``, ``b = mu b + lr trust_coefficient |p| / (|u| + eps) u``, ``p -= b``;
    with nesterov the step is the new term and ``mu b``. The ratio is 1 where a norm is 0 or not
    finite; a trust_coefficient of 0 means plain momentum, for biases.

    Differences: the form is optax's. torch and Keras do not have it; other versions scale |g|
    before the decay is added, or keep lr outside b.
    """
    mu, tau = h["momentum"], h["trust_coefficient"]
    decay = 0.0 if dialect == "keras" else h["weight_decay"]
    u = g + decay * p
    gain = h["lr"] * (_trust_ratio(p, u, tau, h["eps"]) if tau > 0 else 1.0)
    push = gain * u
    b = mu * state["b"] + push
    update = push + mu * b if h["nesterov"] else b
    table = {"g": g, "u": u, "b": b, "effective_lr": np.ones_like(p) * gain, "update": update}
    return {**table, "p": p - update}


def prodigy(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Mishchenko & Defazio 2024.

    With ``dlr = d lr``: ``m = b1 m + (1 - b1) d g``, ``v = b2 v + (1 - b2) d^2 g^2``,
    ``q = sqrt(b2) q + d / d0 dlr g``; over all arrays together
    ``numerator = sqrt(b2) numerator + d / d0 dlr <g, p_first - p>`` and
    ``d = max(d, d_coef numerator / |q|_1)``; then
    ``p = (1 - weight_decay dlr) p - dlr m / (sqrt(v) + d eps)`` with the new d beside the root and
    the old one in dlr. Where the sums are 0 or not finite d stays.

    Differences: optax's dlr has Adam's bias correction, ``d lr sqrt(c2) / c1``; the authors' has it
    as an option. torch and Keras do not have it.
    """
    b1, b2 = h["betas"]
    d, q_gain, dlr = _prodigy_gains(state, h, t, dialect)
    decay = 0.0 if dialect == "keras" else h["weight_decay"]
    m = b1 * state["m"] + ((1 - b1) * d) * g
    v = b2 * state["v"] + ((1 - b2) * d * d) * (g * g)
    q = b2**0.5 * state["q"] + q_gain * g
    dot, length = h.get("sums") or prodigy_sums(p, g, state, h, t, dialect)
    numerator = b2**0.5 * number(state["numerator"]) + dot
    d_new, numerator = _distance(state, numerator, h["d_coef"], length)
    denominator = np.sqrt(v) + d_new * h["eps"]
    update, decayed = dlr * m / denominator, (1 - decay * dlr) * p
    table = {"p_decayed": decayed, "g": g, "m": m, "v": v, "q": q, "p_first": state["p_first"]}
    table.update(d=d_new, numerator=numerator, denominator=denominator)
    return {**table, "effective_lr": dlr / denominator, "update": update, "p": decayed - update}


def prodigy_sums(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Any:
    """Return one array's part of Prodigy's two sums."""
    _, q_gain, _ = _prodigy_gains(state, h, t, dialect)
    q = h["betas"][1] ** 0.5 * state["q"] + q_gain * g
    return total(q_gain * g, state["p_first"] - p), total(np.abs(q))


def dadapt_adam(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Defazio & Mishchenko 2023.

    With ``dlr = d lr`` and ``b3 = sqrt(b2)``, over all arrays together
    ``numerator = b3 numerator + (1 - b3) dlr <g, q / (sqrt(v) + eps)>`` (q and v of before),
    ``m = b1 m + (1 - b1) dlr g``, ``v = b2 v + (1 - b2) g^2``, ``q = b3 q + (1 - b3) dlr g``,
    ``d = max(d, numerator / ((1 - b3) |q|_1))``,
    ``p = (1 - weight_decay dlr) p - m / (sqrt(v) + eps)``. Where the sums are 0 or not finite d
    stays.

    Differences: optax's dlr has Adam's bias correction, ``d lr sqrt(c2) / c1``. torch and Keras do
    not have it.
    """
    b1, b2 = h["betas"]
    b3, dlr = b2**0.5, number(state["d"]) * h["lr"] * _bias(h, t, dialect)
    a3 = (1 - b2) / (1 + b3)  # 1 - b3 with all its digits
    decay = 0.0 if dialect == "keras" else h["weight_decay"]
    m = b1 * state["m"] + ((1 - b1) * dlr) * g
    v = b2 * state["v"] + (1 - b2) * (g * g)
    q = b3 * state["q"] + (a3 * dlr) * g
    dot, length = h.get("sums") or dadapt_adam_sums(p, g, state, h, t, dialect)
    numerator = b3 * number(state["numerator"]) + a3 * dot
    d, numerator = _distance(state, numerator, 1 / a3, length)
    denominator = np.sqrt(v) + h["eps"]
    update, decayed = m / denominator, (1 - decay * dlr) * p
    table = {"p_decayed": decayed, "g": g, "m": m, "v": v, "q": q, "d": d, "numerator": numerator}
    table.update(denominator=denominator, effective_lr=dlr / denominator, update=update)
    return {**table, "p": decayed - update}


def dadapt_adam_sums(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Any:
    """Return one array's part of D-Adapt Adam's two sums."""
    b2 = h["betas"][1]
    b3 = b2**0.5
    dlr = number(state["d"]) * h["lr"] * _bias(h, t, dialect)
    q = b3 * state["q"] + ((1 - b2) / (1 + b3) * dlr) * g
    return total(dlr * g, state["q"] / (np.sqrt(state["v"]) + h["eps"])), total(np.abs(q))


def polyak_sgd(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Polyak 1987; Loizou et al. 2021.

    ``p -= min(lr, (loss - f_min) / (|g|^2 + eps)) g`` with the norm over all arrays, before
    clipping and weight decay; a gap below 0 counts as 0. With maximize it is ``f_min - loss``.

    Differences: optax lets a negative gap climb and stands still where ``|g|^2 + eps`` is below the
    eps of its float type (here always that of a double). torch and Keras do not have it.
    """
    optax = dialect == "optax"
    square = h["grad_norm"] * h["grad_norm"] + h["eps"]
    gap = h["f_min"] - h["loss"] if h["maximize"] else h["loss"] - h["f_min"]
    gap = gap if optax or not gap < 0 else 0.0
    least = float(np.finfo(float).eps) if optax else 0.0
    rate = 0.0 if square <= least else h["lr"] if gap / square > h["lr"] else gap / square
    update = rate * g
    return {"g": g, "effective_lr": np.full_like(p, rate), "update": update, "p": p - update}


# ---- What rules share ----------------------------------------------------------------------------


def _schedule_free(
    y: Array,
    g: Array,
    denominator: Array,
    state: State,
    h: Settings,
    t: int,
    dialect: str,
    beta: float,
) -> Table:
    """Return the table of a schedule-free step along ``g / denominator`` and the decay."""
    keras, warmup = dialect == "keras", h["warmup_steps"]
    lr = h["lr"] * t / warmup if t < warmup else h["lr"]
    lr_max = max(lr, number(state["lr_max"]))
    weight_sum = number(state["weight_sum"]) + lr_max * lr_max
    c = 1 / t if keras else lr_max * lr_max / weight_sum if weight_sum > 0 else 0.0
    u = g / denominator + (0.0 if keras else h["weight_decay"]) * y
    new = (1 - c) * y + c * state["z"] + (lr * (beta * (1 - c) - 1)) * u
    table = {"g": g, "u": u, "effective_lr": lr / denominator, "z": state["z"] - lr * u}
    return {**table, "weight_sum": weight_sum, "lr_max": lr_max, "update": y - new, "p": new}


def _trust_ratio(p: Array, u: Array, scale: Any, beside: Any) -> Any:
    """Return ``scale |p| / (|u| + beside)``; 1 where a norm is 0 or not finite."""
    of_p, of_u = total(p, p), total(u, u)
    if not (of_p > 0 and of_u > 0 and of_p + of_u < math.inf):
        return 1.0
    return scale * of_p**0.5 / (of_u**0.5 + beside)


def _prodigy_gains(state: State, h: Settings, t: int, dialect: str) -> tuple[Any, Any, Any]:
    """Return d, ``d / d0 dlr`` and ``dlr``."""
    d = number(state["d"])
    dlr = d * h["lr"] * _bias(h, t, dialect)
    return d, d / h["d0"] * dlr, dlr


def _bias(h: Settings, t: int, dialect: str) -> Any:
    """Return Adam's correction of the rate where optax has it, else 1."""
    if dialect != "optax":
        return 1.0
    return correction(h["betas"][1], t) ** 0.5 / correction(h["betas"][0], t)


def _distance(state: State, numerator: Any, scale: Any, length: Any) -> tuple[Any, Any]:
    """Return the new d and numerator; the old ones where the sums tell nothing."""
    d = number(state["d"])
    estimate = scale * numerator / length if length > 0 else math.inf
    if not abs(estimate) < math.inf:
        return d, number(state["numerator"])
    return max(d, estimate), numerator


def _schedule_free_average(p: Array, state: State, beta: float) -> Array:
    average: Array = p + (1 - 1 / beta) * (state["z"] - p)
    return average


# Where to evaluate, for rules that keep an average: (p, state, settings) -> point.
AVERAGED: dict[str, Callable[[Array, State, Settings], Array]] = {
    "asgd": lambda p, state, h: state["average"],
    "schedule_free_sgd": lambda p, state, h: _schedule_free_average(p, state, h["momentum"]),
    "schedule_free_adamw": lambda p, state, h: _schedule_free_average(p, state, h["betas"][0]),
}


RULES: dict[str, Rule] = {
    "sgd": sgd,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adam,
    "adadelta": adadelta,
    "adamax": adamax,
    "nadam": nadam,
    "radam": radam,
    "rprop": rprop,
    "asgd": asgd,
    "lion": lion,
    "sign_sgd": sign_sgd,
    "yogi": yogi,
    "adabelief": adabelief,
    "adan": adan,
    "schedule_free_sgd": schedule_free_sgd,
    "schedule_free_adamw": schedule_free_adamw,
    "lamb": lamb,
    "lars": lars,
    "prodigy": prodigy,
    "dadapt_adam": dadapt_adam,
    "polyak_sgd": polyak_sgd,
}

# The parts of one array in the sums of rules that add over all arrays.
SUMS: dict[str, Callable[[Array, Array, State, Settings, int, str], Any]] = {
    "prodigy": prodigy_sums,
    "dadapt_adam": dadapt_adam_sums,
}

# States that do not start as an array of zeros: (p, settings) -> state.
INITIAL: dict[str, dict[str, Callable[[Array, Settings], Any]]] = {
    "adagrad": {"a": lambda p, h: np.full_like(p, h["initial_accumulator_value"])},
    "nadam": {"mu_product": lambda p, h: 1.0},
    "asgd": {"eta": lambda p, h: 0.0},
    "yogi": dict.fromkeys("mv", lambda p, h: np.full_like(p, h["initial_accumulator_value"])),
    "schedule_free_sgd": {
        "z": lambda p, h: p.copy(),
        "weight_sum": lambda p, h: 0.0,
        "lr_max": lambda p, h: 0.0,
    },
    "prodigy": {
        "p_first": lambda p, h: p.copy(),
        "d": lambda p, h: h["d0"],
        "numerator": lambda p, h: 0.0,
    },
    "dadapt_adam": {"d": lambda p, h: h["d0"], "numerator": lambda p, h: 0.0},
}
INITIAL["schedule_free_adamw"] = INITIAL["schedule_free_sgd"]
