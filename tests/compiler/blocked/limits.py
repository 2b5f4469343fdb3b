"""The limits below which convolutions do not go over to blocks."""

import pytest

from symbucket.compiler.blocked import pays


def lift_limits(patch: pytest.MonkeyPatch) -> None:
    """Let the patch set them all to 0, so that small networks are rewritten too."""
    for name in vars(pays):
        if name.startswith("LEAST_"):
            patch.setattr(pays, name, 0)
