"""``symbucket import-mxnet``: write what MXNet trained as a bundle."""

from __future__ import annotations

import argparse
import logging

from symbucket.apps.arguments import integer
from symbucket.checkpoint import load_checkpoint
from symbucket.cli import sources
from symbucket.cli.progress import Steps
from symbucket.errors import CheckpointError, InvalidArgumentError
from symbucket.module.bucketing import BucketingModule
from symbucket.module.compiled import CompiledModule
from symbucket.module.module import Module

HELP = "write a checkpoint of MXNet as a bundle"
DESCRIPTION = (
    "Write PREFIX-symbol.json and PREFIX-EPOCH.params of MXNet (0.8 to 1.9) as a bundle, which\n"
    "symbucket run and symbucket.Bundle serve. MXNet's files do not say which shapes a network\n"
    "was bound with: --data does. Inputs that are neither data nor parameters are labels."
)
EXAMPLE = """\
examples:
  symbucket import-mxnet resnet-50 0 resnet --data data=8,3,224,224
  symbucket import-mxnet lm 12 lm --sym-gen lm:sym_gen --keys 10 20 30 --data data=32,key
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add = parser.add_argument
    add("checkpoint", metavar="PREFIX", help="beginning of the names of MXNet's files")
    add("epoch", type=integer(0), metavar="EPOCH", help="number in the name of the .params file")
    add("folder", metavar="FOLDER", help="where the bundle goes; a bundle there is replaced")
    sources.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load and export."""
    if not args.data:
        args.parser.error("--data is needed: the shape of each data input, as data=8,3,224,224")
    if args.sym_gen is None and args.keys:
        args.parser.error("--keys needs --sym-gen")
    module = _one_network(args) if args.sym_gen is None else _bucketed(args)
    with Steps() as steps:
        manifest = module.export(args.folder, progress=steps)
    size = sum(file.nbytes for file in manifest.files())
    print(
        f"{args.folder}: {len(manifest.networks)} networks, "
        f"{len(manifest.parameters.tensors)} parameters, {size / 1e6:.1f} MB"
    )
    return 0


def _one_network(args: argparse.Namespace) -> CompiledModule:
    """Return the network of the symbol file, bound for inference."""
    symbol, params, states = load_checkpoint(args.checkpoint, args.epoch)
    data, labels = sources.Shapes(args.data, args.label)(None)
    names = [desc.name for desc in data]
    if unknown := [name for name in names if name not in symbol.list_arguments()]:
        raise InvalidArgumentError(
            f"--data: {unknown[0]!r} is no input of the network; its inputs that are no parameters "
            f"are {', '.join(n for n in symbol.list_arguments() if n not in params)}"
        )
    label_names = [n for n in symbol.list_arguments() if n not in params and n not in names]
    module = Module(symbol, names, label_names, logger=logging.getLogger("symbucket"))
    module.bind(data, labels or None, for_training=False)
    # MXNet passes over parameters that the network does not have; so files have some.
    extra = sorted({*params, *states} - {*module.param_names, *symbol.list_auxiliary_states()})
    if extra:
        logging.getLogger("symbucket").warning("not in the network: %s", ", ".join(extra))
    try:
        module.set_params(params, states, allow_extra=True)
    except InvalidArgumentError as error:
        raise CheckpointError(f"{args.checkpoint}: {error}") from error
    return module


def _bucketed(args: argparse.Namespace) -> CompiledModule:
    """Return the networks of a ``sym_gen``, bound for inference."""
    sym_gen, shapes = sources.own_networks(args)
    module = BucketingModule.load(
        args.checkpoint, args.epoch, sym_gen=sym_gen, default_bucket_key=args.keys[-1]
    )
    sources.bind_all(module, args.keys, shapes, for_training=False)
    return module
