"""Print how near training here is to PyTorch's own: ``python -m tests.pytorch [NAME ...]``.

Each network of ``networks.py`` is read by ``sym.from_torch`` and trained for five steps of SGD and
of Adam over two bucket keys. Exit code 1 if one differs by more than its tolerance, and by more
than PyTorch in float32 differs from itself in float64, or if the wrong ones are refused.
"""

import argparse
import logging
import sys
import time
import warnings

import torch

import symbucket as sb
from symbucket.tables import format_table
from tests.pytorch.networks import NETWORKS
from tests.pytorch.training import compare, examples, head

HEADER = (
    "network",
    "parameters",
    "exports",
    "SGD: outputs",
    "state",
    "Adam: outputs",
    "state",
    "float64",
    "seconds",
    "verdict",
)


def row(network):
    """A row of the table, and whether it is as expected."""
    torch.manual_seed(0)
    module = network.make().train()
    started = time.perf_counter()
    try:
        sym_gen = sb.sym.from_torch(module, examples(network), head=head)
        sgd = compare(network, sym_gen, module, "sgd")
        adam = compare(network, sym_gen, module, "adam")
    except sb.SymbucketError as error:
        words = f"refused: {error}"
        right = bool(network.refused) and network.refused in words
        return (network.name, *[""] * 7, f"{time.perf_counter() - started:.1f}", words[:160]), right
    bound = max(network.tolerance, sgd.drift, adam.drift)
    right = max(sgd.outputs, adam.outputs, sgd.state) <= bound and not network.refused
    return (
        network.name,
        str(sum(p.numel() for p in module.parameters())),
        str(sym_gen.exports),
        *(f"{x:.0e}" for x in (sgd.outputs, sgd.state, adam.outputs, adam.state)),
        f"{max(sgd.drift, adam.drift):.0e}",
        f"{time.perf_counter() - started:.1f}",
        "equal" if right else f"differs by more than {bound:.0e}",
    ), right


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pytorch", description=__doc__)
    parser.add_argument("names", nargs="*", help="words in names of networks; all if left out")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    chosen = [n for n in NETWORKS if not options.names or any(w in n.name for w in options.names)]
    print(f"PyTorch {torch.__version__}, five steps over two keys, largest differences")
    rows, failures = [], 0
    for network in chosen:
        cells, right = row(network)
        rows.append(cells)
        failures += not right
        print(f"  {network.name}: {cells[-1]}", file=sys.stderr, flush=True)
    print(format_table([HEADER, *rows], left=(0, len(HEADER) - 1)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
