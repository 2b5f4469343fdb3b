"""Compute networks in every way, and say where two ways differ.

How far results may lie apart follows from the network itself: inputs are moved by a few units in
the last place, and what that changes in the base's results is multiplied. So a network that
amplifies rounding, or stands at a kink, is not reported.
"""

from __future__ import annotations

import functools
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

import symbucket as sb
from symbucket.errors import SymbucketError
from symbucket.types import Array
from tests.fuzz import by_torch, updates  # noqa: F401 - they enter their ways
from tests.fuzz.everywhere import everywhere
from tests.fuzz.networks import Network, draw_network
from tests.fuzz.ways import WAYS, Results, Skip

MOVES = 2  # times that inputs are moved
AMPLIFIED = 20.0
AGAIN = 3  # times that a difference is looked for with other numbers


@dataclass
class Failure:
    """Two ways that differ, or a way that raises an error."""

    network: Network
    way: str
    result: str
    message: str

    def __str__(self) -> str:
        base = WAYS[self.way].base
        return (
            f"seed {self.network.seed}: {self.way!r}"
            + (f" and {base!r}" if base else "")
            + f" differ in {self.result or 'that the first fails'}: {self.message}\n"
            + self.network.describe()
        )


@dataclass
class Report:
    """What a run has done."""

    networks: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    """How often each way was compared with its base."""
    skipped: Counter[str] = field(default_factory=Counter)
    operators: set[str] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)

    def __str__(self) -> str:
        ways = "\n".join(f"  {n:6} {name}" for name, n in self.compared.most_common())
        skips = "\n".join(f"  {n:6} {reason}" for reason, n in self.skipped.most_common())
        return (
            f"{self.networks} networks with {len(self.operators)} operators, "
            f"{sum(self.compared.values())} comparisons, {len(self.failures)} failures\n"
            f"compared:\n{ways}\nskipped:\n{skips}"
        )


def compare(network: Network, report: Report, every: int = 1, ways: str = "") -> list[Failure]:
    """Return the failures of one network.

    ``every``: with 3, a network goes a third of the ways, and three networks in a row all of them.
    ``ways``: only those whose name contains this.
    """
    bases: dict[str, Results | None] = {}
    limits = {way.base: _Limits(network, way.base) for way in WAYS.values()}
    failures: list[Failure] = []

    def outcome(name: str) -> Results | None:
        results = _run(network, name)
        if isinstance(results, Failure):
            failures.append(results)
        elif isinstance(results, Skip):
            report.skipped[f"{name}: {results}"] += 1
        else:
            return results
        return None

    for number, (name, way) in enumerate(WAYS.items()):
        if way.is_base or ways not in name or (number + network.seed) % every:
            continue
        if network.draws and not way.same_step:
            report.skipped[f"{name}: draws random numbers"] += 1
            continue
        if way.base not in bases:
            base = outcome(way.base)
            if base is not None and not _finite(base):
                report.skipped[f"{way.base}: not finite"] += 1
                base = None
            bases[way.base] = base
        base = bases[way.base]
        results = None if base is None else outcome(name)
        if base is not None and results is not None:
            report.compared[name] += 1
            failure = _difference(network, name, results, base, limits[way.base])
            if failure and _comes_back(failure):
                failures.append(failure)
    return [shrunk(f) for f in failures]


def _comes_back(failure: Failure) -> bool:
    """Return whether a difference is there with other numbers too.

    Of thousands of elements now and then one lies so close to a kink that rounding decides.
    """
    network, way = failure.network, WAYS[failure.way]
    if network.again is None:
        return True
    for number in range(AGAIN):
        other = network.with_inputs(network.again(network.seed + (number + 1) * 1_000_003))
        base, results = _run(other, way.base), _run(other, way.name)
        if not isinstance(base, dict) or not isinstance(results, dict):
            return True
        if _difference(other, way.name, results, base, _Limits(other, way.base)):
            return True
    return False


def _run(network: Network, name: str) -> Results | Skip | Failure:
    try:
        with everywhere(network.everywhere):
            return WAYS[name].run(network)
    except Skip as skip:
        return skip
    except SymbucketError as error:
        if "data type is not supported" in str(error) and "without" in name:
            return Skip("no kernel without casts")
        if not isinstance(error.__cause__, NoKernel):
            return _failure(network, name, error)
        reason = str(error.__cause__).split("implementation for ")[-1]
        return Skip(f"no kernel: {reason.split(' node')[0]}")
    except Exception as error:
        return _failure(network, name, error)


def _failure(network: Network, name: str, error: Exception) -> Failure:
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{type(error).__name__} in {where.name}: {error}"
    return Failure(network, name, "", text)


def _finite(results: Results) -> bool:
    return all(np.isfinite(a).all() for a in results.values())


class _Limits:
    """How far each result of a base may be off."""

    def __init__(self, network: Network, base: str) -> None:
        self._network, self._base = network, base
        self._moved: list[Results] | None = None

    @functools.cached_property
    def _eps(self) -> float:
        kinds = {np.dtype(np.float32), *(a.dtype for a in _floats(self._network))}
        return max(float(np.finfo(kind).eps) for kind in kinds)

    def exceeded(self, name: str, base: Results, distance: float) -> float | None:
        """Return the limit if the distance is above it. Inputs are moved only if need be."""
        expected = base[name]
        floor = 1.0
        if self._network.again is not None:
            # Sums that cancel are as exact as what they sum.
            floor = 0.1 + 0.3 * max(_scale(a) for n, a in base.items() if n[:4] == name[:4])
        limit = 300 * self._eps * (floor + _scale(expected))
        if distance <= limit:
            return None
        if self._moved is None:
            runs = (self._run_moved(move) for move in range(MOVES))
            self._moved = [r for r in runs if isinstance(r, dict)]
        limit += AMPLIFIED * sum(_distance(expected, moved[name]) for moved in self._moved)
        return None if distance <= limit else limit

    def _run_moved(self, move: int) -> Results | Skip | Failure:
        network = self._network
        rng = np.random.default_rng([network.seed, 11, move])
        inputs = {
            n: (a * (1 + rng.uniform(-4, 4, a.shape) * self._eps)).astype(a.dtype)
            for n, a in network.inputs.items()
            if a.dtype.kind == "f" and n in network.wanted
        }
        return _run(network.with_inputs(inputs), self._base)


def _floats(network: Network) -> list[Array]:
    return [a for n, a in network.inputs.items() if a.dtype.kind == "f" and n in network.wanted]


def _scale(array: Array) -> float:
    return float(np.abs(array.astype(np.float64)).max(initial=0.0))


def _distance(a: Array, b: Array) -> float:
    with np.errstate(all="ignore"):
        distance = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return float(np.nan_to_num(distance, nan=np.inf).max(initial=0.0))


def _difference(
    network: Network, way: str, results: Results, base: Results, limits: _Limits
) -> Failure | None:
    for name, array in results.items():
        if name not in base:
            continue
        expected = base[name]
        if array.shape != expected.shape:
            message = f"shape {array.shape} against {expected.shape}"
            return Failure(network, way, name, message)
        distance = _distance(array, expected)
        limit = limits.exceeded(name, base, distance)
        if limit is not None:
            message = f"off by {distance:.3g}, allowed {limit:.3g}"
            return Failure(network, way, name, f"{message}\n{array}\nagainst\n{expected}")
    return None


def shrunk(failure: Failure) -> Failure:
    """Return the same failure of the smallest part of the network that has it."""
    network = failure.network
    way = WAYS[failure.way]
    for part in network.symbol.get_internals():
        node = part.heads[0][0]
        if node.op is None or part.heads == network.symbol.heads:
            continue
        smaller = network.of(part)
        base = _run(smaller, way.base) if way.base else None
        other = _run(smaller, failure.way)
        if isinstance(other, Failure):
            if not failure.result and other.message[:30] == failure.message[:30]:
                return other
            continue
        if failure.result and isinstance(base, dict) and isinstance(other, dict):
            if not _finite(base):
                continue
            found = _difference(smaller, way.name, other, base, _Limits(smaller, way.base))
            if found:
                return found
    return failure


def fuzz(
    start: int,
    networks: int | None = None,
    seconds: float | None = None,
    every: int = 1,
    draw: Callable[[int], Network] = draw_network,
    ways: str = "",
) -> Iterator[Report]:
    """Compare networks from number ``start`` on; yield the report after each of them."""
    report = Report()
    end = None if seconds is None else time.monotonic() + seconds
    seed = start
    while (networks is None or report.networks < networks) and (
        end is None or time.monotonic() < end
    ):
        with sb.NameManager():
            network = draw(seed)
            report.failures += compare(network, report, every, ways)
        report.networks += 1
        report.operators.update(op.op_name for op in network.operators)
        seed += 1
        yield report
