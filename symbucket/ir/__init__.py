"""The compiler's intermediate representation: ONNX itself, held in onnx-ir, with static shapes."""

import symbucket.ir.lazy_sympy  # noqa: F401 - before onnx_ir is imported
from symbucket.ir.bodies import body_of, own_body, readers, reads, replace_scan, runner, states_of
from symbucket.ir.builder import Builder, attr, bounds, const_of, dtype_of, new_graph, shape_of
from symbucket.ir.registry import (
    IR_VERSION,
    OPSET,
    OWN_DOMAIN,
    Grads,
    OpInfo,
    expansion,
    gradient,
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
    "Grads",
    "OpInfo",
    "Windows",
    "attr",
    "body_of",
    "bounds",
    "const_of",
    "covered",
    "dtype_of",
    "expansion",
    "gradient",
    "info",
    "info_of",
    "known_ops",
    "mark",
    "new_graph",
    "own_body",
    "readers",
    "reads",
    "replace_scan",
    "runner",
    "shape_of",
    "shape_rule",
    "states_of",
    "transposed_windows_of",
    "windows_of",
]
