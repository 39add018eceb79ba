"""Models in files: all that they are, written whole or not at all, without a trace in the model."""

import errno
import json
import os
import pathlib
import stat
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from saving_cases import (
    OWN,
    bits,
    classifier,
    data,
    fitted,
    largest_error,
    portrait,
    squares,
    swish,
    with_own_functions,
)

import gdcore as gd
from gdcore import _saving
from gdcore._saving_file import FORMAT, TEXT
from gdcore.callbacks import EarlyStopping, ModelCheckpoint

s = gd.schedules


def saved(model, path, custom_objects=OWN):
    """The model of a file that this one was saved to."""
    model.save(path)
    return gd.load_model(path, custom_objects)


# ---- All that a model is -------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": lambda: gd.SGD(s.one_cycle(0.1, 40), momentum=0.9),
    "plateau": lambda: gd.SGD(s.plateau(0.1, patience=0)),
    "by_gradient": lambda: gd.Adagrad(s.by_gradient(0.1, 0.2)),
    "keras": lambda: gd.RMSprop(0.01, momentum=0.5, centered=True, dialect="keras"),
    "groups": lambda: gd.Adam(
        0.01, groups=[{"params": [1], "lr": 0.5}, {"params": [0], "l1": 0.1}]
    ),
    "free": lambda: gd.ScheduleFreeAdamW(0.01),
    "ema": lambda: gd.EMA(gd.AdamW(0.01, clip_norm=1.0), 0.9),
    "prodigy": lambda: gd.Prodigy(),
}


@pytest.mark.parametrize("kind", ["classifier", "callbacks", "own"])
def test_a_fitted_model_is_the_same(kind, tmp_path):
    model = fitted(kind)
    before = portrait(model)
    found = saved(model, tmp_path / "m.npz")
    assert portrait(found) == before
    assert portrait(model) == before
    X, _ = data(7, seed=3)
    assert found.predict(X).tobytes() == model.predict(X).tobytes()
    assert repr(found) == repr(model)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_kind_of_optimizer(name, dtype, tmp_path):
    model = classifier(OPTIMIZERS[name](), dtype=dtype)
    model.fit(*data(), epochs=2, verbose=0, seed=0)
    found = saved(model, tmp_path / "m.npz")
    assert found.optimizer == model.optimizer
    assert portrait(found) == portrait(model)
    X, y = data(9, seed=1)
    assert found.predict(X).tobytes() == model.predict(X).tobytes()
    for one in (found, model):
        one.fit(X, y, epochs=1, verbose=0)
    assert portrait(found) == portrait(model)


def lbfgs():
    model = gd.Sequential([gd.Dense(5, "tanh"), gd.Dense(3)])
    model.compile(gd.LBFGS(history_size=4), "sparse_categorical_crossentropy")
    model.fit(*data(), batch_size=None, epochs=3, verbose=0, seed=0)
    return model


def armijo():
    model = gd.Sequential([gd.Dense(5, "tanh"), gd.Dense(3)])
    direction = gd.SGD(0.5, momentum=0.5)
    model.compile(gd.Armijo(direction), "sparse_categorical_crossentropy")
    model.fit(*data(), batch_size=None, epochs=3, verbose=0, seed=0)
    return model


def by_hand():
    """Trained by train_on_batch, then by a loop of one's own; rate and weights set since."""
    model = classifier(gd.Adam(0.01))
    X, y = data()
    model.train_on_batch(X, y)
    _, grads = model.value_and_grad(X, y)
    model.optimizer.step(model.params, grads)
    model.optimizer.lr = 0.003
    model.layers[0].W[0, 0] = -0.0
    return model


def stopped():
    """The best weights in the model, those of the fit beside."""
    model = classifier(gd.SGD(0.5), metrics=["accuracy"])
    X, y = data()
    model.fit(X, y, epochs=8, verbose=0, seed=0, validation_split=0.3, callbacks=EarlyStopping())
    assert model._fit_state.weights is not None
    return model


@pytest.mark.parametrize("make", [lbfgs, armijo, by_hand, stopped])
def test_models_of_other_lives(make, tmp_path):
    model = make()
    assert portrait(saved(model, tmp_path / "m.npz")) == portrait(model)


def test_an_averages_model_whose_weights_were_set_predicts_with_these(tmp_path):
    model = classifier(gd.EMA(gd.Adam(0.1), 0.99))
    X, y = data()
    model.fit(X, y, epochs=2, verbose=0, seed=0)
    model.set_weights(model.get_weights())
    found = saved(model, tmp_path / "m.npz")
    assert found.predict(X).tobytes() == model.predict(X).tobytes()


@pytest.mark.parametrize(
    "model",
    [
        gd.Sequential(),
        gd.Sequential([gd.Dense(3)]),
        gd.Sequential([gd.Dense(3)], dtype="float32"),
        gd.Sequential([gd.Input(2)]),
        gd.Sequential([gd.Input(2), gd.Dense(3)]),
        classifier(),
    ],
    ids=repr,
)
def test_what_is_not_there_yet_is_not_made(model, tmp_path):
    found = saved(model, tmp_path / "m.npz")
    assert portrait(found) == portrait(model)
    assert not model._store.drawn
    assert not found.built
    assert found._width == model._width


def test_weights_that_were_never_needed_are_drawn_alike(tmp_path):
    model = gd.Sequential([gd.Dense(3), gd.Dropout(0.5)])
    model.build(2)
    found = saved(model, tmp_path / "m.npz")
    assert bits(found.params) == bits(model.params)
    again = saved(gd.Sequential([gd.Input(2), gd.Dense(3)]), tmp_path / "m.npz")
    fresh = gd.Sequential([gd.Input(2), gd.Dense(3)])
    for one in (again, fresh):
        one.compile("adam", "mse")
        one.fit([[1.0, 2.0]], [[1.0, 2.0, 3.0]], verbose=0, seed=5)
    assert bits(again.params) == bits(fresh.params)


def test_a_layer_that_was_changed_since_compile_is_still_that(tmp_path):
    model = classifier()
    model.layers[0].trainable = False
    found = saved(model, tmp_path / "m.npz")
    with pytest.raises(ValueError, match="trainable or lr_scale of a layer was changed"):
        found.fit(*data(), verbose=0)
    found.compile("sgd", "sparse_categorical_crossentropy")
    found.fit(*data(), verbose=0, seed=0)


def test_layers_that_were_added_since_compile_ask_for_another(tmp_path):
    model = classifier()
    model.add(gd.Dense(2))
    found = saved(model, tmp_path / "m.npz")
    assert found.optimizer is None
    with pytest.raises(ValueError, match="not compiled"):
        found.fit(*data(), verbose=0)


@pytest.mark.parametrize("name", ["PCG64", "PCG64DXSM", "SFC64", "Philox", "MT19937"])
def test_every_generator_of_numpy_goes_on(name, tmp_path):
    model = classifier()
    bit_generator = getattr(np.random, name)(7)
    generator = np.random.Generator(bit_generator)
    generator.integers(0, 9, 5, np.uint32)
    model.fit(*data(), verbose=0, seed=generator)
    found = saved(model, tmp_path / "m.npz")
    draws = [one._generator.integers(0, 2**64, 700, np.uint64) for one in (found, model)]
    assert (draws[0] == draws[1]).all()


def test_another_generator_is_refused_and_the_old_file_stays(tmp_path):
    class Own(np.random.PCG64):
        pass

    path = tmp_path / "m.npz"
    path.write_bytes(b"old")
    model = classifier()
    model.fit(*data(), verbose=0, seed=np.random.Generator(Own(1)))
    with pytest.raises(ValueError, match=r"generator .* cannot be saved; accepted are numpy"):
        model.save(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m.npz"]


def test_what_a_callback_keeps_is_named_where_it_cannot_be_saved(tmp_path):
    class Keeper(gd.callbacks.Callback):
        def state_dict(self):
            return {"numbers": [1, object()]}

        def load_state_dict(self, state):
            pass

    model = classifier()
    model.fit(*data(), verbose=0, seed=0, callbacks=[Keeper()])
    with pytest.raises(ValueError, match=r"numbers\[1\] of state of callbacks\[0\] of fit"):
        model.save(tmp_path / "m.npz")


# ---- Functions of the user's ---------------------------------------------------------------------


def test_functions_come_by_custom_objects(tmp_path):
    model = fitted("own")
    found = saved(model, tmp_path / "m.npz")
    assert found.layers[0].activation is swish
    assert found.loss is squares
    assert found.metrics[0].function is largest_error
    with pytest.raises(ValueError, match="needs functions of yours") as caught:
        gd.load_model(tmp_path / "m.npz", {"swish": swish})
    text = str(caught.value)
    for part in (
        str(tmp_path / "m.npz"),
        "loss 'squares'",
        "function 'largest_error' of metric 'largest_error'",
        "lr 'falling' of optimizer",
        "kernel_initializer 'sevenths' of layer dense",
    ):
        assert part in text
    assert "activation" not in text


@pytest.mark.parametrize("objects", [["swish"], "swish", {"swish": "swish"}, {"swish": None}])
def test_custom_objects_are_a_dict_of_functions(objects, tmp_path):
    with_own_functions().save(tmp_path / "m.npz")
    with pytest.raises(TypeError, match="custom_objects"):
        gd.load_model(tmp_path / "m.npz", objects)


def test_two_functions_of_one_name_leave_the_old_file(tmp_path):
    model = gd.Sequential([gd.Dense(2, lambda z: z), gd.Dense(2, lambda z: 2 * z)])
    (tmp_path / "m.npz").write_bytes(b"old")
    with pytest.raises(ValueError, match="two functions of one name"):
        model.save(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").read_bytes() == b"old"


# ---- The file ------------------------------------------------------------------------------------


def test_numpy_reads_it_without_pickle(tmp_path):
    model = fitted("callbacks")
    model.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        W = file["weights/dense.W"]
        content = json.loads(bytes(file[TEXT]))
        assert all(file[name].dtype.kind in "biuf" for name in file.files)
    assert W.tobytes() == model.layers[0].W.tobytes()
    assert (content["format"], content["version"]) == (FORMAT, 1)
    assert content["gdcore"] == gd.__version__


def test_the_same_model_makes_the_same_file(tmp_path):
    model = fitted("callbacks")
    for name in ("a.npz", "b.npz"):
        model.save(str(tmp_path / name))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("path", ["m", "m.h5", "m.NPZ", "", "npz", pathlib.Path("m.keras")])
def test_other_endings_are_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"a name that ends with \.npz is accepted") as caught:
        classifier().save(path)
    assert repr(str(path)) in str(caught.value)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("path", [None, 3, b"m.npz", open])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(TypeError, match="path is"):
        classifier().save(path)
    with pytest.raises(TypeError, match="path is"):
        gd.load_model(path)


def test_a_missing_folder_or_file_is_an_error_of_the_system(tmp_path):
    path = tmp_path / "none" / "m.npz"
    with pytest.raises(FileNotFoundError) as caught:
        classifier().save(path)
    assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError):
        gd.load_model(path)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_an_error_leaves_the_old_file_and_nothing_else(error, where, tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    model = fitted()
    model.save(path)
    before = path.read_bytes()
    model.layers[0].W[...] = 0.0

    def fails(*args):
        raise error

    monkeypatch.setattr(os, where, fails)
    with pytest.raises(type(error)):
        model.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.npz"]
    model.save(path)
    assert path.read_bytes() != before
    assert os.listdir(tmp_path) == ["m.npz"]


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
    classifier().save(tmp_path / "m.npz")
    assert done == ["fsync", "replace"]


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_permissions_are_those_of_the_umask_and_links_stay(tmp_path):
    path, link = tmp_path / "m.npz", tmp_path / "link.npz"
    code = "import os, gdcore as gd; os.umask(0o027); gd.Sequential().save({!r})"
    subprocess.run([sys.executable, "-c", code.format(str(path))], check=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    link.symlink_to(path)
    fitted().save(link)
    assert link.is_symlink()
    assert gd.load_model(path).built


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    path = tmp_path / "m.npz"
    model = classifier()
    model.save(path)
    path.chmod(0o640)
    model.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_checkpoint_has_the_epoch(tmp_path):
    model = classifier(metrics=["accuracy"])
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npz")
    model.fit(*data(), epochs=3, verbose=0, seed=0, callbacks=[checkpoint])
    for epoch in (1, 2, 3):
        found = gd.load_model(tmp_path / f"{epoch}.npz")
        assert found.history.epoch == [*range(epoch)]
        assert found._fit_state.place[:2] == (epoch, 0)


def test_the_package_imports_it_at_first_use():
    code = "import sys, gdcore; assert not any('saving' in name for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- Many models in one file ---------------------------------------------------------------------


def many():
    models = {}
    for number, key in enumerate(["a", 1, ("north", 2020), np.int64(3), None, 2.5]):
        model = classifier(metrics=["accuracy"])
        rows = 30 + 8 * (number % 2)
        model.fit(*data(rows), batch_size=8, epochs=2, verbose=0, seed=number)
        models[key] = model
    return models


def test_many_models_share_what_they_have_in_common(tmp_path):
    models = many()
    extra = {"seeds": {1: 2**63}, "errors": {"b": "ValueError: no rows"}, "table": np.arange(3.0)}
    _saving.write_models(tmp_path / "all.npz", models, extra)
    found, kept = _saving.read_models(tmp_path / "all.npz")
    assert list(found) == list(models)
    assert [type(key) for key in found] == [type(key) for key in models]
    for key, model in models.items():
        assert portrait(found[key]) == portrait(model)
    assert bits(kept) == bits(extra)
    with np.load(tmp_path / "all.npz") as file:
        assert file["weights/dense.W"].shape == (6, 4, 6)
        assert file["history/losses"].shape == (2 * (3 * 4 + 3 * 5),)
        assert len(json.loads(bytes(file[TEXT]))["descriptions"]) == 1


def test_models_of_several_kinds_in_one_file(tmp_path):
    models = {
        "float32": classifier(dtype="float32"),
        "own": fitted("own"),
        "fitted": fitted(),
        "empty": gd.Sequential(),
    }
    models["float32"].fit(*data(), verbose=0, seed=0)
    _saving.write_models(tmp_path / "all.npz", models)
    found, extra = _saving.read_models(tmp_path / "all.npz", OWN)
    assert extra is None
    assert {key: portrait(model) for key, model in found.items()} == {
        key: portrait(model) for key, model in models.items()
    }
    with pytest.raises(ValueError, match="needs functions of yours"):
        _saving.read_models(tmp_path / "all.npz")


def test_no_models_at_all(tmp_path):
    _saving.write_models(tmp_path / "all.npz", {}, extra="nothing")
    assert _saving.read_models(tmp_path / "all.npz") == ({}, "nothing")


@pytest.mark.parametrize("key", [b"a", frozenset(), ("a", object()), 1j])
def test_other_keys_are_refused(key, tmp_path):
    with pytest.raises(TypeError, match=r"the key .* cannot be saved"):
        _saving.write_models(tmp_path / "all.npz", {key: gd.Sequential()})


def test_one_and_many_are_told_apart(tmp_path):
    gd.Sequential().save(tmp_path / "m.npz")
    _saving.write_models(tmp_path / "all.npz", {"a": gd.Sequential(), "b": gd.Sequential()})
    with pytest.raises(ValueError, match=r"holds one model; gd\.load_model reads it"):
        _saving.read_models(tmp_path / "m.npz")
    with pytest.raises(ValueError, match=r"holds 2 models; gd\.load_many reads it"):
        gd.load_model(tmp_path / "all.npz")


def test_entries_are_stored_as_they_are(tmp_path):
    fitted().save(tmp_path / "m.npz")
    with zipfile.ZipFile(tmp_path / "m.npz") as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
