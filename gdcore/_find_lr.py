"""`find_lr`: which learning rate to begin with, by a sweep over all of them on a copy."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gdcore._composed import fresh
from gdcore._fit import Fit
from gdcore._fit_data import prepare
from gdcore._fit_settings import FitSettings
from gdcore._model import Model
from gdcore._names import did_you_mean
from gdcore._optimizer import Optimizer
from gdcore._rate_rules import RULES, LRFinder, end_of
from gdcore._result import Reason as Stop
from gdcore._trainer import Reason, Trainer, draw_key, searches_line
from gdcore.descent import as_count, copied_optimizer, minimize, unknown_argument
from gdcore.optimizers import SGD
from gdcore.schedules import exponential

__all__ = ["LRFinder", "find_lr"]

Float64Array = NDArray[np.float64]

MODEL_WEIGHT = 0.8  # of the past in the average of a model's losses
LOOKS = 16  # how often a sweep is looked at
AT_ONCE = 16  # steps of one call: so many are lost where Ctrl-C comes in between
_OF_MODELS = ("batch_size", "sample_weight", "class_weight", "seed")
_OF_FUNCTIONS = ("x0", "optimizer", "args", "grad")
_ACCEPTED = ["X", "y", "start", "stop", "steps", "smoothing", "rule", *_OF_MODELS, *_OF_FUNCTIONS]
# fastai's, torch-lr-finder's and Lightning's arguments, and what they are here.
_OTHER_NAMES = {
    "beta": "smoothing (the weight of the past)",
    "end_lr": "stop",
    "epochs": "steps",
    "f": "the first argument",
    "init_value": "start",
    "final_value": "stop",
    "max_lr": "stop",
    "min_lr": "start",
    "mode": "nothing: rates are spaced geometrically",
    "num_iter": "steps",
    "num_it": "steps",
    "num_training": "steps",
    "smooth_f": "smoothing (the weight of the past)",
    "start_lr": "start",
    "suggest_funcs": "rule",
}


def find_lr(
    model: Model | Callable[..., Any],
    X: Any = None,
    y: Any = None,
    *,
    x0: Any = None,
    start: float = 1e-7,
    stop: float = 10.0,
    steps: int = 100,
    smoothing: float | None = None,
    rule: str = "steepest",
    batch_size: int | None = 32,
    sample_weight: ArrayLike | None = None,
    class_weight: Any = None,
    seed: int | np.random.Generator | None = None,
    optimizer: Optimizer | type[Optimizer] = SGD,
    args: Any = (),
    grad: Any = None,
    **unknown: Never,
) -> LRFinder:
    """Sweep the learning rate from small to large, a step each, and say which one to begin with.

    ``find_lr(model, X, y)`` trains a copy of a compiled model, batch after batch, in as many epochs
    as it takes; ``find_lr(f, x0)`` descends on a function. The rates are ``start * q**k``. Nothing
    is left behind: parameters, moving statistics, optimizer, generator, history and the fit that
    ``resume=True`` goes on with are as before, also where Ctrl-C ends the sweep.

    Parameters
    ----------
    model : Sequential or callable
        A compiled model, or f(x, *args), one number, in NumPy.
    X, y : array-like
        The data, as in ``model.fit``; of a function X is the starting point, as in `minimize`.
    x0 : number, array-like, or container of them
        The starting point, by its name in `minimize`.
    start, stop : float, default 1e-7 and 10
        The first rate and the last one, 0 < start < stop.
    steps : int, default 100
        Rates, >= 3.
    smoothing : float, optional
        Weight of the past in the average of the losses, in [0, 1); 0 is none. By default 0.8 of a
        model, 0 of a function, whose losses differ in nothing but x.
    rule : {"steepest", "valley", "minimum_tenth"}, default "steepest"
        What `suggestion` is. "steepest": where the smoothed loss falls most against the logarithm
        of the rate, by lines over half a decade to both sides. "valley": the middle, in logarithm,
        between the first tenth of the fall and the lowest loss [after fastai's]. "minimum_tenth": a
        tenth of the rate of the lowest loss.
    batch_size, sample_weight, class_weight : optional
        As in ``model.fit``; of a model.
    seed : int or Generator, optional
        Of the order of the rows and of Dropout, and of weights that were never needed. None: as the
        model's generator stands. Of a model.
    optimizer : Optimizer or class, default SGD
        Of a function; a model has its own, whose other settings hold. Groups with a rate of their
        own keep it.
    args, grad : optional
        As in `minimize`; of a function.

    Returns
    -------
    LRFinder
        ``.suggestion``, ``.suggestions`` by rule, ``.lrs``, ``.losses``, ``.smoothed``,
        ``.message``; ``.plot()`` draws it.

    Raises
    ------
    TypeError, ValueError
        For arguments and data that do not fit, and an optimizer that searches its step length
        itself (Armijo, LBFGS).
    KeyboardInterrupt
        Ctrl-C, with what was swept as its ``result``.

    Notes
    -----
    Losses of batches differ by themselves. So each is compared with the loss of the same rows where
    nothing has moved (``.baseline``), which costs another forward and backward pass: an early spike
    is in both, and suggests nothing. The sweep ends where the smoothed loss has risen above its
    lowest value by three times the first loss (or, if that is more, the fall), or a loss or
    gradient is not finite; that loss is recorded and raises nothing.

    References
    ----------
    L. Smith, "Cyclical learning rates for training neural networks", WACV 2017; S. Gugger, "How do
    you find a good learning rate" (2018), whose smoothing this is.

    Examples
    --------
    >>> X, y = gd.datasets.moons(n=200, seed=0)
    >>> model = gd.Sequential([gd.Dense(16, "relu"), gd.Dense(2)])
    >>> model.compile("adam", "sparse_categorical_crossentropy")
    >>> found = gd.find_lr(model, X, y, seed=0)
    >>> 1e-3 < found.suggestion < 1
    True
    >>> model.optimizer.lr = found.suggestion
    >>> print(f"{gd.find_lr(lambda x: x**2, 1.0).suggestion:.2g}")
    0.045
    """
    for name in unknown:
        raise unknown_argument("find_lr", name, _ACCEPTED, _OTHER_NAMES)
    rates = _rates(start, stop, steps)
    if rule not in RULES:
        hint = did_you_mean(str(rule), RULES)
        raise ValueError(
            f"find_lr: rule is {rule!r:.60}; accepted are {', '.join(map(repr, RULES))}{hint}"
        )
    sweep: _ModelSweep | _FunctionSweep
    if isinstance(model, Model):
        chosen = None if optimizer is SGD else optimizer
        _refuse("a model", x0=x0, optimizer=chosen, args=args or None, grad=grad)
        weight = _weight(MODEL_WEIGHT if smoothing is None else smoothing)
        data = {"sample_weight": sample_weight, "class_weight": class_weight}
        sweep = _ModelSweep(model, X, y, rates, steps, weight, seed, batch_size=batch_size, **data)
    else:
        batch = None if batch_size == 32 else batch_size
        given = {"sample_weight": sample_weight, "class_weight": class_weight, "seed": seed}
        _refuse("a function", y=y, batch_size=batch, **given)
        weight = _weight(0.0 if smoothing is None else smoothing)
        sweep = _FunctionSweep(model, _start(X, x0), rates, steps, optimizer, args, grad)
    try:
        sweep.run()
    except KeyboardInterrupt as interrupt:
        interrupt.result = _found(sweep, rates, weight, rule)  # type: ignore[attr-defined]
        raise
    return _found(sweep, rates, weight, rule)


def _found(sweep: Any, rates: exponential, weight: float, rule: str) -> LRFinder:
    """Return the result of a sweep, cut off where it ends."""
    losses, baseline = sweep.columns()
    end = end_of(losses, baseline, weight)
    count = len(losses) if end is None else end + 1
    lrs = np.asarray(rates(np.arange(count)), np.float64)
    failed = sweep.failed and count == len(losses)
    return LRFinder(
        lrs,
        losses[:count].copy(),
        baseline[:count].copy(),
        smoothing=weight,
        rule=rule,
        eps=sweep.eps,
        ended="failed" if failed else "rose" if end is not None else "",
    )


# ---- Arguments -----------------------------------------------------------------------------------


def _rates(start: Any, stop: Any, steps: Any) -> exponential:
    """Return the rates as a schedule."""
    if as_count("find_lr", "steps", steps) < 3:
        raise ValueError(f"find_lr: steps is {steps!r}; an integer >= 3 is accepted")
    for name, value in (("start", start), ("stop", stop)):
        sound = isinstance(value, int | float | np.integer | np.floating)
        if not sound or isinstance(value, bool) or not 0 < value < math.inf:
            raise (ValueError if sound else TypeError)(
                f"find_lr: {name} is {value!r:.60}; a finite number > 0 is accepted"
            )
    if not start < stop:
        raise ValueError(f"find_lr: start is {start!r} and stop {stop!r}; start < stop is accepted")
    return exponential(float(start), float(stop) / float(start), steps - 1)


def _weight(smoothing: Any) -> float:
    """Return the weight of the past."""
    sound = isinstance(smoothing, int | float | np.floating) and not isinstance(smoothing, bool)
    if not sound or not 0 <= smoothing < 1:
        raise (ValueError if sound else TypeError)(
            f"find_lr: smoothing is {smoothing!r:.60}; a number in [0, 1) is accepted, 0 for none"
        )
    return float(smoothing)


def _refuse(what: str, **given: Any) -> None:
    """Refuse arguments that are the other kind's."""
    other = "a model" if what == "a function" else "a function"
    for name, value in given.items():
        if value is not None:
            way_out = "; a model has its own: model.compile" if name == "optimizer" else ""
            raise TypeError(f"find_lr: {name} is for {other}, and {what} was given{way_out}")


def _start(X: Any, x0: Any) -> Any:
    """Return the starting point of a function."""
    if (X is None) == (x0 is None):
        raise TypeError(
            "find_lr: one starting point is wanted, find_lr(f, x0); for a model it is"
            " find_lr(model, X, y)"
        )
    return x0 if X is None else X


# ---- On a function -------------------------------------------------------------------------------


class _FunctionSweep:
    """A descent with a growing rate."""

    eps = float(np.finfo(np.float64).eps)

    def __init__(
        self, f: Any, x0: Any, rates: exponential, steps: int, optimizer: Any, args: Any, grad: Any
    ) -> None:
        if not callable(f):
            raise TypeError(
                f"find_lr: {f!r:.80} was given; a model with its X and y, or a function with its"
                " starting point, is accepted"
            )
        if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
            optimizer = optimizer()
        self.optimizer = copied_optimizer("find_lr", optimizer)
        _refuse_line_search(self.optimizer)
        self.optimizer.lr = rates
        self.arguments = {"x0": x0, "args": args, "steps": steps, "grad": grad, "record": 0}
        self.f, self.steps, self.failed = f, steps, False
        self.losses = np.empty(0)

    def run(self) -> None:
        """Descend; the loss at the end, after the last rate's step, is left out."""
        try:
            r = minimize(self.f, optimizer=self.optimizer, **self.arguments)
        except KeyboardInterrupt as interrupt:
            self._take(getattr(interrupt, "result", None))
            raise
        self._take(r)

    def _take(self, r: Any) -> None:
        if r is not None:
            self.losses = np.asarray(r.losses, np.float64)[: self.steps]
            self.eps = float(np.finfo(r.losses.dtype).eps)
            self.failed = r._ending.reason is Stop.NONFINITE

    def columns(self) -> tuple[Float64Array, Float64Array]:
        """Return the losses, and the one where it began."""
        return self.losses, np.full(len(self.losses), self.losses[0] if len(self.losses) else 0.0)


def _refuse_line_search(optimizer: Any) -> None:
    if searches_line(optimizer):
        raise ValueError(
            f"find_lr: {type(optimizer).__name__} finds the length of its steps itself, and needs"
            " no rate; it is for the others"
        )


# ---- On a model ----------------------------------------------------------------------------------


class _ModelSweep:
    """A fit of a copy with a growing rate, and one of another copy that does not move."""

    def __init__(
        self,
        model: Model,
        X: Any,
        y: Any,
        rates: exponential,
        steps: int,
        weight: float,
        seed: Any,
        **settings: Any,
    ) -> None:
        model._check_compiled()
        _refuse_line_search(model.optimizer)
        self.steps, self.weight, self.failed = steps, weight, False
        chosen = FitSettings(**settings)
        moving = _copy(model, seed)
        assert moving.optimizer is not None
        moving.optimizer.lr = rates
        moving.optimizer.set_params(on_nonfinite="ignore")
        data = prepare(moving, X, y, chosen)
        moving._begin(seed)
        key = draw_key(moving._generator)
        still = _copy(moving, None)
        still._optimizer = SGD(0.0)
        self.trainers: list[Trainer] = []
        for each in (moving, still):
            running = Fit(each, data, chosen)
            running.open(None, key)
            self.trainers.append(running.trainer)
        assert moving.dtype is not None
        self.eps = float(np.finfo(moving.dtype).eps)
        self._columns: list[list[float]] = [[], []]

    def run(self) -> None:
        """Train with all rates, or until the loss has risen."""
        # What an optimizer of Python had done when Ctrl-C came is not known but step by step.
        most = 1 if any(trainer.stepped_here for trainer in self.trainers) else AT_ONCE
        look = max(self.steps // LOOKS, 1)
        for begin in range(0, self.steps, look):
            end = min(begin + look, self.steps)
            for done in range(begin, end, most):
                self._train(min(most, end - done))
                if self.failed:
                    return
            if end_of(*self.columns(), self.weight) is not None:
                return

    def _train(self, count: int) -> None:
        for trainer, column in zip(self.trainers, self._columns, strict=True):
            self.failed = not _train(trainer, count, column) or self.failed

    def columns(self) -> tuple[Float64Array, Float64Array]:
        """Return the losses of the copy that moves, and of the one that does not."""
        n = min(map(len, self._columns))
        moving, still = (np.array(column[:n], np.float64) for column in self._columns)
        return moving, still


def _copy(model: Model, seed: Any) -> Model:
    """Return a model with the weights and the optimizer's settings of another, as they are now."""
    other = model.clone(seed)
    other._metrics = []
    assert model.optimizer is not None
    other._optimizer = fresh(model.optimizer)
    if seed is None:
        other._store._generator = copy.deepcopy(model._store._generator)
    if model._store.drawn:
        other.set_weights(model.get_weights())
    return other


def _train(trainer: Trainer, count: int, losses: list[float]) -> bool:
    """Train for some batches and append their losses; False where one is not finite."""
    try:
        outcome = trainer.run(count)
    except BaseException:
        losses += trainer.outcome().losses.tolist()
        raise
    losses += outcome.losses.tolist()
    if outcome.reason is not Reason.NONFINITE:
        return True
    losses.append(outcome.loss)
    return False
