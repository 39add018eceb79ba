"""Write what lists the optimizers from the core's table: the README, the package's public names.

``python tools/make_tables.py`` rewrites both; with --check it only says whether they differ.
"""

import sys
from pathlib import Path

from gdcore import _core, optimizers

ROOT = Path(__file__).resolve().parents[1]


def optimizer_table() -> str:
    """A Markdown line per row: class, help, paper."""
    lines = ["| optimizer | what it does | source |", "|---|---|---|"]
    for row in _core.OPTIMIZERS:
        lines.append(f"| `gd.{row['class']}` | {row['help']} | {row['paper']} |")
    return "\n".join(lines)


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
    """Rewrite or check both files."""
    stale = 0
    for name, make in (
        ("README.md", lambda text: replaced(text, "optimizers", optimizer_table())),
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
