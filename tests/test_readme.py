"""What the README and CONTRIBUTING say is so: tables, example code, names of files."""

import re
import subprocess
import sys

import pytest

from gdcore import _core


def code_blocks(text):
    """The Python blocks of a Markdown file."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_table_of_optimizers_is_the_registry(root):
    tool = root / "tools" / "make_tables.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = re.findall(r"^\| `gd\.(\w+)`", (root / "README.md").read_text(), re.MULTILINE)
    assert listed == [*(row["class"] for row in _core.OPTIMIZERS), "LBFGS", "Armijo", "EMA"]
    text = (root / "README.md").read_text()
    sources = re.findall(r"^\| `gd\.\w+` .* \| (.*) \|$", text, re.MULTILINE)
    assert all(re.search(r"(19|20)\d\d", source) for source in sources)


def test_the_examples_run_and_do_what_they_say(root, capsys):
    namespace = {}
    descent, layer, engine, networks, settings = code_blocks((root / "README.md").read_text())
    exec(descent, namespace)
    assert abs(namespace["W"][0, 0] - 15) < 0.05
    assert abs(namespace["W"][1, 0] + 13) < 0.05
    exec(layer, namespace)
    printed = capsys.readouterr().out
    assert "m_hat" in printed or "effective_lr" in printed
    exec(engine, namespace)
    assert namespace["value"] == 186
    assert namespace["r"].success
    assert namespace["r"].x == pytest.approx((2, -1), abs=1e-5)
    assert len(namespace["g"]) == 40_000
    printed = capsys.readouterr().out
    assert "gradient norm" in printed
    assert all(word in printed for word in ("converged", "exploding", "oscillating"))
    exec(networks, {"gd": namespace["gd"], "np": namespace["np"]}, trained := {})
    assert trained["accuracy"] > 0.98
    assert 1e-4 < trained["rate"] < 1
    assert list(trained["many"]) == ["left", "right"]
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("delta", "dense", "left", "right"))
    exec(settings, namespace)
    assert namespace["opt"].t == 1
    sys.modules["matplotlib.pyplot"].close("all")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(root, name):
    text = (root / name).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    tree = re.findall(r"`((?:csrc|gdcore|tests|tools|notebooks|docs|\.ci)/[\w./]+)`", text)
    assert links or tree
    for path in links + tree:
        assert (root / path).exists(), path


def test_the_make_targets_that_are_named_exist(root):
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"`make ([a-z]+)", (root / name).read_text()))
        assert named <= targets
    assert {"run", "test"} <= targets
