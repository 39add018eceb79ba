"""Pictures of training: `gdcore.plot.history` of a fit, `gradient_flow`, `lr_finder`, regions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdcore._drawing import (
    COLORS,
    Float64Array,
    add_legend,
    axes_for,
    count_by_integers,
    drawable,
    mark_not_finite,
    marker_for,
    real_array,
    set_log_axis,
    span_of,
    spans_decades,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from gdcore.history import History
    from gdcore.plot import Display

_GREY = "0.45"
_NAMED = 8  # layers that all have their names on the axis
_CELLS = 240  # along each side of a map of regions
_MARKERS = "osD^vP*"


# ---- Curves of a fit ----


def history(h: History, ax: Axes | None = None) -> Display:
    """Draw loss and metrics of a fit against its epochs, and the rates where they change.

    Losses stand on `ax`; metrics, and below them the rates, on axes of their own under it, for
    which it makes room. Curves of validation data are dashed. Axes of values are logarithmic where
    all are positive and span more than three decades. What is not finite is marked by crosses on
    the lower edge, and the legend says where it begins.

    Parameters
    ----------
    h : History
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    Display
        With a line for each name, "lr" where the rates change, and where needed the crosses,
        "<name> not finite".

    Raises
    ------
    ValueError
        If no epoch has ended.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from gdcore._pictures_training import history
    >>> from gdcore.history import History
    >>> h = History()
    >>> h.append_epochs(range(2), {"loss": [2.0, 1.0], "accuracy": [0.5, 0.75]}, lrs=[0.1, 0.01])
    >>> history(h, ax=Figure().subplots())
    Display(loss, accuracy, lr)
    """
    from gdcore.plot import Display

    if not len(h.epoch):
        raise ValueError("the history has no epoch that ended; one is needed for a picture")
    losses = {name: values for name, values in h.history.items() if _is_loss(name)}
    metrics = {name: values for name, values in h.history.items() if not _is_loss(name)}
    groups = [group for group in (losses, metrics) if group]
    rates_change = len(set(h.lrs)) > 1
    heights = [3.0, 2.0][: len(groups)] + [1.0] * rates_change
    panels = _panels(axes_for(ax), heights)
    artists: dict[str, Artist] = {}
    for panel, group in zip(panels, groups, strict=False):
        artists |= _draw_curves(panel, h.epoch, group)
        panel.set_ylabel("loss" if group is losses else _shared_name(group))
    if rates_change:
        rates = real_array(h.lrs, "lrs")
        (artists["lr"],) = panels[-1].plot(
            h.epoch, drawable(rates), color=_GREY, drawstyle="steps-mid", marker=marker_for(rates)
        )
        panels[-1].set_ylabel("rate")
        panels[-1].margins(y=0.2)
        if spans_decades([rates]):
            set_log_axis(panels[-1])
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
    panels[-1].set_xlabel("epoch")
    count_by_integers(panels[-1])
    return Display(panels[0], artists)


def _is_loss(name: str) -> bool:
    return name.removeprefix("val_") == "loss"


def _shared_name(group: Mapping[str, Any]) -> str:
    """Return what the axis of metrics is called: their name where it is one."""
    names = {name.removeprefix("val_") for name in group}
    return names.pop().replace("_", " ") if len(names) == 1 else "metrics"


def _panels(ax: Axes, heights: Sequence[float]) -> list[Axes]:
    """Return `ax`, made smaller, and further axes under it with the same axis of epochs."""
    if len(heights) == 1:
        return [ax]
    figure: Any = ax.figure
    cell = ax.get_subplotspec()
    if cell is not None:
        grid = cell.subgridspec(len(heights), 1, height_ratios=heights, hspace=0.08)
        ax.set_subplotspec(grid[0])
        return [ax, *(figure.add_subplot(grid[i], sharex=ax) for i in range(1, len(heights)))]
    place = ax.get_position()
    gap = 0.03 * place.height
    unit = (place.height - gap * (len(heights) - 1)) / sum(heights)
    tops = [place.y1 - unit * sum(heights[:i]) - gap * i for i in range(len(heights))]
    boxes = [
        (place.x0, top - unit * height, place.width, unit * height)
        for top, height in zip(tops, heights, strict=True)
    ]
    ax.set_position(boxes[0])
    return [ax, *(figure.add_axes(box, sharex=ax) for box in boxes[1:])]


def _draw_curves(ax: Axes, epochs: Sequence[int], group: Mapping[str, Any]) -> dict[str, Artist]:
    """Draw curves on one axes: those of a metric in one colour, of validation data dashed."""
    series = {name: real_array(values, name) for name, values in group.items()}
    kinds = list(dict.fromkeys(name.removeprefix("val_") for name in group))
    logarithmic = spans_decades(series.values())
    artists: dict[str, Artist] = {}
    for name, values in series.items():
        (line,) = ax.plot(
            epochs,
            np.where(np.isfinite(values), values, np.nan) if logarithmic else drawable(values),
            color=COLORS[kinds.index(name.removeprefix("val_")) % len(COLORS)],
            linestyle="--" if name.startswith("val_") else "-",
            marker=marker_for(values),
            label=name,
        )
        artists[name] = line
        if crosses := mark_not_finite(ax, np.asarray(epochs), values, "epoch", line):
            artists[f"{name} not finite"] = crosses
    if logarithmic:
        set_log_axis(ax)
    add_legend(ax)
    return artists


# ---- Gradients by layer ----


def gradient_flow(h: History, ax: Axes | None = None) -> Display:
    """Draw the gradient norm of each layer over the batches, and by layer in the last record.

    Layers that learn lie in one band. Where gradients vanish the first layers lie decades below the
    last ones and the right side climbs; where they explode everything climbs over the batches.

    Parameters
    ----------
    h : History
        With ``statistics["grad_norm"]``. A layer's norm is that of all its arrays together:
        ``param_names`` with the same text before their last point.
    ax : matplotlib.axes.Axes, optional
        Its right third goes to the last record.

    Returns
    -------
    Display
        With a line over the batches for each layer, and "last record". Norms of 0 are crosses on
        the lower edge.

    Raises
    ------
    ValueError
        If there is no record.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from gdcore._pictures_training import gradient_flow
    >>> from gdcore.history import History
    >>> h = History(param_names=["hidden.W", "hidden.b", "output.W", "output.b"])
    >>> h.append_statistics([0, 50], {"grad_norm": [[1e-3, 1e-3, 1, 1], [1e-4, 1e-4, 0.5, 0.5]]})
    >>> gradient_flow(h, ax=Figure().subplots())
    Display(hidden, output, last record)
    """
    from gdcore.plot import Display

    layers = _norms_by_layer(h)
    steps = h.statistics_steps
    left, right = _side_by_side(axes_for(ax))
    colors = _depth_colors(len(layers))
    last = np.array([norms[-1] for norms in layers.values()])
    depth = np.arange(1, len(layers) + 1)
    artists: dict[str, Artist] = {}
    for (name, norms), color in zip(layers.items(), colors, strict=True):
        (artists[name],) = left.plot(
            steps, _positive(norms), color=color, label=name, marker=marker_for(norms)
        )
        _mark_lost(left, steps, norms, color)
    (artists["last record"],) = right.plot(
        depth, _positive(last), color="0.6", linewidth=1.0, zorder=1
    )
    right.scatter(depth, _positive(last), c=colors, s=30, zorder=2)
    _mark_lost(right, depth, last, _GREY)
    _finish_flow(left, right, list(layers), int(steps[-1]))
    return Display(left, artists)


def _norms_by_layer(h: History) -> dict[str, Float64Array]:
    """Return the gradient norms (records,) of each layer, over all of its arrays."""
    norms = h.statistics.get("grad_norm")
    if norms is None or not len(norms):
        raise ValueError(
            "the history has no record of gradient norms, statistics['grad_norm']; one fit makes"
            " one of its first batch"
        )
    columns: dict[str, list[int]] = {}
    for place, name in enumerate(h.param_names):
        columns.setdefault(re.sub(r"[./][^./]*$", "", name), []).append(place)
    with np.errstate(all="ignore"):
        return {name: np.hypot.reduce(norms[:, own], axis=1) for name, own in columns.items()}


def _positive(values: Float64Array) -> Float64Array:
    """Return what a logarithmic axis can show, else NaN."""
    shown = drawable(values)
    return np.where(shown > 0, shown, np.nan)


def _mark_lost(ax: Axes, x: NDArray[Any], values: Float64Array, color: Any) -> None:
    """Mark norms of 0 by crosses on the lower edge, those that are not finite on the upper one."""
    for lost, height in ((values == 0, 0.0), (~np.isfinite(values), 1.0)):
        if lost.any():
            ax.plot(
                x[lost],
                np.full(lost.sum(), height),
                "x",
                color=color,
                markersize=5,
                clip_on=False,
                transform=ax.get_xaxis_transform(),
            )


def _depth_colors(count: int) -> list[Any]:
    """Return colours from dark, the first layer, to light."""
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0.0, 0.88, count)))


def _side_by_side(ax: Axes) -> tuple[Axes, Axes]:
    """Return `ax`, made narrower, and axes on its right with the same axis of values."""
    figure: Any = ax.figure
    cell = ax.get_subplotspec()
    if cell is not None:
        grid = cell.subgridspec(1, 2, width_ratios=(2, 1), wspace=0.06)
        ax.set_subplotspec(grid[0])
        return ax, figure.add_subplot(grid[1], sharey=ax)
    place = ax.get_position()
    ax.set_position((place.x0, place.y0, 0.64 * place.width, place.height))
    box = (place.x0 + 0.68 * place.width, place.y0, 0.32 * place.width, place.height)
    return ax, figure.add_axes(box, sharey=ax)


def _finish_flow(left: Axes, right: Axes, names: list[str], last_step: int) -> None:
    """Label the axes; few layers have their names below, of many some have it in a legend."""
    from matplotlib.ticker import MaxNLocator

    if any(np.isfinite(line.get_ydata()).any() for line in left.get_lines()[: len(names)]):
        set_log_axis(left)
    left.set(xlabel="batch", ylabel="gradient norm")
    count_by_integers(left)
    right.set(xlabel=f"layer, at batch {last_step}", xlim=(0.5, len(names) + 0.5))
    right.tick_params(which="both", labelleft=False)
    if len(names) <= _NAMED:
        right.set_xticks(
            range(1, len(names) + 1),
            names,
            rotation=60,
            ha="right",
            va="top",
            rotation_mode="anchor",
        )
        return
    right.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    handles, labels = left.get_legend_handles_labels()
    chosen = np.linspace(0, len(names) - 1, 5).astype(int)
    left.legend(
        [handles[i] for i in chosen],
        [labels[i] for i in chosen],
        loc="best",
        fontsize="small",
        framealpha=0.9,
    )


# ---- Rates tried out ----


def lr_finder(l: Any, ax: Axes | None = None) -> Display:  # noqa: E741 - the interface's name
    """Draw the losses of a rate finder against the rates, with the suggested one marked.

    The axis of losses ends a little above where they began: how high they fly at rates that are far
    too large says nothing.

    Parameters
    ----------
    l : result of find_lr
        With ``lrs``, ``losses``, ``smoothed`` and ``suggestion``, a rate or None.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    Display
        With "loss", "smoothed loss" and, where there is one, "suggestion".

    Raises
    ------
    ValueError
        If there is no rate with a finite loss.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from matplotlib.figure import Figure
    >>> from gdcore._pictures_training import lr_finder
    >>> rates, losses = [1e-3, 1e-2, 1e-1, 1.0], [2.0, 1.9, 1.0, 9.0]
    >>> found = SimpleNamespace(lrs=rates, losses=losses, smoothed=losses, suggestion=0.03)
    >>> lr_finder(found, ax=Figure().subplots())
    Display(loss, smoothed loss, suggestion)
    """
    from gdcore.plot import Display

    rates = real_array(l.lrs, "lrs")
    losses, smoothed = real_array(l.losses, "losses"), real_array(l.smoothed, "smoothed")
    if not (np.isfinite(losses) & np.isfinite(smoothed)).any():
        raise ValueError("no rate has a finite loss; give the finder smaller rates")
    ax = axes_for(ax)
    artists: dict[str, Artist] = {}
    (artists["loss"],) = ax.plot(
        rates, drawable(losses), color="0.7", linewidth=0.8, marker=marker_for(rates), label="loss"
    )
    (artists["smoothed loss"],) = ax.plot(
        rates, drawable(smoothed), color=COLORS[0], label="smoothed loss"
    )
    ax.set(
        xscale="log", xlabel="learning rate", ylabel="loss", ylim=_finder_limits(losses, smoothed)
    )
    if l.suggestion is not None:
        rate = float(l.suggestion)
        ax.axvline(rate, color=COLORS[1], linestyle=":", linewidth=1.2)
        height = np.interp(math.log(rate), np.log(rates), drawable(smoothed))
        (artists["suggestion"],) = ax.plot(
            [rate], [height], "o", color=COLORS[1], label=f"suggestion {rate:.3g}", zorder=3
        )
    add_legend(ax)
    return Display(ax, artists)


def _finder_limits(losses: Float64Array, smoothed: Float64Array) -> tuple[float, float]:
    """Return limits from the lowest loss to a third more than from there to the first ones."""
    shown, line = drawable(losses), drawable(smoothed)
    low = float(np.nanmin([np.nanmin(shown), np.nanmin(line)]))
    before = line[: int(np.nanargmin(line)) + 1]
    high = float(np.nanmax(before))
    room = (high - low) or max(abs(low), 1.0)
    return low - 0.08 * room, high + 0.35 * room


# ---- Regions of classes ----


def decision_regions(model: Any, X: Any, y: Any, ax: Axes | None = None) -> Display:
    """Draw which class a model predicts where, for two features, and the given points.

    Parameters
    ----------
    model : Sequential, or any classifier
        With ``predict_proba`` or ``predict`` of an array (n, 2). Probabilities of one column are
        those of class 1, of more columns the largest decides; labels stand for themselves.
    X : array-like (n, 2)
    y : array-like (n,), (n, 1) or one-hot (n, classes)
        Labels: class numbers, or what the model predicts.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    Display
        With "regions", and the points of each class, "class <label>".

    Raises
    ------
    ValueError
        If X does not have two columns, y not as many rows, or one of y and the model's predictions
        is numbers and the other is not.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from matplotlib.figure import Figure
    >>> from gdcore._pictures_training import decision_regions
    >>> model = SimpleNamespace(predict=lambda X: (X[:, :1] > 0.5).astype(float))
    >>> decision_regions(model, [[0.0, 0.0], [1.0, 1.0]], [0, 1], ax=Figure().subplots())
    Display(regions, class 0, class 1)
    """
    from gdcore.plot import Display

    points = real_array(X, "X")
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(
            f"X has shape {points.shape}; accepted is (n, 2): regions are drawn for two features"
        )
    labels = _labels_of(y, len(points))
    limits = [span_of(points[:, 0]), span_of(points[:, 1])]
    sides = [_cells(*pair) for pair in limits]
    grid = np.stack([part.ravel() for part in np.meshgrid(*sides)], axis=-1)
    found = _predicted(model, grid.astype(getattr(model, "dtype", None) or np.float64), labels)
    if _are_numbers(labels) != _are_numbers(found):
        raise ValueError(
            f"y holds the label {labels.tolist()[0]!r} but the model predicts"
            f" {found.tolist()[0]!r}; labels of the model's kind are accepted: classes, y ="
            " np.unique(y, return_inverse=True) makes class numbers"
        )
    names = np.unique(np.concatenate([found, labels]))
    ax = axes_for(ax)
    places = np.searchsorted(names, found.astype(names.dtype)).reshape(_CELLS, _CELLS)
    artists: dict[str, Artist] = {"regions": _draw_regions(ax, places, limits, len(names))}
    for number, name in enumerate(names):
        own = points[labels.astype(names.dtype) == name]
        artists[f"class {name}"] = _draw_points(ax, own, number, f"class {name}")
    titles = [str(title) for title in getattr(X, "columns", ("feature 0", "feature 1"))]
    ax.set(xlabel=titles[0], ylabel=titles[1], xlim=limits[0], ylim=limits[1])
    add_legend(ax)
    return Display(ax, artists)


def _labels_of(y: Any, rows: int) -> NDArray[Any]:
    """Return labels (rows,): whole numbers as integers, one-hot rows as the place of their 1."""
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = labels.argmax(axis=1)
    if labels.size != rows:
        raise ValueError(f"y has shape {labels.shape}; X has {rows} rows, and y as many labels")
    labels = labels.reshape(rows)
    whole = labels.dtype.kind in "fb" and bool(np.all(labels == np.round(labels)))
    return labels.astype(np.int64) if whole else labels


def _are_numbers(labels: NDArray[Any]) -> bool:
    if labels.dtype.kind != "O":
        return labels.dtype.kind in "biuf"
    return all(isinstance(label, int | float | np.number | np.bool_) for label in labels)


def _cells(low: float, high: float) -> Float64Array:
    """Return the middles of the cells of a side."""
    edges = np.linspace(low, high, _CELLS + 1)
    return edges[:-1] + 0.5 * (high - low) / _CELLS


def _predicted(model: Any, grid: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Return the label that a model predicts for each row."""
    has_chances = hasattr(model, "predict_proba")
    values = np.asarray(model.predict_proba(grid) if has_chances else model.predict(grid))
    classes: NDArray[Any] | None = getattr(model, "classes_", None)
    if values.ndim == 2 and values.shape[1] > 1:
        place: NDArray[Any] = values.argmax(axis=1)
        return place if classes is None else np.take(classes, place)
    values = values.reshape(len(grid))
    if not has_chances and (classes is not None or values.dtype.kind != "f"):
        return values  # labels already
    if classes is None:
        classes = np.unique(labels) if _are_numbers(labels) else np.array([0, 1])
    pair = np.asarray(classes)
    if len(pair) != 2 or pair.dtype.kind not in "iuf":
        pair = np.array([0, 1])
    middle = 0.5 if has_chances else pair.mean()
    return np.take(pair, values > middle)


def _draw_points(ax: Axes, points: Float64Array, number: int, label: str) -> Artist:
    """Draw the points of a class; beyond the colours there are markers."""
    (dots,) = ax.plot(
        *points.T,
        _MARKERS[number // len(COLORS) % len(_MARKERS)],
        color=COLORS[number % len(COLORS)],
        mec="white",
        mew=0.6,
        markersize=5,
        label=label,
    )
    return dots


def _draw_regions(
    ax: Axes, places: NDArray[Any], limits: Sequence[tuple[float, float]], count: int
) -> Artist:
    """Draw each cell in the light form of its class's colour, and thin borders between classes."""
    from matplotlib.colors import ListedColormap, to_rgb

    light = [
        [1 - 0.35 * (1 - part) for part in to_rgb(COLORS[number % len(COLORS)])]
        for number in range(count)
    ]
    extent = (*limits[0], *limits[1])
    image = ax.imshow(
        places,
        cmap=ListedColormap(light),
        vmin=-0.5,
        vmax=count - 0.5,
        origin="lower",
        extent=extent,
        aspect="auto",
        interpolation="nearest",
        zorder=0,
    )
    sides = [_cells(*pair) for pair in limits]
    for number in np.unique(places)[1:]:
        ax.contour(*sides, places >= number, levels=[0.5], colors="0.4", linewidths=0.6, zorder=0.5)
    return image
