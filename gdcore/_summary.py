"""A model as a table: for ``summary()``, and for a notebook's cell."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, NamedTuple

from gdcore._build import size_of
from gdcore._layer import Layer
from gdcore.layers import Dense

if TYPE_CHECKING:
    from gdcore._model import Model

HEADER = ("layer", "kind", "outputs", "parameters")


class Row(NamedTuple):
    """A line of the table."""

    name: str
    kind: str
    outputs: str
    parameters: str


def _rows(model: Model) -> list[Row]:
    """Return a line for each layer; those of a `Residual` are indented below it."""
    rows: list[Row] = []

    def visit(layer: Layer, depth: int) -> None:
        parts = list(layer._parts())
        inner = getattr(layer, "layers", ())
        outputs = layer.outputs
        if outputs is None and isinstance(layer, Dense):
            outputs = layer.units
        count = "" if inner or not parts[0]._parameter_count() else _count(model, layer)
        rows.append(
            Row(
                "  " * depth + str(layer.name),
                layer._shown(),
                "?" if outputs is None else f"{outputs:,}",
                count,
            )
        )
        for part in inner:
            visit(part, depth + 1)

    for layer in model._layers:
        visit(layer, 0)
    return rows


def _count(model: Model, layer: Layer) -> str:
    """Return the number of a layer's parameters, element by element."""
    plan = model._store.plan
    if plan is None:
        return "?"
    positions = [p for key, p in layer._at.items() if not key.startswith("moving")]
    count = sum(size_of(plan.slots[position].shape) for position in positions)
    return f"{count:,}" + ("" if getattr(layer, "trainable", True) else " frozen")


def _total(model: Model) -> str:
    """Return the line below the table."""
    plan = model._store.plan
    if plan is None:
        return "not built: the width of X is not known yet"
    frozen = sum(
        size_of(plan.slots[position].shape)
        for part in model._parts()
        if not getattr(part, "trainable", True)
        for position in part._at.values()
    )
    moving = sum(width for _, width, _ in plan.moving)
    trained = "all trainable" if not frozen else f"{frozen:,} of them frozen"
    beside = f"; {moving:,} moving statistics" if moving else ""
    return f"{plan.size:,} parameters, {trained}{beside}"


def summary_text(model: Model) -> str:
    """Return the table as text."""
    table = [HEADER, *_rows(model)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADER))]
    lines = []
    for name, kind, outputs, parameters in table:
        cells = [name.ljust(widths[0]), kind.ljust(widths[1]), outputs.rjust(widths[2])]
        lines.append("  ".join([*cells, parameters.rjust(widths[3])]).rstrip())
    return "\n".join([*lines, _total(model)])


def summary_html(model: Model) -> str:
    """Return the table for a notebook."""
    head = "".join(f"<th>{name}</th>" for name in HEADER)
    lines = []
    for row in _rows(model):
        indent = len(row.name) - len(row.name.lstrip())
        name = "&nbsp;" * 2 * indent + html.escape(row.name.strip())
        cells = [name, *map(html.escape, row[1:])]
        align = ("left", "left", "right", "right")
        lines.append(
            "<tr>"
            + "".join(
                f'<td style="text-align:{side}">{cell}</td>'
                for side, cell in zip(align, cells, strict=True)
            )
            + "</tr>"
        )
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        f"<p>{html.escape(_total(model))}</p>"
    )
