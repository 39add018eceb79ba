"""The nearest name, for errors about one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'relu'?" with the nearest of the known names, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def no_attribute(module: str, name: str, known: Iterable[str]) -> AttributeError:
    """Return the error for a name that a module does not have; it names the nearest.

    Imports ask for names like __path__ at every turn: no search for those.
    """
    hint = "" if name.startswith("__") else did_you_mean(name, known)
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint}")
