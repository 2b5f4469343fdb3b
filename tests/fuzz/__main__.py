"""Run the fuzz by hand: ``python -m tests.fuzz --seconds 600 --seed 1000``.

With ``--convolutions`` networks are convolutional ones; with ``--damage`` it reads damaged files
in place of computing networks.
"""

import argparse
import logging
import sys
import warnings

from tests.fuzz.compare import fuzz
from tests.fuzz.damage import fuzz_files
from tests.fuzz.draw_convolutional import draw_convolutional
from tests.fuzz.networks import draw_network


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=None, help="how long; no limit if left out"
    )
    parser.add_argument("--networks", type=int, default=None, help="how many; no limit if left out")
    parser.add_argument("--seed", type=int, default=0, help="number of the first network")
    parser.add_argument("--every", type=int, default=1, help="go every n-th way only")
    parser.add_argument("--ways", default="", help="only ways whose name contains this")
    parser.add_argument("--damage", action="store_true", help="damage files, not networks")
    parser.add_argument("--convolutions", action="store_true", help="convolutional networks")
    options = parser.parse_args()
    draw = draw_convolutional if options.convolutions else draw_network
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    report, shown = None, 0
    try:
        for report in (
            fuzz_files(options.seed, options.networks, options.seconds)
            if options.damage
            else fuzz(
                options.seed, options.networks, options.seconds, options.every, draw, options.ways
            )
        ):
            for failure in report.failures[shown:]:
                print(failure, end="\n\n", flush=True)
            shown = len(report.failures)
    except KeyboardInterrupt:
        pass
    print(report)
    return int(shown > 0)


if __name__ == "__main__":
    sys.exit(main())
