"""The gain of an activation: by how much the weights before it have to be larger."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gdcore import activations

# torch's table but for leaky_relu. Of sigmoid, tanh and selu it is not 1 / sqrt(E[f(z)^2]).
_TORCH = {
    "linear": 1.0,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
}
# Pieces of the line on each of which an activation is smooth; the normal density beyond
# 12 is below 1e-31, and 24 points a piece leave an error of rounding alone.
_REACH, _PIECES, _POINTS = 12.0, 48, 24


def gain(activation: str | Callable[[Any], Any], **settings: float) -> float:
    r"""Return the factor by which an activation's weights are larger than a linear layer's.

    Weights of standard deviation ``gain / sqrt(fan_in)`` keep the size of a signal from layer to
    layer. For sigmoid 1, tanh 5/3 and selu 3/4, torch's ``calculate_gain``. For all others

    .. math:: 1 / \sqrt{E[f(z)^2]}, \quad z \sim N(0, 1),

    which is what torch has for linear (1), relu (sqrt(2)) and leaky_relu (sqrt(2 / (1 + slope^2)))
    and what suits where it has none: gelu, silu, elu, softplus, a function of your own. Networks
    that normalise themselves by selu need the gain 1 (``lecun_normal``), as torch says too.

    Parameters
    ----------
    activation : str or callable
        A name of `gdcore.activations`, an activation, or any elementwise f(z) of arrays.
    **settings
        Arguments of the activation, with a name only: ``gain("leaky_relu", slope=0.2)``.

    Returns
    -------
    float
        Accurate to about 1e-14 for functions whose kinks lie at multiples of 1/2.

    Raises
    ------
    ValueError
        For an unknown name; for an activation that is not elementwise, such as softmax; where
        f(z)^2 has no finite mean above 0.
    TypeError
        If `activation` is neither a name nor callable.

    References
    ----------
    K. He et al., "Delving deep into rectifiers", ICCV 2015, for the moment of relu and leaky_relu.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> gd.initializers.gain("tanh"), gd.initializers.gain(np.cos)
    (1.6666666666666667, 1.3272506002845752)
    >>> gd.initializers.orthogonal(gain=gd.initializers.gain("relu"))
    orthogonal(gain=1.4142135623730951)
    """
    function: Any = activation
    if isinstance(activation, (str, activations.Activation)):
        function = activations.get(activation, **settings)
    elif settings:
        raise TypeError(f"gain: {', '.join(settings)} found; accepted with a name only")
    elif not callable(activation):
        raise TypeError(
            f"activation is {activation!r:.80}; accepted is a name "
            f"({', '.join(activations.names())}), an activation, or an elementwise function f(z)"
        )
    kind = {activations.Activation: "name", np.ufunc: "__name__"}.get(type(function), "")
    known = _TORCH.get(getattr(function, kind, ""))
    return _moment_gain(function) if known is None else known


def _moment_gain(function: Callable[[Any], Any]) -> float:
    """Return 1 / sqrt(E[f(z)^2]) for standard normal z, by Gauss-Legendre quadrature in pieces."""
    nodes, shares = np.polynomial.legendre.leggauss(_POINTS)
    half = _REACH / _PIECES
    centers = np.linspace(-_REACH + half, _REACH - half, _PIECES)
    z = (centers[:, None] + half * nodes).ravel()
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    with np.errstate(all="ignore"):
        values, some = np.asarray(function(z)), np.asarray(function(z[::-7]))
        if values.shape != z.shape or not np.allclose(some, values[::-7], rtol=1e-9, atol=0):
            raise ValueError(
                f"activation {function!r:.80} is not elementwise; a gain is known of functions "
                "whose every output depends on its own input alone"
            )
        moment = float(np.sum(np.tile(half * shares, _PIECES) * density * values**2))
    if not 0 < moment < math.inf:
        raise ValueError(
            f"activation {function!r:.80}: the mean of f(z)^2 over standard normal z is {moment}; "
            "accepted is a function for which it is finite and above 0"
        )
    return 1 / math.sqrt(moment)
