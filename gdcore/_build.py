"""What layers come to: the stages that the core runs, and the memory of their parameters.

A `Plan` is made from the layers and the width of the inputs. A `Store` holds the arrays of one
model; its layers reach theirs through it. Neither knows layers or model, so that no model is part
of a cycle and its memory is freed with its last name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gdcore import activations
from gdcore._initializer import as_generator
from gdcore.initializers import ones, zeros

Stage = tuple[str, int, int, tuple[int, ...], tuple[Any, ...], tuple[Any, ...]]
Function = Callable[..., Any]

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


class Slot(NamedTuple):
    """One parameter: its name ("dense.W"), shape, and what draws its first values."""

    name: str
    shape: tuple[int, ...]
    initializer: Function


class Penalty(NamedTuple):
    """A part of the loss: l1 sum|p| + l2 sum p^2 of the parameter at a position."""

    position: int
    l1: float
    l2: float


class Plan:
    """Stages, parameters and buffers of layers whose input width is known.

    Attributes
    ----------
    inputs, width : int
        Columns of X, and of what the layers so far give.
    stages : list of tuple
        (kind, inputs, outputs, params, spec, numbers), in the order of the forward pass.
    names : list of str
        Name of the layer that each stage is from.
    slots : list of Slot
        The parameters, in the order of ``model.params``.
    moving : list of (str, int, float)
        Name, length and first value of each buffer.
    functions : list of callable
        The user's own activations, by the number that their stages have.
    penalties : list of Penalty
    """

    def __init__(self, inputs: int) -> None:
        self.inputs = self.width = inputs
        self.stages: list[Stage] = []
        self.names: list[str] = []
        self.slots: list[Slot] = []
        self.moving: list[tuple[str, int, float]] = []
        self.functions: list[Function] = []
        self.penalties: list[Penalty] = []

    def add_parameter(
        self, name: str, shape: tuple[int, ...], initializer: Function, penalty: Any = None
    ) -> int:
        """Take a parameter and return its position."""
        position = len(self.slots)
        self.slots.append(Slot(name, shape, initializer))
        if penalty is not None:
            self.penalties.append(Penalty(position, *penalty._strengths()))
        return position

    def add_buffer(self, name: str, value: float) -> int:
        """Take an array as wide as the rows are here, which is not trained; return its position."""
        self.moving.append((name, self.width, value))
        return len(self.moving) - 1

    def add_stage(
        self,
        layer: str,
        kind: str,
        params: tuple[int, ...] = (),
        spec: tuple[Any, ...] = (),
        numbers: tuple[Any, ...] = (),
        outputs: int | None = None,
    ) -> int:
        """Take a stage, as wide as its inputs if nothing else is said; return its index."""
        outputs = self.width if outputs is None else outputs
        self.stages.append((kind, self.width, outputs, params, spec, numbers))
        self.names.append(layer)
        self.width = outputs
        return len(self.stages) - 1

    def add_activation(self, layer: str, activation: Any) -> None:
        """Take the stage of an activation; linear has none."""
        if not isinstance(activation, activations.Activation):
            self.add_stage(layer, "function", numbers=(len(self.functions),))
            self.functions.append(activation)
        elif activation.name != "linear":
            self.add_stage(layer, "activation", spec=activation._spec)

    @property
    def size(self) -> int:
        """Number of parameters, element by element."""
        return sum(size_of(slot.shape) for slot in self.slots)


def size_of(shape: tuple[int, ...]) -> int:
    """Return the number of elements of a shape of one or two axes."""
    return shape[0] * shape[1] if len(shape) == 2 else shape[0]


def aligned(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array of one axis that begins on a cache line, of any contents."""
    raw = np.empty(size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype)


class Store:
    """The arrays of one model, made when it is built and drawn at first need.

    Attributes
    ----------
    plan : Plan or None
        None while the width of the inputs is not known.
    dtype : dtype or None
        The model's float type; None while neither the user nor data have said it.
    flat : ndarray or None
        All parameters, one behind the other; None until the model is built.
    arrays : list of ndarray
        The parameters: views of `flat`.
    buffers : list of ndarray
        What is not trained: moving means and variances.
    drawn : bool
        Whether the parameters hold values.
    """

    __slots__ = ("_generator", "arrays", "buffers", "drawn", "dtype", "flat", "plan")

    def __init__(self, dtype: np.dtype[Any] | None, generator: np.random.Generator | None) -> None:
        self.plan: Plan | None = None
        self.dtype = dtype
        self.flat: NDArray[Any] | None = None
        self.arrays: list[NDArray[Any]] = []
        self.buffers: list[NDArray[Any]] = []
        self.drawn = False
        self._generator = generator

    @property
    def generator(self) -> np.random.Generator:
        """What weights and fits are drawn from; made at first need, which takes 20 us."""
        if self._generator is None:
            self._generator = np.random.default_rng()
        return self._generator

    @generator.setter
    def generator(self, value: np.random.Generator) -> None:
        self._generator = value

    def build(self, dtype: np.dtype[Any]) -> None:
        """Make the arrays; parameters hold no values yet, buffers their first ones."""
        assert self.plan is not None
        self.dtype = dtype
        self._take(aligned(self.plan.size, dtype))
        self.buffers = [np.full(width, value, dtype) for _, width, value in self.plan.moving]

    def _take(self, flat: NDArray[Any]) -> None:
        """Take the memory of all parameters."""
        assert self.plan is not None
        self.flat, self.arrays, start = flat, [], 0
        for slot in self.plan.slots:
            stop = start + size_of(slot.shape)
            self.arrays.append(flat[start:stop].reshape(slot.shape))
            start = stop

    def ready(self) -> list[NDArray[Any]]:
        """Return the parameters with their values: built as float64, and drawn, if not yet."""
        if self.flat is None:
            self.build(np.dtype(np.float64) if self.dtype is None else self.dtype)
        if not self.drawn:
            self._draw()
        return self.arrays

    def _draw(self) -> None:
        assert self.plan is not None
        for array, slot in zip(self.arrays, self.plan.slots, strict=True):
            kind = type(slot.initializer)
            if kind is zeros or kind is ones:  # most arrays of a model: 5 us a call
                array.fill(0.0 if kind is zeros else 1.0)
            else:
                array[...] = _drawn(slot, self.generator, array.dtype)
        self.drawn = True

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the views: they are made again over the one array."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "arrays"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self.arrays = []
        if self.flat is not None:
            flat = aligned(self.flat.size, self.flat.dtype)
            flat[...] = self.flat
            self._take(flat)


def _drawn(slot: Slot, generator: np.random.Generator, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return first values of a parameter, from an initializer or a callable of the user's."""
    values = np.asarray(slot.initializer(slot.shape, generator, dtype))
    if values.shape != slot.shape:
        raise ValueError(
            f"{slot.name}: its initializer {slot.initializer!r:.80} returned shape {values.shape};"
            f" {slot.shape} was asked for by init(shape, rng, dtype)"
        )
    if values.dtype.kind not in "biu" and values.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"{slot.name}: its initializer {slot.initializer!r:.80} returned {values.dtype};"
            " float32 or float64 is accepted"
        )
    return values


def seeded(seed: object) -> np.random.Generator | None:
    """Return the generator of a seed (an int or a generator), None for None."""
    return None if seed is None else as_generator(seed, "seed")
