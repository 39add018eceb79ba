"""The committed notebooks are those of an execution, and `make run` notices a wrong figure."""

import ast
import copy
import re

import figures_000
import nbformat
import numpy as np
import pytest
import run_notebooks

import gdcore as gd

NOTEBOOKS = sorted((run_notebooks.ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


# ---- What is committed ---------------------------------------------------------------------------


def test_document_000_has_its_notebook():
    assert "000_linear_regression" in {path.stem for path in NOTEBOOKS}
    assert set(run_notebooks.COMPARISONS) <= {path.stem for path in NOTEBOOKS}


@every_notebook
def test_outputs_are_those_of_one_execution(path):
    notebook = read(path)
    nbformat.validate(notebook)
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {
        "display_data",
        "execute_result",
        "stream",
    }
    assert {output.name for output in outputs if output.output_type == "stream"} <= {"stdout"}
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert path.stat().st_size < 1.5 * 2**20


@every_notebook
def test_no_output_names_a_place_of_one_machine(path):
    for cell in code_cells(path):
        for output in cell.outputs:
            texts = [output.get("text", ""), *output.get("data", {}).values()]
            shown = [text for text in texts if isinstance(text, str) and len(text) < 10_000]
            assert not re.search(r"(/\w[\w.-]*){3}|0x[0-9a-f]{6}", " ".join(shown)), cell.id


def public(name):
    """Whether a dotted name such as gd.losses.half_mse is one that gdcore offers."""
    owner = gd
    for part in name.split(".")[1:]:
        if part.startswith("_") or not hasattr(owner, part):
            return False
        offered = getattr(owner, "__all__", None)
        if offered is not None and part not in offered and not callable(getattr(owner, part)):
            return False
        owner = getattr(owner, part)
    return True


@every_notebook
def test_only_the_public_interface_is_used(path):
    source = "\n".join(cell.source for cell in code_cells(path))
    tree = ast.parse(source)
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
        if "gdcore" in (getattr(node, "module", None) or alias.name)
    }
    assert imported == {"gdcore"}
    used = set(re.findall(r"\bgd(?:\.\w+)+", ast.unparse(tree)))
    assert "gd.dense" in used
    assert not [name for name in used if not public(name)]


def test_private_names_are_noticed():
    assert public("gd.losses.half_mse")
    assert public("gd.SGD")
    assert not public("gd._core")
    assert not public("gd.losses._core")
    assert not public("gd.no_such_thing")


@every_notebook
def test_pictures_of_the_readme_are_the_notebooks(path):
    for name, png in run_notebooks.pictures_of(read(path)).items():
        assert png[:4] == b"\x89PNG"
        assert (run_notebooks.ROOT / "docs" / "images" / name).read_bytes() == png


def test_the_exploding_run_is_a_picture_of_the_readme():
    path = run_notebooks.ROOT / "notebooks" / "000_linear_regression.ipynb"
    assert "exploding.png" in run_notebooks.pictures_of(read(path))


# ---- Figures of document 000 ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def figures():
    """What the committed notebook hands over."""
    path = run_notebooks.ROOT / "notebooks" / "000_linear_regression.ipynb"
    return run_notebooks.figures_of(read(path))


@pytest.fixture
def complaints(figures):
    """A function that spoils a copy of the figures and returns {what: complaint}."""

    def spoil(change):
        spoiled = copy.deepcopy(figures)
        change({run["lr"]: run for run in spoiled["runs"]}, spoiled)
        return {row.what: row.complaint for row in figures_000.compare(spoiled) if row.complaint}

    return spoil


def test_the_committed_figures_agree(figures):
    rows = figures_000.compare(figures)
    assert [row for row in rows if row.complaint] == []
    names = [run["lr"] for run in figures["runs"]]
    assert sorted(names) == [0.000009, 0.0065, 0.02]
    for kind, count in (("growth", 3), ("closed form", 4), ("overflows", 3), ("what it is", 3)):
        assert sum(kind in row.what for row in rows) == count
    by_name = {row.what: row for row in rows}
    assert by_name["lr 0.02: loss overflows"].gdcore == "iteration 83"
    assert by_name["lr 0.0065: loss overflows"].gdcore == "none in 100"
    assert [
        (row.document, row.gdcore, row.verdict) for row in rows if "what it is" in row.what
    ] == [
        ("exploding", "exploding", "the name holds"),
        ("vanishing", "too slow", "the name does not hold"),
        ("smoother/stabler", "exploding", "the name does not hold"),
    ]


def test_the_figures_are_of_the_size_of_the_documents(figures):
    assert figures["data"]["n"] == 100_000
    assert [len(run["losses"]) for run in figures["runs"]] == [100, 100, 100]
    for lr, said in figures_000.read_document().items():
        assert len(said["losses"]) == {0.02: 23, 0.000009: 25, 0.0065: 23}[lr]


def test_a_loss_off_by_more_than_a_billionth_is_noticed(complaints):
    def scaled(factor):
        def change(runs, _):
            runs[0.000009]["losses"][50] *= factor

        return change

    assert complaints(scaled(1 + 0.5e-9)) == {}
    found = complaints(scaled(1 + 2e-9))
    assert list(found) == ["lr 9e-06: loss 100 of 100, closed form"]
    assert re.fullmatch(
        r"iteration 51: [\d.e+]+ beside [\d.e+]+, 2e-09 apart, 1e-09 allowed", *found.values()
    )


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -1.0, 0.0])
def test_a_loss_that_is_no_loss_is_noticed(complaints, value):
    found = complaints(lambda runs, _: runs[0.0065]["losses"].__setitem__(3, value))
    assert {
        "lr 0.0065: growth of the loss, 22 iterations",
        "lr 0.0065: loss 100 of 100, closed form",
    } <= set(found)


def test_another_growth_than_the_documents_is_noticed(complaints, figures):
    """Also where the closed form is met: a run at another rate, under the document's."""
    data = gd.datasets.noisy_plane(**figures["data"])
    plane = figures_000.Plane(data.X, data.y)

    def change(runs, _):
        run = runs.pop(0.02)
        run["losses"] = plane.losses(0.0205, np.array(run["start"]), 100).tolist()
        runs[0.02] = run

    found = complaints(change)
    assert "lr 0.02: growth of the loss, 22 iterations" in found
    assert "0.03 allowed" in found["lr 0.02: growth of the loss, 22 iterations"]


def test_an_overflow_elsewhere_is_noticed(complaints):
    found = complaints(lambda runs, _: runs[0.02]["losses"].__setitem__(81, None))
    assert found == {"lr 0.02: loss overflows": "not the same iteration"}


def test_an_end_elsewhere_is_noticed(complaints):
    found = complaints(lambda runs, _: runs[0.000009]["end"].__setitem__(2, 0.004))
    assert list(found) == ["lr 9e-06: bias after 100, closed form"]
    assert found["lr 9e-06: bias after 100, closed form"].startswith("parameter 2: 0.004 beside ")


def test_other_runs_and_short_runs_are_noticed(complaints):
    assert complaints(lambda _, all_of: all_of["runs"].pop(0)) == {
        "learning rates": "not the same runs"
    }
    found = complaints(lambda runs, _: runs[0.02].update(losses=runs[0.02]["losses"][:10]))
    assert found == {"lr 0.02: iterations": "too few to compare"}


def test_other_data_are_noticed(complaints):
    found = complaints(lambda _, all_of: all_of["data"].update(seed=1))
    assert {what for what in found if "closed form" in what} == {
        "lr 0.02: loss 80 of 80, closed form",
        "lr 9e-06: loss 100 of 100, closed form",
        "lr 9e-06: bias after 100, closed form",
        "lr 0.0065: loss 100 of 100, closed form",
    }


def test_the_closed_form_is_gradient_descent(rng):
    X = rng.uniform(-3, 3, (50, 2))
    y = rng.normal(size=(50, 1))
    plane = figures_000.Plane(X, y)
    A = np.column_stack([X, np.ones(50)])
    start = rng.normal(size=3)
    w, losses = start.copy(), []
    for _ in range(20):
        residual = A @ w - y[:, 0]
        losses.append(residual @ residual)
        w -= 0.1 * A.T @ residual / 50
    np.testing.assert_allclose(plane.losses(0.1, start, 20), losses, rtol=1e-12)
    np.testing.assert_allclose(plane.point(0.1, start, 20), w, rtol=1e-12)


def test_overflow_is_foretold_from_even_growth():
    whole = 10.0 ** np.arange(0.0, 300.0, 7.0)
    assert figures_000.overflow_of(whole) is None
    with np.errstate(over="ignore"):
        runs_over = 10.0 ** np.arange(0.0, 350.0, 7.0)
    assert figures_000.overflow_foretold(whole[:5], 100) == figures_000.overflow_of(runs_over)
    assert figures_000.overflow_foretold(whole[:5], 44) is None
    assert figures_000.overflow_foretold(whole[:5][::-1], 10_000) is None


# ---- Running -------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A function that makes the given cells the only notebook, "tiny"; it returns its folder."""
    monkeypatch.setattr(run_notebooks, "ROOT", tmp_path)

    def make(*sources, tags=()):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        cells[-1].metadata.tags = list(tags)
        (tmp_path / "notebooks").mkdir()
        (tmp_path / "docs" / "images").mkdir(parents=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / "tiny.ipynb")
        return tmp_path

    return make


SHOW_JSON = 'display({"application/json": {"answer": 42}, "text/plain": "42"}, raw=True)'


@pytest.mark.parametrize(
    ("expected", "status", "verdict"), [(42, 0, "agrees"), (43, 1, "DISAGREES: 42 is not 43")]
)
def test_a_figure_that_disagrees_fails(tree, monkeypatch, capsys, expected, status, verdict):
    def compare(figures):
        answer = figures["answer"]
        complaint = "" if answer == expected else f"{answer} is not {expected}"
        return [figures_000.Row("answer", str(expected), str(answer), complaint)]

    folder = tree("print('first')", SHOW_JSON, tags=["figures"])
    monkeypatch.setitem(run_notebooks.COMPARISONS, "tiny", compare)
    assert run_notebooks.main([]) == status
    written = capsys.readouterr()
    assert re.search(rf"^answer +{expected} +42 +{verdict}$", written.out, re.MULTILINE)
    assert "2/2" in written.err  # the progress bar counts cells
    pages = folder / "build" / "notebooks"
    assert code_cells(pages / "tiny.ipynb")[0].outputs[0].text == "first\n"
    assert "first" in (pages / "tiny.html").read_text()


def test_without_figures_a_comparison_fails(tree, monkeypatch, capsys):
    tree("1")
    monkeypatch.setitem(run_notebooks.COMPARISONS, "tiny", lambda figures: [])
    assert run_notebooks.main([]) == 1
    assert "tiny.ipynb has no cell tagged 'figures'" in capsys.readouterr().out


def test_a_notebook_that_fails_is_a_complaint(tree, capsys):
    folder = tree("1 / 0")
    assert run_notebooks.main([]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert not (folder / "build").exists()


def test_no_notebook_at_all_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(run_notebooks, "ROOT", tmp_path)
    assert run_notebooks.main([]) == 1


def test_pictures_are_drawn_kept_and_inside_the_page(tree, monkeypatch):
    """Whatever backend the environment asks for; a page with another address would need it."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    draw = (
        "import matplotlib.pyplot as plt\nplt.figure(figsize=(1, 1))\nplt.plot([1, 2])\nplt.show()"
    )
    folder = tree(draw, tags=["picture-small"])
    assert run_notebooks.main(["--save"]) == 0
    png = (folder / "docs" / "images" / "small.png").read_bytes()
    assert png[:4] == b"\x89PNG"
    saved = folder / "notebooks" / "tiny.ipynb"
    assert run_notebooks.pictures_of(read(saved)) == {"small.png": png}
    page = (folder / "build" / "notebooks" / "tiny.html").read_text()
    assert "data:image/png;base64" in page
    assert not re.search(r'(src|href)="https?://|import\("https?://', page)


def test_streams_are_put_together():
    def stream(name, text):
        return nbformat.v4.new_output("stream", name=name, text=text)

    picture = nbformat.v4.new_output("display_data")
    pieces = [stream("stdout", "a"), stream("stdout", "b"), picture, stream("stdout", "c")]
    whole = [stream("stdout", "ab"), picture, stream("stdout", "c")]
    assert run_notebooks.joined(pieces) == whole
