"""The HTTP server: the protocol, limits, health, metrics, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DeadlineError, OverloadedError, StateError
from symbucket.serve import Batcher
from symbucket.serve.server import Limits, Server
from tests.export.bundles import sentences
from tests.serve.served import ask, running, tensor

ROOT = Path(__file__).parents[2]
INFER = "/v2/models/model/infer"


@pytest.fixture(scope="module")
def served(original):
    server = Server(sb.Bundle(original), limits=Limits(max_bytes=20_000, max_samples=5))
    with running(server) as url:
        yield url


def test_answers_are_those_of_the_bundle(served, original):
    bundle = sb.Bundle(original)
    for tokens in sentences((1, 4, 7, 9)):
        status, body = ask(served, INFER, {"id": "a", "inputs": [tensor(tokens.tolist())]})
        assert (status, body["id"], body["model_name"]) == (200, "a", "model")
        (output,) = body["outputs"]
        assert (output["name"], output["datatype"]) == ("softmax_output", "FP32")
        assert output["shape"] == [1, len(tokens), 10]
        found = np.array(output["data"], np.float32).reshape(len(tokens), 10)
        np.testing.assert_allclose(found, bundle(tokens)["softmax_output"], rtol=1e-5)


def test_samples_of_one_request_and_nested_data(served, original):
    tokens = np.stack(sentences((3, 3)))
    data = {"name": "data", "shape": [2, 3], "datatype": "FP32", "data": tokens.tolist()}
    status, body = ask(served, INFER, {"inputs": [data], "outputs": [{"name": "softmax_output"}]})
    assert (status, body["outputs"][0]["shape"]) == (200, [2, 3, 10])
    assert "id" not in body
    keyed = {"inputs": [tensor([1, 2])], "parameters": {"key": 9, "timeout": 20}}
    assert ask(served, INFER, keyed)[0] == 200


def test_metadata_and_health(served):
    assert ask(served, "/v2/health/live") == (200, {"live": True})
    assert ask(served, "/v2/health/ready") == (200, {"ready": True})
    assert ask(served, "/v2/models/model/ready")[0] == 200
    status, body = ask(served, "/v2/models/model")
    assert status == 200
    assert body["inputs"] == [{"name": "data", "shape": [-1, -1], "datatype": "FP32"}]
    assert body["outputs"] == [
        {"name": "softmax_output", "shape": [-1, -1, 10], "datatype": "FP32"}
    ]
    assert ask(served, "/v2")[1]["name"] == "symbucket"


BAD = {
    "no JSON": ("{", "the body is no inference request"),
    "no text": (b"\xff\xfe", "the body is no inference request"),
    "nested": ("[" * 5000, "the body is no inference request"),
    "no inputs": ({"inputs": []}, "the request has no inputs"),
    "fields": ({"inputs": [{"name": "data"}]}, "missing required field"),
    "datatype": ({"inputs": [tensor([1], datatype="BYTES")]}, "datatype is 'BYTES'; expected one"),
    "count": ({"inputs": [tensor([1]) | {"data": [1, 2]}]}, r"2 numbers, and the shape is"),
    "no shape": ({"inputs": [tensor([1]) | {"shape": []}]}, r"the shape is \[\]; expected sizes"),
    "ragged": ({"inputs": [tensor([1]) | {"data": [[1], [1, 2]]}]}, "the data are no array"),
    "words": ({"inputs": [tensor(["a"])]}, "the data are not numbers"),
    "fraction": ({"inputs": [tensor([1.5])]}, "INT64 holds no fractions"),
    "range": ({"inputs": [tensor([300], datatype="UINT8")]}, "a number is no UINT8"),
    "twice": ({"inputs": [tensor([1]), tensor([1])]}, "'data' is there twice"),
    "samples": (
        {"inputs": [{"name": "data", "shape": [6, 1], "datatype": "INT64", "data": [1] * 6}]},
        "has 6 samples; at most 5 are answered",
    ),
    "too long": ({"inputs": [tensor([1] * 12)]}, "longer than"),
    "index": ({"inputs": [tensor([77])]}, r"data\[0\] is 77; key 4 takes any integer below 10"),
    "input": ({"inputs": [tensor([1], name="x")]}, "the request lacks data"),
    "output": (
        {"inputs": [tensor([1])], "outputs": [{"name": "x"}]}, "there is no output 'x'; there are",
    ),
    "timeout": ({"inputs": [tensor([1])], "parameters": {"timeout": -1}}, "timeout is -1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(served, name):
    body, message = BAD[name]
    status, answer = ask(served, INFER, body)
    assert status == 400
    assert re.search(message, answer["error"])


def test_other_statuses(served):
    assert ask(served, INFER, "x" * 30_000)[0] == 413
    status, answer = ask(served, "/v2/models/other/infer", {"inputs": []})
    assert (status, "the model is /v2/models/model" in answer["error"]) == (404, True)
    assert ask(served, INFER)[0] == 405
    late = {"inputs": [tensor([1])], "parameters": {"timeout": 1e-9}}
    assert ask(served, INFER, late)[0] == 504


def test_metrics(served):
    ask(served, INFER, {"inputs": [tensor([1, 2])]})
    ask(served, INFER, "{")
    status, text = ask(served, "/metrics")
    assert status == 200
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert float(values['symbucket_requests_total{key="4"}']) >= 1
    count = float(values['symbucket_latency_seconds_count{key="4"}'])
    assert count == float(values['symbucket_latency_seconds_bucket{key="4",le="+Inf"}']) >= 1
    assert float(values['symbucket_http_responses_total{status="400"}']) >= 1
    assert values["symbucket_waiting_requests"] == "0"
    bounds = [float(v) for n, v in values.items() if 'latency_seconds_bucket{key="4"' in n]
    assert bounds == sorted(bounds)


def test_many_clients_at_once(served, original):
    requests = sentences(tuple(1 + i % 9 for i in range(64)))
    expected = sb.Bundle(original).run(requests)
    wrong = []

    def client(first):
        for i in range(first, len(requests), 8):
            _, body = ask(served, INFER, {"id": str(i), "inputs": [tensor(requests[i].tolist())]})
            found = np.array(body["outputs"][0]["data"], np.float32)
            wanted = expected[i]["softmax_output"].reshape(-1)
            if body["id"] != str(i) or not np.allclose(found, wanted, rtol=1e-5):
                wrong.append(i)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_command_serves_reloads_and_ends_well(folder):
    command = [sys.executable, "-m", "symbucket", "serve", str(folder), "--port", "0"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    try:
        url = process.stdout.readline().decode().partition("/v2")[0]
        body = {"inputs": [tensor([1, 2, 3])]}
        _, before = ask(url, INFER, body)
        (folder / "key-4.onnx").write_bytes(b"x")
        process.send_signal(signal.SIGHUP)  # refused
        assert ask(url, INFER, body)[1] == before
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert process.returncode in (0, -signal.SIGTERM)
        assert b"the bundle was not reloaded" in errors
        assert b"Traceback" not in errors
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


# Batches of several threads -----------------------------------------------------------------------


@pytest.fixture
def batcher(original):
    batcher = Batcher(sb.Bundle(original, workers=1), max_delay=0.2)
    yield batcher
    batcher.close()


def test_requests_that_wait_share_a_batch(batcher):
    requests = sentences((3, 4, 1, 9, 2))
    futures = [batcher.submit(tokens) for tokens in requests]
    expected = sb.Bundle.run(batcher.bundle, requests)
    for future, wanted in zip(futures, expected):
        np.testing.assert_array_equal(future.result()["softmax_output"], wanted["softmax_output"])
    counted = batcher.bundle.statistics()
    assert (counted[4].requests, counted[4].runs) == (8, 2)
    assert counted[4].latencies.count == 8


def test_a_full_batch_does_not_wait(original):
    batcher = Batcher(sb.Bundle(original, workers=1), max_delay=60)
    futures = [batcher.submit(tokens) for tokens in sentences((4, 4, 4, 4))]
    assert all(f.result(timeout=30)["softmax_output"].shape == (4, 10) for f in futures)
    waiting = batcher.submit([1, 2])
    batcher.close()  # answers what waits
    assert waiting.result(timeout=0)["softmax_output"].shape == (2, 10)
    with pytest.raises(StateError, match="the batcher is closed"):
        batcher.submit([1, 2])


def test_a_full_queue_refuses(original):
    batcher = Batcher(sb.Bundle(original, workers=1), max_delay=60, max_queue=2)
    futures = [batcher.submit([1, 2]) for _ in range(2)]
    with pytest.raises(OverloadedError, match="2 requests are waiting, and max_queue=2"):
        batcher.submit([1, 2])
    assert batcher.counts.rejected == 1
    batcher.close()
    assert all(f.done() for f in futures)


def test_a_request_whose_time_is_up_is_not_run(original):
    batcher = Batcher(sb.Bundle(original, workers=1), max_delay=0.3)
    late, patient = batcher.submit([1, 2], timeout=0.01), batcher.submit([1, 2, 3], timeout=60)
    with pytest.raises(DeadlineError, match="was not answered in time; it waited"):
        late.result()
    assert patient.result()["softmax_output"].shape == (3, 10)
    assert batcher.counts.expired == 1
    assert batcher.bundle.statistics()[4].requests == 1
    batcher.close()


def test_a_request_that_fails_does_not_fail_the_others(batcher, monkeypatch):
    run = batcher.bundle.engine.run

    def fragile(placed, deadline=None):
        if any(len(p.arrays["data"]) == 1 for p in placed):
            raise RuntimeError("a kernel failed")
        return run(placed, deadline)

    monkeypatch.setattr(batcher.bundle.engine, "run", fragile)
    good, bad, other = (batcher.submit(tokens) for tokens in ([1, 2], [3], [4, 5]))
    assert good.result()["softmax_output"].shape == (2, 10)
    assert other.result()["softmax_output"].shape == (2, 10)
    with pytest.raises(RuntimeError, match="a kernel failed"):
        bad.result()
    assert batcher.counts.failed == 1
