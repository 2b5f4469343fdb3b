"""``symbucket plan``: choose buckets, and show the memory that training will need."""

from __future__ import annotations

import argparse
import json
from typing import Any

from symbucket.apps import language_model, language_model_arguments
from symbucket.apps.arguments import fraction, integer
from symbucket.apps.corpus import Vocabulary, read_sentences, split
from symbucket.apps.language_model_files import SIZES
from symbucket.cli import sources
from symbucket.io import DataDesc
from symbucket.metric import Perplexity
from symbucket.module.bucketing import BucketingModule
from symbucket.visualization.bucket_picture import bucket_picture

HELP = "show the memory that training will need, or choose buckets"
DESCRIPTION = (
    "Plan the memory of all buckets without training: the activations of each key, and the pool,\n"
    "parameters, gradients and optimizer states of all keys together. With --text, choose the\n"
    "buckets of least padding for its sentences; shows padding, batches, memory, compile time."
)
EXAMPLE = """\
examples:
  symbucket plan --num-hidden 200 --vocabulary-size 10000
  symbucket plan --text ptb.train.txt --count 6 --batch tokens:1500 --output buckets.png
  symbucket plan --sym-gen mine:sym_gen --keys 10 20 30 --data data=32,key --label label=32,key
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    language_model_arguments.add_network_arguments(parser)
    add = parser.add_argument
    add("--vocabulary-size", type=integer(1), default=10_000, metavar="N", help="words")
    add("--optimizer", default="adam", help="adam, sgd, ...")
    add("--metric", metavar="NAME", help=f"{sources.METRIC}; the built-in model's: perplexity")
    add("--inference", action="store_true", help="plan inference, not training")
    add("--json", action="store_true", help="print JSON")
    sources.add_arguments(parser)
    choice = parser.add_argument_group("buckets for a text")
    add = choice.add_argument
    add("--text", metavar="FILE", help="choose buckets for its sentences, as train has them")
    add("--count", type=integer(1), metavar="N", help="buckets; as many as are worth it")
    add("--padding", type=fraction, metavar="SHARE", help="as few buckets as keep it")
    add("--batch", metavar="RULE", help="sequences:32 or tokens:2000; --batch-size sequences")
    add("--multiple-of", type=integer(1), default=1, metavar="N", help="boundaries are multiples")
    add("--memory-limit", type=integer(1), metavar="MB", help="training may need so much")
    add("--output", "-o", metavar="FILE", help="picture of the buckets: .png, .svg or .pdf")


def run(args: argparse.Namespace) -> int:
    """Compile every key and print the plan."""
    sources.without_sym_gen(args)
    language_model_arguments.check_networks(args.parser, args)
    if args.text is not None:
        return _choose_buckets(args)
    metric = args.metric
    if args.sym_gen is None:
        sizes = {name: getattr(args, name) for name in SIZES}
        sym_gen: Any = language_model.language_model(args.vocabulary_size, **sizes)
        keys: list[Any] = args.buckets
        metric = _metric(args)

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


def _metric(args: argparse.Namespace) -> Any:
    """Return the metric of the language model: the given one, or what training measures."""
    if args.metric is not None or args.inference:
        return args.metric
    return Perplexity(Vocabulary.pad_id)


def _choose_buckets(args: argparse.Namespace) -> int:
    """Print the buckets that cost least for a text, for the language model of the arguments."""
    if args.sym_gen is not None:
        args.parser.error("--text chooses buckets for the language model; leave out --sym-gen")
    if args.count is not None and args.padding is not None:
        args.parser.error("give --count or --padding; the other follows from it")
    sizes = {name: getattr(args, name) for name in SIZES}
    module = BucketingModule(
        language_model.language_model(args.vocabulary_size, **sizes), args.buckets[-1]
    )
    sentences, _ = split(read_sentences(args.text))
    lengths = [language_model.length_of(sentence) for sentence in sentences]
    module.bind(
        *language_model.shapes_of(args.buckets[-1], args.batch_size),
        for_training=not args.inference,
    )
    plan = module.plan_buckets(
        lengths,
        language_model.shapes_of,
        args.count,
        padding=args.padding,
        batch=args.batch or args.batch_size,
        multiple_of=args.multiple_of,
        memory_limit=None if args.memory_limit is None else args.memory_limit * 1_000_000,
        eval_metric=_metric(args),
        optimizer=None if args.inference else args.optimizer,
    )
    print(json.dumps(plan.as_dict(), indent=1) if args.json else plan.table())
    if args.output:
        bucket_picture(
            lengths, [key for key in plan.boundaries if isinstance(key, int)], args.output
        )
    return 0
