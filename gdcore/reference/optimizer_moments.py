"""The optimizers' rules in plain NumPy: SGD and the rules that divide by a second moment.

See `optimizer_rules` for what a rule takes and returns.
"""

from __future__ import annotations

import numpy as np

from gdcore.reference._arithmetic import Array, Settings, State, Table, correction, number, sign


def sgd(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Robbins & Monro 1951; momentum of Polyak 1964; Nesterov's as in Sutskever et al. 2013.

    ``b = mu b + g``, ``p -= lr b``; with ``nesterov`` ``p -= lr (g + mu b)`` (the stored p is the
    look-ahead point).

    Differences: Keras keeps the rate inside, ``b = mu b + lr g``, ``p -= b``: the same while lr is
    constant. torch alone has dampening: from the second step on g is scaled by ``1 - dampening``.
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

    ``a += g^2``, ``p -= lr g / (sqrt(a) + eps)``.

    Differences: Keras and optax have eps in the root, ``sqrt(a + eps)``, and start a at 0.1. torch
    alone has lr_decay: ``lr / (1 + (t - 1) lr_decay)``.
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

    ``v = alpha v + (1 - alpha) g^2``, ``p -= lr g / (sqrt(v) + eps)``. Centered: ``v - m^2`` stands
    for v, never below 0, with ``m = alpha m + (1 - alpha) g``. With momentum
    ``b = mu b + g / (...)``, ``p -= lr b``.

    Differences: Keras and optax have eps in the root, and the rate inside the momentum:
    ``b = mu b + lr g / (...)``, ``p -= b``.
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
    ``p -= lr (m / c1) / (sqrt(v / c2) + eps)``. AMSGrad has the largest v so far in the root.

    Differences: Keras follows the remark below the paper's algorithm 1,
    ``p -= lr sqrt(c2) / c1 m / (sqrt(v) + eps)``: its eps counts 32 times as much at the first
    step. The largest v is that of the raw ones in torch and Keras, of the corrected ones,
    ``v / c2``, in optax.
    """
    lr, eps, (b1, b2) = h["lr"], h["eps"], h["betas"]
    c1, c2 = correction(b1, t), correction(b2, t)
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


def adadelta(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Zeiler 2012.

    ``v = rho v + (1 - rho) g^2``, ``u = sqrt(d + eps) / sqrt(v + eps) g``,
    ``d = rho d + (1 - rho) u^2``, ``p -= lr u``.

    Differences: none but the defaults; the paper's are rho 0.95, eps 1e-6, lr 1.
    """
    rho, eps = h["rho"], h["eps"]
    v = rho * state["v"] + (1 - rho) * (g * g)
    ratio = np.sqrt(state["d"] + eps) / np.sqrt(v + eps)
    u = ratio * g
    d = rho * state["d"] + (1 - rho) * (u * u)
    update = h["lr"] * u
    table = {"g": g, "v": v, "u": u, "d": d, "effective_lr": h["lr"] * ratio, "update": update}
    return {**table, "p": p - update}


def adamax(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Kingma & Ba 2015, section 7.

    ``m = b1 m + (1 - b1) g``, ``u = max(b2 u, |g| + eps)``, ``p -= lr / (1 - b1^t) m / u``.

    Differences: Keras adds eps to u in the step instead, ``u = max(b2 u, |g|)``, ``m / (u + eps)``.
    """
    (b1, b2), eps = h["betas"], h["eps"]
    inside, beside = (0.0, eps) if dialect == "keras" else (eps, 0.0)
    step = h["lr"] / correction(b1, t)
    m = b1 * state["m"] + (1 - b1) * g
    u = np.maximum(b2 * state["u"], np.abs(g) + inside)
    denominator = u + beside
    update = step * m / denominator
    table = {"g": g, "m": m, "u": u, "denominator": denominator}
    return {**table, "effective_lr": step / denominator, "update": update, "p": p - update}


def nadam(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Dozat 2016.

    m, v and c2 are Adam's; ``mu_t = b1 (1 - 0.96^(t momentum_decay) / 2)``,
    ``P_t = mu_1 ... mu_t``,
    ``p -= lr ((1 - mu_t) / (1 - P_t) g + mu_(t+1) / (1 - P_(t+1)) m) / (sqrt(v / c2) + eps)``.

    Differences: momentum_decay is 0.004 in torch and 1 in Keras. optax has no mu_t: its gains are
    ``(1 - b1) / (1 - b1^t)`` of g and ``b1 / (1 - b1^(t+1))`` of m.
    """
    lr, psi, (b1, b2) = h["lr"], h["momentum_decay"], h["betas"]
    mu, mu_next = (b1 * (1 - 0.5 * 0.96 ** (i * psi)) for i in (t, t + 1))
    product = number(state["mu_product"]) * mu
    if dialect == "optax":
        g_gain, m_gain = (1 - b1) / correction(b1, t), b1 / correction(b1, t + 1)
    else:
        g_gain, m_gain = (1 - mu) / (1 - product), mu_next / (1 - product * mu_next)
    m = b1 * state["m"] + (1 - b1) * g
    v = b2 * state["v"] + (1 - b2) * (g * g)
    ahead = g_gain * g + m_gain * m
    denominator = np.sqrt(v) * (1 / correction(b2, t) ** 0.5) + h["eps"]
    update = lr * ahead / denominator
    table = {"g": g, "m": m, "v": v, "mu_product": product, "m_hat": ahead}
    table.update(denominator=denominator, effective_lr=lr / denominator, update=update)
    return {**table, "p": p - update}


def radam(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Liu et al. 2020.

    m, v, c1, c2 are Adam's; ``rho_inf = 2 / (1 - b2) - 1``, ``rho = rho_inf - 2 t b2^t / c2``. Up
    to rho = 5 ``p -= lr m / c1``; then ``p -= lr r (m / c1) sqrt(c2) / (sqrt(v) + eps)`` with
    ``r^2 = (rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho)``.

    Differences: optax has eps beside the corrected root, ``sqrt(v / c2) + eps``. Keras has no
    RAdam.
    """
    b1, b2 = h["betas"]
    c1, c2 = correction(b1, t), correction(b2, t)
    most = 2 / (1 - b2) - 1
    rho = most - 2 * t * (1 - c2) / c2
    m = b1 * state["m"] + (1 - b1) * g
    v = b2 * state["v"] + (1 - b2) * (g * g)
    step, denominator = h["lr"] / c1, np.ones_like(p)
    if rho > 5 or (rho == 5 and dialect == "optax"):
        r = ((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)) ** 0.5
        optax = dialect == "optax"
        step *= r if optax else r * c2**0.5
        denominator = np.sqrt(v) * (1 / c2**0.5) + h["eps"] if optax else np.sqrt(v) + h["eps"]
    update = step * m / denominator
    table = {"g": g, "m": m, "v": v, "denominator": denominator}
    return {**table, "effective_lr": step / denominator, "update": update, "p": p - update}


def yogi(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Zaheer et al. 2018.

    m, c1, c2 are Adam's; ``v -= (1 - b2) sign(v - g^2) g^2``,
    ``p -= lr (m / c1) / (sqrt(v / c2) + eps)``; m and v start at initial_accumulator_value.

    Differences: optax has it; torch and Keras do not.
    """
    b2, square = h["betas"][1], g * g
    v = state["v"] - (1 - b2) * sign(state["v"] - square) * square
    return _adam_step(p, g, v, "v", state, h, t)


def adabelief(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Zhuang et al. 2020.

    m, c1, c2 are Adam's; ``s = b2 s + (1 - b2) (g - m)^2 + eps_root`` (which stays in s),
    ``p -= lr (m / c1) / (sqrt(s / c2) + eps)``.

    Differences: eps and eps_root are 1e-8 in the authors' first release, 1e-16 in optax; the
    authors' later releases rectify as RAdam does. torch and Keras do not have it.
    """
    b1, b2 = h["betas"]
    strays = g - (b1 * state["m"] + (1 - b1) * g)
    s = b2 * state["s"] + (1 - b2) * (strays * strays) + h["eps_root"]
    return _adam_step(p, g, s, "s", state, h, t)


def adan(p: Array, g: Array, state: State, h: Settings, t: int, dialect: str) -> Table:
    """Xie et al. 2022.

    ``delta = g - g_previous`` (0 at first), ``m = b1 m + (1 - b1) g``,
    ``w = b2 w + (1 - b2) delta``, ``n = b3 n + (1 - b3) (g + b2 delta)^2``,
    ``p = (p - lr (m / c1 + b2 w / c2) / (sqrt(n / c3) + eps)) / (1 + lr weight_decay)``.

    Differences: the paper's betas are 1 - ours. optax 0.2.8 has another rule under this name, which
    is not followed here. torch and Keras do not have it.
    """
    lr, (b1, b2, b3) = h["lr"], h["betas"]
    decay = 0.0 if dialect == "keras" else h["weight_decay"]
    c1, c2, c3 = (correction(b, t) for b in h["betas"])
    delta = np.zeros_like(g) if t == 1 else g - state["g_previous"]
    ahead = g + b2 * delta
    m = b1 * state["m"] + (1 - b1) * g
    w = b2 * state["w"] + (1 - b2) * delta
    n = b3 * state["n"] + (1 - b3) * (ahead * ahead)
    direction = (1 / c1) * m + (b2 / c2) * w
    denominator = np.sqrt(n) * (1 / c3**0.5) + h["eps"]
    new = (p - lr * direction / denominator) * (1 / (1 + lr * decay))
    table = {"g": g, "m": m, "w": w, "n": n, "g_previous": g, "denominator": denominator}
    return {**table, "effective_lr": lr / denominator, "update": p - new, "p": new}


def _adam_step(
    p: Array, g: Array, second: Array, name: str, state: State, h: Settings, t: int
) -> Table:
    """Return Adam's table with another second moment, of this name."""
    b1 = h["betas"][0]
    m = b1 * state["m"] + (1 - b1) * g
    step = h["lr"] / correction(b1, t)
    denominator = np.sqrt(second) * (1 / correction(h["betas"][1], t) ** 0.5) + h["eps"]
    update = step * m / denominator
    table = {"g": g, "m": m, name: second, "denominator": denominator}
    return {**table, "effective_lr": step / denominator, "update": update, "p": p - update}


def _root(square: Array, eps: float, dialect: str) -> Array:
    """Return the root of a mean square, kept from 0 by eps beside it (torch) or inside it."""
    if dialect == "torch":
        beside: Array = np.sqrt(square) + eps
        return beside
    inside: Array = np.sqrt(square + eps)
    return inside
