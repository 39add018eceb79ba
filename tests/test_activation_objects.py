"""Activations as objects: names, parameters, refusals; prelu as a ufunc of two operands."""

import copy
import pickle

import numpy as np
import pytest
from test_activations import ACTS, FROM_Z, NAMES, ROWS, ROWWISE, each_act, each_row, same_bits, ways

import gdcore as gd
from gdcore import _core


@each_act
def test_objects(act):
    for twin in pickle.loads(pickle.dumps(act)), copy.deepcopy(act), eval(repr(act)):
        assert twin == act
        assert twin.params == act.params
        assert hash(twin) == hash(act)
        assert twin([0.5, 1.0]).tolist() == act([0.5, 1.0]).tolist()
    assert [other for other in ACTS if other == act] == [act]
    assert act != act.name
    assert act.name in gd.activations.names()
    assert act.name in dir(gd.activations)
    assert gd.activations.get(act.name) == getattr(gd.activations, act.name)


def test_names_at_the_top():
    """Every row but linear, which is a module there: ufuncs, and functions with an axis."""
    for name in NAMES:
        if name != "linear":
            assert name in gd.__all__
            assert gd.activations.get(getattr(gd, name)) == gd.activations.get(name)
        assert (name in ROWWISE) != isinstance(getattr(_core, name, None), np.ufunc)


def test_get():
    get = gd.activations.get
    assert get(None) == get("linear") == get("identity")
    assert get("logistic") == get("sigmoid")
    assert get("swish") == get("silu")
    assert get("hardtanh", min_val=0, max_val=6) == get("hard_tanh", min_val=0.0, max_val=6.0)
    for approximate, name in ("none", "gelu"), ("tanh", "gelu_tanh"), (True, "gelu_tanh"):
        assert get("gelu", approximate=approximate) == get(name)
    with pytest.raises(ValueError, match=r"approximate is 'erf'; 'none' or 'tanh'"):
        get("gelu", approximate="erf")
    assert get(gd.relu) == get("relu")
    assert get(gd.softmax) == get("softmax")
    act = get("tanh")
    assert get(act) is act
    for near, *others in (
        ("relu", "ReLU", "RELU", "Relu"),
        ("leaky_relu", "LeakyReLU", "leakyrelu", "LEAKY_RELU"),
        ("log_softmax", "LogSoftmax"),
        ("relu6", "ReLU6"),
        ("hard_swish", "Hardswish", "HardSwish"),
        ("silu", "SiLU", "Swish"),
    ):
        assert all(get(other) == get(near) for other in others)
    assert get("GELU", approximate="tanh") == get("gelu_tanh")
    for name, near in ("rleu", "relu"), ("Sigmod", "sigmoid"), ("LeakReLu", "leaky_relu"):
        with pytest.raises(ValueError, match=rf"{name}.*accepted: linear.*did you mean '{near}'"):
            get(name)
    with pytest.raises(ValueError, match="'nothing like it' is unknown"):
        gd.activations.Activation("nothing like it")

    def relu(x):
        return x

    for other in relu, np.tanh, 3, [], np.zeros(3):
        with pytest.raises(TypeError, match=r"a name \(linear.*is accepted"):
            get(other)
    for identifier in "relu", act:
        with pytest.raises(TypeError, match=r"unknown parameter slope=; accepted: none"):
            get(identifier, slope=0.1)
    with pytest.raises(AttributeError, match=r"did you mean 'relu'"):
        _ = gd.activations.rleu


@each_row
def test_parameters_are_checked(name):
    get, params = gd.activations.get, ROWS[name]["params"]
    for param, default in params.items():
        for bad in np.nan, np.inf, -np.inf:
            with pytest.raises(ValueError, match=rf"{name}: {param} is -?(nan|inf); a finite"):
                get(name, **{param: bad})
        for bad in "1", None, [1.0], np.ones(1), 1j, True:
            with pytest.raises(TypeError, match=rf"{name}: {param} is .*; a number is accepted"):
                get(name, **{param: bad})
        assert get(name, **{param: np.float64(default)}) == get(name)
        assert get(name, **{param: np.float32(0.5)}) == get(name, **{param: 0.5})
        with pytest.raises(TypeError, match=rf"has its parameters.*get\('{name}', {param}=...\)"):
            get(get(name), **{param: default})
    with pytest.raises(TypeError, match=rf"{name}: unknown parameter lr=; accepted: "):
        get(name, lr=1)


OUT_OF_RANGE = [
    ("leaky_relu", {"slope": -0.1}, "slope is -0.1; slope >= 0 is accepted"),
    ("elu", {"alpha": -1}, "alpha is -1.0; alpha >= 0 is accepted"),
    ("celu", {"alpha": 0}, "alpha is 0.0; alpha > 0 is accepted"),
    ("softplus", {"beta": 0}, "beta is 0.0; beta > 0 is accepted"),
    ("hard_tanh", {"min_val": 2}, "min_val is 2.0, max_val is 1.0; min_val < max_val is accepted"),
]


def test_parameters_out_of_range():
    for name, params, message in OUT_OF_RANGE:
        with pytest.raises(ValueError, match=rf"^{name}: {message}"):
            gd.activations.get(name, **params)


@each_act
def test_parameters_reach_the_layer(act, dtype, rng):
    X, W, b, dy = (rng.normal(size=shape).astype(dtype) for shape in ((9, 4), (4, 3), 3, (9, 3)))
    z = gd.dense(X, W, b)
    y = gd.dense(X, W, b, act)
    assert same_bits(y, act(z))
    expected = gd.dense_grad(act.grad(dy, z, y), X, W)
    for known in ways(act, z):
        for found, wanted in zip(
            gd.dense_grad(dy, X, W, activation=act, **known), expected, strict=True
        ):
            assert same_bits(found, wanted)
    if act.name in FROM_Z:
        with pytest.raises(ValueError, match=rf"gradient of {act.name} needs z"):
            gd.dense_grad(dy, X, W, y, act)


@each_row
def test_gradient_refuses(name, dtype):
    act, read = gd.activations.get(name), "z" if name in FROM_Z else "y"
    x, dy = np.ones((2, 3), dtype), np.ones((2, 3), dtype)
    other = np.float64 if dtype == np.float32 else np.float32
    with pytest.raises(ValueError, match=rf"{name}.grad needs z"):
        act.grad(dy)
    with pytest.raises(ValueError, match=rf"dy has shape \(3,\) but {read} has \(2, 3\)"):
        act.grad(dy[0], **{read: x})
    with pytest.raises(TypeError, match=rf"dy is {np.dtype(other)} but {read} is {dtype}"):
        act.grad(dy.astype(other), **{read: x})
    with pytest.raises(TypeError, match=r"dy has dtype complex128"):
        act.grad(dy.astype(complex), **{read: x})
    if name in FROM_Z:
        with pytest.raises(ValueError, match=rf"{name}.grad needs z, the input"):
            act.grad(dy, y=x)


# ---- prelu ---------------------------------------------------------------------------------------


def test_prelu_takes_its_parameter_as_an_array(dtype, rng):
    """Of any strides, as a number, and for channels; negative, infinite and NaN too."""
    z = rng.normal(size=(40, 36)).astype(dtype)
    z[0, :4] = 0, -0.0, np.inf, np.nan
    one_each, channels = rng.normal(size=(2, *z.shape)).astype(dtype)
    channels = channels[0]
    channels[:2] = np.inf, np.nan
    for alpha in (
        0.25,
        -2,
        dtype.type(0.5),
        np.array(3.0, dtype),
        one_each,
        channels,
        channels[:1],
    ):
        with np.errstate(all="ignore"):
            expected = np.where(z <= 0, z * np.asarray(alpha, dtype), z)
        with np.errstate(all="raise"):
            y = gd.prelu(z, alpha)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, expected)
        assert np.array_equal(np.signbit(y[~np.isnan(y)]), np.signbit(expected[~np.isnan(y)]))
    for view in (slice(None, None, 2), slice(None, None, -1), (slice(None), slice(None, None, -3))):
        strided = gd.prelu(z[view], one_each[view])
        assert same_bits(strided, gd.prelu(z[view].copy(), one_each[view].copy()))
    column = gd.prelu(z, one_each[:, :1])
    assert same_bits(column, gd.prelu(z, np.repeat(one_each[:, :1], z.shape[1], axis=1)))
    for out in z.copy(), one_each.copy():
        first, second = (out, one_each) if np.array_equal(out, z, equal_nan=True) else (z, out)
        assert gd.prelu(first, second, out=out) is out
        assert same_bits(out, gd.prelu(z, one_each))
    assert gd.prelu(z, channels[:0].reshape(0, 1, 1)).shape == (0, *z.shape)


def test_prelu_has_one_type(dtype):
    other = np.float64 if dtype == np.float32 else np.float32
    z = np.ones(3, dtype)
    for alpha in other(0.5), np.array(0.5, other), np.ones(3, other):
        with pytest.raises(TypeError, match=rf"prelu: alpha is {np.dtype(other)} but x is {dtype}"):
            gd.prelu(z, alpha)
    with pytest.raises(TypeError, match=r"prelu: dtype float16 is not supported"):
        gd.prelu(z, np.float16(1))
    with pytest.raises(TypeError, match=r"prelu: dtype complex128 is not supported"):
        gd.prelu(z, 1j)
    for integer in np.int8, np.int64, bool:
        for alpha in np.array([2, 3], np.int8), 2, 0.25:
            y = gd.prelu(np.array([1, 0], integer), alpha)
            assert same_bits(y, np.array([1.0, 0.0]))
    assert type(gd.prelu(dtype.type(-1), 2)) is dtype.type


def test_gradient_of_prelu_s_parameter(rng):
    z, dy, v = rng.normal(size=(3, 5, 4, 3))
    for shape in (), (1,), (3,), (4, 1), (4, 3), (1, 4, 1), (5, 4, 3):
        alpha = rng.normal(size=shape)
        dz, dalpha = gd.activations.prelu_grad(dy, z, alpha)
        assert dz.shape == z.shape
        assert isinstance(dalpha, np.ndarray)
        assert dalpha.shape == shape
        w, h = rng.normal(size=shape), 1e-6

        def f(t, alpha=alpha, w=w):
            return (dy * gd.prelu(z + t * v, alpha + t * w)).sum()

        slope = (f(h) - f(-h)) / (2 * h)
        np.testing.assert_allclose((dz * v).sum() + (dalpha * w).sum(), slope, rtol=1e-7)
    act = gd.activations.get("prelu", alpha=0.5)
    dz, dalpha = gd.activations.prelu_grad(dy, z, 0.5)
    assert same_bits(dz, act.grad(dy, z))
    assert type(dalpha) is np.float64


def test_gradient_of_prelu_s_parameter_in_its_type(dtype, rng):
    """The sum runs in float64; numbers give numbers; nothing is written but the results."""
    z = np.full((100_001, 1), -1, dtype)
    dy = np.full_like(z, 0.1)
    dz, dalpha = gd.activations.prelu_grad(dy, z, np.ones(1, dtype))
    assert dz.dtype == dalpha.dtype == dtype
    np.testing.assert_allclose(dalpha, -100_001 * dy[0].astype(float), rtol=2 * np.finfo(dtype).eps)
    assert (dy == dy[0]).all()
    dz, dalpha = gd.activations.prelu_grad(dtype.type(2), dtype.type(-3), 0.5)
    assert (type(dz), type(dalpha), dz, dalpha) == (dtype.type, dtype.type, 1, -6)
    special = np.array([np.inf, -np.inf, np.nan, 0, -0.0], dtype)
    with np.errstate(all="raise"):
        dz, dalpha = gd.activations.prelu_grad(np.ones_like(special), special, 0.25)
    np.testing.assert_array_equal(dz, np.array([1, 0.25, 1, 0.25, 0.25], dtype))
    assert dalpha == -np.inf


def test_gradient_of_prelu_s_parameter_refuses(dtype):
    grad, z = gd.activations.prelu_grad, np.ones((4, 3), dtype)
    other = np.float64 if dtype == np.float32 else np.float32
    for shape in (4,), (2, 3), (1, 4, 3):
        with pytest.raises(ValueError, match=r"alpha has shape \(.*but z has \(4, 3\)"):
            grad(z, z, np.ones(shape, dtype))
    with pytest.raises(TypeError, match=r"alpha is"):
        grad(z, z, np.ones(3, other))
    with pytest.raises(ValueError, match=r"dy has shape \(3,\) but z has \(4, 3\)"):
        grad(z[0], z, 0.5)
    with pytest.raises(TypeError, match=r"dy is .* but z is"):
        grad(z.astype(other), z, 0.5)
