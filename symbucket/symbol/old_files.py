"""Symbol files of older versions of MXNet, read as MXNet 1.9 reads them.

======= ================================================================================
before  difference
======= ================================================================================
1.0     attributes under ``param`` (the operator's) and ``attr`` (the user's)
0.9.5   ``axis=-1`` of ``argmax`` and ``argmin`` stands for no axis
0.9     auxiliary states, and whatever inputs a caller left out, are not in the file
any     ``lr_mult`` and its kin without underscores; ``weight_lr_mult`` for an input's
======= ================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from symbucket.attribute import of_input, stored_name
from symbucket.ops.record import Operator
from symbucket.symbol.node import Entry, Node

_FIRST_VERSION = 800  # of files that name none
_AUXILIARY_STATES_SINCE = 900
_OPTIONAL_AXIS_SINCE = 905


def version_of(whole: Mapping[str, Any]) -> int:
    """Return the version of MXNet that wrote a file: 10901 for 1.9.1."""
    attributes = whole.get("attrs")
    entry = attributes.get("mxnet_version") if isinstance(attributes, dict) else None
    is_pair = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], int)
    return entry[1] if is_pair else _FIRST_VERSION  # type: ignore[index]


def merged_attributes(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return all attributes of a node, whichever keys they are under, by their stored names."""
    raw: dict[str, Any] = {}
    for key in ("param", "attr", "attrs"):
        raw.update(record.get(key) or {})
    return {stored_name(str(name)): value for name, value in raw.items()}


def upgrade_attributes(kind: type[Operator], raw: MutableMapping[str, Any], version: int) -> None:
    """Change attributes of an operator that meant something else then."""
    is_search = kind.op_name in ("argmax", "argmin")
    if version < _OPTIONAL_AXIS_SINCE and is_search and raw.get("axis") == "-1":
        del raw["axis"]


def complete_inputs(
    op: Operator, name: str, inputs: list[Entry], user: Mapping[str, str], version: int
) -> list[Entry]:
    """Return the inputs of a node with variables in place of those that the file leaves out."""
    expected = [*op.arguments(), *op.auxiliary()]
    if version >= _AUXILIARY_STATES_SINCE or len(inputs) >= len(expected):
        return inputs
    missing = expected[len(inputs) :]
    return [*inputs, *((Node(None, f"{name}_{n}", (), dict(user)), 0) for n in missing)]


def give_to_inputs(
    user: dict[str, str], expected: Sequence[str], variables: Sequence[dict[str, str] | None]
) -> None:
    """Move ``weight_lr_mult`` of a node to the attributes of its weight.

    ``variables`` are the attributes of the inputs, None for an input that is no variable.
    """
    for argument, attributes in zip(expected, variables):
        moved = {} if attributes is None else of_input(user, argument)
        for key, value in moved.items():
            assert attributes is not None
            attributes[key] = value
            del user[f"{argument}_{key.strip('_')}"]
