"""A user's activations and losses as programs: values, gradients, chunks of rows, what is kept."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies

import gdcore as gd
from gdcore._network_functions import activation_programs, loss_programs
from gdcore._network_rows import is_rowwise, row_counts
from gdcore._network_traces import Given, Kind, Trace
from gdcore.autodiff import UntraceableError

K = 4  # classes
WEIGHTS = np.array([0.5, 2.0, 1.0, 3.0])
MATRIX = np.random.default_rng(3).normal(size=(3, 3))


def close(dtype):
    return {"rtol": 1e-12, "atol": 1e-12} if dtype == np.float64 else {"rtol": 2e-5, "atol": 2e-6}


def forward(made, z):
    (y,) = made.forward.run([z, *made.arrays()])
    return y


def backward(made, z, dy):
    (dz,) = made.backward.run([z, dy, *made.arrays()])
    return dz


def losses_of(made, y_true, y_pred, cotangent):
    dtype = y_pred.dtype
    cotangent = np.asarray(cotangent, dtype)
    return made.program.run([y_true.astype(dtype), y_pred, cotangent, *made.arrays()])


# ---- Activations ---------------------------------------------------------------------------------


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def by_columns(z):
    return np.stack([np.sin(z[:, j]) * (j + 1) for j in range(z.shape[1])], axis=1)


ROWWISE = {
    "swish": lambda z: z / (1 + np.exp(-z)),
    "ufunc": np.tanh,
    "own": gd.sigmoid,
    "softmax": softmax,
    "own softmax": lambda z: gd.softmax(z),
    "where": lambda z: np.where(z > 0, z, 0.1 * z),
    "mask": lambda z: z * (z > 0),
    "zeros": lambda z: np.maximum(z, np.zeros_like(z)),
    "column of zeros": lambda z: np.where(z > 0, z, np.full((len(z), 1), -0.5)),
    "integers": lambda z: z * np.arange(3),
    "matmul": lambda z: np.tanh(z @ MATRIX),
    "mean of each row": lambda z: z - z.mean(axis=-1)[:, None],
    "two transposes": lambda z: (z.T / (1 + np.sum(z * z, axis=1))).T,
    "in a row": lambda z: (z.ravel() ** 2).reshape(z.shape),
    "axis ahead": lambda z: (z[None] * 2)[0],
    "outer product": lambda z: (z[:, :, None] * z[:, None, :] @ MATRIX).mean(axis=2),
    "quadratic form": lambda z: z * np.einsum("ni,ij,nj->n", z, MATRIX, z)[:, None],
    "moved columns": lambda z: np.roll(z, 1, axis=1)[:, ::-1],
    "picked columns": lambda z: np.take(z, [2, 0, 1], axis=1),
    "columns": by_columns,
    "padded": lambda z: np.pad(z, ((0, 0), (1, 0)))[:, :3],
    "identity": lambda z: z,
    "steps": lambda z: z > 0,
}
MIXED = {
    "mean of all rows": lambda z: z - z.mean(axis=0),
    "reversed": lambda z: z[::-1],
    "softmax of columns": lambda z: gd.softmax(z, axis=0),
    "products of rows": lambda z: (z @ z.T) @ z / 100,
    "rolled": lambda z: np.roll(z, 1, axis=0),
    "first row": lambda z: z - z[0],
    "flat sum": lambda z: z / (1 + np.abs(z).ravel().sum()),
    "number of rows": lambda z: z / len(z),
    "number of rows in an array": lambda z: z * np.full(3, 1 / len(z)),
    "number of rows among others": lambda z: z * (np.arange(3) / len(z)),
    "positions": lambda z: z * np.arange(len(z))[:, None],
    "repeated and summed": lambda z: (
        z + np.broadcast_to(z[:, None, :], (len(z), len(z), 3)).sum(axis=1)
    ),
    "pairs of rows": lambda z: np.abs(z[:, None, :] - z[None]).mean(axis=1),
    "joined rows": lambda z: np.concatenate([z[1:], z[:1]]),
    "doubled rows": lambda z: np.concatenate([z, z]).reshape(len(z), 2, 3).mean(axis=1),
    "other order": lambda z: z.T.reshape(z.shape),
    "picked rows": lambda z: np.take(z, np.arange(len(z))[::-1], axis=0),
    "running sums": lambda z: np.stack([z[: i + 1].sum(axis=0) for i in range(len(z))]) / len(z),
}
ACTIVATIONS = {**ROWWISE, **MIXED}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_gradients_of_activations(name, rng, dtype):
    f = ACTIVATIONS[name]
    z, dy = (rng.normal(size=(7, 3)).astype(dtype) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MATRIX is float64
        made = activation_programs(f, 7, 3, dtype)
        expected = gd.grad(lambda z: np.sum(f(z) * dy))(z)
    y, dz = forward(made, z), backward(made, z, dy)
    for array in (y, dz):
        assert array.dtype == dtype
        assert array.flags.c_contiguous
    np.testing.assert_allclose(y, f(z), **close(dtype))
    np.testing.assert_allclose(dz, expected, **close(dtype))


@pytest.mark.parametrize("name", ["swish", "softmax", "matmul", "two transposes", "pairs of rows"])
def test_gradients_of_activations_by_finite_differences(name, rng):
    f = ACTIVATIONS[name]
    z, dy, step = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), 1e-6
    dz = backward(activation_programs(f, 5, 3, np.float64), z, dy)
    for at in np.ndindex(z.shape):
        moved = np.zeros_like(z)
        moved[at] = step
        slope = np.sum((f(z + moved) - f(z - moved)) * dy) / (2 * step)
        assert dz[at] == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("name", ROWWISE)
def test_rowwise_activations_may_be_run_in_chunks(name, rng):
    f = ROWWISE[name]
    z, dy = rng.normal(size=(600, 3)), rng.normal(size=(600, 3))
    whole = activation_programs(f, 600, 3, np.float64)
    assert whole.rowwise
    y, dz = forward(whole, z), backward(whole, z, dy)
    for start in range(0, 600, 256):
        rows = slice(start, min(start + 256, 600))
        made = activation_programs(f, rows.stop - start, 3, np.float64)
        assert made.rowwise
        np.testing.assert_allclose(forward(made, z[rows]), y[rows], rtol=1e-12)
        found = backward(made, z[rows], dy[rows])
        np.testing.assert_allclose(found, dz[rows], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", MIXED)
def test_what_mixes_rows_is_seen(name):
    for rows in (1, 3, 7):
        assert not activation_programs(MIXED[name], rows, 3, np.float64).rowwise


def test_arrays_of_the_length_of_the_batch_are_seen(rng):
    each, one = rng.normal(size=(5, 1)), rng.normal(size=(1, 3))
    z = rng.normal(size=(5, 3))
    made = activation_programs(lambda z: z * each, 5, 3, np.float64)
    assert not made.rowwise
    np.testing.assert_allclose(forward(made, z), z * each)
    made = activation_programs(lambda z: z * one, 5, 3, np.float64)
    assert made.rowwise
    np.testing.assert_allclose(forward(made, z), z * one)
    # lengths at which functions are tried, behind an attribute where they are not looked for
    shape = (*row_counts(set()), 3)
    holder = type("Holder", (), {"big": rng.normal(size=shape)})()
    assert not activation_programs(lambda z: z + holder.big[0, : len(z)], 5, 3, float).rowwise


# ---- The rule of rows, for compositions of everything --------------------------------------------

N = 11
STEPS = {
    "flip": lambda x: x[::-1],
    "T": lambda x: x.T,
    "flat": lambda x: x.ravel(),
    "ahead": lambda x: x[None],
    "behind": lambda x: x[..., None],
    "rows first": lambda x: x.reshape(N, -1) if x.size % N == 0 else x,
    "rows last": lambda x: x.reshape(-1, N) if x.size % N == 0 else x,
    "keep": lambda x: x * np.sum(x, axis=0, keepdims=True),
    "sum": lambda x: np.sum(x, axis=-1) if x.ndim > 1 else x,
    "first": lambda x: np.max(x, axis=0) if x.ndim > 1 else x,
    "part": lambda x: x[..., :2],
    "skip": lambda x: x[..., ::2] + x[..., :1],
    "twice": lambda x: np.concatenate([x, x * x], axis=-1),
    "below": lambda x: np.concatenate([x, x + 1], axis=0),
    "gram": lambda x: x @ x.T if x.ndim == 2 else x,
    "product": lambda x: x.T @ x if x.ndim == 2 else x,
    "matrix": lambda x: x @ np.ones((x.shape[-1], 2)),
    "softmax": lambda x: np.exp(x - x.max(axis=-1, keepdims=True)) if x.ndim else x,
    "pairs": lambda x: np.sum(x[:, None] - x[None], axis=0),
    "full": lambda x: x + np.ones(x.shape[-1]),
    "swap": lambda x: np.swapaxes(x, 0, -1),
    "take": lambda x: np.take(x, [0, x.shape[-1] - 1], axis=-1),
    "turn": lambda x: np.roll(x, 1, axis=-1),
    "tanh": np.tanh,
}


def follows_rows(f, z):
    """What the rule says of a function of z."""
    trace = Trace(f, Kind("activation", (Given(z.shape[1:], z.dtype),), z.dtype), [z])
    return is_rowwise(trace.tape.instructions, {0}, trace.out.id, N)


# One trace does not tell what the function makes for its number of rows from other arrays.
OWN_ARRAYS = ("number of rows", "positions", "zeros")
FOLLOWED = [name for name in ACTIVATIONS if not any(word in name for word in OWN_ARRAYS)]


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_rule_alone(name):
    assert follows_rows(ACTIVATIONS[name], np.ones((N, 3))) is (name in ROWWISE)


@settings(max_examples=400)
@given(strategies.lists(strategies.sampled_from(sorted(STEPS)), min_size=1, max_size=6))
def test_a_function_that_is_called_rowwise_is(names):
    def f(z):
        for name in names:
            z = STEPS[name](z)
        return z

    z = np.random.default_rng(0).normal(size=(N, 3))
    if f(z).size > 20_000 or f(z).ndim > 8:
        return
    if not follows_rows(f, z):
        return
    for row in range(N):
        other = z.copy()
        other[row] += 1
        kept = np.arange(N) != row
        np.testing.assert_allclose(f(other)[kept], f(z)[kept], rtol=1e-10, atol=1e-10)


def test_numbers_of_rows_for_trials_divide_no_other_axis():
    assert row_counts(set()) == (1009, 1013)
    assert row_counts({2 * 1009, 0, 7}) == (1013, 1019)


# ---- Losses --------------------------------------------------------------------------------------


def log_softmax(z):
    z = z - np.max(z, axis=1, keepdims=True)
    return z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))


def huber(y_true, y_pred):
    d = np.abs(y_pred - y_true)
    return np.mean(np.where(d < 1, d * d / 2, d - 0.5), axis=-1)


def one_hot(y_true, y_pred):
    return -np.sum((y_true[:, None] == np.arange(K)) * log_softmax(y_pred), axis=1)


def balanced(y_true, y_pred):
    chosen = y_true[:, None] == np.arange(K)
    return (chosen @ WEIGHTS) * one_hot(y_true, y_pred)


def own_sparse(y_true, y_pred):
    loss = gd.losses.get("sparse_categorical_crossentropy", from_logits=True, reduction="none")
    return loss(y_true, y_pred)


REALS = {  # of targets like predictions
    "squares": lambda t, p: np.mean((p - t) ** 2, axis=1),
    "column": lambda t, p: np.sum(np.abs(p - t), axis=1, keepdims=True),
    "huber": huber,
    "own": lambda t, p: gd.losses.get("log_cosh", reduction="none")(t, p).sum(axis=1),
}
CLASSES = {  # of class numbers
    "one-hot": one_hot,
    "balanced": balanced,
    "weighted": lambda t, p: np.take_along_axis(WEIGHTS, t, axis=0) * one_hot(t, p),
    "along": lambda t, p: -np.take_along_axis(log_softmax(p), t[:, None], axis=1),
    "along flat": lambda t, p: np.take_along_axis(p, t + K * np.arange(len(t)), axis=None),
    "fancy": lambda t, p: -log_softmax(p)[np.arange(len(t)), t],
    "own": own_sparse,
    "as numbers": lambda t, p: (t - p[:, 0]) ** 2,
}
SCALARS = {
    "mean": lambda t, p: np.mean((p - t) ** 2),
    "own": lambda t, p: gd.losses.mse(t, p),
    "keepdims": lambda t, p: np.sum((p - t) ** 2, keepdims=True),
    "spread": lambda t, p: np.var(p - t) + p[0, 0],
    "constant": lambda t, p: 3.0,
}


def check_loss(f, made, y_true, y_pred, cotangent, dtype):
    """Against the function on arrays and its traced gradient, both in float64."""
    losses, d_pred = losses_of(made, y_true, y_pred.astype(dtype), cotangent)
    exact = y_pred.astype(dtype).astype(np.float64)
    y_true = y_true.astype(np.float64) if y_true.dtype.kind == "f" else y_true
    np.testing.assert_allclose(losses, np.reshape(f(y_true, exact), losses.shape), **close(dtype))
    assert losses.dtype == d_pred.dtype == dtype
    assert losses.shape == (() if made.scalar else (len(y_pred),))

    def total(p):
        return np.sum(np.reshape(f(y_true, p), losses.shape) * cotangent)

    np.testing.assert_allclose(d_pred, gd.grad(total)(exact), **close(dtype))


@pytest.mark.parametrize("name", REALS)
def test_losses_of_reals(name, rng, dtype):
    y_true, y_pred = (rng.normal(size=(6, 2)).astype(dtype) for _ in range(2))
    made = loss_programs(REALS[name], 6, (2,), 2, np.float64, dtype)
    assert (made.scalar, made.rowwise) == (False, True)
    check_loss(REALS[name], made, y_true, y_pred, rng.uniform(size=6), dtype)


@pytest.mark.parametrize("kind", ["i8", "i4", "u1"])
@pytest.mark.parametrize("name", CLASSES)
def test_losses_of_class_numbers(name, kind, rng, dtype):
    y_true, y_pred = rng.integers(0, K, 6), rng.normal(size=(6, K))
    made = loss_programs(CLASSES[name], 6, (), K, kind, dtype)
    assert (made.scalar, made.rowwise) == (False, name != "along flat")
    check_loss(CLASSES[name], made, y_true, y_pred, rng.uniform(size=6), dtype)


@pytest.mark.parametrize("name", SCALARS)
def test_scalar_losses(name, rng, dtype):
    y_true, y_pred = (rng.normal(size=(6, 2)).astype(dtype) for _ in range(2))
    made = loss_programs(SCALARS[name], 6, (2,), 2, dtype, dtype)
    assert (made.scalar, made.rowwise) == (True, False)
    check_loss(SCALARS[name], made, y_true, y_pred, np.array(0.7), dtype)


def test_gradients_of_losses_by_hand(rng):
    y_true, y_pred, c = rng.integers(0, K, 6), rng.normal(size=(6, K)), rng.uniform(size=6)
    _, d_pred = losses_of(loss_programs(one_hot, 6, (), K, int, float), y_true, y_pred, c)
    expected = (softmax(y_pred) - np.eye(K)[y_true]) * c[:, None]
    np.testing.assert_allclose(d_pred, expected, rtol=1e-12, atol=1e-14)
    y_true = rng.normal(size=(6, K))
    made = loss_programs(REALS["squares"], 6, (K,), K, float, float)
    losses, d_pred = losses_of(made, y_true, y_pred, c)
    np.testing.assert_allclose(losses, np.mean((y_pred - y_true) ** 2, axis=1))
    np.testing.assert_allclose(d_pred, 2 / K * (y_pred - y_true) * c[:, None])


@pytest.mark.parametrize("f", [huber, one_hot, CLASSES["fancy"]])
def test_losses_in_chunks(f, rng):
    of_classes = f is not huber
    y_true = rng.integers(0, K, 600) if of_classes else rng.normal(size=(600, K))
    tail = () if of_classes else (K,)
    y_pred, c = rng.normal(size=(600, K)), rng.uniform(size=600)
    whole = losses_of(loss_programs(f, 600, tail, K, y_true.dtype, float), y_true, y_pred, c)
    for start in range(0, 600, 256):
        rows = slice(start, min(start + 256, 600))
        made = loss_programs(f, rows.stop - start, tail, K, y_true.dtype, float)
        parts = losses_of(made, y_true[rows], y_pred[rows], c[rows])
        for part, all_rows in zip(parts, whole, strict=True):
            np.testing.assert_allclose(part, all_rows[rows], rtol=1e-12, atol=1e-15)


def test_losses_that_mix_rows_are_seen(rng):
    each = rng.uniform(size=6)
    for f in (
        lambda t, p: np.mean((p - t) ** 2, axis=1) / len(t),
        lambda t, p: np.mean((p - p.mean(axis=0)) ** 2, axis=1),
        lambda t, p: np.mean((p - t[::-1]) ** 2, axis=1),
        lambda t, p: np.mean((p - t) ** 2, axis=1) * each,
    ):
        made = loss_programs(f, 6, (2,), 2, float, float)
        assert (made.scalar, made.rowwise) == (False, False)
        y_true, y_pred = (rng.normal(size=(6, 2)) for _ in range(2))
        check_loss(f, made, y_true, y_pred, rng.uniform(size=6), np.float64)


@pytest.mark.parametrize(
    ("tail", "outputs", "wanted"),
    [
        ((), 1, (5, 1)),
        ((1,), 1, (5, 1)),
        ((1, 3), 3, (5, 3)),
        ((3, 1), 3, (5, 3)),
        ((), 3, (5,)),
        ((1,), 3, (5, 1)),
        ((3,), 1, (5, 3)),
        ((2, 3), 6, (5, 2, 3)),
    ],
)
def test_shapes_of_targets(tail, outputs, wanted):
    seen = []

    def f(y_true, y_pred):
        seen.append((y_true.shape, y_pred.shape))
        return np.mean(y_pred, axis=1)

    loss_programs(f, 5, tail, outputs, float, float)
    assert seen[-1] == (wanted, (5, outputs))


def test_types_of_targets(dtype):
    seen = []

    def f(y_true, y_pred):
        seen.append(y_true.dtype)
        return np.where(y_true > 0, y_pred, 0.0).sum(axis=1)

    pairs = {"f8": dtype, "f4": dtype, "f2": dtype, "i4": "i8", "u1": "i8", "?": "?"}
    for found, wanted in pairs.items():
        made = loss_programs(f, 3, (), 1, found, dtype)
        assert seen[-1] == wanted
        y_true, y_pred = np.array([[0.0], [1.0], [1.0]]), np.full((3, 1), 2, dtype)
        losses, d_pred = losses_of(made, y_true, y_pred, np.ones(3))
        assert losses.tolist() == [0, 2, 2]
        assert d_pred.tolist() == [[0], [1], [1]]
    with pytest.raises(TypeError, match="y is complex128"):
        loss_programs(f, 3, (), 1, complex, dtype)


def test_one_row(rng):
    squeezed = lambda t, p: np.squeeze((p - t) ** 2)  # noqa: E731
    for f in (squeezed, REALS["squares"], REALS["column"], huber):
        made = loss_programs(f, 1, (1,), 1, float, float)
        assert (made.scalar, made.rowwise) == (False, True)
        losses, _ = losses_of(made, np.ones((1, 1)), np.zeros((1, 1)), np.ones(1))
        assert losses.shape == (1,)
    made = loss_programs(SCALARS["mean"], 1, (1,), 1, float, float)
    assert made.scalar
    # what fails at other numbers of rows
    made = loss_programs(lambda t, p: np.sum(p, axis=1).reshape(1), 1, (1,), 1, float, float)
    assert not made.scalar
    each = rng.uniform(size=6)
    assert loss_programs(lambda t, p: np.sum(p, axis=1) @ each, 6, (1,), 1, float, float).scalar


# ---- Class numbers as positions ------------------------------------------------------------------


def test_class_numbers_count_back_or_give_nan():
    y_true, y_pred = np.array([-1, 4, 2, -5]), np.arange(16.0).reshape(4, 4)
    made = loss_programs(CLASSES["fancy"], 4, (), 4, int, float)
    losses, _ = losses_of(made, y_true, y_pred, np.ones(4))
    assert losses[0] == pytest.approx(-log_softmax(y_pred)[0, -1])
    assert np.isfinite(losses).tolist() == [True, False, True, False]
    made = loss_programs(own_sparse, 4, (), 4, int, float)
    assert np.isnan(losses_of(made, y_true, y_pred, np.ones(4))[0][1])


def test_infinite_entries_of_other_classes_are_no_matter():
    made = loss_programs(CLASSES["along"], 2, (), 2, int, float)
    y_pred = np.array([[0.0, -np.inf], [0.0, 1.0]])
    losses, _ = losses_of(made, np.array([0, 1]), y_pred, np.ones(2))
    assert losses.tolist() == pytest.approx([0.0, np.log1p(np.exp(-1))])


def test_arrays_from_elsewhere_are_looked_up(rng, dtype):
    table, y_true = rng.normal(size=(K, 3)), rng.integers(0, K, 6)

    def f(t, p):
        rows = np.take_along_axis(table, t[:, None], axis=0)
        also = np.take_along_axis(p, np.stack([t, t - 1], axis=1), axis=1)
        return np.sum(rows, axis=1) * np.sum(also, axis=1)

    made = loss_programs(f, 6, (), K, int, dtype)
    assert made.rowwise
    check_loss(f, made, y_true, rng.normal(size=(6, K)), rng.uniform(size=6), dtype)


@pytest.mark.parametrize(
    "f",
    [
        lambda t, p: np.sum(np.eye(K)[t] * p, axis=1),
        lambda t, p: np.take(WEIGHTS, t) * p[:, 0],
        lambda t, p: np.take(p, t, axis=1),
        lambda t, p: p[:, t],
        lambda t, p: p[t],
        lambda t, p: p[np.arange(len(t))[::-1], t],
    ],
)
def test_positions_that_are_not_followed_name_the_way_out(f):
    with pytest.raises(UntraceableError, match=r"take_along_axis.*one-hot.*@ table"):
        loss_programs(f, 6, (), K, int, float)


def test_positions_of_another_number_of_axes_are_refused():
    with pytest.raises(ValueError, match=r"same number of dimensions.*\[:, None\]"):
        loss_programs(lambda t, p: np.take_along_axis(p, t, axis=1), 6, (), K, int, float)


# ---- What a program reads ------------------------------------------------------------------------


def inputs(program):
    """{slot: (shape, strides in elements)} of a program's inputs."""
    rows = [row for row in program.listing() if row[1] in ("input", "indices")]
    return {int(row[6][0]): (row[4], tuple(map(int, row[6][1:]))) for row in rows}


def test_slots_and_strides(rng, dtype):
    w, turned = rng.normal(size=3).astype(dtype), rng.normal(size=(3, 3)).astype(dtype).T
    made = activation_programs(lambda z: np.tanh(z * w) @ turned, 5, 3, dtype)
    assert made.captured[0] is w
    assert made.captured[1] is turned
    assert made.arrays()[1] is turned
    assert inputs(made.forward) == {0: ((5, 3), (3, 1)), 1: ((3,), (1,)), 2: ((3, 3), (1, 3))}
    expected = {0: ((5, 3), (3, 1)), 1: ((5, 3), (3, 1)), 2: ((3,), (1,)), 3: ((3, 3), (1, 3))}
    assert inputs(made.backward) == expected


def test_slots_of_losses(rng, dtype):
    w = rng.normal(size=3).astype(dtype)
    made = loss_programs(lambda t, p: np.sum((p - t) ** 2 * w, axis=1), 5, (3,), 3, dtype, dtype)
    each = ((5, 3), (3, 1))
    assert inputs(made.program) == {0: each, 1: each, 2: ((5,), (1,)), 3: ((3,), (1,))}
    assert made.captured[0] is w
    made = loss_programs(SCALARS["mean"], 5, (3,), 3, dtype, dtype)
    assert inputs(made.program) == {0: each, 1: each, 2: ((), ())}
    made = loss_programs(one_hot, 5, (), K, int, dtype)
    assert inputs(made.program)[0] == ((5,), (1,))
