"""Callbacks that write files, and fits that are resumed from what has been kept."""

import csv
import json
import math
import os

import numpy as np
import pytest
from callback_cases import Model, fit, plain

from gdcore.callbacks import (
    CallbackList,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TimeLimit,
)

# ---- Files ----


def test_a_checkpoint_of_each_epoch_has_its_name(tmp_path):
    model = Model()
    path = tmp_path / "new" / "m-{epoch:02d}-{val_loss:.3f}.npz"
    fit(model, {"loss": [1.0, 1.0], "val_loss": [0.25, 1 / 3]}, ModelCheckpoint(path))
    assert sorted(os.listdir(tmp_path / "new")) == ["m-01-0.250.npz", "m-02-0.333.npz"]


def test_save_best_only_writes_where_the_value_is_better(tmp_path):
    model, path = Model(), tmp_path / "best.npz"
    checkpoint = ModelCheckpoint(path, "val_auc", save_best_only=True)
    fit(model, {"val_auc": [0.5, math.nan, 0.7, 0.6, 0.7]}, checkpoint)
    assert len(model.saved) == 2
    assert json.loads(path.read_text())["w"] == [2.0]
    assert checkpoint.best == 0.7


def test_without_save_best_only_the_monitor_does_not_matter(tmp_path):
    model = Model()
    fit(model, {"loss": [1.0, 2.0]}, ModelCheckpoint(tmp_path / "m"))
    assert len(model.saved) == 2


def test_a_checkpoint_by_batches_counts_across_epochs(tmp_path):
    checkpoint, model = ModelCheckpoint(tmp_path / "{epoch}-{batch}", save_freq=3), Model()
    kit = model.callbacks = CallbackList([checkpoint])
    assert kit.wants_batches
    assert not CallbackList([ModelCheckpoint("x")]).wants_batches
    kit.set_model(model)
    kit.on_train_begin()
    for epoch in range(3):
        kit.on_epoch_begin(epoch)
        for batch in range(4):
            kit.on_train_batch_begin(batch)
            kit.on_train_batch_end(batch, {"loss": 1.0})
        kit.on_epoch_end(epoch, {"loss": 1.0})
    assert sorted(os.listdir(tmp_path)) == ["1-3", "2-2", "3-1", "3-4"]


def test_a_field_that_the_fit_does_not_have_is_named_at_the_start(tmp_path):
    model = Model()
    for checkpoint in (
        ModelCheckpoint(tmp_path / "m-{val_los}"),
        ModelCheckpoint(tmp_path / "m-{val_los:.3f}", "loss", save_best_only=True),
    ):
        with pytest.raises(ValueError, match=r"field {val_los}.*epoch, loss, val_loss.*'val_loss'"):
            fit(model, {"loss": [1.0], "val_loss": [1.0]}, checkpoint)
    with pytest.raises(ValueError, match=r"field {val_loss}; this fit has epoch, batch, loss"):
        fit(model, {"loss": [1.0], "val_loss": [1.0]}, ModelCheckpoint("{val_loss}", save_freq=2))
    with pytest.raises(ValueError, match=r"field {}"):
        fit(model, {"loss": [1.0]}, ModelCheckpoint("m-{}"), names=False)
    assert os.listdir(tmp_path) == model.saved == []


def test_a_file_is_whole_where_saving_fails(tmp_path):
    """Of the protocol: what `save` leaves when it is cut off is the file of before."""
    model, path = Model(), tmp_path / "m.npz"
    fit(model, {"loss": [1.0]}, ModelCheckpoint(path))
    before = path.read_text()

    def cut_off(_):
        path.with_suffix(".npz.part").write_text("{")
        raise OSError("no space left")

    model.save = cut_off
    with pytest.raises(OSError, match="no space left"):
        fit(model, {"loss": [1.0]}, ModelCheckpoint(path))
    assert path.read_text() == before
    assert path.with_suffix(".npz.part").exists()  # nothing is removed behind the model's back


def test_a_checkpoint_holds_what_all_other_callbacks_made_of_the_epoch(tmp_path):
    last = ModelCheckpoint(tmp_path / "last")
    best = ModelCheckpoint(tmp_path / "best", "loss", save_best_only=True)
    stop = EarlyStopping("loss", patience=9)
    model = Model()
    fit(model, {"loss": [2.0, 1.0, 3.0]}, [last, best, stop])
    states = json.loads((tmp_path / "last").read_text())["callbacks"]
    assert [entry["class"] for entry in states] == [
        "EarlyStopping",
        "ModelCheckpoint",
        "ModelCheckpoint",
    ]
    assert (states[0]["state"]["best_epoch"], states[0]["state"]["wait"]) == (1, 1)
    assert states[1]["state"]["best"] == 1.0


def rows_of(path, separator=","):
    with open(path, newline="") as file:
        return list(csv.reader(file, delimiter=separator))


def test_the_table_has_a_row_per_epoch_at_full_precision(tmp_path):
    path, seen = tmp_path / "run.csv", []
    path.write_text("of before\n")
    watch = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(len(rows_of(path))))
    rows = {"loss": [1 / 3, np.float64(2 / 3)], "val_loss": [math.nan, np.float32(0.5)]}
    fit(Model(), rows, [CSVLogger(path), watch])
    assert rows_of(path) == [
        ["epoch", "loss", "val_loss"],
        ["0", "0.3333333333333333", "nan"],
        ["1", "0.6666666666666666", "0.5"],
    ]
    assert seen == [2, 3]  # on the disk at the end of each epoch


def test_a_table_can_be_appended_to_where_the_columns_agree(tmp_path):
    path = tmp_path / "run.csv"
    logger = CSVLogger(path, separator=";", append=True)
    fit(Model(), {"loss": [1.0], "acc": [0.5]}, logger)
    fit(Model(), {"acc": [0.25], "loss": [2.0]}, logger)
    expected = [["epoch", "loss", "acc"], ["0", "1.0", "0.5"], ["0", "2.0", "0.25"]]
    assert rows_of(path, ";") == expected
    with pytest.raises(ValueError, match="has the columns epoch, loss, acc; this fit has epoch, l"):
        fit(Model(), {"loss": [2.0]}, logger)
    assert rows_of(path, ";") == expected
    fit(Model(), {"loss": [2.0]}, CSVLogger(path))
    assert rows_of(path) == [["epoch", "loss"], ["0", "2.0"]]


def test_a_table_that_cannot_be_written_is_an_error_at_the_start(tmp_path):
    model = Model()
    with pytest.raises(FileNotFoundError):
        fit(model, {"loss": [1.0]}, CSVLogger(tmp_path / "missing" / "run.csv"))
    assert model.w[0] == -1


def test_files_are_closed_where_another_callback_refuses_the_fit(tmp_path):
    logger = CSVLogger(tmp_path / "run.csv")
    with pytest.raises(ValueError, match="'los'"):
        fit(Model(), {"loss": [1.0]}, [logger, EarlyStopping("los")])
    assert logger._file is None


@pytest.mark.parametrize("append", [False, True])
def test_a_resumed_table_goes_on(tmp_path, append):
    path, values = tmp_path / "run.csv", [4.0, 3.0, 2.0, 1.0]
    logger, model = CSVLogger(path, append=append), Model()
    fit(model, {"loss": values[:2]}, logger)
    states = plain(model.callbacks)
    fit(model, {"loss": values}, CSVLogger(path, append=append), start=2, states=states)
    assert [row[0] for row in rows_of(path)] == ["epoch", "0", "1", "2", "3"]
    # From a checkpoint of the second epoch again: the two rows behind it are repeated, not doubled.
    fit(model, {"loss": values}, CSVLogger(path, append=append), start=2, states=states)
    again = ["epoch", "0", "1", "2", "3"] + ["2", "3"] * append
    assert [row[0] for row in rows_of(path)] == again
    path.unlink()
    fit(model, {"loss": values}, CSVLogger(path, append=append), start=2, states=states)
    assert [row[0] for row in rows_of(path)] == ["epoch", "2", "3"]


# ---- Resuming ----


@pytest.mark.parametrize("cut", range(1, 8))
@pytest.mark.parametrize("how", ["interrupt", "checkpoint"])
def test_a_resumed_fit_decides_as_one_that_went_through(tmp_path, cut, how):
    values = [5.0, 4.0, 4.5, 4.5, 4.5, 3.0, 4.0, 4.0, 4.0, 4.0, 2.0]
    path = tmp_path / "last"

    def kit():
        return [
            ModelCheckpoint(path),
            EarlyStopping("loss", patience=4),
            ReduceLROnPlateau("loss", 0.5, patience=2, cooldown=1),
            ModelCheckpoint(tmp_path / "best-{epoch}", "loss", save_best_only=True),
        ]

    through, whole = Model(), kit()
    done = fit(through, {"loss": values}, whole)
    best_files = sorted(p for p in os.listdir(tmp_path) if p.startswith("best"))
    for name in best_files:
        os.unlink(tmp_path / name)

    model, first, second = Model(), kit(), kit()
    if how == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            fit(model, {"loss": values}, first, raises=(cut,))
        assert model.w[0] == first[1].best_epoch  # restored, and yet:
        states = model.callbacks.state_dict()
    else:
        fit(model, {"loss": values[:cut]}, first, epochs=len(values))
        states = json.loads(path.read_text())["callbacks"]
    rate = model.optimizer.lr
    again = Model(rate)
    assert fit(again, {"loss": values}, second, start=cut, states=states) == done == 10
    assert second[1].best_weights == whole[1].best_weights
    for ours, theirs in zip(second, whole, strict=True):
        mine, other = ours.state_dict(), theirs.state_dict()
        assert {k: np.asarray(v).tolist() for k, v in mine.items()} == {
            k: np.asarray(v).tolist() for k, v in other.items()
        }
    assert again.optimizer.lr == through.optimizer.lr
    assert again.w == through.w
    assert sorted(p for p in os.listdir(tmp_path) if p.startswith("best")) == best_files


def test_a_resumed_fit_goes_on_from_the_last_weights_not_the_best_ones():
    stop, model = EarlyStopping("loss", patience=9), Model()
    fit(model, {"loss": [1.0, 2.0, 3.0]}, stop)
    assert model.w[0] == 0
    states, found = model.callbacks.state_dict(), []
    see = LambdaCallback(on_epoch_begin=lambda epoch, logs: found.append(model.w[0]))
    fit(model, {"loss": [1.0, 2.0, 3.0, 0.5]}, [see, stop], start=3, states=states)
    assert found == [2.0]
    assert model.w[0] == 3


def test_an_epoch_that_is_resumed_in_its_middle_keeps_its_rate():
    model = Model(lr=1.0)
    with pytest.raises(KeyboardInterrupt):
        fit(model, {"loss": [1.0] * 4}, halving(), raises=(2,))
    assert model.optimizer.lr == 0.125
    states = plain(model.callbacks)
    fit(model, {"loss": [1.0] * 4}, halving(), start=2, states=states)
    assert model.optimizer.lr == 0.0625
    fit(model, {"loss": [1.0]}, halving())  # another fit sets the rate of epoch 0 again
    assert model.optimizer.lr == 0.03125


def halving():
    return LearningRateScheduler(lambda epoch, lr: lr / 2)


def test_states_go_to_callbacks_by_class_and_order():
    first, second = EarlyStopping("loss", patience=3), EarlyStopping("loss", patience=4)
    model = Model()
    fit(model, {"loss": [2.0, 1.0]}, [TimeLimit(9), first, ReduceLROnPlateau("loss"), second])
    states = plain(model.callbacks)
    assert [entry["class"] for entry in states] == [
        "EarlyStopping",
        "ReduceLROnPlateau",
        "EarlyStopping",
    ]
    states[0]["state"]["wait"] = 2
    fresh = [EarlyStopping("loss", patience=3), EarlyStopping("loss", patience=4)]
    rows = {"loss": [2.0, 1.0]}
    # Others may come in between; the one that is missing is named.
    kit = [fresh[0], ReduceLROnPlateau("loss"), LambdaCallback(), fresh[1]]
    fit(model, rows, kit, start=2, states=states)
    assert [callback.wait for callback in fresh] == [2, 0]
    with pytest.raises(ValueError, match="callbacks are EarlyStopping; the fit to be resumed had"):
        fit(model, rows, fresh[:1], start=2, states=states)


def test_a_state_of_another_kind_is_refused():
    with pytest.raises(
        ValueError, match=r"the state has best, wait; accepted is .*cooldown_counter"
    ):
        ReduceLROnPlateau().load_state_dict({"best": 1.0, "wait": 0})
