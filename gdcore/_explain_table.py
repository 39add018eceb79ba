"""What `Sequential.explain` found as a table, in text and for a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gdcore._explain import LayerExplanation

Array = NDArray[Any]

SHOWN = 16  # elements of an array that is printed whole


class Row(NamedTuple):
    """One quantity: its name, how it comes about, its values."""

    name: str
    formula: str
    values: Array


def _rows(layer: LayerExplanation) -> Iterator[Row]:
    """Yield a layer's quantities in the order in which they are computed."""
    last = layer.last
    yield Row("x", "input" if layer.first else "a of the layer before", layer.x)
    for name, values in layer.params.items():
        yield Row(name, "", values)
    if layer.mask is not None:
        yield Row("mask", "0 or 1 / (1 - rate)", layer.mask)
    source = "d loss / da" if last else "from the layer after (BP2)"
    if layer.z is layer.a:
        yield Row("a", _plain(layer), layer.a)
        yield Row("delta", f"{source} (BP1)" if last else source, layer.delta)
    else:
        activation = layer.kind.rpartition(", ")[2]
        yield Row("z", _product(layer) if layer.params else "x", layer.z)
        yield Row("a", f"{activation}(z)", layer.a)
        yield Row("da", source, layer.da)
        way = "da * f'(z)" if activation not in ("softmax", "log_softmax") else "da by its Jacobian"
        way = "d loss / dz at once" if layer.fused else way
        yield Row("delta", f"{way} (BP1)" if last else way, layer.delta)
    product = "x^T delta + d penalty / dW (BP4)" if layer.regularized else "x^T delta (BP4)"
    ways = {"W": product, "b": "sum of delta (BP3)", "beta": "sum of delta"}
    for name, values in layer.grads.items():
        yield Row(f"d{name}", ways.get(name, ""), values)
    for name, values in (layer.update or {}).items():
        yield Row(f"update {name}", "", values)


def _product(layer: LayerExplanation) -> str:
    return "x W" if layer.b is None else "x W + b"


def _plain(layer: LayerExplanation) -> str:
    """Return how the output of a layer without activation comes about."""
    if layer.W is not None:
        return _product(layer)
    if layer.params:
        return "gamma * (x - mean) / deviation + beta"
    if layer.mask is not None:
        return "x * mask"
    return "x + its layers" if layer.kind == "Residual" else "x"


def _text(values: Array) -> str:
    """Return an array in full, or what is known of a large one."""
    if values.size <= SHOWN:
        return np.array2string(values, precision=4, suppress_small=False, max_line_width=60)
    low, high = float(np.min(values)), float(np.max(values))
    norm = float(np.linalg.norm(values.astype(np.float64)))
    return f"norm {norm:.4g}, from {low:.4g} to {high:.4g}"


def explanation_text(layers: Sequence[LayerExplanation]) -> str:
    """Return the table as text."""
    blocks = _blocks(layers)
    rows = [row for _, found in blocks for row in found]
    widths = [max(len(cell) for cell in column) for column in zip(*map(_cells, rows), strict=True)]
    lines = []
    for layer, found in blocks:
        indent = "  " * layer.depth
        lines.append(f"{indent}{layer.name}: {layer.kind}")
        for row in found:
            cells = [c.ljust(w) for c, w in zip(_cells(row), widths, strict=True)]
            head = f"{indent}  {'  '.join(cells)}  "
            first, *more = _text(row.values).split("\n")
            lines.append(head + first)
            lines += [" " * len(head) + line for line in more]
    return "\n".join(line.rstrip() for line in lines)


def _blocks(layers: Sequence[LayerExplanation]) -> list[tuple[LayerExplanation, list[Row]]]:
    """Return the rows of each layer."""
    return [(layer, list(_rows(layer))) for layer in layers]


def _cells(row: Row) -> tuple[str, str, str]:
    return row.name, row.formula, str(row.values.shape)


def explanation_html(title: str, layers: Sequence[LayerExplanation]) -> str:
    """Return the table for a notebook."""
    head = "".join(f"<th>{name}</th>" for name in ("layer", "", "", "shape", "values"))
    lines = []
    for layer, rows in _blocks(layers):
        label = (
            f"{'&nbsp;' * 2 * layer.depth}{html.escape(layer.name)}<br>{html.escape(layer.kind)}"
        )
        for place, row in enumerate(rows):
            first = f"<th rowspan={len(rows)} style='text-align:left'>{label}</th>"
            cells = map(html.escape, _cells(row))
            lines.append(
                f"<tr>{first if place == 0 else ''}"
                + "".join(f"<td style='text-align:left'>{cell}</td>" for cell in cells)
                + f"<td style='text-align:left'><pre>{html.escape(_text(row.values))}</pre></td>"
                + "</tr>"
            )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f"<div>{html.escape(title)}{table}</div>"
