"""The catalogue's benchmark knows every row of the table, and counts what its kernels compute."""

import importlib
from pathlib import Path

import pytest
from optimizer_cases import ROWS

import gdcore as gd

ROOT = Path(__file__).parent.parent


@pytest.fixture
def catalogue(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("row_catalogue")


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
