"""Runs the command lines of documents and of ``--help``, small."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import symbucket as sb
from symbucket.cli import main
from tests.documents.pages import ROOT
from tests.examples import example_runs

_SMALL = "--num-layers 1 --num-hidden 8 --num-embed 6"
_LANGUAGE_MODEL = f"{_SMALL} --min-count 1 --buckets 6 12 --batch-size 4 --max-batches 2"
# What keeps commands and examples short, after their own options.
BOUNDS = {
    "symbucket train": f"{_LANGUAGE_MODEL} --samples 1",
    "symbucket plan": f"{_SMALL} --vocabulary-size 50 --batch-size 4",
    "examples/lstm_bucketing.py": f"{_LANGUAGE_MODEL} --samples 1 --num-epochs 1",
    "examples/classify.py train": "--data labelled.tsv --num-hidden 8 --batch-size 8 --buckets 2 "
    "--min-count 1 --num-epochs 1",
    "examples/classify.py ask": "",
    "examples/ptb.py": "--num-layers 1 --num-hidden 8 --num-steps 5 --batch-size 4 --num-epochs 1",
    "examples/image_buckets.py": "--pictures 100 --largest 32 --filters 4 "
    "--batch-size 8 --num-epochs 1",
    "examples/ctc_ocr.py": "--words 60 --letters AB --longest 2 --filters 4 --hidden 8 "
    "--batch-size 8 --num-epochs 1",
    "examples/tree_rnn.py": "--expressions 300 --leaves 4 --num-hidden 8 --num-epochs 1",
    "examples/seq2seq_attention.py": "--pairs 200 --digits 2 --buckets 2 --num-hidden 8 "
    "--num-embed 8 --batch-size 8 --num-epochs 1",
    "examples/multi_task.py": "--pairs 100 --texts 200 --held-out 20 --steps 4 --num-hidden 8 "
    "--batch-size 4",
    "examples/char_lm.py": "--characters 3000 --num-hidden 8 --num-layers 1 --batch-size 4 "
    "--lengths 4 7 --num-epochs 1 --sample-length 10",
    "examples/terminals.py": "--names 1000 --longest 4 --num-hidden 8 --batch-size 8 "
    "--num-epochs 1",
    "examples/step_scheduler.py": "--max-characters 2000 --segment 8 --num-layers 1 --num-hidden 8 "
    "--num-embed 8 --batch-size 4 --num-epochs 1 --table-runs 0",
    "examples/on_device/make.py": "--steps 2",
}
MINE = """
import symbucket as sb

def sym_gen(length):
    data, label = sb.sym.Variable("data"), sb.sym.Variable("label")
    vectors = sb.sym.Embedding(data, input_dim=9, output_dim=4, name="embed")
    scores = sb.sym.FullyConnected(vectors, num_hidden=3, flatten=False, name="scores")
    rows, label = sb.sym.reshape(scores, shape=(-1, 3)), sb.sym.reshape(label, shape=(-1,))
    return sb.sym.SoftmaxOutput(rows, label, name="softmax"), ["data"], ["label"]
"""


def write_inputs(folder: Path) -> None:
    """Write the files that commands read and none of them writes."""
    words = "the old cat sees a dog and the dog sees the cat".split()
    text = "\n".join(" ".join(words[: 3 + i % 9]) for i in range(60))
    for name in ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt", "sentences.txt"):
        (folder / name).write_text(text)
    labelled = [f"{'ab'[i % 2]}\tthe event loop {words[i % 9]} runs" for i in range(60)]
    (folder / "labelled.tsv").write_text("\n".join(labelled))
    (folder / "mine.py").write_text(MINE)
    without_label = 'return sb.sym.softmax(scores, name="tags"), ["data"], []'
    (folder / "lm.py").write_text(
        MINE.replace("rows, label =", f"{without_label}\n    rows, label =")
    )
    profile = [{"name": "model_run", "dur": 90}, {"name": "embed/Gather_kernel_time", "dur": 7}]
    (folder / "profile.json").write_text(json.dumps(profile))
    np.savez(folder / "requests.npz", **{"data/0": np.array([3, 4]), "data/1": np.array([5, 3, 4])})


class Shell:
    """Runs commands in ``folder``, where the current folder is; a server ends with ``close``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._server: subprocess.Popen[str] | None = None

    def run(self, words: Sequence[str]) -> str:
        """Run one command, ``> FILE`` at its end included, and return what it prints."""
        if ">" in words:
            at = words.index(">")
            out = self.run(words[:at])
            (self.folder / words[at + 1]).write_text(out, encoding="utf-8")
            return out
        if words[:2] == ["symbucket", "serve"]:
            return self._serve(words[1:])
        if words[0] == "symbucket":
            return self._symbucket(words)
        if words[0] == "python" and words[1].startswith("examples/"):
            return self._example(words[1], words[2:])
        if words[0] == "curl":
            return self._curl(words[1], words[words.index("-d") + 1])
        raise AssertionError(f"no test runs {shlex.join(words)!r}; say why in <!-- not run: -->")

    def _symbucket(self, words: Sequence[str]) -> str:
        bounds = BOUNDS.get(" ".join(words[:2]), "").split()
        if "--sym-gen" in words or "--text" in words:
            bounds = []
        if words[1] == "train" and "--data-train" not in words:
            bounds += ["--data-train", "ptb.train.txt"]
        if words[1] == "view" and words[-1].endswith(".html"):
            pytest.importorskip("easydot", reason="it draws the pages, on Python 3.11 and newer")
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as error:
            code = main([*words[1:], *bounds])
        assert code == 0, f"{shlex.join(words)}: {error.getvalue()}"
        return out.getvalue()

    def _example(self, path: str, argv: Sequence[str]) -> str:
        with_command = f"{path} {argv[0]}" if argv else path
        bounds = BOUNDS[with_command if with_command in BOUNDS else path].split()
        if path == "examples/lstm_bucketing.py" and not argv:
            argv = ["--data-train", "ptb.train.txt"]
        if path == "examples/on_device/make.py":  # it reads its arguments from the command line
            command = [sys.executable, str(ROOT / path), *argv, *bounds]
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            return subprocess.run(
                command, env=env, check=True, capture_output=True, text=True
            ).stdout
        name = path.removeprefix("examples/").removesuffix(".py")
        run = example_runs.run(example_runs.load(name), *argv, *bounds)
        assert run.code == 0, f"{path}: {run.err}"
        return run.out

    def _serve(self, argv: Sequence[str]) -> str:
        self.close()
        command = [sys.executable, "-m", "symbucket", *argv, "--port", "0"]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._server = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        for line in self._server.stdout:
            if address := re.search(r"http://[\d.]+:(\d+)", line):
                self.port = int(address[1])
                return address[0]
        raise AssertionError(f"{shlex.join(argv)} ended with {self._server.wait()}")

    def _curl(self, url: str, body: str) -> str:
        url = "http://" + re.sub(r":\d+", f":{self.port}", url)
        request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert answer["outputs"]
        return json.dumps(answer)

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(timeout=60)
            self._server.stdout.close()
            self._server = None


def write_networks(folder: Path) -> None:
    """Write a symbol, and checkpoints of networks that ``--help`` names."""
    scope: dict[str, object] = {}
    exec(MINE, scope)
    sym_gen = scope["sym_gen"]
    for prefix, epoch, format in (("runs/mine", 1, "safetensors"), ("lm", 12, "mxnet")):
        module = sb.mod.BucketingModule(sym_gen, default_bucket_key=30)
        module.bind([("data", (2, 30))], [("label", (2, 30))])
        module.init_params()
        (folder / prefix).parent.mkdir(exist_ok=True)
        module.save_checkpoint(str(folder / prefix), epoch, format=format)
    image = sb.sym.Pooling(sb.sym.Variable("data"), global_pool=True, pool_type="avg")
    scores = sb.sym.FullyConnected(image, num_hidden=3, name="scores")
    net = sb.mod.Module(sb.sym.SoftmaxOutput(scores, name="softmax"))
    net.bind([("data", (2, 3, 9, 9))], [("softmax_label", (2,))])
    net.init_params()
    net.save_checkpoint(str(folder / "resnet-50"), 0, format="mxnet")
    rows = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=9, output_dim=4, name="embed")
    rows = sb.sym.FullyConnected(rows, num_hidden=9, flatten=False, name="scores")
    rows = sb.sym.reshape(rows, shape=(-1, 9))
    label = sb.sym.reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
    sb.sym.SoftmaxOutput(rows, label, name="softmax").save(str(folder / "net-symbol.json"))
