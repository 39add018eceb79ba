"""Every row that Keras has against it, in float64 from the same numbers as ours in either type.

Its weight decay is beside the gradient in every optimizer. In float32 it corrects Adam's bias in
float32, where 1 - 0.999 is off by 1.3e-5.
"""

import inspect

import numpy as np
import pytest
from optimizer_cases import ROWS
from optimizer_peers import (
    DTYPES,
    Problem,
    cases_of,
    check_defaults,
    compare,
    compare_types,
    few,
    ours,
    rates,
    rows_of,
    run,
    settings_of,
)

CLASSES = {"nadam": "Nadam", "lamb": "Lamb"}
NAMES = {"lr": "learning_rate", "eps": "epsilon", "alpha": "rho"}
CLIPS = {
    "clip_value": "clipvalue",
    "clip_norm": "clipnorm",
    "global_clip_norm": "global_clipnorm",
}
# What it does not let one choose: dampening and lr_decay are 0, Nadam's decay of mu is 1.
FIXED = {"dampening": 0, "lr_decay": 0, "momentum_decay": 1}


def class_of(name):
    return CLASSES.get(name, ROWS[name]["class"])


@pytest.fixture
def keras():
    """Keras, which computes in its floatx: float64 for this test, with JAX's 64-bit floats."""
    jax, keras = pytest.importorskip("jax"), pytest.importorskip("keras")
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    with jax.enable_x64(True):
        yield keras
    keras.config.set_floatx(before)


def options_of(case):
    """The settings by Keras's names."""
    h = settings_of(case)
    options = {NAMES.get(key, key): value for key, value in h.items() if key not in FIXED}
    assert all(h.get(key, value) == value for key, value in FIXED.items())
    if "betas" in options:
        options["beta_1"], options["beta_2"] = options.pop("betas")
    return {**options, "weight_decay": h["weight_decay"] or None}


def keras_path(keras, problem, case, **clips):
    kind = getattr(keras.optimizers, class_of(case[0]))
    opt = kind(learning_rate=rates(case[0])[0], **options_of(case), **clips)
    live = [keras.Variable(p, dtype="float64") for p in problem.start]

    def step(t, lr, params, grads):
        opt.learning_rate = lr
        opt.apply([keras.ops.convert_to_tensor(g) for g in grads], live)
        return [p.value for p in live]  # .numpy() warns: its __array__ is NumPy 1's

    return run(problem, case[0], step)


@pytest.mark.parametrize("name", rows_of("keras"))
def test_keras(name, keras):
    for case in few(cases_of(name, "keras")):
        compare_types(case, keras_path(keras, Problem(np.float64), case))


def test_keras_has_the_rows_that_are_compared(keras):
    for name in ROWS:
        assert hasattr(keras.optimizers, class_of(name)) == (name in rows_of("keras")), name


@pytest.mark.parametrize("name", rows_of("keras"))
def test_keras_has_the_same_defaults(name, keras):
    signature = inspect.signature(getattr(keras.optimizers, class_of(name)))
    own = {key: value.default for key, value in signature.parameters.items()}
    names = {h["name"]: NAMES.get(h["name"], h["name"]) for h in ROWS[name]["hypers"]}
    theirs = FIXED | {key: own[their] for key, their in names.items() if their in own}
    if "beta_1" in own:
        theirs["betas"] = (own["beta_1"], own["beta_2"])
    check_defaults(name, "keras", theirs)


@pytest.mark.parametrize(("own", "theirs"), CLIPS.items())
def test_keras_clips_alike(own, theirs, keras):
    case = ("sgd", {"lr": 0.02, "dialect": "keras", "momentum": 0.9})
    wanted = keras_path(keras, Problem(np.float64), case, **{theirs: 0.5})
    for problem in map(Problem, DTYPES):
        compare(case, ours(problem, case, **{own: 0.5}), wanted)
        assert not np.allclose(wanted, ours(problem, case), atol=1e-2)
