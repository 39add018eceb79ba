"""Indexing of traced values: ``x[key]``, np.take and np.take_along_axis.

Integers, slices, None and Ellipsis become views. Integer arrays and boolean masks, which must be
plain arrays, become a gather along one axis, or of the flattened value where several of them meet.
What is wrong with a key NumPy itself says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import NDArray

from gdcore.autodiff import _primitives as p
from gdcore.autodiff._errors import untraceable
from gdcore.autodiff._operands import is_traced, lift, refuse
from gdcore.autodiff._tape import BOOL, Tape

__all__ = ["take", "take_along_axis", "take_at", "take_function"]

Array = NDArray[Any]
Shape = tuple[int, ...]


# ---- Keys ----------------------------------------------------------------------------------------


def _refuse_traced(k: Any) -> None:
    """Raise for a traced value in a key."""
    if isinstance(k, list):
        for one in k:
            _refuse_traced(one)
    if not is_traced(k):
        return
    if k.dtype is BOOL:
        raise untraceable(
            "A traced value is indexed by a traced condition: the shape would depend on numbers",
            "Write np.where(condition, x, 0), which keeps the shape",
        )
    raise untraceable(
        "A traced value is an index",
        "Work positions out outside of the function, or write np.where",
    )


def _entry(k: Any) -> Any:
    """Return one entry of a key: None, Ellipsis, a slice, an int, or an array."""
    if k is None or k is Ellipsis or isinstance(k, slice):
        return k
    if isinstance(k, (int, np.integer)) and not isinstance(k, bool):
        return int(k)
    _refuse_traced(k)
    array = np.asarray(k)
    if array.ndim == 0 and array.dtype.kind in "iu":
        return int(array)
    if array.size == 0 and isinstance(k, list):
        array = array.astype(np.int64)
    return array


def _axes_of(k: Any) -> int:
    """Return how many axes of the value an entry is for."""
    if k is None or k is Ellipsis:
        return 0
    return k.ndim if isinstance(k, np.ndarray) and k.dtype == BOOL else 1


def _complain(shape: Shape, key: Any) -> None:
    """Raise NumPy's error for a key that does not fit; it fits a value of this shape, or not."""
    np.broadcast_to(np.False_, shape)[key]


def _entries(x: Any, key: Any) -> list[Any]:
    """Return the entries of a key, with slices in place of Ellipsis and of what is left out."""
    entries = [_entry(k) for k in (key if isinstance(key, tuple) else (key,))]
    left = len(x.shape) - sum(map(_axes_of, entries))
    dots = [i for i, k in enumerate(entries) if k is Ellipsis]
    if left < 0 or len(dots) > 1:
        _complain(x.shape, key)
    at = dots[0] if dots else len(entries)
    return [*entries[:at], *[slice(None)] * left, *entries[at + 1 :]]


# ---- Views ---------------------------------------------------------------------------------------


def _first(x: Any, i: int) -> Any:
    """Return x[i] for an int."""
    shape = x.shape
    n = shape[0] if shape else 0
    if not -n <= i < n:
        _complain(shape, i)
    starts = [i % n] + [0] * (len(shape) - 1)
    return p.reshape(p.window(x, starts, [1] * len(shape), (1, *shape[1:])), shape[1:])


def _basic(x: Any, entries: Sequence[Any]) -> Any:
    """Return x indexed by ints, slices and None."""
    starts, steps, lengths, shape = [], [], [], []
    axis = 0
    for k in entries:
        if k is None:
            shape.append(1)
            continue
        n = x.shape[axis]
        if isinstance(k, int):
            if not -n <= k < n:
                raise IndexError(f"index {k} is out of bounds for axis {axis} with size {n}")
            start, step, length = k % n, 1, 1
        else:
            start, stop, step = k.indices(n)
            length = len(range(start, stop, step))
            start = start if length else 0
            shape.append(length)
        starts.append(start)
        steps.append(step)
        lengths.append(length)
        axis += 1
    return p.reshape(p.window(x, starts, steps, tuple(lengths)), tuple(shape))


# ---- Gathers -------------------------------------------------------------------------------------


def _positions(tape: Tape, indices: Array, length: int) -> Any:
    """Return the value of indices along an axis of that length, in a row; negative ones count back.

    A compiled function reads them anew at each run where they are as the instruction wants them.
    """
    row = indices if indices.ndim == 1 else indices.reshape(-1)
    if tape.compiling and not (row < 0).any():
        return tape.indices(row)
    return tape.indices(np.where(row < 0, row + length, row))


def _inside(indices: Array, length: int) -> bool:
    """Whether indices are positions of an axis of that length; negative ones count back."""
    return not indices.size or bool(indices.min() >= -length and indices.max() < length)


def take_at(x: Any, indices: Array, axis: int) -> Any:
    """Return np.take(x, indices, axis) for plain integers and an axis from 0."""
    n = x.shape[axis]
    if not _inside(indices, n):
        _complain((n,), indices)
    y = p.gather(x, _positions(x.tape, indices, n), axis)
    return p.reshape(y, x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


def _take_flat(x: Any, positions: Array) -> Any:
    """Return the elements at positions of the flattened value, in the shape of these."""
    flat = p.reshape(x, (p.size(x),))
    y = p.gather(flat, x.tape.indices(positions.reshape(-1)), 0)
    return p.reshape(y, positions.shape)


def _places(shape: Shape) -> Array:
    """Return the position of each element in the flattened array."""
    return np.arange(math.prod(shape)).reshape(shape)


def _one_array(x: Any, entries: list[Any], at: int) -> Any:
    """Return x indexed by slices, None and one array of integers or booleans, the entry `at`."""
    k = entries[at]
    first = sum(one is not None for one in entries[:at])
    if k.dtype != BOOL:
        if not _inside(k, x.shape[first]):
            _complain(x.shape, tuple(entries))
        return take_at(_basic(x, [*entries[:at], slice(None), *entries[at + 1 :]]), k, at)
    if k.shape != x.shape[first : first + k.ndim]:
        _complain(x.shape, tuple(entries))
    y = _basic(x, [*entries[:at], *[slice(None)] * k.ndim, *entries[at + 1 :]])
    y = p.reshape(y, (*y.shape[:at], k.size, *y.shape[at + k.ndim :]))
    return p.gather(y, x.tape.indices(np.flatnonzero(k)), at)


def take(x: Any, key: Any) -> Any:
    """Return x[key] of a traced value.

    Raises
    ------
    IndexError
        In NumPy's words.
    UntraceableError
        For a key that is traced itself.
    """
    if type(key) is int:
        return _first(x, key)
    entries = _entries(x, key)
    arrays = [i for i, k in enumerate(entries) if isinstance(k, np.ndarray)]
    if not arrays:
        return _basic(x, entries)
    for i in arrays:
        if entries[i].dtype.kind not in "biu":
            _complain(x.shape, key)
    alone = len(arrays) == 1 and entries[arrays[0]].ndim > 0
    if alone and not any(isinstance(k, int) for k in entries):
        return _one_array(x, entries, arrays[0])
    return _take_flat(x, _places(x.shape)[tuple(entries)])


# ---- NumPy's functions ---------------------------------------------------------------------------


def take_function(
    a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise"
) -> Any:
    """Return entries along an axis, of the flattened value for None."""
    refuse("take", out=out)
    _refuse_traced(indices)
    x, at = lift(a), np.asarray(indices)
    if at.dtype.kind not in "iu":
        raise TypeError(f"indices are {at.dtype}; integers are accepted")
    if axis is None:
        x, axis = p.reshape(x, (p.size(x),)), 0
    axis = normalize_axis_index(axis, len(x.shape))
    if mode in ("clip", "wrap"):
        n = x.shape[axis]
        at = np.clip(at, 0, n - 1) if mode == "clip" else at % n
    elif mode != "raise":
        raise ValueError(f"mode is {mode!r}; 'raise', 'clip' or 'wrap' is accepted")
    return take_at(x, at, axis)


def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """Return the elements at positions along an axis, other ones in each row."""
    _refuse_traced(indices)
    x, at = lift(arr), np.asarray(indices)
    return _take_flat(x, np.take_along_axis(_places(x.shape), at, axis))
