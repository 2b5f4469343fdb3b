"""symbucket: MXNet's bucketing on ONNX Runtime.

Train "different but similar" networks that share one set of parameters: write
``sym_gen(bucket_key)``, give it to ``mod.BucketingModule``, and ``fit`` it on an iterator whose
batches say which bucket they are.
"""

from functools import partial as _partial
from typing import TYPE_CHECKING as _TYPE_CHECKING

import symbucket.ir  # noqa: F401 - before onnx_ir, which it makes lighter
from symbucket import (
    attribute,
    base,
    callback,
    checkpoint,
    context,
    contrib,
    ctc,
    engine,
    executor,
    export,
    gluon,
    hooks,
    image,
    initializer,
    io,
    kvstore,
    log,
    lr_scheduler,
    metric,
    misc,
    model,
    module,
    monitor,
    name,
    ndarray,
    operator,
    optimizer,
    pytorch,
    random,
    recordio,
    rnn,
    runtime,
    serve,
    symbol,
    test_utils,
    visualization,
)
from symbucket import image as img
from symbucket import initializer as init
from symbucket import kvstore as kv
from symbucket import module as mod
from symbucket import monitor as mon
from symbucket import ndarray as nd
from symbucket import random as rnd
from symbucket import symbol as sym
from symbucket import visualization as viz
from symbucket.absent import module_instead as _module_instead
from symbucket.attribute import AttrScope
from symbucket.base import MXNetError
from symbucket.checks import did_you_mean as _did_you_mean
from symbucket.context import Context, cpu, cpu_pinned, current_context, gpu, num_gpus
from symbucket.engine import Executor
from symbucket.errors import SymbucketError
from symbucket.module.training.checkpoint_manager import CheckpointManager
from symbucket.name import NameManager, Prefix
from symbucket.padding import check_padding
from symbucket.runtime import NDArray
from symbucket.serve import Bundle
from symbucket.symbol import Symbol
from symbucket.version import __version__ as __version__
from symbucket.visualization import run_page as _run_page
from symbucket.visualization.draw import inline_svg as _inline_svg

__all__ = [
    "AttrScope",
    "Bundle",
    "CheckpointManager",
    "Context",
    "Executor",
    "MXNetError",
    "NDArray",
    "NameManager",
    "Prefix",
    "Symbol",
    "SymbucketError",
    "attribute",
    "base",
    "callback",
    "check_padding",
    "checkpoint",
    "context",
    "contrib",
    "cpu",
    "cpu_pinned",
    "ctc",
    "current_context",
    "executor",
    "gluon",
    "gpu",
    "image",
    "img",
    "init",
    "initializer",
    "io",
    "kv",
    "kvstore",
    "log",
    "lr_scheduler",
    "metric",
    "misc",
    "mod",
    "model",
    "module",
    "mon",
    "monitor",
    "name",
    "nd",
    "ndarray",
    "num_gpus",
    "operator",
    "optimizer",
    "random",
    "recordio",
    "rnd",
    "rnn",
    "serve",
    "sym",
    "symbol",
    "test_utils",
    "visualization",
    "viz",
]

if not _TYPE_CHECKING:  # which would take any name then

    def __getattr__(name: str) -> object:
        """Raise AttributeError, with the module that has the name or a name like it."""
        if name.startswith("__"):
            raise AttributeError(name)
        homes = {
            id(m): f"symbucket.{n}.{name}"
            for n in __all__
            if name in getattr(m := globals()[n], "__all__", ())
        }
        if instead := _module_instead(name):
            raise AttributeError(f"symbucket has no {name!r}: {instead}")
        hint = f". Did you mean {' or '.join(homes.values())}?" if homes else ""
        raise AttributeError(
            f"symbucket has no {name!r}{hint or _did_you_mean(name, __all__)}", name=name
        )


# What lower layers offer and higher ones carry out.
hooks.bind.connect(engine.bind)
hooks.simple_bind.connect(engine.simple_bind)
hooks.export_module.connect(export.export_module)
hooks.export_onnx.connect(export.export_onnx)
hooks.array_function.connect(_partial(getattr, ndarray))
hooks.export_training.connect(export.export_training)
hooks.image_record_iter.connect(image.ImageRecordIter)
hooks.inline_svg.connect(_inline_svg)
hooks.check_run_page.connect(_run_page.check_run_page)
hooks.read_run_page.connect(_run_page.read_run_page)
hooks.write_run_page.connect(_run_page.write_run_page)
hooks.from_torch.connect(pytorch.from_torch)
hooks.torch_state_dict.connect(pytorch.torch_state_dict)
hooks.num_gpus.connect(runtime.backend.num_gpus)
