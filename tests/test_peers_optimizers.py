"""Every row of the table against torch.optim, optax and Keras: 50 steps, parameters after each.

Gradients answer to the parameters, so that a difference would grow; the rate is constant at first
and falls then, which tells apart the rules that keep it in their state from those that do not.

torch computes in the type under test. optax and Keras compute in float64 from the same numbers:
in float32 they also correct Adam's bias in float32, where 1 - 0.999 is off by 1.3e-5.
"""

import itertools

import numpy as np
import pytest
from optimizer_cases import CASES, ROWS, label, make

import gdcore as gd

STEPS = 50
RATES = [0.02] * 20 + [0.02 * 0.9**t for t in range(30)]
TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-12}


class Problem:
    """Two arrays, and their gradients: towards a target, with noise that is the same for all."""

    def __init__(self, dtype):
        rng = np.random.default_rng(7)

        def draw():
            shapes = ((4, 3), (5,))
            return [rng.normal(size=shape).astype(np.float32).astype(dtype) for shape in shapes]

        self.dtype, self.start, self.target = np.dtype(dtype), draw(), draw()
        self.noise = [draw() for _ in RATES]

    def grads(self, t, params):
        triples = zip(params, self.target, self.noise[t], strict=True)
        return [np.asarray(p - target + noise) for p, target, noise in triples]


def run(problem, step):
    """The parameters after each step of `step(t, lr, params, grads)`, which returns new ones."""
    params, path = [p.copy() for p in problem.start], []
    for t, lr in enumerate(RATES):
        params = [np.array(p) for p in step(t, lr, params, problem.grads(t, params))]
        path.append(np.concatenate([p.ravel() for p in params]))
    return np.array(path)


def ours(problem, case, **more):
    opt, live = make(case, **more), [p.copy() for p in problem.start]

    def step(t, lr, params, grads):
        opt.lr = lr
        opt.step(live, grads)
        return live

    return run(problem, step)


def compare(problem, found, wanted):
    dtype = problem.dtype
    assert found.dtype == dtype
    assert wanted.dtype in (dtype, np.float64), "the peer computes in float32"
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE[dtype] * scale)
    for part in (wanted[:20], wanted[20:]):
        moved = np.abs(part[-1] - part[0]).max()
        assert moved > 100 * TOLERANCE[dtype] * scale, "steps too small to be compared"


def cases_of(dialect):
    """But no averages of length 0, which are signs: a small gradient's last bit grows."""
    unit = {h["name"] for row in ROWS.values() for h in row["hypers"] if h["domain"] == "unit"}
    chosen = [case for case in CASES if case[1]["dialect"] == dialect and not unit & {*case[1]}]
    return pytest.mark.parametrize("case", chosen, ids=label)


def settings_of(case):
    """All hyper-parameters of a case but lr, defaults included."""
    own = make(case).get_params()
    return {h["name"]: own[h["name"]] for h in ROWS[case[0]]["hypers"] if h["name"] != "lr"}


# ---- torch: our names are its names --------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def torch_path(torch, problem, case, maximize=False, clip=None):
    live = [torch.tensor(p, requires_grad=True) for p in problem.start]
    opt = getattr(torch.optim, ROWS[case[0]]["class"])(live, maximize=maximize, **settings_of(case))

    def step(t, lr, params, grads):
        opt.param_groups[0]["lr"] = lr
        for p, g in zip(live, grads, strict=True):
            p.grad = torch.from_numpy(g.copy())
        if clip:
            clip(live)
        opt.step()
        return [p.detach().numpy() for p in live]

    return run(problem, step)


@cases_of("torch")
@pytest.mark.parametrize("maximize", [False, True])
def test_torch(case, maximize, dtype, torch):
    problem = Problem(dtype)
    compare(
        problem, ours(problem, case, maximize=maximize), torch_path(torch, problem, case, maximize)
    )


@pytest.mark.parametrize(
    ("own", "name", "limit"),
    [
        ("global_clip_norm", "clip_grad_norm_", 3.0),
        ("clip_value", "clip_grad_value_", 0.5),
    ],
)
def test_torch_clips_alike(own, name, limit, dtype, torch):
    """torch divides by norm + 1e-6: its gradients are smaller by that part of themselves."""
    case, problem = ("sgd", {"lr": 0.02, "dialect": "torch", "momentum": 0.9}), Problem(dtype)
    clip = getattr(torch.nn.utils, name)
    found = ours(problem, case, **{own: limit})
    wanted = torch_path(torch, problem, case, clip=lambda live: clip(live, limit))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert not np.allclose(found, ours(problem, case), atol=1e-2)


def test_clip_by_global_norm_is_torch_s_but_for_its_1e_6(dtype, torch, rng):
    arrays = [rng.normal(size=shape).astype(dtype) for shape in ((30, 20), (7,), ())]
    tensors = [torch.zeros(a.shape, dtype=getattr(torch, dtype.name)) for a in arrays]
    for tensor, a in zip(tensors, arrays, strict=True):
        tensor.grad = torch.from_numpy(a.copy())
    eps = float(np.finfo(dtype).eps)
    norm = gd.clip_by_global_norm(arrays, 2.0)
    assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(tensors, 2.0)), rel=8 * eps)
    for tensor, a in zip(tensors, arrays, strict=True):
        np.testing.assert_allclose(
            a * (norm / (norm + 1e-6)), tensor.grad.numpy(), rtol=16 * eps, atol=0
        )


# ---- optax ---------------------------------------------------------------------------------------


def optax_sgd(optax, lr, h):
    return [optax.sgd(lr, momentum=h["momentum"] or None, nesterov=h["nesterov"])]


def optax_adagrad(optax, lr, h):
    return [optax.adagrad(lr, h["initial_accumulator_value"], eps=h["eps"])]


def optax_rmsprop(optax, lr, h):
    options = {"eps": h["eps"], "centered": h["centered"], "momentum": h["momentum"] or None}
    return [optax.rmsprop(lr, decay=h["alpha"], **options)]


def optax_adam(optax, lr, h):
    kind = optax.amsgrad if h["amsgrad"] else optax.adam
    return [kind(lr, *h["betas"], eps=h["eps"])]


def optax_adamw(optax, lr, h):
    rule = optax.scale_by_amsgrad if h["amsgrad"] else optax.scale_by_adam
    return [
        rule(*h["betas"], eps=h["eps"]),
        optax.add_decayed_weights(h["weight_decay"]),
        optax.scale_by_learning_rate(lr),
    ]


OPTAX = {
    "sgd": optax_sgd,
    "adagrad": optax_adagrad,
    "rmsprop": optax_rmsprop,
    "adam": optax_adam,
    "adamw": optax_adamw,
}


@pytest.fixture(scope="module")
def optax():
    return pytest.importorskip("optax")


@pytest.fixture
def jax():
    """JAX, with 64-bit floats for this test."""
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        yield jax


def test_every_row_is_compared():
    assert [*OPTAX] == [*KERAS] == [*ROWS]


@cases_of("optax")
def test_optax(case, dtype, optax, jax):
    name, problem, h = case[0], Problem(np.float64), settings_of(case)
    rates = jax.numpy.asarray(RATES)
    parts = OPTAX[name](optax, lambda t: rates[t], h)
    if ROWS[name]["coupled"] and h["weight_decay"]:
        parts.insert(0, optax.add_decayed_weights(h["weight_decay"]))
    rule = optax.chain(*parts)
    state = rule.init([jax.numpy.asarray(p) for p in problem.start])
    update = jax.jit(rule.update)

    def step(t, lr, params, grads):
        nonlocal state
        params = [jax.numpy.asarray(p) for p in params]
        updates, state = update([jax.numpy.asarray(g) for g in grads], state, params)
        return optax.apply_updates(params, updates)

    compare(Problem(dtype), ours(Problem(dtype), case), run(problem, step))


# ---- Keras ---------------------------------------------------------------------------------------

KERAS = {
    "sgd": ("momentum", "nesterov"),
    "adagrad": ("initial_accumulator_value", "eps"),
    "rmsprop": ("alpha", "eps", "momentum", "centered"),
    "adam": ("betas", "eps", "amsgrad"),
    "adamw": ("betas", "eps", "amsgrad"),
}
KERAS_NAMES = {"eps": "epsilon", "alpha": "rho"}
KERAS_CLIPS = {
    "clip_value": "clipvalue",
    "clip_norm": "clipnorm",
    "global_clip_norm": "global_clipnorm",
}


@pytest.fixture
def keras(jax):
    """Keras, which computes in its floatx: set for this test, and put back."""
    keras = pytest.importorskip("keras")
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield keras
    keras.config.set_floatx(before)


def keras_path(keras, problem, case, **clips):
    h = settings_of(case)
    options = {KERAS_NAMES.get(name, name): h[name] for name in KERAS[case[0]] if name != "betas"}
    if "betas" in h:
        options["beta_1"], options["beta_2"] = h["betas"]
    kind = getattr(keras.optimizers, ROWS[case[0]]["class"])
    opt = kind(learning_rate=RATES[0], weight_decay=h["weight_decay"] or None, **options, **clips)
    live = [keras.Variable(p, dtype="float64") for p in problem.start]

    def step(t, lr, params, grads):
        opt.learning_rate = lr
        opt.apply([keras.ops.convert_to_tensor(g) for g in grads], live)
        return [p.value for p in live]  # .numpy() warns: its __array__ is NumPy 1's

    return run(problem, step)


@cases_of("keras")
def test_keras(case, dtype, keras):
    problem = Problem(dtype)
    compare(problem, ours(problem, case), keras_path(keras, Problem(np.float64), case))


@pytest.mark.parametrize(("own", "theirs"), KERAS_CLIPS.items())
def test_keras_clips_alike(own, theirs, dtype, keras):
    case, problem = ("sgd", {"lr": 0.02, "dialect": "keras", "momentum": 0.9}), Problem(dtype)
    found = ours(problem, case, **{own: 0.5})
    compare(problem, found, keras_path(keras, Problem(np.float64), case, **{theirs: 0.5}))


# ---- The dialects differ -------------------------------------------------------------------------


def test_the_dialects_differ_where_they_should():
    """Else the comparisons above could not tell them apart."""
    problem = Problem(np.float64)

    def path(name, dialect, **h):
        return ours(problem, (name, {"lr": 0.02, "dialect": dialect, **h}))

    for name, settings in [
        ("sgd", {"momentum": 0.9}),
        ("adagrad", {"initial_accumulator_value": 0.1, "eps": 1e-3}),
        ("rmsprop", {"eps": 1e-3, "alpha": 0.9, "momentum": 0.9}),
        ("adam", {"eps": 1e-3, "amsgrad": True}),
    ]:
        paths = {d: path(name, d, **settings) for d in ("torch", "keras", "optax")}
        different = {
            (a, b)
            for a, b in itertools.combinations(paths, 2)
            if np.abs(paths[a] - paths[b]).max() > 1e-6
        }
        alike = {
            "sgd": ("torch", "optax"),
            "adagrad": ("keras", "optax"),
            "rmsprop": ("keras", "optax"),
        }
        wanted = {*itertools.combinations(paths, 2)} - {alike.get(name)}
        assert different == wanted, name
