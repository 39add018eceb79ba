"""Exponential moving average of the parameters, around any optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Signature
from typing import Any, ClassVar, Never

import numpy as np
from numpy.typing import NDArray

from gdcore import _core
from gdcore._composed import Composed, check_arrays, fresh
from gdcore._containers import copy_into, flat, rebuilt
from gdcore._optimizer import Optimizer, Setting
from gdcore._optimizer_group import Group


class EMA(Composed):
    """Another optimizer's steps, with an exponential moving average of the parameters kept beside.

    After each step ``average += (1 - decay) * (p - average)``; the first makes the average equal to
    p [torch's get_ema_multi_avg_fn, Keras's use_ema]. `averaged` returns it; the steps themselves
    do not read it.

    Parameters
    ----------
    optimizer : Optimizer
        Any one, itself and not a copy: averaging may begin in the middle of its run. Settings and
        steps go through to it.
    decay : float, default 0.999
        In [0, 1]; the average reaches back about ``1 / (1 - decay)`` steps.

    Notes
    -----
    The average is kept in each parameter's own type and takes as much memory as the parameters. A
    step that ``on_nonfinite="skip"`` leaves out is not averaged.

    References
    ----------
    Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging; Tarvainen &
    Valpola 2017, Mean teachers are better role models.

    Examples
    --------
    >>> p = np.array([1.0])
    >>> opt = gd.EMA(gd.SGD(lr=0.5), decay=0.5)
    >>> for _ in range(3):
    ...     opt.step(p, p.copy())
    >>> p, opt.averaged(p)
    (array([0.125]), array([0.25]))
    """

    __signature__: ClassVar[Signature]

    optimizer = Setting[Optimizer]("optimizer")
    decay = Setting[float]("decay")

    def __init__(self, optimizer: Optimizer, decay: float = 0.999, **unknown: Never) -> None:
        # Room for the average, and whether it is there: the core says so once a step is taken.
        self._room: list[NDArray[Any]] = []
        self._begun = np.zeros(1, np.bool_)
        self._take({"optimizer": optimizer, "decay": decay}, unknown)

    @classmethod
    def _clean(cls, name: str, value: Any) -> Any:
        if name == "decay":
            return cls._number(name, value, lambda x: 0 <= x <= 1, "a number in [0, 1]")
        if not isinstance(value, Optimizer):
            raise TypeError(f"{cls._title()}: optimizer is {value!r}; an optimizer is accepted")
        return value

    def step(
        self,
        params: Any,
        grads: Any = None,
        *,
        loss: Any = None,
        closure: Callable[[], tuple[Any, Any]] | None = None,
        trace: bool = False,
    ) -> Any:
        """Take a step of the optimizer, whose arguments these are, then average the parameters.

        Parameters
        ----------
        params, grads, loss, closure
            See the optimizer's own step.
        trace : bool, default False
            Return its table, with the average as one more quantity, instead of None.

        Raises
        ------
        TypeError, ValueError, NonFiniteError
            What the optimizer raises; the average is unchanged then.
        """
        self._refuse_busy()
        try:
            self.__dict__["_busy"] = True
            if self._mean is not None:
                check_arrays(list(flat(params)), self._mean)
            before = self.t
            table = self.optimizer.step(params, grads, loss=loss, closure=closure, trace=trace)
            if self.t == before:
                return table
            self._average([array for _, array in flat(params)])
        finally:
            self.__dict__["_busy"] = False
        if not trace:
            return None
        from gdcore._trace import Trace

        p = table.pop("p")
        return Trace({**table, "average": self.averaged(params), "p": p})

    @property
    def _mean(self) -> list[NDArray[Any]] | None:
        """The average, live; None before the first step."""
        return self._room if self._begun[0] else None

    @_mean.setter
    def _mean(self, mean: list[NDArray[Any]] | None) -> None:
        self._room, self._begun = mean or [], np.array([mean is not None])

    def _average(self, params: list[NDArray[Any]]) -> None:
        """Move the average toward the parameters."""
        if not self._begun[0]:
            self._mean = [p.copy("K") for p in params]
            return
        self._lay_out(params)
        for mean, p in zip(self._room, params, strict=True):
            _core.average(mean, p, 1 - self.decay)

    def _lay_out(self, params: list[NDArray[Any]]) -> None:
        """Bring a loaded average into the order of the parameters."""
        for i, (mean, p) in enumerate(zip(self._room, params, strict=True)):
            if mean.strides != p.strides:
                self._room[i] = np.empty_like(p)
                self._room[i][...] = mean

    # ---- In the core's loop of training ----------------------------------------------------------

    def _in_core(self) -> Optimizer | None:
        """Return the optimizer whose steps the core can take, and average after."""
        inner = self.optimizer
        plain = type(self) is EMA and type(inner).step is _core.Optimizer.step
        return inner if plain else None

    def _followers(
        self, params: list[NDArray[Any]]
    ) -> tuple[list[NDArray[Any]], float, NDArray[np.bool_]]:
        """Return what the core averages these into: arrays, share, whether they hold an average."""
        if self._begun[0]:
            check_arrays(list(flat(params)), self._room)
            self._lay_out(params)
        else:
            self._room = [np.empty_like(p) for p in params]
        return self._room, 1 - self.decay, self._begun

    def averaged(self, params: Any, out: Any = None) -> Any:
        """Return the average of the parameters; before the first step what the optimizer returns.

        Parameters
        ----------
        params : ndarray, or container of them
            Those of the steps. They are not changed.
        out : like params, optional
            Arrays to copy the average into; they are returned then.

        Returns
        -------
        like params
            New arrays, or `out`.

        Raises
        ------
        ValueError
            Where `params` do not hold the arrays that the average is for.
        """
        if self._mean is None:
            return self.optimizer.averaged(params, out)
        check_arrays(list(flat(params)), self._mean)
        if out is None:
            return rebuilt(params, iter([mean.copy("K") for mean in self._mean]))
        copy_into(rebuilt(params, iter(self._mean)), out)
        return out

    # ---- What is the optimizer's own -------------------------------------------------------------

    @property
    def t(self) -> int:
        """Number of steps that the optimizer has done."""
        return self.optimizer.t

    @property
    def grad_norm(self) -> float | None:
        """The optimizer's."""
        return self.optimizer.grad_norm

    @property
    def lr(self) -> float:
        """The optimizer's learning rate; setting it sets the optimizer's."""
        return self.optimizer.lr

    @lr.setter
    def lr(self, value: float | Callable[[int], float]) -> None:
        self.optimizer.lr = value

    @property
    def groups(self) -> list[Group]:
        """The optimizer's groups, live."""
        return self.optimizer.groups

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by the constructor's names; the optimizer as a copy without state."""
        return {"optimizer": fresh(self.optimizer), "decay": self.decay}

    def set_params(self, **params: Any) -> EMA:
        """Change settings by name, those of the optimizer too; state and step count stay.

        Raises
        ------
        TypeError, ValueError
            Where a name or value is not accepted; nothing has changed then.
        """
        own = {name: self._clean(name, params[name]) for name in self._names() if name in params}
        self._refuse_busy()
        inner = own.get("optimizer", self.optimizer)
        inner.set_params(**{name: params[name] for name in params if name not in own})
        self._settings.update(own)
        return self

    # ---- State -----------------------------------------------------------------------------------

    def _state_names(self, group: int = 0) -> tuple[str, ...]:
        return ("average",)

    def _state(self) -> Any:
        return None if self._mean is None else [(mean,) for mean in self._mean]

    def _restore(self, t: int, state: Sequence[Any] | None) -> None:
        self._refuse_busy()
        self._mean = None if state is None else [mean for (mean,) in state]

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state: rule, t, the average, and the optimizer's own state."""
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a state of `state_dict` (copied) and unbind: the next step binds to its arrays.

        Raises
        ------
        ValueError
            Where the state is another optimizer's; nothing has changed then.
        """
        inner = state.get("optimizer")
        if not isinstance(inner, Mapping):
            raise ValueError(
                f"{self._title()}: the state's optimizer is {inner!r}; a state dict is wanted"
            )
        before = self._mean
        super().load_state_dict(state)
        try:
            self.optimizer.load_state_dict(inner)
        except BaseException:
            self._mean = before
            raise

    def reset(self) -> None:
        """Forget the average and the optimizer's state and arrays; settings stay."""
        super().reset()
        self.optimizer.reset()
