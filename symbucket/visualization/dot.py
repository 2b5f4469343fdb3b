"""A view of a diagram in Graphviz's language.

What can be shown is written once, item by item and line by line; a view chooses among that, and
joins what it chose. ``assets/net.js`` joins in a page what ``to_dot`` joins here.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from html import escape

from symbucket.visualization.attention import attention_groups
from symbucket.visualization.colours import (
    FAINT,
    FILLS,
    FRAMES,
    INK,
    LINE,
    PALE,
    SHADES,
    parameter_colours,
)
from symbucket.visualization.diagram import BACKWARD, printable
from symbucket.visualization.fold import Folded, Group
from symbucket.visualization.lines import (
    CARRIED,
    PLAIN,
    SELF,
    STASH,
    WEIGHT,
    Line,
    all_lines,
    item_id,
    shown_lines,
)
from symbucket.visualization.operations import weight_of
from symbucket.visualization.texts import box_texts, group_texts
from symbucket.visualization.tree import LOOP, PHASE

Colours = Mapping[str, tuple[str, str]]
FONT = "Helvetica,Arial,sans-serif"
HEADER = [
    'graph [rankdir=TB, ranksep=0.35, nodesep=0.2, pad=0.2, bgcolor="white", compound=true,'
    f' fontname="{FONT}", fontsize=11, fontcolor="{FAINT}", labeljust=l, newrank=true]',
    f'node [shape=box, style="rounded,filled", fontname="{FONT}", fontsize=11,'
    f' fontcolor="{INK}", margin="0.14,0.05", height=0.3, penwidth=1]',
    f'edge [fontname="{FONT}", fontsize=9, fontcolor="{FAINT}", color="{LINE}", arrowsize=0.6,'
    " penwidth=0.9]",
]


@dataclass(frozen=True)
class Drawing:
    """Everything of a diagram that a view can show, ready for Graphviz.

    Attributes:
        boxes: the attributes of each box.
        closed: the attributes of each group as a box.
        frames: the attributes of each group as a frame around what is inside.
        lines: all lines.
        styles: the attributes of each line.
    """

    folded: Folded
    boxes: list[str]
    closed: list[str]
    frames: list[str]
    lines: list[Line]
    styles: list[str]


def make_drawing(folded: Folded, colours: Colours) -> Drawing:
    """Return what views of a diagram choose from; ``colours``: (fill, border) by parameter."""
    groups = range(len(folded.groups))
    lines = all_lines(folded)
    attention = attention_groups(folded)
    return Drawing(
        folded,
        [
            f"label=<{_label(*box_texts(folded, i))}>, {_box_style(folded, i, colours)}"
            for i in range(len(folded.diagram.boxes))
        ],
        [
            f"label=<{_label(*group_texts(folded, i, attention))}>, {_closed(folded, i, colours)}"
            for i in groups
        ],
        [f"label=<{_frame_label(folded, i, i in attention)}>; {_frame(folded, i)}" for i in groups],
        lines,
        [_line_style(line) for line in lines],
    )


def make_drawings(networks: Mapping[str, Folded]) -> dict[str, Drawing]:
    """Return the drawings of networks in which a parameter of one name has one colour."""
    names = {name for folded in networks.values() for name in folded.diagram.parameters}
    colours = parameter_colours(sorted(names))
    return {name: make_drawing(folded, colours) for name, folded in networks.items()}


def to_dot(drawing: Drawing, opened: Set[int], title: str = "") -> str:
    """Return the text that ``dot`` lays out. Boxes have the ids b0, b1 ..., groups g0, g1 ..."""
    text = ["digraph {", *HEADER]
    if title:
        text.append(f"label=<{_html(title, size=14, colour=INK)}>; labelloc=t")

    def members(group: Group) -> None:
        text.extend(f'b{i} [id="b{i}", {drawing.boxes[i]}]' for i in group.boxes)
        for i in group.groups:
            if i in opened:
                text.append(f'subgraph cluster_g{i} {{\nid="g{i}"; {drawing.frames[i]}')
                members(drawing.folded.groups[i])
                text.append("}")
            else:
                text.append(f'g{i} [id="g{i}", {drawing.closed[i]}]')

    members(drawing.folded.top)
    shown = {id(line) for line in shown_lines(drawing.folded, drawing.lines, opened)}
    for line, style in zip(drawing.lines, drawing.styles):
        if id(line) in shown:
            source, target = item_id(line.source), item_id(line.target)
            # Backward nodes are next to their forward nodes, and run upwards.
            ends = (target, source) if line.kind == BACKWARD else (source, target)
            text.append(f'{ends[0]} -> {ends[1]} [id="{source}-{target}", {style}]')
    text.append("}")
    return "\n".join(text) + "\n"


def _box_style(folded: Folded, i: int, colours: Colours) -> str:
    """Return the attributes of a box; boxes that hold an array are round."""
    box = folded.diagram.boxes[i]
    fills = SHADES.get(weight_of(box.op), FILLS)
    fill, border = colours[box.param] if box.param else fills.get(box.kind, FILLS[box.kind])
    style = f'fillcolor="{fill}", color="{border}"'
    return f'{style}, shape=ellipse, margin="0.04,0.02"' if not box.op else style


def _closed(folded: Folded, i: int, colours: Colours) -> str:
    """Return the attributes of a closed group; one of parameters has the colour of the first."""
    group = folded.groups[i]
    own = [box.param for j in group.boxes if (box := folded.diagram.boxes[j]).param]
    fill, border = colours[own[0]] if own and folded.of_parameters(i) else FILLS[group.phase]
    return f'fillcolor="{fill}", color="{border}", penwidth=1.8'


def _frame_label(folded: Folded, i: int, attention: bool) -> str:
    label = group_texts(folded, i)[0]
    text = _html(label, bold=True)
    return f"{text}  attention" if attention and "attention" not in label.lower() else text


def _frame(folded: Folded, i: int) -> str:
    """Return the attributes of an open group."""
    group = folded.groups[i]
    border = FILLS[group.phase][1] if group.kind in (PHASE, LOOP) else PALE
    return f'style="rounded,filled"; fillcolor="{FRAMES[group.phase]}"; color="{border}"'


# Attributes of lines by their kind, besides the text.
_LINES = {
    PLAIN: "",
    WEIGHT: "minlen=0",
    BACKWARD: f'dir=back, color="{FILLS[BACKWARD][1]}"',
    STASH: f'style=dashed, color="{PALE}", constraint=false',
    SELF: "tailport=ne, headport=se",
    CARRIED: f'constraint=false, color="{INK}", penwidth=1.4',
}


def _line_style(line: Line) -> str:
    # Stashed values are so many that their labels would cover the picture; a parameter, beside what
    # reads it, has its shape on it.
    text = f'tooltip="{_tooltip(line.text)}"'
    if line.text and line.kind not in (STASH, WEIGHT):
        text = f"label=<{_line_label(line.text)}>"
    return f"{text}, {_LINES[line.kind]}" if _LINES[line.kind] else text


def _line_label(text: str) -> str:
    """Return a label with space on both sides, since dot puts it against the line."""
    return "<br/>".join(f"&#160;{escape(t)}&#160;" for t in text.split("\n"))


def _tooltip(text: str) -> str:
    """Return a text for quotes; a blank keeps dot from showing the names of the ends instead."""
    return escape(text.replace("\n", ", ").replace("\\", "\\\\")) or " "


def _label(first: str, second: str) -> str:
    text = _html(first, bold=True)
    return f"{text}<br/>{_html(second, size=9, colour=FAINT)}" if second else text


def _html(text: str, bold: bool = False, size: int = 0, colour: str = "") -> str:
    shown = escape(printable(text))
    if bold:
        shown = f"<b>{shown}</b>"
    if size:
        shown = f'<font point-size="{size}" color="{colour}">{shown}</font>'
    return shown
