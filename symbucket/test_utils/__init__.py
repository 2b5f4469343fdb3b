"""Helpers for tests of operators and networks, as ``mx.test_utils``.

They compare arrays with tolerances that fit their dtypes, draw random shapes and arrays (from
``symbucket.random``, so ``symbucket.random.seed`` repeats them), and check a symbol's outputs and
gradients against given values, against finite differences or against another symbol's.
"""

from symbucket.test_utils.arrays import (
    almost_equal,
    assert_almost_equal,
    assert_almost_equal_ignore_nan,
    assert_almost_equal_with_err,
    assert_exception,
    assign_each,
    assign_each2,
    collapse_sum_like,
    np_reduce,
    same,
    same_array,
)
from symbucket.test_utils.consistency import (
    DummyIter,
    check_consistency,
    check_speed,
    same_symbol_structure,
)
from symbucket.test_utils.gradients import check_numeric_gradient, numeric_grad
from symbucket.test_utils.optimizers import compare_ndarray_tuple, compare_optimizer
from symbucket.test_utils.random_values import (
    rand_coord_2d,
    rand_ndarray,
    rand_shape_2d,
    rand_shape_3d,
    rand_shape_nd,
    random_arrays,
    random_sample,
    random_uniform_arrays,
)
from symbucket.test_utils.settings import (
    default_atols,
    default_context,
    default_dtype,
    default_numeric_eps,
    default_rtols,
    discard_stderr,
    environment,
    get_atol,
    get_rtol,
    get_tols,
    list_gpus,
    retry,
    set_default_context,
)
from symbucket.test_utils.symbols import (
    check_symbolic_backward,
    check_symbolic_forward,
    simple_forward,
)

__all__ = [
    "DummyIter",
    "almost_equal",
    "assert_almost_equal",
    "assert_almost_equal_ignore_nan",
    "assert_almost_equal_with_err",
    "assert_exception",
    "assign_each",
    "assign_each2",
    "check_consistency",
    "check_numeric_gradient",
    "check_speed",
    "check_symbolic_backward",
    "check_symbolic_forward",
    "collapse_sum_like",
    "compare_ndarray_tuple",
    "compare_optimizer",
    "default_atols",
    "default_context",
    "default_dtype",
    "default_numeric_eps",
    "default_rtols",
    "discard_stderr",
    "environment",
    "get_atol",
    "get_rtol",
    "get_tols",
    "list_gpus",
    "np_reduce",
    "numeric_grad",
    "rand_coord_2d",
    "rand_ndarray",
    "rand_shape_2d",
    "rand_shape_3d",
    "rand_shape_nd",
    "random_arrays",
    "random_sample",
    "random_uniform_arrays",
    "retry",
    "same",
    "same_array",
    "same_symbol_structure",
    "set_default_context",
    "simple_forward",
]
