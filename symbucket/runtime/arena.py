"""One arena of activations for all sessions of the process on a device.

By default every session has its own arena, and the memory of all keys adds up. Here one arena of
the runtime, registered once, serves all of them. It is set up as it is for these reasons:

* Regions of an arena never merge, and gradients of ignored rows are left out, so the same tensor
  has another size in every batch. In an arena of many regions, a new size may fit into no free
  chunk, and the arena grows for hundreds of steps (with six buckets to 2 or 3 times the largest
  one). In one region chunks merge, and best fit stays near the plan. So the arena is one region:
  the size that the memory plan promises, and some room.
* To reserve a region, a model asks for a tensor of that size which is never written: it gathers
  rows that do not exist, and the runtime refuses after it has allocated the result. What no run has
  touched costs address space and, for the arena's bookkeeping, 1/32 of its size.
* When a larger key comes, the free region is first returned (a run with the option
  ``memory.enable_memory_arena_shrinkage``) and the heap is trimmed; then a larger one is reserved,
  so the two never exist at the same time. That happens once for each key that is larger than all
  before.
* Regions extend by "same as requested" (arena_extend_strategy 1). The other strategy doubles, and
  never returns its first region.

The arena only saves memory. If it cannot be had, because another part of the program has registered
one with other settings, sessions use what there is, and results are the same.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.context import Context
from symbucket.ir import Builder, model_bytes, new_graph
from symbucket.runtime.backend import ort, session_provider
from symbucket.runtime.providers import provider_of

DEAD_BYTES = 65536
"""How many bytes the arena may leave unused in a chunk that it hands out."""

ROOM = 1.25
"""Size of a region relative to the plan. What is not touched costs nothing."""

_WIDTH = 1024  # floats in a row of the table for reservations


class Arena:
    """The arena of one device: ``use`` prepares session options, ``expect`` makes room."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.reserved = 0
        """Bytes of the region; 0 until one is needed."""
        self.growths = 0
        """How many times a region was reserved."""
        self.shared = self._register()
        """Whether this arena is registered; if not, sessions have what the runtime gives them."""
        self.needed = 0
        """The most bytes that a run needs, by the memory plans so far."""
        self._reserver: Any = None
        self._binding: Any = None
        # Outside the arena, where an output would pin a region.
        self._result = np.zeros(2, np.int64)
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
            provider = provider_of(self.context)
            if provider.host_memory:
                info = ort.OrtMemoryInfo(provider.arena, kind, 0, place)
                ort.create_and_register_allocator(info, settings)
            else:
                name, options = session_provider(self.context)
                info = ort.OrtMemoryInfo(provider.arena, kind, self.context.device_id, place)
                ort.create_and_register_allocator_v2(name, info, options, settings)
        except (RuntimeError, AttributeError):
            return False
        return True

    def use(self, options: Any) -> None:
        """Let a session created with these options take its memory here."""
        if not self.shared:
            return
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Constants live as long as their session; in the arena they would pin its regions.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")

    def expect(self, need: int) -> None:
        """Make room for runs with a peak of ``need`` bytes, from their memory plan.

        Do nothing if there was a larger need before. Must not be called during a run.
        """
        if not self.shared or need <= self.needed:
            return
        self.release()
        self._reserve(int(need * ROOM))
        self.needed = need

    def release(self) -> None:
        """Return all memory to the system that no run is using."""
        if not self.shared:
            return
        device = provider_of(self.context).run_device
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
        options.log_severity_level = 4  # the refusal is expected
        with suppress(Exception):  # the runtime's exceptions have no common base
            self._ask(rows, options)
        self.reserved = rows * 4 * _WIDTH
        self.growths += 1

    def _ask(self, rows: int, options: Any) -> None:
        """Run the model that allocates ``rows`` rows in the arena and fails to fill them."""
        if self._reserver is None:
            reserver = ort.InferenceSession(
                _request_model(), self._options(), providers=[session_provider(self.context)]
            )
            self._binding = reserver.io_binding()
            self._binding.bind_ortvalue_output("shape", _value(self._result))
            self._binding.bind_ortvalue_input("table", _value(self._table))
            self._reserver = reserver
        self._numbers = np.full(rows, 1, np.int64)  # the table has row 0 only
        self._binding.bind_ortvalue_input("rows", _value(self._numbers))
        self._reserver.run_with_iobinding(self._binding, options)

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
    gathered = g.typed("Gather", ["n", _WIDTH], table, rows)
    shape = g.typed("Shape", (2,), gathered, dtype=ir.DataType.INT64)
    shape.name = "shape"
    g.graph.outputs.append(shape)
    return model_bytes(g.graph)


def _load_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None  # a C library other than glibc
    malloc_trim.argtypes, malloc_trim.restype = [ctypes.c_size_t], ctypes.c_int
    return malloc_trim


_trim = _load_trim()


def trim() -> None:
    """Return free pages of the C heap to the system, if the C library can."""
    if _trim is not None:
        _trim(0)


_arenas: dict[Context, Arena] = {}
_separate = False


def arena_of(context: Context) -> Arena:
    """Return the arena of a device; the first call creates it, before the first session there."""
    provider = provider_of(context)
    if provider.host_memory:
        context = Context(provider.memory)  # there is one, whatever its contexts are called
    if context not in _arenas:
        _arenas[context] = Arena(context)
    return _arenas[context]


def planned_bytes() -> int:
    """Return what steps need of the arenas of this process, by their memory plans."""
    return sum(arena.needed for arena in _arenas.values())


@contextmanager
def separate_arenas() -> Iterator[None]:
    """Give every session created in the block its own arena, as the runtime does by default.

    For comparisons, and to find out whether sharing is the cause of a problem.
    """
    global _separate  # noqa: PLW0603
    previous, _separate = _separate, True
    try:
        yield
    finally:
        _separate = previous


def sharing() -> bool:
    """Return whether a session created now takes its memory from the shared arena."""
    return not _separate
