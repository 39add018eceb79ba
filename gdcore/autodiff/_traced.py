"""`Traced`: a value of a trace that NumPy's functions, operators and methods take for an array.

What NumPy does is done by `_ufuncs`, `_functions`, `_indexing` and `_linalg`; what arrays do that
cannot be followed is an error that names the line and the way out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from gdcore.autodiff._calls import name_of, ufunc
from gdcore.autodiff._errors import (
    MissingAttributeError,
    Place,
    called,
    indexes,
    untraceable,
    user_place,
)
from gdcore.autodiff._primitives import as_type, fresh, transpose
from gdcore.autodiff._tape import F32, F64, Value
from gdcore.autodiff._ufuncs import TABLE as UFUNCS

__all__ = ["Traced", "as_numpy"]


def as_numpy(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array of the reals that hold a value as NumPy's type of it."""
    return array if dtype is F32 or dtype is F64 else array.astype(dtype)


@functools.cache
def _module(name: str) -> ModuleType:
    """Return a module of this package that imports this one."""
    import importlib

    return importlib.import_module(f"gdcore.autodiff.{name}")


def _known(function: Any) -> Callable[..., Any]:
    """Return ours for a function of NumPy."""
    found: Callable[..., Any] | None = _module("_functions").TABLE.get(function)
    if found is None:
        name = name_of(function)
        raise untraceable(f"{name} is not known to gdcore", _WAYS.get(name, _OTHER_WAY))
    return found


_OTHER_WAY = "Write it with functions that are (arithmetic, np.sum, np.where, np.stack, ...)"
_WAYS = {
    "np.array": "Write np.stack([x, y])",
    "np.copyto": "Write y = x: values of a trace never change",
    "np.put": "Write np.where, or put the parts together with np.concatenate",
    "np.fill_diagonal": "Write np.where(np.eye(n) > 0, value, x)",
    "np.interp": "Write it with np.where",
    "np.linalg.eig": "Give the gradient yourself (grad=)",
    "np.unique": "Which values are equal has no derivative: work it out outside of the function",
}


def _followed(function: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
    """Return what ours does for a function of NumPy; a view is noted, a copy is another object."""
    result = _known(function)(*args, **given)
    if function in _VIEWS:
        return _view([*args, *given.values()], result)
    if type(result) is list or type(result) is tuple:
        return type(result)([_apart(part) for part in result])
    return _apart(result)


def _apart(x: Any) -> Any:
    return fresh(x) if isinstance(x, Value) else x


def _view(x: Any, result: Any) -> Any:
    """Return views, after a note that x and they share their memory."""
    for one in (x, result):
        if isinstance(one, (list, tuple)):
            for part in one:
                _view(part, None)
        elif isinstance(one, Value) and one.shape:
            one.tape.shared.add(one.id)
    return result


# Functions whose results share the memory of their first argument.
_VIEWS = {
    np.reshape,
    np.ravel,
    np.transpose,
    np.permute_dims,
    np.matrix_transpose,
    np.swapaxes,
    np.moveaxis,
    np.rollaxis,
    np.squeeze,
    np.expand_dims,
    np.atleast_1d,
    np.atleast_2d,
    np.atleast_3d,
    np.broadcast_to,
    np.broadcast_arrays,
    np.flip,
    np.fliplr,
    np.flipud,
    np.rot90,
    np.array_split,
    np.split,
    np.hsplit,
    np.vsplit,
    np.dsplit,
    np.diag,
    np.diagonal,
    np.real,
    np.linalg.diagonal,
    np.linalg.matrix_transpose,
    getattr(np, "unstack", None),
}


def _reflected(function: np.ufunc) -> Any:
    """Return the operator whose left operand is no traced value."""
    known = UFUNCS[function]
    return lambda self, other: known(other, self)


def _in_place(function: np.ufunc) -> Any:
    """Return the operator that changes its left operand, where nothing else changes with it.

    Numbers do not change in NumPy either: the name gets a new value.
    """
    known = UFUNCS[function]

    def operate(self: Any, other: Any) -> Any:
        result = known(self, other)
        if self.id in self.tape.shared:
            raise untraceable(
                f"{user_place().text or 'x += ...'} changes a parameter, or a value that shares "
                "its memory with another, in place",
                "Write x = x + ..., which makes a new value",
            )
        if not self.shape:
            return result
        if result.shape != self.shape:
            raise ValueError(
                f"a value of shape {self.shape} changed in place cannot take shape {result.shape}"
                f"\n  at {user_place()}"
            )
        if not np.can_cast(result.dtype, self.dtype, "same_kind"):
            raise untraceable(
                f"A value of {self.dtype} changed in place cannot take {result.dtype}",
                "Write x = x + ..., which makes a new value",
            )
        self.id = as_type(result, self.dtype).id
        return self

    return operate


def _compared(function: np.ufunc) -> Any:
    known = UFUNCS[function]

    def compare(self: Any, other: Any) -> Any:
        if other is None or isinstance(other, str):
            return NotImplemented
        return known(self, other)

    return compare


class Traced(Value):
    """A value of a trace, in the place of an array or a number of NumPy.

    Operators, NumPy's functions and most methods of arrays record what they do. Where a value is
    asked for (``if x > 0``, ``print(x)``) it is computed.
    """

    __slots__ = ()

    # ---- What an array says of itself ------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def T(self) -> Any:
        """The axes in reverse order."""
        return _view(self, transpose(self, range(len(self.shape))[::-1]))

    @property
    def mT(self) -> Any:
        """The last two axes exchanged."""
        return _followed(np.swapaxes, (self, -1, -2), {})

    @property
    def real(self) -> Any:
        """The value itself: no number here is complex."""
        return _view(self, self)

    @property
    def imag(self) -> Any:
        """Zeros."""
        return np.imag(self)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    def __getitem__(self, key: Any) -> Any:
        return _view(self, _module("_indexing").take(self, key))

    # ---- Operators -------------------------------------------------------------------------------

    __add__, __radd__ = UFUNCS[np.add], _reflected(np.add)
    __sub__, __rsub__ = UFUNCS[np.subtract], _reflected(np.subtract)
    __mul__, __rmul__ = UFUNCS[np.multiply], _reflected(np.multiply)
    __truediv__, __rtruediv__ = UFUNCS[np.divide], _reflected(np.divide)
    __pow__, __rpow__ = UFUNCS[np.power], _reflected(np.power)
    __matmul__, __rmatmul__ = UFUNCS[np.matmul], _reflected(np.matmul)
    __floordiv__, __rfloordiv__ = UFUNCS[np.floor_divide], _reflected(np.floor_divide)
    __mod__, __rmod__ = UFUNCS[np.remainder], _reflected(np.remainder)
    __divmod__, __rdivmod__ = UFUNCS[np.divmod], _reflected(np.divmod)
    __and__, __rand__ = UFUNCS[np.bitwise_and], _reflected(np.bitwise_and)
    __or__, __ror__ = UFUNCS[np.bitwise_or], _reflected(np.bitwise_or)
    __xor__, __rxor__ = UFUNCS[np.bitwise_xor], _reflected(np.bitwise_xor)
    __iadd__, __isub__ = _in_place(np.add), _in_place(np.subtract)
    __imul__, __itruediv__ = _in_place(np.multiply), _in_place(np.divide)
    __ipow__, __imatmul__ = _in_place(np.power), _in_place(np.matmul)
    __iand__, __ior__ = _in_place(np.bitwise_and), _in_place(np.bitwise_or)
    __ixor__ = _in_place(np.bitwise_xor)
    __lt__, __le__ = _compared(np.less), _compared(np.less_equal)
    __gt__, __ge__ = _compared(np.greater), _compared(np.greater_equal)
    __eq__, __ne__ = _compared(np.equal), _compared(np.not_equal)

    __neg__ = UFUNCS[np.negative]

    def __pos__(self) -> Any:
        return fresh(self)

    __abs__ = UFUNCS[np.absolute]
    __invert__ = UFUNCS[np.invert]

    def __round__(self, digits: int = 0) -> Any:
        return np.round(self, digits)

    # ---- NumPy's functions -----------------------------------------------------------------------

    def __array_ufunc__(self, function: np.ufunc, method: str, *inputs: Any, **given: Any) -> Any:
        if not given and method == "__call__":
            known = UFUNCS.get(function)
            if known is not None:
                return known(*inputs)
        return ufunc(function, method, inputs, given)

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], given: dict[str, Any]
    ) -> Any:
        return _followed(function, args, given)

    # ---- Asking for values -----------------------------------------------------------------------

    def _now(self) -> NDArray[Any]:
        """Return the value as it is now."""
        return as_numpy(self.tape.evaluate([self], keep=True)[0], self.dtype)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"if or while on an array of shape {self.shape}: one truth value is needed; "
                f"use np.where, .any() or .all()\n  at {user_place()}"
            )
        if self.tape.compiling:
            raise untraceable(
                "A compiled function branches on a value",
                "Write np.where(condition, a, b), or do without gd.compile",
            )
        return bool(self._now().reshape(()))

    def __repr__(self) -> str:
        text = np.array2string(self._now(), separator=", ", prefix="traced(")
        return f"traced({text}, shape={self.shape}, dtype={self.dtype})"

    def __str__(self) -> str:
        return str(self._now())

    def __format__(self, spec: str) -> str:
        return format(self._now()[()], spec)

    def __copy__(self) -> Any:
        return fresh(self)

    def __deepcopy__(self, memo: Any) -> Any:
        return fresh(self)

    # ---- What cannot be followed -----------------------------------------------------------------

    def _number(self, name: str) -> NoReturn:
        """Refuse to become a Python number: what asked for one is in the user's line."""
        place = user_place()
        function = called(place)
        if place.assigns:
            raise _assignment(place)
        if function.startswith("math."):
            name, way = function, _numpy_of(function)
        else:
            name = function or name
            way = "Leave the number traced: x itself, x[0] or x.sum() for one of an array"
        raise untraceable(f"{name}(...) makes a plain number of a traced value", way)

    def __float__(self) -> float:
        self._number("float")

    def __int__(self) -> int:
        self._number("int")

    def __complex__(self) -> complex:
        self._number("complex")

    def __index__(self) -> int:
        raise _position()

    def __array__(self, *args: Any, **given: Any) -> NoReturn:
        place = user_place()
        if place.assigns:
            raise _assignment(place)
        if indexes(place):
            raise _position()
        through = place.through.partition(".")[0]
        name = f"np.{through}" if through in _WAYS_TO_ARRAYS else called(place)
        way = _WAYS_TO_ARRAYS.get(through or name.rpartition(".")[2], _WAY_TO_ARRAY)
        raise untraceable(f"{name or 'NumPy'}(...) makes a plain array of a traced value", way)

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise untraceable(
            "x[...] = ... changes a traced value in place",
            "Write np.where(mask, new, x), or put the parts together with np.concatenate",
        )

    def __delitem__(self, key: Any) -> NoReturn:
        raise untraceable("del x[...] changes a traced value", "Write np.concatenate of slices")

    def __contains__(self, item: Any) -> bool:
        raise untraceable(
            "`in` asks whether a traced value holds another", "Write np.any(x == value)"
        )

    def __hash__(self) -> int:
        raise untraceable(
            "A traced value is a key of a dict, a member of a set or an argument of a cache",
            "Key by position or name, and do without functools.cache",
        )

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise untraceable(
            "A traced value is sent to another process or a file", "Call the function there"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(f"a traced value has no attribute {name!r}")
        way = _WAYS_OF_METHODS.get(name, _OTHER_WAY)
        raise untraceable(f".{name} of a traced value is not followed", way, MissingAttributeError)

    # ---- Methods ---------------------------------------------------------------------------------

    def reshape(self, *shape: Any, **given: Any) -> Any:
        """Return the elements in another shape."""
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, **given)

    def transpose(self, *axes: Any) -> Any:
        """Return the axes in another order."""
        order = axes[0] if len(axes) == 1 else axes or None
        return np.transpose(self, order)

    def flatten(self, order: Any = "C") -> Any:
        """Return the elements in one axis."""
        return np.ravel(self, order)

    def copy(self, order: Any = "C") -> Any:
        """Return the value as another object."""
        return fresh(self)

    def astype(self, dtype: Any, *args: Any, **given: Any) -> Any:
        """Return the value in another type."""
        return fresh(_module("_functions").astype(self, dtype))


def _assignment(place: Place) -> Exception:
    return untraceable(
        f"{place.expression} = ... writes a traced value into an array",
        "Put the parts together with np.stack or np.concatenate, or write np.where",
    )


def _position() -> Exception:
    return untraceable(
        "A traced value is used as a position or a number of times",
        "Work positions out outside of the function, or write np.where",
    )


_WAY_TO_ARRAY = "Leave the value traced: NumPy's functions take it as it is"
_WAYS_TO_ARRAYS = {
    "vectorize": "NumPy's functions work on whole arrays: call the function on the array itself",
    "MaskedArray": "Masked arrays are not followed: write np.ma.filled(a, 0), or np.where",
    "array": "Write np.stack([x, y]), or np.concatenate for arrays",
    "asarray": "Leave it out: a traced value is an array already; for a list write np.stack",
    "normal": "Draw outside of the function: x + scale * noise",
    "uniform": "Draw outside of the function: low + (high - low) * noise",
    "float64": "Write x.astype(np.float64)",
    "float32": "Write x.astype(np.float32)",
}
_WAYS_OF_METHODS = {
    "item": "Leave the number traced: x itself, or x[0] for one of an array",
    "tolist": "Leave the array traced; iterate over it, or index it",
    "sort": "Write np.sort(x)",
    "fill": "Write np.full_like(x, value)",
    "put": "Write np.where, or np.concatenate",
}
_OF_MATH = {
    "fsum": "sum",
    "pow": "power",
    "dist": "linalg.norm",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "atan2": "arctan2",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
}


def _numpy_of(function: str) -> str:
    """Return what to write for a function of the module math."""
    name = function.removeprefix("math.")
    name = _OF_MATH.get(name, name)
    if hasattr(np, name):
        return f"math works on plain numbers: write np.{name}"
    return "math works on plain numbers: write it with NumPy's functions"


def _method(function: Any) -> Any:
    def method(self: Any, *args: Any, **given: Any) -> Any:
        return _followed(function, (self, *args), given)

    return method


_METHODS = (
    "sum",
    "mean",
    "prod",
    "max",
    "min",
    "var",
    "std",
    "all",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "cumsum",
    "cumprod",
    "clip",
    "dot",
    "trace",
    "diagonal",
    "ravel",
    "repeat",
    "round",
    "squeeze",
    "swapaxes",
    "take",
)
for _name in _METHODS:
    setattr(Traced, _name, _method(getattr(np, _name)))
