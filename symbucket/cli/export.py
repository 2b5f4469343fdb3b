"""``symbucket export``: write a checkpoint as a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symbucket.apps.arguments import integer
from symbucket.apps.language_model import NEXT_WORD, trained_model
from symbucket.apps.language_model_files import vocabulary_path
from symbucket.cli import sources
from symbucket.cli.progress import Steps
from symbucket.errors import InvalidArgumentError
from symbucket.module.bucketing import BucketingModule

HELP = "write a checkpoint's networks as ONNX files"
DESCRIPTION = (
    "Write the networks of a checkpoint as ONNX files with one file of parameters: a bundle,\n"
    "which symbucket run and symbucket.Bundle serve. Each file is a model for any ONNX runtime."
)
EXAMPLE = """\
examples:
  symbucket train --checkpoint runs/english
  symbucket export runs/english bundle
  symbucket export runs/mine mine --sym-gen mine:sym_gen --keys 10 20 30 --data data=32,key \\
      --label label=32,key
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add = parser.add_argument
    add("checkpoint", metavar="PREFIX", help="prefix of the checkpoint")
    add("folder", metavar="FOLDER", help="where the bundle goes; a bundle there is replaced")
    add("--epoch", type=integer(0), metavar="N", help="which epoch's parameters; else the newest")
    add("--training", action="store_true", help="training graphs, with gradients")
    add(
        "--batch-size",
        type=integer(1),
        metavar="N",
        help="samples of a run; else that of training",
    )
    add(
        "--padding",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="what fills short requests; else 0",
    )
    sources.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load and export."""
    sources.without_sym_gen(args)
    epoch = sources.last_epoch(args.checkpoint) if args.epoch is None else args.epoch
    attach = {}
    if args.sym_gen is None:
        module, _ = trained_model(args.checkpoint, epoch, for_training=args.training)
        keys = [k for k in module.bucket_keys if not (args.training and k == NEXT_WORD)]
        attach["vocabulary.json"] = Path(vocabulary_path(args.checkpoint)).read_bytes()
    else:
        sym_gen, shapes = sources.own_networks(args)
        keys = args.keys
        module = BucketingModule.load(
            args.checkpoint, epoch, sym_gen=sym_gen, default_bucket_key=keys[-1]
        )
        sources.bind_all(module, keys, shapes, for_training=args.training)
    padding = _padding(args.padding)
    with Steps() as steps:
        manifest = module.export(
            args.folder,
            keys,
            args.training,
            batch_size=args.batch_size,
            padding=padding,
            attach=attach,
            progress=steps,
        )
    size = sum(file.nbytes for file in manifest.files())
    print(
        f"{args.folder}: {len(manifest.networks)} {manifest.mode} networks of epoch {epoch}, "
        f"{len(manifest.parameters.tensors)} parameters, {size / 1e6:.1f} MB"
    )
    return 0


def _padding(texts: Sequence[str]) -> dict[str, float]:
    padding: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name in padding:
            raise InvalidArgumentError(f"--padding names {name!r} twice")
        try:
            padding[name] = float(value)
        except ValueError:
            raise InvalidArgumentError(f"--padding {text!r}: write NAME=VALUE") from None
    return padding
