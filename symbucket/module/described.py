"""``Described``: names and shapes of what goes into a module and comes out of it."""

from __future__ import annotations

import abc

from symbucket.io import DataDesc
from symbucket.symbol import Symbol
from symbucket.types import Shape


class Described(abc.ABC):
    """The properties that describe a module's network, of the current bucket key."""

    @property
    @abc.abstractmethod
    def symbol(self) -> Symbol:
        """The network (of the current bucket)."""

    @property
    @abc.abstractmethod
    def data_names(self) -> list[str]:
        """Names of the data inputs."""

    @property
    @abc.abstractmethod
    def label_names(self) -> list[str]:
        """Names of the labels that the network has."""

    @property
    @abc.abstractmethod
    def output_names(self) -> list[str]:
        """Names of the outputs."""

    @property
    @abc.abstractmethod
    def data_shapes(self) -> list[DataDesc]:
        """Descriptions of the data that is bound now."""

    @property
    @abc.abstractmethod
    def label_shapes(self) -> list[DataDesc]:
        """Descriptions of the labels that are bound now."""

    @property
    @abc.abstractmethod
    def output_shapes(self) -> list[tuple[str, Shape]]:
        """(name, shape) of the outputs for the shapes bound now."""
