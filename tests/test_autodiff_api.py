"""value_and_grad, grad, hvp, jacobian and hessian: containers, types, nesting, errors."""

from collections import namedtuple

import gradcheck
import numpy as np
import pytest

import gdcore as gd

INPUTS = np.arange(6.0)
TARGETS = 2 * INPUTS + 1


def loss(w, b):
    return np.sum((INPUTS * w + b - TARGETS) ** 2) / 6


def gradient_of_loss(w, b):
    error = INPUTS * w + b - TARGETS
    return np.sum(error * INPUTS) / 3, np.sum(error) / 3


# ---- Values, gradients and their types -----------------------------------------------------------


def test_value_and_gradient_of_a_line():
    value, (dw, db) = gd.value_and_grad(loss, argnums=(0, 1))(3.0, 0.5)
    assert value == loss(3.0, 0.5)
    assert (dw, db) == pytest.approx(gradient_of_loss(3.0, 0.5), rel=1e-15)
    assert type(value) is type(dw) is type(db) is np.float64


def test_argnums():
    _, (dw, db) = gd.value_and_grad(loss, (0, 1))(3.0, 0.5)
    assert gd.grad(loss)(3.0, 0.5) == dw
    assert gd.grad(loss, 1)(3.0, 0.5) == db
    assert gd.grad(loss, -1)(3.0, 0.5) == db
    assert gd.grad(loss, (1,))(3.0, 0.5) == (db,)
    assert gd.grad(loss, (1, 0))(3.0, 0.5) == (db, dw)
    assert gd.grad(loss, np.int64(1))(3.0, 0.5) == db
    assert gd.grad(loss)(3.0, b=0.5) == dw
    for wrong in (True, "w", 1.0, None, [0]):
        with pytest.raises(TypeError, match="argnums is"):
            gd.grad(loss, wrong)
    for wrong in ((), (0, 0)):
        with pytest.raises(ValueError, match="argnums is"):
            gd.grad(loss, wrong)
    with pytest.raises(ValueError, match=r"argnums has 2.*2 positional arguments"):
        gd.grad(loss, 2)(3.0, 0.5)
    with pytest.raises(ValueError, match="by position"):
        gd.grad(loss)(w=3.0, b=0.5)


def test_other_arguments_may_be_anything():
    def f(kind, x, *more, scale=1, **rest):
        assert kind == "square"
        assert more == (None, [INPUTS])
        assert rest == {"name": "n"}
        return scale * np.sum(x**2)

    found = gd.grad(f, 1)("square", np.ones(2), None, [INPUTS], scale=3, name="n")
    assert found.tolist() == [6, 6]


@pytest.mark.parametrize(
    ("x", "kind", "of"),
    [
        (2.0, np.float64, np.float64),
        (2, np.float64, np.float64),
        (np.float64(2), np.float64, np.float64),
        (np.float32(2), np.float32, np.float32),
        (np.int32(2), np.float64, np.float64),
        (np.array(2.0), np.ndarray, np.float64),
        (np.array(2.0, np.float32), np.ndarray, np.float32),
        (np.array([2.0], np.float32), np.ndarray, np.float32),
        (np.array([2]), np.ndarray, np.float64),
        ([2], np.ndarray, np.float64),
        ([[2.0], [3.0]], np.ndarray, np.float64),
        (np.array([2.0]).astype(">f8"), np.ndarray, np.float64),
    ],
    ids=repr,
)
def test_a_gradient_has_its_parameters_type_and_shape(x, kind, of):
    value, slope = gd.value_and_grad(lambda x: np.sum(x**2))(x)
    assert type(value) is of
    assert type(slope) is kind
    assert slope.dtype == of
    assert slope.dtype.isnative
    np.testing.assert_array_equal(slope, 2 * np.asarray(x))


def test_numbers_are_of_the_type_of_the_parameters_beside_them():
    def f(w, b):
        return np.sum(w * b)

    value, (dw, db) = gd.value_and_grad(f, (0, 1))(np.ones(2, np.float32), 2.0)
    assert (value.dtype, dw.dtype, type(db)) == (np.float32, np.float32, np.float32)
    value, (dw, db) = gd.value_and_grad(f, (0, 1))(np.ones(2, np.float32), np.ones(2))
    assert (value.dtype, dw.dtype, db.dtype) == (np.float64, np.float32, np.float64)
    value, (_, db) = gd.value_and_grad(f, (0, 1))(np.ones(2, np.float32), [2, 3])
    assert (value.dtype, db.dtype) == (np.float32, np.float32)


def test_arrays_are_read_where_they_are():
    base = np.arange(24.0).reshape(2, 3, 4)
    for x in (base.T, base[:, ::-1, ::2], base.transpose(1, 0, 2)[1:], np.asfortranarray(base)):
        c = np.cos(x)
        np.testing.assert_array_equal(gd.grad(lambda x, c=c: np.sum(x * c))(x), c)
    packed = np.zeros(3, [("a", "i1"), ("b", "f8")])
    packed["b"] = [1, 2, 3]
    assert gd.grad(lambda x: np.sum(x**2))(packed["b"]).tolist() == [2, 4, 6]
    x = np.ones(3)
    x.flags.writeable = False
    assert gd.grad(np.sum)(x).flags.writeable


def test_gradients_are_arrays_of_their_own():
    a, b = gd.grad(lambda a, b: np.sum(a + b), (0, 1))(np.ones(3), np.ones(3))
    assert not np.shares_memory(a, b)
    c = np.ones(3)
    slope = gd.grad(lambda x: np.sum(x * c))(np.ones(3))
    assert not np.shares_memory(slope, c)


def test_a_function_of_size_one_is_a_number():
    for f in (lambda x: x[:1] ** 2, lambda x: (x[:1] ** 2).reshape(1, 1)):
        value, slope = gd.value_and_grad(f)(np.array([3.0, 1.0]))
        assert type(value) is np.float64
        assert slope.tolist() == [6, 0]


def test_unused_parameters_have_zeros():
    x, y = np.ones((2, 3), np.float32), np.ones(2)
    value, (dx, dy, dz) = gd.value_and_grad(lambda x, y, z: np.sum(y), (0, 1, 2))(x, y, 1.0)
    assert value == 2
    assert dx.dtype == np.float32
    assert dx.tolist() == np.zeros((2, 3)).tolist()
    assert dy.tolist() == [1, 1]
    assert type(dz) is np.float64
    assert dz == 0


@pytest.mark.parametrize("constant", [3, 3.0, np.float64(3), np.array([3.0]), True])
def test_a_constant_has_gradient_zero(constant):
    value, slope = gd.value_and_grad(lambda x: constant)(np.ones(2))
    assert float(value) == float(np.asarray(constant).item())
    assert slope.tolist() == [0, 0]
    value, _ = gd.value_and_grad(lambda x: 3.0)(np.ones(2, np.float32))
    assert type(value) is np.float32


def test_outputs_that_are_refused():
    x = np.ones(3)
    with pytest.raises(ValueError, match=r"<lambda> returned an array of shape \(3,\).*\.sum\(\)"):
        gd.grad(lambda x: x * 2)(x)
    with pytest.raises(ValueError, match=r"gd\.jacobian"):
        gd.grad(lambda x: np.ones(2))(x)
    with pytest.raises(TypeError, match=r"returned None; .*is there a return\?"):
        gd.grad(lambda x: None)(x)
    with pytest.raises(TypeError, match=r"returned a tuple.*has_aux=True"):
        gd.grad(lambda x: (x[0], x[1]))(x)
    with pytest.raises(TypeError, match="returned a str"):
        gd.grad(lambda x: "loss")(x)
    with pytest.raises(TypeError, match="with has_aux=True a tuple"):
        gd.value_and_grad(lambda x: x[0], has_aux=True)(x)


# ---- Containers ----------------------------------------------------------------------------------

Layer = namedtuple("Layer", "W b")


def test_containers_of_any_depth():
    params = {
        "layers": [(np.ones((2, 2)), np.zeros(2)), (np.ones((2, 1)), np.float32(1))],
        "scale": 2.0,
        "offsets": [1.0, 2.0],
        "named": Layer(np.ones(2), 0.5),
    }

    def f(p):
        assert isinstance(p["named"], Layer)
        (w1, b1), (w2, b2) = p["layers"]
        h = np.tanh(INPUTS[:2] @ w1 + b1)
        return np.sum(h @ w2 + b2) * p["scale"] + np.sum(p["offsets"] * p["named"].W) * p["named"].b

    found = gd.grad(f)(params)
    assert list(found) == list(params)
    assert type(found["layers"]) is list
    assert type(found["layers"][0]) is tuple
    assert found["layers"][0][0].shape == (2, 2)
    assert type(found["layers"][1][1]) is np.float32
    assert type(found["scale"]) is np.float64
    assert type(found["offsets"]) is np.ndarray
    np.testing.assert_array_equal(found["offsets"], [0.5, 0.5])
    assert isinstance(found["named"], Layer)
    assert found["named"].b == 3
    w = params["layers"][0][0]
    expected = gradcheck.gradient(
        lambda w: f({**params, "layers": [(w, np.zeros(2)), params["layers"][1]]}), w
    )
    np.testing.assert_allclose(found["layers"][0][0], expected, rtol=1e-9)


def test_lists():
    assert gd.grad(lambda p: p[0] * p[1])([2.0, 3.0]).tolist() == [3, 2]
    da, db = gd.grad(lambda p: np.sum(p[0]) * p[1])([np.ones(2), 3.0])
    assert (da.tolist(), db) == ([3, 3], 2)
    (pair,) = gd.grad(lambda p: p[0][0] * p[0][1])([(2.0, 3.0)])
    assert pair == (3, 2)
    assert gd.grad(lambda p: p[0][1] * 2.0)([[1, 2], [3, 4]]).tolist() == [[0, 2], [0, 0]]
    assert gd.grad(lambda p: 1.0)(()) == ()


def test_containers_that_are_refused():
    x = np.ones(2)
    with pytest.raises(ValueError, match=r"w and b are the same array.*b\.copy\(\)"):
        gd.grad(lambda w, b: np.sum(w * b), (0, 1))(x, x)
    with pytest.raises(ValueError, match=r"p\['a'\] and p\['b'\]\[0\] are the same array"):
        gd.grad(lambda p: 0.0)({"a": x, "b": [x]})
    for wrong, kind in ((None, "NoneType"), ("x", "<U1"), ({1, 2}, "set"), ([[1], [1, 2]], "list")):
        with pytest.raises(TypeError, match=rf"p\['a'\] is {kind}; a parameter is a number"):
            gd.grad(lambda p: 0.0)({"a": wrong})
    assert gd.grad(lambda p: np.sum(p * x))(x).tolist() == [1, 1]


# ---- More results --------------------------------------------------------------------------------


def test_what_comes_with_the_value():
    def f(x):
        y = x * 2
        more = {"y": y, "n": 3, "list": [y.sum(), (x > 1, None)], "layer": Layer(y, 1)}
        return np.sum(y**2), more

    (value, more), slope = gd.value_and_grad(f, has_aux=True)(np.array([1.0, 2.0]))
    assert value == 20
    assert slope.tolist() == [8, 16]
    assert more["y"].tolist() == [2, 4]
    assert more["n"] == 3
    assert type(more["list"][0]) is np.float64
    assert more["list"][1][0].tolist() == [False, True]
    assert more["list"][1][1] is None
    assert more["layer"].W.tolist() == [2, 4]


def test_elementwise():
    x = np.linspace(-2, 2, 9)
    slope = gd.grad(lambda x: x**6 - 5 * x**4 + 4 * x**2, elementwise=True)
    np.testing.assert_allclose(slope(x), 6 * x**5 - 20 * x**3 + 8 * x, rtol=1e-13)
    assert type(slope(1.0)) is np.float64
    np.testing.assert_allclose(
        gd.grad(slope, elementwise=True)(x), 30 * x**4 - 60 * x**2 + 8, rtol=1e-13, atol=1e-13
    )
    np.testing.assert_array_equal(gd.grad(lambda x: 3.0 + 0 * x, elementwise=True)(x), 0 * x)
    stacked = gd.grad(lambda x: np.stack([x, x**2]).sum(axis=0), elementwise=True)
    np.testing.assert_allclose(stacked(x), 1 + 2 * x)
    with pytest.raises(ValueError, match=r"returned shape \(\) for x of shape \(9,\)"):
        gd.grad(lambda x: np.sum(x), elementwise=True)(x)
    with pytest.raises(ValueError, match="mixes the elements of x"):
        gd.grad(lambda x: x - np.mean(x), elementwise=True)(x)
    with pytest.raises(ValueError, match="mixes the elements of x"):
        gd.grad(lambda x: x[::-1] * 2, elementwise=True)(x)


# ---- Second derivatives --------------------------------------------------------------------------


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_hvp_is_the_hessian_times_v(rng):
    x, v = rng.normal(size=(2, 5))
    matrix = gd.hessian(rosenbrock)(x)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(gd.hvp(rosenbrock, x, v), matrix @ v, rtol=1e-13)
    expected = gradcheck.directional(gd.grad(rosenbrock), x, v)
    np.testing.assert_allclose(matrix @ v, expected, rtol=1e-6, atol=1e-5)
    assert gd.hvp(rosenbrock, x.astype(np.float32), v).dtype == np.float32


def test_hvp_of_containers():
    params = {"w": np.array([1.0, 2.0]), "b": [3.0, np.ones(2)]}

    def f(p):
        return np.sum(p["w"] ** 3 * p["b"][1]) * p["b"][0]

    found = gd.hvp(f, params, {"b": (0.0, [0.0, 0.0]), "w": [1, 0]})
    assert found["w"].tolist() == [18, 0]
    assert found["b"][0] == 3
    assert found["b"][1].tolist() == [9, 0]
    assert gd.hvp(lambda x, y: x**2 * y, (2.0, 3.0), (1.0, 0.0)) == (6, 4)
    assert gd.hvp(lambda x: x**3, 2.0, 1.0) == 12
    assert gd.hvp(lambda x: 2 * x, 2.0, 1.0) == 0
    with pytest.raises(ValueError, match=r"v\['w'\] has shape \(3,\) but its parameter has \(2,\)"):
        gd.hvp(f, params, {"w": np.ones(3), "b": [1.0, np.ones(2)]})
    with pytest.raises(ValueError, match=r"v\['b'\] is a int; .* list with 2 entries"):
        gd.hvp(f, params, {"w": np.ones(2), "b": 1})
    with pytest.raises(ValueError, match=r"dict with the keys \['w', 'b'\]"):
        gd.hvp(f, params, {"w": np.ones(2)})


def test_jacobian_by_rows_and_by_columns(rng):
    a, x = rng.normal(size=(7, 3)), rng.normal(size=3)
    np.testing.assert_allclose(
        gd.jacobian(lambda x: np.sin(a @ x))(x), np.cos(a @ x)[:, None] * a, rtol=1e-13
    )
    b, y = a[:2], rng.normal(size=3)
    np.testing.assert_allclose(
        gd.jacobian(lambda x: np.sin(b @ x))(y), np.cos(b @ y)[:, None] * b, rtol=1e-13
    )
    assert gd.jacobian(lambda x: x[:, None] * x)(x).shape == (3, 3, 3)
    assert gd.jacobian(lambda x: np.ones(2))(x).tolist() == np.zeros((2, 3)).tolist()
    assert gd.jacobian(lambda x: np.stack([x, x**2]))(2.0).tolist() == [1, 4]
    assert type(gd.jacobian(lambda x: x**2)(2.0)) is np.float64
    assert gd.jacobian(lambda x: x[:0])(x).shape == (0, 3)
    assert gd.jacobian(lambda x: x * 2)(np.ones(2, np.float32)).dtype == np.float32


def test_jacobian_of_containers():
    found = gd.jacobian(lambda p: {"y": p[0] * p[1]})((np.array([1.0, 2.0]), 3.0))
    assert found["y"][0].tolist() == [[3, 0], [0, 3]]
    assert found["y"][1].tolist() == [1, 2]
    matrix = gd.hessian(lambda p: np.sum(p["a"] ** 2) * p["b"])({"a": np.ones(2), "b": 2.0})
    assert matrix["a"]["a"].tolist() == [[4, 0], [0, 4]]
    assert matrix["a"]["b"].tolist() == [2, 2]
    assert matrix["b"]["a"].tolist() == [2, 2]
    assert matrix["b"]["b"] == 0


def test_nesting():
    def f(x):
        return x**5

    for n, expected in enumerate([80, 160, 240, 240, 120, 0], 1):
        g = f
        for _ in range(n):
            g = gd.grad(g)
        assert g(2.0) == expected
    assert type(g(2.0)) is np.float64
    # The inner function captures the outer one's parameter: no mixing of the two.
    assert gd.grad(lambda x: x * gd.grad(lambda y: x * y**2)(2.0))(3.0) == 24
    assert gd.grad(lambda x: x * gd.grad(lambda y: x + y)(1.0))(1.0) == 1
    assert gd.grad(lambda x: gd.grad(lambda y: x * y * y)(x))(3.0) == 12
    assert gd.hessian(lambda x: gd.value_and_grad(f)(x)[0])(2.0) == 160
    assert gd.grad(lambda x: gd.hvp(f, x, 1.0))(2.0) == 240
    assert gd.grad(lambda x: np.sum(gd.jacobian(lambda y: y**3)(x)))(np.ones(2)).tolist() == [6, 6]


def test_an_inner_gradient_that_depends_on_nothing_outside_is_a_plain_array():
    def f(x):
        y = np.ones(2)
        for _ in range(3):
            y -= 0.25 * gd.grad(lambda y: np.sum(y**2))(y)
        assert type(y) is np.ndarray
        return np.sum(x * y)

    assert gd.grad(f)(np.ones(2)).tolist() == [0.125, 0.125]


def test_penalty_on_the_gradient(rng):
    a = rng.normal(size=(3, 3))

    def f(x):
        slope = gd.grad(lambda x: np.sum(np.sin(a @ x)))(x)
        return np.sum(slope**2)

    gradcheck.check(gd, f, rng.normal(size=3))


# ---- Functions of ours ---------------------------------------------------------------------------


def test_functions_with_names():
    assert gd.grad(loss).__name__ == "loss"
    assert "loss" in gd.value_and_grad(loss).__doc__
    x = np.array([1.0, 2.0, 3.0])
    value, slope = gd.value_and_grad(gd.datasets.rosenbrock)(x)
    assert value == gd.datasets.rosenbrock(x)
    np.testing.assert_allclose(slope, gd.datasets.rosenbrock.grad(x))
    value, slopes = gd.value_and_grad(gd.datasets.peaks, argnums=(0, 1))(1.0, 2)
    assert slopes == pytest.approx(gd.datasets.peaks.grad(1.0, 2.0), rel=1e-13)
    with pytest.raises(ValueError, match="himmelblau takes 2 coordinates"):
        gd.grad(gd.datasets.himmelblau)(x)


SURFACES = [
    f for f in map(vars(gd.datasets).get, gd.datasets.__all__) if isinstance(f, gd.datasets.Surface)
]


@pytest.mark.parametrize("f", SURFACES, ids=repr)
def test_test_functions(f):
    x = np.array([0.3, -0.7])
    if f is gd.datasets.sextic:
        assert gd.grad(f)(0.3) == pytest.approx(f.grad(0.3))
        return
    np.testing.assert_allclose(gd.grad(f)(x), f.grad(x), rtol=1e-12)
    np.testing.assert_allclose(gd.grad(f)(x.astype(np.float32)), f.grad(x), rtol=1e-3)


def test_compiled_functions_answer_themselves():
    def fast(x):
        raise AssertionError

    fast._gd_compiled = True
    fast._value_and_grad = lambda *asked: (1.0, asked)
    assert gd.value_and_grad(fast, 1)(2, 3, k=4) == (1.0, (1, False, (2, 3), {"k": 4}))
    assert gd.grad(fast, (0,))(2) == ((0,), False, (2,), {})
