"""Symbol + shapes -> forward ONNX graph -> gradients -> passes -> ready model."""

from symbucket.compiler.options import CompilerOptions
from symbucket.compiler.program import (
    Program,
    Tensor,
    TrainingPrograms,
    compile_inference,
    compile_training,
    output_names,
)
from symbucket.compiler.rewrite import pass_names
from symbucket.compiler.trainability import check_gradients, holds_foreign

__all__ = [
    "CompilerOptions",
    "Program",
    "Tensor",
    "TrainingPrograms",
    "check_gradients",
    "compile_inference",
    "compile_training",
    "holds_foreign",
    "output_names",
    "pass_names",
]
