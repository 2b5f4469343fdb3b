"""symbucket: MXNet's bucketing on ONNX Runtime.

Train "different but similar" networks that share one set of parameters: write
``sym_gen(bucket_key)``, give it to ``mod.BucketingModule``, and ``fit`` it on an iterator whose
batches say which bucket they are.
"""

import symbucket.ir  # before onnx_ir, which it makes lighter
import symbucket.runtime.backend  # noqa: F401 - first, so that a missing runtime is said at once
from symbucket import io, model, module, nd, random, rnn, symbol, visualize
from symbucket import module as mod
from symbucket import symbol as sym
from symbucket import visualize as viz
from symbucket.context import Context, cpu, gpu
from symbucket.errors import SymbucketError
from symbucket.export import Bundle
from symbucket.module import callback, initializer, lr_scheduler, metric, monitor, optimizer
from symbucket.module import initializer as init
from symbucket.module import monitor as mon
from symbucket.module.padding import check_padding
from symbucket.module.rnn_checkpoint import (
    do_rnn_checkpoint,
    load_rnn_checkpoint,
    save_rnn_checkpoint,
)
from symbucket.runtime import Executor, NDArray
from symbucket.symbol import AttrScope, NameManager, Prefix, Symbol

# MXNet has these beside the cells; the layer of the cells knows nothing of files.
rnn.save_rnn_checkpoint = save_rnn_checkpoint
rnn.load_rnn_checkpoint = load_rnn_checkpoint
rnn.do_rnn_checkpoint = do_rnn_checkpoint

__version__ = "0.1.0"
__all__ = [
    "AttrScope",
    "Bundle",
    "Context",
    "Executor",
    "NDArray",
    "NameManager",
    "Prefix",
    "Symbol",
    "SymbucketError",
    "callback",
    "check_padding",
    "cpu",
    "gpu",
    "init",
    "initializer",
    "io",
    "lr_scheduler",
    "metric",
    "mod",
    "model",
    "module",
    "mon",
    "monitor",
    "nd",
    "optimizer",
    "random",
    "rnn",
    "sym",
    "symbol",
    "visualize",
    "viz",
]
