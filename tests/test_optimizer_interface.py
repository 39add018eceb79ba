"""How optimizers are used: settings, groups, containers, state, schedules, non-finite gradients."""

import copy
import pickle
import re

import numpy as np
import pytest
from optimizer_cases import CASES, LOSS, ROWS, label, make, stepped

import gdcore as gd
from gdcore import schedules

each_case = pytest.mark.parametrize("case", CASES, ids=label)
each_class = pytest.mark.parametrize("kind", [getattr(gd, row["class"]) for row in ROWS.values()])


def halved(t):
    """A schedule of the user's own."""
    return 0.5**t


# ---- Settings ------------------------------------------------------------------------------------


@each_case
def test_settings_are_attributes_and_survive_repr_pickle_and_copy(case):
    opt = make(case, global_clip_norm=2.0, groups=[{"params": ["b"], "lr": 0.5, "frozen": True}])
    for name, value in {**case[1], "global_clip_norm": 2.0}.items():
        assert getattr(opt, name) == value
    for same in (
        eval(repr(opt), vars(gd)),
        pickle.loads(pickle.dumps(opt)),
        copy.copy(opt),
        copy.deepcopy(opt),
        type(opt)(**opt.get_params()),
    ):
        assert same == opt
        assert repr(same) == repr(opt)
        assert same.get_params() == opt.get_params()
    same.lr = 0.3
    assert same != opt


@each_class
def test_repr_shows_what_is_not_a_default(kind):
    assert repr(kind(lr=0.25)) == f"{kind.__name__}(lr=0.25)"
    opt = kind(lr=schedules.step(0.5, 3), maximize=True, clip_norm=np.float32(0.5))
    assert repr(opt).endswith("maximize=True, clip_norm=0.5)")
    assert eval(repr(opt), {**vars(gd), **vars(schedules)}) == opt
    assert kind(lr=0.25) != gd.optimizers.Optimizer
    assert kind(lr=0.25).__eq__(0.25) is NotImplemented


@each_class
def test_defaults_are_the_dialect_s(kind):
    for i, dialect in enumerate(("torch", "keras", "optax")):
        defaults = {hyper["name"]: hyper["defaults"][i] for hyper in kind._row["hypers"]}
        required = [name for name, default in defaults.items() if default is None]
        for name in required:
            with pytest.raises(TypeError, match=f"{name}= is required .*'{dialect}'"):
                kind(dialect=dialect)
        opt = kind(dialect=dialect, **dict.fromkeys(required, 0.125))
        for name, default in defaults.items():
            assert getattr(opt, name) == (0.125 if default is None else default)


UNKNOWN = [
    ({"learning_rate": 0.1}, "lr"),
    ({"beta_1": 0.9}, "betas"),
    ({"epsilon": 1e-7}, "eps"),
    ({"clipnorm": 1.0}, "clip_norm"),
    ({"clipvalue": 1.0}, "clip_value"),
    ({"global_clipnorm": 1.0}, "global_clip_norm"),
    ({"params": []}, "step(params, grads)"),
    ({"weight_decays": 0.1}, "weight_decay"),
    ({"maximise": True}, "maximize"),
]


@pytest.mark.parametrize(("unknown", "ours"), UNKNOWN, ids=str)
def test_an_unknown_keyword_names_ours(unknown, ours):
    for change in (lambda: gd.Adam(**unknown), lambda: gd.Adam().set_params(**unknown)):
        with pytest.raises(TypeError) as caught:
            change()
        message = str(caught.value)
        assert message.startswith(f"Adam: unknown argument {next(iter(unknown))}=")
        assert message.endswith(f"here it is {ours}")


BAD = [
    ({"lr": -1}, ValueError, "lr is -1.0; a finite number >= 0 is accepted"),
    ({"lr": float("nan")}, ValueError, "lr is nan"),
    ({"lr": float("inf")}, ValueError, "lr is inf"),
    ({"lr": "0.1"}, TypeError, "lr is '0.1'; a number is accepted"),
    ({"lr": True}, TypeError, "lr is True; a number"),
    ({"lr": 1j}, TypeError, "lr is 1j; a number"),
    ({"lr": np.ones(3)}, TypeError, "lr is ndarray; .*parameters go to step(params, grads)"),
    ({"lr": [np.ones(3)]}, TypeError, "lr is list; .*parameters go to step(params, grads)"),
    ({"betas": (0.9, 1.0)}, ValueError, "betas is 1.0; a number in [0, 1) is accepted"),
    ({"betas": (-0.1, 0.5)}, ValueError, "betas is -0.1"),
    ({"betas": 0.9}, TypeError, "betas is 0.9; 2 numbers are accepted"),
    ({"betas": (0.9,)}, TypeError, "betas is (0.9,); 2 numbers"),
    ({"betas": ("a", "b")}, TypeError, "betas[0] is 'a'"),
    ({"eps": -1e-8}, ValueError, "eps is -1e-08"),
    ({"weight_decay": -1}, ValueError, "weight_decay is -1.0"),
    ({"amsgrad": 1}, TypeError, "amsgrad is 1; True or False is accepted"),
    ({"maximize": "no"}, TypeError, "maximize is 'no'; True or False is accepted"),
    ({"dialect": "jax"}, ValueError, "dialect is 'jax'; accepted: .*'torch', 'keras', 'optax'"),
    ({"on_nonfinite": "stop"}, ValueError, "on_nonfinite is 'stop'; accepted: .*'skip'"),
    ({"clip_norm": 0}, ValueError, "clip_norm is 0; a finite number > 0, or None, is accepted"),
    ({"clip_value": -2.0}, ValueError, "clip_value is -2.0"),
    ({"global_clip_norm": float("inf")}, ValueError, "global_clip_norm is inf"),
    ({"clip_norm": 1.0, "clip_value": 1.0}, ValueError, "more than one of clip_value, clip_norm"),
    ({"clip_norm": 1.0, "global_clip_norm": 1.0}, ValueError, "more than one of"),
    ({"groups": {"params": [0]}}, TypeError, "groups is .*; a list of dicts is accepted"),
    ({"groups": [{"lr": 0.1}]}, TypeError, "a group is .*; a dict with 'params'"),
    ({"groups": [{"params": [0], "rate": 1}]}, TypeError, "a group: unknown argument rate="),
    ({"groups": [{"params": [0], "lr": -1.0}]}, ValueError, "lr is -1.0"),
    ({"groups": [{"params": [0], "frozen": "no"}]}, TypeError, "frozen is 'no'"),
]


def literally(text):
    return re.escape(text).replace(r"\.\*", ".*")


@pytest.mark.parametrize(("settings", "kind", "message"), BAD, ids=lambda x: str(x)[:40])
def test_settings_that_are_refused_change_nothing(settings, kind, message):
    with pytest.raises(kind, match=literally(message)) as caught:
        gd.Adam(**settings)
    assert str(caught.value).startswith("Adam")
    opt = gd.Adam(0.5, (0.5, 0.6))
    before = opt.get_params()
    with pytest.raises(kind, match=literally(message)):
        opt.set_params(**{"eps": 0.5, **settings})
    assert opt.get_params() == before
    p = np.ones(2)
    opt.step(p, np.ones(2))
    np.testing.assert_array_equal(p, stepped(gd.Adam(0.5, (0.5, 0.6)), np.ones(2), [np.ones(2)])[0])


@pytest.mark.parametrize(
    ("optimizer", "name", "message"),
    [
        (gd.SGD(0.1), "learning_rate", "SGD has no setting learning_rate; .*here it is lr"),
        (gd.SGD(0.1), "momentun", "here it is momentum"),
        (gd.Adam(0.1), "momentum", "Adam has no setting momentum; accepted: lr, betas"),
        (gd.EMA(gd.SGD(0.1)), "momentum", "EMA has no setting momentum; accepted: optimizer"),
        (gd.LBFGS(), "learning_rate", "here it is lr"),
    ],
)
def test_an_attribute_that_is_no_setting_is_not_set(optimizer, name, message):
    with pytest.raises(AttributeError, match=message):
        setattr(optimizer, name, 0.5)
    assert not hasattr(optimizer, name)


def test_a_factor_of_the_rate_in_a_group():
    opt = gd.SGD(0.5, groups=[{"params": [0], "lr_scale": 0.5}])
    assert opt.groups[0]["lr"] == 0.25
    opt.lr = 0.1
    assert opt.groups[0]["lr"] == 0.05
    p = [np.ones(2), np.ones(2)]
    opt.step(p, [np.ones(2), np.ones(2)])
    np.testing.assert_allclose([p[0][0], p[1][0]], [0.95, 0.9])
    assert pickle.loads(pickle.dumps(opt)) == opt == type(opt)(**opt.get_params())
    opt.groups[0]["lr"] = 0.3
    opt.lr = 0.2
    assert repr(opt) == "SGD(lr=0.2, groups=[{'params': [0], 'lr': 0.3}])"
    opt.groups[0]["lr_scale"] = 2
    assert opt.groups[0]["lr"] == 0.4
    with pytest.raises(ValueError, match="a group has lr and lr_scale"):
        gd.SGD(0.5, groups=[{"params": [0], "lr": 0.1, "lr_scale": 0.5}])
    with pytest.raises(ValueError, match="lr_scale is -1"):
        opt.groups[0]["lr_scale"] = -1


def test_combinations_that_a_rule_refuses():
    for settings, message in [
        ({"nesterov": True}, "nesterov=True needs momentum > 0"),
        ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening = 0"),
        ({"dampening": 0.1, "dialect": "keras"}, "dampening= exists in dialect='torch' only"),
    ]:
        with pytest.raises(ValueError, match=message):
            gd.SGD(lr=0.1, **settings)
    with pytest.raises(TypeError, match="6 positional arguments found; accepted: lr, momentum"):
        gd.SGD(1, 2, 3, 4, 5, 6)
    with pytest.raises(TypeError, match="lr is given twice"):
        gd.SGD(0.1, lr=0.1)
    with pytest.raises(TypeError, match=r"one of its subclasses, such as gd\.SGD"):
        gd.optimizers.Optimizer(0.1)


@each_class
def test_settings_may_change_between_steps(kind):
    p, g = np.ones(3), np.full(3, 0.5)
    one, other = kind(lr=0.1), kind(lr=0.0, clip_value=0.25)
    one.step(p, g, loss=LOSS)
    q = p.copy()
    other.load_state_dict(one.state_dict())
    one.lr = 0.0
    one.clip_value = 0.25
    assert one == other
    for _ in range(2):
        one.step(p, g, loss=LOSS)
        other.step(q, g, loss=LOSS)
        np.testing.assert_array_equal(p, q)
    assert one.lr == one.get_params()["lr"] == 0.0
    assert one.set_params() is one


def test_a_setting_that_needs_other_state_waits_for_reset():
    opt, p = gd.SGD(lr=0.1), np.ones(2)
    opt.step(p, p.copy())
    for change in ({"momentum": 0.9}, {"dialect": "keras"}, {"groups": [{"params": [0]}]}):
        with pytest.raises(ValueError, match=r"reset\(\)"):
            opt.set_params(**change)
    assert opt.momentum == 0.0
    assert opt.dialect == "torch"
    opt.reset()
    opt.set_params(momentum=0.9, dialect="keras", groups=[{"params": [0], "lr": 0.2}])
    opt.step(p, p.copy())
    assert [*opt.state_dict()["state"][0]] == ["b"]


# ---- Groups --------------------------------------------------------------------------------------


def nested():
    return {"enc": [np.ones(2), np.ones(3)], "dec": (np.ones(1), {"W": np.ones(4)})}


def test_groups_name_keys_positions_and_paths():
    params, grads = nested(), nested()
    opt = gd.SGD(
        lr=1.0,
        groups=[
            {"params": ["enc"], "lr": 0.5},
            {"params": [("dec", 1, "W")], "lr": 0.25, "weight_decay": 1.0},
            {"params": [("dec", 0)], "frozen": True},
        ],
    )
    opt.step(params, grads)
    values = [
        params["enc"][0][0],
        params["enc"][1][0],
        params["dec"][1]["W"][0],
        params["dec"][0][0],
    ]
    assert values == [0.5, 0.5, 0.5, 1.0]


def test_a_group_of_a_single_key_position_or_bare_array():
    for params, name in (({"a": np.ones(1)}, "a"), ([np.ones(1)], 0), (np.ones(1), 0)):
        grads = copy.deepcopy(params)
        opt = gd.SGD(lr=1.0, groups=[{"params": name, "lr": 0.25}])
        opt.step(params, grads)
        leaf = params if isinstance(params, np.ndarray) else params[name]
        assert leaf[0] == 0.75


def test_groups_are_live():
    a, b = np.ones(1), np.ones(1)
    opt = gd.SGD(lr=1.0, groups=[{"params": [1], "lr": 0.5}])
    group, g = opt.groups[0], [np.ones(1), np.ones(1)]
    assert group["lr"] == 0.5
    assert group["weight_decay"] == 0.0
    assert dict(group) == {**dict(group), "params": [1], "frozen": False, "clip_norm": None}
    assert len(group) == len(dict(group))
    opt.step([a, b], g)
    group["lr"] = 0.25
    opt.step([a, b], g)
    group["frozen"] = True
    opt.step([a, b], g)
    assert (a[0], b[0]) == (-2.0, 0.25)
    group["frozen"] = False
    del group["lr"]
    opt.step([a, b], g)
    assert (a[0], b[0]) == (-3.0, -0.75)
    assert repr(group) == "{'params': [1], 'frozen': False}"
    opt.lr = 0.0
    opt.step([a, b], g)
    assert (a[0], b[0]) == (-3.0, -0.75)


def test_a_group_refuses_what_the_optimizer_refuses():
    opt = gd.Adam(lr=1.0, groups=[{"params": [0], "lr": 0.5}])
    group = opt.groups[0]
    for name, value, kind in [
        ("lr", -1.0, ValueError),
        ("betas", (0.5, 2.0), ValueError),
        ("betas", 0.5, TypeError),
        ("rate", 1.0, TypeError),
        ("frozen", 1, TypeError),
        ("params", [1], ValueError),
        ("clip_norm", 0.0, ValueError),
    ]:
        with pytest.raises(kind):
            group[name] = value
    with pytest.raises(ValueError, match="params are fixed"):
        del group["params"]
    with pytest.raises(KeyError):
        del group["eps"]
    with pytest.raises(KeyError):
        group["rate"]
    assert opt.get_params()["groups"] == [{"params": [0], "lr": 0.5}]
    group["betas"] = [0.5, 0.75]
    assert group["betas"] == (0.5, 0.75)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"params": ["c"]}], "group 0 names the parameter 'c', which params do not hold"),
        ([{"params": ["a"]}, {"params": [("b", 2)]}], r"group 1 names the parameter \('b', 2\)"),
        ([{"params": ["b"]}, {"params": [("b", 0)]}], r"at \('b', 0\) is in two groups"),
    ],
)
def test_groups_that_do_not_fit_the_params(groups, message):
    opt, params = gd.SGD(lr=1.0, groups=groups), {"a": np.ones(1), "b": [np.ones(1), np.ones(1)]}
    with pytest.raises(ValueError, match=message):
        opt.step(params, copy.deepcopy(params))
    assert opt.t == 0
    assert params["a"][0] == 1.0


def test_clipping_and_norms_in_groups():
    a, b, c = np.zeros(2), np.zeros(1), np.zeros(1)
    groups = [{"params": [0], "clip_norm": 1.0}, {"params": [2], "frozen": True}]
    opt = gd.SGD(lr=1.0, clip_value=0.5, groups=[{**groups[0], "clip_value": None}, groups[1]])
    opt.step([a, b, c], [np.array([3.0, 4.0]), np.array([7.0]), np.array([100.0])])
    np.testing.assert_allclose(a, [-0.6, -0.8])
    assert (b[0], c[0]) == (-0.5, 0.0)
    assert opt.grad_norm == pytest.approx(np.sqrt(74.0), rel=1e-15)
    with pytest.raises(ValueError, match="more than one of"):
        gd.SGD(lr=1.0, global_clip_norm=1.0, groups=groups)


# ---- Containers, numbers -------------------------------------------------------------------------


def test_containers_of_gradients_interchange_list_and_tuple():
    tree = {"a": [np.ones(2), (np.ones(()), {"b": np.ones((2, 2), order="F")})], "c": np.ones(0)}
    other = {"c": np.ones(0), "a": (np.ones(2), [0.5, {"b": np.ones((2, 2), order="F")}])}
    opt = gd.SGD(lr=0.5)
    assert opt.step(tree, other) is None
    a, (number, inner) = tree["a"]
    np.testing.assert_array_equal(a, [0.5, 0.5])
    assert number == 0.75
    np.testing.assert_array_equal(inner["b"], np.full((2, 2), 0.5))


@each_class
def test_numbers_are_gradients_of_one_element(kind, dtype):
    results = []
    for shape, gradient in [
        ((), 0.1),
        ((1,), np.float64(0.1)),
        ((1, 1), np.full((1, 1), 0.1, dtype)),
    ]:
        p, opt = np.full(shape, 2.0**-10, dtype), kind(lr=0.1)
        opt.step(p, gradient, loss=LOSS)
        opt.step(p, gradient, loss=LOSS)
        results.append(p.item())
    assert results[0] == results[1] == results[2] < 2.0**-10


# ---- Schedules -----------------------------------------------------------------------------------


@each_class
@pytest.mark.parametrize("schedule", [halved, schedules.step(0.25, 2), lambda t: np.float32(0.1)])
def test_a_schedule_is_the_rate_of_each_step(kind, schedule, dtype):
    p, q, g = np.ones(3, dtype), np.ones(3, dtype), np.full(3, 0.5, dtype)
    opt, other = kind(lr=schedule, clip_value=0.25), kind(lr=0.0, clip_value=0.25)
    for t in range(5):
        assert opt.lr == float(schedule(t))
        other.lr = float(schedule(t))
        opt.step(p, g, loss=LOSS)
        other.step(q, g, loss=LOSS)
    np.testing.assert_array_equal(p, q)
    assert opt.get_params()["lr"] is schedule
    opt.lr = 0.0
    assert opt.lr == 0.0
    assert opt.get_params()["lr"] == 0.0


def test_schedules_see_each_step_once_as_an_int_and_may_be_a_group_s():
    seen = []

    def rate(t):
        seen.append(t)
        return 1.0

    a, b = np.ones(1), np.ones(1)
    opt = gd.SGD(lr=0.25, groups=[{"params": [1], "lr": rate}])
    for _ in range(3):
        opt.step([a, b], [np.ones(1), np.ones(1)])
    assert seen == [0, 1, 2]
    assert all(type(t) is int for t in seen)
    assert (a[0], b[0]) == (0.25, -2.0)
    opt.step([a, b], [np.ones(1), np.ones(1)], trace=True)
    assert seen == [0, 1, 2, 3]


# ---- Non-finite gradients ------------------------------------------------------------------------


@each_class
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_on_nonfinite(kind, bad, dtype):
    def arrays():
        return {"W": np.ones(3, dtype), "b": [np.ones(20, dtype), np.ones((), dtype)]}

    good, poisoned = arrays(), arrays()
    poisoned["b"][0][17] = bad
    for rule in ("raise", "skip"):
        params, opt = arrays(), kind(lr=0.1, on_nonfinite=rule)
        opt.step(params, good, loss=LOSS)
        assert opt.grad_norm == pytest.approx(np.sqrt(24.0), rel=1e-14)
        before, state = copy.deepcopy(params), opt.state_dict()
        if rule == "raise":
            with pytest.raises(gd.NonFiniteError, match=r"grads\['b'\]\[0\] holds a NaN .* step 2"):
                opt.step(params, poisoned, loss=LOSS)
        else:
            assert opt.step(params, poisoned, loss=LOSS) is None
            assert len(opt.step(params, poisoned, trace=True, loss=LOSS)) == 0
        assert opt.t == 1
        assert not np.isfinite(opt.grad_norm)
        np.testing.assert_equal(params, before)
        np.testing.assert_equal(opt.state_dict(), state)
        opt.step(params, good, loss=LOSS)
        assert opt.t == 2
    params, opt = arrays(), kind(lr=0.1)
    opt.step(params, poisoned, loss=LOSS)
    assert opt.t == 1
    reads_norm = kind._row["needs"] == "loss"
    assert (opt.grad_norm is None) != reads_norm
    assert np.isfinite(params["W"]).all() != (reads_norm and np.isnan(bad))
    assert issubclass(gd.NonFiniteError, FloatingPointError)


def test_a_first_step_that_is_refused_leaves_nothing_bound():
    opt, p = gd.Adam(on_nonfinite="raise"), np.ones(2)
    with pytest.raises(gd.NonFiniteError, match=r"^grads holds"):
        opt.step(p, np.array([np.nan, 1.0]))
    assert opt.state_dict()["state"] is None
    opt.step(np.ones(5), np.ones(5))


def test_huge_gradients_are_finite_ones():
    p, opt = np.zeros(2), gd.SGD(lr=1e-300, on_nonfinite="raise")
    opt.step(p, np.array([1e308, 1.7e308]))
    np.testing.assert_allclose(p, [-1e8, -1.7e8])


# ---- The call ------------------------------------------------------------------------------------


@each_class
def test_a_closure_gives_the_gradients(kind):
    p, q = np.ones(2), np.ones(2)
    one, other = kind(lr=0.1), kind(lr=0.1)
    for _ in range(3):
        one.step(p, 2 * p, loss=float(p @ p))
        assert other.step(q, closure=lambda: (float(q @ q), 2 * q)) is None
    np.testing.assert_array_equal(p, q)
    one.step(p, 2 * p, loss=1.0)
    assert one.t == 4


def test_calls_that_are_refused():
    opt, p = gd.SGD(lr=0.1), np.ones(2)
    for call, kind, message in [
        (lambda: opt.step(p), TypeError, "step() needs grads, .*closure=fn"),
        (lambda: opt.step(), TypeError, "step() is missing its argument 'params'"),
        (lambda: opt.step(p, p.copy(), 1.0), TypeError, "at most 2 positional arguments"),
        (lambda: opt.step(p, grad=p.copy()), TypeError, "step() has no argument 'grad'"),
        (lambda: opt.step(8.0, 1.0), TypeError, "params is a number .*np.array(value"),
        (lambda: opt.step([1.0, 2.0], [0.1, 0.1]), TypeError, "params is .*np.array"),
        (lambda: opt.step(p, p), ValueError, "grads shares memory with a parameter"),
        (lambda: opt.step([p, p], [p.copy(), p.copy()]), ValueError, "params[0] and params[1]"),
        (lambda: opt.step(p, np.ones(3)), ValueError, "grads has shape (3,) but .* (2,)"),
        (lambda: opt.step(p, np.ones(2, int)), TypeError, "grads has dtype int64"),
        (lambda: opt.step(np.ones(2, np.float16), p), TypeError, "params has dtype float16"),
    ]:
        with pytest.raises(kind, match=literally(message)):
            call()
        assert opt.t == 0
        np.testing.assert_array_equal(p, [1.0, 1.0])
    opt.step(p, np.ones(2))
    with pytest.raises(ValueError, match="at the first step"):
        opt.step(np.ones(2), np.ones(2))
    opt.reset()
    opt.step(np.ones(3), np.ones(3))


def test_signatures_and_docs_come_from_the_table():
    import inspect

    for row in ROWS.values():
        kind = getattr(gd, row["class"])
        names = [*inspect.signature(kind).parameters]
        assert names == [h["name"] for h in row["hypers"]] + [*gd._optimizer.COMMON]
        assert row["help"] in kind.__doc__
        assert row["paper"] in kind.__doc__
        for name in names:
            assert name in kind.__doc__
