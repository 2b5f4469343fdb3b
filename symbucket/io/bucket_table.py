"""Contents of each bucket, as rows and as text."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

from symbucket.html_tables import html_table
from symbucket.tables import format_table


class BucketRow(NamedTuple):
    """One bucket.

    ``padding_share`` is the part, 0 to 1, of the bucket's ``sentences * key`` positions that holds
    no token; rows that only fill up a last batch do not count.
    """

    key: Hashable
    sentences: int
    batches: int
    padding_share: float


class BucketTable(list[BucketRow]):
    """The rows of a table of buckets: a list, which notebooks and ``print`` show as a table."""

    def __str__(self) -> str:
        return format_bucket_table(self)

    def _repr_html_(self) -> str:
        return html_table(bucket_cells(self), total=True)


def format_bucket_table(
    rows: Iterable[BucketRow | tuple[Hashable, int, int, float]],
    columns: Mapping[str, Sequence[str]] | None = None,
    totals: Mapping[str, str] | None = None,
) -> str:
    """An aligned table of the buckets, one a line, under a header and over a line of totals.

    Args:
        rows: ``(key, sentences, batches, padding_share)``, as ``bucket_table()`` of a bucketed
            iterator returns them. Where all keys are integers, the total padding share weighs each
            bucket by its positions, else the line leaves it out.
        columns: further columns by title, a text for each row.
        totals: texts for the line of totals, by title of the column.
    """
    return format_table(bucket_cells(rows, columns, totals))


def bucket_cells(
    rows: Iterable[BucketRow | tuple[Hashable, int, int, float]],
    columns: Mapping[str, Sequence[str]] | None = None,
    totals: Mapping[str, str] | None = None,
) -> list[tuple[str, ...]]:
    """Return the texts of ``format_bucket_table``: the header, a line a bucket, the totals."""
    listed = [BucketRow(*row) for row in rows]
    more = columns or {}
    cells: list[tuple[str, ...]] = [("bucket", "sentences", "batches", "padding", *more)]
    cells += [
        (
            str(row.key),
            f"{row.sentences:,}",
            f"{row.batches:,}",
            f"{row.padding_share:.1%}",
            *(texts[i] for texts in more.values()),
        )
        for i, row in enumerate(listed)
    ]
    total = _total_padding(listed)
    cells.append(
        (
            "total",
            f"{sum(row.sentences for row in listed):,}",
            f"{sum(row.batches for row in listed):,}",
            "" if total is None else f"{total:.1%}",
            *((totals or {}).get(title, "") for title in more),
        )
    )
    return cells


def _total_padding(rows: list[BucketRow]) -> float | None:
    positions = 0
    padded = 0.0
    for row in rows:
        key = row.key if isinstance(row.key, tuple) else (row.key,)
        if not all(isinstance(length, int) for length in key):
            return None
        positions += row.sentences * sum(key)
        padded += row.sentences * sum(key) * row.padding_share
    return padded / positions if positions else None
