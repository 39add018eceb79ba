"""Indexing of traced values: values bit by bit, gradients, compiled functions, errors."""

import function_checks as checks
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import gdcore as gd
from gdcore.autodiff._tape import Tape
from gdcore.autodiff._traced import Traced

A, B = (3, 4), (2, 3, 4)
MASK = np.array([[True, False, True, True], [False] * 4, [True] * 4])
BASIC = [
    (),
    0,
    -1,
    np.int64(2),
    np.array(1),
    (1, 2),
    (-1, -4),
    (slice(None), 1),
    slice(None, None, -1),
    (slice(1, None), slice(3, 0, -2)),
    slice(5, 9),
    slice(1, 1),
    slice(None, None, 2),
    slice(-100, 100, 3),
    (None, 1),
    None,
    Ellipsis,
    (Ellipsis, 0),
    (0, Ellipsis),
    (Ellipsis, None, slice(1, 3)),
    (np.newaxis, slice(None), np.newaxis, slice(None), np.newaxis),
]
ADVANCED = [
    [0, 2, 2],
    [-1, 0],
    [],
    np.array([[0, 1], [2, 2]]),
    np.array([1, 0], np.uint8),
    ([0, 1], [2, 3]),
    (np.array([0, 1]), np.array([[2], [3]])),
    (slice(None), [0, -1]),
    (0, [1, 2]),
    ([1, 2], 0),
    (slice(None), [0, 1], None),
    (None, [0, 1]),
    (Ellipsis, [0, 1]),
    (slice(None, None, 2), [[0], [1]]),
    (np.array(1), np.array([0, 2])),
    MASK,
    MASK[:, 0],
    ~MASK & MASK,
    MASK.tolist(),
    (slice(None), MASK[0]),
    (MASK[:, 0], [1, 2]),
    (MASK[:, 0], slice(1, 3)),
    True,
    np.False_,
]
OF_THREE_AXES = [
    (0, slice(None), [0, 1]),
    ([0, 1], slice(None), [0, 1]),
    (slice(None), 0, [0, 1]),
    (slice(None), [0, 1], [1, 2]),
    ([0, 1], None, [1, 2]),
    (slice(None), np.ones((3, 4), bool)),
    (np.eye(2, 3) > 0,),
    (np.eye(2, 3) > 0, 1),
    (0, None, [0, 1], slice(1, 3)),
    (Ellipsis, [1, 0], slice(None)),
]
KEYS = [(key, A) for key in BASIC + ADVANCED] + [(key, B) for key in OF_THREE_AXES]


@pytest.mark.parametrize(("key", "shape"), KEYS)
def test_values_and_derivatives(key, shape):
    checks.compare(lambda x: x[key] * x[key], checks.arrays([shape]), second=False)


@pytest.mark.parametrize(("key", "shape"), KEYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_are_numpys(key, shape, dtype):
    (x,) = checks.arrays([shape], dtype)
    found = Tape(Traced).input(x)[key]._now()
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, x[key])


@pytest.mark.parametrize("key", [(1, slice(None)), [0, 2, 2], ([0, 1], [2, 3]), MASK])
def test_second_derivatives(key):
    checks.check_second(lambda x: np.sum(np.exp(x[key]) ** 2), checks.arrays([A])[0])


@hypothesis.settings(deadline=None, max_examples=100)
@hypothesis.given(st.data())
def test_any_basic_key(data):
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    key = data.draw(arrays.basic_indices(shape, allow_newaxis=True))
    x = np.arange(float(np.prod(shape))).reshape(shape)
    found = Tape(Traced).input(x)[key]._now()
    np.testing.assert_array_equal(found, x[key])
    assert found.shape == x[key].shape


@hypothesis.settings(deadline=None, max_examples=100)
@hypothesis.given(st.data())
def test_any_integer_arrays(data):
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=4, max_side=4))
    key = data.draw(arrays.integer_array_indices(shape))
    x = np.arange(float(np.prod(shape))).reshape(shape)
    np.testing.assert_array_equal(Tape(Traced).input(x)[key]._now(), x[key])


def test_iteration_and_unpacking():
    def loss(v):
        x, y, *rest = v
        return x * y + sum(rest)

    np.testing.assert_array_equal(gd.grad(loss)(np.array([2.0, 3.0, 4.0])), [3, 2, 1])


def test_an_element_taken_twice_gets_both():
    np.testing.assert_array_equal(gd.grad(lambda x: np.sum(x[[0, 0, 1]]))(np.ones(3)), [2, 1, 0])


def test_gradient_of_picked_classes():
    labels = np.array([2, 0, 1])
    z = checks.arrays([(3, 4)])[0]

    def loss(z):
        z = z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))
        return -np.mean(z[np.arange(3), labels])

    expected = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    expected[np.arange(3), labels] -= 1
    np.testing.assert_allclose(gd.grad(loss)(z), expected / 3, rtol=1e-12)


# ---- Compiled ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "other"),
    [
        (np.array([0, 2]), np.array([1, 1])),
        (np.array([0, -2]), np.array([-1, 1])),
        (np.array([0, 2], np.int32), np.array([1, 1], np.int32)),
        (np.array([True, False, True]), np.array([True, True, False])),
        (np.array([True, False, True]), np.array([True, True, True])),
        (np.array([[0], [2]]), np.array([[1], [1]])),
    ],
)
def test_changed_contents_of_an_index_are_seen(index, other):
    index = index.copy()
    x = np.array([1.0, 10.0, 100.0])
    fast = gd.compile(lambda x: np.sum(x[index] * x[index]))
    assert fast(x) == np.sum(x[index] ** 2)
    index[...] = other
    assert fast(x) == np.sum(x[index] ** 2)


def test_indices_as_arguments_of_a_compiled_function():
    x = np.array([1.0, 10.0, 100.0])
    fast = gd.compile(lambda x, index: np.sum(x[index]))
    for index in ([0, 2], [1, 1], [2, 0]):
        assert fast(x, np.array(index)) == x[index].sum()
    for index in ([0, 3], [-4, 0]):
        with pytest.raises(IndexError):
            fast(x, np.array(index))


def test_an_index_that_is_changed_before_the_trace_ends():
    index = np.array([0, 1])

    def loss(x):
        first = x[index]
        index[:] = 2
        return np.sum(first * first)

    np.testing.assert_array_equal(gd.grad(loss)(np.array([1.0, 2.0, 3.0])), [2, 4, 0])


# ---- Errors --------------------------------------------------------------------------------------

WRONG = [
    3,
    -4,
    (0, 0, 0),
    (0, 4),
    (Ellipsis, Ellipsis),
    1.5,
    "a",
    [0, 3],
    (slice(None), [4]),
    ([0, 1], [0, 1, 2]),
    MASK[:, :2],
    np.ones(4, bool),
    np.array([0.5]),
    np.array(0.5),
]


@pytest.mark.parametrize("key", WRONG)
def test_wrong_keys_are_numpys_errors(key):
    with pytest.raises(IndexError) as numpys:
        np.ones(A)[key]
    with pytest.raises(IndexError) as ours:
        gd.grad(lambda x: np.sum(x[key]))(np.ones(A))
    assert str(ours.value) == str(numpys.value)


def test_a_number_has_no_items():
    with pytest.raises(IndexError, match="too many indices"):
        gd.grad(lambda x: x[0])(1.0)


@pytest.mark.parametrize(
    ("f", "way"),
    [
        (lambda x: x[x > 0], "np.where"),
        (lambda x: x[x], "np.where"),
        (lambda x: x[[x[0, 0], 1]], "np.where"),
        (lambda x: x[0, x[0] > 0], "np.where"),
        (lambda x: x[: x[0, 0]], "np.where"),
        (lambda x: np.take(x, x), "np.where"),
    ],
)
def test_traced_keys(f, way):
    with pytest.raises(TypeError, match=way) as found:
        gd.grad(lambda x: np.sum(f(x)))(np.ones(A))
    assert "test_autodiff_indexing.py" in str(found.value)


def test_indices_of_take():
    with pytest.raises(TypeError, match="integers"):
        gd.grad(lambda x: np.sum(np.take(x, [0.5])))(np.ones(A))
    with pytest.raises(ValueError, match="'wrap'"):
        gd.grad(lambda x: np.sum(np.take(x, [0], mode="other")))(np.ones(A))
