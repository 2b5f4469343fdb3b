"""The style that plots share, and saving them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from symbucket.errors import InvalidArgumentError
from symbucket.files import write_atomic
from symbucket.visualization.colours import FAINT, PALE
from symbucket.visualization.extras import need

MEGA = 1e6  # bytes in a megabyte
_FORMATS = ("svg", "png", "pdf")
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


def save(figure: Any, file: str | os.PathLike[str] | None) -> Any:
    """Write the figure, whole or not at all, and give it back."""
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
    figure.savefig(buffer, format=form, dpi=_DPI, metadata=_UNDATED.get(form))
    try:
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        raise InvalidArgumentError(f"cannot write {str(path)!r}: {error}") from error
    return figure
