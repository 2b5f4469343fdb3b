"""ONNX's own backend tests, which come with the package onnx, through ``sym.from_onnx``."""
