"""Random functions written in NumPy: trees of operations over an array, to test the engine with.

All are smooth and tame (values of order 1), so that differences tell their derivatives; `bumpy`
ones add choices and kinks, for tests of forward values alone.
"""

import numpy as np

SMOOTH = {
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "arctan": np.arctan,
    "bell": lambda x: np.exp(-(x**2)),
    "log1p": lambda x: np.log1p(x**2),
    "root": lambda x: np.sqrt(1 + x * x),
    "cube": lambda x: 0.1 * x**3,
    "rest": lambda x: x / (1 + x**2),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "square": lambda x: 0.3 * np.square(x) - 1,
    "powers": lambda x: 1.5 ** np.tanh(x),
    "soft": lambda x: np.logaddexp(x, 0.2),
}
BUMPY = {
    "abs": np.abs,
    "relu": lambda x: np.maximum(x, 0),
    "clip": lambda x: np.clip(x, -0.5, 0.7),
    "where": lambda x: np.where(x > 0.1, x, 2 * x),
    "sign": np.sign,
    "floor": np.floor,
}
PAIRS = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / (1.5 + np.tanh(y)),
    "hypot": lambda x, y: np.hypot(x, 1 + y * y),
    "angle": lambda x, y: np.arctan2(x, 2 + np.sin(y)),
}
BUMPY_PAIRS = {"larger": np.maximum, "smaller": np.minimum}


def _moves(shape, r):
    """Functions that move, pick or sum elements of an array of that shape."""
    found = {"ravel": np.ravel, "negative": lambda x: -x}
    if not shape:
        return {"stack": lambda x: np.stack([x, 2 * x, x * x])}
    axis, first = r.randrange(len(shape)), r.randrange(shape[0])
    found["sum"] = lambda x: np.sum(x, axis=axis)
    found["mean"] = lambda x: x.mean(axis=axis, keepdims=True)
    found["item"] = lambda x: x[first]
    found["flip"] = lambda x: x[::-1]
    found["roll"] = lambda x: np.roll(x, 1, axis=axis)
    found["turn"] = lambda x: x.T
    found["join"] = lambda x: np.concatenate([x, np.sin(x)], axis=axis)
    found["pick"] = lambda x: x[np.array([first, 0, first])]
    found["pad"] = lambda x: np.pad(x, 1)
    found["spread"] = lambda x: x - np.mean(x)
    if shape[0] > 1:
        found["step"] = lambda x: x[1:] - x[:-1]
        found["odd"] = lambda x: x[::2]
    if len(shape) == 2:
        found["gram"] = lambda x: np.tanh(x @ x.T)
        found["norm"] = lambda x: x / np.sqrt(1 + np.sum(x * x, axis=1, keepdims=True))
        found["lower"] = np.tril
    return found


def _broadcasts(a, b):
    try:
        return np.prod(np.broadcast_shapes(np.shape(a), np.shape(b))) <= 200
    except ValueError:
        return False


def random_function(r, shape, length, bumpy=False):
    """A function of an array of that shape to a number, and its text; made by a random.Random."""
    unary = SMOOTH | (BUMPY if bumpy else {})
    pairs = PAIRS | (BUMPY_PAIRS if bumpy else {})
    trial, steps = [np.ones(shape)], []
    for _ in range(length):
        i = r.randrange(len(trial))
        kind = r.randrange(3)
        if kind == 0:
            name = r.choice(sorted(unary))
            step = (name, unary[name], (i,))
        elif kind == 1:
            partners = [j for j in range(len(trial)) if _broadcasts(trial[i], trial[j])]
            name = r.choice(sorted(pairs))
            step = (name, pairs[name], (i, r.choice(partners)))
        else:
            moves = _moves(np.shape(trial[i]), r)
            name = r.choice(sorted(moves))
            step = (name, moves[name], (i,))
        result = step[1](*(trial[j] for j in step[2]))
        if np.size(result) <= 200 and np.ndim(result) <= 4:
            trial.append(result)
            steps.append(step)

    def f(x):
        values = [x]
        for _, function, operands in steps:
            values.append(function(*(values[j] for j in operands)))
        return sum(np.mean(value) for value in values[1:]) + np.mean(values[0])

    return f, ", ".join(f"{name}{operands}" for name, _, operands in steps)
