"""Models that the tests of models share."""

from gdcore.layers import Activation, BatchNorm, Dense, Dropout, Input, LayerNorm, Residual
from gdcore.models import Sequential


def cube(z):
    return z**3


def quarter(t):
    return 0.25 / (1 + t)


def deep():
    """A model with a layer of every kind."""
    return Sequential(
        [
            Input(4),
            Dense(8, "relu", kernel_regularizer="l2", kernel_initializer="he_normal"),
            Dropout(0.25),
            Residual([Dense(6, cube), Dense(8), BatchNorm(0.9)]),
            LayerNorm(),
            Activation("tanh"),
            Dense(3, "softmax", use_bias=False),
        ]
    )


def small(*, dtype=None, **settings):
    return Sequential([Input(3), Dense(4, "tanh", **settings), Dense(2)], dtype=dtype)


def groups_of(optimizer):
    """Settings of the groups as a step takes them: rates for factors of rates."""
    names = {"lr_scale": "lr"}
    return [
        {names.get(name, name): group[names.get(name, name)] for name in group._own}
        for group in optimizer.groups
    ]
