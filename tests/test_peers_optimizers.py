"""Rows in the dialect of a framework that has no such rule, and where the dialects differ.

The comparisons with the frameworks stand in test_peers_torch.py, test_peers_optax.py and
test_peers_keras.py. What no framework has in the authors' form is compared with the papers'
algorithms (optimizer_papers.py), the rest with ours in a dialect that has an oracle.
"""

import itertools

import numpy as np
import pytest
from optimizer_cases import ROWS, make
from optimizer_papers import PAPERS
from optimizer_peers import (
    ABSENT,
    COMPARED,
    DTYPES,
    Problem,
    cases_of,
    compare,
    compare_types,
    ours,
    run,
    settings_of,
)

from gdcore._optimizer import DIALECTS
from gdcore.reference.optimizer_rules import AVERAGED

ABSENCES = [(name, dialect) for dialect in ABSENT for name in ABSENT[dialect]]


def test_every_row_that_is_compared_has_an_oracle_in_every_dialect():
    assert {*ABSENT} == {*DIALECTS}
    for dialect in DIALECTS:
        assert {*ABSENT[dialect]} < {*ROWS}
        assert all(ABSENT[dialect].values())
    for name in COMPARED:
        assert name in PAPERS or has(name)
    assert {*COMPARED} <= {*ROWS}
    assert {*PAPERS} <= {*ROWS}


def has(name):
    """The dialects whose framework is an oracle for a row; Keras's, with its own decay, last."""
    return [dialect for dialect in ("torch", "optax", "keras") if name not in ABSENT[dialect]]


# ---- Rows without a framework --------------------------------------------------------------------


def beside(case):
    """A case without Keras's weight decay, and what this leaves of a parameter at a rate."""
    (name, settings), decay = case, settings_of(case).get("weight_decay", 0)
    if settings["dialect"] != "keras" or not decay:
        return case, lambda lr: 1
    return (name, {**settings, "weight_decay": 0.0}), lambda lr: 1 - lr * decay


def paper_path(problem, case):
    """The parameters after each step of the paper's rule, averages beside them."""
    (name, settings), kept = beside(case)
    h = {**settings_of((name, settings)), **settings}
    rule, told = PAPERS[name](joined(problem.start), h), None
    next(rule)

    def step(t, lr, params, grads):
        nonlocal told
        told = rule.send((joined(params) * kept(lr), joined(grads), lr, problem.loss(t, grads)))
        return shaped(told[0])

    def shaped(vector):
        parts = np.split(vector, np.cumsum([p.size for p in problem.start])[:-1])
        return [part.reshape(p.shape) for part, p in zip(parts, problem.start, strict=True)]

    def both(params):
        return [*params, told[1]]

    return run(problem, name, step, both if name in AVERAGED else list)


def joined(arrays):
    return np.concatenate([a.ravel() for a in arrays])


def stand_in_path(problem, case):
    """The parameters after each step of our rule in a dialect that has an oracle."""
    (name, settings), kept = beside(case)
    h = {**settings_of((name, settings)), "dialect": has(name)[0]}
    opt, live = make((name, {"lr": 0.0, **h})), [p.copy() for p in problem.start]

    def step(t, lr, params, grads):
        opt.lr = lr
        for p in live:
            p *= kept(lr)
        opt.step(live, grads)
        return live

    return run(problem, name, step)


@pytest.mark.parametrize(("name", "dialect"), ABSENCES)
def test_row_without_a_framework(name, dialect):
    assert name in PAPERS or has(name)[0] != dialect
    for case in cases_of(name, dialect):
        if name in PAPERS:
            wanted = paper_path(Problem(np.float64), case)
            compare_types(case, wanted, averages=name in AVERAGED)
            continue
        for problem in map(Problem, DTYPES):
            compare(case, ours(problem, case), stand_in_path(problem, case))


@pytest.mark.parametrize("name", ["prodigy", "dadapt_adam"])
def test_the_first_distance_by_default(name):
    """From d0 = 1e-6 as well, in float64: see START."""
    problem, case = Problem(np.float64), (name, {"lr": 1.0, "dialect": "torch"})
    compare(case, ours(problem, case), paper_path(problem, case))


def test_averages_are_not_the_parameters():
    """Else the comparisons of averages could not tell them apart."""
    for name in AVERAGED:
        for case in cases_of(name, "torch"):
            path = ours(Problem(np.float64), case, averages=True)
            apart = np.abs(path[:, :17] - path[:, 17:]).max() > 1e-3
            assert apart == (settings_of(case).get("t0", 0) < len(path)), name


# ---- The dialects differ -------------------------------------------------------------------------

# Of the rows whose formula differs: settings that bring it out, and the dialects that are alike.
DIFFERENT = {
    "sgd": ({"momentum": 0.9}, [("torch", "optax")]),
    "adagrad": ({"initial_accumulator_value": 0.1, "eps": 1e-3}, [("keras", "optax")]),
    "rmsprop": ({"eps": 1e-3, "alpha": 0.9, "momentum": 0.9}, [("keras", "optax")]),
    "adam": ({"eps": 1e-3, "amsgrad": True}, []),
    "adamw": ({"eps": 1e-3, "amsgrad": True}, []),
    "adamax": ({"eps": 1e-1}, [("torch", "optax")]),
    "nadam": ({"momentum_decay": 0.0}, [("torch", "keras")]),
    "radam": ({"eps": 1e-3}, [("torch", "keras")]),
    "schedule_free_sgd": ({"warmup_steps": 7}, [("torch", "optax")]),
    "schedule_free_adamw": ({"warmup_steps": 7}, [("torch", "optax")]),
    "prodigy": ({"d0": 1e-2}, [("torch", "keras")]),
    "dadapt_adam": ({"d0": 1e-2}, [("torch", "keras")]),
    "polyak_sgd": ({}, [("torch", "keras")]),
}
PAIRS = [*itertools.combinations(DIALECTS, 2)]


@pytest.mark.parametrize("name", ROWS)
def test_the_dialects_differ_where_they_should(name):
    """Else the comparisons could not tell them apart. Settings not named are torch's defaults."""
    settings, alike = DIFFERENT.get(name, ({}, PAIRS))
    usual = {h["name"]: h["defaults"][0] for h in ROWS[name]["hypers"]}
    problem = Problem(np.float64)

    def different(**more):
        h = {**usual, **settings, **more}
        paths = {d: ours(problem, (name, {**h, "dialect": d})) for d in DIALECTS}
        apart = {(a, b): np.abs(paths[a] - paths[b]).max() for a, b in PAIRS}
        assert not any(1e-12 < distance < 1e-6 for distance in apart.values()), apart
        return {pair for pair, distance in apart.items() if distance > 1e-6}

    assert different() == {*PAIRS} - {*alike}
    if "weight_decay" in usual and ROWS[name]["decay"] != "decoupled":
        beside = {pair for pair in PAIRS if "keras" in pair}
        assert different(weight_decay=0.1) == ({*PAIRS} - {*alike}) | beside
