"""``Executor``, under the name of ``mx.executor``."""

from symbucket.engine import Executor

__all__ = ["Executor"]
