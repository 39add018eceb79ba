"""Training: what `Sequential.fit` does between its calls into the core.

The core trains for as many batches as nothing in Python has to be asked: all epochs at once where
there are neither callbacks nor metrics nor validation data, else an epoch, else a batch. Whatever
ends a call, Ctrl-C too, the history has what the core has done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdcore import _core
from gdcore._fit_batches import BatchFit, check_settings, is_batches
from gdcore._fit_data import Prepared, prepare
from gdcore._fit_failure import failure
from gdcore._fit_settings import FitSettings, FitState
from gdcore._interrupts import Interrupts, held_interrupts
from gdcore._native import is_told
from gdcore._networks import check_scalar, functions_of, objective_of
from gdcore._run import epoch_logs, metrics_of
from gdcore._trainer import START, Key, Outcome, Reason, Trainer, draw_key, in_core
from gdcore.history import History

if TYPE_CHECKING:
    from gdcore._callback_list import CallbackList
    from gdcore._model import Model

BATCHES = 1 << 16  # of one call, and rows that are judged together
PROGRESS = 0.1  # seconds between two moves of the bar


class Fit:
    """One fit while it runs.

    Attributes
    ----------
    streams : list
        The metrics of the epoch under way, and `judged` the number of them that have its last
        block of predictions; `seen` is that block.
    pending : tuple or None
        Number, loss and rate of an epoch whose last batch is done, but not what follows it.
    """

    def __init__(self, model: Model, data: Prepared, settings: FitSettings) -> None:
        self.model, self.data, self.settings, self.val = model, data, settings, data.val
        self.callbacks: CallbackList | None = settings.callbacks
        self.rows = data.train.rows
        self.batch, self.batches = settings.batches_of(self.rows)
        self.judges = metrics_of(model)
        y = data.train.y
        assert y is not None
        last = min(self.batch, self.rows - self.batch * (self.batches - 1))
        self.sizes = self.batch, last
        self.own = functions_of(model, y, self.sizes, True)
        if data.val is not None:  # refused here what would be refused after an epoch
            check_scalar(functions_of(model, data.val.y, (data.val.rows,), False), data.val)
        check_scalar(self.own, data.train)
        self.objective = objective_of(model, y, self.own)
        self.order = settings.order_of(0, self.rows)
        # all rows in one batch need no order: they are read as they stand
        self.shuffles = settings.shuffle and self.order is None and self.batch < self.rows
        self.history: History
        self.trainer: Trainer
        self.key: Key
        self.streams: list[Any] = []
        self.judged = 0
        self.seen: NDArray[Any] | None = None
        self.seen_from = 0  # the first batch that is in it
        self.pending: tuple[int, float, float] | None = None
        self.held: Callable[[bool], Any] = held_interrupts
        self._drawing: tuple[int, Any] = (-1, None)

    # ---- Beginning -------------------------------------------------------------------------------

    def open(self, state: FitState | None, key: Key | None = None) -> None:
        """Make the trainer and the history, or take both up where a fit ended."""
        model, settings = self.model, self.settings
        if state is not None:
            key = state.key
        self.key = draw_key(model._generator) if key is None else key
        self.trainer = self._made_trainer()
        fresh = state is None or model.history is None
        self.history = History(model._param_names, unit_names(model)) if fresh else model.history
        if state is not None:
            if state.place != START:
                self.trainer.place = state.place
            self.pending, self.seen, self.seen_from = state.pending, state.seen, state.seen_from
            self.streams, self.judged = list(state.streams), state.judged
        place = self.trainer.place
        ended = place[0] - (self.pending is not None)
        if ended or place[1]:
            self.order = settings.order_of(ended, self.rows)
        self.first_epoch = len(self.history.epoch) - ended
        self.first_batch = len(self.history.batch_losses) - place[2]
        self.skipped = place[6]

    def _made_trainer(self) -> Trainer:
        return Trainer(
            self.model,
            self.data.train,
            self.objective,
            self.own,
            self.batch,
            self.batches,
            shuffle=self.shuffles,
            statistics=True,
            key=self.key,
            threads=self.settings.threads,
            epoch=self.settings.initial_epoch,
        )

    def _renew(self) -> None:
        """Go on with the user's functions as they are now: what they captured may have changed."""
        y = self.data.train.y
        assert y is not None
        own = functions_of(self.model, y, self.sizes, True)
        if own.is_same(self.own):
            return
        check_scalar(own, self.data.train)
        place = self.trainer.place
        self.own, self.objective = own, objective_of(self.model, y, own)
        self.trainer = self._made_trainer()
        self.trainer.place = place

    def state(self) -> FitState:
        """Return where the fit stands."""
        place = self.trainer.place
        inside = place[1] or self.pending is not None
        return FitState(
            self.key,
            place,
            self.rows,
            self.batch,
            self.batches,
            self.settings.initial_epoch,
            live=self.callbacks,
            streams=self.streams if inside else [],
            judged=self.judged,
            seen=self.seen if inside else None,
            seen_from=self.seen_from,
            pending=self.pending,
        )

    @property
    def epoch(self) -> int:
        """Number of epochs done."""
        return self.trainer.place[0]

    @property
    def place(self) -> tuple[int, int]:
        """Epoch and batch within it."""
        return self.trainer.place[:2]

    def run(self) -> None:
        """Train until the last epoch, or until something ends it."""
        if self.pending is not None:
            self._finish_epoch()
        while self.epoch < self.settings.last_epoch and not self.model.stop_training:
            if self.many():
                self._run_epochs()
            else:
                self._run_epoch()

    def many(self) -> bool:
        """Whether nothing in Python has to be asked between epochs."""
        callbacks, optimizer = self.callbacks, self.model.optimizer
        assert optimizer is not None
        native = in_core(optimizer)
        return (
            not self.judges
            and self.val is None
            and self.settings.batch_order is None
            and native is not None
            and (callbacks is None or not callbacks.wants_epochs)
            and not any(map(is_told, native._lrs()))
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
        if self.callbacks is not None and ends:
            numbers, lrs = self.history.epoch[-ends:], self.history.lrs[-ends:]
            shown = {"loss": outcome.epoch_losses.tolist(), "lr": lrs}
            self.callbacks.on_epochs(numbers, shown)
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
        epoch = self.epoch
        if not self.trainer.place[1] or not self.streams:
            self.streams = [judge.stream() for judge in self.judges]
        if self.callbacks is not None:
            with self.held(self.callbacks.are_own):
                self.callbacks.on_epoch_begin(epoch + self.settings.initial_epoch)
            self.model._check_compiled()  # a callback may have frozen a layer, which compile takes
        if self.own.parts:
            self._renew()
        if epoch or self.trainer.place[1]:
            self.order = self.settings.order_of(epoch, self.rows)
        while self.pending is None:
            at = self.trainer.place[1]
            outcome = self._batches(at, min(self.batches - at, self._segment(at)))
            if self.pending is None:
                self._end(outcome)
                if self.model.stop_training:
                    return
        self._finish_epoch()
        self._end(outcome)

    def _block(self) -> int:
        """Return the batches whose predictions are judged together."""
        return max(BATCHES // self.batch, 1)

    def _segment(self, at: int) -> int:
        """Return the batches that one call may run within an epoch."""
        each = self.callbacks is not None and self.callbacks.wants_batches
        if each or self.trainer.stepped_here:
            return 1
        left = self._block() - at % self._block() if self.judges else BATCHES
        return min(left, self._at_once())

    def _batches(self, at: int, count: int) -> Outcome:
        """Run batches of an epoch; where a block of them is done, judge what they predicted."""
        callbacks = self.callbacks
        each = callbacks is not None and callbacks.wants_batches
        if each:
            assert callbacks is not None
            callbacks.on_train_batch_begin(at)
        started = time.monotonic()
        outcome = self._call(count, self._window(at) if self.judges else None)
        if callbacks is not None and callbacks.wants_progress and not each:
            self._measure(count, time.monotonic() - started)
            callbacks.on_progress(self.epoch + self.trainer.place[1] / self.batches)
        if each and len(outcome.losses):
            assert callbacks is not None
            self.model._fit_state = self.state()
            callbacks.on_train_batch_end(at, {"loss": float(outcome.losses[-1])})
        if self.judges and not self.trainer.place[1] % self._block() and len(outcome.losses):
            self._judge(at)
        return outcome

    def _window(self, at: int) -> NDArray[Any]:
        """Return where predictions from this batch on go, in the block that it belongs to."""
        first = at % self._block()
        if not first and at:
            self._judge(at - 1)  # where it was cut off between the block and its judges
        if not first or self.seen is None:
            begin = (at - first) * self.batch
            rows = min(self._block() * self.batch, self.rows - begin)
            width = self.model._known_plan().width
            self.seen, self.judged = np.zeros((rows, width), self.model.dtype), 0
            self.seen_from = at
        return self.seen[first * self.batch :]

    def _judge(self, at: int) -> None:
        """Add the block of predictions that batch `at` belongs to, to the metrics."""
        if self.seen is None:
            return
        train, begin = self.data.train, at // self._block() * self._block() * self.batch
        end = min(begin + len(self.seen), self.batches * self.batch)
        first = self.seen_from * self.batch
        rows = self._rows(first, end - first)
        assert train.y is not None
        y, seen = train.y[rows], self.seen[first - begin : end - begin]
        weights = None if train.own is None else train.own[rows]
        while self.judged < len(self.streams):
            self.streams[self.judged].update(y, seen, weights)
            self.judged += 1
        self.seen = None

    def _rows(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the rows at these places of the epoch's order, of which the last batch is done."""
        epoch = self.epoch if self.pending is None else self.epoch - 1
        if self.order is not None:
            rows = self.order[first : first + count]
        elif self.shuffles:
            if self._drawing[0] != epoch:
                self._drawing = epoch, _core.epoch_order(self.rows, *self.key, epoch)
            rows = self._drawing[1][first : first + count]
        else:
            rows = np.arange(first, first + count)
        chosen = self.data.train.chosen
        found: NDArray[np.int64] = rows if chosen is None else chosen[rows]
        return found

    def _finish_epoch(self) -> None:
        """Enter an epoch that ended: its loss, metrics, validation; tell who wants to know."""
        assert self.pending is not None
        number, loss, lr = self.pending
        if self.judges and self.seen is not None:
            self._judge(self.batches - 1)
        logs = epoch_logs(self.model, loss, self.judges, self.streams, self.val)
        callbacks = self.callbacks
        with self.held(True) as held:
            self.history.append_epochs([number], {k: [v] for k, v in logs.items()}, [lr])
            self.pending = None
            self.trainer.tell(logs.get("val_loss", loss))
            self.model._fit_state = self.state()
            if callbacks is not None:
                with held.wait(callbacks.are_own):
                    callbacks.on_epoch_end(number, {**logs, "lr": lr})

    # ---- Calls -----------------------------------------------------------------------------------

    def _call(self, count: int, seen: Any = None) -> Outcome:
        """Run batches in the core; what they brought is entered, whatever ends the call."""
        deadline = math.inf
        if self.callbacks is not None and self.callbacks.deadline is not None:
            deadline = self.callbacks.deadline
        try:
            return self.trainer.run(count, self.order, deadline, seen)
        finally:
            with self.held(True):
                self.enter()

    def enter(self) -> None:
        """Append to the history what it does not have of the last call; again changes nothing."""
        history, outcome, place = self.history, self.trainer.outcome(), self.trainer.place
        history.append_batches_up_to(
            self.first_batch + place[2], outcome.losses, outcome.norms, place[6] - self.skipped
        )
        self.skipped = place[6]
        history.append_records_up_to(outcome.steps, self.trainer.columns(outcome.records))
        missing = place[0] + self.first_epoch - len(history.epoch)
        if missing <= 0 or self.pending is not None or not len(outcome.epoch_losses):
            return
        first = place[0] - missing + self.settings.initial_epoch
        losses = outcome.epoch_losses[-missing:]
        ends = len(outcome.lrs) - 1 - place[1] - self.batches * np.arange(missing)[::-1]
        if self.many():
            numbers = range(first, first + missing)
            history.append_epochs(numbers, {"loss": losses}, outcome.lrs[ends])
        else:
            self.pending = first, float(losses[-1]), float(outcome.lrs[ends[-1]])

    def _end(self, outcome: Outcome) -> None:
        """Stop where the outcome says so."""
        if outcome.reason is Reason.NONFINITE:
            assert self.model.optimizer is not None
            self.model._outside_at = self.model.optimizer.t  # the average is not the good weights'
            error = failure(self, outcome, self.data.train)
            self.model.stop_training = True
            if self.settings.on_nonfinite == "raise":
                raise error
        elif outcome.reason is Reason.DEADLINE:
            self.model.stop_training = True


def fit(model: Model, X: Any, y: Any = None, **settings: Any) -> History:
    """Train a model; see `gdcore.models.Sequential.fit`."""
    model._check_compiled()
    by_batches = is_batches(X, y)
    if by_batches:
        check_settings(settings)
    chosen = FitSettings(**settings)
    state = chosen.resumed(model)
    model._refuse_busy()
    try:
        model.__dict__["_busy"] = True
        with Interrupts() as interrupts, model._undone():
            running: Any
            if by_batches:
                running = BatchFit(model, X, chosen)
            else:
                running = Fit(model, prepare(model, X, y, chosen, state), chosen)
            running.held = interrupts.held
            model._begin(chosen.seed)
            return conduct(model, running, state)
    finally:
        model.__dict__["_busy"] = False


def unit_names(model: Model) -> list[str]:
    """Return the layers whose units the statistics count."""
    _, dropped = model._fused_loss()
    stages = model._stages()[:-1] if dropped else model._stages()
    return [n for n, s in zip(model._stage_names(), stages, strict=False) if s[0] == "activation"]


def conduct(model: Model, running: Any, state: FitState | None) -> History:
    """Run a fit between the first and the last words to its callbacks; keep where it stands."""
    closed = False

    def close() -> None:
        nonlocal closed
        with running.held(True):
            if closed or model._unsettled:
                return
            running.enter()
            model._fit_state = running.state()
            if running.callbacks is not None:
                _dismiss(model, running.callbacks)
            closed = True

    _start(model, running, state)
    try:
        try:
            with running.held(True):
                if state is not None:
                    model._outside_at = None  # the weights are those that the optimizer stepped to
                model._settle()
                model._fit_state = running.state()
            running.run()
        finally:
            close()
    except KeyboardInterrupt as error:
        close()  # Ctrl-C may have come before the first one began
        error.history = running.history  # type: ignore[attr-defined]
        raise
    history: History = running.history
    return history


def _start(model: Model, running: Any, state: FitState | None) -> None:
    """Make everything ready and introduce it to the callbacks; where one refuses, undo it."""
    before = model.history, model.stop_training
    weights = None if state is None else model.get_weights()
    outside = model._outside_at
    try:
        if state is not None and state.weights is not None:
            model.set_weights(state.weights)
        running.open(state)
        model.history, model.stop_training = running.history, False
        if running.callbacks is not None:
            _introduce(model, running, running.callbacks, state)
    except BaseException as error:
        if weights is not None:
            model.set_weights(weights)
            model._outside_at = outside
        if isinstance(error, KeyboardInterrupt):
            error.history = model.history  # type: ignore[attr-defined]
        else:
            model.history, model.stop_training = before
        raise


def _introduce(model: Model, running: Any, callbacks: CallbackList, state: FitState | None) -> None:
    """Tell callbacks what is going to be fitted; one of them may refuse it."""
    callbacks.set_model(model)
    callbacks.set_params(running.settings.params_for(running))
    callbacks.on_train_begin()
    if state is None:
        return
    try:
        callbacks.load_state_dict(state.callbacks)
    except BaseException:
        callbacks.on_train_end()
        raise


def _dismiss(model: Model, callbacks: CallbackList) -> None:
    """Let callbacks end the fit; weights that one puts in their place are not those of the fit."""
    before = model.get_weights()
    callbacks.on_train_end()
    state = model._fit_state
    if state is None:
        return
    if any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True)):
        state.weights = before
    model._fit_state = state.settled()
