"""Programs of a user's functions: when they are made anew, what they see, what is refused."""

import functools
import gc
import threading
import weakref

import numpy as np
import pytest

import gdcore as gd
from gdcore import _network_functions
from gdcore._network_functions import activation_programs, loss_programs
from gdcore.autodiff import ImpureError, UntraceableError

TRIALS, TRACES = 2, 2  # calls of a function for its kind, and for each number of rows

factor = 2.0
Z = np.linspace(-1.0, 2.0, 12).reshape(4, 3)


def counted(f):
    """The function with the number of its calls."""

    def g(*args):
        g.calls += 1
        return f(*args)

    g.calls = 0
    return g


def made_of(f, rows=4, dtype=np.float64):
    return activation_programs(f, rows, 3, dtype)


def run(made, z=Z):
    (y,) = made.forward.run([z, *made.arrays()])
    return y


@pytest.fixture(autouse=True)
def nothing_kept():
    _network_functions._KEPT.clear()


# ---- When a function is traced -------------------------------------------------------------------


def test_it_is_traced_once_for_each_number_of_rows():
    f = counted(lambda z: z * 2)
    first = made_of(f)
    for _ in range(3):
        assert made_of(f) is first
    assert f.calls == TRIALS + TRACES
    assert made_of(f, 5) is not first
    assert made_of(f) is first
    assert f.calls == TRIALS + 2 * TRACES
    made_of(f, dtype=np.float32)
    assert f.calls == 2 * TRIALS + 3 * TRACES


def test_losses_are_traced_once_for_each_number_of_rows():
    f = counted(lambda t, p: np.mean((p - t) ** 2, axis=1))
    for rows in (4, 5, 4, 5):
        loss_programs(f, rows, (3,), 3, float, float)
    assert f.calls == TRIALS + 2 * TRACES
    loss_programs(f, 4, (3, 1), 3, float, float)  # of the same shape for f
    assert f.calls == TRIALS + 2 * TRACES
    loss_programs(f, 4, (3,), 3, int, float)
    assert f.calls == 2 * TRIALS + 3 * TRACES


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(_network_functions, "MOST_KEPT", 8)
    f = counted(lambda z: z * 2)
    for rows in range(1, 40):
        made_of(f, rows)
    assert len(_network_functions._KEPT) <= 8
    calls = f.calls
    made_of(f, 39)
    assert f.calls == calls
    made_of(f, 1)
    assert f.calls > calls


def test_what_is_kept_goes_with_the_function():
    def scaled_by(array):
        return lambda z: z * array

    w = np.ones(3)
    f, alive = scaled_by(w), weakref.ref(w)
    made_of(f)
    assert len(_network_functions._KEPT) == 2
    del f, w
    gc.collect()
    assert not _network_functions._KEPT
    assert alive() is None
    made_of(np.tanh)  # has no weak references
    assert made_of(np.tanh) is made_of(np.tanh)


def test_threads_may_ask_for_programs():
    f, wrong = (lambda z: np.tanh(z) * 2), []

    def work():
        for rows in (4, 5, 4, 6) * 10:
            z = np.ones((rows, 3))
            if not np.allclose(run(made_of(f, rows), z), f(z)):
                wrong.append(rows)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- What it finds outside -----------------------------------------------------------------------


def test_changed_contents_are_seen():
    w, shift = np.ones(3), np.arange(3)
    f = counted(lambda z: z * w + shift)
    made = made_of(f)
    np.testing.assert_array_equal(run(made), Z + np.arange(3.0))
    w[:] = 2
    shift[:] = 7
    assert made_of(f) is made
    np.testing.assert_array_equal(run(made), 2 * Z + 7)
    assert made.captured[0] is w
    assert made.arrays()[0] is w


def test_views_of_arrays_are_seen_to_change():
    w = np.zeros((3, 3))
    made = made_of(lambda z: z @ w.T + w[0])
    assert not run(made).any()
    w[:] = np.arange(9).reshape(3, 3)
    np.testing.assert_allclose(run(made), Z @ w.T + w[0])


@pytest.mark.parametrize(
    "f",
    [
        lambda w: lambda z: z * w.mean(),
        lambda w: lambda z: z * (w + 1),
        lambda w: lambda z: z * w[1],
        lambda w: lambda z: np.where(z > 0, z, np.full_like(z, w[0])),
    ],
)
def test_numbers_that_are_made_of_arrays_are_made_anew(f):
    w = np.array([1.0, 2.0, 3.0])
    f = counted(f(w))
    np.testing.assert_allclose(run(made_of(f)), f(Z))
    w[:] = [5.0, 5.0, 7.0]
    np.testing.assert_allclose(run(made_of(f)), f(Z))
    calls = f.calls
    made_of(f)
    assert f.calls == calls


def test_an_array_of_another_shape_is_another_trace():
    w = np.arange(3.0)
    f = counted(lambda z: z * w)
    made = made_of(f)
    w.shape = (1, 3)
    with pytest.raises(ValueError, match=r"had shape \(3,\) .* has \(1, 3\) now: call fit anew"):
        made.arrays()
    np.testing.assert_array_equal(run(made_of(f)), Z * w)
    assert f.calls == 2 * (TRIALS + TRACES)


def test_another_object_behind_a_name_is_another_trace(monkeypatch):
    c = 1.0

    def f(z):
        return z * c + factor

    np.testing.assert_array_equal(run(made_of(f)), Z + 2)
    c = 3.0
    np.testing.assert_array_equal(run(made_of(f)), 3 * Z + 2)
    monkeypatch.setitem(globals(), "factor", 5.0)
    np.testing.assert_array_equal(run(made_of(f)), 3 * Z + 5)


class Slope:
    """A callable with a setting, and a method."""

    def __init__(self, slope):
        self.slope, self.uses = slope, 0

    def __call__(self, z):
        return np.where(z > 0, z, self.slope * z)

    def times(self, z):
        return z * self.slope


def test_attributes_of_objects_are_seen_to_change():
    act = Slope(0.5)
    method = act.times
    bound = functools.partial(lambda c, z, d: z * c + d, np.ones(3), d=1.0)
    partial_of_method = functools.partial(act.times)
    functions = (act, method, bound, partial_of_method)
    before = [made_of(f) for f in functions]
    assert [made_of(f) for f in functions] == before
    act.uses = 1  # is not named by the code
    assert [made_of(f) for f in functions] == before
    act.slope = 0.25
    bound.keywords["d"] = 3.0
    for f, old in zip(functions, before, strict=True):
        assert made_of(f) is not old
        np.testing.assert_array_equal(run(made_of(f)), f(Z))


def test_functions_that_are_compiled_or_differentiated_inside():
    inner = gd.compile(lambda z: np.tanh(z))
    slope = gd.grad(np.tanh, elementwise=True)
    for f in (inner, lambda z: inner(z) * z, lambda z: slope(z)):
        np.testing.assert_allclose(run(made_of(f)), f(Z), rtol=1e-12)


def test_float64_among_float32_is_converted_and_warned_of():
    w = np.array([0.5, 1.0, 2.0])
    with pytest.warns(UserWarning, match="w, a float64 array") as caught:
        made = made_of(lambda z: z * w, dtype=np.float32)
    assert len(caught) == 1
    y = run(made, Z.astype(np.float32))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, Z * w, rtol=1e-6)


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda z: z.sum(axis=1),
        lambda z: z[:, :2],
        lambda z: z[:-1],
        lambda z: np.mean(z),
        lambda z: z.T,
        lambda z: np.squeeze(z[:, :1]),
    ],
)
def test_activations_of_another_shape_are_refused(f):
    with pytest.raises(ValueError, match=r"activation <lambda> returned shape \(.*z's shape"):
        made_of(f)
    with pytest.raises(ValueError, match="returned shape"):
        made_of(f, 3)  # z.T has z's shape there


@pytest.mark.parametrize(
    ("f", "found"),
    [
        (lambda t, p: (p - t) ** 2, r"\(4, 3\) for 4 rows; .*\(4,\) and \(4, 1\)"),
        (lambda t, p: np.mean(p - t, axis=0), r"\(3,\) for 4 rows"),
        (lambda t, p: np.mean(p - t, axis=1) - p[:, :1], r"\(n, 1\) broadcast to \(n, n\)"),
        (lambda t, p: np.mean(p, axis=1)[1:], r"\(3,\) for 4 rows"),
    ],
)
def test_losses_of_another_shape_are_refused(f, found):
    with pytest.raises(ValueError, match=f"loss <lambda> returned shape .*{found}"):
        loss_programs(f, 4, (3,), 3, float, float)


def test_a_loss_of_each_output_is_seen_where_there_are_as_many_rows():
    with pytest.raises(ValueError, match=r"shape \(3,\) for 1009 rows"):
        loss_programs(lambda t, p: np.mean((p - t) ** 2, axis=0), 3, (3,), 3, float, float)


def test_losses_that_are_no_reals_are_refused():
    for f in (lambda t, p: p[:, 0] > t[:, 0], lambda t, p: np.sum(p > t, axis=1)):
        with pytest.raises(TypeError, match=r"(truths|integers), which have no derivative"):
            loss_programs(f, 4, (3,), 3, float, float)
    for f in (lambda t, p: None, lambda t, p: (p, t)):
        with pytest.raises(
            TypeError, match=r"returned (nothing; is there a return|a tuple; an array)"
        ):
            loss_programs(f, 4, (3,), 3, float, float)


def test_functions_that_are_not_pure_are_refused():
    rng = np.random.default_rng(0)
    for f in (lambda z: z * rng.normal(), lambda z: z + rng.normal(size=3)):
        with pytest.raises(ImpureError, match=r"not pure: .*gd\.Dropout") as caught:
            made_of(f)
        assert "gd.compile" not in str(caught.value)
    with pytest.raises(ImpureError, match="loss <lambda>: your function is not pure"):
        loss_programs(lambda t, p: np.sum(p, axis=1) * rng.normal(), 4, (), 3, float, float)


def branching(z):
    if z[0, 0] > 0:
        return z
    return -z


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (branching, r"activation branching .*branches on a value\. Write np\.where.*\n.*if z\["),
        (lambda z: np.sort(z, axis=1), r"np\.sort looks at the numbers"),
        (lambda z: np.sort(z, axis=0), r"np\.sort looks at the numbers"),
        (lambda z: np.cumsum(z, axis=1), r"np\.cumsum is computed by NumPy"),
        (lambda z: float(z[0, 0]) * z, "plain number"),
        (lambda z: np.fft.fft(z), "fft"),
        (lambda z: z.sort(), r"np\.sort"),
    ],
)
def test_what_cannot_be_traced_is_named(f, words):
    with pytest.raises(UntraceableError, match=words) as caught:
        made_of(f)
    assert "gd.compile" not in str(caught.value)


def test_errors_of_the_function_come_through():
    with pytest.raises(ValueError, match="broadcast"):
        made_of(lambda z: z + np.ones(5))
    with pytest.raises(ZeroDivisionError):
        made_of(lambda z: z * (1 / 0))
