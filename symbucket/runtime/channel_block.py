"""The size of a block of channels in the runtime's blocked convolutions on this processor."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir

from symbucket.ir import BLOCKED_DOMAIN, Builder, model_bytes, new_graph
from symbucket.runtime.backend import ort
from symbucket.runtime.session import session_options

_FEWEST = 4  # channels that the runtime puts into a block, which it fills up


@cache
def channel_block() -> int:
    """Return how many channels a block has; 0 if the runtime has no such convolutions here.

    The runtime is asked, by a model of one node: it fills up a block of a few channels. It has 16
    with AVX-512 and on ARM, 8 with AVX2; it has none on other processors, or in builds without the
    operators.
    """
    options = session_options(1)
    options.log_severity_level = 4  # a refusal is an answer
    few = np.zeros((1, _FEWEST, 1, 1), np.float32)
    try:
        session = ort.InferenceSession(_model(), options, providers=["CPUExecutionProvider"])
        (blocks,) = session.run(None, {"x": few})
    except MemoryError:  # of Python, not of the runtime
        raise
    except Exception:  # the runtime's exceptions have no common base
        return 0
    block = int(blocks.shape[1])
    return block if block > _FEWEST else 0


def _model() -> bytes:
    g = Builder(new_graph("channel_block"))
    x = g.input("x", (1, _FEWEST, 1, 1), ir.DataType.FLOAT)
    blocks = g.op("ReorderInput", x, domain=BLOCKED_DOMAIN)
    blocks.shape = None  # the answer
    g.graph.outputs.append(blocks)
    g.graph.opset_imports[BLOCKED_DOMAIN] = 1
    return model_bytes(g.graph)
