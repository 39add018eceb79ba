"""The catalogue's benchmark knows every row of the table, and counts what its kernels compute."""

import importlib
import re
from pathlib import Path

import pytest
from optimizer_cases import ROWS

import gdcore as gd

ROOT = Path(__file__).parent.parent
KERNELS = "\n".join(path.read_text() for path in sorted((ROOT / "csrc").glob("optimizers*.inc")))


@pytest.fixture
def catalogue(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("row_catalogue")


def counted(name):
    """The roots and divisions of one function, and of the helpers it calls."""
    found = re.search(rf"FN\({name}\)\([^;{{]*\)\n\{{\n(.*?)\n\}}", KERNELS, re.DOTALL)
    if found is None:
        return 0, 0
    helpers = [counted(helper) for helper in re.findall(r"FN\((\w+)\)\(", found[1])]
    own = found[1].count("R_SQRT("), found[1].count(" / ")
    return tuple(map(sum, zip(own, *helpers, strict=True)))


@pytest.mark.parametrize("name", ROWS)
def test_roots_and_divisions_are_those_of_the_kernels(name, catalogue):
    kernel = {"adamw": "adam"}.get(name, name)
    assert f"static void FN({kernel})(" in KERNELS
    both = counted(kernel), counted(f"{kernel}_terms")
    assert catalogue.ROOTS_AND_DIVISIONS[name] == tuple(map(sum, zip(*both, strict=True)))


def test_every_row_has_its_traffic(catalogue):
    assert set(catalogue.ROOTS_AND_DIVISIONS) == set(ROWS)
    assert set(catalogue.TWO_PASSES) == {n for n, r in ROWS.items() if "sums" in r["needs"]}
    rules = {rule["name"]: rule for rule in catalogue.rules()}
    assert rules["adam"]["streams"] == 7  # p, m, v read and written, g read
    assert rules["polyak_sgd"]["streams"] == 4  # and the gradient twice
    for name, rule in rules.items():
        opt = getattr(gd, ROWS[name]["class"])()
        assert rule["arrays"] <= 2 + len(opt._state_names())
        assert rule["streams"] >= rule["arrays"] + 1
