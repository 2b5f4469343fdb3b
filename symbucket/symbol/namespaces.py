"""The modules ``sym.contrib``, ``sym.linalg`` and ``sym.image``: operators under shorter names.

``sym.linalg.gemm`` is the operator ``_linalg_gemm``. Stubs are written by
``tools/operator_stubs.py``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from symbucket.ops import in_namespace
from symbucket.symbol.functions import operator_function
from symbucket.symbol.symbol import Symbol


def attributes_of(
    module: str, functions: tuple[str, ...] = ()
) -> tuple[Callable[[str], Callable[..., Symbol]], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of ``symbucket.symbol.<module>``.

    Args:
        module: the last part of its name.
        functions: what it defines itself, beside the operators.
    """

    def get(name: str) -> Callable[..., Symbol]:
        if name.startswith("__"):
            raise AttributeError(name)
        short = in_namespace(module)
        if name not in short:
            near = difflib.get_close_matches(name, [*short, *functions], 3)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise AttributeError(f"sym.{module} has no operator {name!r}.{hint}")
        return operator_function(short[name])

    def names() -> list[str]:
        return sorted({*functions, *in_namespace(module)})

    return get, names
