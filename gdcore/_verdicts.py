"""The verdict on one run of a descent, from a few statistics that can be gathered as it goes.

`verdicts` works on numbers and on arrays of them, so that one descent and the thousands of a sweep
are judged by the same comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["WORDS", "RunStatistics", "statistics", "verdicts"]

WORDS = (
    "exploding",
    "vanishing",
    "oscillating",
    "stuck",
    "dead units",
    "saturated units",
    "too slow",
    "overfitting",
    "non-finite",
    "converged",
    "healthy",
)

_HEALTHY = np.int8(WORDS.index("healthy"))

TOLERANCE = 1e-6  # on the gradient norm, where none was asked for
ZERO = 1e-15  # a gradient norm that is rounding, per unit of max(1, |f|)
FLAT = 1e-3  # a small gradient norm, per unit of max(1, |f|)
ABRUPT = 1e3  # a fall of the gradient norm within one step that is no approach to a minimum
GROWTH = 10.0  # of a loss from one quarter to the next, of a gradient over the run
HUGE = 1e3  # a fall of the loss that seems to have no end, per unit of max(1, |f|)
REST = 1e-6  # how much of its fall a loss at rest still moves
FALLEN = 1e-2  # of the first gradient norm is left where a loss is at rest in a minimum
FEW = 4  # steps; fewer tell nothing of a pace


class RunStatistics(NamedTuple):
    """What a verdict needs to know of a run of `nit` steps, k = 0 ... nit; numbers or arrays.

    Losses are those to be made small. All is found by comparing, counting and copying, in any order
    of the steps; what is not finite ends a run, and only `finite` and `infinite` speak of it. With
    half = nit // 2 and three = 3 * nit // 4:
    """

    nit: Any  # steps done
    finite: Any  # whether every loss and norm is
    infinite: Any  # whether the first loss (or, where it is finite, norm) that is not is infinite
    moved: Any  # whether the variables were ever elsewhere than at the start
    first_loss: Any  # at k = 0
    last_loss: Any  # the last finite one, as are those below
    best_loss: Any  # the smallest
    third_loss: Any  # the largest at half <= k <= three
    fourth_loss: Any  # the largest at three <= k
    not_lower: Any  # number of k > half whose loss is not below that at k - 1
    first_norm: Any  # gradient norms: at k = 0, NaN where none are known
    last_norm: Any
    third_norm: Any  # the largest at half <= k <= three
    fourth_norm: Any  # the largest at three <= k
    norm_before: Any  # the norm before the first that is at most the tolerance, NaN if none is


def statistics(
    losses: Sequence[float] | NDArray[Any],
    norms: Sequence[float] | NDArray[Any] | None = None,
    tolerance: float = TOLERANCE,
    moved: bool | None = None,
) -> RunStatistics:
    """Return the statistics of a run from its losses and gradient norms.

    Where `moved` is None, a run has moved if some loss or norm is not what it was at first.
    """
    values = np.asarray(losses, np.float64)
    slopes = np.full(len(values), np.nan) if norms is None else np.asarray(norms, np.float64)
    lost = ~np.isfinite(values) | (~np.isfinite(slopes) & (norms is not None))
    end = int(np.argmax(lost)) if lost.any() else len(values)
    finite, infinite = end == len(values), False
    if not finite:
        culprit = slopes[end] if np.isfinite(values[end]) else values[end]
        infinite = bool(np.isinf(culprit))
    nit = len(values) - 1 if finite else end
    values, slopes = values[: max(end, 1)], slopes[: max(end, 1)]
    if moved is None:
        known = slopes if norms is not None else values
        moved = bool((values != values[0]).any() or (known != known[0]).any() or not finite)
    half, three = nit // 2, 3 * nit // 4
    met = np.flatnonzero(slopes <= tolerance)
    last = len(values) - 1
    third = slice(min(half, last), three + 1)
    fourth = slice(min(three, last), None)
    later = values[half:]
    return RunStatistics(
        nit=nit,
        finite=finite,
        infinite=infinite,
        moved=moved,
        first_loss=values[0],
        last_loss=values[-1],
        best_loss=values.min(),
        third_loss=values[third].max(),
        fourth_loss=values[fourth].max(),
        not_lower=int(np.count_nonzero(later[1:] >= later[:-1])),
        first_norm=slopes[0],
        last_norm=slopes[-1],
        third_norm=slopes[third].max(),
        fourth_norm=slopes[fourth].max(),
        norm_before=slopes[met[0] - 1] if met.size and met[0] > 0 else np.nan,
    )


def verdicts(stats: RunStatistics, tolerance: float = TOLERANCE) -> NDArray[np.str_]:
    """Return the verdict of each run; the rules stand at `gdcore.diagnose`."""
    s = RunStatistics(*(np.asarray(field) for field in stats))
    with np.errstate(all="ignore"):
        cases = _cases(s, tolerance)
    numbers = np.select(
        [case for _, case in cases], [np.int8(WORDS.index(word)) for word, _ in cases], _HEALTHY
    )
    return np.asarray(np.array(WORDS)[numbers], np.str_)


def _cases(s: RunStatistics, tolerance: float) -> list[tuple[str, Any]]:
    """Return (word, where it holds) in order: the first that holds is the verdict."""
    scale = np.maximum(1.0, np.abs(s.first_loss))
    zero, small = s.first_norm <= ZERO * scale, s.first_norm <= tolerance
    reached = s.last_norm <= tolerance
    stays_small = small & (np.maximum(s.third_norm, s.fourth_norm) <= tolerance)
    thrown = (s.last_loss > s.first_loss) & (s.norm_before > ABRUPT * s.last_norm)
    flat = np.maximum(np.maximum(s.first_norm, s.third_norm), s.fourth_norm) <= FLAT * scale
    has_run = s.nit >= FEW
    return [
        ("exploding", ~s.finite & (s.nit > 0) & (s.infinite | (s.last_loss > s.first_loss))),
        ("non-finite", ~s.finite),
        ("stuck", ~s.moved & (zero | (~small & (s.nit > 0)))),
        ("vanishing", ~s.moved & small),
        ("healthy", ~s.moved),
        ("vanishing", reached & (stays_small | thrown)),
        ("converged", reached | is_at_rest(s)),
        ("vanishing", flat),
        ("exploding", is_growing(s, scale)),
        ("oscillating", has_run & is_bouncing(s)),
        ("too slow", has_run & is_slow(s, tolerance)),
    ]


def is_at_rest(s: RunStatistics) -> Any:
    """Whether the loss has fallen and rests, and the gradient, where known, has become small."""
    fall = s.first_loss - s.best_loss
    spread = np.maximum(s.third_loss, s.fourth_loss) - s.best_loss
    rests = (fall > 0) & (spread <= REST * np.minimum(fall, np.maximum(1.0, np.abs(s.best_loss))))
    return rests & ~(s.fourth_norm > FALLEN * s.first_norm)


def is_growing(s: RunStatistics, scale: Any) -> Any:
    """Whether a finite run goes off: losses that rise and rise, or fall ever more steeply."""
    late = s.nit - s.nit // 2
    at_top = (s.last_loss > s.first_loss) & (s.last_loss == s.fourth_loss)
    rises = at_top & (s.not_lower == late) & (s.fourth_loss > s.third_loss)
    soars = s.fourth_loss - s.best_loss > GROWTH * (s.third_loss - s.best_loss)
    steepens = (s.fourth_norm > s.third_norm) & (s.fourth_norm > GROWTH * s.first_norm)
    plunges = steepens & (s.first_loss - s.last_loss > HUGE * scale)
    return rises | (soars & (s.last_loss > s.first_loss)) | plunges


def is_bouncing(s: RunStatistics) -> Any:
    """Whether losses rise again and again, and their peaks do not become lower."""
    late = s.nit - s.nit // 2
    heights = s.third_loss - s.best_loss, s.fourth_loss - s.best_loss
    return (5 * s.not_lower >= late) & (2 * heights[1] >= heights[0])


def is_slow(s: RunStatistics, tolerance: float) -> Any:
    """Whether the gradient, falling as in the last quarter, needs more than ten such runs more.

    Where gradients are not known: whether the loss still falls at an even pace.
    """
    ratio = s.fourth_norm / s.third_norm
    to_8 = ((ratio**2) ** 2) ** 2
    is_far = s.fourth_norm * (((to_8**2) ** 2) * to_8) > tolerance  # ratio^40: in 40 quarters
    third, fourth = s.third_loss - s.fourth_loss, s.fourth_loss - s.last_loss
    is_even = (2 * fourth >= third) & (10 * (third + fourth) >= s.first_loss - s.last_loss)
    return np.where(np.isnan(s.first_norm), is_even, is_far)
