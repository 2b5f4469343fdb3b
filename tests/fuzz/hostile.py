"""Run every fuzzer of hostile input in turn: ``python -m tests.fuzz.hostile --seconds 60``."""

import subprocess
import sys

FUZZERS = (
    "checkpoints",
    "compile_cache",
    "corpora",
    "manifests",
    "onnx_models",
    "symbol_files",
)
"""The modules of this package that draw hostile input."""


def main(options: list[str]) -> int:
    """Give each fuzzer these options; return 1 if one of them has failures."""
    commands = [[sys.executable, "-m", f"tests.fuzz.{name}", *options] for name in FUZZERS]
    return max([subprocess.run(command, check=False).returncode != 0 for command in commands])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
