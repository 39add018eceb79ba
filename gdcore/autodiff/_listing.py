"""A program as text, an instruction a line."""

from __future__ import annotations

from gdcore import _core

__all__ = ["listed"]


def listed(program: _core.Program) -> str:
    """Return the instructions of a program in order, with the step in which each runs."""
    rows = program.listing()
    names = {row[0]: f"%{i}" for i, row in enumerate(rows)}
    outputs: dict[int, list[int]] = {}
    for number, node in enumerate(program.outputs()):
        outputs.setdefault(node, []).append(number)
    lines = []
    for node, name, step, real, shape, operands, params, _ in rows:
        parts = [names[i] for i in operands] + [f"{p:g}" for p in _shown(name, params)]
        what = f"{names[node]} = {name}"
        kind = f"{'float32' if real == 4 else 'float64'} {shape}"
        where = "" if step is None else f"step {step}"
        given = "".join(f" -> output {k}" for k in outputs.get(node, []))
        lines.append(f"{what:<20}{kind:<22}{', '.join(parts):<24}{where}{given}".rstrip())
    size, steps = program.room()
    lines.append(f"{steps} step{'s' * (steps != 1)}, {size:,} bytes of memory")
    return "\n".join(lines)


def _shown(name: str, params: tuple[float, ...]) -> tuple[float, ...]:
    """Return the numbers of an instruction that say something to a reader."""
    return () if name in ("input", "indices") else params
