"""`make run` notices a wrong figure of the neuron's notebook, and its twins are what they say."""

import copy

import figures_004
import nbformat
import numpy as np
import pytest
import run_notebooks

NAME = "004_neuron"


@pytest.fixture(scope="module")
def handed_over():
    path = run_notebooks.ROOT / "notebooks" / f"{NAME}.ipynb"
    return run_notebooks.figures_of(nbformat.read(path, as_version=4))


def test_the_committed_figures_agree(handed_over):
    rows = run_notebooks.COMPARISONS[NAME](handed_over)
    assert [row for row in rows if row.complaint] == []
    assert len(rows) >= 89
    assert len({row.what for row in rows}) == len(rows)
    assert {row.what: row.verdict for row in rows if "agrees" not in row.verdict} == {
        "as printed: end": "the slip: v_b takes dw",
        "24 points, sums kept: end": "the slip: sums kept",
    }


def test_the_notebook_is_small():
    path = run_notebooks.ROOT / "notebooks" / f"{NAME}.ipynb"
    assert path.stat().st_size <= 150 * 2**10


def changed(*keys, by=None, to=None):
    """A function that changes the figure at these keys: adds `by`, or sets it to `to`."""

    def change(spoiled):
        *outer, last = keys
        for key in outer:
            spoiled = spoiled[key]
        spoiled[last] = to if by is None else spoiled[last] + by

    return change


def moved(*keys, number, by=1e-8):
    """A function that moves one number of the line of text at these keys."""

    def change(spoiled):
        *outer, last = keys
        for key in outer:
            spoiled = spoiled[key]
        numbers = spoiled[last].split()
        numbers[number] = f"{float(numbers[number]) + by:.12g}"
        spoiled[last] = " ".join(numbers)

    return change


PLANTED = {
    "setting: gamma": changed("settings", "gamma", to=0.8),
    "start: error, gradient": changed("first", 1, by=1e-8),
    "mini-batch of 6, N = 24: steps per epoch": changed("steps", "24", "mini-batch of 6", by=1),
    "batch, N = 2: steps per epoch": changed("steps", "2", "batch", by=1),
    "η = 1, momentum 0.9: path": moved("runs", "η = 1, momentum 0.9", number=2),
    "η = 1, Nesterov 0.9: error 0.0001 from": changed("arrived", "η = 1, Nesterov 0.9", by=1),
    "RMSprop, η = 0.1: path": moved("runs", "RMSprop, η = 0.1", number=3),
    "RMSprop, η = 0.1: largest error, last 100": changed("largest", "RMSprop, η = 0.1", by=1e-8),
    "η = 10: end, on paper": moved("runs", "η = 10", number=7),
    "from (4, -2): end": changed("starts", "(4, -2)", 0, by=1e-8),
    "momentum: step 20 as a sum": changed("weighted sum", 1, by=1e-8),
    "Nesterov, document: path": moved("Nesterov", "document", number=1),
    "Nesterov, p: path": moved("Nesterov", "p", number=1),
    "Nesterov, back: path": moved("Nesterov", "back", number=1),
    "as printed: path": moved("as printed", number=4),
    "as printed: end": moved("as printed", number=7),
    "Adam, η = 0.1: starts arrived": changed("shares", "Adam, η = 0.1", 0, by=0.002),
    "stochastic, sums kept: path": moved("stochastic", "stochastic, sums kept", number=0),
    "Nesterov, stochastic: path": moved("both", "Nesterov, stochastic", number=0),
    "24 points, mini-batch of 6: path": moved("24 points", "mini-batch of 6", number=5),
    "24 points: both minima": changed("minima", 2, by=2e-6),
    "24 points, sums kept: end": moved("24 points", "stochastic, sums kept", number=7, by=0.1),
    "network, 2 points, batch: path": moved("network", "2 points, batch", number=7),
    "network, 24 points, mini-batch: path": moved("network", "24 points, mini-batch", number=2),
    "network, 24 points, stochastic: steps per epoch": changed(
        "network steps", "24 points, stochastic", to=1
    ),
    "sparse, AdaGrad, η = 1: path": moved("sparse", "AdaGrad, η = 1", number=1),
    "sparse, AdaGrad: rates at step 60": changed("rates", 0, by=1e-8),
}


@pytest.mark.parametrize(("what", "change"), PLANTED.items(), ids=PLANTED)
def test_a_planted_error_is_found(handed_over, what, change):
    spoiled = copy.deepcopy(handed_over)
    change(spoiled)
    found = {row.what for row in figures_004.compare(spoiled) if row.complaint}
    assert what in found


def test_the_slope_of_the_twin_is_the_derivative_of_its_error():
    x, y = np.array([0.5, 2.5, -1.0]), np.array([0.2, 0.9, 0.4])
    weights = np.array([3.0, 2.0, 1.0])
    p, h = np.array([-0.7, 0.3]), 1e-6
    for axis in np.eye(2):
        rise = weights @ (
            (figures_004.residuals(p + h * axis, x, y)[1]) ** 2
            - (figures_004.residuals(p - h * axis, x, y)[1]) ** 2
        )
        slope = figures_004.slope_on(x, y, weights)(p) @ axis
        assert slope == pytest.approx(0.5 * rise / (2 * h), rel=1e-8)


def test_sums_kept_are_those_of_the_epoch():
    """One epoch of two points: the second step has both gradients, the next epoch starts anew."""
    way = figures_004.Way(1, lambda: figures_004.momentum(0.5), epochs=2, keep=True)
    path = figures_004.in_batches(way, figures_004.X, figures_004.Y)
    p, points = figures_004.START, []
    first, second = (figures_004.slope_on(figures_004.X[[k]], figures_004.Y[[k]]) for k in range(2))
    for _ in range(2):
        g = first(p)
        p = p - 0.5 * g
        p = p - 0.5 * (g + second(p))
        points.append(p)
    np.testing.assert_allclose(path[1:], points, rtol=1e-15)
