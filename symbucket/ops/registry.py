"""The registry of operators: the records by name, and the namespaces that the names make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from symbucket.absent import operator_instead
from symbucket.errors import InvalidArgumentError
from symbucket.ops.other_spellings import instead_of

if TYPE_CHECKING:
    from symbucket.ops.record import Operator

_RECORDS: dict[str, type[Operator]] = {}
_FULL_NAMES = {"_internal": "_", "op": ""}
_NAMESPACES = {"contrib": "_contrib_", "linalg": "_linalg_", "image": "_image_"}


def register(record: type[Operator], *names: str) -> None:
    """Make a record known under its name and aliases.

    Raises InvalidArgumentError if there is an operator of that name.
    """
    for name in names:
        if name in _RECORDS:
            raise InvalidArgumentError(f"operator {name!r} is registered twice")
        _RECORDS[name] = record


def find(name: str) -> type[Operator]:
    """Return the record of an operator.

    Raises InvalidArgumentError with a suggestion if there is none.
    """
    if name not in _RECORDS:
        instead = operator_instead(name)
        hint = f" In its place: {instead}." if instead else instead_of(name, _RECORDS)
        raise InvalidArgumentError(f"There is no operator {name!r}.{hint}")
    return _RECORDS[name]


def names() -> list[str]:
    """Return every registered name, aliases included, sorted."""
    return sorted(_RECORDS)


def full_name(namespace: str, name: str) -> str:
    """Return the name under which an operator of a namespace is registered: ``_linalg_gemm``."""
    return _NAMESPACES.get(namespace, "") + name


def in_namespace(namespace: str) -> dict[str, str]:
    """Return the operators of a namespace of MXNet: short name -> registered name.

    ``{"gemm": "_linalg_gemm", ...}`` for "linalg"; "_internal" has those that begin with an
    underscore, and "op" all of them, under their full names.
    """
    if namespace in _FULL_NAMES:
        return {n: n for n in names() if n.startswith(_FULL_NAMES[namespace])}
    prefix = _NAMESPACES[namespace]
    return {n.removeprefix(prefix): n for n in names() if n.startswith(prefix)}
