"""Import onnx-ir without loading sympy, which it needs for arithmetic on symbolic sizes only.

Sympy is most of what importing onnx-ir costs: 33 MB and half a second. Both sympy and the one
module of onnx-ir that reads it while it is imported are put off until something of theirs is used.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

LATER = ("sympy", "onnx_ir._symbolic_shapes")


class _Later:
    """Finder that gives the modules of ``LATER`` a loader which waits for the first use."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in LATER else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def _import_onnx_ir() -> None:
    if "onnx_ir" in sys.modules:
        return
    finder = _Later()
    sys.meta_path.insert(0, finder)
    try:
        import onnx_ir  # noqa: F401
    finally:
        sys.meta_path.remove(finder)


_import_onnx_ir()
