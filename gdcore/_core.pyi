"""Types of the compiled module, the C core. Arguments are checked there, and named in errors."""

from collections.abc import Callable, Sequence
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

# A row of csrc/ops.def: name, help, paper and what the family has beside; the position is the id.
_Row = dict[str, Any]
# What Activation and Loss keep in `_spec`: the row's id and its parameters.
_Spec = tuple[Any, ...]

OPTIMIZERS: list[_Row]
ACTIVATIONS: list[_Row]
LOSSES: list[_Row]
INSTRUCTIONS: list[_Row]

class NonFiniteError(FloatingPointError):
    epoch: int
    batch: int
    layer: str | None
    history: Any

@disjoint_base
class Optimizer:
    @property
    def t(self) -> int: ...
    @property
    def grad_norm(self) -> float | None: ...
    def step(
        self,
        params: Any,
        grads: Any = None,
        *,
        loss: float | None = None,
        closure: Callable[[], tuple[Any, Any]] | None = None,
        trace: bool = False,
    ) -> Any: ...
    def _configure(
        self,
        rule: int,
        dialect: int,
        maximize: bool,
        on_nonfinite: int,
        global_clip_norm: float,
        groups: tuple[tuple[Any, ...], ...],
        rates: tuple[Any, ...],
    ) -> None: ...
    def _state(self) -> Any: ...
    def _restore(self, t: int, state: Sequence[tuple[NDArray[Any], ...]] | None) -> None: ...
    def _rates(self) -> tuple[float, ...]: ...
    def _schedules(self) -> tuple[Any, ...]: ...
    def _state_names(self, group: int = 0) -> tuple[str, ...]: ...

@final
class Program:
    def __new__(cls, instructions: list[Any], outputs: Sequence[int], /) -> Self: ...
    def run(self, arrays: Sequence[NDArray[Any]], /) -> list[NDArray[Any]]: ...
    def listing(self) -> list[tuple[Any, ...]]: ...
    def outputs(self) -> tuple[int, ...]: ...
    def room(self) -> tuple[int, int]: ...

@final
class Call:
    def __new__(
        cls,
        program: Program,
        arguments: tuple[Any, ...],
        captured: tuple[Any, ...],
        guards: tuple[Any, ...],
        results: tuple[Any, ...],
        /,
    ) -> Self: ...
    def call(self, args: tuple[Any, ...], /) -> Any: ...
    def fits(self, args: tuple[Any, ...], /) -> bool: ...

@final
class Network:
    def __new__(
        cls,
        stages: tuple[tuple[Any, ...], ...],
        param_sizes: tuple[int, ...],
        buffer_sizes: tuple[int, ...],
        inputs: int,
        real_size: int,
        /,
    ) -> Self: ...
    def evaluate(
        self, given: tuple[Any, ...], first: int, rows: int, out: Any, seen: bool, /
    ) -> Any: ...

@final
class Trainer:
    def __new__(
        cls,
        network: Network,
        given: tuple[Any, ...],
        optimizer: Optimizer | None,
        params: list[NDArray[Any]],
        grads: list[NDArray[Any]],
        settings: tuple[Any, ...],
        /,
    ) -> Self: ...
    def run(
        self,
        count: int,
        order: NDArray[np.int64] | None,
        deadline: float,
        seen: NDArray[Any] | None,
        rates: NDArray[np.float64] | None,
        losses: NDArray[np.float64],
        norms: NDArray[np.float64],
        lrs: NDArray[np.float64],
        epoch_loss: NDArray[np.float64],
        record: NDArray[np.float64],
        record_at: NDArray[np.int64],
        progress: NDArray[np.int64],
        average: tuple[list[NDArray[Any]], float, NDArray[np.bool_]] | None = None,
        /,
    ) -> None: ...
    def place(self) -> tuple[int, int, int, float, float, float, int]: ...
    def move(self, place: tuple[int, int, int, float, float, float, int], /) -> None: ...
    def sizes(self) -> tuple[int, int]: ...
    def shadowed(self) -> bool: ...
    def penalty(self) -> float: ...
    def restore(self) -> None: ...

celu: np.ufunc
elu: np.ufunc
gelu: np.ufunc
gelu_tanh: np.ufunc
hard_sigmoid: np.ufunc
hard_swish: np.ufunc
hard_tanh: np.ufunc
leaky_relu: np.ufunc
linear: np.ufunc
mish: np.ufunc
prelu: np.ufunc
relu: np.ufunc
relu6: np.ufunc
selu: np.ufunc
sigmoid: np.ufunc
silu: np.ufunc
softplus: np.ufunc
softsign: np.ufunc
tanh: np.ufunc

def activate(spec: _Spec, z: Any) -> Any: ...
def activate_grad(spec: _Spec, dy: Any, z: Any, y: Any) -> Any: ...
def check_activation(spec: _Spec) -> str | None: ...
def loss(
    spec: _Spec, y_true: Any, y_pred: Any, sample_weight: Any, reduction: int, want_grad: bool
) -> Any: ...
def check_loss(spec: _Spec) -> None: ...
def dense(
    X: Any, W: Any, b: Any = None, activation: Any = None, *, out: Any = None, z_out: Any = None
) -> Any: ...
def dense_grad(
    dy: Any,
    X: Any,
    W: Any,
    y: Any = None,
    activation: Any = None,
    *,
    z: Any = None,
    need_dX: bool = True,
) -> Any: ...
def linear_value_and_grad(X: Any, y_true: Any, W: Any, b: Any, loss: Any) -> Any: ...
def sum(x: Any) -> float: ...
def dot(x: Any, y: Any) -> float: ...
def norm(x: Any) -> float: ...
def clip_by_global_norm(grads: Any, max_norm: float) -> float: ...
def project(constraint: tuple[int, float, float], x: Any) -> Any: ...
def average(average: NDArray[Any], p: NDArray[Any], share: float, /) -> None: ...
def find_nonfinite(x: NDArray[Any], /) -> tuple[int, int] | None: ...
def find_bad_label(y: NDArray[Any], classes: int, /) -> int | None: ...
def gather(
    x: NDArray[Any], rows: NDArray[np.int64] | int | None, real_size: int, /
) -> NDArray[Any]: ...
def gather_labels(
    y: NDArray[Any], rows: NDArray[np.int64] | int | None, /
) -> NDArray[np.int64]: ...
def is_plain(x: NDArray[Any], real_size: int, /) -> bool: ...
def philox(
    key0: int, key1: int, c0: int, c1: int, c2: int, c3: int, /
) -> tuple[int, int, int, int]: ...
def random_bits(
    key0: int, key1: int, purpose: int, step: int, layer: int, row: int, n: int, /
) -> NDArray[np.uint32]: ...
def epoch_order(
    n: int, key0: int, key1: int, epoch: int, stored: bool = True
) -> NDArray[np.int64]: ...
def elementwise(
    name: str,
    operands: tuple[NDArray[Any], ...],
    params: tuple[float, ...] = ...,
    out: NDArray[Any] | None = ...,
    /,
) -> NDArray[Any]: ...
def descend(
    optimizer: Optimizer,
    call: Call,
    args: tuple[Any, ...],
    params: Any,
    outputs: list[NDArray[Any]],
    start: list[NDArray[Any]] | None,
    limits: tuple[Any, ...],
    rates: NDArray[np.float64] | None,
    losses: NDArray[np.float64],
    norms: NDArray[np.float64],
    lrs: NDArray[np.float64],
    path: list[NDArray[Any]],
    progress: NDArray[np.int64],
    /,
) -> bool: ...
def sweep(
    optimizer: Optimizer,
    program: Program,
    arrays: tuple[NDArray[Any], ...],
    swept: tuple[tuple[int, NDArray[Any], NDArray[Any]], ...],
    lanes: int,
    starts: int,
    start: NDArray[np.int64],
    steps: NDArray[np.int64],
    lr: NDArray[np.float64],
    momentum: NDArray[np.float64],
    rates: NDArray[np.float64] | None,
    gtol: float,
    facts: NDArray[np.float64],
    /,
) -> None: ...
def run_trainers(jobs: tuple[tuple[Trainer, tuple[Any, ...]], ...], /) -> None: ...
def may_sweep(optimizer: Optimizer, /) -> bool: ...
def level() -> str: ...
def levels() -> list[str]: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def math(name: str, x: Any) -> NDArray[Any]: ...
def pool_probe(tasks: int, threads: int) -> tuple[NDArray[np.int64], int]: ...
