"""The contexts of a module: one device, or several that share the work."""

from __future__ import annotations

from collections.abc import Sequence

from symbucket.context import Context, cpu
from symbucket.engine.noise import NoiseClock
from symbucket.errors import DataError, InvalidArgumentError, UnsupportedError
from symbucket.runtime import NDArray
from symbucket.runtime.buffers import Pool
from symbucket.runtime.providers import provider_of, share_memory


def contexts_of(context: Context | Sequence[Context] | None) -> list[Context]:
    """Return the contexts of a module as a list; the CPU if none is given."""
    contexts = [context] if isinstance(context, Context) else list(context or [cpu()])
    for item in contexts:
        if not isinstance(item, Context):
            raise InvalidArgumentError(
                f"context has {item!r}; give symbucket.cpu(), symbucket.gpu(i), or a list of them"
            )
    return contexts


def one_context(context: Context | Sequence[Context] | None, who: str) -> Context:
    """Return the context of a class that does not take several."""
    contexts = contexts_of(context)
    if len(contexts) != 1:
        raise UnsupportedError(
            f"context={contexts}: {who} runs on one context; Module, BucketingModule and "
            "FeedForward take several"
        )
    return contexts[0]


class ContextGroup:
    """The contexts of a module and of all that share its parameters, with the arrays on each."""

    def __init__(self, contexts: Sequence[Context], loads: Sequence[float] | None = None) -> None:
        self.contexts = list(contexts)
        self.loads = [1.0] * len(self.contexts) if loads is None else [float(v) for v in loads]
        if len(self.loads) != len(self.contexts) or not all(v > 0 for v in self.loads):
            raise InvalidArgumentError(
                f"work_load_list={loads!r} must hold a positive number for each of the "
                f"{len(self.contexts)} contexts"
            )
        self.pools = [Pool() for _ in self.contexts]
        self.clocks = [NoiseClock() for _ in self.contexts]
        self._arrays: dict[tuple[str, int, str], NDArray] = {}

    def __len__(self) -> int:
        return len(self.contexts)

    def array(self, kind: str, number: int, name: str, like: NDArray) -> NDArray:
        """Return the array of a kind and name on context ``number``; the same one for all keys."""
        key = kind, number, name
        array = self._arrays.get(key)
        if array is None or array.shape != like.shape or array.dtype != like.dtype:
            array = NDArray.zeros(like.shape, like.dtype, self.contexts[number])
            self._arrays[key] = array
        return array

    def reads(self, number: int, array: NDArray) -> bool:
        """Return whether context ``number`` can read an array; CPU contexts share memory."""
        return share_memory(self.contexts[number], array.context)

    @property
    def at_once(self) -> bool:
        """Whether contexts run at the same time; those of the CPU take turns, on all cores."""
        return not all(provider_of(c).host_memory for c in self.contexts)

    def sizes(self, rows: int, name: str) -> list[int]:
        """Return the rows of each context: in proportion to its load, for the last one the rest."""
        sizes = self._shares(rows)
        if min(sizes) < 1:
            raise DataError(
                f"{name}: a batch of {rows} rows cannot be split over {len(self)} contexts "
                f"({', '.join(map(str, self.contexts))}) with a row for each. Use larger batches "
                "(last_batch_handle='pad') or fewer contexts."
            )
        return sizes

    def batch_size(self, rows: int, limit: int) -> int:
        """Return the largest batch size up to ``limit`` for which every batch can be split.

        ``rows``: of all batches; the last one has what is left. If there is no such size, returns
        ``limit``.
        """
        for size in range(limit, 0, -1):
            if all(not n or min(self._shares(n)) > 0 for n in (size, rows % size)):
                return size
        return limit

    def _shares(self, rows: int) -> list[int]:
        total = sum(self.loads)
        ends = [round(rows * sum(self.loads[: i + 1]) / total) for i in range(len(self))]
        return [end - start for start, end in zip([0, *ends], ends)]
