"""fit: which rows make a step, in which order and with which weights; what the history holds."""

import tracemalloc

import numpy as np
import pytest
from fit_cases import (
    CLASSES,
    LABELS,
    ROWS,
    WIDTH,
    X,
    Y,
    bits,
    classifier,
    loop,
    net,
    train,
)

import gdcore as gd


def same(*models):
    """Whether models have the same bits."""
    return all(bits(model) == bits(models[0]) for model in models)


# ---- Batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "steps"), [(None, 1), (1, ROWS), (16, 5), (ROWS, 1), (10**6, 1), (np.int32(35), 2)]
)
def test_batches(batch, steps):
    model, twin = net(), net()
    h = train(model, X, Y, batch_size=batch, epochs=2)
    losses, _ = loop(twin, X, Y, batch=batch, epochs=2)
    assert len(h.batch_losses) == len(h.batch_grad_norms) == model.optimizer.t == 2 * steps
    np.testing.assert_array_equal(h.batch_losses, losses)
    assert same(model, twin)


def test_thirty_two_rows_are_a_batch_by_default():
    model, twin = net(), net()
    assert len(train(model, X, Y).batch_losses) == 3
    train(twin, X, Y, batch_size=32)
    assert same(model, twin)


def test_the_loss_of_an_epoch_counts_each_row_once():
    h = train(net(), X, Y, batch_size=16)
    sizes = np.array([16, 16, 16, 16, 6])
    assert h.history["loss"] == [pytest.approx((h.batch_losses * sizes).sum() / ROWS, rel=1e-14)]


def test_the_loss_of_an_epoch_is_a_sum_where_the_loss_is_one():
    h = train(net(loss=gd.losses.get("mse", reduction="sum"), optimizer=gd.SGD(1e-4)), X, Y)
    assert h.history["loss"] == [pytest.approx(h.batch_losses.sum(), rel=1e-14)]


def test_a_smaller_last_batch_is_left_out():
    model, twin = net(), net()
    h = train(model, X, Y, batch_size=16, drop_last=True, epochs=2)
    train(twin, X[:64], Y[:64], batch_size=16, epochs=2)
    assert len(h.batch_losses) == 8
    assert same(model, twin)
    dropped = train(net(), X, Y, batch_size=16, drop_last=True, shuffle=True, seed=0)
    kept = train(net(), X, Y, batch_size=16, shuffle=True, seed=0)
    np.testing.assert_array_equal(dropped.batch_losses, kept.batch_losses[:4])


def test_steps_of_an_epoch():
    model, twin = net(), net()
    h = train(model, X, Y, batch_size=16, steps_per_epoch=2, epochs=3)
    train(twin, X[:32], Y[:32], batch_size=16, epochs=3)
    assert (len(h.epoch), len(h.batch_losses)) == (3, 6)
    assert same(model, twin)


def test_the_number_of_the_first_epoch_only_numbers_them():
    model, twin = net("adam"), net("adam")
    h = train(model, X, Y, initial_epoch=3, epochs=5)
    train(twin, X, Y, epochs=2)
    assert h.epoch == [3, 4]
    assert same(model, twin)
    assert train(net(), X, Y, initial_epoch=5, epochs=5).epoch == []


# ---- Order ---------------------------------------------------------------------------------------


def test_the_order_is_drawn_anew_for_each_epoch_from_the_seed():
    a, b, other, fixed = net(), net(), net(), net()
    first = train(a, X, Y, batch_size=1, epochs=2, shuffle=True, seed=3)
    train(b, X, Y, batch_size=1, epochs=2, shuffle=True, seed=np.random.default_rng(3))
    train(other, X, Y, batch_size=1, epochs=2, shuffle=True, seed=4)
    train(fixed, X, Y, batch_size=1, epochs=2, seed=3)
    assert same(a, b)
    assert not same(a, other)
    assert not same(a, fixed)
    orders = first.batch_losses.reshape(2, -1)
    assert (np.argsort(orders[0]) != np.argsort(orders[1])).any()


def test_every_row_is_seen_once_in_an_epoch():
    model = net(gd.SGD(0.0))
    rows = np.sort([model.evaluate(X[i : i + 1], Y[i : i + 1]) for i in range(ROWS)])
    h = train(model, X, Y, batch_size=1, epochs=3, shuffle=True)
    for epoch in h.batch_losses.reshape(3, -1):
        np.testing.assert_allclose(np.sort(epoch), rows, rtol=1e-12)


def test_without_seed_the_generator_of_the_model_goes_on():
    a, b = net(), net()
    for _ in range(2):
        train(a, X, Y, shuffle=True)
        train(b, X, Y, shuffle=True)
    assert same(a, b)
    assert a._generator.random() == b._generator.random()


def test_a_seed_draws_the_weights_of_an_untouched_model():
    models = [gd.Sequential([gd.Dense(4, "tanh"), gd.Dense(2)]) for _ in range(2)]
    for model in models:
        model.compile("adam", "mse")
        train(model, X, Y, shuffle=True, seed=1)
    assert same(*models)


def test_an_order_that_is_given():
    orders = [np.random.default_rng(i).permutation(ROWS) for i in range(3)]
    asked = []

    def order(epoch):
        asked.append(epoch)
        return orders[epoch - 2]

    model, twin = net("adam"), net("adam")
    train(model, X, Y, batch_size=16, initial_epoch=2, epochs=5, batch_order=order, shuffle=True)
    for rows in orders:
        loop(twin, X[rows], Y[rows], batch=16)
    assert asked == [2, 3, 4]
    assert same(model, twin)


def test_an_order_may_repeat_rows_and_be_a_list():
    model, twin = net(), net()
    train(model, X, Y, batch_order=lambda epoch: [0] * ROWS)
    train(twin, X[[0] * ROWS], Y[[0] * ROWS])
    assert same(model, twin)


def test_metrics_follow_the_order():
    """Accuracy of rows in another order than their labels would be that of a guess."""
    model = classifier(gd.SGD(0.0), ["accuracy"])
    wanted = model.evaluate(X, LABELS)[1]
    order = np.random.default_rng(0).permutation(ROWS)
    given = {"batch_order": lambda epoch: order}
    each = {"callbacks": [gd.LambdaCallback(on_train_batch_end=lambda batch, logs: None)]}
    for settings in ({"shuffle": True}, {"shuffle": True, **each}, given, {**given, **each}, {}):
        h = train(model, X, LABELS, epochs=2, batch_size=16, **settings)
        np.testing.assert_allclose(h.history["accuracy"], wanted, rtol=1e-12)


# ---- What X may be -------------------------------------------------------------------------------


class Frame:
    """What a DataFrame is to NumPy."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        assert not copy
        return self.array

    def __len__(self):
        return len(self.array)


def layouts(a):
    """The same numbers in other places."""
    wide = np.zeros((2 * len(a), 3 * a.shape[1]), a.dtype)
    wide[::2, 1::3] = a
    frozen = a.copy()
    frozen.flags.writeable = False
    return {
        "Fortran": np.asfortranarray(a),
        "strided": wide[::2, 1::3],
        "backwards": a[::-1, ::-1].copy()[::-1, ::-1],
        "read-only": frozen,
        "list": a.tolist(),
        "frame": Frame(a),
    }


@pytest.mark.parametrize("layout", layouts(X))
def test_the_place_of_numbers_changes_no_bit(layout):
    models = [net("adam", metrics=["mae"]) for _ in range(2)]
    settings = {"shuffle": True, "seed": 0, "epochs": 2, "validation_split": 0.2}
    train(models[0], X, Y, **settings)
    train(models[1], layouts(X)[layout], layouts(Y)[layout], **settings)
    assert same(*models)
    assert models[0].history.history == models[1].history.history
    np.testing.assert_array_equal(models[0].predict(X), models[1].predict(layouts(X)[layout]))


def test_a_memory_map(tmp_path):
    mapped = np.memmap(tmp_path / "X", np.float32, "w+", shape=X.shape)
    mapped[:] = X
    models = [net(dtype=np.float32) for _ in range(2)]
    train(models[0], X.astype(np.float32), Y, shuffle=True, seed=0)
    train(models[1], np.memmap(tmp_path / "X", np.float32, "r", shape=X.shape), Y,
          shuffle=True, seed=0)  # fmt: skip
    assert same(*models)


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint8, np.int32, np.uint64, np.int64])
def test_integers(kind):
    numbers = (X > 0).astype(kind) * (1 if kind is bool else 3)
    model, twin = (gd.Sequential([gd.Dense(2, "tanh")]) for _ in range(2))
    for one, x in ((model, numbers.astype(kind)), (twin, numbers.astype(float))):
        one.compile("sgd", "mse")
        train(one, x, Y, seed=0)
    assert model.dtype == np.float64
    assert same(model, twin)


@pytest.mark.parametrize("other", [np.float32, np.float64, np.int16])
def test_another_type_than_the_models(other, dtype):
    numbers = np.round(X * 4).astype(other)
    model, twin = net(dtype=dtype), net(dtype=dtype)
    train(model, numbers, Y, shuffle=True, seed=0)
    train(twin, numbers.astype(dtype), Y.astype(dtype), shuffle=True, seed=0)
    assert same(model, twin)
    assert model.predict(numbers).dtype == dtype


@pytest.mark.parametrize("given", ["C", "F", "int16", "float64"])
def test_data_are_not_copied(given):
    """A fit takes less memory than the smallest of the arrays that it is given."""
    rows = 500_000
    x = np.zeros((rows, 4), np.float32) if given in "CF" else np.zeros((rows, 4), given)
    x = np.asfortranarray(x) if given == "F" else x
    y = np.zeros(rows, np.float32)
    model = gd.Sequential([gd.Dense(1)], dtype=np.float32)
    model.compile("sgd", "mse", ["mae"])
    settings = {"batch_size": 10_000, "shuffle": False, "validation_split": 0.1, "verbose": 0}
    model.fit(x[:100], y[:100], verbose=0)
    tracemalloc.start()
    model.fit(x, y, **settings)
    model.fit(x, y, **{**settings, "validation_split": 0, "validation_data": (x, y)})
    model.evaluate(x, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.9e6  # y alone has 2 MB, X has 4 or more


# ---- Weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [int, np.float32, float, list])
def test_a_weight_is_a_row_repeated(kind):
    counts = np.random.default_rng(0).integers(0, 4, ROWS)
    weights = counts.tolist() if kind is list else counts.astype(kind)
    model, twin = net(gd.SGD(0.1), metrics=["mae"]), net(gd.SGD(0.1), metrics=["mae"])
    rows = np.repeat(np.arange(ROWS), counts)
    h = train(model, X, Y, batch_size=None, epochs=5, sample_weight=weights)
    repeated = train(twin, X[rows], Y[rows], batch_size=None, epochs=5)
    for a, b in zip(model.params, twin.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)
    for name in ("loss", "mae"):
        np.testing.assert_allclose(h.history[name], repeated.history[name], rtol=1e-12)
    np.testing.assert_allclose(
        model.evaluate(X, Y, sample_weight=weights), twin.evaluate(X[rows], Y[rows]), rtol=1e-12
    )


def test_weights_go_with_their_rows_into_batches():
    weights = np.random.default_rng(1).random(ROWS)
    model, twin = net("adam"), net("adam")
    h = train(model, X, Y, batch_size=16, epochs=2, sample_weight=weights)
    losses, _ = loop(twin, X, Y, batch=16, epochs=2, weights=weights)
    np.testing.assert_array_equal(h.batch_losses, losses)
    assert same(model, twin)
    sums = np.add.reduceat(weights, range(0, ROWS, 16))
    wanted = (h.batch_losses[:5] * sums).sum() / weights.sum()
    assert h.history["loss"][0] == pytest.approx(wanted, rel=1e-14)


def test_weights_that_are_all_one_change_no_bit():
    model, twin = net("adam"), net("adam")
    train(model, X, Y, sample_weight=np.ones(ROWS), shuffle=True, seed=0)
    train(twin, X, Y, shuffle=True, seed=0)
    assert same(model, twin)


def test_a_batch_without_weight_has_loss_and_gradient_0():
    weights = np.r_[np.ones(32), np.zeros(ROWS - 32)]
    model, twin = net(), net()
    h = train(model, X, Y, batch_size=32, sample_weight=weights)
    train(twin, X[:32], Y[:32], batch_size=32)
    assert list(h.batch_losses[1:]) == list(h.batch_grad_norms[1:]) == [0, 0]
    assert h.history["loss"][0] == h.batch_losses[0]
    assert same(model, twin)


def test_weights_of_classes():
    by_class = {0: 2.0, 2: 0.5, np.int64(3): 0}
    weights = np.array([2.0, 1.0, 0.5, 0.0])[LABELS]
    own = np.random.default_rng(0).random(ROWS)
    for given in (None, own):
        model, twin = classifier(metrics=["accuracy"]), classifier(metrics=["accuracy"])
        train(model, X, LABELS, class_weight=by_class, sample_weight=given)
        train(twin, X, LABELS, sample_weight=weights * (1 if given is None else own))
        assert same(model, twin)
        assert model.history.history["loss"] == twin.history.history["loss"]


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_take_no_weights_of_classes(weighted):
    """Those of validation data have none, beside which they stand."""
    by_class, rows = {0: 9.0, 2: 0.5}, slice(0, 49)
    given = np.random.default_rng(0).random(ROWS) if weighted else None
    own = None if given is None else given[rows]
    model = classifier(gd.SGD(0.0), ["accuracy"])
    h = train(
        model, X, LABELS, class_weight=by_class, sample_weight=given, validation_split=0.3
    ).history
    wanted = model.evaluate(X[rows], LABELS[rows], sample_weight=own)[1]
    assert h["accuracy"] == [pytest.approx(wanted, rel=1e-12)]
    settings = {"class_weight": by_class, "return_dict": True}
    found = model.train_on_batch(X[rows], LABELS[rows], own, **settings)
    assert found["accuracy"] == pytest.approx(wanted, rel=1e-12)
    assert found["loss"] == pytest.approx(h["loss"][0], rel=1e-12)


def test_balanced_weights():
    labels = np.repeat(np.arange(CLASSES), [40, 20, 6, 4])
    weights = (ROWS / (CLASSES * np.bincount(labels)))[labels]
    loss = gd.losses.get("sparse_categorical_crossentropy", reduction="sum")
    model, twin = (net(loss=loss, layers=[gd.Dense(CLASSES)]) for _ in range(2))
    train(model, X, labels, class_weight="balanced")
    train(twin, X, labels, sample_weight=weights)
    assert same(model, twin)
    onehot = net(loss="categorical_crossentropy", layers=[gd.Dense(CLASSES)])
    numbers = net(loss="sparse_categorical_crossentropy", layers=[gd.Dense(CLASSES)])
    train(onehot, X, np.eye(CLASSES)[labels], class_weight="balanced")
    train(numbers, X, labels, class_weight="balanced")
    for a, b in zip(onehot.params, numbers.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


# ---- Validation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_the_last_rows_are_held_out(fraction):
    first = int(np.floor(ROWS * (1 - fraction)))
    weights = np.random.default_rng(0).random(ROWS) + 0.1
    model, twin = net(metrics=["mae"]), net(metrics=["mae"])
    settings = {"epochs": 2, "shuffle": True, "seed": 0, "batch_size": 16}
    train(model, X, Y, validation_split=fraction, sample_weight=weights, **settings)
    train(
        twin,
        X[:first],
        Y[:first],
        sample_weight=weights[:first],
        validation_data=(X[first:], Y[first:], weights[first:]),
        **settings,
    )
    assert same(model, twin)
    assert model.history.history == twin.history.history
    loss, mae = model.evaluate(X[first:], Y[first:], sample_weight=weights[first:])
    assert [loss, mae] == [model.history.history[n][-1] for n in ("val_loss", "val_mae")]


def test_the_held_rows_may_be_of_each_class():
    labels = np.repeat(np.arange(CLASSES), [40, 20, 6, 4])
    model, twin = classifier(metrics=["accuracy"]), classifier(metrics=["accuracy"])
    held = np.concatenate([np.flatnonzero(labels == c)[-k:] for c, k in enumerate([10, 5, 2, 1])])
    kept = np.setdiff1d(np.arange(ROWS), held)
    weights = np.random.default_rng(0).random(ROWS)
    settings = {"epochs": 2, "shuffle": True, "seed": 0, "batch_size": 16}
    train(model, X, labels, validation_split=0.25, stratify=True, sample_weight=weights,
          **settings)  # fmt: skip
    train(twin, X[kept], labels[kept], sample_weight=weights[kept],
          validation_data=(X[held], labels[held], weights[held]), **settings)  # fmt: skip
    assert same(model, twin)
    for name, values in model.history.history.items():
        np.testing.assert_allclose(values, twin.history.history[name], rtol=1e-12)


def test_validation_changes_nothing():
    model, twin = net("adam"), net("adam")
    train(model, X, Y, epochs=3, validation_data=(X[:5], Y[:5]), shuffle=True, seed=0)
    train(twin, X, Y, epochs=3, shuffle=True, seed=0)
    assert same(model, twin)


def test_weights_of_classes_are_not_those_of_validation():
    model = classifier()
    by_class = {0: 5.0}
    h = train(model, X, LABELS, class_weight=by_class, validation_split=0.3)
    assert h.history["val_loss"] == [model.evaluate(X[49:], LABELS[49:])]
    stratified = train(model, X, LABELS, class_weight=by_class, validation_split=0.3, stratify=True)
    rows = np.concatenate(
        [
            np.flatnonzero(c == LABELS)[-int(np.floor((c == LABELS).sum() * 0.3 + 0.5)) :]
            for c in range(CLASSES)
        ]
    )
    wanted = model.evaluate(X[np.sort(rows)], LABELS[np.sort(rows)])
    assert stratified.history["val_loss"] == [pytest.approx(wanted, rel=1e-13)]


# ---- History -------------------------------------------------------------------------------------


def test_what_a_history_holds():
    model = net(gd.SGD(gd.schedules.linear(0.1, 0.0, 10)), metrics=["mae", "r2"])
    h = train(model, X, Y, batch_size=16, epochs=3, validation_split=0.1)
    assert h is model.history
    assert list(h.history) == ["loss", "mae", "r2", "val_loss", "val_mae", "val_r2"]
    assert {len(values) for values in h.history.values()} == {3}
    assert all(type(v) is float for values in h.history.values() for v in values)
    assert h.epoch == [0, 1, 2]
    np.testing.assert_allclose(h.lrs, [0.07, 0.03, 0.0], atol=1e-15)
    assert h.batch_losses.shape == h.batch_grad_norms.shape == (12,)
    assert h.skipped == 0
    assert h.param_names == ["dense.W", "dense.b", "dense_1.W", "dense_1.b"]
    assert h.unit_names == ["dense"]


def test_statistics_are_norms_and_fractions():
    layers = [gd.Dense(6, "relu"), gd.Dense(2)]
    model, twin = (
        net(gd.SGD(0.1), layers=layers),
        net(gd.SGD(0.1), layers=[gd.Dense(6, "relu"), gd.Dense(2)]),
    )
    h = train(model, X, Y, batch_size=ROWS, epochs=30)
    assert h.statistics_steps[0] == 0
    assert len({*np.diff(h.statistics_steps)}) <= 1
    step = 0
    for k, number in enumerate(h.statistics_steps):
        loop(twin, X, Y, epochs=int(number) - step)
        before = [p.copy() for p in twin.params]
        _, grads = twin.value_and_grad(X, Y)
        hidden = X @ before[0] + before[1]
        loop(twin, X, Y)
        step = int(number) + 1
        moved = [a - b for a, b in zip(twin.params, before, strict=True)]
        for name, arrays in [
            ("weight_norm", before),
            ("grad_norm", grads),
            ("update_norm", moved),
        ]:
            norms = [np.linalg.norm(a) for a in arrays]
            np.testing.assert_allclose(h.statistics[name][k], norms, rtol=1e-10)
        assert h.statistics["zero_fraction"][k] == [np.mean(hidden <= 0)]
    assert h.statistics["saturated_fraction"].shape == (len(h.statistics_steps), 1)


# ---- Ways through the loop -----------------------------------------------------------------------


class Silent(gd.callbacks.Callback):
    """Asks to be called after each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.seen = [*getattr(self, "seen", []), (epoch, dict(logs))]


class EachBatch(Silent):
    """Asks to be called around each batch."""

    def on_train_batch_begin(self, batch, logs=None):
        self.begun = [*getattr(self, "begun", []), batch]

    def on_train_batch_end(self, batch, logs=None):
        self.losses = [*getattr(self, "losses", []), logs["loss"]]


WAYS = {
    "an epoch a call": {"callbacks": [Silent()]},
    "a batch a call": {"callbacks": [EachBatch()]},
    "a bar": {"verbose": 1},
    "lines": {"verbose": 2},
    "a time limit": {"callbacks": [gd.TimeLimit(1000)]},
    "validation": {"validation_data": (X, LABELS)},
}


@pytest.mark.parametrize("metrics", [None, ["accuracy"]])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_bits(way, metrics, capsys):
    settings = {"epochs": 4, "batch_size": 16, "shuffle": True, "seed": 0}
    model, twin = classifier("adam", metrics), classifier("adam")
    h, wanted = train(model, X, LABELS, **settings, **WAYS[way]), train(twin, X, LABELS, **settings)
    assert same(model, twin)
    assert h.history["loss"] == wanted.history["loss"]
    assert (h.epoch, h.lrs) == (wanted.epoch, wanted.lrs)
    np.testing.assert_array_equal(h.batch_losses, wanted.batch_losses)
    np.testing.assert_array_equal(h.batch_grad_norms, wanted.batch_grad_norms)
    np.testing.assert_array_equal(h.statistics_steps, wanted.statistics_steps)
    for name, table in wanted.statistics.items():
        np.testing.assert_array_equal(h.statistics[name], table)


def test_what_callbacks_are_told():
    model, told = classifier(metrics=["accuracy"]), EachBatch()
    h = train(model, X, LABELS, epochs=2, batch_size=16, callbacks=[told], validation_split=0.2)
    assert told.params == {
        "epochs": 2,
        "steps": 4,
        "verbose": 0,
        "metrics": ["loss", "accuracy", "val_loss", "val_accuracy"],
    }
    assert told.begun == [0, 1, 2, 3] * 2
    np.testing.assert_array_equal(told.losses, h.batch_losses)
    for epoch, logs in told.seen:
        wanted = {name: values[epoch] for name, values in h.history.items()}
        assert logs == {**wanted, "lr": h.lrs[epoch]}


def test_a_callback_may_change_weights_and_rate():
    """What it writes is what the next step starts from, in wide layers too."""
    model = net(layers=[gd.Dense(64, "tanh"), gd.Dense(64, "tanh"), gd.Dense(2)])
    twin = net(layers=[gd.Dense(64, "tanh"), gd.Dense(64, "tanh"), gd.Dense(2)])

    def change(who):
        who.set_weights([w * 0.5 for w in who.get_weights()])
        who.optimizer.lr = who.optimizer.lr * 0.9

    each = gd.LambdaCallback(on_train_batch_end=lambda batch, logs: change(model))
    train(model, X, Y, batch_size=16, callbacks=[each])
    for start in range(0, ROWS, 16):
        loop(twin, X[start : start + 16], Y[start : start + 16])
        change(twin)
    assert same(model, twin)


@pytest.mark.parametrize("last", [0, 2])
def test_a_callback_ends_a_fit_at_an_epoch(last):
    model, twin = net(), net()

    def end(epoch, logs):
        model.stop_training = epoch == last

    h = train(model, X, Y, epochs=9, callbacks=[gd.LambdaCallback(on_epoch_end=end)])
    train(twin, X, Y, epochs=last + 1)
    assert h.epoch == [*range(last + 1)]
    assert same(model, twin)


@pytest.mark.parametrize("layers", ["plain", "normed"])
def test_threads_change_no_bit(layers):
    rows = 3000
    x = np.random.default_rng(0).normal(size=(rows, WIDTH))
    y = np.random.default_rng(1).integers(0, CLASSES, rows)
    models = []
    for threads in (1, 2, 3):
        stack = [gd.Dense(32, "relu"), gd.Dropout(0.2), gd.Dense(CLASSES)]
        if layers == "normed":
            stack[1:1] = [gd.BatchNorm(), gd.LayerNorm()]
        model = net("adam", "sparse_categorical_crossentropy", ["accuracy"], layers=stack)
        before = gd.get_num_threads()
        gd.set_num_threads(threads)
        try:
            train(model, x, y, batch_size=1100, epochs=3, shuffle=True, seed=0,
                  validation_split=0.1)  # fmt: skip
            models.append((model, model.predict(x), model.value_and_grad(x, y)[1][0]))
        finally:
            gd.set_num_threads(before)
    assert same(*(model for model, *_ in models))
    for _, outputs, _ in models[1:]:
        np.testing.assert_array_equal(outputs, models[0][1])
    assert models[0][0].history.history == models[2][0].history.history
