"""``symbucket view``: draw networks, memory plans and buckets."""

from __future__ import annotations

import argparse
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from symbucket.apps.arguments import integer
from symbucket.apps.corpus import python_sentences, read_sentences, split
from symbucket.apps.language_model import length_of
from symbucket.checkpoint.prefix_epoch import load_params
from symbucket.cli import sources
from symbucket.errors import InvalidArgumentError
from symbucket.module.bucketing import BucketingModule
from symbucket.module.sym_gen import generate
from symbucket.symbol import Symbol, load
from symbucket.visualization import (
    bucket_picture,
    draw,
    open_in_netron,
    plan_picture,
    print_summary,
)
from symbucket.visualization.sources import GRAPHS

HELP = "draw a symbol, a model, a bundle, a memory plan or the buckets"
DESCRIPTION = (
    "Draw networks, memory plans and buckets. A network becomes an HTML page that needs nothing\n"
    "else (pan, zoom, search, open and fold groups), or .svg, .png, .pdf if Graphviz is\n"
    "installed. Time steps and common prefixes of names are folded. Plans and buckets become\n"
    "pictures, or HTML pages with the picture and its numbers as a table."
)
EXAMPLE = """\
examples:
  symbucket view bundle --output bundle.html
  symbucket view net-symbol.json --shape data=32,60 softmax_label=32,60 --graph training
  symbucket view net-symbol.json --shape data=32,60 softmax_label=32,60 --summary
  symbucket view --sym-gen mine:sym_gen --keys 10 60 --data data=32,key --label label=32,key
  symbucket view lm-symbol.json --params lm-0012.params --output values.html
  symbucket view bundle --profile profile.json --output times.html
  symbucket plan --json > plan.json; symbucket view plan.json --plan --output plan.png
  symbucket view ptb.train.txt --buckets 10 20 30 40 60 --output buckets.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add = parser.add_argument
    add("source", nargs="?", help="a bundle's folder, an .onnx file, a symbol file (.json), a plan")
    add("--output", "-o", metavar="FILE", help=".html, .svg, .png, .pdf or .dot")
    add("--key", type=sources.key_of, help="only the network of this key")
    add("--graph", choices=GRAPHS, default="symbol", help="a symbol as it is, or compiled")
    add("--shape", nargs="+", default=[], metavar="NAME=SIZES", help="shapes of a symbol's data")
    add("--unfolded", action="store_true", help="open every group (small networks only)")
    add("--unrolled", action="store_true", help="compiled recurrences step by step, not as loops")
    add("--optimizer", default="adam", help="of --sym-gen --plan; adam, sgd, ...")
    add("--metric", metavar="NAME", help=f"of --sym-gen --plan: {sources.METRIC}")
    add("--params", metavar="FILE", help="values of a symbol's parameters, for their statistics")
    add("--profile", metavar="FILE", help="times of nodes: ONNX Runtime's profile of this model")
    add("--title", help="a line above the picture")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--summary", action="store_true", help="print a symbol as a table instead")
    what.add_argument("--plan", action="store_true", help="draw memory over time")
    what.add_argument(
        "--buckets",
        type=integer(1),
        nargs="+",
        metavar="SIZE",
        help="draw how the sentences of a text (without one: Python's documentation) fill these",
    )
    what.add_argument("--netron", action="store_true", help="open an .onnx file in Netron")
    sources.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Draw, and print the name of the file."""
    sources.without_sym_gen(args)
    if args.buckets:
        path = _buckets(args)
    elif args.sym_gen is None and args.source is None:
        args.parser.error("nothing to draw: give a SOURCE or --sym-gen")
    elif args.sym_gen is not None and args.source is not None:
        args.parser.error("give a SOURCE or --sym-gen, not both")
    elif args.netron:
        open_in_netron(args.source)
        return 0
    elif args.summary:
        _summary(args)
        return 0
    elif args.plan:
        path = _plan(args)
    else:
        path = _network(args)
    print(path)
    return 0


def _output(args: argparse.Namespace, stem: str, ending: str) -> Path:
    return Path(args.output or f"{stem}{ending}")


def _buckets(args: argparse.Namespace) -> Path:
    sentences = python_sentences() if args.source is None else read_sentences(args.source)
    output = _output(args, "buckets", ".png")
    trained, _ = split(sentences)  # what ``symbucket train`` counts
    bucket_picture(list(map(length_of, trained)), args.buckets, output, args.title or "")
    return output


def _plan(args: argparse.Namespace) -> Path:
    output = _output(args, "plan", ".png")
    plan: Any = args.source
    if args.sym_gen is not None:
        sym_gen, shapes = sources.own_networks(args)
        module = BucketingModule(sym_gen, default_bucket_key=args.keys[-1])
        module.bind(*shapes(args.keys[-1]))
        plan = module.plan_memory(args.keys, shapes, args.metric, args.optimizer)
    plan_picture(plan, output, args.key, args.title or "")
    return output


def _network(args: argparse.Namespace) -> Path:
    own = args.sym_gen is not None
    source: Any
    source, shape = _symbols(args) if own else (args.source, _shape(args))
    stem = "networks" if own else Path(args.source).stem
    output = _output(args, stem, ".html")
    return draw(
        source,
        output,
        shape=shape,
        graph=args.graph,
        key=args.key,
        folded=not args.unfolded,
        title=args.title or "",
        params=_params(args.params),
        profile=args.profile,
        unrolled=args.unrolled,
    )


def _params(file: str | None) -> dict[str, Any] | None:
    """Return the parameters and auxiliary states in a file by name."""
    if file is None:
        return None
    arguments, auxiliary = load_params(file)
    return {**arguments, **auxiliary}


def _summary(args: argparse.Namespace) -> None:
    if args.sym_gen is not None:
        symbols, shapes = _symbols(args)
        key = args.keys[-1] if args.key is None else args.key
        if key not in symbols:
            raise InvalidArgumentError(f"--key {key!r} is none of the --keys")
        print_summary(symbols[key], shapes[key])
        return
    if Path(args.source).suffix != ".json":
        args.parser.error(f"--summary needs a symbol file (.json), not {args.source!r}")
    print_summary(load(args.source), _shape(args) or None)


def _shape(args: argparse.Namespace) -> dict[str, Any]:
    data, _ = sources.Shapes(args.shape, [])(None)
    return {d.name: d.shape for d in data}


def _symbols(args: argparse.Namespace) -> tuple[dict[Hashable, Symbol], dict[Hashable, Any]]:
    """Return the symbols of ``--sym-gen`` by key, and the shapes of their data and labels."""
    sym_gen, shapes = sources.own_networks(args)
    symbols, shapes_of = {}, {}
    for key in args.keys:
        symbol = generate(sym_gen, key).symbol
        symbols[key] = symbol
        arguments = set(symbol.list_arguments())
        described = [d for many in shapes(key) for d in many]
        shapes_of[key] = {d.name: d.shape for d in described if d.name in arguments}
    return symbols, shapes_of
