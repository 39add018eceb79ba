"""find_lr: the sweep, its rules, what it leaves behind, and what it refuses."""

import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest
from left_behind import everything_of, spirals

import gdcore as gd
from gdcore import _find_lr, _rate_rules


def network(*layers, optimizer=None, loss="sparse_categorical_crossentropy", **settings):
    model = gd.Sequential([*(layers or (gd.Dense(8, "relu"),)), gd.Dense(2)], **settings)
    model.compile(optimizer or gd.Adam(0.01), loss, ["accuracy"])
    return model


def bowl(x):
    return x**2


# ---- The sweep -----------------------------------------------------------------------------------


def test_rates_are_geometric_from_start_to_stop():
    found = gd.find_lr(lambda x: np.sin(x), 0.0, start=1e-4, stop=1e-2, steps=5)
    np.testing.assert_allclose(found.lrs, [1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2], rtol=1e-12)
    assert len(found.losses) == len(found.smoothed) == len(found.baseline) == 5


def test_losses_of_a_function_are_those_of_a_descent_with_these_rates():
    found = gd.find_lr(bowl, 1.0, start=1e-3, stop=0.4, steps=20)
    x, losses = 1.0, []
    for lr in found.lrs:
        losses.append(x**2)
        x -= lr * 2 * x
    np.testing.assert_allclose(found.losses, losses, rtol=1e-12)
    np.testing.assert_allclose(found.smoothed, found.losses, rtol=1e-12)  # none by default
    np.testing.assert_array_equal(found.baseline, 1.0)


@pytest.mark.parametrize("optimizer", [gd.SGD(0.5, momentum=0.5), gd.EMA(gd.Adam(0.1))], ids=str)
def test_losses_of_a_model_are_those_of_a_fit_with_these_rates(optimizer):
    X, y = spirals()
    layers = gd.Dense(8, "tanh", lr_scale=0.5), gd.Dropout(0.2)
    model = network(*layers, optimizer=optimizer)
    found = gd.find_lr(model, X, y, start=1e-3, stop=0.1, steps=11, batch_size=16, seed=4)
    twin = model.clone()
    twin.optimizer.lr = gd.schedules.exponential(1e-3, 100.0, 10)
    history = twin.fit(X, y, batch_size=16, epochs=3, seed=4, verbose=0)  # 4 batches an epoch
    np.testing.assert_array_equal(found.losses, history.batch_losses[:11])


def test_the_baseline_is_the_loss_of_the_same_rows_where_nothing_moved():
    X, y = spirals()
    model = network(gd.Dense(8, "tanh"), gd.Dropout(0.5), gd.BatchNorm())
    found = gd.find_lr(model, X, y, steps=10, batch_size=16, seed=4)
    model.compile(gd.SGD(0.0), model.loss)
    history = model.fit(X, y, batch_size=16, epochs=3, seed=4, verbose=0)
    np.testing.assert_array_equal(found.baseline, history.batch_losses[:10])
    assert found.losses[0] == found.baseline[0]


def test_weights_of_rows_and_classes_count():
    X, y = spirals()
    model = network()
    plain, heavy, classes = (
        gd.find_lr(model, X, y, seed=0, steps=5, batch_size=None, **more)
        for more in ({}, {"sample_weight": 1.0 + y}, {"class_weight": {1: 2.0}})
    )
    np.testing.assert_array_equal(heavy.losses, classes.losses)
    assert heavy.losses[0] != plain.losses[0]


def test_without_a_seed_it_goes_by_the_models_generator_as_it_stands():
    X, y = spirals()
    model = network(gd.Dense(8), gd.Dropout(0.5))
    model.fit(X, y, seed=0, verbose=0)
    first, second, other = (gd.find_lr(model, X, y, seed=seed) for seed in (None, None, 1))
    np.testing.assert_array_equal(first.losses, second.losses)
    assert not np.array_equal(first.losses, other.losses)


def test_it_starts_from_the_weights_and_settings_that_there_are():
    X, y = spirals()
    model = network(optimizer=gd.SGD(0.1))
    model.fit(X, y, epochs=5, seed=0, verbose=0)
    model.optimizer.weight_decay = 0.5
    found = gd.find_lr(model, X, y, seed=1, batch_size=None, steps=4, start=0.01, stop=0.08)
    assert found.losses[0] == pytest.approx(model.value_and_grad(X, y)[0], rel=1e-12)
    model.optimizer.reset()
    model.optimizer.lr = gd.schedules.exponential(0.01, 8.0, 3)
    h = model.fit(X, y, batch_size=None, epochs=4, verbose=0)
    np.testing.assert_allclose(found.losses, h.batch_losses, rtol=1e-12)


# ---- Rules ---------------------------------------------------------------------------------------


def finder(losses, baseline=None, start=1e-5, decades=6, **settings):
    """The result for losses that are given."""
    losses = np.asarray(losses, np.float64)
    baseline = np.full(len(losses), losses[0]) if baseline is None else baseline
    lrs = start * 10 ** np.linspace(0, decades, len(losses))
    given = {"smoothing": 0.0, "rule": "steepest", "eps": 1e-16, "ended": "", **settings}
    return _rate_rules.LRFinder(lrs, losses, baseline, **given)


def cliff(places, at=-2.0):
    """A loss that falls around 10^at and rises a decade later."""
    return 2.0 - 1 / (1 + np.exp(-6 * (places - at))) + np.exp(6 * (places - at - 1.5))


@pytest.mark.parametrize("steps", [40, 100, 400])
def test_rules_do_not_depend_on_how_dense_the_rates_are(steps):
    places = np.linspace(-5, -0.6, steps)
    found = finder(cliff(places), decades=4.4)
    assert np.log10(found.suggestions["steepest"]) == pytest.approx(-2.0, abs=0.15)
    assert -2.3 < np.log10(found.suggestions["valley"]) < -1.6
    lowest = places[np.argmin(found.smoothed)]
    assert np.log10(found.suggestions["minimum_tenth"]) == pytest.approx(lowest - 1, abs=1e-9)
    assert found.suggestion == found.suggestions["steepest"]


@pytest.mark.parametrize("seed", range(5))
def test_spikes_of_batches_do_not_fool_a_rule(seed):
    """An early spike is in the baseline too, as is all that batches differ in."""
    rng = np.random.default_rng(seed)
    places = np.linspace(-5, -0.6, 100)
    noise = 0.3 * rng.normal(size=100)
    noise[[0, 1, 7]] += 4.0
    noisy = finder(cliff(places) + noise, baseline=2.0 + noise, decades=4.4, smoothing=0.8)
    plain = finder(cliff(places), decades=4.4, smoothing=0.8)
    for rule, rate in plain.suggestions.items():
        assert np.log10(noisy.suggestions[rule]) == pytest.approx(np.log10(rate), abs=0.1)


def test_smoothing_is_the_average_with_weights_of_the_past():
    losses = np.array([3.0, 1.0, 4.0, 1.0])
    out = _rate_rules.smoothed_by(0.5, losses)
    weights = 0.5 ** np.arange(4)
    expected = [weights[: k + 1][::-1] @ losses[: k + 1] / weights[: k + 1].sum() for k in range(4)]
    np.testing.assert_allclose(out, expected, rtol=1e-15)
    np.testing.assert_array_equal(_rate_rules.smoothed_by(0.0, losses), losses)


def test_a_suggestion_is_one_to_train_with():
    """Of each rule: the loss after an epoch or two is far below where it began."""
    X, y = gd.datasets.moons(n=300, seed=1)
    for optimizer in (gd.SGD(), gd.SGD(momentum=0.9), gd.Adam()):
        model = network(gd.Dense(16, "relu"), optimizer=optimizer)
        found = gd.find_lr(model, X, y, seed=0)
        for rule, rate in found.suggestions.items():
            trained = model.clone()
            trained.optimizer.lr = rate
            h = trained.fit(X, y, epochs=10, seed=0, verbose=0)
            assert h.history["loss"][-1] < 0.7 * found.baseline.mean(), (optimizer, rule)


@pytest.mark.parametrize("curvature", [1e-3, 1.0, 1e3])
def test_a_suggestion_for_a_parabola_is_stable(curvature):
    found = gd.find_lr(lambda x: curvature * x**2, 1.0, stop=1e4)
    assert 1e-2 < found.suggestion * curvature < 1  # 1 / curvature is the largest stable rate
    r = gd.minimize(lambda x: curvature * x**2, 1.0, optimizer=gd.SGD(found.suggestion), steps=500)
    assert r.fun < 1e-6 * curvature


def test_negative_losses_end_no_sweep():
    found = gd.find_lr(lambda x: x**6 - 5 * x**4 + 4 * x**2, -1.5)
    assert 1e-4 < found.suggestion < 0.03
    assert found.smoothed.min() == pytest.approx(-6.06, abs=0.01)
    assert "had risen so far" in found.message or "not finite" in found.message
    assert found.lrs[-1] < 1.0


# ---- Where it ends -------------------------------------------------------------------------------


def test_a_loss_that_rises_ends_the_sweep():
    found = gd.find_lr(bowl, 1.0, stop=1e3)
    assert len(found.lrs) < 100
    assert found.losses[-1] > 4
    assert (found.losses[:-1] < 4.5).all()
    assert "had risen so far that the sweep ended" in found.message


def test_what_is_not_finite_is_recorded_and_ends_the_sweep():
    def barrier(x):
        return x - np.log(x)

    found = gd.find_lr(barrier, 3.0, start=1e-4, stop=1e3, steps=20)
    assert not np.isfinite(found.losses[-1])
    assert np.isfinite(found.losses[:-1]).all()
    assert "not finite" in found.message
    assert found.suggestion > 0


@pytest.mark.parametrize("on_nonfinite", ["ignore", "raise", "skip"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_model_that_explodes_raises_nothing(on_nonfinite, wrapped):
    X, y = spirals(dtype=np.float32)
    optimizer = gd.SGD(0.1, on_nonfinite=on_nonfinite)
    model = network(optimizer=gd.EMA(optimizer) if wrapped else optimizer, loss="mse")
    found = gd.find_lr(model, X, np.c_[y, y], stop=1e30, steps=30, smoothing=0.0, seed=0)
    assert len(found.lrs) < 30
    assert found.suggestion < 10
    assert "ended" in found.message


def test_a_gradient_that_is_not_finite_ends_it_too():
    found = gd.find_lr(lambda x: np.sqrt(np.abs(x)), 0.0)
    assert found.suggestion is None


@pytest.mark.parametrize(
    ("function", "start", "words"),
    [
        (bowl, 0.0, "never fell below 0"),
        (lambda x: np.log(x), -1.0, "not finite before the first step"),
        (lambda x: 3e200 * x**2, 1e50, "smaller start"),
        (lambda x: 0 * x + 5, 1.0, "never fell below 5"),
    ],
)
def test_without_a_fall_there_is_no_suggestion_but_a_word(function, start, words):
    found = gd.find_lr(function, start)
    assert found.suggestion is None
    assert found.suggestions == dict.fromkeys(("steepest", "valley", "minimum_tenth"))
    assert words in found.message
    assert "no suggestion" in repr(found)


def test_a_model_that_climbs_gets_no_suggestion():
    X, y = spirals()
    found = gd.find_lr(network(optimizer=gd.SGD(maximize=True)), X, y, seed=0)
    assert found.suggestion is None


def test_a_range_that_ends_too_early_says_so():
    found = gd.find_lr(bowl, 1.0, stop=1e-3)
    assert "try a larger stop" in found.message


# ---- No trace ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("optimizer", [gd.Adam(0.01), gd.EMA(gd.SGD(0.1))], ids=["adam", "ema"])
def test_a_sweep_leaves_no_trace(fitted, seed, optimizer):
    X, y = spirals()
    model = network(gd.Dense(8), gd.BatchNorm(), gd.Dropout(0.2), optimizer=optimizer)
    if fitted:
        model.fit(X, y, epochs=2, seed=0, verbose=0)
    before = everything_of(model)
    gd.find_lr(model, X, y, seed=seed)
    assert everything_of(model) == before
    gd.find_lr(model, X, y, stop=1e20, seed=seed)
    assert everything_of(model) == before
    with pytest.raises(ValueError, match="rows"):
        gd.find_lr(model, X, y[1:], seed=seed)
    assert everything_of(model) == before
    if fitted:
        twin = gd.Sequential([gd.Dense(8), gd.BatchNorm(), gd.Dropout(0.2), gd.Dense(2)])
        twin.compile(optimizer, model.loss)
        twin.fit(X, y, epochs=2, seed=0, verbose=0)
        for each in (model, twin):
            each.fit(X, y, epochs=3, resume=True, verbose=0)
        assert all(map(np.array_equal, model.get_weights(), twin.get_weights()))


def test_settings_and_points_that_were_given_stay():
    optimizer, x0 = gd.SGD(0.25, momentum=0.5), np.array([1.0, 2.0])
    gd.find_lr(lambda x: (x**2).sum(), x0, optimizer=optimizer)
    assert (optimizer.t, optimizer.lr) == (0, 0.25)
    np.testing.assert_array_equal(x0, [1.0, 2.0])


def test_the_steepest_line_of_all_windows():
    """Sums from the start give what a line through each window gives."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = rng.integers(3, 300)
        places = np.linspace(-rng.uniform(1, 9), rng.uniform(0, 3), n)
        losses = np.cumsum(rng.normal(size=n)) * 10 ** rng.uniform(-3, 3)
        slopes = []
        for k in range(losses.argmin() + 1):
            near = abs(places - places[k]) <= 0.5
            near[max(k - 1, 0) : k + 2] = True
            slopes.append(np.polyfit(places[near], losses[near], 1)[0])
        found = _rate_rules.steepest(places, losses, 0.0)
        assert slopes[int(np.searchsorted(places, found))] == pytest.approx(min(slopes))


@pytest.mark.parametrize("wrapped", [False, True])
def test_ctrl_c_leaves_no_trace_and_brings_what_was_swept(wrapped):
    X = np.random.default_rng(0).normal(size=(512, 300)).astype(np.float32)
    y = (X[:, 0] > 0).astype(np.int64)
    optimizer = gd.SGD(0.1)
    model = network(
        gd.Dense(256, "relu"), gd.BatchNorm(), optimizer=gd.EMA(optimizer) if wrapped else optimizer
    )
    model.fit(X, y, seed=0, verbose=0)
    before = everything_of(model)
    main = threading.get_ident()

    def interrupt():
        time.sleep(0.15)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        gd.find_lr(model, X, y, steps=100_000)
    thread.join()
    result = caught.value.result
    assert 0 < len(result.losses) == len(result.lrs) < 100_000
    assert everything_of(model) == before


def test_ctrl_c_on_a_function():
    sent = []

    def f(x):
        if x[0] < 0.9 and not sent:
            sent.append(x)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        return float(x @ x), 2 * x

    with pytest.raises(KeyboardInterrupt) as caught:
        gd.find_lr(f, np.ones(2), grad=True)
    assert len(caught.value.result.losses) > 10


# ---- The result ----------------------------------------------------------------------------------


def test_the_result_prints_pickles_and_draws():
    from matplotlib.figure import Figure

    X, y = spirals()
    found = gd.find_lr(network(), X, y, seed=0, rule="valley")
    assert found.suggestion == found.suggestions["valley"]
    assert repr(found).splitlines()[0] == f"LRFinder: suggestion {found.suggestion:.3g} (valley)"
    assert "steepest" in repr(found)
    assert "<table>" in found._repr_html_()
    again = pickle.loads(pickle.dumps(found))
    assert (again.suggestions, again.message) == (found.suggestions, found.message)
    np.testing.assert_array_equal(again.smoothed, found.smoothed)
    display = found.plot(ax=Figure().subplots())
    assert {"loss", "smoothed loss", "suggestion"} == set(display.artists)
    flat = gd.find_lr(bowl, 0.0)
    assert "suggestion" not in flat.plot(ax=Figure().subplots()).artists


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"start": 0.0}, ValueError, "start is 0.0; a finite number > 0"),
        ({"stop": np.inf}, ValueError, "stop is inf"),
        ({"start": "a"}, TypeError, "start is 'a'"),
        ({"start": 1.0, "stop": 1.0}, ValueError, "start < stop"),
        ({"steps": 2}, ValueError, "steps is 2"),
        ({"steps": 10.0}, TypeError, "steps is 10.0"),
        ({"smoothing": 1.0}, ValueError, "smoothing is 1.0"),
        ({"smoothing": True}, TypeError, "smoothing is True"),
        ({"rule": "steep"}, ValueError, "did you mean 'steepest'"),
        ({"num_iter": 50}, TypeError, "here it is steps"),
        ({"min_lr": 1e-3}, TypeError, "here it is start"),
        ({"optimizer": gd.LBFGS()}, ValueError, "LBFGS finds the length of its steps itself"),
        ({"optimizer": gd.Armijo}, ValueError, "Armijo finds the length"),
        ({"optimizer": "sgd"}, TypeError, "optimizer is 'sgd'"),
        ({"batch_size": 8}, TypeError, "batch_size is for a model, and a function was given"),
        ({"seed": 0}, TypeError, "seed is for a model"),
        ({"y": [1]}, TypeError, "y is for a model"),
        ({"x0": 2.0}, TypeError, "one starting point"),
    ],
)
def test_refused_of_a_function(settings, error, words):
    with pytest.raises(error, match=words):
        gd.find_lr(bowl, 1.0, **settings)


def test_refused_of_a_model():
    X, y = spirals()
    model = network()
    for settings, words in [
        ({"optimizer": gd.SGD()}, "optimizer is for a function.*model.compile"),
        ({"x0": 1.0}, "x0 is for a function"),
        ({"args": (1,)}, "args is for a function"),
    ]:
        with pytest.raises(TypeError, match=words):
            gd.find_lr(model, X, y, **settings)
    with pytest.raises(ValueError, match="not compiled"):
        gd.find_lr(gd.Sequential([gd.Dense(1)]), X, y)
    with pytest.raises(TypeError, match="y is None"):
        gd.find_lr(model, X)
    with pytest.raises(ValueError, match="Armijo finds"):
        gd.find_lr(network(optimizer=gd.Armijo()), X, y, batch_size=None)
    with pytest.raises(TypeError, match="a function with its starting point"):
        gd.find_lr(3.0, X)
    with pytest.raises(TypeError, match=r"find_lr\(model, X, y\)"):
        gd.find_lr(bowl)
    assert not model.built


def test_x0_goes_by_its_name_and_tuples_are_several_arguments():
    by_name = gd.find_lr(lambda x, y: x**2 + y**2, x0=(1.0, 2.0))
    assert by_name.suggestion == gd.find_lr(lambda x, y: x**2 + y**2, (1.0, 2.0)).suggestion


def test_the_sweep_is_looked_at_often():
    """A blow-up costs at most a sixteenth of the steps more."""
    calls = []

    class Counting(_find_lr._ModelSweep):
        def columns(self):
            calls.append(len(self._columns[0]))
            return super().columns()

    X, y = spirals()
    model = network(optimizer=gd.SGD(), loss="mse")
    rates = gd.schedules.exponential(1e-3, 1e9, 159)
    sweep = Counting(model, X, np.c_[y, y], rates, 160, 0.0, 0)
    sweep.run()
    assert max(np.diff(calls)) == 10
    assert len(sweep._columns[0]) < 80
