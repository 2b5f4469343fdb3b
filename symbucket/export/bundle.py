"""``Bundle``: serves exported networks, or those of a module that is being trained."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from symbucket.context import Context, cpu
from symbucket.errors import InvalidArgumentError, StateError, UnsupportedError
from symbucket.export.route import Placed, Router, check_served, cut, fill, required
from symbucket.export.spec import NetworkSpec, OutputSpec
from symbucket.export.statistics import KeyStatistics
from symbucket.export.verify import open_bundle
from symbucket.runtime import NDArray, Session
from symbucket.runtime.ndarray import aligned_empty
from symbucket.runtime.providers import provider_of
from symbucket.types import Array

if TYPE_CHECKING:
    from symbucket.module.compiled import CompiledModule

_LINE = 64  # bytes between the starts of buffers


@dataclass
class _Loaded:
    """A network's session with its buffers."""

    session: Session
    inputs: dict[str, NDArray]
    outputs: dict[str, NDArray]
    served: list[OutputSpec]


class Bundle:
    """Networks of several bucket keys that serve requests with one set of parameters.

    Args:
        folder: a bundle that ``module.export`` wrote. All its files are checked first; BundleError
            says why a damaged or hostile bundle is refused.
        context: where to run, ``cpu()`` by default.

    ``run`` takes requests of any mixture of lengths and returns their outputs in the same order:
    each request goes to the smallest bucket that holds it, requests of one bucket share batches,
    and padding is cut off again. Sessions are created for their first request, or by ``load``. They
    take their activations from one arena, as large as the largest of them needs. On the CPU they
    all read the parameters from the file itself, mapped into memory, and share one pool for inputs
    and outputs, since a lock lets only one run at a time. Threads may share a bundle.
    """

    def __init__(self, folder: str | os.PathLike[str], context: Context | None = None) -> None:
        opened = open_bundle(folder)
        if opened.manifest.mode != "inference":
            raise UnsupportedError(
                f"{str(folder)!r} holds training graphs, which Bundle does not serve: gradients "
                "belong to whole batches. Export with training=False."
            )
        device = context or cpu()
        parameters = {
            name: NDArray.over(array) if provider_of(device).host_memory else NDArray(array, device)
            for name, array in opened.arrays.items()
        }
        models, needs = opened.models, opened.needs
        self._begin(
            opened.manifest.networks,
            opened.manifest.default_key,
            lambda network: (models[network.file], needs[network.file]),
            parameters,
            device,
        )
        self.attachments.update(opened.attachments)

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
        from symbucket.export.networks import default_key, networks_of, store_of

        store = store_of(module)
        networks = networks_of(module, keys, "inference", batch_size, padding)
        programs = {n.spec.key: n.program for n in networks}
        models = {
            key: (p.model, 0 if p.plan is None else p.plan.arena) for key, p in programs.items()
        }
        specs = [n.spec for n in networks]
        bundle = cls.__new__(cls)
        bundle._begin(
            specs,
            default_key(module, specs),
            lambda network: models[network.key],
            {**store.args, **store.aux},
            store.context,
        )
        return bundle

    def _begin(
        self,
        networks: Sequence[NetworkSpec],
        default: Hashable,
        model_of: Callable[[NetworkSpec], tuple[bytes, int]],
        parameters: Mapping[str, NDArray],
        context: Context,
    ) -> None:
        self.networks = {n.key: n for n in networks}
        """The network of each key: inputs, outputs, axes."""
        self.default_key = default
        self.attachments: dict[str, bytes] = {}
        """Files that were exported with the networks, such as a vocabulary, by name."""
        self.context = context
        self._model_of = model_of
        self._parameters = parameters
        self._router = Router(networks)
        self._loaded: dict[Hashable, _Loaded] = {}
        self._statistics = {key: KeyStatistics() for key in self.networks}
        self._frozen = False
        self._lock = threading.RLock()
        self._pool: Array | None = None

    @property
    def keys(self) -> list[Hashable]:
        """The bucket keys."""
        return list(self.networks)

    @property
    def loaded_keys(self) -> list[Hashable]:
        """The keys that have a session."""
        return list(self._loaded)

    # Building --------------------------------------------------------------------------------

    def load(self, keys: Iterable[Hashable] | None = None) -> None:
        """Create the sessions of ``keys`` (all by default) before their first request."""
        selected = self.keys if keys is None else list(keys)
        unknown = [k for k in selected if k not in self.networks]
        if unknown:
            raise InvalidArgumentError(
                f"the bundle has no key {unknown[0]!r}; it has {', '.join(map(repr, self.keys))}"
            )
        with self._lock:
            for key in selected:
                self._session_of(self.networks[key])

    def freeze(self) -> None:
        """Create no more sessions: a request for a key without a session is an error from now on.

        Call ``load`` first; then no request waits for a session, and memory stays as it is.
        """
        self._frozen = True

    def _session_of(self, network: NetworkSpec) -> _Loaded:
        loaded = self._loaded.get(network.key)
        if loaded is not None:
            return loaded
        if self._frozen:
            raise StateError(
                f"the bundle is frozen and key {network.key!r} has no session; loaded are "
                f"{', '.join(map(repr, self._loaded)) or 'none'}. Call load() before freeze()."
            )
        began = time.perf_counter()
        served = check_served(network)
        model, need = self._model_of(network)
        session = Session(model, self.context, f"bundle key {network.key!r}", need)
        buffers = self._buffers(network)
        inputs = {t.name: next(buffers) for t in network.inputs}
        outputs = {t.name: next(buffers) for t in network.outputs}
        session.bind_inputs({**self._parameters, **inputs})
        session.bind_outputs(outputs)
        loaded = self._loaded[network.key] = _Loaded(session, inputs, outputs, served)
        spent = 1000 * (time.perf_counter() - began)
        self._statistics[network.key].build_milliseconds += spent
        return loaded

    def _buffers(self, network: NetworkSpec) -> Iterator[NDArray]:
        """Yield a buffer for each input and output; on the CPU all networks share the memory."""
        tensors = [*network.inputs, *network.outputs]
        if not provider_of(self.context).host_memory:
            for tensor in tensors:
                yield NDArray.empty(tensor.shape, tensor.dtype, self.context)
            return
        if self._pool is None:  # untouched pages cost nothing
            self._pool = aligned_empty((max(map(_needed, self.networks.values())),), np.uint8)
        start = 0
        for tensor in tensors:
            part = self._pool[start : start + tensor.nbytes]
            yield NDArray.over(part.view(tensor.dtype).reshape(tensor.shape))
            start += _padded(tensor.nbytes)

    # Serving ---------------------------------------------------------------------------------

    def __call__(self, request: Any) -> dict[str, Array]:
        """Return the outputs of one request, by name."""
        return self.run([request])[0]

    def run(self, requests: Iterable[Any]) -> list[dict[str, Array]]:
        """Return the outputs of requests, in their order.

        A request is a ``Request``, a mapping of input names to arrays, or a bare array if there is
        one input; always one sample, without the batch axis. All requests are placed before the
        first one runs: DataError or InvalidArgumentError names the one that fits nowhere.
        """
        listed = list(requests)
        placed = [self._router.place(r, f"request {i}") for i, r in enumerate(listed)]
        groups: dict[Hashable, list[int]] = {}
        for i, placement in enumerate(placed):
            groups.setdefault(placement.network.key, []).append(i)
        results: list[dict[str, Array]] = [{} for _ in listed]
        with self._lock:
            for key in groups:
                self._session_of(self.networks[key])
            for key, members in groups.items():
                step = self.networks[key].batch or 1
                for start in range(0, len(members), step):
                    chunk = members[start : start + step]
                    answers = self._run_batch(self.networks[key], [placed[i] for i in chunk])
                    for i, outputs in zip(chunk, answers):
                        results[i] = outputs
        return results

    def _run_batch(
        self, network: NetworkSpec, requests: Sequence[Placed]
    ) -> list[dict[str, Array]]:
        began = time.perf_counter()
        loaded = self._loaded[network.key]
        statistics = self._statistics[network.key]
        counted = {t.name for t in required(network)}
        used = positions = 0
        for spec in network.inputs:
            buffer = loaded.inputs[spec.name]
            host = buffer.view()
            written = fill(host, spec, [r.arrays.get(spec.name) for r in requests])
            if not provider_of(self.context).host_memory:
                buffer[...] = host
            if spec.name in counted:
                used, positions = used + written, positions + host.size
        loaded.session.run()
        values = {t.name: loaded.outputs[t.name].view() for t in loaded.served}
        results = [
            {t.name: cut(values[t.name], t, network, row, one.sizes) for t in loaded.served}
            for row, one in enumerate(requests)
        ]
        statistics.requests += len(requests)
        statistics.runs += 1
        statistics.used += used
        statistics.positions += positions
        statistics.milliseconds += 1000 * (time.perf_counter() - began)
        return results

    # Statistics ------------------------------------------------------------------------------

    def statistics(self) -> dict[Hashable, KeyStatistics]:
        """Return what was served so far, by key; the objects continue to count."""
        return dict(self._statistics)

    def reset_statistics(self) -> None:
        """Start all counts from zero."""
        with self._lock:
            self._statistics = {key: KeyStatistics() for key in self.networks}


def _padded(nbytes: int) -> int:
    return nbytes + -nbytes % _LINE


def _needed(network: NetworkSpec) -> int:
    return sum(_padded(t.nbytes) for t in [*network.inputs, *network.outputs])
