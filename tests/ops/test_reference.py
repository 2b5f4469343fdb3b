"""Every recorded operator case: outputs, gradients, auxiliary states, and valid models."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

from symbucket.symbol import Symbol
from tests.ops.op_harness import apply, each_node, recorded, row_inputs, row_programs, rows


@pytest.mark.parametrize("case", rows())
def test_the_numbers_are_those_of_mxnet(case: str) -> None:
    row, arrays = rows()[case], recorded()
    symbol: Symbol = apply(row["op"], row["attrs"], row["inputs"])
    inputs = row_inputs(row)
    args = {n: a for n, a in inputs.items() if n not in row["aux"]}
    aux = {n: inputs[n].copy() for n in row["aux"]}
    grads = {n: np.full_like(inputs[n], np.nan) for n in row["grads"]}
    bound = symbol.bind(None, args, grads, "write", aux)

    outputs = bound.forward(is_train=row["train"])
    assert len(outputs) == row["n_out"]
    for i, output in enumerate(outputs):
        expected = arrays[f"{case}/out/{i}"]
        assert output.shape == expected.shape
        np.testing.assert_allclose(output.asnumpy(), expected, rtol=1e-4, atol=1e-5)
    if row["grads"]:
        bound.backward([arrays[f"{case}/head/{i}"] for i in range(row["n_out"])])
    for name in row["grads"]:
        np.testing.assert_allclose(
            bound.grad_dict[name].asnumpy(),
            arrays[f"{case}/grad/{name}"],
            rtol=1e-3,
            atol=1e-5,
            err_msg=f"gradient of {name}",
        )
    for name in row["aux"]:
        np.testing.assert_allclose(
            bound.aux_dict[name].asnumpy(),
            arrays[f"{case}/aux_after/{name}"],
            rtol=1e-4,
            atol=1e-6,
            err_msg=f"auxiliary state {name}",
        )


@pytest.mark.parametrize("case", rows())
def test_every_model_is_valid_standard_onnx(case: str) -> None:
    for part, program in row_programs(case).items():
        proto = program.proto()
        onnx.checker.check_model(proto, full_check=True)
        domains = {node.domain for node in each_node(program)}
        assert domains <= {""}, f"{part} has nodes of {domains}"
        imports = {opset.domain: opset.version for opset in proto.opset_import}
        assert imports == {"": 21}, part
        assert proto.ir_version == 10


def test_the_recorded_cases_are_all_here() -> None:
    assert len(rows()) >= 157
    names = {re.sub(r"/[a-z_]+/\w+$", "", key) for key in recorded()}
    assert names == set(rows())
