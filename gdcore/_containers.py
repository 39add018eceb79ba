"""Tuples, lists and dicts of arrays, any depth, in the order of the core: walk, copy, rebuild."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Path = tuple[Any, ...]


def paired(params: Any, grads: Any) -> Iterator[tuple[Path, Any, Any]]:
    """Yield (path, parameter, gradient) of every array of two containers of one structure."""
    if isinstance(params, dict):
        pairs = [(key, params[key], grads[key]) for key in params]
    elif isinstance(params, list | tuple):
        pairs = [(i, p, g) for i, (p, g) in enumerate(zip(params, grads, strict=True))]
    else:
        yield (), params, grads
        return
    for key, inner, inner_grads in pairs:
        for path, p, g in paired(inner, inner_grads):
            yield (key, *path), p, g


def flat(params: Any) -> Iterator[tuple[Path, Any]]:
    """Yield (path, array) of every array of a container."""
    for path, array, _ in paired(params, params):
        yield path, array


def text_of(root: str, path: Path) -> str:
    """Return the name of an array of a container: ``params[0]['W']``."""
    return root + "".join(f"[{key!r}]" for key in path)


def rebuilt(like: Any, values: Iterator[Any]) -> Any:
    """Return the next values of an iterator in the structure of `like`."""
    if isinstance(like, dict):
        return {key: rebuilt(like[key], values) for key in like}
    if isinstance(like, list | tuple):
        items = [rebuilt(item, values) for item in like]
        return items if isinstance(like, list) else tuple(items)
    return next(values)


def copied(params: Any) -> Any:
    """Return a copy of a container of arrays; what is neither is kept, for the core to refuse."""
    if isinstance(params, dict):
        return {key: copied(value) for key, value in params.items()}
    if isinstance(params, list | tuple):
        items = [copied(value) for value in params]
        return items if isinstance(params, list) else tuple(items)
    return params.copy("K") if isinstance(params, np.ndarray) else params


def copy_into(source: Any, target: Any) -> None:
    """Copy a container of arrays into another of the same structure and the same types."""
    for _, a, b in paired(source, target):
        np.copyto(b, a, casting="no")
