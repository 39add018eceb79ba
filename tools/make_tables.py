"""Write what lists the optimizers from the core's table: the README, the package's public names.

``python tools/make_tables.py`` rewrites them; with --check it only says whether they differ.
"""

import inspect
import sys
from pathlib import Path
from types import ModuleType

import gdcore as gd
from gdcore import _core, optimizers

ROOT = Path(__file__).resolve().parents[1]


def optimizer_table() -> str:
    """A Markdown line per row: class, help, paper."""
    lines = ["| optimizer | what it does | source |", "|---|---|---|"]
    for row in _core.OPTIMIZERS:
        lines.append(f"| `gd.{row['class']}` | {row['help']} | {row['paper']} |")
    for kind in (gd.LBFGS, gd.Armijo, gd.EMA):
        doc = inspect.getdoc(kind)
        said = doc.split("\n")[0].replace("``", "`")
        papers = " ".join(doc.split("References\n----------\n")[1].split("\n\n")[0].split())
        lines.append(f"| `gd.{kind.__name__}` | {said} | {papers} |")
    return "\n".join(lines)


def names_of(module: ModuleType) -> list[str]:
    return [name for name in module.__all__ if name.islower() and name not in ("get", "gain")]


def catalogue() -> str:
    """What else there is, a line a family."""
    families = {
        "Activations, with gradients (ufuncs where elementwise)": gd.activations.names(),
        "Losses, with gradients": gd.losses.names(),
        "Schedules, `gd.schedules`": names_of(gd.schedules),
        "Initializers, `gd.initializers`": names_of(gd.initializers),
        "Constraints, `gd.constraints`": names_of(gd.constraints),
        "Data and test functions, `gd.datasets`": names_of(gd.datasets),
    }
    return "\n".join(
        f"- **{family}**: {', '.join(f'`{name}`' for name in names)}"
        for family, names in families.items()
    )


def replaced(text: str, mark: str, content: str) -> str:
    """Put content between the begin and end comments of a mark."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    assert begin in text, mark
    assert end in text, mark
    head, rest = text.split(begin)
    return f"{head}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def public_names(text: str) -> str:
    """Put the names of gdcore.optimizers into the second __all__, in the linter's order."""
    head, rest = text.split("__all__ += [\n")
    names = sorted(optimizers.__all__, key=lambda name: (not name.isupper(), name.islower(), name))
    return (
        f"{head}__all__ += [\n" + "".join(f'    "{n}",\n' for n in names) + rest[rest.index("]") :]
    )


def main() -> int:
    """Rewrite or check the files."""
    stale = 0
    for name, make in (
        ("README.md", lambda text: replaced(text, "optimizers", optimizer_table())),
        ("README.md", lambda text: replaced(text, "catalogue", catalogue())),
        ("gdcore/__init__.py", public_names),
    ):
        path = ROOT / name
        text = path.read_text()
        if make(text) == text:
            continue
        if "--check" in sys.argv:
            print(f"{name} is not up to date: make generated")
            stale = 1
        else:
            path.write_text(make(text))
    return stale


if __name__ == "__main__":
    sys.exit(main())
