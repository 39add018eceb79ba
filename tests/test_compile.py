"""Compiled functions: when they are traced anew, what they see outside, and what they return."""

import gc
import pickle
import threading
import tracemalloc
from collections import namedtuple

import numpy as np
import pytest

import gdcore as gd
from gdcore.autodiff import ImpureError, UntraceableError

scale = 2.0
shared = np.array([1.0, 2.0, 3.0])
Line = namedtuple("Line", "slope offset")


def scaled(x):
    return np.sum(x * shared) * scale


def counted(f):
    """The function with the number of its calls."""

    def g(*args, **given):
        g.calls += 1
        return f(*args, **given)

    g.calls = 0
    return g


# ---- When it is traced ---------------------------------------------------------------------------


def test_it_is_traced_twice_for_each_set_of_shapes_and_types():
    f = counted(lambda x: np.sum(np.sin(x)))
    fast = gd.compile(f)
    for x in (np.ones(3), np.zeros(3), np.ones(3)):
        assert fast(x) == pytest.approx(np.sin(x).sum())
    assert f.calls == 2
    fast(np.ones(4))
    assert f.calls == 4
    fast(np.ones(3, np.float32))
    assert f.calls == 6
    fast(np.ones(3))
    assert f.calls == 6
    fast(np.ones(6)[::2])  # other strides
    assert f.calls == 8


def test_value_and_gradient_are_traced_for_themselves():
    f = counted(lambda x: np.sum(x**2))
    fast = gd.compile(f)
    for _ in range(3):
        value, gradient = gd.value_and_grad(fast)(np.array([1.0, 2.0]))
    assert f.calls == 2
    assert value == 5
    np.testing.assert_array_equal(gradient, [2.0, 4.0])


def test_integers_are_part_of_the_trace():
    f = counted(lambda x, n: np.sum(x**n))
    fast = gd.compile(f)
    x = np.array([1.0, 2.0])
    assert [fast(x, 2), fast(x, 3), fast(x, 2)] == [5, 9, 5]
    assert f.calls == 4
    assert fast(x, n=3) == 9
    assert gd.compile(lambda x, word: x if word == "keep" else -x)(2.0, "keep") == 2


def test_floats_are_read_at_each_call():
    f = counted(lambda x, c: np.sum(x) * c)
    fast = gd.compile(f)
    assert [fast(np.ones(2), c) for c in (0.5, 1.5, np.float64(2.0))] == [1, 3, 4]
    assert f.calls == 4  # a NumPy scalar is another type


def test_integer_arrays_may_be_others_at_each_call():
    f = counted(lambda w, labels: np.sum(np.take(w, labels)))
    fast = gd.compile(f)
    w = np.array([1.0, 10.0, 100.0])
    assert [fast(w, np.array(k)) for k in ([0, 1], [2, 2], [1, 2])] == [11, 200, 110]
    assert f.calls == 2
    with pytest.raises(IndexError, match="outside"):
        fast(w, np.array([0, 3]))


def test_lists_and_numbers_are_read_as_arrays():
    fast = gd.compile(lambda x: np.sum(x * 2))
    assert fast([1.0, 2.0]) == 6
    value, gradient = gd.value_and_grad(fast)([1, 2])
    assert value == 6
    np.testing.assert_array_equal(gradient, [2.0, 2.0])
    value, slope = gd.value_and_grad(gd.compile(lambda x: x**3))(2)
    assert (value, slope) == (8, 12)


# ---- What it finds outside -----------------------------------------------------------------------


def test_changed_contents_are_seen():
    data = np.array([1.0, 2.0])
    f = counted(lambda w: np.sum(w * data))
    fast = gd.compile(f)
    assert fast(1.0) == 3
    data[:] = [5.0, 6.0]
    assert fast(1.0) == 11
    assert f.calls == 2


def test_contents_from_which_the_function_makes_numbers_are_seen():
    data = np.array([1.0, 3.0])
    for f in (lambda w: w * data.mean(), lambda w: np.sum(w * (data - 1)), lambda w: w * data[1]):
        data[:] = [1.0, 3.0]
        fast = gd.compile(f)
        fast(2.0)
        data[:] = [5.0, 7.0]
        assert fast(2.0) == f(2.0)
        assert gd.value_and_grad(fast)(2.0)[0] == f(2.0)


def test_another_object_behind_a_name_is_another_trace(monkeypatch):
    fast = gd.compile(scaled)
    assert fast(np.ones(3)) == 12
    monkeypatch.setitem(globals(), "scale", 3.0)
    assert fast(np.ones(3)) == 18
    monkeypatch.setitem(globals(), "shared", np.ones(3, np.float32))
    assert fast(np.ones(3)) == 9


def test_another_object_in_a_closure_is_another_trace():
    c = 1.0

    def inner(x):
        return x * c

    fast = gd.compile(lambda x: inner(x) + 1)
    assert fast(2.0) == 3
    c = 5.0
    assert fast(2.0) == 11


def test_a_captured_array_of_another_shape_is_another_trace():
    box = {"data": np.ones(3)}

    def f(w):
        return np.sum(w * box["data"])

    fast = gd.compile(f)
    assert fast(1.0) == 3
    box["data"].resize(5, refcheck=False)
    assert fast(1.0) == 3
    box["data"][:] = 1
    assert fast(1.0) == 5


# ---- What it returns -----------------------------------------------------------------------------


def test_results_have_the_types_of_numpy():
    def f(x):
        return {"sum": np.sum(x), "parts": [x * 2, (x > 1, 3)], "count": np.sum(x > 1)}

    x = np.array([1.0, 2.0], np.float32)
    found = gd.compile(f)(x)
    assert type(found["sum"]) is np.float32
    assert found["parts"][0].dtype == np.float32
    assert found["parts"][1][0].dtype == bool
    assert found["parts"][1][1] == 3
    assert type(found["count"]) is np.int64
    assert found["count"] == 1


def test_gradients_are_like_their_parameters():
    def f(p, c):
        return p["w"] * c + np.sum(p["line"].slope * p["b"]) + p["line"].offset

    fast = gd.compile(f)
    p = {"w": np.array(2.0), "b": np.ones(2), "line": Line(3.0, np.array([1.0]))}
    traced = gd.value_and_grad(f, (0, 1))(p, 0.5)
    compiled = gd.value_and_grad(fast, (0, 1))(p, 0.5)
    for value, (gradients, slope) in (traced, compiled):
        assert type(value) is np.float64
        assert isinstance(gradients["w"], np.ndarray)
        assert gradients["w"].shape == ()
        assert type(gradients["line"]) is Line
        assert type(gradients["line"].slope) is np.float64
        assert gradients["line"].offset.shape == (1,)
        assert type(slope) is np.float64
    assert repr(traced) == repr(compiled)


def test_several_numbers():
    fast = gd.compile(lambda a, b: a * a * b)
    value, slopes = gd.value_and_grad(fast, (0, 1))(3.0, 2.0)
    assert (value, slopes) == (18, (12, 9))
    assert all(type(x) is np.float64 for x in (value, *slopes))


def test_has_aux():
    fast = gd.compile(lambda x: (np.sum(x**2), {"twice": 2 * x}))
    (value, more), gradient = gd.value_and_grad(fast, has_aux=True)(np.array([1.0, 2.0]))
    assert value == 5
    np.testing.assert_array_equal(more["twice"], [2.0, 4.0])
    np.testing.assert_array_equal(gradient, [2.0, 4.0])


def test_results_are_new_arrays():
    fast = gd.compile(lambda x: (x, x, x.T))
    x = np.ones((2, 2))
    results = fast(x)
    arrays = [x, *results]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_what_does_not_depend_on_the_arguments():
    fast = gd.compile(lambda x: (shared, 3, None))
    array, number, nothing = fast(1.0)
    np.testing.assert_array_equal(array, shared)
    assert array is not shared
    assert (number, nothing) == (3, None)
    assert gd.value_and_grad(gd.compile(lambda x: 3.0))(1.0) == (3.0, 0.0)


@pytest.mark.parametrize("n", [65, 200])
def test_many_parameters(n):
    fast = gd.compile(lambda p: sum(np.sum(x * x) for x in p))
    value, gradients = gd.value_and_grad(fast)([np.full(2, float(i)) for i in range(n)])
    assert value == sum(2.0 * i * i for i in range(n))
    assert all((g == 2.0 * i).all() for i, g in enumerate(gradients))


# ---- With the other functions --------------------------------------------------------------------


def test_derivatives_may_be_compiled_and_compiled_functions_differentiated():
    def f(x):
        return np.sum(np.sin(x) * x)

    x = np.array([0.3, -1.2])
    np.testing.assert_array_equal(gd.compile(gd.grad(f))(x), gd.grad(f)(x))
    np.testing.assert_array_equal(gd.grad(gd.compile(f))(x), gd.grad(f)(x))
    np.testing.assert_array_equal(gd.hvp(gd.compile(f), x, x), gd.hvp(f, x, x))
    np.testing.assert_array_equal(gd.hessian(gd.compile(f))(x), gd.hessian(f)(x))
    fast = gd.compile(f)
    np.testing.assert_array_equal(
        gd.grad(lambda x: fast(x) ** 2)(x), gd.grad(lambda x: f(x) ** 2)(x)
    )
    assert gd.compile(fast) is fast


def test_methods_may_be_compiled():
    class Model:
        def __init__(self, w):
            self.w = w

        @gd.compile
        def loss(self, x):
            return np.sum(self.w * x)

    assert Model(np.array([1.0, 2.0])).loss(2.0) == 6


def test_program_shows_what_runs():
    fast = gd.compile(lambda x: np.sum(np.exp(x) * 2))
    with pytest.raises(ValueError, match="call it, or say"):
        fast.program()
    text = fast.program(np.ones(3))
    assert [line.split()[2] for line in text.splitlines()[:-1]] == [
        "input",
        "exp",
        "constant",
        "expand",
        "multiply",
        "sum",
    ]
    assert "step 0" in text
    assert "output 0" in text
    assert "2 steps" not in fast.program()
    assert fast.program(np.ones(3), grad=True).count("output") == 2
    assert repr(fast) == "gd.compile(<lambda>)"
    other = gd.compile(lambda x: np.sum(x * x))
    gd.value_and_grad(other)(np.ones(3))
    assert other.program().count("output") == 2


def test_it_pickles_as_its_function():
    fast = pickle.loads(pickle.dumps(gd.compile(scaled)))
    assert fast(np.ones(3)) == scaled(np.ones(3))


# ---- What cannot be compiled ---------------------------------------------------------------------


def test_a_function_that_is_not_pure_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ImpureError, match="your function is not pure"):
        gd.compile(lambda x: x * rng.normal())(1.0)
    with pytest.raises(ImpureError, match="an array that it makes differs"):
        gd.compile(lambda x: np.sum(x * rng.normal(size=3)))(1.0)
    turns = []

    def growing(x):
        turns.append(0)
        return x * len(turns)

    with pytest.raises(ImpureError, match="other numbers"):
        gd.compile(growing)(1.0)


def test_a_branch_on_a_value_is_refused():
    def f(x):
        if x > 0:
            return x
        return -x

    assert gd.value_and_grad(f)(-2.0) == (2.0, -1.0)
    with pytest.raises(UntraceableError, match=r"np\.where") as caught:
        gd.compile(f)(-2.0)
    assert "if x > 0:" in str(caught.value)


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda A: np.linalg.det(A), "det"),
        (lambda A: np.sum(np.linalg.inv(A)), "inv"),
        (lambda A: np.sum(np.linalg.solve(A, np.ones(2))), "solve"),
        (lambda A: np.sum(np.sort(A) * A), "sort"),
        (lambda A: np.sum(np.cumsum(A)), "cumsum"),
    ],
)
def test_what_is_traced_only_is_named(f, name):
    A = np.array([[2.0, 1.0], [0.5, 3.0]])
    assert gd.value_and_grad(f)(A)[1].shape == (2, 2)
    with pytest.raises(UntraceableError, match=name):
        gd.compile(f)(A)


def test_something_else_than_a_function_is_refused():
    with pytest.raises(TypeError, match="f is int"):
        gd.compile(3)


# ---- Memory and threads --------------------------------------------------------------------------


def test_ten_thousand_compilations_leave_nothing():
    x = np.ones(3)

    def compile_some(n):
        for i in range(n):
            f = gd.compile(lambda w, c=float(i): np.sum(w * x) * c)
            gd.value_and_grad(f)(x)

    compile_some(200)
    gc.collect()
    tracemalloc.start()
    compile_some(200)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    compile_some(9_600)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 200_000


def test_the_cache_is_bounded():
    f = counted(lambda x: np.sum(x))
    fast = gd.compile(f)
    for n in range(200):
        fast(np.ones(n))
    assert len(fast._entries) <= 64
    fast(np.ones(199))
    assert f.calls == 400


def test_two_threads_may_run_one_compiled_function():
    fast = gd.compile(lambda x: np.sum(np.sin(x) ** 2))
    both = gd.value_and_grad(fast)
    points = [np.random.default_rng(i).normal(size=20_000 + i % 2) for i in range(4)]
    expected = [both(x) for x in points]
    wrong = []

    def work(i):
        for _ in range(50):
            value, gradient = both(points[i])
            if value != expected[i][0] or gradient.tobytes() != expected[i][1].tobytes():
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
