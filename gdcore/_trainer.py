"""One fit in the core: batches are run there, many by one call, and what they brought comes back.

Learning rates and momenta are handed over for the batches ahead. An optimizer whose step is written
in Python is stepped here, batch by batch; but what an EMA keeps beside one of the table, the core
averages itself.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gdcore import _core, _rate_state
from gdcore._composed import Composed
from gdcore._interrupts import Interrupts, held_interrupts
from gdcore._native import are_sound, at_steps, is_by_norm, is_told
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
    FAILED = 4  # beside an exception


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
    shuffle, statistics : bool
        Whether rows are drawn in a new order each epoch; whether statistics are noted.
    key : pair of int
        Of orders and dropout.
    threads : int
        0: as many as gdcore may use.
    epoch : int
        Number of the first epoch, for rates that count them.
    lasts : bool
        Whether it lasts for all batches, which come one by one.
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
        statistics: bool,
        key: Key,
        threads: int = 0,
        epoch: int = 0,
        lasts: bool = False,
    ) -> None:
        optimizer = model.optimizer
        assert optimizer is not None
        self.params, self.buffers = model.params, model._buffers
        self.optimizer: Optimizer = optimizer
        skip = innermost(optimizer).get_params().get("on_nonfinite") == "skip"
        self.batches, self.batch, self.first_epoch, self.lasts = batches, batch, epoch, lasts
        flat = np.empty(sum(p.size for p in self.params), model.dtype)
        self.grads, start = [], 0
        for p in self.params:
            self.grads.append(flat[start : start + p.size].reshape(p.shape))
            start += p.size
        fixed = (
            network_of(model, model._fused_loss()[1]),
            given(model, self.params, data, objective, own),
        )
        arrays, numbers = (self.params, self.grads), (batch, batches, shuffle, skip, statistics)
        self._open: Callable[[Optimizer | None], _core.Trainer] = lambda native: _core.Trainer(
            *fixed, native, *arrays, (*numbers, native is None, *key, threads)
        )
        self.native = in_core(optimizer)
        self.core = self._open(self.native)
        self.width, self.often = self.core.sizes()
        self.results = np.empty((3, 0)), _NOTHING
        self.notes = np.empty((0, self.width)), _NO_STEPS
        self.progress = np.zeros(5, np.int64)
        self.tell_epoch()

    def tell_epoch(self) -> None:
        """Tell the optimizer the epoch of the next batch."""
        innermost(self.optimizer)._epoch = int(self.epochs_at(self.place[2]))

    def epochs_at(self, steps: Any) -> Any:
        """Return the numbers of the epochs that these batches are of."""
        return self.first_epoch + (0 * steps if self.lasts else steps // self.batches)

    @property
    def stepped_here(self) -> bool:
        """Whether steps are taken in Python."""
        return self.native is None

    @property
    def average(self) -> Any:
        """The EMA whose average the core keeps beside the steps that it takes, or None."""
        return None if self.native is None or self.native is self.optimizer else self.optimizer

    @property
    def place(self) -> Place:
        """Where the fit stands."""
        return self.core.place()

    @place.setter
    def place(self, place: Place) -> None:
        self.core.move(place)
        self.tell_epoch()

    def prepare(
        self, count: int, order: Any = None, deadline: float = math.inf, seen: Any = None
    ) -> tuple[Any, ...]:
        """Return the arguments of a run in the core."""
        rates = None if self.native is None else self.rates(self.native, count)
        records = count // self.often + 1 if self.often else 0
        ends = (self.place[1] + count) // self.batches
        self.results = np.empty((3, count)), np.empty(ends)
        self.notes = (
            (np.empty((records, self.width)), np.empty(records, np.int64))
            if records
            else (np.empty((0, self.width)), _NO_STEPS)
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
            None if self.average is None else self.average._followers(self.params),
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
            float(losses[done]) if done < len(losses) else math.nan,
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
        self.progress[:] = Reason.INTERRUPT, 0, 0, 0, -1
        try:
            self._follow_optimizer()
            if self.stepped_here:
                return self._step_here(order, seen)
            self._run_in_core(self.prepare(count, order, deadline, seen))
            return self.outcome()
        finally:
            self.tell_epoch()

    def _run_in_core(self, arguments: tuple[Any, ...]) -> None:
        """Run batches; an EMA serves nobody else meanwhile, as the optimizer inside."""
        average = self.average
        if average is None:
            self.core.run(*arguments)
            return
        average._refuse_busy()
        try:
            average.__dict__["_busy"] = True
            self.core.run(*arguments)
        finally:
            average.__dict__["_busy"] = False

    def _follow_optimizer(self) -> None:
        """Go on with the optimizer inside an EMA where a callback has put another there."""
        native = in_core(self.optimizer)
        if native is not self.native:
            core = self._open(native)
            core.move(self.place)
            self.core, self.native = core, native

    # ---- Rates -----------------------------------------------------------------------------------

    def rates(self, optimizer: Optimizer, count: int) -> Float64Array | None:
        """Return (count, groups, 2) rates and momenta of the batches ahead; None: as they are."""
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
        if not are_sound(optimizer, rates):
            raise ValueError(
                f"a schedule of {optimizer!r:.120} gave a rate or a momentum outside its"
                " domain; finite rates >= 0 are accepted"
            )
        return rates

    def _in_epochs(self, lr: Any, t: Any, steps: Any) -> tuple[Any, Any]:
        """Return a rate and what it is asked at: steps, or epochs where it counts these."""
        return (lr.schedule, self.epochs_at(steps)) if _rate_state.counts_epochs(lr) else (lr, t)

    def tell(self, value: float) -> None:
        """Tell rates that follow a value, `plateau`, that of an epoch."""
        optimizer = innermost(self.optimizer)
        if isinstance(optimizer, Composed):
            return  # a line search takes no such rate
        lrs = optimizer._lrs()
        if not any(map(is_told, lrs)):
            return
        told = optimizer._told()
        optimizer._restore_told(
            [
                lr.told(state, value) if is_told(lr) else state
                for lr, state in zip(lrs, told, strict=True)
            ]
        )

    def columns(self, records: Float64Array) -> dict[str, Float64Array]:
        """Return the statistics of a run by quantity."""
        arrays = len(self.params)
        units = (self.width - 3 * arrays) // 2
        names = ("weight_norm", "grad_norm", "update_norm", "zero_fraction", "saturated_fraction")
        found, begin = {}, 0
        for name, count in zip(names, (arrays, arrays, arrays, units, units), strict=True):
            found[name] = records[:, begin : begin + count]
            begin += count
        return found

    # ---- Optimizers of Python --------------------------------------------------------------------

    def _step_here(self, order: Any, seen: Any) -> Outcome:
        """Take one step: its gradient comes from the core, the rule is in Python."""
        place, stepped = self.place, False
        moving = [buffer.copy() for buffer in self.buffers]
        try:
            self.core.run(*self.prepare(1, order, math.inf, seen))
            outcome = self.outcome()
            if outcome.reason is not Reason.DONE:
                return outcome
            with held_interrupts(True) as held:
                if math.isfinite(outcome.losses[0]) and math.isfinite(outcome.norms[0]):
                    self._step(place, order, float(outcome.losses[0]), held)
                stepped = True
        except BaseException:
            if not stepped:
                self.place = place
                for buffer, value in zip(self.buffers, moving, strict=True):
                    buffer[...] = value
                self.progress[:] = Reason.INTERRUPT, 0, 0, 0, -1
            raise
        ended = self.place[1] == 0
        bad = [i for i, p in enumerate(self.params) if ended and not np.isfinite(p).all()]
        if bad:
            self.core.restore()
            self.progress[0], self.progress[4] = Reason.NONFINITE, -2 - bad[0]
        return self.outcome()

    def _step(self, place: Place, order: Any, loss: float, held: Interrupts) -> None:
        """Step with the gradient at hand; a line search asks for more of them."""
        optimizer = self.optimizer
        if searches_line(optimizer):
            self.results[0][2, 0] = optimizer.lr
            self._search(place, order, loss, held)
            return
        with rates_of_epoch(innermost(optimizer), self.epochs_at(place[2])):
            self.results[0][2, 0] = optimizer.lr
            step_told(optimizer, self.params, self.grads, loss)

    def _search(self, place: Place, order: Any, loss: float, held: Interrupts) -> None:
        """Step by a line search; what ends it early, Ctrl-C in the core, leaves all as before."""
        optimizer = self.optimizer
        here, results, progress = self.place, self.results, self.progress.copy()
        moving = [buffer.copy() for buffer in self.buffers]  # they move once a step
        calls = 0

        def closure() -> tuple[float, list[Any]]:
            nonlocal calls
            calls += 1
            if calls == 1:
                return loss, self.grads
            self.place = place
            with held.wait(False):
                self.core.run(*self.prepare(1, order))
            value = self.results[0][0, 0]
            self.place = here
            return float(value), self.grads

        before = [p.copy() for p in self.params], optimizer.state_dict()
        try:
            optimizer.step(self.params, closure=closure)
        except BaseException:
            for p, value in zip(self.params, before[0], strict=True):
                p[...] = value
            optimizer.load_state_dict(before[1])
            raise
        finally:
            self.place, self.results, self.progress[:] = here, results, progress
            for buffer, value in zip(self.buffers, moving, strict=True):
                buffer[...] = value


@contextmanager
def rates_of_epoch(optimizer: Any, epoch: int) -> Iterator[None]:
    """Give an optimizer the rates of an epoch where they count these."""
    waiting = [
        (settings, settings["lr"])
        for settings in (optimizer._settings, *(group._own for group in optimizer.groups))
        if _rate_state.counts_epochs(settings.get("lr"))
    ]
    if not waiting:
        yield
        return
    for settings, lr in waiting:
        settings["lr"] = float(lr.schedule(epoch))
    optimizer._sync()
    try:
        yield
    finally:
        for settings, lr in waiting:
            settings["lr"] = lr
        optimizer._sync()


def step_told(optimizer: Any, params: Any, grads: Sequence[Any], loss: float) -> None:
    """Step; a rate that follows a value is not told this one: in fit it is that of an epoch."""
    inner = innermost(optimizer)
    plateaus = [lr for lr in inner._lrs() if is_told(lr)]
    if not plateaus:
        needed = {"loss": loss} if inner._row["needs"] == "loss" else {}
        optimizer.step(params, list(grads), **needed)
        return
    told = inner._told()
    better = -math.inf if plateaus[0].mode == "min" else math.inf
    optimizer.step(params, list(grads), loss=better)  # changes no rate
    inner._restore_told(told)


def draw_key(generator: np.random.Generator) -> Key:
    """Return the key of a fit, drawn from the model's generator."""
    first, second = generator.integers(0, 1 << 64, 2, np.uint64).tolist()
    return first, second


def in_core(optimizer: Optimizer) -> Optimizer | None:
    """Return the optimizer whose steps the core takes, alone or in an EMA; None: in Python."""
    return optimizer._in_core() if isinstance(optimizer, Composed) else optimizer


def innermost(optimizer: Any) -> Any:
    """Return the optimizer inside averages."""
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


def searches_line(optimizer: Any) -> bool:
    """Whether the optimizer evaluates the loss itself."""
    from gdcore._closure import ClosureOptimizer

    return isinstance(innermost(optimizer), ClosureOptimizer)
