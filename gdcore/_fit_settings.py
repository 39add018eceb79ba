"""The arguments of fit, looked at before anything changes; where a fit can be taken up again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdcore._trainer import Key, Place, searches_line

if TYPE_CHECKING:
    from gdcore._callback_list import CallbackList
    from gdcore._model import Model

ON_NONFINITE = ("raise", "stop")


@dataclass
class FitState:
    """Where a fit stood when it ended; with it `resume` goes on as if nothing had been.

    `weights` are those of that moment, where a callback has put others in their place since;
    `live` are the callbacks while the fit runs. The rest is an epoch that was cut off, see
    `gdcore._fit.Fit`.
    """

    key: Key
    place: Place
    rows: int
    batch: int
    batches: int
    initial_epoch: int
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    weights: list[NDArray[Any]] | None = None
    live: CallbackList | None = None
    streams: list[Any] = field(default_factory=list)
    judged: int = 0
    seen: NDArray[Any] | None = None
    seen_from: int = 0
    pending: tuple[int, float, float] | None = None

    def settled(self) -> FitState:
        """Return the state with that of the callbacks, which belongs to the fit no more."""
        if self.live is None:
            return self
        return replace(self, callbacks=self.live.state_dict(), live=None)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self.settled())


class FitSettings:
    """The arguments of one fit, see `gdcore.models.Sequential.fit`."""

    def __init__(
        self,
        *,
        batch_size: Any = 32,
        epochs: Any = 1,
        shuffle: Any = True,
        verbose: Any = 0,
        validation_split: Any = 0.0,
        validation_data: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        callbacks: Any = None,
        initial_epoch: Any = 0,
        seed: Any = None,
        on_nonfinite: Any = "raise",
        resume: Any = False,
        batch_order: Any = None,
        drop_last: Any = False,
        steps_per_epoch: Any = None,
        stratify: Any = False,
        threads: int = 0,
    ) -> None:
        self.batch_size = None if batch_size is None else _count("batch_size", batch_size, 1)
        self.epochs = _count("epochs", epochs, 0)
        self.initial_epoch = _count("initial_epoch", initial_epoch, 0)
        self.steps_per_epoch = (
            None if steps_per_epoch is None else _count("steps_per_epoch", steps_per_epoch, 1)
        )
        self.shuffle, self.resume = _flag("shuffle", shuffle), _flag("resume", resume)
        self.drop_last, self.stratify = _flag("drop_last", drop_last), _flag("stratify", stratify)
        if on_nonfinite not in ON_NONFINITE:
            raise ValueError(
                f"on_nonfinite is {on_nonfinite!r}; accepted are 'raise' and 'stop' (to leave such"
                " batches out give the optimizer on_nonfinite='skip')"
            )
        self.on_nonfinite = on_nonfinite
        if batch_order is not None and not callable(batch_order):
            raise TypeError(
                f"batch_order is {batch_order!r:.60}; accepted is a function of the epoch that"
                " returns the rows' numbers in order"
            )
        if isinstance(validation_split, bool) or not isinstance(validation_split, Real):
            raise TypeError(
                f"validation_split is {validation_split!r:.40}; a number in [0, 1) is accepted"
            )
        if validation_data is not None and validation_split:
            raise ValueError("validation_split and validation_data are both given; give one")
        if self.resume and seed is not None:
            raise ValueError(
                "seed is given with resume=True, which goes on with the fit's own; leave it out"
            )
        self.batch_order: Callable[[int], Any] | None = batch_order
        self.validation_split, self.validation_data = validation_split, validation_data
        self.sample_weight, self.class_weight, self.seed = sample_weight, class_weight, seed
        self.verbose, self.threads = verbose, threads
        self.pace = 1
        self.callbacks = _callbacks(callbacks, verbose)

    @property
    def last_epoch(self) -> int:
        """The number of epochs that the fit has when it is done, from its own first one on."""
        return max(self.epochs - self.initial_epoch, 0)

    def order_of(self, epoch: int, rows: int) -> NDArray[np.int64] | None:
        """Return the order that the caller gives an epoch, None where there is no such order."""
        if self.batch_order is None:
            return None
        number = epoch + self.initial_epoch
        order = np.ascontiguousarray(self.batch_order(number))
        accepted = f"accepted are {rows} row numbers from 0 to {rows - 1}"
        if order.shape != (rows,) or order.dtype.kind not in "iu":
            raise ValueError(
                f"batch_order({number}) returned {order.dtype} of shape {order.shape}; {accepted}"
            )
        outside = (order < 0) | (order >= rows)
        if outside.any():
            place = int(outside.argmax())
            raise ValueError(
                f"batch_order({number}) returned the row number {order[place]} at place {place};"
                f" {accepted}"
            )
        return order.astype(np.int64)

    def batches_of(self, rows: int) -> tuple[int, int]:
        """Return the rows of a batch and the batches of an epoch; refuse data that give none.

        Raises
        ------
        ValueError
            Where `drop_last` leaves no batch, or there are fewer than `steps_per_epoch`.
        """
        batch = rows if self.batch_size is None else min(self.batch_size, rows)
        if self.drop_last and self.batch_size is not None and self.batch_size > rows:
            raise ValueError(
                f"drop_last=True leaves no batch: batch_size is {self.batch_size} but there are"
                f" {rows} rows to train on"
            )
        batches = rows // batch if self.drop_last else -(-rows // batch)
        if self.steps_per_epoch is None:
            return batch, batches
        if self.steps_per_epoch > batches:
            raise ValueError(
                f"steps_per_epoch is {self.steps_per_epoch} but {rows} rows in batches of {batch}"
                f" give {batches}; 1 to {batches} are accepted (an iterator of batches may give"
                " more)"
            )
        return batch, self.steps_per_epoch

    def check_rows(self, model: Model, rows: int, state: FitState | None) -> None:
        """Refuse data that give no batch, or others than those of the fit to be resumed."""
        batch, batches = self.batches_of(rows)
        self.check_optimizer(model, batches)
        if state is not None and (state.rows, state.batch, state.batches) != (rows, batch, batches):
            raise ValueError(
                f"resume=True: the fit had {state.rows} rows to train on in {state.batches} batches"
                f" of {state.batch}; {rows} in {batches} of {batch} were given. Data of the same"
                " length, batch_size and steps_per_epoch are accepted"
            )

    def check_optimizer(self, model: Model, batches: int | None) -> None:
        """Refuse batches where the optimizer looks at the loss of all rows."""
        if searches_line(model.optimizer) and batches != 1:
            found = "an iterator" if batches is None else self.batch_size
            raise ValueError(
                f"{type(model.optimizer).__name__} looks at the loss of all rows; batch_size=None"
                f" is accepted, {found} found"
            )

    def resumed(self, model: Model) -> FitState | None:
        """Return where the last fit ended, where this one is to go on; else None."""
        if not self.resume:
            return None
        state: FitState | None = model._fit_state
        if state is None:
            raise ValueError(
                "resume=True, but the model has no fit to go on with; call fit without it first,"
                " or load a model that was saved after or during one"
            )
        self.initial_epoch = state.initial_epoch
        return state

    def params_for(self, running: Any) -> dict[str, Any]:
        """Return what callbacks are told of the fit."""
        names = ["loss", *(judge.name for judge in running.judges)]
        if running.val is not None:
            names += [f"val_{name}" for name in names]
        return {
            "epochs": self.epochs,
            "steps": running.batches,
            "verbose": self.verbose,
            "metrics": names,
        }


def _count(name: str, value: Any, low: int) -> int:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        none = " (None is the full batch)" if name == "batch_size" else ""
        raise TypeError(f"{name} is {value!r:.60}; an integer >= {low} is accepted{none}")
    if value < low:
        raise ValueError(f"{name} is {value!r}; an integer >= {low} is accepted")
    return int(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r:.60}; True and False are accepted")
    return bool(value)


def _callbacks(callbacks: Any, verbose: Any) -> CallbackList | None:
    """Return the callbacks of a fit; None where there are none, which takes no import."""
    if callbacks is None and not verbose and verbose is not None:
        return None
    from gdcore._callback_list import CallbackList

    found = CallbackList(callbacks, verbose)
    return found if len(found) else None
