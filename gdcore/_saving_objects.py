"""Values as JSON: numbers bit by bit, arrays by reference, gdcore's objects as constructor calls.

What is no plain value is an object with one key, which says how it is read: "int" (beyond 2^53),
"float" (NaN and infinities), "tuple", "dict", "items" (a dict whose keys are no texts), "array" and
"scalar" (see `gdcore._saving_file.Arrays`), "call" (a class of gdcore's and its arguments), "own"
(a class of the user's and its arguments), "function" (of the user's).

A file can name classes of gdcore's public modules alone; nothing is imported or evaluated. What is
the user's is kept by name, and looked up in ``custom_objects``.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from gdcore._layer import Layer
from gdcore._optimizer import Optimizer
from gdcore._saving_file import Array, Arrays, Problem, damaged
from gdcore._scaled import Scaled, ScaledFunction
from gdcore._settings import Settings
from gdcore.activations import Activation
from gdcore.losses import Loss

_EXACT = 1 << 53  # integers that every reader of JSON keeps
_BASES = (Settings, Layer, Optimizer, Loss, Activation)
_PUBLIC = (
    "activations",
    "constraints",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "regularizers",
    "schedules",
)
# Made by compile for layers with lr_scale: no names of a public module.
_SCALED: dict[str, type] = {"schedules.Scaled": Scaled, "schedules.ScaledFunction": ScaledFunction}
# Bases whose classes are looked for in one module alone.
_HOMES: dict[str, str] = {
    "gdcore._initializer.Initializer": "initializers",
    "gdcore._layer.Layer": "layers",
    "gdcore._metric.Metric": "metrics",
    "gdcore._optimizer.Optimizer": "optimizers",
    "gdcore.activations.Activation": "activations",
    "gdcore.constraints.Constraint": "constraints",
    "gdcore.losses.Loss": "losses",
    "gdcore.regularizers.Regularizer": "regularizers",
    "gdcore.schedules._base.Schedule": "schedules",
    "gdcore.schedules._told.Told": "schedules",
}


# ---- Classes and their settings ------------------------------------------------------------------


def name_of(kind: type) -> str | None:
    """Return the name by which a file knows a class, None for those that are not gdcore's."""
    for name, scaled in _SCALED.items():
        if kind is scaled:
            return name
    for base in kind.__mro__:
        home = _HOMES.get(f"{base.__module__}.{base.__qualname__}")
        if home is not None:
            name = f"{home}.{kind.__name__}"
            return name if _class_of(name) is kind else None
    return None


def _class_of(name: object) -> type | None:
    """Return the class of a name, None where gdcore has none of it."""
    if not isinstance(name, str):
        return None
    if name in _SCALED:
        return _SCALED[name]
    home, _, own = name.partition(".")
    if home not in _PUBLIC:
        return None
    module = importlib.import_module(f"gdcore.{home}")
    found = getattr(module, own) if own in module.__all__ else None
    if not isinstance(found, type) or not issubclass(found, _BASES):
        return None
    return None if inspect.isabstract(found) or found in (Layer, Optimizer) else found


def settings_of(value: Any) -> dict[str, Any]:
    """Return the arguments of the constructor call that makes the value again."""
    if isinstance(value, Optimizer):
        return value.get_params()
    if isinstance(value, Layer):
        plain = (str, bool, int, float, type(None))
        return {
            name: given if type(given) in plain else value._settings[name]
            for name, given in value._given.items()
        }
    if isinstance(value, Loss):
        own = {"name": value.name, "reduction": value.reduction, "from_logits": value.from_logits}
        return {**own, **value.params}
    if isinstance(value, Activation):
        return {"name": value.name, **value.params}
    return {field.name: getattr(value, field.name) for field in fields(value) if field.init}


# ---- Writing -------------------------------------------------------------------------------------


class Encoder:
    """Values on their way into a file.

    Attributes
    ----------
    arrays : Arrays
    functions : dict
        By name, what a file says of each function and class of the user's: "from", the module that
        had it, and "places", where it stood.
    """

    def __init__(self) -> None:
        self.arrays = Arrays()
        self.functions: dict[str, dict[str, Any]] = {}
        self._objects: dict[str, Any] = {}

    def encode(self, value: Any, *path: str) -> Any:
        """Return a value as JSON; `path` says what it is, from the whole to the part.

        Raises
        ------
        ValueError
            For what cannot be saved, and for two functions of one name.
        """
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if isinstance(value, str):  # NumPy's, which is no array for it
            return str.__str__(value)
        if kind is int:
            return value if abs(value) <= _EXACT else {"int": str(value)}
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if kind is list:
            return self._each(value, path)
        if isinstance(value, tuple):
            return {"tuple": self._each(value, path)}
        if isinstance(value, Mapping):
            return self._mapping(value, path)
        if isinstance(value, np.ndarray | np.generic):
            tag = "array" if isinstance(value, np.ndarray) else "scalar"
            return {tag: self._array(np.asarray(value), path)}
        return self._object(value, path)

    def _each(self, values: Iterable[Any], path: tuple[str, ...]) -> list[Any]:
        *owners, part = path
        return [self.encode(value, *owners, f"{part}[{i}]") for i, value in enumerate(values)]

    def _mapping(self, value: Mapping[Any, Any], path: tuple[str, ...]) -> Any:
        if all(type(key) is str for key in value):
            return {"dict": {key: self.encode(one, *path, key) for key, one in value.items()}}
        return {
            "items": [
                [self.encode(key, *path), self.encode(one, *path, str(key))]
                for key, one in value.items()
            ]
        }

    def _array(self, array: Array, path: tuple[str, ...]) -> list[Any]:
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise ValueError(
                f"{_described(path)} is an array of {array.dtype}, which cannot be saved; numbers"
                " of at most 8 bytes are accepted"
            )
        return self.arrays.add("/".join(re.sub(r"[^\w.[\]-]", "_", part) for part in path), array)

    def _object(self, value: Any, path: tuple[str, ...]) -> Any:
        name = name_of(type(value))
        if name is not None:
            return {"call": [name, self._settings(value, path)]}
        if isinstance(value, Settings | Layer | Optimizer):
            return {"own": [self._note(type(value), path), self._settings(value, path)]}
        if callable(value):
            return {"function": self._note(value, path)}
        raise ValueError(
            f"{_described(path)} is {value!r:.80}, which cannot be saved; numbers, texts, lists,"
            " dicts, arrays, functions and gdcore's own objects are accepted"
        )

    def _settings(self, value: Any, path: tuple[str, ...]) -> dict[str, Any]:
        if isinstance(value, Layer):
            path = (f"layer {value.name}",)
        return {name: self.encode(one, *path, name) for name, one in settings_of(value).items()}

    def _note(self, value: Any, path: tuple[str, ...]) -> str:
        """Note a function or class of the user's, and return its name."""
        name = getattr(value, "__name__", None)
        if not isinstance(name, str):
            name = type(value).__name__
        place = _described(path, repr(name))
        known = self._objects.setdefault(name, value)
        if known is not value and not _is_equal(known, value):
            first = self.functions[name]["places"][0]
            raise ValueError(
                f"{first} and {place} are two functions of one name, by which a file keeps them;"
                " give one another name"
            )
        module = getattr(value, "__module__", None) or type(value).__module__
        whole = f"{module}.{getattr(value, '__qualname__', name)}"
        places = self.functions.setdefault(name, {"from": whole, "places": []})["places"]
        if place not in places:
            places.append(place)
        return name


def _is_equal(one: Any, other: Any) -> bool:
    """Whether two callables of one class say that they are equal, as copies may."""
    return type(one) is type(other) and not inspect.isfunction(one) and bool(one == other)


def _described(path: tuple[str, ...], name: str = "") -> str:
    """Return a path as words: "activation 'swish' of layer dense_1"."""
    *owners, part = path
    return " of ".join([f"{part} {name}" if name else part, *reversed(owners)])


# ---- Reading -------------------------------------------------------------------------------------


class Decoder:
    """Values on their way out of a file.

    Parameters
    ----------
    entries : dict of str to ndarray
    functions : dict
        What `Encoder.functions` was.
    custom_objects : mapping
        The user's functions and classes by name; all that the file needs.
    """

    def __init__(
        self, entries: dict[str, Array], functions: Any, custom_objects: Mapping[str, Any]
    ) -> None:
        self._entries, self._custom = entries, custom_objects
        self._unread = set(entries)
        _check_complete(functions, custom_objects)
        self._readers: dict[str, Callable[[Any], Any]] = {
            "int": self._int,
            "float": self._float,
            "tuple": lambda values: tuple(self.decode(_of(list, values))),
            "dict": lambda pairs: {k: self.decode(v) for k, v in _of(dict, pairs).items()},
            "items": lambda pairs: {self.decode(k): self.decode(v) for k, v in _of(list, pairs)},
            "array": self.array,
            "scalar": lambda reference: self.array(reference)[()],
            "call": self._call,
            "own": self._own,
            "function": self._function,
        }

    def decode(self, value: Any) -> Any:
        """Return the value of a piece of JSON.

        Raises
        ------
        Problem
            Where it is none; other errors are those of the constructors.
        """
        if isinstance(value, list):
            return [self.decode(one) for one in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1:
            raise damaged(f"{value!r:.80} is no value")
        ((tag, content),) = value.items()
        if tag not in self._readers:
            raise damaged(f"{value!r:.80} is no value")
        return self._readers[tag](content)

    def array(self, reference: Any) -> Array:
        """Return a new array of what a reference names."""
        entry, name, first, *shape = _of(list, reference)
        if entry not in self._entries:
            raise damaged(f"its entry {entry!r:.80} is missing")
        whole = self._entries[entry]
        sound = all(type(n) is int and n >= 0 for n in (first, *shape))
        count = math.prod(shape) if sound else 0
        if not sound or name != whole.dtype.name or first + count > whole.size:
            raise damaged(
                f"entry {entry!r} is {whole.dtype} of shape {whole.shape}; {name!r:.20} of shape"
                f" {tuple(shape)!r:.80} is wanted from element {first!r:.20} on"
            )
        self._unread.discard(entry)
        return whole.reshape(-1)[first : first + count].reshape(shape).copy()

    def finish(self) -> None:
        """Refuse entries that nothing has referred to."""
        if self._unread:
            raise damaged(f"nothing refers to its entry {min(self._unread)!r}")

    def _int(self, text: Any) -> int:
        if re.fullmatch(r"-?\d{1,100}", _of(str, text), re.ASCII) is None:
            raise damaged(f"{text!r:.80} is no integer")
        return int(text)

    def _float(self, text: Any) -> float:
        if text not in ("nan", "inf", "-inf"):
            raise damaged(f"{text!r:.80} is no number")
        return float(text)

    def _call(self, content: Any) -> Any:
        name, settings = content
        kind = _class_of(name)
        if kind is None:
            raise damaged(f"it names {name!r:.80}, which this gdcore does not have")
        return kind(**{k: self.decode(v) for k, v in _of(dict, settings).items()})

    def _own(self, content: Any) -> Any:
        name, settings = content
        kind = self._function(name)
        if not isinstance(kind, type) or not issubclass(kind, _BASES):
            raise Problem(
                f"needs a class as custom_objects[{name!r}], derived from one of gdcore's as the"
                f" one that was saved; {kind!r:.80} was given"
            )
        return kind(**{k: self.decode(v) for k, v in _of(dict, settings).items()})

    def _function(self, name: Any) -> Any:
        if name not in self._custom:
            raise damaged(f"it does not list the function {name!r:.80}")
        return self._custom[name]


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise damaged(f"{value!r:.80} stands where a {kind.__name__} is wanted")
    return value


def _check_complete(functions: Any, custom_objects: Mapping[str, Any]) -> None:
    """Refuse `custom_objects` that lack functions of the user's; all of them are named."""
    listed = _of(dict, functions)
    missing = [name for name in listed if name not in custom_objects]
    if not missing:
        return
    places = [
        f"{', '.join(map(str, listed[name]['places']))} ({listed[name]['from']})"
        for name in missing
    ]
    given = ", ".join(f"{name!r}: {name if name.isidentifier() else 'f'}" for name in missing)
    raise Problem(
        f"needs functions of yours, which files keep by name: {'; '.join(places)}. Give"
        f" custom_objects={{{given}}}"
    )
