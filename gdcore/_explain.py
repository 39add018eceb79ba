"""`Sequential.explain`: every quantity of one step of backpropagation, layer by layer.

Loss and gradients are those that `value_and_grad` computes in the core. What stands between is
computed here from the live parameters, stage by stage, by the same kernels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdcore import _core
from gdcore._composed import Composed
from gdcore._core import NonFiniteError
from gdcore._explain_table import explanation_html, explanation_text
from gdcore._fit_data import checked
from gdcore._names import did_you_mean
from gdcore._native import is_told
from gdcore._rate_state import counts_epochs, momentum_of
from gdcore._run import value_and_grad
from gdcore._trainer import draw_key, searches_line, step_told
from gdcore.schedules import Schedule
from gdcore.schedules._base import Float64Array, Momentum

if TYPE_CHECKING:
    from gdcore._layer import Layer
    from gdcore._model import Model

Array = NDArray[Any]

FOR_DROPOUT = 2  # the purpose of its random bits, as csrc/random.h numbers them


# ---- The result ----------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class LayerExplanation:
    """What goes through one layer in one step, forwards and backwards; all arrays are copies.

    Attributes
    ----------
    name, kind : str
        Such as "dense_1" and "Dense, relu".
    depth : int
        How many `Residual` it is in.
    x : ndarray (rows, inputs)
        What comes in: a of the layer before.
    z : ndarray (rows, outputs)
        Before the activation; of a layer without one z is a.
    a : ndarray (rows, outputs)
        What goes out.
    da, delta : ndarray (rows, outputs)
        Gradients of the loss with respect to a and to z.
    dx : ndarray (rows, inputs)
        Gradient of the loss with respect to x.
    fused : bool
        Whether the loss is computed from z at once, and delta with it: a cross-entropy after
        softmax or sigmoid. da, which may overflow, is then there to be looked at.
    regularized : bool
        Whether the gradient of a penalty on W is part of dW.
    mask : ndarray (rows, outputs) or None
        Of Dropout: what it multiplies by.
    params, grads : dict of str to ndarray
        Parameters by name, and the gradients of the loss with respect to them, the penalty of a
        regularizer included.
    update : dict of str to ndarray, or None
        What the optimizer's next step adds to them; None where it refuses gradients that are not
        finite.
    first, last : bool
        Whether rows come in there, and the loss comes after it.
    """

    name: str
    kind: str
    depth: int
    x: Array
    z: Array
    a: Array
    da: Array
    delta: Array
    dx: Array
    fused: bool = False
    regularized: bool = False
    mask: Array | None = None
    params: dict[str, Array] = field(default_factory=dict)
    grads: dict[str, Array] = field(default_factory=dict)
    update: dict[str, Array] | None = None
    first: bool = False
    last: bool = False

    @property
    def W(self) -> Array | None:
        """Weights (inputs, outputs); None where the layer has none."""
        return self.params.get("W")

    @property
    def b(self) -> Array | None:
        """Bias (outputs,); None where the layer has none."""
        return self.params.get("b")

    @property
    def dW(self) -> Array | None:
        """Gradient of the loss with respect to W; None where the layer has none."""
        return self.grads.get("W")

    @property
    def db(self) -> Array | None:
        """Gradient of the loss with respect to b; None where the layer has none."""
        return self.grads.get("b")

    def __repr__(self) -> str:
        return explanation_text([self])


@dataclass(eq=False, repr=False)
class Explanation:
    """Every quantity of one step of backpropagation, layer by layer; prints as a table.

    ``e.layers[0]``, ``e[0]`` and ``e["dense"]`` are a layer's, and iteration goes through them in
    order.

    Attributes
    ----------
    layers : list of LayerExplanation
        In the order of the forward pass; the layers of a `Residual` come after it.
    loss : NumPy scalar
        Penalties of regularizers included.
    predictions : ndarray (rows, outputs)
        a of the last layer.
    X, y : ndarray
        The batch, as the model reads it.
    loss_name, optimizer : str
        What the loss is, and the optimizer whose next step `update` is.

    Notes
    -----
    For a layer z = x W + b, a = f(z), in rows, the four equations of backpropagation are

    - (BP1) of the last layer: ``delta = da * f'(z)``, da being the gradient of the loss with
      respect to the predictions. A cross-entropy after softmax or sigmoid is fused with it: delta
      is computed at once, ``(a - y) / rows`` where rows have no weights.
    - (BP2) of every layer before: ``da = delta_next @ W_next.T``, ``delta = da * f'(z)``.
    - (BP3) ``db = delta.sum(axis=0)``.
    - (BP4) ``dW = x.T @ delta``.

    To db and dW comes the gradient of a regularizer's penalty.

    References
    ----------
    D. Rumelhart, G. Hinton, R. Williams, "Learning representations by back-propagating errors",
    Nature 323 (1986); M. Nielsen, "Neural Networks and Deep Learning" (2015), ch. 2, whose numbers
    the equations have.

    Examples
    --------
    >>> model = gd.Sequential([gd.Dense(1, "sigmoid", kernel_initializer="zeros")])
    >>> model.compile(gd.SGD(0.5), "half_mse")
    >>> e = model.explain([[1.0, 2.0]], [1.0])
    >>> e
    Explanation of 1 row: loss 0.125 (half_mse); update is the next step of SGD(lr=0.5)
    dense: Dense, sigmoid
      x         input               (1, 2)  [[1. 2.]]
      W                             (2, 1)  [[0.]
                                             [0.]]
      b                             (1,)    [0.]
      z         x W + b             (1, 1)  [[0.]]
      a         sigmoid(z)          (1, 1)  [[0.5]]
      da        d loss / da         (1, 1)  [[-0.5]]
      delta     da * f'(z) (BP1)    (1, 1)  [[-0.125]]
      dW        x^T delta (BP4)     (2, 1)  [[-0.125]
                                             [-0.25 ]]
      db        sum of delta (BP3)  (1,)    [-0.125]
      update W                      (2, 1)  [[0.0625]
                                             [0.125 ]]
      update b                      (1,)    [0.0625]
    >>> bool((e["dense"].dW == e[0].x.T @ e[0].delta).all())
    True
    """

    layers: list[LayerExplanation]
    loss: Any
    predictions: Array
    X: Array
    y: Array
    loss_name: str
    optimizer: str

    def __getitem__(self, key: int | str) -> LayerExplanation:
        if not isinstance(key, str):
            return self.layers[key]
        names = [layer.name for layer in self.layers]
        if key not in names:
            raise KeyError(
                f"{key!r} is no layer; accepted: {', '.join(names)}{did_you_mean(key, names)}"
            )
        return self.layers[names.index(key)]

    def __iter__(self) -> Iterator[LayerExplanation]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def _title(self) -> str:
        rows = f"{len(self.X)} row{'' if len(self.X) == 1 else 's'}"
        refused = any(layer.params and layer.update is None for layer in self.layers)
        step = (
            f"{self.optimizer} refuses these gradients, so there is no update"
            if refused
            else f"update is the next step of {self.optimizer}"
        )
        return f"Explanation of {rows}: loss {float(self.loss):.6g} ({self.loss_name}); {step}"

    def __repr__(self) -> str:
        return f"{self._title()}\n{explanation_text(self.layers)}"

    def _repr_html_(self) -> str:
        return explanation_html(self._title(), self.layers)


def explain(model: Model, X: Any, y: Any, sample_weight: Any = None) -> Explanation:
    """Return what one step on these rows does; see `gdcore.models.Sequential.explain`."""
    model._check_compiled()
    data = checked(model, X, y, sample_weight, metrics=False)
    X, y, weights = data.X, data.y, data.weights
    model._build_for(X)
    params = [p.copy() for p in model.params]
    generator, key = None, (0, 0)
    if any(stage[0] == "dropout" for stage in model._stages()):
        generator = copy.deepcopy(model._generator)
        key = draw_key(copy.deepcopy(generator))  # as value_and_grad
    loss, grads = _again(model, generator, X, y, weights)
    passes = _Pass(model, np.ascontiguousarray(X, model.dtype), key)
    passes.forward()
    passes.backward(y, weights)
    updates = _updates(
        model, params, grads, loss, lambda other: _again(other, generator, X, y, weights)
    )
    layers = _layers(model, passes, params, grads, updates)
    name = str(getattr(model.loss, "name", None) or getattr(model.loss, "__name__", "loss"))
    return Explanation(
        layers, loss, layers[-1].a, passes.x[0], np.array(y), name, repr(model.optimizer)
    )


# ---- Forward and backward ------------------------------------------------------------------------


class _Pass:
    """Rows through all stages and back.

    Attributes
    ----------
    x, dx : list of ndarray
        Input of each stage, behind the last one the predictions; the loss's gradient with respect
        to each.
    masks : dict of int to ndarray
        What each Dropout multiplies by.
    """

    def __init__(self, model: Model, X: Array, key: tuple[int, int]) -> None:
        self.model, self.key, self.dtype = model, key, X.dtype
        self.stages = model._stages()
        self.params = model.params
        self.x: list[Array] = [X.copy()]
        self.dx: list[Array] = [X] * (len(self.stages) + 1)
        self.masks: dict[int, Array] = {}
        self.fused = False
        self._norms: dict[int, tuple[Array, Array, Array]] = {}

    def forward(self) -> None:
        """Compute the output of each stage."""
        for i, stage in enumerate(self.stages):
            self.x.append(np.ascontiguousarray(self._output(i, stage, self.x[-1]), self.dtype))

    def _output(self, i: int, stage: Any, x: Array) -> Array:
        kind, _, _, positions, spec, numbers = stage
        arrays = [self.params[p] for p in positions]
        if kind == "dense":
            y: Array = _core.dense(x, *arrays)
            return y
        if kind == "activation":
            return np.asarray(_core.activate(spec, x))
        if kind == "function":
            programs = self._programs(numbers, x)
            return np.asarray(programs.forward.run([x, *programs.arrays()])[0])
        if kind == "dropout":
            self.masks[i] = _mask(self.key, i, x.shape, numbers[0], self.dtype)
            return np.multiply(x, self.masks[i])
        if kind in ("layer_norm", "batch_norm"):
            gamma, beta = arrays
            axis = 1 if kind == "layer_norm" else 0
            mean = _mean(x, axis, self.dtype)
            variance = ((x - mean) ** 2).mean(axis=axis, keepdims=True, dtype=np.float64)
            scale = (1 / np.sqrt(variance + numbers[0])).astype(self.dtype)
            self._norms[i] = (x - mean) * scale, scale, gamma
            return np.asarray(self._norms[i][0] * gamma + beta)
        if kind == "join":
            return x + self.x[int(numbers[0])]
        return x

    def _programs(self, numbers: Any, z: Array) -> Any:
        from gdcore._network_functions import activation_programs

        function = self.model._functions()[int(numbers[0])]
        return activation_programs(function, len(z), z.shape[1], self.dtype)

    def backward(self, y: Array, weights: Any) -> None:
        """Compute the loss's gradient with respect to the input of each stage."""
        spec, self.fused = self.model._fused_loss()
        rows = np.ascontiguousarray(y, self.dtype)
        own = None if weights is None else np.asarray(weights, self.dtype)
        last = len(self.stages) - int(self.fused)
        if spec is None:
            self.dx[last] = self._of_function(rows, y, weights)
        else:
            self.dx[last] = self._of_loss(spec, rows, self.x[last], own)
        if self.fused:
            self.dx[-1] = self._of_probabilities(rows, self.x[-1], own)
        for i in reversed(range(last)):
            dx = self._gradient(i, self.stages[i], self.dx[i + 1])
            self.dx[i] = np.ascontiguousarray(dx, self.dtype)

    def _of_loss(self, spec: Any, y: Array, outputs: Array, weights: Any) -> Array:
        reduction = self.model.loss._reduction  # type: ignore[union-attr]
        return np.asarray(_core.loss(spec, y, outputs, weights, reduction, True)[1])

    def _of_probabilities(self, y: Array, outputs: Array, weights: Any) -> Array:
        """Return the gradient of a loss that is computed from z with respect to a."""
        spec = self.model.loss._spec  # type: ignore[union-attr]
        if _core.ACTIVATIONS[self.stages[-1][4][0]]["name"] != "log_softmax":
            return self._of_loss(spec, y, outputs, weights)
        shares = np.exp(outputs)
        return self._of_loss(spec, y, shares, weights) * shares

    def _of_function(self, rows: Array, y: Array, weights: Any) -> Array:
        """Return the gradient of a loss of the user's with respect to the predictions."""
        from gdcore._network_functions import loss_programs

        outputs = self.x[-1]
        made = loss_programs(
            self.model.loss,
            len(y),
            y.shape[1:],
            outputs.shape[1],
            y.dtype,
            self.dtype,
        )
        share = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
        share = np.ones(()) if made.scalar else share / share.sum()
        run = made.program.run([rows, outputs, share.astype(self.dtype), *made.arrays()])
        return np.asarray(run[1])

    def _gradient(self, i: int, stage: Any, dy: Array) -> Array:
        """Return the gradient with respect to the input of a stage from that of its output."""
        kind, _, _, positions, spec, numbers = stage
        x = self.x[i]
        if kind == "dense":
            dx: Array = _core.dense_grad(dy, x, self.params[positions[0]])[0]
            return dx
        if kind == "activation":
            return np.asarray(_core.activate_grad(spec, dy, x, self.x[i + 1]))
        if kind == "function":
            programs = self._programs(numbers, x)
            return np.asarray(programs.backward.run([x, dy, *programs.arrays()])[0])
        if kind == "dropout":
            return np.multiply(dy, self.masks[i])
        if kind in ("layer_norm", "batch_norm"):
            h, scale, gamma = self._norms[i]
            axis, e = (1 if kind == "layer_norm" else 0), dy * gamma
            first, second = _mean(e, axis, self.dtype), _mean(e * h, axis, self.dtype)
            return np.asarray(scale * (e - first - h * second))
        if kind == "fork":
            return dy + self.dx[self._join_of(i) + 1]
        return dy

    def _join_of(self, fork: int) -> int:
        return next(i for i, s in enumerate(self.stages) if s[0] == "join" and s[5][0] == fork)


def _mean(x: Array, axis: int, dtype: np.dtype[Any]) -> Array:
    return np.asarray(x.mean(axis=axis, keepdims=True, dtype=np.float64), dtype)


def _mask(
    key: tuple[int, int], stage: int, shape: tuple[int, ...], rate: float, dtype: np.dtype[Any]
) -> Array:
    """Return what a Dropout multiplies by in the first step of a fit with this key."""
    rows, n = shape
    bits = np.stack([_core.random_bits(*key, FOR_DROPOUT, 0, stage, row, n) for row in range(rows)])
    return np.where(bits >= int(rate * 2.0**32), 1 / (1 - rate), 0.0).astype(dtype)


# ---- By layers -----------------------------------------------------------------------------------


def _layers(
    model: Model, passes: _Pass, params: list[Array], grads: list[Array], updates: Any
) -> list[LayerExplanation]:
    """Return what goes through each layer."""
    own: dict[str, list[int]] = {}
    for i, name in enumerate(model._stage_names()):
        own.setdefault(name, []).append(i)
    found: list[LayerExplanation] = []

    def visit(layer: Layer, depth: int, at: int) -> int:
        """Enter a layer whose input is that of stage `at`; return where the next one begins."""
        stages = own.get(str(layer.name), [])
        end = stages[-1] + 1 if stages else at
        found.append(_layer(layer, depth, passes, at, end))
        _add_parameters(found[-1], layer, params, grads, updates)
        inner = at + 1
        for part in getattr(layer, "layers", ()):
            inner = visit(part, depth + 1, inner)
        return end

    at = 0
    for layer in model.layers:
        at = visit(layer, 0, at)
    outer = [entry for entry in found if not entry.depth]
    if outer:
        found[0].first = outer[-1].last = True
    return found


def _layer(layer: Layer, depth: int, passes: _Pass, at: int, end: int) -> LayerExplanation:
    """Return what goes through the stages from `at` to `end`."""
    kinds = [stage[0] for stage in passes.stages[at:end]]
    # z stands before the activation, which is the last stage of a layer where it has one.
    z = end - 1 if kinds and kinds[-1] in ("activation", "function") else end
    return LayerExplanation(
        name=str(layer.name),
        kind=layer._shown(),
        depth=depth,
        x=passes.x[at],
        z=passes.x[z],
        a=passes.x[end],
        da=passes.dx[end],
        delta=passes.dx[z],
        dx=passes.dx[at],
        fused=passes.fused and z < end == len(passes.stages),
        regularized=getattr(layer, "kernel_regularizer", None) is not None,
        mask=passes.masks.get(at) if kinds == ["dropout"] else None,
    )


def _add_parameters(
    entry: LayerExplanation, layer: Layer, params: list[Array], grads: list[Array], updates: Any
) -> None:
    at = {name: p for name, p in layer._at.items() if not name.startswith("moving")}
    entry.params = {name: params[p] for name, p in at.items()}
    entry.grads = {name: grads[p] for name, p in at.items()}
    entry.update = None if updates is None else {name: updates[p] for name, p in at.items()}


# ---- The optimizer's next step -------------------------------------------------------------------


def _updates(
    model: Model,
    params: list[Array],
    grads: list[Array],
    loss: Any,
    evaluate: Callable[[Model], tuple[Any, list[Array]]],
) -> list[Array] | None:
    """Return what the next step adds to each parameter, by copies of all that it would change."""
    optimizer = copy.deepcopy(model.optimizer)
    assert optimizer is not None
    after = [p.copy() for p in params]
    closure: Any = None
    if searches_line(optimizer):
        other = model.clone()
        other.set_weights(model.get_weights())
        after = other.params
        closure = lambda: evaluate(other)  # noqa: E731
    if not isinstance(optimizer, Composed):
        _settle_rates(optimizer, model)
    given = [g.copy() for g in grads]
    try:
        if closure is not None:
            optimizer.step(after, closure=closure)
        else:
            step_told(optimizer, after, given, float(loss))
    except NonFiniteError:
        return None
    with np.errstate(all="ignore"):
        return [new - old for new, old in zip(after, params, strict=True)]


def _again(
    model: Model, generator: np.random.Generator | None, X: Any, y: Any, weights: Any
) -> tuple[Any, list[Array]]:
    """Return loss and gradients with the Dropout of this generator; the model's own stays."""
    own = model._store._generator
    try:
        if generator is not None:
            model._store._generator = copy.deepcopy(generator)
        return value_and_grad(model, X, y, weights)
    finally:
        model._store._generator = own


def _settle_rates(optimizer: Any, model: Model) -> None:
    """Put in place of rates that fit alone tells how things stand what they are now."""
    state = model._fit_state
    epoch = 0 if state is None else state.initial_epoch + int(state.place[0])
    told = optimizer._told()
    for number, lr in enumerate(optimizer._lrs()):
        now: Any = None
        if is_told(lr):
            now = told[number].lr
        elif counts_epochs(lr):
            now = _AtEpoch(lr.schedule, epoch)
        if now is None:
            continue
        if number:
            optimizer.groups[number - 1]["lr"] = now
        else:
            optimizer.lr = now


@dataclass(frozen=True)
class _AtEpoch(Schedule):
    """What a schedule of epochs gives in one epoch, at any step."""

    schedule: Any
    epoch: int

    def _rate(self, t: Float64Array) -> Float64Array:
        return np.full(t.shape, self.schedule(self.epoch))

    @property
    def momentum(self) -> Momentum | None:
        """The schedule's in that epoch."""
        momentum = momentum_of(self.schedule)
        return None if momentum is None else lambda t: momentum(self.epoch)
