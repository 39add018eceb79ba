"""The committed notebooks are those of an execution, and `make run` notices a wrong figure."""

import ast
import copy
import re

import figures
import figures_000
import figures_001
import figures_003
import nbformat
import numpy as np
import pytest
import run_notebooks

import gdcore as gd

NOTEBOOKS = sorted((run_notebooks.ROOT / "notebooks").glob("*.ipynb"))
USES = {  # what each document is about
    "000_linear_regression": {"gd.dense", "gd.dense_grad", "gd.SGD", "gd.plot.history"},
    "001_descent": {"gd.minimize", "gd.maximize", "gd.sweep", "gd.diagnose", "gd.plot.contour"},
    "003_value_and_grad": {"gd.value_and_grad", "gd.compile", "gd.check_grad", "gd.minimize"},
    "004_neuron": {
        "gd.sigmoid",
        "gd.SGD",
        "gd.Adagrad",
        "gd.RMSprop",
        "gd.Adam",
        "gd.plot.surface",
    },
}
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


# ---- What is committed ---------------------------------------------------------------------------


def test_documents_have_their_notebooks():
    names = {path.stem for path in NOTEBOOKS}
    assert set(USES) <= names
    assert set(run_notebooks.COMPARISONS) <= names


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
            data = {"text": output.get("text", ""), **output.get("data", {})}
            shown = [
                text
                for kind, text in data.items()
                if isinstance(text, str) and not kind.startswith("image/")
            ]
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
    assert used >= USES.get(path.stem, set())
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


@pytest.mark.parametrize(
    ("name", "picture"),
    [("000_linear_regression", "exploding.png"), ("001_descent", "descent.png")],
)
def test_pictures_for_the_readme_are_drawn(name, picture):
    path = run_notebooks.ROOT / "notebooks" / f"{name}.ipynb"
    assert set(run_notebooks.pictures_of(read(path))) == {picture}


def figures_handed_over(name):
    """What the committed notebook hands over."""
    return run_notebooks.figures_of(read(run_notebooks.ROOT / "notebooks" / f"{name}.ipynb"))


# ---- Figures of document 000 ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def figures_of_000():
    return figures_handed_over("000_linear_regression")


@pytest.fixture
def complaints(figures_of_000):
    """A function that spoils a copy of the figures and returns {what: complaint}."""

    def spoil(change):
        spoiled = copy.deepcopy(figures_of_000)
        change({run["lr"]: run for run in spoiled["runs"]}, spoiled)
        return {row.what: row.complaint for row in figures_000.compare(spoiled) if row.complaint}

    return spoil


def test_the_committed_figures_agree(figures_of_000):
    rows = figures_000.compare(figures_of_000)
    assert [row for row in rows if row.complaint] == []
    names = [run["lr"] for run in figures_of_000["runs"]]
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


def test_the_figures_are_of_the_size_of_the_documents(figures_of_000):
    assert figures_of_000["data"]["n"] == 100_000
    assert [len(run["losses"]) for run in figures_of_000["runs"]] == [100, 100, 100]
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


def test_another_growth_than_the_documents_is_noticed(complaints, figures_of_000):
    """Also where the closed form is met: a run at another rate, under the document's."""
    data = gd.datasets.noisy_plane(**figures_of_000["data"])
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


# ---- Figures of documents 001 and 003 ------------------------------------------------------------

DESCENTS = ("001_descent", "003_value_and_grad")


@pytest.fixture(scope="module")
def figures_of_both():
    return {name: figures_handed_over(name) for name in DESCENTS}


@pytest.fixture
def found_in(figures_of_both):
    """A function that spoils a copy of a notebook's figures and returns {what: complaint}."""

    def spoil(name, change=lambda spoiled: None):
        spoiled = copy.deepcopy(figures_of_both[name])
        change(spoiled)
        rows = run_notebooks.COMPARISONS[name](spoiled)
        return {row.what: row.complaint for row in rows if row.complaint}

    return spoil


@pytest.mark.parametrize(("name", "count"), [("001_descent", 50), ("003_value_and_grad", 35)])
def test_the_committed_figures_of_descents_agree(found_in, figures_of_both, name, count):
    assert found_in(name) == {}
    rows = run_notebooks.COMPARISONS[name](figures_of_both[name])
    assert len(rows) >= count
    assert len({row.what for row in rows}) == len(rows)


def test_what_documents_001_and_003_have_wrong_is_told(figures_of_both):
    rows = [
        row for name in DESCENTS for row in run_notebooks.COMPARISONS[name](figures_of_both[name])
    ]
    told = {row.what: row.verdict for row in rows if "agrees" not in row.verdict}
    assert told == {
        "sextic: what x = 0 is": "the name does not hold",
        "flat, from 5, lr 0.1: what it is": "the name holds",
        "steep, from 3, lr 0.1: what it is": "the name holds",
        "bowl, from 1, lr 0.05: what it is": "the name holds",
        "loss at (2, 1)": "the point does not hold",
        "loss after three steps": "the document's is that of the weight before",
    }


def changed(*keys, by=None, to=None):
    """A function that changes the figure at these keys: adds `by`, or sets it to `to`."""

    def change(spoiled):
        *outer, last = keys
        for key in outer:
            spoiled = spoiled[key]
        spoiled[last] = to if by is None else spoiled[last] + by

    return change


PLANTED_001 = {
    "parabola: path, closed form": changed("parabola", "path", 7, by=1e-8),
    "parabola: path, plain NumPy": changed("parabola", "path", 7, by=1e-8),
    "parabola: distance after 30": changed("rates", "x", 2, by=1e-8),
    "parabola: 2 / f'' between": changed("rates", "x", 3, to=9.0),
    "sextic from -0.7: path, plain NumPy": changed("sextic", "runs", 1, "path", 3, by=1e-8),
    "sextic: ends, roots of f'": changed("sextic", "runs", 7, "end", by=1e-8),
    "sextic: f at the ends": changed("sextic", "runs", 3, "fun", to=None),
    "sextic: what x = 0 is": changed("sextic", "second derivative at 0", to=-8.0),
    "valleys: descent from x = 0": changed("valleys", "still", "x", to=0.4758),
    "valleys: ends of 200 random starts, roots of f'": changed(
        "valleys", "random", "ends", 150, by=1e-8
    ),
    "peaks from (-0.4, -0.8): path, plain NumPy": changed(
        "peaks", "runs", 0, "path", 2, 1, by=1e-8
    ),
    "peaks: ends of 5 of 6, the minima": changed("peaks", "runs", 4, "end", 0, by=1e-8),
    "ascent: gradient turned: gd.maximize": changed(
        "ascent", "paths", "gradient turned: gd.maximize", 5, 0, by=1e-15
    ),
    "experiment 1: end points, plain NumPy": changed("experiments", "start", "x", 40, by=1e-8),
    "experiment 1: steps, plain NumPy": changed("experiments", "start", "nit", 40, by=2),
    "experiment 1: end points, closed form": changed("experiments", "start", "x", 40, to=0.0),
    "experiment 2: deep minimum": lambda spoiled: spoiled["experiments"]["rate"].update(
        x=[figures_001.OUTER] * 200
    ),
    "experiment 2: x = 0": lambda spoiled: spoiled["experiments"]["rate"].update(x=[1.0] * 200),
    "experiment 3: f, plain NumPy": changed("experiments", "both", "fun", 4, 3, by=1e-8),
    "gradient-based: rates": changed("dynamic", "gradient-based", "lrs", 10, by=1e-8),
    "time-based: path": changed("dynamic", "time-based", "path", 2, by=1e-8),
    "flat, from 5, lr 0.1: what it is": changed("verdicts", "flat, from 5, lr 0.1", to="too slow"),
    "random matrices, n = 2: share of minima": changed("saddles", "matrices", 1, by=0.004),
    "waves, d = 2: points with an even number of directions down, less the others": changed(
        "saddles", "waves", "2", 0, by=1
    ),
}
PLANTED_003 = {
    "iteration 2: W_new": changed("loop", "weights", 2, by=2e-6),
    "iteration 50: loss": changed("loop", "losses", 49, by=2e-9),
    "weights, closed form": changed("loop", "weights", 20, by=2e-5),
    "gd.minimize: weights and losses": changed("minimize", "weights", 20, by=1e-7),
    "loss after three steps": changed("after three steps", to=120.23),
    "loss at (2, 1)": changed("losses at", "(2, 1)", to=0.0),
    "second derivatives, closed form": changed("both", "curvature", 0, 1, by=1e-9),
    "W and b at lr 0.1, closed form": changed("both", "runs", "0.1", 2, 0, by=2e-5),
    "mini-batch of 2: steps per epoch": changed("batches", "mini-batch of 2", "steps", by=40),
    "stochastic: path, plain NumPy": changed("batches", "stochastic", "path", 9, 1, by=2e-5),
    "noisy line, batch": changed("noise", "batch, lr 0.1", 0, by=2e-3),
    "noisy line, stochastic: falling rate": changed(
        "noise", "stochastic, lr falling from 0.1", 0, by=0.1
    ),
}


@pytest.mark.parametrize(
    ("name", "what", "change"),
    [(DESCENTS[0], *planted) for planted in PLANTED_001.items()]
    + [(DESCENTS[1], *planted) for planted in PLANTED_003.items()],
)
def test_a_planted_error_is_found(found_in, name, what, change):
    assert what in found_in(name, change)


def test_a_neighbouring_float32_agrees_and_the_next_does_not(found_in):
    step = float(np.spacing(np.float32(149.54607)))
    assert found_in(DESCENTS[1], changed("loop", "losses", 1, by=step)).keys() == {
        "gd.minimize: weights and losses"
    }
    found = found_in(DESCENTS[1], changed("loop", "losses", 1, by=2 * step))
    assert found["iteration 2: loss"] == "2 float32 steps apart"


def test_document_003_is_read_digit_by_digit():
    iterations = figures_003.read_document()["iterations"]
    assert [*iterations] == ["1", "2", "3", "48", "49", "50"]
    for told in iterations.values():
        assert [*told] == ["W_old", "W_new", "loss"]
        for text in told.values():
            assert float(str(np.float32(text))) == pytest.approx(float(text), rel=1e-7)
    for before, after in (("1", "2"), ("2", "3"), ("48", "49"), ("49", "50")):
        assert iterations[before]["W_new"] == iterations[after]["W_old"]


def test_slopes_of_the_twins_are_derivatives():
    x = np.linspace(-2, 2, 41)
    h = 1e-20
    for f, slope in (
        (lambda x: 3 * x**2 - 3 * x + 4, figures_001.parabola_slope),
        (figures_001.sextic, figures_001.sextic_slope),
        (figures_001.sextic_slope, figures_001.sextic_curvature),
        (lambda x: np.cos(2 * np.pi * x) + x**2, figures_001.valleys_slope),
    ):
        np.testing.assert_allclose((f(x + 1j * h) / h).imag, slope(x), rtol=1e-12, atol=1e-12)


def test_figures_of_another_number_or_that_are_none_disagree():
    def complaint(ours):
        return figures.compare_all("x", "step", ours, [1.0, 2.0], 1e-9).complaint

    assert complaint([1.0, 2.0]) == ""
    assert complaint([1.0]) == "not the same number of figures"
    assert complaint([1.0, None]).startswith("step 1: nan beside 2")
    assert complaint([1.0, 2.1]) == "step 1: 2.1 beside 2, 0.1 apart, 1e-09 allowed"


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
    def compare(handed_over):
        answer = handed_over["answer"]
        complaint = "" if answer == expected else f"{answer} is not {expected}"
        return [figures.Row("answer", str(expected), str(answer), complaint)]

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
