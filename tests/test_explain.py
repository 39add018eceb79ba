"""model.explain: every quantity of a step, against the core, the four equations, a real step."""

import copy
import pickle

import numpy as np
import pytest
from left_behind import everything_of, spirals
from model_cases import deep, quarter

import gdcore as gd
from gdcore.layers import Activation, BatchNorm, Dense, Dropout, LayerNorm, Residual

S = gd.schedules


def absolute(y_true, y_pred):
    return np.abs(y_pred - y_true).mean(axis=1)


def of_all(y_true, y_pred):
    return np.sqrt(np.mean((y_pred - y_true) ** 2))


def swish(z):
    return z / (1 + np.exp(-z))


def centred(z):
    return z - z.mean(axis=0)


STACKS = {
    "plain": lambda n: [Dense(5, "tanh"), Dense(4, "relu"), Dense(n)],
    "no bias": lambda n: [Dense(5, "sigmoid", use_bias=False), Dense(n, use_bias=False)],
    "activations": lambda n: [Dense(5), Activation("gelu"), Dense(n), Activation("linear")],
    "norms": lambda n: [Dense(5), LayerNorm(), Activation("elu"), BatchNorm(), Dense(n)],
    "dropout": lambda n: [Dropout(0.3), Dense(6, "tanh"), Dropout(0.5), Dense(n), Dropout(0.0)],
    "residual": lambda n: [
        Dense(4),
        Residual([Dense(3, "tanh"), Residual([Dense(2, "relu"), Dense(3)]), Dense(4)]),
        Residual([Dropout(0.2)]),
        Dense(n),
    ],
    "own": lambda n: [Dense(5, swish), Dense(4, centred), Dense(n)],
    "penalties": lambda n: [
        Dense(5, "tanh", kernel_regularizer=gd.regularizers.l1_l2(0.01, 0.02)),
        Dense(n, kernel_regularizer="l2"),
    ],
}
# The loss, what may stand before it, and targets for it.
LOSSES = {
    "mse": ("mse", 2, None, "values"),
    "half sum": (gd.losses.get("half_mse", reduction="sum"), 2, None, "values"),
    "mse of softmax": ("mse", 3, "softmax", "onehot"),
    "huber of sigmoid": ("huber", 1, "sigmoid", "values"),
    "sparse of logits": ("sparse_categorical_crossentropy", 3, None, "sparse"),
    "sparse of softmax": ("sparse_categorical_crossentropy", 3, "softmax", "sparse"),
    "categorical of log_softmax": ("categorical_crossentropy", 3, "log_softmax", "onehot"),
    "binary of sigmoid": ("binary_crossentropy", 1, "sigmoid", "binary"),
    "binary of two logits": ("binary_crossentropy", 2, None, "binary"),
    "hinge": ("hinge", 1, "tanh", "binary"),
    "gaussian": ("gaussian_nll", 2, None, "one"),
    "own": (absolute, 2, None, "values"),
    "own of all": (of_all, 2, None, "values"),
}


def problem(stack, loss, rows, dtype=np.float64, seed=0):
    """A compiled model with a batch for it."""
    rng = np.random.default_rng([seed, rows])
    chosen, outputs, activation, kind = LOSSES[loss]
    layers = STACKS[stack](outputs)
    if activation is not None:
        layers.append(Activation(activation))
    model = gd.Sequential(layers, dtype=dtype)
    model.compile(gd.SGD(0.1), chosen)
    X = rng.normal(size=(rows, 3))
    y = {
        "values": lambda: rng.normal(size=(rows, outputs)),
        "one": lambda: rng.normal(size=rows),
        "sparse": lambda: rng.integers(0, outputs, rows),
        "onehot": lambda: np.eye(outputs)[rng.integers(0, outputs, rows)],
        "binary": lambda: rng.integers(0, 2, (rows, outputs)),
    }[kind]()
    weights = None if chosen is of_all else rng.uniform(0.0, 2.0, rows)
    return model, X, y, weights


def penalty_gradient(layer):
    regularizer = layer.kernel_regularizer
    if regularizer is None:
        return 0.0
    l1, l2 = regularizer._strengths()
    return l1 * np.sign(layer.W) + 2 * l2 * layer.W


def layers_of(model):
    return {layer.name: layer for layer in model._parts()}


def check(model, X, y, weights, rtol):
    """Every gradient of the core follows from the quantities of the explanation."""
    generator = copy.deepcopy(model._store._generator)
    e = model.explain(X, y, weights)
    if generator is not None:
        model._generator = generator
    loss, grads = model.value_and_grad(X, y, weights)
    assert e.loss == loss
    found = [g for layer in e for g in layer.grads.values()]
    for mine, core in zip(found, grads, strict=True):
        np.testing.assert_array_equal(mine, core)
    scale = max(float(np.abs(g).max()) for g in grads)

    def same(mine, core):
        np.testing.assert_allclose(mine, core, rtol=rtol, atol=rtol * scale)

    own = layers_of(model)
    for layer in e:
        if layer.W is not None:
            np.testing.assert_array_equal(layer.W, own[layer.name].W)
            same(layer.x.T @ layer.delta + penalty_gradient(own[layer.name]), layer.dW)
            same(layer.delta @ layer.W.T, layer.dx)
            same(layer.x @ layer.W + (0 if layer.b is None else layer.b), layer.z)
            if layer.b is not None:
                same(layer.delta.sum(axis=0), layer.db)
        if "beta" in layer.grads:
            same(layer.delta.sum(axis=0), layer.grads["beta"])
            normal = (layer.a - layer.params["beta"]) / layer.params["gamma"]
            same((layer.delta * normal).sum(axis=0), layer.grads["gamma"])
    return e


# ---- Against the core ----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("stack", STACKS)
def test_gradients_of_the_core_follow_from_what_is_explained(stack, loss):
    model, X, y, weights = problem(stack, loss, rows=7)
    model.value_and_grad(X, y)  # weights are drawn, the generator is somewhere
    check(model, X, y, None, 1e-12)
    if weights is not None:
        check(model, X, y, weights, 1e-12)


@pytest.mark.parametrize("rows", [1, 300, 600])
@pytest.mark.parametrize("stack", STACKS)
def test_with_one_row_and_with_several_chunks(stack, rows):
    check(*problem(stack, "sparse of softmax", rows), 1e-12)


@pytest.mark.parametrize("stack", STACKS)
def test_float32_stays_float32(stack):
    model, X, y, weights = problem(stack, "mse", 40, np.float32)
    e = check(model, X, y, weights, 2e-5)
    for layer in e:
        for name in ("x", "z", "a", "da", "delta", "dx"):
            assert getattr(layer, name).dtype == np.float32, (layer.name, name)
        for arrays in (layer.params, layer.grads, layer.update):
            assert {a.dtype for a in arrays.values()} <= {np.dtype(np.float32)}


def test_a_layer_of_every_kind():
    model = deep()
    model.compile("adam", "categorical_crossentropy")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(9, 4)), np.eye(3)[rng.integers(0, 3, 9)]
    e = check(model, X, y, None, 1e-12)
    assert [layer.name for layer in e] == [layer.name for layer in model._parts()]
    assert [layer.depth for layer in e] == [0, 0, 0, 1, 1, 1, 0, 0, 0]


def test_predictions_and_activations_are_those_of_the_model():
    """Without Dropout and batch normalisation predict goes the same way."""
    for stack in ("plain", "activations", "own"):
        model, X, y, _ = problem(stack, "huber of sigmoid", 5)
        e = model.explain(X, y)
        np.testing.assert_allclose(e.predictions, model.predict(X), rtol=1e-14)
        np.testing.assert_array_equal(e.X, X)
        for one, other in zip(e, e.layers[1:], strict=False):
            np.testing.assert_array_equal(one.a, other.x)
            np.testing.assert_array_equal(one.da, other.dx)


@pytest.mark.parametrize("loss", [name for name in LOSSES if "own" not in name])
def test_da_is_the_gradient_of_the_loss(loss):
    model, X, y, weights = problem("plain", loss, 6)
    e = model.explain(X, y, weights)
    outputs, da = e.predictions, e[-1].da
    if LOSSES[loss][2] == "log_softmax":
        outputs, da = np.exp(outputs), da / np.exp(outputs)
    loss_of = model.loss
    if e[-1].fused or not hasattr(loss_of, "from_logits") or "logits" not in loss:
        value, expected = loss_of.value_and_grad(y.astype(float), outputs, weights)
        assert value == pytest.approx(float(e.loss), rel=1e-12)
        np.testing.assert_allclose(da, expected, rtol=1e-12)
    assert e[-1].fused == (
        loss in ("sparse of softmax", "binary of sigmoid", "categorical of log_softmax")
    )


@pytest.mark.parametrize("name", ["sparse of softmax", "binary of sigmoid"])
def test_where_the_loss_is_fused_delta_is_the_difference(name):
    model, X, y, _ = problem("plain", name, 6)
    e = model.explain(X, y)
    target = np.eye(3)[y] if name.startswith("sparse") else y
    np.testing.assert_allclose(e[-1].delta, (e[-1].a - target) / 6, atol=1e-15)
    jacobian = e[-1].da * e[-1].a * (1 - e[-1].a)
    if name.startswith("binary"):
        np.testing.assert_allclose(jacobian, e[-1].delta, rtol=1e-10)


def test_the_four_equations_on_a_net_of_sigmoids():
    """Written out as in the textbook, one row."""
    model = gd.Sequential([Dense(3, "sigmoid"), Dense(2, "sigmoid")])
    model.compile(gd.SGD(1.0), gd.losses.get("half_mse", reduction="sum"))
    x, y = np.array([[0.2, -0.4]]), np.array([[0.0, 1.0]])
    e = model.explain(x, y)
    first, second = e
    slope = [layer.a * (1 - layer.a) for layer in e]
    np.testing.assert_allclose(second.delta, (second.a - y) * slope[1], rtol=1e-14)
    np.testing.assert_allclose(first.delta, second.delta @ second.W.T * slope[0], rtol=1e-13)
    np.testing.assert_allclose(first.db, first.delta[0], rtol=1e-14)
    np.testing.assert_allclose(first.dW, np.outer(x, first.delta), rtol=1e-14)
    for layer in e:
        np.testing.assert_allclose(layer.update["W"], -layer.dW, atol=1e-16)


def test_the_mask_of_a_dropout():
    model, X, y, _ = problem("dropout", "mse", 200)
    model.value_and_grad(X, y)
    e = model.explain(X, y)
    mask = e["dropout"].mask
    assert {0.0, 1 / 0.7} == set(np.unique(mask))
    assert 0.6 < (mask > 0).mean() < 0.8
    np.testing.assert_array_equal(e["dropout"].a, e["dropout"].x * mask)
    assert e["dropout_2"].mask is None  # of rate 0
    np.testing.assert_array_equal(model.explain(X, y)["dropout"].mask, mask)


# ---- The update ----------------------------------------------------------------------------------

OPTIMIZERS = [
    gd.SGD(0.1),
    gd.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    gd.Adam(0.01, global_clip_norm=0.05),
    gd.AdamW(0.01, weight_decay=0.5, clip_value=0.01),
    gd.SGD(0.5, constraint=gd.constraints.max_norm(0.5), l1=0.01),
    gd.RMSprop(S.exponential(0.1, 0.5)),
    gd.SGD(S.one_cycle(0.5, 10), momentum=0.5),
    gd.SGD(S.per_epoch(S.step(0.4, 1, 0.5))),
    gd.SGD(S.by_gradient(0.1, 0.05)),
    gd.SGD(S.plateau(0.1, patience=0)),
    gd.Adam(quarter),
    gd.EMA(gd.Adam(0.1)),
    gd.PolyakSGD(),
    gd.ScheduleFreeAdamW(0.1),
    gd.Prodigy(),
    gd.LBFGS(),
    gd.Armijo(),
]


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize(
    "optimizer", OPTIMIZERS, ids=[f"{i}-{type(o).__name__}" for i, o in enumerate(OPTIMIZERS)]
)
def test_the_update_is_that_of_the_next_step(optimizer, fitted):
    X, y = spirals()
    scale = 1.0 if isinstance(optimizer, gd.LBFGS | gd.Armijo | gd.PolyakSGD) else 0.5
    resumed = fitted and "per_epoch" in repr(optimizer)  # goes on in the epoch that comes
    layers = [gd.Input(3), Dense(4, "tanh", lr_scale=scale), Dropout(0.0 if resumed else 0.2)]
    model = gd.Sequential([*layers, Dense(3), Dense(2, kernel_regularizer="l2")])
    model.compile(optimizer, "sparse_categorical_crossentropy")
    fit = {"batch_size": None, "shuffle": False, "verbose": 0}
    if fitted:
        model.fit(X, y, epochs=3, seed=0, **fit)
    before = [p.copy() for p in model.params]
    e = model.explain(X, y)
    # A fit draws the key of its Dropout as value_and_grad does, and its first step has number 0.
    model.fit(X, y, epochs=4 if resumed else 1, resume=resumed, **fit)
    updates = [u for layer in e for u in layer.update.values()]
    for now, old, update in zip(model.params, before, updates, strict=True):
        np.testing.assert_allclose(update, now - old, rtol=1e-12, atol=1e-15)
    assert any(u.any() for u in updates)


def test_a_frozen_layer_has_gradients_but_no_update():
    model = gd.Sequential([Dense(4, "tanh", trainable=False), Dense(2)])
    model.compile("adam", "mse")
    e = model.explain(np.eye(3), np.ones((3, 2)))
    assert e[0].dW.any()
    assert not e[0].update["W"].any()
    assert e[1].update["W"].any()


def test_an_optimizer_that_refuses_what_is_not_finite_has_no_update():
    model = gd.Sequential([Dense(1, kernel_initializer="ones")])
    model.compile(gd.SGD(0.1, on_nonfinite="raise"), "mse")
    X, y = np.array([[1e200], [1.0]]), np.array([-1e200, 1.0])
    e = model.explain(X, y)
    assert e[0].update is None
    assert not np.isfinite(e.loss)
    assert "refuses these gradients" in repr(e)
    model.compile(gd.SGD(0.1, on_nonfinite="skip"), "mse")
    assert not model.explain(X, y)[0].update["W"].any()


# ---- Nothing changes -----------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [gd.Adam(0.01), gd.EMA(gd.SGD(0.1)), gd.LBFGS()], ids=str)
def test_nothing_changes(optimizer):
    X, y = spirals()
    model = gd.Sequential([Dense(4), BatchNorm(), Dropout(0.3), Dense(2)])
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(X, y, batch_size=None, epochs=2, seed=0, verbose=0)
    before = everything_of(model)
    e = model.explain(X, y)
    assert everything_of(model) == before
    for layer in e:
        for array in (layer.x, layer.z, layer.a, *layer.params.values(), *layer.grads.values()):
            array[...] = 0
    assert everything_of(model) == before
    with pytest.raises(ValueError, match="rows"):
        model.explain(X, y[1:])
    assert everything_of(model) == before


def test_the_batch_is_copied():
    X, y = spirals()
    model = gd.Sequential([Dense(2)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    e = model.explain(X, y)
    e[0].x[...] = 0
    e.y[...] = 0
    assert X.any()
    assert y.any()


# ---- The result ----------------------------------------------------------------------------------


def explained():
    model = gd.Sequential([Dense(3, "tanh"), Dense(2, name="out", kernel_regularizer="l2")])
    model.compile(gd.SGD(0.5), "mse")
    return model.explain(np.eye(3), np.ones((3, 2)))


def test_layers_by_number_and_by_name():
    e = explained()
    assert len(e) == 2
    assert e["out"] is e[1] is e.layers[-1] is list(e)[1]
    with pytest.raises(
        KeyError, match="'ou' is no layer; accepted: dense, out; did you mean 'out'"
    ):
        e["ou"]
    assert (e[0].update.keys(), e[0].grads.keys()) == ({"W", "b"}, {"W", "b"})


def test_the_table_shows_everything_of_a_small_net():
    e = explained()
    text = repr(e)
    assert text == str(e)
    assert text.startswith("Explanation of 3 rows: loss ")
    for word in ("dense: Dense, tanh", "out: Dense", "x W + b", "tanh(z)", "(BP1)", "(BP2)"):
        assert word in text
    assert "x^T delta + d penalty / dW (BP4)" in text
    assert "sum of delta (BP3)" in text
    assert str(np.array2string(e[0].db, precision=4)) in text
    assert max(map(len, text.split("\n"))) <= 120
    assert repr(e[0]).startswith("dense: Dense, tanh\n")
    whole = [" ".join(line.split()) for line in repr(e).splitlines()]
    for layer in e:  # alone and among the others the quantities come about in the same way
        for line in repr(layer).splitlines():
            assert " ".join(line.split()) in whole
    page = e._repr_html_()
    assert page.count("rowspan") == 2
    assert "f&#x27;(z)" in page


def test_large_arrays_are_summed_up():
    model = gd.Sequential([Dense(50, "relu"), Dense(1)])
    model.compile("sgd", "mse")
    text = repr(model.explain(np.ones((100, 20)), np.ones(100)))
    assert "norm " in text
    assert len(text.split("\n")) < 40


def test_it_pickles():
    e = explained()
    for again in (pickle.loads(pickle.dumps(e)), copy.deepcopy(e)):
        assert repr(again) == repr(e)


def test_a_model_that_is_not_compiled_is_refused():
    with pytest.raises(ValueError, match="not compiled"):
        gd.Sequential([Dense(1)]).explain([[1.0]], [1.0])
