"""Passes over the ONNX graph, one a file; ``compiler/pipeline.py`` has the order."""
