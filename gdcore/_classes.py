"""Data sets of classes: points of the plane, or blobs in more axes, that are to be told apart.

Classes have the same number of points, or one more for the first of them, and come in random order,
so that any part of the rows has all of them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gdcore._initializer import Float64Array, as_count, as_generator, as_number, as_real

Seed = int | np.random.Generator

OBSERVATIONS = ", the number of observations"


class Data(NamedTuple):
    """Inputs and what is to be predicted from them.

    Attributes
    ----------
    X : ndarray of float, shape (n, inputs), C-ordered
    y : ndarray
        Classes: int64 from 0, shape (n,). Numbers: of X's type, a column (n, 1).
    """

    X: NDArray[Any]
    y: NDArray[Any]


def blobs(
    n: int = 300,
    centers: int | ArrayLike = 3,
    std: float | ArrayLike = 1.0,
    inputs: int = 2,
    seed: Seed = 0,
    dtype: DTypeLike = np.float64,
) -> Data:
    """Return round normal clouds, one class each, in random order.

    Parameters
    ----------
    n : int, default 300
        Number of observations; the first ``n % k`` of the k classes have one more than the others.
    centers : int or array-like (k, inputs), default 3
        Centers, or their number: then they are drawn uniformly from [-10, 10] along each axis.
    std : float or array-like (k,), default 1.0
        Standard deviation of each cloud along each axis, >= 0.
    inputs : int, default 2
        Number of axes where `centers` is a number, else not looked at.
    seed : int or numpy.random.Generator, default 0
        A Generator is drawn from in the order centers, points, order.
    dtype : float32 or float64, default float64

    Returns
    -------
    Data
        X (n, inputs), y (n,) with classes 0 to k - 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these.

    Examples
    --------
    >>> import gdcore as gd
    >>> X, y = gd.datasets.blobs(n=100, centers=[[1, 1], [5, 1]])
    >>> X.shape, y.shape, [round(float(X[y == 1, 0].mean()), 0), int((y == 1).sum())]
    ((100, 2), (100,), [5.0, 50])
    """
    n, real, rng = (
        as_count(n, "n", meaning=OBSERVATIONS),
        as_real(dtype),
        as_generator(seed, "seed"),
    )
    if isinstance(centers, (int, np.integer)):
        k, axes = as_count(centers, "centers", 1), as_count(inputs, "inputs", 1)
        middles = rng.uniform(-10.0, 10.0, (k, axes))
    else:
        middles = _as_numbers(centers, "centers", 2)
    spreads = _as_numbers(std, "std", np.ndim(std))
    if spreads.shape not in ((), (len(middles),)) or (spreads < 0).any():
        raise ValueError(
            f"std is {std!r:.80}; accepted is a number >= 0, or one for each of the "
            f"{len(middles)} centers"
        )
    y = _classes(n, len(middles))
    around = rng.standard_normal((n, middles.shape[1]))
    spread = np.broadcast_to(spreads, len(middles))[y]
    return _shuffled(middles[y] + spread[:, None] * around, y, rng, real)


def moons(n: int = 200, noise: float = 0.1, seed: Seed = 0, dtype: DTypeLike = np.float64) -> Data:
    """Return two interleaved half circles of radius 1, in random order.

    Class 0 is ``(cos t, sin t)``, class 1 ``(1 - cos t, 1/2 - sin t)``, t even on [0, pi]
    [scikit-learn's make_moons].

    Parameters
    ----------
    n : int, default 200
        Number of observations; class 0 has one more where n is odd.
    noise : float, default 0.1
        Standard deviation of the normal noise along each axis, >= 0.
    seed : int or numpy.random.Generator, default 0
        A Generator is drawn from in the order noise, order.
    dtype : float32 or float64, default float64

    Returns
    -------
    Data
        X (n, 2), y (n,) with classes 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these.

    Examples
    --------
    >>> import gdcore as gd
    >>> X, y = gd.datasets.moons(n=100, noise=0.0)
    >>> bool(abs((X[y == 0] ** 2).sum(axis=1) - 1).max() < 1e-15)
    True
    """
    y = _classes(as_count(n, "n", meaning=OBSERVATIONS), 2)
    t = math.pi * _even_shares(y, ends=True)
    lower = np.column_stack([1.0 - np.cos(t), 0.5 - np.sin(t)])
    upper = np.column_stack([np.cos(t), np.sin(t)])
    return _blurred(np.where(y[:, None] == 1, lower, upper), y, noise, seed, dtype)


def circles(
    n: int = 200,
    noise: float = 0.05,
    factor: float = 0.5,
    seed: Seed = 0,
    dtype: DTypeLike = np.float64,
) -> Data:
    """Return two circles around 0, in random order: no line separates them [scikit-learn's names].

    Parameters
    ----------
    n : int, default 200
        Number of observations; class 0 has one more where n is odd.
    noise : float, default 0.05
        Standard deviation of the normal noise along each axis, >= 0.
    factor : float, default 0.5
        Radius of class 1, 0 to 1; that of class 0 is 1.
    seed : int or numpy.random.Generator, default 0
        A Generator is drawn from in the order noise, order.
    dtype : float32 or float64, default float64

    Returns
    -------
    Data
        X (n, 2), y (n,) with classes 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these.

    Examples
    --------
    >>> import gdcore as gd
    >>> X, y = gd.datasets.circles(n=100, noise=0.0)
    >>> bool(abs((X[y == 1] ** 2).sum(axis=1) - 0.25).max() < 1e-15)
    True
    """
    radius = as_number(factor, "factor", 0.0)
    if radius > 1:
        raise ValueError(f"factor is {factor!r}; accepted is a number from 0 to 1")
    y = _classes(as_count(n, "n", meaning=OBSERVATIONS), 2)
    X = _polar(np.where(y == 1, radius, 1.0), 2 * math.pi * _even_shares(y, ends=False))
    return _blurred(X, y, noise, seed, dtype)


def spirals(
    n: int = 300,
    arms: int = 2,
    turns: float = 1.5,
    noise: float = 0.02,
    seed: Seed = 0,
    dtype: DTypeLike = np.float64,
) -> Data:
    """Return interleaved spirals from 0 out to radius 1, one class each, in random order.

    Arm k is, for radii r even on (0, 1], at the angle ``2 pi (turns * r + k / arms)``.

    Parameters
    ----------
    n : int, default 300
        Number of observations; the first ``n % arms`` classes have one more than the others.
    arms : int, default 2
        Number of classes, >= 1.
    turns : float, default 1.5
        How often each winds around 0; negative for clockwise.
    noise : float, default 0.02
        Standard deviation of the normal noise along each axis, >= 0.
    seed : int or numpy.random.Generator, default 0
        A Generator is drawn from in the order noise, order.
    dtype : float32 or float64, default float64

    Returns
    -------
    Data
        X (n, 2), y (n,) with classes 0 to arms - 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these.

    Examples
    --------
    >>> import gdcore as gd
    >>> X, y = gd.datasets.spirals(n=300, arms=3)
    >>> X.shape, [int((y == arm).sum()) for arm in range(3)]
    ((300, 2), [100, 100, 100])
    """
    winding, k = as_number(turns, "turns"), as_count(arms, "arms", 1)
    y = _classes(as_count(n, "n", meaning=OBSERVATIONS), k)
    radius = 1.0 - _even_shares(y, ends=False)
    return _blurred(_polar(radius, 2 * math.pi * (winding * radius + y / k)), y, noise, seed, dtype)


def xor(n: int = 200, noise: float = 0.1, seed: Seed = 0, dtype: DTypeLike = np.float64) -> Data:
    """Return points on the square [-1, 1] x [-1, 1]; class 1 is where the signs of x and y differ.

    No line does better than chance. The quadrants have n / 4 points each, in random order.

    Parameters
    ----------
    n : int, default 200
        Number of observations; where 4 does not divide it some quadrants have one more.
    noise : float, default 0.1
        Standard deviation of the normal noise along each axis, >= 0: added after the classes were
        given, so that they overlap along the axes.
    seed : int or numpy.random.Generator, default 0
        A Generator is drawn from in the order points, noise, order.
    dtype : float32 or float64, default float64

    Returns
    -------
    Data
        X (n, 2), y (n,) with classes 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these.

    Examples
    --------
    >>> import gdcore as gd
    >>> X, y = gd.datasets.xor(noise=0.0)
    >>> bool((y == (X[:, 0] * X[:, 1] < 0)).all()), int(y.sum())
    (True, 100)
    """
    rng = as_generator(seed, "seed")
    quadrant = np.arange(as_count(n, "n", meaning=OBSERVATIONS)) % 4
    signs = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])[quadrant]
    X = signs * (1.0 - rng.random(signs.shape))
    return _blurred(X, quadrant % 2, noise, rng, dtype)


def _as_numbers(values: ArrayLike, name: str, axes: int) -> Float64Array:
    """Return `values` as a float64 array of finite numbers with `axes` axes and no empty one."""
    message = f"{name} is {values!r:.80}; accepted are finite numbers, an array of {axes} axes"
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(message) from None
    if array.dtype.kind not in "iuf":
        raise TypeError(message)
    if array.ndim != axes or not array.size or not np.isfinite(array).all():
        raise ValueError(message)
    return array.astype(np.float64)


def _classes(n: int, k: int) -> NDArray[np.int64]:
    """Return n classes 0 to k - 1 in turn."""
    return np.arange(n, dtype=np.int64) % k


def _even_shares(y: NDArray[np.int64], ends: bool) -> Float64Array:
    """Return 0, 1/m, 2/m ... for the members of each class in turn; 1 is reached if `ends`."""
    k = int(y.max(initial=0)) + 1
    sizes = np.bincount(y, minlength=k)
    steps = np.maximum(sizes - 1, 1) if ends else sizes
    return np.arange(len(y)) // k / steps[y]


def _polar(radius: Float64Array, angle: Float64Array) -> Float64Array:
    """Return points (n, 2)."""
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def _blurred(
    X: Float64Array, y: NDArray[np.int64], noise: float, seed: Seed, dtype: DTypeLike
) -> Data:
    """Return the points with normal noise, in random order."""
    deviation, rng = as_number(noise, "noise", 0.0), as_generator(seed, "seed")
    return _shuffled(X + rng.normal(0.0, deviation, X.shape), y, rng, as_real(dtype))


def _shuffled(
    X: Float64Array, y: NDArray[np.int64], rng: np.random.Generator, real: np.dtype[Any]
) -> Data:
    """Return the observations in random order, so that any part of them has all classes."""
    order = rng.permutation(len(y))
    return Data(X[order].astype(real, copy=False), y[order])
