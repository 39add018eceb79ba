"""Losses: twins, derivatives, accuracy, weights and reductions, limits, levels.

Tests run over the rows of the core's table with the default and with other parameters,
`from_logits` being an option of a loss. What calls look like is in test_losses_interface.py.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import (
    LOGITS,
    REAL,
    ROWS,
    case,
    kind_of,
    loss_of,
    rows_of,
    same_bits,
    settings_of,
    shaped,
    slack,
    twin,
)
from test_math import WIDE, ulp_errors

import gdcore as gd
from gdcore import _core
from gdcore.reference.losses import LOSSES

WIDTHS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 100, 255, 256, 257, 4095, 4096, 4097, 9000]

# Rows that subtract what was rounded, or raise to a power, also where targets are 0 or 1: their
# bound is that of `slack`. All others keep 4 ULP there with their default parameters.
ROUGH = {
    *("epsilon_insensitive", "squared_epsilon_insensitive"),  # |y - t| - epsilon
    *("poisson_log_rate", "gamma", "gaussian_nll", "kl_divergence"),  # sums that cancel
    *("tweedie", "binary_focal_crossentropy", "binary_focal_crossentropy_from_logits"),  # powers
    *("categorical_focal_crossentropy", "categorical_focal_crossentropy_from_logits"),
    *("categorical_hinge", "multiclass_hinge", "multi_margin"),  # 1 + (y_j - y_c)
    "cosine_similarity",
}

each_row = pytest.mark.parametrize("row", ROWS)
each_exact_row = pytest.mark.parametrize("row", [row for row in ROWS if row not in ROUGH])
precise = np.finfo(np.longdouble).nmant >= 63
needs_precision = pytest.mark.skipif(not precise, reason="long double is no wider than double here")


# ---- The twins, derivatives ----------------------------------------------------------------------


def test_every_row_has_a_twin():
    assert LOSSES.keys() == ROWS.keys()
    assert ROWS.keys() > ROUGH


@needs_precision
@each_exact_row
def test_each_loss_and_slope_within_4_ulp(row, dtype, rng):
    """Hard targets: nothing cancels, be the prediction right, wrong, or nearly certain."""
    for width in 1, 2, 10, 17, 300:
        target, pred = case(row, (3000 // width, width), dtype, rng)
        true, true_grad = twin(row, target, pred)
        losses, grad = loss_of(row, "none").value_and_grad(target, pred)
        assert losses.dtype == grad.dtype == dtype
        zeros = true == 0  # a sum of nothing: its sign is of no account
        assert ulp_errors(np.abs(losses), np.abs(true)).max() <= 4
        assert np.all(losses[zeros] == 0)
        assert ulp_errors(np.abs(grad), np.abs(true_grad)).max() <= 4
        assert np.array_equal(np.sign(grad), np.sign(true_grad))


@needs_precision
@each_row
def test_losses_and_slopes_are_as_good_as_their_arguments(row, dtype, rng):
    """Any targets and parameters: at most 8 times what the rounding of arguments costs."""
    eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).tiny
    for params in settings_of(row):
        for width, soft in (1, True), (2, True), (10, True), (10, False), (300, True):
            target, pred = case(row, (1500 // width, width), dtype, rng, soft)
            found = loss_of(row, "none", **params).value_and_grad(target, pred)
            true = twin(row, target, pred, **params)
            losts = slack(row, target, pred, rng, **params)
            for ours, exact, lost in zip(found, true, losts, strict=True):
                assert ours.shape == exact.shape
                known = np.isfinite(exact)
                assert np.array_equal(ours[~known], exact[~known].astype(dtype))
                errors = np.abs(ours[known] - exact[known])
                assert np.all(errors <= 8 * (eps * np.abs(exact[known]) + lost[known]) + tiny)


@each_row
def test_central_differences(row, rng):
    h, dtype = 1e-5, np.dtype(np.float64)
    for params in settings_of(row):
        for reduction in gd.losses.REDUCTIONS:
            for shape in (2,), (6, 5), (2, 3, 4):
                loss = loss_of(row, reduction, **params)
                target, pred = case(row, shape, dtype, rng, soft=True)
                v = rng.normal(size=pred.shape)
                v *= 1 if row in REAL else np.minimum(pred, 1 - pred)
                weights = rng.uniform(0.1, 2, rows_of(row, pred.shape))
                sides = (np.sum(loss(target, pred + s * h * v, weights)) for s in (1, -1))
                difference = (next(sides) - next(sides)) / (2 * h)
                dy = loss.value_and_grad(target, pred, weights)[1]
                assert dy.shape == pred.shape
                scale = np.sum(np.abs(dy * v))
                np.testing.assert_allclose(np.sum(dy * v), difference, rtol=0, atol=1e-7 * scale)


@each_row
def test_complex_step(row, rng):
    """The twin's values have the twin's gradient, to the last digits."""
    value, grad = LOSSES[row]
    for changed in settings_of(row):
        params = {**ROWS[row]["params"], **changed}
        target, pred = case(row, (40, 6), np.dtype(np.float64), rng, soft=True)
        v = rng.normal(size=pred.shape)
        slope = value(target, pred + 1e-200j * v, **params).imag / 1e-200
        terms = grad(target, pred, **params) * v
        scale = np.abs(terms)
        if kind_of(row) != "pointwise":
            terms, scale = terms.sum(axis=-1), scale.sum(axis=-1)
        assert np.all(np.abs(terms - slope) <= 1e-12 * (scale + 1))


# ---- Reductions and weights ----------------------------------------------------------------------


@needs_precision
@each_row
def test_the_mean_within_4_ulp(row, dtype, rng):
    """Of up to a million of the losses as they are."""
    for rows in 1, 10, 4097, 100_000 if row in ("mse", "kl_divergence") else 500:
        target, pred = case(row, (rows, 10), dtype, rng)
        losses = loss_of(row, "none")(target, pred)
        true = np.atleast_1d(losses.mean(dtype=np.longdouble).astype(WIDE[dtype]))
        size = max(np.abs(losses).mean(), np.finfo(dtype).tiny)  # sums of both signs cancel
        error = np.abs(loss_of(row)(target, pred) - true)
        assert error <= 4 * np.spacing(size)


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
def test_weights_and_reductions(row, dtype, rng):
    for shape in (900,), (300, 3), (50, 3, 7):
        target, pred = case(row, shape, dtype, rng)
        for make in WEIGHTS.values():
            weights = make(rows_of(row, pred.shape), rng)
            if isinstance(weights, np.ndarray) and weights.dtype.kind == "f":
                weights = weights.astype(dtype)
            check_weighted(row, target, pred, weights)


def check_weighted(row, target, pred, weights):
    """The unweighted losses and slopes, weighted and reduced here, are what the core makes."""
    dtype, rows = pred.dtype, rows_of(row, pred.shape)
    losses, grad = loss_of(row, "none").value_and_grad(target, pred)
    w = np.ones((rows, 1)) if weights is None else np.reshape(weights, (rows, 1)).astype(float)
    weighted = w * losses.reshape(rows, -1)
    count = w.sum() * (losses.size // rows)
    eps = np.finfo(dtype).eps
    for reduction in gd.losses.REDUCTIONS:
        divisor = count if reduction == "mean" else 1
        total = weighted if reduction == "none" else weighted.sum() / divisor
        slope = w * grad.reshape(rows, -1) / divisor
        value, dy = loss_of(row, reduction).value_and_grad(target, pred, weights)
        assert same_bits(loss_of(row, reduction)(target, pred, weights), value)
        assert np.shape(value) == (losses.shape if reduction == "none" else ())
        assert isinstance(value, np.ndarray if np.shape(value) else dtype.type)
        assert dy.shape == pred.shape
        assert dy.dtype == dtype
        scale = eps * float(np.abs(weighted).sum() / abs(divisor))
        value = np.reshape(value, np.shape(total))
        np.testing.assert_allclose(value, total.astype(dtype), rtol=4 * eps, atol=scale)
        np.testing.assert_allclose(dy.reshape(rows, -1), slope.astype(dtype), rtol=4 * eps)


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
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 0), (2, 0, 3), (2, 3, 0)])
def test_no_elements(row, shape, dtype):
    if kind_of(row) == "paired":
        if len(shape) == 1 or 0 not in shape[:-1]:
            with pytest.raises(ValueError, match=r"y_pred has shape .*; a last axis of length 2"):
                loss_of(row)(np.empty(shape[:-1], dtype), np.empty(shape, dtype))
            return
        shape = shaped(row, shape)
    pred, rows = np.empty(shape, dtype), shape[:-1]
    for reduction in gd.losses.REDUCTIONS:
        if kind_of(row) == "sparse" and int(np.prod(rows)) > 0:
            with pytest.raises(ValueError, match=r"class number 0 at position 0; .*\[0, 0\)"):
                loss_of(row, reduction)(np.zeros(rows, int), pred)
            continue
        target = {"sparse": np.empty(rows, int), "paired": np.empty(rows, dtype)}
        target = target.get(kind_of(row), pred)
        value, dy = loss_of(row, reduction).value_and_grad(target, pred)
        assert not np.any(value)
        assert dy.shape == shape


@each_row
def test_any_width(row, dtype, rng):
    """A row's losses and gradient are its own: alone or among others, at any block's edge."""
    loss, tolerance = loss_of(row, "none"), np.sqrt(np.finfo(dtype).eps)
    for width in WIDTHS:
        rows = 600 if width < 35 else 3
        target, pred = case(row, (rows, width), dtype, rng)
        losses, dy = loss.value_and_grad(target, pred)
        for r in (0, 1, rows - 1) if rows == 3 else (0, 1, 255, 256, 257, rows - 1):
            one, one_dy = loss.value_and_grad(target[r : r + 1], pred[r : r + 1])
            assert same_bits(one, losses[r : r + 1])
            assert same_bits(one_dy, dy[r : r + 1])
            value, grad = twin(row, target[r : r + 1], pred[r : r + 1])
            np.testing.assert_allclose(one, value, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(one_dy, grad, rtol=tolerance, atol=tolerance)


@each_row
def test_threads_change_no_bit(row, dtype, rng):
    target, pred = case(row, (15_011, 7), dtype, rng)
    weights = rng.uniform(size=15_011).astype(dtype)
    before = gd.get_num_threads()
    for reduction in gd.losses.REDUCTIONS:
        results = []
        try:
            for threads in 1, 2, 3:
                gd.set_num_threads(threads)
                results.append(loss_of(row, reduction).value_and_grad(target, pred, weights))
        finally:
            gd.set_num_threads(before)
        for value, dy in results[1:]:
            assert same_bits(value, results[0][0])
            assert same_bits(dy, results[0][1])


# ---- Limits --------------------------------------------------------------------------------------


@each_row
def test_nothing_warns(row, dtype):
    """Logarithms of 0, infinite and NaN predictions: IEEE 754 and no RuntimeWarning."""
    pred = np.array([0, 1, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-40], dtype)
    pred = np.stack(np.meshgrid(pred, pred), axis=-1).reshape(-1, 2)
    kind = kind_of(row)
    target = np.zeros(len(pred), int) if kind == "sparse" else np.ones_like(pred)
    with np.errstate(all="raise"):
        loss_of(row).value_and_grad(target[:, 0] if kind == "paired" else target, pred)


@each_row
def test_a_nan_stays_in_its_row(row, dtype, rng):
    """Whatever the target: also one of 0, whose term is left out."""
    others = [0, 1, 3, 4]
    own = {"sparse": [1], "rowwise": [[0.25, 0.5, 0.25]]}.get(kind_of(row), [0, 1])
    for params in settings_of(row):
        for own_target in own:
            target, pred = case(row, (5, 3), dtype, rng)
            expected, expected_dy = loss_of(row, "none", **params).value_and_grad(target, pred)
            pred[2, 1], target[2] = np.nan, own_target
            losses, dy = loss_of(row, "none", **params).value_and_grad(target, pred)
            assert same_bits(losses[others], expected[others])
            assert same_bits(dy[others], expected_dy[others])
            assert np.isnan(losses[2]).any()
            assert np.isnan(dy[2, 1])
            assert np.isnan(loss_of(row, "sum", **params)(target, pred))


@each_row
def test_a_nan_target_is_a_nan(row, dtype, rng):
    if kind_of(row) == "sparse":  # refused: it is no class number
        return
    for params in settings_of(row):
        target, pred = case(row, (5, 3), dtype, rng)
        target[2] = np.nan
        losses, dy = loss_of(row, "none", **params).value_and_grad(target, pred)
        assert np.isnan(losses[2]).all()
        assert np.isnan(dy[2]).any()
        assert not np.isnan(losses[[0, 1, 3, 4]]).any()


@pytest.mark.parametrize("row", sorted(REAL))
def test_extreme_predictions(row, dtype, rng):
    """Scores of up to 1e4 either way: the twin's loss, infinite for exponentials alone."""
    for params in settings_of(row):
        for scale in 1e2, 1e4:
            target, pred = case(row, (60, 4), dtype, rng)
            pred = (scale * np.sign(pred) * rng.choice([0, 0.5, 1], pred.shape)).astype(dtype)
            losses, dy = loss_of(row, "none", **params).value_and_grad(target, pred)
            value, grad = twin(row, target, pred, **params)
            eps = 50 * scale * np.finfo(dtype).eps  # exponents are rounded
            top = np.finfo(dtype).max
            for found, true in (losses, value), (dy, grad):
                assert not np.isnan(found).any()
                near = np.abs(true) < top
                np.testing.assert_array_equal(found[~near], np.sign(true[~near]) * np.inf)
                atol = eps + eps * np.abs(true[near]).max(initial=0) * (row in ROUGH)
                np.testing.assert_allclose(found[near], true[near], rtol=eps, atol=atol)


INF = np.inf
LIMITS = [
    ("binary_crossentropy_from_logits", [1, 0, 1, 0], [1e4, -1e4, -1e4, 1e4], [0, 0, 1e4, 1e4]),
    ("binary_crossentropy_from_logits", [1, 0, 1, 0], [INF, -INF, -INF, INF], [0, 0, INF, INF]),
    ("binary_crossentropy", [1, 0, 1, 0], [1, 0, 0, 1], [0, 0, INF, INF]),
    ("binary_focal_crossentropy", [1, 0, 1, 0], [1, 0, 0, 1], [0, 0, INF, INF]),
    (
        "binary_focal_crossentropy_from_logits",
        [1, 0, 1, 0],
        [1e4, -1e4, -1e4, INF],
        [0, 0, 1e4, INF],
    ),
    ("categorical_crossentropy", [[0, 1], [1, 0]], [[0, 1], [0, 1]], [0, INF]),
    ("categorical_crossentropy_from_logits", [[1, 0], [0, 1]], [[1e4, -1e4]] * 2, [0, 2e4]),
    ("categorical_crossentropy_from_logits", [[1, 0], [0, 1]], [[0, -INF]] * 2, [0, INF]),
    ("categorical_focal_crossentropy", [[0, 1], [1, 0]], [[0, 1], [0, 1]], [0, INF]),
    ("kl_divergence", [[0, 1], [1, 0]], [[0, 1], [0, 1]], [0, INF]),
    ("kl_divergence_from_logits", [[1, 0], [0, 1]], [[1e4, -1e4]] * 2, [0, 2e4]),
    ("sparse_categorical_crossentropy", [1, 0], [[0, 1], [0, 1]], [0, INF]),
    ("sparse_categorical_crossentropy_from_logits", [0, 1], [[1e4, -1e4]] * 2, [0, 2e4]),
    ("sparse_categorical_crossentropy_from_logits", [0, 1], [[0, -INF]] * 2, [0, INF]),
    ("poisson", [0, 1, 0, 1, 2], [0, 0, INF, INF, 1], [0, INF, INF, INF, 1]),
    ("poisson_log_rate", [0, 1, 0, 2], [-INF, -INF, INF, INF], [0, INF, INF, INF]),
    ("gamma", [1, 1, 1, 0], [0, INF, 1, 1], [INF, INF, 0, INF]),
    ("tweedie", [0, 1, 1, 1, 0], [0, 0, INF, 1, 4], [0, INF, INF, 0, 8]),
    ("gaussian_nll", [0, 1, 0], [[0, 8], [0, -INF], [0, INF]], [4, INF, INF]),
    ("log_cosh", [0, 0, 0], [0, INF, -INF], [0, INF, INF]),
    ("huber", [0, 0, 0], [0, INF, -INF], [0, INF, INF]),
    ("cosine_similarity", [[1, 0], [0, 0], [1, 1]], [[0, 0], [1, 1], [0, 0]], [0, 0, 0]),
]


@pytest.mark.parametrize(("row", "target", "pred", "losses"), LIMITS)
def test_limits(row, target, pred, losses, dtype):
    found, dy = loss_of(row, "none").value_and_grad(target, np.array(pred, dtype))
    np.testing.assert_array_equal(found, np.array(losses, dtype))
    assert not np.signbit(found).any()
    wrong = np.array(losses) > 0
    if row.endswith(LOGITS) and "focal" not in row:
        assert np.all(dy[~wrong] == 0)
        assert np.all(np.abs(dy[wrong]) == 1)


KINKS = [
    ("mae", 1, 1, 0),
    ("quantile", 1, 1, 0),
    ("epsilon_insensitive", 0, 0.1, 0),
    ("squared_epsilon_insensitive", 0, 0.1, 0),
    ("huber", 0, 1, 1),
    ("hinge", 1, 1, -1),
    ("hinge", 0, -1, 1),
    ("squared_hinge", 1, 1, 0),
    ("perceptron", -1, 0, 1),
    ("modified_huber", 1, -1, -4),
    ("categorical_hinge", [[1, 0, 0]], [[2, 1, 1]], [[-1, 1, 0]]),
    ("multiclass_hinge", [0], [[2, 1, 1]], [[-1, 1, 0]]),
    ("multi_margin", [0], [[2, 1, 1]], [[0, 0, 0]]),
]


@pytest.mark.parametrize(("row", "target", "pred", "slope"), KINKS)
def test_kinks(row, target, pred, slope, dtype):
    """What the documentation of Loss says."""
    pred = np.array(pred, dtype)
    np.testing.assert_array_equal(loss_of(row).value_and_grad(target, pred)[1], slope)


@pytest.mark.parametrize("row", [row for row in ROWS if row.endswith(LOGITS)])
def test_a_nearly_certain_prediction_keeps_its_digits(row, dtype):
    """exp(-25) is lost beside 1, and is the loss."""
    pred = np.array([25, -25] if kind_of(row) == "pointwise" else [[0, -25]], dtype)
    target = {"pointwise": [1, 0], "rowwise": [[1, 0]], "sparse": [0]}[kind_of(row)]
    target = np.array(target, np.int64 if kind_of(row) == "sparse" else dtype)
    eps = np.finfo(dtype).eps
    for found, true in zip(
        loss_of(row, "none").value_and_grad(target, pred), twin(row, target, pred), strict=True
    ):
        assert np.all(true != 0)
        np.testing.assert_allclose(found, true, rtol=100 * eps)


@needs_precision
@given(data=st.data())
def test_any_predictions(data):
    """Finite scores of any size, probabilities between 0 and 1: a finite loss within 4 ULP."""
    row = data.draw(st.sampled_from([row for row in ROWS if row not in ROUGH]))
    width = data.draw(st.sampled_from([32, 64]))
    if row in REAL:
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
        labels = np.arange(rows) % width
        one_hot = (labels[:, None] == np.arange(width)).astype(real)
        for row in _core.LOSSES:
            name, logits = row["name"].removesuffix("_from_logits"), "_from_logits" in row["name"]
            loss, kind = gd.losses.get(name, from_logits=logits), row["kind"]
            target = {"sparse": labels, "paired": one_hot[:, 0]}.get(kind, one_hot)
            pred = z if logits else gd.softmax(z) * np.asarray(0.999, real)
            pred = np.repeat(pred[:, :1], 2, axis=1) if kind == "paired" else pred
            value, dy = loss.value_and_grad(target, pred)
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
