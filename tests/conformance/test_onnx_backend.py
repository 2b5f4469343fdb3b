"""A part of ONNX's own backend tests; ``nox -s onnx-support`` runs all of them."""

from __future__ import annotations

import onnx
import pytest

from tests.conformance.onnx_backend.attempt import Verdict, attempt
from tests.conformance.onnx_backend.cases import BackendCase, cases_of_operators

MODULES = ("rmsnormalization", "swish", "bitshift", "lstm", "sequenceinsert", "cumprod")
REFUSED = {"sequence_insert_at_back", "sequence_insert_at_front"}  # a sequence goes in
OPSETS = onnx.defs.onnx_opset_version()


def _cases() -> list[BackendCase]:
    return [case for case in cases_of_operators(*MODULES) if "bf" not in case.name]


@pytest.mark.skipif(OPSETS < 24, reason="an onnx with Swish has opset 24")
def test_what_the_standard_says_comes_out() -> None:
    cases = _cases()
    assert len(cases) > 40
    results = {str(case).removeprefix("node/"): attempt(case) for case in cases}
    others = {name: r for name, r in results.items() if r.verdict is not Verdict.PASSED}
    assert set(others) <= REFUSED, others
    assert all(r.verdict is Verdict.REFUSED for r in others.values()), others
