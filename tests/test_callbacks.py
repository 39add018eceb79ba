"""Callbacks, driven by a small model that keeps their protocol: no network is needed here."""

import copy
import math
import pickle
from types import SimpleNamespace

import callback_cases
import numpy as np
import pytest
from callback_cases import Model, fit, stopped_clock

import gdcore as gd
from gdcore import callbacks as module
from gdcore._monitor import direction
from gdcore.callbacks import (
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ProgressBar,
    ReduceLROnPlateau,
    TimeLimit,
    from_verbose,
)


@pytest.fixture
def clock(monkeypatch):
    return stopped_clock(monkeypatch)


# ---- What all of them share ----

EXAMPLES = [
    EarlyStopping(patience=3, baseline=0.5),
    ReduceLROnPlateau(factor=0.5, min_lr=1e-6),
    LearningRateScheduler(gd.schedules.step(0.1, 3)),
    ModelCheckpoint("m-{epoch}.npz", save_freq=10),
    CSVLogger("log.csv", ";", append=True),
    TimeLimit(60),
    LambdaCallback(on_epoch_end=math.hypot),
    ProgressBar(),
]


@pytest.mark.parametrize("callback", EXAMPLES, ids=lambda c: type(c).__name__)
def test_settings_print_compare_copy_and_pickle(callback):
    names = {**vars(module), "step": gd.schedules.step}
    if not isinstance(callback, LambdaCallback):
        assert eval(repr(callback), names) == callback
    for other in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert other == callback
        assert hash(other) == hash(callback)
        assert repr(other) == repr(callback)
    assert all(callback != other for other in EXAMPLES if other is not callback)


def test_the_repr_of_functions_is_a_call():
    assert (
        repr(LambdaCallback(on_train_end=len))
        == "LambdaCallback(on_train_end=<built-in function len>)"
    )
    assert LambdaCallback(on_train_end=len) != LambdaCallback(on_train_begin=len)


def test_copies_start_afresh_and_leave_the_model_behind():
    stop, model = EarlyStopping("loss", patience=5), Model()
    fit(model, {"loss": [3.0, 1.0, 2.0]}, stop)
    assert (stop.best, stop.best_epoch, stop.wait, stop.model) == (1.0, 1, 1, model)
    for other in (copy.deepcopy(stop), pickle.loads(pickle.dumps(stop))):
        assert other == stop
        assert (other.best, other.wait, other.best_weights, other.model) == (None, 0, None, None)
        assert dict(other.params) == {}


def test_a_second_fit_forgets_the_first():
    stop = EarlyStopping("loss", patience=2)
    fit(Model(), {"loss": [0.1, 0.2, 0.3]}, stop)
    assert fit(Model(), {"loss": [5.0, 4.0, 3.0, 2.0]}, stop) == 4
    assert (stop.best, stop.best_epoch, stop.stopped_epoch) == (2.0, 3, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(pacience=3), "unknown argument pacience=.*did you mean patience="),
        (lambda: EarlyStopping(verbose=1), "unknown argument verbose=.*verbose= is fit's"),
        (lambda: EarlyStopping(patience=1.5), "patience is 1.5; accepted is an integer >= 0"),
        (lambda: EarlyStopping(patience=-1), "patience is -1; accepted is an integer >= 0"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta is -1; accepted is a finite number >= 0"),
        (lambda: EarlyStopping(mode="least"), "mode is 'least'; accepted are 'auto', 'min', 'max'"),
        (lambda: EarlyStopping(3), "monitor is 3; accepted is a name"),
        (lambda: EarlyStopping(baseline="x"), "baseline is 'x'; accepted is a finite number"),
        (lambda: ReduceLROnPlateau(factor=1.0), r"factor is 1.0; accepted is a number in \[0, 1\)"),
        (lambda: ReduceLROnPlateau(gamma=0.1), "did you mean factor="),
        (lambda: ReduceLROnPlateau(min_lr=math.nan), "min_lr is nan; accepted is a finite"),
        (lambda: LearningRateScheduler(0.1), r"schedule is 0.1; accepted is a callable f\(epoch"),
        (lambda: ModelCheckpoint(3), "filepath is 3; accepted is a path"),
        (lambda: ModelCheckpoint("m-{epoch"), "filepath is 'm-{epoch'; accepted are fields"),
        (lambda: ModelCheckpoint("m", save_freq="batch"), "save_freq is 'batch'; accepted are"),
        (lambda: ModelCheckpoint("m", save_freq=0), "save_freq is 0; accepted is an integer >= 1"),
        (
            lambda: ModelCheckpoint("m", save_best_only=True, save_freq=5),
            "accepted is 'epoch' with",
        ),
        (lambda: CSVLogger(3), "filename is 3; accepted is a path"),
        (lambda: CSVLogger("x", separator=", "), "separator is ', '; accepted is one character"),
        (lambda: CSVLogger(path="x"), "did you mean filename="),
        (lambda: TimeLimit(0), "seconds is 0; accepted is a finite number > 0"),
        (lambda: LambdaCallback(on_epoch_stop=print), "on_epoch_stop=;.*did you mean 'on_epoch_"),
        (lambda: LambdaCallback(on_epoch_end=3), "on_epoch_end is 3; accepted is a callable"),
        (lambda: from_verbose(3), "verbose is 3; accepted are 0"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_terminate_on_nan_is_an_argument_of_fit():
    with pytest.raises(AttributeError, match="on_nonfinite='stop'"):
        _ = module.TerminateOnNaN
    with pytest.raises(AttributeError, match="did you mean 'EarlyStopping'"):
        _ = module.EarlyStoping


def test_a_derived_class_needs_no_call_of_super():
    class Own(Callback):
        def __init__(self, limit):
            self.limit = limit

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = logs["loss"] < self.limit

    model = Model()
    own = Own(2.5)
    assert fit(model, {"loss": [4.0, 3.0, 2.0, 1.0]}, [own]) == 3
    assert copy.deepcopy(own).limit == 2.5
    assert own.state_dict() == {}
    with pytest.raises(ValueError, match="needs its load_state_dict"):
        own.load_state_dict({"x": 1})


def test_gdcores_own_classes_can_be_derived_from():
    class Told(EarlyStopping):
        def __init__(self, name, patience):
            super().__init__("loss", patience=patience)
            self.name = name

        def on_train_end(self, logs=None):
            super().on_train_end(logs)
            self.name += f" {self.best_epoch}"

    told, model = Told("run", 2), Model()
    fit(model, {"loss": [3.0, 1.0, 2.0, 2.0, 2.0]}, told)
    assert told.name == "run 1"
    assert model.w[0] == 1
    assert copy.deepcopy(told).name == "run 1"


# ---- Which way is better ----


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("loss", "min"),
        ("val_loss", "min"),
        ("val_mean_squared_error", "min"),
        ("binary_crossentropy", "min"),
        ("val_mae", "min"),
        ("accuracy", "max"),
        ("val_top_k_categorical_accuracy", "max"),
        ("acc", "max"),
        ("f1_macro", "max"),
        ("r2", "max"),
        ("auc_1", "max"),
        ("my_metric", None),
        ("accuracy_loss", None),
        ("R2Score", "max"),
        ("MeanSquaredError", "min"),
        ("accumulated", None),
    ],
)
def test_direction_by_the_words_of_a_name(name, mode):
    assert direction(name) == mode


def test_the_kind_of_a_metric_counts_before_the_name_that_it_was_given():
    metrics = [
        "accuracy",
        print,
        SimpleNamespace(name="lenient", _own_name=lambda: "binary_accuracy"),
        SimpleNamespace(name="accuracy", _own_name=lambda: "huber_error"),
        SimpleNamespace(name="score", _own_name=lambda: "f", function=gd.losses.get("tweedie")),
    ]
    found = [direction(name, metrics) for name in ("val_lenient", "accuracy", "score", "print")]
    assert found == ["max", "min", "min", None]
    stop = EarlyStopping("lenient", patience=2)
    model = Model(metrics=metrics)
    assert fit(model, {"lenient": [1.0, 2.0, 3.0, 1.0, 1.0, 1.0]}, stop) == 5
    assert stop.best == 3.0


def test_a_direction_that_nobody_knows_is_asked_for():
    with pytest.raises(
        ValueError, match=r"'gap' should be small or large.*mode='min' or mode='max'"
    ):
        fit(Model(), {"loss": [1.0], "gap": [1.0]}, EarlyStopping("gap"))
    assert fit(Model(), {"loss": [1.0], "gap": [1.0]}, EarlyStopping("gap", mode="min")) == 1


def test_auto_takes_accuracies_as_larger_is_better():
    stop, model = EarlyStopping("val_accuracy", patience=2), Model()
    rows = {"loss": [0.0] * 6, "val_accuracy": [0.5, 0.9, 0.8, 0.9, 1.0, 1.0]}
    assert fit(model, rows, stop) == 4
    assert (stop.best, model.w[0]) == (0.9, 1)


@pytest.mark.parametrize("names", [True, False], ids=["names at the start", "names at the end"])
@pytest.mark.parametrize("kind", [EarlyStopping, ReduceLROnPlateau])
def test_an_unknown_monitor_names_the_keys_and_the_nearest(kind, names):
    rows = {"loss": [1.0], "accuracy": [0.5], "val_loss": [1.0], "val_accuracy": [0.5]}
    model = Model()
    message = "'val_acuracy'.*accepted are 'loss', 'accuracy', .*did you mean 'val_accuracy'"
    with pytest.raises(ValueError, match=message):
        fit(model, rows, kind("val_acuracy"), names=names)
    assert (model.w[0] == -1) == names  # known at the start, nothing has changed


def test_without_validation_data_val_loss_becomes_loss_with_a_warning():
    stop = EarlyStopping(patience=1)
    with pytest.warns(UserWarning, match="EarlyStopping watches 'loss'.*validation_split=") as told:
        assert fit(Model(), {"loss": [2.0, 1.0, 1.5, 1.0], "accuracy": [0.5] * 4}, stop) == 3
    assert [warning.filename for warning in told] == [callback_cases.__file__]  # who called it
    with pytest.raises(ValueError, match=r"'val_accuracy'.*names with val_ need validation_split="):
        fit(Model(), {"loss": [2.0], "accuracy": [0.5]}, EarlyStopping("val_accuracy"))
    rows = {"loss": [2.0], "val_mse": [1.0]}  # there are such data: no other value is put in
    with pytest.raises(ValueError, match="'val_loss'"):
        fit(Model(), rows, EarlyStopping())


# ---- Early stopping ----


@pytest.mark.parametrize(
    ("settings", "values", "epochs", "best_epoch"),
    [
        ({"patience": 0}, [3, 2, 2.5, 1], 3, 1),
        ({"patience": 1}, [3, 2, 2.5, 1], 3, 1),
        ({"patience": 2}, [3, 2, 2.5, 1, 1.5, 1.6, 0], 6, 3),
        ({"patience": 2}, [3, 2, 2, 2, 2], 4, 1),
        ({"patience": 9}, [3, 2, 2.5, 1], 4, 3),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.6, 2.6], 2, 0),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.3, 2.2, 1], 5, 2),
        ({"patience": 1, "mode": "max"}, [1, 2, 3, 2, 9], 4, 2),
        # Better than before, yet not than the baseline: such epochs wait, but a worse one ends it.
        ({"patience": 2, "baseline": 1.0}, [3, 2, 1.5, 1.2, 0.9], 5, 4),
        ({"patience": 2, "baseline": 1.0}, [3, 2, 1.5, 1.6, 0.9], 4, 2),
        ({"patience": 3, "baseline": 2.5}, [3, 2, 3, 3, 3, 3], 5, 1),
        ({"patience": 1, "start_from_epoch": 2}, [1, 9, 5, 4, 4.5, 0], 5, 3),
        ({"patience": 2}, [math.nan, 3, math.nan, 2, math.nan, math.nan, 0], 6, 3),
        ({"patience": 2}, [math.nan] * 5, 2, 0),
        ({"patience": 2}, [math.inf, 5, 6, 7, 8], 4, 1),
    ],
)
def test_patience_counts_epochs_that_are_not_better(settings, values, epochs, best_epoch):
    stop = EarlyStopping("loss", **{"mode": "min", **settings})
    assert fit(Model(), {"loss": values}, stop) == epochs
    assert stop.best_epoch == best_epoch
    assert stop.stopped_epoch == (epochs - 1 if epochs < len(values) else 0)


@pytest.mark.parametrize("ending", ["patience", "last epoch", "time", "interrupt", "error"])
def test_best_weights_are_restored_at_any_stop(ending):
    stop = EarlyStopping("loss", patience=2 if ending == "patience" else 100)
    others, raises = [], ()
    if ending == "time":
        others = [TimeLimit(1e-9)]
        values = [1.0, 2.0]
    else:
        values = [3.0, 1.0, 2.0, 2.0, 2.0]
    model = Model()
    if ending == "interrupt":
        raises = (3,)
    if ending == "error":
        others = [LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / (epoch - 2))]
    if ending in ("interrupt", "error"):
        with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
            fit(model, {"loss": values}, [*others, stop], raises=raises)
    else:
        done = fit(model, {"loss": values}, [*others, stop])
        assert done == {"patience": 4, "last epoch": 5, "time": 1}[ending]
    assert model.w[0] == stop.best_epoch == int(np.argmin(values[: int(stop.best_epoch) + 2]))


def test_weights_are_left_alone_where_that_is_asked_for():
    stop, model = EarlyStopping("loss", patience=1, restore_best_weights=False), Model()
    fit(model, {"loss": [1.0, 2.0, 3.0]}, stop)
    assert model.w[0] == 1
    assert stop.best_weights is None


def test_nothing_is_restored_where_no_value_was_a_number():
    stop, model = EarlyStopping("loss", patience=3), Model()
    fit(model, {"loss": [math.nan, math.nan]}, stop)
    assert (stop.best, model.w[0]) == (None, 1)


# ---- The rate ----


@pytest.mark.parametrize(
    ("settings", "values", "rates"),
    [
        ({"patience": 2}, [3, 3, 3, 3, 3, 3], [1, 1, 0.1, 0.1, 0.01, 0.01]),
        ({"patience": 0}, [3, 2, 3], [1, 1, 0.1]),
        ({"patience": 1, "cooldown": 2}, [3, 3, 3, 3, 3, 3], [1, 0.1, 0.1, 0.01, 0.01, 0.001]),
        ({"patience": 1, "min_lr": 0.05}, [3, 3, 3, 3], [1, 0.1, 0.05, 0.05]),
        ({"patience": 1, "min_delta": 0.5, "factor": 0.5}, [3, 2.6, 2.4, 2], [1, 0.5, 0.5, 0.25]),
        ({"patience": 2, "mode": "max"}, [1, 2, 2, 2, 3], [1, 1, 1, 0.1, 0.1]),
        ({"patience": 1}, [math.nan, 3, math.nan], [0.1, 0.1, 0.01]),
    ],
)
def test_the_rate_falls_on_a_plateau(settings, values, rates):
    model, seen = Model(lr=1.0), []
    reduce = ReduceLROnPlateau("loss", **{"mode": "min", "min_delta": 0.0, **settings})
    note = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(model.optimizer.lr))
    fit(model, {"loss": values}, [reduce, note])
    np.testing.assert_allclose(seen, rates, rtol=1e-15)


@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, gd.EMA], ids=["alone", "in EMA"])
def test_groups_with_a_rate_of_their_own_fall_too(wrap):
    model = Model()
    model.optimizer = wrap(gd.SGD(0.1, groups=[{"params": [0], "lr": 0.4}, {"params": [1]}]))
    fit(model, {"loss": [1.0, 1.0]}, ReduceLROnPlateau("loss", 0.5, patience=1, min_lr=0.06))
    assert model.optimizer.lr == 0.06
    assert [group["lr"] for group in model.optimizer.groups] == [0.2, 0.06]


@pytest.mark.parametrize(
    "optimizer",
    [
        gd.SGD(gd.schedules.step(0.1, 3)),
        gd.SGD(lambda t: 0.1),
        gd.SGD(gd.schedules.plateau(0.1)),
        gd.SGD(groups=[{"params": [0], "lr": gd.schedules.step(0.1, 3)}]),
        gd.EMA(gd.SGD(gd.schedules.step(0.1, 3))),
    ],
    ids=["schedule", "callable", "plateau", "group", "EMA"],
)
def test_a_schedule_in_the_optimizer_is_refused(optimizer):
    message = r"sets the learning rate, and so does.*give the optimizer a number"
    for callback in (ReduceLROnPlateau("loss"), LearningRateScheduler(lambda epoch: 0.1)):
        model = Model()
        model.optimizer = optimizer
        with pytest.raises(ValueError, match=message):
            fit(model, {"loss": [1.0]}, callback)
        assert model.w[0] == -1


def test_the_scheduler_sets_the_rate_before_each_epoch():
    for schedule, rates in [
        (lambda epoch: 0.5**epoch, [1, 0.5, 0.25, 0.125]),
        (lambda epoch, lr: lr if epoch < 2 else lr / 2, [0.1, 0.1, 0.05, 0.025]),
        (lambda epoch, decay=0.5: decay**epoch, [1, 0.5, 0.25, 0.125]),
        (lambda epoch, lr=None: 2 * lr, [0.2, 0.4, 0.8, 1.6]),
        (lambda *given: given[1] + given[0], [0.1, 1.1, 3.1, 6.1]),
        (gd.schedules.step(0.4, 2, gamma=0.5), [0.4, 0.4, 0.2, 0.2]),
        (np.float32, [0, 1, 2, 3]),
    ]:
        model, seen = Model(), []

        def note(epoch, logs, model=model, seen=seen):
            seen.append(model.optimizer.lr)

        fit(
            model,
            {"loss": [1.0] * 4},
            [LearningRateScheduler(schedule), LambdaCallback(on_epoch_begin=note)],
        )
        np.testing.assert_allclose(seen, rates, rtol=1e-15)


@pytest.mark.parametrize("rate", [None, "fast", True, -0.1, math.nan, math.inf, [0.1]])
def test_a_rate_that_is_none_is_refused(rate):
    scheduler, model = LearningRateScheduler(lambda epoch: rate), Model()
    with pytest.raises(
        (TypeError, ValueError), match=r"returned .* for epoch 0; accepted is a fin"
    ):
        fit(model, {"loss": [1.0]}, scheduler)
    assert model.optimizer.lr == 0.1


# ---- Time ----


def test_a_time_limit_tells_fit_its_deadline_and_stops_after_an_epoch(clock):
    limit, model = TimeLimit(5), Model()
    kit = CallbackList([TimeLimit(10), limit, LambdaCallback()])
    assert kit.deadline is None
    kit.set_model(model)
    kit.on_train_begin()
    assert kit.deadline == limit.deadline == 1005.0
    assert not kit.wants_batches
    clock.advance(4.9)
    kit.on_epoch_end(0, {"loss": 1.0})
    stopped_early = model.stop_training
    clock.advance(0.1)
    kit.on_epoch_end(1, {"loss": 1.0})
    assert (stopped_early, model.stop_training) == (False, True)
    assert copy.deepcopy(limit).deadline is None


def test_a_resumed_fit_has_its_own_time(clock):
    limit, model = TimeLimit(5), Model()
    fit(model, {"loss": [1.0]}, limit)
    clock.advance(100.0)
    fit(model, {"loss": [1.0]}, limit, states=model.callbacks.state_dict())
    assert limit.deadline == 1105.0


# ---- The list ----


def test_hooks_are_called_in_order_with_what_fit_gives():
    told = []
    hooks = {
        name: (lambda *given, name=name: told.append((name, *given)))
        for name in (
            "on_train_begin",
            "on_train_batch_begin",
            "on_epoch_begin",
            "on_epoch_end",
            "on_train_batch_end",
            "on_train_end",
        )
    }
    kit = CallbackList(LambdaCallback(**hooks))
    kit.on_train_begin()
    kit.on_epoch_begin(4)
    kit.on_train_batch_begin(0)
    kit.on_train_batch_end(0, {"loss": 1.0})
    kit.on_epoch_end(4, {"loss": 2.0})
    kit.on_train_end()
    assert told == [
        ("on_train_begin", None),
        ("on_epoch_begin", 4, None),
        ("on_train_batch_begin", 0, None),
        ("on_train_batch_end", 0, {"loss": 1.0}),
        ("on_epoch_end", 4, {"loss": 2.0}),
        ("on_train_end", None),
    ]


def test_what_fit_has_to_do_for_the_callbacks():
    class ByBatch(Callback):
        def on_train_batch_end(self, batch, logs=None):
            pass

    class OnObject(Callback):
        def __init__(self):
            self.on_train_batch_begin = print

    def needs(*callbacks, verbose=0):
        kit = CallbackList(callbacks, verbose)
        return kit.wants_batches, kit.wants_epochs, kit.wants_progress

    assert needs() == (False, False, False)
    assert needs(verbose=1) == (False, False, True)
    assert needs(verbose=2) == (False, False, False)
    assert needs(EarlyStopping()) == (False, True, False)
    assert needs(LambdaCallback(on_epoch_end=print)) == (False, True, False)
    assert needs(LambdaCallback(on_train_batch_end=print)) == (True, True, False)
    assert needs(ByBatch()) == (True, True, False)
    assert needs(OnObject()) == (True, True, False)
    assert needs(ProgressBar(), TimeLimit(3)) == (False, True, True)


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (
            [TimeLimit(3), EarlyStopping],
            r"callbacks\[1\] is the class EarlyStopping.*EarlyStopping\(",
        ),
        ([print], r"callbacks\[0\] is <built-in.*LambdaCallback\(on_epoch_end=f\)"),
        ("EarlyStopping", r"callbacks\[0\] is 'EarlyStopping'; accepted are objects"),
    ],
)
def test_what_is_no_callback_is_refused(callbacks, message):
    with pytest.raises(TypeError, match=message):
        CallbackList(callbacks)


def test_an_error_at_the_end_does_not_keep_the_others_from_ending(tmp_path):
    logger, stop, model = (
        CSVLogger(tmp_path / "run.csv"),
        EarlyStopping("loss", patience=5),
        Model(),
    )
    bad = LambdaCallback(on_train_end=lambda logs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(model, {"loss": [1.0, 2.0]}, [logger, bad, stop])
    assert logger._file is None
    assert model.w[0] == 0
