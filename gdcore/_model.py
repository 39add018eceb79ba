"""What a model is beside its training: a stack of layers with the settings of `compile`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Never, Self

import numpy as np
from numpy.typing import DTypeLike

from gdcore._average import keeps_average
from gdcore._build import seeded
from gdcore._keywords import named_arguments
from gdcore._last_layer import (
    OF_CLASSES,
    OF_EVENTS,
    PROBABILITIES,
    Head,
    as_loss,
    check_outputs,
    ending_of,
    head_of,
    outputs_of,
)
from gdcore._layer import Layer
from gdcore._model_optimizer import asked_for, grouped, settings_of
from gdcore._optimizer import Optimizer
from gdcore._stack import Stack
from gdcore._summary import summary_html, summary_text
from gdcore.activations import Activation
from gdcore.losses import Loss

# Arguments of Keras's compile, and where the same thing is said here; what is missing.
_COMPILE = {
    "jit_compile": "training runs in C anyway; leave it out",
    "learning_rate": "the rate is the optimizer's: gd.Adam(1e-3)",
    "loss": "it says what training makes small: model.compile('adam', loss='mse')",
    "loss_weights": "there is one output, and one loss; leave it out",
    "lr": "the rate is the optimizer's: gd.Adam(1e-3)",
    "run_eagerly": "training runs in C anyway; leave it out",
    "weighted_metrics": "metrics= takes weights where fit and evaluate are given some",
}
# Attributes that a model has elsewhere, or not to be set, and where the same thing is done here.
_SET = {
    "trainable": "layers are frozen one by one, model.layers[0].trainable = False, before compile",
    "learning_rate": "the rate is the optimizer's: model.optimizer.lr = 0.01",
    "lr": "the rate is the optimizer's: model.optimizer.lr = 0.01",
    "layers": "model.add puts one behind the others, before the model is built",
    **dict.fromkeys(("optimizer", "loss", "metrics"), "model.compile chooses it"),
}
_CLONE = {
    "random_state": "here it is seed",
    "weights": "a clone draws its own; copy.deepcopy(model) has the model's",
}


class Model(Stack):
    """A stack of layers with the settings of its training; see `gdcore.models.Sequential`."""

    def __init__(
        self,
        layers: Sequence[Layer] | None = None,
        dtype: DTypeLike | None = None,
        **unknown: Never,
    ) -> None:
        self._settings: Optimizer | None = None
        self._optimizer: Optimizer | None = None
        self._loss: Loss | Callable[..., Any] | None = None
        self._metrics: list[Any] = []
        self._head: Head | None = None
        self._wishes: list[dict[str, Any]] = []
        self._compiled_layers: list[Layer] = []
        self.history: Any = None
        self.stop_training = False
        self._outside_at: int | None = None  # steps done when weights were last written
        self._busy = False  # in the middle of a fit
        self._unsettled = False  # before its first batch, so that an error undoes what it began
        self._own_steps: Any = None  # key and number of steps of train_on_batch
        self._fit_state: Any = None  # where the last fit stood, see gdcore._fit_settings
        super().__init__(layers, dtype, **unknown)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Write weights into the model's arrays, which keep their memory.

        Where the optimizer keeps an average of the parameters, that predicts again after the next
        step; until then these weights do.

        Parameters
        ----------
        weights : list of array-like
            In the order and the shapes of `get_weights`; other types are converted. A model that
            does not know the width of X takes it from the first: the rows of W.

        Raises
        ------
        TypeError, ValueError
            Naming the first that does not fit; nothing has changed then.
        """
        super().set_weights(weights)
        self._outside_at = None if self._optimizer is None else self._optimizer.t

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SET:
            raise AttributeError(f"{name} of a model cannot be set: {_SET[name]}")
        object.__setattr__(self, name, value)

    def _refuse_busy(self) -> None:
        """Refuse what would change the settings of a fit under way.

        A fit marks itself by ``__dict__["_busy"]``: at a call, or in a context manager, Ctrl-C
        could come between the mark and what takes it back.
        """
        if self._busy:
            raise RuntimeError(
                "this model is in the middle of a fit (another thread, or its own callback); one"
                " fit at a time is accepted: model.clone() gives a model of its own"
            )

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Undo the building and the drawing of a fit that is refused before its first batch."""
        store, names = self._store, ("plan", "dtype", "flat", "arrays", "buffers", "drawn")
        before = [getattr(store, name) for name in names]
        generator = store._generator
        state: Any = None if generator is None else generator.bit_generator.state
        self._unsettled = True
        try:
            yield
        except BaseException:
            if self._unsettled:
                for name, value in zip(names, before, strict=True):
                    setattr(store, name, value)
                store._generator = generator
                if generator is not None:
                    generator.bit_generator.state = state
                self._cache.clear()
            raise
        finally:
            self._unsettled = False

    def _settle(self) -> None:
        """Let what a fit began stand: its first batch comes."""
        self._unsettled = False

    def _point(self) -> list[Any]:
        """Return the parameters that predict: the model's own, or the optimizer's average."""
        params = self._store.ready()
        optimizer = self._optimizer
        if optimizer is None or self._outside_at == optimizer.t:
            return params
        averages = self._cache.get("averages")
        if averages is None:
            averages = self._cache["averages"] = keeps_average(optimizer)
        if not averages or not optimizer.t:
            return params
        averaged: list[Any] = optimizer.averaged(params)
        return averaged

    def _predicting_weights(self) -> list[Any]:
        """Return copies of the weights that predict, in the order of `get_weights`."""
        point = {id(a): b for a, b in zip(self._store.arrays, self._point(), strict=True)}
        return [point.get(id(array), array).copy() for _, array in self._weights()]

    def _check_width(self, outputs: int) -> None:
        if self._loss is not None:
            check_outputs(self._loss, self._layers, outputs)

    def _fused_loss(self) -> tuple[tuple[Any, ...] | None, bool]:
        """Return the loss's spec for the core (None: a function), and whether to drop a stage.

        What is dropped in training is the last stage, an activation: the loss takes its inputs.
        """
        head = self._compiled()
        return head.spec, head.drop_last

    def _loss_kind(self) -> str:
        """Return what y holds, see `gdcore._last_layer.Head`."""
        return self._compiled().kind

    def _probability_activation(self) -> Activation | None:
        """Return what makes the model's outputs probabilities, where they are none and can be."""
        return self._compiled().probabilities

    def _gives_probabilities(self) -> bool:
        """Whether outputs, after that activation, are probabilities."""
        if self._head is not None and self._head.probabilities is not None:
            return True
        name = ending_of(self._layers).name
        own = isinstance(self._loss, Loss) and self._loss.name in (*OF_CLASSES, *OF_EVENTS)
        return name in PROBABILITIES or (own and not name)

    # ---- Compile settings ------------------------------------------------------------------------

    @property
    def optimizer(self) -> Optimizer | None:
        """The live optimizer; None before compile."""
        return self._optimizer

    @property
    def loss(self) -> Loss | Callable[..., Any] | None:
        """The loss, as an object of ``gd.losses`` or the user's function; None before compile."""
        return self._loss

    @property
    def metrics(self) -> list[Any]:
        """The metrics, objects of ``gd.metrics``; the list is a new one."""
        return list(self._metrics)

    @named_arguments(_COMPILE)
    def compile(self, optimizer: Any, loss: Any, metrics: Any = None) -> None:
        """Choose how the model is trained.

        Parameters
        ----------
        optimizer : str or Optimizer
            A name, of any case, means torch's defaults: "sgd", "adam", ...; of an optimizer the
            settings are copied: the live one, whose state is new, is ``model.optimizer``.
            Positions in its groups are those of ``model.params``.
        loss : str, Loss or callable
            A name or object of ``gd.losses`` (reduction "mean" or "sum"), or your own
            ``f(y_true, y_pred)`` in NumPy. Cross-entropies look at the last layer: after softmax or
            sigmoid they are fused with it, after a linear layer they take logits.
        metrics : list of str, Metric or callable, optional
            Of ``gd.metrics``, or functions ``f(y_true, y_pred)``. They see probabilities.

        Raises
        ------
        TypeError, ValueError
            For an unknown name, with the nearest one, or a loss that does not fit the last layer;
            what was compiled before is unchanged then.

        Examples
        --------
        >>> model = gd.Sequential([gd.Input(4), gd.Dense(8, "relu"), gd.Dense(3)])
        >>> model.compile("adam", "sparse_categorical_crossentropy")
        >>> model.optimizer
        Adam(lr=0.001)
        """
        self._refuse_busy()
        settings, chosen = settings_of(optimizer), as_loss(loss)
        judges = _metrics_of(metrics)
        head = head_of(chosen, self._layers)
        outputs = outputs_of(self._layers)
        if outputs is None and self._store.plan is not None:
            outputs = self._store.plan.width
        if outputs is not None:
            check_outputs(chosen, self._layers, outputs)
        wishes = asked_for([*self._parts()])
        live = grouped(settings, wishes)
        self._settings, self._optimizer, self._wishes = settings, live, wishes
        self._loss, self._head, self._metrics = chosen, head, judges
        self._compiled_layers = self.layers
        self._cache.clear()

    def _compiled(self) -> Head:
        """Return how the loss is computed; refuse a model that is not compiled as it now is."""
        if self._head is None:
            raise ValueError(
                "the model is not compiled; model.compile(optimizer='adam', loss='mse') says how it"
                " is trained"
            )
        if self._compiled_layers != self._layers:
            raise ValueError(
                "layers were added or taken away since compile; call model.compile again"
            )
        return self._head

    def _check_compiled(self) -> None:
        """Refuse a model that is not compiled, or whose layers ask for something else since.

        Raises
        ------
        ValueError
        """
        self._compiled()
        if asked_for([*self._parts()]) != self._wishes:
            raise ValueError(
                "trainable or lr_scale of a layer was changed since compile, which takes them; call"
                " model.compile again (the optimizer's state is new then)"
            )

    # ---- Copies, and how a model is shown --------------------------------------------------------

    @named_arguments(_CLONE)
    def clone(self, seed: int | np.random.Generator | None = None) -> Self:
        """Return a model of the same layers and compile settings, with weights of its own.

        Its weights are not drawn yet. Its optimizer has done no step and has the settings that
        compile was given, not what was set on ``model.optimizer`` since. Where this model knows its
        input width and type, the clone has them too.

        Parameters
        ----------
        seed : int or numpy.random.Generator, optional
            Of the clone's generator; None for a new one at random.

        Examples
        --------
        >>> model = gd.Sequential([gd.Input(2), gd.Dense(1)])
        >>> a, b = model.clone(seed=1), model.clone(seed=1)
        >>> bool((a.layers[0].W == b.layers[0].W).all())
        True
        """
        generator = seeded(seed)
        other = type(self)(dtype=self._store.dtype)
        other._store._generator, other._store.plan = generator, self._store.plan
        other._input = self._input
        other._layers = [layer._copy(other._store) for layer in self._layers]
        if self._settings is not None:
            other._settings, other._loss, other._head = self._settings, self._loss, self._head
            other._metrics, other._wishes = list(self._metrics), self._wishes
            other._optimizer = grouped(self._settings, self._wishes)
            if self._compiled_layers == self._layers:
                other._compiled_layers = other.layers
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}, "_busy": False, "_unsettled": False}

    def __copy__(self) -> Self:
        return copy.deepcopy(self)

    def summary(self) -> None:
        """Print the layers: name, kind, outputs, parameters; what is not known yet is "?".

        Examples
        --------
        >>> gd.Sequential([gd.Input(4), gd.Dense(8, "relu"), gd.Dense(3)]).summary()
        layer    kind         outputs  parameters
        dense    Dense, relu        8          40
        dense_1  Dense              3          27
        67 parameters, all trainable
        """
        print(summary_text(self))

    def _repr_html_(self) -> str:
        return summary_html(self)

    def __repr__(self) -> str:
        layers = [*([] if self._input is None else [self._input]), *self._layers]
        dtype = "" if self._store.dtype is None else f", dtype={self._store.dtype.name!r}"
        return f"Sequential([{', '.join(map(repr, layers))}]{dtype})"


def _metrics_of(value: Any) -> list[Any]:
    """Return metrics as a list of objects of `gdcore.metrics`, which differ in their names."""
    if value is None:
        return []
    from gdcore.metrics import get

    found = [get(one) for one in (value if isinstance(value, list | tuple) else [value])]
    for number, metric in enumerate(found):
        if any(metric.name == other.name for other in found[:number]):
            raise ValueError(
                f"metrics: two have the name {metric.name!r}; give one another, of a metric's name,"
                f" a loss or a function: gd.metrics.get(..., name='{metric.name}_2')"
            )
    return found
