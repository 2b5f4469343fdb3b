"""symbucket: MXNet's bucketing on ONNX Runtime.

Train "different but similar" networks that share one set of parameters: write
``sym_gen(bucket_key)``, give it to ``mod.BucketingModule``, and ``fit`` it on an iterator whose
batches say which bucket they are.
"""

import symbucket.runtime.backend as _backend
from symbucket import symbol
from symbucket import symbol as sym
from symbucket.context import Context, cpu, gpu
from symbucket.errors import SymbucketError
from symbucket.runtime import Executor, NDArray
from symbucket.symbol import AttrScope, NameManager, Prefix, Symbol

__version__ = "0.1.0"
__all__ = [
    "AttrScope",
    "Context",
    "Executor",
    "NDArray",
    "NameManager",
    "Prefix",
    "Symbol",
    "SymbucketError",
    "cpu",
    "gpu",
    "sym",
    "symbol",
]
