"""NumPy's functions that ask: shapes and types, which are known, and numbers, which are looked at.

What looks at numbers is computed at once, and is no part of a compiled function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdcore.autodiff import _primitives as p
from gdcore.autodiff._errors import untraceable
from gdcore.autodiff._operands import concrete, is_traced, lift, refuse
from gdcore.autodiff._tape import BOOL, F32, F64, I64

# ---- Shapes and types ----------------------------------------------------------------------------


def shape(a: Any) -> tuple[int, ...]:
    """Return the lengths of the axes."""
    found: tuple[int, ...] = lift(a).shape
    return found


def ndim(a: Any) -> int:
    """Return the number of axes."""
    return len(shape(a))


def size(a: Any, axis: Any = None) -> int:
    """Return the number of elements, or the length of an axis."""
    lengths = shape(a)
    if axis is None:
        return p.size(lift(a))
    axes = axis if isinstance(axis, tuple) else (axis,)
    return int(np.prod([lengths[i] for i in axes], dtype=np.int64))


def result_type(*operands: Any) -> np.dtype[Any]:
    """Return NumPy's common type."""
    return np.result_type(*[x.dtype if is_traced(x) else x for x in operands])


def common_type(*arrays: Any) -> Any:
    """Return the common real type."""
    return np.common_type(*[np.empty(0, x.dtype) if is_traced(x) else x for x in arrays])


def isrealobj(x: Any) -> bool:
    """Return True: traced values are real."""
    return True


def iscomplexobj(x: Any) -> bool:
    """Return False: traced values are real."""
    return False


def real(val: Any) -> Any:
    """Return the value, which is real."""
    return val


def imag(val: Any) -> NDArray[Any]:
    """Return zeros."""
    return np.zeros(val.shape, val.dtype)


def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    """Return the value, which never changes."""
    return a


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """Return the value in another type."""
    wanted = np.dtype(dtype)
    if wanted in (F32, F64):
        return p.as_type(x, F32 if wanted == F32 else F64)
    if wanted == BOOL:
        return x if x.dtype is BOOL else np.not_equal(x, 0)
    if wanted == I64:
        whole = x if x.dtype.kind in "bi" else np.trunc(x)
        return p.as_type(whole, I64)
    raise untraceable(
        f"A traced value as {wanted}", "float64, float32, int64 and bool are accepted"
    )


# ---- Plain arrays in the shape of a value --------------------------------------------------------


def _like(name: str) -> Callable[..., Any]:
    """Return zeros_like, ones_like or empty_like: a plain array, or number of no axis."""
    make = getattr(np, name.removesuffix("_like"))

    def like(
        a: Any,
        dtype: Any = None,
        order: str = "K",
        subok: bool = True,
        shape: Any = None,
        *,
        device: Any = None,
    ) -> NDArray[Any]:
        made: NDArray[Any] = make(
            a.shape if shape is None else shape, a.dtype if dtype is None else dtype
        )
        return made

    return like


zeros_like, ones_like, empty_like = map(_like, ("zeros_like", "ones_like", "empty_like"))


def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """Return an array full of a number; of a traced number, a traced value."""
    shape = a.shape if shape is None else shape
    dtype = a.dtype if dtype is None else dtype
    if not is_traced(fill_value):
        return np.full(shape, fill_value, dtype)
    return np.broadcast_to(astype(fill_value, dtype), shape)


# ---- Questions about numbers ---------------------------------------------------------------------


def _now(x: Any, name: str) -> Any:
    """Return an operand, or those in a list, as what they are now."""
    if isinstance(x, (list, tuple)):
        return type(x)(_now(one, name) for one in x)
    return concrete(x, name) if is_traced(x) else x


def _asks(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of NumPy applied to what the values are now."""
    name = function.__name__

    def ask(*operands: Any, **settings: Any) -> Any:
        refuse(name, out=settings.pop("out", None))
        return function(*[_now(x, name) for x in operands], **settings)

    return ask


TABLE: dict[Any, Callable[..., Any]] = {
    # What has no derivative: positions, numbers of elements, truths.
    **{
        function: _asks(function)
        for function in (
            np.all,
            np.any,
            np.argmax,
            np.argmin,
            np.argsort,
            np.argwhere,
            np.count_nonzero,
            np.nonzero,
            np.flatnonzero,
            np.searchsorted,
            np.digitize,
            np.lexsort,
            np.array_equal,
            np.array_equiv,
            np.allclose,
            np.isclose,
            np.isin,
            np.array_repr,
            np.array_str,
            np.array2string,
        )
    },
    np.shape: shape,
    np.ndim: ndim,
    np.size: size,
    np.result_type: result_type,
    np.common_type: common_type,
    np.isrealobj: isrealobj,
    np.iscomplexobj: iscomplexobj,
    np.real: real,
    np.imag: imag,
    np.copy: copy,
    np.zeros_like: zeros_like,
    np.ones_like: ones_like,
    np.empty_like: empty_like,
    np.full_like: full_like,
}
