"""Constraints: sets that parameters are brought back to after each step.

``constraint=`` of an optimizer takes one, for all parameters or per group; called with an array a
constraint returns the nearest array that keeps it. Each is a frozen dataclass: it pickles,
deep-copies, hashes, compares with ``==`` and prints as its constructor call.

Some hold for each unit: the weights of one output, that is all elements with the same index on the
last axis. W of shape (inputs, outputs) has ``outputs`` units of ``inputs`` weights, a kernel of
shape (height, width, inputs, outputs) units over its first three axes; an array of one axis or none
is one unit. These are Keras's with ``axis=0``, for kernels of a convolution with all axes but the
last. The projections are written in C (`csrc/units.c`); the NumPy twins are in
`gdcore.reference.constraints`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, NoReturn

from numpy.typing import ArrayLike, NDArray

from gdcore import _core
from gdcore._names import no_attribute
from gdcore._optimizer import Projection
from gdcore._settings import Settings

__all__ = ["Constraint", "box", "max_norm", "non_neg", "simplex", "unit_norm"]

# Numbers of the kinds, as gd_constraint_kind has them in csrc/units.h.
_BOX, _MAX_NORM, _UNIT_NORM, _SIMPLEX = 1, 2, 3, 4


@dataclass(frozen=True)
class Constraint(Settings, Projection, ABC):
    """Base of all constraints: called with an array, they return its nearest point that keeps them.

    An optimizer takes a constraint as ``constraint=``, and applies it to the parameters after its
    rule and after the proximal step of ``l1``. What the rule itself keeps (momentum, the averages
    behind ``opt.averaged``) stays as it is.
    """

    _usage: ClassVar[str] = ", called as constraint(x) or given to an optimizer as constraint="

    @abstractmethod
    def _spec(self) -> tuple[int, float, float]: ...

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Return the point that keeps the constraint and is nearest to `x`.

        Parameters
        ----------
        x : array-like of any shape
            float32 or float64; numbers, lists and integers count as float64. It is not changed.

        Returns
        -------
        ndarray of x's type and shape
            New, C-contiguous, or Fortran-contiguous where `x` is; a NumPy scalar for a number.

        Raises
        ------
        TypeError
            If `x` is of another type.
        """
        result: NDArray[Any] = _core.project(self._spec(), x)
        return result


@dataclass(frozen=True)
class max_norm(Constraint):
    """Norm of each unit at most `limit`: a longer one is scaled by ``limit / norm``.

    Keras's ``MaxNorm``, without the 1e-7 that it adds to the norm. A unit with a NaN stays.

    Parameters
    ----------
    limit : float, default 2.0
        Finite and >= 0.

    References
    ----------
    N. Srebro, J. Rennie, T. Jaakkola, "Maximum-margin matrix factorization", NIPS 17 (2004).

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.constraints.max_norm(1.0)([[3.0, 0.5], [4.0, 0.5]])
    array([[0.6, 0.5],
           [0.8, 0.5]])
    """

    _aliases: ClassVar[Mapping[str, str]] = {"max_value": "limit", "max_norm": "limit"}

    limit: float = 2.0

    def __post_init__(self) -> None:
        self._set(limit=self._number("limit", 0.0))

    def _spec(self) -> tuple[int, float, float]:
        return _MAX_NORM, 0.0, self.limit


@dataclass(frozen=True)
class unit_norm(Constraint):
    """Norm of each unit 1: ``x * (1 / norm)``.

    Keras's ``UnitNorm``, without the 1e-7 that it adds to the norm. A unit that has no direction
    stays as it is: one of zeros (or of a norm below 2.2e-308), or one with a NaN.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.constraints.unit_norm()([[3.0, 0.0], [4.0, -0.5]])
    array([[ 0.6,  0. ],
           [ 0.8, -1. ]])
    """

    def _spec(self) -> tuple[int, float, float]:
        return _UNIT_NORM, 0.0, 1.0


@dataclass(frozen=True)
class box(Constraint):
    """Every element in [low, high]: ``min(max(x, low), high)``. A NaN stays.

    optax's ``projection_box``.

    Parameters
    ----------
    low, high : float
        low <= high; -inf and inf leave a side open.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.constraints.box(-1.0, 1.0)([-3.0, 0.5, 2.0])
    array([-1. ,  0.5,  1. ])
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        "lower": "low",
        "min": "low",
        "min_value": "low",
        "upper": "high",
        "max": "high",
        "max_value": "high",
    }

    low: float
    high: float

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"box: {name} is {value!r}; accepted is a number or an infinity")
            if math.isnan(value):
                raise ValueError(f"box: {name} is {value!r}; accepted is a number or an infinity")
        if not self.low <= self.high:
            raise ValueError(
                f"box: low is {self.low!r} and high is {self.high!r}; accepted is low <= high"
            )
        self._set(low=float(self.low), high=float(self.high))

    def _spec(self) -> tuple[int, float, float]:
        return _BOX, self.low, self.high


@dataclass(frozen=True)
class non_neg(Constraint):
    """Every element >= 0: ``max(x, 0)``. A NaN stays.

    Keras's ``NonNeg``, optax's ``projection_non_negative``.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.constraints.non_neg()([-3.0, 0.0, 2.0])
    array([0., 0., 2.])
    """

    def _spec(self) -> tuple[int, float, float]:
        return _BOX, 0.0, math.inf


@dataclass(frozen=True)
class simplex(Constraint):
    """Each unit a probability distribution, x >= 0 with sum 1: ``max(x - t, 0)``, t so that it is.

    optax's ``projection_simplex``, there over all elements of an array together. t is found by
    Michelot's iteration, whose passes over a unit each cost its length. Their number depends on the
    values: 4 to 16 for normal draws, at most 2 and one for each element within 1 of the largest. A
    unit with a NaN or an infinite maximum has no nearest point and becomes NaN; -inf becomes 0.

    References
    ----------
    C. Michelot, "A finite algorithm for finding the projection of a point onto the canonical
    simplex of R^n", J. Optim. Theory Appl. 50 (1986).

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.constraints.simplex()([0.5, 1.0, -1.0])
    array([0.25, 0.75, 0.  ])
    """

    def _spec(self) -> tuple[int, float, float]:
        return _SIMPLEX, 0.0, 1.0


def __getattr__(name: str) -> NoReturn:
    raise no_attribute(__name__, name, __all__)
