"""What an augmenter is, and several of them as one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.runtime import NDArray


def plain(value: Any) -> Any:
    """Return arrays as lists, anything else as it is."""
    if isinstance(value, NDArray):
        value = value.asnumpy()
    return value.tolist() if isinstance(value, np.ndarray) else value


class Augmenter:
    """A function of a picture that ``dumps`` describes; a subclass defines ``__call__``.

    Args:
        kwargs: what ``dumps`` writes down.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = {name: plain(value) for name, value in kwargs.items()}

    def dumps(self) -> Any:
        """Return the name and the arguments as JSON."""
        return json.dumps([type(self).__name__.lower(), self._kwargs])

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture, changed."""
        raise NotImplementedError(f"{type(self).__name__} defines no __call__")


class SequentialAug(Augmenter):
    """Several augmenters, one after the other."""

    def __init__(self, ts: Sequence[Augmenter]) -> None:
        super().__init__()
        self.ts = list(ts)

    def dumps(self) -> Any:
        """Return the name, and what each of them dumps."""
        return [type(self).__name__.lower(), [t.dumps() for t in self.ts]]

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture after all of them."""
        for augment in self.ts:
            src = augment(src)
        return src


class RandomOrderAug(SequentialAug):
    """Several augmenters, in another order for each picture."""

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture after all of them."""
        for i in seeding.generator().permutation(len(self.ts)):
            src = self.ts[i](src)
        return src
