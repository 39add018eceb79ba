"""docs/optimizers.md says what the table, the twins and the optimizers themselves say."""

import re

import make_optimizer_page as maker
import numpy as np
import pytest

import gdcore as gd
from gdcore import _core

RUNS = maker.documented_runs(maker.PAGE.read_text(encoding="utf-8"))


def test_the_page_is_made_of_the_table_and_the_twins():
    text = maker.PAGE.read_text(encoding="utf-8")
    steps = dict(
        re.findall(r"## `gd\.(\w+)`.*?Steps to the minimum: ([^\n]*)\.\n", text, re.DOTALL)
    )
    assert text == maker.page(lambda row: steps[row["class"]]), "make generated"


def test_every_optimizer_is_run_on_every_function():
    assert [run[:2] for run in RUNS] == [
        (row["class"], function) for row in _core.OPTIMIZERS for function in maker.DESCENTS
    ]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run[0]}-{run[1]}")
def test_it_reaches_the_minimum_in_the_documented_steps(run):
    name, function, lr, falling, steps = run
    opt = getattr(gd, name)(lr=maker.rate(lr, falling))
    assert maker.steps_to(maker.DESCENTS[function], opt, steps) == steps


def test_a_run_that_does_not_get_there_is_told():
    slow = maker.DESCENTS["parabola"]
    assert maker.steps_to(slow, gd.SGD(lr=1e-4), 50) is None
    with np.errstate(all="ignore"):
        assert maker.steps_to(slow, gd.SGD(lr=10.0), 5000) is None
