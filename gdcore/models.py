"""Models: `Sequential`, a stack of layers that is compiled, fitted and asked [Keras's names].

Training runs in C, whole epochs by one call. This module holds what users call; layers and their
parameters are kept by `gdcore._stack`, the settings of ``compile`` by `gdcore._model`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gdcore._keywords import named_arguments
from gdcore._model import Model
from gdcore._names import no_attribute

if TYPE_CHECKING:
    from gdcore.history import History

__all__ = ["Sequential"]

Array = NDArray[Any]

_RATE = "the rate is the optimizer's: model.compile(gd.Adam(1e-3), loss)"
_THREADS = "training runs on C threads, gd.set_num_threads(n) of them; leave it out"
# Arguments of other libraries' methods, and where the same thing is said here.
_FIT = {
    "learning_rate": _RATE,
    "lr": _RATE,
    "max_iter": "here it is epochs",
    "n_epochs": "here it is epochs",
    "nb_epoch": "here it is epochs",
    "use_multiprocessing": _THREADS,
    "workers": _THREADS,
    "random_state": "here it is seed",
    "validation_batch_size": "validation has no batches that matter; leave it out",
    "validation_freq": "validation follows every epoch; leave it out",
    "validation_fraction": "here it is validation_split",
    "x": "here it is X",
    "X_val": "here it is validation_data=(X, y)",
}
_X = {"x": "here it is X"}
_ROWS = {
    **_X,
    "callbacks": "they are fit's; leave it out",
    "class_weight": "here it is sample_weight, one weight for each row",
    "steps": "all rows are taken, whatever their number; leave it out",
}
_BATCH = {**_X, "reset_metrics": "metrics are those of this batch alone; leave it out"}
_SAVE = {
    "filepath": "here it is path",
    "overwrite": "a file that is there is replaced; leave it out",
    "save_format": "there is one, the .npz; leave it out",
}


class Sequential(Model):
    """A stack of layers, each the input of the next: built, trained and asked as in Keras.

    Parameters
    ----------
    layers : list of Layer, optional
        Of no other model. The first may be `Input`; without it the width is that of the first X.
        `add` puts more behind them.
    dtype : float32 or float64, optional
        The float type of parameters and results. None takes that of the first X, and float64 for
        integers, or where weights are read before there is any X.

    Attributes
    ----------
    layers : list of Layer
        Without `Input`. ``layers[i].W`` and ``.b`` are live.
    params : list of ndarray
        ``[W1, b1, ...]``, live.
    optimizer, loss, metrics
        Of `compile`; the optimizer is the live one.
    history : History or None
        Of the last fit, also where that ended with an error or with Ctrl-C.
    stop_training : bool
        Set to True by a callback, it ends a fit.
    built : bool
        Whether the parameters have their memory.
    dtype : dtype or None

    Raises
    ------
    TypeError, ValueError
        Naming the layer that is not accepted.

    Notes
    -----
    Weights are drawn at first need, layer by layer, from the model's own generator: reading them,
    predict and fit are such needs. So ``fit(seed=0)`` of an untouched model gives the same weights
    each time. Parameters are C-contiguous views of one array and keep their memory: weights that
    are set or restored are written into it.

    References
    ----------
    F. Chollet et al., Keras (2015), whose names these are; D. Rumelhart, G. Hinton, R. Williams,
    "Learning representations by back-propagating errors", Nature 323 (1986).

    Examples
    --------
    >>> X, y = gd.datasets.moons(n=200, seed=0)
    >>> model = gd.Sequential([gd.Dense(16, "relu"), gd.Dense(2)])
    >>> model.compile(gd.Adam(0.01), "sparse_categorical_crossentropy", ["accuracy"])
    >>> h = model.fit(X, y, epochs=50, verbose=0, seed=0)
    >>> loss, accuracy = model.evaluate(X, y)
    >>> bool(accuracy > 0.9)
    True
    """

    @named_arguments(_FIT)
    def fit(
        self,
        X: Any,
        y: Any = None,
        batch_size: int | None = 32,
        epochs: int = 1,
        shuffle: bool = True,
        verbose: int = 1,
        validation_split: float = 0.0,
        validation_data: Sequence[Any] | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        callbacks: Sequence[Any] | None = None,
        initial_epoch: int = 0,
        seed: int | np.random.Generator | None = None,
        on_nonfinite: str = "raise",
        resume: bool = False,
        batch_order: Callable[[int], ArrayLike] | None = None,
        drop_last: bool = False,
        steps_per_epoch: int | None = None,
        stratify: bool = False,
    ) -> History:
        """Train for some epochs, each by one call into C, or many where Python asks nothing.

        Parameters
        ----------
        X : array-like (n, inputs), or iterable of batches
            Any strides and order, read-only, a memory map, a frame; integers and both float types.
            It is not copied: rows are converted to the model's type batch by batch. An iterable
            yields (X, y) or (X, y, sample_weight) for each step; y is left out then.
        y : array-like
            (n, outputs), or (n,) for one output; class numbers (n,) for the sparse losses.
        batch_size : int or None, default 32
            Rows of a step, the last batch having what is left. None is the full batch, 1 a single
            sample.
        epochs : int, default 1
            Passes over the data; with `initial_epoch` the number of the last one.
        shuffle : bool, default True
            Draw the order of the rows anew for each epoch.
        verbose : {0, 1, 2}, default 1
            Nothing, a progress bar, or a line an epoch.
        validation_split : float, default 0.0
            This part of the rows, the last ones, is not trained on: its loss and metrics are
            ``val_loss`` and so on after each epoch.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Rows of their own for that, instead.
        sample_weight : array-like (n,), optional
            Factors of the rows' losses, >= 0; "mean" divides by their sum in each batch.
        class_weight : dict {class: weight} or "balanced", optional
            Weights by class in the loss; "balanced" is ``n / (classes * count)``. Metrics take
            those of `sample_weight` alone.
        callbacks : list of Callback, optional
            Those of ``gd.callbacks``, or objects of your own classes that are derived from
            ``gd.callbacks.Callback``; one alone needs no list.
        initial_epoch : int, default 0
            Number of the first epoch; it only numbers them.
        seed : int or Generator, optional
            Of weights that were never needed, of the order, and of Dropout. None: the model's
            generator goes on where it stands.
        on_nonfinite : {"raise", "stop"}, default "raise"
            What a loss or gradient that is not finite does: raise `NonFiniteError`, or end the fit.
            Either way the last good weights are restored.
        resume : bool, default False
            Go on with the last fit, also after loading or Ctrl-C: the same bits as a run that went
            through.
        batch_order : callable, optional
            ``batch_order(epoch)`` returns the row numbers of an epoch in their order.
        drop_last : bool, default False
            Leave out a last batch that is smaller than the others.
        steps_per_epoch : int, optional
            Steps of an epoch; for iterables that do not end. One that ends before ends its epoch,
            with a warning.
        stratify : bool, default False
            Take `validation_split` of each class.

        Returns
        -------
        History
            ``.history["loss"]`` and so on, one value an epoch; also ``model.history``.

        Raises
        ------
        TypeError, ValueError
            For arguments and data that do not fit the model; nothing has changed then.
        NonFiniteError
            With ``.epoch``, ``.batch``, ``.layer`` and ``.history``.
        KeyboardInterrupt
            With ``.history``; the parameters are those after a completed step.

        Examples
        --------
        >>> X = np.linspace(-1.0, 1.0, 64)[:, None]
        >>> model = gd.Sequential([gd.Dense(8, "tanh"), gd.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> h = model.fit(X, X[:, 0] ** 2, epochs=5, verbose=0, seed=0)
        >>> len(h.history["loss"])
        5
        """
        from gdcore._fit import fit

        return fit(
            self,
            X,
            y,
            batch_size=batch_size,
            epochs=epochs,
            shuffle=shuffle,
            verbose=verbose,
            validation_split=validation_split,
            validation_data=validation_data,
            sample_weight=sample_weight,
            class_weight=class_weight,
            callbacks=callbacks,
            initial_epoch=initial_epoch,
            seed=seed,
            on_nonfinite=on_nonfinite,
            resume=resume,
            batch_order=batch_order,
            drop_last=drop_last,
            steps_per_epoch=steps_per_epoch,
            stratify=stratify,
        )

    @named_arguments(_BATCH)
    def train_on_batch(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Take one step on these rows.

        Parameters
        ----------
        X, y, sample_weight, class_weight
            As in `fit`.
        return_dict : bool, default False

        Returns
        -------
        float, list or dict
            Loss and metrics of the batch before the step, as `evaluate` returns them.

        Raises
        ------
        TypeError, ValueError, NonFiniteError
            As `fit`; nothing has changed then.

        Examples
        --------
        >>> model = gd.Sequential([gd.Dense(1, kernel_initializer="zeros")])
        >>> model.compile(gd.SGD(0.5), "mse")
        >>> model.train_on_batch([[1.0]], [2.0])
        4.0
        >>> model.params[0]
        array([[2.]])
        """
        from gdcore._fit_batches import train_on_batch

        return train_on_batch(self, X, y, sample_weight, class_weight, return_dict)

    @named_arguments(_ROWS)
    def evaluate(
        self,
        X: Any,
        y: Any,
        batch_size: int | None = None,
        verbose: int = 0,
        sample_weight: ArrayLike | None = None,
        *,
        return_dict: bool = False,
    ) -> Any:
        """Return the loss, penalties of regularizers included, and the metrics on a data set.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        batch_size, verbose
            Keras's; they change nothing: rows go in chunks that fit the cache, nothing is printed.
        return_dict : bool, default False

        Returns
        -------
        float
            The loss, where there are no metrics.
        list of float
            ``[loss, metrics...]`` in the order of `compile`.
        dict of float
            By name, with `return_dict`.

        Raises
        ------
        TypeError, ValueError
            For data that do not fit, and a model that is not compiled.

        Examples
        --------
        >>> model = gd.Sequential([gd.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> model.evaluate([[1.0], [2.0]], [1.0, 2.0])
        2.5
        """
        from gdcore._run import evaluate

        return evaluate(self, X, y, sample_weight=sample_weight, return_dict=return_dict)

    @named_arguments(_ROWS)
    def predict(self, X: Any, batch_size: int | None = None, verbose: int = 0) -> Array:
        """Return the outputs of the last layer.

        Dropout is off, batch normalisation takes its moving statistics, and where the optimizer
        keeps an average of the parameters, that is what predicts.

        Parameters
        ----------
        X : array-like (n, inputs)
            As in `fit`.
        batch_size, verbose
            Keras's; they change nothing: rows go in chunks that fit the cache, nothing is printed.

        Returns
        -------
        ndarray (n, outputs)
            New, of the model's type. After a linear last layer with a cross-entropy these are
            logits; `predict_proba` gives probabilities.

        Raises
        ------
        TypeError, ValueError
            For an X that does not fit.

        Examples
        --------
        >>> model = gd.Sequential([gd.Dense(1, kernel_initializer="ones")])
        >>> model.predict([[1.0, 2.0]])
        array([[3.]])
        """
        from gdcore._run import predict

        return predict(self, X)

    @named_arguments(_ROWS)
    def predict_proba(self, X: Any) -> Array:
        """Return probabilities: softmax or sigmoid of what `predict` returns, where it has none.

        Parameters
        ----------
        X : array-like (n, inputs)
            As in `fit`.

        Returns
        -------
        ndarray (n, outputs)
            One column with a sigmoid: the probability of class 1.

        Raises
        ------
        ValueError
            Where neither the last activation nor the loss is one of probabilities.

        Examples
        --------
        >>> model = gd.Sequential([gd.Dense(2, kernel_initializer="zeros")])
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> model.predict_proba([[1.0, 2.0]])
        array([[0.5, 0.5]])
        """
        if not self._gives_probabilities():
            raise ValueError(
                "predict_proba: the model has no probabilities; they come from a last activation"
                " 'softmax' or 'sigmoid', or from compile with a cross-entropy as loss"
            )
        outputs = self.predict(X)
        activation = None if self._head is None else self._probability_activation()
        return outputs if activation is None else activation(outputs)

    @named_arguments(_X)
    def value_and_grad(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None
    ) -> tuple[Any, list[Array]]:
        """Return the loss of these rows and its gradients, for a loop of your own.

        ``model.optimizer.step(model.params, grads)`` is the step that fit takes. Dropout draws from
        the model's generator, so that two calls differ; batch normalisation takes the statistics
        of these rows, without moving its own.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        loss : NumPy scalar of the model's type
            Penalties of regularizers included.
        grads : list of ndarray
            New, one for each of ``model.params``.

        Raises
        ------
        TypeError, ValueError
            For data that do not fit, and a model that is not compiled.

        Examples
        --------
        >>> model = gd.Sequential([gd.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> loss, grads = model.value_and_grad([[1.0], [2.0]], [1.0, 2.0])
        >>> loss, grads
        (np.float64(2.5), [array([[-5.]]), array([-3.])])
        """
        from gdcore._run import value_and_grad

        return value_and_grad(self, X, y, sample_weight)

    @named_arguments(_X)
    def explain(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Any:
        """Return every quantity of one step of backpropagation, layer by layer; nothing changes.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`; the batch, as a rule of few rows.

        Returns
        -------
        Explanation
            z, a, delta, dW, db and update of each layer as arrays, and a table that can be read.

        Raises
        ------
        TypeError, ValueError
            For data that do not fit, and a model that is not compiled.

        Examples
        --------
        >>> model = gd.Sequential([gd.Dense(2, "tanh"), gd.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> steps = model.explain([[1.0, 2.0]], [0.5])
        """
        from gdcore._explain import explain

        return explain(self, X, y, sample_weight)

    @named_arguments(_SAVE)
    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to a file: layers, weights, settings, optimizer, generator, last fit.

        The file is an ``.npz`` without pickle. It is written beside and renamed, so that `path`
        always holds a whole file.

        Parameters
        ----------
        path : str or path
            Ending with ``.npz``.

        Raises
        ------
        ValueError, OSError
            Where something of the model cannot be saved, or the file not be written.

        See Also
        --------
        gdcore.load_model : Reads it.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> model = gd.Sequential([gd.Input(2), gd.Dense(1)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "m.npz"
        ...     model.save(path)
        ...     again = gd.load_model(path)
        >>> bool((again.params[0] == model.params[0]).all())
        True
        """
        from gdcore._saving import save

        save(self, path)


def __getattr__(name: str) -> Never:
    raise no_attribute(__name__, name, __all__)
