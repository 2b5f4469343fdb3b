"""The engine of a bundle: sessions over one set of parameters, and runs on several lanes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from symbucket.checks import one_line
from symbucket.context import Context
from symbucket.errors import (
    BundleError,
    InvalidArgumentError,
    RuntimeMissingError,
    StateError,
    SymbucketError,
)
from symbucket.export.spec import BATCH, KEY, NetworkSpec
from symbucket.runtime import NDArray
from symbucket.runtime.providers import provider_of
from symbucket.runtime.serving_session import ServingSession
from symbucket.serve.bound_run import Answer, BoundRun, Ends
from symbucket.serve.chunks import ROOM, Chunk, Chunker
from symbucket.serve.lanes import Lane, Lanes, padded
from symbucket.serve.machine import ThreadChoice, cores
from symbucket.serve.models import Model, Models
from symbucket.serve.route import Placed, Router, counted_by_key
from symbucket.serve.statistics import KeyStatistics


@dataclass(frozen=True)
class _Sessions:
    """The sessions of a model.

    With several lanes there are two: ``narrow`` runs on the thread that asks for it, ``wide`` is
    for a run that has the machine to itself. ``lookup`` runs as narrow does, the form of the model
    that looks up products, for ``rows`` samples and more; ``tables`` are what it looks up.
    ``choices`` are for runs that have the machine to themselves: of several requests, and of one.
    """

    narrow: ServingSession
    wide: ServingSession
    lookup: ServingSession | None = None
    tables: Mapping[str, NDArray] = field(default_factory=dict)
    rows: int = 0
    choices: tuple[ThreadChoice, ThreadChoice] = field(
        default_factory=lambda: (ThreadChoice(), ThreadChoice())
    )

    def __iter__(self) -> Iterator[ServingSession]:
        """Yield each session once."""
        return iter(dict.fromkeys(s for s in (self.narrow, self.wide, self.lookup) if s))

    def choose(self, samples: int, wide: bool) -> ServingSession:
        """Return the session for a run."""
        if wide:
            return self.wide
        if self.lookup is not None and samples >= self.rows:
            return self.lookup
        return self.narrow


@dataclass(frozen=True)
class _Loaded:
    """The sessions of a network, and its inputs and outputs."""

    sessions: _Sessions
    ends: Ends


class Engine:
    """Runs placed requests.

    Args:
        networks: what there is to serve.
        models: theirs.
        parameters: all parameters by name.
        context: where to run.
        workers: runs at a time, each on one core; None: as many as there are cores.
        statistics: counts by key, to continue.
    """

    def __init__(
        self,
        networks: Sequence[NetworkSpec],
        models: Models,
        parameters: Mapping[str, NDArray],
        context: Context,
        workers: int | None,
        statistics: dict[Hashable, KeyStatistics],
    ) -> None:
        self.networks = {n.key: n for n in networks}
        self.router = Router(networks, {n.key: models.hiding_nan(n) for n in networks})
        self.context = context
        self._on_host = provider_of(context).host_memory
        self.frozen = False
        self._models = models
        self._parameters = parameters
        self._statistics = statistics
        if workers is None:
            workers = cores() if self._on_host else 1
        self.lanes = Lanes(workers, lambda: Lane(max(map(_needed, networks)), context))
        self._chunker = Chunker(networks, workers)
        self._helpers: ThreadPoolExecutor | None = None
        self._helping = threading.Lock()
        self._closed = False
        self._loaded: dict[Hashable, _Loaded] = {}
        self._sessions: dict[str, _Sessions] = {}
        self._counting = threading.Lock()

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
        ends = Ends(network)  # refuses what cannot be served
        loaded = _Loaded(self._sessions.get(network.file) or self._create(network), ends)
        try:  # once over padding: some faults of a model show when it runs only
            samples, length = network.batch or 1, self._chunker.size_of(network)
            for session in loaded.sessions:
                run = self._bound(lane, loaded, session, samples, length)
                run.fill([])
                run.run(None)
        except (MemoryError, SymbucketError):
            raise
        except Exception as error:  # the runtime's exceptions have no common base
            raise BundleError(
                f"the network of key {network.key!r} fails to run: {one_line(error)}"
            ) from error
        if KEY in network.free:
            self._sessions[network.file] = loaded.sessions
        self._loaded[network.key] = loaded
        spent = 1000 * (time.perf_counter() - began)
        self._statistics[network.key].build_milliseconds += spent

    def _create(self, network: NetworkSpec) -> _Sessions:
        count = self.lanes.count
        # Threads of one file's session would compete with those of the next one's.
        one_file = len({n.file for n in self.networks.values()}) == 1
        try:
            model = self._models.of(network)
            wide = self._session(model, 0, need=model.need * count, waits_awake=one_file)
            narrow = wide if count == 1 else self._session(model, 1)
            form = self._models.lookup_form(network) if count > 1 or cores() == 1 else None
            if form is None:
                return _Sessions(narrow, wide)
            lookup = self._session(form.model, 1, loops=True)
            return _Sessions(narrow, wide, lookup, form.tables, form.rows)
        except (MemoryError, SymbucketError, RuntimeMissingError):
            raise
        except Exception as error:  # the runtime's exceptions have no common base
            raise BundleError(
                f"the runtime refuses the network of key {network.key!r}: {one_line(error)}"
            ) from error

    def _session(self, model: Model, threads: int, **settings: Any) -> ServingSession:
        constants = {name: self._parameters[name] for name in model.constants}
        return ServingSession(model.content, self.context, constants, threads, **settings)

    # Running -------------------------------------------------------------------------------------

    def run(
        self, placed: Sequence[Placed], deadline: float | None = None, states: bool = False
    ) -> list[Answer]:
        """Return the answers to placed requests, in their order.

        ``deadline`` is a time of ``time.monotonic``; DeadlineError if it passes. With ``states``
        answers have the last states too, which are those after the longest request of a run.
        """
        if len(placed) == 1:
            if placed[0].network.key not in self._loaded:
                self.load([placed[0].network.key])
            chunk = self._chunker.alone(placed[0])
            return self._run_on_a_lane(chunk, placed, deadline, states, alone=True)
        if not {p.network.key for p in placed} <= self._loaded.keys():
            self.load(p.network.key for p in placed)
        chunks = self._chunker.split(placed)
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
                    requests = [placed[i] for i in chunk.members]
                    alone = len(chunks) == 1
                    outputs = self._run_on_a_lane(chunk, requests, deadline, states, alone)
                    for i, answer in zip(chunk.members, outputs):
                        answers[i] = answer
                except BaseException as error:
                    failures.append(error)
                    raise

        futures = self._start_helpers(serve, min(self.lanes.count, len(chunks)) - 1)
        try:
            serve()
        finally:  # helpers that have not begun, because they still help others, are not needed
            wait([future for future in futures if not future.cancel()])
        if failures:
            raise failures[0]
        return answers

    def _start_helpers(self, serve: Callable[[], None], count: int) -> list[Future[None]]:
        """Let so many helper threads do the same as this one; none do after ``close``."""
        with self._helping:
            if count < 1 or self._closed:
                return []
            if self._helpers is None:
                self._helpers = ThreadPoolExecutor(self.lanes.count, "symbucket-serve")
            return [self._helpers.submit(serve) for _ in range(count)]

    def _run_on_a_lane(
        self,
        chunk: Chunk,
        requests: Sequence[Placed],
        deadline: float | None,
        states: bool,
        alone: bool,
    ) -> list[Answer]:
        """Return the answers of a run; ``alone``: this call does no other run."""
        lane, idle = self.lanes.borrow(deadline)
        try:
            return self._run_chunk(lane, chunk, requests, alone and idle, deadline, states)
        finally:
            self.lanes.give_back(lane)

    def _run_chunk(
        self,
        lane: Lane,
        chunk: Chunk,
        requests: Sequence[Placed],
        alone: bool,
        deadline: float | None,
        states: bool,
    ) -> list[Answer]:
        """Return the answers of a run; ``alone``: it has the machine to itself."""
        began = time.perf_counter()
        network = chunk.network
        loaded = self._loaded[network.key]
        choice = loaded.sessions.choices[len(requests) == 1] if alone else None
        wide = choice is not None and choice.splits()
        session = loaded.sessions.choose(len(requests), wide)
        samples = len(requests) if BATCH in network.free else network.batch or 1
        run = self._bound(lane, loaded, session, samples, chunk.length)
        used = run.fill(requests)
        left = None if deadline is None else deadline - time.monotonic()
        started = time.perf_counter()
        try:
            run.run(left)
        except (MemoryError, SymbucketError):
            raise
        except Exception as error:  # the runtime's exceptions have no common base
            raise SymbucketError(
                f"a run of key {network.key!r} failed: {one_line(error)}"
            ) from error
        if choice is not None:
            choice.record(wide, chunk.length, time.perf_counter() - started)
        answers = run.answers(requests, states)
        spent = 1000 * (time.perf_counter() - began)
        with self._counting:
            share = spent / len(requests)
            for key, count in counted_by_key(requests).items():
                self._statistics[key].count(count, count * share)
            self._statistics[network.key].count_run(used, run.positions)
        return answers

    def _bound(
        self, lane: Lane, loaded: _Loaded, session: ServingSession, samples: int, length: int
    ) -> BoundRun:
        """Return what runs of a session and of this size need on a lane."""
        ends = loaded.ends
        network = ends.network

        def make() -> BoundRun:
            buffers = lane.buffers(ends.tensors, ends.shapes(samples, length))
            arrays = {**self._parameters, **loaded.sessions.tables, **buffers}
            return BoundRun(session, arrays, ends, ends.sizes(samples, length), self._on_host)

        place = network.file if KEY in network.free else network.key
        return lane.bound((id(session), place, samples, length), make)

    def close(self) -> None:
        """End the helper threads; runs that have begun end first, later ones have no helpers."""
        with self._helping:
            self._closed = True
        if self._helpers is not None:
            self._helpers.shutdown()


def _needed(network: NetworkSpec) -> int:
    """Return the bytes of inputs and outputs of the largest run."""
    room = ROOM if BATCH in network.free else 1
    return sum(room * padded(t.nbytes) for t in [*network.inputs, *network.outputs])


def require_keys(networks: Mapping[Hashable, NetworkSpec], keys: Iterable[Hashable]) -> None:
    """Raise InvalidArgumentError if one of the keys is not among the networks."""
    for key in keys:
        if key not in networks:
            raise InvalidArgumentError(
                f"the bundle has no key {key!r}; it has {', '.join(map(repr, networks))}"
            )
