"""Pictures: what is drawn equals what was given, extreme data draw, errors leave no figure.

Warnings are errors in this suite, so that each `draw` also tests that Matplotlib is content.
"""

import io
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import gdcore as gd
from gdcore.plot import contour, curve, history, path, schedule, surface

plt = pytest.importorskip("matplotlib.pyplot", reason="the pictures need Matplotlib")


@pytest.fixture(autouse=True)
def figures():
    """Figures and settings are as before: a picture makes at most the figure that it returns."""
    plt.close("all")  # those of tests that ran before in this process
    settings = dict(plt.rcParams)
    yield plt.get_fignums
    plt.close("all")
    assert dict(plt.rcParams) == settings


@pytest.fixture
def ax():
    return plt.figure(layout="constrained").add_subplot()


def draw(display):
    """Render a picture in full and return it."""
    display.figure.savefig(io.BytesIO(), format="png", dpi=40)
    return display


def xy(artist):
    return np.asarray(artist.get_xdata(), float), np.asarray(artist.get_ydata(), float)


def labels(display):
    legend = display.ax.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def bowl(x, y):
    return x**2 + 8 * y**2


# ---- Every picture ----

PICTURES = {
    "curve": lambda ax: curve(np.cos, (-3, 3), ax=ax),
    "path": lambda ax: path([3.0, 2.0, 1.5], f=lambda x: x**2, ax=ax),
    "path 2-D": lambda ax: path([(1, 1), (0.5, 0.0)], ax=ax),
    "path on contours": lambda ax: path([(1, 1), (0.5, 0.0)], bowl, ax=ax),
    "contour": lambda ax: contour(bowl, (-1, 1), (-1, 1), ax=ax, points=30),
    "history": lambda ax: history([3.0, 2.0, 1.0], ax=ax),
    "schedule": lambda ax: schedule(gd.schedules.step(0.1, 3), 10, ax=ax),
}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_axes_are_labelled_and_used_or_made(picture, ax, figures):
    given = draw(picture(ax))
    assert given.ax is ax
    assert given.figure is ax.figure
    assert len(figures()) == 1
    made = draw(picture(None))
    assert made.ax is not ax
    assert len(figures()) == 2
    for display in (given, made):
        assert display.ax.get_xlabel()
        assert display.ax.get_ylabel()
        assert display.artists
        assert all(artist.axes is display.ax for artist in display.artists.values())
        assert repr(display) == f"Display({', '.join(display.artists)})"


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_axes_of_another_kind_are_refused(picture, ax):
    with pytest.raises(TypeError, match="ax is Figure; accepted are Matplotlib Axes, such as plt"):
        picture(ax.figure)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "gdcore\[plot\]"'):
        history([1.0, 0.5])


# ---- Curves ----


def test_curve_draws_the_function_and_its_given_derivative(ax):
    display = draw(curve(np.sin, (-2, 3), df=np.cos, ax=ax, points=101))
    x = np.linspace(-2, 3, 101)
    for name, values in (("function", np.sin(x)), ("derivative", np.cos(x))):
        drawn_x, drawn_y = xy(display.artists[name])
        np.testing.assert_array_equal(drawn_x, x)
        np.testing.assert_array_equal(drawn_y, values)
    assert ax.get_xlim() == (-2, 3)
    assert labels(display) == ["function f", "derivative f'"]


def test_curve_finds_the_derivative_by_central_differences(ax):
    display = curve(lambda x: x**6 - 5 * x**4 + 4 * x**2, (-2.1, 2.1), ax=ax)
    x, slope = xy(display.artists["derivative"])
    # Error h^2 f'''/6 + eps f / h, h = 1.3e-5: |f'''| < 1400 and |f| < 7 here.
    np.testing.assert_allclose(slope, 6 * x**5 - 20 * x**3 + 8 * x, rtol=0, atol=5e-8)
    assert labels(display)[1] == "derivative f' (central differences)"


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * x + 1,
        lambda x: math.pow(x, 2) + 1,
        lambda x: float(x) ** 2 + 1,
        lambda x: np.sum(np.asarray(x) ** 2) + 1,
        lambda x: x**2 + 1 if x > 0 else (-x) ** 2 + 1,
        lambda p: p[0] ** 2 + 1,
        lambda x: np.array([x**2 + 1]),
    ],
    ids=["array", "math", "float", "sum", "branch", "index", "one element"],
)
def test_every_way_to_write_a_function_gives_its_curve(f, ax):
    x, y = xy(curve(f, (-2, 2), ax=ax, points=21).artists["function"])
    np.testing.assert_allclose(y, x**2 + 1, rtol=1e-15)


def test_a_constant_function_is_a_level_line(ax):
    display = draw(curve(lambda x: 3, (0, 1), ax=ax))
    assert set(xy(display.artists["function"])[1]) == {3.0}
    assert set(xy(display.artists["derivative"])[1]) == {0.0}


def test_a_function_undefined_in_places_has_gaps(ax):
    display = draw(curve(np.log, (-1, 1), ax=ax, points=21))
    x, y = xy(display.artists["function"])
    np.testing.assert_array_equal(np.isnan(y), x <= 0)
    for f, gap in [(lambda x: math.exp(1e4 * x), -1), (lambda x: 1 / float(x), 10)]:
        display = draw(curve(f, (-1, 1), ax=ax, points=21))
        assert np.isnan(xy(display.artists["function"])[1][gap])
    display = draw(curve(lambda x: x * np.nan, (-1, 1), ax=ax))
    assert np.isnan(xy(display.artists["function"])[1]).all()


def test_a_steep_derivative_leaves_the_function_visible(ax):
    display = draw(curve(np.log, (1e-3, 3), ax=ax))
    low, high = ax.get_ylim()
    y = xy(display.artists["function"])[1]
    assert low < y.min() < y.max() < high < y.max() + 2.5 * (y.max() - y.min())
    assert high - low <= 5.5 * (y.max() - y.min())
    assert xy(display.artists["derivative"])[1].max() > 100


@pytest.mark.parametrize("size", [1e-300, 1e300, 1.7e308])
def test_extreme_values_are_drawn(size, ax):
    display = draw(curve(lambda x: size * x, (-1, 1), df=lambda x: size + 0 * x, ax=ax))
    y = xy(display.artists["function"])[1]
    np.testing.assert_array_equal(y, np.clip(size * np.linspace(-1, 1, 400), -1e300, 1e300))


def test_errors_of_the_function_itself_come_through():
    def f(x):
        raise RuntimeError("of f")

    with pytest.raises(RuntimeError, match="of f"):
        curve(f, (0, 1))


# ---- Paths ----

XS = [1.5, -0.9, 0.54, -0.32]


@pytest.mark.parametrize(
    "points",
    [
        XS,
        np.array(XS),
        np.array(XS)[:, None],
        (np.array(XS),),
        SimpleNamespace(path=np.array(XS)),
        [(x,) for x in XS],
    ],
    ids=["list", "array", "column", "tuple of one array", "result", "tuples"],
)
def test_a_path_on_a_line(points, ax):
    display = draw(path(points, f=lambda x: x**2, ax=ax, label="lr 0.8"))
    x, y = xy(display.artists["lr 0.8"])
    np.testing.assert_array_equal(x, XS)
    np.testing.assert_allclose(y, np.square(XS), rtol=1e-15)
    assert xy(display.artists["lr 0.8 start"]) == ([1.5], [2.25])
    np.testing.assert_allclose(xy(display.artists["lr 0.8 end"])[0], [-0.32])
    ground_x, ground_y = xy(display.artists["function"])
    np.testing.assert_allclose(ground_y, ground_x**2)
    low, high = ax.get_xlim()
    assert low < -0.9 < 1.5 < high
    assert labels(display) == ["function f", "lr 0.8"]


def test_a_path_without_f_stands_at_its_losses_or_numbers(ax):
    result = SimpleNamespace(path=np.array(XS), losses=[4.0, 3.0, 2.0, 1.0])
    x, y = xy(draw(path(result)).artists["descent"])
    np.testing.assert_array_equal(x, XS)
    np.testing.assert_array_equal(y, result.losses)
    result.losses = [4.0, 1.0]  # a path that recorded more or fewer points than losses
    x, y = xy(draw(path(result, ax=ax)).artists["descent"])
    np.testing.assert_array_equal(x, [0, 1, 2, 3])
    np.testing.assert_array_equal(y, XS)


PLANE = np.array([(-0.9, 0.7), (-0.7, -0.5), (-0.5, 0.4)])


@pytest.mark.parametrize(
    "points",
    [PLANE, PLANE.tolist(), [*map(tuple, PLANE)], tuple(PLANE.T), SimpleNamespace(path=PLANE)],
    ids=["array", "lists", "tuples", "tuple of arrays", "result"],
)
@pytest.mark.parametrize("f", [None, bowl], ids=["bare", "contours"])
def test_a_path_in_the_plane(points, f, ax):
    display = draw(path(points, f, ax=ax))
    x, y = xy(display.artists["descent"])
    np.testing.assert_array_equal(np.c_[x, y], PLANE)
    assert xy(display.artists["descent start"]) == ([-0.9], [0.7])
    assert xy(display.artists["descent end"]) == ([-0.5], [0.4])
    assert ("function" in display.artists) == (f is not None)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert left < -0.9 < -0.5 < right
    assert bottom < -0.5 < 0.7 < top


@pytest.mark.parametrize("points", [XS, PLANE], ids=["line", "plane"])
def test_limits_are_kept(points, ax):
    f = bowl if np.ndim(points) == 2 else np.square
    path(points, f, xlim=(-3, 2), ylim=(-1, 5), ax=ax)
    assert ax.get_xlim() == (-3, 2)
    assert ax.get_ylim() == (-1, 5)


def test_a_lone_point_is_drawn(ax):
    display = draw(path([2.0], np.square, ax=ax))
    assert xy(display.artists["descent"]) == ([2.0], [4.0])
    assert draw(path([(0.0, 0.0)], bowl)).artists["function"] is not None


def test_points_that_are_not_finite_are_named(ax):
    points = [(1.0, 1.0), (1e200, -1e250), (math.inf, 0.0), (math.nan, math.nan)]
    display = draw(path(points, ax=ax))
    x, y = xy(display.artists["descent"])
    np.testing.assert_array_equal(x, [1.0, 1e200, np.nan, np.nan])
    np.testing.assert_array_equal(y, [1.0, -1e250, np.nan, np.nan])
    assert xy(display.artists["descent end"]) == ([1e200], [-1e250])
    assert labels(display) == ["descent (point 2 is not finite)"]


def test_a_path_that_explodes_on_a_line(ax):
    xs = [2.0, -1e100, 1e308, -math.inf, math.nan]
    display = draw(path(xs, f=lambda x: x**2, ax=ax))
    np.testing.assert_array_equal(
        xy(display.artists["descent"])[1], [4.0, 1e200, np.nan, np.nan, np.nan]
    )
    assert "descent (point 2 is not finite)" in labels(display)
    display = draw(path([1.0, 2.0], f=lambda x: x * np.inf))
    assert labels(display)[1] == "descent (point 0 is not finite)"


def test_a_scalar_function_is_not_called_where_the_path_is_not_finite(ax):
    display = path([0.0, 1.0, math.inf], f=lambda x: math.sin(x), ax=ax)
    np.testing.assert_array_equal(xy(display.artists["descent"])[1], [0.0, math.sin(1.0), math.nan])


# ---- Contours and surfaces ----


@pytest.mark.parametrize(
    "f",
    [
        bowl,
        lambda p: p @ np.diag([1.0, 8.0]) @ p,
        lambda x, y: math.pow(x, 2) + 8 * math.pow(y, 2),
        lambda *p: np.sum(np.array([1, 8]) * np.square(p)),
    ],
    ids=["x, y", "p", "math", "starred"],
)
def test_contours_of_every_way_to_write_a_function(f, ax):
    display = draw(contour(f, (-1, 2), (-1, 1), ax=ax, points=31))
    ground = display.artists["function"]
    np.testing.assert_allclose([ground.zmin, ground.zmax], [0.0, 12.0], atol=1e-15)
    levels = ground.levels
    assert levels[0] <= 0.0
    assert levels[-1] == 12.0
    np.testing.assert_allclose(np.diff(levels), 0.5)
    assert ax.get_xlim() == (-1, 2)
    assert ax.get_ylim() == (-1, 1)


def test_contours_open_the_floor_of_a_steep_valley(ax):
    display = contour(lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2, (-2, 2), (-1, 3), ax=ax)
    levels = display.artists["function"].levels
    assert np.all(np.diff(levels) > 0)
    assert np.median(levels) < 0.02 * levels[-1]
    assert levels[-1] == pytest.approx(2509, rel=1e-12)


def test_descents_on_contours(ax):
    second = SimpleNamespace(path=PLANE + 0.1)
    display = draw(contour(bowl, (-1, 1), (-1, 1), {"slow": PLANE, "fast": second}, ax, points=30))
    np.testing.assert_array_equal(np.c_[xy(display.artists["slow"])], PLANE)
    np.testing.assert_array_equal(np.c_[xy(display.artists["fast"])], PLANE + 0.1)
    assert labels(display) == ["slow", "fast"]
    colors = {display.artists[name].get_color() for name in ("slow", "fast")}
    assert len(colors) == 2
    display = contour(bowl, (-1, 1), (-1, 1), [PLANE, second], points=30)
    assert labels(display) == ["descent 1", "descent 2"]
    display = contour(bowl, (-1, 1), (-1, 1), second, points=30)
    np.testing.assert_array_equal(np.c_[xy(display.artists["descent"])], PLANE + 0.1)


EXTREME = {
    "constant": lambda x, y: 2.0,
    "constant and large": lambda x, y: -1e300,
    "huge": lambda x, y: 1e300 * (x * x - y * y),
    "beyond": lambda x, y: 1.7e308 * (x * x - y * y),
    "tiny": lambda x, y: 1e-300 * (x * x + y * y),
    "many decades": lambda x, y: np.exp(600 * x),
    "undefined in places": lambda x, y: np.log(x * y),
    "infinite in places": lambda x, y: 1 / (x * x + y * y),
    "nearly constant": lambda x, y: 1 + 1e-16 * x,
}


@pytest.mark.parametrize("f", EXTREME.values(), ids=EXTREME)
def test_extreme_functions_are_drawn(f):
    ground = draw(contour(f, (-1, 1), (-1, 1), points=41)).artists["function"]
    assert np.all(np.diff(ground.levels) > 0)
    draw(surface(f, (-1, 1), (-1, 1), points=21))


def test_blank_where_not_finite(ax):
    ground = draw(contour(EXTREME["undefined in places"], (-1, 1), (-1, 1), ax=ax))
    assert ground.artists["function"].zmax == 0.0
    assert ground.artists["function"].zmin < -9


def test_a_surface_is_the_function():
    display = draw(surface(bowl, (-1, 1), (-2, 2), points=25))
    assert display.ax.name == "3d"
    assert display.ax.get_zlabel().strip() == "f(x, y)"
    np.testing.assert_allclose(display.ax.get_xlim(), (-1, 1))
    np.testing.assert_allclose(display.ax.get_ylim(), (-2, 2))
    z = bowl(*np.meshgrid(np.linspace(-1, 1, 25), np.linspace(-2, 2, 25)))
    heights = (z[:-1, :-1] + z[1:, :-1] + z[:-1, 1:] + z[1:, 1:]) / 4
    np.testing.assert_allclose(display.artists["function"].get_array(), heights.ravel())
    again = surface(bowl, (-1, 1), (-1, 1), ax=display.ax, points=9)
    assert again.ax is display.ax


def test_a_surface_on_flat_axes_is_refused(ax):
    with pytest.raises(TypeError, match=r'ax is Axes; accepted .* projection="3d"'):
        surface(bowl, (0, 1), (0, 1), ax=ax)


# ---- Histories ----


@pytest.mark.parametrize(
    ("h", "unit"),
    [
        ([3.0, 2.5, 2.0], "iteration"),
        (np.array([3.0, 2.5, 2.0], np.float32), "iteration"),
        ((3, 2.5, 2), "iteration"),
        (SimpleNamespace(losses=np.array([3.0, 2.5, 2.0])), "iteration"),
        ({"loss": [3.0, 2.5, 2.0]}, "epoch"),
        (SimpleNamespace(history={"loss": [3.0, 2.5, 2.0]}), "epoch"),
    ],
    ids=["list", "float32", "tuple", "result", "dict", "training history"],
)
def test_history_draws_every_form_of_losses(h, unit, ax):
    display = draw(history(h, ax=ax))
    number, losses = xy(display.artists["loss"])
    np.testing.assert_array_equal(number, [0, 1, 2])
    np.testing.assert_array_equal(losses, [3.0, 2.5, 2.0])
    assert ax.get_xlabel() == unit
    assert ax.get_ylabel() == "loss"
    assert ax.get_yscale() == "linear"
    assert list(display.artists) == ["loss"]
    assert labels(display) == []


def test_history_of_several_runs(ax):
    runs = {"lr 0.1": [4.0, 3.0], "lr 0.2": [4.0, 2.0, 1.0]}
    display = draw(history(runs, ax=ax, start=1))
    for name, losses in runs.items():
        number, drawn = xy(display.artists[name])
        np.testing.assert_array_equal(number, 1 + np.arange(len(losses)))
        np.testing.assert_array_equal(drawn, losses)
    assert ax.get_xlabel() == "iteration"
    assert ax.get_ylabel() == "loss"
    assert labels(display) == list(runs)
    third = history([5.0, 6.0], ax=ax).artists["loss"]
    assert len({line.get_color() for line in (*display.artists.values(), third)}) == 3


@pytest.mark.parametrize(
    ("names", "ylabel"),
    [(("loss", "val_loss"), "loss"), (("loss", "accuracy"), "value"), (("a", "b"), "loss")],
)
def test_history_says_what_the_values_are(names, ylabel, ax):
    history({name: [1.0, 0.5] for name in names}, ax=ax)
    assert ax.get_ylabel() == ylabel


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        ([1.0, 999.0], "linear"),
        ([1.0, 1001.0], "log"),
        ([1e-5, 1.0], "log"),
        ([0.0, 1e9], "linear"),
        ([-1.0, 1e9], "linear"),
        ([1.0, math.nan, 1e9], "log"),
        ([2.0, 2.0], "linear"),
        ([math.nan, math.inf], "linear"),
    ],
    ids=repr,
)
def test_a_logarithmic_axis_for_more_than_three_decades(losses, scale, ax):
    draw(history(losses, ax=ax))
    assert ax.get_yscale() == scale


def test_an_overflow_is_marked_where_it_happens(ax):
    losses = np.r_[1.3e11 * 4304.0 ** np.arange(82), [np.inf] * 10, [np.nan] * 8]
    display = draw(history({"lr 0.02": losses}, ax=ax, start=1))
    number, drawn = xy(display.artists["lr 0.02"])
    np.testing.assert_array_equal(number, np.arange(1, 101))
    np.testing.assert_array_equal(drawn[:82], losses[:82])
    assert np.isnan(drawn[82:]).all()
    crosses, zero = xy(display.artists["lr 0.02 not finite"])
    np.testing.assert_array_equal(crosses, np.arange(83, 101))
    np.testing.assert_array_equal(zero, 0.0)
    assert labels(display) == ["lr 0.02 (overflows at iteration 83)"]
    assert ax.get_xlim()[1] >= 100
    bottom, top = ax.get_ylim()
    assert bottom <= losses[0]
    assert losses[81] <= top < math.inf


def test_nan_and_both_infinities_are_marked(ax):
    display = draw(history({"loss": [1.0, math.nan], "b": [-math.inf, 1.0]}, ax=ax))
    assert labels(display) == ["loss (NaN at epoch 1)", "b (overflows at epoch 0)"]
    np.testing.assert_array_equal(xy(display.artists["loss not finite"])[0], [1])
    np.testing.assert_array_equal(xy(display.artists["b not finite"])[0], [0])


@pytest.mark.parametrize(
    "losses",
    [
        [3.0],
        [0.0] * 3,
        [math.nan] * 3,
        [1e300, 1e307],
        [5e-324, 1e-200, 1.7e308],
        [5e-324, 1e-310],
        [-1.7e308, 0.0, 1.7e308],
        [1.7e308] * 3,
        np.exp(-np.arange(200_000) / 1e4),
    ],
    ids=["one", "zeros", "NaN", "large", "all", "subnormal", "signs", "largest", "long"],
)
def test_extreme_histories_are_drawn(losses, ax):
    display = draw(history({"a": losses, "b": losses}, ax=ax))
    drawn = xy(display.artists["a"])[1]
    limit = math.inf if ax.get_yscale() == "log" else 1e300
    np.testing.assert_array_equal(drawn, np.clip(losses, -limit, limit))


# ---- Schedules ----


def test_schedule_draws_the_rate_of_each_step(ax):
    stairs = gd.schedules.step(0.8, 3, 0.5)
    line = draw(schedule(stairs, 10, ax=ax)).artists["rate"]
    np.testing.assert_array_equal(line.get_xdata(), np.arange(10))
    np.testing.assert_array_equal(line.get_ydata(), [0.8] * 3 + [0.4] * 3 + [0.2] * 3 + [0.1])
    assert line.get_drawstyle() == "steps-post"
    assert ax.get_title() == repr(stairs)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "learning rate")


def test_any_callable_gets_one_int_a_step(ax):
    seen = []

    def rate(t):
        seen.append(t)
        return 1 / (1 + t)

    line = schedule(rate, 3, ax=ax).artists["rate"]
    assert seen == [0, 1, 2]
    assert all(type(t) is int for t in seen)
    np.testing.assert_array_equal(line.get_ydata(), [1, 1 / 2, 1 / 3])
    assert ax.get_title() == "rate"


def test_a_number_is_a_constant_schedule(ax):
    line = draw(schedule(0.25, 4, ax=ax)).artists["rate"]
    np.testing.assert_array_equal(line.get_ydata(), [0.25] * 4)


def test_schedules_on_the_same_axes_get_a_legend(ax):
    rules = [gd.schedules.constant(0.1), gd.schedules.exponential(0.1, 0.9)]
    displays = [schedule(rule, 20, ax=ax) for rule in rules]
    assert labels(draw(displays[1])) == [repr(rule) for rule in rules]
    assert ax.get_title() == ""
    assert len({display.artists["rate"].get_color() for display in displays}) == 2


def test_the_name_of_a_schedule_with_many_settings_has_several_lines(ax):
    cycle = gd.schedules.one_cycle(0.1, 50)
    draw(schedule(cycle, 50, ax=ax))
    lines = ax.get_title().split("\n")
    assert max(map(len, lines)) <= 60
    assert " ".join(lines) == repr(cycle)


def test_a_rate_over_many_decades_has_a_logarithmic_axis(ax):
    draw(schedule(gd.schedules.exponential(1e-6, 1.5), 40, ax=ax))
    assert ax.get_yscale() == "log"
    draw(schedule(gd.schedules.exponential(1.0, 10.0), 400))
    draw(schedule(0.0, 1))


# ---- Bad arguments ----

UNIT = (0, 1)
BAD_ARGUMENTS = [
    (curve, (3, UNIT), TypeError, "f is 3; accepted is a callable"),
    (curve, (np.cos, UNIT, 3), TypeError, "df is 3; accepted is a callable"),
    (curve, (np.cos, 1), TypeError, "xlim is 1; accepted are two finite numbers"),
    (curve, (np.cos, (1, 0)), ValueError, r"xlim is \(1, 0\).*low < high"),
    (curve, (np.cos, (0, math.inf)), ValueError, r"xlim is .*two finite numbers"),
    (curve, (np.cos, (0, 1, 2)), TypeError, r"xlim is .*two finite numbers"),
    (curve, (np.cos, UNIT, None, None, 1), ValueError, r"points is 1; .*>= 2"),
    (curve, (np.cos, UNIT, None, None, 9.0), TypeError, r"points is 9.0; .*integer"),
    (curve, (lambda x: x + 1j, UNIT), TypeError, r"complex128; .* real numbers"),
    (curve, (lambda x: "a", UNIT), TypeError, r"f\(0\) holds .*real numbers"),
    (curve, (lambda x: [1, 2, 3], UNIT), ValueError, r"f\(0\) has shape \(3,\)"),
    (path, (np.zeros((4, 3)),), ValueError, r"\(4, 3\); accepted is \(n, 1\) or \(n, 2\) .*choose"),
    (path, (np.zeros((2, 2, 2)),), ValueError, r"shape \(2, 2, 2\)"),
    (path, ([],), ValueError, r"shape \(0, 1\)"),
    (path, (3.0,), ValueError, r"shape \(\)"),
    (path, ([math.nan, math.inf],), ValueError, "no finite point"),
    (path, (["a"],), TypeError, "accepted are real numbers"),
    (path, ([1j],), TypeError, "complex128; accepted are real numbers"),
    (contour, (bowl, (1, 0), UNIT), ValueError, "xlim is"),
    (contour, (bowl, UNIT, (0, math.nan)), ValueError, "ylim is"),
    (contour, (bowl, UNIT, UNIT, (), None, 0), ValueError, "points is 0"),
    (contour, ("f", UNIT, UNIT), TypeError, "f is 'f'"),
    (
        contour,
        (lambda x, y: x * np.nan, UNIT, UNIT),
        ValueError,
        r"none of the 40000 .*change xlim",
    ),
    (contour, (bowl, UNIT, UNIT, {"run": XS}), ValueError, r"'run' has .*; accepted is \(n, 2\)"),
    (surface, (lambda x, y: x + np.inf, UNIT, UNIT), ValueError, "none of the 6400 grid points"),
    (surface, (bowl, UNIT, UNIT, None, 1), ValueError, "points is 1"),
    (history, ([],), ValueError, r"\(0,\); accepted is a sequence of one or more numbers"),
    (history, ({},), ValueError, "h is an empty dict; accepted is at least one name"),
    (history, ([[1.0, 2.0]],), ValueError, r"loss has shape \(1, 2\)"),
    (history, (3.0,), ValueError, r"loss has shape \(\)"),
    (history, ({"loss": ["a"]},), TypeError, "loss holds <U1; accepted are real numbers"),
    (history, ({"acc": None},), TypeError, "acc holds object"),
    (schedule, (0.1, 0), ValueError, "steps is 0; accepted is an integer >= 1"),
    (schedule, (0.1, 3.0), TypeError, r"steps is 3.0; accepted is an integer >= 1"),
    (schedule, (-0.1, 3), ValueError, r"value is -0.1"),
    (schedule, ("step", 3), TypeError, "s is 'step'; accepted is a schedule, a callable of one"),
    (schedule, (gd.schedules.plateau(0.1), 3), TypeError, "whose rates depend on the run"),
    (schedule, (lambda t: [t, t], 3), ValueError, r"s\(0\) has shape \(2,\); accepted is one"),
    (schedule, (lambda t: None, 3), TypeError, r"s\(0\) holds object; accepted are real numbers"),
]


@pytest.mark.parametrize(("picture", "arguments", "error", "message"), BAD_ARGUMENTS)
def test_bad_arguments_are_named_and_leave_no_figure(picture, arguments, error, message, figures):
    with pytest.raises(error, match=message):
        picture(*arguments)
    assert figures() == []
