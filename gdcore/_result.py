"""What `minimize` and `maximize` return, and what they give a callback in between."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdcore._containers import flat, text_of
from gdcore._optimizer import Optimizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gdcore.plot import Display

ROWS_SHOWN = 6  # arrays of a container that a result prints


class Reason(IntEnum):
    """Why a descent ended."""

    STEPS = 0
    GTOL = 1
    FTOL = 2
    SECONDS = 3
    NONFINITE = 4
    INTERRUPT = 5
    CALLBACK = 6


@dataclass(frozen=True)
class Ending:
    """How a descent ended, for its diagnosis.

    Attributes
    ----------
    reason : Reason
    gtol : float or None
        The tolerance on the gradient norm that was asked for.
    moved : bool
        Whether the variables were ever elsewhere than at the start.
    sign : float
        1.0 of a minimum, -1.0 of a maximum: times it the losses were to be made small.
    """

    reason: Reason
    gtol: float | None
    moved: bool
    sign: float


@dataclass(eq=False, repr=False)
class DescentResult:
    """The result of a descent, with scipy.optimize's names.

    Attributes
    ----------
    x : like x0
        Where it ended; with a rule that averages (see ``Optimizer.averaged``) the average. A tuple
        where x0 was one. Arrays are those that `optimizer` is bound to, so that
        ``r.optimizer.step(r.x, grads)`` goes on.
    fun : float32 or float64
        f at x.
    jac : like x0
        The gradient at x.
    nit : int
        Steps done.
    nfev : int
        Evaluations of f with its gradient.
    success : bool
        Whether f and gradient are finite at the end, and a tolerance was met or none was asked for.
    message : str
        Why it ended, in words.
    path : ndarray, container of them, or None
        The points visited: x0, every `record`-th and the last, along the first axis; for containers
        in the structure of x0. None with ``record=0``.
    losses : ndarray
        f at every step, ``nit + 1`` values: the first is f(x0).
    grad_norms : ndarray
        The 2-norm of the gradient there, over what is not frozen, ``nit + 1`` values.
    lrs : ndarray
        The learning rate of every step, ``nit`` values.
    optimizer : Optimizer
        The live one, with its state.
    """

    x: Any
    fun: Any
    jac: Any
    nit: int
    nfev: int
    success: bool
    message: str
    path: Any
    losses: NDArray[Any]
    grad_norms: NDArray[np.float64]
    lrs: NDArray[np.float64]
    optimizer: Optimizer
    _ending: Ending
    # f of coordinates, for pictures; functions need not pickle, so it stays behind then.
    _ground: Callable[..., Any] | None = field(default=None)

    def plot(self, ax: Axes | None = None) -> Display:
        """Draw the path on f where there are one or two variables, else the losses.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        Display
            See `gdcore.plot.path` and `gdcore.plot.history`.
        """
        from gdcore._pictures_descent import draw_result

        return draw_result(self, ax)

    def __repr__(self) -> str:
        lines = [f"message: {self.message}", f"success: {self.success}", f"    fun: {self.fun!s}"]
        lines += [*_shown("x", self.x), *_shown("jac", self.jac)]
        lines += [f"    nit: {self.nit}", f"   nfev: {self.nfev}"]
        lines += [f" losses: {_ends(self.losses)}", f"  norms: {_ends(self.grad_norms)}"]
        return "\n".join([*lines, f"    opt: {self.optimizer!r}"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ground": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> DescentResult:
        copies = {
            f.name: copy.deepcopy(getattr(self, f.name), memo)
            for f in fields(self)
            if f.name != "_ground"
        }
        return type(self)(**copies, _ground=self._ground)


@dataclass(frozen=True, eq=False)
class IntermediateResult:
    """Where a descent stands after a step, for its callback.

    Attributes
    ----------
    x, jac : like x0
        The point and the gradient, copies.
    fun : float32 or float64
    nit, nfev : int
    grad_norm, lr : float
        The gradient's 2-norm, and the rate of the last step.
    optimizer : Optimizer
        The live one: ``intermediate_result.optimizer.lr = 0.01`` holds from the next step on.
    """

    x: Any
    fun: Any
    jac: Any
    nit: int
    nfev: int
    grad_norm: float
    lr: float
    optimizer: Optimizer


def _shown(name: str, value: Any) -> list[str]:
    """Return lines that show an array, number or container under its name."""
    rows = []
    for path, array in flat(value):
        text = np.array2string(np.asarray(array), threshold=8, edgeitems=3, precision=6)
        label = text_of(name, path).rjust(7)
        rows.append(f"{label}: " + text.replace("\n", "\n" + " " * (len(label) + 2)))
    more = len(rows) - ROWS_SHOWN
    return rows if more <= 0 else [*rows[:ROWS_SHOWN], f"         and {more} arrays more"]


def _ends(values: NDArray[Any]) -> str:
    """Return the first and the last of a sequence as a text."""
    if len(values) == 1:
        return f"{values[0]:.6g}"
    return f"{values[0]:.6g} ... {values[-1]:.6g} ({len(values)} values)"
