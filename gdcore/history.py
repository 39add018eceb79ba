"""What a fit has recorded: curves of loss and metrics, rates, norms of gradients, statistics."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gdcore.plot import Display

__all__ = ["History"]

Float64Array = NDArray[np.float64]


class _Rows:
    """An array that grows along its first axis, by doubling; views of it stay as they are."""

    def __init__(self, width: tuple[int, ...] = (), dtype: type = np.float64) -> None:
        self._room: NDArray[Any] = np.empty((0, *width), dtype)
        self._length = 0

    def extend(self, rows: ArrayLike) -> None:
        """Append a copy of `rows`."""
        added = np.asarray(rows, self._room.dtype)
        if added.shape[1:] != self._room.shape[1:]:
            raise ValueError(f"rows of {added.shape[1:]} found, of {self._room.shape[1:]} accepted")
        end = self._length + len(added)
        if not self._length:
            self._room, self._length = np.array(added, order="C"), end
            return
        if end > len(self._room):
            room = np.empty((max(end, 2 * self._length), *added.shape[1:]), self._room.dtype)
            room[: self._length] = self._room[: self._length]
            self._room = room
        self._room[self._length : end] = added
        self._length = end

    def view(self) -> NDArray[Any]:
        """Return what there is, read-only."""
        rows = self._room[: self._length]
        rows.flags.writeable = False
        return rows

    def __getstate__(self) -> dict[str, Any]:
        return {"_room": self._room[: self._length].copy(), "_length": self._length}


class History:
    """The record of a fit, returned by ``model.fit`` and kept as ``model.history``.

    It pickles and deep-copies, and holds nothing of the model. A new fit makes a new one;
    ``fit(..., resume=True)`` appends to that of the fit which it continues.

    Parameters
    ----------
    param_names : sequence of str, optional
        Names of the columns of the statistics of parameters, "layer.array".
    unit_names : sequence of str, optional
        The same for those of units.

    Attributes
    ----------
    history : dict of str to list of float
        "loss", the metrics, and both with "val_" where there are validation data: a value per
        epoch. What an epoch did not measure is NaN.
    epoch : list of int
        Numbers of the epochs, from 0 or `initial_epoch` on.
    lrs : list of float
        Rate of the last step of each epoch.
    batch_losses, batch_grad_norms : ndarray of float64, read-only
        Loss and 2-norm of the gradient before clipping, of each batch in order, those of an epoch
        that was cut off too.
    skipped : int
        Batches that changed nothing because they were not finite.
    statistics : dict of str to ndarray (records, columns), read-only
        "weight_norm", "grad_norm", "update_norm" with a column for each of `param_names`,
        "zero_fraction", "saturated_fraction" with one for each of `unit_names`.
    statistics_steps : ndarray of int64, read-only
        Number of the batch of each record, counted from the start of the fit.

    Examples
    --------
    >>> from gdcore.history import History
    >>> h = History()
    >>> h.append_epochs(range(3), {"loss": [0.5, 0.25, 0.125]}, lrs=[0.1, 0.1, 0.1])
    >>> h
    History of 3 epochs, 0 batches
      loss  0.5 -> 0.125, best 0.125 in epoch 2
        lr  0.1
    """

    def __init__(self, param_names: Sequence[str] = (), unit_names: Sequence[str] = ()) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.lrs: list[float] = []
        self.skipped = 0
        self.param_names = list(param_names)
        self.unit_names = list(unit_names)
        self._losses, self._norms, self._steps = _Rows(), _Rows(), _Rows(dtype=np.int64)
        self._statistics: dict[str, _Rows] = {}

    # ---- What fit appends ----

    def append_epochs(
        self, epochs: Sequence[int], columns: Mapping[str, Any], lrs: Sequence[float] | NDArray[Any]
    ) -> None:
        """Append epochs: their numbers, a column of values for each name, and their rates.

        Raises
        ------
        ValueError
            If the columns differ in length.
        """
        before, count = len(self.epoch), len(epochs)
        lists = {name: _numbers(values) for name, values in columns.items()}
        rates = _numbers(lrs)
        for name, values in {**lists, "lrs": rates}.items():
            if len(values) != count:
                raise ValueError(f"{name} has {len(values)} values for {count} epochs")
        numbers = list(epochs) if isinstance(epochs, range) else list(map(int, epochs))
        # The numbers come last: what Ctrl-C has cut off before them is taken away the next time.
        for column in (*self.history.values(), self.lrs):
            del column[before:]
        for name, values in lists.items():
            self.history.setdefault(name, [math.nan] * before).extend(values)
        for name in self.history.keys() - lists.keys():
            self.history[name].extend([math.nan] * count)
        self.lrs.extend(rates)
        self.epoch.extend(numbers)

    def append_batches(self, losses: ArrayLike, grad_norms: ArrayLike, skipped: int = 0) -> None:
        """Append batches: loss and gradient norm of each, and how many of them were skipped."""
        self._losses.extend(losses)
        self._norms.extend(grad_norms)
        self.skipped += int(skipped)

    def append_batches_up_to(
        self, count: int, losses: Float64Array, grad_norms: Float64Array, skipped: int = 0
    ) -> None:
        """Append what is missing of batches up to this number; `losses` and norms end there."""
        for rows, values in ((self._losses, losses), (self._norms, grad_norms)):
            missing = count - len(rows.view())
            if missing > 0:
                rows.extend(values[-missing:])
        self.skipped += int(skipped)

    def append_records_up_to(
        self, steps: NDArray[np.int64], quantities: Mapping[str, NDArray[Any]]
    ) -> None:
        """Append those records whose batches come after the last one that is there."""
        there = self._steps.view()
        begin = int(np.searchsorted(steps, there[-1], "right")) if len(there) else 0
        if begin < len(steps):
            new = slice(begin, None)
            self.append_statistics(steps[new], {k: rows[new] for k, rows in quantities.items()})

    def append_statistics(self, steps: ArrayLike, quantities: Mapping[str, ArrayLike]) -> None:
        """Append records: the batch of each, and an array (records, columns) for each quantity."""
        self._steps.extend(steps)
        for name, rows in quantities.items():
            if name not in self._statistics:
                self._statistics[name] = _Rows(np.shape(rows)[1:])
            self._statistics[name].extend(rows)

    # ---- What there is ----

    @property
    def batch_losses(self) -> Float64Array:
        """Loss of each batch."""
        return self._losses.view()

    @property
    def batch_grad_norms(self) -> Float64Array:
        """Norm of the gradient of each batch."""
        return self._norms.view()

    @property
    def statistics(self) -> dict[str, Float64Array]:
        """Arrays (records, columns) by quantity."""
        return {name: rows.view() for name, rows in self._statistics.items()}

    @property
    def statistics_steps(self) -> NDArray[np.int64]:
        """Number of the batch of each record."""
        return self._steps.view()

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame with a row per epoch: the values of `history`, and "lr".

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            from pandas import DataFrame, Index  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise ImportError(
                "to_pandas needs pandas: pip install pandas (history is a dict of lists and needs"
                " nothing)"
            ) from error
        return DataFrame({**self.history, "lr": self.lrs}, index=Index(self.epoch, name="epoch"))

    def plot(self, ax: Axes | None = None) -> Display:
        """Draw loss, metrics and rates against the epochs.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        Display
            See `gdcore.plot.history`.
        """
        from gdcore._pictures_training import history

        return history(self, ax)

    def __repr__(self) -> str:
        lines = [self._title()]
        names = {**self.history, **({"lr": self.lrs} if self.lrs else {})}
        width = max(map(len, names), default=0)
        for name, values in names.items():
            lines.append(f"  {name:>{width}}  {_ends(values)}{self._best_of(name)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = {"first": 0, **self._best_rows(), "last": -1} if self.epoch else {}
        columns: dict[str, Sequence[float]] = {
            "epoch": self.epoch,
            **self.history,
            "lr": self.lrs,
        }
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *columns))
        body = "".join(
            f"<tr><th>{html.escape(label)}</th>"
            + "".join(f"<td>{_text(values[row])}</td>" for values in columns.values())
            + "</tr>"
            for label, row in rows.items()
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"<div>{html.escape(self._title())}{table if rows else ''}</div>"

    def _title(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return (
            f"History of {_count(len(self.epoch), 'epoch')},"
            f" {_count(len(self.batch_losses), 'batch', 'es')}{skipped}"
        )

    def _best_rows(self) -> dict[str, int]:
        """Return the place of the epoch with the best loss, that of validation where there is."""
        for name in ("val_loss", "loss"):
            if name in self.history:
                place = _best(self.history[name], "min")
                return {} if place is None else {f"best {name}": place}
        return {}

    def _best_of(self, name: str) -> str:
        """Return the remark on the best value of a name, where it is known which one that is."""
        from gdcore._monitor import direction

        mode, values = direction(name), self.history.get(name, [])
        place = _best(values, mode) if mode and len(values) > 1 else None
        if place is None:
            return ""
        return f", best {values[place]:.4g} in epoch {self.epoch[place]}"


def _numbers(values: Any) -> list[float]:
    """Return a column as a list of Python floats."""
    return values.tolist() if isinstance(values, np.ndarray) else list(map(float, values))


def _count(number: int, one: str, plural: str = "s") -> str:
    return f"{number} {one}{'' if number == 1 else plural}"


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _ends(values: Sequence[float]) -> str:
    """Return the first and the last value as a text, one where they are equal."""
    ends = [f"{value:.4g}" for value in (values[0], values[-1])]
    return ends[0] if ends[0] == ends[1] else " -> ".join(ends)


def _best(values: Iterable[float], mode: str) -> int | None:
    """Return the place of the first best value, None where all are NaN."""
    sign = 1.0 if mode == "min" else -1.0
    pairs = [(sign * value, place) for place, value in enumerate(values) if not math.isnan(value)]
    return min(pairs)[1] if pairs else None
