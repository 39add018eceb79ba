"""fit takes the steps of a loop over value_and_grad and opt.step, bit for bit."""

import numpy as np
import pytest
from fit_cases import X, Y, bits, loop, net, train

import gdcore as gd

S = gd.schedules
RATES = {"LARS": 0.5, "Adadelta": 1.0, "Prodigy": 1.0, "DAdaptAdam": 1.0, "PolyakSGD": 1.0}
NATIVE = [
    name
    for name in gd.optimizers.__all__
    if name[0].isupper() and name not in ("Group", "Optimizer", "Armijo", "EMA", "LBFGS")
]
BATCH = 16


def native(name, **settings):
    return getattr(gd, name)(**{"lr": RATES.get(name, 0.01), **settings})


def check(make, *, batch=BATCH, epochs=3, layers=None, dtype=None, **fit):
    """Fit one model, train its twin by hand, and compare everything that both have."""
    fitted = net(make(), layers=layers and layers(), dtype=dtype)
    twin = net(make(), layers=layers and layers(), dtype=dtype)
    before = bits(fitted)
    x, y = X.astype(fitted.dtype), Y.astype(fitted.dtype)
    h = train(fitted, x, y, batch_size=batch, epochs=epochs, **fit)
    losses, rates = loop(twin, x, y, batch=batch, epochs=epochs)
    np.testing.assert_array_equal(h.batch_losses.astype(fitted.dtype), losses)
    assert bits(fitted) == bits(twin) != before
    assert fitted.optimizer.t == twin.optimizer.t == len(losses)
    np.testing.assert_array_equal(fitted.predict(x), twin.predict(x))
    return h, losses, rates


@pytest.mark.parametrize("name", NATIVE)
def test_native_optimizers(name, dtype):
    if name == "PolyakSGD" and dtype == np.float32:
        pytest.skip("its step depends on the loss, of which a loop sees float32 only")
    check(lambda: native(name), dtype=dtype)


@pytest.mark.parametrize("name", NATIVE)
def test_native_optimizers_one_by_one_and_all_at_once(name):
    check(lambda: native(name), batch=1, epochs=1)
    check(lambda: native(name), batch=None, epochs=4)


@pytest.mark.parametrize("inner", ["SGD", "Adam", "Rprop"])
def test_an_average_of_the_parameters(inner, dtype):
    check(lambda: gd.EMA(native(inner), decay=0.9), dtype=dtype)
    check(lambda: gd.EMA(gd.EMA(native(inner)), decay=0.9), dtype=dtype)


@pytest.mark.parametrize("name", ["ASGD", "ScheduleFreeSGD", "ScheduleFreeAdamW"])
def test_predictions_are_those_of_the_average(name):
    settings = {"t0": 5} if name == "ASGD" else {}
    model = net(native(name, **settings))
    train(model, X, Y, epochs=5, batch_size=8)
    averaged = model.optimizer.averaged(model.params)
    assert any((a != p).any() for a, p in zip(averaged, model.params, strict=True))
    plain = net()
    plain.set_weights(averaged)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    assert model.evaluate(X, Y) == plain.evaluate(X, Y)


def test_predictions_of_an_ema():
    model = net(gd.EMA(gd.SGD(0.1), decay=0.9))
    train(model, X, Y, epochs=2)
    plain = net()
    plain.set_weights(model.optimizer.averaged(model.params))
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    h = train(model, X, Y, validation_data=(X, Y))
    assert h.history["val_loss"][-1] == model.evaluate(X, Y)


AVERAGING = {
    "EMA": lambda: gd.EMA(gd.SGD(0.5), decay=0.9),
    "ScheduleFreeSGD": lambda: gd.ScheduleFreeSGD(0.5),
    "ASGD": lambda: gd.ASGD(0.5, t0=1),
}


@pytest.mark.parametrize("name", AVERAGING)
def test_the_best_weights_are_what_predicts(name):
    model = net(AVERAGING[name](), layers=[gd.Dense(40, "relu"), gd.Dense(2)])
    held = X[50:], Y[50:]
    stop = gd.EarlyStopping(patience=20, restore_best_weights=True)
    h = train(
        model, X[:50], Y[:50], epochs=60, batch_size=5, validation_data=held, callbacks=[stop]
    )
    best = min(h.history["val_loss"])
    assert best < h.history["val_loss"][-1]
    assert model.evaluate(*held) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("name", AVERAGING)
def test_weights_that_are_set_are_what_predicts(name):
    model, plain = net(AVERAGING[name]()), net()
    train(model, X, Y, epochs=5)
    weights = plain.get_weights()
    model.set_weights(weights)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))


# ---- Line searches -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LBFGS", "Armijo"])
def test_line_searches(name):
    def make():
        return getattr(gd, name)()

    fitted, twin = net(make()), net(make())
    h = train(fitted, X, Y, batch_size=None, epochs=5)
    for _ in range(5):
        twin.optimizer.step(twin.params, closure=lambda: twin.value_and_grad(X, Y))
    assert bits(fitted) == bits(twin)
    assert fitted.optimizer.t == twin.optimizer.t == 5
    assert all(np.diff(h.batch_losses) < 0)
    assert h.history["loss"] == list(h.batch_losses)


def test_a_line_search_draws_one_mask_for_a_step():
    """Dropout is the same for every evaluation of a step, or the search would not descend."""
    layers = [gd.Dense(30, "tanh"), gd.Dropout(0.5), gd.Dense(2)]
    model = net(gd.Armijo(), layers=layers)
    h = train(model, X, Y, batch_size=None, epochs=10, seed=0)
    assert len(h.batch_losses) == 10
    assert np.isfinite(h.batch_losses).all()
    assert h.batch_losses[-1] < h.batch_losses[0]


# ---- Rates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule",
    [
        lambda: S.linear(0.1, 0.0, 9),
        lambda: S.step(0.1, 4),
        lambda: S.cosine(0.1, 0.01, 12),
        lambda: S.warmup(S.exponential(0.1, 0.9), 3),
        lambda: lambda t: 0.1 / (1 + t),
    ],
    ids=["linear", "step", "cosine", "warmup", "own"],
)
@pytest.mark.parametrize("inner", ["SGD", "Adam"])
def test_schedules_of_steps(schedule, inner):
    h, _, rates = check(lambda: native(inner, lr=schedule()))
    np.testing.assert_array_equal(h.lrs, rates[4::5])


@pytest.mark.parametrize("inner", ["SGD", "Adam", "RMSprop"])
def test_one_cycle_moves_momentum(inner):
    def make(cycle):
        settings = {"momentum": 0.5} if inner != "Adam" else {}
        return native(inner, lr=cycle, **settings)

    h, _, rates = check(lambda: make(S.one_cycle(0.1, 15)))
    assert h.lrs == rates[4::5]
    other = net(make(S.one_cycle(0.1, 15, max_momentum=0.7, base_momentum=0.6)))
    same = net(make(S.one_cycle(0.1, 15)))
    for model in (other, same):
        train(model, X, Y, batch_size=BATCH, epochs=3)
    assert bits(other) != bits(same)  # momentum is not that of the constructor
    if inner != "Adam":
        assert same.optimizer.momentum == 0.5


def test_schedules_of_epochs():
    rate = S.per_epoch(S.step(0.1, 1, 0.5))
    model, twin = net(gd.SGD(rate)), net(gd.SGD(S.per_epoch(S.step(0.1, 1, 0.5), 5)))
    h = train(model, X, Y, batch_size=BATCH, epochs=3)
    losses, _ = loop(twin, X, Y, batch=BATCH, epochs=3)
    assert h.lrs == [0.1, 0.05, 0.025]
    assert bits(model) == bits(twin)
    np.testing.assert_array_equal(h.batch_losses, losses)


@pytest.mark.parametrize("wrap", [lambda o: o, gd.EMA], ids=["native", "EMA"])
@pytest.mark.parametrize("source", ["arrays", "batches"])
def test_schedules_of_epochs_go_by_their_numbers(wrap, source):
    """As batch_order and LearningRateScheduler do; callbacks may read the rate that comes."""
    model, seen = net(wrap(gd.SGD(S.per_epoch(S.exponential(0.1, 0.5))))), []
    note = gd.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append((epoch, model.optimizer.lr)),
        on_train_batch_begin=lambda batch, logs: seen.append((batch, model.optimizer.lr)),
    )
    data = (X, Y) if source == "arrays" else ([(X[:30], Y[:30]), (X[30:60], Y[30:60])],)
    settings = {"batch_size": -(-len(X) // 2)} if source == "arrays" else {}
    h = train(model, *data, epochs=4, initial_epoch=2, callbacks=[note], **settings)
    assert h.lrs == [0.025, 0.0125]
    assert seen == [(n, 0.025) for n in (2, 0, 1)] + [(n, 0.0125) for n in (3, 0, 1)]
    h = train(model, *data, epochs=2, **settings)
    assert h.lrs == [0.1, 0.05]


def test_a_layer_s_rate_follows_the_optimizer_s():
    make = lambda **fixed: net(gd.SGD(0.1), layers=[gd.Dense(4, "tanh", **fixed), gd.Dense(2)])  # noqa: E731
    model, twin = make(lr_scale=0.5), make()
    model.optimizer.lr = 0.02
    twin.compile(gd.SGD(0.02, groups=[{"params": [0, 1], "lr": 0.01}]), "mse")
    for each in (model, twin):
        train(each, X, Y, epochs=2)
    assert bits(model) == bits(twin)


@pytest.mark.parametrize("validated", [False, True])
def test_a_plateau_is_told_the_loss_of_epochs(validated):
    rate = S.plateau(0.5, patience=0, factor=0.5, threshold=0.05)
    given = {"validation_data": (X[:9], Y[:9])} if validated else {}
    model, twin = net(gd.SGD(rate, momentum=0.3)), net(gd.SGD(0.5, momentum=0.3))
    h = train(model, X, Y, batch_size=BATCH, epochs=8, **given)
    state, rates = rate.start(), []
    for value in h.history["val_loss" if validated else "loss"]:
        twin.optimizer.lr = state.lr
        rates.append(state.lr)
        loop(twin, X, Y, batch=BATCH)
        state = rate.told(state, value)
    assert h.lrs == rates
    assert len({*rates}) > 2
    assert bits(model) == bits(twin)


def test_a_rate_by_the_gradient():
    h, _, _ = check(lambda: gd.SGD(S.by_gradient(0.05, 0.1), momentum=0.5))
    np.testing.assert_array_equal(h.lrs, np.minimum(0.1, 0.05 * h.batch_grad_norms)[4::5])
    assert len({*h.lrs}) > 1


def test_rates_of_a_second_fit_go_on_where_the_first_ended():
    model, twin = (net(gd.SGD(S.linear(0.1, 0.0, 20))) for _ in range(2))
    first = train(model, X, Y, batch_size=BATCH, epochs=2)
    second = train(model, X, Y, batch_size=BATCH, epochs=2)
    whole = train(twin, X, Y, batch_size=BATCH, epochs=4)
    assert first.lrs + second.lrs == whole.lrs
    assert bits(model) == bits(twin)


# ---- Groups, clipping, penalties -----------------------------------------------------------------


def test_groups_by_position():
    groups = [{"params": [1, 3], "lr": 0.3}, {"params": [2], "frozen": True}]
    model = net(gd.SGD(0.1, groups=groups))
    before = [p.copy() for p in model.params]
    _, grads = model.value_and_grad(X, Y)
    train(model, X, Y, batch_size=None)
    for i, rate in enumerate([0.1, 0.3, 0.0, 0.3]):
        np.testing.assert_allclose(model.params[i], before[i] - rate * grads[i], rtol=1e-14)
    assert (model.params[2] == before[2]).all()
    check(lambda: gd.Adam(0.1, groups=groups))


def test_layers_that_are_frozen_or_have_a_rate_of_their_own():
    def layers():
        return [
            gd.Dense(5, "tanh", trainable=False),
            gd.Dense(5, "tanh", lr_scale=0.5),
            gd.Dense(2),
        ]

    h, _, _ = check(lambda: gd.Adam(S.linear(0.1, 0.0, 15)), layers=layers)
    model = net(gd.SGD(0.1), layers=layers())
    before = [p.copy() for p in model.params]
    _, grads = model.value_and_grad(X, Y)
    train(model, X, Y, batch_size=None)
    for i, rate in enumerate([0, 0, 0.05, 0.05, 0.1, 0.1]):
        np.testing.assert_allclose(model.params[i], before[i] - rate * grads[i], rtol=1e-14)
    assert h.lrs[0] > h.lrs[1]


def test_kernels_keep_their_constraint():
    def layers():
        return [gd.Dense(5, "tanh", kernel_constraint=gd.constraints.max_norm(0.5)), gd.Dense(2)]

    check(lambda: gd.SGD(0.5), layers=layers)
    model = net(gd.SGD(0.5), layers=layers())
    train(model, X, Y)
    assert np.linalg.norm(model.layers[0].W, axis=0).max() <= 0.5 * (1 + 1e-12)
    assert np.abs(model.layers[1].W).max() > 0.5


@pytest.mark.parametrize(
    "clipping",
    [
        {"clip_value": 0.01},
        {"clip_norm": 0.02},
        {"global_clip_norm": 0.05},
        {"clip_adaptive": 0.01},
        {"l1": 0.1},
        {"constraint": "non_neg"},
        {"weight_decay": 0.1},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_what_a_step_does_beside_its_rule(clipping):
    if "constraint" in clipping:
        clipping = {"constraint": gd.constraints.non_neg()}
    h, _, _ = check(lambda: gd.SGD(0.1, momentum=0.5, **clipping))
    plain = net(gd.SGD(0.1, momentum=0.5))
    twin = net(gd.SGD(0.1, momentum=0.5, **clipping))
    assert h.batch_grad_norms[0] == train(plain, X, Y, batch_size=BATCH).batch_grad_norms[0]
    train(twin, X, Y, batch_size=BATCH)
    assert bits(plain) != bits(twin)


def test_gradient_norms_are_those_before_clipping():
    model = net(gd.SGD(0.1, global_clip_norm=1e-3))
    _, grads = model.value_and_grad(X[:BATCH], Y[:BATCH])
    norm = np.sqrt(sum((g**2).sum() for g in grads))
    h = train(model, X, Y, batch_size=BATCH)
    np.testing.assert_allclose(h.batch_grad_norms[0], norm, rtol=1e-12)


def test_regularizers_are_part_of_loss_and_gradient():
    def layers():
        return [
            gd.Dense(5, "tanh", kernel_regularizer=gd.regularizers.l2(0.1)),
            gd.Dense(2, kernel_regularizer=gd.regularizers.l1_l2(0.02, 0.03)),
        ]

    check(lambda: gd.SGD(0.1), layers=layers)
    model, plain = net(layers=layers()), net(layers=[gd.Dense(5, "tanh"), gd.Dense(2)])
    plain.set_weights(model.get_weights())
    a, b = model.layers[0].W, model.layers[1].W
    penalty = 0.1 * (a**2).sum() + 0.02 * np.abs(b).sum() + 0.03 * (b**2).sum()
    np.testing.assert_allclose(model.evaluate(X, Y), plain.evaluate(X, Y) + penalty, rtol=1e-13)
    (_, grads), (_, bare) = model.value_and_grad(X, Y), plain.value_and_grad(X, Y)
    np.testing.assert_allclose(grads[0], bare[0] + 0.2 * a, rtol=1e-12)
    np.testing.assert_allclose(grads[2], bare[2] + 0.02 * np.sign(b) + 0.06 * b, rtol=1e-12)
    assert (grads[1] == bare[1]).all()


@pytest.mark.parametrize("width", [1, 7, 8, 64, 200])
def test_weights_of_every_width_are_read_anew_after_a_step(width):
    """Wide kernels are packed for the product: each step packs them again."""

    def layers():
        return [gd.Dense(width, "relu"), gd.Dense(width, "tanh"), gd.Dense(2)]

    check(lambda: gd.SGD(0.05, momentum=0.9), layers=layers, epochs=2)
    check(lambda: gd.EMA(gd.SGD(0.05, momentum=0.9)), layers=layers, epochs=2)
    check(lambda: gd.Adam(), layers=layers, batch=None, dtype=np.float32)
