"""Networks of ONNX files as symbols: what is a parameter, what trains, and what is refused."""
