"""A function and its gradients where the variables are, differentiated here or by the caller."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdcore import _core
from gdcore._containers import paired
from gdcore._variables import Variables
from gdcore.autodiff._adapters import Adapted, as_array
from gdcore.autodiff._parameters import rebuilt, text_of

# (value, gradients) of f at the variables, in whatever types they come.
Evaluator = Callable[[Variables], tuple[Any, Any]]


class Objective:
    """A function to be made small; `evaluate` puts its value and gradients into place.

    Attributes
    ----------
    variables : Variables
        Where it is evaluated; may be set to others of the same structure.
    value : float
        The last value times `sign`.
    grads : like variables.params
        The gradients there, times `sign`, in arrays of the parameters' shapes and types that are
        written anew at each evaluation; `arrays` are the same one behind the other.
    kind : type
        np.float32 or np.float64, what f returns.
    nfev : int
        Evaluations so far.
    remark : str
        What a message should add, such as the arithmetic error that ended the last evaluation.
    """

    def __init__(
        self, f: Any, args: Any, variables: Variables, grad: Any = None, sign: float = 1.0
    ) -> None:
        if not callable(f):
            raise TypeError(f"f is {f!r:.80}; a function to call as f({variables.name}) is wanted")
        self.variables = variables
        self.sign = sign
        self.args = args if isinstance(args, tuple) else (args,)
        self.value = math.nan
        self.arrays = [np.zeros_like(array) for array in variables.arrays]
        self.grads = rebuilt(variables.params, iter(self.arrays))
        self.kind: Any = np.float64
        self.nfev = 0
        self.remark = ""
        self.compiled: Any = None
        if grad is None:
            self.compiled = _compiled(f, self._numbers(), self.call_arguments(), sign)
        self._evaluator = evaluator(f, self.args, variables.apart, grad)
        self._plain, self._returns_pair = Adapted(f), grad is True
        self._seen: list[bytes] = []

    def _numbers(self) -> Any:
        """Return the positions of the arguments of f that are variables."""
        return tuple(range(len(self.variables.params))) if self.variables.apart else 0

    def call_arguments(self) -> tuple[Any, ...]:
        """Return what a compiled f is called with: the variables' own arrays, and `args`."""
        params = self.variables.params
        return (*params, *self.args) if self.variables.apart else (params, *self.args)

    def evaluate(self) -> float:
        """Evaluate where the variables are; no warning is emitted, f may be not finite."""
        self.nfev += 1
        self.remark = ""
        if self.compiled is not None:
            value, grads = self.compiled(*self.call_arguments())
            self.kind, self.value = type(value), float(value)
            for mine, (_, _, found) in zip(self.arrays, paired(self.grads, grads), strict=True):
                np.copyto(mine, found)
            return self.value
        try:
            with np.errstate(all="ignore"):
                value, grads = self._evaluator(self.variables)
        except (OverflowError, ZeroDivisionError) as error:
            self.remark = f" ({type(error).__name__} in f: {error})"
            self._fill(math.nan)
            return self.value
        self._take_value(value)
        self._take_gradients(grads)
        return self.value

    def evaluate_if_moved(self) -> float:
        """Evaluate, unless the last evaluation was at this very point."""
        here = [array.tobytes() for array in self.variables.arrays]
        if here != self._seen:
            self._seen = []
            self.evaluate()
            self._seen = here
        return self.value

    def norm(self, frozen: frozenset[Any] = frozenset()) -> float:
        """Return the 2-norm of all gradients together; those at the `frozen` paths do not count."""
        if not frozen:
            return _core.clip_by_global_norm(self.grads, math.inf)
        pairs = zip(self.variables.paths, self.arrays, strict=True)
        counted = [array for path, array in pairs if path not in frozen]
        return _core.clip_by_global_norm(counted, math.inf)

    def own(self, value: float) -> Any:
        """Return a value, or an array of values, as f's own: of its sign and type."""
        return self.kind(self.sign * value)

    def own_gradients(self) -> list[NDArray[Any]]:
        """Return copies of the gradients as f's own, array by array."""
        copies = [array.copy() for array in self.arrays]
        return copies if self.sign > 0 else [np.negative(g, out=g) for g in copies]

    def plain_value(self) -> float:
        """Return f itself where the variables are, without a gradient; NaN where it overflows."""
        try:
            with np.errstate(all="ignore"):
                answer = self._plain(*self.variables.arguments(), *self.args)
        except (OverflowError, ZeroDivisionError):
            return math.nan
        return float(as_array(answer[0] if self._returns_pair else answer, "f").reshape(()))

    def on_coordinates(self, *coordinates: Any) -> Any:
        """Return f itself at a point given number by number, for pictures."""
        answer = self._plain(*self.variables.at_coordinates(coordinates), *self.args)
        return answer[0] if self._returns_pair else answer

    def _fill(self, value: float) -> None:
        self.value = value
        for array in self.arrays:
            array.fill(value)

    def _take_value(self, value: Any) -> None:
        array = as_array(value, "what f returned")
        if array.size != 1:
            raise TypeError(
                f"f returned an array of shape {array.shape}; a single number is accepted: reduce"
                " it by np.sum or np.mean"
            )
        self.kind = array.dtype.type
        self.value = self.sign * float(array.reshape(()))

    def _take_gradients(self, grads: Any) -> None:
        """Copy gradients into place after a check of their structure and shapes."""
        if self.variables.apart and len(self.grads) == 1 and not isinstance(grads, tuple | list):
            grads = (grads,)
        try:
            _check_keys(self.grads, grads)
            triples = list(paired(self.grads, grads))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise ValueError(
                f"the gradient is {_structure(grads)}; the structure of {self.variables.name},"
                f" {_structure(self.grads)}, is accepted"
            ) from None
        for path, mine, found in triples:
            array = as_array(found, text_of("the gradient", path))
            if array.shape != mine.shape and not array.size == mine.size == 1:
                raise ValueError(
                    f"{text_of('the gradient', path)} has shape {array.shape} but"
                    f" {text_of(self.variables.name, path)} has {mine.shape}"
                )
            if array.dtype.itemsize < mine.dtype.itemsize and array.dtype.kind == "f":
                self.remark = f"; gradients came as {array.dtype}, less precise than the variables"
            np.copyto(mine, array.reshape(mine.shape), casting="same_kind")
            if self.sign < 0:
                np.negative(mine, out=mine)


def _check_keys(mine: Any, found: Any) -> None:
    """Raise a KeyError where a dict has keys that its counterpart has not."""
    if isinstance(mine, dict):
        if mine.keys() != found.keys():
            raise KeyError
        for key in mine:
            _check_keys(mine[key], found[key])
    elif isinstance(mine, list | tuple):
        for one, other in zip(mine, found, strict=True):
            _check_keys(one, other)


def _structure(value: Any) -> str:
    """Return the structure of a container as a text."""
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(repr, value))}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return f"one {type(value).__name__}"


# ---- Where value and gradients come from ---------------------------------------------------------


def evaluator(f: Any, args: tuple[Any, ...], apart: bool, grad: Any) -> Evaluator:
    """Return the function of the variables that gives f's value and gradients.

    Raises
    ------
    TypeError
        If `grad` is neither None, True nor callable.
    """
    if grad is None:
        return _differentiated(f, args, apart)
    if grad is True:
        return _pair(f, args)
    if callable(grad):
        return _two_functions(f, grad, args)
    raise TypeError(
        f"grad is {grad!r:.80}; accepted are None (gdcore differentiates f), True (f returns a"
        " tuple (value, gradient)), or a function that returns the gradient"
    )


def _differentiated(f: Any, args: tuple[Any, ...], apart: bool) -> Evaluator:
    from gdcore.autodiff._api import value_and_grad

    def evaluate(variables: Variables) -> tuple[Any, Any]:
        argnums = tuple(range(len(variables.params))) if apart else 0
        pair: tuple[Any, Any] = value_and_grad(f, argnums)(*variables.borrowed(), *args)
        return pair

    return evaluate


def _compiled(f: Any, argnums: Any, arguments: tuple[Any, ...], sign: float) -> Any:
    """Return f's compiled value and gradient, times `sign`; None where f has to be traced anew.

    That is where it branches on values, does what can be traced only, or is not the same function
    at each call.
    """
    from gdcore.autodiff._compile import Compiled, ImpureError, compile
    from gdcore.autodiff._errors import UntraceableError

    fast = compile(f)
    if sign < 0:
        plain = fast.function
        fast = Compiled(lambda *args: -plain(*args), of=plain)
    both = fast._derivative(argnums, False)
    try:
        with np.errstate(all="ignore"):
            both._entry_for(arguments)
    except (UntraceableError, ImpureError):
        return None
    return both


def _pair(f: Any, args: tuple[Any, ...]) -> Evaluator:
    adapted = Adapted(f)

    def evaluate(variables: Variables) -> tuple[Any, Any]:
        pair = adapted(*variables.arguments(), *args)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(
                f"f returned {_structure(pair)}; with grad=True a tuple (value, gradient) is"
                " accepted (without it gdcore differentiates f)"
            )
        return pair[0], pair[1]

    return evaluate


def _two_functions(f: Any, grad: Any, args: tuple[Any, ...]) -> Evaluator:
    value, slope = Adapted(f), Adapted(grad)

    def evaluate(variables: Variables) -> tuple[Any, Any]:
        return (
            value(*variables.arguments(), *args),
            slope(*variables.arguments(), *args),
        )

    return evaluate
