"""Clipping and constraints beside optax, Keras and scikit-learn."""

import numpy as np
import pytest

import gdcore as gd

SHAPES = ((7,), (5, 3), (40, 17), (3, 4, 2, 5))


def test_adaptive_clipping_is_optaxs(dtype, rng):
    optax = pytest.importorskip("optax")
    eps = np.finfo(np.float32).eps  # JAX computes in float32 here
    for shape in SHAPES:
        for clip in (0.01, 0.3, 3.0):
            p, g = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
            p[..., 0] *= 1e-4
            clipping = optax.adaptive_grad_clip(clip)
            wanted, _ = clipping.update(g, clipping.init(p), p)
            a, h = p.astype(dtype), g.astype(dtype)
            table = gd.SGD(1.0, clip_adaptive=clip).step(a, h, trace=True)
            np.testing.assert_allclose(table["g"], wanted, rtol=16 * eps)
            np.testing.assert_allclose(p - a, wanted, rtol=1e-4, atol=1e-6)


def test_projections_are_optaxs(rng):
    optax = pytest.importorskip("optax")
    for shape in SHAPES:
        x = rng.normal(size=shape).astype(np.float32)
        peer = optax.projections
        for ours, theirs in [
            (gd.constraints.non_neg(), peer.projection_non_negative(x)),
            (gd.constraints.box(-0.5, 0.25), peer.projection_box(x, -0.5, 0.25)),
        ]:
            np.testing.assert_array_equal(ours(x), theirs)
        columns = x.reshape(-1, shape[-1] if len(shape) > 1 else 1)
        found = gd.constraints.simplex()(x).reshape(columns.shape)
        for ours, column in zip(found.T, columns.T, strict=True):
            np.testing.assert_allclose(ours, peer.projection_simplex(column), atol=1e-6)


def test_norms_are_kerass(rng):
    """Keras adds 1e-7 to the norm; a kernel of a convolution asks it for all axes but the last."""
    keras = pytest.importorskip("keras")
    for shape in SHAPES:
        x = rng.normal(size=shape).astype(np.float32)
        axis = list(range(max(len(shape) - 1, 1)))
        for ours, theirs in [
            (gd.constraints.max_norm(0.7), keras.constraints.MaxNorm(0.7, axis=axis)),
            (gd.constraints.max_norm(), keras.constraints.MaxNorm(axis=axis)),
            (gd.constraints.unit_norm(), keras.constraints.UnitNorm(axis=axis)),
            (gd.constraints.non_neg(), keras.constraints.NonNeg()),
        ]:
            np.testing.assert_allclose(ours(x), np.asarray(theirs(x)), rtol=2e-6)


def test_the_lasso_and_the_elastic_net_are_scikit_learns(rng):
    """The same zeros and coefficients; its objective is |y - X w|^2 / 2n + alpha ..."""
    linear = pytest.importorskip("sklearn.linear_model")
    X = rng.normal(size=(60, 20))
    y = X[:, :4] @ np.array([3.0, -2.0, 1.0, 0.5]) + 0.1 * rng.normal(size=60)
    lr = 0.5 / np.linalg.eigvalsh(X.T @ X / 60)[-1]
    for alpha, ratio in ((0.2, 1.0), (0.2, 0.5)):
        peer = linear.ElasticNet(alpha=alpha, l1_ratio=ratio, fit_intercept=False, tol=1e-12)
        peer.fit(X, y)
        w = np.zeros(20)
        opt = gd.SGD(lr, l1=alpha * ratio, weight_decay=alpha * (1 - ratio))
        for _ in range(4000):
            opt.step(w, X.T @ (X @ w - y) / 60)
        np.testing.assert_allclose(w, peer.coef_, atol=1e-6)
        np.testing.assert_array_equal(w == 0, peer.coef_ == 0)
        assert 4 <= np.count_nonzero(w) < 20
