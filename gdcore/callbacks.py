"""Callbacks: what `fit` does between epochs, with Keras's names.

They are given to ``model.fit(..., callbacks=[...])``. Each pickles, deep-copies, compares with
``==`` and prints as its constructor call; copies start afresh. What a fit makes of them (the best
value so far, the epochs waited) is read from their attributes and goes into checkpoints, so that
``fit(..., resume=True)`` continues as if nothing had been in between. A NaN is never better than
anything.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, NoReturn

from numpy.typing import NDArray

from gdcore._callback import Callback, Configured, Logs
from gdcore._callback_files import CSVLogger, ModelCheckpoint
from gdcore._callback_list import CallbackList
from gdcore._monitor import Watcher
from gdcore._names import did_you_mean, no_attribute
from gdcore._progress import ProgressBar, from_verbose

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TimeLimit",
    "from_verbose",
]

_HOOKS = (
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_begin",
    "on_train_end",
    "on_train_batch_begin",
    "on_train_batch_end",
)


def __getattr__(name: str) -> NoReturn:
    if name == "TerminateOnNaN":
        raise AttributeError(
            "there is no TerminateOnNaN: fit itself stops at the first loss or gradient that is not"
            " finite and keeps the last good weights; fit(on_nonfinite='raise'), the default,"
            " raises gd.NonFiniteError, fit(on_nonfinite='stop') ends quietly"
        )
    raise no_attribute(__name__, name, __all__)


@dataclass(frozen=True)
class EarlyStopping(Watcher):
    """Stop when a value has not got better for `patience` epochs, and restore the best weights.

    A value is better if ``value + min_delta < best`` (mode "max": ``value - min_delta > best``).
    The best weights are restored whenever the fit ends, not only where this callback ended it: also
    after the last epoch, at a `TimeLimit`, by Ctrl-C and after an error. A resumed fit goes on from
    the weights where it was, not from the best ones.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Name of "loss", a metric, or either with "val_". "val_loss" becomes "loss", with a warning,
        where there are no validation data; any other name that is not there is an error.
    min_delta : float, default 0.0
        By how much a value has to be better, >= 0.
    patience : int, default 0
        The fit stops after this many epochs in a row that are not better; 0 is as 1.
    mode : {"auto", "min", "max"}, default "auto"
        Whether small or large values are better; "auto" goes by the name.
    baseline : float, optional
        Until a value is better than this one too, ``wait`` goes on through epochs that are better
        than those before. These are the best ones all the same, and none of them ends the fit: it
        stops at the next that is not better, if `patience` is over [Keras].
    restore_best_weights : bool, default True
        Keras's default is False.
    start_from_epoch : int, default 0
        Number of the first epoch that is looked at; earlier ones are neither counted nor restored.

    Attributes
    ----------
    best : float or None
        The best value so far, None before the first.
    best_epoch : int
        Its epoch.
    wait : int
        Epochs since then; with `baseline`, since the last best one that was better than it.
    stopped_epoch : int
        The epoch after which it stopped the fit, 0 if it did not.
    best_weights : list of ndarray or None

    Raises
    ------
    ValueError
        When the fit begins, if it has no value of that name, or its mode cannot be told.

    Examples
    --------
    >>> from gdcore.callbacks import EarlyStopping
    >>> EarlyStopping(patience=3) == EarlyStopping("val_loss", patience=3)
    True
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        "n_iter_no_change": "patience",
        "tol": "min_delta",
        "threshold": "min_delta",
        "restore_best": "restore_best_weights",
        "metric": "monitor",
    }
    _state: ClassVar[tuple[str, ...]] = ("best", "best_epoch", "wait", "stopped_epoch")
    _passing: ClassVar[tuple[str, ...]] = (*Watcher._passing, "best_weights", "_last_weights")

    monitor: str = "val_loss"
    min_delta: float = 0.0
    patience: int = 0
    mode: str = "auto"
    baseline: float | None = None
    restore_best_weights: bool = True
    start_from_epoch: int = 0

    best: ClassVar[float | None] = None
    best_epoch: ClassVar[int] = 0
    wait: ClassVar[int] = 0
    stopped_epoch: ClassVar[int] = 0
    best_weights: ClassVar[list[NDArray[Any]] | None] = None
    _last_weights: ClassVar[list[NDArray[Any]] | None] = None  # where a resumed fit goes on

    def __post_init__(self) -> None:
        self._check_monitor()
        self._set(
            min_delta=self._number("min_delta", 0.0),
            patience=self._count("patience", low=0),
            baseline=None if self.baseline is None else self._number("baseline"),
            restore_best_weights=self._flag("restore_best_weights"),
            start_from_epoch=self._count("start_from_epoch", low=0),
        )

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Compare the value of an epoch; keep its weights, or stop."""
        value = self._value(logs)
        if epoch < self.start_from_epoch:
            return
        self._put(wait=self.wait + 1)
        if self._is_better(value, self.best, self.min_delta):
            self._put(best=value, best_epoch=epoch)
            if self.restore_best_weights:
                predicting = getattr(self.model, "_predicting_weights", self.model.get_weights)
                self._put(best_weights=predicting())
            if self.baseline is None or self._is_better(value, self.baseline, self.min_delta):
                self._put(wait=0)
        elif self.wait >= self.patience and epoch > 0:
            self._put(stopped_epoch=epoch)
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        """Restore the best weights."""
        if self.best_weights is not None:
            self._put(_last_weights=self.model.get_weights())
            self.model.set_weights(self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        """Return best value, epochs, and weights: "best_weights_0", "last_weights_0" and so on."""
        state = super().state_dict()
        for name, weights in (("best", self.best_weights), ("last", self._last_weights)):
            state |= {f"{name}_weights_{i}": array for i, array in enumerate(weights or ())}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; the model gets the weights that it had before they were restored."""
        best, last = (
            [value for name, value in state.items() if name.startswith(f"{which}_weights_")]
            for which in ("best", "last")
        )
        numbers = {name: value for name, value in state.items() if "_weights_" not in name}
        super().load_state_dict(numbers)
        self._put(best_weights=best or None)
        if last:
            self.model.set_weights(last)


@dataclass(frozen=True)
class ReduceLROnPlateau(Watcher):
    """Multiply the learning rate by `factor` when a value has not got better for some epochs.

    ``lr = max(lr * factor, min_lr)`` of ``model.optimizer``, and of each of its groups that has a
    rate of its own. `gdcore.schedules.plateau` is torch's form of it, part of the optimizer.

    Parameters
    ----------
    monitor : str, default "val_loss"
        As in `EarlyStopping`.
    factor : float, default 0.1
        In [0, 1).
    patience : int, default 10
        Epochs in a row that are not better, after which the rate falls.
    mode : {"auto", "min", "max"}, default "auto"
    min_delta : float, default 1e-4
        By how much a value has to be better, >= 0.
    cooldown : int, default 0
        Epochs after a fall that are not counted.
    min_lr : float, default 0.0
        The smallest rate, >= 0.

    Attributes
    ----------
    best : float or None
        The best value so far.
    wait, cooldown_counter : int
        Epochs since then, and epochs that are not going to be counted.

    Raises
    ------
    ValueError
        When the fit begins, if the optimizer's rate is a schedule, or as `EarlyStopping`.

    Examples
    --------
    >>> from gdcore.callbacks import ReduceLROnPlateau
    >>> ReduceLROnPlateau(factor=0.5, patience=3) == ReduceLROnPlateau("val_loss", 0.5, 3)
    True
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        "gamma": "factor",
        "epsilon": "min_delta",
        "threshold": "min_delta",
        "metric": "monitor",
    }
    _state: ClassVar[tuple[str, ...]] = ("best", "wait", "cooldown_counter")

    monitor: str = "val_loss"
    factor: float = 0.1
    patience: int = 10
    mode: str = "auto"
    min_delta: float = 1e-4
    cooldown: int = 0
    min_lr: float = 0.0

    best: ClassVar[float | None] = None
    wait: ClassVar[int] = 0
    cooldown_counter: ClassVar[int] = 0

    def __post_init__(self) -> None:
        self._check_monitor()
        self._set(
            factor=self._real("factor", lambda x: 0 <= x < 1, "is a number in [0, 1)"),
            patience=self._count("patience", low=0),
            min_delta=self._number("min_delta", 0.0),
            cooldown=self._count("cooldown", low=0),
            min_lr=self._number("min_lr", 0.0),
        )

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget the last fit; refuse a schedule."""
        super().on_train_begin(logs)
        _refuse_schedule(self)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Compare the value of an epoch; lower the rate where it is due."""
        value = self._value(logs)
        if self.cooldown_counter > 0:
            self._put(cooldown_counter=self.cooldown_counter - 1, wait=0)
        if self._is_better(value, self.best, self.min_delta):
            self._put(best=value, wait=0)
        elif self.cooldown_counter == 0:
            self._put(wait=self.wait + 1)
            if self.wait >= self.patience and self._reduce():
                self._put(cooldown_counter=self.cooldown, wait=0)

    def _reduce(self) -> bool:
        """Lower the rates; tell whether one was above the smallest."""
        optimizer = self.model.optimizer
        reduced = optimizer.lr > self.min_lr
        if reduced:
            optimizer.lr = max(optimizer.lr * self.factor, self.min_lr)
        for number, settings in enumerate(_settings_of(optimizer).get("groups", ())):
            if settings.get("lr", 0.0) > self.min_lr:
                rate = max(settings["lr"] * self.factor, self.min_lr)
                optimizer.groups[number]["lr"] = rate
                reduced = True
        return bool(reduced)


@dataclass(frozen=True)
class LearningRateScheduler(Configured):
    """Set the learning rate before each epoch to ``schedule(epoch, lr)`` or ``schedule(epoch)``.

    Parameters
    ----------
    schedule : callable
        Called with the epoch's number and the rate so far, a float, where it takes two arguments
        (a second one with a default is left alone, unless it is called lr); else with the number.
        It returns the rate, finite and >= 0. The schedules of `gdcore.schedules` are such callables
        and count epochs here; as ``lr=`` of an optimizer they count steps.

    Attributes
    ----------
    epoch : int or None
        The epoch whose rate was set last: a fit that is resumed within it does not set it again.

    Raises
    ------
    ValueError
        When the fit begins, if the optimizer's rate is a schedule already.

    Examples
    --------
    >>> import gdcore as gd
    >>> from gdcore.callbacks import LearningRateScheduler
    >>> slower = LearningRateScheduler(lambda epoch, lr: lr if epoch < 10 else 0.9 * lr)
    >>> halved = LearningRateScheduler(gd.schedules.step(0.1, 30, gamma=0.5))
    """

    _aliases: ClassVar[Mapping[str, str]] = {"lr": "schedule", "scheduler": "schedule"}
    _state: ClassVar[tuple[str, ...]] = ("epoch",)

    schedule: Callable[..., Any]

    epoch: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if not callable(self.schedule):
            raise TypeError(self._message("schedule", "is a callable f(epoch, lr) or f(epoch)"))

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget the last fit; refuse an optimizer whose rate is a schedule."""
        self._forget()
        _refuse_schedule(self)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Set the rate of the epoch."""
        if epoch == self.epoch:
            return
        optimizer = self.model.optimizer
        takes_rate = _takes_rate(self.schedule)
        rate = self.schedule(epoch, optimizer.lr) if takes_rate else self.schedule(epoch)
        message = (
            f"LearningRateScheduler: the schedule returned {rate!r:.80} for epoch {epoch}; accepted"
            " is a finite number >= 0"
        )
        if isinstance(rate, bool) or not isinstance(rate, Real):
            raise TypeError(message)
        if not 0 <= float(rate) < math.inf:
            raise ValueError(message)
        optimizer.lr = float(rate)
        self._put(epoch=epoch)


def _takes_rate(schedule: Callable[..., Any]) -> bool:
    """Tell whether a schedule wants the rate so far as its second argument."""
    try:
        parameters = list(inspect.signature(schedule).parameters.values())
    except (TypeError, ValueError):  # some callables of C's do not say
        return False
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 and (
        positional[1].default is inspect.Parameter.empty or positional[1].name == "lr"
    )


def _settings_of(optimizer: Any) -> dict[str, Any]:
    """Return the settings of an optimizer, of a wrapped one those of the rule."""
    while hasattr(optimizer, "get_params"):
        settings: dict[str, Any] = optimizer.get_params()
        if "optimizer" not in settings:
            return settings
        optimizer = settings["optimizer"]
    return {}


def _refuse_schedule(callback: Configured) -> None:
    """Refuse a model whose optimizer has a schedule where a callback sets the rate."""
    settings = _settings_of(callback.model.optimizer)
    for own in (settings, *settings.get("groups", ())):
        if callable(own.get("lr")):
            raise ValueError(
                f"{type(callback).__name__} sets the learning rate, and so does the optimizer's"
                f" lr = {own['lr']!r:.80}; give the optimizer a number as lr, or leave the callback"
                " out"
            )


@dataclass(frozen=True)
class TimeLimit(Configured):
    """Stop the fit after so many seconds, at the end of the batch that runs then.

    The time counts from the start of each call of `fit`, a resumed one too.

    Parameters
    ----------
    seconds : float
        > 0.

    Attributes
    ----------
    deadline : float or None
        The moment on the clock of ``time.monotonic()``.

    Examples
    --------
    >>> from gdcore.callbacks import TimeLimit
    >>> TimeLimit(seconds=60)
    TimeLimit(seconds=60.0)
    """

    _aliases: ClassVar[Mapping[str, str]] = {"max_seconds": "seconds", "timeout": "seconds"}
    _passing: ClassVar[tuple[str, ...]] = ("deadline",)

    seconds: float

    def __post_init__(self) -> None:
        self._set(seconds=self._positive("seconds"))

    def on_train_begin(self, logs: Logs = None) -> None:
        """Start the clock."""
        self._put(deadline=time.monotonic() + self.seconds)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Stop the fit if the time is over."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.model.stop_training = True


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : callable, optional
        f(epoch, logs).
    on_train_begin, on_train_end : callable, optional
        f(logs).
    on_train_batch_begin, on_train_batch_end : callable, optional
        f(batch, logs). With one of these `fit` comes back to Python after every batch.

    Examples
    --------
    >>> from gdcore.callbacks import LambdaCallback
    >>> seen = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
    >>> seen.on_epoch_end(0, {"loss": 0.5})
    0 0.5
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            raise TypeError(
                f"LambdaCallback: unknown argument {name}=; accepted: {', '.join(_HOOKS)}"
                + did_you_mean(name, _HOOKS)
            )
        given = locals()
        self._hooks = {name: given[name] for name in _HOOKS if given[name] is not None}
        for name, hook in self._hooks.items():
            if not callable(hook):
                raise TypeError(f"LambdaCallback: {name} is {hook!r:.80}; accepted is a callable")
        self.__dict__.update(self._hooks)

    def __repr__(self) -> str:
        hooks = ", ".join(f"{name}={hook!r}" for name, hook in self._hooks.items())
        return f"{type(self).__name__}({hooks})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._hooks == other._hooks

    def __hash__(self) -> int:
        return hash(frozenset(self._hooks.items()))
