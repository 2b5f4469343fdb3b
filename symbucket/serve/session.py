"""``Session``: states are carried from request to request."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.checks import is_integer
from symbucket.errors import DataError, InvalidArgumentError, UnsupportedError
from symbucket.export.spec import KEY, NetworkSpec
from symbucket.serve.bound_run import STATE, Answer
from symbucket.serve.deadline import deadline_of
from symbucket.serve.engine import Engine
from symbucket.serve.route import Request, listed
from symbucket.types import Array


class Session:
    """Reads texts piece by piece: every piece begins with the states that the last one left.

    Made by ``bundle.session(samples)``. A session belongs to one thread, as an open file does; any
    number of them may be used at the same time. It goes on with the parameters that it began with
    when the bundle is reloaded.
    """

    def __init__(self, engine: Engine, samples: int) -> None:
        self._engine = engine
        self._network = _network_with_states(engine)
        if samples > (self._network.batch or 1):
            raise InvalidArgumentError(
                f"samples is {samples}; the bundle runs at most {self._network.batch} at a time"
            )
        self._samples = samples
        self._names = [t.name for t in self._network.inputs if t.kind == STATE]
        self._states: dict[str, Array] = {}
        self.reset()

    @property
    def samples(self) -> int:
        """How many requests run at a time."""
        return self._samples

    @property
    def states(self) -> dict[str, Array]:
        """The states by name, (samples, units) each: copies, which may be kept and set again."""
        return {name: array.copy() for name, array in self._states.items()}

    @states.setter
    def states(self, values: Mapping[str, Any]) -> None:
        if {*values} != {*self._names}:
            raise InvalidArgumentError(
                f"the states are {', '.join(self._names)}, not {', '.join(map(str, values))}"
            )
        arrays = {}
        for spec in self._network.inputs:
            if spec.kind != STATE:
                continue
            array = np.array(values[spec.name], spec.dtype)
            expected = (self._samples, *spec.shape[1:])
            if array.shape != expected:
                raise InvalidArgumentError(
                    f"the state {spec.name!r} has shape {array.shape}; expected {expected}"
                )
            arrays[spec.name] = array
        self._states = arrays

    def reset(self) -> None:
        """Begin anew: all states are zero."""
        self.states = {
            spec.name: np.zeros((self._samples, *spec.shape[1:]), spec.dtype)
            for spec in self._network.inputs
            if spec.kind == STATE
        }

    def select(self, rows: Sequence[int]) -> None:
        """Go on with the states of these samples; one may be taken several times or left out."""
        rows = list(rows)
        if not rows or not all(is_integer(row) and 0 <= row < self._samples for row in rows):
            raise InvalidArgumentError(f"rows is {rows}; the samples are 0..{self._samples - 1}")
        most = self._network.batch or 1
        if len(rows) > most:
            raise InvalidArgumentError(f"{len(rows)} samples; the bundle runs at most {most}")
        self._states = {name: array[rows] for name, array in self._states.items()}
        self._samples = len(rows)

    def __call__(self, request: Any, timeout: float | None = None) -> Answer:
        """Return the outputs for the next piece of the only sample, by name."""
        if self._samples != 1:
            raise InvalidArgumentError(
                f"the session has {self._samples} samples; call run(requests)"
            )
        return self.run([request], timeout)[0]

    def run(self, requests: Sequence[Any], timeout: float | None = None) -> list[Answer]:
        """Return the outputs for the next piece of every sample.

        Requests are those of ``Bundle.run``, all of one length. A piece that is longer than the
        longest bucket is read in parts. If the run fails, the states stay as they were.
        """
        requests = listed(requests)
        if len(requests) != self._samples:
            raise InvalidArgumentError(
                f"there are {len(requests)} requests; the session has {self._samples} samples"
            )
        deadline = deadline_of(timeout, time.monotonic())
        inputs = [self._inputs_of(request, i) for i, request in enumerate(requests)]
        longest = max(n.sizes[0] for n in self._engine.networks.values() if n.sizes)
        length = self._common_length(inputs)
        if length > longest:
            self._refuse_lengths(inputs, length, longest)
        states, parts = self._states, []
        for start in range(0, max(length, 1), longest):
            stop = min(start + longest, length)
            pieces = [self._piece(one, start, stop) for one in inputs]
            answers, states = self._run_piece(pieces, states, deadline)
            parts.append(answers)
        self._states = states
        return parts[0] if len(parts) == 1 else [self._joined(list(one)) for one in zip(*parts)]

    def _run_piece(
        self, inputs: Sequence[Mapping[str, Array]], states: Mapping[str, Array], deadline: Any
    ) -> tuple[list[Answer], dict[str, Array]]:
        placed = [
            self._engine.router.place(
                Request({**one, **{name: array[i] for name, array in states.items()}}),
                f"request {i}",
            )
            for i, one in enumerate(inputs)
        ]
        answers = self._engine.run(placed, deadline, states=True)
        following = {
            n: np.stack([answer.pop(f"{n}.next") for answer in answers]) for n in self._names
        }
        return answers, following

    def _inputs_of(self, request: Any, position: int) -> dict[str, Array]:
        if isinstance(request, Request):
            request = request.inputs
        if not isinstance(request, Mapping):
            names = [t.name for t in self._network.inputs if t.kind == "data"]
            if len(names) != 1:
                raise InvalidArgumentError(
                    f"request {position} is one array, but the network has the inputs "
                    f"{', '.join(names)}; give a mapping of names to arrays"
                )
            request = {names[0]: request}
        try:
            return {name: np.asarray(values) for name, values in request.items()}
        except ValueError as error:
            raise DataError(f"request {position}: {error}") from None

    def _common_length(self, inputs: Sequence[Mapping[str, Array]]) -> int:
        lengths = set()
        for spec in self._network.inputs:
            places = [a for a in spec.axes if a != "batch"]
            for one in inputs:
                if KEY in places and spec.name in one and one[spec.name].ndim == len(places):
                    lengths.add(one[spec.name].shape[places.index(KEY)])
        if len(lengths) > 1:
            raise DataError(
                f"the requests of a session have one length; these have {sorted(lengths)}"
            )
        if lengths == {0}:
            raise DataError("the requests are empty; a session goes on by one step at least")
        return lengths.pop() if lengths else 1

    def _refuse_lengths(
        self, inputs: Sequence[Mapping[str, Array]], length: int, longest: int
    ) -> None:
        """Raise InvalidArgumentError if an input may count steps, so that parts need others."""
        for spec in self._network.inputs:
            counts = spec.limits is not None and spec.limits[1] == longest + 1
            if counts and KEY not in spec.axes and any(spec.name in one for one in inputs):
                raise InvalidArgumentError(
                    f"a piece of {length} steps would be read in parts of {longest}, and "
                    f"{spec.name} may count steps, of which each part needs its own; give pieces "
                    f"of {longest} steps or less"
                )

    def _piece(self, inputs: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
        piece = dict(inputs)
        for spec in self._network.inputs:
            places = [a for a in spec.axes if a != "batch"]
            if KEY in places and spec.name in piece and piece[spec.name].ndim == len(places):
                cut = [slice(None)] * places.index(KEY) + [slice(start, stop)]
                piece[spec.name] = piece[spec.name][tuple(cut)]
        return piece

    def _joined(self, parts: Sequence[Answer]) -> Answer:
        """Return the outputs of all parts of a piece; outputs without steps are the last one's."""
        joined = dict(parts[-1])
        for spec in self._network.outputs:
            axis = 0
            for place in range(len(spec.axes)):
                factors = [f for f in spec.factors(place) if f != "batch"]
                if KEY in factors and spec.name in joined:
                    joined[spec.name] = np.concatenate([part[spec.name] for part in parts], axis)
                axis += spec.factors(place) != ["batch"]
        return joined


def _network_with_states(engine: Engine) -> NetworkSpec:
    for network in engine.networks.values():
        if KEY in network.free and any(t.kind == STATE for t in network.outputs):
            return network
    raise UnsupportedError(
        "the bundle's networks have no states to carry; export it with dynamic_length=True and "
        "carry_states=True"
    )
