"""Gradients as nodes: reverse mode over the forward graph, a rule for each ONNX operator."""
