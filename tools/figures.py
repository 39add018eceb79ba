"""What the comparisons of all documents share: rows of the table, and how far figures are apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Row(NamedTuple):
    """One line of the printed table; a complaint says where and by how much figures disagree."""

    what: str
    document: str
    gdcore: str
    complaint: str = ""
    remark: str = "agrees"

    @property
    def verdict(self) -> str:
        """The last column."""
        return f"DISAGREES: {self.complaint}" if self.complaint else self.remark


def farthest(
    kind: str, first: int, ours: Array, theirs: Array, allowed: float, absolute: bool = False
) -> tuple[str, str]:
    """(complaint, remark) on the place, numbered from `first`, where figures differ most.

    The difference is relative unless `absolute`; a figure that is not finite is infinitely far
    away.
    """
    with np.errstate(all="ignore"):
        apart = np.abs(ours - theirs) if absolute else np.abs(ours / theirs - 1)
    apart = np.where(np.isfinite(apart), apart, np.inf)
    worst = int(np.argmax(apart))
    if apart[worst] > allowed:
        place = f"{kind} {first + worst}: {ours[worst]:.12g} beside {theirs[worst]:.12g}"
        return f"{place}, {apart[worst]:.2g} apart, {allowed:g} allowed", ""
    return "", f"agrees, at most {apart[worst]:.1g} apart"


def compare_all(
    what: str, kind: str, ours: ArrayLike, theirs: ArrayLike, allowed: float, shown: int = -1
) -> Row:
    """Compare numbers one by one, by their difference; the one at `shown` stands in the row.

    A null in what the notebook hands over is read as NaN, which agrees with nothing.
    """
    mine, known = (np.array(values, dtype=float) for values in (ours, theirs))
    if mine.shape != known.shape:
        return Row(what, f"{known.shape}", f"{mine.shape}", "not the same number of figures")
    mine, known = mine.ravel(), known.ravel()
    told = farthest(kind, 0, mine, known, allowed, absolute=True)
    return Row(what, f"{known[shown]:.8g}", f"{mine[shown]:.8g}", *told)
