"""math.inc and math_trig.inc: accuracy, special values, any length and start, flags, levels.

The reference for float32 is NumPy in float64, whose own error is below 1e-7 ULP of a float32; for
float64 it is the C library in long double where that has 64 bits or more, and mpmath everywhere.
"""

import ctypes
import ctypes.util
import os
import platform
import subprocess
import sys

import mpmath
import numpy as np
import pytest

from gdcore import _core

NAMES = ("exp", "log", "log1p", "expm1", "tanh", "sigmoid", "softplus", "sin", "cos")
TURNS = ("sin", "cos")
TURNS_LIMIT = 2.0**20  # up to here they mean something

# Largest error in ULP: float32 as measured over all 2^32 arguments, float64 over ten million with
# some room. Without the fused multiply-add a few results differ, and with them two of the bounds.
FUSED = {
    "exp": (0.78, 0.80),
    "log": (0.87, 0.90),
    "log1p": (0.91, 0.92),
    "expm1": (0.95, 0.85),
    "tanh": (1.46, 1.50),
    "sigmoid": (1.53, 1.55),
    "softplus": (1.60, 1.60),
    "sin": (0.501, 0.79),
    "cos": (0.501, 0.79),
}
UNFUSED = FUSED | {"log1p": (0.92, 0.92), "sigmoid": (1.69, 1.69)}
PROMISED = {"exp": 1, "log": 1, "log1p": 1, "expm1": 1, "tanh": 2, "sigmoid": 2, "softplus": 2.5}
PROMISED |= dict.fromkeys(TURNS, 1)

# Where a formula changes, or its result leaves the normal numbers.
EDGES = (
    *(0.0, 2**-56, 2**-55, 2**-27, 2**-26, 0.1732868, 0.2928932, 0.3465736, 0.4142136, 0.5),
    *(0.5625, 0.6931472, 0.7071068, 1.0, 1.0397208, 1.4142136, 2.0, 9.0109, 10.0, 16.635532, 18.0),
    *(19.0615, 20.0, 36.7368, 38.0, 87.33654, 88.72284, 89.0, 103.97208, 104.0, 708.3964185322641),
    *(709.782712893384, 710.0, 745.1332191019411, 746.0),
    *(0.7853981633974483, 1.5707963267948966, 2.356194490192345, 3.141592653589793, 1048575.0),
)
WIDE = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}
precise = np.finfo(np.longdouble).nmant >= 63


def reference(name, x):
    """The function in x's own type, formed so that no step cancels or overflows."""
    with np.errstate(all="ignore"):
        if name == "sigmoid":
            z = np.exp(-np.abs(x))
            return np.where(x < 0, z, 1) / (1 + z)
        if name == "softplus":
            return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
        return getattr(np, name)(x)


def high_precision(name, x):
    """The function of one float, by mpmath."""
    x = mpmath.mpf(x)
    if name == "sigmoid":
        return 1 / (1 + mpmath.exp(-x))
    if name == "softplus":
        return mpmath.log1p(mpmath.exp(x))
    return getattr(mpmath, name)(x)


def bits(array):
    """The array as unsigned integers: equal for equal bits, NaN included."""
    return array.view(np.dtype(f"u{array.dtype.itemsize}"))


def ulp_errors(y, true):
    """|y - true| in units of the last place of y's type at `true`.

    A result is as far from an overflow as from 2 to the largest exponent, where the next number
    would stand; below the normal numbers the unit is the smallest of all. NaN must meet NaN, and
    the signs, of zero too, must agree: else the error is infinite.
    """
    info = np.finfo(y.dtype)
    top = np.ldexp(true.dtype.type(1), info.maxexp)
    with np.errstate(invalid="ignore"):
        target, got = np.clip(true, -top, top), np.clip(y.astype(true.dtype), -top, top)
    exponents = np.clip(np.frexp(target)[1] - 1, info.minexp, info.maxexp - 1)
    with np.errstate(invalid="ignore", under="ignore"):
        errors = np.abs(got - target) / np.ldexp(true.dtype.type(1), exponents - info.nmant)
    nan = np.isnan(true)
    agree = np.where(nan, np.isnan(y), (np.signbit(y) == np.signbit(true)) & ~np.isnan(y))
    return np.where(agree, np.where(nan, 0, errors), np.inf)


def worst(name, x, true):
    """(largest error in ULP, its argument)."""
    errors = ulp_errors(_core.math(name, x), true)
    i = errors.argmax()
    return float(errors[i]), x[i]


def all_exponents(dtype, count, rng):
    """Arguments of every exponent and sign, subnormals, infinities and quiet NaN among them."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    step = 2 ** (8 * dtype.itemsize) // count
    patterns = np.arange(count, dtype=unsigned) * unsigned.type(step)
    x = (patterns + rng.integers(0, step, count, dtype=unsigned)).view(dtype)
    x[np.isnan(x)] = np.nan
    return x


def ordinary(dtype, count, rng):
    """Arguments as they occur: magnitudes 2^-60 to 2^10 alike, and the neighbours of edges."""
    spread = np.exp2(rng.uniform(-60, 10, count // 2))
    edges = np.repeat(EDGES, count // 2 // len(EDGES))
    near = edges + (edges + 2**-30) * rng.uniform(-1, 1, edges.size) ** 15
    x = np.concatenate([spread, near])
    return (x * rng.choice([-1, 1], x.size)).astype(dtype)


def reach(name, x):
    """The arguments for which the function means something."""
    return x[~(np.abs(x) > TURNS_LIMIT)] if name in TURNS else x


def bound(name, dtype, isa):
    """What the level in force keeps."""
    return (UNFUSED if isa == "base" else FUSED)[name][dtype == np.float64]


def test_the_bounds_keep_the_promise():
    for table in FUSED, UNFUSED:
        assert table.keys() == PROMISED.keys() == set(NAMES)
        assert all(max(table[name]) <= PROMISED[name] for name in NAMES)


@pytest.mark.parametrize(
    ("y", "true", "error"),
    [
        (1.0, 1 + 2.0**-24, 0.5),
        (1.0, 1 - 2.0**-25, 0.5),
        (2.0**-149, 1.5 * 2.0**-149, 0.5),
        (0.0, 2.0**-151, 0.25),
        (np.inf, 2.0**128 - 2.0**103, 0.5),
        (np.inf, 1e300, 0),
        (-np.inf, -np.inf, 0),
        (np.finfo(np.float32).max, np.inf, 1),
        (np.nan, np.nan, 0),
        (0.0, -0.0, np.inf),
        (np.nan, 1.0, np.inf),
        (1.0, np.nan, np.inf),
        (np.inf, -np.inf, np.inf),
    ],
)
def test_the_yardstick(y, true, error):
    assert ulp_errors(np.array([y], np.float32), np.array([true])) == [error]


@pytest.mark.parametrize("sample", [all_exponents, ordinary])
@pytest.mark.parametrize("name", NAMES)
def test_accuracy_of_float32(name, sample, rng, isa):
    x = reach(name, sample(np.dtype(np.float32), 2**21, rng))
    error, at = worst(name, x, reference(name, x.astype(np.float64)))
    assert error <= bound(name, x.dtype, isa), f"at {at!r}"


@pytest.mark.skipif(not precise, reason="long double is no wider than double here")
@pytest.mark.parametrize("sample", [all_exponents, ordinary])
@pytest.mark.parametrize("name", NAMES)
def test_accuracy_of_float64(name, sample, rng, isa):
    x = reach(name, sample(np.dtype(np.float64), 2**19, rng))
    error, at = worst(name, x, reference(name, x.astype(np.longdouble)))
    assert error <= bound(name, x.dtype, isa) + 0.002, f"at {at!r}"


def domain(name, x):
    """The arguments with a finite logarithm, for the logarithms."""
    x = reach(name, x)
    return x[{"log": x > 0, "log1p": x > -1}.get(name, np.isfinite(x))]


def errors_by_mpmath(name, x, results):
    """|result - function(x)| in ULP of a double, for results given as mpmath numbers."""
    errors = []
    with mpmath.workdps(400 if name in ("sigmoid", "softplus") else 40):
        for value, result in zip(x.tolist(), results, strict=True):
            true = high_precision(name, value)
            nearest = float(true)
            unit = float(np.spacing(abs(nearest)))
            finite = np.isfinite(nearest)
            errors.append(abs(result - true) / unit if finite else float(result != nearest))
    return np.array(errors, np.float64)


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_of_float64_by_mpmath(name, rng, isa):
    x = domain(name, ordinary(np.dtype(np.float64), 4200, rng))
    assert x.size >= 2000
    errors = errors_by_mpmath(name, x, map(mpmath.mpf, _core.math(name, x).tolist()))
    assert errors.max() <= bound(name, x.dtype, isa), f"at {x[errors.argmax()]!r}"


@pytest.mark.skipif(not precise, reason="long double is no wider than double here")
@pytest.mark.parametrize("name", NAMES)
def test_the_reference_itself(name, rng):
    """long double agrees with mpmath to 1/500 of a double's ULP, the allowance made above."""
    x = domain(name, ordinary(np.dtype(np.float64), 400, rng))
    true = reference(name, x.astype(np.longdouble))
    whole = (np.abs(true) > 1e-290) & (np.abs(true) < 1e300)  # so that both parts are normal
    x, true = x[whole], true[whole]
    high = true.astype(np.float64)
    low = (true - high).astype(np.float64)
    with mpmath.workdps(40):
        exact = [mpmath.mpf(a) + b for a, b in zip(high.tolist(), low.tolist(), strict=True)]
    assert errors_by_mpmath(name, x, exact).max() <= 0.002


def special_values(name, dtype):
    """(argument, exact result): the values of IEEE 754 and the ends of the range."""
    info = np.finfo(dtype)
    inf, nan, large, tiny = np.inf, np.nan, float(info.max), float(info.smallest_subnormal)
    fixed = [(x, x) for x in (0.0, -0.0, tiny, -tiny, 5 * tiny, -float(info.tiny))]
    ones = [(x, 1.0) for x in (0.0, -0.0, tiny, -tiny)]
    halves = [(x, 0.5) for x in (0.0, -0.0, tiny, -tiny)]
    zeros = [(-inf, 0.0), (-large, 0.0)]
    nothing = [(-inf, nan), (-large, nan), (-2.0, nan), (-1 - float(info.eps), nan)]
    values = {
        "exp": [*ones, *zeros, (inf, inf), (large, inf)],
        "log": [*nothing, (-tiny, nan), (0.0, -inf), (-0.0, -inf), (1.0, 0.0), (inf, inf)],
        "log1p": [*nothing, *fixed, (-1.0, -inf), (inf, inf)],
        "expm1": [*fixed, (inf, inf), (large, inf), (-inf, -1.0), (-large, -1.0)],
        "tanh": [*fixed, (inf, 1.0), (-inf, -1.0), (large, 1.0), (-large, -1.0), (30.0, 1.0)],
        "sigmoid": [*halves, *zeros, (inf, 1.0), (large, 1.0), (40.0, 1.0)],
        "softplus": [*zeros, (inf, inf), (large, large), (50.0, 50.0)],
        "sin": fixed,
        "cos": ones,
    }
    return [(nan, nan), (-nan, nan), *values[name]]


@pytest.mark.parametrize("name", NAMES)
def test_special_values(name, dtype):
    x, want = np.array(special_values(name, dtype), dtype).T.copy()
    for tail in 0, 1, 5:  # as whole vectors, and in the rest of a vector
        y = _core.math(name, np.concatenate([np.repeat(x, 64), x[:tail]]))
        expected = np.concatenate([np.repeat(want, 64), want[:tail]])
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, expected)
        known = ~np.isnan(expected)
        assert np.array_equal(np.signbit(y[known]), np.signbit(expected[known]))


def test_subnormal_results_are_not_flushed(dtype):
    """e^x, sigmoid and softplus fade into the subnormals one by one, down to the smallest."""
    info = np.finfo(dtype)
    exponents = np.linspace(info.minexp, info.minexp - info.nmant, 1001)
    x = (exponents * np.log(2)).astype(dtype)
    for name in "exp", "sigmoid", "softplus":
        y = _core.math(name, x[1:])
        assert np.all((y > 0) & (y < info.tiny) & (np.diff(y, prepend=info.tiny) <= 0))
        assert y[-1] == info.smallest_subnormal


def test_every_subnormal_power_of_two_has_its_logarithm(dtype):
    info = np.finfo(dtype)
    x = np.ldexp(info.smallest_subnormal, np.arange(info.nmant)).astype(dtype)
    k = np.arange(info.nmant) + (info.minexp - info.nmant)
    true = k * np.log(WIDE[dtype](2))
    assert ulp_errors(_core.math("log", x), true).max() <= 0.75


@pytest.mark.parametrize("name", NAMES)
def test_any_length_and_start(name, dtype, rng):
    """A result depends on its argument alone, not on its place in a vector or in the rest."""
    x = ordinary(dtype, 2048, rng)
    whole = _core.math(name, x)
    sizes = {0, 1003} | {width + d for width in (2, 4, 8, 16, 32) for d in (-1, 0, 1)}
    for size in sorted(sizes):
        for start in 0, 1, 2, 3, 7:
            part = x[start : start + size]
            y = _core.math(name, part)
            assert y.shape == part.shape
            assert np.array_equal(bits(y), bits(whole[start : start + size]))


def test_shape_is_kept_and_the_argument_not_written(dtype, rng):
    x = ordinary(dtype, 64, rng).reshape(-1, 2, 2)
    before = x.copy()
    assert _core.math("exp", x).shape == x.shape
    assert np.array_equal(x, before)


FLAGS = {  # FE_INVALID, FE_DIVBYZERO, FE_OVERFLOW of <fenv.h>
    "x86_64": (1, 4, 8),
    "AMD64": (1, 4, 8),
    "aarch64": (1, 2, 4),
    "arm64": (1, 2, 4),
}


@pytest.mark.skipif(platform.machine() not in FLAGS, reason="flags of <fenv.h> unknown here")
@pytest.mark.parametrize("name", NAMES)
def test_flags(name, dtype, rng):
    """No invalid operation or division by zero, whatever the argument; overflow from exp only."""
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    invalid, zero, overflow = FLAGS[platform.machine()]

    def raised(x):
        libm.feclearexcept(invalid | zero | overflow)
        _core.math(name, x)
        flags = libm.fetestexcept(invalid | zero | overflow)
        libm.feclearexcept(invalid | zero | overflow)
        return flags

    special, _ = np.array(special_values(name, dtype), dtype).T
    everything = np.concatenate([np.repeat(special, 33), all_exponents(dtype, 2**16, rng)])
    everything = reach(name, everything)
    grows = name in ("exp", "expm1")
    assert raised(everything[~(everything > 80)]) == 0
    assert raised(everything) == (overflow if grows else 0)


def nearest_to_quarter_turns():
    """The doubles up to 2^20 next to a multiple of pi/2, from the continued fraction of pi/2."""
    found = set()
    with mpmath.workdps(80):
        for e in range(20):
            rest = mpmath.ldexp(mpmath.pi / 2, 52 - e)  # m / k of the double m 2^(e - 52)
            m, before = 1, 0
            while m < 2**53:
                found.update(j * m * 2.0 ** (e - 52) for j in range(1, 8) if 2**52 <= j * m < 2**53)
                whole = int(mpmath.floor(rest))
                m, before = whole * m + before, m
                rest = 1 / (rest - whole)
    return np.array(sorted(found))


@pytest.mark.parametrize("name", TURNS)
def test_accuracy_next_to_quarter_turns(name, isa):
    x = nearest_to_quarter_turns()
    with mpmath.workdps(80):
        rest = [mpmath.mpf(value) / (mpmath.pi / 2) for value in x.tolist()]
        assert min(abs(turns - mpmath.nint(turns)) for turns in rest) < 2.0**-60
    errors = errors_by_mpmath(name, x, map(mpmath.mpf, _core.math(name, x).tolist()))
    assert errors.max() <= bound(name, x.dtype, isa), f"at {x[errors.argmax()]!r}"


DIGESTS = f"""
import hashlib, numpy as np
from gdcore import _core
for unsigned, real in ("u4", "f4"), ("u8", "f8"):
    step = 2 ** (8 * int(real[1])) // 2**19
    x = (np.arange(2**19, dtype=unsigned) * step + 12345).astype(unsigned).view(real)
    x = np.concatenate([x, np.linspace(-30, 30, 2**17).astype(real)])
    x[np.isnan(x)] = np.nan
    for name in {NAMES!r}:
        y = _core.math(name, x)
        y[np.isnan(y)] = np.nan
        print(name, real, hashlib.sha256(y.tobytes()).hexdigest())
"""


def test_fused_levels_give_the_same_bits():
    fused = [level for level in _core.levels() if level != "base"]
    if len(fused) < 2:
        pytest.skip(f"this processor has one level with a fused multiply-add at most: {fused}")
    outputs = {
        subprocess.run(
            [sys.executable, "-c", DIGESTS],
            env={**os.environ, "GDCORE_ISA": level},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for level in fused
    }
    assert len(outputs) == 1
    assert outputs.pop().count("\n") == 2 * len(NAMES)


def test_unknown_name():
    with pytest.raises(ValueError, match="no function 'exp2'"):
        _core.math("exp2", np.ones(3))
