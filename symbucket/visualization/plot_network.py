"""``plot_network`` with the name and arguments of MXNet; and Netron."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from symbucket.errors import InvalidArgumentError
from symbucket.symbol import Symbol
from symbucket.visualization.diagram import PARAMETER, STATE, Diagram, Edge
from symbucket.visualization.draw import network_dot
from symbucket.visualization.extras import need
from symbucket.visualization.from_symbol import from_symbol


def plot_network(
    symbol: Symbol,
    title: str = "plot",
    save_format: str = "pdf",
    shape: Mapping[str, Sequence[int]] | None = None,
    dtype: Any = None,
    node_attrs: Mapping[str, str] | None = None,
    hide_weights: bool = True,
) -> Any:
    """Return a symbol as a ``graphviz.Source``: ``render()`` writes a picture, ``view()`` shows it.

    Args:
        symbol: what to draw.
        title: the line above, and the file's name without its ending.
        save_format: "pdf", "svg", "png", ...
        shape: shapes of the data by name; they put a shape on every edge.
        dtype: accepted for MXNet's sake; shapes do not depend on it.
        node_attrs: Graphviz attributes for all boxes, as ``{"fontsize": "12"}``.
        hide_weights: leave parameters and auxiliary states out.

    Raises ShapeError if shapes contradict each other, UnsupportedError if the package ``graphviz``
    is missing.
    """
    del dtype
    if not isinstance(symbol, Symbol):
        raise InvalidArgumentError(f"plot_network draws a Symbol, not a {type(symbol).__name__}")
    network = from_symbol(symbol, shape, title)
    text = network_dot(_without_weights(network) if hide_weights else network, title=title)
    if node_attrs:
        attributes = ", ".join(f'{_word(k)}="{_quoted(v)}"' for k, v in node_attrs.items())
        # After the style of all boxes, before the first box.
        text = text.replace("edge [", f"node [{attributes}]\nedge [", 1)
    return need("graphviz").Source(text, filename=f"{title}.gv", format=save_format)


def _word(name: str) -> str:
    if not name.isidentifier():
        raise InvalidArgumentError(f"node_attrs: {name!r} is no name of an attribute of Graphviz")
    return name


def _quoted(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"')


def _without_weights(network: Diagram) -> Diagram:
    numbers = [i for i, b in enumerate(network.boxes) if b.kind not in (PARAMETER, STATE)]
    number = {old: new for new, old in enumerate(numbers)}
    edges = [
        Edge(number[e.source], number[e.target], e.output)
        for e in network.edges
        if e.source in number and e.target in number
    ]
    return replace(network, boxes=tuple(network.boxes[i] for i in numbers), edges=tuple(edges))


def open_in_netron(file: str | os.PathLike[str]) -> None:
    """Open an ``.onnx`` file in Netron, which starts a browser.

    Raises InvalidArgumentError if there is no such file, UnsupportedError without ``netron``.
    """
    if not Path(file).is_file():
        raise InvalidArgumentError(f"there is no file {str(file)!r}")
    need("netron").start(str(file))
