"""The committed notebooks are those of an execution, and `make run` notices a wrong figure."""

import copy
import re

import figures_000
import nbformat
import numpy as np
import pytest
import run_notebooks

NOTEBOOKS = sorted((run_notebooks.ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def figures():
    """What the committed notebook hands over."""
    path = run_notebooks.ROOT / "notebooks" / "000_linear_regression.ipynb"
    return run_notebooks.figures_of(nbformat.read(path, as_version=4))


@pytest.fixture(scope="module")
def wrong(figures):
    """A function that spoils a copy of the figures and returns the complaints."""

    def spoil(change):
        spoiled = copy.deepcopy(figures)
        change(spoiled["runs"])
        return [row.what for row in figures_000.compare(spoiled) if not row.agrees]

    return spoil


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs_are_of_one_execution(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert "error" not in kinds
    assert path.stat().st_size < 1.5 * 2**20
    streams = [o.name for cell in cells for o in cell.outputs if o.output_type == "stream"]
    assert set(streams) <= {"stdout"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_use_the_public_interface(path):
    source = "\n".join(
        cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"
    )
    assert "import gdcore as gd" in source
    assert not re.findall(r"\bgd(?:\.\w+)*\._\w+|gdcore\._", source)


def test_committed_figures_agree(figures):
    rows = figures_000.compare(figures)
    assert len(rows) >= 12
    assert all(row.agrees for row in rows), rows
    labels = {row.document: row.ours for row in rows if row.what.endswith("label")}
    assert labels == {
        "exploding": "exploding",
        "vanishing": "too slow",
        "smoother/stabler": "exploding",
    }


def test_a_loss_off_by_a_billionth_is_noticed(wrong):
    def change(runs):
        losses = runs["9e-06"]["losses"]
        losses[50] = repr(float(losses[50]) * (1 + 2e-9))

    assert wrong(change) == ["lr 9e-06: 100 losses against the closed form"]


def test_a_loss_that_is_not_finite_is_noticed(wrong):
    for value in ("nan", "inf"):
        complaints = wrong(lambda runs, value=value: runs["0.0065"]["losses"].__setitem__(3, value))
        assert "lr 0.0065: 100 losses against the closed form" in complaints


def test_another_growth_than_the_documents_is_noticed(wrong):
    def change(runs):
        runs["0.02"]["losses"] = [repr(1e11 * 4000.0**k) for k in range(80)] + ["inf"] * 20

    assert "lr 0.02: loss ratio at iteration 23" in wrong(change)


def test_a_bias_elsewhere_and_a_missing_run_are_noticed(wrong):
    complaints = wrong(lambda runs: runs["9e-06"].update(bias=0.01))
    assert complaints == ["lr 9e-06: bias after 100 steps, closed form"]
    assert wrong(lambda runs: runs.pop("0.02")) == ["runs that only one side has: ['0.02']"]


def test_the_closed_form_is_gradient_descent(rng):
    X = rng.uniform(-3, 3, (50, 2))
    y = rng.normal(size=(50, 1))
    plane = figures_000.Plane(X, y)
    A = np.column_stack([X, np.ones(50)])
    start = rng.normal(size=3)
    w, losses = start.copy(), []
    for _ in range(20):
        residual = A @ w - y.ravel()
        losses.append(residual @ residual)
        w -= 0.1 * A.T @ residual / 50
    np.testing.assert_allclose(plane.losses(0.1, start, 20), losses, rtol=1e-12)
    np.testing.assert_allclose(plane.point(0.1, start, 20), w, rtol=1e-12)


def test_a_failing_notebook_is_a_complaint(tmp_path, capsys):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    assert run_notebooks.run(tmp_path / "broken.ipynb", tmp_path / "out", save=False) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out
