"""The nearest name, for errors about one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], form: str = "{!r}") -> str:
    """Return "; did you mean 'relu'?" with the nearest of the known names, or nothing.

    Where none is near, those that begin with the name are. `form` is how a name is written.
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if not near and len(name) > 1:
        near = [other for other in names if other.startswith(name)][:3]
    return f"; did you mean {' or '.join(map(form.format, near))}?" if near else ""


def no_attribute(module: str, name: str, known: Iterable[str]) -> AttributeError:
    """Return the error for a name that a module does not have; it names the nearest.

    Imports ask for names like __path__ at every turn: no search for those.
    """
    hint = "" if name.startswith("__") else did_you_mean(name, known)
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint}")
