"""Serving, against ONNX Runtime on one dynamic file and PyTorch; and a server under load.

Two LSTM layers of 200 units and 20 classes for each word answer 600 requests of 2 to 60 words: as a
list, in batches of 16, and one at a time. All engines have the same weights, take turns, and are
compared round by round. A turn is a few runs, of which the first does not count: threads of the
engine before still spin, and the caches hold what that one read. A bundle sorts its list by
length; so do the peers, except in one line that shows what it is worth. ONNX Runtime is measured
with larger batches too, for a bundle chooses its own. Then 64 clients ask a server 10,000 times
over HTTP.

    python benchmarks/serve.py
    python benchmarks/serve.py --torch python --rounds 9 --json serve.json
    python benchmarks/serve.py --load-only
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from _serve_network import (
    BATCH,
    CLASSES,
    COUNTS,
    KEYS,
    LAYERS,
    UNITS,
    WORDS,
    batches,
    padded,
    parameters,
    requests,
    sorted_batches,
)

import symbucket as sb

HERE = Path(__file__).parent
TURN = 4
"""Runs of an engine in a round; the first does not count."""
LARGER = (24, 32)
"""Other batches of ONNX Runtime."""
BARS = {"mixed": 1.3, "single": 1 / 1.1}
"""How many times as fast as ONNX Runtime's dynamic file we want to be at least."""


def export(folder: Path) -> None:
    """Write the network with static shapes, and with dynamic ones."""
    stack = sb.rnn.SequentialRNNCell()
    for layer in range(LAYERS):
        stack.add(sb.rnn.LSTMCell(UNITS, prefix=f"l{layer}_"))

    def sym_gen(length: int) -> tuple[sb.Symbol, list[str], list[str]]:
        words = sb.sym.Variable("words")
        vectors = sb.sym.Embedding(words, input_dim=WORDS, output_dim=UNITS, name="embed")
        stack.reset()
        outputs, _ = stack.unroll(length, vectors, merge_outputs=True)
        scores = sb.sym.FullyConnected(outputs, num_hidden=CLASSES, flatten=False, name="pred")
        return sb.sym.softmax(scores, axis=-1, name="tags"), ["words"], []

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=max(KEYS))
    module.bind([("words", (BATCH, max(KEYS)))], for_training=False)
    module.init_params(arg_params={n: sb.nd.array(a) for n, a in parameters().items()})
    for key in KEYS:
        module.switch_bucket(key, [("words", (BATCH, key))])
    module.export(folder / "static")
    module.export(folder / "dynamic", dynamic_length=True)


Batching = Callable[[list[np.ndarray], int], list[list[int]]]


class Peer:
    """ONNX Runtime on the file that PyTorch wrote, as one would use it: all its defaults."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def mixed(self, sentences: list[np.ndarray], batches: list[list[int]]) -> list[np.ndarray]:
        answers: list[Any] = [None] * len(sentences)
        for members in batches:
            (tags,) = self.session.run(None, {"words": padded(sentences, members)})
            for row, i in enumerate(members):
                answers[i] = tags[row, : len(sentences[i])].copy()
        return answers

    def single(self, sentences: list[np.ndarray]) -> list[np.ndarray]:
        return [self.session.run(None, {"words": words[None]})[0][0] for words in sentences]


class Torch:
    """PyTorch in a process of its own, since it may need other packages."""

    def __init__(self, python: str, path: Path) -> None:
        command = [python, str(HERE / "_serve_torch.py"), str(path)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]
        self.version = self._read()

    def seconds(self, what: str) -> float:
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        line: str = self._process.stdout.readline().strip()
        if not line:
            raise SystemExit("PyTorch's process ended; --torch names a Python that has torch")
        return line

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def timed(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def compare(folder: Path, python: str, rounds: int) -> dict[str, Any]:
    """Return the seconds of every engine and round, by what is measured."""
    sentences = requests(COUNTS["mixed"])
    alone = sentences[: COUNTS["single"]]
    torch = Torch(python, folder / "dynamic.onnx")
    peer = Peer(folder / "dynamic.onnx")
    bundles = {name: sb.Bundle(folder / name) for name in ("dynamic", "static")}
    for bundle in bundles.values():
        bundle.load()
    expected = peer.single(sentences)
    for bundle in bundles.values():
        for answer, values in zip(bundle.run(sentences), expected):
            np.testing.assert_allclose(answer["tags_output"], values, atol=1e-5)
    dynamic, static = bundles["dynamic"], bundles["static"]

    def of_peer(cut: Batching, size: int) -> Callable[[], float]:
        return lambda: timed(lambda: peer.mixed(sentences, cut(sentences, size)))

    engines: dict[str, dict[str, Callable[[], float]]] = {
        "mixed": {
            "ONNX Runtime, dynamic file": of_peer(sorted_batches, BATCH),
            "ONNX Runtime, as they come": of_peer(batches, BATCH),
            **{f"ONNX Runtime, batches of {n}": of_peer(sorted_batches, n) for n in LARGER},
            "PyTorch": lambda: torch.seconds("mixed"),
            "Bundle, dynamic_length": lambda: timed(lambda: dynamic.run(sentences)),
            "Bundle": lambda: timed(lambda: static.run(sentences)),
        },
        "single": {
            "ONNX Runtime, dynamic file": lambda: timed(lambda: peer.single(alone)),
            "PyTorch": lambda: torch.seconds("single"),
            "Bundle, dynamic_length": lambda: timed(lambda: [dynamic(w) for w in alone]),
        },
    }
    seconds: dict[str, dict[str, list[float]]] = {
        what: {name: [] for name in some} for what, some in engines.items()
    }
    for _ in range(rounds):
        for what, some in engines.items():
            for name, run in some.items():
                seconds[what][name].append(statistics.median([run() for _ in range(TURN)][1:]))
    torch.close()
    return {"words": float(np.mean([len(s) for s in sentences])), "seconds": seconds}


def print_comparison(result: dict[str, Any]) -> None:
    """Print a table; ratios are medians over rounds, in which the engines ran one after another."""
    print(f"\nRequests of {result['words']:.1f} words in the mean\n")
    print("| requests | engine | a second | ms each | best ms | against ONNX Runtime |")
    print("| --- | --- | --- | --- | --- | --- |")
    for what, some in result["seconds"].items():
        base = some["ONNX Runtime, dynamic file"]
        for name, taken in some.items():
            median = statistics.median(taken)
            ratio = statistics.median(b / t for b, t in zip(base, taken))
            count = COUNTS[what]
            each, best = (1000 * seconds / count for seconds in (median, min(taken)))
            print(
                f"| {what} | {name} | {count / median:,.0f} | {each:.3f} | {best:.3f} | "
                f"{ratio:.2f}x |"
            )
        ours = some["Bundle, dynamic_length"]
        ratio = statistics.median(b / t for b, t in zip(base, ours))
        verdict = "met" if ratio >= BARS[what] else "missed"
        print(f"\nbar for {what}: {BARS[what]:.2f}x, {verdict} with {ratio:.2f}x\n")


# The server under load ---------------------------------------------------------------------------


def load_test(folder: Path, count: int, clients: int) -> dict[str, Any]:
    """Ask a server over HTTP; every answer is compared with that of the bundle."""
    sentences = requests(count, seed=1)
    bundle = sb.Bundle(folder / "dynamic")
    expected = [answer["tags_output"] for answer in bundle.run(sentences)]
    bundle.close()
    command = [sys.executable, "-m", "symbucket", "serve", str(folder / "dynamic"), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        place = re.search(r"http://([\d.:]+)/", process.stdout.readline())
        assert place is not None
        latencies, wrong, lost = [0.0] * count, [], []

        def client(first: int) -> None:
            connection = http.client.HTTPConnection(place[1], timeout=120)
            for i in range(first, count, clients):
                words = sentences[i]
                tensor = {
                    "name": "words",
                    "shape": [1, len(words)],
                    "datatype": "INT64",
                    "data": words.tolist(),
                }
                body = json.dumps({"id": str(i), "inputs": [tensor]})
                began = time.perf_counter()
                connection.request("POST", "/v2/models/model/infer", body)
                response = connection.getresponse()
                answer = json.loads(response.read())
                latencies[i] = time.perf_counter() - began
                if response.status != 200:
                    lost.append((i, answer))
                    continue
                tags = np.array(answer["outputs"][0]["data"], np.float32)
                same = np.allclose(tags, expected[i].reshape(-1), atol=1e-5)
                if answer["id"] != str(i) or not same:
                    wrong.append(i)
            connection.close()

        threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = time.perf_counter() - began
        connection = http.client.HTTPConnection(place[1], timeout=120)
        connection.request("GET", "/metrics")
        metrics = connection.getresponse().read().decode()
        connection.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()
    runs = sum(float(v) for v in re.findall(r"symbucket_runs_total{.*} (\S+)", metrics))
    milliseconds = np.sort(np.array(latencies)) * 1000
    return {
        "requests": count,
        "clients": clients,
        "seconds": spent,
        "lost": len(lost),
        "mixed_up": len(wrong),
        "requests_per_run": count / max(runs, 1),
        **{f"p{p}": float(np.percentile(milliseconds, p)) for p in (50, 95, 99)},
        "largest": float(milliseconds[-1]),
    }


def print_load(result: dict[str, Any]) -> None:
    print(
        f"\n{result['requests']:,} requests of {result['clients']} clients over HTTP in "
        f"{result['seconds']:.1f} s: {result['requests'] / result['seconds']:,.0f} a second, "
        f"{result['requests_per_run']:.1f} a run\n"
        f"lost {result['lost']}, mixed up {result['mixed_up']}\n"
        f"milliseconds: p50 {result['p50']:.1f}, p95 {result['p95']:.1f}, "
        f"p99 {result['p99']:.1f}, largest {result['largest']:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", default=sys.executable, help="a Python that has torch and onnx")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=10_000, help="of the load test")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--load-only", action="store_true")
    parser.add_argument("--json", help="write the results to this file")
    args = parser.parse_args()
    print(f"onnxruntime {onnxruntime.__version__}, symbucket {sb.__version__}")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(folder)
        if not args.load_only:
            results["comparison"] = compare(folder, args.torch, args.rounds)
            print_comparison(results["comparison"])
        results["load"] = load_test(folder, args.requests, args.clients)
        print_load(results["load"])
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
