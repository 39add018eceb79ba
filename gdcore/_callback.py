"""What all callbacks share: the hooks, and settings apart from what a fit makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

from gdcore._settings import Settings

Logs = Mapping[str, Any] | None


class Callback:
    """Base of all callbacks: `fit` calls these hooks, which here do nothing.

    To write one, derive a class and override what is needed; neither ``__init__`` nor a call of
    ``super()`` is asked for. A hook may set ``self.model.stop_training = True``, which ends the fit
    after the epoch (in a batch hook: after the batch), change ``self.model.optimizer.lr``, or read
    and write the weights. `fit` calls ``on_train_end`` however it ends: after the last epoch, by
    ``stop_training``, at a deadline, by Ctrl-C, or by an error.

    A class that overrides ``on_train_batch_begin`` or ``on_train_batch_end`` makes `fit` come back
    to Python after every batch, which costs some microseconds each.

    Copies and pickles hold the settings without the model and without what a fit has left: a copy
    starts afresh.

    Attributes
    ----------
    model : Sequential or None
        The model that is being fitted.
    params : mapping
        "epochs" (number of the last epoch), "steps" (batches per epoch, None if not known),
        "verbose", and "metrics", the names that `logs` of ``on_epoch_end`` will have.
    deadline : float or None
        A moment on the clock of ``time.monotonic()``; `fit` stops at the batch at which it is over.

    Examples
    --------
    >>> from gdcore.callbacks import Callback
    >>> class StopAt(Callback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         if logs["loss"] < self.loss:
    ...             self.model.stop_training = True
    """

    model: Any = None
    params: Mapping[str, Any] = MappingProxyType({})
    deadline: float | None = None

    # Attributes that a fit sets: those of the state, and those that are worth nothing afterwards.
    _state: ClassVar[tuple[str, ...]] = ()
    _passing: ClassVar[tuple[str, ...]] = ()
    # True where it is enough to be told of several epochs at once, after them.
    _late: ClassVar[bool] = False

    def set_model(self, model: Any) -> None:
        """Take the model that is going to be fitted."""
        self._put(model=model)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Take the parameters of the fit, see `params`."""
        self._put(params=params)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Start a fit; what an earlier one left is to be forgotten here."""

    def on_train_end(self, logs: Logs = None) -> None:
        """End a fit, whatever ended it."""

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Start an epoch, the first is number 0 or `initial_epoch`; or go on within it, resumed."""

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """End an epoch; `logs` has "loss", the metrics, both with "val_", and "lr"."""

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Start a batch, number 0 at the start of each epoch."""

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """End a batch; `logs` has its "loss"."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed fit needs: a dict of numbers, texts, lists of these, and arrays.

        Whoever overrides it overrides `load_state_dict` too.
        """
        return {name: getattr(self, name) for name in self._state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned; `fit` calls it after ``on_train_begin``.

        Raises
        ------
        ValueError
            If the names are not those of this class.
        """
        self._check_state(state, self._state)
        self._put(**state)

    def _check_state(self, state: Mapping[str, Any], names: tuple[str, ...]) -> None:
        if set(state) != set(names):
            raise ValueError(
                f"{type(self).__name__}: the state has {', '.join(state) or 'nothing'}; accepted"
                f" is what state_dict() returns: {', '.join(names) or 'nothing'}"
                + ("" if names else " (a class with a state_dict needs its load_state_dict)")
            )

    @property
    def _rank(self) -> int:
        """Callbacks are called in the order of this number, then in the user's."""
        return 0

    @property
    def _wants_batches(self) -> bool:
        """Whether a batch hook is overridden, by its class or on the object itself."""
        return any(
            getattr(getattr(self, hook), "__func__", None) is not getattr(Callback, hook)
            for hook in ("on_train_batch_begin", "on_train_batch_end")
        )

    def _put(self, **values: object) -> None:
        """Store what belongs to a fit; settings are frozen, this is not."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        left_behind = {"model", "params", *self._state, *self._passing}
        return {name: value for name, value in self.__dict__.items() if name not in left_behind}


class Configured(Settings, Callback):
    """Base of gdcore's own callbacks, frozen dataclasses; classes derived from them are free."""

    _usage: ClassVar[str] = ", given to fit as callbacks=[...]; verbose= is fit's"

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        owner = next(kind for kind in cls.__mro__ if "__init__" in vars(kind))
        if "__dataclass_params__" in vars(owner):
            return super().__new__(cls, *args, **kwargs)
        return object.__new__(cls)  # a derived class has a constructor of its own, which checks

    def _forget(self) -> None:
        """Return to the state before any fit."""
        for name in (*self._state, *self._passing):
            self.__dict__.pop(name, None)
