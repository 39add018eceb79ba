"""Networks written twice, in gdcore and in torch, from one description."""

import numpy as np
from hypothesis import strategies as st

import gdcore as gd

SMOOTH = ["linear", "sigmoid", "tanh", "softplus", "silu", "gelu", "gelu_tanh", "mish", "softsign"]
BENT = ["relu", "leaky_relu", "elu", "selu", "relu6", "hard_tanh", "hard_swish", "celu"]


def activation(torch, name):
    f = torch.nn.functional
    own = {
        "linear": lambda z: z,
        "gelu_tanh": lambda z: f.gelu(z, approximate="tanh"),
        "hard_tanh": f.hardtanh,
        "hard_swish": f.hardswish,
    }
    return own.get(name) or getattr(f, name)


# ---- Losses: targets, and torch's loss of each row ---------------------------------------------


def values(rng, rows, outputs):
    return rng.normal(size=(rows, outputs))


def counts(rng, rows, outputs):
    return rng.integers(0, 5, (rows, outputs)).astype(float)


def shares(rng, rows, outputs):
    return rng.random((rows, outputs))


def classes(rng, rows, outputs):
    return rng.integers(0, outputs, rows)


def soft(rng, rows, outputs):
    return gd.softmax(rng.normal(size=(rows, outputs)))


def of_rows(torch, name):
    """The torch loss of this name by row, given what the last layer gives before its activation."""
    f = torch.nn.functional
    return {
        "mse": lambda y, z: f.mse_loss(z, y, reduction="none").mean(1),
        "half_mse": lambda y, z: f.mse_loss(z, y, reduction="none").mean(1) / 2,
        "mae": lambda y, z: f.l1_loss(z, y, reduction="none").mean(1),
        "huber": lambda y, z: f.huber_loss(z, y, reduction="none").mean(1),
        "poisson_log_rate": lambda y, z: f.poisson_nll_loss(z, y, reduction="none").mean(1),
        "binary_crossentropy": lambda y, z: f.binary_cross_entropy_with_logits(
            z, y, reduction="none"
        ).mean(1),
        "sparse_categorical_crossentropy": lambda y, z: f.cross_entropy(z, y, reduction="none"),
        "categorical_crossentropy": lambda y, z: f.cross_entropy(z, y, reduction="none"),
    }[name]


LOSSES = {  # name: (targets, endings that mean the same, fewest outputs, smooth)
    "mse": (values, [None], 1, True),
    "half_mse": (values, [None], 1, True),
    "mae": (values, [None], 1, False),
    "huber": (values, [None], 1, False),
    "poisson_log_rate": (counts, [None], 1, True),
    "binary_crossentropy": (shares, [None, "sigmoid"], 1, True),
    "sparse_categorical_crossentropy": (classes, [None, "softmax", "log_softmax"], 2, True),
    "categorical_crossentropy": (soft, [None, "softmax", "log_softmax"], 2, True),
}


# ---- Architectures -------------------------------------------------------------------------------


@st.composite
def networks(draw, smooth=False, widest=9):
    """(inputs, hidden layers, loss, ending, outputs, rows, weighted, penalty, seed)."""
    names = SMOOTH if smooth else SMOOTH + BENT
    width = st.integers(1, widest) if smooth else st.sampled_from([1, 2, 3, 5, 8, 9, 16, 33, 70])
    hidden = []
    for kind in draw(st.lists(st.sampled_from(["dense", "norm", "batch", "skip"]), max_size=4)):
        act = draw(st.sampled_from(names))
        hidden.append((kind, draw(width), act, draw(st.booleans())))
    loss = draw(st.sampled_from([n for n in LOSSES if LOSSES[n][3] or not smooth]))
    _, endings, fewest, _ = LOSSES[loss]
    outputs = draw(st.integers(fewest, 5))
    rows = draw(st.integers(5, 12) if smooth else st.sampled_from([5, 12, 40, 256, 300]))
    return (
        draw(st.integers(1, 6)),
        hidden,
        loss,
        draw(st.sampled_from(endings)),
        outputs,
        rows,
        draw(st.booleans()),
        draw(st.sampled_from([0.0, 0.01])),
        draw(st.integers(0, 2**32 - 1)),
    )


EPSILON = 1e-2


def layers_of(hidden, ending, outputs, penalty=0.0):
    """The layers in gdcore."""
    made = []
    for kind, width, act, bias in hidden:
        if kind == "dense":
            penalised = gd.regularizers.l2(penalty) if penalty else None
            made.append(gd.Dense(width, act, use_bias=bias, kernel_regularizer=penalised))
        elif kind == "norm":
            made += [gd.LayerNorm(EPSILON), gd.Activation(act)]
        elif kind == "batch":
            made += [gd.BatchNorm(0.9, EPSILON), gd.Activation(act)]
        else:
            made.append((width, act))
    return [*made, gd.Dense(outputs, ending)]


def model_of(inputs, hidden, loss, ending, outputs, penalty=0.0, optimizer="sgd", seed=0):
    """A compiled model whose parameters are all drawn, biases and scales too."""
    layers, width = [], inputs
    for layer in layers_of(hidden, ending, outputs, penalty):
        if isinstance(layer, tuple):
            layers.append(gd.Residual([gd.Dense(layer[0], layer[1]), gd.Dense(width)]))
            continue
        layers.append(layer)
        width = getattr(layer, "units", width)
    model = gd.Sequential([gd.Input(inputs), *layers], dtype=np.float64)
    model.compile(optimizer, loss)
    rng = np.random.default_rng(seed)
    for p in model.params:
        p[...] = rng.normal(size=p.shape) / np.sqrt(len(p) if p.ndim == 2 else 4)
    return model


class Twin:
    """The same network in torch, from the same weights."""

    def __init__(self, torch, model, hidden, loss, penalty=0.0):
        self.torch, self.hidden, self.penalty = torch, hidden, penalty
        self.params = [torch.tensor(p, requires_grad=True) for p in model.params]
        self.loss = of_rows(torch, loss)
        self.moving = [torch.tensor(b) for b in model._buffers]

    def outputs(self, x, training=True):
        """What stands before the last activation."""
        f, left, moving = self.torch.nn.functional, iter(self.params), iter(self.moving)
        self.penalties = 0.0
        for kind, _, act, bias in self.hidden:
            act = activation(self.torch, act)
            if kind == "dense":
                kernel = next(left)
                self.penalties = self.penalties + self.penalty * (kernel**2).sum()
                x = act(x @ kernel + (next(left) if bias else 0.0))
            elif kind == "norm":
                x = act(f.layer_norm(x, x.shape[1:], next(left), next(left), EPSILON))
            elif kind == "batch":
                mean, variance = next(moving), next(moving)
                if training:
                    self.move(mean, x.detach().mean(0))
                    self.move(variance, x.detach().var(0, correction=0))
                x = act(f.batch_norm(x, mean if not training else None,
                                     variance if not training else None,
                                     next(left), next(left), training, 0.1, EPSILON))  # fmt: skip
            else:
                inner = act(x @ next(left) + next(left))
                x = x + (inner @ next(left) + next(left))
        return x @ next(left) + next(left)

    @staticmethod
    def move(kept, seen):
        """Keras's momentum is one less torch's; torch's variance would be the unbiased one."""
        kept.mul_(0.9).add_(seen, alpha=0.1)

    def value(self, x, y, weights=None):
        rows = self.loss(y, self.outputs(x))
        if weights is None:
            return rows.mean() + self.penalties
        return (rows * weights).sum() / weights.sum() + self.penalties

    def value_and_grad(self, x, y, weights=None):
        tensors = [None if a is None else self.torch.tensor(a) for a in (x, y, weights)]
        value = self.value(*tensors)
        return value.item(), [g.numpy() for g in self.torch.autograd.grad(value, self.params)]
