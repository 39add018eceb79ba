"""How functions that are differentiated are run: branches, prints, threads, the tape's sweeps."""

import math
import threading
import warnings

import gradcheck
import numpy as np
import pytest

import gdcore as gd
from gdcore import _core
from gdcore.autodiff import _differentiate, _tape
from gdcore.autodiff._traced import Traced

# ---- Values, prints, warnings --------------------------------------------------------------------


def test_branches_follow_the_value():
    def f(x):
        if x > 0:
            return x**2
        while x < -1:
            x = x / 2
        return -x

    slope = gd.grad(f)
    assert [slope(3.0), slope(-0.5), slope(-3.0)] == [6, -1, -0.25]
    assert gd.grad(lambda x: max(x, 2 * x) + sorted([x, -x])[0])(3.0) == 1
    assert gd.grad(lambda x: sum(x))(np.ones(3)).tolist() == [1, 1, 1]


def test_contents_are_those_at_the_time_of_use():
    buffer = np.zeros(2)

    def f(x):
        total = 0.0
        for i in range(3):
            buffer[:] = i
            total = total + np.sum(x * buffer)
        buffer[:] = np.nan
        return total

    assert gd.grad(f)(np.ones(2)).tolist() == [3, 3]


def test_operators_in_place():
    def f(x, h=None):
        y = x * 2
        z = y
        y += 1  # z is the same object
        y *= z
        y -= np.ones(2, np.int8)
        y /= 2.0
        y **= 2
        assert z is y
        copies = [+y, y.copy(), y**1, y.astype(float), np.copy(y), np.concatenate([y]), y.clip()]
        y += 100
        total = 0.0
        for copy in copies:
            total += np.sum(copy)
        h = x[:, None] * x
        h @= h
        return total + np.sum(y) + np.sum(h)

    gradcheck.check(gd, f, np.array([1.5, -0.5]))
    x = np.ones(2, np.float32)
    doubled = np.full(2, 2.0)

    def g(x):
        y = x * 1
        y *= doubled  # stays float32
        return np.sum(y), y

    with pytest.warns(UserWarning, match="doubled"):
        (value, y), _ = gd.value_and_grad(g, has_aux=True)(x)
    assert value.dtype == y.dtype == np.float32


def changes_a_parameter(x):
    x += 1
    return np.sum(x)


def changes_a_view(x):
    y = x * 2
    v = y[1:]
    v += 1
    return np.sum(y)


def changes_behind_a_view(x):
    y = x * 2
    v = y.reshape(1, 2)
    y += 1
    return np.sum(v)


def changes_behind_its_transpose(x):
    y = x * 2
    v = y.T
    y += 1
    return np.sum(v)


def changes_rows(x):
    y = np.outer(x, x)
    for row in y:
        row += 1
    return np.sum(y)


def changes_parts(x):
    y = x * 2
    a, b = np.split(y, 2)
    a += b
    return np.sum(y)


def changes_what_is_inverted(x):
    a = np.outer(x, x) + np.eye(2)
    y = np.linalg.inv(a)
    a += 1
    return np.sum(y)


def changes_an_inverse(x):
    y = np.linalg.inv(np.outer(x, x) + np.eye(2))
    y += 1
    return np.sum(y)


@pytest.mark.parametrize(
    "f",
    [
        changes_a_parameter,
        changes_a_view,
        changes_behind_a_view,
        changes_behind_its_transpose,
        changes_rows,
        changes_parts,
        changes_what_is_inverted,
        changes_an_inverse,
    ],
    ids=lambda f: f.__name__,
)
def test_changes_in_place_that_others_see(f):
    with pytest.raises(gd.UntraceableError, match=r"Write x = x \+ \.\.\."):
        gd.grad(f)(np.ones(2))


def test_changes_in_place_of_another_shape_or_type():
    def shape(x):
        y = x * 2
        y += np.ones((3, 2))
        return np.sum(y)

    def kind(x):
        y = (x > 0) * 1
        y += x
        return np.sum(y)

    with pytest.raises(
        ValueError, match=r"shape \(2,\) changed in place cannot take shape \(3, 2\)"
    ):
        gd.grad(shape)(np.ones(2))
    with pytest.raises(gd.UntraceableError, match="int64 changed in place cannot take float64"):
        gd.grad(kind)(np.ones(2))


def test_large_arrays_are_read_where_they_are():
    large = np.ones(3_000_000)
    slope = gd.grad(lambda x: np.sum(x * large))
    assert slope(2.0) == 3e6
    large[:] = 2
    assert slope(2.0) == 6e6

    def writes(x):
        y = np.sum(x * large)
        large[:] = 0
        return y

    with pytest.raises(gd.UntraceableError, match="writes into a large array"):
        gd.grad(writes)(2.0)


def test_printing_and_formatting(capsys):
    def f(x):
        y = x * 2
        print(y, f"{y[0]:.2f}", f"{y.sum()}", repr(y), y > 1, sep="|")
        return np.sum(y)

    gd.grad(f)(np.array([1.0, -1.0]))
    shown = capsys.readouterr().out.strip()
    assert shown == (
        "[ 2. -2.]|2.00|0.0|traced([ 2., -2.], shape=(2,), dtype=float64)|[ True False]"
    )


def test_float64_among_float32_warns_once():
    scale = np.arange(2.0)
    x = np.ones(2, np.float32)
    with pytest.warns(UserWarning, match=r"scale, a float64 array of shape \(2,\)") as found:
        value, slope = gd.value_and_grad(lambda x: np.sum(x * scale + scale))(x)
    assert len(found) == 1
    assert found[0].filename == __file__
    assert value.dtype == np.float64
    assert slope.dtype == np.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gd.grad(lambda x: np.sum(x * np.float64(2) * np.arange(2)))(x)
        gd.grad(lambda x: np.sum(x * scale))(x.astype(np.float64))


def test_no_warning_where_values_are_not_finite():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, slope = gd.value_and_grad(lambda x: np.sum(np.log(x) / x))(np.array([0.0, -1.0]))
    assert math.isnan(value)
    assert math.isnan(slope[1])


def test_values_of_an_ended_call_are_refused():
    kept = []
    gd.grad(lambda x: kept.append(x) or x**2)(2.0)
    with pytest.raises(TypeError, match="kept from a call that has ended"):
        gd.grad(lambda x: x * kept[0])(2.0)


def test_errors_of_the_function_come_through_and_leave_nothing_behind():
    def f(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        gd.grad(f)(1.0)
    assert type(gd.grad(lambda x: x**2)(1.0)) is np.float64


@pytest.mark.filterwarnings("ignore:.*meets float32 parameters")
def test_each_call_traces_anew():
    setting = {"sign": 1.0, "power": 2, "scale": np.ones(2), "nan": 0.0}

    def f(x, more=False):
        y = np.sum(setting["scale"] * x ** setting["power"]) / setting["sign"] + setting["nan"]
        return y + x[1] if more else y

    slope = gd.grad(f)
    x = np.array([1.0, 2.0])
    assert slope(x).tolist() == [2, 4]
    setting["power"] = 3
    assert slope(x).tolist() == [3, 12]
    setting["sign"] = -1.0
    assert slope(x).tolist() == [-3, -12]
    setting["scale"][0] = 5
    assert slope(x).tolist() == [-15, -12]
    setting["scale"] = np.ones((3, 2))
    assert slope(x).tolist() == [-9, -36]
    assert slope(x, more=True).tolist() == [-9, -35]
    assert slope(x[::-1]).tolist() == [-36, -9]
    assert slope(x.astype(np.float32)).dtype == np.float32
    assert slope(np.ones(2, np.float32)).tolist() == [-9, -9]
    setting["nan"] = math.nan
    assert slope(x).tolist() == [-9, -36]
    assert math.isnan(gd.value_and_grad(f)(x)[0])


def test_zeros_of_both_signs():
    zero = [0.0]
    both = gd.value_and_grad(lambda x: 1 / (x * zero[0]))
    assert both(1.0)[0] == math.inf
    zero[0] = -0.0
    assert both(1.0)[0] == -math.inf


def test_results_of_calls_are_apart():
    both = gd.value_and_grad(lambda x: (np.sum(x**2), x * 2), has_aux=True)
    (_, first), slope = both(np.ones(2))
    (_, second), other = both(np.zeros(2))
    assert first.tolist() == slope.tolist() == [2, 2]
    assert second.tolist() == other.tolist() == [0, 0]


def test_loops_over_values_run_each_instruction_once(monkeypatch):
    ran = []
    run = _tape.run
    monkeypatch.setattr(_tape, "run", lambda rows, *rest: ran.append(len(rows)) or run(rows, *rest))

    def root(a):
        x = a
        while abs(x * x - a) > 1e-12:
            x = 0.5 * (x + a / x)
        return x

    assert gd.grad(root)(2.0) == pytest.approx(0.5 / math.sqrt(2))
    assert max(ran[:-1]) < 20
    assert len(ran) > 4


def test_threads_share_a_derivative():
    slope = gd.grad(lambda x: np.sum(np.sin(x) ** 2))
    failures = []

    def work(n):
        x = np.full(100, float(n))
        expected = slope(x)
        failures.extend(i for i in range(200) if not np.array_equal(slope(x), expected))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_threads_do_not_meet():
    results = {}

    def work(n):
        slope = gd.grad(lambda x: gd.grad(lambda y: x * y**2 * n)(x))
        results[n] = [slope(float(i)) for i in range(50)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: [4.0 * n * i for i in range(50)] for n in range(4)}


# ---- The sweeps over the tape --------------------------------------------------------------------


def test_long_tapes():
    def f(x):
        for _ in range(5000):
            x = x * 1.0001 + 0.001
        return np.sum(x)

    slope = gd.grad(f)(np.ones(2))
    assert slope == pytest.approx([1.0001**5000] * 2)
    assert gd.hvp(lambda x: f(x) ** 2, np.ones(1), np.ones(1)) == pytest.approx(2 * 1.0001**10000)


def test_only_what_depends_on_the_parameters_is_swept(monkeypatch):
    tape = _tape.Tape(Traced)
    x, y = tape.input(np.ones(2)), tape.input(np.ones(2))
    out = np.sum(np.exp(y)) + np.sum(x * np.sin(y))
    swept = []
    for name in ("_VJP", "_PARTIALS"):
        rules = zip(getattr(_differentiate, name), _core.INSTRUCTIONS, strict=True)
        monkeypatch.setattr(
            _differentiate,
            name,
            [r and Recorded(r, swept, row["name"]) for r, row in rules],
        )
    dx, dz = _differentiate.backward(out, [x, tape.input(np.ones(3))])
    assert dz is None
    assert swept == ["add", "sum", "multiply"]
    np.testing.assert_array_equal(tape.evaluate([dx])[0], np.sin([1, 1]))


class Recorded:
    """A rule that notes its use."""

    def __init__(self, rule, used, name):
        self.rule, self.used, self.name = rule, used, name

    def __iter__(self):
        self.used.append(self.name)
        return iter(self.rule)

    def __call__(self, *args):
        self.used.append(self.name)
        return self.rule(*args)
