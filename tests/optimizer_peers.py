"""What the comparisons of optimizers share: a problem, a run of 50 steps, and when two runs agree.

Gradients answer to the parameters, so that a difference would grow; the rate is constant at first
and falls then, which tells apart the rules that keep it in their state from those that do not.
"""

import numpy as np
from optimizer_cases import CASES, ROWS, label, make

from gdcore._optimizer import DIALECTS

RATES = [1.0] * 20 + [0.9**t for t in range(30)]
TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-12}
DTYPES = [*TOLERANCE]

# Settings that the cases of the table lack: lengths within the run, an eps that is felt.
MORE = {
    "adabelief": [{"eps": 1e-3, "eps_root": 1e-4}],
    "asgd": [{"t0": 5.0, "lambd": 0.1}],
    "radam": [{"eps": 1e-3}],
    "prodigy": [{"d_coef": 2.0, "eps": 1e-3}],
    "dadapt_adam": [{"eps": 1e-3}],
    "schedule_free_sgd": [{"warmup_steps": 7.0, "weight_decay": 0.1}],
    "schedule_free_adamw": [{"warmup_steps": 7.0, "weight_decay": 0.1}],
}
# The first steps from d0 = 1e-6 are a few ulps of a float32 parameter, and Prodigy's growing d
# remembers what they lose: from 1e-6 its paths would differ by 1.3e-4 in float32.
START = {"d0": 1e-2}

# The rows that have an oracle. A row of this project's own has none, and is not listed.
COMPARED = [
    "sgd",
    "adagrad",
    "rmsprop",
    "adam",
    "adamw",
    "adadelta",
    "adamax",
    "nadam",
    "radam",
    "rprop",
    "asgd",
    "lion",
    "sign_sgd",
    "yogi",
    "adabelief",
    "adan",
    "schedule_free_sgd",
    "schedule_free_adamw",
    "lamb",
    "lars",
    "prodigy",
    "dadapt_adam",
    "polyak_sgd",
]

# Why a framework is not an oracle for a row. Such rows are compared with the papers' algorithms, or
# with the dialect of a framework that has them.
ABSENT = {
    "torch": {
        "lion": "torch has no Lion",
        "sign_sgd": "torch has no SignSGD",
        "yogi": "torch has no Yogi",
        "adabelief": "torch has no AdaBelief",
        "adan": "torch has no Adan",
        "schedule_free_sgd": "torch has no ScheduleFreeSGD",
        "schedule_free_adamw": "torch has no ScheduleFreeAdamW",
        "lamb": "torch has no LAMB",
        "lars": "torch has no LARS",
        "prodigy": "torch has no Prodigy",
        "dadapt_adam": "torch has no D-Adapt Adam",
        "polyak_sgd": "torch has no PolyakSGD",
    },
    "optax": {
        "rprop": "optax 0.2.8 compares with the gradient before the last: pull request 1725",
        "asgd": "optax has no ASGD",
        "adan": "optax 0.2.8 has 0.08 where 0.92 is right: pull request 1715",
    },
    "keras": {
        "radam": "Keras has no RAdam",
        "rprop": "Keras has no Rprop",
        "asgd": "Keras has no ASGD",
        "sign_sgd": "Keras has no SignSGD",
        "yogi": "Keras has no Yogi",
        "adabelief": "Keras has no AdaBelief",
        "adan": "Keras has no Adan",
        "schedule_free_sgd": "Keras has no ScheduleFreeSGD",
        "lars": "Keras has no LARS",
        "prodigy": "Keras has no Prodigy",
        "dadapt_adam": "Keras has no D-Adapt Adam",
        "polyak_sgd": "Keras has no PolyakSGD",
    },
}


def rows_of(framework):
    """The rows for which a framework is an oracle."""
    return [name for name in COMPARED if name not in ABSENT[framework]]


def cases_of(name, dialect):
    """But no averages of length 0, which are signs: a small gradient's last bit grows."""
    hypers = ROWS[name]["hypers"]
    averages = {h["name"] for h in hypers if h["domain"] == "unit" and h["defaults"][0] != 0}
    start = {h["name"]: START[h["name"]] for h in hypers if h["name"] in START}
    more = [{"lr": 0.02, **h, "dialect": dialect} for h in MORE.get(name, [])]
    table = [h for row, h in CASES if (row, h["dialect"]) == (name, dialect)]
    return [(name, {**start, **h}) for h in table + more if not averages & {*h}]


def few(cases):
    """The first case, those that differ from it in one setting, and the one that does in most."""
    first = cases[0][1]
    apart = [sum(first.get(key, 0) != value for key, value in h.items()) for _, h in cases]
    return [case for case, n in zip(cases, apart, strict=True) if n <= 1 or n == max(apart)]


def settings_of(case):
    """All hyper-parameters of a case but lr, defaults included."""
    own = make(case).get_params()
    return {h["name"]: own[h["name"]] for h in ROWS[case[0]]["hypers"] if h["name"] != "lr"}


def rates(name):
    """The rate of each step: from 0.2 where torch's default is 1, else from 0.02."""
    first = 0.2 if ROWS[name]["hypers"][0]["defaults"][0] == 1 else 0.02
    return [first * rate for rate in RATES]


class Problem:
    """Two arrays, and their gradients: towards a target, with noise that is the same for all.

    No rule takes the sign of a number below 1e-4 on the way, so that last bits cannot turn one. The
    loss that is told goes from below 0 to beyond what the limit of Polyak's step lets it use.
    """

    def __init__(self, dtype):
        rng = np.random.default_rng(7)

        def draw():
            shapes = ((4, 3), (5,))
            return [rng.normal(size=shape).astype(np.float32).astype(dtype) for shape in shapes]

        self.dtype, self.start, self.target = np.dtype(dtype), draw(), draw()
        self.noise = [draw() for _ in RATES]
        self.heights = rng.uniform(-0.2, 1.5, size=len(RATES))

    def grads(self, t, params):
        triples = zip(params, self.target, self.noise[t], strict=True)
        return [np.asarray(p - target + noise) for p, target, noise in triples]

    def loss(self, t, grads):
        return float(self.heights[t] * sum(np.sum(np.square(g, dtype=float)) for g in grads))


def run(problem, name, step, point=list):
    """What `point(params)` is after each step of `step(t, lr, params, grads)`, the new params."""
    params, path = [p.copy() for p in problem.start], []
    for t, lr in enumerate(rates(name)):
        params = [np.array(p) for p in step(t, lr, params, problem.grads(t, params))]
        path.append(np.concatenate([p.ravel() for p in point(params)]))
    return np.array(path)


def ours(problem, case, averages=False, **more):
    """Our parameters after each step; with `averages` the points to evaluate at beside them."""
    opt, live = make(case, **more), [p.copy() for p in problem.start]

    def step(t, lr, params, grads):
        opt.lr = lr
        opt.step(live, grads, loss=problem.loss(t, grads))
        return live

    def both(params):
        return [*params, *opt.averaged(params)]

    return run(problem, case[0], step, both if averages else list)


def compare(case, found, wanted):
    dtype, name = found.dtype, label(case)
    assert wanted.dtype in (dtype, np.float64), "the peer computes in float32"
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=name)
    for part in (wanted[:20], wanted[20:]):
        moved = np.abs(part[-1] - part[0]).max()
        assert moved > 100 * TOLERANCE[dtype] * scale, f"{name}: steps too small to be compared"


def compare_types(case, wanted, averages=False):
    """Ours in each type with a path that was computed in float64."""
    for dtype in DTYPES:
        found = ours(Problem(dtype), case, averages)
        assert found.dtype == dtype
        compare(case, found, wanted)


def check_defaults(name, dialect, theirs):
    """The table's defaults of a row are `theirs`, by our names; where they have none, ours is off.

    None is 0, but for lr, which has to be given then.
    """
    compared = 0
    for hyper in ROWS[name]["hypers"]:
        key, default = hyper["name"], hyper["defaults"][DIALECTS.index(dialect)]
        their = theirs.get(key, 0)
        assert default == (0 if their is None and key != "lr" else their), (name, key)
        compared += key in theirs
    assert compared, f"no default of {name} was compared"
