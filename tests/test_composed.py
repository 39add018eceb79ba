"""What LBFGS, Armijo and EMA have in common with every optimizer: settings, state, refusals."""

import copy
import inspect
import json
import pickle

import numpy as np
import pytest
from closures import Problem, assert_same_bits, bowl, rosenbrock, tree

import gdcore as gd
from gdcore import schedules

FROZEN = [{"params": ["W"], "frozen": True}]
CASES = {
    "lbfgs": lambda: gd.LBFGS(max_iter=2, max_eval=9),
    "lbfgs, all settings": lambda: gd.LBFGS(
        0.5, 2, 9, 1e-9, 1e-12, 4, maximize=False, on_nonfinite="skip", groups=FROZEN
    ),
    "armijo": lambda: gd.Armijo(),
    "armijo, Adam": lambda: gd.Armijo(gd.Adam(lr=0.3), 0.9, 0.5, 2.0, 0.25, 30, groups=FROZEN),
    "ema, lbfgs": lambda: gd.EMA(gd.LBFGS(max_iter=2, max_eval=9), 0.5),
    "ema, armijo": lambda: gd.EMA(gd.Armijo(gd.SGD(lr=0.1, momentum=0.9)), decay=0.25),
    "ema, Adam": lambda: gd.EMA(gd.Adam(lr=schedules.step(0.5, 3)), decay=0.25),
}
each_case = pytest.mark.parametrize("make", CASES.values(), ids=CASES)


def copies_of(opt, make):
    """Every way to carry settings and state on."""
    yield pickle.loads(pickle.dumps(opt))
    yield copy.deepcopy(opt)
    yield copy.copy(opt)
    for state in (opt.state_dict(), through_arrays(opt.state_dict())):
        loaded = make()
        loaded.load_state_dict(state)
        yield loaded


def through_arrays(state):
    """The state as it comes out of a file: plain arrays, text and numbers."""
    plain = {}
    for key, value in state.items():
        if key == "state" and value is not None:
            plain[key] = [{n: np.array(a.tolist(), a.dtype) for n, a in r.items()} for r in value]
            plain[key] = [
                {n: a.reshape(r[n].shape) for n, a in row.items()}
                for row, r in zip(plain[key], value, strict=True)
            ]
        elif isinstance(value, dict):
            plain[key] = through_arrays(value)
        else:
            plain[key] = json.loads(json.dumps(value))
    return plain


# ---- Settings ------------------------------------------------------------------------------------


@each_case
def test_settings_survive_repr_pickle_and_copy(make):
    opt = make()
    same = [
        eval(repr(opt), {**vars(gd), **vars(schedules)}),
        type(opt)(**opt.get_params()),
        *copies_of(opt, make),
    ]
    for other in same:
        assert other == opt
        assert repr(other) == repr(opt)
        assert other is not opt
    assert isinstance(opt, gd.Optimizer)
    assert [*inspect.signature(type(opt)).parameters] == [*opt.get_params()]
    assert opt.__eq__(0.5) is NotImplemented
    other.lr = 0.125
    assert other.lr == 0.125
    assert other != opt
    for name in opt.get_params():
        assert name in type(opt).__doc__


def test_repr_shows_what_is_not_a_default():
    assert repr(gd.LBFGS()) == "LBFGS(lr=1.0)"
    assert repr(gd.LBFGS(history_size=5, max_eval=9)) == "LBFGS(lr=1.0, max_eval=9, history_size=5)"
    assert repr(gd.EMA(gd.Armijo(), 0.5)) == "EMA(optimizer=Armijo(lr=1.0), decay=0.5)"
    assert gd.LBFGS() != gd.Armijo()


class Told:
    """What by_gradient and plateau are: callable, but not with t."""

    def __call__(self, norm):
        return norm

    def _told(self, value):
        return value


def test_settings_that_are_refused_change_nothing():
    for kind in (gd.LBFGS, gd.Armijo):
        for settings, error, message in [
            ({"lr": -1}, ValueError, "lr is -1.0; a finite number >= 0 is accepted"),
            ({"lr": float("nan")}, ValueError, "lr is nan"),
            ({"lr": "1"}, TypeError, "lr is '1'; a number"),
            ({"lr": [np.ones(2)]}, TypeError, "parameters go to step"),
            ({"maximize": 1}, TypeError, "maximize is 1; True or False"),
            ({"on_nonfinite": "stop"}, ValueError, "on_nonfinite is 'stop'; accepted"),
            ({"learning_rate": 1.0}, TypeError, "unknown argument learning_rate=.*here it is lr"),
            ({"clip_norm": 1.0}, TypeError, "unknown argument clip_norm="),
            ({"groups": [{"params": [0], "lr": 1.0}]}, TypeError, "a group: unknown argument lr="),
            ({"groups": [{"params": [0], "frozen": 1}]}, TypeError, "frozen is 1"),
            ({"groups": {"params": [0]}}, TypeError, "groups is .*; a list of dicts"),
        ]:
            opt = kind(lr=0.5)
            for change in (lambda: kind(**settings), lambda: opt.set_params(**settings)):  # noqa: B023
                with pytest.raises(error, match=message) as caught:
                    change()
                assert str(caught.value).startswith(kind.__name__)
            assert opt == kind(lr=0.5)
        with pytest.raises(TypeError, match="follows what a step tells it"):
            kind(lr=Told())
    for name, value, error in [
        ("max_iter", 0, ValueError),
        ("max_iter", 2.0, TypeError),
        ("max_eval", 0, ValueError),
        ("history_size", True, TypeError),
        ("tolerance_grad", -1e-9, ValueError),
        ("tolerance_change", float("nan"), ValueError),
    ]:
        with pytest.raises(error, match=f"LBFGS: {name} is "):
            gd.LBFGS(**{name: value})


def test_schedules_are_asked_once_a_step():
    for kind in (gd.LBFGS, gd.Armijo):
        asked = []

        def rate(t, asked=asked):
            asked.append(t)
            return 0.5**t if t < 3 else -1.0

        p, opt = np.array([-1.2, 1.0]), kind(lr=rate)
        problem = Problem(p, rosenbrock)
        for _ in range(3):
            opt.step(p, closure=problem.closure)
        assert asked == [0, 1, 2]
        before = p.copy()
        with pytest.raises(ValueError, match=r"lr is a schedule that gave -1\.0 at t = 3"):
            opt.step(p, closure=problem.closure)
        np.testing.assert_array_equal(p, before)
        assert opt.t == 3
        opt.lr = 0.5
        opt.step(p, closure=problem.closure)
        assert (opt.t, opt.lr) == (4, 0.5)
    # With Armijo the rate is the longest step: here p itself, in one direction.
    p = np.array(8.0)
    gd.Armijo(lr=lambda t: 0.25).step(p, closure=lambda: (p * p, 2 * p))
    assert p == 4.0


# ---- State ---------------------------------------------------------------------------------------


@each_case
def test_a_resumed_run_has_the_bits_of_one_that_went_through(make, dtype):
    def stepped(opt, params, count):
        problem = Problem(params, rosenbrock)
        for _ in range(count):
            opt.step(params, closure=problem.closure)
        return opt

    whole, half = tree(dtype), tree(dtype)
    end = stepped(make(), whole, 7)
    first = stepped(make(), half, 3)
    middle = copy.deepcopy(half)
    for second in copies_of(first, make):
        assert (second.t, first.t) == (3, 3)
        rest = copy.deepcopy(middle)
        stepped(second, rest, 4)
        assert_same_bits(rest, whole)
        assert_same_bits(second.averaged(rest), end.averaged(whole))
        np.testing.assert_equal(second.state_dict(), end.state_dict())
        assert second.grad_norm == end.grad_norm
    stepped(first, half, 4)
    assert_same_bits(half, whole)
    first.reset()
    assert (first.t, first.grad_norm, first.state_dict()["state"]) == (0, None, None)
    again = tree(dtype)
    stepped(first, again, 7)
    assert_same_bits(again, whole)


@each_case
def test_state_dict_is_a_copy(make):
    params, opt = tree(), make()
    assert opt.state_dict()["state"] is None
    problem = Problem(params, bowl)
    opt.step(params, closure=problem.closure)
    before, kept = opt.state_dict(), opt.state_dict()
    opt.step(params, closure=problem.closure)
    np.testing.assert_equal(before, kept)
    other = make()
    other.load_state_dict(before)
    for row in before["state"]:
        for array in row.values():
            array[...] = 777.0
    np.testing.assert_equal(other.state_dict(), kept)


@each_case
def test_a_state_that_does_not_fit_is_refused(make):
    params, opt = tree(), make()
    opt.step(params, closure=Problem(params, bowl).closure)
    state = opt.state_dict()
    for wrong in (
        {"rule": "SGD"},
        {"t": -1},
        {"t": "1"},
        {"state": [{"m": np.zeros(3)}]},
    ):
        with pytest.raises(ValueError, match=f"{type(opt).__name__}: the state"):
            opt.load_state_dict({**state, **wrong})
        np.testing.assert_equal(opt.state_dict(), state)
    for others in ([np.ones(2)], {**tree(), "W": np.ones((2, 3))}, tree(np.float32)):
        other = make()
        other.load_state_dict(state)
        before = copy.deepcopy(others)
        if "Armijo" in repr(other) and len(others) > 1:
            continue  # it keeps a number, which fits as many arrays of any shape
        with pytest.raises(ValueError, match=r"params.* but |group 0 names"):
            other.step(others, closure=Problem(others, bowl).closure)
        assert_same_bits(others, before)
        assert other.t == 1
        other.step(params, closure=Problem(params, bowl).closure)
        assert other.t == 2


def test_histories_of_a_loaded_state_are_checked():
    params, opt = [np.zeros(2), np.zeros(3)], gd.LBFGS(max_iter=4)
    opt.step(params, closure=Problem(params, bowl).closure)
    state = opt.state_dict()
    assert len(state["state"][0]["s"]) > 1
    for row, name in ((0, "s"), (1, "y")):
        broken = copy.deepcopy(state)
        broken["state"][row][name] = broken["state"][row][name][:-1]
        other = gd.LBFGS()
        other.load_state_dict(broken)
        with pytest.raises(ValueError, match="the state's best, s and y have the shapes"):
            other.step(params, closure=Problem(params, bowl).closure)


def test_parts_of_a_nested_state_are_all_or_none():
    p = np.array([3.0, 4.0])
    opt = gd.Armijo(gd.Adam(lr=0.1))
    opt.step(p, closure=Problem(p, bowl).closure)
    state = opt.state_dict()
    for wrong in ({"direction": None}, {"direction": gd.SGD().state_dict()}, {"t": -1}):
        with pytest.raises(ValueError, match="the state's"):
            opt.load_state_dict({**state, **wrong})
        np.testing.assert_equal(opt.state_dict(), state)
    with pytest.raises(ValueError, match="the state's direction is 'Adam'"):
        gd.Armijo().load_state_dict(state)
    opt = gd.EMA(gd.Adam(lr=0.1))
    opt.step(p, p.copy())
    state = opt.state_dict()
    for wrong in ({"optimizer": None}, {"optimizer": gd.SGD().state_dict()}):
        with pytest.raises(ValueError, match="the state's"):
            opt.load_state_dict({**state, **wrong})
        np.testing.assert_equal(opt.state_dict(), state)


# ---- Calls that are refused ----------------------------------------------------------------------


def test_calls_that_are_refused():
    p = np.ones(2)
    readonly, strided = np.ones(2), np.ones(4)[::2]
    readonly.flags.writeable = False

    def returns(value):
        return {"closure": lambda: value}

    for kind in (gd.LBFGS, gd.Armijo):
        for params, options, error, message in [
            (p, {}, TypeError, f"{kind.__name__} evaluates loss and gradients at several points"),
            (p, {"grads": p.copy()}, TypeError, "closure=fn"),
            (p, {"loss": 1.0, **returns((1.0, p.copy()))}, TypeError, "neither grads nor loss"),
            (p, returns(1.0), TypeError, r"closure\(\) returned float; a tuple \(loss, grads\)"),
            (p, returns((1.0, p.copy(), 2)), TypeError, "returned tuple"),
            (p, returns((np.ones(2), p.copy())), TypeError, "returned the loss array.*a number"),
            (p, returns((None, p.copy())), TypeError, "returned the loss None; a number"),
            (p, returns((1.0, np.ones(3))), ValueError, r"grads has shape \(3,\)"),
            (p, returns((1.0, np.ones(2, np.float32))), TypeError, "grads has dtype float32"),
            (p, returns((1.0, p)), ValueError, "grads shares memory with a parameter"),
            ([p, p], returns((1.0, [np.ones(2)] * 2)), ValueError, r"params\[0\] and params\[1\]"),
            ({"a": p}, returns((1.0, {"b": np.ones(2)})), ValueError, r"grads\['a'\] is missing"),
            (8.0, returns((1.0, 1.0)), TypeError, "params is a number"),
            (strided, returns((1.0, np.ones(2))), ValueError, "contiguous"),
            (readonly, returns((1.0, np.ones(2))), ValueError, "read-only|writeable"),
            (
                np.ones(2, np.float16),
                returns((1.0, p.copy())),
                TypeError,
                "params has dtype float16",
            ),
        ]:
            opt = kind()
            with pytest.raises(error, match=message):
                opt.step(params, **options)
            assert (opt.t, opt.state_dict()["state"]) == (0, None)
            np.testing.assert_array_equal(p, [1.0, 1.0])
            opt.step(p, closure=Problem(p, bowl).closure)  # a failed first step binds nothing
            assert opt.t == 1
            with pytest.raises(ValueError, match="at the first step"):
                opt.step(np.ones(2), **returns((1.0, np.ones(2))))
            with pytest.raises(ValueError, match=r"reset\(\)"):
                opt.set_params(groups=[{"params": [0]}])
            assert opt.averaged(p) is p
            p[:] = 1.0


def test_gradients_of_later_calls_are_checked_too():
    for kind in (gd.LBFGS, gd.Armijo):
        p = np.array([-1.2, 1.0])
        answers = iter([(*rosenbrock(p),), (1.0, np.ones(3))])
        opt = kind()
        with pytest.raises(ValueError, match=r"grads has shape \(3,\)"):
            opt.step(p, closure=lambda answers=answers: next(answers))
        np.testing.assert_array_equal(p, [-1.2, 1.0])
        assert opt.t == 0
