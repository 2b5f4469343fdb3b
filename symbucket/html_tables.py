"""Tables as HTML: what notebooks show of an object (``_repr_html_``).

Every text is escaped, since names may come from files of others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

_MOST_ROWS = 40


def html_table(
    rows: Sequence[Sequence[object]],
    *,
    caption: str = "",
    left: Collection[int] = (0,),
    total: bool = False,
    most: int = _MOST_ROWS,
) -> str:
    """Return a table, the first of ``rows`` its head.

    Args:
        rows: the cells of each row.
        caption: a line above it.
        left: numbers of the columns that are aligned to the left; the others are to the right.
        total: whether the last row sums up the others.
        most: rows to show; of more, those in the middle are counted only.
    """
    head, *body = rows
    sides = ["left" if i in left else "right" for i in range(len(head))]
    shown = [_row(row, "td", sides) for row in body]
    if total and shown:
        shown[-1] = _row(body[-1], "th", sides)
    if len(shown) > most:
        hidden = len(shown) - most
        note = f'<tr><td colspan="{len(head)}">... {hidden:,} more ...</td></tr>'
        shown = [*shown[: most // 2], note, *shown[len(shown) - (most - most // 2) :]]
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f"<table>{title}<thead>{_row(head, 'th', sides)}</thead>"
        f"<tbody>{''.join(shown)}</tbody></table>"
    )


def html_line(text: str) -> str:
    """Return one line of text."""
    return f"<div>{escape(text)}</div>"


def _row(cells: Sequence[object], tag: str, sides: Sequence[str]) -> str:
    parts = (
        f'<{tag} style="text-align:{side}">{escape(str(cell))}</{tag}>'
        for cell, side in zip(cells, sides)
    )
    return f"<tr>{''.join(parts)}</tr>"
