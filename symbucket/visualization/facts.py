"""What a page says about a network, a group and a box: pairs of a name and a text."""

from __future__ import annotations

from collections.abc import Iterator

from symbucket.visualization.amounts import nbytes_text, operations_text, seconds_text
from symbucket.visualization.diagram import Box, Statistics
from symbucket.visualization.fold import Folded
from symbucket.visualization.totals import Totals, group_totals, totals

Fact = tuple[str, str]
Row = tuple[str, str, str, float]
"""Of an outermost group: its id, its title, its totals, and its share of the whole."""


class Facts:
    """The facts of one network, whose totals are the measure of the shares."""

    def __init__(self, folded: Folded) -> None:
        self.folded = folded
        self.whole = totals(folded, range(len(folded.diagram.boxes)))

    def network(self) -> list[Fact]:
        """Return the facts of the whole network."""
        facts = list(self._of(self.whole))
        if elsewhere := self.folded.diagram.elsewhere:
            facts.append(("Time of nodes that the runtime made", seconds_text(elsewhere)))
        return facts

    def rows(self) -> list[Row]:
        """Return the outermost groups; of a phase, those inside it.

        The share is of the time if there is a profile, else of the operations; 0 if unknown.
        """
        return [
            (f"g{i}", label, self._sentence(part), self._share(part))
            for i, label, part in group_totals(self.folded)
        ]

    def group(self, number: int) -> list[Fact]:
        """Return the facts of a group."""
        return list(self._of(totals(self.folded, self.folded.boxes_inside(number))))

    def box(self, box: Box) -> list[Fact]:
        """Return the facts of a box; of a parameter with values, their statistics."""
        facts: list[Fact] = []
        if box.op and box.operations:
            facts.append(("Operations", self._operations(box.operations)))
        if box.seconds is not None:
            facts.append(("Time", self._seconds(box.seconds)))
        if box.statistics is not None:
            facts += _statistics(box.statistics)
        return facts

    def _of(self, part: Totals) -> Iterator[Fact]:
        yield "Operators", f"{part.operators:,}"
        if part.parameters is None:
            yield "Parameters", "of unknown shape"
        elif part.parameters:
            yield "Parameters", f"{part.parameters:,}{_in_bytes(part)}"
        if part.operations is None:
            yield "Operations", "of unknown shapes"
        elif part.operations:
            yield "Operations", self._operations(part.operations)
        if part.seconds is not None:
            yield "Time", self._seconds(part.seconds)

    def _sentence(self, part: Totals) -> str:
        """Return the totals in one text that breaks only at commas."""
        return ", ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in self._phrases(part))

    def _phrases(self, part: Totals) -> Iterator[str]:
        if part.parameters is None:
            yield "parameters of unknown shape"
        elif part.parameters:
            yield f"{part.parameters:,} parameters{_in_bytes(part)}"
        if part.operations:
            yield operations_text(part.operations)
        if part.seconds is not None:
            yield seconds_text(part.seconds)
        if not (part.parameters or part.operations):
            yield f"{part.operators:,} operator{'' if part.operators == 1 else 's'}"

    def _operations(self, count: int) -> str:
        return f"{operations_text(count)}{_percent(count, self.whole.operations)}"

    def _seconds(self, seconds: float) -> str:
        return f"{seconds_text(seconds)}{_percent(seconds, self.whole.seconds)}"

    def _share(self, part: Totals) -> float:
        if self.whole.seconds:
            return (part.seconds or 0.0) / self.whole.seconds
        if self.whole.operations:
            return (part.operations or 0) / self.whole.operations
        return 0.0


def _percent(amount: float, whole: float | None) -> str:
    """Return the share in brackets; nothing for the whole itself."""
    return f" ({amount / whole:.1%})" if whole and amount < whole else ""


def _in_bytes(part: Totals) -> str:
    return "" if part.nbytes is None else f" ({nbytes_text(part.nbytes)})"


def _statistics(statistics: Statistics) -> Iterator[Fact]:
    yield "Mean", f"{statistics.mean:.4g}"
    yield "Standard deviation", f"{statistics.std:.4g}"
    yield "Least, most", f"{statistics.least:.4g}, {statistics.most:.4g}"
    yield "Zeros", f"{statistics.zeros:,}"
    if statistics.not_finite:
        yield "Not finite", f"{statistics.not_finite:,}"
