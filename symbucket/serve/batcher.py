"""Requests of many threads share batches."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from symbucket.checks import check_integer, check_number
from symbucket.errors import DeadlineError, OverloadedError, StateError
from symbucket.export.spec import KEY
from symbucket.serve.bound_run import Answer
from symbucket.serve.bundle import Bundle
from symbucket.serve.deadline import LONGEST, deadline_of
from symbucket.serve.engine import Engine
from symbucket.serve.route import Placed


@dataclass(eq=False)
class _Waiting:
    """A request in the queue; times are those of ``time.monotonic``."""

    placed: Placed
    engine: Engine
    arrived: float
    deadline: float | None
    future: Future[Answer] = field(default_factory=Future)

    @property
    def group(self) -> object:
        """What requests have in common that may share a batch."""
        network = self.placed.network
        mixes = KEY in network.free and not network.padding_matters
        return id(self.engine), network.file if mixes else network.key, self.placed.shared

    @property
    def length(self) -> int:
        """The number of steps, where it matters for sharing."""
        return self.placed.sizes.get(KEY, 0)


@dataclass
class BatcherCounts:
    """Counts of what a batcher did with requests besides answering them."""

    rejected: int = 0
    expired: int = 0
    failed: int = 0


class Batcher:
    """Answers requests of many threads; those that wait at the same time share batches.

    Args:
        bundle: what answers them; ``bundle.reload()`` may be called meanwhile.
        max_delay: seconds that a request may wait for others to share its batch.
        max_queue: requests that may wait; the next one raises OverloadedError.

    As long as all lanes of the bundle are busy, requests wait, and the next free lane takes the
    oldest one with as many others as fit, of similar length. ``close`` answers what waits.
    """

    def __init__(self, bundle: Bundle, *, max_delay: float = 0.002, max_queue: int = 1024) -> None:
        self.bundle = bundle
        self.max_delay = min(check_number(max_delay, "max_delay", 0.0), LONGEST)
        self.max_queue = check_integer(max_queue, "max_queue", 1)
        self.counts = BatcherCounts()
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"symbucket-batch-{i}", daemon=True)
            for i in range(bundle.workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    def submit(self, request: Any, timeout: float | None = None) -> Future[Answer]:
        """Return a future for the answer; requests are those of ``Bundle.run``.

        Raises DataError or InvalidArgumentError for a request that no network takes, and
        OverloadedError if too many wait. The future raises DeadlineError ``timeout`` seconds after
        this call if there is no answer yet. The request's arrays may be written to after the call.
        """
        now = time.monotonic()
        deadline = deadline_of(timeout, now)
        engine = self.bundle.engine
        placed = engine.router.place(request, "the request")
        copies = {name: array.copy() for name, array in placed.arrays.items()}
        waiting = _Waiting(placed._replace(arrays=copies), engine, now, deadline)
        with self._changed:
            if self._closing:
                raise StateError("the batcher is closed")
            if len(self._queue) >= self.max_queue:
                self.counts.rejected += 1
                raise OverloadedError(
                    f"{len(self._queue)} requests are waiting, and max_queue={self.max_queue}; "
                    "try again later"
                )
            self._queue.append(waiting)
            self._changed.notify()
        return waiting.future

    def __call__(self, request: Any, timeout: float | None = None) -> Answer:
        """Return the outputs of one request, by name."""
        return self.submit(request, timeout).result()

    def close(self) -> None:
        """Accept nothing more, answer what waits, and end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    # Threads -------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            batch = self._next_batch()
            if batch is None:
                return
            self._answer(batch)

    def _next_batch(self) -> list[_Waiting] | None:
        """Wait for requests that run together; None if the batcher is closed and nothing waits."""
        with self._changed:
            while True:
                self._drop_expired()
                if not self._queue:
                    if self._closing:
                        return None
                    self._changed.wait()
                    continue
                batch = self._together(self._queue[0])
                left = self._queue[0].arrived + self.max_delay - time.monotonic()
                if left > 0 and not self._closing and not self._is_full(batch):
                    self._changed.wait(left)
                    continue
                taken = set(map(id, batch))
                self._queue = deque(one for one in self._queue if id(one) not in taken)
                if self._queue:
                    self._changed.notify()
                return [one for one in batch if one.future.set_running_or_notify_cancel()]

    @staticmethod
    def _is_full(batch: list[_Waiting]) -> bool:
        return len(batch) >= (batch[0].placed.network.batch or 1)

    def _together(self, oldest: _Waiting) -> list[_Waiting]:
        """Return the oldest request and those that share its batch: the nearest in length."""
        group = [one for one in self._queue if one.group == oldest.group]
        count = oldest.placed.network.batch or 1
        if len(group) > count:
            group.sort(key=lambda one: (abs(one.length - oldest.length), one.arrived))
        return group[:count]

    def _drop_expired(self) -> None:
        now = time.monotonic()
        expired = [one for one in self._queue if one.deadline is not None and one.deadline <= now]
        for one in expired:
            self._queue.remove(one)
            self._expire(one)

    def _expire(self, one: _Waiting) -> None:
        self.counts.expired += 1
        if one.future.running() or one.future.set_running_or_notify_cancel():
            waited = time.monotonic() - one.arrived
            one.future.set_exception(
                DeadlineError(f"the request was not answered in time; it waited {waited:.3g} s")
            )

    def _answer(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        deadlines = [one.deadline for one in batch]
        last = max((d for d in deadlines if d is not None), default=None)
        deadline = None if None in deadlines else last
        try:
            answers = batch[0].engine.run([one.placed for one in batch], deadline)
        except DeadlineError:
            for one in batch:
                self._expire(one)
            return
        except Exception as error:
            if len(batch) > 1:  # one request must not fail the others
                for one in batch:
                    self._answer([one])
                return
            self.counts.failed += 1
            batch[0].future.set_exception(error)
            return
        now = time.monotonic()
        for one, answer in zip(batch, answers):
            if one.deadline is not None and now > one.deadline:
                self._expire(one)
                continue
            self.bundle.record_latency(one.placed.network.key, 1000 * (now - one.arrived))
            one.future.set_result(answer)
