"""``symbucket plan``: show the memory that training will need, before anything runs."""

from __future__ import annotations

import argparse
import json
from typing import Any

from symbucket.apps import language_model
from symbucket.apps.arguments import integer
from symbucket.apps.corpus import Vocabulary
from symbucket.cli import sources
from symbucket.io import DataDesc
from symbucket.metric import Perplexity
from symbucket.module.bucketing import BucketingModule

HELP = "show the memory that training will need"
DESCRIPTION = (
    "Plan the memory of all buckets without training: the activations of each key, and the pool,\n"
    "parameters, gradients and optimizer states of all keys together."
)
EXAMPLE = """\
examples:
  symbucket plan --num-hidden 200 --vocabulary-size 10000
  symbucket plan --sym-gen mine:sym_gen --keys 10 20 30 --data data=32,key --label label=32,key
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    language_model.add_network_arguments(parser)
    add = parser.add_argument
    add("--vocabulary-size", type=integer(1), default=10_000, metavar="N", help="words")
    add("--optimizer", default="adam", help="adam, sgd, ...")
    add("--inference", action="store_true", help="plan inference, not training")
    add("--json", action="store_true", help="print JSON")
    sources.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Compile every key and print the plan."""
    metric: Any = None
    if args.sym_gen is None:
        sizes = {name: getattr(args, name) for name in language_model.SIZES}
        sym_gen: Any = language_model.language_model(args.vocabulary_size, **sizes)
        keys: list[Any] = args.buckets
        metric = None if args.inference else Perplexity(Vocabulary.pad_id)

        def shapes(key: int) -> tuple[list[DataDesc], list[DataDesc]]:
            return language_model.shapes_of(key, args.batch_size)
    else:
        sym_gen, shapes = sources.own_networks(args)
        keys = args.keys
    module = BucketingModule(sym_gen, default_bucket_key=keys[-1])
    module.bind(*shapes(keys[-1]), for_training=not args.inference)
    optimizer = None if args.inference else args.optimizer
    plan = module.plan_memory(keys, shapes, metric, optimizer)
    print(json.dumps(plan.as_dict(), indent=1) if args.json else plan.table())
    return 0
