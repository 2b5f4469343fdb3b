"""Conv and ConvTranspose of foreign graphs, as every runtime computes them rightly.

See docs/runtimes.md: onnxruntime 1.19 takes padding of less than zero for the SAME modes if strides
are larger than windows, and computes an ``output_padding`` of a stride or more wrongly.
"""

from __future__ import annotations

from symbucket.ir import shape_of
from symbucket.ir.windows import resolve_windows
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.record import Emitter


@translation("Conv")
def _conv(g: Emitter, call: Call) -> Results:
    attributes = {name: attribute.value for name, attribute in call.attrs.items()}
    auto_pad = str(attributes.pop("auto_pad", "NOTSET"))
    if auto_pad != "NOTSET":
        attributes["pads"] = resolve_windows(
            tuple(call.attr("kernel_shape") or shape_of(call.input(1))[2:]),
            shape_of(call.input(0))[2:],
            strides=call.attr("strides"),
            dilations=call.attr("dilations"),
            pads=None,
            auto_pad=auto_pad,
        ).pads
    return g.ops("Conv", *call.inputs, outputs=1, **attributes)


@translation("ConvTranspose")
def _conv_transpose(g: Emitter, call: Call) -> Results:
    padding = call.attr("output_padding") or ()
    strides = call.attr("strides") or (1,) * len(padding)
    call.refuse(
        any(p >= s for p, s in zip(padding, strides)),
        f"output_padding={list(padding)} that is not below strides={list(strides)}",
    )
    attributes = {name: attribute.value for name, attribute in call.attrs.items()}
    return g.ops("ConvTranspose", *call.inputs, outputs=1, **attributes)
