"""Many descents at once, over starting points, rates, momenta and numbers of steps: `sweep`."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Never

import numpy as np
from numpy.typing import NDArray

from gdcore._composed import Composed
from gdcore._config import get_num_threads
from gdcore._names import did_you_mean
from gdcore._optimizer import Optimizer
from gdcore._result import Reason
from gdcore._verdicts import RunStatistics, statistics, verdicts
from gdcore.autodiff._adapters import as_array
from gdcore.descent import as_count, as_tolerance, copied_optimizer, minimize, unknown_argument
from gdcore.optimizers import SGD

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gdcore.plot import Display

__all__ = ["Sweep", "sweep"]

MOST_RUNS = 2**31 - 1
SAME = 1e-2  # of the range of the starts: end points nearer than this are one
AXES = ("start", "lr", "momentum", "steps")
_OTHER_NAMES = {
    "epochs": "steps",
    "learning_rate": "lr",
    "lrs": "lr",
    "maxiter": "steps",
    "momenta": "momentum",
    "rates": "lr",
    "tol": "gtol",
    "x0": "starts",
}

Column = NDArray[Any] | tuple[NDArray[Any], ...]


def sweep(
    f: Callable[..., Any],
    starts: Any,
    lr: Any = None,
    momentum: Any = None,
    steps: Any = 500,
    optimizer: Any = SGD,
    args: Any = (),
    gtol: float = 1e-6,
    **unknown: Never,
) -> Sweep:
    """Descend on a function with every combination of starts, rates, momenta and steps.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``, one number, written in NumPy without branches on values.
    starts : array-like (n,) or (n, d), tuple of them, or number
        Starting points along the first axis: (n,) are numbers, which f gets as 0-d arrays, (n, d)
        vectors. A tuple of arrays of one length are several arguments of f. A number is one start.
    lr, momentum : float or array-like, optional
        Settings of the optimizer; None is its own. `lr` may be a schedule. For rules without
        momentum but with betas, `momentum` is the first of these.
    steps : int or array-like of int, default 500
        Steps at most.
    optimizer : Optimizer or class, default SGD
        A rule of the table (not LBFGS, Armijo or EMA); a class is taken with its defaults.
    args : tuple, default ()
        Further arguments of f, the same in every run.
    gtol : float, default 1e-6
        A run ends where the 2-norm of the gradient is at most this, as it does where f or the
        gradient is not finite.

    Returns
    -------
    Sweep
        A table with a row for each combination, see there.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that cannot be used.

    Examples
    --------
    >>> import gdcore as gd
    >>> g = gd.sweep(lambda x: x**6 - 5 * x**4 + 4 * x**2, starts=[-1.5, 0.3, 1.5], lr=[0.01, 1.0])
    >>> g.grid("verdict").tolist()
    [['converged', 'exploding'], ['converged', 'exploding'], ['converged', 'exploding']]
    >>> g.grid("x")[:, 0].round(4)
    array([-1.6937,  0.    ,  1.6937])
    """
    for name in unknown:
        raise unknown_argument("sweep", name, [*_ARGUMENTS], _OTHER_NAMES)
    plan = _plan(f, starts, lr, momentum, steps, optimizer, args, gtol)
    return _table(plan, outcome_of(plan))


_ARGUMENTS = ("f", "starts", "lr", "momentum", "steps", "optimizer", "args", "gtol")


class Sweep:
    """A table of many descents: a row for each combination, in C order of the four axes.

    Attributes
    ----------
    columns : dict of str to ndarray
        What each run was: "start", "lr" (of the first step), "momentum" (NaN for a rule without),
        "steps". What became of it: "x" (as the starts: (runs,), (runs, d), or a tuple of them),
        "fun" (f at x), "nit" (steps done), "steps_to_tol" (the first step with gradient norm at
        most gtol, else -1), "verdict" (see `gdcore.diagnose`), "basin" (number of the end
        point among the distinct ones of the runs that converged, in order of appearance; -1 where
        the run did not end in one). End points are one where they differ in no coordinate by more
        than a hundredth of the range of the starts (of starts and ends, where all start alike).
    shape : tuple of int
        Lengths of the axes that were given as arrays, in the order starts, lr, momentum, steps.
    """

    def __init__(self, columns: dict[str, Any], axes: dict[str, int]) -> None:
        self.columns = columns
        self._axes = axes

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes that were given as arrays."""
        return tuple(self._axes.values())

    def __len__(self) -> int:
        return len(self.columns["fun"])

    def grid(self, name: str) -> Any:
        """Return a column as an array with an axis for each argument that was an array.

        Parameters
        ----------
        name : str
            A key of `columns`.

        Returns
        -------
        ndarray, or tuple of them
            Of `shape`, with further axes where points are vectors.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        if name not in self.columns:
            raise KeyError(
                f"{name!r} is no column; accepted: {', '.join(self.columns)}"
                f"{did_you_mean(str(name), self.columns)}"
            )
        column = self.columns[name]
        if isinstance(column, tuple):
            return tuple(part.reshape(self.shape + part.shape[1:]) for part in column)
        return column.reshape(self.shape + column.shape[1:])

    def to_pandas(self) -> Any:
        """Return the table as a pandas.DataFrame; numbers of vectors get columns "x[0]", "x[1]".

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            from pandas import DataFrame  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise ImportError(
                "to_pandas needs pandas: pip install pandas (columns is a dict of arrays and needs"
                " nothing)"
            ) from error
        return DataFrame(dict(self._flat_columns()))

    def plot(self, ax: Axes | None = None) -> Display:
        """Draw the sweep, see `gdcore.plot.sweep`."""
        from gdcore import plot

        return plot.sweep(self, ax)

    def __repr__(self) -> str:
        axes = " x ".join(f"{length} {name}" for name, length in self._axes.items())
        counts = Counter(self.columns["verdict"].tolist()).most_common()
        found = ", ".join(f"{count} {word}" for word, count in counts)
        return f"Sweep of {len(self)} runs{f' ({axes})' if axes else ''}: {found}"

    def _flat_columns(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield (name, one-dimensional array) of every column."""
        for name, column in self.columns.items():
            parts = column if isinstance(column, tuple) else (column,)
            for number, part in enumerate(parts):
                label = f"{name}[{number}]" if isinstance(column, tuple) else name
                for index in np.ndindex(part.shape[1:]):
                    yield label + "".join(f"[{i}]" for i in index), part[(slice(None), *index)]


# ---- Arguments -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A sweep after its arguments have been read.

    Attributes
    ----------
    starts : tuple of ndarray
        Points along the first axis, one array for each argument of f.
    apart : bool
        Whether `starts` was a tuple: f then has several arguments.
    lrs, momenta, steps : ndarray, or None for the optimizer's own
    axes : dict
        Length of each axis that was given as an array.
    """

    f: Callable[..., Any]
    args: Any
    starts: tuple[NDArray[Any], ...]
    apart: bool
    lrs: NDArray[np.float64] | None
    momenta: NDArray[np.float64] | None
    steps: NDArray[np.int64]
    optimizer: Optimizer
    gtol: float
    axes: dict[str, int]

    @functools.cached_property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Arrays of their own for the first start, one for each argument of f."""
        return tuple([np.array(column[0]) for column in self.starts])

    @property
    def lengths(self) -> tuple[int, int, int, int]:
        """Number of starts, rates, momenta and numbers of steps."""
        return (
            len(self.starts[0]),
            1 if self.lrs is None else len(self.lrs),
            1 if self.momenta is None else len(self.momenta),
            len(self.steps),
        )

    def optimizer_at(self, lr: int, momentum: int) -> Optimizer:
        """Return a fresh optimizer with the rate and the momentum of these positions."""
        settings = self.optimizer.get_params()
        if self.lrs is not None:
            settings["lr"] = float(self.lrs[lr])
        if self.momenta is not None:
            settings.update(_momentum_setting(settings, float(self.momenta[momentum])))
        return type(self.optimizer)(**settings)

    def arguments(self) -> tuple[Any, ...]:
        """Return the arguments of f at the first start, made at the first call."""
        args = self.args if isinstance(self.args, tuple) else (self.args,)
        return (*self.arrays, *args)

    def start_at(self, number: int) -> Any:
        """Return a starting point as `minimize` takes it."""
        point = tuple(np.array(column[number]) for column in self.starts)
        return point if self.apart else point[0]


class Outcome(NamedTuple):
    """What became of the runs, in C order of starts, rates, momenta and numbers of steps."""

    x: tuple[NDArray[Any], ...]  # end points along the first axis, one array for each argument
    fun: NDArray[Any]
    steps_to_tol: NDArray[np.int64]
    statistics: RunStatistics  # of arrays


def _plan(
    f: Any,
    starts: Any,
    lr: Any,
    momentum: Any,
    steps: Any,
    optimizer: Any,
    args: Any,
    gtol: Any,
) -> Plan:
    """Return the arguments of `sweep` after a check."""
    if not callable(f):
        raise TypeError(f"sweep: f is {f!r:.80}; a function to call as f(x) is wanted")
    base = _base(optimizer)
    if callable(lr):
        base.set_params(lr=lr)
        lr = None
    points = _starts(starts)
    axes = {"start": len(points[0])} if _is_axis(starts) else {}
    axes |= {
        name: np.size(given)
        for name, given in zip(AXES[1:], (lr, momentum, steps), strict=True)
        if given is not None and _is_axis(given)
    }
    tolerance = as_tolerance("sweep", "gtol", gtol)
    if tolerance is None:
        raise TypeError("sweep: gtol is None; a finite number >= 0 is accepted (0: run on)")
    plan = Plan(
        f=f,
        args=args,
        starts=points,
        apart=isinstance(starts, tuple),
        lrs=_numbers("lr", lr),
        momenta=_numbers("momentum", momentum),
        steps=_step_counts(steps),
        optimizer=base,
        gtol=tolerance,
        axes=axes,
    )
    _check_size(plan)
    _check_settings(plan)
    return plan


def _base(optimizer: Any) -> Optimizer:
    """Return a fresh optimizer from an instance or a class."""
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        if issubclass(optimizer, Composed):
            raise _not_of_the_table(optimizer)
        optimizer = optimizer()
    base = copied_optimizer("sweep", optimizer)
    if isinstance(base, Composed):
        raise _not_of_the_table(type(base))
    return base


def _not_of_the_table(kind: type) -> TypeError:
    return TypeError(
        f"sweep: optimizer is {kind.__name__}; a rule of the table is accepted, such as gd.SGD or"
        " gd.Adam (call gd.minimize in a loop for LBFGS, Armijo and EMA)"
    )


def _is_axis(given: Any) -> bool:
    return isinstance(given, tuple) or np.ndim(given) > 0


def _starts(starts: Any) -> tuple[NDArray[Any], ...]:
    """Return the starting points along the first axis, one array for each argument of f."""
    columns = [
        np.array(as_array(column, name), order="C", subok=False)
        for column, name in (
            [(column, f"starts[{i}]") for i, column in enumerate(starts)]
            if isinstance(starts, tuple)
            else [(np.atleast_1d(as_array(starts, "starts")), "starts")]
        )
    ]
    shapes = [column.shape for column in columns]
    if not shapes or any(len(s) == 0 or s[0] != shapes[0][0] or 0 in s for s in shapes):
        raise ValueError(
            f"sweep: starts has the shapes {shapes}; (n,) or (n, d) with n >= 1 is accepted, in a"
            " tuple the same n everywhere (np.full(n, value) for an argument that stays)"
        )
    return tuple(columns)


def _numbers(name: str, given: Any) -> NDArray[np.float64] | None:
    """Return rates or momenta as a 1-D array, None for the optimizer's own."""
    if given is None:
        return None
    array = np.atleast_1d(as_array(given, f"sweep: {name}").astype(np.float64))
    if array.ndim != 1 or not array.size:
        raise ValueError(f"sweep: {name} has shape {array.shape}; a number or (n,) is accepted")
    if not np.isfinite(array).all():
        raise ValueError(
            f"sweep: {name} holds {array[~np.isfinite(array)][0]}; finite numbers are accepted"
        )
    return array


def _step_counts(given: Any) -> NDArray[np.int64]:
    """Return numbers of steps as a 1-D array."""
    array = np.atleast_1d(np.asarray(given))
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
        raise TypeError(
            f"sweep: steps is {given!r:.80}; an integer >= 0, or a sequence of them, is accepted"
        )
    as_count("sweep", "steps", array.min())
    return array.astype(np.int64)


def _check_size(plan: Plan) -> None:
    """Refuse a table of more rows than can be counted, or more numbers than memory can have."""
    runs = math.prod(plan.lengths)
    width = sum(math.prod(column.shape[1:]) for column in plan.starts)
    if runs > MOST_RUNS or runs * width * 16 > 2**62:
        parts = " x ".join(str(length) for length in plan.lengths)
        raise ValueError(
            f"sweep: starts x lr x momentum x steps = {parts} = {runs} runs of {width} numbers; at"
            f" most {MOST_RUNS} runs are accepted: sweep over parts of the starts"
        )


def _check_settings(plan: Plan) -> None:
    """Refuse a rate or momentum that the optimizer refuses, before anything runs."""
    if plan.momenta is not None:
        _momentum_setting(plan.optimizer.get_params(), 0.0)
    ends = [
        (0, 0) if array is None else (int(array.argmin()), int(array.argmax()))
        for array in (plan.lrs, plan.momenta)
    ]
    for lr, momentum in zip(*ends, strict=True):
        plan.optimizer_at(lr, momentum)


def _momentum_setting(settings: dict[str, Any], value: float) -> dict[str, Any]:
    """Return the setting that is a rule's momentum, with the value."""
    if "momentum" in settings:
        return {"momentum": value}
    if "betas" in settings:
        return {"betas": (value, *settings["betas"][1:])}
    raise ValueError("sweep: momentum is given, but the optimizer has neither momentum nor betas")


# ---- The runs ------------------------------------------------------------------------------------


def outcome_of(plan: Plan) -> Outcome:
    """Return what becomes of the runs: side by side where the program allows, else one by one."""
    from gdcore._side_by_side import side_by_side
    from gdcore.autodiff import compile

    fast = compile(plan.f)
    outcome = side_by_side(plan, fast)
    return one_by_one(replace(plan, f=fast)) if outcome is None else outcome


def one_by_one(plan: Plan) -> Outcome:
    """Return the outcome by one `minimize` for each run, in as many threads as gdcore uses."""

    def run(combination: tuple[int, ...]) -> Any:
        start, lr, momentum, steps = combination
        return minimize(
            plan.f,
            plan.start_at(start),
            args=plan.args,
            optimizer=plan.optimizer_at(lr, momentum),
            steps=int(plan.steps[steps]),
            gtol=plan.gtol,
            record=0,
        )

    ends, values, met, stats = [], [], [], []
    combinations = itertools.product(*map(range, plan.lengths))
    first = run(next(combinations))  # compiles f, and says what is wrong with it
    with ThreadPoolExecutor(get_num_threads()) as pool:
        runs = [first, *pool.map(run, combinations)]
    for r in runs:
        ends.append(r.x if plan.apart else (r.x,))
        values.append(r.fun)
        met.append(r.nit if r._ending.reason is Reason.GTOL else -1)
        stats.append(statistics(r.losses, r.grad_norms, plan.gtol, r._ending.moved))
    return Outcome(
        x=tuple(np.stack(column) for column in zip(*ends, strict=True)),
        fun=np.array(values),
        steps_to_tol=np.array(met, np.int64),
        statistics=RunStatistics(*map(np.array, zip(*stats, strict=True))),
    )


def _table(plan: Plan, outcome: Outcome) -> Sweep:
    """Return the table of a plan and its outcome."""
    s, r, m, k = (axis.ravel() for axis in np.indices(plan.lengths))
    own = plan.optimizer.get_params()
    momentum = own.get("momentum", own.get("betas", (math.nan,))[0])
    starts = tuple(column[s] for column in plan.starts)
    verdict = verdicts(outcome.statistics, plan.gtol)
    columns: dict[str, Any] = {
        "start": starts if plan.apart else starts[0],
        "lr": np.full(len(r), plan.optimizer.lr) if plan.lrs is None else plan.lrs[r],
        "momentum": np.full(len(m), momentum) if plan.momenta is None else plan.momenta[m],
        "steps": plan.steps[k],
        "x": outcome.x if plan.apart else outcome.x[0],
        "fun": outcome.fun,
        "nit": outcome.statistics.nit,
        "steps_to_tol": outcome.steps_to_tol,
        "verdict": verdict,
        "basin": _basins(plan.starts, outcome.x, verdict, outcome.steps_to_tol),
    }
    return Sweep(columns, plan.axes)


def _basins(
    starts: Sequence[NDArray[Any]],
    ends: Sequence[NDArray[Any]],
    verdict: NDArray[np.str_],
    steps_to_tol: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the number of each run's end point, -1 where it is no distinct converged one.

    A run that met gtol where it started, and so has not converged, may yet stand in one.
    """
    begin, end = _flattened(starts), _flattened(ends)
    numbers = np.full(len(end), -1, np.int64)
    converged = np.flatnonzero(verdict == "converged")
    if not converged.size:
        return numbers
    begin = begin[np.isfinite(begin).all(axis=1)]
    span = np.ptp(begin, axis=0).max()
    if span == 0:
        span = np.ptp(np.concatenate([begin[:1], end[converged]]), axis=0).max()
    points: list[NDArray[Any]] = []
    waiting = converged
    while waiting.size:
        points.append(end[waiting[0]])
        near = np.abs(end[waiting] - points[-1]).max(axis=1) <= SAME * span
        near[0] = True
        numbers[waiting[near]] = len(points) - 1
        waiting = waiting[~near]
    others = np.flatnonzero((steps_to_tol >= 0) & (numbers < 0))
    for number, point in enumerate(points):
        near = np.abs(end[others] - point).max(axis=1) <= SAME * span
        numbers[others[near & (numbers[others] < 0)]] = number
    return numbers


def _flattened(columns: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return points as the rows of one float64 matrix."""
    rows = [column.reshape(len(column), -1).astype(np.float64) for column in columns]
    return np.concatenate(rows, axis=1)
