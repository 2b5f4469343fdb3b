"""Libraries that only pictures need."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from symbucket.errors import UnsupportedError


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
    """The text of Viz.js: Graphviz compiled to WebAssembly, which pages lay out graphs with.

    It comes from the package sphinx-ext-vizjs, which carries the file; nothing of it is run here.
    """
    package = "sphinx_ext_vizjs"
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        file = Path(folder) / "viz-standalone.js"
        if file.exists():
            return file.read_text("utf-8")
    raise UnsupportedError(
        "A page needs Viz.js, which the package sphinx-ext-vizjs carries, and it is not there. "
        'Install it with: pip install "symbucket[view]"'
    )
