"""Activation functions with their gradients, by name or as objects.

``gd.activations.relu(z)`` and ``.grad(dy, z, y)`` are the two sides of a hand-written layer. The
elementwise ones stand at the top of the package too, as NumPy ufuncs (``gd.relu``). Formulas: C
(`csrc/activations.inc`) and the twins in `gdcore.reference.activations`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from gdcore import _core

_ROWS: dict[str, tuple[int, Mapping[str, Any]]] = {
    row["name"]: (number, row) for number, row in enumerate(_core.ACTIVATIONS)
}
_SOFTMAX = (_ROWS["softmax"][0],)
_OTHER_NAMES = {"identity": "linear", "logistic": "sigmoid"}


class Activation:
    """An activation of the table, callable, with its gradient.

    Parameters
    ----------
    name : str
        A name of the table; see ``gd.activations.names()``.

    Examples
    --------
    >>> act = gd.activations.tanh
    >>> y = act([0.0, 0.5])
    >>> act.grad([1.0, 1.0], y=y)
    array([1.        , 0.78644773])
    """

    def __init__(self, name: str) -> None:
        number, row = _ROWS[name]
        self.name = name
        self._rowwise = row["kind"] == "rowwise"
        self._reads_z = bool(row["reads_z"])
        self._spec = (number,)

    def __call__(self, z: Any, out: np.ndarray[Any, Any] | None = None) -> Any:
        """Return the activation of `z`, float32 for float32, else float64.

        Parameters
        ----------
        z : array-like
            Softmax runs along the last axis.
        out : ndarray, optional
            Where to write; may be `z` itself.
        """
        if not self._rowwise:
            return getattr(_core, self.name)(z, out=out)
        y = _core.activate(self._spec, z)
        if out is None:
            return y
        np.copyto(out, y, casting="no")
        return out

    def grad(self, dy: Any, z: Any = None, y: Any = None) -> Any:
        """Return the gradient with respect to z, given the gradient `dy` with respect to y.

        Parameters
        ----------
        dy : array-like
            Of the shape and type of `y`.
        z, y : array-like
            Input and output of the activation. One of them is enough, but where only `y` is given
            to an activation whose gradient reads z.

        Raises
        ------
        ValueError
            Where neither `z` nor `y` serves, or shapes differ.
        """
        if z is None and (y is None or self._reads_z):
            needed = "z" if self._reads_z else "z or y"
            raise ValueError(f"{self.name}.grad needs {needed}; neither was given")
        if not self._reads_z and y is None:
            y = self(z)
        return _core.activate_grad(self._spec, dy, z, y)

    def __repr__(self) -> str:
        return f"gd.activations.get({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Activation) and self._spec == other._spec

    def __hash__(self) -> int:
        return hash(self._spec)

    def __reduce__(self) -> tuple[Any, ...]:
        return Activation, (self.name,)


def names() -> list[str]:
    """Return the names of all activations."""
    return list(_ROWS)


def get(identifier: str | Activation | np.ufunc | None, **params: float) -> Activation:
    """Return an activation by name.

    Parameters
    ----------
    identifier : str, Activation, ufunc or None
        A name (None: linear), one of gdcore's ufuncs, or an activation, returned as it is.
    **params : float
        Parameters of the activation, where it has any.

    Raises
    ------
    ValueError
        For an unknown name; the nearest one is suggested.
    TypeError
        For a parameter that the activation does not have.

    Examples
    --------
    >>> gd.activations.get("relu")([-1.0, 2.0])
    array([0., 2.])
    """
    if isinstance(identifier, Activation) and not params:
        return identifier
    name = "linear" if identifier is None else getattr(identifier, "__name__", identifier)
    name = getattr(name, "name", name)
    if not isinstance(name, str):
        raise TypeError(f"activation is {identifier!r}; a name or an activation is accepted")
    name = _OTHER_NAMES.get(name, name)
    if name not in _ROWS:
        near = difflib.get_close_matches(name, _ROWS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"activation {name!r} is unknown; accepted: {', '.join(_ROWS)}{hint}")
    known = _ROWS[name][1]["params"]
    for param in params:
        if param not in known:
            raise TypeError(
                f"{name}: unknown parameter {param}=; accepted: {', '.join(known) or 'none'}"
            )
    return Activation(name)


def softmax_along(z: Any, axis: int = -1) -> Any:
    """Return ``exp(z) / sum(exp(z))`` along an axis, computed without overflow.

    Parameters
    ----------
    z : array-like
        Logits, float32 or float64; numbers and integers are read as float64.
    axis : int, default -1
        The axis whose entries sum to 1. Another axis than the last costs a transposed copy.

    Returns
    -------
    ndarray
        Of the shape and type of `z`.

    References
    ----------
    Bridle 1990, Probabilistic interpretation of feedforward classification network outputs.

    Examples
    --------
    >>> gd.softmax([[0.0, 0.0], [1.0e4, 0.0]])
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    array = np.asarray(z)
    if array.ndim == 0:
        raise ValueError("z is a number; softmax needs at least one axis")
    if axis in (-1, array.ndim - 1):
        return _core.activate(_SOFTMAX, z)
    moved = np.ascontiguousarray(np.moveaxis(array, axis, -1))
    return np.moveaxis(_core.activate(_SOFTMAX, moved), -1, axis)


globals().update({name: Activation(name) for name in _ROWS})
