"""Pictures of networks: SVG, PNG, PDF, Graphviz's own text, or a page to look around in."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.files import write_atomic
from symbucket.symbol import Symbol
from symbucket.visualization.diagram import Diagram
from symbucket.visualization.dot import Drawing, make_drawings, to_dot
from symbucket.visualization.extras import need
from symbucket.visualization.fold import BUDGET, LARGE, fold
from symbucket.visualization.page import to_page
from symbucket.visualization.profile import with_profile
from symbucket.visualization.sources import Graph, Shapes, networks_of
from symbucket.visualization.statistics import with_values

IMAGES = ("svg", "png", "pdf")
FORMATS = ("html", *IMAGES, "dot")
_INSTALL_HINT = (
    "Install Graphviz (apt-get install graphviz, brew install graphviz, "
    "https://graphviz.org/download), or ask for an .html page, which needs none."
)


def draw(
    source: Any,
    file: str | os.PathLike[str],
    *,
    shape: Shapes | None = None,
    graph: Graph = "symbol",
    key: Hashable = None,
    folded: bool = True,
    budget: int = BUDGET,
    title: str = "",
    params: Mapping[str, Any] | None = None,
    profile: str | os.PathLike[str] | None = None,
    unrolled: bool = False,
) -> Path:
    """Draw a network into a file, in the format of its suffix; return the path.

    ``.html`` is one page that needs no connection: pan, zoom, search, open and fold groups, totals
    by group (parameters, bytes, floating-point operations, time). It has all networks of a source
    with several (the keys of a bundle). If Graphviz is there, the first is in the page as SVG too,
    for readers without scripts. ``.svg``, ``.png`` and ``.pdf`` need Graphviz; ``.dot`` is the text
    for it.

    Args:
        source: what ``networks_of`` takes: a Symbol, a compiled program, an ONNX model or its file,
            a bundle's folder, or a mapping of names to these.
        file: where to write; the file appears whole or not at all.
        shape: shapes of a symbol's data by name; they put a shape on every edge.
        graph: a symbol as it stands ("symbol"), or compiled: "forward", "training".
        key: only this network of several.
        folded: False opens every group, which suits only small networks. A page always begins
            folded.
        budget: the number of boxes to show at first, if folding can make them so few.
        title: a line above the picture; the network's name by default.
        params: values of parameters by name, of which a page shows statistics; those that a model
            file has itself need not be given.
        profile: the JSON file that a session of ONNX Runtime wrote while it ran this model; a page
            shows the time of each node and group, mean of all runs.
        unrolled: a compiled symbol has the steps of its recurrences in place of loops.

    Raises InvalidArgumentError for an unknown format or too large a picture, for ``params`` and
    a ``profile`` of another network, UnsupportedError if Graphviz is missing.
    """
    path = Path(file)
    form = path.suffix.lstrip(".").lower()
    if form not in FORMATS:
        raise InvalidArgumentError(
            f"{str(path)!r}: the format {form!r} is unknown; expected a file name that ends in "
            f"{', '.join('.' + f for f in FORMATS)}"
        )
    networks = networks_of(source, shape, graph, key, unrolled)
    if params is not None:
        networks = with_values(networks, params)
    if profile is not None:
        networks = with_profile(networks, profile)
    if form == "html":
        name = title or (next(iter(networks.values())).title if len(networks) == 1 else path.stem)
        drawings = make_drawings({n: fold(network) for n, network in networks.items()})
        picture = _first_picture(next(iter(drawings.values())), budget)
        text = to_page(drawings, name, picture, budget)
        _write(path, text.encode())
        return path
    if len(networks) > 1:
        raise InvalidArgumentError(
            f"a .{form} shows one network, and here are {len(networks)}: "
            f"{', '.join(networks)}. Choose one by its key, or ask for an .html page."
        )
    network = next(iter(networks.values()))
    text = network_dot(network, folded, budget, title or network.title)
    _write(path, text.encode() if form == "dot" else render(text, form))
    return path


def _first_picture(drawing: Drawing, budget: int) -> str:
    """Return a page's first picture as SVG, "" without Graphviz: the page draws it anyway."""
    view = drawing.folded.default_view(budget)
    if drawing.folded.shown(view) > LARGE:
        return ""
    try:
        return render(to_dot(drawing, view), "svg").decode()
    except UnsupportedError:
        return ""


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomic(path, content)
    except OSError as error:
        raise InvalidArgumentError(f"cannot write {str(path)!r}: {error}") from error


def network_dot(
    network: Diagram, folded: bool = True, budget: int = BUDGET, title: str = ""
) -> str:
    """Return the text for Graphviz of a network, folded until it fits ``budget``.

    Raises InvalidArgumentError if there is too much to lay out.
    """
    tree = fold(network)
    opened = tree.default_view(budget) if folded else tree.full_view()
    shown = tree.shown(opened)
    if shown > LARGE:
        raise InvalidArgumentError(
            f"the picture would have {shown} boxes; {LARGE} are the most that can be laid out and "
            "read. Leave it folded, or ask for an .html page and open what you want to see."
        )
    return to_dot(make_drawings({title: tree})[title], opened, title)


def inline_svg(symbol: Symbol, most_nodes: int = 20_000) -> str | None:
    """Return a symbol's folded picture to be put into an HTML text.

    None if Graphviz is not there, or if laying it out could take long.
    """
    has_graphviz = shutil.which("dot") and importlib.util.find_spec("graphviz")
    if not has_graphviz or len(symbol.nodes()) > most_nodes:
        return None
    (network,) = networks_of(symbol).values()
    svg = render(network_dot(network, True, BUDGET, ""), "svg").decode()
    return svg[svg.index("<svg") :]  # HTML takes neither the XML declaration nor the DOCTYPE


def render(dot: str, form: str) -> bytes:
    """Lay out and draw with Graphviz: "svg", "png" or "pdf"."""
    graphviz = need("graphviz")
    try:
        drawn: bytes = graphviz.pipe("dot", form, dot.encode(), quiet=True)
    except graphviz.ExecutableNotFound:
        raise UnsupportedError(
            f"A .{form} needs the program `dot` of Graphviz, which was not found. {_INSTALL_HINT}"
        ) from None
    except graphviz.CalledProcessError as error:
        raise UnsupportedError(f"Graphviz could not draw this: {error}") from None
    return drawn
