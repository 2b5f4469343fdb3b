"""Load an example and run it as from the command line."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

FOLDER = Path(__file__).parents[2] / "examples"


class Run(NamedTuple):
    """Exit status and what was printed."""

    code: int
    out: str
    err: str


def load(name: str) -> ModuleType:
    """The module of ``examples/NAME.py``."""
    spec = importlib.util.spec_from_file_location(f"{name}_example", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(example: ModuleType, *argv: object) -> Run:
    """``example.main(argv)`` with its output."""
    out, err = io.StringIO(), io.StringIO()
    logger = logging.getLogger("symbucket.io")
    level = logger.level  # programs may set it
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = example.main([str(a) for a in argv])
        except SystemExit as end:
            code = int(end.code or 0)
    logger.setLevel(level)
    return Run(code, out.getvalue(), err.getvalue())
