"""Scopes that give attributes to symbols, as in ``mx.attribute``: ``AttrScope``.

The open scopes live in a context variable: a thread or an asyncio task sees its own, and a scope
that one of them opens is not seen by the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

from symbucket.errors import InvalidArgumentError

__all__ = ["AttrScope"]


class AttrScope:
    """Attributes for every symbol made inside the block: ``AttrScope(__lr_mult__="0.1")``.

    Values are strings, as in a symbol file. Inner scopes add to outer ones and win over them.
    """

    def __init__(self, **attributes: str) -> None:
        for key, value in attributes.items():
            if not isinstance(value, str):
                raise InvalidArgumentError(
                    f"AttrScope: attribute {key}={value!r} must be a string, as in "
                    f"AttrScope({key}={str(value)!r})."
                )
        self._attributes = attributes

    def get(self, attributes: Mapping[str, str] | None) -> dict[str, str]:
        """Return the scope's attributes, overridden by ``attributes``."""
        return {**self._attributes, **(attributes or {})}

    def __enter__(self) -> AttrScope:
        merged = AttrScope(**AttrScope.current().get(self._attributes))
        _open_scopes.set((*_open_scopes.get(), merged))
        return self

    def __exit__(self, *_: object) -> None:
        _open_scopes.set(_open_scopes.get()[:-1])

    @staticmethod
    def current() -> AttrScope:
        """Return the innermost open scope, merged with those around it."""
        scopes = _open_scopes.get()
        return scopes[-1] if scopes else _NO_ATTRIBUTES


_NO_ATTRIBUTES = AttrScope()
_open_scopes: ContextVar[tuple[AttrScope, ...]] = ContextVar("attribute scopes", default=())
