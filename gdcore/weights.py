"""Weights of other libraries' networks, and weights for them.

- scikit-learn: `to_sklearn` and `from_sklearn`, as ``coefs_`` and ``intercepts_`` of its MLPs.
- torch: `to_torch` and `from_torch`, as the ``state_dict`` of a ``torch.nn.Sequential``.
- Keras: ``model.get_weights()`` and ``model.set_weights(list)`` have Keras's order and shapes.

None of these libraries is needed here: arrays go in and come out. What goes out are the weights
that predict, an optimizer's average where it keeps one. Weights alone are exchanged; that the
activations, and ``epsilon`` of normalisations, are the same is up to whoever makes both networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Never

import numpy as np
from numpy.typing import NDArray

from gdcore import layers
from gdcore._layer import Layer
from gdcore._names import no_attribute

if TYPE_CHECKING:
    from gdcore.models import Sequential

__all__ = ["from_sklearn", "from_torch", "to_sklearn", "to_torch"]

Array = NDArray[Any]

# By torch's names, in its order; BatchNorm1d has the last three too.
_NORM = {"weight": "gamma", "bias": "beta"}
_MOVING = {"running_mean": "moving_mean", "running_var": "moving_variance"}
_COUNT = "num_batches_tracked"


# ---- scikit-learn --------------------------------------------------------------------------------


def to_sklearn(model: Sequential) -> tuple[list[Array], list[Array]]:
    """Return the weights as ``coefs_`` and ``intercepts_`` of scikit-learn's MLPs.

    Parameters
    ----------
    model : Sequential
        Of Dense, Activation and Dropout layers.

    Returns
    -------
    coefs : list of ndarray (inputs, outputs)
        Copies, one for each Dense layer.
    intercepts : list of ndarray (outputs,)
        Zeros for a layer without a bias.

    Raises
    ------
    ValueError
        For a model with other layers, or whose input width is not known.

    Examples
    --------
    >>> model = gd.Sequential([gd.Input(3), gd.Dense(4, "relu"), gd.Dense(1)])
    >>> coefs, intercepts = gd.weights.to_sklearn(model)
    >>> [c.shape for c in coefs], [b.shape for b in intercepts]
    ([(3, 4), (4, 1)], [(4,), (1,)])
    """
    stack, arrays = _dense_layers(model), _arrays_of(model)
    coefs = [arrays[f"{layer.name}.W"] for layer in stack]
    intercepts = [
        arrays[f"{layer.name}.b"] if layer.use_bias else np.zeros(layer.units, model.dtype)
        for layer in stack
    ]
    return coefs, intercepts


def from_sklearn(model: Sequential, coefs: Any, intercepts: Sequence[Any] | None = None) -> None:
    """Write the weights of one of scikit-learn's MLPs into the model.

    Parameters
    ----------
    model : Sequential
        Of Dense, Activation and Dropout layers. If its input width is not known, the weights say
        it.
    coefs : list of array-like, or a fitted MLP
        ``mlp.coefs_``, or ``mlp`` itself.
    intercepts : list of array-like, optional
        ``mlp.intercepts_``; left out with an MLP. A layer without a bias takes zeros alone.

    Raises
    ------
    TypeError, ValueError
        Naming the first array that does not fit; nothing has changed then.

    Examples
    --------
    >>> model = gd.Sequential([gd.Dense(1)])
    >>> gd.weights.from_sklearn(model, [[[2.0], [3.0]]], [[1.0]])
    >>> model.predict([[1.0, 1.0]])
    array([[6.]])
    """
    if hasattr(coefs, "coefs_") and intercepts is None:
        coefs, intercepts = coefs.coefs_, coefs.intercepts_
    stack = _dense_layers(model)
    for name, value in (("coefs", coefs), ("intercepts", intercepts)):
        if not isinstance(value, list | tuple):
            raise TypeError(
                f"{name} is {value!r:.60}; a list of arrays is accepted, that of mlp.{name}_, or a"
                " fitted MLP as coefs"
            )
        if len(value) != len(stack):
            raise ValueError(f"{name} holds {len(value)} arrays for {len(stack)} Dense layers")
    found: dict[str, tuple[str, Array]] = {}
    assert intercepts is not None
    for i, layer in enumerate(stack):
        coef = _array_of(f"coefs[{i}]", coefs[i])
        intercept = _array_of(f"intercepts[{i}]", intercepts[i])
        found[f"{layer.name}.W"] = f"coefs[{i}]", coef
        if layer.use_bias:
            found[f"{layer.name}.b"] = f"intercepts[{i}]", intercept
        elif intercept.any():
            raise ValueError(
                f"intercepts[{i}] is not zero, but layer {layer.name!r} has no bias; one with"
                " use_bias=True takes it"
            )
    _write(model, found)


def _dense_layers(model: Sequential) -> list[layers.Dense]:
    """Return the Dense layers; refuse a model that is no MLP."""
    for layer in model.layers:
        if not isinstance(layer, layers.Dense | layers.Activation | layers.Dropout):
            raise ValueError(
                f"layer {layer.name!r} is {layer!r:.60}; an MLP of scikit-learn has Dense layers"
                " and activations alone (torch has more: gd.weights.to_torch, from_torch)"
            )
    return [layer for layer in model.layers if isinstance(layer, layers.Dense)]


# ---- torch ---------------------------------------------------------------------------------------


class _Module(NamedTuple):
    """A layer that has weights, and where it stands in torch: "0", or "2.1" within a Residual."""

    place: str
    layer: Layer

    def names(self) -> dict[str, str]:
        """Return the layer's own names by torch's."""
        if isinstance(self.layer, layers.Dense):
            return {"weight": "W", "bias": "b"} if self.layer.use_bias else {"weight": "W"}
        if isinstance(self.layer, layers.BatchNormalization):
            return {**_NORM, **_MOVING}
        return _NORM


def to_torch(model: Sequential) -> dict[str, Array]:
    """Return the weights as the ``state_dict`` of a ``torch.nn.Sequential``.

    Each layer is a module there, and each activation of a Dense layer that is not linear is one
    more: ``Dense(8, "relu"), Dropout(0.2), Dense(1)`` is ``Linear, ReLU, Dropout, Linear``, with
    weights "0.weight", "0.bias", "3.weight", "3.bias". A Residual is a Sequential within, whose
    forward adds its input.

    Parameters
    ----------
    model : Sequential

    Returns
    -------
    dict of str to ndarray
        Copies. Weights of Dense are transposed, (outputs, inputs); BatchNorm has "running_mean",
        "running_var" and "num_batches_tracked" too, the last one 0: it is not counted here.
        ``net.load_state_dict({k: torch.from_numpy(v) for k, v in d.items()})`` takes them.

    Raises
    ------
    ValueError
        For a model whose input width is not known.

    Notes
    -----
    ``epsilon`` is 1e-3 here and 1e-5 in torch, ``momentum`` of BatchNorm is 1 minus torch's.

    Examples
    --------
    >>> model = gd.Sequential([gd.Input(3), gd.Dense(4, "relu"), gd.Dense(1)])
    >>> {name: array.shape for name, array in gd.weights.to_torch(model).items()}
    {'0.weight': (4, 3), '0.bias': (4,), '2.weight': (1, 4), '2.bias': (1,)}
    """
    arrays, found = _arrays_of(model), {}
    for module in _modules(model.layers):
        for name, own in module.names().items():
            array = arrays[f"{module.layer.name}.{own}"]
            found[f"{module.place}.{name}"] = np.ascontiguousarray(array.T)
        if isinstance(module.layer, layers.BatchNormalization):
            found[f"{module.place}.{_COUNT}"] = np.array(0, np.int64)
    return found


def from_torch(model: Sequential, state_dict: Any) -> None:
    """Write the weights of a torch network into the model.

    Modules with weights are taken in their order, whatever their names: those of ``Linear``,
    ``LayerNorm`` and ``BatchNorm1d`` go to Dense, LayerNormalization and BatchNormalization layers.

    Parameters
    ----------
    model : Sequential
        If its input width is not known, the weights say it.
    state_dict : mapping of str to tensor or array, or a torch.nn.Module
        Tensors on any device, with or without gradient.

    Raises
    ------
    TypeError, ValueError
        Naming the first entry that does not fit; nothing has changed then.

    Examples
    --------
    >>> model = gd.Sequential([gd.Dense(1)])
    >>> gd.weights.from_torch(model, {"0.weight": [[2.0, 3.0]], "0.bias": [1.0]})
    >>> model.predict([[1.0, 1.0]])
    array([[6.]])
    """
    if not isinstance(state_dict, Mapping) and hasattr(state_dict, "state_dict"):
        state_dict = state_dict.state_dict()
    if not isinstance(state_dict, Mapping) or not all(isinstance(k, str) for k in state_dict):
        raise TypeError(
            f"state_dict is {type(state_dict).__name__}; a dict of names to arrays or tensors is"
            " accepted, that of net.state_dict(), or a torch.nn.Module"
        )
    theirs: dict[str, list[str]] = {}
    for key in state_dict:
        place, _, name = key.rpartition(".")
        if name != _COUNT:
            theirs.setdefault(place, []).append(name)
    modules = list(_modules(model.layers))
    if len(theirs) != len(modules):
        raise ValueError(
            f"state_dict has the modules {', '.join(map(repr, theirs)) or 'none'}; the model has"
            f" {len(modules)} layers with weights:"
            f" {', '.join(repr(module.layer.name) for module in modules)}"
        )
    found: dict[str, tuple[str, Array]] = {}
    for (place, names), module in zip(theirs.items(), modules, strict=True):
        wanted = module.names()
        if set(names) != set(wanted):
            raise ValueError(
                f"state_dict has {', '.join(names)} for the module {place!r}; layer"
                f" {module.layer.name!r}, {module.layer!r:.60}, takes {', '.join(wanted)}"
            )
        for name, own in wanted.items():
            key = f"{place}.{name}" if place else name
            title = f"state_dict[{key!r}]"
            array = _array_of(title, state_dict[key])
            found[f"{module.layer.name}.{own}"] = title, array.T if own == "W" else array
    _write(model, found)


def _modules(stack: Sequence[Layer], place: str = "") -> Iterator[_Module]:
    """Yield the layers that have weights, each with its place in torch."""
    number = 0
    for layer in stack:
        here = f"{place}{number}"
        if isinstance(layer, layers.Residual):
            yield from _modules(layer.layers, f"{here}.")
        elif layer._parameter_count():
            yield _Module(here, layer)
        linear = getattr(getattr(layer, "activation", None), "name", "") == "linear"
        number += 2 if isinstance(layer, layers.Dense) and not linear else 1


# ---- Arrays --------------------------------------------------------------------------------------


def _arrays_of(model: Sequential) -> dict[str, Array]:
    """Return copies of the weights that predict, by name."""
    model._known_plan()
    model._store.ready()
    names = [name for name, _ in model._weights()]
    return dict(zip(names, model._predicting_weights(), strict=True))


def _array_of(title: str, value: Any) -> Array:
    """Return an array, or that of a tensor, in the memory of this machine."""
    try:
        for step in ("detach", "cpu", "numpy"):
            if not isinstance(value, np.ndarray) and hasattr(value, step):
                value = getattr(value, step)()
        array = np.asarray(value)
    except (TypeError, ValueError) as error:  # bfloat16, rows of different lengths
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{title} cannot be read as an array: {error}") from None
    if array.dtype.kind not in "biu" and array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{title} is {array.dtype}; float32, float64 and integers are accepted")
    return array


def _write(model: Sequential, found: dict[str, tuple[str, Array]]) -> None:
    """Write arrays by the model's names for them into it, all or none.

    `found` has what an error calls each beside it. Those of a Linear are (inputs, outputs) here.
    """
    if not found:
        raise ValueError("the model has no layers with weights")
    first = next(iter(found.values()))[1]
    plan = model._plan_for(model._width or (first.shape or (1,))[0])
    wanted = model._weight_shapes(plan)
    for name, (title, array) in found.items():
        if array.shape != wanted[name]:
            has, wants = array.shape, wanted[name]
            if title.startswith("state_dict") and name.endswith(".W"):  # as torch has them
                has, wants = has[::-1], wants[::-1]
            raise ValueError(f"{title} has shape {has}; {wants} is wanted for {name}")
    if not model.built:
        real = first.dtype if first.dtype.kind == "f" else np.dtype(np.float64)
        model.build(plan.inputs, model.dtype or real)
    model.set_weights([found[name][1] for name in wanted])


def __getattr__(name: str) -> Never:
    raise no_attribute(__name__, name, __all__)
