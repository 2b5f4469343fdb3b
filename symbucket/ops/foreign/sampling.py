"""GridSample, RoiAlign and DeformConv of foreign graphs, written out where that is needed.

They read an image at places that other values compute, between its elements. Written out
they have gradients with respect to the image and to the places.
"""

from __future__ import annotations

import math

import numpy as np

from symbucket.ir import Expr
from symbucket.ir.expr import where
from symbucket.ir.windows import Windows
from symbucket.ops.deformable import convolve_deformed
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.interpolation import sample
from symbucket.ops.record import Emitter


@translation("GridSample")
def _grid_sample(g: Emitter, call: Call) -> Results:
    """Write out what a gradient flows through; inference runs the operator."""
    x, grid = Expr(g, call.input(0)), Expr(g, call.input(1))
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(
        str(call.attr("mode", "linear")), str(call.attr("mode", "linear"))
    )
    padding = str(call.attr("padding_mode", "zeros"))
    corners = bool(call.attr("align_corners", 0))
    if not g.training:
        return [
            x.op(
                "GridSample",
                grid,
                mode=mode,
                padding_mode=padding,
                align_corners=int(corners),
            ).value
        ]
    sizes = x.shape[2:]
    call.refuse(mode == "cubic" and len(sizes) != 2, f"mode=cubic in {len(sizes)} dimensions")
    places = []
    for axis, size in enumerate(sizes):  # the grid has x before y, the image y before x
        last = len(sizes) - 1 - axis
        place = grid.op("Gather", g.const(np.array(last)), axis=grid.rank - 1)
        place = place.reshape((x.shape[0], math.prod(grid.shape[1:-1])))
        scale, shift = ((size - 1) / 2, (size - 1) / 2) if corners else (size / 2, (size - 1) / 2)
        places.append(place * scale + shift)
    y = sample(x, places, mode, padding, corners)
    return [y.reshape((*x.shape[:2], *grid.shape[1:-1])).value]


@translation("DeformConv")
def _deformable_convolution(g: Emitter, call: Call) -> Results:
    """Sample what lies under each element of the kernel, and multiply (Dai et al., 2017)."""
    x, weight, offset = (Expr(g, call.input(i)) for i in range(3))
    bias, mask = call.optional(3), call.optional(4)
    call.refuse(x.rank != 4, f"data of {x.rank} axes")
    strides, dilations = (tuple(call.attr(name) or (1, 1)) for name in ("strides", "dilations"))
    pads = tuple(call.attr("pads") or (0, 0, 0, 0))
    y = convolve_deformed(
        x,
        offset,
        weight,
        Windows(weight.shape[2:], strides, dilations, pads[:2], pads[2:]),
        groups=call.attr("group", 1),
        offset_groups=call.attr("offset_group", 1),
        factor=None if mask is None else Expr(g, mask),
        padding="zeros",
    )
    if bias is not None:
        y = y + Expr(g, bias).reshape((weight.shape[0], 1, 1))
    return [y.value]


@translation("RoiAlign")
def _roi_align(g: Emitter, call: Call) -> Results:
    """Write out the mean of samples, of which a gradient flows back to the image and the boxes."""
    x, boxes, images = (Expr(g, call.input(i)) for i in range(3))
    attributes = call.values()
    # Before opset 16 boxes were taken as they are.
    kind = "half_pixel" if call.opset >= 16 else "output_half_pixel"
    attributes.setdefault("coordinate_transformation_mode", kind)
    if not g.training:
        return [x.op("RoiAlign", boxes, images, **attributes).value]
    ratio = call.attr("sampling_ratio", 0)
    call.refuse(str(call.attr("mode", "avg")) != "avg", "training through mode=max")
    call.refuse(ratio <= 0, "training through sampling_ratio=0, which takes more of larger boxes,")
    counts = call.attr("output_height", 1), call.attr("output_width", 1)
    half = attributes["coordinate_transformation_mode"] == "half_pixel"
    scaled = boxes * call.attr("spatial_scale", 1.0) - (0.5 if half else 0.0)
    number = boxes.shape[0]
    places, within = [], None
    grid = np.indices((*counts, ratio, ratio), dtype=np.float64)
    for axis, size in enumerate(x.shape[2:]):
        begin, end = (
            scaled.op("Gather", g.const(np.array([i])), axis=1) for i in (1 - axis, 3 - axis)
        )
        extent = end - begin
        if not half:
            extent = extent.op("Max", 1.0)
        steps = (grid[axis] + (grid[axis + 2] + 0.5) / ratio) / counts[axis]
        place = begin + extent * x.const(steps.reshape((1, -1)))
        inside = (place >= -1.0) & (place <= float(size))
        within = inside if within is None else within & inside
        places.append(place)
    assert within is not None
    maps = x.op("Gather", images, axis=0)
    samples = sample(maps, places, "linear", "border")
    samples = where(within.reshape((number, 1, within.shape[1])), samples, 0.0)
    y = samples.reshape((number, x.shape[1], math.prod(counts), ratio * ratio)).mean(3)
    return [y.reshape((number, x.shape[1], *counts)).value]
