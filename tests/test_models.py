"""Sequential before its training: names, stages, memory, seeds, types, weights in and out."""

import copy

import numpy as np
import pytest
from model_cases import cube, deep, small

import gdcore as gd
from gdcore.layers import Activation, BatchNorm, Dense, Dropout, Input, LayerNorm, Residual
from gdcore.models import Sequential

A = gd.activations


# ---- Layers --------------------------------------------------------------------------------------


def test_input_is_no_layer_of_the_list():
    model = Sequential([Input(3), Dense(4), Dense(2)])
    assert [type(layer) for layer in model.layers] == [Dense, Dense]
    assert model.layers is not model.layers


def test_names_are_kerass_and_the_models_own():
    model = Sequential([Dense(2), Dropout(0.1), Dense(2, name="dense_1"), Dense(2), Dense(2)])
    names = [layer.name for layer in model.layers]
    assert names == ["dense", "dropout", "dense_1", "dense_2", "dense_3"]
    assert Sequential([Dense(2)]).layers[0].name == "dense"
    assert Dense(2).name is None
    with pytest.raises(ValueError, match="two layers have the name 'a'"):
        Sequential([Dense(2, name="a"), Dense(2, name="a")])


def test_add_and_pop():
    model = Sequential()
    model.add(Input(3))
    model.add(Dense(4))
    model.add(last := Dense(2))
    assert (last.inputs, last.outputs, last.name) == (4, 2, "dense_1")
    assert model.pop() is last
    assert (last.name, last.outputs) == (None, None)
    model.add(last)
    assert [stage[:3] for stage in model._stages()] == [("dense", 3, 4), ("dense", 4, 2)]
    assert [array.shape for array in model.params] == [(3, 4), (4,), (4, 2), (2,)]
    for change in (lambda: model.add(Dense(1)), model.pop):
        with pytest.raises(ValueError, match="the model is built, and its parameters keep their"):
            change()


def test_what_cannot_be_added_changes_nothing():
    model = Sequential([Input(4), Dense(4)])
    for layer, error, message in [
        (Input(3), ValueError, "layer is Input; it is the first of a model"),
        (np.tanh, TypeError, r"add: layer is <ufunc 'tanh'>.*Activation\(f\)"),
        (model.layers[0], ValueError, "is in a model already"),
        (Residual([model.layers[0]]), ValueError, "is in a model already"),
        (Residual([Dense(3)]), ValueError, "takes rows of 4 but its layers give 3"),
        (Dense(1, name="dense"), ValueError, "two layers have the name 'dense'"),
    ]:
        with pytest.raises(error, match=message):
            model.add(layer)
        assert len(model.layers) == 1
    layer = Dense(1)
    with pytest.raises(ValueError, match="is in a model already"):
        model.add(Residual([layer, layer]))
    model.add(layer)  # free, for nothing of what failed kept it
    assert layer.outputs == 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Sequential(Dense(2)), TypeError, r"layers is Dense\(2\); accepted is a list of"),
        (lambda: Sequential([Dense(2), 3]), TypeError, r"Sequential: layers\[1\] is 3"),
        (lambda: Sequential([Dense(2), Input(3)]), ValueError, r"layers\[1\] is Input"),
        (lambda: Sequential([]).pop(), ValueError, "pop: the model has no layers"),
        (lambda: Sequential([], dtype="float16"), TypeError, "dtype is float16; accepted are fl"),
        (lambda: Sequential([], seed=0), TypeError, r"seed=.*model\.clone\(seed=0\)"),
        (
            lambda: Sequential([], name="m"),
            TypeError,
            "unknown argument name=; accepted: layers, d",
        ),
        (lambda: Sequential(sizes=[2]), TypeError, "unknown argument sizes="),
    ],
)
def test_bad_models(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_layer_is_given_once():
    layer = Dense(2)
    with pytest.raises(
        ValueError, match=r"Dense\(2\) is in a model already; a layer is given once"
    ):
        Sequential([layer, layer])
    assert layer.name is None
    Sequential([layer])
    with pytest.raises(ValueError, match=r"model\.clone\(\)"):
        Sequential([layer])


# ---- Stages --------------------------------------------------------------------------------------


def test_stages_of_every_layer():
    model = deep()
    relu, tanh, softmax = A.relu._spec, A.tanh._spec, A.softmax._spec
    assert model._stages() == [
        ("dense", 4, 8, (0, 1), (), ()),
        ("activation", 8, 8, (), relu, ()),
        ("dropout", 8, 8, (), (), (0.25,)),
        ("fork", 8, 8, (), (), ()),
        ("dense", 8, 6, (2, 3), (), ()),
        ("function", 6, 6, (), (), (0,)),
        ("dense", 6, 8, (4, 5), (), ()),
        ("batch_norm", 8, 8, (6, 7), (), (1e-3, 0.9, 0)),
        ("join", 8, 8, (), (), (3,)),
        ("layer_norm", 8, 8, (8, 9), (), (1e-3,)),
        ("activation", 8, 8, (), tanh, ()),
        ("dense", 8, 3, (10,), (), ()),
        ("activation", 3, 3, (), softmax, ()),
    ]
    assert model._functions() == [cube]
    assert model._penalties() == [(0, 0.0, 0.01)]
    names = model._stage_names()
    assert len(names) == len(model._stages())
    assert names[:3] + names[7:11] == [
        "dense",
        "dense",
        "dropout",
        "batch_normalization",
        "residual",
        "layer_normalization",
        "activation",
    ]
    assert model._param_names[:3] == ["dense.W", "dense.b", "dense_1.W"]
    assert model._param_names[-1] == "dense_3.W"


def test_what_changes_nothing_has_no_stage():
    model = Sequential([Input(3), Dropout(0.0), Activation("linear"), Dense(2, "linear")])
    assert [stage[0] for stage in model._stages()] == ["dense"]
    assert [layer.outputs for layer in model.layers] == [3, 3, 2]


def test_parameters_of_an_activation_are_in_its_spec():
    model = Sequential([Input(2), Activation(A.get("elu", alpha=0.5))])
    assert model._stages() == [("activation", 2, 2, (), A.get("elu", alpha=0.5)._spec, ())]


# ---- Building ------------------------------------------------------------------------------------


def test_parameters_lie_in_one_piece(dtype):
    model = Sequential([Input(3), Dense(5), LayerNorm(), Dense(2)], dtype=dtype)
    flat, offset = model._flat, 0
    assert flat.ctypes.data % 64 == 0
    assert flat.flags.c_contiguous
    for array in model.params:
        assert array.flags.c_contiguous
        assert array.dtype == dtype
        assert array.ctypes.data == flat.ctypes.data + offset
        offset += array.nbytes
    assert offset == flat.nbytes
    assert model._flat is flat


def test_nothing_is_drawn_before_it_is_needed():
    drawn = []

    def own(shape, rng, dtype):
        drawn.append(shape)
        return rng.normal(size=shape)

    model = Sequential([Dense(4, kernel_initializer=own), Dense(2)])
    model.compile("adam", "mse")
    repr(model)
    model.summary()
    model.build(3)
    model.summary()
    assert model._fused_loss()
    assert [layer.inputs for layer in model.layers] == [3, 4]
    model.clone()
    assert not drawn
    first = model.layers[1].W
    assert drawn == [(3, 4)]
    assert model.layers[1].W is first
    model.params, model.get_weights(), model._begin(0)
    assert drawn == [(3, 4)]


@pytest.mark.parametrize(
    "need",
    [
        lambda model: model.layers[1].b,
        lambda model: model.params,
        lambda model: model.get_weights(),
        lambda model: model._flat,
    ],
)
def test_what_reads_weights_draws_all_of_them(need):
    model = small()
    model._generator = np.random.default_rng(3)
    need(model)
    rng = np.random.default_rng(3)
    for array in model.params:
        name = "zeros" if array.ndim == 1 else "glorot_uniform"
        np.testing.assert_array_equal(array, gd.initializers.get(name)(array.shape, rng))


def test_float32_weights_are_the_float64_ones_rounded():
    double, single = small(dtype=np.float64), small(dtype="float32")
    double._begin(1)
    single._begin(1)
    for a, b in zip(double.params, single.params, strict=True):
        np.testing.assert_array_equal(a.astype(np.float32), b)


def test_seeds():
    fresh, used = small(), small()
    fresh._begin(5)
    kept = [array.copy() for array in used.params]
    used._begin(5)
    for array, before in zip(used.params, kept, strict=True):
        np.testing.assert_array_equal(array, before)  # used weights are never drawn again
    assert (fresh.layers[0].W != used.layers[0].W).any()
    again = small()
    again._begin(np.random.default_rng(5))
    np.testing.assert_array_equal(again._flat, fresh._flat)
    model = small().clone(seed=5)
    model._begin(None)  # the generator goes on where it stands
    np.testing.assert_array_equal(model._flat, fresh._flat)
    assert model._generator.random() == fresh._generator.random()
    assert (small()._flat != small()._flat).any()


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (1.5, TypeError), ("a", TypeError), (True, TypeError)]
)
def test_bad_seeds_change_nothing(seed, error):
    model = small()
    model._generator = np.random.default_rng(0)
    for call in (model._begin, model.clone):
        with pytest.raises(error, match=r"seed is .*a numpy\.random\.Generator or an integer seed"):
            call(seed)
    assert not model._store.drawn
    assert model._generator.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize(
    ("given", "X", "wanted"),
    [
        (None, np.float32, np.float32),
        (None, np.float64, np.float64),
        (None, np.int8, np.float64),
        (None, bool, np.float64),
        ("float32", np.float64, np.float32),
        (np.float64, np.float32, np.float64),
    ],
)
def test_the_type_is_that_of_the_first_X(given, X, wanted):
    model = Sequential([Dense(2), BatchNorm()], dtype=given)
    assert model.dtype == given
    model._build_for(np.ones((5, 3), X))
    assert model.built
    assert model.dtype == wanted
    assert {array.dtype for array in [*model.params, *model._buffers]} == {np.dtype(wanted)}
    model._build_for(np.ones((5, 3), np.float32))  # later ones change nothing
    assert model.dtype == wanted


def test_weights_that_are_read_first_are_float64():
    model = small()
    assert (model.dtype, model.built) == (None, False)
    assert model.layers[0].W.dtype == np.float64
    assert model.built


def test_build_checks_before_it_changes_anything():
    model = Sequential([Dense(2)])
    for width, error in [(0, ValueError), (2.5, TypeError), (None, TypeError)]:
        with pytest.raises(error, match="width is"):
            model.build(width)
    with pytest.raises(TypeError, match="dtype is float16"):
        model.build(3, np.float16)
    assert not model.built
    assert model._width is None
    model.build(3, np.float32)
    arrays = model.params
    model.build(3)
    model.build(3, "float32")
    assert all(a is b for a, b in zip(arrays, model.params, strict=True))
    with pytest.raises(ValueError, match="the input width is 4 but the model takes rows of 3"):
        model.build(4)
    with pytest.raises(ValueError, match="dtype is float64 but the model's is float32"):
        model.build(3, np.float64)


def test_a_model_that_is_not_built_says_how_it_is():
    model = Sequential([Dense(2)])
    for need in (
        lambda: model.params,
        model.get_weights,
        lambda: model.set_weights([]),
        model._stages,
        model._begin,
    ):
        with pytest.raises(ValueError, match=r"not built .*gd\.Input\(n\).*model\.build\(n\)"):
            need()
    empty = Sequential([Input(3)])
    for need in (lambda: empty.params, lambda: empty.build(3)):
        with pytest.raises(ValueError, match=r"has no layers; model\.add\(gd\.Dense\(1\)\)"):
            need()


def test_the_plan_for_a_width_builds_nothing():
    model = Sequential([Dense(2)])
    assert model._plan_for(3).width == 2
    assert model._plan_for(5).slots[0].shape == (5, 2)
    assert model._width is None
    assert model.layers[0].outputs is None
    model.build(3)
    assert model.layers[0].W.shape == (3, 2)


# ---- Weights in and out --------------------------------------------------------------------------


def test_weights_come_and_go_in_kerass_order():
    model = Sequential([Input(3), Dense(2), BatchNorm(), Dense(1)])
    shapes = [array.shape for array in model.get_weights()]
    assert shapes == [(3, 2), (2,), (2,), (2,), (2,), (2,), (2, 1), (1,)]
    names = [name for name, _ in model._weights()]
    assert names[2:6] == [
        "batch_normalization.gamma",
        "batch_normalization.beta",
        "batch_normalization.moving_mean",
        "batch_normalization.moving_variance",
    ]
    weights = [np.full(shape, i) for i, shape in enumerate(shapes)]
    live = [*model.params, *model._buffers]
    model.set_weights(weights)
    assert all(a is b for a, b in zip(live, [*model.params, *model._buffers], strict=True))
    assert [array.flat[0] for array in model.params] == [0, 1, 2, 3, 6, 7]
    assert [array.flat[0] for array in model._buffers] == [4, 5]
    for array, given in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(array, given)
        assert not np.shares_memory(array, model._flat)


def test_set_weights_is_all_or_nothing():
    model = small()
    before = model.get_weights()
    for change, error, message in [
        (lambda w: w[:-1], ValueError, r"holds 3 arrays but the model has 4: dense\.W \(3, 4\), d"),
        (lambda w: [*w[:3], w[3][:1]], ValueError, r"weights\[3\] \(dense_1\.b\) has shape \(1,\)"),
        (lambda w: [*w[:3], w[3] * 1j], TypeError, r"weights\[3\] \(dense_1\.b\) is complex128"),
        (lambda w: w[0], TypeError, "weights is ndarray; a list of arrays"),
    ]:
        with pytest.raises(error, match=message):
            model.set_weights(change([array + 1 for array in before]))
        for array, kept in zip(model.params, before, strict=True):
            np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("first", [[], [gd.Dropout(0.5)], [gd.layers.LayerNorm()]])
def test_weights_say_the_width_that_the_model_does_not_know(first):
    def made(*begin, **settings):
        return Sequential([*begin, *copy.deepcopy(first), Dense(4), Dense(2)], **settings)

    weights = made(Input(3)).get_weights()
    for dtype, wanted in ((None, np.float64), ("float32", np.float32)):
        model = made(dtype=dtype)
        model.set_weights(weights)
        assert (model._width, model.dtype) == (3, wanted)
        for array, kept in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(array, kept.astype(wanted))


def test_weights_that_do_not_fit_leave_a_model_without_width_as_it_was():
    model, weights = Sequential([Dense(4), Dense(2)]), small().get_weights()
    for given, error, message in [
        (weights[:3], ValueError, r"holds 3 arrays but the model has 4: dense\.W \(3, 4\)"),
        ([*weights[:3], weights[3] * 1j], TypeError, r"weights\[3\] \(dense_1\.b\) is complex128"),
        (
            [weights[1], *weights[1:]],
            ValueError,
            r"\(dense\.W\) has shape \(4,\); \(4, 4\) is wanted",
        ),
        ([3.0, *weights[1:]], ValueError, r"does not know the width of X; put gd\.Input\(n\)"),
        ([[], *weights[1:]], ValueError, "does not know the width of X"),
    ]:
        with pytest.raises(error, match=message):
            model.set_weights(given)
        assert (model.built, model._width, model.dtype) == (False, None, None)


def test_weights_that_are_all_set_need_no_draw():
    model = small(dtype=np.float32)
    model._generator = np.random.default_rng(0)
    model.set_weights([np.ones((3, 4)), [0, 0, 0, 0], np.ones((4, 2), int), np.zeros(2)])
    assert model._generator.random() == np.random.default_rng(0).random()
    assert model.layers[0].W.dtype == np.float32
    assert (model.layers[0].W == 1).all()


def test_weights_may_be_views_of_the_model_itself():
    model = Sequential([Input(2), Dense(2), Dense(2)])
    first, b, second, c = (array.copy() for array in model.params)
    live = model.params
    model.set_weights([live[2].T, live[1], live[0], live[3]])
    for array, wanted in zip(model.params, [second.T, b, first, c], strict=True):
        np.testing.assert_array_equal(array, wanted)
