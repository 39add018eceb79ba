"""A stack of layers: how they are named and planned, built, and where their parameters are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Never

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gdcore._build import Penalty, Plan, Stage, Store, seeded
from gdcore._elsewhere import MODEL, attribute_of
from gdcore._initializer import as_count, as_real
from gdcore._keywords import named_arguments, refuse_unknown
from gdcore._layer import Layer, as_weights
from gdcore.layers import Input, check_layer, check_layers

Array = NDArray[Any]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
# Arguments of Keras's constructor, and where the same thing is said here.
_ELSEWHERE = {
    "input_shape": "put gd.Input(n) before the first layer",
    "name": "a variable of yours names a model",
    "seed": "the seed is fit's, model.fit(X, y, seed=0), or clone's, model.clone(seed=0)",
}
_BUILD = {"input_shape": "here it is input_width, the number of columns of X: model.build(3)"}


class Stack:
    """Layers one after another, and the memory of their parameters."""

    def __init__(
        self,
        layers: Sequence[Layer] | None = None,
        dtype: DTypeLike | None = None,
        **unknown: Never,
    ) -> None:
        refuse_unknown("Sequential", unknown, "layers, dtype", _ELSEWHERE)
        self._store = Store(None if dtype is None else as_real(dtype), None)
        self._input: Input | None = None
        self._layers: list[Layer] = []
        self._cache: dict[str, Any] = {}  # what is made anew at need: no copy or file has it
        given = [] if layers is None else check_layers("Sequential", layers)
        if given and isinstance(given[0], Input):
            self._input = given.pop(0)  # type: ignore[assignment]
        self._join(given)

    if not TYPE_CHECKING:  # which would take any attribute for one that there is

        def __getattr__(self, name: str) -> Any:
            return attribute_of(self, name, MODEL)

    # ---- Layers ----------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers in order, without `Input` [Keras]; the list is a new one."""
        return list(self._layers)

    def add(self, layer: Layer) -> None:
        """Put a layer behind the others, before the model is built.

        Parameters
        ----------
        layer : Layer
            Of no other model; `Input` only as the first.

        Raises
        ------
        TypeError, ValueError
            Where it is none, is in a model, or does not fit; the model is as before.

        Examples
        --------
        >>> model = gd.Sequential()
        >>> model.add(gd.Input(3))
        >>> model.add(gd.Dense(1))
        >>> [layer.name for layer in model.layers]
        ['dense']
        """
        self._refuse_built("add")
        check_layer("add: layer", layer)
        if not isinstance(layer, Input):
            self._join([layer])
        elif self._input is not None or self._layers:
            raise ValueError("add: layer is Input; it is the first of a model")
        else:
            self._input = layer

    def pop(self) -> Layer:
        """Take the last layer away, before the model is built, and return it; it is free again.

        Raises
        ------
        ValueError
            Where there is none, or the model is built.
        """
        self._refuse_built("pop")
        if not self._layers:
            raise ValueError("pop: the model has no layers")
        layer = self._layers.pop()
        for part in layer._parts():
            part._leave()
        self._layers_changed()
        return layer

    def _refuse_built(self, what: str) -> None:
        if self.built:
            raise ValueError(
                f"{what}: the model is built, and its parameters keep their memory; make a new"
                " model of new layers, or add them all before weights are read or fit is called"
            )

    def _parts(self) -> Iterator[Layer]:
        """Yield every layer, those of a `Residual` after it."""
        for layer in self._layers:
            yield from layer._parts()

    def _join(self, layers: Sequence[Layer]) -> None:
        """Make layers part of the model, all or none."""
        parts = [part for layer in layers for part in layer._parts()]
        for number, part in enumerate(parts):
            if part._store is not None or any(part is other for other in parts[:number]):
                raise ValueError(
                    f"{part!r:.80} is in a model already; a layer is given once to one model: make"
                    " another with the same settings, or use model.clone()"
                )
        names = self._names_for(parts)
        for part, name in zip(parts, names, strict=True):
            part._join(self._store, name)
        self._layers += layers
        try:
            self._layers_changed()
        except BaseException:
            del self._layers[len(self._layers) - len(layers) :]
            for part in parts:
                part._leave()
            self._layers_changed()
            raise

    def _names_for(self, parts: Sequence[Layer]) -> list[str]:
        """Return a name for each: its own, else "dense", "dense_1", ... as they are free."""
        taken = {part.name for part in self._parts()}
        for part in parts:
            if part.name is not None:
                if part.name in taken:
                    raise ValueError(f"two layers have the name {part.name!r}; names differ")
                taken.add(part.name)
        names = []
        for part in parts:
            name, number = part.name or part._stem, 0
            while part.name is None and name in taken:
                number += 1
                name = f"{part._stem}_{number}"
            taken.add(name)
            names.append(name)
        return names

    def _layers_changed(self) -> None:
        """Plan anew what the layers come to, where the width of X is known."""
        self._cache.clear()
        width = None if self._input is None else self._input.width
        self._store.plan = None if width is None else self._planned(width)

    def _planned(self, width: int) -> Plan:
        """Return what the layers come to for rows of this width."""
        plan = Plan(width)
        for layer in self._layers:
            layer._extend(plan)
        return plan

    # ---- Building --------------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether the parameters have their memory."""
        return self._store.flat is not None

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The model's float type; None while neither ``dtype=`` nor data have said it."""
        return self._store.dtype

    @property
    def _width(self) -> int | None:
        """Columns of X; None while they are not known."""
        return None if self._store.plan is None else self._store.plan.inputs

    def _plan_for(self, width: int) -> Plan:
        """Return the plan for X of this width, without building; refuse what does not fit.

        Raises
        ------
        ValueError
            Where the model takes another width, has no layers, or its loss does not fit.
        """
        plan: Plan | None = self._store.plan or self._cache.get("plan")
        if plan is None or plan.inputs != width:
            if self._store.plan is not None:
                raise ValueError(
                    f"the input width is {width} but the model takes rows of {self._width}"
                )
            plan = self._cache["plan"] = self._planned(width)
        if not self._layers:
            raise ValueError("the model has no layers; model.add(gd.Dense(1)) puts one in")
        self._check_width(plan.width)
        return plan

    def _check_width(self, outputs: int) -> None:
        """Refuse a width of the outputs; a model's loss may."""

    @named_arguments(_BUILD)
    def build(self, input_width: int, dtype: DTypeLike | None = None) -> None:
        """Make the arrays of the parameters, for X of so many columns.

        fit, predict and the reading of weights do it by themselves, the latter where the model
        begins with `Input`. Values are drawn later, at first need.

        Parameters
        ----------
        input_width : int
            Columns of X.
        dtype : float32 or float64, optional
            By default the model's own, else float64.

        Raises
        ------
        TypeError, ValueError
            Where the width or the type is another than the model's, or the layers do not fit.

        Examples
        --------
        >>> model = gd.Sequential([gd.Dense(2)])
        >>> model.build(3)
        >>> model.layers[0].W.shape
        (3, 2)
        """
        plan = self._plan_for(_as_width(input_width))
        own = self._store.dtype
        wanted = (own or _FLOATS[1]) if dtype is None else as_real(dtype)
        if own is not None and wanted != own:
            raise ValueError(f"dtype is {wanted} but the model's is {own}; make another model")
        if not self.built:
            self._store.plan = plan
            self._store.build(wanted)
            self._cache.clear()

    def _build_for(self, X: Array) -> None:
        """Build the model for X, if it is not: its width, and its type where none was given."""
        if not self.built:
            real = X.dtype if X.dtype in _FLOATS else _FLOATS[1]
            self.build(X.shape[1], self._store.dtype or real)

    def _begin(self, seed: object = None) -> None:
        """Begin a fit: take the seed's generator, and draw weights that were never needed."""
        generator = seeded(seed)
        self._known_plan()
        if generator is not None:
            self._store.generator = generator
        self._store.ready()

    @property
    def _generator(self) -> np.random.Generator:
        """What weights and fits are drawn from."""
        return self._store.generator

    @_generator.setter
    def _generator(self, generator: np.random.Generator) -> None:
        self._store.generator = generator

    def _known_plan(self) -> Plan:
        """Return the plan; refuse a model that does not know the width of X."""
        if self._store.plan is None:
            raise ValueError(
                "the model is not built and does not know the width of X; put gd.Input(n) before"
                " the first layer, call model.build(n), or fit it"
            )
        if not self._layers:
            raise ValueError("the model has no layers; model.add(gd.Dense(1)) puts one in")
        return self._store.plan

    # ---- Parameters ------------------------------------------------------------------------------

    @property
    def params(self) -> list[Array]:
        """The parameters, live: ``[W1, b1, ...]``, C-contiguous, in one piece of memory.

        The list is a new one. Weights are drawn now if they were never needed.
        """
        self._known_plan()
        return list(self._store.ready())

    @property
    def _flat(self) -> Array:
        """All parameters, one behind the other; it begins on a cache line."""
        self._known_plan()
        self._store.ready()
        assert self._store.flat is not None
        return self._store.flat

    @property
    def _buffers(self) -> list[Array]:
        """Arrays that are not trained, live: moving means and variances in turn."""
        return self._store.buffers

    @property
    def _param_names(self) -> list[str]:
        """Names of the parameters, such as "dense_1.W"."""
        return [slot.name for slot in self._known_plan().slots]

    def _weights(self) -> list[tuple[str, Array]]:
        """Return name and live array of all weights, in the order of `get_weights`."""
        arrays, buffers = self._store.arrays, self._store.buffers
        return [
            (f"{part.name}.{key}", (buffers if key.startswith("moving") else arrays)[position])
            for part in self._parts()
            for key, position in part._at.items()
        ]

    def _weight_shapes(self, plan: Plan) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all weights by name, in the order of `get_weights`, from a plan."""
        return {
            f"{part.name}.{key}": (plan.moving[at][1],)
            if key.startswith("moving")
            else plan.slots[at].shape
            for part in self._parts()
            for key, at in part._at.items()
        }

    def get_weights(self) -> list[Array]:
        """Return copies of all weights, layer by layer: W, b; gamma, beta, moving mean, variance.

        That is `params`, with the moving statistics of each batch normalisation behind its own
        [Keras].
        """
        self._known_plan()
        self._store.ready()
        return [array.copy() for _, array in self._weights()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Write weights into the model's arrays, see `gdcore._model.Model.set_weights`."""
        if not isinstance(weights, list | tuple):
            raise TypeError(
                f"weights is {type(weights).__name__}; a list of arrays is accepted, as"
                " get_weights() returns it"
            )
        plan = self._plan_of(weights)
        real = self._store.dtype or _FLOATS[1]
        live = self._weights() if self.built else self._weights_to_be(plan, real)
        if len(weights) != len(live):
            raise ValueError(
                f"weights holds {len(weights)} arrays but the model has {len(live)}:"
                f" {', '.join(f'{name} {array.shape}' for name, array in live)}"
            )
        written = () if self._store.flat is None else (self._store.flat, *self._store.buffers)
        arrays = [
            as_weights(f"weights[{i}] ({name})", value, array, *written)
            for i, (value, (name, array)) in enumerate(zip(weights, live, strict=True))
        ]
        self.build(plan.inputs, real)
        for (_, array), values in zip(self._weights(), arrays, strict=True):
            array[...] = values
        self._store.drawn = True

    def _plan_of(self, weights: Sequence[Any]) -> Plan:
        """Return the model's plan; where it does not know its width, the first weights say it."""
        if self._store.plan is not None or not weights:
            return self._known_plan()
        first = weights[0]
        if not isinstance(first, list | tuple) and not np.ndim(first):
            return self._known_plan()
        return self._plan_for(len(first)) if len(first) else self._known_plan()

    def _weights_to_be(self, plan: Plan, real: np.dtype[Any]) -> list[tuple[str, Array]]:
        """Return name and shape of all weights, as arrays without memory."""
        shapes = self._weight_shapes(plan)
        return [(name, np.broadcast_to(real.type(0), shape)) for name, shape in shapes.items()]

    # ---- What the core runs ----------------------------------------------------------------------

    def _stages(self) -> list[Stage]:
        """Return the stages in order: (kind, inputs, outputs, params, spec, numbers)."""
        return self._known_plan().stages

    def _stage_names(self) -> list[str]:
        """Return the name of the layer that each stage is from."""
        return self._known_plan().names

    def _functions(self) -> list[Callable[..., Any]]:
        """Return the user's own activations, by the number in their stages."""
        return self._known_plan().functions

    def _penalties(self) -> list[Penalty]:
        """Return (position in params, l1, l2) of each regularized parameter."""
        return self._known_plan().penalties


def _as_width(value: Any) -> int:
    """Return the number of columns that `build` is given."""
    if isinstance(value, tuple | list) and len(value) == 1:
        value = value[0]
    last = value[-1] if isinstance(value, tuple | list) and value else 3
    meaning = f", the number of columns of X: model.build({last})"
    return as_count(value, "build: input_width", 1, meaning)
