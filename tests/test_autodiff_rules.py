"""The two rules of each instruction, beside each other and beside differences, on the tape."""

import numpy as np
import pytest

import gdcore as gd
from gdcore import _core
from gdcore.autodiff import _primitives as p
from gdcore.autodiff._differentiate import backward, tangents
from gdcore.autodiff._tape import F32, F64, Tape
from gdcore.autodiff._traced import Traced

ROWS = [row for row in _core.INSTRUCTIONS if row["kind"] != "leaf"]
INDICES = np.array([2, 0, 2, 1])
# What records an instruction that is not elementwise, from operands of the shapes given.
OTHERS = {
    "reshape": ([(3, 4)], lambda x: p.reshape(x, (2, 6))),
    "transpose": ([(2, 3, 4)], lambda x: p.transpose(x, (2, 0, 1))),
    "slice": ([(5, 4)], lambda x: p.window(x, (4, 1), (-2, 1), (2, 3))),
    "expand": ([(3, 1)], lambda x: p.expand(x, (2, 3, 4))),
    "cast": ([(3,)], lambda x: p.as_type(x, F32)),
    "embed": ([(2, 3)], lambda x: p.embed(x, (4, 1), (-2, 1), (5, 4))),
    "concatenate": ([(2, 1), (2, 3), (2, 0)], lambda *x: p.concatenate(x, 1)),
    "gather": ([(2, 3)], lambda x: p.gather(x, x.tape.indices(INDICES), 1)),
    "scatter": ([(2, 4)], lambda x: p.scatter(x, x.tape.indices(INDICES), 1, 3)),
    "sum": ([(2, 3, 4)], lambda x: p.reduced("sum", x, (0, 2))),
    "prod": ([(2, 3, 5)], lambda x: p.reduced("prod", x, (0, 2))),
    "max": ([(2, 3, 4)], lambda x: p.reduced("max", x, (1,))),
    "min": ([(2, 3, 4)], lambda x: p.reduced("min", x, (0, 2))),
    "matmul": ([(2, 3, 4), (2, 4, 5)], p.matmul),
}


def number_of(table, name):
    return next(i for i, row in enumerate(table) if row["name"] == name)


def of_functions(name):
    """Operands and recorder of an activation or a loss: of softplus, of squared errors."""
    if name.startswith("activation"):
        row = number_of(_core.ACTIVATIONS, "softplus")
        params = (row, *_core.ACTIVATIONS[row]["params"].values())
        if name == "activation":
            return [(4,)], lambda z: z.tape.emit(name, z.shape, F64, (z,), params)

        def grad(dy, z):
            y = z.tape.emit("activation", z.shape, F64, (z,), params)
            return z.tape.emit(name, z.shape, F64, (dy, z, y), params)

        return [(4,), (4,)], grad
    params = (number_of(_core.LOSSES, "mse"),)
    return [(4,), (4,)], lambda t, y: y.tape.emit(name, y.shape, F64, (t, y), params)


def recorder(row):
    """Return the shapes of operands, and what records the instruction on them."""
    name = row["name"]
    if name in OTHERS:
        return OTHERS[name]
    if row["kind"] == "function":
        return of_functions(name)
    params = (3.0,) if name == "integer_power" else ()

    def record(*operands):
        return operands[0].tape.emit(name, operands[0].shape, F64, operands, params)

    return [(2, 3)] * row["operands"], record


def inputs_of(row, shapes, rng):
    offset = 1.5 if row["name"] == "arccosh" else 0.2
    return [offset + 0.6 * rng.random(shape) for shape in shapes]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_vjp_and_jvp_are_adjoint_and_agree_with_differences(row, rng):
    shapes, record = recorder(row)
    arrays = inputs_of(row, shapes, rng)
    moves = [rng.normal(size=shape) for shape in shapes]

    def value(step):
        tape = Tape(Traced)
        moved = [tape.input(x + step * v) for x, v in zip(arrays, moves, strict=True)]
        return tape.evaluate([record(*moved)])[0].astype(np.float64)

    tape = Tape(Traced)
    wrt = [tape.input(x) for x in arrays]
    out = record(*wrt)
    seed = rng.normal(size=out.shape).astype(out.dtype)
    cotangents = backward(out, wrt, tape.input(seed))
    (tangent,) = tangents([out], wrt, [tape.input(v) for v in moves])
    along = p.filled(out, 0.0) if tangent is None else tangent
    along, *found = tape.evaluate([along, *[c for c in cotangents if c is not None]])
    kept = [v for v, c in zip(moves, cotangents, strict=True) if c is not None]
    for v, c in zip(kept, found, strict=True):
        assert c.shape == v.shape
        assert c.dtype == F64
    adjoint = sum(np.sum(c * v) for c, v in zip(found, kept, strict=True))
    single = row["name"] == "cast"
    assert np.sum(seed * along) == pytest.approx(adjoint, rel=1e-5 if single else 1e-11, abs=1e-13)
    if not single:
        differences = (value(1e-5) - value(-1e-5)) / 2e-5
        np.testing.assert_allclose(along, differences, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_second_derivatives_agree_with_differences(row, rng):
    shapes, record = recorder(row)
    if row["name"] == "cast":
        return
    arrays = inputs_of(row, shapes, rng)
    moves = [rng.normal(size=shape) for shape in shapes]

    def gradient(step):
        tape = Tape(Traced)
        wrt = [tape.input(x + step * v) for x, v in zip(arrays, moves, strict=True)]
        out = record(*wrt)
        total = p.reduced("sum", out * out * 0.5 + out, range(len(out.shape)))
        back = backward(total, wrt)
        found = [p.filled(x, 0.0) if c is None else c for x, c in zip(wrt, back, strict=True)]
        along = tangents(found, wrt, [tape.input(v) for v in moves])
        along = [p.filled(x, 0.0) if t is None else t for x, t in zip(wrt, along, strict=True)]
        values = tape.evaluate([*found, *along])
        return values[: len(wrt)], values[len(wrt) :]

    _, exact = gradient(0.0)
    for found, above, below in zip(exact, gradient(1e-5)[0], gradient(-1e-5)[0], strict=True):
        np.testing.assert_allclose(found, (above - below) / 2e-5, rtol=1e-5, atol=1e-7)


def test_products_with_zeros():
    for x in ([2.0, 0.0, 3.0, 5.0, 7.0], [2.0, 0.0, 3.0, 0.0, 7.0], [0.0, 0.0, 0.0, 1.0, 2.0]):
        others = [[np.prod(np.delete(x, [i, j])) * (i != j) for j in range(5)] for i in range(5)]
        assert gd.hessian(np.prod)(np.array(x)).tolist() == others
        expected = [np.prod(np.delete(x, i)) for i in range(5)]
        assert gd.grad(lambda x: np.prod(x))(np.array(x)).tolist() == expected


def test_ties_share():
    x = np.array([[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]])
    assert gd.grad(lambda x: np.max(x))(x).tolist() == [[0.5, 0, 0.5], [0, 0, 0]]
    largest = gd.grad(lambda x: np.sum(np.max(x, axis=1)))(x)
    np.testing.assert_array_equal(largest, [[1 / 2, 0, 1 / 2], [1 / 3, 1 / 3, 1 / 3]])
    assert gd.grad(lambda x: np.min(x))(x).tolist() == [[0, 1, 0], [0, 0, 0]]
