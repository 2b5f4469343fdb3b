"""Route requests to networks."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from symbucket.checks import listing
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.export.keys import sizes_of
from symbucket.export.spec import BATCH, KEY, InputSpec, NetworkSpec, part_of
from symbucket.serve.request_values import ValueCheck
from symbucket.types import Array

_NUMBERS = "biuf"  # kinds of dtypes


@dataclass(frozen=True)
class Request:
    """One sample to run.

    ``inputs`` maps input names to arrays without the batch axis; each may be shorter than the
    bucket along the bucket's axes. ``key`` says which network: a size (or tuple of sizes) goes to
    the smallest bucket that holds it, any other key to the network of that key. Without a key the
    arrays' own sizes decide.
    """

    inputs: Mapping[str, Any]
    key: Hashable = None


class Placed(NamedTuple):
    """A request with the network that serves it.

    ``sizes`` are its own sizes in the key's parts. ``shared`` are the values of inputs that all
    requests of a run have in common; None if there are no such inputs.
    """

    network: NetworkSpec
    arrays: Mapping[str, Array]
    sizes: Mapping[str, int]
    shared: Hashable = None


class _Form:
    """Requirements of a network on a request, in the form in which they are looked up quickly."""

    def __init__(self, network: NetworkSpec, hiding_nan: frozenset[str]) -> None:
        self.network = network
        self.hiding_nan = hiding_nan
        self.checks = {
            t.name: ValueCheck(t, network.key, t.name in hiding_nan) for t in network.inputs
        }
        self.required = [t.name for t in required(network)]
        self.inputs = {t.name: t for t in network.inputs}
        self.axes: dict[str, list[tuple[str | None, int]]] = {}
        for spec in network.inputs:
            labels = [(a, d) for a, d in zip(spec.axes, spec.shape) if a != BATCH]
            sized = [(a if a and a.startswith(KEY) else None, d) for a, d in labels]
            self.axes[spec.name] = sized
        shares = network.batch is not None and network.batch > 1
        self.shared = [t.name for t in network.inputs if shares and t.batch_axis is None]

    def place(self, arrays: Mapping[str, Array], sizes: Mapping[str, int]) -> Placed:
        """Return arrays that fit, with their sizes, as a request of this network."""
        shared: Hashable = None
        if self.shared:
            shared = tuple(
                (name, arrays[name].dtype, arrays[name].shape, arrays[name].tobytes())
                for name in self.shared
                if name in arrays
            )
        return Placed(self.network, arrays, sizes, shared)

    def fit(self, arrays: Mapping[str, Array]) -> tuple[dict[str, int] | None, str]:
        """Return the request's sizes by factor (``"key[0]"``), or None and why it does not fit."""
        for name in self.required:
            if name not in arrays:
                missing = [n for n in self.required if n not in arrays]
                return None, f"the request lacks {', '.join(missing)}"
        sizes: dict[str, int] = {}
        for name, array in arrays.items():
            axes = self.axes.get(name)
            if axes is None:
                listed = ", ".join(self.inputs) or "none"
                return None, f"there is no input {name!r}; there are {listed}"
            shape = array.shape
            if len(shape) != len(axes):
                return None, f"{name} has shape {shape}, expected {_sizes(axes)} of one sample"
            for have, (factor, size) in zip(shape, axes):
                if factor is None:
                    if have != size:
                        return None, f"{name} has shape {shape}, expected {_sizes(axes)}"
                elif have == 0:
                    return None, f"{name} has shape {shape}, which holds nothing"
                elif have > size:
                    return None, f"{name} has shape {shape}, longer than {_sizes(axes)}"
                elif sizes.setdefault(factor, have) != have:
                    return None, f"{name} has size {have} where another input has {sizes[factor]}"
        return sizes, ""

    def check_values(self, arrays: Mapping[str, Array], where: str) -> None:
        """Raise DataError for values that the network does not take."""
        for name, array in arrays.items():
            self.checks[name].check(array, where)

    @property
    def family(self) -> object:
        """What networks have in common that differ only in their length."""
        sized = [(name, tuple((f, f or d) for f, d in axes)) for name, axes in self.axes.items()]
        values = [(t.dtype, t.limits) for t in self.network.inputs]
        return self.required, sized, values, self.hiding_nan


class _Names:
    """Which integers in keys are names, such as a task's number, since no axis has that size.

    Keys of one form (an integer, or a tuple of so many) are looked at together.
    """

    def __init__(self, networks: Sequence[NetworkSpec]) -> None:
        self._measured: dict[Hashable, set[int]] = {}
        for network in networks:
            if network.sizes is not None:
                parts = self._measured.setdefault(_form_of(network.key), set())
                for tensor in (*network.inputs, *network.outputs):
                    for axis in range(len(tensor.shape)):
                        parts.update(map(part_of, tensor.factors(axis)))
        for parts in self._measured.values():
            parts.discard(-1)
        self.differ = len({self.of(n) for n in networks if self.has_sizes(n)}) > 1

    def has_sizes(self, network: NetworkSpec) -> bool:
        """Return whether part of a network's key is a size."""
        return network.sizes is not None and self.has_sizes_of(network.key)

    def has_sizes_of(self, key: Hashable) -> bool:
        """Return whether part of a key of integers is a size, or such keys do not occur."""
        return bool(self._measured.get(_form_of(key), True))

    def of(self, network: NetworkSpec) -> Hashable:
        """Return the form and the names of a network's key."""
        return self.of_key(network.key)

    def of_key(self, key: Hashable) -> Hashable:
        """Return the form and the names of a key of integers."""
        form = _form_of(key)
        parts = self._measured.get(form, ())
        return form, tuple(n for i, n in enumerate(sizes_of(key) or ()) if i not in parts)


def _form_of(key: Hashable) -> Hashable:
    """Return what the keys have in common whose integers mean the same."""
    return len(key) if isinstance(key, tuple) else None


class Router:
    """Chooses the networks that serve requests.

    Args:
        networks: what there is to serve.
        hiding_nan: for keys the inputs from whose NaN the runtime would compute numbers.
    """

    def __init__(
        self, networks: Sequence[NetworkSpec], hiding_nan: Mapping[Hashable, frozenset[str]]
    ) -> None:
        self._forms = {n.key: _Form(n, hiding_nan[n.key]) for n in networks}
        self._names = _Names(networks)
        sized = [f for f in self._forms.values() if self._names.has_sizes(f.network)]
        self._sized = sorted(sized, key=lambda f: _order_of(f.network))
        self._only = next(iter(self._forms.values())) if len(networks) == 1 else None
        keys = [f.network.key for f in self._sized]
        one_family = all(f.family == self._sized[0].family for f in self._sized)
        plain = one_family and not any(isinstance(key, tuple) for key in keys)
        self._lengths: list[Any] = keys if plain else []
        self._required = sorted(
            {n for f in self._sized or self._forms.values() for n in f.required}
        )

        self._by_steps: dict[int, tuple[NetworkSpec, Mapping[str, int]]] = {}
        """The network and the sizes of a vector of so many steps."""
        self._longest = 0  # of a request that is one vector; 0 if requests are something else
        one_input = self._lengths and len(self._required) == len(self._sized[-1].inputs) == 1
        if one_input and not any(form.shared for form in self._sized):
            (axes,) = self._sized[-1].axes.values()
            if [factor for factor, _ in axes] == [KEY]:
                self._longest = axes[0][1]

    def place(self, request: Any, where: str) -> Placed:
        """Return the smallest network that fits; DataError or InvalidArgumentError if none does.

        ``request`` is a Request, a mapping of arrays, or one array.
        """
        placed = self._fit(request, where)
        self._forms[placed.network.key].check_values(placed.arrays, where)
        return placed

    def place_all(self, requests: Iterable[Any]) -> list[Placed]:
        """Return where each request of a list is served; errors are those of ``place``."""
        each = listed(requests)
        placed = self._place_vectors(each)
        if placed is None:
            placed = [self._fit(request, f"request {i}") for i, request in enumerate(each)]
        if len(placed) == 1 or not self._takes_values(placed):
            for i, one in enumerate(placed):
                self._forms[one.network.key].check_values(one.arrays, f"request {i}")
        return placed

    def _place_vectors(self, requests: Sequence[Any]) -> list[Placed] | None:
        """Return where arrays of one axis, the key's, are served: the usual list, in little time.

        None if a request is something else, or fits nowhere.
        """
        if not self._longest:
            return None
        (name,), placed = self._required, []
        for one in requests:
            if not (type(one) is np.ndarray and one.ndim == 1 and one.dtype.kind in _NUMBERS):
                return None
            steps = len(one)
            if steps not in self._by_steps:
                if not 0 < steps <= self._longest:
                    return None
                form = self._sized[bisect.bisect_left(self._lengths, steps)]
                self._by_steps[steps] = form.network, {KEY: steps}
            network, sizes = self._by_steps[steps]
            placed.append(Placed(network, {name: one}, sizes))
        return placed

    def _takes_values(self, placed: Sequence[Placed]) -> bool:
        """Look at the values of all requests at once; return whether they are seen to be good."""
        if not self._lengths or len(self._sized) < len(self._forms):
            return False  # networks that may differ in the values that they take
        for name in self._sized[0].inputs:
            arrays = [one.arrays[name] for one in placed if name in one.arrays]
            if len({array.dtype for array in arrays}) > 1:
                return False
            if arrays:
                joined = np.concatenate(arrays, axis=None)
                try:
                    self._sized[0].check_values({name: joined}, name)
                except DataError:
                    return False  # of which request, a look at each will tell
        return True

    def _fit(self, request: Any, where: str) -> Placed:
        """Return the smallest network that the shapes of a request fit."""
        key = None
        if isinstance(request, Request):
            request, key = request.inputs, request.key
        elif type(request) is np.ndarray or not isinstance(request, Mapping):
            request = self._single(request, where)
        arrays = {name: _array(values, name, where) for name, values in request.items()}
        if key is None and self._lengths:
            placed = self._by_length(arrays)
            if placed is not None:
                return placed
        reasons: list[str] = []
        candidates = self._candidates(key, where)
        for form in candidates:
            sizes, reason = form.fit(arrays)
            if sizes is not None:
                if key is None and self._names.differ:
                    self._require_one_name(form, candidates, arrays, where)
                return form.place(arrays, sizes)
            reasons.append(f"key {form.network.key!r}: {reason}")
        shown = "; ".join(reasons[-3:]) or "the bundle has no bucket of such a key"
        if key is None and self._only is None and len(self._sized) < len(self._forms):
            shown += ". Networks whose key is no size need Request(inputs, key=...)"
        raise DataError(f"{where} fits no network. {shown}. The keys are {self._listed()}.")

    def _require_one_name(
        self, form: _Form, candidates: Sequence[_Form], arrays: Mapping[str, Array], where: str
    ) -> None:
        """Raise InvalidArgumentError if a network fits that has another name in its key."""
        for other in candidates:
            same = self._names.of(other.network) == self._names.of(form.network)
            if not same and other.fit(arrays)[0] is not None:
                raise InvalidArgumentError(
                    f"{where} has no key, and fits the networks of {form.network.key!r} and "
                    f"{other.network.key!r}, which do not differ in their sizes alone; give "
                    f"Request(inputs, key=...) with one of {self._listed()}"
                )

    def _by_length(self, arrays: Mapping[str, Array]) -> Placed | None:
        """Return the smallest network that is long enough, where they differ in nothing else.

        None if none is, or if the request has to be looked at more closely.
        """
        sizes, _ = self._sized[-1].fit(arrays)  # what fits a shorter one fits the longest
        if sizes is None:
            return None
        form = self._sized[bisect.bisect_left(self._lengths, sizes.get(KEY, 0))]
        return form.place(arrays, sizes)

    def _single(self, values: Any, where: str) -> Mapping[str, Any]:
        if len(self._required) != 1:
            raise InvalidArgumentError(
                f"{where} is one array, but the networks have "
                + (f"the inputs {', '.join(self._required)}" if self._required else "no inputs")
                + "; give a mapping of names to arrays"
            )
        return {self._required[0]: values}

    def _candidates(self, key: Hashable, where: str) -> Sequence[_Form]:
        if key is None:
            if self._only is not None:
                return [self._only]
            if not self._sized:
                raise InvalidArgumentError(
                    f"{where} has no key, and no network of this bundle is found by size; give "
                    f"Request(inputs, key=...) with one of {self._listed()}"
                )
            return self._sized
        sizes_in_key = sizes_of(key)
        if sizes_in_key is None or not self._names.has_sizes_of(key):
            try:
                return [self._forms[key]]
            except (KeyError, TypeError):
                raise InvalidArgumentError(
                    f"{where} asks for key {key!r}; the keys are {self._listed()}"
                ) from None
        names = self._names.of_key(key)
        return [
            f
            for f in self._sized
            if self._names.of(f.network) == names
            and all(have >= want for have, want in zip(f.network.sizes or (), sizes_in_key))
        ]

    def _listed(self) -> str:
        return listing(map(repr, self._forms))


def listed(requests: Iterable[Any]) -> list[Any]:
    """Return requests as a list; InvalidArgumentError if this is one request, or none."""
    if isinstance(requests, (Request, Mapping, str)) or not isinstance(requests, Iterable):
        raise InvalidArgumentError(
            f"requests is of type {type(requests).__name__}; expected a list of requests, such as "
            "run([request]). A single one is what a call takes: bundle(request), session(request)."
        )
    return list(requests)


def required(network: NetworkSpec) -> list[InputSpec]:
    """Return the inputs that a request must have; labels and states may be left out."""
    return [t for t in network.inputs if t.kind == "data"]


def _sizes(axes: Sequence[tuple[str | None, int]]) -> tuple[int, ...]:
    return tuple(size for _, size in axes)


def counted_by_key(placed: Sequence[Placed]) -> dict[Hashable, int]:
    """Return how many of the requests each key serves."""
    if len(placed) == 1:
        return {placed[0].network.key: 1}
    return Counter(one.network.key for one in placed)


def _order_of(network: NetworkSpec) -> tuple[int, tuple[int, ...]]:
    return math.prod(network.sizes or ()), network.sizes or ()


def _array(values: Any, name: str, where: str) -> Array:
    try:
        array = values if type(values) is np.ndarray else np.asarray(values)
    except ValueError as error:
        raise DataError(f"{where}: {name} is not an array: {error}") from None
    if array.dtype.kind not in _NUMBERS:
        raise DataError(f"{where}: {name} has dtype {array.dtype}, not numbers")
    return array
