"""`make run` notices a wrong figure of the notebooks on networks and on learning rates."""

import copy
import re

import figures_001_networks
import figures_002
import nbformat
import network_twin
import numpy as np
import pytest
import run_notebooks

import gdcore as gd

NETWORKS, RATES = NAMES = "001_networks", "002_learning_rate"
TOLD = {  # verdicts that say more than that figures agree
    NETWORKS: {"table: −(1/n) Σ p log q": "the formula has half of the loss"},
    RATES: {},
}
USES = {  # what each document is about
    NETWORKS: {
        "gd.Sequential",
        "gd.Dense",
        "gd.EarlyStopping",
        "gd.dense",
        "gd.dense_grad",
        "gd.check_grad",
        "tiny.explain",
        "gd.activations.get",
        "gd.datasets.exam",
        "gd.datasets.four_predictions",
    },
    RATES: {
        "gd.SGD",
        "gd.Adagrad",
        "gd.RMSprop",
        "gd.Adam",
        "gd.schedules",
        "gd.EarlyStopping",
        "gd.LearningRateScheduler",
        "gd.ReduceLROnPlateau",
        "gd.NonFiniteError",
        "gd.find_lr",
        "gd.plot.lr_finder",
    },
}


@pytest.fixture(scope="module")
def handed_over():
    folder = run_notebooks.ROOT / "notebooks"
    return {
        name: run_notebooks.figures_of(nbformat.read(folder / f"{name}.ipynb", as_version=4))
        for name in NAMES
    }


@pytest.mark.parametrize(("name", "count"), [(NETWORKS, 51), (RATES, 100)])
def test_the_committed_figures_agree(handed_over, name, count):
    rows = run_notebooks.COMPARISONS[name](handed_over[name])
    assert [row for row in rows if row.complaint] == []
    assert len(rows) >= count
    assert len({row.what for row in rows}) == len(rows)
    told = {row.what: row.verdict for row in rows if "agrees" not in row.verdict}
    assert told == TOLD[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_notebooks_are_small_and_use_what_they_are_about(name):
    path = run_notebooks.ROOT / "notebooks" / f"{name}.ipynb"
    assert path.stat().st_size <= 300 * 2**10
    cells = nbformat.read(path, as_version=4).cells
    sources = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    missing = [used for used in USES[name] if not re.search(rf"\b{re.escape(used)}\b", sources)]
    assert missing == []


# ---- Planted errors ------------------------------------------------------------------------------


def changed(*keys, by=None, to=None):
    """A function that changes the figure at these keys: adds `by`, or sets it to `to`."""

    def change(spoiled):
        *outer, last = keys
        for key in outer:
            spoiled = spoiled[key]
        spoiled[last] = to if by is None else spoiled[last] + by

    return change


PLANTED = {
    NETWORKS: {
        "table: error": changed("table", "error", 3, by=0.01),
        "table: binarised error": changed("table", "binarised", 3, to=0),
        "table: MSE": changed("table", "mse", by=1e-6),
        "table: −(1/n) Σ p log q": changed("table", "as printed", to=0.836110),
        "table: cross-entropy, binary": changed("table", "binary", to=0.601986),
        "three students: z": changed("exam", "z", 2, to=0.1),
        "three students, with bias: losses, weights": changed(
            "exam", "runs", "with bias", 7, by=1e-8
        ),
        "three students, without bias: minimum": changed(
            "exam", "runs", "without bias", -1, by=1e-3
        ),
        "class, surface: losses, test": changed("class", "surface", 4, by=1e-4),
        "class, blind: losses, test": changed("class", "blind", -1, to=0.8),
        "silu: derivative": changed("slopes", "silu", 0, by=1e-9),
        "backpropagation: delta": changed("backpropagation", "delta", 1, by=1e-9),
        "backpropagation: gradient": changed("backpropagation", "gradient", 8, by=1e-9),
        "backpropagation: explained": changed("backpropagation", "explained", -1, by=1e-9),
        "backpropagation: costs": changed("backpropagation", "costs", 5, by=1e-9),
        "diabetes, all ten: least squares": changed("diabetes", "linear", "all ten", 4, by=1e-5),
        "diabetes, network: validation losses, best epoch, R²": changed(
            "diabetes", "network", -2, by=1
        ),
        "digits, two of 64: validation losses, test": changed(
            "digits", "two of 64", -1, by=1 / 450
        ),
        "digits, seed 2: validation and test": changed("digit seeds", 2, 1, by=1 / 300),
        "XOR, 3 units: losses at the end": changed("xor", "3", 12, by=1e-5),
        "XOR, 2 units: share that solves it": changed("xor solved", "2", by=1 / 200),
        "two relu units: validation": changed("seeds", "validation", 5, by=1e-5),
    },
    RATES: {
        "linear: 2 / lambda_max": changed("linear", "limit", by=1e-9),
        "linear, 1.02 of it: loss, closed form": changed("linear", "full batch", "1.02", 9, by=0.1),
        "linear, 1.02 of it: verdict": changed("linear", "verdicts", "1.02", to="healthy"),
        "linear, batch 8: losses": changed("linear", "batches", "8", 5, by=1e-8),
        "Adagrad 0.1, texts: loss, val_accuracy, val_loss": changed(
            "examples", "Adagrad 0.1", "val_accuracy", 9, by=1 / 360
        ),
        "RMSprop, patients: loss, val_loss": changed(
            "mean squared error", "RMSprop", "loss", 2, by=1e-5
        ),
        "words, SGD 0.1: moved": changed("moved", "SGD 0.1", 0, by=1e-5),
        "words: Adagrad beside SGD, rare to frequent": changed("moved", "Adagrad 0.1", 3, to=0.2),
        "digits, Adam, 0.03: validation loss": changed("compared", "Adam, 0.03", 9, by=1e-5),
        "grid, SGD: 4 rates, validation": changed("grid", "SGD, 0.001", 0, by=1e-5),
        "validation loss against rate, Adam: 3 rates": changed(
            "curve", "Adam", "losses", "0.03162277660168379", by=1e-5
        ),
        "rate finder, Adam: losses": changed("finder", "Adam", "losses", 9, by=1e-5),
        "rate finder, SGD: steepest": changed("finder", "SGD", "suggestions", "steepest", by=1e-5),
        "rate finder, RMSprop: valley": changed(
            "finder", "RMSprop", "suggestions", "valley", by=1e-7
        ),
        "rate finder, momentum 0.9: minimum_tenth": changed(
            "finder", "momentum 0.9", "suggestions", "minimum_tenth", to=0.05
        ),
        "five folds, 0.03: loss and accuracy": changed("folds", "0.03", 3, 0, by=1e-5),
        "1/t: 0.01 / (1 + epoch): rates": changed(
            "schedules", "1/t: 0.01 / (1 + epoch)", "rates", 3, by=1e-9
        ),
        "cyclical: 0.0001 to 0.01: losses": changed(
            "schedules", "cyclical: 0.0001 to 0.01", "losses", 3, by=1e-8
        ),
        "digits, cyclical: 0.001 to 0.2: end": changed(
            "digit schedules", "cyclical: 0.001 to 0.2", "val_loss", by=1e-5
        ),
        "valleys, up to 0.08: lowest": changed("escaped", "0.08", to=0.6),
        "ReduceLROnPlateau: rates": changed("callbacks", "ReduceLROnPlateau", "rates", 4, to=0.2),
        "early, 0.01: stopped after, kept": changed("early", "0.01", "stopped", 0, by=1),
    },
}


@pytest.mark.parametrize(
    ("name", "what", "change"),
    [(name, *planted) for name in NAMES for planted in PLANTED[name].items()],
)
def test_a_planted_error_is_found(handed_over, name, what, change):
    spoiled = copy.deepcopy(handed_over[name])
    change(spoiled)
    rows = run_notebooks.COMPARISONS[name](spoiled)
    assert what in {row.what for row in rows if row.complaint}


# ---- The twin is what it says --------------------------------------------------------------------


def differences(f, p, h=1e-6):
    """Central differences of f in each element of p, which f reads."""
    found = np.empty_like(p)
    for place in np.ndindex(p.shape):
        middle, ends = p[place], []
        for side in (h, -h):
            p[place] = middle + side
            ends.append(f())
        p[place] = middle
        found[place] = (ends[0] - ends[1]) / (2 * h)
    return found


@pytest.mark.parametrize(
    ("last", "loss"),
    [("sigmoid", "cross_entropy"), ("softmax", "cross_entropy"), ("linear", "mse")],
)
@pytest.mark.parametrize("hidden", ["tanh", "relu", "sigmoid"])
def test_gradients_of_the_twin_are_those_of_differences(rng, hidden, last, loss):
    outputs = 3 if last == "softmax" else 1
    layers = [network_twin.Layer(4, hidden), network_twin.Layer(outputs, last)]
    network = network_twin.Network(2, layers, loss, seed=1)
    X = rng.normal(size=(6, 2))
    y = np.eye(3)[rng.integers(0, 3, 6)] if last == "softmax" else rng.integers(0, 2, (6, 1)) * 1.0
    _, grads = network.value_and_grad(X, y)
    for p, g in zip(network.params, grads, strict=True):
        expected = differences(lambda: network.value(X, y), p)
        np.testing.assert_allclose(g, expected, rtol=1e-6, atol=1e-9)


def test_the_formula_of_the_document_has_the_gradient_that_the_twin_takes():
    y, z, h = np.array([[1.0], [0.0]]), np.array([[0.3], [-0.7]]), 1e-6

    def value(z):
        return figures_001_networks.p_log_q(y, network_twin.activated("sigmoid", z))[0]

    _, gradient = figures_001_networks.p_log_q(y, network_twin.activated("sigmoid", z))
    first = np.array([[h], [0]])
    assert gradient[0, 0] == pytest.approx((value(z + first) - value(z - first)) / (2 * h))
    assert gradient[1, 0] == 0


@pytest.mark.parametrize("rows", [2, 3, 100, 353])
def test_the_order_of_an_epoch_is_that_of_fit(rows):
    """One sample at a time, with a rate of 0: the losses of the batches tell the order."""
    X = np.arange(1.0, rows + 1)[:, None]
    model = gd.Sequential([gd.Input(1), gd.Dense(1, use_bias=False)])
    model.compile(gd.SGD(0.0), loss="mse")
    h = model.fit(X, np.zeros(rows), batch_size=1, epochs=2, verbose=0, seed=7)
    network = network_twin.Network(1, [network_twin.Layer(1, bias=False)], "mse", seed=7)
    np.testing.assert_array_equal(network.params[0], model.params[0])
    key = network.rng.integers(0, 1 << 64, 2, np.uint64).tolist()
    order = [network_twin.epoch_order(rows, key, epoch) for epoch in (0, 1)]
    seen = np.sqrt(h.batch_losses).reshape(2, rows) / abs(model.params[0][0, 0]) - 1
    np.testing.assert_allclose(seen, order, atol=1e-9)


def test_steps_of_the_twin_on_paper():
    """The first step of each rule, from 1 with the gradient 2."""
    steps = {
        network_twin.sgd(0.1, 0.9): 0.1 * 2,
        network_twin.adagrad(0.1): 0.1 * 2 / np.sqrt(4.1 + 1e-7),
        network_twin.rmsprop(0.1): 0.1 * 2 / np.sqrt(0.4 + 1e-7),
        network_twin.adam(0.1): 0.1 * 2 / (2 + 1e-8),
        network_twin.adam(0.1, keras=True): 0.1 * np.sqrt(1e-3) * 2 / (2 * np.sqrt(1e-3) + 1e-7),
    }
    for rule, expected in steps.items():
        p = [np.array([1.0])]
        rule(p, [np.array([2.0])], 0)
        assert 1 - p[0][0] == pytest.approx(expected, rel=1e-12)


def test_schedules_of_the_twin():
    rate = figures_002.rates_of("cyclical", 0.01, 10)
    assert [rate(t) for t in (0, 20, 40, 60)] == pytest.approx([1e-4, 1e-2, 1e-4, 1e-2])
    assert figures_002.rates_of("step", 0.1, 10)(100) == pytest.approx(0.01)
    assert figures_002.rates_of("1/t", 0.1, 10)(40) == pytest.approx(0.1 / 3)
