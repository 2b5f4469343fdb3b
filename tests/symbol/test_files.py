"""Symbols as text: our own, MXNet's, and damaged ones."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError
from tests.small_networks import language_model

UNARY = [sym.tanh, sym.relu, sym.negative, lambda x: x + 0.5, lambda x: 2 - x]
BINARY = [lambda x, y: x + y, lambda x, y: x * y, sym.broadcast_sub, sym.broadcast_maximum]


def _random_symbol(seed):
    """A random graph over (2, 4) arrays with shared parts, several outputs and layers."""
    rng = np.random.default_rng(seed)
    pool = [sym.Variable(f"v{i}", shape=(2, 4)) for i in range(rng.integers(1, 4))]

    def pick():
        return pool[rng.integers(len(pool))]

    for i in range(rng.integers(1, 9)):
        kind = rng.integers(5)
        if kind == 0:
            made = UNARY[rng.integers(len(UNARY))](pick())
        elif kind == 1:
            made = BINARY[rng.integers(len(BINARY))](pick(), pick())
        elif kind == 2:
            made = sym.FullyConnected(pick(), num_hidden=4, no_bias=bool(rng.integers(2)))
        elif kind == 3:
            parts = sym.SliceChannel(pick(), num_outputs=2, axis=1, name=f"split{i}x")
            made = sym.Concat(parts[1], parts[0], dim=1)
        else:
            made = sym.transpose(sym.Reshape(pick(), shape=(4, -1)))
        pool.append(made)
    chosen = rng.choice(len(pool), size=rng.integers(1, 4))
    return sym.Group([pool[i] for i in chosen]), rng


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 2**32 - 1))
def test_random_graphs_come_back_from_json_and_compute_the_same(seed):
    note(f"seed {seed}")
    net, rng = _random_symbol(seed)
    again = sym.load_json(net.tojson())
    assert again.tojson() == net.tojson()
    assert again.list_arguments() == net.list_arguments()
    assert again.list_outputs() == net.list_outputs()
    assert again.attr_dict() == net.attr_dict()
    shapes = net.infer_shape()
    assert again.infer_shape() == shapes
    arrays = {n: rng.normal(size=s) for n, s in zip(net.list_arguments(), shapes[0])}
    for left, right in zip(net.eval(**arrays), again.eval(**arrays)):
        np.testing.assert_array_equal(left.asnumpy(), right.asnumpy())


def test_files(tmp_path):
    net = language_model(3)
    path = str(tmp_path / "net-symbol.json")
    net.save(path)
    assert sym.load(path).tojson() == net.tojson()
    sym.Variable("x").save(path)
    assert sym.load(path).list_arguments() == ["x"]
    assert [p.name for p in tmp_path.iterdir()] == ["net-symbol.json"]


def test_a_file_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"cannot read symbol file .*nothing"):
        sym.load(str(tmp_path / "nothing.json"))
    with pytest.raises(InvalidArgumentError, match=r"cannot write symbol file .*nowhere"):
        sym.Variable("x").save(str(tmp_path / "nowhere" / "x.json"))


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.json"
    sym.Variable("old").save(str(path))

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(InvalidArgumentError, match="disk full"):
        sym.Variable("new").save(str(path))
    assert sym.load(str(path)).list_arguments() == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["net.json"]


# MXNet's own files ------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [4, 8, 12])
def test_files_of_mxnet_load(data_folder, length):
    net = sym.load(str(data_folder / f"lstm_sgd-{length}-symbol.json"))
    record = json.loads((data_folder / "runs.json").read_text())["runs"][0]
    with np.load(data_folder / "runs.npz") as arrays:
        init = {
            k.rpartition("/")[2]: arrays[k]
            for k in arrays.files
            if k.startswith("run/lstm_sgd/init/")
        }
        step = record["keys"].index(length)
        data = arrays[f"run/lstm_sgd/data/{step}"]
        label = arrays[f"run/lstm_sgd/label/{step}"]
    assert net.list_arguments() == record["args"]
    assert net.list_outputs() == ["softmax_output"]
    arguments, outputs, auxiliary = net.infer_shape(data=data.shape, softmax_label=label.shape)
    assert outputs == [(data.size, record["vocab"])]
    assert auxiliary == []
    found = dict(zip(net.list_arguments(), arguments))
    assert {n: found[n] for n in init} == {n: a.shape for n, a in init.items()}
    assert sym.load_json(net.tojson()).tojson() == net.tojson()


def test_a_file_of_mxnet_gives_the_recorded_loss(data_folder):
    record = json.loads((data_folder / "runs.json").read_text())["runs"][0]
    net = sym.load(str(data_folder / f"lstm_sgd-{record['keys'][0]}-symbol.json"))
    with np.load(data_folder / "runs.npz") as arrays:
        init = {
            k.rpartition("/")[2]: arrays[k]
            for k in arrays.files
            if k.startswith("run/lstm_sgd/init/")
        }
        data, label = (arrays[f"run/lstm_sgd/{kind}/0"] for kind in ("data", "label"))
        wanted = arrays["run/lstm_sgd/loss"][0]
    (prob,) = net.eval(data=data, softmax_label=label, **init)
    flat = label.reshape(-1).astype(int)
    picked = prob.asnumpy()[np.arange(flat.size), flat][flat > 0]
    np.testing.assert_allclose(-np.log(picked).mean(), wanted, rtol=1e-4)


def test_older_files_keep_attributes_under_other_names():
    whole = json.loads(sym.FullyConnected(sym.Variable("x"), num_hidden=2, name="fc").tojson())
    for key in ("param", "attr"):
        record = dict(whole["nodes"][3])
        record[key] = record.pop("attrs")
        text = json.dumps({**whole, "nodes": [*whole["nodes"][:3], record]})
        assert sym.load_json(text).attr("num_hidden") == "2"


# Damaged files ----------------------------------------------------------------------------------


def _set(path, value):
    def change(whole):
        for key in path[:-1]:
            whole = whole[key]
        whole[path[-1]] = value

    return change


DAMAGE = [
    (_set(["heads"], [[99, 0, 0]]), r"heads: \[99, 0, 0\] points to node 99"),
    (_set(["heads"], [[-1, 0, 0]]), "points to node -1"),
    (_set(["heads"], [[3, 7, 0]]), "output 7 of 'fc', which has 1"),
    (_set(["heads"], ["fc"]), r"'fc' is not \[node, output, version\]"),
    (_set(["heads"], []), "heads not empty"),
    (_set(["heads"], "fc"), "must be lists"),
    (_set(["nodes"], {}), "must be lists"),
    (_set(["nodes", 1], "fc_weight"), r"node 1 \('\?'\)"),
    (_set(["nodes", 3, "inputs", 1], [3, 0, 0]), r"node 3 \('fc'\): .* points to node 3"),
    (_set(["nodes", 3, "inputs", 1], [0, 5, 0]), "output 5 of 'x', which has 1"),
    (_set(["nodes", 3, "inputs"], [[0, 0, 0]]), r"FullyConnected takes 3 inputs .*, not 1"),
    (_set(["nodes", 3, "op"], "FullyConected"), r"node 3 \('fc'\): .*Did you mean"),
    (_set(["nodes", 3, "attrs", "num_hidden"], "x"), "num_hidden='x' is not an integer"),
    (_set(["nodes", 3, "attrs", "strange"], "1"), "unknown attribute 'strange'"),
    (_set(["nodes", 3, "attrs"], ["a"]), r"node 3 \('fc'\)"),
    (lambda w: w["nodes"][3].pop("op"), "key 'op' is missing"),
    (lambda w: w["nodes"][0].pop("name"), r"node 0 .*key 'name' is missing"),
    (lambda w: w.pop("heads"), "not a symbol file.*'heads'"),
]


@pytest.mark.parametrize(("change", "words"), DAMAGE)
def test_damage_is_said_with_its_place(change, words):
    net = sym.FullyConnected(sym.Variable("x"), num_hidden=2, name="fc")
    whole = json.loads(net.tojson())
    change(whole)
    with pytest.raises(InvalidArgumentError, match=words):
        sym.load_json(json.dumps(whole))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"nodes": 1, "heads": 1}'])
def test_what_is_no_symbol_file(text):
    with pytest.raises(InvalidArgumentError, match="not a symbol file"):
        sym.load_json(text)


def test_a_truncated_file_of_any_length_is_refused():
    text = language_model(2).tojson()
    for end in range(0, len(text) - 1, 97):
        with pytest.raises(InvalidArgumentError):
            sym.load_json(text[:end])


def test_eval_needs_every_input():
    with pytest.raises(InvalidArgumentError, match="args lacks fc_weight, fc_bias"):
        sym.FullyConnected(sym.Variable("x"), num_hidden=2, name="fc").eval(
            sb.cpu(), x=np.ones((1, 2))
        )
