"""Layer-sequential unit variance: first weights that are fitted to the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gdcore import activations
from gdcore._initializer import as_count, as_generator, as_number, as_real
from gdcore._matrices import draw_orthonormal
from gdcore.linear import dense

Layer = tuple[NDArray[Any], ArrayLike | None, Any]


def lsuv(
    X: ArrayLike,
    layers: Sequence[Layer],
    rng: np.random.Generator | int,
    *,
    tol: float = 0.01,
    max_iterations: int = 10,
) -> None:
    r"""Fill the weights of a chain of dense layers so that every layer's output has variance 1.

    Each W becomes orthonormal and is then divided by the standard deviation of

    .. math:: z = x W + b

    over all rows and units, x being what the layers before it make of `X`, until the variance of z
    is within `tol` of 1. As in the paper z is the output before the activation, which is a layer of
    its own there; so the rule works for any activation. Without a bias one division is exact.

    Parameters
    ----------
    X : array-like, (n, inputs)
        A batch of the data, as it goes into the first layer; some hundred rows are enough.
    layers : sequence of (W, b, activation)
        W : ndarray (inputs, outputs) or (inputs,), float32 or float64, **overwritten**; b as in
        `gdcore.dense`, or None, read only; activation : None, a name, an activation or f(z).
    rng : numpy.random.Generator or int
        A Generator, which moves on, or a seed.
    tol : float, default 0.01
        Largest distance of the variance from 1, > 0.
    max_iterations : int, default 10
        Divisions a layer may take, >= 1.

    Raises
    ------
    ValueError
        If the variance of a layer is 0 or not finite, or not within `tol` of 1 after
        `max_iterations`; if shapes do not fit, or a W occurs twice. No weight has changed then.
    TypeError
        If a layer is no such triple, W no array of floats, or `rng` neither Generator nor int.

    References
    ----------
    D. Mishkin, J. Matas, "All you need is a good init", ICLR 2016.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> X = np.random.default_rng(0).uniform(0, 255, (500, 20))
    >>> W1, b1, W2, b2 = np.empty((20, 30)), np.zeros(30), np.empty((30, 5)), np.zeros(5)
    >>> gd.initializers.lsuv(X, [(W1, b1, "tanh"), (W2, b2, None)], rng=0)
    >>> z1 = gd.dense(X, W1, b1)
    >>> z2 = gd.dense(np.tanh(z1), W2, b2)
    >>> round(float(z1.var()), 6), round(float(z2.var()), 6)
    (1.0, 1.0)
    """
    generator = as_generator(rng)
    if as_number(tol, "tol", 0.0) == 0:
        raise ValueError(f"tol is {tol!r}; accepted is a number > 0")
    as_count(max_iterations, "max_iterations", low=1)
    chain = [_as_layer(f"layers[{number}]", layer) for number, layer in enumerate(layers)]
    _check_distinct([W for W, _, _ in chain])
    signal: Any = X
    fitted = []
    for number, (W, b, activation) in enumerate(chain):
        start = draw_orthonormal(W.shape, generator).astype(W.dtype)
        try:
            z = _scale_to_unit_variance(start, signal, b, tol, max_iterations)
        except (TypeError, ValueError) as error:
            raise type(error)(f"layers[{number}]: {error}") from None
        signal = activation(z)
        fitted.append(start)
    for (W, _, _), weights in zip(chain, fitted, strict=True):
        W[...] = weights


def _scale_to_unit_variance(
    W: NDArray[Any], x: Any, b: ArrayLike | None, tol: float, max_iterations: int
) -> NDArray[Any]:
    """Scale `W` in place until z = x W + b has variance 1; return z."""
    for _ in range(max_iterations + 1):
        z: NDArray[Any] = dense(x, W, b)
        if not z.size:
            raise ValueError(
                f"z = x W + b has shape {z.shape}; accepted are rows and units, 1 or more"
            )
        noise = 16 * float(np.finfo(W.dtype).eps)
        with np.errstate(all="ignore"):
            variance = float(np.var(z, dtype=np.float64))
            square = float(np.mean(np.square(z, dtype=np.float64)))
        # Equal values have a variance of rounding errors: 2e-34 of three times 0.1.
        if not noise**2 * square < variance < np.inf:
            raise ValueError(
                f"z = x W + b has variance {variance:.3g} and mean square {square:.3g}; accepted "
                "is a finite variance above 0: give rows that differ, and no dead units before"
            )
        if abs(variance - 1) < tol:
            return z
        W /= np.sqrt(variance)
    raise ValueError(
        f"z = x W + b has variance {variance:.6g} after {max_iterations} divisions; accepted is 1 "
        f"within tol={tol!r}: a smaller bias, which W does not scale, or a larger max_iterations"
    )


def _as_layer(name: str, layer: object) -> tuple[NDArray[Any], Any, Callable[[Any], Any]]:
    """Return (W, b, f) of one triple, f being callable; W can be written and has gdcore's types."""
    if not isinstance(layer, (tuple, list)) or len(layer) != 3:
        length = f" of length {len(layer)}" if isinstance(layer, Sized) else ""
        raise TypeError(
            f"{name} is a {type(layer).__name__}{length}; accepted is a triple (W, b, activation)"
        )
    W, b, activation = layer
    if not isinstance(W, np.ndarray):
        raise TypeError(f"{name}: W is {type(W).__name__}; accepted is an array, to be overwritten")
    as_real(W.dtype, f"{name}: W.dtype")
    if W.ndim not in (1, 2):
        raise ValueError(
            f"{name}: W has shape {W.shape}; accepted are (inputs, outputs), (inputs,)"
        )
    if not W.flags.writeable:
        raise ValueError(f"{name}: W is read-only; accepted is an array that can be overwritten")
    return W, b, activation if callable(activation) else activations.get(activation)


def _check_distinct(weights: Sequence[NDArray[Any]]) -> None:
    """Refuse weights that share memory: two layers cannot both be scaled by one array."""
    for later, W in enumerate(weights):
        for earlier in range(later):
            if np.shares_memory(weights[earlier], W):
                raise ValueError(
                    f"layers[{earlier}] and layers[{later}] share the memory of W; accepted is an "
                    "array of its own for each layer"
                )
