"""Classes by name: ``create("xavier")``, ``create('["lstmbias", {"forget_bias": 1.0}]')``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from symbucket.checks import did_you_mean
from symbucket.errors import InvalidArgumentError, NameConflictError

T = TypeVar("T")
C = TypeVar("C", bound="type[Any]")


class Registry(Generic[T]):
    """Names (any case) of the subclasses of ``base``; ``kind`` is the word used in messages."""

    def __init__(self, base: type[T], kind: str) -> None:
        self.base = base
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def register(self, klass: C) -> C:
        """Class decorator: make ``klass`` known under its lower-cased name."""
        self._add(klass.__name__, klass)
        return klass

    def alias(self, *names: str) -> Callable[[C], C]:
        """Class decorator: make the class known under ``names`` as well."""

        def decorate(klass: C) -> C:
            for name in names:
                self._add(name, klass)
            return klass

        return decorate

    def _add(self, name: str, klass: type[Any]) -> None:
        if not (isinstance(klass, type) and issubclass(klass, self.base)):
            raise InvalidArgumentError(
                f"cannot register {klass!r} as {self.kind} {name!r}: it must be a subclass of "
                f"{self.base.__module__}.{self.base.__name__}."
            )
        registered = self._classes.get(name.lower())
        # The same class defined again (a notebook cell run twice) replaces the old one.
        if registered is not None and registered.__qualname__ != klass.__qualname__:
            raise NameConflictError(
                f"{self.kind} name {name.lower()!r} already belongs to "
                f"{registered.__module__}.{registered.__qualname__}; give "
                f"{klass.__qualname__} another name."
            )
        self._classes[name.lower()] = klass

    def find(self, name: str) -> type[T]:
        """The class registered under ``name``, or an error that lists what there is."""
        try:
            return self._classes[name.lower()]
        except KeyError:
            raise InvalidArgumentError(
                f"no {self.kind} is registered under {name!r}; known are "
                f"{', '.join(sorted(self._classes))}{did_you_mean(name, self._classes)}"
            ) from None

    def create(self, spec: object, *args: Any, **kwargs: Any) -> T:
        """An instance from an instance, a name, a config dict or MXNet's JSON text of either.

        The JSON forms are ``["name", {arguments}]`` and ``{"<kind>": "name", ...arguments}``.
        """
        if isinstance(spec, self.base):
            if args or kwargs:
                raise InvalidArgumentError(
                    f"a ready {self.kind} ({type(spec).__name__}) was given together with "
                    f"arguments {[*args, *kwargs]!r}; drop them, or pass the name instead."
                )
            return spec
        if isinstance(spec, str) and spec.lstrip()[:1] in ("[", "{"):
            if args or kwargs:
                raise InvalidArgumentError(
                    f"the {self.kind} text {spec!r} already holds its arguments; "
                    f"{[*args, *kwargs]!r} cannot be added."
                )
            spec = self._parse(spec)
        if isinstance(spec, dict):
            config = {**spec, **kwargs}
            name = config.pop(self.kind, None)
            if not isinstance(name, str):
                raise InvalidArgumentError(
                    f"the {self.kind} config {spec!r} must name its class under {self.kind!r}."
                )
            return self._build(name, args, config)
        if not isinstance(spec, str):
            raise InvalidArgumentError(
                f"expected a {self.kind} (instance, name or config), found {spec!r} of type "
                f"{type(spec).__name__}."
            )
        return self._build(spec, args, kwargs)

    def _parse(self, text: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidArgumentError(
                f"the {self.kind} text {text!r} is not JSON ({error}); "
                f'expected ["name", {{arguments}}].'
            ) from error
        if isinstance(value, list) and 1 <= len(value) <= 2 and isinstance(value[0], str):
            arguments = value[1] if len(value) == 2 else {}
            if isinstance(arguments, dict):
                return {**arguments, self.kind: value[0]}
        if isinstance(value, dict):
            return value
        raise InvalidArgumentError(
            f'the {self.kind} text {text!r} does not have the form ["name", {{arguments}}].'
        )

    def _build(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        klass = self.find(name)
        try:
            return klass(*args, **kwargs)
        except TypeError as error:
            raise InvalidArgumentError(f"cannot make {self.kind} {name!r}: {error}.") from error
