"""The instances of records: one for all nodes of equal attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symbucket.ops.record import Operator

_MOST_INSTANCES = 4096
_instances: dict[tuple[Any, ...], Operator] = {}


def shared_instance(
    cls: type[Operator], raw: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Operator]
) -> Operator:
    """Return ``make(raw)``, or what it returned for the same class and raw attributes before."""
    key = _key_of(cls, raw)
    if key is None:
        return make(raw)
    record = _instances.get(key)
    if record is None:
        record = make(raw)
        if len(_instances) >= _MOST_INSTANCES:
            _instances.clear()
        _instances[key] = record
    return record


def _key_of(cls: type[Operator], raw: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Return what tells raw attributes apart from all others; None if that is not simple.

    Types count: 1, 1.0 and True are equal, and so are 0.0 and -0.0.
    """
    if cls.foreign or cls.holds_graphs:
        return None
    key: list[Any] = [cls]
    for name, value in raw.items():
        kind = type(value)
        if kind is float:
            value = repr(value)
        elif kind is tuple:
            if any(type(item) is not int for item in value):
                return None
        elif kind is not int and kind is not str and kind is not bool:
            return None
        key += (name, kind, value)
    return tuple(key)
