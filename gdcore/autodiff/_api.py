"""Derivatives of functions that are written in NumPy: gradients, Hessian products, Jacobians.

Each call traces the function anew, so that it may branch on values; `gdcore.compile` traces once.
Called inside of another function that is being differentiated, they record on its tape, and return
traced values where these depend on its parameters: so gradients of gradients are taken.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gdcore import _core
from gdcore.autodiff._differentiate import backward, dependent, tangents
from gdcore.autodiff._errors import original, untraceable
from gdcore.autodiff._parameters import Leaf, is_container, leaves, read, rebuilt, text_of
from gdcore.autodiff._primitives import concatenate, filled, reshape, transpose, window
from gdcore.autodiff._recall import recalled
from gdcore.autodiff._tape import Tape, Value
from gdcore.autodiff._traced import Traced, as_numpy
from gdcore.autodiff._ufuncs import as_value

__all__ = ["Trace", "grad", "hessian", "hvp", "jacobian", "value_and_grad"]

Function = Callable[..., Any]

# The tape of the function that is being traced in this thread or task: a derivative that is taken
# inside of the function goes on there.
_ACTIVE: contextvars.ContextVar[Tape | None] = contextvars.ContextVar("gdcore_tape", default=None)


def activate(tape: Tape) -> contextvars.Token[Tape | None]:
    """Make a tape the one on which this thread or task records, until `deactivate`."""
    return _ACTIVE.set(tape)


def deactivate(token: contextvars.Token[Tape | None]) -> None:
    """Go back to the tape of before."""
    _ACTIVE.reset(token)


def is_tracing(args: Sequence[Any], given: dict[str, Any]) -> bool:
    """Whether a call is part of a trace: one is under way, or an argument is a traced value."""
    return _ACTIVE.get() is not None or next(_traced_in([*args, *given.values()]), None) is not None


# ---- One trace -----------------------------------------------------------------------------------


class Trace:
    """A function traced at its arguments: the parameters on the tape, and what it returned.

    `numbers` are the positions of the arguments that hold the parameters.
    """

    def __init__(
        self, f: Function, numbers: Sequence[int], args: Sequence[Any], given: dict[str, Any]
    ) -> None:
        self.function = f
        self.numbers = [_position(n, args) for n in numbers]
        if len(set(self.numbers)) < len(self.numbers):
            raise ValueError(f"argnums {tuple(numbers)} names an argument twice")
        self.arguments = [args[n] for n in self.numbers]
        found = [x for argument in self.arguments for _, x in leaves(argument)]
        self.leaves = read(found, self._name)
        self._open()
        entered = iter(self.wrt)
        arguments = list(args)
        for n in self.numbers:
            arguments[n] = rebuilt(args[n], entered)
        self._call(arguments, given)

    def _open(self) -> None:
        """Put the parameters on a tape: theirs if they are traced, the active one, or a new one."""
        traced = [leaf.value for leaf in self.leaves if isinstance(leaf.value, Value)]
        active = _ACTIVE.get()
        self.inside = bool(traced)
        self.nested = active is not None or self.inside
        self.tape: Tape = traced[0].tape if traced else active or Tape(Traced)
        self.wrt = [_entered(self.tape, leaf, self.nested) for leaf in self.leaves]

    def _call(self, arguments: Sequence[Any], given: dict[str, Any]) -> None:
        """Call the function; meanwhile its parameters are the tape's."""
        outer = self.tape.parameters
        self.outer = outer
        self.tape.parameters = outer + [x.id for x in self.wrt]
        token = _ACTIVE.set(self.tape)
        try:
            self.out = self.function(*arguments, **given)
        except ValueError as error:
            raise original(error)  # noqa: B904 - with the cause that it has
        finally:
            _ACTIVE.reset(token)
            self.tape.parameters = outer
        if not self.tape.is_unchanged():
            raise untraceable(
                f"{_name_of(self.function)} writes into a large array that it has read",
                "Make a new array, which is of the same cost",
            )

    def _name(self, i: int) -> str:
        """Return what the function calls the parameter that is leaf i."""
        places = [
            (n, path)
            for n, argument in zip(self.numbers, self.arguments, strict=True)
            for path, _ in leaves(argument)
        ]
        n, path = places[i]
        try:
            name = list(inspect.signature(self.function).parameters)[n]
        except (ValueError, TypeError, IndexError):
            name = f"argument {n}"
        return text_of(name, path)

    def value(self, out: Any) -> Any:
        """Return what the function returned as a traced value; numbers are of its type."""
        if isinstance(out, (list, tuple, dict)) or out is None:
            raise TypeError(
                f"{_name_of(self.function)} returned {_what(out)}; a number or an array is "
                "accepted" + _WAYS.get(type(out), "")
            )
        like = self.wrt[0] if self.wrt else self.tape.constant(0.0, np.dtype(np.float64))
        dtype = like.dtype if type(out) in (int, float) else None
        return as_value(like, out if isinstance(out, Value) else _constant(out), dtype)

    def scalar(self, out: Any) -> Any:
        """Return what the function returned as one traced number."""
        value = self.value(out)
        if math.prod(value.shape) != 1:
            raise ValueError(
                f"{_name_of(self.function)} returned an array of shape {value.shape}; a gradient "
                "is of one number: return .sum() or .mean(), or take gd.jacobian"
            )
        return reshape(value, ())

    def gradients(self, out: Any) -> list[Any]:
        """Return the gradient of a traced value (its sum) with respect to each parameter."""
        found = backward(out, self.wrt)
        return [filled(p, 0.0) if g is None else g for p, g in zip(self.wrt, found, strict=True)]

    def delivered(self, values: Sequence[Any]) -> list[Any]:
        """Return values as arrays, or as they are where an outer differentiation needs them."""
        if self.nested and self._stay(values):
            return list(values)
        arrays = self.tape.evaluate(values)
        if len({value.id for value in values}) < len(arrays):
            arrays = [array.copy() for array in arrays]
        return [as_numpy(a, value.dtype) for a, value in zip(arrays, values, strict=True)]

    def _stay(self, values: Sequence[Any]) -> bool:
        """Whether values depend on what an outer function is differentiated or compiled by."""
        if self.inside or self.tape.compiling:
            return True
        last = max(value.id for value in values)
        marks = dependent(self.tape, self.outer, last)
        return any(marks[value.id] for value in values)

    def shaped(self, values: Sequence[Any]) -> list[Any]:
        """Return one value for each parameter in the containers of the arguments, one each."""
        results = iter(
            [_number(v) if leaf.number else v for leaf, v in zip(self.leaves, values, strict=True)]
        )
        return [rebuilt(argument, results) for argument in self.arguments]


def _number(x: Any) -> Any:
    """Return a 0-d array as a NumPy scalar, anything else as it is."""
    return x if isinstance(x, Value) else x[()]


def _position(n: int, args: Sequence[Any]) -> int:
    if not -len(args) <= n < len(args):
        raise ValueError(
            f"argnums has {n}, but the function was called with {len(args)} positional "
            f"argument{'s' * (len(args) != 1)}; parameters are given by position"
        )
    return n % len(args)


def _entered(tape: Tape, leaf: Leaf, nested: bool) -> Any:
    """Return a parameter on the tape: of its own, so that it is not the outer function's."""
    x = leaf.value
    if not isinstance(x, Value):
        entered = tape.input(x.copy() if nested else x)
    elif x.tape is tape:
        entered = tape.emit("reshape", x.shape, x.dtype, (x,))
    else:
        raise TypeError("parameters are traced values of different calls; pass those of one")
    if not leaf.number:
        tape.shared.add(entered.id)
    return entered


def _constant(out: Any) -> Any:
    """Return an array or number that a function returned without the use of its parameters."""
    array = np.asarray(out)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"the function returned {_what(out)}; a number or an array is accepted")
    return array if array.ndim else array[()]


def _name_of(f: Function) -> str:
    return getattr(f, "__name__", None) or repr(f)


def _what(out: Any) -> str:
    return "None" if out is None else f"a {type(out).__name__}"


_WAYS: dict[type, str] = {
    type(None): "; is there a return?",
    tuple: "; for (value, more) say has_aux=True, of several numbers return the sum",
}


# ---- Gradients -----------------------------------------------------------------------------------


def _checked_argnums(argnums: Any) -> tuple[int, ...]:
    """Return positions as a tuple."""
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    for n in numbers:
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
            raise TypeError(f"argnums is {argnums!r}; accepted are an int and a tuple of ints")
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"argnums is {argnums!r}; accepted are different positions, one or more")
    return tuple([int(n) for n in numbers])


def value_and_grad(f: Function, argnums: Any = 0, has_aux: bool = False) -> Function:
    """Return a function that gives f's value and its gradient, with f's own arguments.

    Parameters
    ----------
    f : callable
        A function written with NumPy, that returns one number. What cannot be differentiated in it
        is an error that shows the line and names the way out.
    argnums : int or tuple of int
        The positions of the arguments by which is differentiated: numbers, arrays, and tuples,
        lists and dicts of them, nested.
    has_aux : bool
        Whether f returns ``(value, more)``; then the result is ``((value, more), gradient)``.

    Returns
    -------
    callable
        ``value, gradient = value_and_grad(f)(...)``. A gradient has the shape and type of its
        parameter; for a tuple `argnums` it is a tuple.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> x, y = np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0])
    >>> def loss(w, b):
    ...     return np.mean((w * x + b - y) ** 2)
    >>> value, (dw, db) = gd.value_and_grad(loss, argnums=(0, 1))(1.0, 0.0)
    >>> float(value), float(dw), float(db)
    (4.666666666666667, -5.333333333333333, -4.0)
    """
    numbers = _checked_argnums(argnums)
    alone = not isinstance(argnums, tuple)
    recall = recalled(f, numbers, has_aux)

    @_named(f, "value_and_grad")
    def value_and_gradient(*args: Any, **given: Any) -> Any:
        if hasattr(f, "_gd_compiled"):
            return f._value_and_grad(argnums, has_aux, args, given)  # type: ignore[attr-defined]
        trace = Trace(f, numbers, args, given)
        out, more = _apart(trace) if has_aux else (trace.out, None)
        value = trace.scalar(out)
        others = list(_traced_in(more)) if has_aux else []
        results = recall.results(trace, value, others)
        last = 1 + len(trace.wrt)
        gradients = trace.shaped(results[1:last])
        value = _number(results[0])
        if has_aux:
            value = (value, _replaced(more, iter(results[last:])))
        return value, gradients[0] if alone else tuple(gradients)

    return value_and_gradient


def _named(f: Function, what: str) -> Callable[[Function], Function]:
    """Return a decorator that gives a derivative the name and signature of its function."""

    def decorate(derivative: Function) -> Function:
        derivative = functools.wraps(f)(derivative)
        derivative.__doc__ = f"{what} of {_name_of(f)}."
        derivative.__dict__.pop("_gd_compiled", None)
        return derivative

    return decorate


def _apart(trace: Trace) -> tuple[Any, Any]:
    """Return the value and what else a function returned with it."""
    out = trace.out
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(
            f"{_name_of(trace.function)} returned {_what(out)}; with has_aux=True a tuple "
            "(value, more) is accepted"
        )
    return out


def _traced_in(more: Any) -> Iterator[Any]:
    """Yield the traced values in tuples, lists and dicts."""
    if isinstance(more, Value):
        yield more
    elif isinstance(more, (list, tuple, dict)):
        for item in more.values() if isinstance(more, dict) else more:
            yield from _traced_in(item)


def _replaced(more: Any, results: Iterator[Any]) -> Any:
    """Return `more` with the next results in place of the traced values."""
    if isinstance(more, Value):
        return _number(next(results))
    if isinstance(more, dict):
        return {key: _replaced(item, results) for key, item in more.items()}
    if isinstance(more, (list, tuple)):
        items = [_replaced(item, results) for item in more]
        if isinstance(more, list):
            return items
        return type(more)(*items) if hasattr(more, "_fields") else tuple(items)
    return more


def grad(f: Function, argnums: Any = 0, elementwise: bool = False) -> Function:
    """Return a function that gives the gradient of f, with f's own arguments.

    Parameters
    ----------
    f : callable
        As for `value_and_grad`.
    argnums : int or tuple of int
        The positions of the arguments by which is differentiated.
    elementwise : bool
        Whether f works on each element of an array by itself: then the result is f' at every
        point, in the array's shape, for instance to draw it.

    Returns
    -------
    callable
        ``gradient = grad(f)(...)``.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> float(gd.grad(lambda x: x**3)(2.0))
    12.0
    >>> gd.grad(np.sin, elementwise=True)(np.array([0.0, np.pi]))
    array([ 1., -1.])
    """
    if elementwise:
        return _elementwise(f, argnums)
    both = value_and_grad(f, argnums)

    @_named(f, "grad")
    def gradient(*args: Any, **given: Any) -> Any:
        return both(*args, **given)[1]

    return gradient


def _elementwise(f: Function, argnums: Any) -> Function:
    """Return f' at every point of an array."""
    numbers = _checked_argnums(argnums)
    alone = not isinstance(argnums, tuple)

    @_named(f, "grad")
    def derivative(*args: Any, **given: Any) -> Any:
        trace = Trace(f, numbers, args, given)
        out = trace.value(trace.out)
        for i, p in enumerate(trace.wrt):
            if p.shape != out.shape:
                raise ValueError(
                    f"{_name_of(f)} returned shape {out.shape} for {trace._name(i)} of shape "
                    f"{p.shape}; elementwise=True is for functions of each element by itself"
                )
        gradients = trace.gradients(out)
        if _mixes(trace, out):
            _check_apart(trace, out, gradients)
        results = trace.shaped(trace.delivered(gradients))
        return results[0] if alone else tuple(results)

    return derivative


def _mixes(trace: Trace, out: Any) -> bool:
    """Whether elements may have been put together: not all instructions are elementwise."""
    marks = dependent(trace.tape, [x.id for x in trace.wrt], out.id)
    return any(
        marked and _core.INSTRUCTIONS[row[0]]["kind"] not in _APART
        for marked, row in zip(marks, trace.tape.instructions, strict=False)
    )


_APART = ("leaf", "map")


def _check_apart(trace: Trace, out: Any, gradients: Sequence[Any]) -> None:
    """Raise if the derivative is not diagonal: then J v differs from f' v for some v."""
    for i, (p, g) in enumerate(zip(trace.wrt, gradients, strict=True)):
        v = trace.tape.input(np.cos(np.arange(math.prod(p.shape), dtype=p.dtype)).reshape(p.shape))
        (found,) = tangents([out], [p], [v])
        found, expected = trace.tape.evaluate([filled(out, 0.0) if found is None else found, g * v])
        tolerance = 1e3 * np.finfo(p.dtype).eps
        if not np.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True):
            raise ValueError(
                f"{_name_of(trace.function)} mixes the elements of {trace._name(i)}; "
                "elementwise=True is for functions of each element by itself: take gd.jacobian"
            )


# ---- Second derivatives, and functions of more than one output -----------------------------------


def hvp(f: Function, x: Any, v: Any) -> Any:
    """Return the product of the Hessian of f at x with v, exactly.

    Parameters
    ----------
    f : callable
        As for `value_and_grad`.
    x : number, array or container of them
        The point. A tuple is one argument of f for each entry, as in `minimize`; anything else is
        f's single argument.
    v : like `x`
        The direction, in x's structure and shapes.

    Returns
    -------
    like `x`
        The derivative of the gradient along v, in the shapes and types of x.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> gd.hvp(lambda x: x[0] ** 2 * x[1], np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    array([4., 2.])
    """
    args = x if isinstance(x, tuple) else (x,)
    trace = Trace(f, range(len(args)), args, {})
    directions = list(_matched(x, v, "v"))
    along = [_direction(p, *found) for p, found in zip(trace.wrt, directions, strict=True)]
    gradients = trace.gradients(trace.scalar(trace.out))
    found = tangents(gradients, trace.wrt, along)
    products = [filled(p, 0.0) if t is None else t for p, t in zip(trace.wrt, found, strict=True)]
    results = trace.shaped(trace.delivered(products))
    return tuple(results) if isinstance(x, tuple) else results[0]


def _matched(x: Any, v: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield (name, entry of v) for each parameter in x."""
    if not is_container(x):
        yield name, v
        return
    keys: Any = x if isinstance(x, dict) else range(len(x))
    alike = (
        isinstance(v, dict) and v.keys() == x.keys()
        if isinstance(x, dict)
        else isinstance(v, (list, tuple)) and len(v) == len(x)
    )
    if not alike:
        raise ValueError(
            f"{name} is {_what(v)}; like x it must be a {type(x).__name__} with "
            + (f"the keys {list(x)}" if isinstance(x, dict) else f"{len(x)} entries")
        )
    for key in keys:
        yield from _matched(x[key], v[key], f"{name}[{key!r}]")


def _direction(p: Any, name: str, v: Any) -> Any:
    """Return the direction of a parameter in its type."""
    if np.shape(v) != p.shape:
        raise ValueError(f"{name} has shape {np.shape(v)} but its parameter has {p.shape}")
    if isinstance(v, Value):
        return as_value(p, v, p.dtype)
    (leaf,) = read([v], lambda _: name)
    return p.tape.input(np.asarray(leaf.value, p.dtype))


def jacobian(f: Function) -> Function:
    """Return a function that gives the matrix of all partial derivatives of f.

    One sweep for each output, or each input where these are fewer: for small sizes.

    Parameters
    ----------
    f : callable
        A function written with NumPy, of its first argument; it returns an array.

    Returns
    -------
    callable
        ``J = jacobian(f)(x)`` has the shape of f(x) followed by that of x. For containers it is a
        container of such arrays: f(x)'s, in each place x's.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> gd.jacobian(lambda x: x**2)(np.array([1.0, 3.0]))
    array([[2., 0.],
           [0., 6.]])
    """

    @_named(f, "jacobian")
    def matrix(*args: Any, **given: Any) -> Any:
        trace = Trace(f, (0,), args, given)
        outs = [trace.value(out) for _, out in leaves(trace.out)]
        blocks = [block for out in outs for block in _blocks(trace, out)]
        results = iter([_number(block) for block in trace.delivered(blocks)])
        (argument,) = trace.arguments
        rows = [rebuilt(argument, results) for _ in outs]
        return rebuilt(trace.out, iter(rows))

    return matrix


def _blocks(trace: Trace, out: Any) -> list[Any]:
    """Return the derivatives of one output with respect to each parameter."""
    if math.prod(out.shape) <= sum(math.prod(p.shape) for p in trace.wrt):
        return _by_rows(trace, out)
    return [_by_columns(trace, out, p) for p in trace.wrt]


def _by_rows(trace: Trace, out: Any) -> list[Any]:
    """Return Jacobians from a backward sweep for each element of the output."""
    n = math.prod(out.shape)
    flat = reshape(out, (n,))
    rows = [trace.gradients(window(flat, (i,), (1,), (1,))) for i in range(n)]
    return [
        _stacked([row[k] for row in rows], p, (*out.shape, *p.shape))
        for k, p in enumerate(trace.wrt)
    ]


def _by_columns(trace: Trace, out: Any, p: Any) -> Any:
    """Return a Jacobian from a forward sweep for each element of a parameter."""
    n = math.prod(p.shape)
    columns = []
    for i in range(n):
        unit = np.zeros(n, p.dtype)
        unit[i] = 1
        (t,) = tangents([out], [p], [trace.tape.input(unit.reshape(p.shape))])
        columns.append(filled(out, 0.0) if t is None else t)
    stacked = _stacked(columns, out, (n, *out.shape))
    axes = [*range(1, len(out.shape) + 1), 0]
    return reshape(transpose(stacked, axes), (*out.shape, *p.shape))


def _stacked(parts: Sequence[Any], like: Any, shape: tuple[int, ...]) -> Any:
    """Return values of one shape along a new first axis, in another shape of that size."""
    if not parts:
        return filled(like, 0.0, shape)
    ahead = [reshape(part, (1, *part.shape)) for part in parts]
    return reshape(concatenate(ahead, 0), shape)


def hessian(f: Function) -> Function:
    """Return a function that gives the matrix of all second derivatives of f, for small sizes.

    Parameters
    ----------
    f : callable
        As for `value_and_grad`, of its first argument.

    Returns
    -------
    callable
        ``H = hessian(f)(x)`` has the shape of x twice.

    Examples
    --------
    >>> import gdcore as gd, numpy as np
    >>> gd.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    """
    return jacobian(grad(f))
