"""Rates that depend on the run, plateau and by_gradient, and momentum that a schedule sets.

First by themselves, then in every optimizer against one whose settings are changed by hand.
"""

import copy
import json
import math
import pickle

import numpy as np
import pytest
from optimizer_cases import LOSS, ROWS

import gdcore as gd
from gdcore.schedules import PlateauState, by_gradient, one_cycle, plateau


def test_a_plateau_by_hand():
    p = plateau(1, factor=0.5, patience=1, cooldown=2, min_lr=0.2)
    losses = [3, 2, 2, 2, 2, 2, 2, 2, 9, 9, 9, 9, 9, 9, 9]
    # the fourth is the second bad one; after each fall two are not counted
    wanted = [1, 1, 1, *[0.5] * 4, *[0.25] * 4, *[0.2] * 4]
    np.testing.assert_array_equal(p(losses), wanted)
    np.testing.assert_array_equal(p(np.reshape(losses, (5, 3))).ravel(), wanted)
    state = p.start()
    assert state == PlateauState(lr=1.0, best=math.inf, bad=0, cooldown=0)
    for loss, lr in zip(losses, wanted, strict=True):
        state = p.told(state, loss)
        assert state.lr == lr
    assert type(p(3)) is float
    assert p([]).shape == (0,)


@pytest.mark.parametrize(
    ("settings", "best", "better", "not_better"),
    [
        ({}, 1.0, 0.9998, 0.99995),
        ({"threshold_mode": "abs"}, 100.0, 99.9998, 99.99995),
        ({"mode": "max"}, 1.0, 1.0002, 1.00005),
        ({"mode": "max", "threshold_mode": "abs"}, 100.0, 100.0002, 100.00005),
        ({"threshold": 0}, 1.0, np.nextafter(1.0, 0), 1.0),
    ],
)
def test_what_is_better(settings, best, better, not_better):
    p = plateau(1, patience=0, factor=0.5, **settings)
    assert p([best, better])[-1] == 1
    assert p([best, not_better])[-1] == 0.5


def test_a_nan_is_not_better_and_a_small_fall_is_left_out():
    np.testing.assert_array_equal(plateau(1, patience=1)([math.nan] * 3), [1, 0.1, 0.1])
    assert plateau(1, patience=0, factor=0.5, eps=0.5)([1, 1])[-1] == 1
    assert plateau(1, patience=0, factor=0.5, eps=0.49)([1, 1])[-1] == 0.5
    assert plateau(0.1, patience=0, min_lr=0.2)([1, 1])[-1] == 0.1


def test_the_rate_by_a_norm():
    rate = by_gradient(0.5, 2)
    np.testing.assert_array_equal(rate([0, 1, 4, 5, math.inf]), [0, 0.5, 2, 2, 2])
    assert math.isnan(rate(math.nan))
    assert type(rate(1)) is float
    assert rate(np.ones((2, 3))).shape == (2, 3)


@pytest.mark.parametrize("values", ["1", None, True, [1j], ["1"]])
def test_what_is_told_is_numbers(values):
    with pytest.raises(TypeError, match=r"norm is .*; accepted are real numbers"):
        by_gradient(1, 1)(values)
    with pytest.raises(TypeError, match=r"losses is .*; accepted are real numbers"):
        plateau(1)(values)
    with pytest.raises(ValueError, match=r"norm is -1"):
        by_gradient(1, 1)(-1)


# ---- In an optimizer -----------------------------------------------------------------------------

KINDS = [getattr(gd, row["class"]) for row in ROWS.values()]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
LOSSES = [3.0, 2.0, 2.0, 2.0, math.nan, 1.0, 1.0, 1.0]
STALLED = plateau(0.5, factor=0.5, patience=1)


def problem(dtype, rng):
    """Two arrays, and gradients of each step."""
    params = {"W": rng.normal(size=(3, 2)).astype(dtype), "b": rng.normal(size=4).astype(dtype)}
    grads = [
        {
            key: (2.0 ** (k % 4) * rng.normal(size=p.shape)).astype(dtype)
            for key, p in params.items()
        }
        for k in range(len(LOSSES))
    ]
    return params, grads


def same(params, others):
    for key, p in params.items():
        np.testing.assert_array_equal(p, others[key])


@each_kind
def test_each_step_has_the_rate_of_its_gradient_s_norm(kind, dtype, rng):
    params, grads = problem(dtype, rng)
    others = copy.deepcopy(params)
    rate = by_gradient(0.01, 0.1)
    opt, by_hand = kind(lr=rate, clip_norm=0.5), kind(lr=0, clip_norm=0.5)
    assert opt.lr == 0.1
    used = []
    for g in grads:
        opt.step(params, g, loss=LOSS)
        by_hand.lr = rate(opt.grad_norm)
        by_hand.step(others, g, loss=LOSS)
        assert opt.grad_norm == by_hand.grad_norm > 0.5
        assert opt.lr == by_hand.lr
        used.append(opt.lr)
        same(params, others)
    assert max(used) == 0.1
    assert len(set(used)) > 3


def test_the_norm_alone_is_reason_to_measure_it_and_frozen_arrays_are_not_in_it():
    params, g = [np.zeros(1), np.zeros(1)], [np.array([3.0]), np.array([4.0])]
    opt = gd.SGD(lr=by_gradient(0.25, 10), groups=[{"params": 1, "lr": 1.0}])
    opt.step(params, g)
    assert (opt.lr, opt.grad_norm) == (1.25, 5.0)
    np.testing.assert_array_equal(params, [[-3.75], [-4.0]])
    opt = gd.SGD(lr=1.0, groups=[{"params": 0, "lr": by_gradient(0.25, 10), "frozen": False}])
    opt.step(params, g)
    assert opt._rates() == (1.0, 1.25)
    opt = gd.SGD(lr=by_gradient(0.25, 10), groups=[{"params": 1, "frozen": True}])
    opt.step(params, g)
    assert (opt.lr, opt.grad_norm) == (0.75, 3.0)
    opt.lr = 0.5
    opt.step(params, g)
    assert opt.grad_norm is None


def test_a_norm_that_is_not_finite():
    g = [np.array([math.nan]), np.array([1.0])]
    params = [np.ones(1), np.ones(1)]
    opt = gd.SGD(lr=by_gradient(0.25, 10))
    opt.step(params, g)
    assert np.isnan(params).all()
    assert math.isnan(opt.lr)
    params = [np.ones(1), np.ones(1)]
    opt = gd.SGD(lr=by_gradient(0.25, 10), on_nonfinite="skip")
    opt.step(params, [np.ones(1), np.zeros(1)])
    opt.step(params, g)
    assert (opt.t, opt.lr) == (1, 0.25)
    np.testing.assert_array_equal(params, [[0.75], [1.0]])
    opt = gd.SGD(lr=by_gradient(0.25, 10))
    opt.step(params, [np.array([math.inf]), np.ones(1)])
    assert opt.lr == 10


@each_kind
def test_each_step_tells_the_plateau_its_loss_and_uses_the_rate_then(kind, dtype, rng):
    params, grads = problem(dtype, rng)
    others = copy.deepcopy(params)
    opt, by_hand = kind(lr=STALLED), kind(lr=0)
    assert opt.lr == 0.5
    for g, loss, lr in zip(grads, LOSSES, STALLED(LOSSES), strict=True):
        opt.step(params, g, loss=loss)
        by_hand.lr = lr
        by_hand.step(others, g, loss=loss)
        assert opt.lr == lr
        same(params, others)
    assert opt.lr == 0.125
    assert opt.get_params()["lr"] is STALLED


def through_text(state):
    rows = [{name: a.tolist() for name, a in row.items()} for row in state["state"]]
    state = json.loads(json.dumps({**state, "state": rows}))
    state["state"] = [{name: np.array(a) for name, a in row.items()} for row in state["state"]]
    return state


RESUMES = [
    lambda opt: pickle.loads(pickle.dumps(opt)),
    copy.copy,
    copy.deepcopy,
    lambda opt: loaded(gd.Adam(**opt.get_params()), opt.state_dict()),
    lambda opt: loaded(gd.Adam(**opt.get_params()), through_text(opt.state_dict())),
]


def loaded(opt, state):
    opt.load_state_dict(state)
    return opt


@pytest.mark.parametrize("resume", RESUMES)
def test_what_was_told_is_state(resume, rng):
    rate = by_gradient(0.01, 0.1)
    for groups in ([], [{"params": ["b"], "lr": rate}], [{"params": ["b"], "lr": plateau(1)}]):
        for after in range(len(LOSSES)):
            params, grads = problem(np.float64, rng)
            opt = gd.Adam(lr=STALLED, groups=groups)
            for g, loss in zip(grads[:after], LOSSES, strict=False):
                opt.step(params, g, loss=loss)
            if after == 0 and resume is RESUMES[4]:
                continue
            rates = opt._rates()
            again = resume(opt)
            assert again.lr == opt.lr
            assert again._rates() == rates
            resumed = copy.deepcopy(params)
            for g, loss in zip(grads[after:], LOSSES[after:], strict=True):
                again.step(resumed, g, loss=loss)
            assert again.lr == STALLED(LOSSES)[-1]
            for g, loss in zip(grads[after:], LOSSES[after:], strict=True):
                opt.step(params, g, loss=loss)
            same(params, resumed)
            assert again._rates() == opt._rates()


def run(opt, losses):
    w = np.ones(2)
    for loss in losses:
        opt.step(w, np.ones(2), loss=loss)
    return opt.lr


def test_two_optimizers_share_a_plateau_but_no_state():
    one, two = gd.SGD(lr=STALLED), gd.SGD(lr=STALLED)
    assert run(one, [1.0] * 3) == 0.25
    assert two.lr == 0.5
    assert run(two, [1.0] * 2) == 0.5
    one.reset()
    assert one.lr == 0.5
    assert run(one, [1.0] * 2) == 0.5
    fresh = gd.SGD(**one.get_params())
    assert fresh == one
    assert run(fresh, [1.0] * 2) == 0.5


def test_other_settings_keep_the_state_and_another_rate_starts_anew():
    opt = gd.SGD(lr=STALLED)
    run(opt, [1.0] * 3)
    opt.weight_decay = 0.5
    assert opt.lr == 0.25
    assert opt.state_dict()["rates"] == [{"lr": 0.25, "best": 1.0, "bad": 0, "cooldown": 0}]
    opt.lr = plateau(0.5, factor=0.5, patience=1)
    assert opt.lr == 0.5
    opt.lr = by_gradient(0.25, 10)
    opt.reset()
    opt.step(np.zeros(1), np.ones(1))
    opt.weight_decay = 0.0
    assert opt.lr == 0.25
    assert opt.state_dict()["rates"] == [{"lr": 0.25}]
    opt.lr = 0.1
    assert "rates" not in opt.state_dict()
    with pytest.raises(ValueError, match="lr is -1"):
        opt.lr = -1
    opt.lr = STALLED
    state = opt.state_dict()
    sound = {"lr": 1.0, "best": 1.0, "bad": 0, "cooldown": 0}
    for rates in (3, [], [3], [{}], [{**sound, "lr": "x"}], [{**sound, "lr": -1}], [sound] * 2):
        with pytest.raises(ValueError, match="the state's rates are"):
            opt.load_state_dict({**state, "rates": rates})
    opt.load_state_dict({**state, "rates": [None]})
    assert opt.lr == 0.5


def test_a_step_that_is_not_taken_has_told_nothing():
    w, nan = np.ones(2), np.full(2, math.nan)
    opt = gd.SGD(lr=STALLED, on_nonfinite="skip")
    for _ in range(5):
        opt.step(w, np.ones(2), loss=1.0)
        opt.step(w, nan, loss=1.0)
        if opt.t < 3:
            assert opt.lr == 0.5
    assert opt.t == 5
    assert opt.lr == STALLED([1.0] * 5)[-1]
    opt.on_nonfinite = "raise"
    before = opt.state_dict()
    with pytest.raises(gd.NonFiniteError):
        opt.step(w, nan, loss=1.0)
    with pytest.raises(ValueError, match="shape"):
        opt.step(w, np.ones(3), loss=1.0)
    assert opt.state_dict()["rates"] == before["rates"]


def test_a_plateau_needs_a_loss():
    w, g = np.ones(2), np.ones(2)
    opt = gd.SGD(lr=0.1, groups=[{"params": [0], "lr": STALLED}])
    for trace in (False, True):
        with pytest.raises(TypeError, match=r"step\(\) needs loss=.*because lr is plateau\(lr=0.5"):
            opt.step([w], [g], trace=trace)
        with pytest.raises(TypeError, match=r"loss is 'x'; a number, or an array of one element"):
            opt.step([w], [g], loss="x", trace=trace)
    assert opt.t == 0
    assert w.tolist() == [1.0, 1.0]
    opt.step([w], closure=lambda: (np.array(2.0), [g]))
    assert opt.state_dict()["rates"] == [None, {"lr": 0.5, "best": 2.0, "bad": 0, "cooldown": 0}]
    opt.step([w], [g], loss=np.float32(1.0), trace=True)
    assert opt._told()[1].best == 1.0


CYCLE = one_cycle(0.1, len(LOSSES), base_momentum=0.5, max_momentum=0.9)


class Counting:
    """A schedule of the user's own, with momentum."""

    def __init__(self, momenta):
        self.momenta, self.seen = momenta, []

    def __call__(self, t):
        self.seen.append(t)
        return 0.1

    def momentum(self, t):
        self.seen.append(t)
        return self.momenta[t]


@each_kind
def test_momentum_of_the_schedule_is_that_of_each_step(kind, dtype, rng):
    params, grads = problem(dtype, rng)
    others, traced = copy.deepcopy(params), copy.deepcopy(params)
    names = {"momentum", "betas"} & {*kind._hypers}
    first = {"momentum": 0.9} if "momentum" in names else {}
    opt, by_hand, tracing = kind(lr=CYCLE), kind(lr=0, **first), kind(lr=CYCLE)
    for t, g in enumerate(grads):
        opt.step(params, g, loss=LOSS)
        table = tracing.step(traced, g, loss=LOSS, trace=True)
        by_hand.lr = CYCLE(t)
        if "momentum" in names:
            by_hand.momentum = CYCLE.momentum(t)
        elif "betas" in names:
            by_hand.betas = (CYCLE.momentum(t), *by_hand.betas[1:])
        wanted = by_hand.step(others, g, loss=LOSS, trace=True)
        same(params, others)
        same(traced, others)
        assert [*table] == [*wanted]
        for name, value in table.items():
            same(value, wanted[name])
    for name in names:
        assert getattr(opt, name) == getattr(kind(), name)
    assert pickle.loads(pickle.dumps(opt)) == opt


def test_groups_that_share_a_schedule_with_momentum_ask_it_once():
    rate = Counting([0.5, 0.25])
    opt = gd.SGD(lr=rate, groups=[{"params": [1], "weight_decay": 0.0}, {"params": [2], "lr": 1.0}])
    params, ones = [np.zeros(1) for _ in range(3)], [np.ones(1)] * 3
    opt.step(params, ones)
    opt.step(params, ones)
    assert rate.seen == [0, 0, 1, 1]
    np.testing.assert_allclose(params, [[-0.225], [-0.225], [-2.0]])


@pytest.mark.parametrize(
    ("kind", "momentum", "accepted"),
    [(gd.SGD, -0.1, "finite number >= 0"), (gd.Adam, 1.0, r"number in \[0, 1\)")],
)
def test_a_momentum_outside_its_domain_is_refused(kind, momentum, accepted):
    opt, w = kind(lr=Counting([momentum])), np.ones(1)
    with pytest.raises(ValueError, match=rf"is a schedule that gave {momentum} .*{accepted}"):
        opt.step(w, np.ones(1))
    assert (opt.t, w[0]) == (0, 1.0)
    with pytest.raises(ValueError, match=r"momentum is -0.5"):
        gd.SGD(lr=CYCLE, momentum=-0.5)
