"""Which requests of a list run together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from symbucket.export.spec import KEY, NetworkSpec
from symbucket.serve.route import Placed

ROOM = 2
"""How many times as many samples as the network's batch a run takes at most."""

_MANY = 4  # batches for each lane: then none is idle for long if runs are a little larger


class Chunk(NamedTuple):
    """Requests that run together, by their positions in the list, in a run of ``length`` steps."""

    network: NetworkSpec
    members: list[int]
    length: int


class Chunker:
    """Puts requests into runs.

    Requests of a run have the same values of the inputs that have no batch axis.

    Where padding changes nothing and networks of any length are one file, requests of like lengths
    share a run of their own length. If there are many, a run goes on beyond its batch with those
    that are exactly as long: fewer runs, and less padding. It never has more positions than the
    longest bucket has, which the promised memory is for.

    Args:
        networks: those that serve the requests.
        lanes: how many runs there are at a time.
    """

    def __init__(self, networks: Sequence[NetworkSpec], lanes: int) -> None:
        self._sizes = {n.key: n.sizes[0] if n.sizes else 1 for n in networks}
        self._mixing = {n.key for n in networks if KEY in n.free and not n.padding_matters}
        self._groups: dict[Hashable, Hashable] = {
            n.key: (n.file, None) if n.key in self._mixing else ("", n.key) for n in networks
        }
        """What networks have in common whose requests may share a run."""
        self._longest = max((self._sizes[key] for key in self._mixing), default=1)
        self._lanes = lanes

    def alone(self, one: Placed) -> Chunk:
        """Return the run of a single request."""
        return Chunk(one.network, [0], self._length(one))

    def split(self, placed: Sequence[Placed]) -> list[Chunk]:
        """Return the runs that the requests take, the longest first."""
        groups: dict[Hashable, list[int]] = {}
        for i, one in enumerate(placed):
            group = self._groups[one.network.key]
            groups.setdefault(group if one.shared is None else (group, one.shared), []).append(i)
        chunks: list[Chunk] = []
        for members in groups.values():
            steps = {i: self._length(placed[i]) for i in members}
            members.sort(key=steps.__getitem__, reverse=True)
            lengths = [steps[i] for i in members]
            start = 0
            while start < len(members):
                network = placed[members[start]].network
                stop = self._end(network, lengths, start)
                chunks.append(Chunk(network, members[start:stop], lengths[start]))
                start = stop
        chunks.sort(key=lambda chunk: -chunk.length)
        return chunks

    def _end(self, network: NetworkSpec, lengths: Sequence[int], start: int) -> int:
        """Return where the run that begins with request ``start`` of a group ends."""
        batch = network.batch or 1
        stop, count = start + batch, len(lengths)
        alone = batch == 1  # outputs that belong to no sample are the answers then
        if alone or network.key not in self._mixing or count < _MANY * batch * self._lanes:
            return min(stop, count)
        most = min(ROOM * batch, max(batch, batch * self._longest // lengths[start]))
        while stop < min(start + most, count) and lengths[stop] == lengths[stop - 1]:
            stop += 1
        return min(stop, count)

    def _length(self, one: Placed) -> int:
        """Return the number of steps of a run whose longest request this is."""
        key = one.network.key
        return max(1, one.sizes.get(KEY, 1)) if key in self._mixing else self._sizes[key]

    def size_of(self, network: NetworkSpec) -> int:
        """Return the largest number of steps of a network's run."""
        return self._sizes[network.key]
