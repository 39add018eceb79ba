"""Training: what `Sequential.fit` does between its calls into the core.

The core trains for as many batches as nothing in Python has to be asked: all epochs at once where
there are neither callbacks nor metrics nor validation data, else an epoch, else a batch.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from gdcore import _core
from gdcore._fit_batches import BatchFit, check_settings, draw_key, enter_records, is_batches
from gdcore._fit_data import Prepared, prepare
from gdcore._fit_failure import failure
from gdcore._fit_settings import FitSettings, keep
from gdcore._native import is_told
from gdcore._networks import functions_of, objective_of
from gdcore._run import evaluate_rows, metrics_of
from gdcore._trainer import START, Key, Outcome, Place, Reason, Trainer
from gdcore.history import History

if TYPE_CHECKING:
    from gdcore._callback_list import CallbackList
    from gdcore._model import Model

BATCHES = 1 << 16  # of one call, and rows that are judged together
PROGRESS = 0.1  # seconds between two moves of the bar


class Fit:
    """One fit while it runs."""

    def __init__(self, model: Model, data: Prepared, settings: FitSettings) -> None:
        self.model, self.data, self.settings, self.val = model, data, settings, data.val
        self.callbacks: CallbackList | None = settings.callbacks
        rows, batch = data.train.rows, settings.batch_of(data.train.rows)
        batches = rows // batch if settings.drop_last else -(-rows // batch)
        self.rows = rows
        self.batches = batches
        if settings.steps_per_epoch is not None:
            self.batches = min(settings.steps_per_epoch, batches)
        self.judges = metrics_of(model)
        self.history: History
        self.trainer: Trainer
        self.epoch = 0  # epochs done
        self.order: Any = None
        self.streams: list[Any] = []

    # ---- Beginning -------------------------------------------------------------------------------

    def open(self, key: Key, place: Place) -> None:
        """Make the trainer, and put it where the fit begins."""
        model, settings, data = self.model, self.settings, self.data
        batch = settings.batch_of(self.rows)
        assert data.train.y is not None
        own = functions_of(
            model, data.train.y, (batch, self.rows - batch * (self.batches - 1)), True
        )
        objective = objective_of(model, data.train.y, own)
        assert model.optimizer is not None
        skip = model.optimizer.get_params().get("on_nonfinite") == "skip"
        self.key = key
        self.trainer = Trainer(
            model,
            data.train,
            objective,
            own,
            batch,
            self.batches,
            shuffle=settings.shuffle and settings.batch_order is None,
            skip=skip,
            statistics=True,
            key=key,
            threads=settings.threads,
        )
        self.epoch = place[0]
        if place != START:
            self.trainer.place = place

    def run(self) -> None:
        """Train until the last epoch, or until something ends it."""
        while self.epoch < self.settings.last_epoch and not self.model.stop_training:
            if self.many():
                self._run_epochs()
            else:
                self._run_epoch()

    def many(self) -> bool:
        """Whether nothing in Python has to be asked between epochs."""
        callbacks = self.callbacks
        return (
            not self.judges
            and self.val is None
            and self.settings.batch_order is None
            and not self.trainer.stepped_here
            and (callbacks is None or not callbacks.wants_epochs)
            and not any(map(is_told, self.trainer.optimizer._lrs()))
        )

    # ---- Many epochs at once ---------------------------------------------------------------------

    def _run_epochs(self) -> None:
        """Run what is left, or as much of it as goes into one call."""
        begun = self.trainer.place[1]
        left = (self.settings.last_epoch - self.epoch) * self.batches - begun
        count = min(left, BATCHES, self._at_once())
        started = time.monotonic()
        outcome = self._call(count)
        ends = len(outcome.epoch_losses)
        lasts = self.batches - 1 - begun + self.batches * np.arange(ends)
        first = self.epoch + self.settings.initial_epoch
        columns = {"loss": outcome.epoch_losses}
        self.history.append_epochs(range(first, first + ends), columns, outcome.lrs[lasts])
        self.epoch += ends
        if self.callbacks is not None and ends:
            shown = {"loss": outcome.epoch_losses.tolist(), "lr": self.history.lrs[-ends:]}
            self.callbacks.on_epochs(range(first, first + ends), shown)
        self._measure(count, time.monotonic() - started)
        self._end(outcome)

    def _at_once(self) -> int:
        """Return the batches between two moves of a progress bar."""
        if self.callbacks is None or not self.callbacks.wants_progress:
            return BATCHES
        return self.settings.pace

    def _measure(self, count: int, seconds: float) -> None:
        """Choose how many batches a tenth of a second takes."""
        if seconds > 0:
            self.settings.pace = max(int(count * PROGRESS / seconds), 1)

    # ---- One epoch -------------------------------------------------------------------------------

    def _run_epoch(self) -> None:
        """Run an epoch, or the rest of one, with everything that is asked around it."""
        number, callbacks = self.epoch + self.settings.initial_epoch, self.callbacks
        begun = self.trainer.place[1]
        if not begun or not self.streams:
            self.streams = [judge.stream() for judge in self.judges]
        if callbacks is not None:
            callbacks.on_epoch_begin(number)
        self.order = self.settings.order_of(self.epoch, self.rows)
        ended, lr = False, math.nan
        outcome: Outcome | None = None
        while not ended:
            at = self.trainer.place[1]
            outcome = self._batches(at, min(self.batches - at, self._segment()))
            ended = bool(len(outcome.epoch_losses))
            if len(outcome.lrs):
                lr = float(outcome.lrs[-1])
            if not ended:
                self._end(outcome)
                if self.model.stop_training:
                    return
        assert outcome is not None
        self._finish_epoch(number, float(outcome.epoch_losses[-1]), lr)
        self._end(outcome)

    def _segment(self) -> int:
        """Return the batches that one call may run within an epoch."""
        most = BATCHES if not self.judges else max(BATCHES // self.trainer.batch, 1)
        if self.callbacks is not None and self.callbacks.wants_batches:
            return 1
        return min(most, self._at_once())

    def _batches(self, at: int, count: int) -> Outcome:
        """Run batches of an epoch, and judge what they predicted."""
        callbacks = self.callbacks
        each = callbacks is not None and callbacks.wants_batches
        seen = None
        if self.judges:
            rows = min(count * self.trainer.batch, self.rows - at * self.trainer.batch)
            seen = np.empty((rows, self.model._known_plan().width), self.model.dtype)
        if each:
            assert callbacks is not None
            callbacks.on_train_batch_begin(at)
        started = time.monotonic()
        outcome = self._call(count, seen)
        if callbacks is not None and callbacks.wants_progress and not each:
            self._measure(count, time.monotonic() - started)
            callbacks.on_progress(self.epoch + self.trainer.place[1] / self.batches)
        if seen is not None and len(outcome.losses):
            first = at * self.trainer.batch
            rows = min(len(outcome.losses) * self.trainer.batch, self.rows - first)
            self._judge(first, seen[:rows])
        if each and len(outcome.losses):
            assert callbacks is not None
            callbacks.on_train_batch_end(at, {"loss": float(outcome.losses[-1])})
        return outcome

    def _judge(self, first: int, seen: Any) -> None:
        """Add predictions of the epoch's rows [first, first + len(seen)) to the metrics."""
        train, count = self.data.train, len(seen)
        if self.order is not None:
            rows = self.order[first : first + count]
        elif self.settings.shuffle:
            if self._drawn != self.epoch:
                self._drawing = _core.epoch_order(self.rows, *self.key, self.epoch)
                self._drawn = self.epoch
            rows = self._drawing[first : first + count]
        else:
            rows = np.arange(first, first + count)
        if train.chosen is not None:
            rows = train.chosen[rows]
        assert train.y is not None
        weights = None if train.weights is None else train.weights[rows]
        for stream in self.streams:
            stream.update(train.y[rows], seen, weights)

    _drawn = -1
    _drawing: Any = None

    def _finish_epoch(self, number: int, loss: float, lr: float) -> None:
        """Enter an epoch that ended: its loss, metrics, validation; tell who wants to know."""
        logs = {"loss": loss}
        for judge, stream in zip(self.judges, self.streams, strict=True):
            logs[judge.name] = stream.result()
        if self.val is not None:
            values = evaluate_rows(self.model, self.val, self.judges)
            logs.update({f"val_{name}": value for name, value in values.items()})
        self.history.append_epochs([number], {k: [v] for k, v in logs.items()}, [lr])
        self.epoch += 1
        self.trainer.tell(logs.get("val_loss", loss))
        keep(self.model, self)
        if self.callbacks is not None:
            self.callbacks.on_epoch_end(number, {**logs, "lr": lr})

    # ---- Calls -----------------------------------------------------------------------------------

    def _call(self, count: int, seen: Any = None) -> Outcome:
        """Run batches in the core; what they brought is entered even where a signal ends it."""
        deadline = math.inf
        if self.callbacks is not None and self.callbacks.deadline is not None:
            deadline = self.callbacks.deadline
        before = self.trainer.place[6]
        try:
            outcome = self.trainer.run(count, self.order, deadline, seen)
        except BaseException:
            self._enter(self.trainer.outcome(), before)
            self.epoch = self.trainer.place[0]
            raise
        self._enter(outcome, before)
        return outcome

    def _enter(self, outcome: Outcome, skipped: int) -> None:
        """Append what batches brought to the history."""
        self.history.append_batches(outcome.losses, outcome.norms, self.trainer.place[6] - skipped)
        enter_records(self.history, self.trainer, outcome)

    @property
    def place(self) -> tuple[int, int]:
        """Epoch and batch within it."""
        return self.trainer.place[:2]

    def _end(self, outcome: Outcome) -> None:
        """Stop where the outcome says so."""
        if outcome.reason is Reason.NONFINITE:
            error = failure(self, outcome)
            self.model.stop_training = True
            if self.settings.on_nonfinite == "raise":
                raise error
        elif outcome.reason is Reason.DEADLINE:
            self.model.stop_training = True


def fit(model: Model, X: Any, y: Any = None, **settings: Any) -> History:
    """Train a model; see `gdcore.models.Sequential.fit`."""
    model._check_compiled()
    if is_batches(X, y):
        check_settings(settings)
        return _fit_batches(model, X, FitSettings(**settings))
    chosen = FitSettings(**settings)
    state = chosen.resumed(model)
    data = prepare(model, X, y, chosen)
    chosen.check_rows(model, data.train.rows, state)
    if state is not None:
        chosen.take_up(model, state)
    running = Fit(model, data, chosen)
    if state is None:
        model._begin(chosen.seed)
        key, place = draw_key(model), START
        running.history = History(model._param_names, unit_names(model))
    else:
        key, place = state.key, state.place
        running.history = model.history or History(model._param_names, unit_names(model))
        running.streams = list(state.streams)
    running.open(key, place)
    return conduct(model, running, state)


def _fit_batches(model: Model, X: Any, settings: FitSettings) -> History:
    """Train on batches that come one by one."""
    running = BatchFit(model, X, settings)
    model._begin(settings.seed)
    running.history = History(model._param_names, unit_names(model))
    running.open(draw_key(model))
    return conduct(model, running, None)


def unit_names(model: Model) -> list[str]:
    """Return the layers whose units the statistics count."""
    _, dropped = model._fused_loss()
    stages = model._stages()[:-1] if dropped else model._stages()
    return [n for n, s in zip(model._stage_names(), stages, strict=False) if s[0] == "activation"]


def conduct(model: Model, running: Any, state: Any) -> History:
    """Run a fit between the first and the last words to its callbacks; keep where it stands."""
    callbacks: CallbackList | None = running.callbacks
    history: History = running.history
    model.history, model.stop_training = history, False
    if callbacks is not None:
        callbacks.set_model(model)
        callbacks.set_params(running.settings.params_for(running))
        callbacks.on_train_begin()
        if state is not None:
            callbacks.load_state_dict(state.callbacks)
    if isinstance(running, Fit):
        keep(model, running)
    model._outside = False
    try:
        running.run()
    except KeyboardInterrupt as error:
        error.history = history  # type: ignore[attr-defined]
        raise
    finally:
        if isinstance(running, Fit):
            keep(model, running)
        if callbacks is not None:
            _end(model, callbacks)
    return history


def _end(model: Model, callbacks: CallbackList) -> None:
    """Let callbacks end the fit; weights that one puts in their place are not those of the fit."""
    before = model.get_weights()
    callbacks.on_train_end()
    state = model._fit_state
    if state is None:
        return
    if any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True)):
        state.weights = before
    model._fit_state = state.settled()
