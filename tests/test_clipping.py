"""Adaptive gradient clipping: the gradient of each unit against its weights."""

import math

import numpy as np
import pytest
from constraint_cases import CLASSES, both_orders, draws, run
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import gdcore as gd
from gdcore.reference import optimizers as reference


def clipped(p, g, clip):
    """The gradient as plain gradient descent with lr=1 shows it; from zeros without rounding."""
    opt, before = gd.SGD(1.0, clip_adaptive=clip), p.copy("K")
    opt.step(p, g)
    assert opt.grad_norm is None  # norms of units are not the norm of all gradients
    return before - p


def units(x):
    return x.reshape(-1, x.shape[-1] if x.ndim > 1 else 1)


def test_each_unit_is_limited_by_its_own_weights():
    p = np.array([[3.0, 0.0, 3.0], [4.0, 0.0, 4.0]])
    g = np.array([[6.0, 0.3, 0.03], [8.0, 0.4, 0.04]])
    for a in both_orders(p):
        found = clipped(a, np.array(g, order="K" if a.flags.c_contiguous else "F"), 0.5)
        np.testing.assert_allclose(found[:, 0], [1.5, 2.0], rtol=1e-15)  # 0.5 * 5 / 10
        np.testing.assert_allclose(found[:, 1], [3e-4, 4e-4], rtol=1e-15)  # 0.5 * 1e-3 / 0.5
        np.testing.assert_allclose(found[:, 2], [0.03, 0.04], rtol=1e-14)  # as it was


reals = st.floats(-100, 100, width=32)


@given(
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda dtype: arrays(dtype, array_shapes(max_dims=3, max_side=5), elements=reals)
    ),
    st.floats(1e-3, 10),
)
def test_no_unit_is_longer_than_its_limit(x, clip):
    p, g = x, np.roll(x, 1) * 3
    (found,) = reference.clipped([g], [{"clip_adaptive": clip}], params=[p])
    table = gd.SGD(1.0, clip_adaptive=clip).step(p.copy(), g, trace=True)
    np.testing.assert_array_equal(table["g"], found)
    eps = np.finfo(x.dtype).eps
    stepped = p.copy()
    gd.SGD(1.0, clip_adaptive=clip).step(stepped, g)
    np.testing.assert_allclose(stepped, p - found, rtol=4 * eps, atol=4 * eps * np.abs(p).max())
    for own, raw, limited in zip(units(p).T, units(g).T, units(found).T, strict=True):
        limit = clip * max(math.hypot(*own.tolist()), 1e-3)
        size = math.hypot(*raw.tolist())
        assert math.hypot(*limited.tolist()) <= limit * (1 + 8 * eps) + 1e-30
        if size <= limit * (1 - 8 * eps):
            np.testing.assert_array_equal(limited, raw)


def test_the_sign_changes_before_and_decay_comes_after():
    p, g = np.array([3.0, 4.0]), np.array([30.0, 40.0])
    opt = gd.SGD(1.0, clip_adaptive=0.1, weight_decay=0.5, maximize=True)
    opt.step(p, g)  # g becomes -0.1 * 5 / 50 * g = [-0.3, -0.4], then + 0.5 p
    np.testing.assert_allclose(p, [3.0 - 1.2, 4.0 - 1.6], rtol=1e-15)


def test_rules_that_sum_over_arrays_see_the_clipped_gradient(dtype, rng):
    """A step with clipping is the step without it on gradients clipped by hand."""
    eps = np.finfo(dtype).eps
    for kind in CLASSES:
        if kind._row["needs"] == "loss":  # reads the norm before clipping
            continue
        p, g = draws(rng, (7, 6), dtype), draws(rng, (7, 6), dtype)
        (by_hand,) = reference.clipped([g], [{"clip_adaptive": 0.02}], params=[p])
        q = p.copy()
        kind(lr=0.1, clip_adaptive=0.02).step(p, g)
        kind(lr=0.1).step(q, by_hand)
        np.testing.assert_allclose(p, q, rtol=16 * eps, atol=16 * eps, err_msg=kind.__name__)


def test_extreme_and_nonfinite_gradients():
    for dtype in (np.float32, np.float64):
        largest, tiny = np.finfo(dtype).max / 2, np.finfo(dtype).smallest_subnormal
        g = np.array([[largest, tiny, np.nan, 3.0], [largest, 0.0, 1.0, 4.0]], dtype)
        for a in both_orders(np.zeros((2, 4), dtype)):
            h = np.array(g, order="C" if a.flags.c_contiguous else "F")
            found = clipped(a, h, 1.0)
            np.testing.assert_allclose(found[:, 0], [1e-3 / 2**0.5] * 2, rtol=1e-6)
            np.testing.assert_array_equal(found[:, 1], [tiny, 0.0])
            np.testing.assert_array_equal(found[:, 2], [np.nan, 1.0])  # a NaN norm clips nothing
            np.testing.assert_allclose(found[:, 3], [6e-4, 8e-4], rtol=1e-6)


def test_empty_arrays_and_other_groups_stay():
    params = [np.zeros((0, 3)), np.ones((3, 0)), np.ones(2), np.ones(2), np.ones(())]
    groups = [{"params": [3], "clip_adaptive": None, "clip_value": 0.25}]
    opt = gd.SGD(1.0, clip_adaptive=0.5, groups=groups)
    opt.step(params, [np.zeros((0, 3)), np.ones((3, 0)), *[np.full(2, 9.0)] * 2, 9.0])
    np.testing.assert_allclose(params[2], 1 - 0.5, rtol=1e-15)
    np.testing.assert_array_equal(params[3], [0.75, 0.75])
    assert params[4] == 0.5


def test_clipping_is_copied_with_the_optimizer():
    opt = gd.Adam(0.1, clip_adaptive=np.float32(0.5))
    assert repr(opt) == "Adam(lr=0.1, clip_adaptive=0.5)"
    first = run(opt, [np.ones((3, 2))])
    again = run(gd.Adam(**opt.get_params()), [np.ones((3, 2))])
    np.testing.assert_array_equal(first, again)
    with pytest.raises(ValueError, match="clip_adaptive is inf"):
        opt.clip_adaptive = math.inf
