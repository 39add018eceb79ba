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

import importlib
from typing import TYPE_CHECKING, Any

from gdcore import activations, losses, optimizers
from gdcore._config import get_num_threads, set_num_threads, show_config
from gdcore._core import (
    NonFiniteError,
    celu,
    elu,
    gelu,
    gelu_tanh,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    leaky_relu,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softplus,
    softsign,
    tanh,
)
from gdcore._names import no_attribute
from gdcore.activations import log_softmax_along as log_softmax
from gdcore.activations import softmax_along as softmax
from gdcore.linear import dense, dense_grad, linear_value_and_grad

if TYPE_CHECKING:
    from gdcore import (
        callbacks,
        constraints,
        datasets,
        initializers,
        layers,
        metrics,
        models,
        plot,
        regularizers,
        schedules,
        weights,
    )
    from gdcore._diagnose import diagnose
    from gdcore._find_lr import find_lr
    from gdcore._many import fit_many, load_many
    from gdcore._saving import load_model
    from gdcore._sweep import sweep
    from gdcore.autodiff import (
        UntraceableError,
        compile,
        grad,
        hessian,
        hvp,
        jacobian,
        value_and_grad,
    )
    from gdcore.autodiff._check import check_grad
    from gdcore.callbacks import (
        Callback,
        CSVLogger,
        EarlyStopping,
        LambdaCallback,
        LearningRateScheduler,
        ModelCheckpoint,
        ProgressBar,
        ReduceLROnPlateau,
        TimeLimit,
    )
    from gdcore.descent import maximize, minimize
    from gdcore.history import History
    from gdcore.layers import (
        Activation,
        BatchNorm,
        BatchNormalization,
        Dense,
        Dropout,
        Input,
        Layer,
        LayerNorm,
        LayerNormalization,
        Residual,
    )
    from gdcore.models import Sequential
    from gdcore.optimizers import *  # noqa: F403 - every optimizer

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "BatchNorm",
    "BatchNormalization",
    "CSVLogger",
    "Callback",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "History",
    "Input",
    "LambdaCallback",
    "Layer",
    "LayerNorm",
    "LayerNormalization",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "NonFiniteError",
    "ProgressBar",
    "ReduceLROnPlateau",
    "Residual",
    "Sequential",
    "TimeLimit",
    "UntraceableError",
    "activations",
    "callbacks",
    "celu",
    "check_grad",
    "compile",
    "constraints",
    "datasets",
    "dense",
    "dense_grad",
    "diagnose",
    "elu",
    "find_lr",
    "fit_many",
    "gelu",
    "gelu_tanh",
    "get_num_threads",
    "grad",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "hessian",
    "hvp",
    "initializers",
    "jacobian",
    "layers",
    "leaky_relu",
    "linear_value_and_grad",
    "load_many",
    "load_model",
    "log_softmax",
    "losses",
    "maximize",
    "metrics",
    "minimize",
    "mish",
    "models",
    "optimizers",
    "plot",
    "prelu",
    "regularizers",
    "relu",
    "relu6",
    "schedules",
    "selu",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "sweep",
    "tanh",
    "value_and_grad",
    "weights",
]
# The classes of csrc/ops.def, written by `make generated`.
__all__ += [
    "ASGD",
    "EMA",
    "LAMB",
    "LARS",
    "LBFGS",
    "SGD",
    "AdaBelief",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "Armijo",
    "DAdaptAdam",
    "Group",
    "Lion",
    "NAdam",
    "Optimizer",
    "PolyakSGD",
    "Prodigy",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "SignSGD",
    "Yogi",
    "clip_by_global_norm",
]

globals().update({name: getattr(optimizers, name) for name in optimizers.AT_ONCE})

# Imported at first use: their dataclasses are half of the time of `import gdcore`.
_LATER = (
    "callbacks",
    "constraints",
    "datasets",
    "initializers",
    "layers",
    "metrics",
    "models",
    "plot",
    "regularizers",
    "schedules",
    "weights",
)
# Functions by the module that has them, imported at first use too.
_FUNCTIONS = {
    **dict.fromkeys(
        ("UntraceableError", "compile", "grad", "hessian", "hvp", "jacobian", "value_and_grad"),
        "gdcore.autodiff",
    ),
    **dict.fromkeys(
        (
            "Activation",
            "BatchNorm",
            "BatchNormalization",
            "Dense",
            "Dropout",
            "Input",
            "Layer",
            "LayerNorm",
            "LayerNormalization",
            "Residual",
        ),
        "gdcore.layers",
    ),
    **dict.fromkeys(
        (
            "CSVLogger",
            "Callback",
            "EarlyStopping",
            "LambdaCallback",
            "LearningRateScheduler",
            "ModelCheckpoint",
            "ProgressBar",
            "ReduceLROnPlateau",
            "TimeLimit",
        ),
        "gdcore.callbacks",
    ),
    "History": "gdcore.history",
    "Sequential": "gdcore.models",
    "check_grad": "gdcore.autodiff._check",
    "diagnose": "gdcore._diagnose",
    "find_lr": "gdcore._find_lr",
    "fit_many": "gdcore._many",
    "load_many": "gdcore._many",
    "load_model": "gdcore._saving",
    "maximize": "gdcore.descent",
    "minimize": "gdcore.descent",
    "sweep": "gdcore._sweep",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return importlib.import_module(f"gdcore.{name}")
    if name in _FUNCTIONS:
        return globals().setdefault(name, getattr(importlib.import_module(_FUNCTIONS[name]), name))
    if name in optimizers.__all__:
        return globals().setdefault(name, getattr(optimizers, name))
    if name == "TerminateOnNaN":  # Keras's, for which fit has an argument: says so
        return getattr(importlib.import_module("gdcore.callbacks"), name)
    raise no_attribute(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_FUNCTIONS, *optimizers.__all__})
