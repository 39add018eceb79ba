"""Dense layers and the fused linear model: bits, accuracy, layouts, threads, levels, errors."""

import ctypes
import ctypes.util
import hashlib
import os
import subprocess
import sys
import tracemalloc

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from linear_oracle import (
    CHUNK,
    SLICES,
    gradient_oracle,
    lane_sum,
    layouts,
    product_oracle,
    slice_sum,
)

import gdcore as gd
from gdcore import _core

WIDE = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}
ACTIVATIONS = gd.activations.names()


def draw(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(dtype)


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert np.array_equal(a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}"))


@pytest.fixture
def multiply_add(isa, dtype):
    """a b + c elementwise, rounded once where the level has the fused multiply-add."""
    if isa == "base":
        return lambda a, b, c: a * b + c
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    single = dtype == np.float32
    fma = library.fmaf if single else library.fma
    real = ctypes.c_float if single else ctypes.c_double
    fma.restype, fma.argtypes = real, [real] * 3
    ufunc = np.frompyfunc(fma, 3, 1)
    return lambda a, b, c: np.asarray(ufunc(a, b, c), dtype)


# ---- Exact bits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 8, 16, 17, 33, 70, 150])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 13, 26])
def test_a_product_is_one_accumulator_over_k_in_order(multiply_add, rng, dtype, n, m):
    X, W, b = draw(rng, dtype, n, 9), draw(rng, dtype, 9, m), draw(rng, dtype, m)
    expected = product_oracle(multiply_add, X, W)
    for name, x in layouts(X).items():
        assert np.array_equal(gd.dense(x, W), expected), name
        assert np.array_equal(gd.dense(x, W, b), expected + b), name


def test_the_width_of_the_right_side_changes_no_bit(rng, dtype):
    n, k, m = 30, 1100, 300  # its rows, of W^T, are pages apart: they go by parts
    X, W, d = draw(rng, dtype, n, k), draw(rng, dtype, k, m), draw(rng, dtype, n, m)
    before = gd.get_num_threads()
    try:
        gd.set_num_threads(1)  # for rows shared out may be too few of them
        dX, _, _ = gd.dense_grad(d, X, W)
    finally:
        gd.set_num_threads(before)
    for j in range(0, k, 50):
        part, _, _ = gd.dense_grad(d, X[:, j : j + 50], W[j : j + 50])
        same_bits(dX[:, j : j + 50], part)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8, 16, 17, 40])
@pytest.mark.parametrize("m", [1, 3, 4, 5, 18])
def test_every_layout_gives_the_same_bits(rng, dtype, k, m):
    n = 531
    X, W, b = draw(rng, dtype, n, k), draw(rng, dtype, k, m), draw(rng, dtype, m)
    dy, target = draw(rng, dtype, n, m), draw(rng, dtype, n, m)
    y, grads = gd.dense(X, W, b), gd.dense_grad(dy, X, W)
    value, fused = gd.linear_value_and_grad(X, target, W, b)
    for x in layouts(X).values():
        same_bits(gd.dense(x, W, b), y)
        for found, expected in zip(gd.dense_grad(dy, x, W), grads, strict=True):
            same_bits(found, expected)
        v, (dW, db) = gd.linear_value_and_grad(x, target, W, b)
        same_bits(v, value)
        same_bits(dW, fused[0])
        same_bits(db, fused[1])


@pytest.mark.parametrize("m", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("n", [1, 15, 256, 257, 2893])
def test_gradients_follow_the_chunk_rule(multiply_add, rng, dtype, n, m):
    X, d, W = draw(rng, dtype, n, 3), draw(rng, dtype, n, m), draw(rng, dtype, 3, m)
    dX, dW, db = gd.dense_grad(d, X, W)
    expected_dW, expected_db = gradient_oracle(multiply_add, X, d)
    assert np.array_equal(dW, expected_dW.astype(dtype))
    assert np.array_equal(db, expected_db.astype(dtype))
    assert np.array_equal(dX[:40], product_oracle(multiply_add, d[:40], W.T))


@pytest.mark.parametrize(("k", "m"), [(1, 1), (2, 1), (4, 1), (5, 1), (2, 3), (3, 6)])
@pytest.mark.parametrize("loss", ["mse", "half_mse"])
def test_the_fused_pass_follows_the_chunk_rule(multiply_add, rng, dtype, k, m, loss):
    n = 2 * SLICES * CHUNK + 77
    X, t = draw(rng, dtype, n, k), draw(rng, dtype, n, m)
    W, b = draw(rng, dtype, k, m), draw(rng, dtype, m)
    value, (dW, db) = gd.linear_value_and_grad(X, t, W, b, loss=loss)
    r = gd.dense(X, W, b) - t
    half = loss == "half_mse"
    losses, d = (r * r * dtype.type(0.5), r) if half else (r * r, r + r)
    total_dW, total_db = gradient_oracle(multiply_add, X, d)
    chunks = [lane_sum(losses[i : i + CHUNK].reshape(-1)) for i in range(0, n, CHUNK)]
    assert value == dtype.type(slice_sum(chunks, (k + 1) * m) / (n * m))
    assert np.array_equal(dW, (total_dW / (n * m)).astype(dtype))
    assert np.array_equal(db, (total_db / (n * m)).astype(dtype))


# (n, k, m): slices by rows, one chunk split by outputs, one slice of many parameters
THREADED = [(30000, 2, 1), (20000, 20, 3), (3000, 40, 24), (250, 300, 64), (250, 3000, 2)]
THREADED += [(600, 700, 520)]


@pytest.mark.parametrize(("n", "k", "m"), THREADED)
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_number_of_threads_gives_the_same_bits(rng, dtype, n, k, m, order):
    X, W = np.asarray(draw(rng, dtype, n, k), order=order), draw(rng, dtype, k, m)
    b, t = draw(rng, dtype, m), draw(rng, dtype, n, m)
    before = gd.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            gd.set_num_threads(threads)
            y = gd.dense(X, W, b, "sigmoid")
            value, fused = gd.linear_value_and_grad(X, t, W, b)
            results.append((y, *gd.dense_grad(t, X, W, y, "sigmoid"), value, *fused))
    finally:
        gd.set_num_threads(before)
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            same_bits(found, expected)


DIGEST = """
import hashlib, sys
import numpy as np
import gdcore as gd
rng, digest = np.random.default_rng(7), hashlib.sha256()
for dtype in (np.float32, np.float64):
    for n, k, m in ((1, 1, 1), (37, 2, 1), (300, 5, 4), (61, 40, 10), (700, 33, 70), (9000, 2, 1)):
        X, W, b, t = (rng.standard_normal(s).astype(dtype) for s in ((n, k), (k, m), m, (n, m)))
        for x in (X, np.asfortranarray(X)):
            y = gd.dense(x, W, b, "tanh")
            value, grads = gd.linear_value_and_grad(x, t, W, b)
            for array in (y, *gd.dense_grad(t, x, W, y, "tanh"), value, *grads):
                digest.update(np.ascontiguousarray(array).tobytes())
print(digest.hexdigest())
"""


def digest(level):
    env = os.environ | {"GDCORE_ISA": level}
    return subprocess.check_output([sys.executable, "-c", DIGEST], env=env, text=True)


@pytest.mark.skipif("avx512" not in _core.levels(), reason="this processor has no AVX-512")
def test_avx2_and_avx512_give_the_same_bits():
    assert len(digest("avx2").strip()) == hashlib.sha256().digest_size * 2
    assert digest("avx2") == digest("avx512")


# ---- Accuracy ------------------------------------------------------------------------------------


def check_product(found, A, B):
    """Within 2 k eps sum|a||b| of the product in the wider type."""
    wide = WIDE[found.dtype]
    A, B = A.astype(wide), B.astype(wide)
    bound = 2 * max(A.shape[-1], 1) * np.finfo(found.dtype).eps * (abs(A) @ abs(B))
    assert (abs(found.astype(wide) - A @ B) <= bound).all()


@hypothesis.given(data=st.data(), size=st.tuples(*[st.integers(0, 90)] * 3))
@hypothesis.settings(max_examples=60)
def test_any_shape_is_within_the_bound(data, size):
    n, k, m = size
    dtype = np.dtype(data.draw(st.sampled_from([np.float32, np.float64])))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    X, W, dy = draw(rng, dtype, n, k), draw(rng, dtype, k, m), draw(rng, dtype, n, m)
    X = layouts(X)[data.draw(st.sampled_from(sorted(layouts(X))))]
    check_product(gd.dense(X, W), X, W)
    dX, dW, db = gd.dense_grad(dy, X, W)
    check_product(dX, dy, W.T)
    check_product(dW, X.T, dy)
    check_product(db, np.ones((1, n), dtype), dy)
    assert dX.shape == (n, k)
    assert dW.shape == (k, m)
    assert db.shape == (m,)


@pytest.mark.parametrize("shape", [(32, 784, 128), (2000, 3, 1), (5000, 30, 2), (300, 257, 10)])
def test_large_products_are_within_the_bound(rng, dtype, shape):
    n, k, m = shape
    X, W, dy = draw(rng, dtype, n, k), draw(rng, dtype, k, m), draw(rng, dtype, n, m)
    check_product(gd.dense(X, W), X, W)
    dX, dW, _ = gd.dense_grad(dy, X, W)
    check_product(dX, dy, W.T)
    check_product(dW, X.T, dy)


def test_nonfinite_values_go_through(dtype):
    X = np.array([[np.inf, 1], [np.nan, 1], [1, 1]] * 20, dtype)
    W = np.ones((2, 1), dtype)
    y = gd.dense(X, W, [0.0])
    assert np.isposinf(y[::3]).all()
    assert np.isnan(y[1::3]).all()
    assert (y[2::3] == 2).all()
    value, (dW, db) = gd.linear_value_and_grad(X, np.zeros_like(y), W, [0.0])
    assert np.isnan([value, *dW.ravel(), *db]).all()


# ---- dense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("m", [1, 3, 10, 64])
def test_a_fused_activation_is_the_activation(rng, dtype, name, m):
    X, W, b = draw(rng, dtype, 301, 12), draw(rng, dtype, 12, m), draw(rng, dtype, m)
    act, z, z_out = gd.activations.get(name), gd.dense(X, W, b), np.empty((301, m), dtype)
    y = gd.dense(X, W, b, name, z_out=z_out)
    same_bits(y, act(z))
    same_bits(z_out, z)
    same_bits(gd.dense(X, W, b, act), y)
    dy = draw(rng, dtype, 301, m)
    expected = gd.dense_grad(act.grad(dy, z, y), X, W)
    for known in [{"z": z}, {"y": y, "z": z}] + [{"y": y}] * (not act._reads_z):
        for found, e in zip(
            gd.dense_grad(dy, X, W, activation=name, **known), expected, strict=True
        ):
            same_bits(found, e)


def test_vector_weights_give_vectors(rng, dtype):
    X, w, dy = draw(rng, dtype, 20, 3), draw(rng, dtype, 3), draw(rng, dtype, 20)
    y = gd.dense(X, w, 0.5)
    same_bits(y, gd.dense(X, w[:, None], [0.5])[:, 0])
    for b in (np.array(0.5, dtype), np.array([0.5], dtype), dtype.type(0.5), [0.5]):
        same_bits(gd.dense(X, w, b), y)
    dX, dw, db = gd.dense_grad(dy, X, w)
    same_bits(dX, gd.dense_grad(dy[:, None], X, w[:, None])[0])
    assert dw.shape == (3,)
    assert type(db) is dtype.type


def test_results_go_where_they_are_told(rng, dtype):
    X, W = draw(rng, dtype, 6, 3), draw(rng, dtype, 3, 4)
    out, z_out = np.empty((6, 4), dtype), np.empty((6, 4), dtype)
    assert gd.dense(X, W, activation="relu", out=out, z_out=z_out) is out
    same_bits(z_out, gd.dense(X, W))
    same_bits(out, np.maximum(z_out, 0))


def test_small_operands_may_have_any_order(rng, dtype):
    X, W, b = draw(rng, dtype, 9, 5), draw(rng, dtype, 7, 5), draw(rng, dtype, 14)[::2]
    dy = draw(rng, dtype, 7, 9).T
    same_bits(gd.dense(X, W.T, b), gd.dense(X, W.T.copy(), b.copy()))
    pairs = zip(gd.dense_grad(dy, X, W.T), gd.dense_grad(dy.copy(), X, W.T.copy()), strict=True)
    for found, expected in pairs:
        same_bits(found, expected)


def test_numbers_take_the_type_that_they_meet(rng):
    W = draw(rng, np.float32, 2, 3)
    assert gd.dense([[1, 2]], W, [1, 2, 3]).dtype == np.float32
    assert gd.dense(np.array([[1, 2]]), W).dtype == np.float32
    assert gd.dense(W, [1.0, 2.0, 3.0]).dtype == np.float32
    assert gd.dense([[1, 2]], [3, 4]).dtype == np.float64


@pytest.mark.parametrize(("n", "k", "m"), [(0, 3, 2), (4, 0, 2), (4, 3, 0), (0, 0, 0), (0, 2, 1)])
def test_empty_axes_work(dtype, n, k, m):
    X, W, b = np.ones((n, k), dtype), np.ones((k, m), dtype), np.ones(m, dtype)
    assert np.array_equal(gd.dense(X, W, b, "sigmoid"), gd.sigmoid(X @ W + b))
    dX, dW, db = gd.dense_grad(np.ones((n, m), dtype), X, W)
    assert np.array_equal(dX, np.ones((n, m)) @ W.T)
    assert np.array_equal(dW, X.T @ np.ones((n, m)))
    assert np.array_equal(db, np.full(m, n))
    value, (dW, db) = gd.linear_value_and_grad(X, np.zeros((n, m), dtype), W, b)
    empty = n * m == 0
    assert value == (0 if empty else (k + 1) ** 2)
    assert np.array_equal(dW, np.zeros((k, m)) if empty else np.full((k, m), k + 1))
    assert np.array_equal(db, np.zeros(m) if empty else np.full(m, k + 1.0) * 2 / m)


def test_a_size_beyond_memory_is_refused():
    huge = np.zeros((0, 10**18))
    assert gd.dense(np.zeros((0, 0)), huge).shape == (0, 10**18)
    with pytest.raises((MemoryError, ValueError)):
        gd.dense(np.zeros((3, 0)), huge)
    with pytest.raises((MemoryError, ValueError)):
        gd.dense_grad(huge, np.zeros((0, 0)), huge)


# ---- Gradients -----------------------------------------------------------------------------------


def central_difference(f, x, step=1e-6):
    grad = np.empty_like(x)
    for i in np.ndindex(x.shape):
        low, high = x.copy(), x.copy()
        low[i] -= step
        high[i] += step
        grad[i] = (f(high) - f(low)) / (2 * step)
    return grad


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dense_grad_agrees_with_central_differences(rng, name):
    X, W, b = rng.standard_normal((7, 4)), rng.standard_normal((4, 3)), rng.standard_normal(3)
    dy = rng.standard_normal((7, 3))
    y, z = gd.dense(X, W, b, name), gd.dense(X, W, b)
    dX, dW, db = gd.dense_grad(dy, X, W, y, name, z=z)
    close = {"rtol": 1e-6, "atol": 1e-7}
    value = lambda X, W, b: np.sum(gd.dense(X, W, b, name) * dy)  # noqa: E731
    np.testing.assert_allclose(dX, central_difference(lambda x: value(x, W, b), X), **close)
    np.testing.assert_allclose(dW, central_difference(lambda w: value(X, w, b), W), **close)
    np.testing.assert_allclose(db, central_difference(lambda c: value(X, W, c), b), **close)


def test_dX_is_made_only_where_it_is_needed(rng, dtype):
    X, W, dy = draw(rng, dtype, 9, 5), draw(rng, dtype, 5, 6), draw(rng, dtype, 9, 6)
    with_dX, without = gd.dense_grad(dy, X, W), gd.dense_grad(dy, X, W, need_dX=False)
    assert without[0] is None
    same_bits(without[1], with_dX[1])
    same_bits(without[2], with_dX[2])


def targets_for(loss, rng, dtype, n, m):
    if loss.name.startswith("sparse"):
        return rng.integers(0, m, n)
    t = rng.random((n, m))
    return (t / t.sum(axis=1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize("name", [name for name in gd.losses.names() if name.endswith("mse")])
@pytest.mark.parametrize("m", [1, 2, 6])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_fused_pass_is_dense_loss_and_gradient(rng, dtype, name, m, order):
    compare_fused(gd.losses.get(name), rng, dtype, m, order)


@pytest.mark.parametrize("name", [name for name in gd.losses.names() if "crossentropy" in name])
@pytest.mark.parametrize("m", [2, 6])
def test_the_fused_pass_takes_every_loss(rng, dtype, name, m):
    compare_fused(gd.losses.get(name, from_logits=True), rng, dtype, m, "C")


def compare_fused(loss, rng, dtype, m, order):
    X, W, b = draw(rng, dtype, 700, 5), draw(rng, dtype, 5, m), draw(rng, dtype, m)
    X, t = np.asarray(X, order=order), targets_for(loss, rng, dtype, 700, m)
    value, (dW, db) = gd.linear_value_and_grad(X, t, W, b, loss=loss)
    expected, dy = loss.value_and_grad(t, gd.dense(X, W, b))
    _, expected_dW, expected_db = gd.dense_grad(dy, X, W)
    rtol = 64 * np.finfo(dtype).eps
    np.testing.assert_allclose(value, expected, rtol=rtol)
    scale = (abs(X).T @ abs(dy)).max()
    np.testing.assert_allclose(dW, expected_dW, rtol=rtol, atol=rtol * scale)
    np.testing.assert_allclose(db, expected_db, rtol=rtol, atol=rtol * abs(dy).sum(axis=0).max())
    assert type(value) is dtype.type


def test_the_gradient_of_a_bias_is_shaped_like_it(rng, dtype):
    X, w, t = draw(rng, dtype, 30, 2), draw(rng, dtype, 2), draw(rng, dtype, 30)
    db = gd.linear_value_and_grad(X, t, w, 0.25)[1][1]
    assert type(db) is dtype.type
    for b in (np.array(0.25, dtype), np.array([0.25], dtype)):
        found = gd.linear_value_and_grad(X, t, w, b)[1][1]
        assert isinstance(found, np.ndarray)
        assert found.shape == b.shape
        assert found.reshape(()) == db


def test_targets_may_differ_by_axes_of_length_1(rng, dtype):
    X, w, t = draw(rng, dtype, 30, 2), draw(rng, dtype, 2), draw(rng, dtype, 30)
    value = gd.linear_value_and_grad(X, t, w, 0.0)[0]
    assert gd.linear_value_and_grad(X, t[:, None], w, 0.0)[0] == value
    assert gd.linear_value_and_grad(X, t, w[:, None], [0.0])[0] == value
    assert gd.linear_value_and_grad(X, t[None, :, None], w[:, None], [0.0])[0] == value


def test_descent_finds_the_least_squares_solution(rng):
    X = rng.standard_normal((3000, 2))
    y = X @ [1.5, -2.0] + 0.75 + 0.01 * rng.standard_normal(3000)
    w, b = np.zeros(2), 0.0
    for _ in range(200):
        _, (dw, db) = gd.linear_value_and_grad(X, y, w, b, loss="half_mse")
        w, b = w - 0.5 * dw, b - 0.5 * db
    expected = np.linalg.lstsq(np.column_stack([X, np.ones(3000)]), y, rcond=None)[0]
    np.testing.assert_allclose([*w, b], expected, rtol=1e-12)


# ---- Bad input, memory, references ---------------------------------------------------------------


def arrays():
    return {"X": np.ones((4, 3)), "W": np.ones((3, 2)), "b": np.ones(2), "dy": np.ones((4, 2))}


def call(function, X, W, b, dy, **options):
    first = {gd.dense: (X, W, b), gd.dense_grad: (dy, X, W)}.get(function, (X, dy, W, b))
    return function(*first, **options)


F32, FUSED = np.ones((4, 3), np.float32), gd.linear_value_and_grad
BAD = [
    (gd.dense, {"X": np.ones(3)}, ValueError, r"X has shape \(3,\).*X\[:, None\]"),
    (gd.dense, {"X": np.ones((4, 2))}, ValueError, r"W has shape \(3, 2\); X has shape \(4, 2\)"),
    (gd.dense, {"W": np.ones((3, 2, 1))}, ValueError, r"W has shape \(3, 2, 1\)"),
    (gd.dense, {"W": np.array(1.0)}, ValueError, r"W has shape \(\)"),
    (gd.dense, {"X": F32}, TypeError, "X is float32 but W is float64"),
    (gd.dense, {"X": np.ones((4, 3), np.float16)}, TypeError, "X has dtype float16"),
    (gd.dense, {"X": np.ones((4, 3), complex)}, TypeError, "X has dtype complex128"),
    (gd.dense, {"X": np.ones((4, 3), ">f8")}, TypeError, "X has non-native byte order"),
    (gd.dense, {"X": [["a", "b", "c"]]}, TypeError, "X has dtype"),
    (gd.dense, {"b": np.ones(3)}, ValueError, r"b has shape \(3,\); \(2,\) is wanted"),
    (gd.dense, {"b": 1.0}, ValueError, r"b has shape \(\); \(2,\) is wanted"),
    (gd.dense, {"b": np.ones((1, 2))}, ValueError, r"b has shape \(1, 2\)"),
    (gd.dense, {"b": np.ones(2, np.float32)}, TypeError, "b is float32 but W is float64"),
    (gd.dense, {"W": np.ones(3)}, ValueError, r"b has shape \(2,\); beside W of shape \(k,\)"),
    (gd.dense, {"activation": "rellu"}, ValueError, "did you mean 'relu'"),
    (gd.dense, {"activation": 3}, TypeError, "activation is 3"),
    (gd.dense, {"out": np.ones((4, 3))}, ValueError, r"out .*\(4, 3\)"),
    (gd.dense, {"out": np.ones((4, 2), np.float32)}, TypeError, "out is float32"),
    (gd.dense, {"out": np.ones((2, 4)).T}, ValueError, "out is not C-contiguous"),
    (gd.dense, {"out": [[0.0] * 2] * 4}, TypeError, "out is list"),
    (gd.dense, {"z_out": np.ones(8)}, ValueError, "z_out"),
    (gd.dense, {"out": np.frombuffer(bytes(64)).reshape(4, 2)}, ValueError, "out is read-only"),
    (
        gd.dense_grad,
        {"dy": np.ones((4, 3))},
        ValueError,
        r"dy has shape \(4, 3\).*\(4, 2\), is wanted",
    ),
    (
        gd.dense_grad,
        {"dy": np.ones((4, 2), np.float32)},
        TypeError,
        "dy is float32 but W is float64",
    ),
    (gd.dense_grad, {"activation": "tanh"}, ValueError, "the gradient of tanh needs y or z"),
    (
        gd.dense_grad,
        {"activation": "tanh", "y": np.ones((2, 4))},
        ValueError,
        r"y has shape \(2, 4\)",
    ),
    (gd.dense_grad, {"activation": "relu", "z": np.ones(4)}, ValueError, r"z has shape \(4,\)"),
    (FUSED, {"dy": np.ones(4)}, ValueError, r"y_true has shape \(4,\); \(4, 2\) is wanted"),
    (FUSED, {"dy": np.ones((2, 4))}, ValueError, "nothing is broadcast"),
    (FUSED, {"dy": np.ones((4, 2), "f4")}, TypeError, "y_true is float32 but W is float64"),
    (FUSED, {"loss": "msee"}, ValueError, "did you mean 'mse'"),
    (FUSED, {"loss": gd.losses.get("mse", reduction="sum")}, ValueError, "reduction='mean'"),
    (FUSED, {"loss": "scce", "dy": [0, 1, 2, 0]}, ValueError, "class number 2 at position 2"),
]


@pytest.mark.parametrize(("function", "change", "error", "message"), BAD)
def test_bad_input_is_refused_by_name(function, change, error, message):
    with pytest.raises(error, match=message):
        call(function, **(arrays() | change))


def test_losses_per_row_need_a_matrix_of_weights(rng):
    X, w = rng.standard_normal((4, 3)), np.ones(3)
    with pytest.raises(ValueError, match=r"W of shape \(k, m\) is wanted"):
        gd.linear_value_and_grad(X, [0, 0, 0, 0], w, 0.0, loss="sparse_categorical_crossentropy")


@pytest.mark.parametrize("name", ["out", "z_out"])
def test_targets_share_no_memory_with_inputs(name):
    memory = np.ones(64)
    X, W, b = memory[:12].reshape(4, 3), memory[12:18].reshape(3, 2), memory[18:20]
    for start, other in ((4, "X"), (10, "X"), (16, "W"), (19, "b")):
        target = memory[start : start + 8].reshape(4, 2)
        with pytest.raises(ValueError, match=f"{name} shares memory with {other}"):
            gd.dense(X, W, b, **{name: target})
    assert (memory == 1).all()
    gd.dense(X, W, b, **{name: memory[20:28].reshape(4, 2)})
    assert (memory[20:28] == 4).all()


def test_the_two_targets_share_no_memory():
    target = np.zeros((4, 2))
    with pytest.raises(ValueError, match="z_out shares memory with out"):
        gd.dense(np.ones((4, 3)), np.ones((3, 2)), out=target, z_out=target)
    assert (target == 0).all()


def flat(result):
    """The arrays of a result, whatever tuples they stand in."""
    return [a for part in result for a in flat(part)] if isinstance(result, tuple) else [result]


def test_a_failed_allocation_is_a_memory_error(rng):
    testcapi = pytest.importorskip("_testcapi", reason="the interpreter has no _testcapi")
    X, W, t = rng.standard_normal((600, 3)), rng.standard_normal((3, 5)), np.zeros((600, 5))
    b = np.zeros(5)
    calls = (
        lambda: gd.dense(X, W, b, "relu"),
        lambda: gd.dense_grad(t, X, W),
        lambda: gd.linear_value_and_grad(X, t, W, b),
    )
    for attempt in calls:
        expected, failures = attempt(), 0
        for i in range(60):
            testcapi.set_nomemory(i, i + 1)
            try:
                result = attempt()
            except MemoryError:
                failures += 1
                result = None
            finally:
                testcapi.remove_mem_hooks()
            if result is not None:
                for found, wanted in zip(flat(result), flat(expected), strict=True):
                    assert np.array_equal(found, wanted)
        assert failures > 0


def test_references_are_given_back(rng):
    X, W, b = rng.standard_normal((40, 3)), rng.standard_normal((3, 2)), np.zeros(2)
    dy, out = np.ones((40, 2)), np.empty((40, 2))
    held = (X, W, b, dy, out)

    def use():
        for _ in range(50):
            gd.dense(X, W, b, "relu", out=out)
            gd.dense_grad(dy, X, W, out, "relu")
            gd.linear_value_and_grad(X, dy, W, b)
            with pytest.raises(ValueError, match="dy"):
                gd.dense_grad(b, X, W)

    use()
    before = [sys.getrefcount(array) for array in held]
    use()
    assert [sys.getrefcount(array) for array in held] == before


def test_no_temporary_of_the_length_of_X(rng):
    X, y = rng.standard_normal((200_000, 2)), rng.standard_normal(200_000)
    gd.linear_value_and_grad(X, y, np.zeros(2), 0.0)
    tracemalloc.start()
    gd.linear_value_and_grad(X, y, np.zeros(2), 0.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
