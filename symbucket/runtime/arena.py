"""One pool of activations for all sessions of the process on a device.

By default every session has an arena of its own, and the buckets' memory adds up. Here one arena
of the runtime, registered once, serves them all. Why it is set up as it is:

* Regions of an arena never merge, and gradients of ignored rows are left out, so the same tensor
  has another size in every batch. In an arena of many regions each new size may find no piece that
  fits, and the arena grows for hundreds of steps (six buckets: 2 to 3 times the largest one). In
  one region pieces merge, and best fit stays near the plan. So the arena is one region: the size
  that the memory plan promises, with some room.
* A region is reserved by asking for a tensor of its size that is never written: the request is for
  rows of a table that are not there, which the runtime refuses once it has allocated the result.
  What no run has touched costs address space and, for the arena's own books, 1/32 of its size.
* Where a larger key comes, the free region is given back first (a run with the option
  ``memory.enable_memory_arena_shrinkage``), the heap is trimmed, and a larger one is reserved: both
  never exist at a time. That happens once for each key larger than all before it, not in between.
* The regions are "same as requested" (arena_extend_strategy 1): the other strategy never gives its
  first region back, and doubles.

An arena is an economy only: where it cannot be had (a program that uses the runtime beside us has
registered one already, with sizes of its own choice), sessions use what there is, and results are
the same.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.context import Context, cpu
from symbucket.ir import IR_VERSION, Builder, new_graph
from symbucket.runtime.backend import ort, provider_of

DEAD_BYTES = 65536
"""What the arena may leave unused in a piece that it hands out."""

ROOM = 1.25
"""How much larger than the plan a region is reserved; costs nothing until it is touched."""

_WIDTH = 1024  # floats in a row of the table for reservations


class Arena:
    """The arena of one device. ``use`` prepares session options, ``expect`` announces a need."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.reserved = 0
        """Bytes of the region; 0 before the first need."""
        self.growths = 0
        """How often a region was reserved."""
        self.shared = self._register()
        """Whether this arena is ours; else sessions have what the runtime gives them."""
        self._largest = 0
        self._keeper: Any = None
        self._binding: Any = None
        # In memory of our own: an output in the arena would hold its region.
        self._result = np.zeros((), np.float32)
        self._table = np.zeros((1, _WIDTH), np.float32)
        self._numbers = np.zeros(0, np.int64)

    def _register(self) -> bool:
        settings = ort.OrtArenaCfg(
            {
                "max_mem": 0,
                "arena_extend_strategy": 1,
                "initial_chunk_size_bytes": -1,
                "max_dead_bytes_per_chunk": DEAD_BYTES,
            }
        )
        kind, place = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, ort.OrtMemType.DEFAULT
        try:
            if self.context.device_type == "cpu":
                info = ort.OrtMemoryInfo("Cpu", kind, 0, place)
                ort.create_and_register_allocator(info, settings)
            else:
                provider, options = provider_of(self.context)
                info = ort.OrtMemoryInfo("Cuda", kind, self.context.device_id, place)
                ort.create_and_register_allocator_v2(provider, info, options, settings)
        except (RuntimeError, AttributeError):
            return False
        return True

    def use(self, options: Any) -> None:
        """Let a session that is made with these options take its memory here."""
        if not self.shared:
            return
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Constants live as long as their session; in the arena they would pin its regions.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")

    def expect(self, need: int) -> None:
        """Make room for runs that need up to ``need`` bytes at a time, by their memory plan.

        Does nothing where a larger need came before. Must not be called during a run.
        """
        if not self.shared or need <= self._largest:
            return
        self._largest = need
        self.release()
        self._reserve(int(need * ROOM))

    def release(self) -> None:
        """Give back to the system all that no run is using."""
        if not self.shared:
            return
        device = "cpu" if self.context.device_type == "cpu" else "gpu"
        options = ort.RunOptions()
        options.add_run_config_entry(
            "memory.enable_memory_arena_shrinkage", f"{device}:{self.context.device_id}"
        )
        self._ask(0, options)
        self.reserved = 0
        trim()

    def _reserve(self, size: int) -> None:
        rows = -(-size // (4 * _WIDTH))
        options = ort.RunOptions()
        options.log_severity_level = 4  # the refusal is no news
        with suppress(Exception):  # the runtime's exceptions have no common base
            self._ask(rows, options)
        self.reserved = rows * 4 * _WIDTH
        self.growths += 1

    def _ask(self, rows: int, options: Any) -> None:
        """Run a model that asks the arena for ``rows`` rows and refuses to fill them."""
        if self._keeper is None:
            self._keeper = ort.InferenceSession(
                _request_model(), self._options(), providers=[provider_of(self.context)]
            )
            self._binding = self._keeper.io_binding()
            self._binding.bind_ortvalue_output("sum", _value(self._result))
            self._binding.bind_ortvalue_input("table", _value(self._table))
        self._numbers = np.full(rows, 1, np.int64)  # the table has row 0 only
        self._binding.bind_ortvalue_input("rows", _value(self._numbers))
        self._keeper.run_with_iobinding(self._binding, options)

    def _options(self) -> Any:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.use(options)
        return options


def _value(array: np.ndarray[Any, Any]) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(array)


def _request_model() -> bytes:
    g = Builder(new_graph("arena"))
    table = g.input("table", (1, _WIDTH), ir.DataType.FLOAT)
    rows = ir.Value(name="rows", shape=ir.Shape(["n"]), type=ir.TensorType(ir.DataType.INT64))
    g.graph.inputs.append(rows)
    found = g.typed("Gather", ["n", _WIDTH], table, rows)
    total = g.typed("ReduceSum", (), found, keepdims=0)
    total.name = "sum"
    g.graph.outputs.append(total)
    model = ir.serde.serialize_model(ir.Model(g.graph, ir_version=IR_VERSION))
    return bytes(model.SerializeToString())


def _load_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None  # a C library other than glibc
    found.argtypes, found.restype = [ctypes.c_size_t], ctypes.c_int
    return found


_trim = _load_trim()


def trim() -> None:
    """Give free pages of the C heap back to the system, where the C library can."""
    if _trim is not None:
        _trim(0)


_arenas: dict[Context, Arena] = {}
_apart = False


def arena_of(context: Context) -> Arena:
    """The arena of a device; made at the first call, before the first session there."""
    if context.device_type == "cpu":
        context = cpu()  # there is one, whatever its contexts are called
    if context not in _arenas:
        _arenas[context] = Arena(context)
    return _arenas[context]


@contextmanager
def separate_arenas() -> Iterator[None]:
    """Sessions made inside the block have an arena each, as the runtime's default is.

    For comparisons, and to find out whether sharing is to blame for something.
    """
    global _apart  # noqa: PLW0603
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


def sharing() -> bool:
    """Whether a session made now takes its memory from the shared arena."""
    return not _apart
