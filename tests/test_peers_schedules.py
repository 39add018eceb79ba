"""Schedules against torch's schedulers stepped along, optax's functions and Keras's objects."""

import itertools

import numpy as np
import pytest

from gdcore import schedules as s

STEPS = 400


@pytest.fixture(scope="module")
def lr_scheduler():
    return pytest.importorskip("torch.optim.lr_scheduler")


def stepped(make, lr, steps=STEPS, momentum=None):
    """Rates of a torch optimizer under a scheduler, and momenta where their name is given."""
    torch = pytest.importorskip("torch")
    settings = {"SGD": {}, "momentum": {"momentum": 0.5}, "betas": {"betas": (0.5, 0.9)}}
    kind = torch.optim.Adam if momentum == "betas" else torch.optim.SGD
    optimizer = kind([torch.zeros(1)], lr=lr, **settings[momentum or "SGD"])
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        second = group[momentum] if momentum else 0.0
        found.append((group["lr"], second[0] if momentum == "betas" else second))
        optimizer.step()
        if len(found) < steps:
            scheduler.step()
    rates, momenta = np.array(found).T
    return momenta if momentum else rates


def compare(schedule, wanted):
    """Equal to rounding, which torch's recurrences accumulate."""
    found = schedule(np.arange(len(wanted)))
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-13 * np.max(wanted))
    return found


# ---- torch ---------------------------------------------------------------------------------------

TORCH = [
    (s.step(0.1, 30), 0.1, "StepLR", {"step_size": 30}),
    (s.multistep(0.1, [30, 31, 250], 0.3), 0.1, "MultiStepLR", {"milestones": [30, 31, 250]}),
    (s.exponential(0.1, 0.97), 0.1, "ExponentialLR", {"gamma": 0.97}),
    (s.linear(0.03, 0.1, 70), 0.1, "LinearLR", {"start_factor": 0.3, "total_iters": 70}),
    (s.linear(0.1, 0.02, 70), 0.1, "LinearLR", {"start_factor": 1.0, "end_factor": 0.2}),
    (s.polynomial(0.1, 0, 70), 0.1, "PolynomialLR", {"total_iters": 70}),
    (s.polynomial(0.1, 0, 70, 2.5), 0.1, "PolynomialLR", {"total_iters": 70, "power": 2.5}),
    (s.cosine(0.1, 0.02, STEPS), 0.1, "CosineAnnealingLR", {"eta_min": 0.02}),
    (s.cosine_restarts(0.1, 0.02, 7), 0.1, "CosineAnnealingWarmRestarts", {"T_0": 7}),
    (s.cosine_restarts(0.1, 0, 7, 2), 0.1, "CosineAnnealingWarmRestarts", {"T_0": 7}),
    (s.cosine_restarts(0.1, 0, 5, 3), 0.1, "CosineAnnealingWarmRestarts", {"T_0": 5}),
]
MORE = {
    "MultiStepLR": lambda ours: {"gamma": ours.gamma},
    "LinearLR": lambda ours: {"total_iters": ours.steps},
    "CosineAnnealingLR": lambda ours: {"T_max": ours.steps},
    "CosineAnnealingWarmRestarts": lambda ours: {"T_mult": int(ours.growth), "eta_min": ours.stop},
}


@pytest.mark.parametrize(("ours", "lr", "name", "settings"), TORCH, ids=repr)
def test_as_torch_steps(lr_scheduler, ours, lr, name, settings):
    settings = {**settings, **MORE.get(name, lambda ours: {})(ours)}
    wanted = stepped(lambda opt: getattr(lr_scheduler, name)(opt, **settings), lr)
    assert wanted.min() < 0.5 * wanted.max(), "the schedule has not gone its way"
    compare(ours, wanted)


def test_torch_s_cosine_climbs_again_where_ours_stays(lr_scheduler):
    wanted = stepped(lambda opt: lr_scheduler.CosineAnnealingLR(opt, T_max=50, eta_min=0.01), 0.1)
    ours = s.cosine(0.1, 0.01, 50)
    compare(ours, wanted[:51])
    assert wanted[75] > 0.05
    assert ours(75) == 0.01


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize(("up", "down"), [(10, None), (7, 16), (1, 1)])
def test_cyclic_as_torch_steps(lr_scheduler, mode, up, down):
    settings = {"step_size_up": up, "step_size_down": down, "mode": mode, "gamma": 0.99}
    wanted = stepped(
        lambda opt: lr_scheduler.CyclicLR(opt, 0.1, 0.5, cycle_momentum=False, **settings), 0.1
    )
    compare(s.cyclic(0.1, 0.5, up, down, mode, 0.99), wanted)


@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_as_torch_steps(lr_scheduler, anneal, three_phase):
    """The whole run of `steps` steps, and that ours stays after it, where torch raises.

    Left out is what torch divides by zero at, and three phases that do not follow one another.
    """
    parts = (0.0, 0.25, 0.3, 0.5) if three_phase else (0.0, 0.25, 0.3, 0.5, 1.0)
    for steps, pct_start in itertools.product((2, 7, 10, 97, 400), parts):
        if pct_start * steps == 1:
            continue
        settings = {"pct_start": pct_start, "three_phase": three_phase}
        ours = s.one_cycle(0.5, steps, anneal={"cos": "cosine"}.get(anneal, anneal), **settings)
        settings |= {"max_lr": 0.5, "total_steps": steps, "anneal_strategy": anneal}

        def make(opt, settings=settings):
            return lr_scheduler.OneCycleLR(opt, **settings)

        compare(ours, stepped(make, 0.1, steps))
        compare(ours.momentum, stepped(make, 0.1, steps, "momentum"))
        compare(ours.momentum, stepped(make, 0.1, steps, "betas"))
        for function in (ours, ours.momentum):
            assert function(steps + 10) == function(steps - 1)


def test_sequential_and_warmup_as_torch_steps(lr_scheduler):
    def joined(opt):
        parts = [
            lr_scheduler.LinearLR(opt, start_factor=0.1, total_iters=20),
            lr_scheduler.CosineAnnealingLR(opt, T_max=100),
            lr_scheduler.StepLR(opt, step_size=50),
        ]
        return lr_scheduler.SequentialLR(opt, parts, milestones=[20, 120])

    wanted = stepped(joined, 0.1)
    parts = [s.linear(0.01, 0.1, 20), s.cosine(0.1, 0, 100), s.step(0.1, 50)]
    found = compare(s.sequential(parts, [20, 120]), wanted)
    warm = s.warmup(s.cosine(0.1, 0, 100), 20, start=0.01)
    np.testing.assert_allclose(warm(np.arange(120)), found[:120], rtol=1e-12)


def test_plateau_as_torch_steps():
    """torch's rate after each of 300 noisy values that stop getting better, at odd settings too."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    falling = np.exp(-np.arange(300) / 40) + 0.05 * rng.normal(size=300) + 0.3
    falling[[70, 71, 160]] = np.nan
    for mode, threshold_mode in itertools.product(("min", "max"), ("rel", "abs")):
        for patience, cooldown, threshold in ((10, 0, 1e-4), (0, 0, 0.01), (3, 5, 0.05)):
            settings = {"mode": mode, "threshold_mode": threshold_mode, "threshold": threshold}
            settings |= {"patience": patience, "cooldown": cooldown, "factor": 0.7, "min_lr": 1e-3}
            values = falling if mode == "min" else 2 - falling
            optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **settings)
            wanted = []
            for value in values:
                scheduler.step(value)
                wanted.append(optimizer.param_groups[0]["lr"])
            assert 1e-3 <= wanted[-1] < 0.1
            np.testing.assert_array_equal(s.plateau(0.1, **settings)(values), wanted)


# ---- optax ---------------------------------------------------------------------------------------


def optax_cases(optax):
    join, warm = optax.join_schedules, optax.warmup_cosine_decay_schedule
    scales = {50: 0.5, 51: 4.0, 300: 0.1}
    values = [0.2, 0.1, 0.4, 0.04]
    once, linear = optax.cosine_onecycle_schedule, optax.linear_onecycle_schedule
    sgdr = [
        {
            "init_value": 0.5,
            "peak_value": 0.5,
            "end_value": 0.1,
            "warmup_steps": 0,
            "decay_steps": n,
        }
        for n in (50, 100, 250)
    ]
    yield s.constant(0.2), optax.constant_schedule(0.2)
    yield s.linear(0.2, 0.5, 70), optax.linear_schedule(0.2, 0.5, 70)
    yield s.linear(0.2, 0, 70), optax.linear_schedule(0.2, 0.0, 70)
    yield s.polynomial(0.5, 0.1, 70, 2.5), optax.polynomial_schedule(0.5, 0.1, 2.5, 70)
    yield s.cosine(0.5, 0.1, 70), optax.cosine_decay_schedule(0.5, 70, 0.2)
    yield s.exponential(0.5, 0.3, 70), optax.exponential_decay(0.5, 70, 0.3)
    yield s.step(0.5, 70, 0.3), optax.exponential_decay(0.5, 70, 0.3, staircase=True)
    yield s.warmup(s.cosine(0.5, 0.1, 100), 20), warm(0.0, 0.5, 20, 120, 0.1)
    yield s.warmup(0.5, 20, 0.1), optax.warmup_constant_schedule(0.1, 0.5, 20)
    yield (
        s.warmup(s.exponential(0.5, 0.3, 70), 20, 0.1),
        optax.warmup_exponential_decay_schedule(0.1, 0.5, 20, 70, 0.3),
    )
    yield (
        s.sequential([0.5, s.linear(0.4, 0, 50)], [30]),
        join([optax.constant_schedule(0.5), optax.linear_schedule(0.4, 0.0, 50)], [30]),
    )
    yield (
        s.cosine_restarts(0.5, 0.1, 50, 2),
        optax.sgdr_schedule(
            [{**cycle, "decay_steps": 50 * 2**i} for i, cycle in enumerate([*sgdr, sgdr[0]])]
        ),
    )
    yield (
        s.piecewise_constant([*scales], values),
        optax.piecewise_constant_schedule(0.2, scales),
    )
    for anneal in ("linear", "cosine"):
        yield (
            s.piecewise_interpolated([*scales], values, anneal),
            optax.piecewise_interpolate_schedule(anneal, 0.2, scales),
        )
    yield s.piecewise_interpolated([90, 300], [0.02, 0.5, 2e-6], "cosine"), once(300, 0.5)
    yield s.piecewise_interpolated([90, 255, 300], [0.02, 0.5, 0.02, 2e-6]), linear(300, 0.5)


def test_as_optax_computes():
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    t = np.arange(STEPS)
    with jax.enable_x64(True):
        for ours, theirs in optax_cases(optax):
            wanted = np.broadcast_to(jax.vmap(theirs)(jax.numpy.arange(STEPS) * 1.0), t.shape)
            atol = 1e-15 * np.max(wanted)
            np.testing.assert_allclose(ours(t), wanted, rtol=1e-12, atol=atol, err_msg=repr(ours))


# ---- Keras ---------------------------------------------------------------------------------------


def keras_cases(kind):
    yield s.exponential(0.5, 0.3, 70), kind.ExponentialDecay(0.5, 70, 0.3)
    yield s.step(0.5, 70, 0.3), kind.ExponentialDecay(0.5, 70, 0.3, staircase=True)
    yield s.inverse_time(0.5, 0.3, 70), kind.InverseTimeDecay(0.5, 70, 0.3)
    yield s.polynomial(0.5, 0.1, 70, 2.5), kind.PolynomialDecay(0.5, 70, 0.1, 2.5)
    yield s.cosine(0.5, 0.1, 70), kind.CosineDecay(0.5, 70, 0.2)
    yield (
        s.warmup(s.cosine(0.5, 0.1, 70), 20),
        kind.CosineDecay(0.0, 70, 0.2, warmup_target=0.5, warmup_steps=20),
    )
    for growth in (1.0, 1.5, 2.0):
        yield (
            s.cosine_restarts(0.5, 0.1, 70, growth),
            kind.CosineDecayRestarts(0.5, 70, growth, alpha=0.2),
        )
    yield (
        s.piecewise_constant([51, 301], [0.2, 0.5, 0.1]),  # a boundary is the last step of a stair
        kind.PiecewiseConstantDecay([50, 300], [0.2, 0.5, 0.1]),
    )


def test_as_keras_computes():
    """Keras computes in float32: the number of a cycle is off by one where one begins anew."""
    keras, jax = pytest.importorskip("keras"), pytest.importorskip("jax")
    if keras.backend.backend() != "jax":
        pytest.skip("Keras computes with another backend than JAX, whose vmap gives all steps")
    t = np.arange(STEPS)
    for ours, theirs in keras_cases(keras.optimizers.schedules):
        wanted = np.broadcast_to(jax.vmap(theirs)(jax.numpy.asarray(t)), t.shape)
        rates = ours(t)
        far = np.abs(rates - wanted) > 2e-5 * wanted.max()
        begins = np.diff(rates, prepend=rates[0]) > 0.3
        assert far.sum() <= 2, ours
        assert not (far & ~begins).any(), ours
