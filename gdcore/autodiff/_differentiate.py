"""The two sweeps over a tape: cotangents backwards, tangents forwards.

Both record on the tape whose instructions they read, so that their results can be differentiated
again. Both look only at what depends on the values by which is differentiated, once at each
instruction, and add what meets in one value in a fixed order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gdcore import _core
from gdcore.autodiff._primitives import filled
from gdcore.autodiff._rules import JVP, PARTIALS, VJP
from gdcore.autodiff._tape import F32, F64, I64, Tape, Value

__all__ = ["backward", "dependent", "tangents"]

_NAMES = [row["name"] for row in _core.INSTRUCTIONS]
_VJP: list[Any] = [VJP.get(name) for name in _NAMES]
_JVP: list[Any] = [JVP.get(name) for name in _NAMES]
# Instructions whose derivative is 0 everywhere: nothing goes through them.
_PARTIALS: list[Any] = [PARTIALS.get(name) for name in _NAMES]
_STOPS = [name in PARTIALS and not any(PARTIALS[name]) for name in _NAMES]
_INDICES = _NAMES.index("indices")


def dependent(tape: Tape, wrt: Sequence[int], last: int) -> bytearray:
    """Return, for each instruction up to `last`, whether it depends on those numbered `wrt`."""
    marks = bytearray(last + 1)
    for i in wrt:
        if i <= last:
            marks[i] = 1
    instructions, foreign = tape.instructions, tape.foreign
    for i in range(min(wrt, default=last + 1) + 1, last + 1):
        op, _, _, operands, _ = instructions[i]
        if foreign and i in foreign:
            operands = tuple([x.id for x in foreign[i].operands])
        if not _STOPS[op]:
            for j in operands:
                if marks[j]:
                    marks[i] = 1
                    break
    return marks


def _real(tape: Tape, i: int) -> Any:
    """Return the value of an instruction, as the reals that hold it."""
    op, held, shape, _, _ = tape.instructions[i]
    return tape.kind(tape, i, shape, I64 if op == _INDICES else F32 if held == 4 else F64)


def backward(out: Value, wrt: Sequence[Value], seed: Value | None = None) -> list[Any]:
    """Return the cotangents of values for the cotangent `seed` of `out`, by default ones.

    None stands for a value on which `out` does not depend. `wrt` are values of floats.
    """
    tape, ids = out.tape, [x.id for x in wrt]
    marks = dependent(tape, ids, out.id)
    if not marks[out.id]:
        return [None] * len(ids)
    ones = filled(_real(tape, out.id), 1.0) if seed is None else seed
    cotangents: dict[int, Any] = {out.id: ones}
    instructions, foreign, ends = tape.instructions, tape.foreign, set(ids)
    kind = tape.kind
    for i in range(out.id, min(ids) - 1, -1):
        ct = cotangents.get(i)
        if ct is None or i in ends:
            continue
        del cotangents[i]
        op, _, _, operands, params = instructions[i]
        partials = _PARTIALS[op]
        parts: Sequence[Any]
        if partials is not None:
            shape, dtype = ct.shape, ct.dtype
            y, values = kind(tape, i, shape, dtype), [kind(tape, j, shape, dtype) for j in operands]
            parts = [
                f(ct, y, *values, *params) if marks[j] and f is not None else None
                for f, j in zip(partials, operands, strict=True)
            ]
        elif foreign and i in foreign:
            operands = tuple([x.id for x in foreign[i].operands])
            parts = foreign[i].vjp(ct)
        else:
            needed = [marks[j] for j in operands]
            values = [_real(tape, j) for j in operands]
            parts = _VJP[op](ct, _real(tape, i), values, params, needed)
        for j, part in zip(operands, parts, strict=True):
            if part is not None and marks[j]:
                found = cotangents.get(j)
                cotangents[j] = part if found is None else found + part
    return [cotangents.get(i) for i in ids]


def tangents(outs: Sequence[Value], wrt: Sequence[Value], directions: Sequence[Value]) -> list[Any]:
    """Return the tangents of values for the tangents `directions` of the values `wrt`.

    None stands for a value that does not depend on these.
    """
    tape, last = wrt[0].tape, max(out.id for out in outs)
    marks = dependent(tape, [x.id for x in wrt], last)
    found: dict[int, Any] = {x.id: t for x, t in zip(wrt, directions, strict=True)}
    instructions, foreign = tape.instructions, tape.foreign
    for i in range(min(found), last + 1):
        if not marks[i] or i in found:
            continue
        op, _, _, operands, params = instructions[i]
        if foreign and i in foreign:
            given = [found.get(x.id) for x in foreign[i].operands]
            t = None if all(t is None for t in given) else foreign[i].jvp(given)
        else:
            given = [found.get(j) for j in operands]
            if all(t is None for t in given):  # what it depends on is flat
                continue
            values = [_real(tape, j) for j in operands]
            t = _JVP[op](given, _real(tape, i), values, params)
        if t is not None:
            found[i] = t
    return [found.get(out.id) for out in outs]
