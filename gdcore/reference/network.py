"""A network and its training in plain NumPy.

The twin of `csrc/network.c`, `csrc/pass.c` and `csrc/train.c`: stages, objectives and keys are what
`_core.Network` and `_core.Trainer` take, but for functions of the user's. Results are computed in
the type of the parameters, long double too, and added in NumPy's order: they agree with the core's
to rounding; masks and orders are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from gdcore import _core
from gdcore.reference import activations
from gdcore.reference.losses import LOSSES
from gdcore.reference.random import FOR_DROPOUT, epoch_order, random_bits

__all__ = ["Batch", "Drawn", "Network", "Objective", "Trace", "epoch_loss", "train"]

Array = Any  # an ndarray of any real type; arithmetic on them is typed as Any by NumPy too
Stage = tuple[Any, ...]
CHUNK = 256  # rows whose products the core adds in the type of the network


class Objective(NamedTuple):
    """What a network is trained for, in the core's order.

    Attributes
    ----------
    own, scalar : bool
        Whether the loss is a function of the user's: not here.
    loss : tuple
        Number of a row of the losses, and its parameters.
    total : bool
        Whether losses are summed, instead of their mean taken.
    labels : bool
        Whether targets are class numbers.
    width, losses : int
        Targets and losses of one row.
    probability : tuple
        The activation that makes of predictions what metrics see.
    penalties : array of shape (parameters, 2), or None
        l1 and l2 of each parameter.
    """

    own: bool
    scalar: bool
    loss: tuple[float, ...]
    total: bool
    labels: bool
    width: int
    losses: int
    probability: tuple[float, ...]
    penalties: Array | None


class Drawn(NamedTuple):
    """What masks of dropout are a function of: key, number of the batch, numbers of its rows."""

    key: tuple[int, int]
    step: int
    rows: Sequence[int] | Array


class Trace(NamedTuple):
    """What a way forward leaves: the input, the output of each stage, what each keeps."""

    x: Array
    outputs: list[Array]
    kept: list[Any]

    def input_of(self, i: int) -> Array:
        """Return what stage i reads."""
        return self.x if i == 0 else self.outputs[i - 1]


def _chosen(table: Any, spec: Sequence[float]) -> tuple[str, dict[str, float]]:
    """Return name and parameters of a row of a table of the core."""
    row = table[int(spec[0])]
    return row["name"], dict(zip(row["params"], spec[1:], strict=True))


def _total(x: Array, axis: int) -> Array:
    return np.sum(x, axis=axis, keepdims=True)


class Network:
    """Stages, their parameters and moving statistics, which a training changes in place.

    Parameters
    ----------
    stages : sequence of tuple
        ``(kind, inputs, outputs, params, activation, numbers)``, see `csrc/network.h`.
    params, buffers : sequence of ndarray
        As the core takes them: what counts of a shape is the size.
    rounded : callable, optional
        What becomes of each result: ``rounded(result, bound)``, the bound of its rounding error in
        epsilons of the type. For tests, which learn from it how far results may lie apart.

    Examples
    --------
    >>> from gdcore.reference.network import Network
    >>> double = Network([("dense", 1, 1, (0,), (), ())], [np.array([[2.0]])])
    >>> double.forward(np.array([[3.0]])).outputs[-1]
    array([[6.]])
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        params: Sequence[Array],
        buffers: Sequence[Array] = (),
        rounded: Callable[[Array, Array], Array] | None = None,
    ) -> None:
        self.stages, self.params, self.buffers = stages, params, buffers
        self.rounded = rounded
        self.drawn: Drawn | None = None

    def _round(self, result: Array, bound: Callable[[], Array]) -> Array:
        return result if self.rounded is None else self.rounded(result, bound())

    def _sum(self, x: Array, y: Array) -> Array:
        return self._round(x + y, lambda: np.abs(x + y))

    def _mean(self, x: Array, axis: int) -> Array:
        n = x.shape[axis]
        bound = lambda: (3 + n / 16) * _total(np.abs(x), axis) / n  # noqa: E731
        return self._round(_total(x, axis) / n, bound)

    def _affine(self, stage: Stage) -> tuple[Array, Array]:
        scale, shift = stage[3]
        return self.params[scale].ravel(), self.params[shift].ravel()

    # ---- Forward ---------------------------------------------------------------------------------

    @np.errstate(all="ignore")
    def forward(self, X: Array, drawn: Drawn | None = None) -> Trace:
        """Return what a way of all rows through the stages leaves.

        Without `drawn`, predictions: dropout does nothing, batches are normalised by the moving
        statistics.
        """
        self.drawn = drawn
        trace = Trace(X, [], [])
        for i, stage in enumerate(self.stages):
            y, kept = getattr(self, f"_{stage[0]}")(trace, i, stage, trace.input_of(i))
            trace.outputs.append(y)
            trace.kept.append(kept)
        return trace

    def _dense(self, trace: Trace, i: int, stage: Stage, x: Array) -> Any:
        """``y = x W + b``."""
        _, inputs, outputs, numbers, _, _ = stage
        W = self.params[numbers[0]].reshape(inputs, outputs)
        b = self.params[numbers[1]].ravel() if len(numbers) > 1 else np.zeros_like(W[0])
        bound = lambda: (inputs + 1) * (np.abs(x) @ np.abs(W) + np.abs(b))  # noqa: E731
        return self._round(x @ W + b, bound), None

    def _activation(self, trace: Trace, i: int, stage: Stage, x: Array) -> Any:
        """``y = act(x)``."""
        name, settings = _chosen(_core.ACTIVATIONS, stage[4])
        y = getattr(activations, name)(x, **settings)
        return self._round(y, lambda: 8 * np.abs(y)), None

    def _dropout(self, trace: Trace, i: int, stage: Stage, x: Array) -> Any:
        """``y = x mask``, the mask 0 or 1 / (1 - rate) by 32 bits of each unit."""
        if self.drawn is None:
            return x, None
        rate, width = stage[5][0], stage[2]
        key, step, rows = self.drawn
        bits = [random_bits(key, FOR_DROPOUT, step, i, int(row), width) for row in rows]
        kept = np.array(bits).reshape(len(rows), width) >= np.uint32(int(rate * 2.0**32))
        mask = np.where(kept, 1 / (1 - rate), 0).astype(x.dtype)
        return self._round(x * mask, lambda: 2 * np.abs(x * mask)), mask

    def _normalise(self, x: Array, mean: Array, variance: Array, stage: Stage) -> Any:
        """Return ``y = scale h + shift``, ``h = (x - mean) rstd`` and rstd, 1 / deviation."""
        scale, shift = self._affine(stage)
        rstd = 1 / np.sqrt(variance + stage[5][0])
        rstd = self._round(rstd, lambda: 4 * rstd)
        h = self._round((x - mean) * rstd, lambda: 3 * np.abs((x - mean) * rstd))
        y = self._round(h * scale + shift, lambda: 2 * (np.abs(h * scale) + np.abs(shift)))
        return y, h, rstd

    def _measured(self, x: Array, axis: int) -> tuple[Array, Array]:
        """Return mean and variance along an axis."""
        mean = self._mean(x, axis)
        return mean, self._mean((x - mean) ** 2, axis)

    def _layer_norm(self, trace: Trace, i: int, stage: Stage, x: Array) -> Any:
        """Normalise each row [Ba, Kiros & Hinton 2016]."""
        y, h, rstd = self._normalise(x, *self._measured(x, 1), stage)
        return y, (h, rstd)

    def _batch_norm(self, trace: Trace, i: int, stage: Stage, x: Array) -> Any:
        """Normalise each column, in training by the batch itself [Ioffe & Szegedy 2015]."""
        at = int(stage[5][2])
        mean, variance = (b.reshape(1, -1) for b in self.buffers[at : at + 2])
        if self.drawn is not None:
            mean, variance = self._measured(x, 0)
        y, h, rstd = self._normalise(x, mean, variance, stage)
        return y, (h, rstd, mean, variance)

    def _fork(self, trace: Trace, i: int, stage: Stage, x: Array) -> Any:
        """``y = x``, which a join adds again."""
        return x, None

    def _join(self, trace: Trace, i: int, stage: Stage, x: Array) -> Any:
        """``y = x`` + the output of the fork."""
        return self._sum(x, trace.outputs[int(stage[5][0])]), None

    # ---- Backward --------------------------------------------------------------------------------

    @np.errstate(all="ignore")
    def backward(self, trace: Trace, dy: Array) -> list[Array]:
        """Return the gradients of the parameters for the gradient dy of the predictions."""
        grads = [np.zeros_like(p) for p in self.params]
        parted: dict[int, Array] = {}  # gradients that forks are to add
        for i, stage in reversed([*enumerate(self.stages)]):
            for k, grad in enumerate(self._gradients(trace, i, stage, dy)):
                number = stage[3][k]
                grads[number] = grads[number] + grad.reshape(grads[number].shape)
            if stage[0] == "join":
                parted[int(stage[5][0])] = dy
            elif stage[0] == "fork":
                dy = self._sum(dy, parted.pop(i))
            else:
                dy = getattr(self, f"_{stage[0]}_back")(trace, i, stage, dy)
        return grads

    def _gradients(self, trace: Trace, i: int, stage: Stage, dy: Array) -> list[Array]:
        """Return the gradients of a stage's own arrays: sums over the rows."""
        if not stage[3]:
            return []
        rows = len(dy)
        count = min(rows, CHUNK) + rows / CHUNK + 1
        shift = self._round(dy.sum(axis=0), lambda: count * np.abs(dy).sum(axis=0))
        if stage[0] == "dense":
            x = trace.input_of(i)
            W = self._round(x.T @ dy, lambda: count * (np.abs(x.T) @ np.abs(dy)))
            return [W, shift][: len(stage[3])]
        terms = dy * trace.kept[i][0]
        return [self._round(terms.sum(axis=0), lambda: count * np.abs(terms).sum(axis=0)), shift]

    def _dense_back(self, trace: Trace, i: int, stage: Stage, dy: Array) -> Array:
        W = self.params[stage[3][0]].reshape(stage[1], stage[2])
        return self._round(dy @ W.T, lambda: stage[2] * (np.abs(dy) @ np.abs(W.T)))

    def _activation_back(self, trace: Trace, i: int, stage: Stage, dy: Array) -> Array:
        name, settings = _chosen(_core.ACTIVATIONS, stage[4])
        z, y = trace.input_of(i), trace.outputs[i]
        dz = getattr(activations, name + "_grad")(dy, z, y, **settings)
        if name in ("softmax", "log_softmax"):
            return self._round(dz, lambda: (8 + stage[2]) * np.abs(dy).max(axis=1, keepdims=True))
        return self._round(dz, lambda: 8 * (np.abs(dz) + np.abs(dy)))

    def _dropout_back(self, trace: Trace, i: int, stage: Stage, dy: Array) -> Array:
        dx = dy if trace.kept[i] is None else dy * trace.kept[i]
        return self._round(dx, lambda: 2 * np.abs(dx))

    def _normalised_back(self, trace: Trace, i: int, stage: Stage, dy: Array, axis: int) -> Array:
        """``rstd (e - mean of e - h mean of e h)``, e = dy scale."""
        h, rstd = trace.kept[i][:2]
        e = dy * self._affine(stage)[0]
        first, second = self._mean(e, axis), self._mean(e * h, axis)
        size = np.abs(e) + np.abs(first) + np.abs(h * second)
        return self._round(rstd * (e - first - h * second), lambda: 6 * rstd * size)

    def _layer_norm_back(self, trace: Trace, i: int, stage: Stage, dy: Array) -> Array:
        return self._normalised_back(trace, i, stage, dy, 1)

    def _batch_norm_back(self, trace: Trace, i: int, stage: Stage, dy: Array) -> Array:
        return self._normalised_back(trace, i, stage, dy, 0)

    # ---- Losses ----------------------------------------------------------------------------------

    @np.errstate(all="ignore")
    def losses(self, pred: Array, y: Array, objective: Objective) -> tuple[Array, Array]:
        """Return the losses, of shape (rows, losses of a row), and their gradient."""
        name, settings = _chosen(_core.LOSSES, objective.loss)
        single = _core.LOSSES[int(objective.loss[0])]["kind"] in ("sparse", "paired")
        y = np.asarray(y).astype(np.int64 if objective.labels else pred.dtype)
        y = y.reshape(len(pred)) if single else y.reshape(pred.shape)
        values, slopes = (f(y, pred, **settings) for f in LOSSES[name])
        return values.reshape(len(pred), objective.losses), slopes

    def penalty(self, objective: Objective) -> Array:
        """Return ``l1 sum |p| + l2 sum p^2`` of all parameters."""
        table = objective.penalties
        if table is None:
            return 0
        parts = zip(self.params, np.asarray(table).reshape(-1, 2), strict=True)
        return sum(l1 * np.abs(p).sum() + l2 * (p**2).sum() for p, (l1, l2) in parts)

    @np.errstate(all="ignore")
    def evaluate(
        self, X: Array, y: Array, objective: Objective, weights: Array | None = None
    ) -> tuple[Array, Array]:
        """Return predictions and the loss of all rows, with penalties."""
        pred = self.forward(X).outputs[-1]
        values, _ = self.losses(pred, y, objective)
        weights = np.ones(len(X)) if weights is None else weights
        loss = (values * weights[:, None]).sum() * _factor(objective, weights)
        return pred, loss + self.penalty(objective)

    @np.errstate(all="ignore")
    def value_and_grad(
        self,
        X: Array,
        y: Array,
        objective: Objective,
        weights: Array | None = None,
        drawn: Drawn | None = None,
    ) -> tuple[Array, list[Array], Trace]:
        """Return loss, gradients and the trace of a batch; the mean is over the batch's weights.

        Where these sum to 0, the loss and its gradient are 0.
        """
        trace = self.forward(X, drawn or Drawn((0, 0), 0, range(len(X))))
        pred = trace.outputs[-1]
        values, slopes = self.losses(pred, y, objective)
        weights = np.ones(len(X)) if weights is None else weights
        w, factor = weights[:, None].astype(pred.dtype), _factor(objective, weights)
        values = self._round(values * w, lambda: 8 * (np.abs(values) + 1) * np.abs(w))
        d = self._round(
            slopes * w * pred.dtype.type(factor),
            lambda: (8 + pred.shape[1]) * factor * w * (1 + np.abs(slopes).max(1, keepdims=True)),
        )
        grads = self.backward(trace, d)
        if objective.penalties is not None:
            table = np.asarray(objective.penalties).reshape(-1, 2)
            for i, (p, (l1, l2)) in enumerate(zip(self.params, table, strict=True)):
                grads[i] = grads[i] + l1 * np.sign(p) + 2 * l2 * p
        return values.sum() * factor + self.penalty(objective), grads, trace

    def move_buffers(self, trace: Trace) -> None:
        """Move the moving statistics on: ``m <- momentum m + (1 - momentum) batch's``."""
        for stage, kept in zip(self.stages, trace.kept, strict=True):
            if stage[0] == "batch_norm":
                momentum, at = stage[5][1], int(stage[5][2])
                for k, fresh in enumerate(kept[2:]):
                    moving = self.buffers[at + k]
                    moved = momentum * moving.astype(np.float64).ravel()
                    moving[...] = (moved + (1 - momentum) * fresh.ravel()).reshape(moving.shape)


def _factor(objective: Objective, weights: Array) -> float:
    """Return what the sum of the losses is times: 1, or 1 / (sum of the weights x losses a row)."""
    count = float(np.sum(weights)) * objective.losses
    return 1.0 if objective.total else 1 / count if count != 0 else 0.0


# ---- Training ------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """A batch that was trained on.

    Attributes
    ----------
    epoch, number : int
        The epoch, and the batch within it.
    rows : int64 array
        Its rows of X.
    loss, weight, penalty : float
        Its loss, the sum of its weights, and the penalty that is part of the loss.
    grads : list of ndarray
        Its gradients.
    trace : Trace
        Its way through the stages.
    """

    epoch: int
    number: int
    rows: Array
    loss: float
    weight: float
    penalty: float
    grads: list[Array]
    trace: Trace


def train(
    network: Network,
    X: Array,
    y: Array,
    objective: Objective,
    step: Callable[[list[Array]], object],
    *,
    batch: int,
    batches: int | None = None,
    key: tuple[int, int] = (0, 0),
    shuffle: bool = False,
    weights: Array | None = None,
    index: Array | None = None,
    order: Callable[[int], Array] | None = None,
) -> Iterator[Batch]:
    """Train without end, batch by batch; each is given back once its step is taken.

    Parameters
    ----------
    network : Network
    X, y, weights : ndarray
        Data; weights of the rows, or None.
    objective : Objective
    step : callable
        Takes the gradients, and changes ``network.params`` in place.
    batch, batches : int
        Rows of a batch, and batches of an epoch: all that the rows make where None.
    key : pair of int
        Of orders and dropout.
    shuffle : bool
        Whether each epoch has an order of its own, `gdcore.reference.random.epoch_order`.
    index : int64 array, optional
        The rows that are used, in place of all.
    order : callable, optional
        Number of the epoch to an order of the rows used, in place of ``shuffle``.

    Yields
    ------
    Batch

    Examples
    --------
    >>> from gdcore.reference.network import Network, Objective, train
    >>> net = Network([("dense", 1, 1, (0,), (), ())], [np.zeros((1, 1))])
    >>> half = next(i for i, row in enumerate(gd._core.LOSSES) if row["name"] == "half_mse")
    >>> goal = Objective(False, False, (half,), False, False, 1, 1, (0,), None)
    >>> X = np.array([[1.0], [2.0]])
    >>> step = lambda grads: np.subtract(net.params[0], grads[0], out=net.params[0])
    >>> next(train(net, X, 3 * X, goal, step, batch=1)).loss, net.params[0].item()
    (4.5, 3.0)
    """
    used = np.arange(len(X)) if index is None else np.asarray(index)
    batches = -(-len(used) // batch) if batches is None else batches
    epoch = count = 0
    while True:
        positions = np.arange(len(used))
        if order is not None:
            positions = np.asarray(order(epoch))
        elif shuffle:
            positions = epoch_order(len(used), key, epoch)
        for number in range(batches):
            rows = used[positions[number * batch : (number + 1) * batch]]
            w = None if weights is None else weights[rows]
            drawn = Drawn(key, count, rows)
            x = X[rows].astype(network.params[0].dtype)
            loss, grads, trace = network.value_and_grad(x, y[rows], objective, w, drawn)
            penalty = float(network.penalty(objective))
            step(grads)
            network.move_buffers(trace)
            weight = float(len(rows) if w is None else w.sum())
            yield Batch(epoch, number, rows, float(loss), weight, penalty, grads, trace)
            count += 1
        epoch += 1


def epoch_loss(batches: Sequence[Batch], objective: Objective) -> float:
    """Return the loss of an epoch: the mean of the batches' losses by weight, or their sum.

    A sum holds the penalty once, that of the last batch.
    """
    if objective.total:
        return sum(batch.loss - batch.penalty for batch in batches) + batches[-1].penalty
    weight = sum(batch.weight for batch in batches)
    if weight <= 0:
        return sum(batch.loss * batch.weight for batch in batches)
    return sum(batch.loss * batch.weight for batch in batches) / weight
