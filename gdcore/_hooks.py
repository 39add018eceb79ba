"""Where gdcore's own functions hand traced values over, without importing gdcore.autodiff."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def traced(*operands: Any) -> ModuleType | None:
    """Return the module that takes the call where an operand is a traced value, else None.

    There is none before `gdcore.autodiff` has been imported.
    """
    tape = sys.modules.get("gdcore.autodiff._tape")
    if tape is None or not any(isinstance(x, tape.Value) for x in operands):
        return None
    from gdcore.autodiff import _own

    return _own
