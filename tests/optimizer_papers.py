"""Rules that no framework has in the authors' form, written down from the papers' algorithms.

All parameters are one float64 vector. A rule takes the first vector and the settings and is a
generator: it is sent the vector, its gradient, the rate and the loss of a step, and yields the new
vector and the point to evaluate at. A running mean that is corrected for its start is written as
what it is, a weighted mean of all so far.
"""

import numpy as np


def mean(history, beta):
    """The mean of all so far by weights beta^age: what 1 - beta^t corrects a running mean to."""
    return np.average(history, axis=0, weights=[beta**age for age in range(len(history))][::-1])


def adan(p, h):
    """Xie et al. 2022, algorithm 1, corrected as the authors do; betas are 1 - the paper's."""
    (b1, b2, b3), gs, steps, squares = h["betas"], [], [], []
    while True:
        p, g, lr, _ = yield p, p
        gs.append(g)
        steps.append(g - gs[-2] if len(gs) > 1 else 0 * g)
        squares.append((g + b2 * steps[-1]) ** 2)
        rate = lr / (np.sqrt(mean(squares, b3)) + h["eps"])
        p = (p - rate * (mean(gs, b1) + b2 * mean(steps, b2))) / (1 + lr * h["weight_decay"])


def schedule_free(x, beta, h, direction):
    """Defazio et al. 2024, algorithm 1: z descends, x averages z, gradients are taken at y.

    In Keras's dialect all z weigh alike.
    """
    z, y, weights, largest = x, x, [], 0.0
    while True:
        y, g, lr, _ = yield y, x
        x = (y - (1 - beta) * z) / beta  # the one that made y, unless Keras's decay has moved y
        lr *= min(1, (len(weights) + 1) / h["warmup_steps"]) if h["warmup_steps"] else 1
        largest = max(largest, lr)
        weights.append(1 if h["dialect"] == "keras" else largest**2)
        z = z - lr * (direction(g) + h["weight_decay"] * y)
        c = weights[-1] / sum(weights)
        x = (1 - c) * x + c * z
        y = (1 - beta) * z + beta * x


def schedule_free_sgd(p, h):
    return schedule_free(p, h["momentum"], h, lambda g: g)


def schedule_free_adamw(p, h):
    (b1, b2), squares = h["betas"], []

    def direction(g):
        squares.append(g**2)
        return g / (np.sqrt(mean(squares, b2)) + h["eps"])

    return schedule_free(p, b1, h, direction)


def prodigy(p, h):
    """Mishchenko & Defazio 2024, algorithm 4; as in the authors' code eps goes with the new d."""
    (b1, b2), d, first = h["betas"], h["d0"], p
    b3 = np.sqrt(b2)
    r, s, m, v = 0.0, np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    while True:
        p, g, lr, _ = yield p, p
        r = b3 * r + (1 - b3) * lr * d**2 * np.dot(g, first - p)
        s = b3 * s + (1 - b3) * lr * d**2 * g
        m = b1 * m + (1 - b1) * d * g
        v = b2 * v + (1 - b2) * d**2 * g**2
        before, d = d, max(d, h["d_coef"] * r / np.sum(np.abs(s)))
        p = p - lr * before * (m / (np.sqrt(v) + d * h["eps"]) + h["weight_decay"] * p)


def dadapt_adam(p, h):
    """Defazio & Mishchenko 2023, algorithm 5; as in the authors' code r has the norm of before."""
    (b1, b2), d = h["betas"], h["d0"]
    b3 = np.sqrt(b2)
    r, s, m, v = 0.0, np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    while True:
        p, g, lr, _ = yield p, p
        r = b3 * r + (1 - b3) * lr * d * np.dot(g, s / (np.sqrt(v) + h["eps"]))
        s = b3 * s + (1 - b3) * lr * d * g
        m = b1 * m + (1 - b1) * lr * d * g
        v = b2 * v + (1 - b2) * g**2
        before, d = d, max(d, r / ((1 - b3) * np.sum(np.abs(s))))
        p = p - m / (np.sqrt(v) + h["eps"]) - lr * before * h["weight_decay"] * p


def polyak_sgd(p, h):
    """Loizou et al. 2021, SPS_max for a known minimum; the gap cannot be below 0.

    The loss's own gradient has the norm, weight decay is no part of the loss.
    """
    while True:
        p, g, lr, loss = yield p, p
        rate = min(lr, max(0, loss - h["f_min"]) / (np.dot(g, g) + h["eps"]))
        p = p - rate * (g + h["weight_decay"] * p)


PAPERS = {
    "adan": adan,
    "schedule_free_sgd": schedule_free_sgd,
    "schedule_free_adamw": schedule_free_adamw,
    "prodigy": prodigy,
    "dadapt_adam": dadapt_adam,
    "polyak_sgd": polyak_sgd,
}
