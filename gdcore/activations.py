"""Activation functions with their gradients, by name or as objects.

``gd.activations.relu(z)`` and ``.grad(dy, z, y)`` are the two sides of a hand-written layer. The
elementwise ones stand at the top of the package too, as NumPy ufuncs (``gd.relu``). Formulas: C
(`csrc/activations.inc`) and the twins in `gdcore.reference.activations`.
"""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from gdcore import _core

__all__ = ["Activation", "get", "names", "softmax_along"]

_ROWS = {row["name"]: (number, row) for number, row in enumerate(_core.ACTIVATIONS)}
_SOFTMAX = (_ROWS["softmax"][0],)
_OTHER_NAMES = {"identity": "linear", "logistic": "sigmoid"}


def _known(name: str) -> str:
    """Return the table's name, or raise with the nearest one."""
    name = _OTHER_NAMES.get(name, name)
    if name not in _ROWS:
        near = difflib.get_close_matches(name.lower(), [*_ROWS, *_OTHER_NAMES], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"activation {name!r} is unknown; accepted: {', '.join(_ROWS)}{hint}")
    return name


class Activation:
    """An activation of the table, callable, with its gradient.

    Parameters
    ----------
    name : str
        A name of the table; see ``gd.activations.names()``.

    Raises
    ------
    ValueError
        For an unknown name; the nearest one is suggested.

    Examples
    --------
    >>> act = gd.activations.tanh
    >>> y = act([0.0, 0.5])
    >>> act.grad([1.0, 1.0], y=y)
    array([1.        , 0.78644773])
    """

    def __init__(self, name: str) -> None:
        self.name = _known(name)
        number, row = _ROWS[self.name]
        self._rowwise = row["kind"] == "rowwise"
        self._reads_z = bool(row["reads_z"])
        self._spec = (number,)

    def __call__(self, z: Any, out: np.ndarray[Any, Any] | None = None) -> Any:
        """Return the activation of `z`.

        Parameters
        ----------
        z : array-like
            float32 or float64; numbers and integers are read as float64. Softmax runs along the
            last axis.
        out : ndarray, optional
            Where to write; may be `z` itself.

        Returns
        -------
        ndarray or NumPy scalar
            Of the shape of `z`, float32 for float32, else float64; `out` where it is given.

        Raises
        ------
        TypeError
            For float16, long double, complex and object, or an `out` that is no array.
        ValueError
            Where `out` has another shape or type than the result (softmax).
        """
        if not self._rowwise:
            return getattr(_core, self.name)(z, out=out)
        y = _core.activate(self._spec, z)
        if out is None:
            return y
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out is {type(out).__name__}; a NumPy array is accepted")
        if out.shape != np.shape(y) or out.dtype != y.dtype:
            raise ValueError(
                f"out is {out.dtype} of shape {out.shape}; the result is {y.dtype} of shape "
                f"{np.shape(y)}, and such an array is accepted"
            )
        out[...] = y
        return out

    def grad(self, dy: Any, z: Any = None, y: Any = None) -> Any:
        """Return the gradient with respect to z, given the gradient `dy` with respect to y.

        Parameters
        ----------
        dy : array-like
            Of the shape and type of `y`.
        z, y : array-like
            Input and output of the activation. One of them is enough, but where only `y` is given
            to an activation whose gradient reads z. What is not needed is not looked at.

        Returns
        -------
        ndarray or NumPy scalar
            Of the shape and type of `y`. relu has the gradient 0 at 0.

        Raises
        ------
        TypeError
            Where `dy` has another type than `y`.
        ValueError
            Where neither `z` nor `y` serves, or shapes differ.
        """
        if self._reads_z and z is None:
            raise ValueError(f"{self.name}.grad needs z, the input of the activation")
        if not self._reads_z and y is None:
            if z is None:
                raise ValueError(f"{self.name}.grad needs z or y; neither was given")
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
    """Return the names of all activations.

    Examples
    --------
    >>> "relu" in gd.activations.names()
    True
    """
    return list(_ROWS)


def _name_of(function: object) -> str | None:
    """Name of the activation that one of gdcore's own functions computes, else None."""
    if function is softmax_along:
        return "softmax"
    return next((name for name in _ROWS if function is getattr(_core, name, None)), None)


def get(identifier: str | Activation | np.ufunc | None, **params: float) -> Activation:
    """Return an activation by name.

    Parameters
    ----------
    identifier : str, Activation, ufunc or None
        A name (None: linear), one of gdcore's functions (``gd.relu``, ``gd.softmax``), or an
        activation, returned as it is.
    **params : float
        Parameters of the activation, where it has any.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        For an unknown name; the nearest one is suggested.
    TypeError
        For what is neither, and for a parameter that the activation does not have.

    Examples
    --------
    >>> gd.activations.get("relu")([-1.0, 2.0])
    array([0., 2.])
    """
    if identifier is None:
        name: str | None = "linear"
    elif isinstance(identifier, Activation):
        name = identifier.name
    else:
        name = identifier if isinstance(identifier, str) else _name_of(identifier)
    if name is None:
        raise TypeError(
            f"activation is {identifier!r}; a name ({', '.join(_ROWS)}), an activation of "
            "gd.activations or a ufunc of gdcore's is accepted"
        )
    name = _known(name)
    known = _ROWS[name][1]["params"]
    for param in params:
        if param not in known:
            raise TypeError(
                f"{name}: unknown parameter {param}=; accepted: {', '.join(known) or 'none'}"
            )
    return identifier if isinstance(identifier, Activation) else Activation(name)


def softmax_along(z: Any, axis: int = -1) -> Any:
    """Return ``exp(z) / sum(exp(z))`` along an axis, computed without overflow.

    Parameters
    ----------
    z : array-like
        Logits (without unit), float32 or float64; numbers and integers are read as float64.
    axis : int, default -1
        The axis whose entries sum to 1. Another axis than the last costs a transposed copy.

    Returns
    -------
    ndarray
        Of the shape of `z`; float32 for float32, else float64. A NaN makes its row NaN, and so
        does +infinity; -infinity has the probability 0.

    Raises
    ------
    TypeError
        For float16, long double, complex and object.
    ValueError
        For a number, which has no axis (AxisError where `z` has no such axis).

    References
    ----------
    Bridle 1990, Probabilistic interpretation of feedforward classification network outputs.

    Examples
    --------
    >>> gd.softmax([[0.0, 0.0], [1.0e4, 0.0]])
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    if axis == -1:
        y = _core.activate(_SOFTMAX, z)
        if y.ndim > 0:
            return y
        raise ValueError("z is a number; softmax needs at least one axis: an array of logits")
    array = np.asanyarray(z)
    axis = normalize_axis_index(axis, array.ndim, "softmax's z")
    return np.moveaxis(_core.activate(_SOFTMAX, np.moveaxis(array, axis, -1)), -1, axis)


def __getattr__(name: str) -> Activation:
    """``gd.activations.relu``: the activation of each row of the table, by its name."""
    if name in _ROWS:
        return globals().setdefault(name, Activation(name))  # type: ignore[no-any-return]
    near = difflib.get_close_matches(name, _ROWS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return [*globals(), *_ROWS]
