"""Many models at once: `fit_many` fits one to each data set, C threads across them.

Where a fit asks nothing of Python between its epochs, a group of them goes through the core by one
call; the others are fitted one after another. Data of equal width and type share one network.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from inspect import signature
from os import PathLike
from typing import Any

import numpy as np

from gdcore import _core
from gdcore._core import NonFiniteError
from gdcore._data import as_data
from gdcore._fit import BATCHES, Fit, conduct
from gdcore._fit_data import prepare
from gdcore._fit_settings import FitSettings
from gdcore._initializer import as_generator
from gdcore._interrupts import Interrupts
from gdcore._keywords import refuse_unknown
from gdcore._many_table import Table
from gdcore._names import did_you_mean
from gdcore._networks import network_of
from gdcore._trainer import Reason
from gdcore.history import History
from gdcore.models import Sequential

__all__ = ["Many", "fit_many", "load_many"]

GROUP = 64  # fits of one call into the core
ROOM = 1 << 20  # batches of all of them together in one call, for whose losses there is room

_NOT_OF_FIT = ("self", "X", "y", "seed", "resume")  # each set has its own
_FIT = [name for name in signature(Sequential.fit).parameters if name not in _NOT_OF_FIT]
_ELSEWHERE = {
    "X": "data is {key: (X, y), ...}",
    "y": "data is {key: (X, y), ...}",
    "resume": "each fit begins anew; many[key].fit(X, y, resume=True) goes on with one",
    "random_state": "here it is seed",
}


class Many(Mapping[Any, Sequential]):
    """Fitted models by key: a mapping, with what `fit_many` says of each.

    Attributes
    ----------
    seeds : dict
        Of every key, the seed of its fit.
    errors : dict
        Of the keys whose fit raised, the exception; such a key has no model.
    table : Table
        A row for each key: rows trained on, epochs, loss and metrics of the last epoch, error.

    Examples
    --------
    >>> X = np.linspace(-1.0, 1.0, 40)[:, None]
    >>> model = gd.Sequential([gd.Dense(4, "tanh"), gd.Dense(1)])
    >>> model.compile(gd.Adam(0.05), "mse")
    >>> data = {"square": (X, X**2), "cube": (X, X**3), "wrong": (X, X[1:])}
    >>> many = gd.fit_many(model, data, seed=0, epochs=20)
    >>> list(many)
    ['square', 'cube']
    >>> many["cube"].predict(X).shape
    (40, 1)
    >>> many.errors["wrong"]
    ValueError('y has 39 rows but X has 40; data of the same length are accepted')
    >>> many
    Many: 2 models, 1 error
      wrong: ValueError: y has 39 rows but X has 40; data of the same length are accepted
    """

    def __init__(
        self, models: dict[Any, Sequential], seeds: dict[Any, int], errors: dict[Any, Exception]
    ) -> None:
        self._models, self.seeds, self.errors = models, seeds, errors

    def __getitem__(self, key: Any) -> Sequential:
        if key in self._models:
            return self._models[key]
        if key in self.errors:
            error = self.errors[key]
            raise KeyError(f"the fit of {key!r} ended with {_words(error)}") from error
        near = did_you_mean(key, filter(_is_text, self._models)) if isinstance(key, str) else ""
        raise KeyError(f"{key!r} is no key of the {len(self)} models{near}")

    def __iter__(self) -> Iterator[Any]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    @property
    def table(self) -> Table:
        """A row for each key: rows trained on, epochs, loss and metrics of the last one, error."""
        keys = [key for key in self.seeds if key in self._models or key in self.errors]
        histories = [
            self._models[key].history if key in self._models else _history_of(self.errors[key])
            for key in keys
        ]
        states = [getattr(self._models.get(key), "_fit_state", None) for key in keys]
        names = dict.fromkeys(name for h in histories for name in h.history)
        columns: dict[str, Any] = {
            "key": keys,
            "rows": np.array([0 if state is None else state.rows for state in states]),
            "epochs": np.array([len(h.epoch) for h in histories]),
        }
        for name in names:
            last = [h.history[name][-1] if h.history.get(name) else np.nan for h in histories]
            columns[name] = np.array(last, np.float64)
        columns["error"] = [
            _words(self.errors[key]) if key in self.errors else None for key in keys
        ]
        return Table(columns)

    def save(self, path: str | PathLike[str]) -> None:
        """Write all models to one file, with seeds and errors; `load_many` reads it.

        Parameters
        ----------
        path : str or path
            Ending with ``.npz``. Keys are texts, numbers, None, or tuples of these.

        Raises
        ------
        TypeError, ValueError, OSError
            As ``model.save``, and for a key that a file cannot hold.
        """
        from gdcore._saving import write_models

        errors = {key: (type(error).__name__, str(error)) for key, error in self.errors.items()}
        write_models(path, self._models, {"seeds": self.seeds, "errors": errors})

    def __repr__(self) -> str:
        lines = [self._title()]
        for number, (key, error) in enumerate(self.errors.items()):
            if number == 5:
                lines.append(f"  and {len(self.errors) - number} more, see .errors")
                break
            lines.append(f"  {key}: {_words(error)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<div>{self._title()}{self.table._repr_html_()}</div>"

    def _title(self) -> str:
        errors = f", {len(self.errors)} error{'s' * (len(self.errors) != 1)}" if self.errors else ""
        return f"Many: {len(self)} model{'s' * (len(self) != 1)}{errors}"


def _is_text(key: Any) -> bool:
    return isinstance(key, str)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _history_of(error: Exception) -> History:
    """Return what a fit that ended with an error had recorded, which some errors hold."""
    found = getattr(error, "history", None)
    return found if isinstance(found, History) else History()


# ---- Fitting -------------------------------------------------------------------------------------


def fit_many(
    model: Sequential,
    data: Mapping[Any, Sequence[Any]],
    *,
    seed: int | np.random.Generator | None = None,
    **fit_arguments: Any,
) -> Many:
    """Fit a copy of a model to each of many data sets, over all threads.

    ``many[key]`` has the bits of ``m = model.clone(seed=s)`` after ``m.fit(X, y, seed=s, ...)``
    with ``s = many.seeds[key]``. The model itself stays as it is; its weights are not taken over,
    each copy draws its own.

    Parameters
    ----------
    model : Sequential
        Compiled. Data sets may differ in their rows; where the model has no `Input`, in width too.
    data : dict {key: (X, y)}
        X and y as in ``model.fit``.
    seed : int or Generator, optional
        Of all seeds: that of a key depends on this and on its place. None: at random.
    **fit_arguments
        Arguments of ``model.fit``, the same for all: ``epochs``, ``batch_size``, ``callbacks``, ...
        `verbose` is 0 by default. Callbacks serve one fit after another. The optimizer's settings
        are those that compile was given, not what was set on ``model.optimizer`` since.

    Returns
    -------
    Many
        A mapping from key to model, with ``.table``, ``.seeds``, ``.errors`` and ``.save(path)``.
        Where the fit of one key raises, that is recorded in ``.errors``, and the others go on.

    Raises
    ------
    TypeError, ValueError
        For a model that is not compiled, arguments that fit does not have, and data that are no
        dict of pairs.
    KeyboardInterrupt
        Ctrl-C, with the models that were finished as its ``result``.

    Notes
    -----
    Fits without callbacks, metrics and validation data go through the core in groups, each on one
    thread. Others are fitted one after another.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> data = {day: (X := rng.normal(size=(50, 2)), X[:, 0] * X[:, 1]) for day in range(10)}
    >>> model = gd.Sequential([gd.Dense(8, "tanh"), gd.Dense(1)])
    >>> model.compile(gd.Adam(0.01), "mse")
    >>> many = gd.fit_many(model, data, seed=0, epochs=5)
    >>> many
    Many: 10 models
    >>> again = model.clone(seed=many.seeds[3])
    >>> h = again.fit(*data[3], seed=many.seeds[3], epochs=5, verbose=0)
    >>> bool((again.params[0] == many[3].params[0]).all())
    True
    """
    refuse_unknown(
        "fit_many",
        [name for name in fit_arguments if name not in _FIT],
        f"model, data, seed, {', '.join(_FIT)}",
        _ELSEWHERE,
    )
    if not isinstance(model, Sequential):
        raise TypeError(f"fit_many: model is {model!r:.80}; a gd.Sequential is accepted")
    model._check_compiled()
    if not isinstance(data, Mapping):
        raise TypeError(
            f"fit_many: data is {type(data).__name__}; a dict {{key: (X, y), ...}} is accepted"
            " (dict(enumerate(pairs)) makes one of a list)"
        )
    if not data:
        raise ValueError("fit_many: data is empty; one pair (X, y) or more are accepted")
    work = _Work(model, {"verbose": 0, **fit_arguments})
    generator = np.random.default_rng() if seed is None else as_generator(seed, "seed")
    seeds = dict(zip(data, generator.integers(0, 1 << 63, len(data)).tolist(), strict=True))
    items = [(key, pair, seeds[key]) for key, pair in data.items()]
    try:
        for begin in range(0, len(items), GROUP):
            work.fit(items[begin : begin + GROUP])
    except KeyboardInterrupt as interrupt:
        interrupt.result = work.result(seeds)  # type: ignore[attr-defined]
        raise
    return work.result(seeds)


class _Work:
    """The fits of many models while they run.

    Attributes
    ----------
    models, errors : dict
        Of the keys that are done.
    """

    def __init__(self, model: Sequential, arguments: dict[str, Any]) -> None:
        self.model, self.arguments = model, arguments
        self.settings = FitSettings(**arguments)
        self.models: dict[Any, Sequential] = {}
        self.errors: dict[Any, Exception] = {}
        # A built model for each width and type: its copies are planned already.
        self._alike: dict[Any, Sequential] = {}

    def result(self, seeds: dict[Any, int]) -> Many:
        """Return what is done, in the order of the data."""
        models = {key: self.models[key] for key in seeds if key in self.models}
        errors = {key: self.errors[key] for key in seeds if key in self.errors}
        return Many(models, seeds, errors)

    def fit(self, items: Sequence[tuple[Any, Any, int]]) -> None:
        """Fit a group: those that can go together by one call, the others before."""
        together: list[_Job] = []
        for key, pair, seed in items:
            try:
                running = self._open(pair, seed)
                if running.callbacks is None and running.many():
                    running.open(None)
                    together.append(_Job(key, running))
                    continue
                with Interrupts() as interrupts:
                    running.held = interrupts.held
                    conduct(running.model, running, None)
            except Exception as error:
                self._fail(key, error)
            else:
                self._done(key, running.model)
        self._run(together)

    def _open(self, pair: Any, seed: int) -> Fit:
        """Return the fit of a copy, ready to run; as `gdcore._fit.fit` begins one."""
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            length = f" of {len(pair)}" if isinstance(pair, tuple | list) else ""
            raise TypeError(
                f"data holds a {type(pair).__name__}{length}; a pair (X, y) is accepted"
            )
        settings = self.settings
        if settings.callbacks is not None:
            settings = FitSettings(**self.arguments)
        X = as_data(pair[0], "X")
        kind = _kind_of(X)
        like = self._alike.get(kind)
        copy = (self.model if like is None else like).clone()
        if like is not None:
            assert like.dtype is not None
            copy._store.build(like.dtype)
        data = prepare(copy, X, pair[1], settings)
        dropped = copy._fused_loss()[1]
        if like is None:
            like = self._alike[kind] = copy
        copy._cache[f"network {dropped}"] = network_of(like, dropped)
        running = Fit(copy, data, settings)
        copy._begin(seed)
        return running

    def _run(self, jobs: list[_Job]) -> None:
        """Run fits side by side to their ends."""
        for job in jobs:
            job.begin()
        while waiting := [job for job in jobs if not job.is_over()]:
            most = max(ROOM // len(waiting), 1)
            try:
                calls = [call for job in waiting if (call := job.call(most)) is not None]
                _core.run_trainers(tuple(calls))
            except Exception:  # of one of them: which one shows where each runs by itself
                self._arrived(waiting)
                break
            except BaseException:
                self._arrived(waiting)
                self._enter(jobs)
                raise
            self._arrived(waiting)
        for job in jobs:
            if not job.is_over():
                job.run_alone()
        self._enter(jobs)

    def _arrived(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            job.arrived()

    def _enter(self, jobs: Sequence[_Job]) -> None:
        """Enter the fits that are over."""
        for job in jobs:
            if job.error is not None:
                self._fail(job.key, job.error)
            elif job.is_over():
                job.running.model._fit_state = job.running.state().settled()
                self._done(job.key, job.running.model)

    def _done(self, key: Any, model: Any) -> None:
        assert isinstance(model, Sequential)
        self.models[key] = model

    def _fail(self, key: Any, error: Exception) -> None:
        """Record an error without the frames that it came through: they hold data and models."""
        error.__traceback__ = error.__context__ = error.__cause__ = None
        self.errors[key] = error


def _kind_of(X: Any) -> Any:
    """Return what copies for this X have in common: width and type; None where it is no matrix."""
    if X.ndim != 2:
        return None
    return X.shape[1], X.dtype.char if X.dtype.kind == "f" else "d"


class _Job:
    """One fit of a group: what `gdcore._fit.Fit` and `conduct` do around calls of the core."""

    def __init__(self, key: Any, running: Fit) -> None:
        self.key, self.running = key, running
        self.error: Exception | None = None

    def begin(self) -> None:
        """Say on the model that it is fitted."""
        model = self.running.model
        model.history, model.stop_training = self.running.history, False

    def is_over(self) -> bool:
        """Whether no call is to follow."""
        running = self.running
        return (
            self.error is not None
            or running.model.stop_training
            or running.epoch >= running.settings.last_epoch
        )

    def call(self, most: int) -> tuple[Any, tuple[Any, ...]] | None:
        """Return the trainer and the arguments of its next run, None where a schedule failed."""
        running, trainer = self.running, self.running.trainer
        left = (running.settings.last_epoch - running.epoch) * running.batches - trainer.place[1]
        try:
            arguments = trainer.prepare(min(left, BATCHES, most))
        except Exception as error:
            self.error = error
            return None
        trainer.progress[:] = Reason.INTERRUPT, 0, 0, 0, -1
        return trainer.core, arguments

    def arrived(self) -> None:
        """Enter what the run brought, if there was one."""
        if self.error is not None:
            return
        running = self.running
        outcome = running.trainer.outcome()
        running.trainer.tell_epoch()
        try:
            running.enter()
            running._end(outcome)
        except Exception as error:
            self.error = error

    def run_alone(self) -> None:
        """Go on by itself, and take the error if there is one."""
        try:
            self.running.run()
        except Exception as error:
            self.error = error


# ---- Files ---------------------------------------------------------------------------------------


def load_many(path: str | PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> Many:
    """Read the models that ``many.save`` wrote.

    Parameters
    ----------
    path : str or path
    custom_objects : dict of str to callable, optional
        Functions of your own, as in `load_model`.

    Returns
    -------
    Many
        With its seeds; of errors kinds and messages are kept.

    Raises
    ------
    TypeError, ValueError, OSError
        As `load_model`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> model = gd.Sequential([gd.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> many = gd.fit_many(model, {"a": (np.eye(2), [0.0, 1.0])}, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     many.save(pathlib.Path(folder) / "all.npz")
    ...     again = gd.load_many(pathlib.Path(folder) / "all.npz")
    >>> bool((again["a"].params[0] == many["a"].params[0]).all())
    True
    """
    from gdcore._saving import read_models

    models, extra = read_models(path, custom_objects)
    errors = {key: _error(*words) for key, words in extra["errors"].items()}
    return Many(models, extra["seeds"], errors)


def _error(name: str, message: str) -> Exception:
    """Return an exception from the name of its kind."""
    kind = NonFiniteError if name == "NonFiniteError" else getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with suppress(TypeError):  # some are made of other things than a message
            return kind(message)
    return RuntimeError(f"{name}: {message}")
