"""One ONNX Runtime session with a persistent binding of every input and output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from symbucket.context import Context
from symbucket.errors import DeviceError, InvalidArgumentError, StateError
from symbucket.runtime.arena import arena_of, sharing
from symbucket.runtime.backend import ort, provider_of
from symbucket.runtime.ndarray import NDArray


@dataclass
class _Wishes:
    """What the open ``profiling`` and ``threads`` blocks ask of every new session.

    One for the process, not one for a thread: sessions may be made in the background.
    """

    threads: int = 0
    folder: Path | None = None
    profiled: list[Session] = field(default_factory=list)


_wishes = _Wishes()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Sessions made inside the block run each node on ``count`` threads; 0: one for each core."""
    if count < 0:
        raise InvalidArgumentError(f"threads({count}): the count must be 0 (all cores) or more")
    before, _wishes.threads = _wishes.threads, count
    try:
        yield
    finally:
        _wishes.threads = before


@contextmanager
def profiling(folder: str | Path) -> Iterator[list[Path]]:
    """Sessions made inside the block write ONNX Runtime's profile into ``folder``.

    Gives a list that holds, once the block is left, one path for each session: JSON for Chrome's
    trace viewer, with an event for each node and run. Runs are slower while they are profiled.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    before = _wishes.folder, _wishes.profiled
    _wishes.folder, _wishes.profiled = target, []
    try:
        yield files
    finally:
        made = _wishes.profiled
        _wishes.folder, _wishes.profiled = before
        files += [session.end_profiling() for session in made]


def session_options() -> ort.SessionOptions:
    """The options of every session, each with its reason."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = _wishes.threads
    options.log_severity_level = 3
    # Our passes did the work. The runtime's own make steps no faster, take as long as the rest of
    # creating a session, and would undo the layouts that were chosen for large products.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # A pattern reserves one block for each session; buckets would add up.
    options.enable_mem_pattern = False
    # The memory plan holds for the compiler's order of nodes, and for buffers that are given back
    # when their value dies instead of being kept for a later value of the same shape.
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.enable_mem_reuse = False
    # Idle threads of the last bucket's session must not spin against the next one's.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


class Session:
    """A ready model on a context; ``run`` reads and writes the bound arrays.

    Every output must be bound before ``run``: outputs that the runtime allocates by itself would
    pin regions of the arena that all sessions share. ``need``: bytes of activations that a run
    takes at a time, by the memory plan; before the first run the arena makes room for them.
    """

    def __init__(self, model: bytes, context: Context, name: str, need: int = 0) -> None:
        self.name = name
        self.context = context
        self._need = need if sharing() else 0
        provider = provider_of(context)
        options = session_options()
        if sharing():
            arena_of(context).use(options)
        if _wishes.folder is not None:
            options.enable_profiling = True
            file = re.sub(r"[^\w.-]+", "_", name)
            options.profile_file_prefix = str(_wishes.folder / f"{len(_wishes.profiled)}-{file}")
        self._session = ort.InferenceSession(model, options, providers=[provider])
        if options.enable_profiling:
            _wishes.profiled.append(self)
        if provider[0] not in self._session.get_providers():
            # The runtime falls back to the CPU with a log line only; buffers are on the device.
            raise DeviceError(
                f"{context}: onnxruntime {ort.__version__} could not load {provider[0]} (CUDA or "
                "cuDNN libraries of another version are the usual cause)."
            )
        self.inputs = [i.name for i in self._session.get_inputs()]
        self.outputs = [o.name for o in self._session.get_outputs()]
        self._binding = self._session.io_binding()
        self._bound: dict[str, NDArray] = {}

    def bind_inputs(self, arrays: Mapping[str, NDArray]) -> None:
        """Bind inputs by name. Names that the model does not have are passed over."""
        for name in self.inputs:
            if name in arrays:
                self._binding.bind_ortvalue_input(name, arrays[name].ortvalue)
                self._bound[name] = arrays[name]

    def bind_outputs(self, arrays: Mapping[str, NDArray]) -> None:
        """Bind outputs by name; an array may also be bound as an input (update in place)."""
        for name in self.outputs:
            if name in arrays:
                self._binding.bind_ortvalue_output(name, arrays[name].ortvalue)
                self._bound["->" + name] = arrays[name]

    def end_profiling(self) -> Path:
        """Close the profile of a session made inside ``profiling`` and say where it is."""
        return Path(self._session.end_profiling())

    def run(self) -> None:
        """One run over the bound buffers."""
        if len(self._bound) != len(self.inputs) + len(self.outputs):
            missing = [n for n in self.inputs if n not in self._bound]
            missing += [n for n in self.outputs if "->" + n not in self._bound]
            raise StateError(f"session {self.name!r}: not bound yet: {', '.join(missing)}")
        if self._need:
            arena_of(self.context).expect(self._need)
            self._need = 0
        self._session.run_with_iobinding(self._binding)
