"""What LBFGS and Armijo share: a closure seen as a function of one flat vector.

Which arrays the optimizer belongs to, and what is wrong with an array, is asked of the core: a
frozen SGD, whose step looks at every parameter and gradient and writes none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from inspect import Signature
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gdcore import _core
from gdcore._composed import Composed
from gdcore._containers import Path, flat, paired, rebuilt, text_of
from gdcore._flat import Layout, Vector
from gdcore._optimizer import NONFINITE, Optimizer, Setting
from gdcore._optimizer_group import Group


class Binding(Optimizer):
    """The arrays that an optimizer belongs to: its `step` checks all, and changes nothing."""

    _id, _row = next((i, row) for i, row in enumerate(_core.OPTIMIZERS) if row["name"] == "sgd")
    _hypers = {hyper["name"]: hyper for hyper in _row["hypers"]}  # noqa: RUF012
    numbers: list[int] | None = None

    def __init__(self, groups: Sequence[Group]) -> None:
        super().__init__(lr=0.0, groups=[{"params": group["params"]} for group in groups])

    def _core_group(self, settings: Mapping[str, Any], *more: Any) -> tuple[Any, ...]:
        return super()._core_group({**settings, "frozen": True}, *more)

    def _group_numbers(self, paths: Sequence[Path]) -> list[int]:
        self.numbers = super()._group_numbers(paths)
        return self.numbers


class Point(NamedTuple):
    """One evaluation: where, the loss to be made small, its gradient and the gradient's norm."""

    x: Vector
    loss: float
    grad: Vector
    norm: float

    def is_finite(self) -> bool:
        """Whether loss and gradient are."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


class Objective:
    """A closure as a function of one vector, for the time of one step.

    `accepted` is the point at which `settle` leaves the parameters, whatever has happened.
    """

    def __init__(self, owner: ClosureOptimizer, params: Any, closure: Callable[[], Any]) -> None:
        self._owner, self.params, self._closure = owner, params, closure
        self._sign = -1.0 if owner.maximize else 1.0
        self._errors = np.geterr()
        self.calls = 0
        self.loss: Any = None
        self.grads: Any = None
        self.accepted: Vector | None = None

    def begin(self) -> Point:
        """Return the point at which the parameters are; the first step binds to them."""
        self._call()
        self.layout = self._owner._layout_of(self.params)
        x = self.layout.gathered(self.layout.arrays)
        self.accepted = x
        return self._point(x)

    def at(self, x: Vector) -> Point:
        """Return the point at x, to which the parameters are moved."""
        self.layout.place(x)
        self._call()
        return self._point(x)

    def settle(self) -> None:
        """Put the parameters at the accepted point."""
        if self.accepted is not None:
            self.layout.place(self.accepted)

    def rebuilt(self, vector: Vector) -> Any:
        """Return a vector as new arrays in the structure of the parameters."""
        return rebuilt(self.params, iter(self.layout.split(vector)))

    def _call(self) -> None:
        """Evaluate the closure where the parameters are; the core checks what it returns.

        The closure runs under its caller's `numpy.errstate`, the search under one that is silent.
        """
        with np.errstate(**self._errors):
            pair = self._closure()
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(
                f"closure() returned {type(pair).__name__}; a tuple (loss, grads) is wanted"
            )
        loss, self.grads = pair
        try:
            self.loss = float(np.asarray(loss).item())
        except (TypeError, ValueError):
            raise TypeError(
                f"closure() returned the loss {loss!r:.80}; a number is wanted"
            ) from None
        self._owner._binding().step(self.params, self.grads)
        self.calls += 1

    def _point(self, x: Vector) -> Point:
        grads = (g for _, _, g in paired(self.params, self.grads))
        grad = self.layout.held(self.layout.gathered(grads))
        grad *= self._sign
        return Point(x, self._sign * self.loss, grad, _core.norm(grad))

    def refusal(self, t: int) -> str:
        """Return what is not finite at the first point, for an error."""
        what = f"the loss is {self.loss}"
        frozen = self.layout.frozen
        for (path, _, grad), skipped in zip(paired(self.params, self.grads), frozen, strict=True):
            if not skipped and not np.isfinite(grad).all():
                what = f"{text_of('grads', path)} holds a NaN or an infinity"
        return (
            f"{what} at step {t}; nothing was changed (start elsewhere, scale the inputs, or"
            " on_nonfinite='skip')"
        )


class ClosureOptimizer(Composed):
    """Base of the optimizers that evaluate a closure several times a step."""

    __signature__: ClassVar[Signature]

    maximize = Setting[bool]("maximize")
    on_nonfinite = Setting[str]("on_nonfinite")

    def _take(self, settings: Mapping[str, Any], unknown: Mapping[str, Any]) -> None:
        self._bound: Binding | None = None
        self._rows: list[Any] | None = None
        super()._take(settings, unknown)

    @classmethod
    def _clean(cls, name: str, value: Any) -> Any:
        if name == "lr":
            return cls._rate(value)
        if name in ("maximize", "frozen"):
            if not isinstance(value, bool | np.bool_):
                raise TypeError(f"{cls._title()}: {name} is {value!r}; True or False is accepted")
            return bool(value)
        if name == "on_nonfinite" and value not in NONFINITE:
            raise ValueError(f"{cls._title()}: {name} is {value!r}; accepted: {NONFINITE}")
        return value

    # ---- What a subclass gives -------------------------------------------------------------------

    def _search(self, objective: Objective, start: Point, lr: float, record: Any) -> None:
        """Move `objective.accepted` from a finite start; fill `record` for a trace, if given."""
        raise NotImplementedError

    def _give_up(self, objective: Objective) -> None:
        """Do what ``on_nonfinite='ignore'`` means here; the start is not finite."""

    def _adopt(self, layout: Layout, rows: list[Any] | None) -> None:
        """Make the state for newly bound arrays, from loaded rows where there are some."""
        raise NotImplementedError

    # ---- The step --------------------------------------------------------------------------------

    def step(
        self,
        params: Any,
        grads: Any = None,
        *,
        loss: Any = None,
        closure: Callable[[], tuple[Any, Any]] | None = None,
        trace: bool = False,
    ) -> Any:
        """Update the parameters in place by one step, which evaluates the closure several times.

        Parameters
        ----------
        params : ndarray, or tuple, list or dict of them, any depth
            float32 or float64, native byte order, C- or Fortran-contiguous, writeable. The first
            step binds the optimizer to them; later steps take the same arrays.
        closure : callable
            ``closure() -> (loss, grads)`` at what `params` hold when it is called; grads as other
            optimizers take them.
        grads, loss : None
            They come from the closure; anything else is a TypeError.
        trace : bool, default False
            Return a table of intermediate quantities instead of None.

        Raises
        ------
        TypeError, ValueError
            Naming the array that cannot be used. This, and what the closure raises, leaves the
            parameters at the last accepted point.
        NonFiniteError
            With ``on_nonfinite='raise'`` where the loss or a gradient is not finite at `params`.
        """
        if closure is None or grads is not None or loss is not None:
            raise TypeError(
                f"{self._title()} evaluates loss and gradients at several points: step(params,"
                " closure=fn) with fn() -> (loss, grads), and neither grads nor loss, is wanted"
            )
        record: dict[str, Any] | None = {} if trace else None
        self._refuse_busy()
        try:
            self.__dict__["_busy"] = True
            objective = Objective(self, params, closure)
            try:
                with np.errstate(all="ignore"):
                    self._step(objective, record)
            finally:
                objective.settle()
        finally:
            self.__dict__["_busy"] = False
        return None if record is None else self._table(objective, record)

    def _step(self, objective: Objective, record: dict[str, Any] | None) -> None:
        start = objective.begin()
        if not start.is_finite() and self.on_nonfinite != "ignore":
            self._grad_norm = start.norm
            if self.on_nonfinite == "raise":
                raise _core.NonFiniteError(objective.refusal(self.t + 1))
            return
        lr = self._next_lr()
        if record is not None:
            record.update(p_before=start.x.copy(), g=start.grad.copy())
        if start.is_finite():
            self._search(objective, start, lr, record)
        else:
            self._give_up(objective)
        self._grad_norm = start.norm
        self._t += 1

    def _table(self, objective: Objective, record: dict[str, Any]) -> Any:
        """Return the recorded vectors and numbers as a table; numbers hold for every element."""
        from gdcore._trace import Trace

        if not record:
            return Trace()
        with np.errstate(all="ignore"):
            record["update"] = record["p_before"] - objective.accepted
        record["p"] = objective.accepted
        size = objective.layout.size
        return Trace(
            {
                name: objective.rebuilt(np.broadcast_to(np.asarray(value), (size,)))
                for name, value in record.items()
            }
        )

    # ---- Binding and state -----------------------------------------------------------------------

    def _binding(self) -> Binding:
        if self._bound is None:
            self._bound = Binding(self._groups)
        return self._bound

    def _layout_of(self, params: Any) -> Layout:
        """Return the layout of the bound arrays; where they are new, the state is made for them."""
        binding = self._binding()
        leaves = list(flat(params))
        numbers = binding.numbers or [0] * len(leaves)
        frozen = [n > 0 and bool(self._groups[n - 1]["frozen"]) for n in numbers]
        layout = Layout(leaves, frozen)
        if binding.t == 1:
            try:
                self._adopt(layout, self._rows)
            except BaseException:
                self._bound = None
                raise
            self._rows = None
        return layout

    def _restore(self, t: int, state: Sequence[Any] | None) -> None:
        self._refuse_busy()
        self._t = t
        self._grad_norm = None
        self._bound = None
        self._rows = None if state is None else list(state)
