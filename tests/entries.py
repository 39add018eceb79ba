"""Every entry to the C core as a call to repeat, valid and refused, for tests of memory.

An entry makes (call, objects whose references are counted, optimizer or None). What a call needs is
made before it; `covers` collects the names of `gdcore._core` that the entries come through.
"""

import copy
import pickle
import subprocess
import sys
import textwrap

import numpy as np

import gdcore as gd
from gdcore import _core

ENTRIES = {}
covers = set()


def entry(*names):
    """Register a maker under its own name; names are those of the core that it calls."""

    def register(make):
        covers.update(names)
        ENTRIES[make.__name__] = make
        return make

    return register


def refusal(function, *args, **kwargs):
    """A call that raises, and whose exception is forgotten, unless memory was short."""

    def call():
        try:
            function(*args, **kwargs)
        except MemoryError:
            raise
        except Exception:
            return
        raise AssertionError("nothing was refused")

    return call


def pair(n=4, dtype=np.float64):
    return np.linspace(1, 2, n).astype(dtype), np.linspace(-1, 1, n).astype(dtype)


# ---- Steps ---------------------------------------------------------------------------------------


@entry("Optimizer.step")
def first_step():
    (w, g), opt = pair(), gd.Adam(amsgrad=True)
    return lambda: opt.step(w, g), (w, g), opt


@entry("Optimizer._restore", "Optimizer._group_numbers")
def first_step_of_groups():
    params = {"W": np.ones((2, 3)), "b": [np.ones(3, np.float32), np.ones(())]}
    grads = {"b": (np.ones(3, np.float32), 2.0), "W": np.ones((2, 3))}
    groups = [{"params": "b", "lr": 0.5, "clip_norm": 1.0}]
    opt = gd.RMSprop(momentum=0.5, groups=groups)

    def call():
        opt.reset()
        opt.step(params, grads)

    return call, (params, grads, params["W"], grads["W"], grads["b"]), None


@entry("Optimizer.t", "Optimizer.grad_norm", "Optimizer._rates")
def resumed_step():
    (w, g), opt = pair(), gd.Adam(global_clip_norm=1.0)
    opt.step(w, g)
    state = opt.state_dict()

    def call():
        opt.load_state_dict(state)
        opt.step(w, g)
        return opt.t, opt.grad_norm, opt._rates()

    return call, (w, g, state), None


def later(opt, params, grads):
    opt.step(params, grads)
    return lambda: opt.step(params, grads), (params, grads), opt


@entry()
def later_step():
    return later(gd.Adam(), *pair())


@entry()
def later_step_in_threads():
    return later(gd.SGD(momentum=0.9, clip_value=0.5), *pair(100_000, np.float32))


@entry()
def later_step_of_containers():
    params = {"a": [np.ones(3), np.ones((2, 2)).T], "b": (np.ones(()), {"c": np.ones(0)})}
    grads = {"b": [2.0, {"c": np.ones(0)}], "a": (np.ones(3), np.ones((2, 2)).T)}
    return later(gd.AdamW(on_nonfinite="raise", global_clip_norm=1.0), params, grads)


@entry()
def later_step_of_groups():
    params = [np.ones(3), np.ones(2, np.float32), np.ones(4)]
    grads = [np.ones(3), np.ones(2, np.float32), np.ones(4)]
    groups = [{"params": 1, "clip_norm": 0.1}, {"params": [2], "frozen": True}]
    return later(gd.Adagrad(groups=groups, maximize=True), params, grads)


@entry()
def later_step_of_units():
    params, grads = [np.ones((30, 40)), np.ones((3, 2)).T], [np.ones((30, 40)), np.ones((3, 2)).T]
    groups = [{"params": 1, "constraint": gd.constraints.simplex(), "l1": 0.0}]
    norm = gd.constraints.max_norm(2.0)
    return later(gd.Adam(clip_adaptive=0.01, l1=0.1, constraint=norm, groups=groups), params, grads)


@entry()
def constrained_later():
    (w, g), opt = pair(), gd.SGD()
    opt.step(w, g)

    def call():
        opt.set_params(clip_adaptive=None, constraint=None)
        opt.set_params(clip_adaptive=0.01, constraint=gd.constraints.unit_norm())
        opt.step(w, g)

    return call, (w, g), None


@entry("project")
def projections():
    c, x = gd.constraints, np.ones((20, 3))
    kinds = [c.box(0.0, 0.5), c.non_neg(), c.max_norm(1.0), c.unit_norm(), c.simplex()]
    return lambda: [kind(a) for kind in kinds for a in (x, x.T, x[::2], 1.5)], (x,), None


@entry()
def refused_projections():
    bad = np.ones(3, np.float16)
    calls = [
        refusal(gd.constraints.max_norm(1.0), bad),
        refusal(_core.project, (99, 0.0, 0.0), bad),
        refusal(_core.project, 1, bad),
    ]
    return lambda: [call() for call in calls], (bad,), None


@entry("average")
def averages():
    x, w, big = np.ones(9), np.ones((3, 2), np.float32), np.ones(60_000)
    pairs = [(np.zeros_like(a), a) for a in (x, w.T, big)]
    return lambda: [_core.average(*pair, 0.5) for pair in pairs], (x, w, big), None


AVERAGES = [
    (np.ones(3, np.float16), np.ones(3), TypeError, "average has dtype"),
    (np.ones(3), [1.0], TypeError, "p is list"),
    (np.ones(3), np.ones(3, np.float32), ValueError, "differ in type, shape or order"),
    (np.ones(3), np.ones(2), ValueError, "differ in type, shape or order"),
    (np.ones((3, 2)), np.ones((2, 3)).T, ValueError, "differ in type, shape or order"),
    (np.ones(6)[::2], np.ones(3), ValueError, "average"),
]


@entry("average")
def refused_averages():
    calls = [refusal(_core.average, a, p, 0.5) for a, p, _, _ in AVERAGES]
    calls.append(refusal(_core.average, np.ones(3), np.ones(3)))
    return lambda: [call() for call in calls], tuple(p for _, p, _, _ in AVERAGES), None


@entry()
def scheduled_step():
    return later(gd.SGD(lr=lambda t: 0.5 / (1 + t)), *pair())


@entry("Optimizer._schedules")
def told_step():
    (w, g), (v, h) = pair(), pair()
    groups = [{"params": [1], "lr": gd.schedules.by_gradient(0.1, 0.2)}]
    opt = gd.SGD(lr=gd.schedules.plateau(0.5), groups=groups)

    def call():
        opt.step([w, v], [g, h], loss=1.0)
        return opt.lr, opt._schedules()

    return call, (w, g, v, h), None


class Cycle:
    """A schedule with momentum; ours compute with NumPy's ufuncs, of whose errors see NOT_OURS."""

    def __call__(self, t):
        return 0.5 / (1 + t)

    def momentum(self, t):
        return 0.5 + 0.25 / (1 + t)


@entry()
def scheduled_step_with_momentum():
    return later(gd.Adam(lr=Cycle()), *pair())


@entry()
def step_by_closure():
    (w, g), opt = pair(), gd.SGD()
    return lambda: opt.step(w, closure=lambda: (1.0, g)), (w, g), None


@entry("Optimizer._traced_step")
def traced_step():
    (w, g), opt = pair(), gd.Adam()
    return lambda: opt.step([w], [g], trace=True), (w, g), None


def failing(*args):
    raise ZeroDivisionError


def step_refusals():
    """Name and call of every way in which a step is refused."""
    (w, g), (v, _), bad = pair(), pair(), np.ones(3, np.float16)
    fresh, bound = gd.Adam(on_nonfinite="raise"), gd.Adam()
    bound.step([w], [g])
    loaded = gd.Adam()
    loaded.load_state_dict(bound.state_dict())
    ring = []
    ring.append(ring)
    scheduled = gd.SGD(lr=failing)
    yield "dtype", (fresh, bad, bad)
    yield "number", (fresh, 1.0, 1.0)
    yield "nested", (fresh, {"a": [w, (v, 3.0)]}, {"a": [g, (g, 1.0)]})
    yield "grad_dtype", (fresh, [w], [bad])
    yield "grad_shape", (fresh, {"W": w}, {"W": np.ones(5)})
    yield "grad_missing", (fresh, {"W": w}, {"b": g})
    yield "grad_count", (fresh, [w, v], [g])
    yield "grad_kind", (fresh, [w, v], {"a": g, "b": g})
    yield "twice", (fresh, [w, v, w], [g, g, g])
    yield "alias", (fresh, [w, v], [g, w])
    yield "nonfinite", (fresh, {"x": [w]}, {"x": [g * np.nan]})
    yield "other", (bound, [v], [g])
    yield "more", (bound, [w, v], [g, g])
    yield "fewer", (bound, [], [])
    yield "state", (loaded, [np.ones(3)], [np.ones(3)])
    yield "ring", (fresh, ring, ring)
    yield "schedule", (scheduled, w, g)
    yield "complex", (fresh, np.ones(1), 1j)
    yield "unfit_number", (fresh, np.ones(1), type("Bad", (), {"__float__": failing})())


def _step_refusal(name):
    def make():
        opt, params, grads = dict(step_refusals())[name]
        return refusal(opt.step, params, grads), (params, grads), opt

    make.__name__ = f"refused_step_{name}"
    entry()(make)


for _name, _ in step_refusals():
    _step_refusal(_name)


@entry()
def refused_arguments_of_step():
    (w, g), opt = pair(), gd.SGD()
    calls = [
        refusal(opt.step),
        refusal(opt.step, w),
        refusal(opt.step, w, g, 3),
        refusal(opt.step, w, g, params=w),
        refusal(opt.step, w, g, lr=3),
        refusal(opt.step, w, closure=failing),
        refusal(opt.step, w, closure=list),
        refusal(gd.SGD.__new__(gd.SGD).step, w, g),
    ]
    return lambda: [call() for call in calls], (w, g), opt


# ---- Settings and state --------------------------------------------------------------------------


@entry("Optimizer._configure", "Optimizer")
def made_and_set():
    def call():
        opt = gd.Adam(lr=0.5, groups=[{"params": 0, "lr": failing}])
        opt.lr = 0.1
        opt.set_params(betas=(0.5, 0.5))

    return call, (failing,), None


@entry()
def copied():
    (w, g), opt = pair(), gd.Adam()
    opt.step(w, g)
    return lambda: (pickle.loads(pickle.dumps(opt)), copy.deepcopy(opt)), (w, g), None


@entry("Optimizer._state", "Optimizer._state_names")
def kept():
    (w, g), opt = pair(), gd.Adam()
    opt.step(w, g)

    def call():
        opt.load_state_dict(opt.state_dict())
        opt._state_names()
        opt.step(w, g)

    return call, (w, g), None


@entry()
def refused_settings():
    opt = gd.Adam()
    opt.step(*pair())
    calls = [
        refusal(gd.SGD, -1.0),
        refusal(opt.set_params, betas=(1.0, 0.5)),
        refusal(opt.set_params, amsgrad=True),
        refusal(opt._configure, 1),
        refusal(opt._configure, 99, 0, 0, 0, 1.0, ((),), (None,)),
        refusal(opt._configure, 0, 0, 0, 0, 1.0, ((),), (None,)),
        refusal(opt._configure, 0, 0, 0, 0, 1.0, (((1.0,), 1.0, 1.0, 0),), (None,)),
        refusal(opt._configure, 3, 0, 0, 0, 1.0, (1,), (None,)),
        refusal(opt._restore, 1),
        refusal(opt._restore, -1, None),
        refusal(opt._restore, 1, 5),
        refusal(opt._restore, 1, [(1, 2)]),
        refusal(opt._state_names, 7),
    ]
    return lambda: [call() for call in calls], (), opt


# ---- Functions -----------------------------------------------------------------------------------


@entry("loss", "check_loss")
def losses():
    y, p, w = np.eye(3), np.full((3, 3), 0.3), np.ones(3)
    targets = {"sparse": [0, 1, 2], "paired": w}
    kinds = {row["name"]: row["kind"] for row in _core.LOSSES}
    plain = [
        gd.losses.get(name, reduction=r) for name in gd.losses.names() for r in ("mean", "none")
    ]

    def call():
        for loss in plain:
            kind = kinds[loss.name]
            target, pred = targets.get(kind, y), p[:, :2] if kind == "paired" else p
            loss(target, pred, w)
            loss.value_and_grad(target, pred)
            gd.losses.get(loss.name, **loss.params)

    return call, (y, p, w), None


@entry()
def losses_of_many_blocks():
    y, p = pair(100_000)
    return lambda: gd.losses.mse(y, p), (y, p), None


@entry()
def refused_losses():
    y, p, bad = np.eye(3), np.full((3, 3), 0.3), np.ones(3, np.float16)
    sparse = gd.losses.sparse_categorical_crossentropy
    calls = [
        refusal(gd.losses.mse, bad, p),
        refusal(gd.losses.mse, y, bad),
        refusal(gd.losses.mse, y, p, bad),
        refusal(gd.losses.mse, y, p, np.ones(2)),
        refusal(gd.losses.mse, np.ones(2), p),
        refusal(gd.losses.mse, p.astype(np.float32), p),
        refusal(gd.losses.mse, [[1], [1, 2]], p),
        refusal(gd.losses.mse, np.ma.ones(3), p),
        refusal(sparse, [0, 1, 7], p),
        refusal(sparse, [0, 1, 0.5], p),
        refusal(sparse, ["a"], p),
        refusal(gd.losses.gaussian_nll, y[0], p),
        refusal(gd.losses.get, "huber", delta=-1.0),
        refusal(gd.losses.get, "huber", delta="1"),
        refusal(_core.check_loss, (0, "x")),
        refusal(_core.loss, (0,)),
        refusal(_core.loss, 0, y, p, None, 0, False),
        refusal(_core.loss, (0, "x"), y, p, None, 0, False),
        refusal(_core.loss, (99,), y, p, None, 0, False),
        refusal(_core.loss, (0,), y, p, None, 9, False),
        refusal(_core.loss, (0,), y, p, None, "x", False),
    ]
    return lambda: [call() for call in calls], (y, p, bad), None


UFUNCS = [name for name in gd.activations.names() if hasattr(_core, name)]


@entry(*UFUNCS)
def ufuncs():
    z, odd = np.ones((3, 4)), np.ones((3, 8), np.float32)[:, ::2]

    def call():
        gd.prelu(z, 0.5)
        gd.prelu(odd, odd[0])
        gd.prelu(z, z)
        for name in UFUNCS:
            act = gd.activations.get(name)
            act(z)
            act(odd)
            act([[1, 2, 3, 4]])

    return call, (z, odd), None


@entry("activate", "activate_grad", "check_activation")
def activations():
    z, odd = np.ones((3, 4)), np.ones((3, 8), np.float32)[:, ::2]

    def call():
        for name in gd.activations.names():
            act = gd.activations.get(name)
            _core.check_activation(act._spec)
            _core.activate(act._spec, [[1, 2, 3, 4]])
            _core.activate(act._spec, odd)
            act.grad(z, z, z)

    return call, (z, odd), None


@entry()
def refused_ufuncs():
    z, bad = np.ones((3, 4)), np.ones(3, np.float16)
    calls = [refusal(gd.relu, bad), refusal(gd.relu, z, dtype=np.int8), refusal(gd.relu, None)]
    calls += [refusal(gd.prelu, z, bad), refusal(gd.prelu, z, np.ones(4, np.float32))]
    return lambda: [call() for call in calls], (z, bad), None


@entry()
def refused_activations():
    z, bad = np.ones((3, 4)), np.ones(3, np.float16)
    calls = [
        refusal(gd.softmax, bad),
        refusal(gd.softmax, 1.0),
        refusal(gd.activations.tanh.grad, z, y=np.ones(3)),
        refusal(gd.activations.tanh.grad, bad, y=z),
        refusal(gd.activations.tanh.grad, z, y=bad),
        refusal(gd.activations.get, "leaky_relu", slope=-1.0),
        refusal(gd.activations.prelu_grad, z, z, np.ones(3)),
        refusal(_core.check_activation, (99,)),
        refusal(_core.activate, (99,), z),
        refusal(_core.activate),
        refusal(_core.activate_grad, (0,), z),
    ]
    return lambda: [call() for call in calls], (z, bad), None


@entry("dense", "dense_grad", "linear_value_and_grad")
def dense():
    X, W, b, out, z = np.ones((5, 2)), np.ones((2, 3)), np.ones(3), np.ones((5, 3)), np.ones((5, 3))

    def call():
        gd.dense(X, W, b, "tanh")
        gd.dense(X.tolist(), W, [1, 2, 3], "softmax", out=out, z_out=z)
        gd.dense_grad(out, X, W, z, "sigmoid")
        gd.dense_grad(out, X, W, need_dX=False)
        gd.linear_value_and_grad(X, out, W, b)
        gd.linear_value_and_grad(X, b[[0, 1, 2, 0, 1]], [1.0, 2.0], 0.5)

    return call, (X, W, b, out, z), None


@entry()
def refused_dense():
    X, W, b, bad = np.ones((5, 2)), np.ones((2, 3)), np.ones(3), np.ones(3, np.float16)
    calls = [
        refusal(gd.dense, bad, W),
        refusal(gd.dense, X, bad),
        refusal(gd.dense, X, W, bad),
        refusal(gd.dense, X, W.T),
        refusal(gd.dense, X, W, out=X),
        refusal(gd.dense, X, W, out=1),
        refusal(gd.dense, X, W, z_out=bad),
        refusal(gd.dense_grad, bad, X, W),
        refusal(gd.dense_grad, X, X, W),
        refusal(gd.dense_grad, np.ones((5, 3)), X, W, activation="tanh"),
        refusal(gd.linear_value_and_grad, X, bad, W, b),
        refusal(gd.linear_value_and_grad, X, X, W, b),
        refusal(_core.dense, X, W, b, 5),
        refusal(_core.dense),
        refusal(_core.linear_value_and_grad, X, X, W, b, None),
    ]
    return lambda: [call() for call in calls], (X, W, b, bad), None


@entry("clip_by_global_norm")
def clipping():
    grads = {"a": np.ones(3), "b": [np.ones((2, 2), np.float32)]}
    return lambda: gd.clip_by_global_norm(grads, 2.0), (grads, grads["a"]), None


@entry()
def refused_clipping():
    g, bad = np.ones(3), np.ones(3, np.float16)
    calls = [
        refusal(gd.clip_by_global_norm, [g, bad], 1.0),
        refusal(gd.clip_by_global_norm, [g, 1.0], 1.0),
        refusal(gd.clip_by_global_norm, [g, [g]], 1.0),
        refusal(gd.clip_by_global_norm, g, -1.0),
        refusal(gd.clip_by_global_norm, g, "x"),
        refusal(_core.clip_by_global_norm, g),
    ]
    return lambda: [call() for call in calls], (g, bad), None


@entry("sum", "norm", "dot", "math", "pool_probe", "level", "levels")
def probes():
    x, odd = np.ones(9), np.ones(18)[::2]

    def call():
        _core.sum(x), _core.norm(odd), _core.dot(x, odd), _core.math("exp", odd)
        _core.pool_probe(3, 2), _core.level(), _core.levels()

    return call, (x, odd), None


@entry("get_num_threads", "set_num_threads")
def refused_probes():
    bad = np.ones(3, np.float16)
    calls = [
        refusal(_core.sum, bad),
        refusal(_core.norm, bad),
        refusal(_core.dot, bad, bad),
        refusal(_core.dot, np.ones(3), np.ones(4)),
        refusal(_core.math, "exp", bad),
        refusal(_core.math, "no", bad),
        refusal(_core.pool_probe, -1, 1),
        refusal(_core.pool_probe, "x"),
        refusal(_core.set_num_threads, 0),
        refusal(_core.set_num_threads, "1"),
        refusal(_core.level, 1),
    ]

    def call():
        _core.set_num_threads(_core.get_num_threads())
        for each in calls:
            each()

    return call, (bad,), None


def core_names():
    """What of the core can be called: functions, and the methods and attributes of Optimizer."""
    functions = {name for name in dir(_core) if callable(getattr(_core, name))} - {"NonFiniteError"}
    own = {f"Optimizer.{name}" for name in vars(_core.Optimizer) if not name.startswith("__")}
    return {name for name in functions | own if not name.startswith("__")}


def run(script, *arguments, timeout=250):
    """The script's standard output, from a process of its own that must not crash."""
    command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stderr[-4000:]}"
    return done.stdout


import entries_data  # noqa: E402, F401 - registers the entries of data and random numbers
import entries_engine  # noqa: E402, F401 - registers the entries of the engine
import entries_network  # noqa: E402, F401 - registers the entries of networks
