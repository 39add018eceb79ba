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
import make_optimizer_page as maker
import numpy as np
import pytest
from hypothesis import given, settings
from optimizer_cases import (
    ALONE,
    CASES,
    LOSS,
    PLAIN,
    ROWS,
    STEPS,
    SUMMING,
    Bounded,
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
each_lone_case = pytest.mark.parametrize("case", [c for c in CASES if c[0] in ALONE], ids=label)
each_plain_case = pytest.mark.parametrize("case", PLAIN, ids=label)
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
    h = {**opt.get_params(), "loss": LOSS, "grad_norm": opt.grad_norm}
    table = reference.step(case[0], given_p, given_g, None, h, 1, opt.dialect)
    assert [*table][-1] == "p"
    assert {*state, "g", "update", "effective_lr"} <= {*table}
    np.testing.assert_array_equal([given_p, given_g], [[1.0, -2.0], [0.5, 3.0]])
    before = {name: array.copy() for name, array in state.items()}
    reference.step(case[0], p, given_g, state, h, 2, opt.dialect)
    for name, array in state.items():
        np.testing.assert_array_equal(array, before[name])


# ---- Accuracy ------------------------------------------------------------------------------------


def magnitudes(dtype, sums):
    """Sizes of gradients: zero, usual, subnormal, just normal, squares that vanish, huge ones.

    Where they are summed, huge ones would leave nothing to see of the others.
    """
    info = np.finfo(dtype)
    tiny, largest = float(info.tiny), float(info.max)
    usual = [0.0, 1.0, 1.0, 1.0, 1e-4, 1e3]
    huge = [1.0, 1.0] if sums else [largest**0.5 / 16, largest / 256]
    return np.array([*usual, tiny / 16, tiny * 4, tiny**0.5, *huge])


def step_at(opt, t, dtype, rng):
    """Take step number t; return parameter, gradient and state before it, and both after it."""
    sizes = magnitudes(dtype, opt._row["name"] in SUMMING)
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
        error = 0 if abs(x) == abs(wide[i]) else 4 * eps * abs(x)
        prepared[i] = Bounded(x, g.dtype, error)
    exact_state = {name: bounded(a, updated=True) for name, a in state.items()}
    table = reference.step(
        opt._row["name"], bounded(p, updated=True), prepared, exact_state, h, t, opt.dialect
    )
    if opt._row["decay"] == "own":
        return table  # p is updated as states are, by more terms than one
    for i, new in enumerate(table["p"]):
        kept, update = table.get("p_decayed", bounded(p))[i], table["update"][i]
        new.error = (
            kept.error + update.error + 2 * eps * abs(kept.value) + 8 * eps * abs(update.value)
        )
    return table


def twin_step(opt, before, t):
    p, g, state = before
    h = {**opt.get_params(), "loss": LOSS, "grad_norm": opt.grad_norm}
    (g,) = reference.clipped(
        [g], [h], maximize=h["maximize"], global_clip_norm=h["global_clip_norm"]
    )
    return reference.step(opt._row["name"], p, g, state, h, t, opt.dialect)


def check_step(opt, t, dtype, rng):
    """Compare a step with exact numbers and the twin.

    The twin's state has the same bits, but where sums enter, which NumPy adds in another order.
    """
    before, (p, state) = step_at(opt, t, dtype, rng)
    exact, twin = exact_step(opt, before, t), twin_step(opt, before, t)
    told = 0
    arrays = {name: array for name, array in {**state, "p": p}.items() if array.ndim}
    for name, found in arrays.items():
        assert found.dtype == twin[name].dtype == dtype
        for i, x in enumerate(exact[name]):
            x = x if isinstance(x, Bounded) else Bounded(x, dtype)
            if x.wild:
                np.testing.assert_allclose(found[i], twin[name][i], rtol=64 * np.finfo(dtype).eps)
                continue
            told += 1
            # A state that is no sum has one term, itself.
            bound = x.error if name == "p" else max(x.error, 4 * x.eps * abs(x.value))
            message = f"t={t} {name}[{i}] is {found[i]!r}, exactly {x.value}, bound {bound}"
            assert abs(mpf(float(found[i])) - x.value) <= bound, message
            apart = abs(mpf(float(found[i])) - mpf(float(twin[name][i])))
            assert apart <= bound / 2, f"twin {twin[name][i]!r}, {message}"
        if name != "p" and opt._row["name"] not in SUMMING:
            np.testing.assert_array_equal(found, twin[name], err_msg=name)
    # Of eleven elements the two huge ones are wild, and where signs are taken what underflows.
    assert told >= 6 * len(arrays)
    for name in state.keys() - arrays.keys():
        check_number(state[name], exact[name], twin[name], f"t={t} {name}")


def check_number(found, exact, twin, message):
    """A kept number is a double; sums over float32 terms carry their bound."""
    assert found.dtype == np.float64
    error = exact.error if isinstance(exact, Bounded) else 0
    value = mpf(exact.value if isinstance(exact, Bounded) else exact)
    for told in (found, twin):
        assert abs(mpf(float(told)) - value) <= error + 1e-12 * abs(value), message


@each_case
def test_steps_are_within_the_bound_of_an_exact_step(case, dtype, rng):
    for t in STEPS:
        check_step(make(case), t, dtype, rng)


@each_plain_case
@pytest.mark.parametrize("more", LIMITED, ids=str)
def test_clipped_steps_are_within_the_bound_too(case, more, dtype, rng):
    check_step(make(case, **more), 2, dtype, rng)


# ---- The same bits -------------------------------------------------------------------------------


@pytest.mark.parametrize("level", _core.levels())
def test_every_level_gives_the_same_bits(level):
    script = Path(__file__).with_name("optimizer_cases.py")
    run = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "GDCORE_ISA": level},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(run.stdout)
    assert found["level"] == level
    assert found["bits"] == fingerprints()


def cut(array, places):
    return np.split(array, sorted(places))


@each_lone_case
@given(data=st.data())
@settings(max_examples=8)
def test_any_split_of_an_array_gives_the_same_bits(case, data):
    n = data.draw(st.integers(0, 70), "elements")
    places = data.draw(st.lists(st.integers(0, n), max_size=4), "cuts")
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    p, *grads = np.random.default_rng(n).normal(size=(4, n)).astype(dtype)
    whole, state = stepped(make(case, clip_value=1.0), p, grads)
    parts, listed, own = cut(p.copy(), places), cut(p.copy(), places), make(case, clip_value=1.0)
    alone = [make(case, clip_value=1.0) for _ in parts]
    for g in grads:
        own.step(listed, cut(g, places))
        for opt, part, g_part in zip(alone, parts, cut(g, places), strict=True):
            opt.step(part, g_part)
    np.testing.assert_array_equal(np.concatenate(listed), whole)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for name, array in state.items():
        rows = own.state_dict()["state"]
        if array.ndim:
            np.testing.assert_array_equal(np.concatenate([row[name] for row in rows]), array)
        else:
            assert {float(row[name]) for row in rows} == {float(array)}


@pytest.fixture
def threads():
    before = gd.get_num_threads()
    yield gd.set_num_threads
    gd.set_num_threads(before)


@each_plain_case
def test_any_number_of_threads_gives_the_same_bits(case, dtype, rng, threads):
    p, *grads = rng.normal(size=(3, 100_003)).astype(dtype)
    results = []
    for count, limit in [(1, None), (2, None), (3, None), (1, 2.5), (3, 2.5)]:
        threads(count)
        opt = make(case, global_clip_norm=limit)
        p_after, state = stepped(opt, p, grads)
        results.append([p_after, *state.values()])
        needed = limit is not None or ROWS[case[0]]["needs"] == "loss"
        assert (opt.grad_norm is None) != needed
    for one, other in [(0, 1), (0, 2), (3, 4)]:
        for a, b in zip(results[one], results[other], strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(results[0][0], p)


@each_plain_case
def test_layout_and_alignment_change_no_bit(case, dtype, rng):
    p, g = rng.normal(size=(2, 5, 7)).astype(dtype)
    plain, state = stepped(make(case), p, [g, g])
    for offset in (1, 3):
        room = np.empty((4, 35 + offset), dtype)
        shifted, g_shifted = (row[offset:].reshape(5, 7) for row in room[:2])
        shifted[:], g_shifted[:] = p, g
        opt = make(case)
        opt.step(shifted, g_shifted, loss=LOSS)
        opt.step(shifted, g_shifted, loss=LOSS)
        np.testing.assert_array_equal(shifted, plain)
    fortran, f_state = stepped(make(case), np.asfortranarray(p), [np.asfortranarray(g)] * 2)
    # The same elements in another order: sums over them may differ in the last bit.
    eps = 64 * np.finfo(dtype).eps if case[0] in SUMMING else 0
    np.testing.assert_allclose(fortran, plain, rtol=eps, atol=0)
    for name, array in state.items():
        np.testing.assert_allclose(f_state[name], array, rtol=eps, atol=0)
        assert f_state[name].flags.f_contiguous


@each_plain_case
def test_a_long_array_may_begin_anywhere_in_a_cache_line(case, dtype, rng):
    """Its first elements are a call of their own, which aligns the rest."""
    p, g = rng.normal(size=(2, 4999)).astype(dtype)
    results = []
    for offset in (0, 1, 7):
        room = np.empty(p.size + 64, dtype)
        start = -room.ctypes.data % 64 // room.itemsize + offset
        shifted = room[start : start + p.size]
        assert shifted.ctypes.data % 64 == offset * room.itemsize
        shifted[:] = p
        make(case).step(shifted, g, loss=LOSS)
        results.append(shifted)
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])
    assert not np.array_equal(results[0], p)


# ---- Values that are not finite ------------------------------------------------------------------


@each_case
def test_nonfinite_values_go_the_way_of_the_twin(case, dtype):
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0]
    p, g = (a.ravel().astype(dtype) for a in np.meshgrid(special, special))
    opt, found = make(case), p.copy()
    with np.errstate(all="raise"):
        opt.step(found, g, loss=LOSS)
    h = {**opt.get_params(), "loss": LOSS, "grad_norm": opt.grad_norm}
    table = reference.step(case[0], p, g, None, h, 1, opt.dialect)
    eps = np.finfo(dtype).eps
    for name, array in {**opt.state_dict()["state"][0], "p": found}.items():
        np.testing.assert_allclose(array, table[name], rtol=16 * eps, err_msg=name)
    assert np.isnan(found[np.isnan(g)]).all()


@pytest.mark.parametrize(
    "case", [c for c in CASES if c[0] in ALONE or not c[1].get("weight_decay")], ids=label
)
def test_constant_gradients_never_give_a_nan(case, dtype):
    """Where a variance is 0, rounding must not take it below.

    With decay a rule that finds its rate from sums diverges on a function without a minimum.
    """
    g = np.linspace(0.1, 9.7, 193).astype(dtype)
    opt, p = make(case), np.zeros_like(g)
    for _ in range(2500):
        opt.step(p, g, loss=LOSS)
        assert np.isfinite(p[0])
    assert np.isfinite(p).all()
    assert (p < 0).all()


def test_a_nan_norm_clips_nothing():
    for limits in ({"clip_norm": 1.0}, {"global_clip_norm": 1.0}):
        opt, a, b = gd.SGD(1.0, **limits), np.zeros(2), np.zeros(1)
        opt.step([a, b], [np.array([np.nan, 4.0]), np.array([np.inf])])
        assert np.isnan(opt.grad_norm)
        np.testing.assert_array_equal(a, [np.nan, -4.0])


# ---- Clipping ------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.floats(-1e100, 1e100), max_size=20), min_size=1, max_size=4),
    st.floats(1e-3, 1e3),
)
def test_global_clipping_scales_by_limit_over_norm(values, limit):
    grads = [np.array(v, dtype=float) for v in values]
    opt, params = gd.SGD(1.0, global_clip_norm=limit), [np.zeros_like(g) for g in grads]
    opt.step(params, grads)
    everything = np.concatenate(grads)
    top = np.abs(everything).max(initial=0) or 1.0
    norm = top * np.linalg.norm(everything / top)
    np.testing.assert_allclose(opt.grad_norm, norm, rtol=1e-14)
    factor = limit / norm if norm > limit else 1.0
    np.testing.assert_allclose(
        np.concatenate(params), -factor * everything, rtol=1e-13, atol=5e-324
    )
    copies = [g.copy() for g in grads]
    assert gd.clip_by_global_norm(copies, limit) == opt.grad_norm
    np.testing.assert_array_equal(np.concatenate(copies), -np.concatenate(params))


def test_clip_norm_is_of_each_array_and_clip_value_of_each_element():
    a, b = np.zeros(2), np.zeros(2)
    gd.SGD(1.0, clip_norm=1.0).step([a, b], [np.array([3.0, 4.0]), np.array([0.3, 0.4])])
    np.testing.assert_allclose([a, b], [[-0.6, -0.8], [-0.3, -0.4]], rtol=1e-15)
    a[:] = 0
    gd.SGD(1.0, clip_value=1.0).step(a, np.array([-7.0, 0.5]))
    np.testing.assert_array_equal(a, [1.0, -0.5])


# ---- Minima --------------------------------------------------------------------------------------

# Without what moves the minimum or stops short of it, and averages of length 0, which are signs.
UNIT = {
    hyper["name"] for row in ROWS.values() for hyper in row["hypers"] if hyper["domain"] == "unit"
}
MOVES = {"weight_decay", "lr_decay", "f_min", "eps"}
each_free_case = pytest.mark.parametrize(
    "case",
    [case for case in CASES if not UNIT & {*case[1]} and not any(map(case[1].get, MOVES))],
    ids=label,
)


@each_free_case
def test_it_reaches_the_minimum_of_a_parabola(case):
    """Every dialect and setting; the page of the optimizers tells each class's steps."""
    descent = maker.DESCENTS["parabola"]
    with np.errstate(all="ignore"):
        assert any(
            maker.steps_to(descent, make(case, lr=lr), 5000) is not None
            for lr in (0.1, 0.01, 1.0, 1e-3)
        )


# ---- Nothing is allocated ------------------------------------------------------------------------


@each_row
def test_a_step_allocates_nothing_and_keeps_no_reference(name, rng):
    opt = make((name, {"lr": 0.01}), global_clip_norm=1.0)
    params = {"W": rng.normal(size=(60, 50)), "b": [rng.normal(size=50), np.array(1.0)]}
    grads = {"W": rng.normal(size=(60, 50)), "b": [rng.normal(size=50), 0.5]}
    arguments = [params, grads, params["W"], grads["W"], params["b"][0], grads["b"][0], grads["b"]]
    for _ in range(3):
        opt.step(params, grads, loss=LOSS)
    references = [sys.getrefcount(x) for x in arguments]
    # The loop's own counter, and less than the array of 50 elements. Other threads of pytest's
    # allocate a little now and then: one clean run of five is enough.
    grown = [growth(opt, params, grads) for _ in range(5)]
    assert [sys.getrefcount(x) for x in arguments] == references
    assert any(left < 200 and peak < 300 for left, peak in grown), grown


def growth(opt, params, grads):
    """Bytes that 1000 steps leave behind, and how many more there were at most meanwhile."""
    gc.collect()
    tracemalloc.start()
    try:
        opt.step(params, grads, loss=LOSS)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(1000):
            opt.step(params, grads, loss=LOSS)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, peak - before
