"""Training beside torch and scikit-learn: gradients, ten epochs, accuracies on their data."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from peer_networks import LOSSES, Twin, model_of, networks

import gdcore as gd


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(threads)


def data_of(case):
    inputs, _, loss, _, outputs, rows, weighted, _, seed = case
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, inputs))
    y = LOSSES[loss][0](rng, rows, outputs)
    return x, y, rng.random(rows) + 0.1 if weighted else None


def close(found, wanted, tolerance):
    """To a tolerance relative to the largest entry of all arrays."""
    size = max(1.0, *(np.abs(a).max() for a in wanted))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * size)


# ---- Gradients -----------------------------------------------------------------------------------


@settings(max_examples=300)
@given(networks())
def test_gradients_of_random_networks(torch, case):
    inputs, hidden, loss, ending, outputs, _, _, penalty, seed = case
    model = model_of(inputs, hidden, loss, ending, outputs, penalty, seed=seed)
    twin = Twin(torch, model, hidden, loss, penalty)
    x, y, weights = data_of(case)
    value, grads = model.value_and_grad(x, y, weights)
    wanted, others = twin.value_and_grad(x, y, weights)
    np.testing.assert_allclose(value, wanted, rtol=1e-10, atol=1e-12)
    close(grads, others, 1e-10)


@settings(max_examples=25)
@given(networks(smooth=True, widest=5))
def test_gradients_of_random_networks_beside_differences(case):
    inputs, hidden, loss, ending, outputs, _, _, penalty, seed = case
    model = model_of(inputs, hidden, loss, ending, outputs, penalty, seed=seed)
    x, y, weights = data_of(case)

    def at(*params):
        for live, p in zip(model.params, params, strict=True):
            live[...] = p
        value, grads = model.value_and_grad(x, y, weights)
        return value, tuple(grads)

    checked = gd.check_grad(at, True, tuple(p.copy() for p in model.params))
    assert checked.ok, checked.message


def test_a_wrong_gradient_would_be_found():
    """The comparison above can fail: one entry of one gradient is doubled."""
    case = (3, [("dense", 4, "tanh", True)], "mse", None, 2, 9, False, 0.0, 0)
    model = model_of(3, case[1], "mse", None, 2)
    x, y, _ = data_of(case)

    def at(*params):
        for live, p in zip(model.params, params, strict=True):
            live[...] = p
        value, grads = model.value_and_grad(x, y)
        grads[1][2] *= 2
        return value, tuple(grads)

    checked = gd.check_grad(at, True, tuple(p.copy() for p in model.params))
    assert not checked.ok


# ---- Ten epochs ----------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": [{"lr": 0.05}, {"lr": 0.02, "momentum": 0.9}, {"lr": 0.02, "momentum": 0.9,
            "nesterov": True, "weight_decay": 0.01}],
    "Adam": [{"lr": 0.01}, {"lr": 0.01, "amsgrad": True, "weight_decay": 0.01}],
    "AdamW": [{"lr": 0.01, "weight_decay": 0.1}],
    "RMSprop": [{"lr": 0.005}, {"lr": 0.005, "centered": True, "momentum": 0.5}],
    "Adagrad": [{"lr": 0.05}],
    "Adadelta": [{"lr": 1.0}],
    "Adamax": [{"lr": 0.01}],
    "NAdam": [{"lr": 0.01}],
    "RAdam": [{"lr": 0.01}],
    "Rprop": [{"lr": 0.01}],
}  # fmt: skip
NETS = {
    "plain": [("dense", 16, "tanh", True), ("dense", 8, "gelu", True)],
    "layer norm": [("dense", 12, "linear", True), ("norm", 0, "silu", True)],
    # Without bias, whose gradient would be 0 but for rounding: Rprop takes the sign of that.
    "batch norm": [("dense", 12, "linear", False), ("batch", 0, "tanh", True)],
    "skip": [("dense", 6, "tanh", True), ("skip", 9, "softplus", True)],
}
RULES = [(name, setting) for name, several in OPTIMIZERS.items() for setting in several]


def ten_epochs(torch, rule, setting, net, loss, ending):
    """Losses and parameters of ten epochs without shuffle, in gdcore and in torch."""
    outputs, rows, batch, hidden = 3, 100, 32, NETS[net]
    optimizer = getattr(gd, rule)(**setting)
    model = model_of(5, hidden, loss, ending, outputs, 1e-3, optimizer, seed=1)
    twin = Twin(torch, model, hidden, loss, 1e-3)
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(rows, 5)), LOSSES[loss][0](rng, rows, outputs)
    h = model.fit(x, y, batch_size=batch, epochs=10, shuffle=False, verbose=0)
    theirs = getattr(torch.optim, rule)(twin.params, **setting)
    losses = []
    for _ in range(10):
        for start in range(0, rows, batch):
            part = slice(start, start + batch)
            theirs.zero_grad()
            value = twin.value(torch.tensor(x[part]), torch.tensor(y[part]))
            value.backward()
            theirs.step()
            losses.append(value.item())
    return model, h, twin, losses, x


@pytest.mark.parametrize(("rule", "setting"), RULES, ids=str)
@pytest.mark.parametrize("net", NETS)
def test_ten_epochs(torch, rule, setting, net):
    model, h, twin, losses, x = ten_epochs(
        torch, rule, setting, net, "sparse_categorical_crossentropy", "softmax"
    )
    assert len(losses) == 40
    np.testing.assert_allclose(h.batch_losses, losses, rtol=1e-9)
    close(model.params, [p.detach().numpy() for p in twin.params], 1e-9)
    close(model._buffers or [np.zeros(1)], [m.numpy() for m in twin.moving] or [np.zeros(1)], 1e-9)
    logits = twin.outputs(torch.tensor(x), training=False).detach().numpy()
    close([model.predict(x)], [gd.softmax(logits)], 1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_ten_epochs_of_every_loss(torch, loss):
    model, h, twin, losses, _ = ten_epochs(
        torch, "SGD", {"lr": 0.02, "momentum": 0.9}, "plain", loss, LOSSES[loss][1][-1]
    )
    np.testing.assert_allclose(h.batch_losses, losses, rtol=1e-9)
    close(model.params, [p.detach().numpy() for p in twin.params], 1e-9)


# ---- Data of scikit-learn ------------------------------------------------------------------------

SEEDS = range(10)


def scores(ours, theirs, data):
    """The score of either on the test rows, for each seed."""
    found = []
    for seed in SEEDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLP*'s ConvergenceWarning: so many epochs were asked
            found.append((ours(seed, *data), theirs(seed, *data)))
    return np.array(found).T


def within_the_spread(ours, theirs):
    """Means differ by less than the spread of seeds; the scores overlap."""
    spread = max(ours.std(ddof=1), theirs.std(ddof=1))
    assert abs(ours.mean() - theirs.mean()) < spread, (ours, theirs)
    assert ours.max() >= theirs.min()
    assert theirs.max() >= ours.min()


def test_digits():
    """64-32-10 with relu and Adam, the penalty of MLPClassifier included."""
    neural = pytest.importorskip("sklearn.neural_network")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = x / 16
    data = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)

    def ours(seed, x, x_test, y, y_test):
        layers = [gd.Input(64), gd.Dense(32, "relu"), gd.Dense(10, "softmax")]
        model = gd.Sequential(layers)
        model.compile(gd.Adam(1e-2), "sparse_categorical_crossentropy", ["accuracy"])
        model.fit(x, y, batch_size=64, epochs=20, verbose=0, seed=seed)
        return model.evaluate(x_test, y_test)[1]

    def theirs(seed, x, x_test, y, y_test):
        model = neural.MLPClassifier(
            (32,), batch_size=64, max_iter=20, learning_rate_init=1e-2, alpha=0.0,
            random_state=seed, tol=0.0, n_iter_no_change=100,
        )  # fmt: skip
        return model.fit(x, y).score(x_test, y_test)

    found, wanted = scores(ours, theirs, data)
    assert found.min() > 0.94
    within_the_spread(found, wanted)


def test_diabetes():
    """10-16-1 on scaled data, half the mean squared error as MLPRegressor has it."""
    neural = pytest.importorskip("sklearn.neural_network")
    from sklearn.datasets import load_diabetes
    from sklearn.metrics import r2_score
    from sklearn.model_selection import train_test_split

    x, y = load_diabetes(return_X_y=True)
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    data = train_test_split(x, y, test_size=0.3, random_state=0)

    def ours(seed, x, x_test, y, y_test):
        model = gd.Sequential([gd.Input(10), gd.Dense(16, "relu"), gd.Dense(1)])
        model.compile(gd.Adam(1e-2), "half_mse")
        model.fit(x, y, batch_size=32, epochs=20, verbose=0, seed=seed)
        return r2_score(y_test, model.predict(x_test))

    def theirs(seed, x, x_test, y, y_test):
        model = neural.MLPRegressor(
            hidden_layer_sizes=(16,), batch_size=32, max_iter=20,
            learning_rate_init=1e-2, alpha=0.0,
            random_state=seed, tol=0.0, n_iter_no_change=100,
        )  # fmt: skip
        return model.fit(x, y).score(x_test, y_test)

    found, wanted = scores(ours, theirs, data)
    assert found.mean() > 0.3
    within_the_spread(found, wanted)
