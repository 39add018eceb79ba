"""gdcore: gradient descent for NumPy, with its kernels in C.

>>> import numpy as np
>>> import gdcore as gd
>>> W = np.array([4.0, -2.0])
>>> opt = gd.SGD(lr=0.1)
>>> for _ in range(100):
...     opt.step(W, 2 * W)
>>> bool(np.abs(W).max() < 1e-8)
True
"""

from gdcore import (
    activations,
    datasets,
    initializers,
    losses,
    optimizers,
    plot,
    schedules,
)
from gdcore._config import get_num_threads, set_num_threads, show_config
from gdcore._core import (
    NonFiniteError,
    relu,
    sigmoid,
    tanh,
)
from gdcore.activations import softmax_along as softmax
from gdcore.linear import dense, dense_grad, linear_value_and_grad
from gdcore.optimizers import *  # noqa: F403 - every class of the table

__version__ = "0.1.0"

__all__ = [
    "NonFiniteError",
    "activations",
    "datasets",
    "dense",
    "dense_grad",
    "get_num_threads",
    "initializers",
    "linear_value_and_grad",
    "losses",
    "optimizers",
    "plot",
    "relu",
    "schedules",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "softmax",
    "tanh",
]
__all__ += optimizers.__all__
