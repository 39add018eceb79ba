"""Which value a callback watches, and whether small or large ones of it are better."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable
from typing import Any, ClassVar

from gdcore._callback import Configured, Logs
from gdcore._names import did_you_mean
from gdcore.losses import Loss

MODES = ("auto", "min", "max")

_SMALL = re.compile(
    "loss|error|mse|mae|rmse|mape|msle|crossentropy|entropy|hinge|huber|cosh|logcosh|poisson"
    "|divergence|deviance|nll|perplexity"
)
_LARGE = re.compile("acc|accuracy|precision|recall|f1|fbeta|auc|r2|score|specificity")


def direction(name: str, metrics: Iterable[Any] = ()) -> str | None:
    """Return "min" or "max", what is better of a value named so; None where nobody can tell.

    Losses and errors are to be small, accuracies and scores large. Of a metric whose name is the
    user's choice its own name counts first.
    """
    name = name.removeprefix("val_")
    names = [name]
    for metric in metrics:
        if getattr(metric, "name", None) == name and hasattr(metric, "_own_name"):
            if isinstance(getattr(metric, "function", None), Loss):
                return "min"
            names.insert(0, metric._own_name())
    return next(filter(None, map(_direction_of_words, names)), None)


def _direction_of_words(name: str) -> str | None:
    words = re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
    small, large = (any(map(kind.fullmatch, words)) for kind in (_SMALL, _LARGE))
    return None if small == large else "min" if small else "max"


class Watcher(Configured):
    """Base of callbacks that compare a value of each epoch with the best one so far."""

    monitor: str
    mode: str

    _passing: ClassVar[tuple[str, ...]] = ("_watched", "_sign")
    _watched: str | None = None  # the name that is watched in this fit
    _sign: float = 1.0  # times it values are to be small

    def _check_monitor(self) -> None:
        """Check the settings that all watchers have."""
        if not isinstance(self.monitor, str):
            raise TypeError(self._message("monitor", 'is a name such as "val_loss"'))
        self._word("mode", MODES)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget the last fit; look for the monitored value among the names of this one."""
        self._forget()
        names = self.params.get("metrics")
        if names is not None:
            self._choose(list(names))

    def _value(self, logs: Logs) -> float:
        """Return the watched value of an epoch."""
        found = logs or {}
        if self._watched is None:
            self._choose(list(found))
        if self._watched not in found:
            raise self._missing(str(self._watched), list(found))
        return float(found[str(self._watched)])

    def _choose(self, names: list[str]) -> None:
        """Settle which of the names is watched in this fit, and in which direction."""
        name = self.monitor
        if name == "val_loss" and "loss" in names and not any(n.startswith("val_") for n in names):
            from gdcore.autodiff._errors import user_stacklevel

            warnings.warn(
                f"{type(self).__name__} watches 'loss': there is no 'val_loss' without validation"
                " data. Give fit validation_split= or validation_data=, or write monitor='loss'",
                UserWarning,
                stacklevel=user_stacklevel(),
            )
            name = "loss"
        if name not in names:
            raise self._missing(name, names)
        mode = self.mode
        if mode == "auto":
            mode = direction(name, getattr(self.model, "metrics", None) or ()) or ""
        if not mode:
            raise ValueError(
                f"{type(self).__name__}: whether {name!r} should be small or large cannot be told"
                " from its name; give mode='min' or mode='max'"
            )
        self._put(_watched=name, _sign=1.0 if mode == "min" else -1.0)

    def _missing(self, name: str, names: list[str]) -> ValueError:
        without = not any(known.startswith("val_") for known in names)
        way_out = (
            " (names with val_ need validation_split= or validation_data= of fit)"
            if name.startswith("val_") and without
            else did_you_mean(name, names)
        )
        return ValueError(
            f"{type(self).__name__}: monitor is {self.monitor!r}, which this fit does not have;"
            f" accepted are {', '.join(map(repr, names)) or 'none'}{way_out}"
        )

    def _is_better(self, value: float, best: float | None, margin: float = 0.0) -> bool:
        """Tell whether a value is better by more than the margin; NaN never is."""
        if best is None:
            return not math.isnan(value)
        return self._sign * value + margin < self._sign * best
