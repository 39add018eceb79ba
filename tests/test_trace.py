"""``opt.step(..., trace=True)``: the table of every quantity of a step, and how it prints."""

import numpy as np
import pytest
from optimizer_cases import CASES, LOSS, label, make

import gdcore as gd
from gdcore import _trace
from gdcore._containers import copied
from gdcore.reference import optimizers as reference


def tree(rng, dtype):
    def draw(*shape):
        return rng.normal(size=shape).astype(dtype)

    return {"W": np.asfortranarray(draw(3, 2)), "b": [draw(4), (draw(), draw(0))]}


def leaves(value):
    return [array for _, array in _trace._leaves(value, "")]


@pytest.mark.parametrize("case", CASES, ids=label)
def test_the_table_is_the_step_of_the_core_told_by_the_twin(case, dtype, rng):
    params, grads = tree(rng, dtype), tree(rng, dtype)
    plain, traced = make(case, maximize=True), make(case, maximize=True)
    twin = copied(params)
    start = leaves(copied(params))
    state = [reference.InitialState(case[0], p, traced.get_params()) for p in start]
    for t in (1, 2, 3):
        before = copied(params)
        table = traced.step(params, grads, loss=LOSS, trace=True)
        assert isinstance(table, dict)
        plain.step(twin, grads, loss=LOSS)
        assert traced.t == t
        assert next(iter(table)) == "p_before"
        assert [*table][-1] == "p"
        h = {**traced.get_params(), "loss": LOSS, "grad_norm": traced.grad_norm}
        old = leaves(before), [-g for g in leaves(grads)], state
        sums = reference.summed(case[0], *old, [h] * 4, t, traced.dialect)
        for i, names in enumerate(traced.state_dict()["state"]):
            assert {*names} <= {*table}
            rows = {name: leaves(value)[i] for name, value in table.items()}
            arrays = [values[i] for values in old]
            told = reference.step(case[0], *arrays, {**h, "sums": sums}, t, traced.dialect)
            assert [*told] == [name for name in rows if name != "p_before"]
            for name, array in rows.items():
                assert array.dtype == (names[name].dtype if name in names else dtype)
                assert array.shape == leaves(params)[i].shape
                if name in names or name == "p":
                    continue
                wanted = told.get(name, leaves(before)[i])
                np.testing.assert_array_equal(array, wanted, err_msg=name)
            for name, array in names.items():
                assert (rows[name] == array).all()
            np.testing.assert_array_equal(rows["p"], leaves(params)[i])
            kept = rows.get("p_decayed", rows["p_before"])
            eps = np.finfo(dtype).eps
            np.testing.assert_allclose(kept - rows["update"], rows["p"], rtol=64 * eps, atol=eps)
            state[i] = {name: array.copy("K") for name, array in names.items()}
    for a, b in zip(leaves(params), leaves(twin), strict=True):
        np.testing.assert_array_equal(a, b)


def test_values_are_copies_in_the_structure_of_the_parameters(rng):
    params, grads = tree(rng, np.float64), tree(rng, np.float64)
    opt = gd.Adam(lr=0.1)
    table = opt.step(params, grads, trace=True)
    for value in table.values():
        assert [*value] == ["W", "b"]
        assert type(value["b"]) is list
        assert type(value["b"][1]) is tuple
    kept = {name: [a.copy() for a in leaves(value)] for name, value in table.items()}
    opt.step(params, grads)
    for name, value in table.items():
        np.testing.assert_equal(leaves(value), kept[name])
    alone = gd.SGD(lr=0.5).step(np.array(8.0), 2, trace=True)
    assert {name: float(value) for name, value in alone.items()} == {
        "p_before": 8.0,
        "g": 2.0,
        "effective_lr": 0.5,
        "update": 1.0,
        "p": 7.0,
    }


def test_clipping_decay_schedules_groups_and_frozen_arrays():
    params = {"a": np.array([1.0, 2.0]), "b": np.array([3.0]), "c": np.array([4.0])}
    grads = {"a": np.array([30.0, 40.0]), "b": np.array([0.5]), "c": np.array([6.0])}
    rates = iter([0.5, 0.25])
    opt = gd.Adam(
        lr=lambda t: next(rates),
        clip_norm=5.0,
        weight_decay=0.5,
        groups=[{"params": ["b"], "lr": 1.0, "amsgrad": True}, {"params": ["c"], "frozen": True}],
    )
    for lr in (0.5, 0.25):
        before = {key: array.copy() for key, array in params.items()}
        table = opt.step(params, grads, trace=True)
        np.testing.assert_allclose(table["g"]["a"], [3.0, 4.0] + 0.5 * before["a"])
        np.testing.assert_allclose(table["g"]["b"], 0.5 + 0.5 * before["b"])
        np.testing.assert_allclose(table["effective_lr"]["a"] * table["denominator"]["a"], lr)
        np.testing.assert_allclose(table["effective_lr"]["b"] * table["denominator"]["b"], 1.0)
        assert table["update"]["c"][0] == 0.0
        assert table["p"]["c"][0] == table["p_before"]["c"][0] == 4.0
        assert table["m"]["c"] is table["v_max"]["a"] is None
        assert table["v_max"]["b"][0] == opt.state_dict()["state"][1]["v_max"][0]


def test_global_clipping_leaves_frozen_arrays_out():
    params, grads = [np.zeros(1), np.zeros(1)], [np.array([10.0]), np.array([1000.0])]
    opt = gd.SGD(lr=1.0, global_clip_norm=5.0, groups=[{"params": [1], "frozen": True}])
    table = opt.step(params, grads, trace=True)
    assert table["g"][0][0] == 5.0
    assert params[0][0] == -5.0


def test_a_refused_step_leaves_everything():
    opt, p = gd.Adam(lr=0.1), np.ones(2)
    opt.step(p, np.ones(2))
    state = opt.state_dict()
    for params, grads in [(p, np.ones(3)), (np.ones(2), np.ones(2)), ([p], np.ones(2)), (1.0, 1.0)]:
        with pytest.raises((TypeError, ValueError)):
            opt.step(params, grads, trace=True)
    np.testing.assert_equal(opt.state_dict(), state)


def test_overflow_is_silent():
    with np.errstate(all="raise"):
        table = gd.RMSprop(lr=1.0).step(np.ones((), np.float32), 1e300, trace=True)
        assert np.isinf(table["g"])
        gd.SGD(lr=1.0).step(np.ones(2), np.full(2, 1e308), trace=True)


# ---- How it prints -------------------------------------------------------------------------------


def test_it_prints_as_a_table():
    opt = gd.SGD(lr=0.1, momentum=0.5, groups=[{"params": ["c"], "frozen": True}])
    params = {"b": np.array([1.0, 2.0]), "c": np.array(3.0), "none": np.zeros(0)}
    table = opt.step(
        params, {"b": np.array([4.0, -1e6]), "c": 2.0, "none": np.zeros(0)}, trace=True
    )
    head, *rows = str(table).split("\n")
    assert head == "element         " + "".join(name.rjust(13) for name in table)
    assert [*table] == ["p_before", "g", "effective_lr", "b", "update", "p"]
    assert rows == [
        label.ljust(16) + "".join(cell.rjust(13) for cell in cells)
        for label, *cells in (
            ("params['b'][0]", "1", "4", "0.1", "4", "0.4", "0.6"),
            ("params['b'][1]", "2", "-1e+06", "0.1", "-1e+06", "-100000", "100002"),
            ("params['c']", "3", "2", "", "", "0", "3"),
        )
    ]


def test_long_tables_are_cut():
    table = gd.SGD(lr=0.1).step(np.ones((5, 5)), np.ones((5, 5)), trace=True)
    lines = repr(table).split("\n")
    assert len(lines) == 14
    assert lines[1].startswith("params[0, 0] ")
    assert lines[-2].startswith("params[2, 1] ")
    assert lines[-1] == "..."


def test_a_skipped_step_says_so():
    table = gd.SGD(lr=0.1, on_nonfinite="skip").step(np.ones(1), np.array([np.nan]), trace=True)
    assert table == {}
    assert repr(table) == "Trace: no step was taken, a gradient holds a NaN or an infinity"
