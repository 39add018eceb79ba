"""Execute every notebook, write it and its page to build/notebooks/, and compare its figures.

Prints a line per figure: what the document says, what gdcore gives, whether they agree. A notebook
hands its figures over as the JSON that its cell tagged "figures" displays; the comparison of
document 000 stands in figures_000.py, and so on. The exit status is 1 where a notebook fails or a
figure disagrees.

With --save the executed notebooks, and as the README's pictures what cells tagged "picture-NAME"
drew, replace those under version control in notebooks/ and docs/images/.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import figures_000
import figures_001
import figures_001_networks
import figures_002
import figures_003
import figures_004
import nbformat
from figures import Row
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from tqdm import tqdm
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 300  # seconds for one cell
HEAD = ("figure", "document or formula", "gdcore", "verdict")
COMPARISONS: dict[str, Callable[[Mapping[str, Any]], Sequence[Row]]] = {
    "000_linear_regression": figures_000.compare,
    "001_descent": figures_001.compare,
    "001_networks": figures_001_networks.compare,
    "002_learning_rate": figures_002.compare,
    "003_value_and_grad": figures_003.compare,
    "004_neuron": figures_004.compare,
}


def execute(notebook: Any, folder: Path, name: str) -> None:
    """Run all cells in a new kernel whose working directory is `folder`."""
    # With a backend that is set for scripts no picture would get into the notebook.
    env = {variable: value for variable, value in os.environ.items() if variable != "MPLBACKEND"}
    cells = [number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    with TemporaryDirectory() as sockets:
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT,
            kernel_name="python3",
            record_timing=False,  # times of day differ from run to run
            resources={"metadata": {"path": str(folder)}},
            config=Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"}),
        )
        with client.setup_kernel(env=env):
            for count, number in enumerate(tqdm(cells, desc=name, unit="cell"), 1):
                client.execute_cell(notebook.cells[number], number, execution_count=count)
    for number in cells:
        notebook.cells[number].outputs = joined(notebook.cells[number].outputs)
    notebook.metadata["language_info"] = {"name": "python"}


def joined(outputs: Sequence[Any]) -> list[Any]:
    """The outputs of a cell with pieces of one stream put together: where it is cut is chance."""
    whole: list[Any] = []
    for output in outputs:
        stream = output.get("name") if output.output_type == "stream" else None
        if stream and whole and whole[-1].get("name") == stream:
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


def tagged(notebook: Any, start: str, mime: str) -> list[tuple[str, Any]]:
    """(tag, data) of the outputs of that type, of cells with a tag that starts so."""
    return [
        (tag, output.data[mime])
        for cell in notebook.cells
        for tag in cell.metadata.get("tags", [])
        for output in cell.get("outputs", [])
        if tag.startswith(start) and mime in output.get("data", {})
    ]


def pictures_of(notebook: Any) -> dict[str, bytes]:
    """The PNG files of the README, by name."""
    return {
        f"{tag.removeprefix('picture-')}.png": base64.b64decode(data)
        for tag, data in tagged(notebook, "picture-", "image/png")
    }


def figures_of(notebook: Any) -> Mapping[str, Any] | None:
    """What the cell tagged "figures" displays as JSON; None where there is no such cell."""
    found = tagged(notebook, "figures", "application/json")
    return found[0][1] if found else None


def write(notebook: Any, name: str, folder: Path) -> None:
    """Write the executed notebook, and its page: one file, which needs no network."""
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    exporter = HTMLExporter(mathjax_url="", require_js_url="", mermaid_js_url="")
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": name}})
    (folder / f"{name}.html").write_text(page, encoding="utf-8")


def save(notebook: Any, path: Path) -> None:
    """Replace the notebook under version control, and the README's pictures."""
    nbformat.write(notebook, path)
    for name, png in pictures_of(notebook).items():
        (ROOT / "docs" / "images" / name).write_bytes(png)


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows under their head, each column as wide as it needs to be."""
    lines = [HEAD, *((row.what, row.document, row.gdcore, row.verdict) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        print("  ".join([*cells, line[3]]))


def run(path: Path, folder: Path, keep: bool) -> int:
    """Execute and compare one notebook; return the number of complaints, each of them printed."""
    notebook = nbformat.read(path, as_version=4)
    try:
        execute(notebook, path.parent, path.stem)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        print(f"\n{path.name} failed:\n{error}")
        return 1
    write(notebook, path.stem, folder)
    if keep:
        save(notebook, path)
    if path.stem not in COMPARISONS:
        return 0
    figures = figures_of(notebook)
    if figures is None:
        print(f"\n{path.name} has no cell tagged 'figures' that displays JSON")
        return 1
    rows = COMPARISONS[path.stem](figures)
    print(f"\n{path.name}")
    print_table(rows)
    return sum(bool(row.complaint) for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every notebook, also after one that fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--save", action="store_true", help="to notebooks/ and docs/images/ too")
    options = parser.parse_args(arguments)
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    folder = ROOT / "build" / "notebooks"
    complaints = sum(run(path, folder, options.save) for path in paths)
    print(f"\nnotebooks: {len(paths)}; failures and figures that disagree: {complaints}")
    print(f"pages: {folder.relative_to(ROOT)}/*.html")
    return int(complaints > 0 or not paths)


if __name__ == "__main__":
    sys.exit(main())
