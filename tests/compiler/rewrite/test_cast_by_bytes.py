"""Casts of large masks by way of bytes: before and after, and equal numbers."""

import numpy as np
import onnx_ir as ir
import pytest

from symbucket.compiler.rewrite.base import PassContext
from symbucket.compiler.rewrite.cast_by_bytes import LEAST_BYTES, cast_by_bytes
from symbucket.compiler.target import Target
from symbucket.ir import IR_VERSION
from symbucket.runtime.session import run_model
from tests.compiler.rewrite.graph_text import graph, lines

SLOW = PassContext(target=Target("slow", casts_booleans_slowly=True))


def mask_of(size):
    return graph(f"(bool[2,{size}] x) => (float[2,{size}] y) {{ y = Cast <to = 1>(x) }}")


def test_a_large_mask_becomes_bytes_first():
    model = mask_of(LEAST_BYTES // 2)
    assert cast_by_bytes(model, SLOW) == 1
    assert lines(model)[:3] == [
        "%0 = Cast(x, to=2)",
        "%1 = Reshape(%0, [2, 8192])",
        "%2 = Cast(%1, to=1)",
    ]
    mask = np.random.default_rng(0).random((2, LEAST_BYTES // 2)) < 0.5
    proto = ir.to_proto(ir.Model(model, ir_version=IR_VERSION))
    (floats,) = run_model(proto.SerializeToString(), {"x": mask}).values()
    np.testing.assert_array_equal(floats, mask.astype(np.float32))


@pytest.mark.parametrize(("size", "context"), [(4, SLOW), (LEAST_BYTES, PassContext())])
def test_small_masks_and_fast_runtimes_keep_the_cast(size, context):
    assert cast_by_bytes(mask_of(size), context) == 0
