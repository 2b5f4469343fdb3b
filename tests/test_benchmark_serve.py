"""The serving benchmark runs, on a network that is exported in no time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SMALL = {"WORDS": 50, "UNITS": 8, "CLASSES": 3, "LAYERS": 1, "KEYS": (10, 60), "BATCH": 4}


@pytest.fixture
def benchmark(monkeypatch):
    """``benchmarks/serve.py`` with a small network."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "_serve_network", raising=False)
    spec = importlib.util.spec_from_file_location("serve_benchmark", FOLDER / "serve.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in SMALL.items():
        monkeypatch.setattr(sys.modules["_serve_network"], name, value)
        monkeypatch.setattr(module, name, value)
    yield module
    sys.modules.pop("_serve_network", None)


@pytest.mark.slow
def test_a_server_under_load_loses_and_mixes_up_nothing(benchmark, tmp_path, capsys):
    pytest.importorskip("uvicorn")
    benchmark.export(tmp_path)
    result = benchmark.load_test(tmp_path, 60, 4)
    assert (result["requests"], result["lost"], result["mixed_up"]) == (60, 0, 0)
    assert 0 < result["p50"] <= result["p99"] <= result["largest"]
    assert 1 <= result["requests_per_run"] <= 60
    benchmark.print_load(result)
    assert "60 requests of 4 clients over HTTP" in capsys.readouterr().out


def test_the_verdict_is_on_medians(benchmark, capsys):
    some = {
        "ONNX Runtime, dynamic file": [2.0, 2.0, 9.0],
        "Bundle, dynamic_length": [1.0, 1.0, 9.0],
    }
    benchmark.print_comparison({"words": 22.0, "seconds": {"mixed": some, "single": some}})
    out = capsys.readouterr().out
    assert "bar for mixed: 1.30x, met with 2.00x" in out
    assert "| mixed | Bundle, dynamic_length | 600 | 1.667 | 1.667 | 2.00x |" in out
