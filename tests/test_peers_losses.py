"""The losses beside torch, Keras, scikit-learn and SciPy: values and gradients, kinks too.

Cross-entropies, squared errors and what the others clip stand in test_peers_functions.py.
"""

import numpy as np
import pytest
from test_peers_functions import CLASSES, ROWS, close, jax_grad, torch_grad

import gdcore as gd


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


def scores(rng, dtype):
    """Scores, real and positive targets, class numbers, one-hot rows, labels of -1 and 1."""
    z = (2 * rng.normal(size=(ROWS, CLASSES))).astype(dtype)
    real, positive = rng.normal(size=z.shape).astype(dtype), rng.gamma(2, size=z.shape)
    labels = rng.integers(0, CLASSES, ROWS)
    one_hot = np.eye(CLASSES, dtype=dtype)[labels]
    return z, real, positive.astype(dtype), labels, one_hot, 2 * one_hot - 1


def test_other_losses_of_torch(torch, dtype, rng):
    f = torch.nn.functional
    z, real, positive, labels, one_hot, _ = scores(rng, dtype)
    soft, rate = gd.softmax(real), np.exp(z / 2)
    t, p, c, s, h = map(torch.tensor, (real, positive, labels, soft, one_hot))
    log_rate = {"log_input": True, "full": False}
    cases = [
        ("mae", {}, real, z, lambda x: f.l1_loss(x, t)),
        ("huber", {}, real, z, lambda x: f.huber_loss(x, t)),
        ("huber", {"delta": 0.3}, real, z, lambda x: f.huber_loss(x, t, delta=0.3)),
        ("poisson_nll", {}, positive, z, lambda x: f.poisson_nll_loss(x, p, **log_rate)),
        ("poisson", {}, positive, rate, lambda x: f.poisson_nll_loss(x, p, False, eps=0)),
        (
            "gaussian_nll",
            *({}, real[:, 0], z[:, :2]),
            lambda x: f.gaussian_nll_loss(x[:, 0], t[:, 0], torch.exp(x[:, 1])),
        ),
        (
            "kl_divergence",
            {},
            soft,
            gd.softmax(z),
            lambda x: f.kl_div(x.log(), s, reduction="batchmean"),
        ),
        (
            "kl_divergence",
            *({"from_logits": True}, soft, z),
            lambda x: f.kl_div(f.log_softmax(x, 1), s, reduction="batchmean"),
        ),
        ("cosine_similarity", {}, real, z, lambda x: -f.cosine_similarity(x, t).mean()),
        ("multi_margin", {}, labels, z, lambda x: f.multi_margin_loss(x, c)),
    ]
    smoothed = {"label_smoothing": 0.1}
    for name, target, given in ("scce", labels, c), ("cce", soft, s), ("cce", one_hot, h):
        settings = {"from_logits": True, **smoothed}
        cases += [(name, settings, target, z, lambda x, g=given: f.cross_entropy(x, g, **smoothed))]
    for name, settings, target, pred, function in cases:
        value, dy = torch_grad(torch, function, pred)
        found, found_dy = gd.losses.get(name, **settings).value_and_grad(target, pred)
        close(found, value, dtype)
        close(found_dy, dy, dtype)


def test_other_losses_of_keras(keras, rng):
    """Theirs clip probabilities and add 1e-7 under logarithms: nothing here comes near."""
    z, real, positive, _, one_hot, signs = scores(rng, np.float32)
    z, soft = 3 * np.tanh(z / 3), gd.softmax(real)
    p, rows, rate = gd.sigmoid(z), gd.softmax(z), np.exp(z / 2)
    balanced = {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5}
    cases = [
        ("MeanAbsoluteError", {}, real, z),
        ("Huber", {"delta": 0.7}, real, z),
        ("LogCosh", {}, real, z),
        ("Poisson", {}, positive, rate),
        ("KLDivergence", {}, soft, rows),
        ("CosineSimilarity", {}, real, z),
        ("BinaryCrossentropy", {"label_smoothing": 0.1}, one_hot, p),
        ("BinaryCrossentropy", {"label_smoothing": 0.1, "from_logits": True}, one_hot, z),
        ("CategoricalCrossentropy", {"label_smoothing": 0.1, "from_logits": True}, one_hot, z),
        ("BinaryFocalCrossentropy", {}, one_hot, p),
        ("BinaryFocalCrossentropy", balanced, one_hot, p),
        ("BinaryFocalCrossentropy", {**balanced, "from_logits": True}, one_hot, z),
        ("CategoricalFocalCrossentropy", {"from_logits": True}, one_hot, z),
        ("CategoricalFocalCrossentropy", {"from_logits": True, "gamma": 1.5}, soft, z),
        ("Hinge", {}, signs, z),
        ("Hinge", {}, one_hot, z),
        ("SquaredHinge", {}, one_hot, z),
        ("CategoricalHinge", {}, one_hot, z),
    ]
    for name, settings, target, pred in cases:
        theirs = getattr(keras.losses, name)(**settings)
        value, dy = jax_grad(lambda y, f=theirs, t=target: f(t, y), pred)
        found, found_dy = gd.losses.get(name, **settings).value_and_grad(target, pred)
        np.testing.assert_allclose(found, value, rtol=2e-5)
        np.testing.assert_allclose(found_dy, dy, rtol=1e-4, atol=2e-5 * np.abs(dy).max())


def test_deviances_of_scikit_learn(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    z, _, positive, labels, _, _ = scores(rng, np.float64)
    rate, weights = np.exp(z / 2)[:, 0], rng.uniform(0.1, 2, ROWS)
    target, counts = positive[:, 0], rng.integers(0, 4, ROWS).astype(float)
    for w in None, weights:
        same = {"sample_weight": w}
        for power in 1, 1.3, 1.5, 2, 3:
            exact = metrics.mean_tweedie_deviance(target, rate, power=power, **same)
            close(gd.losses.get("tweedie", power=power)(target, rate, w), exact)
        exact = metrics.mean_tweedie_deviance(counts, rate, power=1.5, **same)
        close(gd.losses.tweedie(counts, rate, w), exact)
        close(gd.losses.gamma(target, rate, w), metrics.mean_gamma_deviance(target, rate, **same))
        exact = metrics.mean_pinball_loss(target, rate, alpha=0.8, **same)
        close(gd.losses.get("pinball", q=0.8)(target, rate, w), exact)
        exact = metrics.mean_absolute_error(target, rate, **same)
        close(gd.losses.absolute_error(target, rate, w), exact)
        exact = metrics.hinge_loss(labels, z, labels=np.arange(CLASSES), **same)
        close(gd.losses.crammer_singer(labels, z, w), exact)
        exact = metrics.hinge_loss(labels % 2, z[:, 0], **same)
        close(gd.losses.hinge(labels % 2, z[:, 0], w), exact)


def test_one_step_of_scikit_learn(rng):
    """SGD's gradients, at kinks too: the step of one sample of 1 from a weight of 0 or beyond."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    plain = {"alpha": 0, "learning_rate": "constant", "eta0": 1.0, "fit_intercept": False}
    X = np.ones((1, 1))

    def step(kind, name, start, target, **settings):
        model = kind(loss=name, **plain, **settings)
        if kind is linear_model.SGDRegressor:
            model.partial_fit(X, [start])
            model.coef_ = np.array([start])
            model.partial_fit(X, [target])
            return start - model.coef_[0]
        model.partial_fit(X, [0], classes=[0, 1])
        model.coef_ = np.array([[start]])
        model.partial_fit(X, [target])
        return start - model.coef_[0, 0]

    def slope(name, start, target, **settings):
        return gd.losses.get(name, **settings).value_and_grad([target], [start])[1][0]

    for start in -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0:
        for name in "hinge", "squared_hinge", "perceptron", "modified_huber":
            for target in 0, 1:
                theirs = step(linear_model.SGDClassifier, name, start, target)
                assert slope(name, start, target) == theirs, (name, start, target)
        for name in "epsilon_insensitive", "squared_epsilon_insensitive":
            settings = {"epsilon": 0.5}
            theirs = step(linear_model.SGDRegressor, name, start, 0.5, **settings)
            assert slope(name, start, 0.5, **settings) == theirs, (name, start)


def test_densities_of_scipy(rng):
    """Negative log-likelihoods up to what does not depend on the prediction."""
    stats = pytest.importorskip("scipy.stats")
    z, real, _, _, _, _ = scores(rng, np.float64)
    counts, mean, log_variance = rng.integers(0, 9, ROWS), z[:, 0], z[:, 1]
    exact = -stats.norm.logpdf(real[:, 0], mean, np.exp(log_variance / 2)).mean()
    close(gd.losses.gaussian_nll(real[:, 0], z[:, :2]) + np.log(2 * np.pi) / 2, exact)
    constant = -stats.poisson.logpmf(counts, 1.0).mean() - 1
    exact = -stats.poisson.logpmf(counts, np.exp(mean)).mean()
    close(gd.losses.poisson(counts, np.exp(mean)) + constant, exact)
    close(gd.losses.poisson_log_rate(counts, mean) + constant, exact)
