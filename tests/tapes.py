"""Random tapes of instructions, and their arrays, for the tests of programs."""

import numpy as np

from gdcore import _core

OPS = {row["name"]: number for number, row in enumerate(_core.INSTRUCTIONS)}
UNARY = ("negative", "absolute", "square", "sqrt", "exp", "tanh", "sin", "sigmoid", "floor", "sign")
BINARY = ("add", "subtract", "multiply", "maximum", "minimum", "less")
SHAPES = ((), (3,), (4, 3), (2, 4, 3), (1, 3), (4, 1), (0, 3), (600,), (5, 300), (9000,), (3, 5000))
MOST = 200_000  # elements of one value


def strides(array):
    return tuple(s // array.itemsize for s in array.strides)


class Tape:
    """Instructions as `_core.Program` takes them; `info` has (name, real, shape) of each."""

    def __init__(self):
        self.instructions, self.arrays, self.info = [], [], []

    def emit(self, name, real, shape, operands=(), params=()):
        shape = tuple(int(n) for n in shape)
        self.instructions.append((OPS[name], real, shape, tuple(operands), tuple(params)))
        self.info.append((name, real, shape))
        return len(self.info) - 1

    def input(self, array):
        self.arrays.append(array)
        params = (len(self.arrays) - 1, *strides(array))
        return self.emit("input", array.itemsize, array.shape, (), params)

    def indices(self, array):
        self.arrays.append(np.asarray(array, np.int64))
        return self.emit("indices", 8, (len(array),), (), (len(self.arrays) - 1,))

    def constant(self, value, real):
        return self.emit("constant", real, (), (), (value,))

    def values(self):
        return [i for i, (name, _, _) in enumerate(self.info) if name != "indices"]


def _common(a, b):
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


def _unary(tape, i, r):
    _, real, shape = tape.info[i]
    tape.emit(r.choice(UNARY), real, shape, (i,))


def _binary(tape, i, r):
    _, real, shape = tape.info[i]
    others = [
        j for j in tape.values() if tape.info[j][1] == real and _common(shape, tape.info[j][2])
    ]
    if not others:
        return
    j = r.choice(others)
    common = _common(shape, tape.info[j][2])
    if np.prod(common) > MOST or len(common) > 6:
        return
    pair = [
        k if tape.info[k][2] == common else tape.emit("expand", real, common, (k,)) for k in (i, j)
    ]
    tape.emit(r.choice(BINARY), real, common, pair)


def _cast(tape, i, r):
    _, real, shape = tape.info[i]
    tape.emit("cast", 12 - real, shape, (i,))


def _transpose(tape, i, r):
    _, real, shape = tape.info[i]
    axes = list(range(len(shape)))
    r.shuffle(axes)
    tape.emit("transpose", real, [shape[a] for a in axes], (i,), axes)


def _reshape(tape, i, r):
    _, real, shape = tape.info[i]
    made = [int(np.prod(shape))]
    for factor in (2, 3, 5):
        if made[-1] > 1 and made[-1] % factor == 0 and r.random() < 0.5:
            made[-1:] = [factor, made[-1] // factor]
    tape.emit("reshape", real, made, (i,))


def _reduce(tape, i, r):
    _, real, shape = tape.info[i]
    if not shape:
        return
    axes = sorted(r.sample(range(len(shape)), r.randint(1, len(shape))))
    name = r.choice(("sum", "sum", "prod") + (("max", "min") if np.prod(shape) else ()))
    tape.emit(name, real, [n for a, n in enumerate(shape) if a not in axes], (i,), axes)


def _slice(tape, i, r):
    _, real, shape = tape.info[i]
    starts, steps, made = [], [], []
    for n in shape:
        step = r.choice((1, 1, -1, 2)) if n else 1
        length = r.randint(1, (n - 1) // abs(step) + 1) if n else 0
        start = r.randint(0, max(n - 1 - (length - 1) * abs(step), 0)) if n else 0
        starts.append(start + (length - 1) * abs(step) if step < 0 else start)
        steps.append(step)
        made.append(length)
    tape.emit("slice", real, made, (i,), starts + steps)


def _embed(tape, i, r):
    _, real, shape = tape.info[i]
    starts = [r.randint(0, 2) for _ in shape]
    steps = [r.choice((1, 1, 2)) for _ in shape]
    made = [
        s + max(n - 1, 0) * k + 1 + r.randint(0, 2)
        for s, k, n in zip(starts, steps, shape, strict=True)
    ]
    if np.prod(made) <= MOST:
        tape.emit("embed", real, made, (i,), starts + steps)


def _concatenate(tape, i, r):
    _, real, shape = tape.info[i]
    if not shape:
        return
    axis = r.randrange(len(shape))

    def fits(other):
        return len(other) == len(shape) and all(
            k == axis or a == b for k, (a, b) in enumerate(zip(other, shape, strict=True))
        )

    others = [j for j in tape.values() if tape.info[j][1] == real and fits(tape.info[j][2])]
    parts = [i, *(r.choice(others) for _ in range(2))]
    made = list(shape)
    made[axis] = sum(tape.info[j][2][axis] for j in parts)
    if np.prod(made) <= MOST:
        tape.emit("concatenate", real, made, parts, (axis,))


def _matmul(tape, i, r):
    _, real, shape = tape.info[i]
    if len(shape) != 2:
        return
    fits = [
        j
        for j in tape.values()
        if tape.info[j][1] == real and len(tape.info[j][2]) == 2 and tape.info[j][2][0] == shape[1]
    ]
    if not fits or r.random() < 0.5:
        fits = [tape.emit("transpose", real, shape[::-1], (i,), (1, 0))]
    j = r.choice(fits)
    made = (shape[0], tape.info[j][2][1])
    if np.prod(made) <= MOST:
        tape.emit("matmul", real, made, (i, j))


def _gather(tape, i, r):
    _, real, shape = tape.info[i]
    if not shape or not np.prod(shape):
        return
    axis, count = r.randrange(len(shape)), r.randint(1, 6)
    places = tape.indices([r.randrange(shape[axis]) for _ in range(count)])
    made = [*shape[:axis], count, *shape[axis + 1 :]]
    found = tape.emit("gather", real, made, (i, places), (axis,))
    tape.emit("scatter", real, shape, (found, places), (axis,))


MAKERS = (_unary, _unary, _binary, _binary, _binary, _cast, _transpose, _reshape, _reduce, _slice)
MAKERS += (_embed, _concatenate, _matmul, _gather)


def random_tape(r, length):
    """A tape of about that many instructions, made by a random.Random, and numbers of outputs."""
    tape = Tape()
    numbers = np.random.default_rng(r.randrange(2**32))
    for _ in range(4):
        dtype = r.choice((np.float32, np.float64))
        array = np.asarray(numbers.normal(size=r.choice(SHAPES)).astype(dtype))
        if array.ndim == 2 and r.random() < 0.4:
            array = np.asfortranarray(array)
        tape.input(array)
    tape.constant(1.0, 8)
    tape.constant(0.3, 4)
    for _ in range(length):
        recent = [i for i in tape.values() if i >= len(tape.info) - 6]
        i = r.choice(tape.values() if r.random() < 0.5 else recent or tape.values())
        maker = _reduce if np.prod(tape.info[i][2]) > 40_000 else r.choice(MAKERS)
        maker(tape, i, r)
    outputs = [r.choice(tape.values()) for _ in range(4)]
    return tape, [*outputs, tape.values()[-1]]
