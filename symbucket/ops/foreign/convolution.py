"""Conv and ConvTranspose of foreign graphs, as every runtime computes them rightly.

See docs/runtimes.md: onnxruntime 1.19 takes padding of less than zero for the SAME modes if strides
are larger than windows, and computes an ``output_padding`` of a stride or more wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence

from symbucket.ir import shape_of
from symbucket.ir.windows import resolve_windows
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.record import Emitter


@translation("Conv")
def _conv(g: Emitter, call: Call) -> Results:
    attributes = call.values()
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
    attributes = call.values()
    auto_pad = str(attributes.pop("auto_pad", "NOTSET"))
    counts = attributes.pop("output_shape", None)
    if auto_pad != "NOTSET" or counts is not None:
        attributes |= _padding_of_transposed(call, auto_pad, counts)
    return g.ops("ConvTranspose", *call.inputs, outputs=1, **attributes)


def _padding_of_transposed(
    call: Call, auto_pad: str, counts: Sequence[int] | None
) -> dict[str, list[int]]:
    """Return the padding with which a ConvTranspose has the size that it asks for."""
    sizes = shape_of(call.input(0))[2:]
    kernel = call.attr("kernel_shape") or shape_of(call.input(1))[2:]
    ones, zeros = [1] * len(sizes), [0] * len(sizes)
    strides, dilations = (call.attr(name) or ones for name in ("strides", "dilations"))
    more = call.attr("output_padding") or zeros
    if counts is None:
        if auto_pad == "VALID":
            return {"pads": zeros * 2}
        counts = [size * stride for size, stride in zip(sizes, strides)]
    begins, ends, extra = [], [], list(more)
    for i, size in enumerate(sizes):
        whole = strides[i] * (size - 1) + more[i] + (kernel[i] - 1) * dilations[i] + 1
        total = whole - counts[len(counts) - len(sizes) + i]
        if total < 0:
            extra[i], total = extra[i] - total, 0
            call.refuse(
                extra[i] >= strides[i],
                f"output_shape={list(counts)}: {whole} is the size of axis {i}",
            )
        smaller, larger = total // 2, total - total // 2
        begins.append(smaller if auto_pad == "SAME_UPPER" else larger)
        ends.append(larger if auto_pad == "SAME_UPPER" else smaller)
    return {"pads": [*begins, *ends], "output_padding": extra}
