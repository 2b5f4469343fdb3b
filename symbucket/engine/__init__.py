"""Programs bound to arrays, run and evicted: executors, frames, parameters, memory plans."""

from symbucket.engine.bind import bind, simple_bind
from symbucket.engine.executor import Executor

__all__ = ["Executor", "bind", "simple_bind"]
