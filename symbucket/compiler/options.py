"""What a user may ask of the compiler."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from symbucket.compiler.passes import pass_names
from symbucket.errors import InvalidArgumentError


@dataclass(frozen=True)
class CompilerOptions:
    """Options of a compilation; the defaults are what training wants.

    ``disable``: names of optional passes to leave out, to find out which one matters (or is
    wrong); ``symbucket.compiler.pass_names()`` lists them. ``value_info``: keep the shapes of all
    intermediate values in the model, for people and tools that look at it.
    """

    disable: Collection[str] = field(default_factory=frozenset)
    value_info: bool = True

    def __post_init__(self) -> None:
        known = pass_names()
        for name in self.disable:
            if name not in known:
                raise InvalidArgumentError(
                    f"there is no optional pass {name!r}; the passes are {', '.join(known)}"
                )
