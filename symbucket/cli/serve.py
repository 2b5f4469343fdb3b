"""``symbucket serve``: answer HTTP requests with a bundle."""

from __future__ import annotations

import argparse
import logging
import math

from symbucket.apps.arguments import integer
from symbucket.errors import InvalidArgumentError
from symbucket.serve import Bundle

HELP = "serve a bundle over HTTP"
DESCRIPTION = (
    "Answer requests in KServe's V2 protocol (JSON) at /v2/models/NAME/infer. Requests that wait\n"
    "at the same time share batches. /v2/health/live, /v2/health/ready and /metrics (Prometheus)\n"
    "are for whoever watches. SIGHUP reloads the bundle, SIGTERM ends after the last answer."
)
EXAMPLE = """\
examples:
  symbucket serve bundle
  symbucket serve bundle --host 0.0.0.0 --port 8000 --name tagger --max-delay 5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="the folder that export wrote")
    add("--host", default="127.0.0.1", help="the address to listen at; 0.0.0.0 for all")
    add("--port", type=integer(0), default=8080, help="the port; 0 for any free one")
    add("--name", default="model", help="the model's name in the protocol")
    add("--workers", type=integer(1), metavar="N", help="runs at a time; default: one a core")
    add("--max-delay", type=float, default=2.0, metavar="MS", help="wait so long to fill a batch")
    add("--max-queue", type=integer(1), default=1024, metavar="N", help="requests that may wait")
    add("--timeout", type=float, default=30.0, metavar="S", help="seconds that a request has")
    add("--max-megabytes", type=integer(1), default=8, metavar="MB", help="of a request's body")
    add("--max-samples", type=integer(1), default=256, metavar="N", help="of a request")
    add("--shared-memory", action="store_true", help="map the parameters; see docs/bundles.md")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    from symbucket.serve.server import Limits, Server

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # Written so that nan, which compares as neither, is refused.
    if not (0 <= args.max_delay < math.inf and 0 < args.timeout < math.inf):
        raise InvalidArgumentError("--max-delay must be 0 or more, --timeout above 0, both finite")
    bundle = Bundle(args.bundle, workers=args.workers, map_parameters=args.shared_memory)
    limits = Limits(args.max_megabytes << 20, args.max_samples, args.timeout)
    server = Server(
        bundle,
        args.name,
        max_delay=args.max_delay / 1000,
        max_queue=args.max_queue,
        limits=limits,
    )

    def say(url: str) -> None:
        print(f"{url}/v2/models/{args.name}/infer", flush=True)

    server.run(args.host, args.port, args.timeout, say)
    return 0
