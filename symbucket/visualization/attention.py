"""Where a network pays attention: weights of a softmax that mix computed values."""

from __future__ import annotations

from symbucket.visualization.diagram import FORWARD, PARAMETER, STATE, Diagram
from symbucket.visualization.fold import Folded
from symbucket.visualization.tree import RUN, STEP

_BETWEEN = 4  # nodes between the softmax and the product: dropout, casts, heads put together


def attention_groups(folded: Folded) -> frozenset[int]:
    """Return the groups that hold an attention: the innermost ones, and the time steps they make.

    An attention is a softmax whose result is multiplied, as a matrix, with something computed.
    """
    groups: set[int] = set()
    for softmax, product in _attentions(folded.diagram):
        around = set(folded.around(folded.parents[softmax]))
        for i in folded.around(folded.parents[product]):
            if i in around:
                groups.add(i)
                if folded.groups[i].kind not in (STEP, RUN):
                    break
    return frozenset(groups)


def _attentions(diagram: Diagram) -> list[tuple[int, int]]:
    """Return (softmax, product) of every attention."""
    readers: list[list[int]] = [[] for _ in diagram.boxes]
    sources: list[list[int]] = [[] for _ in diagram.boxes]
    for edge in diagram.edges:
        readers[edge.source].append(edge.target)
        sources[edge.target].append(edge.source)
    pairs = []
    for i, box in enumerate(diagram.boxes):
        if box.kind != FORWARD or not box.op.lower().endswith("softmax"):
            continue
        reached = {i}
        for _ in range(1 + _BETWEEN):
            reached = {reader for j in reached for reader in readers[j]}
            products = [j for j in reached if _is_product(diagram.boxes[j].op)]
            for product in products:
                kinds = [diagram.boxes[j].kind for j in sources[product]]
                if PARAMETER not in kinds and STATE not in kinds and len(kinds) > 1:
                    pairs.append((i, product))
            reached.difference_update(products)
    return pairs


def _is_product(op: str) -> bool:
    name = op.lower()
    return "matmul" in name or name in ("batch_dot", "dot", "linalg_gemm2")
