"""Where the instructions of a tape are run: by the core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from gdcore import _core

__all__ = ["OPS", "run"]

# Number of each instruction by name, in the order of csrc/ops.def.
OPS = {row["name"]: number for number, row in enumerate(_core.INSTRUCTIONS)}


def run(
    instructions: Sequence[Any], arrays: Sequence[NDArray[Any]], outputs: Sequence[int]
) -> list[NDArray[Any]]:
    """Return the values of the instructions numbered `outputs`, as new arrays."""
    return _core.Program(list(instructions), outputs).run(arrays)
