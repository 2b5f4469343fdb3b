"""Counts of a server in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from symbucket.serve.batcher import Batcher
from symbucket.serve.statistics import KeyStatistics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COUNTERS: tuple[tuple[str, str, Callable[[KeyStatistics], float]], ...] = (
    ("requests", "Requests answered.", lambda s: s.requests),
    ("runs", "Runs of the networks.", lambda s: s.runs),
    ("positions", "Elements of the data inputs of all runs.", lambda s: s.positions),
    ("used_positions", "Those that requests filled.", lambda s: s.used),
    ("run_seconds", "Time of the runs.", lambda s: s.milliseconds / 1000),
)


def metrics_text(batcher: Batcher, responses: dict[int, int]) -> str:
    """Return the metrics of a server; ``responses`` counts them by their HTTP status."""
    statistics = {str(key): one for key, one in batcher.bundle.statistics().items()}
    lines: list[str] = []
    for name, text, value in _COUNTERS:
        samples = ((f'{{key="{_escaped(k)}"}}', value(s)) for k, s in statistics.items())
        lines += _metric(f"symbucket_{name}_total", "counter", text, samples)
    lines += [
        "# HELP symbucket_latency_seconds From the arrival of a request to its answer.",
        "# TYPE symbucket_latency_seconds histogram",
        *(line for key, one in statistics.items() for line in _histogram(key, one)),
    ]
    counts = batcher.counts
    for name, text, count in (
        ("rejected", "Requests refused because too many were waiting.", counts.rejected),
        ("expired", "Requests whose time was up.", counts.expired),
        ("failed", "Requests whose run failed.", counts.failed),
    ):
        lines += _metric(f"symbucket_{name}_total", "counter", text, [("", count)])
    lines += _metric(
        "symbucket_waiting_requests", "gauge", "Requests in the queue.", [("", batcher.waiting)]
    )
    by_status = ((f'{{status="{status}"}}', n) for status, n in sorted(responses.items()))
    lines += _metric(
        "symbucket_http_responses_total", "counter", "Responses by their status.", by_status
    )
    return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{labels} {value:.10g}"


def _histogram(key: str, statistics: KeyStatistics) -> Iterator[str]:
    name, label = "symbucket_latency_seconds", f'key="{_escaped(key)}"'
    latencies = statistics.latencies
    for bound, count in latencies.cumulative():
        yield f'{name}_bucket{{{label},le="{bound / 1000:.6g}"}} {count}'
    yield f'{name}_bucket{{{label},le="+Inf"}} {latencies.count}'
    yield f"{name}_sum{{{label}}} {latencies.total / 1000:.10g}"
    yield f"{name}_count{{{label}}} {latencies.count}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
