"""The shared arena: what the process holds, measured in processes of their own."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest

import symbucket as sb
from symbucket.runtime import NDArray, Session
from symbucket.runtime.arena import Arena, arena_of, separate_arenas, sharing, trim
from symbucket.runtime.backend import runtime_version

linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads /proc for the process's memory"
)
MEGABYTE = 1 << 20

COMMON = """
import json
import numpy as np
import onnx
from onnx import TensorProto, helper
from symbucket import cpu
from symbucket.runtime import NDArray, Session
from symbucket.runtime.arena import arena_of, separate_arenas

def resident(what="VmRSS"):
    with open("/proc/self/status") as file:
        return next(int(x.split()[1]) for x in file if x.startswith(what + ":")) / 1024

def session(megabytes, stages=3):
    # A chain of sums over tensors of that size: two of them live at a time.
    width = megabytes * (1 << 18)
    nodes = [helper.make_node("Expand", ["x", "shape"], ["v0"])]
    nodes += [helper.make_node("Sin", [f"v{i}"], [f"v{i + 1}"]) for i in range(stages)]
    nodes.append(helper.make_node("ReduceMax", [f"v{stages}"], ["y"], keepdims=0))
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [width])
    graph = helper.make_graph(
        nodes, "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])], [shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made = Session(model.SerializeToString(), cpu(), f"{megabytes} MB", 2 * width * 4)
    made.bind_inputs({"x": NDArray(np.ones(1, np.float32))})
    made.bind_outputs({"y": NDArray(np.zeros((), np.float32))})
    return made
"""


def _measure(body: str) -> dict:
    """The dict that ``body`` leaves in ``found``, run in a fresh process."""
    code = COMMON + textwrap.dedent(body) + "\nprint(json.dumps(found))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


ORDERS = """
    order = {order}
    session(1).run()
    before = resident()
    sessions = {{m: session(m) for m in sorted(set(order))}}
    for m in order:
        sessions[m].run()
    arena = arena_of(cpu())
    found = {{
        "grown": resident() - before, "peak": resident("VmHWM") - before,
        "reserved": arena.reserved / (1 << 20), "growths": arena.growths,
    }}
"""


@linux
@pytest.mark.parametrize(
    "order",
    [[40], [10, 20, 30, 40], [40, 30, 20, 10], [20, 40, 10, 30, 20, 10, 40], [10, 20, 10, 40]],
    ids=["alone", "up", "down", "mixed", "late"],
)
def test_sessions_together_hold_what_the_largest_needs(order):
    found = _measure(ORDERS.format(order=order))
    # Two tensors of 40 MB, and the arena's books; separate arenas would keep 200 MB of "up".
    assert 78 < found["grown"] < 95
    assert found["peak"] < 100
    assert found["reserved"] >= 80
    assert found["growths"] == 1 + sum(m > max([1, *order[:i]]) for i, m in enumerate(order))


@linux
def test_separate_arenas_add_up():
    found = _measure(
        """
        session(1).run()
        before = resident()
        with separate_arenas():
            kept = [session(m) for m in (10, 20, 30, 40)]
            for s in kept:
                s.run()
        found = {"grown": resident() - before}
        """
    )
    assert found["grown"] > 180


@linux
def test_release_gives_all_of_it_back():
    found = _measure(
        """
        kept = session(40)
        kept.run()
        used = resident()
        arena_of(cpu()).release()
        found = {"back": used - resident(), "reserved": arena_of(cpu()).reserved}
        kept.run()
        found["again"] = resident() - used
        """
    )
    assert found["back"] > 75
    assert found["reserved"] == 0
    assert found["again"] < 10


@linux
def test_a_program_that_registered_an_arena_of_its_own_keeps_it():
    found = _measure(
        """
        import onnxruntime as ort
        info = ort.OrtMemoryInfo(
            "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
        )
        ort.create_and_register_allocator(info, None)
        kept = session(2)
        kept.run()
        arena = arena_of(cpu())
        found = {"shared": arena.shared, "version": ort.__version__, "growths": arena.growths}
        """
    )
    # Before 1.23 a second arena is refused; later versions let the newer one serve new sessions.
    if runtime_version() < (1, 23):
        assert found == {"shared": False, "version": found["version"], "growths": 0}
    else:
        assert found["shared"]


def test_expect_grows_only_for_a_larger_need():
    arena = arena_of(sb.cpu())
    arena.expect(MEGABYTE)
    before = arena.growths, arena.reserved
    assert before[1] >= MEGABYTE
    arena.expect(MEGABYTE)
    arena.expect(MEGABYTE // 2)
    assert (arena.growths, arena.reserved) == before
    need = 2 * arena.needed
    arena.expect(need)
    assert arena.growths == before[0] + 1
    assert arena.reserved >= need


def test_one_arena_serves_every_name_of_the_cpu():
    assert arena_of(sb.cpu(3)) is arena_of(sb.cpu())


def test_an_arena_that_could_not_be_registered_changes_nothing(monkeypatch):
    def refuse(*args):
        raise RuntimeError("already registered")

    monkeypatch.setattr("symbucket.runtime.arena.ort.create_and_register_allocator", refuse)
    arena = Arena(sb.cpu())
    arena.expect(MEGABYTE)
    arena.release()
    assert (arena.shared, arena.reserved, arena.growths) == (False, 0, 0)


def test_separate_arenas_is_a_block():
    assert sharing()
    with separate_arenas():
        assert not sharing()
        with separate_arenas():
            assert not sharing()
        assert not sharing()
    assert sharing()
    trim()


def _add_one():
    helper = onnx.helper
    value = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [4]) for n in "xy"]
    nodes = [helper.make_node("Add", ["x", "x"], ["t"]), helper.make_node("Add", ["t", "x"], ["y"])]
    graph = helper.make_graph(nodes, "thrice", value[:1], value[1:])
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.mark.parametrize("apart", [False, True])
def test_results_do_not_depend_on_the_arena(apart):
    x, y = NDArray(np.arange(4.0)), NDArray(np.zeros(4))

    def run():
        session = Session(_add_one(), sb.cpu(), "thrice", 1 << 12)
        session.bind_inputs({"x": x})
        session.bind_outputs({"y": y})
        session.run()

    if apart:
        with separate_arenas():
            run()
    else:
        run()
    np.testing.assert_array_equal(y.asnumpy(), [0, 3, 6, 9])


@linux
def test_importing_costs_no_package_that_training_does_not_need():
    found = _measure(
        """
        import sys
        import symbucket
        heavy = [m for m in sys.modules if m.startswith(("sympy.", "mpmath", "onnx.reference"))]
        import onnx_ir
        dim = onnx_ir.SymbolicDim("n * 2")
        computes = hasattr(dim, "__add__")  # not in onnx-ir 0.1.13
        dim = str(dim + 1) if computes else "2*n + 1"
        after = "sympy.core" in sys.modules
        found = {"heavy": heavy, "dim": dim, "computes": computes, "after": after}
        """
    )
    computes = found.pop("computes")
    assert found == {"heavy": [], "dim": "2*n + 1", "after": computes}
