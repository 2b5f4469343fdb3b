"""``ParameterReport``: what ``from_onnx`` made of the constants of a file, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from symbucket.checks import listing
from symbucket.tables import format_table
from symbucket.types import Shape

MAX_LISTED_NAMES = 12


@dataclass(frozen=True)
class ParameterDecision:
    """Verdict on one constant of the file, and why.

    ``verdict`` is "trained", "state" (an auxiliary state), "fixed" or "unused".
    """

    name: str
    shape: Shape
    dtype: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class ParameterReport:
    """Verdicts of ``from_onnx`` on the float constants of a file; ``str`` gives a table."""

    decisions: tuple[ParameterDecision, ...]

    @property
    def trained(self) -> list[str]:
        """The names of the parameters."""
        return self._named("trained")

    @property
    def states(self) -> list[str]:
        """The names of the auxiliary states."""
        return self._named("state")

    @property
    def fixed(self) -> list[str]:
        """The names of the constants that keep their values."""
        return self._named("fixed")

    @property
    def unused(self) -> list[str]:
        """The names of the constants on which nothing depends."""
        return self._named("unused")

    def _named(self, verdict: str) -> list[str]:
        return [d.name for d in self.decisions if d.verdict == verdict]

    def __str__(self) -> str:
        if not self.decisions:
            return "no float constants"
        rows = [
            (d.name, str(d.shape), d.dtype, d.verdict, d.reason)
            for d in sorted(self.decisions, key=lambda d: list(_ORDER).index(d.verdict))
        ]
        return format_table([("name", "shape", "dtype", "is", "because"), *rows], left=range(5))

    def summary(self) -> str:
        """Return the counts and, for each verdict and reason, the names."""
        groups: dict[tuple[str, str], list[str]] = {}
        for d in self.decisions:
            groups.setdefault((d.verdict, d.reason), []).append(d.name)
        counts = Counter(d.verdict for d in self.decisions)
        head = ", ".join(f"{counts[v]} {word}" for v, word in _ORDER.items() if counts[v])
        lines = [head or "no float constants"]
        for verdict in _ORDER:
            for (of, reason), names in groups.items():
                if of == verdict:
                    lines.append(f"  {verdict}: {listing(names, MAX_LISTED_NAMES)} ({reason})")
        return "\n".join(lines)


_ORDER = {
    "trained": "trained",
    "state": "auxiliary states",
    "fixed": "fixed",
    "unused": "unused",
}
