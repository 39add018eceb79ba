"""A program for many points side by side: every value that depends on the point gets a last axis.

Element i of that axis belongs to point i, and each point's numbers are computed as they would be
alone. Matrix products and functions of whole rows have no such form.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from gdcore import _core
from gdcore.autodiff._execute import OPS
from gdcore.autodiff._tape import Instruction

__all__ = ["side_by_side"]

_KINDS = [row["kind"] for row in _core.INSTRUCTIONS]
_NAMES = [row["name"] for row in _core.INSTRUCTIONS]
MOST_AXES = 8  # of an array in a program, GD_MAX_AXES in csrc/gd.h
_WHOLE = ("softmax", "log_softmax")  # activations of rows


def _has_lanes(op: int, params: Sequence[float]) -> bool:
    """Whether an instruction works along a further axis."""
    name = _NAMES[op]
    if name in ("activation", "activation_grad"):
        return _core.ACTIVATIONS[int(params[0])]["name"] not in _WHOLE
    if name in ("loss", "loss_grad"):
        return bool(_core.LOSSES[int(params[0])]["kind"] == "pointwise")
    return bool(_KINDS[op] != "product")


class _Lanes:
    """The instructions with a last axis, as they are made."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.made: list[Instruction] = []

    def add(self, op: int, real: int, shape: tuple[int, ...], operands: Any, params: Any) -> int:
        self.made.append((op, real, shape, tuple(operands), tuple(params)))
        return len(self.made) - 1

    def widened(self, i: int) -> int:
        """Return a value that is the same for all points, repeated along the last axis."""
        _, real, shape, _, _ = self.made[i]
        column = self.add(OPS["reshape"], real, (*shape, 1), (i,), ())
        return self.add(OPS["expand"], real, (*shape, self.lanes), (column,), ())


def _strides(shape: Sequence[int]) -> list[int]:
    strides = [1] * len(shape)
    for axis in range(len(shape) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * shape[axis]
    return strides


def _with_axis(
    name: str, shape: tuple[int, ...], params: tuple[float, ...], lanes: int
) -> tuple[float, ...]:
    """Return an instruction's numbers where its operand has one more axis."""
    if name == "input":
        return (params[0], *_strides((*shape, lanes)))
    if name == "transpose":
        return (*params, len(params))
    if name in ("slice", "embed"):
        half = len(params) // 2
        return (*params[:half], 0, *params[half:], 1)
    return params


def side_by_side(
    instructions: Sequence[Instruction], outputs: Sequence[int], slots: Set[int], lanes: int
) -> tuple[list[Instruction], list[int]] | None:
    """Return the instructions for `lanes` points, or None where they have no such form.

    `slots` are those of the inputs that hold the point: they get the last axis, as do the outputs.
    """
    out = _Lanes(lanes)
    number: list[int] = []  # of each instruction, in the new list
    wide: list[bool] = []
    for op, real, shape, operands, params in instructions:
        name = _NAMES[op]
        is_wide = any(wide[i] for i in operands) or (name == "input" and params[0] in slots)
        if not is_wide:
            number.append(out.add(op, real, shape, [number[i] for i in operands], params))
            wide.append(False)
            continue
        if not _has_lanes(op, params) or len(shape) + 1 > MOST_AXES:
            return None
        mine = [
            number[i] if wide[i] or instructions[i][0] == OPS["indices"] else out.widened(number[i])
            for i in operands
        ]
        made = _with_axis(name, shape, params, lanes)
        number.append(out.add(op, real, (*shape, lanes), mine, made))
        wide.append(True)
    ends = [number[i] if wide[i] else out.widened(number[i]) for i in outputs]
    return out.made, ends
