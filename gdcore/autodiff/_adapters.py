"""Functions of other libraries (autograd, JAX, torch) called with NumPy arrays, answered in them.

autograd and JAX take NumPy arrays as they are. A function of torch may want tensors: it gets them
where it fails on arrays, and from then on. No library is imported here that the caller has not
imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Adapted", "as_array"]


class Adapted:
    """A callable that may be another library's; arguments are NumPy arrays, scalars, containers."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._takes_tensors: bool | None = None  # unknown until the first call

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function returns, in its own types (see `as_array`)."""
        if self._takes_tensors:
            return self._function(*_as_tensors(arguments))
        try:
            answer = self._function(*arguments)
        except Exception:
            if self._takes_tensors is not None or "torch" not in sys.modules:
                raise
            answer = self._from_tensors(arguments)
            if answer is None:
                raise
            return answer
        self._takes_tensors = False
        return answer

    def _from_tensors(self, arguments: tuple[Any, ...]) -> Any:
        """Return the answer to tensors where it is made of tensors, else None."""
        try:
            answer = self._function(*_as_tensors(arguments))
        except Exception:
            return None
        self._takes_tensors = _holds_tensors(answer) or None
        return answer if self._takes_tensors else None


def _as_tensors(value: Any) -> Any:
    """Return a container with torch's tensors for float arrays and scalars; the rest is kept."""
    if isinstance(value, dict):
        return {key: _as_tensors(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_as_tensors(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, np.ndarray | np.floating) and value.dtype.kind == "f":
        return sys.modules["torch"].as_tensor(np.array(value))
    return value


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_tensors, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_tensors, value))
    return isinstance(value, sys.modules["torch"].Tensor)


def as_array(value: Any, name: str) -> NDArray[Any]:
    """Return a value (a number, an array, another library's array) as a real NumPy array.

    Raises
    ------
    TypeError
        Where it is not made of real numbers that float32 or float64 hold.
    """
    if not isinstance(value, np.ndarray | np.generic) and hasattr(value, "detach"):
        value = value.detach().cpu()
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array
    if array.dtype.kind in "biu":
        return array.astype(np.float64)
    if array.dtype != np.float32:
        kind = type(value).__name__ if array.dtype == object else array.dtype
        raise TypeError(f"{name} is {kind}; real numbers, float32 or float64, are accepted")
    return array
