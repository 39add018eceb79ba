"""Types of the optimizers; made from csrc/ops.def by ``python tools/make_stubs.py``."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Signature
from typing import Any, ClassVar, Literal, SupportsFloat

from gdcore._armijo import Armijo as Armijo
from gdcore._ema import EMA as EMA
from gdcore._lbfgs import LBFGS as LBFGS
from gdcore._optimizer import Optimizer as Optimizer
from gdcore._optimizer import Setting
from gdcore._optimizer_group import Group as Group
from gdcore.constraints import Constraint

__all__ = [
    "ASGD",
    "EMA",
    "LAMB",
    "LARS",
    "LBFGS",
    "SGD",
    "AdaBelief",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "Armijo",
    "DAdaptAdam",
    "Group",
    "Lion",
    "NAdam",
    "Optimizer",
    "PolyakSGD",
    "Prodigy",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "SignSGD",
    "Yogi",
    "clip_by_global_norm",
]

AT_ONCE: list[str]

_Rate = float | Callable[[int], SupportsFloat]
_Dialect = Literal["torch", "keras", "optax"]
_OnNonfinite = Literal["ignore", "raise", "skip"]

def clip_by_global_norm(grads: Any, max_norm: float) -> float:
    """Scale gradients in place so that their common norm is at most `max_norm`."""

class SGD(Optimizer):
    """Gradient descent, with heavy-ball or Nesterov momentum."""

    __signature__: ClassVar[Signature]
    momentum: Setting[float]
    dampening: Setting[float]
    weight_decay: Setting[float]
    nesterov: Setting[bool]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.001,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class Adagrad(Optimizer):
    """Steps that shrink with the sum of squared gradients of each parameter."""

    __signature__: ClassVar[Signature]
    lr_decay: Setting[float]
    weight_decay: Setting[float]
    initial_accumulator_value: Setting[float]
    eps: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squared gradients."""

    __signature__: ClassVar[Signature]
    alpha: Setting[float]
    eps: Setting[float]
    weight_decay: Setting[float]
    momentum: Setting[float]
    centered: Setting[bool]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class Adam(Optimizer):
    """Running mean of gradients over the root of the running mean of their squares."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float]]
    eps: Setting[float]
    weight_decay: Setting[float]
    amsgrad: Setting[bool]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class AdamW(Optimizer):
    """Adam whose weight decay stands beside the gradient instead of in it."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float]]
    eps: Setting[float]
    weight_decay: Setting[float]
    amsgrad: Setting[bool]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class Adadelta(Optimizer):
    """Steps in the parameter's own units: the root of past squared steps over that of gradients."""

    __signature__: ClassVar[Signature]
    rho: Setting[float]
    eps: Setting[float]
    weight_decay: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 1.0,
        rho: float = 0.9,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class Adamax(Optimizer):
    """Adam with the largest gradient in sight instead of the root of the mean square."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float]]
    eps: Setting[float]
    weight_decay: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class NAdam(Optimizer):
    """Adam with Nesterov's look-ahead in its mean of gradients."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float]]
    eps: Setting[float]
    weight_decay: Setting[float]
    momentum_decay: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        momentum_decay: float = 0.004,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class RAdam(Optimizer):
    """Adam that waits for its second moment to be known before it divides by it."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float]]
    eps: Setting[float]
    weight_decay: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class Rprop(Optimizer):
    """A step size per parameter that grows while the gradient keeps its sign; for full batches."""

    __signature__: ClassVar[Signature]
    etas: Setting[tuple[float, float]]
    step_sizes: Setting[tuple[float, float]]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.01,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-06, 50.0),
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class ASGD(Optimizer):
    """Gradient descent whose average of the iterates, from step t0 on, is the result."""

    __signature__: ClassVar[Signature]
    lambd: Setting[float]
    alpha: Setting[float]
    t0: Setting[float]
    weight_decay: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.01,
        lambd: float = 0.0001,
        alpha: float = 0.75,
        t0: float = 1000000.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class Lion(Optimizer):
    """The sign of a mean of gradients that looks ahead; one state array."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float]]
    weight_decay: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.0001,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class SignSGD(Optimizer):
    """The sign of the gradient; with momentum Signum, the sign of its running mean."""

    __signature__: ClassVar[Signature]
    momentum: Setting[float]
    weight_decay: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.001,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class Yogi(Optimizer):
    """Adam whose second moment moves by steps of bounded size, and so forgets slowly."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float]]
    eps: Setting[float]
    initial_accumulator_value: Setting[float]
    weight_decay: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 0.001,
        initial_accumulator_value: float = 1e-06,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class AdaBelief(Optimizer):
    """Adam that divides by how far the gradient strays from its mean, not by its size."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float]]
    eps: Setting[float]
    eps_root: Setting[float]
    weight_decay: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        eps_root: float = 1e-08,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class Adan(Optimizer):
    """Adam with Nesterov momentum told by the difference of successive gradients."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float, float]]
    eps: Setting[float]
    weight_decay: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.001,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class ScheduleFreeSGD(Optimizer):
    """Gradient descent beside its own average; evaluate at opt.averaged(params)."""

    __signature__: ClassVar[Signature]
    momentum: Setting[float]
    weight_decay: Setting[float]
    warmup_steps: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        warmup_steps: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class ScheduleFreeAdamW(Optimizer):
    """AdamW with an average of its iterates for momentum; evaluate at opt.averaged(params)."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float]]
    eps: Setting[float]
    weight_decay: Setting[float]
    warmup_steps: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.0025,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        warmup_steps: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class LAMB(Optimizer):
    """Adam whose step in each array has the norm of lr times the array's own."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float]]
    eps: Setting[float]
    weight_decay: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class LARS(Optimizer):
    """Momentum with a rate per array: its norm over the gradient's."""

    __signature__: ClassVar[Signature]
    momentum: Setting[float]
    weight_decay: Setting[float]
    trust_coefficient: Setting[float]
    eps: Setting[float]
    nesterov: Setting[bool]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        eps: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class Prodigy(Optimizer):
    """Adam that finds its own rate from the distance covered; leave lr at 1."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float]]
    eps: Setting[float]
    weight_decay: Setting[float]
    d0: Setting[float]
    d_coef: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        d_coef: float = 1.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class DAdaptAdam(Optimizer):
    """Adam that finds its own rate from a bound on the distance to the minimum; leave lr at 1."""

    __signature__: ClassVar[Signature]
    betas: Setting[tuple[float, float]]
    eps: Setting[float]
    weight_decay: Setting[float]
    d0: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...

class PolyakSGD(Optimizer):
    """The rate (loss - f_min) / norm^2, at most lr; each step takes loss=."""

    __signature__: ClassVar[Signature]
    f_min: Setting[float]
    eps: Setting[float]
    weight_decay: Setting[float]
    maximize: Setting[bool]
    dialect: Setting[_Dialect]
    clip_value: Setting[float | None]
    clip_norm: Setting[float | None]
    global_clip_norm: Setting[float | None]
    clip_adaptive: Setting[float | None]
    l1: Setting[float]
    constraint: Setting[Constraint | None]
    on_nonfinite: Setting[_OnNonfinite]
    def __init__(
        self,
        lr: _Rate = 1.0,
        f_min: float = 0.0,
        eps: float = 0.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        dialect: _Dialect = "torch",
        clip_value: float | None = None,
        clip_norm: float | None = None,
        global_clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        l1: float = 0.0,
        constraint: Constraint | None = None,
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...
