"""Descent on a function: `minimize` and `maximize`, by any optimizer, with the path recorded."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Never

import numpy as np

from gdcore._closure import ClosureOptimizer
from gdcore._composed import fresh
from gdcore._ema import EMA
from gdcore._native import Entry, History, descend
from gdcore._objective import Objective
from gdcore._optimizer import Optimizer, as_number, unknown_name
from gdcore._result import DescentResult, Ending, IntermediateResult, Reason
from gdcore._variables import Arrays, Variables
from gdcore.optimizers import SGD

__all__ = ["maximize", "minimize"]

_PLAIN: Optimizer = SGD(0.01)
_OTHER_NAMES = {
    "bounds": "optimizer=gd.SGD(..., constraint=gd.constraints.box(low, high))",
    "epochs": "steps",
    "fun": "f",
    "jac": "grad",
    "learning_rate": "optimizer=gd.SGD(lr)",
    "lr": "optimizer=gd.SGD(lr)",
    "maxiter": "steps",
    "max_iter": "steps",
    "method": "optimizer",
    "momentum": "optimizer=gd.SGD(lr, momentum)",
    "n_steps": "steps",
    "options": "steps, gtol, ftol",
    "tol": "gtol",
}


def minimize(
    f: Callable[..., Any],
    x0: Any,
    args: Any = (),
    optimizer: Optimizer = _PLAIN,
    steps: int = 500,
    grad: Any = None,
    gtol: float | None = None,
    ftol: float | None = None,
    max_seconds: float | None = None,
    record: int = 1,
    callback: Callable[..., Any] | None = None,
    **unknown: Never,
) -> DescentResult:
    """Descend on a function from a starting point.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``, one number. Written in NumPy, gdcore differentiates it (see `grad`).
    x0 : number, array-like, or tuple, list or dict of them
        Where to start; it is copied. A tuple is one positional argument of f for each entry, and
        ``r.x`` then is a tuple: ``minimize(f, (x, y))`` calls ``f(x, y)``. Anything else is f's
        single argument.
    args : tuple, default ()
        Further arguments of f, and of `grad`.
    optimizer : Optimizer, default SGD(lr=0.01)
        Any one, with any schedule; its settings are copied and its state made anew (the live one is
        ``r.optimizer``). A `plateau` is told f. A step of LBFGS is up to its ``max_iter``
        iterations.
    steps : int, default 500
        Steps at most.
    grad : None, True or callable, default None
        None: gdcore differentiates f. True: f returns ``(value, gradient)``. A callable
        ``grad(x, *args)`` returns the gradient in the structure of x0, a tuple for a tuple; it may
        be autograd's or JAX's, or torch's and take tensors.
    gtol : float, optional
        Stop where the 2-norm of the gradient is at most this.
    ftol : float, optional
        Stop where a step has changed f by at most ``ftol * max(abs(f before), abs(f after), 1)``.
    max_seconds : float, optional
        Stop after the step during which they end.
    record : int, default 1
        ``r.path`` holds x0, every record-th point and the last; 0 records none, for large x0.
    callback : callable, optional
        Called after each step, as scipy does: with the keyword ``intermediate_result`` where its
        parameter has that name (with ``x fun jac nit nfev grad_norm lr optimizer``), else with a
        copy of x. It ends the descent by returning True or raising StopIteration.

    Returns
    -------
    DescentResult
        With ``x fun jac nit nfev success message path losses grad_norms lrs optimizer``. Where f or
        the gradient is not finite the descent ends there, without a warning, with success False.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that cannot be used.
    KeyboardInterrupt
        Ctrl-C, with the result up to the last completed step as its ``result``.

    Examples
    --------
    >>> import gdcore as gd
    >>> def f(x):
    ...     return x**6 - 5 * x**4 + 4 * x**2
    >>> r = gd.minimize(f, -1.5, gtol=1e-6)
    >>> r.message
    'gradient norm 5.30374e-07 is at most gtol = 1e-06 after 11 steps'
    >>> round(float(r.x), 6), round(float(r.fun), 6)
    (-1.69367, -6.064605)
    >>> r.path[:3].round(4)
    array([-1.5   , -1.5994, -1.6617])
    """
    return _optimize(1.0, locals())


def maximize(
    f: Callable[..., Any],
    x0: Any,
    args: Any = (),
    optimizer: Optimizer = _PLAIN,
    steps: int = 500,
    grad: Any = None,
    gtol: float | None = None,
    ftol: float | None = None,
    max_seconds: float | None = None,
    record: int = 1,
    callback: Callable[..., Any] | None = None,
    **unknown: Never,
) -> DescentResult:
    """Climb on a function from a starting point: the path of `minimize` on ``-f``, bit for bit.

    Parameters
    ----------
    f, x0, args, optimizer, steps, grad, gtol, ftol, max_seconds, record, callback
        See `minimize`. `grad` is the gradient of f. A `plateau` is told ``-f``, which falls.

    Returns
    -------
    DescentResult
        ``fun``, ``jac`` and ``losses`` are f's own.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that cannot be used; an optimizer with ``maximize=True`` is one, for it
        would climb on ``-f``.
    KeyboardInterrupt
        Ctrl-C, with the result up to the last completed step as its ``result``.

    Examples
    --------
    >>> import gdcore as gd
    >>> r = gd.maximize(lambda x: 3 - (x - 2) ** 2, 0.0, optimizer=gd.SGD(0.1))
    >>> round(float(r.x), 6), float(r.fun)
    (2.0, 3.0)
    """
    return _optimize(-1.0, locals())


def _optimize(sign: float, given: dict[str, Any]) -> DescentResult:
    """Check the arguments of `minimize`, descend, and make the result."""
    title = "minimize" if sign > 0 else "maximize"
    unknown = given.pop("unknown")
    for name in unknown:
        raise unknown_argument(title, name, [*given], _OTHER_NAMES)
    optimizer = copied_optimizer(title, given["optimizer"])
    limits = Limits(
        steps=as_count(title, "steps", given["steps"]),
        gtol=as_tolerance(title, "gtol", given["gtol"]),
        ftol=as_tolerance(title, "ftol", given["ftol"]),
        seconds=as_tolerance(title, "max_seconds", given["max_seconds"]),
        record=as_count(title, "record", given["record"]),
    )
    variables = Variables(given["x0"])
    objective = Objective(given["f"], given["args"], variables, given["grad"], sign)
    descent = Descent(objective, optimizer, limits, _caller(given["callback"]))
    try:
        reason = descend(descent)
        if reason is None:
            reason = _descend_step_by_step(descent)
    except KeyboardInterrupt as interrupt:
        descent.settle()
        interrupt.result = descent.result(Reason.INTERRUPT)  # type: ignore[attr-defined]
        raise
    return descent.result(reason)


# ---- Arguments -----------------------------------------------------------------------------------


def unknown_argument(title: str, name: str, known: list[str], others: dict[str, str]) -> TypeError:
    """Return the error for a keyword that does not exist; it names ours."""
    if name not in others:
        return unknown_name(title, name, known)
    return TypeError(
        f"{title}: unknown argument {name}=; accepted: {', '.join(known)}; here it is"
        f" {others[name]}"
    )


def as_count(title: str, name: str, value: Any) -> int:
    """Return a number of steps after a check."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{title}: {name} is {value!r:.80}; an integer >= 0 is accepted")
    if value < 0:
        raise ValueError(f"{title}: {name} is {value!r}; an integer >= 0 is accepted")
    return int(value)


def as_tolerance(title: str, name: str, value: Any) -> float | None:
    """Return a tolerance after a check; None where none is asked for."""
    if value is None:
        return None
    number = as_number(title, name, value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{title}: {name} is {value!r}; a finite number >= 0, or None, is wanted")
    return number


def copied_optimizer(title: str, optimizer: Any) -> Optimizer:
    """Return a fresh optimizer of the same settings; one that climbs is refused."""
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        raise TypeError(
            f"{title}: optimizer is the class {optimizer.__name__}; an instance is accepted, such"
            f" as gd.{optimizer.__name__}()"
        )
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{title}: optimizer is {optimizer!r:.80}; an optimizer is accepted, such as"
            " gd.SGD(0.01)"
        )
    if innermost(optimizer).get_params()["maximize"]:
        raise ValueError(
            f"{title}: optimizer has maximize=True; leave it out and call gd.maximize to climb"
        )
    return fresh(optimizer)


def innermost(optimizer: Any) -> Optimizer:
    """Return the optimizer that takes the steps, below any averages around it."""
    while isinstance(optimizer, EMA):
        optimizer = optimizer.optimizer
    assert isinstance(optimizer, Optimizer)
    return optimizer


def _caller(callback: Any) -> Callable[[IntermediateResult], Any] | None:
    """Return a callback as a function of the intermediate result, by scipy's rule."""
    if callback is None:
        return None
    if not callable(callback):
        raise TypeError(f"callback is {callback!r:.80}; a function or None is accepted")
    try:
        names = [*inspect.signature(callback).parameters]
    except (TypeError, ValueError):
        names = []
    if names == ["intermediate_result"]:
        return lambda state: callback(intermediate_result=state)
    return lambda state: callback(state.x)


# ---- The descent ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """When a descent ends, and what it records."""

    steps: int
    gtol: float | None
    ftol: float | None
    seconds: float | None
    record: int


class Descent:
    """A descent on its way: the completed steps, and what the next one needs.

    A step is completed once f has been evaluated after it and `log` has its entry.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        limits: Limits,
        callback: Callable[[IntermediateResult], Any] | None = None,
    ) -> None:
        self.objective, self.variables = objective, objective.variables
        self.optimizer, self.limits, self.callback = optimizer, limits, callback
        self.innermost = innermost(optimizer)
        self.searches = isinstance(self.innermost, ClosureOptimizer)
        self.start = self.variables.copies()
        self.moved = False
        self.points: list[tuple[int, Arrays]] = []  # (step, x)
        self.last = self.variables.copies()  # x of the last completed step
        # (f, gradient norm, rate of the step, t of the optimizer) at the start and after each step
        self.log: list[Entry] | History = []
        self.stack: list[Arrays] = []  # the points of the core's loop, along first axes
        self._lr = math.nan

    @property
    def nit(self) -> int:
        """Steps completed."""
        return len(self.log) - 1

    def begin(self) -> None:
        """Evaluate f at the start."""
        self._evaluate()
        self._note()

    def step(self) -> None:
        """Take one step and evaluate f after it."""
        optimizer, params = self.optimizer, self.variables.params
        if self.searches:
            self._lr = self.innermost.lr
            optimizer.step(params, closure=self._closure)
        else:
            optimizer.step(params, self.objective.grads, loss=self.objective.value)
        self._evaluate()
        self._note()

    def _closure(self) -> tuple[float, Any]:
        return self.objective.evaluate_if_moved(), self.objective.grads

    def _evaluate(self) -> None:
        if self.searches:
            self.objective.evaluate_if_moved()
        else:
            self.objective.evaluate()

    def _note(self) -> None:
        """Complete a step: record what stands in the variables and in the objective."""
        norm = self.objective.norm(_frozen(self.innermost, self.variables))
        number, record = len(self.log), self.limits.record
        self.moved = self.moved or self.variables.differ_from(self.start)
        for mine, array in zip(self.last, self.variables.arrays, strict=True):
            np.copyto(mine, array)
        if record and number % record == 0:
            self.points.append((number, self.variables.copies()))
        lr = self._lr if self.searches or not number else float(self.innermost._rates()[0])
        assert isinstance(self.log, list)
        self.log.append((self.objective.value, norm, lr, self.innermost.t))

    def reason(self, elapsed: float) -> Reason | None:
        """Return why the descent is to end here, None to go on."""
        limits, (value, norm, *_) = self.limits, self.log[-1]
        if not (math.isfinite(value) and math.isfinite(norm)):
            return Reason.NONFINITE
        if limits.gtol is not None and norm <= limits.gtol:
            return Reason.GTOL
        if limits.ftol is not None and self.nit:
            before = self.log[-2][0]
            if abs(value - before) <= limits.ftol * max(abs(before), abs(value), 1.0):
                return Reason.FTOL
        if limits.seconds is not None and self.nit and elapsed >= limits.seconds:
            return Reason.SECONDS
        return Reason.STEPS if self.nit >= limits.steps else None

    def is_stopped_by_callback(self) -> bool:
        """Call the callback; whether it asks to stop."""
        if self.callback is None:
            return False
        try:
            answer = self.callback(self.state())
        except StopIteration:
            return True
        return isinstance(answer, bool | np.bool_) and bool(answer)

    def state(self) -> IntermediateResult:
        """Return what a callback gets."""
        objective, variables = self.objective, self.variables
        value, norm, lr, _ = self.log[-1]
        return IntermediateResult(
            x=variables.shaped(variables.copies()),
            fun=objective.own(value),
            jac=_jac(objective),
            nit=self.nit,
            nfev=objective.nfev,
            grad_norm=norm,
            lr=lr,
            optimizer=self.optimizer,
        )

    def settle(self) -> None:
        """After an interrupt: go to the last completed step.

        Where the optimizer has done a step whose f is missing, f is evaluated once more to complete
        it, so that optimizer and result agree; a second interrupt goes through.
        """
        if not self.log:
            self.begin()
        elif self.innermost.t > self.log[-1][3]:
            self._evaluate()
            self._note()
        else:
            self.variables.place(self.last)
        self.points = [(number, point) for number, point in self.points if number <= self.nit]

    def result(self, reason: Reason) -> DescentResult:
        """Return the result; x is the average where the rule keeps one."""
        from gdcore._messages import message_of

        objective, limits = self.objective, self.limits
        averaged = self.optimizer.averaged(self.variables.params)
        if averaged is not self.variables.params:
            objective.variables = self.variables.at(averaged)
            objective.evaluate()
        elif self.searches:
            objective.evaluate_if_moved()
        losses, norms, lrs = self._columns()
        if reason is not Reason.NONFINITE and not objective.variables.are_finite():
            reason = Reason.NONFINITE
        asked = limits.gtol is not None or limits.ftol is not None
        return DescentResult(
            x=objective.variables.shaped(objective.variables.arrays),
            fun=objective.own(objective.value),
            jac=_jac(objective),
            nit=self.nit,
            nfev=objective.nfev,
            success=reason in (Reason.GTOL, Reason.FTOL)
            or (reason is not Reason.NONFINITE and not asked),
            message=message_of(self, reason),
            path=self._path(),
            losses=objective.own(losses),
            grad_norms=norms.copy(),
            lrs=lrs[1:].copy(),
            optimizer=self.optimizer,
            _ending=Ending(reason, limits.gtol, self.moved, objective.sign),
            _ground=objective.on_coordinates,
        )

    def _columns(self) -> tuple[Any, Any, Any]:
        """Return values, norms and rates of all points."""
        if isinstance(self.log, History):
            return self.log.columns()
        losses, norms, lrs, _ = np.array(self.log).T
        return losses, norms, lrs

    def _path(self) -> Any:
        """Return the recorded points with the last one, None where none are wanted."""
        if not self.limits.record:
            return None
        if self.stack:
            last = [] if self.nit % self.limits.record == 0 else [[a[None] for a in self.last]]
            parts = zip(*self.stack, *last, strict=True)
            return self.variables.joined([np.concatenate(part) for part in parts])
        points = [point for _, point in self.points]
        if self.points[-1][0] != self.nit:
            points.append(self.last)
        return self.variables.stacked(points)


def _jac(objective: Objective) -> Any:
    """Return copies of the gradients as f's own."""
    return objective.variables.shaped(objective.own_gradients())


def _frozen(optimizer: Optimizer, variables: Variables) -> frozenset[Any]:
    """Return the paths of the arrays that the optimizer's groups freeze now."""
    names = [
        name if isinstance(name, tuple) else (name,)
        for group in optimizer.groups
        if group["frozen"]
        for name in group["params"]
    ]
    if not names:
        return frozenset()
    return frozenset(
        path
        for path in variables.paths
        if any((path or (0,))[: len(name)] == name for name in names)
    )


def _descend_step_by_step(descent: Descent) -> Reason:
    """Run a descent to its end, step by step; return why it ended."""
    begun = time.perf_counter()
    descent.begin()
    reason = descent.reason(0.0)
    while reason is None:
        descent.step()
        reason = descent.reason(time.perf_counter() - begun)
        if descent.is_stopped_by_callback() and reason is None:
            reason = Reason.CALLBACK
    return reason
