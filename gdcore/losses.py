"""Losses with their gradients, by name or as objects: ``gd.losses.mse(y_true, y_pred)``.

``loss.value_and_grad(y_true, y_pred)`` gives the value and the gradient with respect to y_pred in
one pass. Formulas: C (`csrc/losses.inc`) and the twins in `gdcore.reference.losses`.
"""

from __future__ import annotations

import difflib
from typing import Any

from gdcore import _core

__all__ = ["REDUCTIONS", "Loss", "get", "names"]

REDUCTIONS = ("mean", "sum", "none")
_LOGITS = "_from_logits"

_ROWS = {row["name"]: (number, row) for number, row in enumerate(_core.LOSSES)}


def names() -> list[str]:
    """Return the names of all losses.

    Examples
    --------
    >>> "mse" in gd.losses.names()
    True
    """
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
_ATTRIBUTES = [name for name in _NAMES if name.islower()]


def _known(name: str) -> str:
    """Return the table's name, or raise with the nearest one."""
    if name not in _NAMES:
        near = difflib.get_close_matches(name, _NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"loss {name!r} is unknown; accepted: {', '.join(names())}{hint}")
    return _NAMES[name]


class Loss:
    """A loss of the table: callable for the value, with `value_and_grad` for both.

    The objects of this module (``gd.losses.mse``) average over everything; ``gd.losses.get`` and
    this class make others.

    Parameters
    ----------
    name : str
        Short or long, as in Keras; see ``gd.losses.names()``.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        What becomes of the losses of the elements (of the rows, for categorical cross-entropies).
    from_logits : bool, default False
        For cross-entropies: `y_pred` holds logits, not probabilities. Nothing overflows then, and
        a nearly certain right prediction keeps all digits of its small loss.

    Raises
    ------
    TypeError
        For from_logits with a loss that has no logits.
    ValueError
        For an unknown name or reduction.

    Examples
    --------
    >>> loss = gd.losses.get("binary_crossentropy", from_logits=True)
    >>> loss([1.0, 0.0], [0.0, 0.0])
    np.float64(0.6931471805599453)
    >>> loss.value_and_grad([1.0, 0.0], [0.0, 0.0])[1]
    array([-0.25,  0.25])
    """

    def __init__(self, name: str, reduction: str = "mean", from_logits: bool = False) -> None:
        self.name = _known(name)
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"{self.name}: reduction is {reduction!r}; accepted: {', '.join(REDUCTIONS)}"
            )
        if from_logits and self.name + _LOGITS not in _ROWS:
            raise TypeError(f"{self.name} has no from_logits=; the cross-entropies have it")
        self.reduction = reduction
        self.from_logits = bool(from_logits)
        self._spec = (_ROWS[self.name + _LOGITS if from_logits else self.name][0],)
        self._reduction = REDUCTIONS.index(reduction)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the loss.

        Parameters
        ----------
        y_true : array-like
            Targets, shaped like `y_pred` up to axes of length 1 (nothing is broadcast) and of its
            type; for the sparse cross-entropy class numbers, whole and from 0, in the shape of
            `y_pred` without its last axis.
        y_pred : array-like
            Predictions: float32 or float64; numbers and integers are read as float64. Arrays that
            are not C-contiguous are read through a copy. The last axis of categorical
            cross-entropies are the classes.
        sample_weight : array-like, optional
            One weight per row of `y_pred`, of its type. Rows lie along axis 0; of categorical
            cross-entropies along all axes but the last.

        Returns
        -------
        NumPy scalar of the type of `y_pred`, or an array with ``reduction="none"``
            "mean" divides by sum(weights) times outputs in a row, and is 0 where that is 0; "none"
            gives the weighted losses, one an element, or one a row (categorical).

        Raises
        ------
        TypeError
            Where types differ or are not real.
        ValueError
            Where shapes do not agree, or a class number is not one.
        """
        return _core.loss(self._spec, y_true, y_pred, sample_weight, self._reduction, False)

    def value_and_grad(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return ``(value, dy)``: the loss and its gradient with respect to `y_pred`.

        Arguments and errors are those of the call; dy has the shape and type of `y_pred`, and with
        ``reduction="none"`` is the gradient of the sum.

        Examples
        --------
        >>> gd.losses.mse.value_and_grad([1.0, 2.0], [1.5, 2.0])
        (np.float64(0.125), array([0.5, 0. ]))
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

    Returns
    -------
    Loss

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
            raise TypeError(
                f"{identifier!r} has its settings; give a name with others: "
                f"get({identifier.name!r}, {', '.join(settings)}=...)"
            )
        return identifier
    if not isinstance(identifier, str):
        raise TypeError(f"loss is {identifier!r}; a name or a loss of gd.losses is accepted")
    name = _known(identifier)
    for setting in settings:
        if setting not in ("reduction", "from_logits"):
            raise TypeError(
                f"{identifier}: unknown argument {setting}=; accepted: reduction, from_logits"
            )
    return Loss(name, **settings)


def __getattr__(name: str) -> Loss:
    """``gd.losses.mse``: each loss by its names, averaged, from probabilities."""
    if name in _ATTRIBUTES:
        return globals().setdefault(name, Loss(name))  # type: ignore[no-any-return]
    near = difflib.get_close_matches(name, _ATTRIBUTES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return [*globals(), *_ATTRIBUTES]
