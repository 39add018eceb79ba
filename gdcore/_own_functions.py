"""The user's own activations and loss: programs for each number of rows that occurs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gdcore._network_functions import activation_programs, loss_programs
from gdcore._networks import CHUNK, OwnFunctions

if TYPE_CHECKING:
    from gdcore._model import Model

LOSS = -1  # the place of a loss among the stages


def own_functions(model: Model, y: Any, batches: Sequence[int], training: bool) -> OwnFunctions:
    """Return the programs for batches of these sizes; y None: without the loss.

    Functions that may go row by row are made for chunks, others for whole batches. With a batch
    normalisation in training everything goes batch by batch.
    """
    stages = model._stages()
    dtype, functions = model.dtype, model._functions()
    assert dtype is not None
    places = [(i, stage) for i, stage in enumerate(stages) if stage[0] == "function"]
    loss = model.loss if y is not None and model._fused_loss()[0] is None else None
    whole = training and any(stage[0] == "batch_norm" for stage in stages)
    scalar = False

    def of_stage(stage: Any, rows: int) -> Any:
        return activation_programs(functions[int(stage[5][0])], rows, stage[1], dtype)

    def of_loss(rows: int) -> Any:
        tail = y.shape[1:]
        return loss_programs(loss, rows, tail, stages[-1][2], y.dtype, dtype)

    first = min(batches[0], CHUNK)
    if places and not whole:
        whole = not all(of_stage(stage, first).rowwise for _, stage in places)
    if loss is not None:
        made = of_loss(first)
        scalar = made.scalar
        whole = whole or not made.rowwise
    parts: list[Any] = []
    for rows in sizes_of(batches, whole):
        for i, stage in places:
            programs = of_stage(stage, rows)
            parts.append((i, rows, programs.forward, programs.backward, tuple(programs.arrays())))
        if loss is not None:
            programs = of_loss(rows)
            parts.append((LOSS, rows, programs.program, None, tuple(programs.arrays())))
    return OwnFunctions(tuple(parts), whole, scalar)


def sizes_of(batches: Sequence[int], whole: bool) -> list[int]:
    """Return the numbers of rows that go through together, for batches of these sizes."""
    if whole:
        return sorted({*batches})
    sizes = {min(rows, CHUNK) for rows in batches}
    return sorted(sizes | {rows % CHUNK for rows in batches if rows % CHUNK})
