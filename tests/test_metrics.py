"""Metrics against plain loops and numbers by hand; blocks, weights, settings, errors, losses."""

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import FORMS, draw, errors_of_rows, largest_error, lists, weighted_error

import gdcore as gd
from gdcore import _metric, metrics


def blocks(metric, cuts, y, p, w=None):
    """The metric of a set that comes in blocks, empty ones among them."""
    stream = metric.stream()
    for rows in map(slice, [0, *cuts], [*cuts, len(p)]):
        stream.update(y[rows], p[rows], None if w is None else w[rows])
    return stream.result()


def near(value):
    return pytest.approx(value, rel=1e-12, abs=1e-13, nan_ok=True)


# ---- Values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options", "form", "oracle"), FORMS)
def test_values_are_the_oracles(name, options, form, oracle, dtype, rng):
    metric = metrics.get(name, **options)
    for rows in (1, 2, 3, 10, 40):
        y, p = draw(form, rng, rows, dtype)
        w = rng.random(rows).astype(dtype)
        given = [y.copy(), p.copy(), w.copy()]
        if oracle is None:
            assert metric(y, p) == largest_error(y, p)
            continue
        ones = [1.0] * rows
        for weights, listed in ((None, ones), (w, w.tolist()), (w[:, None], w.tolist())):
            found = metric(y, p, weights)
            assert type(found) is float
            assert found == near(oracle(lists(y), lists(p), listed, **options))
        assert all(map(np.array_equal, given, (y, p, w)))


def test_values_by_hand():
    get = metrics.get
    assert get("accuracy")([1, 0, 1, 1], [0.9, 0.2, 0.4, 0.6]) == 0.75
    assert get("acc")([2, 0], [[0.1, 0.2, 0.7], [0.3, 0.4, 0.3]]) == 0.5
    y, p = [1, 1, 0, 0, 1], [0.9, 0.4, 0.8, 0.1, 0.7]  # two of three found, two of three right
    assert get("precision")(y, p) == near(2 / 3)
    assert get("recall")(y, p) == near(2 / 3)
    assert get("f1")(y, p) == near(2 / 3)
    assert get("auc")(y, p) == near(4 / 6)
    assert get("recall")(y, p, [1, 3, 1, 1, 1]) == near(2 / 5)
    assert get("mse")([0.0, 2.0], [1.0, 4.0]) == 2.5
    assert get("rmse")([0.0, 2.0], [1.0, 4.0], [3, 1]) == near(math.sqrt(7 / 4))
    assert get("mae")([[0.0, 1.0], [2.0, 3.0]], [[1.0, 1.0], [2.0, 6.0]]) == 1.0
    assert get("r2")([3, -0.5, 2, 7], [2.5, 0.0, 2, 8]) == near(0.9486081370449679)
    confusion = [(0, 0), (0, 1), (1, 1), (1, 1), (2, 0), (2, 2)]
    y, p = [a for a, _ in confusion], np.eye(3)[[b for _, b in confusion]]
    assert get("precision_macro")(y, p) == near((1 / 2 + 2 / 3 + 1) / 3)
    assert get("recall")(y, p) == near((1 / 2 + 1 + 1 / 2) / 3)
    assert get("f1_micro")(y, p) == near(4 / 6)
    assert get("f1_weighted")(y, p) == near((1 / 2 + 4 / 5 + 2 / 3) / 3)


def test_equal_predictions():
    """The first of the largest; a constant prediction is no better than its class is frequent."""
    y, p = np.arange(4), np.full((4, 4), 0.25)
    assert metrics.get("accuracy")(y, p) == 0.25
    for k in (1, 2, 3, 4):
        assert metrics.get("sparse_top_k_categorical_accuracy", k=k)(y, p) == k / 4
        assert metrics.get("top_k_categorical_accuracy", k=k)(np.eye(4), p) == k / 4
    assert metrics.get("auc")([0, 1, 1], [0.5, 0.5, 0.5]) == 0.5
    assert metrics.get("binary_accuracy")([0, 1], [0.5, 0.5]) == 0.5  # at the threshold: no


def test_what_is_undefined():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("precision", "recall", "f1"):
            assert metrics.get(name)([0, 0], [0.1, 0.2]) == 0.0
            assert metrics.get(name)([0, 0, 1], np.eye(3)[:3], [0, 0, 0]) == 0.0
        assert metrics.get("f1")([0, 0, 1], np.eye(3)[[0, 0, 1]]) == 1.0  # class 2 is nowhere
        assert metrics.get("f1", threshold=0.5)(np.eye(3)[[0, 0, 1]], np.eye(3)[[0, 0, 1]]) == near(
            2 / 3
        )
        for y in ([0, 0], [1, 1]):
            assert math.isnan(metrics.get("auc")(y, [0.1, 0.2]))
        assert math.isnan(metrics.get("auc")([0, 1], [0.1, 0.2], [0, 1]))
        r2_score = metrics.get("r2")
        assert r2_score([0.1] * 7, [0.1] * 7) == 1.0
        assert r2_score([0.1] * 7, [0.1] * 6 + [0.2]) == 0.0  # exactly, though 0.1 * 7 / 7 != 0.1
        assert r2_score([0.1] * 7, [0.2] * 7, [0.3] * 7) == 0.0
        assert math.isnan(r2_score([1.0], [1.0]))
        assert math.isnan(r2_score([1.0, 2.0], [1.0, 2.0], [0, 0]))
        for name in ("accuracy", "mae", "mse", "rmse"):
            assert metrics.get(name)([0, 1], [0.1, 0.2], [0, 0]) == 0.0


@pytest.mark.parametrize("name", metrics.names())
def test_no_rows(name):
    wanted = math.nan if name in ("auc", "r2") else 0.0
    assert metrics.get(name).stream().result() == near(wanted)
    assert metrics.get(name)([], []) == near(wanted)


def test_not_finite_values_go_through_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("mae", "mse", "rmse", "r2", "auc"):
            for dtype in (np.float32, np.float64):
                p = np.array([0.5, np.nan, 0.25, 0.125], dtype)
                assert math.isnan(metrics.get(name)([0, 1, 1, 0], p))
        assert metrics.get("mse")([0.0, 0.0], [np.inf, 1.0]) == math.inf
        assert math.isnan(metrics.get("r2")([0.0, 0.0], [np.inf, 1.0]))
        assert metrics.get("auc")([0, 1], [-np.inf, np.inf]) == 1.0
        assert metrics.get("accuracy")([0, 1], [np.nan, np.nan]) == 0.5
        p = np.array([[np.nan, 0.5, 0.5], [0.5, 0.25, 0.25]])
        assert metrics.get("sparse_top_k_categorical_accuracy", k=2)([0, 0], p) == 0.5


def test_rows_far_from_zero():
    """r2 of targets whose squares lose all digits that matter."""
    y = 1e9 + np.arange(1000.0) % 7
    p = y + (np.arange(1000) % 3 - 1.0)
    wanted = metrics.get("r2")(y - 1e9, p - 1e9)
    assert metrics.get("r2")(y, p) == pytest.approx(wanted, rel=1e-12)
    assert blocks(metrics.get("r2"), range(100, 1000, 100), y, p) == pytest.approx(
        wanted, rel=1e-12
    )


def test_float32_loses_no_counts():
    """2^24 + 2 rows of 1: float32 would count to 2^24."""
    rows = 2**24 + 2
    p = np.broadcast_to(np.float32(1), rows)
    assert metrics.get("accuracy")(p, p) == 1.0
    p = p[: 2**20]
    tenth = np.broadcast_to(np.float32(0.1), len(p))
    assert metrics.get("mae")(0 * tenth, tenth) == pytest.approx(float(tenth[0]), rel=1e-14)
    stream = metrics.get("precision").stream()
    stream.update(p, p, p)
    stream.update(1 - p, tenth, p)
    assert stream.result() == 1.0


# ---- Blocks and weights --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options", "form", "oracle"), FORMS)
@settings(max_examples=settings().max_examples // 4)
@given(data=st.data())
def test_blocks_are_the_whole(name, options, form, oracle, data):
    rows = data.draw(st.integers(1, 30))
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), max_size=4)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    metric = metrics.get(name, **options)
    y, p = draw(form, rng, rows)
    assert blocks(metric, cuts, y, p) == near(metric(y, p))
    if oracle is not None:
        w = rng.integers(0, 3, rows) + rng.integers(0, 2) / 2
        w[-1] = 1.5
        assert blocks(metric, cuts, y, p, w) == near(metric(y, p, w))


@pytest.mark.parametrize(("name", "options", "form", "oracle"), FORMS)
@settings(max_examples=settings().max_examples // 4)
@given(data=st.data())
def test_weights_are_repetition(name, options, form, oracle, data):
    if oracle is None:
        return
    w = np.array(data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=12)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    metric = metrics.get(name, **options)
    y, p = draw(form, rng, len(w))
    if np.count_nonzero(w) > 1:
        assert metric(y, p, w) == near(metric(np.repeat(y, w, axis=0), np.repeat(p, w, axis=0)))


def test_calls_go_by_blocks_of_limited_size(rng):
    rows = _metric.BLOCK + 3
    y, p = rng.integers(0, 2, rows), rng.random(rows)
    cuts = [_metric.BLOCK]
    for name in metrics.names():
        if "categorical" not in name:
            metric = metrics.get(name)
            assert metric(y, p) == blocks(metric, cuts, y, p)  # the same bits
    right = np.count_nonzero((p > 0.5) == y)
    assert metrics.get("accuracy")(y, p) == right / rows


def test_weights_may_begin_later():
    for name in ("auc", "accuracy", weighted_error, errors_of_rows):
        metric = metrics.get(name)
        y, p = np.array([0, 1, 1, 0]), np.array([0.125, 0.25, 0.75, 0.5])
        stream = metric.stream()
        stream.update(y[:2], p[:2])
        stream.update(y[2:], p[2:], [2, 1])
        assert stream.result() == near(metric(y, p, [1, 1, 2, 1]))


def test_streams_keep_no_views(rng):
    """A caller may use its buffers again, and ask for the result at any time."""
    for name in ("auc", "r2", errors_of_rows, weighted_error):
        y, p, w = rng.integers(0, 2, 8) * 1.0, rng.random(8), rng.random(8)
        metric = metrics.get(name)
        wanted = metric(y, p, w)
        stream = metric.stream()
        stream.update(y, p, w)
        for buffer in (y, p, w):
            buffer[:] = buffer[::-1].copy() + 1
        assert stream.result() == wanted == stream.result()
        stream.update(y - 1, p, w)
        assert stream.result() != wanted


def test_a_failed_update_changes_nothing():
    for name in ("accuracy", "f1", "auc", "mse"):
        stream = metrics.get(name).stream()
        stream.update([0, 1, 1], [0.25, 0.75, 0.125])
        before = stream.result()
        with pytest.raises(ValueError, match=r"y_true has shape \(2,\) and y_pred \(3,\)"):
            stream.update([0, 1], [0.1, 0.2, 0.3])
        with pytest.raises(ValueError, match=r"accepted are the axes of the blocks before"):
            stream.update([[0, 1]], [[0.5, 0.25]])
        assert stream.result() == before


# ---- Arrays --------------------------------------------------------------------------------------


def test_shapes_that_are_alike():
    """(n,) and (n, 1) are the same everywhere; nothing becomes n x n."""
    y, p = np.array([0, 1, 1, 0]), np.array([0.25, 0.75, 0.125, 0.5])
    for name in [*metrics.names(), largest_error, errors_of_rows]:
        if "categorical" in str(name):
            continue
        metric = metrics.get(name)
        found = {metric(a, b) for a in (y, y[:, None]) for b in (p, p[:, None])}
        assert len(found) == 1
    p = np.eye(3)[[0, 1, 1, 2]]
    for name in ("accuracy", "sparse_categorical_accuracy", "f1"):
        assert metrics.get(name)(y[:, None], p) == metrics.get(name)(y, p)
    assert metrics.get("categorical_accuracy")([[0, 1, 0]], [[0.25, 0.5, 0.25]]) == 1.0


def test_types_of_arrays(rng):
    y, p = draw("sparse", rng, 20)
    wanted = metrics.get("accuracy")(y, p)
    one_hot = np.eye(4)[y]
    for kind in (np.int8, np.uint8, np.uint64, np.float32, ">i4", ">f8"):
        assert metrics.get("accuracy")(y.astype(kind), p.astype(np.float32)) == wanted
        assert metrics.get("accuracy")(one_hot.astype(kind), p) == wanted
        assert metrics.get("mse")(one_hot.astype(kind), p) == metrics.get("mse")(one_hot, p)
        assert metrics.get("r2")(y.astype(kind), p[:, 0]) == metrics.get("r2")(y, p[:, 0])
    assert metrics.get("accuracy")(one_hot.astype(bool), np.asfortranarray(p)) == wanted
    assert metrics.get("accuracy")(np.repeat(y, 2)[::2], np.repeat(p, 2, axis=1)[:, ::2]) == wanted
    assert metrics.get("mae")([True, False], [False, False]) == 0.5
    y = np.array([0, 1], np.uint8)
    assert metrics.get("mae")(y, np.array([1, 0], np.uint8)) == 1.0  # no wrap-around
    assert metrics.get("accuracy")(y.tolist(), [0.1, 0.9]) == 1.0

    class Frame:
        """What a DataFrame and a tensor are to NumPy."""

        def __array__(self, dtype=None, copy=None):
            return np.array([0.1, 0.9], dtype)

    assert metrics.get("accuracy")(y, Frame()) == 1.0


@pytest.mark.parametrize(
    ("name", "y", "p", "message"),
    [
        ("mse", [1.0] * 3, [[1.0, 2.0]] * 3, r"y_true has shape \(3,\) and y_pred \(3, 2\)"),
        ("mse", [1.0] * 3, [1.0] * 4, r"accepted are as many targets as rows"),
        ("mse", 1.0, [1.0] * 4, r"y_true has shape \(\) and y_pred \(4,\)"),
        ("mse", 1.0, 1.0, r"y_pred is the number 1\.0"),
        ("acc", [0, 1], [[0.5, 0.5], [1.0]], r"acc: y_pred is no array: .*inhomogeneous"),
        ("accuracy", [0, 2], [0.5, 0.6], r"y_true holds 2 in row 1; accepted are 0 and 1, or -1"),
        ("accuracy", [0, -1, 1], [0.5] * 3, r"y_true holds -1 in row 1; accepted are 0 and"),
        ("acc", [0.0, np.nan], [0.5, 0.6], r"acc: y_true holds nan in row 1"),
        ("accuracy", [0, 3], np.eye(3)[:2], r"y_true holds 3 in row 1; .* numbers 0 to 2, as y_p"),
        ("accuracy", [0, -1], np.eye(3)[:2], r"y_true holds -1 in row 1"),
        ("accuracy", [0.5, 1.0], np.eye(3)[:2], r"y_true holds 0\.5 in row 0"),
        ("accuracy", [0.0, np.nan], np.eye(3)[:2], r"y_true holds nan in row 1"),
        ("accuracy", [0.0, 1e300], np.eye(3)[:2], r"y_true holds 1e\+300 in row 1"),
        ("accuracy", np.eye(2), np.eye(3)[:2], r"accepted are class numbers, \(2,\)"),
        ("categorical_accuracy", [0, 1], np.eye(3)[:2], r"accepted are one-hot rows shaped like"),
        ("categorical_accuracy", [[1, 1], [0, 1]], np.eye(2), r"row 0 of y_true is \[1 1\]"),
        ("categorical_accuracy", [0, 1], [0.5, 0.6], r"y_pred has shape \(2,\); .*binary_accuracy"),
        ("precision", [[0, 0, 0]], [[0.5, 0.25, 0.25]], r"rows that sum to 1 .*a threshold"),
        ("f1", [0, 1], np.zeros((2, 2, 2)), r"y_pred has shape \(2, 2, 2\)"),
        ("recall", [0, 5], [0.5, 0.6], r"recall: y_true holds 5 in row 1"),
        ("auc", [0, 1], np.eye(3)[:2], r"accepted as y_pred are \(rows,\), \(rows, 1\) and"),
        ("auc", [0, 2], np.eye(2), r"auc: y_true holds 2 in row 1"),
        ("top_k_categorical_accuracy", np.eye(3), np.eye(3), r"k is 5, but there are 3 classes"),
    ],
)
def test_arrays_that_do_not_fit(name, y, p, message):
    with pytest.raises(ValueError, match=message):
        metrics.get(name)(y, p)


def test_arrays_of_other_types():
    for values in (["no", "yes"], [1j, 2j], [None, 1.0], np.array([0, 1], np.float16)):
        with pytest.raises(
            TypeError, match=r"accuracy: y_true is of type .*; accepted are float32"
        ):
            metrics.get("accuracy")(values, [0.1, 0.2])
        with pytest.raises(TypeError, match=r"mse: y_pred is of type"):
            metrics.get("mse")([0.0, 1.0], values)
    with pytest.raises(TypeError, match=r"np\.unique\(y, return_inverse=True\)\[1\] makes class"):
        metrics.get("accuracy")(["no", "yes"], [0.1, 0.2])
    for weights in ([1.0], [[1.0, 2.0]], 1.0):
        with pytest.raises(ValueError, match=r"sample_weight has shape .*one weight a row: \(2,\)"):
            metrics.get("mse")([0.0, 1.0], [0.0, 1.0], weights)


# ---- Callables -----------------------------------------------------------------------------------


def test_callables_see_whole_sets():
    seen = []

    def look(y_true, y_pred, sample_weight=None):
        seen.append((y_true.copy(), y_pred.copy(), sample_weight))
        return np.float32(0.5)

    stream = metrics.get(look).stream()
    stream.update(np.array([0, 1]), np.array([[0.5], [0.25]], np.float32))
    stream.update(np.array([1]), np.array([[0.75]], np.float32), np.array([2.0], np.float32))
    assert seen == []
    assert stream.result() == 0.5
    y_true, y_pred, weights = seen[0]
    assert (y_true.shape, y_pred.dtype) == ((3, 1), np.float32)
    np.testing.assert_array_equal(y_pred[:, 0], [0.5, 0.25, 0.75])
    np.testing.assert_array_equal(weights, [1.0, 1.0, 2.0])
    metrics.get(look)([0, 1], np.eye(2))
    assert (seen[1][0].shape, seen[1][2]) == ((2,), None)  # class numbers stay what they are


def test_results_of_callables():
    y, p = [0.0, 1.0, 2.0], [0.5, 0.5, 0.5]
    for result in (2, np.float32(2), np.array([2.0]), np.array([[2]]), True + 1):
        assert metrics.get(lambda *_, r=result: r)(y, p) == 2.0
    assert metrics.get(lambda a, b: np.array([b]))([0.0], [0.5], [3]) == 0.5  # one row, one value
    assert metrics.get(lambda a, b: a - b)(y, p, [0, 0, 0]) == 0.0
    for result in (None, "2", 2j):
        with pytest.raises(TypeError, match=r"the function returned .*accepted is a real number"):
            metrics.get(lambda *_, r=result: r)(y, p)
    with pytest.raises(ValueError, match=r"returned an array of shape \(2,\)"):
        metrics.get(lambda *_: [1.0, 2.0])(y, p)
    with pytest.raises(ValueError, match=r"largest_error: .*a parameter sample_weight, or return"):
        metrics.get(largest_error)(y, p, [1, 1, 1])


def test_losses_are_metrics():
    huber = metrics.get(gd.losses.get("huber", delta=0.5))
    y, p, w = np.array([0.0, 1.0, 3.0]), np.array([0.5, 0.5, 0.5]), np.array([1.0, 2.0, 1.0])
    assert huber.name == "huber"
    assert repr(huber) == "Function(gd.losses.get('huber', delta=0.5))"
    assert blocks(huber, [1, 2], y, p, w) == huber.function(y, p, w)
    with pytest.raises(ValueError, match=r"'huber' is unknown.*give gd\.losses\.get\('huber'\)"):
        metrics.get("huber")


# ---- Names, settings, objects --------------------------------------------------------------------

ALL = [
    *map(metrics.get, metrics.names()),
    metrics.BinaryAccuracy(0.25, name="lenient"),
    metrics.TopKCategoricalAccuracy(3),
    metrics.SparseTopKCategoricalAccuracy(k=2),
    metrics.Precision(threshold=0.7, average="micro"),
    metrics.F1Score(average="weighted"),
    metrics.Function(largest_error),
    metrics.Function(largest_error, name="worst"),
]


@pytest.mark.parametrize("metric", ALL, ids=repr)
def test_objects(metric):
    made = eval(repr(metric), {**vars(metrics), "largest_error": largest_error})
    copies = [made, pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric)]
    for other in copies:
        assert other == metric
        assert hash(other) == hash(metric)
        assert (other.name, repr(other)) == (metric.name, repr(metric))
    assert metrics.get(metric) is metric
    assert sum(metric == other for other in ALL) == (2 if "largest_error" in repr(metric) else 1)
    with pytest.raises(AttributeError):
        metric.name = "x"
    with pytest.raises(TypeError, match=r"has its settings; for others make another one"):
        metrics.get(metric, name="x")


def test_reprs():
    assert repr(metrics.get("f1_micro")) == (
        "F1Score(threshold=None, average='micro', name='f1_micro')"
    )
    assert repr(metrics.BinaryAccuracy()) == "BinaryAccuracy(threshold=0.5)"
    assert repr(metrics.AUC()) == "AUC()"
    assert repr(metrics.get(largest_error)) == "Function(largest_error)"


def test_names_of_keras_and_scikit_learn():
    same = [
        "accuracy acc Accuracy accuracy_score",
        "binary_accuracy BinaryAccuracy",
        "categorical_accuracy CategoricalAccuracy",
        "sparse_categorical_accuracy SparseCategoricalAccuracy",
        "top_k_categorical_accuracy TopKCategoricalAccuracy",
        "sparse_top_k_categorical_accuracy SparseTopKCategoricalAccuracy",
        "precision Precision precision_score precision_macro",
        "recall Recall recall_score recall_macro",
        "f1 F1 f1_score F1Score f1_macro",
        "auc AUC roc_auc roc_auc_score",
        "mae MAE mean_absolute_error MeanAbsoluteError",
        "mse MSE mean_squared_error MeanSquaredError",
        "rmse RMSE root_mean_squared_error RootMeanSquaredError",
        "r2 R2 r2_score R2Score",
    ]
    assert [row.split()[0] for row in same] == metrics.names()
    for row in same:
        for name in row.split():
            assert metrics.get(name) == metrics.get(row.split()[0])
            assert metrics.get(name).name == name
            if name.islower():
                assert getattr(metrics, name) == metrics.get(name)
                assert name in dir(metrics)
    assert metrics.MeanSquaredError().name == "mean_squared_error"
    assert metrics.get(metrics.Precision, threshold=0.25).threshold == 0.25
    assert metrics.get("recall_weighted").average == "weighted"
    assert metrics.get("f1_micro", average="macro").average == "macro"


def test_names_of_callables():
    assert metrics.get(largest_error).name == "largest_error"
    assert metrics.get(lambda y_true, y_pred: 0).name == "<lambda>"
    assert metrics.get(largest_error, name="worst").name == "worst"

    class Scorer:
        def __call__(self, y_true, y_pred):
            return 0.0

    assert metrics.get(Scorer()).name == "Scorer"


@pytest.mark.parametrize(
    ("error", "make", "message"),
    [
        (ValueError, lambda: metrics.get("acuracy"), r"'acuracy' is unknown.*mean 'accuracy'\?"),
        (ValueError, lambda: metrics.get("roc"), r"metric 'roc' is unknown; accepted: accuracy,"),
        (TypeError, lambda: metrics.get(3), r"metric is 3; accepted is one of accuracy,"),
        (TypeError, lambda: metrics.get(int), r"function is <class 'int'>.*that is no class"),
        (TypeError, lambda: metrics.Function("mse"), r"function is 'mse'"),
        (TypeError, lambda: metrics.get("mse", k=3), r"unknown argument k=; accepted: MeanSq"),
        (TypeError, lambda: metrics.Precision(thresholds=0.3), r"did you mean threshold=\?"),
        (TypeError, lambda: metrics.BinaryAccuracy("0.5"), r"threshold is '0\.5'; accepted"),
        (
            ValueError,
            lambda: metrics.BinaryAccuracy(math.nan),
            r"threshold is nan; accepted is a f",
        ),
        (ValueError, lambda: metrics.Recall(threshold=math.inf), r"threshold is inf"),
        (ValueError, lambda: metrics.TopKCategoricalAccuracy(0), r"k is 0; accepted is an integer"),
        (TypeError, lambda: metrics.TopKCategoricalAccuracy(2.0), r"k is 2\.0"),
        (ValueError, lambda: metrics.F1Score(average="mean"), r"average is 'mean'; .*'weighted'"),
        (TypeError, lambda: metrics.F1Score(average=None), r"average is None"),
        (TypeError, lambda: metrics.AUC(name=3), r"name is 3; accepted is a string"),
        (AttributeError, lambda: metrics.acuracy, r"no attribute 'acuracy'; did you mean 'accura"),
    ],
)
def test_names_and_settings_that_are_not_accepted(error, make, message):
    with pytest.raises(error, match=message):
        make()


# ---- Beside a loss -------------------------------------------------------------------------------

CONTEXTS = {
    "sparse": "sparse_categorical_crossentropy multiclass_hinge multi_margin",
    "rows": "categorical_crossentropy kl_divergence categorical_hinge "
    "categorical_focal_crossentropy",
    "yes or no": "binary_crossentropy binary_focal_crossentropy",
    "margin": "hinge squared_hinge perceptron modified_huber",
    "values": "mse half_mse mae huber log_cosh quantile epsilon_insensitive "
    "squared_epsilon_insensitive poisson poisson_log_rate gamma tweedie gaussian_nll "
    "cosine_similarity",
}
ACCURACIES = {
    "sparse": "SparseCategoricalAccuracy(name='acc')",
    "rows": "CategoricalAccuracy(name='acc')",
    "yes or no": "BinaryAccuracy(threshold=0.5, name='acc')",
    "margin": "BinaryAccuracy(threshold=0.0, name='acc')",
}


def test_accuracy_beside_every_loss():
    listed = [name for names in CONTEXTS.values() for name in names.split()]
    assert sorted(listed) == sorted(gd.losses.names())
    for kind, names in CONTEXTS.items():
        for name in names.split():
            loss_kind, meaning = _metric.context(gd.losses.get(name))
            if kind == "values":
                with pytest.raises(ValueError, match=r'acc: the loss .* fit it are "mae", "mse"'):
                    metrics.get("acc").resolve(loss_kind, 2, meaning)
            else:
                found = metrics.get("acc").resolve(loss_kind, 2, meaning)
                assert repr(found) == ACCURACIES[kind]
    assert _metric.context(largest_error) == ("other", "probability")


def test_accuracy_beside_a_loss_of_the_users():
    assert metrics.get("acc").resolve("other", 1, "probability") == metrics.BinaryAccuracy()
    metric = metrics.get("acc").resolve("other", 3, "probability")
    assert metric == metrics.Accuracy()
    assert metric([0, 1], np.eye(3)[:2]) == metric(np.eye(3)[:2], np.eye(3)[:2]) == 1.0


@pytest.mark.parametrize(
    ("name", "settings", "where", "message"),
    [
        ("accuracy", {}, ("sparse", 1, "probability"), "there is 1 output"),
        ("binary_accuracy", {}, ("sparse", 3, "probability"), '"sparse_categorical_accuracy"'),
        ("categorical_accuracy", {}, ("sparse", 3, "margin"), '"sparse_categorical_accuracy"'),
        ("categorical_accuracy", {}, ("pointwise", 1, "probability"), '"binary_accuracy"'),
        ("sparse_categorical_accuracy", {}, ("rows", 3, "probability"), '"categorical_accuracy"'),
        ("sparse_categorical_accuracy", {}, ("pointwise", 3, "value"), '"categorical_accuracy"'),
        ("top_k_categorical_accuracy", {}, ("sparse", 9, "probability"), '"sparse_top_k_cat'),
        ("sparse_top_k_categorical_accuracy", {}, ("rows", 9, "margin"), '"top_k_categorical'),
        ("top_k_categorical_accuracy", {}, ("rows", 3, "probability"), "k is 5, but there are 3"),
        ("precision", {"threshold": 0.5}, ("sparse", 3, "probability"), "accepted is None"),
        ("f1", {}, ("sparse", 1, "probability"), "there is 1 output"),
        ("auc", {}, ("sparse", 3, "probability"), "there are 3 outputs; accepted is 1, or 2"),
        ("auc", {}, ("pointwise", 2, "probability"), "there are 2 outputs"),
        ("auc", {}, ("sparse", 2, "margin"), "there are 2 outputs"),
        ("mse", {}, ("sparse", 3, "probability"), 'beside it are "accuracy"'),
        ("r2", {}, ("sparse", 3, "probability"), "which have no difference"),
        ("mse", {}, ("dense", 3, "probability"), "loss_kind is 'dense'; accepted are sparse,"),
        ("mse", {}, ("rows", 3, "logit"), "meaning is 'logit'; accepted are probability,"),
        ("mse", {}, ("rows", 0, "value"), "outputs is 0; accepted is an integer >= 1"),
    ],
)
def test_metrics_that_do_not_fit_the_loss(name, settings, where, message):
    with pytest.raises(ValueError, match=message):
        metrics.get(name, **settings).resolve(*where)


def test_metrics_that_fit_the_loss():
    get = metrics.get
    fits = [
        ("f1_micro", "sparse", 3, "probability", get("f1_micro")),
        ("f1", "rows", 3, "margin", get("f1")),
        ("f1", "pointwise", 1, "probability", get("f1", threshold=0.5)),
        ("precision_micro", "pointwise", 3, "margin", get("precision_micro", threshold=0.0)),
        ("binary_accuracy", "pointwise", 1, "value", get("binary_accuracy")),
        ("categorical_accuracy", "pointwise", 3, "value", get("categorical_accuracy")),
        ("auc", "pointwise", 1, "margin", get("auc")),
        ("auc", "sparse", 2, "probability", get("auc")),
        ("mse", "rows", 3, "probability", get("mse")),
        ("rmse", "other", np.int64(3), "value", get("rmse")),
        (largest_error, "sparse", 3, "value", get(largest_error)),
    ]
    for name, loss_kind, outputs, meaning, wanted in fits:
        found = get(name).resolve(loss_kind, outputs, meaning)
        assert (found, found.name) == (wanted, wanted.name)


def test_targets_are_checked_before_a_fit():
    y = np.zeros(_metric.BLOCK + 2)
    metrics.get("accuracy").check(y, 1)
    metrics.get("auc").check(y, 2)
    metrics.get(largest_error).check(y, 2)
    metrics.get("mse").check(0.0, 1)
    y[-1] = 3
    for name, outputs in (("accuracy", 1), ("f1", 1), ("auc", 1), ("f1", 3), ("accuracy", 3)):
        with pytest.raises(ValueError, match=r"y_true holds 3\.0 in row 1"):
            metrics.get(name).check(y, outputs)
    with pytest.raises(ValueError, match=r"y_true has shape"):
        metrics.get("r2").check(y, 2)
