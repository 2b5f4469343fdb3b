"""The compiler's intermediate representation: ONNX itself, held in onnx-ir, with static shapes."""

import symbucket.ir.lazy_sympy  # noqa: F401 - before onnx_ir is imported
from symbucket.ir.bodies import body_of, own_body, readers, reads, replace_scan, runner, states_of
from symbucket.ir.builder import Builder, attr, bounds, const_of, dtype_of, new_graph, shape_of
from symbucket.ir.expr import Expr
from symbucket.ir.gradient_rules import gradient, no_gradient
from symbucket.ir.nodes import (
    attribute_of,
    attributes_of,
    copy_node,
    copy_type,
    dimensions_of,
    input_of,
    is_op,
    optional_input_of,
    produced_by,
    producer_of,
    scope_of,
)
from symbucket.ir.noise import Distribution
from symbucket.ir.nx_graph import to_networkx
from symbucket.ir.registry import (
    IR_VERSION,
    OPSET,
    OWN_DOMAIN,
    OpInfo,
    expansion,
    info,
    info_of,
    known_ops,
    mark,
    shape_rule,
)
from symbucket.ir.windows import Windows, covered, transposed_windows_of, windows_of

__all__ = [
    "IR_VERSION",
    "OPSET",
    "OWN_DOMAIN",
    "Builder",
    "Distribution",
    "Expr",
    "OpInfo",
    "Windows",
    "attr",
    "attribute_of",
    "attributes_of",
    "body_of",
    "bounds",
    "const_of",
    "copy_node",
    "copy_type",
    "covered",
    "dimensions_of",
    "dtype_of",
    "expansion",
    "gradient",
    "info",
    "info_of",
    "input_of",
    "is_op",
    "known_ops",
    "mark",
    "new_graph",
    "no_gradient",
    "optional_input_of",
    "own_body",
    "produced_by",
    "producer_of",
    "readers",
    "reads",
    "replace_scan",
    "runner",
    "scope_of",
    "shape_of",
    "shape_rule",
    "states_of",
    "to_networkx",
    "transposed_windows_of",
    "windows_of",
]
