"""Words of Keras's that mean something else here: the errors name ours, and nothing is hidden."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from model_cases import deep, small

import gdcore as gd
from gdcore import _elsewhere
from gdcore.layers import LayerNorm

X, Y = np.ones((4, 3)), np.zeros((4, 2))


def compiled():
    model = small()
    model.compile("sgd", "mse")
    return model


WORDS = [
    (lambda m: m.fit(x=X, y=Y), "fit: unknown argument x=; accepted: X, y, .*; here it is X$"),
    (lambda m: m.fit(X, Y, epoch=3), r"fit: unknown argument epoch=.*did you mean epochs=\?$"),
    (lambda m: m.fit(X, Y, nepochs=3), r"fit: unknown argument nepochs=.*did you mean epochs=\?$"),
    (lambda m: m.fit(X, Y, workers=3), r"fit: unknown argument workers=.*gd\.set_num_threads\(n\)"),
    (lambda m: m.fit(), "fit: X is missing; accepted: X, y, batch_size, .*, stratify$"),
    (lambda m: m.predict(x=X), "predict: unknown argument x=; accepted: X, .*; here it is X$"),
    (lambda m: m.predict(X, steps=1), "predict: unknown argument steps=.*all rows are taken"),
    (lambda m: m.predict_proba(x=X), "predict_proba: unknown argument x=.*here it is X$"),
    (lambda m: m.evaluate(x=X, y=Y), "evaluate: unknown argument x=; accepted: X, y, .* is X$"),
    (lambda m: m.evaluate(X, Y, steps=3), "evaluate: unknown argument steps=.*leave it out$"),
    (lambda m: m.evaluate(X), "evaluate: y is missing; accepted: X, y, batch_size"),
    (lambda m: m.train_on_batch(x=X, y=Y), "train_on_batch: unknown argument x=.*here it is X$"),
    (lambda m: m.train_on_batch(X, Y, reset_metrics=True), "reset_metrics=.*of this batch alone"),
    (lambda m: m.value_and_grad(x=X, y=Y), "value_and_grad: unknown argument x=.*here it is X$"),
    (lambda m: m.explain(x=X, y=Y), "explain: unknown argument x=.*here it is X$"),
    (lambda m: m.clone(weights=1), r"clone: unknown argument weights=.*copy\.deepcopy\(model\)"),
    (lambda m: m.compile("adam"), r"compile: loss is missing; .*compile\('adam', loss='mse'\)$"),
    (lambda m: m.compile(loss="mse"), "compile: optimizer is missing; accepted: optimizer, loss"),
    (lambda m: m.compile("sgd", "mse", metric=[]), r"metric=.*did you mean metrics=\?$"),
    (lambda m: m.build((None, 3)), r"build: input_width is \(None, 3\); .*: model\.build\(3\)$"),
    (lambda m: m.build(input_shape=(None, 3)), "input_shape=.*here it is input_width"),
    (lambda m: m.save(filepath="m.npz"), "save: unknown argument filepath=.*here it is path$"),
    (lambda m: gd.Input(shape=(3,)), r"Input: unknown argument shape=.*width: gd\.Input\(20\)$"),
    (lambda m: gd.Dense(output_dim=3), "Dense: unknown argument output_dim=; accepted: units, "),
    (lambda m: gd.Dense(3, activaton="relu"), r"activaton=.*did you mean activation=\?$"),
    (lambda m: gd.Dropout(p=0.5), "Dropout: unknown argument p=; accepted: rate, name; .*rate$"),
]


@pytest.mark.parametrize(("call", "message"), WORDS)
def test_arguments_of_other_names(call, message):
    with pytest.raises(TypeError, match=message):
        call(compiled())


def test_signatures_are_those_that_are_written():
    assert str(inspect.signature(gd.Sequential.compile)).startswith("(self, optimizer: 'Any', loss")
    assert [*inspect.signature(compiled().predict).parameters] == ["X", "batch_size", "verbose"]
    assert inspect.signature(gd.Input).parameters.keys() == {"width"}
    assert gd.Sequential.fit.__doc__.startswith("Train for some epochs")


ATTRIBUTES = [
    (lambda m: m, "count_params", r"sum\(p\.size for p in model\.params\), and model\.summary\(\)"),
    (lambda m: m, "get_layer", r"layers are model\.layers\[i\], which have a \.name"),
    (lambda m: m, "metrics_names", r"\['loss', \*\(metric\.name for metric in model\.metrics\)\]"),
    (lambda m: m, "trainable_weights", r"here it is model\.params"),
    (
        lambda m: m.layers[0],
        "get_weights",
        r"here they are layer\.W and layer\.b; model\.get_weights\(\) has",
    ),
    (lambda m: m.layers[0], "kernel", r"here it is layer\.W"),
    (lambda m: m.layers[0], "bias", r"here it is layer\.b"),
]


@pytest.mark.parametrize(("of", "name", "message"), ATTRIBUTES)
def test_attributes_of_other_names(of, name, message):
    owner = of(small())
    with pytest.raises(AttributeError, match=f"object has no attribute '{name}'; {message}") as got:
        getattr(owner, name)
    assert (got.value.name, got.value.obj) == (name, owner)
    assert not hasattr(owner, name)


def test_other_attributes_fail_as_ever():
    model = gd.Sequential([gd.Dense(2), LayerNorm()])
    for owner in (model, model.layers[0]):
        with pytest.raises(AttributeError, match=r"object has no attribute 'foo'$"):
            _ = owner.foo
    for layer, name in ((model.layers[0], "W"), (model.layers[1], "gamma"), (gd.Dense(2), "W")):
        assert not hasattr(layer, name)
        with pytest.raises(AttributeError, match=f"{name} does not exist yet"):
            getattr(layer, name)


def test_what_is_said_to_stand_elsewhere_does():
    model = compiled()
    model.compile("sgd", "mse", ["mae"])
    assert sum(p.size for p in model.params) == 26
    assert ["loss", *(metric.name for metric in model.metrics)] == ["loss", "mae"]
    for words, owner in ((_elsewhere.MODEL, model), (_elsewhere.LAYER, model.layers[0])):
        assert not any(hasattr(owner, name) for name in words)


def test_models_and_layers_are_still_copied():
    model = deep()
    layer = gd.Dense(3)
    for copied in (copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))):
        assert repr(copied(model)) == repr(model)
        assert repr(copied(layer)) == repr(layer)
    for kind in (gd.Sequential, gd.Dense):  # before anything is set
        with pytest.raises(AttributeError):
            _ = object.__new__(kind)._store
