"""Names of MXNet that symbucket does not have, with what there is in their place.

Whoever asks for one of them is told so by name; everything else that is missing gets a suggestion
of names like it.
"""

from __future__ import annotations

import re

_SYMBOLS = (
    "networks are symbols (symbucket.sym), recurrent cells are in symbucket.rnn, training in "
    "symbucket.mod, arrays in symbucket.nd"
)
_NUMPY = (
    "symbucket has MXNet's classic arrays (symbucket.nd), which numpy functions take as they are"
)
_SPARSE = "arrays are dense; Embedding(sparse_grad=True) updates the rows of a batch only"
_QUANTIZED = (
    "networks compute in floats; export one (module.export) and quantize the ONNX file with "
    "onnxruntime.quantization"
)
_UPDATES = (
    "symbucket.optimizer updates parameters, one compiled step for all of them; nd.sgd_update, "
    "nd.adam_update and others update single arrays"
)
_JITTER = "symbucket.image has augmenters of pictures; networks do not augment their data"
_GRAPH = "there are no sparse arrays, and so no samplers of graphs"

MODULES = {
    "autograd": _SYMBOLS,
    "nn": _SYMBOLS,
    "np": _NUMPY,
    "npx": _NUMPY,
    "numpy": _NUMPY,
    "numpy_extension": _NUMPY,
    "util": _NUMPY,
    "amp": "dtypes are those of the symbol; sym.cast changes them",
    "executor_manager": "a Module with several contexts splits batches",
    "library": "operators of your own are sym.Custom in Python, or records (CONTRIBUTING.md)",
    "libinfo": "there is no shared library of its own; symbucket.__version__ has the version",
    "notebook": "symbucket.callback.LivePlot draws curves in notebooks",
    "onnx": (
        "sym.from_onnx reads ONNX files, module.export and symbucket.export.export_onnx write them"
    ),
    "profiler": "ONNX Runtime's own profiler says where time goes (docs/benchmarks.md)",
    "rtc": "kernels are those of ONNX Runtime; operators of your own are sym.Custom in Python",
    "tensorrt": "ONNX Runtime's execution providers run networks on devices (docs/runtimes.md)",
    "text": "symbucket.apps.corpus and symbucket.rnn.encode_sentences make vocabularies",
    "th": _SYMBOLS,
    "torch": _SYMBOLS,
    "tvmop": "kernels are those of ONNX Runtime",
    "quantization": _QUANTIZED,
}
"""Modules of MXNet, under the names that scripts use."""

OPERATORS = {
    "_contrib_BatchNormWithReLU": "write Activation(BatchNorm(x), act_type='relu')",
    "_contrib_DeformablePSROIPooling": "there are DeformableConvolution and PSROIPooling",
    "_contrib_RROIAlign": "there is ROIAlign, of boxes that are not rotated",
    "_contrib_SparseEmbedding": "write Embedding(..., sparse_grad=True)",
    "_contrib_boolean_mask": (
        "the rows that a mask leaves are counted while a network runs, and its shapes are fixed; "
        "multiply by the mask, or use where or SequenceMask. nd.contrib.boolean_mask takes arrays"
    ),
    "_contrib_calibrate_entropy": _QUANTIZED,
    "_contrib_edge_id": _GRAPH,
    "_contrib_getnnz": _SPARSE,
    "_contrib_hawkesll": "write the recurrence with contrib.foreach, whose gradient follows",
    "_linalg_syevd": (
        "eigenvalues are found in as many steps as the data need; sym.Custom computes them in "
        "Python. nd.linalg.syevd takes arrays"
    ),
    "cast_storage": _SPARSE,
    "reset_arrays": "write array[:] = 0",
}
_PREFIXES = {
    "_contrib_quantize": _QUANTIZED,
    "_contrib_dequantize": _QUANTIZED,
    "_contrib_requantize": _QUANTIZED,
    "_contrib_dgl_": _GRAPH,
    "_image_random_": _JITTER,
    "_image_adjust_lighting": _JITTER,
    "_sparse_": _SPARSE,
}
_UPDATE = re.compile(r"\w*_update(_phase[12])?|multi_lars|multi_sum_sq")


def module_instead(name: str) -> str | None:
    """Return what there is in place of a module of MXNet; None for any other name."""
    return MODULES.get(name)


def operator_instead(name: str) -> str | None:
    """Return what there is in place of an operator of MXNet, by its full name; else None."""
    if _UPDATE.fullmatch(name):
        return _UPDATES
    by_prefix = (text for prefix, text in _PREFIXES.items() if name.startswith(prefix))
    return OPERATORS.get(name) or next(by_prefix, None)
