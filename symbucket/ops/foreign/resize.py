"""Resize of foreign graphs: the runtime's operator, save for what it gets wrong."""

from __future__ import annotations

from symbucket.ir import Expr, const_of
from symbucket.ir.resize import axis_matrices
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.record import Emitter


@translation("Resize")
def _resize(g: Emitter, call: Call) -> Results:
    """With ``align_corners`` and scales that give no whole size the runtimes are off."""
    x = Expr(g, call.input(0))
    attributes = call.values()
    y = x.op("Resize", *(call.optional(i) for i in range(1, 4)), **attributes)
    scales = const_of(call.optional(2))
    corners = str(attributes.get("coordinate_transformation_mode")) == "align_corners"
    if not corners or scales is None or not scales.size or str(attributes.get("mode")) == "nearest":
        return [y.value]
    axes = attributes.get("axes") or range(x.rank)
    if all((scale * x.shape[axis]).is_integer() for scale, axis in zip(scales.tolist(), axes)):
        return [y.value]
    for part in axis_matrices(x.shape, y.shape, attributes, None, scales, None):
        x = part.times(x, part.weights.T)
    return [x.value]
