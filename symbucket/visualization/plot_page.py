"""One HTML page with a plot and the numbers in it as tables."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from symbucket.visualization.diagram import printable
from symbucket.visualization.page_parts import asset, filled

LONGEST_TABLE = 500
"""Rows of a table that a page shows."""

Cell = str | int | float


@dataclass(frozen=True)
class Table:
    """Numbers below a plot. An int is a count or bytes, a float a share, shown in per cent."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def to_plot_page(title: str, picture: bytes, tables: Sequence[Table]) -> str:
    """Return the text of the page, which loads nothing from elsewhere; ``picture`` is SVG."""
    data = b64encode(picture).decode()
    content = "\n".join(
        [
            f'<img alt="{escape(printable(title))}" src="data:image/svg+xml;base64,{data}">',
            *(_table(table) for table in tables if table.rows),
        ]
    )
    parts = {"TITLE": escape(printable(title)), "STYLE": asset("plot.css"), "CONTENT": content}
    return filled("plot.html", parts)


def _table(table: Table) -> str:
    rows = table.rows[:LONGEST_TABLE]
    title = table.title
    if len(rows) < len(table.rows):
        title += f" (the first {len(rows)} of {len(table.rows):,})"
    heads = "".join(
        f'<th scope="col"{_alignment(cell)}>{escape(column)}</th>'
        for column, cell in zip(table.columns, rows[0])
    )
    lines = [
        "<tr>" + "".join(f"<td{_alignment(cell)}>{_text(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    ]
    return (
        f"<h2>{escape(title)}</h2>\n<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody>\n</table>"
    )


def _alignment(cell: Cell) -> str:
    return "" if isinstance(cell, str) else ' class="number"'


def _text(cell: Cell) -> str:
    if isinstance(cell, str):
        return escape(printable(cell))
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.1%}"
