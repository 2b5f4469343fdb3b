"""Files that are damaged at random are read or refused, soon and with little memory."""

import pytest

from tests.fuzz.damage import READERS, fuzz_files


def _survive(start, files, seconds):
    *_, report = fuzz_files(start, files, seconds)
    print(f"seeds {start} to {report.seed - 1}: {report}")
    assert not report.failures, "\n".join(report.failures[:20])
    return report


@pytest.mark.parametrize("name", READERS)
def test_files_that_are_not_damaged_are_read(name):
    content, read = READERS[name]
    read(content)


def test_damaged_files():
    report = _survive(0, 300, 2)
    assert report.outcomes["refused"] > report.outcomes["accepted"]


@pytest.mark.slow
def test_more_damaged_files():
    _survive(10_000, 20_000, 30)
