"""What an optimizer keeps: state that is saved, loaded and resumed, and the average it tells."""

import copy
import json
import pickle

import numpy as np
import pytest
from optimizer_cases import CASES, LOSS, ROWS, label, make, stepped

import gdcore as gd
from gdcore.reference.optimizer_rules import AVERAGED

each_case = pytest.mark.parametrize("case", CASES, ids=label)
each_class = pytest.mark.parametrize("kind", [getattr(gd, row["class"]) for row in ROWS.values()])


@each_case
def test_a_resumed_run_has_the_bits_of_one_that_went_through(case, dtype, rng):
    p, *grads = rng.normal(size=(9, 17)).astype(dtype)
    whole, state = stepped(make(case), p, grads)
    for resume in (
        lambda opt: pickle.loads(pickle.dumps(opt)),
        copy.deepcopy,
        copy.copy,
        lambda opt: loaded(make(case), opt.state_dict()),
        lambda opt: loaded(make(case), through_arrays(opt.state_dict())),
    ):
        first = make(case)
        half, _ = stepped(first, p, grads[:4])
        second = resume(first)
        assert second.t == first.t == 4
        rest, end = stepped(second, half, grads[4:])
        np.testing.assert_array_equal(rest, whole)
        for name, array in state.items():
            np.testing.assert_array_equal(end[name], array)
            assert end[name].dtype == (dtype if array.ndim else np.float64)
        again, _ = stepped(first.reset() or first, p, grads)
        np.testing.assert_array_equal(again, whole)


def loaded(opt, state):
    opt.load_state_dict(state)
    return opt


def through_arrays(state):
    """The state as it comes out of a file: plain arrays and text."""
    rows = [
        {name: np.array(a.tolist(), a.dtype) for name, a in row.items()} for row in state["state"]
    ]
    return json.loads(json.dumps({**state, "state": None})) | {"state": rows}


@each_case
def test_state_dict_is_a_copy(case):
    opt, p = make(case), np.ones(3)
    assert opt.state_dict()["state"] is None
    opt.step(p, np.ones(3), loss=LOSS)
    before = opt.state_dict()
    assert before["t"] == opt.t == 1
    opt.step(p, np.ones(3), loss=LOSS)
    other = loaded(make(case), before)
    for row in before["state"]:
        for array in row.values():
            array[...] = 777.0
    for optimizer in (opt, other):
        for array in optimizer.state_dict()["state"][0].values():
            assert (array != 777.0).all()


def test_a_state_of_another_kind_is_refused():
    opt, p = gd.Adam(lr=0.1), np.ones(2)
    opt.step(p, np.ones(2))
    state = opt.state_dict()
    for change, message in [
        ({"rule": "SGD"}, "the state's rule is 'SGD'; 'Adam' is wanted"),
        ({"dialect": "keras"}, "dialect is 'keras'; 'torch' is wanted"),
        ({"t": -1}, "t is -1"),
        ({"t": None}, "t is None"),
        ({"state": [{"m": p}]}, r"the state holds \['m'\]"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            opt.load_state_dict({**state, **change})
    assert opt.t == 1
    opt.step(p, np.ones(2))
    amsgrad = gd.Adam(lr=0.1, amsgrad=True)
    with pytest.raises(ValueError, match="other settings, such as momentum, need other arrays"):
        amsgrad.load_state_dict(state)


def test_a_state_of_other_groups_is_refused():
    def groups(i):
        return [{"params": [i], "momentum": 0.5, "centered": False}]

    params = [np.ones(2), np.ones(2)]
    opt = gd.RMSprop(lr=0.1, centered=True, groups=groups(0))
    opt.step(params, [np.ones(2), np.ones(2)])
    for i in (0, 1):
        other = loaded(gd.RMSprop(lr=0.1, centered=True, groups=groups(i)), opt.state_dict())
        if i == 0:
            other.step(params, [np.ones(2), np.ones(2)])
            assert other.t == 2
        else:
            with pytest.raises(ValueError, match="saved with other groups"):
                other.step(params, [np.ones(2), np.ones(2)])
            other.reset()
            other.step(params, [np.ones(2), np.ones(2)])


# ---- The average ---------------------------------------------------------------------------------


@each_class
def test_averaged_is_the_rule_s_average_or_the_parameters_themselves(kind):
    params = {"a": [np.ones(2, np.float32)], "b": (np.zeros(()), np.ones((2, 3), order="F"))}
    opt = kind(lr=0.5, groups=[{"params": ["b"], "frozen": True}])
    assert opt.averaged(params) is params
    rng = np.random.default_rng(3)
    for _ in range(3):
        grads = copy.deepcopy(params)
        grads["a"][0][:] = rng.normal(size=2)
        opt.step(params, grads, loss=LOSS)
    point = opt.averaged(params)
    keeps = opt._row["name"] in AVERAGED
    assert (point is params) != keeps
    out = copy.deepcopy(params)
    assert opt.averaged(params, out) is out
    np.testing.assert_equal(out, point)
    np.testing.assert_equal(point["b"], params["b"])
    assert point["a"][0].dtype == np.float32
    if keeps:
        row = opt.state_dict()["state"][0]
        wanted = AVERAGED[opt._row["name"]](params["a"][0], row, opt.get_params())
        np.testing.assert_array_equal(point["a"][0], wanted)
        assert not np.shares_memory(point["a"][0], params["a"][0])
        with pytest.raises(ValueError, match="those of the steps"):
            opt.averaged({"a": [np.ones(2)]})


def test_the_average_of_schedule_free_is_that_of_its_plain_iterates():
    """With a constant rate and betas of 0.5: x is the mean of all z, y lies halfway to z."""
    opt, y, zs = gd.ScheduleFreeSGD(lr=0.25, momentum=0.5), np.array([4.0, -2.0]), []
    for _ in range(6):
        opt.step(y, y.copy())
        zs.append(opt.state_dict()["state"][0]["z"])
    x = opt.averaged(y)
    np.testing.assert_allclose(x, np.mean(zs, axis=0), rtol=1e-14)
    np.testing.assert_allclose(y, 0.5 * (x + zs[-1]), rtol=1e-14)
