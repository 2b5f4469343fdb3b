"""Colours of pictures: calm ones for nodes, its own hue for every parameter."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

from symbucket.visualization.diagram import BACKWARD, DATA, FORWARD, OUTPUT, STATE, UPDATE

INK = "#2b3440"
FAINT = "#6b7684"
LINE = "#8a95a3"
PALE = "#b9c1cb"

# kind or phase: (fill, border)
FILLS = {
    FORWARD: ("#e6eef8", "#5f86b3"),
    BACKWARD: ("#fbece1", "#c3855a"),
    UPDATE: ("#e8f3e4", "#6f9e5f"),
    DATA: ("#f4f5f7", "#7d8896"),
    STATE: ("#efeaf6", "#8a76ad"),
    OUTPUT: ("#ffffff", "#2b3440"),
}
# By phase, of what multiplies matrices and of what only moves data: they stand out, or stand back.
SHADES = {
    "multiplies": {
        FORWARD: ("#c6d9f0", "#3f6a9c"),
        BACKWARD: ("#f5d2b6", "#a9642f"),
        UPDATE: ("#cbe3c2", "#4f8340"),
    },
    "moves": {
        FORWARD: ("#f8fafd", "#a7bbd3"),
        BACKWARD: ("#fefaf7", "#dcb89c"),
        UPDATE: ("#f8fcf7", "#aecda3"),
    },
}
FRAMES = {FORWARD: "#f7fafd", BACKWARD: "#fefaf6", UPDATE: "#f8fbf7"}
_GOLDEN_RATIO = 0.618033988749895  # successive hues by this share of the circle stay far apart


def parameter_colours(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return (fill, border) by parameter name.

    They depend only on the sorted names, so all bucket keys, which have the same parameters, show a
    parameter in the same colour.
    """
    colours = {}
    for i, name in enumerate(sorted(names)):
        hue = (0.12 + i * _GOLDEN_RATIO) % 1.0
        colours[name] = (_hex(hue, 0.84, 0.62), _hex(hue, 0.42, 0.5))
    return colours


def _hex(hue: float, lightness: float, saturation: float) -> str:
    parts = colorsys.hls_to_rgb(hue, lightness, saturation)
    return "#" + "".join(f"{round(p * 255):02x}" for p in parts)
