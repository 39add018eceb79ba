"""fit_many: the bits of fits one by one, errors by key, Ctrl-C, what it shows and keeps."""

import copy
import importlib.util
import itertools
import math
import pickle
import signal
import threading
import time
import tracemalloc

import numpy as np
import pytest
from left_behind import everything_of, spirals

import gdcore as gd
from gdcore import _core, _many
from gdcore.layers import BatchNorm, Dense, Dropout, LayerNorm, Residual

S = gd.schedules
SPARSE = "sparse_categorical_crossentropy"


def network(*layers, optimizer=None, loss=SPARSE, metrics=None):
    model = gd.Sequential([*(layers or (Dense(6, "tanh"),)), Dense(2)])
    model.compile(optimizer or gd.Adam(0.01), loss, metrics)
    return model


def sets(count=4, dtype=np.float64):
    """Data sets that differ in their rows."""
    return {f"set {i}": spirals(rows=20 + 7 * i, seed=i, dtype=dtype) for i in range(count)}


def bits_of(model):
    """All that a fit leaves in a model, as what can be compared."""
    h = model.history
    state = model.optimizer.state_dict()
    fit = model._fit_state
    return {
        "weights": [array.tobytes() for array in model.get_weights()],
        "dtype": model.dtype,
        "optimizer": str(state),
        "generator": str(model._generator.bit_generator.state),
        "history": str((h.history, h.epoch, h.lrs, h.skipped, h.param_names, h.unit_names)),
        "batches": (h.batch_losses.tobytes(), h.batch_grad_norms.tobytes()),
        "statistics": {name: rows.tobytes() for name, rows in h.statistics.items()},
        "steps": h.statistics_steps.tobytes(),
        "fit": str((fit.key, fit.place, fit.rows, fit.batch, fit.batches, fit.callbacks)),
        "outside": (model._outside_at, model._own_steps, model.stop_training),
    }


def one_by_one(model, data, many, **arguments):
    """The fits that fit_many stands for."""
    for key, (X, y) in data.items():
        s = many.seeds[key]
        m = model.clone(seed=s)
        m.fit(X, y, seed=s, **{"verbose": 0, **arguments})
        yield key, m


# ---- Bits ----------------------------------------------------------------------------------------


def swish(z):
    return z / (1 + np.exp(-z))


def distance(y_true, y_pred):
    return np.abs(y_pred - y_true).sum(axis=1)


CASES = {
    "plain": (network, {}),
    "metrics": (lambda: network(metrics=["accuracy"]), {}),
    "dropout and norms": (
        lambda: network(Dense(6), BatchNorm(), Dropout(0.3), Residual([Dense(6)]), LayerNorm()),
        {},
    ),
    "full batch": (network, {"batch_size": None}),
    "single rows": (network, {"batch_size": 1, "epochs": 2}),
    "validation split": (network, {"validation_split": 0.25}),
    "stratified": (network, {"validation_split": 0.25, "stratify": True}),
    "validation data": (network, {"validation_data": spirals(seed=9)}),
    "class weights": (network, {"class_weight": "balanced"}),
    "early stopping": (
        lambda: network(optimizer=gd.SGD(2.0)),
        {
            "validation_split": 0.3,
            "epochs": 30,
            "callbacks": [gd.EarlyStopping(patience=1, restore_best_weights=True)],
        },
    ),
    "no shuffle": (network, {"shuffle": False}),
    "order": (network, {"batch_order": lambda epoch: np.arange(20), "drop_last": True}),
    "few steps": (network, {"steps_per_epoch": 2, "drop_last": True}),
    "numbered": (network, {"initial_epoch": 2, "epochs": 5}),
    "nothing": (network, {"epochs": 0}),
    "schedule": (lambda: network(optimizer=gd.SGD(S.one_cycle(0.5, 20))), {}),
    "schedule of epochs": (lambda: network(optimizer=gd.SGD(S.per_epoch(S.step(1.0, 2)))), {}),
    "plateau": (lambda: network(optimizer=gd.SGD(S.plateau(0.5, patience=0))), {}),
    "by gradient": (lambda: network(optimizer=gd.SGD(S.by_gradient(1.0, 0.5))), {}),
    "ema": (lambda: network(optimizer=gd.EMA(gd.Adam(0.1))), {}),
    "groups": (lambda: network(Dense(5, lr_scale=0.5), Dense(4, trainable=False)), {}),
    "line search": (lambda: network(optimizer=gd.LBFGS()), {"batch_size": None, "epochs": 2}),
    "own functions": (lambda: network(Dense(5, swish), loss=distance), {}),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_each_model_has_the_bits_of_a_fit_by_itself(case, dtype):
    make, more = CASES[case]
    model, data = make(), sets(dtype=dtype)
    if case == "order":
        data = {key: spirals(rows=20, seed=i, dtype=dtype) for i, key in enumerate(data)}
    if case == "own functions":
        data = {key: (X, np.c_[y, 1 - y]) for key, (X, y) in data.items()}
    arguments = {"epochs": 4, "batch_size": 8, **more}
    many = gd.fit_many(model, data, seed=3, **arguments)
    assert not many.errors
    for key, m in one_by_one(model, data, many, **arguments):
        assert bits_of(many[key]) == bits_of(m), key
        np.testing.assert_array_equal(many[key].predict(data[key][0]), m.predict(data[key][0]))


@pytest.mark.parametrize("case", ["plain", "validation split", "dropout and norms"])
def test_each_model_goes_on_as_a_fit_by_itself(case):
    make, more = CASES[case]
    model, data = make(), sets(2)
    many = gd.fit_many(model, data, seed=3, epochs=2, **more)
    for key, m in one_by_one(model, data, many, epochs=2, **more):
        for each in (m, many[key]):
            each.fit(*data[key], epochs=5, resume=True, verbose=0, **more)
        assert bits_of(many[key]) == bits_of(m)


def test_any_number_of_threads_and_any_cut_give_the_same_bits(monkeypatch):
    model, data = network(Dense(6), Dropout(0.2)), sets(7)
    threads = gd.get_num_threads()
    whole = gd.fit_many(model, data, seed=1, epochs=6, batch_size=8)
    try:
        for count, group, room in [(1, 64, 1 << 20), (2, 3, 1 << 20), (2, 64, 50), (3, 2, 1)]:
            gd.set_num_threads(count)
            monkeypatch.setattr(_many, "GROUP", group)
            monkeypatch.setattr(_many, "ROOM", room)
            again = gd.fit_many(model, data, seed=1, epochs=6, batch_size=8)
            for key in data:
                assert bits_of(again[key]) == bits_of(whole[key])
    finally:
        gd.set_num_threads(threads)


def test_more_sets_than_a_group():
    model = network(Dense(2))
    data = {i: spirals(rows=5, seed=i) for i in range(2 * _many.GROUP + 3)}
    many = gd.fit_many(model, data, seed=0, epochs=2)
    assert list(many) == list(data)
    for key, m in one_by_one(model, data, many, epochs=2):
        assert bits_of(many[key]) == bits_of(m)


def test_widths_and_types_may_differ():
    rng = np.random.default_rng(0)
    model = network(loss="mse")
    data = {
        (width, np.dtype(dtype).name): (
            rng.normal(size=(12, width)).astype(dtype),
            rng.normal(size=(12, 2)),
        )
        for width in (1, 3)
        for dtype in (np.float32, np.float64, np.int32)
    }
    data |= {"list": ([[1.0, 2.0, 3.0]] * 4, np.ones((4, 2)))}
    many = gd.fit_many(model, data, seed=0, epochs=3)
    assert not many.errors
    for key, m in one_by_one(model, data, many, epochs=3):
        assert bits_of(many[key]) == bits_of(m)
        assert many[key].layers[0].inputs == np.shape(data[key][0])[1]
    networks = {key: m._cache["network False"] for key, m in many.items()}
    assert networks[1, "float64"] is networks[1, "int32"]
    assert networks[3, "float64"] is networks["list"]
    assert networks[1, "float32"] is not networks[1, "float64"]
    assert networks[1, "float64"] is not networks[3, "float64"]


def test_a_model_that_begins_with_input_and_has_a_type():
    model = gd.Sequential([gd.Input(3), Dense(1, "sigmoid")], dtype="float32")
    model.compile("adam", "binary_crossentropy")
    data = sets(3)
    many = gd.fit_many(model, data, seed=0, epochs=3)
    for key, m in one_by_one(model, data, many, epochs=3):
        assert many[key].dtype == np.float32
        assert bits_of(many[key]) == bits_of(m)


# ---- Seeds ---------------------------------------------------------------------------------------


def test_seeds_follow_from_the_seed_and_the_place():
    model, data = network(), sets(4)
    first, again = (gd.fit_many(model, data, seed=5) for _ in range(2))
    assert first.seeds == again.seeds
    fewer = gd.fit_many(model, dict(list(data.items())[:2]), seed=5)
    assert fewer.seeds == dict(list(first.seeds.items())[:2])
    other = gd.fit_many(model, data, seed=6)
    assert not set(first.seeds.values()) & set(other.seeds.values())
    assert all(type(s) is int for s in first.seeds.values())
    drawn = gd.fit_many(model, data, seed=np.random.default_rng(5))
    assert drawn.seeds == first.seeds
    assert gd.fit_many(model, data).seeds != gd.fit_many(model, data).seeds


@pytest.mark.parametrize("fitted", [False, True])
def test_the_model_itself_stays(fitted):
    model, data = network(Dense(5), BatchNorm(), Dropout(0.1)), sets(3)
    if fitted:
        model.fit(*data["set 0"], seed=0, verbose=0)
    before = everything_of(model)
    many = gd.fit_many(model, data, seed=0, epochs=2)
    assert everything_of(model) == before
    arrays = [many[key]._flat for key in data]
    assert not any(np.shares_memory(a, b) for a, b in itertools.pairwise(arrays))
    for key, m in one_by_one(model, data, many, epochs=2):
        assert bits_of(many[key]) == bits_of(m)


# ---- Errors --------------------------------------------------------------------------------------


def exploding(rows=30):
    X, y = spirals(rows)
    return X * 1e200, y


BAD = {
    "short": (spirals()[0], spirals()[1][1:], ValueError, "y has 59 rows but X has 60"),
    "nan": (np.full((5, 3), np.nan), np.zeros(5, int), ValueError, "X holds nan"),
    "class": (np.ones((5, 3)), np.full(5, 7), ValueError, "y holds the class 7"),
    "flat": (np.ones(5), np.zeros(5, int), ValueError, "X has shape"),
    "empty": (np.ones((0, 3)), np.zeros(0, int), ValueError, "X is empty"),
    "text": (np.array([["a"]]), [0], TypeError, "X has dtype"),
    "nothing": (np.ones((5, 3)), None, TypeError, "y is None"),
    "large": (*exploding(), gd.NonFiniteError, "the loss is"),
}


@pytest.mark.parametrize("metrics", [None, ["accuracy"]], ids=["together", "apart"])
def test_errors_are_recorded_and_the_others_go_on(metrics):
    model = network(Dense(4), optimizer=gd.SGD(0.1), metrics=metrics)
    good = sets(3)
    bad = {name: entry[:2] for name, entry in BAD.items()}
    strange = {"pair": 3, "triple": (np.ones((2, 3)), [0, 1], [1, 1])}
    data = {
        "set 0": good["set 0"],
        **bad,
        **strange,
        "set 1": good["set 1"],
        "set 2": good["set 2"],
    }
    many = gd.fit_many(model, data, seed=0, epochs=3)
    assert list(many) == list(good)
    assert many.errors.keys() == {*bad, *strange}
    for name, (_, _, kind, words) in BAD.items():
        assert type(many.errors[name]) is kind
        assert words in str(many.errors[name])
        assert many.errors[name].__traceback__ is None
        with pytest.raises(KeyError, match=f"the fit of '{name}' ended with {kind.__name__}"):
            many[name]
    assert "a int; a pair (X, y) is accepted" in str(many.errors["pair"]).replace("an int", "a int")
    assert "a tuple of 3" in str(many.errors["triple"])
    for key, m in one_by_one(model, good, many, epochs=3):
        assert bits_of(many[key]) == bits_of(m)


def test_the_history_of_a_fit_that_exploded_is_there():
    model = network(Dense(4), optimizer=gd.SGD(0.1))
    many = gd.fit_many(model, {"a": exploding(), "b": spirals()}, seed=0, epochs=3, batch_size=8)
    error = many.errors["a"]
    assert error.epoch == 0
    assert len(error.history.batch_losses) == error.batch
    assert list(many.table["epochs"]) == [0, 3]


def test_a_fit_that_is_to_stop_at_what_is_not_finite_is_no_error():
    model = network(Dense(4), optimizer=gd.SGD(0.1))
    data = {"a": exploding(), "b": spirals()}
    many = gd.fit_many(model, data, seed=0, epochs=3, on_nonfinite="stop")
    assert not many.errors
    for key, m in one_by_one(model, data, many, epochs=3, on_nonfinite="stop"):
        assert bits_of(many[key]) == bits_of(m)


def test_where_the_call_for_all_fails_each_runs_by_itself(monkeypatch):
    model, data = network(), {**sets(3), "large": exploding()}
    plain = gd.fit_many(model, data, seed=0, epochs=3)

    class Failing:
        calls = 0

        def __getattr__(self, name):
            return getattr(_core, name)

        def run_trainers(self, calls):
            Failing.calls += 1
            _core.run_trainers(calls[:2])
            raise MemoryError("short")

    monkeypatch.setattr(_many, "_core", Failing())
    many = gd.fit_many(model, data, seed=0, epochs=3)
    assert Failing.calls == 1
    assert (list(many), list(many.errors)) == (list(plain), list(plain.errors))
    for key in many:
        assert bits_of(many[key]) == bits_of(plain[key])


# ---- Callbacks and output ------------------------------------------------------------------------


def test_callbacks_serve_one_fit_after_another():
    seen = []
    note = gd.LambdaCallback(
        on_train_begin=lambda logs: seen.append("begin"),
        on_epoch_end=lambda epoch, logs: seen.append(epoch),
        on_train_end=lambda logs: seen.append("end"),
    )
    gd.fit_many(network(), sets(2), seed=0, epochs=2, callbacks=[note])
    assert seen == 2 * ["begin", 0, 1, "end"]


def test_nothing_is_printed_by_default(capsys):
    gd.fit_many(network(), sets(2), seed=0, epochs=2)
    assert capsys.readouterr() == ("", "")
    gd.fit_many(network(), sets(2), seed=0, epochs=2, verbose=2)
    assert capsys.readouterr().out.count("loss") == 4


def test_a_schedule_that_fails_for_one_set():
    """As one by one: that set has an error, the others a model."""
    table = [0.1] * 8
    model = network(optimizer=gd.SGD(lambda t: table[t]))
    data = {**sets(2), "long": spirals(rows=2000)}
    many = gd.fit_many(model, data, seed=0, epochs=2)
    assert list(many) == list(sets(2))
    assert isinstance(many.errors["long"], IndexError)
    for key, m in one_by_one(model, sets(2), many, epochs=2):
        assert bits_of(many[key]) == bits_of(m)


# ---- Ctrl-C --------------------------------------------------------------------------------------


@pytest.mark.parametrize("metrics", [None, ["accuracy"]], ids=["together", "apart"])
def test_ctrl_c_keeps_what_is_finished(metrics):
    """The large set would take the fastest of machines seconds: it is far from its end at 0.3 s."""
    model = network(Dense(16), optimizer=gd.SGD(0.1), metrics=metrics)
    small = sets(3)
    data = {**small, "large": spirals(rows=1_000_000), "late": spirals()}
    main = threading.get_ident()

    def interrupt():
        time.sleep(0.3)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as caught:
        gd.fit_many(model, data, seed=0, epochs=100)
    assert time.monotonic() - begun < 5
    thread.join()
    many = caught.value.result
    assert set(small) <= set(many)
    assert "large" not in many
    assert "large" not in many.errors
    assert "large" not in many.table["key"]
    for key, m in one_by_one(model, small, many, epochs=100):
        assert bits_of(many[key]) == bits_of(m)


# ---- The result ----------------------------------------------------------------------------------


def test_it_is_a_mapping():
    data = sets(3)
    many = gd.fit_many(network(), data, seed=0, epochs=1)
    assert len(many) == 3
    assert list(many.keys()) == list(many) == list(data)
    assert [m is many[key] for key, m in many.items()] == 3 * [True]
    assert "set 1" in many
    assert "set 9" not in many
    assert many.get("set 9") is None
    with pytest.raises(KeyError, match="'set 11' is no key of the 3 models; did you mean 'set 1'"):
        many["set 11"]
    with pytest.raises(KeyError, match="7 is no key"):
        many[7]


def test_the_table():
    data = {**sets(2), "bad": (np.ones((2, 3)), [0])}
    many = gd.fit_many(network(metrics=["accuracy"]), data, seed=0, epochs=2, validation_split=0.25)
    table = many.table
    names = ["key", "rows", "epochs", "loss", "accuracy", "val_loss", "val_accuracy", "error"]
    assert list(table) == names
    assert table["key"] == list(data)
    assert table["rows"].tolist() == [15, 20, 0]  # trained on, without those for validation
    assert table["epochs"].tolist() == [2, 2, 0]
    losses = [many[key].history.history["loss"][-1] for key in sets(2)]
    np.testing.assert_array_equal(table["loss"], [*losses, np.nan])
    assert table["error"] == [
        None,
        None,
        "ValueError: y has 1 rows but X has 2; data of the same length are accepted",
    ]
    text = repr(table).split("\n")
    assert text[0].split() == names
    assert len(text) == 4
    assert "ValueError" in table._repr_html_()
    assert "Many: 2 models, 1 error" in repr(many)
    assert "<table>" in many._repr_html_()
    with pytest.raises(KeyError, match=r"'los' is no column.*did you mean 'loss'"):
        table["los"]


def test_a_key_that_is_none_is_shown():
    many = gd.fit_many(network(), {None: spirals(5), "": spirals(5), math.nan: spirals(5)}, seed=0)
    assert [row.split()[0] for row in repr(many.table).split("\n")] == ["key", "None", "5", "nan"]
    assert "<td>None</td>" in many._repr_html_()


def test_a_long_table_is_cut():
    many = gd.fit_many(network(), {i: spirals(5) for i in range(30)}, seed=0)
    assert repr(many.table).split("\n")[-1] == "and 10 rows more"
    assert "error" not in repr(many.table)


def test_the_table_as_a_frame():
    pandas = pytest.importorskip("pandas")
    many = gd.fit_many(network(), {("a", 1): spirals(), ("b", 2): spirals()}, seed=0)
    frame = many.table.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.index) == [("a", 1), ("b", 2)]
    assert list(frame.columns) == ["rows", "epochs", "loss", "error"]


def test_it_pickles_and_copies():
    many = gd.fit_many(network(), {**sets(2), "large": exploding()}, seed=0, epochs=2)
    for again in (pickle.loads(pickle.dumps(many)), copy.deepcopy(many)):
        assert repr(again) == repr(many)
        assert again.seeds == many.seeds
        for key in many:
            assert bits_of(again[key]) == bits_of(many[key])


def test_a_small_model_takes_little_memory():
    """Beside its history, of which the losses and norms of each batch are a part."""
    model = gd.Sequential([Dense(8, "relu"), Dense(1)])
    model.compile("adam", "mse")
    X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    data = dict.fromkeys(range(64), (X, X[:, 0]))
    gd.fit_many(model, data, seed=0, epochs=5)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        many = gd.fit_many(model, data, seed=0, epochs=50)
        whole = (tracemalloc.get_traced_memory()[0] - before) / 64
        for m in many.values():
            m.history = None
        bare = (tracemalloc.get_traced_memory()[0] - before) / 64
    finally:
        tracemalloc.stop()
    assert bare < 10_000
    assert whole < 25_000


# ---- Files ---------------------------------------------------------------------------------------

saved = pytest.mark.skipif(
    importlib.util.find_spec("gdcore._saving") is None, reason="there are no files of models yet"
)


@saved
def test_errors_that_are_not_made_of_a_message_are_loaded(tmp_path):
    """As UnicodeDecodeError, which takes five arguments."""
    many = gd.fit_many(network(), {"a": spirals(), "b": spirals()}, seed=0)
    many._models.pop("b")
    many.errors["b"] = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    many.save(tmp_path / "all.npz")
    again = gd.load_many(tmp_path / "all.npz")
    assert list(again) == ["a"]
    assert isinstance(again.errors["b"], RuntimeError)
    assert "UnicodeDecodeError: 'utf-8' codec" in str(again.errors["b"])


@saved
@pytest.mark.parametrize(
    ("key", "wanted"),
    [(np.str_("q"), "q"), ((np.str_("a"), (1, None)), ("a", (1, None))), (np.float64(2), 2.0)],
)
def test_keys_of_numpys_are_saved(tmp_path, key, wanted):
    data = {key: spirals(5), (key, "bad"): 3}
    gd.fit_many(network(), data, seed=0).save(tmp_path / "k.npz")
    again = gd.load_many(tmp_path / "k.npz")
    assert list(again) == [wanted]
    assert list(again.seeds) == [wanted, (wanted, "bad")]
    assert type(next(iter(again))) is not np.str_


@saved
def test_saved_and_loaded(tmp_path):
    model, data = network(Dense(4), BatchNorm()), {**sets(3), "large": exploding(), "bad": 3}
    many = gd.fit_many(model, data, seed=0, epochs=2)
    many.save(tmp_path / "all.npz")
    again = gd.load_many(tmp_path / "all.npz")
    assert list(again) == list(many)
    assert again.seeds == many.seeds
    assert {key: (type(e), str(e)) for key, e in again.errors.items()} == {
        key: (type(e), str(e)) for key, e in many.errors.items()
    }
    for key in many:
        assert bits_of(again[key]) == bits_of(many[key])
        for each in (again[key], many[key]):
            each.fit(*data[key], epochs=4, resume=True, verbose=0)
        assert bits_of(again[key]) == bits_of(many[key])


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"epoch": 3}, TypeError, "fit_many: unknown argument epoch=; accepted: model, data, seed"),
        ({"resume": True}, TypeError, r"many\[key\].fit\(X, y, resume=True\)"),
        ({"epochs": -1}, ValueError, "epochs is -1"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"on_nonfinite": "skip"}, ValueError, "on_nonfinite is 'skip'"),
        ({"seed": "a"}, TypeError, "seed"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_arguments_are_refused_before_any_fit(arguments, error, words):
    with pytest.raises(error, match=words):
        gd.fit_many(network(), sets(1), **arguments)


def test_data_and_models_that_are_none():
    model = network()
    for data, error, words in [
        ([spirals()], TypeError, r"data is list; a dict \{key: \(X, y\), ...\}"),
        ({}, ValueError, "data is empty"),
    ]:
        with pytest.raises(error, match=words):
            gd.fit_many(model, data)
    with pytest.raises(ValueError, match="not compiled"):
        gd.fit_many(gd.Sequential([Dense(1)]), sets(1))
    with pytest.raises(TypeError, match=r"model is <class .*; a gd.Sequential is accepted"):
        gd.fit_many(gd.Sequential, sets(1))
    assert not model.built
