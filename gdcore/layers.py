"""Layers: what a `gdcore.Sequential` model is made of [Keras's names].

A layer is a description that is given to one model. Its arrays (``W``, ``b``, ...) are views of the
model's parameters: what is written into them is the model's. They are made and drawn at first need.
Settings are fixed, but for ``trainable`` and ``lr_scale`` of `Dense`, which the next
``model.compile`` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Never, Self

import numpy as np

from gdcore import activations, regularizers
from gdcore._build import Plan, Store
from gdcore._layer import (
    Layer,
    Setting,
    Weights,
    as_activation,
    as_initializer,
    beside,
    initializer_named,
)
from gdcore._names import no_attribute
from gdcore._optimizer import Projection

__all__ = [
    "Activation",
    "BatchNorm",
    "BatchNormalization",
    "Dense",
    "Dropout",
    "Input",
    "Layer",
    "LayerNorm",
    "LayerNormalization",
    "Residual",
]

ActivationLike = str | activations.Activation | np.ufunc | Callable[..., Any] | None
InitializerLike = str | Callable[..., Any]


class Input(Layer):
    """Width of the rows that a model takes: the first entry of its layers, or left out.

    It is no layer of ``model.layers`` [Keras]. Without it the width is that of the first X.

    Parameters
    ----------
    width : int
        Number of columns of X, >= 1; ``(width,)`` is accepted too.

    Examples
    --------
    >>> model = gd.Sequential([gd.Input(3), gd.Dense(2)])
    >>> model.layers[0].W.shape
    (3, 2)
    """

    width = Setting[int]()

    def __init__(self, width: int | Sequence[int], **unknown: Never) -> None:
        self._take(locals())

    def _clean(self, name: str, value: Any) -> Any:
        if isinstance(value, tuple | list) and len(value) == 1:
            value = value[0]
        return self._count(name, value, ": the number of columns of X (pictures: reshape(n, -1))")


class Dense(Layer):
    """Every output a weighted sum of all inputs: ``y = activation(x @ W + b)``.

    Parameters
    ----------
    units : int
        Number of outputs, >= 1.
    activation : str, activation, ufunc or callable, optional
        A name of ``gd.activations``, one of its objects, ``gd.relu`` or ``np.tanh``; or a function
        ``f(z)`` of your own in NumPy, z being (rows, units). None is linear.
    use_bias : bool, default True
        Without one ``y = activation(x @ W)``.
    kernel_initializer : str or callable, default "glorot_uniform"
        What draws W: a name or object of ``gd.initializers``, or ``init(shape, rng, dtype)``.
    bias_initializer : str or callable, default "zeros"
    kernel_regularizer : str or Regularizer, optional
        A penalty on W that is part of the loss, such as ``gd.regularizers.l2(1e-4)``.
    kernel_constraint : Constraint, optional
        What W is brought back to after each step, such as ``gd.constraints.max_norm(2.0)``.
    lr_scale : float, default 1.0
        Factor of the optimizer's rate for W and b, finite and >= 0.
    trainable : bool, default True
        False: steps leave W and b as they are.
    name : str, optional
        Its name in the model, by default "dense", "dense_1", ...

    Attributes
    ----------
    W : ndarray (inputs, units)
        Live: the model's own array. Assigned to, it takes the values.
    b : ndarray (units,)
        Likewise; None without a bias.
    inputs, outputs : int or None

    Raises
    ------
    TypeError, ValueError
        Naming the argument that is not accepted.

    Examples
    --------
    >>> layer = gd.Dense(2, activation="relu", kernel_initializer="ones")
    >>> model = gd.Sequential([gd.Input(3), layer])
    >>> layer.W[0] = -1.0
    >>> model.params[0]
    array([[-1., -1.],
           [ 1.,  1.],
           [ 1.,  1.]])
    """

    _stem = "dense"

    units = Setting[int]()
    activation = Setting[Any]()
    use_bias = Setting[bool]()
    kernel_initializer = Setting[Callable[..., Any]]()
    bias_initializer = Setting[Callable[..., Any]]()
    kernel_regularizer = Setting[regularizers.Regularizer | None]()
    kernel_constraint = Setting[Any]()
    lr_scale = Setting[float](live=True)
    trainable = Setting[bool](live=True)
    W = Weights("Weights (inputs, units), live.")
    b = Weights("Bias (units,), live; None without one.")

    def __init__(
        self,
        units: int,
        activation: ActivationLike = None,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        kernel_constraint: Projection | None = None,
        lr_scale: float = 1.0,
        trainable: bool = True,
        *,
        name: str | None = None,
        **unknown: Never,
    ) -> None:
        self._take(locals())

    def _clean(self, name: str, value: Any) -> Any:
        if name == "units":
            return self._count(name, value)
        if name == "activation":
            return as_activation(value)
        if name in ("kernel_initializer", "bias_initializer"):
            return as_initializer(value)
        if name == "kernel_regularizer":
            return regularizers.get(value)
        if name == "kernel_constraint":
            return self._constraint(value)
        if name == "lr_scale":
            return self._real(name, value, lambda x: x >= 0, "a finite number >= 0")
        if name in ("use_bias", "trainable"):
            return self._flag(name, value)
        return super()._clean(name, value)

    def _constraint(self, value: Any) -> Projection | None:
        if value is None or isinstance(value, Projection):
            return value
        raise TypeError(
            self._message(
                "kernel_constraint",
                value,
                "one of gd.constraints, for example gd.constraints.max_norm(2.0), or None",
            )
        )

    def _array(self, name: str) -> Any:
        return None if name == "b" and not self.use_bias else super()._array(name)

    def _parameter_count(self) -> int:
        return 2 if self.use_bias else 1

    def _extend(self, plan: Plan) -> None:
        inputs, units, settings, name = plan.width, self.units, self._settings, self._name or ""
        initializer, penalty = settings["kernel_initializer"], settings["kernel_regularizer"]
        at = {"W": plan.add_parameter(f"{name}.W", (inputs, units), initializer, penalty)}
        if settings["use_bias"]:
            at["b"] = plan.add_parameter(f"{name}.b", (units,), settings["bias_initializer"])
        self._widths, self._at = (inputs, units), at
        plan.add_stage(name, "dense", tuple(at.values()), outputs=units)
        plan.add_activation(name, settings["activation"])

    def _shown(self) -> str:
        return f"Dense{beside(self.activation)}"


class Activation(Layer):
    """An activation as a layer of its own: ``y = f(x)``.

    Parameters
    ----------
    activation : str, activation, ufunc or callable
        As in `Dense`.
    name : str, optional

    Examples
    --------
    >>> gd.Sequential([gd.Input(2), gd.layers.Activation("relu")]).layers[0].outputs
    2
    """

    _stem = "activation"

    activation = Setting[Any]()

    def __init__(
        self, activation: ActivationLike, *, name: str | None = None, **unknown: Never
    ) -> None:
        self._take(locals())

    def _clean(self, name: str, value: Any) -> Any:
        return as_activation(value) if name == "activation" else super()._clean(name, value)

    def _extend(self, plan: Plan) -> None:
        self._widths = (plan.width, plan.width)
        plan.add_activation(self._name or "", self.activation)

    def _shown(self) -> str:
        return f"Activation{beside(self.activation)}"


class Dropout(Layer):
    """Leaves out each unit with a probability in training: the others grow by ``1 / (1 - rate)``.

    Which ones is drawn anew for each row and step, from the seed of fit. In predict and evaluate
    it changes nothing.

    Parameters
    ----------
    rate : float
        0 <= rate < 1: the part of the units that is left out.
    name : str, optional

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
    J. Mach. Learn. Res. 15 (2014).

    Examples
    --------
    >>> gd.Dropout(0.2).rate
    0.2
    """

    _stem = "dropout"

    rate = Setting[float]()

    def __init__(self, rate: float, *, name: str | None = None, **unknown: Never) -> None:
        self._take(locals())

    def _clean(self, name: str, value: Any) -> Any:
        if name == "rate":
            return self._real(name, value, lambda x: 0 <= x < 1, "a number, 0 <= rate < 1")
        return super()._clean(name, value)

    def _extend(self, plan: Plan) -> None:
        self._widths = (plan.width, plan.width)
        if self.rate:
            plan.add_stage(self._name or "", "dropout", numbers=(self.rate,))

    def _shown(self) -> str:
        return f"Dropout, {self.rate:g}"


class _Normalization(Layer):
    """What the two normalisations have in common: a scale and a shift for each unit."""

    epsilon = Setting[float]()
    gamma = Weights("Scale (units,), live; ones at first.")
    beta = Weights("Shift (units,), live; zeros at first.")

    def _clean(self, name: str, value: Any) -> Any:
        if name == "epsilon":
            return self._real(name, value, lambda x: x > 0, "a finite number > 0")
        return super()._clean(name, value)

    def _parameter_count(self) -> int:
        return 2

    def _scale_and_shift(self, plan: Plan) -> tuple[int, int]:
        """Take the two parameters and return their positions."""
        width, name = plan.width, self._name or ""
        self._widths = (width, width)
        gamma = plan.add_parameter(f"{name}.gamma", (width,), initializer_named("ones"))
        beta = plan.add_parameter(f"{name}.beta", (width,), initializer_named("zeros"))
        self._at = {"gamma": gamma, "beta": beta}
        return gamma, beta


class LayerNormalization(_Normalization):
    """Each row to mean 0 and variance 1: ``gamma * (x - mean) / sqrt(var + epsilon) + beta``.

    Mean and variance are those of the row's own units, in training and in predict alike.

    Parameters
    ----------
    epsilon : float, default 1e-3
        > 0 [Keras's default; torch's is 1e-5].
    name : str, optional

    Attributes
    ----------
    gamma, beta : ndarray (units,)
        Scale and shift, live.

    References
    ----------
    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", arXiv:1607.06450 (2016).

    Examples
    --------
    >>> model = gd.Sequential([gd.Input(2), gd.layers.LayerNormalization()])
    >>> model.layers[0].gamma
    array([1., 1.])
    """

    _stem = "layer_normalization"

    def __init__(self, epsilon: float = 1e-3, *, name: str | None = None, **unknown: Never) -> None:
        self._take(locals())

    def _extend(self, plan: Plan) -> None:
        params = self._scale_and_shift(plan)
        plan.add_stage(self._name or "", "layer_norm", params, numbers=(self.epsilon,))


class BatchNormalization(_Normalization):
    """Each unit to mean 0 and variance 1: ``gamma * (x - mean) / sqrt(var + epsilon) + beta``.

    In training mean and variance (divided by the number of rows) are those of the batch, and
    ``moving = momentum * moving + (1 - momentum) * batch``; predict and evaluate take the moving
    ones.

    Parameters
    ----------
    momentum : float, default 0.99
        In [0, 1]: how much of the moving statistics stays at each step [Keras's; torch's momentum
        is 1 minus it].
    epsilon : float, default 1e-3
        > 0 [Keras's default; torch's is 1e-5].
    name : str, optional

    Attributes
    ----------
    gamma, beta : ndarray (units,)
        Scale and shift, live.
    moving_mean, moving_variance : ndarray (units,)
        Live; no parameters.

    References
    ----------
    S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift", ICML 2015.

    Examples
    --------
    >>> model = gd.Sequential([gd.Input(2), gd.layers.BatchNormalization()])
    >>> model.layers[0].moving_variance
    array([1., 1.])
    """

    _stem = "batch_normalization"

    momentum = Setting[float]()
    moving_mean = Weights("Moving mean (units,), live; zeros at first.")
    moving_variance = Weights("Moving variance (units,), live; ones at first.")

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        *,
        name: str | None = None,
        **unknown: Never,
    ) -> None:
        self._take(locals())

    def _clean(self, name: str, value: Any) -> Any:
        if name == "momentum":
            return self._real(name, value, lambda x: 0 <= x <= 1, "a number from 0 to 1")
        return super()._clean(name, value)

    def _extend(self, plan: Plan) -> None:
        name = self._name or ""
        params = self._scale_and_shift(plan)
        mean = plan.add_buffer(f"{name}.moving_mean", 0.0)
        variance = plan.add_buffer(f"{name}.moving_variance", 1.0)
        self._at = {**self._at, "moving_mean": mean, "moving_variance": variance}
        numbers = (self.epsilon, self.momentum, mean)
        plan.add_stage(name, "batch_norm", params, numbers=numbers)


class Residual(Layer):
    """Layers with a path around them: ``y = x + layers(x)``.

    The gradient reaches x undiminished along that path: deep nets of saturating layers learn.

    Parameters
    ----------
    layers : list of Layer
        One or more; the last is as wide as the input of the first.
    name : str, optional

    Attributes
    ----------
    layers : list of Layer

    Raises
    ------
    ValueError
        Where the widths differ, when the model is built.

    References
    ----------
    K. He et al., "Deep residual learning for image recognition", CVPR 2016.

    Examples
    --------
    >>> block = gd.layers.Residual([gd.Dense(8, "tanh"), gd.Dense(4)])
    >>> gd.Sequential([gd.Input(4), block]).layers[0].outputs
    4
    """

    _stem = "residual"

    def __init__(
        self, layers: Sequence[Layer], *, name: str | None = None, **unknown: Never
    ) -> None:
        self._take(locals())
        self._given = {**self._given, "layers": self._settings["layers"]}

    def _clean(self, name: str, value: Any) -> Any:
        return check_layers("Residual", value) if name == "layers" else super()._clean(name, value)

    @property
    def layers(self) -> list[Layer]:
        """The layers around which the path leads."""
        return list(self._settings["layers"])

    def _parts(self) -> Iterator[Layer]:
        yield self
        for layer in self._settings["layers"]:
            yield from layer._parts()

    def _extend(self, plan: Plan) -> None:
        width, name = plan.width, self._name or ""
        self._widths = (width, width)
        fork = plan.add_stage(name, "fork")
        for layer in self._settings["layers"]:
            layer._extend(plan)
        if plan.width != width:
            raise ValueError(
                f"{self._title()} takes rows of {width} but its layers give {plan.width}, and the"
                f" two are added: end it with Dense({width}), or put a Dense({plan.width}) before"
            )
        plan.add_stage(name, "join", numbers=(fork,))

    def _copy(self, store: Store) -> Self:
        other = super()._copy(store)
        layers = [layer._copy(store) for layer in self._settings["layers"]]
        other._given = {**self._given, "layers": layers}
        other._settings = {**self._settings, "layers": layers}
        return other


def check_layers(owner: str, layers: Any) -> list[Layer]:
    """Return layers as a list of their own; refuse what is none."""
    if isinstance(layers, str | Mapping) or not isinstance(layers, Sequence):
        raise TypeError(
            f"{owner}: layers is {layers!r:.80}; accepted is a list of layers, for example"
            f" gd.{owner}([gd.Dense(8)])"
        )
    for number, layer in enumerate(layers):
        check_layer(f"{owner}: layers[{number}]", layer)
        if isinstance(layer, Input) and (number or owner == "Residual"):
            raise ValueError(f"{owner}: layers[{number}] is Input; it is the first of a model")
    if owner == "Residual" and not layers:
        raise ValueError("Residual: layers is empty; one or more are accepted")
    return list(layers)


def check_layer(what: str, layer: Any) -> None:
    """Refuse what is no layer."""
    if isinstance(layer, Layer):
        return
    if isinstance(layer, type) and issubclass(layer, Layer):
        raise TypeError(
            f"{what} is the class {layer.__name__}; make a layer: {layer.__name__}(...)"
        )
    function = "; Activation(f) makes one of a function" if callable(layer) else ""
    raise TypeError(
        f"{what} is {layer!r:.80}; accepted is a layer of gd.layers, such as gd.Dense(8){function}"
    )


LayerNorm, BatchNorm = LayerNormalization, BatchNormalization


def __getattr__(name: str) -> Never:
    raise no_attribute(__name__, name, __all__)
