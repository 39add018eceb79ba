"""The pieces of a hand-written dense layer: forward, gradient, and the fused linear model.

Matrix products run in C on a register tile of their own (no BLAS), with the same bits for any
number of threads. X may be C- or Fortran-ordered, row-strided, read-only or a memory map.
"""

from __future__ import annotations

from typing import Any

from gdcore import _core, activations, losses
from gdcore._hooks import traced

__all__ = ["dense", "dense_grad", "linear_value_and_grad"]


def _activation(activation: Any) -> activations.Activation | None:
    return None if activation is None else activations.get(activation)


def dense(
    X: Any,
    W: Any,
    b: Any = None,
    activation: Any = None,
    *,
    out: Any = None,
    z_out: Any = None,
) -> Any:
    """Return ``activation(X @ W + b)``, product, bias and activation in one pass.

    Parameters
    ----------
    X : array-like, (n, k)
        Rows of inputs, float32 or float64, any strides; numbers and integers take W's type.
    W : ndarray, (k, m) or (k,)
        Weights, of X's type.
    b : array-like, (m,), optional
        Bias; for W of shape (k,) a number, () or (1,).
    activation : str, Activation or ufunc, optional
        None is linear.
    out, z_out : ndarray, optional
        Where to write the result, and ``z = X @ W + b`` before the activation. C-contiguous,
        exactly of the result's shape and type, sharing no memory with the inputs.

    Returns
    -------
    ndarray, (n, m) or (n,)
        `out` where it is given.

    Raises
    ------
    TypeError, ValueError
        Naming the argument whose type or shape does not fit.

    Examples
    --------
    >>> X, W = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0], [-1.0]])
    >>> gd.dense(X, W, b=[0.5], activation="relu")
    array([[0.],
           [0.]])
    """
    own = traced(X, W, b)
    if own is not None:
        return own.dense(X, W, b, _activation(activation), out, z_out)
    return _core.dense(X, W, b, _activation(activation), out=out, z_out=z_out)


def dense_grad(
    dy: Any,
    X: Any,
    W: Any,
    y: Any = None,
    activation: Any = None,
    *,
    z: Any = None,
    need_dX: bool = True,
) -> Any:
    """Return ``(dX, dW, db)``, the gradients of `dense` for the gradient `dy` of its result.

    ``d = dy * activation'(z)``, ``dX = d @ W.T``, ``dW = X.T @ d``, ``db = d.sum(axis=0)``.

    Parameters
    ----------
    dy : array-like, (n, m) or (n,)
        Gradient with respect to the result.
    X, W : as in `dense`
    y, z : array-like, optional
        Result of the layer, and what stood before the activation: a non-linear activation needs y
        or z.
    activation : str, Activation or ufunc, optional
    need_dX : bool, default True
        False saves a product: dX is None.

    Returns
    -------
    dX : ndarray, (n, k), or None
    dW : ndarray, of W's shape
    db : ndarray, (m,); a NumPy scalar for W of shape (k,)

    Raises
    ------
    TypeError, ValueError
        Naming the argument whose type or shape does not fit, or that is missing.

    Examples
    --------
    >>> X, W = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, -1.0])
    >>> dX, dW, db = gd.dense_grad(np.array([1.0, 1.0]), X, W)
    >>> dW, db
    (array([4., 6.]), np.float64(2.0))
    """
    return _core.dense_grad(dy, X, W, y, _activation(activation), z=z, need_dX=need_dX)


def linear_value_and_grad(X: Any, y_true: Any, W: Any, b: Any, loss: Any = "mse") -> Any:
    """Return ``(value, (dW, db))`` of the linear model ``X @ W + b``, in one pass over X.

    Prediction, residual, loss and gradient of 256 rows at a time stay in cache: no temporary of
    X's length. This is full-batch gradient descent's whole work but the step.

    Parameters
    ----------
    X : ndarray, (n, k)
        float32 or float64, any strides.
    y_true : array-like
        Targets: as `loss` takes them for predictions of shape (n, m) or (n,).
    W : ndarray, (k, m) or (k,)
    b : array-like
        (m,); for W of shape (k,) a number, () or (1,).
    loss : str or Loss, default "mse"
        A loss with ``reduction="mean"``; the mean runs over rows and outputs.

    Returns
    -------
    value : NumPy scalar
    dW, db : of the shapes of W and b

    Raises
    ------
    TypeError, ValueError
        Naming the argument whose type or shape does not fit.

    Examples
    --------
    >>> X, y = np.array([[1.0], [2.0]]), np.array([2.0, 4.0])
    >>> gd.linear_value_and_grad(X, y, np.array([0.0]), 0.0)
    (np.float64(10.0), (array([-10.]), np.float64(-6.0)))
    """
    chosen = losses.get(loss)
    if chosen.reduction != "mean":
        raise ValueError(f"loss is {chosen!r}; one with reduction='mean' is accepted here")
    return _core.linear_value_and_grad(X, y_true, W, b, chosen)
