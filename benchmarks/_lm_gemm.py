"""The limit: how fast ONNX Runtime multiplies matrices of the model's shapes."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
from _lm_data import Setup
from onnx import TensorProto, helper


class Product(NamedTuple):
    """op(A) op(B) of shape (rows, columns), summed over ``inner``; as ONNX Gemm's attributes."""

    name: str
    rows: int
    inner: int
    columns: int
    trans_a: bool = False
    trans_b: bool = False

    @property
    def flops(self) -> int:
        """A multiplication and an addition each."""
        return 2 * self.rows * self.inner * self.columns


def model_products(setup: Setup) -> list[Product]:
    """The distinct products of a training step on a bucket of middle length."""
    key = sorted(setup.buckets)[(len(setup.buckets) - 1) // 2]
    rows, size, vocab, gates = key * setup.batch, setup.hidden, setup.vocab, 4 * setup.hidden
    return [
        Product("vocabulary, x W^T", rows, size, vocab, trans_b=True),
        Product("vocabulary, dz W", rows, vocab, size),
        Product("vocabulary, dz^T x", vocab, rows, size, trans_a=True),
        Product("vocabulary, dz^T x, transposed beforehand", vocab, rows, size),
        Product("gates, x W^T", rows, size, gates, trans_b=True),
        Product("gates, dz W", rows, gates, size),
        Product("gates, dz^T x", gates, rows, size, trans_a=True),
        Product("gates, [dz^T x, dz^T h], transposed beforehand", gates, rows, 2 * size),
        Product("one step, h R^T", setup.batch, size, gates, trans_b=True),
        Product("one step, dz R", setup.batch, gates, size),
    ]


def rate(product: Product, threads: int, seconds: float) -> float:
    """FLOP/s, from the median run; operands are graph inputs, as weights in training are."""
    shape_a = (product.rows, product.inner)
    shape_b = (product.inner, product.columns)
    shapes = {
        "a": shape_a[::-1] if product.trans_a else shape_a,
        "b": shape_b[::-1] if product.trans_b else shape_b,
        "c": (product.rows, product.columns),
    }
    info = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()}
    attributes = {"transA": int(product.trans_a), "transB": int(product.trans_b)}
    node = helper.make_node("Gemm", ["a", "b"], ["c"], **attributes)
    graph = helper.make_graph([node], "product", [info["a"], info["b"]], [info["c"]])
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    arrays = {n: rng.standard_normal(s, dtype=np.float32) for n, s in shapes.items()}
    values = {n: ort.OrtValue.ortvalue_from_numpy(a) for n, a in arrays.items()}
    binding = session.io_binding()
    for name in ("a", "b"):
        binding.bind_ortvalue_input(name, values[name])
    binding.bind_ortvalue_output("c", values["c"])
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 8 or time.perf_counter() < end:
        start = time.perf_counter()
        session.run_with_iobinding(binding)
        times.append(time.perf_counter() - start)
    return product.flops / statistics.median(times[3:])


def rates(setup: Setup, threads: int, seconds: float) -> dict[str, float]:
    """FLOP/s of each product by name."""
    return {p.name: rate(p, threads, seconds) for p in model_products(setup)}
