"""Run ONNX's backend tests: ``python -m tests.conformance.onnx_backend [--only WORD]``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

from symbucket.runtime.backend import ort
from tests.conformance.onnx_backend.attempt import Verdict, attempt
from tests.conformance.onnx_backend.cases import all_cases


def main() -> int:
    """Run the cases; print counts and what did not pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--part", default="0/1", help="I/N: each N-th case, from the I-th on")
    parser.add_argument("--json", type=Path, help="a file for all results")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    ort.set_default_logger_severity(4)
    which, parts = map(int, args.part.split("/"))
    results = {}
    started = time.perf_counter()
    for case in [c for c in all_cases() if args.only in str(c)][which::parts]:
        result = attempt(case)
        results[str(case)] = result
        if result.verdict is not Verdict.PASSED:
            print(f"{result.verdict.value:9} {case}: {result.words[:300]}", flush=True)
    counts = Counter(r.verdict.value for r in results.values())
    print(len(results), dict(counts), f"{time.perf_counter() - started:.0f} s")
    if args.json:
        rows = {k: (r.verdict.value, r.words, r.constants) for k, r in results.items()}
        args.json.write_text(json.dumps(rows, indent=0))
    return 1 if counts["wrong"] + counts["raw error"] else 0


if __name__ == "__main__":
    sys.exit(main())
