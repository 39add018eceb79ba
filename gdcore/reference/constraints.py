"""What follows an optimizer's rule, in plain NumPy: the proximal step of l1, and the constraints.

The twins of `csrc/units.c` and of two loops in `csrc/optimizers.inc`, over arrays of float32 or
float64. Norms and sums are taken in double; the simplex by sorting, where the core iterates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdcore.reference._arithmetic import Array

__all__ = ["adaptive", "project", "shrink", "unit_norms", "units"]

ADAPTIVE_EPS = 1e-3  # the norm that weights of 0 are taken to have


def units(x: Array) -> Array:
    """Return `x` with a unit in each column: one for each place on the last axis, or one of all."""
    return x.reshape(-1, x.shape[-1] if x.ndim > 1 else 1) if x.size else x.reshape(0, 1)


def unit_norms(x: Array) -> NDArray[np.float64]:
    """Return the norms of the units in double, scaled so that no square leaves its range."""
    wide = units(x).astype(np.float64)
    top = np.max(np.abs(wide), axis=0, initial=0.0)
    scale = np.where((top > 0) & np.isfinite(top), 2.0 ** np.frexp(top)[1].clip(-1000, 1000), 1.0)
    squares = np.ascontiguousarray((wide / scale).T) ** 2  # rows, which NumPy adds in pairs
    return np.asarray(scale * np.sqrt(np.sum(squares, axis=1)))


def _scaled(x: Array, factor: NDArray[np.float64]) -> Array:
    """Return `x` with each unit times its factor, multiplied in double and rounded once."""
    return (units(x).astype(np.float64) * factor).astype(x.dtype).reshape(x.shape)


def adaptive(p: Array, g: Array, clip: float) -> Array:
    """Return `g` with no unit longer than ``clip max(|p_unit|, 1e-3)``.

    Examples
    --------
    >>> from gdcore.reference import constraints as reference
    >>> reference.adaptive(np.array([3.0, 4.0]), np.array([0.0, 2.0]), clip=0.2)
    array([0., 1.])
    """
    with np.errstate(all="ignore"):
        norms, own = unit_norms(g), unit_norms(p)
        limits = clip * np.where(own > ADAPTIVE_EPS, own, ADAPTIVE_EPS)
        return _scaled(g, np.where(norms > limits, limits / norms, 1.0))


def shrink(p: Array, limit: float) -> Array:
    """Return ``sign(p) max(|p| - limit, 0)``, the proximal point of ``limit |p|_1``.

    Examples
    --------
    >>> from gdcore.reference import constraints as reference
    >>> reference.shrink(np.array([-3.0, 0.5, 2.0]), 1.0)
    array([-2.,  0.,  1.])
    """
    bound = p.dtype.type(limit)
    with np.errstate(all="ignore"):
        return np.asarray(p - np.clip(p, -bound, bound))


def _max_norm(x: Array, constraint: Any) -> Array:
    norms = unit_norms(x)
    return _scaled(x, np.where(norms > constraint.limit, constraint.limit / norms, 1.0))


def _unit_norm(x: Array, constraint: Any) -> Array:
    norms = unit_norms(x)
    return _scaled(x, np.where(norms >= np.finfo(np.float64).tiny, 1.0 / norms, 1.0))


def _box(x: Array, constraint: Any) -> Array:
    low, high = map(x.dtype.type, (constraint.low, constraint.high))
    return np.asarray(np.clip(x, low, high))


def _non_neg(x: Array, constraint: Any) -> Array:
    return np.maximum(x, 0)


def _simplex(x: Array, constraint: Any) -> Array:
    """Duchi et al. 2008: with u sorted down, t = (u_1 + ... + u_k - 1) / k for the last k < u_k."""
    wide = units(x).astype(np.float64)
    wide = wide - np.max(wide, axis=0, initial=-np.inf)
    down = np.sort(wide, axis=0)[::-1]
    counts = np.arange(1, len(wide) + 1)[:, None]
    thresholds = (np.cumsum(down, axis=0) - 1) / counts
    last = np.sum(down > thresholds, axis=0, keepdims=True) - 1
    t = np.take_along_axis(thresholds, last, axis=0) if x.size else np.zeros((1, 1))
    return np.asarray(np.maximum(wide - t, 0).astype(x.dtype).reshape(x.shape))


PROJECTIONS: dict[str, Callable[[Array, Any], Array]] = {
    "box": _box,
    "max_norm": _max_norm,
    "non_neg": _non_neg,
    "simplex": _simplex,
    "unit_norm": _unit_norm,
}


def project(constraint: Any, x: Array) -> Array:
    """Return the point that keeps a constraint of `gdcore.constraints` and is nearest to `x`.

    Examples
    --------
    >>> from gdcore.reference import constraints as reference
    >>> reference.project(gd.constraints.simplex(), np.array([0.5, 1.0, -1.0]))
    array([0.25, 0.75, 0.  ])
    """
    with np.errstate(all="ignore"):
        return PROJECTIONS[type(constraint).__name__](x, constraint)
