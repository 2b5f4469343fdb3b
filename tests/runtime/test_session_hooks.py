"""``profiling`` and ``threads`` act on the sessions made inside the block and on no others."""

from __future__ import annotations

import json

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.runtime.session import profiling, session_options
from symbucket.runtime.threads import threads


def executor() -> sb.Executor:
    x = sb.sym.Variable("x")
    return (x * 2.0 + 1.0).simple_bind(sb.cpu(), x=(2, 3))


def test_profiling_writes_one_file_for_each_session(tmp_path):
    outside = executor()
    outside.forward(x=np.ones((2, 3)))
    with profiling(tmp_path / "new") as files:
        inside = executor()
        for _ in range(3):
            inside.forward(x=np.ones((2, 3)))
        outside.forward(x=np.ones((2, 3)))
        assert files == []
    assert sorted(files) == sorted((tmp_path / "new").iterdir())
    (file,) = files
    events = json.loads(file.read_text(encoding="utf-8"))
    assert sum(event["name"] == "model_run" for event in events) == 3
    later = executor()
    np.testing.assert_array_equal(later.forward(x=np.ones((2, 3)))[0].asnumpy(), np.full((2, 3), 3))
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_profiles_are_closed_when_the_block_fails(tmp_path):
    def failing() -> None:
        with profiling(tmp_path):
            bound = executor()
            bound.forward(x=np.ones((2, 3)))
            bound.forward(x=np.ones((3, 3)))

    with pytest.raises(ShapeError, match="x has shape"):
        failing()
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text(encoding="utf-8"))


def test_threads_hold_inside_the_block_only():
    with threads(3):
        with threads(1):
            assert session_options().intra_op_num_threads == 1
        assert session_options().intra_op_num_threads == 3
    assert session_options().intra_op_num_threads == 0
    with pytest.raises(InvalidArgumentError, match="threads is -1"), threads(-1):
        pass
