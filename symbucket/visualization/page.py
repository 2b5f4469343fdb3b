"""One HTML page with networks and everything needed to explore them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from symbucket.visualization.colours import FAINT, FILLS, parameter_colours
from symbucket.visualization.diagram import BACKWARD, DATA, FORWARD, OUTPUT, UPDATE
from symbucket.visualization.dot import EDGES, HEADER, box_style, frame_style, group_style
from symbucket.visualization.extras import layout_script
from symbucket.visualization.fold import LARGE, Folded
from symbucket.visualization.scene import SHOWN_SHAPES, box_texts, group_texts
from symbucket.visualization.summary import amount
from symbucket.visualization.totals import Totals, group_totals, totals

_LEGEND = {
    "data": FILLS[DATA],
    "forward": FILLS[FORWARD],
    "backward": FILLS[BACKWARD],
    "update": FILLS[UPDATE],
    "output": FILLS[OUTPUT],
}


def to_page(networks: Mapping[str, Folded], title: str, picture: str = "") -> str:
    """Return the text of the page, which loads nothing from elsewhere.

    With several networks, the page has a menu of them. ``picture`` is the first network as SVG, in
    its default view: with it the page shows something at once, also without scripts. Names are
    shown only as text, so their content can do no harm.
    """
    names = {p for folded in networks.values() for p in folded.diagram.parameters}
    colours = parameter_colours(sorted(names))
    scripts = [
        f'<script type="application/json" id="network-{i}" data-name="{escape(name)}">'
        f"{_json(page_data(folded, colours))}</script>"
        for i, (name, folded) in enumerate(networks.items())
    ]
    parts = {
        "TITLE": escape(title),
        "PICTURE": picture[picture.find("<svg") :] if picture else "",
        "STYLE": _part("style.css"),
        "LEGEND": _legend(networks, bool(names)),
        "NETWORKS": "\n".join(scripts),
        "GRAPHVIZ": layout_script(),
        "SCENE": _part("scene.js"),
        "APP": _part("app.js"),
    }
    pieces = _part("page.html").split("@")
    return "".join(parts.get(p, p) if i % 2 else p for i, p in enumerate(pieces))


@cache
def _part(name: str) -> str:
    return files("symbucket.visualization").joinpath("assets").joinpath(name).read_text("utf-8")


def _json(data: Any) -> str:
    """Return JSON that cannot end the script element around it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _legend(networks: Mapping[str, Folded], parameters: bool) -> str:
    kinds = {b.kind for folded in networks.values() for b in folded.diagram.boxes}
    shown = [
        f'<span><i style="background:{fill};border-color:{border}"></i>{name}</span>'
        for name, (fill, border) in _LEGEND.items()
        if name in kinds
    ]
    if parameters:
        fill, border = next(iter(parameter_colours(["one"]).values()))
        shown.append(
            f'<span><i class="hues" style="background:{fill};border-color:{border}"></i>'
            "parameter (a colour each) and its gradient</span>"
        )
    return "".join(shown)


def page_data(folded: Folded, colours: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return a network for the page as plain lists: edges are triples (source, target, output)."""
    styles: dict[str, int] = {}

    def style(text: str) -> int:
        return styles.setdefault(text, len(styles))

    boxes = []
    for i, box in enumerate(folded.diagram.boxes):
        first, second = box_texts(folded, i)
        boxes.append(
            {
                "name": box.name,
                "op": box.op,
                "kind": box.kind,
                "parent": folded.parents[i],
                "first": first,
                "second": second,
                "style": style(box_style(folded, i, colours)),
                "outputs": [[v.name, v.dtype, v.text] for v in box.outputs],
                "attributes": dict(box.attributes),
            }
        )
    groups = []
    for i, group in enumerate(folded.groups):
        first, second = group_texts(folded, i)
        groups.append(
            {
                "label": group.label,
                "first": first,
                "second": second,
                "kind": group.kind,
                "phase": group.phase,
                "parent": group.parent,
                "boxes": group.boxes,
                "groups": group.groups,
                "size": group.size,
                "style": style(group_style(folded, i, colours)),
                "frame": style(frame_style(folded, i)),
            }
        )
    return {
        "boxes": boxes,
        "groups": groups,
        "top": {"boxes": folded.top.boxes, "groups": folded.top.groups},
        "edges": [n for e in folded.diagram.edges for n in (e.source, e.target, e.output)],
        "summary": _summary(folded),
        "open": sorted(folded.default_view().opened),
        "styles": list(styles),
        "edgeStyles": EDGES,
        "header": HEADER,
        "faint": FAINT,
        "large": LARGE,
        "shownShapes": SHOWN_SHAPES,
    }


def _summary(folded: Folded) -> dict[str, Any]:
    """Return the totals of a network and of its groups, as texts."""
    whole = totals(folded, range(len(folded.diagram.boxes)))
    rows = [[f"g{i}", label, _totals_text(part)] for i, label, part in group_totals(folded)]
    return {"total": _totals_text(whole), "groups": rows}


def _totals_text(part: Totals) -> str:
    texts = [f"{part.operators:,} operator{'' if part.operators == 1 else 's'}"]
    if part.parameters is None:
        texts.append("parameters of unknown shape")
    elif part.parameters:
        nbytes = "" if part.nbytes is None else f" ({amount(part.nbytes)})"
        texts.append(f"{part.parameters:,} parameters{nbytes}")
    return ", ".join(texts)
