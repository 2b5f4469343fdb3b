"""What ``print`` and notebooks show of a module."""

from __future__ import annotations

import math
from typing import Any

from symbucket.checks import listing
from symbucket.html_tables import html_line, html_table


def module_text(module: Any) -> str:
    """Return one line: what the module is bound to, its keys, its parameters."""
    return f"<{type(module).__name__}: {'; '.join(_facts(module))}>"


def module_html(module: Any) -> str:
    """Return the facts of ``module_text``, and tables of inputs, outputs and parameters."""
    parts = [html_line(f"{type(module).__name__}: {'; '.join(_facts(module))}")]
    if module.binded:
        rows = [("array", "is", "shape")]
        for kind, entries in (
            ("data", module.data_shapes),
            ("label", module.label_shapes or []),
            ("output", module.output_shapes),
        ):
            rows += [(entry[0], kind, _shape(entry[1])) for entry in entries]
        parts.append(html_table(rows, left=(0, 1)))
    sizes = _parameter_shapes(module)
    if sizes:
        table = [("parameter", "shape", "numbers")]
        table += [(n, _shape(shape), f"{math.prod(shape):,}") for n, shape in sizes.items()]
        table.append(("total", "", f"{sum(map(math.prod, sizes.values())):,}"))
        parts.append(html_table(table, total=True))
    return "".join(parts)


def _facts(module: Any) -> list[str]:
    if not module.binded:
        return ["not bound"]
    facts = ["bound for training" if module.for_training else "bound for inference"]
    keys = getattr(module, "bucket_keys", None)
    if keys:
        facts.append(f"keys {listing(map(repr, keys))}")
    inputs = [f"{entry[0]} {_shape(entry[1])}" for entry in module.data_shapes]
    facts.append(f"{listing(inputs)} at key {module.bucket_key!r}" if keys else listing(inputs))
    sizes = _parameter_shapes(module)
    if sizes:
        numbers = sum(map(math.prod, sizes.values()))
        facts.append(f"{len(sizes)} parameters of {numbers:,} numbers")
    if not module.params_initialized:
        facts.append("parameters not initialized")
    if module.optimizer_initialized and hasattr(module, "updater"):
        facts.append(type(module.updater.optimizer).__name__)
    return facts


def _parameter_shapes(module: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of parameters and auxiliary states, as far as the module has them."""
    store = getattr(module, "store", None) if module.binded else None
    if store is None:
        return {}
    return {name: array.shape for name, array in {**store.args, **store.aux}.items()}


def _shape(shape: Any) -> str:
    return f"({', '.join(map(str, shape))})"
