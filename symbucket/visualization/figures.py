"""The style that plots share, and saving them."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symbucket.errors import InvalidArgumentError
from symbucket.files import write_atomic
from symbucket.visualization.colours import FAINT, INK, PALE
from symbucket.visualization.extras import need
from symbucket.visualization.plot_page import Table, to_plot_page

TITLE_STYLE: dict[str, Any] = {"x": 0.01, "ha": "left", "fontsize": 11, "color": INK}
MEGA = 1e6  # bytes in a megabyte
_FORMATS = ("html", "svg", "png", "pdf")
_DPI = 150
# The same picture is the same file tomorrow.
_UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def new_figure(rows: int, columns: int, inches: tuple[float, float]) -> tuple[Any, Any]:
    """A figure and its axes in an array (rows, columns). It is in no window and no global list."""
    figures = need("matplotlib.figure")
    figure = figures.Figure(figsize=inches, layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axis in axes.flat:
        axis.tick_params(labelsize=8, colors=FAINT, length=3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(PALE)
    return figure, axes


def save(
    figure: Any, file: str | os.PathLike[str] | None, title: str, tables: Sequence[Table] = ()
) -> Any:
    """Write the figure, whole or not at all, and give it back.

    ``title`` and ``tables`` are in an .html page beside the figure.
    """
    if file is None:
        return figure
    path = Path(file)
    form = path.suffix.lstrip(".").lower()
    if form not in _FORMATS:
        raise InvalidArgumentError(
            f"{str(path)!r}: the format {form!r} is unknown; expected a file that ends in "
            f"{', '.join('.' + f for f in _FORMATS)}"
        )
    buffer = io.BytesIO()
    image = "svg" if form == "html" else form
    if form == "html":
        figure.suptitle(" ", **TITLE_STYLE)  # the page has it; its line has the legend
    figure.savefig(buffer, format=image, dpi=_DPI, metadata=_UNDATED.get(image))
    content = buffer.getvalue()
    if form == "html":
        figure.suptitle(title, **TITLE_STYLE)
        content = to_plot_page(title, content, tables).encode()
    try:
        write_atomic(path, content)
    except OSError as error:
        raise InvalidArgumentError(f"cannot write {str(path)!r}: {error}") from error
    return figure
