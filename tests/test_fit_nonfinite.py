"""Losses, gradients and weights that are not finite: what is raised, what is kept."""

import numpy as np
import pytest
from fit_cases import ROWS, X, Y, bits, loop, net, train

import gdcore as gd

HUGE = X.copy()
HUGE[40:44] = 1e200  # in the third batch of 16
HUGE_Y = Y.copy()
HUGE_Y[40:44] = 1e200


def explode(batch=16, **settings):
    """Plain descent far above the largest stable rate: the loss grows until it overflows."""
    model = net(gd.SGD(settings.pop("lr", 5.0)), layers=[gd.Dense(2)])
    return model, lambda: train(model, X, Y, batch_size=batch, epochs=2000, **settings)


def test_what_the_error_tells():
    model = net(gd.SGD(0.01), layers=[gd.Dense(2, name="only")], metrics=["mae"])
    with pytest.raises(gd.NonFiniteError) as caught:
        train(model, HUGE, Y, batch_size=16, epochs=2, initial_epoch=0)
    error = caught.value
    assert isinstance(error, FloatingPointError)
    assert (error.epoch, error.batch, error.layer) == (0, 2, "only")
    assert error.history is model.history
    assert len(error.history.batch_losses) == 2
    assert error.history.epoch == []
    message = str(error)
    for word in ("loss is inf", "batch 2 of epoch 0", "start of the epoch", "smaller rate"):
        assert word in message
    assert model.stop_training


@pytest.mark.parametrize("name", ["X", "y"])
@pytest.mark.parametrize("batches", [False, True])
def test_data_that_the_models_type_does_not_reach_are_named(name, batches):
    model = net(dtype=np.float32, layers=[gd.Dense(2)])
    x, y = (HUGE if name == "X" else X), (HUGE_Y if name == "y" else Y)
    words = (
        rf"{name} holds 1e\+200 in row 40, column 0, but float32, the model's type, ends at"
        r" 3\.4e\+38: scale the data, or give the model dtype='float64'$"
    )
    with pytest.raises(gd.NonFiniteError, match=words):
        train(model, *([[(x, y)]] if batches else [x, y]))
    with pytest.raises(gd.NonFiniteError, match=words):
        model.train_on_batch(x, y)
    with pytest.raises(gd.NonFiniteError, match="Try a smaller rate"):
        train(net(layers=[gd.Dense(2)]), x, y)


def test_the_layer_of_a_gradient_that_is_not_finite():
    """A loss that is finite with a gradient that is not: 0 * inf in the layers before."""

    def root(z):
        return np.sqrt(z)

    layers = [gd.Dense(4, root, name="root", kernel_initializer="zeros"), gd.Dense(2, name="last")]
    model = net(layers=layers)
    with pytest.raises(
        gd.NonFiniteError, match=r"the gradient of root\.[Wb] is not finite"
    ) as caught:
        train(model, X, Y)
    assert caught.value.layer == "root"
    assert caught.value.history is model.history


def test_weights_that_are_not_finite_after_a_step():
    model = net(gd.SGD(1e308), layers=[gd.Dense(2, name="one")])
    before = bits(model)
    with pytest.raises(
        gd.NonFiniteError, match=r"one\.[Wb] is not finite after the step"
    ) as caught:
        train(model, X * 1e6, Y, batch_size=None, epochs=3)
    assert (caught.value.layer, caught.value.epoch) == ("one", 0)
    assert bits(model) == before


def test_epochs_are_numbered_in_the_error_as_asked_for():
    model = net(layers=[gd.Dense(2)])
    with pytest.raises(gd.NonFiniteError, match="of epoch 5") as caught:
        train(model, HUGE, Y, batch_size=16, initial_epoch=5, epochs=7)
    assert caught.value.epoch == 5


WAYS = {
    "many epochs a call": {},
    "an epoch a call": {"validation_data": (X, Y)},
    "a batch a call": {
        "callbacks": [gd.LambdaCallback(on_train_batch_end=lambda batch, logs: None)]
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_the_weights_are_again_those_of_the_start_of_the_epoch(way):
    """Where the loss was sound until then: data of the second epoch's order are bad at once."""
    x = X.copy()
    model, twin = (net(gd.SGD(0.05), layers=[gd.Dense(2)]) for _ in range(2))
    good, bad = [*range(35)] * 2, [*range(35), 40, *range(34)]
    x[40] = 1e200
    settings = {"batch_size": 10, "batch_order": lambda e: np.array(good if e < 2 else bad)}
    with pytest.raises(gd.NonFiniteError, match="start of the epoch") as caught:
        train(model, x, Y, epochs=4, **settings, **WAYS[way])
    train(twin, X, Y, epochs=2, **settings)
    assert (caught.value.epoch, caught.value.batch) == (2, 3)
    assert bits(model) == bits(twin)
    assert model.history.epoch == [0, 1]
    assert len(model.history.batch_losses) == 2 * 7 + 3


@pytest.mark.parametrize("way", WAYS)
def test_the_weights_are_again_those_from_which_the_loss_left(way):
    """Within one epoch the loss passes ten times its lowest: weights of that step are kept."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 2))
    model, twin = (net(gd.SGD(3.0), layers=[gd.Dense(2)]) for _ in range(2))
    with pytest.raises(gd.NonFiniteError, match="ten times its lowest") as caught:
        train(model, x, y, batch_size=2, **WAYS[way])
    assert caught.value.epoch == 0
    losses = caught.value.history.batch_losses
    left = int(np.argmax(losses > 10 * np.minimum.accumulate(losses)))
    assert 0 < left < len(losses)
    for step in range(left):
        rows = slice(2 * step, 2 * step + 2)
        loop(twin, x[rows], y[rows])
    assert bits(model) == bits(twin)


def test_moving_statistics_are_restored_with_the_weights():
    layers = [gd.BatchNorm(), gd.Dense(2)]
    model, twin = net(gd.SGD(0.01), layers=layers), net(layers=[gd.BatchNorm(), gd.Dense(2)])
    twin.set_weights(model.get_weights())
    with pytest.raises(gd.NonFiniteError):
        train(model, X, HUGE_Y, batch_size=16)
    assert bits(model) == bits(twin)


@pytest.mark.parametrize("way", WAYS)
def test_stop_ends_the_fit_without_an_error(way):
    model, fit = explode(on_nonfinite="stop", **WAYS[way])
    h = fit()
    assert h is model.history
    assert np.isfinite(h.batch_losses).all()
    assert all(np.isfinite(p).all() for p in model.params)
    assert model.stop_training
    assert 0 < len(h.epoch) < 2000
    other, raising = explode(**WAYS[way])
    with pytest.raises(gd.NonFiniteError):
        raising()
    assert bits(model) == bits(other)
    np.testing.assert_array_equal(h.batch_losses, other.history.batch_losses)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_batches_are_left_out_where_the_optimizer_skips(name, way):
    def make(skip):
        settings = {"on_nonfinite": "skip"} if skip else {}
        layers = [gd.BatchNorm(), gd.Dense(2)]
        return net(getattr(gd, name)(0.01, **settings), layers=layers)

    model, twin = make(True), make(False)
    h = train(model, X, HUGE_Y, batch_size=16, epochs=3, **WAYS[way])
    sound = np.r_[0:32, 48:ROWS]
    assert h.skipped == 3
    assert model.optimizer.t == 12
    assert len(h.batch_losses) == 15
    assert np.isfinite(h.batch_losses).sum() == 12
    for start in [0, 16, 48, 64] * 3:
        twin.train_on_batch(X[start : start + 16], Y[start : start + 16])
    assert bits(model) == bits(twin)
    losses = h.batch_losses.reshape(3, 5)[:, [0, 1, 3, 4]]
    np.testing.assert_allclose(h.history["loss"], losses @ [16, 16, 16, 6] / len(sound))


@pytest.mark.parametrize("rule", ["ignore", "raise"])
def test_other_wishes_of_the_optimizer_leave_it_to_fit(rule):
    model = net(gd.SGD(0.01, on_nonfinite=rule), layers=[gd.Dense(2)])
    with pytest.raises(gd.NonFiniteError, match="batch 2 of epoch 0"):
        train(model, HUGE, Y, batch_size=16)
    h = train(model, HUGE, Y, batch_size=16, on_nonfinite="stop")
    assert (len(h.batch_losses), h.skipped) == (2, 0)


@pytest.mark.parametrize("clipping", [{"global_clip_norm": 1.0}, {"clip_value": 1.0}])
def test_clipping_hides_nothing(clipping):
    model = net(gd.SGD(0.01, **clipping), layers=[gd.Dense(2)])
    with pytest.raises(gd.NonFiniteError, match="batch 2 of epoch 0"):
        train(model, HUGE, Y, batch_size=16)


@pytest.mark.parametrize("optimizer", [gd.EMA(gd.SGD(0.01)), gd.LBFGS(), gd.Armijo()])
def test_optimizers_that_are_stepped_in_python(optimizer):
    model = net(optimizer, layers=[gd.Dense(2)])
    before = bits(model)
    batch = 16 if isinstance(optimizer, gd.EMA) else None
    with pytest.raises(gd.NonFiniteError) as caught:
        train(model, HUGE, Y, batch_size=batch)
    assert caught.value.history is model.history
    assert bits(model) == before


def test_callbacks_are_told_that_it_ends():
    ended = []
    last = gd.LambdaCallback(on_train_end=lambda logs: ended.append(1))
    _, fit = explode(callbacks=[last])
    with pytest.raises(gd.NonFiniteError):
        fit()
    assert ended == [1]


def test_a_model_can_be_fitted_again():
    model, fit = explode()
    with pytest.raises(gd.NonFiniteError):
        fit()
    model.set_weights([np.zeros(w.shape) for w in model.get_weights()])
    model.compile(gd.SGD(0.01), "mse")
    h = train(model, X, Y, epochs=3)
    assert h.epoch == [0, 1, 2]
    assert model.history is h
