"""Sums, products and norms in their fixed order, and clipping by the global norm.

`in_order` and `row_in_order` are the specification: 16 lanes, a tree, blocks of 4,096. The core
must give the same bits on every level and for any number of threads.
"""

import copy
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gdcore as gd
from gdcore import _core

BLOCK, LANES = 4096, 16
SIZES = sorted({0, 1, 2, 3} | {w + d for w in (4, 8, 16, 32) for d in (-1, 0, 1)})
SIZES += [100, 4095, 4096, 4097, 8192, 12_289, 100_003, 512 * BLOCK + 5]


def row_in_order(x):
    """The sum of doubles by 16 lanes, then a tree: lane k += lane k + 8, 4, 2, 1."""
    padded = np.zeros(-(-x.size // LANES) * LANES)
    padded[: x.size] = x
    lanes = np.zeros(LANES)
    for group in padded.reshape(-1, LANES):
        lanes += group
    for half in 8, 4, 2, 1:
        lanes[:half] += lanes[half : 2 * half]
    return lanes[0]


def in_order(x):
    """The sum of doubles by blocks; 512 blocks' sums at a time are added like a row."""
    blocks = [row_in_order(x[i : i + BLOCK]) for i in range(0, x.size, BLOCK)]
    if len(blocks) <= 1:
        return blocks[0] if blocks else 0.0
    total = 0.0
    for i in range(0, len(blocks), 512):
        total += row_in_order(np.array(blocks[i : i + 512]))
    return total


@pytest.mark.parametrize("size", SIZES)
def test_sum_and_dot_in_their_order(size, dtype, rng):
    x, y = rng.normal(size=(2, size)).astype(dtype)
    assert _core.sum(x) == in_order(x.astype(np.float64))
    assert _core.dot(x, y) == in_order(x.astype(np.float64) * y)
    assert type(_core.sum(x)) is type(_core.dot(x, y)) is float


@pytest.mark.parametrize("start", range(9))
def test_any_start(start, dtype, rng):
    x = rng.normal(size=5000).astype(dtype)
    for size in SIZES[:20]:
        part = x[start : start + size]
        assert _core.sum(part) == in_order(part.astype(np.float64))
        assert _core.dot(part, part) == in_order(part.astype(np.float64) ** 2)


@pytest.mark.parametrize("width", [*range(1, 40), 100, 4095, 4096, 4097, 5000])
def test_sums_of_rows_in_their_order(width, dtype, rng):
    """Narrow and wide rows alike, seen through a loss that is a sum of -t log(y)."""
    rows = 5000 // width + 2
    y, t = rng.uniform(0.1, 0.9, (2, rows, width)).astype(dtype)
    terms = t * _core.math("log", y)
    expected = [0 - row_in_order(row.astype(np.float64)) for row in terms]
    loss = gd.losses.get("categorical_crossentropy", reduction="none")
    assert np.array_equal(loss(t, y), np.array(expected).astype(dtype))


def roundings(size):
    """Additions and the rounding of a product on the longest way to the sum."""
    blocks = -(-size // BLOCK)
    return min(size, BLOCK) // LANES + 5 + (0 if blocks <= 1 else blocks // LANES + 5)


@pytest.mark.parametrize("size", [10, 1000, 4096, 1_000_000])
def test_accuracy(size, dtype, rng):
    """Half an ULP of a double for each rounding, though the data are floats."""
    x = rng.uniform(size=size).astype(dtype)
    half_ulp = np.finfo(np.float64).eps / 2
    exact, bound = math.fsum(x.tolist()), roundings(size) * half_ulp
    assert abs(_core.sum(x) - exact) <= bound * exact
    squares = math.fsum((x.astype(np.float64) ** 2).tolist())
    assert abs(_core.dot(x, x) - squares) <= bound * squares
    norm = math.hypot(*x.tolist())
    assert abs(_core.norm(x) - norm) <= (bound / 2 + 2 * half_ulp) * norm


# ---- Norms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e200, 1e-200, 5e-324, 1e308, 1.0, 1e-154, 1e154])
@pytest.mark.parametrize("size", [1, 2, 17, 5000])
def test_norms_without_overflow(scale, size):
    """Where squares leave the range of a double, and where they have lost digits to underflow."""
    x = np.full(size, scale)
    true = np.longdouble(scale) * np.sqrt(np.longdouble(size))
    if true > np.finfo(np.float64).max:
        assert _core.norm(x) == np.inf
    else:
        error = abs(_core.norm(x) - float(true))
        assert error <= (roundings(size) / 4 + 1) * np.spacing(float(true))


def test_norms_of_float32(rng):
    for scale in 1e-45, 1e-30, 1.0, 3e38:
        x = (rng.uniform(0.1, 1, 1000) * scale).astype(np.float32)
        true = np.linalg.norm(x.astype(np.float64))
        assert abs(_core.norm(x) - true) <= 1e-14 * true


@pytest.mark.parametrize("place", [0, 1, 15, 16, 17, 4095, 4096, 5000, 9999])
def test_what_is_not_finite(place, dtype):
    x = np.ones(10_000, dtype)
    for value, norm in (np.nan, np.nan), (np.inf, np.inf), (-np.inf, np.inf):
        x[place] = value
        np.testing.assert_equal(_core.norm(x), norm)
        np.testing.assert_equal(_core.sum(x), value)
        np.testing.assert_equal(_core.dot(x, np.ones_like(x)), value)
    x[place], x[9998] = np.nan, np.inf
    assert np.isnan(_core.norm(x))


def test_of_nothing_and_of_zeros(dtype):
    for x in np.empty(0, dtype), np.zeros(5, dtype), np.zeros((3, 0), dtype):
        assert _core.sum(x) == _core.norm(x) == _core.dot(x, x) == 0


@given(
    x=hnp.arrays(np.float64, hnp.array_shapes(min_side=0, max_side=40), elements=st.floats(-9, 9))
)
def test_any_values(x):
    assert _core.sum(x) == in_order(x.ravel())
    assert _core.dot(x, x) == in_order(x.ravel() ** 2)
    norm = math.hypot(*x.ravel().tolist())
    assert abs(_core.norm(x) - norm) <= 1e-14 * norm


def test_dot_refuses():
    x = np.ones(3)
    with pytest.raises(ValueError, match=r"y has shape \(4,\) but x has \(3,\)"):
        _core.dot(x, np.ones(4))
    with pytest.raises(TypeError, match="y is float32 but x is float64"):
        _core.dot(x, np.ones(3, np.float32))


# ---- The same bits everywhere --------------------------------------------------------------------


def test_threads_change_no_bit(dtype, rng):
    x, y = rng.normal(size=(2, 600_007)).astype(dtype)
    before, results = gd.get_num_threads(), set()
    try:
        for threads in 1, 2, 3:
            gd.set_num_threads(threads)
            results.add((_core.sum(x), _core.dot(x, y), _core.norm(x)))
    finally:
        gd.set_num_threads(before)
    assert len(results) == 1


RESULTS = """
import numpy as np, gdcore as gd
from gdcore import _core
for real in "f4", "f8":
    for n in 1, 15, 16, 17, 5000, 2_100_000:
        x = (np.arange(n) * 7919 % 1009 / 1009 - 0.3).astype(real)
        scaled = [_core.norm(x * s) for s in (1e200, 1e-200)] if real == "f8" else []
        print(_core.sum(x).hex(), _core.dot(x, x[::-1].copy()).hex(), _core.norm(x).hex(), scaled)
"""


def test_levels_give_the_same_bits():
    run = [sys.executable, "-c", RESULTS]
    outputs = {
        subprocess.run(
            run, env={**os.environ, "GDCORE_ISA": level}, check=True, capture_output=True
        ).stdout
        for level in _core.levels()
    }
    assert len(outputs) == 1
    assert outputs.pop().count(b"\n") == 12


# ---- Clipping by the global norm -----------------------------------------------------------------


def leaves(grads):
    """The arrays of a container, in order."""
    if isinstance(grads, np.ndarray):
        return [grads]
    items = grads.values() if isinstance(grads, dict) else grads
    return [leaf for item in items for leaf in leaves(item)]


def nested(rng, dtype, scale=1.0):
    a, b, c, d = (
        np.array(scale * rng.normal(size=shape), dtype) for shape in ((3, 4), (5,), (), (0, 2))
    )
    return {"W": [a, (b, c)], "b": {"x": d, "F": np.asfortranarray(a + scale)}}


@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e3, 0.0, np.inf])
def test_clip(limit, dtype, rng):
    grads = nested(rng, dtype)
    kept, arrays = copy.deepcopy(grads), leaves(grads)
    norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in leaves(kept)))
    found = gd.clip_by_global_norm(grads, limit)
    assert type(found) is float
    assert abs(found - norm) <= 1e-14 * norm
    assert all(now is before for now, before in zip(leaves(grads), arrays, strict=True))
    for g, before in zip(arrays, leaves(kept), strict=True):
        expected = before * min(1, limit / norm)
        np.testing.assert_allclose(g, expected, rtol=2 * np.finfo(dtype).eps, atol=0)
        assert limit < norm or np.array_equal(g, before)
    assert gd.clip_by_global_norm(grads, np.inf) <= max(limit, 0) * (1 + 1e-6) or limit > norm


def test_clip_one_array_and_mixed_types():
    g = np.array([3.0, 4.0])
    assert gd.clip_by_global_norm(g, max_norm=1) == 5.0
    assert np.array_equal(g, np.array([3.0, 4.0]) * 0.2)
    mixed = (np.full(9, 1.0, np.float32), np.full(16, 1.0))
    assert gd.clip_by_global_norm(mixed, 2.5) == 5.0
    assert mixed[0].dtype == np.float32
    assert np.all(mixed[0] == 0.5)
    assert np.all(mixed[1] == 0.5)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_clip_where_squares_leave_the_range(scale, rng):
    grads = nested(rng, np.float64, scale)
    expected = [g / scale for g in leaves(copy.deepcopy(grads))]
    norm = math.sqrt(sum(float((g**2).sum()) for g in expected))
    found = gd.clip_by_global_norm(grads, scale / 2)
    assert abs(found - norm * scale) <= 1e-13 * norm * scale
    for g, before in zip(leaves(grads), expected, strict=True):
        np.testing.assert_allclose(g / scale, before / (2 * norm), rtol=1e-13)


def test_clip_what_is_not_finite():
    """A NaN norm clips nothing; an infinite one leaves zeros, and NaN where the infinity was."""
    grads = [np.array([1.0, np.nan]), np.array([2.0])]
    assert math.isnan(gd.clip_by_global_norm(grads, 1.0))
    np.testing.assert_array_equal(grads[0], [1.0, np.nan])
    assert grads[1] == [2.0]
    grads = [np.array([1.0, np.inf]), np.array([2.0])]
    assert gd.clip_by_global_norm(grads, 1.0) == np.inf
    np.testing.assert_array_equal(grads[0], [0.0, np.nan])
    assert grads[1] == [0.0]


def test_clip_nothing():
    for grads in [], (), {}, [np.zeros(3)], np.empty(0):
        assert gd.clip_by_global_norm(grads, 0.0) == 0.0


READ_ONLY = np.ones(2)
READ_ONLY.flags.writeable = False
SHARED = np.ones(6)
BAD = {
    "number": (2.0, TypeError, r"grads\[1\] is a number \(float\)"),
    "list": ([1.0, 2.0], TypeError, r"grads\[1\] is list, not a NumPy array"),
    "integers": (np.array([1, 2]), TypeError, r"grads\[1\] has dtype int64"),
    "float16": (np.ones(2, np.float16), TypeError, r"grads\[1\] has dtype float16"),
    "byte order": (np.ones(2, ">f8"), TypeError, r"grads\[1\] has non-native byte order"),
    "read-only": (READ_ONLY, ValueError, r"grads\[1\] is read-only"),
    "strided": (np.ones(4)[::2], ValueError, r"grads\[1\] is not contiguous"),
    "nothing": (None, TypeError, r"grads\[1\] is NoneType"),
    "twice": ([SHARED, SHARED], ValueError, r"grads\[1\]\[0\] and grads\[1\]\[1\] are the same"),
    "overlap": ([SHARED[:4], SHARED[2:]], ValueError, r"share memory"),
}


@pytest.mark.parametrize("name", BAD)
def test_clip_refuses_and_changes_nothing(name):
    bad, error, message = BAD[name]
    good = np.array([3.0, 4.0])
    for grads, path in ([good, bad], message), ({"a": good, 1: bad}, message):
        with pytest.raises(error, match=path):
            gd.clip_by_global_norm(grads, 1.0)
        assert good.tolist() == [3.0, 4.0]
        assert np.all(SHARED == 1)


def test_clip_refuses_its_limit():
    g = np.array([3.0, 4.0])
    for limit in -1, -0.5, np.nan, -np.inf:
        with pytest.raises(ValueError, match=r"max_norm is .*; a number >= 0 is accepted"):
            gd.clip_by_global_norm(g, limit)
    for limit in "1", None, [1.0], 1j:
        with pytest.raises(TypeError, match="max_norm"):
            gd.clip_by_global_norm(g, limit)
    with pytest.raises(TypeError, match="max_norm"):
        gd.clip_by_global_norm(g)
    assert g.tolist() == [3.0, 4.0]
