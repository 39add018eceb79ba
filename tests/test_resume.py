"""A fit that was cut off, saved, loaded and continued has the bits of one that ran through."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from case_ids import named
from saving_cases import OWN, bits, classifier, data, portrait, with_own_functions

import gdcore as gd
from gdcore.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)

s = gd.schedules
BATCH, EPOCHS, MOMENTS = 8, 4, 25


class Cut(Callback):
    """Ctrl-C at the end of the batch of this number, counted over all epochs; or at its begin."""

    def __init__(self, after, begin=False):
        self.left, self.begin = after, begin

    def on_train_batch_begin(self, batch, logs=None):
        if self.begin and self.left == 0:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.begin and self.left == 0:
            raise KeyboardInterrupt


class CutEpoch(Callback):
    """Ctrl-C at the begin or the end of an epoch, when the other callbacks have seen it."""

    def __init__(self, epoch, hook):
        self.epoch, self.hook = epoch, hook

    def on_epoch_begin(self, epoch, logs=None):
        if (epoch, "begin") == (self.epoch, self.hook):
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, "end") == (self.epoch, self.hook):
            raise KeyboardInterrupt


def interrupted(model, cut, callbacks=(), **settings):
    """Fit until the cut; False where the fit ended before it."""
    try:
        model.fit(**settings, callbacks=[*callbacks, cut])
    except KeyboardInterrupt:
        return True
    return False


def again(model, path):
    """The model after a life in a file."""
    model.save(path)
    return gd.load_model(path, OWN)


def check(make, callbacks, cuts, path, **settings):
    """Compare fits that were cut off with one that was not."""
    X, y = data(dtype=settings.pop("real", np.float64))
    settings = {"X": X, "y": y, "batch_size": BATCH, "epochs": EPOCHS, "verbose": 0, **settings}
    whole = make()
    whole.fit(**settings, seed=3, callbacks=callbacks())
    wanted = portrait(whole)
    for cut in cuts:
        model = make()
        assert interrupted(model, cut, callbacks(), **settings, seed=3)
        model = again(model, path)
        model.fit(**settings, resume=True, callbacks=callbacks())
        found = portrait(model)
        assert {k for k in wanted if wanted[k] != found[k]} == set(), vars(cut)


CASES = {
    "sgd": (lambda: gd.SGD(s.one_cycle(0.1, 28), momentum=0.9, nesterov=True), {}),
    "warmup": (lambda: gd.AdamW(s.warmup(s.cosine(0.05, 0.0, 20), 5)), {"metrics": ["f1_macro"]}),
    "plateau": (lambda: gd.SGD(s.plateau(0.1, patience=0), momentum=0.9), {"dtype": "float32"}),
    "by_gradient": (lambda: gd.SGD(s.by_gradient(0.1, 0.2)), {}),
    "per_epoch": (lambda: gd.Adam(s.per_epoch(s.exponential(0.05, 0.5))), {"lr_scale": 0.3}),
    "free": (lambda: gd.ScheduleFreeAdamW(0.05), {"metrics": ["accuracy"]}),
    "ema": (lambda: gd.EMA(gd.Adam(0.05), 0.9), {"metrics": ["accuracy"]}),
    "ema of ema": (lambda: gd.EMA(gd.EMA(gd.Adam(0.05), 0.9), 0.5), {}),
    "groups": (
        lambda: gd.Adam(0.05, groups=[{"params": [1], "lr": 0.5}, {"params": [0], "l1": 0.1}]),
        {"metrics": ["accuracy"], "lr_scale": 0.5},
    ),
    "own rate": (lambda: gd.SGD(OWN["falling"]), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_cut_off_after_a_batch(name, tmp_path):
    optimizer, settings = CASES[name]
    cuts = [Cut(number) for number in range(1, EPOCHS * 7, 1 if name in ("sgd", "ema") else 2)]
    check(lambda: classifier(optimizer(), **settings), list, cuts, tmp_path / "m.npz")


def callbacks_of(tmp_path, *more):
    return lambda: [
        EarlyStopping(patience=2),
        ModelCheckpoint(tmp_path / "best.npz", save_best_only=True),
        *(one() for one in more),
    ]


@pytest.mark.parametrize("begin", [False, True])
@pytest.mark.parametrize("name", ["adam", "ema", "free"])
def test_cut_off_with_callbacks_metrics_and_validation(name, begin, tmp_path):
    optimizer = {
        "adam": lambda: gd.Adam(0.05),
        "ema": lambda: gd.EMA(gd.SGD(0.1, momentum=0.9), 0.8),
        "free": lambda: gd.ScheduleFreeSGD(0.1),
    }[name]
    lower = [lambda: ReduceLROnPlateau(patience=1, factor=0.5)] if name == "adam" else []
    cuts = [Cut(number, begin) for number in range(1, EPOCHS * 5, 1 if name == "adam" else 3)]
    check(
        lambda: classifier(optimizer(), metrics=["accuracy", "f1_macro"]),
        callbacks_of(tmp_path, *lower),
        cuts,
        tmp_path / "m.npz",
        validation_split=0.2,
    )


@pytest.mark.parametrize("hook", ["begin", "end"])
@pytest.mark.parametrize("epoch", range(EPOCHS))
def test_cut_off_between_epochs(hook, epoch, tmp_path):
    check(
        lambda: classifier(gd.Adam(0.05), metrics=["accuracy"]),
        lambda: [LearningRateScheduler(lambda epoch, lr: 0.9 * lr), EarlyStopping("loss")],
        [CutEpoch(epoch, hook)],
        tmp_path / "m.npz",
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"drop_last": True},
        {"steps_per_epoch": 3},
        {"shuffle": False},
        {"sample_weight": np.linspace(0.1, 2.0, 50)},
        {"class_weight": "balanced", "validation_split": 0.3, "stratify": True},
        {"batch_order": lambda epoch: (np.arange(50) * 7 + epoch) % 50},
        {"initial_epoch": 2, "epochs": 6},
        {"real": np.float32, "batch_size": 50},
    ],
    ids=named,
)
def test_cut_off_with_other_arguments_of_fit(settings, tmp_path):
    check(
        lambda: classifier(gd.Adam(0.05), metrics=["accuracy"]),
        list,
        [Cut(number) for number in (1, 2, 3, 4)],
        tmp_path / "m.npz",
        **settings,
    )


@pytest.mark.parametrize(
    "optimizer", [lambda: gd.LBFGS(history_size=3), lambda: gd.Armijo(gd.SGD(0.5, momentum=0.5))]
)
def test_line_searches_on_all_rows(optimizer, tmp_path):
    def make():
        model = gd.Sequential([gd.Dense(5, "tanh"), gd.BatchNorm(), gd.Dense(3)])
        model.compile(optimizer(), "sparse_categorical_crossentropy", ["accuracy"])
        return model

    cuts = [Cut(number) for number in range(1, 5)]
    check(make, list, cuts, tmp_path / "m.npz", batch_size=None)


def test_functions_of_the_users(tmp_path):
    cuts = [Cut(number) for number in (1, 6, 7, 8, 20)]
    target = data()[0][:, :1] ** 2
    check(with_own_functions, list, cuts, tmp_path / "m.npz", y=target)


# ---- Files that the fit itself writes ------------------------------------------------------------


@pytest.mark.parametrize("frequency", ["epoch", 2, 3, 7])
def test_every_file_of_a_checkpoint_goes_on_to_the_same_end(frequency, tmp_path):
    X, y = data()
    settings = {"batch_size": BATCH, "epochs": 3, "verbose": 0}
    batch = "" if frequency == "epoch" else "-{batch:02d}"

    def callbacks():
        path = tmp_path / ("m-{epoch}" + batch + ".npz")
        return [EarlyStopping("loss", patience=5), ModelCheckpoint(path, save_freq=frequency)]

    whole = classifier(gd.Adam(0.05), metrics=["accuracy"])
    whole.fit(X, y, seed=0, callbacks=callbacks(), **settings)
    files = {path: path.read_bytes() for path in sorted(tmp_path.glob("*.npz"))}
    assert len(files) == (3 if frequency == "epoch" else 21 // frequency)
    wanted = portrait(whole)
    for path in files:
        model = gd.load_model(path)
        model.fit(X, y, resume=True, callbacks=callbacks(), **settings)
        found = portrait(model)
        assert {k for k in wanted if wanted[k] != found[k]} == set(), path.name
    for path, content in files.items():
        assert path.read_bytes() == content


def test_a_table_of_epochs_goes_on(tmp_path):
    tables = []
    for cut in (None, Cut(3), Cut(7), Cut(9)):
        logger = CSVLogger(tmp_path / f"{len(tables)}.csv")
        model, settings = (
            classifier(gd.Adam(0.05)),
            {"verbose": 0, "batch_size": BATCH, "epochs": 3},
        )
        X, y = data()
        if cut is None:
            model.fit(X, y, seed=0, callbacks=[logger], **settings)
        else:
            assert interrupted(model, cut, [logger], X=X, y=y, seed=0, **settings)
            model = again(model, tmp_path / "m.npz")
            model.fit(X, y, resume=True, callbacks=[logger], **settings)
        tables.append((tmp_path / f"{len(tables)}.csv").read_text())
    assert tables[1:] == [tables[0]] * 3


# ---- Ends that are no interruption ---------------------------------------------------------------


def test_a_fit_that_ended_goes_on_for_more_epochs(tmp_path):
    X, y = data()
    whole, model = (classifier(gd.Adam(0.05), metrics=["accuracy"]) for _ in range(2))
    whole.fit(X, y, batch_size=BATCH, epochs=6, verbose=0, seed=0)
    model.fit(X, y, batch_size=BATCH, epochs=2, verbose=0, seed=0)
    for epochs in (3, 3, 6):
        model = again(model, tmp_path / "m.npz")
        model.fit(X, y, batch_size=BATCH, epochs=epochs, verbose=0, resume=True)
    assert portrait(model) == portrait(whole)


def test_early_stopping_restores_the_best_weights_and_goes_on_from_the_last(tmp_path):
    X, y = data()
    settings = {"batch_size": BATCH, "verbose": 0, "validation_split": 0.3}

    def callbacks():
        return [EarlyStopping(patience=20)]

    def make():
        return classifier(gd.SGD(0.5, momentum=0.9), metrics=["accuracy"])

    whole, model = make(), make()
    whole.fit(X, y, epochs=8, seed=0, callbacks=callbacks(), **settings)
    model.fit(X, y, epochs=4, seed=0, callbacks=callbacks(), **settings)
    assert model._fit_state.weights is not None
    model = again(model, tmp_path / "m.npz")
    model.fit(X, y, epochs=8, resume=True, callbacks=callbacks(), **settings)
    assert portrait(model) == portrait(whole)
    losses = whole.history.history["val_loss"]
    assert model.evaluate(X[35:], y[35:])[0] == min(losses)


def test_a_loaded_model_that_begins_a_new_fit_draws_as_the_old_one(tmp_path):
    X, y = data()
    model = classifier(gd.Adam(0.05))
    model.fit(X, y, epochs=2, verbose=0, seed=0)
    found = again(model, tmp_path / "m.npz")
    for one in (model, found):
        one.fit(X, y, epochs=2, verbose=0)
    assert portrait(found) == portrait(model)


def test_train_on_batch_goes_on(tmp_path):
    X, y = data()
    whole, model = classifier(gd.Adam(0.05)), classifier(gd.Adam(0.05))
    for one in (whole, model):
        one._generator = np.random.default_rng(4)
    for number in range(6):
        rows = slice(8 * number, 8 * number + 8)
        whole.train_on_batch(X[rows], y[rows])
        model.train_on_batch(X[rows], y[rows])
        model = again(model, tmp_path / "m.npz")
    assert portrait(model) == portrait(whole)


def test_data_of_another_length_are_refused_after_loading(tmp_path):
    X, y = data()
    model = classifier()
    model.fit(X, y, epochs=1, verbose=0, seed=0)
    model = again(model, tmp_path / "m.npz")
    before = portrait(model)
    with pytest.raises(ValueError, match="the fit had 50 rows"):
        model.fit(X[1:], y[1:], epochs=2, verbose=0, resume=True)
    with pytest.raises(ValueError, match="seed is given with resume=True"):
        model.fit(X, y, epochs=2, verbose=0, resume=True, seed=1)
    assert portrait(model) == before


# ---- Other processes and real signals ------------------------------------------------------------

CONTINUE = """
import sys
sys.path.insert(0, {tests!r})
import gdcore as gd
from saving_cases import OWN, data
from gdcore.callbacks import EarlyStopping
model = gd.load_model({path!r}, OWN)
X, y = data()
model.fit(X, y, batch_size=8, epochs=4, verbose=0, validation_split=0.2, resume=True,
          callbacks=[EarlyStopping(patience=2)])
model.save({path!r})
"""


def test_a_fit_goes_on_in_another_process(tmp_path, root):
    X, y = data()
    settings = {"batch_size": 8, "epochs": 4, "verbose": 0, "validation_split": 0.2, "seed": 0}
    whole, model = (classifier(gd.Adam(0.05), metrics=["accuracy"]) for _ in range(2))
    whole.fit(X, y, callbacks=[EarlyStopping(patience=2)], **settings)
    assert interrupted(model, Cut(12), [EarlyStopping(patience=2)], X=X, y=y, **settings)
    path = str(tmp_path / "m.npz")
    model.save(path)
    code = CONTINUE.format(tests=str(root / "tests"), path=path)
    subprocess.run([sys.executable, "-c", code], check=True)
    assert portrait(gd.load_model(path)) == portrait(whole)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="timers of POSIX")
@pytest.mark.parametrize(
    "optimizer",
    [gd.Adam, lambda: gd.EMA(gd.Adam()), lambda: gd.EMA(gd.EMA(gd.Adam()))],
    ids=["adam", "ema", "in Python"],
)
def test_signals_at_any_moment(optimizer, tmp_path):
    """SIGINT in the core, between its calls, in validation or beside callbacks."""
    X, y = data(200)

    def fit(model, **settings):
        stop = EarlyStopping(patience=1000)
        model.fit(
            X,
            y,
            batch_size=16,
            epochs=20,
            verbose=0,
            validation_split=0.2,
            callbacks=[stop],
            **settings,
        )

    def make():
        return classifier(optimizer(), metrics=["accuracy"])

    def is_cut_off(model, moment):
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, moment)
                fit(model, seed=0)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
        except KeyboardInterrupt:
            return True
        return False

    fit(make(), seed=0)  # imports
    began = time.perf_counter()
    fit(whole := make(), seed=0)
    seconds = time.perf_counter() - began
    wanted, cut_off = portrait(whole), 0
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        for part in np.linspace(0.02, 0.7, MOMENTS):
            model = make()
            cut_off += is_cut_off(model, part * seconds)
            if model._fit_state is None:  # before the fit had begun
                continue
            model = again(model, tmp_path / "m.npz")
            fit(model, resume=True)
            found = portrait(model)
            assert {k for k in wanted if wanted[k] != found[k]} == set(), part
    finally:
        signal.signal(signal.SIGALRM, before)
    assert cut_off > MOMENTS // 3


def test_bits_tell_zeros_and_types_apart():
    assert bits([0.0]) != bits([-0.0])
    assert bits(1) != bits(1.0)
    assert bits(np.float32(1)) != bits(np.float64(1))
