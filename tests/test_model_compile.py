"""What compile takes: losses beside the last layer, optimizers, groups that layers ask for."""

import pickle

import numpy as np
import pytest
from case_ids import named
from model_cases import cube, groups_of, quarter, small

import gdcore as gd
from gdcore import _last_layer
from gdcore.layers import Activation, Dense, Dropout, Input, LayerNorm, Residual
from gdcore.models import Sequential
from gdcore.schedules import by_gradient, cosine, one_cycle, per_epoch, plateau

A = gd.activations


# ---- Loss and last layer -------------------------------------------------------------------------

LOGITS = {name: gd.losses.get(name, from_logits=True)._spec for name in (
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "kl_divergence",
    "categorical_focal_crossentropy",
)}  # fmt: skip
OF_CLASSES = list(LOGITS)[2:]
OF_EVENTS = list(LOGITS)[:2]


def head(last, loss, outputs=3):
    ending = last if isinstance(last, list) else [Dense(outputs, last)]
    model = Sequential([Input(4), *ending])
    model.compile("sgd", loss)
    return (*model._fused_loss(), model._probability_activation())


@pytest.mark.parametrize("name", OF_CLASSES)
def test_losses_of_classes(name):
    logits = LOGITS[name]
    assert head("softmax", name) == (logits, True, None)
    assert head("log_softmax", name) == (logits, True, A.softmax)
    assert head(None, name) == (logits, False, A.softmax)
    assert head(None, gd.losses.get(name)) == (logits, False, A.softmax)
    assert head(None, gd.losses.get(name, from_logits=True)) == (logits, False, A.softmax)
    assert head("tanh", gd.losses.get(name, from_logits=True)) == (logits, False, A.softmax)
    assert head([Dense(3), Activation("softmax")], name) == (logits, True, None)
    assert head([Dense(3), LayerNorm()], name) == (logits, False, A.softmax)
    assert head([Dense(3), Dropout(0.5)], name) == (logits, False, A.softmax)
    assert head([Dense(3, "softmax"), Dropout(0.0)], name) == (logits, True, None)
    assert head(cube, name) == (gd.losses.get(name)._spec, False, None)


@pytest.mark.parametrize("name", OF_EVENTS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_losses_of_events(name, outputs):
    logits = LOGITS[name]
    assert head("sigmoid", name, outputs) == (logits, True, None)
    assert head(None, name, outputs) == (logits, False, A.sigmoid)
    assert head("hard_sigmoid", name, outputs) == (gd.losses.get(name)._spec, False, None)
    assert head(cube, name, outputs) == (gd.losses.get(name)._spec, False, None)


def test_parameters_of_the_loss_are_kept():
    loss = gd.losses.get("sparse_categorical_crossentropy", label_smoothing=0.25, reduction="sum")
    wanted = gd.losses.get(
        "sparse_categorical_crossentropy", label_smoothing=0.25, from_logits=True
    )
    assert head("softmax", loss)[0] == wanted._spec
    model = Sequential([Dense(3, "softmax")])
    model.compile("sgd", loss)
    assert model.loss == loss
    assert model.loss.reduction == "sum"


@pytest.mark.parametrize("name", ["mse", "huber", "hinge", "cosine_similarity"])
@pytest.mark.parametrize("last", [None, "softmax", "sigmoid", "relu"])
def test_other_losses_take_outputs_as_they_are(name, last):
    assert head(last, name) == (gd.losses.get(name)._spec, False, None)


@pytest.mark.parametrize("name", ["poisson", "gamma", "tweedie"])
def test_losses_of_positive_predictions(name):
    """Beside a linear layer the first negative prediction would end the fit by NaN."""
    for last in ("softplus", "sigmoid", np.exp):
        assert head(last, name) == (gd.losses.get(name)._spec, False, None)
    for last in (None, "tanh", "relu"):
        found = f"{name} takes predictions > 0, but the last layer ends with {last or 'linear'}"
        with pytest.raises(ValueError, match=f"{found}; accepted are 'softplus'"):
            head(last, name)
    if name == "poisson":
        with pytest.raises(ValueError, match="or loss='poisson_log_rate' after a linear layer"):
            head(None, name)


def test_a_function_as_loss():
    def own(y_true, y_pred):
        return ((y_true - y_pred) ** 2).sum(axis=1)

    assert head("softmax", own) == (None, False, None)
    model = small()
    model.compile("sgd", own)
    assert model.loss is own
    assert model._loss_kind() == "function"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mse", "values"),
        ("sparse_categorical_crossentropy", "sparse"),
        ("multi_margin", "sparse"),
        ("categorical_crossentropy", "onehot"),
        ("categorical_hinge", "onehot"),
        ("binary_crossentropy", "binary"),
        ("squared_hinge", "signs"),
        ("gaussian_nll", "paired"),
        ("cosine_similarity", "values"),
    ],
)
def test_what_y_holds(name, kind):
    model = small()
    model.compile("sgd", name)
    assert model._loss_kind() == kind


@pytest.mark.parametrize(
    ("last", "loss", "outputs", "message"),
    [
        (None, "sparse_categorical_crossentropy", 1, "an output for each class.*has 1.*'binary_cr"),
        (None, "categorical_crossentropy", 1, "2 or more, but the last layer has 1"),
        (None, "multi_margin", 1, "for two classes with one output take 'hinge'"),
        (None, "gaussian_nll", 1, r"needs 2 outputs.*has 1: end the model with gd\.Dense\(2\)"),
        (None, "gaussian_nll", 3, "needs 2 outputs"),
        ("softmax", "binary_crossentropy", 2, "or loss='categorical_crossentropy' with softmax"),
        ("sigmoid", "categorical_crossentropy", 2, "or loss='binary_crossentropy' with sigmoid"),
        (
            "relu",
            "binary_crossentropy",
            1,
            "ends with relu; accepted is activation='sigmoid', or n",
        ),
        ("tanh", "sparse_categorical_crossentropy", 3, "ends with tanh.*activation='softmax'"),
        ("softmax", "mse", 1, "softmax over one output is constant.*'sigmoid'"),
        (
            "softmax",
            gd.losses.get("categorical_crossentropy", from_logits=True),
            3,
            "ends with softmax, which gives probabilities and not logits; give the loss as 'cat",
        ),
        (
            "sigmoid",
            gd.losses.get("binary_crossentropy", from_logits=True),
            1,
            "ends with sigmoid, which gives probabilities and not logits",
        ),
        ([Dense(3, "softmax"), Dropout(0.5)], "kl_divergence", 3, "Dropout after softmax.*before"),
    ],
)
def test_a_loss_that_does_not_fit(last, loss, outputs, message):
    model = Sequential(last if isinstance(last, list) else [Dense(outputs, last)])
    with pytest.raises(ValueError, match=message):
        model.compile("sgd", loss)
    assert model.optimizer is model.loss is None


def test_a_loss_that_the_width_of_X_decides():
    model = Sequential([Activation("tanh")])
    model.compile("sgd", "gaussian_nll")
    for call in (model.build, model._plan_for):
        with pytest.raises(ValueError, match="needs 2 outputs"):
            call(3)
    assert not model.built
    model.build(2)
    planned = Sequential([Input(1), Residual([Activation("tanh")])])
    with pytest.raises(ValueError, match="needs 2 outputs"):
        planned.compile("sgd", "gaussian_nll")


def test_every_loss_fits_some_last_layer():
    for name in gd.losses.names():
        outputs = 3 if name != "gaussian_nll" else 2
        last = "softplus" if name in _last_layer.OF_POSITIVES else None
        assert head(last, name, outputs)[0] is not None
        assert _last_layer._KINDS.get(name, "values") in (
            "sparse",
            "onehot",
            "binary",
            "signs",
            "paired",
            "values",
        )


# ---- Compile -------------------------------------------------------------------------------------


NO_RULE = ("EMA", "Group", "Optimizer", "clip_by_global_norm")


@pytest.mark.parametrize("kind", [name for name in gd.optimizers.__all__ if name not in NO_RULE])
def test_optimizers_by_name(kind):
    model = small()
    for name in (kind, kind.lower(), kind.upper()):
        model.compile(name, "mse")
        assert model.optimizer == getattr(gd, kind)()
        assert model.optimizer.t == 0


def test_an_optimizers_settings_are_copied():
    own, w = gd.SGD(0.5, momentum=0.9), np.ones(2)
    own.step(w, w.copy())
    model = small()
    model.compile(own, "mse")
    assert model.optimizer == own
    assert model.optimizer is not own
    assert model.optimizer.t == 0
    own.lr = 0.1
    assert model.optimizer.lr == 0.5
    model.optimizer.lr = 0.25
    assert (own.lr, model.clone().optimizer.lr) == (0.1, 0.5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("adm", "mse"), ValueError, "optimizer 'adm' is unknown.*did you mean 'adam'"),
        (
            (gd.Adam, "mse"),
            TypeError,
            r"the class Adam; an optimizer is accepted: gd\.Adam\(\.\.\.\)",
        ),
        ((0.1, "mse"), TypeError, r"optimizer is 0\.1.*gd\.Adam\(1e-3\), or a name"),
        (("adam", "msee"), ValueError, "loss 'msee' is unknown.*did you mean 'mse'"),
        (("adam", None), TypeError, "loss is None; accepted is a name"),
        (("adam", gd.losses.Loss), TypeError, "loss is <class"),
        (
            ("adam", gd.losses.get("mse", reduction="none")),
            ValueError,
            "accepted here is reduction='mean' or 'sum'",
        ),
    ],
)
def test_bad_compile_settings_change_nothing(arguments, error, message):
    model = small()
    model.compile("sgd", "mae")
    optimizer = model.optimizer
    with pytest.raises(error, match=message):
        model.compile(*arguments)
    assert model.optimizer is optimizer
    assert model.loss == gd.losses.mae


def test_arguments_that_compile_does_not_have():
    with pytest.raises(TypeError, match=r"compile: unknown argument lr=.*gd\.Adam\(1e-3\)"):
        small().compile("adam", "mse", lr=0.1)
    with pytest.raises(TypeError, match="unknown argument jit_compile=; accepted: optimizer, loss"):
        small().compile("adam", "mse", jit_compile=True)


def test_metrics_are_objects_of_their_module():
    model = small()
    model.compile("sgd", "mse", "mae")
    assert [metric.name for metric in model.metrics] == ["mae"]
    model.compile("sgd", "mse", ["mae", cube])
    assert len(model.metrics) == 2
    huber = gd.losses.get("huber", delta=2.0)
    for metric in ("mae", huber, cube):
        name = getattr(metric, "name", None) or getattr(metric, "__name__", metric)
        words = rf"two have the name '{name}'; .*: gd\.metrics\.get\(\.\.\., name='{name}_2'\)$"
        with pytest.raises(ValueError, match=words):
            small().compile("sgd", "mse", [metric, metric])
        small().compile("sgd", "mse", [metric, gd.metrics.get(metric, name=f"{name}_2")])
    with pytest.raises(
        TypeError, match=r"gd\.metrics\.get\(gd\.losses\.get\('huber'\), name='h2'\)"
    ):
        gd.losses.get("huber", delta=2.0, name="h2")
    with pytest.raises(ValueError, match="unknown"):
        model.compile("sgd", "mse", ["maee"])
    assert len(model.metrics) == 2


def test_a_model_that_is_not_compiled_says_so():
    model = small()
    for need in (
        model._check_compiled,
        model._fused_loss,
        model._loss_kind,
        model._probability_activation,
    ):
        with pytest.raises(ValueError, match=r"not compiled; model\.compile\(optimizer='adam'"):
            need()


def test_what_changes_after_compile_is_noticed():
    model = Sequential([Dense(4), Dense(2)])
    model.compile("sgd", "mse")
    model._check_compiled()
    model.layers[0].trainable = False
    with pytest.raises(ValueError, match="trainable or lr_scale of a layer was changed since"):
        model._check_compiled()
    model.compile("sgd", "mse")
    model._check_compiled()
    model.add(Dense(1))
    with pytest.raises(ValueError, match="layers were added or taken away since compile"):
        model._check_compiled()
    model.pop()
    model._check_compiled()


# ---- Groups --------------------------------------------------------------------------------------


def test_plain_layers_need_no_groups():
    model = small()
    model.compile(gd.Adam(0.1), "mse")
    assert model.optimizer.groups == []


def test_layers_make_groups_of_parameters():
    limit = gd.constraints.max_norm(1.0)
    model = Sequential(
        [
            Dense(4, trainable=False),
            LayerNorm(),
            Residual([Dense(4, lr_scale=0.5, kernel_constraint=limit)]),
            Dense(4, trainable=False),
            Dense(2, kernel_constraint=limit),
        ]
    )
    model.compile(gd.SGD(0.5, momentum=0.9), "mse")
    assert groups_of(model.optimizer) == [
        {"params": [0, 1, 6, 7], "frozen": True},
        {"params": [4], "lr": 0.25, "constraint": limit},
        {"params": [5], "lr": 0.25},
        {"params": [8], "constraint": limit},
    ]
    assert model.optimizer.momentum == 0.9


def test_a_step_follows_the_groups():
    model = Sequential(
        [
            Input(2),
            Dense(2, kernel_initializer="ones", trainable=False),
            Dense(2, kernel_initializer="ones", lr_scale=0.5),
            Dense(2, kernel_initializer="ones", kernel_constraint=gd.constraints.non_neg()),
        ]
    )
    model.compile(gd.SGD(4.0), "mse")
    params = model.params
    model.optimizer.step(params, [np.ones_like(p) for p in params])
    assert [float(p.flat[0]) for p in params] == [1.0, 0.0, -1.0, -2.0, 0.0, -4.0]


def test_groups_of_the_user_are_merged():
    model = Sequential([Dense(2, lr_scale=0.5), Dense(2)])
    own = gd.SGD(
        0.5,
        groups=[
            {"params": [0], "weight_decay": 0.1},
            {"params": [1], "lr": 0.25},
            {"params": 2, "frozen": True},
        ],
    )
    model.compile(own, "mse")
    assert groups_of(model.optimizer) == [
        {"params": [0], "weight_decay": 0.1, "lr": 0.25},
        {"params": [1], "lr": 0.125},
        {"params": [2], "frozen": True},
    ]
    plain = Sequential([Dense(2)])
    plain.compile(gd.SGD(0.5, groups=[{"params": [1], "lr": 0.25}]), "mse")
    assert groups_of(plain.optimizer) == [{"params": [1], "lr": 0.25}]


@pytest.mark.parametrize(
    ("layer", "optimizer", "message"),
    [
        ({}, gd.SGD(groups=[{"params": ["W"]}]), r"groups\[0\] names 'W'; accepted are positions"),
        ({}, gd.SGD(groups=[{"params": [4]}]), "names position 4, but the model has 4 parameters"),
        ({}, gd.SGD(groups=[{"params": [-1]}]), "names position -1"),
        ({}, gd.SGD(groups=[{"params": [0]}, {"params": [0], "lr": 1.0}]), "is in two groups"),
        (
            {"kernel_constraint": gd.constraints.non_neg()},
            gd.SGD(groups=[{"params": [0], "constraint": gd.constraints.unit_norm()}]),
            r"kernel_constraint=non_neg\(\) but the optimizer's group .*unit_norm\(\); give one",
        ),
        ({"lr_scale": 0.5}, gd.LBFGS(), "lr_scale=0.5, but LBFGS has one step length"),
        ({"kernel_constraint": gd.constraints.non_neg()}, gd.Armijo(), "but Armijo keeps none"),
    ],
)
def test_groups_that_do_not_go_together(layer, optimizer, message):
    model = Sequential([Dense(2, **layer), Dense(2)])
    with pytest.raises(ValueError, match=message):
        model.compile(optimizer, "mse")
    assert model.optimizer is None


def test_what_composed_optimizers_are_asked_for():
    model = Sequential([Dense(2, trainable=False), Dense(2, lr_scale=0.5, trainable=True)])
    model.compile(gd.EMA(gd.SGD(0.5), 0.9), "mse")
    assert model.optimizer.decay == 0.9
    assert groups_of(model.optimizer) == [
        {"params": [0, 1], "frozen": True},
        {"params": [2, 3], "lr": 0.25},
    ]
    model = Sequential([Dense(2, trainable=False), Dense(2)])
    model.compile("lbfgs", "mse")
    assert groups_of(model.optimizer) == [{"params": [0, 1], "frozen": True}]


@pytest.mark.parametrize(
    "lr",
    [0.5, cosine(0.5, 0.1, 10), one_cycle(0.5, 10), per_epoch(cosine(0.5, 0.1, 10), 2), quarter],
    ids=named,
)
def test_rates_times_a_factor(lr):
    model = Sequential([Dense(2, lr_scale=0.5), Dense(2)])
    model.compile(gd.SGD(lr, momentum=0.5), "mse")
    scaled = model.optimizer.groups[0]["lr"]
    if not callable(lr):
        assert scaled == 0.25
        return
    for t in range(12):
        assert scaled(t) == 0.5 * lr(t)
    assert pickle.loads(pickle.dumps(scaled)) == scaled
    assert isinstance(scaled, gd.schedules.Schedule) == isinstance(lr, gd.schedules.Schedule)
    momentum = getattr(lr, "momentum", None)
    assert (getattr(scaled, "momentum", None) is None) == (momentum is None)
    if momentum is not None:
        assert scaled.momentum(3) == momentum(3)


def test_told_rates_times_a_factor():
    model = Sequential([Dense(2, lr_scale=0.5), Dense(2)])
    model.compile(gd.SGD(by_gradient(0.1, 0.5)), "mse")
    assert model.optimizer.groups[0]["lr"] == by_gradient(0.05, 0.25)
    own = plateau(0.5, factor=0.5, patience=0, min_lr=0.1, eps=0.01)
    model.compile(gd.SGD(own), "mse")
    losses = [3.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    np.testing.assert_array_equal(model.optimizer.groups[0]["lr"](losses), 0.5 * own(losses))
    still = Sequential([Dense(2, lr_scale=0)])
    still.compile(gd.SGD(by_gradient(0.1, 0.5)), "mse")
    assert still.optimizer.groups[0]["lr"] == 0.0


def test_a_rate_that_is_set_reaches_the_scaled_layers():
    model = Sequential([Dense(2, lr_scale=0.5), Dense(2, trainable=False), Dense(2)])
    model.compile(gd.EMA(gd.SGD(0.5, groups=[{"params": [5], "lr": 1.0}])), "mse")
    model.optimizer.lr = 0.25
    assert model.optimizer.lr == 0.25
    assert groups_of(model.optimizer) == [
        {"params": [0, 1], "lr": 0.125},
        {"params": [2, 3], "frozen": True},
        {"params": [5], "lr": 1.0},
    ]
    model.optimizer.set_params(lr=gd.schedules.exponential(1.0, 0.5))
    assert model.optimizer.groups[0]["lr"](2) == 0.125
    assert model.optimizer.groups[0]["lr"] is model.optimizer.groups[0]["lr"]


def test_a_layer_s_rate_and_a_limit_of_the_rate():
    model = Sequential([Dense(2, lr_scale=0.5), Dense(2)])
    with pytest.raises(ValueError, match=r"PolyakSGD: lr_scale is 0\.5, but the step's length"):
        model.compile(gd.PolyakSGD(1.0), "mse")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trainable", r"model.layers\[0\].trainable = False, before compile"),
        ("learning_rate", r"model.optimizer.lr = 0.01"),
        ("optimizer", "model.compile chooses it"),
        ("loss", "model.compile chooses it"),
        ("layers", "model.add"),
    ],
)
def test_attributes_of_a_model_that_are_chosen_elsewhere(name, message):
    model = small()
    with pytest.raises(AttributeError, match=f"{name} of a model cannot be set: .*{message}"):
        setattr(model, name, False)
