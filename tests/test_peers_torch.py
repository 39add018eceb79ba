"""Every row that torch has against torch.optim, in the type under test; our names are its names."""

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
    ours,
    rows_of,
    run,
    settings_of,
)

import gdcore as gd
from gdcore.reference.optimizer_rules import AVERAGED


@pytest.fixture
def torch():
    """Keeps NAdam's product of mu and ASGD's eta in its default type: float64 for the test."""
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def torch_path(torch, problem, case, maximize=False, clip=None):
    """The parameters after each step, with ASGD's averages beside them."""
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

    def both(params):
        return [*params, *(opt.state[p]["ax"].numpy() for p in live)]

    return run(problem, case[0], step, both if case[0] in AVERAGED else list)


@pytest.mark.parametrize("name", rows_of("torch"))
def test_torch(name, torch):
    for case in cases_of(name, "torch"):
        for problem in map(Problem, DTYPES):
            for maximize in (False, True):
                found = ours(problem, case, averages=name in AVERAGED, maximize=maximize)
                wanted = torch_path(torch, problem, case, maximize)
                assert found.dtype == wanted.dtype == problem.dtype
                compare(case, found, wanted)


def test_torch_has_the_rows_that_are_compared(torch):
    for name, row in ROWS.items():
        assert hasattr(torch.optim, row["class"]) == (name in rows_of("torch")), name


@pytest.mark.parametrize("name", rows_of("torch"))
def test_torch_has_the_same_defaults(name, torch):
    own = inspect.signature(getattr(torch.optim, ROWS[name]["class"])).parameters
    check_defaults(name, "torch", {key: value.default for key, value in own.items()})


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
