"""Losses as they are called: shapes, types, class numbers, objects, names, parameters."""

import copy
import pickle

import numpy as np
import pytest
from loss_cases import LOGITS, ROWS, case, kind_of, loss_of, same_bits, settings_of

import gdcore as gd

each_row = pytest.mark.parametrize("row", ROWS)


# ---- Shapes and types ----------------------------------------------------------------------------


@each_row
def test_axes_of_length_one(row, dtype, rng):
    """(n,) against (n, 1) is n losses, never n times n."""
    if kind_of(row) == "pointwise":
        target, pred = case(row, (9,), dtype, rng)
        pairs = [(target, pred), (target, pred[:, None]), (target[:, None], pred)]
        pairs += [(target[None, :], pred[:, None]), (target[:, None, None], pred[None, :])]
    else:
        target, pred = case(row, (9, 4), dtype, rng)
        pairs = [(target, pred), (target[:, None], pred), (target[None], pred)]
        pairs += [(target, pred[:, None, :]), (target[:, None], pred[None])]
    results = [loss_of(row, "sum").value_and_grad(*pair) for pair in pairs]
    for (value, dy), (_, y_pred) in zip(results, pairs, strict=True):
        assert same_bits(value, results[0][0])
        assert same_bits(dy, results[0][1].reshape(y_pred.shape))


@each_row
def test_other_shapes_are_refused(row, rng):
    target, pred = case(row, (6, 4), np.dtype(np.float64), rng)
    loss = loss_of(row)
    bad = [target[:5], target[:1], np.stack([target, target]), target[0], target.T[:3]]
    if kind_of(row) == "paired":
        bad += [np.stack([target, target], axis=-1)]
    for y_true in bad:
        with pytest.raises(ValueError, match=r"y_true has shape \(.*y_pred's shape.*nothing is"):
            loss(y_true, pred)
    for count in 1, 5, 7, 12:
        with pytest.raises(ValueError, match=rf"sample_weight has {count} elements; .* 6 rows"):
            loss(target, pred, np.ones(count))


@each_row
def test_numbers_and_lists(row, dtype, rng):
    target, pred = case(row, (5, 3), dtype, rng)
    expected = loss_of(row).value_and_grad(target, pred)
    for y_true in target.tolist(), tuple(target.tolist()):
        for value, array in zip(loss_of(row).value_and_grad(y_true, pred), expected, strict=True):
            assert same_bits(value, array)
    value, dy = loss_of(row).value_and_grad(target.tolist(), pred.tolist())
    assert value.dtype == dy.dtype == np.float64
    if kind_of(row) == "paired":
        with pytest.raises(ValueError, match=r"y_pred has shape \(\); a last axis of length 2"):
            loss_of(row)(0.0, 0.5)
        return
    zero = 0 if kind_of(row) == "sparse" else 0.0
    for number, kind in (0.5, np.float64), (np.float32(0.5), np.float32), (1, np.float64):
        value, dy = loss_of(row).value_and_grad(zero, number)
        assert type(value) is type(dy) is kind


@each_row
def test_targets_of_whole_numbers(row, dtype, rng):
    """Integers and booleans are read in y_pred's type: binary labels, one-hot rows, classes."""
    target, pred = case(row, (40, 2), dtype, rng)
    expected = loss_of(row)(target, pred)
    for code in "?bBhHiIlLqQfd":
        if code in "fd" and kind_of(row) != "sparse":
            continue
        if not np.array_equal(target.astype(code), target):
            continue
        assert same_bits(loss_of(row)(target.astype(code), pred), expected)


@each_row
def test_types_do_not_mix(row, dtype, rng):
    target, pred = case(row, (5, 3), dtype, rng)
    other = np.dtype(np.float64 if dtype == np.float32 else np.float32)
    loss = loss_of(row)
    if kind_of(row) != "sparse":
        with pytest.raises(TypeError, match=rf"y_true is {other} but y_pred is {dtype}"):
            loss(target.astype(other), pred)
    with pytest.raises(TypeError, match=rf"sample_weight is {other} but y_pred is {dtype}"):
        loss(target, pred, np.ones(5, other))
    for refused in np.float16, np.longdouble, np.complex128, object:
        with pytest.raises(TypeError, match="y_pred has dtype"):
            loss(target, pred.astype(refused))
        with pytest.raises(TypeError, match="sample_weight has dtype"):
            loss(target, pred, np.ones(5).astype(refused))
        with pytest.raises(TypeError, match="y_true has dtype"):
            loss(target.astype(refused), pred)
    with pytest.raises(TypeError, match="masked"):
        loss(target, np.ma.masked_array(pred, mask=pred > 0))


@each_row
def test_any_memory_order(row, dtype, rng):
    target, pred = case(row, (24, 6), dtype, rng)
    weights = rng.uniform(size=24).astype(dtype)
    views = [
        (target[::2], pred[::2], weights[::2]),
        (target[::-1], pred[::-1], weights[::-1]),
        (np.asfortranarray(target), np.asfortranarray(pred), weights),
        (np.repeat(target, 2, axis=0)[::2], pred.T.copy().T, np.repeat(weights, 2)[::2]),
    ]
    for view in views:
        packed = [array.copy(order="C") for array in view]
        for array in view:
            array.flags.writeable = False
        value, dy = loss_of(row).value_and_grad(*view)
        expected, expected_dy = loss_of(row).value_and_grad(*packed)
        assert same_bits(value, expected)
        assert same_bits(dy, expected_dy)
        assert dy.flags.c_contiguous
        assert all(map(same_bits, view, packed))


# ---- Class numbers -------------------------------------------------------------------------------

sparse_rows = pytest.mark.parametrize("row", [row for row in ROWS if kind_of(row) == "sparse"])


@sparse_rows
@pytest.mark.parametrize(
    ("label", "found"),
    [
        (3, "the class number 3"),
        (-1, "the class number -1"),
        (np.iinfo(np.int64).min, "the class number -9223372036854775808"),
        (np.uint64(2**64 - 1), "the class number 18446744073709551615"),
        (2.5, "2.5"),
        (np.nan, "nan"),
        (np.inf, "inf"),
        (-1e300, "-1e[+]300"),
        (-0.5, "-0.5"),
    ],
)
def test_what_is_no_class(row, label, found):
    labels = np.zeros((4, 1), np.asarray(label).dtype)
    labels[2] = label
    with pytest.raises(ValueError, match=rf"y_true holds {found} at position 2"):
        loss_of(row)(labels, np.full((4, 3), 0.5))
    if not isinstance(label, np.uint64):
        with pytest.raises(ValueError, match=r"at position 0"):
            loss_of(row)([label], [[0.5, 0.2, 0.3]])


@sparse_rows
def test_names_are_no_classes(row):
    with pytest.raises(TypeError, match="y_true has dtype <U3; class numbers are integers"):
        loss_of(row)(["cat", "dog"], np.full((2, 2), 0.5))


# ---- The objects ---------------------------------------------------------------------------------


@each_row
def test_objects(row, rng):
    """Pickles, copies and what repr shows are the same loss; others are not."""
    target, pred = case(row, (4, 3), np.dtype(np.float64), rng)
    kinds = [(k, params) for k in gd.losses.REDUCTIONS for params in settings_of(row)]
    losses = [loss_of(row, kind, **params) for kind, params in kinds]
    for loss, (_, params) in zip(losses, kinds, strict=True):
        for other in pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), eval(repr(loss)):
            assert other == loss
            assert hash(other) == hash(loss)
            assert other.params == loss.params == {**ROWS[row]["params"], **params}
            assert same_bits(other(target, pred), loss(target, pred))
        assert sum(loss == other for other in losses) == 1
        assert loss != row
    assert all(loss_of(other) != loss_of(row) for other in ROWS if other != row)


# Names of Keras and scikit-learn that are the same function here.
PEERS = """
    MeanSquaredError mean_squared_error mse MSE MeanAbsoluteError mean_absolute_error mae MAE Huber
    huber LogCosh log_cosh Poisson poisson BinaryCrossentropy binary_crossentropy bce BCE
    BinaryFocalCrossentropy binary_focal_crossentropy CategoricalCrossentropy
    categorical_crossentropy SparseCategoricalCrossentropy sparse_categorical_crossentropy
    CategoricalFocalCrossentropy categorical_focal_crossentropy KLDivergence kl_divergence kld KLD
    CosineSimilarity cosine_similarity Hinge hinge SquaredHinge squared_hinge CategoricalHinge
    categorical_hinge squared_error absolute_error log_loss perceptron modified_huber
    epsilon_insensitive squared_epsilon_insensitive quantile pinball gamma
"""


def test_names():
    get, names = gd.losses.get, gd.losses.names()
    assert names == [row for row in ROWS if not row.endswith(LOGITS)]
    for name in names:
        short = [name, *ROWS[name]["aliases"].split()]
        camel = ["".join(part.capitalize() for part in each.split("_")) for each in short]
        for other in short + camel + [each.upper() for each in short]:
            if other in short or other.lower().replace("_", "") not in "kldivergence":
                assert get(other) == gd.losses.Loss(name)
        for other in filter(str.islower, short):
            assert getattr(gd.losses, other) == get(name)
            assert other in dir(gd.losses)
    for name in PEERS.split():
        assert get(name).name in names


def test_get():
    get = gd.losses.get
    assert get(gd.losses.mse) is gd.losses.mse
    assert get("bce", from_logits=True, reduction="sum").from_logits is True
    for name, near in ("msee", "mse"), ("binary_cross_entropy", "binary_crossentropy"):
        with pytest.raises(ValueError, match=rf"'{name}' is unknown; accepted: mse.*'{near}'"):
            get(name)
    with pytest.raises(AttributeError, match="did you mean 'mse'"):
        _ = gd.losses.mze
    for other in None, 3, np.zeros(3), len:
        with pytest.raises(TypeError, match="a name or a loss"):
            get(other)
    with pytest.raises(TypeError, match=r"has its settings.*get\('mse', reduction=\.\.\.\)"):
        get(gd.losses.mse, reduction="sum")
    for name in "mse", "half_mse":
        with pytest.raises(
            TypeError, match=rf"{name} has no from_logits=; .*: binary_crossentropy,"
        ):
            get(name, from_logits=True)
    for reduction in "avg", None, "MEAN":
        with pytest.raises(ValueError, match=r"reduction is .*; accepted: mean, sum, none"):
            get("mse", reduction=reduction)


# ---- Parameters ----------------------------------------------------------------------------------

OUTSIDE = {
    "positive": [0, -1],
    "open unit": [0, 1, -0.5],
    "non-negative": [-1e-300],
    "unit": [1, -0.5],
    "at least one": [0, 0.999],
    "boolean": [],
}


@each_row
def test_parameters_are_checked(row):
    """Names, with the nearest one, types and values, by the domain of the table."""
    known = ["reduction", "from_logits", *ROWS[row]["params"]]
    with pytest.raises(TypeError, match=f"unknown argument zeal=; accepted: {', '.join(known)}"):
        loss_of(row, zeal=1.0)
    for name, domain in ROWS[row]["domains"].items():
        boolean = domain == "boolean"
        with pytest.raises(TypeError, match=rf"{name}x=; .*; did you mean '{name}'\?"):
            loss_of(row, **{name + "x": 0.5})
        for value in "1", None, [0.5], np.ones(2), 1j, 0.5 if boolean else True:
            with pytest.raises(TypeError, match=rf"{name} is .*; (a number|True or False) is"):
                loss_of(row, **{name: value})
        for value in OUTSIDE[domain] if boolean else [*OUTSIDE[domain], np.nan, np.inf, -np.inf]:
            with pytest.raises(ValueError, match=rf"{row}: {name} is {float(value)!r}; a .*number"):
                loss_of(row, **{name: value})
    for params in settings_of(row)[1:]:
        cast = {k: np.float32(v) if type(v) is float else np.bool_(v) for k, v in params.items()}
        assert loss_of(row, **cast).params == {k: type(v)(cast[k]) for k, v in params.items()}


def test_an_alias_of_logits_has_the_parameters_of_its_loss():
    for row in ROWS:
        if row.endswith(LOGITS):
            assert ROWS[row]["params"] == ROWS[row.removesuffix(LOGITS)]["params"]


@each_row
def test_linear_models_take_every_loss(row, dtype, rng):
    """The fused pass is the loss of the layer's output, with any parameters."""
    for params in settings_of(row):
        for m in (2,) if kind_of(row) == "paired" else (2, 5):
            loss = loss_of(row, **params)
            target, _ = case(row, (600, m), dtype, rng, soft=True)
            mix, b = (0.1 * rng.normal(size=shape) for shape in ((3, m), m))
            X, W, b = (x.astype(dtype) for x in (rng.random((600, 3)), np.abs(mix), np.abs(b)))
            value, (dW, db) = gd.linear_value_and_grad(X, target, W, b, loss)
            expected, dy = loss.value_and_grad(target, gd.dense(X, W, b))
            _, expected_dW, expected_db = gd.dense_grad(dy, X, W)
            rtol, size = 64 * np.finfo(dtype).eps, np.abs(dy).sum()
            np.testing.assert_allclose(value, expected, rtol=rtol)
            np.testing.assert_allclose(dW, expected_dW, atol=rtol * size)
            np.testing.assert_allclose(db, expected_db, atol=rtol * size)


def test_pairs_need_two_outputs(rng):
    X, t = rng.random((4, 2)), rng.random(4)
    with pytest.raises(
        ValueError, match=r"gaussian_nll reads two outputs a row: W of shape \(k, 2\)"
    ):
        gd.linear_value_and_grad(X, t, np.ones((2, 3)), np.ones(3), "gaussian_nll")
    with pytest.raises(ValueError, match="W of shape"):
        gd.linear_value_and_grad(X, t, np.ones(2), 0.0, "gaussian_nll")
