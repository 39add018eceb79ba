"""np.einsum of traced values, brought down to diagonals, sums, transposes and products of pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gdcore.autodiff import _primitives as p
from gdcore.autodiff._errors import untraceable
from gdcore.autodiff._matrices import diagonal
from gdcore.autodiff._operands import refuse
from gdcore.autodiff._products import operands

__all__ = ["einsum"]

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


# ---- Subscripts ----------------------------------------------------------------------------------


def _without_dots(terms: list[str], values: Sequence[Any]) -> tuple[list[str], str]:
    """Return the terms with letters in place of '...', and the letters: '...' of the result."""
    free = [c for c in _LETTERS if not any(c in term for term in terms)]
    pairs = list(zip(terms, values, strict=True))
    counts = [max(len(x.shape) - len(term.replace("...", "")), 0) for term, x in pairs]
    most = max([n for n, term in zip(counts, terms, strict=True) if "..." in term], default=0)
    dots = "".join(free[:most])
    found = zip(counts, terms, strict=True)
    return [term.replace("...", dots[most - n :]) for n, term in found], dots


def _parsed(subscripts: str, values: Sequence[Any]) -> tuple[list[str], str]:
    """Return the letters of each operand and of the result."""
    given, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    if len(terms) != len(values):
        raise ValueError(f"einsum: {subscripts!r} is for {len(terms)} operands, not {len(values)}")
    terms, dots = _without_dots(terms, values)
    letters = "".join(terms)
    if not arrow:
        once = sorted(c for c in set(letters) if letters.count(c) == 1 and c not in dots)
        result = dots + "".join(once)
    result = result.replace("...", dots)
    for term, x in zip(terms, values, strict=True):
        if len(term) != len(x.shape) or not all(c in _LETTERS for c in term):
            raise ValueError(f"einsum: {subscripts!r} does not fit an operand of shape {x.shape}")
    if len(set(result)) != len(result) or not set(result) <= set(letters):
        raise ValueError(f"einsum: the result of {subscripts!r} has letters of its own, or twice")
    return terms, result


def _lengths(terms: Sequence[str], values: Sequence[Any]) -> dict[str, int]:
    """Return the length of each letter's axis; an axis of length 1 goes with any other."""
    lengths: dict[str, int] = {}
    for term, x in zip(terms, values, strict=True):
        for c, n in zip(term, x.shape, strict=True):
            known = lengths.get(c, 1)
            if n != known and n != 1 and known != 1:
                raise ValueError(f"einsum: axes of lengths {known} and {n} are both called {c!r}")
            lengths[c] = n if known == 1 else known
    return lengths


# ---- Sums of products ----------------------------------------------------------------------------


def _reduced(x: Any, term: str, kept: str) -> tuple[Any, str]:
    """Return the diagonal over letters that come twice, summed over those that are not kept."""
    for c in dict.fromkeys(term):
        while term.count(c) > 1:
            i = term.index(c)
            j = term.index(c, i + 1)
            x = diagonal(x, 0, i, j)
            term = term[:i] + term[i + 1 : j] + term[j + 1 :] + c
    x = p.reduced("sum", x, [i for i, c in enumerate(term) if c not in kept])
    return x, "".join(c for c in term if c in kept)


def _arranged(x: Any, term: str, order: str) -> Any:
    """Return x with its axes in another order, and of length 1 where it has none of a letter."""
    x = p.transpose(x, [term.index(c) for c in order if c in term])
    shape = iter(x.shape)
    return p.reshape(x, tuple(next(shape) if c in term else 1 for c in order))


def _expanded(x: Any, term: str, letters: str, lengths: dict[str, int]) -> Any:
    """Return x with its axes of these letters at their full lengths."""
    shape = zip(term, x.shape, strict=True)
    return p.expand(x, tuple(lengths[c] if c in letters else n for c, n in shape))


def _pair(
    a: Any, of_a: str, b: Any, of_b: str, kept: str, lengths: dict[str, int]
) -> tuple[Any, str]:
    """Return the product of two operands, summed over what is not kept, and its letters."""
    a, of_a = _reduced(a, of_a, kept + of_b)
    b, of_b = _reduced(b, of_b, kept + of_a)
    both = [c for c in of_a if c in of_b]
    summed = "".join(c for c in both if c not in kept)
    batch = "".join(c for c in both if c in kept)
    free_a = "".join(c for c in of_a if c not in both)
    free_b = "".join(c for c in of_b if c not in both)
    if not summed or (batch and not free_a and not free_b):
        order = batch + free_a + free_b + summed
        y = np.multiply(_arranged(a, of_a, order), _arranged(b, of_b, order))
        y = p.expand(y, tuple(lengths[c] for c in order))
        count = len(summed)
        return p.reduced("sum", y, range(len(order) - count, len(order))), batch + free_a + free_b
    a, b = _expanded(a, of_a, "".join(both), lengths), _expanded(b, of_b, "".join(both), lengths)
    left = p.transpose(a, [of_a.index(c) for c in batch + free_a + summed])
    right = p.transpose(b, [of_b.index(c) for c in batch + summed + free_b])
    size = {key: math.prod(lengths[c] for c in key) for key in (free_a, free_b, summed)}
    ahead = tuple(lengths[c] for c in batch)
    y = p.matmul(
        p.reshape(left, (*ahead, size[free_a], size[summed])),
        p.reshape(right, (*ahead, size[summed], size[free_b])),
    )
    letters = batch + free_a + free_b
    return p.reshape(y, tuple(lengths[c] for c in letters)), letters


def _path(terms: list[str], result: str, values: Sequence[Any]) -> list[Sequence[int]]:
    """Return which operands to multiply one step after the other, as np.einsum_path counts them."""
    if len(terms) <= 2:
        return [range(len(terms))]
    shapes = [np.broadcast_to(np.float64(0), x.shape) for x in values]
    path, _ = np.einsum_path(f"{','.join(terms)}->{result}", *shapes, optimize="greedy")
    return list(path[1:])


def einsum(subscripts: Any, *given: Any, out: Any = None, **settings: Any) -> Any:
    """Return Einstein's sums of one or more operands, subscripts given as a string."""
    refuse("einsum", out=out, dtype=settings.get("dtype"))
    if not isinstance(subscripts, str):
        raise untraceable(
            "np.einsum with lists of numbers for subscripts", "Write them as a string, 'ij,jk->ik'"
        )
    values = operands("einsum", *given)
    terms, result = _parsed(subscripts, values)
    lengths = _lengths(terms, values)
    rest = list(zip(values, terms, strict=True))
    for step in _path(terms, result, values):
        chosen = [rest.pop(i) for i in sorted(step, reverse=True)]
        while len(chosen) > 1:
            (a, of_a), (b, of_b) = chosen.pop(), chosen.pop()
            kept = result + "".join(term for _, term in rest + chosen)
            chosen.append(_pair(a, of_a, b, of_b, kept, lengths))
        rest += chosen
    x, term = _reduced(*rest[0], result)
    return p.transpose(x, [term.index(c) for c in result])
