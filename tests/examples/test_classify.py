"""``examples/classify.py``: from a file of sentences over a run that goes on to HTTP answers."""

from __future__ import annotations

import json
import logging
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import symbucket as sb
from tests.examples.example_runs import load, run

example = load("classify")
SMALL = "--num-hidden 8 --batch-size 8 --buckets 2 --min-count 1 --lr 0.05 --dropout 0.1".split()
KINDS = {"animal": ["dog", "cat", "cow"], "plant": ["oak", "fern", "moss"]}


def write_sentences(path: Path) -> Path:
    """Sentences of 3 to 8 words, each with one word that tells its label."""
    with path.open("w") as file:
        for i in range(120):
            label = ("animal", "plant")[i % 2]
            words = ["we", "saw", "it", "near", "the", "old", "road"][: 2 + i % 6]
            words.insert(i % (len(words) + 1), KINDS[label][i % 3])
            print(label, " ".join(words), sep="\t", file=file)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classify")
    argv = ["train", "--data", write_sentences(folder / "data.tsv"), *SMALL, "--folder", folder]
    results = [run(example, *argv, "--num-epochs", epochs) for epochs in (2, 8)]
    return folder, results


def test_a_run_is_trained_goes_on_and_is_exported(trained, caplog):
    folder, (first, second) = trained
    assert (first.code, second.code) == (0, 0), (first.err, second.err)
    assert "Padding changes nothing" in first.out
    assert "96 sentences to learn from, 24 held out; 15 words, 2 labels, buckets" in first.out
    (share,) = re.findall(r"was the best: ([\d.]+)% of held-out", second.out)
    assert float(share) > 90
    page = (folder / "report.html").read_text()
    assert "Accuracy by epoch" in page
    assert len(sb.CheckpointManager(folder / "run").latest().scores) > 0


def test_it_looks_at_the_words_that_tell(trained, capsys):
    result = run(example, "ask", "--folder", trained[0], "we saw the moss", "Old COW, near it")
    answers = [json.loads(line) for line in result.out.splitlines()]
    assert [a["label"] for a in answers] == ["plant", "animal"]
    assert all(a["probability"] > 0.5 for a in answers)
    assert "moss" in answers[0]["looked_at"]
    assert "no words" in run(example, "ask", "--folder", trained[0], "...").err


def post(url, body):
    try:
        with urllib.request.urlopen(url, body, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_it_answers_over_http(trained):
    classify = example.Classifier(trained[0])
    http = example.server(classify, "127.0.0.1", 0)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{http.server_port}/"
    try:
        status, answer = post(url, b'{"text": "the oak"}')
        assert (status, answer["label"]) == (200, "plant")
        for body in (b"{", b"[]", b'{"words": 1}', b'{"text": "?"}'):
            status, answer = post(url, body)
            assert status == 400
            assert "no words" in answer["error"] or "send JSON" in answer["error"]
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
        classify.close()


def test_padding_and_rows_that_fill_up_change_nothing():
    codes = example.Codes(["a", "b"], ["x", "y"])
    data = example.batches(
        [("x", ["a"]), ("y", ["b", "a", "c"])], codes, [3, 5], 3, last_batch="pad", shuffle=False
    )
    batch = next(data)
    assert batch.data[0].asnumpy()[:2].tolist() == [[2, 0, 0], [3, 2, 1]]
    assert batch.data[1].asnumpy()[:2].tolist() == [1, 3]
    assert sb.check_padding(example.classifier(codes.size, 2, 4, 0.0), batch).ok
    again = example.Codes.from_bytes(codes.to_bytes())
    assert (again.words, again.labels, again.size) == (codes.words, codes.labels, 4)


@pytest.mark.slow
def test_docstrings_are_there():
    examples = example.read_examples(None)
    labels, counts = np.unique([label for label, _ in examples], return_counts=True)
    assert len(labels) >= 7
    assert counts.min() > 20
    assert all(3 < len(words) <= example.LONGEST for _, words in examples)


def test_mistakes_get_one_line(tmp_path):
    bad = tmp_path / "bad.tsv"
    bad.write_text("animal\tthe dog\nplant the oak\n")
    result = run(example, "train", "--data", bad, "--folder", tmp_path)
    assert result.code == 2
    assert "line 2: expected a label, a tab and a text: 'plant the oak'" in result.err
    assert "cannot read" in run(example, "train", "--data", tmp_path / "no").err
    assert run(example, "ask", "--folder", tmp_path / "no", "a").code == 2
    assert logging.getLogger("symbucket.io").level == logging.NOTSET
