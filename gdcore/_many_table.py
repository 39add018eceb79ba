"""What `fit_many` shows of its models: a small table of columns."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping
from typing import Any

from gdcore._names import did_you_mean

ROWS_SHOWN = 20
WIDTH = 60  # of a text


class Table(Mapping[str, Any]):
    """Columns of one length by name: lists of texts and keys, arrays of numbers.

    Attributes
    ----------
    columns : dict
        "key", "rows" (trained on; 0 where data were refused), "epochs", "loss" and what else the
        histories have, of the last epoch (NaN where there is none), and "error" (None or a text).
    """

    def __init__(self, columns: dict[str, Any]) -> None:
        self.columns = columns

    def __getitem__(self, name: str) -> Any:
        if name not in self.columns:
            raise KeyError(
                f"{name!r} is no column; accepted: {', '.join(self.columns)}"
                f"{did_you_mean(str(name), self.columns)}"
            )
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def to_pandas(self) -> Any:
        """Return the table as a pandas.DataFrame, with the keys as its index.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            from pandas import DataFrame, Index  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise ImportError(
                "to_pandas needs pandas: pip install pandas (columns is a dict of lists and arrays"
                " and needs nothing)"
            ) from error
        keys = Index(self.columns["key"], name="key", tupleize_cols=False)
        return DataFrame({k: v for k, v in self.columns.items() if k != "key"}, index=keys)

    def _rows(self) -> list[list[str]]:
        """Return heads and rows that are shown as texts; errors where there are some."""
        names = [name for name in self.columns if name != "error" or any(self.columns["error"])]
        count = len(self.columns["key"])
        shown = range(min(count, ROWS_SHOWN))
        rows = [[self._cell(name, i) for name in names] for i in shown]
        return [names, *rows]

    def _cell(self, name: str, row: int) -> str:
        """Return an entry as text: what is missing is blank, but a key that is None is one."""
        value = self.columns[name][row]
        return _text(value) or (str(value) if name == "key" else "")

    def _more(self) -> str:
        more = len(self.columns["key"]) - ROWS_SHOWN
        return f"and {more} rows more" if more > 0 else ""

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        right = [name not in ("key", "error") for name in rows[0]]
        lines = [
            "  ".join(
                cell.rjust(width) if side else cell.ljust(width)
                for cell, width, side in zip(row, widths, right, strict=True)
            ).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, *([self._more()] if self._more() else [])])

    def _repr_html_(self) -> str:
        names, *rows = self._rows()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"<div>{table}{self._more()}</div>"


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."
