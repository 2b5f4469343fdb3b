"""Write a scene in Graphviz's language."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from symbucket.visualization.colours import FAINT, FILLS, FRAMES, INK, LINE, PALE
from symbucket.visualization.diagram import BACKWARD, printable
from symbucket.visualization.fold import Folded, Group
from symbucket.visualization.scene import Line, Scene, box_texts, group_texts, run_texts
from symbucket.visualization.tree import PHASE

FONT = "Helvetica,Arial,sans-serif"
HEADER = [
    'graph [rankdir=TB, ranksep=0.35, nodesep=0.25, pad=0.2, bgcolor="white", compound=true,'
    f' fontname="{FONT}", fontsize=11, fontcolor="{FAINT}", labeljust=l, newrank=true]',
    f'node [shape=box, style="rounded,filled", fontname="{FONT}", fontsize=11,'
    f' fontcolor="{INK}", margin="0.16,0.06", height=0.3, penwidth=1]',
    f'edge [fontname="{FONT}", fontsize=9, fontcolor="{FAINT}", color="{LINE}", arrowsize=0.6,'
    " penwidth=0.9]",
]


def to_dot(scene: Scene, colours: Mapping[str, tuple[str, str]], title: str = "") -> str:
    """Return the text that ``dot`` lays out. Boxes have the ids b0, b1 ..., groups g0, g1 ..."""
    lines = ["digraph {", *HEADER]
    if title:
        lines.append(f"label=<{_html(title, size=14, colour=INK)}>; labelloc=t")
    _members(scene, scene.folded.top, colours, lines)
    lines += [_edge(line) for line in scene.lines]
    lines.append("}")
    return "\n".join(lines) + "\n"


def _members(
    scene: Scene, group: Group, colours: Mapping[str, tuple[str, str]], lines: list[str]
) -> None:
    folded = scene.folded
    for i in group.boxes:
        style = box_style(folded, i, colours)
        lines.append(f'b{i} [id="b{i}", label=<{_label(*box_texts(folded, i))}>, {style}]')
    for i in group.groups:
        by = scene.hidden[i]
        if not by:
            name = _html(group_texts(folded, i)[0], bold=True)
            lines.append(f"subgraph cluster_g{i} {{")
            lines.append(f'id="g{i}"; label=<{name}>; {frame_style(folded, i)}')
            _members(scene, folded.groups[i], colours, lines)
            lines.append("}")
        elif by in (f"g{i}", f"r{i}"):  # a run is drawn where its first step is
            steps = [j for j in group.groups if scene.hidden[j] == by]
            texts = run_texts(folded, steps) if by[0] == "r" else group_texts(folded, i)
            style = group_style(folded, i, colours)
            lines.append(f'{by} [id="{by}", label=<{_label(*texts)}>, {style}]')


def box_style(folded: Folded, i: int, colours: Mapping[str, tuple[str, str]]) -> str:
    """Return the attributes of a box; boxes that hold an array are round."""
    box = folded.diagram.boxes[i]
    fill, border = colours[box.param] if box.param else FILLS[box.kind]
    style = f'fillcolor="{fill}", color="{border}"'
    return f'{style}, shape=ellipse, margin="0.04,0.02"' if not box.op else style


def group_style(folded: Folded, i: int, colours: Mapping[str, tuple[str, str]]) -> str:
    """Return the attributes of a closed group; one of parameters has the colour of the first."""
    group = folded.groups[i]
    boxes = [folded.diagram.boxes[j] for j in group.boxes]
    alone = folded.only_arrays(i) and all(b.param for b in boxes)
    fill, border = colours[boxes[0].param] if alone else FILLS[group.phase]
    return f'fillcolor="{fill}", color="{border}", penwidth=1.8'


def frame_style(folded: Folded, i: int) -> str:
    """Return the attributes of an open group."""
    group = folded.groups[i]
    border = FILLS[group.phase][1] if group.kind == PHASE else PALE
    return f'style="rounded,filled"; fillcolor="{FRAMES[group.phase]}"; color="{border}"'


# Attributes of edges by their kind, besides the label.
EDGES = {
    "plain": "",
    BACKWARD: f'dir=back, color="{FILLS[BACKWARD][1]}"',
    "stash": f'style=dashed, color="{PALE}", constraint=false',
    "loop": "tailport=ne, headport=se",
}


def _edge(line: Line) -> str:
    attributes = [f'id="{line.source}-{line.target}"']
    if line.kind == "stash":  # so many that their labels would cover the picture
        attributes.append(f'tooltip="{tooltip(line.text)}"')
    elif line.text:
        attributes.append(f"label=<{edge_label(line.text)}>")
    if EDGES[line.kind]:
        attributes.append(EDGES[line.kind])
    # Backward nodes are next to their forward nodes, and run upwards.
    back = line.kind == BACKWARD
    ends = (line.target, line.source) if back else (line.source, line.target)
    return f"{ends[0]} -> {ends[1]} [{', '.join(attributes)}]"


def edge_label(text: str) -> str:
    """Return a label with space on both sides, since dot puts it against the line."""
    return "<br/>".join(f"&#160;{escape(t)}&#160;" for t in text.split("\n"))


def tooltip(text: str) -> str:
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
