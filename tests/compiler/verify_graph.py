"""Is a graph well formed? Asked between passes and of every finished model."""

import onnx
import onnx_ir as ir

from symbucket.ir import IR_VERSION, OWN_DOMAIN, body_of, bounds
from symbucket.ir.shapes import infer_node


def verify(graph):
    """Topological order, unique names, links in both directions, types that agree with the rules.

    Types are asked twice: of our own shape rules and of ONNX's strict inference.
    """
    known = {*graph.inputs, *graph.initializers.values()}
    names = [v.name for v in graph.inputs]
    names += [n for n, v in graph.initializers.items() if v not in graph.inputs]
    node_names = set()
    for node in graph:
        where = f"{node.name} ({node.op_type})"
        assert node.name, f"{where}: no name"
        assert node.name not in node_names, f"{where}: two nodes of this name"
        node_names.add(node.name)
        assert node.graph is graph, f"{where}: belongs to another graph"
        for i, value in enumerate(node.inputs):
            if value is None:
                continue
            assert value in known, f"{where}: input {i}, {value.name}, is not computed before"
            assert any(n is node and j == i for n, j in value.uses()), f"{where}: {value.name}"
        values = [v for v in (*node.inputs, *node.outputs) if v is not None]
        names_of_sizes = {str(d) for v in values for d in v.shape or () if not isinstance(d, int)}
        assert names_of_sizes <= bounds(graph).keys(), f"{where}: sizes without a bound"
        # Sizes that depend on data are left to ONNX's inference.
        for value, (shape, dtype) in [] if names_of_sizes else zip(node.outputs, infer_node(node)):
            assert value.shape is not None, f"{where}: output {value.name} has no shape"
            assert value.shape.numpy() == tuple(shape), f"{where}: {value.shape} is not {shape}"
            assert value.dtype == dtype, f"{where}: {value.dtype} is not {dtype}"
        body = body_of(node)
        if body is not None:
            assert not set(body.outputs) & set(body.inputs), f"{where}: an input is an output"
        known.update(node.outputs)
        names += [v.name for v in node.outputs]
    assert all(names), "a value without a name"
    assert len(set(names)) == len(names), f"names twice: {sorted(names)}"
    assert all(v in known for v in graph.outputs), "an output that nothing computes"
    assert len(set(graph.outputs)) == len(graph.outputs), "one value is two outputs"
    assert not set(graph.outputs) & set(graph.inputs), "an input is an output"
    infer_strictly(ir.serde.serialize_model(ir.Model(graph, ir_version=IR_VERSION)))


def infer_strictly(proto):
    """ONNX's own inference over a model; raises where it contradicts the types that stand there."""
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)


def nodes_of(proto):
    """The nodes of a model, those in the bodies of Scans among them."""
    found = [*proto.graph.node]
    for node in proto.graph.node:
        found += [n for a in node.attribute if a.name == "body" for n in a.g.node]
    return found


def check_model(program):
    """All that is promised of a finished model."""
    proto = program.proto()
    onnx.checker.check_model(proto, full_check=True)
    infer_strictly(proto)
    assert {o.domain for o in proto.opset_import} <= {""}
    assert {n.domain for n in nodes_of(proto)} <= {""}
    assert OWN_DOMAIN not in {n.domain for n in nodes_of(proto)}
    assert max(o.version for o in proto.opset_import) <= 21
    assert proto.ir_version <= 10
    assert len(proto.functions) == 0
    for said, found in ((program.inputs, proto.graph.input), (program.outputs, proto.graph.output)):
        assert [t.name for t in said] == [v.name for v in found]
        for tensor, value in zip(said, found):
            kind = value.type.tensor_type
            assert tensor.shape == tuple(d.dim_value for d in kind.shape.dim)
            assert tensor.dtype == onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    used = {n for node in nodes_of(proto) for n in node.input}
    assert {v.name for v in proto.graph.input} <= used
    assert {i.name for i in proto.graph.initializer} <= used
    # A parameter that is a constant would be folded and packed by the runtime.
    assert not {i.name for i in proto.graph.initializer} & {v.name for v in proto.graph.input}
