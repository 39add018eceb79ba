"""What a model is to the core: its network, the objective that it is trained for, the data.

All of it is made of what `gdcore._model.Model` and `gdcore._data` have checked; the core checks
once more what its memory depends on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gdcore import _core
from gdcore.activations import Activation

if TYPE_CHECKING:
    from gdcore._model import Model

Array = NDArray[Any]
Spec = tuple[Any, ...]

CHUNK = 256  # rows that go through a network together
_LINEAR: Spec = Activation("linear")._spec
_NAMES = [row["name"] for row in _core.ACTIVATIONS]
# Outputs at or beyond which an activation hardly moves: its derivative is below 4 % of its largest.
_SATURATED = {
    "sigmoid": (0.01, 0.99),
    "tanh": (-0.98, 0.98),
    "hard_sigmoid": (0.0, 1.0),
    "relu6": (-math.inf, 6.0),
    "softsign": (-0.8, 0.8),
}


class Data(NamedTuple):
    """Rows to be trained on or looked at.

    Attributes
    ----------
    X, y : ndarray
        As `gdcore._data` gives them back; y None for predictions.
    weights : float64 array (n,), or None
        Of the loss.
    chosen : int64 array, or None
        The rows that are used, None for all.
    own : float64 array (n,), or None
        Weights of rows alone, without those of classes: what metrics take, as those of validation
        data, which have no weights of classes, are to be compared with.
    """

    X: Array
    y: Array | None = None
    weights: NDArray[np.float64] | None = None
    chosen: NDArray[np.int64] | None = None
    own: NDArray[np.float64] | None = None

    @property
    def rows(self) -> int:
        """Number of rows that are used."""
        return len(self.X) if self.chosen is None else len(self.chosen)


def network_of(model: Model, dropped: bool) -> _core.Network:
    """Return the network of a built model; `dropped` leaves out the last stage, an activation."""
    network: _core.Network | None = model._cache.get(f"network {dropped}")
    if network is None:
        stages, dtype = model._stages(), model.dtype
        assert dtype is not None
        network = _core.Network(
            tuple(map(_stage, stages[:-1] if dropped else stages)),
            tuple(array.size for array in model._store.arrays),
            tuple(array.size for array in model._buffers),
            model._known_plan().inputs,
            dtype.itemsize,
        )
        model._cache[f"network {dropped}"] = network
    return network


def _stage(stage: Spec) -> Spec:
    """Return a stage as the core takes it: an activation's numbers are where it is saturated."""
    kind, inputs, outputs, params, spec, numbers = stage
    if kind == "activation":
        name = _NAMES[spec[0]]
        numbers = spec[1:3] if name == "hard_tanh" else _SATURATED.get(name, ())
    return kind, inputs, outputs, params, spec, tuple(map(float, numbers))


def probability_of(model: Model) -> Activation | None:
    """Return what makes of the training network's outputs what metrics see, None for nothing."""
    own = model._probability_activation()
    if own is not None or not model._fused_loss()[1]:
        return own
    return Activation(_NAMES[model._stages()[-1][4][0]])


def objective_of(model: Model, y: Array, own: OwnFunctions) -> Spec:
    """Return what the core is to compute as loss, see ``read_objective`` in C."""
    spec, _ = model._fused_loss()
    kind, outputs = model._loss_kind(), model._known_plan().width
    probability = probability_of(model)
    shown = _LINEAR if probability is None else probability._spec
    penalties = penalties_of(model)
    if spec is None:
        width = 1 if y.ndim == 1 else y.shape[1]
        return True, own.scalar, (0,), False, False, width, 1, shown, penalties
    per_row = outputs if _core.LOSSES[spec[0]]["kind"] == "pointwise" else 1
    width = 1 if kind in ("sparse", "paired") else outputs
    total = model.loss.reduction == "sum"  # type: ignore[union-attr]
    return False, False, spec, total, kind == "sparse", width, per_row, shown, penalties


def penalties_of(model: Model) -> NDArray[np.float64] | None:
    """Return l1 and l2 of each parameter, None where there are none."""
    parts = model._penalties()
    if not parts:
        return None
    table = np.zeros((len(model._store.arrays), 2))
    for position, l1, l2 in parts:
        table[position] += l1, l2
    return table


class OwnFunctions(NamedTuple):
    """Functions of the user's as the core runs them.

    Attributes
    ----------
    parts : tuple
        (stage or -1, rows, forward, backward or None, captured arrays) of each.
    whole : bool
        Whether they look at all rows of a batch together.
    scalar : bool
        Whether the loss is one number for a batch.
    """

    parts: tuple[Spec, ...] = ()
    whole: bool = False
    scalar: bool = False

    def is_same(self, other: OwnFunctions) -> bool:
        """Whether both have the same programs and read the same arrays."""
        mine, its = ([one for part in own.parts for one in _flat(part)] for own in (self, other))
        return (
            len(mine) == len(its)
            and all(a is b for a, b in zip(mine, its, strict=True))
            and self[1:] == other[1:]
        )


def _flat(part: Spec) -> Iterator[Any]:
    """Yield the numbers, programs and arrays of a part."""
    *programs, arrays = part
    yield from programs
    yield from arrays


NO_FUNCTIONS = OwnFunctions()


def functions_of(model: Model, y: Array | None, batches: Sequence[int], training: bool) -> Any:
    """Return the user's functions for batches of these sizes; y None: without the loss."""
    if not model._functions() and (y is None or model._fused_loss()[0] is not None):
        return NO_FUNCTIONS
    from gdcore._own_functions import own_functions

    return own_functions(model, y, batches, training)


def check_scalar(own: OwnFunctions, data: Data) -> None:
    """Refuse weights of rows where the loss is one number for all of them."""
    if own.scalar and data.weights is not None:
        raise ValueError(
            "sample_weight or class_weight is given, but the loss returns one number for a batch,"
            " which weights of rows cannot enter; let it return one loss a row, shape (rows,)"
        )


def given(
    model: Model, params: list[Array], data: Data, objective: Spec | None, own: OwnFunctions
) -> Spec:
    """Return what each call of a network is given, see ``gd_given_read`` in C."""
    check_scalar(own, data)
    return (
        params,
        model._buffers,
        data.X,
        data.y,
        data.weights,
        data.chosen,
        objective,
        own.parts,
        own.whole,
    )
