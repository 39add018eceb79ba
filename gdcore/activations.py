"""Activation functions with their gradients, by name or as objects.

``gd.activations.relu(z)`` and ``.grad(dy, z, y)`` are the two sides of a hand-written layer. The
elementwise ones stand at the top of the package too, as NumPy ufuncs (``gd.relu``), with their
default parameters; ``gd.activations.get("leaky_relu", slope=0.2)`` has others. Formulas: C
(`csrc/activations*.inc`) and the twins in `gdcore.reference.activations`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from gdcore import _core
from gdcore._hooks import traced
from gdcore._names import did_you_mean, no_attribute

__all__ = ["Activation", "get", "log_softmax_along", "names", "prelu_grad", "softmax_along"]

_ROWS = {row["name"]: (number, row) for number, row in enumerate(_core.ACTIVATIONS)}
_SOFTMAX = (_ROWS["softmax"][0],)
_LOG_SOFTMAX = (_ROWS["log_softmax"][0],)
# What scikit-learn, Keras, torch.nn.functional and JAX call ours.
_OTHER_NAMES = {
    "hard_silu": "hard_swish",
    "hardsigmoid": "hard_sigmoid",
    "hardswish": "hard_swish",
    "hardtanh": "hard_tanh",
    "identity": "linear",
    "leakyrelu": "leaky_relu",
    "logistic": "sigmoid",
    "soft_sign": "softsign",
    "swish": "silu",
}
# approximate= of torch ("none", "tanh") and of Keras and JAX (False, True).
_FORMS_OF_GELU = {"none": "gelu", False: "gelu", "tanh": "gelu_tanh", True: "gelu_tanh"}


# Names of any case, and as classes are written: "LeakyReLU", "LogSoftmax".
_SQUEEZED: dict[str, str] = {
    name.replace("_", ""): ours
    for name, ours in {**{name: name for name in _ROWS}, **_OTHER_NAMES}.items()
}


def _known(name: str) -> str:
    """Return the table's name, or raise with the nearest one."""
    squeezed = name.lower().replace("_", "")
    if squeezed not in _SQUEEZED:
        hint = did_you_mean(name.lower(), _ROWS)
        raise ValueError(f"activation {name!r} is unknown; accepted: {', '.join(_ROWS)}{hint}")
    return _SQUEEZED[squeezed]


def _parameters(name: str, given: dict[str, Any]) -> dict[str, float]:
    """Return all parameters of a row, in the table's order: those given, else its defaults."""
    number, row = _ROWS[name]
    defaults: dict[str, float] = row["params"]
    for param, value in given.items():
        if param not in defaults:
            accepted = ", ".join(defaults) or "none"
            raise TypeError(f"{name}: unknown parameter {param}=; accepted: {accepted}")
        if isinstance(value, (bool, str)) or not np.isscalar(value) or np.iscomplexobj(value):
            raise TypeError(f"{name}: {param} is {value!r}; a number is accepted")
        if not math.isfinite(value):  # type: ignore[arg-type]
            raise ValueError(f"{name}: {param} is {value!r}; a finite number is accepted")
    params = {param: float(given.get(param, default)) for param, default in defaults.items()}
    wrong = _core.check_activation((number, *params.values()))
    if wrong:
        found = ", ".join(f"{param} is {value!r}" for param, value in params.items())
        raise ValueError(f"{name}: {found}; {wrong}")
    return params


class Activation:
    """An activation of the table, callable, with its gradient.

    Parameters
    ----------
    name : str
        A name of the table; see ``gd.activations.names()``.
    **params : float
        Parameters of the activation, by default torch's: ``slope=0.01`` of leaky_relu, ``alpha=1``
        of elu and celu, ``beta=1`` of softplus, ``min_val=-1, max_val=1`` of hard_tanh,
        ``alpha=0.25`` of prelu. One number each; `gd.prelu` takes an array.

    Attributes
    ----------
    name : str
    params : dict of float

    Raises
    ------
    ValueError
        For an unknown name (the nearest one is suggested), and for a parameter that is not finite
        or out of range: slope and elu's alpha are at least 0, celu's alpha and beta above 0.
    TypeError
        For a parameter that the activation does not have, or that is no number.

    Examples
    --------
    >>> act = gd.activations.tanh
    >>> y = act([0.0, 0.5])
    >>> act.grad([1.0, 1.0], y=y)
    array([1.        , 0.78644773])
    """

    def __init__(self, name: str, **params: float) -> None:
        self.name = _known(name)
        self.params = _parameters(self.name, params)
        number, row = _ROWS[self.name]
        self._reads_z = bool(row["reads_z"])
        self._spec = (number, *self.params.values())
        self._ufunc: Callable[..., Any] | None = None
        if row["kind"] == "elementwise" and self.params == row["params"]:
            self._ufunc = getattr(_core, self.name)

    def __call__(self, z: Any, out: np.ndarray[Any, Any] | None = None) -> Any:
        """Return the activation of `z`.

        Parameters
        ----------
        z : array-like
            float32 or float64; numbers and integers are read as float64. Softmax and its
            logarithm run along the last axis.
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
            Where `out` has another shape or type than the result (the elementwise ones, at their
            default parameters, broadcast to it as ufuncs do).
        """
        own = traced(z)
        if own is not None:
            return own.activate(self._spec, z, out)
        if self._ufunc is not None:
            return self._ufunc(z, out=out)
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
            Input and output of the activation. One of them is enough, but the gradients of gelu,
            gelu_tanh, silu, mish, hard_swish and prelu need `z`. What is not needed is not looked
            at. Near saturation z would give digits that y has lost, in the way 1 - y loses them.

        Returns
        -------
        ndarray or NumPy scalar
            Of the shape and type of `y`. At a kink it is torch's: relu, relu6, hard_tanh and
            hard_sigmoid have 0 there, leaky_relu the slope, prelu, elu and (1) celu the side of
            alpha, selu scale alpha; hard_swish has 0 at -3 and 1 at 3.

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

    def _settings(self) -> dict[str, float]:
        """Return the parameters that are not the default."""
        defaults = _ROWS[self.name][1]["params"]
        return {name: value for name, value in self.params.items() if value != defaults[name]}

    def __repr__(self) -> str:
        settings = "".join(f", {name}={value!r}" for name, value in self._settings().items())
        return f"gd.activations.get({self.name!r}{settings})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Activation) and self._spec == other._spec

    def __hash__(self) -> int:
        return hash(self._spec)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Activation, self.name, **self.params), ()


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
    if function is log_softmax_along:
        return "log_softmax"
    return next((name for name in _ROWS if function is getattr(_core, name, None)), None)


def get(identifier: str | Activation | np.ufunc | None, **params: Any) -> Activation:
    """Return an activation by name.

    Parameters
    ----------
    identifier : str, Activation, ufunc or None
        A name, of any case (None: linear), one of gdcore's functions (``gd.relu``,
        ``gd.softmax``), or an activation, returned as it is. Other libraries' names are known where
        they mean the same: swish, hard_silu, hardtanh, logistic, LeakyReLU...
    **params : float
        Parameters of the activation, where it has any; see `Activation`. ``get("gelu",
        approximate="tanh")`` is ``get("gelu_tanh")``.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        For an unknown name (the nearest one is suggested), and for a parameter that is not finite
        or out of range.
    TypeError
        For what is neither, and for a parameter that the activation does not have.

    Examples
    --------
    >>> gd.activations.get("relu")([-1.0, 2.0])
    array([0., 2.])
    >>> gd.activations.get("leaky_relu", slope=0.2)([-1.0, 2.0])
    array([-0.2,  2. ])
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
    if isinstance(identifier, Activation):
        _parameters(name, params)  # an unknown or unfit one is named first
        if params:
            raise TypeError(
                f"{identifier!r} has its parameters; give a name with others: "
                f"get({name!r}, {', '.join(params)}=...)"
            )
        return identifier
    if "approximate" in params and _known(name) == "gelu":
        form = params.pop("approximate")
        if form not in _FORMS_OF_GELU:
            raise ValueError(f"gelu: approximate is {form!r}; 'none' or 'tanh' is accepted")
        name = _FORMS_OF_GELU[form]
    return Activation(name, **params)


def prelu_grad(dy: Any, z: Any, alpha: Any) -> tuple[Any, Any]:
    """Return ``(dz, dalpha)``, the gradients of ``gd.prelu(z, alpha)`` for the gradient `dy`.

    ``dz = dy`` for z > 0, else ``alpha dy`` (at 0 too, as torch); ``dalpha`` sums
    ``dy min(z, 0)`` over everything along which `alpha` was broadcast, in float64.

    Parameters
    ----------
    dy, z : array-like
        float32 or float64, of one shape and type; numbers and integers are read as float64.
    alpha : array-like
        A number, or an array of z's type that broadcasts to z's shape: (m,) has one slope for each
        entry of the last axis.

    Returns
    -------
    dz : ndarray or NumPy scalar, of z's shape and type
    dalpha : ndarray, of alpha's shape and z's type; a NumPy scalar for a number

    Raises
    ------
    TypeError
        Where types differ or are not real.
    ValueError
        Where `dy` has not z's shape, or `alpha` does not broadcast to it.

    Examples
    --------
    >>> z = np.array([[-1.0, 2.0], [-3.0, -4.0]])
    >>> dz, dalpha = gd.activations.prelu_grad(np.ones((2, 2)), z, np.array([0.5, 0.25]))
    >>> dz
    array([[0.5 , 1.  ],
           [0.5 , 0.25]])
    >>> dalpha
    array([-4., -4.])

    References
    ----------
    He, Zhang, Ren & Sun 2015, Delving deep into rectifiers, equation 2.
    """
    # The core checks and reads the arguments: a slope of 1 gives dy, and prelu(-1, alpha) -alpha.
    dz = np.asarray(_core.activate_grad((_ROWS["prelu"][0], 1.0), dy, z, None))
    slope = np.asarray(-_core.prelu(dz.dtype.type(-1), alpha))
    z = np.asarray(z, dz.dtype)
    ahead = z.ndim - slope.ndim
    pairs = zip(slope.shape, z.shape[max(ahead, 0) :], strict=False)
    if ahead < 0 or any(own not in (1, length) for own, length in pairs):
        raise ValueError(
            f"alpha has shape {slope.shape} but z has {z.shape}; a shape that broadcasts to z's is "
            "accepted"
        )
    above = ~(z <= 0)  # NaN are: their slope is 1
    axes = tuple(i for i in range(z.ndim) if i < ahead or slope.shape[i - ahead] == 1)
    with np.errstate(all="ignore"):
        terms, low = np.asarray(dz * z), np.asarray(dz * slope)
        np.copyto(terms, 0, where=above)
        np.copyto(low, dz, where=above)
        total = terms.sum(axis=axes, dtype=np.float64)
    dalpha = np.asarray(total, dz.dtype).reshape(slope.shape)
    return low[()], dalpha if isinstance(alpha, np.ndarray) else dalpha[()]


def _along(spec: tuple[int], name: str, z: Any, axis: int) -> Any:
    """Return a rowwise activation along an axis."""
    own = traced(z)
    if own is not None:
        return own.activate_along(spec, name, z, axis)
    if axis == -1:
        y = _core.activate(spec, z)
        if y.ndim > 0:
            return y
        raise ValueError(f"z is a number; {name} needs at least one axis: an array of logits")
    array = np.asanyarray(z)
    axis = normalize_axis_index(axis, array.ndim, f"{name}'s z")
    return np.moveaxis(_core.activate(spec, np.moveaxis(array, axis, -1)), -1, axis)


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
    return _along(_SOFTMAX, "softmax", z, axis)


def log_softmax_along(z: Any, axis: int = -1) -> Any:
    """Return ``z - log(sum(exp(z)))`` along an axis, softmax's logarithm without its underflow.

    Parameters
    ----------
    z : array-like
        Logits (without unit), float32 or float64; numbers and integers are read as float64.
    axis : int, default -1
        The axis whose exponentials sum to 1. Another axis than the last costs a transposed copy.

    Returns
    -------
    ndarray
        Of the shape of `z`; float32 for float32, else float64. A NaN makes its row NaN, and so
        does +infinity; -infinity stays -infinity.

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
    >>> gd.log_softmax([[0.0, 0.0], [1.0e4, 0.0]])
    array([[-6.93147181e-01, -6.93147181e-01],
           [ 0.00000000e+00, -1.00000000e+04]])
    """
    return _along(_LOG_SOFTMAX, "log_softmax", z, axis)


def __getattr__(name: str) -> Activation:
    """``gd.activations.relu``: the activation of each row of the table, by its name."""
    if name in _ROWS:
        return globals().setdefault(name, Activation(name))  # type: ignore[no-any-return]
    raise no_attribute(__name__, name, _ROWS)


def __dir__() -> list[str]:
    return [*globals(), *_ROWS]
