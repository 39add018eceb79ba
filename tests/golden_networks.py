"""Networks whose trained weights are known bit by bit, and the tool that writes them down.

``python tests/golden_networks.py`` trains on each level of an x86-64 processor, in a process of its
own by ``GDCORE_ISA``, sees that AVX2 and AVX-512 agree, and writes tests/golden_networks.json.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from network_cases import CROSSENTROPY, Fit, Net

import gdcore as gd
from gdcore import _core

FILE = Path(__file__).with_suffix(".json")


def numbers(*shape, layer=0):
    """Numbers in [-1, 1) that are a function of their place: of no library's generator."""
    count = int(np.prod(shape))
    bits = _core.random_bits(5, 6, 2, 0, layer, 0, count).reshape(shape)
    return bits.astype(np.float64) / 2.0**31 - 1


def settle(net):
    """The network with such weights."""
    for i, p in enumerate(net.params):
        p[...] = numbers(*p.shape, layer=i + 10) / (np.sqrt(len(p)) if p.ndim == 2 else 4)
        if any(stage[0].endswith("norm") and stage[3][0] == i for stage in net.stages):
            p[...] += 1
    for i, b in enumerate(net.buffers):
        b[...] = i % 2
    return net


def classes(rows, inputs, count):
    X = numbers(rows, inputs, layer=1)
    return X, (np.abs(X.sum(axis=1)) * 10).astype(np.int64) % count


def small():
    """Batches of few rows, a step each: SGD with momentum."""
    net = Net(5, np.float32).dense(16).act("tanh").dense(16).act("relu").dense(3)
    X, y = classes(150, 5, 3)
    opt = gd.SGD(0.05, momentum=0.9)
    return net, X.astype(np.float32), y, opt, {"batch": 16, "loss": CROSSENTROPY}, 5


def everything():
    """Residuals, both norms, dropout, weights, penalties: Adam."""
    net = Net(6, np.float64).dense(11).act("gelu").layer_norm()
    fork = net.fork()
    net.dense(11).batch_norm().act("silu").dropout(0.25).dense(11).join(fork)
    net.act("elu").dense(2)
    X = numbers(600, 6, layer=1)
    y, weights = np.stack([X[:, 0] * X[:, 1], X[:, 2]], axis=1), np.abs(numbers(600, layer=2))
    penalties = np.tile([1e-4, 1e-3], (len(net.params), 1))
    other = {"batch": 257, "weights": weights, "penalties": penalties, "loss": "huber"}
    return net, X, y, gd.Adam(0.01), other, 4


def narrow():
    """One to four outputs in float32, many chunks, as columns: RMSprop."""
    net = Net(3, np.float32).dense(4).act("sigmoid").dense(2).act("softplus").dense(1)
    X = np.asfortranarray(numbers(2500, 3, layer=1))
    return net, X, X[:, :1] * X[:, 1:2], gd.RMSprop(0.01), {"batch": 2400}, 4


def slices():
    """Eight slices and the tree that adds them: AdamW."""
    net = Net(40, np.float32).dense(64).act("mish").dense(33).act("leaky_relu").dense(10)
    X, y = classes(3000, 40, 10)
    return net, X, y, gd.AdamW(0.003), {"batch": 2300, "loss": CROSSENTROPY}, 3


def large():
    """So many parameters that there is one slice, but two for the last batch: NAdam."""
    net = Net(400, np.float64).dense(500).act("hard_swish").dense(3)
    X = numbers(2560, 400, layer=1)
    return net, X, np.sign(X[:, :3]), gd.NAdam(0.001), {"batch": 2048, "loss": "log_cosh"}, 1


NETS = {make.__name__: make for make in (small, everything, narrow, slices, large)}


def trained(name, threads=0):
    """SHA-256 of the weights and losses of a network after some epochs."""
    net, X, y, opt, other, epochs = NETS[name]()
    fit = Fit(settle(net), X, y, opt, shuffle=True, key=(7, 8), threads=threads, **other)
    out = fit.run(epochs * fit.batches)
    assert np.isfinite(out.losses).all()
    assert out.ends[-1] < out.losses[0]
    parts = [*net.params, *net.buffers, out.losses, out.norms, out.ends]
    return hashlib.sha256(
        b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    ).hexdigest()


def main():
    """Write the file."""
    found = {}
    for level in _core.levels():
        command = [sys.executable, __file__, "--print"]
        environment = {**os.environ, "GDCORE_ISA": level}
        text = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        hashes = json.loads(text.stdout)
        known = found.setdefault("base" if level == "base" else "avx", hashes)
        assert known == hashes, f"{level} differs"
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if "--print" in sys.argv:
        print(json.dumps({name: trained(name) for name in NETS}))
    else:
        main()
