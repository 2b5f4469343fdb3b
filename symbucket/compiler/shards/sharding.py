"""What each input and output of a program is in a run over one part of the batch's rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

PieceKind = Literal["rows", "same", "sum"]


@dataclass(frozen=True)
class Piece:
    """What a shard reads of an input, or what it has of an output.

    Attributes:
        kind: "rows": a part; "same": all of it, and outputs are equal in all shards; "sum": the
            output is the sum of what the shards return.
        outer: for "rows": the whole array is ``(outer, parts, rest)``, and shard i has ``[:, i]``.
    """

    kind: PieceKind
    outer: int = 1


@dataclass(frozen=True)
class Sharding:
    """How a program's runs over parts of the rows make the run over all of them.

    Attributes:
        parts: the number of shards.
        pieces: by the name of the port, for all inputs and outputs.
    """

    parts: int
    pieces: Mapping[str, Piece]

    def only(self, names: Iterable[str]) -> Sharding:
        """Return the same for these ports alone."""
        return Sharding(self.parts, {name: self.pieces[name] for name in names})
