"""What MXNet has and symbucket does not is refused by name, with what there is in its place."""

from __future__ import annotations

import pytest

import symbucket as sb


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda: sb.profiler, "no 'profiler': .*ONNX Runtime's own profiler"),
        (lambda: sb.np, "no 'np': .*symbucket.nd"),
        (lambda: sb.contrib.onnx, "no 'onnx': sym.from_onnx reads"),
        (lambda: sb.contrib.quantization, "no 'quantization': .*onnxruntime.quantization"),
        (lambda: sb.nd.contrib.quantize_v2, "no operator 'quantize_v2': networks compute in float"),
        (lambda: sb.sym.contrib.dgl_subgraph, "no operator 'dgl_subgraph': .*no samplers"),
        (lambda: sb.sym.contrib.boolean_mask, r"its shapes are fixed.*nd.contrib.boolean_mask"),
        (lambda: sb.sym.cast_storage, r"cast_storage.*arrays are dense"),
        (lambda: sb.sym.sgd_update, r"'sgd_update'\. In its place: symbucket\.optimizer updates"),
        (lambda: sb.sym.contrib.adamw_update, r"'adamw_update': symbucket\.optimizer updates"),
        (lambda: sb.nd.lamb_update_phase1, r"lamb_update_phase1.*symbucket\.optimizer updates"),
        (lambda: sb.sym.image.random_hue, r"'random_hue': symbucket\.image has augmenters"),
        (lambda: sb.contrib.none_such, "has no 'none_such'$"),
    ],
)
def test_it_is_refused_by_name(ask, text):
    with pytest.raises(AttributeError, match=text):
        ask()
