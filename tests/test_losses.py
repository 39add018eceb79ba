"""Losses: twins, derivatives, accuracy, weights and reductions, shapes, types, class numbers.

Tests run over the rows of the core's table, `from_logits` being an option of a loss. Predictions
are logits for such rows and probabilities for all others, which suits every loss.
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
from test_math import WIDE, bits, ulp_errors

import gdcore as gd
from gdcore import _core
from gdcore.reference.losses import LOSSES

ROWS = {row["name"]: row for row in _core.LOSSES}
LOGITS = "_from_logits"
WIDTHS = [*range(1, 35), 100, 255, 256, 257, 1000, 4095, 4096, 4097, 9000]

each_row = pytest.mark.parametrize("row", ROWS)
each_reduction = pytest.mark.parametrize("reduction", gd.losses.REDUCTIONS)
precise = np.finfo(np.longdouble).nmant >= 63
needs_precision = pytest.mark.skipif(not precise, reason="long double is no wider than double here")


def loss_of(row, reduction="mean"):
    name = row.removesuffix(LOGITS)
    return gd.losses.Loss(name, reduction=reduction, from_logits=name != row)


def kind_of(row):
    return ROWS[row]["kind"]


def case(row, shape, dtype, rng, soft=False):
    """(y_true, y_pred): hard targets (0, 1, a class), or soft ones (but for class numbers)."""
    z = 3 * rng.normal(size=shape)
    classes = shape[-1] if shape else 1
    if kind_of(row) == "pointwise":
        pred = gd.sigmoid(z)
        target = rng.random(shape) if soft else rng.integers(0, 2, shape)
    else:
        pred = gd.softmax(z)
        target = rng.integers(0, classes, shape[:-1])
    if kind_of(row) == "rowwise":
        target = gd.softmax(rng.normal(size=shape)) if soft else np.eye(classes)[target]
    if kind_of(row) != "sparse":
        target = np.asarray(target).astype(dtype)
    return target, np.asarray(z if row.endswith(LOGITS) else pred).astype(dtype)


def wide(array):
    return array.astype(WIDE[array.dtype]) if array.dtype.kind == "f" else array


def twin(row, target, pred):
    """(losses, gradient) of the twin in the wide type."""
    value, grad = LOSSES[row]
    with np.errstate(all="ignore"):
        return value(wide(target), wide(pred)), grad(wide(target), wide(pred))


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(bits(a), bits(b))


def rows_of(row, shape):
    """How many rows have a weight."""
    return shape[0] if kind_of(row) == "pointwise" else int(np.prod(shape[:-1]))


# ---- The twins, derivatives ----------------------------------------------------------------------


def test_every_row_has_a_twin():
    assert LOSSES.keys() == ROWS.keys()


@needs_precision
@each_row
@pytest.mark.parametrize("width", [1, 2, 10, 17, 300])
def test_each_loss_and_slope_within_4_ulp(row, width, dtype, rng):
    """Hard targets: nothing cancels, be the prediction right, wrong, or nearly certain."""
    target, pred = case(row, (3000 // width, width), dtype, rng)
    true, true_grad = twin(row, target, pred)
    losses, grad = loss_of(row, "none").value_and_grad(target, pred)
    assert losses.dtype == grad.dtype == dtype
    zeros = true == 0  # a sum of nothing: its sign is of no account
    assert ulp_errors(np.abs(losses), np.abs(true)).max() <= 4
    assert np.all(losses[zeros] == 0)
    assert ulp_errors(np.abs(grad), np.abs(true_grad)).max() <= 4
    assert np.array_equal(np.sign(grad), np.sign(true_grad))


@each_row
def test_soft_targets(row, dtype, rng):
    """What cancels is bounded by the terms: slopes are affine in the target."""
    target, pred = case(row, (200, 10), dtype, rng, soft=True)
    true, true_grad = twin(row, target, pred)
    losses, grad = loss_of(row, "none").value_and_grad(target, pred)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(losses, true.astype(dtype), rtol=8 * eps)
    at_zero = twin(row, 0 * target, pred)[1]
    terms = np.abs(at_zero) + np.abs(true_grad - at_zero) + 1
    assert np.all(np.abs(grad - true_grad) <= 4 * eps * terms)


@each_row
@each_reduction
@pytest.mark.parametrize("shape", [(1,), (7,), (6, 5), (2, 3, 4)])
def test_central_differences(row, reduction, shape, rng):
    loss = loss_of(row, reduction)
    target, pred = case(row, shape, np.dtype(np.float64), rng, soft=True)
    v = rng.normal(size=shape) * np.minimum(pred, 1 - pred) if not loss.from_logits else 1.0
    weights = rng.uniform(0.1, 2, rows_of(row, shape))
    h = 1e-5
    ahead, behind = (np.sum(loss(target, pred + s * h * v, weights)) for s in (1, -1))
    dy = loss.value_and_grad(target, pred, weights)[1]
    assert np.shape(dy) == shape
    np.testing.assert_allclose(np.sum(dy * v), (ahead - behind) / (2 * h), rtol=1e-7, atol=1e-8)


@each_row
def test_complex_step(row, rng):
    """The twin's values have the twin's gradient, to the last digits."""
    target, pred = case(row, (40, 6), np.dtype(np.float64), rng, soft=True)
    v = rng.normal(size=pred.shape)
    value, grad = LOSSES[row]
    slope = value(target, pred + 1e-200j * v).imag / 1e-200
    terms = grad(target, pred) * v
    if kind_of(row) != "pointwise":
        slope, terms = slope[:, None], terms.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(terms, slope, rtol=1e-12, atol=1e-12)


# ---- Reductions and weights ----------------------------------------------------------------------


@needs_precision
@each_row
@pytest.mark.parametrize("rows", [1, 10, 4097, 100_000])
def test_the_mean_within_4_ulp(row, rows, dtype, rng):
    """Of up to a million elements."""
    target, pred = case(row, (rows, 10), dtype, rng)
    true = np.asarray(twin(row, target, pred)[0].mean(dtype=np.longdouble))
    value = np.asarray(loss_of(row)(target, pred))
    assert ulp_errors(np.atleast_1d(value), np.atleast_1d(true.astype(WIDE[dtype]))) <= 4


WEIGHTS = {
    "none": lambda rows, rng: None,
    "any": lambda rows, rng: rng.uniform(0.1, 2, rows),
    "some zero": lambda rows, rng: np.arange(1, rows + 1) % 3 / 2,
    "negative too": lambda rows, rng: rng.uniform(-0.5, 2, rows),
    "integers": lambda rows, rng: rng.integers(1, 5, rows),
    "list": lambda rows, rng: rng.integers(1, 5, rows).tolist(),
    "column": lambda rows, rng: rng.uniform(0.1, 2, (rows, 1)),
}


@each_row
@each_reduction
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("shape", [(900,), (300, 3), (50, 3, 7)])
def test_weights_and_reductions(row, reduction, weights, shape, dtype, rng):
    target, pred = case(row, shape, dtype, rng)
    losses, grad = twin(row, target, pred)
    rows = rows_of(row, shape)
    given_weights = WEIGHTS[weights](rows, rng)
    if isinstance(given_weights, np.ndarray) and given_weights.dtype.kind == "f":
        given_weights = given_weights.astype(dtype)
    w = np.ones(rows) if given_weights is None else np.ravel(given_weights).astype(np.float64)
    losses_2d = losses.reshape(rows, -1)
    count = w.sum() * losses_2d.shape[1]
    weighted = w[:, None] * losses_2d
    total = {"mean": weighted.sum() / count, "sum": weighted.sum(), "none": weighted}[reduction]
    slope = w[:, None] * grad.reshape(rows, -1) / (count if reduction == "mean" else 1)

    value, dy = loss_of(row, reduction).value_and_grad(target, pred, given_weights)
    assert same_bits(loss_of(row, reduction)(target, pred, given_weights), value)
    assert np.shape(value) == (losses.shape if reduction == "none" else ())
    assert isinstance(value, np.ndarray if np.shape(value) else dtype.type)
    assert dy.shape == shape
    assert dy.dtype == dtype
    eps = np.finfo(dtype).eps
    scale = eps * float(np.abs(weighted).sum() / (abs(count) if reduction == "mean" else 1))
    value = np.reshape(value, total.shape)
    np.testing.assert_allclose(value, total.astype(dtype), rtol=8 * eps, atol=scale)
    np.testing.assert_allclose(dy.reshape(rows, -1), slope.astype(dtype), rtol=12 * eps)


@each_row
def test_weights_that_sum_to_zero(row, dtype, rng):
    """Nothing counts: the mean is 0 and so is its gradient, whatever the losses are."""
    target, pred = case(row, (6, 3), dtype, rng)
    pred[2] = np.nan
    for weights in np.zeros(6, dtype), np.array([1, -1, 2, -2, 0, 0], dtype):
        value, dy = loss_of(row).value_and_grad(target, pred, weights)
        assert value == 0
        assert not dy.any()
        assert np.isnan(loss_of(row, "sum")(target, pred, weights))


@each_row
@each_reduction
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 0), (2, 0, 3), (2, 3, 0)])
def test_no_elements(row, reduction, shape, dtype):
    pred = np.empty(shape, dtype)
    rows = shape[:-1]
    if kind_of(row) == "sparse" and int(np.prod(rows)) > 0:
        with pytest.raises(ValueError, match=r"class number 0 at position 0; numbers in \[0, 0\)"):
            loss_of(row, reduction)(np.zeros(rows, int), pred)
        return
    target = np.empty(rows, int) if kind_of(row) == "sparse" else pred
    value, dy = loss_of(row, reduction).value_and_grad(target, pred)
    assert not np.any(value)
    assert dy.shape == shape


@pytest.mark.parametrize("width", WIDTHS)
@each_row
def test_any_width(row, width, dtype, rng):
    """A row's losses and gradient are its own: alone or among others, at any block's edge."""
    rows = 600 if width < 35 else 3
    target, pred = case(row, (rows, width), dtype, rng)
    loss = loss_of(row, "none")
    losses, dy = loss.value_and_grad(target, pred)
    true, true_grad = twin(row, target, pred)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(losses, true.astype(dtype), rtol=8 * eps, atol=eps**4)
    np.testing.assert_allclose(dy, true_grad.astype(dtype), rtol=8 * eps, atol=eps**2)
    for r in (0, 1, rows - 1) if rows == 3 else (0, 1, 255, 256, 257, rows - 1):
        one, one_dy = loss.value_and_grad(target[r : r + 1], pred[r : r + 1])
        assert same_bits(one, losses[r : r + 1])
        assert same_bits(one_dy, dy[r : r + 1])


@each_row
@each_reduction
def test_threads_change_no_bit(row, reduction, dtype, rng):
    target, pred = case(row, (30_011, 7), dtype, rng)
    weights = rng.uniform(size=30_011).astype(dtype)
    before, results = gd.get_num_threads(), []
    try:
        for threads in 1, 2, 3:
            gd.set_num_threads(threads)
            results.append(loss_of(row, reduction).value_and_grad(target, pred, weights))
    finally:
        gd.set_num_threads(before)
    for value, dy in results[1:]:
        assert same_bits(value, results[0][0])
        assert same_bits(dy, results[0][1])


# ---- Shapes and types ----------------------------------------------------------------------------


@each_row
def test_axes_of_length_one(row, dtype, rng):
    """(n,) against (n, 1) is n losses, never n times n."""
    if kind_of(row) == "pointwise":
        target, pred = case(row, (9,), dtype, rng)
        pairs = [(target, pred), (target, pred[:, None]), (target[:, None], pred)]
        pairs += [(target[None, :], pred[:, None]), (target[:, None, None], pred[None, :])]
    else:
        target, pred = case(row, (9, 4), dtype, rng)
        pairs = [(target, pred), (target[:, None], pred), (target[None], pred)]
        pairs += [(target, pred[:, None, :]), (target[:, None], pred[None])]
    results = [loss_of(row, "sum").value_and_grad(*pair) for pair in pairs]
    for (value, dy), (_, y_pred) in zip(results, pairs, strict=True):
        assert same_bits(value, results[0][0])
        assert same_bits(dy, results[0][1].reshape(y_pred.shape))


@each_row
def test_other_shapes_are_refused(row, rng):
    target, pred = case(row, (6, 4), np.dtype(np.float64), rng)
    loss = loss_of(row)
    bad = [target[:5], target[:1], np.stack([target, target]), target[0], target.T[:3]]
    for y_true in bad:
        with pytest.raises(ValueError, match=r"y_true has shape \(.*y_pred's shape.*nothing is"):
            loss(y_true, pred)
    for count in 1, 5, 7, 12:
        with pytest.raises(ValueError, match=rf"sample_weight has {count} elements; .* 6 rows"):
            loss(target, pred, np.ones(count))


@each_row
def test_numbers_and_lists(row, dtype, rng):
    target, pred = case(row, (5, 3), dtype, rng)
    expected = loss_of(row).value_and_grad(target, pred)
    for y_true in target.tolist(), tuple(target.tolist()):
        for value, array in zip(loss_of(row).value_and_grad(y_true, pred), expected, strict=True):
            assert same_bits(value, array)
    value, dy = loss_of(row).value_and_grad(target.tolist(), pred.tolist())
    assert value.dtype == dy.dtype == np.float64
    zero = 0 if kind_of(row) == "sparse" else 0.0
    for number, kind in (0.5, np.float64), (np.float32(0.5), np.float32), (1, np.float64):
        value, dy = loss_of(row).value_and_grad(zero, number)
        assert type(value) is type(dy) is kind


@each_row
def test_targets_of_whole_numbers(row, dtype, rng):
    """Integers and booleans are read in y_pred's type: binary labels, one-hot rows, classes."""
    target, pred = case(row, (40, 2), dtype, rng)
    expected = loss_of(row)(target, pred)
    for code in "?bBhHiIlLqQfd":
        if code in "fd" and kind_of(row) != "sparse":
            continue
        assert same_bits(loss_of(row)(target.astype(code), pred), expected)


@each_row
def test_types_do_not_mix(row, dtype, rng):
    target, pred = case(row, (5, 3), dtype, rng)
    other = np.dtype(np.float64 if dtype == np.float32 else np.float32)
    loss = loss_of(row)
    if kind_of(row) != "sparse":
        with pytest.raises(TypeError, match=rf"y_true is {other} but y_pred is {dtype}"):
            loss(target.astype(other), pred)
    with pytest.raises(TypeError, match=rf"sample_weight is {other} but y_pred is {dtype}"):
        loss(target, pred, np.ones(5, other))
    for refused in np.float16, np.longdouble, np.complex128, object:
        with pytest.raises(TypeError, match="y_pred has dtype"):
            loss(target, pred.astype(refused))
        with pytest.raises(TypeError, match="sample_weight has dtype"):
            loss(target, pred, np.ones(5).astype(refused))
        with pytest.raises(TypeError, match="y_true has dtype"):
            loss(target.astype(refused), pred)
    with pytest.raises(TypeError, match="masked"):
        loss(target, np.ma.masked_array(pred, mask=pred > 0))


@each_row
def test_any_memory_order(row, dtype, rng):
    target, pred = case(row, (24, 6), dtype, rng)
    weights = rng.uniform(size=24).astype(dtype)
    views = [
        (target[::2], pred[::2], weights[::2]),
        (target[::-1], pred[::-1], weights[::-1]),
        (np.asfortranarray(target), np.asfortranarray(pred), weights),
        (np.repeat(target, 2, axis=0)[::2], pred.T.copy().T, np.repeat(weights, 2)[::2]),
    ]
    for view in views:
        packed = [array.copy(order="C") for array in view]
        for array in view:
            array.flags.writeable = False
        value, dy = loss_of(row).value_and_grad(*view)
        expected, expected_dy = loss_of(row).value_and_grad(*packed)
        assert same_bits(value, expected)
        assert same_bits(dy, expected_dy)
        assert dy.flags.c_contiguous
        assert all(map(same_bits, view, packed))


# ---- Class numbers -------------------------------------------------------------------------------

sparse_rows = pytest.mark.parametrize("row", [row for row in ROWS if kind_of(row) == "sparse"])


@sparse_rows
@pytest.mark.parametrize(
    ("label", "found"),
    [
        (3, "the class number 3"),
        (-1, "the class number -1"),
        (np.iinfo(np.int64).min, "the class number -9223372036854775808"),
        (np.uint64(2**64 - 1), "the class number 18446744073709551615"),
        (2.5, "2.5"),
        (np.nan, "nan"),
        (np.inf, "inf"),
        (-1e300, "-1e[+]300"),
        (-0.5, "-0.5"),
    ],
)
def test_what_is_no_class(row, label, found):
    labels = np.zeros((4, 1), np.asarray(label).dtype)
    labels[2] = label
    with pytest.raises(ValueError, match=rf"y_true holds {found} at position 2"):
        loss_of(row)(labels, np.full((4, 3), 0.5))
    if not isinstance(label, np.uint64):
        with pytest.raises(ValueError, match=r"at position 0"):
            loss_of(row)([label], [[0.5, 0.2, 0.3]])


@sparse_rows
def test_names_are_no_classes(row):
    with pytest.raises(TypeError, match="y_true has dtype <U3; class numbers are integers"):
        loss_of(row)(["cat", "dog"], np.full((2, 2), 0.5))


# ---- Limits --------------------------------------------------------------------------------------


@each_row
def test_nothing_warns(row, dtype):
    """Logarithms of 0, infinite and NaN predictions: IEEE 754 and no RuntimeWarning."""
    pred = np.array([0, 1, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-40], dtype)
    pred = np.stack(np.meshgrid(pred, pred), axis=-1).reshape(-1, 2)
    target = np.zeros(len(pred), int) if kind_of(row) == "sparse" else np.ones_like(pred)
    with np.errstate(all="raise"):
        loss_of(row).value_and_grad(target, pred)


@each_row
def test_a_nan_stays_in_its_row(row, dtype, rng):
    target, pred = case(row, (5, 3), dtype, rng)
    expected, expected_dy = loss_of(row, "none").value_and_grad(target, pred)
    pred[2, 1] = np.nan
    if kind_of(row) == "sparse":
        target[2] = 1
    losses, dy = loss_of(row, "none").value_and_grad(target, pred)
    others = [0, 1, 3, 4]
    assert same_bits(losses[others], expected[others])
    assert same_bits(dy[others], expected_dy[others])
    assert np.isnan(loss_of(row)(target, pred)) or kind_of(row) == "rowwise"
    if kind_of(row) != "rowwise" or row.endswith(LOGITS):
        assert np.isnan(dy[2, 1])


INF = np.inf
LIMITS = [
    ("binary_crossentropy_from_logits", [1, 0, 1, 0], [1e4, -1e4, -1e4, 1e4], [0, 0, 1e4, 1e4]),
    ("binary_crossentropy_from_logits", [1, 0, 1, 0], [INF, -INF, -INF, INF], [0, 0, INF, INF]),
    ("binary_crossentropy", [1, 0, 1, 0], [1, 0, 0, 1], [0, 0, INF, INF]),
    ("categorical_crossentropy", [[0, 1], [1, 0]], [[0, 1], [0, 1]], [0, INF]),
    ("categorical_crossentropy_from_logits", [[1, 0], [0, 1]], [[1e4, -1e4]] * 2, [0, 2e4]),
    ("categorical_crossentropy_from_logits", [[1, 0], [0, 1]], [[0, -INF]] * 2, [0, INF]),
    ("sparse_categorical_crossentropy", [1, 0], [[0, 1], [0, 1]], [0, INF]),
    ("sparse_categorical_crossentropy_from_logits", [0, 1], [[1e4, -1e4]] * 2, [0, 2e4]),
    ("sparse_categorical_crossentropy_from_logits", [0, 1], [[0, -INF]] * 2, [0, INF]),
]


@pytest.mark.parametrize(("row", "target", "pred", "losses"), LIMITS)
def test_limits(row, target, pred, losses, dtype):
    found, dy = loss_of(row, "none").value_and_grad(target, np.array(pred, dtype))
    np.testing.assert_array_equal(found, np.array(losses, dtype))
    assert not np.signbit(found).any()
    wrong = np.array(losses) > 0
    if row.endswith(LOGITS):
        assert np.all(dy[~wrong] == 0)
        assert np.all(np.abs(dy[wrong]) == 1)


@pytest.mark.parametrize("row", [row for row in ROWS if row.endswith(LOGITS)])
def test_a_nearly_certain_prediction_keeps_its_digits(row, dtype):
    """exp(-40) is lost beside 1, and is the loss."""
    if kind_of(row) == "pointwise":
        target, pred, want = [1, 0], [40, -40], [-1, 1]
    else:
        target, pred, want = [0], [[0, -40]], [[-1, 1]]
        target = target if kind_of(row) == "sparse" else [[1, 0]]
    losses, dy = loss_of(row, "none").value_and_grad(target, np.array(pred, dtype))
    small = np.exp(-40.0)
    np.testing.assert_allclose(losses, small, rtol=1e-6)
    np.testing.assert_allclose(dy, small * np.array(want), rtol=1e-6)


@needs_precision
@each_row
@given(data=st.data())
def test_any_predictions(row, data):
    """Finite logits of any size, probabilities between 0 and 1: a finite loss within 4 ULP."""
    width = data.draw(st.sampled_from([32, 64]))
    if row.endswith(LOGITS):
        values = st.floats(-(2.0**100), 2.0**100, width=width)
    else:
        values = st.floats(2**-20, 1 - 2**-20, width=width)
    rows, classes = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 20))
    pred = data.draw(st.lists(values, min_size=rows * classes, max_size=rows * classes))
    pred = np.array(pred, f"f{width // 8}").reshape(rows, classes)
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    target = np.array(labels)
    if kind_of(row) != "sparse":
        target = np.eye(classes)[target].astype(pred.dtype)
    losses, dy = loss_of(row, "none").value_and_grad(target, pred)
    true, _ = twin(row, target, pred)
    assert np.isfinite(dy).all()
    assert ulp_errors(losses, np.abs(true)).max() <= 4


DIGESTS = """
import hashlib, numpy as np, gdcore as gd
from gdcore import _core
for real in "f4", "f8":
    for width in 1, 10, 17, 5000:
        rows = 10_000 // width + 1
        z = np.sin(np.arange(rows * width) ** 1.5).reshape(rows, width).astype(real) * 9
        p = gd.softmax(z) * np.asarray(0.999, real)
        labels = np.arange(rows) % width
        one_hot = (labels[:, None] == np.arange(width)).astype(real)
        for name in gd.losses.names():
            for logits in [False, True] if "crossentropy" in name else [False]:
                loss = gd.losses.get(name, from_logits=logits)
                target = labels if "sparse" in name else one_hot
                value, dy = loss.value_and_grad(target, z if logits else p)
                print(name, logits, hashlib.sha256(value.tobytes() + dy.tobytes()).hexdigest())
"""


def test_fused_levels_give_the_same_bits():
    fused = [level for level in _core.levels() if level != "base"]
    if len(fused) < 2:
        pytest.skip(f"this processor has one level with a fused multiply-add at most: {fused}")
    run = [sys.executable, "-c", DIGESTS]
    outputs = {
        subprocess.run(
            run, env={**os.environ, "GDCORE_ISA": level}, check=True, capture_output=True
        ).stdout
        for level in fused
    }
    assert len(outputs) == 1
    assert outputs.pop().count(b"\n") == 2 * 4 * len(ROWS)


# ---- The objects ---------------------------------------------------------------------------------


@each_row
@each_reduction
def test_objects(row, reduction, rng):
    loss = loss_of(row, reduction)
    target, pred = case(row, (4, 3), np.dtype(np.float64), rng)
    for other in pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), eval(repr(loss)):
        assert other == loss
        assert hash(other) == hash(loss)
        assert same_bits(other(target, pred), loss(target, pred))
    equal = [
        (name, kind)
        for name in ROWS
        for kind in gd.losses.REDUCTIONS
        if loss_of(name, kind) == loss
    ]
    assert equal == [(row, reduction)]
    assert loss != row


NAMES = {
    "mse": "mse MSE Mse mean_squared_error MeanSquaredError squared_error",
    "half_mse": "half_mse HALF_MSE HalfMse half_mean_squared_error HalfMeanSquaredError",
    "binary_crossentropy": "binary_crossentropy BinaryCrossentropy bce BCE log_loss",
    "categorical_crossentropy": "categorical_crossentropy CategoricalCrossentropy cce CCE",
    "sparse_categorical_crossentropy": "sparse_categorical_crossentropy "
    "SparseCategoricalCrossentropy scce SCCE",
}


def test_names():
    assert gd.losses.names() == list(NAMES) == [row for row in ROWS if not row.endswith(LOGITS)]
    for name, others in NAMES.items():
        for other in others.split():
            assert gd.losses.get(other) == gd.losses.Loss(name)
            if other.islower():
                assert getattr(gd.losses, other) == gd.losses.Loss(name)
                assert other in dir(gd.losses)


def test_get():
    get = gd.losses.get
    assert get(gd.losses.mse) is gd.losses.mse
    assert get("bce", from_logits=True, reduction="sum").from_logits is True
    for name, near in ("msee", "mse"), ("binary_cross_entropy", "binary_crossentropy"):
        with pytest.raises(ValueError, match=rf"'{name}' is unknown; accepted: mse.*'{near}'"):
            get(name)
    with pytest.raises(AttributeError, match="did you mean 'mse'"):
        _ = gd.losses.mze
    for other in None, 3, np.zeros(3), len:
        with pytest.raises(TypeError, match="a name or a loss"):
            get(other)
    with pytest.raises(TypeError, match=r"delta=; accepted: reduction, from_logits"):
        get("mse", delta=1.0)
    with pytest.raises(TypeError, match=r"has its settings.*get\('mse', reduction=\.\.\.\)"):
        get(gd.losses.mse, reduction="sum")
    for name in "mse", "half_mse":
        with pytest.raises(TypeError, match=rf"{name} has no from_logits="):
            get(name, from_logits=True)
    for reduction in "avg", None, "MEAN":
        with pytest.raises(ValueError, match=r"reduction is .*; accepted: mean, sum, none"):
            get("mse", reduction=reduction)
