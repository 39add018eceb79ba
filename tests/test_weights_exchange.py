"""Weights of other libraries' networks: shapes, order, names; nothing changes where one is wrong.

The libraries themselves are in test_peers_weights.py; here stand what they hand out.
"""

from types import SimpleNamespace

import numpy as np
import pytest

import gdcore as gd
from gdcore.layers import Activation, BatchNorm, Dropout, LayerNorm, Residual

w = gd.weights


def mlp():
    return gd.Sequential([gd.Dense(4, "relu"), Dropout(0.2), gd.Dense(2), Activation("softmax")])


def deep():
    return gd.Sequential(
        [
            gd.Input(3),
            gd.Dense(4, "relu"),
            BatchNorm(),
            Activation("linear"),
            Dropout(0.1),
            Residual([LayerNorm(), gd.Dense(4, "tanh", use_bias=False), gd.Dense(4)]),
            gd.Dense(2, np.sin),
        ]
    )


DEEP = {
    "0.weight": (4, 3),
    "0.bias": (4,),
    "2.weight": (4,),
    "2.bias": (4,),
    "2.running_mean": (4,),
    "2.running_var": (4,),
    "2.num_batches_tracked": (),
    "5.0.weight": (4,),
    "5.0.bias": (4,),
    "5.1.weight": (4, 4),
    "5.3.weight": (4, 4),
    "5.3.bias": (4,),
    "6.weight": (2, 4),
    "6.bias": (2,),
}


def arrays(shapes, rng):
    return {name: np.abs(rng.normal(size=shape)) for name, shape in shapes.items()}


# ---- There and back ------------------------------------------------------------------------------


def test_names_and_shapes_of_torch():
    found = w.to_torch(deep())
    assert {name: array.shape for name, array in found.items()} == DEEP
    assert list(found) == list(DEEP)
    assert found["2.num_batches_tracked"].dtype == np.int64
    assert all(array.flags.c_contiguous for array in found.values())


def test_torch_there_and_back(rng):
    model, state = deep(), arrays(DEEP, rng)
    w.from_torch(model, state)
    assert (model.layers[0].W == state["0.weight"].T).all()
    assert (model.layers[1].moving_variance == state["2.running_var"]).all()
    assert (model.layers[4].layers[1].W == state["5.1.weight"].T).all()
    found = w.to_torch(model)
    del state["2.num_batches_tracked"], found["2.num_batches_tracked"]
    assert all((found[name] == state[name]).all() for name in state)


def test_names_of_modules_do_not_matter_and_their_order_does(rng):
    state = {
        "body.fc1.weight": (4, 3),
        "body.fc1.bias": (4,),
        "head.weight": (2, 4),
        "head.bias": (2,),
    }
    model = mlp()
    w.from_torch(model, arrays(state, rng))
    assert model.layers[0].inputs == 3
    bare = gd.Sequential([gd.Dense(2)])
    w.from_torch(bare, arrays({"weight": (2, 5), "bias": (2,)}, rng))
    assert bare.layers[0].W.shape == (5, 2)
    turned = dict(reversed(arrays(state, rng).items()))
    with pytest.raises(ValueError, match=r"state_dict\['head\.weight'\] has shape \(2, 4\)"):
        w.from_torch(model, turned)


def test_a_model_takes_the_width_and_the_type_of_the_weights(rng):
    for real, own, kept in (("f4", None, "f4"), ("f8", None, "f8"), ("f8", "float32", "f4")):
        model = gd.Sequential([BatchNorm(), gd.Dense(2)], dtype=own)
        shapes = {"0.weight": (3,), "0.bias": (3,), "0.running_mean": (3,), "0.running_var": (3,)}
        state = arrays({**shapes, "1.weight": (2, 3), "1.bias": (2,)}, rng)
        w.from_torch(model, {name: array.astype(real) for name, array in state.items()})
        assert model.dtype == np.dtype(kept)
        assert model.layers[0].inputs == 3


def test_sklearn_there_and_back(rng):
    model = mlp()
    coefs, intercepts = [rng.normal(size=(3, 4)), rng.normal(size=(4, 2))], [np.ones(4), np.ones(2)]
    w.from_sklearn(model, SimpleNamespace(coefs_=coefs, intercepts_=intercepts))
    assert (coefs[0] == model.layers[0].W).all()
    found = w.to_sklearn(model)
    assert all((a == b).all() for a, b in zip(found[0] + found[1], coefs + intercepts, strict=True))
    found[0][0][...] = 7.0
    assert (coefs[0] == model.layers[0].W).all()


def test_a_layer_without_bias_has_zeros_there():
    model = gd.Sequential([gd.Input(2), gd.Dense(3, use_bias=False), gd.Dense(1)])
    _, intercepts = w.to_sklearn(model)
    assert intercepts[0].tolist() == [0.0, 0.0, 0.0]
    coefs = [np.ones((2, 3)), np.ones((3, 1))]
    w.from_sklearn(model, coefs, [np.zeros(3), np.ones(1)])
    assert model.predict([[1.0, 1.0]]).tolist() == [[7.0]]
    with pytest.raises(ValueError, match=r"intercepts\[0\] is not zero, but layer 'dense' has no"):
        w.from_sklearn(model, coefs, [np.ones(3), np.ones(1)])


def test_weights_that_go_out_are_those_that_predict(rng):
    model = gd.Sequential([gd.Dense(3, "tanh"), gd.Dense(1)])
    model.compile(gd.EMA(gd.SGD(0.5), 0.9), "mse")
    X = rng.normal(size=(20, 2))
    model.fit(X, X[:, 0], epochs=3, verbose=0, seed=0)
    other = gd.Sequential([gd.Dense(3, "tanh"), gd.Dense(1)])
    w.from_sklearn(other, *w.to_sklearn(model))
    assert (other.predict(X) == model.predict(X)).all()
    w.from_torch(other, w.to_torch(model))
    assert (other.predict(X) == model.predict(X)).all()
    w.from_torch(model, w.to_torch(model))
    assert (other.predict(X) == model.predict(X)).all()


# ---- What does not fit ---------------------------------------------------------------------------


def unchanged(model, call):
    before = [array.tobytes() for array in model.get_weights()]
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert [array.tobytes() for array in model.get_weights()] == before
    return f"{caught.type.__name__}: {caught.value}"


BAD_TORCH = [
    ({"0.weight": None}, "TypeError: state_dict['0.weight'] is object"),
    ({"0.weight": np.ones((3, 4))}, "state_dict['0.weight'] has shape (3, 4); (4, 3) is wanted"),
    ({"0.bias": np.ones((4, 1))}, "has shape (4, 1); (4,) is wanted for dense.b"),
    ({"0.bias": np.ones(4, complex)}, "TypeError: state_dict['0.bias'] is complex128"),
    ({"0.bias": np.ones(4, np.float16)}, "TypeError: state_dict['0.bias'] is float16"),
    ({"0.bias": [[1.0], [1.0, 2.0]]}, "ValueError: state_dict['0.bias'] cannot be read"),
    ({"0.gain": np.ones(4)}, "has weight, bias, gain for the module '0'; layer 'dense'"),
    ({"9.weight": np.ones((2, 2))}, "the model has 6 layers with weights: 'dense', 'batch_"),
    ({"6.bias": np.ones(3)}, "state_dict['6.bias'] has shape (3,); (2,) is wanted"),
    ({"5.1.bias": np.ones(4)}, "takes weight"),
]


@pytest.mark.parametrize(("change", "message"), BAD_TORCH, ids=lambda v: str(v)[:40])
def test_a_state_dict_that_does_not_fit_changes_nothing(change, message, rng):
    model, state = deep(), arrays(DEEP, rng)
    text = unchanged(model, lambda: w.from_torch(model, {**state, **change}))
    assert message in text


@pytest.mark.parametrize("name", DEEP)
def test_an_entry_that_is_missing_changes_nothing(name, rng):
    if not name.endswith("tracked"):
        model, state = deep(), arrays(DEEP, rng)
        del state[name]
        unchanged(model, lambda: w.from_torch(model, state))


@pytest.mark.parametrize("state", [None, [], [1], "weights", {0: np.ones(2)}, 3.0])
def test_what_is_no_state_dict(state):
    model = deep()
    assert "state_dict is" in unchanged(model, lambda: w.from_torch(model, state))


def test_a_model_without_weights():
    with pytest.raises(ValueError, match="the model has no layers with weights"):
        w.from_torch(gd.Sequential([Dropout(0.5)]), {})


BAD_SKLEARN = [
    ((None, None), "TypeError: coefs is None"),
    (([np.ones((3, 4))], [np.ones(4)]), "coefs holds 1 arrays for 2 Dense layers"),
    (([np.ones((3, 4)), np.ones((4, 2))], None), "TypeError: intercepts is None"),
    (([np.ones((3, 4)), np.ones((4, 2))], [np.ones(4)]), "intercepts holds 1 arrays"),
    (([np.ones((3, 4)), np.ones((4, 3))], [np.ones(4), np.ones(2)]), "coefs[1] has shape (4, 3)"),
    (([np.ones((3, 4)), np.ones((4, 2))], [np.ones(4), np.ones(3)]), "intercepts[1] has shape"),
    (([np.ones((2, 4)), np.ones((4, 2))], [np.ones(4), np.ones(2)]), "coefs[0] has shape (2, 4)"),
    (([np.ones((3, 4)), ["a"]], [np.ones(4), np.ones(2)]), "TypeError: coefs[1] is <U1"),
]


@pytest.mark.parametrize(("given", "message"), BAD_SKLEARN, ids=lambda v: str(v)[:40])
def test_coefs_that_do_not_fit_change_nothing(given, message):
    model = mlp()
    model.build(3)
    assert message in unchanged(model, lambda: w.from_sklearn(model, *given))


def test_what_an_mlp_of_sklearn_does_not_have():
    for call in (w.to_sklearn, lambda model: w.from_sklearn(model, [], [])):
        with pytest.raises(ValueError, match="layer 'batch_normalization' is BatchNormalization"):
            call(deep())


def test_a_model_that_is_not_built_has_none():
    for call in (w.to_sklearn, w.to_torch):
        with pytest.raises(ValueError, match="does not know the width of X"):
            call(mlp())


def test_an_error_does_not_build_a_model():
    model = mlp()
    with pytest.raises(ValueError, match=r"coefs\[1\] has shape"):
        w.from_sklearn(model, [np.ones((3, 4)), np.ones((3, 2))], [np.ones(4), np.ones(2)])
    assert not model.built
    w.from_sklearn(model, [np.ones((5, 4)), np.ones((4, 2))], [np.ones(4), np.ones(2)])
    assert model.layers[0].inputs == 5


def test_names():
    assert w.__all__ == ["from_sklearn", "from_torch", "to_sklearn", "to_torch"]
    with pytest.raises(AttributeError, match="did you mean 'to_torch'"):
        w.to_pytorch  # noqa: B018
