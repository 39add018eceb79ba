"""The history of a fit: what is appended is there, how it prints, its table and its pictures."""

import copy
import html.parser
import io
import math
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gdcore._pictures_training import decision_regions, gradient_flow, history, lr_finder
from gdcore.history import History


def recorded(epochs=3, batches=4):
    """A history of `epochs` epochs that get better, with a record of statistics in each."""
    h = History(param_names=["dense.W", "dense.b", "out.W", "out.b"], unit_names=["relu"])
    for epoch in range(epochs):
        loss = 2.0**-epoch
        h.append_batches(np.full(batches, loss), np.full(batches, 10 * loss))
        h.append_statistics(
            [epoch * batches],
            {"grad_norm": [[3 * loss, 4 * loss, 0.6, 0.8]], "zero_fraction": [[0.25]]},
        )
        columns = {"loss": [loss], "accuracy": [1 - loss / 2], "val_loss": [loss + epoch / 8]}
        h.append_epochs([epoch], columns, [0.1])
    return h


# ---- What fit appends ----


def test_what_is_appended_is_there():
    h = recorded()
    assert h.history == {
        "loss": [1.0, 0.5, 0.25],
        "accuracy": [0.5, 0.75, 0.875],
        "val_loss": [1.0, 0.625, 0.5],
    }
    assert (h.epoch, h.lrs, h.skipped) == ([0, 1, 2], [0.1] * 3, 0)
    np.testing.assert_array_equal(h.batch_losses, np.repeat([1, 0.5, 0.25], 4))
    np.testing.assert_array_equal(h.batch_grad_norms, 10 * h.batch_losses)
    np.testing.assert_array_equal(h.statistics_steps, [0, 4, 8])
    assert h.statistics["grad_norm"].shape == (3, 4)
    assert h.statistics["zero_fraction"].shape == (3, 1)
    assert all(isinstance(value, float) for values in h.history.values() for value in values)


def test_epochs_at_once_are_as_one_by_one():
    losses, norms = np.random.default_rng(0).random((2, 700))
    at_once, single = History(), History()
    at_once.append_epochs(range(5, 75), {"loss": losses[:70]}, norms[:70])
    at_once.append_batches(losses, norms, skipped=3)
    for k in range(70):
        batch = slice(10 * k, 10 * k + 10)
        single.append_batches(losses[batch].tolist(), norms[batch], skipped=k < 3)
        single.append_epochs([5 + k], {"loss": [losses[k]]}, [norms[k]])
    for name in ("history", "epoch", "lrs", "skipped"):
        assert getattr(at_once, name) == getattr(single, name)
    np.testing.assert_array_equal(at_once.batch_losses, single.batch_losses)
    np.testing.assert_array_equal(at_once.batch_grad_norms, single.batch_grad_norms)
    assert at_once.skipped == 3


def test_arrays_are_copied_read_only_and_stay_as_they_are():
    h, losses = History(), np.ones(3)
    h.append_batches(losses, losses)
    losses[:] = 7.0
    early = h.batch_losses
    assert early.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        early[0] = 2.0
    for _ in range(50):
        h.append_batches(losses, losses)
    assert early.tolist() == [1, 1, 1]
    assert len(h.batch_losses) == 153


def test_a_name_that_an_epoch_did_not_measure_is_nan_there():
    h = History()
    h.append_epochs(range(2), {"loss": [3.0, 2.0]}, [0.1, 0.1])
    h.append_epochs(range(2, 3), {"loss": [1.0], "val_loss": [1.5]}, [0.1])
    h.append_epochs(range(3, 4), {"loss": [0.5]}, [0.1])
    np.testing.assert_array_equal(h.history["val_loss"], [math.nan, math.nan, 1.5, math.nan])
    assert {len(values) for values in h.history.values()} == {4}


@pytest.mark.parametrize(
    ("columns", "lrs", "name"),
    [({"loss": [1.0]}, [0.1, 0.1], "loss"), ({"loss": [1.0, 2.0]}, [0.1], "lrs")],
)
def test_columns_of_other_lengths_are_refused_and_change_nothing(columns, lrs, name):
    h = recorded()
    with pytest.raises(ValueError, match=f"{name} has 1 values for 2 epochs"):
        h.append_epochs(range(2), columns, lrs)
    assert (h.epoch, len(h.history["loss"]), len(h.lrs)) == ([0, 1, 2], 3, 3)


def test_records_of_other_widths_are_refused():
    h = recorded()
    with pytest.raises(ValueError, match=r"rows of \(2,\) found, of \(4,\) accepted"):
        h.append_statistics([99], {"grad_norm": [[1.0, 2.0]]})


def test_copies_hold_all_and_go_on_by_themselves():
    h = recorded()
    for other in (copy.deepcopy(h), pickle.loads(pickle.dumps(h))):
        assert repr(other) == repr(h)
        assert other.param_names == h.param_names
        np.testing.assert_array_equal(other.statistics["grad_norm"], h.statistics["grad_norm"])
        other.append_epochs([3], {"loss": [0.1]}, [0.1])
        other.append_batches([0.1], [0.1])
        other.append_statistics([12], {"grad_norm": [[1, 1, 1, 1]]})
        assert len(other.batch_losses) == 13
        assert other.statistics_steps.tolist() == [0, 4, 8, 12]
    assert (len(h.epoch), len(h.batch_losses), len(h.statistics_steps)) == (3, 12, 3)


# ---- How it prints ----


def test_repr_tells_ends_and_the_best_epoch():
    h = History()
    columns = {"loss": [2.0, 1 / 3, 0.5], "val_accuracy": [0.5, 0.9, 0.8], "gap": [1.0, 2.0, 3.0]}
    h.append_epochs(range(3), columns, [0.1, 0.1, 0.01])
    h.append_batches([1.0], [1.0], skipped=1)
    assert repr(h).splitlines() == [
        "History of 3 epochs, 1 batch, 1 skipped",
        "          loss  2 -> 0.5, best 0.3333 in epoch 1",
        "  val_accuracy  0.5 -> 0.8, best 0.9 in epoch 1",
        "           gap  1 -> 3",
        "            lr  0.1 -> 0.01",
    ]
    assert repr(History()) == "History of 0 epochs, 0 batches"


def test_the_best_epoch_is_never_one_of_nan():
    h = History()
    h.append_epochs(range(3), {"loss": [math.nan, 2.0, 3.0]}, [0.1] * 3)
    assert "best 2 in epoch 1" in repr(h)
    lost = History()
    lost.append_epochs(range(2), {"loss": [math.nan] * 2}, [0.1] * 2)
    assert "best" not in repr(lost) + lost._repr_html_()


class Table(html.parser.HTMLParser):
    """Cells by row, and every tag that was opened."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_the_table_has_first_best_and_last_epoch():
    h = History()
    h.append_epochs(range(20_000, 20_003), {"loss": [3, 2, 1], "val_loss": [3, 1, 2]}, [0.1] * 3)
    table = Table(h._repr_html_())
    assert table.rows == [
        ["", "epoch", "loss", "val_loss", "lr"],
        ["first", "20000", "3", "3", "0.1"],
        ["best val_loss", "20001", "2", "1", "0.1"],
        ["last", "20002", "1", "2", "0.1"],
    ]
    assert "History of 3 epochs" in h._repr_html_()
    assert Table(History()._repr_html_()).rows == []


def test_names_in_the_table_are_escaped_and_nothing_is_loaded():
    h = History()
    name = "<img src=x onerror=alert(1)> & \"'"
    h.append_epochs([0], {name: [0.5], "loss": [1.0]}, [0.1])
    table = Table(h._repr_html_())
    assert {tag for tag, _ in table.tags} <= {"div", "table", "thead", "tbody", "tr", "th", "td"}
    assert all(attrs == [] for _, attrs in table.tags)
    assert name in table.rows[0]


def test_to_pandas_has_a_row_per_epoch():
    pandas = pytest.importorskip("pandas")
    frame = recorded().to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.columns.tolist() == ["loss", "accuracy", "val_loss", "lr"]
    assert (frame.index.name, frame.index.tolist()) == ("epoch", [0, 1, 2])
    assert frame["val_loss"].tolist() == [1.0, 0.625, 0.5]


def test_to_pandas_gives_pandas_the_columns_and_the_index(monkeypatch):
    fake = SimpleNamespace(
        DataFrame=lambda columns, index: (columns, index),
        Index=lambda values, name: (values, name),
    )
    monkeypatch.setitem(sys.modules, "pandas", fake)
    h = recorded()
    assert h.to_pandas() == ({**h.history, "lr": h.lrs}, ([0, 1, 2], "epoch"))


def test_without_pandas_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_pandas needs pandas: pip install pandas"):
        recorded().to_pandas()


# ---- Pictures ----


@pytest.fixture
def plt():
    """Matplotlib; a picture makes at most the figure that it returns, and changes no setting."""
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="the pictures need Matplotlib")
    pyplot.close("all")
    settings = dict(pyplot.rcParams)
    yield pyplot
    pyplot.close("all")
    assert dict(pyplot.rcParams) == settings


def draw(display):
    """Render a picture in full, which also tests that Matplotlib warns of nothing."""
    display.figure.savefig(io.BytesIO(), format="png", dpi=40)
    return display


def ys(artist):
    return np.asarray(artist.get_ydata(), float)


def labels(ax):
    legend = ax.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def found(**changed):
    rates = np.geomspace(1e-4, 1.0, 5)
    losses = np.array([2.0, 1.9, 1.0, 0.5, 80.0])
    given = {"lrs": rates, "losses": losses, "smoothed": losses + 0.1, "suggestion": 0.01}
    return SimpleNamespace(**{**given, **changed})


class Circle:
    """Class 1 outside of the unit circle."""

    def predict(self, X):
        return (X**2).sum(axis=1, keepdims=True) - 0.5


PICTURES = {
    "history": lambda ax: recorded().plot(ax),
    "gradient_flow": lambda ax: gradient_flow(recorded(), ax),
    "lr_finder": lambda ax: lr_finder(found(), ax),
    "decision_regions": lambda ax: decision_regions(Circle(), [[0, 0], [1, 1]], [0, 1], ax),
}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_axes_are_labelled_and_used_or_made(picture, plt):
    ax = plt.figure(layout="constrained").add_subplot()
    given = draw(picture(ax))
    assert given.ax is ax
    assert len(plt.get_fignums()) == 1
    made = draw(picture(None))
    assert len(plt.get_fignums()) == 2
    bare = draw(picture(plt.figure().add_axes((0.2, 0.2, 0.7, 0.7))))  # in no grid
    for display in (given, made, bare):
        axes = display.figure.axes
        assert any(axis.get_xlabel() for axis in axes)
        assert display.ax.get_ylabel()
        assert all(artist.axes in axes for artist in display.artists.values())
    with pytest.raises(TypeError, match="ax is Figure; accepted are Matplotlib Axes"):
        picture(ax.figure)


def test_history_draws_the_curves_with_validation_dashed(plt):
    h = recorded(5)
    display = draw(h.plot())
    for name, values in h.history.items():
        line = display.artists[name]
        assert line.get_xdata().tolist() == h.epoch
        assert ys(line).tolist() == values
        assert line.get_linestyle() == ("--" if name.startswith("val_") else "-")
    loss, validation, accuracy = (display.artists[k] for k in ("loss", "val_loss", "accuracy"))
    assert loss.axes is validation.axes is display.ax
    assert accuracy.axes is not loss.axes
    assert loss.get_color() == validation.get_color()
    assert labels(display.ax) == ["loss", "val_loss"]
    assert [ax.get_ylabel() for ax in display.figure.axes] == ["loss", "accuracy"]
    assert display.figure.axes[-1].get_xlabel() == "epoch"
    assert "lr" not in display.artists


def test_rates_that_change_have_small_axes_of_their_own(plt):
    h = History()
    h.append_epochs(range(3), {"loss": [3.0, 2.0, 1.0]}, [0.1, 0.01, 1e-5])
    display = draw(history(h))
    rates = display.artists["lr"]
    assert ys(rates).tolist() == [0.1, 0.01, 1e-5]
    assert rates.axes.get_yscale() == "log"
    assert rates.axes.get_position().height < 0.5 * display.ax.get_position().height
    assert rates.axes.get_xlim() == display.ax.get_xlim()


def test_panels_share_the_place_of_the_axes_they_were_given(plt):
    h = recorded()
    h.lrs[-1] = 0.01
    figure, (left, right) = plt.subplots(1, 2)
    h.plot(left)
    assert len(figure.axes) == 4
    for panel in figure.axes:
        if panel is not right:
            assert panel.get_position().x1 < right.get_position().x0


def test_losses_over_decades_have_a_logarithmic_axis(plt):
    h = History()
    h.append_epochs(range(9), {"loss": 10.0 ** -np.arange(9)}, [0.1] * 9)
    assert draw(h.plot()).ax.get_yscale() == "log"
    assert draw(recorded().plot()).ax.get_yscale() == "linear"


def test_what_is_not_finite_is_marked(plt):
    h = History()
    h.append_epochs(range(4), {"loss": [1.0, 1e200, math.inf, math.nan]}, [0.1] * 4)
    display = draw(h.plot())
    assert display.artists["loss not finite"].get_xdata().tolist() == [2, 3]
    assert labels(display.ax) == ["loss (overflows at epoch 2)"]


def test_a_single_epoch_can_be_seen(plt):
    assert draw(recorded(1).plot()).artists["loss"].get_marker() == "."


def test_a_history_without_epochs_has_no_picture(plt):
    with pytest.raises(ValueError, match="no epoch that ended"):
        History().plot()
    with pytest.raises(ValueError, match="no record of gradient norms"):
        gradient_flow(History())
    assert plt.get_fignums() == []


def test_gradient_flow_takes_the_arrays_of_a_layer_together(plt):
    display = draw(gradient_flow(recorded()))
    np.testing.assert_allclose(ys(display.artists["dense"]), [5.0, 2.5, 1.25], rtol=1e-15)
    np.testing.assert_allclose(ys(display.artists["out"]), [1.0, 1.0, 1.0], rtol=1e-15)
    np.testing.assert_allclose(ys(display.artists["last record"]), [1.25, 1.0], rtol=1e-15)
    assert display.artists["dense"].get_xdata().tolist() == [0, 4, 8]
    assert display.artists["last record"].axes is not display.ax
    assert display.ax.get_yscale() == "log"
    names = [text.get_text() for text in display.artists["last record"].axes.get_xticklabels()]
    assert names == ["dense", "out"]


def test_gradient_flow_marks_dead_and_lost_layers(plt):
    h = History(param_names=[f"dense_{k}/kernel" for k in range(12)])
    norms = np.geomspace(1e-9, 1, 12) * np.ones((3, 1))
    norms[:, 0], norms[2, 4] = 0.0, math.nan
    h.append_statistics([0, 10, 20], {"grad_norm": norms})
    display = draw(gradient_flow(h))
    assert np.isnan(ys(display.artists["dense_0"])).all()
    crosses = [line for line in display.ax.get_lines() if line.get_marker() == "x"]
    assert [(ys(line).tolist(), line.get_xdata().tolist()) for line in crosses] == [
        ([0, 0, 0], [0, 10, 20]),
        ([1], [20]),
    ]
    assert labels(display.ax) == ["dense_0", "dense_2", "dense_5", "dense_8", "dense_11"]


def test_gradients_that_are_all_zero_draw(plt):
    h = History(param_names=["a.W"])
    h.append_statistics([0], {"grad_norm": [[0.0]]})
    draw(gradient_flow(h))


def test_lr_finder_marks_the_suggestion_on_the_smoothed_curve(plt):
    display = draw(lr_finder(found()))
    mark = display.artists["suggestion"]
    np.testing.assert_allclose([mark.get_xdata()[0], ys(mark)[0]], [0.01, 1.1], rtol=1e-12)
    assert labels(display.ax) == ["loss", "smoothed loss", "suggestion 0.01"]
    assert display.ax.get_xscale() == "log"
    low, high = display.ax.get_ylim()
    assert low < 0.5
    assert 2.1 < high < 3.0  # not 80


def test_lr_finder_without_suggestion_or_losses(plt):
    losses = [2.0, 1.0, 0.5, math.inf, math.nan]
    display = draw(lr_finder(found(losses=losses, smoothed=losses, suggestion=None)))
    assert list(display.artists) == ["loss", "smoothed loss"]
    with pytest.raises(ValueError, match="no rate has a finite loss"):
        lr_finder(found(losses=[math.nan] * 5, smoothed=[math.nan] * 5))


def classes_at(display, *points):
    """Numbers of the colours at points of a map of regions."""
    image = display.artists["regions"]
    places, (x0, x1, y0, y1) = np.asarray(image.get_array()), image.get_extent()
    rows, columns = places.shape
    return [
        int(places[int((y - y0) / (y1 - y0) * rows), int((x - x0) / (x1 - x0) * columns)])
        for x, y in points
    ]


SQUARE = np.array([[-2.0, -2.0], [2.0, -2.0], [-2.0, 2.0], [2.0, 2.0]])
MODELS = {
    "one output": ([0, 1, 1, 1], SimpleNamespace(predict=lambda X: (X.sum(1) > -1) * 0.9)),
    "a column": ([0, 1, 1, 1], SimpleNamespace(predict=lambda X: (X.sum(1) > -1)[:, None] * 1.0)),
    "scores": (
        [0, 1, 1, 1],
        SimpleNamespace(predict=lambda X: np.stack([X.sum(1) * 0, X.sum(1) + 1], axis=1)),
    ),
    "-1 and 1": ([-1, 1, 1, 1], SimpleNamespace(predict=lambda X: np.tanh(X.sum(1) + 1))),
    "labels": ([3, 7, 7, 7], SimpleNamespace(predict=lambda X: np.where(X.sum(1) > -1, 7, 3))),
    "texts": (
        ["no", "yes", "yes", "yes"],
        SimpleNamespace(predict=lambda X: np.where(X.sum(1) > -1, "yes", "no")),
    ),
    "chances": (
        ["a", "b", "b", "b"],
        SimpleNamespace(
            classes_=["a", "b"],
            predict_proba=lambda X: np.stack([X.sum(1) <= -1, X.sum(1) > -1], axis=1) * 0.8 + 0.1,
        ),
    ),
    "one-hot": (
        [[1, 0], [0, 1], [0, 1], [0, 1]],
        SimpleNamespace(predict_proba=lambda X: (X.sum(1) > -1)[:, None] * 0.6),
    ),
}


@pytest.mark.parametrize(("y", "model"), MODELS.values(), ids=MODELS)
def test_regions_have_the_class_that_is_predicted_there(y, model, plt):
    display = draw(decision_regions(model, SQUARE, y))
    assert classes_at(display, (-1.5, -1.5), (1.0, -1.5), (1.5, 1.5), (0.0, 0.0)) == [0, 1, 1, 1]
    first, second = list(display.artists.values())[1:]
    assert first.get_xdata().tolist() == [-2.0]
    assert second.get_xdata().tolist() == [2.0, -2.0, 2.0]
    assert first.get_color() != second.get_color()
    assert len(labels(display.ax)) == 2


def test_regions_use_the_type_of_the_model_and_the_names_of_a_table(plt):
    seen = []
    model = SimpleNamespace(
        dtype=np.dtype(np.float32), predict=lambda X: seen.append(X.dtype) or X[:, 0] * 0
    )

    class Frame:
        columns = ("slept", "studied")

        def __array__(self, dtype=None, copy=None):
            return SQUARE

    display = draw(decision_regions(model, Frame(), np.zeros((4, 1))))
    assert seen == [np.float32]
    assert (display.ax.get_xlabel(), display.ax.get_ylabel()) == ("slept", "studied")


def test_regions_of_many_classes(plt):
    y = np.arange(60) % 10
    X = np.stack([np.cos(y), np.sin(y)], axis=1)
    model = SimpleNamespace(predict=lambda X: np.floor(5 + 4.9 * np.tanh(X[:, 0])).astype(int))
    display = draw(decision_regions(model, X, y))
    looks = {(a.get_color(), a.get_marker()) for a in list(display.artists.values())[1:]}
    assert len(looks) == 10


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((4, 3)), np.zeros(4), r"X has shape \(4, 3\); accepted is \(n, 2\)"),
        (np.zeros(4), np.zeros(4), r"X has shape \(4,\)"),
        (np.zeros((0, 2)), np.zeros(0), r"X has shape \(0, 2\)"),
        (SQUARE, np.zeros(3), r"y has shape \(3,\); X has 4 rows"),
        (SQUARE, list("abab"), r"the label 'a' but the model predicts 1; .*np\.unique\(y"),
        (SQUARE, np.array(["a", "b", 0, 1], object), "y holds the label 'a' but the model"),
    ],
)
def test_points_that_cannot_be_drawn_are_refused(X, y, message, plt):
    with pytest.raises(ValueError, match=message):
        decision_regions(Circle(), X, y)
    assert plt.get_fignums() == []
