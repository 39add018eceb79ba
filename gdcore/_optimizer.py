"""The base class of all optimizers: settings, groups, state, and how they print and pickle.

The step itself, binding to arrays and state arrays live in C (`gdcore._core.Optimizer`); the rules
are built from the table in `gdcore.optimizers`.
"""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

import numpy as np

from gdcore import _core, _rate_state
from gdcore._containers import copy_into
from gdcore._optimizer_group import Group

T = TypeVar("T")

DIALECTS = ("torch", "keras", "optax")
NONFINITE = ("ignore", "raise", "skip")
WORDS = {"dialect": DIALECTS, "on_nonfinite": NONFINITE}
COMMON: dict[str, Any] = {
    "maximize": False,
    "dialect": "torch",
    "clip_value": None,
    "clip_norm": None,
    "global_clip_norm": None,
    "clip_adaptive": None,
    "l1": 0.0,
    "constraint": None,
    "on_nonfinite": "ignore",
    "groups": (),
}
GROUP_LIMITS = ("clip_value", "clip_norm", "clip_adaptive")
LIMITS = (*GROUP_LIMITS, "global_clip_norm")
GROUP_COMMON = (*GROUP_LIMITS, "l1", "constraint")
OTHER_NAMES = {
    "learning_rate": "lr",
    "eta": "lr",
    "beta_1": "betas",
    "beta_2": "betas",
    "beta1": "betas",
    "beta2": "betas",
    "b1": "betas",
    "b2": "betas",
    "epsilon": "eps",
    "clipnorm": "clip_norm",
    "clipvalue": "clip_value",
    "global_clipnorm": "global_clip_norm",
    "kernel_constraint": "constraint",
    "rho": "alpha",
    "decay": "alpha",
    "params": "step(params, grads)",
    "parameters": "step(params, grads)",
}


def unknown_name(owner: str, name: str, known: Sequence[str]) -> TypeError:
    """Return the error for a keyword that does not exist; it names ours."""
    return TypeError(
        f"{owner}: unknown argument {name}=; accepted: {', '.join(known)}{_ours(name, known)}"
    )


def _ours(name: str, known: Sequence[str]) -> str:
    """Return a hint at our name for a setting, "" where there is none."""
    ours = OTHER_NAMES.get(name)
    if ours is None or (ours not in known and "(" not in ours):
        ours = next(iter(difflib.get_close_matches(name, known, n=1)), None)
    return f"; here it is {ours}" if ours else ""


def as_number(owner: str, name: str, value: object) -> float:
    """Return a setting as a float; its domain is checked in C."""
    if isinstance(value, np.ndarray | list | tuple):
        raise TypeError(
            f"{owner}: {name} is {type(value).__name__}; a number is accepted"
            " (parameters go to step(params, grads))"
        )
    if isinstance(value, str | bytes | bool | np.bool_) or not hasattr(value, "__float__"):
        raise TypeError(f"{owner}: {name} is {value!r}; a number is accepted")
    return float(value)


class Projection:
    """What an optimizer takes as ``constraint=``; the constraints themselves are imported late."""

    def _spec(self) -> tuple[int, float, float]:
        """Return (kind, low, high), as the core takes them."""
        raise NotImplementedError


class Setting(Generic[T]):
    """An attribute of an optimizer that is one of its settings."""

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, owner: None, kind: type[Optimizer]) -> Self: ...
    @overload
    def __get__(self, owner: Optimizer, kind: type[Optimizer]) -> T: ...
    def __get__(self, owner: Optimizer | None, kind: type[Optimizer]) -> Any:
        return self if owner is None else owner._settings[self.name]

    def __set__(self, owner: Optimizer, value: T) -> None:
        owner.set_params(**{self.name: value})


class Optimizer(_core.Optimizer):
    """Base of all optimizers; see the subclasses for rules and settings.

    An optimizer updates NumPy arrays in place by ``step(params, grads)``. The first step binds it
    to these arrays; `reset` unbinds it. Settings are attributes, and can be changed between steps.
    """

    _row: ClassVar[Mapping[str, Any]]
    _id: ClassVar[int]
    _hypers: ClassVar[dict[str, Mapping[str, Any]]]
    _epoch = 0  # of a fit, for rates that count epochs

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not hasattr(self, "_hypers"):
            raise TypeError("Optimizer has no rule; make one of its subclasses, such as gd.SGD")
        given = self._named(args, kwargs)
        dialect = self._clean("dialect", given.get("dialect", "torch"))
        self._settings: dict[str, Any] = {}
        for name, hyper in self._hypers.items():
            value = given.get(name, hyper["defaults"][DIALECTS.index(dialect)])
            if value is None:
                raise TypeError(
                    f"{self._title()}: {name}= is required with dialect={dialect!r}, which has no"
                    " default for it"
                )
            self._settings[name] = self._clean(name, value)
        for name, default in COMMON.items():
            self._settings[name] = self._clean(name, given.get(name, default))
        self._groups = self._make_groups(self._settings["groups"])
        self._row_names: list[tuple[str, ...]] | None = None
        self._sync()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            known = self._names()
            raise AttributeError(
                f"{self._title()} has no setting {name}; accepted: {', '.join(known)}"
                f"{_ours(name, known)}"
            )
        super().__setattr__(name, value)

    @classmethod
    def _title(cls) -> str:
        return cls.__name__

    @classmethod
    def _names(cls) -> list[str]:
        return [*cls._hypers, *COMMON]

    @classmethod
    def _group_names(cls) -> list[str]:
        return [*cls._hypers, *GROUP_COMMON]

    @classmethod
    def _named(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name; hyper-parameters may come by position, in table order."""
        hypers = list(cls._hypers)
        if len(args) > len(hypers):
            raise TypeError(
                f"{cls._title()}: {len(args)} positional arguments found; accepted: "
                f"{', '.join(hypers)}, then keywords"
            )
        given = dict(zip(hypers, args, strict=False))
        for name, value in kwargs.items():
            if name not in cls._names():
                raise unknown_name(cls._title(), name, cls._names())
            if name in given:
                raise TypeError(f"{cls._title()}: {name} is given twice")
            given[name] = value
        return given

    @classmethod
    def _clean(cls, name: str, value: Any) -> Any:
        """Return a setting in its one form: float, bool, pair, None, or schedule for lr."""
        hyper = cls._hypers.get(name, {})
        if name == "lr" and callable(value):
            return value
        if name in ("maximize", "frozen") or hyper.get("domain") == "boolean":
            if not isinstance(value, bool | np.bool_):
                raise TypeError(f"{cls._title()}: {name} is {value!r}; True or False is accepted")
            return bool(value)
        if name in WORDS and value not in WORDS[name]:
            raise ValueError(f"{cls._title()}: {name} is {value!r}; accepted: {WORDS[name]}")
        if name in LIMITS:
            return None if value is None else cls._limit(name, value)
        if name in ("l1", "lr_scale"):
            return cls._strength(name, value)
        if name == "constraint":
            return cls._constraint(value)
        if not hyper:
            return value
        if hyper["count"] == 1:
            return as_number(cls._title(), name, value)
        count = hyper["count"]
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != count:
            raise TypeError(
                f"{cls._title()}: {name} is {value!r}; {count} numbers are accepted, for example"
                f" {hyper['defaults'][0]}"
            )
        return tuple(as_number(cls._title(), f"{name}[{i}]", v) for i, v in enumerate(value))

    def _make_groups(self, groups: object) -> list[Group]:
        if groups is None:
            return []
        if isinstance(groups, str) or not isinstance(groups, Sequence):
            raise TypeError(f"{self._title()}: groups is {groups!r}; a list of dicts is accepted")
        return [Group(self, self._check_group(group)) for group in groups]

    def _check_group(self, group: object) -> dict[str, Any]:
        """Return a group's settings cleaned; refuse names that a group does not have."""
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(
                f"{self._title()}: a group is {group!r}; a dict with 'params' (keys or positions)"
                " and settings is accepted"
            )
        known = ["params", "frozen", *self._group_names()]
        if "lr" in known:
            known.insert(known.index("lr") + 1, "lr_scale")
        clean: dict[str, Any] = {}
        for name, value in group.items():
            if name not in known:
                raise unknown_name(f"{self._title()}, a group", name, known)
            clean[name] = self._clean(name, value)
        if isinstance(clean["params"], str | int):
            clean["params"] = [clean["params"]]
        if "lr_scale" in clean:
            self._check_scale(clean)
        return clean

    def _check_scale(self, group: Mapping[str, Any]) -> None:
        """Refuse a factor of the rate beside a rate, or where the rate is only a limit."""
        if "lr" in group:
            raise ValueError(
                f"{self._title()}: a group has lr and lr_scale, a factor of the optimizer's lr; one"
                " of them is accepted"
            )
        if self._row["needs"] == "loss":
            raise ValueError(
                f"{self._title()}: lr_scale is {group['lr_scale']!r}, but the step's length follows"
                " from the loss, lr is its limit; accepted is lr"
            )

    @classmethod
    def _limit(cls, name: str, value: Any) -> float:
        """Return a clipping limit as a float."""
        limit = as_number(cls._title(), name, value)
        if not 0 < limit < math.inf:
            raise ValueError(
                f"{cls._title()}: {name} is {value!r}; a finite number > 0, or None, is accepted"
            )
        return limit

    @classmethod
    def _strength(cls, name: str, value: Any) -> float:
        """Return the strength of a penalty, or a factor, as a float."""
        strength = as_number(cls._title(), name, value)
        if not 0 <= strength < math.inf:
            raise ValueError(
                f"{cls._title()}: {name} is {value!r}; a finite number >= 0 is accepted"
            )
        return strength

    @classmethod
    def _constraint(cls, value: Any) -> Projection | None:
        """Return a constraint as it is, or None."""
        if value is None or isinstance(value, Projection):
            return value
        made = isinstance(value, type) and issubclass(value, Projection)
        raise TypeError(
            f"{cls._title()}: constraint is {value!r}; one of gd.constraints is accepted, for"
            f" example gd.constraints.{'non_neg()' if not made else value.__name__ + '(...)'}"
        )

    def _core_group(self, settings: Mapping[str, Any], lr: float) -> tuple[Any, ...]:
        """Return one group as C takes it: hyper-parameters in a row, the rest by position."""
        flat: list[float] = []
        for name in self._hypers:
            value = lr if name == "lr" else settings[name]
            if name == "momentum" and _rate_state.momentum_of(settings["lr"]):
                value = value or _rate_state.MOMENTUM_TO_COME
            if isinstance(value, tuple):
                flat.extend(value)
            else:
                flat.append(float(value))
        limits = [settings[name] for name in GROUP_LIMITS]
        if sum(x is not None for x in (*limits, self._settings["global_clip_norm"])) > 1:
            raise ValueError(
                f"{self._title()}: more than one of clip_value, clip_norm, clip_adaptive and"
                " global_clip_norm is given; one is accepted"
            )
        clip = [math.inf if limit is None else limit for limit in limits]
        constraint = settings["constraint"]
        spec = (0, 0.0, 0.0) if constraint is None else constraint._spec()
        return (tuple(flat), *clip, settings["l1"], spec, settings.get("frozen", False))

    def _lrs(self) -> list[Any]:
        """Return the optimizer's rate and each group's: numbers, or what gives them."""
        return [settings["lr"] for settings in (self._settings, *self._groups)]

    def _told(self) -> list[Any]:
        """Return the state of these rates, see `gdcore._rate_state`."""
        return [state for _, state in _rate_state.present(self._schedules(), self._rates())]

    def _restore_told(self, told: list[Any]) -> None:
        """Take the state of the rates; None begins anew."""
        if told != self._told():
            self._sync(told)

    def _sync(self, told: Sequence[Any] | None = None) -> None:
        """Hand all settings to C, which checks their domains and refuses as a whole.

        Rates that have a state get `told`, or keep what they have been told so far.
        """
        settings = self._settings
        everything = [settings, *self._groups]
        lrs = self._lrs()
        if not any(map(callable, lrs)):
            entries: list[tuple[Any, float]] = [(None, lr) for lr in lrs]
        else:
            if told is None:
                told = _rate_state.kept(lrs, _rate_state.present(self._schedules(), self._rates()))
            has_momentum = bool({"momentum", "betas"} & {*self._hypers})
            entries = _rate_state.entries(lrs, told, has_momentum)
        try:
            self._configure(
                self._id,
                DIALECTS.index(settings["dialect"]),
                bool(settings["maximize"]),
                NONFINITE.index(settings["on_nonfinite"]),
                math.inf if settings["global_clip_norm"] is None else settings["global_clip_norm"],
                tuple(
                    self._core_group(s, lr) for s, (_, lr) in zip(everything, entries, strict=True)
                ),
                tuple(entry for entry, _ in entries),
            )
        except ValueError as error:
            if self._title() in str(error):
                raise
            raise ValueError(f"{self._title()}: {error}") from None

    def _group_numbers(self, paths: Sequence[tuple[Any, ...]]) -> list[int]:
        """Return the group of each array (0: none's), asked by C when it binds."""
        numbers = [0] * len(paths)
        for g, group in enumerate(self._groups, start=1):
            for wanted in group["params"]:
                path = wanted if isinstance(wanted, tuple) else (wanted,)
                found = [i for i, p in enumerate(paths) if (p or (0,))[: len(path)] == path]
                if not found:
                    raise ValueError(
                        f"group {g - 1} names the parameter {wanted!r}, which params do not hold"
                    )
                for i in found:
                    if numbers[i] not in (0, g):
                        raise ValueError(f"the parameter at {paths[i]!r} is in two groups")
                    numbers[i] = g
        names = [self._state_names(g) for g in numbers]
        if self._state() is not None and self._row_names not in (None, names):
            raise ValueError(
                f"the state was saved with other groups: it holds {self._row_names} for the arrays,"
                f" these groups need {names}"
            )
        self._row_names = names
        return numbers

    def _names_of(self, row: int) -> tuple[str, ...]:
        """Return the names of the state arrays of one parameter; groups may differ in them."""
        return self._state_names(0) if self._row_names is None else self._row_names[row]

    # ---- Settings as scikit-learn has them ---------------------------------------------------

    @property
    def groups(self) -> list[Group]:
        """The groups, live: ``opt.groups[0]["lr"] = 1e-4`` holds from the next step on."""
        return self._groups

    @property
    def lr(self) -> float:
        """The learning rate of the next step; setting it replaces a schedule.

        With `by_gradient` and `plateau`, which wait for the step to tell, it is the last rate used;
        with `per_epoch` that of the epoch where the last fit stands.
        """
        lr, told = self._settings["lr"], self._told()[0]
        if _rate_state.counts_epochs(lr):
            return float(lr.schedule(self._epoch))
        if told is not None:
            return float(told if isinstance(told, float) else told.lr)
        return float(lr(self.t)) if callable(lr) else float(lr)

    @lr.setter
    def lr(self, value: float | Callable[[int], float]) -> None:
        self.set_params(lr=value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by the constructor's names; `deep` is scikit-learn's, unused."""
        return {**self._settings, "groups": [dict(group._own) for group in self._groups]}

    def set_params(self, **params: Any) -> Self:
        """Change settings by name, all or none; state and step count stay.

        Raises
        ------
        TypeError, ValueError
            Where a name or value is not accepted, or state arrays would no longer fit.
        """
        before = dict(self._settings)
        for name in params:
            if name not in self._names():
                raise unknown_name(self._title(), name, self._names())
        if {"groups", "dialect"} & set(params) and self._state() is not None:
            raise ValueError(
                f"{self._title()}: groups and dialect are fixed once a step is done; call reset()"
                " first, or make a new optimizer"
            )
        groups_before = self._groups
        try:
            for name, value in params.items():
                self._settings[name] = self._clean(name, value)
            if "groups" in params:
                self._groups = self._make_groups(params["groups"])
            self._sync()
        except BaseException:
            self._settings, self._groups = before, groups_before
            raise
        return self

    # ---- State -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state: rule, dialect, t and the state arrays by name.

        With `plateau` or `by_gradient` as a rate also what they have been told, as ``"rates"``.
        Settings are the constructor's and are not part of it; pickle keeps both.
        """
        arrays = self._state()
        rows = None
        if arrays is not None:
            rows = [
                {name: a.copy("K") for name, a in zip(self._names_of(i), row, strict=True)}
                for i, row in enumerate(arrays)
            ]
        told = self._told()
        rates = {} if told == [None] * len(told) else {"rates": _rate_state.saved(told)}
        return {
            "rule": self._row["class"],
            "dialect": self._settings["dialect"],
            "t": self.t,
            "state": rows,
            **rates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a state of `state_dict` (copied) and unbind: the next step binds to its arrays.

        Raises
        ------
        ValueError
            Where the state is another rule's or dialect's; nothing has changed then.
        """
        for key, own in (("rule", self._row["class"]), ("dialect", self._settings["dialect"])):
            if state.get(key) != own:
                raise ValueError(
                    f"{self._title()}: the state's {key} is {state.get(key)!r}; {own!r} is wanted"
                )
        t = state.get("t")
        if not isinstance(t, int | np.integer) or t < 0:
            raise ValueError(f"{self._title()}: the state's t is {t!r}; an integer >= 0 is wanted")
        names = {self._state_names(group) for group in range(1 + len(self._groups))}
        rows = state.get("state")
        if rows is not None and any(tuple(row) not in names for row in rows):
            raise ValueError(
                f"{self._title()}: the state holds {[*rows[0]]}; {sorted(names)} is wanted"
                " (other settings, such as momentum, need other arrays)"
            )
        told = _rate_state.loaded(self._title(), self._lrs(), state.get("rates"))
        copies = rows and [tuple(np.array(a, order="K") for a in row.values()) for row in rows]
        self._restore(int(t), copies if rows is not None else None)
        self._row_names = [tuple(row) for row in rows] if rows and self._groups else None
        self._restore_told(told)

    def reset(self) -> None:
        """Forget the state and the arrays; t is 0 again, settings stay."""
        self._restore(0, None)
        self._row_names = None
        self._restore_told(_rate_state.kept(self._lrs(), []))

    def averaged(self, params: Any, out: Any = None) -> Any:
        """Return the point to evaluate at: the average of rules that keep one, else `params`.

        Parameters
        ----------
        params : ndarray, or container of them
            Those of the steps. They are not changed.
        out : like params, optional
            Arrays to copy the point into; they are returned then.

        Returns
        -------
        like params
            New arrays where the rule keeps an average and a step was taken; else `params`
            themselves, or `out`.

        Raises
        ------
        ValueError
            Where `params` do not hold the arrays that the state is for.
        """
        from gdcore._average import averaged

        point = averaged(self, params)
        if out is None:
            return point
        copy_into(point, out)
        return out

    def _fresh(self) -> Self:
        """Return an optimizer of the same settings without state; for those without groups.

        The settings have been checked once: the constructor would take 20 us, this takes 5.
        """
        other = type(self).__new__(type(self))
        other._settings, other._groups, other._row_names = dict(self._settings), [], None
        other._sync()
        return other

    def _traced_step(self, params: Any, grads: Any, loss: Any) -> Any:
        """Take a step and return its intermediates; called by C for ``trace=True``."""
        from gdcore._trace import traced_step

        return traced_step(self, params, grads, loss)

    # ---- Values ----------------------------------------------------------------------------------

    def __repr__(self) -> str:
        dialect = DIALECTS.index(self._settings["dialect"])
        parts = []
        for name, value in self.get_params().items():
            if name in self._hypers:
                default = self._hypers[name]["defaults"][dialect]
            else:
                default = [] if name == "groups" else COMMON[name]
            if name == "lr" or value != default:
                parts.append(f"{name}={value!r}")
        return f"{self._title()}({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        assert isinstance(other, Optimizer)
        return self.get_params() == other.get_params()

    __hash__ = None  # type: ignore[assignment]  # equal by settings, which change

    def __reduce__(self) -> tuple[Any, ...]:
        state = self._state()
        told = self._told()
        return _rebuild, (type(self), self.get_params(), self.t, state, self._row_names, told)

    def __copy__(self) -> Self:
        return copy.deepcopy(self)


def _rebuild(
    kind: type[Optimizer],
    settings: dict[str, Any],
    t: int,
    state: list[Any] | None,
    row_names: list[tuple[str, ...]] | None,
    told: list[Any],
) -> Optimizer:
    """Make an optimizer anew from what it pickles: settings, step count, state."""
    optimizer = kind(**settings)
    optimizer._restore(t, state)
    optimizer._row_names = row_names
    optimizer._restore_told(told)
    return optimizer
