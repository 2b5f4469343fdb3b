"""Importing symbucket leaves the root logger to the user's script."""

import subprocess
import sys

SCRIPT = """
import logging
import symbucket
assert not logging.root.handlers, logging.root.handlers
logging.basicConfig(level=logging.INFO, format="%(message)s")
symbucket.nd.zeros((1,))  # the first use loads the runtime
logging.info("heard")
"""


def test_basic_config_works_after_the_import():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "heard"), done.stderr
