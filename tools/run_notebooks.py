"""Execute every notebook, write it and its HTML to build/, and compare figures with the documents'.

Prints a line per figure: what the document says, what gdcore gives, whether they agree. The exit
status is 1 where a notebook fails or a figure disagrees. A notebook hands its figures over as the
JSON of its cell tagged "figures"; the comparison of document 000 stands in figures_000.py.
"""

import argparse
import base64
import sys
from pathlib import Path

import figures_000
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from tqdm import tqdm
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
COMPARISONS = {"000_linear_regression": figures_000.compare}


def execute(notebook, name):
    """Run all cells in a fresh kernel, with a progress bar."""
    with tqdm(total=len(notebook.cells), desc=name, unit="cell", file=sys.stdout) as bar:
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            config=Config(KernelManager={"transport": "ipc"}),  # no open port
            on_cell_complete=lambda **_: bar.update(),
        )
        client.execute()
        bar.update(bar.total - bar.n)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day differ from run to run
    notebook.metadata["language_info"] = {"name": "python"}


def figures_of(notebook):
    """What the cell tagged "figures" displays as JSON; None where there is no such cell."""
    for cell in notebook.cells:
        if "figures" in cell.metadata.get("tags", []):
            for output in cell.outputs:
                if "application/json" in output.get("data", {}):
                    return output.data["application/json"]
    return None


def print_table(rows):
    """The figures, a line each."""
    print(f"\n{'figure':<46} {'document':>24} {'gdcore':>24}  verdict")
    for row in rows:
        print(f"{row.what:<46} {row.document:>24} {row.ours:>24}  {row.verdict}")


def write(notebook, name, folder):
    """The executed notebook and its page."""
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    page, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook)
    (folder / f"{name}.html").write_text(page, encoding="utf-8")


def save_pictures(notebook):
    """The pictures of the README: what cells tagged "picture-NAME" drew, into docs/images/."""
    folder = ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", []):
            for output in cell.get("outputs", []):
                picture = output.get("data", {}).get("image/png")
                if tag.startswith("picture-") and picture:
                    name = tag.removeprefix("picture-")
                    (folder / f"{name}.png").write_bytes(base64.b64decode(picture))


def run(path, folder, save):
    """Execute and compare one notebook; the number of complaints."""
    notebook = nbformat.read(path, as_version=4)
    try:
        execute(notebook, path.stem)
    except CellExecutionError as error:
        print(f"{path.name} failed:\n{error}")
        return 1
    write(notebook, path.stem, folder)
    if save:
        nbformat.write(notebook, path)
        save_pictures(notebook)
    if path.stem not in COMPARISONS:
        return 0
    figures = figures_of(notebook)
    if figures is None:
        print(f"{path.name} has no cell tagged 'figures' that displays JSON")
        return 1
    rows = COMPARISONS[path.stem](figures)
    print_table(rows)
    return sum(not row.agrees for row in rows)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", action="store_true", help="into notebooks/ and docs/images/ too")
    options = parser.parse_args(arguments)
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    complaints = sum(run(path, ROOT / "build" / "notebooks", options.save) for path in paths)
    print(f"\n{len(paths)} notebooks, {complaints} figures disagree or notebooks fail")
    print("pages: build/notebooks/*.html")
    return int(complaints > 0 or not paths)


if __name__ == "__main__":
    sys.exit(main())
