"""Sweeps: every row is the descent it says it is; axes, basins, verdicts, pictures, refusals."""

import copy
import math
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import gdcore as gd
from gdcore._diagnose import diagnose
from gdcore._sweep import Sweep, _basins, _plan, one_by_one, sweep
from gdcore.descent import minimize


def sextic(x):
    return x**6 - 5 * x**4 + 4 * x**2


def valley(x, y):
    return (x**2 - 1) ** 2 + 3 * y**2


def rows(g):
    """Each run as a dict."""
    return [
        {
            name: tuple(part[i] for part in column) if isinstance(column, tuple) else column[i]
            for name, column in g.columns.items()
        }
        for i in range(len(g))
    ]


def check_rows(g, f, make, gtol=1e-6, args=()):
    """Every row is the minimize of its start and settings, to the last bit."""
    for row in rows(g):
        start = row["start"]
        x0 = tuple(map(np.array, start)) if isinstance(start, tuple) else np.array(start)
        opt = make(row["lr"], row["momentum"])
        r = minimize(f, x0, args=args, optimizer=opt, steps=int(row["steps"]), gtol=gtol)
        np.testing.assert_equal(row["x"], r.x)
        assert (row["fun"], row["nit"]) == (r.fun, r.nit) or np.isnan(r.fun)
        met = np.flatnonzero(r.grad_norms <= gtol)
        assert row["steps_to_tol"] == (met[0] if met.size else -1)
        assert row["verdict"] == diagnose(r).verdict


# ---- The table -----------------------------------------------------------------------------------


def test_rows_are_in_c_order_of_starts_lr_momentum_steps():
    g = sweep(sextic, [-1.0, 1.0], lr=[0.01, 0.02], momentum=[0.0, 0.5, 0.9], steps=[3, 9])
    assert list(g.columns) == [
        "start", "lr", "momentum", "steps",
        "x", "fun", "nit", "steps_to_tol", "verdict", "basin",
    ]  # fmt: skip
    assert all(len(column) == len(g) == 24 for column in g.columns.values())
    table = [(r["start"], r["lr"], r["momentum"], r["steps"]) for r in rows(g)]
    assert table == [
        (start, lr, momentum, steps)
        for start in (-1.0, 1.0)
        for lr in (0.01, 0.02)
        for momentum in (0.0, 0.5, 0.9)
        for steps in (3, 9)
    ]
    assert g.shape == (2, 2, 3, 2)
    check_rows(g, sextic, lambda lr, momentum: gd.SGD(lr, momentum=momentum))


@pytest.mark.parametrize("lr", [0.001, 0.02, 0.3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_the_descents_one_by_one(lr, dtype):
    starts = np.linspace(-2, 2, 9).astype(dtype)
    g = sweep(sextic, starts, lr=lr, steps=100)
    assert g.columns["x"].dtype == g.columns["fun"].dtype == g.columns["start"].dtype == dtype
    check_rows(g, sextic, lambda lr, momentum: gd.SGD(lr))


@pytest.mark.parametrize("row", gd._core.OPTIMIZERS, ids=lambda row: row["name"])
def test_rows_of_every_rule_are_its_descents(row):
    kind = getattr(gd, row["class"])
    matrix = np.array([[2.0, 0.5], [0.5, 0.3]])
    f = lambda p: p @ matrix @ p + np.sum(np.cos(3 * p))  # noqa: E731
    starts = np.linspace(-1.5, 1.5, 10).reshape(5, 2)
    g = sweep(f, starts, lr=[0.003, 0.05], steps=[7, 20], optimizer=kind)
    check_rows(g, f, lambda lr, momentum: kind(lr=lr))
    g = sweep(lambda x: sextic(x), starts[:, 0], lr=[0.003, 0.05], steps=15, optimizer=kind)
    check_rows(g, sextic, lambda lr, momentum: kind(lr=lr))


def test_vectors_and_several_arguments():
    starts = np.random.default_rng(0).uniform(-1, 1, (5, 2))
    g = sweep(lambda p: valley(p[0], p[1]), starts, lr=0.05, steps=40)
    assert g.columns["x"].shape == g.columns["start"].shape == (5, 2)
    check_rows(g, lambda p: valley(p[0], p[1]), lambda lr, momentum: gd.SGD(lr))
    apart = sweep(valley, tuple(starts.T), lr=0.05, steps=40)
    assert isinstance(apart.columns["x"], tuple)
    np.testing.assert_allclose(np.stack(apart.columns["x"], axis=-1), g.columns["x"], atol=1e-12)
    check_rows(apart, valley, lambda lr, momentum: gd.SGD(lr))
    mixed = sweep(lambda p, c: np.sum(p**2) + c**2, (starts, np.ones(5)), lr=[0.1, 0.2], steps=5)
    x, c = mixed.grid("x")
    assert (x.shape, c.shape) == ((5, 2, 2), (5, 2))
    check_rows(mixed, lambda p, c: np.sum(p**2) + c**2, lambda lr, momentum: gd.SGD(lr))


@pytest.mark.parametrize(
    ("optimizer", "momentum"),
    [
        (gd.SGD, math.nan),
        (gd.SGD(0.3, momentum=0.25), 0.25),
        (gd.Adam, 0.9),
        (gd.Adam(0.05, betas=(0.5, 0.99)), 0.5),
        (gd.Rprop, math.nan),
        (gd.ScheduleFreeSGD(0.1), 0.9),
        (gd.SGD(gd.schedules.cosine(0.1, 0.01, 20)), 0.0),
        (gd.SGD(gd.schedules.by_gradient(scale=0.01, max=0.1)), 0.0),
        (gd.SGD(gd.schedules.plateau(0.01, patience=0)), 0.0),
    ],
)
def test_none_is_the_optimizer_s_own_setting(optimizer, momentum):
    g = sweep(sextic, [-1.2, 0.4], steps=30, optimizer=optimizer)
    base = optimizer() if isinstance(optimizer, type) else optimizer
    assert set(g.columns["lr"]) == {base.lr}
    own = base.get_params().get("momentum", math.nan)
    if optimizer is not gd.SGD and not math.isnan(momentum):
        own = momentum
    np.testing.assert_array_equal(g.columns["momentum"], [own] * 2)
    check_rows(g, sextic, lambda lr, momentum: base)


def test_a_given_value_overrides_it():
    base = gd.Adam(0.5, betas=(0.1, 0.99))
    g = sweep(sextic, [-1.2, 0.4], lr=0.03, momentum=[0.5, 0.8], steps=30, optimizer=base)
    assert g.grid("momentum").tolist() == [[0.5, 0.8]] * 2
    check_rows(g, sextic, lambda lr, momentum: gd.Adam(lr, betas=(momentum, 0.99)))
    schedule = gd.schedules.exponential(0.02, 0.9)
    g = sweep(sextic, [-1.2, 0.4], lr=schedule, steps=30)
    assert set(g.columns["lr"]) == {0.02}
    check_rows(g, sextic, lambda lr, momentum: gd.SGD(schedule))
    assert base.t == 0


def test_further_arguments_are_the_same_in_every_run():
    f = lambda x, a, b: (x - a) ** 2 + b  # noqa: E731
    g = sweep(f, [0.0, 5.0], lr=0.4, args=(2.0, 1.0))
    np.testing.assert_allclose(g.columns["x"], [2.0, 2.0], atol=1e-6)
    check_rows(g, f, lambda lr, momentum: gd.SGD(lr), args=(2.0, 1.0))


def test_steps_to_tol_is_the_first_step_within_gtol():
    g = sweep(lambda x: x**2, [1.0, 0.0, 1.0], lr=[0.1, 0.5], gtol=1e-3, steps=20)
    assert g.grid("steps_to_tol").tolist() == [[-1, 1], [0, 0], [-1, 1]]
    assert g.grid("nit").tolist() == [[20, 1], [0, 0], [20, 1]]
    g = sweep(lambda x: x**2, 1.0, lr=0.1, gtol=0.0, steps=5)
    assert g.columns["nit"].tolist() == [5]


# ---- Grids ---------------------------------------------------------------------------------------


def test_a_grid_has_an_axis_for_each_argument_that_was_an_array():
    g = sweep(sextic, np.linspace(-1, 1, 3), lr=[0.01, 0.1], steps=5)
    assert g.shape == (3, 2)
    np.testing.assert_array_equal(g.grid("fun"), g.columns["fun"].reshape(3, 2))
    np.testing.assert_array_equal(g.grid("lr"), [[0.01, 0.1]] * 3)
    g = sweep(sextic, 0.5, lr=[0.01, 0.1], steps=[1, 2, 3])
    assert g.shape == (2, 3)
    g = sweep(sextic, 0.5, lr=0.01)
    assert g.shape == ()
    assert g.grid("x").shape == ()
    assert sweep(sextic, [0.5], lr=[0.01], momentum=[0.0], steps=[3]).shape == (1, 1, 1, 1)


def test_an_unknown_column_names_the_nearest():
    g = sweep(sextic, [0.5], steps=1)
    with pytest.raises(KeyError, match=r"'funn' is no column; accepted: start, .*did you mean"):
        g.grid("funn")


# ---- The three experiments of document 001 -------------------------------------------------------


def test_starting_points():
    starts = np.linspace(-2, 2, 41)
    g = sweep(sextic, starts, lr=0.005, steps=1000)
    assert set(g.columns["verdict"]) == {"converged", "stuck"}
    low = np.sqrt((5 + math.sqrt(13)) / 3)
    top = np.sqrt((5 - math.sqrt(13)) / 3)
    expected = np.where(np.abs(starts) < top, 0, np.sign(starts) * low)
    np.testing.assert_allclose(g.columns["x"], expected, atol=1e-6)
    assert g.columns["basin"].tolist() == [
        {-1: 0, 0: 1, 1: 2}[int(np.sign(x))] for x in np.round(expected)
    ]


def test_rates():
    """On x^2 the limit is 1: below it converges, beyond it explodes."""
    lrs = np.array([1e-4, 0.01, 0.1, 0.5, 0.9, 1.0, 1.1, 2.0])
    g = sweep(lambda x: x**2, 1.0, lr=lrs, steps=1000)
    assert g.columns["verdict"].tolist() == [
        "too slow", "converged", "converged", "converged", "converged",
        "oscillating", "exploding", "exploding",
    ]  # fmt: skip


def test_rates_and_numbers_of_steps():
    lrs, steps = np.array([0.01, 0.1]), np.array([0, 1, 10, 100])
    g = sweep(lambda x: x**2, 1.0, lr=lrs, steps=steps, gtol=0.0)
    expected = (1 - 2 * lrs[:, None]) ** steps
    np.testing.assert_allclose(g.grid("x"), expected, rtol=1e-12)


# ---- Basins --------------------------------------------------------------------------------------


def test_a_start_on_a_minimum_is_in_its_basin_and_one_on_a_maximum_in_none():
    g = sweep(sextic, [0.1, 0.0, 1.5], lr=0.01, steps=2000)
    assert g.columns["verdict"].tolist() == ["converged", "stuck", "converged"]
    assert g.columns["basin"].tolist() == [0, 0, 1]
    waves = lambda x: np.cos(2 * np.pi * x) + x**2  # noqa: E731
    g = sweep(waves, [0.0, 0.1, -0.1, 0.2], lr=0.01, steps=2000)
    assert g.columns["basin"].tolist() == [-1, 0, 1, 0]


def test_lost_runs_are_in_no_basin():
    g = sweep(sextic, [-2.0, 1.5], lr=[0.01, 0.5], steps=300)
    assert g.grid("verdict")[:, 1].tolist() == ["exploding", "exploding"]
    assert g.grid("basin").tolist() == [[0, -1], [1, -1]]


def test_flat_minima_are_one_basin():
    """The runs end where x^3 is small, on both sides of 0, at 0.006."""
    g = sweep(lambda x: x**4, np.linspace(-1, 1, 4), lr=0.4, steps=10**5)
    assert set(g.columns["verdict"]) == {"converged"}
    assert np.ptp(g.columns["x"]) > 0.01
    assert set(g.columns["basin"]) == {0}


def test_basins_do_not_depend_on_units():
    starts = np.linspace(-2, 2, 12)
    near = sweep(lambda x: sextic(x), starts, lr=0.005, steps=3000)
    for unit in (1e-3, 1e3):
        g = sweep(
            lambda x, unit=unit: sextic(x / unit) * unit,
            starts * unit,
            lr=0.005 * unit,
            steps=3000,
        )
        np.testing.assert_array_equal(g.columns["basin"], near.columns["basin"])


def test_starts_that_are_not_finite_end_nowhere():
    g = sweep(sextic, [math.nan, 1.0, math.inf], lr=0.01, steps=300)
    assert g.columns["verdict"].tolist() == ["non-finite", "converged", "non-finite"]
    assert g.columns["basin"].tolist() == [-1, 0, -1]


def test_numbers_of_basins_are_in_order_of_appearance():
    ends = (np.array([3.0, 1.0, 3.001, 2.0, 1.0]),)
    verdict = np.array(["converged"] * 5)
    got = _basins((np.linspace(0, 4, 5),), ends, verdict, np.zeros(5, np.int64))
    assert got.tolist() == [0, 1, 0, 2, 1]


# ---- What is made of it --------------------------------------------------------------------------


def test_to_pandas_has_a_column_for_each_number(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    g = sweep(lambda p, c: np.sum(p**2) + c**2, (np.ones((3, 2)), np.ones(3)), steps=2)
    table = g.to_pandas()
    assert list(table)[:3] == ["start[0][0]", "start[0][1]", "start[1]"]
    assert all(column.shape == (3,) for column in table.values())
    np.testing.assert_array_equal(table["x[0][1]"], g.columns["x"][0][:, 1])


def test_without_pandas_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_pandas needs pandas: pip install pandas"):
        sweep(sextic, [0.5], steps=1).to_pandas()


def test_sweeps_pickle_deepcopy_and_print():
    g = sweep(lambda x: sextic(x), [-2.0, 0.5, 1.5], lr=[0.01, 0.9], steps=300)
    for other in (pickle.loads(pickle.dumps(g)), copy.deepcopy(g)):
        assert other.shape == g.shape
        for name, column in g.columns.items():
            np.testing.assert_array_equal(other.columns[name], column)
    assert repr(g) == "Sweep of 6 runs (3 start x 2 lr): 3 converged, 3 exploding"


def test_the_diagnosis_of_a_sweep_counts_the_verdicts():
    g = sweep(lambda x: x**2, 1.0, lr=[0.1, 0.5, 0.9, 1.1, 2.0], steps=1000)
    d = diagnose(g)
    assert d.verdict == "converged"
    assert d.evidence == (
        "of 5 runs 3 converged (lr 0.1 to 0.9), 2 exploding (lr 1.1 to 2); 1 distinct end point"
    )
    assert diagnose(sweep(lambda x: x**2, 1.0, lr=0.1)).evidence == (
        "of 1 runs 1 converged; 1 distinct end point"
    )


# ---- Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"learning_rate": 0.1}, TypeError, "unknown argument learning_rate=.*here it is lr"),
        ({"x0": 1.0}, TypeError, "here it is starts"),
        ({"momentums": 1.0}, TypeError, "here it is momentum"),
        ({"f": 3}, TypeError, "f is 3; a function"),
        ({"lr": -0.1}, ValueError, "lr is -0.1"),
        ({"lr": [0.1, -0.1]}, ValueError, "lr is -0.1"),
        ({"lr": [0.1, math.nan]}, ValueError, "lr holds nan; finite numbers"),
        ({"lr": np.ones((2, 2))}, ValueError, r"lr has shape \(2, 2\)"),
        ({"lr": []}, ValueError, r"lr has shape \(0,\)"),
        ({"lr": "0.1"}, TypeError, "lr is <U3"),
        ({"momentum": 0.9, "optimizer": gd.Adagrad}, ValueError, "neither momentum nor betas"),
        ({"momentum": 2.0, "optimizer": gd.Adam}, ValueError, "betas"),
        ({"steps": 2.5}, TypeError, "steps is 2.5; an integer >= 0, or a sequence"),
        ({"steps": [3, -1]}, ValueError, "steps is -1|steps is np.int64"),
        ({"gtol": None}, TypeError, "gtol is None; a finite number >= 0 is accepted"),
        ({"gtol": -1}, ValueError, "gtol is -1"),
        ({"optimizer": "sgd"}, TypeError, "optimizer is 'sgd'"),
        ({"optimizer": gd.SGD(maximize=True)}, ValueError, "maximize=True"),
        ({"optimizer": gd.LBFGS}, TypeError, "optimizer is LBFGS; a rule of the table"),
        ({"optimizer": gd.EMA(gd.SGD())}, TypeError, "optimizer is EMA; a rule of the table"),
        ({"starts": []}, ValueError, r"starts has the shapes \[\(0,\)\]"),
        ({"starts": ([1.0, 2.0], [1.0])}, ValueError, "in a tuple the same n everywhere"),
        ({"starts": ([1.0, 2.0], 1.0)}, ValueError, r"np\.full\(n, value\)"),
        ({"starts": {"a": 1.0}}, TypeError, "starts is dict"),
        ({"starts": np.zeros(2, complex)}, TypeError, "starts is complex128"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(given, error, text):
    with pytest.raises(error, match=text):
        sweep(**{"f": sextic, "starts": [0.5], **given})


def test_more_runs_than_can_be_counted_are_refused_before_memory_is_taken():
    many = np.broadcast_to(0.1, 10**6)
    with pytest.raises(ValueError, match=r"1 x 1000000 x 1000000 x 1 = 1000000000000 runs of 1"):
        sweep(sextic, 0.5, lr=many, momentum=many)


def test_the_oracle_is_what_the_table_is_made_of():
    plan = _plan(sextic, [0.5, -1.0], [0.01, 0.3], None, 50, gd.SGD, (), 1e-6)
    outcome = one_by_one(plan)
    g = sweep(sextic, [0.5, -1.0], [0.01, 0.3], steps=50)
    np.testing.assert_array_equal(g.columns["x"], outcome.x[0])
    np.testing.assert_array_equal(g.columns["fun"], outcome.fun)
    np.testing.assert_array_equal(g.columns["nit"], outcome.statistics.nit)


# ---- Pictures ------------------------------------------------------------------------------------


@pytest.fixture
def ax():
    figure = pytest.importorskip("matplotlib.figure")
    return figure.Figure().subplots()


def test_ends_are_drawn_against_starts_by_verdict(ax):
    g = sweep(sextic, np.linspace(-2, 2, 40), lr=0.05, steps=300)
    display = gd.plot.sweep(g, ax=ax)
    assert set(display.artists) == set(g.columns["verdict"])
    dots = display.artists["converged"]
    own = g.columns["verdict"] == "converged"
    np.testing.assert_array_equal(dots.get_xdata(), g.columns["start"])
    np.testing.assert_array_equal(np.asarray(dots.get_ydata())[own], g.columns["x"][own])
    assert np.isnan(np.asarray(dots.get_ydata())[~own]).all()
    assert list(g.plot(ax).artists) == list(display.artists)


def test_values_are_drawn_against_rates(ax):
    g = sweep(sextic, 1.2, lr=np.geomspace(1e-4, 1, 30), steps=200)
    display = gd.plot.sweep(g, ax=ax)
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "learning rate"
    crosses = display.artists["exploding"]
    lost = g.columns["verdict"] == "exploding"
    np.testing.assert_array_equal(crosses.get_xdata(), g.columns["lr"][lost])
    assert set(crosses.get_ydata()) == {0.0}
    ax.figure.canvas.draw()
    assert ax.get_ylim()[1] < 10  # not those of the lost runs


def test_two_axes_are_a_map(ax):
    g = sweep(lambda x: x**2, 1.0, lr=np.geomspace(1e-4, 0.5, 7), steps=[1, 10, 100])
    sheet = gd.plot.sweep(g, ax=ax).artists["function"]
    np.testing.assert_array_equal(np.ma.getdata(sheet.get_array()), g.grid("fun"))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("steps", "learning rate")
    assert ax.get_yscale() == "log"
    ax.figure.canvas.draw()


def test_vectors_are_numbered_where_they_are_an_axis(ax):
    g = sweep(valley, (np.linspace(-1, 1, 5), np.ones(5)), lr=[0.01, 0.05], steps=9)
    gd.plot.sweep(g, ax=ax)
    assert ax.get_ylabel() == "number of the starting point"
    ax.figure.canvas.draw()


def test_basins_in_one_and_two_coordinates(ax):
    g = sweep(sextic, np.linspace(-2, 2, 40), lr=0.05, steps=300)
    display = gd.plot.basins(g, ax=ax)
    names = {f"basin {n}" if n >= 0 else "no basin" for n in g.columns["basin"]}
    assert set(display.artists) == names
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(-2, 2, 6), np.linspace(-1, 1, 5)))
    g = sweep(valley, (x, y), lr=0.02, steps=2000)
    other = ax.figure.add_subplot()
    display = gd.plot.basins(g, ax=other)
    assert {"basin 0", "basin 1"} <= set(display.artists)
    drawn = display.artists["basin 0"]
    own = g.columns["basin"] == 0
    np.testing.assert_array_equal(drawn.get_xdata(), x[own])
    np.testing.assert_array_equal(drawn.get_ydata(), y[own])
    ax.figure.canvas.draw()


def test_what_cannot_be_drawn_is_refused(ax):
    with pytest.raises(TypeError, match="g is list; the result of sweep is accepted"):
        gd.plot.sweep([], ax=ax)
    with pytest.raises(TypeError, match="g is list"):
        gd.plot.basins([], ax=ax)
    with pytest.raises(ValueError, match=r"over 0 arrays \(none\); one or two can be drawn"):
        gd.plot.sweep(sweep(sextic, 0.5, steps=1), ax=ax)
    g = sweep(sextic, [0.5], lr=[0.1], steps=[1])
    with pytest.raises(ValueError, match=r"over 3 arrays \(start, lr, steps\)"):
        gd.plot.sweep(g, ax=ax)
    g = sweep(lambda x: np.sum(x**2), np.ones((2, 3)), steps=1)
    with pytest.raises(ValueError, match="the starts have 3 coordinates"):
        gd.plot.basins(g, ax=ax)
    assert isinstance(g, Sweep)
