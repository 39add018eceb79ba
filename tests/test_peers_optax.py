"""Every row that optax has against it, in float64 from the same numbers as ours in either type.

In float32 optax also corrects Adam's bias in float32, where 1 - 0.999 is off by 1.3e-5. Its rules
are made anew for the rate of each step, so that one that takes a number only gets the same rates;
for schedule_free this also avoids that optax 0.2.8 weighs a step by the rate of the next one.
"""

import inspect

import numpy as np
import pytest
from optimizer_cases import ROWS
from optimizer_peers import (
    Problem,
    cases_of,
    check_defaults,
    compare_types,
    few,
    rows_of,
    run,
    settings_of,
)

from gdcore.reference.optimizer_rules import AVERAGED


@pytest.fixture
def optax():
    """optax, with JAX's 64-bit floats for this test."""
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    with jax.enable_x64(True):
        yield optax


# ---- The rules: (optax, rate, settings) -> what is chained ---------------------------------------


def moments(kind, *names):
    """Make a rule of betas and eps, and of settings that have the same name there."""

    def rule(optax, lr, h):
        return [getattr(optax, kind)(lr, *h["betas"], **{name: h[name] for name in names})]

    return rule


def sgd(optax, lr, h):
    return [optax.sgd(lr, momentum=h["momentum"] or None, nesterov=h["nesterov"])]


def adagrad(optax, lr, h):
    return [optax.adagrad(lr, h["initial_accumulator_value"], eps=h["eps"])]


def rmsprop(optax, lr, h):
    options = {"eps": h["eps"], "centered": h["centered"], "momentum": h["momentum"] or None}
    return [optax.rmsprop(lr, decay=h["alpha"], **options)]


def adam(optax, lr, h):
    return moments("amsgrad" if h["amsgrad"] else "adam", "eps")(optax, lr, h)


def adamw(optax, lr, h):
    rule = optax.scale_by_amsgrad if h["amsgrad"] else optax.scale_by_adam
    return [
        rule(*h["betas"], eps=h["eps"]),
        optax.add_decayed_weights(h["weight_decay"]),
        optax.scale_by_learning_rate(lr),
    ]


def adadelta(optax, lr, h):
    return [optax.adadelta(lr, rho=h["rho"], eps=h["eps"])]


def sign_sgd(optax, lr, h):
    return [optax.signum(lr, h["momentum"]) if h["momentum"] else optax.sign_sgd(lr)]


def lars(optax, lr, h):
    names = ("weight_decay", "trust_coefficient", "eps", "momentum", "nesterov")
    return [optax.lars(lr, **{name: h[name] for name in names})]


def schedule_free_sgd(optax, lr, h):
    return [optax.contrib.schedule_free_sgd(lr, b1=h["momentum"], weight_decay=h["weight_decay"])]


def schedule_free_adamw(optax, lr, h):
    b1, b2 = h["betas"]
    options = {"eps": h["eps"], "weight_decay": h["weight_decay"]}
    return [optax.contrib.schedule_free_adamw(lr, b1=b1, b2=b2, **options)]


def prodigy(optax, lr, h):
    options = {name: h[name] for name in ("betas", "eps", "weight_decay")}
    distance = {"estim_lr0": h["d0"], "estim_lr_coef": h["d_coef"]}
    return [optax.contrib.prodigy(lr, **options, **distance)]


def dadapt_adam(optax, lr, h):
    options = {name: h[name] for name in ("betas", "eps", "weight_decay")}
    return [optax.contrib.dadapt_adamw(lr, estim_lr0=h["d0"], **options)]


def polyak_sgd(optax, lr, h):
    return [optax.polyak_sgd(lr, f_min=h["f_min"], eps=h["eps"])]


OPTAX = {
    "sgd": sgd,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
    "adadelta": adadelta,
    "adamax": moments("adamax", "eps"),
    "nadam": moments("nadam", "eps"),
    "radam": moments("radam", "eps"),
    "lion": moments("lion", "weight_decay"),
    "sign_sgd": sign_sgd,
    "yogi": moments("yogi", "eps"),
    "adabelief": moments("adabelief", "eps", "eps_root"),
    "schedule_free_sgd": schedule_free_sgd,
    "schedule_free_adamw": schedule_free_adamw,
    "lamb": moments("lamb", "eps", "weight_decay"),
    "lars": lars,
    "prodigy": prodigy,
    "dadapt_adam": dadapt_adam,
    "polyak_sgd": polyak_sgd,
}


# ---- The comparison ------------------------------------------------------------------------------


def optax_path(optax, problem, case):
    """The parameters after each step, with the points where schedule-free evaluates beside them."""
    import jax

    name, h = case[0], settings_of(case)
    warmup = h.get("warmup_steps", 0)

    def rule(lr):
        parts = OPTAX[name](optax, lr, h)
        if ROWS[name]["decay"] == "coupled" and h.get("weight_decay"):
            parts.insert(0, optax.add_decayed_weights(h["weight_decay"]))
        return optax.chain(*parts)

    @jax.jit
    def update(lr, grads, state, params, value):
        updates, state = rule(lr).update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    state = rule(1.0).init([jax.numpy.asarray(p) for p in problem.start])

    def step(t, lr, params, grads):
        nonlocal state
        lr *= min(1, (t + 1) / warmup) if warmup else 1
        params, state = update(lr, grads, state, params, problem.loss(t, grads))
        return params

    def both(params):
        return [*params, *optax.contrib.schedule_free_eval_params(state[0], params)]

    return run(problem, name, step, both if name in AVERAGED else list)


def test_every_row_is_compared():
    assert [*OPTAX] == rows_of("optax")


@pytest.mark.parametrize("name", OPTAX)
def test_optax(name, optax):
    cases = few(cases_of(name, "optax"))
    if name == "polyak_sgd":  # what precedes it in a chain is part of its norm, ours is the loss's
        cases = [case for case in cases if not settings_of(case)["weight_decay"]]
    for case in cases:
        wanted = optax_path(optax, Problem(np.float64), case)
        compare_types(case, wanted, averages=name in AVERAGED)


# ---- Its defaults --------------------------------------------------------------------------------

NAMES = {
    "learning_rate": "lr",
    "max_learning_rate": "lr",
    "decay": "alpha",
    "estim_lr0": "d0",
    "estim_lr_coef": "d_coef",
    "beta": "momentum",
}
# Where they have a rule under another name, or a setting in another function.
FUNCTIONS = {
    "yogi": ("scale_by_yogi", "yogi"),
    "dadapt_adam": ("dadapt_adamw",),
}


@pytest.mark.parametrize("name", OPTAX)
def test_optax_has_the_same_defaults(name, optax):
    own = {}
    for function in FUNCTIONS.get(name, (name,)):
        home = optax if hasattr(optax, function) else optax.contrib
        for key, value in inspect.signature(getattr(home, function)).parameters.items():
            own[key] = None if value.default is value.empty else value.default
    theirs = {NAMES.get(key, key): value for key, value in own.items()}
    if "b2" in own:
        theirs["betas"] = (own["b1"], own["b2"])
    elif "b1" in own:
        theirs["momentum"] = own["b1"]
    check_defaults(name, "optax", theirs)
