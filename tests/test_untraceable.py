"""Ways to write a function that cannot be differentiated: each a clear error.

The message says what was found, shows the line of the user's code, and names the way out.
"""

import functools
import linecache
import math
import pickle

import numpy as np
import pytest

import gdcore as gd
from gdcore.autodiff._errors import UntraceableError

X = np.array([0.5, 2.0])
M = np.array([[2.0, 1.0], [1.0, 3.0]])


def sine_of_math(x):
    return math.sin(x[0])


def power_of_math(x):
    return 3 * math.pow(x[0], 2)


def float_of_a_value(x):
    return float(x[0]) * 2


def int_of_a_value(x):
    return int(x[0])


def complex_of_a_value(x):
    return abs(complex(x[0]))


def item(x):
    return x.sum().item()


def to_list(x):
    return sum(x.tolist())


def assignment(x):
    x[0] = 3.0
    return np.sum(x)


def assignment_into_an_array(x):
    y = np.zeros(2)
    y[0] = x[0] ** 2
    return np.sum(y)


def addition_into_an_array(x):
    y = np.zeros(2)
    y += x
    return np.sum(y)


def out_argument(x):
    y = np.zeros(2)
    np.multiply(x, 2, out=y)
    return np.sum(y)


def where_argument(x):
    return np.sum(np.log(x, where=x > 0))


def array_of_values(x):
    return np.sum(np.array([x[0], x[1] ** 2]))


def asarray_of_a_value(x):
    return np.sum(np.asarray(x) ** 2)


def float64_of_a_value(x):
    return np.float64(x[0]) ** 2


def vectorized(x):
    return np.sum(np.vectorize(lambda x: x**2)(x))


def unknown_function(x):
    return np.sum(np.apply_along_axis(np.sum, 0, x))


def unknown_ufunc(x):
    return np.sum(np.frompyfunc(lambda x: x, 1, 1)(x))


def unknown_linear_algebra(x):
    return np.sum(np.linalg.eig(M * x)[0])


def floor_division(x):
    return np.sum(x // 2)


def remainder(x):
    return np.sum(x % 2)


def member(x):
    return np.sum(x) if 2.0 in x else 0.0


def key_of_a_dict(x):
    return {x[0]: x[1]}[x[0]]


def cached(x):
    return functools.cache(lambda x: x**2)(x[0])


def position(x):
    return X[x[0]]


def times(x):
    return sum(x[0] for _ in range(x[1]))


def truth_of_an_array(x):
    return np.sum(x if x > 0 else -x)


def more_than_one_number(x):
    return x**2


def nothing(x):
    x**2


def bits(x):
    return np.sum(x & 1)


def running_by_hand(x):
    return np.sum(np.subtract.accumulate(x))


def random_draw(x):
    return np.random.default_rng(0).normal(x[0])


def sorted_in_place(x):
    x.sort()
    return x[0]


def sent_elsewhere(x):
    return pickle.loads(pickle.dumps(x))[0]


def integer_power_of_counts(x):
    return np.sum(np.sum(x > 0) ** np.array([1, 2]))


def masked(x):
    return np.sum(np.ma.masked_array(X, [True, False]) * x)


def missing_method(x):
    return x.partition(1)


# What the message contains beside the line: what was found, and the way out.
WAYS = {
    sine_of_math: ("math.sin(...)", "write np.sin"),
    power_of_math: ("math.pow(...)", "write np.power"),
    float_of_a_value: ("float(...)", "Leave the number traced"),
    int_of_a_value: ("int(...)", "Leave the number traced"),
    complex_of_a_value: ("complex(...)", "Leave the number traced"),
    item: (".item", "x itself"),
    to_list: (".tolist", "iterate over it"),
    assignment: ("x[...] = ...", "np.where(mask, new, x)"),
    assignment_into_an_array: ("y[0] = ...", "np.stack"),
    addition_into_an_array: ("y += x", "y = y + x"),
    out_argument: ("np.multiply(..., out=)", "y = y + x"),
    where_argument: ("np.log(..., where=)", "np.where(condition, y, other)"),
    array_of_values: ("np.array(...)", "np.stack([x, y])"),
    asarray_of_a_value: ("np.asarray(...)", "Leave it out"),
    float64_of_a_value: ("np.float64(...)", "x.astype(np.float64)"),
    vectorized: ("np.vectorize", "on the array itself"),
    unknown_function: ("np.apply_along_axis", "Write it with functions that are"),
    unknown_ufunc: ("(vectorized)", "NumPy's elementwise functions"),
    unknown_linear_algebra: ("np.linalg.eig", "grad="),
    floor_division: ("np.floor_divide", "np.floor(x / y)"),
    remainder: ("np.remainder", "x - y * np.floor(x / y)"),
    member: ("`in`", "np.any(x == value)"),
    key_of_a_dict: ("a key of a dict", "Key by position or name"),
    cached: ("an argument of a cache", "functools.cache"),
    position: ("a position", "np.where"),
    times: ("a number of times", "outside of the function"),
    truth_of_an_array: ("an array of shape (2,)", "np.where"),
    bits: ("np.bitwise_and of numbers", "(x > 0) & (x < 1)"),
    running_by_hand: ("np.subtract.accumulate", "np.cumsum"),
    random_draw: ("normal(...)", "noise"),
    sorted_in_place: (".sort", "np.sort(x)"),
    sent_elsewhere: ("another process or a file", "Call the function there"),
    integer_power_of_counts: ("integer power", "x.astype(float) ** n"),
    masked: ("masked", "filled"),
    missing_method: (".partition", "np.where"),
}


def message_of(f, error=UntraceableError):
    with pytest.raises(error) as raised:
        gd.grad(f)(X)
    return str(raised.value)


@pytest.mark.parametrize("f", WAYS, ids=lambda f: f.__name__)
def test_an_untraceable_function_is_a_clear_error(f):
    message = message_of(f, ValueError if f is truth_of_an_array else UntraceableError)
    found, way_out = WAYS[f]
    assert found in message
    assert way_out in message
    lines = range(f.__code__.co_firstlineno, f.__code__.co_firstlineno + 5)
    assert any(f"{__file__}:{n}: " in message for n in lines)


def test_the_line_is_shown():
    n = sine_of_math.__code__.co_firstlineno + 1
    assert message_of(sine_of_math).endswith(f"\n  at {__file__}:{n}: return math.sin(x[0])")


def test_there_are_twenty_ways():
    assert len(WAYS) >= 20


def test_outputs():
    assert "return .sum() or .mean()" in message_of(more_than_one_number, ValueError)
    assert "is there a return?" in message_of(nothing, TypeError)


def test_what_python_asks_without_saying_so():
    def f(x):
        assert not hasattr(x, "partition")
        assert not hasattr(x, "__cuda_array_interface__")
        assert not hasattr(x, "name")
        assert not isinstance(x, np.ndarray)
        assert x is not None
        assert (x == None) is False  # noqa: E711
        assert x != "text"
        return np.sum(x)

    assert gd.grad(f)(X).tolist() == [1, 1]


def test_lines_of_a_notebook_are_shown():
    name = "ipykernel_1/1234.py"
    source = "import math\ndef f(x):\n    return math.exp(x) + 1\n"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    space = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), space)
    with pytest.raises(UntraceableError, match=r"1234\.py:3: return math\.exp\(x\) \+ 1"):
        gd.grad(space["f"])(1.0)


def test_code_without_source():
    space = {"__name__": "__main__"}
    exec("def f(x):\n    return float(x)", space)
    with pytest.raises(UntraceableError, match=r"float\(\.\.\.\).*\n  at <string>:2"):
        gd.grad(space["f"])(1.0)
