"""Tables as plain text: the one place that aligns columns.

``tabulate`` could do it, but it reads numbers out of texts and rounds and aligns them by its own
rules, while these cells are finished texts (``1,024``, ``12.5%``, ``3.1 MB``). Ten lines are not
worth a dependency of every installation.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


def format_table(
    rows: Sequence[Sequence[str]], *, left: Collection[int] = (), indent: str = ""
) -> str:
    """Return rows as lines, with two blanks between columns and none at the end of a line.

    Args:
        rows: the cells of each row; all rows have as many.
        left: numbers of the columns that are aligned to the left; the others are to the right.
        indent: what every line begins with.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append(indent + "  ".join(cells).rstrip())
    return "\n".join(lines)
