"""The variables of a descent: a starting point read into arrays of its own, and put back together.

A tuple is one positional argument of f for each entry; anything else is f's single argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdcore._containers import flat
from gdcore.autodiff._parameters import leaves, read, rebuilt, text_of

SHOWN = 6  # numbers of a point, or arrays of a container, that a message shows

Arrays = list[NDArray[Any]]


class Variables:
    """The point at which f is evaluated: `params` is a container of arrays, changed in place.

    Attributes
    ----------
    name : str
        What errors call the starting point.
    apart : bool
        Whether f takes the entries of `params` one by one.
    params : ndarray, or tuple, list or dict of them
        Own arrays, C-contiguous, float32 or float64, in the structure of the starting point.
    arrays : list of ndarray
        The same, one behind the other.
    paths : list of tuple
        Where each stands in `params`.
    """

    def __init__(self, x0: Any, name: str = "x0") -> None:
        self.name = name
        self.apart = isinstance(x0, tuple)
        found = list(leaves(x0))
        self.paths = [path for path, _ in found]
        entries = read([value for _, value in found], lambda i: text_of(name, self.paths[i]))
        self._are_numbers = [entry.number for entry in entries]
        self._like, self._is_one = x0, self.paths == [()]
        self.arrays = [np.array(entry.value, order="C", subok=False) for entry in entries]
        self.params = rebuilt(x0, iter(self.arrays))
        if not self.size:
            raise ValueError(f"{name} is {x0!r:.80}; at least one number to start at is accepted")

    @property
    def size(self) -> int:
        """Number of elements of all arrays."""
        return sum(array.size for array in self.arrays)

    def at(self, params: Any) -> Variables:
        """Return the same variables at another point, whose arrays are not copied."""
        other = object.__new__(Variables)
        other.__dict__.update(self.__dict__, params=params)
        other.arrays = [array for _, array in flat(params)]
        return other

    def arguments(self) -> tuple[Any, ...]:
        """Return what f is called with, as copies: arrays, and scalars for numbers."""
        return self._apart(self.shaped(self.copies()))

    def borrowed(self) -> tuple[Any, ...]:
        """Return what f is called with, arrays as they stand here."""
        return self._apart(self.shaped(self.arrays))

    def _apart(self, point: Any) -> tuple[Any, ...]:
        return tuple(point) if self.apart else (point,)

    def shaped(self, arrays: Iterable[NDArray[Any]]) -> Any:
        """Return arrays in the structure of the starting point, with scalars for numbers."""
        if self._is_one:
            (array,) = arrays
            return array[()] if self._are_numbers[0] else array
        pairs = zip(arrays, self._are_numbers, strict=True)
        return rebuilt(self._like, iter([a[()] if number else a for a, number in pairs]))

    def copies(self) -> Arrays:
        """Return copies of the arrays."""
        return [array.copy() for array in self.arrays]

    def place(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Write arrays into those that stand here."""
        for mine, array in zip(self.arrays, arrays, strict=True):
            np.copyto(mine, array)

    def differ_from(self, arrays: Sequence[NDArray[Any]]) -> bool:
        """Whether some element is not what it is there."""
        pairs = zip(self.arrays, arrays, strict=True)
        return any(not np.array_equal(mine, array) for mine, array in pairs)

    def stacked(self, points: Sequence[Arrays]) -> Any:
        """Return points one behind the other, along a new first axis of each array."""
        columns = zip(*points, strict=True)
        return self.joined([np.stack(column) for column in columns])

    def joined(self, arrays: Iterable[NDArray[Any]]) -> Any:
        """Return arrays in the structure of the starting point."""
        return rebuilt(self._like, iter(arrays))

    def are_finite(self) -> bool:
        """Whether every element is."""
        return all(bool(np.isfinite(array).all()) for array in self.arrays)

    def at_coordinates(self, coordinates: Sequence[Any]) -> tuple[Any, ...]:
        """Return what f is called with at a point given number by number, for pictures.

        Where every variable is one number, a coordinate may be an array of many points.
        """
        numbers, parts = iter(coordinates), []
        for array in self.arrays:
            own = [next(numbers) for _ in range(array.size)]
            parts.append(np.array(own).reshape(array.shape) if array.ndim else own[0])
        return self._apart(rebuilt(self._like, iter(parts)))

    def text(self) -> str:
        """Return the point as a text for messages; of a large one its shapes."""
        if self.size > SHOWN:
            shapes = [str(array.shape) for array in self.arrays[:SHOWN]]
            more = " ..." if len(self.arrays) > SHOWN else ""
            return f"arrays of the shapes {', '.join(shapes)}{more}"
        parts = [
            "[" + ", ".join(f"{float(value):.6g}" for value in array.ravel()) + "]"
            if array.ndim
            else f"{float(array):.6g}"
            for array in self.arrays
        ]
        return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"
