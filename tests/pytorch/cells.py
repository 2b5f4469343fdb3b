"""Cells of the table: one network, one way to a symbol, trained beside PyTorch."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

import symbucket as sb
from symbucket.tables import format_table
from tests.pytorch.networks import Network
from tests.pytorch.routes import NotExportedError, Route
from tests.pytorch.training import compare


@dataclass(frozen=True)
class Cell:
    """What one network became by one route.

    ``verdict`` is "equal", "WRONG", "refused" (by symbucket), "no file" (PyTorch cannot write it)
    or "not installed" (the network's library). ``sgd`` and ``adam`` are the largest differences of
    probabilities, ``state`` that of parameters and statistics, ``drift`` and ``state_drift`` how
    far PyTorch's float32 is from its float64. ``told`` are the arguments of ``from_onnx`` that say
    what the file does not.
    """

    network: str
    route: str
    verdict: str
    sgd: float = 0.0
    adam: float = 0.0
    state: float = 0.0
    drift: float = 0.0
    state_drift: float = 0.0
    told: tuple[str, ...] = ()
    reason: str = ""
    seconds: float = 0.0

    def text(self, number: int) -> str:
        """The cell as one expression; ``number`` is that of the reason."""
        if self.verdict in ("refused", "no file", "not installed"):
            return f"{self.verdict} [{number}]"
        pair = f"{self.sgd:.0e} / {self.adam:.0e}"
        if self.verdict == "equal":
            return pair + "".join(f" {name}=" for name in self.told)
        drift = f"{self.drift:.0e}, {self.state_drift:.0e}"
        return f"WRONG {pair}, state {self.state:.0e} (float64: {drift})"


SHORT = {
    "BatchNorm folded": r"folded a BatchNorm|BatchNorm in training mode",
    "equal merged": r"all its values are|one parameter of several layers",
    "copied": r"transposed: one parameter",
    "computed": r"exporter computed|left out the parameters",
    "other statistics": r"aux state '",
    "one length": r"^bucket key|^session",
    "dropout lost": r"drops out in",
    "no export": r"PyTorch cannot export",
}
"""Words for reasons in the table of the documentation, and patterns of their errors."""


def measure(network: Network, route: Route) -> Cell:
    """Train a network by a route and by PyTorch."""
    torch.manual_seed(0)
    try:
        module = network.make().train()
    except ImportError as error:
        return Cell(network.name, route.title, "not installed", reason=str(error))
    started = time.perf_counter()

    def cell(verdict: str, **values) -> Cell:
        seconds = round(time.perf_counter() - started, 1)
        return Cell(network.name, route.title, verdict, seconds=seconds, **values)

    try:
        sym_gen = route.read(network, module, route)
        both = compare(network, sym_gen, module)
    except sb.SymbucketError as error:
        return cell("refused", reason=" ".join(str(error).split()))
    except NotExportedError as error:
        return cell("no file", reason=str(error))
    sgd, adam = both["sgd"], both["adam"]
    state = max(sgd.state, adam.state)
    drift = max(sgd.drift, adam.drift)
    state_drift = max(sgd.state_drift, adam.state_drift)
    right = max(sgd.outputs, adam.outputs) <= max(network.tolerance, drift)
    right &= state <= max(network.tolerance, state_drift)
    return cell(
        "equal" if right else "WRONG",
        sgd=sgd.outputs,
        adam=adam.outputs,
        state=state,
        drift=drift,
        state_drift=state_drift,
        told=tuple(getattr(sym_gen, "told", ())),
    )


def table(cells: Iterable[Cell]) -> str:
    """Networks by routes, and the reasons below."""
    listed = list(cells)
    routes = list(dict.fromkeys(cell.route for cell in listed))
    networks = list(dict.fromkeys(cell.network for cell in listed))
    by_place = {(cell.network, cell.route): cell for cell in listed}
    reasons: dict[str, int] = {}
    rows = [("network", *routes)]
    for network in networks:
        row = [network]
        for route in routes:
            cell = by_place.get((network, route))
            number = (
                reasons.setdefault(cell.reason, len(reasons) + 1) if cell and cell.reason else 0
            )
            row.append(cell.text(number) if cell else "")
        rows.append(tuple(row))
    notes = "\n".join(f"[{number}] {reason}" for reason, number in reasons.items())
    return f"{format_table(rows, left=range(len(rows[0])))}\n\n{notes}".rstrip()


def markdown(cells: Iterable[Cell]) -> str:
    """Networks by ways of export, a cell for fixed and dynamic sizes, as in the documentation."""
    listed = list(cells)
    routes = list(dict.fromkeys(cell.route.rpartition(", ")[0] for cell in listed))
    rows = [["network", *(f"`{route}`" for route in routes)], ["---"] * (len(routes) + 1)]
    for network in dict.fromkeys(cell.network for cell in listed):
        of_network = [cell for cell in listed if cell.network == network]
        row = [network]
        for route in routes:
            both = [c for c in of_network if c.route.rpartition(", ")[0] == route]
            row.append(_merged(both))
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _merged(cells: list[Cell]) -> str:
    """One cell for fixed and dynamic sizes."""
    if len({(cell.verdict, cell.told, _short(cell)) for cell in cells}) > 1:
        return "; ".join(f"{c.route.rpartition(', ')[2]}: {_merged([c])}" for c in cells)
    if not cells or cells[0].verdict in ("no file", "not installed"):
        return cells[0].verdict if cells else ""
    if cells[0].verdict == "refused":
        return f"refused: {_short(cells[0])}"
    pair = f"{max(c.sgd for c in cells):.0e} / {max(c.adam for c in cells):.0e}"
    wrong = "" if cells[0].verdict == "equal" else "WRONG "
    return wrong + pair + "".join(f", `{name}=`" for name in cells[0].told)


def _short(cell: Cell) -> str:
    if cell.verdict != "refused":
        return ""
    return next((w for w, form in SHORT.items() if re.search(form, cell.reason)), cell.reason[:80])
