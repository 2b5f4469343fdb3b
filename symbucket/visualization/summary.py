"""A symbol as a table: operators, output shapes, parameters and their bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from symbucket.errors import InvalidArgumentError
from symbucket.symbol import Symbol
from symbucket.symbol.infer import infer_shapes, infer_types
from symbucket.symbol.node import Node
from symbucket.visualization.amounts import nbytes_text
from symbucket.visualization.from_symbol import parameter_inputs, variable_kinds

_STEP = re.compile(r"(?<![^_/])t\d+(?=_)")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class SummaryRow:
    """One operator, or the same one of all time steps (``times``).

    ``parameters`` and ``nbytes`` count what this row is the first to use; ``shared`` names what
    earlier rows counted already.
    """

    name: str
    op: str
    shape: tuple[int, ...] | None
    parameters: int
    nbytes: int
    previous: tuple[str, ...]
    times: int = 1
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """All rows and the totals over different parameters (auxiliary states included)."""

    rows: tuple[SummaryRow, ...]
    parameters: int
    nbytes: int


def summarize(
    symbol: Symbol, shape: Mapping[str, Sequence[int]] | None = None, fold: bool = True
) -> Summary:
    """Return the rows of ``print_summary``. With ``fold``, time steps share a row per operator.

    Raises ShapeError if shapes contradict each other, or ``shape`` leaves a parameter's unknown.
    """
    symbol.variables()  # refuses two variables of one name
    nodes = symbol.nodes()
    table = infer_shapes(nodes, shape or {})
    if shape:
        table.require_complete()
    types = infer_types(nodes, {})
    kinds = variable_kinds(nodes, shape or {})
    counted: set[str] = set()
    rows: dict[tuple[Any, ...], SummaryRow] = {}
    fold = fold and any(_STEP.search(node.name) for node in nodes)
    total = total_bytes = 0
    for node in nodes:
        if node.op is None:
            continue
        count = nbytes = 0
        shared = []
        for variable, _ in parameter_inputs(node, kinds):
            if variable.name in counted:
                shared.append(variable.name)
                continue
            counted.add(variable.name)
            variable_shape = table.shape_of((variable, 0))
            complete = variable_shape is not None and 0 not in variable_shape
            size = prod(variable_shape or ()) if complete else 0
            count += size
            nbytes += size * types[variable, 0].itemsize
        total += count
        total_bytes += nbytes
        output = table.shape_of((node, 0))
        known_shape = None if output is None or 0 in output else tuple(output)
        folded = _folded(node) if fold else node.name
        row_key = (folded, node.op.op_name, known_shape)
        if row_key in rows:
            rows[row_key] = _merged(rows[row_key], folded, count, nbytes)
            continue
        inputs = dict.fromkeys(
            _STEP.sub("t*", n.name) if fold else n.name
            for n, _ in node.inputs
            if n.op or kinds[n.name] == "data"
        )
        rows[row_key] = SummaryRow(
            node.name, node.op.op_name, known_shape, count, nbytes, tuple(inputs), 1, tuple(shared)
        )
    return Summary(tuple(rows.values()), total, total_bytes)


def _folded(node: Node) -> str:
    """Return a node's name without its time step, or without its number if it is automatic."""
    assert node.op is not None
    names = {node.op.op_name.lower(), *(a.lower() for a in node.op.aliases)}
    if node.name.rstrip("0123456789") in names:
        return _DIGITS.sub("*", node.name)
    return _STEP.sub("t*", node.name)


def _merged(row: SummaryRow, name: str, count: int, nbytes: int) -> SummaryRow:
    return SummaryRow(
        name,
        row.op,
        row.shape,
        row.parameters + count,
        row.nbytes + nbytes,
        row.previous,
        row.times + 1,
        row.shared,
    )


def format_summary(
    summary: Summary,
    line_length: int = 120,
    positions: Sequence[float] = (0.40, 0.56, 0.69, 0.80, 1.0),
) -> str:
    """Return the table as text; ``positions`` are the ends of columns, in parts of the line.

    The columns are: operator, output shape, parameters, bytes, what it reads. With four positions,
    as MXNet's table has, there are no bytes.
    """
    ends = [int(line_length * p) for p in positions]
    if len(ends) not in (4, 5) or ends != sorted(set(ends)) or ends[0] <= 0:
        raise InvalidArgumentError(
            f"positions={tuple(positions)!r}; expected four or five rising shares of line_length"
        )
    heads = ["layer (type)", "output shape", "parameters", "bytes", "reads"]
    lines = ["_" * line_length, _line(heads, ends), "=" * line_length]
    for row in summary.rows:
        times = f" x {row.times}" if row.times > 1 else ""
        shape = "?" if row.shape is None else "x".join(map(str, row.shape)) or "scalar"
        cells = [
            f"{row.name} ({row.op}){times}",
            shape,
            f"{row.parameters:,}" if row.parameters else ("shared" if row.shared else "0"),
            nbytes_text(row.nbytes) if row.nbytes else "",
            ", ".join(row.previous),
        ]
        lines.append(_line(cells, ends))
    lines += [
        "=" * line_length,
        f"{summary.parameters:,} parameters, {nbytes_text(summary.nbytes)}",
        "_" * line_length,
    ]
    return "\n".join(lines)


def _line(cells: Sequence[str], ends: Sequence[int]) -> str:
    line = ""
    if len(ends) == 4:
        cells = [*cells[:3], cells[4]]
    for cell, end in zip(cells, ends):
        room = end - len(line) - 1
        line = f"{line}{cell if len(cell) <= room else cell[: room - 2] + '..'} "
        line = line.ljust(end)
    return line.rstrip()


def print_summary(
    symbol: Symbol,
    shape: Mapping[str, Sequence[int]] | None = None,
    line_length: int = 120,
    positions: Sequence[float] = (0.40, 0.56, 0.69, 0.80, 1.0),
    fold: bool = True,
) -> None:
    """Print a symbol's operators with output shapes, parameter counts and bytes.

    ``shape``: shapes of the data by name; without it shapes and counts stay unknown. A parameter
    counts at its first use ("shared" after that), and once in the total. ``fold``: the same
    operator of all time steps is one line.

    Raises ShapeError if the shapes do not fit.
    """
    print(format_summary(summarize(symbol, shape, fold), line_length, positions))
