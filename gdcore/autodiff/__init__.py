"""Differentiation of NumPy code as it is written: traced into programs, which the core runs.

The names of users are those of the package (`gdcore.value_and_grad`, ...); a tour of the inside:

- `_traced`: the value that stands for an array while a function runs; `_ufuncs`, `_functions` and
  others say what NumPy's functions do with it;
- `_tape`: what it records, instructions of csrc/ops.def; `_primitives`: one function for each;
- `_rules*`: the derivatives of each instruction; `_differentiate`: the sweeps that use them;
- `_api`: gradients; `_compile`: functions that are traced once; `_check`: gradients tested.
"""

from gdcore.autodiff._api import grad, hessian, hvp, jacobian, value_and_grad
from gdcore.autodiff._compile import Compiled, ImpureError, compile
from gdcore.autodiff._errors import UntraceableError

__all__ = [
    "Compiled",
    "ImpureError",
    "UntraceableError",
    "compile",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "value_and_grad",
]
