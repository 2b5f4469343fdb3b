"""Paths of boxes in the tree of groups: from their names, or from their neighbours.

``lstm_l0_t3_i2h`` is in step 3 of ``lstm_l0``: its path is ("lstm", "l0", "t3"). The name ``_mul7``
says nothing, but if all nodes that read it are in step 3, it belongs there too. A node
``grad/X/Mul`` has the place among the backward nodes that X has among the forward nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce

from symbucket.ops import names as operator_names
from symbucket.visualization.diagram import (
    BACKWARD,
    DATA,
    FORWARD,
    OUTPUT,
    PARAMETER,
    STATE,
    UPDATE,
    Box,
    Diagram,
    Loop,
)

Path = tuple[str, ...]

# The folders of the phases; no node can have such a name.
ROOTS: dict[str, Path] = {FORWARD: (), BACKWARD: ("\0backward",), UPDATE: ("\0update",)}
PREFIXES = {FORWARD: "", BACKWARD: "grad/", UPDATE: "update/"}
_STEP = re.compile(r"t\d+")
_SPLIT = re.compile(r"(?<=[^/_])_|(?=/)")
PARAMETERS, GRADIENTS = "parameters", "gradients"
_LOOP = "\0loop "  # no node can have such a name
_PASS = "stacked"  # the scope of nodes that compute many steps at once


def is_step(token: str) -> bool:
    """Return whether a part of a name is a time step."""
    return _STEP.fullmatch(token.lstrip("/")) is not None


def loop_token(loop: Loop) -> str:
    """Return the folder of the body of a compiled loop."""
    return f"{_LOOP}{loop.name}"


def tokens(scope: str) -> Path:
    """Return the parts of a name up to the time step; a slash stays with the part after it."""
    parts = [p for p in _SPLIT.split(scope.strip("/")) if p]
    if parts[:1] == [_PASS]:  # one product for many steps is in none of them
        parts[1:2] = [p.lstrip("/") for p in parts[1:2]]
        untimed = [p for p in parts[1:] if not is_step(p)]
        step = next((i for i, p in enumerate(parts[1:]) if is_step(p)), len(untimed))
        return (*untimed[:step], f"{_PASS}_{'_'.join(untimed[step:])}" if untimed[step:] else _PASS)
    for i, part in enumerate(parts):
        if is_step(part):
            return tuple(parts[: i + 1])
    return tuple(parts)


def box_paths(diagram: Diagram, adopt: bool = False) -> list[Path]:
    """Return the path of every box.

    With ``adopt``, boxes with automatic names join the part of the network that they serve, also
    outside unrolled parts.
    """
    return _Paths(diagram, adopt).resolve()


class _Paths:
    def __init__(self, diagram: Diagram, adopt: bool) -> None:
        self.adopt = adopt
        self.boxes = diagram.boxes
        self.readers: list[list[int]] = [[] for _ in diagram.boxes]
        self.sources: list[list[int]] = [[] for _ in diagram.boxes]
        for edge in (e for e in diagram.edges if not e.carried):
            self.readers[edge.source].append(edge.target)
            self.sources[edge.target].append(edge.source)
        self.by_name = {b.name: i for i, b in enumerate(diagram.boxes)}
        self.paths: list[Path | None] = [None] * len(diagram.boxes)
        self.automatic = _automatic()

    def resolve(self) -> list[Path]:
        for phase in (FORWARD, BACKWARD, UPDATE):
            members = [i for i, b in enumerate(self.boxes) if b.kind == phase]
            for i in members:
                self.paths[i] = self._named(self.boxes[i])
            timed = _timed(p for p in map(self.paths.__getitem__, members) if p)
            self._adopt(members, timed)
            if self.adopt and phase == FORWARD:
                self._serve(members)
            for i in members:
                if self.paths[i] is None:
                    scope = self.boxes[i].scope.removeprefix(PREFIXES[phase])
                    # The parts of an automatic name (broadcast_add0) name no part of the network.
                    parts = (scope,) if self.automatic(scope) else tokens(scope)
                    self.paths[i] = (*ROOTS[phase], *parts)
        prepared = self._prepared()
        for i in prepared:
            self.paths[i] = (*_untimed(self.paths[i] or ()), PARAMETERS)
        for i, box in enumerate(self.boxes):
            if box.kind in (PARAMETER, STATE):
                self.paths[i] = self._beside(i, self.readers[i], PARAMETERS)
            elif box.kind == OUTPUT and box.param:
                self.paths[i] = self._beside(i, self.sources[i], GRADIENTS)
            elif box.kind in (DATA, OUTPUT):
                self.paths[i] = tokens(box.name)[:-1] if "/" in box.name else ()
        return [p or () for p in self.paths]

    def _named(self, box: Box) -> Path | None:
        """Return the path that the name of a node says, or None."""
        root, prefix = ROOTS[box.kind], PREFIXES[box.kind]
        if box.loop is not None:
            around = tokens(box.loop.name.rpartition("/")[0].removeprefix(prefix))
            untimed = [part for part in around if not is_step(part)]
            return (*root, *untimed, loop_token(box.loop))
        scope = box.scope.removeprefix(prefix)
        if box.kind == BACKWARD and scope != box.scope:
            of = self.by_name.get(scope)
            if of is not None and self.boxes[of].kind == FORWARD:
                return (*root, *(self.paths[of] or ()))
        if not scope or (scope == box.scope and self.automatic(scope)):
            return None
        return (*root, *tokens(scope))

    def _adopt(self, members: Sequence[int], timed: Callable[[Path], bool]) -> None:
        """Give boxes with automatic names the step of the boxes that read them, or that they read.

        Unnamed boxes between a box and the named ones do not matter, and neither does what is
        outside of unrolled parts: there a box by itself says more than a hidden one. What serves
        all steps of a part joins the part if it is next to them.
        """
        for order, around in ((members[::-1], self.readers), (members, self.sources)):
            near: dict[int, Path] = {}  # what the timed boxes on this side have in common
            for i in order:
                paths = (near.get(j) if self.paths[j] is None else self.paths[j] for j in around[i])
                told = [path for path in paths if path is not None and timed(path)]
                if told:
                    near[i] = common(told)
                    path = _outside_loops(near[i])
                    close = all((at := self.paths[j]) and timed(at) for j in around[i])
                    if self.paths[i] is None and timed(path) and (is_step(path[-1]) or close):
                        self.paths[i] = path

    def _serve(self, members: Sequence[int]) -> None:
        """Give boxes with automatic names the scope that the boxes before and after them are in.

        If those after them are further inside, take their scope: what a layer prepares for itself
        belongs to it. A node that reads a parameter has the scope of the parameter.
        """
        unnamed = [i for i in members if self.paths[i] is None]
        scopes = {i: path[:-1] for i in members if (path := self.paths[i]) is not None}
        for i in unnamed:
            sources = (self.boxes[j] for j in self.sources[i])
            of_parameters = [tokens(b.scope)[:-1] for b in sources if not b.op]
            if of_parameters and (scope := common(of_parameters)):
                self.paths[i] = scopes[i] = scope
        before = self._scopes_beside(unnamed, self.sources, scopes)
        after = self._scopes_beside(unnamed[::-1], self.readers, scopes)
        for i in unnamed:
            if self.paths[i] is None:
                shared = common([before[i], after[i]])
                inside = after[i] if shared == before[i] else shared
                if scope := inside or after[i]:
                    self.paths[i] = scopes[i] = scope
        self._close(members, scopes)
        for i in unnamed:
            if self.paths[i] is None:
                # Directly before a node at the top, as good as in it.
                readers = {self.paths[j] for j in self.readers[i]}
                self.paths[i] = readers.pop() if len(readers) == 1 else None

    def _close(self, members: Sequence[int], scopes: dict[int, Path]) -> None:
        """Give boxes with automatic names the scope that they are on a way through, or that ends.

        The sum of a layer's input and its attention comes after one part of the layer and before
        another, although later layers read it too: outside, it would make a cycle with the layer.
        The last sum of a layer has all that it reads from it.
        """
        after: dict[int, frozenset[Path]] = {}
        for i in reversed(members):
            after[i] = self._scopes_around(i, self.readers, scopes, after)
        before: dict[int, frozenset[Path]] = {}
        ends: dict[int, Path] = {}  # what all computed inputs of an unnamed box have in common
        for i in members:
            before[i] = self._scopes_around(i, self.sources, scopes, before)
            if self.paths[i] is not None:
                continue
            computed = [j for j in self.sources[i] if self.boxes[j].op]
            ends[i] = common([scopes.get(j, ends.get(j, ())) for j in computed])
            if both := before[i] & after[i]:
                self.paths[i] = scopes[i] = max(both, key=lambda scope: (len(scope), scope))
            elif len(computed) > 1 and ends[i]:
                self._end(i, ends[i], scopes)

    def _end(self, i: int, scope: Path, scopes: dict[int, Path]) -> None:
        """Give a box, and the boxes without paths that lead to it, a scope that it ends."""
        waiting = [i]
        while waiting:
            j = waiting.pop()
            if self.boxes[j].kind == FORWARD and self.paths[j] is None:
                self.paths[j] = scopes[j] = scope
                waiting += self.sources[j]

    def _scopes_around(
        self,
        i: int,
        around: Sequence[Sequence[int]],
        scopes: Mapping[int, Path],
        passed: Mapping[int, frozenset[Path]],
    ) -> frozenset[Path]:
        """Return all scopes around the first named boxes on each way to one side of a box.

        ``passed``: the result for the boxes on that side.
        """
        near: set[Path] = set()
        for j in around[i]:
            if j in scopes:
                near.update(scopes[j][: n + 1] for n in range(len(scopes[j])))
            else:
                near |= passed.get(j, frozenset())
        return frozenset(near)

    def _scopes_beside(
        self, order: Sequence[int], around: Sequence[Sequence[int]], scopes: Mapping[int, Path]
    ) -> dict[int, Path]:
        """Return for each box in ``order`` the scope of the nearest named boxes on one side."""
        beside: dict[int, Path] = {}
        for i in order:
            near = [j for j in around[i] if self.boxes[j].kind == FORWARD]
            beside[i] = common([scopes[j] if j in scopes else beside.get(j, ()) for j in near])
        return beside

    def _prepared(self) -> list[int]:
        """Return the forward boxes that others read and that depend on parameters only."""
        weights = {i for i, box in enumerate(self.boxes) if box.kind in (PARAMETER, STATE)}
        prepared: list[int] = []
        for i, box in enumerate(self.boxes):
            read = any(self.boxes[j].op for j in self.readers[i])
            made_of = self.sources[i]
            candidate = box.kind == FORWARD and box.loop is None and read and made_of
            if candidate and weights.issuperset(made_of):
                weights.add(i)
                prepared.append(i)
        return prepared

    def _beside(self, i: int, others: Sequence[int], folder: str) -> Path:
        """Return the path of a parameter, near its readers, or of a gradient, near its source."""
        kinds = [self.boxes[j].kind for j in others]
        first = FORWARD if FORWARD in kinds else next(iter(kinds), FORWARD)
        shared = common([self.paths[j] or () for j, k in zip(others, kinds) if k == first])
        if shared[-1:] == (folder,):
            return shared
        return (*_untimed(shared), folder)


def _outside_loops(path: Path) -> Path:
    """Return the path around the body of a compiled loop, to which nothing else belongs."""
    return path[:-1] if path and path[-1].startswith(_LOOP) else path


def _untimed(path: Path) -> Path:
    """Return a path without the step, loop or pass over many steps at its end."""
    while path and (is_step(path[-1]) or path[-1].startswith((_PASS, _LOOP))):
        path = path[:-1]
    return path


def common(paths: Sequence[Path]) -> Path:
    """Return the longest path that all of them begin with."""
    return reduce(_common, paths) if paths else ()


def _common(a: Path, b: Path) -> Path:
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return a[:n]


def _timed(paths: Iterable[Path]) -> Callable[[Path], bool]:
    """Return a predicate: whether a path is in a part that is unrolled over time."""
    prefixes = {p[: i + 1] for p in paths for i, t in enumerate(p[1:]) if is_step(t)}
    return lambda path: any(path[: n + 1] in prefixes for n in range(len(path)))


def _automatic() -> Callable[[str], bool]:
    """Return a predicate: whether a name is automatic, an operator's name and a number."""
    hints = {name.lower().replace("_", "") for name in operator_names()} | {"split"}

    def automatic(scope: str) -> bool:
        hint = scope.rstrip("0123456789")
        return hint != scope and hint.replace("_", "") in hints

    return automatic
