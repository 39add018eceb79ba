"""Settings of some of an optimizer's parameters, beside those of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from gdcore import _rate_state

if TYPE_CHECKING:
    from gdcore._optimizer import Optimizer


class Group(MutableMapping[str, Any]):
    """Settings of some of the parameters, live: what is assigned holds from the next step on.

    Reads fall back on the optimizer's own settings; ``"params"`` (keys or positions) is fixed.
    ``"lr_scale"`` is a factor of the optimizer's rate, whatever that becomes; ``"lr"`` is then the
    product, and assigning it ends that.
    """

    def __init__(self, owner: Optimizer, settings: Mapping[str, Any]) -> None:
        self._owner = owner
        self._own: dict[str, Any] = dict(settings)
        self._scaled: tuple[Any, float, Any] = (None, 1.0, None)  # rate, factor, their product

    def __getitem__(self, name: str) -> Any:
        if name in self._own:
            return self._own[name]
        if name == "frozen":
            return False
        if name == "lr" and "lr_scale" in self._own:
            return self._scaled_rate(self._owner._settings["lr"], self._own["lr_scale"])
        if name in self._owner._group_names():
            return self._owner._settings[name]
        raise KeyError(name)

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "params":
            raise ValueError("a group's params are fixed; make a new optimizer for other groups")
        other = {"lr": "lr_scale", "lr_scale": "lr"}.get(name)
        kept = {key: own for key, own in self._own.items() if key != other}
        self._replace({**kept, name: value})

    def __delitem__(self, name: str) -> None:
        if name == "params":
            raise ValueError("a group's params are fixed; make a new optimizer for other groups")
        if name not in self._own:
            raise KeyError(name)
        self._replace({key: value for key, value in self._own.items() if key != name})

    def _scaled_rate(self, lr: Any, factor: float) -> Any:
        """Return a rate times a factor, the same object as long as they are: it may have state."""
        if self._scaled[0] is not lr or self._scaled[1] != factor:
            self._scaled = lr, factor, _rate_state.scaled(lr, factor)
        return self._scaled[2]

    def _replace(self, settings: Mapping[str, Any]) -> None:
        """Take other settings; where they are refused the old ones stay."""
        before = self._own
        self._own = self._owner._check_group(settings)
        try:
            self._owner._sync()
        except BaseException:
            self._own = before
            raise

    def __iter__(self) -> Iterator[str]:
        return iter(["params", "frozen", *self._owner._group_names()])

    def __len__(self) -> int:
        return 2 + len(self._owner._group_names())

    def __repr__(self) -> str:
        return repr(self._own)
