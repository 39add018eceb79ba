"""One fit in the core: batches are run there, many by one call, and what they brought comes back.

Learning rates and momenta are handed over for the batches ahead. An optimizer whose step is written
in Python is stepped here, batch by batch.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gdcore import _core, _rate_state
from gdcore._composed import Composed
from gdcore._native import at_steps, is_by_norm, is_told
from gdcore._networks import Data, OwnFunctions, given, network_of

if TYPE_CHECKING:
    from gdcore._model import Model
    from gdcore._optimizer import Optimizer

Float64Array = NDArray[np.float64]
Key = tuple[int, int]
Place = tuple[int, int, int, float, float, float, int]

START: Place = (0, 0, 0, 0.0, 0.0, math.inf, 0)
_NOTHING = np.empty(0)
_NO_STEPS = np.empty(0, np.int64)


class Reason(enum.IntEnum):
    """Why a run came back, numbered as in csrc/train.h."""

    DONE = 0
    INTERRUPT = 1
    NONFINITE = 2
    DEADLINE = 3


class Outcome(NamedTuple):
    """What a run brought.

    Attributes
    ----------
    reason : Reason
    losses, norms, lrs : float64 array
        Loss, gradient norm and rate of each batch.
    epoch_losses : float64 array
        Loss of each epoch that ended.
    records, steps : ndarray
        Statistics, and the numbers of their batches.
    array : int
        What is not finite: the gradient of this parameter; -1 the loss alone; -2 - i parameter i.
    loss : float
        Of the batch that was not finite.
    """

    reason: Reason
    losses: Float64Array
    norms: Float64Array
    lrs: Float64Array
    epoch_losses: Float64Array
    records: Float64Array
    steps: NDArray[np.int64]
    array: int
    loss: float


class Trainer:
    """The fit of one model on one set of data.

    Parameters
    ----------
    model : Model
        Compiled, built, its weights drawn.
    data : Data
    objective, own : tuple, OwnFunctions
        Of `gdcore._networks`.
    batch : int
        Rows of a batch.
    batches : int
        Batches of an epoch.
    shuffle, skip, statistics : bool
        Whether rows are drawn in a new order each epoch; whether batches that are not finite are
        left out; whether statistics are noted.
    key : pair of int
        Of orders and dropout.
    threads : int
        0: as many as gdcore may use.
    """

    def __init__(
        self,
        model: Model,
        data: Data,
        objective: Any,
        own: OwnFunctions,
        batch: int,
        batches: int,
        *,
        shuffle: bool,
        skip: bool,
        statistics: bool,
        key: Key,
        threads: int = 0,
    ) -> None:
        optimizer = model.optimizer
        assert optimizer is not None
        self.params = model.params
        self.optimizer: Optimizer = optimizer
        self.stepped_here = isinstance(optimizer, Composed)
        self.batches, self.batch = batches, batch
        flat = np.empty(sum(p.size for p in self.params), model.dtype)
        self.grads, start = [], 0
        for p in self.params:
            self.grads.append(flat[start : start + p.size].reshape(p.shape))
            start += p.size
        self.core = _core.Trainer(
            network_of(model, model._fused_loss()[1]),
            given(model, self.params, data, objective, own),
            None if self.stepped_here else optimizer,
            self.params,
            self.grads,
            (batch, batches, shuffle, skip, statistics, self.stepped_here, *key, threads),
        )
        self.width, self.often = self.core.sizes()
        # The core reads the parameters' memory; whoever resizes one is refused by NumPy meanwhile.
        self.progress = np.zeros(5, np.int64)

    @property
    def place(self) -> Place:
        """Where the fit stands."""
        return self.core.place()

    @place.setter
    def place(self, place: Place) -> None:
        self.core.move(place)

    def prepare(
        self, count: int, order: Any = None, deadline: float = math.inf, seen: Any = None
    ) -> tuple[Any, ...]:
        """Return the arguments of a run in the core."""
        rates = None if self.stepped_here else self.rates(count)
        records = count // self.often + 1 if self.often else 0
        ends = (self.place[1] + count) // self.batches
        self.results = np.empty((3, count)), np.empty(ends)
        self.notes = (
            (np.empty((records, self.width)), np.empty(records, np.int64))
            if records
            else (_NOTHING, _NO_STEPS)
        )
        return (
            count,
            order,
            deadline,
            seen,
            rates,
            *self.results[0],
            self.results[1],
            *self.notes,
            self.progress,
        )

    def outcome(self) -> Outcome:
        """Return what the last run brought."""
        reason, done, epochs, records, array = map(int, self.progress)
        (losses, norms, lrs), ends = self.results
        notes, steps = self.notes
        return Outcome(
            Reason(reason),
            losses[:done],
            norms[:done],
            lrs[:done],
            ends[:epochs],
            notes[:records],
            steps[:records],
            array,
            float(losses[done]) if reason == Reason.NONFINITE else math.nan,
        )

    def run(
        self, count: int, order: Any = None, deadline: float = math.inf, seen: Any = None
    ) -> Outcome:
        """Train for so many batches; `order` and `seen` belong to one epoch.

        Raises
        ------
        KeyboardInterrupt
            Or what a signal raised; `outcome` then says what was done.
        """
        if self.stepped_here:
            return self._run_here(count, order, deadline, seen)
        arguments = self.prepare(count, order, deadline, seen)
        self.progress[:] = Reason.INTERRUPT, 0, 0, 0, -1
        self.core.run(*arguments)
        return self.outcome()

    # ---- Rates -----------------------------------------------------------------------------------

    def rates(self, count: int) -> Float64Array | None:
        """Return (count, groups, 2) rates and momenta of the batches ahead; None: as they are."""
        optimizer = self.optimizer
        lrs = optimizer._lrs()
        if not any(callable(lr) and not is_by_norm(lr) for lr in lrs):
            return None
        steps = self.place[2] + np.arange(count)
        t = optimizer.t + np.arange(count)
        rates = np.full((count, len(lrs), 2), np.nan)
        has_momentum = bool({"momentum", "betas"} & {*optimizer._hypers})
        for i, lr in enumerate(lrs):
            if is_by_norm(lr) or is_told(lr):
                rates[:, i, 0] = lr.max if is_by_norm(lr) else optimizer._told()[i].lr
                continue
            lr, at = self._in_epochs(lr, t, steps)
            rates[:, i, 0] = at_steps(lr, at)
            momentum = _rate_state.momentum_of(lr)
            if momentum is not None and has_momentum:
                rates[:, i, 1] = [float(momentum(int(step))) for step in at]
        self._check(rates)
        return rates

    def _in_epochs(self, lr: Any, t: Any, steps: Any) -> tuple[Any, Any]:
        """Return a rate and what it is asked at: steps, or epochs where it counts these."""
        from gdcore.schedules import per_epoch

        if isinstance(lr, per_epoch) and lr.steps_per_epoch is None:
            return lr.schedule, steps // self.batches
        return lr, t

    def _check(self, rates: Float64Array) -> None:
        """Refuse what a step would refuse."""
        lr, momentum = rates[..., 0], rates[..., 1]
        momentum = momentum[~np.isnan(momentum)]
        top = math.inf if "momentum" in self.optimizer._hypers else 1.0
        if not (np.all((lr >= 0) & (lr < math.inf)) and np.all((momentum >= 0) & (momentum < top))):
            raise ValueError(
                f"a schedule of {self.optimizer!r:.120} gave a rate or a momentum outside its"
                " domain; finite rates >= 0 are accepted"
            )

    def tell(self, value: float) -> None:
        """Tell rates that follow a value, `plateau`, that of an epoch."""
        if self.stepped_here:
            return  # their steps are told the loss of each batch
        lrs = self.optimizer._lrs()
        if not any(map(is_told, lrs)):
            return
        told = self.optimizer._told()
        self.optimizer._restore_told(
            [
                lr.told(state, value) if is_told(lr) else state
                for lr, state in zip(lrs, told, strict=True)
            ]
        )

    # ---- Optimizers of Python --------------------------------------------------------------------

    def _run_here(self, count: int, order: Any, deadline: float, seen: Any) -> Outcome:
        """Run batch by batch: gradient in the core, step in Python."""
        import time

        parts: list[Outcome] = []
        rows = 0 if seen is None else self.batch
        for k in range(count):
            place = self.place
            window = None if seen is None else seen[k * rows :]
            self._one(order, window)
            outcome = self.outcome()
            if outcome.reason is not Reason.DONE:
                parts.append(outcome)
                break
            if math.isfinite(outcome.losses[0]) and math.isfinite(outcome.norms[0]):
                outcome.lrs[0] = self.optimizer.lr
                self._step(place, order, float(outcome.losses[0]))
            parts.append(outcome)
            if time.monotonic() >= deadline and k + 1 < count:
                parts[-1] = outcome._replace(reason=Reason.DEADLINE)
                break
        return _joined(parts)

    def _one(self, order: Any, seen: Any) -> None:
        arguments = self.prepare(1, order, math.inf, seen)
        self.progress[:] = Reason.INTERRUPT, 0, 0, 0, -1
        self.core.run(*arguments)

    def _step(self, place: Place, order: Any, loss: float) -> None:
        """Step with the gradient at hand; a line search asks for more of them."""
        here = self.place
        calls = 0

        def closure() -> tuple[float, list[Any]]:
            nonlocal calls
            calls += 1
            if calls == 1:
                return loss, self.grads
            self.place = place
            self._one(order, None)
            value = self.outcome().losses
            self.place = here
            return float(value[0]) if len(value) else math.nan, self.grads

        arguments = step_arguments(self.optimizer, closure, self.grads, loss)
        self.optimizer.step(self.params, **arguments)


def step_arguments(
    optimizer: Any, closure: Callable[[], Any], grads: Sequence[Any], loss: float
) -> dict[str, Any]:
    """Return what a step of this optimizer takes."""
    inner = getattr(optimizer, "optimizer", optimizer)
    if searches_line(inner):
        return {"closure": closure}
    needs_loss = inner._row["needs"] == "loss" or any(map(is_told, inner._lrs()))
    return {"grads": list(grads), **({"loss": loss} if needs_loss else {})}


def searches_line(optimizer: Any) -> bool:
    """Whether the optimizer evaluates the loss itself."""
    return type(getattr(optimizer, "optimizer", optimizer)).__name__ in ("LBFGS", "Armijo")


def _joined(parts: Sequence[Outcome]) -> Outcome:
    """Return several outcomes as one."""
    last = parts[-1]
    if len(parts) == 1:
        return last
    return last._replace(
        losses=np.concatenate([part.losses for part in parts]),
        norms=np.concatenate([part.norms for part in parts]),
        lrs=np.concatenate([part.lrs for part in parts]),
        epoch_losses=np.concatenate([part.epoch_losses for part in parts]),
        records=np.concatenate([part.records for part in parts]),
        steps=np.concatenate([part.steps for part in parts]),
    )
