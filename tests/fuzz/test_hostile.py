"""A bounded run of every fuzzer of hostile input."""

import importlib
import logging

import pytest

from tests.fuzz.hostile import FUZZERS
from tests.fuzz.reading import survive


def _run(name, start, count, seconds):
    case = importlib.import_module(f"tests.fuzz.{name}").case
    logging.disable(logging.CRITICAL)  # messages hold names that no report of a test can carry
    try:
        *_, report = survive(case, start, count, seconds)
    finally:
        logging.disable(logging.NOTSET)
    print(f"seeds {start} to {report.seed - 1}: {report}")
    assert not report.failures, "\n".join(report.failures[:20])
    return report


@pytest.mark.parametrize("name", FUZZERS)
@pytest.mark.filterwarnings("ignore")
def test_hostile_input(name):
    report = _run(name, 0, 300, 0.5)
    assert report.outcomes["refused" if name != "compile_cache" else "accepted"] > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", FUZZERS)
@pytest.mark.filterwarnings("ignore")
def test_more_hostile_input(name):
    _run(name, 100_000, 20_000, 15)
