"""Losses with their gradients, by name or as objects: ``gd.losses.mse(y_true, y_pred)``.

``loss.value_and_grad(y_true, y_pred)`` gives the value and the gradient with respect to y_pred in
one pass. Formulas: C (`csrc/losses*.inc`) and the twins in `gdcore.reference.losses`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gdcore import _core
from gdcore._hooks import traced
from gdcore._names import did_you_mean, no_attribute

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
            other[alias] = name
            if alias.islower():
                other.update({alias.upper(): name, _camel(alias): name})
    return other


_NAMES = _other_names()
_ATTRIBUTES = [name for name in _NAMES if name.islower()]


def _known(name: str) -> str:
    """Return the table's name, or raise with the nearest one."""
    if name not in _NAMES:
        hint = did_you_mean(name, _NAMES)
        raise ValueError(f"loss {name!r} is unknown; accepted: {', '.join(names())}{hint}")
    return _NAMES[name]


def _checked(loss: str, name: str, value: Any, default: float) -> float:
    """Return a parameter as the type of its default; its domain is checked in C."""
    if isinstance(value, bool | np.bool_) != isinstance(default, bool) or not (
        hasattr(value, "__float__") and np.ndim(value) == 0
    ):
        accepted = "True or False" if isinstance(default, bool) else "a number"
        raise TypeError(f"{loss}: {name} is {value!r}; {accepted} is accepted")
    return type(default)(value)


def _made(name: str, reduction: str, from_logits: bool, params: dict[str, float]) -> Loss:
    """Return the loss of a pickle."""
    return Loss(name, reduction, from_logits, **params)


class Loss:
    """A loss of the table: callable for the value, with `value_and_grad` for both.

    The objects of this module (``gd.losses.mse``) average over everything; ``gd.losses.get`` and
    this class make others.

    Parameters
    ----------
    name : str
        Short or long, as in Keras or scikit-learn; see ``gd.losses.names()``.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        What becomes of the losses of the elements (of the rows, for losses of rows).
    from_logits : bool, default False
        For cross-entropies and divergences: `y_pred` holds logits, not probabilities. Nothing
        overflows then, and a nearly certain right prediction keeps all digits of its small loss.
    **params : float or bool
        Parameters of the loss by name; those left out have their defaults. All are in `params`.

    Attributes
    ----------
    name, reduction, from_logits
        As given; the name is the table's.
    params : dict
        The parameters in use.

    Raises
    ------
    TypeError
        For from_logits with a loss that has no logits, an unknown parameter or one of a wrong type.
    ValueError
        For an unknown name or reduction, or a parameter outside its domain.

    Notes
    -----
    With ``d = y_pred - y_true``; a loss per element where nothing else is said.

    - ``mse``: d^2. ``half_mse``: d^2 / 2. ``mae``: abs(d). ``log_cosh``: log(cosh(d)).
    - ``huber`` (delta=1 > 0): d^2 / 2 up to abs(d) = delta, then delta (abs(d) - delta / 2).
    - ``quantile`` (0 < q=0.5 < 1): -q d below the target, (1 - q) d above it.
    - ``epsilon_insensitive`` (epsilon=0.1 >= 0): max(abs(d) - epsilon, 0);
      ``squared_epsilon_insensitive``: its square.
    - ``poisson``: y_pred - y_true log(y_pred), where y_pred is a rate [Keras, without its 1e-7];
      ``poisson_log_rate``: exp(y_pred) - y_true y_pred of its logarithm [torch's PoissonNLLLoss].
    - ``gamma``, ``tweedie`` (power=1.5 >= 1; 1 is Poisson's, 2 gamma's, 3 the inverse Gaussian's):
      the deviance of a mean y_pred > 0 [scikit-learn].
    - ``gaussian_nll``: (s + (y_true - m)^2 exp(-s)) / 2 per row. The last axis of y_pred has length
      2 and holds the mean m and the logarithm s of the variance (torch's GaussianNLLLoss takes the
      variance); y_true has the shape of y_pred without its last axis.
    - ``binary_crossentropy`` (0 <= label_smoothing=0 < 1: targets t become
      t (1 - label_smoothing) + label_smoothing / 2); ``categorical_crossentropy`` per row and
      ``sparse_categorical_crossentropy`` per row of class numbers (label_smoothing is spread over
      all classes). All have from_logits.
    - ``binary_focal_crossentropy`` (gamma=2 >= 0, 0 < alpha=0.25 < 1,
      apply_class_balancing=False): the cross-entropy times u^gamma, with u the probability of the
      other class; balanced, times alpha for 1 and 1 - alpha for 0.
      ``categorical_focal_crossentropy`` (gamma=2 >= 0, alpha=0.25 > 0) per row: the terms of the
      cross-entropy times alpha (1 - y_pred)^gamma. Both have from_logits.
    - ``kl_divergence`` per row: sum(y_true log(y_true / y_pred)); has from_logits.
    - ``cosine_similarity`` per row: minus the cosine of the angle between y_true and y_pred, and 0
      with gradient 0 where one of them is 0.
    - ``hinge``: max(1 - s y_pred, 0), where s is 1 for y_true > 0 and -1 else: labels are -1 and 1,
      or 0 and 1. ``squared_hinge``: its square. ``perceptron``: max(-s y_pred, 0).
      ``modified_huber``: squared_hinge, linear where s y_pred < -1.
    - ``categorical_hinge`` per row: max(1 + max((1 - y_true) y_pred) - sum(y_true y_pred), 0).
      ``multiclass_hinge`` per row of class numbers: max(1 + the largest other score - the score of
      the class, 0). ``multi_margin`` likewise: the sum of max(1 + score - that of the class, 0)
      over the other classes, divided by the number of classes [torch's MultiMarginLoss].

    Kinks: the gradient is 0 where a prediction equals its target (mae, quantile) or lies epsilon
    away, and in multi_margin at the margin; of the other hinges and the perceptron it is that
    inside of the margin, so that a perceptron moves from scores of 0 [scikit-learn]; of equally
    large scores the first counts.

    Infinite losses follow the formulas: 0 log(0) is 0, an impossible target costs infinity. Values
    outside of a domain (a negative rate, a probability above 1) give NaN where a logarithm or a
    power reads them, and a NaN in y_pred gives NaN. tweedie, and focal losses, raise to a power p
    by exp(p log(x)), which is off by p log(x) units of the last place.

    Examples
    --------
    >>> loss = gd.losses.get("binary_crossentropy", from_logits=True)
    >>> loss([1.0, 0.0], [0.0, 0.0])
    np.float64(0.6931471805599453)
    >>> loss.value_and_grad([1.0, 0.0], [0.0, 0.0])[1]
    array([-0.25,  0.25])
    """

    def __init__(
        self, name: str, reduction: str = "mean", from_logits: bool = False, **params: float
    ) -> None:
        self.name = _known(name)
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"{self.name}: reduction is {reduction!r}; accepted: {', '.join(REDUCTIONS)}"
            )
        if from_logits and self.name + _LOGITS not in _ROWS:
            others = ", ".join(name for name in names() if name + _LOGITS in _ROWS)
            raise TypeError(f"{self.name} has no from_logits=; these have it: {others}")
        self.reduction = reduction
        self.from_logits = bool(from_logits)
        number, row = _ROWS[self.name + _LOGITS if from_logits else self.name]
        self.params = self._complete(row["params"], params)
        self._spec = (number, *map(float, self.params.values()))
        _core.check_loss(self._spec)
        self._reduction = REDUCTIONS.index(reduction)

    def _complete(self, defaults: dict[str, float], params: dict[str, float]) -> dict[str, float]:
        """Return all parameters, or raise for an unknown one with the nearest name."""
        for name in params:
            if name not in defaults:
                known = ["reduction", "from_logits", *defaults]
                hint = did_you_mean(name, known)
                raise TypeError(
                    f"{self.name}: unknown argument {name}=; accepted: {', '.join(known)}{hint}"
                )
        given = {**defaults, **params}
        return {name: _checked(self.name, name, given[name], defaults[name]) for name in given}

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the loss.

        Parameters
        ----------
        y_true : array-like
            Targets, shaped like `y_pred` up to axes of length 1 (nothing is broadcast) and of its
            type; for losses of class numbers (sparse_categorical_crossentropy, multiclass_hinge,
            multi_margin) those, whole and from 0, in the shape of `y_pred` without its last axis;
            for gaussian_nll targets in that shape.
        y_pred : array-like
            Predictions: float32 or float64; numbers and integers are read as float64. Arrays that
            are not C-contiguous are read through a copy. For losses of rows the last axis is the
            row: the classes, as a rule.
        sample_weight : array-like, optional
            One weight per row of `y_pred`, of its type. Rows lie along axis 0; of losses of rows
            along all axes but the last.

        Returns
        -------
        NumPy scalar of the type of `y_pred`, or an array with ``reduction="none"``
            "mean" divides by sum(weights) times outputs in a row, and is 0 where that is 0; "none"
            gives the weighted losses, one an element, or one a row.

        Raises
        ------
        TypeError
            Where types differ or are not real.
        ValueError
            Where shapes do not agree, or a class number is not one.
        """
        own = traced(y_true, y_pred, sample_weight)
        if own is not None:
            return own.loss(self._spec, y_true, y_pred, sample_weight, self._reduction)
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
        defaults = _ROWS[self.name][1]["params"]
        parts += [
            f"{name}={value!r}" for name, value in self.params.items() if value != defaults[name]
        ]
        return f"gd.losses.get({', '.join(parts)})"

    def _key(self) -> tuple[object, ...]:
        return (self._spec, self.reduction)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loss) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.name, self.reduction, self.from_logits, self.params)


def get(identifier: str | Loss, **settings: Any) -> Loss:
    """Return a loss by name.

    Parameters
    ----------
    identifier : str or Loss
        Short or long, as in Keras or scikit-learn: "mse", "mean_squared_error",
        "MeanSquaredError", "squared_error". A loss is returned as it is.
    **settings
        ``reduction="mean" | "sum" | "none"``; ``from_logits=False`` for the cross-entropies; the
        parameters of the loss, such as ``delta=1.0`` of huber: see `Loss`.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        For an unknown name, the nearest one being suggested, or a value that is not accepted.
    TypeError
        For a setting that the loss does not have.

    Examples
    --------
    >>> gd.losses.get("half_mse", reduction="sum")([0.2, 0.9], [0.0, 0.0])
    np.float64(0.425)
    >>> gd.losses.get("huber", delta=0.5).value_and_grad([0.0, 0.0], [0.25, 2.0])
    (np.float64(0.453125), array([0.125, 0.25 ]))
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
    if "name" in settings:
        raise TypeError(
            f"{identifier}: a loss has no other name; as a metric it may:"
            f" gd.metrics.get(gd.losses.get({identifier!r}), name={settings['name']!r})"
        )
    return Loss(identifier, **settings)


def __getattr__(name: str) -> Loss:
    """``gd.losses.mse``: each loss by its names, averaged, from probabilities."""
    if name in _ATTRIBUTES:
        return globals().setdefault(name, Loss(name))  # type: ignore[no-any-return]
    raise no_attribute(__name__, name, _ATTRIBUTES)


def __dir__() -> list[str]:
    return [*globals(), *_ATTRIBUTES]
