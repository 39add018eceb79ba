"""Base of the optimizers that are no row of the table: LBFGS, Armijo and EMA.

Settings come from the constructor's own signature, which also gives `repr` its defaults; the rest
of the interface of `gdcore._optimizer.Optimizer` stands on `_state` and `_restore` of each class.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gdcore._containers import Path, copy_into, text_of
from gdcore._optimizer import Optimizer, as_number, unknown_name

Row = tuple[NDArray[Any], ...]


def fresh(optimizer: Optimizer) -> Optimizer:
    """Return an optimizer of the same settings without state."""
    if isinstance(optimizer, Composed) or optimizer.groups:
        return type(optimizer)(**optimizer.get_params())
    return optimizer._fresh()


def check_arrays(leaves: Sequence[tuple[Path, Any]], wanted: Sequence[NDArray[Any]]) -> None:
    """Refuse params whose number, shapes or types differ from the arrays of a loaded state.

    What is no array at all is left for the core to refuse.
    """
    way_out = "the arrays that the state was saved with are wanted, or reset() to start anew"
    if len(leaves) != len(wanted):
        raise ValueError(
            f"params holds {len(leaves)} arrays but the state is for {len(wanted)}; {way_out}"
        )
    for (path, array), like in zip(leaves, wanted, strict=True):
        if isinstance(array, np.ndarray) and (array.shape, array.dtype) != (like.shape, like.dtype):
            raise ValueError(
                f"{text_of('params', path)} is {array.dtype} {array.shape} but the state is for"
                f" {like.dtype} {like.shape}; {way_out}"
            )


class Composed(Optimizer):
    """Settings, counting and state of an optimizer whose step is written in Python."""

    __signature__: ClassVar[inspect.Signature]
    _defaults: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        parameters = [*inspect.signature(cls.__init__).parameters.values()][1:]
        shown = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
        cls.__signature__ = inspect.Signature(shown)
        cls._defaults = {p.name: p.default for p in shown}

    def _take(self, settings: Mapping[str, Any], unknown: Mapping[str, Any]) -> None:
        """Take the constructor's arguments; `unknown` are those that it does not have."""
        for name in unknown:
            raise unknown_name(self._title(), name, self._names())
        self._busy = False
        self._t = 0
        self._grad_norm: float | None = None
        self._groups = []
        self._settings = {name: self._clean(name, value) for name, value in settings.items()}
        self._groups = self._make_groups(settings.get("groups"))

    @classmethod
    def _names(cls) -> list[str]:
        return [*cls._defaults]

    @classmethod
    def _group_names(cls) -> list[str]:
        return []

    @classmethod
    def _number(cls, name: str, value: Any, accepts: Callable[[float], bool], text: str) -> float:
        """Return a setting as a float in its domain."""
        number = as_number(cls._title(), name, value)
        if not accepts(number):
            raise ValueError(f"{cls._title()}: {name} is {number!r}; {text} is accepted")
        return number

    @classmethod
    def _count(cls, name: str, value: Any, least: int) -> int:
        """Return a setting that counts something."""
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
            raise TypeError(f"{cls._title()}: {name} is {value!r}; an integer is accepted")
        if value < least:
            raise ValueError(
                f"{cls._title()}: {name} is {value!r}; an integer >= {least} is accepted"
            )
        return int(value)

    @classmethod
    def _rate(cls, value: Any) -> Any:
        """Return a learning rate as a float, or the callable of t that gives it."""
        if hasattr(value, "_told"):  # by_gradient, plateau: called with other things than t
            raise TypeError(
                f"{cls._title()}: lr is {value!r}, which follows what a step tells it; a number or"
                " a schedule of t is accepted (the line search itself finds the length)"
            )
        if callable(value):
            return value
        return cls._number("lr", value, _is_rate, "a finite number >= 0")

    def _in_core(self) -> Optimizer | None:
        """Return the optimizer whose steps the core takes in fit; None: Python takes them."""
        return None

    def _sync(self, told: Any = None) -> None:
        """Nothing is handed to C; but settings are not changed in the middle of a step."""
        self._refuse_busy()

    def _refuse_busy(self) -> None:
        """Refuse a second caller.

        A step marks itself by ``__dict__["_busy"]``: at a call, or in a context manager, Ctrl-C
        could come between the mark and what takes it back.
        """
        if self._busy:
            raise RuntimeError(
                "this optimizer is in the middle of a step (another thread, or its own schedule or"
                " closure); one optimizer serves one caller at a time"
            )

    # ---- Values ----------------------------------------------------------------------------------

    @property
    def t(self) -> int:
        """Number of steps done."""
        return self._t

    @property
    def grad_norm(self) -> float | None:
        """Norm of the gradient where the last step began, over what is not frozen."""
        return self._grad_norm

    @property
    def lr(self) -> float:
        """The learning rate of the next step; setting it replaces a schedule."""
        lr = self._settings["lr"]
        return float(lr(self.t)) if callable(lr) else float(lr)

    @lr.setter
    def lr(self, value: float | Callable[[int], float]) -> None:
        self.set_params(lr=value)

    def _next_lr(self) -> float:
        """Return the rate of the step that comes, and refuse what a schedule must not give."""
        lr = self.lr
        if not _is_rate(lr):
            raise ValueError(
                f"lr is a schedule that gave {lr!r} at t = {self.t}; a finite number >= 0 is"
                " accepted"
            )
        return lr

    def __repr__(self) -> str:
        shown = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if name == "lr" or value != (self._defaults[name] if name != "groups" else [])
        ]
        return f"{self._title()}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.get_params(), self.state_dict())

    # ---- State -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state: rule, t and the state arrays of each parameter by name.

        Settings are the constructor's and are not part of it; pickle keeps both.
        """
        rows = self._state()
        names = self._state_names()
        return {
            "rule": self._title(),
            "dialect": "torch",
            "t": self.t,
            "state": rows
            if rows is None
            else [{n: a.copy("K") for n, a in zip(names, row, strict=True)} for row in rows],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a state of `state_dict` (copied) and unbind: the next step binds to its arrays.

        Raises
        ------
        ValueError
            Where the state is another optimizer's; nothing has changed then.
        """
        if state.get("rule") != self._title():
            raise ValueError(
                f"{self._title()}: the state's rule is {state.get('rule')!r};"
                f" {self._title()!r} is wanted"
            )
        t, rows, names = state.get("t"), state.get("state"), self._state_names()
        if not isinstance(t, int | np.integer) or t < 0:
            raise ValueError(f"{self._title()}: the state's t is {t!r}; an integer >= 0 is wanted")
        if rows is not None and any(tuple(row) != names for row in rows):
            raise ValueError(f"{self._title()}: the state holds {[*rows[0]]}; {names} is wanted")
        copies = rows and [tuple(np.array(a, order="K") for a in row.values()) for row in rows]
        self._restore(int(t), copies)

    def reset(self) -> None:
        """Forget the state and the arrays; t is 0 again, settings stay."""
        self._restore(0, None)

    def averaged(self, params: Any, out: Any = None) -> Any:
        """Return the point to evaluate at: `params` themselves, or `out` with a copy of them."""
        if out is None:
            return params
        copy_into(params, out)
        return out


def _is_rate(value: float) -> bool:
    return 0 <= value < math.inf


def _rebuild(kind: type[Composed], settings: dict[str, Any], state: Mapping[str, Any]) -> Composed:
    """Make an optimizer anew from what it pickles: settings and state."""
    optimizer = kind(**settings)
    optimizer.load_state_dict(state)
    return optimizer
