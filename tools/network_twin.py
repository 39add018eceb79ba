"""Networks of dense layers in plain NumPy, in float64: what the notebooks' fits are held against.

Nothing here is gdcore's: weights, order of the rows, forward and backward pass and the rules of the
optimizers are written out, as a reader would write them. Only the draws agree by construction, so
that a fit of the same seed can be followed step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from figures import Array
from numpy.typing import NDArray

Arrays = list[Array]
Rule = Callable[[Arrays, Arrays, int], None]  # parameters, gradients, steps done before
Rate = float | Callable[[int], float]

FOR_ORDER = 1  # what the counter of the generator says that numbers are for


class Layer(NamedTuple):
    """Outputs and activation of a dense layer."""

    units: int
    activation: str = "linear"
    bias: bool = True


# ---- Draws ---------------------------------------------------------------------------------------


def first_weights(inputs: int, layers: Sequence[Layer], rng: np.random.Generator) -> Arrays:
    """Glorot's uniform weights and biases of zero, layer by layer."""
    params = []
    for layer in layers:
        limit = np.sqrt(6 / (inputs + layer.units))
        params.append(rng.uniform(-limit, limit, (inputs, layer.units)))
        if layer.bias:
            params.append(np.zeros(layer.units))
        inputs = layer.units
    return params


def bits_of(key: Sequence[int], epoch: int) -> Iterator[int]:
    """Numbers of 32 bits for an epoch: both halves of each word of Philox4x64-10."""
    counter = (epoch << 128) + (FOR_ORDER << 192) - 1  # NumPy's adds one before it begins
    source = np.random.Philox(counter=counter % 2**256, key=key[0] + (key[1] << 64))
    while True:
        word = int(source.random_raw())
        yield word & 0xFFFFFFFF
        yield word >> 32


def epoch_order(rows: int, key: Sequence[int], epoch: int) -> NDArray[np.int64]:
    """Fisher-Yates from the front, with Lemire's numbers below a bound."""
    bits = bits_of(key, epoch)
    table = np.arange(rows)
    for i in range(1, rows):
        product = next(bits) * (i + 1)
        while product % 2**32 < 2**32 % (i + 1):
            product = next(bits) * (i + 1)
        place = product >> 32
        table[i], table[place] = table[place], i
    return table


# ---- Activations and losses ----------------------------------------------------------------------


def activated(name: str, z: Array) -> Array:
    """The activation of z."""
    if name == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-z)))
    if name == "softmax":
        parts = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(parts / parts.sum(axis=1, keepdims=True))
    return {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0.0), "linear": np.array}[name](z)


def slope(name: str, a: Array) -> Array:
    """The derivative of an activation, by its result."""
    slopes: dict[str, Callable[[Array], Array]] = {
        "sigmoid": lambda a: a * (1 - a),
        "tanh": lambda a: 1 - a**2,
        "relu": lambda a: (a > 0).astype(float),
        "linear": np.ones_like,
    }
    return slopes[name](a)


def mse(y: Array, a: Array) -> tuple[float, Array]:
    """Mean of the squared errors, and its gradient with respect to the outputs."""
    error = a - y
    return float(np.mean(error**2)), 2 * error / error.size


def cross_entropy(y: Array, a: Array) -> tuple[float, Array]:
    """Cross-entropy of one-hot rows after softmax, of 0 and 1 after sigmoid.

    The gradient is that with respect to what softmax or sigmoid are given.
    """
    right = np.where(y == 1, a, 1 - a) if y.shape[1] == 1 else a[y == 1]
    return float(-np.mean(np.log(right))), (a - y) / len(y)


# ---- The network ---------------------------------------------------------------------------------


class Network:
    """Dense layers with a loss; parameters stand in one list, as gdcore's do."""

    def __init__(self, inputs: int, layers: Sequence[Layer], loss: str, seed: int) -> None:
        self.layers = list(layers)
        self.loss = {"mse": mse, "cross_entropy": cross_entropy}[loss]
        self.fused = loss == "cross_entropy"
        self.rng = np.random.default_rng(seed)
        self.params = first_weights(inputs, layers, self.rng)

    def activations(self, X: Array) -> Arrays:
        """The input, and what each layer gives."""
        found, place = [X], 0
        for layer in self.layers:
            z = found[-1] @ self.params[place]
            if layer.bias:
                z = z + self.params[place + 1]
            place += 1 + layer.bias
            found.append(activated(layer.activation, z))
        return found

    def predict(self, X: Array) -> Array:
        """What the last layer gives."""
        return self.activations(X)[-1]

    def value(self, X: Array, y: Array) -> float:
        """The loss on a data set."""
        return self.loss(y, self.predict(X))[0]

    def value_and_grad(self, X: Array, y: Array) -> tuple[float, Arrays]:
        """The loss and its gradients, by backpropagation."""
        a = self.activations(X)
        value, delta = self.loss(y, a[-1])
        if not self.fused:
            delta = delta * slope(self.layers[-1].activation, a[-1])
        grads: Arrays = []
        place = len(self.params)
        for number in reversed(range(len(self.layers))):
            place -= 1 + self.layers[number].bias
            own = [a[number].T @ delta, delta.sum(axis=0)]
            grads = own[: 1 + self.layers[number].bias] + grads
            if number:
                delta = delta @ self.params[place].T
                delta = delta * slope(self.layers[number - 1].activation, a[number])
        return value, grads

    def fit(
        self, X: Array, y: Array, rule: Rule, epochs: int, batch: int | None = 32
    ) -> Iterator[float]:
        """Train; yield after each epoch its loss, the mean over its rows."""
        key = self.rng.integers(0, 1 << 64, 2, np.uint64).tolist()
        size, done = batch or len(X), 0
        for epoch in range(epochs):
            order, total = epoch_order(len(X), key, epoch), 0.0
            for first in range(0, len(X), size):
                rows = order[first : first + size]
                value, grads = self.value_and_grad(X[rows], y[rows])
                rule(self.params, grads, done)
                total, done = total + value * len(rows), done + 1
            yield total / len(X)


# ---- Optimizers ----------------------------------------------------------------------------------


def rate_at(lr: Rate, t: int) -> float:
    """The rate after t steps."""
    return lr(t) if callable(lr) else lr


def zeros(state: Arrays, params: Arrays) -> None:
    """Fill an empty state."""
    if not state:
        state.extend(np.zeros_like(p) for p in params)


def sgd(lr: Rate, momentum: float = 0.0) -> Rule:
    """buffer <- momentum buffer + g;  p <- p - lr buffer."""
    buffers: Arrays = []

    def step(params: Arrays, grads: Arrays, t: int) -> None:
        zeros(buffers, params)
        for p, g, buffer in zip(params, grads, buffers, strict=True):
            buffer[...] = momentum * buffer + g
            p -= rate_at(lr, t) * buffer

    return step


def adagrad(lr: Rate) -> Rule:
    """Keras: sum <- sum + g^2 from 0.1 on;  p <- p - lr g / root(sum + 1e-7)."""
    sums: Arrays = []

    def step(params: Arrays, grads: Arrays, t: int) -> None:
        if not sums:
            sums.extend(np.full_like(p, 0.1) for p in params)
        for p, g, total in zip(params, grads, sums, strict=True):
            total += g**2
            p -= rate_at(lr, t) * g / np.sqrt(total + 1e-7)

    return step


def rmsprop(lr: Rate) -> Rule:
    """Keras: v <- 0.9 v + 0.1 g^2;  p <- p - lr g / root(v + 1e-7)."""
    squares: Arrays = []

    def step(params: Arrays, grads: Arrays, t: int) -> None:
        zeros(squares, params)
        for p, g, v in zip(params, grads, squares, strict=True):
            v[...] = 0.9 * v + 0.1 * g**2
            p -= rate_at(lr, t) * g / np.sqrt(v + 1e-7)

    return step


def adam(lr: Rate, keras: bool = False) -> Rule:
    """Running means of g and g^2, each divided by what it lacks at the start.

    torch adds its 1e-8 to the root of the corrected mean, Keras its 1e-7 to that of the raw one.
    """
    means: Arrays = []
    squares: Arrays = []

    def step(params: Arrays, grads: Arrays, t: int) -> None:
        zeros(means, params)
        zeros(squares, params)
        lacks = [1 - beta ** (t + 1) for beta in (0.9, 0.999)]
        for p, g, m, v in zip(params, grads, means, squares, strict=True):
            m[...] = 0.9 * m + (1 - 0.9) * g
            v[...] = 0.999 * v + (1 - 0.999) * g**2
            corrected, eps = (np.sqrt(lacks[1]), 1e-7) if keras else (1.0, 1e-8)
            root = np.sqrt(v if keras else v / lacks[1]) + eps
            p -= rate_at(lr, t) * corrected * (m / lacks[0]) / root

    return step
