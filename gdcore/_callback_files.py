"""Callbacks that write files: checkpoints of the model, and a table of the epochs."""

from __future__ import annotations

import csv
import os
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TextIO

from gdcore._callback import Configured, Logs
from gdcore._monitor import Watcher
from gdcore._names import did_you_mean

__all__ = ["CSVLogger", "ModelCheckpoint"]


@dataclass(frozen=True)
class ModelCheckpoint(Watcher):
    """Save the model after each epoch, or after each that is the best so far.

    ``model.save`` writes a temporary file and renames it, so that a file of this name is whole at
    any moment; a fit that was cut off is continued by ``gd.load_model(path)`` and
    ``fit(..., resume=True)``. No file is ever removed. All other callbacks have seen the epoch
    before it is saved, whatever their order.

    Parameters
    ----------
    filepath : str or path-like
        May have fields, as in "m-{epoch:03d}-{val_loss:.3f}.npz": the epoch, counted from 1 as in
        Keras, and what the epoch has measured. Its folder is made if it is missing.
    monitor : str, default "val_loss"
        As in `EarlyStopping`; looked at with ``save_best_only=True`` alone.
    save_best_only : bool, default False
    mode : {"auto", "min", "max"}, default "auto"
    save_freq : "epoch" or int, default "epoch"
        An integer counts batches, across epochs; then {batch} and {loss} are the fields besides
        {epoch}, and `fit` comes back to Python after every batch.

    Attributes
    ----------
    best : float or None
        The best value so far.
    batches : int
        Batches since the last file.

    Raises
    ------
    ValueError
        When the fit begins, if it has no value for a field, or as in `EarlyStopping`.

    Examples
    --------
    >>> from gdcore.callbacks import ModelCheckpoint
    >>> both = [ModelCheckpoint("last.npz"), ModelCheckpoint("best.npz", save_best_only=True)]
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        "path": "filepath",
        "filename": "filepath",
        "period": "save_freq",
        "metric": "monitor",
    }
    _state: ClassVar[tuple[str, ...]] = ("best", "batches")
    _passing: ClassVar[tuple[str, ...]] = (*Watcher._passing, "_epoch")

    filepath: str | os.PathLike[str]
    monitor: str = "val_loss"
    save_best_only: bool = False
    mode: str = "auto"
    save_freq: str | int = "epoch"

    best: ClassVar[float | None] = None
    batches: ClassVar[int] = 0
    _epoch: ClassVar[int] = 0

    def __post_init__(self) -> None:
        self._check_monitor()
        _set_path(self, "filepath")
        self._set(save_best_only=self._flag("save_best_only"))
        self._fields()
        if self.save_freq == "epoch":
            return
        if isinstance(self.save_freq, str):
            raise ValueError(self._message("save_freq", "are 'epoch' and a number of batches"))
        self._set(save_freq=self._count("save_freq", " (batches), or 'epoch'"))
        if self.save_best_only:
            raise ValueError(
                f"ModelCheckpoint: save_freq is {self.save_freq}; accepted is 'epoch' with"
                " save_best_only=True, which compares epochs"
            )

    @property
    def _rank(self) -> int:
        # Behind all others, whose state goes into the file. So does its own, but not yet that of
        # the next checkpoint: those that have one, `best`, go first.
        return 1 if self.save_best_only else 2

    @property
    def _wants_batches(self) -> bool:
        return self.save_freq != "epoch"

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget the last fit; look for the names that are going to be used."""
        self._forget()
        if self.save_best_only:
            super().on_train_begin(logs)
        names = self.params.get("metrics")
        if self._wants_batches:
            self._check_fields(["batch", "loss"])
        elif names is not None:
            self._check_fields(list(names))

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Note the epoch, for the names of files."""
        self._put(_epoch=epoch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Save the model where it is due."""
        if self._wants_batches:
            return
        if self.save_best_only:
            value = self._value(logs)
            if not self._is_better(value, self.best):
                return
            self._put(best=value)
        self._save({**(logs or {}), "epoch": epoch + 1})

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Save the model after every `save_freq` batches."""
        if isinstance(self.save_freq, str):
            return
        self._put(batches=self.batches + 1)
        if self.batches >= self.save_freq:
            self._put(batches=0)
            self._save({**(logs or {}), "epoch": self._epoch + 1, "batch": batch + 1})

    def _save(self, values: Mapping[str, Any]) -> None:
        self._check_fields(list(values))
        path = str(self.filepath).format(**values)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self.model.save(path)

    def _fields(self) -> list[str]:
        """Return the names between braces in the path."""
        try:
            parts = list(string.Formatter().parse(str(self.filepath)))
        except ValueError as error:
            message = self._message("filepath", "are fields in braces, as {epoch:03d}")
            raise ValueError(f"{message} ({error})") from None
        return [name.split(".")[0].split("[")[0] for _, name, _, _ in parts if name is not None]

    def _check_fields(self, names: list[str]) -> None:
        """Refuse a field that none of the names fills."""
        known = ["epoch", *(name for name in names if name != "epoch")]
        for name in self._fields():
            if name not in known:
                raise ValueError(
                    f"ModelCheckpoint: filepath {self.filepath!r} has the field {{{name}}}; this"
                    f" fit has {', '.join(known)}{did_you_mean(name, known)}"
                )


@dataclass(frozen=True)
class CSVLogger(Configured):
    """Write a table with a row per epoch: "epoch", counted from 0, then what it has measured.

    Rows are on the disk when their epoch ends. A resumed fit goes on in its file: rows of epochs
    that it is going to repeat, as after a crash, are dropped first (unless ``append=True``).

    Parameters
    ----------
    filename : str or path-like
    separator : str, default ","
        One character.
    append : bool, default False
        Whether to add to the rows of earlier fits, whose columns must be the same; without it a
        file of this name is overwritten, when the first epoch ends.

    Raises
    ------
    ValueError
        At the first row, if the columns of the file are others.
    OSError
        When the fit begins, if the file cannot be written.

    Examples
    --------
    >>> from gdcore.callbacks import CSVLogger
    >>> CSVLogger("run.csv", append=True)
    CSVLogger(filename='run.csv', separator=',', append=True)
    """

    _aliases: ClassVar[Mapping[str, str]] = {
        "path": "filename",
        "filepath": "filename",
        "sep": "separator",
        "delimiter": "separator",
    }
    _state: ClassVar[tuple[str, ...]] = ("position", "columns")
    _passing: ClassVar[tuple[str, ...]] = ("_file", "_ready")

    filename: str | os.PathLike[str]
    separator: str = ","
    append: bool = False

    position: ClassVar[int | None] = None  # bytes of the file after this fit's last row
    columns: ClassVar[list[str] | None] = None
    _file: ClassVar[TextIO | None] = None
    _ready: ClassVar[bool] = False  # for the next row

    def __post_init__(self) -> None:
        _set_path(self, "filename")
        if not isinstance(self.separator, str):
            raise TypeError(self._message("separator", "is one character"))
        if len(self.separator) != 1 or self.separator in '"\r\n':
            raise ValueError(self._message("separator", "is one character, no quote or new line"))
        self._set(append=self._flag("append"))

    def on_train_begin(self, logs: Logs = None) -> None:
        """Open the file; what it holds stays until the first row."""
        self._forget()
        self._put(_file=open(self.filename, "a", newline="", encoding="utf-8"))  # noqa: SIM115

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Write the row of an epoch."""
        if self._file is None:
            raise RuntimeError("CSVLogger has no open file: on_train_begin comes before epochs")
        values = {"epoch": epoch, **{name: float(value) for name, value in (logs or {}).items()}}
        writer = csv.writer(self._file, delimiter=self.separator)
        if not self._ready:
            self._prepare(self._file)
            if self.columns is None:
                writer.writerow(values)
                self._put(columns=list(values))
        self._check_columns(list(values))
        writer.writerow([values[name] for name in self.columns or ()])
        self._file.flush()
        self._put(position=os.path.getsize(self.filename))

    def on_train_end(self, logs: Logs = None) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._put(_file=None)

    def _prepare(self, file: TextIO) -> None:
        """Drop what does not stay of the file; take over its columns."""
        size = os.path.getsize(self.filename)
        columns = None
        if self.append and size:
            with open(self.filename, newline="", encoding="utf-8") as old:
                columns = next(csv.reader(old, delimiter=self.separator))
        elif not self.append:
            goes_on = self.position is not None and size >= self.position
            file.truncate(self.position if goes_on else 0)
            columns = self.columns if goes_on else None
        self._put(columns=columns, _ready=True)

    def _check_columns(self, names: list[str]) -> None:
        if set(names) != set(self.columns or ()):
            raise ValueError(
                f"CSVLogger: {self.filename!r} has the columns {', '.join(self.columns or ())};"
                f" this fit has {', '.join(names)}: write to another file"
            )


def _set_path(callback: Configured, name: str) -> None:
    """Replace a path by its text, after a check."""
    path = getattr(callback, name)
    if not isinstance(path, str | os.PathLike):
        raise TypeError(callback._message(name, "is a path"))
    callback._set(**{name: os.fspath(path)})
