"""Types of the optimizers; made from csrc/ops.def by ``python tools/make_stubs.py``."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Signature
from typing import Any, ClassVar, Literal, SupportsFloat

from gdcore._optimizer import Group as Group
from gdcore._optimizer import Optimizer as Optimizer
from gdcore._optimizer import Setting

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Group",
    "Optimizer",
    "RMSprop",
    "clip_by_global_norm",
]

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
        on_nonfinite: _OnNonfinite = "ignore",
        groups: Sequence[Mapping[str, Any]] | None = None,
    ) -> None: ...
