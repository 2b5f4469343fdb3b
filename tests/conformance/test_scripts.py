"""Small programs in MXNet's style run as they stand: only their import is not MXNet's.

Each has run with MXNet 1.9.1 too; beside its name stands what it returned there, and the bound that
both keep.
"""

import importlib
import operator

import pytest

AT_LEAST, AT_MOST = operator.ge, operator.le

SCRIPTS = [
    ("bucketing_lm", AT_MOST, 1.05),  # perplexity; MXNet: 1.003
    ("custom_softmax", AT_LEAST, 0.8),  # accuracy; 0.883
    ("python_loss", AT_LEAST, 0.8),  # accuracy; 0.867
    ("autoencoder", AT_MOST, 0.05),  # error at the end against that of the start; 0.015
    ("feedforward_mlp", AT_LEAST, 0.8),  # accuracy; 0.85
    ("nce_loss", AT_LEAST, 0.95),  # the true word is first; 1.0
    ("text_cnn", AT_LEAST, 0.9),  # accuracy; 1.0
    ("char_rnn", AT_LEAST, 0.95),  # characters that are right; 1.0
    ("model_parallel", AT_MOST, 0.1),  # loss at the end against that of the start; 0.012
    ("stateful_lm", AT_MOST, 1.1),  # perplexity; 1.013
    ("fine_tune", AT_LEAST, 0.9),  # accuracy; 1.0
    ("time_series", AT_MOST, 0.2),  # relative error; 0.112
    pytest.param("single_shot_detector", AT_LEAST, 0.6, marks=pytest.mark.slow),  # found; 0.75
]


@pytest.mark.parametrize(("name", "holds", "bound"), SCRIPTS)
def test_scripts_run_and_learn(name, holds, bound):
    result = importlib.import_module(f"tests.conformance.scripts.{name}").main()
    assert holds(result, bound), result
