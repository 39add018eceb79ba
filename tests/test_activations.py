"""Activations: twins, derivatives, accuracy, special values, every kind of operand, types, levels.

Tests run over the rows of the core's table; the wide type in which the twins are the reference is
float64 for float32 and long double for float64.
"""

import os
import subprocess
import sys

import mpmath
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
ROWWISE = [name for name in NAMES if ROWS[name]["kind"] == "rowwise"]
FROM_Z = [name for name in NAMES if ROWS[name]["reads_z"]]
# Each row at its defaults, and those with parameters at others.
ACTS = [gd.activations.get(name) for name in NAMES]
ACTS += [
    gd.activations.get(name, **dict(zip(ROWS[name]["params"], (0.5, 2.0), strict=False)))
    for name in NAMES
    if ROWS[name]["params"]
]
# Largest error in ULP where it is above 2, with some room. Over all floats in -120 .. -2^-12 and
# 2^-12 .. 16, with the fused multiply-add and without: gelu 4.31 and 5.88, mish 3.63 and 4.04, silu
# 2.41 and 2.78; over 7 10^5 doubles gelu 3.3 and 4.5, mish 3.5 and 3.7, silu 2.3 and 2.7, selu 2.3.
# What rounds nothing is exact.
BOUNDS = {"selu": 2.5, "silu": 3, "mish": 4.2, "gelu": 6, "gelu_tanh": 4}
BOUNDS |= dict.fromkeys(("linear", "relu", "relu6", "hard_tanh"), 0)
KINKS = (-3.0, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0)
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e4, -1e4, 5e-324, -5e-324)
WIDTHS = sorted({0, 1} | {w + d for w in (4, 8, 16) for d in (-1, 0, 1)})

each_row = pytest.mark.parametrize("name", NAMES)
each_act = pytest.mark.parametrize("act", ACTS, ids=repr)
each_ufunc = pytest.mark.parametrize("ufunc", UFUNCS, ids=ELEMENTWISE)
precise = np.finfo(np.longdouble).nmant >= 63


def special(dtype):
    """Special values of IEEE 754, the ends of the range, and numbers whose exponential is out."""
    info = np.finfo(dtype)
    with np.errstate(under="ignore"):
        ends = [info.max, -info.max, info.tiny, info.smallest_subnormal, -info.smallest_subnormal]
        return np.array([*SPECIAL, *ends], dtype)


def forward(act, z):
    """The twin in the wide type."""
    with np.errstate(all="ignore"):
        return ACTIVATIONS[act.name][0](z.astype(WIDE[z.dtype]), **act.params)


def backward(act, dy, z, y):
    """The twin's gradient."""
    with np.errstate(all="ignore"):
        return ACTIVATIONS[act.name][1](dy, z, y, **act.params)


def bound(act, z):
    """Largest error in ULP at each z: the argument w(z) of gelu_tanh is rounded, which costs its
    negative tail in proportion."""
    bounds = np.full(np.shape(z), float(BOUNDS.get(act.name, 2)))
    if act.name == "gelu_tanh":
        t = np.clip(-np.nan_to_num(z).astype(np.float64), 0, 100)
        bounds += 2.5 * np.sqrt(8 / np.pi) * (t + 0.044715 * t**3)
    return bounds


def away_from_kinks(z):
    for kink in KINKS:
        z = np.where(np.abs(z - kink) < 0.01, kink + 0.01, z)
    return z


def ways(act, z):
    """The arguments from which a gradient can be had."""
    y = act(z)
    return [{"z": z}, {"z": z, "y": y}] + ([] if act.name in FROM_Z else [{"y": y}])


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
@pytest.mark.parametrize("act", [act for act in ACTS if act.name not in ROWWISE], ids=repr)
def test_accuracy(act, dtype, rng):
    tail = -rng.uniform(0, 120 if dtype == np.float32 else 800, 2**14).astype(dtype)
    for z in all_exponents(dtype, 2**16, rng), ordinary(dtype, 2**16, rng), tail:
        errors = ulp_errors(act(z), forward(act, z)) - bound(act, z)
        assert errors.max() <= 0, f"at {z[errors.argmax()]!r}"


EXACT = {  # the textbook's line, for numbers of mpmath
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "tanh": mpmath.tanh,
    "elu": lambda z: z if z > 0 else mpmath.expm1(z),
    "celu": lambda z: z if z > 0 else mpmath.expm1(z),
    "selu": lambda z: (
        mpmath.mpf("1.0507009873554804934193349852946")
        * (z if z > 0 else mpmath.mpf("1.6732632423543772848170429916717") * mpmath.expm1(z))
    ),
    "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "gelu": lambda z: z * mpmath.ncdf(z),
    "gelu_tanh": lambda z: (
        z * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf("0.044715") * z**3))) / 2
    ),
    "mish": lambda z: z * mpmath.tanh(mpmath.log1p(mpmath.exp(z))),
}


@pytest.mark.parametrize("name", EXACT)
def test_values_and_slopes_by_mpmath(name, rng):
    act = gd.activations.get(name)
    z = np.concatenate([rng.normal(size=40), rng.uniform(-36, 36, 40), [1e-300, -1e-20]])
    y, dz = act(z), act.grad(np.ones_like(z), z, act(z))
    with mpmath.workdps(400):  # 1 + tanh comes down to the smallest double
        for at, value, slope, limit in zip(z.tolist(), y, dz, bound(act, z), strict=True):
            true = EXACT[name](mpmath.mpf(at))
            unit = np.spacing(abs(float(true)))
            assert abs(mpmath.mpf(float(value)) - true) <= limit * unit, at
            step = mpmath.mpf(10) ** -40
            true = (EXACT[name](mpmath.mpf(at) + step) - true) / step
            assert abs(mpmath.mpf(float(slope)) - true) <= 1e-15, at


@pytest.mark.skipif(not precise, reason="long double is no wider than double here")
@pytest.mark.parametrize("width", [1, 2, 3, 10, 16, 17, 100, 5000])
@pytest.mark.parametrize("name", ROWWISE)
def test_accuracy_along_rows(name, width, dtype, rng):
    """4 ULP, of probabilities down to the subnormals too, and of logarithms near 0."""
    scale = rng.choice([0.1, 1.0, 10.0, 40.0], size=(20_000 // width, 1))
    z = (scale * rng.normal(size=(20_000 // width, width))).astype(dtype)
    act = gd.activations.get(name)
    assert ulp_errors(np.abs(act(z)), np.abs(forward(act, z))).max() <= 4


def scale_of_gradient(act, dy, y):
    """Of the terms that are added up."""
    own = np.abs(dy) * (1 + np.abs(y))
    return own.sum(axis=-1, keepdims=True) if act.name in ROWWISE else own


@each_act
def test_gradient_is_the_twin_s(act, dtype, rng):
    z, dy = rng.normal(size=(2, 37, 11)).astype(dtype)
    y = act(z)
    true = backward(act, *(a.astype(WIDE[dtype]) for a in (dy, z, y)))
    dz = act.grad(dy, z, y)
    assert dz.dtype == dtype
    assert np.all(np.abs(dz - true) <= 4 * np.finfo(dtype).eps * scale_of_gradient(act, dy, y))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_gradient_keeps_its_digits(name, dtype, rng):
    """Nearly saturated too: 4 ULP of what y says, and of what z says 16 in the negative tail."""
    act = gd.activations.get(name)
    z, dy = (5 * rng.normal(size=(2, 5000))).astype(dtype)
    limit = 4
    if name in FROM_Z:
        z, limit = -2 - np.abs(z), 16
    y = act(z)
    if name == "selu":  # whose y + 1.758... has the rounding of that number
        y = np.maximum(y, dtype.type(-1))
    true = backward(act, *(a.astype(WIDE[dtype]) for a in (dy, z, y)))
    assert np.all(ulp_errors(act.grad(dy, z, y), true) <= limit + 2 * bound(act, z))


@each_act
def test_central_differences(act, rng):
    z, v, dy = rng.normal(size=(3, 50, 7))
    z, h = away_from_kinks(3 * z), 6e-6
    slope = (dy * (act(z + h * v) - act(z - h * v))).sum(axis=-1) / (2 * h)
    for known in ways(act, z):
        np.testing.assert_allclose((act.grad(dy, **known) * v).sum(axis=-1), slope, atol=4e-8)


@each_act
def test_complex_step(act, rng):
    """The twin's forward side has the twin's gradient, to the last digits."""
    z, v, dy = rng.normal(size=(3, 50, 7))
    z, (twin, _) = away_from_kinks(3 * z), ACTIVATIONS[act.name]
    slope = (dy * (twin(z + 1e-200j * v, **act.params).imag / 1e-200)).sum(axis=-1)
    dz = backward(act, dy, z, twin(z, **act.params))
    scale = np.abs(dy).sum(axis=-1) * np.abs(v).max(axis=-1)
    assert np.all(np.abs((dz * v).sum(axis=-1) - slope) <= 2e-14 * scale)


# ---- Special values ------------------------------------------------------------------------------


@each_act
def test_special_values(act, dtype):
    """Each as a row of its own: what the twin gives, and the sign of zero too."""
    z = special(dtype)[:, None]
    true = forward(act, z)
    with np.errstate(all="raise"):
        y = act(z)
    assert np.all(ulp_errors(y, true) <= np.minimum(1, bound(act, z)))
    assert np.array_equal(np.isnan(y), np.isnan(z) | (act.name in ROWWISE) & np.isinf(z))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(np.isinf(y), np.isinf(true.astype(dtype)))


@each_act
def test_gradient_at_special_values(act, dtype):
    """Finite at infinities, of every activation of an element."""
    z = special(dtype)[:, None]
    y, dy = act(z), np.full_like(z, 3)
    true = backward(act, dy, z, y)
    with np.errstate(all="raise"):
        dz = act.grad(dy, z, y)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(dz, true, rtol=8 * eps, atol=4 * eps)
    if act.name not in ROWWISE:
        assert np.isfinite(dz[~np.isnan(z)]).all()


AT_KINKS = {  # of torch
    "relu": {0: 0},
    "leaky_relu": {0: 0.01},
    "prelu": {0: 0.25},
    "relu6": {0: 0, 6: 0},
    "hard_tanh": {-1: 0, 1: 0},
    "hard_sigmoid": {-3: 0, 3: 0},
    "hard_swish": {-3: 0, 3: 1},
    "elu": {0: 1},
    "selu": {0: 1.7580993408473768},
    "celu": {0: 1},
}


def test_gradients_at_kinks(dtype):
    for name, slopes in AT_KINKS.items():
        act = gd.activations.get(name)
        for kink, slope in slopes.items():
            z = np.array([kink, -kink if kink else -0.0, kink], dtype)[[0, 2] if kink else [0, 1]]
            for known in ways(act, z):
                assert np.all(act.grad(np.ones_like(z), **known) == dtype.type(slope)), (name, kink)


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
    act = gd.activations.get(name)
    function = getattr(gd, name) if name in ROWWISE else getattr(_core, name)
    for call in (act if name == "prelu" else function, act) * 2:  # NumPy remembers what it resolved
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
    for known in ways(act, z):
        act.grad(dy, **known)
    assert same_bits(z, kept)
    assert same_bits(dy, kept_dy)


@each_act
def test_out(act, dtype, rng):
    z = rng.normal(size=(6, 5)).astype(dtype)
    expected, out = act(z), np.empty_like(z)
    assert act(z, out=out) is out
    assert same_bits(out, expected)
    assert act(z, out=z) is z
    assert same_bits(z, expected)


# ---- Along rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROWWISE)
@pytest.mark.parametrize("width", [*range(41), 255, 256, 257, 4095, 4096, 4097, 9000])
def test_rows_of_any_width(name, width, dtype, rng):
    """Rows are independent: alone, among others, at a block's edge, their bits are the same."""
    rows, act = 600 if width < 40 else 3, gd.activations.get(name)
    z = (4 * rng.normal(size=(rows, width))).astype(dtype)
    y = act(z)
    np.testing.assert_allclose(
        y, forward(act, z).astype(dtype), rtol=8 * np.finfo(dtype).eps, atol=0
    )
    for r in (0, 1, rows - 1) if rows == 3 else (0, 1, 254, 255, 256, 257, rows - 1):
        assert same_bits(act(z[r]), y[r])


@pytest.mark.parametrize("name", ROWWISE)
def test_rows_along_an_axis(name, dtype, rng):
    function, z = getattr(gd, name), rng.normal(size=(3, 4, 5)).astype(dtype)
    for axis in range(-3, 3):
        y = function(z, axis=axis)
        moved = function(np.moveaxis(z, axis, -1).copy())
        assert y.shape == z.shape
        assert same_bits(np.moveaxis(y, axis, -1).copy(), moved)


def test_softmax_adds_up_to_1(dtype, rng):
    z = rng.normal(size=(3, 4, 5)).astype(dtype)
    for axis in range(3):
        total = gd.softmax(z, axis=axis).sum(axis=axis)
        np.testing.assert_allclose(total, 1, rtol=4 * np.finfo(dtype).eps)
        total = np.exp(gd.log_softmax(z, axis=axis)).sum(axis=axis)
        np.testing.assert_allclose(total, 1, rtol=8 * np.finfo(dtype).eps)


def test_log_softmax_at_its_limits(dtype):
    inf, nan = np.inf, np.nan
    z = [[1e4, -1e4, 0], [0, -inf, -inf], [inf, 0, 1], [nan, 0, 1], [-inf] * 3, [0, 0, nan]]
    want = [[0, -2e4, -1e4], [0, -inf, -inf], [nan] * 3, [nan] * 3, [nan] * 3, [nan] * 3]
    np.testing.assert_array_equal(gd.log_softmax(np.array(z, dtype)), np.array(want, dtype))
    nearly = gd.log_softmax(np.array([0, -30.0], dtype))  # log(1 + e^-30) keeps its digits
    np.testing.assert_allclose(nearly[0], -np.exp(-30.0), rtol=1e-6)


def test_softmax_at_its_limits(dtype):
    inf, nan = np.inf, np.nan
    z = [[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [0, -inf, -inf], [inf, 0, 1], [nan, 0, 1]]
    z += [[-inf, -inf, -inf], [0, 0, nan], [-0.0, 0.0, -inf]]
    third = 1 / np.array(3, dtype)
    want = [[1, 0, 0], [third] * 3, [1, 0, 0], [nan] * 3, [nan] * 3, [nan] * 3, [nan] * 3]
    want += [[0.5, 0.5, 0]]
    np.testing.assert_array_equal(gd.softmax(np.array(z, dtype)), np.array(want, dtype))


@pytest.mark.parametrize("name", ROWWISE)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (0,), (2, 0, 3)])
def test_rows_of_nothing(name, shape, dtype):
    for axis in range(len(shape)):
        y = getattr(gd, name)(np.empty(shape, dtype), axis=axis)
        assert y.shape == shape
        assert y.dtype == dtype


@pytest.mark.parametrize("name", ROWWISE)
def test_functions_of_rows_refuse(name):
    function, act = getattr(gd, name), gd.activations.get(name)
    with pytest.raises(ValueError, match=rf"z is a number; {name}.*at least one axis"):
        function(3.0)
    with pytest.raises(ValueError, match=r"axis 2 is out of bounds.*dimension 2"):
        function(np.ones((2, 2)), axis=2)
    with pytest.raises(TypeError):
        function(np.ones((2, 2)), axis=(0, 1))
    with pytest.raises(TypeError, match=r"masked"):
        function(np.ma.masked_array(np.ones((2, 2)), mask=np.eye(2)), axis=0)
    z = np.ones(3, np.float32)
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
@given(z=arrays())
def test_any_values(z):
    for act in ACTS:
        y = act(z)
        assert y.dtype == z.dtype
        assert y.shape == z.shape
        if z.size:
            true = forward(act, z)
            true = np.where(np.isnan(z), np.nan, true) if act.name not in ROWWISE else true
            limit = 4 if act.name in ROWWISE else bound(act, z)
            y, true = (np.abs(y), np.abs(true)) if act.name in ROWWISE else (y, true)
            assert np.all(ulp_errors(y, true) <= limit), act


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
