"""np.linalg and products of traced values: derivatives, conventions at 0, errors."""

import function_checks as checks
import numpy as np
import pytest

import gdcore as gd
from gdcore.autodiff import _linalg

A, B = (3, 4), (2, 3, 4)
SQUARE, SQUARES = (3, 3), (2, 3, 3)
INF = np.inf


def far(a):
    """A matrix well away from singular ones."""
    return a + 4 * np.eye(3, dtype=a.dtype)


CASES = {
    "norm": [
        (lambda x: np.linalg.norm(x * x + 0.5, 0.5), (4,)),
        *[
            (lambda x, ord=ord: np.linalg.norm(x, ord), (4,))
            for ord in (None, 1, 2, 3, 2.5, INF, -INF)
        ],
        *[
            (lambda x, ord=ord: np.linalg.norm(x, ord, axis=-1, keepdims=True), A)
            for ord in (None, 1, 2, 3, INF)
        ],
        *[
            (lambda x, ord=ord: np.linalg.norm(x, ord), A)
            for ord in (None, "fro", 1, -1, INF, -INF)
        ],
        *[
            (lambda x, ord=ord, axis=axis: np.linalg.norm(x, ord, axis, keepdims=True), B)
            for ord in (None, "fro", 1, INF)
            for axis in ((0, 2), (2, 0))
        ],
        (lambda x: np.linalg.norm(x), B),
        (lambda x: np.linalg.norm(x, 0, axis=0) * x, A),
    ],
    "vector_norm": [
        (lambda x: np.linalg.vector_norm(x, axis=(0, 2)), B),
        (lambda x: np.linalg.vector_norm(x, ord=3), A),
    ],
    "matrix_norm": [
        (lambda x: np.linalg.matrix_norm(x), B),
        (lambda x: np.linalg.matrix_norm(x, ord=1, keepdims=True), B),
    ],
    "matrix_power": [
        (lambda x, n=n: np.linalg.matrix_power(x, n) * x, SQUARE) for n in (0, 1, 2, 3)
    ],
    "matmul": [
        (lambda x, y: np.linalg.matmul(x, y), A, (4, 2)),
        *[
            (lambda x, y: x @ y, *shapes)
            for shapes in (
                ((3,), (3,)),
                (A, (4,)),
                ((3,), A),
                (A, (4, 2)),
                (B, (4, 2)),
                ((2, 3, 4), (2, 4, 2)),
                (A, (2, 4, 3)),
                ((2, 1, 2, 3), (2, 3, 2)),
                ((3,), (2, 3, 2)),
                (B, (4,)),
            )
        ],
    ],
    "outer": [(lambda x, y: np.linalg.outer(x, y), (3,), (2,))],
    "vecdot": [
        (lambda x, y: np.linalg.vecdot(x, y), A, (4,)),
        (lambda x, y: np.linalg.vecdot(x, y, axis=0), A, A),
    ],
    "tensordot": [(lambda x, y: np.linalg.tensordot(x, y, axes=1), A, (4, 2))],
    "diagonal": [(lambda x: np.linalg.diagonal(x, offset=1), B)],
    "trace": [(lambda x: np.linalg.trace(x), SQUARES)],
    "matrix_transpose": [(lambda x: np.linalg.matrix_transpose(x), B)],
}
BY_NUMPY = {
    "inv": [(lambda a: np.linalg.inv(far(a)), shape) for shape in (SQUARE, SQUARES)],
    "det": [(lambda a: np.linalg.det(far(a)) / 100, shape) for shape in (SQUARE, SQUARES)],
    "slogdet": [
        (lambda a: np.linalg.slogdet(-far(a)).logabsdet, SQUARE),
        (lambda a: np.linalg.slogdet(far(a))[0] * np.linalg.slogdet(far(a))[1], SQUARES),
    ],
    "solve": [
        (lambda a, b: np.linalg.solve(far(a), b), SQUARE, (3,)),
        (lambda a, b: np.linalg.solve(far(a), b), SQUARE, (3, 2)),
        (lambda a, b: np.linalg.solve(far(a), b), SQUARES, (3, 2)),
        (lambda a, b: np.linalg.solve(far(a), b), SQUARE, (2, 3, 2)),
        (lambda b: np.linalg.solve(np.diag([1, 2, 4]).astype(b.dtype), b), (3, 2)),
        (lambda a: np.linalg.solve(far(a), np.ones(3, a.dtype)), SQUARE),
    ],
    "matrix_power": [(lambda a: np.linalg.matrix_power(far(a), -2), SQUARE)],
}
ALL = [
    (table, name, i)
    for table in (CASES, BY_NUMPY)
    for name in table
    for i in range(len(table[name]))
]


@pytest.mark.parametrize(("table", "name", "i"), ALL, ids=[f"{n}-{i}" for _, n, i in ALL])
def test_derivatives(table, name, i):
    f, *shapes = table[name][i]
    checks.compare(f, checks.arrays(shapes, seed=100 + i), compiled=table is CASES)


@pytest.mark.parametrize(("table", "name", "i"), ALL, ids=[f"{n}-{i}" for _, n, i in ALL])
def test_float32_stays(table, name, i):
    f, *shapes = table[name][i]
    checks.compare_float32(f, checks.arrays(shapes, seed=i))


def test_every_function_of_the_table_has_a_case():
    assert set(_linalg.TABLE) == {getattr(np.linalg, name) for name in {**CASES, **BY_NUMPY}}


@pytest.mark.parametrize("ord", [None, 1, 2, 3, INF])
def test_gradient_of_a_norm_at_0(ord):
    gradient = gd.grad(lambda x: np.linalg.norm(x, ord))(np.zeros(4))
    np.testing.assert_array_equal(gradient, np.zeros(4))
    again = gd.hvp(lambda x: np.linalg.norm(x, ord), np.zeros(4), np.ones(4))
    np.testing.assert_array_equal(again, np.zeros(4))


def test_norm_of_integers_is_real():
    assert gd.value_and_grad(lambda x: np.linalg.norm(np.array([3, 4]) * x))(1.0)[0] == 5.0


def test_hessian_of_a_quadratic_solve():
    a = np.array([[4.0, 1.0], [1.0, 3.0]])
    hessian = gd.hessian(lambda b: b @ np.linalg.solve(a, b) / 2)(np.ones(2))
    np.testing.assert_allclose(hessian, np.linalg.inv(a), rtol=1e-12)


def test_a_singular_matrix_is_numpys_error():
    for f in (np.linalg.inv, np.linalg.det, lambda a: np.linalg.solve(a, np.ones(2))):
        with pytest.raises(np.linalg.LinAlgError):
            gd.grad(lambda a, f=f: np.sum(f(a)))(np.zeros((2, 2)))


WRONG = [
    lambda x: np.linalg.inv(x),
    lambda x: np.linalg.det(x[0]),
    lambda x: np.linalg.solve(x[:, :3], np.ones(4)),
    lambda x: np.linalg.norm(x, 3),
    lambda x: np.linalg.norm(x, "nuc", axis=0),
    lambda x: np.linalg.norm(np.broadcast_to(x, (2, 3, 4)), 1),
    lambda x: np.linalg.norm(x, axis=(0, 1, 2)),
    lambda x: np.linalg.norm(x[0], 2, axis=1),
]


@pytest.mark.parametrize("f", WRONG)
def test_what_numpy_refuses_is_refused(f):
    with pytest.raises((ValueError, np.linalg.LinAlgError)):
        f(np.ones(A))
    with pytest.raises((ValueError, np.linalg.LinAlgError)):
        gd.grad(lambda x: np.sum(f(x)))(np.ones(A))


@pytest.mark.parametrize("ord", [2, -2, "nuc"])
def test_norms_by_singular_values_are_not_followed(ord):
    with pytest.raises(TypeError, match="Frobenius"):
        gd.grad(lambda x: np.linalg.norm(x, ord))(np.ones(A))
