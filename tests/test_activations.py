"""Activations: twins, derivatives, accuracy, special values, every kind of operand, types, levels.

Tests run over the rows of the core's table; the wide type in which the twins are the reference is
float64 for float32 and long double for float64.
"""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_math import WIDE, all_exponents, bits, ordinary, ulp_errors

import gdcore as gd
from gdcore import _core
from gdcore.reference.activations import ACTIVATIONS

ROWS = {row["name"]: row for row in _core.ACTIVATIONS}
NAMES = list(ROWS)
ELEMENTWISE = [name for name in NAMES if ROWS[name]["kind"] == "elementwise"]
UFUNCS = [getattr(_core, name) for name in ELEMENTWISE]
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e4, -1e4, 5e-324, -5e-324)
WIDTHS = sorted({0, 1} | {w + d for w in (4, 8, 16) for d in (-1, 0, 1)})

each_row = pytest.mark.parametrize("name", NAMES)
each_ufunc = pytest.mark.parametrize("ufunc", UFUNCS, ids=ELEMENTWISE)
precise = np.finfo(np.longdouble).nmant >= 63


def special(dtype):
    """Special values of IEEE 754, the ends of the range, and numbers whose exponential is out."""
    info = np.finfo(dtype)
    with np.errstate(under="ignore"):
        ends = [info.max, -info.max, info.tiny, info.smallest_subnormal, -info.smallest_subnormal]
        return np.array([*SPECIAL, *ends], dtype)


def forward(name, z):
    """The twin in the wide type."""
    with np.errstate(all="ignore"):
        return ACTIVATIONS[name][0](z.astype(WIDE[z.dtype]))


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(bits(a), bits(b))


# ---- The twins -----------------------------------------------------------------------------------


def test_every_row_has_a_twin():
    assert ACTIVATIONS.keys() == ROWS.keys()


@each_row
def test_the_example_of_the_table(name):
    expected = np.array(eval(ROWS[name]["example"]))
    np.testing.assert_allclose(getattr(gd.activations, name)([-1.0, 0.0, 2.0]), expected, rtol=1e-6)


@pytest.mark.skipif(not precise, reason="long double is no wider than double here")
@pytest.mark.parametrize("sample", [all_exponents, ordinary])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_accuracy(name, sample, dtype, rng):
    """Promise: sigmoid and tanh within 2 ULP; what rounds nothing is exact."""
    z = sample(dtype, 2**17, rng)
    errors = ulp_errors(getattr(_core, name)(z), forward(name, z))
    exact = name in ("linear", "relu")
    assert errors.max() <= (0 if exact else 2), f"at {z[errors.argmax()]!r}"


@pytest.mark.skipif(not precise, reason="long double is no wider than double here")
@pytest.mark.parametrize("width", [1, 2, 3, 10, 16, 17, 100, 5000])
def test_accuracy_of_softmax(width, dtype, rng):
    """4 ULP, of probabilities down to the subnormals too."""
    scale = rng.choice([0.1, 1.0, 10.0, 40.0], size=(20_000 // width, 1))
    z = (scale * rng.normal(size=(20_000 // width, width))).astype(dtype)
    assert ulp_errors(gd.softmax(z), forward("softmax", z)).max() <= 4


@each_row
def test_gradient_is_the_twin_s(name, dtype, rng):
    z, dy = rng.normal(size=(2, 37, 11)).astype(dtype)
    y = gd.activations.get(name)(z)
    true = ACTIVATIONS[name][1](*(a.astype(WIDE[dtype]) for a in (dy, z, y)))
    terms = np.abs(dy) + np.abs(dy * y).sum(axis=-1, keepdims=True)
    dz = gd.activations.get(name).grad(dy, z, y)
    assert dz.dtype == dtype
    assert np.all(np.abs(dz - true) <= 4 * np.finfo(dtype).eps * terms)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_gradient_keeps_its_digits(name, dtype, rng):
    """4 ULP of what y says, where the activation is nearly saturated too."""
    z, dy = (5 * rng.normal(size=(2, 5000))).astype(dtype)
    y = gd.activations.get(name)(z)
    true = ACTIVATIONS[name][1](*(a.astype(WIDE[dtype]) for a in (dy, z, y)))
    assert ulp_errors(gd.activations.get(name).grad(dy, y=y), true).max() <= 4


@each_row
def test_central_differences(name, rng):
    z, v, dy = rng.normal(size=(3, 50, 7))
    z += 0.01 * np.sign(z)  # the kink of relu is no point to differentiate at
    act, h = gd.activations.get(name), 6e-6
    slope = (dy * (act(z + h * v) - act(z - h * v))).sum(axis=-1) / (2 * h)
    for known in {"z": z}, {"y": act(z)}, {"z": z, "y": act(z)}:
        np.testing.assert_allclose((act.grad(dy, **known) * v).sum(axis=-1), slope, atol=2e-8)


@each_row
def test_complex_step(name, rng):
    """The twin's forward side has the twin's gradient, to the last digits."""
    z, v, dy = rng.normal(size=(3, 50, 7))
    twin, twin_grad = ACTIVATIONS[name]
    slope = (dy * (twin(z + 1e-200j * v).imag / 1e-200)).sum(axis=-1)
    dz = twin_grad(dy, z, twin(z))
    scale = np.abs(dy).sum(axis=-1) * np.abs(v).max(axis=-1)
    assert np.all(np.abs((dz * v).sum(axis=-1) - slope) <= 1e-14 * scale)


# ---- Special values ------------------------------------------------------------------------------


@each_row
def test_special_values(name, dtype):
    """Each as a row of its own: exactly what the twin gives, rounded; the sign of zero too."""
    z = special(dtype)[:, None]
    with np.errstate(all="ignore"):
        true = forward(name, z).astype(dtype)
    with np.errstate(all="raise"):
        y = gd.activations.get(name)(z)
    np.testing.assert_array_equal(y, true)
    known = ~np.isnan(true)
    assert np.array_equal(np.signbit(y[known]), np.signbit(true[known]))


@each_row
def test_gradient_at_special_values(name, dtype):
    z = special(dtype)[:, None]
    y, dy = gd.activations.get(name)(z), np.full_like(z, 3)
    with np.errstate(all="ignore"):
        true = ACTIVATIONS[name][1](dy, z, y)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(gd.activations.get(name).grad(dy, z, y), true)


@each_ufunc
def test_nothing_warns(ufunc, dtype, rng):
    """Wherever the value stands, in a vector or in the rest, contiguous or strided."""
    x = np.repeat(special(dtype), 37)
    with np.errstate(all="raise"):
        for operand in x, x[::2], x[::-1], x[:1], x.astype(dtype.newbyteorder("S")):
            ufunc(operand)


# ---- Operands of the ufuncs ----------------------------------------------------------------------


@each_ufunc
@pytest.mark.parametrize("size", WIDTHS)
def test_any_length_and_start(ufunc, size, dtype, rng):
    x = rng.normal(size=64).astype(dtype)
    whole = ufunc(x)
    for start in range(9):  # one element further each time: every alignment of a vector
        out = np.full(size + 2, 7, dtype)
        ufunc(x[start : start + size], out=out[1:-1])
        assert same_bits(out[1:-1], whole[start : start + size])
        assert out[0] == out[-1] == 7


@each_ufunc
def test_any_strides(ufunc, dtype, rng):
    x = rng.normal(size=(40, 36)).astype(dtype)
    packed = np.zeros(x.size * dtype.itemsize + 1, np.uint8)[1:].view(dtype)
    packed[:] = x.ravel()
    operands = [x[::2], x[::-1], x[:, ::-3], x.T, np.asfortranarray(x), x[:, 5], x[3:4, 5:6]]
    operands += [np.broadcast_to(x[0], (5, 36)), np.broadcast_to(x[:, :1], (40, 600)), packed]
    for operand in operands:
        assert same_bits(ufunc(operand), ufunc(operand.copy(order="C")).reshape(operand.shape))
        out = np.empty((*operand.shape, 2), dtype)[..., 0]
        assert ufunc(operand, out=out) is out
        assert same_bits(out.copy(), ufunc(operand.copy(order="C")))


@each_ufunc
def test_in_place(ufunc, dtype, rng):
    x = rng.normal(size=1003).astype(dtype)
    expected = ufunc(x)
    for view in (slice(None), slice(None, None, 2), slice(None, None, -1)):
        y = x.copy()
        ufunc(y[view], out=y[view])
        assert same_bits(y[view].copy(), expected[view].copy())
    y = x.copy()
    ufunc(y[:-1], out=y[1:])  # input and output overlap, one element apart
    assert same_bits(y[1:], expected[:-1])


@each_ufunc
def test_where_and_dtype(ufunc, dtype, rng):
    x = rng.normal(size=(7, 33)).astype(dtype)
    where = rng.random(x.shape) < 0.5
    out = np.full(x.shape, 7, dtype)
    ufunc(x, out=out, where=where)
    assert np.array_equal(out, np.where(where, ufunc(x), 7))
    for other in np.float32, np.float64:
        assert same_bits(ufunc(x, dtype=other), ufunc(x.astype(other)))
    assert ufunc(x[0], out=np.empty_like(x)).shape == x.shape
    with pytest.raises(TypeError):
        ufunc(x, dtype=np.float16)


INTEGERS = [np.dtype(code) for code in "?bBhHiIlLqQ"]


@each_ufunc
@pytest.mark.parametrize("integer", INTEGERS, ids=str)
def test_integers_are_read_as_float64(ufunc, integer):
    x = np.arange(100).astype(integer)
    assert same_bits(ufunc(x), ufunc(x.astype(np.float64)))
    assert same_bits(np.asarray(ufunc(x[1])), np.asarray(ufunc(np.float64(1))))


REFUSED = [np.float16, np.longdouble, np.complex64, np.complex128, object, "U3", "M8[s]"]


@pytest.mark.parametrize("refused", REFUSED, ids=lambda t: np.dtype(t).name)
@each_row
def test_other_types_are_refused(name, refused):
    x = np.ones(3).astype(np.int64).astype(refused)
    function = getattr(_core, name, gd.softmax)
    for call in (function, gd.activations.get(name)) * 2:  # NumPy remembers what it resolved
        with pytest.raises(TypeError, match=r"dtype .*float32, float64, integers.*astype"):
            call(x)


@each_row
def test_numbers_and_lists(name):
    act = gd.activations.get(name)
    for number, kind in (0.5, np.float64), (np.float32(0.5), np.float32), (2, np.float64):
        assert type(act(number)) is kind
        assert act(number) == act(np.array([number]))[0]
        assert type(act.grad(number, z=number)) is kind
    assert type(act(np.array(0.5))) is np.float64
    assert act([[1, 2], [3, 4]]).dtype == np.float64
    assert same_bits(act([[1, 2], [3, 4]]), act(np.array([[1.0, 2.0], [3.0, 4.0]])))


@each_row
def test_operands_are_not_written(name, dtype, rng):
    z, dy = rng.normal(size=(2, 5, 6)).astype(dtype)
    kept, kept_dy = z.copy(), dy.copy()
    z.flags.writeable = dy.flags.writeable = False
    act = gd.activations.get(name)
    act.grad(dy, y=act(z))
    assert same_bits(z, kept)
    assert same_bits(dy, kept_dy)


@each_row
def test_out(name, dtype, rng):
    z = rng.normal(size=(6, 5)).astype(dtype)
    act = gd.activations.get(name)
    expected, out = act(z), np.empty_like(z)
    assert act(z, out=out) is out
    assert same_bits(out, expected)
    assert act(z, out=z) is z
    assert same_bits(z, expected)


# ---- Softmax -------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [*range(41), 255, 256, 257, 4095, 4096, 4097, 9000])
def test_softmax_of_any_width(width, dtype, rng):
    """Rows are independent: alone, among others, at a block's edge, their bits are the same."""
    rows = 600 if width < 40 else 3
    z = (4 * rng.normal(size=(rows, width))).astype(dtype)
    y = gd.softmax(z)
    np.testing.assert_allclose(
        y, forward("softmax", z).astype(dtype), rtol=8 * np.finfo(dtype).eps, atol=0
    )
    for r in (0, 1, rows - 1) if rows == 3 else (0, 1, 254, 255, 256, 257, rows - 1):
        assert same_bits(gd.softmax(z[r]), y[r])


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_softmax_along_an_axis(axis, dtype, rng):
    z = rng.normal(size=(3, 4, 5)).astype(dtype)
    y = gd.softmax(z, axis=axis)
    moved = gd.softmax(np.moveaxis(z, axis, -1).copy())
    assert y.shape == z.shape
    assert same_bits(np.moveaxis(y, axis, -1).copy(), moved)
    np.testing.assert_allclose(y.sum(axis=axis), 1, rtol=4 * np.finfo(dtype).eps)


def test_softmax_at_its_limits(dtype):
    inf, nan = np.inf, np.nan
    z = [[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [0, -inf, -inf], [inf, 0, 1], [nan, 0, 1]]
    z += [[-inf, -inf, -inf], [0, 0, nan], [-0.0, 0.0, -inf]]
    third = 1 / np.array(3, dtype)
    want = [[1, 0, 0], [third] * 3, [1, 0, 0], [nan] * 3, [nan] * 3, [nan] * 3, [nan] * 3]
    want += [[0.5, 0.5, 0]]
    np.testing.assert_array_equal(gd.softmax(np.array(z, dtype)), np.array(want, dtype))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (0,), (2, 0, 3)])
def test_softmax_of_nothing(shape, dtype):
    for axis in range(len(shape)):
        y = gd.softmax(np.empty(shape, dtype), axis=axis)
        assert y.shape == shape
        assert y.dtype == dtype


def test_softmax_refuses():
    with pytest.raises(ValueError, match=r"z is a number.*at least one axis"):
        gd.softmax(3.0)
    with pytest.raises(ValueError, match=r"axis 2 is out of bounds.*dimension 2"):
        gd.softmax(np.ones((2, 2)), axis=2)
    with pytest.raises(TypeError):
        gd.softmax(np.ones((2, 2)), axis=(0, 1))
    with pytest.raises(TypeError, match=r"masked"):
        gd.softmax(np.ma.masked_array(np.ones((2, 2)), mask=np.eye(2)), axis=0)
    z, act = np.ones(3, np.float32), gd.activations.softmax
    with pytest.raises(ValueError, match=r"out is float32 of shape \(4,\).*\(3,\)"):
        act(z, out=np.empty(4, np.float32))
    with pytest.raises(ValueError, match=r"out is float64.*the result is float32"):
        act(z, out=np.empty(3))
    with pytest.raises(TypeError, match=r"out is list"):
        act(z, out=[0, 0, 0])


# ---- Values by the thousand ----------------------------------------------------------------------


@st.composite
def arrays(draw):
    """An array of 1 to 3 axes, any values, the types of the core."""
    width = draw(st.sampled_from([32, 64]))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=20))
    return draw(hnp.arrays(f"f{width // 8}", shape, elements=st.floats(width=width)))


@pytest.mark.skipif(not precise, reason="long double is no wider than double here")
@each_row
@given(z=arrays())
def test_any_values(name, z):
    y = gd.activations.get(name)(z)
    assert y.dtype == z.dtype
    assert y.shape == z.shape
    if z.size:
        true = forward(name, z)
        true = np.where(np.isnan(z), np.nan, true) if name != "softmax" else true
        assert ulp_errors(y, true).max() <= 4


# ---- Levels --------------------------------------------------------------------------------------

DIGESTS = """
import hashlib, numpy as np, gdcore as gd
from gdcore import _core
for real in "f4", "f8":
    for width in 1, 3, 10, 16, 17, 1000, 5000:
        rows = 10_000 // width + 1
        z = np.sin(np.arange(rows * width) ** 1.5).reshape(rows, width).astype(real) * 20
        for name in gd.activations.names():
            act = gd.activations.get(name)
            y = act(z)
            dz = act.grad(z[::-1].copy(), z, y)
            print(name, real, width, hashlib.sha256(y.tobytes() + dz.tobytes()).hexdigest())
"""


def test_fused_levels_give_the_same_bits():
    fused = [level for level in _core.levels() if level != "base"]
    if len(fused) < 2:
        pytest.skip(f"this processor has one level with a fused multiply-add at most: {fused}")
    outputs = {run(DIGESTS, level) for level in fused}
    assert len(outputs) == 1
    assert outputs.pop().count("\n") == 2 * 7 * len(NAMES)


def run(code, level):
    """What the code prints with the level forced."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "GDCORE_ISA": level},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


# ---- The objects ---------------------------------------------------------------------------------


@each_row
def test_objects(name):
    act = gd.activations.get(name)
    assert act == getattr(gd.activations, name)
    for twin in pickle.loads(pickle.dumps(act)), copy.deepcopy(act), eval(repr(act)):
        assert twin == act
        assert hash(twin) == hash(act)
        assert twin([0.5, 1.0]).tolist() == act([0.5, 1.0]).tolist()
    assert [other for other in NAMES if gd.activations.get(other) == act] == [name]
    assert act != name
    assert name in gd.activations.names()
    assert name in dir(gd.activations)


def test_get():
    get = gd.activations.get
    assert get(None) == get("linear") == get("identity")
    assert get("logistic") == get("sigmoid")
    assert get(gd.relu) == get("relu")
    assert get(gd.softmax) == get("softmax")
    act = get("tanh")
    assert get(act) is act
    for name, near in ("rleu", "relu"), ("ReLU", "relu"), ("sigmod", "sigmoid"):
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
def test_gradient_refuses(name, dtype):
    act = gd.activations.get(name)
    y, dy = np.ones((2, 3), dtype), np.ones((2, 3), dtype)
    other = np.float64 if dtype == np.float32 else np.float32
    with pytest.raises(ValueError, match=rf"{name}.grad needs z or y; neither was given"):
        act.grad(dy)
    with pytest.raises(ValueError, match=r"dy has shape \(3,\) but y has \(2, 3\)"):
        act.grad(dy[0], y=y)
    with pytest.raises(TypeError, match=rf"dy is {np.dtype(other)} but y is {dtype}"):
        act.grad(dy.astype(other), y=y)
    with pytest.raises(TypeError, match=r"dy has dtype complex128"):
        act.grad(dy.astype(complex), y=y)
