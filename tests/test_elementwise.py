"""The elementwise instructions of programs: results, special values, lengths, aliases, levels.

What IEEE 754 rounds once is NumPy's, bit for bit; what math.inc computes is that of _core.math; the
rest calls the C library, and is compared with NumPy in the wider type, and with mpmath.
"""

import math
import os
import subprocess
import sys
from itertools import product

import mpmath
import numpy as np
import pytest
from test_math import NAMES as OWN
from test_math import TURNS, TURNS_LIMIT, WIDE, all_exponents, bits, ordinary, precise, ulp_errors

from gdcore import _core

ROWS = {row["name"]: row for row in _core.INSTRUCTIONS if row["kind"] == "map"}
LENGTHS = (0, 1, 2, 7, 8, 15, 16, 17, 33, 512)


def truth(a):
    """What NumPy takes for true: all but the zeros, NaN among it."""
    return a.astype(bool)


EXACT = {
    **{
        name: getattr(np, name) for name in ("negative", "absolute", "sign", "square", "reciprocal")
    },
    **{name: getattr(np, name) for name in ("sqrt", "floor", "ceil", "trunc", "rint")},
    **{name: getattr(np, name) for name in ("add", "subtract", "multiply", "divide")},
    **{name: getattr(np, name) for name in ("maximum", "minimum")},
    **{name: getattr(np, name) for name in ("less", "less_equal", "equal", "not_equal")},
    "where": lambda a, b, c: np.where(truth(a), b, c),
}

# ULP that the C library keeps: glibc's own list of errors ends at 4.
LIBRARY = dict.fromkeys(
    (
        *("cbrt", "exp2", "log2", "log10", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh"),
        *("arcsinh", "arccosh", "arctanh", "erf", "power", "arctan2", "hypot"),
    ),
    4,
)
IN_MPMATH = {
    **{"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh"},
    **{"arccosh": "acosh", "arctanh": "atanh", "arctan2": "atan2"},
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "log2": lambda x: mpmath.log(x, 2),
    "cbrt": lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)),
}
OTHERS = {"cast", "integer_power", "logaddexp"}
ALIKE = {name: row for name, row in ROWS.items() if name != "cast"}  # operands of y's type


def run(name, *operands, params=(), out=None):
    """The instruction on arrays, as the level in force computes it."""
    return _core.elementwise(name, operands, params, out)


each_row = pytest.mark.parametrize("name", ROWS)


def special(dtype):
    """Zeros, ones, halves, infinities, NaN, the ends of the range, and where rounding ends."""
    info = np.finfo(dtype)
    whole = 2.0**info.nmant
    ends = [info.max, info.tiny, info.smallest_subnormal, 1 + info.eps, 1 - info.epsneg]
    plain = [0.0, 1.0, 0.5, 0.3, 1.5, 2.0, 2.5, 3.0, 64.0, np.inf, 1e5 + 0.5, TURNS_LIMIT + 1]
    near = [whole - 0.5, whole, whole + 1, whole / 2 - 0.25, whole / 2 + 0.5]
    values = np.array([*ends, *plain, *near], dtype)
    return np.concatenate([values, -values, np.array([np.nan], dtype)])


def sample(dtype, count, rng):
    """Every exponent, and the numbers of every day, some of them whole or half."""
    near = ordinary(dtype, count, rng)
    halves = (rng.integers(-40, 40, count // 4) / 2).astype(dtype)
    return rng.permutation(np.concatenate([all_exponents(dtype, count, rng), near, halves]))


def arguments(name, dtype, rng, count=2**12):
    """Operands of a row: special values, each with each, then a sample."""
    operands = ROWS[name]["operands"]
    if name == "cast":
        dtype = np.dtype(np.float32 if dtype == np.float64 else np.float64)
    grid = np.array(list(product(special(dtype), repeat=operands)), dtype).T
    return [np.concatenate([column, sample(dtype, count, rng)]) for column in grid]


def params(name):
    return (5,) if name == "integer_power" else ()


def same(y, want, zeros=True):
    """Where two arrays have the same bits; a NaN is like any other, zeros too if not told."""
    alike = (bits(y) == bits(want)) | (np.isnan(y) & np.isnan(want))
    return alike if zeros else alike | ((y == 0) & (want == 0))


def check(y, want, operands, **options):
    assert y.dtype == want.dtype
    assert y.shape == want.shape
    wrong = np.flatnonzero(~same(y, want, **options))
    assert not wrong.size, [(*(x[i] for x in operands), y[i], want[i]) for i in wrong[:5]]


def test_every_row_has_a_case():
    assert set(ROWS) == set(EXACT) | set(LIBRARY) | set(OWN) - {"softplus"} | OTHERS


@pytest.mark.parametrize("name", EXACT)
def test_as_numpy(name, dtype, rng):
    operands = arguments(name, dtype, rng)
    with np.errstate(all="ignore"):
        want = EXACT[name](*operands).astype(dtype)
    # which zero is the larger: NumPy's answer is that of the processor's instruction
    check(run(name, *operands), want, operands, zeros=name not in ("maximum", "minimum"))


def test_extrema_of_zeros_are_the_second(dtype):
    zeros = np.array([0.0, -0.0], dtype)
    for name in "maximum", "minimum":
        check(run(name, zeros, zeros[::-1].copy()), zeros[::-1].copy(), [zeros])


def test_cast(dtype, rng):
    (x,) = arguments("cast", dtype, rng)
    assert x.dtype != dtype
    with np.errstate(all="ignore"):
        want = x.astype(dtype)
    check(run("cast", x), want, [x])


def binary_power(x, n):
    """x^n as the kernel has it: for each bit of |n| square, then times x where it is set."""
    y = np.ones_like(x)
    for bit in f"{abs(n):b}":
        y *= y
        if bit == "1":
            y *= x
    return 1 / y if n < 0 else y


@pytest.mark.parametrize("n", range(-64, 65))
def test_integer_powers(n, dtype, rng):
    (x,) = arguments("integer_power", dtype, rng, 2**8)
    y = run("integer_power", x, params=(n,))
    with np.errstate(all="ignore"):
        check(y, np.ones_like(x) if n == 0 else binary_power(x, n), [x])
        if n in (1, 2, -1):
            check(y, {1: x, 2: x * x, -1: 1 / x}[n], [x])
        true = x.astype(WIDE[dtype]) ** n
        info = np.finfo(dtype)
        inner = (np.abs(true) > 4 * info.tiny) & (np.abs(true) < info.max / 4)
        assert np.all(np.abs(y - true)[inner] <= (abs(n) * info.eps / 2) * np.abs(true[inner]))


@pytest.mark.parametrize("name", [name for name in OWN if name != "softplus"])
def test_functions_of_our_own(name, dtype, rng):
    (x,) = arguments(name, dtype, rng)
    y = run(name, x)
    inside = np.abs(x) <= TURNS_LIMIT if name in TURNS else np.full(x.shape, True)
    check(y[inside], _core.math(name, x[inside]), [x[inside]])
    if name in TURNS:
        beyond = x[~inside]
        with np.errstate(all="ignore"):
            true = getattr(np, name)(beyond.astype(WIDE[dtype]))
        if precise or dtype == np.float32:
            assert ulp_errors(y[~inside], true).max() <= 1


@pytest.mark.parametrize("name", TURNS)
def test_a_turn_does_not_depend_on_its_neighbours(name, dtype, rng):
    """One argument beyond the limit sends its block on another way, which gives the same bits."""
    x = rng.uniform(-1000, 1000, 256).astype(dtype)
    want = run(name, x)
    for at, value in (0, np.inf), (100, np.nan), (255, 1e30):
        stained = x.copy()
        stained[at] = value
        y = run(name, stained)
        others = np.arange(x.size) != at
        assert np.array_equal(bits(y[others]), bits(want[others]))


def logaddexp_errors(a, b, y, true):
    """In ULP of the largest part of the sum: the larger operand, the result, or log 2."""
    scale = np.maximum(np.maximum(np.abs(np.maximum(a, b)), np.abs(true).astype(y.dtype)), 0.5)
    return np.abs(y - true) / np.spacing(np.minimum(scale, np.finfo(y.dtype).max / 2))


def test_logaddexp(dtype, rng):
    a, b = arguments("logaddexp", dtype, rng)
    near = rng.normal(0, 20, (2, 2**14)).astype(dtype)
    a, b = np.concatenate([a, near[0]]), np.concatenate([b, near[1]])
    y = run("logaddexp", a, b)
    with np.errstate(all="ignore"):
        theirs = np.logaddexp(a, b)
        true = np.logaddexp(a.astype(WIDE[dtype]), b.astype(WIDE[dtype]))
    whole = np.isfinite(theirs)
    check(y[~whole], theirs[~whole], [a[~whole], b[~whole]])
    if precise or dtype == np.float32:
        errors = logaddexp_errors(a[whole], b[whole], y[whole], true[whole])
        assert errors.max() <= 1.6, (a[whole][errors.argmax()], b[whole][errors.argmax()])


def wide(name, operands):
    """The function in the operands' own type."""
    with np.errstate(all="ignore"):
        if name != "erf":
            return getattr(np, name)(*operands)
        return np.array([math.erf(x) for x in operands[0]])


@pytest.mark.parametrize("name", LIBRARY)
def test_functions_of_the_library(name, dtype, rng):
    if dtype == np.float64 and (name == "erf" or not precise):
        pytest.skip("no reference in NumPy: mpmath alone")
    operands = arguments(name, dtype, rng, 2**11 if name == "erf" else 2**13)
    true = wide(name, [x.astype(WIDE[dtype]) for x in operands])
    errors = ulp_errors(run(name, *operands), true)
    assert errors.max() <= LIBRARY[name], [x[errors.argmax()] for x in operands]


@pytest.mark.parametrize("name", LIBRARY)
def test_functions_of_the_library_by_mpmath(name, dtype, rng):
    low, high = {"arccosh": (1, 50), "log2": (0, 9), "log10": (0, 9), "power": (0, 9)}.get(
        name, (-1, 1) if name.startswith("arc") and name != "arcsinh" else (-6, 6)
    )
    x = [rng.uniform(low, high, 300).astype(dtype) for _ in range(ROWS[name]["operands"])]
    function = IN_MPMATH.get(name, name)
    function = function if callable(function) else getattr(mpmath, function)
    y = run(name, *x)
    with mpmath.workdps(40):
        for *values, got in zip(*(operand.tolist() for operand in x), y, strict=True):
            true = function(*map(mpmath.mpf, values))
            unit = float(np.spacing(abs(dtype.type(float(true)))))
            assert abs(float(got) - true) <= LIBRARY[name] * unit, values


@each_row
def test_any_length_and_start(name, dtype, rng):
    """A result depends on its operands alone, not on its place in a vector or in the rest."""
    operands = [x[-1024:] for x in arguments(name, dtype, rng)]
    whole = run(name, *operands, params=params(name))
    for length, start in product(LENGTHS, (0, 1, 3, 512)):
        at = slice(start, start + length)
        part = [x[at] for x in operands]
        y = run(name, *part, params=params(name))
        check(y, whole[at], part)


@pytest.mark.parametrize("name", ALIKE)
def test_result_in_the_memory_of_an_operand(name, dtype, rng):
    operands = arguments(name, dtype, rng, 2**8)
    for length, place in product(LENGTHS, range(len(operands))):
        part = [x[x.size - length :] for x in operands]
        want = run(name, *part, params=params(name))
        own = [x.copy() for x in part]
        run(name, *own, params=params(name), out=own[place])
        check(own[place], want, part)
        for i, (left, x) in enumerate(zip(own, part, strict=True)):
            assert i == place or np.array_equal(bits(left), bits(x))


@pytest.mark.parametrize("name", [name for name, row in ALIKE.items() if row["operands"] > 1])
def test_one_array_as_every_operand(name, dtype, rng):
    x = sample(dtype, 2**8, rng)
    copies = [x.copy() for _ in range(ROWS[name]["operands"])]
    want = run(name, *copies)
    own = [x] * len(copies)
    check(run(name, *own), want, copies)
    run(name, *own, out=x)
    check(x, want, copies)


DIGESTS = """
import hashlib, numpy as np
from gdcore import _core
for row in _core.INSTRUCTIONS:
    for real in (np.float32, np.float64) if row["kind"] == "map" else ():
        rng = np.random.default_rng(5)
        x = tuple(rng.normal(0, 30, 5001).astype(real) for _ in range(row["operands"]))
        params = (13,) if row["name"] == "integer_power" else ()
        y = _core.elementwise(row["name"], x, params)
        y[np.isnan(y)] = np.nan
        print(row["name"], real, hashlib.sha256(y.tobytes()).hexdigest())
"""
DIFFER = {"exp", "expm1", "log", "log1p", "tanh", "sigmoid", "logaddexp", *TURNS}  # at base


def test_levels_give_the_same_bits():
    """All rows on every level, but those of math.inc without the fused multiply-add."""
    outputs = {}
    for level in _core.levels():
        run = [sys.executable, "-c", DIGESTS]
        env = {**os.environ, "GDCORE_ISA": level}
        result = subprocess.run(run, env=env, capture_output=True, text=True, check=True)
        lines = result.stdout.splitlines()
        assert len(lines) == 2 * len(ROWS)
        outputs[level] = {x for x in lines if level != "base" or x.split()[0] not in DIFFER}
    best = outputs[_core.levels()[-1]]
    for level, lines in outputs.items():
        assert lines <= best, level
