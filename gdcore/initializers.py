"""Initializers: callables ``init(shape, rng, dtype)`` that draw a layer's first weights.

Every draw comes from the `numpy.random.Generator` that the caller hands over and is made in
float64, then rounded once: float32 and float64 weights of one seed are the same numbers up to that
rounding. Global random state is neither read nor written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np

from gdcore._gains import gain
from gdcore._initializer import (
    Float64Array,
    Initializer,
    Shape,
    draw_cut,
    draw_normal,
    draw_truncated,
    draw_uniform,
    fans_of,
)
from gdcore._lsuv import lsuv
from gdcore._matrices import identity, orthogonal, sparse
from gdcore._names import did_you_mean, no_attribute

__all__ = [
    "Initializer",
    "constant",
    "gain",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "lsuv",
    "normal",
    "ones",
    "orthogonal",
    "sparse",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "zeros",
]


@dataclass(frozen=True)
class zeros(Initializer):
    """All zeros, the usual start of a bias.

    As weights of a hidden layer zeros keep all its units alike for ever.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.initializers.zeros()(3, rng=0)
    array([0., 0., 0.])
    """

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return np.zeros(shape)


@dataclass(frozen=True)
class ones(Initializer):
    """All ones, the usual start of a scale.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.initializers.ones()(3, rng=0)
    array([1., 1., 1.])
    """

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return np.ones(shape)


@dataclass(frozen=True)
class constant(Initializer):
    """The same number everywhere, such as a small positive bias under relu.

    Parameters
    ----------
    value : float, default 0.0
        A finite number [Keras's default].

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.initializers.constant(0.1)(3, rng=0)
    array([0.1, 0.1, 0.1])
    """

    value: float = 0.0

    def __post_init__(self) -> None:
        self._set(value=self._number("value"))

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return np.full(shape, self.value)


@dataclass(frozen=True)
class uniform(Initializer):
    """Uniform between `low` and `high`.

    Parameters
    ----------
    low, high : float, default -0.05 and 0.05
        Bounds [Keras's defaults]; `low` may occur, `high` only by rounding. low <= high.

    Examples
    --------
    >>> import gdcore as gd
    >>> weights = gd.initializers.uniform(-0.002, 0.002)((2, 1), rng=0)
    >>> weights.shape, bool(abs(weights).max() <= 0.002)
    ((2, 1), True)
    """

    low: float = -0.05
    high: float = 0.05

    def __post_init__(self) -> None:
        self._set(low=self._number("low"), high=self._number("high"))
        if not 0 <= self.high - self.low < math.inf:
            raise ValueError(
                f"uniform: low is {self.low!r} and high is {self.high!r}; accepted is low <= high "
                "with a finite difference"
            )

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return rng.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class normal(Initializer):
    """Normal with the given mean and standard deviation, not truncated.

    Parameters
    ----------
    mean : float, default 0.0
    std : float, default 0.05
        Standard deviation, >= 0 [Keras's default].

    Examples
    --------
    >>> import gdcore as gd
    >>> weights = gd.initializers.normal(std=0.01)((784, 128), rng=0)
    >>> round(float(weights.std()), 4)
    0.01
    """

    mean: float = 0.0
    std: float = 0.05

    def __post_init__(self) -> None:
        self._set(mean=self._number("mean"), std=self._number("std", 0.0))

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return rng.normal(self.mean, self.std, shape)


@dataclass(frozen=True)
class truncated_normal(Initializer):
    """Normal with the given mean and deviation, values beyond two deviations being drawn again.

    As in Keras `std` is that of the normal before the cut; after it the deviation is 0.8796 `std`.
    torch's ``trunc_normal_`` cuts at -2 and 2 themselves, whatever `std`.

    Parameters
    ----------
    mean : float, default 0.0
    std : float, default 0.05
        Standard deviation before the cut, >= 0 [Keras's default].

    Examples
    --------
    >>> import gdcore as gd
    >>> weights = gd.initializers.truncated_normal(std=0.01)((784, 128), rng=0)
    >>> round(float(weights.std()), 4), bool(abs(weights).max() <= 0.02)
    (0.0088, True)
    """

    mean: float = 0.0
    std: float = 0.05

    def __post_init__(self) -> None:
        self._set(mean=self._number("mean"), std=self._number("std", 0.0))

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return self.mean + self.std * draw_cut(shape, rng)


@dataclass(frozen=True)
class glorot_uniform(Initializer):
    """Glorot's (Xavier's) rule, uniform: on [-a, a] with ``a = sqrt(6 / (fan_in + fan_out))``.

    The variance is 2 / (fan_in + fan_out): signals and gradients of a tanh layer keep their size.
    Weights (inputs, outputs) have fan_in = inputs and fan_out = outputs; weights (inputs,) count as
    one column, fan_out = 1 (Keras, which knows no such layer, takes fan_out = fan_in there).

    References
    ----------
    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.

    Examples
    --------
    >>> import gdcore as gd
    >>> weights = gd.initializers.glorot_uniform()((4, 2), rng=0)
    >>> weights.shape, bool(abs(weights).max() <= 1.0)
    ((4, 2), True)
    """

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return draw_uniform(shape, rng, 2.0 / sum(fans_of(shape)))


@dataclass(frozen=True)
class glorot_normal(Initializer):
    """Glorot's (Xavier's) rule, truncated normal with variance ``2 / (fan_in + fan_out)``.

    As in Keras a normal of deviation s is cut at 2 s, values beyond being drawn again, with s
    chosen such that the deviation *after* the cut is sqrt(2 / (fan_in + fan_out)): s is that over
    0.8796. torch's ``xavier_normal_`` has the same variance without the cut. For the fans see
    `glorot_uniform`.

    References
    ----------
    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.

    Examples
    --------
    >>> import gdcore as gd
    >>> weights = gd.initializers.glorot_normal()((150, 50), rng=0)
    >>> round(float(weights.std()), 2)
    0.1
    """

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return draw_truncated(shape, rng, 2.0 / sum(fans_of(shape)))


@dataclass(frozen=True)
class he_uniform(Initializer):
    """He's (Kaiming's) rule, uniform: on [-a, a] with ``a = sqrt(6 / fan_in)``.

    The variance is 2 / fan_in: signals of a ReLU layer, which loses half of them, keep their size.
    Weights (inputs, outputs) or (inputs,) have fan_in = inputs.

    References
    ----------
    K. He et al., "Delving deep into rectifiers", ICCV 2015.

    Examples
    --------
    >>> import gdcore as gd
    >>> weights = gd.initializers.he_uniform()((6, 5), rng=0)
    >>> weights.shape, bool(abs(weights).max() <= 1.0)
    ((6, 5), True)
    """

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return draw_uniform(shape, rng, 2.0 / fans_of(shape)[0])


@dataclass(frozen=True)
class he_normal(Initializer):
    """He's (Kaiming's) rule, truncated normal with variance ``2 / fan_in``.

    As in Keras a normal of deviation s is cut at 2 s, values beyond being drawn again, with s
    chosen such that the deviation *after* the cut is sqrt(2 / fan_in): s is that over 0.8796.
    torch's ``kaiming_normal_`` has the same variance without the cut. Weights (inputs, outputs) or
    (inputs,) have fan_in = inputs.

    References
    ----------
    K. He et al., "Delving deep into rectifiers", ICCV 2015.

    Examples
    --------
    >>> import gdcore as gd
    >>> weights = gd.initializers.he_normal()((200, 100), rng=0)
    >>> round(float(weights.std()), 2)
    0.1
    """

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return draw_truncated(shape, rng, 2.0 / fans_of(shape)[0])


@dataclass(frozen=True)
class lecun_uniform(Initializer):
    """LeCun's rule, uniform: on [-a, a] with ``a = sqrt(3 / fan_in)``.

    The variance is 1 / fan_in: a linear layer keeps the variance of its inputs. With selu the
    activations of all layers drift to mean 0 and variance 1 (G. Klambauer et al., 2017). Weights
    (inputs, outputs) or (inputs,) have fan_in = inputs.

    References
    ----------
    Y. LeCun et al., "Efficient BackProp", in Neural Networks: Tricks of the Trade, 1998.

    Examples
    --------
    >>> import gdcore as gd
    >>> weights = gd.initializers.lecun_uniform()((3, 5), rng=0)
    >>> weights.shape, bool(abs(weights).max() <= 1.0)
    ((3, 5), True)
    """

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return draw_uniform(shape, rng, 1.0 / fans_of(shape)[0])


@dataclass(frozen=True)
class lecun_normal(Initializer):
    """LeCun's rule, truncated normal with variance ``1 / fan_in``.

    The cut is that of `glorot_normal`, the use that of `lecun_uniform`.

    References
    ----------
    Y. LeCun et al., "Efficient BackProp", in Neural Networks: Tricks of the Trade, 1998.

    Examples
    --------
    >>> import gdcore as gd
    >>> weights = gd.initializers.lecun_normal()((100, 100), rng=0)
    >>> round(float(weights.std()), 2)
    0.1
    """

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return draw_truncated(shape, rng, 1.0 / fans_of(shape)[0])


_LAWS = {
    "truncated_normal": draw_truncated,
    "untruncated_normal": draw_normal,
    "uniform": draw_uniform,
}


@dataclass(frozen=True)
class variance_scaling(Initializer):
    """Any law with mean 0 and variance ``scale / n``, n being a layer's inputs or outputs.

    ``he_*`` is scale 2 by fan_in, ``lecun_*`` scale 1 by fan_in, ``glorot_*`` scale 1 by fan_avg.
    For the weights before an activation scale is ``gain(activation) ** 2``.

    Parameters
    ----------
    scale : float, default 1.0
        Factor of the variance, >= 0.
    mode : {"fan_in", "fan_out", "fan_avg"}, default "fan_in"
        n: inputs, outputs, or the mean of both; weights (inputs,) have one output.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}, default the first
        As Keras calls them. The variance of the truncated law is that after the cut.

    Examples
    --------
    >>> import gdcore as gd
    >>> scale = gd.initializers.gain("tanh") ** 2
    >>> init = gd.initializers.variance_scaling(scale, "fan_avg", "uniform")
    >>> round(float(init((300, 100), rng=0).std() * 200**0.5), 1)
    1.7
    """

    _aliases: ClassVar[Mapping[str, str]] = {"gain": "scale", "factor": "scale"}

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"

    def __post_init__(self) -> None:
        self._set(scale=self._number("scale", 0.0))
        self._choose("mode", ("fan_in", "fan_out", "fan_avg"))
        way_out = (
            '; "normal" is truncated in Keras and not in JAX, so say which'
            if self.distribution == "normal"
            else ""
        )
        self._choose("distribution", _LAWS, way_out)

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        fan_in, fan_out = fans_of(shape)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        return _LAWS[self.distribution](shape, rng, self.scale / n)


_BY_NAME: dict[str, type[Initializer]] = {
    rule.__name__: rule
    for rule in (
        zeros,
        ones,
        constant,
        uniform,
        normal,
        truncated_normal,
        glorot_uniform,
        glorot_normal,
        he_uniform,
        he_normal,
        lecun_uniform,
        lecun_normal,
        variance_scaling,
        orthogonal,
        identity,
        sparse,
    )
}

# Keras's names of the same laws.
_OTHER_NAMES = {"random_normal": "normal", "random_uniform": "uniform"}


def get(identifier: str | Callable[..., Any], **settings: Any) -> Callable[..., Any]:
    """Return an initializer from its name, its class, or itself.

    Parameters
    ----------
    identifier : str or callable
        A name such as ``"he_normal"``, one of the classes here, or any ``init(shape, rng, dtype)``,
        which is returned as it is.
    **settings
        Arguments of the rule, with a name or a class only.

    Raises
    ------
    ValueError
        If no initializer has that name; the message suggests the nearest.
    TypeError
        If `identifier` is neither a name nor callable, or a setting does not exist.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.initializers.get("normal", std=0.1)
    normal(mean=0.0, std=0.1)
    """
    if isinstance(identifier, str):
        return _rule_named(identifier)(**settings)
    if isinstance(identifier, type) and issubclass(identifier, Initializer):
        return identifier(**settings)
    if not callable(identifier):
        raise TypeError(
            f"initializer is {identifier!r:.80}; accepted is one of {', '.join(_BY_NAME)}, "
            "or a callable init(shape, rng, dtype)"
        )
    if settings:
        raise TypeError(
            f"initializer {identifier!r:.80} is already made; {', '.join(settings)} would not be "
            "used: set it where the initializer is made"
        )
    return identifier


def _rule_named(name: str) -> type[Initializer]:
    """Return the class called `name`; the error otherwise knows torch's and Keras's names too."""
    name_here = _OTHER_NAMES.get(name, name)
    if name_here in _BY_NAME:
        return _BY_NAME[name_here]
    ours = name.lower().strip("_")
    for theirs, here in (("xavier", "glorot"), ("kaiming", "he"), ("eye", "identity")):
        ours = ours.replace(theirs, here)
    hint = did_you_mean(ours, _BY_NAME)
    raise ValueError(f"initializer {name!r} is unknown; accepted are {', '.join(_BY_NAME)}{hint}")


def __getattr__(name: str) -> NoReturn:
    raise no_attribute(__name__, name, __all__)
