"""gdcore's own activations and losses of traced values: values, derivatives, checks, compiled."""

import function_checks as checks
import numpy as np
import pytest

import gdcore as gd
from gdcore import _core
from gdcore.autodiff._tape import Tape
from gdcore.autodiff._traced import Traced

A = (3, 4)
ROWS = {row["name"]: row for row in _core.LOSSES}
LABELS = np.array([0, 3, 1])
WEIGHTS = np.array([1.0, 2.0, 0.5])

# ---- Activations ---------------------------------------------------------------------------------

ACTIVATIONS = [gd.activations.get(name) for name in gd.activations.names()] + [
    gd.activations.get("leaky_relu", slope=0.3),
    gd.activations.get("prelu", alpha=-0.3),
    gd.activations.get("hard_tanh", min_val=-0.5, max_val=0.3),
    gd.activations.get("elu", alpha=0.7),
    gd.activations.get("celu", alpha=2.0),
    gd.activations.get("softplus", beta=3.0),
]


@pytest.mark.parametrize("act", ACTIVATIONS, ids=repr)
def test_activations(act):
    xs = checks.arrays([A])
    checks.compare(lambda z: act(2 * z), xs)
    checks.compare_float32(lambda z: act(2 * z), xs)


@pytest.mark.parametrize("act", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_of_value_and_gradient_are_the_untraced_ones(act, dtype):
    z, dy = (x.astype(dtype) for x in checks.arrays([A, A]))
    seen = []

    def loss(z):
        y = act(z)
        seen.append(y._now())
        return np.sum(y * dy)

    found = gd.grad(loss)(z)
    np.testing.assert_array_equal(seen[0], act(z))
    if act.name in ("sigmoid", "tanh"):  # instructions of their own
        np.testing.assert_allclose(found, act.grad(dy, z, act(z)), rtol=1e-5)
    else:
        np.testing.assert_array_equal(found, act.grad(dy, z, act(z)))


@pytest.mark.parametrize("act", ACTIVATIONS, ids=repr)
def test_third_derivatives(act):
    (z,) = checks.arrays([A])

    def once(z):
        return np.sum(gd.grad(lambda z: np.sum(act(z) ** 2))(z) ** 2)

    checks.check_second(once, 2 * z)


UFUNCS = [
    name for name in gd.activations.names() if isinstance(getattr(_core, name, None), np.ufunc)
]


@pytest.mark.parametrize(
    "name", [name for name in UFUNCS if hasattr(gd, name) and name != "linear"]
)
def test_ufuncs(name):
    f = getattr(gd, name)
    if name == "prelu":
        checks.compare(lambda z, alpha: f(z, alpha), checks.arrays([A, (4,)]))
        checks.compare_float32(lambda z: f(z, 0.1), checks.arrays([A]))
    else:
        checks.compare(lambda z: f(z), checks.arrays([A]))


def test_prelu_of_a_slope_alone():
    z = np.array([-2.0, 3.0, 0.0, -np.inf])
    assert gd.grad(lambda alpha: np.sum(gd.prelu(z[:3], alpha)))(0.1) == -2.0
    assert gd.grad(lambda alpha: np.sum(gd.prelu(-z[3:], alpha)))(0.1) == 0.0


@pytest.mark.parametrize("f", [gd.softmax, gd.log_softmax])
@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_softmax_along_axes(f, axis):
    checks.compare(lambda z: f(z, axis=axis), checks.arrays([(2, 3, 4)]))


def test_large_values_are_flat_in_second_derivatives():
    z = np.array([-1e300, -1e5, -50.0, 50.0, 1e5, 1e300])
    for act in ACTIVATIONS:
        product = gd.hvp(lambda z, act=act: np.sum(act(z)), z, np.ones(6))
        assert np.isfinite(product).all(), act


def test_dense():
    shapes = [(5, 3), (3, 2), (2,)]
    checks.compare(lambda X, W, b: gd.dense(X, W, b, "tanh"), checks.arrays(shapes))
    checks.compare(lambda X, W, b: gd.dense(X, W, b), checks.arrays([(5, 3), (3,), ()]))
    checks.compare(lambda X, W: gd.dense(X, W, activation=gd.silu), checks.arrays(shapes[:2]))


@pytest.mark.parametrize(
    ("f", "kind", "text"),
    [
        (lambda z: gd.softmax(z[0, 0]), ValueError, "softmax needs at least one axis"),
        (lambda z: gd.softmax(z, axis=7), ValueError, "softmax's z"),
        (lambda z: gd.activations.relu(z, out=np.ones(A)), TypeError, "out="),
        (lambda z: gd.relu(z, out=np.ones(A)), TypeError, "out="),
        (lambda z: gd.dense(z, np.ones((4, 2)), out=np.ones((3, 2))), TypeError, "out="),
    ],
)
def test_what_activations_refuse(f, kind, text):
    with pytest.raises(kind, match=text):
        gd.grad(lambda z: np.sum(f(z)))(np.ones(A))


# ---- Losses --------------------------------------------------------------------------------------

LOSSES = [
    (name, logits)
    for name in gd.losses.names()
    for logits in (False, True)
    if not logits or name + "_from_logits" in ROWS
]


def kind_of(name):
    return ROWS[name]["kind"]


def targets(name):
    """Targets of a loss that fit predictions of the shape A."""
    rng = np.random.default_rng(3)
    if kind_of(name) == "sparse":
        return LABELS
    if kind_of(name) == "paired":
        return rng.normal(size=3)
    t = rng.uniform(0.1, 0.9, size=A)
    return t / t.sum(-1, keepdims=True) if kind_of(name) == "rowwise" else t


def predicted(name, logits, z):
    """Predictions in the domain of a loss, made of any numbers."""
    if kind_of(name) == "paired":
        return z[:, :2]
    if name in ("poisson", "gamma", "tweedie"):
        return np.exp(z)
    if name + "_from_logits" in ROWS and not logits:
        if kind_of(name) == "pointwise":
            return 1 / (1 + np.exp(-z))
        return np.exp(z) / np.sum(np.exp(z), axis=-1, keepdims=True)
    return z


def typed(x, like):
    return x if x is None or x.dtype.kind == "i" else x.astype(like.dtype)


@pytest.mark.parametrize(("name", "logits"), LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_losses(name, logits, reduction, weights):
    loss = gd.losses.get(name, reduction=reduction, from_logits=logits)
    t = targets(name)

    def f(z):
        return loss(typed(t, z), predicted(name, logits, z), typed(weights, z))

    checks.compare(f, checks.arrays([A]))
    checks.compare_float32(f, checks.arrays([A]))


@pytest.mark.parametrize(("name", "logits"), LOSSES)
def test_gradients_are_the_untraced_ones(name, logits):
    loss = gd.losses.get(name, from_logits=logits)
    y = predicted(name, logits, checks.arrays([A])[0])
    value, found = gd.value_and_grad(lambda y: loss(targets(name), y))(y)
    expected, dy = loss.value_and_grad(targets(name), y)
    np.testing.assert_allclose(value, expected, rtol=1e-15)
    np.testing.assert_allclose(found, dy, rtol=1e-14)


@pytest.mark.parametrize(("name", "logits"), [x for x in LOSSES if kind_of(x[0]) != "sparse"])
def test_derivatives_with_respect_to_targets(name, logits):
    loss = gd.losses.get(name, from_logits=logits)
    y = predicted(name, logits, checks.arrays([A])[0])

    def of_both(t, z):
        return loss(1 / (1 + np.exp(-t)), predicted(name, logits, z))

    shape = (3,) if kind_of(name) == "paired" else A
    checks.compare(lambda t: loss(1 / (1 + np.exp(-t)), y), checks.arrays([shape]))
    checks.compare(of_both, checks.arrays([shape, A]))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("huber", {"delta": 0.3}),
        ("quantile", {"q": 0.2}),
        ("epsilon_insensitive", {"epsilon": 0.3}),
        ("squared_epsilon_insensitive", {"epsilon": 0.3}),
        ("binary_crossentropy", {"label_smoothing": 0.2, "from_logits": True}),
        ("categorical_crossentropy", {"label_smoothing": 0.2, "from_logits": True}),
        ("sparse_categorical_crossentropy", {"label_smoothing": 0.2, "from_logits": True}),
        ("binary_focal_crossentropy", {"apply_class_balancing": True, "from_logits": True}),
        ("categorical_focal_crossentropy", {"gamma": 1.5, "from_logits": True}),
    ],
)
def test_parameters_of_losses(name, params):
    loss = gd.losses.get(name, **params)
    checks.compare(lambda z: loss(targets(name), z), checks.arrays([A]))


def test_traced_weights():
    t = np.zeros(A)
    checks.compare(lambda z, w: gd.losses.mse(t, z, w * w), checks.arrays([A, (3,)]))
    found = gd.grad(lambda z, w: gd.losses.mse(t, z, w * 0), argnums=(0, 1))(np.ones(A), WEIGHTS)
    np.testing.assert_array_equal(found[0], np.zeros(A))


@pytest.mark.parametrize(("name", "logits"), [x for x in LOSSES if kind_of(x[0]) == "sparse"])
def test_traced_class_numbers(name, logits):
    loss = gd.losses.get(name, from_logits=logits, reduction="none")
    z = predicted(name, logits, checks.arrays([A])[0])
    tape = Tape(Traced)
    traced, labels = tape.input(z), tape.input(LABELS)
    np.testing.assert_allclose(loss(labels, traced)._now(), loss(LABELS, z), rtol=1e-13)
    beyond = loss(labels + 2, traced)._now()
    np.testing.assert_array_equal(np.isnan(beyond), [False, True, False])


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], LABELS.astype(float), LABELS.tolist()])
def test_class_numbers_as_the_untraced_loss_takes_them(labels):
    loss = gd.losses.get("sparse_categorical_crossentropy", from_logits=True)
    (z,) = checks.arrays([A])
    value, found = gd.value_and_grad(lambda z: loss(labels, z))(z)
    expected, dy = loss.value_and_grad(labels, z)
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_allclose(found, dy, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_compiled_losses_see_changed_class_numbers(dtype):
    loss = gd.losses.get("sparse_categorical_crossentropy", from_logits=True)
    (z,) = checks.arrays([A])
    labels = LABELS.astype(dtype)
    fast = gd.compile(lambda z: loss(labels, z))
    np.testing.assert_allclose(fast(z), loss(labels, z), rtol=1e-14)
    labels[:] = [1, 1, 2]
    np.testing.assert_allclose(fast(z), loss(labels, z), rtol=1e-14)
    with_labels = gd.compile(lambda z, labels: loss(labels, z))
    for now in ([0, 1, 2], [3, 3, 0]):
        now = np.array(now, dtype)
        np.testing.assert_allclose(with_labels(z, now), loss(now, z), rtol=1e-14)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3, 4), (0, 4), (3, 0)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_shapes_of_losses(shape, reduction):
    for name in ("mse", "cosine_similarity"):
        loss, t, y = gd.losses.get(name, reduction=reduction), np.full(shape, 0.5), np.ones(shape)
        checks.same_values(lambda y, loss=loss, t=t: loss(t, y), [y])
        found = gd.grad(lambda y, loss=loss, t=t: np.sum(loss(t, y)))(y)
        np.testing.assert_allclose(found, loss.value_and_grad(t, y)[1], rtol=1e-14)


def test_numbers_and_lists():
    assert gd.grad(lambda y: gd.losses.mse(3.0, y))(1.0) == -4.0
    found = gd.grad(lambda y: gd.losses.mse([1, 0], y))(np.array([1.0, 2.0], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [0, 2])


@pytest.mark.parametrize(
    "f",
    [
        lambda y: gd.losses.mse(np.zeros(3), y),
        lambda y: gd.losses.mse(np.zeros(A, np.float32), y),
        lambda y: gd.losses.mse(y, np.zeros(4)),
        lambda y: gd.losses.mse(np.zeros(A), y, [1.0, 2.0]),
        lambda y: gd.losses.mse(np.zeros(A), y, np.ones(3, np.float32)),
        lambda y: gd.losses.gaussian_nll(np.zeros(3), y),
        lambda y: gd.losses.sparse_categorical_crossentropy([0, 1, 5], y),
        lambda y: gd.losses.sparse_categorical_crossentropy([0, -1, 1], y),
        lambda y: gd.losses.sparse_categorical_crossentropy([0, 1.5, 1], y),
        lambda y: gd.losses.sparse_categorical_crossentropy([0, 1], y),
        lambda y: gd.losses.sparse_categorical_crossentropy(["a", "b", "c"], y),
    ],
)
def test_the_checks_are_those_of_arrays(f):
    with pytest.raises((TypeError, ValueError)) as untraced:
        f(np.ones(A))
    with pytest.raises(type(untraced.value)) as traced:
        gd.grad(lambda y: np.sum(f(y)))(np.ones(A))
    assert str(traced.value) == str(untraced.value)
