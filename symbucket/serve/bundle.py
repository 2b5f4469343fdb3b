"""``Bundle``: serves exported networks, or those of a module that is being trained."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from symbucket.checks import check_integer, listing
from symbucket.context import Context, cpu
from symbucket.errors import StateError, UnsupportedError
from symbucket.export.spec import NetworkSpec
from symbucket.export.verify import open_bundle
from symbucket.html_tables import html_table
from symbucket.runtime import NDArray
from symbucket.runtime.providers import provider_of
from symbucket.serve.bound_run import Answer
from symbucket.serve.deadline import deadline_of
from symbucket.serve.engine import Engine, require_keys
from symbucket.serve.models import BundleModels, LiveModels, Model, Models
from symbucket.serve.route import counted_by_key, required
from symbucket.serve.session import Session
from symbucket.serve.statistics import KeyStatistics

if TYPE_CHECKING:
    from symbucket.module.compiled import CompiledModule


class Bundle:
    """Networks of several bucket keys that serve requests with one set of parameters.

    Args:
        folder: a bundle that ``module.export`` wrote. All its files are checked first; BundleError
            says why a damaged or hostile bundle is refused.
        context: where to run, ``cpu()`` by default.
        workers: runs at a time, each on one core; by default as many as there are cores. A run that
            has the machine to itself uses all cores.
        constants: let the runtime fold and pack the parameters, which makes runs faster; every
            session then has copies of those that products read. Without, all sessions read one set.
        table_bytes: the most memory that a network may take for tables of products: where an LSTM
            reads the rows of an Embedding, the products of all rows are computed once, if that
            makes runs faster. 0: never.
        map_parameters: map the parameter file and do not read it, so that processes share it; then
            nobody may write to the file or truncate it while it is served.

    ``run`` takes requests of any mixture of lengths and returns their outputs in the same order:
    each request goes to the smallest bucket that holds it, requests of one bucket share batches,
    and padding is cut off again. Sessions are created for their first request, or by ``load``. They
    take their activations from one arena. Threads may share a bundle.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        context: Context | None = None,
        *,
        workers: int | None = None,
        constants: bool = True,
        table_bytes: int = 64 << 20,
        map_parameters: bool = False,
    ) -> None:
        if workers is not None:
            check_integer(workers, "workers", 1)
        check_integer(table_bytes, "table_bytes", 0)
        self._folder: str | os.PathLike[str] | None = folder
        self._settings = (context or cpu(), workers, constants, table_bytes, map_parameters)
        self._swapping = threading.Lock()
        self._statistics: dict[Hashable, KeyStatistics] = {}
        self._adopt(*self._open(folder))

    @classmethod
    def live(
        cls,
        module: CompiledModule,
        keys: Iterable[Hashable] | None = None,
        *,
        batch_size: int | None = None,
        padding: Mapping[str, float] | None = None,
    ) -> Bundle:
        """Serve a module's networks from the very buffers that it trains.

        Each request is answered with the parameters of that moment; nothing is copied or written.
        The arguments are those of ``module.export``. Training and serving must take turns: during
        an update a request would see some old and some new parameters.
        """
        from symbucket.export.networks import default_key, live_networks_of, store_of

        store = store_of(module)
        networks = live_networks_of(module, keys, batch_size, padding)
        programs = {n.spec.key: n.program for n in networks}
        models = LiveModels(
            {
                key: Model(p.model, (), 0 if p.plan is None else p.plan.arena)
                for key, p in programs.items()
            }
        )
        specs = [n.spec for n in networks]
        bundle = cls.__new__(cls)
        bundle._folder = None
        bundle._swapping = threading.Lock()
        bundle._statistics = {}
        parameters = {**store.args, **store.aux}
        engine = bundle._engine_of(specs, models, parameters, store.context, 1)
        bundle._adopt(engine, default_key(module, specs), {})
        return bundle

    # Building --------------------------------------------------------------------------------

    def _open(self, folder: str | os.PathLike[str]) -> tuple[Engine, Hashable, dict[str, bytes]]:
        """Return the engine, default key and attachments of a bundle."""
        context, workers, constants, table_bytes, map_parameters = self._settings
        opened = open_bundle(folder, map_parameters)
        manifest = opened.manifest
        if manifest.mode != "inference":
            raise UnsupportedError(
                f"{str(folder)!r} holds training graphs, which Bundle does not serve: gradients "
                "belong to whole batches. Export with training=False."
            )
        on_host = provider_of(context).host_memory
        parameters = {
            name: NDArray.over(array) if on_host else NDArray.of(array, context)
            for name, array in opened.arrays.items()
        }
        models = BundleModels(opened, constants and on_host, table_bytes)
        engine = self._engine_of(manifest.networks, models, parameters, context, workers)
        return engine, manifest.default_key, opened.attachments

    def _engine_of(
        self,
        networks: Sequence[NetworkSpec],
        models: Models,
        parameters: Mapping[str, NDArray],
        context: Context,
        workers: int | None,
    ) -> Engine:
        for network in networks:
            self._statistics.setdefault(network.key, KeyStatistics())
        return Engine(networks, models, parameters, context, workers, self._statistics)

    def _adopt(self, engine: Engine, default: Hashable, attachments: dict[str, bytes]) -> None:
        self._engine = engine
        self.default_key = default
        self.attachments = attachments
        """Files that were exported with the networks, such as a vocabulary, by name."""

    def __repr__(self) -> str:
        source = "a module" if self._folder is None else repr(str(self._folder))
        return f"<Bundle of {source}: keys {listing(map(repr, self.keys))}>"

    def _repr_html_(self) -> str:
        rows = [("key", "batch", "inputs", "outputs", "requests")]
        counted = self.statistics()
        for key, network in self.networks.items():
            specs = (required(network), network.outputs)
            inputs, outputs = (", ".join(f"{t.name} {t.shape}" for t in many) for many in specs)
            batch = "-" if network.batch is None else str(network.batch)
            rows.append((repr(key), batch, inputs, outputs, f"{counted[key].requests:,}"))
        return html_table(rows, caption=repr(self)[1:-1], left=(0, 2, 3))

    @property
    def engine(self) -> Engine:
        """What answers requests now; another one after ``reload``."""
        return self._engine

    @property
    def networks(self) -> dict[Hashable, NetworkSpec]:
        """The network of each key: inputs, outputs, axes."""
        return self._engine.networks

    @property
    def context(self) -> Context:
        """Where the networks run."""
        return self._engine.context

    @property
    def workers(self) -> int:
        """How many runs there are at a time."""
        return self._engine.lanes.count

    @property
    def keys(self) -> list[Hashable]:
        """The bucket keys."""
        return list(self.networks)

    @property
    def loaded_keys(self) -> list[Hashable]:
        """The keys that have a session."""
        return self._engine.loaded_keys

    def load(self, keys: Iterable[Hashable] | None = None) -> None:
        """Create the sessions of ``keys`` (all by default) before their first request.

        Raises BundleError if the runtime refuses a network.
        """
        engine = self._engine
        selected = list(engine.networks) if keys is None else list(keys)
        require_keys(engine.networks, selected)
        engine.load(selected)

    def freeze(self) -> None:
        """Create no more sessions: a request for a key without a session is an error from now on.

        Call ``load`` first; then no request waits for a session, and memory stays as it is.
        """
        self._engine.frozen = True

    def reload(self, folder: str | os.PathLike[str] | None = None) -> None:
        """Serve what the folder holds now, or another folder, without a gap.

        The new bundle is checked, and has sessions for all keys that have one now, before the first
        request sees it; requests that have begun are answered by the old one. If it is refused,
        BundleError says why and the old one stays.
        """
        if self._folder is None:
            raise StateError("a live bundle serves its module's own parameters; nothing to reload")
        folder = self._folder if folder is None else folder
        with self._swapping:
            old = self._engine
            engine, default, attachments = self._open(folder)
            engine.load([key for key in old.loaded_keys if key in engine.networks])
            if old.frozen:
                engine.load(engine.networks)
                engine.frozen = True
            self._adopt(engine, default, attachments)
            self._folder = folder
        old.close()

    def close(self) -> None:
        """End the helper threads, after the runs that have begun.

        The bundle still answers, on no thread but the one that asks.
        """
        self._engine.close()

    def session(self, samples: int = 1) -> Session:
        """Return a session: states are carried from one of its requests to the next.

        ``samples`` requests run at a time, each with states of its own. UnsupportedError if the
        bundle was exported without ``carry_states``.
        """
        return Session(self._engine, check_integer(samples, "samples", 1))

    # Serving ---------------------------------------------------------------------------------

    def __call__(self, request: Any, timeout: float | None = None) -> Answer:
        """Return the outputs of one request, by name."""
        return self.run([request], timeout)[0]

    def run(self, requests: Iterable[Any], timeout: float | None = None) -> list[Answer]:
        """Return the outputs of requests, in their order.

        A request is a ``Request``, a mapping of input names to arrays, or a bare array if there is
        one input; always one sample, without the batch axis. All requests are placed before the
        first one runs: DataError or InvalidArgumentError names the one that fits nowhere. After
        ``timeout`` seconds runs are broken off, and DeadlineError is raised.
        """
        began = time.monotonic()
        deadline = deadline_of(timeout, began)
        engine = self._engine
        placed = engine.router.place_all(requests)
        answers = engine.run(placed, deadline)
        milliseconds = 1000 * (time.monotonic() - began)
        for key, count in counted_by_key(placed).items():
            self.record_latency(key, milliseconds, count)
        return answers

    # Statistics ------------------------------------------------------------------------------

    def statistics(self) -> dict[Hashable, KeyStatistics]:
        """Return what was served so far, by key; the objects continue to count."""
        return dict(self._statistics)

    def record_latency(self, key: Hashable, milliseconds: float, count: int = 1) -> None:
        """Count how long requests of this key took from their arrival to their answers."""
        self._statistics[key].latencies.record(milliseconds, count)

    def reset_statistics(self) -> None:
        """Start all counts from zero."""
        for key in list(self._statistics):
            self._statistics[key] = KeyStatistics()
