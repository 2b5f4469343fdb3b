"""The modules ``sym.contrib``, ``sym.linalg`` and ``sym.image``: operators under shorter names.

``sym.linalg.gemm`` is the operator ``_linalg_gemm``. Stubs are written by
``tools/operator_stubs.py``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from symbucket.absent import operator_instead
from symbucket.ops import full_name, in_namespace
from symbucket.symbol.functions import operator_function


def attributes_of(
    module: str,
    functions: tuple[str, ...] = (),
    function_of: Callable[[str], Callable[..., Any]] = operator_function,
    package: str = "sym",
) -> tuple[Callable[[str], Callable[..., Any]], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of ``symbucket.symbol.<module>`` or its like.

    Args:
        module: the last part of its name.
        functions: what it defines itself, beside the operators.
        function_of: makes the function of an operator.
        package: what messages call the package.
    """

    def get(name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        short = in_namespace(module)
        if name not in short:
            if instead := operator_instead(full_name(module, name)):
                raise AttributeError(f"{package}.{module} has no operator {name!r}: {instead}.")
            near = difflib.get_close_matches(name, [*short, *functions], 3)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise AttributeError(f"{package}.{module} has no operator {name!r}.{hint}")
        return function_of(short[name])

    def names() -> list[str]:
        return sorted({*functions, *in_namespace(module)})

    return get, names
