"""Limited-memory BFGS with a strong Wolfe line search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from inspect import Signature
from typing import Any, ClassVar, NamedTuple, Never

import numpy as np

from gdcore import _core
from gdcore._closure import ClosureOptimizer, Objective, Point
from gdcore._composed import check_arrays
from gdcore._flat import Layout, Vector
from gdcore._linesearch import Trial, strong_wolfe
from gdcore._optimizer import Setting

LEAST_CURVATURE = 1e-10  # of a pair that is kept, as in torch


class Pair(NamedTuple):
    """A step s, the change y of the gradient over it, and y.s."""

    s: Vector
    y: Vector
    curvature: float


class Memory:
    """The last pairs, and the best point seen."""

    def __init__(self, best: Vector) -> None:
        self.pairs: list[Pair] = []
        self.best = best
        self.best_loss = math.inf

    def keep(self, s: Vector, y: Vector, most: int) -> None:
        """Keep a pair, at most so many, if the function curves upward along it."""
        curvature = _core.dot(y, s)
        if LEAST_CURVATURE < curvature < math.inf:
            self.pairs.append(Pair(s, y, curvature))
            del self.pairs[:-most]

    def see(self, point: Point) -> None:
        """Remember the point if it is the best so far."""
        if point.loss < self.best_loss:
            self.best, self.best_loss = point.x, point.loss

    def direction(self, grad: Vector) -> Vector:
        """Return -H g, H the inverse Hessian that the pairs approximate.

        The two-loop recursion: Nocedal & Wright 2006, algorithm 7.4, H_0 = (s.y / y.y) I of the
        last pair.
        """
        q = -grad
        weights = []
        for s, y, curvature in reversed(self.pairs):
            weights.append(_core.dot(s, q) / curvature)
            q -= weights[-1] * y
        if self.pairs:
            _, y, curvature = self.pairs[-1]
            q *= curvature / _core.dot(y, y)
        for s, y, curvature in self.pairs:
            q += (weights.pop() - _core.dot(y, q) / curvature) * s
        return q


class LBFGS(ClosureOptimizer):
    """Limited-memory BFGS; a step is up to `max_iter` iterations on ``closure() -> (loss, grads)``.

    ``d = -H g``, ``p += a d`` with H from the last `history_size` pairs of steps and changes of the
    gradient, and a from a line search for the strong Wolfe conditions (c1 = 1e-4, c2 = 0.9). For
    smooth functions whose loss and gradient are exact, not for mini-batches. From (-1.2, 1), the
    minimum of Rosenbrock's function is reached to 1e-6 within 50 calls of the closure with
    ``tolerance_change=0`` (to 1e-4 with the default, torch's, which ends on small changes).

    Parameters
    ----------
    lr : float or callable, default 1.0
        The first step length that each line search tries; while there are no pairs
        ``lr * min(1, 1 / sum(abs(g)))``. >= 0. A callable of t (steps done) gives it for each step.
    max_iter : int, default 20
        Iterations of one step at most, >= 1.
    max_eval : int, optional
        Calls of the closure in one step after which no iteration begins and a search ends, >= 1;
        ``max_iter * 5 // 4`` if None.
    tolerance_grad : float, default 1e-7
        A step ends where no element of the gradient is larger.
    tolerance_change : float, default 1e-9
        A step ends where no parameter, or the loss, changes by more.
    history_size : int, default 100
        Pairs that are kept, >= 1: two vectors of the parameters' size each.
    maximize : bool, default False
        Climb instead of descend.
    on_nonfinite : {'ignore', 'raise', 'skip'}, default 'ignore'
        What a step does that begins where the loss or the gradient is not finite: forget the pairs
        and put the best parameters so far back; raise; or nothing at all.
    groups : list of dict, optional
        ``{"params": keys or positions, "frozen": True}``: parameters that stay.

    Notes
    -----
    Where the loss or the gradient is not finite on the way, the line search turns back. A search
    that finds no lower loss makes the optimizer forget its pairs and go on along the negative
    gradient. Parameters are never left where the loss is not finite unless they began there.

    Iterates agree with ``torch.optim.LBFGS(line_search_fn="strong_wolfe")`` up to rounding, with
    three differences: a pair is made of two gradients of the same step, so that another batch in
    the next step does not spoil it; forgotten pairs bring back the short first step; and the line
    search narrows around a point whose loss has fallen enough, not around one that is merely lower.

    References
    ----------
    Liu & Nocedal 1989, On the limited memory BFGS method for large scale optimization; Nocedal &
    Wright 2006, Numerical Optimization, chapters 3 and 7.

    Examples
    --------
    >>> p = np.array([-1.2, 1.0])
    >>> def rosenbrock():
    ...     x, y = p
    ...     u, v = 1 - x, y - x * x
    ...     return u * u + 100 * v * v, np.array([-2 * u - 400 * x * v, 200 * v])
    >>> opt = gd.LBFGS(tolerance_change=0)
    >>> for _ in range(3):
    ...     opt.step(p, closure=rosenbrock)
    >>> bool(np.abs(p - 1).max() < 1e-6)
    True
    """

    __signature__: ClassVar[Signature]

    max_iter = Setting[int]("max_iter")
    max_eval = Setting[int | None]("max_eval")
    tolerance_grad = Setting[float]("tolerance_grad")
    tolerance_change = Setting[float]("tolerance_change")
    history_size = Setting[int]("history_size")

    def __init__(
        self,
        lr: float | Callable[[int], float] = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        *,
        maximize: bool = False,
        on_nonfinite: str = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
        **unknown: Never,
    ) -> None:
        self._memory: Memory | None = None
        settings = {name: value for name, value in locals().items() if name in self._defaults}
        self._take(settings, unknown)

    @classmethod
    def _clean(cls, name: str, value: Any) -> Any:
        if name in ("max_iter", "history_size") or (name == "max_eval" and value is not None):
            return cls._count(name, value, 1)
        if name in ("tolerance_grad", "tolerance_change"):
            return cls._number(name, value, lambda x: x >= 0, "a number >= 0")
        return super()._clean(name, value)

    def _search(self, objective: Objective, start: Point, lr: float, record: Any) -> None:
        assert self._memory is not None
        memory, point = self._memory, start
        memory.see(point)
        most_calls = self.max_iter * 5 // 4 if self.max_eval is None else self.max_eval
        for iteration in range(1, self.max_iter + 1):
            if _largest(point.grad) <= self.tolerance_grad or lr == 0:
                return
            direction, slope = self._direction(objective.layout, point)
            if slope > -self.tolerance_change:
                return
            first = lr if memory.pairs else lr * min(1.0, 1.0 / _core.sum(np.abs(point.grad)))
            search = _Line(objective, point, direction, slope)
            found = search.run(first, self.tolerance_change, most_calls - objective.calls)
            if record is not None:
                record[f"direction_{iteration}"] = direction
                record[f"step_length_{iteration}"] = found.step
            before, point = point, found.point
            objective.accepted = point.x
            memory.see(point)
            if found.step > 0:
                s = direction * found.step
                memory.keep(s, point.grad - before.grad, self.history_size)
                change = min(_largest(s), abs(point.loss - before.loss))
                if change <= self.tolerance_change:
                    return
            elif memory.pairs:
                memory.pairs.clear()
            else:
                return
            if objective.calls >= most_calls:
                return

    def _direction(self, layout: Layout, point: Point) -> tuple[Vector, float]:
        """Return the direction and the slope along it; where it leads up, the pairs are dropped."""
        assert self._memory is not None
        direction = layout.held(self._memory.direction(point.grad))
        slope = _core.dot(point.grad, direction)
        if not -math.inf < slope < 0 and self._memory.pairs:
            self._memory.pairs.clear()
            return self._direction(layout, point)
        return direction, slope

    def _give_up(self, objective: Objective) -> None:
        assert self._memory is not None
        self._memory.pairs.clear()
        if self._memory.best_loss < math.inf:
            objective.accepted = self._memory.best

    # ---- State -----------------------------------------------------------------------------------

    def _state_names(self, group: int = 0) -> tuple[str, ...]:
        return ("best", "best_loss", "s", "y")

    def _state(self) -> Any:
        if self._memory is None:
            return self._rows
        memory, layout = self._memory, self._layout
        all_s = layout.stacked([pair.s for pair in memory.pairs])
        all_y = layout.stacked([pair.y for pair in memory.pairs])
        return [
            (best, np.array(memory.best_loss), s, y)
            for best, s, y in zip(layout.split(memory.best), all_s, all_y, strict=True)
        ]

    def _adopt(self, layout: Layout, rows: list[Any] | None) -> None:
        memory = Memory(layout.gathered(layout.arrays))
        if rows is not None:
            check_arrays(layout.leaves, [best for best, *_ in rows])
            check_histories(rows)
            memory.best = layout.gathered([best for best, *_ in rows])
            memory.best_loss = float(rows[0][1]) if rows else math.inf
            count = len(rows[0][2]) if rows else 0
            for k in range(count):
                s, y = (layout.gathered([row[i][k] for row in rows]) for i in (2, 3))
                memory.keep(s, y, count)
        self._memory, self._layout = memory, layout

    def _restore(self, t: int, state: Sequence[Any] | None) -> None:
        super()._restore(t, state)
        self._memory = None


def check_histories(rows: list[Any]) -> None:
    """Refuse loaded pairs that are not as many for every array, or not shaped like it."""
    for best, best_loss, s, y in rows:
        wanted = (len(rows[0][2]) if rows[0][2].ndim else 0, *best.shape)
        if s.shape != wanted or y.shape != wanted or best_loss.ndim:
            raise ValueError(
                f"the state's best, s and y have the shapes {best.shape}, {s.shape} and {y.shape},"
                f" where s and y of {wanted} are wanted"
            )


class _Line:
    """The objective along a direction, for the line search."""

    def __init__(self, objective: Objective, start: Point, direction: Vector, slope: float) -> None:
        self._objective, self._start, self._direction = objective, start, direction
        self._slope = slope

    def run(self, first: float, tolerance: float, most: int) -> Trial:
        """Search; the start itself is returned where nothing is lower."""
        return strong_wolfe(
            self._trial,
            Trial(0.0, self._start.loss, self._slope, self._start),
            first,
            narrowest=tolerance / _largest(self._direction),
            max_trials=most,
        )

    def _trial(self, step: float) -> Trial:
        point = self._objective.at(self._start.x + step * self._direction)
        slope = _core.dot(point.grad, self._direction)
        if not (point.is_finite() and math.isfinite(slope)):
            return Trial(step, math.inf, math.nan, point)
        return Trial(step, point.loss, slope, point)


def _largest(vector: Vector) -> float:
    """Return the largest absolute value, 0 of an empty vector."""
    return float(np.max(np.abs(vector), initial=0.0))
