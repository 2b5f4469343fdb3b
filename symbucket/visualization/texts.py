"""The two lines of text on boxes and groups."""

from __future__ import annotations

import re
from collections.abc import Collection

from symbucket.visualization.diagram import Box, printable
from symbucket.visualization.fold import Folded
from symbucket.visualization.tree import LOOP, REPEAT, RUN, STEPS

TIMES = "\N{MULTIPLICATION SIGN}"
DOTS = "\N{HORIZONTAL ELLIPSIS}"
LONGEST = 30  # characters of a name on a box; the full one is a click away


def box_texts(folded: Folded, number: int) -> tuple[str, str]:
    """Return the two lines on a box: its operator, and its name; or its name, and its shape."""
    box = folded.diagram.boxes[number]
    if not box.op:
        return short(box.name), box.outputs[0].text
    name = box.name.removesuffix(f"/{box.op}")
    op = f"{box.op}  {TIMES} {box.steps}" if box.steps else f"{box.op}{_window(box)}"
    kind = box.attributes.get("act_type", "")
    return f"{op} {kind}".rstrip(), short(name)


def _window(box: Box) -> str:
    """Return the window of a convolution or pooling, and its stride: " 7x7 / 2"."""
    kernel, stride = (
        re.findall(r"\d+", next((box.attributes[n] for n in names if n in box.attributes), ""))
        for names in (("kernel_shape", "kernel"), ("strides", "stride"))
    )
    if not kernel or box.attributes.get("global_pool") == "True":
        return ""
    steps = "" if set(stride) <= {"1"} else f" / {TIMES.join(dict.fromkeys(stride))}"
    return f" {TIMES.join(kernel)}{steps}"


def group_texts(folded: Folded, number: int, attention: Collection[int] = ()) -> tuple[str, str]:
    """Return the two lines on a closed group; an open one's frame has the first.

    ``attention``: the groups that are, or have in them, an attention.
    """
    first, second = _group_texts(folded, number)
    if number in attention:
        group = folded.groups[number]
        named = "attention" in group.label.lower()
        if not named:
            second = f"attention, {second}" if second else "attention"
    return first, second


def _group_texts(folded: Folded, number: int) -> tuple[str, str]:
    group = folded.groups[number]
    if group.kind == STEPS:
        first, last = (folded.groups[group.groups[i]].label for i in (0, -1))
        name = "" if group.label == first.rstrip("0123456789") + "#" else f"{group.label}  "
        return short(f"{name}{first} {DOTS} {last}  {TIMES} {group.members}"), _nodes(group.size)
    if group.kind == RUN:
        label = short(group.label, 2 * LONGEST)  # it is two names
        return f"{label}  {TIMES} {group.members}", _nodes(group.size)
    if group.kind == REPEAT:
        label = group.label.replace("#", "*")
        nodes = "" if group.size == group.members else _nodes(group.size)
        return f"{short(label)}  {TIMES} {group.members}", nodes
    if group.kind == LOOP:
        return short(group.label), _nodes(group.size)
    label = short(group.label)
    operators = [box.op for i in folded.boxes_inside(number) if (box := folded.diagram.boxes[i]).op]
    if folded.of_parameters(number):
        arrays = _counted(group.size - len(operators), "array")
        return label, f"{arrays}, {_nodes(len(operators))}" if operators else arrays
    if len(operators) == 1:
        return label, operators[0]
    return label, _nodes(group.size)


def _nodes(count: int) -> str:
    return _counted(count, "node")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def short(text: str, longest: int = LONGEST) -> str:
    """Return a name without its middle if it is long."""
    text = printable(text)
    if len(text) <= longest:
        return text
    room = longest - 1
    return text[: room // 2] + DOTS + text[len(text) - (room - room // 2) :]
