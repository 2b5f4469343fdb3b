"""The public names, and what happens on import."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import symbucket as sb

PUBLIC = {
    "symbucket": """
        AttrScope Bundle CheckpointManager Context Executor MXNetError NDArray NameManager Prefix
        Symbol SymbucketError attribute base callback check_padding checkpoint context contrib
        cpu cpu_pinned ctc current_context executor gluon gpu image img init initializer io kv
        kvstore log lr_scheduler metric misc mod model module mon monitor name nd ndarray num_gpus
        operator optimizer random recordio rnd rnn serve sym symbol test_utils visualization viz
    """,
    "symbucket.base": """
        MXNetError NotImplementedForSymbol integer_types mx_real_t numeric_types py_str string_types
    """,
    "symbucket.callback": """
        BatchEndParam CSVTracker EarlyStopping LivePlot LogValidationMetricsCallback MLflowTracker
        ProgressBar Speedometer TensorBoardTracker Tracker do_checkpoint log_train_metric
        module_checkpoint
    """,
    "symbucket.serve": """
        Batcher Bundle Histogram Hypothesis KeyStatistics Request Session beam_search
        format_statistics generate
    """,
    "symbucket.export": """
        InputSpec Manifest NetworkSpec OutputSpec StoredTensor TensorSpec export_module
        export_onnx export_training
        open_bundle
    """,
    "symbucket.init": """
        Bilinear Constant FusedRNN InitDesc Initializer LSTMBias Load MSRAPrelu Mixed Normal One
        Orthogonal Uniform Xavier Zero alias create register
    """,
    "symbucket.attribute": "AttrScope",
    "symbucket.context": "Context cpu cpu_pinned current_context gpu num_gpus",
    "symbucket.ctc": "Hypothesis beam_search edit_distance greedy_decode",
    "symbucket.executor": "Executor",
    "symbucket.io": """
        BucketPlan BucketRow BucketSentenceIter CSVIter DataBatch DataDesc DataIter Field
        ImageRecordIter KeyedIter LibSVMIter MNISTIter NDArrayIter PartIter PrefetchingIter
        ResizeIter Source StepSentenceIter StreamIter encode_sentences format_bucket_table
        normalize_descs plan_buckets
    """,
    "symbucket.gluon": "utils",
    "symbucket.gluon.utils": "clip_global_norm split_and_load split_data",
    "symbucket.misc": "FactorScheduler LearningRateScheduler",
    "symbucket.kvstore": "DistributedKVStore KVStore create",
    "symbucket.lr_scheduler": """
        CosineScheduler FactorScheduler LRScheduler MultiFactorScheduler PolyScheduler
    """,
    "symbucket.metric": """
        Accuracy Caffe CompositeEvalMetric CrossEntropy CustomMetric EvalMetric F1 GraphMetric
        Loss MAE MCC MSE NegativeLogLikelihood PCC PearsonCorrelation Perplexity RMSE TopKAccuracy
        Torch alias check_label_shapes create np register
    """,
    "symbucket.mod": """
        BaseModule BucketingModule Module PythonLossModule PythonModule RecurrentModule
        SequentialModule Terminals
    """,
    "symbucket.model": "BatchEndParam FeedForward load_checkpoint load_params save_checkpoint",
    "symbucket.mon": "Monitor",
    "symbucket.name": "NameManager Prefix",
    "symbucket.ndarray": """
        NDArray _internal adam_update add arange array concatenate contrib divide empty equal eye
        from_dlpack from_numpy ftrl_update full greater greater_equal histogram hypot image lesser
        lesser_equal linalg linspace load load_frombuffer logical_and logical_or logical_xor
        maximum minimum modulo moveaxis multiply ndarray not_equal nag_mom_update onehot_encode
        ones op power random rmsprop_update rmspropalex_update save sgd_mom_update sgd_update
        signsgd_update signum_update split_v2 subtract to_dlpack_for_read to_dlpack_for_write
        true_divide waitall zeros
    """,
    "symbucket.ndarray.random": """
        exponential exponential_like gamma gamma_like generalized_negative_binomial
        generalized_negative_binomial_like multinomial negative_binomial negative_binomial_like
        normal normal_like poisson poisson_like randint randn shuffle uniform uniform_like
    """,
    "symbucket.operator": """
        CustomOp CustomOpProp NDArrayOp NumpyOp OperatorArguments get_all_registered_operators
        get_operator_arguments register
    """,
    "symbucket.optimizer": """
        AdaDelta AdaGrad Adam AdamW Adamax DCASGD FTML Ftrl HostUpdater LAMB LARS LBSGD NAG Nadam
        Optimizer RMSProp SGD SGLD Signum Test Updater ccSGD create get_updater register
    """,
    "symbucket.random": """
        exponential gamma generalized_negative_binomial generator multinomial negative_binomial
        next_stream normal poisson randint randn seed shuffle stream uniform
    """,
    "symbucket.rnn": """
        BaseConvRNNCell BaseRNNCell BidirectionalCell BucketSentenceIter ConvGRUCell ConvLSTMCell
        ConvRNNCell DropoutCell FusedRNNCell GRUCell LSTMCell ModifierCell RNNCell RNNParams
        ResidualCell SequentialRNNCell ZoneoutCell do_rnn_checkpoint encode_sentences io
        load_rnn_checkpoint rnn_cell save_rnn_checkpoint sequence_mask
    """,
    "symbucket.engine": "Executor bind simple_bind",
    "symbucket.runtime": "NDArray RowSparse Session set_threads",
    "symbucket.test_utils": """
        DummyIter almost_equal assert_almost_equal assert_almost_equal_ignore_nan
        assert_almost_equal_with_err assert_exception assign_each assign_each2 check_consistency
        check_numeric_gradient check_speed check_symbolic_backward check_symbolic_forward
        collapse_sum_like compare_ndarray_tuple compare_optimizer default_atols default_context
        default_dtype default_numeric_eps default_rtols discard_stderr environment get_atol get_rtol
        get_tols list_gpus np_reduce numeric_grad rand_coord_2d rand_ndarray rand_shape_2d
        rand_shape_3d rand_shape_nd random_arrays random_sample random_uniform_arrays retry same
        same_array same_symbol_structure set_default_context simple_forward
    """,
    "symbucket.viz": """
        BucketShare Summary SummaryRow bucket_picture bucket_shares draw format_summary
        open_in_netron plan_picture plot_network print_summary summarize to_networkx
    """,
    "symbucket.sym": """
        AttrScope Group NameManager Prefix Symbol Variable _internal contrib from_onnx from_torch
        histogram hypot image linalg load load_json maximum minimum op pow power random split_v2
        torch_state_dict var
    """,
}

# The operators that bucketing networks are written with; more may come, none of these may go.
OPERATORS = """
    Activation BatchNorm BlockGrad Cast Concat Convolution Dropout ElementWiseSum Embedding Flatten
    FullyConnected LayerNorm LeakyReLU LinearRegressionOutput LogisticRegressionOutput
    MAERegressionOutput MakeLoss Pooling RNN Reshape SequenceLast SequenceMask SequenceReverse
    SliceChannel SoftmaxActivation SoftmaxOutput SwapAxis abs add_n batch_dot broadcast_add
    broadcast_div broadcast_maximum broadcast_mul broadcast_sub cast clip concat dot elemwise_add
    elemwise_div elemwise_mul elemwise_sub exp expand_dims log log_softmax max mean min one_hot ones
    pick relu reshape sigmoid slice slice_axis softmax split sqrt square squeeze stack sum swapaxes
    take tanh tile transpose where zeros zeros_like
"""


def registered_in(package: str) -> set[str]:
    """The public optimizers, metrics or cells that a package defines; more may come."""
    bases = {
        "symbucket.optimizer": sb.optimizer.Optimizer,
        "symbucket.metric": sb.metric.EvalMetric,
        "symbucket.rnn": sb.rnn.BaseRNNCell,
    }
    classes = [bases[package]] if package in bases else []
    for one in classes:
        classes += one.__subclasses__()
    inside = [c for c in classes if c.__module__.startswith(package)]
    shared = {base for c in inside for base in c.__bases__}  # bases that authors of others use
    return {c.__name__ for c in inside if c not in shared and not c.__name__.startswith("_")}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_these(name):
    path = name.split(".")
    module = {1: sb, 2: getattr(sb, path[-1], None)}.get(len(path))
    if module is None:
        module = importlib.import_module(name)
    names = {*PUBLIC[name].split(), *registered_in(name)}
    assert sorted(module.__all__) == sorted(names)
    for public in module.__all__:
        assert getattr(module, public) is not None


@pytest.mark.parametrize("operator", OPERATORS.split())
def test_operator_is_there_and_says_what_it_does(operator):
    assert operator in dir(sb.sym)
    assert "Attributes:" in getattr(sb.sym, operator).__doc__


def test_short_names_are_the_same_modules():
    assert sb.sym is sb.symbol
    assert sb.mod is sb.module
    assert sb.init is sb.initializer
    assert sb.mon is sb.monitor


def test_package_is_typed():
    assert (Path(sb.__file__).parent / "py.typed").is_file()


def _python(code: str, folder: Path, path: Path | None = None) -> str:
    """The output of ``code`` in a new interpreter that has ``path`` before its packages."""
    root = Path(sb.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, filter(None, [path, root])))}
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


_IMPORT = """
import symbucket
try:
    symbucket.runtime.backend.load_runtime()
except ImportError as error:
    print(type(error).__name__, error, sep=": ")
else:
    print("imported with", symbucket.runtime.backend.ort.__version__)
"""
_MEND = (
    *(
        ['pip install "symbucket[training]" (onnxruntime-training)']
        if sys.version_info < (3, 13)
        else []
    ),
    'pip install "symbucket[cpu]" (onnxruntime)',
    'pip install "symbucket[cuda]" (onnxruntime-gpu)',
)


def test_a_missing_runtime_says_how_to_get_one(tmp_path):
    out = _python("import sys; sys.modules['onnxruntime'] = None" + _IMPORT, tmp_path)
    assert out.startswith("RuntimeMissingError: symbucket needs an ONNX Runtime and found none (")
    assert all(command in out for command in _MEND)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ImportError('DLL load failed')", "DLL load failed"),
        ("raise ImportError", "ImportError"),  # 1.18 beside numpy 2 says no more
        ("import flatbuffers_that_is_missing", "No module named 'flatbuffers_that_is_missing'"),
    ],
)
def test_a_runtime_that_cannot_be_imported_says_why(tmp_path, code, reason):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "onnxruntime.py").write_text(code)
    out = _python(_IMPORT, tmp_path, tmp_path / "broken")
    assert out.startswith(
        f"RuntimeMissingError: The package onnxruntime is there, but importing it fails ({reason})"
    )
    assert "Uninstall it first" in out
    assert all(command in out for command in _MEND)


def test_an_empty_namespace_package_says_what_happened(tmp_path):
    empty = """
import importlib.machinery, sys
class EmptyPackage:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "onnxruntime":
            return importlib.machinery.ModuleSpec(name, None, is_package=True)
sys.meta_path.insert(0, EmptyPackage)
"""
    out = _python(empty + _IMPORT, tmp_path)
    assert out.startswith("RuntimeMissingError: The package onnxruntime is there but empty")
    assert "Uninstall them all" in out
    assert all(command in out for command in _MEND)


@pytest.mark.parametrize("version", ["1.18.1", "0.9.0", "1.4.0+cu118"])
def test_an_old_runtime_says_which_is_needed(tmp_path, version):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "onnxruntime.py").write_text(f"__version__ = {version!r}\n")
    out = _python(_IMPORT, tmp_path, tmp_path / "old")
    assert out.startswith(
        f"RuntimeMissingError: symbucket needs onnxruntime 1.19 or newer and found {version}."
    )
    assert all(command in out for command in _MEND)


def test_import_with_this_runtime_works_and_loads_no_strangers(tmp_path):
    code = _IMPORT + "import sys; print(*sys.modules)"
    first, loaded = _python(code, tmp_path).splitlines()
    assert first.startswith("imported with ")
    modules = loaded.split()
    strangers = (
        "torch tensorflow jax mxnet matplotlib networkx pandas scipy tqdm pytest hypothesis IPython"
    )
    assert not set(modules) & set(strangers.split())
    # Half of them are sympy's, by onnx-ir. A heavy package more would show.
    assert len(modules) < 1500
