"""Symbol files with values that MXNet would not write: read, inferred, initialised, or refused."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

import symbucket as sb
from tests.fuzz.reading import Case, main, replaced


def _network() -> dict[str, Any]:
    with sb.NameManager():
        x = sb.sym.Variable("data", shape=(2, 6), dtype="float32", lr_mult=1.0, wd_mult=0.5)
        weight = sb.sym.Variable("w", lr_mult=2.0, wd_mult=0.0, init=sb.init.Uniform(0.1))
        y = sb.sym.FullyConnected(x, weight, num_hidden=4, name="fc")
        y = sb.sym.BatchNorm(y, name="bn")
        parts = sb.sym.SliceChannel(y, num_outputs=2, name="cut")
        y = sb.sym.Concat(parts[0], sb.sym.clip(parts[1], -1, 1), dim=1, name="both")
        y = sb.sym.sum(sb.sym.Reshape(y, shape=(2, 2, -1)), axis=(1,), name="total")
        y = sb.sym.Dropout(sb.sym.Activation(y, act_type="tanh"), p=0.5)
        y = sb.sym.SoftmaxOutput(y, name="softmax", use_ignore=True, ignore_label=-1)
    return json.loads(y.tojson())  # type: ignore[no-any-return]


_FILE = _network()


def case(seed: int) -> Case:
    """Return the reading of file number ``seed``, with one or two values replaced."""
    rng = np.random.default_rng(seed)
    tree = _FILE
    for _ in range(rng.integers(1, 3)):
        tree = replaced(tree, rng)
    text = json.dumps(tree)
    return lambda: _use(text, bind=seed % 20 == 0)


def _use(text: str, bind: bool) -> None:
    symbol = sb.sym.load_json(text)
    symbol.tojson()
    symbol.attr_dict()
    names = dict(enumerate(symbol.list_arguments()))
    sb.optimizer.create("sgd", sym=symbol, param_idx2name=names)
    symbol.infer_type()
    shapes, _, _ = symbol.infer_shape()
    for name, shape in zip(symbol.list_arguments(), shapes or ()):
        if name not in ("data", "softmax_label") and np.prod(shape, dtype=float) < 1e6:
            attrs = symbol.attr_dict().get(name, {})
            sb.init.Xavier()(sb.init.InitDesc(name, attrs), np.empty(shape, np.float32))
    if bind and all(np.prod(s, dtype=float) < 1e6 for s in shapes or ()):
        symbol.simple_bind(sb.cpu()).forward()


if __name__ == "__main__":
    sys.exit(main(case, __doc__))
