"""What `fit` shows while it goes on: a bar over its epochs, or a line for each of them."""

from __future__ import annotations

import math
import shutil
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TextIO

from gdcore._callback import Callback, Configured, Logs

__all__ = ["EpochLines", "ProgressBar", "from_verbose"]

_PERIOD = 0.1  # seconds from one picture of a bar to the next
_LOG_PERIOD = 30.0  # the same where lines stay, as in a file


def from_verbose(verbose: Any) -> Callback | None:
    """Return the callback that `verbose` of `fit` asks for.

    Parameters
    ----------
    verbose : {0, 1, 2, "auto"} or bool
        0 for nothing, 1 (also True, "auto") for a bar, 2 for a line per epoch.

    Returns
    -------
    ProgressBar, EpochLines or None

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> from gdcore.callbacks import from_verbose
    >>> from_verbose(1)
    ProgressBar()
    """
    if verbose == "auto" or verbose in (0, 1, 2):
        return {0: None, 1: ProgressBar(), 2: EpochLines()}[1 if verbose == "auto" else verbose]
    raise ValueError(
        f"verbose is {verbose!r:.80}; accepted are 0 (nothing), 1 or 'auto' (a bar), 2 (a line per"
        " epoch)"
    )


def text_of(logs: Mapping[str, Any], equals: str, between: str) -> str:
    """Return loss and metrics as a text, four digits each; the rate is no result."""
    shown = (f"{name}{equals}{value:.4g}" for name, value in logs.items() if name != "lr")
    return between.join(shown)


class _Display(Protocol):
    """How progress is shown: at most once in `period` seconds, and once more before the end."""

    period: float

    def show(self, done: float, title: str, values: str) -> None: ...
    def close(self, complete: bool) -> None: ...


class _Bar:
    """A bar of tqdm's, in a terminal or a notebook."""

    period = _PERIOD
    _format = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    _endless = "{desc} {elapsed}{postfix}"

    def __init__(self, kind: Any, total: int | None, first: int) -> None:
        self._bar = kind(
            total=total,
            initial=first,
            bar_format=self._endless if total is None else self._format,
            dynamic_ncols=True,
        )

    def show(self, done: float, title: str, values: str) -> None:
        self._bar.n = done
        self._bar.set_description_str(title, refresh=False)
        self._bar.set_postfix_str(values, refresh=False)
        self._bar.refresh()

    def close(self, complete: bool) -> None:
        if complete:  # a notebook paints a bar red that ends before its total
            self._bar.total = self._bar.n
        self._bar.close()


class _OneLine:
    """A line of a terminal that is written over again, where tqdm is missing."""

    period = _PERIOD

    def __init__(self, file: TextIO) -> None:
        self._file, self._width = file, 0

    def show(self, done: float, title: str, values: str) -> None:
        line = f"{title} - {values}" if values else title
        line = line[: shutil.get_terminal_size().columns - 1]  # a wrapped line stays for ever
        self._file.write("\r" + line.ljust(self._width))
        self._file.flush()
        self._width = len(line)

    def close(self, complete: bool) -> None:
        self._file.write("\n")
        self._file.flush()


class _Lines:
    """Lines that stay, where there is no terminal: few."""

    period = _LOG_PERIOD

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def show(self, done: float, title: str, values: str) -> None:
        self._file.write(f"{title} - {values}\n" if values else f"{title}\n")
        self._file.flush()

    def close(self, complete: bool) -> None:
        pass


def _tqdm() -> Any:
    """Return tqdm's class for where this runs, without its monitoring thread; None if missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a notebook without ipywidgets is told by each import
            from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return None
    return type("tqdm", (tqdm,), {"monitor_interval": 0})


def _display_for(total: int | None, first: int) -> _Display | None:
    """Return the display that suits the place this runs in; None where there is no output."""
    # What stands on a notebook's error stream is shown on red ground.
    file = sys.stdout if "ipykernel.zmqshell" in sys.modules else sys.stderr
    if file is None:
        return None
    bar = _tqdm()
    notebook = sys.modules.get("tqdm.notebook")
    widget = bar is not None and notebook is not None and issubclass(bar, notebook.tqdm_notebook)
    if not (widget or file.isatty()):
        return _Lines(file)
    return _OneLine(file) if bar is None else _Bar(bar, total, first)


@dataclass(frozen=True)
class ProgressBar(Configured):
    """One bar for the whole fit, with loss and metrics of the last epoch; ``verbose=1`` of `fit`.

    tqdm draws it, as a widget in a notebook, else on the error stream, at most ten times a second;
    where tqdm is missing a terminal gets a single line that is written over again. Where the error
    stream is no terminal (a file, a pipe) a line is written at the end, and before it every 30
    seconds.

    It does not make `fit` come back to Python after each epoch: epochs that take microseconds are
    run many at a time.

    Examples
    --------
    >>> from gdcore.callbacks import ProgressBar
    >>> ProgressBar()
    ProgressBar()
    """

    _late: ClassVar[bool] = True
    _passing: ClassVar[tuple[str, ...]] = ("_display", "_shown", "_done", "_values", "_fresh")
    _display: ClassVar[_Display | None] = None
    _shown: ClassVar[float] = -math.inf  # when
    _done: ClassVar[float] = 0.0
    _values: ClassVar[Mapping[str, Any]] = {}
    _fresh: ClassVar[bool] = False  # something has not been shown yet

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget the last fit; the bar appears with the first epoch."""
        self._forget()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Open the bar at the first epoch."""
        if self._display is None:
            display = _display_for(self.params.get("epochs"), epoch)
            self._put(_display=display, _done=float(epoch), _shown=time.monotonic())

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Move the bar to the end of an epoch."""
        self.on_progress(epoch + 1, logs)

    def on_progress(self, done: float, logs: Logs = None) -> None:
        """Move the bar to `done` epochs; 3.25 is the first quarter of the fourth one."""
        self._put(_done=float(done), _values=logs or self._values, _fresh=True)
        if self._display and time.monotonic() - self._shown >= self._display.period:
            self._show()

    def on_train_end(self, logs: Logs = None) -> None:
        """Show the last values and close the bar."""
        if self._display is None:
            return
        if self._fresh:
            self._show()
        self._display.close(bool(getattr(self.model, "stop_training", False)))
        self._put(_display=None)

    def _show(self) -> None:
        assert self._display is not None
        title = _title(math.ceil(self._done), self.params.get("epochs"))
        self._display.show(self._done, title, text_of(self._values, "=", ", "))
        self._put(_shown=time.monotonic(), _fresh=False)


@dataclass(frozen=True)
class EpochLines(Configured):
    """A line for each epoch on standard output: ``verbose=2`` of `fit`.

    Examples
    --------
    >>> from gdcore.callbacks import from_verbose
    >>> lines = from_verbose(2)
    >>> lines.set_params({"epochs": 10})
    >>> lines.on_epoch_end(2, {"loss": 0.25, "val_loss": 1 / 3})
    Epoch  3/10 - loss: 0.25 - val_loss: 0.3333
    """

    _late: ClassVar[bool] = True

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Print the line of an epoch."""
        self.on_epochs([epoch], {name: [value] for name, value in (logs or {}).items()})

    def on_epochs(self, epochs: Sequence[int], columns: Mapping[str, Sequence[Any]]) -> None:
        """Print the lines of several epochs."""
        total = self.params.get("epochs")
        rows = zip(*columns.values(), strict=True) if columns else ((),) * len(epochs)
        for epoch, row in zip(epochs, rows, strict=True):
            values = text_of(dict(zip(columns, row, strict=True)), ": ", " - ")
            print(" - ".join(filter(None, [_title(epoch + 1, total), values])), flush=True)


def _title(epoch: int, total: int | None) -> str:
    """Return "Epoch  3/10"."""
    return f"Epoch {epoch}" if total is None else f"Epoch {epoch:{len(str(total))}}/{total}"
