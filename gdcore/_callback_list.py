"""The callbacks of one fit, called as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from gdcore._callback import Callback, Logs
from gdcore._progress import EpochLines, ProgressBar, from_verbose

__all__ = ["CallbackList"]


class CallbackList:
    """The callbacks of one fit, and what it need not do for their sake.

    They are called in their order, except that a `ModelCheckpoint` comes after the others, whose
    state it saves.

    Parameters
    ----------
    callbacks : sequence of Callback, Callback or None
    verbose : {0, 1, 2, "auto"} or bool, default 0
        See `from_verbose`; where a `ProgressBar` is among the callbacks no second one is added.

    Raises
    ------
    TypeError
        If one is not a `Callback`.

    Examples
    --------
    A loop of one's own:

    >>> from types import SimpleNamespace
    >>> from gdcore.callbacks import CallbackList, EarlyStopping
    >>> model = SimpleNamespace(stop_training=False)
    >>> stop = EarlyStopping("loss", patience=2, restore_best_weights=False)
    >>> callbacks = CallbackList([stop])
    >>> callbacks.set_model(model)
    >>> callbacks.on_train_begin()
    >>> for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.4, 2.3]):
    ...     callbacks.on_epoch_begin(epoch)
    ...     callbacks.on_epoch_end(epoch, {"loss": loss})
    ...     if model.stop_training:
    ...         break
    >>> callbacks.on_train_end()
    >>> epoch, stop.best_epoch
    (3, 1)
    """

    def __init__(
        self, callbacks: Sequence[Callback] | Callback | None = None, verbose: Any = 0
    ) -> None:
        given = list(_sequence_of(callbacks))
        for number, callback in enumerate(given):
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks[{number}] is {_described(callback)}")
        shown = from_verbose(verbose)
        has_bar = any(isinstance(callback, ProgressBar) for callback in given)
        if shown is not None and not (has_bar and isinstance(shown, ProgressBar)):
            given.append(shown)
        self._callbacks = sorted(given, key=lambda callback: callback._rank)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self._callbacks)

    def __len__(self) -> int:
        return len(self._callbacks)

    @property
    def wants_batches(self) -> bool:
        """Whether a callback has a batch hook: `fit` then runs one batch at a time."""
        return any(callback._wants_batches for callback in self)

    @property
    def wants_epochs(self) -> bool:
        """Whether a callback is to be called at each epoch's end, before the next begins.

        Without one `fit` may run many epochs at a time and tell the rest by `on_epochs`.
        """
        return any(not callback._late for callback in self)

    @property
    def are_own(self) -> bool:
        """Whether all are gdcore's: these are quick, and Ctrl-C waits for their end."""
        return all(type(callback).__module__.startswith("gdcore.") for callback in self)

    @property
    def wants_progress(self) -> bool:
        """Whether there is a bar to be moved by `on_progress`, some ten times a second."""
        return any(isinstance(callback, ProgressBar) for callback in self)

    @property
    def deadline(self) -> float | None:
        """The earliest moment, on the clock of ``time.monotonic()``, at which `fit` is to stop."""
        moments = [callback.deadline for callback in self if callback.deadline is not None]
        return min(moments, default=None)

    def set_model(self, model: Any) -> None:
        """Give each the model."""
        for callback in self:
            callback.set_model(model)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Give each the parameters of the fit, see `Callback`."""
        for callback in self:
            callback.set_params(params)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Start a fit; where one refuses it, those that have begun are ended."""
        with ExitStack() as begun:
            for callback in self:
                begun.callback(callback.on_train_end, None)
                callback.on_train_begin(logs)
            begun.pop_all()

    def on_train_end(self, logs: Logs = None) -> None:
        """End a fit; an error of one does not keep the others from it."""
        with ExitStack() as stack:
            for callback in reversed(self._callbacks):
                stack.callback(callback.on_train_end, logs)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Start an epoch."""
        for callback in self:
            callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """End an epoch."""
        for callback in self:
            callback.on_epoch_end(epoch, logs)

    def on_epochs(self, epochs: Sequence[int], columns: Mapping[str, Sequence[Any]]) -> None:
        """Tell of epochs that were run at once, a column of values by name.

        Only where `wants_epochs` is False: those that are called at the end of each epoch would
        come too late.
        """
        if not len(epochs):
            return
        for callback in self:
            callback.on_epoch_begin(epochs[0])
            if isinstance(callback, EpochLines):
                callback.on_epochs(epochs, columns)
            else:
                last = {name: values[-1] for name, values in columns.items()}
                callback.on_epoch_end(epochs[-1], last)

    def on_progress(self, done: float, logs: Logs = None) -> None:
        """Move the bar within an epoch: `done` epochs, a fraction too."""
        for callback in self:
            if isinstance(callback, ProgressBar):
                callback.on_progress(done, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Start a batch."""
        for callback in self:
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """End a batch."""
        for callback in self:
            callback.on_train_batch_end(batch, logs)

    def state_dict(self) -> list[dict[str, Any]]:
        """Return {"class": name, "state": dict} of each that has a state, in order."""
        states = [(type(callback).__name__, callback.state_dict()) for callback in self]
        return [{"class": name, "state": state} for name, state in states if state]

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Give the states to callbacks of the same classes, in order; after ``on_train_begin``.

        Raises
        ------
        ValueError
            If there is a state that no callback of its class is left for.
        """
        names = [type(callback).__name__ for callback in self]
        pairs, start = [], 0
        for entry in states:
            if entry["class"] not in names[start:]:
                raise ValueError(
                    f"callbacks are {', '.join(names) or 'none'}; the fit to be resumed had"
                    f" {', '.join(e['class'] for e in states)}: give the same, in the same order"
                )
            place = names.index(entry["class"], start)
            pairs.append((self._callbacks[place], entry["state"]))
            start = place + 1
        for callback, state in pairs:
            callback.load_state_dict(state)


def _sequence_of(callbacks: Any) -> Sequence[Any]:
    """Return the argument `callbacks` as a sequence."""
    if callbacks is None:
        return ()
    if isinstance(callbacks, list | tuple | CallbackList):
        return list(callbacks)
    return [callbacks]


def _described(found: Any) -> str:
    """Return what was found in the place of a callback, what is accepted, and the way out."""
    if isinstance(found, type) and issubclass(found, Callback):
        return f"the class {found.__name__}; accepted are its objects: write {found.__name__}(...)"
    way_out = ": write LambdaCallback(on_epoch_end=f)" if callable(found) else ""
    return f"{found!r:.80}; accepted are objects of classes derived from Callback{way_out}"
