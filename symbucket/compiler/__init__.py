"""Symbol + shapes -> forward ONNX graph -> gradients -> passes -> ready model.

``pipeline.py`` has the whole order.
"""

from symbucket.compiler.compilation import output_names
from symbucket.compiler.compile import compile_inference, compile_request, compile_training
from symbucket.compiler.inference import bounds_of_inputs, infer_interface
from symbucket.compiler.loops.group import forget_network
from symbucket.compiler.noise_inputs import NoiseInput
from symbucket.compiler.options import CompilerOptions
from symbucket.compiler.pipeline import pass_names, pipeline_order
from symbucket.compiler.ports import Port, Role
from symbucket.compiler.program import Program, TrainingPrograms
from symbucket.compiler.request import CompileRequest
from symbucket.compiler.target import Target
from symbucket.compiler.trainability import check_gradients, holds_foreign

__all__ = [
    "CompileRequest",
    "CompilerOptions",
    "NoiseInput",
    "Port",
    "Program",
    "Role",
    "Target",
    "TrainingPrograms",
    "bounds_of_inputs",
    "check_gradients",
    "compile_inference",
    "compile_request",
    "compile_training",
    "forget_network",
    "holds_foreign",
    "infer_interface",
    "output_names",
    "pass_names",
    "pipeline_order",
]
