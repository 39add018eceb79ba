"""Initializers: callables ``init(shape, rng, dtype)`` that draw a layer's first weights.

Every draw comes from the `numpy.random.Generator` that the caller hands over and is made in
float64, then rounded once: float32 and float64 weights of one seed are the same numbers up to that
rounding. Global random state is neither read nor written.
"""

from __future__ import annotations

import difflib
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gdcore._settings import Settings

__all__ = [
    "Initializer",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "normal",
    "uniform",
    "zeros",
]

Float64Array = NDArray[np.float64]
Shape = tuple[int, ...]

# Standard deviation of a standard normal variable cut at -2 and 2: sqrt(1 - 4 phi(2) / P(|z| < 2)).
_CUT = 2.0
_CUT_STD = math.sqrt(
    1
    - 2 * _CUT * math.exp(-_CUT * _CUT / 2) / math.sqrt(2 * math.pi) / math.erf(_CUT / math.sqrt(2))
)


@dataclass(frozen=True)
class Initializer(Settings, ABC):
    """Base of all initializers; to add one, derive a frozen dataclass and write ``_draw``."""

    _aliases: ClassVar[Mapping[str, str]] = {
        "minval": "low",
        "a": "low",
        "maxval": "high",
        "b": "high",
        "stddev": "std",
        "sigma": "std",
        "scale": "std",
        "loc": "mean",
    }
    _usage: ClassVar[str] = ", called as init(shape, rng) with rng a Generator or a seed"

    @abstractmethod
    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        """Return a new float64 array of `shape` drawn from `rng`."""

    def __call__(
        self,
        shape: SupportsIndex | Sequence[SupportsIndex],
        rng: np.random.Generator | int,
        dtype: DTypeLike = np.float64,
    ) -> NDArray[Any]:
        """Return a new array of first weights.

        Parameters
        ----------
        shape : int or tuple of int
            A dense layer's weights are (inputs, outputs) or, for one output, (inputs,).
        rng : numpy.random.Generator or int
            A Generator, which moves on, or a seed, which gives the same weights each time.
        dtype : float32 or float64, default float64

        Returns
        -------
        ndarray of `shape` and `dtype`, C-contiguous

        Raises
        ------
        TypeError
            If `rng` is neither a Generator nor an int, or `dtype` neither float32 nor float64.
        ValueError
            If `shape` has a negative length, or more than two axes where inputs and outputs count.
        """
        sizes, real = _as_shape(shape), as_real(dtype)
        drawn = self._draw(sizes, as_generator(rng))
        with np.errstate(over="ignore"):
            return drawn.astype(real, copy=False)


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
        return _symmetric_uniform(shape, rng, 2.0 / sum(_fans(shape)))


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
        return _truncated_normal(shape, rng, 2.0 / sum(_fans(shape)))


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
        return _symmetric_uniform(shape, rng, 2.0 / _fans(shape)[0])


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
        return _truncated_normal(shape, rng, 2.0 / _fans(shape)[0])


_BY_NAME: dict[str, type[Initializer]] = {
    rule.__name__: rule
    for rule in (zeros, uniform, normal, glorot_uniform, glorot_normal, he_uniform, he_normal)
}


def get(identifier: str | Callable[..., Any], **settings: float) -> Callable[..., Any]:
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
    if name in _BY_NAME:
        return _BY_NAME[name]
    ours = name.lower().replace("xavier", "glorot").replace("kaiming", "he").strip("_")
    near = difflib.get_close_matches(ours, _BY_NAME, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"initializer {name!r} is unknown; accepted are {', '.join(_BY_NAME)}{hint}")


def as_generator(rng: object, name: str = "rng") -> np.random.Generator:
    """Return `rng` if it is a Generator, or a new one seeded with it if it is an integer >= 0."""
    if isinstance(rng, np.random.Generator):
        return rng
    message = f"{name} is {rng!r:.80}; accepted is a numpy.random.Generator or an integer seed >= 0"
    if isinstance(rng, bool) or not isinstance(rng, Integral):
        raise TypeError(f"{message}, for example {name}=np.random.default_rng(0)")
    if rng < 0:
        raise ValueError(message)
    return np.random.default_rng(int(rng))


def _as_shape(shape: SupportsIndex | Sequence[SupportsIndex]) -> Shape:
    """Return `shape`, an int or ints, as a tuple of Python ints >= 0."""
    message = f"shape is {shape!r:.80}; accepted is an integer >= 0 or a tuple of them"
    try:
        lengths = shape if isinstance(shape, Sequence) else (shape,)
        sizes = tuple(operator.index(length) for length in lengths)
    except TypeError:
        raise TypeError(message) from None
    if any(size < 0 for size in sizes):
        raise ValueError(message)
    return sizes


def as_real(dtype: DTypeLike) -> np.dtype[Any]:
    """Return `dtype` as one of gdcore's two float types, in the machine's byte order."""
    real = np.dtype(dtype)
    if real not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype is {real}; accepted are float32 and float64 in native byte order")
    return real


def _fans(shape: Shape) -> tuple[int, int]:
    """Return (fan_in, fan_out) of weights of `shape`, each at least 1 so that empty layers work."""
    if len(shape) > 2:
        raise ValueError(
            f"shape is {shape}; accepted are (inputs, outputs) and (inputs,), which this rule "
            "needs to know; for other shapes use normal or uniform with a deviation of your own"
        )
    fan_in, fan_out = (*shape, 1, 1)[:2]
    return max(fan_in, 1), max(fan_out, 1)


def _symmetric_uniform(shape: Shape, rng: np.random.Generator, variance: float) -> Float64Array:
    """Draw uniformly on [-a, a] with a = sqrt(3 variance)."""
    limit = math.sqrt(3.0 * variance)
    return rng.uniform(-limit, limit, shape)


def _truncated_normal(shape: Shape, rng: np.random.Generator, variance: float) -> Float64Array:
    """Draw from a normal cut at two of its own deviations that has `variance` after the cut."""
    drawn = rng.standard_normal(shape)
    beyond = np.flatnonzero(np.abs(drawn) > _CUT)
    while beyond.size:
        drawn.flat[beyond] = rng.standard_normal(beyond.size)
        beyond = beyond[np.abs(drawn.flat[beyond]) > _CUT]
    drawn *= math.sqrt(variance) / _CUT_STD
    return drawn
