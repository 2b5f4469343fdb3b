"""A session for inference: parameters are constants, and threads may run it at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from symbucket.context import Context
from symbucket.errors import DeadlineError
from symbucket.runtime.arena import arena_of, sharing
from symbucket.runtime.backend import ort, session_provider
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.session import session_options

# It gives two of the nodes that it makes one name (onnxruntime 1.19).
_FAULTY_PASSES = ["GatherSliceToSplitFusion"]


class Binding:
    """The arrays that a run reads and writes."""

    def __init__(self, session: Any, arrays: Mapping[str, NDArray]) -> None:
        self.arrays = arrays
        self._binding = session.io_binding()
        for value in session.get_inputs():
            self._binding.bind_ortvalue_input(value.name, arrays[value.name].ortvalue)
        for value in session.get_outputs():
            self._binding.bind_ortvalue_output(value.name, arrays[value.name].ortvalue)

    def run(self, session: Any, options: Any) -> None:
        """Run once."""
        session.run_with_iobinding(self._binding, options)


class ServingSession:
    """A model that only serves.

    Args:
        model: its parameters are inputs, or initializers without values.
        context: where to run.
        constants: the values of these initializers. The runtime folds what depends on nothing else,
            packs weights for its products, and keeps copies; the arrays may be dropped afterwards.
        threads: of each run; with 1 a run stays on the thread that asks for it. 0: one per core.
        need: the bytes of activations of all runs that there may be at a time.
        loops: whether most of its nodes are steps of a loop. They would take memory thousands of
            times in a run, and threads that run at the same time wait for each other at the arena;
            so its nodes keep theirs for the next one.
        waits_awake: whether its threads stay awake for a moment after a run, for the next one.
    """

    def __init__(
        self,
        model: bytes,
        context: Context,
        constants: Mapping[str, NDArray],
        threads: int = 0,
        need: int = 0,
        *,
        loops: bool = False,
        waits_awake: bool = False,
    ) -> None:
        options = session_options(threads or None, waits_awake)
        disabled = None
        if constants:
            # With constants the runtime's own passes have something to fold and to fuse.
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
            names, arrays = list(constants), list(constants.values())
            options.add_external_initializers(names, [array.ortvalue for array in arrays])
            disabled = _FAULTY_PASSES
        if loops:
            options.enable_mem_reuse = True
        if sharing():
            arena_of(context).use(options)
            arena_of(context).expect(need)
        self._session = ort.InferenceSession(
            model, options, providers=[session_provider(context)], disabled_optimizers=disabled
        )

    def bind(self, arrays: Mapping[str, NDArray]) -> Binding:
        """Return a binding of every input and output, by name."""
        return Binding(self._session, arrays)

    def run(self, binding: Binding, seconds: float | None = None) -> None:
        """Run once over bound arrays; after ``seconds`` it is broken off with DeadlineError."""
        if seconds is None:
            binding.run(self._session, None)
            return
        options = ort.RunOptions()
        options.log_severity_level = 4
        passed = threading.Event()

        def stop() -> None:
            passed.set()
            options.terminate = True

        with _After(seconds, stop):
            try:
                binding.run(self._session, options)
            except Exception:  # the runtime's exceptions have no common base
                if not passed.is_set():
                    raise
                raise DeadlineError(
                    "a run was broken off: the time of its requests is up after "
                    f"{max(seconds, 0):.3g} s"
                ) from None


class _After:
    """Calls a function if the block takes longer than so many seconds."""

    def __init__(self, seconds: float, function: Callable[[], None]) -> None:
        self._timer = threading.Timer(max(0.0, seconds), function)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
