"""The point to evaluate at, for optimizers whose result is an average: ``opt.averaged(params)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gdcore._containers import flat, rebuilt

if TYPE_CHECKING:
    from gdcore._optimizer import Optimizer


def keeps_average(optimizer: Optimizer) -> bool:
    """Whether `averaged` may return other arrays than the parameters, once steps are done."""
    from gdcore._ema import EMA
    from gdcore.reference.optimizer_rules import AVERAGED

    return isinstance(optimizer, EMA) or (
        hasattr(type(optimizer), "_row") and optimizer._row["name"] in AVERAGED
    )


def averaged(optimizer: Optimizer, params: Any) -> Any:
    """Return `params` in the rule's average, or themselves where it keeps none."""
    from gdcore.reference.optimizer_rules import AVERAGED

    rule, state = AVERAGED.get(optimizer._row["name"]), optimizer._state()
    if rule is None or state is None:
        return params
    arrays = [array for _, array in flat(params)]
    if [a.shape for a in arrays] != [row[0].shape for row in state]:
        raise ValueError(
            f"params holds arrays of the shapes {[a.shape for a in arrays]}; those of the steps,"
            f" {[row[0].shape for row in state]}, are accepted"
        )
    own = optimizer.get_params()
    groups = optimizer._group_numbers([path for path, _ in flat(params)])
    points = []
    for i, array in enumerate(arrays):
        group = optimizer.groups[groups[i] - 1] if groups[i] else {}
        kept = dict(zip(optimizer._names_of(i), state[i], strict=True))
        frozen = group.get("frozen", False)
        points.append(array.copy("K") if frozen else rule(array, kept, {**own, **group}).copy("K"))
    return rebuilt(params, iter(points))
