"""Symbol + shapes -> forward ONNX graph -> gradients -> passes -> ready model."""

from symbucket.compiler.program import (
    Program,
    Tensor,
    TrainingPrograms,
    compile_inference,
    compile_training,
    output_names,
)

__all__ = [
    "Program",
    "Tensor",
    "TrainingPrograms",
    "compile_inference",
    "compile_training",
    "output_names",
]
