"""Initializers that see the weights of a layer as a matrix: orthogonal, identity, sparse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdcore._initializer import Float64Array, Initializer, Shape, matrix_of


def draw_orthonormal(shape: Shape, rng: np.random.Generator) -> Float64Array:
    """Draw columns, or where there are more of them than rows rows, that are orthonormal.

    All but the last axis count as rows. Uniform among all such matrices: the Q of a normal matrix
    is, once its signs make the diagonal of R positive (F. Mezzadri, "How to generate random
    matrices from the classical compact groups", Notices AMS 54, 2007).
    """
    columns = shape[-1] if len(shape) > 1 else 1
    rows = math.prod(shape[:-1]) if len(shape) > 1 else math.prod(shape)
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.copysign(1.0, np.diagonal(r))
    return np.ascontiguousarray(q if rows >= columns else q.T).reshape(shape)


@dataclass(frozen=True)
class orthogonal(Initializer):
    """Orthonormal columns times `gain`; where outputs outnumber inputs, orthonormal rows.

    A deep linear network keeps lengths exactly, forwards and backwards. Drawn uniformly among all
    such matrices. More than two axes are read as Keras does, all but the last as rows; torch, whose
    weights are (outputs, inputs), flattens all but the first. Weights (inputs,) are one column.

    Parameters
    ----------
    gain : float, default 1.0
        All singular values of the weights; see `gdcore.initializers.gain`.

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", ICLR 2014.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> W = gd.initializers.orthogonal(gain=2.0)((50, 20), rng=0)
    >>> bool(np.allclose(W.T @ W, 4 * np.eye(20)))
    True
    """

    _aliases: ClassVar[Mapping[str, str]] = {"scale": "gain"}

    gain: float = 1.0

    def __post_init__(self) -> None:
        self._set(gain=self._number("gain"))

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        return self.gain * draw_orthonormal(shape, rng)


@dataclass(frozen=True)
class identity(Initializer):
    """`gain` on the diagonal, zeros elsewhere; shapes (inputs, outputs), square or not.

    Parameters
    ----------
    gain : float, default 1.0

    References
    ----------
    Q. V. Le, N. Jaitly, G. E. Hinton, "A simple way to initialize recurrent networks of rectified
    linear units", arXiv:1504.00941, 2015.

    Examples
    --------
    >>> import gdcore as gd
    >>> gd.initializers.identity(0.5)((2, 3), rng=0)
    array([[0.5, 0. , 0. ],
           [0. , 0.5, 0. ]])
    """

    _aliases: ClassVar[Mapping[str, str]] = {"scale": "gain"}

    gain: float = 1.0

    def __post_init__(self) -> None:
        self._set(gain=self._number("gain"))

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        drawn = np.zeros(matrix_of(shape))
        np.fill_diagonal(drawn, self.gain)
        return drawn.reshape(shape)


@dataclass(frozen=True)
class sparse(Initializer):
    """Normal weights of which each unit keeps a few: in every column a share of zeros.

    A column holds the weights into one unit, so every unit has the same number of inputs, as the
    paper asks; torch's ``sparse_``, on weights (outputs, inputs), counts the units that each input
    reaches instead.

    Parameters
    ----------
    sparsity : float
        Share of zeros in a column, 0 to 1. Of n weights ``ceil(sparsity * n)`` are zero, the
        product being rounded to 9 decimals first: 0.07 * 100 is 7.000000000000001 in floating point
        and stands for 7 zeros (torch makes 8).
    std : float, default 0.01
        Standard deviation of the rest, >= 0 [torch's default].

    References
    ----------
    J. Martens, "Deep learning via Hessian-free optimization", ICML 2010.

    Examples
    --------
    >>> import gdcore as gd
    >>> W = gd.initializers.sparse(0.9)((50, 4), rng=0)
    >>> (W != 0).sum(axis=0)
    array([5, 5, 5, 5])
    """

    _aliases: ClassVar[Mapping[str, str]] = {"stddev": "std", "sigma": "std"}

    sparsity: float
    std: float = 0.01

    def __post_init__(self) -> None:
        sparsity = self._number("sparsity", 0.0)
        if sparsity > 1:
            raise ValueError(
                f"sparse: sparsity is {self.sparsity!r}; accepted is the share of zeros, 0 to 1"
            )
        self._set(sparsity=sparsity, std=self._number("std", 0.0))

    def _draw(self, shape: Shape, rng: np.random.Generator) -> Float64Array:
        rows, columns = matrix_of(shape)
        drawn = rng.normal(0.0, self.std, (rows, columns))
        zero = np.zeros((rows, columns), dtype=bool)
        zero[: math.ceil(round(self.sparsity * rows, 9))] = True
        drawn[rng.permuted(zero, axis=0)] = 0.0
        return drawn.reshape(shape)
