"""Activations and losses beside torch, Keras, scikit-learn and optax: values and gradients.

Where the others differ by intent, a test says how: torch clamps the logarithm of a probability at
-100, Keras clips probabilities at 1e-7 and divides rows by their sum, both average sample weights
over the batch and not over the weights.
"""

import numpy as np
import pytest

import gdcore as gd

ROWS, CLASSES = 64, 7
TOLERANCE = {np.dtype(np.float32): 3e-6, np.dtype(np.float64): 1e-13}
ACTIVATIONS = [name for name in gd.activations.names() if name != "linear"]


def close(found, wanted, dtype=np.float64):
    """Equal to some ULP of the largest value: theirs cancel where ours need not."""
    tolerance, size = TOLERANCE[np.dtype(dtype)], np.max(np.abs(wanted))
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * size)


def data(rng, dtype):
    """Logits, and class numbers, one-hot rows and soft rows as targets."""
    z = (3 * rng.normal(size=(ROWS, CLASSES))).astype(dtype)
    labels = rng.integers(0, CLASSES, ROWS)
    soft = gd.softmax(rng.normal(size=(ROWS, CLASSES)).astype(dtype))
    return z, labels, np.eye(CLASSES, dtype=dtype)[labels], soft


# ---- torch ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def torch_grad(torch, function, x, dy=None):
    """(value, gradient) of a function of one tensor."""
    tensor = torch.tensor(x, requires_grad=True)
    value = function(tensor)
    value.backward(torch.tensor(dy) if dy is not None else None)
    return value.detach().numpy(), tensor.grad.numpy()


OF_TORCH = {  # where their function of our name is not it
    "gelu_tanh": lambda f: lambda x: f.gelu(x, approximate="tanh"),
    "hard_sigmoid": lambda f: f.hardsigmoid,
    "hard_swish": lambda f: f.hardswish,
    "hard_tanh": lambda f: f.hardtanh,
    "log_softmax": lambda f: lambda x: f.log_softmax(x, dim=-1),
    "prelu": lambda f: lambda x: f.prelu(x, x.new_tensor([0.25])),
    "sigmoid": lambda f: lambda x: x.sigmoid(),
    "softmax": lambda f: lambda x: f.softmax(x, dim=-1),
    "tanh": lambda f: lambda x: x.tanh(),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_torch(name, torch, dtype, rng):
    z, dy = (2 * rng.normal(size=(2, ROWS, CLASSES))).astype(dtype)
    z[0, :4] = 0, -0.0, 50, -50
    z[1, :6] = 1, -1, 3, -3, 6, -6  # their slopes at kinks, too
    functional = torch.nn.functional
    theirs = OF_TORCH.get(name, lambda f: getattr(f, name))(functional)
    y, dz = torch_grad(torch, theirs, z, dy)
    act = gd.activations.get(name)
    # softplus is linear above 20 there, and their 1 / 6 of hard_sigmoid's gradient is a float's.
    tolerance = np.float32 if name in ("softplus", "hard_sigmoid") else dtype
    close(act(z), y, tolerance)
    close(act.grad(dy, z=z), dz, tolerance)
    close(act.grad(dy, z, act(z)), dz, tolerance)


def test_parameters_of_torch(torch, dtype, rng):
    """Ours at other values are theirs (alpha and beta pass through a float there); prelu's own
    gradient, too."""
    f = torch.nn.functional
    z, dy = (2 * rng.normal(size=(2, ROWS, CLASSES))).astype(dtype)
    cases = [
        ("leaky_relu", {"slope": 0.25}, lambda x: f.leaky_relu(x, 0.25)),
        ("elu", {"alpha": 0.75}, lambda x: f.elu(x, 0.75)),
        ("celu", {"alpha": 0.5}, lambda x: f.celu(x, 0.5)),
        ("softplus", {"beta": 3}, lambda x: f.softplus(x, 3, threshold=50)),
        ("hard_tanh", {"min_val": -2, "max_val": 0.5}, lambda x: f.hardtanh(x, -2, 0.5)),
    ]
    for name, params, theirs in cases:
        y, dz = torch_grad(torch, theirs, z, dy)
        act = gd.activations.get(name, **params)
        close(act(z), y, dtype)
        close(act.grad(dy, y=act(z)), dz, dtype)
    alpha = rng.normal(size=CLASSES).astype(dtype)
    weight, x = torch.tensor(alpha, requires_grad=True), torch.tensor(z, requires_grad=True)
    f.prelu(x, weight).backward(torch.tensor(dy))
    dz, dalpha = gd.activations.prelu_grad(dy, z, alpha)
    close(dz, x.grad.numpy(), dtype)
    close(dalpha, weight.grad.numpy(), dtype)


@pytest.mark.parametrize("reduction", gd.losses.REDUCTIONS)
def test_losses_of_torch(reduction, torch, dtype, rng):
    functional = torch.nn.functional
    z, labels, one_hot, soft = data(rng, dtype)
    p, binary = gd.sigmoid(z), (z > rng.normal(size=z.shape)).astype(dtype)
    same = {"reduction": reduction}

    def cross_entropy(target):
        return lambda x: functional.cross_entropy(x, torch.tensor(target), **same)

    def elementwise(name, target):
        return lambda x: getattr(functional, name)(x, torch.tensor(target), **same)

    cases = [
        (gd.losses.get("mse", **same), soft, z, elementwise("mse_loss", soft)),
        (gd.losses.get("bce", **same), binary, p, elementwise("binary_cross_entropy", binary)),
        (gd.losses.get("bce", **same), soft, p, elementwise("binary_cross_entropy", soft)),
    ]
    with_logits = "binary_cross_entropy_with_logits"
    loss = gd.losses.get("bce", from_logits=True, **same)
    cases += [(loss, target, z, elementwise(with_logits, target)) for target in (binary, soft)]
    loss = gd.losses.get("cce", from_logits=True, **same)
    cases += [(loss, target, z, cross_entropy(target)) for target in (one_hot, soft)]
    loss = gd.losses.get("scce", from_logits=True, **same)
    cases += [(loss, labels, z, cross_entropy(labels))]
    for loss, target, pred, function in cases:
        summed = function if reduction != "none" else lambda x, f=function: f(x).sum()
        value, (_, dy) = function(torch.tensor(pred)).numpy(), torch_grad(torch, summed, pred)
        found, found_dy = loss.value_and_grad(target, pred)
        close(found, value, dtype)
        close(found_dy, dy, dtype)


def test_sparse_crossentropy_of_torch_from_probabilities(torch, dtype, rng):
    z, labels, _, _ = data(rng, dtype)
    p = gd.softmax(z)

    def nll(x):
        return torch.nn.functional.nll_loss(torch.log(x), torch.tensor(labels))

    value, dy = torch_grad(torch, nll, p)
    found, found_dy = gd.losses.scce.value_and_grad(labels, p)
    close(found, value, dtype)
    close(found_dy, dy, dtype)


def test_torch_clamps_an_impossible_probability(torch):
    """-log(0) is 100 there and infinite here."""
    clamped = torch.nn.functional.binary_cross_entropy(torch.zeros(1), torch.ones(1))
    assert clamped == 100
    assert gd.losses.bce([1.0], [0.0]) == np.inf


# ---- Keras ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


def jax_grad(function, x):
    """(value, gradient) by JAX, Keras's backend here and optax's ground: float32."""
    jax = pytest.importorskip("jax")
    value, dy = jax.value_and_grad(function)(np.asarray(x))
    return np.asarray(value), np.asarray(dy)


def test_activations_of_keras(keras, rng):
    """All but prelu, a layer there; their leaky_relu has another slope by default."""
    z = (2 * rng.normal(size=(ROWS, CLASSES))).astype(np.float32)
    for name in gd.activations.names():
        if name in ("prelu", "leaky_relu", "gelu_tanh"):
            continue
        close(gd.activations.get(name)(z), keras.activations.get(name)(z), np.float32)
    steeper = gd.activations.get("leaky_relu", slope=0.2)
    close(steeper(z), keras.activations.leaky_relu(z), np.float32)
    tanh_form = gd.activations.get("gelu", approximate=True)
    close(tanh_form(z), keras.activations.gelu(z, approximate=True), np.float32)


KERAS_NAMES = {
    "mse": "MeanSquaredError",
    "binary_crossentropy": "BinaryCrossentropy",
    "categorical_crossentropy": "CategoricalCrossentropy",
    "sparse_categorical_crossentropy": "SparseCategoricalCrossentropy",
}


@pytest.mark.parametrize(
    ("name", "logits"),
    [(name, logits) for name in KERAS_NAMES for logits in (False, True)[: 1 + (name != "mse")]],
)
def test_losses_of_keras(name, logits, keras, rng):
    """From logits, and from ordinary probabilities, where nothing is clipped."""
    z, labels, one_hot, _ = data(rng, np.float32)
    z = np.clip(z, -4, 4)
    options = {} if name == "mse" else {"from_logits": logits}
    pointwise = name in ("mse", "binary_crossentropy")
    pred = z if logits else gd.sigmoid(z) if pointwise else gd.softmax(z)
    target = labels if name.startswith("sparse") else one_hot
    theirs = getattr(keras.losses, KERAS_NAMES[name])(**options)
    ours = gd.losses.get(KERAS_NAMES[name], **options)
    found, dy = ours.value_and_grad(target, pred)
    value, their_dy = jax_grad(lambda y: theirs(target, y), pred)
    close(found, value, np.float32)
    if not logits and not pointwise:
        # They differentiate through a division of the row by its sum: (sum of targets) more.
        dy = dy + 1 / np.float32(ROWS)
    close(dy, their_dy, np.float32)


@pytest.mark.parametrize("name", ["mse", "sparse_categorical_crossentropy"])
def test_sample_weights_of_keras(name, keras, rng):
    """Ours is their "mean_with_sample_weight"; their default divides by the batch instead."""
    z, labels, one_hot, _ = data(rng, np.float32)
    weights = rng.uniform(0.1, 2, ROWS).astype(np.float32)
    pred, target = gd.softmax(z), labels if name.startswith("sparse") else one_hot
    kind = getattr(keras.losses, KERAS_NAMES[name])
    found = gd.losses.get(name)(target, pred, weights)
    like_ours = kind(reduction="mean_with_sample_weight")(target, pred, sample_weight=weights)
    close(found, like_ours, np.float32)
    default = kind()(target, pred, sample_weight=weights)
    close(found * weights.sum() / ROWS, default, np.float32)
    summed = gd.losses.get(name, reduction="sum")(target, pred, weights)
    theirs = kind(reduction="sum")(target, pred, sample_weight=weights)
    outputs = CLASSES if name == "mse" else 1  # they sum means over the outputs
    close(summed / outputs, theirs, np.float32)


def test_keras_clips_an_impossible_probability(keras):
    """-log(0) is -log(1e-7) there and infinite here."""
    clipped = keras.losses.binary_crossentropy(np.float32([[1]]), np.float32([[0]]))
    close(clipped, [-np.log(1e-7)], np.float32)
    assert gd.losses.bce([[1.0]], [[0.0]]) == np.inf


# ---- scikit-learn --------------------------------------------------------------------------------


def test_log_loss_of_scikit_learn(dtype, rng):
    metrics = pytest.importorskip("sklearn.metrics")
    z, labels, one_hot, _ = data(rng, dtype)
    p, classes = gd.softmax(z), np.arange(CLASSES)
    weights = rng.uniform(0.1, 2, ROWS).astype(dtype)
    rows = p.astype(np.float64)
    rows /= rows.sum(axis=1, keepdims=True)  # it warns of sums that are off by a float's rounding
    for w in None, weights:
        exact = metrics.log_loss(labels, rows, labels=classes, sample_weight=w)
        for loss, target, pred in (
            (gd.losses.scce, labels, p),
            (gd.losses.cce, one_hot, p),
            (gd.losses.get("scce", from_logits=True), labels, z),
            (gd.losses.get("cce", from_logits=True), one_hot, z),
        ):
            close(loss(target, pred, w), exact, dtype)
    binary, q = labels % 2, gd.sigmoid(z[:, 0])
    exact = metrics.log_loss(binary, q.astype(np.float64), sample_weight=weights)
    close(gd.losses.log_loss(binary, q, weights), exact, dtype)
    close(gd.losses.get("log_loss", from_logits=True)(binary, z[:, 0], weights), exact, dtype)


def test_squared_errors_of_scikit_learn(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    t, y = rng.normal(size=(2, ROWS, 3))
    weights = rng.uniform(0.1, 2, ROWS)
    for w in None, weights:
        close(gd.losses.mse(t, y, w), metrics.mean_squared_error(t, y, sample_weight=w))


# ---- optax ---------------------------------------------------------------------------------------


def test_losses_of_optax(rng):
    optax = pytest.importorskip("optax")
    z, labels, one_hot, soft = data(rng, np.float32)
    binary = (z > 0).astype(np.float32)
    cases = [
        ("mse", False, soft, lambda y: optax.squared_error(y, soft)),
        ("half_mse", False, soft, lambda y: optax.l2_loss(y, soft)),
        ("bce", True, binary, lambda y: optax.sigmoid_binary_cross_entropy(y, binary)),
        ("bce", True, soft, lambda y: optax.sigmoid_binary_cross_entropy(y, soft)),
        ("cce", True, one_hot, lambda y: optax.softmax_cross_entropy(y, one_hot)),
        ("cce", True, soft, lambda y: optax.softmax_cross_entropy(y, soft)),
    ]
    with_labels = optax.softmax_cross_entropy_with_integer_labels
    cases += [("scce", True, labels, lambda y: with_labels(y, labels))]
    for name, logits, target, function in cases:
        value, dy = jax_grad(lambda y, f=function: f(y).mean(), z)
        found, found_dy = gd.losses.Loss(name, from_logits=logits).value_and_grad(target, z)
        close(found, value, np.float32)
        close(found_dy, dy, np.float32)
        each = gd.losses.Loss(name, "none", logits)(target, z)
        close(each, function(z), np.float32)
