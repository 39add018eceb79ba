"""Networks of scikit-learn, torch and Keras give what gdcore's gives with the same weights."""

import numpy as np
import pytest

import gdcore as gd
from gdcore.layers import Activation, BatchNorm, Dropout, LayerNorm, Residual

LIMIT = {"float32": 2e-6, "float64": 1e-12}  # of the largest output


def rows(rng, dtype, width=5):
    return rng.normal(size=(40, width)).astype(dtype)


def same(found, wanted, dtype="float64"):
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=LIMIT[dtype] * scale)


def trained(layers, X, dtype):
    """A model whose weights and moving statistics are no longer the first ones."""
    model = gd.Sequential(layers, dtype=dtype)
    model.compile(gd.Adam(0.05), "mse")
    model.fit(X, np.sin(X[:, :2]), batch_size=8, epochs=3, verbose=0, seed=0)
    return model


# ---- torch ---------------------------------------------------------------------------------------


def stacks(torch):
    """(gdcore's layers, torch's modules) that are the same network."""
    nn = torch.nn

    class AddInput(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    norm = {"eps": 1e-3}
    return {
        "mlp": (
            [gd.Dense(7, "relu"), Dropout(0.2), gd.Dense(6, "tanh", use_bias=False), gd.Dense(2)],
            [
                nn.Linear(5, 7),
                nn.ReLU(),
                nn.Dropout(0.2),
                nn.Linear(7, 6, bias=False),
                nn.Tanh(),
                nn.Linear(6, 2),
            ],
        ),
        "norms": (
            [BatchNorm(0.9), gd.Dense(6), LayerNorm(), Activation("gelu"), gd.Dense(2, "sigmoid")],
            [
                nn.BatchNorm1d(5, momentum=0.1, **norm),
                nn.Linear(5, 6),
                nn.LayerNorm(6, **norm),
                nn.GELU(),
                nn.Linear(6, 2),
                nn.Sigmoid(),
            ],
        ),
        "residual": (
            [Residual([gd.Dense(4, "elu"), Residual([gd.Dense(4)]), gd.Dense(5)]), gd.Dense(2)],
            [
                AddInput(nn.Linear(5, 4), nn.ELU(), AddInput(nn.Linear(4, 4)), nn.Linear(4, 5)),
                nn.Linear(5, 2),
            ],
        ),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["mlp", "norms", "residual"])
def test_torch(name, dtype, rng):
    torch = pytest.importorskip("torch")
    layers, modules = stacks(torch)[name]
    X = rows(rng, dtype)
    model = trained(layers, X, dtype)
    net = torch.nn.Sequential(*modules).to(getattr(torch, dtype)).eval()

    def outputs():
        with torch.no_grad():
            return net(torch.from_numpy(X)).numpy()

    state = {name: torch.from_numpy(array) for name, array in gd.weights.to_torch(model).items()}
    net.load_state_dict(state, strict=True)
    same(model.predict(X), outputs(), dtype)

    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.1)
    for given in (net, net.state_dict(), dict(net.state_dict(keep_vars=True))):
        model.set_weights([np.zeros_like(array) for array in model.get_weights()])
        gd.weights.from_torch(model, given)
        same(model.predict(X), outputs(), dtype)
    found = gd.weights.to_torch(model)
    for key, tensor in net.state_dict().items():
        assert (found[key] == tensor.numpy()).all()


def test_tensors_that_numpy_does_not_have(rng):
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(5, 2)
    model = gd.Sequential([gd.Dense(2)])
    gd.weights.from_torch(model, net)
    before = model.get_weights()
    with pytest.raises(TypeError, match=r"state_dict\['weight'\] cannot be read as an array"):
        gd.weights.from_torch(model, net.to(torch.bfloat16))
    with pytest.raises(TypeError, match=r"state_dict\['weight'\] is float16"):
        gd.weights.from_torch(model, net.half())
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


# ---- scikit-learn --------------------------------------------------------------------------------


few = pytest.mark.filterwarnings("ignore:Stochastic Optimizer. Maximum iterations")


@few
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_sklearn_regression(activation, rng):
    network = pytest.importorskip("sklearn.neural_network")
    X = rows(rng, "float64")
    mlp = network.MLPRegressor(
        hidden_layer_sizes=(6, 4), activation=activation, max_iter=3, random_state=0
    )
    mlp.fit(X, np.sin(X[:, :2]))
    model = gd.Sequential([gd.Dense(6, activation), gd.Dense(4, activation), gd.Dense(2)])
    gd.weights.from_sklearn(model, mlp)
    same(model.predict(X), mlp.predict(X))

    model = trained([gd.Dense(6, activation), gd.Dense(4, activation), gd.Dense(2)], X, "float64")
    mlp.coefs_, mlp.intercepts_ = gd.weights.to_sklearn(model)
    same(model.predict(X), mlp.predict(X))


@few
@pytest.mark.parametrize("classes", [2, 3])
def test_sklearn_classes(classes, rng):
    network = pytest.importorskip("sklearn.neural_network")
    X = rows(rng, "float64")
    y = np.arange(len(X)) % classes
    mlp = network.MLPClassifier(
        hidden_layer_sizes=(6,), activation="tanh", max_iter=3, random_state=0
    )
    mlp.fit(X, y)
    last = gd.Dense(3, "softmax") if classes == 3 else gd.Dense(1, "sigmoid")
    model = gd.Sequential([gd.Dense(6, "tanh"), last])
    gd.weights.from_sklearn(model, mlp.coefs_, mlp.intercepts_)
    wanted = mlp.predict_proba(X) if classes == 3 else mlp.predict_proba(X)[:, 1:]
    same(model.predict(X), wanted)


# ---- Keras ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_keras_has_the_same_order_of_weights(rng):
    keras = pytest.importorskip("keras")
    k = keras.layers
    X = rows(rng, "float32")
    model = trained(
        [
            gd.Dense(7, "relu"),
            BatchNorm(0.9),
            Dropout(0.2),
            gd.Dense(6, "tanh", use_bias=False),
            LayerNorm(),
            gd.Dense(2, "sigmoid"),
        ],
        X,
        "float32",
    )
    net = keras.Sequential(
        [
            k.Input((5,)),
            k.Dense(7, "relu"),
            k.BatchNormalization(momentum=0.9),
            k.Dropout(0.2),
            k.Dense(6, "tanh", use_bias=False),
            k.LayerNormalization(),
            k.Dense(2, "sigmoid"),
        ]
    )
    net.set_weights(model.get_weights())
    same(model.predict(X), net.predict(X, verbose=0), "float32")
    changed = [rng.uniform(0.1, 1.0, array.shape) for array in net.get_weights()]
    net.set_weights(changed)
    model.set_weights(net.get_weights())
    same(model.predict(X), net.predict(X, verbose=0), "float32")
