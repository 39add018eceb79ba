"""Models in training: normalisation, dropout, types, functions of the user's, predictions."""

import copy
import pickle

import numpy as np
import pytest
from fit_cases import CLASSES, LABELS, ROWS, WIDTH, X, Y, bits, classifier, loop, net, train

import gdcore as gd

# ---- Normalisation -------------------------------------------------------------------------------


def test_moving_statistics_follow_the_batches():
    layers = [gd.Dense(5), gd.BatchNorm(0.8, epsilon=1e-2), gd.Dense(2)]
    model = net(gd.SGD(0.0), layers=layers)
    train(model, X, Y, batch_size=32, epochs=2)
    mean, variance = np.zeros(5), np.ones(5)
    hidden = X @ model.layers[0].W + model.layers[0].b
    for start in [0, 32, 64] * 2:
        rows = hidden[start : start + 32]
        mean = 0.8 * mean + 0.2 * rows.mean(0)
        variance = 0.8 * variance + 0.2 * rows.var(0)
    np.testing.assert_allclose(model._buffers[0], mean, rtol=1e-12)
    np.testing.assert_allclose(model._buffers[1], variance, rtol=1e-12)
    normed = (hidden - mean) / np.sqrt(variance + 1e-2)
    np.testing.assert_allclose(
        model.predict(X), normed @ model.layers[2].W + model.layers[2].b, rtol=1e-11
    )


def test_training_uses_the_statistics_of_the_batch():
    layers = [gd.Dense(5), gd.BatchNorm(epsilon=1e-2), gd.Dense(2)]
    model = net(gd.SGD(0.0), layers=layers)
    kept = [b.copy() for b in model._buffers]
    hidden = X @ model.layers[0].W
    normed = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-2)
    wanted = np.mean((normed @ model.layers[2].W - Y) ** 2)
    loss, _ = model.value_and_grad(X, Y)
    np.testing.assert_allclose(loss, wanted, rtol=1e-12)
    for a, b in zip(kept, model._buffers, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(
        train(model, X, Y, batch_size=None).batch_losses, [wanted], rtol=1e-12
    )


def test_a_batch_wider_than_a_chunk_has_the_statistics_of_all_its_rows():
    rows = 1000
    x = np.random.default_rng(0).normal(2.0, 3.0, (rows, WIDTH))
    model = net(gd.SGD(0.0), layers=[gd.BatchNorm(0.0), gd.Dense(2)])
    train(model, x, np.zeros((rows, 2)), batch_size=None)
    np.testing.assert_allclose(model._buffers[0], x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(model._buffers[1], x.var(0), rtol=1e-12)


def test_an_average_of_parameters_moves_statistics_as_its_optimizer():
    def layers():
        return [gd.Dense(5), gd.BatchNorm(), gd.Dense(2)]

    model, twin = net(gd.EMA(gd.SGD(0.1)), layers=layers()), net(gd.SGD(0.1), layers=layers())
    for one in (model, twin):
        train(one, X, Y, batch_size=32, epochs=2)
    assert bits(model) == bits(twin)


# ---- Dropout -------------------------------------------------------------------------------------


def test_dropout_is_off_in_predictions():
    model = net(layers=[gd.Dense(20), gd.Dropout(0.5), gd.Dense(2)])
    plain = net(layers=[gd.Dense(20), gd.Dense(2)])
    plain.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    assert model.evaluate(X, Y) == plain.evaluate(X, Y)
    h = train(model, X, Y, validation_data=(X, Y), batch_size=None)
    assert h.history["val_loss"] == [model.evaluate(X, Y)]


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_its_share(rate):
    """With weights of 1 an output is the sum of the units that are kept, over 1 - rate."""
    rows, units = 400, 50
    model = gd.Sequential([gd.Dropout(rate), gd.Dense(1, kernel_initializer="ones")])
    model.compile(gd.SGD(0.0), "mse", ["mae"])
    ones = np.ones((rows, units))
    h = train(model, ones, np.zeros(rows), batch_size=100, epochs=1, seed=0)
    kept = h.history["mae"][0] * (1 - rate) / units
    assert abs(kept - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / rows / units)
    assert (model.predict(ones) == units).all()


def test_masks_are_drawn_from_the_seed_and_differ_from_step_to_step():
    def fitted(seed):
        layers = [gd.Dense(20, "tanh"), gd.Dropout(0.5), gd.Dense(2)]
        model = net(gd.SGD(0.0), layers=layers)
        return train(model, X, Y, batch_size=None, epochs=4, seed=seed).batch_losses

    a, b, c = fitted(0), fitted(0), fitted(1)
    np.testing.assert_array_equal(a, b)
    assert len({*a, *c}) == 8


# ---- Types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "asked", "wanted"),
    [
        (np.float32, None, np.float32),
        (np.float64, None, np.float64),
        (np.int16, None, np.float64),
        (np.float64, "float32", np.float32),
        (np.float32, np.float64, np.float64),
    ],
)
def test_a_model_has_one_type(x, asked, wanted):
    model = gd.Sequential([gd.Dense(4, "relu"), gd.Dense(2)], dtype=asked)
    model.compile("adam", "mse")
    train(model, np.round(X).astype(x), Y)
    assert {p.dtype for p in model.params} == {model.dtype} == {np.dtype(wanted)}
    assert model.predict(X).dtype == wanted
    loss, grads = model.value_and_grad(X, Y)
    assert {type(loss), *(g.dtype.type for g in grads)} == {wanted}
    assert type(model.evaluate(X, Y)) is float


def test_single_precision_follows_double():
    single, double = net("adam", dtype=np.float32), net("adam")
    for model in (single, double):
        train(model, X, Y, epochs=5)
    for a, b in zip(single.params, double.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_shapes_of_targets():
    models = [net(layers=[gd.Dense(1)]) for _ in range(3)]
    for model, y in zip(models, (Y[:, 0], Y[:, :1], Y[:, :1, None]), strict=True):
        train(model, X, y)
    assert bits(models[0]) == bits(models[1]) == bits(models[2])


# ---- Functions of the user's ---------------------------------------------------------------------


def cubic(z):
    return z + 0.1 * z**3


def centred(z):
    return np.tanh(z - np.mean(z, axis=0))


def rowwise(y_true, y_pred):
    return np.mean(np.abs(y_pred - y_true) ** 1.5, axis=1)


def column(y_true, y_pred):
    return np.mean((y_pred - y_true) ** 2, axis=1, keepdims=True)


def scalar(y_true, y_pred):
    return np.mean((y_pred - y_true) ** 2)


def correlated(y_true, y_pred):
    """One number for each row, which depends on the other rows."""
    return np.mean((y_pred - y_true - np.mean(y_pred - y_true, axis=0)) ** 2, axis=1)


@pytest.mark.parametrize("activation", ["tanh", cubic, centred])
@pytest.mark.parametrize("loss", ["mse", rowwise, column, scalar, correlated])
def test_own_functions_take_the_steps_of_the_loop(activation, loss):
    def make():
        return net("adam", loss, layers=[gd.Dense(5, activation), gd.Dense(2)])

    model, twin = make(), make()
    h = train(model, X, Y, batch_size=32, epochs=2)
    losses, _ = loop(twin, X, Y, batch=32, epochs=2)
    np.testing.assert_array_equal(h.batch_losses, losses)
    assert bits(model) == bits(twin)


@pytest.mark.parametrize("rows", [1, 255, 256, 257, 600])
@pytest.mark.parametrize("loss", [column, scalar])
def test_own_losses_are_the_librarys_own(loss, rows):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, WIDTH)), rng.normal(size=(rows, 2))
    own, wanted = net(loss=loss), net(loss="mse")
    np.testing.assert_allclose(own.evaluate(x, y), wanted.evaluate(x, y), rtol=1e-13)
    (a, grads), (b, others) = own.value_and_grad(x, y), wanted.value_and_grad(x, y)
    np.testing.assert_allclose(a, b, rtol=1e-13)
    for g, other in zip(grads, others, strict=True):
        np.testing.assert_allclose(g, other, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("loss", [rowwise, column, correlated])
def test_own_losses_take_weights(loss):
    weights = np.random.default_rng(0).random(ROWS)
    model = net(loss=loss)
    values = np.ravel(loss(Y, model.predict(X)))
    wanted = (weights * values).sum() / weights.sum()
    np.testing.assert_allclose(model.evaluate(X, Y, sample_weight=weights), wanted, rtol=1e-12)
    value, _ = model.value_and_grad(X, Y, weights)
    np.testing.assert_allclose(value, wanted, rtol=1e-12)
    h = train(model, X, Y, batch_size=None, sample_weight=weights)
    np.testing.assert_allclose(h.batch_losses, [wanted], rtol=1e-12)


def test_own_loss_of_class_numbers():
    def picked(y_true, y_pred):
        shifted = y_pred - np.max(y_pred, axis=1, keepdims=True)
        logs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
        return -np.take_along_axis(logs, y_true[:, None], axis=1)[:, 0]

    layers = [gd.Dense(6, "relu"), gd.Dense(CLASSES)]
    own, wanted = net(loss=picked, layers=layers), classifier()
    h, other = (train(model, X, LABELS, epochs=3) for model in (own, wanted))
    np.testing.assert_allclose(h.batch_losses, other.batch_losses, rtol=1e-12)


def test_own_functions_see_changed_arrays():
    scale = np.array([1.0, 1.0])

    def scaled(y_true, y_pred):
        return np.mean(scale * (y_pred - y_true) ** 2, axis=1)

    model = net(loss=scaled)
    before = model.evaluate(X, Y)
    scale *= 2
    np.testing.assert_allclose(model.evaluate(X, Y), 2 * before, rtol=1e-14)


# ---- Predictions ---------------------------------------------------------------------------------


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_predictions_and_probabilities():
    logits, probabilities = (
        classifier(),
        net(
            loss="sparse_categorical_crossentropy",
            layers=[gd.Dense(6, "relu"), gd.Dense(CLASSES, "softmax")],
        ),
    )
    z = np.maximum(X @ logits.params[0], 0) @ logits.params[2]
    np.testing.assert_allclose(logits.predict(X), z, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(logits.predict_proba(X), softmax(z), rtol=1e-11)
    np.testing.assert_array_equal(probabilities.predict(X), probabilities.predict_proba(X))
    for model in (logits, probabilities):
        p = model.predict_proba(X)
        np.testing.assert_allclose(p.sum(1), 1, rtol=1e-14)
        wanted = -np.log(p[np.arange(ROWS), LABELS]).mean()
        np.testing.assert_allclose(model.evaluate(X, LABELS), wanted, rtol=1e-12)
    histories = [train(m, X, LABELS, epochs=3) for m in (logits, probabilities)]
    np.testing.assert_allclose(*(h.batch_losses for h in histories), rtol=1e-12)


@pytest.mark.parametrize("ending", [None, "sigmoid"])
def test_one_column_of_probabilities(ending):
    model = net(loss="binary_crossentropy", layers=[gd.Dense(1, ending)], metrics=["accuracy"])
    y = (Y[:, 0] > 0).astype(int)
    p = 1 / (1 + np.exp(-(X @ model.params[0])))
    np.testing.assert_allclose(model.predict_proba(X), p, rtol=1e-12)
    loss, accuracy = model.evaluate(X, y)
    terms = y * np.log(p[:, 0]) + (1 - y) * np.log1p(-p[:, 0])
    np.testing.assert_allclose(loss, -terms.mean(), rtol=1e-12)
    assert accuracy == pytest.approx(np.mean((p[:, 0] > 0.5) == y), rel=1e-14)


def test_huge_logits_do_not_overflow():
    for ending in (None, "softmax"):
        layers = [gd.Dense(CLASSES, ending)]
        model = net(loss="sparse_categorical_crossentropy", layers=layers)
        x = X * 1e4
        assert np.isfinite(model.evaluate(x, LABELS))
        h = train(model, x, LABELS)
        assert np.isfinite(h.batch_losses).all()
        assert np.isfinite(model.predict_proba(x)).all()


@pytest.mark.parametrize("rows", [1, 2, 255, 256, 257, 1000])
def test_predictions_go_row_by_row(rows):
    x = np.random.default_rng(0).normal(size=(rows, WIDTH))
    model = net(layers=[gd.Dense(64, "gelu"), gd.LayerNorm(), gd.Dense(2)])
    whole = model.predict(x)
    assert whole.shape == (rows, 2)
    np.testing.assert_array_equal(
        np.concatenate([model.predict(x[i : i + 1]) for i in range(rows)]), whole
    )
    assert not np.shares_memory(whole, model.predict(x))


def test_evaluate_and_predict_change_nothing():
    model = classifier("adam", ["accuracy"])
    train(model, X, LABELS)
    before, t, state = bits(model), model.optimizer.t, model._generator.bit_generator.state
    model.predict(X), model.evaluate(X, LABELS), model.predict_proba(X)
    assert (bits(model), model.optimizer.t) == (before, t)
    assert model._generator.bit_generator.state == state


def test_more_rows_than_are_judged_at_once():
    rows = (1 << 16) + 100
    x = np.random.default_rng(0).normal(size=(rows, WIDTH)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, CLASSES, rows)
    weights = np.random.default_rng(2).random(rows)
    model = classifier(metrics=["accuracy"], dtype=np.float32)
    right = model.predict(x).argmax(1) == labels
    _, accuracy = model.evaluate(x, labels, sample_weight=weights)
    assert accuracy == pytest.approx((right * weights).sum() / weights.sum(), rel=1e-12)
    model.compile(gd.SGD(0.0), "sparse_categorical_crossentropy", ["accuracy"])
    h = train(model, x, labels, batch_size=4096, shuffle=True, sample_weight=weights,
              validation_split=0.5)  # fmt: skip
    half = rows // 2
    wanted = [
        (right * weights)[p].sum() / weights[p].sum() for p in (slice(half), slice(half, rows))
    ]
    np.testing.assert_allclose([h.history["accuracy"][0], h.history["val_accuracy"][0]], wanted)


# ---- Copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_copy_goes_on_alike(copied, optimizer):
    batch = None if optimizer == "lbfgs" else 16
    model = net(optimizer, layers=[gd.Dense(5, "tanh"), gd.BatchNorm(), gd.Dense(2)])
    train(model, X, Y, batch_size=batch, shuffle=True)
    twin = copied(model)
    for one in (model, twin):
        train(one, X, Y, batch_size=batch, shuffle=True, epochs=2)
    assert bits(model) == bits(twin)
    np.testing.assert_array_equal(model.history.batch_losses, twin.history.batch_losses)
    more = [copied(model), model]
    for one in more:
        train(one, X, Y, batch_size=batch, shuffle=True, epochs=4, resume=True)
    assert bits(more[0]) == bits(more[1])
    assert more[0].history.epoch == [0, 1, 2, 3]
