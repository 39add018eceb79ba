"""Parameters of a function: containers of arrays and numbers, read in the types that rules name.

Tuples and dicts are containers, a list is one if it holds an array or a container; a list of
numbers is an array. Numbers, lists and integers are float64, or float32 beside parameters that all
are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gdcore.autodiff._primitives import as_type
from gdcore.autodiff._tape import F32, F64, Value

__all__ = ["Leaf", "is_container", "leaves", "read", "rebuilt", "text_of"]

Path = tuple[Any, ...]


class Leaf(NamedTuple):
    """A parameter: an array or a traced value, and whether it came as a number."""

    value: Any
    number: bool


def _is_array(x: Any) -> bool:
    return isinstance(x, (np.ndarray, Value)) or (
        hasattr(x, "__array__") and not isinstance(x, np.generic)
    )


_LEAVES = {float, int, np.ndarray, np.float64, np.float32}  # what is asked about most


def is_container(x: Any) -> bool:
    """Whether x holds parameters, and is none itself."""
    if type(x) in _LEAVES:
        return False
    if isinstance(x, list):
        return any(_is_array(item) or is_container(item) for item in x)
    return isinstance(x, (tuple, dict))


def leaves(x: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield (path, parameter) of every array and number in x."""
    if not is_container(x):
        yield path, x
        return
    for key, item in x.items() if isinstance(x, dict) else enumerate(x):
        yield from leaves(item, (*path, key))


def rebuilt(like: Any, values: Iterator[Any]) -> Any:
    """Return the next values of an iterator in the structure of `like`."""
    if not is_container(like):
        return next(values)
    if isinstance(like, dict):
        return {key: rebuilt(item, values) for key, item in like.items()}
    items = [rebuilt(item, values) for item in like]
    if isinstance(like, list):
        return items
    return type(like)(*items) if hasattr(like, "_fields") else tuple(items)


def text_of(name: str, path: Path) -> str:
    """Return the name of a parameter in a container: ``params[0]['W']``."""
    return name + "".join(f"[{key!r}]" for key in path)


def read(found: Sequence[Any], name: Callable[[int], str]) -> list[Leaf]:
    """Return parameters in float32 or float64; `name` says what errors call them."""
    if len(found) > 1:
        _refuse_twice(found, name)
    if all(type(x) is np.ndarray and (x.dtype is F64 or x.dtype is F32) for x in found):
        return [Leaf(x, False) for x in found]
    arrays = [x if isinstance(x, Value) else _array(x, name, i) for i, x in enumerate(found)]
    untyped = [
        isinstance(x, (int, list)) or type(x) is float or a.dtype.kind != "f"
        for x, a in zip(found, arrays, strict=True)
    ]
    types = {a.dtype for a, is_open in zip(arrays, untyped, strict=True) if not is_open}
    dtype = F32 if types == {F32} else F64
    return [
        Leaf(
            as_type(a, dtype if is_open else a.dtype)
            if isinstance(a, Value)
            else np.asarray(a, dtype if is_open else a.dtype.newbyteorder("=")),
            isinstance(x, (int, float, np.generic)),
        )
        for x, a, is_open in zip(found, arrays, untyped, strict=True)
    ]


def _refuse_twice(found: Sequence[Any], name: Callable[[int], str]) -> None:
    """Raise where one array is two parameters."""
    places: dict[int, int] = {}
    for i, x in enumerate(found):
        if isinstance(x, np.ndarray) and (first := places.setdefault(id(x), i)) != i:
            raise ValueError(
                f"{name(first)} and {name(i)} are the same array; each parameter is an array of "
                f"its own: pass {name(i)}.copy()"
            )


def _array(x: Any, name: Callable[[int], str], i: int) -> NDArray[Any]:
    """Return a parameter as an array, or say why it is none."""
    try:
        array = x if type(x) is np.ndarray else np.asarray(x)
    except ValueError:  # a list whose rows differ in length
        array = np.array(None)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize not in _SIZES[array.dtype.kind]:
        kind = array.dtype if array.dtype != object else type(x).__name__
        raise TypeError(
            f"{name(i)} is {kind}; a parameter is a number or an array of float32, float64 or "
            "integers, or a tuple, list or dict of these"
        )
    return array


_SIZES = {"f": (4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}
