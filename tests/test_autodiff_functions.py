"""NumPy's functions on traced values: forward as NumPy, derivatives as differences, errors."""

import function_checks as checks
import numpy as np
import pytest
from function_cases import CASES, A

import gdcore as gd
from gdcore.autodiff import _functions, _linalg, _questions
from gdcore.autodiff._tape import Tape
from gdcore.autodiff._traced import Traced

NO_FLOAT32 = {"astype"}
TRACED_ONLY = {"cumsum", "sort", "median"}
EACH = [(name, i) for name, cases in CASES.items() for i in range(len(cases))]


def case(name, i):
    f, *shapes = CASES[name][i]
    return f, checks.arrays(shapes, seed=i)


@pytest.mark.parametrize(("name", "i"), EACH)
def test_derivatives(name, i):
    f, xs = case(name, i)
    checks.compare(f, xs, compiled=name not in TRACED_ONLY)


@pytest.mark.parametrize(("name", "i"), EACH)
def test_float32_stays(name, i):
    f, xs = case(name, i)
    if name not in NO_FLOAT32:
        checks.compare_float32(f, xs)


def test_every_function_of_the_table_has_a_case():
    known = {f for f in _functions.TABLE if f not in _linalg.TABLE and f not in _questions.TABLE}
    known |= {np.copy, np.real, np.full_like}
    assert known == {getattr(np, name) for name in CASES if hasattr(np, name)}


# ---- Where differences do not reach --------------------------------------------------------------


def gradient_of_sum(f, x):
    return gd.grad(lambda x: np.sum(f(x)))(np.asarray(x))


def test_equal_extremes_share():
    np.testing.assert_array_equal(gradient_of_sum(np.max, [1.0, 3.0, 3.0]), [0, 0.5, 0.5])
    np.testing.assert_array_equal(gradient_of_sum(np.min, [1.0, 1.0, 3.0]), [0.5, 0.5, 0])


def test_prod_with_zeros():
    np.testing.assert_array_equal(gradient_of_sum(np.prod, [2.0, 0.0, 3.0]), [0, 6, 0])
    np.testing.assert_array_equal(gradient_of_sum(np.prod, [2.0, 0.0, 0.0]), [0, 0, 0])


def test_bounds_of_clip_belong_to_the_inside():
    x = [-2.0, -1.0, 0.0, 1.0, 2.0]
    np.testing.assert_array_equal(gradient_of_sum(lambda x: np.clip(x, -1, 1), x), [0, 1, 1, 1, 0])


@pytest.mark.parametrize("f", [np.round, np.fix, lambda x: np.around(x, 2), np.ceil])
def test_roundings_are_flat(f):
    np.testing.assert_array_equal(gradient_of_sum(f, [0.3, 1.7, -2.2]), [0, 0, 0])


def test_sinc_and_its_derivatives_at_0():
    assert gd.grad(np.sinc)(0.0) == 0
    np.testing.assert_allclose(gd.grad(gd.grad(np.sinc))(0.0), -(np.pi**2) / 3, rtol=1e-14)


def test_nan_to_num_is_flat_where_it_replaces():
    x = [1.0, np.nan, np.inf, -np.inf]
    np.testing.assert_array_equal(gradient_of_sum(np.nan_to_num, x), [1, 0, 0, 0])


def test_nan_goes_through_extremes_and_median():
    x = np.array([1.0, np.nan, 3.0])
    for f in (np.max, np.min, np.median, np.sum):
        assert np.isnan(gd.value_and_grad(lambda x, f=f: f(x) * 1.0)(x)[0])


# ---- Types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(x > 0),
        lambda x: np.mean(x > 0),
        lambda x: np.sum((x > 0).astype(np.int64)),
        lambda x: np.concatenate([x > 0, x]),
        lambda x: np.stack([x > 0, x < 0]),
        lambda x: np.where(x > 0, 1, 2),
        lambda x: np.where(x > 0, x, np.arange(4)),
        lambda x: np.where(x > 0, np.float32(1), np.float32(2)),
        lambda x: np.cumsum(x > 0),
        lambda x: np.prod(x > 0),
        lambda x: np.max(x > 0, axis=0),
        lambda x: np.tril(x > 0),
        lambda x: np.diff(x > 0),
        lambda x: np.dot((x > 0).astype(np.int64), np.arange(4)),
        lambda x: np.flip(x > 0),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_are_numpys(f, dtype):
    x = checks.arrays([A], dtype)[0]
    checks.same_values(f, [x])


def test_sums_of_booleans_are_exact_in_float32():
    x = np.ones((1 << 24) + 3, np.float32)
    seen = []

    def loss(x):
        seen.append(int(np.sum(x > 0)._now()))
        return x[0]

    gd.grad(loss)(x)
    assert seen == [(1 << 24) + 3]


# ---- Empty arrays --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        np.sum,
        np.prod,
        lambda x: np.sum(x, axis=0),
        lambda x: np.max(x, axis=1),
        lambda x: np.max(x, axis=0, initial=-1.0),
        np.ravel,
        np.transpose,
        lambda x: np.concatenate([x, x]),
        lambda x: x @ np.ones((4, 2)),
        lambda x: np.ones((2, 0)) @ x,
        np.cumsum,
        lambda x: np.flip(x, 0),
        lambda x: np.reshape(x, (4, 0)),
        lambda x: np.pad(x, 1),
        lambda x: x[:, [0, 1]],
        lambda x: np.roll(x, 1, 0),
        lambda x: np.diff(x, axis=1),
    ],
)
def test_empty(f):
    x = np.ones((0, 4))
    checks.same_values(f, [x])
    assert gradient_of_sum(f, x).shape == (0, 4)


def test_extremes_of_nothing_are_numpys_error():
    for f in (np.max, np.min):
        with pytest.raises(ValueError, match="zero-size array to reduction operation m"):
            gradient_of_sum(f, np.ones((0, 4)))


# ---- Questions -----------------------------------------------------------------------------------

QUESTIONS = [
    lambda x: np.argmax(x, axis=1),
    lambda x: x.argmin(),
    lambda x: np.argsort(x),
    lambda x: np.count_nonzero(x > 0),
    lambda x: np.any(x > 2),
    lambda x: (x > -9).all(),
    lambda x: np.argwhere(x > 0),
    lambda x: np.nonzero(x > 0)[0],
    lambda x: np.flatnonzero(x > 0),
    lambda x: np.searchsorted(np.arange(4.0), x),
    lambda x: np.digitize(x, np.arange(4.0)),
    lambda x: np.lexsort((x[0], x[1])),
    lambda x: np.array_equal(x, x),
    lambda x: np.array_equiv(x, x),
    lambda x: np.allclose(x, x + 1e-12),
    lambda x: np.isclose(x, 0.1),
    lambda x: np.isin(np.round(x), [0.0, 1.0]),
    lambda x: np.array_repr(x) * 1,
    lambda x: np.array_str(x) * 1,
    lambda x: np.array2string(x),
]
KNOWN = [
    lambda x: np.shape(x),
    lambda x: np.ndim(x),
    lambda x: np.size(x),
    lambda x: np.size(x, 1),
    lambda x: np.result_type(x, 1),
    lambda x: np.common_type(x, np.float32(1).reshape(1)),
    lambda x: np.isrealobj(x),
    lambda x: np.iscomplexobj(x),
    lambda x: np.imag(x),
    lambda x: np.zeros_like(x),
    lambda x: np.ones_like(x, dtype=int),
    lambda x: np.empty_like(x).shape,
    lambda x: np.full_like(x, 3),
]


@pytest.mark.parametrize("f", QUESTIONS + KNOWN)
def test_answers_are_plain_and_numpys(f):
    (x,) = checks.arrays([A])
    answers = []

    def loss(x):
        answers.append(f(x))
        return np.sum(x)

    gd.grad(loss)(x)
    assert not isinstance(answers[0], Traced)
    assert type(answers[0]) is type(f(x))
    np.testing.assert_array_equal(answers[0], f(x))


@pytest.mark.parametrize("f", KNOWN)
def test_what_is_known_is_known_to_compiled_functions(f):
    x = Tape(Traced, compiling=True).input(np.ones(A))
    f(x)


def test_answers_may_be_used():
    def loss(x):
        return x[np.argmax(x)] * 2.0

    np.testing.assert_array_equal(gd.grad(loss)(np.array([1.0, 5.0, 2.0])), [0, 2, 0])


# ---- Errors --------------------------------------------------------------------------------------


def raised(f, x=None):
    """The error of a gradient, and its message."""
    with pytest.raises((TypeError, ValueError, IndexError)) as found:
        gradient_of_sum(f, np.ones(A) if x is None else x)
    return found.value, str(found.value)


@pytest.mark.parametrize(
    ("f", "named", "way"),
    [
        (lambda x: np.sum(x, out=np.ones(())), "np.sum(..., out=)", "use the result"),
        (lambda x: np.sum(x, dtype=np.float32), "np.sum(..., dtype=)", ".astype"),
        (lambda x: np.mean(x, where=np.ones(A) > 0), "np.mean(..., where=)", "np.where"),
        (lambda x: np.where(x > 0), "np.where(condition)", "np.where(condition, x, y)"),
        (lambda x: np.cumprod(x), "np.cumprod", ""),
        (lambda x: np.pad(x, 1, mode="mean"), "mean", "'edge'"),
        (lambda x: np.einsum(x, [0, 1]), "np.einsum", "'ij,jk->ik'"),
        (lambda x: np.unique(x), "np.unique", ""),
        (lambda x: np.percentile(x, 30), "np.percentile", ""),
        (lambda x: np.interp(x, [0, 1], [0, 1]), "np.interp", "np.where"),
        (lambda x: np.linalg.eigvals(x[:3, :3]), "eigvals", ""),
        (lambda x: np.dot(x > 0, np.ones(4) > 0), "np.dot of booleans", "astype"),
        (lambda x: x.astype(np.complex128), "complex128", "float64"),
        (lambda x: x.astype(np.float16), "float16", "float64"),
    ],
)
def test_what_is_not_followed_names_itself_the_line_and_the_way_out(f, named, way):
    error, text = raised(f)
    assert isinstance(error, TypeError)
    assert named in text
    assert way in text
    assert "test_autodiff_functions.py" in text


NUMPYS_ERRORS = [
    lambda x: np.reshape(x, (5, 5)),
    lambda x: np.reshape(x, (-1, -1)),
    lambda x: np.sum(x, axis=2),
    lambda x: np.mean(x, axis=(0, 0)),
    lambda x: np.squeeze(x, axis=0),
    lambda x: np.concatenate([x, np.ones((2, 3))]),
    lambda x: np.concatenate([x[0, 0], x[0, 0]]),
    lambda x: np.stack([x, x[0]]),
    lambda x: np.split(x, 3, axis=1),
    lambda x: np.array_split(x, 0),
    lambda x: x @ np.ones((3, 4)),
    lambda x: x @ 3.0,
    lambda x: np.dot(x, np.ones(3)),
    lambda x: np.inner(x, np.ones(3)),
    lambda x: np.vdot(x, np.ones(3)),
    lambda x: np.tensordot(x, np.ones((4, 4)), 2),
    lambda x: np.einsum("ij,jk->ik", x, np.ones((3, 3))),
    lambda x: np.einsum("ij,jk->iq", x, np.ones((4, 3))),
    lambda x: np.einsum("ijk", x),
    lambda x: np.einsum("ij,jk", x),
    lambda x: np.broadcast_to(x, (3, 5)),
    lambda x: np.transpose(x, (0, 0)),
    lambda x: np.transpose(x, (0,)),
    lambda x: np.moveaxis(x, [0], [0, 1]),
    lambda x: np.diagonal(x[0]),
    lambda x: np.diagonal(x, axis1=1, axis2=1),
    lambda x: np.diag(np.ones((2, 2, 2)) * x[0, 0]),
    lambda x: np.fliplr(x[0]),
    lambda x: np.flipud(x[0, 0]),
    lambda x: np.rot90(x, axes=(0, 0)),
    lambda x: np.take(x, [12]),
    lambda x: np.take_along_axis(x, np.array([[7]]), 0),
    lambda x: np.pad(x, -1),
    lambda x: np.diff(x, -1),
    lambda x: np.average(x, weights=np.ones(4)),
    lambda x: np.average(x, axis=0, weights=np.ones(5)),
    lambda x: np.var(x, ddof=1, correction=1),
    lambda x: np.select([x > 0], []),
    lambda x: np.meshgrid(x[0], x[0], indexing="yx"),
    lambda x: np.matrix_transpose(x[0]),
    lambda x: np.hstack([x, x[0]]),
    lambda x: np.expand_dims(x, 5),
]


@pytest.mark.parametrize("f", NUMPYS_ERRORS)
def test_what_numpy_refuses_is_refused_likewise(f):
    with pytest.raises((TypeError, ValueError, IndexError)) as numpys:
        f(np.ones(A))
    error, _ = raised(f)
    assert isinstance(error, type(numpys.value)) or isinstance(numpys.value, type(error))


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (np.cumsum, "np.cumsum"),
        (np.sort, "np.sort"),
        (np.median, "np.sort"),
        (np.argmax, "np.argmax"),
        (lambda x: np.linalg.inv(x[:, :3]), "np.linalg.inv"),
        (lambda x: np.linalg.solve(x[:, :3], x), "np.linalg.solve"),
        (lambda x: np.linalg.det(x[:, :3]), "np.linalg.det"),
        (lambda x: np.linalg.slogdet(x[:, :3])[1], "np.linalg.slogdet"),
    ],
)
def test_compile_names_what_is_traced_only(f, name):
    with pytest.raises(TypeError, match="compile") as found:
        gd.compile(lambda x: np.sum(f(x) * 1.0))(np.ones(A) + np.eye(3, 4))
    assert name in str(found.value)
