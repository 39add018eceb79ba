"""What a loss and the last layer of a model make of each other.

A cross-entropy after softmax or sigmoid is computed from what stands before that activation: in
training its stage is left out. After a linear layer a cross-entropy takes logits. What does not go
together is an error that says what does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gdcore import layers, losses
from gdcore._layer import Layer, activation_named
from gdcore.activations import Activation

# Losses of probabilities that sum to 1, and of probabilities that stand alone.
OF_CLASSES = (
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "kl_divergence",
    "categorical_focal_crossentropy",
)
OF_EVENTS = ("binary_crossentropy", "binary_focal_crossentropy")
SIGNS = ("hinge", "squared_hinge", "perceptron", "modified_huber")
OF_POSITIVES = ("poisson", "gamma", "tweedie")
SOFT = ("softmax", "log_softmax")
PROBABILITIES = ("softmax", "sigmoid", "hard_sigmoid")
POSITIVE = ("softplus", "sigmoid", "softmax")

_FUSED_WITH = {**dict.fromkeys(OF_CLASSES, SOFT), **dict.fromkeys(OF_EVENTS, ("sigmoid",))}
_KINDS = {
    **dict.fromkeys((*OF_CLASSES, "categorical_hinge"), "onehot"),
    **dict.fromkeys(OF_EVENTS, "binary"),
    **dict.fromkeys(SIGNS, "signs"),
    **dict.fromkeys(
        ("sparse_categorical_crossentropy", "multiclass_hinge", "multi_margin"), "sparse"
    ),
    "gaussian_nll": "paired",
}


class Ending(NamedTuple):
    """The activation that the last layer ends with, and whether a Dropout comes after it."""

    activation: Any
    dropped: bool

    @property
    def name(self) -> str:
        """The activation's name; "" for a function of the user's."""
        return self.activation.name if isinstance(self.activation, Activation) else ""


class Head(NamedTuple):
    """How a model computes its loss.

    Attributes
    ----------
    spec : tuple or None
        The loss as the core takes it; None for a function of the user's.
    drop_last : bool
        Whether the last stage, an activation, is left out in training: the loss takes logits.
    kind : str
        What y holds: "sparse" class numbers, "onehot" rows, "binary" 0 and 1, "signs" of -1 and 1,
        "paired" one target for two outputs, "values", or what a "function" of the user's takes.
    probabilities : Activation or None
        What makes the outputs of the model as it is built probabilities, where they are none yet.
    """

    spec: tuple[Any, ...] | None
    drop_last: bool
    kind: str
    probabilities: Activation | None


def ending_of(stack: Sequence[Layer]) -> Ending:
    """Return what the last layer ends with; after a normalisation or a sum that is linear."""
    dropped = False
    for layer in reversed(stack):
        if isinstance(layer, layers.Dropout):
            dropped = dropped or layer.rate > 0
            continue
        if not isinstance(layer, layers.Dense | layers.Activation):
            break
        ending = Ending(layer.activation, dropped)
        if isinstance(layer, layers.Dense) or ending.name != "linear":
            return ending
    return Ending(activation_named("linear"), dropped)


def outputs_of(stack: Sequence[Layer]) -> int | None:
    """Return the width of the outputs, if it does not depend on that of the inputs."""
    for layer in reversed(stack):
        if isinstance(layer, layers.Dense):
            return layer.units
        if isinstance(layer, layers.Residual):
            inner = outputs_of(layer.layers)
            if inner is not None:
                return inner
    return None


def as_loss(value: Any) -> losses.Loss | Callable[..., Any]:
    """Return a loss from its name, itself, or a function of the user's."""
    if isinstance(value, str):
        return losses.get(value)
    if isinstance(value, losses.Loss):
        if value.reduction == "none":
            raise ValueError(
                f"loss is {value!r}; accepted here is reduction='mean' or 'sum': a step needs one"
                " number"
            )
        return value
    if not callable(value) or isinstance(value, type):
        raise TypeError(
            f"loss is {value!r:.80}; accepted is a name of gd.losses, one of its objects, or a"
            " function f(y_true, y_pred) in NumPy"
        )
    return value  # type: ignore[no-any-return]


def head_of(loss: losses.Loss | Callable[..., Any], stack: Sequence[Layer]) -> Head:
    """Return how the loss is computed after these layers; refuse it where it does not fit.

    Raises
    ------
    ValueError
        Where it never fits the last layer; `check_outputs` looks at widths.
    """
    ending = ending_of(stack)
    if not isinstance(loss, losses.Loss):
        return Head(None, False, "function", None)
    kind = _KINDS.get(loss.name, "values")
    if loss.name in OF_POSITIVES and ending.name not in ("", *POSITIVE):
        log_rate = ", or loss='poisson_log_rate' after a linear layer" * (loss.name == "poisson")
        raise ValueError(
            f"{loss.name} takes predictions > 0, but the last layer ends with {ending.name};"
            f" accepted are {', '.join(map(repr, POSITIVE))} and a function of your own{log_rate}"
        )
    if loss.name not in _FUSED_WITH:
        return Head(loss._spec, False, kind, None)
    fused = _FUSED_WITH[loss.name]
    own = fused[0]
    _check_cross_entropy(loss, ending, own, fused)
    if ending.name in fused:
        probabilities = activation_named(own) if ending.name == "log_softmax" else None
        return Head(_of_logits(loss)._spec, True, kind, probabilities)
    if ending.name == "linear" or loss.from_logits:
        return Head(_of_logits(loss)._spec, False, kind, activation_named(own))
    return Head(loss._spec, False, kind, None)


def _of_logits(loss: losses.Loss) -> losses.Loss:
    return loss if loss.from_logits else losses.Loss(loss.name, loss.reduction, True, **loss.params)


def _check_cross_entropy(
    loss: losses.Loss, ending: Ending, own: str, fused: tuple[str, ...]
) -> None:
    """Refuse a cross-entropy after an activation that gives other than what it takes."""
    name = ending.name
    if loss.from_logits and name in PROBABILITIES:
        raise ValueError(
            f"loss is {loss!r} but the last layer ends with {name}, which gives probabilities and"
            f" not logits; give the loss as {loss.name!r} (it is fused with {own}), or leave the"
            " activation out"
        )
    if ending.dropped and name in (*SOFT, *PROBABILITIES):
        raise ValueError(
            f"the last layer is a Dropout after {name}, whose outputs are probabilities no more;"
            " put the Dropout before the last Dense"
        )
    accepted = ("linear", "", *fused) + (("hard_sigmoid",) if own == "sigmoid" else ())
    if loss.from_logits or name in accepted:
        return
    other = "binary_crossentropy" if own == "softmax" else "categorical_crossentropy"
    known = {"sigmoid": "softmax", "softmax": "sigmoid", "log_softmax": "sigmoid"}
    instead = f", or loss={other!r} with {name}" if known.get(name) == own else ""
    raise ValueError(
        f"{loss.name} does not fit the last layer, which ends with {name}; accepted is"
        f" activation={own!r}, or none (the loss takes logits then){instead}"
    )


def check_outputs(
    loss: losses.Loss | Callable[..., Any], stack: Sequence[Layer], outputs: int
) -> None:
    """Refuse a loss that does not fit the number of outputs.

    Raises
    ------
    ValueError
        Naming the loss, the outputs, and what fits.
    """
    name = ending_of(stack).name
    if outputs == 1 and name in SOFT:
        raise ValueError(
            f"the last layer has 1 output, and {name} over one output is constant; take"
            " activation='sigmoid' with binary_crossentropy, or one output for each class"
        )
    if not isinstance(loss, losses.Loss):
        return
    kind = _KINDS.get(loss.name, "values")
    if kind in ("sparse", "onehot") and outputs < 2:
        two = "hinge" if "hinge" in loss.name or "margin" in loss.name else "binary_crossentropy"
        raise ValueError(
            f"{loss.name} needs an output for each class, 2 or more, but the last layer has"
            f" {outputs}; for two classes with one output take {two!r}"
        )
    if kind == "paired" and outputs != 2:
        raise ValueError(
            f"{loss.name} needs 2 outputs, the mean and the logarithm of the variance, but the last"
            f" layer has {outputs}: end the model with gd.Dense(2)"
        )
