"""One ONNX Runtime session with a persistent binding of every input and output."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from symbucket.checks import one_line
from symbucket.context import Context
from symbucket.errors import (
    DeviceError,
    IndexingError,
    MemoryLimitError,
    StateError,
    SymbucketError,
    UnsupportedError,
)
from symbucket.runtime.arena import arena_of, sharing
from symbucket.runtime.backend import ort, session_provider
from symbucket.runtime.memory import check_memory
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.providers import provider_of
from symbucket.runtime.threads import session_threads
from symbucket.types import Array

NO_CONSTANTS: Mapping[str, Array] = MappingProxyType({})
_OUT_OF_MEMORY = re.compile("bad_alloc|[Ff]ailed to allocate memory|out of memory")
_OUT_OF_RANGE = re.compile("invalid index found|out of data bounds|index out of bounds")
_OUT_OF_RESOURCES = re.compile("Too many open files|Resource temporarily unavailable")


@dataclass
class _Settings:
    """Settings of the open ``profiling`` block for every new session.

    It belongs to the process, not to a thread: sessions may be created in the background.
    """

    folder: Path | None = None
    profiled: list[LoadedModel] = field(default_factory=list)


_settings = _Settings()


@contextmanager
def profiling(folder: str | Path) -> Iterator[list[Path]]:
    """Let sessions created in the block write ONNX Runtime's profile into ``folder``.

    Yields a list that holds one path for each session after the block: JSON for Chrome's trace
    viewer, with an event for each node and run. Profiled runs are slower.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    previous = _settings.folder, _settings.profiled
    _settings.folder, _settings.profiled = target, []
    try:
        yield files
    finally:
        models = _settings.profiled
        _settings.folder, _settings.profiled = previous
        files += [model.end_profiling() for model in models]


def session_options(
    threads: int | None = None, waits_awake: bool = False, runs_at_once: bool = False
) -> ort.SessionOptions:
    """Return the options of every session; each has its reason here.

    ``threads``: on how many threads it runs each node, in place of what an open ``threads`` block
    says. ``waits_awake``: whether its threads stay awake for a moment after a run.
    ``runs_at_once``: whether it does several runs at the same time.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = session_threads(threads)
    options.log_severity_level = 3
    # Our passes have done this work. The runtime's own passes make no step faster, take as long as
    # the rest of creating a session, and would undo the layouts chosen for large products.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # A memory pattern reserves one block for each run, and its own plan needs more than ours. But
    # runs at the same time would wait for each other's requests to the arena, one a node.
    options.enable_mem_pattern = runs_at_once
    # The memory plan holds for the compiler's order of nodes, and for buffers that are freed
    # when their value dies and not kept for a later value of the same shape.
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.enable_mem_reuse = False
    if not waits_awake:
        # Idle threads of one key's session must not compete with the threads of the next one's.
        options.add_session_config_entry("session.force_spinning_stop", "1")
    # Nodes follow each other within microseconds, so threads wait for the next one awake; but a
    # thread that waits longer than this waits for one that another process keeps off its core, and
    # must not take the core as well. onnxruntime 1.19 does not know the entry and ignores it.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "500")
    return options


def is_profiling() -> bool:
    """Return whether new sessions write a profile."""
    return _settings.folder is not None


class LoadedModel:
    """A model as the runtime has it, for one session or several.

    ``threads``, ``runs_at_once``: as for ``session_options``. Raises UnsupportedError or
    DeviceError if the runtime refuses it.
    """

    def __init__(
        self,
        model: bytes,
        context: Context,
        name: str,
        threads: int | None = None,
        runs_at_once: bool = False,
    ) -> None:
        provider = session_provider(context)
        options = session_options(threads, runs_at_once=runs_at_once)
        if sharing():
            arena_of(context).use(options)
        if _settings.folder is not None:
            options.enable_profiling = True
            file = re.sub(r"[^\w.-]+", "_", name)
            options.profile_file_prefix = str(
                _settings.folder / f"{len(_settings.profiled)}-{file}"
            )
        try:
            self.runtime = ort.InferenceSession(model, options, providers=[provider])
        except MemoryError:  # of Python, not of the runtime
            raise
        except Exception as error:  # the runtime's exceptions have no common base
            raise _creation_error(name, error) from error
        self.sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        """Those that run it."""
        if options.enable_profiling:
            _settings.profiled.append(self)
        if provider[0] not in self.runtime.get_providers():
            # The runtime falls back to the CPU with a log line only; buffers are on the device.
            hint = provider_of(context).load_hint
            raise DeviceError(
                f"{context}: onnxruntime {ort.__version__} could not load {provider[0]}"
                f"{hint and f' ({hint})'}."
            )
        self.inputs = [i.name for i in self.runtime.get_inputs()]
        self.outputs = [o.name for o in self.runtime.get_outputs()]

    def end_profiling(self) -> Path:
        """Close the profile of a model that was loaded in ``profiling``, and return its path."""
        return Path(self.runtime.end_profiling())


class Session:
    """A ready model on a context; ``run`` reads and writes the bound arrays.

    Every output must be bound before ``run``: outputs that the runtime allocates would pin regions
    of the arena that all sessions share. ``need``: the peak of a run's activations in bytes, from
    the memory plan; the arena makes room for it before the first run. ``threads``: as for
    ``session_options``. ``constants``: inputs that never change, by name.
    """

    def __init__(
        self,
        model: bytes | LoadedModel,
        context: Context,
        name: str,
        need: int = 0,
        threads: int | None = None,
        constants: Mapping[str, Array] = NO_CONSTANTS,
    ) -> None:
        self.name = name
        self.context = context
        self._need = need if sharing() else 0
        check_memory(self._need, f"a run of {name!r}")
        if isinstance(model, bytes):
            model = LoadedModel(model, context, name, threads)
        self.model = model
        model.sessions.add(self)
        self.inputs, self.outputs = model.inputs, model.outputs
        self._binding = model.runtime.io_binding()
        self._bound: dict[str, NDArray] = {}
        self._constants = {n: NDArray.over(array, context) for n, array in constants.items()}
        self.bind_inputs(self._constants)

    def bind_inputs(self, arrays: Mapping[str, NDArray]) -> None:
        """Bind inputs by name; names that the model does not have are ignored."""
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

    def twin(self) -> Session:
        """Return a session for runs of the same model over other arrays, at the same time."""
        twin = Session(self.model, self.context, self.name)
        twin._constants = self._constants
        twin.bind_inputs(self._constants)
        return twin

    def release(self) -> None:
        """Forget all bound arrays; every input and output must be bound again before ``run``."""
        self._bound.clear()
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        self.bind_inputs(self._constants)

    def make_room(self) -> None:
        """Let the arena have what a run needs, as ``run`` does; not while another one runs."""
        if self._need:
            arena_of(self.context).expect(self._need)
            self._need = 0

    def run(self) -> None:
        """Run once over the bound buffers."""
        if len(self._bound) != len(self.inputs) + len(self.outputs):
            missing = [n for n in self.inputs if n not in self._bound]
            missing += [n for n in self.outputs if "->" + n not in self._bound]
            raise StateError(f"session {self.name!r}: not bound yet: {', '.join(missing)}")
        self.make_room()
        try:
            self.model.runtime.run_with_iobinding(self._binding)
        except MemoryError:
            raise
        except Exception as error:
            raise _run_error(self.name, error) from error


def _creation_error(name: str, error: Exception) -> SymbucketError:
    text = f"session {name!r}: onnxruntime {ort.__version__} refuses the network: {one_line(error)}"
    return DeviceError(text) if _OUT_OF_RESOURCES.search(str(error)) else UnsupportedError(text)


def _run_error(name: str, error: Exception) -> SymbucketError:
    text = f"session {name!r}: the run failed: {one_line(error)}"
    if _OUT_OF_RANGE.search(str(error)):
        return IndexingError(f"{text}. Positions are computed in the network; keep them inside")
    if not _OUT_OF_MEMORY.search(str(error)):
        return SymbucketError(text)
    return MemoryLimitError(f"{text}. Use smaller batches or buckets, or raise the limit")


def run_model(
    model: bytes, inputs: Mapping[str, Array], *, log_failure: bool = True
) -> dict[str, Array]:
    """Run a model once on the CPU, with inputs of any size that it takes; return its outputs.

    ``log_failure=False`` keeps the runtime from logging the exception that it raises.
    """
    session = ort.InferenceSession(
        model, session_options(), providers=[session_provider(Context("cpu"))]
    )
    feeds = {i.name: inputs[i.name] for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    options = ort.RunOptions()
    if not log_failure:
        options.log_severity_level = 4
    return dict(zip(names, session.run(names, feeds, options)))
