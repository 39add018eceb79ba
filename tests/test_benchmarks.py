"""The catalogue's benchmark knows every row of the table, and counts what its kernels compute.

The rows of the engine and of networks name what exists, and their contestants of gdcore, NumPy and
Python agree.
"""

import importlib
import inspect
import json
from pathlib import Path

import pytest
from optimizer_cases import ROWS

import gdcore as gd

ROOT = Path(__file__).parent.parent


@pytest.fixture
def row(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def catalogue(row):
    return row("row_catalogue")


@pytest.fixture
def tables(row):
    options, engine, descent = row("contest").Options(), row("row_engine"), row("row_descent")
    networks, fits = row("row_networks"), row("row_fits")
    sweeps = [descent.sweep_table(d, n, 5) for d in ("float32", "float64") for n in (1, 2)]
    found = [*engine.p4a(options), *engine.p4b(options), *sweeps, *descent.p6(options)]
    for name in ("p3a", "p3b", "p3c", "p3d"):
        found += getattr(networks, name)(options)
    return [*found, *fits.p6b(options), fits.fit_table(), fits.predict_table()]


def test_roots_and_divisions_are_counted_in_the_kernels(catalogue):
    for name, wanted in {
        "sgd": (0, 0),
        "adagrad": (1, 1),
        "adamw": (1, 1),
        "adadelta": (2, 1),
        "adamax": (0, 1),
        "schedule_free_adamw": (1, 1),
        "lamb": (2, 2),  # by a helper, in both passes
        "dadapt_adam": (2, 2),
    }.items():
        assert catalogue.roots_and_divisions(name) == wanted, name
    for name in ROWS:
        assert f"FN({ {'adamw': 'adam'}.get(name, name) })(size_t n" in catalogue.KERNELS


def test_every_row_has_its_traffic(catalogue):
    assert set(catalogue.TWO_PASSES) == {n for n, r in ROWS.items() if "sums" in r["needs"]}
    rules = {rule["name"]: rule for rule in catalogue.rules()}
    assert rules["adam"]["streams"] == 7  # p, m, v read and written, g read
    assert rules["polyak_sgd"]["streams"] == 4  # and the gradient twice
    for name, rule in rules.items():
        opt = getattr(gd, ROWS[name]["class"])()
        assert rule["arrays"] <= 2 + len(opt._state_names())
        assert rule["streams"] >= rule["arrays"] + 1


def test_every_entry_can_be_prepared_and_every_goal_measured(row, tables):
    assert {table.row for table in tables} <= {*row("run").ROWS}
    for table in tables:
        labels = [entry.label for entry in table.entries]
        assert len({*labels}) == len(labels)
        for entry in table.entries:
            factory = getattr(row(entry.module), entry.factory)
            inspect.signature(factory).bind(**json.loads(json.dumps(entry.arguments)))
        for goal in table.goals:
            assert table.named(goal.ours), goal
            assert table.named(goal.theirs), goal
            assert all(entry.library == "gdcore" for entry in table.named(goal.ours)), goal


def test_contestants_without_peers_agree(row, tables):
    close = row("contest").close
    for table in tables:
        cases = {
            entry.label: getattr(row(entry.module), entry.factory)(**entry.arguments)
            for entry in table.entries
            if entry.library in ("gdcore", "numpy", "python") and entry.threads == 1
        }
        shown = {k: [float(v) for v in case.values()] for k, case in cases.items() if case.values}
        first = next(iter(shown.values()), [])
        for label, values in shown.items():
            pairs = zip(values, first, strict=True)
            assert all(close(a, b, table.tolerance) for a, b in pairs), f"{table.title}: {label}"


def test_the_line_is_the_documents(row):
    shown = row("row_engine").gdcore_line("W and b", "traced").values()
    assert shown == [186.0, 62.0, 18.0]  # document 003: the loss, and 8 - 0.01 * 62 = 7.38


def test_fits_take_as_many_steps_as_their_time_is_divided_by(row):
    networks, fits = row("row_networks"), row("row_fits")
    cases = [networks.gdcore_fit(name, None) for name in ("P3a", "P3b")]
    cases += [fits.sized_fit(*size) for size in fits.SIZES if size[0] <= 1000]
    for case in cases:
        assert len(case.call().batch_losses) == case.repeats
    assert len(fits.gdcore_small(fits.EPOCHS, anew=True).call().batch_losses) == fits.STEPS


def test_the_data_of_p8_are_as_large_as_said(row):
    fits = row("row_fits")
    for name in fits.FORMS:
        found = fits.fit_memory(name, 0.01)
        assert 0.99e7 < found["data"] <= 1e7
        assert found["rows"] > 1024  # of the epoch before
        assert found["growth"] is None or found["growth"] < 1e6
