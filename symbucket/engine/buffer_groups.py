"""Which buffers of an executor last how long."""

from __future__ import annotations

from symbucket.compiler import Port, Role
from symbucket.engine.programs import Part
from symbucket.runtime.buffers import BACKWARD, OUTPUTS, STASH

_LASTING = (Role.GRAD, Role.ROWS, Role.VALUES, Role.STASH, Role.NEXT_STATE, Role.PARTIAL)
"""Roles of what is read or written until the update."""


def buffer_group(port: Port, part: Part) -> str:
    """Return the group of buffers whose contents last as long as this port's."""
    if part == "backward":
        return BACKWARD
    if port.role in _LASTING:
        return STASH
    if port.role is Role.NOISE and part != "inference":
        return STASH  # backward reads it too
    return OUTPUTS
