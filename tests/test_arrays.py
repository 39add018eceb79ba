"""The validator: what is wrong with an array is said by name, and then nothing has changed.

One table of unfit arrays goes through every argument that is updated in place, another through
every argument that is read.
"""

import fractions
import re

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from unchanged import ones, picture

import gdcore as gd
from gdcore import _core

OPTIMIZERS = {
    "SGD": gd.SGD(lr=0.1, momentum=0.9),
    "Adagrad": gd.Adagrad(lr=0.1),
    "RMSprop": gd.RMSprop(lr=0.1, centered=True, momentum=0.5),
    "Adam": gd.Adam(lr=0.1, amsgrad=True, global_clip_norm=1.0),
    "AdamW": gd.AdamW(lr=0.1, on_nonfinite="skip"),
}


def new(name):
    return type(OPTIMIZERS[name])(**OPTIMIZERS[name].get_params())


def reals(min_size=0):
    """Arrays of both types, 0-d and empty ones too, NaN, infinities and subnormals in them."""
    kinds = st.sampled_from([np.float32, np.float64])
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
    arrays = st.tuples(kinds, shapes).flatmap(lambda pair: hnp.arrays(*pair))
    return arrays.filter(lambda a: a.size >= min_size)


def misaligned(a):
    memory = np.zeros(a.nbytes + 1, np.uint8)
    view = memory[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def strided(a):
    return np.repeat(a[..., None], 2, axis=-1)[..., 0]


def backwards(a):
    return np.ascontiguousarray(a.reshape(-1))[::-1]


def repeated(a):
    """Two elements in one place, writeable."""
    return np.lib.stride_tricks.as_strided(a.reshape(-1), (2,), (0,))


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def structured(a):
    return np.zeros(a.shape, [("x", a.dtype)])


def swapped(a):
    return a.astype(a.dtype.newbyteorder())


# What is neither read nor written: how it is made, the exception, a word on what was found.
UNFIT = {
    "float16": (lambda a: np.zeros(a.shape, np.float16), TypeError, "float16"),
    "longdouble": (lambda a: a.astype(np.longdouble), TypeError, r"(longdouble|float128|float96)"),
    "complex": (lambda a: a.astype(complex), TypeError, "complex128"),
    "object": (lambda a: a.astype(object), TypeError, "object"),
    "text": (lambda a: np.full(a.shape, "1"), TypeError, "<U1"),
    "dates": (lambda a: np.zeros(a.shape, "M8[s]"), TypeError, "datetime64"),
    "structured": (structured, TypeError, "'x'"),
    "swapped": (swapped, TypeError, "byte order"),
    "misaligned": (misaligned, ValueError, "aligned"),
    "masked": (np.ma.masked_array, TypeError, "masked array"),
}
# What is read but never written.
NO_TARGET = {
    **UNFIT,
    "integers": (lambda a: np.zeros(a.shape, int), TypeError, "int64"),
    "booleans": (lambda a: np.zeros(a.shape, bool), TypeError, "bool"),
    "read-only": (read_only, ValueError, "read-only"),
    "strided": (strided, ValueError, "contiguous"),
    "backwards": (backwards, ValueError, "contiguous"),
    "repeated": (repeated, ValueError, "contiguous"),
    "broadcast": (lambda a: np.broadcast_to(a.reshape(-1)[:1], 3), ValueError, "read-only"),
    "a number": (lambda a: 1.5, TypeError, "immutable"),
    "a NumPy number": (lambda a: np.float32(1.5), TypeError, "immutable"),
    "a whole number": (lambda a: 2, TypeError, "immutable"),
    "a list of numbers": (lambda a: [1.5, 2.5], TypeError, "list"),
    "a string": (lambda a: "W", TypeError, "str"),
    "None": (lambda a: None, TypeError, "NoneType"),
    "a memory view": (lambda a: memoryview(a.reshape(-1)), TypeError, "memoryview"),
    "an array in disguise": (lambda a: Disguised(a), TypeError, "Disguised"),
}
# Where an array may stand: the container around it, and its path.
PLACES = {
    "alone": (lambda x, good: x, ""),
    "list": (lambda x, good: [good, x], "[1]"),
    "tuple": (lambda x, good: (x, good), "[0]"),
    "dict": (lambda x, good: {"W": good, "b": x}, "['b']"),
    "nested": (lambda x, good: {"layers": [(good,), {"b": [x, ()]}]}, "['layers'][1]['b'][0]"),
}


class Disguised:
    """As pandas' Series: an array through __array__, that can be asked for its one number."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array

    def __float__(self):
        return float(self.array)


def refused(call, error, where, found):
    """The call raises exactly this, and its message begins with the argument's name and path."""
    with pytest.raises(error) as raised:
        call()
    assert raised.type is error
    message = str(raised.value)
    assert message.startswith(where + " "), message
    assert re.search(found, message), message


def unfit_case(table):
    return st.tuples(st.sampled_from(sorted(table)), st.sampled_from(sorted(PLACES)), reals(1))


def spoiled(table, case):
    kind, place, array = case
    assume(array.size > 1 or kind not in ("strided", "backwards"))
    make, error, found = table[kind]
    around, path = PLACES[place]
    return array, make(array), error, found, around, path


# ---- In place ------------------------------------------------------------------------------------


@given(unfit_case(NO_TARGET), st.sampled_from(sorted(OPTIMIZERS)), st.booleans())
def test_step_refuses_a_parameter_and_changes_nothing(case, name, bound):
    array, bad, error, found, around, path = spoiled(NO_TARGET, case)
    good, opt = np.ones(3), new(name)
    if bound:
        opt.step(around(array, good), around(ones(array), ones(good)))
    params = around(bad, good)
    grads = around(ones(array), ones(good))
    before = picture(opt, params, grads, array)
    refused(lambda: opt.step(params, grads), error, "params" + path, found)
    assert picture(opt, params, grads, array) == before
    opt.step(around(array, good), around(ones(array), ones(good)))
    assert opt.t == 1 + bound


GRADS = {
    kind: row
    for kind, row in NO_TARGET.items()
    if kind not in ("read-only", "a number", "a NumPy number", "a whole number", "broadcast")
}
GRADS["strided"] = (strided, ValueError, "memory order")
GRADS["repeated"] = (lambda a: repeated(a), ValueError, "shape")
GRADS["backwards"] = (lambda a: backwards(a).reshape(a.shape), ValueError, "memory order")
GRADS["masked"] = (np.ma.masked_array, TypeError, "masked array")
GRADS["another shape"] = (lambda a: np.ones((*a.shape, 2), a.dtype), ValueError, "shape")
GRADS["a complex number"] = (lambda a: 1j, TypeError, "complex")
GRADS["a NumPy complex number"] = (lambda a: np.complex64(1), TypeError, "complex64")
GRADS["the other type"] = (
    lambda a: np.zeros(a.shape, np.float32 if a.dtype == np.float64 else np.float64),
    TypeError,
    "dtype float",
)


@given(unfit_case(GRADS), st.sampled_from(sorted(OPTIMIZERS)), st.booleans())
def test_step_refuses_a_gradient_and_changes_nothing(case, name, bound):
    array, bad, error, found, around, path = spoiled(GRADS, case)
    assume(case[0] != "repeated" or array.shape != (2,))
    assume(case[:2] != ("None", "alone"))  # as if grads were not given
    good, opt = np.ones(3), new(name)
    if case[0] == "backwards":
        assume(not (bad.flags.c_contiguous or bad.flags.f_contiguous))
    if case[0] == "swapped":
        found = "dtype"
    params = around(array, good)
    if bound:
        opt.step(params, around(ones(array), ones(good)))
    grads = around(bad, ones(good))
    before = picture(opt, params, grads)
    refused(lambda: opt.step(params, grads), error, "grads" + path, found)
    assert picture(opt, params, grads) == before


@given(reals(2), st.sampled_from(sorted(PLACES)))
def test_a_number_is_the_gradient_of_one_element_only(array, place):
    around, path = PLACES[place]
    good, opt = np.ones(3), gd.SGD(lr=0.5)
    params = around(array, good)
    before = picture(opt, params)
    refused(
        lambda: opt.step(params, around(1.5, ones(good))), ValueError, "grads" + path, "elements"
    )
    assert picture(opt, params) == before


NUMBERS = [2, 2.0, np.float32(2), np.int8(2), fractions.Fraction(2)]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("grad", NUMBERS)
def test_numbers_are_gradients_of_one_element(dtype, shape, grad):
    w = np.full(shape, 8, dtype)
    gd.SGD(lr=0.5).step([w], [grad])
    assert w == 7
    assert w.dtype == dtype


@given(unfit_case(NO_TARGET))
def test_clip_by_global_norm_refuses_and_changes_nothing(case):
    array, bad, error, found, around, path = spoiled(NO_TARGET, case)
    good = np.full(3, 1e3)
    grads = around(bad, good)
    before = picture(None, grads, array)
    refused(lambda: gd.clip_by_global_norm(grads, 1.0), error, "grads" + path, found)
    assert picture(None, grads, array) == before


@given(reals(), reals())
def test_clip_by_global_norm_takes_every_real_array(a, b):
    grads = {"a": a, "b": (b, [])}
    before = picture(None, grads)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = np.sqrt(sum(np.sum(np.float64(x) ** 2) for x in (a, b)))
    norm = gd.clip_by_global_norm(grads, np.inf)
    assert picture(None, grads) == before
    if np.isfinite(expected) and expected > 1e-140:
        assert norm == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("limit", [-1.0, np.nan, "1", None])
def test_clip_by_global_norm_refuses_a_limit(limit):
    g = np.full(2, 7.0)
    with pytest.raises(TypeError if limit in ("1", None) else ValueError):
        gd.clip_by_global_norm([g], limit)
    assert g.tolist() == [7.0, 7.0]


def test_clip_by_global_norm_refuses_an_array_twice():
    g = np.full(6, 7.0)
    for grads, names in (
        ([g, g], r"grads\[0\] and grads\[1\]"),
        ({"a": g[:4], "b": [g[3:]]}, r"grads\['a'\] and grads\['b'\]\[0\]"),
    ):
        with pytest.raises(ValueError, match=names):
            gd.clip_by_global_norm(grads, 1.0)
    assert g.tolist() == [7.0] * 6
    assert gd.clip_by_global_norm([g[:3], g[3:], g[2:2]], 1.0) == pytest.approx(7 * 6**0.5)


# ---- Memory that is shared -----------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_views_of_one_array_step_as_arrays_of_their_own(name, dtype, rng):
    base = rng.normal(size=12).astype(dtype)
    grads = rng.normal(size=12).astype(dtype)
    views = [base[:5], base[5:5], base[5:6].reshape(()), base[6:].reshape(2, 3)]
    cuts = [grads[:5], grads[5:5], grads[5:6].reshape(()), grads[6:].reshape(2, 3)]
    apart = [view.copy() for view in views]
    one, other = new(name), new(name)
    for _ in range(3):
        one.step(views, cuts)
        other.step(apart, cuts)
    assert [v.tobytes() for v in views] == [a.tobytes() for a in apart]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.data())
def test_overlapping_parameters_are_refused_wherever_they_stand(a, b, c, d, data):
    base = np.arange(12.0)
    spans = [(min(a, b), max(a, b)), (min(c, d), max(c, d))]
    overlap = max(s[0] for s in spans) < min(s[1] for s in spans)
    assume(overlap and all(s[0] < s[1] for s in spans))
    # Empty views and arrays of other memory between them must not hide the overlap.
    others = [base[i:i] for i in data.draw(st.lists(st.integers(0, 12), max_size=4))]
    params = data.draw(st.permutations([*(base[i:k] for i, k in spans), *others, np.ones(2)]))
    before, opt = picture(None, params), gd.Adam()
    with pytest.raises(ValueError, match=r"^params\[\d\] and params\[\d\] .*share memory"):
        opt.step(params, [ones(p) for p in params])
    assert picture(None, params) == before
    assert opt._state() is None


def test_gradients_may_not_lie_in_parameters_or_state():
    base, opt = np.ones(10), gd.Adam()
    w = base[2:6]
    for bad in (w, base[1:5], base[4:8], base[5:9], base[2:6].view()):
        before = base.copy()
        with pytest.raises(ValueError, match=r"^grads shares memory with a parameter"):
            opt.step(w, bad)
        assert (base == before).all()
    opt.step(w, base[6:10])
    states = opt._state()[0]
    before = picture(opt, base)
    for state in states:
        with pytest.raises(ValueError, match="or the optimizer's state"):
            opt.step(w, state)
    assert picture(opt, base) == before


def test_two_parameters_may_have_one_gradient():
    a, b, g = np.zeros(2), np.zeros(2), np.ones(2)
    gd.SGD(lr=1.0).step([a, b], [g, g])
    assert a.tolist() == b.tolist() == [-1.0, -1.0]


def test_order_in_memory_is_the_parameter_s(rng):
    w, g = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    expected = w - 0.1 * g
    f = np.asfortranarray(w)
    gd.SGD(lr=0.1).step(f, np.asfortranarray(g))
    assert (f == expected).all()
    with pytest.raises(ValueError, match="memory order"):
        gd.SGD(lr=0.1).step(f, g)
    gd.SGD(lr=0.1).step(np.asfortranarray(w[:1]), g[:1])


@pytest.mark.parametrize("mode", ["r+", "c", "r"])
def test_memory_maps_and_matrices_are_arrays(tmp_path, mode):
    np.ones(4).tofile(tmp_path / "w")
    w = np.memmap(tmp_path / "w", np.float64, mode)
    if mode == "r":
        with pytest.raises(ValueError, match="read-only"):
            gd.SGD(lr=1.0).step(w, np.ones(4))
        return
    gd.SGD(lr=1.0).step([w], [np.memmap(tmp_path / "w", np.float64, "r")])
    assert w.tolist() == [0.0] * 4
    m = np.ones((2, 2)).view(np.matrix)
    gd.SGD(lr=1.0).step(m, np.ones((2, 2)))
    assert m.tolist() == [[0.0, 0.0], [0.0, 0.0]]


# ---- Arguments that are read ---------------------------------------------------------------------

CROSSENTROPY = gd.losses.get("categorical_crossentropy", from_logits=True)
# The argument, its shape, and a call whose other arrays come from good(shape). Those marked True
# say which type the others must have.
READ = [
    ("y_true", (4, 3), False, lambda x, good: gd.losses.mse(x, good(4, 3))),
    ("y_pred", (4, 3), True, lambda x, good: gd.losses.half_mse.value_and_grad(good(4, 3), x)),
    ("y_true", (4, 3), False, lambda x, good: CROSSENTROPY.value_and_grad(x, good(4, 3))),
    ("y_pred", (4, 3), True, lambda x, good: CROSSENTROPY(good(4, 3), x, good(4))),
    ("sample_weight", (4,), False, lambda x, good: gd.losses.mse(good(4, 3), good(4, 3), x)),
    ("z", (4, 3), True, lambda x, good: gd.softmax(x)),
    ("dy", (4, 3), False, lambda x, good: gd.activations.sigmoid.grad(x, y=good(4, 3))),
    ("y", (4, 3), True, lambda x, good: gd.activations.softmax.grad(good(4, 3), y=x)),
    ("X", (4, 2), False, lambda x, good: gd.dense(x, good(2, 3), good(3))),
    ("W", (2, 3), True, lambda x, good: gd.dense(good(4, 2), x, good(3), "tanh")),
    ("b", (3,), False, lambda x, good: gd.dense(good(4, 2), good(2, 3), x)),
    ("dy", (4, 3), False, lambda x, good: gd.dense_grad(x, good(4, 2), good(2, 3))),
    ("X", (4, 2), False, lambda x, good: gd.dense_grad(good(4, 3), x, good(2, 3))),
    ("W", (2, 3), True, lambda x, good: gd.dense_grad(good(4, 3), good(4, 2), x)),
    (
        "y",
        (4, 3),
        False,
        lambda x, good: gd.dense_grad(good(4, 3), good(4, 2), good(2, 3), x, "tanh"),
    ),
    (
        "X",
        (4, 2),
        False,
        lambda x, good: gd.linear_value_and_grad(x, good(4, 1), good(2, 1), [0.5]),
    ),
    ("y_true", (4,), False, lambda x, good: gd.linear_value_and_grad(good(4, 2), x, good(2), 0.5)),
    ("W", (2,), True, lambda x, good: gd.linear_value_and_grad(good(4, 2), good(4), x, 0.5)),
    (
        "b",
        (3,),
        False,
        lambda x, good: gd.linear_value_and_grad(good(4, 2), good(4, 3), good(2, 3), x),
    ),
    ("x", (7,), True, lambda x, good: _core.norm(x)),
    ("x", (7,), True, lambda x, good: _core.sum(x)),
    ("y", (7,), False, lambda x, good: _core.dot(good(7), x)),
]
reading = pytest.mark.parametrize(
    ("argument", "shape", "leads", "call"),
    READ,
    ids=[f"{i}-{row[0]}" for i, row in enumerate(READ)],
)


def goods(dtype):
    return lambda *shape: np.linspace(0.1, 0.9, int(np.prod(shape))).astype(dtype).reshape(shape)


def bits(result):
    results = result if isinstance(result, tuple) else (result,)
    return [bits(r) if isinstance(r, tuple) else np.asarray(r).tobytes() for r in results]


@reading
@pytest.mark.parametrize("kind", UNFIT)
def test_what_is_read_is_refused_by_name(dtype, argument, shape, leads, call, kind):
    good = goods(dtype)
    make, error, found = UNFIT[kind]
    bad = make(good(*shape))
    before = picture(None, bad)
    refused(lambda: call(bad, good), error, argument, found)
    assert picture(None, bad) == before
    for nonsense in (None, "x", [[1.0], [1.0, 2.0]], [None], object(), {}, [1j], [np.float16(1)]):
        if nonsense is None and argument in ("b", "sample_weight", "y", "W"):
            continue  # as if it were not given
        refused(lambda: call(nonsense, good), type_of_refusal(nonsense), argument, "")  # noqa: B023


def type_of_refusal(value):
    return ValueError if isinstance(value, list) and len(value) == 2 else TypeError


@reading
def test_types_are_not_mixed(dtype, argument, shape, leads, call):
    other = np.float32 if dtype == np.float64 else np.float64
    bad = goods(other)(*shape)
    if argument in ("z", "x"):
        pytest.skip("an argument alone meets no other type")
    with pytest.raises(TypeError, match="float32") as raised:
        call(bad, goods(dtype))
    assert "float64" in str(raised.value)
    assert leads or str(raised.value).startswith(argument + " is ")


class Lent:
    """An array behind __dlpack__ alone, as a tensor of another library."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


FIT = {
    "Fortran": lambda a: a.copy("F"),
    "strided": strided,
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "read-only": read_only,
    "matrix": lambda a: np.array(a).view(type("Sub", (np.ndarray,), {})),
    "__array__": Disguised,
    "__dlpack__": Lent,
}


@reading
@pytest.mark.parametrize("kind", FIT)
def test_what_is_read_comes_in_any_layout(dtype, argument, shape, leads, call, kind):
    good = goods(dtype)
    given_ = FIT[kind](good(*shape))
    before = picture(None, getattr(given_, "array", given_))
    assert bits(call(given_, good)) == bits(call(good(*shape), good))
    assert picture(None, getattr(given_, "array", given_)) == before


@reading
def test_lists_and_integers_are_float64_or_the_type_they_meet(dtype, argument, shape, leads, call):
    if leads and dtype == np.float32:
        pytest.skip("a list that leads is float64, and does not meet float32")
    good = goods(dtype)
    plain = good(*shape)
    expected = bits(call(plain, good))
    assert bits(call(plain.tolist(), good)) == expected
    assert bits(call(tuple(plain.tolist()), good)) == expected
    whole = (plain > 0.5).astype(dtype)
    for kind in (bool, np.int8, np.uint64, ">i4"):
        assert bits(call(whole.astype(kind), good)) == bits(call(whole, good))


@given(reals(), st.sampled_from(["relu", "sigmoid", "tanh"]))
def test_ufuncs_take_what_numpy_s_take(array, name):
    ufunc = getattr(gd, name)
    expected = ufunc(array)
    assert expected.dtype == array.dtype
    for kind in ("swapped", "misaligned"):
        assert np.array_equal(ufunc(UNFIT[kind][0](array)), expected, equal_nan=True)
    masked = ufunc(np.ma.masked_array(np.atleast_1d(array), mask=True))
    assert masked.mask.all()
    for kind in ("float16", "longdouble", "complex", "object", "text", "dates", "structured"):
        with pytest.raises(TypeError):
            ufunc(UNFIT[kind][0](array))


LABELS = [
    ([0, 1, 2, 3], ValueError, "class number 3"),
    ([0, 1, -1, 2], ValueError, "class number -1"),
    ([0, 1, 2, 2**40], ValueError, "class number"),
    (np.array([0, 1, 2, 2**63], np.uint64), ValueError, "class number"),
    ([0, 1, 2, 0.5], ValueError, "0.5"),
    ([0, 1, 2, np.nan], ValueError, "nan"),
    ([0, 1, 2, np.inf], ValueError, "inf"),
    ([0, 1, 2, 1e300], ValueError, "1e"),
    (np.zeros(4, np.float16), TypeError, "float16"),
    (["0"] * 4, TypeError, "<U1"),
    (np.ma.zeros(4, int), TypeError, "masked"),
    ([0, 1, 2], ValueError, "shape"),
    ([[0, 1], [2, 0]], ValueError, "shape"),
    (0, ValueError, "shape"),
]


@pytest.mark.parametrize(("labels", "error", "found"), LABELS)
def test_labels_are_refused_by_name(dtype, labels, error, found):
    scores = goods(dtype)(4, 3)
    loss = gd.losses.sparse_categorical_crossentropy
    refused(lambda: loss(labels, scores), error, "y_true", found)
    W, X = goods(dtype)(2, 3), goods(dtype)(4, 2)
    refused(lambda: gd.linear_value_and_grad(X, labels, W, [0.0] * 3, loss), error, "y_true", found)


@pytest.mark.parametrize("kind", [int, np.uint8, ">i4", np.float32, float, list])
def test_labels_of_any_whole_type(dtype, kind):
    labels, scores = np.array([0, 2, 1, 2]), goods(dtype)(4, 3)
    loss = gd.losses.sparse_categorical_crossentropy
    given_ = labels.tolist() if kind is list else labels.astype(kind)
    assert loss(given_, scores) == loss(labels[:, None], scores) == loss(labels, scores)


# ---- Where results go ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(set(NO_TARGET) - {"None"}))
@pytest.mark.parametrize("name", ["out", "z_out"])
def test_dense_refuses_a_target(dtype, kind, name):
    good = goods(dtype)
    arrays = {"X": good(4, 2), "W": good(2, 3), "b": good(3), "bad": NO_TARGET[kind][0](good(4, 3))}
    before = picture(None, arrays)
    with pytest.raises(NO_TARGET[kind][1] if kind != "repeated" else ValueError) as raised:
        gd.dense(arrays["X"], arrays["W"], arrays["b"], **{name: arrays["bad"]})
    assert str(raised.value).startswith(name + " ")
    assert picture(None, arrays) == before


def test_dense_writes_only_into_memory_of_its_own():
    memory = np.arange(40.0)
    X, W, b = memory[:8].reshape(4, 2), memory[8:14].reshape(2, 3), memory[14:17]
    for start in (0, 7, 8, 13, 14, 16):
        before = memory.copy()
        with pytest.raises(ValueError, match=r"^out shares memory with [XWb];"):
            gd.dense(X, W, b, out=memory[start : start + 12].reshape(4, 3))
        assert (memory == before).all()
    out, z = memory[17:29].reshape(4, 3), memory[28:40].reshape(4, 3)
    with pytest.raises(ValueError, match=r"^z_out shares memory with out;"):
        gd.dense(X, W, b, out=out, z_out=z)
    expected = X @ W + b
    assert gd.dense(X, W, b, out=out) is out
    assert np.allclose(out, expected, rtol=1e-15)
    nothing = gd.dense(X[:0], W, b, out=W[1:1])
    assert nothing.shape == (0, 3)


# ---- Floating-point status -----------------------------------------------------------------------


def test_nothing_warns_and_nothing_is_left_in_the_status_word():
    """IEEE 754's exceptions are no errors of plain functions (and float casts overflow quietly)."""
    odd = np.array([0.0, -0.0, 5e-324, 1e308, -1e308, np.inf, -np.inf, np.nan])
    with np.errstate(all="raise"):
        for name in gd.activations.names():
            gd.activations.get(name)(odd)
            gd.activations.get(name).grad(odd, odd, odd)
        for row in _core.LOSSES:
            paired = row["kind"] == "paired"
            labels = {"sparse": [0], "paired": odd[::2]}.get(row["kind"], odd[None, ::-1])
            loss = gd.losses.get(row["name"].removesuffix("_from_logits"))
            loss.value_and_grad(labels, odd.reshape(4, 2) if paired else odd[None])
        gd.softmax(odd)
        gd.dense(odd[None], odd[:, None])
        gd.dense_grad(odd[:, None], odd[:, None], odd[:1, None])
        gd.clip_by_global_norm([odd.copy()], 1e-300)
        for optimizer in OPTIMIZERS.values():
            w = odd.copy()
            new(type(optimizer).__name__).step(w, odd[::-1].copy())
        gd.SGD().step(np.ones(1, np.float32), 1e300)
        assert np.sqrt(np.float64(4)) + np.float32(1) * np.float32(2) == 4
