"""The metrics beside scikit-learn's: values, ties, weights, averages, callables."""

import numpy as np
import pytest
from metric_cases import draw

from gdcore import metrics

peer = pytest.importorskip("sklearn.metrics")

ROWS = 300


def near(value):
    return pytest.approx(value, rel=1e-12, abs=1e-14, nan_ok=True)


def weights_of(rng):
    return None, rng.random(ROWS), rng.integers(1, 4, ROWS)


def test_accuracies(rng, dtype):
    for form in ("flat", "column", "sparse", "onehot"):
        y, p = draw(form, rng, ROWS, dtype)
        answers = p > 0.5 if form in ("flat", "column") else p.argmax(axis=1)
        labels = y.argmax(axis=1) if form == "onehot" else y
        for w in weights_of(rng):
            wanted = peer.accuracy_score(labels, answers, sample_weight=w)
            assert metrics.get("accuracy")(y, p, w) == near(wanted)


def test_top_k(rng, dtype):
    """Without equal scores, of which scikit-learn takes the higher classes first."""
    y, p = rng.integers(0, 9, ROWS), rng.random((ROWS, 9)).astype(dtype)
    for k in (1, 2, 5, 8):
        for w in weights_of(rng):
            wanted = peer.top_k_accuracy_score(y, p, k=k, labels=np.arange(9), sample_weight=w)
            found = metrics.get("sparse_top_k_categorical_accuracy", k=k)(y, p, w)
            assert found == near(wanted)
            assert metrics.get("top_k_categorical_accuracy", k=k)(np.eye(9)[y], p, w) == found


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_precision_recall_f1(name, rng, dtype):
    theirs = getattr(peer, f"{name}_score")
    for rows in (4, ROWS):  # few rows miss classes
        y, p = draw("flat", rng, rows, dtype)
        for w in (None, rng.random(rows)):
            wanted = theirs(y, p > 0.5, sample_weight=w, zero_division=0)
            assert metrics.get(name)(y, p, w) == near(wanted)
        for form in ("sparse", "onehot", "labels"):
            y, p = draw(form, rng, rows, dtype)
            options = {"threshold": 0.25} if form == "labels" else {}
            answers = p > 0.25 if form == "labels" else p.argmax(axis=1)
            truth = y.argmax(axis=1) if form == "onehot" else y
            for average in ("macro", "micro", "weighted"):
                for w in (None, rng.random(rows)):
                    given = {"average": average, "sample_weight": w, "zero_division": 0}
                    found = metrics.get(name, average=average, **options)(y, p, w)
                    assert found == near(theirs(truth, answers, **given))


def test_area_under_the_curve(rng, dtype):
    for form in ("flat", "column", "signs"):
        for scores in ("equal ones", "distinct"):
            y, p = draw(form, rng, ROWS, dtype)
            p = p if scores == "equal ones" else rng.random(p.shape).astype(dtype)
            for w in weights_of(rng):
                wanted = peer.roc_auc_score(y.ravel(), p.ravel(), sample_weight=w)
                assert metrics.get("auc")(y, p, w) == near(wanted)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("mae", "mean_absolute_error"),
        ("mse", "mean_squared_error"),
        ("rmse", "root_mean_squared_error"),
        ("r2", "r2_score"),
    ],
)
def test_regression(name, theirs, rng, dtype):
    for outputs in (1, 3):
        y = rng.normal(size=(ROWS, outputs)) * np.arange(1, outputs + 1) + 3
        p = (y + rng.normal(size=y.shape)).astype(dtype)
        for w in weights_of(rng):
            wanted = getattr(peer, theirs)(y, p.astype(np.float64), sample_weight=w)
            assert metrics.get(name)(y, p, w) == near(wanted)
    for p in ([2.0, 2.0], [2.0, 3.0]):  # a constant target
        assert metrics.get(name)([2.0, 2.0], p) == near(getattr(peer, theirs)([2.0, 2.0], p))


def test_their_functions_are_callables(rng):
    y, p = draw("flat", rng, ROWS)
    w = rng.random(ROWS)
    metric = metrics.get(peer.brier_score_loss)
    assert repr(metric) == "Function(brier_score_loss)"
    stream = metric.stream()
    for rows in (slice(100), slice(100, ROWS)):
        stream.update(y[rows], p[rows], w[rows])
    assert stream.result() == near(peer.brier_score_loss(y, p, sample_weight=w))
    assert metrics.get(peer.max_error)(y, p) == peer.max_error(y, p)
