"""Large parameters in pieces: an optimizer's nodes meet a piece in the cache, not in memory.

The formula of Adam is twelve nodes, and each reads and writes all elements. Over millions of them
that is twelve times the memory's bandwidth; over a piece of a megabyte it is the cache's. Pieces
are views of the same buffers, so nothing is copied and nothing else needs to know. A formula that
is not elementwise, such as one that divides by a norm, keeps its parameters whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from symbucket.compiler.update import Emit, UpdateSpec
from symbucket.ir import Builder, info_of, new_graph
from symbucket.types import Shape

PIECE = 1 << 18
"""Elements of a piece: a megabyte, of which a step needs half a dozen."""


@dataclass(frozen=True)
class Piece:
    """The elements from ``start`` to ``stop`` of a flat parameter; None: all, in its shape."""

    parameter: int
    start: int | None = None
    stop: int | None = None


def pieces_of(spec: UpdateSpec, emit: Emit) -> tuple[Piece, ...]:
    """Return the pieces of all parameters in order; those of up to two pieces stay whole."""
    cut = max(map(math.prod, spec.shapes), default=0) > 2 * PIECE and all(
        _is_elementwise(spec, emit, names) for names in {*spec.scalars}
    )
    return tuple(
        piece
        for i, shape in enumerate(spec.shapes)
        for piece in (_cut(i, shape) if cut else [Piece(i)])
    )


def whole_parameters(spec: UpdateSpec) -> tuple[Piece, ...]:
    """Return a piece for each parameter: all of it."""
    return tuple(map(Piece, range(len(spec.shapes))))


def _cut(parameter: int, shape: Shape) -> Sequence[Piece]:
    size = math.prod(shape)
    if size <= 2 * PIECE:
        return [Piece(parameter)]
    count = -(-size // PIECE)
    length = -(-size // count // 16) * 16  # every piece begins on a boundary of 64 bytes
    starts = range(0, size, length)
    return [Piece(parameter, start, min(start + length, size)) for start in starts]


def _is_elementwise(spec: UpdateSpec, emit: Emit, names: Sequence[str]) -> bool:
    """Return whether the formula over scalars of these names is elementwise."""
    graph = new_graph("trial")
    g = Builder(graph)
    shape = max(spec.shapes, key=math.prod)
    weight, grad = (g.input(name, shape, spec.dtype) for name in ("weight", "grad"))
    states = {name: g.input(f"state {name}", shape, spec.dtype) for name in spec.states}
    scalars = {name: g.input(f"scalar {name}", (1,), spec.dtype) for name in names}
    emit(g, weight, grad, states, scalars)
    return all(info_of(node).elementwise for node in graph)


def in_pieces(spec: UpdateSpec, pieces: Sequence[Piece]) -> UpdateSpec:
    """Return the spec with a parameter for each piece."""
    shapes = [spec.shapes[p.parameter] if p.start is None else (_length(p),) for p in pieces]
    rows = [spec.rows[piece.parameter] for piece in pieces]
    return replace(spec, shapes=tuple(shapes), rows=tuple(rows))


def _length(piece: Piece) -> int:
    assert piece.start is not None
    assert piece.stop is not None
    return piece.stop - piece.start
