"""Pictures of functions, descents, losses and schedules, drawn with Matplotlib from plain arrays.

Every function takes ``ax=`` (without it: a new figure) and returns a `Display` with the axes and
what was drawn on them. None shows or closes a figure or touches Matplotlib's global settings.
Matplotlib is imported at the first picture, so that the rest of the package works without it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from gdcore._drawing import (
    COLORS,
    Float64Array,
    Function,
    Limits,
    add_legend,
    as_number,
    axes_for,
    central_differences,
    cmap,
    common_limits,
    count_by_integers,
    count_of,
    draw_path,
    drawable,
    evaluate,
    heights_of,
    levels_of,
    limits_of,
    mark_not_finite,
    marker_for,
    next_color,
    norm_of,
    numbered,
    points_of,
    real_array,
    series_of,
    set_log_axis,
    span_of,
    spans_decades,
)
from gdcore._pictures_training import decision_regions, gradient_flow, lr_finder
from gdcore._pictures_training import history as training_history
from gdcore.history import History
from gdcore.schedules import Schedule, by_gradient, constant, plateau

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from gdcore._sweep import Sweep

__all__ = [
    "Display",
    "basins",
    "contour",
    "curve",
    "decision_regions",
    "gradient_flow",
    "history",
    "lr_finder",
    "path",
    "schedule",
    "surface",
    "sweep",
]

_NAME_WIDTH = 60  # characters of a line in a title or legend


@dataclass(frozen=True, eq=False, repr=False)
class Display:
    """A finished picture.

    Attributes
    ----------
    ax : matplotlib.axes.Axes
    artists : dict of str to matplotlib.artist.Artist
        What was drawn, by its role, such as "function" and "derivative".
    """

    ax: Axes
    artists: dict[str, Artist]

    @property
    def figure(self) -> Figure | SubFigure:
        """The figure that holds the axes."""
        return self.ax.figure

    def __repr__(self) -> str:
        return f"Display({', '.join(self.artists)})"


def curve(
    f: Function, xlim: Limits, df: Function | None = None, ax: Axes | None = None, points: int = 400
) -> Display:
    """Draw a function of one variable and its derivative.

    A derivative that is much larger than the function runs off the axes, so that both can be seen.

    Parameters
    ----------
    f : callable
        f(x); called once with all points if it takes arrays, else point by point.
    xlim : (float, float)
        Interval, finite and ascending.
    df : callable, optional
        The derivative; without it central differences of step eps^(1/3) max(1, abs(x)) are drawn.
    ax : matplotlib.axes.Axes, optional
    points : int, default 400
        Number of equally spaced points.

    Returns
    -------
    Display
        With lines "function" and "derivative"; where a value is not finite the line has a gap.

    Examples
    --------
    >>> import gdcore as gd
    >>> from matplotlib.figure import Figure
    >>> gd.plot.curve(lambda x: x**6 - 5 * x**4 + 4 * x**2, (-2.1, 2.1), ax=Figure().subplots())
    Display(function, derivative)
    """
    limits = limits_of(xlim, "xlim")
    x = np.linspace(*limits, count_of(points, "points", 2))
    y = drawable(evaluate(f, x))
    slope = drawable(central_differences(f, x) if df is None else evaluate(df, x, name="df"))
    ax = axes_for(ax)
    label = "derivative f' (central differences)" if df is None else "derivative f'"
    ax.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
    (function,) = ax.plot(x, y, color=COLORS[0], label="function f")
    (derivative,) = ax.plot(x, slope, color=COLORS[1], linestyle="--", label=label)
    ax.set(xlabel="x", ylabel="f(x), f'(x)", xlim=limits)
    if ylim := common_limits(y, slope):
        ax.set_ylim(ylim)
    add_legend(ax)
    return Display(ax, {"function": function, "derivative": derivative})


def path(
    points: Any,
    f: Function | None = None,
    xlim: Limits | None = None,
    ylim: Limits | None = None,
    ax: Axes | None = None,
    label: str = "descent",
) -> Display:
    """Draw the points of a descent: in one dimension on the curve of f, in two on its contours.

    Parameters
    ----------
    points : array-like, tuple of one or two arrays (n,), or a result
        The points in order, of shape (n,), (n, 1) or (n, 2); of a result its ``path`` is taken.
    f : callable, optional
        The function: f(x) in one dimension; in two f(x, y), or f(p) if it has a single argument.
        A result of `minimize` or `maximize` knows its own. Without it points of one dimension stand
        at the result's losses, or against their number; those of two stand on bare axes.
    xlim, ylim : (float, float), optional
        Limits of the axes; by default what the finite points fill, with a margin.
    ax : matplotlib.axes.Axes, optional
    label : str, default "descent"
        Name in the legend.

    Returns
    -------
    Display
        With `label`, "`label` start", "`label` end", and where f was drawn "function". Points that
        are not finite cannot be drawn; the legend says which is the first.

    Examples
    --------
    >>> import gdcore as gd
    >>> from matplotlib.figure import Figure
    >>> xs = [1.5, 0.9, 0.54, 0.32]
    >>> gd.plot.path(xs, f=lambda x: x**2, ax=Figure().subplots())
    Display(function, descent, descent start, descent end)
    """
    visited = points_of(points, label)
    f = getattr(points, "_ground", None) if f is None else f
    limits = [
        None if lim is None else limits_of(lim, name)
        for lim, name in ((xlim, "xlim"), (ylim, "ylim"))
    ]
    if visited.shape[1] == 1:
        return _path_on_line(points, visited[:, 0], f, limits[0], limits[1], ax, label)
    x_range, y_range = limits[0] or span_of(visited[:, 0]), limits[1] or span_of(visited[:, 1])
    if f is not None:
        return contour(f, x_range, y_range, {label: visited}, ax=ax)
    ax = axes_for(ax)
    artists = draw_path(ax, visited, label, next_color(ax, first=1))
    ax.set(xlabel="x", ylabel="y", xlim=x_range, ylim=y_range)
    add_legend(ax)
    return Display(ax, artists)


def contour(
    f: Function,
    xlim: Limits,
    ylim: Limits,
    results: Any = (),
    ax: Axes | None = None,
    points: int = 200,
) -> Display:
    """Draw a function of two variables by its contours, and descents on it.

    The bands have equal heights; where half of the area lies in the lowest tenth of the heights
    they grow geometrically from the minimum up, so that the floor of a steep valley can be seen.

    Parameters
    ----------
    f : callable
        f(x, y), or f(p) of an array of two numbers; called once if it takes arrays, else by points.
    xlim, ylim : (float, float)
        Rectangle, finite and ascending.
    results : sequence of descents, or dict from name to descent, default empty
        Each is what `path` takes in two dimensions.
    ax : matplotlib.axes.Axes, optional
    points : int, default 200
        Grid points along each axis.

    Returns
    -------
    Display
        With "function" (blank where not finite), and each "<name>", "<name> start", "<name> end".

    Raises
    ------
    ValueError
        If f is finite nowhere on the grid, or a descent is not two-dimensional.

    Examples
    --------
    >>> import gdcore as gd
    >>> from matplotlib.figure import Figure
    >>> runs, ax = {"lr 0.1": [(1.0, 1.0), (0.8, -0.6), (0.64, 0.36)]}, Figure().subplots()
    >>> gd.plot.contour(lambda x, y: x**2 + 8 * y**2, (-1, 1), (-1, 1), runs, ax=ax)
    Display(function, lr 0.1, lr 0.1 start, lr 0.1 end)
    """
    x, y, z = heights_of(f, xlim, ylim, points)
    named = results if isinstance(results, Mapping) else numbered(results)
    paths = {str(name): points_of(descent, str(name), axes=2) for name, descent in named.items()}
    levels = levels_of(z)
    ax = axes_for(ax)
    ground = ax.contourf(x, y, z, levels=levels, norm=norm_of(levels), cmap=cmap())
    if len(levels) > 2:
        ax.contour(x, y, z, levels=levels, colors="white", linewidths=0.4, alpha=0.6)
    ticks = levels[:: max(1, len(levels) // 6)] if len(levels) > 2 else [levels.mean()]
    bar = ax.figure.colorbar(ground, ax=ax, label="f(x, y)", ticks=ticks)
    bar.ax.set_yticklabels([f"{level:.3g}" for level in bar.get_ticks()])
    artists: dict[str, Artist] = {"function": ground}
    for name, visited in paths.items():
        artists |= draw_path(ax, visited, name, next_color(ax, first=1))
    ax.set(xlabel="x", ylabel="y", xlim=limits_of(xlim, "xlim"), ylim=limits_of(ylim, "ylim"))
    add_legend(ax)
    return Display(ax, artists)


def surface(
    f: Function, xlim: Limits, ylim: Limits, ax: Axes | None = None, points: int = 80
) -> Display:
    """Draw a function of two variables as a surface, coloured by height as in `contour`.

    Parameters
    ----------
    f : callable
        As in `contour`.
    xlim, ylim : (float, float)
        Rectangle, finite and ascending.
    ax : mpl_toolkits.mplot3d.axes3d.Axes3D, optional
        Axes with ``projection="3d"``.
    points : int, default 80
        Grid points along each axis.

    Returns
    -------
    Display
        With "function". Where f is not finite the surface has a hole.

    Raises
    ------
    TypeError
        If `ax` is flat.
    ValueError
        If f is finite nowhere on the grid.

    Examples
    --------
    >>> import gdcore as gd
    >>> from matplotlib.figure import Figure
    >>> ax = Figure().add_subplot(projection="3d")
    >>> gd.plot.surface(lambda x, y: x**2 - y**2, (-1, 1), (-1, 1), ax=ax)
    Display(function)
    """
    x, y, z = heights_of(f, xlim, ylim, points)
    levels = levels_of(z)
    solid: Any = axes_for(ax, "3d")
    from matplotlib.ticker import MaxNLocator

    sheet = solid.plot_surface(
        x, y, z, cmap=cmap(), norm=norm_of(levels), rcount=points, ccount=points, antialiased=False
    )
    for axis in (solid.xaxis, solid.yaxis, solid.zaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    solid.set(
        xlabel="x",
        ylabel="y",
        zlabel="\nf(x, y)",
        xlim=limits_of(xlim, "xlim"),
        ylim=limits_of(ylim, "ylim"),
    )
    return Display(solid, {"function": sheet})


def history(h: Any, ax: Axes | None = None, start: int = 0) -> Display:
    """Draw losses, or other values of a run, against iterations or epochs.

    The axis of values is logarithmic where all finite values are positive and span more than three
    decades. Values that are not finite are marked by crosses on the lower edge, and the legend says
    where the first one is.

    Parameters
    ----------
    h : sequence of float, dict from name to sequence, or a result
        Of a result its ``losses`` are taken. The `History` of a fit has metrics and rates drawn on
        axes of their own. A dict with the key "loss" counts epochs; everything else counts
        iterations.
    ax : matplotlib.axes.Axes, optional
    start : int, default 0
        Number of the first value: 0 where it was taken before the first step.

    Returns
    -------
    Display
        With a line for each name ("loss" for a plain sequence), and where needed its crosses,
        "<name> not finite".

    Examples
    --------
    >>> import gdcore as gd
    >>> from matplotlib.figure import Figure
    >>> display = gd.plot.history([1.0, 1e100, 1e200, float("inf")], ax=Figure().subplots())
    >>> display
    Display(loss, loss not finite)
    >>> display.artists["loss"].get_label()
    'loss (overflows at iteration 3)'
    """
    if isinstance(h, History):
        return training_history(h, ax)
    series = series_of(h)
    by_epoch = "loss" in series and isinstance(getattr(h, "history", h), Mapping)
    unit = "epoch" if by_epoch else "iteration"
    logarithmic = spans_decades(series.values())
    ax = axes_for(ax)
    artists: dict[str, Artist] = {}
    for name, values in series.items():
        number = start + np.arange(len(values))
        drawn = np.where(np.isfinite(values), values, np.nan) if logarithmic else drawable(values)
        (line,) = ax.plot(number, drawn, color=next_color(ax), label=name, marker=marker_for(drawn))
        artists[name] = line
        if crosses := mark_not_finite(ax, number, values, unit, line):
            artists[f"{name} not finite"] = crosses
    only_losses = "loss" not in series or all("loss" in name for name in series)
    ax.set(xlabel=unit, ylabel="loss" if only_losses else "value")
    count_by_integers(ax)
    if logarithmic:
        set_log_axis(ax)
    add_legend(ax)
    return Display(ax, artists)


def schedule(s: Any, steps: int, ax: Axes | None = None) -> Display:
    """Draw the learning rates of the first steps.

    Parameters
    ----------
    s : schedule, callable or float
        A schedule of `gdcore.schedules`, which gets all steps at once; any other callable, which
        gets one int a step; or a number.
    steps : int
        Number of steps, at least 1.
    ax : matplotlib.axes.Axes, optional
        Axes that hold other schedules already get one more line.

    Returns
    -------
    Display
        With the line "rate", a stair that holds from each step to the next. Its axis is logarithmic
        under the same condition as that of `history`.

    Examples
    --------
    >>> import gdcore as gd
    >>> from matplotlib.figure import Figure
    >>> gd.plot.schedule(gd.schedules.step(0.1, 30), steps=100, ax=Figure().subplots())
    Display(rate)
    """
    t = np.arange(count_of(steps, "steps", 1))
    if isinstance(s, Real):
        s = constant(float(s))
    if isinstance(s, by_gradient | plateau):
        raise TypeError(
            f"s is {s!r:.80}, whose rates depend on the run and not on the step; accepted is a"
            " schedule, a callable of one int, or a number"
        )
    if isinstance(s, Schedule):
        rates = s(t)
    elif callable(s):
        rates = np.array([as_number(s(int(k)), f"s({k})") for k in t])
    else:
        raise TypeError(
            f"s is {s!r:.80}; accepted is a schedule, a callable of one int, or a number"
        )
    name = textwrap.fill(getattr(s, "__name__", repr(s)), _NAME_WIDTH)
    ax = axes_for(ax)
    (line,) = ax.plot(
        t,
        drawable(rates),
        color=next_color(ax),
        drawstyle="steps-post",
        marker=marker_for(rates),
        label=name,
    )
    ax.set(xlabel="step", ylabel="learning rate")
    count_by_integers(ax)
    if spans_decades([rates]):
        set_log_axis(ax)
    if len(ax.get_lines()) == 1:
        ax.set_title(name, fontsize="medium")
    else:
        ax.set_title("")
        add_legend(ax)
    return Display(ax, {"rate": line})


def sweep(g: Sweep, ax: Axes | None = None) -> Display:
    """Draw a sweep over one or two arrays.

    Over one: the end points against the starts where these are numbers, else f at the end, with a
    colour for each verdict; runs that explode or are not finite are crosses on the lower edge. Over
    two: f at the end as a map. Axes are logarithmic where their values are positive and span more
    than three decades.

    Parameters
    ----------
    g : Sweep
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    Display
        With the dots of each verdict by its word, or the map as "function".

    Raises
    ------
    TypeError, ValueError
        If `g` is no sweep, or over no array or more than two.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> from matplotlib.figure import Figure
    >>> g = gd.sweep(lambda x: x**4 - x**2, np.linspace(-1, 1, 20), lr=0.1)
    >>> gd.plot.sweep(g, ax=Figure().subplots())
    Display(converged)
    """
    from gdcore._pictures_descent import draw_sweep

    return draw_sweep(g, ax)


def basins(g: Sweep, ax: Axes | None = None) -> Display:
    """Draw which starts lead to which end point, in one or two coordinates.

    In one coordinate each end point stands over its start, and starts that lead to none are grey
    crosses on the lower edge; in two each start has the colour of its end point, which is a star,
    and those that lead to none are grey.

    Parameters
    ----------
    g : Sweep
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    Display
        With the dots of each basin, "basin 0", ..., and "no basin".

    Raises
    ------
    TypeError, ValueError
        If `g` is no sweep, or its starts have more than two coordinates.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> from matplotlib.figure import Figure
    >>> g = gd.sweep(lambda x: x**4 - x**2, np.linspace(-1, 1, 20), lr=0.1)
    >>> gd.plot.basins(g, ax=Figure().subplots())
    Display(basin 0, basin 1)
    """
    from gdcore._pictures_descent import draw_basins

    return draw_basins(g, ax)


def _path_on_line(
    points: Any,
    x: Float64Array,
    f: Function | None,
    xlim: Limits | None,
    ylim: Limits | None,
    ax: Axes | None,
    label: str,
) -> Display:
    """Draw the path `x` of one dimension; see `path` for where its points stand."""
    losses = getattr(points, "losses", ())
    artists: dict[str, Artist] = {}
    if f is not None:
        xlim = xlim or span_of(x)
        ground = np.linspace(*xlim, 400)
        heights, finite = np.full_like(x, np.nan), np.isfinite(x)
        heights[finite] = evaluate(f, x[finite])
        visited, line = np.stack([x, heights], axis=-1), drawable(evaluate(f, ground))
        ax = axes_for(ax)
        (artists["function"],) = ax.plot(ground, line, color=COLORS[0], label="function f")
        ax.set(xlabel="x", ylabel="f(x)")
    elif len(losses) == len(x):
        visited = np.stack([x, real_array(losses, "losses")], axis=-1)
        ax = axes_for(ax)
        ax.set(xlabel="x", ylabel="loss")
    else:
        visited = np.stack([np.arange(len(x)), x], axis=-1)
        ax = axes_for(ax)
        ax.set(xlabel="point", ylabel="x")
        count_by_integers(ax)
    artists |= draw_path(ax, visited, label, next_color(ax, first=1))
    if xlim is not None:
        ax.set_xlim(xlim)
    if ylim is not None:
        ax.set_ylim(ylim)
    add_legend(ax)
    return Display(ax, artists)
