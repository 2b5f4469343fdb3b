"""Our shape rules of ONNX operators agree with onnx's own inference, over all operator models."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from symbucket.compiler import CompilerOptions, Program, compile_inference, compile_training
from symbucket.errors import ShapeError
from symbucket.ir import Builder, dtype_of, new_graph, shape_of
from tests.ops.op_cases import BY_ID, CASES
from tests.ops.op_harness import apply, parts, row_programs, rows

Types = dict[str, tuple[tuple[int, ...], int]]


def _types(values: Any) -> Types:
    return {
        v.name: (
            tuple(d.dim_value for d in v.type.tensor_type.shape.dim),
            v.type.tensor_type.elem_type,
        )
        for v in values
        if all(d.HasField("dim_value") for d in v.type.tensor_type.shape.dim)
    }


def check(program: Program) -> int:
    """Compare shapes and dtypes of all intermediate values; gives how many there were."""
    proto = program.proto()
    onnx.checker.check_model(proto, full_check=True)
    ours = {**_types(proto.graph.value_info), **_types(proto.graph.output)}
    made = {name for node in proto.graph.node for name in node.output if name}
    assert made <= set(ours), "every value carries its static shape"
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    found = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    theirs = {**_types(found.graph.value_info), **_types(found.graph.output)}
    unknown = made - set(theirs)
    assert not unknown, f"onnx cannot say what {unknown} are"
    for name in made:
        assert ours[name] == theirs[name], name
    return len(made)


@pytest.mark.parametrize("case", rows())
def test_recorded_cases(case: str) -> None:
    assert sum(check(program) for program in row_programs(case).values()) > 0


@pytest.mark.parametrize("name", BY_ID)
def test_small_cases(name: str) -> None:
    case = BY_ID[name]
    inputs = {
        n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in case.make(1).items()
    }
    symbol = apply(case.op, case.attrs, list(inputs))
    shapes = {n: a.shape for n, a in inputs.items()}
    dtypes = {n: a.dtype for n, a in inputs.items()}
    shown = CompilerOptions(value_info=True)
    check(compile_inference(symbol, shapes, dtypes, options=shown))
    training = compile_training(symbol, shapes, dtypes, case.wanted, options=shown)
    for program in parts(training).values():
        check(program)


def test_the_small_cases_are_many() -> None:
    assert len(CASES) > 250


# One node at a time: shapes that operators do not emit, and mistakes ---------------------------


def value(g: Builder, *shape: int, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
    return g.input(g.unique("v"), shape, dtype)


@pytest.mark.parametrize(
    ("op", "shapes", "constants", "attrs", "expected"),
    [
        ("Slice", [(5, 4)], [[-2], [-9], [0], [-1]], {}, (4, 4)),
        ("Slice", [(5, 4)], [[1, 0], [99, 2]], {}, (4, 2)),
        ("Slice", [(5, 4)], [[3], [1], [1]], {}, (5, 0)),
        ("Reshape", [(2, 3, 4)], [[0, -1]], {}, (2, 12)),
        ("Reshape", [(2, 3)], [[-1]], {}, (6,)),
        ("Split", [(7, 2)], [[3, 4]], {"axis": -2}, (3, 2)),
        ("Squeeze", [(1, 3, 1)], [], {}, (3,)),
        ("Squeeze", [(1, 3, 1)], [[-1]], {}, (1, 3)),
        ("Unsqueeze", [(2, 3)], [[0, -1]], {}, (1, 2, 3, 1)),
        ("Expand", [(3, 1)], [[2, 1, 4]], {}, (2, 3, 4)),
        ("Tile", [(2, 3)], [[2, 3]], {}, (4, 9)),
        ("Pad", [(2, 3)], [[1, 0, 0, 2]], {}, (3, 5)),
        ("Transpose", [(2, 3, 4)], [], {}, (4, 3, 2)),
        ("Gather", [(5, 4), (2, 3)], [], {"axis": -1}, (5, 2, 3)),
        ("Flatten", [(2, 3, 4)], [], {"axis": 2}, (6, 4)),
        ("Flatten", [(2, 3, 4)], [], {"axis": -1}, (6, 4)),
        ("MatMul", [(3,), (3,)], [], {}, ()),
        ("MatMul", [(5, 2, 3), (3, 4)], [], {}, (5, 2, 4)),
        ("MatMul", [(2, 3), (3,)], [], {}, (2,)),
        ("Gemm", [(3, 2), (4, 3)], [], {"transA": 1, "transB": 1}, (2, 4)),
        ("Concat", [(2, 1), (2, 4)], [], {"axis": -1}, (2, 5)),
        ("ReduceSum", [(2, 3)], [], {"noop_with_empty_axes": 1}, (2, 3)),
        ("ReduceSum", [(2, 3)], [], {"keepdims": 0}, ()),
        ("ReduceMax", [(2, 3)], [[-1]], {"keepdims": 0}, (2,)),
        ("ArgMax", [(2, 3)], [], {"axis": -1, "keepdims": 0}, (2,)),
        ("Where", [(2, 1), (3,), (1, 1)], [], {}, (2, 3)),
        ("DepthToSpace", [(1, 4, 2, 3)], [], {"blocksize": 2}, (1, 1, 4, 6)),
    ],
)
def test_single_nodes(
    op: str, shapes: Any, constants: Any, attrs: dict[str, Any], expected: tuple[int, ...]
) -> None:
    g = Builder(new_graph("one"))
    inputs = [value(g, *s) for s in shapes]
    if op == "Gather":
        inputs[1] = value(g, *shapes[1], dtype=ir.DataType.INT64)
    if op == "Where":
        inputs[0] = value(g, *shapes[0], dtype=ir.DataType.BOOL)
    outputs = 2 if op == "Split" else 1
    made = g.ops(op, *inputs, *(g.ints(*c) for c in constants), outputs=outputs, **attrs)
    assert shape_of(made[0]) == expected
    ours = [(shape_of(v), int(dtype_of(v))) for v in made]
    g.graph.outputs.extend(made)
    proto = ir.serde.serialize_model(ir.Model(g.graph, ir_version=10))
    onnx.checker.check_model(proto)
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    found = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    assert list(_types(found.graph.output).values()) == ours


@pytest.mark.parametrize(
    ("op", "shapes", "constants", "attrs", "message"),
    [
        ("Add", [(2, 3), (4, 3)], [], {}, "do not broadcast"),
        ("MatMul", [(2, 3), (4, 3)], [], {}, "inner dimensions 3 and 4 differ"),
        ("Gemm", [(2, 3), (4, 3)], [], {}, "inner dimensions 3 and 4 differ"),
        ("Reshape", [(2, 3)], [[4]], {}, r"cannot reshape \(2, 3\) into \(4,\)"),
        ("Transpose", [(2, 3)], [], {"perm": [0, 0]}, "is not a permutation of 2 axes"),
        ("Split", [(5,)], [[2, 2]], {}, r"sizes \[2, 2\] do not add up to 5"),
        ("Squeeze", [(2, 3)], [[0]], {}, "are not all of size 1"),
        ("Concat", [(2, 3), (3, 3)], [], {"axis": 1}, "differ outside axis 1"),
        ("Expand", [(3, 2)], [[3, 4]], {}, "do not broadcast"),
    ],
)
def test_shapes_that_do_not_fit_name_the_node(
    op: str, shapes: Any, constants: Any, attrs: dict[str, Any], message: str
) -> None:
    g = Builder(new_graph("bad"))
    inputs = [value(g, *s) for s in shapes]
    with g.scoped("fc1"), pytest.raises(ShapeError, match=message) as caught:
        g.ops(op, *inputs, *(g.ints(*c) for c in constants), outputs=1, **attrs)
    assert f"ONNX node 'fc1/{op}' ({op}) does not fit its inputs" in str(caught.value)


def test_dtypes_that_differ_are_refused() -> None:
    g = Builder(new_graph("bad"))
    with pytest.raises(ShapeError, match="dtypes differ: FLOAT and DOUBLE"):
        g.op("Add", value(g, 2), value(g, 2, dtype=ir.DataType.DOUBLE))


def test_a_shape_that_is_computed_is_refused() -> None:
    g = Builder(new_graph("bad"))
    with pytest.raises(ShapeError, match=r"input 1 \(v_1\) must be a constant"):
        g.op("Reshape", value(g, 2), value(g, 1, dtype=ir.DataType.INT64))
