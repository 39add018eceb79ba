"""NumPy's functions that give traced values another shape or order, and join, split, repeat them.

All come down to the instructions reshape, transpose, slice, expand, concatenate and gather.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from gdcore.autodiff import _primitives as p
from gdcore.autodiff._indexing import take_at
from gdcore.autodiff._operands import first_traced, lift, refuse
from gdcore.autodiff._ufuncs import promoted

Axes = int | Sequence[int] | None
Shape = tuple[int, ...]


# ---- One value in another shape ------------------------------------------------------------------


def shape_from(shape: Any, size: int) -> Shape:
    """Return the lengths that NumPy's `shape` stands for: a number, or several, one may be -1."""
    wanted = [int(n) for n in np.atleast_1d(np.asarray(shape, np.int64))]
    if wanted.count(-1) > 1:
        raise ValueError("can only specify one unknown dimension")
    if -1 in wanted:
        known = math.prod(n for n in wanted if n != -1)
        wanted[wanted.index(-1)] = size // known if known and size % known == 0 else -1
    if math.prod(wanted) != size or min(wanted, default=0) < 0:
        text = tuple(np.atleast_1d(shape).tolist())
        raise ValueError(f"cannot reshape array of size {size} into shape {text}")
    return tuple(wanted)


def reshape(
    a: Any, /, shape: Any, order: str = "C", *, newshape: Any = None, copy: bool | None = None
) -> Any:
    """Return the elements in another shape."""
    x = lift(a)
    wanted = shape_from(shape, p.size(x))
    if order == "F":
        return np.transpose(p.reshape(np.transpose(x), wanted[::-1]))
    if order not in ("C", "A"):
        raise ValueError(f"order is {order!r}; 'C', 'F' or 'A' is accepted")
    return p.reshape(x, wanted)


def ravel(a: Any, order: str = "C") -> Any:
    """Return the elements in a row."""
    return reshape(a, -1 if p.size(a) else 0, "C" if order == "K" else order)


def transpose(a: Any, axes: Any = None) -> Any:
    """Return the axes in another order, by default reversed."""
    x = lift(a)
    ndim = len(x.shape)
    if axes is None:
        return p.transpose(x, range(ndim - 1, -1, -1))
    if len(axes) != ndim:
        raise ValueError("axes don't match array")
    return p.transpose(x, normalize_axis_tuple(axes, ndim))


def matrix_transpose(x: Any, /) -> Any:
    """Return the last two axes exchanged."""
    if len(x.shape) < 2:
        raise ValueError(f"Input array must be at least 2-dimensional, but it is {len(x.shape)}")
    return swapaxes(x, -1, -2)


def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """Return two axes exchanged."""
    x = lift(a)
    axes = list(range(len(x.shape)))
    i, j = (normalize_axis_index(axis, len(axes)) for axis in (axis1, axis2))
    axes[i], axes[j] = axes[j], axes[i]
    return p.transpose(x, axes)


def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """Return axes moved to other places; the others keep their order."""
    x = lift(a)
    ndim = len(x.shape)
    start = normalize_axis_tuple(source, ndim, "source")
    end = normalize_axis_tuple(destination, ndim, "destination")
    if len(start) != len(end):
        raise ValueError(
            "`source` and `destination` arguments must have the same number of elements"
        )
    order = [axis for axis in range(ndim) if axis not in start]
    for place, axis in sorted(zip(end, start, strict=True)):
        order.insert(place, axis)
    return p.transpose(x, order)


def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """Return an axis moved before the one at `start`."""
    ndim = len(a.shape)
    axis = normalize_axis_index(axis, ndim)
    start = start + ndim if start < 0 else start
    if not 0 <= start <= ndim:
        raise np.exceptions.AxisError(f"start is {start}; from {-ndim} to {ndim} is accepted")
    return moveaxis(a, axis, start - 1 if axis < start else start)


def squeeze(a: Any, axis: Axes = None) -> Any:
    """Return x without axes of length 1."""
    x = lift(a)
    ndim = len(x.shape)
    if axis is None:
        dropped = {i for i in range(ndim) if x.shape[i] == 1}
    else:
        dropped = set(normalize_axis_tuple(axis, ndim))
    if any(x.shape[i] != 1 for i in dropped):
        raise ValueError(
            "cannot select an axis to squeeze out which has size not equal to one: "
            f"axis={axis}, shape {x.shape}"
        )
    return p.reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in dropped))


def expand_dims(a: Any, axis: Any) -> Any:
    """Return x with axes of length 1 more."""
    x = lift(a)
    axis = axis if isinstance(axis, (tuple, list)) else (axis,)
    ndim = len(x.shape) + len(axis)
    axes = normalize_axis_tuple(axis, ndim)
    lengths = iter(x.shape)
    return p.reshape(x, tuple(1 if i in axes else next(lengths) for i in range(ndim)))


def _at_least(ndim: int, ahead: int, arys: Sequence[Any]) -> Any:
    """Return values with `ndim` axes at least; of the missing ones at most `ahead` come first."""
    like, results = first_traced(*arys), []
    for a in arys:
        x = lift(a, like)
        missing = max(ndim - len(x.shape), 0)
        first = min(missing, ahead) if len(x.shape) < 2 else 0
        results.append(p.reshape(x, (1,) * first + x.shape + (1,) * (missing - first)))
    return results[0] if len(results) == 1 else tuple(results)


def atleast_1d(*arys: Any) -> Any:
    """Return values with one axis at least."""
    return _at_least(1, 1, arys)


def atleast_2d(*arys: Any) -> Any:
    """Return values with two axes at least, a row being (1, n)."""
    return _at_least(2, 2, arys)


def atleast_3d(*arys: Any) -> Any:
    """Return values with three axes at least, a row being (1, n, 1)."""
    return _at_least(3, 1, arys)


def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """Return x repeated to a shape."""
    x = lift(array)
    wanted = tuple(int(n) for n in np.atleast_1d(np.asarray(shape, np.int64)))
    np.broadcast_to(np.empty(x.shape, np.bool_), wanted)  # NumPy's error
    return p.expand(x, wanted)


def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Any, ...]:
    """Return values repeated to their common shape."""
    like = first_traced(*args)
    values = [lift(x, like) for x in args]
    shape = p.common_shape([x.shape for x in values])
    return tuple(p.expand(x, shape) for x in values)


def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Any, ...]:
    """Return the coordinates of a grid."""
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    n, like = len(xi), first_traced(*xi)
    values = [lift(x, like) for x in xi]
    grids = [
        p.reshape(x, (1,) * i + (p.size(x),) + (1,) * (n - 1 - i)) for i, x in enumerate(values)
    ]
    if indexing == "xy" and n > 1:
        grids = [swapaxes(x, 0, 1) for x in grids]
    return tuple(grids) if sparse else broadcast_arrays(*grids)


# ---- Other orders of the elements ----------------------------------------------------------------


def flip(m: Any, axis: Axes = None) -> Any:
    """Return the elements in reverse order along axes."""
    x = lift(m)
    ndim = len(x.shape)
    axes = range(ndim) if axis is None else normalize_axis_tuple(axis, ndim)
    starts = [max(n - 1, 0) if i in axes else 0 for i, n in enumerate(x.shape)]
    return p.window(x, starts, [-1 if i in axes else 1 for i in range(ndim)], x.shape)


def fliplr(m: Any) -> Any:
    """Return the elements in reverse order along axis 1."""
    if len(m.shape) < 2:
        raise ValueError("Input must be >= 2-d.")
    return flip(m, 1)


def flipud(m: Any) -> Any:
    """Return the elements in reverse order along axis 0."""
    if len(m.shape) < 1:
        raise ValueError("Input must be >= 1-d.")
    return flip(m, 0)


def rot90(m: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """Return a plane turned by k times 90 degrees, from the first axis to the second."""
    x = lift(m)
    first, second = (normalize_axis_index(axis, len(x.shape)) for axis in axes)
    if first == second:
        raise ValueError("Axes must be different.")
    if k % 4 == 0:
        return x
    if k % 4 == 2:
        return flip(x, (first, second))
    if k % 4 == 1:
        return swapaxes(flip(x, second), first, second)
    return flip(swapaxes(x, first, second), second)


def roll(a: Any, shift: Any, axis: Axes = None) -> Any:
    """Return the elements moved along axes, those that leave coming in at the other end."""
    x = lift(a)
    if axis is None:
        return p.reshape(roll(ravel(x), shift, 0), x.shape)
    axes = normalize_axis_tuple(axis, len(x.shape), allow_duplicate=True)
    for pair in np.broadcast(shift, axes):
        by, along = map(int, pair)
        length = x.shape[along]
        if length and by % length:
            cut = length - by % length
            x = p.concatenate([part(x, along, cut, length), part(x, along, 0, cut)], along)
    return x


def part(x: Any, axis: int, start: int, stop: int) -> Any:
    """Return x[start:stop] along an axis."""
    starts = [start if i == axis else 0 for i in range(len(x.shape))]
    shape = tuple(stop - start if i == axis else n for i, n in enumerate(x.shape))
    return p.window(x, starts, [1] * len(x.shape), shape)


# ---- Joining -------------------------------------------------------------------------------------


def _of_one_type(arrays: Any) -> list[Any]:
    """Return operands, and entries of a traced value, as values of their common type."""
    like = first_traced(arrays) if isinstance(arrays, (list, tuple)) else arrays
    return promoted(*[lift(x, like) if isinstance(x, (list, tuple)) else x for x in arrays])


def concatenate(
    arrays: Sequence[Any],
    /,
    axis: int | None = 0,
    out: Any = None,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Any:
    """Return values one behind the other along an axis; flattened ones for None."""
    refuse("concatenate", out=out, dtype=dtype)
    parts = _of_one_type(arrays)
    if axis is None:
        return p.concatenate([ravel(x) for x in parts], 0)
    first = parts[0].shape
    if len(first) == 0:
        raise ValueError("zero-dimensional arrays cannot be concatenated; np.stack joins numbers")
    axis = normalize_axis_index(axis, len(first))
    for i, x in enumerate(parts):
        beside = x.shape[:axis] + x.shape[axis + 1 :]
        if len(x.shape) != len(first) or beside != first[:axis] + first[axis + 1 :]:
            raise ValueError(
                f"all the input array dimensions except for the concatenation axis ({axis}) must "
                f"match exactly, but array 0 has shape {first} and array {i} has {x.shape}"
            )
    return p.concatenate(parts, axis)


def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """Return values behind those of an array; both flattened for None."""
    return concatenate((arr, values), axis)


def stack(
    arrays: Sequence[Any],
    axis: int = 0,
    out: Any = None,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Any:
    """Return values of one shape side by side along a new axis."""
    refuse("stack", out=out, dtype=dtype)
    parts = _of_one_type(arrays)
    if any(x.shape != parts[0].shape for x in parts):
        shapes = ", ".join(str(x.shape) for x in parts)
        raise ValueError(f"all input arrays must have the same shape; found {shapes}")
    axis = normalize_axis_index(axis, len(parts[0].shape) + 1)
    return p.concatenate([expand_dims(x, axis) for x in parts], axis)


def _with_axes(least: Any, arrays: Sequence[Any]) -> list[Any]:
    """Return values, of one type, with as many axes as `least` gives."""
    return [least(x) for x in _of_one_type(arrays)]


def hstack(tup: Sequence[Any], *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Return values side by side: along axis 1, rows along axis 0."""
    refuse("hstack", dtype=dtype)
    parts = _with_axes(atleast_1d, tup)
    return concatenate(parts, 0 if len(parts[0].shape) == 1 else 1)


def vstack(tup: Sequence[Any], *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Return values one below the other."""
    refuse("vstack", dtype=dtype)
    return concatenate(_with_axes(atleast_2d, tup), 0)


def dstack(tup: Sequence[Any]) -> Any:
    """Return values one behind the other along axis 2."""
    return concatenate(_with_axes(atleast_3d, tup), 2)


def column_stack(tup: Sequence[Any]) -> Any:
    """Return columns side by side."""
    parts = _of_one_type(tup)
    columns = [p.reshape(x, (p.size(x), 1)) if len(x.shape) < 2 else x for x in parts]
    return concatenate(columns, 1)


# ---- Splitting and repeating ---------------------------------------------------------------------


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Return parts along an axis, whose lengths differ by 1 at most."""
    x = lift(ary)
    axis = normalize_axis_index(axis, len(x.shape))
    length = x.shape[axis]
    if np.ndim(indices_or_sections) > 0:
        ends = [slice(None, int(i)).indices(length)[1] for i in indices_or_sections]
        return [
            part(x, axis, start, max(start, stop))
            for start, stop in zip([0, *ends], [*ends, length], strict=True)
        ]
    sections = int(indices_or_sections)
    if sections <= 0:
        raise ValueError("number sections must be larger than 0.")
    each, more = divmod(length, sections)
    stops = np.cumsum([0] + [each + 1] * more + [each] * (sections - more)).tolist()
    return [part(x, axis, start, stop) for start, stop in itertools.pairwise(stops)]


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Return parts along an axis, of equal lengths where their number is given."""
    if np.ndim(indices_or_sections) == 0 and ary.shape[axis] % indices_or_sections:
        raise ValueError("array split does not result in an equal division")
    return array_split(ary, indices_or_sections, axis)


def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Return parts along axis 1, of a row along axis 0."""
    return split(ary, indices_or_sections, 1 if len(ary.shape) > 1 else 0)


def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Return parts along axis 0."""
    return split(ary, indices_or_sections, 0)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """Return the entries along an axis."""
    axis = normalize_axis_index(axis, len(x.shape))
    return tuple(squeeze(one, axis) for one in array_split(x, max(x.shape[axis], 1), axis))


def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """Return each entry along an axis several times."""
    x = lift(a)
    if axis is None:
        x, axis = ravel(x), 0
    axis = normalize_axis_index(axis, len(x.shape))
    return take_at(x, np.repeat(np.arange(x.shape[axis]), repeats), axis)


def tile(A: Any, reps: Any) -> Any:
    """Return x side by side with itself, along each axis so many times."""
    x = lift(A)
    times = tuple(int(n) for n in np.atleast_1d(reps))
    ndim = max(len(times), len(x.shape))
    times = (1,) * (ndim - len(times)) + times
    shape = (1,) * (ndim - len(x.shape)) + x.shape
    for axis in range(ndim - 1, -1, -1):
        k, ahead, behind = times[axis], math.prod(shape[:axis]), math.prod(shape[axis:])
        if k != 1:
            x = p.expand(p.reshape(x, (ahead, 1, behind)), (ahead, k, behind))
            shape = (*shape[:axis], k * shape[axis], *shape[axis + 1 :])
    return p.reshape(x, shape)
