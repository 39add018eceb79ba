"""Training on batches that come one by one: from an iterator in fit, or a loop of the user's."""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gdcore._fit_data import checked, given_validation
from gdcore._fit_failure import failure
from gdcore._fit_settings import FitSettings
from gdcore._interrupts import held_interrupts
from gdcore._networks import Data, check_scalar, functions_of, objective_of
from gdcore._run import as_asked, epoch_logs, judged, metrics_of
from gdcore._trainer import Key, Outcome, Reason, Trainer, draw_key, innermost
from gdcore.history import History

if TYPE_CHECKING:
    from gdcore._model import Model

_WEIGHTS = "let batches be (X, y, sample_weight)"
# Arguments of fit that need all rows at once: their defaults, and the way out.
_REFUSED = {
    "validation_split": (0.0, "give validation_data, or arrays"),
    "sample_weight": (None, _WEIGHTS),
    "batch_order": (None, "let X give its batches in that order"),
    "stratify": (False, "give validation_data, or arrays"),
    "resume": (False, "a fit on batches begins anew, with the weights as they are: leave it out"),
    "class_weight": (None, _WEIGHTS),
}


def is_batches(X: Any, y: Any) -> bool:
    """Whether X gives batches one by one: an iterator, an iterable, a function that makes one."""
    if y is not None or isinstance(X, np.ndarray) or hasattr(X, "__array__"):
        return False
    if isinstance(X, list | tuple):
        _refuse_pair(X)
        return bool(X) and isinstance(X[0], tuple) and len(X[0]) in (2, 3)
    if hasattr(X, "__getitem__") and hasattr(X, "__len__") and not hasattr(X, "__iter__"):
        raise TypeError(
            f"X is {type(X).__name__}, which has entries but does not give them one by one;"
            " accepted is a function that does: fit(lambda: (X[i] for i in range(len(X))))"
        )
    return hasattr(X, "__iter__") or callable(X)


def _refuse_pair(X: Any) -> None:
    """Refuse rows and targets that were given as one argument."""
    if len(X) in (2, 3) and getattr(X[0], "ndim", 0) > isinstance(X, list):
        names = ", ".join(("X", "y", "sample_weight=w")[: len(X)])
        raise TypeError(
            f"X is a {type(X).__name__} of {len(X)} arrays, and y is missing; give them one by one:"
            f" fit({names})"
        )


def batch_of(model: Model, item: Any, class_weight: Any = None) -> Data:
    """Return a batch, looked at; build the model for the first."""
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        raise TypeError(
            f"a batch is {type(item).__name__}; tuples (X, y) or (X, y, sample_weight) are accepted"
        )
    data = checked(model, *item, class_weight=class_weight)
    model._build_for(data.X)
    return data


class Steps:
    """Steps on one batch after the other, with what goes on from one to the next."""

    def __init__(self, model: Model, key: Key, statistics: bool) -> None:
        self.model, self.key, self.statistics = model, key, statistics
        self.count, self.lowest, self.skipped, self.epoch = 0, math.inf, 0, 0
        self.trainer: Trainer | None = None

    def take(self, data: Data, seen: Any = None) -> Outcome:
        """Take a step."""
        model = self.model
        assert data.y is not None
        own = functions_of(model, data.y, (data.rows,), True)
        objective = objective_of(model, data.y, own)
        trainer = Trainer(
            model,
            data,
            objective,
            own,
            data.rows,
            1,
            shuffle=False,
            statistics=self.statistics,
            key=self.key,
            epoch=self.epoch,
            lasts=True,
        )
        trainer.place = (0, 0, self.count, 0.0, 0.0, self.lowest, 0)
        self.trainer = trainer
        try:
            return trainer.run(1, None, math.inf, seen)
        finally:
            place = trainer.place
            self.count, self.lowest = place[2], place[5]
            self.skipped += place[6]


class BatchFit:
    """A fit on batches from an iterator, while it runs; see `gdcore._fit.Fit`."""

    def __init__(self, model: Model, source: Any, settings: FitSettings) -> None:
        self.model, self.settings, self.callbacks = model, settings, settings.callbacks
        self.source = source
        self.batches = settings.steps_per_epoch
        self.batch = self.epoch = 0
        self.total = self.weight = math.nan
        self.penalty = 0.0  # of the last batch, where the losses of batches add up
        self.begun_anew = self.warned = False
        self.sums = getattr(model.loss, "reduction", "mean") == "sum"
        settings.check_optimizer(model, None)
        self.history: History
        self.held: Callable[[bool], Any] = held_interrupts
        first, self.waiting = _first(self._begin_source())
        data = batch_of(model, first)
        self.val = given_validation(
            settings.validation_data,
            data.X.shape[1],
            model._loss_kind(),
            model._known_plan().width,
        )
        self.judges = metrics_of(model)

    # ---- Where batches come from -----------------------------------------------------------------

    def _begin_source(self) -> Iterator[Any]:
        source = self.source() if callable(self.source) else self.source
        if not hasattr(source, "__iter__"):
            raise TypeError(
                f"X is a function that returned {type(source).__name__}; an iterator of batches is"
                " accepted"
            )
        return iter(source)

    def _next(self) -> Any:
        """Return the next batch, None where the source has ended."""
        return next(self.waiting, None)

    def _again(self) -> bool:
        """Begin the source anew for another epoch; False where it cannot be."""
        if hasattr(self.source, "__next__"):
            return False
        self.waiting = self._begin_source()
        return True

    # ---- Epochs ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Train until the last epoch, or until something ends it."""
        while self.epoch < self.settings.last_epoch and not self.model.stop_training:
            if not self._run_epoch():
                return

    def _run_epoch(self) -> bool:
        """Run an epoch; False where something ended the fit before its last batch."""
        number = self.epoch + self.settings.initial_epoch
        streams = [judge.stream() for judge in self.judges]
        innermost(self.model.optimizer)._epoch = self.steps.epoch = number
        if self.callbacks is not None:
            self.callbacks.on_epoch_begin(number)
            self.model._check_compiled()
        self.total = self.weight = math.nan  # as long as no batch of it was finite
        lr, self.batch = math.nan, 0
        while self.batches is None or self.batch < self.batches:
            item = self._next()
            if item is None and self.batch == 0:
                self._ended(number)
                continue
            if item is None:
                self._warn_of_few(number)
                break
            outcome = self._take(batch_of(self.model, item), streams)
            if len(outcome.lrs):
                lr = float(outcome.lrs[0])
            if self.model.stop_training and not self._is_last():
                return False
        loss = self.total / self.weight if self.weight else self.total + self.penalty
        self._finish_epoch(number, loss, lr, streams)
        return True

    def _warn_of_few(self, number: int) -> None:
        """Say once that the source gives fewer batches than an epoch is to have."""
        if self.batches is None or self.warned:
            return
        from gdcore.autodiff._errors import user_stacklevel

        self.warned = True
        warnings.warn(
            f"X ended after {self.batch} of {self.batches} batches of epoch {number}, which ends"
            f" there; steps_per_epoch is {self.batches}: give that many, or leave it out",
            UserWarning,
            stacklevel=user_stacklevel(),
        )

    def _is_last(self) -> bool:
        """Whether the batch that was taken ends its epoch."""
        return self.batch == self.batches

    def _ended(self, number: int) -> None:
        """Begin anew where the source ended with the epoch before; refuse where it cannot be."""
        if not self.begun_anew and self._again():
            self.begun_anew = True
            return
        raise ValueError(
            f"X is an iterator that ended before epoch {number}; accepted are an iterable that can"
            " begin anew (a list of batches), a function that returns an iterator, or an iterator"
            " that does not end with steps_per_epoch"
        )

    def _take(self, data: Data, streams: list[Any]) -> Outcome:
        callbacks, steps = self.callbacks, self.steps
        seen = None
        if streams:
            seen = np.empty((data.rows, self.model._known_plan().width), self.model.dtype)
        if callbacks is not None:
            callbacks.on_train_batch_begin(self.batch)
        try:
            outcome = steps.take(data, seen)
        finally:
            with self.held(True):
                self.enter()
        if outcome.reason is Reason.NONFINITE:
            assert self.model.optimizer is not None
            self.model._outside_at = self.model.optimizer.t
            error = failure(self, outcome, data)
            self.model.stop_training = True
            if self.settings.on_nonfinite == "raise":
                raise error
            return outcome
        self._add(data, outcome)
        for stream in streams:
            stream.update(data.y, seen, data.own)
        if callbacks is not None:
            callbacks.on_train_batch_end(self.batch, {"loss": float(outcome.losses[-1])})
            if callbacks.deadline is not None and time.monotonic() >= callbacks.deadline:
                self.model.stop_training = True
        self.begun_anew = False
        self.batch += 1
        return outcome

    def _add(self, data: Data, outcome: Outcome) -> None:
        """Add a batch's loss to that of the epoch."""
        share = data.rows if data.weights is None else float(data.weights.sum())
        if not math.isfinite(outcome.losses[0]):
            return
        if math.isnan(self.weight):
            self.total = self.weight = 0.0
        loss = float(outcome.losses[0])
        if self.sums:
            self.penalty = self.trainer.core.penalty()
            self.total += loss - self.penalty
        else:
            self.total += loss * share
            self.weight += share

    def enter(self) -> None:
        """Append to the history what it does not have of the last step."""
        trainer = self.steps.trainer
        if trainer is None:
            return
        outcome, place = trainer.outcome(), trainer.place
        self.history.append_batches_up_to(
            place[2], outcome.losses, outcome.norms, self.steps.skipped - self.history.skipped
        )
        self.history.append_records_up_to(outcome.steps, trainer.columns(outcome.records))

    def state(self) -> None:
        """Nothing: a source of batches cannot be taken up again where it was."""

    def _finish_epoch(self, number: int, loss: float, lr: float, streams: list[Any]) -> None:
        logs = epoch_logs(self.model, loss, self.judges, streams, self.val)
        self.history.append_epochs([number], {k: [v] for k, v in logs.items()}, [lr])
        self.epoch += 1
        self.trainer.tell(logs.get("val_loss", loss))
        if self.callbacks is not None:
            self.callbacks.on_epoch_end(number, {**logs, "lr": lr})

    def open(self, state: None) -> None:
        """Begin."""
        from gdcore._fit import unit_names

        self.history = History(self.model._param_names, unit_names(self.model))
        self.steps = Steps(self.model, draw_key(self.model._generator), True)

    @property
    def trainer(self) -> Trainer:
        """That of the batch under way."""
        assert self.steps.trainer is not None
        return self.steps.trainer

    @property
    def place(self) -> tuple[int, int]:
        """Epoch and batch within it."""
        return self.epoch, self.batch


def _first(batches: Iterator[Any]) -> tuple[Any, Iterator[Any]]:
    """Return the first batch, and an iterator that gives it again before the others."""
    for item in batches:
        return item, itertools.chain([item], batches)
    raise ValueError("X is an iterator without batches; one or more are accepted")


def check_settings(given: dict[str, Any]) -> None:
    """Refuse arguments of fit that need all rows at once."""
    for name, (default, way_out) in _REFUSED.items():
        value = given.get(name, default)
        if value is not default and not (isinstance(value, float) and value == default):
            raise ValueError(
                f"{name} is given, but X gives batches one by one; arrays are accepted with it;"
                f" {way_out}"
            )


def train_on_batch(
    model: Model, X: Any, y: Any, sample_weight: Any, class_weight: Any, return_dict: bool
) -> Any:
    """Take one step; see `gdcore.models.Sequential.train_on_batch`."""
    model._check_compiled()
    model._refuse_busy()
    try:
        model.__dict__["_busy"] = True
        with model._undone():
            return _train_on_batch(model, (X, y, sample_weight), class_weight, return_dict)
    finally:
        model.__dict__["_busy"] = False


def _train_on_batch(model: Model, item: Any, class_weight: Any, return_dict: bool) -> Any:
    data = batch_of(model, item, class_weight)
    check_scalar(functions_of(model, data.y, (data.rows,), True), data)
    model._store.ready()
    steps = model._own_steps
    if steps is None:
        key = draw_key(model._generator)
        steps = model._own_steps = (key, 0)
    taking = Steps(model, steps[0], False)
    taking.count = steps[1]
    judges = metrics_of(model)
    width = model._known_plan().width
    seen = np.empty((data.rows, width), model.dtype) if judges else None
    model._settle()
    outcome = taking.take(data, seen)
    if outcome.reason is Reason.NONFINITE:
        assert taking.trainer is not None
        raise failure(_Single(model, taking.trainer), outcome, data)
    model._own_steps = (steps[0], taking.count)
    values = {"loss": float(outcome.losses[0])}
    if seen is not None:
        values.update(judged(judges, data, seen))
    return as_asked(values, return_dict)


class _Single:
    """What `failure` asks of a fit, for a single step."""

    def __init__(self, model: Model, trainer: Trainer) -> None:
        self.model, self.trainer = model, trainer
        self.history = History()
        self.place = 0, 0
        self.settings = FitSettings()
