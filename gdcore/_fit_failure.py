"""What fit says of a loss, a gradient or weights that are not finite."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gdcore._core import NonFiniteError
from gdcore._data import find_outside

if TYPE_CHECKING:
    from gdcore._networks import Data
    from gdcore._trainer import Outcome


def failure(fit: Any, outcome: Outcome, data: Data) -> NonFiniteError:
    """Return the error, with ``epoch``, ``batch``, ``layer`` and ``history`` as attributes."""
    model, trainer, history = fit.model, fit.trainer, fit.history
    place = fit.place
    names = model._param_names
    array = outcome.array if outcome.array >= 0 else -2 - outcome.array
    layer = names[array].rpartition(".")[0] if outcome.array != -1 else None
    if outcome.array <= -2:
        what = f"{names[array]} is not finite after the step"
    elif math.isfinite(outcome.loss):
        what = f"the gradient of {names[array]} is not finite"
    else:
        what = f"the loss is {outcome.loss}"
    epoch, batch = place[0] + fit.settings.initial_epoch, place[1]
    error = NonFiniteError(
        f"{what} in batch {batch} of epoch {epoch}{_course(history)}; the weights are again"
        f" those {_restored(fit)}. {_beyond(model.dtype, data) or _way_out(trainer)}"
    )
    error.epoch, error.batch, error.layer, error.history = epoch, batch, layer, history
    return error


def _course(history: Any) -> str:
    """Return how the loss went before."""
    losses = history.batch_losses
    finite = [float(x) for x in losses[-4:] if math.isfinite(x)]
    return f" (losses before it: {', '.join(f'{x:.4g}' for x in finite)})" if finite else ""


def _restored(fit: Any) -> str:
    """Return which weights stand in the model now."""
    if fit.trainer.lasts:
        return "before this batch"
    if fit.trainer.core.shadowed():
        return "of the step at which the loss left ten times its lowest value"
    return "of the start of the epoch"


def _beyond(dtype: Any, data: Data) -> str:
    """Return what is said of data that the model's type does not reach; "" where there are none."""
    most = float(np.finfo(dtype).max)
    for name, array in (("X", data.X), ("y", data.y)):
        if array is None or array.dtype.kind != "f" or array.dtype.itemsize <= dtype.itemsize:
            continue
        matrix = array.reshape(len(array), -1)
        place = find_outside(matrix, -most, most)
        if place is not None:
            return (
                f"{name} holds {float(matrix[place])} in row {place[0]}, column {place[1]}, but"
                f" {dtype}, the model's type, ends at {most:.3g}: scale the data, or give the model"
                f" dtype={str(array.dtype)!r}"
            )
    return ""


def _way_out(trainer: Any) -> str:
    """Return what usually helps."""
    lr = trainer.optimizer.lr
    return (
        f"Try a smaller rate (lr is {lr:.4g}), data scaled to mean 0 and deviation 1, or"
        " global_clip_norm=1.0 in the optimizer"
    )
