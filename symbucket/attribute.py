"""Scopes that give attributes to symbols, as in ``mx.attribute``: ``AttrScope``.

The open scopes live in a context variable: a thread or an asyncio task sees its own, and a scope
that one of them opens is not seen by the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

from symbucket.class_property import ClassProperty
from symbucket.errors import InvalidArgumentError

__all__ = ["AttrScope"]

_HIDDEN = ("ctx_group", "force_mirroring", "lr_mult", "mirror_stage", "profiler_scope", "wd_mult")


def stored_name(key: str) -> str:
    """Return the name under which an attribute is stored: ``__lr_mult__`` for ``lr_mult``.

    MXNet's own attributes have two underscores on either side and may be given without.
    """
    return f"__{key}__" if key in _HIDDEN else key


def with_plain_names(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return attributes with MXNet's own under both of their names, as its listings have them."""
    plain = {key: attributes[stored_name(key)] for key in _HIDDEN if stored_name(key) in attributes}
    return {**attributes, **plain}


def is_hidden(key: str) -> bool:
    """Return whether an attribute is one of MXNet's own, given without underscores."""
    return key in _HIDDEN


def is_of_input(key: str) -> bool:
    """Return whether a node may mean an attribute for one of its inputs: ``weight_lr_mult``."""
    return any(key.endswith(f"_{hidden}") for hidden in _HIDDEN)


def of_input(attributes: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the attributes that a node has for the variable of one of its inputs.

    ``weight_lr_mult`` of a node is ``__lr_mult__`` of its weight.
    """
    prefix = f"{name}_"
    return {
        stored_name(key.removeprefix(prefix)): value
        for key, value in attributes.items()
        if key.startswith(prefix) and is_hidden(key.removeprefix(prefix))
    }


class AttrScope:
    """Attributes for every symbol made inside the block: ``AttrScope(lr_mult="0.1")``.

    Values are strings, as in a symbol file. Inner scopes add to outer ones and win over them.
    MXNet's own attributes (``lr_mult``, ``wd_mult``, ``ctx_group``, ...) are stored with two
    underscores on either side.
    """

    def __init__(self, **attributes: str) -> None:
        for key, value in attributes.items():
            if not isinstance(value, str):
                raise InvalidArgumentError(
                    f"AttrScope: attribute {key}={value!r} must be a string, as in "
                    f"AttrScope({key}={str(value)!r})."
                )
        self._attributes = {stored_name(key): value for key, value in attributes.items()}

    def get(self, attr: Mapping[str, str] | None) -> dict[str, str]:
        """Return the scope's attributes, overridden by ``attr``."""
        if not attr:
            return dict(self._attributes)
        own = {stored_name(key): value for key, value in attr.items()}
        return {**self._attributes, **own}

    def __enter__(self) -> AttrScope:
        merged = AttrScope(**AttrScope.current.get(self._attributes))
        _open_scopes.set((*_open_scopes.get(), merged))
        return self

    def __exit__(self, *_: object) -> None:
        _open_scopes.set(_open_scopes.get()[:-1])

    @ClassProperty
    def current() -> AttrScope:
        """The innermost open scope, merged with those around it."""
        scopes = _open_scopes.get()
        return scopes[-1] if scopes else _NO_ATTRIBUTES


_NO_ATTRIBUTES = AttrScope()
_open_scopes: ContextVar[tuple[AttrScope, ...]] = ContextVar("attribute scopes", default=())
