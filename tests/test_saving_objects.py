"""Values in files: numbers bit by bit, gdcore's objects as they were, functions by name."""

import functools
import importlib
import inspect
import json
import math
from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np
import pytest
from case_ids import named
from hypothesis import given
from saving_cases import OWN, bits, falling, squares, swish, through_json

import gdcore as gd
from gdcore import _saving_objects as objects
from gdcore._saving_file import Problem
from gdcore._scaled import Scaled, ScaledFunction
from gdcore.callbacks import EarlyStopping
from gdcore.layers import Activation, BatchNorm, Dropout, LayerNorm, Residual

s, i, c, r, m = gd.schedules, gd.initializers, gd.constraints, gd.regularizers, gd.metrics

# ---- Plain values --------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    st.text(),
    st.builds(np.float32, st.floats(width=32)),
    st.builds(np.int8, st.integers(-128, 127)),
    st.builds(np.bool_, st.booleans()),
)
KEYS = st.one_of(st.text(), st.integers(), st.tuples(st.text(), st.integers()))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(), inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=12,
)


@given(VALUES)
def test_values_come_back_bit_by_bit(value):
    found = through_json(value)
    if not (isinstance(value, float) and math.isnan(value)):
        assert bits(found) == bits(value)
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324]),
        np.array([[1, 2], [3, 4]], np.float32, order="F"),
        np.arange(6.0)[::2],
        np.array(3, np.int64),
        np.empty((0, 3)),
        np.array([True, False]),
        np.array([2**64 - 1], np.uint64),
        np.array([1, -1], np.int8),
        np.array([1.5], np.float16),
        np.array([1.0, 2.0], ">f8"),
    ],
    ids=lambda a: f"{a.dtype.str}{a.shape}",
)
def test_arrays_come_back(array):
    found = through_json({"a": [array, array]})["a"]
    native = array.astype(array.dtype.newbyteorder("="), order="C")
    assert bits(found) == bits([native, native])
    assert found[0].flags.writeable
    assert not np.shares_memory(found[0], found[1])


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        b"bytes",
        1j,
        np.array(["text"]),
        np.array([None]),
        np.array([1j]),
        np.array([1.0], np.longdouble),
    ],
    ids=named,
)
def test_what_cannot_be_saved_says_where_it_is(value):
    with pytest.raises(ValueError, match=r"cannot be saved.* accepted") as caught:
        objects.Encoder().encode({"good": 1, "bad": [0, value]}, "extra")
    assert "bad[1] of extra" in str(caught.value)


# ---- gdcore's objects ----------------------------------------------------------------------------

CALLS = [
    *(getattr(i, name)() for name in i._BY_NAME if name != "sparse"),
    i.sparse(0.25, std=0.1),
    i.variance_scaling(2.0, "fan_avg", "uniform"),
    c.box(-math.inf, 0.1),
    c.max_norm(1 / 3),
    c.non_neg(),
    c.simplex(),
    c.unit_norm(),
    r.l1(1 / 3),
    r.l2(1e-300),
    r.l1_l2(0.1, 0.2),
    s.by_gradient(0.1, 0.2),
    s.constant(0.1),
    s.cosine(0.1, 0.0, 10),
    s.cosine_restarts(0.1, 0.0, 10),
    s.cyclic(0.1, 0.2, 5),
    s.exponential(0.1, 0.5, 2),
    s.inverse_sqrt(0.1, 5),
    s.inverse_time(0.1, 0.5),
    s.linear(0.1, 0.0, 10),
    s.multistep(0.1, [3, 5]),
    s.one_cycle(0.1, 100),
    s.per_epoch(s.step(0.1, 3)),
    s.piecewise_constant([2, 4], [0.1, 0.5, 0.2]),
    s.piecewise_interpolated([2, 4], [0.1, 0.5, 0.1], "cosine"),
    s.plateau(0.1, patience=3),
    s.polynomial(0.1, 0.0, 10),
    s.product(s.step(0.1, 3), 0.5),
    s.sequential([0.5, s.linear(0.4, 0.0, 2)], milestones=[3]),
    s.step(0.1, 3),
    s.warmup(0.1, 3),
    s.wsd(0.4, 2, 2, 4),
    Scaled(s.linear(0.1, 0.0, 10), 0.3),
    ScaledFunction(falling, 0.3),
    *(m.get(name) for name in m.names()),
    m.get("f1_macro"),
    m.Function(squares, name="mine"),
    m.Function(gd.losses.get("huber", delta=0.5)),
    m.BinaryAccuracy(0.3, name="lenient"),
    *map(gd.losses.get, gd.losses.names()),
    gd.losses.get("binary_crossentropy", from_logits=True, label_smoothing=0.1, reduction="sum"),
    *map(gd.activations.get, gd.activations.names()),
    gd.activations.get("leaky_relu", slope=1 / 3),
    *(getattr(gd, row["class"])() for row in gd._core.OPTIMIZERS),
    gd.Adam(s.one_cycle(0.1, 100), dialect="keras", clip_norm=1.0, amsgrad=True),
    gd.SGD(
        falling,
        momentum=0.9,
        groups=[{"params": [0, (1, "b")], "lr": s.step(0.1, 3), "constraint": c.non_neg()}],
    ),
    gd.EMA(gd.AdamW(0.1, groups=[{"params": "b", "frozen": True}]), 0.99),
    gd.LBFGS(history_size=3, groups=[{"params": [0], "frozen": True}]),
    gd.Armijo(gd.SGD(0.1, momentum=0.5), lr=s.constant(0.5)),
]


@pytest.mark.parametrize("value", CALLS, ids=lambda v: named(v)[:60])
def test_an_object_is_equal_to_what_it_was(value):
    found = through_json([value, value], OWN)[1]
    assert found == value
    assert type(found) is type(value)
    assert repr(found) == repr(value)
    assert found is not value


LAYERS = [
    gd.Input(3),
    gd.Dense(3),
    gd.Dense(
        np.int64(2),
        gd.relu,
        False,
        i.he_normal,
        lambda shape, rng, dtype: np.zeros(shape, dtype),
        r.l1,
        c.unit_norm(),
        0.5,
        False,
        name="a b/c",
    ),
    gd.Dense(3, gd.activations.get("elu", alpha=0.5), kernel_regularizer="l1_l2"),
    Activation(np.tanh),
    Activation("softmax"),
    Dropout(0.1),
    BatchNorm(0.5, 1e-5),
    LayerNorm(1e-6, name="norm"),
    Residual([gd.Dense(2, swish), Residual([gd.Dense(2)])]),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda v: named(v)[:40])
def test_a_layer_has_the_settings_that_it_had(layer):
    own = {"<lambda>": layer.bias_initializer, **OWN} if isinstance(layer, gd.Dense) else OWN
    found = through_json(layer, own)
    assert type(found) is type(layer)
    for name, value in layer._settings.items():
        if name != "layers":
            assert found._settings[name] == value, name
    assert found.name == layer.name


def registered():
    """Every class that a file may name."""
    for home in objects._PUBLIC:
        module = importlib.import_module(f"gdcore.{home}")
        for name in module.__all__:
            found = objects._class_of(f"{home}.{name}")
            if found is not None:
                yield found


def test_every_class_is_among_the_cases():
    tried = {type(value) for value in (*CALLS, *LAYERS)}
    assert set(registered()) <= tried
    assert len(tried) > 90


def test_no_other_class_can_be_named():
    for name in ("os.system", "layers.signature", "callbacks.EarlyStopping", "layers.Layer"):
        with pytest.raises(Problem, match="does not have"):
            objects.Decoder({}, {}, {}).decode({"call": [name, {}]})
    assert objects.name_of(EarlyStopping) is None


# ---- Functions and classes of the user's ---------------------------------------------------------


@dataclass(frozen=True)
class Halving(s.Schedule):
    start: float

    def _rate(self, t):
        return self.start * 0.5**t


def test_a_class_of_the_users_is_made_anew_with_its_settings():
    found = through_json(gd.SGD(Halving(0.5)), {"Halving": Halving})
    assert found == gd.SGD(Halving(0.5))
    with pytest.raises(Problem, match=r"needs a class as custom_objects\['Halving'\]"):
        through_json(Halving(0.5), {"Halving": swish})


def test_functions_are_kept_by_name_and_never_evaluated():
    encoder = objects.Encoder()
    text = json.dumps(encoder.encode([swish, functools.partial(swish)], "activation"))
    assert text == '[{"function": "swish"}, {"function": "partial"}]'
    assert encoder.functions["swish"] == {
        "from": "saving_cases.swish",
        "places": ["activation[0] 'swish'"],
    }


def test_what_custom_objects_lacks_is_listed_at_once():
    encoder = objects.Encoder()
    stack = [gd.Dense(1, swish, name="first"), gd.Dense(1, swish, name="second")]
    encoder.encode(stack, "layers")
    encoder.encode(gd.SGD(falling), "optimizer")
    encoder.encode(lambda t, y: 0.0, "loss")
    with pytest.raises(Problem) as caught:
        objects.Decoder({}, encoder.functions, {})
    text = str(caught.value)
    assert "activation 'swish' of layer first, activation 'swish' of layer second" in text
    assert "lr 'falling' of optimizer (saving_cases.falling)" in text
    assert "loss '<lambda>'" in text
    assert "custom_objects={'swish': swish, 'falling': falling, '<lambda>': f}" in text
    objects.Decoder({}, encoder.functions, {"swish": 1, "falling": 2, "<lambda>": 3})


def test_two_functions_of_one_name_are_an_error():
    encoder = objects.Encoder()
    encoder.encode(lambda z: z, "loss")
    with pytest.raises(ValueError, match="loss '<lambda>' and activation '<lambda>' of layer a"):
        encoder.encode(gd.Dense(1, lambda z: 2 * z, name="a"), "layers")


def test_equal_copies_of_a_callable_are_one_function():
    class Scale:
        def __call__(self, t):
            return 0.1

        def __eq__(self, other):
            return isinstance(other, Scale)

        __hash__ = None

    encoder = objects.Encoder()
    encoder.encode([Scale(), Scale()], "lr")
    assert [*encoder.functions] == ["Scale"]


# ---- Text that no encoder has written ------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"int": "1", "float": "nan"},
        {"int": 1},
        {"int": "1" * 101},
        {"int": "１"},
        {"float": "1.0"},
        {"float": ["nan"]},
        {"tuple": {}},
        {"dict": []},
        {"items": {}},
        {"unknown": 1},
        {"function": "open"},
        {"own": ["open", {}]},
        {"call": ["layers.Dense", []]},
        {"array": ["missing", "float64", 0, 2]},
        {"array": ["a", "float64", 0, 4]},
        {"array": ["a", "float64", -1, 1]},
        {"array": ["a", "float64", 1, -1]},
        {"array": ["a", "float64", 0, 1.0]},
        {"array": ["a", "float32", 0, 1]},
        {"array": ["a", "float64", 2, 2]},
        {"array": ["a", "float64", 0, 2**40, 2**40]},
        {"array": ["a", "float64", True, 1]},
    ],
    ids=named,
)
def test_what_is_no_value_is_refused(value):
    decoder = objects.Decoder({"a": np.zeros(3)}, {}, {})
    with pytest.raises(Problem):
        decoder.decode([value])


@pytest.mark.parametrize(
    "value",
    [
        {"call": ["layers.Dense"]},
        {"call": ["layers.Dense", {"units": -1}]},
        {"call": ["layers.Dense", {"unit": 1}]},
        {"call": ["optimizers.Adam", {"lr": "high"}]},
        {"items": [[1]]},
        {"array": []},
    ],
    ids=named,
)
def test_what_constructors_refuse_is_their_error(value):
    with pytest.raises((TypeError, ValueError)):
        objects.Decoder({}, {}, {}).decode(value)


def test_entries_that_nothing_refers_to_are_refused():
    decoder = objects.Decoder({"a": np.zeros(3)}, {}, {})
    with pytest.raises(Problem, match="nothing refers to its entry 'a'"):
        decoder.finish()


def test_all_settings_of_constructors_are_saved():
    for value in CALLS:
        if objects.name_of(type(value)) and not isinstance(value, gd.losses.Loss):
            known = set(inspect.signature(type(value)).parameters) - {"params", "unknown"}
            assert known <= set(objects.settings_of(value)) | {"self"}, value
