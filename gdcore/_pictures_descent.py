"""Pictures of descents and sweeps: `gdcore.plot.sweep`, `gdcore.plot.basins`, a result's `plot`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdcore._drawing import (
    COLORS,
    Float64Array,
    axes_for,
    drawable,
    next_color,
    set_log_axis,
    spans_decades,
)
from gdcore._sweep import AXES, Sweep
from gdcore._verdicts import WORDS

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from gdcore._result import DescentResult
    from gdcore.plot import Display

_LABELS = {"start": "starting point", "lr": "learning rate", "momentum": "momentum"}
_GREY = "0.75"
LOST = ("exploding", "non-finite")
_LISTED = 8  # basins with a name of their own in the legend


def draw_result(r: DescentResult, ax: Axes | None) -> Display:
    """Draw the path of a descent in one or two variables on its function, else its losses."""
    from gdcore import plot
    from gdcore._containers import flat

    variables = sum(np.size(array) for _, array in flat(r.x))
    if variables > 2 or r.path is None:
        return plot.history(r, ax=ax)
    return plot.path(r, ax=ax)


def draw_sweep(g: Sweep, ax: Axes | None) -> Display:
    """See `gdcore.plot.sweep`."""
    axes = _drawn_axes(g)
    if len(axes) == 2:
        return _heat_map(g, axes, ax)
    return _along_one_axis(g, axes[0], ax)


def _drawn_axes(g: Sweep) -> list[str]:
    """Return the names of the one or two axes that a picture can have."""
    if not isinstance(g, Sweep):
        raise TypeError(f"g is {type(g).__name__}; the result of sweep is accepted")
    axes = [name for name in AXES if name in g._axes]
    if len(axes) not in (1, 2):
        raise ValueError(
            f"the sweep is over {len(axes)} arrays ({', '.join(axes) or 'none'}); one or two can be"
            " drawn: use g.grid(...) for a part"
        )
    return axes


def _axis_values(g: Sweep, name: str) -> tuple[Float64Array, str]:
    """Return the values along an axis and its label; points that are no numbers are counted."""
    column = g.grid(name)
    position = [axis for axis in AXES if axis in g._axes].index(name)
    index = [0] * len(g.shape)
    wanted: tuple[Any, ...] = (*index[:position], slice(None), *index[position + 1 :])
    if isinstance(column, tuple) or column.ndim > len(g.shape):
        return np.arange(g.shape[position], dtype=np.float64), "number of the starting point"
    return column[wanted].astype(np.float64), _LABELS.get(name, name)


def _along_one_axis(g: Sweep, name: str, ax: Axes | None) -> Display:
    """Draw f at the end, or x at the end for starts on a line, by verdict."""
    from gdcore.plot import Display

    where, label = _axis_values(g, name)
    x = g.columns["x"]
    is_line = name == "start" and not isinstance(x, tuple) and x.ndim == 1
    values = drawable((x if is_line else g.columns["fun"]).astype(np.float64))
    ax = axes_for(ax)
    artists = _dots_by_verdict(ax, where, values, g.columns["verdict"])
    ax.set(xlabel=label, ylabel="end point" if is_line else "f at the end")
    if spans_decades([where]):
        ax.set_xscale("log")
    kept = values[~np.isin(g.columns["verdict"], LOST) & np.isfinite(values)]
    if is_line and kept.size:
        ax.set_ylim(_room_for(kept, np.ptp(where)))
    if not is_line and kept.size and spans_decades([kept]):
        set_log_axis(ax)
    ax.legend(loc="best", fontsize="small", framealpha=0.9)
    return Display(ax, artists)


def _dots_by_verdict(
    ax: Axes, where: Float64Array, values: Float64Array, verdict: NDArray[Any]
) -> dict[str, Artist]:
    """Draw the runs of each verdict in a colour of its own; lost ones as crosses below the others.

    Where they end says nothing, and would leave no height for the others.
    """
    artists: dict[str, Artist] = {}
    for word in WORDS:
        own = verdict == word
        if not own.any():
            continue
        color = next_color(ax)
        if word in LOST:
            artists[word] = _crosses_below(ax, where[own], color, word)
        else:
            shown = np.where(own, values, np.nan)
            (artists[word],) = ax.plot(where, shown, ".", markersize=4, color=color, label=word)
    return artists


def _crosses_below(ax: Axes, where: Float64Array, color: str, label: str) -> Artist:
    """Draw crosses on the lower edge, which say nothing of heights."""
    (crosses,) = ax.plot(
        where,
        np.zeros(len(where)),
        "x",
        color=color,
        markersize=4,
        clip_on=False,
        transform=ax.get_xaxis_transform(),
        label=label,
    )
    return crosses


def _heat_map(g: Sweep, axes: list[str], ax: Axes | None) -> Display:
    """Draw f at the end over two axes; what is not finite is left blank."""
    from gdcore.plot import Display

    values = drawable(g.grid("fun").astype(np.float64))
    if np.isnan(values).all():
        raise ValueError("f is finite at the end of no run; nothing can be drawn")
    (down, y_label), (along, x_label) = (_axis_values(g, name) for name in axes)
    ax = axes_for(ax)
    sheet = ax.pcolormesh(*_edges(along, down), values, norm=_height_norm(values), cmap="viridis")
    ax.figure.colorbar(sheet, ax=ax, label="f at the end (blank: not finite)")
    ax.set(xlabel=x_label, ylabel=y_label)
    if spans_decades([along]):
        ax.set_xscale("log")
    if spans_decades([down]):
        ax.set_yscale("log")
    return Display(ax, {"function": sheet})


def _edges(*values: Float64Array) -> list[Float64Array]:
    """Return the edges of cells around values, half way to the next, by ratio over decades."""
    return [_edges_of(centres) for centres in values]


def _edges_of(centres: Float64Array) -> Float64Array:
    logarithmic = spans_decades([centres])
    at = np.log(centres) if logarithmic else centres
    if len(at) == 1:
        return np.array([at[0] - 0.5, at[0] + 0.5])
    middle = (at[1:] + at[:-1]) / 2
    edges = np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])
    return np.exp(edges) if logarithmic else edges


def _height_norm(values: Float64Array) -> Any:
    """Return a norm over the finite values, logarithmic where they span decades."""
    from matplotlib.colors import LogNorm, Normalize

    kind = LogNorm if spans_decades([values.ravel()]) else Normalize
    return kind(np.nanmin(values), np.nanmax(values))


def draw_basins(g: Sweep, ax: Axes | None) -> Display:
    """See `gdcore.plot.basins`."""
    from gdcore.plot import Display

    starts = _start_coordinates(g)
    basin, ends = g.columns["basin"], _columns_of(g.columns["x"])
    ax = axes_for(ax)
    artists: dict[str, Artist] = {}
    for number in [*range(int(basin.max()) + 1), -1]:
        own = basin == number
        if own.any():
            name = "no basin" if number < 0 else f"basin {number}"
            artists[name] = _dots_of_basin(ax, starts, ends, own, name, number)
    if starts.shape[1] == 1 and (basin >= 0).any():
        ax.set_ylim(_room_for(ends[basin >= 0, 0], np.ptp(starts)))
    _finish_basins(ax, starts.shape[1])
    return Display(ax, artists)


def _room_for(ends: Float64Array, span: float) -> tuple[float, float]:
    """Return limits around end points, in whose height rounding does not show."""
    low, high = float(ends.min()), float(ends.max())
    margin = 0.1 * max(high - low, float(span)) or 1.0
    return low - margin, high + margin


def _start_coordinates(g: Sweep) -> Float64Array:
    """Return the starts as (runs, 1) or (runs, 2)."""
    if not isinstance(g, Sweep):
        raise TypeError(f"g is {type(g).__name__}; the result of sweep is accepted")
    starts = _columns_of(g.columns["start"])
    if starts.shape[1] not in (1, 2):
        raise ValueError(
            f"the starts have {starts.shape[1]} coordinates; basins are drawn for one or two"
        )
    return starts


def _columns_of(column: Any) -> Float64Array:
    """Return points as the rows of a matrix."""
    parts = column if isinstance(column, tuple) else (column,)
    rows = [part.reshape(len(part), -1).astype(np.float64) for part in parts]
    return np.concatenate(rows, axis=1)


def _dots_of_basin(
    ax: Axes, starts: Float64Array, ends: Float64Array, own: NDArray[Any], name: str, number: int
) -> Artist:
    """Draw the starts of one basin: over their end points on a line, else in the plane."""
    color = _GREY if number < 0 else COLORS[number % len(COLORS)]
    label = name if number < _LISTED else "_" + name
    if starts.shape[1] == 1 and number < 0:
        return _crosses_below(ax, starts[own, 0], color, label)
    if starts.shape[1] == 1:
        (dots,) = ax.plot(starts[own, 0], ends[own, 0], ".", color=color, label=label)
        return dots
    (dots,) = ax.plot(*starts[own].T, "s", markersize=4, color=color, label=label)
    if number >= 0:
        x, y = ends[own][0, :2]
        ax.plot(x, y, "*", color=color, mec="white", markersize=13, zorder=3)
    return dots


def _finish_basins(ax: Axes, coordinates: int) -> None:
    line = coordinates == 1
    ax.set(xlabel="starting point" if line else "x", ylabel="end point" if line else "y")
    ax.legend(loc="best", fontsize="small", framealpha=0.9)
