"""``symbucket view`` and ``tools/visualize.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import symbucket as sb
from symbucket.cli import main, view
from tests.visualization.viz_networks import language_model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def symbol_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    language_model(5)[0].save("net.json")
    return "net.json"


def run(capsys, *arguments, code=0):
    assert main(["view", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


SHAPES = ("--shape", "data=3,5", "softmax_label=3,5")


def test_a_symbol_becomes_a_page(needs_page, symbol_file, capsys):
    assert run(capsys, symbol_file) == "net.html\n"
    assert "lstm_l1_t4_out" in Path("net.html").read_text()
    assert run(capsys, symbol_file, "-o", "t.dot", "--graph", "training", *SHAPES) == "t.dot\n"
    text = Path("t.dot").read_text()
    assert "backward" in text
    assert "3\N{MULTIPLICATION SIGN}5" in text


def test_values_and_times(needs_page, symbol_file, capsys):
    sb.nd.save("net.params", {"arg:pred_bias": sb.nd.array([0.0, 0.5] + 9 * [0.25])})
    assert run(capsys, symbol_file, "--params", "net.params") == "net.html\n"
    assert '["Least, most","0, 0.5"]' in Path("net.html").read_text()
    events = [{"name": "model_run", "dur": 9}, {"name": "pred_kernel_time", "dur": 7}]
    Path("times.json").write_text(json.dumps(events))
    assert run(capsys, symbol_file, "--profile", "times.json") == "net.html\n"
    assert '["Time","7 \N{MICRO SIGN}s"]' in Path("net.html").read_text()
    error = run(capsys, symbol_file, "--profile", "net.json", code=2)
    assert "is no profile of ONNX Runtime" in error


def test_the_table(symbol_file, capsys):
    out = run(capsys, symbol_file, "--summary", *SHAPES)
    assert "lstm_l0_t*_i2h (FullyConnected) x 5" in out
    assert out.splitlines()[-2].endswith("B")


def test_networks_of_ones_own(needs_page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    Path("mine.py").write_text(
        "from tests.visualization.viz_networks import language_model\n"
        "def sym_gen(key):\n"
        "    return language_model(key)[0], ('data',), ('softmax_label',)\n"
    )
    own = ["--sym-gen", "mine.py:sym_gen", "--keys", "4", "6", "--data", "data=3,key"]
    own += ["--label", "softmax_label=3,key"]
    assert run(capsys, *own, "--graph", "training") == "networks.html\n"
    text = Path("networks.html").read_text()
    assert 'data-name="4' in text
    assert 'data-name="6' in text
    assert "lstm_l1_t*_slice (SliceChannel) x 4" in run(capsys, *own, "--summary", "--key", "4")
    error = run(capsys, *own, "--summary", "--key", "5", code=2)
    assert "--key 5 is none of the --keys" in error
    pytest.importorskip("matplotlib", reason="the extra view is not installed")
    assert run(capsys, *own, "--plan") == "plan.png\n"
    assert Path("plan.png").read_bytes().startswith(b"\x89PNG")

    plans = []
    monkeypatch.setattr(view, "plan_picture", lambda plan, *rest: plans.append(plan.as_dict()))
    run(capsys, *own, "--plan")  # with Adam, as `symbucket plan`
    run(capsys, *own, "--plan", "--optimizer", "sgd")
    weights = plans[0]["parameters"]
    assert [plan["optimizer states"] for plan in plans] == [2 * weights, 0]
    run(capsys, *own, "--plan", "--metric", "accuracy")
    assert plans[2]["outputs"] < plans[0]["outputs"]


def test_plans_and_buckets(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="the extra view is not installed")
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("a b c\na b\na b c d e f\n")
    assert run(capsys, "text.txt", "--buckets", "3", "6", "-o", "b.svg") == "b.svg\n"
    assert "<svg" in Path("b.svg").read_text()
    tensor = {"name": "a", "size": 512, "birth": 0, "death": 1, "offset": 0, "kind": "stash"}
    plan = {"nodes": 2, "peak": 512, "tensors": [{**tensor, "also": []}]}
    Path("p.json").write_text(json.dumps(plan))
    assert run(capsys, "p.json", "--plan") == "plan.png\n"
    assert run(capsys, "p.json", "--plan", "-o", "p.html") == "p.html\n"
    assert "<td>a</td>" in Path("p.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.onnx"], "there is no file 'missing.onnx'"),
        (["net.json", "-o", "a.gif"], "the format 'gif' is unknown"),
        (["net.json", "--graph", "forward"], "cannot be inferred"),
        (["net.json", "--key", "3"], "has no keys"),
    ],
)
def test_errors_are_one_line(symbol_file, capsys, arguments, said):
    error = run(capsys, *arguments, code=2)
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to draw"),
        (["net.json", "--sym-gen", "a:b"], "not both"),
        (["net.onnx", "--summary"], "needs a symbol file"),
    ],
)
def test_arguments_that_do_not_go_together(capsys, arguments, said):
    with pytest.raises(SystemExit) as stopped:
        main(["view", *arguments])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_the_tool_is_the_command():
    tool = ROOT / "tools" / "visualize.py"
    done = subprocess.run(
        [sys.executable, str(tool), "missing.onnx"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("visualize.py: error: there is no file")
