"""Arrays of any shapes seen as one vector: gather them, split a vector, write it into them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdcore._containers import Path

Vector = NDArray[Any]


class Layout:
    """Where each array stands in the vector; its type holds every array exactly.

    Elements stand in the order of memory. Nothing refers to the arrays' memory but the arrays
    themselves, so one that a user resizes is an error of NumPy's and no stray write.
    """

    def __init__(self, leaves: Sequence[tuple[Path, NDArray[Any]]], frozen: Sequence[bool]) -> None:
        self.leaves = leaves
        self.arrays = arrays = [array for _, array in leaves]
        self.frozen = frozen
        self.dtype = np.result_type(*arrays) if arrays else np.dtype(np.float64)
        ends = [*accumulate((a.size for a in arrays), initial=0)]
        self.spans = [slice(*pair) for pair in pairwise(ends)]
        self.size = ends[-1]

    def gathered(self, values: Iterable[Any]) -> Vector:
        """Return arrays (or numbers) like the parameters as a new vector."""
        vector = np.empty(self.size, self.dtype)
        for like, span, value in zip(self.arrays, self.spans, values, strict=True):
            vector[span] = np.asarray(value).ravel(_order(like))
        return vector

    def held(self, vector: Vector) -> Vector:
        """Set the vector to 0 in place where the array is frozen, and return it."""
        for span, frozen in zip(self.spans, self.frozen, strict=True):
            if frozen:
                vector[span] = 0
        return vector

    def split(self, vector: Vector) -> list[NDArray[Any]]:
        """Return the vector as new arrays like the parameters."""
        parts = []
        for like, span in zip(self.arrays, self.spans, strict=True):
            part = np.empty_like(like, subok=False)
            part[...] = vector[span].reshape(like.shape, order=_order(like))
            parts.append(part)
        return parts

    def stacked(self, vectors: Sequence[Vector]) -> list[NDArray[Any]]:
        """Return for each parameter its part of all vectors, one after the other, in their type."""
        return [
            np.array(
                [v[span].reshape(like.shape, order=_order(like)) for v in vectors], self.dtype
            ).reshape((len(vectors), *like.shape))
            for like, span in zip(self.arrays, self.spans, strict=True)
        ]

    def place(self, vector: Vector) -> None:
        """Write the vector into the arrays that are not frozen."""
        for array, span, frozen in zip(self.arrays, self.spans, self.frozen, strict=True):
            if not frozen:
                array[...] = vector[span].reshape(array.shape, order=_order(array))


def _order(array: NDArray[Any]) -> Any:
    return "C" if array.flags.c_contiguous else "F"
