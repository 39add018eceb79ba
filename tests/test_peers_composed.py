"""LBFGS beside torch's: the same iterates in as many calls; EMA beside torch's and Keras's."""

import numpy as np
import pytest

import gdcore as gd

keras, torch = pytest.importorskip("keras"), pytest.importorskip("torch")


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


def test_ema_is_torch_s_and_keras_s():
    gradients = np.random.default_rng(7).normal(size=(20, 5))
    for decay in (0.5, 0.99):
        p, opt = np.zeros(5), gd.EMA(gd.SGD(lr=0.5), decay)
        model = torch.nn.Linear(5, 1, bias=False, dtype=torch.float64)
        torch.nn.init.zeros_(model.weight)
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
        averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=average)
        steps = torch.optim.SGD(model.parameters(), lr=0.5)
        variable = keras.Variable(np.zeros(5), dtype="float32")
        keras_opt = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=decay)
        keras_opt.build([variable])
        for g in gradients:
            opt.step(p, g)
            model.weight.grad = torch.tensor(g[None])
            steps.step()
            averaged.update_parameters(model)
            keras_opt.apply([keras.ops.convert_to_tensor(g, "float32")], [variable])
            ours = opt.averaged(p)
            theirs = averaged.module.weight.detach().numpy()[0]
            np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-14)
            (kept,) = keras_opt._model_variables_moving_average
            np.testing.assert_allclose(ours, np.asarray(kept.value), rtol=0, atol=2e-6)
