"""Clones, copies and pictures of models, and what is handed over to the modules that train."""

import copy
import gc
import pickle
import sys
import types
import weakref

import numpy as np
import pytest
from model_cases import cube, deep, groups_of, small

import gdcore as gd
from gdcore import models
from gdcore.layers import Dense, Dropout, Input, Residual
from gdcore.models import Sequential

# ---- Copies --------------------------------------------------------------------------------------


def test_clone_has_layers_and_settings_but_weights_of_its_own():
    model = deep()
    model.compile(gd.SGD(0.5), "sparse_categorical_crossentropy", ["accuracy"])
    model.layers[0].lr_scale = 0.5
    model.compile(gd.SGD(0.5), "sparse_categorical_crossentropy", ["accuracy"])
    model._begin(0)
    model.optimizer.step(model.params, [np.zeros_like(p) for p in model.params])
    model.optimizer.lr = 0.1
    model.history = object()
    other = model.clone(seed=0)
    assert repr(other) == repr(model)
    assert other._stages() == model._stages()
    assert [layer.name for layer in other._parts()] == [layer.name for layer in model._parts()]
    assert (other.built, other.history, other.optimizer.t) == (False, None, 0)
    assert other.optimizer.lr == 0.5
    assert groups_of(other.optimizer) == [{"params": [0, 1], "lr": 0.25}]
    assert groups_of(model.optimizer) == [{"params": [0, 1], "lr": 0.05}]
    assert (other.loss, other.metrics) == (model.loss, model.metrics)
    assert other._fused_loss() == model._fused_loss()
    other._check_compiled()
    for mine, its in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)
        assert not np.shares_memory(mine, its)
    assert not np.shares_memory(model._flat, other._flat)
    other.layers[0].lr_scale = 1.0
    assert model.layers[0].lr_scale == 0.5
    assert (model.clone().layers[0].W != other.layers[0].W).any()


def test_clone_keeps_width_and_type_that_came_with_X():
    model = Sequential([Dense(2)])
    assert model.clone()._width is None
    model._build_for(np.zeros((5, 3), np.float32))
    other = model.clone()
    assert (other._width, other.dtype, other.built) == (3, np.float32, False)
    assert other.layers[0].W.dtype == np.float32


COPIES = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_whole(how):
    model = deep()
    model.compile(gd.SGD(0.5, momentum=0.9), "sparse_categorical_crossentropy", ["accuracy"])
    model._begin(0)
    grads = [np.ones_like(p) for p in model.params]
    model.optimizer.step(model.params, grads)
    model._buffers[0][...] = 3.0
    model.history = {"loss": [1.0]}
    model._cache["something"] = sys  # would not pickle
    other = COPIES[how](model)
    assert repr(other) == repr(model)
    assert other.history == model.history
    assert other._generator.random() == model._generator.random()
    flat = other._flat
    assert flat.ctypes.data % 64 == 0
    assert all(np.shares_memory(flat, array) for array in other.params)
    assert other.layers[0].W is other.params[0]
    assert not any(
        np.shares_memory(a, b)
        for a, b in zip(model.params + model._buffers, other.params + other._buffers, strict=True)
    )
    assert other.optimizer.t == 1
    for either in (model, other):
        either.optimizer.step(either.params, grads)
        either._check_compiled()
    for mine, its in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_a_copy_of_a_model_without_weights_draws_the_same():
    model = small().clone(seed=4)
    other = copy.deepcopy(model)
    np.testing.assert_array_equal(model._flat, other._flat)


def test_a_model_is_freed_with_its_last_name():
    model = deep()
    model.compile("adam", "sparse_categorical_crossentropy")
    model._begin(0)
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()


# ---- How a model is shown ------------------------------------------------------------------------


def test_summary(capsys):
    model = deep()
    assert model.summary() is None
    assert capsys.readouterr().out == (
        "layer                  kind                outputs  parameters\n"
        "dense                  Dense, relu               8          40\n"
        "dropout                Dropout, 0.25             8\n"
        "residual               Residual                  8\n"
        "  dense_1              Dense, cube               6          54\n"
        "  dense_2              Dense                     8          56\n"
        "  batch_normalization  BatchNormalization        8          16\n"
        "layer_normalization    LayerNormalization        8          16\n"
        "activation             Activation, tanh          8\n"
        "dense_3                Dense, softmax            3          24\n"
        "206 parameters, all trainable; 16 moving statistics\n"
    )


def test_summary_before_the_width_is_known(capsys):
    Sequential([Dropout(0.5), Dense(1000, trainable=False), Dense(2)]).summary()
    assert capsys.readouterr().out == (
        "layer    kind          outputs  parameters\n"
        "dropout  Dropout, 0.5        ?\n"
        "dense    Dense           1,000           ?\n"
        "dense_1  Dense               2           ?\n"
        "not built: the width of X is not known yet\n"
    )


def test_summary_counts_what_is_frozen(capsys):
    Sequential([Input(9), Dense(100, trainable=False), Dense(2)]).summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("1,000 frozen")
    assert lines[-1] == "1,202 parameters, 1,000 of them frozen"


def test_html_of_a_notebook_is_escaped():
    def odd(z):
        return z

    odd.__name__ = "<b>"
    text = Sequential([Input(2), Residual([Dense(2, odd, name="a&b")])])._repr_html_()
    assert "a&amp;b" in text
    assert "Dense, &lt;b&gt;" in text
    assert "<b>" not in text
    assert text.count("<tr>") == 3


def test_a_model_prints_its_layers():
    model = Sequential([Input(2), Dense(3, "relu"), Dropout(0.5)], dtype="float32")
    assert repr(model) == (
        "Sequential([Input(2), Dense(3, activation='relu'), Dropout(0.5)], dtype='float32')"
    )
    assert repr(eval(repr(model))) == repr(model)
    assert repr(Sequential()) == "Sequential([])"


# ---- Training is handed over ---------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """Stand-ins for the modules that train; what they are called with is kept."""
    kept = []

    def stand_in(name):
        def function(*args, **kwargs):
            kept.append((name, args, kwargs))
            return np.array([[0.0, 0.0]])

        return function

    for module, names in {
        "_fit": ("fit",),
        "_fit_batches": ("train_on_batch",),
        "_run": ("evaluate", "predict", "value_and_grad"),
        "_explain": ("explain",),
        "_saving": ("save",),
    }.items():
        functions = types.SimpleNamespace(**{name: stand_in(name) for name in names})
        monkeypatch.setitem(sys.modules, f"gdcore.{module}", functions)
    return kept


def test_fit_hands_everything_over(calls):
    model = small()
    model.fit(1, 2, 16, epochs=3, seed=4)
    name, args, given = calls.pop()
    assert (name, args) == ("fit", (model, 1, 2))
    assert (given.pop("batch_size"), given.pop("epochs"), given.pop("seed")) == (16, 3, 4)
    assert given == {
        "shuffle": True,
        "verbose": 1,
        "validation_split": 0.0,
        "validation_data": None,
        "sample_weight": None,
        "class_weight": None,
        "callbacks": None,
        "initial_epoch": 0,
        "on_nonfinite": "raise",
        "resume": False,
        "batch_order": None,
        "drop_last": False,
        "steps_per_epoch": None,
        "stratify": False,
    }


def test_the_others_hand_over_too(calls):
    model = small()
    model.train_on_batch(1, 2, 3)
    model.evaluate(1, 2, verbose=0, return_dict=True)
    model.predict(1, verbose=0)
    model.value_and_grad(1, 2, 3)
    model.explain(1, 2)
    model.save("m.npz")
    assert calls == [
        ("train_on_batch", (model, 1, 2, 3, None, False), {}),
        ("evaluate", (model, 1, 2), {"sample_weight": None, "return_dict": True}),
        ("predict", (model, 1), {}),
        ("value_and_grad", (model, 1, 2, 3), {}),
        ("explain", (model, 1, 2, None), {}),
        ("save", (model, "m.npz"), {}),
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lr", r"model\.compile\(gd\.Adam\(1e-3\), loss\)"),
        ("random_state", "here it is seed"),
        ("validation_freq", "leave it out"),
        ("max_iter", "here it is epochs"),
        ("foo", "accepted: X, y, batch_size, epochs"),
    ],
)
def test_arguments_that_fit_does_not_have(name, hint):
    with pytest.raises(TypeError, match=f"fit: unknown argument {name}=.*{hint}"):
        small().fit(1, 2, **{name: 1})


@pytest.mark.usefixtures("calls")
def test_predict_proba_needs_probabilities():
    model = small()
    for loss in (None, "mse", "hinge"):
        if loss:
            model.compile("sgd", loss)
        with pytest.raises(ValueError, match="the model has no probabilities; they come from a"):
            model.predict_proba(1)
    model.compile("sgd", "sparse_categorical_crossentropy")
    np.testing.assert_array_equal(model.predict_proba(1), [[0.5, 0.5]])
    ending = Sequential([Dense(2, "softmax")])
    np.testing.assert_array_equal(ending.predict_proba(1), [[0.0, 0.0]])  # as predict gives them
    ending.compile("sgd", "mse")
    np.testing.assert_array_equal(ending.predict_proba(1), [[0.0, 0.0]])
    own = Sequential([Dense(2, cube)])
    own.compile("sgd", "categorical_hinge")
    with pytest.raises(ValueError, match="the model has no probabilities"):
        own.predict_proba(1)
    own.compile("sgd", "categorical_crossentropy")  # then the function's values are some
    np.testing.assert_array_equal(own.predict_proba(1), [[0.0, 0.0]])
    events = Sequential([Dense(2)])
    events.compile("sgd", "binary_crossentropy")
    np.testing.assert_array_equal(events.predict_proba(1), [[0.5, 0.5]])


def test_an_unknown_name_of_the_module():
    with pytest.raises(AttributeError, match="did you mean 'Sequential'"):
        models.Sequentiall  # noqa: B018
