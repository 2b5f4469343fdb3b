"""The page ``docs/onnx-support.md``: which operators pass, with which gradient, what is refused."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from tests.conformance.onnx_backend.attempt import Gradient, Result, Verdict
from tests.conformance.onnx_backend.cases import BackendCase

INTRODUCTION = """# ONNX operators

What [`sb.sym.from_onnx`](onnx-models.md) reads, measured with the backend tests of the package
onnx: models, mostly of one node, with inputs and the outputs that must come out. `nox -s
onnx-support` writes this page, and fails if a number is wrong or an error unclear.

A test runs as it is. If that is refused, it runs with integer inputs as constants, then with all
but the first input as constants, as files have shapes, axes and weights: sizes must be known when a
network is bound. Operators that make something out of sizes alone (`Range`, `ConstantOfShape`,
windows) run with constants only. Tolerances are those of the tests, and the rounding of float32. Of
random operators shape and dtype are compared.

bfloat16 is computed in float32 (a `Cast` to bfloat16 rounds), so its results are compared with the
tolerance of bfloat16.
"""

REASONS = (
    ("is BFLOAT16", "bfloat16"),
    ("is STRING", "texts"),
    (r"is FLOAT\d+E|is FLOAT8|is FLOAT4", "floats of 4 to 8 bits"),
    (r"is U?INT[24]\b", "integers of 2 and 4 bits"),
    ("is a sequence|is a optional|is an optional", "sequences and optionals as inputs or outputs"),
    ("no static shape|depends on data|must be a constant", "a size that depends on data"),
    ("of others:", "another domain"),
    ("cannot be read", "another domain"),
    ("NOT_IMPLEMENTED|the run failed", "the runtime has no kernel for it"),
)


@dataclass
class Row:
    """What is known of one operator."""

    versions: set[int] = field(default_factory=set)
    passed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    gradients: set[Gradient] = field(default_factory=set)


def reason_of(words: str) -> str:
    """Return why a case was refused, in few words."""
    for pattern, reason in REASONS:
        if re.search(pattern, words):
            return reason
    text = re.split(r"of opset \d+\): ", words)[-1]
    return text.removesuffix(" is not supported").removesuffix(",")


def operator_of(case: BackendCase, model: onnx.ModelProto) -> tuple[str, int] | None:
    """Return the operator that a case is about, and its version; None if it is about several."""
    nodes = [n for n in model.graph.node if n.op_type != "Constant"]
    if case.kind != "node" or case.name.endswith("_expanded") or len(nodes) != 1:
        return None
    node = nodes[0]
    opset = next(o.version for o in model.opset_import if o.domain == node.domain)
    since = onnx.defs.get_schema(node.op_type, opset, node.domain).since_version
    prefix = f"{node.domain}." if node.domain else ""
    return f"{prefix}{node.op_type}", since


def page(
    runtime: str,
    results: Sequence[tuple[BackendCase, Result]],
    others: Mapping[str, Counter[str]],
) -> str:
    """Return the page.

    Args:
        runtime: name and version of the runtime.
        results: of this run.
        others: the verdicts of runs with other runtimes.
    """
    rows: dict[str, Row] = defaultdict(Row)
    for case, result in results:
        about = operator_of(case, case.model())
        if about is None:
            continue
        name, version = about
        row = rows[name]
        row.versions.add(version)
        if result.verdict is Verdict.PASSED:
            row.passed += 1
            row.gradients.add(result.gradient)
        else:
            row.refused[reason_of(result.words)] += 1
    counts = {runtime: Counter(r.verdict.value for _, r in results), **others}
    return "\n".join(
        [
            INTRODUCTION,
            f"Tests of onnx {onnx.__version__}, up to opset {onnx.defs.onnx_opset_version()}:",
            "",
            *_counts(counts),
            "",
            "## By operator",
            "",
            f"On {runtime}. Tests of several operators, and of the bodies of functions "
            "(`..._expanded`), are not listed. Gradient: *yes*: training goes through it; *some*: "
            "through some forms, the others are refused with a message; *no*: refused; a dash: "
            "there is none, as of integers and comparisons.",
            "",
            "| operator | versions tested | passed | gradient | refused |",
            "| --- | --- | --- | --- | --- |",
            *(_line(name, row) for name, row in sorted(rows.items())),
            "",
        ]
    )


def _counts(counts: Mapping[str, Counter[str]]) -> list[str]:
    kinds = [v.value for v in Verdict]
    lines = [f"| runtime | tests | {' | '.join(kinds)} |", "| --- |" + " --- |" * (len(kinds) + 1)]
    for runtime, of in counts.items():
        numbers = [f"{of[kind]:,}" for kind in kinds]
        lines.append(f"| {runtime} | {of.total():,} | {' | '.join(numbers)} |")
    return lines


def _line(name: str, row: Row) -> str:
    versions = ", ".join(map(str, sorted(row.versions)))
    refused = "; ".join(f"{n}: {reason}" for reason, n in row.refused.most_common())
    kinds = row.gradients - {Gradient.NONE}
    gradient = "-"
    if kinds == {Gradient.YES}:
        gradient = "yes"
    elif kinds:
        gradient = "no" if kinds == {Gradient.REFUSED} else "some"
    return f"| {name} | {versions} | {row.passed} | {gradient} | {refused} |"
