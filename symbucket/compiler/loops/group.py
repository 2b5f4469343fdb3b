"""Unrolled symbol -> symbol with loops: one step of every recurrence, and how often it runs."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from symbucket.compiler.gc_pause import paused_collector
from symbucket.compiler.loops.columns import DiffersError, Steps, Users
from symbucket.compiler.loops.grouped import Grouped
from symbucket.compiler.loops.lengthen import lengthened
from symbucket.compiler.loops.rewire import rewire
from symbucket.compiler.loops.steps import Walk
from symbucket.ops.graph import OnnxGraph
from symbucket.symbol.brief import brief, forget_brief
from symbucket.symbol.node import Entry, Node
from symbucket.symbol.symbol import Symbol

LEAST = 4  # steps; fewer stay as they are
_MOST_CHAINS = 8  # that have one weight
_MOST_USES = 4  # of one weight in a step, each waiting for the one before


def grouped(symbol: Symbol) -> Grouped:
    """Return a symbol's network with loops in it; worked out once for each symbol."""
    return symbol.derived(_grouped)


def forget_network(symbol: Symbol) -> None:
    """Drop what compiling has worked out of a symbol, until it is compiled again."""
    symbol.forget(_grouped)
    forget_brief(symbol)


def _grouped(symbol: Symbol) -> Grouped:
    with paused_collector():
        network = brief(symbol)
        if network.counts:
            short, loops, too_few = _group_steps(network.nodes, network.heads)
            long = None
            if loops and len(short.unrolled) == too_few:
                long = lengthened(network, short, loops)
            if long is not None:
                return long
        return group_steps(symbol.nodes(), symbol.heads)


def group_steps(nodes: Sequence[Node], heads: Sequence[Entry]) -> Grouped:
    """Find the recurrences among ``nodes`` and put a loop into the place of each."""
    return _group_steps(nodes, heads)[0]


def _group_steps(
    nodes: Sequence[Node], heads: Sequence[Entry]
) -> tuple[Grouped, Mapping[Node, Steps], int]:
    """Return the network with loops, the steps of each loop, and how many recurrences are short.

    Too short for a loop: a few uses of one variable, which are as many if other steps are more.
    """
    users: dict[Node, list[tuple[Node, int]]] = defaultdict(list)
    for node in nodes:
        for slot, (source, _) in enumerate(node.inputs):
            users[source].append((node, slot))
    position = {node: i for i, node in enumerate(nodes)}
    taken: dict[Node, None] = {}
    walks: list[tuple[Walk, Steps]] = []
    reasons = _reasons_of_graphs(nodes)
    too_few = 0
    explained: set[Node] = set()  # a weight and its bias are used by the same nodes
    for weight, products in _candidates(nodes, users):
        if any(node in taken for node in products) or products[0] in explained:
            continue
        if len(products) < LEAST:
            if _wait_for_each_other(products):
                explained.add(products[0])
                too_few += 1
                reasons.append(f"{weight.name}: {len(products)} steps; a loop has {LEAST} or more")
            continue
        chains = _chains(nodes, position, products)
        if isinstance(chains, str):
            explained.add(products[0])
            reasons.append(f"{weight.name}: {chains}")
            continue
        for chain, number in chains:
            walk = _walk(chain, number, users, position, taken)
            if isinstance(walk, str):
                explained.add(products[0])
                reasons.append(f"{weight.name}: {walk}")
                continue
            walks.append(walk)
            taken.update(dict.fromkeys(walk[1].places))
    groups = [_with_readers(walk, steps, taken) for walk, steps in walks]
    if not groups:
        return Grouped(list(nodes), heads, (), tuple(reasons), {}, nodes), {}, too_few
    owners = {node: group for group in groups for node in group.places}
    new = rewire(groups, owners, users, heads)
    if new is None:
        reasons.append("loops wait for each other")
        return Grouped(list(nodes), heads, (), tuple(reasons), {}, nodes), {}, too_few
    names = tuple(f"{one.columns[0].model.name} ({one.count} steps)" for one in groups)
    network = Grouped(new.nodes, new.heads, names, tuple(reasons), new.written, nodes)
    return network, new.loops, too_few


def _reasons_of_graphs(nodes: Sequence[Node]) -> list[str]:
    """Return what to say of steps that are written out in graphs of ONNX files."""
    return [
        f"{name}: {count} products of {node.name}, a graph from an ONNX file that is kept as it is"
        for node in nodes
        if isinstance(node.op, OnnxGraph)
        for name, count in node.op.repeated_weights(LEAST).items()
    ]


def _with_readers(walk: Walk, steps: Steps, taken: dict[Node, None]) -> Steps:
    """The steps once more, with what reads one step each and belongs to no other loop."""
    try:
        steps = walk.with_readers()
    except DiffersError:
        for node in steps.places:
            del taken[node]
        steps = walk.steps()
    taken.update(dict.fromkeys(steps.places))
    return steps


def _candidates(nodes: Sequence[Node], users: Users) -> list[tuple[Node, list[Node]]]:
    """Variables with the nodes that use them in one way, two or more."""
    candidates: list[tuple[Node, list[Node]]] = []
    for variable in nodes:
        if variable.op is not None or len(users.get(variable, ())) < 2:
            continue
        kinds: list[list[Node]] = []
        for user, slot in users[variable]:
            for kind in kinds:
                model = kind[0]
                if model.op == user.op and (variable, slot) in _slots(model, variable):
                    kind.append(user)
                    break
            else:
                if len(kinds) < 4:
                    kinds.append([user])
        candidates += [(variable, kind) for kind in kinds if len(kind) >= 2]
    return candidates


def _wait_for_each_other(products: Sequence[Node]) -> bool:
    """Return whether each of a few nodes depends on the one before, directly or not."""
    for earlier, later in itertools.pairwise(products):
        stack, seen = [later], {later}
        while stack:
            for source, _ in stack.pop().inputs:
                if source not in seen:
                    seen.add(source)
                    stack.append(source)
        if earlier not in seen:
            return False
    return True


def _slots(node: Node, variable: Node) -> list[tuple[Node, int]]:
    return [(variable, i) for i, (source, _) in enumerate(node.inputs) if source is variable]


Chain = tuple[list[Node], dict[Node, int]]


def _chains(
    nodes: Sequence[Node], position: dict[Node, int], products: Sequence[Node]
) -> list[Chain] | str:
    """The products that wait for each other, in order, with the numbers of what depends on them.

    Several chains have one weight if they do not wait for each other (siamese networks). Of
    products that wait for the same ones, the first stands for the step. Returns the reason if
    there is no order.
    """
    members = set(products)
    reached: dict[Node, tuple[int, int]] = {}  # chain, number of the last product on the way
    chains: list[list[Node]] = []
    for node in nodes[position[products[0]] :]:
        best: tuple[int, int] | None = None
        for source, _ in node.inputs:
            one = reached.get(source)
            if one is not None and (best is None or one[1] > best[1]):
                best = one
        if node in members:
            if best is None:
                if len(chains) == _MOST_CHAINS:
                    if all(len(chain) == 1 for chain in chains):
                        return []  # no recurrence
                    return f"{len(products)} uses in more than {_MOST_CHAINS} recurrences"
                chains.append([])
                best = len(chains) - 1, -1
            chain, number = best
            if number + 1 == len(chains[chain]):
                chains[chain].append(node)
            best = chain, number + 1
        if best is not None:
            reached[node] = best
    return [
        (chain, {node: number for node, (i, number) in reached.items() if i == k})
        for k, chain in enumerate(chains)
        if len(chain) >= LEAST
    ]


def _walk(
    chain: list[Node],
    number: dict[Node, int],
    users: Users,
    position: dict[Node, int],
    taken: dict[Node, None],
) -> tuple[Walk, Steps] | str:
    """The steps around a chain; else the reason.

    The first or last product may belong to no step, and a step may use the weight several times.
    """
    reason = ""
    for stride, first, last in _cuts(len(chain)):
        products = chain[first:last:stride]
        shifted = number
        if first or stride > 1:
            shifted = {node: (n - first) // stride for node, n in number.items() if n >= first}
        try:
            walk = Walk(products, shifted, users, position, taken)
            return walk, walk.steps()
        except DiffersError as error:
            reason = reason or str(error)
    return reason


def _cuts(count: int) -> Iterator[tuple[int, int, int]]:
    """Uses of a weight in a step, and the first and last one of ``count`` uses to look at."""
    for first, last in ((0, count), (1, count), (0, count - 1), (1, count - 1)):
        if last - first >= LEAST:
            yield 1, first, last
    for stride in range(2, _MOST_USES + 1):
        for first in sorted({0, count % stride}):
            steps = (count - first) // stride
            if steps >= LEAST:
                yield stride, first, first + steps * stride
