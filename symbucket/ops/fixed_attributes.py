"""Objects whose attributes are set once: what a frozen dataclass does, without code of its own.

``dataclasses`` writes and compiles six methods for each class. For hundreds of records that is a
quarter of the time that importing the package takes, so these methods are written once, here.
"""

from __future__ import annotations

import dataclasses
from typing import Any


class FixedAttributes:
    """Base of dataclasses with keyword-only fields, equal if their class and fields are equal."""

    def __init__(self, **values: Any) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if field.name in values:
                value = values.pop(field.name)
            elif field.default is not dataclasses.MISSING:
                value = field.default
            elif field.default_factory is not dataclasses.MISSING:
                value = field.default_factory()
            else:
                raise TypeError(f"{type(self).__name__} needs the argument {field.name!r}")
            object.__setattr__(self, field.name, value)
        if values:
            raise TypeError(f"{type(self).__name__} has no argument {next(iter(values))!r}")
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the attributes, once they are all set."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(_values(self))

    def __repr__(self) -> str:
        pairs = zip(_names(self), _values(self))
        return f"{type(self).__qualname__}({', '.join(f'{n}={v!r}' for n, v in pairs)})"


_NAMES: dict[type, tuple[str, ...]] = {}


def _names(instance: Any) -> tuple[str, ...]:
    names = _NAMES.get(type(instance))
    if names is None:
        names = tuple(field.name for field in dataclasses.fields(instance))
        _NAMES[type(instance)] = names
    return names


def _values(instance: Any) -> tuple[Any, ...]:
    return tuple(getattr(instance, name) for name in _names(instance))
