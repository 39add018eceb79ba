"""The type stub of the optimizers is what its tool makes from the table, and says what is true."""

import ast
import importlib.util
import inspect
from pathlib import Path

import pytest
from optimizer_cases import ROWS

import gdcore as gd

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "tools" / "make_stubs.py"
    spec = importlib.util.spec_from_file_location("make_stubs", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stub_is_what_the_tool_makes(tool):
    assert tool.STUB.read_text(encoding="utf-8") == tool.stub(), "run python tools/make_stubs.py"


def test_the_stub_names_what_the_module_exports(tool):
    (exported,) = (
        node.value
        for node in ast.parse(tool.stub()).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    )
    assert sorted(ast.literal_eval(exported)) == sorted(gd.optimizers.__all__)


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row["name"])
def test_signatures_and_settings_are_the_real_ones(tool, row):
    (found,) = (
        node
        for node in ast.parse(tool.stub()).body
        if isinstance(node, ast.ClassDef) and node.name == row["class"]
    )
    (init,) = (node for node in found.body if isinstance(node, ast.FunctionDef))
    arguments = init.args
    positional = dict(zip(arguments.args[1:], arguments.defaults, strict=True))
    keywords = dict(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    kind = getattr(gd, row["class"])
    stated = {a.arg: ast.literal_eval(v) for a, v in {**positional, **keywords}.items()}
    real = inspect.signature(kind).parameters
    assert stated == {name: parameter.default for name, parameter in real.items()}
    by_position = [p.name for p in real.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [a.arg for a in positional] == by_position
    attributes = {node.target.id for node in found.body if isinstance(node, ast.AnnAssign)}
    assert attributes == {*real, "__signature__"} - {"lr", "groups"}
    assert all(hasattr(kind, name) for name in attributes)
