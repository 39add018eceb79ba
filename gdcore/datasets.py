"""Data sets made by seed, tables of the documents, and test functions with gradient and minima.

Each data set comes as a named tuple whose first two fields are X and y, followed by what is known
of how they were made. Draws are made in float64 and rounded once where another type is asked for.
The sets of classes are written in `gdcore._classes`, the test functions in `gdcore._surfaces`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gdcore._classes import OBSERVATIONS, Data, Seed, blobs, circles, moons, spirals, xor
from gdcore._initializer import as_count, as_generator, as_number, as_real
from gdcore._names import no_attribute
from gdcore._surfaces import (
    Extremum,
    Surface,
    ackley,
    beale,
    himmelblau,
    peaks,
    rastrigin,
    ravine,
    rosenbrock,
    saddle,
    sextic,
)

__all__ = [
    "Data",
    "Extremum",
    "LinearData",
    "Predictions",
    "Surface",
    "ackley",
    "beale",
    "blobs",
    "circles",
    "exam",
    "four_predictions",
    "himmelblau",
    "moons",
    "noisy_line",
    "noisy_plane",
    "peaks",
    "rastrigin",
    "ravine",
    "rosenbrock",
    "saddle",
    "sextic",
    "spirals",
    "toy_line",
    "two_points",
    "xor",
]


class Predictions(NamedTuple):
    """Classes and the probabilities that a model gave them, both of shape (n,)."""

    y_true: NDArray[Any]
    y_pred: NDArray[Any]


class LinearData(NamedTuple):
    """Observations of a linear function with noise.

    Attributes
    ----------
    X : ndarray, shape (n, inputs)
    y : ndarray, shape (n, 1)
        A column, as the weights (inputs, 1) of a linear model predict it; ``y[:, 0]`` for a vector.
    weights : tuple of float, length inputs
        The true weights.
    bias : float
        The true bias. ``y[:, 0] - X @ weights - bias`` is the noise.
    """

    X: NDArray[Any]
    y: NDArray[Any]
    weights: tuple[float, ...]
    bias: float


def noisy_plane(n: int = 100_000, seed: Seed = 0, dtype: DTypeLike = np.float64) -> LinearData:
    """Return points on the plane ``y = 15 x - 13 z + 6`` under uniform noise.

    x and z are uniform on [-100, 100], and so is the noise that is added to y: the inputs are far
    from unit size, which makes the largest stable learning rate small and the bias slow to learn.

    Parameters
    ----------
    n : int, default 100_000
        Number of observations.
    seed : int or numpy.random.Generator, default 0
        The same seed gives the same data. A Generator is drawn from in the order x, z, noise, and
        can go on to draw the weights.
    dtype : float32 or float64, default float64

    Returns
    -------
    LinearData
        X (n, 2), columns x and z, C-ordered; y (n, 1); weights (15.0, -13.0); bias 6.0.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these, or n < 0.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X, y, weights, bias = gd.datasets.noisy_plane(n=1000, seed=rng)
    >>> X.shape, y.shape, weights, bias
    ((1000, 2), (1000, 1), (15.0, -13.0), 6.0)

    The usual start is small, and drawn from the same generator:

    >>> init = gd.initializers.uniform(-0.002, 0.002)
    >>> W, b = init((2, 1), rng), init(1, rng)
    """
    n = as_count(n, "n", meaning=OBSERVATIONS)
    real = as_real(dtype)
    rng = as_generator(seed, "seed")
    weights, bias = (15.0, -13.0), 6.0
    xs, zs, noise = (rng.uniform(-100.0, 100.0, (n, 1)) for _ in range(3))
    y = weights[0] * xs + weights[1] * zs + bias + noise
    return LinearData(
        np.hstack([xs, zs]).astype(real, copy=False), y.astype(real, copy=False), weights, bias
    )


def noisy_line(
    n: int = 100,
    slope: float = 2.0,
    intercept: float = -1.0,
    noise: float = 0.1,
    seed: Seed = 0,
    dtype: DTypeLike = np.float64,
) -> Data:
    """Return points near the line ``y = slope * x + intercept``, x uniform on [-1, 1].

    Parameters
    ----------
    n : int, default 100
        Number of observations.
    slope, intercept : float, default 2.0 and -1.0
        By default the line of document 003, ``y = 2 x - 1``.
    noise : float, default 0.1
        Standard deviation of the normal noise in y, >= 0.
    seed : int or numpy.random.Generator, default 0
        The same seed gives the same data; a Generator is drawn from in the order x, noise.
    dtype : float32 or float64, default float64

    Returns
    -------
    Data
        X (n, 1), y (n, 1).

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these.

    Examples
    --------
    >>> import gdcore as gd
    >>> X, y = gd.datasets.noisy_line(n=50, slope=3.0, intercept=0.0, noise=0.0)
    >>> X.shape, y.shape, bool((y == 3.0 * X).all())
    ((50, 1), (50, 1), True)
    """
    n, real, rng = (
        as_count(n, "n", meaning=OBSERVATIONS),
        as_real(dtype),
        as_generator(seed, "seed"),
    )
    slope, intercept = as_number(slope, "slope"), as_number(intercept, "intercept")
    deviation = as_number(noise, "noise", 0.0)
    x = rng.uniform(-1.0, 1.0, (n, 1))
    y = slope * x + intercept + rng.normal(0.0, deviation, (n, 1))
    return Data(x.astype(real, copy=False), y.astype(real, copy=False))


def exam(dtype: DTypeLike = np.float64) -> Data:
    """Return the table of document 001: hours studied and slept of three students, and who passed.

    Parameters
    ----------
    dtype : float32 or float64, default float64

    Returns
    -------
    Data
        X (3, 2), columns studied and slept; y (3,), 1 for pass and 0 for fail.

    Examples
    --------
    >>> import gdcore as gd
    >>> X, y = gd.datasets.exam()
    >>> X.tolist(), y.tolist()
    ([[5.0, 6.0], [10.0, 7.0], [7.0, 5.0]], [1, 1, 0])
    """
    return Data(np.array([[5, 6], [10, 7], [7, 5]], as_real(dtype)), np.array([1, 1, 0], np.int64))


def four_predictions(dtype: DTypeLike = np.float64) -> Predictions:
    """Return the table of document 001 about errors: four probabilities and the classes they meet.

    ``y_pred - y_true`` is the table's error, -0.1, 0.2, -0.9 and 0.51; the last two are wrong.

    Parameters
    ----------
    dtype : float32 or float64, default float64

    Returns
    -------
    Predictions
        y_true and y_pred, both (4,) and of `dtype`.

    Examples
    --------
    >>> import gdcore as gd
    >>> y_true, y_pred = gd.datasets.four_predictions()
    >>> (y_pred - y_true).round(2)
    array([-0.1 ,  0.2 , -0.9 ,  0.51])
    """
    real = as_real(dtype)
    return Predictions(np.array([1, 0, 1, 0], real), np.array([0.9, 0.2, 0.1, 0.51], real))


def toy_line(dtype: DTypeLike = np.float64) -> Data:
    """Return the six points of document 003, on ``y = 2 x - 1`` exactly.

    Parameters
    ----------
    dtype : float32 or float64, default float64

    Returns
    -------
    Data
        X (6, 1), y (6, 1); ``X[:, 0]`` and ``y[:, 0]`` are the document's xs and ys.

    Examples
    --------
    >>> import gdcore as gd
    >>> X, y = gd.datasets.toy_line()
    >>> X[:, 0].tolist(), y[:, 0].tolist()
    ([-1.0, 0.0, 1.0, 2.0, 3.0, 4.0], [-3.0, -1.0, 1.0, 3.0, 5.0, 7.0])
    """
    x = np.array([[-1], [0], [1], [2], [3], [4]], as_real(dtype))
    return Data(x, 2 * x - 1)


def two_points(dtype: DTypeLike = np.float64) -> Data:
    """Return the two points of document 004, through which a sigmoid neuron is fitted.

    ``1 / (1 + exp(-(w x + b)))`` meets both where ``w = log(36) / 2`` and ``b = -log(4) - w / 2``.

    Parameters
    ----------
    dtype : float32 or float64, default float64

    Returns
    -------
    Data
        X (2, 1), y (2, 1); ``X[:, 0]`` and ``y[:, 0]`` are the document's X and Y.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> X, y = gd.datasets.two_points()
    >>> w = np.log(36) / 2
    >>> gd.sigmoid(w * X - np.log(4) - w / 2)
    array([[0.2],
           [0.9]])
    """
    real = as_real(dtype)
    return Data(np.array([[0.5], [2.5]], real), np.array([[0.2], [0.9]], real))


def __getattr__(name: str) -> NoReturn:
    raise no_attribute(__name__, name, __all__)
