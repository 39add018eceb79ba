"""P6b, P8b, P9b, P10b: `model.fit` beyond its steps.

P6b: document 004's neuron for 1,000 epochs of the full batch, with the history that fit keeps.
P8b: memory of one epoch beyond 1 GB of data. P9b: the cost of a step against rows, width and
batch size. P10b: many small models: what one fit and one prediction cost, and what a model holds.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import row_descent
from contest import Contest, Entry, Goal, Options, Table
from contestant import Case, peak_growth
from report import Report, Verdict, duration, significant, timed_report

# ---- P6b: the neuron ------------------------------------------------------------


def neuron_fit() -> Case:
    """Fit from w = b = -2; both are set anew by each call. It keeps loss, gradient norm, rate."""
    import gdcore as gd

    x, y = np.array(row_descent.INPUTS)[:, None], np.array(row_descent.TARGETS)
    model = gd.Sequential([gd.Input(1), gd.Dense(1, "sigmoid")])
    model.compile(gd.SGD(row_descent.ETA), gd.losses.Loss("half_mse", reduction="sum"))
    w, b = model.params

    def call() -> Any:
        w[:] = b[:] = row_descent.FIRST
        return model.fit(x, y, batch_size=None, epochs=row_descent.EPOCHS, verbose=0)

    return Case(call, lambda: (call(), w[0, 0], b[0])[1:])


def p6b(options: Options) -> list[Table]:
    ours, document = "gdcore, fit with its history", "the document's loops"
    loops = ("python", 1, "row_descent", "document_loops")
    found = [
        Entry(ours, "gdcore", 1, __name__, "neuron_fit"),
        Entry(document, *loops, {"module": "NumPy"}),
        Entry("the same with math.exp", *loops, {"module": "math"}),
        Entry("NumPy, both points at once", "numpy", 1, "row_descent", "numpy_neuron"),
    ]
    goals = [Goal("<= 1/5 of the document's loops", ours, document, 1 / 5)]
    title = f"document 004's neuron by fit, {row_descent.EPOCHS:,} epochs"
    return [Table("P6b", title, found, goals, base=ours, tolerance=1e-9)]


# ---- P8b: memory ------------------------------------------------------------

COLUMNS = 256
SHARE = 0.01  # of the data, that a fit may take beyond them
FORMS = {
    "float32, C order": ("float32", "C"),
    "float32, Fortran order": ("float32", "F"),
    "float64 in a float32 model": ("float64", "C"),
    "memory map, float32": ("float32", "map"),
}


def large_data(dtype: str, form: str, gigabytes: float) -> np.ndarray:
    """Return normal numbers, a million of them repeated, all of them resident."""
    rows = int(gigabytes * 1e9) // (COLUMNS * np.dtype(dtype).itemsize)
    some = np.random.default_rng(8).standard_normal((4096, COLUMNS)).astype(dtype)
    if form == "map":
        import tempfile

        with tempfile.TemporaryFile() as file:
            x = np.memmap(file, dtype, "w+", shape=(rows, COLUMNS))
    else:
        x = np.empty((rows, COLUMNS), dtype, order=form)
    for i in range(0, rows, len(some)):
        x[i : i + len(some)] = some[: rows - i]
    return x


def fit_memory(name: str, gigabytes: float) -> dict[str, float | None]:
    """Return bytes of X, by how many a model and its epoch raise the peak, and the epoch's seconds.

    An epoch of another model first loads what is loaded late and starts the threads.
    """
    import gdcore as gd

    x = large_data(*FORMS[name], gigabytes)
    y = x[:, :4].argmax(axis=1)
    seconds = []

    def fit(rows: int) -> None:
        start = time.perf_counter()
        model = gd.Sequential([gd.Dense(8, "relu"), gd.Dense(4)], dtype="float32")
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x[:rows], y[:rows], batch_size=256, verbose=0, seed=0)
        seconds.append(time.perf_counter() - start)

    fit(4 * 256)
    growth = peak_growth(lambda: fit(len(x)))
    return {"data": x.nbytes, "growth": growth, "seconds": seconds[-1], "rows": len(x)}


def p8b(contest: Contest, options: Options) -> list[Report]:
    lines, data, shares = [], {}, []
    size = 0.1 if options.quick else 1.0
    for name in FORMS:
        found = contest.ask("memory", 2, __name__, "fit_memory", name=name, gigabytes=size)
        data[name] = found
        cells = [f"{found['data'] / 1e9:.2f} GB", "", ""]
        if found["growth"] is not None:
            shares.append(found["growth"] / found["data"])
            cells[1:] = [f"{found['growth'] / 1e6:.1f} MB", f"{shares[-1]:.2%}"]
        lines.append([name, *cells, duration(1e9 * found["seconds"])])
    header = ["", "X", "peak of resident memory +", "of X", "one epoch, with its checks"]
    measured, reached = "", None
    if len(shares) == len(FORMS):
        measured, reached = f"{max(shares):.2%}", max(shares) < SHARE
    verdicts = [Verdict("< 1 % of the data", measured, reached)]
    title = f"memory of fit beyond the data, net {COLUMNS}-8-4, batch 256, 2 threads"
    return [Report("P8b", title, header, lines, verdicts, data=data)]


# ---- P9b: cost against size ------------------------------------------------------------

SIZES = (  # rows, width, batch: one of them after the other around the first line
    (10_000, 64, 128),
    (100, 64, 128),
    (1_000, 64, 128),
    (100_000, 64, 128),
    (1_000_000, 64, 128),
    (10_000, 4, 128),
    (10_000, 16, 128),
    (10_000, 256, 128),
    (10_000, 1024, 128),
    (10_000, 64, 1),
    (10_000, 64, 8),
    (10_000, 64, 32),
    (10_000, 64, 512),
    (10_000, 64, 2048),
    (10_000, 64, 10_000),
)
INPUTS, CLASSES = 32, 10


def sized_fit(rows: int, width: int, batch: int) -> Case:
    """Epochs of a net 32-width-10, so many of them that a call takes some milliseconds."""
    import gdcore as gd

    rng = np.random.default_rng(9)
    x = rng.standard_normal((rows, INPUTS), dtype=np.float32)
    y = rng.integers(0, CLASSES, rows)
    model = gd.Sequential([gd.Dense(width, "relu"), gd.Dense(CLASSES)])
    model.compile("adam", "sparse_categorical_crossentropy")
    epochs = max(1, 50_000 // rows)

    def call() -> Any:
        return model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0)

    return Case(call, repeats=epochs * -(-rows // batch))


def work(rows: int, width: int, batch: int) -> float:
    """Return the operations of a mean step: a product forward, two back but for X's own."""
    return 2 * (2 * INPUTS * width + 3 * width * CLASSES) * rows / -(-rows // batch)


def p9b(contest: Contest, options: Options) -> list[Report]:
    lines, data = [], {}
    short = replace(options, rounds=min(options.rounds, 5))
    sizes = [s for s in SIZES if s[0] * INPUTS <= options.largest]
    for size in sizes:
        arguments = dict(zip(("rows", "width", "batch"), size, strict=True))
        entries = [Entry(str(n), "gdcore", n, __name__, "sized_fit", arguments) for n in (1, 2)]
        contest.run(Table("P9b", "", entries), short)
        one, two = (min(e.samples) for e in entries)
        cells = [duration(one), significant(one * -(-size[0] // size[2]) / size[0])]
        cells += [significant(work(*size) / one), duration(two), f"{one / two:.2f}"]
        lines.append([f"{size[0]:,} x {INPUTS}", f"{size[1]:,}", f"{size[2]:,}", *cells])
        data[" ".join(map(str, size))] = (one, two)
    header = ["rows", "width", "batch", "a step, 1 thread", "ns a row", "GF/s"]
    header += ["2 threads", "speed-up"]
    title = f"fit of a net {INPUTS}-width-{CLASSES}, float32"
    return [Report("P9b", title, header, lines, data=data)]


# ---- P10b: many small models ------------------------------------------------------------

ROWS, EPOCHS, BATCH = 200, 50, 32
STEPS = EPOCHS * -(-ROWS // BATCH)
LONG = 100  # as many epochs again, of which the steps' own time is known
BEYOND_FIT, BEYOND_PREDICT, A_MODEL = 0.2e6, 5e3, 10_000  # ns, ns, bytes


def regression() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(10)
    x = rng.standard_normal((ROWS, 4))
    return x, x @ np.array([1.0, -2.0, 0.5, 0.0]) + 0.1


def small_model() -> Any:
    import gdcore as gd

    model = gd.Sequential([gd.Dense(8, "relu"), gd.Dense(1)])
    model.compile(gd.Adam(1e-3), "mse")
    return model


def fitted() -> Any:
    """Return a model that is made, compiled and fitted."""
    model = small_model()
    model.fit(*regression(), batch_size=BATCH, epochs=EPOCHS, verbose=0, seed=0)
    return model


def gdcore_small(epochs: int, anew: bool) -> Case:
    """Fit one model again and again, or a new one each time."""
    x, y = regression()
    model = small_model()

    def call() -> Any:
        used = small_model() if anew else model
        return used.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)

    return Case(call)


def gdcore_one() -> Case:
    model, (x, _) = fitted(), regression()
    return Case(lambda: model.predict(x[:1]))


def sklearn_small(what: str) -> Case:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    warnings.simplefilter("ignore", ConvergenceWarning)
    x, y = regression()
    settings = {"batch_size": BATCH, "max_iter": EPOCHS, "n_iter_no_change": 10**6}
    model = MLPRegressor(hidden_layer_sizes=(8,), alpha=0.0, **settings, random_state=0)
    model.fit(x, y)
    return Case({"fit": lambda: model.fit(x, y), "predict": lambda: model.predict(x[:1])}[what])


def torch_small(what: str, threads: int) -> Case:
    """A new model, and a loop with fused Adam."""
    import torch

    torch.set_num_threads(threads)
    x, y = (torch.from_numpy(a).float() for a in regression())
    y = y[:, None]

    def new() -> Any:
        layers = torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)
        return torch.nn.Sequential(*layers)

    def fit() -> Any:
        model = new()
        opt = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
        losses = []
        for _ in range(EPOCHS):
            order = torch.randperm(ROWS)
            for inputs, targets in zip(x[order].split(BATCH), y[order].split(BATCH), strict=True):
                loss = torch.nn.functional.mse_loss(model(inputs), targets)
                opt.zero_grad()
                loss.backward()
                opt.step()
                losses.append(loss.detach())
        return losses

    model = new()

    @torch.inference_mode()
    def predict() -> Any:
        return model(x[:1])

    return Case({"fit": fit, "predict": predict}[what])


def bytes_a_model(count: int) -> dict[str, float]:
    """Return the traced bytes that each of so many live models, or histories of fits, holds."""
    fitted()
    found = {}
    makers: dict[str, Callable[[], Any]] = {
        "compiled": small_model,
        "fitted": fitted,
        "history": lambda: fitted().history,
    }
    for name, make in makers.items():
        gc.collect()
        tracemalloc.start()
        held = [make() for _ in range(count)]
        gc.collect()
        found[name] = tracemalloc.get_traced_memory()[0] / count
        tracemalloc.stop()
        del held
    return found


def fit_table() -> Table:
    def entry(label: str, library: str, factory: str, **arguments: Any) -> Entry:
        return Entry(label, library, 1, __name__, factory, arguments)

    found = [
        entry("gdcore, a new model", "gdcore", "gdcore_small", epochs=EPOCHS, anew=True),
        entry("the same model again", "gdcore", "gdcore_small", epochs=EPOCHS, anew=False),
        entry(
            f"{LONG} times the epochs", "gdcore", "gdcore_small", epochs=LONG * EPOCHS, anew=False
        ),
        entry("scikit-learn", "sklearn", "sklearn_small", what="fit"),
        entry("torch, fused Adam", "torch", "torch_small", what="fit", threads=1),
    ]
    found[1].judged = found[2].judged = False
    goals = [
        Goal("<= 1/60 of scikit-learn", "gdcore", "sklearn", 1 / 60),
        Goal("<= 1/60 of torch", "gdcore", "torch", 1 / 60),
    ]
    title = f"a fit of a net 4-8-1, {ROWS} rows, batch {BATCH}, {EPOCHS} epochs"
    return Table("P10b", title, found, goals)


def predict_table() -> Table:
    found = [
        Entry("gdcore", "gdcore", 1, __name__, "gdcore_one"),
        Entry("scikit-learn", "sklearn", 1, __name__, "sklearn_small", {"what": "predict"}),
        Entry("torch", "torch", 1, __name__, "torch_small", {"what": "predict", "threads": 1}),
    ]
    goals = [Goal("scikit-learn not ahead", "gdcore", "sklearn", 1.0)]
    goals.append(Goal("torch not ahead", "gdcore", "torch", 1.0))
    return Table("P10b", "predict of one row by that net", found, goals)


def p10b(contest: Contest, options: Options) -> list[Report]:
    fits, predictions = fit_table(), predict_table()
    reports = [timed_report(contest, fits), timed_report(contest, predictions)]
    new, again, long = (e.best or float("nan") for e in fits.entries[:3])
    a_step = (long - again) / (STEPS * (LONG - 1))
    beyond = new - STEPS * a_step
    one = predictions.entries[0].best or float("nan")
    memory = contest.ask("gdcore", 1, __name__, "bytes_a_model", count=100)
    said = f"{duration(beyond)} beside {STEPS} x {duration(a_step)}; of a model that is there"
    said += f" {duration(again - STEPS * a_step)}"
    held = f"{memory['fitted']:,.0f} bytes; compiled {memory['compiled']:,.0f}"
    held += f", its history {memory['history']:,.0f}"
    reports[0].verdicts += [
        Verdict("beyond the steps <= 0.2 ms", said, beyond <= BEYOND_FIT),
        Verdict("a model holds <= 10 KB", held, memory["fitted"] <= A_MODEL),
    ]
    reports[1].verdicts.append(Verdict("<= 5 us", duration(one), one <= BEYOND_PREDICT))
    return reports
