"""The engine of a bundle: sessions over one set of parameters, and runs on several lanes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from symbucket.checks import one_line
from symbucket.context import Context
from symbucket.errors import (
    BundleError,
    InvalidArgumentError,
    RuntimeMissingError,
    StateError,
    SymbucketError,
)
from symbucket.export.spec import BATCH, KEY, NetworkSpec, TensorSpec
from symbucket.runtime import NDArray
from symbucket.runtime.providers import provider_of
from symbucket.runtime.serving_session import Binding, ServingSession
from symbucket.serve.batch import Cutter, check_served, fill
from symbucket.serve.lanes import Lane, Lanes, padded
from symbucket.serve.machine import MachineLoad, cores
from symbucket.serve.route import Placed, Router, required
from symbucket.serve.statistics import KeyStatistics
from symbucket.types import Array

STATE = "state"
"""The kind of inputs and outputs that a session carries from request to request."""

Answer = dict[str, Array]
"""The outputs of one request, by name."""


@dataclass(frozen=True)
class Model:
    """A model to serve. ``constants`` are those of the parameters that are not its inputs.

    ``need`` are the bytes of activations that a run takes at a time.
    """

    content: bytes
    constants: tuple[str, ...]
    need: int


class _Loaded:
    """The sessions of a model, and how the outputs of one network are cut.

    With several lanes there are two: ``narrow`` runs on the thread that asks for it, ``wide`` is
    for a run that has the machine to itself.
    """

    def __init__(self, narrow: ServingSession, wide: ServingSession, network: NetworkSpec) -> None:
        self.narrow, self.wide = narrow, wide
        served = check_served(network)
        self.cutters = [Cutter(spec, network) for spec in served if spec.kind != STATE]
        self.state_cutters = [Cutter(spec, network) for spec in served if spec.kind == STATE]
        self.tensors: list[TensorSpec] = [*network.inputs, *network.outputs]
        counted = {spec.name for spec in required(network)}
        self.inputs = [(t.name, t.batch_axis, t.padding, t.name in counted) for t in network.inputs]
        self.free_batch, self.free_key = BATCH in network.free, KEY in network.free


@dataclass(frozen=True)
class _Chunk:
    """Requests that run together, by their positions in the list."""

    network: NetworkSpec
    members: list[int]
    length: int


class Engine:
    """Runs placed requests.

    Args:
        networks: what there is to serve.
        model_of: returns the model of a network; networks of one file have one.
        parameters: all parameters by name.
        context: where to run.
        workers: runs at a time, each on one core; None: as many as there are cores.
        statistics: counts by key, to continue.
    """

    def __init__(
        self,
        networks: Sequence[NetworkSpec],
        model_of: Callable[[NetworkSpec], Model],
        parameters: Mapping[str, NDArray],
        context: Context,
        workers: int | None,
        statistics: dict[Hashable, KeyStatistics],
    ) -> None:
        self.networks = {n.key: n for n in networks}
        self.router = Router(networks)
        self.context = context
        self._on_host = provider_of(context).host_memory
        self._sizes = {n.key: n.sizes[0] if n.sizes else 1 for n in networks}
        self._mixing = {n.key for n in networks if KEY in n.free and not n.padding_matters}
        self.frozen = False
        self._model_of = model_of
        self._parameters = parameters
        self._statistics = statistics
        if workers is None:
            workers = cores() if self._on_host else 1
        self.lanes = Lanes(workers, lambda: Lane(max(map(_needed, networks)), context))
        self._helpers: ThreadPoolExecutor | None = None
        self._loaded: dict[Hashable, _Loaded] = {}
        self._sessions: dict[str, tuple[ServingSession, ServingSession]] = {}
        self._counting = threading.Lock()
        self._load = MachineLoad()

    @property
    def loaded_keys(self) -> list[Hashable]:
        """The keys that have a session."""
        return list(self._loaded)

    def load(self, keys: Iterable[Hashable]) -> None:
        """Create the sessions of these keys, where there are none."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._loaded]
        if not missing:
            return
        if self.frozen:
            raise StateError(
                f"the bundle is frozen and key {missing[0]!r} has no session; loaded are "
                f"{', '.join(map(repr, self._loaded)) or 'none'}. Call load() before freeze()."
            )
        with self.lanes.all() as lane:
            for key in missing:
                if key not in self._loaded:
                    self._load_network(self.networks[key], lane)

    def _load_network(self, network: NetworkSpec, lane: Lane) -> None:
        began = time.perf_counter()
        check_served(network)
        narrow, wide = self._sessions.get(network.file) or self._create(network)
        loaded = _Loaded(narrow, wide, network)
        try:  # once over padding: some faults of a model show when it runs only
            samples, length = network.batch or 1, self._sizes[network.key]
            for session in dict.fromkeys((narrow, wide)):
                binding = self._bind(lane, loaded, session, network, samples, length)
                for name, axis, padding, _ in loaded.inputs:
                    self._fill(binding.arrays[name], axis, padding, [])
                session.run(binding)
        except (MemoryError, SymbucketError):
            raise
        except Exception as error:  # the runtime's exceptions have no common base
            raise BundleError(
                f"the network of key {network.key!r} fails to run: {one_line(error)}"
            ) from error
        if KEY in network.free:
            self._sessions[network.file] = narrow, wide
        self._loaded[network.key] = loaded
        spent = 1000 * (time.perf_counter() - began)
        self._statistics[network.key].build_milliseconds += spent

    def _create(self, network: NetworkSpec) -> tuple[ServingSession, ServingSession]:
        model = self._model_of(network)
        constants = {name: self._parameters[name] for name in model.constants}
        count = self.lanes.count
        try:
            wide = ServingSession(model.content, self.context, constants, 0, model.need * count)
            if count == 1:
                return wide, wide
            return ServingSession(model.content, self.context, constants, 1), wide
        except (MemoryError, SymbucketError, RuntimeMissingError):
            raise
        except Exception as error:  # the runtime's exceptions have no common base
            raise BundleError(
                f"the runtime refuses the network of key {network.key!r}: {one_line(error)}"
            ) from error

    # Running -------------------------------------------------------------------------------------

    def run(
        self, placed: Sequence[Placed], deadline: float | None = None, states: bool = False
    ) -> list[Answer]:
        """Return the answers to placed requests, in their order.

        ``deadline`` is a time of ``time.monotonic``; DeadlineError if it passes. With ``states``
        answers have the last states too, which are those after the longest request of a run.
        """
        if any(p.network.key not in self._loaded for p in placed):
            self.load(p.network.key for p in placed)
        if len(placed) == 1:
            chunk = _Chunk(placed[0].network, [0], self._length(placed[0]))
            with self.lanes.one(deadline) as (lane, alone):
                wide = alone and self._load.allows_threads()
                return self._run_chunk(lane, chunk, placed, wide, deadline, states)
        chunks = self._chunks(placed)
        answers: list[Answer] = [{} for _ in placed]
        work = deque(chunks)
        failures: list[BaseException] = []

        def serve() -> None:
            while not failures:
                try:
                    chunk = work.popleft()
                except IndexError:
                    return
                try:
                    with self.lanes.one(deadline) as (lane, alone):
                        wide = alone and len(chunks) == 1 and self._load.allows_threads()
                        requests = [placed[i] for i in chunk.members]
                        outputs = self._run_chunk(lane, chunk, requests, wide, deadline, states)
                    for i, answer in zip(chunk.members, outputs):
                        answers[i] = answer
                except BaseException as error:
                    failures.append(error)
                    raise

        helpers = min(self.lanes.count, len(chunks)) - 1
        if helpers > 0 and self._helpers is None:
            self._helpers = ThreadPoolExecutor(self.lanes.count, "symbucket-serve")
        futures = [self._helpers.submit(serve) for _ in range(helpers)] if self._helpers else []
        try:
            serve()
        finally:
            wait(futures)
        if failures:
            raise failures[0]
        return answers

    def _chunks(self, placed: Sequence[Placed]) -> list[_Chunk]:
        """Return the runs that the requests take, the longest first.

        Where padding changes nothing, requests of like lengths share a run of their own length.
        """
        groups: dict[Hashable, list[int]] = {}
        for i, one in enumerate(placed):
            network = one.network
            mixes = network.key in self._mixing
            groups.setdefault(network.file if mixes else network.key, []).append(i)
        chunks = []
        for members in groups.values():
            first = placed[members[0]].network
            if first.key in self._mixing:
                members.sort(key=lambda i: -placed[i].sizes.get(KEY, 1))
            step = first.batch or 1
            for start in range(0, len(members), step):
                part = members[start : start + step]
                longest = placed[part[0]]
                chunks.append(_Chunk(longest.network, part, self._length(longest)))
        chunks.sort(key=lambda chunk: -chunk.length)
        return chunks

    def _length(self, longest: Placed) -> int:
        """Return the number of steps of a run whose longest request this is."""
        key = longest.network.key
        if key in self._mixing:
            return max(1, longest.sizes.get(KEY, 1))
        return self._sizes[key]

    def _run_chunk(
        self,
        lane: Lane,
        chunk: _Chunk,
        requests: Sequence[Placed],
        wide: bool,
        deadline: float | None,
        states: bool,
    ) -> list[Answer]:
        began = time.perf_counter()
        network = chunk.network
        loaded = self._loaded[network.key]
        session = loaded.wide if wide else loaded.narrow
        samples = len(requests) if loaded.free_batch else network.batch or 1

        binding = self._bind(lane, loaded, session, network, samples, chunk.length)
        used = positions = 0
        for name, axis, padding, counted in loaded.inputs:
            buffer, arrays = binding.arrays[name], [r.arrays.get(name) for r in requests]
            written = self._fill(buffer, axis, padding, arrays)
            if counted:
                used, positions = used + written, positions + buffer.size
        left = None if deadline is None else deadline - time.monotonic()
        try:
            session.run(binding, left)
        except (MemoryError, SymbucketError):
            raise
        except Exception as error:  # the runtime's exceptions have no common base
            raise SymbucketError(
                f"a run of key {network.key!r} failed: {one_line(error)}"
            ) from error
        run = {BATCH: samples, KEY: chunk.length} if loaded.free_key else {BATCH: samples}
        answers: list[Answer] = [{} for _ in requests]
        for cutter in loaded.cutters + (loaded.state_cutters if states else []):
            values = cutter.expand(binding.arrays[cutter.name].view(), run)
            for row, (answer, request) in enumerate(zip(answers, requests)):
                answer[cutter.name] = cutter.cut(values, row, request.sizes)
        spent = 1000 * (time.perf_counter() - began)
        with self._counting:
            share = spent / len(requests)
            for request in requests:
                self._statistics[request.network.key].count(share)
            self._statistics[network.key].count_run(used, positions)
        return answers

    def _fill(
        self, buffer: NDArray, axis: int | None, padding: float, values: Sequence[Array | None]
    ) -> int:
        host = buffer.view()
        written = fill(host, axis, padding, values)
        if not self._on_host:
            buffer[...] = host
        return written

    def _bind(
        self,
        lane: Lane,
        loaded: _Loaded,
        session: ServingSession,
        network: NetworkSpec,
        samples: int,
        length: int,
    ) -> Binding:
        """Return the binding of a session for runs of this size on a lane."""

        def make() -> Binding:
            shapes = [network.shape_of(t, samples, length) for t in loaded.tensors]
            return session.bind({**self._parameters, **lane.buffers(loaded.tensors, shapes)})

        place = network.file if loaded.free_key else network.key
        return lane.binding((id(session), place, samples, length), make)

    def close(self) -> None:
        """End the helper threads; runs that have begun end first."""
        if self._helpers is not None:
            self._helpers.shutdown()


def _needed(network: NetworkSpec) -> int:
    return sum(padded(t.nbytes) for t in [*network.inputs, *network.outputs])


def require_keys(networks: Mapping[Hashable, NetworkSpec], keys: Iterable[Hashable]) -> None:
    """Raise InvalidArgumentError if one of the keys is not among the networks."""
    for key in keys:
        if key not in networks:
            raise InvalidArgumentError(
                f"the bundle has no key {key!r}; it has {', '.join(map(repr, networks))}"
            )
