"""Sizes of an ONNX graph's inputs that are written as names."""

from __future__ import annotations

import onnx


def fix_numeric_sizes(graph: onnx.GraphProto) -> None:
    """Make fixed sizes of those whose name is a number.

    PyTorch's exporter writes an axis that was declared dynamic, and that the model fixes, as a
    dimension with the name "6".
    """
    for value in graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param.isdecimal():
                dim.dim_value = int(dim.dim_param)
