"""Where the instructions of a tape are run: by the core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from gdcore import _core

__all__ = ["OPS", "run"]

if not hasattr(_core, "INSTRUCTIONS"):  # interim, until the core has it
    import os
    import re

    _text = open(os.environ["GDCORE_OPS"]).read()
    _core.INSTRUCTIONS = [
        {"name": n, "kind": k.lower()}
        for n, k in re.findall(r"^INSTRUCTION\((\w+), (\w+)", _text, re.M)
    ]

# Number of each instruction by name, in the order of csrc/ops.def.
OPS = {row["name"]: number for number, row in enumerate(_core.INSTRUCTIONS)}


def run(
    instructions: Sequence[Any], arrays: Sequence[NDArray[Any]], outputs: Sequence[int]
) -> list[NDArray[Any]]:
    """Return the values of the instructions numbered `outputs`, as new arrays."""
    if not hasattr(_core, "Program"):  # interim, until the core has it
        from gdcore.reference import program

        return program.run(instructions, arrays, outputs)
    return _core.Program(instructions, outputs).run(arrays)
