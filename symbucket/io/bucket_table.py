"""What each bucket holds, as rows and as text."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

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


def format_bucket_table(rows: Iterable[BucketRow | tuple[Hashable, int, int, float]]) -> str:
    """An aligned table of the buckets, one a line, under a header and over a line of totals.

    Args:
        rows: ``(key, sentences, batches, padding_share)``, as ``bucket_table()`` of a bucketed
            iterator returns them. Where all keys are integers, the total padding share weighs each
            bucket by its positions, else the line leaves it out.
    """
    listed = [BucketRow(*row) for row in rows]
    cells = [("bucket", "sentences", "batches", "padding")]
    cells += [
        (str(row.key), f"{row.sentences:,}", f"{row.batches:,}", f"{row.padding_share:.1%}")
        for row in listed
    ]
    total = _total_padding(listed)
    cells.append(
        (
            "total",
            f"{sum(row.sentences for row in listed):,}",
            f"{sum(row.batches for row in listed):,}",
            "" if total is None else f"{total:.1%}",
        )
    )
    return format_table(cells)


def _total_padding(rows: list[BucketRow]) -> float | None:
    positions = 0
    padded = 0.0
    for row in rows:
        if not isinstance(row.key, int):
            return None
        positions += row.sentences * row.key
        padded += row.sentences * row.key * row.padding_share
    return padded / positions if positions else None
