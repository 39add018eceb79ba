"""Write gdcore/optimizers.pyi from the core's table: what type checkers and editors see.

The classes are built at import from the same table, so a type checker cannot read them from
gdcore/optimizers.py. A test compares the file with what `stub` returns.
"""

from pathlib import Path

from gdcore import _core, optimizers
from gdcore._composed import Composed
from gdcore.optimizers import __all__ as names

STUB = Path(__file__).resolve().parents[1] / "gdcore" / "optimizers.pyi"

HEAD = '''\
"""Types of the optimizers; made from csrc/ops.def by ``python tools/make_stubs.py``."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Signature
from typing import Any, ClassVar, Literal, SupportsFloat

{composed}
from gdcore._optimizer import Optimizer as Optimizer
from gdcore._optimizer import Setting
from gdcore._optimizer_group import Group as Group
from gdcore.constraints import Constraint

__all__ = [
{names}
]

AT_ONCE: list[str]

_Rate = float | Callable[[int], SupportsFloat]
_Dialect = Literal["torch", "keras", "optax"]
_OnNonfinite = Literal["ignore", "raise", "skip"]

def clip_by_global_norm(grads: Any, max_norm: float) -> float:
    """Scale gradients in place so that their common norm is at most `max_norm`."""
'''

COMMON = {
    "maximize": ("bool", "False"),
    "dialect": ("_Dialect", '"torch"'),
    "clip_value": ("float | None", "None"),
    "clip_norm": ("float | None", "None"),
    "global_clip_norm": ("float | None", "None"),
    "clip_adaptive": ("float | None", "None"),
    "l1": ("float", "0.0"),
    "constraint": ("Constraint | None", "None"),
    "on_nonfinite": ("_OnNonfinite", '"ignore"'),
}


def kind(hyper: dict) -> str:
    if hyper["domain"] == "boolean":
        return "bool"
    return "float" if hyper["count"] == 1 else f"tuple[{', '.join(['float'] * hyper['count'])}]"


def class_stub(row: dict) -> str:
    """The class of one row: its settings as attributes, and the constructor."""
    hypers = row["hypers"]
    settings = [(h["name"], kind(h)) for h in hypers if h["name"] != "lr"]
    settings += [(name, annotation) for name, (annotation, _) in COMMON.items()]
    arguments = [
        f"{h['name']}: {'_Rate' if h['name'] == 'lr' else kind(h)} = {h['defaults'][0]!r}"
        for h in hypers
    ]
    common = [f"{name}: {annotation} = {value}" for name, (annotation, value) in COMMON.items()]
    groups = "groups: Sequence[Mapping[str, Any]] | None = None"
    lines = [
        f"class {row['class']}(Optimizer):",
        f'    """{row["help"]}"""',
        "",
        "    __signature__: ClassVar[Signature]",
        *(f"    {name}: Setting[{annotation}]" for name, annotation in settings),
        "    def __init__(",
        *(f"        {line}," for line in ("self", *arguments, "*", *common, groups)),
        "    ) -> None: ...",
    ]
    return "\n".join(lines) + "\n"


def rank(name: str) -> tuple[int, str]:
    """The order of names that the linter wants: capitals, classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def reexports() -> str:
    """Imports of the classes that are no row of the table, from the modules that write them."""
    kinds = [getattr(optimizers, name) for name in names]
    lines = [
        f"from {kind.__module__} import {kind.__name__} as {kind.__name__}"
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, Composed)
    ]
    return "\n".join(sorted(lines))


def stub() -> str:
    """The text of the stub."""
    listed = "\n".join(f'    "{name}",' for name in sorted(names, key=rank))
    classes = "\n".join(map(class_stub, _core.OPTIMIZERS))
    return HEAD.format(names=listed, composed=reexports()) + "\n" + classes


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
