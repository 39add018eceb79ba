"""Data sets made by seed, so that every picture and figure can be made again.

Each function returns a named tuple whose first two fields are X and y, followed by what is known of
how they were made. Draws are made in float64 and rounded once where another type is asked for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gdcore._initializer import as_count, as_generator, as_real

_OBSERVATIONS = ", the number of observations"

__all__ = ["LinearData", "noisy_plane"]


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


def noisy_plane(
    n: int = 100_000, seed: int | np.random.Generator = 0, dtype: DTypeLike = np.float64
) -> LinearData:
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
    n = as_count(n, "n", meaning=_OBSERVATIONS)
    real = as_real(dtype)
    rng = as_generator(seed, "seed")
    weights, bias = (15.0, -13.0), 6.0
    xs, zs, noise = (rng.uniform(-100.0, 100.0, (n, 1)) for _ in range(3))
    y = weights[0] * xs + weights[1] * zs + bias + noise
    return LinearData(
        np.hstack([xs, zs]).astype(real, copy=False), y.astype(real, copy=False), weights, bias
    )
