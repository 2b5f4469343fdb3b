"""Print how near training here is to PyTorch's own: ``python -m tests.pytorch [NAME ...]``.

Each network is read by ``sym.from_torch`` and from files of PyTorch's exporters, with fixed and
with dynamic sizes, and trained for five steps of SGD and of Adam over two bucket keys. A cell has
the largest differences of the probabilities, by SGD / by Adam. Exit code 1 if a network differs by
more than its tolerance, and by more than PyTorch in float32 differs from itself in float64, or if
``from_torch`` refuses the wrong ones.
"""

import argparse
import json
import logging
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

import torch

from tests.pytorch.cells import Cell, markdown, measure, table
from tests.pytorch.libraries import LIBRARIES
from tests.pytorch.networks import NETWORKS
from tests.pytorch.routes import ROUTES


def as_expected(network, cell: Cell) -> bool:
    """Whether the cell may be so."""
    if cell.route.startswith("from_torch"):
        expected = "refused" if network.refused else "equal"
        return cell.verdict in (expected, "not installed") and network.refused in cell.reason
    return cell.verdict != "WRONG"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pytorch", description=__doc__)
    parser.add_argument("names", nargs="*", help="words in names of networks; all if left out")
    parser.add_argument("--routes", default="", help="a word in titles of routes")
    parser.add_argument("--json", type=Path, help="a file to keep cells in, and to go on from")
    parser.add_argument("--markdown", action="store_true", help="print the documentation's table")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"PyTorch {torch.__version__}, five steps over two keys, largest differences")
    kept = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    cells = {(c["network"], c["route"]): Cell(**c) for c in kept}
    failures = 0
    for network in [*NETWORKS, *LIBRARIES]:
        if options.names and not any(word in network.name for word in options.names):
            continue
        # What from_torch has to refuse, files cannot tell: PyTorch loses it when it writes them.
        word = "from_torch" if network.refused else options.routes
        for route in (route for route in ROUTES if word in route.title):
            place = network.name, route.title
            if place not in cells:
                cells[place] = cell = measure(network, route)
                line = f"{network.name} | {route.title} | {cell.text(0)} {cell.reason[:300]}"
                print(f"  {line} ({cell.seconds} s)", file=sys.stderr, flush=True)
                if options.json:
                    options.json.write_text(json.dumps([asdict(c) for c in cells.values()]))
            failures += not as_expected(network, cells[place])
    print(markdown(cells.values()) if options.markdown else table(cells.values()))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
