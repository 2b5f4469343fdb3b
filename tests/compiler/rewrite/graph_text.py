"""Graphs from ONNX text, and back into a few readable lines, for tests of passes."""

import onnx
import onnx_ir as ir

from symbucket.ir import const_of
from symbucket.ir.notes import graph_notes
from symbucket.ir.shapes import infer_node
from tests.compiler.verify_graph import verify


def graph(text):
    """A graph from ``inputs => outputs { nodes }``; types of inner values are inferred."""
    text = f'<ir_version: 10, opset_import: ["": 21, "symbucket": 1]>\ng {text}'
    made = ir.serde.deserialize_model(onnx.parser.parse_model(text)).graph
    outputs = {v.name: (v.shape, v.dtype) for v in made.outputs}
    for i, node in enumerate(made):
        node.name = f"n{i}/{node.op_type}"
        for out, (shape, dtype) in zip(node.outputs, infer_node(node)):
            out.shape, out.type = ir.Shape(shape), ir.TensorType(dtype)
            said = outputs.get(out.name, (out.shape, out.dtype))
            assert said == (out.shape, out.dtype), f"{out.name} is {out.shape} {out.dtype}"
    names = [v.name for v in (*made.inputs, *made.initializers.values())]
    graph_notes(made).names.update(dict.fromkeys(names, 0))
    return made


def changed(one_pass, text):
    """Run a pass over the graph of ``text``; gives the number of changes and the lines after."""
    made = graph(text)
    verify(made)
    count = one_pass(made)
    verify(made)
    return count, lines(made)


def lines(made):
    """Nodes and outputs as text: values of the first text keep their names, new ones are %0, ..."""
    names: dict[ir.Value, str] = {}

    def name(value):
        if value is None:
            return "_"
        array = const_of(value)
        if array is not None:
            return str(array.tolist()) if array.size <= 8 else f"const{list(array.shape)}"
        new = "/" in value.name
        return names.setdefault(value, f"%{len(names)}") if new else value.name

    def value_of(attribute):
        found = attribute.value
        return found.numpy().tolist() if isinstance(found, ir.Tensor) else found

    text = []
    for node in made:
        attributes = [f"{k}={value_of(a)}" for k, a in sorted(node.attributes.items())]
        inputs = ", ".join([*map(name, node.inputs), *attributes])
        outputs = ", ".join(map(name, node.outputs))
        text.append(f"{outputs} = {node.op_type}({inputs})")
    return [*text, "-> " + ", ".join(map(name, made.outputs))]
