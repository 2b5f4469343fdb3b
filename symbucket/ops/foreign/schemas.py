"""What the standard says about an operator in a version: its schema, and its function body."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from symbucket.errors import UnsupportedError
from symbucket.ir import OPSET, dtype_of, shape_of
from symbucket.ops.foreign.call import Call

STANDARD = ("", "ai.onnx")
"""Names of the domain of standard operators."""


def schema_of(op_type: str, opset: int, domain: str = "") -> onnx.defs.OpSchema | None:
    """Return the schema that is valid in an opset; None if there is none, or it is deprecated."""
    domain = "" if domain in STANDARD else domain
    try:
        if domain:  # its newest version: no model names an older one
            schema = onnx.defs.get_schema(op_type, domain=domain)
        else:
            schema = onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None
    return None if schema.deprecated else schema


def has_body(schema: onnx.defs.OpSchema) -> bool:
    """Return whether an operator is defined by others."""
    return bool(schema.has_function or schema.has_context_dependent_function)


def body_of(call: Call) -> onnx.FunctionProto | None:
    """Return the body that a node stands for: the newest that its opset has; None without one."""
    schema = schema_of(call.op_type, call.opset, call.domain)
    if schema is None or not has_body(schema):
        return None
    body = onnx.FunctionProto()
    if schema.has_function:
        version = _newest(schema.function_opset_versions, call)
        body.ParseFromString(schema.get_function_with_opset_version(version))
        return body
    names = [f"x{i}" if v is not None else "" for i, v in enumerate(call.inputs)]
    node = onnx.NodeProto(op_type=call.op_type, name=call.name, input=names, domain=call.domain)
    node.output.extend(f"y{i}" for i in range(call.outputs))
    node.attribute.extend(ir.serde.serialize_attribute(a) for a in call.attrs.values())
    types = [
        onnx.helper.make_tensor_type_proto(int(dtype_of(v)), list(shape_of(v))).SerializeToString()
        if v is not None
        else b""
        for v in call.inputs
    ]
    version = _newest(schema.context_dependent_function_opset_versions, call)
    written = schema.get_context_dependent_function_with_opset_version(
        version, node.SerializeToString(), types
    )
    body.ParseFromString(written)
    return body if body.node else None


def _newest(versions: list[int], call: Call) -> int:
    return max((v for v in versions if v <= call.opset or call.domain), default=min(versions))


def check_emitted(call: Call) -> None:
    """Raise UnsupportedError unless a node means the same in the opset that symbucket emits."""
    schema = schema_of(call.op_type, OPSET)
    if schema is None:
        raise UnsupportedError(
            f"models are written in opset {OPSET}, which has no such operator, and it is not "
            "defined by others"
        )
    unknown = [name for name in call.attrs if name not in schema.attributes]
    if unknown:
        raise UnsupportedError(
            f"models are written in opset {OPSET}, where it has no attribute {unknown[0]!r}"
        )
    if call.outputs > len(schema.outputs) and schema.max_output < call.outputs:
        raise UnsupportedError(f"it has {call.outputs} outputs, at most {schema.max_output} exist")
