"""Layers: arguments, names, what they come to, and arrays that are the model's own."""

import numpy as np
import pytest
from case_ids import named

import gdcore as gd
from gdcore import layers
from gdcore.layers import (
    Activation,
    BatchNorm,
    BatchNormalization,
    Dense,
    Dropout,
    Input,
    LayerNorm,
    LayerNormalization,
    Residual,
)
from gdcore.models import Sequential


def swish_of_mine(z):
    return z / (1 + np.exp(-z))


# ---- Arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        "Input(3)",
        "Dense(8)",
        "Dense(8, activation='relu')",
        "Dense(8, activation='tanh', use_bias=False, lr_scale=0.5, trainable=False, name='a')",
        "Dense(8, kernel_initializer='he_normal', kernel_regularizer='l2')",
        "Activation('relu')",
        "Dropout(0.2)",
        "LayerNormalization()",
        "LayerNormalization(epsilon=1e-05)",
        "BatchNormalization(momentum=0.9)",
        "Residual([Dense(8, activation='relu'), Dense(4)])",
    ],
)
def test_a_layer_prints_as_its_constructor_call(call):
    assert repr(eval(call)) == call


def test_objects_print_as_their_own_calls():
    layer = Dense(
        3,
        gd.activations.get("leaky_relu", slope=0.5),
        kernel_initializer=gd.initializers.normal(std=0.5),
        kernel_regularizer=gd.regularizers.l1(0.5),
        kernel_constraint=gd.constraints.max_norm(1.0),
    )
    assert repr(layer) == (
        "Dense(3, activation=gd.activations.get('leaky_relu', slope=0.5),"
        " kernel_initializer=normal(mean=0.0, std=0.5), kernel_regularizer=l1(l1=0.5),"
        " kernel_constraint=max_norm(limit=1.0))"
    )


def test_keras_defaults():
    layer = Dense(3)
    assert layer.activation == gd.activations.linear
    assert layer.use_bias
    assert layer.kernel_initializer == gd.initializers.glorot_uniform()
    assert layer.bias_initializer == gd.initializers.zeros()
    assert layer.kernel_regularizer is layer.kernel_constraint is None
    assert (layer.lr_scale, layer.trainable) == (1.0, True)
    assert (BatchNorm().momentum, BatchNorm().epsilon, LayerNorm().epsilon) == (0.99, 1e-3, 1e-3)
    assert (LayerNorm, BatchNorm) == (LayerNormalization, BatchNormalization)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, "linear"),
        ("relu", "relu"),
        ("swish", "silu"),
        (gd.relu, "relu"),
        (gd.softmax, "softmax"),
        (np.tanh, "tanh"),
        (gd.activations.selu, "selu"),
    ],
    ids=named,
)
def test_activations_that_the_table_has(given, wanted):
    for layer in (Dense(2, given), Activation(given)):
        assert layer.activation == gd.activations.get(wanted)


@pytest.mark.parametrize("function", [swish_of_mine, np.sin, lambda z: z**3])
def test_a_function_of_the_users_stays_what_it_is(function):
    assert Dense(2, function).activation is function


BAD = [
    (lambda: Dense(0), ValueError, "Dense: units is 0; accepted is an integer >= 1"),
    (lambda: Dense(2.0), TypeError, r"Dense: units is 2\.0"),
    (lambda: Dense(True), TypeError, "Dense: units is True"),
    (lambda: Dense("8"), TypeError, "Dense: units is '8'"),
    (lambda: Dense(2, "rleu"), ValueError, "'rleu' is unknown.*did you mean 'relu'"),
    (lambda: Dense(2, 3), TypeError, r"activation is 3.*or a function f\(z\) in NumPy"),
    (lambda: Dense(2, gd.activations.Activation), TypeError, "activation is <class"),
    (lambda: Dense(2, use_bias=1), TypeError, "use_bias is 1; accepted is True or False"),
    (
        lambda: Dense(2, kernel_initializer="he_norm"),
        ValueError,
        "'he_norm' is unknown.*did you mean 'he_normal'",
    ),
    (lambda: Dense(2, kernel_initializer=3), TypeError, "initializer is 3"),
    (lambda: Dense(2, kernel_regularizer=0.1), TypeError, r"regularizer is 0\.1"),
    (
        lambda: Dense(2, kernel_constraint="max_norm"),
        TypeError,
        r"kernel_constraint is 'max_norm'.*gd\.constraints\.max_norm\(2\.0\)",
    ),
    (lambda: Dense(2, lr_scale=-1), ValueError, "lr_scale is -1; accepted is a finite number >= 0"),
    (lambda: Dense(2, lr_scale=np.nan), ValueError, "lr_scale is nan"),
    (lambda: Dense(2, trainable=None), TypeError, "trainable is None"),
    (lambda: Dense(2, name=3), TypeError, "name is 3"),
    (lambda: Dense(2, name=""), TypeError, "name is ''"),
    (lambda: Dense(2, input_dim=4), TypeError, r"unknown argument input_dim=.*gd\.Input\(n\)"),
    (lambda: Dense(2, input_shape=(4,)), TypeError, r"input_shape=.*gd\.Input\(n\)"),
    (lambda: Dense(2, bias=False), TypeError, "bias=.*here it is use_bias"),
    (lambda: Dense(2, dtype="float32"), TypeError, r"dtype=.*gd\.Sequential\(layers, dtype"),
    (lambda: Dense(2, foo=1), TypeError, "Dense: unknown argument foo=; accepted: units, act"),
    (lambda: Dropout(1.0), ValueError, r"rate is 1\.0; accepted is a number, 0 <= rate < 1"),
    (lambda: Dropout(-0.1), ValueError, r"rate is -0\.1"),
    (lambda: Dropout("a"), TypeError, "rate is 'a'"),
    (lambda: Dropout(p=0.5, rate=0.5), TypeError, "unknown argument p=.*here it is rate"),
    (lambda: Dropout(0.5, seed=1), TypeError, r"seed=.*model\.fit\(X, y, seed=\.\.\.\)"),
    (lambda: LayerNorm(0.0), ValueError, r"epsilon is 0\.0; accepted is a finite number > 0"),
    (lambda: LayerNorm(axis=-1), TypeError, "axis=.*along their only axis"),
    (lambda: LayerNorm(eps=1e-5), TypeError, "eps=.*here it is epsilon"),
    (lambda: BatchNorm(1.5), ValueError, r"momentum is 1\.5; accepted is a number from 0 to 1"),
    (lambda: BatchNorm(trainable=False), TypeError, "trainable=.*groups"),
    (lambda: Input(0), ValueError, "Input: width is 0; accepted is an integer >= 1: the number of"),
    (lambda: Input((8, 8)), TypeError, r"width is \(8, 8\).*reshape\(n, -1\)"),
    (lambda: Input(3, shape=(3,)), TypeError, r"shape=.*gd\.Input\(20\)"),
    (lambda: Residual([]), ValueError, "Residual: layers is empty"),
    (lambda: Residual(Dense(2)), TypeError, r"Residual: layers is Dense\(2\).*a list of layers"),
    (lambda: Residual([Dense]), TypeError, r"layers\[0\] is the class Dense; make a layer"),
    (lambda: Residual([Dense(2), np.tanh]), TypeError, r"layers\[1\] is .*Activation\(f\) makes"),
    (lambda: Residual([Input(2)]), ValueError, r"layers\[0\] is Input; it is the first of a model"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_an_input_takes_kerass_tuple():
    assert Input((20,)).width == Input(20).width == 20
    assert Input(np.int64(20)).width == 20


def test_settings_are_fixed_but_for_two():
    layer = Dense(3)
    with pytest.raises(AttributeError, match="Dense: units is fixed; make a new layer"):
        layer.units = 4
    with pytest.raises(AttributeError, match="activation is fixed"):
        layer.activation = "relu"
    layer.trainable, layer.lr_scale = False, 2
    assert repr(layer) == "Dense(3, lr_scale=2.0, trainable=False)"
    with pytest.raises(TypeError, match="trainable is 'no'"):
        layer.trainable = "no"
    with pytest.raises(ValueError, match="lr_scale is -1"):
        layer.lr_scale = -1
    assert (layer.trainable, layer.lr_scale) == (False, 2.0)


@pytest.mark.parametrize(
    ("layer", "name", "message"),
    [
        (Dense(2), "trainabel", "Dense has no trainabel to set; did you mean 'trainable'"),
        (Dense(2), "kernel", "here it is W"),
        (Dense(2), "bias", "here it is b"),
        (Dense(2), "learning_rate", "here it is lr_scale"),
        (layers.BatchNorm(), "trainable", "only Dense has it; for others an optimizer's groups"),
        (layers.Residual([Dense(2)]), "trainable", "only Dense has it"),
    ],
)
def test_an_attribute_that_does_not_exist_is_not_set(layer, name, message):
    with pytest.raises(AttributeError, match=message):
        setattr(layer, name, False)
    assert not hasattr(layer, name)


def test_an_unknown_name_of_the_module():
    with pytest.raises(AttributeError, match="did you mean 'Dense'"):
        layers.Dence  # noqa: B018


# ---- Arrays --------------------------------------------------------------------------------------


def test_arrays_are_the_models_own():
    model = Sequential([Input(3), Dense(4), Dense(2, use_bias=False)])
    first, second = model.layers
    assert [first.W.shape, first.b.shape, second.W.shape] == [(3, 4), (4,), (4, 2)]
    for array, own in zip([first.W, first.b, second.W], model.params, strict=True):
        assert array is own
    first.W[...] = 5.0
    assert (model.params[0] == 5.0).all()
    first.W[1, 2] -= 1.0
    assert model._flat[1 * 4 + 2] == 4.0


def test_what_is_assigned_is_written_into_the_live_array():
    model = Sequential([Input(2), Dense(2)])
    layer, live = model.layers[0], model.params[0]
    layer.W = [[1, 2], [3, 4]]
    assert layer.W is live
    np.testing.assert_array_equal(live, [[1.0, 2.0], [3.0, 4.0]])
    layer.W = layer.W.T  # a view of the memory that it is written into
    np.testing.assert_array_equal(live, [[1.0, 3.0], [2.0, 4.0]])
    layer.W *= 2
    assert layer.W is live
    assert live[0, 0] == 2.0
    layer.b = np.ones(2, np.float32)
    assert model.params[1].dtype == np.float64


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.zeros((2, 3)), ValueError, r"layer 'dense': W has shape \(2, 3\); \(3, 2\) is wanted"),
        (0.0, ValueError, r"has shape \(\)"),
        (np.zeros((3, 2), np.float16), TypeError, "W is float16; float32, float64 and integers"),
        (np.zeros((3, 2), complex), TypeError, "W is complex128"),
        ([[1, 2], [3]], ValueError, "cannot be read as an array of numbers"),
        ([["a", "b"]] * 3, TypeError, "W is <U1"),
    ],
)
def test_what_cannot_be_assigned(value, error, message):
    layer = Sequential([Input(3), Dense(2)]).layers[0]
    before = layer.W.copy()
    with pytest.raises(error, match=message):
        layer.W = value
    np.testing.assert_array_equal(layer.W, before)


def test_arrays_need_a_model_and_its_width():
    layer = Dense(2)
    with pytest.raises(AttributeError, match=r"Dense: W does not exist yet, .* is in no model"):
        layer.W  # noqa: B018
    Sequential([layer])
    message = r"layer 'dense': b does not exist.*gd\.Input\(n\).*build\(n\)"
    with pytest.raises(AttributeError, match=message):
        layer.b = 0
    assert not hasattr(layer, "W")


def test_a_layer_without_a_bias():
    layer = Dense(2, use_bias=False)
    assert layer.b is None
    Sequential([Input(2), layer])
    assert layer.b is None
    with pytest.raises(AttributeError, match="layer 'dense' has no b: it has use_bias=False"):
        layer.b = 0


def test_a_layer_keeps_its_arrays_when_the_model_is_gone():
    layer = Sequential([Input(2), Dense(2)]).layers[0]
    assert layer.W.shape == (2, 2)


def test_normalisations_begin_as_in_keras(dtype):
    model = Sequential([Input(3), LayerNorm(), BatchNorm()], dtype=dtype)
    rows, batch = model.layers
    for array, value in [
        (rows.gamma, 1.0),
        (rows.beta, 0.0),
        (batch.gamma, 1.0),
        (batch.beta, 0.0),
        (batch.moving_mean, 0.0),
        (batch.moving_variance, 1.0),
    ]:
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, np.full(3, value))
    assert batch.moving_mean is model._buffers[0]
    batch.moving_variance = [1, 2, 3]
    np.testing.assert_array_equal(model._buffers[1], [1.0, 2.0, 3.0])
    assert len(model.params) == 4


# ---- Initializers --------------------------------------------------------------------------------


def test_initializers_are_called_with_shape_generator_and_type():
    calls = []

    def own(shape, rng, dtype):
        calls.append((shape, type(rng), np.dtype(dtype)))
        return np.full(shape, 0.5)

    model = Sequential([Input(3), Dense(2, kernel_initializer=own)], dtype=np.float32)
    assert not calls
    np.testing.assert_array_equal(model.layers[0].W, np.full((3, 2), 0.5, np.float32))
    assert calls == [((3, 2), np.random.Generator, np.dtype(np.float32))]


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (np.zeros(3), ValueError, r"dense\.W: its initializer .* returned shape \(3,\); \(3, 2\)"),
        (np.zeros((3, 2), complex), TypeError, "returned complex128"),
    ],
)
def test_an_initializer_that_returns_something_else(result, error, message):
    model = Sequential([Input(3), Dense(2, kernel_initializer=lambda *_: result)])
    with pytest.raises(error, match=message):
        model.params  # noqa: B018


def test_weights_have_their_law():
    model = Sequential([Input(400), Dense(300, kernel_initializer="he_normal"), Dense(100)])
    first, second = model.layers
    np.testing.assert_allclose(first.W.std(), np.sqrt(2 / 400), rtol=0.02)
    assert np.abs(second.W).max() <= np.sqrt(6 / 400)
    assert not first.b.any()


# ---- Residual ------------------------------------------------------------------------------------


def test_a_residual_joins_what_it_forked():
    model = Sequential([Input(4), Residual([Dense(8, "relu"), Dense(4)]), Dense(1)])
    assert [stage[0] for stage in model._stages()] == [
        "fork",
        "dense",
        "activation",
        "dense",
        "join",
        "dense",
    ]
    assert model._stages()[4] == ("join", 4, 4, (), (), (0,))
    assert [layer.outputs for layer in model.layers] == [4, 1]
    assert [layer.outputs for layer in model.layers[0].layers] == [8, 4]
    assert model.layers[0].layers[1].W is model.params[2]


def test_a_residual_inside_another_knows_its_own_fork():
    inner = Residual([Dense(4, "tanh")])
    model = Sequential([Input(4), Dense(4), Residual([Dense(4), inner])])
    joins = [stage[-1] for stage in model._stages() if stage[0] == "join"]
    assert joins == [(3,), (1,)]
    assert [layer.name for layer in model._parts()] == [
        "dense",
        "residual",
        "dense_1",
        "residual_1",
        "dense_2",
    ]


def test_a_residual_of_another_width():
    with pytest.raises(ValueError, match=r"layer 'residual' takes rows of 4.*give 3.*Dense\(4\)"):
        Sequential([Input(4), Residual([Dense(3)])])
    model = Sequential([Residual([Dense(3)])])
    with pytest.raises(ValueError, match="takes rows of 4 but its layers give 3"):
        model.build(4)
    assert not model.built
    model.build(3)
