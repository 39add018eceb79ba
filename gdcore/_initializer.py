"""Base of the initializers, the checks of their arguments, and the laws they draw from.

A law gives a float64 array; rounding to the caller's type is the base class's. Weights of a dense
layer are (inputs, outputs); one axis counts as one column.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gdcore._settings import Settings, finite_number

Float64Array = NDArray[np.float64]
Shape = tuple[int, ...]

# Standard deviation of a standard normal variable cut at -2 and 2: sqrt(1 - 4 phi(2) / P(|z| < 2)).
_CUT = 2.0
CUT_STD = math.sqrt(
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

    def _choose(self, name: str, accepted: Collection[str], way_out: str = "") -> None:
        """Refuse an argument `name` that is none of the `accepted` words."""
        value = getattr(self, name)
        if not isinstance(value, str) or value not in accepted:
            raise (ValueError if isinstance(value, str) else TypeError)(
                f"{type(self).__name__}: {name} is {value!r:.80}; accepted is one of "
                f"{', '.join(map(repr, accepted))}{way_out}"
            )

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
        sizes, real = as_shape(shape), as_real(dtype)
        drawn = np.asarray(self._draw(sizes, as_generator(rng)))
        with np.errstate(over="ignore"):
            return drawn.astype(real, copy=False)


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


def as_count(value: object, name: str, low: int = 0, meaning: str = "") -> int:
    """Return `value` as a Python int if it is an integer >= `low`."""
    message = f"{name} is {value!r:.80}; accepted is an integer >= {low}{meaning}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(message)
    if value < low:
        raise ValueError(message)
    return int(value)


def as_number(value: object, name: str, low: float = -math.inf) -> float:
    """Return `value` as a Python float if it is a finite number >= `low`."""
    accepted = "a finite number" + (f" >= {low:g}" if low > -math.inf else "")
    message = f"{name} is {value!r:.80}; accepted is {accepted}"
    return finite_number(value, lambda x: x >= low, message)


def as_shape(shape: SupportsIndex | Sequence[SupportsIndex]) -> Shape:
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


def as_real(dtype: DTypeLike, name: str = "dtype") -> np.dtype[Any]:
    """Return `dtype` as one of gdcore's two float types, in the machine's byte order."""
    real = np.dtype(dtype)
    if real not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{name} is {real}; accepted are float32 and float64 in native byte order")
    return real


def matrix_of(shape: Shape) -> tuple[int, int]:
    """Return (inputs, outputs) of weights of `shape`; a vector is one column, a number one cell."""
    if len(shape) > 2:
        raise ValueError(
            f"shape is {shape}; accepted are (inputs, outputs) and (inputs,), which this rule "
            "needs to know; for other shapes use normal or uniform with a deviation of your own"
        )
    inputs, outputs = (*shape, 1, 1)[:2]
    return inputs, outputs


def fans_of(shape: Shape) -> tuple[int, int]:
    """Return (fan_in, fan_out) of weights of `shape`, each at least 1 so that empty layers work."""
    inputs, outputs = matrix_of(shape)
    return max(inputs, 1), max(outputs, 1)


def draw_uniform(shape: Shape, rng: np.random.Generator, variance: float) -> Float64Array:
    """Draw uniformly on [-a, a] with a = sqrt(3 variance)."""
    limit = math.sqrt(3.0 * variance)
    return rng.uniform(-limit, limit, shape)


def draw_cut(shape: Shape, rng: np.random.Generator) -> Float64Array:
    """Draw from a standard normal cut at -2 and 2; what falls outside is drawn again."""
    drawn = rng.standard_normal(shape)
    cells = drawn.reshape(-1)
    beyond = np.flatnonzero(np.abs(cells) > _CUT)
    while beyond.size:
        cells[beyond] = rng.standard_normal(beyond.size)
        beyond = beyond[np.abs(cells[beyond]) > _CUT]
    return drawn


def draw_truncated(shape: Shape, rng: np.random.Generator, variance: float) -> Float64Array:
    """Draw from a normal cut at two of its own deviations that has `variance` after the cut."""
    drawn = draw_cut(shape, rng)
    drawn *= math.sqrt(variance) / CUT_STD
    return drawn


def draw_normal(shape: Shape, rng: np.random.Generator, variance: float) -> Float64Array:
    """Draw from a normal with `variance`."""
    return rng.normal(0.0, math.sqrt(variance), shape)
