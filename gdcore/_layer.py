"""Base of the layers: settings, the arrays that are the model's, and their place in it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, Signature, signature
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from gdcore import activations, initializers
from gdcore._build import Plan, Store
from gdcore._elsewhere import LAYER, attribute_of
from gdcore._keywords import refuse_unknown
from gdcore._names import did_you_mean
from gdcore._settings import finite_number

T = TypeVar("T")
Array = NDArray[Any]
Function = Callable[..., Any]

_INPUT = "put gd.Input(n) before the first layer, or leave it out: the width comes with X"
# Keras's and torch's arguments, and where the same thing is said here.
_ELSEWHERE = {
    "axis": "rows are normalised along their only axis",
    "batch_input_shape": _INPUT,
    "bias": "here it is use_bias",
    "constraint": "here it is kernel_constraint",
    "dtype": "the float type is the model's: gd.Sequential(layers, dtype=...)",
    "eps": "here it is epsilon",
    "in_features": _INPUT,
    "input_dim": _INPUT,
    "input_shape": _INPUT,
    "out_features": "here it is units",
    "p": "here it is rate",
    "regularizer": "here it is kernel_regularizer",
    "seed": "the seed is fit's: model.fit(X, y, seed=...)",
    "shape": "here it is width: gd.Input(20)",
    "trainable": "an optimizer's groups freeze it: groups=[{'params': positions, 'frozen': True}]",
}
# Attributes that are set elsewhere, and where the same thing is done here.
_SET = {
    "kernel": "here it is W",
    "weights": "here they are W and b, or model.set_weights(list)",
    "bias": "here it is b",
    "learning_rate": "here it is lr_scale of Dense, a factor of the optimizer's rate",
    "trainable": "only Dense has it; for others an optimizer's groups freeze parameters:"
    " groups=[{'params': positions, 'frozen': True}]",
}


@functools.cache
def activation_named(name: str) -> activations.Activation:
    """Return the activation of a name, made once."""
    return activations.get(name)


@functools.cache
def initializer_named(name: str) -> Function:
    """Return the initializer of a name, made once."""
    return initializers.get(name)


def as_activation(value: Any) -> activations.Activation | Function:
    """Return an activation of gdcore's where the value means one, else the user's function."""
    if value is None or value is np.tanh:
        return activation_named("linear" if value is None else "tanh")
    if isinstance(value, str):
        return activation_named(value)
    try:
        return activations.get(value)
    except TypeError as error:
        if callable(value) and not isinstance(value, type):
            return value  # type: ignore[no-any-return]
        raise TypeError(f"{error}, or a function f(z) in NumPy") from None


def as_initializer(value: Any) -> Function:
    """Return an initializer from its name, its class, or itself."""
    return initializer_named(value) if isinstance(value, str) else initializers.get(value)


def as_weights(what: str, value: Any, live: Array, *written: Array) -> Array:
    """Return what is to be written over an array, of its shape and type; an error names `what`.

    It shares no memory with the array, nor with others that are `written`.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{what} cannot be read as an array of numbers: {error}") from None
    if array.dtype.kind not in "biu" and array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{what} is {array.dtype}; float32, float64 and integers are accepted")
    if array.shape != live.shape:
        raise ValueError(f"{what} has shape {array.shape}; {live.shape} is wanted")
    if array.dtype != live.dtype:
        with np.errstate(all="ignore"):
            return array.astype(live.dtype)
    shared = any(np.may_share_memory(array, other) for other in (live, *written))
    return array.copy() if shared else array


class Setting(Generic[T]):
    """An attribute of a layer that is one of its settings; fixed, unless it is said to be live."""

    def __init__(self, live: bool = False) -> None:
        self.live = live

    def __set_name__(self, owner: type[Layer], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, layer: None, kind: type[Layer]) -> Self: ...
    @overload
    def __get__(self, layer: Layer, kind: type[Layer]) -> T: ...
    def __get__(self, layer: Layer | None, kind: type[Layer]) -> Any:
        return self if layer is None else layer._settings[self.name]

    def __set__(self, layer: Layer, value: T) -> None:
        if not self.live:
            raise AttributeError(
                f"{layer._title()}: {self.name} is fixed; make a new layer, and a new model with it"
            )
        clean = layer._clean(self.name, value)
        layer._settings = {**layer._settings, self.name: clean}  # clones share the dicts
        layer._given = {**layer._given, self.name: clean}


class Weights:
    """An attribute of a layer that is one of its arrays: live, and written into when assigned."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type[Layer], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, layer: None, kind: type[Layer]) -> Self: ...
    @overload
    def __get__(self, layer: Layer, kind: type[Layer]) -> Array: ...
    def __get__(self, layer: Layer | None, kind: type[Layer]) -> Any:
        return self if layer is None else layer._array(self.name)

    def __set__(self, layer: Layer, value: Any) -> None:
        live = layer._array(self.name)
        if live is None:
            raise AttributeError(f"{layer._title()} has no {self.name}: it has use_bias=False")
        live[...] = as_weights(f"{layer._title()}: {self.name}", value, live)


class Layer:
    """Base of all layers.

    Attributes
    ----------
    name : str or None
        As given, or by the model: "dense", "dense_1", ...; None in no model.
    inputs, outputs : int or None
        Width of the rows that come in and go out; None until the model knows it.
    """

    __signature__: ClassVar[Signature]
    _accepted: ClassVar[Mapping[str, Parameter]] = {}
    _stem: ClassVar[str] = "layer"  # of the names that a model gives

    _store: Store | None
    _name: str | None
    _widths: tuple[int, int]
    _at: Mapping[str, int]  # positions of its arrays among the model's, by attribute
    _given: Mapping[str, Any]  # the constructor's arguments, and what became of them
    _settings: Mapping[str, Any]

    def __init_subclass__(cls) -> None:
        own = [*signature(cls.__init__).parameters.values()][1:]
        shown = [p for p in own if p.kind is not p.VAR_KEYWORD]
        cls.__signature__ = Signature(shown)
        cls._accepted = {p.name: p for p in shown}

    def __new__(cls, *args: Any, **given: Any) -> Self:
        """Refuse keywords that do not exist before Python misses ours, which they stand for."""
        unknown = [name for name in given if name not in cls._accepted]
        refuse_unknown(cls.__name__, unknown, ", ".join(cls._accepted), _ELSEWHERE)
        return super().__new__(cls)

    def _take(self, given: Mapping[str, Any]) -> None:
        """Take the constructor's arguments."""
        self._given = {name: given[name] for name in self._accepted}
        self._settings = {name: self._clean(name, value) for name, value in self._given.items()}
        self._leave()

    def _clean(self, name: str, value: Any) -> Any:
        """Return a setting in its one form, or raise."""
        if name == "name" and value is not None and not (isinstance(value, str) and value):
            raise TypeError(self._message(name, value, "a word, or None for one by the model"))
        return value

    def _message(self, name: str, value: object, accepted: str) -> str:
        return f"{type(self).__name__}: {name} is {value!r:.80}; accepted is {accepted}"

    def _count(self, name: str, value: Any, way_out: str = "") -> int:
        """Return a number of units as a Python int."""
        message = self._message(name, value, f"an integer >= 1{way_out}")
        if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
            raise TypeError(message)
        if value < 1:
            raise ValueError(message)
        return int(value)

    def _flag(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise TypeError(self._message(name, value, "True or False"))
        return bool(value)

    def _real(self, name: str, value: Any, holds: Callable[[float], bool], text: str) -> float:
        return finite_number(value, holds, self._message(name, value, text))

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            known = [*self._accepted, *(n for n in ("W", "b") if hasattr(type(self), n))]
            hint = f"; {_SET[name]}" if name in _SET else did_you_mean(name, known)
            raise AttributeError(f"{self._title()} has no {name} to set{hint}")
        object.__setattr__(self, name, value)

    if not TYPE_CHECKING:  # which would take any attribute for one that there is

        def __getattr__(self, name: str) -> Any:
            return attribute_of(self, name, LAYER)

    # ---- In a model ------------------------------------------------------------------------------

    @property
    def name(self) -> str | None:
        """The layer's name in its model."""
        own: str | None = self._settings.get("name")
        return self._name or own

    @property
    def inputs(self) -> int | None:
        """Width of the rows that come in."""
        return self._widths[0] if self._is_planned() else None

    @property
    def outputs(self) -> int | None:
        """Width of the rows that go out."""
        return self._widths[1] if self._is_planned() else None

    def _is_planned(self) -> bool:
        return self._store is not None and self._store.plan is not None

    def _title(self) -> str:
        """Return what errors call the layer."""
        return f"layer {self._name!r}" if self._name else type(self).__name__

    def _parts(self) -> Iterator[Layer]:
        """Yield the layer, and after it those that it is made of."""
        yield self

    def _join(self, store: Store, name: str) -> None:
        """Become a part of the model that has this store."""
        self._store, self._name = store, name

    def _leave(self) -> None:
        """Become part of no model."""
        self._store = self._name = None
        self._widths, self._at = (0, 0), {}

    def _extend(self, plan: Plan) -> None:
        """Add what the layer comes to, for rows as wide as the plan is."""
        raise NotImplementedError

    def _parameter_count(self) -> int:
        """Return how many of the model's parameters are the layer's own."""
        return 0

    def _array(self, name: str) -> Any:
        """Return one of the layer's arrays, live; made and drawn now if not yet.

        As in Keras what is not there yet is an AttributeError: ``hasattr`` is False.
        """
        store = self._store
        if store is None:
            raise AttributeError(
                f"{self._title()}: {name} does not exist yet, for the layer is in no model;"
                " gd.Sequential([...]) makes one"
            )
        if store.plan is None:
            raise AttributeError(
                f"{self._title()}: {name} does not exist yet, for the model is not built and does"
                f" not know the width of X; {_INPUT}, or call model.build(n)"
            )
        arrays = store.ready()
        return (store.buffers if name.startswith("moving") else arrays)[self._at[name]]

    def _copy(self, store: Store) -> Self:
        """Return the layer of a clone that has this store."""
        other = object.__new__(type(self))
        other._given, other._settings = self._given, self._settings
        other._store, other._name = store, self._name
        other._widths, other._at = self._widths, self._at
        return other

    def _shown(self) -> str:
        """Return the layer's kind, and what stands beside it in a summary."""
        return type(self).__name__

    def __repr__(self) -> str:
        parts = []
        for name, value in self._given.items():
            default = self._accepted[name].default
            if default is Parameter.empty:
                parts.append(f"{value!r}")
            elif type(value) is not type(default) or value != default:
                parts.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


def beside(activation: Any) -> str:
    """Return an activation as a summary shows it after the kind of its layer."""
    if not isinstance(activation, activations.Activation):
        return f", {getattr(activation, '__name__', type(activation).__name__)}"
    return "" if activation.name == "linear" else f", {activation.name}"
