"""Batches that come one by one: from iterators in fit, and from a loop over train_on_batch."""

import itertools

import fit_cases
import numpy as np
import pytest
from fit_cases import LABELS, ROWS, X, Y, bits, classifier, loop, net, train

import gdcore as gd

PARTS = [slice(0, 20), slice(20, 50), slice(50, ROWS)]
BATCHES = [(X[p], Y[p]) for p in PARTS]


class Loader:
    """An iterable that begins anew, as torch's DataLoader; its batches are lists."""

    def __iter__(self):
        return iter([list(batch) for batch in BATCHES])


class Indexed:
    """A sequence of batches, which has no iterator."""

    def __len__(self):
        return len(BATCHES)

    def __getitem__(self, index):
        return BATCHES[index]


SOURCES = {
    "list": lambda: BATCHES,
    "function": lambda: lambda: iter(BATCHES),
    "iterable": Loader,
    "indexed": lambda: lambda: (Indexed()[i] for i in range(len(Indexed()))),
}


def by_hand(model, epochs=1):
    losses = []
    for _ in range(epochs):
        for x, y in BATCHES:
            losses += loop(model, x, y)[0]
    return losses


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["SGD", "Adam", "Rprop"])
def test_batches_of_an_iterable_are_the_steps(source, name):
    model, twin = net(getattr(gd, name)(0.01)), net(getattr(gd, name)(0.01))
    h = train(model, SOURCES[source](), epochs=3)
    losses = by_hand(twin, 3)
    np.testing.assert_array_equal(h.batch_losses, losses)
    assert bits(model) == bits(twin)
    assert h.epoch == [0, 1, 2]
    sizes = np.array([20, 30, 20])
    np.testing.assert_allclose(
        h.history["loss"], h.batch_losses.reshape(3, 3) @ sizes / ROWS, rtol=1e-14
    )


def test_an_iterator_that_does_not_end_needs_steps_per_epoch():
    model, twin = net("adam"), net("adam")
    h = train(model, itertools.cycle(BATCHES), steps_per_epoch=2, epochs=3)
    for x, y in (BATCHES * 2)[:6]:
        loop(twin, x, y)
    assert len(h.batch_losses) == 6
    assert bits(model) == bits(twin)


def test_an_iterator_is_asked_for_no_batch_too_many():
    taken = []

    def batches():
        for number in itertools.count():
            taken.append(number)
            yield BATCHES[number % 3]

    train(net(), batches(), steps_per_epoch=2, epochs=2)
    assert taken == [0, 1, 2, 3]


def test_an_iterator_serves_one_epoch():
    model, twin = net(), net()
    train(model, iter(BATCHES))
    by_hand(twin)
    assert bits(model) == bits(twin)


def test_the_same_batches_as_arrays_in_fit():
    """History, metrics, validation and what callbacks see are those of fit on arrays."""
    batches = [(X[a : a + 16], LABELS[a : a + 16]) for a in range(0, ROWS, 16)]
    seen = {}

    class Watch(gd.callbacks.Callback):
        def __init__(self, name):
            self.told = seen.setdefault(name, [])

        def on_train_batch_end(self, batch, logs=None):
            self.told.append((batch, logs["loss"]))

        def on_epoch_end(self, epoch, logs=None):
            self.told.append((epoch, dict(logs)))

    models = [classifier("adam", ["accuracy"]) for _ in range(2)]
    given = {"epochs": 2, "validation_data": (X[:9], LABELS[:9]), "initial_epoch": 1}
    given["epochs"] = 3
    train(models[0], batches, callbacks=[Watch("batches")], **given)
    train(models[1], X, LABELS, batch_size=16, callbacks=[Watch("arrays")], **given)
    assert bits(models[0]) == bits(models[1])
    one, other = (model.history for model in models)
    assert one.epoch == other.epoch == [1, 2]
    assert (one.lrs, one.skipped) == (other.lrs, other.skipped)
    assert list(one.history) == list(other.history)
    for name, values in one.history.items():
        np.testing.assert_allclose(values, other.history[name], rtol=1e-13)
    np.testing.assert_array_equal(one.batch_losses, other.batch_losses)
    np.testing.assert_array_equal(one.batch_grad_norms, other.batch_grad_norms)
    np.testing.assert_array_equal(one.statistics_steps, other.statistics_steps)
    assert len(seen["batches"]) == len(seen["arrays"]) == 12


def test_batches_may_have_weights():
    weights = np.random.default_rng(0).random(ROWS)
    model, twin = net("adam"), net("adam")
    h = train(model, [(X[p], Y[p], weights[p]) for p in PARTS])
    losses = [loop(twin, X[p], Y[p], weights=weights[p])[0][0] for p in PARTS]
    assert bits(model) == bits(twin)
    sums = [weights[p].sum() for p in PARTS]
    assert h.history["loss"] == [pytest.approx(np.dot(losses, sums) / weights.sum(), rel=1e-13)]


def test_rates_of_a_schedule_go_on_over_batches():
    model, twin = (net(gd.SGD(gd.schedules.linear(0.1, 0.0, 9))) for _ in range(2))
    h = train(model, BATCHES, epochs=3)
    by_hand(twin, 3)
    assert bits(model) == bits(twin)
    np.testing.assert_allclose(h.lrs, 0.1 - 0.1 / 9 * np.array([2, 5, 8]))


def test_a_batch_that_does_not_fit_ends_the_fit_after_the_steps_before_it():
    model, twin = net(), net()
    with pytest.raises(ValueError, match="X has 1 columns but the model takes rows of 3"):
        train(model, [*BATCHES[:2], (X[:, :1], Y)])
    for x, y in BATCHES[:2]:
        loop(twin, x, y)
    assert bits(model) == bits(twin)
    assert len(model.history.batch_losses) == 2


@pytest.mark.parametrize(
    ("source", "settings", "error", "message"),
    [
        (lambda: iter([]), {}, ValueError, "X is an iterator without batches"),
        (lambda: iter([X]), {}, TypeError, r"a batch is ndarray; tuples \(X, y\) or"),
        (lambda: iter([(X,)]), {}, TypeError, r"a batch is tuple; tuples \(X, y\) or"),
        (lambda: lambda: 3, {}, TypeError, "a function that returned int; an iterator of batches"),
        (lambda: BATCHES, {"validation_split": 0.1}, ValueError, "validation_split is given, but"),
        (lambda: BATCHES, {"batch_order": np.arange}, ValueError, "batch_order is given, but X"),
        (lambda: BATCHES, {"stratify": True}, ValueError, "stratify is given, but X gives"),
        (lambda: BATCHES, {"class_weight": "balanced"}, ValueError, "class_weight is given"),
        (lambda: BATCHES, {"resume": True}, ValueError, "resume is given, but X .*begins anew, w"),
        (lambda: BATCHES, {"sample_weight": Y[:, 0]}, ValueError, r"be \(X, y, sample_weight\)$"),
        (lambda: (X, Y), {}, TypeError, r"X is a tuple of 2 arrays, .*: fit\(X, y\)$"),
        (lambda: [X, Y], {}, TypeError, r"X is a list of 2 arrays, .*: fit\(X, y\)$"),
        (lambda: (X, Y, Y[:, 0]), {}, TypeError, r": fit\(X, y, sample_weight=w\)$"),
        (
            Indexed,
            {},
            TypeError,
            r"X is Indexed, .*lambda: \(X\[i\] for i in range\(len\(X\)\)\)\)$",
        ),
        (lambda: iter([(X, Y[:3])]), {}, ValueError, "y has 3 rows but X has 70"),
        (lambda: iter([(X * np.nan, Y)]), {}, ValueError, "X holds nan in row 0, column 0"),
    ],
)
def test_sources_that_are_refused_before_any_step(source, settings, error, message):
    model = net()
    before = bits(model)
    with pytest.raises(error, match=message):
        train(model, source(), **settings)
    assert bits(model) == before
    assert model.history is None


@pytest.mark.parametrize("epochs", [1, 3])
def test_fewer_batches_than_steps_per_epoch_are_told_once(epochs):
    model, twin = net(), net()
    words = r"X ended after 3 of 5 batches of epoch 0, .*steps_per_epoch is 5: give that many"
    with pytest.warns(UserWarning, match=words) as told:
        h = train(model, BATCHES, steps_per_epoch=5, epochs=epochs)
    assert [one.filename for one in told] == [fit_cases.__file__]
    by_hand(twin, epochs)
    assert bits(model) == bits(twin)
    assert len(h.batch_losses) == 3 * epochs


@pytest.mark.filterwarnings("ignore:X ended after 1 of 2 batches of epoch 1")
@pytest.mark.parametrize("steps", [None, 2])
def test_an_iterator_that_ends_too_soon_says_how_it_would_not(steps):
    model = net()
    with pytest.raises(ValueError, match=r"ended before epoch [12].*a function that returns an it"):
        train(model, iter(BATCHES), epochs=3, steps_per_epoch=steps)
    assert len(model.history.batch_losses) == 3


def test_a_loss_that_is_not_finite():
    bad = [*BATCHES[:2], (X[:4] * 1e200, Y[:4])]
    model, twin = net(layers=[gd.Dense(2)]), net(layers=[gd.Dense(2)])
    with pytest.raises(gd.NonFiniteError, match="batch 2 of epoch 0") as caught:
        train(model, bad)
    assert (caught.value.epoch, caught.value.batch) == (0, 2)
    assert caught.value.history is model.history
    for x, y in BATCHES[:2]:
        loop(twin, x, y)
    assert len(model.history.batch_losses) == 2
    assert all(np.isfinite(p).all() for p in model.params)


# ---- train_on_batch ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SGD", "Adam", "ScheduleFreeSGD", "LAMB"])
def test_train_on_batch_takes_the_steps_of_fit(name, dtype):
    model, twin = (net(getattr(gd, name)(0.01), dtype=dtype) for _ in range(2))
    losses = [
        model.train_on_batch(X[a : a + 16], Y[a : a + 16])
        for _ in range(2)
        for a in range(0, ROWS, 16)
    ]
    h = train(twin, X, Y, batch_size=16, epochs=2)
    assert bits(model) == bits(twin)
    np.testing.assert_array_equal(losses, h.batch_losses)
    assert model.history is None


def test_what_train_on_batch_returns():
    assert type(net().train_on_batch(X, Y)) is float
    model, twin = classifier(metrics=["accuracy"]), classifier(metrics=["accuracy"])
    wanted = twin.evaluate(X, LABELS)
    np.testing.assert_allclose(model.train_on_batch(X, LABELS), wanted, rtol=1e-14)
    named = twin.train_on_batch(X, LABELS, return_dict=True)
    assert list(named) == ["loss", "accuracy"]
    assert bits(model) == bits(twin)


def test_weights_of_train_on_batch():
    weights = np.array([2.0, 1.0, 0.5, 0.0])[LABELS]
    models = [classifier() for _ in range(3)]
    models[0].train_on_batch(X, LABELS, class_weight={0: 2.0, 2: 0.5, 3: 0.0})
    models[1].train_on_batch(X, LABELS, sample_weight=weights)
    train(models[2], X, LABELS, batch_size=None, sample_weight=weights)
    assert bits(models[0]) == bits(models[1]) == bits(models[2])


def test_dropout_of_train_on_batch_is_another_at_each_call():
    layers = [gd.Dense(40, "tanh"), gd.Dropout(0.5), gd.Dense(2)]
    model = net(gd.SGD(0.0), layers=layers)
    losses = {model.train_on_batch(X, Y) for _ in range(5)}
    assert len(losses) == 5
    again = net(gd.SGD(0.0), layers=[gd.Dense(40, "tanh"), gd.Dropout(0.5), gd.Dense(2)])
    assert losses == {again.train_on_batch(X, Y) for _ in range(5)}


def test_train_on_batch_builds_a_model():
    model = gd.Sequential([gd.Dense(2)])
    model.compile("sgd", "mse")
    model.train_on_batch(X.astype(np.float32), Y)
    assert (model.built, model.dtype, model.optimizer.t) == (True, np.float32, 1)


def test_train_on_batch_refuses_what_is_not_finite_and_changes_nothing():
    model = net(layers=[gd.Dense(2)])
    before = bits(model)
    with pytest.raises(gd.NonFiniteError, match="the loss is inf"):
        model.train_on_batch(X * 1e200, Y)
    assert bits(model) == before
    assert model.optimizer.t == 0
    with pytest.raises(ValueError, match="X holds nan"):
        model.train_on_batch(X * np.nan, Y)
    assert bits(model) == before


def test_fit_and_train_on_batch_take_turns():
    model, twin = net("adam"), net("adam")
    train(model, X, Y)
    model.train_on_batch(X, Y)
    train(model, X, Y)
    for batch in (32, None, 32):
        loop(twin, X, Y, batch=batch)
    assert bits(model) == bits(twin)
    assert len(model.history.batch_losses) == 3
