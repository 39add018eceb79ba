"""What the pictures of `gdcore.plot` share: reading arguments, evaluating functions, drawing parts.

Arguments are checked before axes are made, so that an error leaves no empty figure behind.
Matplotlib is imported inside the functions that need more of it than the axes they are given.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdcore._containers import flat

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

Float64Array = NDArray[np.float64]
Function = Callable[..., Any]
Limits = tuple[float, float]

# Okabe and Ito's colours, told apart with every kind of colour blindness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_BANDS = 24
_LOG_DECADES = 3.0
# Matplotlib takes differences of what it draws and adds margins: beyond this they overflow.
_DRAWABLE = 1e300


# ---- Arguments ----


def count_of(value: Any, name: str, least: int) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r:.80}; accepted is an integer >= {least}")
    if value < least:
        raise ValueError(f"{name} is {value}; accepted is an integer >= {least}")
    return int(value)


def limits_of(value: Any, name: str) -> Limits:
    message = f"{name} is {value!r:.80}; accepted are two finite numbers (low, high), low < high"
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError):
        raise TypeError(message) from None
    if not -_DRAWABLE <= low < high <= _DRAWABLE:
        raise ValueError(message)
    return low, high


def axes_for(ax: Any, projection: str = "rectilinear") -> Axes:
    """Return `ax` after a check, or the axes of a new figure."""
    if ax is None:
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                'gdcore.plot needs Matplotlib; install it by pip install "gdcore[plot]"'
            ) from error
        return plt.figure(layout="constrained").add_subplot(projection=projection)
    wanted = "plot_surface" if projection == "3d" else "contourf"
    if not hasattr(ax, wanted):
        kind = 'Axes with projection="3d"' if projection == "3d" else "Axes"
        raise TypeError(
            f"ax is {type(ax).__name__}; accepted are Matplotlib {kind}, such as "
            f"plt.figure().add_subplot(projection={projection!r})"
        )
    return ax  # type: ignore[no-any-return]


def real_array(value: Any, name: str) -> Float64Array:
    """Return `value` as a float64 array; refuse what is not made of real numbers."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" and array.size:
        raise TypeError(f"{name} holds {array.dtype}; accepted are real numbers")
    return array.astype(np.float64)


def as_number(value: Any, name: str) -> float:
    array = real_array(value, name)
    if array.size != 1:
        raise ValueError(f"{name} has shape {array.shape}; accepted is one number")
    return float(array.reshape(()))


def numbered(results: Any) -> dict[str, Any]:
    """Name the descents of a sequence; a single result instead of a sequence is a common slip."""
    if hasattr(results, "path"):
        return {"descent": results}
    return {f"descent {number}": descent for number, descent in enumerate(results, 1)}


def points_of(points: Any, name: str, axes: int | None = None) -> Float64Array:
    """Return the points of a descent as an array (n, 1) or (n, 2); `axes` asks for one of them."""
    if hasattr(points, "path"):
        points = _recorded(points.path, name)
    if isinstance(points, tuple) and all(isinstance(column, np.ndarray) for column in points):
        points = np.stack(points, axis=-1)
    visited = real_array(points, name)
    if visited.ndim == 1:
        visited = visited[:, None]
    accepted = (axes,) if axes else (1, 2)
    if visited.ndim != 2 or visited.shape[1] not in accepted or not len(visited):
        shapes = " or ".join(f"(n, {count})" for count in accepted)
        raise ValueError(
            f"the path of {name!r} has shape {visited.shape}; accepted is {shapes} with n >= 1: "
            "choose two coordinates, r.path[:, [i, j]]"
        )
    if not np.isfinite(visited).all(axis=1).any():
        raise ValueError(f"the path of {name!r} has no finite point; accepted is at least one")
    return visited


def _recorded(path: Any, name: str) -> Any:
    """Return the path of a result; of containers all coordinates side by side."""
    if path is None:
        raise ValueError(f"the descent {name!r} was run with record=0; record=1 keeps its path")
    if not isinstance(path, tuple | list | dict) or not any(
        isinstance(column, np.ndarray) for _, column in flat(path)
    ):
        return path
    return np.concatenate([column.reshape(len(column), -1) for _, column in flat(path)], axis=1)


def series_of(h: Any) -> dict[str, Float64Array]:
    """Return the named sequences of `history`'s argument, each of one axis and not empty."""
    h = h.losses if hasattr(h, "losses") else getattr(h, "history", h)
    named = h if isinstance(h, Mapping) else {"loss": h}
    series = {str(name): real_array(values, str(name)) for name, values in named.items()}
    for name, values in series.items():
        if values.ndim != 1 or not len(values):
            raise ValueError(
                f"{name} has shape {values.shape}; accepted is a sequence of one or more numbers"
            )
    if not series:
        raise ValueError("h is an empty dict; accepted is at least one name with its sequence")
    return series


# ---- Values of functions ----


def evaluate(f: Function, *grids: Float64Array, name: str = "f") -> Float64Array:
    """Return f on `grids` (one or two arrays of one shape), by one call if f takes arrays.

    A function that sums over its argument, such as ``np.sum(p**2)``, answers an array with another
    shape; it is then called point by point, as is one that fails on arrays.
    """
    if not callable(f):
        raise TypeError(f"{name} is {f!r:.80}; accepted is a callable")
    as_vectors = len(grids) == 2 and _has_one_argument(f)
    with np.errstate(all="ignore"):
        if not as_vectors:
            try:
                values = np.asarray(f(*grids))
            except (TypeError, ValueError, IndexError):
                values = np.empty(())
            if values.shape == grids[0].shape:
                return real_array(values, f"{name}(...)")
        flat = np.stack([grid.ravel() for grid in grids], axis=-1)
        values = np.array([_at_point(f, point, as_vectors, name) for point in flat])
    return values.reshape(grids[0].shape)


def _at_point(f: Function, point: Float64Array, as_vector: bool, name: str) -> float:
    """Return f at one point, given as a vector if so asked or if f indexes its only argument.

    Where Python's own arithmetic overflows or divides by zero the value is NaN.
    """
    try:
        try:
            value = f(point) if as_vector else f(*point)
        except IndexError:
            value = f(point)
    except (OverflowError, ZeroDivisionError):
        return math.nan
    return as_number(value, f"{name}({', '.join(f'{x:g}' for x in point)})")


def _has_one_argument(f: Function) -> bool:
    """Tell whether `f` takes a single positional argument; False where Python cannot say."""
    if isinstance(f, np.ufunc):
        return f.nin == 1
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return False
    starred = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return not starred and len(positional) == 1


def central_differences(f: Function, x: Float64Array) -> Float64Array:
    h = np.cbrt(np.finfo(np.float64).eps) * np.maximum(1.0, np.abs(x))
    right, left = x + h, x - h
    with np.errstate(all="ignore"):
        slope: Float64Array = (evaluate(f, right) - evaluate(f, left)) / (right - left)
    return slope


def heights_of(
    f: Function, xlim: Limits, ylim: Limits, points: int
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return the grid x, y and what can be drawn of f on it; somewhere f must be finite."""
    count = count_of(points, "points", 2)
    x, y = np.meshgrid(
        np.linspace(*limits_of(xlim, "xlim"), count), np.linspace(*limits_of(ylim, "ylim"), count)
    )
    z = drawable(evaluate(f, x, y))
    if np.isnan(z).all():
        raise ValueError(
            f"f is finite at none of the {z.size} grid points; accepted is a rectangle that f is "
            f"defined on: change xlim {xlim} or ylim {ylim}"
        )
    return x, y, z


def drawable(values: Float64Array) -> Float64Array:
    """Return a copy with NaN, which is drawn as a gap, for what is not finite, cut to +-1e300."""
    return np.where(np.isfinite(values), np.clip(values, -_DRAWABLE, _DRAWABLE), np.nan)


def span_of(values: Float64Array) -> Limits:
    """Return limits around the finite `values`, with a margin."""
    finite = np.clip(values[np.isfinite(values)], -_DRAWABLE / 2, _DRAWABLE / 2)
    low, high = float(finite.min()), float(finite.max())
    margin = 0.15 * (high - low) or 0.5 * max(1.0, abs(low))
    return low - margin, high + margin


def common_limits(y: Float64Array, slope: Float64Array) -> Limits | None:
    """Return limits for a function and its derivative that leave the function its share of height.

    The derivative gets at most two heights of the function on either side. None where it needs
    less, or the function is constant or nowhere finite: Matplotlib's own limits do then.
    """
    finite, slopes = y[np.isfinite(y)], slope[np.isfinite(slope)]
    if not finite.size or not slopes.size:
        return None
    low, high = float(finite.min()), float(finite.max())
    room = 2.0 * (high - low)
    bottom = max(low - room, min(low, float(slopes.min())))
    top = min(high + room, max(high, float(slopes.max())))
    if not room or (bottom <= slopes.min() and slopes.max() <= top):
        return None
    margin = 0.05 * (top - bottom)
    return bottom - margin, top + margin


def levels_of(z: Float64Array) -> Float64Array:
    """Return ascending band edges from the least to the greatest height, at least two."""
    low, middle, high = (float(q) for q in np.nanquantile(z, [0.0, 0.5, 1.0]))
    if low == high:
        margin = 1e-3 * max(1.0, abs(low))
        return np.array([low - margin, high + margin])
    if middle - low < 0.1 * (high - low):
        floor = float(np.nanquantile(z, 0.005) - low) / (high - low)
        fractions = np.concatenate([[0.0], np.geomspace(min(max(floor, 1e-12), 0.01), 1.0, _BANDS)])
    else:
        fractions = np.linspace(0.0, 1.0, _BANDS + 1)
    return np.unique(np.append(low + fractions[:-1] * (high - low), high))


def spans_decades(series: Iterable[Float64Array]) -> bool:
    """Tell whether a logarithmic axis is due: finite values all positive, over three decades."""
    values = np.concatenate(list(series))
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() <= 0:
        return False
    return math.log10(finite.max()) - math.log10(finite.min()) > _LOG_DECADES


# ---- Drawing ----


def cmap() -> Any:
    """Return blues from dark, low, to light; white is left for where there is no value."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["Blues_r"](np.linspace(0.0, 0.85, 256)))


def norm_of(levels: Float64Array) -> Any:
    """Return the norm that gives every band the same step of colour."""
    from matplotlib.colors import BoundaryNorm

    return BoundaryNorm(levels, ncolors=256)


def next_color(ax: Axes, first: int = 0) -> str:
    """Return the first colour of the palette, from `first` on, that fewest lines on `ax` have."""
    used = [line.get_color() for line in ax.get_lines()]
    return min(COLORS[first:] + COLORS[:first], key=used.count)


def marker_for(values: Float64Array) -> str:
    """Few points get dots: a lone one could not be seen without."""
    return "." if len(values) <= 20 else ""


def add_legend(ax: Axes) -> None:
    """Add a legend where there is something to tell apart, or a remark in brackets to read."""
    handles, labels = ax.get_legend_handles_labels()
    if len(handles) > 1 or any(label.endswith(")") for label in labels):
        # "best" looks at every vertex; beyond some 10,000 Matplotlib itself warns that it is slow.
        few = sum(len(np.atleast_1d(line.get_xdata())) for line in ax.get_lines()) <= 10_000
        ax.legend(loc="best" if few else "upper right", fontsize="small", framealpha=0.9)


def count_by_integers(ax: Axes) -> None:
    """Put the ticks of the horizontal axis, which counts something, at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def set_log_axis(ax: Axes) -> None:
    """Make the axis of values logarithmic; near the ends of float64 set its limits and ticks.

    Those of Matplotlib overflow there: 1e300 and a margin of 5 % of its decades is 1e315.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = (math.log10(end) for end in (ax.dataLim.minposy, ax.dataLim.y1))
    margin = 0.05 * (high - low)
    if low - margin > -290 and high + margin < 290:
        ax.set_yscale("log")
        return
    bottom, top = max(low - margin, -323.3), min(high + margin, 308.2)
    stride = next(k for k in (1, 2, 5, 10, 20, 50, 100) if (top - bottom) / k <= 8)
    decades = np.arange(math.ceil(max(bottom, -307.0) / stride) * stride, top, stride)
    ax.set_ylim(10.0**bottom, 10.0**top)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(FixedLocator(list(10.0**decades)))
    ax.yaxis.set_minor_locator(NullLocator())


def mark_not_finite(
    ax: Axes, number: NDArray[Any], values: Float64Array, unit: str, line: Line2D
) -> Artist | None:
    """Mark what is not finite by crosses on the lower edge; name the first in the label of `line`.

    Returns the crosses, None where all is finite.
    """
    (where,) = np.nonzero(~np.isfinite(values))
    if not where.size:
        return None
    first, color = where[0], line.get_color()
    what = "NaN" if np.isnan(values[first]) else "overflows"
    line.set_label(f"{line.get_label()} ({what} at {unit} {number[first]})")
    ax.axvline(number[first], color=color, linestyle=":", linewidth=1.0)
    (crosses,) = ax.plot(
        number[where],
        np.zeros(where.size),
        "x",
        color=color,
        markersize=5,
        clip_on=False,
        transform=ax.get_xaxis_transform(),
    )
    return crosses


def draw_path(ax: Axes, visited: Float64Array, name: str, color: str) -> dict[str, Artist]:
    """Draw points (n, 2), a ring at the first and a star at the last; name the first lost."""
    finite = np.isfinite(visited[:, :1]) & np.isfinite(visited[:, 1:])
    drawn = np.where(finite, drawable(visited), np.nan)
    ends = drawn[finite[:, 0]][[0, -1]] if finite.any() else np.full((2, 2), np.nan)
    lost = "" if finite.all() else f" (point {int(np.argmin(finite))} is not finite)"
    (line,) = ax.plot(*drawn.T, ".-", color=color, linewidth=1.2, markersize=4, label=name + lost)
    (begin,) = ax.plot(*ends[:1].T, "o", color=color, mfc="white", markersize=7, zorder=3)
    (end,) = ax.plot(*ends[1:].T, "*", color=color, mec="white", markersize=13, zorder=3)
    return {name: line, f"{name} start": begin, f"{name} end": end}
