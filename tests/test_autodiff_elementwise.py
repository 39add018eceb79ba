"""Operators and elementwise functions: values, types, first and second derivatives."""

import math
import operator
import warnings

import gradcheck
import mpmath
import numpy as np
import pytest

import gdcore as gd
from gdcore import _core
from gdcore.autodiff._rules import JVP, VJP

mpmath.mp.dps = 40

# NumPy's function, mpmath's, and points of its domain.
UNARY = {
    "exp": (mpmath.exp, [-30.0, -1.0, 0.0, 0.5, 20.0]),
    "exp2": (lambda x: mpmath.power(2, x), [-30.0, -1.0, 0.0, 0.5, 20.0]),
    "expm1": (mpmath.expm1, [-30.0, -1.0, 1e-10, 0.5, 20.0]),
    "log": (mpmath.log, [1e-10, 0.5, 1.0, 3.0, 1e10]),
    "log2": (lambda x: mpmath.log(x, 2), [1e-10, 0.5, 1.0, 3.0, 1e10]),
    "log10": (mpmath.log10, [1e-10, 0.5, 1.0, 3.0, 1e10]),
    "log1p": (mpmath.log1p, [-0.9, 1e-10, 0.5, 3.0, 1e10]),
    "sin": (mpmath.sin, [-7.0, -1.0, 0.0, 0.5, 20.0]),
    "cos": (mpmath.cos, [-7.0, -1.0, 0.0, 0.5, 20.0]),
    "tan": (mpmath.tan, [-7.0, -1.0, 0.0, 0.5, 20.0]),
    "arcsin": (mpmath.asin, [-0.99, -0.5, 0.0, 0.3, 0.9999]),
    "arccos": (mpmath.acos, [-0.99, -0.5, 0.0, 0.3, 0.9999]),
    "arctan": (mpmath.atan, [-1e5, -0.5, 0.0, 0.3, 7.0]),
    "sinh": (mpmath.sinh, [-7.0, -1.0, 0.0, 0.5, 20.0]),
    "cosh": (mpmath.cosh, [-7.0, -1.0, 0.0, 0.5, 20.0]),
    "tanh": (mpmath.tanh, [-3.0, -1.0, 0.0, 0.5, 2.0]),
    "arcsinh": (mpmath.asinh, [-1e5, -0.5, 0.0, 0.3, 7.0]),
    "arccosh": (mpmath.acosh, [1.0001, 1.5, 3.0, 7.0, 1e5]),
    "arctanh": (mpmath.atanh, [-0.99, -0.5, 0.0, 0.3, 0.9999]),
    "sqrt": (mpmath.sqrt, [1e-10, 0.5, 1.0, 3.0, 1e10]),
    "cbrt": (lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), [-8.0, -1e-5, 0.5, 3.0, 1e10]),
    "square": (lambda x: x * x, [-1e5, -0.5, 0.0, 0.3, 7.0]),
    "reciprocal": (lambda x: 1 / x, [-1e5, -0.5, 1e-5, 0.3, 7.0]),
    "negative": (lambda x: -x, [-1e5, -0.5, 0.0, 0.3, 7.0]),
    "positive": (lambda x: +x, [-1e5, -0.5, 0.0, 0.3, 7.0]),
    "conjugate": (lambda x: +x, [-1e5, -0.5, 0.0, 0.3, 7.0]),
    "absolute": (abs, [-1e5, -0.5, 1e-5, 0.3, 7.0]),
    "fabs": (abs, [-1e5, -0.5, 1e-5, 0.3, 7.0]),
    "deg2rad": (mpmath.radians, [-180.0, 0.0, 1.0, 7.0, 45.0]),
    "radians": (mpmath.radians, [-180.0, 0.0, 1.0, 7.0, 45.0]),
    "rad2deg": (mpmath.degrees, [-3.0, 0.0, 1.0, 7.0, 45.0]),
    "degrees": (mpmath.degrees, [-3.0, 0.0, 1.0, 7.0, 45.0]),
}
FLAT = ("sign", "floor", "ceil", "trunc", "rint")
BINARY = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": mpmath.power,
    "float_power": mpmath.power,
    "maximum": max,
    "minimum": min,
    "fmax": max,
    "fmin": min,
    "arctan2": mpmath.atan2,
    "hypot": mpmath.hypot,
    "logaddexp": lambda a, b: mpmath.log(mpmath.exp(a) + mpmath.exp(b)),
    "logaddexp2": lambda a, b: mpmath.log(mpmath.power(2, a) + mpmath.power(2, b), 2),
    "copysign": lambda a, b: abs(a) * mpmath.sign(b),
}
A = np.array([0.3, 1.5, 2.0, 7.0, 0.01])
B = np.array([1.5, 0.2, -3.0, 0.5, 2.0])


def close(found, expected, rtol=1e-13):
    expected = np.array([float(e) for e in np.ravel(expected)]).reshape(np.shape(expected))
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-300)


# ---- One operand ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNARY)
def test_first_and_second_derivatives_of_one_operand(name):
    exact, points = UNARY[name]
    f, x = getattr(np, name), np.array(points)
    slope = gd.grad(f, elementwise=True)
    close(slope(x), [mpmath.diff(exact, mpmath.mpf(p)) for p in points], rtol=4e-13)
    second = [mpmath.diff(exact, mpmath.mpf(p), 2) for p in points]
    found = gd.grad(slope, elementwise=True)(x)
    np.testing.assert_allclose(found, [float(s) for s in second], rtol=1e-11, atol=1e-18)


@pytest.mark.parametrize("name", UNARY)
def test_float32_stays_float32(name):
    x = np.array(UNARY[name][1], np.float32)
    f = getattr(np, name)
    value, slope = gd.value_and_grad(lambda x: np.sum(f(x)))(x)
    assert type(value) is np.float32
    assert slope.dtype == np.float32
    expected = gd.grad(f, elementwise=True)(x.astype(np.float64))
    np.testing.assert_allclose(slope, expected, rtol=2e-4)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (0,), (2, 1, 4)])
def test_shapes_of_one_operand(shape):
    x = np.linspace(0.1, 0.9, math.prod(shape)).reshape(shape)
    for name, (_, points) in UNARY.items():
        y = np.asarray(x + max(points[1], 1) if name in ("arccosh", "reciprocal") else x)
        slope = gd.grad(getattr(np, name), elementwise=True)(y)
        assert slope.shape == shape
        assert type(slope) is np.ndarray


@pytest.mark.parametrize("name", FLAT)
def test_rounding_has_derivative_zero(name):
    f = getattr(np, name)
    x = np.array([-1.5, -0.2, 0.0, 0.5, 2.0])
    value, slope = gd.value_and_grad(lambda x: np.sum(f(x) * x))(x)
    assert value == np.sum(f(x) * x)
    np.testing.assert_array_equal(slope, f(x))


def test_kinks():
    def at(f, x):
        return gd.grad(f, elementwise=True)(np.array(x)).tolist()

    zero, nan = [-0.0, 0.0], math.nan
    assert at(np.abs, zero) == [0, 0]
    assert at(np.sqrt, [0.0]) == [math.inf]
    assert at(np.cbrt, zero) == [math.inf, math.inf]
    assert at(lambda x: x**0, [0.0, 3.0]) == [0, 0]
    assert at(lambda x: x**0.0, [0.0, 3.0]) == [0, 0]
    assert at(lambda x: x**1, zero) == [1, 1]
    assert at(lambda x: np.power(x, np.array([0.0, 0.0, 1.0])), [0.0, 3.0, 0.0]) == [0, 0, 1]
    assert at(lambda y: np.power(np.array([0.0, 0.0]), y), [1.0, 0.5]) == [0, 0]
    assert at(lambda x: np.maximum(x, 1.0), [0.0, 1.0, 2.0]) == [0, 0.5, 1]
    assert at(lambda x: np.minimum(1.0, x), [0.0, 1.0, 2.0]) == [1, 0.5, 0]
    assert at(lambda x: np.maximum(x, x), [1.0]) == [1]
    assert at(lambda x: np.hypot(x, 0.0), zero) == [0, 0]
    assert at(lambda x: np.arctan2(x, 0.0), zero) == [0, 0]
    assert at(lambda x: np.fmax(x, nan), [1.0]) == [1]
    assert at(lambda x: np.logaddexp(x, -math.inf), [1.0, -math.inf]) == [1, 1]
    assert math.isnan(at(np.abs, [nan])[0])


def test_no_nan_from_the_other_branch_of_a_power():
    value, slope = gd.value_and_grad(lambda y: np.sum(np.array([0.0, 2.0]) ** y))(1.5)
    assert value == 2**1.5
    assert slope == pytest.approx(2**1.5 * math.log(2))
    assert gd.grad(gd.grad(lambda y: np.float64(0.0) ** y))(1.5) == 0


# ---- Two operands --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BINARY)
def test_first_derivatives_of_two_operands(name):
    exact, f = BINARY[name], getattr(np, name)
    da, db = gd.grad(lambda a, b: np.sum(f(a, b)), argnums=(0, 1))(A, B)
    points = [(mpmath.mpf(a), mpmath.mpf(b)) for a, b in zip(A, B, strict=True)]
    close(da, [mpmath.diff(exact, p, (1, 0)) for p in points], rtol=1e-12)
    np.testing.assert_allclose(
        db, [float(mpmath.diff(exact, p, (0, 1))) for p in points], rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("name", BINARY)
def test_second_derivatives_of_two_operands(name):
    f = getattr(np, name)
    gradcheck.check(gd, lambda x: np.sum(np.sin(f(x[0], x[1]))), np.stack([A[:4], B[:4]]))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("shapes", [((), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((1,), ())])
def test_broadcasting_is_undone(name, shapes, rng):
    f = getattr(np, name)
    a, b = (rng.uniform(0.5, 2.0, shape) for shape in shapes)
    da, db = gd.grad(lambda a, b: np.sum(f(a, b) ** 2), argnums=(0, 1))(a, b)
    np.testing.assert_allclose(
        da, gradcheck.gradient(lambda a: np.sum(f(a, b) ** 2), a), rtol=1e-7, atol=1e-8
    )
    np.testing.assert_allclose(
        db, gradcheck.gradient(lambda b: np.sum(f(a, b) ** 2), b), rtol=1e-7, atol=1e-8
    )


@pytest.mark.parametrize("n", [*range(-4, 8), 64, -64, 65, 0.5, -0.5, 1.5, 2.0, np.int32(3)])
def test_powers(n):
    x = np.array([0.3, 1.1, 2.0])
    value, slope = gd.value_and_grad(lambda x: np.sum(x**n))(x)
    np.testing.assert_allclose(value, np.sum(x ** float(n)), rtol=1e-13)
    np.testing.assert_allclose(slope, float(n) * x ** (float(n) - 1), rtol=1e-12)
    slope = gd.grad(lambda x: np.sum(np.power(x, n)))
    expected = float(n) * (float(n) - 1) * x ** (float(n) - 2)
    found = gd.hvp(lambda x: np.sum(x**n), x, np.ones(3))
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_powers_of_negative_numbers():
    x = np.array([-2.0, -0.5])
    np.testing.assert_allclose(gd.grad(lambda x: np.sum(x**3))(x), 3 * x**2)
    np.testing.assert_allclose(gd.grad(lambda x: np.sum(x**67))(x), 67 * x**66)
    assert gd.grad(lambda x: 2.0**x)(3.0) == pytest.approx(8 * math.log(2), rel=1e-15)
    with pytest.raises(ValueError, match="negative integer powers"):
        gd.grad(lambda x: np.sum(np.sum(x > 0) ** -1))(x)


def test_what_stands_on_the_left_comes_to_us():
    x = np.array([1.0, 2.0])
    for left in (2.0, 2, np.float64(2), np.array(2.0), np.array([2.0, 2.0]), [2.0, 2.0], True):
        for op in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow):
            value = gd.value_and_grad(lambda x, op=op, left=left: np.sum(op(left, x)))(x)[0]
            assert value == np.sum(op(np.asarray(left), x))


def test_operators():
    def f(x):
        y = +x - -x + abs(x) * 2 - 1 / x
        y += 1
        y -= 0.5
        return np.sum(y * y)

    gradcheck.check(gd, f, np.array([1.0, -2.0, 0.5]))


# ---- Comparisons and logic -----------------------------------------------------------------------


def test_masks_are_numpys(rng):
    x, y = rng.normal(size=(2, 5)), np.array([1.0, 0.0, -1.0, np.nan, np.inf])

    def f(x):
        return np.sum(x), [
            x > 0,
            x >= y,
            x < y,
            x <= 0,
            x == x,
            x != y,
            ~(x > 0),
            (x > 0) & (y > 0),
            (x > 0) | (x < -1),
            (x > 0) ^ (y > 0),
            np.logical_and(x, y),
            np.logical_or(x > 0, y),
            np.logical_xor(x > 0, y > 0),
            np.logical_not(x),
            np.isnan(x * y),
            np.isinf(x * y),
            np.isfinite(x + y),
            np.signbit(x),
            (x > 0) + (y > 0),
            (x > 0) * (y > 0),
            np.maximum(x > 0, False),
            (x > 0) * 2,
            (x > 0) * 0.5,
            (x > 0) / 2,
            np.heaviside(x, 0.5),
            np.fmin(x, y),
            np.copysign(x, y),
        ]

    with np.errstate(all="ignore"):
        expected = f(x)[1]
    (_, masks), slope = gd.value_and_grad(f, has_aux=True)(x)
    np.testing.assert_array_equal(slope, np.ones((2, 5)))
    for i, (found, wanted) in enumerate(zip(masks, expected, strict=True)):
        assert found.dtype == wanted.dtype, i
        np.testing.assert_array_equal(found, wanted, err_msg=str(i))


def test_masks_select_what_is_differentiated():
    x = np.array([-1.0, 2.0, 3.0])
    np.testing.assert_array_equal(gd.grad(lambda x: np.sum((x > 0) * x**2))(x), [0, 4, 6])
    assert gd.grad(lambda x: np.sum(x > 0))(x).tolist() == [0, 0, 0]


# ---- Types ---------------------------------------------------------------------------------------

OTHERS = [
    True,
    2,
    2.5,
    np.float32(2),
    np.float64(2),
    np.int8(2),
    np.int64(2),
    np.bool_(True),
    np.array([1.0, 2.0], np.float32),
    np.array([1.0, 2.0]),
    np.array([1, 2], np.int8),
    np.array([1, 2], np.int16),
    np.array([1, 2]),
    np.array([1, 2], np.uint64),
    np.array([True, False]),
    np.array(2.0, np.float32),
    np.array(2.0),
    [1.0, 2.0],
]
TYPED = ("add", "subtract", "multiply", "divide", "power", "maximum", "hypot", "float_power")


@pytest.mark.parametrize("name", TYPED)
@pytest.mark.parametrize("other", OTHERS, ids=repr)
@pytest.mark.filterwarnings("ignore:.*meets float32 parameters")
def test_types_follow_numpys_promotion(name, other, dtype):
    f = getattr(np, name)
    x = np.array([3.0, 0.5], dtype)
    for a, b in ((x, other), (other, x)):
        with np.errstate(divide="ignore"):
            expected = f(a, b)

        def g(x, a=a):
            y = f(x, other) if a is not other else f(other, x)
            return np.sum(y), y

        (_, found), slope = gd.value_and_grad(g, has_aux=True)(x)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert slope.dtype == dtype


@pytest.mark.parametrize("other", OTHERS, ids=repr)
@pytest.mark.filterwarnings("ignore:.*meets float32 parameters")
def test_comparisons_compare_as_numpy_does(other, dtype):
    x = np.array([2.0, 2.5], dtype) + np.array([0, 1e-9], dtype)
    for op in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne):
        found = gd.value_and_grad(lambda x, op=op: (np.sum(x), op(x, other)), has_aux=True)(x)[0][1]
        np.testing.assert_array_equal(found, op(x, other))
        assert found.dtype == np.bool_


def test_dtype_of_a_ufunc_is_followed():
    x = np.array([1.0, 2.0])
    value, slope = gd.value_and_grad(lambda x: np.sum(np.exp(x, dtype=np.float32)))(x)
    assert type(value) is np.float32
    assert slope.dtype == np.float64
    with pytest.raises(TypeError, match="int64"):
        gd.grad(lambda x: np.sum(np.add(x, 1, dtype=np.int64)))(x)


@pytest.mark.parametrize("kind", [np.float16, np.longdouble, np.complex128, object, "U3"])
def test_types_that_are_refused(kind):
    other = np.array([1, 2]).astype(kind)
    with pytest.raises((TypeError, ValueError)) as error:
        gd.grad(lambda x: np.sum(x * other))(np.ones(2))
    assert "float32, float64" in str(error.value)
    with pytest.raises((TypeError, ValueError)) as error:
        gd.grad(np.sum)(other)
    assert "float32, float64" in str(error.value)
    with pytest.raises(TypeError, match="complex"):
        gd.grad(lambda x: np.sum(x * 1j))(np.ones(2))


def test_ufunc_methods():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(
        gd.grad(lambda x: np.sum(np.add.reduce(x) ** 2))(x), [[8, 12]] * 2
    )
    assert gd.value_and_grad(lambda x: np.maximum.reduce(x, axis=None))(x)[0] == 4
    assert gd.value_and_grad(lambda x: np.multiply.reduce(x, axis=(0, 1)))(x)[0] == 24
    outer = gd.grad(lambda x: np.sum(np.multiply.outer(x[0], x[1])))(x)
    np.testing.assert_array_equal(outer, [[7, 7], [3, 3]])
    outer = gd.grad(lambda x: np.sum(np.subtract.outer(np.ones(3), x[0]) ** 2))(x)
    np.testing.assert_array_equal(outer, [[0, 6], [0, 0]])


def test_own_ufuncs_are_not_numpys():
    x = np.array([-1.0, 0.5])
    for name in ("relu", "sigmoid", "tanh", "softplus", "gelu"):
        f = getattr(gd, name)
        value, slope = gd.value_and_grad(lambda x, f=f: np.sum(f(x)))(x)
        assert value == pytest.approx(np.sum(f(x)), rel=1e-14)
        np.testing.assert_allclose(
            slope, gradcheck.gradient(lambda x, f=f: np.sum(f(x)), x), rtol=1e-7, atol=1e-9
        )


def test_a_whole_expression_beside_a_complex_step():
    def f(x):
        return np.exp(np.sin(x) ** 2) * np.log(x) / np.sqrt(1 + x**3) - np.tanh(2.0**x)

    for x in (0.3, 1.0, 2.5):
        step = f(x + 1e-200j).imag / 1e-200
        assert gd.grad(f)(x) == pytest.approx(step, rel=1e-14)


def test_nothing_warns():
    x = np.array([-1.0, 0.0, np.inf, np.nan])
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for name in (*UNARY, *FLAT):
            gd.grad(lambda x, name=name: np.sum(getattr(np, name)(x)))(x)


# ---- The table -----------------------------------------------------------------------------------


def test_every_instruction_has_both_rules():
    for row in _core.INSTRUCTIONS:
        if row["kind"] != "leaf":
            assert callable(VJP[row["name"]]), row["name"]
            assert callable(JVP[row["name"]]), row["name"]
    names = {row["name"] for row in _core.INSTRUCTIONS}
    assert set(VJP) == set(JVP) <= names
