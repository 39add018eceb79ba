"""Bad input to fit and its relatives: what the errors say, and that nothing has changed."""

import re

import numpy as np
import pytest
from fit_cases import LABELS, ROWS, X, Y, bits, classifier, net, picture, train

import gdcore as gd


def spoiled(a, value=np.nan, place=(3, 1)):
    a = a.astype(float)
    a[place if a.ndim == 2 else place[0]] = value
    return a


def refused(model, call, error, *words):
    """Call, and compare everything of the model with what it was before."""
    before = picture(model)
    with pytest.raises(error) as caught:
        call(model)
    message = str(caught.value)
    for word in words:
        assert re.search(word, message), message
    after = picture(model)
    for name, value in before.items():
        assert after[name] == value, name


@pytest.fixture(params=["drawn", "trained"])
def model(request):
    made = net("adam", metrics=["mae"])
    if request.param == "trained":
        train(made, X, Y, shuffle=True, epochs=2)
    return made


@pytest.fixture(params=["drawn", "trained"])
def classes(request):
    made = classifier("adam", ["accuracy"])
    if request.param == "trained":
        train(made, X, LABELS, shuffle=True, epochs=2)
    return made


# ---- Data ----------------------------------------------------------------------------------------

BAD_X = [
    (lambda: X[:, :2], ValueError, "X has 2 columns but the model takes rows of 3"),
    (lambda: X[:, 0], ValueError, r"X has shape \(70,\).*X\[:, None\]"),
    (lambda: X[0, 0], ValueError, "X is the number.*rows are accepted"),
    (lambda: X[None], ValueError, r"X has shape \(1, 70, 3\).*X\.reshape\(len\(X\), -1\)"),
    (lambda: X[:0], ValueError, r"X is empty: it has shape \(0, 3\)"),
    (lambda: X[:, :0], ValueError, r"X is empty: it has shape \(70, 0\)"),
    (lambda: spoiled(X), ValueError, "X holds nan in row 3, column 1; finite.*leave such rows out"),
    (lambda: spoiled(X, np.inf), ValueError, "X holds inf in row 3, column 1"),
    (lambda: spoiled(X, -np.inf), ValueError, "X holds -inf in row 3, column 1"),
    (lambda: X.astype(np.float16), TypeError, r"X has dtype float16.*X\.astype\(np\.float64\)"),
    (lambda: X.astype(complex), TypeError, r"X has dtype complex128; float.*X\.real, np\.abs\(X\)"),
    (lambda: {"a": X[:, 0]}, TypeError, r"X is dict; .*np\.column_stack\(\[\*X\.values\(\)\]\)"),
    (object, TypeError, "X is object; an array, or what NumPy reads as one, is accepted"),
    (lambda: iter([(X, Y)]), TypeError, r"X is list_iterator; .*model\.fit\(batches\)"),
    (lambda: X.astype(str), TypeError, "X has dtype <U.*numbers are accepted"),
    (lambda: X.astype(object), TypeError, "X has dtype object"),
    (lambda: X.astype(">f8"), TypeError, "other byte order"),
    (lambda: np.ma.masked_array(X, X > 9), TypeError, "X is a masked array"),
    (lambda: [[1.0, 2.0, 3.0], [1.0]], ValueError, "X cannot be read as an array of numbers"),
    (lambda: None, TypeError, "X is None; an array is accepted"),
]
BAD_Y = [
    (lambda: Y[:5], ValueError, "y has 5 rows but X has 70"),
    (lambda: Y[:, :1], ValueError, r"y has shape \(70, 1\); \(70, 2\) is accepted"),
    (lambda: Y[:, 0], ValueError, r"y has shape \(70,\); \(70, 2\) is accepted"),
    (lambda: 3.0, ValueError, "y is the number 3.0; one target for each row"),
    (lambda: spoiled(Y), ValueError, "y holds nan in row 3, column 1; finite numbers"),
    (lambda: spoiled(Y, np.inf), ValueError, "y holds inf in row 3, column 1"),
    (lambda: Y.astype(str), TypeError, "y has dtype <U.*return_inverse=True"),
    (
        lambda: iter(Y),
        TypeError,
        r"y is \w*iterator; an array with all rows .*np\.array\(\[\*y\]\)",
    ),
    (lambda: None, TypeError, "y is None"),
]
BAD_LABELS = [
    (lambda: LABELS + 1, "y holds the class 4 in row .*0 to 3 are accepted.*begin with 1"),
    (lambda: LABELS - 1, "y holds the class -1 in row .*0 to 3 are accepted"),
    (lambda: LABELS + 0.5, r"y holds the class \d\.5 in row 0; whole numbers 0 to 3"),
    (lambda: np.eye(4)[LABELS], r"y has shape \(70, 4\); class numbers.*categorical_crossentropy"),
    (lambda: spoiled(LABELS), r"y holds the class nan in row 3.*isfinite\(y\); y\[keep\], X\[keep"),
    (lambda: LABELS[:-1], "y has 69 rows but X has 70"),
]
CALLS = {
    "fit": lambda m, x, y: m.fit(x, y, verbose=0),
    "evaluate": lambda m, x, y: m.evaluate(x, y),
    "value_and_grad": lambda m, x, y: m.value_and_grad(x, y),
    "train_on_batch": lambda m, x, y: m.train_on_batch(x, y),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("make", "error", "message"), BAD_X)
def test_bad_X(make, error, message, call, model):
    refused(model, lambda m: CALLS[call](m, make(), Y), error, message)


@pytest.mark.parametrize(("make", "error", "message"), BAD_X)
def test_bad_X_of_predict(make, error, message, model):
    refused(model, lambda m: m.predict(make()), error, message)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("make", "error", "message"), BAD_Y)
def test_bad_y(make, error, message, call, model):
    refused(model, lambda m: CALLS[call](m, X, make()), error, message)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("make", "message"), BAD_LABELS)
def test_bad_labels(make, message, call, classes):
    refused(classes, lambda m: CALLS[call](m, X, make()), ValueError, message)


def test_labels_of_two_classes():
    model = net(loss="binary_crossentropy", layers=[gd.Dense(1)])
    for y, message in [
        (np.where(LABELS > 1, 1, -1), r"y holds -1 in row .*\(y \+ 1\) / 2.*hinge"),
        (np.where(LABELS > 1, 1, 2), "y holds 2 in row .*0 to 1 is accepted.*sparse_categorical"),
    ]:
        refused(model, lambda m, y=y: m.fit(X, y, verbose=0), ValueError, message)


@pytest.mark.parametrize(
    ("pair", "error", "message"),
    [
        (lambda: X, TypeError, r"validation_data is ndarray; a tuple \(X, y\)"),
        (lambda: (X,), TypeError, r"validation_data is tuple of 1; a tuple \(X, y\)"),
        (lambda: (X[:, :1], Y), ValueError, r"validation_data\[0\] has 1 columns but the model"),
        (lambda: (X, Y[:4]), ValueError, r"validation_data\[1\] has 4 rows"),
        (lambda: (spoiled(X), Y), ValueError, r"validation_data\[0\] holds nan in row 3, column 1"),
        (lambda: (X, spoiled(Y)), ValueError, r"validation_data\[1\] holds nan in row 3, column 1"),
        (lambda: (X[:0], Y[:0]), ValueError, r"validation_data\[0\] is empty"),
        (lambda: (X, Y, -np.ones(ROWS)), ValueError, r"validation_data\[2\] holds -1\.0 in row 0"),
        (lambda: (X, Y, np.ones(3)), ValueError, r"validation_data\[2\] has 3 rows"),
    ],
)
def test_bad_validation_data(pair, error, message, model):
    refused(model, lambda m: m.fit(X, Y, validation_data=pair(), verbose=0), error, message)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (lambda: np.ones(3), ValueError, "sample_weight has 3 rows but X has 70"),
        (lambda: 2.0, ValueError, "sample_weight is the number 2.0; one weight for each row"),
        (lambda: np.ones((ROWS, 2)), ValueError, r"sample_weight has shape \(70, 2\)"),
        (lambda: -np.ones(ROWS), ValueError, "sample_weight holds -1.0 in row 0; finite numbers"),
        (lambda: spoiled(np.ones(ROWS)), ValueError, "sample_weight holds nan in row 3"),
        (lambda: np.zeros(ROWS), ValueError, "all rows weigh 0"),
        (lambda: np.array(["a"] * ROWS), TypeError, "sample_weight has dtype <U1"),
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_bad_sample_weight(weights, error, message, call, model):
    settings = {"verbose": 0} if call == "fit" else {}
    refused(
        model, lambda m: getattr(m, call)(X, Y, sample_weight=weights(), **settings), error, message
    )


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ({4: 1.0}, ValueError, "class_weight has the key 4; accepted are the classes: 0, 1, 2, 3"),
        ({0: -1.0}, ValueError, r"class_weight\[0\] is -1\.0; a finite number >= 0"),
        ({0: np.nan}, ValueError, r"class_weight\[0\] is nan"),
        ("balance", ValueError, "class_weight is 'balance'; accepted is 'balanced', a dict"),
        ([1, 2, 3, 4], TypeError, r"class_weight is \[1, 2, 3, 4\]; accepted is a dict"),
        (dict.fromkeys(range(4), 0), ValueError, "all rows weigh 0"),
    ],
)
def test_bad_class_weight(weights, error, message, classes):
    refused(classes, lambda m: m.fit(X, LABELS, class_weight=weights, verbose=0), error, message)


def test_class_weight_without_classes(model):
    words = "class_weight needs a loss of classes, but the model's is 'mse'.*give sample_weight"
    refused(model, lambda m: m.fit(X, Y, class_weight="balanced", verbose=0), ValueError, words)


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        ("mse", "'mse', for which y is numbers"),
        (lambda a, b: ((a - b) ** 2).mean(axis=1), "a function of yours, for which y may be any"),
    ],
)
def test_class_weight_names_the_loss_as_the_reason(loss, found):
    model, y = net(loss=loss, layers=[gd.Dense(1)]), (LABELS > 1).astype(int)
    words = f"class_weight needs a loss of classes, but the model's is {found}.*cross-entropy or a"
    for call in (
        lambda m: m.fit(X, y, class_weight={0: 1, 1: 5}, verbose=0),
        lambda m: m.train_on_batch(X, y, class_weight={0: 1, 1: 5}),
        lambda m: gd.find_lr(m, X, y, class_weight={0: 1, 1: 5}),
    ):
        refused(model, call, ValueError, words, "or give sample_weight, one weight")


# ---- Arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size is 0; an integer >= 1 is accepted"),
        ({"batch_size": 2.5}, TypeError, r"batch_size is 2\.5; an integer >= 1.*None is the full"),
        ({"batch_size": "all"}, TypeError, "batch_size is 'all'"),
        ({"batch_size": True}, TypeError, "batch_size is True"),
        ({"epochs": -1}, ValueError, "epochs is -1; an integer >= 0 is accepted"),
        ({"epochs": 1.0}, TypeError, r"epochs is 1\.0; an integer >= 0 is accepted"),
        ({"epochs": None}, TypeError, "epochs is None"),
        ({"initial_epoch": -1}, ValueError, "initial_epoch is -1"),
        ({"initial_epoch": "0"}, TypeError, "initial_epoch is '0'"),
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch is 0"),
        ({"steps_per_epoch": 1.5}, TypeError, r"steps_per_epoch is 1\.5"),
        ({"steps_per_epoch": 4}, ValueError, "steps_per_epoch is 4 but 70 rows.*give 3; 1 to 3"),
        ({"shuffle": "batch"}, TypeError, "shuffle is 'batch'; True and False are accepted"),
        ({"shuffle": 1}, TypeError, "shuffle is 1; True and False"),
        ({"drop_last": None}, TypeError, "drop_last is None"),
        ({"drop_last": True, "batch_size": 71}, ValueError, "leaves no batch.*71.*70 rows"),
        ({"stratify": 0.3}, TypeError, r"stratify is 0\.3"),
        ({"stratify": True}, ValueError, "stratify=True needs validation_split > 0"),
        (
            {"stratify": True, "validation_split": 0.2},
            ValueError,
            "stratify=True needs a loss of classes, but .*'mse'.*, or leave it out: the last rows",
        ),
        ({"verbose": 3}, ValueError, "verbose is 3; accepted are 0"),
        ({"verbose": "no"}, ValueError, "verbose is 'no'; accepted are 0"),
        ({"validation_split": 1.0}, ValueError, r"validation_split is 1\.0; a number in \[0, 1\)"),
        ({"validation_split": -0.1}, ValueError, r"validation_split is -0\.1"),
        ({"validation_split": np.nan}, ValueError, "validation_split is nan"),
        ({"validation_split": 0.999}, ValueError, "leaves 0 rows for training and 70 for valid"),
        ({"validation_split": "0.1"}, TypeError, r"validation_split is '0\.1'"),
        ({"validation_split": True}, TypeError, "validation_split is True"),
        ({"validation_split": None}, TypeError, "validation_split is None"),
        (
            {"validation_split": 0.1, "validation_data": (X, Y)},
            ValueError,
            "validation_split and validation_data are both given; give one",
        ),
        ({"callbacks": 3}, TypeError, r"callbacks\[0\] is 3"),
        ({"callbacks": [3]}, TypeError, r"callbacks\[0\] is 3; accepted are objects of classes"),
        ({"callbacks": [print]}, TypeError, r"callbacks\[0\] is <built-in function print>"),
        ({"callbacks": [gd.EarlyStopping]}, TypeError, r"is the class EarlyStopping.*EarlyStop"),
        ({"seed": -1}, ValueError, "seed is -1; accepted is a numpy.random.Generator or an int"),
        ({"seed": 1.5}, TypeError, r"seed is 1\.5"),
        ({"seed": "a"}, TypeError, "seed is 'a'"),
        ({"on_nonfinite": "skip"}, ValueError, "accepted are 'raise' and 'stop'.*optimizer on_non"),
        ({"on_nonfinite": None}, ValueError, "on_nonfinite is None; accepted are"),
        ({"resume": 1}, TypeError, "resume is 1; True and False are accepted"),
        ({"batch_order": [1, 2]}, TypeError, r"batch_order is \[1, 2\]; accepted is a function"),
        ({"learning_rate": 0.1}, TypeError, r"argument learning_rate=.*gd\.Adam\(1e-3\)"),
        ({"n_epochs": 5}, TypeError, "argument n_epochs=.*here it is epochs"),
        ({"random_state": 5}, TypeError, "argument random_state=.*here it is seed"),
        ({"epoch": 5}, TypeError, "unknown argument epoch=; accepted: X, y, batch_size, epochs"),
    ],
    ids=str,
)
def test_bad_arguments(settings, error, message, model):
    refused(model, lambda m: m.fit(X, Y, **{"verbose": 0, **settings}), error, message)


def test_a_callback_that_watches_what_the_fit_has_not(model):
    stop = gd.EarlyStopping(monitor="val_los")
    with pytest.raises(ValueError, match=r"monitor is 'val_los'.*accepted are 'loss', 'mae'"):
        train(model, X, Y, callbacks=[stop])


@pytest.mark.parametrize("name", ["LBFGS", "Armijo"])
def test_line_searches_take_all_rows(name):
    model = net(getattr(gd, name)())
    words = f"{name} looks at the loss of all rows; batch_size=None is accepted, 32 found"
    refused(model, lambda m: m.fit(X, Y, verbose=0), ValueError, words)
    refused(
        net(gd.EMA(getattr(gd, name)())), lambda m: m.fit(X, Y, verbose=0), ValueError, "all rows"
    )


# ---- Models --------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_a_model_that_is_not_compiled(call):
    bare = gd.Sequential([gd.Input(3), gd.Dense(2)])
    words = "the model is not compiled; model.compile"
    refused(bare, lambda m: CALLS[call](m, X, Y), ValueError, words)


@pytest.mark.parametrize("call", CALLS)
def test_a_model_without_layers(call):
    empty = gd.Sequential([gd.Input(3)])
    empty.compile("sgd", "mse")
    refused(empty, lambda m: CALLS[call](m, X, Y), ValueError, r"no layers; model\.add\(gd\.Dense")


def test_a_model_that_was_changed_since_compile():
    model = gd.Sequential([gd.Input(3), gd.Dense(2)])
    model.compile("sgd", "mse")
    model.add(gd.Dense(2))
    refused(model, lambda m: m.fit(X, Y), ValueError, "since compile; call model.compile again")
    model.compile("sgd", "mse")
    model.layers[0].trainable = False
    refused(model, lambda m: m.fit(X, Y), ValueError, "trainable or lr_scale.*compile again")


@pytest.mark.parametrize("data", [(X, Y), ([(X, Y)],)], ids=["arrays", "batches"])
def test_a_callback_that_changes_what_compile_takes(data):
    model = gd.Sequential([gd.Input(3), gd.Dense(2)])
    model.compile("sgd", "mse")

    def freeze(epoch, logs):
        model.layers[0].trainable = False

    note = gd.LambdaCallback(on_epoch_end=freeze)
    with pytest.raises(ValueError, match="trainable or lr_scale of a layer was changed"):
        model.fit(*data, epochs=3, verbose=0, callbacks=[note])
    assert model.history.epoch == [0]


def test_a_callback_that_compiles():
    model = gd.Sequential([gd.Input(3), gd.Dense(2)])
    model.compile("sgd", "mse")
    again = gd.LambdaCallback(on_epoch_end=lambda epoch, logs: model.compile("adam", "mae"))
    with pytest.raises(RuntimeError, match="in the middle of a fit"):
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[again])
    assert model.loss == gd.losses.mse


@pytest.mark.parametrize("call", [*CALLS, "predict"])
def test_bad_data_do_not_build_a_model(call):
    model = gd.Sequential([gd.Dense(2)])
    model.compile("sgd", "mse")
    calls = {**CALLS, "predict": lambda m, x, y: m.predict(x)}
    refused(model, lambda m: calls[call](m, spoiled(X), Y), ValueError, "X holds nan")
    if call != "predict":
        refused(model, lambda m: calls[call](m, X, Y[:, :1]), ValueError, "y has shape")


@pytest.mark.parametrize(
    ("layers", "loss", "message"),
    [
        ([gd.Dense(1)], "sparse_categorical_crossentropy", "needs an output for each class"),
        ([gd.Dense(1, "softmax")], "mse", "1 output, and softmax over one output is constant"),
        ([gd.Dense(3, "relu")], "categorical_crossentropy", "ends with relu; accepted is"),
        ([gd.Dense(3, "sigmoid")], "categorical_crossentropy", "binary_crossentropy' with sigmoid"),
        ([gd.Dense(3)], "gaussian_nll", "needs 2 outputs"),
        ([gd.Dense(3)], "msee", "msee.*mse"),
        ([gd.Dense(3)], gd.losses.get("mse", reduction="none"), "reduction='mean' or 'sum'"),
    ],
)
def test_losses_that_do_not_fit_the_last_layer(layers, loss, message):
    model = gd.Sequential([gd.Input(3), *(type(one)(one.units, one.activation) for one in layers)])
    refused(model, lambda m: m.compile("sgd", loss), ValueError, message)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("adm", "mse"), ValueError, "'adm' is unknown.*adam"),
        (("adam", "mse", ["acuracy"]), ValueError, "acuracy.*accuracy"),
        (("adam", "mean_squared_eror"), ValueError, "mean_squared_error"),
        ((gd.Adam, "mse"), TypeError, "optimizer is the class Adam"),
        ((0.1, "mse"), TypeError, r"optimizer is 0\.1; accepted is an optimizer"),
        (("adam", 3), TypeError, "loss is 3; accepted is a name"),
    ],
)
def test_bad_compile(arguments, error, message, model):
    refused(model, lambda m: m.compile(*arguments), error, message)


# ---- Resume --------------------------------------------------------------------------------------


def test_there_must_be_a_fit_to_resume():
    words = "resume=True, but the model has no fit to go on with"
    refused(net(), lambda m: m.fit(X, Y, resume=True), ValueError, words)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 0}, "seed is given with resume=True"),
        ({"batch_size": 7}, "had 70 rows to train on in 3 batches of 32; 70 in 10 of 7 were given"),
        ({"validation_split": 0.5}, "had 70 rows to train on.*35 in 2 of 32"),
        ({"steps_per_epoch": 1}, "70 in 1 of 32 were given"),
        ({"drop_last": True}, "70 in 2 of 32 were given"),
    ],
)
def test_a_fit_is_resumed_as_it_was(settings, message):
    model = net("adam")
    train(model, X, Y, epochs=2)
    call = {"epochs": 4, "resume": True, "verbose": 0, **settings}
    refused(model, lambda m: m.fit(X, Y, **call), ValueError, message)


def test_data_of_another_length_are_not_resumed():
    model = net("adam")
    train(model, X, Y, epochs=2)
    call = {"epochs": 4, "resume": True, "verbose": 0}
    refused(model, lambda m: m.fit(X[:64], Y[:64], **call), ValueError, "the fit had 70 rows")


def test_a_refused_fit_can_be_resumed_still():
    model, twin = net("adam"), net("adam")
    train(model, X, Y, epochs=2, shuffle=True)
    with pytest.raises(ValueError, match="X holds nan"):
        train(model, spoiled(X), Y, epochs=4, shuffle=True)
    train(model, X, Y, epochs=4, shuffle=True, resume=True)
    train(twin, X, Y, epochs=4, shuffle=True)
    assert bits(model) == bits(twin)


# ---- During a fit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order",
    [
        lambda epoch: [1, 2],
        lambda epoch: np.arange(ROWS) + 1,
        lambda epoch: np.arange(ROWS) - 1,
        lambda epoch: np.arange(ROWS, dtype=float),
        lambda epoch: np.ones(ROWS, bool),
        lambda epoch: None,
    ],
)
def test_a_bad_order_takes_no_step(order):
    model = net("adam")
    before = bits(model)
    with pytest.raises(ValueError, match=r"batch_order\(0\) returned .*70 row numbers"):
        train(model, X, Y, batch_order=order)
    assert bits(model) == before
    assert model.optimizer.t == 0


@pytest.mark.parametrize(("add", "found"), [(1, "70 at place 69"), (-1, "-1 at place 0")])
def test_an_order_names_the_row_that_there_is_not(add, found):
    words = rf"batch_order\(0\) returned the row number {found}; accepted are 70 row numbers from 0"
    with pytest.raises(ValueError, match=words):
        train(net(), X, Y, batch_order=lambda epoch: np.arange(ROWS) + add)


def test_an_order_that_goes_bad_keeps_the_epochs_before_it():
    model, twin = net("adam"), net("adam")
    with pytest.raises(ValueError, match=r"batch_order\(2\) returned int64 of shape \(3,\)"):
        train(model, X, Y, epochs=5, batch_order=lambda e: np.arange(ROWS if e < 2 else 3))
    train(twin, X, Y, epochs=2)
    assert bits(model) == bits(twin)
    assert model.history.epoch == [0, 1]
    train(model, X, Y, epochs=5, resume=True)
    train(twin, X, Y, epochs=5, resume=True)
    assert bits(model) == bits(twin)


def test_an_error_of_a_callback_keeps_what_was_done():
    def fail(epoch, logs):
        raise RuntimeError("mine")

    model, twin = net("adam"), net("adam")
    with pytest.raises(RuntimeError, match="mine"):
        train(model, X, Y, epochs=5, callbacks=[gd.LambdaCallback(on_epoch_end=fail)])
    train(twin, X, Y, epochs=1)
    assert bits(model) == bits(twin)
    for one in (model, twin):
        train(one, X, Y, epochs=3, resume=True)
    assert bits(model) == bits(twin)
    assert model.history.epoch == twin.history.epoch == [0, 1, 2]
