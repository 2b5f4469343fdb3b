"""What happens to a bundle that serves: its files change, it is exported again, time runs out."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import BundleError, DeadlineError, InvalidArgumentError, StateError
from symbucket.export import verify
from symbucket.runtime import serving_session
from tests.export.bundles import sentences, trained

ROOT = Path(__file__).parents[2]


def test_files_may_be_cut_and_overwritten_under_a_served_bundle(folder):
    bundle = sb.Bundle(folder)
    bundle.load([4])
    requests = sentences((3, 6, 9, 1))
    before = bundle.run(requests)  # makes the other sessions too
    path = folder / "parameters.bin"
    size = path.stat().st_size
    os.truncate(path, 0)
    for left, right in zip(before, bundle.run(requests)):
        np.testing.assert_array_equal(left["softmax_output"], right["softmax_output"])
    path.write_bytes(b"\xff" * size)
    for left, right in zip(before, bundle.run(requests)):
        np.testing.assert_array_equal(left["softmax_output"], right["softmax_output"])


def test_a_session_made_after_the_file_was_cut_has_the_checked_values(folder):
    expected = sb.Bundle(folder).run(sentences((9,)))
    bundle = sb.Bundle(folder)
    os.truncate(folder / "parameters.bin", 0)
    (found,) = bundle.run(sentences((9,)))
    np.testing.assert_array_equal(found["softmax_output"], expected[0]["softmax_output"])


def test_reload_serves_the_new_parameters_without_a_gap(tmp_path):
    module = trained()
    module.export(tmp_path / "b")
    bundle = sb.Bundle(tmp_path / "b")
    bundle.load()
    bundle.freeze()
    (tokens,) = sentences((5,))
    old = bundle(tokens)["softmax_output"]
    module.init_params(sb.init.Uniform(0.9), force_init=True)
    answers, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            answers.append(bundle(tokens)["softmax_output"])

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    module.export(tmp_path / "b")
    bundle.reload()
    stop.set()
    for thread in threads:
        thread.join()
    new = bundle(tokens)["softmax_output"]
    assert np.abs(new - old).max() > 1e-3
    for answer in answers:
        assert min(np.abs(answer - old).max(), np.abs(answer - new).max()) < 1e-5
    assert sorted(bundle.loaded_keys) == [4, 6, 9]
    assert bundle.statistics()[6].requests == len(answers) + 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="exchanges folders")
def test_a_bundle_that_an_export_replaces_while_it_is_opened(folder, monkeypatch):
    (tokens,) = sentences((5,))
    bundle = sb.Bundle(folder)
    before = bundle(tokens)["softmax_output"]
    module = trained()
    module.init_params(sb.init.Uniform(0.9), force_init=True)
    read, exports = verify.read_manifest, []

    def read_then_export(path):
        manifest = read(path)
        if len(exports) < 1:
            exports.append(module.export(folder))
        return manifest

    monkeypatch.setattr(verify, "read_manifest", read_then_export)
    bundle.reload()
    assert len(exports) == 1
    after = bundle(tokens)["softmax_output"]
    np.testing.assert_array_equal(after, sb.Bundle.live(module)(tokens)["softmax_output"])
    assert not np.allclose(after, before)
    exports.clear()
    (folder / "parameters.bin").write_bytes(b"x")  # damaged, and replaced by nobody
    exports.append(None)
    with pytest.raises(BundleError, match="the manifest says"):
        sb.Bundle(folder)


def test_lists_that_have_begun_are_answered_after_a_reload(folder, monkeypatch):
    """The threads that would help are gone by then."""
    bundle = sb.Bundle(folder, workers=2)
    requests = sentences((9, 5, 3) * 4)
    expected = bundle.run(requests)
    place = bundle.engine.router.place_all

    def slow(requests):
        placed = place(requests)
        bundle.reload()
        return placed

    monkeypatch.setattr(bundle.engine.router, "place_all", slow)
    for left, right in zip(bundle.run(requests), expected):
        np.testing.assert_array_equal(left["softmax_output"], right["softmax_output"])


def test_a_closed_bundle_answers_on_the_thread_that_asks(folder):
    bundle = sb.Bundle(folder, workers=2)
    requests = sentences((9, 5, 3) * 4)
    expected = bundle.run(requests)
    bundle.close()
    threads = threading.active_count()
    for left, right in zip(bundle.run(requests), expected):
        np.testing.assert_array_equal(left["softmax_output"], right["softmax_output"])
    assert threading.active_count() == threads


def test_a_list_does_not_wait_for_threads_that_help_others(folder):
    bundle = sb.Bundle(folder, workers=2)
    requests = sentences((9, 5, 3) * 4)
    bundle.run(requests)
    busy = threading.Event()
    others = [bundle.engine._helpers.submit(busy.wait, 30) for _ in range(2)]
    bundle.run(requests)
    assert not any(other.done() for other in others)
    busy.set()


def test_a_reload_that_is_refused_changes_nothing(folder):
    bundle = sb.Bundle(folder)
    (tokens,) = sentences((5,))
    before = bundle(tokens)["softmax_output"]
    (folder / "key-4.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="the manifest says"):
        bundle.reload()
    np.testing.assert_array_equal(bundle(tokens)["softmax_output"], before)
    with pytest.raises(StateError, match="nothing to reload"):
        sb.Bundle.live(trained()).reload()


EXPORT = """
import os, signal, sys
import symbucket as sb
from symbucket.files import folders
from tests.export.bundles import trained
where = sys.argv[1]
def kill(*args):
    os.kill(os.getpid(), signal.SIGKILL)
if where == "before":
    folders._exchange = kill
else:
    exchange = folders._exchange
    def then_kill(*args):
        exchange(*args)
        kill()
    folders._exchange = then_kill
sb.random.seed(1)
trained().export(sys.argv[2])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="exchanges folders")
@pytest.mark.parametrize("where", ["before", "after"])
def test_an_export_that_is_killed_leaves_a_bundle(folder, where):
    before = sb.Bundle(folder)(sentences((5,))[0])
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, where, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL
    after = sb.Bundle(folder)(sentences((5,))[0])
    same = np.array_equal(after["softmax_output"], before["softmax_output"])
    assert same == (where == "before")
    assert len(list(folder.parent.iterdir())) == 2  # with what the killed process left
    trained().export(folder)
    assert list(folder.parent.iterdir()) == [folder]


def test_a_run_that_takes_too_long_is_broken_off(folder):
    bundle = sb.Bundle(folder)
    (tokens,) = sentences((5,))
    expected = bundle(tokens)["softmax_output"]
    np.testing.assert_array_equal(bundle(tokens, timeout=60)["softmax_output"], expected)
    with pytest.raises(DeadlineError, match="the time of its requests is up"):
        bundle(tokens, timeout=0)
    with pytest.raises(TimeoutError):
        bundle.run([tokens], timeout=-1.0)
    np.testing.assert_array_equal(bundle(tokens)["softmax_output"], expected)
    with pytest.raises(InvalidArgumentError, match="timeout"):
        bundle(tokens, timeout="soon")


def test_a_request_waits_for_a_lane_no_longer_than_it_may(folder):
    bundle = sb.Bundle(folder, workers=1)
    bundle.load()
    lane, _ = bundle._engine.lanes.borrow()
    with pytest.raises(DeadlineError, match="before a run could begin"):
        bundle(sentences((5,))[0], timeout=0.05)
    bundle._engine.lanes.give_back(lane)
    bundle(sentences((5,))[0], timeout=60)


def test_threads_get_their_own_answers(original):
    bundle = sb.Bundle(original, workers=3)
    requests = sentences(tuple(1 + i % 9 for i in range(60)))
    expected = [a["softmax_output"] for a in sb.Bundle(original, workers=1).run(requests)]
    wrong = []

    def ask(first):
        for i in range(first, len(requests), 4):
            found = bundle(requests[i])["softmax_output"]
            if not np.allclose(found, expected[i], rtol=1e-5):
                wrong.append(i)
        for found, wanted in zip(bundle.run(requests), expected):
            if not np.allclose(found["softmax_output"], wanted, rtol=1e-5):
                wrong.append("list")

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sum(s.requests for s in bundle.statistics().values()) == 60 + 4 * 60


def test_what_the_runtime_refuses_is_a_bundle_error(folder, monkeypatch):
    def refuse(*args, **settings):
        raise Exception("no kernel\nfor this")

    monkeypatch.setattr(serving_session.ServingSession, "__init__", refuse)
    with pytest.raises(BundleError, match=r"refuses the network of key 4: no kernel for this$"):
        sb.Bundle(folder).load([4])


def test_paths_that_are_none():
    with pytest.raises(BundleError, match="is no path of a bundle"):
        sb.Bundle("a\0b")
    with pytest.raises(BundleError, match="is no path of a bundle"):
        trained().export("a\0b")
