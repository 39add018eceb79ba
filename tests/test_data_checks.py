"""What X, y and weights may be: views of what was given, or errors that name what was found."""

import timeit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdcore._data import check_weights, check_X, check_y, split_validation

TYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
REAL = np.dtype(np.float64)


class Frame:
    """A table as pandas has it: an array through ``__array__``, without a copy."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


class Tensor:
    """A tensor on the CPU: memory through ``__dlpack__`` alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


# ---- X -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    "layout",
    [
        lambda X: X,
        np.asfortranarray,
        lambda X: X[::-2],
        lambda X: X[:, ::-1],
        lambda X: X.T,
        lambda X: X[:, :1],
        lambda X: np.broadcast_to(X[:1], (6, 4)),
    ],
)
def test_views_of_any_layout_come_back_as_they_are(kind, layout):
    X = layout(np.ones((6, 4), kind))
    X.flags.writeable = False
    found = check_X(X, X.shape[1])
    assert found is X


def test_other_holders_share_their_memory(tmp_path, dtype):
    X = np.arange(12, dtype=dtype).reshape(6, 2)
    X.tofile(tmp_path / "X")
    mapped = np.memmap(tmp_path / "X", dtype, mode="r", shape=(6, 2))
    for holder in (X.view(np.matrix), Frame(X), Tensor(X)):
        found = check_X(holder, 2)
        assert type(found) is np.ndarray
        assert np.shares_memory(found, X)
    found = check_X(mapped, 2)
    assert type(found) is np.ndarray
    assert np.shares_memory(found, mapped)
    assert check_X(X, None) is X


def test_lists_are_read():
    np.testing.assert_array_equal(check_X([[1, 2], [3, 4]], 2), [[1, 2], [3, 4]])
    assert check_X([[1.5]], None).dtype == np.float64


class Endless:
    """A sequence that never says that there is no such entry."""

    def __init__(self, entry):
        self.entry = entry

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.entry


def test_sequences_are_read_up_to_their_length():
    np.testing.assert_array_equal(check_X(Endless([1.0, 2.0]), 2), [[1, 2], [1, 2]])
    with pytest.raises(ValueError, match="X cannot be read as an array of numbers"):
        check_X(Endless((np.ones((3, 2)), np.ones(3))), 2)
    assert check_X(memoryview(np.ones((2, 2))), 2).shape == (2, 2)


class Sparse:
    def toarray(self):
        return np.ones((2, 2))


BAD_X = [
    (None, TypeError, "X is None; an array is accepted"),
    (3.0, ValueError, r"X is the number 3\.0; rows are accepted: \[\[3\.0\]\]"),
    (
        np.ones(5),
        ValueError,
        r"shape \(5,\).*X\[:, None\] for 5 rows of one column, X\[None, :\] f",
    ),
    (np.ones(3), ValueError, r"X\[None, :\] \(which fits the model\) for one row"),
    (np.ones((2, 3, 3)), ValueError, r"shape \(2, 3, 3\).*X\.reshape\(len\(X\), -1\)"),
    (np.ones((0, 3)), ValueError, r"X is empty: it has shape \(0, 3\)"),
    (np.ones((3, 0)), ValueError, "X is empty"),
    ([], ValueError, r"shape \(0,\)"),
    (np.ones((2, 4)), ValueError, r"X has 4 columns but the model takes rows of 3; .*\(2, 4\)"),
    (np.ones((2, 3), np.float16), TypeError, r"dtype float16; .*X\.astype\(np\.float64\)"),
    (np.ones((2, 3), np.longdouble), TypeError, "float32, float64, integers and booleans are acc"),
    (np.ones((2, 3), complex), TypeError, "X has dtype complex128"),
    (np.ones((2, 3), object), TypeError, r"X has dtype object \(its first entry is 1\)"),
    ([["a", "b", "c"]], TypeError, r"X has dtype <U1 \(its first entry is np.str_\('a'\)\)"),
    (np.ones((2, 3), "M8[s]"), TypeError, r"X has dtype datetime64\[s\]"),
    (np.ones((2, 3), ">f8"), TypeError, r"other byte order.*newbyteorder\('='\)"),
    ([[1, 2, 3], [4, 5]], ValueError, "X cannot be read as an array of numbers"),
    (np.ma.ones((2, 3)), TypeError, r"X is a masked array.*X\.filled\(value\)"),
    (Sparse(), TypeError, r"X is Sparse, a sparse array; accepted is X\.toarray\(\)"),
]


@pytest.mark.parametrize(("X", "error", "message"), BAD_X)
def test_an_X_that_cannot_be_used(X, error, message):
    with pytest.raises(error, match=message):
        check_X(X, 3)


def test_the_name_is_the_callers():
    with pytest.raises(ValueError, match=r"validation_data\[0\] has 2 columns"):
        check_X(np.ones((2, 2)), 3, "validation_data[0]")


def test_memory_that_is_not_aligned():
    packed = np.zeros(5, dtype=[("a", "i1"), ("x", "f8", 3)])["x"]
    with pytest.raises(ValueError, match=r"X is not aligned to its type.*X\.copy\(\)"):
        check_X(packed, 3)


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 1, 2)])
@pytest.mark.parametrize("kind", ["X", "y", "sparse"])
def test_the_way_to_leave_rows_out_works(kind, shape):
    """What the error says is run as it stands."""
    if (kind == "X" and len(shape) != 2) or (kind == "sparse" and shape != (4,)):
        return
    X, y = np.ones((4, 2)), np.ones((4, 2))
    bad = np.ones(shape)
    bad[2] = np.nan
    checks = {
        "X": lambda: check_X(bad, 2),
        "y": lambda: check_y(bad, "function", 2, 4),
        "sparse": lambda: check_y(bad, "sparse", 2, 4),
    }
    with pytest.raises(ValueError, match="leave such rows out") as caught:
        checks[kind]()
    names = {"np": np, "X": bad if kind == "X" else X, "y": y if kind == "X" else bad}
    words = str(caught.value)
    code, pair = words[words.index("(keep = ") + 1 : words.rindex(")")].split("; ")
    exec(code, names)
    for left in eval(pair, names):
        assert len(left) == 3
        assert np.isfinite(left).all()


def test_rows_are_left_out_of_X_alone_where_there_is_no_y():
    with pytest.raises(ValueError, match=r"all\(axis=1\); X\[keep\]\), or fill them"):
        check_X([[np.nan]], 1, other="")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (70_000, 2), (3, 70_000)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_first_value_that_is_not_finite_is_named(value, shape, order, dtype, rng):
    X = np.zeros(shape, dtype, order=order)
    places = sorted(tuple(map(int, rng.integers(shape))) for _ in range(3))
    for place in places:
        X[place] = value
    row, column = places[0]
    with pytest.raises(ValueError, match=f"X holds {value} in row {row}, column {column}; finite"):
        check_X(X, None)


# ---- y -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_class_numbers_of_any_type_are_views(kind):
    y = np.array([0, 1, 1, 0, 1], kind)
    for given_y in (y, y[:, None], y[::-1], np.asfortranarray(y[:, None, None])):
        found = check_y(given_y, "sparse", 2, 5)
        assert found.shape == (5,)
        assert np.shares_memory(found, y) or given_y.base is None
        assert found.dtype == y.dtype


@pytest.mark.parametrize(
    ("label", "kind", "message"),
    [
        (3, "i8", r"y holds the class 3 in row 4; whole numbers 0 to 2 are .*begin with 1\? y - 1"),
        (
            7,
            "u1",
            r"the class 7 in row 4; .*each of the 3 outputs \(classes, y = np\.unique\(y, re",
        ),
        (-1, "i4", "the class -1 in row 4"),
        (0.5, "f8", r"the class 0\.5 in row 4"),
        (np.nan, "f4", "the class nan in row 4"),
        (np.inf, "f8", "the class inf in row 4"),
        (2**63, "u8", "the class 9223372036854775808 in row 4"),
    ],
)
def test_labels_outside_the_classes(label, kind, message):
    y = np.zeros(9, kind)
    y[[4, 6]] = label
    with pytest.raises(ValueError, match=message):
        check_y(y, "sparse", 3, 9)


def test_a_bad_label_far_down():
    y = np.zeros(200_000, np.int8)
    y[150_000] = 5
    with pytest.raises(ValueError, match="the class 5 in row 150000"):
        check_y(y, "sparse", 3, 200_000)


@pytest.mark.parametrize("y", [np.array(["a", "b"]), np.array(["a", "b"], object), ["a", "b"]])
@pytest.mark.parametrize("kind", ["sparse", "onehot", "binary", "values"])
def test_labels_that_are_words(y, kind):
    with pytest.raises(TypeError, match=r"its first entry is .*'a'.*np\.unique\(y, return_inverse"):
        check_y(y, kind, 2, 2)


@pytest.mark.parametrize("kind", ["values", "binary", "signs", "paired", "function"])
def test_one_column_comes_as_it_likes(kind):
    y = np.array([0.0, 1.0, 1.0])
    outputs = 2 if kind == "paired" else 1
    for given_y in (y, y[:, None], y[:, None, None]):
        found = check_y(given_y, kind, outputs, 3)
        if kind == "function" and outputs > 1:
            continue
        assert found.shape == (3, 1)
        assert np.shares_memory(found, y)


def test_several_columns(rng):
    y = rng.random((5, 3))
    for kind in ("values", "onehot", "binary", "signs", "function"):
        assert check_y(y, kind, 3, 5) is y
        found = check_y(y[:, None, :], kind, 3, 5)
        assert found.shape == (5, 3)
        assert np.shares_memory(found, y)
    assert check_y(np.ones((1, 3)), "values", 3, 1).shape == (1, 3)


def test_what_a_function_of_the_users_may_be_given():
    y = np.arange(4)
    assert check_y(y, "function", 3, 4) is y
    cube = np.ones((4, 2, 2))
    assert check_y(cube, "function", 3, 4) is cube
    cube[1, 1, 0] = np.nan
    with pytest.raises(ValueError, match="y holds nan in row 1, column 2"):
        check_y(cube, "function", 3, 4)


BAD_Y = [
    (np.float64(1), "values", 1, ValueError, r"y is the number 1\.0; one target for each row"),
    (np.ones(3), "values", 1, ValueError, "y has 3 rows but X has 4; data of the same length"),
    (np.ones((4, 2)), "values", 1, ValueError, r"shape \(4, 2\); \(4, 1\) or \(4,\).*Dense\(2\)"),
    (np.ones(4), "values", 2, ValueError, r"y has shape \(4,\); \(4, 2\) is accepted"),
    (np.ones((4, 3)), "values", 2, ValueError, r"y has shape \(4, 3\); \(4, 2\) is accepted"),
    (np.ones((4, 2)), "paired", 2, ValueError, r"\(4, 1\) or \(4,\).*one target for the two outp"),
    (np.ones(4, int), "onehot", 3, ValueError, "class numbers go to sparse_categorical_crossentr"),
    (np.eye(4)[:, :3], "sparse", 3, ValueError, "rows of one-hot classes go to categorical_cross"),
    (np.ones((4, 2)), "sparse", 3, ValueError, r"shape \(4, 2\); class numbers, one for each row"),
    (np.full(4, -1), "binary", 1, ValueError, r"-1 in row 0; .*\(y \+ 1\) / 2 for labels -1 and"),
    ([1, 2, 1, 2], "binary", 1, ValueError, r"2 in row 1; 0 to 1 .*np\.unique.*sparse_categorical"),
    (np.full((4, 2), 1.5), "binary", 2, ValueError, r"1\.5 in row 0, column 0; 0 to 1 is accepted"),
    (np.full((4, 2), -0.5), "onehot", 2, ValueError, r"-0\.5 in row 0, column 0; 0 to 1 .*probab"),
    ([1.0, np.nan, 1, 1], "values", 1, ValueError, "y holds nan in row 1, column 0; finite"),
    ([1.0, 1, np.inf, 1], "binary", 1, ValueError, "y holds inf in row 2"),
    (np.ones(4, np.float16), "values", 1, TypeError, "y has dtype float16"),
    (None, "values", 1, TypeError, "y is None; an array is accepted"),
]


@pytest.mark.parametrize(("y", "kind", "outputs", "error", "message"), BAD_Y)
def test_a_y_that_cannot_be_used(y, kind, outputs, error, message):
    with pytest.raises(error, match=message):
        check_y(y, kind, outputs, 4)


def test_targets_between_0_and_1_are_soft_labels():
    assert check_y([0.25, 0.5], "binary", 1, 2).shape == (2, 1)
    assert check_y([[0.25, 0.75]], "onehot", 2, 1).shape == (1, 2)


# ---- Weights -------------------------------------------------------------------------------------


def weights(sample_weight=None, class_weight=None, y=None, kind="sparse", outputs=3, dtype=REAL):
    y = np.array([0, 1, 2, 1]) if y is None else y
    return check_weights(sample_weight, class_weight, y, len(y), kind, outputs, dtype)


def test_no_weights_are_none():
    assert weights() is None


@pytest.mark.parametrize("kind", TYPES)
def test_sample_weights_are_views(kind):
    own = np.array([1, 0, 1, 1], kind)
    for given_w in (own, own[:, None], own[::-1]):
        found = weights(given_w)
        assert found.shape == (4,)
        assert np.shares_memory(found, own)


BAD_WEIGHTS = [
    (2.0, ValueError, r"sample_weight is the number 2\.0; one weight for each row"),
    ([1, 1, 1], ValueError, "sample_weight has 3 rows but X has 4; data of the same length"),
    (np.ones((4, 2)), ValueError, r"sample_weight has shape \(4, 2\); one weight for each row"),
    ([1, 1, -1, 1], ValueError, "sample_weight holds -1 in row 2; finite numbers >= 0"),
    ([1, np.nan, 1, 1], ValueError, "sample_weight holds nan in row 1"),
    ([np.inf, 1, 1, 1], ValueError, "sample_weight holds inf in row 0"),
    ([0, 0, 0, 0], ValueError, "sample_weight: all rows weigh 0"),
    (["a"] * 4, TypeError, "sample_weight has dtype <U1"),
    (np.ones(4, complex), TypeError, "sample_weight has dtype complex128"),
]


@pytest.mark.parametrize(("own", "error", "message"), BAD_WEIGHTS)
def test_sample_weights_that_cannot_be_used(own, error, message):
    with pytest.raises(error, match=message):
        weights(own)


@pytest.mark.parametrize(
    ("kind", "outputs", "y"),
    [
        ("sparse", 3, np.array([0, 1, 2, 1])),
        ("sparse", 3, np.array([0.0, 1.0, 2.0, 1.0], np.float32)),
        ("onehot", 3, np.eye(3)[[0, 1, 2, 1]]),
        ("onehot", 3, np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0, 0, 1], [0.3, 0.4, 0.3]])),
    ],
)
def test_class_weights(kind, outputs, y, dtype):
    found = weights(None, {0: 2, 1: 0.5}, y, kind, outputs, dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, [2.0, 0.5, 1.0, 0.5])
    found = weights([1, 2, 3, 4], {0: 2, 1: 0.5}, y, kind, outputs, dtype)
    np.testing.assert_array_equal(found, [2.0, 1.0, 3.0, 2.0])
    found = weights(None, "balanced", y, kind, outputs, dtype)
    np.testing.assert_allclose(found, [4 / 3, 2 / 3, 4 / 3, 2 / 3], rtol=1e-6)


def test_class_weights_of_two_classes():
    y = np.array([[0.0], [1.0], [1.0]])
    np.testing.assert_array_equal(weights(None, {1: 3}, y, "binary", 1), [1.0, 3.0, 3.0])
    np.testing.assert_array_equal(weights(None, "balanced", y, "binary", 1), [1.5, 0.75, 0.75])
    signs = np.array([[-1], [1], [1]])
    np.testing.assert_array_equal(weights(None, {-1: 3}, signs, "signs", 1), [3.0, 1.0, 1.0])


def test_balanced_weights_are_scikit_learns(rng):
    y = rng.integers(0, 5, 100)
    y[y == 3] = 4  # a class that does not occur
    found = weights(None, "balanced", y, "sparse", 5)
    counts = np.bincount(y)
    np.testing.assert_allclose(found, 100 / (4 * counts[y]), rtol=1e-15)
    assert np.isclose(found.sum(), 100)


BAD_CLASSES = [
    ("balance", ValueError, "class_weight is 'balance'; accepted is 'balanced'"),
    ([1, 2], TypeError, r"class_weight is \[1, 2\]; accepted is a dict"),
    ({3: 1}, ValueError, "class_weight has the key 3; accepted are the classes: 0, 1, 2"),
    ({"a": 1}, ValueError, "class_weight has the key 'a'"),
    ({0.5: 1}, ValueError, r"class_weight has the key 0\.5"),
    ({True: 1}, ValueError, "class_weight has the key True"),
    ({0: -1}, ValueError, r"class_weight\[0\] is -1; a finite number >= 0"),
    ({0: np.nan}, ValueError, r"class_weight\[0\] is nan"),
    ({1: "a"}, ValueError, r"class_weight\[1\] is 'a'"),
    ({0: 0, 1: 0, 2: 0}, ValueError, "class_weight: all rows weigh 0"),
]


@pytest.mark.parametrize(("own", "error", "message"), BAD_CLASSES)
def test_class_weights_that_cannot_be_used(own, error, message):
    with pytest.raises(error, match=message):
        weights(None, own)


def test_class_weights_need_classes():
    for kind, y in [
        ("values", np.ones((4, 1))),
        ("paired", np.ones((4, 1))),
        ("function", np.ones((4, 1))),
        ("binary", np.ones((4, 3))),
    ]:
        with pytest.raises(ValueError, match="class_weight needs targets that are classes"):
            weights(None, "balanced", y, kind, y.shape[1])
    with pytest.raises(
        ValueError, match="one column of 0 and 1, but y has 3 columns of them; give"
    ):
        weights(None, "balanced", np.ones((4, 3)), "binary", 3)
    with pytest.raises(ValueError, match=r"holds 0\.5 in row 1; 0 and 1 are accepted"):
        weights(None, "balanced", np.array([[0.0], [0.5]]), "binary", 1)
    with pytest.raises(ValueError, match="the key 200; accepted are the classes: 0 to 199"):
        weights(None, {200: 1}, np.arange(4), "sparse", 200)


# ---- Validation ----------------------------------------------------------------------------------


@given(n=st.integers(2, 10_000), fraction=st.floats(0.01, 0.99))
def test_the_last_rows_validate(n, fraction):
    first = int(np.floor(n * (1 - fraction)))
    if not 0 < first < n:
        with pytest.raises(ValueError, match="rows for training and"):
            split_validation(n, fraction)
        return
    train, held = split_validation(n, fraction)
    assert (train, held) == (slice(0, first), slice(first, n))


def test_no_split():
    assert split_validation(10, 0.0) == (slice(0, 10), None)
    assert split_validation(10, 0) == (slice(0, 10), None)


@pytest.mark.parametrize(
    ("fraction", "error"),
    [
        (1.0, ValueError),
        (-0.1, ValueError),
        (np.nan, ValueError),
        ("a", TypeError),
        (True, TypeError),
    ],
)
def test_a_fraction_that_is_none(fraction, error):
    with pytest.raises(error, match=r"validation_split is .*; a number in \[0, 1\) is accepted"):
        split_validation(10, fraction)


def test_a_part_without_rows():
    with pytest.raises(ValueError, match="leaves 0 rows for training and 1 for validation of 1"):
        split_validation(1, 0.5)


@given(
    labels=st.lists(st.integers(0, 3), min_size=8, max_size=60),
    fraction=st.floats(0.2, 0.6),
    kind=st.sampled_from(["sparse", "onehot"]),
)
def test_stratified_parts_have_each_class(labels, fraction, kind):
    y = np.array(labels)
    n = len(y)
    counts = np.bincount(y, minlength=4)
    wanted = np.minimum(np.floor(counts * fraction + 0.5), np.maximum(counts - 1, 0)).astype(int)
    given_y = y if kind == "sparse" else np.eye(4)[y]
    if not wanted.sum():
        with pytest.raises(ValueError, match="rows for training and"):
            split_validation(n, fraction, given_y, kind, stratify=True)
        return
    train, held = split_validation(n, fraction, given_y, kind, stratify=True)
    assert sorted([*train, *held]) == list(range(n))
    assert (np.diff(train) > 0).all()
    assert (np.diff(held) > 0).all()
    np.testing.assert_array_equal(np.bincount(y[held], minlength=4), wanted)
    for label in np.unique(y):  # the last rows of each class
        rows = np.flatnonzero(y == label)
        np.testing.assert_array_equal(held[y[held] == label], rows[len(rows) - wanted[label] :])


def test_stratify_needs_classes_and_a_fraction():
    with pytest.raises(ValueError, match=r"stratify=True needs targets that are cl.*leave it out"):
        split_validation(4, 0.5, np.ones((4, 1)), "values", stratify=True)
    with pytest.raises(ValueError, match="stratify=True needs validation_split > 0"):
        split_validation(4, 0.0, np.ones(4), "sparse", stratify=True)
    train, held = split_validation(4, 0.5, np.array([[-1], [1], [1], [-1]]), "signs", True)
    np.testing.assert_array_equal(train, [0, 1])
    np.testing.assert_array_equal(held, [2, 3])


# ---- Cost ----------------------------------------------------------------------------------------


@pytest.mark.release
def test_checks_of_small_data_take_microseconds():
    X, y = np.ones((200, 4)), np.zeros(200, int)

    def checks():
        check_X(X, 4)
        check_y(y, "sparse", 3, 200)
        check_weights(None, None, y, 200, "sparse", 3, REAL)

    assert min(timeit.repeat(checks, number=100, repeat=20)) / 100 < 50e-6
