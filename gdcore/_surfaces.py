"""Test functions with gradient and extrema: plain NumPy expressions that a tracer can follow.

A function of two variables is written f(x, y), one of any number of variables as a function of a
point, whose coordinates are a tuple of arrays or the first axis of one array. `Surface` accepts
both forms of call for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Extremum",
    "Surface",
    "ackley",
    "beale",
    "himmelblau",
    "peaks",
    "rastrigin",
    "ravine",
    "rosenbrock",
    "saddle",
    "sextic",
]

Limits = tuple[float, float]


class Extremum(NamedTuple):
    """A minimum or maximum: where, as one number per variable, and the value there."""

    point: tuple[float, ...]
    value: float


@dataclass(frozen=True, eq=False, repr=False)
class Surface:
    """A test function, callable, with its gradient and extrema; made here only, not by users.

    ``f(x, y)`` takes numbers or arrays that broadcast; ``f(p)`` takes the coordinates along the
    first axis of one array, so (2,) is a point and (2, n) are n points. A function of one variable
    works element by element. float32 stays float32; numbers and integers count as float64.

    Attributes
    ----------
    name : str
    xlim, ylim : (float, float)
        What to draw: ``gd.plot.contour(f, f.xlim, f.ylim)``.
    minima, maxima : tuple of Extremum
        Points and values, lowest and highest first, for functions of any number of variables in two
        of them. Of functions with hundreds of local minima the global one alone.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> f = gd.datasets.himmelblau
    >>> float(f(1.0, 2.0)), float(f(np.array([1.0, 2.0])))
    (68.0, 68.0)
    >>> f.grad(np.array([1.0, 2.0]))
    array([-36., -32.])
    >>> f.minima[0]
    Extremum(point=(3.0, 2.0), value=0.0)
    """

    name: str
    _value: Callable[..., Any]
    _gradient: Callable[..., Any]
    _variables: int | None
    xlim: Limits
    ylim: Limits
    minima: tuple[Extremum, ...] = ()
    maxima: tuple[Extremum, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self._value.__doc__)
        object.__setattr__(self, "__wrapped__", self._value)

    def __call__(self, *point: Any) -> Any:
        """Return the value at ``f(x, y)`` or ``f(p)``, an array of the coordinates' common shape.

        Complex coordinates are accepted, for derivatives by complex steps. No warning is emitted.

        Raises
        ------
        TypeError, ValueError
            For another number of coordinates than f has, or what is not made of numbers.
        """
        coordinates = self._coordinates(point)
        with np.errstate(all="ignore"):
            if self._variables is None:
                return self._value(coordinates)
            return self._value(*(coordinates[axis] for axis in range(self._variables)))

    def grad(self, *point: Any) -> Any:
        """Return the gradient: for ``f.grad(x, y)`` a tuple of arrays, for ``f.grad(p)`` an array.

        Each array of the tuple has the coordinates' common shape; the array has the shape of `p`.
        A function of one variable has its derivative in the shape of x. Errors as in the call.
        """
        coordinates = self._coordinates(point)
        apart = isinstance(coordinates, tuple)
        with np.errstate(all="ignore"):
            if self._variables is None:
                slopes = self._gradient(np.stack(coordinates) if apart else coordinates)
                return tuple(slopes) if apart else slopes
            slopes = self._gradient(*(coordinates[axis] for axis in range(self._variables)))
            if self._variables == 1:
                return slopes
            return slopes if apart else np.stack(slopes)

    def __repr__(self) -> str:
        return f"gd.datasets.{self.name}"

    def __reduce__(self) -> str:
        return self.name

    def _coordinates(self, point: tuple[Any, ...]) -> Any:
        """Return the coordinates as a tuple, or as the one array in which they came."""
        if self._variables == 1 or len(point) != 1:
            self._check_count(len(point))
            return point if any(map(_is_traced, point)) else tuple(_common(point, self.name))
        (p,) = point
        if isinstance(p, (list, tuple)) and any(map(_is_traced, p)):
            self._check_count(len(p))
            return tuple(p)
        if _is_traced(p):
            if hasattr(p, "shape"):
                self._check_count(p.shape[0] if p.shape else 0)
            return p
        (array,) = _common([p], self.name)
        self._check_count(len(array) if array.ndim else 0)
        return array

    def _check_count(self, found: int) -> None:
        wanted = self._variables
        if found != wanted if wanted else found < 2:
            takes = (
                f"{wanted} coordinate{'s' * (wanted != 1)}" if wanted else "2 or more coordinates"
            )
            raise ValueError(
                f"{self.name} takes {takes}, as arguments or along the first axis of one array; "
                f"found {found}"
            )


def _is_traced(value: Any) -> bool:
    """Whether `value` stands in for an array and has NumPy's functions its own way."""
    return hasattr(value, "__array_ufunc__") and not isinstance(value, (np.ndarray, np.generic))


def _common(values: Sequence[Any], name: str) -> list[Any]:
    """Return `values` as arrays of one type and shape; integers become float64."""
    arrays = [np.asarray(value) for value in values]
    for array in arrays:
        if array.dtype.kind not in "iufc":
            raise TypeError(f"{name}: a coordinate is {array.dtype}; accepted are numbers")
    weak = [
        value if type(value) in (int, float) else array
        for value, array in zip(values, arrays, strict=True)
    ]
    real = np.result_type(*weak)
    real = np.dtype(np.float64) if real.kind in "iu" else real
    try:
        return list(np.broadcast_arrays(*(array.astype(real, copy=False) for array in arrays)))
    except ValueError:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"{name}: coordinates of shapes {shapes} do not broadcast") from None


def _surface(
    gradient: Callable[..., Any],
    variables: int | None,
    xlim: Limits,
    ylim: Limits,
    minima: Sequence[tuple[tuple[float, ...], float]] = (),
    maxima: Sequence[tuple[tuple[float, ...], float]] = (),
) -> Callable[[Callable[..., Any]], Surface]:
    """Make a `Surface` of the decorated function, whose name and docstring it takes."""
    lows, highs = (tuple(Extremum(*known) for known in side) for side in (minima, maxima))
    return lambda value: Surface(
        value.__name__, value, gradient, variables, xlim, ylim, lows, highs
    )


def _sum(term: Callable[[Any], Any], point: Any) -> Any:
    """Return the sum of term(coordinate)."""
    return (
        reduce(add, map(term, point)) if isinstance(point, tuple) else np.sum(term(point), axis=0)
    )


def _mean(term: Callable[[Any], Any], point: Any) -> Any:
    """Return the mean of term(coordinate)."""
    if isinstance(point, tuple):
        return _sum(term, point) / len(point)
    return np.mean(term(point), axis=0)


def _sum_of_pairs(term: Callable[[Any, Any], Any], point: Any) -> Any:
    """Return the sum of term(coordinate, next coordinate)."""
    if isinstance(point, tuple):
        return reduce(add, (term(one, two) for one, two in pairwise(point)))
    return np.sum(term(point[:-1], point[1:]), axis=0)


# ---- One variable --------------------------------------------------------------------------------


def _sextic_grad(x: Any) -> Any:
    return 6 * x**5 - 20 * x**3 + 8 * x


@_surface(
    _sextic_grad,
    1,
    (-2.1, 2.1),
    (-7.0, 4.0),
    minima=[
        ((-1.6936697115498434,), -6.064604931928286),
        ((1.6936697115498434,), -6.064604931928286),
        ((0.0,), 0.0),
    ],
    maxima=[
        ((-0.681774333274584,), 0.8794197467431007),
        ((0.681774333274584,), 0.8794197467431007),
    ],
)
def sextic(x: Any) -> Any:
    """``x**6 - 5 x**4 + 4 x**2``, a curve with three minima.

    Extrema at 0 and where ``x**2 = (5 +- sqrt(13)) / 3``. At 0 the second derivative is 8: a
    minimum, higher than the other two (document 001, where the curve comes from, has a maximum
    there).
    """
    return x**6 - 5 * x**4 + 4 * x**2


# ---- Two variables -------------------------------------------------------------------------------


def _beale_grad(x: Any, y: Any) -> tuple[Any, Any]:
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    return (
        2 * (a * (y - 1) + b * (y**2 - 1) + c * (y**3 - 1)),
        2 * x * (a + 2 * b * y + 3 * c * y**2),
    )


@_surface(_beale_grad, 2, (-4.5, 4.5), (-4.5, 4.5), minima=[((3.0, 0.5), 0.0)])
def beale(x: Any, y: Any) -> Any:
    """``(1.5 - x + x y)**2 + (2.25 - x + x y**2)**2 + (2.625 - x + x y**3)**2``.

    Flat valleys between steep corners, a saddle at (0, 1), one minimum at (3, 1/2).

    References
    ----------
    E. M. L. Beale, "On an iterative method for finding a local minimum of a function of more than
    one variable", Technical Report 25, Princeton University, 1958.
    """
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def _himmelblau_grad(x: Any, y: Any) -> tuple[Any, Any]:
    a, b = x**2 + y - 11, x + y**2 - 7
    return 4 * x * a + 2 * b, 2 * a + 4 * y * b


@_surface(
    _himmelblau_grad,
    2,
    (-6.0, 6.0),
    (-6.0, 6.0),
    minima=[
        ((3.0, 2.0), 0.0),
        ((-2.805118086952745, 3.131312518250573), 0.0),
        ((-3.779310253377747, -3.2831859912861696), 0.0),
        ((3.5844283403304917, -1.8481265269644036), 0.0),
    ],
    maxima=[((-0.2708445906673476, -0.9230385564799815), 181.6165215225827)],
)
def himmelblau(x: Any, y: Any) -> Any:
    """``(x**2 + y - 11)**2 + (x + y**2 - 7)**2``: four minima of value 0, one local maximum.

    References
    ----------
    D. M. Himmelblau, "Applied Nonlinear Programming", McGraw-Hill, 1972.
    """
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def _peaks_grad(x: Any, y: Any) -> tuple[Any, Any]:
    front, middle, back = _humps(x, y)
    odd = x / 5 - x**3 - y**5
    return (
        -6 * (1 - x) * (1 + x * (1 - x)) * front
        + (20 * x * odd - 10 * (1 / 5 - 3 * x**2)) * middle
        + 2 / 3 * (x + 1) * back,
        -6 * (1 - x) ** 2 * (y + 1) * front
        + (20 * y * odd + 50 * y**4) * middle
        + 2 / 3 * y * back,
    )


@_surface(
    _peaks_grad,
    2,
    (-3.0, 3.0),
    (-3.0, 3.0),
    minima=[
        ((0.22827892055636909, -1.6255349574999964), -6.551133332835837),
        ((-1.3473962443682108, 0.20451886609700518), -3.04984940280026),
        ((0.2964455538468321, 0.32019624766683435), -0.06493586825552689),
    ],
    maxima=[
        ((-0.009317581959954116, 1.5813679629389998), 8.106213589442337),
        ((-0.46002451803438665, -0.6291965087168009), 3.7765809985322067),
        ((1.285684697241304, -0.004847559075593672), 3.592489918002754),
    ],
)
def peaks(x: Any, y: Any) -> Any:
    """Three hills and three hollows on a plain, the ``peaks`` of MATLAB and of document 001.

    ``3 (1 - x)**2 exp(-x**2 - (y + 1)**2) - 10 (x/5 - x**3 - y**5) exp(-x**2 - y**2)
    - exp(-(x + 1)**2 - y**2) / 3``. The extrema are the roots of the gradient, found by Newton's
    method with 40 digits.
    """
    front, middle, back = _humps(x, y)
    return 3 * (1 - x) ** 2 * front - 10 * (x / 5 - x**3 - y**5) * middle - 1 / 3 * back


def _humps(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """Return the three exponentials of `peaks`."""
    return (
        np.exp(-(x**2) - (y + 1) ** 2),
        np.exp(-(x**2) - y**2),
        np.exp(-((x + 1) ** 2) - y**2),
    )


def _ravine_grad(x: Any, y: Any) -> tuple[Any, Any]:
    return 1 * x, 100 * y


@_surface(_ravine_grad, 2, (-2.0, 2.0), (-1.0, 1.0), minima=[((0.0, 0.0), 0.0)])
def ravine(x: Any, y: Any) -> Any:
    """``(x**2 + 100 y**2) / 2``: a long quadratic valley, of condition number 100.

    Gradient descent diverges above lr = 2/100, and along the valley shrinks the error by 1 - lr a
    step; the best rate, 2/101, gives 99/101 a step, the best momentum 9/11.

    References
    ----------
    B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", USSR
    Computational Mathematics and Mathematical Physics 4 (1964), for the two ratios.
    """
    return (x**2 + 100 * y**2) / 2


def _saddle_grad(x: Any, y: Any) -> tuple[Any, Any]:
    return 2 * x, -2 * y


@_surface(_saddle_grad, 2, (-2.0, 2.0), (-2.0, 2.0))
def saddle(x: Any, y: Any) -> Any:
    """``x**2 - y**2``: stationary at (0, 0), a minimum along x and a maximum along y.

    Unbounded below; descent that starts on y = 0 exactly ends in the saddle.
    """
    return x**2 - y**2


# ---- Any number of variables ---------------------------------------------------------------------


def _rosenbrock_grad(p: Any) -> Any:
    off = p[1:] - p[:-1] ** 2
    none = np.zeros_like(p[:1])
    left = np.concatenate([-400 * p[:-1] * off - 2 * (1 - p[:-1]), none])
    return left + np.concatenate([none, 200 * off])


@_surface(_rosenbrock_grad, None, (-2.0, 2.0), (-1.0, 3.0), minima=[((1.0, 1.0), 0.0)])
def rosenbrock(point: Any) -> Any:
    """Sum over neighbours (x, y) of ``100 (y - x**2)**2 + (1 - x)**2``: a bent, flat valley.

    The minimum 0 lies at (1, ..., 1); from four variables on there is a local one near
    (-1, 1, ..., 1).

    References
    ----------
    H. H. Rosenbrock, "An automatic method for finding the greatest or least value of a function",
    The Computer Journal 3 (1960).
    """
    return _sum_of_pairs(lambda x, y: 100 * (y - x**2) ** 2 + (1 - x) ** 2, point)


def _rastrigin_grad(p: Any) -> Any:
    return 2 * p + 20 * np.pi * np.sin(2 * np.pi * p)


@_surface(_rastrigin_grad, None, (-5.12, 5.12), (-5.12, 5.12), minima=[((0.0, 0.0), 0.0)])
def rastrigin(point: Any) -> Any:
    """Sum over the coordinates of ``x**2 + 10 (1 - cos(2 pi x))``: a bowl full of local minima.

    One near every point of whole numbers, 11 along each axis within 5.12; the lowest, 0, at 0.

    References
    ----------
    L. A. Rastrigin, "Systems of Extremal Control", Nauka, 1974 (two variables); H. Muehlenbein
    et al., "The parallel genetic algorithm as function optimizer", Parallel Computing 17 (1991).
    """
    return _sum(lambda x: x**2 + 10 * (1 - np.cos(2 * np.pi * x)), point)


def _ackley_grad(p: Any) -> Any:
    size = np.sqrt(np.mean(p**2, axis=0))
    waves = np.mean(np.cos(2 * np.pi * p), axis=0)
    cone = 4 * np.exp(-0.2 * size) / np.where(size == 0, 1, size)
    return (cone * p + 2 * np.pi * np.exp(waves) * np.sin(2 * np.pi * p)) / p.shape[0]


@_surface(_ackley_grad, None, (-5.0, 5.0), (-5.0, 5.0), minima=[((0.0, 0.0), 0.0)])
def ackley(point: Any) -> Any:
    """``20 (1 - exp(-0.2 sqrt(mean x**2))) + e - exp(mean cos(2 pi x))``: waves around a funnel.

    The minimum 0 at 0 is the tip of a cone: there is no gradient there, and `grad` gives 0.

    References
    ----------
    D. H. Ackley, "A Connectionist Machine for Genetic Hillclimbing", Kluwer, 1987 (two variables);
    T. Baeck, "Evolutionary Algorithms in Theory and Practice", Oxford University Press, 1996.
    """
    size = np.sqrt(_mean(lambda x: x**2, point))
    waves = _mean(lambda x: np.cos(2 * np.pi * x), point)
    # e is taken out so that the minimum is 0 in float32 too, where exp(1) is 2.4e-7 too large.
    return 20 * (1 - np.exp(-0.2 * size)) + np.e * (1 - np.exp(waves - 1))
