"""Buckets for a corpus: boundaries, batch sizes, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from symbucket.errors import InvalidArgumentError
from symbucket.html_tables import html_table
from symbucket.io.bucket_table import BucketRow, BucketTable, bucket_cells
from symbucket.tables import format_table

BucketKey = int | tuple[int, ...]


@dataclass(frozen=True)
class BucketPlan:
    """Buckets for a corpus, as :func:`plan_buckets` chooses them; iterators take it as ``buckets``.

    Attributes:
        boundaries: the bucket keys, ascending: lengths, or tuples of a length for each axis.
        batch_sizes: sentences of a batch of each bucket.
        sentences: sentences that each bucket holds.
        tokens: their lengths together, in each bucket.
        memory: bytes that a batch of each bucket needs, if ``memory`` was given to plan with.
        compile_seconds: time that compiling each bucket's network took, if it was measured.
    """

    boundaries: tuple[BucketKey, ...]
    batch_sizes: tuple[int, ...]
    sentences: tuple[int, ...]
    tokens: tuple[int, ...]
    memory: tuple[int, ...] | None = None
    compile_seconds: tuple[float, ...] | None = None

    def __len__(self) -> int:
        """Return the number of buckets."""
        return len(self.boundaries)

    @property
    def batches(self) -> tuple[int, ...]:
        """Batches of each bucket in an epoch, a last one that is not full included."""
        return tuple(-(-n // b) for n, b in zip(self.sentences, self.batch_sizes))

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return sum(self.batches)

    @property
    def positions(self) -> tuple[int, ...]:
        """Positions of each bucket's sentences, padding included."""
        return tuple(positions_of(key) * n for key, n in zip(self.boundaries, self.sentences))

    @property
    def padding(self) -> float:
        """Share of all positions that is padding, 0 to 1."""
        return 1.0 - sum(self.tokens) / sum(self.positions)

    def batch_size(self, key: BucketKey) -> int:
        """Return the sentences of a batch of bucket ``key``."""
        if key not in self.boundaries:
            raise InvalidArgumentError(
                f"the plan has no bucket {key!r}; it has {', '.join(map(repr, self.boundaries))}"
            )
        return self.batch_sizes[self.boundaries.index(key)]

    def bucket_table(self) -> BucketTable:
        """Return rows ``(key, sentences, batches, padding_share)``, one a bucket."""
        return BucketTable(
            BucketRow(key, n, batches, 1.0 - tokens / positions)
            for key, n, batches, tokens, positions in zip(
                self.boundaries, self.sentences, self.batches, self.tokens, self.positions
            )
        )

    def table(self) -> str:
        """Return the buckets, one a line, with totals, as text."""
        return format_table(self._cells())

    def _repr_html_(self) -> str:
        caption = f"{len(self)} buckets, {self.steps:,} batches, padding {self.padding:.1%}"
        return html_table(self._cells(), caption=caption, total=True)

    def _cells(self) -> list[tuple[str, ...]]:
        columns = {"batch size": [str(size) for size in self.batch_sizes]}
        if self.memory is not None:
            columns["memory MB"] = [f"{size / 1e6:.1f}" for size in self.memory]
        if self.compile_seconds is not None:
            columns["compile s"] = [f"{seconds:.2f}" for seconds in self.compile_seconds]
        totals = {}
        if self.memory is not None:
            totals["memory MB"] = f"{max(self.memory) / 1e6:.1f}"
        if self.compile_seconds is not None:
            totals["compile s"] = f"{sum(self.compile_seconds):.2f}"
        return bucket_cells(self.bucket_table(), columns, totals)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan for ``json.dump``."""
        return {
            "padding": self.padding,
            "steps": self.steps,
            "buckets": [
                {
                    "key": key,
                    "batch_size": self.batch_sizes[i],
                    "sentences": self.sentences[i],
                    "tokens": self.tokens[i],
                    "memory": None if self.memory is None else self.memory[i],
                    "compile_seconds": (
                        None if self.compile_seconds is None else self.compile_seconds[i]
                    ),
                }
                for i, key in enumerate(self.boundaries)
            ],
        }

    def __str__(self) -> str:
        return self.table()


def positions_of(key: BucketKey) -> int:
    """Return the positions of one sentence in a bucket, padding included."""
    return key if isinstance(key, int) else sum(key)
