"""Compiled models on disk: found again, never wrong, never in the way."""

import logging
import os
from dataclasses import fields, replace

import numpy as np
import pytest

import symbucket as sb
from symbucket import random, sym
from symbucket.compiler import (
    CompileRequest,
    CompilerOptions,
    Program,
    cache,
    compilation,
    compile_inference,
    compile_training,
    fingerprint,
)
from symbucket.compiler.cache import ModelCache
from symbucket.compiler.codec import pack, unpack
from symbucket.compiler.metrics import FORMULAS
from symbucket.compiler.ports import Port, Role
from symbucket.compiler.shards.sharding import Piece, Sharding
from symbucket.compiler.target import CPU, PORTABLE
from symbucket.errors import InvalidArgumentError
from symbucket.ir import info
from symbucket.metric import GraphMetric
from symbucket.ops.record import Operator, operator
from symbucket.ops.registry import _RECORDS
from symbucket.symbol.compose import apply
from tests.compiler.cache_folder import files
from tests.small_networks import generate, language_model, numbers, same, sentence_batch, shapes

F8 = np.dtype(np.float64)
SHAPES = {"data": (3, 4), "softmax_label": (3, 4)}
NLL = GraphMetric("nll", "softmax_output", "softmax_label", 0.0)


@pytest.fixture
def compiled(monkeypatch):
    """The names of the models that were compiled and not found."""
    names = []
    plain = compilation.lower

    def counting(symbol, shapes, dtypes, training, name, *rest, **options):
        names.append(name)
        return plain(symbol, shapes, dtypes, training, name, *rest, **options)

    monkeypatch.setattr(compilation, "lower", counting)
    return names


def step(options, **changes):
    """A training step of a small language model, everything made anew."""
    with sb.NameManager():
        net = language_model(4, **changes.pop("net", {}))
    given = {"shapes": SHAPES, "wanted": ["pred_weight", "pred_bias"], "fetch": (), **changes}
    return compile_training(net, options=options, **given)


def test_the_second_time_it_is_found(tmp_path, compiled):
    options = CompilerOptions(cache_dir=tmp_path / "new" / "folder")
    first = step(options, metrics=[NLL])
    again = step(options, metrics=[NLL])
    assert compiled == ["training"]
    assert again == first
    assert again == step(CompilerOptions(), metrics=[NLL])
    assert again.step.plan.peak == first.step.plan.peak
    assert isinstance(again.step.outputs[0].dtype, np.dtype)
    assert len(files(options.cache_dir)) == 1


def test_models_in_two_parts_and_for_inference_are_found(tmp_path, compiled):
    options = CompilerOptions(cache_dir=str(tmp_path))
    net = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc")
    for _ in range(2):
        made = compile_training(net, {"data": (3, 2)}, wanted=["fc_weight"], options=options)
        assert made.heads == ("fc_output",)
        assert made.backward.proto().graph.name == "training_backward"
        inference = compile_inference(net, {"data": (3, 2)}, options=options)
        assert [t.name for t in inference.outputs] == ["fc_output"]
    assert compiled == ["training", "inference"]


def test_nothing_is_kept_unless_asked_for(tmp_path, monkeypatch, compiled):
    monkeypatch.chdir(tmp_path)
    assert CompilerOptions().cache_dir is None
    step(CompilerOptions())
    step(CompilerOptions())
    assert len(compiled) == 2
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        {"shapes": {"data": (2, 4), "softmax_label": (2, 4)}},
        {"dtypes": {"data": np.int64}},
        {"wanted": ["pred_weight"]},
        {"fetch": None},
        {"fetch": ["softmax_output"]},
        {"metrics": [NLL]},
        {"metrics": [replace(NLL, eps=1e-8)]},
        {"name": "another"},
        {"row_sparse": ["embed_weight"], "wanted": ["pred_weight", "pred_bias", "embed_weight"]},
        {"net": {"dropout": 0.5}},
        {"net": {"hidden": 6}},
        {"options": {"disable": ["simplify-stacking"]}},
        {"options": {"value_info": True}},
        {"options": {"loss_chunks": 2}},
        {"options": {"memory_limit": 10**9}},
        {"target": PORTABLE},
    ],
    ids=str,
)
def test_whatever_the_result_depends_on_tells_models_apart(tmp_path, compiled, change):
    options = CompilerOptions(cache_dir=tmp_path)
    step(options)
    change = {**change}
    changed = replace(options, **change.pop("options", {}))
    found = step(changed, **change)
    assert len(compiled) == 2
    assert step(changed, **change) == found
    assert len(compiled) == 2
    assert len(files(tmp_path)) == 2
    with_none = replace(changed, cache_dir=None)
    assert step(with_none, **change) == found


def test_a_seed_is_part_of_nodes_that_draw_by_themselves(tmp_path):
    options = CompilerOptions(cache_dir=tmp_path)
    models = []
    for seed in (1, 2, 1):
        random.seed(seed)
        models.append(step(options, net={"dropout": 0.5}, target=PORTABLE).step.model)
    assert models[0] == models[2] != models[1]


def test_a_seed_is_no_part_of_a_model_whose_noise_comes_in(tmp_path, compiled):
    options = CompilerOptions(cache_dir=tmp_path)
    for seed in (1, 2):
        random.seed(seed)
        step(options, net={"dropout": 0.5})
    assert len(compiled) == 1


def test_another_compiler_finds_nothing(tmp_path, compiled, monkeypatch):
    options = CompilerOptions(cache_dir=tmp_path)
    step(options)
    monkeypatch.setattr(fingerprint, "code_hash", lambda: "other")
    step(options)
    assert len(compiled) == 2
    monkeypatch.undo()
    assert len(fingerprint.code_hash()) == 64


def test_every_option_is_in_the_key_but_where_the_cache_is():
    net = language_model(2)
    plain = fingerprint.fingerprint(CompileRequest(net, SHAPES))
    others = {
        "disable": ["simplify-stacking"],
        "value_info": True,
        "memory_limit": 1 << 30,
        "loss_chunks": 3,
        "out_of_range": "mxnet",
        "cache_dir": "elsewhere",
        "cache_bytes": 5,
    }
    assert others.keys() == {f.name for f in fields(CompilerOptions)}
    for name, value in others.items():
        key = fingerprint.fingerprint(
            CompileRequest(net, SHAPES, options=CompilerOptions(**{name: value}))
        )
        assert (key == plain) == name.startswith("cache_"), name


def test_shards_and_batch_axes_are_in_the_key():
    net = language_model(2)
    key = fingerprint.fingerprint
    plain = CompileRequest(net, SHAPES)
    axes = replace(plain, batch_axes=(("label", 1), ("data", 0)))
    assert axes == replace(plain, batch_axes=(("data", 0), ("label", 1)))
    others = [
        axes,
        replace(plain, batch_axes=(("label", 0), ("data", 0))),
        replace(plain, target=replace(CPU, shards=2)),
    ]
    assert len({key(request) for request in (plain, *others)}) == 4


def test_a_sharding_is_stored_with_its_program():
    pieces = {"x": Piece("rows", 3), "w": Piece("same"), "w.grad": Piece("sum")}
    program = Program(b"model", (), (), sharding=Sharding(2, pieces), unsharded="reason")
    assert unpack(pack(program), cache._CLASSES) == program


def test_operators_and_rules_from_outside_are_not_kept(tmp_path, compiled, monkeypatch):
    """Their code is not in the key, and it may change."""

    @operator("_test_double")
    class _Double(Operator):
        def emit(self, g, *inputs):
            return g.op("Add", inputs[0], inputs[0])

    options = CompilerOptions(cache_dir=tmp_path)
    try:
        twice = apply("_test_double", [language_model(4)], {})
        for _ in range(2):
            compile_inference(twice, SHAPES, options=options)
    finally:
        del _RECORDS["_test_double"]
    assert len(compiled) == 2
    assert files(tmp_path) == []
    with monkeypatch.context() as patch:
        patch.setattr(info("Tanh"), "gradient", lambda *_: [None])
        compile_inference(language_model(4), SHAPES, options=options)
        assert files(tmp_path) == []
    monkeypatch.setitem(FORMULAS, "mine", lambda metric, output, label: (output, output))
    compile_inference(language_model(4), SHAPES, options=options)
    assert files(tmp_path) == []


# Damage -----------------------------------------------------------------------------------------


def _damaged(raw):
    """A file's bytes, spoilt in many ways."""
    rng = np.random.default_rng(0)
    yield b""
    yield b"\0" * len(raw)
    yield rng.bytes(len(raw))
    yield raw + b"more"
    yield raw[::-1]
    yield from (raw[:n] for n in (1, 10, 27, 40, 59, 60, 100, len(raw) // 2, len(raw) - 1))
    for place in rng.integers(0, len(raw), 20):
        yield raw[:place] + bytes([raw[place] ^ (1 << int(rng.integers(8)))]) + raw[place + 1 :]


def test_damage_costs_a_compilation(tmp_path, compiled, caplog):
    options = CompilerOptions(cache_dir=tmp_path)
    wanted = step(options)
    (name,) = files(tmp_path)
    path = tmp_path / name
    raw = path.read_bytes()
    tried = 0
    with caplog.at_level(logging.WARNING, "symbucket.compiler.cache"):
        for content in _damaged(raw):
            tried += 1
            path.write_bytes(content)
            assert step(options) == wanted
            assert path.read_bytes() == raw
    assert len(compiled) == 1 + tried
    assert len(caplog.records) == tried
    assert "is damaged; compiling again" in caplog.text
    assert step(options) == wanted
    assert len(compiled) == 1 + tried


def test_a_file_under_another_name_is_not_taken(tmp_path, compiled):
    options = CompilerOptions(cache_dir=tmp_path)
    step(options)
    other = step(options, name="another")
    first, second = (tmp_path / n for n in files(tmp_path))
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert step(options, name="another") == other
    assert len(compiled) == 3


def test_content_that_is_whole_and_means_something_else(tmp_path, compiled):
    options = CompilerOptions(cache_dir=tmp_path)
    wanted = step(options)
    key = files(tmp_path)[0].removesuffix(".symbucket")
    store = ModelCache(tmp_path, 1 << 30)
    strange = [
        b"",
        b"12345678{}",
        pack("text"),
        pack({"a": 1}),
        pack([None]),
        pack(wanted.step),  # a part of the result
        pack(wanted)[:-10],
        (10**6).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"[[[[",
        *(
            len(text).to_bytes(8, "little") + text
            for text in (
                b'{"class":"object","fields":[]}',
                b'{"class":"Program","fields":[1,2,3,4,5,6,7]}',
                b'{"class":"Program"}',
                b'{"enum":"Role","member":"NOTHING"}',
                b'{"enum":"Role"}',
                b'{"enum":"object","member":"__doc__"}',
                b'{"tuple":[],"list":[]}',
                b'{"eval":"1"}',
                b'{"dtype":"O O"}',
                b'{"bytes":"x"}',
                b"[" * 5000,
            )
        ),
    ]
    for content in strange:
        store.write(key, content)
        assert step(options) == wanted
    assert len(compiled) == 1 + len(strange)


@pytest.mark.parametrize("folder", ["file", "no\0path"])
def test_a_folder_that_cannot_be_used_is_no_error(tmp_path, caplog, folder):
    (tmp_path / "file").write_text("in the way")
    options = CompilerOptions(cache_dir=tmp_path / folder)
    with caplog.at_level(logging.WARNING, "symbucket.compiler.cache"):
        assert step(options) == step(CompilerOptions())
    assert "cannot keep a compiled model in" in caplog.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cache_dir": 5}, "cache_dir=5: must be the path of a folder, or None"),
        ({"cache_bytes": -1}, "cache_bytes=-1: must be an integer of 0 or more"),
        ({"cache_bytes": None}, "cache_bytes=None: must be an integer of 0 or more"),
    ],
)
def test_options_are_checked(given, message):
    with pytest.raises(InvalidArgumentError, match=message):
        CompilerOptions(**given)


# Training ---------------------------------------------------------------------------------------


def test_training_from_the_cache(tmp_path, compiled):
    def train():
        random.seed(3)
        with sb.NameManager():
            options = CompilerOptions(cache_dir=tmp_path)
            module = sb.mod.BucketingModule(generate, default_bucket_key=6, options=options)
            module.bind(*shapes(6))
            module.init_params(sb.init.Uniform(0.2))
            module.init_optimizer()
            rng = np.random.default_rng(0)
            for length in (6, 3, 6, 3):
                module.forward_backward(sentence_batch(rng, length))
                module.update()
            return numbers(module)

    first = train()
    assert len(compiled) == 2
    assert same(train(), first)
    assert len(compiled) == 2


# Packing ----------------------------------------------------------------------------------------


def test_packing():
    value = {
        "a": (1, -2.5, None, True, "ü"),
        "b": [b"", b"\0\xff" * 100, [], ()],
        "c": np.dtype(np.float64),
        3: {},
    }
    found = unpack(pack(value), ())
    assert found == value
    assert type(found["a"]) is tuple
    assert type(found["b"][2]) is list
    with pytest.raises(TypeError, match=r"of type set cannot be stored"):
        pack({1, 2})


PORTS = [Port("w", (3, 4), np.dtype("f4"), Role.ARGUMENT, "w"), Port("g", (), F8, Role.GRAD, "w")]


@pytest.mark.parametrize(
    "value",
    [
        PORTS,
        (*PORTS, None),
        [PORTS[0]],
        {"ports": tuple(PORTS), "role": Role.GRAD},
        [Role.GRAD, Role.STATE],
        [("a", 1, (2, 3)), ("b", 2, ())],
        [("a", b"1"), ("b", b"2")],
        [("a", b"1"), ("b",)],
        [[1, 2], [3]],
        [[1, 2], (3,)],
        [[[1]], [[2], []]],
        [{"a": 1}, {}],
        [np.dtype("i4"), np.dtype("f8")],
        [[b"x"], [b"y", b"z"]],
    ],
    ids=str,
)
def test_columns_are_what_they_were(value):
    found = unpack(pack(value), (Port, Role))
    assert found == value
    assert repr(found) == repr(value)  # lists and tuples are told apart


def test_columns_of_unequal_length_and_unknown_kinds_are_no_content():
    content = pack(PORTS)
    for old, new in ((b'"GRAD"', b'"NONE"'), (b'["w","g"]', b'["w"]    '), (b"rows", b"rose")):
        assert old in content
        assert unpack(content.replace(old, new, 1), (Port, Role)) is None
    assert unpack(content, (Port,)) is None


def test_only_plain_files_of_this_user_are_read(tmp_path, compiled, caplog):
    options = CompilerOptions(cache_dir=tmp_path / "cache")
    program = step(options)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    (name,) = files(options.cache_dir)
    path = tmp_path / "cache" / name
    path.unlink()
    os.mkfifo(path)
    assert step(options) == program  # a pipe is not waited for
    assert "no plain file of this user" in caplog.text
    assert step(options) == program  # the new entry has taken its place
    assert len(compiled) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_other_users_are_not_read(tmp_path, compiled):
    options = CompilerOptions(cache_dir=tmp_path)
    program = step(options)
    (name,) = files(tmp_path)
    os.chown(tmp_path / name, 12345, 12345)
    assert step(options) == program
    assert len(compiled) == 2
