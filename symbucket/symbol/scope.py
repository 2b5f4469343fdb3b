"""Scopes that name nodes and give them attributes: ``NameManager``, ``Prefix``, ``AttrScope``."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Generic, TypeVar

from symbucket.errors import InvalidArgumentError

_S = TypeVar("_S")


class _Stack(threading.local, Generic[_S]):
    """The scopes that are open in this thread."""

    def __init__(self) -> None:
        self.items: list[_S] = []


class NameManager:
    """Gives automatic names: ``fullyconnected0``, ``fullyconnected1`` ... by hint.

    As a context manager it starts counting anew inside the block. Each thread has its own.
    """

    def __init__(self) -> None:
        self._counter: dict[str, int] = {}

    def get(self, name: str | None, hint: str) -> str:
        """``name`` where it is given, else the next automatic name for ``hint``."""
        if name:
            return name
        count = self._counter.get(hint, 0)
        self._counter[hint] = count + 1
        return f"{hint}{count}"

    def __enter__(self) -> NameManager:
        _name_managers.items.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _name_managers.items.pop()

    @staticmethod
    def current() -> NameManager:
        """The innermost open manager of this thread, or the thread's default one."""
        if not _name_managers.items:
            _name_managers.items.append(NameManager())
        return _name_managers.items[-1]


class Prefix(NameManager):
    """Puts ``prefix`` before every name given inside the block, automatic or not."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def get(self, name: str | None, hint: str) -> str:
        """The prefixed name."""
        return self._prefix + super().get(name, hint)


class AttrScope:
    """Attributes for every symbol made inside the block: ``AttrScope(__lr_mult__="0.1")``.

    Values are strings, as they stand in a symbol file. Inner scopes add to outer ones.
    """

    def __init__(self, **attributes: str) -> None:
        for key, value in attributes.items():
            if not isinstance(value, str):
                raise InvalidArgumentError(
                    f"AttrScope: attribute {key}={value!r} must be a string, as in "
                    f"AttrScope({key}={str(value)!r})."
                )
        self._attributes = attributes

    def get(self, attributes: dict[str, str] | None) -> dict[str, str]:
        """The scope's attributes, overridden by ``attributes``."""
        return {**self._attributes, **(attributes or {})}

    def __enter__(self) -> AttrScope:
        outer = AttrScope.current()
        merged = AttrScope()
        merged._attributes = {**outer._attributes, **self._attributes}
        _attr_scopes.items.append(merged)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _attr_scopes.items.pop()

    @staticmethod
    def current() -> AttrScope:
        """The innermost open scope of this thread."""
        return _attr_scopes.items[-1] if _attr_scopes.items else _NO_ATTRIBUTES


_NO_ATTRIBUTES = AttrScope()
_name_managers: _Stack[NameManager] = _Stack()
_attr_scopes: _Stack[AttrScope] = _Stack()
