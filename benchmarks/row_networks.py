"""P3a to P3d: one training step of small and middle-sized networks, over whole epochs.

ReLU layers with biases, softmax and cross-entropy, Adam at 0.001, float32, the rows in a new order
each epoch. A step is a batch of full size: what an epoch has left over is dropped, by everybody.
Every contestant starts from the same weights and is compared by the losses of its first two epochs
without shuffling. gdcore's time is that of `model.fit`, with its history; peers note the losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from contest import Entry, Goal, Options, Table
from contestant import Case

RATE = 1e-3
Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Net:
    """A network, its data and how long it is trained by one call."""

    widths: tuple[int, ...]
    rows: int
    batch: int
    epochs: int
    title: str

    @property
    def batches(self) -> int:
        return self.rows // self.batch

    @property
    def steps(self) -> int:
        return self.epochs * self.batches

    @property
    def used(self) -> int:
        """Rows of an epoch: whole batches."""
        return self.batches * self.batch

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs, and classes that depend on them; of the digits' shape where it is that."""
        rng = np.random.default_rng(6)
        x = rng.standard_normal((self.rows, self.widths[0]), dtype=np.float32)
        hidden = x @ rng.standard_normal((self.widths[0], self.widths[-1]), dtype=np.float32)
        return x, hidden.argmax(axis=1)

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return W and b of each layer [Glorot & Bengio 2010]."""
        rng = np.random.default_rng(7)
        found = []
        for n, m in zip(self.widths, self.widths[1:], strict=False):
            limit = (6 / (n + m)) ** 0.5
            w = rng.uniform(-limit, limit, (n, m)).astype(np.float32)
            found.append((w, np.zeros(m, np.float32)))
        return found


NETS = {
    "P3a": Net((2, 16, 16, 2), 400, 32, 100, "net 2-16-16-2, 400 rows"),
    "P3b": Net((64, 32, 10), 1797, 32, 20, "net 64-32-10, 1,797 rows, the digits' shape"),
    "P3c": Net((784, 128, 10), 20_000, 128, 3, "net 784-128-10, 20,000 rows"),
    "P3d": Net((784, 512, 512, 10), 2_560, 128, 3, "net 784-512-512-10, 2,560 rows"),
}


# ---- gdcore ------------------------------------------------------------


def gdcore_model(net: Net, metrics: list[str] | None = None) -> Any:
    import gdcore as gd

    hidden = [gd.Dense(width, "relu") for width in net.widths[1:-1]]
    model = gd.Sequential(
        [gd.Input(net.widths[0]), *hidden, gd.Dense(net.widths[-1], "softmax")], dtype="float32"
    )
    model.compile(gd.Adam(RATE), "sparse_categorical_crossentropy", metrics)
    model.set_weights([array for layer in net.weights() for array in layer])
    return model


def gdcore_fit(row: str, metrics: list[str] | None) -> Case:
    net = NETS[row]
    x, y = net.data()
    model = gdcore_model(net, metrics)

    def fit(epochs: int, **more: Any) -> Any:
        settings = {"batch_size": net.batch, "epochs": epochs, "drop_last": True, "verbose": 0}
        return model.fit(x, y, **settings, **more)

    losses = fit(2, shuffle=False, seed=0).history["loss"]
    return Case(lambda: fit(net.epochs), lambda: losses, net.steps)


# ---- scikit-learn ------------------------------------------------------------


def sklearn_fit(row: str, form: str) -> Case:
    """MLPClassifier without early stopping or penalty; `partial_fit` runs one epoch.

    Two classes have one logistic output there: that net is a little smaller, and not compared.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore", ConvergenceWarning)
    net = NETS[row]
    x, y = (array[: net.used] for array in net.data())
    classes = np.arange(net.widths[-1])
    settings = {"hidden_layer_sizes": net.widths[1:-1], "batch_size": net.batch, "alpha": 0.0}
    settings |= {"max_iter": net.epochs, "n_iter_no_change": 10**6, "learning_rate_init": RATE}
    model = MLPClassifier(**settings, random_state=0)
    losses = None
    if net.widths[-1] > 2:
        ordered = MLPClassifier(**settings, shuffle=False)
        ordered.partial_fit(x[: net.batch], y[: net.batch], classes=classes)
        for (w, b), own_w, own_b in zip(
            net.weights(), ordered.coefs_, ordered.intercepts_, strict=True
        ):
            own_w[:], own_b[:] = w, b
        del ordered._optimizer  # with the moments of that first step
        losses = [ordered.partial_fit(x, y).loss_ for _ in range(2)]
    values = None if losses is None else lambda: losses
    if form == "fit":
        return Case(lambda: model.fit(x, y), values, net.steps)
    model.partial_fit(x, y, classes=classes)

    def epochs() -> None:
        for _ in range(net.epochs):
            model.partial_fit(x, y)

    return Case(epochs, values, net.steps)


# ---- torch ------------------------------------------------------------


def torch_fit(row: str, threads: int, form: str) -> Case:
    """A loop of one's own: tensors without modules, Adam(fused=True).

    form: rows are picked "by batch" or "by epoch"; "by hand": so are the gradients, without
    autograd, and the step is torch's function.
    """
    import torch

    torch.set_num_threads(threads)
    net = NETS[row]
    x, y = map(torch.from_numpy, net.data())
    generator = torch.Generator().manual_seed(0)
    begin = torch_by_hand if form == "by hand" else torch_autograd
    step = begin(net)

    def epoch(step: Callable[..., Any], order: Any) -> list[Any]:
        batches = order[: net.used].split(net.batch)
        if form == "by batch":
            return [step(x[rows], y[rows]) for rows in batches]
        order = order[: net.used]
        pairs = zip(x[order].split(net.batch), y[order].split(net.batch), strict=True)
        return [step(inputs, labels) for inputs, labels in pairs]

    def call() -> list[Any]:
        losses = []
        for _ in range(net.epochs):
            losses += epoch(step, torch.randperm(net.rows, generator=generator))
        return losses

    fresh = begin(net)
    shown = [torch.stack(epoch(fresh, torch.arange(net.rows))).mean() for _ in range(2)]
    return Case(call, lambda: shown, net.steps)


def torch_autograd(net: Net) -> Callable[..., Any]:
    import torch
    from torch.nn.functional import cross_entropy, linear, relu

    layers = [
        (torch.from_numpy(w.T.copy()).requires_grad_(), torch.from_numpy(b).requires_grad_())
        for w, b in net.weights()
    ]
    opt = torch.optim.Adam([p for layer in layers for p in layer], RATE, fused=True)

    def step(inputs: Any, labels: Any) -> Any:
        a = inputs
        for w, b in layers[:-1]:
            a = relu(linear(a, w, b))
        loss = cross_entropy(linear(a, *layers[-1]), labels)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss.detach()

    return step


def torch_by_hand(net: Net) -> Callable[..., Any]:
    import torch
    from torch.optim.adam import adam

    weights = [tuple(map(torch.from_numpy, layer)) for layer in net.weights()]
    params = [p for layer in weights for p in layer]
    ms, vs = ([torch.zeros_like(p) for p in params] for _ in range(2))
    counts = [torch.zeros(()) for _ in params]
    settings = {"lr": RATE, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "eps": 1e-8}
    settings |= {"amsgrad": False, "maximize": False, "fused": True}

    @torch.inference_mode()
    def step(inputs: Any, labels: Any) -> Any:
        outputs = [inputs]
        for w, b in weights[:-1]:
            outputs.append(torch.addmm(b, outputs[-1], w).clamp_min_(0))
        w, b = weights[-1]
        logs = torch.addmm(b, outputs[-1], w).log_softmax(1)
        picked = labels[:, None]
        loss = -logs.gather(1, picked).mean()
        d = logs.exp_()
        d.scatter_add_(1, picked, torch.full(picked.shape, -1.0))
        d /= len(labels)
        grads = []
        for i in range(len(weights) - 1, -1, -1):
            grads += [d.sum(0), outputs[i].T @ d]
            if i > 0:
                d = (d @ weights[i][0].T).mul_(outputs[i] > 0)
        adam(params, grads[::-1], ms, vs, [], counts, **settings)
        return loss

    return step


# ---- JAX ------------------------------------------------------------


def jax_fit(row: str, form: str) -> Case:
    """Optax in a scan over an epoch, jitted, parameters and state donated.

    form: rows are gathered "by batch" in the scan, the order of an epoch is NumPy's; or "by epoch"
    before it; or all "in one" jitted call, epochs in an outer scan, with JAX's own orders.
    """
    import jax
    import optax

    net = NETS[row]
    rule = optax.adam(RATE)
    x, y = map(jax.numpy.asarray, net.data())

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        logits = x @ params[-1][0] + params[-1][1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def step(now: Any, x: Any, y: Any) -> Any:
        params, state = now
        loss, grads = jax.value_and_grad(loss_of)(params, x, y)
        updates, state = rule.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    def epoch(now: Any, order: Any, x: Any, y: Any) -> Any:
        order = order[: net.used].reshape(net.batches, net.batch)
        if form == "by epoch":
            return jax.lax.scan(lambda now, pair: step(now, *pair), now, (x[order], y[order]))
        return jax.lax.scan(lambda now, rows: step(now, x[rows], y[rows]), now, order)

    def all_epochs(now: Any, key: Any, x: Any, y: Any) -> Any:
        def one(now: Any, key: Any) -> Any:
            return epoch(now, jax.random.permutation(key, net.rows), x, y)

        return jax.lax.scan(one, now, jax.random.split(key, net.epochs))

    def start() -> Any:
        params = [tuple(map(jax.numpy.array, layer)) for layer in net.weights()]
        return params, rule.init(params)

    return jax_case(net, form, jax.jit(epoch, donate_argnums=0), start, all_epochs, (x, y))


def jax_case(
    net: Net, form: str, epoch: Any, start: Callable[[], Any], all_epochs: Any, data: Any
) -> Case:
    import jax

    def losses() -> Any:
        now, shown = start(), []
        for _ in range(2):
            now, found = epoch(now, np.arange(net.rows), *data)
            shown.append(found.mean())
        return shown

    rng, now = np.random.default_rng(0), [start(), None]
    keys = iter(range(10**9))
    whole = jax.jit(all_epochs, donate_argnums=0)

    def by_epochs() -> None:
        for _ in range(net.epochs):
            now[:] = epoch(now[0], rng.permutation(net.rows), *data)
        jax.block_until_ready(now)

    def in_one() -> None:
        now[:] = whole(now[0], jax.random.key(next(keys)), *data)
        jax.block_until_ready(now)

    return Case(in_one if form == "in one" else by_epochs, losses, net.steps)


# ---- The tables ------------------------------------------------------------

# By how much of each peer gdcore shall be ahead.
SHARES = {
    "P3a": {"jax": 10, "torch": 60, "sklearn": 60},
    "P3b": {"jax": 6, "torch": 35, "sklearn": 35},
    "P3c": {"jax": 1.5, "torch": 2.5, "sklearn": 2.5},
    "P3d": {"jax": 1, "torch": 1, "sklearn": 1},
}
NAMES = {"jax": "JAX", "torch": "torch", "sklearn": "scikit-learn"}


def entries(row: str, threads: int) -> list[Entry]:
    def entry(label: str, library: str, factory: str, **more: Any) -> Entry:
        return Entry(label, library, threads, __name__, factory, {"row": row, **more})

    found = [
        entry("gdcore", "gdcore", "gdcore_fit", metrics=None),
        entry("gdcore, with accuracy", "gdcore", "gdcore_fit", metrics=["accuracy"]),
    ]
    found[1].judged = False
    for form in ("fit", "partial_fit"):
        found.append(entry(f"scikit-learn, {form}", "sklearn", "sklearn_fit", form=form))
    for form in ("by batch", "by epoch", "by hand"):
        label = f"torch, {form}"
        found.append(entry(label, "torch", "torch_fit", threads=threads, form=form))
    for form in ("by batch", "by epoch", "in one"):
        found.append(entry(f"JAX + optax, {form}", "jax", "jax_fit", form=form))
        found[-1].compiled = True
    return found


def table(row: str, threads: int) -> Table:
    goals = []
    for library, share in SHARES[row].items():
        name = NAMES[library]
        text = f"{name} not ahead" if share == 1 else f"<= 1/{share} of {name}"
        goals.append(Goal(text, "gdcore", library, 1 / share))
    net = NETS[row]
    title = f"{net.title}, batch {net.batch}: one step, {threads} thread{'s' * (threads > 1)}"
    return Table(row, title, entries(row, threads), goals, tolerance=3e-3)


def p3a(options: Options) -> list[Table]:
    return [table("P3a", 1)]


def p3b(options: Options) -> list[Table]:
    return [table("P3b", 1)]


def p3c(options: Options) -> list[Table]:
    return [table("P3c", threads) for threads in (1, 2)]


def p3d(options: Options) -> list[Table]:
    return [table("P3d", threads) for threads in (1, 2)]
