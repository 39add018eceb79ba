"""Test functions: gradients by two independent derivatives, extrema, forms of call, and copies.

Everything runs over all surfaces of gd.datasets; their formulas are checked at extrema, whose
values come from mpmath with 40 digits, and against SciPy's forms or hand-computed values.
"""

import copy
import dataclasses
import inspect
import pickle

import mpmath
import numpy as np
import pytest

import gdcore as gd
from gdcore.datasets import Surface

SURFACES = [
    surface
    for surface in map(vars(gd.datasets).get, gd.datasets.__all__)
    if isinstance(surface, Surface)
]
VARIABLES = {f: len(inspect.signature(f).parameters) for f in SURFACES}
MANY = [f for f in SURFACES if list(inspect.signature(f).parameters) == ["point"]]
each = pytest.mark.parametrize("f", SURFACES, ids=repr)


def axes_of(f):
    """Number of coordinates to test with: of a function of any number, 2."""
    return 2 if f in MANY else VARIABLES[f]


def points(f, rng, n=40):
    box = np.array([f.xlim, f.ylim])[: axes_of(f)]
    p = rng.uniform(*box.T[:, :, None], (len(box), n))
    return p


def complex_step(f, p, axis):
    """Derivative along an axis, exact to rounding."""
    z = p.astype(complex)
    z[axis] += 1e-30j
    return f(*z).imag / 1e-30


def test_the_surfaces():
    assert {f.name for f in SURFACES} == {
        "ackley", "beale", "himmelblau", "peaks", "rastrigin",
        "ravine", "rosenbrock", "saddle", "sextic",
    }  # fmt: skip


@each
def test_gradient_by_complex_step_and_central_differences(f, rng):
    p = points(f, rng)
    slopes = f.grad(*p)
    slopes = slopes if isinstance(slopes, tuple) else (slopes,)
    assert len(slopes) == len(p)
    for axis, slope in enumerate(slopes):
        scale = np.abs(slope).max()
        np.testing.assert_allclose(slope, complex_step(f, p, axis), rtol=1e-12, atol=1e-14 * scale)
        h = np.zeros((len(p), 1))
        h[axis] = 1e-5
        difference = (f(*(p + h)) - f(*(p - h))) / 2e-5
        np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-7 * scale)


@pytest.mark.parametrize("f", MANY, ids=repr)
def test_gradient_in_many_variables(f, rng):
    for n in (2, 3, 7):
        p = rng.uniform(*f.xlim, (n, 5))
        by_steps = []
        for axis in range(n):
            z = p.astype(complex)
            z[axis] += 1e-30j
            by_steps.append(f(z).imag / 1e-30)
        np.testing.assert_allclose(f.grad(p), by_steps, rtol=1e-12, atol=1e-11)
        np.testing.assert_allclose(f(*p), f(p), rtol=1e-13)


@each
def test_forms_of_call(f, rng):
    """Arguments and one array, points one by one, and broadcasting."""
    p = points(f, rng)
    values, slopes = f(*p), np.array(f.grad(*p)).reshape(p.shape)
    assert values.shape == p.shape[1:]
    if len(p) == 2:
        np.testing.assert_allclose(f(p), values, rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(f.grad(p), slopes, rtol=1e-14, atol=1e-14)
        grid = f(p[0][:, None], p[1][None, :])
        np.testing.assert_allclose(np.diagonal(grid), values, rtol=1e-14, atol=1e-14)
        across = f.grad(p[0][:, None], p[1])
        assert [slope.shape for slope in across] == [grid.shape] * 2
        np.testing.assert_allclose(np.diagonal(across[1]), slopes[1], rtol=1e-14, atol=1e-14)
    for k in range(5):
        x = [float(coordinate) for coordinate in p[:, k]]
        single = f(*x)
        assert type(single) is np.float64
        assert single == pytest.approx(values[k], rel=1e-13, abs=1e-13)
        for form in (x, tuple(x), np.array(x)) if len(p) == 2 else ():
            assert type(f(form)) is np.float64
            assert f(form) == pytest.approx(single, rel=1e-14, abs=1e-14)
            assert f.grad(form).shape == (2,)
            np.testing.assert_allclose(f.grad(form), slopes[:, k], rtol=1e-13, atol=1e-13)


@each
def test_types(f, rng):
    p = points(f, rng).astype(np.float32)
    assert f(*p).dtype == np.float32
    assert np.array(f.grad(*p)).dtype == np.float32
    if len(p) == 2:
        assert f(p).dtype == f.grad(p).dtype == f(p[0], 0.5).dtype == np.float32
        assert f(p[0], 2).dtype == np.float32
        assert f(p.astype(np.float64)[0], p[1]).dtype == np.float64
    ones = [1] * len(p)
    assert type(f(*ones)) is np.float64
    assert f(*ones) == f(*np.ones(len(p))) == f(*np.ones(len(p), np.int8))
    wide = p.astype(np.float64)
    scale = np.abs(f(*wide)).max()
    np.testing.assert_allclose(f(*p), f(*wide), rtol=1e-5, atol=1e-5 * scale)


@each
def test_no_warning_and_no_change_of_the_input(f):
    p = np.array([[np.inf, -np.inf, np.nan, 1e300, 0.0]] * axes_of(f))
    before = p.copy()
    f(*p), f.grad(*p)
    np.testing.assert_array_equal(p, before)
    slopes = f.grad(*np.zeros((axes_of(f), 3)))
    assert np.isfinite(np.array(slopes)).all()


@each
def test_extrema(f, rng):
    """The gradient vanishes, the curvature has the right sign, the value is the one documented."""
    n = axes_of(f)
    for extrema, sign in [(f.minima, 1), (f.maxima, -1)]:
        values = [extremum.value for extremum in extrema]
        assert values == sorted(values, reverse=sign < 0)
        for point, value in extrema:
            assert len(point) == n
            assert f(*point) == pytest.approx(value, rel=1e-14, abs=1e-26)
            x = np.array(point)
            around = x[:, None] + 1e-4 * rng.standard_normal((n, 200))
            assert (sign * (f(*around) - value) > 0).all()
            for limits, coordinate in zip((f.xlim, f.ylim), point, strict=False):
                assert limits[0] < coordinate < limits[1]
            if f is gd.datasets.ackley:  # a cone: no gradient at its tip
                continue
            hessian = np.array(
                [
                    [
                        complex_step(lambda *q, i=i: np.reshape(f.grad(*q), (n,))[i], x, j)
                        for j in range(n)
                    ]
                    for i in range(n)
                ]
            )
            np.testing.assert_allclose(hessian, hessian.T, rtol=1e-12)
            assert (sign * np.linalg.eigvalsh(hessian) > 0).all()
            # Within two roundings of the root: the gradient is what the curvature makes of them.
            room = np.abs(hessian) @ np.maximum(np.spacing(np.abs(x)), 1e-16) + 1e-14
            assert (np.abs(np.reshape(f.grad(*point), n)) <= 2 * room).all()


def test_extrema_by_newton():
    """All stationary points of peaks that a grid of starts finds, and no other extremum."""
    for f in (gd.datasets.peaks, gd.datasets.himmelblau):
        known = [extremum.point for extremum in f.minima + f.maxima]
        found = set()
        x = np.array(np.meshgrid(np.linspace(*f.xlim, 41), np.linspace(*f.ylim, 41))).reshape(2, -1)
        for _ in range(60):
            columns = [np.array(f.grad(*(x + 1e-30j * e[:, None]))).imag / 1e-30 for e in np.eye(2)]
            hessian = np.moveaxis(np.array(columns), 2, 0)
            regular = np.abs(np.linalg.det(hessian)) > 1e-6
            x, hessian = x[:, regular], hessian[regular]
            step = np.linalg.solve(hessian, f.grad(x).T[:, :, None])[:, :, 0].T
            x = (x - step)[:, np.abs(x - step).max(axis=0) < 3.5 * f.xlim[1]]
        ends = x[:, np.abs(f.grad(x)).max(axis=0) < 1e-9]
        for end in ends.T:
            if (np.abs(end) < f.xlim[1]).all():
                columns = [np.array(f.grad(*(end + 1e-30j * e))).imag / 1e-30 for e in np.eye(2)]
                if np.linalg.det(columns) > 0:
                    found.add(min(known, key=lambda point: np.abs(point - end).max()))
                    assert min(np.abs(np.array(known) - end).max(axis=1)) < 1e-12
        assert found == set(known)


def test_peaks_to_full_precision():
    mpmath.mp.dps = 40

    def peaks(x, y):
        return (
            3 * (1 - x) ** 2 * mpmath.exp(-(x**2) - (y + 1) ** 2)
            - 10 * (x / 5 - x**3 - y**5) * mpmath.exp(-(x**2) - y**2)
            - mpmath.exp(-((x + 1) ** 2) - y**2) / 3
        )

    def gradient(x, y):
        return [mpmath.diff(peaks, (x, y), order) for order in ((1, 0), (0, 1))]

    for point, value in gd.datasets.peaks.minima + gd.datasets.peaks.maxima:
        root = mpmath.findroot(gradient, point)
        assert tuple(map(float, root)) == point
        assert float(peaks(*root)) == value


def test_values_by_hand():
    d = gd.datasets
    for f, point, value in [
        (d.sextic, (2.0,), 0.0),
        (d.sextic, (-1.0,), 0.0),
        (d.beale, (1.0, 1.0), 1.5**2 + 2.25**2 + 2.625**2),
        (d.beale, (2.0, -1.0), 2.5**2 + 2.25**2 + 1.375**2),
        (d.himmelblau, (0.0, 0.0), 170.0),
        (d.ravine, (1.0, 2.0), 200.5),
        (d.saddle, (3.0, 1.0), 8.0),
        (d.rosenbrock, (-1.0, 2.0), 104.0),
        (d.rosenbrock, (-1.0, 2.0, 3.0), 104.0 + 101.0),
        (d.rastrigin, (1.0, 0.5), 1.0 + 20.25),
        (d.rastrigin, (0.5, 0.5, 0.5), 60.75),
        (d.ackley, (1.0, 1.0), 20 * (1 - np.exp(-0.2))),
        (d.ackley, (0.5, 0.5, 0.5), 20 * (1 - np.exp(-0.1)) + np.e - np.exp(-1)),
        (d.peaks, (0.0, 0.0), 3 * np.exp(-1) - np.exp(-1) / 3),
        (d.peaks, (1.0, 0.0), 8 * np.exp(-1) - np.exp(-4) / 3),
    ]:
        assert f(*point) == pytest.approx(value, rel=1e-13, abs=1e-14)


def test_minima_in_many_variables():
    for n in (3, 10, 1000):
        assert gd.datasets.rosenbrock(np.ones(n)) == 0
        assert not gd.datasets.rosenbrock.grad(np.ones(n)).any()
        for f in (gd.datasets.rastrigin, gd.datasets.ackley):
            assert f(np.zeros(n)) == 0
            assert not f.grad(np.zeros(n)).any()
    assert gd.datasets.ackley(np.zeros(3, np.float32)) == 0


class Recorder:
    """Stands in for an array, as a tracer does: knows NumPy's functions, operators and indexing."""

    def __init__(self, value, calls):
        self.value, self.calls = value, calls

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):
        return self._record(ufunc, inputs, settings)

    def __array_function__(self, function, types, inputs, settings):
        return self._record(function, inputs, settings)

    def _record(self, function, inputs, settings):
        self.calls.append(function.__name__)
        return Recorder(function(*map(self._plain, inputs), **settings), self.calls)

    @staticmethod
    def _plain(value):
        return value.value if isinstance(value, Recorder) else value

    def __getitem__(self, key):
        return Recorder(self.value[key], self.calls)

    def __neg__(self):
        return np.negative(self)


for name, ufunc in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "pow": np.power,
}.items():  # fmt: skip
    setattr(Recorder, f"__{name}__", lambda self, other, u=ufunc: u(self, other))
    setattr(Recorder, f"__r{name}__", lambda self, other, u=ufunc: u(other, self))


@each
def test_a_tracer_goes_through(f, rng):
    """Nothing but NumPy's functions, operators and indexing touches the coordinates."""
    p, calls = points(f, rng), []
    traced = f(*(Recorder(x, calls) for x in p))
    assert calls
    np.testing.assert_array_equal(traced.value, f(*p))
    if len(p) == 2:
        np.testing.assert_array_equal(f(Recorder(p, calls)).value, f(p))
        pair = [Recorder(x, calls) for x in p]
        np.testing.assert_array_equal(f(pair).value, f(*p))
        np.testing.assert_array_equal(f(p[0], pair[1]).value, f(*p))


@each
def test_copies_and_repr_are_the_surface(f):
    for twin in (
        pickle.loads(pickle.dumps(f)),
        copy.copy(f),
        copy.deepcopy([f])[0],
        eval(repr(f), {"gd": gd}),
    ):
        assert twin is f
    assert len({*SURFACES, f}) == len(SURFACES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        f.xlim = (0, 1)


@each
def test_docstrings_and_limits(f):
    assert f.__doc__ != Surface.__doc__
    assert "**2" in f.__doc__
    for low, high in (f.xlim, f.ylim):
        assert low < high


def test_wrong_coordinates_are_refused():
    for make, error, message in [
        (lambda: gd.datasets.peaks(1.0), ValueError, "peaks takes 2 coordinates, as .*; found 0"),
        (lambda: gd.datasets.peaks(1, 2, 3), ValueError, "peaks takes 2 coordinates.*; found 3"),
        (lambda: gd.datasets.peaks(), ValueError, "found 0"),
        (lambda: gd.datasets.peaks.grad([1.0, 2.0, 3.0]), ValueError, "found 3"),
        (lambda: gd.datasets.sextic(1.0, 2.0), ValueError, "sextic takes 1 coordinate, .*found 2"),
        (lambda: gd.datasets.rosenbrock([1.0]), ValueError, "takes 2 or more coordinates.*found 1"),
        (
            lambda: gd.datasets.beale("a", 1),
            TypeError,
            "beale: a coordinate is <U1; accepted are nu",
        ),
        (lambda: gd.datasets.beale(None, 1), TypeError, "beale: a coordinate is object"),
        (
            lambda: gd.datasets.beale(np.ones(2), np.ones(3)),
            ValueError,
            r"beale: coordinates of shapes \(2,\), \(3,\) do not broadcast",
        ),
    ]:
        with pytest.raises(error, match=message):
            make()


def test_descent_on_the_ravine_is_what_its_docstring_says():
    for lr, low, high in [(2.01 / 100, 1e2, np.inf), (2 / 101, 1e-5, 1e-3), (0.01, 1e-3, 1e-2)]:
        p = np.array([1.0, 1.0])
        for _ in range(500):
            p -= lr * gd.datasets.ravine.grad(p)
        assert low < np.abs(p).max() < high
