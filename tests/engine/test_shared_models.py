"""Keys whose models differ in sizes alone run one loaded model, with the numbers of their own."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbucket as sb
from symbucket.compiler import compile_training
from symbucket.compiler.generic_model import Constant, Family, Outline, outline
from symbucket.engine import shared_models
from symbucket.engine.runner import BINDING_BYTES, Runner
from symbucket.engine.shared_models import SharedModels
from symbucket.errors import UnsupportedError
from symbucket.runtime.session import LoadedModel, Session, profiling

BATCH, HIDDEN, VOCABULARY = 3, 4, 17


def network(length: int) -> Any:
    data, label = sb.sym.Variable("data"), sb.sym.Variable("softmax_label")
    x = sb.sym.Embedding(data, input_dim=VOCABULARY, output_dim=HIDDEN, name="embed")
    x, _ = sb.rnn.GRUCell(HIDDEN).unroll(length, x, merge_outputs=True)
    x = sb.sym.FullyConnected(
        sb.sym.Reshape(x, shape=(-1, HIDDEN)), num_hidden=VOCABULARY, name="scores"
    )
    label = sb.sym.Reshape(label, shape=(-1,))
    x = sb.sym.SoftmaxOutput(x, label, name="softmax", use_ignore=True, ignore_label=0)
    return x, ("data",), ("softmax_label",)


def batch(length: int) -> sb.io.DataBatch:
    ids = np.random.default_rng(length).integers(0, VOCABULARY, (BATCH, length))
    ids = ids.astype(np.float32)
    shape = (BATCH, length)
    return sb.io.DataBatch(
        [ids], [ids], 0, None, length, [("data", shape)], [("softmax_label", shape)]
    )


def module_of(longest: int) -> sb.mod.BucketingModule:
    module = sb.mod.BucketingModule(network, longest)
    shape = (BATCH, longest)
    module.bind([("data", shape)], [("softmax_label", shape)])
    sb.random.seed(3)
    module.init_params(sb.init.Uniform(0.3))
    module.init_optimizer(optimizer_params={"learning_rate": 0.1})
    return module


def train(lengths: list[int]) -> tuple[sb.mod.BucketingModule, list[np.ndarray]]:
    module = module_of(max(lengths))
    results = []
    for length in [*lengths, *lengths]:
        module.forward_backward(batch(length))
        module.update()
        results.append(module.get_outputs()[0].asnumpy())
    return module, [*results, *(a.asnumpy() for a in module.get_params()[0].values())]


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> SharedModels:
    pool = SharedModels()
    monkeypatch.setattr("symbucket.engine.runner.SHARED_MODELS", pool)
    return pool


def runners_of(module: sb.mod.BucketingModule) -> list[Runner]:
    """The runners of a module's keys, in the order in which the keys came."""
    executors = [one.executors for one in module._bound.modules.values()]
    return [runner for (executor,) in executors for runner in executor._runners.values()]


def models_of(module: sb.mod.BucketingModule) -> list[LoadedModel]:
    return [runner._session.model for runner in runners_of(module)]


LENGTHS = [20, 16, 40, 18, 33, 25, 17]


def test_keys_share_a_model_and_compute_what_they_would_alone(
    pool: SharedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, shared = train(LENGTHS)
    models = models_of(module)
    assert len(models) == len(LENGTHS)
    assert len(set(models)) == 2  # that of the first key, and everybody else's
    assert len(models[-1].sessions) == len(LENGTHS) - 1
    monkeypatch.setattr(shared_models, "is_profiling", lambda: True)  # each its own
    alone, own = train(LENGTHS)
    assert len(set(models_of(alone))) == len(LENGTHS)
    for a, b in zip(shared, own, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_estimate_counts_a_shared_model_once(pool: SharedModels) -> None:
    module, _ = train(LENGTHS)
    nbytes = [runner.nbytes for runner in runners_of(module)]
    first, *others = sorted(nbytes, reverse=True)
    shares = [nbytes - BINDING_BYTES for nbytes in others]
    assert sum(shares) == pytest.approx(first - BINDING_BYTES, abs=len(others))


def test_a_model_lives_as_long_as_a_session_has_it(pool: SharedModels) -> None:
    module, _ = train(LENGTHS[:3])
    model = weakref.ref(models_of(module)[-1])
    assert model() is not None
    del module
    gc.collect()
    assert model() is None
    module, _ = train(LENGTHS[:3])  # the family is there, its model is loaded again
    assert len(set(models_of(module))) == 1


def test_what_the_runtime_refuses_for_several_is_loaded_for_one(
    pool: SharedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, own = train(LENGTHS[:3])
    pool._candidates.clear()

    class Refusing(LoadedModel):
        def __init__(self, *_: Any) -> None:
            raise UnsupportedError("no")

    monkeypatch.setattr(shared_models, "LoadedModel", Refusing)
    module, results = train(LENGTHS[:3])
    assert len(set(models_of(module))) == 3
    for a, b in zip(results, own, strict=True):
        np.testing.assert_array_equal(a, b)


def test_profiled_sessions_have_models_of_their_own(pool: SharedModels, tmp_path: Path) -> None:
    with profiling(tmp_path) as files:
        module, _ = train(LENGTHS[:3])
    assert len(set(models_of(module))) == 3
    assert len(files) >= 3


def test_sessions_of_one_model_after_their_arrays_were_released() -> None:
    program = step_of(20)
    family = Family(outline(step_of(33)), outline(program))
    model = LoadedModel(family.model(program), sb.cpu(), "shared")
    constants = family.constants_of(outline(program))
    assert constants
    session = Session(model, sb.cpu(), "one", constants=constants)
    session.release()
    assert set(session._bound) == set(constants)


def step_of(length: int, rows: int = BATCH) -> Any:
    symbol, _, _ = network(length)
    shapes = {"data": (rows, length), "softmax_label": (rows, length)}
    parameters = [name for name in symbol.list_arguments() if name not in shapes]
    return compile_training(symbol, shapes, wanted=parameters).step


# What belongs together ------------------------------------------------------------------------


def test_names_of_nodes_make_no_difference() -> None:
    a, b = step_of(20), step_of(20)  # automatic names go on counting
    assert a.model != b.model
    assert outline(a).structure == outline(b).structure


def test_a_size_has_a_name_where_both_models_have_one_number() -> None:
    """The runtime writes a value over another only if their sizes have one name."""
    program = step_of(20)
    family = Family(outline(step_of(33)), outline(program))
    proto = family.model(program)
    import onnx

    graph = onnx.ModelProto.FromString(proto).graph
    named: dict[str, set[int]] = {}
    sizes = {name: shape for name, _, shape in program.values}
    for value in graph.value_info:
        for dim, size in zip(value.type.tensor_type.shape.dim, sizes.get(value.name, ())):
            if dim.HasField("dim_param"):
                named.setdefault(dim.dim_param, set()).add(size)
    assert {20, 60} <= {size for numbers in named.values() for size in numbers}  # steps, rows
    assert all(len(numbers) == 1 for numbers in named.values())
    lifted = {value.name for value in graph.input} - {port.name for port in program.inputs}
    assert lifted == set(family.constants_of(outline(program)))
    assert not lifted & {tensor.name for tensor in graph.initializer}


def outline_of(sizes: tuple[int, ...], *numbers: int) -> Outline:
    constants = tuple(
        Constant(f"c{i}", 7, (1,), np.int64(number).tobytes()) for i, number in enumerate(numbers)
    )
    return Outline(b"", constants, sizes)


@pytest.mark.parametrize(
    ("sizes", "numbers", "admitted"),
    [
        ((9, 5, 9, 45), (9, 4), True),
        ((9, 5, 9, 44), (8, 4), True),  # another relation of two sizes, but each is one
        ((9, 6, 9, 45), (9, 4), False),  # a size that did not differ
        ((9, 5, 8, 45), (9, 4), False),  # two sizes that were one
        ((9, 5, 9, 45), (9, 3), False),  # a constant that did not differ
    ],
)
def test_members_of_a_family(
    sizes: tuple[int, ...], numbers: tuple[int, ...], admitted: bool
) -> None:
    first, second = outline_of((7, 5, 7, 35), 7, 4), outline_of((8, 5, 8, 40), 8, 4)
    family = Family(first, second)
    assert family.varies
    assert family.admits(first)
    assert family.admits(second)
    assert family.admits(outline_of(sizes, *numbers)) is admitted


def test_equal_models_teach_nothing(pool: SharedModels) -> None:
    program = step_of(20)
    assert not Family(outline(program), outline(program)).varies
    sessions = [pool.session(program, sb.cpu(), "equal", 0) for _ in range(3)]
    assert len({session.model for session in sessions}) == 3


def test_more_than_one_family_of_a_structure(pool: SharedModels) -> None:
    """What differs from a family in another way begins one of its own."""
    outlines = [outline_of((size, 5), other) for size, other in ((7, 1), (8, 1), (9, 1))]
    others = [outline_of((size, 5), other) for size, other in ((7, 2), (7, 3), (7, 4))]
    candidates = [pool._candidate(one, sb.cpu()) for one in (*outlines, *others)]
    assert candidates[0] is None
    assert candidates[1] is candidates[2] is not None
    assert candidates[3] is None
    assert candidates[4] is candidates[5] not in (None, candidates[1])


def test_a_model_for_people_is_not_shared(pool: SharedModels) -> None:
    programs = [dataclasses.replace(step_of(length), values=()) for length in (20, 33, 25)]
    models = {pool.session(program, sb.cpu(), "k", 0).model for program in programs}
    assert len(models) == 3
