"""Losses with their gradients, by name or as objects: ``gd.losses.mse(y_true, y_pred)``.

``loss.value_and_grad(y_true, y_pred)`` gives the value and the gradient with respect to y_pred in
one pass. Formulas: C (`csrc/losses.inc`) and the twins in `gdcore.reference.losses`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from gdcore import _core

REDUCTIONS = ("mean", "sum", "none")
_LOGITS = "_from_logits"

_ROWS: dict[str, tuple[int, Mapping[str, Any]]] = {
    row["name"]: (number, row) for number, row in enumerate(_core.LOSSES)
}


def names() -> list[str]:
    """Return the names of all losses."""
    return [name for name in _ROWS if not name.endswith(_LOGITS)]


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _other_names() -> dict[str, str]:
    """Short and long names: 'mse', 'MSE', 'mean_squared_error', 'MeanSquaredError'..."""
    other = {}
    for name in names():
        for alias in (name, *_ROWS[name][1]["aliases"].split()):
            other.update({alias: name, alias.upper(): name, _camel(alias): name})
    other["squared_error"] = "mse"
    other["log_loss"] = "binary_crossentropy"
    return other


_NAMES = _other_names()


class Loss:
    """A loss of the table: callable for the value, with `value_and_grad` for both.

    Use ``gd.losses.get(name, ...)`` or the objects of this module.

    Examples
    --------
    >>> loss = gd.losses.get("binary_crossentropy", from_logits=True)
    >>> loss([1.0, 0.0], [0.0, 0.0])
    np.float64(0.6931471805599453)
    >>> loss.value_and_grad([1.0, 0.0], [0.0, 0.0])[1]
    array([-0.25,  0.25])
    """

    def __init__(self, name: str, reduction: str = "mean", from_logits: bool = False) -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(f"{name}: reduction is {reduction!r}; accepted: {REDUCTIONS}")
        if from_logits and name + _LOGITS not in _ROWS:
            raise TypeError(f"{name} has no from_logits=; the cross-entropies have it")
        self.name = name
        self.reduction = reduction
        self.from_logits = bool(from_logits)
        self._spec = (_ROWS[name + _LOGITS if from_logits else name][0],)
        self._reduction = REDUCTIONS.index(reduction)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the loss.

        Parameters
        ----------
        y_true : array-like
            Targets, shaped like `y_pred` up to axes of length 1; for the sparse cross-entropy
            class numbers in the shape of `y_pred` without its last axis.
        y_pred : array-like
            Predictions: float32 or float64; numbers and integers are read as float64. Arrays that
            are not C-contiguous are read through a copy.
        sample_weight : array-like, optional
            One weight per row of `y_pred` (axis 0).

        Returns
        -------
        NumPy scalar of the type of `y_pred`; an array with ``reduction="none"``
            "mean" divides by sum(weights) times outputs and is 0 where that is 0.

        Raises
        ------
        TypeError
            Where types differ or are not real.
        ValueError
            Where shapes do not agree or a class number is out of range.
        """
        return _core.loss(self._spec, y_true, y_pred, sample_weight, self._reduction, False)

    def value_and_grad(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return ``(value, dy)``: the loss and its gradient with respect to `y_pred`.

        Arguments as in the call; dy has the shape and type of `y_pred`, and with
        ``reduction="none"`` is the gradient of the sum.
        """
        return _core.loss(self._spec, y_true, y_pred, sample_weight, self._reduction, True)

    def __repr__(self) -> str:
        parts = [repr(self.name)]
        if self.reduction != "mean":
            parts.append(f"reduction={self.reduction!r}")
        if self.from_logits:
            parts.append("from_logits=True")
        return f"gd.losses.get({', '.join(parts)})"

    def _key(self) -> tuple[object, ...]:
        return (self.name, self.reduction, self.from_logits)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loss) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return Loss, self._key()


def get(identifier: str | Loss, **settings: Any) -> Loss:
    """Return a loss by name.

    Parameters
    ----------
    identifier : str or Loss
        Short or long, as in Keras: "mse", "mean_squared_error", "MeanSquaredError". A loss is
        returned as it is.
    **settings
        ``reduction="mean" | "sum" | "none"``; ``from_logits=False`` for the cross-entropies.

    Raises
    ------
    ValueError
        For an unknown name; the nearest one is suggested.
    TypeError
        For a setting that the loss does not have.

    Examples
    --------
    >>> gd.losses.get("half_mse", reduction="sum")([0.2, 0.9], [0.0, 0.0])
    np.float64(0.425)
    """
    if isinstance(identifier, Loss):
        if settings:
            raise TypeError("settings go with a name: get('mse', reduction='sum')")
        return identifier
    if not isinstance(identifier, str):
        raise TypeError(f"loss is {identifier!r}; a name or a loss is accepted")
    if identifier not in _NAMES:
        near = difflib.get_close_matches(identifier, _NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"loss {identifier!r} is unknown; accepted: {', '.join(names())}{hint}")
    for setting in settings:
        if setting not in ("reduction", "from_logits"):
            raise TypeError(
                f"{identifier}: unknown argument {setting}=; accepted: reduction, from_logits"
            )
    return Loss(_NAMES[identifier], **settings)


globals().update({alias: Loss(name) for alias, name in _NAMES.items() if alias.islower()})
