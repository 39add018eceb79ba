"""What is shown of a fit: little where there is no terminal, at most ten pictures a second."""

import io
import itertools
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from callback_cases import Model, fit, stopped_clock

from gdcore._progress import EpochLines
from gdcore.callbacks import (
    CallbackList,
    EarlyStopping,
    LambdaCallback,
    ProgressBar,
    from_verbose,
)


@pytest.fixture
def clock(monkeypatch):
    return stopped_clock(monkeypatch)


# ---- What is shown ----


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """What makes the error stream a terminal; pytest puts its own in place before each test."""

    def make():
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr

    return make


def many(epochs, verbose, clock=None):
    """Run epochs, by the clock of 10 ms each."""
    rows = {"loss": [1 / (k + 1) for k in range(epochs)], "lr": [0.1] * epochs}
    tick = [LambdaCallback(on_epoch_end=lambda epoch, logs: clock.advance(0.01))] if clock else []
    fit(Model(), rows, tick, verbose=verbose)


def test_verbose_says_what_is_shown():
    assert from_verbose(0) is from_verbose(False) is None
    assert from_verbose(1) == from_verbose(True) == from_verbose("auto") == ProgressBar()
    assert from_verbose(2) == EpochLines()
    assert len(CallbackList(None, 1)) == 1
    assert len(CallbackList([ProgressBar()], 1)) == 1
    assert len(CallbackList([ProgressBar()], 2)) == 2


def test_silence(capfd):
    many(50, 0)
    assert capfd.readouterr() == ("", "")


def test_a_line_per_epoch(capsys):
    many(10, 2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[0] == "Epoch  1/10 - loss: 1"
    assert lines[2] == "Epoch  3/10 - loss: 0.3333"


def test_lines_of_epochs_that_ran_at_once(capsys):
    kit = CallbackList(None, 2)
    kit.set_params({"epochs": 3})
    kit.on_train_begin()
    kit.on_epochs(range(3), {"loss": np.array([3.0, 2.0, 1.0]), "val_loss": [1.0, 2.0, 3.0]})
    kit.on_epochs(range(3, 3), {"loss": []})
    kit.on_train_end()
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1/3 - loss: 3 - val_loss: 1",
        "Epoch 2/3 - loss: 2 - val_loss: 2",
        "Epoch 3/3 - loss: 1 - val_loss: 3",
    ]


def test_where_there_is_no_terminal_a_single_line_stays(capfd):
    many(2000, 1)
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "Epoch 2000/2000 - loss=0.0005\n"


def test_a_long_fit_without_terminal_shows_signs_of_life(capfd, clock):
    slow = SimpleNamespace(advance=lambda seconds: clock.advance(1000 * seconds))
    many(10, 1, slow)  # 100 s
    titles = [line.split(" - ")[0] for line in capfd.readouterr().err.splitlines()]
    assert titles == ["Epoch  3/10", "Epoch  6/10", "Epoch  9/10", "Epoch 10/10"]


def test_a_fit_that_shows_nothing_has_no_output_stream(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    many(3, 1)


@pytest.fixture
def no_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)


@pytest.mark.usefixtures("no_tqdm")
def test_without_tqdm_one_line_is_written_over(terminal, clock):
    stream = terminal()
    many(40, 1, clock)
    written = stream.getvalue()
    assert written.endswith("\n")
    assert written.count("\n") == 1
    shown = written.rstrip("\n").split("\r")[1:]
    assert shown[-1].rstrip() == "Epoch 40/40 - loss=0.025"
    assert 3 <= len(shown) <= 5  # 0.4 s, ten a second
    for before, after in itertools.pairwise(shown):
        assert len(after) >= len(before.rstrip())  # nothing of the line below shines through


@pytest.mark.usefixtures("no_tqdm")
def test_a_line_that_is_written_over_fits_the_terminal(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    stream = terminal()
    fit(Model(), {f"metric_{k}": [1 / 3] for k in range(5)}, None, verbose=1)
    assert stream.getvalue() == "\rEpoch 1/1 - metric_0=0.3333, \n"


def test_the_bar_of_tqdm(terminal, clock):
    pytest.importorskip("tqdm")
    stream, threads = terminal(), threading.active_count()
    many(40, 1, clock)
    written = stream.getvalue()
    shown = written.split("\r")
    assert "Epoch 40/40 100%|" in shown[-1]
    assert "loss=0.025" in shown[-1]
    assert written.count("\n") == 1
    assert 4 <= len(shown) <= 8
    assert threading.active_count() == threads


def test_the_bar_moves_within_an_epoch(terminal, clock):
    pytest.importorskip("tqdm")
    stream, kit = terminal(), CallbackList(None, 1)
    kit.set_params({"epochs": 8})
    kit.on_train_begin()
    kit.on_epoch_begin(4)  # initial_epoch=4
    kit.on_progress(4.5, {"loss": 2.0})
    clock.advance(0.11)
    kit.on_progress(5.0, {"loss": 1.5})
    kit.on_epochs(range(4, 6), {"loss": [1.5, 1.25]})
    kit.on_train_end()
    shown = stream.getvalue().split("\r")
    assert any("Epoch 5/8  62%|" in text and "loss=1.5" in text for text in shown)
    assert "Epoch 6/8  75%|" in shown[-1]
    assert "loss=1.25" in shown[-1]


def test_a_bar_that_another_callback_ended_is_complete(monkeypatch):
    """A notebook paints a bar red that ends before its total; stopping early is no failure."""
    made = []

    class Bar:
        def __init__(self, **settings):
            self.settings, self.total, self.n, self.closed = settings, settings["total"], 0, 0
            made.append(self)

        def refresh(self):
            pass

        def set_description_str(self, text, refresh):
            self.text = text

        def set_postfix_str(self, text, refresh):
            self.postfix = text

        def close(self):
            self.closed += 1

    class Widget(Bar):
        pass

    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "tqdm.auto", SimpleNamespace(tqdm=Widget))
    monkeypatch.setitem(sys.modules, "tqdm.notebook", SimpleNamespace(tqdm_notebook=Bar))
    stop = EarlyStopping("loss", patience=1)
    fit(Model(), {"loss": [1.0, 2.0, 3.0]}, stop, verbose=1)
    with pytest.raises(KeyboardInterrupt):
        fit(Model(), {"loss": [1.0, 2.0, 3.0]}, None, verbose=1, raises=(2,))
    stopped, cut = made
    assert (stopped.n, stopped.total, stopped.text, stopped.closed) == (2, 2, "Epoch 2/3", 1)
    assert (cut.n, cut.total, cut.postfix, cut.closed) == (2, 3, "loss=2", 1)


def test_a_bar_costs_a_fast_fit_little():
    """Told of 100,000 epochs one by one it writes nothing and takes microseconds for each."""
    bar = ProgressBar()
    bar.set_params({"epochs": 100_000})
    bar.on_train_begin()
    bar.on_epoch_begin(0)
    logs = {"loss": 1.0, "accuracy": 0.5}
    start = time.perf_counter()
    for epoch in range(100_000):
        bar.on_epoch_end(epoch, logs)
    assert time.perf_counter() - start < 5.0
    bar.on_train_end()
