"""Options of the compiler."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Literal

from symbucket.errors import InvalidArgumentError

OPTIONAL_PASSES: set[str] = set()
"""Names of the passes that ``disable`` may contain; every pass adds its own when it is declared."""


@dataclass(frozen=True)
class CompilerOptions:
    """Options of a compilation; the defaults suit training.

    Attributes:
        disable: names of optional passes to leave out, to find out which one matters or is wrong;
            ``symbucket.compiler.pass_names()`` lists them.
        value_info: write the names and shapes of all intermediate values into the model, for people
            and tools that look at it. Sessions are a quarter larger with them.
        memory_limit: bytes that the inputs, outputs and activations of one model may take. If the
            plan needs more, the compiler trades time for memory, as little as it can: it computes
            cheap activations a second time, and the output layer in chunks of rows. If that is not
            enough, compiling raises MemoryLimitError.
        loss_chunks: chunks of the output layer from the start; 1 for none.
        cache_dir: a folder, created if it is missing, in which compiled models are kept, so that
            the next run of a program does not compile them again. A model is found by all that it
            depends on: network, shapes, dtypes, request, seed, options, versions and the
            compiler's own code. Processes may share the folder; a damaged file costs a compilation,
            never an error. None, the default, keeps nothing.
        cache_bytes: bytes that the files there may take together; the least recently used ones are
            removed.
        out_of_range: what training does with ids beyond an embedding's table and labels that are no
            class: "error" raises DataError before anything runs; "mxnet" computes what MXNet does:
            an id counts as the last row, and a label as none of the classes.
    """

    disable: Collection[str] = field(default_factory=frozenset)
    value_info: bool = False
    memory_limit: int | None = None
    loss_chunks: int = 1
    cache_dir: str | os.PathLike[str] | None = None
    cache_bytes: int = 1 << 30
    out_of_range: Literal["error", "mxnet"] = "error"

    def without(self, *names: str) -> CompilerOptions:
        """Return the same options with these passes disabled too."""
        return replace(self, disable={*self.disable, *names})

    def __post_init__(self) -> None:
        for name in self.disable:
            if name not in OPTIONAL_PASSES:
                raise InvalidArgumentError(
                    f"disable={self.disable!r}: there is no optional pass {name!r}; the passes "
                    f"are {', '.join(sorted(OPTIONAL_PASSES))}"
                )
        if self.out_of_range not in ("error", "mxnet"):
            raise InvalidArgumentError(
                f'out_of_range={self.out_of_range!r}: must be "error" or "mxnet"'
            )
        if not isinstance(self.cache_dir, (str, os.PathLike, NoneType)):
            raise InvalidArgumentError(
                f"cache_dir={self.cache_dir!r}: must be the path of a folder, or None"
            )
        for option, least in (("memory_limit", 0), ("loss_chunks", 1), ("cache_bytes", 0)):
            value = getattr(self, option)
            if value is None and option == "memory_limit":
                continue
            if not isinstance(value, int) or value < least:
                raise InvalidArgumentError(
                    f"{option}={value!r}: must be an integer of {least} or more"
                )
