"""The compiler's target for a context."""

from __future__ import annotations

from symbucket.compiler import Target
from symbucket.context import Context
from symbucket.runtime.backend import runtime_version
from symbucket.runtime.channel_block import channel_block
from symbucket.runtime.providers import provider_of
from symbucket.runtime.threads import session_threads, thread_count

MOST_SHARDS = 4
"""In how many shards a batch runs at most: each has gradients of its own, which are added up."""


def target_of(context: Context) -> Target:
    """Return the target of the execution provider that serves a context."""
    provider = provider_of(context)
    threads = session_threads(None) or thread_count()  # shards run on as many as a session gets
    return Target(
        provider.name,
        provider.missing,
        copies_weights=provider.host_memory,
        casts_booleans_slowly=provider.host_memory and runtime_version() < (1, 21),
        channel_block=channel_block() if provider.host_memory else 0,
        shards=min(threads, MOST_SHARDS) if provider.host_memory else 1,
    )
