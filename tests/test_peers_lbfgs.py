"""LBFGS beside torch's: the same iterates in the same number of calls."""

import numpy as np
import pytest
import torch

import gdcore as gd


def rosenbrock(x):
    return ((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2).sum()


def quadratic(x):
    weights = torch.arange(1, len(x) + 1, dtype=x.dtype)
    return (weights * (x - 1) ** 2).sum() / 2


def torch_run(f, start, steps, settings):
    x, calls, path = torch.tensor(start, requires_grad=True), [], []
    opt = torch.optim.LBFGS([x], line_search_fn="strong_wolfe", **settings)

    def closure():
        opt.zero_grad()
        loss = f(x)
        loss.backward()
        calls.append(1)
        return loss

    for _ in range(steps):
        opt.step(closure)
        path.append((len(calls), x.detach().numpy().copy()))
    return path


def our_run(f, start, steps, settings):
    p, calls, path, opt = start.copy(), [], [], gd.LBFGS(**settings)

    def closure():
        x = torch.tensor(p, requires_grad=True)
        loss = f(x)
        loss.backward()
        calls.append(1)
        return loss.item(), x.grad.numpy()

    for _ in range(steps):
        opt.step(p, closure=closure)
        path.append((len(calls), p.copy()))
    return path


# Where rounding is not yet amplified by the search's own instability beyond 1e-9.
@pytest.mark.parametrize(
    "settings",
    [{}, {"max_iter": 1}, {"history_size": 3, "max_iter": 8}, {"lr": 0.3, "max_iter": 5}],
    ids=str,
)
def test_iterates_and_calls_are_torch_s(settings):
    for f, start, steps in (
        (rosenbrock, np.array([-1.2, 1.0]), 6),
        (rosenbrock, np.tile([-1.2, 1.0], 5), 2),
        (quadratic, np.zeros(20), 6),
        (quadratic, np.full(20, 1e3), 6),
    ):
        ours, theirs = (run(f, start, steps, settings) for run in (our_run, torch_run))
        for (calls, x), (wanted_calls, wanted) in zip(ours, theirs, strict=True):
            assert calls == wanted_calls
            np.testing.assert_allclose(x, wanted, rtol=0, atol=1e-9)


def test_float32_iterates_are_torch_s():
    start = np.array([-1.2, 1.0], np.float32)
    ours, theirs = (run(rosenbrock, start, 1, {"max_iter": 8}) for run in (our_run, torch_run))
    assert ours[0][0] == theirs[0][0]
    assert ours[0][1].dtype == np.float32
    np.testing.assert_allclose(ours[0][1], theirs[0][1], rtol=0, atol=1e-4)
