"""The proximal step of l1 and the constraints: nearest points, exact zeros, bits, settings.

Over every class of the table and every constraint of the module, none of them named in a loop.
"""

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from constraint_cases import ALL, CLASSES, KINDS, both_orders, digests, draws, run
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from unchanged import picture

import gdcore as gd
from gdcore import _core, constraints
from gdcore.reference import constraints as reference
from gdcore.reference import optimizers as rules

SHAPES = [(), (1,), (9,), (4097,), (0,), (3, 0), (0, 3), (1, 9), (9, 1), (300, 17), (5, 33)]
SHAPES += [(4100, 3), (2, 3, 5), (3, 1, 2, 4)]


def bits(array):
    """Contents in C order, whatever the memory order."""
    return array.shape, array.dtype, array.tobytes("C")


# ---- Nearest points ------------------------------------------------------------------------------


@pytest.mark.parametrize("constraint", ALL, ids=repr)
def test_projections_are_those_of_the_twin(constraint, dtype, rng):
    eps = np.finfo(dtype).eps
    for shape in SHAPES:
        for scale in (1e-3, 1.0, 1e3):
            x = np.array(draws(rng, shape, dtype) * dtype.type(scale))
            given_x = x.copy()
            y = constraint(x)
            assert isinstance(y, np.ndarray)
            assert (y.shape, y.dtype, y is x) == (x.shape, dtype, False)
            near = 1e-15 if isinstance(constraint, constraints.simplex) else 0
            wanted = reference.project(constraint, x)
            np.testing.assert_allclose(y, wanted, rtol=4 * eps, atol=near)
            np.testing.assert_array_equal(x, given_x)


reals = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, -0.0, 1.0, 0.5, 1e-30, -1e30, 1e38])


@given(
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda dtype: arrays(dtype, array_shapes(max_dims=3, max_side=6), elements=reals)
    ),
    st.sampled_from(ALL),
)
def test_projections_keep_the_constraint_and_stay_put(x, constraint):
    """Feasible, idempotent up to rounding, no farther from x than other feasible points."""
    eps = float(np.finfo(x.dtype).eps)
    y = constraint(x)
    again = constraint(y)
    np.testing.assert_allclose(again, y, rtol=4 * eps, atol=len(reference.units(x)) * 4 * eps)
    wide, found = (reference.units(a).astype(np.float64) for a in (x, y))
    for other in ALL:
        if type(other) is not type(constraint):
            continue
        rival = reference.units(constraint(other(np.roll(x, 1)))).astype(np.float64)
        if isinstance(constraint, constraints.unit_norm) and not (
            np.all(np.linalg.norm(rival, axis=0) > 0.5) and np.all(np.any(wide != 0, axis=0))
        ):
            continue  # no unit vector is nearest to 0
        distance = [np.linalg.norm(wide - a, axis=0) for a in (found, rival)]
        assert np.all(distance[0] <= distance[1] * (1 + 16 * eps) + 16 * eps)


@given(
    arrays(np.float64, st.integers(1, 40), elements=st.floats(-4, 4) | st.sampled_from([0.25, 1.0]))
)
def test_the_simplex_meets_its_conditions(x):
    """KKT: with one t, p = x - t where p > 0, and x <= t where p = 0."""
    p = gd.constraints.simplex()(x)
    assert np.all(p >= 0)
    assert p.sum() == pytest.approx(1, abs=1e-14)
    t = (x - p)[p > 0]
    assert np.ptp(t) <= 4e-15
    assert np.all(x[p == 0] <= t.min() + 4e-15)


def test_simplices_of_hard_inputs():
    simplex = gd.constraints.simplex()
    ties = np.array([1e300, 1e300, -1e300])
    np.testing.assert_array_equal(simplex(ties), [0.5, 0.5, 0.0])
    np.testing.assert_array_equal(simplex([-np.inf, 3.0, 2.5]), [0.0, 0.75, 0.25])
    assert np.isnan(simplex([1.0, np.nan])).all()
    assert np.isnan(simplex([1.0, np.inf, 5.0])).all()
    assert np.isnan(simplex([-np.inf, -np.inf])).all()
    alone = simplex(np.array([[np.nan, 1.0], [0.0, 0.0]]))  # a NaN stays in its unit
    np.testing.assert_array_equal(alone, [[np.nan, 1.0], [np.nan, 0.0]])
    steps = -np.cumsum(2.0 ** -np.arange(1, 1000))  # many thresholds, one by one
    np.testing.assert_allclose(simplex(steps), reference.project(simplex, steps), atol=1e-15)
    for n in (10**5, 17):
        even = simplex(np.full(n, 7.0, np.float32))
        np.testing.assert_array_equal(even, np.full(n, 1 / n, np.float32))


def test_elementwise_constraints_let_nan_through():
    x = np.array([np.nan, -np.inf, np.inf, -1.0, -0.0])
    for dtype in (np.float32, np.float64):
        found = gd.constraints.non_neg()(x.astype(dtype))
        np.testing.assert_array_equal(found, [np.nan, 0.0, np.inf, 0.0, 0.0])
        found = gd.constraints.box(-np.inf, 0.5)(x.astype(dtype))
        np.testing.assert_array_equal(found, [np.nan, -np.inf, 0.5, -1.0, 0.0])


def test_norms_of_units_that_leave_the_range_of_their_squares():
    x = np.array([[3e-200, 3e200, 0.0, np.nan, 5e-324, 3.0], [4e-200, 4e200, 0.0, 1.0, 0.0, 4.0]])
    for a in both_orders(x):
        unit = gd.constraints.unit_norm()(a)
        np.testing.assert_allclose(unit[:, [0, 1, 5]], [[0.6] * 3, [0.8] * 3], rtol=1e-15)
        np.testing.assert_array_equal(unit[:, 2:5], x[:, 2:5])  # no direction
        short = gd.constraints.max_norm(10.0)(a)
        np.testing.assert_allclose(short[:, 1], [6.0, 8.0], rtol=1e-15)
        np.testing.assert_array_equal(short[:, [0, 2, 3, 4, 5]], x[:, [0, 2, 3, 4, 5]])
        shorter = gd.constraints.max_norm(1e-200)(a)
        np.testing.assert_allclose(shorter[:, 0], [6e-201, 8e-201], rtol=1e-15)
    np.testing.assert_array_equal(gd.constraints.max_norm(0.0)(x)[:, 5], [0.0, 0.0])
    tiny = np.array([3e-45, 4e-45], np.float32)
    assert np.linalg.norm(gd.constraints.unit_norm()(tiny)) == pytest.approx(1, rel=1e-7)


# ---- The same bits -------------------------------------------------------------------------------


def test_every_level_gives_the_same_bits():
    for level in _core.levels():
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("constraint_cases.py"))],
            env={**os.environ, "GDCORE_ISA": level},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == {"level": level, "bits": digests()}


def test_memory_order_changes_no_bit(dtype, rng):
    """Of up to two axes; with more, a unit's elements follow one another in another order."""
    alone = [kind for kind in CLASSES if kind._row["needs"] == "nothing"]  # no sum over an array
    for shape in SHAPES:
        x = draws(rng, shape, dtype)
        for constraint in ALL:
            c, f = map(constraint, both_orders(x))
            assert f.flags.f_contiguous
            np.testing.assert_allclose(c, f, rtol=4 * np.finfo(dtype).eps)
            if x.ndim > 2:
                continue
            assert bits(c) == bits(f)
            for kind in alone[::4]:
                more = {"clip_adaptive": 0.01, "l1": 0.01, "constraint": constraint}
                c, f = (run(kind(lr=0.1, **more), [a])[0] for a in both_orders(x))
                assert bits(c) == bits(f)


def test_threads_change_no_bit(dtype, rng):
    before = gd.get_num_threads()
    try:
        for shape in ((60_000,), (700, 90), (90, 700), (20_000, 3)):
            for x in both_orders(draws(rng, shape, dtype)):
                for constraint in ALL:
                    found = set()
                    for threads in (1, 2, 5):
                        gd.set_num_threads(threads)
                        opt = gd.Adam(0.1, clip_adaptive=0.01, l1=0.1, constraint=constraint)
                        (p,) = run(opt, [x.copy("K")], steps=2)
                        found.add((bits(p), bits(constraint(x))))
                    assert len(found) == 1
    finally:
        gd.set_num_threads(before)


# ---- In a step -----------------------------------------------------------------------------------


def expected(opt, p, g, state, t):
    """The parameter after a step by the twin."""
    h = opt.get_params()
    told = {**h, "loss": 1.0, "grad_norm": float(np.linalg.norm(g))}
    (g,) = rules.clipped([g], [h], maximize=h["maximize"], params=[p])
    return rules.step(opt._row["name"], p, g, state, told, t, h["dialect"])["p"]


def test_every_rule_takes_clipping_l1_and_constraint(dtype, rng):
    """After each step the parameters are the twin's, and keep the constraint."""
    eps = float(np.finfo(dtype).eps)
    for kind in CLASSES:
        for more in [
            {"l1": 0.5},
            {"clip_adaptive": 0.02, "maximize": True},
            *({"clip_adaptive": 0.3, "l1": 0.1, "constraint": c} for c in ALL),
        ]:
            opt, p, state = kind(lr=0.5, **more), draws(rng, (6, 5), dtype), None
            for t in (1, 2):
                g = draws(rng, p.shape, dtype)
                wanted = expected(opt, p.copy(), g, state, t)
                opt.step(p, g, loss=1.0)
                state = opt.state_dict()["state"][0]
                np.testing.assert_allclose(
                    p, wanted, rtol=64 * eps, atol=64 * eps, err_msg=str(opt)
                )
            if "constraint" in more:
                np.testing.assert_allclose(more["constraint"](p), p, rtol=4 * eps, atol=32 * eps)


def test_l1_gives_exact_zeros_in_every_rule(dtype):
    for kind in CLASSES:
        p = np.array([1e-5, -1e-5, 3.0, -3.0, np.nan, 0.0], dtype)
        before = p.copy()
        opt = kind(lr=0.5, l1=0.25)
        opt.step(p, np.zeros_like(p), loss=0.0)
        assert np.array_equal(p[[0, 1, 5]], [0.0, 0.0, 0.0]), kind
        assert np.isnan(p[4])
        np.testing.assert_allclose(p[2:4], [2.875, -2.875], rtol=2e-2)  # some rules decay
        at_rest = kind(lr=0.0, l1=0.25)
        at_rest.step(before, np.zeros_like(before), loss=0.0)
        assert before[0] != 0, kind  # lr = 0: nothing shrinks


def test_the_order_is_rule_then_l1_then_constraint():
    p = np.array([1.0, -1.0, 0.2])
    opt = gd.SGD(0.5, weight_decay=1.0, l1=0.5, constraint=gd.constraints.box(-0.1, 0.35))
    table = opt.step(p, np.array([-1.0, 0.0, 0.0]), trace=True)
    np.testing.assert_array_equal(table["p_rule"], [1.0, -0.5, 0.1])
    np.testing.assert_array_equal(table["p_proximal"], [0.75, -0.25, 0.0])
    np.testing.assert_array_equal(table["p"], p)
    np.testing.assert_array_equal(p, [0.35, -0.1, 0.0])


def test_a_schedule_sets_the_strength_of_l1():
    p = np.array([1.0])
    opt = gd.SGD(lr=lambda t: (0.5, 0.25)[t], l1=1.0)
    for wanted in (0.5, 0.25):
        opt.step(p, np.zeros(1))
        assert p[0] == wanted


def test_groups_have_their_own_and_frozen_arrays_none(dtype, rng):
    simplex, box = gd.constraints.simplex(), gd.constraints.box(-0.1, 0.1)
    for kind in CLASSES:
        params = {key: draws(rng, (4, 3), dtype) for key in "abcd"}
        before = {key: p.copy() for key, p in params.items()}
        groups = [
            {"params": "a", "constraint": simplex, "l1": 0.0},
            {"params": "b", "frozen": True, "clip_adaptive": 0.01},
            {"params": "c", "constraint": None, "l1": 0.0},
        ]
        opt = kind(lr=0.01, constraint=box, l1=1.0, groups=groups)
        grads = {key: draws(rng, (4, 3), dtype) for key in "abcd"}
        opt.step(params, grads, loss=1.0)
        np.testing.assert_allclose(params["a"].sum(0), 1, rtol=1e-6)
        np.testing.assert_array_equal(params["b"], before["b"])
        assert np.abs(params["c"]).max() > 0.1
        assert np.abs(params["d"]).max() <= dtype.type(0.1)


def test_settings_can_change_between_steps(rng):
    """Room for factors is made where a setting first needs it, for views as for whole arrays."""
    whole = rng.normal(size=(3, 4, 5))
    params, opt = [whole[0], whole[1].T, whole[2, 1:3]], gd.SGD(0.0)
    grads = [np.zeros_like(p) for p in params]
    opt.step(params, grads)
    outside = whole[2, 0].copy()
    opt.constraint = gd.constraints.unit_norm()
    opt.step(params, grads)
    for p in params:
        np.testing.assert_allclose(np.linalg.norm(p, axis=0), 1)
    opt.constraint, opt.clip_adaptive, opt.lr = None, 1e-3, 1.0
    before = [p.copy() for p in params]
    opt.step(params, [np.ones_like(p) for p in params])
    for p, old in zip(params, before, strict=True):
        np.testing.assert_allclose(np.linalg.norm(p - old, axis=0), 1e-3)
    np.testing.assert_array_equal(whole[2, 0], outside)


def test_nonfinite_gradients_are_named_or_skipped(dtype):
    for kind in CLASSES:
        for word in ("raise", "skip"):
            opt = kind(
                lr=0.1,
                on_nonfinite=word,
                clip_adaptive=0.01,
                l1=0.1,
                constraint=gd.constraints.simplex(),
            )
            params = [np.ones((2, 2), dtype), np.ones(3, dtype)]
            good = [np.ones_like(p) for p in params]
            opt.step(params, good, loss=1.0)
            before = picture(opt, params)
            bad = [good[0], np.array([1, np.inf, 1], dtype)]
            if word == "raise":
                with pytest.raises(gd.NonFiniteError, match=r"grads\[1\] holds a NaN"):
                    opt.step(params, bad, loss=1.0)
            else:
                opt.step(params, bad, loss=1.0)
            assert picture(opt, params) == before


def test_the_lasso_is_solved_with_its_zeros(rng):
    """ISTA: gradient descent with l1 meets the lasso's conditions, zeros exactly."""
    X, noise = rng.normal(size=(60, 20)), rng.normal(size=60)
    y = X[:, :4] @ np.array([3.0, -2.0, 1.0, 0.5]) + 0.1 * noise
    strength = 0.2
    w, lr = np.zeros(20), 1 / np.linalg.eigvalsh(X.T @ X / 60)[-1]
    opt = gd.SGD(lr, l1=strength)
    for _ in range(3000):
        opt.step(w, X.T @ (X @ w - y) / 60)
    slope = X.T @ (X @ w - y) / 60
    kept = w != 0
    assert 4 <= kept.sum() < 12
    np.testing.assert_allclose(slope[kept], -strength * np.sign(w[kept]), atol=1e-12)
    assert np.all(np.abs(slope[~kept]) < strength)


# ---- As values, and errors -----------------------------------------------------------------------


def test_constraints_are_values():
    assert len({*ALL}) == len(ALL)
    for constraint in ALL:
        again = eval(repr(constraint), vars(constraints))
        for same in (again, copy.deepcopy(constraint), pickle.loads(pickle.dumps(constraint))):
            assert same == constraint
            assert hash(same) == hash(constraint)
        with pytest.raises(AttributeError):
            constraint.anything = 1
        for kind in CLASSES:
            group = {"params": [0], "constraint": constraint, "l1": 0.5}
            opt = kind(lr=0.1, l1=0.25, constraint=constraint, groups=[group])
            assert eval(repr(opt), {**vars(gd.optimizers), **vars(constraints)}) == opt
            assert opt.get_params()["constraint"] is constraint
            p = run(opt, [np.ones((3, 2))])
            for same in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
                assert same == opt
                assert same.groups[0]["constraint"] == constraint
                q = run(same, [p[0].copy()])
                np.testing.assert_array_equal(q[0], run(copy.deepcopy(opt), [p[0].copy()])[0])
            fresh = kind(**opt.get_params())
            fresh.load_state_dict(opt.state_dict())
            np.testing.assert_array_equal(run(fresh, [p[0].copy()])[0], q[0])


def test_numbers_lists_and_views_are_read():
    for constraint in ALL:
        for value in (3.0, 3, np.float32(3), [1, 2], [[True, False]], np.arange(6).reshape(2, 3)):
            found = constraint(value)
            wanted = np.float32 if isinstance(value, np.float32) else np.float64
            assert found.dtype == wanted
            assert found.shape == np.shape(value)
        assert isinstance(constraint(3.0), np.float64)
        x = np.arange(24.0).reshape(4, 6) - 9
        for view in (x[::2, ::-1], x[1:3].T, np.broadcast_to(x[0], (3, 6)), x.reshape(2, 3, 4).T):
            np.testing.assert_array_equal(constraint(view), constraint(view.copy("C")))
        with pytest.raises(TypeError, match="x has dtype float16; float32, float64"):
            constraint(np.ones(3, np.float16))


REFUSED = [
    ({"l1": -0.1}, ValueError, r"l1 is -0.1; a finite number >= 0 is accepted"),
    ({"l1": float("nan")}, ValueError, r"l1 is nan"),
    ({"l1": "x"}, TypeError, r"l1 is 'x'; a number is accepted"),
    ({"constraint": "non_neg"}, TypeError, r"constraint is 'non_neg'; one of gd.constraints"),
    ({"constraint": constraints.non_neg}, TypeError, r"gd.constraints.non_neg\(\.\.\.\)"),
    ({"constraint": lambda w: w}, TypeError, r"one of gd.constraints is accepted"),
    ({"kernel_constraint": None}, TypeError, r"here it is constraint"),
    ({"clip_adaptive": 0.0}, ValueError, r"clip_adaptive is 0.0; a finite number > 0, or None"),
    ({"clip_adaptive": 0.1, "clip_norm": 1.0}, ValueError, r"more than one of clip_value, clip_n"),
    ({"clip_adaptive": 0.1, "global_clip_norm": 1.0}, ValueError, r"more than one of"),
]


@pytest.mark.parametrize(
    ("arguments", "error", "message"), REFUSED, ids=lambda x: str(x).split(" at 0x")[0]
)
def test_settings_that_are_refused(arguments, error, message):
    for kind in CLASSES:
        with pytest.raises(error, match=f"^{kind.__name__}.*{message}"):
            kind(lr=0.1, **arguments)
    if "kernel_constraint" in arguments:
        return
    opt = gd.SGD(0.1, groups=[{"params": [0]}])
    before = opt.get_params()
    with pytest.raises(error, match=message):
        opt.set_params(**arguments)
    assert opt.get_params() == before
    name, value = next(iter(arguments.items()))
    if len(arguments) == 1:
        with pytest.raises(error, match=message):
            opt.groups[0][name] = value
        assert opt.get_params() == before


def test_constraints_that_are_refused():
    c = gd.constraints
    for make, error, message in [
        (lambda: c.max_norm(-1.0), ValueError, "max_norm: limit is -1.0; .* finite number >= 0"),
        (lambda: c.max_norm("2"), TypeError, "max_norm: limit is '2'"),
        (lambda: c.max_norm(max_value=2), TypeError, "unknown argument max_value=.* limit="),
        (lambda: c.max_norm(1.0, 0), TypeError, "2 positional arguments found; accepted: max_norm"),
        (
            lambda: c.box(1.0, 0.0),
            ValueError,
            "low is 1.0 and high is 0.0; .* low <= high",
        ),
        (lambda: c.box(float("nan"), 0.0), ValueError, "box: low is nan"),
        (lambda: c.box(0.0, None), TypeError, "box: high is None"),
        (lambda: c.box(lower=0.0, high=1.0), TypeError, "unknown argument lower=.* low="),
        (lambda: c.non_neg(0), TypeError, r"accepted: non_neg\(\), called as constraint\(x\)"),
    ]:
        with pytest.raises(error, match=message):
            make()
    for spec in ((-1, 0.0, 0.0), (99, 0.0, 0.0)):
        with pytest.raises(ValueError, match="there is no constraint"):
            _core.project(spec, 1.0)


def test_the_module_is_reached_from_the_package():
    assert gd.constraints is constraints
    assert "constraints" in dir(gd)
    assert {*reference.PROJECTIONS} == {kind.__name__ for kind in KINDS}
