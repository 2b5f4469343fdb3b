"""``Bundle``: routing, padding, order, sharing, freezing, counting; and serving while training.

Long, because all that one class promises is tried on a few small networks.
"""

import threading
import time
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import (
    DataError,
    DeviceError,
    InvalidArgumentError,
    ShapeError,
    StateError,
    UnsupportedError,
)
from symbucket.runtime.arena import arena_of
from symbucket.serve import Request, engine, format_statistics, machine
from tests.export.bundles import bound, edit, probabilities, sentences, trained
from tests.small_networks import sentence_batch

LENGTHS = (3, 9, 4, 6, 1, 5, 8, 2, 3, 4, 9)


def smallest(length, keys=(4, 6, 9)):
    return min(k for k in keys if k >= length)


def served(bundle, requests):
    return [found["softmax_output"] for found in bundle.run(requests)]


def test_a_mixed_list_keeps_its_order_and_loses_its_padding(tmp_path):
    module = trained()
    module.export(tmp_path / "b")
    requests = sentences(LENGTHS)
    found = served(sb.Bundle(tmp_path / "b"), requests)
    for tokens, result in zip(requests, found):
        expected = probabilities(module, tokens, smallest(len(tokens)))
        assert result.shape == (len(tokens), 10)
        np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_each_request_is_the_same_alone_and_in_company(original):
    bundle = sb.Bundle(original)
    requests = sentences(LENGTHS)
    for tokens, result in zip(requests, served(bundle, requests)):
        np.testing.assert_array_equal(bundle({"data": tokens})["softmax_output"], result)
        np.testing.assert_array_equal(
            bundle(Request({"data": tokens}, key=smallest(len(tokens))))["softmax_output"], result
        )


@pytest.fixture
def arena():
    """The arena as it is before the first need."""
    found = arena_of(sb.cpu())
    largest, found.needed = found.needed, 0
    found.release()
    yield found
    found.expect(largest)


def _needs(folder, keys=(4, 6, 9)):
    models = [onnx.load(folder / f"key-{k}.onnx", load_external_data=False) for k in keys]
    return [int(p.value) for m in models for p in m.metadata_props if p.key == "symbucket.arena"]


def test_the_arena_grows_to_the_plan_of_each_network(original, arena):
    module = trained()
    needs = _needs(original)
    for key, need in zip((4, 6, 9), needs):
        # An export's models say shapes of all values, which changes nothing in the plan.
        executor = module.module_of(key).executors[0]
        assert need == executor.inference_program().plan.arena
    assert 0 < needs[0] < needs[1] < needs[2]
    arena.needed = 0
    bundle = sb.Bundle(original, workers=1)
    for length, need in ((9, needs[2]), (3, needs[2])):
        bundle.run(sentences((length,)))
        assert arena.needed == need
        assert arena.reserved >= need
    growths = arena.growths
    bundle.run(sentences(LENGTHS))
    assert arena.growths == growths


def test_serving_a_live_module_grows_the_arena_to_the_plan(original, arena):
    module = trained()
    bundle = sb.Bundle.live(module)
    arena.needed = 0  # the export's own runs need some as well
    bundle.run(sentences((6,)))
    assert arena.needed == _needs(original)[1]
    assert arena.reserved >= arena.needed


def test_a_model_that_says_no_need_is_served(original, folder, arena):
    path = folder / "key-4.onnx"
    model = onnx.load(path, load_external_data=False)
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    edit(folder, lambda document: None, resum=["key-4.onnx"])
    (found,) = served(sb.Bundle(folder), sentences((4,)))
    assert arena.reserved == 0
    (expected,) = served(sb.Bundle(original), sentences((4,)))
    np.testing.assert_array_equal(found, expected)


def test_results_are_copies(original):
    bundle = sb.Bundle(original)
    first, second = sentences((4, 4))
    kept = bundle(first)["softmax_output"]
    before = kept.copy()
    bundle(second)
    np.testing.assert_array_equal(kept, before)


def test_a_key_says_how_long_at_least(original):
    bundle = sb.Bundle(original)
    (tokens,) = sentences((3,))
    assert bundle(Request({"data": tokens}, key=5))["softmax_output"].shape == (3, 10)
    assert [k for k, s in bundle.statistics().items() if s.requests] == [6]


def test_requests_of_one_bucket_share_batches_and_are_counted(original):
    bundle = sb.Bundle(original)
    bundle.run(sentences((3, 4, 4, 1, 2, 9)))
    counted = bundle.statistics()
    four, nine = counted[4], counted[9]
    assert (four.requests, four.runs, four.used, four.positions) == (5, 2, 14, 2 * 16)
    assert four.padding_share == 1 - 14 / 32
    assert (nine.requests, nine.runs, nine.used) == (1, 1, 9)
    assert counted[6].requests == 0
    assert four.milliseconds > 0
    assert four.build_milliseconds > 0
    table = format_statistics(counted).splitlines()
    assert table[0].split() == [
        "key",
        "requests",
        "runs",
        "padding",
        "ms",
        "ms/request",
        "p50",
        "p99",
    ]
    assert table[-1].split()[:3] == ["total", "6", "3"]
    bundle.reset_statistics()
    assert bundle.statistics()[4].requests == 0


def test_sessions_are_made_on_demand_and_never_when_frozen(original):
    bundle = sb.Bundle(original)
    assert bundle.loaded_keys == []
    bundle.run(sentences((3,)))
    assert bundle.loaded_keys == [4]
    bundle.freeze()
    bundle.run(sentences((2, 4)))
    with pytest.raises(StateError, match=r"frozen and key 9 has no session; loaded are 4. Call lo"):
        bundle.run(sentences((2, 9)))
    assert bundle.statistics()[4].requests == 3  # nothing of the refused list was run
    with pytest.raises(StateError, match="frozen"):
        bundle.load()
    whole = sb.Bundle(original)
    whole.load()
    whole.freeze()
    assert sorted(whole.loaded_keys) == [4, 6, 9]
    assert len(whole.run(sentences(LENGTHS))) == len(LENGTHS)


def test_sessions_share_parameters_and_memory(original):
    bundle = sb.Bundle(original, workers=1, constants=False)
    bundle.run(sentences((4, 6, 9)))
    lane, _ = bundle._engine.lanes.borrow()
    arrays = [run.binding.arrays for run in lane._runs.values()]
    weights = [one["pred_weight"] for one in arrays]
    assert len(weights) == 3
    assert all(w is weights[0] for w in weights)
    assert not weights[0].view().flags.writeable
    starts = {one["data"].view().ctypes.data for one in arrays}
    assert len(starts) == 1
    assert starts.pop() % 64 == 0


def test_serving_needs_no_sym_gen_and_no_training(original):
    """What serves imports nothing of symbucket.module, nor does running it."""
    import ast
    from pathlib import Path

    folder = Path(sb.__file__).parent
    names = ("activations", "verify", "manifest", "spec", "keys")
    for path in [*folder.glob("serve/*.py"), *(folder / "export" / f"{n}.py" for n in names)]:
        tree = ast.parse(path.read_text())
        top = [n.module for n in tree.body if isinstance(n, ast.ImportFrom)]
        assert not [m for m in top if m.startswith(("symbucket.module", "symbucket.compiler"))]


def test_a_live_bundle_sees_each_update(tmp_path):
    module = trained()
    live = sb.Bundle.live(module)
    module.export(tmp_path / "b")
    kept = sb.Bundle(tmp_path / "b")
    rng = np.random.default_rng(0)
    requests = sentences(LENGTHS)
    first = served(live, requests)
    for left, right in zip(first, served(kept, requests)):
        np.testing.assert_allclose(left, right, rtol=1e-6)
    for step in range(3):
        module.forward_backward(sentence_batch(rng, 6, 4))
        module.update()
        found = served(live, requests)
        for tokens, result, old in zip(requests, found, first):
            expected = probabilities(module, tokens, smallest(len(tokens)))
            np.testing.assert_allclose(result, expected, rtol=1e-5, err_msg=f"step {step}")
            assert np.abs(result - old).max() > 1e-5
        first = found
    module.set_params(*module.get_params())
    assert live._engine._parameters["pred_weight"] is module.store.args["pred_weight"]


def test_a_live_bundle_of_another_batch_size():
    module = trained()
    live = sb.Bundle.live(module, keys=[6, 9], batch_size=1)
    (tokens,) = sentences((5,))
    np.testing.assert_allclose(
        live(tokens)["softmax_output"], probabilities(module, tokens, 6), rtol=1e-5
    )
    assert live.statistics()[6].padding_share == pytest.approx(1 / 6)


def test_a_network_without_inputs_is_served(tmp_path):
    """Its outputs depend on the parameters alone."""

    def sym_gen(key):
        steps = sym.Reshape(sym.arange(start=0, stop=key), shape=(1, key, 1))
        weight = sym.Reshape(sym.Variable("table_weight", shape=(3,)), shape=(1, 1, 3))
        return sym.broadcast_mul(steps, weight, name="table"), (), ()

    module = sb.mod.BucketingModule(sym_gen, 4)
    module.bind([], None, for_training=False)
    module.init_params(sb.init.Constant(2.0))
    module.export(tmp_path / "b")
    for bundle in (sb.Bundle.live(module), sb.Bundle(tmp_path / "b")):
        for answer in bundle.run([{}, Request({}, key=3)]):
            np.testing.assert_array_equal(
                answer["table_output"], 2.0 * np.repeat(np.arange(4.0), 3).reshape(1, 4, 3)
            )
        with pytest.raises(DataError, match="there is no input 'x'; there are none"):
            bundle({"x": np.ones(3)})
        with pytest.raises(InvalidArgumentError, match="is one array, but the networks have no in"):
            bundle(np.ones(3))


def test_padding_of_the_manifest_fills_what_requests_leave(tmp_path):
    """The network sums over time, so the padding shows."""
    net = sym.sum(sym.Variable("data"), axis=1, name="total")
    module = sb.mod.BucketingModule(lambda _: (net, ("data",), ()), default_bucket_key=5)
    module.bind([("data", (2, 5))])
    module.init_params()
    module.switch_bucket(3, [("data", (2, 3))])
    module.export(tmp_path / "b", padding={"data": 10})
    bundle = sb.Bundle(tmp_path / "b")
    assert [float(r["total_output"]) for r in bundle.run([[1.0], [1, 2, 3], [1, 2, 3, 4]])] == [
        21, 6, 20,
    ]  # fmt: skip


def test_keys_that_are_no_sizes_are_asked_for_by_name(tmp_path):
    def sym_gen(key):
        x = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc")
        return (sym.tanh(x, name="out") if key == "tanh" else x), ("data",), ()

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key="plain")
    module.bind([("data", (2, 3))])
    module.init_params(sb.init.Uniform(0.5))
    module.switch_bucket("tanh", [("data", (2, 3))])
    module.export(tmp_path / "b")
    bundle = sb.Bundle(tmp_path / "b")
    x = np.array([1.0, 2, 3])
    plain = bundle(Request({"data": x}, "plain"))["fc_output"]
    np.testing.assert_allclose(
        bundle(Request({"data": x}, "tanh"))["out_output"], np.tanh(plain), rtol=1e-5
    )
    with pytest.raises(InvalidArgumentError, match=r"has no key, and no network .* found by size"):
        bundle(x)
    with pytest.raises(
        InvalidArgumentError, match=r"asks for key 'relu'; the keys are 'plain', 't"
    ):
        bundle(Request({"data": x}, "relu"))


def test_states_may_be_given_or_left_out(tmp_path):
    net = sym.Variable("data") + sym.Variable("before")
    module = sb.mod.Module(net, ("data",), (), state_names=("before",))
    module.bind([("data", (2, 3))])
    module.init_params()
    module.export(tmp_path / "b")
    bundle = sb.Bundle(tmp_path / "b")
    (name,) = [t.name for t in bundle.networks[None].outputs]
    assert bundle([1.0, 2, 3])[name].tolist() == [1, 2, 3]
    found = bundle({"data": [1.0, 2, 3], "before": [10.0, 10, 10]})[name]
    assert found.tolist() == [11, 12, 13]


def test_outputs_over_the_whole_batch_are_not_served(tmp_path):
    x = sym.Variable("data")
    net = sym.Group([sym.FullyConnected(x, num_hidden=2, name="fc"), sym.mean(x, name="mean")])
    module = bound(net, [("data", (2, 3))])
    module.export(tmp_path / "b")
    assert set(sb.Bundle(tmp_path / "b")([1.0, 2, 3])) == {"fc_output"}
    module.export(tmp_path / "b", batch_size=1)
    alone = sb.Bundle(tmp_path / "b")([1.0, 2, 3])
    assert float(alone["mean_output"].item()) == 2
    bound(sym.mean(x, name="mean"), [("data", (2, 3))]).export(tmp_path / "c")
    with pytest.raises(
        ShapeError, match=r"not computed sample by sample.*Export with batch_size=1"
    ):
        sb.Bundle(tmp_path / "c")([1.0, 2, 3])


def test_random_outputs_are_not_taken_for_samples(tmp_path):
    noise = sym.uniform(low=0, high=1, shape=(2, 3), name="noise")
    module = bound(sym.Variable("data") + noise, [("data", (2, 3))])
    module.export(tmp_path / "b")
    assert sb.Bundle(tmp_path / "b").networks["net"].outputs[0].axes == (None, None)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (np.zeros(10), r"request 0 fits no network.*key 9: data has shape \(10,\), longer than"),
        (np.zeros((2, 3)), r"data has shape \(2, 3\), expected \(9,\) of one sample"),
        ({}, "the request lacks data"),
        ({"data": [1, 2], "word": [1]}, "there is no input 'word'; there are data"),
        ([1, 2, 10], r"data\[2\] is 10; key 4 takes any integer below 10"),
        ([1.0, np.nan], r"data\[1\] is nan"),
        ([1.0, 1.5], "data holds 1.5; it takes integers"),
        ([], r"data has shape \(0,\), which holds nothing"),
        (["the", "dog"], "data has dtype <U3, not numbers"),
        ([[1], [1, 2]], "data is not an array"),
        (Request({"data": [1]}, 99), "fits no network. the bundle has no bucket of such a key"),
        (Request({"data": [1]}, (3, 3)), "no bucket of such a key. The keys are 9, 4, 6"),
        (Request({"data": [1]}, []), "the keys are 9, 4, 6"),
    ],
)
def test_requests_that_cannot_be_served(original, request_, message):
    bundle = sb.Bundle(original)
    with pytest.raises((DataError, InvalidArgumentError), match=message):
        bundle.run([request_])
    with pytest.raises((DataError, InvalidArgumentError), match="request 1"):
        bundle.run([[1, 2], request_])
    assert not any(s.requests for s in bundle.statistics().values())


def test_unknown_keys_cannot_be_loaded(original):
    with pytest.raises(InvalidArgumentError, match="has no key 7; it has 9, 4, 6"):
        sb.Bundle(original).load([7])


def test_training_graphs_are_not_served(tmp_path):
    trained(keys=(4,)).export(tmp_path / "b", training=True)
    with pytest.raises(UnsupportedError, match="holds training graphs, which Bundle does not"):
        sb.Bundle(tmp_path / "b")


def test_a_device_that_is_not_there(original):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is one")
    with pytest.raises(DeviceError, match=r"gpu\(0\) needs the CUDAExecutionProvider"):
        sb.Bundle(original, context=sb.gpu(0))


def test_threads_may_share_a_bundle(original):
    bundle = sb.Bundle(original)
    requests = sentences(LENGTHS)
    expected = served(bundle, requests)
    wrong = []

    def work(seed):
        order = np.random.default_rng(seed).permutation(len(requests))
        for _ in range(5):
            for i, found in zip(order, served(bundle, [requests[i] for i in order])):
                if not np.array_equal(found, expected[i]):
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_no_requests(original):
    assert sb.Bundle(original).run([]) == []


def test_networks_that_refuse_random_positions_are_exported(tmp_path):
    positions = sym.Variable("positions")
    module = bound(
        sym.gather_nd(sym.Variable("table_weight", shape=(1, 1)), positions),
        [("positions", (2, 40))],
    )
    module.export(tmp_path / "b")
    with pytest.raises(ShapeError, match="Export with batch_size=1"):
        sb.Bundle(tmp_path / "b").run([{"positions": [0] * 40}] * 2)


def test_rows_that_only_some_numbers_change_are_not_taken_for_those_of_a_sample(tmp_path):
    """Two samples of three tokens make four rows of two; the vectors are zeros and ones."""
    table = sym.Variable("table_weight", shape=(4, 1)) > 0.0
    vectors = sym.Embedding(sym.Variable("data"), table, input_dim=4, output_dim=1, name="embed")
    flat = sym.Concat(sym.Reshape(vectors, shape=(-1,)), sym.ones(shape=(2,)), dim=0)
    for seed in range(3):
        sb.random.seed(seed)
        module = bound(sym.Reshape(flat, shape=(4, 2), name="out"), [("data", (2, 3))])
        module.export(tmp_path / str(seed))
        with pytest.raises(ShapeError, match="Export with batch_size=1"):
            sb.Bundle(tmp_path / str(seed)).run([[0, 1, 2], [1, 2, 3]])


def test_a_run_is_split_among_threads_if_that_was_faster_of_late(original, monkeypatch):
    bundle = sb.Bundle(original, workers=2)
    bundle.load()
    sessions = bundle._engine._loaded[4].sessions
    used, takes, now = [], {"narrow": 0.0, "wide": 0.0}, [0.0]
    clock = SimpleNamespace(perf_counter=lambda: now[0], monotonic=time.monotonic)
    monkeypatch.setattr(engine, "time", clock)
    for name in ("narrow", "wide"):
        session = getattr(sessions, name)

        def run(*args, _name=name, _run=session.run):
            used.append(_name)
            now[0] += takes[_name]
            _run(*args)

        monkeypatch.setattr(session, "run", run)
    for faster, slower in (("narrow", "wide"), ("wide", "narrow")):
        takes.update({slower: 0.002, faster: 0.001})
        sessions.choices[True].__init__()
        for _ in range(machine.FIRST + 4):
            bundle([1, 2])
        assert {*used[: machine.FIRST]} == {"narrow", "wide"}
        assert used[machine.FIRST :] == [faster] * 4
        used.clear()


def test_the_choice_follows_the_machine():
    choice, split = machine.ThreadChoice(), []
    for run in range(2000):
        now = choice.splits()
        split.append(now)
        free = run < 1000
        choice.record(now, 20, (1.0 if now is free else 2.0) * (1 if run % 10 else 5))
    assert sum(split[100:1000]) > 850
    assert sum(split[1500:]) < 50


@pytest.mark.parametrize("slower", [1.02, 1.5, 2.0])
def test_looking_at_the_other_way_costs_little(slower):
    choice, seconds = machine.ThreadChoice(), []
    for _ in range(8000):
        split = choice.splits()
        seconds.append(1.0 if split else slower)
        choice.record(split, 20, seconds[-1])
    assert 1.0 < np.mean(seconds[1000:]) < 1.006
    others = np.flatnonzero(np.array(seconds) > 1.0)
    assert np.diff(others).max() < 1100  # and is done again and again


def test_a_list_of_arrays_is_placed_as_each_of_them_is(original):
    router = sb.Bundle(original).engine.router
    arrays = [np.arange(1, 1 + length) for length in LENGTHS]
    for requests in (arrays, [list(one) for one in arrays], [{"data": one} for one in arrays]):
        placed = router.place_all(requests)
        for one, array in zip(placed, arrays):
            alone = router.place(array, "it")
            assert one.network is alone.network
            assert dict(one.sizes) == dict(alone.sizes)
            np.testing.assert_array_equal(one.arrays["data"], array)
    good = [np.ones(3, int), np.ones(2, int)]
    for wrong, text in (
        (np.ones(10, int), "request 2 fits no network.*longer than"),
        (np.ones(0, int), "request 2 fits no network.*holds nothing"),
        (np.ones((2, 2), int), "request 2 fits no network.*expected"),
        (np.array([1, 10_000]), r"request 2: data\[1\] is 10000; key 4 takes"),
        (np.array([1.5]), "request 2: data holds 1.5; it takes integers"),
        (np.array(["a"]), "request 2: data has dtype"),
    ):
        with pytest.raises(DataError, match=text):
            router.place_all([*good, wrong])
