"""Class numbers in a user's loss: traced values at which others are indexed, row by row.

The class numbers are data, not known when the loss is traced. What they pick is written with
comparisons: where entry j of a row is that of its class, it is taken. As in NumPy negative numbers
count back. A number that is no class gives NaN, because a program raises no IndexError.
"""

from __future__ import annotations

import functools
from typing import Any, NoReturn

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import NDArray

from gdcore.autodiff._errors import called, indexes, untraceable, user_place
from gdcore.autodiff._operands import as_real, lift
from gdcore.autodiff._tape import I64, Value
from gdcore.autodiff._traced import Traced

__all__ = ["Labelled"]


def _are_labels(x: Any) -> bool:
    """Whether x holds whole numbers that are not known while the function is traced."""
    return isinstance(x, Value) and x.dtype is I64


@functools.lru_cache(64)
def _classes(k: int) -> NDArray[Any]:
    """Return 0, 1, ..., k - 1; one array for all traces, which tell arrays by identity."""
    numbers = np.arange(float(k))
    numbers.flags.writeable = False
    return numbers


def _no_positions() -> Exception:
    return untraceable(
        "Class numbers, which differ from batch to batch, are positions in an array",
        "Write np.take_along_axis(y_pred, y_true[:, None], axis=1) for the entry of each row, "
        "y_true[:, None] == np.arange(k) for one-hot rows, and these @ table for rows of a table",
    )


def _take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """Return the elements at labels along an axis."""
    x = as_real(lift(arr, indices))
    if axis is None:
        x, axis = np.ravel(x), 0
    axis = normalize_axis_index(axis, len(x.shape))
    if len(indices.shape) != len(x.shape):
        raise ValueError(
            "`indices` and `arr` must have the same number of dimensions; found shapes "
            f"{indices.shape} and {x.shape}: write y_true[:, None]"
        )
    x, labels = np.moveaxis(x, axis, -1), np.moveaxis(indices, axis, -1)
    k = x.shape[-1]
    at = np.where(labels < 0, labels + k, labels)
    found = np.expand_dims(at, -1) == _classes(k)
    y = np.sum(np.where(found, np.expand_dims(x, -2), 0.0), axis=-1)
    return np.moveaxis(np.where((at >= 0) & (at < k), y, np.nan), -1, axis)


class Labelled(Traced):
    """A traced value that may be indexed by class numbers, which are traced values too."""

    __slots__ = ()

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], given: dict[str, Any]
    ) -> Any:
        if function is np.take_along_axis or function is np.take:
            indices = given.get("indices", args[1] if args[1:] else None)
            if _are_labels(indices) and function is np.take_along_axis:
                return _take_along_axis(*args, **given)
            if _are_labels(indices):
                raise _no_positions()
        return super().__array_function__(function, types, args, given)

    def __getitem__(self, key: Any) -> Any:
        """Return self[key]; ``self[np.arange(rows), labels]`` is an element of each row."""
        entries = key if isinstance(key, tuple) else (key,)
        if not any(map(_are_labels, entries)):
            return super().__getitem__(key)
        if len(entries) == self.ndim == 2 and not isinstance(entries[0], Value):
            rows, labels = np.arange(self.shape[0]), entries[1]
            if labels.shape == rows.shape and np.array_equal(entries[0], rows):
                return _take_along_axis(self, np.expand_dims(labels, 1), 1)[:, 0]
        raise _no_positions()

    def __array__(self, *args: Any, **given: Any) -> NoReturn:
        place = user_place()
        if self.dtype is I64 and (indexes(place) or called(place) == "np.take"):
            raise _no_positions()
        super().__array__(*args, **given)
