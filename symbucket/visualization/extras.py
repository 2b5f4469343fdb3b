"""Libraries that only pictures need."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

from symbucket.errors import UnsupportedError

_EXPORTS = re.compile(r"export\s*\{([^{}]*)\}[^{}]*\Z")
_GRAPHVIZ = re.compile(r"([\w$]+)\s+as\s+Graphviz\b")


def need(name: str) -> Any:
    """A module of the extra ``view``, or Netron; UnsupportedError says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        what = "netron" if package == "netron" else '"symbucket[view]"'
        raise UnsupportedError(
            f"This picture needs {package}, which cannot be imported ({error}). "
            f"Install it with: pip install {what}"
        ) from error


def layout_script() -> str:
    """The text of a script that defines ``Graphviz``: the program, compiled to WebAssembly.

    Pages lay out graphs with it. The package easydot carries the file; nothing of it is run here.
    """
    spec = importlib.util.find_spec("easydot")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        file = Path(folder) / "assets" / "index.js"
        if file.exists():
            return _without_exports(file.read_text("utf-8"))
    python = " (Python 3.11 or later)" if sys.version_info < (3, 11) else ""
    raise UnsupportedError(
        "A page needs Graphviz for browsers, which the package easydot carries, and it is not "
        f'there. Install it with: pip install "symbucket[view]"{python}'
    )


def _without_exports(module: str) -> str:
    """Return the text of a module as a script, since workers of modules are not everywhere."""
    exports = _EXPORTS.search(module)
    name = _GRAPHVIZ.search(exports.group(1)) if exports else None
    if exports is None or name is None:
        raise UnsupportedError(
            "easydot's script of Graphviz does not end in an export of `Graphviz`, so a page "
            'cannot use this version. Install another: pip install "easydot==0.4.*"'
        )
    return f"{module[: exports.start()]}const Graphviz={name.group(1)};\n"
