"""Run ONNX's backend tests: ``python -m tests.conformance.onnx_backend [--only WORD]``.

Exit code 1 if a number is wrong, or an error no clear refusal.
"""

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
from tests.conformance.onnx_backend.page import page


def main() -> int:
    """Run the cases; print counts and what did not pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--json", type=Path, help="a file for all results")
    parser.add_argument("--page", type=Path, help="write the page of operators to this file")
    parser.add_argument(
        "--others", type=Path, nargs="*", default=[], help="files of --json, for the page"
    )
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    ort.set_default_logger_severity(4)
    runtime = f"onnxruntime {ort.__version__}"
    results = []
    started = time.perf_counter()
    for case in all_cases():
        if args.only not in str(case):
            continue
        result = attempt(case, gradient=args.page is not None)
        results.append((case, result))
        if result.verdict is not Verdict.PASSED:
            print(f"{result.verdict.value:9} {case}: {result.words[:300]}", flush=True)
    counts = Counter(result.verdict.value for _, result in results)
    print(len(results), dict(counts), f"{time.perf_counter() - started:.0f} s")
    if args.json:
        rows = {str(case): (r.verdict.value, r.words, r.constants) for case, r in results}
        args.json.write_text(json.dumps({"runtime": runtime, "results": rows}, indent=0))
    if args.page:
        reports = [json.loads(path.read_text()) for path in args.others]
        others = {
            r["runtime"]: Counter(verdict for verdict, *_ in r["results"].values()) for r in reports
        }
        args.page.write_text(page(runtime, results, others))
    faults = (Verdict.WRONG, Verdict.RAW, Verdict.UNCLEAR)
    return 1 if any(counts[verdict.value] for verdict in faults) else 0


if __name__ == "__main__":
    sys.exit(main())
