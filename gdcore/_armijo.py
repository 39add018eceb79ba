"""Backtracking line search along the direction that any optimizer proposes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from inspect import Signature
from typing import Any, ClassVar, Never

import numpy as np
from numpy.typing import NDArray

from gdcore import _core
from gdcore._closure import ClosureOptimizer, Objective, Point
from gdcore._composed import Composed, fresh
from gdcore._containers import rebuilt
from gdcore._flat import Layout, Vector
from gdcore._linesearch import Trial, backtracking
from gdcore._optimizer import Optimizer, Setting


class Armijo(ClosureOptimizer):
    """Descent whose step length is found by backtracking on ``closure() -> (loss, grads)``.

    Along d the step length a shrinks, ``a *= shrink``, until ``f(p + a d) <= f(p) + slope a g.d``;
    then ``p += a d``, and the next step begins at ``min(lr, grow a)``. d is ``-g``, or the update
    that another optimizer proposes. The minimum of Rosenbrock's function is reached to 1e-2
    from (-1.2, 1) within 7600 steps, and within 60 with ``gd.SGD(lr=0.01, momentum=0.9)`` as
    direction.

    Parameters
    ----------
    direction : Optimizer, optional
        Whose update is d; its settings are copied. Not LBFGS, Armijo, EMA, or one with
        ``maximize=True``. None for the negative gradient.
    lr : float or callable, default 1.0
        The first step length, and the longest, >= 0: with `direction` a multiple of its update. A
        callable of t (steps done) gives the longest of each step.
    shrink : float, default 0.8
        In (0, 1).
    grow : float, default 1.5
        >= 1.
    slope : float, default 1e-4
        The part of the decrease of a straight line that is asked for, in (0, 1).
    max_backtracks : int, default 100
        Times that a step length shrinks at most, >= 0; after it the step changes nothing.
    maximize : bool, default False
        Climb instead of descend.
    on_nonfinite : {'ignore', 'raise', 'skip'}, default 'ignore'
        What a step does that begins where the loss or the gradient is not finite: change no
        parameter; raise; or not count as a step either.
    groups : list of dict, optional
        ``{"params": keys or positions, "frozen": True}``: parameters that stay.

    Notes
    -----
    The direction is proposed on copies of the parameters, so its state (momentum, say) advances
    once a step. Where it does not lead down, the step goes along the negative gradient instead and
    leaves the step length of the next as it was. A point where the loss or a gradient is not finite
    is never accepted.

    References
    ----------
    Armijo 1966, Minimization of functions having Lipschitz continuous first partial derivatives.

    Examples
    --------
    >>> p = np.array([3.0, -2.0])
    >>> def bowl():
    ...     return p @ p, 2 * p
    >>> opt = gd.Armijo(gd.SGD(lr=1.0, momentum=0.5))
    >>> for _ in range(50):
    ...     opt.step(p, closure=bowl)
    >>> bool(np.abs(p).max() < 1e-6)
    True
    """

    __signature__: ClassVar[Signature]

    direction = Setting[Optimizer | None]("direction")
    shrink = Setting[float]("shrink")
    grow = Setting[float]("grow")
    slope = Setting[float]("slope")
    max_backtracks = Setting[int]("max_backtracks")

    def __init__(
        self,
        direction: Optimizer | None = None,
        lr: float | Callable[[int], float] = 1.0,
        shrink: float = 0.8,
        grow: float = 1.5,
        slope: float = 1e-4,
        max_backtracks: int = 100,
        *,
        maximize: bool = False,
        on_nonfinite: str = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
        **unknown: Never,
    ) -> None:
        self._length: float | None = None
        self._copies: list[NDArray[Any]] | None = None
        settings = {name: value for name, value in locals().items() if name in self._defaults}
        self._take(settings, unknown)

    @classmethod
    def _clean(cls, name: str, value: Any) -> Any:
        if name == "direction":
            return None if value is None else cls._proposer(value)
        if name in ("shrink", "slope"):
            return cls._number(name, value, lambda x: 0 < x < 1, "a number in (0, 1)")
        if name == "grow":
            return cls._number(name, value, lambda x: 1 <= x < math.inf, "a finite number >= 1")
        if name == "max_backtracks":
            return cls._count(name, value, 0)
        return super()._clean(name, value)

    @classmethod
    def _proposer(cls, value: Any) -> Optimizer:
        """Return a copy of an optimizer's settings, if its update can be a direction."""
        if not isinstance(value, Optimizer) or isinstance(value, Composed):
            raise TypeError(
                f"{cls._title()}: direction is {value!r}; None or an optimizer with a rule of its"
                " own, such as gd.Adam(), is accepted (not LBFGS, Armijo or EMA)"
            )
        if value.get_params()["maximize"]:
            raise ValueError(
                f"{cls._title()}: direction has maximize=True; give maximize=True to"
                f" {cls._title()}, which hands it gradients to descend by"
            )
        return fresh(value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by the constructor's names; `deep` is scikit-learn's, unused."""
        settings = super().get_params()
        proposer = settings["direction"]
        return {**settings, "direction": None if proposer is None else fresh(proposer)}

    # ---- The step --------------------------------------------------------------------------------

    def _step(self, objective: Objective, record: dict[str, Any] | None) -> None:
        """Take the step; the proposing optimizer does not advance in one that raises."""
        before = None if self.direction is None else self.direction.state_dict()
        try:
            super()._step(objective, record)
        except BaseException:
            if self.direction is not None and before is not None:
                self.direction.load_state_dict(before)
            raise

    def _search(self, objective: Objective, start: Point, lr: float, record: Any) -> None:
        direction, slope, proposed = self._direction(objective, start)
        longest = lr if self._length is None else min(lr, self._length)

        def evaluate(step: float) -> Trial | None:
            x = start.x + step * direction
            if np.array_equal(x, start.x):
                return None
            point = objective.at(x)
            loss = point.loss if point.is_finite() else math.inf
            return Trial(step, loss, math.nan, point)

        found = backtracking(
            evaluate,
            Trial(0.0, start.loss, slope, start),
            longest,
            shrink=self.shrink,
            c1=self.slope,
            max_backtracks=self.max_backtracks,
        )
        if found is not None:
            objective.accepted = found.point.x
        if found is not None and proposed:
            self._length = found.step * self.grow
        if record is not None:
            record.update(direction=direction, step_length=0.0 if found is None else found.step)

    def _direction(self, objective: Objective, start: Point) -> tuple[Vector, float, bool]:
        """Return the direction, the slope along it, and whether it is the one that is wanted."""
        if self.direction is not None:
            direction = objective.layout.held(self._proposal(self.direction, objective, start))
            slope = _core.dot(start.grad, direction)
            if -math.inf < slope < 0:
                return direction, slope, True
        return -start.grad, -_core.dot(start.grad, start.grad), self.direction is None

    def _proposal(self, proposer: Optimizer, objective: Objective, start: Point) -> Vector:
        """Return the update that the optimizer makes to copies of the parameters."""
        assert self._copies is not None
        layout = objective.layout
        for mine, array in zip(self._copies, layout.arrays, strict=True):
            mine[...] = array
        copies = rebuilt(objective.params, iter(self._copies))
        proposer.step(copies, objective.rebuilt(start.grad), loss=start.loss)
        return layout.gathered(self._copies) - start.x

    # ---- State -----------------------------------------------------------------------------------

    def _state_names(self, group: int = 0) -> tuple[str, ...]:
        return ("step_length",)

    def _state(self) -> Any:
        if self._copies is None:
            return self._rows
        length = math.inf if self._length is None else self._length
        return [(np.array(length),) for _ in self._copies]

    def _adopt(self, layout: Layout, rows: list[Any] | None) -> None:
        if rows is not None and len(rows) != len(layout.arrays):
            raise ValueError(
                f"params holds {len(layout.arrays)} arrays but the state is for {len(rows)}; the"
                " arrays that the state was saved with are wanted, or reset() to start anew"
            )
        if rows:
            self._length = float(rows[0][0])
        self._copies = layout.split(layout.gathered(layout.arrays))

    def _restore(self, t: int, state: Sequence[Any] | None) -> None:
        super()._restore(t, state)
        self._length = self._copies = None

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state: rule, t, the step length, and the direction's own state."""
        proposer = self.direction
        own = None if proposer is None else proposer.state_dict()
        return {**super().state_dict(), "direction": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a state of `state_dict` (copied) and unbind: the next step binds to its arrays.

        Raises
        ------
        ValueError
            Where the state is another optimizer's or has another direction; nothing has changed
            then.
        """
        own, had = self.direction, state.get("direction")
        if (own is None) != (had is None):
            raise ValueError(
                f"{self._title()}: the state's direction is {had and had.get('rule')!r}; one for"
                f" direction={own!r} is wanted"
            )
        before = None if own is None else own.state_dict()
        if own is not None and had is not None:
            own.load_state_dict(had)
        try:
            super().load_state_dict(state)
        except BaseException:
            if own is not None and before is not None:
                own.load_state_dict(before)
            raise

    def reset(self) -> None:
        """Forget the state and the arrays; t is 0 again, settings stay."""
        super().reset()
        if self.direction is not None:
            self.direction.reset()
