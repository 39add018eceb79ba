"""The optimizers' arithmetic: every row of the table, in every variant and dialect.

Each is held against an exact step and the error bound of the design, against its NumPy twin,
against itself on every level, and however the arrays are cut into views, lists and threads.
"""

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from optimizer_cases import (
    CASES,
    ROWS,
    STEPS,
    bounded,
    exact_settings,
    fingerprints,
    label,
    make,
    mpf,
    stepped,
)

import gdcore as gd
from gdcore import _core
from gdcore.reference import optimizers as reference

each_case = pytest.mark.parametrize("case", CASES, ids=label)
each_row = pytest.mark.parametrize("name", ROWS)
LIMITED = (
    {"maximize": True},
    {"clip_value": 0.25, "maximize": True},
    {"clip_norm": 0.5},
    {"global_clip_norm": 0.5, "maximize": True},
    {"clip_norm": 1e300},
)


# ---- The table and its twins ---------------------------------------------------------------------


def test_every_row_has_a_twin_and_a_class():
    assert list(reference.RULES) == list(ROWS)
    for row in _core.OPTIMIZERS:
        assert issubclass(getattr(gd, row["class"]), gd.optimizers.Optimizer)
        assert row["class"] in gd.optimizers.__all__


def test_the_cases_reach_every_row_and_dialect():
    reached = {(name, h["dialect"]) for name, h in CASES}
    assert reached == {(name, d) for name in ROWS for d in ("torch", "keras", "optax")}
    assert len({label(case) for case in CASES}) == len(CASES)


@each_case
def test_twins_change_nothing_and_name_the_state(case):
    opt = make(case)
    p, state = stepped(opt, np.array([1.0, -2.0]), [np.array([0.5, 3.0])])
    given_p, given_g = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    table = reference.step(case[0], given_p, given_g, None, opt.get_params(), 1, opt.dialect)
    assert [*table][-1] == "p"
    assert {*state, "g", "update", "effective_lr"} <= {*table}
    np.testing.assert_array_equal([given_p, given_g], [[1.0, -2.0], [0.5, 3.0]])
    before = {name: array.copy() for name, array in state.items()}
    reference.step(case[0], p, given_g, state, opt.get_params(), 2, opt.dialect)
    for name, array in state.items():
        np.testing.assert_array_equal(array, before[name])


# ---- Accuracy ------------------------------------------------------------------------------------


def magnitudes(dtype):
    """Sizes of gradients: zero, usual, subnormal, just normal, squares that vanish, huge ones."""
    info = np.finfo(dtype)
    tiny, largest = float(info.tiny), float(info.max)
    usual = [0.0, 1.0, 1.0, 1.0, 1e-4, 1e3]
    return np.array([*usual, tiny / 16, tiny * 4, tiny**0.5, largest**0.5 / 16, largest / 256])


def step_at(opt, t, dtype, rng):
    """Take step number t; return parameter, gradient and state before it, and both after it."""
    sizes = magnitudes(dtype)
    p, *grads = ((rng.normal(size=(6, len(sizes)))) * sizes).astype(dtype)
    p = np.where(sizes < 1e6, rng.normal(size=len(sizes)), p).astype(dtype)
    names = opt._state_names()
    state = reference.InitialState(opt._row["name"], p, opt.get_params())
    state = {name: state[name] for name in names}
    if t > 1:
        p, state = stepped(opt, p, grads[:4])
        opt.load_state_dict({**opt.state_dict(), "t": t - 1})
    p_after, state_after = stepped(opt, p, grads[4:])
    return (p, grads[4], state), (p_after, state_after)


def exact_step(opt, before, t):
    """The step in exact numbers that carry the bound; clipping rounds the gradient twice."""
    p, g, state = before
    h, eps = exact_settings(opt), float(np.finfo(p.dtype).eps)
    wide = np.array([mpf(float(x)) for x in g])
    (clipped,) = reference.clipped(
        [wide], [h], maximize=h["maximize"], global_clip_norm=h["global_clip_norm"]
    )
    prepared = bounded(g)
    for i, x in enumerate(clipped):
        prepared[i].value = x
        prepared[i].error = 4 * eps * abs(x) if abs(x) != abs(wide[i]) else mpf(0)
    exact_state = {name: bounded(a, updated=True) for name, a in state.items()}
    table = reference.step(
        opt._row["name"], bounded(p, updated=True), prepared, exact_state, h, t, opt.dialect
    )
    for i, new in enumerate(table["p"]):
        kept, update = table.get("p_decayed", bounded(p))[i], table["update"][i]
        new.error = kept.error + update.error + 2 * eps * abs(kept.value) + 8 * eps * abs(update.value)
    return table


def twin_step(opt, before, t):
    p, g, state = before
    h = opt.get_params()
    (g,) = reference.clipped(
        [g], [h], maximize=h["maximize"], global_clip_norm=h["global_clip_norm"]
    )
    return reference.step(opt._row["name"], p, g, state, h, t, opt.dialect)


def check_step(opt, t, dtype, rng):
    """Compare a step with exact numbers, and with the twin where those say nothing."""
    before, (p, state) = step_at(opt, t, dtype, rng)
    exact, twin = exact_step(opt, before, t), twin_step(opt, before, t)
    told = 0
    for name, found in {**state, "p": p}.items():
        assert found.dtype == twin[name].dtype == dtype
        for i, x in enumerate(exact[name]):
            if x.wild:
                np.testing.assert_allclose(found[i], twin[name][i], rtol=64 * np.finfo(dtype).eps)
                continue
            told += 1
            message = f"t={t} {name}[{i}] is {found[i]!r}, exactly {x.value}, bound {x.error}"
            assert abs(mpf(float(found[i])) - x.value) <= x.error, message
            assert abs(mpf(float(twin[name][i])) - x.value) <= 2 * x.error, f"twin, {message}"
    assert told >= 9 * (1 + len(state))  # of eleven elements, at most the two huge ones are wild


@each_case
def test_steps_are_within_the_bound_of_an_exact_step(case, dtype, rng):
    for t in STEPS:
        check_step(make(case), t, dtype, rng)


@each_case
@pytest.mark.parametrize("more", LIMITED, ids=str)
def test_clipped_steps_are_within_the_bound_too(case, more, dtype, rng):
    check_step(make(case, **more), 2, dtype, rng)
