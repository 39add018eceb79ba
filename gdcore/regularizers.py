"""Regularizers: penalties on a layer's weights that are part of the loss [Keras].

``kernel_regularizer=`` of a layer takes one, or its name. Its gradient joins that of the data, so
momentum and adaptive rates see it: that is what sets it apart from an optimizer's ``weight_decay``
and ``l1``. Each is a frozen dataclass: it pickles, deep-copies, hashes, compares with ``==`` and
prints as its constructor call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np

from gdcore._names import did_you_mean, no_attribute
from gdcore._settings import Settings

__all__ = ["Regularizer", "get", "l1", "l1_l2", "l2"]


@dataclass(frozen=True)
class Regularizer(Settings, ABC):
    """Base of all regularizers: called with an array, they return its penalty."""

    _usage: ClassVar[str] = ", called as regularizer(W) or given to a layer as kernel_regularizer="

    @abstractmethod
    def _strengths(self) -> tuple[float, float]:
        """Return the factors of sum|W| and of sum W^2."""

    def __call__(self, W: Any) -> Any:
        """Return ``l1 * sum(abs(W)) + l2 * sum(W**2)``.

        Parameters
        ----------
        W : array-like of any shape
            float32 or float64; numbers, lists and integers count as float64.

        Returns
        -------
        NumPy scalar of W's type

        Raises
        ------
        TypeError
            If `W` is of another type.

        Examples
        --------
        >>> gd.regularizers.l1_l2(l1=0.5, l2=0.25)([[1.0, -2.0]])
        np.float64(2.75)
        """
        if not hasattr(W, "dtype"):
            W = np.asarray(W)
        if W.dtype.kind in "biu":
            W = np.asarray(W, np.float64)
        if W.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"W has dtype {W.dtype}; float32, float64 and integers are accepted: convert it"
                " with .astype(np.float64)"
            )
        first, second = self._strengths()
        with np.errstate(all="ignore"):
            if not first:
                return second * np.sum(W * W)
            if not second:
                return first * np.sum(np.abs(W))
            return first * np.sum(np.abs(W)) + second * np.sum(W * W)


@dataclass(frozen=True)
class l1(Regularizer):
    """Sum of absolute values: ``l1 * sum(abs(W))``.

    Its gradient is ``l1 * sign(W)``, 0 at 0. Weights come near 0 and oscillate there; for exact
    zeros give the optimizer ``l1=``.

    Parameters
    ----------
    l1 : float, default 0.01
        Finite and >= 0.

    References
    ----------
    R. Tibshirani, "Regression shrinkage and selection via the lasso", J. R. Stat. Soc. B 58 (1996).

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.regularizers.l1(0.5)([1.0, -2.0])
    np.float64(1.5)
    """

    _aliases: ClassVar[Mapping[str, str]] = {"l": "l1", "factor": "l1", "alpha": "l1"}

    l1: float = 0.01

    def __post_init__(self) -> None:
        self._set(l1=self._number("l1", 0.0))

    def _strengths(self) -> tuple[float, float]:
        return self.l1, 0.0


@dataclass(frozen=True)
class l2(Regularizer):
    """Sum of squares: ``l2 * sum(W**2)``.

    Its gradient is ``2 * l2 * W``: with SGD the same as ``weight_decay=2 * l2``.

    Parameters
    ----------
    l2 : float, default 0.01
        Finite and >= 0.

    References
    ----------
    A. Hoerl, R. Kennard, "Ridge regression", Technometrics 12 (1970).

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.regularizers.l2(0.5)([1.0, -2.0])
    np.float64(2.5)
    """

    _aliases: ClassVar[Mapping[str, str]] = {"l": "l2", "factor": "l2", "alpha": "l2"}

    l2: float = 0.01

    def __post_init__(self) -> None:
        self._set(l2=self._number("l2", 0.0))

    def _strengths(self) -> tuple[float, float]:
        return 0.0, self.l2


@dataclass(frozen=True)
class l1_l2(Regularizer):
    """Both sums, the elastic net: ``l1 * sum(abs(W)) + l2 * sum(W**2)``.

    Parameters
    ----------
    l1, l2 : float, default 0.0
        Finite and >= 0 [Keras's defaults].

    References
    ----------
    H. Zou, T. Hastie, "Regularization and variable selection via the elastic net", J. R. Stat. Soc.
    B 67 (2005).

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.regularizers.l1_l2(l1=1.0, l2=0.5)([1.0, -2.0])
    np.float64(5.5)
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        self._set(l1=self._number("l1", 0.0), l2=self._number("l2", 0.0))

    def _strengths(self) -> tuple[float, float]:
        return self.l1, self.l2


# Keras's names of the classes beside ours.
_BY_NAME: dict[str, type[Regularizer]] = {
    "l1": l1,
    "l2": l2,
    "l1_l2": l1_l2,
    "L1": l1,
    "L2": l2,
    "L1L2": l1_l2,
}
_BOTH = {"l1": 0.01, "l2": 0.01}  # of the name alone [Keras's documentation]


def get(identifier: Any, **settings: float) -> Regularizer | None:
    """Return a regularizer from its name, its class, or itself; None from None.

    Parameters
    ----------
    identifier : str, Regularizer or None
        "l1", "l2", "l1_l2" (or Keras's "L1", "L2", "L1L2"), one of the classes here, or a
        regularizer, which is returned as it is. "l1_l2" alone has 0.01 for both.
    **settings
        Arguments of the regularizer, with a name or a class only.

    Raises
    ------
    ValueError
        If no regularizer has that name; the message suggests the nearest.
    TypeError
        If `identifier` is none of these, or a setting does not exist.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.regularizers.get("l2", l2=1e-4)
    l2(l2=0.0001)
    """
    if isinstance(identifier, str):
        if identifier not in _BY_NAME:
            hint = did_you_mean(identifier.lower(), ["l1", "l2", "l1_l2"])
            raise ValueError(
                f"regularizer {identifier!r} is unknown; accepted are 'l1', 'l2', 'l1_l2'{hint}"
            )
        kind = _BY_NAME[identifier]
        return kind(**(_BOTH if kind is l1_l2 and not settings else settings))
    if isinstance(identifier, type) and issubclass(identifier, Regularizer):
        return identifier(**settings)
    if settings:
        raise TypeError(
            f"regularizer {identifier!r:.80} takes no settings here; {', '.join(settings)} would"
            " not be used: set it where the regularizer is made"
        )
    if identifier is not None and not isinstance(identifier, Regularizer):
        raise TypeError(
            f"regularizer is {identifier!r:.80}; accepted is a name ('l1', 'l2', 'l1_l2'), one of"
            " gd.regularizers, for example gd.regularizers.l2(1e-4), or None"
        )
    return identifier


def __getattr__(name: str) -> NoReturn:
    raise no_attribute(__name__, name, __all__)
