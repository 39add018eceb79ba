"""Networks as lists of stages, data for them, and fits in the core."""

import math
import types

import numpy as np

import gdcore as gd
from gdcore import _core

LOSSES = {row["name"]: (number, row) for number, row in enumerate(_core.LOSSES)}
CROSSENTROPY = "sparse_categorical_crossentropy_from_logits"
LINEAR = gd.activations.linear._spec
# Where activations are saturated, as gdcore._networks hands it over.
SATURATED = {"sigmoid": (0.01, 0.99), "tanh": (-0.98, 0.98), "relu6": (-math.inf, 6.0)}


class Net:
    """Stages as the core takes them, and the arrays that they name."""

    def __init__(self, inputs, dtype=np.float64, seed=0):
        self.rng = np.random.default_rng(seed)
        self.inputs = self.width = inputs
        self.dtype = np.dtype(dtype)
        self.stages, self.params, self.buffers = [], [], []

    def array(self, x):
        self.params.append(np.ascontiguousarray(x, self.dtype))
        return len(self.params) - 1

    def add(self, kind, outputs=None, params=(), spec=(), numbers=()):
        outputs = self.width if outputs is None else outputs
        stage = (kind, self.width, outputs, tuple(params), spec, tuple(map(float, numbers)))
        self.stages.append(stage)
        self.width = outputs
        return self

    def dense(self, units, bias=True):
        W = self.rng.normal(size=(self.width, units)) / math.sqrt(self.width)
        numbers = [self.array(W)]
        if bias:
            numbers.append(self.array(0.1 * self.rng.normal(size=units)))
        return self.add("dense", units, numbers)

    def act(self, name, **params):
        spec = gd.activations.get(name, **params)._spec
        return self.add("activation", spec=spec, numbers=SATURATED.get(name, ()))

    def dropout(self, rate):
        return self.add("dropout", numbers=(rate,))

    def affine(self):
        scale = self.array(1 + 0.2 * self.rng.normal(size=self.width))
        return scale, self.array(0.2 * self.rng.normal(size=self.width))

    def layer_norm(self, epsilon=1e-3):
        return self.add("layer_norm", params=self.affine(), numbers=(epsilon,))

    def batch_norm(self, epsilon=1e-3, momentum=0.9):
        place = len(self.buffers)
        self.buffers.append(self.rng.normal(size=self.width).astype(self.dtype))
        self.buffers.append((0.5 + self.rng.random(self.width)).astype(self.dtype))
        return self.add("batch_norm", params=self.affine(), numbers=(epsilon, momentum, place))

    def fork(self):
        self.add("fork")
        return len(self.stages) - 1

    def join(self, fork):
        return self.add("join", numbers=(fork,))

    def core(self):
        sizes = [tuple(a.size for a in arrays) for arrays in (self.params, self.buffers)]
        return _core.Network(tuple(self.stages), *sizes, self.inputs, self.dtype.itemsize)

    def copy(self):
        """The same stages with arrays of its own."""
        new = Net(self.inputs, self.dtype)
        new.width, new.stages = self.width, list(self.stages)
        new.params = [a.copy() for a in self.params]
        new.buffers = [a.copy() for a in self.buffers]
        return new

    def state(self):
        """All arrays as bytes."""
        return [a.tobytes() for a in (*self.params, *self.buffers)]


def mlp(*widths, dtype=np.float64, act="tanh", seed=0):
    """Dense layers with an activation between them."""
    net = Net(widths[0], dtype, seed)
    for width in widths[1:-1]:
        net.dense(width).act(act)
    return net.dense(widths[-1])


def loss_spec(name, **params):
    """A loss of the table as the core takes it."""
    number, row = LOSSES[name]
    return number, *[float({**row["params"], **params}[key]) for key in row["params"]]


def objective(width, loss="mse", total=False, penalties=None, probability=LINEAR, **params):
    """What a network of that many outputs is trained for, as the core takes it."""
    kind = LOSSES[loss][1]["kind"]
    target = 1 if kind in ("sparse", "paired") else width
    losses = width if kind == "pointwise" else 1
    spec = loss_spec(loss, **params)
    return False, False, spec, total, kind == "sparse", target, losses, probability, penalties


def given(net, X, y=None, weights=None, index=None, goal=None, parts=(), whole=False):
    """What each call of a network is given."""
    return net.params, net.buffers, X, y, weights, index, goal, parts, whole


def data(net, rows, loss="mse", seed=1, dtype=None):
    """X and y for a network and a loss that takes any real prediction."""
    rng = np.random.default_rng(seed)
    dtype = net.dtype if dtype is None else dtype
    X = rng.normal(size=(rows, net.inputs)).astype(dtype)
    kind = LOSSES[loss][1]["kind"]
    if kind == "sparse":
        return X, rng.integers(0, net.width, rows)
    if kind == "paired":
        return X, rng.normal(size=(rows, 1)).astype(dtype)
    if kind == "rowwise":
        return X, np.eye(net.width, dtype=dtype)[rng.integers(0, net.width, rows)]
    return X, rng.integers(0, 2, (rows, net.width)).astype(dtype)


class Fit:
    """One `_core.Trainer`, its settings by name, and what its runs bring."""

    def __init__(self, net, X, y, optimizer=None, *, batch=None, loss="mse", **other):
        settings = {"shuffle": False, "skip": False, "statistics": False, "moves": False}
        settings |= {"key": (3, 4), "threads": 0, "batches": None}
        settings |= {key: other.pop(key) for key in list(other) if key in settings}
        weights, index = other.pop("weights", None), other.pop("index", None)
        parts, whole = other.pop("parts", ()), other.pop("whole", False)
        goal = other.pop("goal", None) or objective(net.width, loss, **other)
        rows = len(X) if index is None else len(index)
        self.net, self.optimizer = net, optimizer
        self.batch = rows if batch is None else batch
        self.batches = settings["batches"] or -(-rows // self.batch)
        self.grads = [np.full_like(p, np.nan) for p in net.params]
        self.given = given(net, X, y, weights, index, goal, parts, whole)
        flags = [settings[key] for key in ("shuffle", "skip", "statistics", "moves")]
        numbers = (self.batch, self.batches, *flags, *settings["key"], settings["threads"])
        self.core = _core.Trainer(
            net.core(), self.given, optimizer, net.params, self.grads, numbers
        )
        self.width, self.often = self.core.sizes()
        self.rows = rows

    def arguments(self, count, order=None, deadline=math.inf, seen=None, rates=None):
        """The arguments of a run; what it writes is kept in `results`."""
        records = count // self.often + 1 if self.often else 0
        ends = (self.core.place()[1] + count) // self.batches
        self.results = types.SimpleNamespace(
            numbers=np.full((3, count), np.nan),
            ends=np.full(ends, np.nan),
            records=np.full((records, self.width), np.nan),
            steps=np.full(records, -1),
            progress=np.array([1, 0, 0, 0, -1]),
        )
        r = self.results
        outputs = (*r.numbers, r.ends, r.records, r.steps, r.progress)
        return (count, order, deadline, seen, rates, *outputs)

    def outcome(self):
        r = self.results
        end, done, epochs, records, array = r.progress.tolist()
        losses, norms, lrs = r.numbers[:, :done]
        return types.SimpleNamespace(
            end=end, done=done, array=array, losses=losses, norms=norms, lrs=lrs,
            ends=r.ends[:epochs], records=r.records[:records], steps=r.steps[:records],
        )  # fmt: skip

    def run(self, count=None, **other):
        """Train for so many batches, an epoch where none are named."""
        self.core.run(*self.arguments(self.batches if count is None else count, **other))
        return self.outcome()


def gradient(net, X, y, **other):
    """Loss and gradients of all rows."""
    fit = Fit(net, X, y, **other)
    return fit.run(1).losses[0], fit.grads


def evaluate(net, X, y=None, *, first=0, rows=None, seen=False, **other):
    """Predictions and loss of rows; without y, predictions alone."""
    weights, index = other.pop("weights", None), other.pop("index", None)
    whole = other.pop("whole", False)
    rows = (len(X) if index is None else len(index)) - first if rows is None else rows
    out = np.full((rows, net.width), np.nan, net.dtype)
    goal = None if y is None else objective(net.width, **other)
    arguments = given(net, X, y, weights, index, goal, (), whole)
    return out, net.core().evaluate(arguments, first, rows, out, seen)
