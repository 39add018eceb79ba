"""Write the README's table of optimizers from the core's table.

``python tools/make_tables.py`` rewrites it; with --check it only says whether it differs.
"""

import sys
from pathlib import Path

from gdcore import _core

ROOT = Path(__file__).resolve().parents[1]


def optimizer_table() -> str:
    """A Markdown line per row: class, help, settings with torch's defaults, paper."""
    lines = [
        "| optimizer | what it does | settings (torch's defaults) | source |",
        "|---|---|---|---|",
    ]
    for row in _core.OPTIMIZERS:
        settings = ", ".join(f"{h['name']} {h['defaults'][0]}" for h in row["hypers"])
        lines.append(f"| `gd.{row['class']}` | {row['help']} | {settings} | {row['paper']} |")
    return "\n".join(lines)


def replaced(text: str, mark: str, content: str) -> str:
    """Put content between the begin and end comments of a mark."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    assert begin in text, mark
    assert end in text, mark
    head, rest = text.split(begin)
    return f"{head}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def main() -> int:
    """Rewrite or check the README."""
    path = ROOT / "README.md"
    text = path.read_text()
    wanted = replaced(text, "optimizers", optimizer_table())
    if wanted == text:
        return 0
    if "--check" in sys.argv:
        print("README.md is not up to date: python tools/make_tables.py")
        return 1
    path.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
