"""One HTML page with networks and everything needed to explore them.

The page computes nothing about a network. It gets every piece that a view can show, as ``to_dot``
does, joins the pieces of a view, and lays them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from symbucket.visualization.colours import FILLS, parameter_colours
from symbucket.visualization.diagram import BACKWARD, DATA, FORWARD, OUTPUT, UPDATE
from symbucket.visualization.dot import HEADER, Drawing
from symbucket.visualization.extras import layout_script
from symbucket.visualization.facts import Facts
from symbucket.visualization.fold import BUDGET, LARGE
from symbucket.visualization.page_parts import asset, filled, script_json
from symbucket.visualization.texts import group_texts

_SCRIPTS = ("net.js", "stage.js", "pane.js", "app.js")
_LEGEND = {
    "data": FILLS[DATA],
    "forward": FILLS[FORWARD],
    "backward": FILLS[BACKWARD],
    "update": FILLS[UPDATE],
    "output": FILLS[OUTPUT],
}


def to_page(
    networks: Mapping[str, Drawing], title: str, picture: str = "", budget: int = BUDGET
) -> str:
    """Return the text of the page, which loads nothing from elsewhere.

    With several networks, the page has a menu of them. ``picture`` is the first network as SVG, in
    its first view, of ``budget`` boxes: with it the page shows something at once, also without
    scripts. Names are shown only as text, so their content can do no harm.
    """
    scripts = [
        f'<script type="application/json" id="network-{i}" data-name="{escape(name)}">'
        f"{script_json(page_data(drawing, budget))}</script>"
        for i, (name, drawing) in enumerate(networks.items())
    ]
    parts = {
        "TITLE": escape(title),
        "PICTURE": picture[picture.find("<svg") :] if picture else "",
        "STYLE": asset("style.css"),
        "LEGEND": _legend(networks),
        "NETWORKS": "\n".join(scripts),
        "GRAPHVIZ": layout_script(),
        "APP": "\n".join(map(asset, _SCRIPTS)),
    }
    return filled("page.html", parts)


def _legend(networks: Mapping[str, Drawing]) -> str:
    trees = [drawing.folded for drawing in networks.values()]
    boxes = [box for folded in trees for box in folded.diagram.boxes]
    kinds = {box.kind for box in boxes}
    shown = [
        f'<span><i style="background:{fill};border-color:{border}"></i>{name}</span>'
        for name, (fill, border) in _LEGEND.items()
        if name in kinds
    ]
    if any(box.param for box in boxes):
        fill, border = next(iter(parameter_colours(["one"]).values()))
        shown.append(
            f'<span><i class="hues" style="background:{fill};border-color:{border}"></i>'
            "parameter and its gradient</span>"
        )
    if any(box.op for box in boxes):
        shown.append("<span>strong: matrix products; pale: data moved</span>")
    if any(folded.groups for folded in trees):
        shown.append("<span>thick border: double-click opens it</span>")
    return "".join(shown)


def _present(name: str, value: Any) -> dict[str, Any]:
    """Return an entry; none if there is nothing in it, as in most of thousands of boxes."""
    return {name: value} if value else {}


def page_data(drawing: Drawing, budget: int = BUDGET) -> dict[str, Any]:
    """Return a network for the page as plain lists.

    ``edges`` are triples (box, box, output), ``lines`` triples (item, item, style).
    """
    folded = drawing.folded
    styles: dict[tuple[str, str, bool], int] = {}
    lines = []
    for line, dot in zip(drawing.lines, drawing.styles):
        style = (dot, line.text, line.kind == BACKWARD)
        lines += [line.source, line.target, styles.setdefault(style, len(styles))]
    facts = Facts(folded)
    return {
        "boxes": [
            {
                "name": box.name,
                "op": box.op,
                "kind": box.kind,
                "parent": folded.parents[i],
                "outputs": [[v.name, v.dtype, v.text] for v in box.outputs],
                "dot": drawing.boxes[i],
                **_present("attributes", dict(box.attributes)),
                **_present("facts", facts.box(box)),
                **_present("histogram", box.statistics and box.statistics.counts),
            }
            for i, box in enumerate(folded.diagram.boxes)
        ],
        "groups": [
            {
                "title": group_texts(folded, i)[0],
                "kind": group.kind,
                "parent": group.parent,
                "boxes": group.boxes,
                "groups": group.groups,
                "facts": facts.group(i),
                "dot": drawing.closed[i],
                "frame": drawing.frames[i],
            }
            for i, group in enumerate(folded.groups)
        ],
        "top": {"boxes": folded.top.boxes, "groups": folded.top.groups},
        "edges": [n for e in folded.diagram.edges for n in (e.source, e.target, e.output)],
        "lines": lines,
        "lineStyles": [{"dot": dot, "text": text, "up": up} for dot, text, up in styles],
        "summary": {"facts": facts.network(), "groups": facts.rows()},
        "open": sorted(folded.default_view(budget)),
        "header": HEADER,
        "large": LARGE,
    }
